"""The second fold: what the events about orders, and the deals of orders, come to. Pure.

Events are folded by version. A deal counts for the order whose ticket it names, whichever of the two is recorded first, and
also where it was recorded before anything about orders was: an order may be adopted long after its deals.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from shlex import quote
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
    PendingType,
    StopsSeen,
    StorePinned,
    TradingHalted,
    TradingResumed,
    Verdict,
)
from ledger.orders.request import FIELDS, OrderRequest
from ledger.orders.states import (
    AT_BROKER,
    FILLED_CODE,
    FINAL,
    GONE,
    WITHOUT_FILLS,
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
from ledger.values import EXACT, TRADES, Side, exact_sum, plain, unscaled

#: Raised whenever a rule of this fold, or what a state consists of, changes.
ORDERS_VERSION: Final = 1

_DEAL_ROWS: Final = frozenset({"FillRecorded", "CashMoved", "DealCompleted", "DealRevised"})
_KIND, _VERSION, _TYPE, _ORDER, _SYMBOL, _VOLUME, _PRICE = map(
    Posting._fields.index, ("kind", "version", "deal_type", "order_ticket", "symbol", "volume", "price")
)
#: Average prices are shown to so many decimals.
_PRICE_UNIT: Final = Decimal("1e-8")
_PENDING_TYPES: Final = range(2, 8)
_CLOSE_BY: Final = 8
_DIGEST, _SETUP = 7, 8  # of what was seen of a ticket
_TWO_HOURS_MSC: Final = 2 * 60 * 60 * 1000  # no server clock is put back by more
_NUMBERS: Final = ("volume", "price", "stoplimit", "sl", "tp")
_WORDS: Final[Mapping[str, type[Enum]]] = {"kind": OrderKind, "side": Side, "type": PendingType}


@frozen(kw_only=True)
class Order:
    """An order as it is at a moment. Volumes in lots; ``since_msc`` is when it came to its state, in broker server time.

    ``client_id`` is None for an order that is not ours. ``volume`` is None where it is not known: a close without one closes
    all of its position. ``ticket`` is the broker's, None as long as it is not known; there are several ``tickets`` only where
    the broker executed one order twice.

    What is known of it besides, None where it is not: ``request`` and how it was recorded (``store``, ``checked_version``,
    ``intended_msc`` in broker server time and ``intended_utc_msc`` in UTC), ``verdict`` and ``retcode`` of its answer,
    ``outcome`` and ``basis`` of the last of its ``resolutions``, and what the broker's newest record of it shows
    (``broker_state`` as MetaTrader 5 numbers it, ``volume_current``, ``price``, ``sl``, ``tp``). ``fill_price`` is the average
    price of its deals, to 8 decimals.
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
    request: OrderRequest | None = None
    store: str | None = None
    checked_version: int | None = None
    intended_msc: int | None = None
    intended_utc_msc: int | None = None
    verdict: Verdict | None = None
    retcode: int | None = None
    resolutions: int = 0
    outcome: OrderOutcome | None = None
    basis: OrderBasis | None = None
    broker_state: int | None = None
    volume_current: Decimal | None = None
    price: Decimal | None = None
    sl: Decimal | None = None
    tp: Decimal | None = None
    fill_price: Decimal | None = None

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

    @property
    def has_to_be_found(self) -> bool:
        """Whether it has to be looked for: it is unknown, or was accepted by an answer that named no ticket."""
        is_nameless = self.state in AT_BROKER and not self.tickets and self.kind not in WITHOUT_FILLS
        return self.is_unknown or is_nameless


@define(kw_only=True)
class _Record:
    """What is recorded of one order, as JSON values."""

    client_id: str | None
    kind: str
    first_version: int
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
    request: dict[str, Any] | None = None
    store: str | None = None
    checked_version: int | None = None
    intended_msc: int | None = None
    verdict: str | None = None
    retcode: int | None = None
    is_empty: bool = True
    answered_volume: str | None = None
    outcome: str | None = None
    basis: str | None = None
    resolved_number: int = 0
    resolved_version: int = 0
    dealt_version: int = 0  # of its latest deal, since it was known whose that is
    tickets: list[int]
    #: Ticket -> state, initial volume, version that showed it; current volume, price, sl, tp; digest, when it was set up.
    seen: dict[str, list[Any]]
    is_seen_done: bool = False
    state: str = ""
    since_msc: int = 0
    why: str = ""


class Orders:
    """The orders of one account, updated posting by posting; limits, halts, stops and carriers of client ids beside them.

    Only this class changes its state, and only in ``fold``; what it shows is frozen. After ``share`` several threads may ask
    while one folds. What is asked about one order, or about those that are open, costs the same however many orders there
    ever were.
    """

    def __init__(self, terms: AccountTerms) -> None:
        self.terms = terms
        self._lock: AbstractContextManager[object] = nullcontext()
        self._version: int | None = 0
        self._now_version = 0  # of the event that is being applied
        self._records: dict[str, _Record] = {}  # by client id, "#TICKET" for those that are not ours
        self._key_of: dict[int, str] = {}  # ticket -> whose
        self._fills: dict[int, dict[int, tuple[Decimal, Decimal]]] = {}  # ticket -> deal -> volume, price
        self._ticket_of: dict[int, int] = {}  # deal -> ticket
        self._limits: str | None = None
        self._halts: dict[str, list[Any]] = {}  # scope -> number, mode; None where trading was resumed
        self._carriers: dict[str, bool] = {}
        self._stops: dict[str, list[str | None]] = {}  # position -> sl, tp
        self._pinned: list[Any] | None = None  # number, store
        # Derived from the records:
        self._open: set[str] = set()
        self._tokens: dict[str, str] = {}  # token -> whose
        self._intents: list[tuple[int, int, str]] = []  # broker time, first version, whose; ascending
        self._magics: dict[int, list[str]] = {}  # magic -> whose
        self._stops_asked: dict[int, list[str]] = {}  # position -> requests about its stops
        self._active: set[int] = set()  # tickets that the broker showed as active last
        self._doubts: set[str] = set()  # whose deals are more than was asked for, or than the broker's record shows

    # ---- folding

    def share(self, lock: AbstractContextManager[object]) -> None:
        """Use a lock that can be taken again by who has it, as several threads ask from now on."""
        self._lock = lock

    def change_terms(self, terms: AccountTerms) -> None:
        """Go on with other account terms. What is folded stays as it is: scales never change once they are used."""
        with self._lock:
            self.terms = terms

    @property
    def held(self) -> int:
        """How many orders and deals there are; 0 as long as there are only deals, which nothing is asked about then."""
        once = (self._limits is not None) + (self._pinned is not None)
        of_orders = len(self._records) + len(self._halts) + len(self._carriers) + len(self._stops) + once
        return of_orders and of_orders + len(self._ticket_of)

    def note_version(self, version: int) -> None:
        """State up to which version all of the account's events are folded."""
        self._version = version

    def fold(self, rows: Iterable[Row], decode: Decode) -> None:
        """Apply postings, ascending by version."""
        with self._lock:
            for row in rows:
                if row[_KIND] in _DEAL_ROWS:
                    self._apply_deal(row)
                else:
                    self._now_version = row[_VERSION]
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
            price = unscaled(row[_PRICE] or 0, self.terms.scales(row[_SYMBOL])[0])
            self._fills.setdefault(ticket, {})[deal] = self.terms.volume(row[_SYMBOL], row[_VOLUME]), price
        for one in {before, ticket} - {None}:
            if one in self._key_of:
                self._records[self._key_of[one]].dealt_version = row[_VERSION]
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
            case StorePinned():
                if self._pinned is None or event.number > self._pinned[0]:
                    self._pinned = [event.number, event.store]
            case TradingHalted() | TradingResumed():
                scope = event.scope.value if event.name is None else f"{event.scope.value}:{event.name}"
                if event.number > self._halts.get(scope, [0])[0]:
                    mode = event.mode.value if isinstance(event, TradingHalted) else None
                    self._halts[scope] = [event.number, mode]
            case CarrierProven() | CarrierBroken():
                self._carriers[event.kind.value] = isinstance(event, CarrierProven)
            case _:
                raise AssertionError(f"expected an event about orders, found {type(event).__name__}")

    def _record(self, key: str, kind: OrderKind) -> _Record:
        client_id = None if key.startswith("#") else key
        found = self._records.get(key)
        if found is None:
            found = _Record(client_id=client_id, kind=kind.value, first_version=self._now_version, tickets=[], seen={})
            self._records[key] = found
        return found

    def _request(self, event: OrderIntended | OrderDenied) -> None:
        record = self._record(event.client_id, event.kind)
        if record.is_requested:
            return
        record.is_requested, record.is_denied = True, isinstance(event, OrderDenied)
        record.kind, record.token, record.symbol = event.kind.value, event.token, event.symbol or record.symbol
        record.side = event.side.value if event.side else record.side
        record.volume, record.position_id, record.strategy = _text(event.volume), event.position_id, event.strategy
        record.target_order, record.target_client_id = event.target_order, event.target_client_id
        record.request, record.checked_version = _request_values(event), event.checked_version
        why = "recorded"
        if isinstance(event, OrderDenied):
            why = f"{event.rule}: {event.why}"
        else:
            record.valid_until_utc_msc, record.store = event.valid_until_utc_msc, event.store
            record.intended_msc = event.time_msc
            self._index(event.client_id, record)
        self._settle(event.client_id, event.time_msc, why)

    def _answer(self, event: OrderAnswered) -> None:
        record = self._record(event.client_id, OrderKind.MARKET)
        if record.verdict is not None:
            return
        record.verdict, record.retcode = event.verdict.value, event.retcode
        record.is_empty = not (event.order or event.deal or event.volume)
        record.answered_volume = _text(event.volume or None)  # 0 states none
        if event.order and event.verdict in (Verdict.ACCEPTED, Verdict.UNKNOWN, Verdict.REJECTED):
            self._claim(event.client_id, event.order)
        code = "" if event.retcode is None else f" {event.retcode}"
        remark = f": {event.comment}" if event.comment and event.verdict is not Verdict.ACCEPTED else ""
        self._settle(event.client_id, event.time_msc, f"answered {event.verdict.value}{code}{remark}")

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
        kind = OrderKind.CLOSE_BY if event.type == _CLOSE_BY else kind
        record = self._record(key, kind)
        if not record.is_requested:
            record.symbol, record.side = event.symbol, (Side.SELL if event.type % 2 else Side.BUY).value
        self._claim(key, event.ticket)
        shown = [event.volume_current, event.price_open, event.sl, event.tp]
        record.seen[str(event.ticket)] = [
            event.state, plain(event.volume_initial), version, *map(_text, shown), sight_digest(event), event.time_setup_msc
        ]  # fmt: skip
        self._note_active(event.ticket, event.state)
        self._settle(key, event.time_msc, f"the broker shows state {event.state}")

    def _claim(self, key: str, ticket: int) -> None:
        """Note whose a ticket is: an order that was taken for somebody else's may turn out to be ours."""
        record, before = self._records[key], self._key_of.get(ticket)
        if WITHOUT_TICKETS.get(record.kind) or before == key:
            return
        if before is not None and before.startswith("#"):
            other = self._records.pop(before)
            record.seen |= other.seen
            record.dealt_version = max(record.dealt_version, other.dealt_version)
            self._open.discard(before)
            self._doubts.discard(before)
        self._key_of[ticket] = key
        record.tickets.append(ticket)

    def _settle(self, key: str, time_msc: int, why: str) -> None:
        """Derive the state of an order anew, and note when it came to it."""
        record = self._records[key]
        state = state_of(self._evidence(record)).value
        if state != record.state:
            record.state, record.since_msc, record.why = state, time_msc, why
            self._note_open(key, record)
        self._note_doubt(key, record)

    def _note_active(self, ticket: int, state: int) -> None:
        if state in GONE:
            self._active.discard(ticket)
        else:
            self._active.add(ticket)

    def _note_doubt(self, key: str, record: _Record) -> None:
        if self._is_doubtful(record):
            self._doubts.add(key)
        else:
            self._doubts.discard(key)

    def _is_doubtful(self, record: _Record) -> bool:
        filled = self._filled(record)
        if not filled or record.kind == OrderKind.CLOSE_BY.value:  # that one has a deal at each of two positions
            return False
        volume = self._volume(record)
        return (volume is not None and filled > volume) or (bool(record.seen) and filled > _shown_filled(record.seen.values()))

    def _note_open(self, key: str, record: _Record) -> None:
        if OrderState(record.state) in FINAL:
            self._open.discard(key)
        else:
            self._open.add(key)

    def _index(self, key: str, record: _Record) -> None:
        """Note where an intent is found again: by its token and by its time."""
        if record.token is not None:
            self._tokens[record.token] = key
        if record.intended_msc is not None:
            insort(self._intents, (record.intended_msc, record.first_version, key))
        magic = (record.request or {}).get("magic")
        if magic is not None:
            self._magics.setdefault(magic, []).append(key)
        if record.kind == OrderKind.STOPS.value and record.position_id is not None:
            self._stops_asked.setdefault(record.position_id, []).append(key)

    def _evidence(self, record: _Record) -> Evidence:
        newest_seen = max((one[2] for one in record.seen.values()), default=0)
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
            records=tuple(state for state, *_ in sorted(record.seen.values(), key=lambda one: one[2])),
            is_seen_done=record.is_seen_done,
        )

    def _volume(self, record: _Record) -> Decimal | None:
        """Return what an order asks for; where it names no volume, what the broker's record of it does."""
        if record.volume is not None:
            return Decimal(record.volume)
        seen = [Decimal(volume) for _, volume, *_ in record.seen.values()]
        if seen:
            return max(seen)
        answered = Decimal(record.answered_volume or 0)
        return answered or None  # an answer states 0 where it knows none

    def _filled(self, record: _Record) -> Decimal:
        return exact_sum(volume for volume, _ in self._deals(record))

    def _deals(self, record: _Record) -> Iterator[tuple[Decimal, Decimal]]:
        """Yield volume and price of each deal of an order."""
        for ticket in record.tickets:
            yield from self._fills.get(ticket, {}).values()

    def _fill_price(self, record: _Record) -> Decimal | None:
        """Return the average price of an order's deals."""
        volume = self._filled(record)
        if not volume:
            return None
        cost = exact_sum(EXACT.multiply(part, price) for part, price in self._deals(record))
        return EXACT.divide(cost, volume).quantize(_PRICE_UNIT, context=EXACT).normalize(EXACT)

    # ---- asking

    def orders(self, *, at_utc_msc: int | None = None) -> tuple[Order, ...]:
        """Return all orders, in the order in which they came up.

        Args:
            at_utc_msc: The moment, in UTC: what nobody answered by the end of its validity is unknown from then on. None leaves
                it intended.
        """
        with self._lock:
            changes = self._changes(at_utc_msc)
            return tuple(self._shown(key, at_utc_msc, changes) for key in self._records)

    def open_orders(self, at_utc_msc: int | None = None) -> tuple[Order, ...]:
        """Return the orders that something may still come of, as ``orders``."""
        with self._lock:
            return self._several(self._open, at_utc_msc)

    def order(self, client_id: str, *, at_utc_msc: int | None = None) -> Order | None:
        """Return the order of a client id, None without one. ``at_utc_msc`` as for ``orders``."""
        return None if client_id.startswith("#") else self._one(client_id, at_utc_msc)

    def by_token(self, token: str, *, at_utc_msc: int | None = None) -> Order | None:
        """Return the intended order of a token, None without one. ``at_utc_msc`` as for ``orders``."""
        with self._lock:
            return self._one(self._tokens.get(token), at_utc_msc)

    def by_ticket(self, ticket: int, *, at_utc_msc: int | None = None) -> Order | None:
        """Return the order that has a ticket of the broker, ours or not, None without one. ``at_utc_msc`` as for ``orders``."""
        with self._lock:
            return self._one(self._key_of.get(ticket), at_utc_msc)

    def intended_since(self, utc_msc: int, *, at_utc_msc: int | None = None) -> tuple[Order, ...]:
        """Return the orders that were intended at a moment or later, UTC, whatever became of them; oldest first.

        An intent of an hour that the server's clock showed twice counts as one of the second time. ``at_utc_msc`` as for
        ``orders``.
        """
        with self._lock:
            first_msc = self.terms.clock.from_utc_msc(utc_msc) - _TWO_HOURS_MSC
            late = self._intents[bisect_left(self._intents, (first_msc,)) :]
            changes = self._changes(at_utc_msc)
            return tuple(
                self._shown(key, at_utc_msc, changes) for msc, _, key in late if self.terms.clock.readings(msc)[-1] >= utc_msc
            )

    def _one(self, key: str | None, at_utc_msc: int | None) -> Order | None:
        with self._lock:
            return None if key not in self._records else self._shown(key, at_utc_msc, self._changes(at_utc_msc))

    def _several(self, keys: Iterable[str], at_utc_msc: int | None) -> tuple[Order, ...]:
        changes = self._changes(at_utc_msc)
        ordered = sorted(keys, key=lambda key: (self._records[key].first_version, key))
        return tuple(self._shown(key, at_utc_msc, changes) for key in ordered)

    def _changes(self, at_utc_msc: int | None) -> Mapping[str, list[tuple[OrderKind, OrderState]]]:
        """Return whose order -> kind and state of what is under way about it: requests that are open."""
        changes: dict[str, list[tuple[OrderKind, OrderState]]] = {}
        for key in self._open:
            record = self._records[key]
            about = record.target_client_id or self._key_of.get(record.target_order or 0)
            if about is not None:
                changes.setdefault(about, []).append((OrderKind(record.kind), self._state_at(record, at_utc_msc)[0]))
        return changes

    @property
    def has_intents(self) -> bool:
        """Whether any order of ours was ever intended."""
        return bool(self._tokens)

    @property
    def intents_count(self) -> int:
        """How many orders of ours were ever intended."""
        return len(self._intents)

    def by_magic(self, magic: int) -> tuple[Order, ...]:
        """Return the orders that were intended with a magic number."""
        with self._lock:
            return self._several(self._magics.get(magic, ()), None)

    def stops_asked(self, position_id: int) -> tuple[Order, ...]:
        """Return the requests about the stops of a position, oldest first."""
        with self._lock:
            asked = self._stops_asked.get(position_id)
            return self._several(asked, None) if asked else ()

    def with_stops(self, positions: Iterable[int]) -> set[int]:
        """Return which positions may have stops as far as we know: some were asked for, came with an order or were shown."""
        asked, tickets, shown = self._stops_asked, self._key_of, self._stops
        with self._lock:
            return {one for one in positions if one in asked or one in tickets or str(one) in shown}

    # ---- what the broker showed of orders

    @property
    def active(self) -> frozenset[int]:
        """Tickets of the orders that the broker showed as active last, ours or not."""
        with self._lock:
            return frozenset(self._active)

    @property
    def doubtful(self) -> tuple[Order, ...]:
        """Orders whose deals are more than was asked for, or than the broker's record of them shows."""
        with self._lock:
            return self._several(self._doubts, None)

    def is_claimed(self, ticket: int) -> bool:
        """Return whether it is known whose an order is."""
        return ticket in self._key_of

    def is_seen(self, ticket: int) -> bool:
        """Return whether the broker ever showed an order."""
        return self._sight(ticket) is not None

    def is_as_seen(self, event: OrderSeen) -> bool:
        """Return whether the broker showed an order just so when it was recorded last."""
        sight = self._sight(event.ticket)
        return sight is not None and bool(sight[_DIGEST] == sight_digest(event))

    def setup_msc(self, ticket: int) -> int | None:
        """Return when an order was set up, as the broker showed it; None where it did not."""
        sight = self._sight(ticket)
        return None if sight is None else sight[_SETUP]

    def shown_filled(self, order: Order) -> Decimal:
        """Return how much of an order the broker showed as filled last, of all of its tickets."""
        return _shown_filled(filter(None, map(self._sight, order.tickets)))

    def is_dealt_when_done(self, order: Order) -> bool:
        """Return whether a deal of an order came after the broker had shown all of its tickets as done."""
        with self._lock:
            record = self._records.get(order.client_id or f"#{order.ticket}")
            if record is None or not record.seen or any(state not in GONE for state, *_ in record.seen.values()):
                return False
            return bool(record.dealt_version > max(one[2] for one in record.seen.values()))

    def is_settled_by_person(self, order: Order) -> bool:
        """Return whether a person resolved an order, after the last of its deals."""
        with self._lock:
            record = self._records.get(order.client_id or f"#{order.ticket}")
            is_person = record is not None and record.basis == OrderBasis.PERSON.value
            return is_person and record is not None and record.resolved_version > record.dealt_version

    def _sight(self, ticket: int) -> list[Any] | None:
        with self._lock:
            key = self._key_of.get(ticket)
            return None if key is None else self._records[key].seen.get(str(ticket))

    @property
    def pinned_store(self) -> str | None:
        """The gateway's store that new intents are pinned to, None as long as none is."""
        return None if self._pinned is None else str(self._pinned[1])

    @property
    def pinned_number(self) -> int:
        """How often a store was pinned."""
        return 0 if self._pinned is None else int(self._pinned[0])

    def halt_number(self, scope: HaltScope, name: str | None = None) -> int:
        """Return the number of the last halt or resumption of a scope, 0 before the first."""
        key = scope.value if name is None else f"{scope.value}:{name}"
        return int(self._halts.get(key, [0])[0])

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

    def stops_shown(self, position_id: int) -> tuple[Decimal | None, Decimal | None] | None:
        """Return sl and tp of a position as the broker showed them last, None where it never did."""
        with self._lock:
            known = self._stops.get(str(position_id))
        if known is None:
            return None
        sl, tp = (None if text is None else Decimal(text) for text in known)
        return sl, tp

    def _state_at(self, record: _Record, at_utc_msc: int | None) -> tuple[OrderState, int, str]:
        state, until = OrderState(record.state), record.valid_until_utc_msc
        if state is OrderState.INTENDED and at_utc_msc is not None and until is not None and until < at_utc_msc:
            return OrderState.UNKNOWN, self.terms.clock.from_utc_msc(until), "not answered while it was valid"
        return state, record.since_msc, record.why

    def _shown(self, key: str, at_utc_msc: int | None, changes: Mapping[str, list[tuple[OrderKind, OrderState]]]) -> Order:
        record = self._records[key]
        state, since_msc, why = self._state_at(record, at_utc_msc)
        broker_state, _, _, *shown = max(record.seen.values(), key=lambda one: one[2], default=[None] * 7)
        volume_current, price, sl, tp = (None if one is None else Decimal(one) for one in shown[:4])
        intended_msc = record.intended_msc
        return Order(
            client_id=record.client_id,
            token=record.token,
            kind=OrderKind(record.kind),
            symbol=record.symbol,
            side=Side(record.side) if record.side else None,
            volume=self._volume(record),
            filled=self._filled(record),
            state=overlaid(state, changes.get(key, ())),
            since_msc=since_msc,
            why=why,
            tickets=tuple(record.tickets),
            position_id=record.position_id,
            strategy=record.strategy,
            valid_until_utc_msc=record.valid_until_utc_msc,
            request=None if record.request is None else _request(record.request),
            store=record.store,
            checked_version=record.checked_version,
            intended_msc=intended_msc,
            intended_utc_msc=None if intended_msc is None else self.terms.clock.readings(intended_msc)[-1],
            verdict=None if record.verdict is None else Verdict(record.verdict),
            retcode=record.retcode,
            resolutions=record.resolved_number,
            outcome=None if record.outcome is None else OrderOutcome(record.outcome),
            basis=None if record.basis is None else OrderBasis(record.basis),
            broker_state=broker_state,
            volume_current=volume_current,
            price=price,
            sl=sl,
            tp=tp,
            fill_price=self._fill_price(record),
        )

    # ---- stored

    def state(self) -> dict[str, Any]:
        """Return everything that folding goes on from, as JSON values."""
        return {
            "orders": {key: asdict(record) for key, record in self._records.items()},
            "tickets": {str(ticket): key for ticket, key in self._key_of.items()},
            "fills": {
                str(ticket): {str(deal): [plain(volume), plain(price)] for deal, (volume, price) in deals.items()}
                for ticket, deals in self._fills.items()
                if deals
            },
            "limits": self._limits,
            "halts": self._halts,
            "carriers": self._carriers,
            "stops": self._stops,
            "pinned": self._pinned,
        }

    @classmethod
    def from_state(cls, terms: AccountTerms, state: Mapping[str, Any]) -> Orders:
        """Return the fold of a ``state``. Raises KeyError, TypeError or ValueError where it is none."""
        orders = cls(terms)
        orders._records = {key: _Record(**fields) for key, fields in state["orders"].items()}
        orders._key_of = {int(ticket): key for ticket, key in state["tickets"].items()}
        for ticket, deal, fill in _fills(state["fills"]):
            orders._fills.setdefault(ticket, {})[deal] = fill
            orders._ticket_of[deal] = ticket
        orders._limits, orders._halts = state["limits"], dict(state["halts"])
        orders._carriers, orders._stops = dict(state["carriers"]), dict(state["stops"])
        orders._pinned = state["pinned"]
        for key, record in orders._records.items():
            orders._note_open(key, record)
            if record.is_requested and not record.is_denied:
                orders._index(key, record)
            orders._note_doubt(key, record)
            for number, sight in record.seen.items():
                orders._note_active(int(number), sight[0])
        return orders


#: Kinds whose answers and targets name an order that is not their own.
WITHOUT_TICKETS: Final[Mapping[str, bool]] = {
    kind.value: True for kind in (OrderKind.STOPS, OrderKind.MODIFY, OrderKind.CANCEL)
}


def _fills(stored: Mapping[str, Mapping[str, Sequence[str]]]) -> Iterator[tuple[int, int, tuple[Decimal, Decimal]]]:
    for ticket, deals in stored.items():
        for deal, (volume, price) in deals.items():
            yield int(ticket), int(deal), (Decimal(volume), Decimal(price))


def _shown_filled(sights: Iterable[Sequence[Any]]) -> Decimal:
    """Return how much the broker showed as filled. Of an order that is filled, nothing else counts."""
    return exact_sum(filled_of(state, Decimal(initial), Decimal(current)) for state, initial, _, current, *_ in sights)


def filled_of(state: int, initial: Decimal, current: Decimal) -> Decimal:
    """Return how much of an order is filled, as the broker shows its state and volumes."""
    return initial if state == FILLED_CODE else max(Decimal(0), EXACT.subtract(initial, current))


def how_to_resume(scope: HaltScope, name: str | None) -> str:
    """Return the command that ends a halt."""
    return "ledger resume" if name is None else f"ledger resume --{scope.value} {quote(name)}"


def sight_digest(event: OrderSeen) -> str:
    """Return a digest of how the broker shows an order, whenever and in whatever answer."""
    found = asdict(event) | {"time_msc": None, "evidence": None}
    fields = sorted((name, _json_value(value)) for name, value in found.items() if value is not None)
    return sha256(repr(fields).encode()).hexdigest()[:32]


def _request_values(event: OrderIntended | OrderDenied) -> dict[str, Any]:
    """Return the request that an event records, as JSON values; what it does not ask for is left out."""
    found = {name: getattr(event, name) for name in FIELDS}
    return {name: _json_value(value) for name, value in found.items() if value is not None}


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    return value.value if isinstance(value, Enum) else value


def _request(values: Mapping[str, Any]) -> OrderRequest:
    fields: dict[str, Any] = dict(values)
    for name in _NUMBERS:
        if name in fields:
            fields[name] = Decimal(fields[name])
    for name, words in _WORDS.items():
        if name in fields:
            fields[name] = words(fields[name])
    return OrderRequest(**fields)


def _text(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)
