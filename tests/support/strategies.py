"""What may happen to an account, for Hypothesis: deals, cash, whole histories and how they are recorded. Valid by construction.

A history comes out of a small trade server that books as MT5 does, so it also states what the broker holds at the end of it
and at any moment in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from attrs import evolve
from hypothesis import strategies as st

from ledger import CashMoved, DealCompleted, DealRevised, Entry, Event, FillRecorded, Origin, PositionState, Side
from ledger.events import Deal
from tools.testkit.stories import START_MSC

Draw = Callable[[st.SearchStrategy[Any]], Any]

SYMBOLS = ("EURUSD", "USDJPY", "BTCUSD")
MONEY = ("commission", "fee", "swap", "profit")

# -------------------------------------------------------------------------------------------------------------- numbers

lots = st.integers(1, 500).map(lambda units: Decimal(units) / 100)
prices = st.integers(1, 2_000_000).map(lambda units: Decimal(units) / 100_000)
amounts = st.integers(-100_000, 100_000).map(lambda units: Decimal(units) / 100)
charges = st.sampled_from([Decimal(0), Decimal("-0.35"), Decimal("-3.5"), Decimal("0.01")])
#: What time does between two deals, in milliseconds: often nothing, sometimes less than a second.
pauses = st.sampled_from([0, 0, 1, 250, 999, 1000, 1001, 60_000, 7_200_000])
#: The same where every deal has its own second.
seconds = st.sampled_from([1000, 1001, 60_000, 7_200_000])
sides = st.sampled_from(Side)
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
tickets = st.integers(1, 2**63 - 2)
codes = st.integers(0, 2**31 - 1)
magics = st.none() | st.integers(-(2**63), 2**63 - 1)


def scaled_decimals(scale: int, low: int = -(2**63) + 1, high: int = 2**63 - 1) -> st.SearchStrategy[Decimal]:
    """Return decimals that fit 64 bits with a scale."""
    return st.integers(low, high).map(lambda units: Decimal(units).scaleb(-scale, None) if abs(units) < 10**27 else Decimal(0))


# --------------------------------------------------------------------------------------------------- single facts, any


def _recorded(**fields: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return {
        "deal": tickets, "time_msc": st.integers(0, 253_370_764_800_000), "order": st.none() | tickets,
        "position_id": st.none() | tickets, "magic": magics, "reason": st.none() | codes, "comment": texts,
        "external_id": texts, "origin": st.sampled_from(Origin), **fields,
    }  # fmt: skip


_money = st.none() | scaled_decimals(6)
#: Fills of any content at all.
deals = st.builds(
    FillRecorded,
    **_recorded(
        symbol=st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=12),
        side=sides, entry=st.sampled_from(Entry) | st.integers(4, 2**63 - 1), volume=scaled_decimals(8, 1),
        price=scaled_decimals(8), commission=_money, fee=_money, swap=_money, profit=_money,
    ),
)  # fmt: skip
#: Cash movements of any content at all: cancelled deals and types that nobody documented too.
cash_movements = st.builds(
    CashMoved,
    **_recorded(
        type=st.integers(2, 17) | st.integers(18, 2**31 - 1), word=texts, symbol=st.none() | st.just("EURUSD"),
        entry=st.none() | st.sampled_from(Entry) | st.integers(4, 99), volume=st.none() | scaled_decimals(8, 0),
        price=st.none() | scaled_decimals(8), profit=scaled_decimals(6), commission=_money, fee=_money, swap=_money,
    ),
)  # fmt: skip
completions = st.builds(
    DealCompleted, deal=tickets, time_msc=st.integers(0, 253_370_764_800_000), caused_by=st.integers(1, 10**9),
    position_id=st.none() | tickets, magic=magics, commission=_money, fee=_money, swap=_money, profit=_money,
    origin=st.sampled_from(Origin),
)  # fmt: skip
revisions = st.builds(DealRevised, now=deals | cash_movements, caused_by=st.integers(1, 10**9))


# ------------------------------------------------------------------------------------------------------ a trade server


@dataclass
class Held:
    """A position at the broker."""

    position_id: int
    symbol: str
    side: Side
    volume: Decimal
    price: Fraction
    opened_msc: int


@dataclass
class History:
    """What happened, in the order it happened, and what the broker holds after each deal."""

    nets: bool
    deals: list[Deal] = field(default_factory=list)
    held: dict[int, Held] = field(default_factory=dict)
    shown_after: list[tuple[PositionState, ...]] = field(default_factory=list)

    @property
    def mode(self) -> str:
        return "netting" if self.nets else "hedging"

    @property
    def fills(self) -> list[FillRecorded]:
        return [deal for deal in self.deals if isinstance(deal, FillRecorded)]


class Server:
    """A trade server that books what the drawn actions ask for."""

    def __init__(self, draw: Draw, *, nets: bool, waits: st.SearchStrategy[int]) -> None:
        self.draw = draw
        self.waits = waits
        self.history = History(nets)
        self.now_msc = START_MSC
        self.ticket = 1000
        self.closed_ids: list[tuple[int, str, Side]] = []

    def act(self) -> None:
        """Let one thing happen."""
        self.now_msc += self.draw(self.waits)
        actions = [self.open, self.cash]
        if self.history.held:
            actions += [self.add, self.reduce, self.close]
            if self.history.nets:
                actions.append(self.reverse)
            if self._pair() is not None:
                actions.append(self.close_by)
        if self.closed_ids and not self.history.nets:
            actions.append(self.reopen)
        self.draw(st.sampled_from(actions))()

    def open(self) -> None:
        free = [symbol for symbol in SYMBOLS if not self.history.nets or all(one.symbol != symbol for one in self._all())]
        if free:
            symbol = self.draw(st.sampled_from(free))
            self._open(self._next(), symbol, self.draw(sides))
        else:
            self.cash()

    def reopen(self) -> None:
        """Let the rest of an order fill after its position was closed: the same id is used again."""
        self._open(*self.closed_ids.pop())

    def _open(self, position_id: int, symbol: str, side: Side) -> None:
        volume, price = self.draw(lots), self.draw(prices)
        self.history.held[position_id] = Held(position_id, symbol, side, volume, Fraction(price), self.now_msc)
        self._book(position_id, symbol, side, Entry.IN, volume, price)

    def add(self) -> None:
        held, volume, price = self._some(), self.draw(lots), self.draw(prices)
        total = Fraction(held.volume + volume)
        held.price = (held.price * Fraction(held.volume) + Fraction(price) * Fraction(volume)) / total
        held.volume += volume
        self._book(held.position_id, held.symbol, held.side, Entry.IN, volume, price)

    def reduce(self) -> None:
        held = self._some()
        units = int(held.volume * 100)
        self._reduce(held, Decimal(self.draw(st.integers(1, max(1, units - 1)))) / 100, Entry.OUT)

    def close(self) -> None:
        held = self._some()
        self._reduce(held, held.volume, Entry.OUT)

    def close_by(self) -> None:
        pair = self._pair()
        assert pair is not None
        volume = min(one.volume for one in pair)
        result = self.draw(amounts)
        for held in pair:
            self._reduce(held, volume, Entry.OUT_BY, profit=result)
            result = Decimal(0)  # the whole result is booked on one leg

    def reverse(self) -> None:
        held, price = self._some(), self.draw(prices)
        rest = self.draw(lots)
        volume, side = held.volume + rest, held.side.opposite
        held.side, held.volume, held.price, held.opened_msc = side, rest, Fraction(price), self.now_msc
        self._book(held.position_id, held.symbol, side, Entry.IN_OUT, volume, price, profit=self.draw(amounts))

    def cash(self) -> None:
        kind = self.draw(st.sampled_from([2, 2, 3, 4, 5, 7, 12, 15, 17, 99]))
        self._add(CashMoved(deal=self._next(), type=kind, profit=self.draw(amounts), time_msc=self.now_msc))

    def _reduce(self, held: Held, volume: Decimal, entry: Entry, profit: Decimal | None = None) -> None:
        held.volume -= volume
        if not held.volume:
            del self.history.held[held.position_id]
            self.closed_ids.append((held.position_id, held.symbol, held.side))
        booked = self.draw(amounts) if profit is None else profit
        self._book(held.position_id, held.symbol, held.side.opposite, entry, volume, self.draw(prices), profit=booked)

    def _book(
        self, position_id: int, symbol: str, side: Side, entry: Entry, volume: Decimal, price: Decimal,
        profit: Decimal = Decimal(0),
    ) -> None:  # fmt: skip
        money = {"commission": self.draw(charges), "fee": Decimal(0), "swap": self.draw(charges), "profit": profit}
        self._add(
            FillRecorded(
                deal=self._next(),
                symbol=symbol,
                side=side,
                entry=entry,
                volume=volume,
                price=price,
                time_msc=self.now_msc,
                position_id=position_id,
                order=position_id,
                magic=7,
                **money,
            )
        )

    def _add(self, deal: Deal) -> None:
        self.history.deals.append(deal)
        self.history.shown_after.append(tuple(shown(one) for one in self._all()))

    def _all(self) -> list[Held]:
        return list(self.history.held.values())

    def _some(self) -> Held:
        found: Held = self.draw(st.sampled_from(self._all()))
        return found

    def _pair(self) -> tuple[Held, Held] | None:
        if self.history.nets:
            return None
        for one in self._all():
            for other in self._all():
                if one.symbol == other.symbol and (one.side, other.side) == (Side.BUY, Side.SELL):
                    return one, other
        return None

    def _next(self) -> int:
        self.ticket += 1
        return self.ticket


def shown(held: Held) -> PositionState:
    """Return a position as a snapshot shows it: the open price rounded."""
    price = Decimal(round(held.price * 10**8)) / 10**8
    return PositionState(
        position_id=held.position_id, symbol=held.symbol, side=held.side, volume=held.volume, price_open=price,
        ticket=held.position_id, opened_msc=held.opened_msc, magic=7,
    )  # fmt: skip


@st.composite
def histories(draw: st.DrawFn, *, nets: bool | None = None, steps: int = 14, waits: st.SearchStrategy[int] = pauses) -> History:
    """Return whole histories: partial closes, close by, reversals, re-opened ids, deals of one second."""
    server = Server(draw, nets=draw(st.booleans()) if nets is None else nets, waits=waits)
    for _ in range(draw(st.integers(1, steps))):
        server.act()
    return server.history


# ----------------------------------------------------------------------------------------------- how it may be recorded


def poorer(deal: Deal, unknown: set[str]) -> Deal:
    """Return a deal as a source reports it that does not know some fields."""
    if isinstance(deal, CashMoved):
        return deal
    less: dict[str, Any] = dict.fromkeys(unknown)
    return evolve(deal, **less)


@st.composite
def records(draw: st.DrawFn, history: History) -> list[Event]:
    """Return a history as it may be recorded: out of order, several times, first poorly and then in full."""
    recorded: list[Event] = []
    for deal in history.deals:
        unknown = draw(st.sets(st.sampled_from(MONEY), max_size=4))
        recorded.append(poorer(deal, unknown))
        recorded.append(deal)
        if draw(st.integers(0, 3)) == 0:
            recorded.append(deal)
    shuffled: list[Event] = draw(st.permutations(recorded))
    return shuffled


@st.composite
def revised_histories(draw: st.DrawFn, /, **terms: Any) -> tuple[History, list[Event]]:
    """Return histories with later revisions of some of their deals, at most one each, and everything that is recorded."""
    history = draw(histories(**terms))
    recorded: list[Event] = list(draw(st.permutations(history.deals)))
    again = draw(st.lists(st.sampled_from(history.deals), max_size=4, unique_by=lambda one: one.deal))
    recorded.extend(DealRevised(now=draw(_revised(deal)), caused_by=1) for deal in again)
    return history, recorded


@st.composite
def _revised(draw: st.DrawFn, deal: Deal) -> Deal:
    moved_msc = draw(st.sampled_from([0, 0, -5000, 5000, 3_600_000]))
    time_msc = deal.time_msc + moved_msc
    if isinstance(deal, CashMoved):
        return evolve(deal, profit=draw(amounts), time_msc=time_msc)
    if draw(st.integers(0, 3)) == 0:
        return CashMoved(deal=deal.deal, type=13 + deal.side.code, profit=0, time_msc=time_msc, symbol=deal.symbol)
    return evolve(deal, volume=draw(lots), price=draw(prices), profit=draw(amounts), time_msc=time_msc)


def in_batches(draw: Draw, events: Sequence[Event]) -> list[list[Event]]:
    """Cut events into batches."""
    batches: list[list[Event]] = []
    while events:
        size = draw(st.integers(1, len(events)))
        batches.append(list(events[:size]))
        events = events[size:]
    return batches
