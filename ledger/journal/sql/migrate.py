"""Migrations: bring a journal to this program's schema. Loads Alembic, so it is imported only when asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, text

from ledger.errors import BadValue, CorruptEvent, JournalError
from ledger.journal import Parent
from ledger.journal.chain import COVERED, digest, genesis
from ledger.journal.quiet import ALEMBIC, quiet
from ledger.journal.sql.engine import (
    UNFINISHED,
    Engine,
    found_revision,
    refuse_newer,
    shown,
    sqlite_path,
    translate_errors,
)
from ledger.journal.sql.forking import prepare_for_forks
from ledger.journal.sql.partitions import carried_over, partition, partition_count, require_partitions
from ledger.journal.sql.schema import accounts, events, heads
from ledger.journal.sql.schema import parents as parents_table
from ledger.journal.sql.words import REVISION
from ledger.values import AccountId

with quiet(ALEMBIC):  # it logs while it is imported
    from alembic import command
    from alembic.config import Config

_LOCK = 0x6C6564676572  # "ledger": two programs that migrate one Postgres at once take turns


def scripts() -> Path:
    """Return the folder of migrations: inside the package when installed from a wheel, else the project's own."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def configuration(connection: Connection | None = None, journal_id: str | None = None) -> Config:
    """Return Alembic's configuration, bound to a connection if there is one, for a journal with an identity if it has one."""
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["journal_id"] = journal_id
    return config


def migrate(
    engine: Engine,
    *,
    copy_of: str | None = None,
    fill: Callable[[Connection], object] = lambda _: None,
    partitions: int | None = None,
) -> str | None:
    """Create the journal or bring it up to date; harmless when it is. All of it in one transaction.

    Args:
        engine: Where it is, or shall be.
        copy_of: Makes it as a copy, with this journal id. It is refused as a journal until ``finish`` is called: half a copy
            must never pass for the whole.
        fill: Called with the connection of a new copy, in the same transaction.
        partitions: Makes a new journal on Postgres with so many partitions; one that is there has to have as many.

    Returns:
        The revision it had before, None if there was no journal.

    Raises:
        JournalNewer: The journal was made by a newer program.
        CorruptEvent: The chain of an older journal does not hold. Nothing was changed.
        JournalError: The migration would have changed what is recorded, or there are other partitions. Nothing was changed.
    """
    with _turns.lock:
        return _migrate(engine, copy_of, fill, partitions)


class _Turns:
    """Lets the threads of this process migrate one after the other: Alembic keeps what it works on in global variables.

    Processes take turns by the lock of the database.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        prepare_for_forks(self)

    def before_fork(self) -> None:
        """Do nothing: connections are prepared where they are made."""

    def after_fork_in_child(self) -> None:
        """Replace the lock, which a thread may have held that does not exist here."""
        self.lock = Lock()


_turns: Final = _Turns()


def _migrate(engine: Engine, copy_of: str | None, fill: Callable[[Connection], object], partitions: int | None) -> str | None:
    before = found_revision(engine)
    refuse_newer(engine, before)
    if before == REVISION:
        return before
    path = sqlite_path(engine.url)
    if path is not None and before is None:
        from ledger.journal.sql.sqlite import make_file

        make_file(path)
    with (
        quiet(ALEMBIC),
        translate_errors(engine.url),
        engine.alchemy.connect().execution_options(write=True) as connection,
        connection.begin(),
    ):
        upgrade = partial(command.upgrade, configuration(connection, copy_of), "head")
        if engine.is_postgres:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            _upgrade_on_postgres(connection, upgrade, partitions, shown(engine.url))
        else:
            upgrade()
        if copy_of is not None:
            fill(connection)
            connection.execute(_SET_REVISION, {"revision": UNFINISHED})
    return before


def _upgrade_on_postgres(connection: Connection, upgrade: Callable[[], object], partitions: int | None, name: str) -> None:
    """Carry out the migrations, for partitions too; a new journal is partitioned, one that is there has to be."""
    driver: Any = connection.connection.driver_connection
    (is_new,) = driver.execute("SELECT to_regclass('events') IS NULL").fetchone()
    with carried_over(driver):
        upgrade()
    if is_new and partitions is not None:
        partition(driver, partitions)
    require_partitions(partition_count(driver), partitions, name)


def insert_parents(connection: Connection, parents: Sequence[Parent]) -> None:
    """Note where a copy that is being made comes from."""
    rows = [
        {
            "number": number,
            "journal_id": parent.journal_id,
            "heads": json.dumps({str(account): version for account, version in sorted(parent.versions.items())}),
        }
        for number, parent in enumerate(parents, 1)
    ]
    if rows:
        connection.execute(parents_table.insert(), rows)


_SET_REVISION: Final = text("UPDATE alembic_version SET version_num = :revision")


def finish(engine: Engine) -> None:
    """Let a copy pass for a journal from now on."""
    with engine.writing() as session:
        session.execute("UPDATE alembic_version SET version_num = ?", REVISION)


# ------------------------------------------------------------------------------------------------- the chain stays the same

_STREAM_ROWS: Final = 5000
_Head = tuple[AccountId, int, bytes]  # name, version, hash

#: What the chain covers, and the hash, as they are stored.
_hashed: Final[list[sa.ColumnElement[Any]]] = [
    sa.type_coerce(events.c[name], sa.types.NullType()).label(name) for name in (*COVERED, "hash")
]


@contextmanager
def require_same_chain(connection: Connection) -> Iterator[None]:
    """Recompute the chain of every account before and after what is done to the tables within, in its transaction.

    Reads all events twice, in constant memory: about 15 seconds for a million events. On SQLite nobody writes meanwhile. On
    Postgres others may go on to append: what they add behind the heads that were found is not looked at.

    Raises:
        CorruptEvent: The chain does not hold before anything was done.
        JournalError: It does not hold any more, or the heads are not what they were.
    """
    try:
        before = _heads(connection)
        for key, head in before.items():
            _check_chain(connection, key, head)
    except CorruptEvent as error:
        raise CorruptEvent(
            f"{error}. The journal was not migrated: verify it with the program that wrote it, restore a backup"
        ) from error
    yield
    try:
        after = _heads(connection)
        for key, head in before.items():
            _check_head(head, after.get(key))
            _check_chain(connection, key, head)
    except CorruptEvent as error:
        raise JournalError(
            f"the migration would have changed what is recorded, so it was rolled back and the journal is as it was: {error}"
        ) from error


def _heads(connection: Connection) -> dict[int, _Head]:
    """Return account id -> head."""
    query = sa.select(accounts.c.account_id, accounts.c.server, accounts.c.login, heads.c.version, heads.c.hash).select_from(
        accounts.outerjoin(heads, accounts.c.account_id == heads.c.account_id)
    )
    found = {}
    for key, server, login, version, last in connection.execute(query):
        if type(version) is not int or type(last) is not bytes:
            raise CorruptEvent(f"account {server}/{login}: its head is missing or damaged")
        try:
            found[key] = (AccountId(server, login), version, last)
        except BadValue as error:
            raise CorruptEvent(f"account {server}/{login}: its name is damaged ({error})") from error
    return found


def _check_head(before: _Head, after: _Head | None) -> None:
    """Compare a head with what it was; others may have moved it on."""
    account, version, _ = before
    if after is None or after[0] != account or (after[1] <= version and after != before):
        raise CorruptEvent(f"account {account}: its head at version {version} is not what it was")


def _check_chain(connection: Connection, key: int, head: _Head) -> None:
    """Recompute the hashes of an account's events up to its head, which they must lead to."""
    account, upto, last = head
    query = sa.select(*_hashed).where(events.c.account_id == key, events.c.version <= upto).order_by(events.c.version)
    version, before = 0, genesis(account)
    with connection.execute(query, execution_options={"yield_per": _STREAM_ROWS}) as rows:
        for *columns, found in rows:
            version += 1
            try:
                before = digest(tuple(columns), before)
            except TypeError:  # bytes where there should be text
                before = b""
            if columns[0] != version or before != found:
                raise CorruptEvent(f"account {account}: the chain does not hold at version {version}")
    if (version, before) != (upto, last):
        raise CorruptEvent(f"account {account}: its head does not follow from its {version} events")
