"""This module is the statistics that a terminal or a tester prints below a history: computed plainly, from whole lists.

It shares no code with the ledger, so that what the ledger makes of the same deals can be held against it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import accumulate, groupby
from math import erf, sqrt
from statistics import fmean, pstdev
from typing import Final

_ZERO: Final = Decimal(0)
_WEEK: Final = 7 * 86_400
_SATURDAY: Final = 2 * 86_400


@dataclass(frozen=True)
class Trade:
    """One trade deal: server time in seconds, its own net, and the position that it belongs to, with its volume."""

    time: int
    type: str
    entry: str
    net: Decimal
    position_id: int = 0
    volume: Decimal = _ZERO


@dataclass(frozen=True)
class Cell:
    """One figure, and one in brackets behind it. Forms: ``m`` money, ``r`` ratio, ``a`` average, ``n`` count, ``p`` per cent.

    ``d`` is the per cent of a drawdown, ``g`` a mean growth with four decimals, ``t`` a time in seconds.
    """

    label: str
    form: str
    value: Fraction
    inner: Fraction | None = None


Rows = list[list[Cell]]


class Figures:
    """What trade deals come to, from a balance on."""

    def __init__(self, trades: Sequence[Trade], start: Decimal) -> None:
        self.trades = trades
        self.start = Fraction(start)
        self.points = list(accumulate((Fraction(trade.net) for trade in trades), initial=self.start))
        self.closes = [trade for trade in trades if trade.entry != "in"]
        self.nets = [Fraction(trade.net) for trade in self.closes]
        self.wins = [net for net in self.nets if net >= 0]
        self.losses = [net for net in self.nets if net < 0]
        charges = [Fraction(trade.net) for trade in trades if trade.entry == "in"]
        self.gross_profit = sum(self.wins, Fraction(0))
        self.gross_loss = sum([*self.losses, *charges], Fraction(0))
        self.net = self.gross_profit + self.gross_loss
        self.growth = [
            after / before
            for trade, before, after in zip(trades, self.points, self.points[1:], strict=False)
            if trade.entry != "in"
        ]

    def fall(self, measure: Callable[[Fraction, Fraction], Fraction]) -> tuple[Fraction, Fraction]:
        """Return the largest fall below the highest point so far, by a measure of (fall, peak), and that peak."""
        best, peak = (Fraction(0), self.start), self.points[0]
        for point in self.points:
            peak = max(peak, point)
            if point < peak and (not best[0] or measure(peak - point, peak) > measure(*best)):
                best = peak - point, peak
        return best

    def won(self, side: str) -> tuple[Fraction, Fraction]:
        """Return how many closing deals are of a type, and the per cent of them that won."""
        nets = [trade.net for trade in self.closes if trade.type == side]
        return Fraction(len(nets)), _share(sum(net >= 0 for net in nets), len(nets))

    def series(self, *, won: bool) -> list[tuple[int, Fraction]]:
        """Return length and money of every unbroken series."""
        grouped = ((is_win, list(nets)) for is_win, nets in groupby(self.nets, lambda net: net >= 0))
        return [(len(nets), sum(nets, Fraction(0))) for is_win, nets in grouped if is_win is won]

    def curve(self) -> list[Fraction]:
        """Return the start and the balance after every closing deal."""
        after = zip(self.trades, self.points[1:], strict=True)
        return [self.start, *(point for trade, point in after if trade.entry != "in")]

    def sharpe(self) -> Fraction:
        """Return the mean of growth less 1, by its deviation."""
        if len(set(self.growth)) < 2:
            return Fraction(0)
        return Fraction((fmean(map(float, self.growth)) - 1) / pstdev(map(float, self.growth)))

    def line(self) -> tuple[Fraction, Fraction]:
        """Return correlation and standard error of a straight line through the curve."""
        curve = self.curve()
        n, xs = len(curve), range(len(curve))
        if n < 3 or len(set(curve)) == 1:
            return Fraction(0), Fraction(0)
        mean_x, mean_y = Fraction(n - 1, 2), sum(curve) / n
        xx = sum((x - mean_x) ** 2 for x in xs)
        yy = sum((y - mean_y) ** 2 for y in curve)
        xy = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, curve, strict=True))
        residuals = (y - mean_y - xy / xx * (x - mean_x) for x, y in zip(xs, curve, strict=True))
        error = sqrt(sum(residual**2 for residual in residuals) / (n - 2))
        return Fraction(float(xy) / sqrt(xx * yy)), Fraction(error)

    def z_score(self) -> tuple[Fraction, Fraction]:
        """Return how unlikely the number of series is, in deviations and as a probability in per cent."""
        n, p = len(self.nets), 2 * len(self.wins) * len(self.losses)
        if n < 2 or p * (p - n) <= 0:
            return Fraction(0), Fraction(0)
        count = len(self.series(won=True)) + len(self.series(won=False))
        z = (n * (count - 0.5) - p) / sqrt(p * (p - n) / (n - 1))
        shown = abs(rounded(Fraction(z), 2))
        return Fraction(z), Fraction("99.74") if shown >= 3 else Fraction(100 * erf(float(shown) / sqrt(2)))

    def holding(self) -> list[Fraction]:
        """Return the shortest, the longest and the mean time of positions in seconds, without weekends."""
        times: list[int] = []
        held: dict[int, tuple[int, Decimal]] = {}
        for trade in self.trades:
            opened, volume = held.get(trade.position_id, (trade.time, _ZERO))
            if trade.entry == "in":
                held[trade.position_id] = opened, volume + trade.volume
                continue
            held[trade.position_id] = opened, volume - trade.volume
            if volume <= trade.volume:
                del held[trade.position_id]
                saturdays = sum(opened < _SATURDAY + week * _WEEK <= trade.time for week in _weeks(opened, trade.time))
                times.append(trade.time - opened - 2 * 86_400 * saturdays)
            if volume < trade.volume:
                held[trade.position_id] = trade.time, trade.volume - volume
        above = [time for time in times if time > 0]
        return [Fraction(min(above, default=0)), Fraction(max(times, default=0)), Fraction(sum(times), len(times) or 1)]


def _weeks(opened: int, closed: int) -> range:
    return range(opened // _WEEK - 1, closed // _WEEK + 1)


def _share(part: int, whole: int) -> Fraction:
    return Fraction(100 * part, whole) if whole else Fraction(0)


def _by(above: Fraction | int, below: Fraction | int) -> Fraction:
    return Fraction(above) / below if below else Fraction(0)


def rounded(number: Fraction, decimals: int) -> Decimal:
    """Round half up, as printed."""
    scaled = Decimal((abs(number) * 10**decimals).numerator) / Decimal((abs(number) * 10**decimals).denominator)
    whole = scaled.quantize(Decimal(1), ROUND_HALF_UP).scaleb(-decimals)
    return -whole if number < 0 and whole else whole


def _trades_block(figures: Figures) -> Rows:
    n = len(figures.nets)
    wins, losses = figures.series(won=True), figures.series(won=False)
    long_wins = max(wins, key=lambda one: (one[0], one[1]), default=(0, Fraction(0)))
    long_losses = max(losses, key=lambda one: (one[0], -one[1]), default=(0, Fraction(0)))
    rich_wins = max(wins, key=lambda one: (one[1], one[0]), default=(0, Fraction(0)))
    rich_losses = max(losses, key=lambda one: (-one[1], one[0]), default=(0, Fraction(0)))
    return [
        [Cell("trades", "n", Fraction(n)), Cell("short", "np", *figures.won("buy")), Cell("long", "np", *figures.won("sell"))],
        [
            Cell("profits", "np", Fraction(len(figures.wins)), _share(len(figures.wins), n)),
            Cell("losses", "np", Fraction(len(figures.losses)), _share(len(figures.losses), n)),
        ],
        [
            Cell("largest profit", "m", max(figures.wins, default=Fraction(0))),
            Cell("largest loss", "m", min(figures.losses, default=Fraction(0))),
        ],
        [
            Cell("average profit", "a", _by(figures.gross_profit, len(figures.wins))),
            Cell("average loss", "a", _by(figures.gross_loss, len(figures.losses))),
        ],
        [
            Cell("wins", "nm", Fraction(long_wins[0]), long_wins[1]),
            Cell("defeats", "nm", Fraction(long_losses[0]), long_losses[1]),
        ],
        [
            Cell("profit series", "mn", rich_wins[1], Fraction(rich_wins[0])),
            Cell("loss series", "mn", rich_losses[1], Fraction(rich_losses[0])),
        ],
        [
            Cell("average wins", "n", Fraction(_half_up(len(figures.wins), len(wins)))),
            Cell("average losses", "n", Fraction(_half_up(len(figures.losses), len(losses)))),
        ],
    ]  # fmt: skip


def _half_up(count: int, series: int) -> int:
    return int(Fraction(count, series) + Fraction(1, 2)) if series else 0


def _drawdowns(figures: Figures, label: str) -> list[Cell]:
    fall, peak = figures.fall(lambda fall, _: fall)
    part, of = figures.fall(lambda fall, peak: fall / peak)
    return [
        Cell(f"{label} absolute", "m", max(Fraction(0), figures.start - min(figures.points))),
        Cell(f"{label} maximal", "md", fall, 100 * _by(fall, peak)),
        Cell(f"{label} relative", "dm", 100 * _by(part, of), part),
    ]


def terminal_section(trades: Sequence[Trade], start: Decimal) -> tuple[Rows, Rows]:
    """Return the rows above the heading of the drawdown, and those below it."""
    figures = Figures(trades, start)
    drawdowns = _drawdowns(figures, "drawdown")
    above = [
        [
            Cell("net", "m", figures.net), Cell("gross profit", "m", figures.gross_profit),
            Cell("gross loss", "m", figures.gross_loss),
        ],
        [
            Cell("factor", "r", _by(figures.gross_profit, abs(figures.gross_loss))),
            Cell("payoff", "r", _by(figures.net, len(figures.nets))),
        ],
        [Cell("recovery", "r", _by(figures.net, drawdowns[1].value)), Cell("sharpe", "r", figures.sharpe())],
    ]  # fmt: skip
    return above, [drawdowns, *_trades_block(figures)]


def tester_section(trades: Sequence[Trade], start: Decimal, equity_drawdown: Decimal) -> tuple[Rows, Rows, Rows]:
    """Return the rows above the block of trades, that block, and correlations and holding times.

    The equity between the deals is not simulated: its drawdown is given, and all that rests on prices is made up.
    """
    figures = Figures(trades, start)
    absolute, maximal, relative = _drawdowns(figures, "drawdown")
    equity = Fraction(equity_drawdown)
    n = len(figures.nets) or 1
    ahpr = sum(figures.growth, Fraction(0)) / n
    ended = float(max(figures.points[-1], Fraction(1)) / figures.start)
    ghpr = Fraction(ended ** (1 / n)) if figures.nets else Fraction(0)
    correlation, error = figures.line()
    zero = Fraction(0)
    above = [
        [Cell("bars", "n", Fraction(4096)), Cell("ticks", "n", Fraction(123_456)), Cell("symbols", "n", Fraction(1))],
        [Cell("net", "m", figures.net), absolute, Cell("equity absolute", "m", equity)],
        [Cell("gross profit", "m", figures.gross_profit), maximal, Cell("equity maximal", "md", equity, Fraction(1))],
        [Cell("gross loss", "m", figures.gross_loss), relative, Cell("equity relative", "dm", Fraction(1), equity)],
        [
            Cell("factor", "r", _by(figures.gross_profit, abs(figures.gross_loss))),
            Cell("payoff", "r", _by(figures.net, len(figures.nets))), Cell("level", "p", Fraction(1234)),
        ],
        [
            Cell("recovery", "r", _by(figures.net, equity)), Cell("sharpe", "r", figures.sharpe()),
            Cell("z", "rp", *figures.z_score()),
        ],
        [Cell("ahpr", "gp", ahpr, 100 * (ahpr - 1)), Cell("correlation", "r", correlation), Cell("ontester", "n", zero)],
        [Cell("ghpr", "gp", ghpr, 100 * (ghpr - 1)), Cell("error", "r", error)],
    ]  # fmt: skip
    block = _trades_block(figures)
    block[1].insert(0, Cell("deals", "n", Fraction(len(trades))))
    names = ("minimal", "maximal", "average")
    beside = [
        [Cell(name, "r", Fraction(1, 2)) for name in ("profits mfe", "profits mae", "mfe mae")],
        [Cell(name, "t", time) for name, time in zip(names, figures.holding(), strict=True)],
    ]
    return above, block, beside


# ----------------------------------------------------------------------------------------------------------- as printed


def in_html(cell: Cell, digits: int) -> str:
    """Write a cell as HTML reports do: two decimals, money and drawdowns with those of the currency."""
    return _bracketed([_text(form, value, digits) for form, value in _parts(cell)])


def in_workbook(cell: Cell, digits: int) -> str | Decimal:
    """Write a cell as workbooks do: a number with up to six decimals, or with brackets text."""
    if cell.inner is not None or cell.form == "t":
        return in_html(cell, digits)
    return rounded(cell.value, digits if cell.form == "m" else 6)


def _parts(cell: Cell) -> Iterable[tuple[str, Fraction]]:
    return zip(cell.form, (cell.value, *([] if cell.inner is None else [cell.inner])), strict=True)


def _bracketed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{parts[0]} ({parts[1]})"


def _text(form: str, value: Fraction, digits: int) -> str:
    if form == "t":
        seconds = int(value)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    decimals = {"m": digits, "a": digits, "d": digits, "n": 0, "g": 4}.get(form, 2)
    number = f"{rounded(value, decimals):,.{decimals}f}".replace(",", " ")
    return f"{number}%" if form in "pd" else number
