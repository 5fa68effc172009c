"""Events to stored rows and back. Stored names and schema versions are ours, never a class path.

Deals are stored in typed columns, because the fold reads them; every other event has its fields as JSON text in
``data`` (exact decimals as text) beside the few columns that people search by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Any, Final, NamedTuple

from ledger import events
from ledger.errors import CorruptEvent, LedgerError, UnknownEvent
from ledger.events import (
    BY_VERSION_KINDS,
    ORDER_KINDS,
    AccountOpened,
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakKind,
    BreakNoted,
    BreakOpened,
    CarrierBroken,
    CarrierProven,
    CashMoved,
    CorrectionDecided,
    CorrectionProposed,
    Deal,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Event,
    FillRecorded,
    GatewayIdentified,
    GhostClosed,
    IdentityRelaxed,
    IdentityRequired,
    LimitsSet,
    OrderAnswered,
    OrderDenied,
    OrderIntended,
    OrderResolved,
    OrderSeen,
    Origin,
    PolicySet,
    PositionRecovered,
    PositionReticketed,
    Recorded,
    StopsSeen,
    StorePinned,
    SymbolSpecified,
    SyncDegraded,
    SyncRestored,
    TradingHalted,
    TradingResumed,
)
from ledger.events.deals import make_deal
from ledger.events.plain import plain_fields as plain_fields  # noqa: PLC0414  # many read it from here
from ledger.fold_order import asserted, asserted_place
from ledger.postings import (
    ASSERTED,
    DEAL_SCHEMA,
    IN_ORDER,
    MONEY,
    NO_DEAL,
    OUT_OF_ORDER,
    OUTSIDE_FOLD,
    FoldKey,
    Posting,
    Row,
    deal_posting,
    dump_json,
    second_of,
)
from ledger.terms import AccountTerms, check_fit, terms_after
from ledger.values import AccountId, signed_magic, unscaled


class Stored(NamedTuple):
    """A row of the events table: first what the fold reads (see ``Posting``), then the rest.

    ``placement`` states how replay finds the event's place (see ``ledger.postings``); ``recorded_us`` is UTC in
    microseconds. Then comes the chain (see ``ledger.journal.chain``), and last what is derived of what it covers: the place
    in the fold order, as second and deal ticket, of events that do not arrive in it; the client id and token that one names.
    """

    time_msc: int
    deal: int | None
    version: int
    kind: str
    deal_type: int | None
    entry: int | None
    position_id: int | None
    order_ticket: int | None
    symbol: str | None
    volume: int | None
    price: int | None
    commission: int | None
    fee: int | None
    swap: int | None
    profit: int | None
    magic: int | None
    data: str | None
    schema: int
    placement: int
    recorded_us: int
    natural_key: str
    correlation: str | None
    caused_by: int | None
    evidence: str | None
    reason: int | None
    comment: str | None
    origin: str | None
    prev_hash: bytes
    hash: bytes
    checks: bytes
    order_msc: int | None
    order_deal: int | None
    client_id: str | None = None
    token: str | None = None


assert Stored._fields[: len(Posting._fields)] == Posting._fields

#: Which of these columns hold text, and which bytes; all others hold whole numbers.
TEXT_COLUMNS: Final = frozenset(
    ("kind", "symbol", "data", "natural_key", "correlation", "evidence", "comment", "origin", "client_id", "token")
)
BYTE_COLUMNS: Final = frozenset(("prev_hash", "hash", "checks"))

#: Stored name -> class and the schema version it is written with.
KINDS: Final[Mapping[str, tuple[type[Event], int]]] = {
    cls.__name__: (cls, schema)
    for schema, cls in (
        (1, AccountOpened),
        (1, SymbolSpecified),
        (1, FillRecorded),
        (1, CashMoved),
        (1, DealCompleted),
        (1, DealRevised),
        (1, PositionRecovered),
        (1, GhostClosed),
        (1, DriftCorrected),
        (1, PositionReticketed),
        (5, BreakOpened),
        (3, BreakClosed),
        (1, SyncDegraded),
        (1, SyncRestored),
        (1, BalanceAsserted),
        (1, GatewayIdentified),
        (1, IdentityRelaxed),
        (1, IdentityRequired),
        (3, Adjusted),
        (1, OrderIntended),
        (1, OrderDenied),
        (1, OrderAnswered),
        (1, OrderSeen),
        (1, OrderResolved),
        (1, StopsSeen),
        (1, LimitsSet),
        (1, TradingHalted),
        (1, TradingResumed),
        (1, CarrierProven),
        (1, CarrierBroken),
        (1, StorePinned),
        (1, CorrectionProposed),
        (1, CorrectionDecided),
        (1, PolicySet),
        (1, BreakNoted),
    )
}

assert KINDS["FillRecorded"][1] == KINDS["CashMoved"][1] == DEAL_SCHEMA
#: What reading a row ends with that does not hold what its kind needs: the last one where JSON is nested without end.
_UNREADABLE: Final = (LedgerError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RecursionError)
_ORIGINS: Final = {origin: origin.value for origin in Origin}  # reading the value of an enum's member is slow


# -------------------------------------------------------------------------------------------------------------- to a row


def encode(event: Event, terms: AccountTerms) -> Stored:
    """Return an event as a row that has no place in a stream yet: version, recorded time, key and chain are empty.

    Raises:
        InexactNumber: A number does not fit the scales of the account or symbol.
    """
    match event:
        case FillRecorded() | CashMoved():
            return _unchained(deal_columns(event, terms))
        case DealRevised():
            return _unchained(deal_columns(event.now, terms))._replace(kind="DealRevised", caused_by=event.caused_by)
        case DealCompleted():
            return _blank(event)._replace(
                deal=event.deal,
                position_id=event.position_id,
                magic=signed_magic(event.magic),
                caused_by=event.caused_by,
                origin=event.origin.value,
                commission=_money_units(event.commission, terms, "commission"),
                fee=_money_units(event.fee, terms, "fee"),
                swap=_money_units(event.swap, terms, "swap"),
                profit=_money_units(event.profit, terms, "profit"),
            )
        case _:
            check_fit(event, terms)
            return encode_payload(event)


def _unchained(columns: tuple[Any, ...]) -> Stored:
    return Stored._make((*columns, b"", b"", b"", None, None, None, None))


def encode_payload(event: Event) -> Stored:
    """Return an event that is not about a deal as a row: its fields are JSON, whatever the account terms."""
    get, kind = partial(_field, event), type(event).__name__
    return Stored(
        event.time_msc, None, 0, kind, None, None, get("position_id"), None, get("symbol"), None, None, None, None, None, None,
        None, dump_json(plain_fields(event)), KINDS[kind][1], 0, 0, "", None, get("caused_by"), get("evidence"), None, None,
        None, b"", b"", b"", None, None, get("client_id"), get("token"),
    )  # fmt: skip


def _field(event: Event, name: str) -> Any:
    return getattr(event, name, None)


def names_of(row: Stored) -> tuple[str | None, str | None]:
    """Return the client id and the token that a row names in what is recorded of it.

    Raises:
        CorruptEvent: It does not hold what its kind needs.
    """
    if row.kind in events.DEAL_KINDS or row.data is None:
        return None, None
    try:
        fields = json.loads(row.data)
        return fields.get("client_id"), fields.get("token")
    except _UNREADABLE as error:
        raise CorruptEvent(f"version {row.version}: {row.kind} cannot be read: {error}") from error


def _blank(event: Event) -> Stored:
    kind = type(event).__name__
    empty = dict.fromkeys(Stored._fields)
    empty |= {"version": 0, "recorded_us": 0, "natural_key": "", "placement": 0, "prev_hash": b"", "hash": b""}
    empty |= {"checks": b"", "kind": kind, "schema": KINDS[kind][1], "time_msc": event.time_msc}
    return Stored(**empty)  # type: ignore[arg-type]


def _money_units(amount: Decimal | None, terms: AccountTerms, name: str) -> int | None:
    return None if amount is None else terms.money_units(amount, name)


def deal_columns(
    deal: Deal,
    terms: AccountTerms,
    version: int = 0,
    placement: int = 0,
    recorded_us: int = 0,
    key: str = "",
    correlation: str | None = None,
) -> tuple[Any, ...]:
    """Return a deal as the columns of ``Stored`` before those of the chain: its own fields, and what being recorded adds.

    Raises:
        InexactNumber: A number does not fit the scales of the account or symbol.
    """
    rest = (placement, recorded_us, key, correlation, None, None, deal.reason, deal.comment, _ORIGINS[deal.origin])
    return deal_posting(deal, terms, version) + rest


# ---------------------------------------------------------------------------------------------------------- natural keys

#: What is no part of the fold of positions and money: it applies at every moment, or is folded by version.
_OUTSIDE: Final = frozenset({"AccountOpened", "SymbolSpecified"}) | BY_VERSION_KINDS
#: Where the natural keys of all events about orders are, whatever a database sorts texts by: the first of each part, and what
#: is behind it. A letter is compared before any mark and any case.
ORDER_KEYS: Final = (
    ("carrier", "carries"),
    ("halt", "halu"),
    ("limits", "limitt"),
    ("order", "ordes"),
    ("pin", "pio"),
    ("stops", "stopt"),
)
#: The same for what people proposed, decided and noted.
APPROVAL_KEYS: Final = ("approval", "approvam")
#: Of what was seen in a snapshot, two reconcilers see the same at different times and with different evidence.
_CORRECTIONS: Final = ("PositionRecovered", "GhostClosed", "DriftCorrected", "PositionReticketed")


def natural_key(event: Event) -> str:
    """Return what an event is known by in its account. Later records of the same are numbered behind a ``#``.

    A deal is its ticket, a symbol its name; what the broker shows of an order or of the stops of a position is known by that
    order or position, limits by being limits. Everything else is known by a digest of its content.
    """
    match event:
        case FillRecorded() | CashMoved() | DealCompleted() | DealRevised():
            return f"deal:{event.deal}"
        case AccountOpened():
            return "account"
        case GatewayIdentified():
            return "identity"  # once an account
        case SymbolSpecified():
            return f"symbol:{event.symbol.replace('#', '##')}"  # a single # is left to number the records
        case BreakOpened(kind=BreakKind.CLOCK, deal=int()):
            return f"BreakOpened:clock:{event.ours}"  # one for each clock rule that was found wrong
        case BreakOpened(kind=BreakKind.APPROVAL) | BreakClosed():  # the former beside the proposal that it is about
            within = "approval:" if event.kind is BreakKind.APPROVAL else ""
            return f"{within}{type(event).__name__}:{event.caused_by}"
        case CorrectionProposed() | CorrectionDecided() | PolicySet() | BreakNoted():
            fields = plain_fields(event) | {"time_msc": event.time_msc}
            return f"approval:{type(event).__name__}:{sha256(dump_json(fields).encode()).hexdigest()[:32]}"
        case _ if (kind := type(event).__name__) in ORDER_KINDS:
            return _order_key(event)
        case _:
            fields = plain_fields(event)
            if kind != "BreakOpened":  # two answers that show the same at once are two sights
                fields.pop("evidence", None)
            if kind not in _CORRECTIONS:
                fields["time_msc"] = event.time_msc
            about = f"{position_id}:" if (position_id := getattr(event, "position_id", None)) else ""
            return f"{kind}:{about}{sha256(dump_json(fields).encode()).hexdigest()[:32]}"


def _order_key(event: Any) -> str:
    match event:
        case OrderIntended() | OrderDenied():  # one of the two: a client id that was denied is used up
            key = f"order:{event.client_id}"
        case OrderAnswered():
            key = f"order:{event.client_id}:answer"
        case OrderResolved():
            key = f"order:{event.client_id}:resolved:{event.number}"
        case TradingHalted() | TradingResumed():
            scope = event.scope.value if event.name is None else f"{event.scope.value}:{event.name.replace('#', '##')}"
            key = f"halt:{scope}:{event.number}"
        case OrderSeen():
            key = f"order:{event.ticket}:seen"
        case StopsSeen():
            key = f"stops:{event.position_id}"
        case StorePinned():
            key = f"pin:{event.number}"
        case LimitsSet():
            key = "limits"
        case _:
            key = f"carrier:{event.kind.value}:{_content_digest(event)}"
    return key


def _content_digest(event: CarrierProven | CarrierBroken) -> str:
    """Return a digest of what somebody saw of an order, whenever and in whatever answer."""
    return sha256(dump_json({"event": type(event).__name__} | content_of(event)).encode()).hexdigest()[:32]


def content_of(event: Event) -> dict[str, Any]:
    """Return what makes two events about the same one fact: whenever and by whomever it was seen or set, in whatever answer."""
    if isinstance(event, LimitsSet):
        return {"rules": event.rules}
    fields = plain_fields(event)
    fields.pop("evidence", None)
    return fields


def is_for_orders(row: Stored) -> bool:
    """Return whether the fold of orders reads a row: what is about orders, and the records of deals that name an order."""
    return row.kind in ORDER_KINDS or row.order_ticket is not None or row.kind == "DealRevised"


def placement_of(kind: str, at: tuple[int, int], last: tuple[int, int]) -> int:
    """Return how replay finds an event that asserts nothing.

    Args:
        kind: Its stored name.
        at: Its broker time and deal (``NO_DEAL`` for none).
        last: Those of the latest event that arrived in order before it.
    """
    if kind in _OUTSIDE:
        return OUTSIDE_FOLD
    return OUT_OF_ORDER if kind in ("DealCompleted", "DealRevised") else arrival_of(at, last)


def arrival_of(at: tuple[int, int], last: tuple[int, int]) -> int:
    """Return the placement of what is folded at its own time: the first record of a deal, or what is no deal."""
    return OUT_OF_ORDER if (second_of(at[0]), at[1]) < (second_of(last[0]), last[1]) else IN_ORDER


#: Position id (None: the balance) -> second and deal ticket of the latest assertion about it, None without any.
LatestAsserted = Callable[[int | None], tuple[int, int] | None]


def placed(row: Stored | tuple[Any, ...], last: tuple[int, int], latest: LatestAsserted) -> tuple[int, int | None, int | None]:
    """Return the placement of a row, and the second and deal ticket of its place where it did not arrive in order.

    Args:
        row: Of any event; only what is recorded of it is looked at.
        last: Broker time and deal of the latest event that arrived in order before it.
        latest: What was asserted before it.
    """
    time_msc, deal, kind = row[0], NO_DEAL if row[1] is None else row[1], row[3]
    own = asserted(kind, time_msc, row[6], row[16])
    if own is not None:
        return ASSERTED, *asserted_place(own, latest(own.position_id))
    placement = placement_of(kind, (time_msc, deal), last)
    return (placement, second_of(time_msc), deal) if placement == OUT_OF_ORDER else (placement, None, None)


def stored_place(row: Stored) -> FoldKey:
    """Return the place of a row in the fold order of an account whose tickets rise with time."""
    deal = NO_DEAL if row.deal is None else row.deal
    if row.order_msc is None or row.order_deal is None:
        return second_of(row.time_msc), deal, row.version if row.deal is None else 0
    return row.order_msc, row.order_deal, row.version if row.deal is None else 0


def first_place(row: Stored) -> FoldKey:
    """Return a place that a row is not before, whatever orders the events of its account.

    What is ordered by time has an assertion at the time of it, which may be before the place that a row states: never before an
    earlier assertion of the same.
    """
    stored = stored_place(row)
    return stored if row.deal is not None else min(stored, (second_of(row.time_msc), NO_DEAL, row.version))


def nth_key(key: str, number: int) -> str:
    """Return the natural key of the n-th record, from 1 on."""
    return key if number == 1 else f"{key}#{number}"


def is_record_of(stored: str, key: str) -> bool:
    """Return whether a stored natural key is that of some record of what is known by a key."""
    if stored == key:
        return True
    number = stored.removeprefix(f"{key}#")
    return number != stored and number.isascii() and number.isdigit() and number[0] != "0" and number != "1"


# ------------------------------------------------------------------------------------------------------------ from a row

Payload = dict[str, Any]


def _break_opened_2(fields: Payload) -> Payload:
    """Count what was not counted yet: one snapshot showed the break, and no correction was tried."""
    return {"confirmations": 1, "attempts": 0} | fields


#: (stored name, older schema version) -> lifts the fields of an event, as JSON values, by one version. Stored rows are never
#: rewritten. Deals have their fields in columns, whose meaning never changes: a later version may only add some.
LIFTS: Final[Mapping[tuple[str, int], Callable[[Payload], Payload]]] = {
    ("BreakOpened", 1): _break_opened_2,
    ("BreakOpened", 2): lambda fields: fields,  # nothing flapped that anybody counted
    ("BreakOpened", 3): lambda fields: fields,  # no break was about an order
    ("BreakOpened", 4): lambda fields: fields,  # no break was about an approval
    ("BreakClosed", 1): lambda fields: fields,
    ("BreakClosed", 2): lambda fields: fields,
    ("Adjusted", 1): lambda fields: fields,  # neither deals nor results were adjusted
    ("Adjusted", 2): lambda fields: fields,  # no decision of a second person allowed any
}


def check_known(row: Stored) -> None:
    """Refuse a row that this program cannot read.

    Raises:
        UnknownEvent: The name is not known, or the row is of a newer version.
    """
    _schemas(row.kind, row.schema, row.version)


def _schemas(kind: str, schema: int, version: int) -> range:
    """Return the schema versions that an event has to be lifted from, one after the other."""
    if kind not in KINDS:
        raise UnknownEvent(f"version {version}: expected one of {', '.join(KINDS)}, found {kind!r}")
    current = KINDS[kind][1]
    if not 1 <= schema <= current:
        raise UnknownEvent(
            f"version {version}: {kind} has schema {schema}, this program knows 1 to {current}. Use a newer ledger."
        )
    return range(schema, current)


def decode(row: Stored, terms: AccountTerms | None) -> Event:
    """Return the event of a stored row. ``terms`` may be None for an event that is not a deal.

    Raises:
        UnknownEvent: The row's name or version is not known.
        CorruptEvent: The row does not hold what its kind needs.
    """
    check_known(row)
    if row.kind not in events.DEAL_KINDS:
        return decode_posting(row)
    assert terms is not None, "deals are read with the scales of their account"
    try:
        return _decode_deal(row, terms)
    except _UNREADABLE as error:
        raise CorruptEvent(f"version {row.version}: {row.kind} cannot be read: {error}") from error


def decode_posting(row: Row) -> Event:
    """Return the event of a posting that is not a deal: its time and the fields in ``data``.

    Raises:
        UnknownEvent: The posting's name is not known.
        CorruptEvent: The posting does not hold what its kind needs.
    """
    time_msc, _, version, kind, *_, data, written = row[: len(Posting._fields)]
    steps = _schemas(kind, written, version)
    make: Callable[..., Event] = KINDS[kind][0]
    try:
        fields = json.loads(data)
        fields.pop("time_msc", None)
        for schema in steps:
            fields = LIFTS[kind, schema](fields)
        return make(time_msc=time_msc, **fields)
    except _UNREADABLE as error:
        raise CorruptEvent(f"version {version}: {kind} cannot be read: {error}") from error


def _decode_deal(row: Stored, terms: AccountTerms) -> Event:
    money = {name: _of_money(getattr(row, name), terms) for name in MONEY}
    if row.deal is None:
        raise ValueError("it has no deal ticket")
    if row.kind == "DealCompleted":
        return DealCompleted(
            deal=row.deal, time_msc=row.time_msc, caused_by=row.caused_by or 0, position_id=row.position_id,
            magic=row.magic, origin=row.origin or Origin.ENGINE, **money,
        )  # fmt: skip
    price_scale, volume_scale = terms.scales(row.symbol or "")
    extra = json.loads(row.data) if row.data else {}
    fields: dict[str, Any] = {
        "deal": row.deal,
        "symbol": row.symbol,
        "entry": row.entry,
        "volume": None if row.volume is None else unscaled(row.volume, volume_scale),
        "price": None if row.price is None else unscaled(row.price, price_scale),
        "time_msc": row.time_msc,
        "order": row.order_ticket,
        "position_id": row.position_id,
        "magic": row.magic,
        "reason": row.reason,
        "comment": row.comment,
        "external_id": extra.get("external_id"),
        "origin": row.origin,
        **money,
    }
    deal = make_deal(row.deal_type, extra.get("word"), fields)
    return DealRevised(now=deal, caused_by=row.caused_by or 0) if row.kind == "DealRevised" else deal


def _of_money(amount: int | None, terms: AccountTerms) -> Decimal | None:
    return None if amount is None else unscaled(amount, terms.opened.money_scale)


def recorded(account: AccountId, row: Stored, terms: AccountTerms | None) -> Recorded:
    """Return a stored row as the event that was recorded."""
    return Recorded(
        account=account,
        version=row.version,
        recorded_us=row.recorded_us,
        natural_key=row.natural_key,
        event=decode(row, terms),
        head=row.hash.hex(),
        correlation=row.correlation,
    )


def posting(row: Stored) -> Row:
    """Return the part of a stored row that the fold reads."""
    return (row[0], NO_DEAL if row[1] is None else row[1], *row[2:18])


def terms_of(rows: Iterable[Stored]) -> AccountTerms | None:
    """Return the account terms after the events of an account that change them, ascending; None before it was opened."""
    return terms_after(None, (decode(row, None) for row in rows))
