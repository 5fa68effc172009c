"""The files of a SQLite journal: whether those that a connection has open are still those that the URL names.

A file that was removed, renamed or replaced stays open, and whatever is written to it is lost to everybody else. Its path is
compared with what was opened by device and inode: of the database, the write-ahead log and its index. A file that another
program wrote over (``cp backup.db journal.db``) has the same inode. In WAL mode the database file changes at checkpoints only,
and a checkpoint shows in the index (sqlite.org/walformat.html, 2.3); so a change without one, or a header that is not of this
file, is such a write.
"""

from __future__ import annotations

import os
import struct
import time
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from ledger.errors import JournalReplaced, JournalUnavailable
from ledger.output_files import SQLITE_MAGIC

_HEADER_BYTES: Final = 100
_COUNTER: Final = struct.Struct(">24xI")  # the file change counter of the header, which only rises
_FILE_TOKEN: Final = struct.Struct(">60xI")  # the user version, by which ``engine`` distinguishes two files
#: Of the index: the salts that name the log's present generation; how much of it was copied into the database file, and how
#: much a checkpoint set out to copy. In the byte order of the machine.
_INDEX: Final = struct.Struct("=32x8s56xI28xI")
_EXAMINATIONS: Final = 3
#: Two changes of a folder closer to each other than this may show the same change time: by the clock of the kernel, which moves
#: ten times in 0.1 s at least; or by file systems that count seconds, FAT two at a time.
_FINE_NS: Final = 50_000_000
_COARSE_NS: Final = 2_100_000_000
_MILLISECOND_NS: Final = 1_000_000
_HAS_CHANGE_TIME: Final = os.name == "posix"  # elsewhere it is when the folder was made
_DESCRIPTOR_FOLDERS: Final = ("/proc/self/fd", "/dev/fd")

#: Before anything else is done about a database that is not the one of its log. No advice is to have files removed.
_KEEP_ALL: Final = "and copy it aside together with its -wal and -shm: the last events are in the -wal"

_Descriptors = dict[tuple[int, int], int]


class _Written(NamedTuple):
    """When the database file was last written, as its directory entry shows it."""

    time_ns: int
    size: int


class _Checkpointed(NamedTuple):
    """What the index shows of checkpoints."""

    salts: bytes
    done: int
    attempted: int


def inode_of(path: str) -> tuple[int, int] | None:
    """Return device and inode of a file, None where there is none.

    Raises:
        JournalUnavailable: Its folder cannot be looked into.
    """
    try:
        found = os.stat(path)  # noqa: PTH116  # half the price, and this is paid for every append
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unseen(path, error) from error
    return found.st_dev, found.st_ino


def _unseen(path: str, error: OSError) -> JournalUnavailable:
    return JournalUnavailable(f"journal {path}: it cannot be looked at: check the rights of its folder ({error})")


def require_own_log(path: str, token: int) -> None:
    """Refuse a database beside which is the log of another one, as with a backup that was copied over a journal.

    Args:
        path: The database file, which is open.
        token: The user version as the database reads with its log.

    Raises:
        JournalReplaced: The header of the file has another one.
    """
    inode = inode_of(path)
    header = _read(_open_inodes(), inode, _HEADER_BYTES)
    if header is not None and header.startswith(SQLITE_MAGIC) and _FILE_TOKEN.unpack_from(header) != (token,):
        raise JournalReplaced(
            f"journal {path}: its -wal belongs to another database. Was a backup copied over a journal? Stop the programs that "
            f"use it, {_KEEP_ALL} of the other journal. Then move -wal and -shm away, and run ledger verify"
        )


class Fault(Enum):
    """Which of the files is not the one that its path names."""

    LOG = "log"  # the write-ahead log or its index: the database itself is the same
    MOVED = "moved"  # the database was removed, renamed, or another one was put in its place
    OVERWRITTEN = "overwritten"  # the database was written over by another program


class OpenFiles:
    """The three files that a connection in WAL mode has open.

    Args:
        path: The database file, absolute. The connection has begun to write, so that all three are open.

    Attributes:
        fault: What ``check`` found wrong, if it did.
        is_log_marked: Something was written to this generation of the log that shows which database it is of.
    """

    def __init__(self, path: str) -> None:
        self.fault: Fault | None = None
        self.is_log_marked = False
        self._has_shown_header = False
        resolved = os.path.realpath(path)  # behind a link, the others are beside what it points to
        self._paths = (path, f"{resolved}-wal", f"{resolved}-shm")
        self._folder = os.path.dirname(resolved)  # noqa: PTH120  # paths are text here
        self._names: tuple[int, int, int] | None = None  # what the folder showed when log and index were compared
        self._known = tuple(map(inode_of, self._paths))
        opened = _open_inodes()
        self._is_open = [inode is not None and (not opened or inode in opened) for inode in self._known]
        self._is_all_open = all(self._is_open)
        self._inodes = tuple(inode and inode[1] for inode in self._known)
        self._device = self._known[0] and self._known[0][0]
        self._written: _Written | None = None
        self._checkpointed: _Checkpointed | None = None
        self._examinations = 0  # that are due whatever the directory entry shows
        self._token = self._counter = 0

    def is_log_of_others(self) -> bool:
        """Return whether the path of the log names another file now, which another database uses."""
        found = inode_of(self._paths[1])
        return found is not None and found != self._known[1]

    def check_database(self) -> None:
        """Compare the database file that the path names with the one that is open. A third of the price of ``check``.

        Raises:
            JournalReplaced: It is not the same, or another program wrote to it.
            JournalUnavailable: It cannot be looked at.
        """
        if not self._is_all_open:
            at = self._is_open.index(False)
            self._refuse(Fault.LOG if at else Fault.MOVED, f"{self._paths[at]} was removed or replaced")
        try:
            main = os.stat(self._paths[0])  # noqa: PTH116  # as above
        except (FileNotFoundError, NotADirectoryError):
            self._refuse(Fault.MOVED, f"{self._paths[0]} was removed or renamed")
        except OSError as error:
            raise _unseen(self._paths[0], error) from error
        if main.st_ino != self._inodes[0] or main.st_dev != self._device:
            self._refuse(Fault.MOVED, f"another file replaced {self._paths[0]}")
        if self._examinations or self._written != (main.st_mtime_ns, main.st_size):
            self._examine()

    def check(self) -> None:
        """Compare the files that the paths name with those that are open.

        Of the log and its index only the names can change, and the change time of their folder shows whether any did: where it
        is what it was when both were compared, they are not looked at again.

        Raises:
            JournalReplaced: They are not the same.
            JournalUnavailable: They cannot be looked at.
        """
        self.check_database()
        _, log_path, index_path = self._paths
        try:
            folder = os.stat(self._folder)  # noqa: PTH116  # as above
            if self._names == (folder.st_ctime_ns, folder.st_ino, folder.st_dev):
                return
            log, index = os.stat(log_path), os.stat(index_path)  # noqa: PTH116  # as above
        except (FileNotFoundError, NotADirectoryError) as error:
            self._refuse(Fault.LOG, f"{error.filename} was removed or renamed")
        except OSError as error:
            raise _unseen(self._paths[0], error) from error
        if log.st_ino != self._inodes[1] or index.st_ino != self._inodes[2]:
            self._refuse(Fault.LOG, f"another file replaced {log_path} or {index_path}")
        changed_ns = folder.st_ctime_ns
        is_settled = time.time_ns() - changed_ns > (_FINE_NS if changed_ns % _MILLISECOND_NS else _COARSE_NS)
        self._names = (changed_ns, folder.st_ino, folder.st_dev) if is_settled and _HAS_CHANGE_TIME else None

    def log_bytes(self) -> int:
        """Return the size of the write-ahead log, 0 where it is gone."""
        try:
            return os.stat(self._paths[1]).st_size  # noqa: PTH116  # as above
        except OSError:
            return 0

    def _examine(self) -> None:
        """Find out whether it was a checkpoint that wrote to the database file."""
        opened = _open_inodes()
        before = self._read_index(opened)
        try:
            main = os.stat(self._paths[0])  # noqa: PTH116  # as above
        except OSError as error:  # it was there a moment ago
            raise _unseen(self._paths[0], error) from error
        after = self._read_index(opened)
        self._check_header(opened)
        if after is None or before != after or after.attempted != after.done:
            return  # a checkpoint is under way: it is looked at again
        if self._checkpointed is not None and self._checkpointed.salts != after.salts:
            self.is_log_marked = False
        is_written = self._written != (main.st_mtime_ns, main.st_size)
        if main.st_size < _HEADER_BYTES or (self._checkpointed == after and is_written):
            what = "has another time of change, which no checkpoint set: another program wrote to it, or changed its time"
            self._refuse(Fault.OVERWRITTEN, f"{self._paths[0]} {what}")
        self._written, self._checkpointed = _Written(main.st_mtime_ns, main.st_size), after
        # Behind a checkpoint the next append begins the log anew, and names it otherwise: that is to be seen as well.
        self._examinations = _EXAMINATIONS if is_written or not any(after.salts) else max(0, self._examinations - 1)

    def _check_header(self, opened: _Descriptors) -> None:
        header = _read(opened, self._known[0], _HEADER_BYTES)
        if header is None:
            return
        if not header.startswith(SQLITE_MAGIC):
            if not self._has_shown_header:  # a power loss cut its write off, and SQLite reads the page from the log
                return
            self._refuse(Fault.OVERWRITTEN, f"{self._paths[0]} was written over and is no database any more")
        (counter,), (token,) = _COUNTER.unpack_from(header), _FILE_TOKEN.unpack_from(header)
        if counter < self._counter or (self._token and token != self._token):
            self._refuse(Fault.OVERWRITTEN, f"another database was copied over {self._paths[0]}")
        self._counter, self._token, self._has_shown_header = counter, token, True

    def _read_index(self, opened: _Descriptors) -> _Checkpointed | None:
        index = _read(opened, self._known[2], _INDEX.size)
        return None if index is None else _Checkpointed._make(_INDEX.unpack(index))

    def _refuse(self, fault: Fault, what: str) -> NoReturn:
        self.fault = fault
        raise replaced(self._paths[0], what, fault)


_ADVICE: Final = {
    Fault.LOG: "close the ledger and open it again, then run ledger verify",
    Fault.MOVED: "stop the programs that use the journal, put the right file in its place, and open it again",
    Fault.OVERWRITTEN: (
        f"stop the programs that use the journal, {_KEEP_ALL}. If only its time was changed, open it again and run ledger "
        "verify. If another file was copied over it, move -wal and -shm away, copy that file again (better: ledger restore), "
        "and open it"
    ),
}


def replaced(path: str, what: str, fault: Fault = Fault.MOVED) -> JournalReplaced:
    """Return the error for a journal whose open file is not the one that its URL names."""
    return JournalReplaced(f"journal {path}: {what} while it was open. Nothing is acknowledged any more: {_ADVICE[fault]}")


def _open_inodes() -> _Descriptors:
    """Return device and inode -> descriptor of all files that this process has open; nothing where that cannot be known.

    Descriptors are SQLite's own. One of ours must not be closed: that would release the locks that SQLite has on the file.

    Raises:
        JournalUnavailable: They cannot be listed: this process has as many files open as it may.
    """
    folder = next((one for one in _DESCRIPTOR_FOLDERS if Path(one).is_dir()), None)
    found: _Descriptors = {}
    try:
        names = os.listdir(folder) if folder else ()  # noqa: PTH208  # names are enough
    except OSError as error:
        raise JournalUnavailable(f"the open files of this process cannot be listed: has it too many? ({error})") from error
    for name in names:
        try:
            status = os.fstat(int(name))
        except OSError:  # it was the descriptor of the listing itself
            continue
        found[status.st_dev, status.st_ino] = int(name)
    return found


def _read(opened: _Descriptors, inode: tuple[int, int] | None, size: int) -> bytes | None:
    """Read the beginning of an open file; None where it cannot be read, or is shorter."""
    descriptor = None if inode is None else opened.get(inode)
    if descriptor is None:
        return None
    try:
        found = os.pread(descriptor, size, 0)
        status = os.fstat(descriptor)
    except OSError:
        return None
    is_same = (status.st_dev, status.st_ino) == inode  # or SQLite closed it, and the number was given to another file
    return found if is_same and len(found) == size else None
