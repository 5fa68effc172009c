"""The equity of an account over time: its marks, and the moments at which nothing was open.

A day is looked into only where its extremes do not decide already, and a minute of it likewise: years cost no more than days.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final, NamedTuple, Protocol

from attrs import frozen

from ledger.clock import DAY_MSC
from ledger.equity import days
from ledger.marks import MINUTE_US, Bucket, minute_of
from ledger.monitors.path import BalancePath
from ledger.service import Account

_DAY_US: Final = DAY_MSC * 1000


class Point(NamedTuple):
    """Equity at a moment, UTC microseconds; ``step`` of the balance path where nothing was open, None for a mark."""

    at_us: int
    equity: Decimal
    step: int | None


@frozen(kw_only=True)
class Block:
    """The extremes of a day or a minute, from its first point to its last one inclusive."""

    high: Decimal
    low: Decimal
    begin_us: int
    end_us: int
    bucket: Bucket | None
    steps: range


class Rule(Protocol):
    """What is looked for along a curve, oldest first. ``rises``: whether points that are no breach move its level."""

    @property
    def rises(self) -> bool:
        """Whether it does."""
        ...

    def may_breach(self, block: Block) -> bool:
        """Return whether a point of a block may be a breach, so that it has to be looked into."""
        ...

    def pass_by(self, block: Block) -> None:
        """Note a block that has none."""
        ...

    def is_breach(self, point: Point) -> bool:
        """Note a point, and return whether it is a breach."""
        ...


class Curve:
    """The equity of an account by what is stored and recorded now."""

    def __init__(self, account: Account, path: BalancePath) -> None:
        self._account = account
        self._journal = account.ledger.journal
        self._name = account.name
        self._path = path
        self._clock = path.terms.clock

    def first_breach(self, rule: Rule, from_us: int, until_us: int) -> int | None:
        """Return when a rule was first breached between two moments inclusive, None where it was not."""
        for day in self._within(self._days(from_us, until_us), from_us, until_us):
            if _is_passed(rule, day, from_us, until_us):
                continue
            for minute in self._within(self._minutes(day), from_us, until_us):
                if _is_passed(rule, minute, from_us, until_us):
                    continue
                for point in self._points(minute):
                    if from_us <= point.at_us <= until_us and rule.is_breach(point):
                        return point.at_us
        return None

    @staticmethod
    def _within(blocks: Iterable[Block], from_us: int, until_us: int) -> Iterator[Block]:
        return (block for block in blocks if block.begin_us <= until_us and block.end_us >= from_us)

    def _days(self, from_us: int, until_us: int) -> Iterator[Block]:
        """Yield server days, and somewhat more than were asked for."""
        first, last = from_us // _DAY_US - 2, until_us // _DAY_US + 2
        buckets = {day.number: day for day in days(self._account, self._clock, first=first, last=last)}
        flat = {day.number: day for day in self._path.flat_days() if first <= day.number <= last}
        for number in sorted(buckets.keys() | flat.keys()):
            own = flat.get(number)
            steps, extremes = (range(0), ()) if own is None else (range(own.begin, own.end), (own.high, own.low))
            yield self._block(buckets.get(number), steps, extremes)

    def _minutes(self, day: Block) -> Iterator[Block]:
        buckets = {}
        if day.bucket is not None:
            first, last = minute_of(day.bucket.open_us), minute_of(day.bucket.close_us)
            buckets = {one.number: one for one in self._journal.equity(self._name, "minute", first=first, last=last)}
        steps: dict[int, list[int]] = {}
        for step in day.steps:
            steps.setdefault(minute_of(self._path.at_us(step)), []).append(step)
        for number in sorted(buckets.keys() | steps.keys()):
            within = range(steps[number][0], steps[number][-1] + 1) if number in steps else range(0)
            flat = [one.equity for one in self._path.steps(within) if one.is_flat]
            if number in buckets or flat:
                yield self._block(buckets.get(number), within, flat)

    def _block(self, bucket: Bucket | None, steps: range, flat: Iterable[Decimal]) -> Block:
        amounts = [*flat, *((bucket.high, bucket.low) if bucket is not None else ())]
        times = [self._path.at_us(step) for step in (*steps[:1], *steps[-1:])]
        times += (bucket.open_us, bucket.close_us) if bucket is not None else ()
        return Block(high=max(amounts), low=min(amounts), begin_us=min(times), end_us=max(times), bucket=bucket, steps=steps)

    def _points(self, minute: Block) -> list[Point]:
        """Return the points of a minute, oldest first. Of deleted marks the highest is taken to be before the lowest."""
        flat = [(number, self._path.step(number)) for number in minute.steps]
        points = [Point(step.at_us, step.equity, number) for number, step in flat if step.is_flat]
        bucket = minute.bucket
        if bucket is not None:
            first_us = bucket.number * MINUTE_US
            marks = list(self._journal.marks(self._name, from_us=first_us, to_us=first_us + MINUTE_US - 1))
            sampled = [Point(one.at_us, one.equity, None) for one in marks if one.equity is not None]
            if len(sampled) < bucket.samples:
                sampled += [Point(bucket.low_us, equity, None) for equity in (bucket.high, bucket.low)]
            points += sampled
        return sorted(points, key=lambda point: point.at_us)


def _is_passed(rule: Rule, block: Block, from_us: int, until_us: int) -> bool:
    """Return whether a block need not be looked into."""
    if rule.may_breach(block):
        return False
    is_whole = from_us <= block.begin_us and block.end_us <= until_us
    if is_whole:
        rule.pass_by(block)
    return is_whole or not rule.rises
