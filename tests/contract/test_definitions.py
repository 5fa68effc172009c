"""Triggers, constraints and indexes are compared by what they do, not by their names, on both databases."""

from __future__ import annotations

import json
import shutil

import pytest

from ledger import Ledger
from ledger.cli import main
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.preflight import definitions, differences
from tests.support.frozen import revisions, thawed
from tests.support.journals import ACCOUNT, DURABLE, Intruder, fill, new_postgres_url, new_url, opened


@pytest.fixture(params=[*DURABLE, "partitioned"])
def url(request, tmp_path):
    url = new_url(request.param, tmp_path)
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 5))])
    return url


def found(url):
    engine = open_engine(url)
    try:
        return differences(engine)
    finally:
        engine.dispose()


def test_a_new_journal_is_as_the_migrations_make_it(url):
    """After a new migration: python3 tools/dev/definitions.py."""
    assert found(url) == ()


@pytest.mark.parametrize("revision", revisions())
@pytest.mark.parametrize("kind", DURABLE)
def test_a_migrated_journal_is_as_a_new_one(kind, revision, tmp_path):
    url = thawed(revision, kind, tmp_path)
    Ledger.create(url).close()
    assert found(url) == ()


#: What somebody does -> what is found: kind, name, what.
SQLITE = {
    "DROP TRIGGER events_no_update": ("trigger", "events.events_no_update", "missing"),
    "DROP TRIGGER events_no_update; CREATE TRIGGER events_no_update BEFORE UPDATE ON events WHEN 0 "
    "BEGIN SELECT RAISE(ABORT, 'events are immutable: UPDATE is refused'); END": (
        "trigger", "events.events_no_update", "it was changed",
    ),
    "DROP TRIGGER heads_only_forward; CREATE TRIGGER heads_only_forward AFTER UPDATE ON accounts BEGIN SELECT 1; END": (
        "trigger", "accounts.heads_only_forward", "none of ours",
    ),
    "CREATE TRIGGER swallow BEFORE INSERT ON events WHEN NEW.deal = 7 BEGIN SELECT RAISE(IGNORE); END": (
        "trigger", "events.swallow", "none of ours",
    ),
    "DROP INDEX ix_events_late": ("index", "ix_events_late", "missing"),
    "DROP INDEX ix_events_late; CREATE INDEX ix_events_late ON events (account_id, time_msc)": (
        "index", "ix_events_late", "it was changed",
    ),
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = replace(sql, 'CHECK (number = 1)', 'CHECK (number > 0)') "
    "WHERE name = 'identity'": ("table", "identity", "it was changed"),
}  # fmt: skip

POSTGRES = {
    "DROP TRIGGER events_no_change ON events": ("trigger", "events.events_no_change", "missing"),
    "ALTER TABLE events DISABLE TRIGGER events_no_change": ("trigger", "events.events_no_change", "it was changed"),
    "ALTER TABLE events ENABLE TRIGGER events_no_change": ("trigger", "events.events_no_change", "it was changed"),
    "DROP TRIGGER events_no_change ON events; CREATE TRIGGER events_no_change BEFORE UPDATE ON events FOR EACH ROW "
    "WHEN (NEW.version < 0) EXECUTE FUNCTION ledger_refuse(); ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_change": (
        "trigger", "events.events_no_change", "it was changed",
    ),
    "CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$": (
        "function", "ledger_refuse", "it was changed",
    ),
    "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
    "CREATE TRIGGER a_swallow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION swallow()": (
        "trigger", "events.a_swallow", "none of ours",
    ),
    "CREATE RULE swallow AS ON INSERT TO seals DO INSTEAD NOTHING": ("rule", "seals.swallow", "none of ours"),
    "ALTER TABLE events ENABLE ROW LEVEL SECURITY": ("table", "events", "it was changed"),
    "ALTER TABLE seals SET UNLOGGED": ("table", "seals", "it was changed"),
    "ALTER TABLE events DROP CONSTRAINT uq_events_account_id_natural_key": (
        "constraint", "events.uq_events_account_id_natural_key", "missing",
    ),
    "ALTER TABLE identity DROP CONSTRAINT ck_identity_number; ALTER TABLE identity ADD CONSTRAINT ck_identity_number "
    "CHECK (number > 0)": ("constraint", "identity.ck_identity_number", "it was changed"),
    "ALTER TABLE events ALTER COLUMN natural_key DROP NOT NULL": ("column", "events.natural_key", "it was changed"),
    "DROP INDEX ix_events_late": ("index", "ix_events_late", "missing"),
    "DROP INDEX ix_events_late; CREATE INDEX ix_events_late ON events (account_id, time_msc)": (
        "index", "ix_events_late", "it was changed",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "done"), [("sqlite", one) for one in SQLITE] + [("postgres", one) for one in POSTGRES])
def test_what_does_something_else_is_found_whatever_its_name(kind, done, tmp_path):
    url = new_url(kind, tmp_path)
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    intruder = Intruder(url)
    if kind == "sqlite":
        from tests.support.journals import bare_sqlite

        with bare_sqlite(url) as connection:
            connection.executescript(done)
    else:
        intruder(done)
    kind_, name, what = (SQLITE if kind == "sqlite" else POSTGRES)[done]
    seen = found(url)
    assert [one for one in seen if (one.kind, one.name) == (kind_, name) and what in one.what], seen
    with Ledger.open(url) as ledger:  # what is recorded is not wrong for it
        verified = ledger.verify()
        assert verified.ok
        assert verified.schema == seen


def test_verify_and_doctor_report_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = new_url("sqlite", tmp_path)
    Intruder(url)("DROP TRIGGER events_no_update")
    Intruder(url)("DROP INDEX ix_events_late")
    assert ended("verify", "--json", "--journal", url) == 0
    output = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in output["schema"]] == ["ix_events_late", "events.events_no_update"]
    assert ended("doctor", "--json", "--journal", url) == 1
    states = {one["check"]: one["state"] for one in json.loads(capsys.readouterr().out)}
    assert (states["triggers"], states["indexes"]) == ("failed", "warning")


def ended(*words):
    with pytest.raises(SystemExit) as ended_:
        main(list(words))
    return ended_.value.code


def test_a_missing_trigger_has_its_name(url):
    Intruder(url).disarm()
    names = missing_triggers_of(url)
    assert any("events_no_" in name for name in names)


def missing_triggers_of(url):
    engine = open_engine(url)
    try:
        return [one.name for one in differences(engine) if one.kind in ("trigger", "function")]
    finally:
        engine.dispose()


def test_tables_of_others_beside_it_are_no_difference(url):
    intruder = Intruder(url)
    intruder("CREATE TABLE notes (id integer primary key, text text)")
    intruder("CREATE INDEX ix_notes ON notes (text)")
    assert found(url) == ()


def test_another_schema_of_postgres_is_no_difference():
    url = new_postgres_url()
    Intruder(url)("ALTER SCHEMA public RENAME TO desk")
    Intruder(url)(f"ALTER DATABASE {url.rpartition('/')[2]} SET search_path = desk")
    assert found(url) == ()


def test_definitions_do_not_depend_on_how_a_file_was_copied(tmp_path):
    url = new_url("sqlite", tmp_path)
    shutil.copy(tmp_path / "journal.db", tmp_path / "copy.db")
    engines = [open_engine(one) for one in (url, str(tmp_path / "copy.db"))]
    assert definitions(engines[0]) == definitions(engines[1])
    for engine in engines:
        engine.dispose()
