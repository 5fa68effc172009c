"""Compare and decide about the stops of positions: what was asked for, what the broker shows, and what to append. Pure.

That stops changed is a fact (``StopsSeen``): a person or a robot at the broker may move them. That a stop which was asked for
is not there is a break of kind ``stops``: a broker can drop one. Nothing is sent again from here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final

from attrs import define, field, frozen

from ledger.events import BreakClosed, BreakEnd, BreakKind, BreakOpened, Event, OrderResolved, StopsSeen
from ledger.events.orders import OrderBasis, OrderKind, OrderOutcome
from ledger.orders.states import OPEN_QUESTION, OrderState
from ledger.orders.view import Order, Orders
from ledger.reconcile.decide import Decision, Held, WaitsFor
from ledger.snapshot import RemotePosition
from ledger.terms import AccountTerms
from ledger.values import EXACT, plain
from ledger.views import Break

_MISSING: Final = "missing"
_NAMES: Final = ("sl", "tp")
_VOID: Final = frozenset({OrderState.REJECTED, OrderState.ABSENT, OrderState.DENIED})
_WHY: Final = "the broker does not show the stop that was asked for: the engine sends it again, or a person sets it"


@frozen(kw_only=True)
class StopsContext:
    """What is known around a snapshot: see ``OrdersContext``. ``evidence`` is the digest of the snapshot."""

    seen_msc: int
    break_msc: int
    settled_msc: int
    evidence: str
    touched: Collection[int | str] = frozenset()


@frozen(kw_only=True)
class Wish:
    """A stop that was asked for. ``is_new`` is False where the broker showed it once, or where it came with the order."""

    name: str
    value: Decimal
    by: Order
    is_new: bool


def decide_stops(
    orders: Orders,
    positions: Iterable[RemotePosition],
    breaks: Iterable[Break],
    terms: AccountTerms,
    around: StopsContext,
) -> Decision:
    """Return what to append about stops.

    Args:
        orders: Our view, with what was asked for and what was seen last.
        positions: All open positions of a believed snapshot; one that states no stops is left alone.
        breaks: The open ones.
        terms: Whose symbols state how large a point is.
        around: What is known around the snapshot.
    """
    open_breaks = {
        (one.position_id, one.client_id): one for one in breaks if one.kind is BreakKind.STOPS and one.version is not None
    }
    deciding = _Deciding(orders, terms, around, open_breaks)
    rows = {row.position_id: row for row in positions}
    concerned = orders.with_stops(rows) | {position_id for position_id, _ in open_breaks}
    for position_id in sorted([one for one, row in rows.items() if row.sl or row.tp or one in concerned]):
        deciding.look_at(rows[position_id])
    deciding.end(rows)
    return Decision(events=tuple(deciding.events), held=tuple(deciding.held))


@define
class _Deciding:
    """One decision under way."""

    orders: Orders
    terms: AccountTerms
    around: StopsContext
    breaks: Mapping[tuple[int | None, str | None], Break]
    events: list[Event] = field(factory=list)
    held: list[Held] = field(factory=list)
    present: set[tuple[int | None, str | None]] = field(factory=set)

    def look_at(self, row: RemotePosition) -> None:
        """Decide about one position."""
        if row.sl is None or row.tp is None:
            self.present |= {key for key in self.breaks if key[0] == row.position_id}
            return
        shown = {"sl": row.sl, "tp": row.tp}
        requests = self.orders.stops_asked(row.position_id)
        found = [one for one in requests if self._is_asked(one) and self._is_as_asked(one, row, shown)]
        known = self.orders.stops_shown(row.position_id)
        wishes = list(self._wishes(row, requests))
        missed = [wish for wish in wishes if self._is_missed(wish, row, shown)]
        if missed and self._is_settling(row, missed):
            self.present |= {key for key in self.breaks if key[0] == row.position_id}
            why = f"stops of position {row.position_id} were asked for just now: left for the next sync"
            self.held.append(Held(
                kind=BreakKind.STOPS.value, position_id=row.position_id, symbol=row.symbol, why=why, waits_for=WaitsFor.TIME
            ))  # fmt: skip
            return
        is_changed = known != (row.sl, row.tp) and not (known is None and not any(shown.values()) and not missed)
        for one in found:
            self._see(row, one.client_id)
        if is_changed and not found:
            self._see(row, None)
        if missed:
            self._miss(row, missed, is_news=is_changed or any(wish.is_new for wish in missed))

    def _is_asked(self, one: Order) -> bool:
        return one.is_open and one.client_id is not None

    def _is_as_asked(self, one: Order, row: RemotePosition, shown: Mapping[str, Decimal]) -> bool:
        wanted = _asked(one)
        return bool(wanted) and all(self._is_near(shown[name], value, row.symbol) for name, value in wanted.items())

    def _is_near(self, shown: Decimal, wanted: Decimal, symbol: str) -> bool:
        """Return whether a stop is the one that was asked for, within half a point; exactly where no point is known."""
        if not shown or not wanted:
            return not shown and not wanted
        spec = self.terms.symbols.get(symbol)
        digits = None if spec is None else spec.digits
        return shown == wanted if digits is None else EXACT.subtract(shown, wanted).copy_abs() <= Decimal(5).scaleb(-digits - 1)

    # ---- what was asked for

    def _wishes(self, row: RemotePosition, requests: Iterable[Order]) -> Iterator[Wish]:
        """Yield the latest wish for each stop; none where a request about it is under way."""
        asked = [one for one in requests if one.state not in _VOID]
        for name in _NAMES:
            latest = next((one for one in reversed(asked) if name in _asked(one)), None)
            if latest is None:
                yield from self._of_opening(row, name)
            elif latest.state not in OPEN_QUESTION:
                yield Wish(name=name, value=_asked(latest)[name], by=latest, is_new=latest.is_open)

    def _of_opening(self, row: RemotePosition, name: str) -> Iterator[Wish]:
        """Yield the stop that came with the order which opened a position, as the broker had it last."""
        opening = self.orders.by_ticket(row.position_id)
        if opening is None or opening.client_id is None or opening.request is None:
            return
        is_shown = opening.kind is OrderKind.PENDING and self.orders.is_seen(row.position_id)
        value = getattr(opening if is_shown else opening.request, name)
        if value:
            yield Wish(name=name, value=value, by=opening, is_new=False)

    def _is_missed(self, wish: Wish, row: RemotePosition, shown: Mapping[str, Decimal]) -> bool:
        """Return whether a stop is not as asked for. One that was there once, or came with an order, may be moved, not lost."""
        found = shown[wish.name]
        if wish.is_new:
            return not self._is_near(found, wish.value, row.symbol)
        return bool(wish.value) and not found

    def _is_settling(self, row: RemotePosition, missed: Iterable[Wish]) -> bool:
        is_touched = row.position_id in self.around.touched or row.symbol in self.around.touched
        return is_touched or any(wish.by.since_msc > self.around.settled_msc for wish in missed)

    # ---- what to append

    def _see(self, row: RemotePosition, client_id: str | None) -> None:
        self.events.append(
            StopsSeen(
                position_id=row.position_id, symbol=row.symbol, sl=row.sl, tp=row.tp, client_id=client_id,
                time_msc=self.around.seen_msc, evidence=self.around.evidence,
            )
        )  # fmt: skip

    def _miss(self, row: RemotePosition, missed: list[Wish], *, is_news: bool) -> None:
        """Open a break, unless it is open; hold it as long as it is."""
        for client_id in dict.fromkeys(wish.by.client_id for wish in missed):
            key = row.position_id, client_id
            if key not in self.breaks and not is_news:
                continue  # a person accepted that it is so
            self.present.add(key)
            ours = ", ".join(f"{wish.name} {plain(wish.value)}" for wish in missed if wish.by.client_id == client_id)
            theirs = ", ".join(f"{name} {plain(value)}" for name, value in (("sl", row.sl), ("tp", row.tp)) if value)
            if key not in self.breaks:
                self.events.append(
                    BreakOpened(
                        kind=BreakKind.STOPS, field=_MISSING, position_id=row.position_id, symbol=row.symbol,
                        client_id=client_id, ours=ours, theirs=theirs or "no stops", why=_WHY, time_msc=self.around.break_msc,
                        evidence=self.around.evidence,
                    )
                )  # fmt: skip
            self.held.append(
                Held(kind=BreakKind.STOPS.value, position_id=row.position_id, symbol=row.symbol, why=f"{ours}: {_WHY}")
            )

    def end(self, rows: Collection[int]) -> None:
        """Close breaks that are none any more, and requests about positions that are gone."""
        for (position_id, client_id), opened in self.breaks.items():
            if (position_id, client_id) in self.present or opened.version is None:
                continue
            end = BreakEnd.EXPLAINED if position_id in rows else BreakEnd.VANISHED
            self.events.append(
                BreakClosed(
                    kind=BreakKind.STOPS, end=end, position_id=position_id, client_id=client_id, caused_by=opened.version,
                    time_msc=self.around.break_msc, evidence=self.around.evidence,
                )
            )  # fmt: skip
        for one in self.orders.open_orders():
            if one.kind is OrderKind.STOPS and one.position_id not in rows:
                if one.state is OrderState.WORKING:
                    self._give_up(one, OrderOutcome.REJECTED, OrderBasis.TICKET)
                elif one.is_unknown:
                    self._give_up(one, OrderOutcome.ABSENT, OrderBasis.ABSENCE)

    def _give_up(self, one: Order, outcome: OrderOutcome, basis: OrderBasis) -> None:
        """Resolve a request whose position is gone: its stops will never be seen, whatever became of it."""
        if one.client_id is None or one.since_msc > self.around.settled_msc:
            return
        self.events.append(
            OrderResolved(
                client_id=one.client_id, number=one.resolutions + 1, outcome=outcome, basis=basis,
                time_msc=self.around.seen_msc, evidence=self.around.evidence,
            )
        )  # fmt: skip


def _asked(one: Order) -> dict[str, Decimal]:
    """Return the stops that a request asks for; 0 asks for none."""
    if one.request is None:
        return {}
    found = {name: getattr(one.request, name) for name in _NAMES}
    return {name: value for name, value in found.items() if value is not None}
