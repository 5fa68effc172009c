"""Conditions of ``--where``: one field of an open position, a comparison, a value. All of several have to be met."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from attrs import frozen

from ledger.clock import moment_span_us
from ledger.errors import BadValue
from ledger.positions import BASIS_ADJUSTMENT, BASIS_CORRECTION, BASIS_FILLS, BASIS_RECOVERY
from ledger.values import Side, to_magic

#: Fields that hold numbers, and those that hold texts.
NUMBERS: Final = ("volume", "price_open", "position_id", "ticket", "magic")
TEXTS: Final = ("symbol", "side", "account", "currency", "basis", "opened_at")
#: Fields that have a few values only.
FIXED: Final = {
    "side": tuple(one.value for one in Side),
    "basis": (BASIS_FILLS, BASIS_RECOVERY, BASIS_CORRECTION, BASIS_ADJUSTMENT),
}
COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_WRITTEN: Final = re.compile(r"\s*(\w+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)


class Span(NamedTuple):
    """The unit that a written time names: its first UTC microsecond, and the first one after it."""

    begin_us: int
    end_us: int

    def place(self, text: str) -> int:
        """Return -1 for a time before it, 0 for one within, 1 for one behind."""
        at_us = moment_span_us(text)[0]
        return (at_us >= self.begin_us) + (at_us >= self.end_us) - 1


@frozen(kw_only=True)
class Condition:
    """A condition: ``symbol = XAUUSD``, ``volume >= 1.5``. Numbers are compared as exact numbers, texts as texts.

    A time is compared with all of the day, minute or second that is written: ``opened_at <= 2026-01-05`` has that day.
    """

    field: str
    comparison: str
    value: Decimal | str | Span

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition as it is written.

        Raises:
            BadValue: It is none, or its field does not exist, or has no such values.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None or not found[3] or found[3][0] in "=<>":
            raise BadValue(f"expected FIELD, one of {' '.join(COMPARISONS)}, and a value, as symbol = XAUUSD, found {text!r}")
        name, comparison, value = found.groups()
        if name not in (*NUMBERS, *TEXTS):
            raise BadValue(f"expected a field of {', '.join((*TEXTS, *NUMBERS))}, found {name!r}")
        return cls(field=name, comparison=comparison, value=_value(name, _text(value)))

    def is_met(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row meets it; what is not known meets nothing."""
        found = row[self.field]
        if found is None:
            return False
        if isinstance(self.value, Span):
            return COMPARISONS[self.comparison](self.value.place(found), 0)
        return COMPARISONS[self.comparison](Decimal(found) if isinstance(self.value, Decimal) else found, self.value)


def _value(name: str, text: str) -> Decimal | str | Span:
    if name == "opened_at":
        return Span(*moment_span_us(text))
    if name == "magic":
        return Decimal(to_magic(text))
    if name in NUMBERS:
        return _number(name, text)
    if name in FIXED and text not in FIXED[name]:
        raise BadValue(f"expected {' or '.join(FIXED[name])} to compare {name} with, found {text!r}")
    return text


def _number(name: str, value: str) -> Decimal:
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise BadValue(f"expected a number to compare {name} with, found {value!r}")
    return number


def _text(value: str) -> str:
    """Return a value without the quotes that it may be written in."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
