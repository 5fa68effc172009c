"""A directory of journals in a small database of its own: which account is in which journal, in which epoch.

SQLite or Postgres, with three tables. A journal has a name, and a URL without a password. An account's epoch only rises, which
triggers guard. Nothing that is recorded depends on it: each journal knows by itself which accounts it accepts events of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from uuid import uuid4

from ledger.errors import AccountMismatch, AccountUnknown, BadValue, JournalMissing, JournalNewer
from ledger.journal.sql.engine import BUSY_SECONDS, TABLES_OF_SQLITE, Session, open_engine, shown, translate_errors
from ledger.journal.sql.sqlite import SqliteSession
from ledger.journal.sql.urls import SqliteUrl, journal_url, split_secrets, sqlite_path
from ledger.values import AccountId

#: The form of the tables that this program knows.
FORM: Final = 1
_MARK: Final = "directory_form"
_TABLES: Final = (
    f"CREATE TABLE {_MARK} (number SMALLINT PRIMARY KEY CHECK (number = 1), form BIGINT NOT NULL, directory_id TEXT NOT NULL)",
    "CREATE TABLE directory_journals (name TEXT PRIMARY KEY, url TEXT NOT NULL, journal_id TEXT NOT NULL UNIQUE)",
    "CREATE TABLE directory_accounts (server TEXT NOT NULL, login BIGINT NOT NULL, "
    "journal TEXT NOT NULL REFERENCES directory_journals (name), epoch BIGINT NOT NULL, PRIMARY KEY (server, login))",
)
_REFUSED: Final = "immutable: an epoch only rises, and no account is removed"
_GUARDS_SQLITE: Final = (
    "CREATE TRIGGER directory_accounts_rise BEFORE UPDATE ON directory_accounts WHEN NEW.epoch <= OLD.epoch "
    f"OR NEW.server <> OLD.server OR NEW.login <> OLD.login BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
    "CREATE TRIGGER directory_accounts_no_delete BEFORE DELETE ON directory_accounts "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
)
_GUARDS_POSTGRES: Final = (
    f"CREATE FUNCTION directory_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$",
    "CREATE TRIGGER directory_accounts_rise BEFORE UPDATE ON directory_accounts FOR EACH ROW WHEN (NEW.epoch <= OLD.epoch "
    "OR NEW.server <> OLD.server OR NEW.login <> OLD.login) EXECUTE FUNCTION directory_refuse()",
    "CREATE TRIGGER directory_accounts_no_delete BEFORE DELETE ON directory_accounts FOR EACH ROW "
    "EXECUTE FUNCTION directory_refuse()",
    "CREATE TRIGGER directory_accounts_no_truncate BEFORE TRUNCATE ON directory_accounts FOR EACH STATEMENT "
    "EXECUTE FUNCTION directory_refuse()",
)
_OF_POSTGRES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
_JOURNALS: Final = "SELECT name, url, journal_id FROM directory_journals ORDER BY name"
_ENTRY: Final = "SELECT journal, epoch FROM directory_accounts WHERE server = ? AND login = ?"
_ENTRIES: Final = "SELECT server, login, journal, epoch FROM directory_accounts ORDER BY server, login"
_RAISE: Final = "UPDATE directory_accounts SET journal = ?, epoch = ? WHERE server = ? AND login = ? AND epoch < ?"


class ListedJournal(NamedTuple):
    """A journal of a directory: its name, its URL without a password, and the id that it must have."""

    name: str
    url: str
    journal_id: str

    def __str__(self) -> str:
        """Write it for people: its name and its URL."""
        return f"{self.name} ({shown(self.url)})"


class ListedAccount(NamedTuple):
    """Where an account is: the name of its journal, and its epoch."""

    journal: str
    epoch: int


class _Database(Protocol):
    def reading(self) -> AbstractContextManager[Session]: ...
    def writing(self) -> AbstractContextManager[Session]: ...
    def dispose(self) -> None: ...


class DirectoryStore:
    """The tables of a directory.

    Args:
        url: Of SQLite or Postgres.

    Raises:
        BadValue: It is no URL.
    """

    def __init__(self, url: str) -> None:
        found = journal_url(url)
        self.is_postgres = not isinstance(found, SqliteUrl)
        self.shown = shown(found)
        self._file = sqlite_path(found)
        self._database: _Database = _SqliteFile(found) if isinstance(found, SqliteUrl) else open_engine(url)

    def close(self) -> None:
        """Give back what it holds open."""
        self._database.dispose()

    def make(self) -> bool:
        """Make the tables; return whether there were none. Harmless where there are.

        Raises:
            JournalMissing: The file is something else.
            JournalNewer: A newer program made it.
        """
        with self._database.writing() as session:
            tables = self._tables(session)
            if _MARK in tables:
                self._check_form(session)
                return False
            if tables and not self.is_postgres:
                raise JournalMissing(f"{self.shown} is the database of something else: give the directory a file of its own")
            for statement in (*_TABLES, *(_GUARDS_POSTGRES if self.is_postgres else _GUARDS_SQLITE)):
                session.execute(statement)
            session.execute(f"INSERT INTO {_MARK} VALUES (1, ?, ?)", FORM, str(uuid4()))
            return True

    def check(self) -> None:
        """Refuse what is no directory, or one of a newer program.

        Raises:
            JournalMissing: There is none.
            JournalNewer: A newer program made it.
        """
        if self._file is not None and not self._file.is_file():
            raise self._missing()
        with self._database.reading() as session:
            if _MARK not in self._tables(session):
                raise self._missing()
            self._check_form(session)

    def _missing(self) -> JournalMissing:
        return JournalMissing(f"there is no directory at {self.shown}: make one with ledger directory init")

    def _tables(self, session: Session) -> set[str]:
        return {name for (name,) in session.query(_OF_POSTGRES if self.is_postgres else TABLES_OF_SQLITE)}

    def _check_form(self, session: Session) -> None:
        ((form,),) = session.query(f"SELECT form FROM {_MARK}")
        if form > FORM:
            raise JournalNewer(f"the directory at {self.shown} has form {form}, this program knows {FORM}: use a newer ledger")

    # ---- journals

    def journals(self) -> tuple[ListedJournal, ...]:
        """Return the journals, by name."""
        with self._database.reading() as session:
            return tuple(ListedJournal(*row) for row in session.query(_JOURNALS))

    def add_journal(self, journal: ListedJournal, parents: tuple[str, ...] = ()) -> None:
        """Add a journal, or give one that is there another URL, or the id of a journal that was restored from it.

        Args:
            journal: Its name, URL and id.
            parents: The ids of the journals that it was restored from.

        Raises:
            BadValue: The name is of another journal, or the journal has another name.
        """
        with self._database.writing() as session:
            known = {row[0]: ListedJournal(*row) for row in session.query(_JOURNALS)}
            before = known.get(journal.name)
            other = next((one for one in known.values() if one.journal_id == journal.journal_id), before)
            if other is not None and other.name != journal.name:
                raise BadValue(f"this journal is in the directory as {other.name}: name it so")
            if before is None:
                session.execute("INSERT INTO directory_journals VALUES (?, ?, ?)", *journal)
                return
            if before.journal_id not in (journal.journal_id, *parents):
                raise BadValue(
                    f"{journal.name} is journal {before.journal_id} in the directory, and {shown(journal.url)} is "
                    f"{journal.journal_id}, which was not restored from it: choose another name"
                )
            text = "UPDATE directory_journals SET url = ?, journal_id = ? WHERE name = ?"
            session.execute(text, journal.url, journal.journal_id, journal.name)

    # ---- accounts

    def entries(self) -> dict[AccountId, ListedAccount]:
        """Return where all accounts are, by server and login."""
        with self._database.reading() as session:
            rows = session.query(_ENTRIES)
        return {AccountId(server, login): ListedAccount(journal, epoch) for server, login, journal, epoch in rows}

    def entry(self, account: AccountId) -> ListedAccount:
        """Return where an account is.

        Raises:
            AccountUnknown: It is not in the directory.
        """
        with self._database.reading() as session:
            found = session.query(_ENTRY, account.server, account.login)
        if not found:
            raise AccountUnknown(
                f"account {account} is not in the directory {self.shown}: add the journal that it is in, "
                f"ledger directory add NAME URL, which adds its accounts. A new one: ledger account open {account} --in NAME"
            )
        return ListedAccount(*found[0])

    def add_account(self, account: AccountId, entry: ListedAccount) -> bool:
        """Add an account, and return whether it is new; one of the same journal only has its epoch raised.

        Raises:
            AccountMismatch: The account is in another journal.
        """
        with self._database.writing() as session:
            text = "INSERT INTO directory_accounts (server, login, journal, epoch) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
            is_new = bool(session.execute(text, account.server, account.login, *entry))
            found = ListedAccount(*session.query(_ENTRY, account.server, account.login)[0])
            if found.journal == entry.journal:
                session.execute(_RAISE, *entry, account.server, account.login, entry.epoch)
        if found.journal != entry.journal:
            raise AccountMismatch(
                f"account {account} is in {found.journal} by the directory, not in {entry.journal}: an account is in one "
                "journal. ledger account move moves it"
            )
        return is_new

    def raise_epoch(self, account: AccountId, entry: ListedAccount) -> None:
        """Note where an account has moved to. Harmless where that was noted, or it has moved on since."""
        with self._database.writing() as session:
            session.execute(_RAISE, *entry, account.server, account.login, entry.epoch)


class _SqliteFile:
    """A directory in a file: a connection for each transaction, as there are few."""

    def __init__(self, url: SqliteUrl) -> None:
        self._url = url
        self._path = str(Path(url.database).absolute())

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self._begun("BEGIN") as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with self._begun("BEGIN IMMEDIATE") as session:
            yield session
            session.driver.execute("COMMIT")

    @contextmanager
    def _begun(self, statement: str) -> Iterator[Session]:
        with translate_errors(self._url), closing(self._connected()) as connection:
            connection.execute(statement)
            yield SqliteSession(connection)

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
        for setting in ("synchronous=FULL", "fullfsync=ON", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")
        return connection

    def dispose(self) -> None:
        """Do nothing: no connection stays open."""


def url_to_list(url: str) -> str:
    """Return a journal's URL as a directory has it: a file by its whole path, a database without a password.

    Raises:
        BadValue: It is no URL, or has a password in it.
    """
    found: Any = journal_url(url)
    path = sqlite_path(found)
    if path is not None:
        return f"sqlite:///{path.absolute()}"
    if split_secrets(found)[1]:
        raise BadValue(
            f"a directory is read by many, so no password belongs in it, found one in {shown(found)}. Leave it out: a password "
            "file (PGPASSFILE) has it, or a URL under [journals] in ledger.toml"
        )
    return str(found.render_as_string(hide_password=False))
