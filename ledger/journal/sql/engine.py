"""What a journal in a database is opened with: an engine for SQLite or for Postgres, the schema it finds, and its errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

from ledger.errors import (
    AccountMoved,
    CorruptEvent,
    JournalBusy,
    JournalError,
    JournalMissing,
    JournalNewer,
    JournalReplaced,
    JournalUnavailable,
)
from ledger.journal.sql.forking import importing
from ledger.journal.sql.urls import SqliteUrl, journal_url, shown, spellings, sqlite_path
from ledger.journal.sql.words import REVISION
from ledger.postings import Row

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ledger.journal.sql.urls import Url

__all__ = ["journal_url", "shown", "sqlite_path"]  # with what is made here, all that others need to name and open a journal

#: How long an append waits for other writers before it gives up, in seconds.
BUSY_SECONDS: Final = 30.0

#: The revision of an incomplete copy.
UNFINISHED: Final = "unfinished copy"

#: The names of a SQLite file's tables.
TABLES_OF_SQLITE: Final = "SELECT name FROM sqlite_master WHERE type = 'table'"
#: URL without secrets -> what was taken out of it. Engines, errors and representations have only the first.
SECRETS: Final[dict[Url, dict[str, str | tuple[str, ...]]]] = {}


class Session(Protocol):
    """A transaction. Statements are in the words of SQLite, whatever the database is.

    Attributes:
        driver: The driver's own connection.
    """

    driver: Any

    def query(self, text: str, *values: Any) -> list[Row]:
        """Return what a statement selects."""
        ...

    def execute(self, text: str, *values: Any) -> int:
        """Carry out a statement, and return how many rows it changed."""
        ...


class Connected(Protocol):
    """A connection that was taken from a pool: the part of SQLAlchemy's ``PoolProxiedConnection`` that is used."""

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection."""
        ...

    @property
    def is_valid(self) -> bool:
        """Whether it was neither closed nor given back."""
        ...

    def detach(self) -> None:
        """Let it be no part of the pool any more."""
        ...

    def invalidate(self, e: BaseException | None = None) -> None:
        """Close it, and give nothing back."""
        ...

    def close(self) -> None:
        """Give it back, or close it where it is detached."""
        ...


class Engine(Protocol):
    """A journal's database: connections, each checked to be durable and reused, for threads and around forks."""

    @property
    def is_postgres(self) -> bool:
        """Whether it is Postgres, else SQLite."""
        ...

    @property
    def url(self) -> Any:
        """Where it is, without secrets."""
        ...

    @property
    def alchemy(self) -> sa.Engine:
        """SQLAlchemy's engine, to make and migrate a journal: on SQLite nothing else loads SQLAlchemy."""
        ...

    @property
    def pooled_settings(self) -> str | None:
        """What each transaction begins with behind a pooler; None where none is."""
        ...

    def address(self) -> str:
        """Return what ``open_engine`` opens the same journal by, secrets included: never to be shown."""
        ...

    def raw_connection(self) -> Connected:
        """Take a connection from the pool, or open one."""
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """Read in a transaction."""
        ...

    def query_once(self, text: str, *values: Any) -> list[Row]:
        """Return what one statement selects, as ``reading`` does, in fewer round trips."""
        ...

    def writing(self, patience: float | None = None, *, is_bulk: bool = False) -> AbstractContextManager[Session]:
        """Write in a transaction.

        Args:
            patience: How many seconds to wait for others, at most; as long as the engine does without.
            is_bulk: Let those go first who write little.
        """
        ...

    def on_use(self, begun: Callable[[Any], object], ended: Callable[[Any], object]) -> None:
        """Call these with each driver's connection that is taken from the pool, and that is given back."""
        ...

    def table_names(self) -> list[str]:
        """Return the tables that there are."""
        ...

    def is_disconnect(self, error: Exception, driver: Any) -> bool:
        """Return whether an error means that the connection is lost."""
        ...

    def require_writable(self) -> None:
        """Refuse to append to a journal that was opened without the rights to write."""
        ...

    def refuse_from_now_on(self, error: JournalReplaced) -> None:
        """Let nothing more be read or written: the journal was replaced."""
        ...

    def dispose(self) -> None:
        """Close the connections that nobody uses."""
        ...


class ConnectionLost(Exception):  # as SQLAlchemy's errors it states what happened
    """An error of a driver that means that the connection is lost."""

    connection_invalidated: Final = True

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.orig = error


def is_lost(error: BaseException | None) -> bool:
    """Return whether an error, of ours or SQLAlchemy's, means that the connection is lost."""
    return bool(getattr(error, "connection_invalidated", False))


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
    if isinstance(url, SqliteUrl):
        with importing():
            from ledger.journal.sql.sqlite import SqliteEngine

        return SqliteEngine(url, busy_seconds, create=create)
    with importing():
        from sqlalchemy.exc import NoSuchModuleError

        from ledger.journal.sql.postgres import PostgresEngine

    try:
        return PostgresEngine(url, busy_seconds)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise JournalUnavailable(
            f"the driver for {url.drivername} is not installed ({error}): pip install 'mt5-position-ledger[postgres]'"
        ) from error


# ------------------------------------------------------------------------------------------------------------ the schema


def found_revision(engine: Engine) -> str | None:
    """Return the schema revision of the journal, None where there is no journal.

    Raises:
        JournalMissing: The file is something else.
    """
    path = sqlite_path(engine.url)
    if path is not None and (not path.exists() or (path.is_file() and not path.stat().st_size)):
        return None
    tables = engine.table_names()
    if is_journal(tables):
        with engine.reading() as session:
            found = session.query("SELECT version_num FROM alembic_version")
            return str(found[0][0]) if found and found[0][0] is not None else None
    if tables and (path is not None or "alembic_version" in tables):
        raise foreign(engine.url, tables)
    return None


def is_journal(tables: Sequence[str]) -> bool:
    """Return whether a database with these tables is a journal."""
    return "alembic_version" in tables and "heads" in tables


def foreign(url: Url, tables: Sequence[str]) -> JournalMissing:
    """Return the error for a database that holds something else."""
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

#: Behind a commit whose outcome nobody knows.
MAY_BE_RECORDED: Final = "What was being recorded may be in the journal: to record it again does no harm"

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
    ("disk I/O error", JournalUnavailable, f"the disk failed: check it. {MAY_BE_RECORDED}"),
    ("is not here", AccountMoved, "the account is in another journal, or on its way there: nothing was recorded"),
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

    def __init__(self, url: Url) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and _isforeign(error):
            found = translate_error(error, self._url)
            if _reveals(error, self._url):  # neither as the cause nor in a traceback
                found.__suppress_context__ = True
                raise found from None
            raise found from error


def _isforeign(error: BaseException) -> bool:
    return isinstance(error, (ConnectionLost, sqlite3.Error)) or type(error).__module__.startswith(("psycopg", "sqlalchemy"))


def translate_error(error: BaseException, url: Url) -> JournalError:
    """Return the ledger's error for what a database driver raised."""
    cause = getattr(error, "orig", None) or error  # what SQLAlchemy, or we, wrapped
    text = str(cause)
    kind, advice = next((one[1:] for one in _ERRORS if one[0] in text), None) or kind_of(type(cause))
    first_line = text.strip().splitlines()[0] if text.strip() and not _reveals(error, url) else type(cause).__name__
    return kind(f"journal {shown(url)}: {advice} ({first_line})")


def _reveals(error: BaseException, url: Url) -> bool:
    """Return whether an error of a driver, or one that led to it, repeats a secret of the URL."""
    hidden = spellings(SECRETS.get(url, {}))
    seen: BaseException | None = error
    while hidden and seen is not None:
        if any(one in str(seen) for one in hidden):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def kind_of(error: type[BaseException]) -> tuple[type[JournalError], str]:
    """Return what a class of errors means here, and the advice; the nearest of its bases that is listed decides."""
    return next(_KINDS[base.__name__] for base in error.__mro__ if base.__name__ in _KINDS)
