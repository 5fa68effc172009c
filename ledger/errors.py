"""The errors of the ledger: one tree, every leaf says what was expected, what was found and what to do.

    LedgerError                 .retryable = False
        InputError              MalformedExport, UnknownEvent, InexactNumber, BadValue
        RuleError               DealConflict, AccountUnknown, AccountMismatch
        JournalError            VersionConflict (retryable), VersionGap, CorruptEvent, JournalNewer, JournalMissing,
                                JournalUnsafe, JournalBusy (retryable), JournalUnavailable (retryable)

What is retryable may succeed later without any change.
"""

from __future__ import annotations


class LedgerError(Exception):
    """Base of everything the ledger raises on purpose.

    Attributes:
        retryable: The same call may succeed later without any change.
    """

    retryable = False


class InputError(LedgerError):
    """What came in from outside cannot be taken as it is."""


class MalformedExport(InputError):
    """A file is not a readable terminal export or dump.

    Attributes:
        file: Name of the file, as the caller gave it.
        row: 1-based row as a person counts it in the file (or table row in HTML); None for the file as a whole.
        column: Name or letter of the column; None where the row as a whole is wrong.
    """

    def __init__(self, message: str, *, file: str, row: int | None = None, column: str | None = None) -> None:
        self.file = file
        self.row = row
        self.column = column
        where = file
        if row is not None:
            where += f", row {row}"
        if column is not None:
            where += f", column {column}"
        super().__init__(f"{where}: {message}")


class UnknownEvent(InputError):
    """A stored event has a name or schema version that this program does not know."""


class InexactNumber(InputError):
    """A number does not fit its scale, or would change by more than binary dirt.

    Attributes:
        what: Name of the field, None where that is not known.
    """

    def __init__(self, message: str, *, what: str | None = None) -> None:
        self.what = what
        super().__init__(message)


class BadValue(InputError):
    """A value is outside what its field allows."""


class RuleError(LedgerError):
    """A rule of the ledger forbids what was asked."""


class DealConflict(RuleError):
    """A known deal was told again with other content.

    Attributes:
        deal: Deal ticket.
        differences: field -> (ours, theirs), both as text.
    """

    def __init__(self, deal: int, differences: dict[str, tuple[str, str]]) -> None:
        self.deal = deal
        self.differences = differences
        told = "; ".join(f"{field}: known {ours}, told {theirs}" for field, (ours, theirs) in differences.items())
        super().__init__(
            f"deal {deal} is known with other content ({told}). What is known stays; "
            "if the broker really changed the deal, record a DealRevised."
        )


class AccountUnknown(RuleError):
    """An account was named that the journal does not hold, or none was named where there are several."""


class AccountMismatch(RuleError):
    """An account is already open with another currency, mode or clock, or a file is of another account."""


class JournalError(LedgerError):
    """The journal cannot do what was asked."""


class VersionConflict(JournalError):
    """Another writer was faster: the account is not at the expected version.

    Attributes:
        expected: Version that the caller had seen.
        found: Version that the journal has.
    """

    retryable = True

    def __init__(self, account: str, *, expected: int, found: int) -> None:
        self.expected = expected
        self.found = found
        super().__init__(
            f"account {account}: expected version {expected}, the journal is at {found}. "
            "Read the new events, decide again, append again."
        )


class VersionGap(JournalError):
    """A version is missing in an account's stream."""


class CorruptEvent(JournalError):
    """A stored event cannot be read as what it claims to be."""


class JournalNewer(JournalError):
    """The journal was written by a newer program."""


class JournalMissing(JournalError):
    """There is no journal at the URL."""


class JournalUnsafe(JournalError):
    """The database does not give the durability that the ledger promises."""


class JournalBusy(JournalError):
    """Another writer held the journal for longer than the wait allows."""

    retryable = True


class JournalUnavailable(JournalError):
    """The database does not answer, is full or refuses the connection."""

    retryable = True
