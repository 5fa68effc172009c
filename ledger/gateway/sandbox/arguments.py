"""The arguments of orders and commands, checked: what the sandbox accepts as an amount, a text, a number of times."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

AMOUNT_MAX: Final = Decimal(10) ** 9
COUNT_MAX: Final = 100_000
PARTS_MAX: Final = 100
SLOW_MAX_MS: Final = 600_000
TIME_MAX_MSC: Final = 250_000_000_000_000  # the year 9892
_DIGITS_MAX: Final = 15
_WORDS_MAX: Final = 500


def to_amount(value: object, name: str, *, low: Decimal = -AMOUNT_MAX) -> Decimal:
    """Read a decimal number, of money or of lots.

    Raises:
        ValueError: It is none, or one beyond the bounds.
    """
    is_number = isinstance(value, (int, float, str)) and not isinstance(value, bool)
    number = Decimal(str(value)) if is_number else Decimal("NaN")
    if not number.is_finite() or not low <= number <= AMOUNT_MAX or number != round(number, _DIGITS_MAX):
        raise ValueError(f"{name} is a decimal number from {low} to {AMOUNT_MAX}, found {value!r:.100}")
    return number


def to_text(value: object, name: str) -> str:
    """Read a text.

    Raises:
        ValueError: It is none, or a long one.
    """
    if not isinstance(value, str) or len(value) > _WORDS_MAX:
        raise ValueError(f"{name} is a text of at most {_WORDS_MAX} characters, found {value!r:.100}")
    return value
