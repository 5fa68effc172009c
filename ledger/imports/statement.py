"""This module is the content of a file once it is read: deals, closed and open positions, and the account's own figures.

Nothing is rounded, added or guessed. ``None`` means that the file does not state it; an empty tuple, that there is nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import Final, Literal

from attrs import field, frozen

from ledger.values import Entry, MarginMode, Side

Kind = Literal["report", "tester", "dump"]

#: The Balance column shows cents; half a unit of the last place is what its rounding can hide.
BALANCE_TOLERANCE: Final = Decimal("0.005")

_ZERO = Decimal(0)
_SIDES = {0: Side.BUY, 1: Side.SELL}


@frozen(kw_only=True)
class DealRow:
    """One deal as a file shows it. Volume in lots, money in account currency, time on the broker's clock.

    ``type`` is MT5's deal type code; where none is known for what the file wrote, ``word`` is that. ``balance`` is the
    Balance column (balance and credit together). A deal that is no trade and names no symbol has no entry, volume or
    price, whatever a file writes in their place (``in``, 0).
    """

    row: int
    time_msc: int
    deal: int
    type: int | None
    profit: Decimal
    order: int | None = None
    symbol: str | None = None
    word: str | None = None
    entry: Entry | int | None = None
    volume: Decimal | None = None
    price: Decimal | None = None
    commission: Decimal | None = None
    fee: Decimal | None = None
    swap: Decimal | None = None
    balance: Decimal | None = None
    comment: str | None = None
    position_id: int | None = None
    magic: int | None = None
    reason: int | None = None
    external_id: str | None = None

    @property
    def side(self) -> Side | None:
        """Which way the deal trades; None for a deal that is no trade."""
        return None if self.type is None else _SIDES.get(self.type)

    @property
    def money(self) -> Decimal:
        """What the deal moves the balance by, as far as the file states."""
        return self.profit + (self.commission or _ZERO) + (self.fee or _ZERO) + (self.swap or _ZERO)


@frozen(kw_only=True)
class ClosedRow:
    """One closed position. ``price_close`` is the mean of its closing deals, ``commission`` that of both sides.

    A position that is closed in part only has a row as well: ``volume`` is then what is closed, and ``volume_opened``
    what was opened (otherwise None).
    """

    row: int
    opened_msc: int
    position_id: int
    symbol: str
    side: Side
    volume: Decimal
    price_open: Decimal
    closed_msc: int
    price_close: Decimal
    commission: Decimal
    swap: Decimal
    profit: Decimal
    volume_opened: Decimal | None = None


@frozen(kw_only=True)
class OpenRow:
    """One position that was open when the file was written; ``swap`` and ``profit`` are marks of that moment."""

    row: int
    opened_msc: int
    ticket: int
    symbol: str
    side: Side
    volume: Decimal
    price_open: Decimal
    swap: Decimal
    profit: Decimal
    comment: str | None = None


@frozen(kw_only=True)
class Printed:
    """One figure of the Results section. ``decimals`` are those that the file shows; holding times are in seconds.

    ``is_stored`` is whether a workbook has it as a number, not as text.

    ``value`` is None where the file has something else in its place; ``problem`` then says what, without a capital.
    """

    row: int | None
    value: Decimal | None = None
    decimals: int = 0
    is_stored: bool = False
    problem: str | None = None


@frozen(kw_only=True)
class PrintedResults:
    """The Results section: name -> figure, in the names of ``ledger.results`` and the section's order.

    ``build`` is that of the tester that wrote the report, None where it does not state one.
    """

    figures: Mapping[str, Printed]
    build: int | None = None


@frozen(kw_only=True)
class Statement:
    """A file, read.

    ``deals`` are in file order. ``closed`` and ``open`` are None where the file has no such table, ``results`` is None
    where it has no such section. ``balance`` and ``credit`` come from the block of account figures.
    """

    file: str
    kind: Kind
    deals: tuple[DealRow, ...] = field(converter=tuple[DealRow, ...])
    server: str | None = None
    login: int | None = None
    currency: str | None = None
    mode: MarginMode | None = None
    closed: tuple[ClosedRow, ...] | None = None
    open: tuple[OpenRow, ...] | None = None
    balance: Decimal | None = None
    credit: Decimal | None = None
    results: PrintedResults | None = None

    @property
    def has_figures(self) -> bool:
        """Whether the file has the block of account figures."""
        return self.balance is not None

    @cached_property
    def as_booked(self) -> tuple[DealRow, ...]:
        """The deals in the order in which the Balance column runs: that of the rows, unless another reproduces more of it.

        A tester with delayed execution writes rows that are not in the order of time; a user may have sorted a table.
        """
        if not any(deal.balance is not None for deal in self.deals):
            return self.deals
        by_time = tuple(sorted(self.deals, key=lambda deal: deal.time_msc))
        if by_time == self.deals:
            return self.deals
        return max((self.deals, by_time, self.deals[::-1]), key=_carried)

    @property
    def opening(self) -> Decimal | None:
        """Balance column before the first deal: 0 at the account's birth; None where there is no such column."""
        if not self.deals:
            return None
        first = self.as_booked[0]
        return None if first.balance is None else first.balance - first.money

    @property
    def starts_at_opening(self) -> bool:
        """Whether the file begins with the account's first deal, as far as its Balance column can prove it."""
        return self.opening is not None and self.opening == 0


def _carried(deals: tuple[DealRow, ...]) -> int:
    """Return how many rows carry the Balance on from the row before."""
    return sum(
        before.balance is not None
        and now.balance is not None
        and abs(before.balance + now.money - now.balance) <= BALANCE_TOLERANCE
        for before, now in pairwise(deals)
    )
