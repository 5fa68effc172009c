"""Tallies: what a report counts while it passes over bookings and trades once, in memory that does not grow with them.

Money is in scaled integers here, times in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from ledger.bookings import CREDITED, FLOW, OTHER, TRADE, Booking, TradeFigures
from ledger.clock import DAY_MSC
from ledger.performance.values import (
    Column,
    Curve,
    Fall,
    Money,
    Ratios,
    Series,
    Trades,
    quotient,
)
from ledger.results import DIGITS

#: Turns scaled integers into an amount.
Unscale = Callable[[int], Decimal]

_WORK: Final = Context(prec=50, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_ROUNDED: Final = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
#: So many days with a return make a ratio; so many trading days and days has a year.
DAYS_MIN: Final = 20
_TRADING_DAYS: Final = 252
_YEAR_DAYS: Final = Decimal("365.25")
_SATURDAY: Final = 2  # days from the Thursday 1970-01-01
_COLUMNS: Final = 800


class MoneyTally:
    """The money of one bucket."""

    __slots__ = ("adjusted", "commission", "deals", "fee", "flows", "incomplete", "other", "profit", "swap")

    def __init__(self) -> None:
        self.profit = self.commission = self.swap = self.fee = 0
        self.flows = self.other = self.adjusted = 0
        self.deals = self.incomplete = 0

    def add(self, booking: Booking) -> None:
        """Count one booking."""
        kind = booking.kind
        if not booking.is_complete:
            self.incomplete += 1
        if kind == TRADE:
            self.deals += 1
            self.profit += booking.profit
            self.commission += booking.commission
            self.swap += booking.swap
            self.fee += booking.fee
        elif kind == FLOW:
            self.flows += booking.amount
        elif kind in (OTHER, CREDITED):
            self.other += booking.amount
        else:
            self.adjusted += booking.amount

    @property
    def moved(self) -> int:
        """What it moved the balance by."""
        return self.profit + self.commission + self.swap + self.fee + self.flows + self.other + self.adjusted

    def money(self, unscale: Unscale, *, start: int | None, end: int | None, is_filtered: bool) -> Money:
        """Return the money, between two balances where they are known."""
        return Money(
            profit=unscale(self.profit),
            commission=unscale(self.commission),
            swap=unscale(self.swap),
            fee=unscale(self.fee),
            deals=self.deals,
            incomplete=self.incomplete,
            flows=None if is_filtered else unscale(self.flows),
            other=None if is_filtered else unscale(self.other),
            adjusted=None if is_filtered else unscale(self.adjusted),
            start=None if start is None or is_filtered else unscale(start),
            end=None if end is None or is_filtered else unscale(end),
        )


class TradeTally:
    """The trades of one bucket."""

    __slots__ = (
        "best", "count", "gross_loss", "gross_win", "held", "held_max", "held_min", "held_sum", "incomplete", "losses",
        "wins", "worst",
    )  # fmt: skip

    def __init__(self) -> None:
        self.count = self.wins = self.losses = self.incomplete = 0
        self.gross_win = self.gross_loss = 0
        self.best: int | None = None
        self.worst: int | None = None
        self.held = self.held_sum = 0
        self.held_min: int | None = None
        self.held_max: int | None = None

    def add(self, net: int, held_ms: int | None) -> None:
        """Count one trade whose result is known."""
        self.count += 1
        if net > 0:
            self.wins += 1
            self.gross_win += net
        elif net < 0:
            self.losses += 1
            self.gross_loss += net
        if self.best is None or net > self.best:
            self.best = net
        if self.worst is None or net < self.worst:
            self.worst = net
        if held_ms is not None:
            self.held += 1
            self.held_sum += held_ms
            if self.held_min is None or held_ms < self.held_min:
                self.held_min = held_ms
            if self.held_max is None or held_ms > self.held_max:
                self.held_max = held_ms

    def trades(self, unscale: Unscale) -> Trades:
        """Return the figures."""
        return Trades(
            count=self.count,
            wins=self.wins,
            losses=self.losses,
            incomplete=self.incomplete,
            gross_win=unscale(self.gross_win),
            gross_loss=unscale(self.gross_loss),
            best=None if self.best is None else unscale(self.best),
            worst=None if self.worst is None else unscale(self.worst),
            held=self.held,
            held_sum_ms=self.held_sum,
            held_min_ms=self.held_min,
            held_max_ms=self.held_max,
        )


class SeriesTally:
    """Unbroken series of wins and of losses."""

    def __init__(self) -> None:
        self._length = self._money = 0  # the present one: so many wins, below 0 so many losses
        #: (length, money) of the longest and (money, length) of the one with most money; money of losses above 0.
        self._wins = self._losses = self._best = self._worst = (0, 0)

    def add(self, net: int) -> None:
        """Count one trade."""
        if net * self._length <= 0:
            self._end()
        self._length += (net > 0) - (net < 0)
        self._money += net

    def _end(self) -> None:
        at = self._length, self._money
        if self._length > 0:
            self._wins, self._best = max(self._wins, at), max(self._best, at[::-1])
        elif self._length < 0:
            at = -self._length, -self._money
            self._losses, self._worst = max(self._losses, at), max(self._worst, at[::-1])
        self._length = self._money = 0

    def series(self, unscale: Unscale) -> Series:
        """Return the figures, the present series included."""
        length, money = self._length, self._money
        self._end()
        found = Series(
            wins=self._wins[0],
            wins_money=unscale(self._wins[1]),
            losses=self._losses[0],
            losses_money=unscale(-self._losses[1]),
            best_money=unscale(self._best[0]),
            best_count=self._best[1],
            worst_money=unscale(-self._worst[0]),
            worst_count=self._worst[1],
        )
        self._length, self._money = length, money
        return found


class FallTally:
    """The largest falls of a curve below its highest point so far. What is no result moves the curve and that point alike."""

    def __init__(self, start: int) -> None:
        self.at = self.peak = start
        self._peak_msc: int | None = None
        #: Fall, its peak, the time of the peak, its own time.
        self._absolute: tuple[int, int, int | None, int] | None = None
        self._relative: tuple[int, int, int | None, int] | None = None

    def shift(self, amount: int) -> None:
        """Move the curve by what is no result: a deposit, a withdrawal."""
        self.at += amount
        self.peak += amount

    def add(self, amount: int, utc_msc: int) -> None:
        """Move the curve by a result."""
        self.at += amount
        self._look(utc_msc)

    def move_to(self, at: int, utc_msc: int) -> None:
        """Move the curve to a sample of it."""
        self.at = at
        self._look(utc_msc)

    def _look(self, utc_msc: int) -> None:
        peak = self.peak
        fall = peak - self.at
        if fall <= 0:
            if fall < 0:
                self.peak, self._peak_msc = self.at, utc_msc
            return
        if self._absolute is None or fall > self._absolute[0]:
            self._absolute = fall, peak, self._peak_msc, utc_msc
        worst = self._relative
        if peak > 0 and (worst is None or fall * worst[1] > worst[0] * peak):
            self._relative = fall, peak, self._peak_msc, utc_msc

    def absolute(self, unscale: Unscale) -> Fall | None:
        """Return the largest fall in money."""
        return _fall(self._absolute, unscale)

    def relative(self, unscale: Unscale) -> Fall | None:
        """Return the largest fall in per cent of its peak."""
        return _fall(self._relative, unscale)


def _fall(found: tuple[int, int, int | None, int] | None, unscale: Unscale) -> Fall | None:
    if found is None:
        return None
    amount, peak, peak_msc, bottom_msc = found
    percent = quotient(100 * amount, peak) if peak > 0 else None
    return Fall(amount=unscale(amount), percent=percent, peak=unscale(peak), peak_utc_msc=peak_msc, bottom_utc_msc=bottom_msc)


class DayTally:
    """Daily returns on the closed balance, by the server's days, without what is no result.

    Where money came or went within a day, the returns before and after it are multiplied.
    """

    def __init__(self, start: int) -> None:
        self._at = self._base = start
        self._day: int | None = None
        self._growth: dict[int, Decimal] = {}
        self._is_undefined = False

    def shift(self, amount: int) -> None:
        """Move the balance by what is no result."""
        self._close()
        self._at += amount
        self._base = self._at

    def add(self, amount: int, time_msc: int) -> None:
        """Move the balance by a result."""
        day = time_msc // DAY_MSC
        if day != self._day:
            self._close()
            self._day = day
        self._at += amount

    def _close(self) -> None:
        """End a stretch of one day without flows."""
        if self._day is None:
            return
        growth = self._growth.get(self._day, Decimal(1))
        if self._base > 0:
            growth = _WORK.multiply(growth, _WORK.divide(Decimal(self._at), Decimal(self._base)))
        elif self._at != self._base:
            self._is_undefined = True
        self._growth[self._day] = growth
        self._base = self._at

    def _returns(self) -> Iterator[Decimal]:
        """Yield a return for each day from Monday to Friday, 0 where nothing was booked, and for other days with a result."""
        for day in range(min(self._growth), max(self._growth) + 1):
            if day in self._growth or (day - _SATURDAY) % 7 >= 2:  # neither Saturday nor Sunday
                yield _WORK.subtract(self._growth.get(day, Decimal(1)), Decimal(1))

    def ratios(self, percent: Decimal | None) -> Ratios:
        """Return the ratios.

        Args:
            percent: The maximal drawdown in per cent, None without one.
        """
        self._close()
        returns = [*self._returns()] if self._growth else []
        names = ("sharpe", "sortino", "mar", "growth_percent")
        why = None
        if self._is_undefined:
            why = "a day began with a balance of 0 or less"
        elif len(returns) < DAYS_MIN:
            why = f"{len(returns)} days, at least {DAYS_MIN} are needed"
        if why is not None:
            reasons = tuple((name, why) for name in names)
            return Ratios(days=len(returns), sharpe=None, sortino=None, mar=None, growth_percent=None, why=reasons)
        mean = _mean(returns)
        deviation = _mean([_WORK.power(_WORK.subtract(one, mean), 2) for one in returns])
        negative = _mean([_WORK.power(min(one, Decimal(0)), 2) for one in returns])
        growth = self._yearly_percent()
        ratios = {
            "sharpe": (_yearly(mean, deviation), "all daily returns are equal"),
            "sortino": (_yearly(mean, negative), "no daily return is negative"),
            "mar": (quotient(growth, percent) if percent else None, "there was no drawdown"),
        }
        return Ratios(
            days=len(returns),
            **{name: value for name, (value, _) in ratios.items()},
            growth_percent=_ROUNDED.plus(growth),
            why=tuple((name, why) for name, (value, why) in ratios.items() if value is None),
        )

    def _yearly_percent(self) -> Decimal:
        whole = Decimal(1)
        for growth in self._growth.values():
            whole = _WORK.multiply(whole, growth)
        days = max(self._growth) - min(self._growth) + 1
        if whole <= 0:
            return Decimal(-100)
        yearly = _WORK.exp(_WORK.multiply(_WORK.ln(whole), _WORK.divide(_YEAR_DAYS, Decimal(days))))
        return _WORK.multiply(Decimal(100), _WORK.subtract(yearly, Decimal(1)))


def _mean(several: list[Decimal]) -> Decimal:
    total = Decimal(0)
    for one in several:
        total = _WORK.add(total, one)
    return _WORK.divide(total, Decimal(len(several)))


def _yearly(mean: Decimal, variance: Decimal) -> Decimal | None:
    """Return mean by deviation, of a year."""
    if not variance:
        return None
    return _ROUNDED.multiply(_WORK.divide(mean, _WORK.sqrt(variance)), _WORK.sqrt(Decimal(_TRADING_DAYS)))


class CurveTally:
    """The balance for a chart: exact extremes per column of time. Columns become wider as the time grows."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._width = 60_000
        #: Column -> lowest, highest and last balance; the deepest fall in per cent and its peak; the last fall and its peak.
        self._columns: dict[int, list[int]] = {}

    def add(self, utc_msc: int, at: int, peak: int) -> None:
        """Take a point of the curve and the highest point so far."""
        key, fall = utc_msc // self._width, peak - at
        known = self._columns.get(key)
        if known is not None:
            _merge(known, [at, at, at, fall, peak, fall, peak])
            return
        self._columns[key] = [at, at, at, fall, peak, fall, peak]
        if len(self._columns) > 2 * _COLUMNS:
            self._widen()

    def _widen(self) -> None:
        self._width *= 2
        before, self._columns = self._columns, {}
        for key in sorted(before):
            known = self._columns.setdefault(key // 2, before[key])
            if known is not before[key]:
                _merge(known, before[key])

    def curve(self, unscale: Unscale) -> Curve:
        """Return the columns, in their order."""
        return Curve(
            width_ms=self._width,
            start=unscale(self._start),
            columns=[
                Column(
                    key * self._width, unscale(low), unscale(high), unscale(last), _percent(fall, peak), _percent(end, end_peak)
                )
                for key, (low, high, last, fall, peak, end, end_peak) in sorted(self._columns.items())
            ],
        )


def _percent(fall: int, peak: int) -> Decimal | None:
    return quotient(100 * fall, peak) if peak > 0 else None


def _merge(known: list[int], later: list[int]) -> None:
    low, high, last, fall, peak, end, end_peak = later
    known[0], known[1], known[2] = min(known[0], low), max(known[1], high), last
    if peak > 0 and (known[4] <= 0 or fall * known[4] > known[3] * peak):
        known[3], known[4] = fall, peak
    known[5], known[6] = end, end_peak


def held_ms(trade: TradeFigures, utc_msc: int, read: Callable[[int], int]) -> int | None:
    """Return how long a trade was held; None where its opening is not recorded."""
    return None if trade.opened_msc is None else max(0, utc_msc - read(trade.opened_msc))


def is_result(booking: Booking) -> bool:
    """Return whether a booking is a result of trading: a trade deal, or what the broker booked beside, as interest."""
    return booking.kind in (TRADE, OTHER)
