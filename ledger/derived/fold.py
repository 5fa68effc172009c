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
from ledger.derived.rows import trade_row
from ledger.events import BalanceAsserted, DealOrder
from ledger.fold_order import asserted
from ledger.folds import Fold
from ledger.journal.derived import FOLLOWER, BookingRow, CurveNode, TradeRow
from ledger.portfolio import FOLD_VERSION, Decode, Portfolio
from ledger.positions import OpenPosition
from ledger.postings import NO_DEAL, Posting, Row
from ledger.terms import AccountTerms

#: Raised whenever what is in a row, or what a state consists of, changes.
TABLES_VERSION: Final = 1


@define
class Output:
    """Rows that are not stored yet."""

    bookings: list[BookingRow] = Factory(list)
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
        for booking in booked(self.portfolio, rows, decode, closed):
            before, balance, credit = balance, balance + booking.amount, credit + booking.credited
            self.bookings += 1
            at_utc_msc = max(self.curve.at_utc_msc, self._utc_msc(booking, rows))
            nodes = self.curve.add(at_utc_msc, before, balance)
            if self.output is not None:
                self.output.bookings.append(self._row(booking, at_utc_msc, balance, credit))
                self.output.nodes += nodes
            for accumulator in accumulators:
                accumulator.add(booking)
        self.since_checkpoint += len(rows)
        self._note_trades(closed, accumulators)

    def _row(self, booking: Booking, at_utc_msc: int, balance: int, credit: int) -> BookingRow:
        (time_msc, deal, version, kind, side, entry, position_id, symbol, magic, commission, fee, swap, profit, amount,
         credited, is_complete) = booking  # fmt: skip
        return BookingRow(
            self.bookings, at_utc_msc, time_msc, None if deal == NO_DEAL else deal, version, kind, side, entry, position_id,
            symbol, magic, commission, fee, swap, profit, amount, credited, int(is_complete), balance, credit,
        )  # fmt: skip

    def _utc_msc(self, booking: Booking, rows: Iterable[Row]) -> int:
        """Return when a booking happened. A balance that the broker stated is that behind the last deal it contains."""
        time_msc = booking.time_msc
        if booking.kind == ASSERTED and self.terms.order is DealOrder.TICKET:
            row = next(Posting._make(one) for one in rows if one[2] == booking.version)
            own = asserted(BalanceAsserted.__name__, row.time_msc, None, row.data)
            time_msc = own.second_msc if own is not None and own.contains else time_msc
        return self.terms.clock.to_utc_msc(time_msc)

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
        folded.accumulators = {kind.name: kind.restore(terms, state["accumulators"][kind.name]) for kind in kinds}
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
