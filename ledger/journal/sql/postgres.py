"""Postgres by SQLAlchemy's engine and psycopg: connections that keep the promise of durability, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL

from ledger.errors import JournalReplaced, JournalUnsafe
from ledger.journal.sql.engine import SECRETS, translate_errors
from ledger.journal.sql.forking import owned, prepare_for_forks, set_aside
from ledger.journal.sql.urls import split_secrets
from ledger.journal.sql.words import for_postgres
from ledger.postings import Row

_NO_LIMIT: Final = -1  # a replay reads through two connections at once: a limit would let threads wait for one another


class PostgresEngine:
    """The journal in a database of a server. Nothing is opened before it is asked for.

    Attributes:
        url: Without secrets.
        alchemy: SQLAlchemy's engine.
        pooled_settings: What each transaction begins with where a pooler is in front of Postgres; None where none is. A pooler
            in transaction mode may give every transaction another server connection: settings of a session, its listening and
            its prepared statements do not last.
    """

    is_postgres: Final = True

    def __init__(self, full_url: URL, busy_seconds: float) -> None:
        self.url, secret = split_secrets(full_url)
        self.pooled_settings: str | None = None
        if secret:
            SECRETS[self.url] = secret
        self.alchemy = sa.create_engine(
            self.url,
            connect_args={"connect_timeout": max(2, int(busy_seconds)), "client_encoding": "utf8"},
            pool_pre_ping=True,
            max_overflow=_NO_LIMIT,
            isolation_level="READ COMMITTED",  # whoever waited for the head row must see what it became
        )
        prepare_for_forks(self)
        _prepare(self, self.alchemy, secret, busy_seconds)

    def __repr__(self) -> str:
        """Return what it is of, without secrets."""
        return f"PostgresEngine({self.url!r})"

    def address(self) -> str:
        """Return what ``open_engine`` opens the same journal by, secrets included: never to be shown."""
        secret = dict(SECRETS.get(self.url, {}))
        password = secret.pop("password", None)
        url = self.url.set(query={**self.url.query, **secret})._replace(password=None if password is None else str(password))
        return url.render_as_string(hide_password=False)

    # ---- connections

    def raw_connection(self) -> sa.PoolProxiedConnection:
        """Take a connection from the pool, or open one."""
        return self.alchemy.raw_connection()

    @contextmanager
    def reading(self) -> Iterator[PostgresSession]:
        """Read in a transaction."""
        with translate_errors(self.url), owned(self.alchemy.connect()) as connection:
            connection.begin()
            yield PostgresSession(connection)

    def query_once(self, text: str, *values: Any) -> list[Row]:
        """Return what one statement selects: without a transaction around it, which takes two round trips more."""
        if self.pooled_settings is not None:
            with self.reading() as session:
                return session.query(text, *values)
        with translate_errors(self.url), owned(self.alchemy.raw_connection()) as connection:
            driver = connection.driver_connection
            try:
                driver.autocommit = True
                rows: list[Row] = driver.execute(for_postgres(text), values).fetchall()
                driver.autocommit = False
            except BaseException as error:
                connection.invalidate(error)  # whatever is wrong with it, nobody else gets it
                raise
            return rows

    @contextmanager
    def writing(self, patience: float | None = None, *, is_bulk: bool = False) -> Iterator[PostgresSession]:  # noqa: ARG002
        """Write in a transaction; see ``Engine.writing``. Much need not wait for little: a lock is an account's."""
        with translate_errors(self.url), self.alchemy.connect() as connection, connection.begin():
            if patience is not None:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(patience * 1000) or 1}")
            yield PostgresSession(connection)

    def on_use(self, begun: Callable[[Any], object], ended: Callable[[Any], object]) -> None:
        """Call these with each connection that is taken from the pool, and that is given back."""
        event.listen(self.alchemy, "checkout", lambda driver, _record, _proxy: begun(driver))
        event.listen(self.alchemy, "checkin", lambda driver, _record: ended(driver))

    def table_names(self) -> list[str]:
        """Return the tables of the database that are found without the name of their schema."""
        with translate_errors(self.url), self.alchemy.connect() as connection:
            return sa.inspect(connection).get_table_names()

    def is_disconnect(self, error: Exception, driver: Any) -> bool:
        """Return whether an error means that the connection is lost."""
        return self.alchemy.dialect.is_disconnect(error, driver, None)  # type: ignore[arg-type]

    # ---- the end, and forks

    def require_writable(self) -> None:
        """Do nothing: the server decides for each statement."""

    def refuse_from_now_on(self, error: JournalReplaced) -> None:
        """Do nothing: no server replaces a database under its connections."""

    def dispose(self) -> None:
        """Close the connections that nobody uses."""
        self.alchemy.dispose()

    def before_fork(self) -> None:
        """Do nothing: a child sets the connections aside."""

    def after_fork_in_child(self) -> None:
        """Set aside the connections of the parent."""
        set_aside(self.alchemy.pool)
        self.alchemy.dispose(close=False)


class PostgresSession:
    """A transaction; see ``engine.Session``."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.driver: Any = connection.connection.driver_connection

    def query(self, text: str, *values: Any) -> list[Row]:
        """Return what a statement selects."""
        return [tuple(row) for row in self.connection.exec_driver_sql(for_postgres(text), values)]

    def execute(self, text: str, *values: Any) -> int:
        """Carry out a statement, and return how many rows it changed."""
        return self.connection.exec_driver_sql(for_postgres(text), values).rowcount


def _prepare(owner: PostgresEngine, engine: sa.Engine, secret: dict[str, Any], busy_seconds: float) -> None:
    """Check every new connection for durability, and give it its settings."""

    @event.listens_for(engine, "do_connect")
    def _add_secrets(_dialect: object, _record: object, _positional: object, named: dict[str, Any]) -> None:
        named.update(secret)

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _: object) -> None:
        try:
            _settle(connection)
        except BaseException:
            connection.close()  # nobody else will
            raise

    def _settle(connection: Any) -> None:
        from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

        for dumper in (Int8Dumper, Int8BinaryDumper):  # one size, or else statements are prepared for every mix of sizes
            connection.adapters.register_dumper(int, dumper)
        connection.execute("SET LOCAL statement_timeout = 0")
        settings = _durable_settings(connection) | {"lock_timeout": str(int(busy_seconds * 1000)), "statement_timeout": "0"}
        if _is_behind_pooler(connection):
            # The next transaction may be another server connection's, which has neither our settings nor our statements.
            connection.prepare_threshold = None
            owner.pooled_settings = "; ".join(f"SET LOCAL {name} = {value}" for name, value in settings.items())
        else:
            # For statements that are a transaction of their own, too.
            for name, value in (settings | {"default_transaction_isolation": "'read committed'"}).items():
                connection.execute(f"SET {name} = {value}")
        connection.commit()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if owner.pooled_settings is not None:
            connection.exec_driver_sql(owner.pooled_settings)


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
