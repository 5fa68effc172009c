"""The folds: by which name and rules the states of each are stored, and how one is begun and restored.

There are two: the portfolio, which reads postings in the fold order, and the orders, which read by version. The checkpoints of
all in ``FOLDS`` are stored beside one another, and none is taken for one of another fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from attrs import evolve, frozen

from ledger.clock import ClockRule
from ledger.errors import LedgerError
from ledger.events import DealOrder
from ledger.portfolio import FOLD_VERSION, Decode, Portfolio
from ledger.postings import Row
from ledger.terms import AccountTerms

if TYPE_CHECKING:
    from ledger.orders.view import Orders

    ORDERS: Fold[Orders]
    #: All folds whose checkpoints this program saves, and verify compares.
    FOLDS: tuple[Fold[Any], ...]


class Folded(Protocol):
    """What events are folded into: a state that goes on from any place in the fold order."""

    @property
    def terms(self) -> AccountTerms:
        """The account terms."""
        ...

    @property
    def held(self) -> int:
        """How much the state is made of: its size, whatever the history."""
        ...

    def fold(self, rows: Iterable[Row], decode: Decode) -> None:
        """Apply postings, ascending in the fold order and all after what was folded before."""
        ...

    def note_version(self, version: int) -> None:
        """State up to which version all of the account's events are folded."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that folding goes on from, as JSON values."""
        ...


T = TypeVar("T", bound=Folded)


@frozen(kw_only=True)
class Fold(Generic[T]):
    """A way to fold the events of an account, whose states checkpoints store.

    Attributes:
        name: What its states are stored under, beside the version; empty for the portfolio, which was the first.
        version: Raised whenever its rules, or what a state consists of, change.
        is_by_version: Whether it reads the events about orders, and the deals of orders, by version, instead of what the fold
            order is made of.
        begin: Returns the state before all events, by account terms.
        restore: Returns the fold of a ``state``. Raises KeyError, TypeError or ValueError where it is none.
    """

    name: str
    version: int
    begin: Callable[[AccountTerms], T]
    restore: Callable[[AccountTerms, Mapping[str, Any]], T]
    is_by_version: bool = False

    def code(self, terms: AccountTerms | None) -> str:
        """Return what names the rules of a state: the fold's, and those of the account terms that order events."""
        rules = f"{self.name}-{self.version}" if self.name else str(self.version)
        return rules if terms is None else f"{rules}:{terms.order.value}:{terms.clock.name}"

    def terms_of(self, code: str, terms: AccountTerms) -> AccountTerms | None:
        """Return account terms with the order and the clock rule that a code names, None for a code of other rules."""
        order, _, clock = code.partition(":")[2].partition(":")
        try:
            found = evolve(terms, order=DealOrder(order), clock=ClockRule(clock))
        except (LedgerError, ValueError):
            return None
        return found if self.code(found) == code else None


PORTFOLIO: Final = Fold(name="", version=FOLD_VERSION, begin=Portfolio, restore=Portfolio.from_state)


def __getattr__(name: str) -> Any:
    """Load the fold of orders, and with it the list of all, when they are asked for: most commands read no orders."""
    if name not in ("ORDERS", "FOLDS"):
        raise AttributeError(name)
    from ledger.orders.view import ORDERS_VERSION, Orders

    found = Fold(name="orders", version=ORDERS_VERSION, begin=Orders, restore=Orders.from_state, is_by_version=True)
    globals().update(ORDERS=found, FOLDS=(PORTFOLIO, found))
    return globals()[name]
