"""Copies of whole journals, made while others write: for backups, and for taking them back.

The copy is of one moment: the heads are read first, in one statement, and every account is copied up to its own. Nothing of
it passes for a journal before all of it is there and verified; a copy that was cut short goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from socket import gethostname
from typing import Final, Protocol
from uuid import uuid4

from attrs import frozen

from ledger.codec import Stored
from ledger.errors import AccountMismatch, BadValue, CorruptEvent, JournalMissing
from ledger.journal import Head, Journal, Parent
from ledger.journal.admission import admit_verbatim, start
from ledger.journal.evidence import StoredEvidence, evidence_of
from ledger.journal.location import FormerJournal, Location
from ledger.journal.sql.engine import UNFINISHED, Engine, found_revision, open_engine, shown, sqlite_path
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.migrate import finish, insert_parents, migrate
from ledger.journal.sql.moving import restore_location
from ledger.journal.sql.partitions import require_partitionable, require_partitions
from ledger.journal.sql.preflight import partitions as found_partitions
from ledger.journal.upkeep import COPY, Upkeep
from ledger.journal.verify.walk import verify_account
from ledger.output_files import COMPANIONS
from ledger.values import AccountId

_ROWS: Final = 2000


@frozen(kw_only=True)
class Copied:
    """What a copy holds: account -> its head. ``added`` are the events that were not there yet."""

    target: str
    journal_id: str
    heads: dict[AccountId, Head]
    added: int

    @property
    def events(self) -> int:
        """How many events it holds."""
        return sum(head.version for head in self.heads.values())


class Source(Protocol):
    """What is copied: a journal, or what was archived of one."""

    def identity(self) -> str:
        """Return the journal's id."""
        ...

    def parents(self) -> tuple[Parent, ...]:
        """Return the journals that it was restored from, the nearest first."""
        ...

    def file(self) -> Path | None:
        """Return the SQLite file that holds it, None for something else."""
        ...

    def seals(self) -> list[str]:
        """Return the seals that were made of it, oldest first."""
        ...

    def heads(self) -> dict[AccountId, Head]:
        """Return account -> head, of all accounts with events at one moment."""
        ...

    def rows(self, account: AccountId, *, after: int = 0, upto: int | None = None) -> Iterator[Stored]:
        """Yield an account's rows, ascending version, after one version up to another inclusive."""
        ...

    def stored_evidence(self, account: AccountId, digest: str) -> StoredEvidence | None:
        """Return a raw answer, compressed."""
        ...

    def location(self, account: AccountId) -> Location:
        """Return whether the account is there, and its epoch."""
        ...

    def origins(self, account: AccountId) -> tuple[FormerJournal, ...]:
        """Return the journals that the account was in before."""
        ...


def restore_journal(
    source: Source,
    url: str,
    now_us: Callable[[], int],
    progress: Callable[[int], object] = lambda _: None,
    *,
    partitions: int | None = None,
) -> Copied:
    """Make a journal of a backup, to go on with: a journal of its own, whose parent is the one that was backed up.

    Arguments and errors as ``copy_journal``.
    """
    return copy_journal(source, url, now_us, progress, is_restored=True, partitions=partitions)


def copy_journal(
    source: Source,
    url: str,
    now_us: Callable[[], int],
    progress: Callable[[int], object] = lambda _: None,
    *,
    is_restored: bool = False,
    partitions: int | None = None,
) -> Copied:
    """Copy a journal to where there is none, and verify the copy.

    Args:
        source: What is copied; others may go on to append to it.
        url: Where to: a file or an empty database, or an unfinished copy of the same journal.
        now_us: Returns the present in UTC microseconds.
        progress: Called with the number of events copied, and then verified, since the last call.
        is_restored: Give the copy a journal id of its own and note whose copy it is. A backup has the id of the journal.
        partitions: Make the tables of a copy on Postgres in so many partitions, however those of the source are.

    Raises:
        BadValue: No journal has so many partitions, or the copy is one of SQLite.
        JournalError: What was begun there has another number of partitions.
        JournalMissing: There is a journal already, or something else.
        AccountMismatch: What was begun there is a copy of another journal.
        CorruptEvent: The source or the copy is not as it was recorded. The copy stays unfinished.
    """
    engine = open_engine(url)
    require_partitionable(partitions, is_postgres=engine.is_postgres)
    _require_free_name(engine, source)
    target = SqlJournal(engine, now_us)
    try:
        found = found_revision(engine)
        if found not in (None, UNFINISHED):
            raise JournalMissing(f"{shown(engine.url)} is a journal already: name a new file, or an empty database")
        heads = source.heads()
        if found is None:
            _begin(engine, source, heads, is_restored=is_restored, partitions=partitions)
        require_partitions(found_partitions(engine) or 0, partitions, shown(engine.url))
        of, versions = _begun(target, source, is_restored=is_restored)
        if of != source.identity():
            raise AccountMismatch(
                f"{shown(engine.url)} is the unfinished copy of another journal, {of}: remove it or name another"
            )
        if versions is not None:
            heads = _heads_at(source, versions, heads)
        kept = set(target.seals())
        for text in source.seals():
            if text not in kept:
                target.save_seal(text, now_us())
        added = sum(_copy_account(source, target, account, head, progress) for account, head in heads.items())
        _check(target, heads, progress)
        for account in heads:  # read last: what has left meanwhile has left the copy too
            restore_location(target, account, source.location(account), source.origins(account))
        if not is_restored:
            target.save_upkeep(Upkeep(kind=COPY, at_us=now_us(), host=gethostname()))
        finish(engine)
        return Copied(target=shown(engine.url), journal_id=target.identity(), heads=heads, added=added)
    finally:
        target.close()


def _require_free_name(engine: Engine, source: Source) -> None:
    """Refuse to make a copy under a name that SQLite uses for something else of the source."""
    file, journal = sqlite_path(engine.url), source.file()
    if file is None or journal is None:
        return
    if any(os.path.realpath(file) == f"{os.path.realpath(journal)}{suffix}" for suffix in COMPANIONS):
        raise BadValue(f"{file} is a name that SQLite uses for what belongs to {journal}: name another file")


def _begin(
    engine: Engine, source: Source, heads: Mapping[AccountId, Head], *, is_restored: bool, partitions: int | None
) -> None:
    """Make the tables of a copy, with its journal id and parents."""
    parents = source.parents()
    if is_restored:
        versions = {account: head.version for account, head in heads.items()}
        parents = (Parent(journal_id=source.identity(), versions=versions), *parents)
    journal_id = str(uuid4()) if is_restored else source.identity()
    migrate(engine, copy_of=journal_id, fill=lambda connection: insert_parents(connection, parents), partitions=partitions)


def _begun(target: Journal, source: Source, *, is_restored: bool) -> tuple[str, Mapping[AccountId, int] | None]:
    """Return which journal a copy was begun of, and for one that is restored as of which versions."""
    parents = target.parents()
    if is_restored and len(parents) > len(source.parents()):
        return parents[0].journal_id, parents[0].versions
    return target.identity() if not is_restored else f"{target.identity()} (a backup)", None


def _heads_at(source: Source, versions: Mapping[AccountId, int], heads: Mapping[AccountId, Head]) -> dict[AccountId, Head]:
    """Return where the accounts of a journal were at some versions, which it has reached."""
    found = {}
    for account, version in versions.items():
        if account not in heads or heads[account].version < version:
            raise AccountMismatch(f"the journal that was being restored had version {version} of {account}: remove the copy")
        found[account] = heads[account] if heads[account].version == version else _head_at(source, account, version)
    return found


def _head_at(source: Source, account: AccountId, version: int) -> Head:
    state = start(account)
    for at in range(0, version, _ROWS):
        state = admit_verbatim(account, state, _batch(source, account, at, version), lambda _: None).head
    return state


def _batch(source: Source, account: AccountId, after: int, upto: int) -> list[Stored]:
    return list(source.rows(account, after=after, upto=min(after + _ROWS, upto)))


def _copy_account(source: Source, target: SqlJournal, account: AccountId, head: Head, progress: Callable[[int], object]) -> int:
    begun = target.head(account)
    after = begun.version if begun else 0
    kept: set[str] = set()
    for at in range(after, head.version, _ROWS):
        # Read to the end each time, so that nothing is left open whatever happens.
        some = _batch(source, account, at, head.version)
        target.append_verbatim(account, some, list(evidence_of(source, account, some, kept)))
        progress(len(some))
    return head.version - after


def _check(target: SqlJournal, heads: dict[AccountId, Head], progress: Callable[[int], object]) -> None:
    """Verify a copy by itself, and against what it was made of."""
    if target.heads() != heads:
        raise CorruptEvent("the copy's heads are not those of the journal that was copied: remove it, and copy again")
    for account in heads:
        for problem in verify_account(target, account, progress).problems:
            raise CorruptEvent(
                f"the copy of {account} does not verify: version {problem.version}, {problem.field}: {problem.what}"
            )
