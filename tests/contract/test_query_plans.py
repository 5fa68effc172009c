"""Reading is the hot path: the statements of the SQL journal are served by the indexes that were made for them."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from ledger import Event
from ledger.folds import PORTFOLIO
from ledger.journal import Selection
from ledger.journal.checkpoints import replayed
from ledger.journal.sql import wire
from ledger.journal.sql.append import Appender
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.looks import newest
from ledger.journal.sql.postgres import PostgresEngine
from ledger.journal.sql.sqlite import SqliteSession
from ledger.journal.sql.words import for_postgres
from tests.support.journals import (
    ACCOUNT,
    Clock,
    digest_of,
    everything,
    fill,
    ghost,
    new_postgres_url,
    new_url,
    open_journal,
    opened,
    revised,
    specified,
)

MANY = 4000


def record_much(url):
    journal = open_journal(url, Clock(step_us=10_000_000_000))
    events: list[Event] = [opened(), specified(), *(fill(n, n) for n in range(100, MANY))]
    events += [fill(n, n) for n in range(1, 20)]  # late
    events += [revised(fill(n, n, profit=1)) for n in range(200, 205)]
    journal.append(ACCOUNT, events)
    return journal


@pytest.fixture(scope="module")
def sqlite_journal(tmp_path_factory):
    journal = record_much(new_url("sqlite", tmp_path_factory.mktemp("plans")))
    yield journal
    journal.close()


@pytest.fixture(scope="module")
def postgres_journal():
    journal = record_much(new_postgres_url())
    with journal.engine.alchemy.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    yield journal
    journal.close()


@pytest.fixture
def statements(monkeypatch):
    """The statements on events that a journal sends, with their parameters, as it streams and as it asks."""
    sent: list[tuple[str, object]] = []

    def note(_connection, _cursor, statement, parameters, *_):
        sent.append((statement, parameters))

    read = SqlJournal._read

    def noted(journal, text, values, **words):
        sent.append((for_postgres(text) if journal._is_postgres else text, values))
        return read(journal, text, values, **words)

    page = SqlJournal._page

    def paged(journal, text, values):
        sent.append((text, list(values)))
        return page(journal, text, values)

    query = SqliteSession.query

    def queried(session, text, *values):
        sent.append((text, values))
        return query(session, text, *values)

    ask, ask_all = Appender._query, Appender._query_all

    def asked(appender, driver, text, *values):
        sent.append((for_postgres(text) if appender._is_postgres else text, values))
        return ask(appender, driver, text, *values)

    def asked_all(appender, driver, *questions):
        sent.extend((for_postgres(text), tuple(values)) for text, *values in questions)
        return ask_all(appender, driver, *questions)

    once = PostgresEngine.query_once

    def asked_once(engine, text, *values):
        sent.append((for_postgres(text), values))
        return once(engine, text, *values)

    monkeypatch.setattr(PostgresEngine, "query_once", asked_once)
    monkeypatch.setattr(Appender, "_query", asked)
    monkeypatch.setattr(Appender, "_query_all", asked_all)
    event.listen(sa.Engine, "before_cursor_execute", note)
    monkeypatch.setattr(SqliteSession, "query", queried)
    monkeypatch.setattr(SqlJournal, "_read", noted)
    monkeypatch.setattr(SqlJournal, "_page", paged)
    yield sent
    event.remove(sa.Engine, "before_cursor_execute", note)


def plans(journal, statements, table="events"):
    """How the database does what it was asked of a table: one text for each statement, in order."""
    asked = [one for one in statements if re.search(f"(FROM|JOIN) {table}", one[0]) and one[0].startswith("SELECT")]
    assert asked
    explain = "EXPLAIN QUERY PLAN " if (not journal.engine.is_postgres) else "EXPLAIN "
    statements.clear()
    found = []
    with journal.engine.alchemy.connect() as connection:
        for statement, parameters in asked:
            values = tuple(parameters) if isinstance(parameters, list) else parameters
            rows = connection.exec_driver_sql(explain + statement, values).all()
            found.append("; ".join(str(row[-1]) for row in rows))
    statements.clear()
    return found


ALL_KEY = "USING PRIMARY KEY (account_id=?"


def test_sqlite_reads_rows_by_primary_key(sqlite_journal, statements):
    list(sqlite_journal.rows(ACCOUNT, after=5, upto=9))
    plan, *_ = plans(sqlite_journal, statements)
    assert f"{ALL_KEY} AND version>? AND version<?)" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("time_msc", [None, 2 * 10**12], ids=["all", "up to a time"])
def test_sqlite_replays_by_primary_key_and_the_index_of_late_events(time_msc, sqlite_journal, statements):
    list(sqlite_journal.postings(ACCOUNT, Selection(version=MANY, time_msc=time_msc)))
    first, *others = plans(sqlite_journal, statements)
    assert "INDEX ix_events_standing" in first
    revisions, *others = others
    assert "INDEX ix_events_revised" in revisions
    [placed] = [plan for plan in others if "INDEX ix_events_late (account_id=? AND order_msc>?" in plan]
    assert "INDEX ix_events_asserted (account_id=? AND order_msc>?" in placed
    assert "TEMP B-TREE" not in placed  # both are merged as they are read
    plain = [plan for plan in others if f"{ALL_KEY} AND version>? AND version<?)" in plan]
    assert plain
    assert not any("TEMP B-TREE" in plan for plan in plain)
    furthest = [plan for plan in others if "INDEX ix_events_asserted (account_id=?)" in plan]
    assert len(furthest) == (time_msc is not None)  # how far assertions are behind their own time
    by_version = [plan for plan in others if plan not in (placed, *plain, *furthest)]
    assert all(f"{ALL_KEY} AND version=?)" in plan for plan in by_version)


def test_a_replay_behind_a_checkpoint_reads_no_more_than_it_has_to(sqlite_journal, statements):
    selection = everything(sqlite_journal)
    terms = sqlite_journal.terms(ACCOUNT, selection.version)
    replayed(sqlite_journal, ACCOUNT, selection, terms, fold=PORTFOLIO, interval=500)
    statements.clear()
    replayed(sqlite_journal, ACCOUNT, selection, terms, fold=PORTFOLIO, interval=500)
    found = plans(sqlite_journal, statements)
    for plan in found:
        assert "version=?" in plan or "version>?" in plan or "INDEX ix_events_" in plan
    [placed] = [plan for plan in found if "INDEX ix_events_asserted" in plan]
    assert (
        "INDEX ix_events_placed (account_id=? AND placement=? AND version>? AND version<?)" in placed
    )  # what came after the checkpoint's last event in order
    assert "COVERING INDEX ix_events_revised" in placed
    assert placed.count(f"{ALL_KEY} AND version=?)") == 1  # what is asserted; where revisions have their place is in the index
    assert "(account_id=? AND version<?)" not in placed  # that would be everything


@pytest.mark.parametrize("time_msc", [None, 2 * 10**12], ids=["all", "up to a time"])
def test_sqlite_looks_for_the_checkpoint_of_a_moment_in_an_index_alone(time_msc, sqlite_journal, statements):
    sqlite_journal.checkpoint(ACCOUNT, Selection(version=MANY, time_msc=time_msc), "a fold")
    [plan] = plans(sqlite_journal, statements, table="checkpoints")
    assert "USING COVERING INDEX ix_checkpoints_marks (account_id=? AND fold=?" in plan
    assert "TEMP B-TREE" not in plan


def test_sqlite_finds_account_terms_by_their_index(sqlite_journal, statements):
    sqlite_journal.terms(ACCOUNT, 5)
    [plan] = plans(sqlite_journal, statements)
    assert "INDEX ix_events_standing (account_id=? AND version<?)" in plan
    assert "TEMP B-TREE" not in plan


def test_sqlite_counts_what_is_outside_the_fold_by_indexes(sqlite_journal, statements):
    sqlite_journal.count_outside_fold(ACCOUNT, Selection(version=MANY, time_msc=2 * 10**12))
    terms, others = plans(sqlite_journal, statements)
    assert "INDEX ix_events_standing (account_id=? AND version<?)" in terms
    assert others.count("INDEX sqlite_autoindex_events") == others.count("SEARCH")


def test_sqlite_finds_duplicates_by_natural_key(sqlite_journal, statements):
    sqlite_journal.append(ACCOUNT, [fill(100, 100)])
    seen, *lookups = plans(sqlite_journal, statements)
    assert "INDEX ix_events_standing (account_id=? AND version>?)" in seen
    assert "INDEX sqlite_autoindex_events_2 (account_id=? AND natural_key=?)" in seen
    assert "TEMP B-TREE" not in seen
    assert len(lookups) == 2
    for plan in lookups:
        assert "SEARCH events USING INDEX sqlite_autoindex_events_2 (account_id=? AND natural_key=?)" in plan
    sqlite_journal.append(ACCOUNT, [fill(100, 100), fill(101, 101)])
    last, *lookups = plans(sqlite_journal, statements)
    assert "INDEX ix_events_standing (account_id=? AND version>?)" in last
    assert "TEMP B-TREE" not in last
    assert len(lookups) == 2
    for plan in lookups:
        assert "SEARCH events USING INDEX sqlite_autoindex_events_2 (account_id=? AND natural_key=?)" in plan


def test_sqlite_finds_a_recorded_time_by_primary_key(sqlite_journal, statements):
    sqlite_journal.version_at(ACCOUNT, 10**18)
    for plan in plans(sqlite_journal, statements):
        assert f"{ALL_KEY} AND version=?)" in plan


def test_sqlite_finds_evidence_by_its_key(sqlite_journal, statements):
    known, one = evidence_plans(sqlite_journal, statements)
    for plan in (known, one):
        assert f"{ALL_KEY} AND digest=?)" in plan


def test_postgres_finds_evidence_by_its_key(postgres_journal, statements):
    known, one = evidence_plans(postgres_journal, statements)
    for plan in (known, one):
        assert "pk_evidence" in plan


def evidence_plans(journal, statements):
    """How the database finds out what is stored already, and reads one answer."""
    answers = [bytes([n % 256, n // 256]) for n in range(1000)]
    for why in (1, 2):
        with journal.engine.alchemy.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE evidence")
        statements.clear()
        recorded = [ghost(1 + n, 10**4, evidence=digest_of(raw), caused_by=why) for n, raw in enumerate(answers)]
        journal.append(ACCOUNT, recorded[:1] if why == 2 else recorded, evidence=answers)
    assert journal.evidence(ACCOUNT, digest_of(answers[0])) == answers[0]
    return plans(journal, statements, "evidence")


def test_postgres_replays_by_the_index_of_late_events(postgres_journal, statements):
    list(postgres_journal.postings(ACCOUNT, Selection(version=MANY)))
    terms, revisions, *others = plans(postgres_journal, statements)
    assert "ix_events_standing" in terms
    assert "ix_events_revised" in revisions
    assert any("ix_events_late" in plan for plan in others)
    assert all("ix_events_late" in plan or "pk_events" in plan or "Seq Scan" in plan for plan in others)


def test_postgres_counts_what_is_outside_the_fold_by_indexes(postgres_journal, statements):
    postgres_journal.count_outside_fold(ACCOUNT, Selection(version=MANY, time_msc=2 * 10**12))
    terms, others = plans(postgres_journal, statements)
    assert "ix_events_standing" in terms
    assert "uq_events_account_id_natural_key" in others


def test_postgres_finds_single_rows_by_their_keys(postgres_journal, statements):
    list(postgres_journal.rows(ACCOUNT, after=5, upto=9))
    assert "pk_events" in plans(postgres_journal, statements)[0]
    postgres_journal.terms(ACCOUNT, 5)
    assert "ix_events_standing" in plans(postgres_journal, statements)[0]
    postgres_journal.append(ACCOUNT, [fill(100, 100)])
    assert "uq_events_account_id_natural_key" in plans(postgres_journal, statements)[1]
    postgres_journal.version_at(ACCOUNT, 10**18)
    assert {"pk_events" in plan for plan in plans(postgres_journal, statements)} == {True}


def test_postgres_inserts_one_event_by_keys(postgres_journal):
    """Also by the plan that it makes for any values, which a prepared statement stays with."""
    with postgres_journal.engine.alchemy.connect() as connection:
        connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
        connection.exec_driver_sql(f"PREPARE one AS {wire._INSERT}")
        rows = connection.exec_driver_sql(f"EXPLAIN EXECUTE one ({', '.join(['NULL'] * len(wire._PARAMETERS))})").all()
        connection.exec_driver_sql("DEALLOCATE one")
    plan = "; ".join(row[0] for row in rows)
    assert "uq_events_account_id_natural_key" in plan
    assert "on events" not in plan.replace("Insert on events", "").replace("natural_key on events", "")


@pytest.mark.parametrize(
    ("named", "index"),
    [
        ({}, "INDEX ix_events_orders (account_id=? AND placement=? AND version<?)"),
        ({"client_id": "c1"}, "INDEX ix_events_client_id (account_id=? AND client_id=? AND version<?)"),
        ({"token": "t"}, "INDEX ix_events_token (account_id=? AND token=? AND version<?)"),
    ],
)
def test_sqlite_finds_events_about_orders_by_their_indexes(named, index, sqlite_journal, statements):
    list(sqlite_journal.order_events(ACCOUNT, MANY, **named))
    [plan] = plans(sqlite_journal, statements)
    assert index in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(("named", "index"), [({}, "orders"), ({"client_id": "c1"}, "client_id"), ({"token": "t"}, "token")])
def test_postgres_finds_events_about_orders_by_their_indexes(named, index, postgres_journal, statements):
    list(postgres_journal.order_events(ACCOUNT, MANY, **named))
    [plan] = plans(postgres_journal, statements)
    assert f"ix_events_{index}" in plan


def approvals_of(journal):
    """Ask for all that is asked about approvals."""
    journal.approval_rows(ACCOUNT, after=3, upto=MANY)
    journal.break_ends(ACCOUNT, [5], MANY)
    journal.proposed_since(0)


def test_sqlite_finds_approvals_by_the_indexes_that_are_there(sqlite_journal, statements):
    approvals_of(sqlite_journal)
    rows, ends, accounts = plans(sqlite_journal, statements)
    assert "(account_id=? AND natural_key>? AND natural_key<?)" in rows
    assert "INDEX ix_events_notable (account_id=? AND kind=? AND caused_by=?" in ends
    assert "(account_id=? AND natural_key>? AND natural_key<?)" in accounts


def test_postgres_finds_approvals_by_the_indexes_that_are_there(postgres_journal, statements):
    approvals_of(postgres_journal)
    rows, ends, accounts = plans(postgres_journal, statements)
    assert "uq_events_account_id_natural_key" in rows
    assert "ix_events_notable" in ends
    assert "uq_events_account_id_natural_key" in accounts


def test_sqlite_finds_the_events_of_a_position_by_their_index(sqlite_journal, statements):
    newest(sqlite_journal, ACCOUNT, position=1)
    plan, decided = plans(sqlite_journal, statements)
    assert "INDEX ix_events_position (account_id=? AND position_id=? AND version>? AND version<?)" in plan
    assert "(account_id=? AND natural_key>? AND natural_key<?)" in decided
    assert "TEMP B-TREE" not in plan


def test_postgres_finds_the_events_of_a_position_by_their_index(postgres_journal, statements):
    newest(postgres_journal, ACCOUNT, position=1)
    plan, _ = plans(postgres_journal, statements)
    assert "ix_events_position" in plan


def test_sqlite_finds_the_events_of_a_deal_by_what_they_are_known_by(sqlite_journal, statements):
    found = newest(sqlite_journal, ACCOUNT, deal=100)
    assert {row.deal for row in found} == {100}
    by_key, *others = plans(sqlite_journal, statements)
    assert "(account_id=? AND natural_key>? AND natural_key<?)" in by_key
    assert all("ix_events_notable" in one or "ix_events_orders" in one for one in others)


def test_postgres_finds_the_events_of_a_deal_by_what_they_are_known_by(postgres_journal, statements):
    newest(postgres_journal, ACCOUNT, deal=100)
    by_key, *_ = plans(postgres_journal, statements)
    assert "uq_events_account_id_natural_key" in by_key


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_latest_assertion_is_found_by_its_index(kind, request, statements):
    journal = request.getfixturevalue(f"{kind}_journal")
    for position_id in (None, 5):
        journal.latest_asserted(ACCOUNT, position_id, MANY)
    journal.append(ACCOUNT, [ghost(5, 10**4)])
    asserted = [one for one in statements if "order_msc, order_deal FROM events" in one[0]]
    assert len(asserted) == 3  # to verify, about the balance and a position, and to append
    statements[:] = asserted
    assert all("ix_events_asserted" in plan for plan in plans(journal, statements))
