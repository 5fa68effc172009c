"""The wire: requests to bytes, answers to values. Strict: what cannot be read whole is refused, with row and field named.

JSON as design fixes it, and the known variants of the base form through the tables below. Nothing required is defaulted,
nothing is skipped; keys that are not known are left alone. Whatever the bytes are, an answer is read, or one of the
gateway's errors is raised, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any, Final, TypeVar

from ledger.errors import BadValue, GatewayRefused, InexactNumber, SnapshotRefused
from ledger.events import CashMoved, Deal, FillRecorded, Origin, storable
from ledger.snapshot import RemoteAccount, RemoteHistory, RemotePosition, RemoteSymbol, Snapshot
from ledger.values import CASH_WORDS, INT64_MAX, MarginMode, Side, to_entry, to_margin_mode

Json = Mapping[str, Any]
_Value = TypeVar("_Value")

#: What is written elsewhere -> what we write. Every spelling that is accepted stands here.
STATUS_GOOD: Final = ("SUCCESS", "OK")
STATUS_BAD: Final = ("ERROR", "REJECTED", "FAILED", "FAILURE")
KEY_VARIANTS: Final[Mapping[str, str]] = {"open_price": "price_open"}
SIDES: Final[Mapping[Any, Side]] = {
    **{word: side for side in Side for word in (side.value, side.value.upper(), side.value.capitalize())},
    **{f"POSITION_TYPE_{side.value.upper()}": side for side in Side},
    **{f"DEAL_TYPE_{side.value.upper()}": side for side in Side},
}
_DEAL_CODES: Final[Mapping[str, int]] = {"buy": 0, "sell": 1} | {word: code for code, word in CASH_WORDS.items()}

_SHOWN_MAX: Final = 60
_LEAST_PLAIN: Final = Decimal("1e-9")
_MOST_PLAIN: Final = Decimal("1e9")
_MAGNITUDE_MAX: Final = 30  # 10^30 of anything is no price, no volume and no money
_EXACT_TEXT: Final = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][-+]?[0-9]{1,3})?")
_TIME_MAX: Final = 253_370_764_800  # the year 9999, in seconds


def shown(value: object) -> str:
    """Write what was found for an error, short and harmless whatever it is."""
    if isinstance(value, (dict, list)):
        return f"a JSON {'object' if isinstance(value, dict) else 'list'}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > INT64_MAX:
        return "a whole number beyond 64 bits"
    text = ascii(value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."


# ---------------------------------------------------------------------------------------------------------- requests


def request(action: str, *, req_id: str, deadline_msc: int | None = None, **fields: object) -> bytes:
    """Write a request.

    Args:
        action: ``GET_POSITIONS`` and so on.
        req_id: What the answer shall echo.
        deadline_msc: How many milliseconds we wait; a server may drop what is older.
        fields: What else the action takes.
    """
    asked: dict[str, object] = {"action": action, **fields, "req_id": req_id}
    if deadline_msc is not None:
        asked["deadline_msc"] = deadline_msc
    return json.dumps(asked, separators=(",", ":")).encode()


# ----------------------------------------------------------------------------------------------------------- answers


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _object_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"key {shown(_twice(key for key, _ in pairs))} stands twice in one object")
    return found


def _twice(names: Iterable[str]) -> str | None:
    """Return the first name that comes a second time."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


#: No number of a broker's has more digits or another size; whatever has is refused by the decoder.
_NUMBERS: Final = Context(prec=64, Emin=-400, Emax=400, traps=[InvalidOperation, Inexact, Overflow])
_quick: Final = json.JSONDecoder(parse_float=_NUMBERS.create_decimal, parse_constant=_no_constant)
_thorough: Final = json.JSONDecoder(
    parse_float=_NUMBERS.create_decimal, parse_constant=_no_constant, object_pairs_hook=_object_once
)


def parsed(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that an answer is.

    Raises:
        SnapshotRefused: It is something else.
    """
    try:
        text = raw.decode()
        answer = _quick.decode(text)
        if not _has_each_key_once(text, answer):
            answer = _thorough.decode(text)
    except ArithmeticError:
        why = "it holds a number that is none of a broker's"
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except (ValueError, RecursionError, MemoryError) as error:
        why = ascii(str(error))[1:-1][:_SHOWN_MAX]
    else:
        if isinstance(answer, dict):
            return answer
        raise SnapshotRefused(f"expected the answer to be a JSON object, found {shown(answer)}")
    raise SnapshotRefused(f"the answer is no JSON: {why} (it begins {shown(raw[:24])})")


def _has_each_key_once(text: str, answer: Any) -> bool:
    """Return True if it is certain, by counting, that no object of an answer tells a key twice; that is quick.

    Every key brings a colon right behind a quote. If all colons stand so, and there are no more than keys were kept, none
    was told twice. Deeper objects and colons in texts make it uncertain.
    """
    if type(answer) is not dict:
        return False
    kept = len(answer)
    for value in answer.values():
        for inner in value if type(value) is list else (value,):
            if type(inner) is dict:
                kept += len(inner)
    return kept == text.count('":') == text.count(":")


def echoed(raw: bytes) -> str | None:
    """Return the request id that an answer echoes; None if it echoes none or is unreadable."""
    try:
        req_id = parsed(raw).get("req_id")
    except SnapshotRefused:
        return None
    return req_id if isinstance(req_id, str) else None


def is_good(raw: bytes) -> bool:
    """Return whether an answer can be read and says that all went well."""
    try:
        status = parsed(raw).get("status")
    except SnapshotRefused:
        return False
    return isinstance(status, str) and status.upper() in STATUS_GOOD


class _Fields:
    """The fields of one JSON object, read one by one; what is wrong is refused with row and field."""

    __slots__ = ("_row", "found")

    def __init__(self, found: Json, row: int | None = None) -> None:
        self.found = found
        self._row = row

    def refuse(self, name: str, expected: str, found: object) -> SnapshotRefused:
        return SnapshotRefused(f"expected {expected}, found {shown(found)}", row=self._row, field=name)

    def given(self, name: str) -> Any:
        value = self.found.get(name)
        if value is None:
            raise SnapshotRefused("is missing", row=self._row, field=name)
        return value

    def optional(self, name: str, read: Callable[[str, Any], _Value]) -> _Value | None:
        value = self.found.get(name)
        return None if value is None else read(name, value)

    def whole(self, name: str, value: Any, low: int = 0, high: int = INT64_MAX) -> int:
        """Read a whole number: a JSON number without a fraction, or its digits as text."""
        if type(value) is int and low <= value <= high:
            return value
        if type(value) is str and len(value) <= 20 and value.removeprefix("-").isascii() and value.removeprefix("-").isdigit():
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(name, f"a whole number from {low} to {high}", value)
        return value

    def ticket(self, name: str, value: Any) -> int:
        return self.whole(name, value, 1, INT64_MAX - 1)

    def ticket_or_none(self, name: str) -> int | None:
        number = self.optional(name, self.whole)
        return self.ticket(name, number) if number else None

    def signed(self, name: str, value: Any) -> int:
        return self.whole(name, value, -INT64_MAX - 1)

    def number(self, name: str, value: Any) -> Decimal:
        """Read an exact number: a JSON number, or its decimal as text."""
        kind = type(value)
        if kind is int or (kind is str and _EXACT_TEXT.fullmatch(value)):
            value = Decimal(value)
        elif kind is not Decimal:
            raise self.refuse(name, "a number", value)
        number: Decimal = value
        if -_MAGNITUDE_MAX <= number.adjusted() <= _MAGNITUDE_MAX:
            return number
        if not number:
            return Decimal(0)
        raise self.refuse(name, "a number that can be a price, a volume or money", str(number))

    def text(self, name: str, value: Any) -> str:
        try:
            if type(value) is str:
                return value if value.isascii() and "\x00" not in value else storable(value)
        except BadValue:
            pass
        raise self.refuse(name, "a text", value)

    def symbol(self) -> str:
        value = self.text("symbol", self.given("symbol"))
        if not value.strip():
            raise self.refuse("symbol", "the name of a symbol", value)
        return value

    def truth(self, name: str, value: Any) -> bool:
        if value is True or value is False:
            return bool(value)
        raise self.refuse(name, "true or false", value)

    def time_msc(self, *names: str) -> int | None:
        """Read a server time from the first name that is told: ``*_msc`` in milliseconds, the others in seconds.

        0 is how MT5 says that there is none.
        """
        for name in names:
            value = self.found.get(name)
            if value is None:
                continue
            unit_msc = 1 if name.endswith("_msc") else 1000
            if type(value) is Decimal and abs(value.adjusted()) < _MAGNITUDE_MAX and value == value.to_integral_value():
                value = int(value)  # some write their seconds as 1704153600.0
            number = self.whole(name, value, 0, _TIME_MAX * 1000 // unit_msc)
            if number:
                return number * unit_msc
        return None

    def word(self, name: str, convert: Callable[[Any], _Value], expected: str) -> _Value | None:
        value = self.found.get(name)
        if value is None:
            return None
        try:
            if type(value) in (int, str):
                return convert(value)
        except (BadValue, InexactNumber):
            pass
        raise self.refuse(name, expected, value)

    def mode(self, name: str = "margin_mode") -> MarginMode | None:
        return self.word(name, to_margin_mode, "netting, exchange, hedging or MT5's code")


def _answer(raw: bytes, action: str) -> tuple[dict[str, Any], _Fields]:
    """Return a good answer and its fields.

    Raises:
        GatewayRefused: It is an error.
        SnapshotRefused: It does not say whether it is good.
    """
    answer = parsed(raw)
    status = answer.get("status")
    word = status.upper() if isinstance(status, str) else None
    if word in STATUS_BAD:
        code, told = (answer.get(name) for name in ("error_code", "error_msg"))
        raise GatewayRefused(action, code=_said(code), told=_said(told))
    if word not in STATUS_GOOD:
        raise SnapshotRefused(f"expected {' or '.join(STATUS_GOOD)}, found {shown(status)}", field="status")
    return answer, _Fields(answer)


def _said(value: object) -> str | None:
    if value is None:
        return None
    return ascii(value)[1:-1][:200] if isinstance(value, str) else shown(value)


def _rows(answer: Json, key: str) -> list[Any]:
    rows = answer.get(key)
    if type(rows) is not list:
        raise SnapshotRefused(f"expected a list, found {'nothing' if key not in answer else shown(rows)}", field=key)
    return rows


def renamed(row: Json, names: Mapping[str, str], number: int) -> Json:
    """Return a row under our names. A field that is told under two names may be told with two meanings, and is refused."""
    ours = [names.get(name, name) for name in row]
    twice = _twice(ours)
    if twice is not None:
        raise SnapshotRefused("expected it under one name, found it under two", row=number, field=twice)
    return dict(zip(ours, row.values(), strict=True))


def _row_fields(row: Any, number: int) -> _Fields:
    if type(row) is not dict:
        raise SnapshotRefused(f"expected a JSON object, found {shown(row)}", row=number)
    if not KEY_VARIANTS.keys().isdisjoint(row):
        row = renamed(row, KEY_VARIANTS, number)
    return _Fields(row, number)


# ---- positions


def read_snapshot(raw: bytes, *, req_id: str | None = None) -> Snapshot:
    """Read the answer to GET_POSITIONS.

    Args:
        raw: The answer as it came in.
        req_id: What we asked with; the answer is of the extended form if it echoes it.

    Raises:
        GatewayRefused: The gateway answered an error.
        SnapshotRefused: It cannot be read whole.
    """
    answer, fields = _answer(raw, "GET_POSITIONS")
    rows = _rows(answer, "positions")
    return Snapshot(
        positions=tuple([_position(row, number) for number, row in enumerate(rows, 1)]),
        raw=raw,
        is_extended=req_id is not None and answer.get("req_id") == req_id,
        server_time_msc=fields.time_msc("server_time_msc", "server_time"),
        count=fields.optional("count", fields.whole),
        login=fields.optional("login", fields.whole),
        server=fields.optional("server", fields.text),
        mode=fields.mode(),
        connected=fields.optional("connected", fields.truth),
    )


def snapshot_of(rows: list[Any], raw: bytes) -> Snapshot:
    """Return a snapshot of rows in the base form, for gateways that write them otherwise. Raises as ``read_snapshot``."""
    return Snapshot(positions=tuple([_position(row, number) for number, row in enumerate(rows, 1)]), raw=raw)


def _position(row: Any, number: int) -> RemotePosition:
    """Read a row. What is plain is taken at once, as a thousand rows come at a time; all else by the strict readers."""
    fields = _row_fields(row, number)
    told = fields.found.get
    ticket, kind, volume, price, symbol = told("ticket"), told("type"), told("volume"), told("price_open"), told("symbol")
    identifier, profit, swap, comment = told("identifier"), told("profit"), told("swap"), told("comment")
    opened_msc, updated_msc = told("time_msc"), told("time_update_msc")
    if type(ticket) is not int or not 0 < ticket < INT64_MAX:
        ticket = fields.ticket("ticket", fields.given("ticket"))
    if type(identifier) is not int or not 0 < identifier < INT64_MAX:
        identifier = fields.ticket_or_none("identifier")
    if type(volume) is not Decimal or not _LEAST_PLAIN <= volume <= _MOST_PLAIN:
        volume = fields.number("volume", fields.given("volume"))
        if volume <= 0:
            raise fields.refuse("volume", "a volume of more than 0", str(volume))
    if type(price) is not Decimal or not _LEAST_PLAIN <= price <= _MOST_PLAIN:
        price = fields.number("price_open", fields.given("price_open"))  # below 0 it has been, for oil in 2020
    if type(symbol) is not str or not symbol.isalnum() or not symbol.isascii():
        symbol = fields.symbol()
    if type(opened_msc) is not int or not 0 < opened_msc <= _TIME_MAX * 1000:
        opened_msc = fields.time_msc("time_msc", "time")
    if type(updated_msc) is not int or not 0 < updated_msc <= _TIME_MAX * 1000:
        updated_msc = fields.time_msc("time_update_msc", "time_update")
    return RemotePosition(
        position_id=identifier or ticket,
        ticket=ticket,
        is_identified=identifier is not None,
        symbol=symbol,
        side=SIDES[kind] if type(kind) is str and kind in SIDES else side_of(fields, "type", fields.given("type")),
        volume=volume,
        price_open=price or None,
        opened_msc=opened_msc,
        updated_msc=updated_msc,
        magic=None if told("magic") is None else fields.signed("magic", told("magic")),
        comment=None if comment is None else fields.text("comment", comment) or None,
        profit=None if profit is None else fields.number("profit", profit),
        swap=None if swap is None else fields.number("swap", swap),
    )


def side_of(fields: _Fields, name: str, value: Any) -> Side:
    """Read a side: a word of the table, or MT5's code."""
    if type(value) is int and value in (0, 1):
        return Side.SELL if value else Side.BUY
    found = SIDES.get(value) if type(value) is str else None
    if found is None:
        raise fields.refuse(name, "buy or sell", value)
    return found


# ---- account, deals, symbols


def read_account(raw: bytes) -> RemoteAccount:
    """Read the answer to GET_ACCOUNT. Raises as ``read_snapshot``."""
    answer, head = _answer(raw, "GET_ACCOUNT")
    found = answer.get("account")
    if type(found) is not dict:
        raise SnapshotRefused(f"expected a JSON object, found {shown(found)}", field="account")
    fields = _Fields(found)
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
        connected=head.optional("connected", head.truth),
    )


def read_deals(raw: bytes) -> RemoteHistory:
    """Read the answer to GET_DEALS: MT5's deal fields, codes or words. Raises as ``read_snapshot``."""
    answer, fields = _answer(raw, "GET_DEALS")
    rows = _rows(answer, "deals")
    count = fields.optional("count", fields.whole)
    if count is not None and count != len(rows):
        raise SnapshotRefused(f"expected the {count} rows that it states, found {len(rows)}", field="count")
    return RemoteHistory(
        deals=tuple([_deal(row, number) for number, row in enumerate(rows, 1)]),
        login=fields.optional("login", fields.whole),
        server=fields.optional("server", fields.text),
        mode=fields.mode(),
        connected=fields.optional("connected", fields.truth),
    )


def _deal(row: Any, number: int) -> Deal:
    fields = _row_fields(row, number)
    told = fields.given("type")
    deal_type, word = _deal_type(fields, told)
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
        "magic": fields.optional("magic", fields.signed),
        "reason": fields.optional("reason", lambda name, value: fields.whole(name, value, 0, 2**31 - 1)),
        "comment": fields.optional("comment", fields.text),
        "external_id": fields.optional("external_id", fields.text),
        "origin": Origin.RECOVERY,
    }
    entry = fields.word("entry", to_entry, "in, out, in/out, out by or MT5's code")
    try:
        if deal_type in (0, 1) and word is None:
            if entry is None:
                raise SnapshotRefused("is missing", row=number, field="entry")
            return FillRecorded(
                side=Side.SELL if deal_type else Side.BUY,
                symbol=fields.symbol(),
                entry=entry,
                volume=fields.number("volume", fields.given("volume")),
                price=fields.number("price", fields.given("price")),
                profit=fields.optional("profit", fields.number),
                **common,
            )
        return CashMoved(
            type=deal_type,
            word=word,
            symbol=fields.optional("symbol", fields.text),
            entry=entry,
            volume=fields.optional("volume", fields.number),
            price=fields.optional("price", fields.number),
            profit=fields.number("profit", fields.given("profit")),
            **common,
        )
    except (BadValue, InexactNumber) as error:
        raise SnapshotRefused(str(error)[:200], row=number) from error


def _deal_type(fields: _Fields, told: Any) -> tuple[int | None, str | None]:
    """Return the code of a deal's type; a word that nobody documented is kept as the word it is."""
    if type(told) is int:
        return fields.whole("type", told, 0, 2**31 - 1), None
    word = fields.text("type", told).strip().lower().removeprefix("deal_type_")
    if not word:
        raise fields.refuse("type", "a deal type", told)
    code = _DEAL_CODES.get(word)
    return code, None if code is not None else word


def read_symbols(raw: bytes) -> tuple[RemoteSymbol, ...]:
    """Read the answer to GET_SYMBOLS. Raises as ``read_snapshot``."""
    answer, _ = _answer(raw, "GET_SYMBOLS")
    return tuple([_remote_symbol(row, number) for number, row in enumerate(_rows(answer, "symbols"), 1)])


def _remote_symbol(row: Any, number: int) -> RemoteSymbol:
    fields = _row_fields(row, number)
    return RemoteSymbol(
        symbol=fields.symbol(),
        digits=fields.optional("digits", lambda name, value: fields.whole(name, value, 0, 15)),
        volume_step=_positive(fields, "volume_step"),
        contract_size=_positive(fields, "contract_size"),
        currency=fields.optional("currency_profit", fields.text) or None,
    )


def _positive(fields: _Fields, name: str) -> Decimal | None:
    """Read a size; 0 is how MT5 says that there is none."""
    value = fields.optional(name, fields.number)
    if value is not None and value < 0:
        raise fields.refuse(name, "a number of 0 or more", str(value))
    return value or None


def read_pong(raw: bytes) -> None:
    """Read the answer to PING. Raises as ``read_snapshot``."""
    _answer(raw, "PING")
