"""This module is a disk that loses power: a SQLite VFS that knows what is durable, and a database driver that runs on it.

The VFS passes everything on to real files, so that whoever writes sees what was written. Beside that it remembers, for each
file, what was synced and what was written since; and for the folder, which names were. ``Disk.image`` then makes a folder
as it may be on the platters after the power was lost:

- What was synced is there. Of what was not, each write may have arrived or not, in any order, and may be torn into its
  sectors: some new, some old, some zeros or noise.
- Bytes beside those that were written stay as they are. SQLite relies on it (sqlite.org/psow.html) as do the disks that
  it is used on, and ``xDeviceCharacteristics`` promises nothing else.
- A name is made or removed for good when its folder is synced. SQLite does that at the first sync of a new WAL or rollback
  journal, and at an ``xDelete`` that asks for it; any one of the states since then may be found.
- Shared memory (``-shm``) is never synced: it may be gone, as it was, or noise.

WAL works without tricks: a ``VFSFile`` that inherits from the default VFS inherits its shared memory too, so that several
connections, their locks and their readers are the real ones.

The driver is the least that a journal needs of ``sqlite3``, with the errors of ``sqlite3``. Connections that are opened within
``use_driver`` are its own: nothing of what is tested is replaced.
"""

import itertools
import random
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import apsw

from ledger.journal.sql import sqlite

_SECTOR: Final = 512
_WITH_ITS_FOLDER: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
_WAL: Final = "-wal"
_SHARED_MEMORY: Final = "-shm"

_numbers = itertools.count()


# ------------------------------------------------------------------------------------------------------------- the disk


class _Content:
    """The bytes of one file: what is durable, and the changes since. A change without bytes is a truncation."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = bytearray(durable)
        self.changes: list[tuple[int, bytes | None]] = []

    def sync(self) -> None:
        for offset, data in self.changes:
            _apply(self.durable, offset, data)
        self.changes.clear()


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    end = offset if data is None else offset + len(data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:end] = data


class Disk(apsw.VFS):
    """A folder on a disk whose power is lost after so many changes. What the folder holds already is durable.

    Args:
        folder: Where the files are.
        dice: Decides what arrives.
        changes: How many.
        wal_writes: Whether writes to a WAL are among them; they are so many that little else would ever be hit.
    """

    def __init__(self, folder: Path, dice: random.Random, *, changes: int, wal_writes: bool) -> None:
        self.name = f"power-loss-{next(_numbers)}"
        super().__init__(self.name, "")
        self.folder = folder
        self.is_off = False
        self.is_torn = False
        self.moment = ""  # what was going on when the power was lost
        self._dice = dice
        self._changes_left = changes
        self._wal_writes = wal_writes
        self._durable = {
            path.name: _Content(path.read_bytes())
            for path in sorted(folder.iterdir())
            if not path.name.endswith(_SHARED_MEMORY)
        }
        self._present = dict(self._durable)
        self._renamed: list[tuple[str, _Content | None]] = []  # what names refer to since the folder was synced

    # ---- what files ask

    def powered(self) -> None:
        """Do nothing while there is power."""
        if self.is_off:
            raise apsw.IOError("disk I/O error: the power is lost")

    def change(self, what: str, name: str) -> None:
        """Count a change; the power is lost within the last one, which may be on the platters or not."""
        self.powered()
        self._changes_left -= self._wal_writes or what != "write" or not name.endswith(_WAL)
        if self._changes_left <= 0:
            self.is_off = True
            self.moment = f"{what} {name}"
        self.powered()

    def content(self, name: str) -> _Content:
        """Return the content of an open file, which was made just now if it is not known."""
        if name not in self._present:
            self._present[name] = _Content()
            self._renamed.append((name, self._present[name]))
            self.change("make", name)
        return self._present[name]

    def sync_folder(self) -> None:
        """Make durable which names there are."""
        self._durable = dict(self._present)
        self._renamed.clear()

    # ---- what SQLite asks

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # apsw's name
        """Open a file of the folder, or a temporary one, which nobody needs after a loss."""
        self.powered()
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return apsw.VFSFile("", name, flags) if path is None else _File(self, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802  # as above
        """Remove a name."""
        name = Path(filename).name
        if name in self._present:
            del self._present[name]
            self._renamed.append((name, None))
            self.change("remove", name)
        super().xDelete(filename, False)  # noqa: FBT003  # what is durable is stored here: nobody need wait for the real disk
        if syncdir:
            self.change("sync", "folder")
            self.sync_folder()

    # ---- after the loss

    def image(self, folder: Path) -> None:
        """Write what may be on the platters into a new folder."""
        folder.mkdir()
        loss = _Loss(self._dice)
        found = dict(self._durable)
        for name in sorted({name for name, _ in self._renamed}):
            state = self._dice.choice([found.get(name), *(content for one, content in self._renamed if one == name)])
            found.pop(name, None)
            if state is not None:
                found[name] = state
        for name, content in sorted(found.items()):
            (folder / name).write_bytes(loss.left_of(content))
        for path in sorted(self.folder.glob(f"*{_SHARED_MEMORY}")):
            shared = self._dice.choice((b"", path.read_bytes(), self._dice.randbytes(path.stat().st_size)))
            if shared:
                (folder / path.name).write_bytes(shared)
        self.is_torn = loss.is_torn


class _Loss:
    """One loss of power: how much of what was not synced arrives, in which order, and how much of that is torn."""

    def __init__(self, dice: random.Random) -> None:
        self.is_torn = False
        self._dice = dice
        self._arriving = dice.choice((0.0, 0.3, 0.7, 1.0))
        self._tearing = dice.choice((0.0, 0.3, 1.0))
        self._is_ordered = dice.random() < 0.3

    def left_of(self, content: _Content) -> bytes:
        left = bytearray(content.durable)
        changes = [change for change in content.changes if self._dice.random() < self._arriving]
        if not self._is_ordered:
            self._dice.shuffle(changes)
        for offset, data in changes:
            if data is not None and self._dice.random() < self._tearing:
                self.is_torn = True
                for at, piece in self._torn(offset, data):
                    _apply(left, at, piece)
            else:
                _apply(left, offset, data)
        return bytes(left)

    def _torn(self, offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield what arrives of a write, sector by sector."""
        begin, end = offset, offset + len(data)
        while begin < end:
            until = min(end, (begin // _SECTOR + 1) * _SECTOR)
            fate = self._dice.random()
            if fate < 0.5:
                yield begin, data[begin - offset : until - offset]
            elif fate < 0.6:
                yield begin, bytes(until - begin)
            elif fate < 0.7:
                yield begin, self._dice.randbytes(until - begin)
            begin = until


class _File(apsw.VFSFile):
    """An open file of a disk."""

    def __init__(self, disk: Disk, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._name = Path(path).name
        self._content = disk.content(self._name)
        self._syncs_folder = bool(flags[0] & _WITH_ITS_FOLDER and flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802  # apsw's name
        self._disk.powered()
        return super().xRead(amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        self._disk.powered()
        self._content.changes.append((offset, bytes(data)))
        self._disk.change("write", self._name)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.powered()
        self._content.changes.append((newsize, None))
        self._disk.change("truncate", self._name)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: ARG002, N802  # nobody need wait for the real disk
        self._disk.change("sync", self._name)
        self._content.sync()
        if self._syncs_folder:
            self._disk.change("sync", "folder")
            self._disk.sync_folder()
            self._syncs_folder = False

    def xFileSize(self) -> int:  # noqa: N802
        self._disk.powered()
        return super().xFileSize()

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE


# ----------------------------------------------------------------------------------------------------------- the driver

#: What apsw raises -> what sqlite3 would have raised.
_ERRORS: Final[Mapping[type[apsw.Error], type[sqlite3.Error]]] = {
    apsw.ConstraintError: sqlite3.IntegrityError,
    apsw.CorruptError: sqlite3.DatabaseError,
    apsw.NotADBError: sqlite3.DatabaseError,
    apsw.MisuseError: sqlite3.ProgrammingError,
    apsw.ConnectionClosedError: sqlite3.ProgrammingError,
}


@contextmanager
def _errors_of_sqlite3() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise _ERRORS.get(type(error), sqlite3.OperationalError)(str(error)) from error


class Driver:
    """A database driver on a disk.

    Args:
        disk: Where all files are.
        settings: Statement -> statement that is run in its place, to try other settings than the ledger's.
        checkpoint_pages: After how many pages in the WAL SQLite checkpoints.
    """

    def __init__(self, disk: Disk, *, settings: Mapping[str, str], checkpoint_pages: int) -> None:
        self.disk = disk
        self.settings = settings
        self._checkpoint_pages = checkpoint_pages

    def connect(self, path: str, *, timeout: float = 5.0, **_: object) -> "Connection":
        """Open a database."""
        with _errors_of_sqlite3():
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
            database = apsw.Connection(path, flags=flags, vfs=self.disk.name)
            database.set_busy_timeout(int(timeout * 1000))
            database.wal_autocheckpoint(self._checkpoint_pages)
        return Connection(self, database)


class Connection:
    """A connection in the manner of ``sqlite3`` with ``isolation_level=None``."""

    def __init__(self, driver: Driver, database: apsw.Connection) -> None:
        self.driver = driver
        self.database = database
        self.isolation_level: str | None = None
        self.text_factory: object = str

    def cursor(self) -> "Cursor":
        """Return a new cursor."""
        return Cursor(self)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> "Cursor":
        """Run a statement and return its cursor."""
        return self.cursor().execute(statement, parameters)

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> "Cursor":
        """Run a statement once for each of the parameters, and return its cursor."""
        return self.cursor().executemany(statement, parameters)

    @property
    def in_transaction(self) -> bool:
        """Return whether a transaction is open."""
        return self.database.in_transaction

    def commit(self) -> None:
        """Commit, if there is a transaction."""
        if self.database.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        """Roll back, if there is a transaction."""
        if self.database.in_transaction:
            self.execute("ROLLBACK")

    def create_function(self, name: str, narg: int, function: Callable[..., Any], *, deterministic: bool = False) -> None:
        """Add a function to SQL."""
        self.database.create_scalar_function(name, function, narg, deterministic=deterministic)

    def close(self) -> None:
        """Close; there is nothing to report once the power is lost."""
        try:
            with _errors_of_sqlite3():
                self.database.close(force=True)
        except sqlite3.Error:
            if not self.driver.disk.is_off:
                raise


class Cursor:
    """A cursor in the manner of ``sqlite3``."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._connection = connection
        self._cursor = connection.database.cursor()

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> "Cursor":
        """Run a statement."""
        with self._described():
            self._cursor.execute(self._connection.driver.settings.get(statement, statement), tuple(parameters))
        return self

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> "Cursor":
        """Run a statement once for each of the parameters."""
        with self._described():
            self._cursor.executemany(statement, parameters)
        return self

    @contextmanager
    def _described(self) -> Iterator[None]:
        """Catch the one moment at which apsw describes an answer without rows: before it is asked for."""
        database = self._connection.database

        def describe(cursor: apsw.Cursor, *_: object) -> bool:
            self.description = cursor.description or None
            return True

        self.description = None
        self._cursor.exec_trace = describe
        try:
            with _errors_of_sqlite3():
                yield
        finally:
            self._cursor.exec_trace = None  # or the cursor would refer to itself, and stay in memory with its statement
        self.rowcount = database.changes() if self.description is None else -1
        self.lastrowid = database.last_insert_rowid()

    def __iter__(self) -> "Cursor":
        return self

    def __next__(self) -> tuple[Any, ...]:
        with _errors_of_sqlite3():
            row: tuple[Any, ...] = next(self._cursor)
            return row

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, None behind the last."""
        return next(self, None)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next rows."""
        return list(itertools.islice(self, self.arraysize if size is None else size))

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        return list(self)

    def close(self) -> None:
        """Give back what the statement holds."""
        self._cursor.close(force=True)


# ----------------------------------------------------------------------------------------------------------- the plugin


@contextmanager
def use_driver(driver: Driver) -> Iterator[None]:
    """Let the connections to SQLite that are opened meanwhile be those of a driver."""
    reported_before = sys.unraisablehook

    def report(failure: Any) -> None:
        if not (driver.disk.is_off and isinstance(failure.exc_value, apsw.Error)):
            reported_before(failure)

    sys.unraisablehook = report  # of what is given back after the loss nobody needs a report that it failed
    try:
        with mock.patch.object(sqlite, "connect", driver.connect):
            yield
    finally:
        sys.unraisablehook = reported_before
        driver.disk.unregister()
