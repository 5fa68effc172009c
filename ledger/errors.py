"""The errors of the ledger: one tree, every leaf states what was expected, what was found and what to do.

    LedgerError                 .retryable = False
        InputError              MalformedExport, UnknownEvent, InexactNumber, BadValue
        RuleError               DealConflict, OrderConflict, OrdersRefused, AccountUnknown, AccountMismatch, NotPermitted,
                                LeaseLost
        JournalError            VersionConflict (retryable), VersionGap, CorruptEvent, JournalNewer, JournalMissing,
                                JournalReplaced, JournalUnsafe, JournalBusy (retryable), JournalUnavailable (retryable),
                                AccountMoved, AccountMoving (retryable)
        GatewayError            GatewayTimeout (retryable), GatewayUnavailable (retryable), GatewayRefused (retryable),
                                GatewayDenied, SnapshotRefused (retryable)

What is retryable may succeed later without any change.
"""

from __future__ import annotations

from ledger.deprecation import Alias, arguments


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
    """A known deal was recorded again with other content.

    Attributes:
        deal: Deal ticket.
        differences: field -> (ours, theirs), both as text.
    """

    def __init__(self, deal: int, differences: dict[str, tuple[str, str]]) -> None:
        self.deal = deal
        self.differences = differences
        differences_text = "; ".join(f"{field}: known {ours}, found {theirs}" for field, (ours, theirs) in differences.items())
        super().__init__(
            f"deal {deal} is known with other content ({differences_text}). What is known stays; "
            "if the broker really changed the deal, record a DealRevised."
        )


class OrderConflict(RuleError):
    """What is known of an order, or a halt, was recorded again with other content.

    Attributes:
        key: What it is known by: ``order:CLIENT``, ``halt:SCOPE:N``.
        differences: field -> (ours, theirs), both as text.
    """

    def __init__(self, key: str, differences: dict[str, tuple[str, str]]) -> None:
        self.key = key
        self.differences = differences
        differences_text = "; ".join(f"{field}: known {ours}, found {theirs}" for field, (ours, theirs) in differences.items())
        super().__init__(
            f"{key} is known with other content ({differences_text}). What is known stays: give what is new an id, or a "
            "number, of its own."
        )


class OrdersRefused(RuleError):
    """Orders cannot be sent safely here, so none is: the message says why, and what to do."""


class AccountUnknown(RuleError):
    """An account was named that the journal does not hold, or none was named where there are several."""


class AccountMismatch(RuleError):
    """An account is already open with another currency, mode or clock, or a file is of another account."""


class NotPermitted(RuleError):
    """Whoever asked is not somebody who may do this."""


class LeaseLost(RuleError):
    """A worker of a fleet no longer has the lease of the account that it syncs: another one may have it."""


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


class JournalReplaced(JournalError):
    """The open journal is not the one that its URL names any more: it was removed, renamed, or replaced by another copy."""


class JournalUnsafe(JournalError):
    """The database does not give the durability that the ledger promises."""


class JournalBusy(JournalError):
    """Another writer held the journal for longer than the wait allows."""

    retryable = True


class JournalUnavailable(JournalError):
    """The database does not answer, is full or refuses the connection."""

    retryable = True


class AccountMoved(JournalError):
    """The account is in another journal now; nothing was appended to this one.

    Attributes:
        journal: The journal that it is in, as the directory names it, with its URL; None where that is not known.
        epoch: The account's epoch there; None where that is not known.
    """

    def __init__(self, message: str, *, journal: str | None = None, epoch: int | None = None) -> None:
        self.journal = journal
        self.epoch = epoch
        super().__init__(message)


class AccountMoving(JournalError):
    """The account is being moved to another journal, and neither accepts events until that is done or cancelled.

    Attributes:
        journal: The other journal, as the directory names it, with its URL.
    """

    retryable = True

    def __init__(self, message: str, *, journal: str | None = None) -> None:
        self.journal = journal
        super().__init__(message)


class GatewayError(LedgerError):
    """The gateway gave nothing that can be used. It is unknown what the broker has: never that it has nothing."""


class GatewayTimeout(GatewayError):
    """The gateway did not answer in time."""

    retryable = True


class GatewayUnavailable(GatewayError):
    """The way to the gateway is broken or was never open."""

    retryable = True


class GatewayRefused(GatewayError):
    """The gateway answered an error.

    Attributes:
        code: What it gave as the code, as text; None without one.
        detail: Its text about it; None without one.
        executed: Of an order message, "never" where it stated that nothing was or will be sent for this message, "unknown"
            where it did not; None for other messages.
    """

    retryable = True
    told = Alias("detail")

    @arguments(told="detail")
    def __init__(self, action: str, *, code: str | None = None, detail: str | None = None, executed: str | None = None) -> None:
        self.code = code
        self.detail = detail
        self.executed = executed
        reason = " ".join(filter(None, (code, detail))) or "without a word why"
        super().__init__(f"expected an answer to {action}, the gateway answered an error: {reason}")


class GatewayDenied(GatewayError):
    """The gateway and we do not accept one another's keys, or it must not be spoken to without keys."""


class SnapshotRefused(GatewayError):
    """An answer cannot be read whole, or cannot be believed. Nothing of it is used.

    Attributes:
        row: 1-based row that is wrong; None for the answer as a whole.
        field: Name of the field that is wrong; None for the row or the answer as a whole.
    """

    retryable = True

    def __init__(self, message: str, *, row: int | None = None, field: str | None = None) -> None:
        self.row = row
        self.field = field
        where = ", ".join(filter(None, ("" if row is None else f"row {row}", field or "")))
        super().__init__(f"{where}: {message}" if where else message)
