"""Only init, import, restore and the demo make a journal; every other command reports that there is none, and makes nothing."""

from __future__ import annotations

import json
import os

import pytest

from ledger.cli import COMMANDS
from tests.e2e.test_commands import Desk
from tests.support.journals import empty_postgres_url

ACCOUNT = "Broker-Live/70113"
#: Command -> arguments that are otherwise right.
ASKED = {
    "account": ("account", "open", ACCOUNT, "--currency", "USD", "--mode", "hedging"),
    "accounts": ("accounts",),
    "positions": ("positions",),
    "trades": ("trades",),
    "balance": ("balance",),
    "log": ("log",),
    "replay": ("replay",),
    "equity": ("equity",),
    "monitors": ("monitors",),
    "explain": ("explain", "balance"),
    "compare": ("compare", ACCOUNT, ACCOUNT),
    "sync": ("sync", "--gateway", "tcp://127.0.0.1:1"),
    "fleet": ("fleet", "status"),
    "drift": ("drift", "--gateway", "tcp://127.0.0.1:1"),
    "status": ("status",),
    "breaks": ("breaks",),
    "orders": ("orders",),
    "order": ("order", "show", "c-1"),
    "halt": ("halt", "--reason", "x"),
    "resume": ("resume", "--reason", "x"),
    "limits": ("limits", "show"),
    "correct": ("correct", "balance", "--to", "1", "--reason", "x", "--account", ACCOUNT, "--yes"),
    "propose": ("propose", "balance", "--to", "1", "--reason", "x", "--account", ACCOUNT),
    "proposals": ("proposals",),
    "approve": ("approve", "v1", "--yes"),
    "reject": ("reject", "v1", "--reason", "x"),
    "policy": ("policy", "show"),
    "note": ("note", "v1", "x"),
    "doctor": ("doctor",),
    "export": ("export", "--out", "x.csv"),
    "backup": ("backup", "copy.db"),
    "seal": ("seal",),
    "archive": ("archive", "--out", "archived"),
    "verify": ("verify",),
    "incidents": ("incidents",),
    "report": ("report",),
    "derive": ("derive",),
    "metrics": ("metrics",),
    "page": ("page", "--port", "0"),
    "alert": ("alert", "--once"),
}
#: Without a channel there is nothing to notify.
SETTINGS = '[alerts]\nroutes = [["desk"]]\n[alerts.channels.desk]\ntype = "command"\ncommand = ["true"]\n'
MAKES_ONE = {"init", "import", "restore"}
NEEDS_NONE = {"directory", "gateway", "keys", "sandbox"}


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    assert desk.process("keys", "seal").returncode == 0
    return desk


def test_every_command_is_looked_at():
    assert set(ASKED) | MAKES_ONE | NEEDS_NONE == set(COMMANDS)


@pytest.mark.parametrize("command", ASKED)
def test_a_mistyped_journal_is_not_made(command, desk):
    if command == "alert":  # it has no work without a channel
        (desk.folder / "ledger.toml").write_text(SETTINGS, encoding="utf-8")
    before = sorted(desk.folder.rglob("*"))
    done = desk.process(*ASKED[command], "--journal", "sqlite:///dekc.db")
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "there is no journal at sqlite:///dekc.db" in done.stdout + done.stderr
    assert sorted(desk.folder.rglob("*")) == before


def test_an_empty_database_is_no_journal(desk):
    done = desk.process("positions", "--journal", empty_postgres_url())
    assert done.returncode == 2
    assert "there is no journal at postgresql+psycopg://" in done.stderr


def test_what_looks_like_a_url_makes_nothing_and_shows_no_password(desk):
    for command in ("init", "positions", "doctor", "status", "verify"):
        done = desk.process(command, "--journal", "postgresql//ann:S3cr3t@host/desk")
        assert done.returncode in (1, 2)
        assert "S3cr3t" not in done.stdout + done.stderr
    assert {path.name for path in desk.folder.iterdir()} == {"keys"}


@pytest.mark.parametrize(
    ("command", "url"),
    [
        ("positions", "postgresql://ann@127.0.0.1:1/desk?password=S3cr3t"),
        ("doctor", "postgresql://ann@127.0.0.1:1/desk?sslpassword=S3cr3t&sslcert=/no/S3cr3t.pem"),
        ("status", "postgresql://ann:S3cr3t@127.0.0.1:port/desk"),
        ("sync", "postgresql://ann:S3cr3t@127.0.0.1:port/desk"),
        ("doctor", "postgresql://ann:S3cr3t@127.0.0.1:port/desk"),
        ("init", "postgresql://ann:S3cr3t@127.0.0.1:1/desk"),
    ],
)
def test_no_command_shows_a_password(command, url, desk):
    words = ("sync", "--gateway", "tcp://127.0.0.1:1") if command == "sync" else (command,)
    done = desk.process(*words, journal=False, LEDGER_JOURNAL=url)
    assert done.returncode in (1, 2, 3)
    assert "S3cr3t" not in done.stdout + done.stderr
    assert "desk" in done.stdout + done.stderr  # what it was about is shown


def test_import_and_init_make_one(desk):
    desk.run("init")
    assert json.loads(desk.run("accounts", "--json")) == []
    assert os.path.exists(desk.journal)  # noqa: PTH110
