"""Tallies: what a report counts while it passes over bookings and trades once, in memory that does not grow with them.

Money is in scaled integers here, times in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final, NamedTuple

from ledger.bookings import CREDITED, FLOW, OTHER, TRADE, Booking, TradeFigures
from ledger.clock import DAY_MSC, WALL_EPOCH, ClockRule
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
from ledger.results import DIGITS, Results, ResultsCounter

#: Turns scaled integers into an amount.
Unscale = Callable[[int], Decimal]
#: When something was: broker time in milliseconds, and the deal.
Stamp = tuple[int, int]
#: Turns a stamp into UTC milliseconds.
Read = Callable[[int, int], int]
#: What a group is named by, and what is counted of it.
Key = int | str | None
Group = tuple["MoneyTally", "TradeTally"]
_Found = tuple[int, int, Stamp | None, Stamp]

_WORK: Final = Context(prec=50, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_ROUNDED: Final = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
#: So many days with a return make a ratio; so many trading days and days has a year.
DAYS_MIN: Final = 20
_TRADING_DAYS: Final = 252
_YEAR_DAYS: Final = Decimal("365.25")
_SATURDAY: Final = 2  # days from the Thursday 1970-01-01
_COLUMNS: Final = 800
_IN: Final = 0  # MT5's code of an entry
_NOTHING: Final = Decimal("1e-36")
#: Kinds of bookings that are results: a trade deal, and what the broker booked beside, as interest.
RESULTS: Final = frozenset((TRADE, OTHER))


class BookingSum(NamedTuple):
    """The sums over bookings of one kind with one key."""

    key: int | str | None
    kind: str
    bookings: int
    commission: int
    fee: int
    swap: int
    profit: int
    amount: int
    incomplete: int


class TradeSum(NamedTuple):
    """The sums over trades with one key. All but ``incomplete`` are about those whose result is known."""

    key: int | str | None
    trades: int
    wins: int
    losses: int
    incomplete: int
    gross_win: int
    gross_loss: int
    best: int | None
    worst: int | None
    held: int
    held_sum_ms: int
    held_min_ms: int | None
    held_max_ms: int | None


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
        if kind == TRADE:
            self.deals += 1
            self.incomplete += not booking.is_complete
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

    def add_sums(self, one: BookingSum) -> None:
        """Count bookings of one kind that are summed already."""
        if one.kind == TRADE:
            self.deals += one.bookings
            self.incomplete += one.incomplete
            self.profit += one.profit
            self.commission += one.commission
            self.swap += one.swap
            self.fee += one.fee
        elif one.kind == FLOW:
            self.flows += one.amount
        elif one.kind in (OTHER, CREDITED):
            self.other += one.amount
        else:
            self.adjusted += one.amount

    def add_all(self, other: MoneyTally) -> None:
        """Count what another one counted."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def state(self) -> list[Any]:
        """Return all that was counted, as JSON values."""
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def of_state(cls, state: Any) -> MoneyTally:
        """Return the tally of a ``state``. Raises TypeError or ValueError where it is none."""
        tally = cls()
        for name, value in zip(cls.__slots__, state, strict=True):
            setattr(tally, name, value)
        return tally

    @property
    def moved(self) -> int:
        """What it moved the balance by."""
        return self.profit + self.commission + self.swap + self.fee + self.flows + self.other + self.adjusted

    def money(self, unscale: Unscale, *, start: int | None, end: int | None, before: int, is_filtered: bool) -> Money:
        """Return the money, between two balances where they are known; ``before`` deals of the first one are incomplete."""
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
            incomplete_before=0 if start is None or is_filtered else before,
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

    def add_sums(self, one: TradeSum) -> None:
        """Count trades that are summed already."""
        self.count += one.trades
        self.wins += one.wins
        self.losses += one.losses
        self.incomplete += one.incomplete
        self.gross_win += one.gross_win
        self.gross_loss += one.gross_loss
        self.best = max((each for each in (self.best, one.best) if each is not None), default=None)
        self.worst = min((each for each in (self.worst, one.worst) if each is not None), default=None)
        self.held += one.held
        self.held_sum += one.held_sum_ms
        self.held_min = min((each for each in (self.held_min, one.held_min_ms) if each is not None), default=None)
        self.held_max = max((each for each in (self.held_max, one.held_max_ms) if each is not None), default=None)

    def add_all(self, one: TradeTally) -> None:
        """Count what another one counted."""
        self.add_sums(
            TradeSum(
                None, one.count, one.wins, one.losses, one.incomplete, one.gross_win, one.gross_loss, one.best, one.worst,
                one.held, one.held_sum, one.held_min, one.held_max,
            )
        )  # fmt: skip

    def state(self) -> list[Any]:
        """Return all that was counted, as JSON values."""
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def of_state(cls, state: Any) -> TradeTally:
        """Return the tally of a ``state``. Raises TypeError or ValueError where it is none."""
        tally = cls()
        for name, value in zip(cls.__slots__, state, strict=True):
            setattr(tally, name, value)
        return tally

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


class GroupTally:
    """Money and trades of a whole history in groups: by month and weekday of the server's clock, by symbol, magic and side.

    Keys are months since the year 0, weekdays from Monday as 0, and what a deal or a trade is of. A kind with more keys than
    ``KEYS_MAX`` is given up.
    """

    KINDS = ("month", "weekday", "symbol", "magic", "side")
    KEYS_MAX = 300

    def __init__(self, clock: ClockRule) -> None:
        self._clock = clock
        self._groups: dict[str, dict[Key, Group] | None] = {kind: {} for kind in self.KINDS}
        self._day, self._of_day = -1, (0, 0)

    def add(self, booking: Booking) -> None:
        """Count a booking."""
        side = booking.side
        if side is not None and booking.entry != _IN:
            side = 1 - side  # what closes a position belongs to its side
        for money, _ in self._groups_of(booking.time_msc, booking.symbol, booking.magic, side):
            money.add(booking)

    def add_trade(self, figures: TradeFigures) -> None:
        """Count a trade that closed."""
        groups = self._groups_of(figures.closed_msc, figures.symbol, figures.magic, figures.side)
        if not figures.is_complete:
            for _, trades in groups:
                trades.incomplete += 1
            return
        net, held_ms = figures.net, held(figures, self._clock)
        for _, trades in groups:
            trades.add(net, held_ms)

    def _groups_of(self, time_msc: int, symbol: str | None, magic: int | None, side: int | None) -> Iterator[Group]:
        day = time_msc // DAY_MSC
        if day != self._day:
            date = WALL_EPOCH + timedelta(days=day)
            self._day, self._of_day = day, (12 * date.year + date.month - 1, date.weekday())
        for kind, key in zip(self.KINDS, (*self._of_day, symbol, magic, side), strict=True):
            known = self._groups[kind]
            if known is None:
                continue
            group = known.get(key)
            if group is None:
                if len(known) >= self.KEYS_MAX:
                    self._groups[kind] = None
                    continue
                group = known[key] = MoneyTally(), TradeTally()
            yield group

    def groups(self, kind: str) -> Mapping[Key, Group] | None:
        """Return key -> money and trades; None where that is not counted."""
        return self._groups.get(kind)

    def state(self) -> dict[str, Any]:
        """Return what counting goes on from, as JSON values."""
        return {
            kind: None if known is None else [[key, money.state(), trades.state()] for key, (money, trades) in known.items()]
            for kind, known in self._groups.items()
        }

    @classmethod
    def of_state(cls, state: Any, clock: ClockRule) -> GroupTally:
        """Return the tally of a ``state``. Raises KeyError, TypeError or ValueError where it is none."""
        tally = cls(clock)
        for kind in cls.KINDS:
            known = state[kind]
            tally._groups[kind] = known and {
                key: (MoneyTally.of_state(money), TradeTally.of_state(trades)) for key, money, trades in known
            }
            if known == []:
                tally._groups[kind] = {}
        return tally


def held(figures: TradeFigures, clock: ClockRule) -> int | None:
    """Return how many milliseconds a trade was held; None where its opening is not recorded."""
    if figures.opened_msc is None:
        return None
    return max(0, clock.to_utc_msc(figures.closed_msc) - clock.to_utc_msc(figures.opened_msc))


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

    def state(self) -> list[Any]:
        """Return what counting goes on from, as JSON values."""
        return [self._length, self._money, self._wins, self._losses, self._best, self._worst]

    @classmethod
    def of_state(cls, state: Any) -> SeriesTally:
        """Return the tally of a ``state``. Raises TypeError or ValueError where it is none."""
        tally = cls()
        tally._length, tally._money, *found = state
        tally._wins, tally._losses, tally._best, tally._worst = ((first, second) for first, second in found)
        return tally


class FallTally:
    """The largest falls of a curve below its highest point so far. What is no result moves the curve and that point alike.

    Moments are pairs, as broker time and deal: ``Read`` turns them into UTC when the figures are asked for.
    """

    def __init__(self, start: int) -> None:
        self.at = self.peak = start
        self._peak_at: Stamp | None = None
        #: Fall, its peak, when that was, when it was.
        self._absolute: _Found | None = None
        self._relative: _Found | None = None

    def shift(self, amount: int) -> None:
        """Move the curve by what is no result: a deposit, a withdrawal."""
        self.at += amount
        self.peak += amount

    def move_to(self, at: int, when: Stamp) -> None:
        """Move the curve to its next point."""
        self.at = at
        peak = self.peak
        fall = peak - at
        if fall <= 0:
            if fall < 0:
                self.peak, self._peak_at = at, when
            return
        if self._absolute is None or fall > self._absolute[0]:
            self._absolute = fall, peak, self._peak_at, when
        worst = self._relative
        if peak > 0 and (worst is None or fall * worst[1] > worst[0] * peak):
            self._relative = fall, peak, self._peak_at, when

    def absolute(self, unscale: Unscale, read: Read) -> Fall | None:
        """Return the largest fall in money."""
        return _fall(self._absolute, unscale, read)

    def relative(self, unscale: Unscale, read: Read) -> Fall | None:
        """Return the largest fall in per cent of its peak."""
        return _fall(self._relative, unscale, read)

    def state(self) -> list[Any]:
        """Return what counting goes on from, as JSON values."""
        return [self.at, self.peak, self._peak_at, self._absolute, self._relative]

    @classmethod
    def of_state(cls, state: Any) -> FallTally:
        """Return the tally of a ``state``. Raises TypeError or ValueError where it is none."""
        at, peak, peak_at, absolute, relative = state
        tally = cls(at)
        tally.peak, tally._peak_at = peak, _stamp(peak_at)
        tally._absolute, tally._relative = _found(absolute), _found(relative)
        return tally


def _stamp(state: Any) -> Stamp | None:
    if state is None:
        return None
    time_msc, deal = state
    return time_msc, deal


def _found(state: Any) -> _Found | None:
    if state is None:
        return None
    fall, peak, peak_at, when = state
    bottom = _stamp(when)
    if bottom is None:
        raise ValueError("a fall has a moment")
    return fall, peak, _stamp(peak_at), bottom


def _fall(found: _Found | None, unscale: Unscale, read: Read) -> Fall | None:
    if found is None:
        return None
    amount, peak, peak_at, bottom = found
    return Fall(
        amount=unscale(amount),
        percent=quotient(100 * amount, peak) if peak > 0 else None,
        peak=unscale(peak),
        peak_utc_msc=None if peak_at is None else read(*peak_at),
        bottom_utc_msc=read(*bottom),
    )


class DayTally:
    """Daily returns on the closed balance, by the server's days, without what is no result.

    Where money came or went within a day, the returns before and after it are multiplied. A return is counted for each day from
    Monday to Friday, 0 where nothing was booked, and for other days with a result. What is booked further back than a day that
    is counted already belongs to the present one.
    """

    _SUMS = ("growth", "whole", "returns", "squares", "negative_squares")

    def __init__(self, start: int) -> None:
        self._at = self._base = start
        self._first: int | None = None
        self._day = 0
        self._growth = Decimal(1)  # of the present day, up to the last flow
        self._whole = Decimal(1)  # of all days before
        self._returns = self._squares = self._negative_squares = Decimal(0)  # sums over the days before
        self._weekend_days = 0  # with a result, before the present day
        self._is_undefined = False

    def shift(self, amount: int) -> None:
        """Move the balance by what is no result."""
        self._close()
        self._at += amount
        self._base = self._at

    def add(self, amount: int, time_msc: int) -> None:
        """Move the balance by a result."""
        day = time_msc // DAY_MSC
        if self._first is None:
            self._first = self._day = day
        elif day > self._day:
            self._close()
            self._end_day()
            self._day = day
        self._at += amount

    def _close(self) -> None:
        """End a stretch of the present day without flows."""
        if self._at == self._base:
            return
        if self._base > 0:
            self._growth = _WORK.multiply(self._growth, _WORK.divide(Decimal(self._at), Decimal(self._base)))
        else:
            self._is_undefined = True
        self._base = self._at

    def _end_day(self) -> None:
        one = _WORK.subtract(self._growth, Decimal(1))
        square = _WORK.multiply(one, one)
        self._returns = _WORK.add(self._returns, one)
        self._squares = _WORK.add(self._squares, square)
        if one < 0:
            self._negative_squares = _WORK.add(self._negative_squares, square)
        self._whole = _WORK.multiply(self._whole, self._growth)
        self._weekend_days += _is_weekend(self._day)
        self._growth = Decimal(1)

    def ratios(self, percent: Decimal | None) -> Ratios:
        """Return the ratios.

        Args:
            percent: The maximal drawdown in per cent, None without one.
        """
        whole = DayTally.of_state(self.state())
        whole.end()
        return whole.ended_ratios(percent)

    def end(self) -> None:
        """End the present day."""
        self._close()
        self._end_day()

    def ended_ratios(self, percent: Decimal | None) -> Ratios:
        """Return the ratios over the days that ended. Arguments as ``ratios``."""
        first, last = self._first, self._day
        days = 0 if first is None else _weekdays(first, last) + self._weekend_days
        why = None
        if self._is_undefined:
            why = "a day began with a balance of 0 or less"
        elif days < DAYS_MIN:
            why = f"{days} daily returns, at least {DAYS_MIN} are needed"
        if first is None or why is not None:
            reasons = tuple((name, why or "no daily return") for name in ("sharpe", "sortino", "mar", "growth_percent"))
            return Ratios(days=days, sharpe=None, sortino=None, mar=None, growth_percent=None, why=reasons)
        mean = _WORK.divide(self._returns, Decimal(days))
        variance = _WORK.subtract(_WORK.divide(self._squares, Decimal(days)), _WORK.multiply(mean, mean))
        growth = self._yearly_percent(last - first + 1)
        ratios = {
            "sharpe": (_yearly(mean, variance), "all daily returns are equal"),
            "sortino": (_yearly(mean, _WORK.divide(self._negative_squares, Decimal(days))), "no daily return is negative"),
            "mar": (quotient(growth, percent) if percent else None, "there was no drawdown"),
        }
        return Ratios(
            days=days,
            **{name: value for name, (value, _) in ratios.items()},
            growth_percent=_ROUNDED.plus(growth),
            why=tuple((name, why) for name, (value, why) in ratios.items() if value is None),
        )

    def _yearly_percent(self, days: int) -> Decimal:
        if self._whole <= 0:
            return Decimal(-100)
        yearly = _WORK.exp(_WORK.multiply(_WORK.ln(self._whole), _WORK.divide(_YEAR_DAYS, Decimal(days))))
        return _WORK.multiply(Decimal(100), _WORK.subtract(yearly, Decimal(1)))

    def state(self) -> list[Any]:
        """Return what counting goes on from, as JSON values."""
        whole = [self._at, self._base, self._first, self._day, self._weekend_days, self._is_undefined]
        return [whole, [str(getattr(self, f"_{name}")) for name in self._SUMS]]

    @classmethod
    def of_state(cls, state: Any) -> DayTally:
        """Return the tally of a ``state``. Raises TypeError or ValueError where it is none."""
        (at, base, first, day, weekend_days, is_undefined), sums = state
        tally = cls(at)
        tally._base, tally._first, tally._day = base, first, day
        tally._weekend_days, tally._is_undefined = weekend_days, is_undefined
        for name, value in zip(cls._SUMS, sums, strict=True):
            setattr(tally, f"_{name}", Decimal(value))
        return tally


def _is_weekend(day: int) -> bool:
    return (day - _SATURDAY) % 7 < 2


def _weekdays(first: int, last: int) -> int:
    """Return how many days from Monday to Friday there are from one day to another inclusive."""
    weeks, rest = divmod(last - first + 1, 7)
    return 5 * weeks + sum(not _is_weekend(first + at) for at in range(rest))


def _yearly(mean: Decimal, variance: Decimal) -> Decimal | None:
    """Return mean by deviation, of a year. What rounding leaves of 0 is 0."""
    if variance < _NOTHING:
        return None
    return _ROUNDED.multiply(_WORK.divide(mean, _WORK.sqrt(variance)), _WORK.sqrt(Decimal(_TRADING_DAYS)))


class Progress:
    """How far the figures that need the order of bookings and trades are counted: falls, days, series, MT5's results.

    Args:
        balance: Before the first booking, in scaled integers.
        credit: The same.
        scale: Decimals of the scaled integers.
    """

    def __init__(self, balance: int = 0, credit: int = 0, *, scale: int) -> None:
        self._scale, self._credit = scale, credit
        self.falls, self.days, self.series = FallTally(balance), DayTally(balance), SeriesTally()
        self._results: ResultsCounter | None = None
        self.first: Stamp | None = None
        self.last: Stamp | None = None

    def add(self, booking: Booking) -> None:
        """Count the next booking."""
        time_msc, kind, amount = booking.time_msc, booking.kind, booking.amount
        when = time_msc, booking.deal
        if self.first is None or time_msc < self.first[0]:
            self.first = when
        if self.last is None or time_msc >= self.last[0]:
            self.last = when
        falls = self.falls
        if kind == TRADE:
            if self._results is None:
                self._results = ResultsCounter(falls.at + self._credit, scale=self._scale)
            self._results.add(amount, booking.entry or 0, booking.side or 0)
        if kind in RESULTS:
            falls.move_to(falls.at + amount, when)
            self.days.add(amount, time_msc)
        else:
            falls.shift(amount)
            self.days.shift(amount)
            self._credit += booking.credited

    def add_trade(self, figures: TradeFigures) -> None:
        """Count the next trade that closed, if its result is known."""
        if figures.is_complete:
            self.series.add(figures.net)

    def results(self) -> Results | None:
        """Return MT5's figures; None without a trade deal."""
        return None if self._results is None else self._results.results()

    def state(self) -> dict[str, Any]:
        """Return what counting goes on from, as JSON values."""
        return {
            "credit": self._credit,
            "falls": self.falls.state(),
            "days": self.days.state(),
            "series": self.series.state(),
            "results": None if self._results is None else self._results.state(),
            "first": self.first,
            "last": self.last,
        }

    @classmethod
    def of_state(cls, state: Any, *, scale: int) -> Progress:
        """Return the progress of a ``state``. Raises KeyError, TypeError or ValueError where it is none."""
        progress = cls(0, state["credit"], scale=scale)
        progress.falls, progress.days = FallTally.of_state(state["falls"]), DayTally.of_state(state["days"])
        progress.series = SeriesTally.of_state(state["series"])
        if state["results"] is not None:
            progress._results = ResultsCounter.of_state(state["results"])
        progress.first, progress.last = _stamp(state["first"]), _stamp(state["last"])
        return progress


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


class Counted:
    """What a report of a whole history needs beside the unfinished trades: its order and its groups.

    Args:
        clock: The trade server's.
        scale: Decimals of the scaled integers.
    """

    def __init__(self, clock: ClockRule, *, scale: int) -> None:
        self.progress, self.groups = Progress(scale=scale), GroupTally(clock)

    def add(self, booking: Booking) -> None:
        """Count the next booking."""
        self.progress.add(booking)
        self.groups.add(booking)

    def add_trade(self, figures: TradeFigures) -> None:
        """Count the next trade that closed."""
        self.progress.add_trade(figures)
        self.groups.add_trade(figures)

    def state(self) -> dict[str, Any]:
        """Return what counting goes on from, as JSON values."""
        return {"progress": self.progress.state(), "groups": self.groups.state()}

    @classmethod
    def of_state(cls, state: Any, clock: ClockRule, *, scale: int) -> Counted:
        """Return what was counted of a ``state``. Raises KeyError, TypeError or ValueError where it is none."""
        counted = cls(clock, scale=scale)
        counted.progress = Progress.of_state(state["progress"], scale=scale)
        counted.groups = GroupTally.of_state(state["groups"], clock)
        return counted
