"""Looks at single events of long histories, found by their versions: newest first, a few at a time, by what they are about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.codec import KINDS, Stored
from ledger.journal.derived import TradeRow
from ledger.journal.sql.schema import NOTABLE, NOTABLE_KINDS, ROW, account_key
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


def newest_trades(
    journal: SqlJournal,
    account: AccountId,
    *,
    before: int = INT64_MAX,
    limit: int = _AT_ONCE,
    since_us: int | None = None,
    until_us: int | None = None,
    symbols: Collection[str] = (),
) -> tuple[list[tuple[int, TradeRow]], int]:
    """Return closed trades of the derived tables, the newest first, and how many of all are like that.

    Each has its place in the order of closing, from 1 on; those not known in full are behind all others.

    Args:
        journal: Whose.
        account: Which.
        before: Only those of lower places.
        limit: So many at most.
        since_us: Only those that were closed then or later, in UTC,
        until_us: and before.
        symbols: Only of these; all where none is named.
    """
    key = account_key(account)
    conditions: list[tuple[str, tuple[Any, ...]]] = []
    if since_us is not None:
        conditions.append(("closed_utc_msc >= ?", (-(-since_us // 1000),)))
    if until_us is not None:
        conditions.append(("closed_utc_msc < ?", (-(-until_us // 1000),)))
    if symbols:
        conditions.append((f"symbol IN ({_marks(list(symbols))})", tuple(sorted(symbols))))
    only = "".join(f" AND {text}" for text, _ in conditions)
    values = [one for _, several in conditions for one in several]
    whole = journal.select("SELECT max(number) FROM closed_trades WHERE account_id = ? AND is_unfinished = 0", key)[0][0] or 0
    columns = ", ".join(f'"{name}"' for name in TradeRow._fields)
    text = (
        f"SELECT {columns} FROM closed_trades WHERE account_id = ? AND is_unfinished = ? AND number < ?{only} "
        "ORDER BY number DESC LIMIT ?"
    )
    found: list[tuple[int, TradeRow]] = []
    for is_unfinished, behind in ((1, whole), (0, 0)):
        rows = journal.select(text, key, is_unfinished, before - behind, *values, limit - len(found))
        found += [(behind + row.number, row) for row in map(TradeRow._make, rows)]
    count = journal.select(f"SELECT count(*) FROM closed_trades WHERE account_id = ?{only}", key, *values)[0][0]
    return found, int(count)


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
