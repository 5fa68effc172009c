"""Bytes to values: answers, as the client reads them, and requests, as a server does.

Answers are read strictly: what cannot be read whole is refused, with row and field named. The known variants of the base form
are read through the tables below. Nothing required is defaulted, nothing is skipped; keys that are not known are left alone.
Whatever the bytes are, an answer is read, or one of the gateway's errors is raised, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from sys import intern
from typing import Any, Final

from ledger.clock import TIME_MAX_MSC, TIME_MIN_MSC
from ledger.errors import BadValue, GatewayRefused, InexactNumber, SnapshotRefused
from ledger.events import Deal, Origin
from ledger.events.deals import make_deal
from ledger.events.orders import to_client_id
from ledger.mt5 import deal_type_of
from ledger.protocol.echo import STATUS_BAD, STATUS_GOOD, Asked, is_engine_form, is_wanted, status_of
from ledger.protocol.fields import Fields, as_whole, is_size
from ledger.protocol.json_stream import AnswerParts, Columns, read_answer, shown
from ledger.protocol.messages import (
    EVENTS_LIMIT,
    EVENTS_LIMIT_MAX,
    AskOrderStatus,
    CheckOrder,
    GetAccount,
    GetDeals,
    GetEvents,
    GetOrderHistory,
    GetOrders,
    GetPositions,
    GetSymbols,
    GetTick,
    Ping,
    Query,
    Request,
    SendOrder,
)
from ledger.protocol.order_requests import FieldRefused, read_order_message
from ledger.snapshot import (
    PushedEvent,
    RemoteAccount,
    RemoteHistory,
    RemotePosition,
    RemoteService,
    RemoteSymbol,
    Snapshot,
)
from ledger.values import INT64_MAX, TRADES, UINT64_MAX, Side, to_entry

Json = Mapping[str, Any]

#: What is written elsewhere -> what we write. Every spelling that is accepted is here.
KEY_VARIANTS: Final[Mapping[str, str]] = {"open_price": "price_open"}
SIDES: Final[Mapping[Any, Side]] = {
    **{word: side for side in Side for word in (side.value, side.value.upper(), side.value.capitalize())},
    **{f"POSITION_TYPE_{side.value.upper()}": side for side in Side},
    **{f"DEAL_TYPE_{side.value.upper()}": side for side in Side},
}

#: What is read of the row of a position.
_POSITION_FIELDS: Final = (
    "ticket", "identifier", "type", "symbol", "volume", "price_open", "time_msc", "time_update_msc", "magic", "comment",
    "profit", "swap", "sl", "tp", "time", "time_update",
)  # fmt: skip
POSITION_COLUMNS: Final = Columns(_POSITION_FIELDS, frozenset(KEY_VARIANTS))

#: A volume or a price between these two is plain, and read at once.
_LEAST_PLAIN: Final = Decimal("1e-9")
_MOST_PLAIN: Final = Decimal("1e9")
_NO_STOP: Final = Decimal(0)

#: The answer to a message that is no request.
NO_REQUEST: Final = "expected a JSON object with an action"
_ID_DEPTH_MAX: Final = 8  # how deep lists and objects may be nested in the id of a request


def _read(
    raw: bytes,
    action: str,
    asked: Asked | None,
    key: str = "",
    read_row: Callable[[Any, int], Any] = lambda row, _: row,
    columns: Columns | None = None,
) -> tuple[AnswerParts, Fields]:
    """Return a good answer and its fields.

    Raises:
        AnotherAnswer: It is the answer to another request.
        GatewayRefused: It is an error.
        SnapshotRefused: Its status is missing, or it cannot be read.
    """
    answer = read_answer(raw, key, read_row, is_wanted, columns)
    fields = answer.fields
    if asked is not None:
        asked.check(fields)
    word = status_of(fields)
    if word in STATUS_BAD:
        code, given = (fields.get(name) for name in ("error_code", "error_msg"))
        raise GatewayRefused(action, code=_text(code), detail=_text(given))
    if word not in STATUS_GOOD:
        raise SnapshotRefused(f"expected {' or '.join(STATUS_GOOD)}, found {shown(fields.get('status'))}", field="status")
    return answer, Fields(fields)


def _text(value: object) -> str | None:
    if value is None:
        return None
    return ascii(value)[1:-1][:200] if isinstance(value, str) else shown(value)


def rows_of(answer: AnswerParts, key: str) -> list[Any]:
    """Return the rows of an answer.

    Raises:
        SnapshotRefused: There is no list, or one of them could not be read.
    """
    if answer.rows is None:
        raise SnapshotRefused(f"expected a list, found {'nothing' if answer.found is None else shown(answer.found)}", field=key)
    if answer.refused is not None:
        raise answer.refused
    return answer.rows


def _twice(names: Iterable[str]) -> str | None:
    """Return the first name that comes a second time."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def renamed(row: Json, names: Mapping[str, str], number: int) -> Json:
    """Return a row under our names. A field that is given under two names may have two meanings, and is refused."""
    ours = [names.get(name, name) for name in row]
    twice = _twice(ours)
    if twice is not None:
        raise SnapshotRefused("expected it under one name, found it under two", row=number, field=twice)
    return dict(zip(ours, row.values(), strict=True))


def _row_fields(row: Any, number: int) -> Fields:
    if type(row) is not dict:
        raise SnapshotRefused(f"expected a JSON object, found {shown(row)}", row=number)
    if not KEY_VARIANTS.keys().isdisjoint(row):
        row = renamed(row, KEY_VARIANTS, number)
    return Fields(row, number)


# ---- positions


def read_snapshot(raw: bytes, asked: Asked | None = None) -> Snapshot:
    """Read the answer to GET_POSITIONS.

    Args:
        raw: The answer as it came in.
        asked: The request; the answer is of the extended form if it names it. None reads an answer of whatever request.

    Raises:
        AnotherAnswer: It is the answer to another request.
        GatewayRefused: The gateway answered an error.
        SnapshotRefused: It cannot be read whole.
    """
    answer, fields = _read(raw, "GET_POSITIONS", asked, "positions", read_position, POSITION_COLUMNS)
    is_extended = asked is not None and asked.is_echoed
    return Snapshot(
        positions=tuple(rows_of(answer, "positions")),
        raw=raw,
        is_extended=is_extended,
        is_engine_form=not is_extended and is_engine_form(answer.fields),
        server_time_msc=fields.time_msc("server_time_msc", "server_time"),
        count=fields.optional("count", fields.whole),
        login=fields.optional("login", fields.whole),
        server=fields.optional("server", fields.text),
        mode=fields.mode(),
        connected=fields.optional("connected", fields.truth),
    )


def read_position(row: Any, number: int) -> RemotePosition:
    """Read a position in the base or the extended form: an object, or its ``_POSITION_FIELDS``.

    What is plain is read at once, as a thousand rows come at a time; all else by the strict readers.
    """
    if type(row) is not tuple:
        row = tuple(map(_row_fields(row, number).found.get, _POSITION_FIELDS))
    (ticket, identifier, kind, symbol, volume, price, opened_msc, updated_msc, magic, comment, profit, swap, sl, tp, _,
     updated_sec) = row  # fmt: skip

    def strict() -> Fields:
        return Fields(dict(zip(_POSITION_FIELDS, row, strict=True)), number)

    if type(ticket) is not int or not 0 < ticket < INT64_MAX:
        ticket = strict().ticket("ticket", strict().given("ticket"))
    if identifier is not None and (type(identifier) is not int or not 0 < identifier < INT64_MAX):
        identifier = strict().ticket_or_none("identifier")
    if type(volume) is not Decimal or not _LEAST_PLAIN <= volume <= _MOST_PLAIN:
        volume = strict().number("volume", strict().given("volume"))
        if volume <= 0:
            raise strict().refuse("volume", "a volume of more than 0", str(volume))
    if type(price) is not Decimal or not _LEAST_PLAIN <= price <= _MOST_PLAIN:
        price = strict().number("price_open", strict().given("price_open"))  # below 0 it has been, for oil in 2020
    if type(symbol) is not str or not symbol.isalnum() or not symbol.isascii():
        symbol = strict().symbol()
    if type(opened_msc) is not int or not TIME_MIN_MSC <= opened_msc <= TIME_MAX_MSC:
        opened_msc = strict().time_msc("time_msc", "time")
    if type(updated_msc) is not int or not TIME_MIN_MSC <= updated_msc <= TIME_MAX_MSC:
        is_stated = updated_msc is not None or updated_sec is not None
        updated_msc = strict().time_msc("time_update_msc", "time_update") if is_stated else None
    is_magic = type(magic) is int and 0 <= magic <= UINT64_MAX
    side = SIDES.get(kind) if type(kind) is str else None
    return RemotePosition(
        position_id=identifier or ticket,
        ticket=ticket,
        is_identified=identifier is not None,
        symbol=intern(symbol),
        side=side or side_of(strict(), "type", strict().given("type")),
        volume=volume,
        price_open=price or None,
        opened_msc=opened_msc,
        updated_msc=updated_msc,
        magic=magic if magic is None or is_magic else strict().magic("magic", magic),
        comment=None if comment is None or comment == "" else strict().remark("comment", comment),
        profit=profit if profit is None or is_size(profit) else strict().number("profit", profit),
        swap=swap if swap is None or is_size(swap) else strict().number("swap", swap),
        sl=sl if sl is None or (type(sl) is Decimal and _NO_STOP <= sl <= _MOST_PLAIN) else _stop(strict(), "sl"),
        tp=tp if tp is None or (type(tp) is Decimal and _NO_STOP <= tp <= _MOST_PLAIN) else _stop(strict(), "tp"),
    )


def _stop(fields: Fields, name: str) -> Decimal | None:
    """Read a stop. One that cannot be read is not stated: nothing of a position depends on it."""
    try:
        return fields.optional(name, fields.number)
    except SnapshotRefused:
        return None


def side_of(fields: Fields, name: str, value: Any) -> Side:
    """Read a side: a word of the table, or MT5's code."""
    code = None if type(value) is str else as_whole(value)
    if code in (0, 1):
        return Side.SELL if code else Side.BUY
    found = SIDES.get(value) if type(value) is str else None
    if found is None:
        raise fields.refuse(name, "buy or sell", value)
    return found


# ---- account, deals, symbols


def read_account(raw: bytes, asked: Asked | None = None) -> RemoteAccount:
    """Read the answer to GET_ACCOUNT. Raises as ``read_snapshot``."""
    answer, head = _read(raw, "GET_ACCOUNT", asked)
    found = answer.fields.get("account")
    if type(found) is not dict:
        raise SnapshotRefused(f"expected a JSON object, found {shown(found)}", field="account")
    fields = Fields(found)
    mode = fields.mode()
    if mode is None:
        raise SnapshotRefused("is missing", field="margin_mode")
    currency = fields.text("currency", fields.given("currency"))
    server = fields.text("server", fields.given("server"))
    if not currency.strip() or not server.strip() or "/" in server:
        raise fields.refuse("currency, server", "names", f"{currency!r}, {server!r}")
    return RemoteAccount(
        login=fields.whole("login", fields.given("login")),
        server=server,
        currency=currency,
        mode=mode,
        balance=fields.number("balance", fields.given("balance")),
        credit=fields.number("credit", fields.given("credit")),
        currency_digits=fields.optional("currency_digits", lambda name, value: fields.whole(name, value, 0, 15)),
        equity=fields.optional("equity", fields.number),
        margin=fields.optional("margin", fields.number),
        orders_limit=fields.optional("limit_orders", lambda name, value: fields.whole(name, value, 0, 2**31 - 1)),
        connected=head.optional("connected", head.truth),
    )


def read_deals(raw: bytes, asked: Asked | None = None) -> RemoteHistory:
    """Read the answer to GET_DEALS: MT5's deal fields, codes or words. Raises as ``read_snapshot``."""
    answer, fields = _read(raw, "GET_DEALS", asked, "deals", read_deal)
    rows = rows_of(answer, "deals")
    count = fields.optional("count", fields.whole)
    if count is not None and count != len(rows):
        raise SnapshotRefused(f"expected the {count} rows that it states, found {len(rows)}", field="count")
    return RemoteHistory(
        deals=tuple(rows),
        login=fields.optional("login", fields.whole),
        server=fields.optional("server", fields.text),
        mode=fields.mode(),
        connected=fields.optional("connected", fields.truth),
    )


def read_deal(row: Any, number: int) -> Deal:
    """Read one row of deals.

    Raises:
        SnapshotRefused: It cannot be read whole.
    """
    fields = _row_fields(row, number)
    given = fields.given("type")
    deal_type, word = _deal_type(fields, given)
    time_msc = fields.time_msc("time_msc", "time")
    if time_msc is None:
        raise SnapshotRefused("is missing", row=number, field="time")
    common: dict[str, Any] = {
        "deal": fields.ticket("ticket", fields.given("ticket")),
        "time_msc": time_msc,
        "order": fields.ticket_or_none("order"),
        "position_id": fields.ticket_or_none("position_id"),
        "commission": fields.optional("commission", fields.number),
        "fee": fields.optional("fee", fields.number),
        "swap": fields.optional("swap", fields.number),
        "magic": fields.optional("magic", fields.magic),
        "reason": fields.optional("reason", lambda name, value: fields.whole(name, value, 0, 2**31 - 1)),
        "comment": fields.optional("comment", fields.remark),
        "external_id": fields.optional("external_id", fields.remark),
        "origin": Origin.RECOVERY,
    }
    entry = fields.word("entry", to_entry, "in, out, in/out, out by or MT5's code")
    try:
        if deal_type in TRADES:
            if entry is None:
                raise SnapshotRefused("is missing", row=number, field="entry")
            common |= {
                "symbol": fields.symbol(),
                "volume": fields.number("volume", fields.given("volume")),
                "price": fields.number("price", fields.given("price")),
                "profit": fields.optional("profit", fields.number),
            }
        else:
            common |= {
                "symbol": fields.optional("symbol", fields.text),
                "volume": fields.optional("volume", fields.number),
                "price": fields.optional("price", fields.number),
                "profit": fields.number("profit", fields.given("profit")),
            }
        return make_deal(deal_type, word, common | {"entry": entry})
    except (BadValue, InexactNumber) as error:
        raise SnapshotRefused(str(error)[:200], row=number) from error


def _deal_type(fields: Fields, given: Any) -> tuple[int | None, str | None]:
    """Return the code of a deal's type; an undocumented word is stored as it is.

    A word may be the name that MQL5 gives it, as ``DEAL_TYPE_COMMISSION_DAILY`` or ``DEAL_TAX`` (ENUM_DEAL_TYPE).
    """
    code, word = deal_type_of(given)
    if code is not None:
        return fields.whole("type", code, 0, 2**31 - 1), None
    if not fields.text("type", given).strip() or not word:
        raise fields.refuse("type", "a deal type", given)
    return None, word


def read_symbols(raw: bytes, asked: Asked | None = None) -> tuple[RemoteSymbol, ...]:
    """Read the answer to GET_SYMBOLS. Raises as ``read_snapshot``."""
    answer, _ = _read(raw, "GET_SYMBOLS", asked, "symbols", _remote_symbol)
    return tuple(rows_of(answer, "symbols"))


def _remote_symbol(row: Any, number: int) -> RemoteSymbol:
    fields = _row_fields(row, number)
    return RemoteSymbol(
        symbol=fields.symbol(),
        digits=fields.optional("digits", lambda name, value: fields.whole(name, value, 0, 15)),
        volume_step=_positive(fields, "volume_step"),
        contract_size=_positive(fields, "contract_size"),
        currency=fields.optional("currency_profit", fields.text) or None,
        volume_min=_positive(fields, "volume_min"),
        volume_max=_positive(fields, "volume_max"),
        filling_mode=fields.optional("filling_mode", fields.whole),
        stops_level=fields.optional("stops_level", fields.whole),
        point=_positive(fields, "point"),
        tick_size=_positive(fields, "tick_size"),
    )


def _positive(fields: Fields, name: str) -> Decimal | None:
    """Read a size; 0 is MT5's value for none."""
    value = fields.optional(name, fields.number)
    if value is not None and value < 0:
        raise fields.refuse(name, "a number of 0 or more", str(value))
    return value or None


def read_pong(raw: bytes, asked: Asked | None = None) -> RemoteService | None:
    """Read the answer to PING; None from a gateway of protocol version 1. Raises as ``read_snapshot``."""
    answer, fields = _read(raw, "PING", asked, "can")
    protocol = fields.optional("protocol", fields.whole)
    if protocol is None or protocol < 2:  # the first version that states itself
        return None
    abilities = rows_of(answer, "can")
    if not all(type(one) is str for one in abilities):
        raise SnapshotRefused(f"expected words, found {shown(abilities)}", field="can")
    return RemoteService(
        protocol=protocol,
        can=frozenset(abilities),
        store=fields.text("store", fields.given("store")),
        epoch=fields.whole("epoch", fields.given("epoch")),
        seq=fields.whole("seq", fields.given("seq")),
        push_port=fields.optional("push_port", lambda name, value: fields.whole(name, value, 1, 65535)),
        login=fields.optional("login", fields.whole),
        server=fields.optional("server", fields.text),
        connected=fields.optional("connected", fields.truth),
        trade_allowed=fields.optional("trade_allowed", fields.truth),
        gateway_time_msc=fields.optional("gateway_time_msc", fields.whole),
        terminal_process=fields.optional("terminal_process", _object),
    )


def _object(name: str, value: Any) -> Json:
    if type(value) is not dict:
        raise SnapshotRefused(f"expected a JSON object, found {shown(value)}", field=name)
    return dict(value)


def read_events(raw: bytes, asked: Asked | None = None) -> tuple[PushedEvent, ...]:
    """Read the answer to GET_EVENTS. Raises as ``read_snapshot``."""
    answer, fields = _read(raw, "GET_EVENTS", asked, "events", _row_fields)
    store, epoch = fields.text("store", fields.given("store")), fields.whole("epoch", fields.given("epoch"))
    return tuple(_event(row, store, epoch) for row in rows_of(answer, "events"))


def read_pushed(raw: bytes) -> PushedEvent:
    """Read a message of the push stream, an event or a heartbeat.

    Raises:
        SnapshotRefused: It is something else.
    """
    try:
        found = read_object(raw)
    except (ValueError, TypeError, RecursionError) as error:
        raise SnapshotRefused("expected a JSON object as an event") from error
    fields = Fields(found)
    store, epoch = fields.text("store", fields.given("store")), fields.whole("epoch", fields.given("epoch"))
    return _event(fields, store, epoch)


def _event(fields: Fields, store: str, epoch: int) -> PushedEvent:
    data = fields.found.get("data")
    return PushedEvent(
        store=store,
        epoch=epoch,
        seq=fields.whole("seq", fields.given("seq")),
        kind=fields.text("kind", fields.given("kind")),
        at_msc=fields.whole("at_msc", fields.given("at_msc")),
        data=data if type(data) is dict else {},
    )


# ---- requests, as a server reads them


def read_object(raw: bytes) -> dict[str, Any]:
    """Read a message of a client: a JSON object, without what is no number of JSON.

    Raises:
        ValueError, TypeError, RecursionError: It is something else.
    """
    found = json.loads(raw, parse_constant=_refuse_constant)
    if not isinstance(found, dict):
        raise TypeError("expected a JSON object")
    return found


def read_request(raw: bytes) -> Request:
    """Read a request, whatever it asks.

    Raises:
        ValueError: It is no JSON object with an action.
    """
    try:
        fields = read_object(raw)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(NO_REQUEST) from error
    action = fields.get("action")
    if not isinstance(action, str) or _is_deeper(fields.get("req_id"), _ID_DEPTH_MAX):
        raise ValueError(NO_REQUEST)
    return Request(action=action, fields=fields)


def _is_deeper(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested deeper than some levels: what was read may be too deep to be echoed."""
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner)


def read_query(request: Request) -> Query | None:
    """Read what a request asks; None if its action is not one of the protocol's.

    Raises:
        ValueError: A field cannot be read; the message names it.
    """
    match request.action:
        case GetPositions.action:
            symbol = request.fields.get("symbol")
            return GetPositions(symbol=symbol) if isinstance(symbol, str) else GetPositions()
        case GetDeals.action:
            names = ("from_msc", "to_msc", "position")
            given = {name: value for name in names if (value := request.fields.get(name)) is not None}
            return GetDeals(**{name: whole_argument(value, name) for name, value in given.items()})
        case GetAccount.action:
            return GetAccount()
        case GetSymbols.action:
            return GetSymbols()
        case Ping.action:
            return Ping()
        case GetEvents.action:
            limit = request.fields.get("limit")
            return GetEvents(
                after_seq=whole_argument(request.fields.get("after_seq"), "after_seq"),
                limit=EVENTS_LIMIT if limit is None else whole_argument(limit, "limit", low=1, high=EVENTS_LIMIT_MAX),
            )
    return _read_order_query(request)


def _read_order_query(request: Request) -> Query | None:
    match request.action:
        case GetOrders.action:
            return GetOrders()
        case GetOrderHistory.action:
            names = ("from_msc", "to_msc", "position", "order")
            given = {name: value for name in names if (value := request.fields.get(name)) is not None}
            if not given:
                raise ValueError("expected from_msc or to_msc, position, or order, found none of them")
            return GetOrderHistory(**{name: whole_argument(value, name) for name, value in given.items()})
        case GetTick.action:
            return GetTick(symbol=_name_argument(request.fields.get("symbol"), "symbol"))
        case CheckOrder.action:
            return CheckOrder(message=read_order_message(request.fields, is_check=True))
        case SendOrder.action:
            return SendOrder(message=read_order_message(request.fields))
        case AskOrderStatus.action:
            return _order_status(request.fields)
    return None


def _order_status(fields: Json) -> AskOrderStatus:
    for name in ("fence", "lookup"):
        if not isinstance(fields.get(name, False), bool):
            raise FieldRefused(name, f"expected true or false, found {fields[name]!r:.100}")
    try:
        client_id = to_client_id(fields.get("client_id"))
    except BadValue as error:
        raise FieldRefused("client_id", str(error)) from None
    return AskOrderStatus(
        client_id=client_id,
        store=_name_argument(fields.get("store"), "store"),
        fence=fields.get("fence", False),
        lookup=fields.get("lookup", False),
    )


def _name_argument(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip() or value == "*":
        raise FieldRefused(name, f"expected a name, found {value!r:.100}")
    return value


def whole_argument(value: object, name: str, *, low: int = 0, high: int = INT64_MAX) -> int:
    """Read a whole number of a request.

    Raises:
        ValueError: It is none, or one beyond the bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is a whole number from {low} to {high}, found {value!r:.100}")
    return value


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is no number of JSON")
