"""Copies of whole journals, made while others write: for backups, and for taking them back.

The copy is of one moment: the heads are read first, in one statement, and every account is copied up to its own. Nothing of
it passes for a journal before all of it is there and verified; a copy that was cut short goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import frozen

from ledger.codec import Stored
from ledger.errors import AccountMismatch, CorruptEvent, JournalMissing
from ledger.journal import Head, Journal
from ledger.journal.connect import UNFINISHED, found_revision, open_engine, shown
from ledger.journal.evidence import Kept
from ledger.journal.migrate import finish, migrate
from ledger.journal.sql import SqlJournal
from ledger.journal.verification import verify_account
from ledger.values import AccountId

_ROWS: Final = 2000


@frozen(kw_only=True)
class Copied:
    """What a copy holds: account -> where it stands. ``added`` are the events that were not there yet."""

    target: str
    heads: dict[AccountId, Head]
    added: int

    @property
    def events(self) -> int:
        """How many events it holds."""
        return sum(head.version for head in self.heads.values())


def copy_journal(
    source: Journal, url: str, now_us: Callable[[], int], progress: Callable[[int], object] = lambda _: None
) -> Copied:
    """Copy a journal to where there is none, and verify the copy.

    Args:
        source: What is copied; others may go on to append to it.
        url: Where to: a file or an empty database, or an unfinished copy of the same journal.
        now_us: Returns the present in UTC microseconds.
        progress: Called with the number of events copied, and then verified, since the last call.

    Raises:
        JournalMissing: There is a journal already, or something else.
        AccountMismatch: What was begun there is a copy of another journal.
        CorruptEvent: The source or the copy is not as it was recorded. The copy stays unfinished.
    """
    engine = open_engine(url)
    target = SqlJournal(engine, now_us)
    try:
        found = found_revision(engine)
        if found not in (None, UNFINISHED):
            raise JournalMissing(f"{shown(engine.url)} is a journal already: name a new file, or an empty database")
        if found is None:
            migrate(engine, copy_of=source.identity())
        if target.identity() != source.identity():
            raise AccountMismatch(
                f"{shown(engine.url)} is the unfinished copy of another journal, {target.identity()}: remove it or name another"
            )
        for text in source.seals():
            target.keep_seal(text, now_us())
        heads = source.heads()
        added = sum(_copy_account(source, target, account, head, progress) for account, head in heads.items())
        _check(target, heads, progress)
        finish(engine)
        return Copied(target=shown(engine.url), heads=heads, added=added)
    finally:
        target.close()


def _copy_account(
    source: Journal, target: SqlJournal, account: AccountId, head: Head, progress: Callable[[int], object]
) -> int:
    begun = target.head(account)
    after = begun.version if begun else 0
    kept: set[str] = set()
    for at in range(after, head.version, _ROWS):
        # Read to the end each time, so that nothing is left open whatever happens.
        some = list(source.rows(account, after=at, upto=min(at + _ROWS, head.version)))
        target.take(account, some, list(_evidence(source, account, some, kept)))
        progress(len(some))
    return head.version - after


def _evidence(source: Journal, account: AccountId, rows: Sequence[Stored], kept: set[str]) -> Iterator[Kept]:
    """Yield the raw answers that rows are the first to refer to."""
    for digest in dict.fromkeys(row.evidence for row in rows):
        if digest is not None and digest not in kept:
            kept.add(digest)
            found = source.kept(account, digest)
            if found is None:
                raise CorruptEvent(f"account {account}: the raw answer {digest} is not kept. Run: ledger verify")
            yield found


def _check(target: SqlJournal, heads: dict[AccountId, Head], progress: Callable[[int], object]) -> None:
    """Verify a copy by itself, and against what it was made of."""
    if target.heads() != heads:
        raise CorruptEvent("the copy's heads are not those of the journal that was copied: remove it, and copy again")
    for account in heads:
        for problem in verify_account(target, account, progress).problems:
            raise CorruptEvent(
                f"the copy of {account} does not verify: version {problem.version}, {problem.field}: {problem.what}"
            )
