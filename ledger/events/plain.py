"""An event's fields as JSON values: exact decimals as text, one spelling for one number."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs

from ledger.clock import ClockRule
from ledger.values import entry_word, plain, signed_magic


def plain_fields(event: Any, *, magic: Callable[[int | None], int | None] = signed_magic) -> dict[str, Any]:
    """Return an event's fields without its time as JSON values; unknown ones are left out.

    Args:
        event: An event or a position state.
        magic: How magic numbers are written: signed, as they are stored, or unsigned, as people know them.
    """
    found = {name: getattr(event, name) for name in _field_names(type(event))}
    if "magic" in found:
        found["magic"] = magic(found["magic"])
    return {name: _plain(value, magic) for name, value in found.items() if value is not None and name != "time_msc"}


def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(one.name for one in attrs.fields(cls))


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
