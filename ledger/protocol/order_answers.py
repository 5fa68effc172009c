"""Answers about orders, as the client reads them: strictly, and an error always with whether the order was executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

from ledger.errors import GatewayRefused, SnapshotRefused
from ledger.events import Deal
from ledger.events.orders import Verdict
from ledger.mt5 import ORDER_STATE_NAMES, ORDER_TYPE_NAMES, order_code_of
from ledger.order_messages import (
    Lookup,
    OrderAnswer,
    OrderStatus,
    RemoteCheck,
    RemoteOrder,
    RemoteOrders,
    RemoteTick,
    RequestState,
)
from ledger.protocol.echo import STATUS_BAD, STATUS_GOOD, Asked, status_of
from ledger.protocol.fields import Fields
from ledger.protocol.json_stream import AnswerParts, read_answer, shown
from ledger.protocol.read import read_deal, rows_of

_Word = TypeVar("_Word", Verdict, RequestState)

#: Codes whose answer states that nothing was or will be sent for the message. Of all others ``never`` is not believed.
NEVER: Final = frozenset({
    "BAD_REQUEST", "UNKNOWN_ACTION", "WRONG_ACCOUNT", "WRONG_STORE", "EXPIRED", "FENCED", "CLIENT_ID_CONFLICT", "CLOCK_SKEW",
    "NOT_CONNECTED", "READ_ONLY", "BUSY", "STORE_FAILED",
})  # fmt: skip
_MESSAGES: Final = frozenset({"ORDER_SEND", "ORDER_STATUS", "ORDER_CHECK"})
_BROKERS_ID: Final = "request_id"  # of the trade server, which names none of our requests
_INT32: Final = 2**31


def _read(
    raw: bytes, action: str, asked: Asked | None, key: str = "", read_row: Callable[[Any, int], Any] = lambda row, _: row
) -> tuple[AnswerParts, Fields]:
    """Return a good answer and its fields, all of them.

    Raises:
        AnotherAnswer: It is the answer to another request.
        GatewayRefused: It is an error; ``executed`` is "never" only where it states so with a code that goes with it.
        SnapshotRefused: Its status is missing, or it cannot be read.
    """
    answer = read_answer(raw, key, read_row, lambda _: True)
    fields = answer.fields
    if asked is not None:
        asked.check({name: value for name, value in fields.items() if name != _BROKERS_ID})
    word = status_of(fields)
    if word in STATUS_BAD:
        code, text = _remark(fields.get("error_code")), _remark(fields.get("error_msg"))
        executed = None
        if action in _MESSAGES:
            executed = "never" if fields.get("executed") == "never" and code in NEVER else "unknown"
        raise GatewayRefused(action, code=code, detail=text, executed=executed)
    if word not in STATUS_GOOD:
        raise SnapshotRefused(f"expected {' or '.join(STATUS_GOOD)}, found {shown(fields.get('status'))}", field="status")
    return answer, Fields(fields)


def _remark(value: object) -> str | None:
    if value is None:
        return None
    return ascii(value)[1:-1][:200] if isinstance(value, str) else shown(value)


def read_order_answer(raw: bytes, asked: Asked | None = None) -> OrderAnswer:
    """Read the answer to ORDER_SEND.

    Raises:
        AnotherAnswer, GatewayRefused, SnapshotRefused: As ``ledger.protocol.read.read_snapshot``.
    """
    _, fields = _read(raw, "ORDER_SEND", asked)
    return _order_answer(fields, raw)


def read_order_status(raw: bytes, asked: Asked | None = None) -> OrderStatus:
    """Read the answer to ORDER_STATUS. Raises as ``read_order_answer``."""
    answer, fields = _read(raw, "ORDER_STATUS", asked, "orders", read_remote_order)
    status = _order_answer(fields, raw)
    if fields.found.get("lookup") is None:
        return OrderStatus(answer=status)
    return OrderStatus(answer=status, lookup=_lookup(answer, fields, _list_of(raw, "deals", read_deal)))


def _order_answer(fields: Fields, raw: bytes) -> OrderAnswer:
    last_error = _list_of(raw, "last_error", lambda one, _: one)
    code = last_error[0] if last_error else None
    state = _word(fields, "state", RequestState)
    if state is None:
        raise SnapshotRefused("is missing", field="state")
    verdict = _word(fields, "verdict", Verdict)
    if state is RequestState.ANSWERED and verdict is None:
        raise SnapshotRefused("expected a verdict of an order that is answered, found none", field="verdict")
    return OrderAnswer(
        client_id=fields.text("client_id", fields.given("client_id")),
        state=state,
        raw=raw,
        verdict=verdict,
        token=fields.optional("token", fields.text),
        retcode=fields.optional("retcode", fields.whole),
        retcode_external=fields.optional("retcode_external", _signed(fields)),
        last_error=None if code is None else _signed(fields)("last_error", code),
        order=fields.optional("order", fields.whole),
        deal=fields.optional("deal", fields.whole),
        volume=fields.optional("volume", fields.number),
        price=fields.optional("price", fields.number),
        bid=fields.optional("bid", fields.number),
        ask=fields.optional("ask", fields.number),
        comment=fields.optional("comment", fields.remark),
        request_id=fields.optional("request_id", fields.whole),
        since_utc_msc=fields.optional("since_msc", fields.whole),
        sent_utc_msc=fields.optional("sent_msc", fields.whole),
        answered_utc_msc=fields.optional("answered_msc", fields.whole),
        store=fields.optional("store", fields.text),
        seq=fields.optional("seq", fields.whole),
        replayed=fields.optional("replayed", fields.truth) or False,
    )


def _signed(fields: Fields) -> Callable[[str, Any], int]:
    return lambda name, value: fields.whole(name, value, -_INT32, _INT32 - 1)


def _word(fields: Fields, name: str, words: type[_Word]) -> _Word | None:
    value = fields.found.get(name)
    if value is None:
        return None
    try:
        return words(value)
    except ValueError:
        raise fields.refuse(name, " or ".join(word.value for word in words), value) from None


def _list_of(raw: bytes, key: str, read_row: Callable[[Any, int], Any]) -> list[Any] | None:
    """Return another list of an answer; None where there is none."""
    answer = read_answer(raw, key, read_row, lambda _: False)
    return None if answer.rows is None and answer.found is None else rows_of(answer, key)


def _lookup(answer: AnswerParts, head: Fields, deals: list[Deal] | None) -> Lookup:
    found = head.found["lookup"]
    if type(found) is not dict:
        raise SnapshotRefused(f"expected a JSON object, found {shown(found)}", field="lookup")
    fields = Fields(found)
    if deals is None:
        raise SnapshotRefused("is missing", field="deals")
    return Lookup(
        from_msc=fields.whole("from_msc", fields.given("from_msc")),
        to_msc=fields.whole("to_msc", fields.given("to_msc")),
        connected=fields.truth("connected", fields.given("connected")),
        orders=tuple(rows_of(answer, "orders")),
        deals=tuple(deals),
        rows=fields.optional("rows", fields.whole) or 0,
        server_time_msc=head.time_msc("server_time_msc"),
        login=head.optional("login", head.whole),
        server=head.optional("server", head.text),
    )


# ---- lists of orders


def read_orders(raw: bytes, asked: Asked | None = None) -> RemoteOrders:
    """Read the answer to GET_ORDERS or GET_ORDER_HISTORY. Raises as ``read_order_answer``."""
    answer, fields = _read(raw, "GET_ORDERS", asked, "orders", read_remote_order)
    orders = tuple(rows_of(answer, "orders"))
    count = fields.whole("count", fields.given("count"))
    if count != len(orders):
        raise SnapshotRefused(f"expected {count} orders, found {len(orders)}", field="count")
    return RemoteOrders(
        orders=orders,
        raw=raw,
        login=fields.optional("login", fields.whole),
        server=fields.optional("server", fields.text),
        connected=fields.optional("connected", fields.truth),
        server_time_msc=fields.time_msc("server_time_msc"),
        is_by_ticket=fields.found.get("by") == "ticket",
    )


def read_remote_order(row: Any, number: int) -> RemoteOrder:
    """Read one row of orders.

    Raises:
        SnapshotRefused: It cannot be read whole.
    """
    if type(row) is not dict:
        raise SnapshotRefused(f"expected a JSON object, found {shown(row)}", row=number)
    fields = Fields(row, number)
    return RemoteOrder(
        ticket=fields.ticket("ticket", fields.given("ticket")),
        symbol=fields.symbol(),
        type=_code(fields, "type", ORDER_TYPE_NAMES),
        state=_code(fields, "state", ORDER_STATE_NAMES),
        volume_initial=_amount(fields, "volume_initial"),
        volume_current=_amount(fields, "volume_current"),
        client_id=fields.optional("client_id", fields.text),
        time_setup_msc=fields.time_msc("time_setup_msc", "time_setup"),
        time_done_msc=fields.time_msc("time_done_msc", "time_done"),
        expires_msc=fields.time_msc("time_expiration"),
        type_time=fields.optional("type_time", fields.whole),
        type_filling=fields.optional("type_filling", fields.whole),
        magic=fields.optional("magic", fields.magic),
        position_id=fields.ticket_or_none("position_id"),
        by_position_id=fields.ticket_or_none("position_by_id"),
        reason=fields.optional("reason", fields.whole),
        price_open=fields.optional("price_open", fields.number),
        price_stoplimit=fields.optional("price_stoplimit", fields.number),
        sl=fields.optional("sl", fields.number),
        tp=fields.optional("tp", fields.number),
        comment=fields.optional("comment", fields.remark),
        external_id=fields.optional("external_id", fields.remark),
    )


def _code(fields: Fields, name: str, names: Mapping[int, str]) -> int:
    return fields.whole(name, order_code_of(fields.given(name), names), 0, _INT32 - 1)


def _amount(fields: Fields, name: str) -> Decimal:
    number = fields.number(name, fields.given(name))
    if number < 0:
        raise fields.refuse(name, "a volume of 0 or more", str(number))
    return number


# ---- prices, checks


def read_tick(raw: bytes, asked: Asked | None = None) -> RemoteTick:
    """Read the answer to GET_TICK. Raises as ``read_order_answer``."""
    answer, _ = _read(raw, "GET_TICK", asked)
    found = answer.fields.get("tick")
    if type(found) is not dict:
        raise SnapshotRefused(f"expected a JSON object, found {shown(found)}", field="tick")
    fields = Fields(found)
    time_msc = fields.time_msc("time_msc")
    if time_msc is None:
        raise SnapshotRefused("is missing", field="time_msc")
    return RemoteTick(
        symbol=fields.symbol(),
        bid=fields.number("bid", fields.given("bid")),
        ask=fields.number("ask", fields.given("ask")),
        time_msc=time_msc,
        age_ms=fields.whole("age_ms", fields.given("age_ms")),
    )


def read_check(raw: bytes, asked: Asked | None = None) -> RemoteCheck:
    """Read the answer to ORDER_CHECK. Raises as ``read_order_answer``."""
    answer, fields = _read(raw, "ORDER_CHECK", asked)
    return RemoteCheck(
        retcode=fields.whole("retcode", fields.given("retcode")),
        comment=fields.optional("comment", fields.remark),
        margin=fields.optional("margin", fields.number),
        margin_free=fields.optional("margin_free", fields.number),
        margin_level=fields.optional("margin_level", fields.number),
        fields=answer.fields,
    )
