"""Histories of postings that look for the edges of the fold: for whoever compares two ways of folding them.

Each is made of a seed: an account that hedges or nets, a few ids and symbols that meet again and again, one of them renamed to
others with the same or other scales, and now and then numbers near and beyond what 64 and 128 bits hold, negative prices,
volumes of nothing, unknown money, unknown entries, closes beyond what is open, reversals, late and early times. Between fills
there are cash movements and events that open, correct and close positions. Of every ten histories one is crowded: hundreds of
positions are open, with ids that are near each other, far apart or at equal distances, and are closed in any order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

from ledger import (
    AccountOpened,
    Adjusted,
    DriftCorrected,
    Event,
    GhostClosed,
    MarginMode,
    PositionRecovered,
    PositionReticketed,
    PositionState,
    SymbolSpecified,
)
from ledger.portfolio import Portfolio, QuickRows
from ledger.postings import NO_DEAL, Posting, Row
from ledger.segments.native import NativeSlice
from ledger.segments.packed import Packed
from ledger.terms import AccountTerms

_START_MSC: Final = 1_700_000_000_000
_INT64: Final = 2**63 - 1
#: EURUSD has other scales than GBPUSD, USDJPY cannot follow either exactly; the rest have the usual ones.
_SCALES: Final = {"GBPUSD": (5, 2), "USDJPY": (3, 4)}
_SYMBOLS: Final = ("EURUSD", "EURUSD.r", "GBPUSD", "USDJPY")
#: One history of so many is crowded.
_CROWDED: Final = 10
#: How far apart the ids of a crowded history are.
_STRIDES: Final = (1, 64, 2**32, 2**40, 0x4F1BBCDCBFA53E0A)
_EVENTS: Final = ("recovered", "drifted", "ghost", "reticketed", "adjusted")


class History(NamedTuple):
    """Postings of one account, in the order they are folded, with the events that some of them are of."""

    terms: AccountTerms
    rows: list[Row]
    events: list[Event]

    def decode(self, row: Row) -> Event:
        """Return the event of a posting."""
        return self.events[int(Posting._make(row).data or 0)]


def make_history(seed: int) -> History:
    """Return the history of a seed: two in three are mostly what every day brings, the rest is anything."""
    dice = random.Random(seed)  # noqa: S311  # it has to be repeatable, not secret
    events: list[Event] = []
    wild = dice.random() < 1 / 3
    if seed % _CROWDED:
        rows = list(_rows(dice, events, count=dice.randrange(1, 90), wild=wild))
    else:
        rows = list(_crowd(dice, events, count=dice.randrange(300, 1000)))
    return History(_terms(nets=dice.random() < 0.5), rows, events)


def _terms(*, nets: bool) -> AccountTerms:
    mode = MarginMode.NETTING if nets else MarginMode.HEDGING
    opened = AccountOpened(server="Hostile", login=1, currency="USD", currency_digits=2, mode=mode, clock="UTC", time_msc=0)
    specified = {
        name: SymbolSpecified(symbol=name, time_msc=0, price_scale=price, volume_scale=volume)
        for name, (price, volume) in _SCALES.items()
    }
    return AccountTerms(opened=opened, clock=opened.clock, symbols=specified)


def _rows(dice: random.Random, events: list[Event], *, count: int, wild: bool) -> Iterator[Row]:
    time_msc = _START_MSC
    opened: dict[int, tuple[str, int]] = {}  # so that most fills fit what was there
    for number in range(count):
        time_msc += dice.choice((0, 1, 700, 5000, -3000 if wild else 0))
        chance = dice.random()
        if chance < 0.05:
            yield _cash(dice, time_msc, number)
        elif chance < 0.12:
            yield _event(dice, events, time_msc, number)
        else:
            yield _fill(dice, opened, time_msc, number, wild=wild)


def _crowd(dice: random.Random, events: list[Event], *, count: int) -> Iterator[Row]:
    """Yield the fills of many positions: of some many more are opened than closed, then as many."""
    most, stride = dice.choice((40, 200, 600)), dice.choice(_STRIDES)
    opened: dict[int, tuple[str, int, int]] = {}  # id -> symbol, side, volume
    for number in range(count):
        time_msc = _START_MSC + 1000 * number
        if dice.random() < 0.02:
            yield _event(dice, events, time_msc, number)
            continue
        is_new = len(opened) < most and dice.random() < 0.7
        if is_new or not opened:
            position_id = (number + 6) * stride % _INT64  # events concern the ids before
            symbol, side, volume = f"{dice.choice(_SYMBOLS)}{number}", dice.randrange(2), dice.randrange(1, 6)
            opened[position_id], entry = (symbol, side, volume), 0
        else:
            position_id = dice.choice(list(opened))
            symbol, side, volume = opened.pop(position_id)
            left = dice.randrange(volume)
            if left:
                opened[position_id] = symbol, side, left
            entry, side, volume = 1, 1 - side, volume - left
        yield Posting(
            time_msc, 1000 + number, number + 1, "FillRecorded", side, entry, position_id, None, symbol, volume,
            _price(dice, 0), _money(dice, 0), _money(dice, 0), _money(dice, 0), _money(dice, 0), 7, None, 1,
        )  # fmt: skip


def _fill(dice: random.Random, opened: dict[int, tuple[str, int]], time_msc: int, number: int, *, wild: bool) -> Row:
    odd = 0.12 if wild else 0.01
    position_id: int | None = dice.randrange(0 if wild else 1, 6)
    symbol, side = opened.setdefault(position_id or 0, (dice.choice(_SYMBOLS), dice.randrange(2)))
    entry: int | None = dice.choice((0, 0, 1, 1, 3))
    if entry:
        side = 1 - side
    if dice.random() < odd:
        entry, side = dice.choice((0, 1, 2, 3, None)), dice.randrange(2)
    if dice.random() < odd:
        symbol = dice.choice(_SYMBOLS)
    if dice.random() < odd:
        position_id = dice.choice((None, _INT64, -_INT64 - 1, 2**64 + 1))
    if dice.random() < 0.1:
        opened.clear()
    return Posting(
        time_msc, 1000 + number, number + 1, "FillRecorded", side, entry, position_id, dice.choice((None, 500 + number)),
        symbol, _volume(dice, odd), _price(dice, odd), _money(dice, odd), _money(dice, odd), _money(dice, odd),
        _money(dice, odd), dice.choice((None, 7, -_INT64)), None, 1,
    )  # fmt: skip


def _volume(dice: random.Random, odd: float) -> int:
    if dice.random() < odd:
        return dice.choice((0, 0, _INT64, _INT64 - 1, 2**62, 2**70, dice.randrange(2**40)))
    return dice.randrange(1, 6)


def _price(dice: random.Random, odd: float) -> int:
    if dice.random() < odd:
        return dice.choice((0, -7, _INT64, -_INT64, 2**80, dice.randrange(-(2**62), 2**62)))
    return dice.randrange(108_000_000, 109_000_000)


def _money(dice: random.Random, odd: float) -> int | None:
    if dice.random() < odd:
        return dice.choice((None, None, _INT64, -_INT64, -_INT64 - 1, 2**62, 2**90))
    return dice.randrange(-500, 500)


def _cash(dice: random.Random, time_msc: int, number: int) -> Row:
    return Posting(
        time_msc, 1000 + number, number + 1, "CashMoved", dice.choice((2, 3, 4)), None, None, None, None, None, None,
        None, None, None, dice.randrange(-1000, 1000), None, None, 1,
    )  # fmt: skip


def _event(dice: random.Random, events: list[Event], time_msc: int, number: int) -> Row:
    event = _some_event(dice, time_msc)
    events.append(event)
    return Posting(
        time_msc, NO_DEAL, number + 1, type(event).__name__, None, None, None, None, None, None, None, None, None, None, None,
        None, str(len(events) - 1), 1,
    )  # fmt: skip


def _some_event(dice: random.Random, time_msc: int) -> Event:
    before, after = _state(dice), _state(dice)
    what = dice.choice(_EVENTS)
    if what == "recovered":
        return PositionRecovered(position=after, time_msc=time_msc)
    if what == "drifted":
        return DriftCorrected(before=before, after=after, time_msc=time_msc)
    if what == "ghost":
        return GhostClosed(before=before, time_msc=time_msc)
    if what == "reticketed":
        return PositionReticketed(
            position_id=before.position_id, symbol=before.symbol, ticket_before=1, ticket_after=dice.randrange(1, 99),
            time_msc=time_msc,
        )  # fmt: skip
    return Adjusted(operator="somebody", reason="a trial", time_msc=time_msc, before=before, after=after)


def _state(dice: random.Random) -> PositionState:
    return PositionState(
        position_id=dice.randrange(1, 6), symbol=dice.choice(_SYMBOLS), side=dice.choice(("buy", "sell")),
        volume=dice.choice(("0.01", "0.02", "3")), price_open="1.25", ticket=dice.choice((None, 12)),
        magic=dice.choice((None, 3)), comment=dice.choice((None, "from the terminal")),
    )  # fmt: skip


class Outcome(NamedTuple):
    """What a history came to: the state, every trade as it left, and what it failed with instead."""

    state: dict[str, Any] | None
    trades: list[list[Any]]
    failure: str | None


def folded(
    history: History, parts: Iterable[Iterable[Row] | QuickRows], *, restores_at: int = -1, asks: bool = True
) -> Outcome:
    """Fold parts of a history one after the other.

    Args:
        history: Whose terms and events apply.
        parts: What is folded, some at a time.
        restores_at: Behind so many parts the fold goes on from its saved state.
        asks: Whether trades are asked for.
    """
    portfolio = Portfolio(history.terms)
    trades: list[list[Any]] = []
    sink = (lambda position: trades.append(position.fields()),) if asks else ()
    try:
        for number, part in enumerate(parts):
            if number == restores_at:
                portfolio = Portfolio.from_state(history.terms, json.loads(json.dumps(portfolio.state()))).copy()
            portfolio.fold(part, history.decode, *sink)
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as exc:
        return Outcome(None, trades, type(exc).__name__)
    return Outcome(portfolio.state(), trades, None)


def compare(seed: int) -> Outcome:
    """Fold the history of a seed in Python and by the native loop, in several ways; return what it comes to.

    Raises:
        AssertionError: They come to something else.
    """
    history, dice = make_history(seed), random.Random(-1 - seed)  # noqa: S311
    rows = history.rows
    expected = folded(history, [rows])
    packed = Packed.from_buffer(Packed.pack(rows).to_bytes())
    whole = NativeSlice(packed)
    cuts = sorted({0, len(rows), *(dice.randrange(len(rows) + 1) for _ in range(dice.choice((0, 2, 8))))})
    spans = list(pairwise(cuts))
    cut = [rows[begin:end] if dice.random() < 0.2 else NativeSlice(packed, begin, end) for begin, end in spans]
    restores_at = dice.randrange(2 * len(cut))
    ways = {
        "at once": (folded(history, [whole]), expected),
        "without trades": (folded(history, [whole], asks=False)._replace(trades=expected.trades), expected),
        "cut": (
            folded(history, cut, restores_at=restores_at),
            folded(history, [rows[begin:end] for begin, end in spans], restores_at=restores_at),
        ),
    }
    for way, (found, wanted) in ways.items():
        assert found == wanted, f"history {seed}, {way}:\nexpected {wanted}\nfound    {found}"
    return expected
