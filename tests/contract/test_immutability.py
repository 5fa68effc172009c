"""What is recorded cannot be changed: the database itself refuses, whoever asks and with whatever program."""

# ruff: noqa: S608, RUF100  # a test breaks in on purpose
from __future__ import annotations

import sqlite3

import psycopg
import pytest

from ledger import Event, Ledger
from ledger.journal.sql.create import create_journal
from tests.support.journals import (
    ACCOUNT,
    OTHER,
    PARTITIONS,
    Intruder,
    bare_postgres,
    bare_sqlite,
    digest_of,
    fill,
    ghost,
    new_url,
    opened,
    shared_postgres,
)

_COLUMNS = (
    "account_id, time_msc, deal, version, kind, deal_type, entry, position_id, order_ticket, symbol, volume, price, "
    "commission, fee, swap, profit, magic, data, placement, schema, recorded_us, natural_key, correlation, caused_by, "
    "evidence, reason, comment, origin, prev_hash, hash, checks"
)
_TABLES = ("accounts", "heads", "events", "evidence", "identity", "parents", "origins", "seals")
_DISPOSABLE = (
    "checkpoints", "sync_health", "marks", "equity_minute", "equity_day", "sent_notices", "followers", "summaries",
    "open_positions", "closed_trades", "bookings", "balance_curve", "upkeep", "fleet_gateways",
    "fleet_leases",
)  # fmt: skip


def _copy(version: str, natural_key: str, kind: str = "'Forged'") -> str:
    """Select event 2 with another version, key and kind, to insert it again."""
    changed = {"version": version, "natural_key": natural_key, "kind": kind}
    chosen = ", ".join(changed.get(name, name) for name in _COLUMNS.split(", "))
    return f"({_COLUMNS}) SELECT {chosen} FROM events WHERE version = 2 AND deal = 1"


CHANGES = {
    "update an event": "UPDATE events SET profit = 1 WHERE version = 2",
    "update an event to what it is": "UPDATE events SET version = version",
    "update two columns of an event": "UPDATE events SET comment = 'x', placement = 0 WHERE deal = 1",
    "move an event to another account": "UPDATE events SET account_id = account_id + 1 WHERE version = 2",
    "delete an event": "DELETE FROM events WHERE version = 3",
    "delete all events": "DELETE FROM events",
    "update evidence": "UPDATE evidence SET body = 'x'",
    "update evidence to what it is": "UPDATE evidence SET digest = digest",
    "give evidence to another account": "UPDATE evidence SET account_id = (SELECT max(account_id) FROM accounts)",
    "delete evidence": "DELETE FROM evidence",
    "update an origin": "UPDATE origins SET version = 9",
    "delete an origin": "DELETE FROM origins",
    "update an account": "UPDATE accounts SET login = 1",
    "rename an account": "UPDATE accounts SET server = 'Elsewhere'",
    "delete an account": "DELETE FROM accounts",
    "delete a head": "DELETE FROM heads",
    "move a head back": "UPDATE heads SET version = version - 1",
    "move a head's version back": "UPDATE heads SET version = version - 1, recorded_us = recorded_us + 1",
    "leave a head where it is": "UPDATE heads SET hash = prev FROM (SELECT prev_hash AS prev FROM events WHERE version = 2) x",
    "give a head to another account": "UPDATE heads SET account_id = account_id + 1, version = version + 1, "
    "recorded_us = recorded_us + 1",
    "set an epoch back": "UPDATE heads SET epoch = 0, state = 'moved'",
    "write a head as it is": "UPDATE heads SET version = version",
    "move a head's time back": "UPDATE heads SET version = version + 1, recorded_us = recorded_us - 1",
}

SQLITE_CHANGES = {
    "replace an event by version": "INSERT OR REPLACE INTO events " + _copy("2", "'deal:99'"),
    "replace an event by natural key": f"REPLACE INTO events {_copy('99', 'natural_key')}",
    "ignore what is there": f"INSERT OR IGNORE INTO events {_copy('2', 'natural_key')}",
    "fail over what is there": f"INSERT OR FAIL INTO events {_copy('2', 'natural_key')}",
    "upsert an event": f"INSERT INTO events {_copy('2', 'natural_key')} ON CONFLICT DO UPDATE SET profit = 7",
    "upsert an event by natural key": f"INSERT INTO events {_copy('99', 'natural_key')} "
    "ON CONFLICT (account_id, natural_key) DO UPDATE SET profit = 7",
    "update or replace an event": "UPDATE OR REPLACE events SET version = 2 WHERE version = 3",
    "replace an origin": "REPLACE INTO origins SELECT account_id, number, journal_id, 9 FROM origins",
    "replace evidence": "INSERT OR REPLACE INTO evidence SELECT account_id, digest, 1, body FROM evidence",
    "ignore evidence that is there": "INSERT OR IGNORE INTO evidence SELECT account_id, digest, 1, body FROM evidence",
    "upsert evidence": "INSERT INTO evidence SELECT * FROM evidence WHERE true ON CONFLICT DO UPDATE SET size = 1",
    "update or replace evidence": "UPDATE OR REPLACE evidence SET size = 1",
    "replace an account": "REPLACE INTO accounts SELECT account_id, 'Elsewhere', 1 FROM accounts",
    "replace an account by name": "REPLACE INTO accounts SELECT 1, server, login FROM accounts",
    "upsert an account": "INSERT INTO accounts SELECT * FROM accounts WHERE true ON CONFLICT DO UPDATE SET login = 1",
    "replace a head": "REPLACE INTO heads (account_id, version, hash, recorded_us, last_msc, last_deal) "
    "SELECT account_id, 1, hash, recorded_us, last_msc, last_deal FROM heads",
    "upsert a head": "INSERT INTO heads SELECT * FROM heads WHERE true ON CONFLICT DO UPDATE SET version = 1",
    "update or replace a head": "UPDATE OR REPLACE heads SET version = 1",
}

POSTGRES_CHANGES = {
    "truncate events": "TRUNCATE events",
    "truncate events and heads": "TRUNCATE events, heads",
    "truncate accounts and all that hangs on them": "TRUNCATE accounts CASCADE",
    "truncate heads": "TRUNCATE heads",
    "truncate origins": "TRUNCATE origins",
    "truncate evidence": "TRUNCATE evidence",
    "upsert evidence": "INSERT INTO evidence SELECT * FROM evidence ON CONFLICT (account_id, digest) DO UPDATE SET size = 1",
    "merge into evidence": "MERGE INTO evidence e USING evidence s ON e.digest = s.digest AND e.account_id = s.account_id "
    "WHEN MATCHED THEN DELETE",
    "insert evidence again": "INSERT INTO evidence SELECT * FROM evidence",
    "upsert an event": f"INSERT INTO events {_copy('2', 'natural_key')} "
    "ON CONFLICT ON CONSTRAINT pk_events DO UPDATE SET profit = 7",
    "upsert an event by natural key": f"INSERT INTO events {_copy('99', 'natural_key')} "
    "ON CONFLICT (account_id, natural_key) DO UPDATE SET profit = 7",
    "upsert an account": "INSERT INTO accounts SELECT * FROM accounts ON CONFLICT (account_id) DO UPDATE SET login = 1",
    "upsert a head": "INSERT INTO heads SELECT * FROM heads ON CONFLICT (account_id) DO UPDATE SET version = 1",
    "merge into events": "MERGE INTO events e USING events s ON e.version = s.version AND e.account_id = s.account_id "
    "WHEN MATCHED THEN UPDATE SET profit = 7",
    "insert an event again": f"INSERT INTO events {_copy('2', 'natural_key')}",
}

#: What is tried on each partition alone, behind the back of its table.
PARTITION_CHANGES = {
    "truncate it": "TRUNCATE {}",
    "update its rows": "UPDATE {} SET account_id = account_id",
    "move its rows to other partitions": "UPDATE {} SET account_id = account_id + 1",
    "delete its rows": "DELETE FROM {}",
}


def recorded(url):
    """Fill a journal with two accounts and some events."""
    ledger = Ledger.create(url)
    for account in (ACCOUNT, OTHER):
        events: list[Event] = [opened(account), fill(1, 1), ghost(2, 2, evidence=digest_of(b"an answer"))]
        ledger.journal.append(account, events, evidence=(b"an answer",))
    Intruder(url)("INSERT INTO origins SELECT account_id, 1, 'another journal', 1 FROM accounts")
    return ledger


@pytest.fixture(scope="module")
def sqlite_url(tmp_path_factory):
    url = new_url("sqlite", tmp_path_factory.mktemp("journal"))
    recorded(url).close()
    return url


@pytest.fixture(scope="module", params=["postgres", "partitioned"])
def postgres_url(request, tmp_path_factory):
    url = new_url(request.param, tmp_path_factory.mktemp("journal"))
    recorded(url).close()
    return url


def contents(connection):
    return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in _TABLES}


def assert_untouched(url):
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok
        assert [account.version for account in ledger.accounts()] == [3, 3]


@pytest.mark.parametrize("recursive", ["OFF", "ON"], ids=["recursive triggers off", "recursive triggers on"])
@pytest.mark.parametrize("change", [*CHANGES, *SQLITE_CHANGES])
def test_sqlite_refuses_every_change(change, recursive, sqlite_url):
    with bare_sqlite(sqlite_url) as connection:
        connection.execute(f"PRAGMA recursive_triggers = {recursive}")
        before = contents(connection)
        with pytest.raises(sqlite3.IntegrityError, match=r"immutable|only move on"):
            connection.execute((CHANGES | SQLITE_CHANGES)[change])
        assert contents(connection) == before


@pytest.mark.parametrize("role", ["origin", "replica"], ids=["as itself", "as a replica"])
@pytest.mark.parametrize("change", [*CHANGES, *POSTGRES_CHANGES])
def test_postgres_refuses_every_change(change, role, postgres_url):
    with bare_postgres(postgres_url) as connection:
        connection.execute(f"SET session_replication_role = {role}")  # a superuser's way around ordinary triggers
        before = contents(connection)
        with pytest.raises(psycopg.errors.DatabaseError, match=r"immutable|only move on|duplicate key"):
            connection.execute((CHANGES | POSTGRES_CHANGES)[change])
        assert contents(connection) == before


def partitions_of(connection, *tables):
    """Name each partition, and whether it has rows: nothing is refused where there is nothing to change."""
    for name in (f"{table}_p{number}" for table in tables for number in range(PARTITIONS)):
        yield name, connection.execute(f"SELECT EXISTS (SELECT FROM {name})").fetchone() == (True,)


@pytest.mark.parametrize("role", ["origin", "replica"], ids=["as itself", "as a replica"])
@pytest.mark.parametrize("change", PARTITION_CHANGES)
@pytest.mark.parametrize("postgres_url", ["partitioned"], indirect=True)
def test_each_partition_refuses_every_change_by_itself(change, role, postgres_url):
    with bare_postgres(postgres_url) as connection:
        connection.execute(f"SET session_replication_role = {role}")
        before = contents(connection)
        tried = 0
        for name, has_rows in partitions_of(connection, "events", "evidence"):
            if has_rows or change == "truncate it":
                tried += 1
                with pytest.raises(psycopg.errors.DatabaseError, match="immutable"):
                    connection.execute(PARTITION_CHANGES[change].format(name))
        assert tried >= 2
        assert contents(connection) == before


def test_the_journals_are_as_they_were_recorded(sqlite_url, postgres_url):
    """Runs behind the tests above: nothing that was tried left a trace."""
    assert_untouched(sqlite_url)
    assert_untouched(postgres_url)


@pytest.mark.parametrize("partitions", [None, PARTITIONS], ids=["plain", "partitioned"])
def test_the_writing_role_may_only_read_and_insert_events_and_evidence(partitions):
    server = shared_postgres()
    url = server.create_database()
    name = url.rpartition("/")[2]
    with bare_postgres(server.url()) as connection:
        connection.execute(f"CREATE ROLE {name}_writer LOGIN")
        connection.execute(f"ALTER DATABASE {name} OWNER TO {name}_writer")
    own_url = url.replace("//postgres@", f"//{name}_writer@")
    create_journal(own_url, partitions=partitions)
    recorded(own_url).close()
    with bare_postgres(own_url) as connection:
        for verb in ("UPDATE events SET profit = 1", "DELETE FROM events", "TRUNCATE events"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table events"):
                connection.execute(verb)
        for verb in ("UPDATE evidence SET size = 1", "DELETE FROM evidence", "TRUNCATE evidence"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table evidence"):
                connection.execute(verb)
        rights = connection.execute(
            "SELECT privilege_type FROM information_schema.role_table_grants WHERE table_name ~ '^(events|evidence)'"
        ).fetchall()
    assert {right for (right,) in rights} & {"UPDATE", "DELETE", "TRUNCATE"} == set()
    assert_untouched(own_url)


def test_every_table_of_the_journal_is_guarded(sqlite_url, postgres_url):
    """A table that a later migration adds has to be thought of here."""
    with bare_sqlite(sqlite_url) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert {name for (name,) in found} == {*_TABLES, *_DISPOSABLE, "alembic_version"}
    with bare_postgres(postgres_url) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
            "AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        always = connection.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'A'").fetchall()
    assert {name for (name,) in found} == {*_TABLES, *_DISPOSABLE, "alembic_version"}
    assert always == []
