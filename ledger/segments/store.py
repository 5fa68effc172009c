"""The segments of an account: its postings that arrived in order, packed in files beside the journal to be read quickly.

Only the postings that arrived in fold order are packed: nothing that is recorded later changes one of them, or puts another one
between two of them. What belongs further back, completes or revises is read from the journal's rows and merged in as without
segments. So a segment answers for every selection of events, and for ever, as long as the journal is the one that it was made
of.

Each file holds the next so many postings behind the one before, and is never trusted over the journal. It is left aside if the
journal's chain hash at its last version is another one (the chain covers everything before it), or if it is damaged (its digest
does not hold); what it would have answered is then read from the rows. Files are read whole and not mapped into memory: one
that is cut off meanwhile would end the process.
"""

from __future__ import annotations

import json
import logging
import shutil
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from itertools import count, islice
from operator import attrgetter
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

from ledger.errors import JournalError
from ledger.output_files import written_whole
from ledger.postings import Posting, Row
from ledger.segments.native import quick_slice
from ledger.segments.packed import Packed
from ledger.values import AccountId

#: Postings of a file. A moment reads one or two files whole, with their digests: of 65,536 that took a third of its time.
ROWS: Final = 16_384

#: What the folder of a SQLite journal's segments is named, behind the name of the journal.
FOLDER_SUFFIX: Final = ".segments"
_SUFFIX: Final = ".segment"
_MERGED: Final = ".merged"
_MAGIC: Final = b"LDGSEGM1"
#: Magic, digest of everything behind it, size of the head. The packed postings come behind the head.
_BEGIN: Final = Struct("<8s32sI")
_DIGESTED_FROM: Final = 8 + 32
_ALIGNED: Final = 8
#: So many files are kept in memory, about a megabyte each: moments that are asked for one after the other are near each other.
_KEPT: Final = 4
#: So many accounts' lists of files are kept in memory.
_CHAINS_KEPT: Final = 64
#: The rights of its owner to a folder.
_OWNER: Final = 0o700
_VERSION: Final = Posting._fields.index("version")
_last: Final = attrgetter("last")
_logger: Final = logging.getLogger("ledger.segments")


class _Damaged(ValueError):
    """A file is not what was written."""


class _Name(NamedTuple):
    """Which versions a file has the postings of: those behind one up to another, inclusive."""

    after: int
    last: int

    def __str__(self) -> str:
        return f"{self.after:012}-{self.last:012}{_SUFFIX}"


class Coverage(NamedTuple):
    """How many files of an account can be used, how many cannot, and up to which version the former go."""

    usable: int
    unusable: int
    version: int


class Segments:
    """The segments of all accounts of a journal. Nothing but speed depends on them. Safe to use from several threads.

    Args:
        folder: Where the files are; None for a journal that has no such place.
        rows: Reads the postings of an account that arrived in order from the journal's rows, behind one version up to another.
        hash_at: Returns the chain hash of an account's event.
        size: Postings of a file.
        journal: The file that the folder is beside: who can read it can read the segments. Without one only their owner can.
    """

    def __init__(
        self,
        folder: Path | None,
        rows: Callable[[AccountId, int, int], Iterable[list[Row]]],
        hash_at: Callable[[AccountId, int], bytes | None],
        size: int = ROWS,
        journal: Path | None = None,
    ) -> None:
        self.folder = folder
        self._journal = journal
        self._rows = rows
        self._hash_at = hash_at
        self.size = size
        self._due: dict[AccountId, int] = {}  # version from which on it is worth looking whether there is more to write
        #: Version from which on it is worth looking whether there is more to merge.
        self.merged_due: dict[AccountId, int] = {}
        self._read = lru_cache(maxsize=_KEPT)(_read)
        self._chains = lru_cache(maxsize=_CHAINS_KEPT)(lambda account, _: tuple(_chain(self._names(account))))

    # ---- reading

    def blocks(self, account: AccountId, after: int, upto: int) -> Generator[Sequence[Row], None, int]:
        """Yield the postings that arrived in order and are packed, ascending by version, some at a time.

        Args:
            account: Whose.
            after: Only those behind a version.
            upto: Only those up to a version.

        Returns:
            The version behind which the rest has to be read from the rows.
        """
        for name, packed in self._usable(account, after):
            begin, end = (bisect_right(range(len(packed)), version, key=packed.version) for version in (after, upto))
            if begin < end:
                yield quick_slice(packed, begin, end)
            after = name.last
            if after >= upto:
                break
        return min(after, upto)

    def compared(
        self, account: AccountId, blocks: Iterable[list[Row]], after: int, upto: int, differences: list[int]
    ) -> Iterator[list[Row]]:
        """Pass on the postings that are read from the journal's rows, and note the version from which on files hold others.

        Args:
            account: Whose.
            blocks: All of these postings of it that arrived in order, ascending by version, some at a time.
            after: Those behind a version.
            upto: Up to which version.
            differences: The first version that differs goes here.
        """
        packed = (row for block in self.blocks(account, after, upto) for row in block)
        for block in blocks:
            if not differences:
                found = list(islice(packed, len(block)))
                pairs = zip(found, block, strict=False)  # files may end before the rows do
                differences += [] if found == block[: len(found)] else [next(b[_VERSION] for a, b in pairs if a != b)]
            yield block
        if not differences:
            differences += [row[_VERSION] for row in islice(packed, 1)]

    def _usable(self, account: AccountId, after: int) -> Iterator[tuple[_Name, Packed]]:
        """Yield the files that hold what comes behind a version, one behind the other, as long as they are whole and ours."""
        chain = self._chain_of(account)
        for name in chain[bisect_right(chain, after, key=_last) :]:
            packed = self._open(account, name)
            if packed is None:
                return
            yield name, packed

    def _open(self, account: AccountId, name: _Name) -> Packed | None:
        """Return what a file holds, None if it does not answer for the journal."""
        found = self._content(account, str(name), [str(account), *name])
        if found is None:
            return None
        head, packed = found
        chain = self._hash_at(account, name.last)
        return packed if chain is not None and chain.hex() == head[3] else None

    def _content(self, account: AccountId, name: str, about: list[Any]) -> tuple[list[Any], Packed] | None:
        """Return what a file has, None where there is none, or it is damaged or about something else; that is logged."""
        path = self._folder_of(account) / name
        try:
            found = path.stat()
            head, packed = self._read(path, (found.st_mtime_ns, found.st_size, found.st_ino))
            if head[: len(about)] != about:
                raise _Damaged(f"expected what is of {about}, found {head[: len(about)]}")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _logger.warning("segment %s is left aside, and its events are read from the journal: %s", path, error)
            return None
        return head, packed

    def _chain_of(self, account: AccountId) -> Sequence[_Name]:
        """Return the files of which each begins where the one before ends, from the first event on.

        The folder is read again once it has changed. Where its time is too coarse to show that, a file that is new is left
        aside, and one that is gone ends what is read of files: nothing but speed depends on it.
        """
        if self.folder is None:
            return ()
        try:
            return self._chains(account, self._folder_of(account).stat().st_mtime_ns)
        except OSError:
            return ()

    def _names(self, account: AccountId) -> list[_Name]:
        if self.folder is not None:
            with suppress(OSError):
                return sorted(filter(None, map(_name_of, self._folder_of(account).iterdir())))
        return []

    def _folder_of(self, account: AccountId) -> Path:
        return (self.folder or Path()) / sha256(str(account).encode()).hexdigest()[:16]

    # ---- other packed rows

    def merged(self, account: AccountId) -> Iterator[tuple[list[Any], Packed]]:
        """Yield what ``write_merged`` wrote, by its number from 1 on, as long as the files are whole."""
        for number in count(1):
            found = self._content(account, f"{number:06}{_MERGED}", [str(account)])
            if found is None:
                return
            yield found[0][1:], found[1]

    def write_merged(self, account: AccountId, number: int, head: list[Any], rows: list[Row]) -> bool:
        """Write a file under a number, with what is to be known of it; return whether that could be done."""
        try:
            self._write_file(account, f"{number:06}{_MERGED}", [str(account), *head], rows)
        except (OSError, TypeError, ValueError) as error:
            _logger.info("segments of %s are not written: %s", account, error)
            return False
        return True

    # ---- writing

    def extend(self, account: AccountId, version: int, is_stopped: Callable[[], bool] = lambda: False) -> int:
        """Write the files that are not there yet, of what is known at a version; return how many were written.

        What cannot be written now, as the disk is full or nothing may be written, is not. To be called often costs nothing.

        Args:
            account: Whose.
            version: Up to which.
            is_stopped: Asked before each file whether to leave the rest for another time.
        """
        if self.folder is None or version < self._due.get(account, self.size):
            return 0
        written = 0
        try:
            end = self._prepared(account)
            if version - end >= self.size:
                for name, rows in self._unwritten(account, end, version):
                    if is_stopped():
                        return written
                    self._write(account, name, rows)
                    written, end = written + 1, name.last
            # There may be too few in order among so many: they are not counted again for each event that follows.
            self._due[account] = max(end + self.size, version + self.size // 8)
        except (OSError, JournalError, TypeError, ValueError) as error:
            _logger.info("segments of %s are not written: %s", account, error)
            self._due[account] = version + self.size
        return written

    def end(self, account: AccountId) -> int:
        """Return up to which version there are files, by their names."""
        return max((name.last for name in self._chain_of(account)), default=0)

    def coverage(self, account: AccountId) -> Coverage:
        """Look at all files of an account."""
        names = self._names(account)
        usable = [name for name, _ in self._usable(account, 0)]
        return Coverage(len(usable), len(names) - len(usable), usable[-1].last if usable else 0)

    def _prepared(self, account: AccountId) -> int:
        """Delete the files that cannot be used, and return up to which version the others go."""
        self._chains.cache_clear()  # a file that is new is not one that cannot be used
        names = self._names(account)  # others may write more while these are looked at: what is newer stays
        usable = [name for name, _ in self._usable(account, 0)]
        for name in {*names}.difference(usable):
            with suppress(OSError):
                (self._folder_of(account) / str(name)).unlink()
        return usable[-1].last if usable else 0

    def _unwritten(self, account: AccountId, after: int, version: int) -> Iterator[tuple[_Name, list[Row]]]:
        """Yield what the next files hold: their names and postings. What would not fill one is left."""
        rows = (row for block in self._rows(account, after, version) for row in block)
        while len(found := list(islice(rows, self.size))) == self.size:
            name = _Name(after, found[-1][_VERSION])
            yield name, found
            after = name.last
            found.clear()  # or both would be in memory

    def _write(self, account: AccountId, name: _Name, rows: list[Row]) -> None:
        chain = self._hash_at(account, name.last)
        if chain is None:
            raise JournalError(f"account {account}: version {name.last} is missing. Run: ledger verify")
        self._write_file(account, str(name), [str(account), *name, chain.hex()], rows)
        self._chains.cache_clear()

    def _write_file(self, account: AccountId, name: str, about: list[Any], rows: list[Row]) -> None:
        """Write a file whole, or not at all."""
        folder = self._folder_of(account)
        head = json.dumps(about).encode()
        head += b" " * (-(_BEGIN.size + len(head)) % _ALIGNED)
        body = head + Packed.pack(rows).to_bytes()
        size = Struct("<I").pack(len(head))
        if self._journal is not None or not folder.parent.exists():
            self._make(folder.parent)
        self._make(folder)
        with written_whole(folder / name) as partial:
            partial.write_bytes(_MAGIC + sha256(size + body).digest() + size + body)

    def _make(self, folder: Path) -> None:
        """Make a folder, or take an old one, that those can read who can read the journal now, no others."""
        folder.mkdir(_OWNER, exist_ok=True)
        found, wanted = folder.stat(), _OWNER
        if self._journal is not None:
            journal = self._journal.stat()
            others = journal.st_mode & (0o066 if journal.st_gid == found.st_gid else 0o006)
            wanted |= others | (others & 0o044) >> 2
        if found.st_mode & 0o777 != wanted:
            folder.chmod(found.st_mode & 0o7000 | wanted)

    def drop(self, account: AccountId) -> bool:
        """Delete the segments of an account; return whether there were any."""
        self._due.pop(account, None)
        self.merged_due.pop(account, None)
        if self.folder is None:
            return False
        were_any = self._folder_of(account).is_dir()
        shutil.rmtree(self._folder_of(account), ignore_errors=True)
        with suppress(OSError):  # others are there
            self.folder.rmdir()
        return were_any


def _read(path: Path, _: tuple[int, int, int]) -> tuple[list[Any], Packed]:
    """Read a file whose digest holds: what was written about it, and its postings.

    The second argument distinguishes one from another that takes its place.
    """
    content = path.read_bytes()
    if len(content) < _BEGIN.size:
        raise _Damaged(f"it has {len(content)} bytes")
    magic, digest, size = _BEGIN.unpack_from(content)
    view = memoryview(content)
    if magic != _MAGIC or sha256(view[_DIGESTED_FROM:]).digest() != digest:
        raise _Damaged("it is not what was written")
    head = json.loads(content[_BEGIN.size : _BEGIN.size + size])
    return head, Packed.from_buffer(view[_BEGIN.size + size :])


def _name_of(path: Path) -> _Name | None:
    after, _, last = path.name.removesuffix(_SUFFIX).partition("-")
    name = _Name(int(after), int(last)) if after.isdecimal() and last.isdecimal() else None
    return name if str(name) == path.name else None


def _chain(names: list[_Name]) -> Iterator[_Name]:
    """Yield the files of which each begins where the one before ends, from the first event on."""
    after = 0
    for name in names:
        if name.after == after:
            yield name
            after = name.last
