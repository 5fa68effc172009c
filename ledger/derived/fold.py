"""The fold of the derived tables: the portfolio, and beside it what becomes rows on the way.

It is folded as every fold is, from the checkpoints that are of its own making (``fold_of``): how many bookings and trades there
were up to a checkpoint is in its state, so that whoever begins there knows which rows stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import Factory, define

from ledger.bookings import ASSERTED, Booking, booked, figures_of
from ledger.derived.accumulators import Accumulator, AccumulatorKind
from ledger.derived.curve import CurveBuilder
from ledger.derived.rows import too_large, trade_row
from ledger.errors import LedgerError
from ledger.events import BalanceAsserted, DealOrder
from ledger.fold_order import asserted
from ledger.folds import Fold
from ledger.journal.derived import FOLLOWER, CurveNode, TradeRow
from ledger.portfolio import FOLD_VERSION, Decode, Portfolio
from ledger.positions import OpenPosition
from ledger.postings import NO_DEAL, Posting, Row
from ledger.terms import AccountTerms
from ledger.values import INT64_MAX

#: Raised whenever what is in a row, or what a state consists of, changes.
TABLES_VERSION: Final = 1
_QUARTER_MSC: Final = 15 * 60 * 1000


@define
class Output:
    """Rows that are not stored yet."""

    bookings: list[Row] = Factory(list)
    trades: list[TradeRow] = Factory(list)
    nodes: list[CurveNode] = Factory(list)


class DerivedFold:
    """A portfolio, how many bookings and trades led there, the curve and the accumulators.

    Args:
        terms: The account terms.
        kinds: What is counted beside.
    """

    def __init__(self, terms: AccountTerms, kinds: Sequence[AccumulatorKind]) -> None:
        self.portfolio = Portfolio(terms)
        self.bookings = self.trades = 0
        #: Postings since the last checkpoint: then it is time for another.
        self.since_checkpoint = 0
        self.curve = CurveBuilder()
        self.accumulators: dict[str, Accumulator] = {kind.name: kind.begin(terms) for kind in kinds}
        #: Takes the rows; without one they are only counted.
        self.output: Output | None = None
        self._quarter = self._offset_msc = -1  # of an hour, and how far the server's clock is ahead of UTC in it

    @property
    def terms(self) -> AccountTerms:
        """The account terms."""
        return self.portfolio.terms

    @property
    def held(self) -> int:
        """How much the state is made of."""
        return self.portfolio.held

    def note_version(self, version: int) -> None:
        """State up to which version all of the account's events are folded."""
        self.portfolio.note_version(version)

    def fold(self, rows: Iterable[Row], decode: Decode) -> None:
        """Apply postings, ascending in the fold order and all after what was folded before."""
        rows = list(rows)
        closed: list[OpenPosition] = []
        balance, credit = self.portfolio.money_units
        accumulators = list(self.accumulators.values())
        number, curve, output = self.bookings, self.curve, self.output
        for booking in booked(self.portfolio, rows, decode, closed):
            (time_msc, deal, version, kind, side, entry, position_id, symbol, magic, commission, fee, swap, profit, amount,
             credited, is_complete) = booking  # fmt: skip
            number += 1
            before = balance
            balance += amount
            credit += credited
            if abs(balance) > INT64_MAX or abs(amount) > INT64_MAX or abs(credit) > INT64_MAX:
                raise too_large(self.terms, f"what version {version} booked")
            if kind == ASSERTED:
                time_msc = self._contained_msc(booking, rows)
            at_utc_msc = max(curve.at_utc_msc, self._utc_msc(time_msc))
            over = curve.add(at_utc_msc, before, balance)
            if output is not None:
                output.bookings.append((
                    number, at_utc_msc, booking[0], None if deal == NO_DEAL else deal, version, kind, side, entry, position_id,
                    symbol, magic, commission, fee, swap, profit, amount, credited, 1 if is_complete else 0, balance, credit,
                ))  # fmt: skip
                if over:
                    output.nodes += over
            for accumulator in accumulators:
                accumulator.add(booking)
        self.bookings = number
        self.since_checkpoint += len(rows)
        self._note_trades(closed, accumulators)

    def _contained_msc(self, booking: Booking, rows: Iterable[Row]) -> int:
        """Return when a balance was what the broker stated: behind the last deal that it contains, if that is known."""
        row = next(Posting._make(one) for one in rows if one[2] == booking.version)
        own = asserted(BalanceAsserted.__name__, row.time_msc, None, row.data)
        is_placed = self.terms.order is DealOrder.TICKET and own is not None and own.contains
        return own.second_msc if is_placed and own is not None else booking.time_msc

    def _utc_msc(self, time_msc: int) -> int:
        """Convert broker server time to UTC. The clock is changed by whole quarters of an hour, and at such only."""
        quarter = time_msc // _QUARTER_MSC
        if quarter != self._quarter:
            self._quarter, self._offset_msc = quarter, time_msc - self.terms.clock.to_utc_msc(time_msc)
        return time_msc - self._offset_msc

    def _note_trades(self, closed: Iterable[OpenPosition], accumulators: Iterable[Accumulator]) -> None:
        for position in closed:
            self.trades += 1
            if self.output is not None:
                self.output.trades.append(trade_row(position, self.terms, self.trades))
            figures = figures_of(position)
            for accumulator in accumulators:
                accumulator.add_trade(figures)

    def unfinished_rows(self) -> list[TradeRow]:
        """Return the rows of the trades that ended but are not known in full."""
        positions = self.portfolio.unfinished_positions()
        return [trade_row(one, self.terms, number, is_unfinished=True) for number, one in enumerate(positions, 1)]

    # ---- its state, saved and restored

    def state(self) -> dict[str, Any]:
        """Return everything that folding goes on from, as JSON values."""
        return {
            "portfolio": self.portfolio.state(),
            "bookings": self.bookings,
            "trades": self.trades,
            "since_checkpoint": self.since_checkpoint,
            "curve": self.curve.state(),
            "accumulators": {name: one.state() for name, one in self.accumulators.items()},
        }

    @classmethod
    def of_state(cls, kinds: Sequence[AccumulatorKind], terms: AccountTerms, state: Mapping[str, Any]) -> DerivedFold:
        """Return the fold of a ``state``.

        Raises:
            KeyError: It is not such a state; TypeError, ValueError too.
        """
        folded = cls(terms, ())
        folded.portfolio = Portfolio.from_state(terms, state["portfolio"])
        folded.bookings, folded.trades = state["bookings"], state["trades"]
        folded.since_checkpoint = state["since_checkpoint"]
        folded.curve = CurveBuilder.of_state(state["curve"])
        try:
            folded.accumulators = {kind.name: kind.restore(terms, state["accumulators"][kind.name]) for kind in kinds}
        except LedgerError as error:
            raise ValueError(str(error)) from error
        return folded

    def dump(self) -> bytes:
        """Return the state as bytes."""
        return json.dumps(self.state(), separators=(",", ":"), ensure_ascii=True).encode()


def fold_of(kinds: Sequence[AccumulatorKind]) -> Fold[DerivedFold]:
    """Return the fold, under a name that names all rules that its rows are made by."""
    counted = "".join(f"+{kind.name}{kind.version}" for kind in kinds)
    return Fold(
        name=f"{FOLLOWER}-{TABLES_VERSION}-fold{FOLD_VERSION}{counted}",
        version=TABLES_VERSION,
        begin=lambda terms: DerivedFold(terms, kinds),
        restore=partial(DerivedFold.of_state, kinds),
    )
