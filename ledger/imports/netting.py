"""This module is positions of netting and exchange accounts: one per symbol, named after the order that opened it.

A life begins when the symbol is flat and ends when it is flat again; a reversal (``in/out``) goes on with the same
identifier. Deals replay it in time order, once it is known where the file comes in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable
from decimal import Decimal
from heapq import heappop, heappush

from attrs import define, field, frozen

from ledger.imports.notes import Note
from ledger.imports.statement import DealRow, OpenRow, Statement
from ledger.values import Entry, Side

_FLAT = Decimal(0)


def attribute_netting(statement: Statement) -> tuple[list[int | None], list[Note]]:
    """Return a position id for every deal in file order, None where it is not determined, and why."""
    position_ids: list[int | None] = [None] * len(statement.deals)
    notes: list[Note] = []
    named: defaultdict[str, list[_Named]] = defaultdict(list)
    for row in statement.closed or ():
        closed_msc = row.closed_msc if row.volume_opened is None else None
        named[row.symbol].append(_Named(row.position_id, row.opened_msc, closed_msc))
    open_rows: defaultdict[str, list[OpenRow]] = defaultdict(list)
    for still in statement.open or ():
        open_rows[still.symbol].append(still)
    for symbol, indices in _by_symbol(statement.deals).items():
        replay = _replay(statement, named[symbol], open_rows[symbol], symbol)
        for index in indices:
            position_ids[index] = replay.position_of(statement.deals[index])
        notes += replay.notes
    found = set(position_ids)
    notes += [
        Note("closed positions", f"closed position {row.position_id} (row {row.row})", "no deal of the file belongs to it")
        for row in statement.closed or ()
        if row.position_id not in found
    ]
    return position_ids, notes


def _by_symbol(deals: tuple[DealRow, ...]) -> dict[str, list[int]]:
    """Return symbol -> indices of its trades, by time; deals of one second stay in file order."""
    trades: defaultdict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(deals)), key=lambda index: deals[index].time_msc):
        deal = deals[index]
        if deal.side is not None and deal.symbol is not None:
            trades[deal.symbol].append(index)
    return trades


@frozen
class _Named:
    """A life that a row of the positions tables names. ``closed_msc`` is None while it is open."""

    position_id: int
    opened_msc: int
    closed_msc: int | None


class _Trades:
    """The trades that rows name, asked for moments that never go back. A reversed position has several rows with one id."""

    def __init__(self, named: Iterable[_Named]) -> None:
        trades = sorted(named, key=lambda trade: trade.opened_msc)
        self._ends = sorted(trade.closed_msc for trade in trades if trade.closed_msc is not None)
        self._at = _Sweep((trade.opened_msc, trade.closed_msc, trade.position_id) for trade in trades)
        # Strictly between: a millisecond later, and a millisecond earlier.
        closed = [trade for trade in trades if trade.closed_msc is not None]
        self._around = _Sweep((one.opened_msc + 1, (one.closed_msc or 0) - 1, one.position_id) for one in closed)

    def at(self, time_msc: int) -> Collection[int]:
        """Return the ids of the trades that a moment is in, their first and last included."""
        return self._at.at(time_msc)

    def around(self, time_msc: int) -> Collection[int]:
        """Return the ids of the closed trades that begin before and end after a moment."""
        return self._around.at(time_msc)

    def ends_within(self, first_msc: int, until_msc: int) -> bool:
        """Whether a life ends from one moment on, and before another."""
        after = bisect_left(self._ends, first_msc)
        return after < len(self._ends) and self._ends[after] < until_msc


class _Sweep:
    """Spans of time with a name each, the earliest first; which are there at moments that never go back."""

    def __init__(self, spans: Iterable[tuple[int, int | None, int]]) -> None:
        self._spans = deque(spans)
        self._ends: list[tuple[int, int]] = []
        self._there: Counter[int] = Counter()

    def at(self, time_msc: int) -> Collection[int]:
        """Return the names of the spans that a moment is in."""
        while self._spans and self._spans[0][0] <= time_msc:
            _, end, name = self._spans.popleft()
            self._there[name] += 1
            if end is not None:
                heappush(self._ends, (end, name))
        while self._ends and self._ends[0][0] < time_msc:
            _, name = heappop(self._ends)
            self._there[name] -= 1
            if not self._there[name]:
                del self._there[name]
        return self._there.keys()


def _replay(statement: Statement, named: list[_Named], open_rows: list[OpenRow], symbol: str) -> _Replay:
    """Return a replay at the point where the file comes in."""
    # An open position shows its ticket. That is its identifier only if no reversal has given it another one, so it may
    # name which order began a trade, but not which trade goes on.
    beginnings = {(row.ticket, row.opened_msc) for row in open_rows}
    beginnings.update((trade.position_id, trade.opened_msc) for trade in named)
    replay = _Replay(symbol=symbol, trades=_Trades(named), beginnings=beginnings)
    if statement.starts_at_opening:
        replay.signed = _FLAT
    return replay


def _signed(side: Side | None, volume: Decimal) -> Decimal:
    return volume if side is Side.BUY else -volume


@define
class _Replay:
    """The position of one symbol. ``signed`` is its volume (buy positive), None while that is not known."""

    symbol: str
    trades: _Trades
    beginnings: set[tuple[int, int]]
    position_id: int | None = None
    signed: Decimal | None = None
    before: DealRow | None = None
    notes: list[Note] = field(factory=list)

    def position_of(self, deal: DealRow) -> int | None:
        """Return the position of the next deal."""
        if self.signed is None and self._is_flat_by_now(deal):
            self.signed = _FLAT
        self.before = deal
        volume = _signed(deal.side, deal.volume or _FLAT)
        if self.signed is None or not _fits(deal.entry, self.signed, volume) or self._is_flat_by_mistake(deal):
            return self._position_from_rows(deal)
        if not self.signed:
            self.position_id = deal.order
        self.signed += volume
        return self.position_id

    def _is_flat_by_now(self, deal: DealRow) -> bool:
        """Whether a row proves the symbol flat just before a deal: a life begins with it, or the last one is over."""
        if deal.entry is Entry.IN and (deal.order, deal.time_msc) in self.beginnings:
            return True
        if self.before is not None and self.before.entry is Entry.IN_OUT:
            return False
        before_msc = -1 if self.before is None else self.before.time_msc
        return self.trades.ends_within(before_msc, deal.time_msc) and not self.trades.at(deal.time_msc)

    def _is_flat_by_mistake(self, deal: DealRow) -> bool:
        """Whether a row shows that another trade went on where the deals seem to begin one."""
        return not self.signed and any(position_id != deal.order for position_id in self.trades.around(deal.time_msc))

    def _position_from_rows(self, deal: DealRow) -> int | None:
        """Take the one life that a row names for this moment: there is one position per symbol."""
        trades = self.trades.at(deal.time_msc)
        if self.signed is not None:
            self._note(deal, f"it does not fit what the file shows of {self.symbol} before it")
            self.signed = None
        if len(trades) == 1:
            return next(iter(trades))
        self._note(deal, f"its position in {self.symbol} began before this file; left unattributed")
        return None

    def _note(self, deal: DealRow, cause: str) -> None:
        self.notes.append(Note("deals", f"deal {deal.deal} (row {deal.row})", cause))


def _fits(entry: Entry | int | None, signed: Decimal, volume: Decimal) -> bool:
    """Whether a deal is possible: ``in`` adds, ``out`` takes away at most all, ``in/out`` takes more than all."""
    if entry is Entry.IN:
        return signed * volume >= 0
    if signed * volume >= 0:
        return False
    return abs(volume) <= abs(signed) if entry is Entry.OUT else entry is Entry.IN_OUT and abs(volume) > abs(signed)
