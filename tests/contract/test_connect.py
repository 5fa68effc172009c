"""A connection is durable or there is none; whatever fails is reported in the ledger's own words."""

# ruff: noqa: S608, RUF100  # names of databases that tests made
from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from psycopg import errors as psycopg_errors
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql  # noqa: F401  # its error classes are listed too

from ledger import (
    BadValue,
    CorruptEvent,
    JournalBusy,
    JournalError,
    JournalMissing,
    JournalNewer,
    JournalUnavailable,
    JournalUnsafe,
    Ledger,
)
from ledger.journal.sql import sqlite
from ledger.journal.sql.engine import journal_url, kind_of, open_engine, translate_error
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.words import REVISION
from tests.support.journals import (
    ACCOUNT,
    Clock,
    bare_postgres,
    bare_sqlite,
    empty_postgres_url,
    everything,
    fill,
    head,
    new_postgres_url,
    new_url,
    open_journal,
    opened,
    shared_postgres,
)
from tools.testkit import postgres

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sqlite_url(tmp_path):
    return new_url("sqlite", tmp_path)


@pytest.fixture
def postgres_url():
    return new_postgres_url()


def look(url):
    """Open a journal that must be there, and look into it."""
    with Ledger.open(url) as ledger:
        return ledger.accounts()


# ------------------------------------------------------------------------------------------------------------ durability


def test_every_sqlite_connection_is_durable(sqlite_url):
    engine = open_engine(sqlite_url)
    with engine.reading() as first, engine.reading() as second, engine.alchemy.connect() as third:
        connections: Any = (first.driver, second.driver, third.connection.driver_connection)
        for driver in connections:
            names = ("journal_mode", "synchronous", "fullfsync", "foreign_keys")
            assert [driver.execute(f"PRAGMA {name}").fetchone()[0] for name in names] == ["wal", 2, 1, 1]
    engine.dispose()


@pytest.mark.parametrize("undone", ["PRAGMA synchronous=NORMAL", "PRAGMA synchronous=OFF"])
def test_a_sqlite_that_does_not_apply_the_settings_is_refused(undone, sqlite_url):
    """Represents a build or a file system on which a setting does not come into force."""

    class Deaf(sqlite3.Connection):
        def execute(self, statement, *parameters):
            return super().execute(undone if statement == "PRAGMA synchronous=FULL" else statement, *parameters)

    with pytest.raises(JournalUnsafe, match="synchronous FULL"):
        connect_with(sqlite_url, Deaf)


def test_a_sqlite_that_cannot_write_ahead_is_refused(sqlite_url):
    class Deaf(sqlite3.Connection):
        def execute(self, statement, *parameters):
            return super().execute("PRAGMA journal_mode=DELETE" if "journal_mode" in statement else statement, *parameters)

    with pytest.raises(JournalUnsafe, match="journal_mode wal"):
        connect_with(sqlite_url, Deaf)


def test_the_switch_to_writing_ahead_waits_for_others(sqlite_url):
    """SQLite itself does not wait here, and reports at once that the database is locked."""
    with bare_sqlite(sqlite_url) as other:
        assert other.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        other.execute("BEGIN IMMEDIATE")
        refused = []

        class Watching(sqlite3.Connection):
            def execute(self, statement, *parameters):
                try:
                    return super().execute(statement, *parameters)
                except sqlite3.OperationalError as error:
                    refused.append(str(error))
                    other.execute("ROLLBACK")
                    raise

        connect_with(sqlite_url, Watching)
        assert refused == ["database is locked"]
        other.execute("SELECT count(*) FROM heads").fetchall()  # it looks at the file again
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def connect_with(url, connection_class):
    engine = open_engine(url)
    with mock.patch.object(
        sqlite, "connect", lambda at, **words: sqlite3.connect(at, **{**words, "factory": connection_class})
    ):
        try:
            engine.raw_connection().close()
        finally:
            engine.dispose()


def test_sqlite_writes_begin_at_once_and_reads_do_not(sqlite_url):
    engine = open_engine(sqlite_url, busy_seconds=0.05)
    with engine.writing():
        with engine.reading() as reading:
            reading.query("SELECT * FROM events")
        with pytest.raises(JournalBusy, match="locked"), engine.writing():
            pass
    engine.dispose()


@pytest.mark.parametrize("value", ["off", "local"])
@pytest.mark.parametrize("level", ["DATABASE", "ROLE"])
def test_postgres_without_synchronous_commit_is_refused(value, level, postgres_url):
    name = postgres_url.rpartition("/")[2]
    url = postgres_url
    with bare_postgres(shared_postgres().url()) as connection:
        if level == "ROLE":
            connection.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
            url = url.replace("postgres@", f"{name}@")
        connection.execute(f"ALTER {level} {name} SET synchronous_commit = {value}")
    with pytest.raises(JournalUnsafe, match=f"synchronous_commit = {value}"):
        look(url)


def test_what_is_stronger_than_synchronous_commit_stays(postgres_url):
    name = postgres_url.rpartition("/")[2]
    with bare_postgres(shared_postgres().url()) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = remote_apply")
    engine = open_engine(postgres_url)
    with engine.alchemy.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "remote_apply"
    engine.dispose()


def test_postgres_turned_unsafe_later_stays_safe_for_open_connections(postgres_url):
    engine = open_engine(postgres_url)
    source = "SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"
    with engine.alchemy.connect() as connection:
        assert connection.exec_driver_sql(source).scalar() == "session"
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
    engine.dispose()


def test_postgres_without_fsync_is_refused(monkeypatch):
    monkeypatch.setattr(postgres, "_SETTINGS", postgres._SETTINGS | {"fsync": "off"})
    with postgres.start_postgres() as server, pytest.raises(JournalUnsafe, match="fsync = off"):
        Ledger.create(server.create_database())


# ------------------------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_a_missing_journal_is_reported_to_be_missing(name, tmp_path):
    url = f"sqlite:///{tmp_path}/none.db" if name == "sqlite" else empty_postgres_url()
    with pytest.raises(JournalMissing, match="there is no journal at"):
        look(url)
    assert not (tmp_path / "none.db").exists()


def test_a_journal_in_a_missing_folder_is_missing_and_made_on_demand(tmp_path):
    url = f"sqlite:///{tmp_path}/a/b/none.db"
    with pytest.raises(JournalMissing):
        look(url)
    assert not (tmp_path / "a").exists()
    Ledger.create(url).close()
    assert look(url) == []


def test_a_missing_database_is_reported_to_be_missing():
    for create in (False, True):
        with pytest.raises(JournalMissing, match="create"):
            Ledger.open(shared_postgres().url("nowhere"), create=create)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 500)
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(JournalMissing, match="not a journal"):
            Ledger.open(f"sqlite:///{path}", create=create)
    assert path.read_bytes() == before


def test_an_empty_file_holds_no_journal_and_can_become_one(tmp_path):
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(JournalMissing, match="there is no journal"):
        look(f"sqlite:///{path}")
    Ledger.create(f"sqlite:///{path}").close()
    assert look(f"sqlite:///{path}") == []


def test_the_database_of_another_program_is_left_alone(tmp_path):
    url = f"sqlite:///{tmp_path}/other.db"
    with bare_sqlite(url) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    before = (tmp_path / "other.db").read_bytes()
    for create in (False, True):
        with pytest.raises(JournalMissing):
            Ledger.open(url, create=create)
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_folder_is_no_journal(tmp_path):
    for create in (False, True):
        with pytest.raises(JournalError, match="cannot be opened"):
            Ledger.open(f"sqlite:///{tmp_path}", create=create)


@pytest.mark.parametrize("table", ["events", "accounts", "heads"])
def test_a_journal_without_one_of_its_tables_is_reported(table, sqlite_url):
    with bare_sqlite(sqlite_url) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(f"DROP TABLE {table}")
    with pytest.raises(JournalError) as refused, Ledger.open(sqlite_url) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    assert not refused.value.retryable


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_newer_journal_is_refused(kind, tmp_path):
    url = new_url(kind, tmp_path)
    statement = "UPDATE alembic_version SET version_num = '9999'"
    with bare_sqlite(url) if kind == "sqlite" else bare_postgres(url) as connection:
        connection.execute(statement)
    for create in (False, True):
        with pytest.raises(JournalNewer, match=f"9999, this program knows {REVISION}"):
            Ledger.open(url, create=create)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_older_journal_asks_for_its_migration(kind, tmp_path):
    url = new_url(kind, tmp_path)
    with bare_sqlite(url) if kind == "sqlite" else bare_postgres(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(JournalError, match="ledger init"):
        look(url)


# ------------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/db",
        "postgresql+asyncpg://host/db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        ":memory:",
        "nonsense://",
        "://",
        "",
        "http://example.com/journal.db",
        "postgresql://host:notaport/db",
    ],
)
def test_an_address_of_no_journal_is_wrong_use(url):
    with pytest.raises(BadValue, match=r"a journal is|a SQLite journal needs"):
        Ledger.create(url)


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("desk.db", "sqlite"),
        ("/var/lib/desk.db", "sqlite"),
        ("sqlite:///desk.db", "sqlite"),
        ("postgresql://host/db", "postgresql+psycopg"),
        ("postgres://host/db", "postgresql+psycopg"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg"),
    ],
)
def test_an_address_may_be_written_in_these_ways(given, driver):
    assert journal_url(given).drivername == driver


def test_an_unknown_host_is_unavailable_for_now():
    with pytest.raises(JournalUnavailable) as refused:
        Ledger.create("postgresql+psycopg://nobody@host.invalid/db")
    assert refused.value.retryable


def test_a_port_where_nobody_listens_is_unavailable_for_now():
    with pytest.raises(JournalUnavailable, match="does not answer"):
        Ledger.create("postgresql+psycopg://nobody@127.0.0.1:1/db")


def test_an_unknown_user_is_not_mistaken_for_a_missing_database(postgres_url):
    with pytest.raises(JournalUnavailable, match="user or password"):
        look(postgres_url.replace("postgres@", "nobody_knows_me@"))


_KNOWN_RULES = "SELECT count(*) FROM pg_hba_file_rules WHERE user_name = %s"


def test_a_wrong_password_is_reported_and_not_shown(postgres_url):
    server = shared_postgres()
    rules = server._data / "pg_hba.conf"
    before = rules.read_text()
    name = postgres_url.rpartition("/")[2]
    with bare_postgres(server.url()) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
        rules.write_text(f"host {name} {name} 127.0.0.1/32 scram-sha-256\n{before}")
        admin.execute("SELECT pg_reload_conf()")
        try:
            # The reload is done when the server shows the rule.
            while admin.execute(_KNOWN_RULES, ([name],)).fetchone() != (1,):
                pass
            with pytest.raises(JournalUnavailable, match="user or password is wrong") as refused:
                look(postgres_url.replace("postgres@", f"{name}:wr0ng@"))
        finally:
            rules.write_text(before)
            admin.execute("SELECT pg_reload_conf()")
    assert "wr0ng" not in str(refused.value)


# -------------------------------------------------------------------------------------------------- rights, locks, space


def run_as_nobody(program, *arguments):
    """Run Python code as somebody without rights: as root it becomes ``nobody`` once everything is imported."""
    nobody = pwd.getpwnam("nobody")
    become = f"import os; os.setgroups([]); os.setresgid(*[{nobody.pw_gid}] * 3); os.setresuid(*[{nobody.pw_uid}] * 3)"
    text = "\n".join(
        [
            "import sys, psycopg, ledger.journal.sql.journal, ledger.journal.sql.migrate, ledger.journal.sql.engine, zoneinfo",
            "from ledger import *",
            "from tests.support.journals import *",
            "import sqlalchemy.dialects.sqlite, ledger.journal.sql.preflight, ledger.journal.backup, logging, alembic.command",
            "ledger.journal.sql.preflight.wanted_definitions('sqlite')",
            become if os.geteuid() == 0 else "",
            program,
        ]
    )
    return subprocess.run([sys.executable, "-c", text, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def open_folder():
    """A folder that everybody can reach, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="ledger-test-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


_APPEND = """
try:
    with Ledger.open(sys.argv[1], create=sys.argv[2:] == ["create"]) as ledger:
        print(ledger.journal.append(ACCOUNT, [fill(2, 2)]).head.version)
except LedgerError as error:
    print(type(error).__name__, error)
"""


def filled(url):
    with Ledger.create(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), fill(1, 1)])


def test_a_journal_that_may_not_be_written_is_reported(open_folder):
    url = f"sqlite:///{open_folder}/journal.db"
    filled(url)
    (open_folder / "journal.db").chmod(0o444)
    open_folder.chmod(0o555)
    run = run_as_nobody(_APPEND, url)
    assert "cannot be" in run.stdout, run.stderr
    assert "rights" in run.stdout
    open_folder.chmod(0o755)
    assert versions(url) == [1, 2]


def test_a_journal_that_may_not_be_read_is_reported(open_folder):
    url = f"sqlite:///{open_folder}/journal.db"
    filled(url)
    (open_folder / "journal.db").chmod(0o000)
    run = run_as_nobody(_APPEND, url)
    assert "rights" in run.stdout, run.stderr


def test_a_journal_cannot_be_made_where_nothing_may_be_written(open_folder):
    open_folder.chmod(0o555)
    run = run_as_nobody(_APPEND, f"sqlite:///{open_folder}/new.db", "create")
    assert "rights" in run.stdout, run.stderr
    assert list(open_folder.iterdir()) == []


def versions(url):
    journal = open_journal(url, Clock())
    found = [row.version for row in journal.rows(ACCOUNT)]
    journal.close()
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok
    return found


def test_a_postgres_user_without_rights_gets_an_error_that_states_it(postgres_url):
    filled(postgres_url)
    name = postgres_url.rpartition("/")[2]
    with bare_postgres(shared_postgres().url()) as connection:
        connection.execute(f"CREATE ROLE {name}_guest LOGIN")
    with pytest.raises(JournalError, match="no right") as refused:
        look(postgres_url.replace("postgres@", f"{name}_guest@"))
    assert not refused.value.retryable


def test_a_postgres_that_only_reads_is_reported_as_such(postgres_url):
    filled(postgres_url)
    name = postgres_url.rpartition("/")[2]
    with bare_postgres(shared_postgres().url()) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with Ledger.open(postgres_url) as ledger:
        assert len(ledger.accounts()) == 1
        with pytest.raises(JournalError, match="only reads"):
            ledger.account(ACCOUNT).record(fill(2, 2))


def test_a_locked_sqlite_journal_is_busy_and_can_still_be_read(sqlite_url):
    filled(sqlite_url)
    journal = open_journal(sqlite_url, Clock(), busy_seconds=0.05)
    with bare_sqlite(sqlite_url) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalBusy, match="try again") as refused:
            journal.append(ACCOUNT, [fill(2, 2)])
        assert refused.value.retryable
        assert [row.version for row in journal.rows(ACCOUNT)] == [1, 2]
        assert len(look(sqlite_url)) == 1
        other.execute("ROLLBACK")
    assert journal.append(ACCOUNT, [fill(2, 2)]).head.version == 3
    journal.close()


def test_a_locked_postgres_account_is_busy_and_others_are_not(postgres_url):
    filled(postgres_url)
    other = opened().server, 99
    journal = open_journal(postgres_url, Clock(), busy_seconds=0.05)
    elsewhere = type(ACCOUNT)(*other)
    with bare_postgres(postgres_url) as connection, connection.transaction():
        connection.execute("SELECT * FROM heads FOR UPDATE")
        with pytest.raises(JournalBusy, match="try again"):
            journal.append(ACCOUNT, [fill(2, 2)])
        assert [row.version for row in journal.rows(ACCOUNT)] == [1, 2]
        assert journal.append(elsewhere, [opened(elsewhere)]).head.version == 1
    assert journal.append(ACCOUNT, [fill(2, 2)]).head.version == 3
    journal.close()


def small(at, **words):
    connection = sqlite3.connect(at, **words)
    connection.execute("PRAGMA max_page_count = 20")
    return connection


def test_a_full_sqlite_database_appends_nothing_and_is_reported(monkeypatch, sqlite_url):
    filled(sqlite_url)
    engine = open_engine(sqlite_url)
    monkeypatch.setattr(sqlite, "connect", small)
    journal = SqlJournal(engine, Clock())
    before = head(journal)
    with pytest.raises(JournalUnavailable, match="disk is full: nothing was recorded"):
        journal.append(ACCOUNT, [fill(n, n / 1000) for n in range(2, 2000)])
    assert head(journal) == before
    assert journal.append(ACCOUNT, [fill(2, 2)]).head.version == 3
    journal.close()
    assert versions(sqlite_url) == [1, 2, 3]


def test_a_file_that_may_not_grow_appends_nothing_and_is_reported(sqlite_url):
    """A real write that fails half way, as on a full disk or over a quota."""
    filled(sqlite_url)
    program = """
import resource, sys
from ledger import *
from tests.support.journals import *
journal = open_journal(sys.argv[1], Clock())
before = head(journal)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
try:
    journal.append(ACCOUNT, [fill(n, n / 1000) for n in range(2, 2000)])
except LedgerError as error:
    print(type(error).__name__, error.retryable, "may be in the journal" in str(error), head(journal) == before)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(journal.append(ACCOUNT, [fill(2, 2)]).head.version)
"""
    run = subprocess.run([sys.executable, "-c", program, sqlite_url], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout.split("\n")[:2] == ["JournalUnavailable True True True", "3"], run.stderr
    assert versions(sqlite_url) == [1, 2, 3]


# ------------------------------------------------------------------------------------------------------- what drivers raise


def family(base):
    """A class and everything below it."""
    return {base}.union(*(family(one) for one in base.__subclasses__()))


def listed(*bases):
    return sorted(set().union(*map(family, bases)), key=lambda one: (one.__module__, one.__name__))


FOREIGN = [
    one
    for one in listed(sqlite3.Error, sqlite3.Warning, psycopg.Error, psycopg.Warning, exc.SQLAlchemyError)
    if not one.__module__.startswith(("tests.", "alembic"))
]


def test_the_list_of_foreign_errors_is_complete():
    classes = {one for one in vars(psycopg_errors).values() if isinstance(one, type) and issubclass(one, Exception)}
    assert classes - set(FOREIGN) <= {Exception}
    assert len(FOREIGN) > 250


@pytest.mark.parametrize("error", FOREIGN, ids=lambda one: f"{one.__module__}.{one.__name__}")
def test_every_error_of_a_driver_means_something(error):
    kind, advice = kind_of(error)
    assert issubclass(kind, JournalError)
    assert advice


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite3.OperationalError("database is locked"), JournalBusy),
        (sqlite3.OperationalError("database or disk is full"), JournalUnavailable),
        (sqlite3.DatabaseError("database disk image is malformed"), CorruptEvent),
        (sqlite3.OperationalError("Could not decode to UTF-8 column 'comment' with text 'x'"), CorruptEvent),
        (sqlite3.OperationalError("no such table: events"), JournalMissing),
        (sqlite3.IntegrityError("UNIQUE constraint failed: events.natural_key"), JournalError),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), JournalError),
        (psycopg_errors.LockNotAvailable("canceling statement due to lock timeout"), JournalBusy),
        (psycopg_errors.SerializationFailure("could not serialize access"), JournalUnavailable),
        (psycopg_errors.DeadlockDetected("deadlock detected"), JournalUnavailable),
        (psycopg_errors.AdminShutdown("terminating connection"), JournalUnavailable),
        (psycopg_errors.UniqueViolation("duplicate key"), JournalError),
        (psycopg_errors.UndefinedTable('relation "events" does not exist'), JournalMissing),
        (psycopg_errors.DiskFull("could not extend file: No space left on device"), JournalUnavailable),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL"), JournalError),
        (exc.TimeoutError("QueuePool limit reached"), JournalBusy),
        (exc.InvalidRequestError("wrong use"), JournalError),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else one.__name__,
)
def test_an_error_is_worth_a_retry_only_where_one_can_help(error, kind):
    url = journal_url("sqlite:///desk.db")
    found = translate_error(error, url)
    wrapped = translate_error(exc.DBAPIError("SELECT 1", {}, error), url)
    assert type(found) is kind
    assert type(wrapped) is kind
    assert found.retryable == (kind in (JournalBusy, JournalUnavailable))


# ---------------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_one_ledger_serves_eight_threads(kind, tmp_path):
    url = "memory://" if kind == "memory" else new_url(kind, tmp_path)
    each, count = 40, 8
    with Ledger.create(url, now_us=Clock()) as ledger:
        account = ledger.account(ACCOUNT)
        ledger.journal.append(ACCOUNT, [opened()])

        def work(thread):
            seen = 0
            for n in range(each):
                account.record(fill(1 + thread * each + n, (n * count + thread) / 1000, profit=1))
                account.record(fill(1 + n, n * count / 1000, profit=1))  # what the first thread records, too
                portfolio = account.portfolio
                assert portfolio.folded >= seen
                seen = portfolio.folded
                assert portfolio.balance == len(portfolio.positions)
            return seen

        with ThreadPoolExecutor(count) as threads:
            list(threads.map(work, range(count)))
        assert account.version == 1 + each * count
        assert account.portfolio.balance == each * count
        assert ledger.verify().ok


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_many_threads_may_read_two_streams_each_at_the_same_moment(kind, tmp_path):
    """With late events a replay reads two streams at once; threads must not wait for one another's second one."""
    count = 20
    url = new_url(kind, tmp_path)
    journal = open_journal(url, Clock())
    journal.append(ACCOUNT, [opened(), *(fill(n, (100 - n) / 10) for n in range(1, 50))])
    all_have_begun = threading.Barrier(count)

    def read():
        reading = iter(journal.postings(ACCOUNT, everything(journal)))
        plain = journal.rows(ACCOUNT)
        next(plain)  # holds a connection
        all_have_begun.wait(20)
        return sum(1 for _ in reading) + sum(1 for _ in plain)

    with ThreadPoolExecutor(count) as threads:
        found = [future.result(20) for future in [threads.submit(read) for _ in range(count)]]
    journal.close()
    assert found == [49 + 49] * count
