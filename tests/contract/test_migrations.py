"""The migrations make the tables that the program expects, by whichever way they are run."""

# ruff: noqa: S608, RUF100  # a test looks into every table
from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from ledger import CorruptEvent, JournalError, Ledger
from ledger.journal.chain import COVERED
from ledger.journal.sql.create import create_journal
from ledger.journal.sql.engine import check_revision, open_engine
from ledger.journal.sql.indexes import metadata
from ledger.journal.sql.migrate import configuration, migrate, require_same_chain
from ledger.journal.sql.words import REVISION, account_key
from tests.support.journals import (
    ACCOUNT,
    OTHER,
    Clock,
    Intruder,
    digest_of,
    empty_postgres_url,
    fill,
    ghost,
    new_url,
    older_url,
    open_journal,
    opened,
    write_older,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request, tmp_path):
    return f"sqlite:///{tmp_path}/new.db" if request.param == "sqlite" else empty_postgres_url()


@pytest.fixture
def engine(empty_url):
    engine = open_engine(empty_url)
    migrate(engine)
    yield engine
    engine.dispose()


def alembic(url, *words):
    return subprocess.run(
        [sys.executable, "-m", "alembic", *words],
        env=os.environ | {"LEDGER_JOURNAL": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def differences(engine):
    with engine.alchemy.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, metadata)


def shape(engine):
    """What the database reports about its tables, apart from their names for things."""
    inspector = sa.inspect(engine.alchemy)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)],
            inspector.get_pk_constraint(table),
            sorted(inspector.get_unique_constraints(table), key=str),
            sorted(inspector.get_foreign_keys(table), key=str),
            sorted(str(index).partition(" object at ")[0] for index in inspector.get_indexes(table)),
        )
        for table in sorted(set(inspector.get_table_names()) - {"alembic_version"})
    }


def test_the_migrated_tables_are_those_of_the_program(engine):
    assert differences(engine) == []


def test_the_program_would_make_the_same_tables(engine, tmp_path):
    (tmp_path / "made.db").touch()
    url = f"sqlite:///{tmp_path}/made.db" if (not engine.is_postgres) else empty_postgres_url()
    made = open_engine(url)
    with made.alchemy.begin() as connection:
        metadata.create_all(connection)
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")  # or it would be no journal
    assert shape(made) == shape(engine)
    made.dispose()


def test_a_difference_would_be_seen(engine):
    """The comparison above can fail."""
    with engine.alchemy.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE heads ADD COLUMN more BIGINT")
    assert [difference[0] for difference in differences(engine)] == ["remove_column"]


def written(path):
    """What a SQLite file holds: its schema in its order, with each run of spaces outside of texts as one, settings, rows."""
    with closing(sqlite3.connect(path)) as connection:
        schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        tables = [name for kind, name, *_ in schema if kind == "table"]
        return (
            [(*about, sql and re.sub(_SPACES, " ", sql).strip()) for *about, sql in schema],
            [connection.execute(f"PRAGMA {name}").fetchall() for name in ("page_size", "encoding", "auto_vacuum")],
            [connection.execute(f"SELECT count(*) FROM {name}").fetchall() for name in tables],
            connection.execute("SELECT * FROM alembic_version").fetchall(),
            connection.execute("SELECT number, length(journal_id), made_us > 0 FROM identity").fetchall(),
        )


_SPACES = r"\s+(?=(?:[^']*'[^']*')*[^']*$)"


def test_a_new_sqlite_journal_is_word_by_word_what_the_migrations_make(tmp_path):
    engine = open_engine(str(tmp_path / "migrated.db"))
    migrate(engine)
    engine.dispose()
    assert create_journal(str(tmp_path / "made.db")) is None
    assert written(tmp_path / "made.db") == written(tmp_path / "migrated.db")
    assert create_journal(str(tmp_path / "made.db")) == create_journal(str(tmp_path / "migrated.db")) == REVISION
    with Ledger.open(str(tmp_path / "made.db")) as one, Ledger.open(str(tmp_path / "migrated.db")) as other:
        assert one.journal.identity() != other.journal.identity()


def test_a_new_sqlite_journal_is_made_without_alembic(tmp_path):
    words = (
        f"import sys; from ledger import Ledger; Ledger.create({str(tmp_path / 'new.db')!r}); print('alembic' in sys.modules)"
    )
    for _ in range(2):  # nor is it needed where there is nothing to do
        done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


def test_migrating_again_is_harmless(engine):
    assert migrate(engine) == REVISION
    before = Intruder(engine.url.render_as_string(hide_password=False))("SELECT * FROM alembic_version")
    assert migrate(engine) == REVISION
    assert before == [(REVISION,)]
    check_revision(engine)


def test_migrating_leaves_what_is_recorded_as_it_is(tmp_path, empty_url):
    with Ledger.create(empty_url) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), fill(1, 1)])
        before = list(ledger.journal.rows(ACCOUNT))
    with Ledger.create(empty_url) as ledger:
        assert list(ledger.journal.rows(ACCOUNT)) == before
        assert ledger.verify().ok


@pytest.fixture(params=["sqlite", "postgres"])
def older(request, tmp_path):
    """The URL of a journal of the first revision, with two accounts and late events."""
    url = older_url(request.param, tmp_path, "0001")
    journal = open_journal("memory://", Clock())
    for account in (ACCOUNT, OTHER):
        journal.append(account, [opened(account), *(fill(n, 50 - n) for n in range(1, 40)), ghost(1, 60)])
    write_older(url, journal)
    return url


def test_opening_an_older_journal_asks_for_its_migration(older):
    with pytest.raises(JournalError, match=f"has schema 0001, this program {REVISION}: ledger init"):
        Ledger.open(older)


def test_a_migrated_journal_keeps_everything_and_stores_evidence_from_then_on(older):
    before = recorded(older)
    with Ledger.create(older) as ledger:
        assert recorded(older) == before
        assert ledger.verify().ok
        again = ledger.account(ACCOUNT).record_many([ghost(2, 61, evidence=digest_of(b"raw"))], evidence=(b"raw",))
        assert again.head.version == 42
        assert ledger.account(ACCOUNT).evidence(digest_of(b"raw")) == b"raw"
        assert ledger.verify().ok


def recorded(url):
    """What no migration may change: all but what is derived of it."""
    names = ", ".join((*COVERED, "hash", "checks"))
    events = sorted(map(repr, Intruder(url)(f"SELECT account_id, {names} FROM events")))
    return events, sorted(map(repr, Intruder(url)("SELECT account_id, version, hash, recorded_us FROM heads")))


def test_the_order_is_derived_anew_as_if_it_had_been_recorded_so(older):
    with Ledger.create(older) as ledger:
        journal = open_journal("memory://", Clock())
        for account in (ACCOUNT, OTHER):
            journal.append(account, [opened(account), *(fill(n, 50 - n) for n in range(1, 40)), ghost(1, 60)])
            assert list(ledger.journal.rows(account)) == list(journal.rows(account))
            assert ledger.journal.head(account) == journal.head(account)


def contents(url):
    return {table: sorted(map(repr, Intruder(url)(f"SELECT * FROM {table}"))) for table in ("accounts", "heads", "events")}


def test_alembic_migrates_an_older_journal_too(older):
    run = alembic(older, "upgrade", "head")
    assert run.returncode == 0, run.stderr
    with Ledger.open(older) as ledger:
        assert ledger.verify().ok


DAMAGES = {
    "an event": ("UPDATE events SET profit = 5 WHERE version = 7 AND account_id = ?", "does not hold at version 7"),
    "an event's hash": ("UPDATE events SET hash = prev_hash WHERE version = 7 AND account_id = ?", "not hold at version 7"),
    "a missing event": ("DELETE FROM events WHERE version = 7 AND account_id = ?", "does not hold at version 7"),
    "a missing tail": ("DELETE FROM events WHERE version > 38 AND account_id = ?", "not follow from its 38 events"),
    "a head": (
        "UPDATE heads SET hash = genesis FROM (SELECT prev_hash AS genesis FROM events WHERE version = 1) x "
        "WHERE account_id = ?",
        "not follow from its 41 events",
    ),
    "a missing head": ("DELETE FROM heads WHERE account_id = ?", "its head is missing or damaged"),
    "an account": ("UPDATE accounts SET login = 7 WHERE account_id = ?", "does not hold at version 1"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_not_migrated(damage, older):
    statement, output = DAMAGES[damage]
    intruder = Intruder(older)
    intruder.disarm()
    intruder(statement, account_key(ACCOUNT))
    with pytest.raises(CorruptEvent, match=output):
        Ledger.create(older)
    assert intruder("SELECT version_num FROM alembic_version") == [("0001",)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_migration_that_changes_what_is_recorded_is_rolled_back(damage, older):
    """What a migration of ours would never do: what else makes sure that it does not."""
    before = contents(older)
    intruder = Intruder(older)
    intruder.disarm()
    statement = DAMAGES[damage][0].replace("?", str(account_key(ACCOUNT)))
    engine = open_engine(older)
    with (
        pytest.raises(JournalError, match="would have changed what is recorded"),
        engine.alchemy.connect().execution_options(write=True) as connection,
        connection.begin(),
        require_same_chain(connection),
    ):
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert contents(older) == before


def test_a_migration_lets_others_append_on_postgres(tmp_path):
    url = new_url("postgres", tmp_path)
    journal = open_journal(url, Clock(), busy_seconds=2)
    journal.append(ACCOUNT, [opened(), fill(1, 1)])
    engine = open_engine(url)
    with engine.alchemy.connect() as connection, connection.begin(), require_same_chain(connection):
        assert journal.append(ACCOUNT, [fill(2, 2)]).head.version == 3
    engine.dispose()
    journal.close()


def test_the_latest_migration_is_the_one_that_the_program_asks_for():
    assert ScriptDirectory.from_config(configuration()).get_heads() == [REVISION]


def test_alembic_migrates_and_checks_from_the_project_root(empty_url):
    for words in (["upgrade", "head"], ["upgrade", "head"], ["check"]):
        run = alembic(empty_url, *words)
        assert run.returncode == 0, run.stdout + run.stderr
    assert f"{REVISION} (head)" in alembic(empty_url, "current").stdout
    with Ledger.open(empty_url) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])


def test_alembic_accepts_the_journal_as_an_argument(tmp_path):
    url = f"sqlite:///{tmp_path}/named.db"
    run = alembic("sqlite:///not-this-one.db", "-x", f"journal={url}", "upgrade", "head")
    assert run.returncode == 0, run.stderr
    assert Ledger.open(url).accounts() == []
    assert not (ROOT / "not-this-one.db").exists()


def test_alembic_asks_for_a_journal():
    run = subprocess.run(
        [sys.executable, "-m", "alembic", "current"],
        env={name: value for name, value in os.environ.items() if name != "LEDGER_JOURNAL"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "name the journal" in run.stderr


def test_both_databases_have_the_same_columns_in_the_same_order(tmp_path):
    tables = {}
    for kind in ("sqlite", "postgres"):
        engine = open_engine(new_url(kind, tmp_path))
        inspector = sa.inspect(engine.alchemy)
        tables[kind] = {
            table: [(column["name"], column["nullable"]) for column in inspector.get_columns(table)]
            for table in inspector.get_table_names()
        }
        engine.dispose()
    assert tables["sqlite"] == tables["postgres"]
