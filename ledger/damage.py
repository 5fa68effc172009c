"""Damage: an error that no program of ours makes is traced to the stored row that is not what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ledger.errors import BadValue, CorruptEvent, LedgerError

if TYPE_CHECKING:
    from ledger.journal import Journal
    from ledger.values import AccountId

#: What reading a damaged row ends with where no rule finds it first.
_FROM_DAMAGE: Final = (
    BadValue,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    RecursionError,
)


@contextmanager
def reading(journal: Journal, account: AccountId, *, values: bool = True) -> Iterator[None]:
    """Read an account in the block: what is raised because a row of it is damaged becomes an error that names the row.

    It costs nothing where nothing is raised; else the account is verified, and what is no damage is raised as it is.

    Args:
        journal: Where it is stored.
        account: Whose.
        values: Whether a BadValue may come from a row; False where the caller may have asked for what cannot be.

    Raises:
        CorruptEvent: A row is damaged.
    """
    try:
        yield
    except _FROM_DAMAGE as error:
        if isinstance(error, LedgerError) and not (values and isinstance(error, BadValue)):
            raise
        from ledger.journal.verify.walk import verify_account  # every command that reads would wait for it

        for problem in verify_account(journal, account).problems:
            where = "" if problem.version is None else f"version {problem.version}, "
            raise CorruptEvent(f"account {account}: {where}{problem.field}: {problem.what}. Run: ledger verify") from error
        raise  # a mistake of ours, or of the caller
