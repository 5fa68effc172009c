"""A partitioned journal on Postgres: made, checked, moved, migrated and read; plain and partitioned give the same.

What it records is compared with the other journals by ``tests/property/test_journals_agree.py``; that each partition refuses
to be changed is in ``test_immutability``.
"""

# ruff: noqa: S608, RUF100  # a test looks into every partition
from __future__ import annotations

import json
import re
import shutil
from itertools import count
from pathlib import Path

import psycopg
import pytest

from ledger import BadValue, Event, JournalError, JournalReplaced, Ledger
from ledger.cli import main
from ledger.journal import Selection
from ledger.journal.backup import copy_journal, restore_journal
from ledger.journal.sql import append, migrate, wire
from ledger.journal.sql.create import create_journal
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.partitions import PARTITIONED, count_of, partition_count
from ledger.journal.sql.preflight import definitions, differences, wanted_definitions
from ledger.journal.sql.words import REVISION, account_key, for_postgres
from tests.support.journals import (
    ACCOUNT,
    OTHER,
    PARTITIONS,
    Clock,
    Intruder,
    bare_postgres,
    digest_of,
    empty_postgres_url,
    fill,
    ghost,
    new_partitioned_url,
    new_postgres_url,
    new_url,
    open_journal,
    opened,
)

RAW = b"an answer"
ROLES = (Path(__file__).resolve().parents[2] / "deploy" / "postgres-roles.sql").read_text(encoding="utf-8")
_numbers = count(1)


def recorded(url):
    """Fill a journal with two accounts: many fills at once (a COPY), single ones, evidence, a late one, checkpoints."""
    ledger = Ledger.open(url, now_us=Clock())
    ledger.checkpoint_interval = 20
    for account in (ACCOUNT, OTHER):
        many: list[Event] = [opened(account), *(fill(n, n) for n in range(10, 60)), ghost(12, 70, evidence=digest_of(RAW))]
        ledger.journal.append(account, many, evidence=[RAW])
        for deal in (3, 80, 81):
            ledger.account(account).record(fill(deal, deal))
        assert ledger.account(account).portfolio.positions
    return ledger


def found(url, look):
    engine = open_engine(url)
    try:
        return look(engine)
    finally:
        engine.dispose()


def ended(*words):
    with pytest.raises(SystemExit) as ended_:
        main(list(words))
    return ended_.value.code


# ------------------------------------------------------------------------------------------------------------- it is made


def test_init_makes_it_once(capsys):
    url = empty_postgres_url()
    for did in ("was created", "is ready"):
        assert ended("init", "--partitions", "3", "--journal", url) == 0
        assert f"{did}, in 3 partitions; it holds 0 accounts" in capsys.readouterr().out
    assert ended("init", "--journal", url) == 0  # whoever asks for nothing gets what is there
    assert found(url, differences) == ()
    with bare_postgres(url) as connection:
        assert partition_count(connection) == 3
        for table in PARTITIONED:
            bounds = connection.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass(%s)", [table])
            assert bounds.fetchone() == (3,)


@pytest.mark.parametrize(
    ("new", "found_"), [(new_postgres_url, "is not partitioned"), (new_partitioned_url, "has 4 partitions")]
)
def test_a_journal_that_is_there_is_not_partitioned_otherwise(new, found_, capsys):
    url = new()
    assert ended("init", "--partitions", "8", "--journal", url) != 0
    complaint = " ".join(capsys.readouterr().err.split())
    assert found_ in complaint
    assert "ledger restore FILE --partitions 8" in complaint


@pytest.mark.parametrize("words", [["init"], ["restore", "backup.db"]])
def test_a_file_has_no_partitions(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Ledger.create("backup.db").close()
    assert ended(*words, "--partitions", "8", "--journal", "sqlite:///new.db") == 2
    assert "a SQLite file has no partitions" in " ".join(capsys.readouterr().err.split())
    assert not Path("new.db").exists()


@pytest.mark.parametrize("number", [0, 129])
def test_a_number_that_no_journal_has_is_refused(number):
    with pytest.raises(BadValue, match="1 to 128 partitions, found"):
        create_journal(empty_postgres_url(), partitions=number)


def test_doctor_states_the_number(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for url, seen in ((new_partitioned_url(), "4, by account"), (new_postgres_url(), "none: each table is one")):
        ended("doctor", "--json", "--journal", url)
        checks = {one["check"]: one for one in json.loads(capsys.readouterr().out)}
        assert (checks["partitions"]["state"], checks["partitions"]["seen"]) == ("ok", seen)
        assert checks["triggers"]["state"] == "ok"


def test_each_partition_has_what_a_plain_journal_has():
    """Their definitions are derived of those of the plain one: columns, keys, indexes, triggers with their states."""
    partitioned, plain = (found(url, definitions) for url in (new_partitioned_url(), new_postgres_url()))
    assert plain == wanted_definitions("postgresql")
    assert (count_of(partitioned), count_of(plain)) == (PARTITIONS, 0)
    for name in ("trigger events_p3.events_no_truncate", "trigger events_p3.events_no_change", "constraint events_p3.pk_events",
                 "index events_p3.ix_events_late", "column events_p3.hash"):  # fmt: skip
        kind, _, rest = name.partition(" ")
        whole = name.replace("events_p3.", "" if kind == "index" else "events.")
        assert partitioned[name] == partitioned[whole] == plain[whole], rest


def test_the_schema_may_have_another_name():
    url = new_partitioned_url()
    Intruder(url)('ALTER SCHEMA public RENAME TO "my desk"')
    Intruder(url)(f"""ALTER DATABASE {url.rpartition("/")[2]} SET search_path = 'my desk'""")
    assert found(url, differences) == ()


# ------------------------------------------------------------------------------------------ what somebody did to one of them

#: What somebody does -> what is found: kind, name, what.
DONE = {
    "DROP TRIGGER events_no_truncate ON events_p2": ("trigger", "events_p2.events_no_truncate", "missing"),
    "ALTER TABLE events_p1 ENABLE TRIGGER events_no_change": ("trigger", "events_p1.events_no_change", "enabled O"),
    "ALTER TABLE evidence_p0 DISABLE TRIGGER evidence_no_change": ("trigger", "evidence_p0.evidence_no_change", "enabled D"),
    "CREATE RULE swallow AS ON INSERT TO evidence_p1 DO INSTEAD NOTHING": ("rule", "evidence_p1.swallow", "none of ours"),
    "ALTER TABLE evidence_p2 SET UNLOGGED": ("table", "evidence_p2", "it was changed"),
    "ALTER TABLE checkpoints DETACH PARTITION checkpoints_p3": ("table", "checkpoints_p3", "it was changed"),
    "DROP TABLE checkpoints_p1": ("table", "checkpoints_p1", "missing"),
}


def test_verify_and_doctor_name_the_partition(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = new_partitioned_url()
    for statement in DONE:
        Intruder(url)(statement)
    seen = found(url, differences)
    for kind, name, what in DONE.values():
        assert [one for one in seen if (one.kind, one.name) == (kind, name) and what in one.what], (kind, name, seen)
    assert ended("verify", "--json", "--journal", url) == 0
    assert {one["name"] for one in json.loads(capsys.readouterr().out)["schema"]} == {one.name for one in seen}
    assert ended("doctor", "--json", "--journal", url) == 1
    states = {one["check"]: one for one in json.loads(capsys.readouterr().out)}
    assert states["triggers"]["state"] == "failed"
    assert "events_p2.events_no_truncate" in states["triggers"]["seen"]


def test_a_trigger_made_again_by_its_text_is_found():
    """Its text does not state that it fires always."""
    url = new_partitioned_url()
    intruder = Intruder(url)
    ((text,),) = intruder("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'events_p0'::regclass "
                          "AND tgname = 'events_no_truncate'")  # fmt: skip
    intruder("DROP TRIGGER events_no_truncate ON events_p0")
    intruder(text)
    (one,) = found(url, differences)
    assert (one.name, one.is_protecting) == ("events_p0.events_no_truncate", True)
    intruder("ALTER TABLE events_p0 ENABLE ALWAYS TRIGGER events_no_truncate")
    assert found(url, differences) == ()


# ------------------------------------------------------------------------------------------------------------ it is moved


def test_a_journal_moves_into_partitions_and_back_by_backup_and_restore(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain, partitioned, again = new_postgres_url(), empty_postgres_url(), empty_postgres_url()
    with recorded(plain) as ledger:
        heads = ledger.journal.heads()
    assert ended("backup", "one.db", "--journal", plain) == 0
    assert ended("restore", "one.db", "--partitions", str(PARTITIONS), "--journal", partitioned) == 0
    assert ended("backup", "two.db", "--journal", partitioned) == 0
    assert ended("restore", "two.db", "--journal", again) == 0
    capsys.readouterr()
    for url, partitions in ((partitioned, PARTITIONS), (again, 0)):
        assert ended("verify", "--json", "--journal", url) == 0
        assert json.loads(capsys.readouterr().out)["schema"] == []
        assert count_of(found(url, definitions)) == partitions
        with Ledger.open(url) as ledger:
            assert ledger.journal.heads() == heads
            assert ledger.account(ACCOUNT).evidence(digest_of(RAW)) == RAW


def test_a_copy_that_was_begun_goes_on_with_its_own_partitions_only(tmp_path):
    url = empty_postgres_url()

    def fail(_events):
        raise KeyboardInterrupt

    with recorded(new_url("sqlite", tmp_path)) as ledger:
        with pytest.raises(KeyboardInterrupt):
            restore_journal(ledger.journal, url, Clock(), fail, partitions=PARTITIONS)
        with pytest.raises(JournalError, match="has 4 partitions, and 2 were asked for"):
            restore_journal(ledger.journal, url, Clock(), partitions=2)
        assert restore_journal(ledger.journal, url, Clock(), partitions=PARTITIONS).heads == ledger.journal.heads()


# --------------------------------------------------------------------------------------------------------- it is migrated

#: What a later migration may do: all forms that were ever needed, and a table made anew.
MIGRATION = '''
"""A later one."""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "9999", "{before}", None, None

def upgrade():
    op.add_column("events", sa.Column("later", sa.BigInteger))
    op.create_index("ix_events_later", "events", ["account_id", "later"], unique=True, postgresql_where=sa.text("later > 0"))
    op.execute("ALTER TABLE events DISABLE TRIGGER events_no_change")
    op.execute("GRANT UPDATE ON events TO CURRENT_USER")
    op.execute("UPDATE events SET later = version")
    op.execute("REVOKE UPDATE ON events FROM CURRENT_USER")
    op.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_change")
    op.execute("CREATE TRIGGER evidence_no_words BEFORE UPDATE ON evidence FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()")
    op.execute("ALTER TABLE evidence ENABLE ALWAYS TRIGGER evidence_no_words")
    op.drop_table("checkpoints")
    op.create_table(
        "checkpoints",
        sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_checkpoints_account_id"),
    )
    op.execute("CREATE TRIGGER checkpoints_no_truncate BEFORE TRUNCATE ON checkpoints FOR EACH STATEMENT "
               "EXECUTE FUNCTION ledger_refuse()")
'''


@pytest.fixture
def later(tmp_path, monkeypatch):
    """Add a migration behind the last one, which the program then asks for."""
    folder = shutil.copytree(migrate.scripts(), tmp_path / "migrations")
    text = MIGRATION.replace("{before}", REVISION)
    (folder / "versions" / "9999_later.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(migrate, "scripts", lambda: folder)
    for module in ("engine", "migrate"):
        monkeypatch.setattr(f"ledger.journal.sql.{module}.REVISION", "9999")


@pytest.mark.usefixtures("later")
def test_a_later_migration_holds_for_every_partition(monkeypatch):
    plain, partitioned = new_postgres_url(), new_partitioned_url()
    with bare_postgres(partitioned) as connection:  # what somebody dropped stays missing: it is for doctor to report
        connection.execute("DROP TRIGGER events_no_truncate ON events_p2")
    for url in (plain, partitioned):
        fill_in(url)
        assert found(url, migrate.migrate) is not None
    wanted = found(plain, definitions)
    monkeypatch.setattr("ledger.journal.sql.preflight.wanted_definitions", lambda _: wanted)
    assert {(one.kind, one.name, one.what) for one in found(partitioned, differences)} == {
        ("trigger", "events_p2.events_no_truncate", "it is missing")
    }
    with bare_postgres(partitioned) as connection:
        assert partition_count(connection) == PARTITIONS
        assert connection.execute("SELECT count(*) FROM events WHERE later = version").fetchone() == (4,)
        for number in range(PARTITIONS):
            with pytest.raises(psycopg.errors.RaiseException, match="immutable"):
                connection.execute(f"UPDATE evidence_p{number} SET size = 1 WHERE false")


def fill_in(url):
    """Record something by the tables of before; the program with the later migration would refuse to open them."""
    journal = open_journal(url, Clock())
    for account in (ACCOUNT, OTHER):
        journal.append(account, [opened(account), fill(1, 1)])
    journal.close()


def test_members_of_the_owners_migrate_it_and_nobody_truncates_it():
    url, number = empty_postgres_url(), next(_numbers)
    members = {role: f"parts_{role}_{number}" for role in ("first", "second", "writer", "reader")}
    with bare_postgres(url) as superuser:
        superuser.execute(ROLES)
        for role, name in members.items():
            group = "owner" if role in ("first", "second") else role
            superuser.execute(f"CREATE ROLE {name} LOGIN IN ROLE ledger_{group}")
    urls = {role: url.replace("postgres@", f"{name}@") for role, name in members.items()}
    create_journal(urls["first"], partitions=PARTITIONS)
    with bare_postgres(url) as superuser:
        superuser.execute(ROLES)
        superuser.execute(ROLES)  # harmless when repeated
    recorded(urls["writer"]).close()
    with Ledger.open(urls["reader"]) as ledger:
        assert ledger.verify().ok
        assert ledger.verify().schema == ()
    with bare_postgres(urls["second"]) as owner:
        owner.execute("ALTER TABLE events ADD COLUMN later bigint")
        owner.execute("CREATE INDEX ix_later ON events (account_id, later)")
    for role in ("second", "writer", "reader"):
        with bare_postgres(urls[role]) as connection:
            for name in ("events", *(f"events_p{n}" for n in range(PARTITIONS))):
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)):
                    connection.execute(f"TRUNCATE {name}")


# ------------------------------------------------------------------------------------------------------------- it is read


def touched(url):
    """Name the partitions that were read or written, by the server's own counts, once nobody else is connected."""
    with bare_postgres(url) as connection:
        while connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone():
            pass
        rows = connection.execute(
            "SELECT relname FROM pg_stat_user_tables WHERE relname ~ '_p[0-9]+$' "
            "AND seq_scan + coalesce(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del > 0"
        )
        return {name for (name,) in rows.fetchall()}


def test_all_that_is_done_with_an_account_touches_its_partitions_alone():
    url = new_partitioned_url()
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.checkpoint_interval = 10
        account = ledger.account(ACCOUNT)
        many: list[Event] = [opened(), *(fill(n, n) for n in range(10, 60)), ghost(12, 70, evidence=digest_of(RAW))]
        ledger.journal.append(ACCOUNT, many, evidence=[RAW])
        for deal in range(80, 95):  # as often as it takes until statements have a plan for any values
            account.record(fill(deal, deal))
        assert account.portfolio.positions
        assert account.evidence(digest_of(RAW)) == RAW
        assert account.replay(version=30).positions
        assert account.derived.catch_up()
        assert len(list(ledger.journal.rows(ACCOUNT))) == len(list(account.events()))
        ledger.journal.count_outside_fold(ACCOUNT, Selection(version=40))
    assert {one.partition("_p")[2] for one in touched(url)} == {number_of(url, ACCOUNT)}
    assert {one.partition("_p")[0] for one in touched(url)} == {*PARTITIONED}


def number_of(url, account):
    """Return which partition Postgres has put an account into."""
    with bare_postgres(url) as connection:
        ((table,),) = connection.execute(
            "SELECT DISTINCT tableoid::regclass::text FROM events WHERE account_id = %s", [account_key(account)]
        ).fetchall()
    return str(table).partition("_p")[2]


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_the_statement_that_inserts_one_event_reads_one_partition(mode):
    """By the plan that is made for any values, and by the one for these."""
    url = new_partitioned_url()
    with recorded(url) as ledger:
        row = next(ledger.journal.rows(ACCOUNT, after=1))
    with bare_postgres(url) as connection:
        connection.execute(f"SET plan_cache_mode = {mode}")
        connection.execute(f"PREPARE one ({', '.join(('int8', *wire._TYPES, 'int8', 'int8'))}) AS {wire._INSERT}")
        values = [account_key(ACCOUNT), *row, 0, 0]
        statement = f"EXPLAIN EXECUTE one ({', '.join(['%s'] * len(values))})"
        plan = "\n".join(line for (line,) in psycopg.ClientCursor(connection).execute(statement, values).fetchall())
    assert re.findall(r" on (events_p\d+)", plan) == [f"events_p{number_of(url, ACCOUNT)}"]
    assert ("Subplans Removed: 3" in plan) == (mode == "force_generic_plan")


def test_what_is_asked_before_one_event_is_inserted_reads_one_partition():
    url = new_partitioned_url()
    recorded(url).close()
    key = account_key(ACCOUNT)
    with bare_postgres(url) as connection:
        rows = connection.execute(f"EXPLAIN {for_postgres(append._SEEN)}", [key, key, "deal:10", key]).fetchall()
    read = re.findall(r" on (events_p\d+)", "\n".join(line for (line,) in rows))
    assert read == [f"events_p{number_of(url, ACCOUNT)}"] * 2


def test_plain_and_partitioned_give_the_same(tmp_path):
    """Also what is made of events: derived tables, segments, notifications of followers, checkpoints, an export's rows."""
    answers = []
    for kind in ("postgres", "partitioned"):
        url = new_url(kind, tmp_path)
        with recorded(url) as ledger, Ledger.open(url, segments=tmp_path / kind) as reader:
            account = reader.account(ACCOUNT)
            followed = account.follow(after=account.version)
            ledger.account(ACCOUNT).record(fill(99, 99))
            assert next(followed).version == account.version
            del followed
            account.derived.catch_up()
            account.derived.pack()
            answers.append(
                (
                    reader.journal.heads(),
                    list(reader.journal.checkpoints(ACCOUNT)),
                    account.replay().state(),
                    account.replay(checkpoints=False).state(),
                    list(account.derived.bookings()),
                    [list(reader.journal.rows(one)) for one in (ACCOUNT, OTHER)],
                )
            )
            copy = tmp_path / f"{kind}.db"
            assert copy_journal(reader.journal, str(copy), Clock()).heads == reader.journal.heads()
    assert answers[0] == answers[1]


# ---------------------------------------------------------------------------------- an older copy of it in its place


def test_a_partitioned_journal_that_lost_its_tail_is_noticed():
    url = new_partitioned_url()
    with recorded(url) as ledger:
        intruder = Intruder(url)
        for table in ("events", "heads", *(f"events_p{n}" for n in range(PARTITIONS))):
            intruder(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        key = account_key(ACCOUNT)
        intruder("DELETE FROM events WHERE account_id = ? AND version > 50", key)
        intruder("UPDATE heads SET version = 50, hash = (SELECT hash FROM events e WHERE e.account_id = heads.account_id "
                 "AND e.version = 50) WHERE account_id = ?", key)  # fmt: skip
        with pytest.raises(JournalReplaced, match="was recorded here and is not in the journal any more"):
            ledger.account(ACCOUNT).record(fill(200, 200))
