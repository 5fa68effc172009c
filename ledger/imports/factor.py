"""This module is what one lot and one unit of price are worth in a symbol, learned from the broker's own profits.

The profit of a closing deal is ``(close - open) * volume * factor``, rounded to the account's smallest unit of money, with
the signs of a short position turned. The factor is the contract size where the symbol is quoted in the account's currency
(constant), the contract size divided by the price where the account's currency is its base (inverse), and the contract
size times an exchange rate otherwise (varying with time). No report states it.

Where everything that was open was closed, the sum of the profits gives the factor whatever closed what.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Final, NamedTuple, Protocol

from attrs import define, field

from ledger.clock import DAY_MSC

#: Relative error up to which the sum of a stretch is of use, and that of a single close.
_COARSEST: Final = 0.05
_FINE: Final = 0.002
#: Relative error of a stretch up to which coarser ones are left aside.
_DRIFTED: Final = 0.004
#: Share of the stretches that may contradict a factor: a dividend, a correction by the broker.
_MISFITS: Final = 0.02
#: By how much a conversion at bid or ask may differ from one at the price of the deal.
_SPREAD: Final = 3e-4
#: By how much an exchange rate may change at once, within a day (times the root of the days), and at most.
_AT_ONCE: Final = 1e-3
_PER_DAY: Final = 0.02
_AT_MOST: Final = 0.08
#: How narrow a constant that is no round number has to be, and how many stretches have to share it.
_EXACT: Final = 2e-4
_ENOUGH: Final = 10
_ROUND: Final = (1, 2, 2.5, 5)
_ROUNDING: Final = 1e-9


class Interval(NamedTuple):
    """Two ends, the lower first."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The point half way."""
        return (self.low + self.high) / 2

    def widened(self, share: float) -> Interval:
        """Return it with both ends moved out by a share of themselves; for positive intervals."""
        return Interval(self.low * (1 - share), self.high * (1 + share))

    def meets(self, other: Interval) -> Interval | None:
        """Return what it shares with another, None for nothing."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Interval(low, high) if low <= high else None


@define(frozen=True)
class Stretch:
    """Closes that closed all that was open: volumes in lots, ``way`` +1 for longs and -1 for shorts.

    ``moved`` is the sum of way * volume * (close - open), ``profit`` that of the profits, ``turnover`` that of their amounts,
    ``profit_price`` that of profit * close price, ``price`` that of the close prices; ``error`` is by how much rounding may
    have changed one profit.
    """

    first_msc: int
    last_msc: int
    moved: float
    profit: float
    turnover: float
    profit_price: float
    price: float
    count: int
    error: float

    def varying(self) -> Interval | None:
        """Return where a factor that varies was at the last close: what is shown is an average over the time before."""
        found = self.constant()
        if found is None:
            return None
        return found.widened(min(_drift(self.last_msc - self.first_msc) * self.turnover / abs(self.profit), 0.5))

    def constant(self) -> Interval | None:
        """Return where a constant factor is, None where this does not bound it."""
        return _quotient(self.profit, self.count * self.error, self.moved)

    def inverse(self) -> Interval | None:
        """Return where factor * price is, None where this does not bound it."""
        found = _quotient(self.profit_price, self.price * self.error, self.moved)
        return found.widened(_SPREAD) if found else None


def _drift(duration_msc: int) -> float:
    """Return by which share an exchange rate may change in a time."""
    return min(_AT_ONCE + _PER_DAY * sqrt(duration_msc / DAY_MSC), _AT_MOST)


def _quotient(profit: float, error: float, moved: float) -> Interval | None:
    if abs(profit) * _COARSEST < error or not moved or (profit < 0) != (moved < 0):
        return None
    low, high = sorted(((profit - error) / moved, (profit + error) / moved))
    return Interval(low * (1 - _ROUNDING), high * (1 + _ROUNDING))


class Factor(Protocol):
    """What a lot and a unit of price are worth."""

    def at(self, time_msc: int, price: float) -> Interval | None:
        """Return where the factor of a close is, None where that is not known."""

    def learn(self, time_msc: int, found: Interval) -> None:
        """Take account of a factor that a close showed."""


@define(frozen=True)
class Constant:
    """The contract size, or another constant."""

    value: Interval

    def at(self, time_msc: int, price: float) -> Interval | None:  # noqa: ARG002  # as the protocol has it
        """Return the constant."""
        return self.value

    def learn(self, time_msc: int, found: Interval) -> None:
        """A constant is known by then."""


@define(frozen=True)
class Inverse:
    """A constant divided by the price."""

    value: Interval

    def at(self, time_msc: int, price: float) -> Interval | None:  # noqa: ARG002  # as the protocol has it
        """Return the constant divided by a price."""
        return Interval(self.value.low / price, self.value.high / price) if price > 0 else None

    def learn(self, time_msc: int, found: Interval) -> None:
        """A constant is known by then."""


@define
class Varying:
    """A factor that follows an exchange rate: between the values known before and after, and a little beyond them."""

    times: list[int] = field(factory=list)
    values: list[Interval] = field(factory=list)

    def at(self, time_msc: int, price: float) -> Interval | None:  # noqa: ARG002  # as the protocol has it
        """Return where the factor may be at a time, from the nearest times at which it is known."""
        if not self.times:
            return None
        after = bisect_left(self.times, time_msc)
        near = [index for index in (after - 1, after) if 0 <= index < len(self.times)]
        reaches = [self.values[index].widened(_drift(abs(self.times[index] - time_msc))) for index in near]
        both = reaches[0].meets(reaches[-1])
        return both or Interval(min(one.low for one in reaches), max(one.high for one in reaches))

    def learn(self, time_msc: int, found: Interval) -> None:
        """Remember what a close showed, if it shows it well."""
        if found.high - found.low > 2 * _FINE * found.low:
            return
        index = bisect_left(self.times, time_msc)
        if index == len(self.times) or self.times[index] != time_msc:
            self.times.insert(index, time_msc)
            self.values.insert(index, found)


def learn_factor(stretches: Sequence[Stretch]) -> Factor | None:
    """Return a symbol's factor from the stretches alone, None where none bounds it."""
    constants = [found for one in stretches if (found := one.constant())]
    if not constants:
        return None
    common = _common(constants)
    if common is not None and len(constants) >= _ENOUGH:
        value, misfits = common
        if not misfits and value.high - value.low <= _EXACT * value.low:
            return Constant(value)
    return _varying(stretches)


def usual_factors(stretches: Sequence[Stretch]) -> tuple[Factor, ...]:
    """Return the factors of usual contract sizes that no stretch contradicts, constant ones first."""
    constants = [found for one in stretches if (found := one.constant())]
    inverses = [found for one in stretches if (found := one.inverse())]
    sizes = [digit * 10.0**power for power in range(-2, 7) for digit in _ROUND]
    return (
        *(Constant(Interval(size, size).widened(_ROUNDING)) for size in sizes if _agrees(size, constants)),
        *(Inverse(Interval(size, size).widened(_SPREAD)) for size in sizes if _agrees(size, inverses)),
    )


def _agrees(size: float, found: Sequence[Interval]) -> bool:
    return sum(not one.low <= size <= one.high for one in found) <= _MISFITS * len(found)


def _varying(stretches: Iterable[Stretch]) -> Varying:
    known = [(one.last_msc, found) for one in stretches if (found := one.varying())]
    fine = [(time_msc, found) for time_msc, found in known if found.high - found.low <= 2 * _DRIFTED * found.low]
    factor = Varying()
    for time_msc, found in sorted(fine or known):
        index = len(factor.times)
        if not index or factor.times[-1] != time_msc:
            factor.times.append(time_msc)
            factor.values.append(found)
    return factor


def _common(found: Iterable[Interval]) -> tuple[Interval, int] | None:
    """Return what the intervals share, the narrowest first, and how many of them do not share it."""
    common: Interval | None = None
    misfits = 0
    for one in sorted(found, key=lambda interval: interval.high - interval.low):
        shared = one if common is None else common.meets(one)
        if shared is None:
            misfits += 1
        else:
            common = shared
    return None if common is None else (common, misfits)
