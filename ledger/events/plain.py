"""An event's fields as JSON values: exact decimals as text, one spelling for one number."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final

import attrs

from ledger.clock import ClockRule
from ledger.values import entry_word, plain, signed_magic

#: What is a JSON value as it is.
_PLAIN: Final = frozenset({str, int, bool})


def plain_fields(event: Any, *, magic: Callable[[int | None], int | None] = signed_magic) -> dict[str, Any]:
    """Return an event's fields without its time as JSON values; unknown ones are left out.

    Args:
        event: An event or a position state.
        magic: How magic numbers are written: signed, as they are stored, or unsigned, as people know them.
    """
    found: dict[str, Any] = {}
    for name in _field_names(type(event)):  # type: ignore[arg-type]  # a class can be hashed
        value = getattr(event, name)
        value = magic(value) if name == "magic" else value
        if value is not None:
            found[name] = value if type(value) in _PLAIN else _plain(value, magic)
    return found


@cache
def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(one.name for one in attrs.fields(cls) if one.name != "time_msc")


def _plain(value: Any, magic: Callable[[int | None], int | None]) -> Any:
    match value:
        case Enum():
            return entry_word(value) if isinstance(value, int) else value.value
        case Decimal():
            return plain(value)  # one spelling for one number, so that keys and digests agree
        case ClockRule():
            return value.name
        case _ if attrs.has(type(value)):
            return plain_fields(value, magic=magic)
        case _:
            return value
