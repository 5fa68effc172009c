"""A journal of an archive: what ``journal.backup`` copies, read from an archive."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final

from ledger.archive.check import account_folders, tables
from ledger.archive.columns import values_of
from ledger.archive.form import EVIDENCE_COLUMNS, MANIFEST, SEALS
from ledger.archive.read import ArchivedAccount
from ledger.archive.write import parents_of, read_description
from ledger.codec import Stored
from ledger.errors import BadValue
from ledger.journal import Head, Parent
from ledger.journal.evidence import StoredEvidence
from ledger.journal.location import FormerJournal, Location
from ledger.values import AccountId

_ANSWERS_AT_ONCE: Final = 1


class ArchiveSource:
    """An archive as the source of a restore (``journal.backup.Source``). Rows are quick to read one after the other.

    Args:
        folder: The archive.

    Raises:
        BadValue: It is none, or no run that wrote it has ended.
    """

    def __init__(self, folder: Path) -> None:
        described = read_description(folder)
        if described is None or "journal" not in described:
            raise BadValue(f"{folder}: expected an archive that a run of ledger archive finished, found none")
        self._folder, self._described = folder, described
        found = [ArchivedAccount(place) for place in account_folders(folder) if (place / MANIFEST).exists()]
        self._accounts = {one.name: one for one in sorted(found, key=lambda one: one.name)}
        self._read: tuple[AccountId | None, int, Iterator[Stored]] = (None, 0, iter(()))
        self._answers: _Answers | None = None

    def identity(self) -> str:
        """Return the id of the journal that it was last written from."""
        return str(self._described["journal"])

    def parents(self) -> tuple[Parent, ...]:
        """Return the journals that the archived one was restored from, the nearest first."""
        return parents_of(self._described)

    def file(self) -> Path | None:
        """Return None: it is no SQLite file."""
        return None

    def seals(self) -> list[str]:
        """Return the seals of the runs that wrote it, oldest first."""
        return [(self._folder / SEALS / name).read_text(encoding="utf-8") for name in self._described["seals"]]

    def location(self, account: AccountId) -> Location:
        """Return whether the account was in the archived journal, and its epoch."""
        return self._accounts[account].manifest.location

    def origins(self, account: AccountId) -> tuple[FormerJournal, ...]:
        """Return the journals that the account was in before."""
        return self._accounts[account].manifest.origins

    def heads(self) -> dict[AccountId, Head]:
        """Return account -> head, as they are archived."""
        return {name: one.head for name, one in self._accounts.items()}

    def rows(self, account: AccountId, *, after: int = 0, upto: int | None = None) -> Iterator[Stored]:
        """Yield rows behind a version, up to another; those behind the last that were asked for go on in the file."""
        name, version, rows = self._read
        if (name, version) != (account, after):
            rows = chain.from_iterable(self._accounts[account].rows(after))
        last = self._accounts[account].head.version if upto is None else upto
        self._read = account, last, rows
        return islice(rows, max(0, last - after))

    def stored_evidence(self, account: AccountId, digest: str) -> StoredEvidence | None:
        """Return a raw answer as a journal stores it, None if it is not archived."""
        if self._answers is None or self._answers.account is not self._accounts[account]:
            self._answers = _Answers(self._accounts[account])
        return self._answers.find(digest)


class _Answers:
    """The raw answers of an archived account. Those asked for in the order of the files are read once each."""

    def __init__(self, account: ArchivedAccount) -> None:
        self.account = account
        files = [one.evidence.file for one in account.manifest.segments if one.evidence is not None]
        self._places = {digest: (name, number) for name in files for number, digest in enumerate(self._digests(name))}
        self._read: tuple[str, int, Iterator[StoredEvidence]] = ("", 0, iter(()))

    def find(self, digest: str) -> StoredEvidence | None:
        """Return a raw answer as a journal stores it, None if it is not archived."""
        if digest not in self._places:
            return None
        wanted, number = self._places[digest]
        name, at, answers = self._read
        if name != wanted or number < at:
            at, answers = 0, self._stored(wanted)
        self._read = wanted, number + 1, answers
        return next(islice(answers, number - at, None))

    def _digests(self, name: str) -> Iterator[str]:
        for table in tables(self.account.place / name, ("sha256",)):
            yield from (digest.hex() for digest in values_of(table, "sha256"))

    def _stored(self, name: str) -> Iterator[StoredEvidence]:
        for table in tables(self.account.place / name, EVIDENCE_COLUMNS, _ANSWERS_AT_ONCE):
            [digest], [raw] = values_of(table, "sha256"), values_of(table, "raw")
            yield StoredEvidence(digest=digest.hex(), size=len(raw), body=zlib.compress(raw))
