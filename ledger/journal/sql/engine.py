"""Connections that keep the promise of durability, or none: engines, their settings, and the schema they find."""

from __future__ import annotations

import os
import random
import secrets
import sqlite3
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from ledger.errors import (
    CorruptEvent,
    JournalBusy,
    JournalError,
    JournalMissing,
    JournalNewer,
    JournalReplaced,
    JournalUnavailable,
    JournalUnsafe,
)
from ledger.journal.sql.file_identity import inode_of, replaced, require_own_log
from ledger.journal.sql.forking import gate, prepare_for_forks, require_usable, set_aside
from ledger.journal.sql.schema import REVISION
from ledger.journal.sql.urls import journal_url, shown, spellings, split_secrets, sqlite_path

__all__ = ["journal_url", "shown", "sqlite_path"]  # with what is made here, all that others need to name and open a journal

#: How long an append waits for other writers before it gives up, in seconds.
BUSY_SECONDS: Final = 30.0

#: The revision of an incomplete copy.
UNFINISHED: Final = "unfinished copy"

_FILE_MODE: Final = 0o644  # as SQLite makes them
_SQLITE_MINIMUM: Final = (3, 35, 0)
_SYNCHRONOUS_FULL: Final = 2
_RETRY_SECONDS: Final = 0.01
#: How long a writer waits before it looks again whether nobody else writes, in seconds: from, to.
_POLL_FAST: Final = (0.0005, 0.003)
_POLL_SLOW: Final = (0.02, 0.1)
#: URL without secrets -> what was taken out of it. Engines, errors and representations have only the first.
_SECRETS: Final[dict[URL, dict[str, str | tuple[str, ...]]]] = {}
#: Engines behind a pooler -> the statements that their transactions begin with.
_POOLED: Final[weakref.WeakKeyDictionary[Engine, str]] = weakref.WeakKeyDictionary()
_SQLITE_FILES: Final[weakref.WeakKeyDictionary[Engine, _SqliteFile]] = weakref.WeakKeyDictionary()
_NO_LIMIT: Final = -1  # a replay reads through two connections at once: a limit would let threads wait for one another


def open_engine(text: str, *, busy_seconds: float = BUSY_SECONDS, create: bool = True) -> Engine:
    """Return an engine whose every connection is checked to be durable. Nothing is opened yet.

    Args:
        text: The URL of a journal, or a path.
        busy_seconds: How long its connections wait for others.
        create: Make the file of a SQLite journal with the first connection, where there is none.

    Raises:
        BadValue: The URL is not one of a journal.
        JournalUnavailable: The driver is not installed.
    """
    url = journal_url(text)
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite_engine(url, busy_seconds, create=create)
        return _postgres_engine(url, busy_seconds)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise JournalUnavailable(
            f"the driver for {url.drivername} is not installed ({error}): pip install 'mt5-position-ledger[postgres]'"
        ) from error


def address_of(engine: Engine) -> str:
    """Return what ``open_engine`` opens the same journal by, secrets included: never to be shown."""
    file = _SQLITE_FILES.get(engine)
    return file.path if file is not None else _with_secrets(engine.url).render_as_string(hide_password=False)


def _with_secrets(url: URL) -> URL:
    secret = dict(_SECRETS.get(url, {}))
    password = secret.pop("password", None)
    return url.set(query={**url.query, **secret})._replace(password=None if password is None else str(password))


def _closing(check: Callable[[Any, object], None]) -> Callable[[Any, object], None]:
    """Close a new connection that a check refuses: nobody else will."""

    def checked(connection: Any, record: object) -> None:
        try:
            check(connection, record)
        except BaseException:
            connection.close()
            raise

    return checked


def _sqlite_engine(url: URL, busy_seconds: float, *, create: bool) -> Engine:
    if sqlite3.sqlite_version_info < _SQLITE_MINIMUM:
        raise JournalUnsafe(f"SQLite 3.35 or newer is needed, this Python has {sqlite3.sqlite_version}")
    path = str(Path(url.database or "").absolute())  # also after the program changes its folder
    arguments = {"timeout": busy_seconds, "uri": True, "factory": _gated(path)}
    file = _SqliteFile(path)
    engine = sa.create_engine(url, connect_args=arguments, max_overflow=_NO_LIMIT, poolclass=_pool_of(file))
    _SQLITE_FILES[engine] = file
    _follow_forks(engine)

    @event.listens_for(engine, "do_connect")
    def _name(_dialect: object, _record: object, positional: list[Any], _named: object) -> None:
        require_usable(path)
        if file.inode is None:
            file.read_only = _read_only_mode(path)
        writing = "mode=rwc" if create and file.inode is None else _WRITING
        positional[:] = [_uri(path, writing if file.read_only is None else file.read_only)]

    @event.listens_for(engine, "connect")
    @_closing
    def _settings(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions are begun by us, below
        if file.inode is None:
            _require_own_log(path, connection)
        file.check()
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if tables and not _is_journal(tables):
            raise _foreign(url, tables)  # before anything of it is changed, its journal mode included
        if file.read_only is not None:
            return  # nothing can be written, so nothing needs to be durable
        if not tables:
            _mark_file(connection, path)
        for setting in ("synchronous=FULL", "fullfsync=ON", "foreign_keys=ON", "cache_size=-16384"):
            connection.execute(f"PRAGMA {setting}")
        mode = _write_ahead(connection, busy_seconds)
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        if mode != "wal" or synchronous < _SYNCHRONOUS_FULL:
            raise JournalUnsafe(
                f"{url.database}: expected journal_mode wal and synchronous FULL, found {mode} and {synchronous}. "
                "Put the journal on a local file system that allows shared memory."
            )
        file.note_log()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("write", False):
            driver: Any = connection.connection.driver_connection
            waiting = stop_waiting(driver)
            try:
                patience = min(options.get("patience", waiting), waiting)
                begin_immediate(driver, patience, is_bulk=options.get("is_bulk", False))
            finally:
                wait_again(driver, waiting)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


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
    try:
        require_own_log(path, connection.execute("PRAGMA user_version").fetchone()[0])
    except JournalReplaced:
        other = sqlite3.connect(_uri(path, _WRITING), uri=True)
        set_aside(other)
        other.execute("PRAGMA user_version").fetchone()
        raise


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


def _pool_of(file: _SqliteFile) -> type[QueuePool]:
    """Return the kind of pool whose connections count as in use while they are given out (see ``forking``)."""

    class _CountedPool(QueuePool):
        """Gives out no connection during a fork of another thread."""

        def __init__(self, *args: Any, **words: Any) -> None:
            super().__init__(*args, **words)
            self._uses: dict[int, int] = {}  # id of the record -> number of the use

        def _do_get(self) -> Any:
            number = gate.enter(file.path)
            try:
                if file.inode:
                    file.check()
                record = super()._do_get()
            except BaseException:
                gate.leave(number)
                raise
            self._uses[id(record)] = number
            return record

        def _do_return_conn(self, record: Any) -> None:
            number = self._uses.pop(id(record), None)
            try:
                super()._do_return_conn(record)
            finally:
                if number is not None:
                    gate.leave(number)

    return _CountedPool


class _EngineForks:
    """Prepares an engine for forks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)

    def before_fork(self) -> None:
        engine = self._engine()
        if engine is not None and engine.dialect.name == "sqlite":
            close_engine(engine)

    def after_fork_in_child(self) -> None:
        engine = self._engine()
        if engine is not None:
            set_aside(engine.pool)
            engine.dispose(close=False)


def require_writable(engine: Engine) -> None:
    """Refuse to append to a SQLite journal that is only read.

    Raises:
        JournalUnavailable: It was opened without the rights to write.
    """
    file = _SQLITE_FILES.get(engine)
    if file is not None and file.read_only is not None:
        raise JournalUnavailable(f"journal {file.path}: the journal cannot be written: check the rights of file and folder")


def refuse_from_now_on(engine: Engine, error: JournalReplaced) -> None:
    """Let nothing more be read or written through an engine whose journal was replaced."""
    file = _SQLITE_FILES.get(engine)
    if file is not None:
        file.refused = str(error)


def close_engine(engine: Engine) -> None:
    """Close the connections that nobody uses.

    The last one that is closed removes the -wal that its path names. Where that is another journal's, which replaced
    this one, they stay open until the process ends.
    """
    file = _SQLITE_FILES.get(engine)
    if file is not None and not file.is_harmless_to_close():
        set_aside(engine.pool)
        engine.dispose(close=False)
    else:
        engine.dispose()


def _follow_forks(engine: Engine) -> None:
    holder = _EngineForks(engine)
    prepare_for_forks(holder)
    event.listen(engine, "engine_disposed", lambda _: holder)  # refers to the holder as long as the engine exists


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


def _postgres_engine(full_url: URL, busy_seconds: float) -> Engine:
    url, secret = split_secrets(full_url)
    if secret:
        _SECRETS[url] = secret
    engine = sa.create_engine(
        url,
        connect_args={"connect_timeout": max(2, int(busy_seconds)), "client_encoding": "utf8"},
        pool_pre_ping=True,
        max_overflow=_NO_LIMIT,
        isolation_level="READ COMMITTED",  # whoever waited for the head row must see what it became
    )
    _follow_forks(engine)

    @event.listens_for(engine, "do_connect")
    def _add_secrets(_dialect: object, _record: object, _positional: object, named: dict[str, Any]) -> None:
        named.update(secret)

    @event.listens_for(engine, "connect")
    @_closing
    def _settings(connection: Any, _: object) -> None:
        from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

        for dumper in (Int8Dumper, Int8BinaryDumper):  # one size, or else statements are prepared for every mix of sizes
            connection.adapters.register_dumper(int, dumper)
        connection.execute("SET LOCAL statement_timeout = 0")
        settings = _durable_settings(connection) | {"lock_timeout": str(int(busy_seconds * 1000)), "statement_timeout": "0"}
        if _is_behind_pooler(connection):
            # The next transaction may be another server connection's, which has neither our settings nor our statements.
            connection.prepare_threshold = None
            _POOLED[engine] = "; ".join(f"SET LOCAL {name} = {value}" for name, value in settings.items())
        else:
            # For statements that are a transaction of their own, too.
            for name, value in (settings | {"default_transaction_isolation": "'read committed'"}).items():
                connection.execute(f"SET {name} = {value}")
        connection.commit()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if engine in _POOLED:
            connection.exec_driver_sql(_POOLED[engine])

    return engine


def _durable_settings(connection: Any) -> dict[str, str]:
    """Refuse a server that can lose commits or text, and return what is to stay in force whatever is changed on it."""
    encoding = connection.execute("SHOW server_encoding").fetchone()[0]
    if encoding != "UTF8":
        raise JournalUnsafe(
            f"the database has the encoding {encoding}, which does not hold every text: "
            "make one with CREATE DATABASE desk ENCODING 'UTF8' TEMPLATE template0"
        )
    found = {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in _UNSAFE}
    for setting, refused in _UNSAFE.items():
        if found[setting] in refused:
            raise JournalUnsafe(f"Postgres has {setting} = {found[setting]}: turn it on, or commits can be lost")
    return {"synchronous_commit": found["synchronous_commit"]}


#: Setting of Postgres -> values with which commits can be lost.
_UNSAFE: Final = {"synchronous_commit": ("off", "local"), "fsync": ("off",)}


def _is_behind_pooler(connection: Any) -> bool:
    """Return whether a pooler answers for the server: the process id that it announces is none of the server's."""
    return bool(connection.execute("SELECT pg_backend_pid()").fetchone()[0] != connection.info.backend_pid)


def pooled_settings(engine: Engine) -> str | None:
    """Return what each transaction of ours begins with where a pooler is in front of Postgres; None where none is.

    A pooler in transaction mode may give every transaction another server connection: settings of a session, its listening
    and its prepared statements do not last.
    """
    return _POOLED.get(engine)


# ------------------------------------------------------------------------------------------------------------ the schema


def found_revision(engine: Engine) -> str | None:
    """Return the schema revision of the journal, None where there is no journal.

    Raises:
        JournalMissing: The file is something else.
    """
    path = sqlite_path(engine.url)
    if path is not None and (not path.exists() or (path.is_file() and not path.stat().st_size)):
        return None
    with translate_errors(engine.url), engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        if _is_journal(tables):
            version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return None if version is None else str(version)
    if tables and (path is not None or "alembic_version" in tables):
        raise _foreign(engine.url, tables)
    return None


def _is_journal(tables: Sequence[str]) -> bool:
    return "alembic_version" in tables and "heads" in tables


def _foreign(url: URL, tables: Sequence[str]) -> JournalMissing:
    return JournalMissing(
        f"{shown(url)} is the database of something else (it holds {', '.join(sorted(tables)[:3])}): "
        "give the journal a file or a database of its own"
    )


def check_revision(engine: Engine) -> None:
    """Refuse a journal that is missing, older or newer than this program.

    Raises:
        JournalMissing: There is no journal.
        JournalNewer: The journal was made by a newer program.
        JournalError: The journal waits for a migration.
    """
    found = found_revision(engine)
    if found is None:
        raise JournalMissing(f"there is no journal at {shown(engine.url)}: make one with ledger init, or import an export")
    refuse_newer(engine, found)
    if found != REVISION:
        raise JournalError(f"the journal at {shown(engine.url)} has schema {found}, this program {REVISION}: ledger init")


def refuse_newer(engine: Engine, found: str | None) -> None:
    """Refuse a journal that this program is too old for, and one that is only half there.

    Raises:
        JournalNewer: The journal was made by a newer program.
        JournalError: It is an unfinished copy.
    """
    if found == UNFINISHED:
        raise JournalError(
            f"{shown(engine.url)} is an unfinished copy of a journal: run the same ledger backup or ledger restore again"
        )
    if found is not None and found > REVISION:
        raise JournalNewer(
            f"the journal at {shown(engine.url)} has schema {found}, this program knows {REVISION}: use a newer ledger"
        )


# ------------------------------------------------------------------------------------------------------------ the errors

#: A database's message -> what it means here. The first text found in the driver's message decides.
_ERRORS: Final[tuple[tuple[str, type[JournalError], str], ...]] = (
    ("database is locked", JournalBusy, "another program has been writing to the journal for too long: try again"),
    ("statement timeout", JournalBusy, "a statement took longer than the database allows: try again"),
    ("lock timeout", JournalBusy, "another program has been writing to the account for too long: try again"),
    ("file is not a database", JournalMissing, "this file is not a journal: check the path"),
    ("malformed", CorruptEvent, "the file is damaged: stop writing, copy it, restore a backup"),
    ("Could not decode to UTF-8", CorruptEvent, "what is recorded is damaged: run ledger verify"),
    ("database or disk is full", JournalUnavailable, "the disk is full: nothing was recorded, make room and try again"),
    ("No space left", JournalUnavailable, "the disk is full: nothing was recorded, make room and try again"),
    ("readonly database", JournalUnavailable, "the journal cannot be written: check the rights of file and folder"),
    ("unable to open database", JournalUnavailable, "the file cannot be opened: check path and rights"),
    ("disk I/O error", JournalUnavailable, "the disk failed: nothing was recorded"),
    ("immutable", JournalError, "the database refused a change to what is recorded"),
    ("only move on", JournalError, "the database refused to move a head back"),
    ("no such table", JournalMissing, "tables of the journal are missing: this is not a journal, or it is damaged"),
    ("FATAL:  role", JournalUnavailable, "user or password is wrong"),
    ("password authentication", JournalUnavailable, "user or password is wrong"),
    ("no password supplied", JournalUnavailable, "user or password is wrong"),
    ("permission denied", JournalError, "the user has no right to this: ask whoever runs the database"),
    ("read-only transaction", JournalError, "this database only reads: name the one that is written to"),
    ("does not exist", JournalMissing, "the database or its tables are not there: create them first"),
)

_SILENT: Final = "the database does not answer: is it running, and is the URL right?"
_REFUSED: Final = "the database refused what should never be refused: this is a fault of the ledger or of the schema"

#: Where the message decides nothing, the kind of error does: the first that an error is an instance of. psycopg and
#: sqlite3 have the same kinds (PEP 249), found by name so that psycopg need not be loaded.
_KINDS: Final[Mapping[str, tuple[type[JournalError], str]]] = {
    "OperationalError": (JournalUnavailable, _SILENT),
    "InterfaceError": (JournalUnavailable, _SILENT),
    "TimeoutError": (JournalBusy, "all connections are in use: try again"),
    "DisconnectionError": (JournalUnavailable, _SILENT),
    "DataError": (JournalError, _REFUSED),
    "IntegrityError": (JournalError, _REFUSED),
    "InternalError": (JournalError, _REFUSED),
    "NotSupportedError": (JournalError, _REFUSED),
    "ProgrammingError": (JournalError, _REFUSED),
    "DatabaseError": (JournalError, _REFUSED),
    "Error": (JournalError, _REFUSED),
    "SQLAlchemyError": (JournalError, _REFUSED),
    "Warning": (JournalError, _REFUSED),
}


class translate_errors:  # noqa: N801  # reads as a statement: with translate_errors(url)
    """Turn what a database driver raises into the ledger's errors, by one table."""

    def __init__(self, url: URL) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and _is_foreign(error):
            found = translate_error(error, self._url)
            if _reveals(error, self._url):  # neither as the cause nor in a traceback
                found.__suppress_context__ = True
                raise found from None
            raise found from error


def _is_foreign(error: BaseException) -> bool:
    return isinstance(error, (SQLAlchemyError, sqlite3.Error)) or type(error).__module__.startswith("psycopg")


def translate_error(error: BaseException, url: URL) -> JournalError:
    """Return the ledger's error for what a database driver raised."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    text = str(cause)
    kind, advice = next((one[1:] for one in _ERRORS if one[0] in text), None) or kind_of(type(cause))
    first_line = text.strip().splitlines()[0] if text.strip() and not _reveals(error, url) else type(cause).__name__
    return kind(f"journal {shown(url)}: {advice} ({first_line})")


def _reveals(error: BaseException, url: URL) -> bool:
    """Return whether an error of a driver, or one that led to it, repeats a secret of the URL."""
    hidden = spellings(_SECRETS.get(url, {}))
    seen: BaseException | None = error
    while hidden and seen is not None:
        if any(one in str(seen) for one in hidden):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def kind_of(error: type[BaseException]) -> tuple[type[JournalError], str]:
    """Return what a class of errors means here, and the advice; the nearest of its bases that is listed decides."""
    return next(_KINDS[base.__name__] for base in error.__mro__ if base.__name__ in _KINDS)
