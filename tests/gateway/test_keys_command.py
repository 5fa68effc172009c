"""``ledger keys``: from nothing to a client that is let in."""

from __future__ import annotations

import json

import pytest

from ledger.cli import main
from ledger.gateway.client import ZmqGateway
from ledger.gateway.curve import load_client_keys
from tests.gateway.terminals import GIVE_UP_SEC, Terminal, echoing


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def command(*words, code=0):
        with pytest.raises(SystemExit) as left:
            main(["keys", *words])
        printed = capsys.readouterr()
        assert left.value.code == code, printed
        return printed.out + printed.err

    return command


def test_the_keys_that_are_made_are_accepted_by_a_server(run, tmp_path):
    run("make", "server", "--dir", ".")
    run("make", "desk")
    run("authorise", "keys/desk.key")
    (one,) = json.loads(run("list", "--json", "--dir", "authorised"))
    assert (one["file"], len(one["public_key"])) == ("desk.key", 40)
    assert "desk.key" in run("list")
    keys = load_client_keys(tmp_path / "keys" / "desk.key_secret", tmp_path / "server.key")
    server = Terminal(echoing, keys=tmp_path)
    with server, ZmqGateway(server.endpoint, timeout_ms=round(GIVE_UP_SEC * 1000), keys=keys) as gateway:
        assert gateway.positions().is_extended


def test_no_secret_is_ever_printed(run, tmp_path):
    printed = run("make", "desk")
    secret = (tmp_path / "keys" / "desk.key_secret").read_text().split('secret-key = "')[1][:40]
    run("authorise", "keys/desk.key")
    assert secret not in printed + run("list") + run("list", "--json")


def test_keys_that_exist_and_files_that_hold_none_are_wrong_use(run, tmp_path):
    run("make", "desk")
    assert "never overwritten" in run("make", "desk", code=2)
    (tmp_path / "notes.key").write_text("none")
    assert "expected a file of keys" in run("authorise", "notes.key", code=2)
    assert "public one" in run("authorise", "keys/desk.key_secret", code=2)
    assert "none in authorised" in run("list", "--dir", "authorised")
