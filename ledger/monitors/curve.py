"""The equity of an account over time: its marks, and the moments at which nothing was open.

A day is looked into only where its extremes do not decide already, and a minute of it likewise: years cost no more than days.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, NamedTuple, Protocol

from attrs import frozen

from ledger.clock import DAY_MSC
from ledger.equity import days
from ledger.marks import MINUTE_US, Bucket, minute_of
from ledger.monitors.path import BalancePath, FlatDay
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


@frozen(kw_only=True)
class Span:
    """What of a curve counts: marks from a moment on, and steps of the balance path from one on, until another moment."""

    marks_from_us: int
    first_step: int
    until_us: int

    def has(self, point: Point) -> bool:
        """Return whether a point counts."""
        is_begun = self.marks_from_us <= point.at_us if point.step is None else self.first_step <= point.step
        return is_begun and point.at_us <= self.until_us

    def has_all_of(self, block: Block) -> bool:
        """Return whether all of a block counts: its steps are among those that do."""
        is_begun = block.bucket is None or self.marks_from_us <= block.bucket.open_us
        return is_begun and block.end_us <= self.until_us

    def may_have(self, block: Block) -> bool:
        """Return whether something of a block may count."""
        return block.begin_us <= self.until_us and (bool(block.steps) or self.marks_from_us <= block.end_us)


class Curve:
    """The equity of an account by what is stored and recorded now."""

    def __init__(self, account: Account, path: BalancePath) -> None:
        self._account = account
        self._journal = account.ledger.journal
        self._name = account.name
        self._path = path
        self._clock = path.terms.clock

    def first_breach(self, rule: Rule, span: Span) -> int | None:
        """Return when a rule was first breached within a span, None where it was not."""
        for day in filter(span.may_have, self._days(span)):
            if _is_passed(rule, day, span):
                continue
            for minute in filter(span.may_have, self._minutes(day)):
                if _is_passed(rule, minute, span):
                    continue
                for point in self._points(minute):
                    if span.has(point) and rule.is_breach(point):
                        return point.at_us
        return None

    def _days(self, span: Span) -> Iterator[Block]:
        """Yield server days, and somewhat more than were asked for."""
        begin_us = min(span.marks_from_us, self._path.at_us(span.first_step)) if span.first_step < self._path.count else None
        begin_us = span.marks_from_us if begin_us is None else begin_us
        first, last = begin_us // _DAY_US - 2, span.until_us // _DAY_US + 2
        buckets = {day.number: day for day in days(self._account, self._clock, first=first, last=last)}
        flat = {day.number: day for day in self._path.flat_days() if first <= day.number <= last and day.end > span.first_step}
        for number in sorted(buckets.keys() | flat.keys()):
            steps, extremes = self._flat(flat.get(number), span.first_step)
            if number in buckets or extremes:
                yield self._block(buckets.get(number), steps, extremes)

    def _flat(self, day: FlatDay | None, first_step: int) -> tuple[range, Sequence[Decimal]]:
        """Return the steps of a day that count, and the extremes of those at which nothing was open."""
        if day is None:
            return range(0), ()
        steps = range(max(day.begin, first_step), day.end)
        if first_step <= day.begin:
            return steps, (day.high, day.low)
        return steps, [one.equity for one in self._path.steps(steps) if one.is_flat]

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


def _is_passed(rule: Rule, block: Block, span: Span) -> bool:
    """Return whether a block need not be looked into."""
    if rule.may_breach(block):
        return False
    is_whole = span.has_all_of(block)
    if is_whole:
        rule.pass_by(block)
    return is_whole or not rule.rises
