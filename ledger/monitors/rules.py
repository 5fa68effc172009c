"""When equity is a breach: of what may be lost in a day, and in all. Followed along the curve of an account, oldest first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ledger.clock import MINUTE_MSC
from ledger.monitors.curve import Block, Point
from ledger.monitors.path import BalancePath
from ledger.orders.monitor_values import Drawdown

#: So far our clock and the broker's may be apart: a mark so near to a deposit may or may not have it.
APART_US: Final = MINUTE_MSC * 1000

#: What of equity was not earned since a day began, from when on, ascending (``BalancePath.outside_money``).
Outside = Sequence[tuple[int, Decimal]]


def outside_at(outside: Outside, at_us: int) -> Decimal:
    """Return what of the equity of a mark was not earned. Near a deposit the lower amount: what is in doubt is no loss."""
    return min(_within(outside, at_us, at_us))


def _within(outside: Outside, begin_us: int, end_us: int) -> list[Decimal]:
    first = max(0, bisect_right(outside, begin_us - APART_US, key=lambda one: one[0]) - 1)
    last = max(first + 1, bisect_right(outside, end_us + APART_US, key=lambda one: one[0]))
    return [amount for _, amount in outside[first:last]]


class DayRule:
    """Equity without what was paid in must not be below an amount on a day.

    Args:
        least: That amount.
        begin: The step of the balance path that the day began with.
        path: Has what was paid in.
    """

    rises: Final = False

    def __init__(self, least: Decimal, begin: int, path: BalancePath) -> None:
        self._least = least
        self._begin = begin
        self._path = path
        self._outside: Outside = path.outside_money(begin)

    def level_at(self, at_us: int) -> Decimal:
        """Return the equity at a moment below which it is a breach."""
        return self._least + outside_at(self._outside, at_us)

    def may_breach(self, block: Block) -> bool:
        """Return whether the lowest point may be a breach, whatever was paid in around it."""
        return block.low - max(_within(self._outside, block.begin_us, block.end_us)) < self._least

    def pass_by(self, block: Block) -> None:
        """Do nothing: the amount is the same all day."""

    def is_breach(self, point: Point) -> bool:
        """Return whether less is left. What a step has was paid in by then, exactly."""
        if point.step is None:
            return point.equity - outside_at(self._outside, point.at_us) < self._least
        return self._path.earned(point.step, self._begin) < self._least


class DrawdownRule:
    """Equity must not be below a level, which may rise with the highest equity or balance.

    Args:
        kind: From where it counts.
        initial: The initial balance.
        allowed: How far below the peak the level is.
        path: Has the highest balance.
    """

    def __init__(self, kind: Drawdown, initial: Decimal, allowed: Decimal, path: BalancePath) -> None:
        self._kind = kind
        self._initial = initial
        self._path = path
        self.allowed = allowed
        self.peak = initial

    @property
    def rises(self) -> bool:
        """Whether the level is another one after a new peak."""
        return self._kind is not Drawdown.STATIC

    @property
    def level(self) -> Decimal:
        """The level now."""
        return self._level(self.peak)

    def may_breach(self, block: Block) -> bool:
        """Return whether the lowest point is below what the level can be at most by the end of a block."""
        return block.low < self._level(self._peak_with(block.high, block.end_us))

    def pass_by(self, block: Block) -> None:
        """Note its highest point."""
        self.peak = self._peak_with(block.high, block.end_us)

    def is_breach(self, point: Point) -> bool:
        """Note a point, and return whether it is below the level."""
        self.peak = self._peak_with(point.equity, point.at_us, point.step)
        return point.equity < self._level(self.peak)

    def _peak_with(self, equity: Decimal, at_us: int, step: int | None = None) -> Decimal:
        highest: Decimal | None = equity
        if self._kind is Drawdown.STATIC:
            highest = None
        elif self._kind is Drawdown.TRAILING_BALANCE:
            highest = self._path.highest_by(at_us) if step is None else self._path.highest_at(step)
        return self.peak if highest is None else max(self.peak, highest)

    def _level(self, peak: Decimal) -> Decimal:
        level = peak - self.allowed
        return min(level, self._initial) if self._kind is Drawdown.TRAILING_UNTIL_START else level
