"""The journal: append and read, nothing else. What every journal promises, whatever it is stored in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypedDict, Unpack

from attrs import frozen

from ledger.codec import Stored
from ledger.errors import DealConflict
from ledger.events import Event
from ledger.journal.checkpoints import Checkpoint, Mark
from ledger.journal.derived import DerivedStore
from ledger.journal.evidence import StoredEvidence
from ledger.journal.health import SyncHealth
from ledger.journal.location import FormerJournal, Location
from ledger.journal.notices import SentNotice
from ledger.journal.tally import Tally
from ledger.journal.upkeep import Upkeep
from ledger.journal.watch import AppendListener
from ledger.marks import Bucket
from ledger.marks import Mark as AccountMark
from ledger.postings import FoldKey, Postings, Row, Selection
from ledger.segments.store import Segments
from ledger.terms import AccountTerms
from ledger.values import AccountId

__all__ = ["Appended", "Head", "Journal", "Outcome", "Selection"]


class Head(NamedTuple):
    """The head of an account's stream.

    ``last_msc`` and ``last_deal`` are the place in the fold order of the latest event that arrived in order.
    """

    version: int
    hash: bytes
    recorded_us: int
    last_msc: int
    last_deal: int


class Outcome(Enum):
    """What became of an event passed to ``append``."""

    APPENDED = "appended"
    COMPLETED = "completed"
    DUPLICATE = "duplicate"


@frozen(kw_only=True)
class Appended:
    """What an append did: the new rows, and for each event given its outcome or its conflict, in order.

    ``terms`` are the account terms afterwards, where they are known.
    """

    head: Head
    terms: AccountTerms | None = None
    rows: tuple[Stored, ...]
    outcomes: tuple[Outcome | DealConflict, ...]


@frozen(kw_only=True)
class Difference:
    """Something of a journal's schema that is not as the migrations make it.

    ``kind`` is table, column, constraint, index, trigger, function, rule, policy or view; ``what`` is missing, or how it
    differs.
    """

    kind: str
    name: str
    what: str

    @property
    def is_protecting(self) -> bool:
        """Whether it protects what is recorded, which no index and no view does."""
        return self.kind not in ("index", "view")


@frozen(kw_only=True)
class Parent:
    """A journal that a restored one came from. ``versions``: account -> the last version that both have."""

    journal_id: str
    versions: Mapping[AccountId, int]


class AppendOptions(TypedDict, total=False):
    """What an append may be given beside the events.

    Attributes:
        expected_version: The version that the caller's decision rests on, None where it rests on none. What was decided is
            recorded, also where the same break or correction of a position was recorded before.
        correlation: The sync run or import that the events belong to.
        conflicts: ``refuse``, as without it, appends nothing when a known deal is given with other content; ``keep`` appends
        the rest.
        evidence: Raw broker answers that the events rest on. Those whose SHA-256 an appended row has as its evidence are kept
            with it, once an account; the others are not.
    """

    expected_version: int | None
    correlation: str | None
    conflicts: Literal["refuse", "keep"]
    evidence: Sequence[bytes]


class EventStore(Protocol):
    """Streams of events, one per account, versions 1, 2, 3, ... without gaps: append and read, and what a replay reads.

    Events are durable when ``append`` returns.
    """

    def accounts(self) -> list[AccountId]:
        """Return the accounts that have events, ordered by server and login.

        One whose name is damaged is left out, so that the others stay of use; ``irregularities`` names it.
        """
        ...

    def head(self, account: AccountId) -> Head | None:
        """Return an account's head, None for an account without events."""
        ...

    def heads(self) -> dict[AccountId, Head]:
        """Return account -> head, of all accounts with events at one moment, ordered by server and login."""
        ...

    def listen(self) -> AppendListener:
        """Return what wakes a reader when somebody else appends."""
        ...

    def append(self, account: AccountId, events: Sequence[Event], **how: Unpack[AppendOptions]) -> Appended:
        """Append what is new of the events, all or nothing.

        Args:
            account: Whose stream; its first event must be an AccountOpened.
            events: Facts in the order they are to be recorded in.
            how: See ``AppendOptions``.

        Raises:
            BadValue: The correlation is no text that every journal can store, or a raw answer is too large to be stored.
            VersionConflict: The account is not at the expected version.
            DealConflict: A known deal was given with other content, and conflicts are refused.
            AccountUnknown: The account was not opened.
            AccountMismatch: The account is open with other terms.
            AccountMoved: It is in another journal now.
            AccountMoving: It is on its way to another journal, or from one.
        """
        ...

    def rows(
        self, account: AccountId, *, after: int = 0, upto: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[Stored]:
        """Yield an account's rows, ascending version, after one version up to another inclusive; only of ``kinds`` if given."""
        ...

    def terms(self, account: AccountId, version: int) -> AccountTerms | None:
        """Return the account terms after the first ``version`` events."""
        ...

    def postings(
        self,
        account: AccountId,
        selection: Selection,
        terms: AccountTerms | None = None,
        *,
        after: Mark | None = None,
        besides: Sequence[Stored] = (),
        differences: list[int] | None = None,
    ) -> Postings:
        """Return what a replay folds, in the fold order, each deal once: all of it, or what follows a checkpoint.

        Args:
            account: Whose.
            selection: Which events.
            terms: The account terms that order them; those of the selection's version without.
            after: The checkpoint.
            besides: Events that are not recorded, to be put in their places.
            differences: Read nothing but the rows, and note here the version from which on ``segments`` differ.
        """
        ...

    def order_rows(self, account: AccountId, selection: Selection, *, after: int = 0) -> Iterator[list[Row]]:
        """Yield the events about orders and the records of deals that name their order, ascending by version, some at a time.

        As postings, each with the time of its recording behind (UTC microseconds). None as long as the selection has no event
        about an order: an account without any costs one look.

        Args:
            account: Whose.
            selection: Which of them.
            after: Only those behind a version.
        """
        ...

    def order_events(
        self, account: AccountId, version: int, *, client_id: str | None = None, token: str | None = None
    ) -> Iterator[list[Row]]:
        """Yield the events about orders alone, as postings, ascending by version, some at a time.

        Args:
            account: Whose.
            version: Up to which.
            client_id: Only what names this client id, also breaks.
            token: Only what names this token.
        """
        ...

    def approval_rows(self, account: AccountId, *, after: int = 0, upto: int | None = None) -> list[Stored]:
        """Return what people proposed, decided, set and noted, ascending version: few rows, however long the account is.

        Args:
            account: Whose.
            after: Only those behind a version.
            upto: Only those up to a version.
        """
        ...

    def break_ends(self, account: AccountId, opened: Sequence[int], upto: int) -> list[Stored]:
        """Return the ends up to a version of the breaks that versions opened, ascending version."""
        ...

    def proposed_since(self, since_us: int) -> list[AccountId]:
        """Return the accounts in which something was proposed since a moment (UTC microseconds), by server and login."""
        ...

    def latest_asserted(self, account: AccountId, position_id: int | None, before: int | None = None) -> tuple[int, int] | None:
        """Return the place (second, deal ticket) of the latest assertion about a position, or the balance, None without any.

        Args:
            account: Whose.
            position_id: Which position; None for the balance.
            before: Only those of lower versions.
        """
        ...

    def earliest_change(self, account: AccountId, after: int, upto: int) -> FoldKey | None:
        """Return the first place in the fold order that the events behind one version up to another change.

        That is where they belong, whatever orders the account, and where a revision took a deal away from. None if they change
        nothing.
        """
        ...

    def count_outside_fold(self, account: AccountId, selection: Selection) -> int:
        """Return how many events of a selection are no part of the fold."""
        ...

    def hash_at(self, account: AccountId, version: int) -> bytes | None:
        """Return the chain hash of an event, None if there is none."""
        ...

    def version_at(self, account: AccountId, recorded_end_us: int) -> int:
        """Return the last version recorded before a UTC microsecond, 0 if there is none."""
        ...

    def tally(self, account: AccountId, *, after: int = 0, upto: int) -> Tally:
        """Count an account's events after one version up to another inclusive.

        Raises:
            CorruptEvent: What is stored of a break cannot be read.
        """
        ...


class CheckpointStore(Protocol):
    """States of the fold that make replays short (see ``journal.checkpoints``). Nothing but speed depends on them."""

    def checkpoint(
        self, account: AccountId, selection: Selection, fold: str, before: FoldKey | None = None
    ) -> Checkpoint | None:
        """Return the latest checkpoint that is the same as a replay of a selection so far (see ``journal.checkpoints``).

        Args:
            account: Whose.
            selection: Which events.
            fold: The fold and the rules that it is of (``Fold.code``).
            before: Only one whose key is before this one.
        """
        ...

    def checkpoints(self, account: AccountId) -> Iterator[Checkpoint]:
        """Yield all checkpoints of an account, in the fold order."""
        ...

    def save_checkpoints(self, account: AccountId, begin: FoldKey, checkpoints: Sequence[Checkpoint]) -> None:
        """Save checkpoints, replacing those between a key and the last of them that know less.

        If others by the same rules know more, theirs stay. What cannot be stored at once, as somebody else is writing or
        nothing may be written, is not: checkpoints make nothing but speed.
        """
        ...


class EvidenceStore(Protocol):
    """The raw broker answers that events rest on, once an account."""

    def evidence(self, account: AccountId, digest: str) -> bytes | None:
        """Return the raw broker answer with a SHA-256 (hex, small letters) as it came in, None if it is not stored.

        Raises:
            CorruptEvent: What is stored is not what was recorded.
        """
        ...


class SealStore(Protocol):
    """The seals that were made of the journal."""

    def seals(self) -> list[str]:
        """Return the seals that were made of this journal, oldest first."""
        ...

    def save_seal(self, text: str, made_us: int) -> None:
        """Keep a seal, so that the next one can name it."""
        ...


class SyncHealthStore(Protocol):
    """How the last sync attempt of each account ended. It is no event: only the latest is stored."""

    def sync_health(self, account: AccountId) -> SyncHealth | None:
        """Return how the last sync attempt of an account ended; None if there was none, or what is stored is damaged."""
        ...

    def sync_healths(self) -> dict[AccountId, SyncHealth]:
        """Return what ``sync_health`` returns, of all accounts that have one, at one moment."""
        ...

    def save_sync_health(self, health: SyncHealth) -> None:
        """Replace what is stored of an account's sync health, in a transaction of its own. It is no event.

        Raises:
            AccountMoved: The account is in another journal now, so that this sync is of no account that is here.
            AccountMoving: It is on its way.
            JournalError: It was not stored.
        """
        ...


class MarkStore(Protocol):
    """What each account was worth, sample by sample (``ledger.marks``). No events: old ones are deleted.

    The equity of all of them is there for ever, by minute and by server day: whatever the order in which they come.
    """

    def save_mark(self, account: AccountId, mark: AccountMark) -> None:
        """Store a mark and count it in its minute and day, in a transaction of its own; one of the same moment is replaced.

        The first mark counts those that an older program left. Where a minute's marks are deleted, a late one still counts.

        Raises:
            InexactNumber: An amount does not fit.
            JournalError: It was not stored.
        """
        ...

    def marks(self, account: AccountId, *, from_us: int | None = None, to_us: int | None = None) -> Iterator[AccountMark]:
        """Yield the marks of an account from one moment to another inclusive, UTC microseconds, oldest first."""
        ...

    def newest_mark(self, account: AccountId, *, at_us: int | None = None) -> AccountMark | None:
        """Return the last mark that was taken not later than a moment, the last of all without one; None without any."""
        ...

    def delete_marks(self, account: AccountId, before_us: int) -> int:
        """Delete the marks of before a moment, UTC microseconds, and return how many there were."""
        ...

    def equity(
        self, account: AccountId, by: Literal["minute", "day"], *, first: int | None = None, last: int | None = None
    ) -> Iterator[Bucket]:
        """Yield the equity of an account by minute (UTC) or server day, oldest first, of all marks that it ever had.

        Args:
            account: Whose.
            by: Which buckets.
            first: Only from this number on (``Bucket.number``),
            last: and up to this one inclusive.
        """
        ...


class NoticeStore(Protocol):
    """Which notices were sent (``ledger.alerts``). They are no events, and nothing but what is sent depends on them."""

    def sent_notices(self, keys: Collection[str] = ()) -> list[SentNotice]:
        """Return the notices of some keys, and all of which the end was not sent, in the order of key, channel and stage."""
        ...

    def save_notice(self, sent: SentNotice) -> None:
        """Record that a channel accepted a notice, in a transaction of its own. What is recorded stays as it is.

        Raises:
            JournalError: It was not stored.
        """
        ...

    def last_deliveries(self) -> dict[str, int]:
        """Return channel -> when it last accepted a notice, UTC microseconds."""
        ...

    def delete_notices(self, before_us: int) -> int:
        """Delete notices whose end was sent before a moment, UTC microseconds; return how many there were with their ends."""
        ...


class UpkeepStore(Protocol):
    """What was last done for the journal's own safety (``journal.upkeep``). It is no event: only the latest is stored."""

    def upkeep(self) -> dict[str, Upkeep]:
        """Return kind -> how the last of it ended; a damaged row is left out."""
        ...

    def save_upkeep(self, upkeep: Upkeep) -> None:
        """Replace what is stored of a kind, in a transaction of its own. ``succeeded_us`` is found by the journal.

        Raises:
            JournalError: It was not stored.
        """
        ...


class LocationStore(Protocol):
    """Which accounts are here, and which have moved to another journal (``journal.location``)."""

    def location(self, account: AccountId) -> Location:
        """Return whether an account is here; of one without events, that it can be opened here."""
        ...

    def heads_here(self) -> dict[AccountId, Head]:
        """Return what ``heads`` returns, without the accounts that have moved to another journal."""
        ...

    def locations(self) -> dict[AccountId, Location]:
        """Return account -> location, of those that have moved or are about to: the others are here, in their first epoch."""
        ...

    def origins(self, account: AccountId) -> tuple[FormerJournal, ...]:
        """Return the journals that an account was in before, and those that they were restored from, the first one first."""
        ...


class RawRows(Protocol):
    """What is stored as it is stored, damaged or not: for verification, copies and restores."""

    def raw_rows(self, account: AccountId, *, after: int | None = None, upto: int | None = None) -> Iterator[list[Row]]:
        """Yield the rows of an account as they are stored, some at a time: behind a version, up to another, all without them.

        As plain tuples of the columns of ``Stored``. Damaged ones too: columns may hold anything.
        """
        ...

    def raw_evidence(self, account: AccountId) -> Iterator[StoredEvidence]:
        """Yield all raw answers of an account as they are stored, in no order. Damaged ones too: columns may hold anything."""
        ...

    def stored_evidence(self, account: AccountId, digest: str) -> StoredEvidence | None:
        """Return a raw answer as it is stored, compressed."""
        ...

    def irregularities(self) -> Iterator[tuple[str, int | None, str, str]]:
        """Yield what is wrong across accounts: account, version, field, what."""
        ...

    def append_verbatim(self, account: AccountId, rows: Sequence[Stored], evidence: Sequence[StoredEvidence] = ()) -> Head:
        """Append events of another journal as they were recorded there: same versions, same times, same hashes.

        Args:
            account: Whose.
            rows: The events, ascending. Those that are here already are left out; that they are the same the caller has seen.
            evidence: Raw answers; those that appended rows refer to are stored.

        Raises:
            VersionGap: They do not continue at the account's head.
            CorruptEvent: The chain does not hold.
            UnknownEvent: They were recorded by a newer program.
        """
        ...


class Journal(
    EventStore, CheckpointStore, EvidenceStore, SealStore, SyncHealthStore, MarkStore, NoticeStore, UpkeepStore, LocationStore,
    RawRows, Protocol,
):  # fmt: skip
    """All roles of a journal, its id and where it is.

    Every method may be called from several threads.
    """

    def identity(self) -> str:
        """Return the journal's id. A backup has the same; a journal that was restored from one has its own."""
        ...

    def made_us(self) -> int | None:
        """Return when the journal was made where it is, UTC microseconds; None in memory."""
        ...

    def parents(self) -> tuple[Parent, ...]:
        """Return the journals that this one was restored from, the nearest first; none for one that was created."""
        ...

    def schema_differences(self) -> tuple[Difference, ...]:
        """Return what of the tables, constraints, indexes and triggers is not as it was made."""
        ...

    def size_bytes(self) -> int | None:
        """Return how much space the journal takes where it is stored, None in memory."""

    @property
    def derived(self) -> DerivedStore:
        """The tables that a follower makes of the events: nothing that is recorded depends on them."""
        ...

    @property
    def segments(self) -> Segments:
        """Postings packed in files, to make reading them quick: nothing that is recorded depends on them."""
        ...

    def file(self) -> Path | None:
        """Return the SQLite file that holds the journal, None for another journal."""
        ...

    def close(self) -> None:
        """Give back what the journal holds open."""
        ...
