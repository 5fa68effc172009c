"""The second fold: what the events about orders, and the deals of orders, come to. Pure.

Events are folded by version. A deal counts for the order whose ticket it names, whichever of the two is recorded first; deals
before the first event about an order are left out, as no order of ours was there to lead to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import asdict, define, frozen

from ledger.events.orders import (
    Carrier,
    CarrierBroken,
    CarrierProven,
    HaltMode,
    HaltScope,
    LimitsSet,
    OrderAnswered,
    OrderBasis,
    OrderDenied,
    OrderIntended,
    OrderKind,
    OrderOutcome,
    OrderResolved,
    OrderSeen,
    StopsSeen,
    TradingHalted,
    TradingResumed,
    Verdict,
)
from ledger.orders.states import (
    FINAL,
    Answer,
    Evidence,
    OrderState,
    Resolution,
    overlaid,
    state_of,
)
from ledger.portfolio import Decode
from ledger.postings import DEAL, Posting, Row
from ledger.terms import AccountTerms
from ledger.values import TRADES, Side, plain

#: Raised whenever a rule of this fold, or what a state consists of, changes.
ORDERS_VERSION: Final = 1

_DEAL_ROWS: Final = frozenset({"FillRecorded", "CashMoved", "DealCompleted", "DealRevised"})
_KIND, _VERSION, _TYPE, _ORDER, _SYMBOL, _VOLUME = map(
    Posting._fields.index, ("kind", "version", "deal_type", "order_ticket", "symbol", "volume")
)
_PENDING_TYPES: Final = range(2, 8)


@frozen(kw_only=True)
class Order:
    """An order as it is at a moment. Volumes in lots; ``since_msc`` is when it came to its state, in broker server time.

    ``client_id`` is None for an order that is not ours. ``volume`` is None where it is not known: a close without one closes
    all of its position. ``ticket`` is the broker's, None as long as it is not known; there are several ``tickets`` only where
    the broker executed one order twice.
    """

    client_id: str | None
    token: str | None
    kind: OrderKind
    symbol: str | None
    side: Side | None
    volume: Decimal | None
    filled: Decimal
    state: OrderState
    since_msc: int
    why: str
    tickets: tuple[int, ...] = ()
    position_id: int | None = None
    strategy: str | None = None
    valid_until_utc_msc: int | None = None

    @property
    def ticket(self) -> int | None:
        """The broker's ticket of it."""
        return self.tickets[0] if self.tickets else None

    @property
    def is_open(self) -> bool:
        """Whether something may still come of it."""
        return self.state not in FINAL

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows if it was executed."""
        return self.state is OrderState.UNKNOWN


@define(kw_only=True)
class _Record:
    """What is recorded of one order, as JSON values."""

    client_id: str | None
    kind: str
    is_denied: bool = False
    is_requested: bool = False
    token: str | None = None
    symbol: str | None = None
    side: str | None = None
    volume: str | None = None
    position_id: int | None = None
    strategy: str | None = None
    valid_until_utc_msc: int | None = None
    target_order: int | None = None
    target_client_id: str | None = None
    verdict: str | None = None
    is_empty: bool = True
    answered_volume: str | None = None
    outcome: str | None = None
    basis: str | None = None
    resolved_number: int = 0
    resolved_version: int = 0
    tickets: list[int]
    seen: dict[str, list[Any]]  # ticket -> its state, initial volume, and the version that showed it
    is_seen_done: bool = False
    state: str = ""
    since_msc: int = 0
    why: str = ""


class Orders:
    """The orders of one account, updated posting by posting; limits, halts, stops and carriers of client ids beside them.

    Only this class changes its state, and only in ``fold``; what it shows is frozen.
    """

    def __init__(self, terms: AccountTerms) -> None:
        self.terms = terms
        self._version: int | None = 0
        self._records: dict[str, _Record] = {}  # by client id, "#TICKET" for those that are not ours
        self._key_of: dict[int, str] = {}  # ticket -> whose
        self._fills: dict[int, dict[int, Decimal]] = {}  # ticket -> deal -> volume
        self._ticket_of: dict[int, int] = {}  # deal -> ticket
        self._limits: str | None = None
        self._halts: dict[str, list[Any]] = {}  # scope -> number, mode; None where trading was resumed
        self._carriers: dict[str, bool] = {}
        self._stops: dict[str, list[str | None]] = {}  # position -> sl, tp

    # ---- folding

    @property
    def held(self) -> int:
        """How many orders and deals there are."""
        return len(self._records) + len(self._ticket_of)

    def note_version(self, version: int) -> None:
        """State up to which version all of the account's events are folded."""
        self._version = version

    def fold(self, rows: Iterable[Row], decode: Decode) -> None:
        """Apply postings, ascending by version."""
        for row in rows:
            if row[_KIND] in _DEAL_ROWS:
                self._apply_deal(row)
            else:
                self._apply(decode(row), row[_VERSION])

    def _apply_deal(self, row: Row) -> None:
        deal, ticket = row[DEAL], row[_ORDER]
        if row[_KIND] not in ("FillRecorded", "DealRevised"):
            return
        before = self._ticket_of.pop(deal, None)
        if before is not None:
            del self._fills[before][deal]
        if ticket is not None and row[_TYPE] in TRADES and row[_VOLUME] is not None:
            self._ticket_of[deal] = ticket
            self._fills.setdefault(ticket, {})[deal] = self.terms.volume(row[_SYMBOL], row[_VOLUME])
        for one in {before, ticket} - {None}:
            if one in self._key_of:
                self._settle(self._key_of[one], row[0], f"deal {deal}")

    def _apply(self, event: Any, version: int) -> None:
        match event:
            case OrderIntended() | OrderDenied():
                self._request(event)
            case OrderAnswered():
                self._answer(event)
            case OrderResolved():
                self._resolve(event, version)
            case OrderSeen():
                self._see(event, version)
            case StopsSeen():
                self._stops[str(event.position_id)] = [_text(event.sl), _text(event.tp)]
                if event.client_id is not None:
                    self._record(event.client_id, OrderKind.STOPS).is_seen_done = True
                    self._settle(event.client_id, event.time_msc, "the broker shows the stops")
            case LimitsSet():
                self._limits = event.rules
            case TradingHalted() | TradingResumed():
                scope = _scope_key(event.scope, event.name)
                if event.number > self._halts.get(scope, [0])[0]:
                    mode = event.mode.value if isinstance(event, TradingHalted) else None
                    self._halts[scope] = [event.number, mode]
            case CarrierProven() | CarrierBroken():
                self._carriers[event.kind.value] = isinstance(event, CarrierProven)
            case _:
                raise AssertionError(f"expected an event about orders, found {type(event).__name__}")

    def _record(self, key: str, kind: OrderKind) -> _Record:
        client_id = None if key.startswith("#") else key
        return self._records.setdefault(key, _Record(client_id=client_id, kind=kind.value, tickets=[], seen={}))

    def _request(self, event: OrderIntended | OrderDenied) -> None:
        record = self._record(event.client_id, event.kind)
        if record.is_requested:
            return
        record.is_requested, record.is_denied = True, isinstance(event, OrderDenied)
        record.kind, record.token, record.symbol = event.kind.value, event.token, event.symbol or record.symbol
        record.side = event.side.value if event.side else record.side
        record.volume, record.position_id, record.strategy = _text(event.volume), event.position_id, event.strategy
        record.target_order, record.target_client_id = event.target_order, event.target_client_id
        why = "recorded"
        if isinstance(event, OrderDenied):
            why = f"{event.rule}: {event.why}"
        else:
            record.valid_until_utc_msc = event.valid_until_utc_msc
        self._settle(event.client_id, event.time_msc, why)

    def _answer(self, event: OrderAnswered) -> None:
        record = self._record(event.client_id, OrderKind.MARKET)
        if record.verdict is not None:
            return
        record.verdict = event.verdict.value
        record.is_empty = not (event.order or event.deal or event.volume)
        record.answered_volume = _text(event.volume)
        if event.order and event.verdict in (Verdict.ACCEPTED, Verdict.UNKNOWN, Verdict.REJECTED):
            self._claim(event.client_id, event.order)
        code = "" if event.retcode is None else f" {event.retcode}"
        self._settle(event.client_id, event.time_msc, f"answered {event.verdict.value}{code}")

    def _resolve(self, event: OrderResolved, version: int) -> None:
        record = self._record(event.client_id, OrderKind.MARKET)
        if event.number <= record.resolved_number:
            return
        record.outcome, record.basis = event.outcome.value, event.basis.value
        record.resolved_number, record.resolved_version = event.number, version
        for ticket in event.tickets:
            self._claim(event.client_id, ticket)
        by = f" ({event.operator}: {event.reason})" if event.operator else ""
        self._settle(event.client_id, event.time_msc, f"resolved as {event.outcome.value} by {event.basis.value}{by}")

    def _see(self, event: OrderSeen, version: int) -> None:
        key = event.client_id or self._key_of.get(event.ticket) or f"#{event.ticket}"
        kind = OrderKind.PENDING if event.type in _PENDING_TYPES else OrderKind.MARKET
        record = self._record(key, kind)
        if not record.is_requested:
            record.symbol, record.side = event.symbol, (Side.SELL if event.type % 2 else Side.BUY).value
        self._claim(key, event.ticket)
        record.seen[str(event.ticket)] = [event.state, plain(event.volume_initial), version]
        self._settle(key, event.time_msc, f"the broker shows state {event.state}")

    def _claim(self, key: str, ticket: int) -> None:
        """Note whose a ticket is: an order that was taken for somebody else's may turn out to be ours."""
        record, before = self._records[key], self._key_of.get(ticket)
        if WITHOUT_TICKETS.get(record.kind) or before == key:
            return
        if before is not None and before.startswith("#"):
            record.seen |= self._records.pop(before).seen
        self._key_of[ticket] = key
        record.tickets.append(ticket)

    def _settle(self, key: str, time_msc: int, why: str) -> None:
        """Derive the state of an order anew, and note when it came to it."""
        record = self._records[key]
        state = state_of(self._evidence(record)).value
        if state != record.state:
            record.state, record.since_msc, record.why = state, time_msc, why

    def _evidence(self, record: _Record) -> Evidence:
        newest_seen = max((version for *_, version in record.seen.values()), default=0)
        resolution = None
        if record.outcome is not None:
            resolution = Resolution(
                outcome=OrderOutcome(record.outcome),
                basis=OrderBasis(record.basis),
                is_last=record.resolved_version > newest_seen,
            )
        answer = None if record.verdict is None else Answer(verdict=Verdict(record.verdict), is_empty=record.is_empty)
        return Evidence(
            kind=OrderKind(record.kind),
            is_denied=record.is_denied,
            volume=self._volume(record),
            filled=self._filled(record),
            answer=answer,
            resolution=resolution,
            records=tuple(state for state, _, _ in sorted(record.seen.values(), key=lambda one: one[2])),
            is_seen_done=record.is_seen_done,
        )

    def _volume(self, record: _Record) -> Decimal | None:
        """Return what an order asks for; where it names no volume, what the broker's record of it does."""
        if record.volume is not None:
            return Decimal(record.volume)
        seen = [Decimal(volume) for _, volume, _ in record.seen.values()]
        if seen:
            return max(seen)
        return None if record.answered_volume is None else Decimal(record.answered_volume)

    def _filled(self, record: _Record) -> Decimal:
        return sum((volume for ticket in record.tickets for volume in self._fills.get(ticket, {}).values()), Decimal(0))

    # ---- asking

    def orders(self, *, at_utc_msc: int | None = None) -> tuple[Order, ...]:
        """Return all orders, in the order in which they came up.

        Args:
            at_utc_msc: The moment, in UTC: what nobody answered by the end of its validity is unknown from then on. None leaves
                it intended.
        """
        states = {key: self._state_at(record, at_utc_msc) for key, record in self._records.items()}
        changes: dict[str, list[tuple[OrderKind, OrderState]]] = {}
        for key, record in self._records.items():
            about = record.target_client_id or self._key_of.get(record.target_order or 0)
            if about is not None and not record.is_denied:
                changes.setdefault(about, []).append((OrderKind(record.kind), states[key][0]))
        return tuple(
            self._shown(record, overlaid(states[key][0], changes.get(key, ())), states[key][1], states[key][2])
            for key, record in self._records.items()
        )

    def order(self, client_id: str, *, at_utc_msc: int | None = None) -> Order | None:
        """Return the order of a client id, None without one. ``at_utc_msc`` as for ``orders``."""
        return next((one for one in self.orders(at_utc_msc=at_utc_msc) if one.client_id == client_id), None)

    @property
    def limits(self) -> str | None:
        """The rules that were set last, as JSON text."""
        return self._limits

    @property
    def halts(self) -> Mapping[tuple[HaltScope, str | None], HaltMode]:
        """What is halted: scope and name -> how much."""
        return {
            (HaltScope(scope), name or None): HaltMode(mode)
            for key, (_, mode) in self._halts.items()
            if mode is not None
            for scope, _, name in [key.partition(":")]
        }

    def halt_number(self, scope: HaltScope, name: str | None = None) -> int:
        """Return how often a scope was halted and resumed: the number of the last of these, 0 without any."""
        number: int = self._halts.get(_scope_key(scope, name), [0])[0]
        return number

    def resolution_number(self, client_id: str) -> int:
        """Return how often an order was resolved: the number of the last resolution, 0 without any."""
        record = self._records.get(client_id)
        return 0 if record is None else record.resolved_number

    @property
    def carriers(self) -> Mapping[Carrier, bool]:
        """Carriers of client ids -> whether the last record that was looked at had it as it was sent."""
        return {Carrier(kind): proven for kind, proven in self._carriers.items()}

    @property
    def stops(self) -> Mapping[int, tuple[Decimal | None, Decimal | None]]:
        """Position id -> sl and tp as the broker showed them last."""
        return {
            int(position): (None if sl is None else Decimal(sl), None if tp is None else Decimal(tp))
            for position, (sl, tp) in self._stops.items()
        }

    def _state_at(self, record: _Record, at_utc_msc: int | None) -> tuple[OrderState, int, str]:
        state, until = OrderState(record.state), record.valid_until_utc_msc
        if state is OrderState.INTENDED and at_utc_msc is not None and until is not None and until < at_utc_msc:
            return OrderState.UNKNOWN, self.terms.clock.from_utc_msc(until), "not answered while it was valid"
        return state, record.since_msc, record.why

    def _shown(self, record: _Record, state: OrderState, since_msc: int, why: str) -> Order:
        return Order(
            client_id=record.client_id,
            token=record.token,
            kind=OrderKind(record.kind),
            symbol=record.symbol,
            side=Side(record.side) if record.side else None,
            volume=self._volume(record),
            filled=self._filled(record),
            state=state,
            since_msc=since_msc,
            why=why,
            tickets=tuple(record.tickets),
            position_id=record.position_id,
            strategy=record.strategy,
            valid_until_utc_msc=record.valid_until_utc_msc,
        )

    # ---- stored

    def state(self) -> dict[str, Any]:
        """Return everything that folding goes on from, as JSON values."""
        return {
            "orders": {key: asdict(record) for key, record in self._records.items()},
            "tickets": {str(ticket): key for ticket, key in self._key_of.items()},
            "fills": {
                str(ticket): {str(deal): plain(volume) for deal, volume in deals.items()}
                for ticket, deals in self._fills.items()
                if deals
            },
            "limits": self._limits,
            "halts": self._halts,
            "carriers": self._carriers,
            "stops": self._stops,
        }

    @classmethod
    def from_state(cls, terms: AccountTerms, state: Mapping[str, Any]) -> Orders:
        """Return the fold of a ``state``. Raises KeyError, TypeError or ValueError where it is none."""
        orders = cls(terms)
        orders._records = {key: _Record(**fields) for key, fields in state["orders"].items()}
        orders._key_of = {int(ticket): key for ticket, key in state["tickets"].items()}
        for ticket, deal, volume in _fills(state["fills"]):
            orders._fills.setdefault(ticket, {})[deal] = volume
            orders._ticket_of[deal] = ticket
        orders._limits, orders._halts = state["limits"], dict(state["halts"])
        orders._carriers, orders._stops = dict(state["carriers"]), dict(state["stops"])
        return orders


#: Kinds whose answers and targets name an order that is not their own.
WITHOUT_TICKETS: Final[Mapping[str, bool]] = {
    kind.value: True for kind in (OrderKind.STOPS, OrderKind.MODIFY, OrderKind.CANCEL)
}


def _fills(stored: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[int, int, Decimal]]:
    for ticket, deals in stored.items():
        for deal, volume in deals.items():
            yield int(ticket), int(deal), Decimal(volume)


def _scope_key(scope: HaltScope, name: str | None) -> str:
    return scope.value if name is None else f"{scope.value}:{name}"


def _text(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)
