"""Equity by minute and by day: how every journal counts a mark in them, whatever it stores them in.

A mark that is new is merged into its minute and its day. One that replaces another has its minute counted again from the marks,
and its day from the minutes. A minute's marks are deleted together (``MarkKeeper``), so there are all of them or none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, Protocol

from ledger.clock import ClockRule
from ledger.marks import (
    Bucket,
    Mark,
    bucket_of,
    day_of,
    day_span_us,
    is_in_days,
    merged_or_none,
    minute_of,
    of_marks,
    of_minutes,
    replaced,
)

By = Literal["minute", "day"]
BOTH: Final[tuple[By, ...]] = ("minute", "day")


class Buckets(Protocol):
    """The buckets of one account, within the transaction that stores a mark."""

    def get(self, by: By, number: int) -> Bucket | None:
        """Return a bucket."""
        ...

    def all(self, by: By, first: int | None = None, last: int | None = None) -> Iterable[Bucket]:
        """Return buckets from one number to another inclusive, ascending."""
        ...

    def put(self, by: By, bucket: Bucket) -> None:
        """Replace a bucket."""
        ...

    def remove(self, by: By, number: int) -> None:
        """Remove a bucket."""
        ...

    def marks(self, minute: int | None = None) -> Iterable[Mark]:
        """Return the marks of a minute, or all with equity, oldest first."""
        ...


def count(buckets: Buckets, mark: Mark, clock: ClockRule, *, is_again: bool) -> None:
    """Count a mark that was stored; ``is_again`` where it replaced one of the same moment that was counted."""
    if is_again:
        _count_again(buckets, mark, clock)
    elif mark.equity is not None:
        for by, number in numbers_of(mark, clock):
            _store(buckets, by, number, merged_or_none(bucket_of(mark, number), buckets.get(by, number)))


def numbers_of(mark: Mark, clock: ClockRule) -> tuple[tuple[By, int], tuple[By, int]]:
    """Return the buckets that a mark is counted in: the minute, and the day."""
    return ("minute", minute_of(mark.at_us)), ("day", day_of(mark.at_us, clock))


def count_all(buckets: Buckets, clock: ClockRule) -> None:
    """Count every mark that is there: an older program left them."""
    minutes = list(of_marks(buckets.marks()))
    for minute in minutes:
        buckets.put("minute", minute)
    for day in of_minutes(minutes, clock):
        buckets.put("day", day)


def align_days(buckets: Buckets, clock: ClockRule) -> None:
    """Make the days anew if they are those of another clock: an operator has corrected it."""
    days = list(buckets.all("day"))
    if not is_in_days(days, clock):
        for day in days:
            buckets.remove("day", day.number)
        for day in of_minutes(buckets.all("minute"), clock):
            buckets.put("day", day)


def _count_again(buckets: Buckets, mark: Mark, clock: ClockRule) -> None:
    (_, minute), (_, day) = numbers_of(mark, clock)
    marks = list(buckets.marks(minute))
    known = next(of_marks(marks), None)
    known_before = sum(one.equity is not None or one.at_us == mark.at_us for one in marks)
    before = buckets.get("minute", minute)
    _store(buckets, "minute", minute, known if before is None else replaced(before, known, known_before))
    begin_us, end_us = day_span_us(day, clock)
    minutes = buckets.all("minute", minute_of(begin_us), minute_of(end_us - 1))
    _store(buckets, "day", day, next(of_minutes(minutes, clock), None))


def _store(buckets: Buckets, by: By, number: int, bucket: Bucket | None) -> None:
    if bucket is None:
        buckets.remove(by, number)
    else:
        buckets.put(by, bucket)
