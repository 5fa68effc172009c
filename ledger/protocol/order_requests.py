"""Order messages as requests: how the client writes them, how a service reads them, and the digest that names their content.

Numbers are exact decimals as text, on both sides. A field that cannot be read is refused by its name, before anything is
stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from typing import Any, Final, TypeVar

import attrs

from ledger.clock import TIME_MAX_MSC
from ledger.errors import BadValue
from ledger.events.orders import OrderKind, PendingType, to_client_id, to_token
from ledger.order_messages import OrderMessage
from ledger.values import INT64_MAX, Side, plain, shown

_Value = TypeVar("_Value")

#: The longest comment that is sent, in UTF-16 units: more than that was refused by a terminal.
COMMENT_MAX: Final = 27
#: How our values are called in a message; all others have one name.
_WIRE_NAMES: Final[Mapping[str, str]] = {
    "valid_until_utc_msc": "valid_until_msc", "position_id": "position", "by_position_id": "position_by",
}  # fmt: skip
_FIELDS: Final = tuple(one.name for one in attrs.fields(OrderMessage))
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_NAME_MAX: Final = 200
_DEVIATION_MAX: Final = 2**31 - 1
#: How an order is filled, and how long it works: words of a message -> codes of MetaTrader 5. ``auto`` is chosen by the symbol.
FILLINGS: Final[Mapping[str, int]] = {"fok": 0, "ioc": 1, "return": 2, "boc": 3}
LIFETIMES: Final[Mapping[str, int]] = {"gtc": 0, "day": 1, "specified": 2, "specified_day": 3}
_NEEDED: Final[Mapping[OrderKind, tuple[str, ...]]] = {
    OrderKind.MARKET: ("symbol", "side", "volume"),
    OrderKind.PENDING: ("symbol", "side", "volume", "type", "price"),
    OrderKind.CLOSE: ("position",),
    OrderKind.CLOSE_BY: ("position", "position_by"),
    OrderKind.STOPS: ("position",),
    OrderKind.MODIFY: ("order",),
    OrderKind.CANCEL: ("order",),
}
_WITH_SIDE: Final = frozenset({OrderKind.MARKET, OrderKind.PENDING})


class FieldRefused(BadValue, ValueError):
    """A field of an order message is not what it has to be."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name


def order_fields(message: OrderMessage) -> dict[str, Any]:
    """Return an order message as the fields of a request; what is None is null."""
    return {_WIRE_NAMES.get(name, name): _written(getattr(message, name)) for name in _FIELDS}


def digest_of(message: OrderMessage) -> str:
    """Return what names the content of an order message: equal for equal content, however its numbers are written."""
    return sha256(content_of(message).encode()).hexdigest()


def content_of(message: OrderMessage) -> str:
    """Return the content of an order message as text of one spelling, without until when it is valid."""
    content = order_fields(message)
    del content["valid_until_msc"]
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def differing_fields(one: str, other: str) -> list[str]:
    """Return the names of the fields in which two contents differ."""
    first, second = json.loads(one), json.loads(other)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def _written(value: object) -> object:
    if isinstance(value, Decimal):
        return decimal_text(value)
    return value.value if isinstance(value, Enum) else value


def decimal_text(number: Decimal) -> str:
    """Return a number as text, without an exponent and without zeros at its end."""
    return plain(number) if number else "0"


# ---- as a service reads them


def read_order_message(fields: Mapping[str, Any], *, is_check: bool = False) -> OrderMessage:
    """Read an order message.

    Args:
        fields: Fields of the request.
        is_check: Whether it is to be checked only, and needs no id, account or store.

    Raises:
        FieldRefused: A field cannot be read, or one that its kind needs is missing.
    """
    read = _Reader(fields)
    identity = _read_identity(read, is_check=is_check)
    kind = read.needed("kind", lambda value: OrderKind(value), "a kind of order")  # noqa: PLW0108  # a call names the class
    message = OrderMessage(
        **identity,
        kind=kind,
        symbol=read.given("symbol", _symbol, "the name of a symbol"),
        side=read.given("side", _side, "buy or sell"),
        type=read.given("type", _pending_type, "limit, stop or stop_limit"),
        volume=read.number("volume"),
        price=read.number("price"),
        stoplimit=read.number("stoplimit"),
        deviation=read.whole("deviation", 0, _DEVIATION_MAX),
        sl=read.number("sl"),
        tp=read.number("tp"),
        filling=read.given("filling", _word_of({"auto", *FILLINGS}), f"auto, {', '.join(FILLINGS)}"),
        lifetime=read.given("lifetime", _word_of(LIFETIMES), ", ".join(LIFETIMES)),
        expires_msc=read.whole("expires_msc", 1, TIME_MAX_MSC),
        magic=read.whole("magic", 0, INT64_MAX),
        position_id=read.whole("position", 1, INT64_MAX - 1),
        by_position_id=read.whole("position_by", 1, INT64_MAX - 1),
        order=read.whole("order", 1, INT64_MAX - 1),
        comment=read.given("comment", _comment, f"a text of at most {COMMENT_MAX} characters"),
    )
    _require_complete(message, fields)
    return message


def _read_identity(read: _Reader, *, is_check: bool) -> dict[str, Any]:
    if is_check:
        return {"client_id": "-", "token": "-", "login": 0, "server": "-", "store": "-", "valid_until_utc_msc": 0}
    return {
        "client_id": read.needed("client_id", to_client_id, "a client id"),
        "token": read.needed("token", to_token, "a token"),
        "login": read.needed("login", _whole_from(1, INT64_MAX), "a login"),
        "server": read.needed("server", _text, "the name of a trade server"),
        "store": read.needed("store", _text, "the id of a store"),
        "valid_until_utc_msc": read.needed("valid_until_msc", _whole_from(0, TIME_MAX_MSC), "a time in UTC milliseconds"),
    }


class _Reader:
    """The fields of a request, read one by one."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def given(self, name: str, read: Callable[[Any], _Value], expected: str) -> _Value | None:
        value = self._fields.get(name)
        if value is None:
            return None
        try:
            return read(value)
        except (ValueError, BadValue):
            raise FieldRefused(name, f"expected {expected}, found {shown(value)}") from None

    def needed(self, name: str, read: Callable[[Any], _Value], expected: str) -> _Value:
        found = self.given(name, read, expected)
        if found is None:
            raise FieldRefused(name, f"expected {expected}, found none")
        return found

    def number(self, name: str) -> Decimal | None:
        return self.given(name, _number, "a decimal of 0 or more as text, as '0.10'")

    def whole(self, name: str, low: int, high: int) -> int | None:
        return self.given(name, _whole_from(low, high), f"a whole number from {low} to {high}")


def _require_complete(message: OrderMessage, fields: Mapping[str, Any]) -> None:
    """Refuse what its kind does not go with: a field that is missing, and a side where position or order decides."""
    kind = message.kind
    for name in _NEEDED[kind]:
        if fields.get(name) is None:
            raise FieldRefused(name, f"an order of kind {kind.value} needs it, found none")
    if message.side is not None and kind not in _WITH_SIDE:
        raise FieldRefused("side", f"expected none for kind {kind.value}: the position or the order decides")
    if message.type is not None and kind is not OrderKind.PENDING:
        raise FieldRefused("type", f"expected none for kind {kind.value}, found {message.type.value}")
    if message.type is PendingType.STOP_LIMIT and message.stoplimit is None:
        raise FieldRefused("stoplimit", "a stop limit needs it, found none")
    if message.volume is not None and not message.volume:
        raise FieldRefused("volume", "expected more than 0, found 0")
    if kind is OrderKind.PENDING and not message.price:
        raise FieldRefused("price", "expected more than 0, found 0")
    if message.lifetime in ("specified", "specified_day") and message.expires_msc is None:
        raise FieldRefused("expires_msc", f"a lifetime of {message.lifetime} needs it, found none")
    if message.expires_msc is not None and message.lifetime not in ("specified", "specified_day"):
        raise FieldRefused("lifetime", "expected specified or specified_day beside expires_msc")


def _number(value: object) -> Decimal:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value) or value.startswith("-"):
        raise ValueError
    return Decimal(value)


def _whole_from(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError
        return value

    return read


def _word_of(words: Any) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return value

    return read


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value.strip() or len(value) > _NAME_MAX:
        raise ValueError
    return value


def _symbol(value: object) -> str:
    text = _text(value)
    if text == "*":
        raise ValueError
    return text


def _side(value: object) -> Side:
    return Side(value)


def _pending_type(value: object) -> PendingType:
    return PendingType(value)


def _comment(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value.encode("utf-16-le")) > 2 * COMMENT_MAX:
        raise ValueError
    return value
