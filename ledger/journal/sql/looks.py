"""Looks at single events of long histories, found by their versions: newest first, a few at a time, by what they are about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.codec import APPROVAL_KEYS, KINDS, Stored
from ledger.journal.derived import TradeRow
from ledger.journal.sql.words import NOTABLE, NOTABLE_KINDS, ROW, account_key, among
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
        marks, values = among(some)
        text = f"SELECT version, time_msc, recorded_us FROM events WHERE account_id = ? AND version IN ({marks})"
        found += map(Moment._make, journal.select(text, account_key(account), *values))
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
        position: Only those whose row names this position, and decisions and notes, which may be about it.
        deal: Only those that may be about this deal.
        correlation: Only those of this sync run or import.
    """
    conditions: list[str] = []
    values: list[Any] = []
    if kinds is not None:
        known = sorted(KINDS.keys() & set(kinds))
        words = "', '".join(["", *known])
        conditions.append(f"kind IN ('{words}')")
        if set(known) <= NOTABLE_KINDS:  # so that its index serves
            conditions.append(NOTABLE)
    if correlation is not None:
        conditions.append("correlation = ?")
        values.append(correlation)
    found: list[Stored] = []
    for index, version, condition, more in _places(position, deal):
        only = "".join(f" AND {one}" for one in (condition, *conditions) if one)
        text = (
            f"SELECT {ROW} FROM events {index}WHERE account_id = ? AND {version} > ? AND {version} < ?{only} "
            f"ORDER BY {version} DESC LIMIT ?"
        )
        rows = journal.select(text, account_key(account), after, before, *more, *values, limit)
        found += map(Stored._make, rows)
    return sorted(found, key=lambda row: -row.version)[:limit]


def _places(position: int | None, deal: int | None) -> list[tuple[str, str, str, tuple[Any, ...]]]:
    """Return where the events are that may be about a position or a deal: index, version, condition and its values.

    A version that is written ``version + 0`` keeps SQLite from reading all versions. No two places have an event in common.
    """
    if deal is not None:
        key = f"deal:{deal}"  # a # behind it numbers later records: it is before $
        names, named = "(data LIKE ? OR data LIKE ?)", (f'%"deal": {deal}%', f'%"deal":{deal}%')
        beside = f"{_BESIDE} AND kind = 'OrderAnswered' AND {names}"
        return [
            ("", "version + 0", "natural_key >= ? AND natural_key < ?", (key, f"{key}$")),
            ("INDEXED BY ix_events_notable ", "version + 0", f"{NOTABLE} AND deal IS NULL AND {names}", named),
            ("INDEXED BY ix_events_orders ", "version + 0", beside, named),
        ]
    if position is not None:
        first, end = APPROVAL_KEYS
        return [
            ("INDEXED BY ix_events_position ", "version", "position_id = ?", (position,)),  # SQLite would read all versions
            ("", "version + 0", "natural_key >= ? AND natural_key < ? AND position_id IS NULL", (first, end)),
        ]
    return [("", "version", "", ())]


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
        marks, wanted = among(sorted(symbols))
        conditions.append((f"symbol IN ({marks})", tuple(wanted)))
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
        marks, values = among(some)
        text = f"SELECT {ROW} FROM events WHERE account_id = ? AND version IN ({marks})"
        found += map(Stored._make, journal.select(text, account_key(account), *values))
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
