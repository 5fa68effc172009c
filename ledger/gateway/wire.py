"""The wire: requests to bytes, answers to values. Strict: what cannot be read whole is refused, with row and field named.

JSON as design fixes it, and the known variants of the base form through the tables below. Nothing required is defaulted,
nothing is skipped; keys that are not known are left alone. Whatever the bytes are, an answer is read, or one of the
gateway's errors is raised, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from sys import intern
from typing import Any, Final, TypeVar

from ledger.clock import TIME_MAX_MSC, TIME_MIN_MSC, time_hint
from ledger.errors import BadValue, GatewayRefused, InexactNumber, SnapshotRefused
from ledger.events import CashMoved, Deal, FillRecorded, Origin, storable
from ledger.gateway.answers import Answer, read, shown
from ledger.snapshot import RemoteAccount, RemoteHistory, RemotePosition, RemoteSymbol, Snapshot
from ledger.values import CASH_WORDS, INT64_MAX, UINT64_MAX, MarginMode, Side, to_entry, to_margin_mode

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

_LEAST_PLAIN: Final = Decimal("1e-9")
_MOST_PLAIN: Final = Decimal("1e9")
_MAGNITUDE_MAX: Final = 30  # 10^30 of anything is no price, no volume and no money
_EXACT_TEXT: Final = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][-+]?[0-9]{1,3})?")
_decimal: Final = lru_cache(maxsize=4096)(Decimal)
_WHOLE_TEXT: Final = re.compile(r"-?[0-9]{1,20}(?:\.0{1,20})?")
_DOUBLE_EXACT: Final = 2**53  # above it a double cannot tell neighbouring ids apart
_TIME_MAX: Final = TIME_MAX_MSC // 1000


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


#: How gateways name the id of the request that they answer: in small letters, without what stands between them.
_ECHOES: Final = frozenset({
    "reqid", "requestid", "requestuuid", "requestguid", "req", "rid", "correlationid", "corrid", "correlid", "inreplyto",
    "replyto", "responseto", "answerto", "clientrequestid", "clientreqid", "queryid", "callid", "commandid", "cmdid",
})  # fmt: skip
#: Names that may be the answer's own id, where one of those above names the request.
_IDS: Final = frozenset({"id", "uuid", "guid", "messageid", "msgid", "mid"})
#: Objects in which gateways quote the request, or put what is above the answer.
_QUOTES: Final = frozenset({"request", "header", "headers", "meta", "metadata", "envelope", "context", "query", "command"})
_HEAD: Final = frozenset({
    "status", "error_code", "error_msg", "server_time_msc", "server_time", "count", "login", "server", "margin_mode",
    "connected", "account", "error", "lastError", "description", "desription",
})  # fmt: skip


_NAMES: Final = _ECHOES | _IDS | _QUOTES


class AnotherAnswer(SnapshotRefused):
    """An answer names another request than the one that was asked, or none where its gateway names them."""


class Asked:
    """A request, and what its answer has to name.

    ``is_echoed`` is whether an answer that was read named it, as a gateway of the extended form always does.
    """

    __slots__ = ("is_echoed", "must_echo", "req_id")

    def __init__(self, req_id: str | None, *, must_echo: bool = False) -> None:
        self.req_id = req_id
        self.must_echo = must_echo
        self.is_echoed = False

    def check(self, fields: Json) -> None:
        """Look at which request an answer names.

        Raises:
            AnotherAnswer: It is another one.
        """
        named = [(name, value) for name, value in _named(fields) if value is not None and value != ""]
        echoes = [(name, value) for name, value in named if _letters(name) in _ECHOES]
        if not echoes and self.req_id is not None:
            echoes = named
        for name, value in echoes:
            if not self._is(value):
                raise AnotherAnswer(f"expected the answer to request {self.req_id}, found {shown(value)}", field=name)
        self.is_echoed = bool(echoes)
        if self.must_echo and not echoes and _status(fields) in STATUS_GOOD:
            raise AnotherAnswer(f"expected the answer to request {self.req_id}, found one that names none", field="req_id")

    def _is(self, value: object) -> bool:
        if self.req_id is None or isinstance(value, (bool, dict, list)):
            return False
        return _letters(str(value)) == _letters(self.req_id)


def _named(fields: Json) -> Iterator[tuple[str, Any]]:
    """Yield what an answer gives as ids: fields of its own, and of the request or the header in it."""
    for key, value in fields.items():
        if type(value) is dict and _letters(key) in _QUOTES:
            yield from ((name, inner) for name, inner in value.items() if _letters(name) in _ECHOES)
        elif _letters(key) in _ECHOES or _letters(key) in _IDS:
            yield key, value


@lru_cache(maxsize=256)
def _letters(text: str) -> str:
    """Return a text in small letters, without what stands between letters and digits."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def is_wanted(key: str) -> bool:
    """Return whether a field of an answer is read: what it says of itself, and which request it names."""
    return key in _HEAD or _letters(key) in _NAMES


def _status(fields: Json) -> str | None:
    status = fields.get("status")
    return status.upper() if isinstance(status, str) else None


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
        """Read a whole number: a JSON number without a fraction, or its digits as text; a double (123.0) while it is exact."""
        if type(value) is int and low <= value <= high:
            return value
        number = as_whole(value)
        if number is None or not low <= number <= high:
            raise self.refuse(name, f"a whole number from {low} to {high}", value)
        return number

    def ticket(self, name: str, value: Any) -> int:
        return self.whole(name, value, 1, INT64_MAX - 1)

    def ticket_or_none(self, name: str) -> int | None:
        number = self.optional(name, self.whole)
        return self.ticket(name, number) if number else None

    def magic(self, name: str, value: Any) -> int:
        """Read a magic number, unsigned or in two's complement."""
        return self.whole(name, value, -INT64_MAX - 1, UINT64_MAX) & UINT64_MAX

    def number(self, name: str, value: Any) -> Decimal:
        """Read an exact number: a JSON number, or its decimal as text."""
        kind = type(value)
        if kind is int or (kind is str and _EXACT_TEXT.fullmatch(value)):
            value = _decimal(value)
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

    def remark(self, name: str, value: Any) -> str | None:
        """Read a text that means nothing to us. It ends at a NUL, as in the terminal; what is no Unicode is marked."""
        if type(value) is not str:
            raise self.refuse(name, "a text", value)
        if not value.isascii() or "\x00" in value:
            value = value.partition("\x00")[0].encode(errors="surrogatepass").decode(errors="replace")
        return value or None

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
            number = self.whole(name, value, 0, _TIME_MAX * 1000 // unit_msc)
            if number and number * unit_msc < TIME_MIN_MSC:
                unit = "milliseconds" if unit_msc == 1 else "seconds"
                raise SnapshotRefused(
                    f"expected a server time in {unit} since 1970, of 2000 or later, found {number}{time_hint(number)}",
                    row=self._row,
                    field=name,
                )
            if number:
                return number * unit_msc
        return None

    def word(self, name: str, convert: Callable[[Any], _Value], expected: str) -> _Value | None:
        value = self.found.get(name)
        if value is None:
            return None
        try:
            if type(value) is str:
                return convert(value)
            code = as_whole(value)
            if code is not None:
                return convert(code)
        except (BadValue, InexactNumber):
            pass
        raise self.refuse(name, expected, value)

    def mode(self, name: str = "margin_mode") -> MarginMode | None:
        return self.word(name, to_margin_mode, "netting, exchange, hedging or MT5's code")


def as_whole(value: object) -> int | None:
    """Return a whole number that is written as one, or as a double that is exact; None for anything else."""
    if type(value) is int:
        return value
    if type(value) is str and _WHOLE_TEXT.fullmatch(value):
        if "." not in value:
            return int(value)
        value = Decimal(value)
    if type(value) is Decimal and value.adjusted() < _MAGNITUDE_MAX and value == value.to_integral_value():
        return int(value) if abs(value) <= _DOUBLE_EXACT else None
    return None


def _read(
    raw: bytes, action: str, asked: Asked | None, key: str = "", read_row: Callable[[Any, int], Any] = lambda row, _: row
) -> tuple[Answer, _Fields]:
    """Return a good answer and its fields.

    Raises:
        AnotherAnswer: It is the answer to another request.
        GatewayRefused: It is an error.
        SnapshotRefused: It does not say whether it is good, or cannot be read.
    """
    answer = read(raw, key, read_row, is_wanted)
    fields = answer.fields
    if asked is not None:
        asked.check(fields)
    word = _status(fields)
    if word in STATUS_BAD:
        code, told = (fields.get(name) for name in ("error_code", "error_msg"))
        raise GatewayRefused(action, code=_said(code), told=_said(told))
    if word not in STATUS_GOOD:
        raise SnapshotRefused(f"expected {' or '.join(STATUS_GOOD)}, found {shown(fields.get('status'))}", field="status")
    return answer, _Fields(fields)


def _said(value: object) -> str | None:
    if value is None:
        return None
    return ascii(value)[1:-1][:200] if isinstance(value, str) else shown(value)


def rows_of(answer: Answer, key: str) -> list[Any]:
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
    answer, fields = _read(raw, "GET_POSITIONS", asked, "positions", read_position)
    return Snapshot(
        positions=tuple(rows_of(answer, "positions")),
        raw=raw,
        is_extended=asked is not None and asked.is_echoed,
        server_time_msc=fields.time_msc("server_time_msc", "server_time"),
        count=fields.optional("count", fields.whole),
        login=fields.optional("login", fields.whole),
        server=fields.optional("server", fields.text),
        mode=fields.mode(),
        connected=fields.optional("connected", fields.truth),
    )


def read_position(row: Any, number: int) -> RemotePosition:
    """Read a position in the base or the extended form.

    What is plain is read at once, as a thousand rows come at a time; all else by the strict readers.
    """
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
    if type(opened_msc) is not int or not TIME_MIN_MSC <= opened_msc <= _TIME_MAX * 1000:
        opened_msc = fields.time_msc("time_msc", "time")
    if type(updated_msc) is not int or not TIME_MIN_MSC <= updated_msc <= _TIME_MAX * 1000:
        updated_msc = fields.time_msc("time_update_msc", "time_update")
    return RemotePosition(
        position_id=identifier or ticket,
        ticket=ticket,
        is_identified=identifier is not None,
        symbol=intern(symbol),
        side=SIDES[kind] if type(kind) is str and kind in SIDES else side_of(fields, "type", fields.given("type")),
        volume=volume,
        price_open=price or None,
        opened_msc=opened_msc,
        updated_msc=updated_msc,
        magic=None if told("magic") is None else fields.magic("magic", told("magic")),
        comment=None if comment is None else fields.remark("comment", comment),
        profit=None if profit is None else fields.number("profit", profit),
        swap=None if swap is None else fields.number("swap", swap),
    )


def side_of(fields: _Fields, name: str, value: Any) -> Side:
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


def read_deals(raw: bytes, asked: Asked | None = None) -> RemoteHistory:
    """Read the answer to GET_DEALS: MT5's deal fields, codes or words. Raises as ``read_snapshot``."""
    answer, fields = _read(raw, "GET_DEALS", asked, "deals", _deal)
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
        "magic": fields.optional("magic", fields.magic),
        "reason": fields.optional("reason", lambda name, value: fields.whole(name, value, 0, 2**31 - 1)),
        "comment": fields.optional("comment", fields.remark),
        "external_id": fields.optional("external_id", fields.remark),
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
    if type(told) is not str:
        return fields.whole("type", told, 0, 2**31 - 1), None
    word = fields.text("type", told).strip().lower().removeprefix("deal_type_")
    if not word:
        raise fields.refuse("type", "a deal type", told)
    code = _DEAL_CODES.get(word)
    return code, None if code is not None else word


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
    )


def _positive(fields: _Fields, name: str) -> Decimal | None:
    """Read a size; 0 is how MT5 says that there is none."""
    value = fields.optional(name, fields.number)
    if value is not None and value < 0:
        raise fields.refuse(name, "a number of 0 or more", str(value))
    return value or None


def read_pong(raw: bytes, asked: Asked | None = None) -> None:
    """Read the answer to PING. Raises as ``read_snapshot``."""
    _read(raw, "PING", asked)
