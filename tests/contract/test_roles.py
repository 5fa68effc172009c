"""The roles that are shipped for Postgres: the owner migrates, the writer appends, the reader reads, and no more."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from ledger import JournalError, JournalUnavailable, Ledger
from ledger.cli import main
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.migrate import migrate
from ledger.page.source import Source
from ledger.seals import create
from tests.support.journals import ACCOUNT, bare_postgres, digest_of, empty_postgres_url, fill, ghost, opened, shared_postgres
from tests.support.page_server import PageServer, account_path
from tools.testkit.postgres import start_postgres

ROLES = (Path(__file__).resolve().parents[2] / "deploy" / "postgres-roles.sql").read_text(encoding="utf-8")
RAW = b"{}"
TABLES = (
    "accounts", "events", "evidence", "seals", "heads", "identity", "parents", "checkpoints", "sync_health", "marks",
    "equity_minute", "equity_day", "sent_notices", "followers", "summaries", "open_positions", "closed_trades", "bookings",
    "balance_curve", "upkeep", "fleet_gateways", "fleet_leases", "alembic_version", "origins",
)  # fmt: skip
#: What a writer replaces and deletes, as no event is in it.
REPLACED = (
    "marks", "equity_minute", "equity_day", "sent_notices", "followers", "summaries", "open_positions", "closed_trades",
    "bookings", "balance_curve", "fleet_gateways", "fleet_leases",
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


def recorded(url):
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 30)), ghost(1, 40, evidence=digest_of(RAW))],
                              evidence=[RAW])  # fmt: skip
        ledger.checkpoint_interval = 5
        assert len(ledger.account(ACCOUNT).portfolio.positions) == 28
        return ledger.account(ACCOUNT).version


def test_a_writer_does_everything_that_engines_do(desk):
    assert recorded(desk["writer"]) == 31
    with Ledger.open(desk["writer"]) as ledger:
        ledger.account(ACCOUNT).record(fill(99, 2.5))
        assert list(ledger.journal.checkpoints(ACCOUNT))
        assert ledger.account(ACCOUNT).evidence(digest_of(RAW)) == RAW
        assert ledger.verify().ok


def test_a_reader_sees_everything_and_writes_nothing(desk):
    recorded(desk["writer"])
    with Ledger.open(desk["reader"]) as ledger:
        ledger.checkpoint_interval = 1
        account = ledger.account(ACCOUNT)
        assert account.replay(version=20).state() == account.replay(version=20, checkpoints=False).state()
        assert [version for version, _ in zip(range(1, 32), account.follow(), strict=False)] == list(range(1, 32))
        assert ledger.verify().ok
        with pytest.raises(JournalError, match="no right"):
            account.record(fill(99, 99))
        assert account.version == 31


def test_a_reader_gets_answers_from_derived_tables_that_a_writer_makes(desk, monkeypatch):
    recorded(desk["writer"])
    with Ledger.open(desk["writer"]) as ledger, Ledger.open(desk["reader"]) as reader:
        account = reader.account(ACCOUNT)
        with pytest.raises(JournalError, match="no right"):
            account.derived.catch_up()
        monkeypatch.setattr("ledger.derived.fold.DerivedFold.fold", None)  # it finds out before it folds
        assert account.derived.fresh() == (0, 31)
        monkeypatch.undo()
        ledger.account(ACCOUNT).derived.catch_up()
        assert account.derived.fresh() == (31, 31)
        ledger.account(ACCOUNT).record(fill(99, 2.5))
        lag = account.derived.fresh()
        assert (lag.version, lag.events) == (31, 1)
        assert account.derived.read(lambda row: (row.version, len(list(account.derived.bookings())))) == (31, 29)
        assert ledger.account(ACCOUNT).derived.rebuild().version == 32
        assert ledger.account(ACCOUNT).derived.drop()


@pytest.mark.parametrize("role", ["owner", "writer", "reader"])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "TRUNCATE"])
def test_nobody_changes_what_is_recorded(verb, table, role, desk):
    recorded(desk["writer"])
    statements = {
        "UPDATE": sql.SQL("UPDATE {} SET {column} = {column}"),
        "DELETE": sql.SQL("DELETE FROM {}"),
        "TRUNCATE": sql.SQL("TRUNCATE {} CASCADE"),
    }
    columns = {
        "seals": "body", "identity": "journal_id", "parents": "heads", "alembic_version": "version_num", "sent_notices": "key",
        "upkeep": "kind", "fleet_gateways": "gateway",
    }  # fmt: skip
    column = columns.get(table, "account_id")
    allowed = (
        (role == "owner" and table in ("checkpoints", "sync_health", "upkeep", "alembic_version", *REPLACED))
        or (role == "writer" and table in REPLACED and verb in ("UPDATE", "DELETE"))
        or (role, table, verb)
        in (("writer", "checkpoints", "DELETE"), ("writer", "sync_health", "UPDATE"), ("writer", "upkeep", "UPDATE"))
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

    recorded(desk["writer"])
    with Ledger.open(desk["reader"]) as ledger:
        seal = create(ledger.journal, Ed25519PrivateKey.generate(), ledger.now_us())
        assert ledger.verify(since=seal).ok
        assert ledger.journal.seals() == []


# ---- as the file describes, with logins and passwords


@pytest.fixture
def logins():
    """A server that asks for passwords, and members of each role as the file's head describes: name -> URL."""
    with start_postgres() as server:
        url = server.create_database()
        name = url.rpartition("/")[2]
        with bare_postgres(url) as superuser:
            superuser.execute(ROLES)
            for member, role in (("migrator", "owner"), ("second", "owner"), ("engine", "writer"), ("auditor", "reader")):
                superuser.execute(f"CREATE ROLE {member} LOGIN PASSWORD 'pw-{member}' IN ROLE ledger_{role}")
            rules = server._data / "pg_hba.conf"
            asked = f"host {name} migrator,second,engine,auditor 127.0.0.1/32 scram-sha-256\n"
            rules.write_text(asked + rules.read_text())
            superuser.execute("SELECT pg_reload_conf()")
            while not superuser.execute("SELECT 1 FROM pg_hba_file_rules WHERE 'engine' = ANY(user_name)").fetchone():
                pass
        at = url.partition("@")[2]
        yield {one: f"postgresql+psycopg://{one}:pw-{one}@{at}" for one in ("migrator", "second", "engine", "auditor")} | {
            "superuser": url
        }


def test_the_steps_of_the_file_work_with_real_logins(logins):
    with pytest.raises(JournalUnavailable, match="user or password"):
        Ledger.create(logins["engine"].replace("pw-engine", "wrong"))
    with pytest.raises(JournalError, match="no right"):
        Ledger.create(logins["engine"])  # a writer makes no journal
    with pytest.raises(SystemExit) as ended:
        main(["init", "--journal", logins["migrator"]])
    assert ended.value.code == 0
    with bare_postgres(logins["superuser"]) as superuser:
        superuser.execute(ROLES)
        superuser.execute(ROLES)  # harmless when repeated
        owners = superuser.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert owners == [("ledger_owner",)]
    assert recorded(logins["engine"]) == 31
    with Ledger.open(logins["auditor"]) as ledger:
        assert ledger.verify().ok
        assert ledger.verify().schema == ()
        with pytest.raises(JournalError, match="no right"):
            ledger.account(ACCOUNT).record(fill(99, 99))
    with bare_postgres(logins["second"]) as another_owner:  # can migrate what the first one create, and change nothing recorded
        another_owner.execute("ALTER TABLE checkpoints ADD COLUMN later int")
        with pytest.raises((errors.InsufficientPrivilege, errors.RaiseException)):
            another_owner.execute("DELETE FROM events")


def test_what_is_granted_covers_every_table(logins):
    """A new table comes with its line in deploy/postgres-roles.sql."""
    Ledger.create(logins["migrator"]).close()
    with bare_postgres(logins["superuser"]) as superuser:
        superuser.execute(ROLES)
        named = {name for (name,) in superuser.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        for role in ("ledger_writer", "ledger_reader"):
            for name in named:
                assert superuser.execute("SELECT has_table_privilege(%s, %s, 'SELECT')", [role, name]).fetchone() == (True,)


def test_a_page_reads_as_the_reader_and_appends_as_the_writer(desk):
    recorded(desk["writer"])
    with bare_postgres(desk["writer"]) as connection:  # nothing is folded for it yet
        connection.execute("DELETE FROM checkpoints")
    path = account_path(ACCOUNT)
    with PageServer(Source.open(desk["reader"], desk["writer"]), allow_writes=True) as page:
        for part in ("", "/steps", "/curve", "/log", "/notable", "/trades", "/report", "/explain", "/incidents", "/equity"):
            assert page.get(f"{path}{part}")
        assert page.get("/api/overview")["rows"]
        assert page.get("/api/health")["checks"]
        proposal = {"correction": {"what": "close", "position_id": 5}, "reason": "it is gone"}
        made = page.post(f"{path}/proposals", proposal, who="ann operator")
        assert made.status == 200, made
        assert [one["operator"] for one in page.get(path)["proposals"]] == ["ann"]
    with PageServer(Source.open(desk["reader"], desk["reader"]), allow_writes=True) as page:
        refused = page.post(f"{path}/proposals", proposal | {"reason": "again"}, who="bob operator")
        assert refused.status == 409, refused
