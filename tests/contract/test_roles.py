"""The roles that are shipped for Postgres: the owner migrates, the writer appends, the reader reads, and no more."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from ledger import JournalError, Ledger
from ledger.journal.connect import open_engine
from ledger.journal.migrate import migrate
from ledger.seals import made
from tests.support.journals import ACCOUNT, bare_postgres, digest_of, empty_postgres_url, fill, ghost, opened, shared_postgres

ROLES = (Path(__file__).resolve().parents[2] / "deploy" / "postgres-roles.sql").read_text(encoding="utf-8")
RAW = b"{}"
TABLES = (
    "accounts", "events", "evidence", "seals", "heads", "identity", "parents", "checkpoints", "sync_health", "alembic_version",
)  # fmt: skip
_numbers = count(1)


@pytest.fixture
def desk():
    """A journal whose database has the shipped roles: role -> URL of a member of it."""
    url = empty_postgres_url()
    number = next(_numbers)
    members = {role: f"{role}_{number}" for role in ("owner", "writer", "reader")}
    with bare_postgres(url) as connection:
        connection.execute(ROLES)
        for role, name in members.items():
            statement = sql.SQL("CREATE ROLE {} LOGIN IN ROLE {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(f"ledger_{role}")))
    urls = {role: url.replace("postgres@", f"{name}@") for role, name in members.items()}
    engine = open_engine(urls["owner"])
    migrate(engine)
    engine.dispose()
    with bare_postgres(url) as connection:
        connection.execute(ROLES)
    yield urls
    shared_postgres().drop_database(url)
    with psycopg.connect(shared_postgres().url().replace("+psycopg", ""), autocommit=True) as connection:
        for name in members.values():
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def told(url):
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 30)), ghost(1, 40, evidence=digest_of(RAW))],
                              evidence=[RAW])  # fmt: skip
        ledger.checkpoint_interval = 5
        assert len(ledger.account(ACCOUNT).portfolio.positions) == 28
        return ledger.account(ACCOUNT).version


def test_a_writer_does_everything_that_engines_do(desk):
    assert told(desk["writer"]) == 31
    with Ledger.open(desk["writer"]) as ledger:
        ledger.account(ACCOUNT).record(fill(99, 2.5))
        assert list(ledger.journal.checkpoints(ACCOUNT))
        assert ledger.account(ACCOUNT).evidence(digest_of(RAW)) == RAW
        assert ledger.verify().ok


def test_a_reader_sees_everything_and_writes_nothing(desk):
    told(desk["writer"])
    with Ledger.open(desk["reader"]) as ledger:
        ledger.checkpoint_interval = 1
        account = ledger.account(ACCOUNT)
        assert account.replay(version=20).state() == account.replay(version=20, checkpoints=False).state()
        assert [version for version, _ in zip(range(1, 32), account.follow(), strict=False)] == list(range(1, 32))
        assert ledger.verify().ok
        with pytest.raises(JournalError, match="no right"):
            account.record(fill(99, 99))
        assert account.version == 31


@pytest.mark.parametrize("role", ["owner", "writer", "reader"])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "TRUNCATE"])
def test_nobody_changes_what_is_recorded(verb, table, role, desk):
    told(desk["writer"])
    statements = {
        "UPDATE": sql.SQL("UPDATE {} SET {column} = {column}"),
        "DELETE": sql.SQL("DELETE FROM {}"),
        "TRUNCATE": sql.SQL("TRUNCATE {} CASCADE"),
    }
    column = {"seals": "body", "identity": "journal_id", "parents": "heads", "alembic_version": "version_num"}.get(
        table, "account_id"
    )
    allowed = (role == "owner" and table in ("checkpoints", "sync_health", "alembic_version")) or (
        (role, table, verb) in (("writer", "checkpoints", "DELETE"), ("writer", "sync_health", "UPDATE"))
    )
    statement = statements[verb].format(sql.Identifier(table), column=sql.Identifier(column))
    with bare_postgres(desk[role]) as connection:
        if allowed:
            connection.execute(statement)
            return
        with pytest.raises((errors.InsufficientPrivilege, errors.RaiseException)):
            connection.execute(statement)


def test_a_writer_cannot_change_the_schema(desk):
    for statement in ("DROP TABLE events", "ALTER TABLE events DISABLE TRIGGER ALL", "CREATE TABLE mine (a int)"):
        with bare_postgres(desk["writer"]) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement)


def test_whoever_may_only_read_can_seal_too(desk):
    """An auditor with a role of his own: the seal is not noted in the journal then, and proves the same."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    told(desk["writer"])
    with Ledger.open(desk["reader"]) as ledger:
        seal = made(ledger.journal, Ed25519PrivateKey.generate(), ledger.now_us())
        assert ledger.verify(since=seal).ok
        assert ledger.journal.seals() == []
