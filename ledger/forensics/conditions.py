"""Conditions of ``--where``: one field of an open position, a comparison, a value. All of several have to be met."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from attrs import frozen

from ledger.errors import BadValue

#: Fields that hold numbers, and those that hold texts.
NUMBERS: Final = ("volume", "price_open", "position_id", "ticket", "magic")
TEXTS: Final = ("symbol", "side", "account", "currency", "basis", "opened_at")
COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_WRITTEN: Final = re.compile(r"\s*(\w+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)


@frozen(kw_only=True)
class Condition:
    """A condition: ``symbol = XAUUSD``, ``volume >= 1.5``. Numbers are compared as exact numbers, texts as texts."""

    field: str
    comparison: str
    value: Decimal | str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition as it is written.

        Raises:
            BadValue: It is none, or its field does not exist, or its value is no number where one is needed.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None or not found[3]:
            raise BadValue(f"expected FIELD, one of {' '.join(COMPARISONS)}, and a value, as symbol = XAUUSD, found {text!r}")
        name, comparison, value = found.groups()
        if name not in (*NUMBERS, *TEXTS):
            raise BadValue(f"expected a field of {', '.join((*TEXTS, *NUMBERS))}, found {name!r}")
        return cls(field=name, comparison=comparison, value=_number(name, value) if name in NUMBERS else _text(value))

    def is_met(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row meets it; what is not known meets nothing."""
        found = row[self.field]
        if found is None:
            return False
        return COMPARISONS[self.comparison](Decimal(found) if isinstance(self.value, Decimal) else found, self.value)


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
