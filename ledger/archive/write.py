"""Writing an archive: the events behind the last archived version, account by account, in several processes.

Files are written under another name and durable before they get theirs; each segment is read back and its chain hashed again
before a manifest names it. So a run that is killed leaves the archive of before, or a longer one that is as valid.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from ledger.archive.chain import Known
from ledger.archive.check import file_of, read_back, tables
from ledger.archive.columns import values_of
from ledger.archive.form import (
    DESCRIPTION,
    EVENT_COLUMNS,
    FORM,
    GROUP_ROWS,
    LOCK,
    MANIFEST,
    PROCESSES_MAX,
    SEALS,
    SEGMENT_ROWS,
    account_folder,
    event_schema,
    event_writer,
    evidence_schema,
    file_name,
    folder_name,
    require_pyarrow,
)
from ledger.archive.manifest import File, Manifest, Segment, read_manifest, scales_of, write_manifest
from ledger.clock import MICROSECOND, UTC_EPOCH
from ledger.codec import Stored
from ledger.errors import AccountMismatch, BadValue, CorruptEvent, JournalUnavailable, LedgerError
from ledger.gateway.serve.lock import FileLock
from ledger.journal import Head, Journal, Parent
from ledger.journal.evidence import decompress, is_digest, required
from ledger.journal.sql.words import REVISION
from ledger.output_files import written_whole
from ledger.postings import ASSERTED, Row
from ledger.seals import create
from ledger.values import AccountId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_AT: Final = tuple(Stored._fields.index(name) for name in EVENT_COLUMNS)
_VERSION, _EVIDENCE = Stored._fields.index("version"), Stored._fields.index("evidence")
_BATCH: Final = 8192
#: What is read of the assertions that are archived.
_ASSERTED: Final = ("placement", "position_id", "order_msc", "order_deal")
#: Raw answers are written some at a time: so many bytes of them.
_ANSWER_BYTES: Final = 16 * 1024 * 1024


@frozen(kw_only=True)
class Archived:
    """What a run archived of one account: ``events`` new ones, up to ``version``, in files of so many ``bytes``."""

    account: AccountId
    events: int
    version: int
    head: str
    bytes: int


Progress = Callable[[int], object]


def archive(
    open_journal: Callable[[], Journal],
    folder: Path,
    now_us: Callable[[], int],
    *,
    accounts: Sequence[AccountId] | None = None,
    key: Ed25519PrivateKey | None = None,
    jobs: int = 1,
    progress: Progress = lambda _: None,
) -> list[Archived]:
    """Archive what is new of a journal, as of one moment, while others append.

    An account that is refused, or damaged, keeps no other from being archived; the error at the end names all of them.

    Args:
        open_journal: Opens the journal; called in each process.
        folder: The archive; made where there is none.
        now_us: Returns the present in UTC microseconds.
        accounts: Only these; all without.
        key: Signs a seal of the heads that are archived.
        jobs: So many processes.
        progress: Called with how many events more are archived.

    Raises:
        JournalUnavailable: Another run writes the archive, or pyarrow is not installed.
        AccountMismatch: An account has another history in the archive. Nothing of it was changed.
        BadValue: The folder holds something else, or an archive of a journal that has nothing to do with this one.
        CorruptEvent: What was read, or what was written, is not what was recorded.
    """
    require_pyarrow()
    folder.mkdir(parents=True, exist_ok=True)
    journal = open_journal()
    try:
        with _locked(folder):
            known = read_description(folder)
            heads = _heads(journal, accounts)
            _require_related(journal, folder, known or {}, heads)
            _write_description(folder, known or {"form": FORM, "seals": []})
            _remove_partial(folder)
            is_whole = accounts is None
            seal = None if key is None else _write_seal(journal, folder, key, now_us(), heads, is_whole=is_whole)
            tasks = [(account, head) for account, head in heads.items() if head.version]
            ended = list(_archived(open_journal, journal, folder, tasks, seal, jobs, progress))
            found = [one for one in ended if isinstance(one, Archived)]
            description = read_description(folder) or {}
            description["accounts"] = description.get("accounts", {}) | {
                folder_name(one.account): {"version": one.version, "head": one.head} for one in found
            }
            parents = [_parent_fields(one) for one in journal.parents()]
            description |= {"form": FORM, "journal": journal.identity(), "parents": parents}
            refused = [one for one in ended if not isinstance(one, Archived)]
            if refused:
                _write_description(folder, description)  # without the seal, which states the refused accounts too
                raise _joined(refused, len(found))
            _write_description(folder, description | {"seals": [*description["seals"], *([seal] if seal else ())]})
            return found
    finally:
        journal.close()


def _heads(journal: Journal, accounts: Sequence[AccountId] | None) -> dict[AccountId, Head]:
    """Return the heads of one moment: everything is archived up to these."""
    heads = journal.heads()
    return heads if accounts is None else {account: heads[account] for account in accounts if account in heads}


def _require_related(journal: Journal, folder: Path, described: Mapping[str, Any], heads: Mapping[AccountId, Head]) -> None:
    """Refuse a journal that neither comes from the archived one nor has one of the archived accounts with its history."""
    archived = described.get("journal")
    if archived in (None, journal.identity(), *(one.journal_id for one in journal.parents())):
        return
    refused: list[AccountMismatch] = []
    for account, head in heads.items():
        manifest = read_manifest(account_folder(folder, account))
        if manifest is None:
            continue
        try:
            _require_same_history(journal, manifest, head)
        except AccountMismatch as error:
            refused.append(error)
        else:
            return
    if refused:
        raise _joined(refused, 0)
    raise BadValue(
        f"{folder}: expected journal {archived}, one that was restored from it, or one that has an account of it; found "
        f"journal {journal.identity()}: archive it into a new folder"
    )


def _joined(refused: Sequence[LedgerError], archived: int) -> LedgerError:
    """Return one error of the kind of the first, that names all accounts."""
    if len(refused) == 1 and not archived:
        return refused[0]
    lines = [*map(str, refused), f"accounts that were archived meanwhile: {archived}"]
    return type(refused[0])("\n".join(lines))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK)
    if not lock.acquire():
        raise JournalUnavailable(f"{folder}: another run is writing this archive: wait for its end, and run it again")
    try:
        yield
    finally:
        lock.release()


def read_description(folder: Path) -> dict[str, Any] | None:
    """Return what ``archive.json`` has, None where there is none.

    Raises:
        BadValue: The folder holds something else, or an archive of a newer form.
    """
    path = folder / DESCRIPTION
    try:
        fields: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        if set(folder.iterdir()) - {folder / LOCK, *_partial(folder, DESCRIPTION)}:
            raise BadValue(f"{folder} is no archive, and not empty: name a new folder") from None
        return None
    except ValueError as error:
        raise BadValue(f"{path}: expected what ledger archive writes, found something else: {error}") from error
    form = fields.get("form") if isinstance(fields, dict) else None
    if type(form) is int and form > FORM:
        raise BadValue(f"{path}: expected an archive of form {FORM}, found {form}: use a newer ledger")
    if form != FORM or not _is_description(fields):
        raise BadValue(f"{path}: expected what ledger archive writes, found something else: restore it from a copy")
    return fields  # type: ignore[no-any-return]


def _is_description(fields: Mapping[str, Any]) -> bool:
    seals, accounts = fields.get("seals"), fields.get("accounts", {})
    return (
        isinstance(seals, list)
        and all(isinstance(one, str) and Path(one).name == one for one in seals)
        and isinstance(fields.get("journal", ""), str)
        and isinstance(accounts, dict)
        and all(
            isinstance(one, dict) and type(one.get("version")) is int and isinstance(one.get("head"), str)
            for one in accounts.values()
        )
    )


def _partial(folder: Path, name: str) -> list[Path]:
    """Return what a killed run left of a file that it was writing."""
    return list(folder.glob(f".{name}.*.partial"))


def _remove_partial(folder: Path) -> None:
    """Remove what a killed run left beside the accounts."""
    for path in (*_partial(folder, DESCRIPTION), *_partial(folder / SEALS, "*.seal")):
        path.unlink()


def _write_description(folder: Path, fields: Mapping[str, Any]) -> None:
    with written_whole(folder / DESCRIPTION) as partial_file:
        partial_file.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


def _parent_fields(parent: Parent) -> dict[str, Any]:
    return {"journal": parent.journal_id, "versions": {str(name): version for name, version in parent.versions.items()}}


def parents_of(described: Mapping[str, Any]) -> tuple[Parent, ...]:
    """Return the journals that the archived one was restored from, the nearest first, of what ``archive.json`` has.

    Raises:
        CorruptEvent: It has something else.
    """
    try:
        return tuple(
            Parent(
                journal_id=str(one["journal"]),
                versions={AccountId.parse(name): int(version) for name, version in one["versions"].items()},
            )
            for one in described["parents"]
        )
    except (BadValue, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptEvent(f"{DESCRIPTION}: expected the parents of a journal, found something else: {error}") from error


def _write_seal(
    journal: Journal, folder: Path, key: Ed25519PrivateKey, now_us: int, heads: Mapping[AccountId, Head], *, is_whole: bool
) -> str:
    """Write a seal of what is going to be archived, and return the name of its file.

    One of some accounts is no seal of the journal, which notes only those of all.
    """
    seal = create(journal, key, now_us, heads, is_noted=is_whole)
    time: datetime = UTC_EPOCH + now_us * MICROSECOND
    path = folder / SEALS / f"{time:%Y-%m-%dT%H%M%SZ}-{seal.digest.removeprefix('sha256:')[:16]}.seal"
    path.parent.mkdir(exist_ok=True)
    with written_whole(path) as partial_file:
        partial_file.write_text(seal.text, encoding="utf-8", newline="\n")
    return path.name


# ---- accounts, in several processes

_Task = tuple[AccountId, Head]
_open: list[Journal] = []  # of a worker process


def _archived(
    open_journal: Callable[[], Journal],
    journal: Journal,
    folder: Path,
    tasks: Sequence[_Task],
    seal: str | None,
    jobs: int,
    progress: Progress,
) -> Iterator[Archived | LedgerError]:
    """Yield what was archived of each account, or why nothing was."""
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            yield _attempt(journal, folder, seal, task, progress)
        return
    context = get_context("spawn")  # a journal that is open is not taken over by a fork
    try:
        with ProcessPoolExecutor(min(jobs, len(tasks), PROCESSES_MAX), context, _begin_worker) as workers:
            for found in workers.map(partial(_in_worker, open_journal, folder, seal), tasks):
                if isinstance(found, Archived):
                    progress(found.events)
                yield found
    except BrokenProcessPool as error:
        raise JournalUnavailable(
            f"{folder}: a process that archives was ended from outside, or had no memory left: run it again, with fewer --jobs"
        ) from error


def _attempt(journal: Journal, folder: Path, seal: str | None, task: _Task, progress: Progress) -> Archived | LedgerError:
    try:
        return archive_account(journal, task[0], folder, task[1], seal, progress)
    except (AccountMismatch, CorruptEvent) as error:
        return error


def _begin_worker() -> None:
    """End this process when its parent has ended: what holds the lock of the archive has to be there while it is written."""
    parent = parent_process()
    assert parent is not None
    Thread(target=_end_behind, args=(parent.sentinel,), daemon=True).start()


def _end_behind(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _in_worker(open_journal: Callable[[], Journal], folder: Path, seal: str | None, task: _Task) -> Archived | LedgerError:
    if not _open:
        _open.append(open_journal())
    return _attempt(_open[0], folder, seal, task, lambda _: None)


# ---- one account


def archive_account(
    journal: Journal, account: AccountId, folder: Path, upto: Head, seal: str | None, progress: Progress
) -> Archived:
    """Archive the events of an account up to a head of it that the journal has. Arguments and errors as ``archive``.

    A process whose parent was killed goes on for a moment, without the lock of the archive: so each account has one too.
    """
    place = account_folder(folder, account)
    place.mkdir(parents=True, exist_ok=True)
    with _locked(place):
        return _archive_behind(journal, account, place, upto, seal, progress)


def _archive_behind(
    journal: Journal, account: AccountId, place: Path, upto: Head, seal: str | None, progress: Progress
) -> Archived:
    manifest = read_manifest(place) or Manifest(account=account, journal_id=journal.identity(), scales={}, segments=())
    _require_same_history(journal, manifest, upto)
    _remove_strays(place, manifest)
    before = manifest.head.version
    if before < upto.version:
        known = _known(place, manifest)
        while manifest.head.version < upto.version:
            manifest = _extended(journal, place, manifest, upto, seal, known)
            progress(manifest.segments[-1].events.rows)
    located = _located(journal, manifest)  # read last: what has left meanwhile has left the archive too
    if located != manifest:
        write_manifest(place, located)
    files = (one for part in manifest.segments if part.first > before for one in (part.events, part.evidence) if one)
    return Archived(
        account=account,
        events=manifest.head.version - before,
        version=manifest.head.version,
        head=manifest.head.hash.hex(),
        bytes=sum(one.bytes for one in files),
    )


def _located(journal: Journal, manifest: Manifest) -> Manifest:
    """Return the manifest with what a journal has about moves of the account."""
    account = manifest.account
    return evolve(
        manifest,
        journal_id=journal.identity(),
        location=journal.location(account),
        origins=journal.origins(account),
    )


def _require_same_history(journal: Journal, manifest: Manifest, upto: Head) -> None:
    """Refuse to go on behind a version that the journal does not have, or has with another history."""
    head = manifest.head
    found = journal.hash_at(manifest.account, head.version) if head.version else head.hash
    if found == head.hash and head.version <= upto.version:
        return
    theirs = f"ends at version {upto.version}" if found is None else f"has chain hash {found.hex()[:16]} there"
    raise AccountMismatch(
        f"account {manifest.account}: version {head.version} is archived with chain hash {head.hash.hex()[:16]}, and the "
        f"journal {theirs}: it was restored to another history, or is another journal. Archive it into a new folder"
    )


def _remove_strays(place: Path, manifest: Manifest) -> None:
    """Remove the files that a killed run left: no manifest names them."""
    named = manifest.files() | {MANIFEST}
    for path in place.iterdir():
        if path.name not in named and (path.name.startswith(".") or path.suffix == ".parquet"):
            path.unlink()


def _known(place: Path, manifest: Manifest) -> Known:
    """Return what is known of what is archived: raw answers and assertions."""
    from pyarrow import compute

    known = Known()
    for segment in manifest.segments:
        if segment.evidence is not None:
            for table in tables(place / segment.evidence.file, ("sha256",)):
                known.answers.update(values_of(table, "sha256"))
        for table in tables(place / segment.events.file, _ASSERTED, GROUP_ROWS):
            found = table.filter(compute.equal(table.column("placement"), ASSERTED))
            for _, position_id, *place_of in zip(*(values_of(found, name) for name in _ASSERTED), strict=True):
                known.asserted[position_id] = (place_of[0], place_of[1])
    return known


def _extended(
    journal: Journal,
    place: Path,
    manifest: Manifest,
    upto: Head,
    seal: str | None,
    known: Known,
) -> Manifest:
    """Write the next segment, check it as it is on disk, and return the manifest that names it, which is written too."""
    begin, account = manifest.head, manifest.account
    last = min(begin.version + SEGMENT_ROWS, upto.version)
    path = place / file_name("events", begin.version + 1, last)
    wanted: dict[str, None] = {}  # digests of raw answers, in the order of the events
    with written_whole(path) as partial_file:
        count, written = _write_events(partial_file, journal.raw_rows(account, after=begin.version, upto=last), wanted)
    if count != last - begin.version:
        raise CorruptEvent(
            f"account {account}: expected {last - begin.version} events behind version {begin.version}, found {count}. "
            "Run: ledger verify"
        )
    files = file_of(path, count), _write_evidence(journal, account, path, wanted, known.answers)
    end = read_back(place, account, files, begin, known)
    if end.hash != written or (last == upto.version and end != upto):
        raise CorruptEvent(
            f"account {account}: what was archived up to version {last} is not what the journal has: run ledger verify"
        )
    segment = Segment(
        first=begin.version + 1, last=last, before=begin.hash.hex(), head=end.hash.hex(), recorded_us=end.recorded_us,
        last_msc=end.last_msc, last_deal=end.last_deal, schema=REVISION, events=files[0], evidence=files[1], seal=seal,
    )  # fmt: skip
    terms = journal.terms(account, last)
    assert terms is not None, "the first event opens the account"
    manifest = evolve(_located(journal, manifest), scales=scales_of(terms), segments=(*manifest.segments, segment))
    write_manifest(place, manifest)
    return manifest


def _write_events(path: Path, blocks: Iterable[list[Row]], wanted: dict[str, None]) -> tuple[int, bytes]:
    """Write rows as they are stored, note which raw answers they name, and return how many there are and the last hash."""
    import pyarrow as pa

    schema, count, last = event_schema(), 0, b""
    rows = (row for block in blocks for row in block)
    with event_writer(path) as writer:
        while some := _group(rows, schema, wanted):
            table = pa.Table.from_batches(some)
            writer.write_table(table, row_group_size=GROUP_ROWS)
            count, last = count + len(table), table.column("hash")[-1].as_py()
    return count, last


def _group(rows: Iterator[Row], schema: Any, wanted: dict[str, None]) -> list[Any]:
    """Return the next rows of a row group as Arrow batches, none at the end."""
    import pyarrow as pa

    batches: list[Any] = []
    for _ in range(GROUP_ROWS // _BATCH):
        some = list(islice(rows, _BATCH))
        if not some:
            break
        columns = list(zip(*some, strict=True))
        wanted.update(dict.fromkeys(digest for digest in columns[_EVIDENCE] if digest is not None))
        try:
            arrays = [pa.array(columns[at], one.type) for at, one in zip(_AT, schema, strict=True)]
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise CorruptEvent(
                f"behind version {some[0][_VERSION] - 1} the journal holds what no event has: {error}. Run: ledger verify"
            ) from error
        batches.append(pa.record_batch(arrays, schema=schema))
    return batches


def _write_evidence(
    journal: Journal, account: AccountId, events: Path, wanted: Collection[str], known: set[bytes]
) -> File | None:
    """Write the raw answers that a segment is the first to name, beside its events; None if there are none."""
    for digest in wanted:
        if not is_digest(digest):
            raise CorruptEvent(f"account {account}: expected the SHA-256 of a raw answer, found {digest!r}. Run: ledger verify")
    new = [digest for digest in wanted if bytes.fromhex(digest) not in known]
    if not new:
        return None
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    path, schema = events.with_name(events.name.replace("events-", "evidence-")), evidence_schema()
    with written_whole(path) as partial_file, ParquetWriter(partial_file, schema, compression="zstd") as writer:
        for some in _answers(journal, account, new):
            columns = zip(*some, strict=True)
            arrays = [pa.array(column, one.type) for column, one in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return file_of(path, len(new))


def _answers(journal: Journal, account: AccountId, digests: Iterable[str]) -> Iterator[list[tuple[bytes, int, bytes]]]:
    """Yield raw answers with their SHA-256 and size, some megabytes at a time."""
    some: list[tuple[bytes, int, bytes]] = []
    for digest in digests:
        raw = decompress(required(journal, account, digest))
        some.append((bytes.fromhex(digest), len(raw), raw))
        if sum(size for _, size, _ in some) >= _ANSWER_BYTES:
            yield some
            some = []
    if some:
        yield some
