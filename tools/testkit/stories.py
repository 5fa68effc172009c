"""Stories: a small language for what is recorded about an account, and for what is left of it.

A story is a list of steps, recorded in the order they are written, one second apart unless they state when they happened::

    buy 2 @ 10, sell 1 @ 30                                        netting: one position, entries follow from what is held
    #7 buy 1 @ 10, #8 sell 2 @ 11 commission -3                    hedging: positions by id, money after the price
    t1 #7 buy 1 @ 10, t9 ghost #7, t5 #7 out sell 1 @ 12           seconds: the closing deal is recorded late
    t1.250 d9 #7 in buy 1 USDJPY @ 150 incomplete                      milliseconds, deal ticket, entry, symbol, money unknown
    recover #7 long 1 @ 10, drift #7 short 2 @ 9                   what the broker showed
    deposit 100, credit 50, tax -3, commission -1, correction 2    cash, in the words of MT5
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from typing import Any, Final

from attrs import evolve

from ledger import (
    Account,
    CashMoved,
    DriftCorrected,
    Entry,
    Event,
    FillRecorded,
    GhostClosed,
    Ledger,
    Outcome,
    Portfolio,
    PositionRecovered,
    PositionReticketed,
    PositionState,
    Side,
)
from ledger.values import CASH_WORDS, ENTRY_WORDS, plain

#: 2026-01-05 10:00:00, a Monday: the broker's clock when a story starts.
START_MSC: Final = 1_767_607_200_000
#: Our own clock when a story is recorded: three days later.
RECORDED_US: Final = (START_MSC + 3 * 86_400_000) * 1000
SYMBOL: Final = "EURUSD"

_MONEY: Final = ("commission", "fee", "swap", "profit")
_CASH_CODES: Final = {word: code for code, word in CASH_WORDS.items()} | {"deposit": 2, "withdrawal": 2}
_SIDES: Final = {"long": Side.BUY, "short": Side.SELL, "buy": Side.BUY, "sell": Side.SELL}
_WORD_OF_SIDE: Final = {Side.BUY: "long", Side.SELL: "short"}


def at(seconds: float | str) -> int:
    """Return the broker time of a moment in a story, in milliseconds."""
    return START_MSC + int(Decimal(str(seconds)) * 1000)


def fill(deal: int = 1, **fields: Any) -> FillRecorded:
    """Return a fill: position 7 opened with one lot at 10, all money known and 0, unless given otherwise."""
    known: dict[str, Any] = {
        "symbol": SYMBOL, "side": "buy", "entry": "in", "volume": 1, "price": 10, "position_id": 7, "order": None,
        "commission": 0, "fee": 0, "swap": 0, "profit": 0,
    }  # fmt: skip
    if "time_msc" not in fields:
        fields["time_msc"] = at(deal)
    return FillRecorded(deal=deal, **(known | fields))


def cash(deal: int = 1, profit: Any = 100, **fields: Any) -> CashMoved:
    """Return a cash movement: a deposit, unless given otherwise."""
    return CashMoved(deal=deal, **({"type": 2, "profit": profit, "time_msc": at(deal)} | fields))


def state(words: str, position_id: int = 7, **fields: Any) -> PositionState:
    """Return a position as somebody saw it, from words such as ``long 1 @ 10``."""
    side, volume, _, price = words.split()
    seen: dict[str, Any] = {"symbol": SYMBOL, "side": _SIDES[side], "volume": volume, "price_open": price}
    return PositionState(position_id=position_id, **(seen | fields))


def ticking(start_us: int = RECORDED_US, step_us: int = 1000) -> Callable[[], int]:
    """Return a clock that moves on by itself each time it is asked."""
    ticks = count(start_us, step_us)
    return lambda: next(ticks)


def opened(mode: str = "netting", *, now_us: Callable[[], int] | None = None, **terms: Any) -> Account:
    """Return an account in a journal in memory, open."""
    account = Ledger.open("memory://", now_us=now_us or ticking()).account("Broker-Live", 70113)
    known: dict[str, Any] = {"currency": "USD", "mode": mode, "clock": "UTC", "time_msc": START_MSC}
    account.open(**(known | terms))
    return account


class Story:
    """An account and what was recorded about it, step by step."""

    def __init__(self, mode: str = "netting", **terms: Any) -> None:
        self.account = opened(mode, **terms)
        self.outcomes: list[Outcome] = []
        self.recorded: list[Event] = []
        self._nets = mode != "hedging"
        self._held: dict[int | str, Decimal] = {}
        self._ids: dict[str, int] = {}
        self._seconds = count(1)
        self._deals = count(1001)

    def record(self, steps: str | Event) -> Story:
        """Record the steps of a story, or one event."""
        for event in self.events(steps) if isinstance(steps, str) else (steps,):
            self.recorded.append(event)
            self.outcomes.append(self.account.record(event))
        return self

    def events(self, steps: str) -> Iterator[Event]:
        """Yield the events of some steps."""
        for step in steps.split(","):
            yield self._event(step.split())

    @property
    def portfolio(self) -> Portfolio:
        return self.account.portfolio

    @property
    def left(self) -> str:
        """What the story leaves behind, in the words of ``left_behind``."""
        return left_behind(self.portfolio, named=not self._nets)

    @property
    def balance(self) -> str:
        return plain(self.portfolio.balance)

    @property
    def trades(self) -> list[str]:
        """Trades in words: ``long 1 @ 10 to 12, profit 2``; with a ``?`` where the result is not known."""
        return [_trade_words(trade) for trade in self.account.trades()]

    def _event(self, words: list[str]) -> Event:
        time_msc = at(words.pop(0)[1:]) if words[0][0] == "t" and words[0][1].isdigit() else at(next(self._seconds))
        deal = int(words.pop(0)[1:]) if words[0][0] == "d" and words[0][1:].isdigit() else next(self._deals)
        position_id = int(words.pop(0)[1:]) if words[0][0] == "#" else None
        if " ".join(words[:-1]) in _CASH_CODES:
            return CashMoved(deal=deal, type=_CASH_CODES[" ".join(words[:-1])], profit=words[-1], time_msc=time_msc)
        if words[0] in ("ghost", "recover", "drift", "reticket"):
            return self._correction(words[0], words[1:], time_msc)
        return self._fill(deal, position_id, words, time_msc)

    def _fill(self, deal: int, position_id: int | None, words: list[str], time_msc: int) -> FillRecorded:
        entry = " ".join(words[:2]) if words[:2] == ["out", "by"] else words[0]
        stated_entry = ENTRY_WORDS.get(entry)
        words = words[len(entry.split()) :] if stated_entry is not None else words
        side, volume = _SIDES[words[0]], Decimal(words[1])
        symbol = SYMBOL if words[2] == "@" else words[2]
        price, *rest = words[words.index("@") + 1 :]
        amounts: dict[str, Any] = dict.fromkeys(_MONEY) if "incomplete" in rest else dict.fromkeys(_MONEY, 0)
        rest = [word for word in rest if word != "incomplete"]
        amounts |= dict(zip(rest[::2], rest[1::2], strict=True))
        key = symbol if self._nets else position_id or deal
        held = self._held.get(key, Decimal(0))
        signed = volume if side is Side.BUY else -volume
        if stated_entry is None:
            stated_entry = self._entry(held, signed)
        if position_id is None:
            position_id = self._ids.get(symbol, deal) if self._nets and held else deal
        self._ids[symbol] = position_id
        self._held[key] = held + signed
        return FillRecorded(
            deal=deal, position_id=position_id, symbol=symbol, side=side, entry=stated_entry, volume=volume, price=price,
            time_msc=time_msc, **amounts,
        )  # fmt: skip

    def _entry(self, held: Decimal, signed: Decimal) -> Entry:
        """Return the entry that the trade server would write."""
        if held * signed >= 0:
            return Entry.IN
        return Entry.OUT if abs(signed) <= abs(held) or not self._nets else Entry.IN_OUT

    def _correction(self, word: str, words: list[str], time_msc: int) -> Event:
        position_id = int(words[0].removeprefix("#"))
        if word == "reticket":
            return PositionReticketed(
                position_id=position_id, symbol=SYMBOL, ticket_before=position_id, ticket_after=int(words[1]),
                time_msc=time_msc,
            )  # fmt: skip
        if word == "recover":
            return PositionRecovered(position=state(" ".join(words[1:]), position_id), time_msc=time_msc)
        before = shown(self.portfolio, position_id)
        if word == "ghost":
            return GhostClosed(before=before, time_msc=time_msc)
        return DriftCorrected(before=before, after=state(" ".join(words[1:]), position_id), time_msc=time_msc)


def shown(portfolio: Portfolio, position_id: int) -> PositionState:
    """Return a position of ours as a correction quotes it."""
    position = portfolio.positions[position_id]
    return PositionState(
        position_id=position_id, symbol=position.symbol, side=position.side, volume=position.volume,
        price_open=position.price_open, ticket=position.ticket, opened_msc=position.opened_msc,
    )  # fmt: skip


def left_behind(portfolio: Portfolio, *, named: bool = False) -> str:
    """Return open positions and what is unexplained in words: ``#7 long 1 @ 10; ghost result 2``."""
    positions = ", ".join(
        f"{f'#{one.position_id} ' if named else ''}{'' if one.symbol == SYMBOL else f'{one.symbol} '}"
        f"{_WORD_OF_SIDE[one.side]} {plain(one.volume)} @ {plain(one.price_open)}"
        for one in portfolio.positions.values()
    )
    unexplained = [f"{one.kind} {plain(one.volume)}" for one in portfolio.unexplained]
    return "; ".join([positions or "flat", *unexplained])


def play(steps: str, mode: str = "netting") -> str:
    """Record a story in a new account and return what it leaves behind."""
    return Story(mode).record(steps).left


def incomplete(deal: FillRecorded) -> FillRecorded:
    """Return a fill as an engine records it at first: without its money."""
    return evolve(deal, commission=None, fee=None, swap=None, profit=None)


def _trade_words(trade: Any) -> str:
    price_open = "?" if trade.price_open is None else plain(trade.price_open)
    price_close = "?" if trade.price_close is None else plain(trade.price_close)
    result = plain(trade.commission + trade.fee + trade.swap + trade.profit)
    words = f"{_WORD_OF_SIDE[trade.side]} {plain(trade.volume)} @ {price_open} to {price_close}, {result}"
    return words if trade.complete else f"{words}?"
