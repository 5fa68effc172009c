"""What a listing of several accounts does about one that cannot be read: it is reported, and hides no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ledger.cli import DISAGREES, FINE
from ledger.cli.streams import complain
from ledger.errors import BadValue, LedgerError
from ledger.values import AccountId


class Unread:
    """The accounts of a listing that cannot be read.

    Attributes:
        code: The exit code of the listing.
    """

    def __init__(self) -> None:
        self.code = FINE

    @contextmanager
    def skipped(self, account: AccountId) -> Iterator[None]:
        """Print why an account cannot be read, and go on behind the block.

        Raises:
            JournalError: The journal does not answer: no other account can be read either.
        """
        try:
            yield
        except LedgerError as error:
            if error.retryable:
                raise
            complain(f"{account}: {error}")
            self.code = DISAGREES


@contextmanager
def named(account: AccountId) -> Iterator[None]:
    """Name the account that cannot be read where its error ends the command: a sum without it would be wrong."""
    try:
        yield
    except LedgerError as error:
        if not error.retryable and not isinstance(error, BadValue):
            complain(f"{account} cannot be read; --account chooses others")
        raise
