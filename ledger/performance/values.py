"""The values of performance, frozen: money by deal time, trades when they close, drawdowns, series and ratios.

Sums of money are exact and in account currency. Ratios are computed of exact sums and rounded once, to ``DIGITS`` significant
digits; None where they are not defined. Moments are UTC milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from functools import reduce
from typing import Final

from attrs import evolve, frozen

from ledger.results import DIGITS
from ledger.values import EXACT

_ROUNDED: Final = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_ZERO: Final = Decimal(0)


def quotient(above: Decimal | int, below: Decimal | int) -> Decimal | None:
    """Return a quotient rounded to ``DIGITS`` digits, None where it divides by 0."""
    return _ROUNDED.divide(Decimal(above), Decimal(below)) if below else None


def _sum(*amounts: Decimal) -> Decimal:
    return reduce(EXACT.add, amounts, _ZERO)


def _sum_known(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Return a sum, None where one amount is not known."""
    listed = [*amounts]
    return None if None in listed else _sum(*(one for one in listed if one is not None))


@frozen(kw_only=True)
class Money:
    """What moved in a period, by deal time. The first four are sums over trade deals.

    ``flows`` are deposits, withdrawals and bonuses; ``other`` are other money deals that move the balance; ``adjusted`` is what
    a person set, and a balance that the broker stated where the history before it is not known. ``incomplete`` counts trade
    deals whose money is not known in full; it counts as 0 there. ``incomplete_before`` counts those before ``start``, which is
    as uncertain. With a filter only the sums over trade deals are known: the
    others are None. ``start`` and ``end`` are balances; None also where a bucket is no period.
    """

    profit: Decimal
    commission: Decimal
    swap: Decimal
    fee: Decimal
    deals: int
    incomplete: int
    flows: Decimal | None
    other: Decimal | None
    adjusted: Decimal | None
    start: Decimal | None = None
    end: Decimal | None = None
    incomplete_before: int = 0

    @property
    def is_balance_sure(self) -> bool:
        """Whether the money of all deals up to the end is known."""
        return not (self.incomplete or self.incomplete_before)

    @property
    def net(self) -> Decimal:
        """Profit, commission, swap and fee together."""
        return _sum(self.profit, self.commission, self.swap, self.fee)

    @property
    def moved(self) -> Decimal | None:
        """All that moved the balance; None with a filter."""
        return _sum_known((self.net, self.flows, self.other, self.adjusted))

    @property
    def difference(self) -> Decimal | None:
        """End balance less start balance and all that moved it: anything but 0 is an error. None where there is no balance."""
        if self.start is None or self.end is None or self.moved is None:
            return None
        return EXACT.subtract(self.end, _sum(self.start, self.moved))


@frozen(kw_only=True)
class Trades:
    """Trades that closed in a period, with the net of their whole life.

    ``count`` are those whose result is known; ``incomplete`` counts the others, and what was closed without a deal. Money of
    losses is negative. Durations are milliseconds, of the trades whose opening is recorded (``held``).
    """

    count: int
    wins: int
    losses: int
    incomplete: int
    gross_win: Decimal
    gross_loss: Decimal
    best: Decimal | None
    worst: Decimal | None
    held: int
    held_sum_ms: int
    held_min_ms: int | None
    held_max_ms: int | None

    @property
    def net(self) -> Decimal:
        """What the trades whose result is known earned."""
        return _sum(self.gross_win, self.gross_loss)

    @property
    def win_rate(self) -> Decimal | None:
        """Wins by trades, 0 to 1."""
        return quotient(self.wins, self.count)

    @property
    def profit_factor(self) -> Decimal | None:
        """Sum of the wins by the sum of the losses; None without losses."""
        return quotient(self.gross_win, abs(self.gross_loss))

    @property
    def expectancy(self) -> Decimal | None:
        """Net by trades."""
        return quotient(self.net, self.count)

    @property
    def average_win(self) -> Decimal | None:
        """Sum of the wins by their number."""
        return quotient(self.gross_win, self.wins)

    @property
    def average_loss(self) -> Decimal | None:
        """Sum of the losses by their number."""
        return quotient(self.gross_loss, self.losses)

    @property
    def held_average_ms(self) -> int | None:
        """How long a trade was held on average, cut to a millisecond."""
        return self.held_sum_ms // self.held if self.held else None


@frozen(kw_only=True)
class Series:
    """Unbroken series of wins and of losses; a trade of exactly 0 ends both.

    The longest one (of equally long ones that with the most money), with its money; and the one with the most money, with its
    length.
    """

    wins: int
    wins_money: Decimal
    losses: int
    losses_money: Decimal
    best_money: Decimal
    best_count: int
    worst_money: Decimal
    worst_count: int


@frozen(kw_only=True)
class Fall:
    """One fall of a curve below its highest point so far. ``percent`` is of ``peak``, None where that is not above 0.

    ``peak_utc_msc`` is None where the curve began with its highest point.
    """

    amount: Decimal
    percent: Decimal | None
    peak: Decimal
    peak_utc_msc: int | None
    bottom_utc_msc: int


@frozen(kw_only=True)
class Drawdown:
    """The largest fall in money and the largest in per cent of its peak; None where there was none."""

    absolute: Fall | None
    relative: Fall | None


@frozen(kw_only=True)
class EquityDrawdown(Drawdown):
    """The same of equity, of samples: ``samples`` of them, the first and the last at a UTC microsecond."""

    samples: int
    first_us: int
    last_us: int


@frozen(kw_only=True)
class Ratios:
    """What daily returns on the closed balance come to; None with the reason in ``why``.

    ``days`` is the number of daily returns. ``growth_percent`` is the growth of a whole year.
    """

    days: int
    sharpe: Decimal | None
    sortino: Decimal | None
    mar: Decimal | None
    growth_percent: Decimal | None
    why: tuple[tuple[str, str], ...] = ()


@frozen
class Column:
    """The balance between two UTC moments: the lowest, the highest and the last one.

    ``fall_percent`` is the deepest fall below the highest point so far, in per cent of it, ``last_percent`` the last one.
    """

    begin_utc_msc: int
    low: Decimal
    high: Decimal
    last: Decimal
    fall_percent: Decimal | None
    last_percent: Decimal | None


@frozen(kw_only=True)
class Curve:
    """The closed balance, exact extremes per column of ``width_ms``. Columns without a deal are left out."""

    width_ms: int
    start: Decimal
    columns: Sequence[Column]


# ---------------------------------------------------------------------------------------------------------- adding up


def add_money(*several: Money) -> Money:
    """Return the sums. Balances too: of accounts, that is; of consecutive periods see ``join_money``."""
    sums = [
        _sum(*amounts) for amounts in zip(*((one.profit, one.commission, one.swap, one.fee) for one in several), strict=True)
    ]
    profit, commission, swap, fee = sums
    return Money(
        profit=profit,
        commission=commission,
        swap=swap,
        fee=fee,
        deals=sum(one.deals for one in several),
        incomplete=sum(one.incomplete for one in several),
        flows=_sum_known(one.flows for one in several),
        other=_sum_known(one.other for one in several),
        adjusted=_sum_known(one.adjusted for one in several),
        start=_sum_known(one.start for one in several),
        end=_sum_known(one.end for one in several),
        incomplete_before=sum(one.incomplete_before for one in several),
    )


def join_money(*several: Money) -> Money:
    """Return what consecutive periods come to: from the first one's start balance to the last one's end balance."""
    first, last = several[0], several[-1]
    return evolve(add_money(*several), start=first.start, end=last.end, incomplete_before=first.incomplete_before)


def add_trades(*several: Trades) -> Trades:
    """Return what groups of trades come to together."""
    return Trades(
        **{
            name: sum(getattr(one, name) for one in several)
            for name in ("count", "wins", "losses", "incomplete", "held", "held_sum_ms")
        },
        gross_win=_sum(*(one.gross_win for one in several)),
        gross_loss=_sum(*(one.gross_loss for one in several)),
        best=max((one.best for one in several if one.best is not None), default=None),
        worst=min((one.worst for one in several if one.worst is not None), default=None),
        held_min_ms=min((one.held_min_ms for one in several if one.held_min_ms is not None), default=None),
        held_max_ms=max((one.held_max_ms for one in several if one.held_max_ms is not None), default=None),
    )  # fmt: skip
