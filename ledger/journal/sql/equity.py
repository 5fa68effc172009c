"""Marks, and equity by minute and day, in the tables of ``schema``: what the transaction that stores a mark reads and writes.

Statements go to the driver as text, as those of an append do. What is needed nearly always is read at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from ledger.clock import ClockRule
from ledger.codec import Stored, terms_of
from ledger.journal.equity import BOTH, By, align_days, count, count_all, numbers_of
from ledger.journal.sql.words import TERMS_FILTER, TERMS_OF, USE_TERMS_INDEX
from ledger.marks import (
    MINUTE_US,
    Bucket,
    BucketColumns,
    Mark,
    MarkColumns,
    bucket_columns,
    bucket_from,
    from_columns,
    to_columns,
)
from ledger.values import INT64_MAX

_Rows = Sequence[Sequence[Any]]
#: Carries out a statement in the words of SQLite, and returns its rows.
Execute = Callable[..., _Rows]
_Stream = Callable[..., Iterable[Sequence[Any]]]

_FIGURES: Final = ", ".join(BucketColumns._fields[1:])
_MARK: Final = ", ".join(MarkColumns._fields)
_OF_MINUTE: Final = f"SELECT {_MARK} FROM marks WHERE account_id = ? AND at_us >= ? AND at_us < ? ORDER BY at_us"
_COUNTED: Final = f"SELECT {_MARK} FROM marks WHERE account_id = ? AND equity IS NOT NULL ORDER BY at_us"
_NOTHING: Final = ", 0" * (len(BucketColumns._fields) - 1)
#: What a row of ``_SEEN`` is: minute, day, that a mark with equity of the same moment is there, that any minute is, and the
#: version that last changed the account terms.
_OLD: Final = 2
_ANY: Final = 3
_TERMS_AT: Final = 4
_SEEN: Final = (
    f"SELECT 0 AS what, minute AS number, {_FIGURES} FROM equity_minute WHERE account_id = ? AND minute = ? "
    f"UNION ALL SELECT 1, day, {_FIGURES} FROM equity_day WHERE account_id = ? AND day = ? "
    f"UNION ALL SELECT {_OLD}, 1{_NOTHING} FROM marks WHERE account_id = ? AND at_us = ? AND equity IS NOT NULL "
    f"UNION ALL SELECT {_ANY}, 0{_NOTHING} WHERE EXISTS (SELECT 1 FROM equity_minute WHERE account_id = ?) "
    f"UNION ALL SELECT {_TERMS_AT}, version{_NOTHING} FROM (SELECT version FROM events {USE_TERMS_INDEX} WHERE account_id = ? "
    f"AND ({TERMS_FILTER}) AND version > 0 ORDER BY version DESC LIMIT 1) AS terms"
)


def _replace(table: str, keys: Sequence[str], columns: Sequence[str]) -> str:
    set_to = ", ".join(f"{name} = excluded.{name}" for name in columns)
    names = (*keys, *columns)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {set_to}"
    )


_PUT_MARK: Final = _replace("marks", ("account_id", "at_us"), MarkColumns._fields[1:])
_PUT: Final = {by: _replace(f"equity_{by}", ("account_id", by), BucketColumns._fields[1:]) for by in BOTH}
_ALL: Final = {
    by: f"SELECT {by}, {_FIGURES} FROM equity_{by} WHERE account_id = ? AND {by} >= ? AND {by} <= ? ORDER BY {by}"
    for by in BOTH
}


class KnownClock(NamedTuple):
    """The clock of an account after the event that last changed its terms, the days of which are made by it."""

    version: int
    clock: ClockRule


def save_mark(execute: Execute, key: int, mark: Mark, known: KnownClock | None) -> KnownClock:
    """Store a mark and count it, within a transaction that nobody else stores a mark of the account in.

    Args:
        execute: Carries out a statement.
        key: Of the account.
        mark: What is stored.
        known: What was returned for the account before.

    Raises:
        InexactNumber: An amount does not fit.
    """
    columns = to_columns(mark)
    seen = _read(execute, key, mark, ClockRule() if known is None else known.clock)
    buckets = _Buckets(execute, key)
    if known is None or known.version != seen.terms_at:
        is_first, known = known is None, _clock_at(execute, key, seen.terms_at)
        if is_first and not seen.is_any:
            count_all(buckets, known.clock)
        else:
            align_days(buckets, known.clock)
    else:
        buckets.seen = {at: seen.buckets.get(at) for at in numbers_of(mark, known.clock)}
    execute(_PUT_MARK, key, *columns)
    count(buckets, mark, known.clock, is_again=seen.is_again)
    return known


def read(stream: _Stream, key: int, by: By, first: int | None, last: int | None) -> Iterator[Bucket]:
    """Yield buckets of an account from one number to another inclusive, ascending."""
    bounds = -INT64_MAX if first is None else max(first, -INT64_MAX), INT64_MAX if last is None else min(last, INT64_MAX)
    return (bucket_from(BucketColumns._make(row)) for row in stream(_ALL[by], key, *bounds))


class _Seen(NamedTuple):
    """What is there when a mark is stored."""

    buckets: dict[tuple[By, int], Bucket]
    is_again: bool
    is_any: bool
    terms_at: int


def _read(execute: Execute, key: int, mark: Mark, clock: ClockRule) -> _Seen:
    (_, minute), (_, day) = numbers_of(mark, clock)
    rows = execute(_SEEN, key, minute, key, day, key, mark.at_us, key, key)
    plain = {what: number for what, number, *_ in rows}
    return _Seen(
        buckets={(BOTH[row[0]], row[1]): bucket_from(BucketColumns._make(row[1:])) for row in rows if row[0] < _OLD},
        is_again=_OLD in plain,
        is_any=_ANY in plain,
        terms_at=plain.get(_TERMS_AT, 0),
    )


def _clock_at(execute: Execute, key: int, version: int) -> KnownClock:
    terms = terms_of(map(Stored._make, execute(TERMS_OF, key, version)))
    return KnownClock(version, ClockRule() if terms is None else terms.clock)


class _Buckets:
    """The buckets of one account (``journal.equity.Buckets``). ``seen``: those that were read already."""

    def __init__(self, execute: Execute, key: int) -> None:
        self._execute = execute
        self._key = key
        self.seen: dict[tuple[By, int], Bucket | None] = {}

    def get(self, by: By, number: int) -> Bucket | None:
        if (by, number) not in self.seen:
            return next(iter(self.all(by, number, number)), None)
        return self.seen[by, number]

    def all(self, by: By, first: int | None = None, last: int | None = None) -> Iterator[Bucket]:
        return read(self._execute, self._key, by, first, last)

    def put(self, by: By, bucket: Bucket) -> None:
        self.seen.pop((by, bucket.number), None)
        self._execute(_PUT[by], self._key, *bucket_columns(bucket))

    def remove(self, by: By, number: int) -> None:
        self.seen.pop((by, number), None)
        self._execute(f"DELETE FROM equity_{by} WHERE account_id = ? AND {by} = ?", self._key, number)

    def marks(self, minute: int | None = None) -> Iterator[Mark]:
        values = () if minute is None else (minute * MINUTE_US, (minute + 1) * MINUTE_US)
        rows = self._execute(_COUNTED if minute is None else _OF_MINUTE, self._key, *values)
        return (from_columns(MarkColumns._make(row)) for row in rows)
