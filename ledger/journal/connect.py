"""Connections that keep the promise of durability, or none: engines, their settings, and the schema they find."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from ledger.errors import (
    BadValue,
    CorruptEvent,
    JournalBusy,
    JournalError,
    JournalMissing,
    JournalNewer,
    JournalUnavailable,
    JournalUnsafe,
)
from ledger.journal.schema import REVISION

#: How long an append waits for other writers before it gives up, in seconds.
BUSY_SECONDS: Final = 30.0

#: Stands for the revision of a copy under way.
UNFINISHED: Final = "unfinished copy"

_SQLITE_MINIMUM: Final = (3, 35, 0)
_SYNCHRONOUS_FULL: Final = 2
_RETRY_SECONDS: Final = 0.01
#: How long a writer waits before it looks again whether nobody else writes, in seconds: from, to.
_LOOK_OFTEN: Final = (0.0005, 0.003)
_LOOK_SELDOM: Final = (0.02, 0.1)
_NO_LIMIT: Final = -1  # a replay reads through two connections at once: a limit would let threads wait for one another


def journal_url(text: str) -> URL:
    """Read a journal URL; a plain path is a SQLite file.

    Raises:
        BadValue: The text is no URL, or names a database that the ledger does not speak.
    """
    try:
        url = make_url(text if "://" in text else f"sqlite:///{text}")
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        raise BadValue(f"a journal is sqlite:///FILE or postgresql+psycopg://HOST/DB, found {text!r}") from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise BadValue(f"a journal is sqlite:///FILE or postgresql+psycopg://HOST/DB, found {url.drivername}://")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise BadValue("a SQLite journal needs a file, as in sqlite:///desk.db: memory is not durable")
    return url


def open_engine(text: str, *, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """Return an engine whose every connection is checked to be durable. Nothing is opened yet.

    Raises:
        BadValue: The URL is not one of a journal.
        JournalUnavailable: The driver is not installed.
    """
    url = journal_url(text)
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite_engine(url, busy_seconds)
        return _postgres_engine(url, busy_seconds)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise JournalUnavailable(
            f"the driver for {url.drivername} is not installed ({error}): pip install 'mt5-position-ledger[postgres]'"
        ) from error


def _closing(check: Callable[[Any, object], None]) -> Callable[[Any, object], None]:
    """Close a new connection that a check refuses: nobody else will."""

    def checked(connection: Any, record: object) -> None:
        try:
            check(connection, record)
        except BaseException:
            connection.close()
            raise

    return checked


def _sqlite_engine(url: URL, busy_seconds: float) -> Engine:
    if sqlite3.sqlite_version_info < _SQLITE_MINIMUM:
        raise JournalUnsafe(f"SQLite 3.35 or newer is needed, this Python has {sqlite3.sqlite_version}")
    engine = sa.create_engine(url, connect_args={"timeout": busy_seconds}, max_overflow=_NO_LIMIT)

    @event.listens_for(engine, "connect")
    @_closing
    def _settings(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions are begun by us, below
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if tables and not _is_journal(tables):
            raise _foreign(url, tables)  # before anything of it is changed, its journal mode included
        for setting in ("synchronous=FULL", "fullfsync=ON", "foreign_keys=ON", "cache_size=-16384"):
            connection.execute(f"PRAGMA {setting}")
        mode = _write_ahead(connection, busy_seconds)
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        if mode != "wal" or synchronous < _SYNCHRONOUS_FULL:
            raise JournalUnsafe(
                f"{url.database}: expected journal_mode wal and synchronous FULL, found {mode} and {synchronous}. "
                "Put the journal on a local file system that allows shared memory."
            )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("write", False):
            driver: Any = connection.connection.driver_connection
            waiting = stop_waiting(driver)
            try:
                begin_immediate(driver, min(options.get("patience", waiting), waiting))
            finally:
                wait_again(driver, waiting)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


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
        time.sleep(random.uniform(*(_LOOK_SELDOM if is_bulk else _LOOK_OFTEN)))  # noqa: S311  # no secret


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


def _postgres_engine(url: URL, busy_seconds: float) -> Engine:
    engine = sa.create_engine(
        url,
        connect_args={"connect_timeout": max(2, int(busy_seconds)), "client_encoding": "utf8"},
        pool_pre_ping=True,
        max_overflow=_NO_LIMIT,
        isolation_level="READ COMMITTED",  # whoever waited for the head row must see what it became
    )

    @event.listens_for(engine, "connect")
    @_closing
    def _settings(connection: Any, _: object) -> None:
        from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

        for dumper in (Int8Dumper, Int8BinaryDumper):  # one size, or else statements are prepared for every mix of sizes
            connection.adapters.register_dumper(int, dumper)
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(busy_seconds * 1000)}")
            cursor.execute("SET timezone = 'UTC'")
            cursor.execute("SET default_transaction_isolation = 'read committed'")  # for statements that are all of one
            for setting, refused in (("synchronous_commit", ("off", "local")), ("fsync", ("off",))):
                found = cursor.execute(f"SHOW {setting}").fetchone()[0]
                if found in refused:
                    raise JournalUnsafe(f"Postgres has {setting} = {found}: turn it on, or commits can be lost")
                if setting == "synchronous_commit":  # as it is now, whatever is changed on the server meanwhile
                    cursor.execute(f"SET synchronous_commit = {found}")
        connection.commit()

    return engine


# ------------------------------------------------------------------------------------------------------------ the schema


def found_revision(engine: Engine) -> str | None:
    """Return the schema revision of the journal, None where there is no journal.

    Raises:
        JournalMissing: The file is something else.
    """
    path = sqlite_path(engine.url)
    if path is not None and (not path.exists() or (path.is_file() and not path.stat().st_size)):
        return None
    with translated(engine.url), engine.connect() as connection:
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


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite journal, None for another database."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def shown(url: URL) -> str:
    """Write a URL as people may see it, without its password."""
    return url.render_as_string(hide_password=True)


# ------------------------------------------------------------------------------------------------------------ the errors

#: What a database says -> what it means here. The first text found in the driver's message decides.
_MEANINGS: Final[tuple[tuple[str, type[JournalError], str], ...]] = (
    ("database is locked", JournalBusy, "another program has been writing to the journal for too long: try again"),
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
    ("only move on", JournalError, "the database refused to take a head back"),
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


class translated:  # noqa: N801  # reads as a statement: with translated(url)
    """Turn what a database driver raises into the ledger's errors, by one table."""

    def __init__(self, url: URL) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and _is_foreign(error):
            raise meaning(error, self._url) from error


def _is_foreign(error: BaseException) -> bool:
    return isinstance(error, (SQLAlchemyError, sqlite3.Error)) or type(error).__module__.startswith("psycopg")


def meaning(error: BaseException, url: URL) -> JournalError:
    """Return the ledger's error for what a database driver raised."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    said = str(cause)
    kind, advice = next((one[1:] for one in _MEANINGS if one[0] in said), None) or kind_of(type(cause))
    first_line = said.strip().splitlines()[0] if said.strip() else type(cause).__name__
    return kind(f"journal {shown(url)}: {advice} ({first_line})")


def kind_of(error: type[BaseException]) -> tuple[type[JournalError], str]:
    """Return what a class of errors means here, and what to say; the nearest of its bases that is listed decides."""
    return next(_KINDS[base.__name__] for base in error.__mro__ if base.__name__ in _KINDS)
