"""Verification of an archive: the chain is hashed again from what is in the Parquet files, and everything else is compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from ledger.archive.chain import Known, check_table
from ledger.archive.columns import TEXTS_AS_CODES, values_of
from ledger.archive.form import ACCOUNTS, EVENT_COLUMNS, EVIDENCE_COLUMNS, SEALS, account_folder
from ledger.archive.manifest import File, Manifest, read_manifest
from ledger.errors import CorruptEvent, LedgerError
from ledger.journal import Head
from ledger.journal.admission import start
from ledger.seals import Seal
from ledger.seals import read as read_seal
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


def read_back(
    place: Path,
    account: AccountId,
    files: tuple[File, File | None],
    begin: Head,
    known: Known,
    progress: Callable[[int], object] = lambda _: None,
) -> Head:
    """Read the files of a segment from disk, hash the chain again, and return the head behind it.

    Args:
        place: The account's folder.
        account: Whose.
        files: Its events, and its evidence if there is any, as they have to be.
        begin: The head before it.
        known: What is known of the segments before it; goes on to what is behind it.
        progress: Called with how many events more were checked.

    Raises:
        CorruptEvent: It is not what was recorded.
    """
    events, evidence = files
    _check_file(place, events)
    if evidence is not None:
        _check_file(place, evidence)
        known.answers.update(_checked_answers(place / evidence.file))
    head, path = begin, place / events.file
    for table in tables(path, EVENT_COLUMNS):
        try:
            head = check_table(account, table, head, known)
        except LedgerError as error:
            raise CorruptEvent(f"{path}: {error}") from error
        progress(len(table))
    return head


def tables(path: Path, columns: tuple[str, ...], at_once: int = _AT_ONCE) -> Iterator[Any]:
    """Yield a Parquet file as Arrow tables of some rows.

    Raises:
        CorruptEvent: It is not to be read, or has other columns.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, read_dictionary=[one for one in TEXTS_AS_CODES if one in columns]) as file:
            if not set(columns) <= set(file.schema_arrow.names):
                raise CorruptEvent(f"{path}: expected the columns {', '.join(columns)}, found others")
            for batch in file.iter_batches(at_once, columns=list(columns)):
                yield pa.Table.from_batches([batch])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise CorruptEvent(f"{path}: expected a Parquet file of an archive, found something else: {error}") from error


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


def _checked_answers(path: Path) -> Iterator[bytes]:
    for table in tables(path, EVIDENCE_COLUMNS, at_once=1):
        for digest, raw in zip(values_of(table, "sha256"), values_of(table, "raw"), strict=True):
            if sha256(raw).digest() != digest:
                raise CorruptEvent(f"{path}: the raw answer {digest.hex()} is not what was recorded")
            yield digest


def check_account(place: Path, seals: dict[str, Seal], progress: Callable[[int], object] = lambda _: None) -> AccountCheck:
    """Check everything of an archived account: files, chain, what is derived, raw answers, seals.

    Args:
        place: Its folder.
        seals: File name -> seal, of those whose signature holds.
        progress: Called with how many events more were checked.
    """
    manifest = read_manifest(place)
    if manifest is None:
        raise CorruptEvent(f"{place}: it has no manifest, so that nothing of it is archived: run ledger archive again")
    problems: list[ArchiveProblem] = []
    head, known = start(manifest.account), Known()
    if account_folder(place.parents[1], manifest.account) != place:
        what = f"it has the manifest of {manifest.account}, whose folder has another name"
        problems.append(ArchiveProblem(file=place.name, what=what))
    for segment in manifest.segments:
        try:
            head = read_back(place, manifest.account, (segment.events, segment.evidence), head, known, progress)
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
    problems += _seal_problems(place, manifest, seals)
    return AccountCheck(account=manifest.account, version=head.version, head=head.hash.hex(), problems=tuple(problems))


def _seal_problems(place: Path, manifest: Manifest, seals: dict[str, Seal]) -> Iterator[ArchiveProblem]:
    for one in manifest.segments:
        if one.seal is None:
            continue
        seal = seals.get(one.seal)
        stated = None if seal is None else seal.accounts.get(manifest.account)
        if stated is None:
            what = f"the seal {one.seal} of version {one.last} is missing, or its signature does not hold"
            yield ArchiveProblem(file=place.name, what=what)
        elif stated.version == one.last and stated.head != one.head:
            what = f"version {one.last} was sealed with chain hash {stated.head[:16]}, and {one.head[:16]} is archived"
            yield ArchiveProblem(file=place.name, what=what)


def check_seals(folder: Path, trusted_key: str | None = None) -> tuple[dict[str, Seal], list[ArchiveProblem]]:
    """Return file name -> seal, of those of an archive whose signatures hold, and what is wrong with the others.

    Args:
        folder: The archive.
        trusted_key: The public key (hex) that they have to be signed with; by any key without one.
    """
    found: dict[str, Seal] = {}
    problems: list[ArchiveProblem] = []
    for path in sorted((folder / SEALS).glob("*.seal")):
        try:
            seal = read_seal(path.read_bytes().decode("utf-8"))
        except (LedgerError, OSError, UnicodeDecodeError) as error:
            problems.append(ArchiveProblem(file=path.name, what=str(error)))
            continue
        if trusted_key is not None and seal.key != trusted_key:
            problems.append(ArchiveProblem(file=path.name, what=f"it is signed with another key, {seal.key[:16]}"))
            continue
        found[path.name] = seal
    return found, problems


def account_folders(folder: Path) -> list[Path]:
    """Return the folders of all accounts of an archive, ordered by name."""
    return sorted(path for path in (folder / ACCOUNTS).glob("*") if path.is_dir())
