"""Connections that keep the promise of durability, or none: engines, their settings, and the schema they find."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from ledger.errors import (
    BadValue,
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

_SQLITE_MINIMUM: Final = (3, 35, 0)
_SYNCHRONOUS_FULL: Final = 2


def journal_url(text: str) -> URL:
    """Read a journal URL; a plain path is a SQLite file.

    Raises:
        BadValue: The text is no URL, or names a database that the ledger does not speak.
    """
    try:
        url = make_url(text if "://" in text else f"sqlite:///{text}")
    except ArgumentError:
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


def _sqlite_engine(url: URL, busy_seconds: float) -> Engine:
    if sqlite3.sqlite_version_info < _SQLITE_MINIMUM:
        raise JournalUnsafe(f"SQLite 3.35 or newer is needed, this Python has {sqlite3.sqlite_version}")
    engine = sa.create_engine(url, connect_args={"timeout": busy_seconds})

    @event.listens_for(engine, "connect")
    def _settings(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions are begun by us, below
        for setting in ("synchronous=FULL", "fullfsync=ON", "foreign_keys=ON", "cache_size=-16384"):
            connection.execute(f"PRAGMA {setting}")
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        if mode != "wal" or synchronous < _SYNCHRONOUS_FULL:
            raise JournalUnsafe(
                f"{url.database}: expected journal_mode wal and synchronous FULL, found {mode} and {synchronous}. "
                "Put the journal on a local file system that allows shared memory."
            )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgres_engine(url: URL, busy_seconds: float) -> Engine:
    engine = sa.create_engine(url, connect_args={"connect_timeout": max(2, int(busy_seconds))}, pool_pre_ping=True)

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(busy_seconds * 1000)}")
            cursor.execute("SET timezone = 'UTC'")
            for setting, refused in (("synchronous_commit", ("off", "local")), ("fsync", ("off",))):
                found = cursor.execute(f"SHOW {setting}").fetchone()[0]
                if found in refused:
                    raise JournalUnsafe(f"Postgres has {setting} = {found}: turn it on, or commits can be lost")
        connection.commit()

    return engine


# ------------------------------------------------------------------------------------------------------------ the schema


def found_revision(engine: Engine) -> str | None:
    """Return the schema revision of the journal, None where there is no journal.

    Raises:
        JournalMissing: The file is something else.
    """
    path = sqlite_path(engine.url)
    if path is not None and not path.exists():
        return None
    with translated(engine.url), engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if version is None else str(version)


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
    if found > REVISION:
        raise JournalNewer(
            f"the journal at {shown(engine.url)} has schema {found}, this program knows {REVISION}: use a newer ledger"
        )
    if found != REVISION:
        raise JournalError(f"the journal at {shown(engine.url)} has schema {found}, this program {REVISION}: ledger init")


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite journal, None for another database."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def shown(url: URL) -> str:
    """Write a URL as people may see it, without its password."""
    return url.render_as_string(hide_password=True)


# ------------------------------------------------------------------------------------------------------------ the errors

#: What a database says -> what it means here. The first text found in the driver's message decides.
_MEANINGS: Final[tuple[tuple[str, type[JournalError], str], ...]] = (
    ("database is locked", JournalBusy, "another program is writing to the journal: try again"),
    ("lock timeout", JournalBusy, "another program is writing to the account: try again"),
    ("file is not a database", JournalMissing, "this file is not a journal: check the path"),
    ("malformed", JournalUnavailable, "the file is damaged: stop writing, copy it, restore a backup"),
    ("database or disk is full", JournalUnavailable, "the disk is full: nothing was recorded, make room and try again"),
    ("No space left", JournalUnavailable, "the disk is full: nothing was recorded, make room and try again"),
    ("readonly database", JournalUnavailable, "the journal cannot be written: check the rights of file and folder"),
    ("unable to open database", JournalUnavailable, "the file cannot be opened: check path and rights"),
    ("disk I/O error", JournalUnavailable, "the disk failed: nothing was recorded"),
    ("immutable", JournalError, "the database refused a change to what is recorded"),
    ("only move on", JournalError, "the database refused to take a head back"),
    ("does not exist", JournalMissing, "the database is not there: create it first"),
    ("password authentication", JournalUnavailable, "user or password is wrong"),
    ("", JournalUnavailable, "the database does not answer: is it running, and is the URL right?"),
)


class translated:  # noqa: N801  # reads as a statement: with translated(url)
    """Turn what a database driver raises into the ledger's errors, by one table."""

    def __init__(self, url: URL) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (SQLAlchemyError, sqlite3.Error)) or type(error).__module__.startswith("psycopg"):
            raise meaning(error, self._url) from error


def meaning(error: BaseException | None, url: URL) -> JournalError:
    """Return the ledger's error for what a database driver raised."""
    said = str(error.orig if isinstance(error, DBAPIError) and error.orig else error)
    kind, advice = next((kind, advice) for text, kind, advice in _MEANINGS if text in said)
    first_line = said.strip().splitlines()[0] if said.strip() else type(error).__name__
    return kind(f"journal {shown(url)}: {advice} ({first_line})")
