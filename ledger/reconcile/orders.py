"""Compare and decide about orders: our view and the broker's lists in, disagreements and what to append out. Pure.

A change that the broker shows is a fact (``OrderSeen``), never corrected. What does not agree is a break of kind ``order``: an
order of ours in neither list, one of nobody known, and deals that an order cannot have had. Each is counted and closed by
events, so that a restart loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import define, field, frozen

from ledger.clock import DAY_MSC
from ledger.events import (
    BreakClosed,
    BreakEnd,
    BreakKind,
    BreakOpened,
    CarrierBroken,
    CarrierProven,
    Event,
    OrderResolved,
    OrderSeen,
    TradingHalted,
)
from ledger.events.orders import Carrier, HaltMode, HaltScope, OrderBasis, OrderKind, OrderOutcome
from ledger.order_messages import RemoteOrder
from ledger.orders.ids import token_of
from ledger.orders.policy import MAGIC_SPAN
from ledger.orders.resolve import cannot_be, outcome_of_change, target_ticket
from ledger.orders.states import AT_BROKER, BY_THE_SERVER, CHANGES, WITHOUT_FILLS, OrderState
from ledger.orders.view import Order, Orders, filled_of
from ledger.reconcile.decide import Decision, Held, WaitsFor
from ledger.reconcile.policy import Foreign, ReconcilePolicy
from ledger.values import AccountId, exact_sum, plain
from ledger.views import Break

#: What of an order does not agree: the field of a break of kind ``order``.
MISSING: Final = "missing"
ORPHAN: Final = "orphan"
LATE_FILL: Final = "late_fill"
OVERFILL: Final = "overfill"
UNDERFILL: Final = "underfill"

_TOKEN: Final = re.compile(r"L[A-Z2-7]{19}")
_CARRYING: Final = frozenset({OrderKind.MARKET, OrderKind.PENDING, OrderKind.CLOSE})  # their records have what was sent
_FINAL_UNSEEN: Final = frozenset({OrderState.ABSENT, OrderState.REJECTED, OrderState.DENIED})


@frozen(kw_only=True)
class OrderLists:
    """What the broker's lists show at one moment, believed: tickets are unique, and of this account.

    Attributes:
        active: Ticket -> an order that the broker works on.
        done: Ticket -> an order that was found in the history.
        absent: Tickets that were looked for and are in neither.
        evidence: Ticket -> digest of the answer that shows it.
        active_evidence: Digest of the answer with the active ones.
    """

    active: Mapping[int, RemoteOrder]
    done: Mapping[int, RemoteOrder] = field(factory=dict)
    absent: frozenset[int] = frozenset()
    evidence: Mapping[int, str] = field(factory=dict)
    active_evidence: str | None = None

    def row(self, ticket: int) -> RemoteOrder | None:
        """Return an order as the broker shows it, None where no answer does. The history is the later of the two."""
        return self.done.get(ticket) or self.active.get(ticket)

    @property
    def rows(self) -> tuple[RemoteOrder, ...]:
        """Every order that is shown, each once, ticket ascending."""
        return tuple(row for _, row in sorted({**self.active, **self.done}.items()))


@frozen(kw_only=True)
class OrdersContext:
    """What is known around the lists.

    Attributes:
        account: Whose they are: tokens are of an account.
        seen_msc: The present in broker server time, by our own clock: when events about orders happen.
        break_msc: The moment of breaks, behind everything that is known.
        settled_msc: What came to its state later than this is left for the next sync.
        now_utc_msc: The present in UTC: what is not answered and not valid any more is unknown.
        touched: Tickets of which a deal was recorded just now.
        is_unclear: Whether deals could not be read: then facts are recorded, and nothing is judged.
        is_another_lookup: Whether enough time passed since lookups were counted last.
    """

    account: AccountId
    seen_msc: int
    break_msc: int
    settled_msc: int
    now_utc_msc: int
    touched: Collection[int] = frozenset()
    is_unclear: bool = False
    is_another_lookup: bool = True


@frozen
class Shown:
    """The broker shows an order for the first time, or otherwise than it was recorded. ``by`` is what made it ours."""

    row: RemoteOrder
    client_id: str | None
    by: OrderBasis | None = None
    is_second: bool = False


@frozen
class Missing:
    """An order of ours is in neither list."""

    ours: Order


@frozen
class Orphan:
    """An order of nobody known, that the policy reports."""

    theirs: RemoteOrder


@frozen
class Miscounted:
    """The deals of an order are not what it can have had: ``field`` names how."""

    ours: Order
    ticket: int | None
    field: str
    filled: Decimal
    theirs: Decimal


OrderDisagreement = Shown | Missing | Orphan | Miscounted


def wanted_tickets(orders: Orders, active: Collection[int], now_utc_msc: int) -> dict[int, int]:
    """Return the tickets to look for in the history -> since when, in broker time: those of what left the active list.

    An order that the broker showed as done is not looked for again, unless deals came that it does not show. Until it is known
    whether records of orders carry client ids, the record of the newest order that filled at once is looked at too.
    """
    found: dict[int, int] = {}
    for one, doubts in [*((one, False) for one in orders.open_orders()), *((one, True) for one in orders.doubtful)]:
        if one.kind in WITHOUT_FILLS:
            continue
        for ticket in one.tickets:
            if ticket not in active and (doubts or not orders.is_seen(ticket) or ticket in orders.active):
                found[ticket] = orders.setup_msc(ticket) or one.intended_msc or one.since_msc
    for ticket in orders.active - found.keys() - set(active):
        known = orders.by_ticket(ticket)
        found[ticket] = orders.setup_msc(ticket) or (0 if known is None else known.since_msc)
    if Carrier.COMMENT not in orders.carriers:
        unseen = (
            one
            for one in reversed(orders.intended_since(now_utc_msc - DAY_MSC))
            if one.kind in _CARRYING and one.ticket is not None and not orders.is_seen(one.ticket)
        )
        newest = next(unseen, None)
        if newest is not None and newest.ticket is not None and newest.ticket not in active:
            found.setdefault(newest.ticket, newest.intended_msc or newest.since_msc)
    return found


def compare_orders(
    orders: Orders, lists: OrderLists, *, policy: ReconcilePolicy, account: AccountId
) -> tuple[OrderDisagreement, ...]:
    """Return how our view and the broker's lists differ: what is shown anew, missing, of nobody known, and miscounted."""
    comparing = _Comparing(orders, lists, policy, account)
    for row in lists.rows:
        comparing.look_at(row)
    for one in orders.open_orders():
        if one.state in AT_BROKER and one.kind not in WITHOUT_FILLS and _is_missing(one, lists):
            comparing.found.append(Missing(one))
    for one in orders.doubtful:
        if not orders.is_settled_by_person(one):
            comparing.count(one)
    return tuple(comparing.found)


def _is_missing(one: Order, lists: OrderLists) -> bool:
    return bool(one.tickets) and all(ticket in lists.absent for ticket in one.tickets)


@define
class _Comparing:
    """One comparison under way. ``claims`` are tickets that it found to be ours."""

    orders: Orders
    lists: OrderLists
    policy: ReconcilePolicy
    account: AccountId
    found: list[OrderDisagreement] = field(factory=list)
    claims: dict[str, int] = field(factory=dict)

    def look_at(self, row: RemoteOrder) -> None:
        known = self.orders.by_ticket(row.ticket)
        client_id, by = (None, None) if known is None else (known.client_id, None)
        if client_id is None:
            client_id, by = self._whose(row)
        if client_id is None and known is None and not self._is_recorded(row):
            return
        is_second = known is None and client_id is not None and self._has_another(client_id, row)
        if client_id is not None:
            self.claims.setdefault(client_id, row.ticket)
        seen = seen_of(row, client_id, 0, None)
        if not self.orders.is_as_seen(seen):
            self.found.append(Shown(row, client_id, by, is_second))

    def _is_recorded(self, row: RemoteOrder) -> bool:
        """Return whether an order of nobody known is recorded; report it where the policy does."""
        if row.ticket not in self.lists.active:
            return False  # it was looked for because a deal names it, and its deals are all that it left
        if self.policy.foreign is Foreign.REPORT and not self._is_of_our_robots(row):
            self.found.append(Orphan(row))
            return False
        return self.policy.foreign is Foreign.ADOPT or self._is_of_our_robots(row)

    def _is_of_our_robots(self, row: RemoteOrder) -> bool:
        return self.policy.magics is not None and self.policy.is_ours(row.magic)

    def _whose(self, row: RemoteOrder) -> tuple[str | None, OrderBasis | None]:
        """Return whose an order is, and by what: its token, the gateway's store, or a magic number of its own."""
        if row.reason in BY_THE_SERVER:
            return None, None
        token = token_in(row)
        ours = None if token is None else self.orders.by_token(token)
        if ours is None and row.client_id is not None:
            if token is not None and token_of(self.account, row.client_id) != token:
                return None, None
            ours = self.orders.order(row.client_id)
            if ours is None:
                return row.client_id, OrderBasis.TOKEN
        if ours is not None:
            is_it = ours.kind not in WITHOUT_FILLS and not cannot_be(ours, row)
            return (ours.client_id, OrderBasis.TOKEN) if is_it else (None, None)
        if _is_numbered(row.magic, self.orders) and self.orders.carriers.get(Carrier.MAGIC, True):
            candidates = [one for one in self.orders.by_magic(row.magic or 0) if one.kind not in WITHOUT_FILLS]
            if len(candidates) == 1 and not cannot_be(candidates[0], row):
                return candidates[0].client_id, OrderBasis.MAGIC
        return None, None

    def _has_another(self, client_id: str, row: RemoteOrder) -> bool:
        ours = self.orders.order(client_id)
        return self.claims.get(client_id, row.ticket) != row.ticket or (ours is not None and bool(ours.tickets))

    def count(self, one: Order) -> None:
        """Compare the deals of an order with what was asked for, and with what the broker shows now or showed last."""
        if one.volume is not None and one.filled > one.volume:
            self.found.append(Miscounted(one, one.ticket, OVERFILL, one.filled, one.volume))
        before = self.orders.shown_filled(one)
        rows = [row for ticket in one.tickets if (row := self.lists.row(ticket)) is not None]
        now = exact_sum(map(filled_in, rows)) if rows else before
        counted = one.filled if one.volume is None else min(one.filled, one.volume)  # what is beyond is an overfill already
        if counted > before and self.orders.is_dealt_when_done(one):
            self.found.append(Miscounted(one, one.ticket, LATE_FILL, one.filled, before))
        elif counted > now:
            self.found.append(Miscounted(one, one.ticket, UNDERFILL, one.filled, now))


def _is_numbered(magic: int | None, orders: Orders) -> bool:
    """Return whether a magic number may be one order's own: it has a number that orders here have come to.

    A number that a strategy has for all of its orders (20260101) is as large, and names none of them.
    """
    return magic is not None and magic >= MAGIC_SPAN and 1 <= magic % MAGIC_SPAN <= orders.intents_count


def token_in(row: RemoteOrder) -> str | None:
    """Return the token that the comment of an order begins with."""
    found = None if row.comment is None else _TOKEN.match(row.comment)
    return None if found is None else found.group()


def filled_in(row: RemoteOrder) -> Decimal:
    """Return how much of an order a row shows as filled."""
    return filled_of(row.state, row.volume_initial, row.volume_current)


def seen_of(row: RemoteOrder, client_id: str | None, time_msc: int, evidence: str | None) -> OrderSeen:
    """Return an order of the broker's as the event that records it."""
    fields: dict[str, Any] = {name: getattr(row, name) for name in _ROW_FIELDS}
    return OrderSeen(**fields | {"client_id": client_id, "time_msc": time_msc or _ANY_MSC, "evidence": evidence})


_ANY_MSC: Final = 946_684_800_000  # one that is allowed, where no time counts
_ROW_FIELDS: Final = (
    "ticket", "symbol", "type", "state", "volume_initial", "volume_current", "time_setup_msc", "time_done_msc", "expires_msc",
    "type_time", "type_filling", "magic", "position_id", "by_position_id", "reason", "price_open", "price_stoplimit", "sl",
    "tp", "comment", "external_id",
)  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- deciding


def decide_orders(
    orders: Orders,
    lists: OrderLists,
    breaks: Iterable[Break],
    *,
    policy: ReconcilePolicy,
    around: OrdersContext,
) -> Decision:
    """Return what to append about orders: facts first, then what was resolved, then breaks.

    Args:
        orders: Our view, with all deals that were booked.
        lists: The broker's.
        breaks: The open ones.
        policy: What to do about orders of nobody known, and after how many lookups an order is missing.
        around: What is known around the lists.
    """
    found = compare_orders(orders, lists, policy=policy, account=around.account)
    deciding = _Deciding(orders, lists, policy, around)
    deciding.note(one for one in found if isinstance(one, Shown))
    deciding.resolve_requests()
    if not around.is_unclear:
        deciding.judge(found, [one for one in breaks if one.kind is BreakKind.ORDER and one.version is not None])
    return Decision(events=tuple(deciding.events), held=tuple(deciding.held))


_Key = tuple[int | None, str | None, str]


@define
class _Deciding:
    """One decision under way."""

    orders: Orders
    lists: OrderLists
    policy: ReconcilePolicy
    around: OrdersContext
    events: list[Event] = field(factory=list)
    held: list[Held] = field(factory=list)
    late: list[Miscounted] = field(factory=list)
    carriers: dict[Carrier, bool] = field(factory=dict)
    halted: int | None = None
    resolved: dict[str, int] = field(factory=dict)

    # ---- facts

    def note(self, shown: Iterable[Shown]) -> None:
        """Record what the broker shows, whose it is, and what that proves."""
        self.carriers = dict(self.orders.carriers)
        tickets: dict[str, list[int]] = {}
        for one in shown:
            row, evidence = one.row, self.lists.evidence.get(one.row.ticket)
            self.events.append(seen_of(row, one.client_id, self.around.seen_msc, evidence))
            ours = None if one.client_id is None else self.orders.order(one.client_id)
            if ours is None or one.client_id is None:
                continue
            self._prove(ours, one)
            known = tickets.setdefault(one.client_id, list(ours.tickets))
            if row.ticket not in known:
                known.append(row.ticket)
            if one.is_second:
                self._halt(one, known)
            elif ours.state in _FINAL_UNSEEN and not ours.tickets and filled_in(row):
                self.late.append(Miscounted(ours, row.ticket, LATE_FILL, filled_in(row), Decimal(0)))

    def _prove(self, ours: Order, one: Shown) -> None:
        """Note whether the broker's record of an order whose ticket came in a reply has the client id as it was sent."""
        row, request = one.row, ours.request
        is_first = not self.orders.is_seen(row.ticket)
        if request is None or ours.token is None or ours.kind is OrderKind.CLOSE_BY:
            return
        if row.ticket not in ours.tickets or row.reason in BY_THE_SERVER:
            return
        magic = request.magic if _is_numbered(request.magic, self.orders) else None
        sent = {Carrier.COMMENT: (ours.token, token_in(row), row.comment), Carrier.MAGIC: (magic, row.magic, row.magic)}
        for kind, (expected, found, whole) in sent.items():
            if expected is None or not (is_first or kind not in self.carriers):
                continue
            proven = expected == found
            if self.carriers.get(kind) is not proven:
                self.carriers[kind] = proven
                common: dict[str, Any] = {
                    "kind": kind, "ticket": row.ticket, "time_msc": self.around.seen_msc,
                    "evidence": self.lists.evidence.get(row.ticket),
                }  # fmt: skip
                text = None if whole is None else str(whole)
                self.events.append(CarrierProven(**common) if proven else CarrierBroken(**common, found=text))

    def _halt(self, one: Shown, tickets: Collection[int]) -> None:
        """Halt the account: the broker executed one intent twice, or somebody sent it again."""
        assert one.client_id is not None
        basis, several = one.by or OrderBasis.TICKET, tuple(sorted(tickets))
        self._resolve(one.client_id, OrderOutcome.DUPLICATE, basis, several, self.lists.evidence.get(one.row.ticket))
        number = self.orders.halt_number(HaltScope.ACCOUNT) if self.halted is None else self.halted
        self.halted = number + 1
        why = f"order {one.client_id} is at the broker as {' and '.join(map(str, several))}: it was executed more than once"
        self.events.append(
            TradingHalted(
                scope=HaltScope.ACCOUNT, number=self.halted, mode=HaltMode.ALL, rule="duplicate", reason=why,
                time_msc=self.around.seen_msc,
            )
        )  # fmt: skip

    def _resolve(
        self, client_id: str, outcome: OrderOutcome, basis: OrderBasis, tickets: tuple[int, ...], evidence: str | None
    ) -> None:
        ours = self.orders.order(client_id)
        number = self.resolved.get(client_id, 0 if ours is None else ours.resolutions) + 1
        self.resolved[client_id] = number
        self.events.append(
            OrderResolved(
                client_id=client_id, number=number, outcome=outcome, basis=basis, tickets=tickets,
                time_msc=self.around.seen_msc, evidence=evidence,
            )
        )  # fmt: skip

    # ---- requests about orders

    def resolve_requests(self) -> None:
        """Resolve requests to cancel or change an order whose answer is not known, by the broker's record of that order."""
        for one in self.orders.open_orders(self.around.now_utc_msc):
            if one.client_id is None or not one.is_unknown or one.kind not in CHANGES:
                continue
            ticket = target_ticket(one, self.orders)
            if ticket is None:
                continue
            outcome = self._outcome(one, ticket)
            if outcome is not None:
                self._resolve(one.client_id, outcome, OrderBasis.TICKET, (ticket,), self.lists.evidence.get(ticket))

    def _outcome(self, one: Order, ticket: int) -> OrderOutcome | None:
        """Return what became of a request to cancel or change an order, None where that is not known."""
        row, target = self.lists.row(ticket), self.orders.by_ticket(ticket)
        if row is not None:
            return outcome_of_change(one, row)
        if target is None or target.is_open:
            return None
        is_done = one.kind is OrderKind.CANCEL and target.state is OrderState.CANCELLED
        return OrderOutcome.EXECUTED if is_done else OrderOutcome.REJECTED

    # ---- the life of a break

    def judge(self, found: Iterable[OrderDisagreement], breaks: Iterable[Break]) -> None:
        """Open, count and close breaks."""
        known: dict[_Key, Break] = {(one.order, one.client_id, one.field or ""): one for one in breaks}
        present: set[_Key] = set()
        for one in (*found, *self.late):
            match one:
                case Missing():
                    present.add(self._miss(one.ours, known))
                case Orphan(row):
                    present.add(self._report(row, known))
                case Miscounted():
                    present.add(self._miscount(one, known))
                case Shown():
                    pass
        for key, opened in known.items():
            if key not in present:
                self._close(opened)

    def _miss(self, ours: Order, known: Mapping[_Key, Break]) -> _Key:
        key = (ours.ticket, ours.client_id, MISSING)
        if ours.since_msc > self.around.settled_msc or any(ticket in self.around.touched for ticket in ours.tickets):
            self._hold(ours.symbol, f"order {ours.ticket}: it changed just now: left for the next sync", WaitsFor.TIME)
            return key
        opened, needed = known.get(key), self.policy.missing_lookups
        count = 1
        if opened is not None:
            count = min(opened.confirmations + self.around.is_another_lookup, max(needed, opened.confirmations))
        why = f"in neither list of the broker in {count} of {needed} lookups"
        if count >= needed:
            why = "the broker shows it neither as active nor as done: it may still be filled, and nothing may replace it"
        if opened is None or count > opened.confirmations:
            shown = f"{ours.state.value}, {plain(ours.filled)} filled"
            self._see(key, ours.symbol, opened, ours=shown, theirs=None, why=why, confirmations=count)
        self._hold(ours.symbol, f"order {ours.ticket}: {why}", WaitsFor.TIME if count < needed else None)
        return key

    def _report(self, row: RemoteOrder, known: Mapping[_Key, Break]) -> _Key:
        key = (row.ticket, None, ORPHAN)
        why = "it is not ours: the policy reports it"
        if key not in known:
            shown = f"{'sell' if row.type % 2 else 'buy'} {plain(row.volume_initial)} {row.symbol}"
            self._see(key, row.symbol, None, ours=None, theirs=shown, why=why)
        self._hold(row.symbol, f"order {row.ticket}: {why}", None)
        return key

    def _miscount(self, one: Miscounted, known: Mapping[_Key, Break]) -> _Key:
        ours = one.ours
        key = (one.ticket, ours.client_id, one.field)
        if one.field == UNDERFILL and any(ticket in self.around.touched for ticket in ours.tickets):
            self._hold(ours.symbol, f"order {one.ticket}: a deal of it was recorded just now", WaitsFor.TIME)
            return key
        why = _WHY[one.field]
        if key not in known:
            self._see(key, ours.symbol, None, ours=plain(one.filled), theirs=plain(one.theirs), why=why)
        self._hold(ours.symbol, f"order {one.ticket}: {why}", None)
        return key

    def _close(self, opened: Break) -> None:
        """Close a break that is none any more."""
        assert opened.version is not None
        ours = self.orders.by_ticket(opened.order) if opened.order else None
        is_person = ours is not None and self.orders.is_settled_by_person(ours)
        end = BreakEnd.ACCEPTED if is_person else BreakEnd.VANISHED if opened.field == ORPHAN else BreakEnd.EXPLAINED
        self.events.append(
            BreakClosed(
                kind=BreakKind.ORDER, end=end, order=opened.order, client_id=opened.client_id, caused_by=opened.version,
                time_msc=self.around.break_msc, evidence=self.lists.active_evidence,
            )
        )  # fmt: skip

    def _see(
        self, key: _Key, symbol: str | None, opened: Break | None, *, ours: str | None, theirs: str | None, why: str,
        confirmations: int = 1,
    ) -> None:  # fmt: skip
        ticket, client_id, name = key
        self.events.append(
            BreakOpened(
                kind=BreakKind.ORDER, order=ticket, client_id=client_id, field=name, symbol=symbol, ours=ours, theirs=theirs,
                why=why, confirmations=confirmations, caused_by=None if opened is None else opened.version,
                time_msc=self.around.break_msc, evidence=self.lists.active_evidence,
            )
        )  # fmt: skip

    def _hold(self, symbol: str | None, why: str, waits_for: WaitsFor | None) -> None:
        self.held.append(Held(kind=BreakKind.ORDER.value, position_id=None, symbol=symbol, why=why, waits_for=waits_for))


_WHY: Final = {
    OVERFILL: "its deals are more than was asked for: the position follows the deals",
    UNDERFILL: "the broker shows less of it as filled than its deals are: the deals count",
    LATE_FILL: "a deal came after it was done: the deal counts",
}
