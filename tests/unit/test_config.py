"""Settings: from which file, written by whom, and with which names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ledger import BadValue, Ledger
from ledger.config import find, read
from tests.gateway.terminals import Terminal, plain
from tests.support.commands import run

GOOD = '[gateway]\nurl = "tcp://127.0.0.1:5555"\n[policy]\nzombie = "report"\nmagics = [7]\n'


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The current folder, and another one with a journal."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    monkeypatch.chdir(here)
    for name in ("LEDGER_JOURNAL", "GTW_HOST", "GTW_PORT", "GTW_TIMEOUT_MS", "SYNC_INTERVAL_SEC"):
        monkeypatch.delenv(name, raising=False)
    Ledger.create(f"sqlite:///{there}/desk.db").close()
    return here, there


def written(folder: Path, text: str, name: str = "ledger.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    path.chmod(0o644)
    return path


# ------------------------------------------------------------------------------------------------------- which file


def test_the_file_beside_a_sqlite_journal_is_read_and_that_of_the_current_folder_is_not(folders):
    here, there = folders
    other = written(here, '[policy]\nzombie = "halt"\n')
    mine = written(there, GOOD)
    found = find(config=None, journal=f"sqlite:///{there}/desk.db")
    assert (found.path, found.left_alone, found.policy.zombie.value) == (mine, other, "report")
    mine.unlink()
    found = find(config=None, journal=f"sqlite:///{there}/desk.db")
    assert (found.path, found.left_alone, found.policy.zombie.value) == (None, other, "adopt")


def test_for_postgres_only_a_file_that_is_named_counts(folders):
    here, _ = folders
    other = written(here, GOOD)
    found = find(config=None, journal="postgresql+psycopg://host/db")
    assert (found.path, found.left_alone, dict(found.gateway)) == (None, other, {})
    found = find(config=other, journal="postgresql+psycopg://host/db")
    assert (found.path, found.left_alone) == (other, None)


def test_a_named_file_beats_the_one_beside_the_journal(folders):
    here, there = folders
    written(there, '[policy]\nzombie = "halt"\n')
    mine = written(here, GOOD, "desk.toml")
    assert find(config=Path("desk.toml"), journal=f"sqlite:///{there}/desk.db").path == mine
    with pytest.raises(BadValue, match="there is no file"):
        find(config=Path("none.toml"), journal=None)


def test_the_file_of_the_current_folder_names_a_journal_that_nothing_else_names(folders):
    here, there = folders
    mine = written(here, f'journal = "sqlite:///{there}/desk.db"\n{GOOD}')
    found = find(config=None, journal=None)
    assert (found.path, found.journal) == (mine, f"sqlite:///{there}/desk.db")
    written(there, GOOD)
    with pytest.raises(BadValue, match="has settings of its own"):
        find(config=None, journal=None)


def test_paths_are_relative_to_the_file(folders):
    here, there = folders
    path = written(
        there, 'journal = "sqlite:///desk.db"\n[gateway]\nserver_key = "keys/gateway.key"\n[seal]\nkey = "/k/seal.pem"\n'
    )
    found = find(config=path, journal=None)
    assert found.journal == f"sqlite:///{there}/desk.db"
    assert found.gateway["server_key"] == f"{there}/keys/gateway.key"
    assert found.seal_key == "/k/seal.pem"
    assert here == Path.cwd()


def test_an_operator_has_one_public_key_or_several(folders):
    _, there = folders
    path = written(there, '[approvals.keys]\nann = "keys/ann.pub.pem"\n"b ob" = ["/k/1.pub.pem", "2.pub.pem"]\n')
    assert find(config=path, journal=None).operator_keys == {
        "ann": (there / "keys/ann.pub.pem",),
        "b ob": (Path("/k/1.pub.pem"), there / "2.pub.pem"),
    }
    (there / "2.pub.pem").touch()
    (there / "2.pub.pem").chmod(0o666)
    with pytest.raises(BadValue, match=r"others can write to .*2\.pub\.pem .* whose approvals count"):
        read(path)


@pytest.mark.parametrize("command", ["sync", "drift"])
@pytest.mark.parametrize("where", ["before", "behind", "environment"])
def test_a_gateway_of_the_current_folder_is_not_asked_about_a_journal_elsewhere(command, where, folders, monkeypatch):
    here, there = folders
    url = f"sqlite:///{there}/desk.db"
    with Terminal(plain) as gateway:
        other = written(here, f'[gateway]\nurl = "{gateway.endpoint}"\n')
        if where == "environment":
            monkeypatch.setenv("LEDGER_JOURNAL", url)
        words = {"before": ["--journal", url, command], "behind": [command, "--journal", url], "environment": [command]}[where]
        ran = run(*words)
        assert gateway.asked == []
    assert ran.code == 2
    assert "which gateway?" in ran.text
    assert f"{other} is not read" in ran.text


def test_commands_state_which_file_they_read(folders):
    _, there = folders
    url = f"sqlite:///{there}/desk.db"
    with Ledger.open(url) as ledger:
        ledger.account("Broker", 7).open(currency="USD", mode="hedging")
    with Terminal(plain) as gateway:
        mine = written(there, f'[gateway]\nurl = "{gateway.endpoint}"\n')
        for command in ("sync", "drift"):
            ran = run(command, "--json", journal=url)
            assert ran.err.decode() == f"ledger: settings from {mine}\n"
            ran.json()
        settings = [one for one in run("doctor", "--json", journal=url).json() if one["check"] == "settings"]
    assert (settings[0]["state"], settings[0]["seen"]) == ("ok", f"settings from {mine}")


# --------------------------------------------------------------------------------------------------------- what it holds


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("[polcy]\n", "there is no table or setting 'polcy'. Did you mean policy?"),
        ("jurnal = 'x'\n", "Did you mean journal?"),
        ("[policy]\nzombies = 'report'\n", "there is no setting in [policy] 'zombies'. Did you mean zombie?"),
        ("[gateway]\nserverkey = 'x'\n", "Did you mean server_key?"),
        ("[gateways.\"A/1\"]\nurls = 'x'\n", "Did you mean url?"),
        ("[sync]\ninterval = 5\n", "Did you mean interval_sec?"),
        ("[seal]\nqqqqqq = 5\n", "There are: key"),
        ("[approvals]\nkey = 5\n", "Did you mean keys?"),
        ("[approvals.keys]\nann = 5\n", "approvals.keys"),
        ("[sync]\ninterval_sec = 0\n", "sync.interval_sec"),
        ("[sync]\ninterval_sec = 'x'\n", "sync.interval_sec: expected `float | null`, got `str`"),
        ("[sync]\ninterval_sec = nan\n", "sync.interval_sec"),
        ("[marks]\nkeep = 5\n", "Did you mean keep_days?"),
        ("[marks]\nkeep_days = 1\n", "marks.keep_days"),
        ("[gateway]\ntimeout_ms = 'soon'\n", "gateway.timeout_ms"),
        ("[gateway]\nform = 'xml'\n", "gateway.form"),
        ("gateway = 5\n", "gateway: expected `object`"),
        ("[gateways]\nA = 5\n", "expected `object`"),
        ('[gateways."no login"]\nurl = "x"\n', "SERVER/LOGIN"),
        ("[policy]\nzombie = 'x'\n", "expected one of adopt"),
        ("[policy]\nverified_sec = nan\n", "verified_sec is a number from 0"),
        ("[policy]\nmagics = 5\n", "magics as a list of magic numbers"),
        ("what\n", "expected TOML"),
        ("a\x00b", "expected TOML"),
    ],
)
def test_what_it_cannot_hold_is_refused_by_name(text, output, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(BadValue) as refused:
        read(path)
    assert output in str(refused.value)
    assert str(refused.value).startswith(str(path))


# ---------------------------------------------------------------------------------------------------------- who wrote it


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646, 0o777])
def test_a_file_that_others_can_write_is_refused(mode, tmp_path):
    path = written(tmp_path, GOOD)
    path.chmod(mode)
    with pytest.raises(BadValue, match=r"others can write to .*chmod go-w"):
        read(path)


def test_a_file_of_somebody_else_is_refused(tmp_path, monkeypatch):
    path = written(tmp_path, GOOD)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1 if os.getuid() else 12345)
    if os.getuid():
        with pytest.raises(BadValue, match="belongs to user"):
            read(path)
        return
    assert read(path).policy.zombie.value == "report"  # root's own is fine for everybody
    os.chown(path, 54321, -1)
    with pytest.raises(BadValue, match="belongs to user 54321"):
        read(path)


def test_json_stays_json_where_a_file_is_refused(folders):
    _, there = folders
    written(there, "[polcy]\n")
    checks = run("doctor", "--json", journal=f"sqlite:///{there}/desk.db")
    assert checks.code == 1
    assert [one["state"] for one in json.loads(checks.out) if one["check"] == "settings"] == ["failed"]
