"""MT5's own statistics, as the Results section of its reports shows them: counted by closing deal, not by position.

The figures are computed from the trade deals of an account (type buy or sell) in the order in which they were booked. A
deal's own net is its profit, swap, commission and fee; a closing deal is one whose entry is not ``in``; a win is a closing
deal with an own net of 0 or more. The curve begins at the balance, credit included, directly before the first trade deal
and has one point for each: cash movements are left out. The definitions were found by recomputing real exports; MetaQuotes
documents them loosely.

Money is exact. Ratios, averages and per cents are computed from exact sums and rounded once, to ``DIGITS`` significant
digits. The returns per deal that the Sharpe Ratio and AHPR rest on are cut off at 2^-96 before they are summed up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Any, Final

from attrs import frozen

from ledger.errors import BadValue
from ledger.values import MONEY_SCALE, Entry, unscaled

#: Significant digits of figures that are quotients or roots.
DIGITS: Final = 28

#: Figures that are sums of money, and so have the decimals of the currency.
MONEY_FIGURES: Final = frozenset(
    (
        "total_net_profit", "gross_profit", "gross_loss", "balance_drawdown_absolute", "balance_drawdown_maximal",
        "balance_drawdown_relative", "largest_profit_trade", "largest_loss_trade", "maximum_consecutive_wins_money",
        "maximum_consecutive_losses_money", "maximal_consecutive_profit", "maximal_consecutive_loss",
    )
)  # fmt: skip

_STATE: Final = 1
_BITS: Final = 96
_ONE: Final = 1 << _BITS
_IN: Final = int(Entry.IN)
_WORK: Final = Context(prec=60, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_ROUNDED: Final = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_CENT: Final = Decimal("0.01")
#: The probability that is shown from three standard deviations on.
_Z_MOST: Final = Decimal(3)
_Z_MOST_PERCENT: Final = Decimal("99.74")
_DAY_SEC: Final = 86_400
_WEEK_SEC: Final = 7 * _DAY_SEC
#: The first Saturday 00:00 since 1970.
_SATURDAY_SEC: Final = 2 * _DAY_SEC
_WEEKEND_SEC: Final = 2 * _DAY_SEC


@frozen(kw_only=True)
class Results:
    """The figures of the Results section under MT5's names. None where the definition divides by 0, or needs a start.

    Money is in account currency, losses are negative. ``_percent`` is in per cent of 100, drawdowns of the highest point of
    the curve before the fall.

    ``recovery_factor`` is by the balance drawdown, as terminals have it; a tester divides by its equity drawdown, which no
    deal shows. ``gross_loss`` and ``average_loss_trade`` contain what deals of entry ``in`` cost.
    """

    total_net_profit: Decimal
    gross_profit: Decimal
    gross_loss: Decimal
    profit_factor: Decimal | None
    expected_payoff: Decimal | None
    recovery_factor: Decimal | None
    sharpe_ratio: Decimal | None
    balance_drawdown_absolute: Decimal
    balance_drawdown_maximal: Decimal
    balance_drawdown_maximal_percent: Decimal | None
    balance_drawdown_relative_percent: Decimal | None
    balance_drawdown_relative: Decimal | None
    total_trades: int
    total_deals: int
    short_trades: int
    short_trades_won_percent: Decimal
    long_trades: int
    long_trades_won_percent: Decimal
    profit_trades: int
    profit_trades_percent: Decimal | None
    loss_trades: int
    loss_trades_percent: Decimal | None
    largest_profit_trade: Decimal
    largest_loss_trade: Decimal
    average_profit_trade: Decimal | None
    average_loss_trade: Decimal | None
    maximum_consecutive_wins: int
    maximum_consecutive_wins_money: Decimal
    maximum_consecutive_losses: int
    maximum_consecutive_losses_money: Decimal
    maximal_consecutive_profit: Decimal
    maximal_consecutive_profit_count: int
    maximal_consecutive_loss: Decimal
    maximal_consecutive_loss_count: int
    average_consecutive_wins: int | None
    average_consecutive_losses: int | None
    ahpr: Decimal | None
    ahpr_percent: Decimal | None
    ghpr: Decimal | None
    ghpr_percent: Decimal | None
    z_score: Decimal
    z_score_percent: Decimal
    lr_correlation: Decimal | None
    lr_standard_error: Decimal | None


class ResultsCounter:
    """Computes ``Results`` in one pass, in memory that does not grow with the deals.

    Args:
        start: Balance, credit included, directly before the first trade deal, in units of ``10**-scale``; None where it is
            not known: figures that are relative to it are None then.
        scale: Decimals of the money that is added.
    """

    __slots__ = (
        "_charges", "_curve", "_deals", "_fall", "_fall_peak", "_gross_loss", "_gross_profit", "_h_undefined", "_largest",
        "_length", "_long", "_long_won", "_loss_series", "_losses", "_lowest", "_lowest_net", "_money", "_most_loss",
        "_most_losses", "_most_profit", "_most_wins", "_peak", "_relative_fall", "_relative_peak", "_returns",
        "_scale", "_short", "_short_won", "_squares", "_start", "_sum_xy", "_sum_y", "_sum_yy", "_trades", "_win_series",
    )  # fmt: skip

    def __init__(self, start: int | None, *, scale: int = MONEY_SCALE) -> None:
        self._start = start
        self._scale = scale
        self._curve = self._peak = self._lowest = start or 0
        self._fall = self._fall_peak = self._relative_fall = 0
        self._relative_peak = 1
        self._deals = self._trades = self._charges = 0
        self._gross_profit = self._gross_loss = self._losses = self._largest = self._lowest_net = 0
        self._short = self._short_won = self._long = self._long_won = 0
        #: The present series: above 0 so many wins, below 0 so many losses; and its money.
        self._length = self._money = 0
        self._win_series = self._loss_series = 0
        #: (length, money) of the longest series and (money, length) of the one with most money; of losses, money above 0.
        self._most_wins = self._most_losses = self._most_profit = self._most_loss = (0, 0)
        self._returns = self._squares = 0
        self._h_undefined = start is None
        self._sum_y = self._sum_xy = self._sum_yy = 0

    def add(self, net: int, entry: int, side: int) -> None:
        """Count one trade deal.

        Args:
            net: Profit, swap, commission and fee of this deal, in units of ``10**-scale``.
            entry: MT5's code, or ``Entry``: 0 in, 1 out, 2 in/out, 3 out by.
            side: MT5's deal type: 0 buy, 1 sell.
        """
        before = self._curve
        after = self._curve = before + net
        self._deals += 1
        if net < 0:
            self._lowest = min(self._lowest, after)
            self._note_fall(after)
        elif after > self._peak:
            self._peak = after
        if entry == _IN:
            self._charges += net
            return
        trades = self._trades = self._trades + 1
        if before:
            h = (net << _BITS) // before
            self._returns += h
            self._squares += h * h
        else:
            self._h_undefined = True
        y = after - (self._start or 0)
        self._sum_y += y
        self._sum_xy += trades * y
        self._sum_yy += y * y
        if side:
            self._long += 1
        else:
            self._short += 1
        if net >= 0:
            self._win(net, side)
        else:
            self._lose(net)

    def add_all(self, deals: Iterable[tuple[int, int, int]]) -> None:
        """Count trade deals: own net, entry and side of each, in order."""
        add = self.add
        for net, entry, side in deals:
            add(net, entry, side)

    def _note_fall(self, after: int) -> None:
        peak = self._peak
        fall = peak - after
        if fall > self._fall:
            self._fall, self._fall_peak = fall, peak
        if peak > 0 and fall * self._relative_peak > self._relative_fall * peak:
            self._relative_fall, self._relative_peak = fall, peak

    def _win(self, net: int, side: int) -> None:
        self._gross_profit += net
        self._largest = max(self._largest, net)
        if side:
            self._long_won += 1
        else:
            self._short_won += 1
        if self._length > 0:
            self._length += 1
            self._money += net
        else:
            self._end_series()
            self._win_series += 1
            self._length, self._money = 1, net

    def _lose(self, net: int) -> None:
        self._gross_loss += net
        self._losses += 1
        self._lowest_net = min(self._lowest_net, net)
        if self._length < 0:
            self._length -= 1
            self._money += net
        else:
            self._end_series()
            self._loss_series += 1
            self._length, self._money = -1, net

    def _end_series(self) -> None:
        self._most_wins, self._most_profit, self._most_losses, self._most_loss = self._series()

    def _series(self) -> tuple[tuple[int, int], ...]:
        """Return the best series, the present one included: of equally long ones that with most money, and vice versa."""
        length, money = self._length, self._money
        wins, profit, losses, loss = self._most_wins, self._most_profit, self._most_losses, self._most_loss
        if length > 0:
            return max(wins, (length, money)), max(profit, (money, length)), losses, loss
        return wins, profit, max(losses, (-length, -money)), max(loss, (-money, -length))

    # ------------------------------------------------------------------------------------------------------ the figures

    def results(self) -> Results:
        """Return the figures over what was added so far."""
        trades, losses = self._trades, self._losses
        wins = trades - losses
        gross_loss = self._gross_loss + self._charges
        net = self._gross_profit + gross_loss
        most_wins, most_profit, most_losses, most_loss = self._series()
        ahpr, ghpr = self._ahpr(), self._ghpr()
        z_score = self._z_score(wins, losses)
        money = self._unscaled
        return Results(
            total_net_profit=money(net),
            gross_profit=money(self._gross_profit),
            gross_loss=money(gross_loss),
            profit_factor=_quotient(self._gross_profit, abs(gross_loss)),
            expected_payoff=self._mean(net, trades),
            recovery_factor=_quotient(net, self._fall),
            sharpe_ratio=self._sharpe_ratio(),
            balance_drawdown_absolute=money(self._curve_start - self._lowest),
            balance_drawdown_maximal=money(self._fall),
            balance_drawdown_maximal_percent=self._fall_percent(self._fall, self._fall_peak),
            balance_drawdown_relative_percent=self._fall_percent(self._relative_fall, self._relative_peak),
            balance_drawdown_relative=money(self._relative_fall) if self._has_relative else None,
            total_trades=trades,
            total_deals=self._deals,
            short_trades=self._short,
            short_trades_won_percent=_percent(self._short_won, self._short) or Decimal(0),
            long_trades=self._long,
            long_trades_won_percent=_percent(self._long_won, self._long) or Decimal(0),
            profit_trades=wins,
            profit_trades_percent=_percent(wins, trades),
            loss_trades=losses,
            loss_trades_percent=_percent(losses, trades),
            largest_profit_trade=money(self._largest),
            largest_loss_trade=money(self._lowest_net),
            average_profit_trade=self._mean(self._gross_profit, wins),
            average_loss_trade=self._mean(gross_loss, losses),
            maximum_consecutive_wins=most_wins[0],
            maximum_consecutive_wins_money=money(most_wins[1]),
            maximum_consecutive_losses=most_losses[0],
            maximum_consecutive_losses_money=money(-most_losses[1]),
            maximal_consecutive_profit=money(most_profit[0]),
            maximal_consecutive_profit_count=most_profit[1],
            maximal_consecutive_loss=money(-most_loss[0]),
            maximal_consecutive_loss_count=most_loss[1],
            average_consecutive_wins=_half_up(wins, self._win_series),
            average_consecutive_losses=_half_up(losses, self._loss_series),
            ahpr=ahpr,
            ahpr_percent=_above_one(ahpr),
            ghpr=ghpr,
            ghpr_percent=_above_one(ghpr),
            z_score=z_score,
            z_score_percent=_z_percent(z_score),
            lr_correlation=self._lr_correlation(),
            lr_standard_error=self._lr_standard_error(),
        )

    @property
    def _curve_start(self) -> int:
        return self._start or 0

    @property
    def _has_relative(self) -> bool:
        """Whether the largest fall in per cent is known: there was none, or one below a peak above 0."""
        return self._start is not None and (self._relative_fall > 0 or self._fall == 0)

    def _unscaled(self, units: int) -> Decimal:
        return unscaled(units, self._scale)

    def _mean(self, units: int, count: int) -> Decimal | None:
        return _quotient(units, count * 10**self._scale)

    def _fall_percent(self, fall: int, peak: int) -> Decimal | None:
        if self._start is None or (self._fall and not fall):
            return None
        if not fall:
            return Decimal(0)
        return _percent(fall, peak) if peak > 0 else None

    def _sharpe_ratio(self) -> Decimal | None:
        """Mean of (h - 1) by the standard deviation of h, divided by n; h is the curve after by the curve before a close."""
        variance = self._trades * self._squares - self._returns * self._returns
        if self._h_undefined or variance <= 0:
            return None
        return _rounded(_WORK.divide(Decimal(self._returns), _root(variance)))

    def _ahpr(self) -> Decimal | None:
        if self._h_undefined or not self._trades:
            return None
        return _quotient(self._trades * _ONE + self._returns, self._trades * _ONE)

    def _ghpr(self) -> Decimal | None:
        """Return the root of growth; an end below 1 counts as 1."""
        if self._start is None or self._start <= 0 or not self._trades:
            return None
        end = max(self._curve, 10**self._scale)
        growth = _WORK.divide(Decimal(end), Decimal(self._start))
        return _rounded(_WORK.exp(_WORK.divide(_WORK.ln(growth), Decimal(self._trades))))

    def _z_score(self, wins: int, losses: int) -> Decimal:
        """Return how far the number of series is from what chance would give; 0 where undefined."""
        n, p = self._trades, 2 * wins * losses
        if n < 2 or p * (p - n) <= 0:
            return Decimal(0)
        series = self._win_series + self._loss_series
        deviation = _root(Fraction(p * (p - n), n - 1))
        return _rounded(_WORK.divide(_decimal(n * (series - Fraction(1, 2)) - p), deviation))

    def _lr_sums(self) -> tuple[int, int, int]:
        """Return the sums of products of deviations, xx, xy and yy, each times the number of points.

        Points are the start and the curve after each closing deal; x counts them from 0.
        """
        n = self._trades
        points = n + 1
        sum_x = n * points // 2
        xx = points * (n * points * (2 * n + 1) // 6) - sum_x * sum_x
        xy = points * self._sum_xy - sum_x * self._sum_y
        yy = points * self._sum_yy - self._sum_y * self._sum_y
        return xx, xy, yy

    def _lr_correlation(self) -> Decimal | None:
        xx, xy, yy = self._lr_sums()
        return _rounded(_WORK.divide(Decimal(xy), _root(xx * yy))) if xx * yy > 0 else None

    def _lr_standard_error(self) -> Decimal | None:
        points = self._trades + 1
        if points <= 2:
            return None
        xx, xy, yy = self._lr_sums()
        squared = Fraction(yy * xx - xy * xy, xx * points * (points - 2) * 10 ** (2 * self._scale))
        return _rounded(_root(squared))

    # --------------------------------------------------------------------------------------------------------- the state

    def state(self) -> dict[str, Any]:
        """Return all that was counted as a JSON object: whole numbers as text, for they may have more than 64 bits."""
        return {"state": _STATE} | {name[1:]: _to_json(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> ResultsCounter:
        """Return a counter that goes on where another was saved.

        Raises:
            BadValue: It is not what ``state`` returns, or of another version of it.
        """
        if state.get("state") != _STATE or state.keys() != {"state", *(name[1:] for name in cls.__slots__)}:
            raise BadValue(f"expected the state of a ResultsCounter, version {_STATE}, found other fields; compute it anew")
        counter = cls(0)
        for name in cls.__slots__:
            setattr(counter, name, _of_json(state[name[1:]]))
        return counter


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return value if value is None or isinstance(value, bool) else str(value)


def _of_json(value: Any) -> Any:
    try:
        if isinstance(value, list):
            first, second = value
            return int(first), int(second)
        return value if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError) as error:
        raise BadValue(f"expected the state of a ResultsCounter, found {value!r} in it; compute it anew") from error


# -------------------------------------------------------------------------------------------------------- holding times


@frozen(kw_only=True)
class HoldingResults:
    """How long positions were held, in seconds; None without a position that was opened and closed."""

    minimal_sec: int | None
    maximal_sec: int | None
    average_sec: int | None


@frozen
class _Held:
    side: int
    volume: int
    opened_sec: int


class HoldingTimes:
    """Computes holding times as the tester shows them: from a position's first deal to the one that closes all of it.

    Weekends do not count: 48 hours less for each Saturday 00:00 in between. Memory grows with the open positions only.
    """

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        self._count = self._total = 0
        self._shortest: int | None = None
        self._longest: int | None = None

    def add(self, time_msc: int, position_id: int, entry: int, side: int, volume: int) -> None:
        """Count one trade deal, in order; time on the server's clock, volume in whole units of any size.

        A deal that reduces a position of which the opening is not known is left out.
        """
        second = time_msc // 1000
        held = self._held.get(position_id)
        if entry == _IN:
            before = 0 if held is None else held.volume
            opened = second if held is None else held.opened_sec
            self._held[position_id] = _Held(side, before + volume, opened)
        elif held is not None:
            rest = held.volume - volume
            if rest > 0:
                self._held[position_id] = _Held(held.side, rest, held.opened_sec)
                return
            self._close(self._held.pop(position_id), second)
            if entry == Entry.IN_OUT and rest < 0:
                self._held[position_id] = _Held(side, -rest, second)

    def is_open(self, position_id: int) -> bool:
        """Whether a position was opened and not closed entirely."""
        return position_id in self._held

    def _close(self, held: _Held, second: int) -> None:
        weekends = (second - _SATURDAY_SEC) // _WEEK_SEC - (held.opened_sec - _SATURDAY_SEC) // _WEEK_SEC
        lasted = second - held.opened_sec - weekends * _WEEKEND_SEC
        self._count += 1
        self._total += lasted
        if lasted > 0:
            self._shortest = lasted if self._shortest is None else min(self._shortest, lasted)
        self._longest = lasted if self._longest is None else max(self._longest, lasted)

    def results(self) -> HoldingResults:
        """Return the shortest time above 0, the longest, and the mean cut to whole seconds."""
        if not self._count:
            return HoldingResults(minimal_sec=None, maximal_sec=None, average_sec=None)
        mean = int(Fraction(self._total, self._count))
        return HoldingResults(minimal_sec=self._shortest or 0, maximal_sec=self._longest, average_sec=mean)


# -------------------------------------------------------------------------------------------------------------- numbers


def _rounded(number: Decimal) -> Decimal:
    """Round once, without trailing zeros."""
    found = _ROUNDED.plus(number).normalize(_ROUNDED)
    return found or Decimal(0)


def _decimal(number: Fraction) -> Decimal:
    return _WORK.divide(Decimal(number.numerator), Decimal(number.denominator))


def _quotient(above: int, below: int) -> Decimal | None:
    """Return a quotient, None where it is undefined."""
    return _rounded(_ROUNDED.divide(Decimal(above), Decimal(below))) if below else None


def _percent(part: int, whole: int) -> Decimal | None:
    return _quotient(100 * part, whole)


def _root(number: int | Fraction) -> Decimal:
    return _WORK.sqrt(_decimal(Fraction(number)))


def _half_up(count: int, series: int) -> int | None:
    """Return a mean as a whole number, halves upwards."""
    return (2 * count + series) // (2 * series) if series else None


def _above_one(growth: Decimal | None) -> Decimal | None:
    return None if growth is None else _rounded(_WORK.multiply(_WORK.subtract(growth, Decimal(1)), Decimal(100)))


def _z_percent(z_score: Decimal) -> Decimal:
    """Return the two-sided normal probability, in per cent, of a Z-score as it is shown."""
    shown = abs(z_score).quantize(_CENT, ROUND_HALF_UP)
    if shown >= _Z_MOST:
        return _Z_MOST_PERCENT
    return Decimal(repr(round(100 * math.erf(float(shown) / math.sqrt(2)), 10)))
