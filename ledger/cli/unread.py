"""What a listing of several accounts does about one that cannot be read: it is reported, and hides no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ledger.cli import DISAGREES, FINE
from ledger.cli.streams import complain
from ledger.damage import reading
from ledger.errors import BadValue, LedgerError

if TYPE_CHECKING:
    from ledger.service import Account

_T = TypeVar("_T")


class Unread:
    """The accounts of a listing that cannot be read.

    Attributes:
        code: The exit code of the listing.
    """

    def __init__(self) -> None:
        self.code = FINE

    @contextmanager
    def skipped(self, account: Account) -> Iterator[None]:
        """Print why an account cannot be read, and go on behind the block.

        Raises:
            JournalError: The journal does not answer: no other account can be read either.
            BadValue: It is asked for what cannot be.
        """
        try:
            with reading(account.ledger.journal, account.name, values=False):
                yield
        except LedgerError as error:
            if error.retryable or isinstance(error, BadValue):
                raise
            complain(f"{account.name}: {error}")
            self.code = DISAGREES

    def of_each(self, accounts: Iterable[Account], read: Callable[[Account], Iterable[_T]]) -> Iterator[_T]:
        """Yield what is read of each account that can be read. Raises as ``skipped``."""
        for account in accounts:
            with self.skipped(account):
                yield from read(account)


@contextmanager
def named(account: Account) -> Iterator[None]:
    """Name the account that cannot be read where its error ends the command: a sum without it would be wrong."""
    try:
        with reading(account.ledger.journal, account.name, values=False):
            yield
    except LedgerError as error:
        if not error.retryable and not isinstance(error, BadValue):
            complain(f"{account.name} cannot be read; --account chooses others")
        raise
