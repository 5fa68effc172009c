"""Looks at single events of long histories, found by their versions: newest first, a few at a time, by what they are about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.codec import KINDS, Stored
from ledger.journal.sql.words import NOTABLE, NOTABLE_KINDS, ROW, account_key
from ledger.postings import OUTSIDE_FOLD
from ledger.values import INT64_MAX, AccountId

if TYPE_CHECKING:
    from ledger.journal.sql.journal import SqlJournal

_AT_ONCE: Final = 500
#: What is notable, and what is outside the fold: both have an index, and both are few beside the deals.
_NOTABLE: Final = NOTABLE
_BESIDE: Final = f"placement = {OUTSIDE_FOLD}"


class Moment(NamedTuple):
    """When an event happened (broker server time) and when it was recorded (UTC, microseconds)."""

    version: int
    time_msc: int
    recorded_us: int


def moments(journal: SqlJournal, account: AccountId, versions: Sequence[int]) -> list[Moment]:
    """Return the moments of some events, ascending by version."""
    found: list[Moment] = []
    for begin in range(0, len(versions), _AT_ONCE):
        some = versions[begin : begin + _AT_ONCE]
        text = f"SELECT version, time_msc, recorded_us FROM events WHERE account_id = ? AND version IN ({_marks(some)})"
        found += map(Moment._make, journal.select(text, account_key(account), *some))
    return sorted(found)


def version_by_time(journal: SqlJournal, account: AccountId, time_msc: int, upto: int) -> int:
    """Return about how many of the first events happened by a moment, in broker server time.

    Exact where all of them arrived in the order in which they happened; what arrived late makes it a little wrong.
    """
    low, high = 0, upto
    while low < high:
        middle = (low + high + 1) // 2
        found = moments(journal, account, [middle])
        is_later = not found or found[0].time_msc > time_msc
        low, high = (low, middle - 1) if is_later else (middle, high)
    return low


def newest(
    journal: SqlJournal,
    account: AccountId,
    *,
    before: int = INT64_MAX,
    after: int = 0,
    limit: int = _AT_ONCE,
    kinds: Collection[str] | None = None,
    position: int | None = None,
    deal: int | None = None,
    correlation: str | None = None,
) -> list[Stored]:
    """Return rows of an account, the newest first.

    Args:
        journal: Whose.
        account: Which.
        before: Only those of lower versions,
        after: and of higher ones.
        limit: So many at most.
        kinds: Only of these kinds.
        position: Only those whose row names this position.
        deal: Only those whose row names this deal.
        correlation: Only those of this sync run or import.
    """
    conditions, values = [], [account_key(account), after, before]
    if kinds is not None:
        known = sorted(KINDS.keys() & set(kinds))
        words = "', '".join(["", *known])
        conditions.append(f"kind IN ('{words}')")
        if set(known) <= NOTABLE_KINDS:  # so that its index serves
            conditions.append(NOTABLE)
    for column, value in (("position_id", position), ("deal", deal), ("correlation", correlation)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)  # type: ignore[arg-type]
    more = "".join(f" AND {one}" for one in conditions)
    index = "" if position is None else "INDEXED BY ix_events_position "  # SQLite would read all versions
    text = f"SELECT {ROW} FROM events {index}WHERE account_id = ? AND version > ? AND version < ?{more} ORDER BY version DESC"
    return [Stored._make(row) for row in journal.select(f"{text} LIMIT ?", *values, limit)]


def rows_of(journal: SqlJournal, account: AccountId, versions: Sequence[int]) -> list[Stored]:
    """Return the rows of some versions, ascending."""
    found: list[Stored] = []
    for begin in range(0, len(versions), _AT_ONCE):
        some = versions[begin : begin + _AT_ONCE]
        text = f"SELECT {ROW} FROM events WHERE account_id = ? AND version IN ({_marks(some)})"
        found += map(Stored._make, journal.select(text, account_key(account), *some))
    return sorted(found, key=lambda row: row.version)


def caused(journal: SqlJournal, account: AccountId, version: int) -> list[Stored]:
    """Return the events that name an event as what they come from, ascending by version."""
    found: list[Stored] = []
    for of_index in (_NOTABLE, _BESIDE):  # those of the other kinds are deals, and completions of deals
        text = (
            f"SELECT {ROW} FROM events WHERE account_id = ? AND {of_index} AND caused_by = ? AND version > ? ORDER BY version"
        )
        found += map(Stored._make, journal.select(text, account_key(account), version, version))
    return sorted(found, key=lambda row: row.version)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
