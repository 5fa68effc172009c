"""Marks: what an account was worth at a moment, as a sync saw it. Samples, never events: nothing is folded from them.

They are deleted after a while. What is there for ever is the equity of each minute and day: its buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import groupby
from typing import Final, NamedTuple

from attrs import evolve, frozen

from ledger.clock import DAY_MSC, MINUTE_MSC, ClockRule
from ledger.errors import InexactNumber
from ledger.values import exact_sum, scaled, unscaled

#: The amounts of a mark, in the order of their columns.
AMOUNTS: Final = ("balance", "credit", "floating", "equity", "margin")
_SCALE_MAX: Final = 18
#: So many days a mark is there, where nobody sets another number.
KEEP_DAYS: Final = 30
#: A day that is not over yet can have begun two days ago. No date is further away than the last.
KEEP_DAYS_MIN: Final = 2
KEEP_DAYS_MAX: Final = 36_500
MINUTE_US: Final = MINUTE_MSC * 1000
_PRICES: Final = ("open", "high", "low", "close")


@frozen(kw_only=True)
class Mark:
    """What the broker showed of an account with a trusted snapshot, in account currency; None for what it did not show.

    ``at_us`` is the moment of the sample in UTC microseconds, ``server_msc`` the broker's clock then. ``floating`` is the
    result of the open positions. ``is_equity_reported`` states whether the broker reported the equity, or it was computed.
    """

    at_us: int
    server_msc: int | None = None
    balance: Decimal | None = None
    credit: Decimal | None = None
    floating: Decimal | None = None
    equity: Decimal | None = None
    margin: Decimal | None = None
    is_equity_reported: bool = False


class MarkColumns(NamedTuple):
    """A mark as it is stored: amounts as integers with ``scale`` decimals."""

    at_us: int
    server_msc: int | None
    scale: int
    balance: int | None
    credit: int | None
    floating: int | None
    equity: int | None
    margin: int | None
    is_equity_reported: int


def floating_of(mark: Mark) -> Decimal | None:
    """Return the floating result of a mark: as the positions had it, else what equity has beside balance and credit."""
    if mark.floating is not None or mark.equity is None or mark.balance is None or mark.credit is None:
        return mark.floating
    return exact_sum((mark.equity, mark.balance.copy_negate(), mark.credit.copy_negate()))


def floating_at(mark: Mark | None, at_us: int, fresh_us: int, *, is_flat: bool) -> Decimal | None:
    """Return the floating result at a moment (UTC microseconds); None where nothing fresh shows it.

    Args:
        mark: The newest by then.
        at_us: The moment.
        fresh_us: How old it may be.
        is_flat: Whether nothing was open then: that is 0.
    """
    if is_flat:
        return Decimal(0)
    if mark is None or at_us // 1000 - mark.at_us // 1000 > fresh_us // 1000:
        return None
    return floating_of(mark)


@frozen(kw_only=True)
class Bucket:
    """The equity of all marks in a minute or a day. Of several highest or lowest ones the time of the first is stored.

    ``number`` counts minutes of UTC since 1970 (``minute_of``), or days on the server's clock since 1970 (``day_of``).
    """

    number: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    open_us: int
    high_us: int
    low_us: int
    close_us: int
    samples: int


class BucketColumns(NamedTuple):
    """A bucket as it is stored: amounts as integers with ``scale`` decimals."""

    number: int
    scale: int
    open: int
    high: int
    low: int
    close: int
    open_us: int
    high_us: int
    low_us: int
    close_us: int
    samples: int


def minute_of(at_us: int) -> int:
    """Return the minute of a moment: whole minutes of UTC since 1970."""
    return at_us // MINUTE_US


def day_of(at_us: int, clock: ClockRule) -> int:
    """Return the server day of a moment: whole days since 1970 on the server's clock."""
    return clock.from_utc_msc(at_us // 1000) // DAY_MSC


def day_span_us(day: int, clock: ClockRule) -> tuple[int, int]:
    """Return the moments in UTC at which a server day begins and ends, the end exclusive."""
    return clock.to_utc_msc(day * DAY_MSC) * 1000, clock.to_utc_msc((day + 1) * DAY_MSC) * 1000


def bucket_of(mark: Mark, number: int) -> Bucket | None:
    """Return the bucket of a mark alone; None for one without equity, which does not count."""
    if mark.equity is None:
        return None
    equity, at_us = mark.equity, mark.at_us
    return Bucket(
        number=number, open=equity, high=equity, low=equity, close=equity,
        open_us=at_us, high_us=at_us, low_us=at_us, close_us=at_us, samples=1,
    )  # fmt: skip


def merged(first: Bucket, then: Bucket) -> Bucket:
    """Return one bucket of two that have no mark in common, in whatever order; of the same moment the first has it."""
    opening = min(first, then, key=lambda one: one.open_us)
    closing = max(first, then, key=lambda one: one.close_us)
    highest = min(first, then, key=lambda one: (one.high.copy_negate(), one.high_us))
    lowest = min(first, then, key=lambda one: (one.low, one.low_us))
    return Bucket(
        number=first.number,
        open=opening.open,
        high=highest.high,
        low=lowest.low,
        close=closing.close,
        open_us=opening.open_us,
        high_us=highest.high_us,
        low_us=lowest.low_us,
        close_us=closing.close_us,
        samples=first.samples + then.samples,
    )


def merged_or_none(first: Bucket | None, then: Bucket | None) -> Bucket | None:
    """Return one bucket of two, either of which may be missing."""
    return merged(first, then) if first and then else first or then


def of_marks(marks: Iterable[Mark]) -> Iterator[Bucket]:
    """Yield the minutes of marks, oldest first, as a scan of them has it."""
    counted = (one for one in marks if one.equity is not None)
    for minute, within in groupby(counted, key=lambda one: minute_of(one.at_us)):
        bucket: Bucket | None = None
        for mark in within:
            bucket = merged_or_none(bucket, bucket_of(mark, minute))
        assert bucket is not None, "every mark of it has equity"
        yield bucket


def of_minutes(minutes: Iterable[Bucket], clock: ClockRule) -> Iterator[Bucket]:
    """Yield the server days of minutes, oldest first. No clock changes its offset within a minute."""
    for day, within in groupby(minutes, key=lambda one: day_of(one.open_us, clock)):
        bucket: Bucket | None = None
        for minute in within:
            bucket = merged_or_none(bucket, evolve(minute, number=day))
        assert bucket is not None, "it has a minute"
        yield bucket


def replaced(bucket: Bucket, known: Bucket | None, known_before: int) -> Bucket | None:
    """Return the bucket of a minute in which a mark was replaced; None where none is left.

    Args:
        bucket: As it was.
        known: The marks of the minute as they are now: those that are not deleted.
        known_before: How many of them had equity before.
    """
    gone = bucket.samples - known_before
    if gone <= 0:
        return known
    # Some were deleted: extremes and ends are what they were, but for the ends that are known.
    return merged_or_none(known, evolve(bucket, samples=gone))


def is_in_days(days: Iterable[Bucket], clock: ClockRule) -> bool:
    """Return whether buckets of days are those of a clock: an operator may have corrected it since they were stored."""
    spans = ((one, day_span_us(one.number, clock)) for one in days)
    return all(begin_us <= one.open_us <= one.close_us < end_us for one, (begin_us, end_us) in spans)


def bucket_columns(bucket: Bucket) -> BucketColumns:
    """Return a bucket as it is stored, with as few decimals as its amounts have.

    Raises:
        InexactNumber: Its amounts do not fit with one number of decimals.
    """
    amounts = {name: getattr(bucket, name) for name in _PRICES}
    scale = max(_decimals("equity", amount) for amount in amounts.values())
    units = {name: scaled(amount, scale, "equity") for name, amount in amounts.items()}
    times = {f"{name}_us": getattr(bucket, f"{name}_us") for name in _PRICES}
    return BucketColumns(number=bucket.number, scale=scale, **units, **times, samples=bucket.samples)


def bucket_from(columns: BucketColumns) -> Bucket:
    """Return the bucket that is stored."""
    amounts = {name: unscaled(getattr(columns, name), columns.scale) for name in _PRICES}
    times = {f"{name}_us": getattr(columns, f"{name}_us") for name in _PRICES}
    return Bucket(number=columns.number, samples=columns.samples, **amounts, **times)  # type: ignore[arg-type]


def to_columns(mark: Mark) -> MarkColumns:
    """Return a mark as it is stored.

    Raises:
        InexactNumber: An amount does not fit, however many decimals it is given.
    """
    amounts = {name: getattr(mark, name) for name in AMOUNTS}
    scale = max((_decimals(name, amount) for name, amount in amounts.items() if amount is not None), default=0)
    units = {name: None if amount is None else scaled(amount, scale, name) for name, amount in amounts.items()}
    return MarkColumns(
        at_us=mark.at_us, server_msc=mark.server_msc, scale=scale, is_equity_reported=int(mark.is_equity_reported), **units
    )


def from_columns(columns: MarkColumns) -> Mark:
    """Return the mark that is stored."""
    units = {name: getattr(columns, name) for name in AMOUNTS}
    return Mark(
        at_us=columns.at_us,
        server_msc=columns.server_msc,
        is_equity_reported=bool(columns.is_equity_reported),
        **{name: None if one is None else unscaled(one, columns.scale) for name, one in units.items()},
    )


def _decimals(name: str, amount: Decimal) -> int:
    exponent = amount.normalize().as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_SCALE_MAX:
        raise InexactNumber(f"{name}: expected at most {_SCALE_MAX} decimals, found {amount}")
    return max(0, -exponent)
