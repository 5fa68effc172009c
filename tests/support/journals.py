"""This module is every journal for tests: in memory, in a SQLite file, in a real Postgres; and the facts recorded in them."""

from __future__ import annotations

import atexit
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from alembic import command

from ledger import AccountId, Ledger
from ledger.fold_order import FirstRecord
from ledger.journal import Head, Journal, Selection
from ledger.journal.memory import MemoryJournal
from ledger.journal.sql.create import create_journal
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.migrate import configuration
from ledger.journal.sql.words import account_key
from ledger.postings import ASSERTED
from tools.testkit.facts import (
    ACCOUNT,
    OTHER,
    START_MSC,
    START_US,
    Clock,
    cash,
    completion,
    digest_of,
    fill,
    ghost,
    opened,
    revised,
    specified,
)
from tools.testkit.postgres import PostgresServer, start_postgres

__all__ = [  # programs of tests import all of it, the facts too
    "ACCOUNT",
    "DURABLE",
    "INT64",
    "KINDS",
    "OTHER",
    "PARTITIONED",
    "PARTITIONS",
    "START_MSC",
    "START_US",
    "Clock",
    "Intruder",
    "NoRecords",
    "bare_postgres",
    "bare_sqlite",
    "cash",
    "completion",
    "digest_of",
    "empty_postgres_url",
    "everything",
    "fill",
    "ghost",
    "head",
    "new_partitioned_url",
    "new_postgres_url",
    "new_url",
    "older_url",
    "open_journal",
    "opened",
    "revised",
    "shared_postgres",
    "specified",
    "write_older",
]

KINDS: Final = ("memory", "sqlite", "postgres")
DURABLE: Final = ("sqlite", "postgres")

#: Of a partitioned journal: few, so that accounts share one, and none is without.
PARTITIONS: Final = 4

#: Set to 1, every journal on Postgres is a partitioned one: ``python3 tools/test.py --partitioned``.
PARTITIONED: Final = "LEDGER_TEST_PARTITIONED"

INT64: Final = 2**63 - 1


# ---------------------------------------------------------------------------------------------------------- the journals


@cache
def shared_postgres() -> PostgresServer:
    """Return the one server of this process, started at the first call. No server is a failure, never a skip."""
    server = start_postgres()
    atexit.register(server.stop)
    return server


def older_url(kind: str, folder: Path, revision: str) -> str:
    """Return the URL of a new, empty journal as an older program made it."""
    (folder / "older.db").touch()
    url = empty_postgres_url() if kind == "postgres" else f"sqlite:///{folder}/older.db"
    engine = open_engine(url)
    with engine.alchemy.connect().execution_options(write=True) as connection, connection.begin():
        command.upgrade(configuration(connection), revision)
    engine.dispose()
    return url


def write_older(url: str, journal: Journal) -> None:
    """Write the events of a journal into one of an older schema, as a program that knew it would have."""
    engine = open_engine(url)
    with engine.alchemy.connect().execution_options(write=True) as connection, connection.begin():
        known = {column["name"] for column in sa.inspect(connection).get_columns("events")}
        for account, head in journal.heads().items():
            key = account_key(account)
            values = {"key": key, "server": account.server, "login": account.login}
            connection.execute(sa.text("INSERT INTO accounts VALUES (:key, :server, :login)"), values)
            columns = [f":{name}" for name in Head._fields]
            insert = sa.text(f"INSERT INTO heads VALUES (:key, {', '.join(columns)})")  # noqa: S608
            connection.execute(insert, {"key": key} | head._asdict())
            for row in journal.rows(account):
                output = {name: value for name, value in row._asdict().items() if name in known}
                output["placement"] = 0 if row.placement == ASSERTED else row.placement
                names, places = ", ".join(output), ", ".join(f":{name}" for name in output)
                insert = sa.text(f"INSERT INTO events (account_id, {names}) VALUES (:key, {places})")  # noqa: S608
                connection.execute(insert, {"key": key} | output)
    engine.dispose()


@cache
def _migrated_postgres() -> str:
    url = shared_postgres().create_database()
    Ledger.create(url).close()
    return url


def new_postgres_url() -> str:
    """Return the URL of a new, empty, migrated journal on the shared server, which is plain unless ``PARTITIONED`` is set."""
    if os.environ.get(PARTITIONED) == "1":
        return new_partitioned_url()
    return shared_postgres().create_database(template=_migrated_postgres())


@cache
def _partitioned_postgres() -> str:
    url = shared_postgres().create_database()
    create_journal(url, partitions=PARTITIONS)
    return url


def new_partitioned_url() -> str:
    """Return the URL of a new, empty, partitioned journal on the shared server."""
    return shared_postgres().create_database(template=_partitioned_postgres())


def empty_postgres_url() -> str:
    """Return the URL of a new database without a journal."""
    return shared_postgres().create_database()


def new_url(kind: str, folder: Path) -> str:
    """Return the URL of a new, empty, migrated journal: ``sqlite``, ``postgres``, or ``partitioned`` on Postgres."""
    if kind in ("postgres", "partitioned"):
        return new_postgres_url() if kind == "postgres" else new_partitioned_url()
    url = f"sqlite:///{folder}/journal.db"
    Ledger.create(url).close()
    return url


class NoRecords:
    """Records of a journal that nobody asks: see ``fold_order.Records``."""

    def first_records(self, deals: Sequence[int]) -> Mapping[int, FirstRecord]:
        raise AssertionError(f"asked for deals {deals}")

    def recorded_us(self, versions: Sequence[int]) -> Mapping[int, int]:
        raise AssertionError(f"asked for versions {versions}")


def open_journal(url: str, now_us: Callable[[], int], *, busy_seconds: float = 30.0) -> Journal:
    """Open a journal by URL; ``memory://`` too."""
    if url == "memory://":
        return MemoryJournal(now_us)
    return SqlJournal(open_engine(url, busy_seconds=busy_seconds), now_us)


# ----------------------------------------------------------------------------------------------- behind the journal's back


@contextmanager
def bare_sqlite(url: str) -> Iterator[sqlite3.Connection]:
    """Open a SQLite journal as any program can."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")  # what an intruder does has to survive no loss of power
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def bare_postgres(url: str, **words: Any) -> Iterator[psycopg.Connection]:
    """Open a Postgres journal as any program can."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True, **words) as connection:
        yield connection


class Intruder:
    """Somebody who has the rights to do everything to a journal's database, and does it without the ledger."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")

    def __call__(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement, with ``?`` for its values."""
        opened: Any = bare_sqlite(self.url) if self.is_sqlite else bare_postgres(self.url)
        with opened as connection:
            text = statement if self.is_sqlite else statement.replace("%", "%%").replace("?", "%s")
            cursor = connection.execute(text, values)
            return list(cursor.fetchall()) if cursor.description else []

    def disarm(self) -> None:
        """Remove what guards events against changes."""
        if self.is_sqlite:
            for (name,) in self("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
                self(f'DROP TRIGGER "{name}"')
        else:
            for table in ("accounts", "heads", "events", "evidence", "seals", "identity", "parents"):
                self(f"ALTER TABLE IF EXISTS {table} DISABLE TRIGGER ALL")

    def drop_constraints(self) -> None:
        """Remove the keys too, so that rows can be put anywhere."""
        if not self.is_sqlite:
            self("ALTER TABLE events DROP CONSTRAINT pk_events")
            self("ALTER TABLE events DROP CONSTRAINT uq_events_account_id_natural_key")


# -------------------------------------------------------------------------------------------------------------- the facts


def everything(journal: Journal, account: AccountId = ACCOUNT) -> Selection:
    """Select all events of an account."""
    return Selection(version=head(journal, account).version)


def head(journal: Journal, account: AccountId = ACCOUNT) -> Head:
    """Return the head of an account, which must have events."""
    found = journal.head(account)
    assert found is not None
    return found
