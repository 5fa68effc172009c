"""The fields of one JSON object, read one by one and strictly: what cannot be read is refused with row and field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeVar

from ledger.clock import TIME_MAX_MSC, TIME_MIN_MSC, time_hint
from ledger.errors import BadValue, InexactNumber, SnapshotRefused
from ledger.events import storable
from ledger.protocol.json_stream import shown
from ledger.values import DOUBLE_EXACT, INT64_MAX, UINT64_MAX, MarginMode, to_margin_mode

_Value = TypeVar("_Value")

_MAGNITUDE_MAX: Final = 30  # 10^30 of anything is no price, no volume and no money
_EXACT_TEXT: Final = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][-+]?[0-9]{1,3})?")
_decimal: Final = lru_cache(maxsize=4096)(Decimal)
_WHOLE_TEXT: Final = re.compile(r"-?[0-9]{1,20}(?:\.0{1,20})?")


class Fields:
    """The fields of one JSON object, read one by one; what is wrong is refused with row and field."""

    __slots__ = ("_row", "found")

    def __init__(self, found: Mapping[str, Any], row: int | None = None) -> None:
        self.found = found
        self._row = row

    def refuse(self, name: str, expected: str, found: object) -> SnapshotRefused:
        """Return the error for a field: what was expected, and what was found."""
        return SnapshotRefused(f"expected {expected}, found {shown(found)}", row=self._row, field=name)

    def given(self, name: str) -> Any:
        """Return a field that must be given."""
        value = self.found.get(name)
        if value is None:
            raise SnapshotRefused("is missing", row=self._row, field=name)
        return value

    def optional(self, name: str, read: Callable[[str, Any], _Value]) -> _Value | None:
        """Read a field that may be missing or null."""
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
        """Read a ticket or an identifier: a whole number of more than 0."""
        return self.whole(name, value, 1, INT64_MAX - 1)

    def ticket_or_none(self, name: str) -> int | None:
        """Read a ticket that may be missing; 0 is MT5's value for none."""
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
        if is_size(number):
            return number
        if not number:
            return Decimal(0)
        raise self.refuse(name, "a number that can be a price, a volume or money", str(number))

    def text(self, name: str, value: Any) -> str:
        """Read a text that can be stored."""
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
        """Read the name of the symbol, which must be given."""
        value = self.text("symbol", self.given("symbol"))
        if not value.strip():
            raise self.refuse("symbol", "the name of a symbol", value)
        return value

    def truth(self, name: str, value: Any) -> bool:
        """Read true or false."""
        if value is True or value is False:
            return bool(value)
        raise self.refuse(name, "true or false", value)

    def time_msc(self, *names: str) -> int | None:
        """Read a server time from the first name that is given: ``*_msc`` in milliseconds, the others in seconds.

        0 is MT5's value for none.
        """
        for name in names:
            value = self.found.get(name)
            if value is None:
                continue
            unit_msc = 1 if name.endswith("_msc") else 1000
            number = self.whole(name, value, 0, TIME_MAX_MSC // unit_msc)
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
        """Read one of MT5's words, or its code, where it is given."""
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
        """Read a margin mode, where it is given."""
        return self.word(name, to_margin_mode, "netting, exchange, hedging or MT5's code")


def is_size(value: object) -> bool:
    """Return whether a value is a decimal of a size that a price, a volume or money can have."""
    return type(value) is Decimal and -_MAGNITUDE_MAX <= value.adjusted() <= _MAGNITUDE_MAX


def as_whole(value: object) -> int | None:
    """Return a whole number that is written as one, or as a double that is exact; None for anything else."""
    if type(value) is int:
        return value
    if type(value) is str and _WHOLE_TEXT.fullmatch(value):
        if "." not in value:
            return int(value)
        value = Decimal(value)
    if type(value) is Decimal and value.adjusted() < _MAGNITUDE_MAX and value == value.to_integral_value():
        return int(value) if abs(value) <= DOUBLE_EXACT else None
    return None
