"""Bookings: what each posting moved of an account's money, and the figures of trades as they close.

Reports, the results that MT5 prints, the balance curve and the derived tables are all made of these two streams. Pure: scaled
integers in, scaled integers out, in the fold order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final, NamedTuple

from ledger.events import Adjusted, BalanceAsserted, CashMoved, FillRecorded
from ledger.portfolio import Decode, Portfolio, posted_cash_kind
from ledger.positions import OpenPosition
from ledger.postings import Posting, Row
from ledger.values import CREDIT

#: Kinds of bookings: a trade deal; a deposit, withdrawal or bonus; other money deals; a move of credit; what a person set; what
#: the broker stated where the history before is not known.
TRADE: Final = "trade"
FLOW: Final = "flow"
OTHER: Final = "other"
CREDITED: Final = "credit"
ADJUSTED: Final = "adjusted"
ASSERTED: Final = "asserted"

#: The cash movements that people make, in the words of ``cash_kind``.
FLOWS: Final = frozenset(("balance", "bonus"))
_RUN: Final = 4096


_MONEY: Final = slice(Posting._fields.index("commission"), Posting._fields.index("profit") + 1)


def is_whole_after(is_whole: bool, row: Row, decode: Decode) -> bool:  # noqa: FBT001  # what it was before
    """Return whether all money of the balance is known behind a posting.

    A trade deal of unknown money ends that. It is known again once the broker states the balance where the history before is
    not complete, or a person sets it.
    """
    kind = row[3]
    if kind == FillRecorded.__name__:
        return is_whole and None not in row[_MONEY]
    if is_whole or kind not in (BalanceAsserted.__name__, Adjusted.__name__):
        return is_whole
    event = decode(row)
    return not event.complete if isinstance(event, BalanceAsserted) else getattr(event, "balance_after", None) is not None


class Booking(NamedTuple):
    """What one posting moved: ``amount`` of the balance, ``credited`` of the credit.

    Money is in the account's scaled integers, 0 for what is not known; ``is_complete`` is False then. ``side`` and ``entry``
    are MT5's codes, None for what is no trade deal. ``time_msc``, ``deal`` and ``version`` are those of the posting.
    """

    time_msc: int
    deal: int
    version: int
    kind: str
    side: int | None
    entry: int | None
    position_id: int | None
    symbol: str | None
    magic: int | None
    commission: int
    fee: int
    swap: int
    profit: int
    amount: int
    credited: int
    is_complete: bool


class TradeFigures(NamedTuple):
    """One trade as it closed. Money in the account's scaled integers, times in broker server time; ``side`` is MT5's code.

    ``opened_msc`` is None where the opening is not recorded, ``is_complete`` False where the result is not known in full.
    """

    closed_msc: int
    opened_msc: int | None
    position_id: int | None
    symbol: str
    side: int
    magic: int | None
    commission: int
    fee: int
    swap: int
    profit: int
    is_complete: bool

    @property
    def net(self) -> int:
        """The result of the trade's whole life."""
        return self.profit + self.swap + self.commission + self.fee


def figures_of(position: OpenPosition) -> TradeFigures:
    """Return the figures of a position that went flat. A magic number is as it is stored, signed."""
    return TradeFigures(
        position.closed_msc, position.opened_msc if position.is_opening_known else None, position.position_id, position.symbol,
        position.side, position.magic, position.commission, position.fee, position.swap, position.profit,
        position.is_money_known and not position.volume_unexplained,
    )  # fmt: skip


def booked(portfolio: Portfolio, rows: Iterable[Row], decode: Decode, closed: list[OpenPosition]) -> Iterator[Booking]:
    """Fold postings and yield what each that moved money booked, in the fold order.

    What a booking says does not depend on how many postings come at a time. Positions that went flat are appended to
    ``closed`` at the latest when the bookings of their run of postings are yielded.

    Args:
        portfolio: What was folded so far; it is changed.
        rows: The postings behind it, each deal once.
        decode: Makes the event of a posting that is not a deal.
        closed: Takes the positions that went flat.
    """
    for is_fill, run in groupby(rows, _is_fill):
        if is_fill:
            for fills in _chunks(run):
                portfolio.fold(fills, decode, closed.append)
                yield from map(_of_fill, fills)
            continue
        for row in run:
            balance, credit = portfolio.money_units
            portfolio.fold((row,), decode, closed.append)
            after, credit_after = portfolio.money_units
            posting = Posting._make(row)
            if posting.kind == CashMoved.__name__:
                yield _of_cash(posting)
            elif (after, credit_after) != (balance, credit):
                yield _of_statement(posting, after - balance, credit_after - credit)


def _is_fill(row: Row) -> bool:
    return bool(row[3] == FillRecorded.__name__)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _RUN:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _of_fill(row: Row) -> Booking:
    (time_msc, deal, version, _, side, entry, position_id, _, symbol, _, _, commission, fee, swap, profit, magic, _, _) = row
    if commission is None or fee is None or swap is None or profit is None:
        commission, fee, swap, profit, is_complete = commission or 0, fee or 0, swap or 0, profit or 0, False
    else:
        is_complete = True
    return Booking(
        time_msc, deal, version, TRADE, side, entry, position_id, symbol, magic, commission, fee, swap, profit,
        commission + fee + swap + profit, 0, is_complete,
    )  # fmt: skip


def _of_cash(posting: Posting) -> Booking:
    commission, fee, swap, profit = posting.commission or 0, posting.fee or 0, posting.swap or 0, posting.profit or 0
    is_credit = posting.deal_type == CREDIT
    kind = CREDITED if is_credit else FLOW if posted_cash_kind(posting.deal_type, posting.data) in FLOWS else OTHER
    amount, credited = commission + fee + swap + (0 if is_credit else profit), profit if is_credit else 0
    is_complete = None not in (posting.commission, posting.fee, posting.swap, posting.profit)
    return _without_trade(posting, kind, (commission, fee, swap, profit), amount, credited, is_complete=is_complete)


def _of_statement(posting: Posting, amount: int, credited: int) -> Booking:
    kind = ASSERTED if posting.kind == BalanceAsserted.__name__ else ADJUSTED
    return _without_trade(posting, kind, (0, 0, 0, 0), amount, credited, is_complete=True)


def _without_trade(
    posting: Posting, kind: str, money: tuple[int, int, int, int], amount: int, credited: int, *, is_complete: bool
) -> Booking:
    return Booking(
        posting.time_msc, posting.deal, posting.version, kind, None, None, None, None, None, *money, amount, credited,
        is_complete,
    )  # fmt: skip
