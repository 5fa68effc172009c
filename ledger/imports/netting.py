"""This module is positions of netting and exchange accounts: one per symbol, named after the order that opened it.

A life begins when the symbol is flat and ends when it is flat again; a reversal (``in/out``) goes on with the same
identifier. Deals replay it in time order, once it is known where the file comes in.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from attrs import define, field, frozen

from ledger.imports.statement import DealRow, Statement
from ledger.values import Entry, Side

_FLAT = Decimal(0)


def attribute_netting(statement: Statement) -> tuple[list[int | None], list[str]]:
    """Return a position id for every deal in file order, None where it cannot be told, and why."""
    position_ids: list[int | None] = [None] * len(statement.deals)
    notes: list[str] = []
    for symbol, indices in _by_symbol(statement.deals).items():
        replay = _replay(statement, symbol)
        for index in indices:
            position_ids[index] = replay.tell(statement.deals[index])
        notes += replay.notes
    told = set(position_ids)
    notes += [
        f"closed position {row.position_id} (row {row.row}): no deal of the file belongs to it"
        for row in statement.closed or ()
        if row.position_id not in told
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


def _replay(statement: Statement, symbol: str) -> _Replay:
    """Return a replay at the point where the file comes in."""
    named = [
        _Named(row.position_id, row.opened_msc, row.closed_msc if row.volume_opened is None else None)
        for row in statement.closed or ()
        if row.symbol == symbol
    ]
    # An open position shows its ticket. That is its identifier only if no reversal has given it another one, so it may
    # tell which order began a life, but not which life goes on.
    beginnings = {(row.ticket, row.opened_msc) for row in statement.open or () if row.symbol == symbol}
    beginnings.update((life.position_id, life.opened_msc) for life in named)
    replay = _Replay(symbol=symbol, named=named, beginnings=beginnings)
    if statement.is_from_birth:
        replay.signed = _FLAT
    return replay


def _signed(side: Side | None, volume: Decimal) -> Decimal:
    return volume if side is Side.BUY else -volume


@define
class _Replay:
    """The position of one symbol. ``signed`` is its volume (buy positive), None while that is not known."""

    symbol: str
    named: list[_Named]
    beginnings: set[tuple[int, int]]
    position_id: int | None = None
    signed: Decimal | None = None
    before: DealRow | None = None
    notes: list[str] = field(factory=list)

    def tell(self, deal: DealRow) -> int | None:
        """Return the position of the next deal."""
        if self.signed is None and self._is_flat_by_now(deal):
            self.signed = _FLAT
        self.before = deal
        volume = _signed(deal.side, deal.volume or _FLAT)
        if self.signed is None or not _fits(deal.entry, self.signed, volume) or self._is_flat_by_mistake(deal):
            return self._tell_from_rows(deal)
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
        closed = (life.closed_msc for life in self.named if life.closed_msc is not None)
        is_over = any(before_msc <= closed_msc < deal.time_msc for closed_msc in closed)
        return is_over and not self._lives_at(deal.time_msc)

    def _is_flat_by_mistake(self, deal: DealRow) -> bool:
        """Whether a row says that another life went on where the deals seem to begin one."""
        return not self.signed and any(
            life.position_id != deal.order and life.closed_msc is not None and life.opened_msc < deal.time_msc < life.closed_msc
            for life in self.named
        )

    def _lives_at(self, time_msc: int) -> set[int]:
        """Return the identifiers that rows name for a moment; a reversed position has several rows with one."""
        return {
            life.position_id
            for life in self.named
            if life.opened_msc <= time_msc and (life.closed_msc is None or time_msc <= life.closed_msc)
        }

    def _tell_from_rows(self, deal: DealRow) -> int | None:
        """Take the one life that a row names for this moment: there is one position per symbol."""
        lives = self._lives_at(deal.time_msc)
        if self.signed is not None:
            self.notes.append(
                f"deal {deal.deal} (row {deal.row}): it does not fit what the file tells of {self.symbol} before it"
            )
            self.signed = None
        if len(lives) == 1:
            return lives.pop()
        self.notes.append(f"deal {deal.deal} (row {deal.row}): its position in {self.symbol} began before this file; left open")
        return None


def _fits(entry: Entry | int | None, signed: Decimal, volume: Decimal) -> bool:
    """Whether a deal is possible: ``in`` adds, ``out`` takes away at most all, ``in/out`` takes more than all."""
    if entry is Entry.IN:
        return signed * volume >= 0
    if signed * volume >= 0:
        return False
    return abs(volume) <= abs(signed) if entry is Entry.OUT else entry is Entry.IN_OUT and abs(volume) > abs(signed)
