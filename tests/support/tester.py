"""This module is a small strategy tester: robots with grids, martingales and baskets, and the report of what they did.

It shares no code with the ledger. It books as the terminal's tester does: profits are rounded to the account's money, in
a currency pair of other currencies with an exchange rate that moves and has a spread; several deals fall into one second;
the report states nowhere which position a closing deal belongs to. ``Backtest.closes`` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Final

_START: Final = 1_704_153_600  # 2024.01.02 00:00:00
_DAY: Final = 86_400


@dataclass(frozen=True)
class Symbol:
    """``rate`` is how profit comes into account money: "one", "price" (divide by it), or another pair's random walk."""

    name: str
    digits: int
    contract: int
    price: float
    rate: str = "one"
    swap: float = 0.0  # per lot and night


SYMBOLS: Final = {
    "EURUSD": Symbol("EURUSD", 5, 100_000, 1.0850, swap=-6.4),
    "XAUUSD": Symbol("XAUUSD", 2, 100, 2063.50),
    "USDJPY": Symbol("USDJPY", 3, 100_000, 143.215, "price", swap=11.3),
    "EURGBP": Symbol("EURGBP", 5, 100_000, 0.8612, "walk", swap=-2.1),
    "US30": Symbol("US30", 1, 1, 37715.0),
}


@dataclass(eq=False)
class Held:
    """An open position."""

    position_id: int
    symbol: Symbol
    way: int
    volume: int  # hundredths of a lot
    price: int  # points
    opened: int


@dataclass(frozen=True)
class Row:
    """A deal as the report shows it, and the position that it belongs to. ``volume`` in hundredths of a lot."""

    time: int
    deal: int
    symbol: Symbol | None
    type: str
    entry: str
    volume: int
    price: int
    order: int
    swap: Decimal
    profit: Decimal
    balance: Decimal
    position_id: int

    def cells(self, *, seconds: bool) -> list[str]:
        """Return the 13 cells of the row."""
        time = _time(self.time)
        money = ["0.00", f"{self.swap:.2f}", f"{self.profit:.2f}", f"{self.balance:.2f}", ""]
        time = time if seconds else time[:16]
        if self.symbol is None:
            return [time, str(self.deal), "", self.type, "", "", "", "", *money]
        price = Decimal(self.price).scaleb(-self.symbol.digits)
        volume = Decimal(self.volume).scaleb(-2)
        words = [self.symbol.name, self.type, self.entry, f"{volume:.2f}", str(price), str(self.order)]
        return [time, str(self.deal), *words, *money]


@dataclass
class Backtest:
    """What a robot did: its rows in the order in which they were booked, and what is open at the end."""

    rows: list[Row] = field(default_factory=list)
    open: list[Held] = field(default_factory=list)

    @property
    def closes(self) -> dict[int, int]:
        """Deal -> the position that it closed."""
        return {row.deal: row.position_id for row in self.rows if row.entry == "out"}

    @property
    def opened(self) -> dict[int, tuple[str, str, int]]:
        """Position id -> symbol, type and open price in points."""
        return {
            row.position_id: (row.symbol.name, row.type, row.price) for row in self.rows if row.entry == "in" and row.symbol
        }

    def csv(self, *, seconds: bool = True) -> str:
        """Return the report as a spreadsheet program saves it."""
        head = ["Strategy Tester Report", "Currency:,,,USD", "Deals"]
        names = "Time,Deal,Symbol,Type,Direction,Volume,Price,Order,Commission,Swap,Profit,Balance,Comment"
        lines = [line + "," * (12 - line.count(",")) for line in head]
        rows = [",".join(row.cells(seconds=seconds)) for row in self.rows]
        return "\n".join((*lines, names, *rows)) + "\n"

    def html(self) -> str:
        """Return the report as the tester writes it."""
        head = '<html><head><meta name="generator" content="strategy tester"></head>\n<body><table>\n'
        rows = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row.cells(seconds=True)) + "</tr>\n" for row in self.rows)
        return head + "<tr><td>Currency:</td><td>USD</td></tr>\n" + "".join(rows) + "</table></body></html>\n"


def _time(seconds: int) -> str:
    days, rest = divmod(seconds, _DAY)
    year, month, day = _civil(days)
    return f"{year:04}.{month:02}.{day:02} {rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def _civil(days: int) -> tuple[int, int, int]:
    then = date(1970, 1, 1) + timedelta(days=days)
    return then.year, then.month, then.day


@dataclass
class Robot:
    """How it trades. Chances are those of each step of the market."""

    symbols: tuple[str, ...] = ("EURUSD",)
    ways: tuple[int, ...] = (1, -1)
    open_chance: float = 0.4
    basket_chance: float = 0.05
    single_chance: float = 0.1
    partial_chance: float = 0.05
    reopen_chance: float = 0.2
    multiplier: float = 1.5
    most: int = 40
    lots: int = 1
    step_points: int = 60
    ends_flat: bool = True


def run(robot: Robot, seed: int, steps: int) -> Backtest:
    """Let a robot trade for so many steps of the market."""
    return _Market(robot, Random(seed)).run(steps)


class _Market:
    def __init__(self, robot: Robot, random: Random) -> None:
        self.robot = robot
        self.random = random
        self.symbols = [SYMBOLS[name] for name in robot.symbols]
        self.points: dict[str, int] = {symbol.name: round(symbol.price * 10**symbol.digits) for symbol in self.symbols}
        self.cross = 1.27
        self.now = _START
        self.ticket = 1
        self.balance = Decimal(0)
        self.backtest = Backtest()
        self.held: list[Held] = []

    def run(self, steps: int) -> Backtest:
        self._book(None, "balance", "", 0, 0, 0, Decimal(0), Decimal(10000), 0)
        for _ in range(steps):
            self._move()
            for symbol in self.symbols:
                for way in self.robot.ways:
                    self._trade(symbol, way)
        if self.robot.ends_flat:
            self._move()
            for held in list(self.held):
                self._close(held, held.volume)
        self.backtest.open = self.held
        return self.backtest

    def _move(self) -> None:
        seconds = self.random.choice((1, 20, 600, 3600, 20_000))
        self.now += seconds
        self.cross *= 1 + self.random.gauss(0, 0.005 * (seconds / _DAY) ** 0.5)
        for symbol in self.symbols:
            self.points[symbol.name] += round(self.random.gauss(0, self.robot.step_points))

    def _trade(self, symbol: Symbol, way: int) -> None:
        robot, chance = self.robot, self.random.random
        mine = [held for held in self.held if held.symbol is symbol and held.way == way]
        if mine and chance() < robot.basket_chance:
            for held in self.random.sample(mine, len(mine)):
                self._close(held, held.volume)
            if chance() < robot.reopen_chance:
                self._open(symbol, way, robot.lots)
            return
        if mine and chance() < robot.single_chance:
            held = self.random.choice(mine)
            self._close(held, held.volume)
            mine.remove(held)
        mine = [held for held in mine if held.volume > 1]
        if mine and chance() < robot.partial_chance:
            held = self.random.choice(mine)
            self._close(held, self.random.randint(1, held.volume - 1))
        if len(mine) < robot.most and chance() < robot.open_chance:
            self._open(symbol, way, min(500, round(robot.lots * robot.multiplier ** min(len(mine), 12))))

    def _open(self, symbol: Symbol, way: int, volume: int) -> None:
        price = self.points[symbol.name] + (2 if way > 0 else 0)
        self.ticket += 1
        self.held.append(Held(self.ticket, symbol, way, volume, price, self.now))
        self._book(symbol, "buy" if way > 0 else "sell", "in", volume, price, self.ticket, Decimal(0), Decimal(0), self.ticket)

    def _close(self, held: Held, volume: int) -> None:
        symbol = held.symbol
        price = self.points[symbol.name] + (0 if held.way > 0 else 2)
        self.ticket += 1
        profit = held.way * (price - held.price) * volume * symbol.contract * self._rate(symbol, price, held) / 100
        nights = self.now // _DAY - held.opened // _DAY
        swap = _money(symbol.swap * held.way * nights * volume / 100)
        held.volume -= volume
        if not held.volume:
            self.held.remove(held)
        word = "sell" if held.way > 0 else "buy"
        profit_now = _money(profit / 10**symbol.digits)
        self._book(symbol, word, "out", volume, price, self.ticket, swap, profit_now, held.position_id)

    def _rate(self, symbol: Symbol, price: int, held: Held) -> float:
        """Convert at the side of the market that is worse, as brokers do."""
        is_won = held.way * (price - held.price) > 0
        if symbol.rate == "price":
            return float(10**symbol.digits) / (self.points[symbol.name] + (2 if is_won else 0))
        return self.cross * (1 - 0.00005 if is_won else 1 + 0.00005) if symbol.rate == "walk" else 1.0

    def _book(
        self, symbol: Symbol | None, word: str, entry: str, volume: int, price: int, order: int, swap: Decimal, profit: Decimal,
        position_id: int,
    ) -> None:  # fmt: skip
        self.balance += swap + profit
        deal = len(self.backtest.rows) + 1
        row = Row(self.now, deal, symbol, word, entry, volume, price, order, swap, profit, self.balance, position_id)
        self.backtest.rows.append(row)


def _money(amount: float) -> Decimal:
    return Decimal(repr(amount)).quantize(Decimal("0.01"), ROUND_HALF_UP)


def open_now(held: Iterable[Held]) -> set[tuple[int, str, int]]:
    """Return position id, symbol and volume in hundredths of a lot of what is open."""
    return {(one.position_id, one.symbol.name, one.volume) for one in held}
