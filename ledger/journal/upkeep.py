"""Upkeep: what was last done for the journal's own safety, beside its events and never part of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, fields, frozen

VERIFY: Final = "verify"
SEAL: Final = "seal"
BACKUP: Final = "backup"
#: In a backup: when it was made. So it is known to be one until somebody records an event in it.
COPY: Final = "copy"


@frozen(kw_only=True)
class Upkeep:
    """How the last verification, seal or backup of a journal ended. Times are UTC in microseconds.

    Attributes:
        kind: verify, seal, backup or copy.
        at_us: When it ended.
        succeeded_us: When one last ended without a problem; None for never.
        problems: How many were found.
        problem: The first of them.
        host: Machine of the process.
    """

    kind: str
    at_us: int
    succeeded_us: int | None = None
    problems: int = 0
    problem: str | None = None
    host: str

    @property
    def is_ok(self) -> bool:
        """Whether it ended without a problem."""
        return self.problems == 0


COLUMNS: Final = tuple(one.name for one in fields(Upkeep))


def merged(before: Upkeep | None, after: Upkeep) -> Upkeep:
    """Return what is stored after something was done: when it last ended well is known from before, too."""
    known = None if before is None else before.succeeded_us
    return evolve(after, succeeded_us=after.at_us if after.is_ok else known)


def from_columns(row: Mapping[str, Any]) -> Upkeep | None:
    """Return the content of a row; None where it is damaged: nothing is known then."""
    for name, value in row.items():
        is_empty = value is None and name in ("succeeded_us", "problem")
        if not is_empty and not isinstance(value, int if name.endswith("_us") or name == "problems" else str):
            return None
    return Upkeep(**row)
