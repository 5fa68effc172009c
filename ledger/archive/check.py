"""Verification of an archive: the chain is hashed again from what is in the Parquet files, and everything else is compared."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from hashlib import file_digest, sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from ledger.archive.chain import Known, check_table
from ledger.archive.columns import TEXTS_AS_CODES, stored_rows, values_of
from ledger.archive.form import (
    ACCOUNTS,
    DESCRIPTION,
    EVENT_COLUMNS,
    EVIDENCE_COLUMNS,
    SEALS,
    account_folder,
    event_schema,
    evidence_schema,
)
from ledger.archive.manifest import File, Manifest, read_manifest, scales_of
from ledger.codec import Stored, terms_of
from ledger.errors import CorruptEvent, LedgerError
from ledger.journal import Head
from ledger.journal.admission import start
from ledger.seals import Seal
from ledger.seals import read as read_seal
from ledger.terms import TERMS_KINDS
from ledger.values import AccountId

_AT_ONCE: Final = 8192


@frozen(kw_only=True)
class ArchiveProblem:
    """One thing that is wrong with an archive: in which file, and what."""

    file: str
    what: str


@frozen(kw_only=True)
class AccountCheck:
    """What was checked of one account: the version up to which it is archived, and what is wrong."""

    account: AccountId
    version: int
    head: str
    problems: tuple[ArchiveProblem, ...]


@frozen(kw_only=True)
class Stated:
    """That an account had a chain hash (hex) at a version.

    Attributes:
        by: The file that states it.
        version: The version.
        head: The chain hash.
        is_finished: Whether so much has to be archived: what a run that was killed sealed does not.
    """

    by: str
    version: int
    head: str
    is_finished: bool


@frozen(kw_only=True)
class Statements:
    """What states how far accounts were archived, beside their manifests.

    Attributes:
        seals: Name -> seal, of those whose signature holds.
        finished: The names of those of finished runs, and of those from elsewhere that have to hold.
        described: An account's folder -> its version and head when a run last ended, of ``archive.json``.
    """

    seals: Mapping[str, Seal]
    finished: Collection[str] = ()
    described: Mapping[str, Mapping[str, Any]] = field(factory=dict)

    def about(self, place: Path, manifest: Manifest) -> list[Stated]:
        """Return what is stated of an account.

        A seal that neither a finished run nor the account's own manifest names is not of this archive: a run that refused
        the account wrote it, or one that was killed before it came to the account.
        """
        own = {segment.seal for segment in manifest.segments}
        found = [
            Stated(by=name, version=sealed.version, head=sealed.head, is_finished=name in self.finished)
            for name, seal in self.seals.items()
            if (name in self.finished or name in own) and (sealed := seal.accounts.get(manifest.account)) is not None
        ]
        if place.name in self.described:
            last = self.described[place.name]
            found.append(Stated(by=DESCRIPTION, version=last["version"], head=last["head"], is_finished=True))
        return [one for one in found if one.version]


@define
class _Noted:
    """What is noted of an account's events while they are read back: hashes at some versions, and what changes its terms."""

    versions: list[int]
    progress: Callable[[int], object]
    hashes: dict[int, str] = field(factory=dict)
    terms_rows: list[Stored] = field(factory=list)

    def note(self, table: Any) -> None:
        import pyarrow as pa
        from pyarrow import compute

        first, count = table.column("version")[0].as_py(), len(table)
        for version in self.versions[bisect_left(self.versions, first) : bisect_right(self.versions, first + count - 1)]:
            self.hashes[version] = table.column("hash")[version - first].as_py().hex()
        found = table.filter(compute.is_in(table.column("kind").cast(pa.string()), pa.array(TERMS_KINDS)))
        self.terms_rows += stored_rows(found, b"") if len(found) else ()
        self.progress(count)


def read_back(
    place: Path,
    account: AccountId,
    files: tuple[File, File | None],
    begin: Head,
    known: Known,
    each: Callable[[Any], object] = lambda _: None,
) -> Head:
    """Read the files of a segment from disk, hash the chain again, and return the head behind it.

    Args:
        place: The account's folder.
        account: Whose.
        files: Its events, and its evidence if there is any, as they have to be.
        begin: The head before it.
        known: What is known of the segments before it; goes on to what is behind it.
        each: Called with each Arrow table of events that was checked; none is empty.

    Raises:
        CorruptEvent: It is not what was recorded.
    """
    events, evidence = files
    _check_file(place, events)
    if evidence is not None:
        _check_file(place, evidence)
        known.answers.update(_checked_answers(place / evidence.file, evidence.rows))
    head, path = begin, place / events.file
    for table in tables(path, EVENT_COLUMNS):
        try:
            head = check_table(account, table, head, known)
        except (LedgerError, ValueError) as error:  # a text that is no UTF-8, a digest that is no number
            raise CorruptEvent(f"{path}: {error}") from error
        each(table)
    return head


def tables(path: Path, columns: tuple[str, ...], at_once: int = _AT_ONCE) -> Iterator[Any]:
    """Yield a Parquet file as Arrow tables of some rows.

    Raises:
        CorruptEvent: It is not to be read, or has other columns, or other types in them.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, read_dictionary=[one for one in TEXTS_AS_CODES if one in columns]) as file:
            _require_columns(path, file.schema_arrow, columns)
            for batch in file.iter_batches(at_once, columns=list(columns)):
                if len(batch):
                    yield pa.Table.from_batches([batch])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise CorruptEvent(f"{path}: expected a Parquet file of an archive, found something else: {error}") from error


def _require_columns(path: Path, schema: Any, columns: tuple[str, ...]) -> None:
    import pyarrow as pa

    if not set(columns) <= set(schema.names) or len(set(schema.names)) < len(schema.names):
        raise CorruptEvent(f"{path}: expected the columns {', '.join(columns)}, found others")
    for expected in map(_fields().__getitem__, columns):
        found = schema.field(expected.name)
        kind = found.type.value_type if pa.types.is_dictionary(found.type) else found.type
        if kind != expected.type or (found.nullable and not expected.nullable):
            raise CorruptEvent(f"{path}: expected the column {_in_words(expected)}, found {_in_words(found.with_type(kind))}")


@cache
def _fields() -> dict[str, Any]:
    """Return the columns of both kinds of files: their names are different."""
    return {one.name: one for one in (*event_schema(), *evidence_schema())}


def _in_words(column: Any) -> str:
    return f"{column.name} of {column.type}{'' if column.nullable else ', never null'}"


def file_of(path: Path, rows: int) -> File:
    """Return what a manifest has about a file that is written, as it is on disk."""
    with path.open("rb") as content:
        if hasattr(os, "posix_fadvise"):  # read from the disk and not from what the system still has of it in memory
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        digest = file_digest(content, "sha256").hexdigest()
    return File(file=path.name, rows=rows, bytes=path.stat().st_size, sha256=digest)


def _check_file(place: Path, file: File) -> None:
    path = place / file.file
    try:
        found = file_of(path, file.rows)
    except OSError as error:
        raise CorruptEvent(f"{path}: the manifest names it, and it cannot be read: {error.strerror}") from error
    if found != file:
        raise CorruptEvent(
            f"{path}: expected {file.bytes} bytes with SHA-256 {file.sha256[:16]}, found {found.bytes} with {found.sha256[:16]}"
        )


def _checked_answers(path: Path, rows: int) -> Iterator[bytes]:
    count = 0
    for table in tables(path, EVIDENCE_COLUMNS, at_once=1):
        for digest, size, raw in zip(*(values_of(table, name) for name in EVIDENCE_COLUMNS), strict=True):
            if sha256(raw).digest() != digest or len(raw) != size:
                raise CorruptEvent(f"{path}: the raw answer {digest.hex()} is not what was recorded")
            count += 1
            yield digest
    if count != rows:
        raise CorruptEvent(f"{path}: expected {rows} raw answers, found {count}")


def check_account(place: Path, statements: Statements, progress: Callable[[int], object] = lambda _: None) -> AccountCheck:
    """Check everything of an archived account: files, chain, what is derived, raw answers, scales, seals.

    Args:
        place: Its folder.
        statements: What states how far it was archived.
        progress: Called with how many events more were checked.
    """
    manifest = read_manifest(place)
    if manifest is None:
        raise CorruptEvent(f"{place}: it has no manifest, so that nothing of it is archived: run ledger archive again")
    problems: list[ArchiveProblem] = []
    head, known = start(manifest.account), Known()
    stated = statements.about(place, manifest)
    noted = _Noted(sorted({one.version for one in stated}), progress)
    if account_folder(place.parents[1], manifest.account) != place:
        what = f"it has the manifest of {manifest.account}, whose folder has another name"
        problems.append(ArchiveProblem(file=place.name, what=what))
    for segment in manifest.segments:
        try:
            head = read_back(place, manifest.account, (segment.events, segment.evidence), head, known, noted.note)
        except CorruptEvent as error:
            problems.append(ArchiveProblem(file=place.name, what=str(error)))
            break
        if head != segment.end:
            what = (
                f"{segment.events.file}: expected to end at version {segment.last} with chain hash {segment.head[:16]}, "
                f"found version {head.version} with {head.hash.hex()[:16]}"
            )
            problems.append(ArchiveProblem(file=place.name, what=what))
            break
    else:
        problems += _scale_problems(place, manifest, noted.terms_rows)
    problems += _seal_problems(place, manifest, statements.seals)
    problems += _stated_problems(place, manifest, stated, noted.hashes)
    return AccountCheck(account=manifest.account, version=head.version, head=head.hash.hex(), problems=tuple(problems))


def _scale_problems(place: Path, manifest: Manifest, rows: list[Stored]) -> Iterator[ArchiveProblem]:
    terms = terms_of(rows)
    expected = None if terms is None else scales_of(terms)
    if manifest.scales != expected:
        what = f"the manifest has the scales {manifest.scales}, and the events give {expected}"
        yield ArchiveProblem(file=place.name, what=what)


def _seal_problems(place: Path, manifest: Manifest, seals: Mapping[str, Seal]) -> Iterator[ArchiveProblem]:
    for one in manifest.segments:
        if one.seal is not None and (one.seal not in seals or manifest.account not in seals[one.seal].accounts):
            what = f"the seal {one.seal} of version {one.last} is missing, or its signature does not hold"
            yield ArchiveProblem(file=place.name, what=what)


def _stated_problems(
    place: Path, manifest: Manifest, stated: list[Stated], hashes: Mapping[int, str]
) -> Iterator[ArchiveProblem]:
    last, key = manifest.head.version, attrgetter("version")
    if behind := [one for one in stated if one.is_finished and one.version > last]:
        latest = max(behind, key=key)
        what = cut_off(latest.version, f"version {last}")
        yield ArchiveProblem(file=latest.by, what=f"account {manifest.account}: {what}")
    if others := [one for one in stated if hashes.get(one.version, one.head) != one.head]:
        first = min(others, key=key)
        what = (
            f"the chain was rewritten: {first.by} states version {first.version} with chain hash {first.head[:16]}, and "
            f"{hashes[first.version][:16]} is archived"
        )
        yield ArchiveProblem(file=place.name, what=what)


def cut_off(version: int, found: str) -> str:
    """Return in words that less is archived than a file states."""
    return f"it states version {version}, and {found} is archived: it was cut off, or never archived so far"


def check_seals(
    folder: Path, trusted_key: str | None = None, since: Mapping[str, Seal] | None = None
) -> tuple[dict[str, Seal], list[ArchiveProblem]]:
    """Return name -> seal, of those whose signatures hold, and what is wrong with the others.

    Args:
        folder: The archive; its seals are known by the names of their files.
        trusted_key: The public key (hex) that they have to be signed with; by any key without one.
        since: Seals from elsewhere.
    """
    read: dict[str, Seal] = dict(since or {})
    problems: list[ArchiveProblem] = []
    for path in sorted((folder / SEALS).glob("*.seal")):
        try:
            read[path.name] = read_seal(path.read_bytes().decode("utf-8"))
        except (LedgerError, OSError, UnicodeDecodeError) as error:
            problems.append(ArchiveProblem(file=path.name, what=str(error)))
    found = {name: seal for name, seal in read.items() if trusted_key in (None, seal.key)}
    problems += [
        ArchiveProblem(file=name, what=f"it is signed with another key, {seal.key[:16]}")
        for name, seal in read.items()
        if name not in found
    ]
    return found, problems


def account_folders(folder: Path) -> list[Path]:
    """Return the folders of all accounts of an archive, ordered by name."""
    return sorted(path for path in (folder / ACCOUNTS).glob("*") if path.is_dir())
