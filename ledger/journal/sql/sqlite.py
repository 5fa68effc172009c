"""SQLite by the standard library: connections that keep the promise of durability, or none, and their pool.

SQLAlchemy makes and migrates a journal (``alchemy``); it takes longer to load than most commands take, so nothing else uses it.
"""

from __future__ import annotations

import os
import random
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ledger.errors import JournalError, JournalReplaced, JournalUnavailable, JournalUnsafe
from ledger.journal.sql.engine import TABLES_OF_SQLITE, foreign, is_journal, translate_errors
from ledger.journal.sql.file_identity import inode_of, replaced, require_own_log
from ledger.journal.sql.forking import gate, importing, owned, prepare_for_forks, require_usable, set_aside
from ledger.journal.sql.urls import SqliteUrl, shown
from ledger.postings import Row

if TYPE_CHECKING:
    import sqlalchemy as sa

_FILE_MODE: Final = 0o644  # as SQLite makes them
_SQLITE_MINIMUM: Final = (3, 35, 0)
_SYNCHRONOUS_FULL: Final = 2
_RETRY_SECONDS: Final = 0.01
#: How long a writer waits before it looks again whether nobody else writes, in seconds: from, to.
_POLL_FAST: Final = (0.0005, 0.003)
_POLL_SLOW: Final = (0.02, 0.1)
_IDLE_MAX: Final = 5  # connections that wait for their next use; how many are in use has no limit


class SqliteEngine:
    """The journal in a file. Nothing is opened before it is asked for.

    Args:
        url: Where it is.
        busy_seconds: How long its connections wait for others.
        create: Make the file with the first connection, where there is none.
    """

    is_postgres: Final = False
    pooled_settings: Final = None

    def __init__(self, url: SqliteUrl, busy_seconds: float, *, create: bool) -> None:
        if sqlite3.sqlite_version_info < _SQLITE_MINIMUM:
            raise JournalUnsafe(f"SQLite 3.35 or newer is needed, this Python has {sqlite3.sqlite_version}")
        self.url = url
        self.path = str(Path(url.database).absolute())  # also after the program changes its folder
        self._busy_seconds = busy_seconds
        self._create = create
        self._file = _SqliteFile(self.path)
        self._connection_class = _gated(self.path)
        self._idle: list[sqlite3.Connection] = []
        self._alchemy: sa.Engine | None = None
        self._round = 0  # how often all that was idle was closed: what is older does not become idle again
        self._uses: list[tuple[Callable[[Any], object], Callable[[Any], object]]] = []
        prepare_for_forks(self)

    def __repr__(self) -> str:
        """Return what it is of."""
        return f"SqliteEngine({self.url})"

    def address(self) -> str:
        """Return what ``open_engine`` opens the same journal by."""
        return self.path

    # ---- connections

    def raw_connection(self) -> Lent:
        """Take a connection from the pool, or open one."""
        number = gate.enter(self.path)
        try:
            if self._file.inode:
                self._file.check()
            try:
                driver = self._idle.pop()
            except IndexError:
                driver = self.open_connection()
        except BaseException:
            gate.leave(number)
            raise
        for begun, _ in self._uses:
            begun(driver)
        return Lent(self, driver, number, self._round)

    @contextmanager
    def reading(self) -> Iterator[SqliteSession]:
        """Read in a transaction."""
        with translate_errors(self.url), owned(self.raw_connection()) as lent:
            lent.driver_connection.execute("BEGIN")
            yield SqliteSession(lent.driver_connection)

    def query_once(self, text: str, *values: Any) -> list[Row]:
        """Return what one statement selects."""
        with self.reading() as session:
            return session.query(text, *values)

    @contextmanager
    def writing(self, patience: float | None = None, *, is_bulk: bool = False) -> Iterator[SqliteSession]:
        """Write in a transaction; see ``Engine.writing``."""
        with translate_errors(self.url), owned(self.raw_connection()) as lent:
            self._begin_to_write(lent.driver_connection, patience, is_bulk=is_bulk)
            yield SqliteSession(lent.driver_connection)
            lent.driver_connection.commit()

    def _begin_to_write(self, driver: sqlite3.Connection, patience: float | None, *, is_bulk: bool) -> None:
        waiting = stop_waiting(driver)
        try:
            begin_immediate(driver, waiting if patience is None else min(patience, waiting), is_bulk=is_bulk)
        finally:
            wait_again(driver, waiting)

    def on_use(self, begun: Callable[[Any], object], ended: Callable[[Any], object]) -> None:
        """Call these with each connection that is taken from the pool, and that is given back."""
        self._uses.append((begun, ended))

    def table_names(self) -> list[str]:
        """Return the tables of the file."""
        with self.reading() as session:
            return [name for (name,) in session.query(TABLES_OF_SQLITE)]

    def is_disconnect(self, error: Exception, _driver: Any) -> bool:
        """Return whether an error means that the connection is closed."""
        return isinstance(error, sqlite3.ProgrammingError) and "closed database" in str(error)

    @property
    def alchemy(self) -> sa.Engine:
        """SQLAlchemy's engine over connections of this one, to make and migrate a journal."""
        if self._alchemy is None:  # without a lock (``cached_property`` has one), which a fork could leave locked in a child
            self._alchemy = self._made_alchemy()
        return self._alchemy

    def _made_alchemy(self) -> sa.Engine:
        with importing():
            import sqlalchemy as sa
            from sqlalchemy import event
            from sqlalchemy.pool import NullPool

        path, uses = self.path, dict[int, int]()  # id of the record -> number of the use

        class _CountedPool(NullPool):
            """Opens no connection during a fork of another thread, and counts each as in use from before it is opened."""

            def _do_get(self) -> Any:
                number = gate.enter(path)
                try:
                    record = super()._do_get()
                except BaseException:
                    gate.leave(number)
                    raise
                uses[id(record)] = number
                return record

            def _do_return_conn(self, record: Any) -> None:
                try:
                    super()._do_return_conn(record)
                finally:
                    gate.leave(uses.pop(id(record), 0))

        url = sa.URL.create("sqlite", database=self.url.database)
        engine = sa.create_engine(url, creator=self.open_connection, poolclass=_CountedPool)

        @event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            options = connection.get_execution_options()
            if options.get("write", False):
                driver: Any = connection.connection.driver_connection
                self._begin_to_write(driver, options.get("patience"), is_bulk=options.get("is_bulk", False))
            else:
                connection.exec_driver_sql("BEGIN")

        return engine

    def open_connection(self) -> sqlite3.Connection:
        """Open a connection and check that it is durable, and that it is to the file that the first one was to."""
        require_usable(self.path)
        file = self._file
        if file.inode is None:
            file.read_only = _read_only_mode(self.path)
        writing = "mode=rwc" if self._create and file.inode is None else _WRITING
        connection = connect(
            _uri(self.path, writing if file.read_only is None else file.read_only),
            timeout=self._busy_seconds,
            uri=True,
            factory=self._connection_class,
            isolation_level=None,  # transactions are begun by us
            check_same_thread=False,
        )
        try:
            self._settle(connection)
        except BaseException:
            connection.close()  # nobody else will
            raise
        return connection

    def _settle(self, connection: sqlite3.Connection) -> None:
        file = self._file
        if file.inode is None:
            _require_own_log(self.path, connection)
        file.check()
        tables = [name for (name,) in connection.execute(TABLES_OF_SQLITE)]
        if tables and not is_journal(tables):
            raise foreign(self.url, tables)  # before anything of it is changed, its journal mode included
        if file.read_only is not None:
            return  # nothing can be written, so nothing needs to be durable
        if not tables:
            _mark_file(connection, self.path)
        for setting in ("synchronous=FULL", "fullfsync=ON", "foreign_keys=ON", "cache_size=-16384"):
            connection.execute(f"PRAGMA {setting}")
        mode = _write_ahead(connection, self._busy_seconds)
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        if mode != "wal" or synchronous < _SYNCHRONOUS_FULL:
            raise JournalUnsafe(
                f"{self.url.database}: expected journal_mode wal and synchronous FULL, found {mode} and {synchronous}. "
                "Put the journal on a local file system that allows shared memory."
            )
        file.note_log()

    def give_back(self, driver: sqlite3.Connection, begun_in: int) -> None:
        """Let somebody else use a connection, or close it."""
        for _, ended in self._uses:
            ended(driver)
        try:
            if driver.in_transaction:
                driver.rollback()
        except sqlite3.Error:
            driver.close()
            return
        if begun_in == self._round and len(self._idle) < _IDLE_MAX:
            self._idle.append(driver)
        elif self._file.is_harmless_to_close():
            driver.close()
        else:
            set_aside(driver)

    # ---- the end, and forks

    def require_writable(self) -> None:
        """Refuse to append to a journal that is only read.

        Raises:
            JournalUnavailable: It was opened without the rights to write.
        """
        if self._file.read_only is not None:
            raise JournalUnavailable(f"journal {self.path}: the journal cannot be written: check the rights of file and folder")

    def refuse_from_now_on(self, error: JournalReplaced) -> None:
        """Let nothing more be read or written: the journal was replaced."""
        self._file.refused = str(error)

    def dispose(self) -> None:
        """Close the connections that nobody uses.

        The last one that is closed removes the -wal that its path names. Where that is another journal's, which replaced
        this one, they stay open until the process ends.
        """
        self._round += 1
        is_harmless = self._file.is_harmless_to_close()
        while True:
            try:
                one = self._idle.pop()  # others may take some meanwhile
            except IndexError:
                return
            if is_harmless:
                one.close()
            else:
                set_aside(one)

    def before_fork(self) -> None:
        """Close the connections that nobody uses (see ``forking``)."""
        self.dispose()

    def after_fork_in_child(self) -> None:
        """Set aside those of the parent."""
        self._round += 1
        if self._idle:
            set_aside(self._idle)
            self._idle = []


class SqliteSession:
    """A transaction; see ``engine.Session``."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self.driver: Any = driver

    def query(self, text: str, *values: Any) -> list[Row]:
        """Return what a statement selects."""
        rows: list[Row] = self.driver.execute(text, values).fetchall()
        return rows

    def execute(self, text: str, *values: Any) -> int:
        """Carry out a statement, and return how many rows it changed."""
        return int(self.driver.execute(text, values).rowcount)


class Lent:
    """A connection that was taken from the pool. While it is, the file counts as in use, unless it is detached.

    Attributes:
        driver_connection: The connection itself.
        is_valid: Whether it was neither closed nor given back.
    """

    def __init__(self, engine: SqliteEngine, driver: sqlite3.Connection, number: int, begun_in: int) -> None:
        self.driver_connection: Any = driver
        self.is_valid = True
        self._engine = engine
        self._number = number
        self._round = begun_in
        self._process = os.getpid()
        self._is_detached = False

    def detach(self) -> None:
        """Let it be no part of the pool any more: the file does not count as in use, and ``close`` closes it."""
        self._is_detached = True
        gate.leave(self._number)

    def invalidate(self, error: BaseException | None = None) -> None:  # noqa: ARG002  # as SQLAlchemy's
        """Close it, and give nothing back."""
        self._is_detached = True
        self.close()

    def __del__(self) -> None:
        """Give back what nobody refers to any more."""
        if not self._is_detached and not sys.is_finalizing():
            self.close()

    def close(self) -> None:
        """Give it back, in the process that it was taken in."""
        if not self.is_valid:
            return
        self.is_valid = False
        try:
            if self._process != os.getpid():
                set_aside(self.driver_connection)
            elif self._is_detached:
                self.driver_connection.close()
            else:
                self._engine.give_back(self.driver_connection, self._round)
        finally:
            gate.leave(self._number)


#: Opens a file.
connect: Final = sqlite3.connect


def _gated(path: str) -> type[sqlite3.Connection]:
    """Return the kind of connection whose end counts as a use of the file (see ``forking``).

    SQLite has mutexes of the whole process, which the thread that closes a connection holds. A child that is forked meanwhile
    would wait for them for ever.
    """

    class _Gated(sqlite3.Connection):
        def close(self) -> None:
            number = gate.enter(path)
            try:
                super().close()
            finally:
                gate.leave(number)

    return _Gated


class _SqliteFile:
    """The file that an engine has opened.

    Attributes:
        path: Absolute, also after the program changes its folder.
        inode: Device and inode, once it was opened.
        refused: Why it is refused from now on, if it is.
        read_only: How it is opened where it cannot be written, as options of SQLite's URL; None where it can.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.inode: tuple[int, int] | None = None
        self.refused: str | None = None
        self.read_only: str | None = None
        self._log: tuple[int, int] | None = None

    def check(self) -> None:
        """Refuse another file than that of the first connection, and one that was refused before.

        Raises:
            JournalReplaced: It was removed, renamed or replaced.
        """
        if self.refused:
            raise JournalReplaced(self.refused)
        found = inode_of(self.path)
        if found is None:
            raise replaced(self.path, "it was removed or renamed")
        self.inode = self.inode or found
        if self.inode != found:
            raise replaced(self.path, "another file replaced it")
        if self.read_only == _UNCHANGING and _size(f"{os.path.realpath(self.path)}-wal"):
            raise JournalUnavailable(
                f"journal {self.path}: somebody writes to it now, unlike when it was opened: open it again"
            )

    def note_log(self) -> None:
        """Note which file its write-ahead log is, once it is open."""
        self._log = inode_of(f"{os.path.realpath(self.path)}-wal") or self._log

    def is_harmless_to_close(self) -> bool:
        """Return whether the last connection that is closed removes no log but its own."""
        if self.inode in (None, inode_of(self.path)):
            return True
        found = inode_of(f"{os.path.realpath(self.path)}-wal")
        return found is None or found == self._log


def _require_own_log(path: str, connection: sqlite3.Connection) -> None:
    """Refuse a database beside which is the log of another one, and do not mix the two by closing it.

    The last connection that is closed copies the log into the database. So one stays open until the process ends.
    """
    mark = _mark_of(connection)
    if not mark:  # the file has no page yet: whoever makes it may write the first one between two looks
        with suppress(JournalReplaced):
            require_own_log(path, mark)
            return
        mark = _mark_of(connection)
    try:
        require_own_log(path, mark)
    except JournalReplaced:
        other = sqlite3.connect(_uri(path, _WRITING), uri=True)
        set_aside(other)
        other.execute("PRAGMA user_version").fetchone()
        raise


def _mark_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


#: The options of SQLite's URL: for a file that must be there; for one that cannot be written, with a log beside it, and without
#: one, when nobody writes.
_WRITING: Final = "mode=rw"
_READING: Final = "mode=ro"
_UNCHANGING: Final = "mode=ro&immutable=1"


def _read_only_mode(path: str) -> str | None:
    """Return how a journal is opened that this user, or anybody, cannot write: None where it can be written.

    Raises:
        JournalUnavailable: Its log has to be recovered before it can be read, which needs to write.
    """
    database = os.path.realpath(path)
    folder = os.path.dirname(database)  # noqa: PTH120  # paths are text here
    is_writable = os.access(database, os.W_OK) and (os.access(folder, os.W_OK) or _size(f"{database}-shm") is not None)
    if is_writable or not os.path.exists(database):  # noqa: PTH110
        return None
    if _size(f"{database}-shm") is not None:
        return _READING
    if _size(f"{database}-wal"):
        raise JournalUnavailable(
            f"journal {path}: it cannot be written here, and its -wal holds events that have to be recovered into it first: "
            "open it once with the rights to write, or copy the file together with its -wal to where you may write"
        )
    return _UNCHANGING


def _size(path: str) -> int | None:
    """Return the size of a file, None where there is none."""
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return None


def _uri(path: str, options: str) -> str:
    return f"file:{quote(path)}?{options}"


def make_file(path: Path) -> None:
    """Make an empty file for a new SQLite journal, and the folders above it; harmless where it exists.

    Raises:
        JournalUnavailable: It cannot be made.
        JournalError: The log of a journal that was there is left, which SQLite would throw away.
    """
    _require_no_log(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=_FILE_MODE)
    except OSError as error:
        raise JournalUnavailable(
            f"journal {shown(str(path))}: the file cannot be made: check path and rights ({error.strerror})"
        ) from error


def _require_no_log(path: Path) -> None:
    """Refuse to make a database where the log of another one is left: it may hold events that were acknowledged.

    Another program may be making the journal at this moment, or was killed while it did. Its rollback journal (-journal) then
    states that the database had no pages before. And it writes the file's first page before there is a -wal: so the file is
    looked at once more after a log was found.
    """
    database = os.path.realpath(path)
    for suffix in ("-wal", "-journal"):
        left = f"{database}{suffix}"
        if _size(database) or not _size(left) or (suffix == "-journal" and _holds_no_pages(left)) or _size(database):
            continue
        raise JournalError(
            f"{left} is left of a journal that was at {shown(str(path))}, and may hold events that are nowhere else: put "
            "that file back and run ledger verify, or move the log away if the events are known to be in a backup"
        )


#: The first bytes of a rollback journal, and where the size is that the database had before (sqlite.org/fileformat2.html).
_ROLLBACK_JOURNAL: Final = bytes.fromhex("d9d505f920a163d7")
_PAGES_BEFORE: Final = slice(16, 20)


def _holds_no_pages(journal: str) -> bool:
    """Return whether a rollback journal is that of a database that was just being made, or is not one for SQLite either.

    SQLite writes zeros in place of the first bytes until all else is on the disk.
    """
    try:
        with Path(journal).open("rb") as file:
            header = file.read(_PAGES_BEFORE.stop)
    except FileNotFoundError:  # the other program is done with it
        return True
    is_begun = header.startswith(_ROLLBACK_JOURNAL)
    return header.startswith(b"\0") or (is_begun and not any(header[_PAGES_BEFORE]))


def _mark_file(connection: sqlite3.Connection, path: str) -> None:
    """Give a new file a random mark in its header (PRAGMA user_version), to distinguish it from a copy of the journal."""
    connection.execute("BEGIN IMMEDIATE")
    if not Path(path).stat().st_size:  # else another program was faster
        connection.execute(f"PRAGMA user_version = {secrets.randbelow(2**31 - 1) + 1}")
    connection.execute("COMMIT")


def stop_waiting(driver: Any) -> float:
    """Keep SQLite from waiting for others by its own rules, and return for how many seconds it would have."""
    (waiting_msc,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute("PRAGMA busy_timeout = 0")
    return float(waiting_msc / 1000)


def wait_again(driver: sqlite3.Connection, seconds: float) -> None:
    """Let SQLite wait for others again, as before ``stop_waiting``."""
    driver.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")


def begin_immediate(driver: sqlite3.Connection, patience: float, *, is_bulk: bool = False) -> None:
    """Begin to write as soon as nobody else does.

    SQLite's own waiting knows no order. Here whoever writes much looks seldom whether it is free, and whoever writes little
    looks often: so an engine's fill gets in between the batches of an import. At random moments, so that nobody waits in step
    with somebody else.

    Args:
        driver: A connection that does not wait (see ``stop_waiting``).
        patience: For how many seconds to look.
        is_bulk: Whether much is to be written.
    """
    give_up = time.monotonic() + patience
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= give_up:
                raise
        else:
            return
        time.sleep(random.uniform(*(_POLL_SLOW if is_bulk else _POLL_FAST)))  # noqa: S311  # no secret


def _write_ahead(connection: sqlite3.Connection, busy_seconds: float) -> str:
    """Switch a file to WAL and return the mode in force.

    The switch does not wait for others as everything else does (sqlite.org, "PRAGMA busy_timeout"), so we do.
    """
    give_up = time.monotonic() + busy_seconds
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(_RETRY_SECONDS)
