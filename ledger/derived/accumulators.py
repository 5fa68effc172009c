"""What a report of a whole history needs beside sums: figures that are counted booking by booking, and stored while they grow.

An accumulator sees every booking in the fold order and every trade in the order of closing. Nothing is promised about which of
both comes first. Its state is stored with the derived tables, many times over: it grows with what is open or with the number of
days, never with the number of bookings. A kind is added to ``ACCUMULATORS``; a changed rule gets a higher version, so that the
tables are made anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import frozen

from ledger.bookings import Booking, TradeFigures
from ledger.performance.tally import Counted
from ledger.terms import AccountTerms


class Accumulator(Protocol):
    """Figures that are counted up as bookings and closed trades come."""

    def add(self, booking: Booking) -> None:
        """Count the next booking."""
        ...

    def add_trade(self, figures: TradeFigures) -> None:
        """Count the next trade that closed."""
        ...

    def state(self) -> Any:
        """Return everything that counting goes on from, as JSON values. It does not change afterwards."""
        ...


@frozen(kw_only=True)
class AccumulatorKind:
    """A way to count.

    Attributes:
        name: What its state is stored under: small letters.
        version: Raised whenever its rules, or what a state consists of, change.
        begin: Returns the one that has counted nothing.
        restore: Returns the one of a ``state``. Raises KeyError, TypeError or ValueError where it is none.
    """

    name: str
    version: int
    begin: Callable[[AccountTerms], Accumulator]
    restore: Callable[[AccountTerms, Any], Accumulator]


#: The figures of a report: those that need the order of bookings and trades, and groups of few keys.
REPORT: Final = AccumulatorKind(
    name="report",
    version=2,
    begin=lambda terms: Counted(terms.clock, scale=terms.opened.money_scale),
    restore=lambda terms, state: Counted.of_state(state, terms.clock, scale=terms.opened.money_scale),
)
#: What is counted for every account.
ACCUMULATORS: Final[tuple[AccumulatorKind, ...]] = (REPORT,)
