"""Equity: what an account was worth over time, of its marks: sample by sample, by minute or by day of its server.

Nothing is made up between samples: a minute or day without one is missing, and extremes between two are unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, Literal

from attrs import evolve, frozen

from ledger.clock import DAY_MSC, ClockRule, utc_text
from ledger.errors import BadValue
from ledger.marks import MINUTE_US, Bucket, Mark, bucket_of, day_of, day_span_us, is_in_days, minute_of, of_marks, of_minutes
from ledger.service import Account, Moment, moment_begin_us, moment_last_us
from ledger.values import shown

By = Literal["mark", "minute", "day"]
BY: Final[tuple[By, ...]] = ("mark", "minute", "day")


@frozen(kw_only=True)
class EquityRow:
    """The equity of one sample, minute or server day.

    Attributes:
        begin_us: When it begins, UTC microseconds; of a sample its moment.
        end_us: When it ends, exclusive; of a sample its moment.
        day: The date on the server's clock, of a day.
        bucket: Open, high, low and close with their times, and how many samples there were.
        mark: The sample itself; None for a minute or day.
    """

    begin_us: int
    end_us: int
    day: str | None
    bucket: Bucket
    mark: Mark | None = None


@frozen(kw_only=True)
class Equity:
    """The equity of an account over a period.

    Attributes:
        by: What a row is of.
        rows: Oldest first; read as they are taken, once.
        interval_us: Between two samples, as the last sync planned; None where none was seen.
        is_reported: Whether the broker reported the equity of the newest sample of the period, or it was computed from balance,
            credit and floating result; None where its sample is deleted or there is none.
    """

    account: Account
    by: By
    rows: Iterator[EquityRow]
    interval_us: int | None
    is_reported: bool | None


def equity(account: Account, *, by: By = "day", since: Moment = None, until: Moment = None, known_at: Moment = None) -> Equity:
    """Return the equity of an account, sample by sample, by minute (UTC) or by server day.

    Args:
        account: Whose.
        by: ``mark``, ``minute`` or ``day``.
        since: From this moment on; the minute or day that has it is included whole.
        until: Up to this moment, its whole unit included.
        known_at: Only samples that were taken by then: the minute or day that has it ends there. It is left out where its
            samples are deleted.

    Raises:
        AccountUnknown: The account was not opened.
        BadValue: A moment that cannot be, a period that ends before it begins, or nothing that equity is shown by.
    """
    if by not in BY:
        raise BadValue(f"expected one of {', '.join(BY)}, found {shown(by)}")
    clock = account.terms.clock
    from_us = None if since is None else moment_begin_us(since)
    to_us = None if until is None else moment_last_us(until)
    if from_us is not None and to_us is not None and to_us < from_us:
        raise BadValue(f"expected a period that ends after it begins, found since {shown(since)}, until {shown(until)}")
    health = account.ledger.journal.sync_health(account.name)
    known_us = None if known_at is None else moment_last_us(known_at)
    if known_us is not None:
        to_us = known_us if to_us is None else min(to_us, known_us)
    newest = account.newest_mark(at_us=to_us)
    is_known = newest is not None and newest.equity is not None and (from_us is None or newest.at_us >= from_us)
    return Equity(
        account=account,
        by=by,
        rows=_known(account, clock, _ROWS[by](account, clock, from_us, to_us), known_us),
        interval_us=None if health is None else health.interval_us,
        is_reported=newest.is_equity_reported if newest is not None and is_known else None,
    )


def _of_marks(account: Account, _: ClockRule, from_us: int | None, to_us: int | None) -> Iterator[EquityRow]:
    for mark in account.marks(from_us=from_us, to_us=to_us):
        bucket = bucket_of(mark, minute_of(mark.at_us))
        if bucket is not None:
            yield EquityRow(begin_us=mark.at_us, end_us=mark.at_us, day=None, bucket=bucket, mark=mark)


def _of_minutes(account: Account, _: ClockRule, from_us: int | None, to_us: int | None) -> Iterator[EquityRow]:
    first, last = (None if one is None else minute_of(one) for one in (from_us, to_us))
    for bucket in account.ledger.journal.equity(account.name, "minute", first=first, last=last):
        begin_us = bucket.number * MINUTE_US
        yield EquityRow(begin_us=begin_us, end_us=begin_us + MINUTE_US, day=None, bucket=bucket)


def _of_days(account: Account, clock: ClockRule, from_us: int | None, to_us: int | None) -> Iterator[EquityRow]:
    first, last = (None if one is None else day_of(one, clock) for one in (from_us, to_us))
    for bucket in days(account, clock, first=first, last=last):
        begin_us, end_us = day_span_us(bucket.number, clock)
        yield EquityRow(begin_us=begin_us, end_us=end_us, day=utc_text(bucket.number * DAY_MSC)[:10], bucket=bucket)


def _known(account: Account, clock: ClockRule, rows: Iterator[EquityRow], known_us: int | None) -> Iterator[EquityRow]:
    """Yield what was known of rows at a moment: of the one that goes on behind it, what its samples by then make."""
    for row in rows:
        if known_us is None or row.end_us <= known_us + 1:
            yield row
        elif row.begin_us <= known_us and (bucket := _begun(account, clock, row, known_us)) is not None:
            yield evolve(row, end_us=known_us + 1, bucket=bucket)


def _begun(account: Account, clock: ClockRule, row: EquityRow, known_us: int) -> Bucket | None:
    minute = minute_of(known_us)
    last = of_marks(account.marks(from_us=minute * MINUTE_US, to_us=known_us))
    if row.day is None:
        return next(last, None)
    before = account.ledger.journal.equity(account.name, "minute", first=minute_of(row.begin_us), last=minute - 1)
    return next(of_minutes(chain(before, last), clock), None)


def days(account: Account, clock: ClockRule, *, first: int | None = None, last: int | None = None) -> Iterable[Bucket]:
    """Return server days by a clock, ascending: those that are stored, or of the minutes where they are of another clock."""
    journal = account.ledger.journal
    before, behind = None if first is None else first - 1, None if last is None else last + 1
    found: Iterable[Bucket] = list(journal.equity(account.name, "day", first=before, last=behind))
    if not is_in_days(found, clock):
        found = of_minutes(journal.equity(account.name, "minute"), clock)
    return [one for one in found if (first is None or first <= one.number) and (last is None or one.number <= last)]


_ROWS: Final = {"mark": _of_marks, "minute": _of_minutes, "day": _of_days}
