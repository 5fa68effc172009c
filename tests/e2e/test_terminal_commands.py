"""Commands with a terminal in the same process: sync and drift with it, and a checklist of what it does."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from ledger import Ledger
from ledger.testing import FakeSettings, fake_mt5
from tests.gateway.scripted_mt5 import NO_CONNECTION, ScriptedMt5, deal, position
from tests.support.commands import run

FOLDER = "C:\\Terminal"
PROGRAM = "C:\\Terminal\\terminal64.exe"


@pytest.fixture
def terminal(monkeypatch):
    """A fake in the place of the official module, for commands one after another."""
    mt5 = fake_mt5(positions=2, settings=FakeSettings(path=FOLDER))
    monkeypatch.setitem(sys.modules, "MetaTrader5", mt5)
    return mt5


@pytest.fixture
def desk(tmp_path, monkeypatch):
    for name in ("LEDGER_JOURNAL", "GTW_HOST", "GTW_PORT", "GTW_TIMEOUT_MS", "SYNC_INTERVAL_SEC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/desk.db"
    Ledger.create(url).close()
    return url


def write_settings(desk, text):
    path = Path("ledger.toml")
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


# ---- sync and drift


@pytest.mark.parametrize(
    "words", [("--gateway", "mt5:"), ("--terminal", PROGRAM), ("--gateway", "mt5:", "--terminal", PROGRAM)]
)
def test_sync_and_drift_work_with_a_terminal(terminal, desk, words):
    done = run("sync", "--startup", *words, journal=desk)
    assert (done.code, "SUCCESS" in done.text) == (0, True), done.text
    assert run("drift", *words, journal=desk).code == 0
    terminal.terminal.close(terminal.terminal.open_positions()[0].position_id)
    assert run("drift", *words, journal=desk).code == 1
    assert run("sync", *words, journal=desk).code == 0
    assert run("drift", *words, journal=desk).code == 0


def test_another_terminal_than_the_one_named_is_not_available(terminal, desk):
    done = run("sync", "--startup", "--terminal", "D:\\Other\\terminal64.exe", journal=desk)
    assert done.code == 3
    assert "-10003" in done.text


def test_settings_may_name_a_terminal(terminal, desk):
    write_settings(desk, f"[gateway]\nurl = 'mt5:'\nterminal = '{PROGRAM}'\n")
    assert run("sync", "--startup", journal=desk).code == 0
    write_settings(desk, "[gateway]\nurl = 'mt5:'\nterminal = 'D:\\Other\\terminal64.exe'\n")
    assert run("sync", journal=desk).code == 3


def test_an_option_counts_before_the_settings(terminal, desk):
    write_settings(desk, "[gateway]\nurl = 'tcp://127.0.0.1:1'\n")
    assert run("sync", "--startup", "--terminal", PROGRAM, journal=desk).code == 0


def test_a_terminal_goes_with_the_module_of_the_settings(desk, monkeypatch):
    mine = ModuleType("mine")
    mine.terminal = fake_mt5(settings=FakeSettings(path=FOLDER))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", mine)
    write_settings(desk, "[gateway]\nurl = 'mt5:mine:terminal'\n")
    assert run("sync", "--startup", "--terminal", PROGRAM, journal=desk).code == 0


def test_settings_may_be_shared_with_gateways_on_a_wire(terminal, desk):
    write_settings(
        desk,
        f"[gateway]\nterminal = '{PROGRAM}'\nserver_key = 'no.key'\nclient_key = 'no.key_secret'\n"
        "[gateways.'Sandbox-Demo/70113']\nurl = 'mt5:'\n[gateways.'B/2']\nurl = 'tcp://127.0.0.1:1'\nform = 'ejtrader'\n",
    )
    done = run("sync", "--startup", "--account", "Sandbox-Demo/70113", journal=desk)
    assert done.code == 0, done.text
    done = run("sync", "--account", "B/2", journal=desk)
    assert (done.code, "no.key_secret" in done.text) == (2, True)
    assert "terminal" not in done.text


def test_two_terminals_in_one_process_are_refused(terminal, desk):
    write_settings(desk, "[gateways.'A/1']\nurl = 'mt5:'\n[gateways.'B/2']\nurl = 'mt5:'\n")
    done = run("sync", journal=desk)
    assert done.code == 2
    assert "A/1 and B/2 are terminals in this process" in done.text
    assert "ledger gateway serve" in done.text


def test_without_the_official_module_it_is_explained(desk, monkeypatch):
    monkeypatch.setitem(sys.modules, "MetaTrader5", None)
    done = run("sync", "--gateway", "mt5:", journal=desk)
    assert done.code == 2
    assert "pip install MetaTrader5" in done.text


def test_an_error_of_the_module_degrades_the_sync(desk, monkeypatch):
    mt5 = ScriptedMt5(position(7), deals=(deal(7),))
    mine = ModuleType("mine")
    mine.terminal = mt5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", mine)
    assert run("sync", "--startup", "--gateway", "mt5:mine:terminal", journal=desk).code == 0
    mt5.is_attached = False
    mt5.fail("initialize", *[NO_CONNECTION] * 9)
    done = run("sync", "--gateway", "mt5:mine:terminal", journal=desk)
    assert (done.code, "-10004" in done.text) == (3, True)


# ---- the checklist


def lines(*words):
    done = run("doctor", *words, "--json")
    return done.code, {row["check"]: row for row in done.json()}


def test_the_checklist_goes_through_the_calls(terminal, desk):
    code, found = lines("--terminal", PROGRAM)
    assert code == 0
    assert {row["state"] for row in found.values()} == {"ok", "not run"}
    assert "Sandbox-Demo/70113, hedging, USD" in found["account"]["seen"]
    assert found["positions"]["seen"].startswith("2, as positions_total counts them")
    assert "(-2, 'Terminal: Invalid params')" in found["unknown tickets"]["seen"]
    assert "read whole" in found["snapshot"]["seen"]
    assert found["errors after a send"]["state"] == "not run"


def test_the_checklist_needs_no_journal_and_no_path(terminal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, found = lines("--terminal")
    assert (code, found["path"]["state"]) == (0, "warning")


def test_the_checklist_ends_where_there_is_no_terminal(terminal, desk):
    code, found = lines("--terminal", "D:\\Other\\terminal64.exe")
    assert (code, found["initialize"]["state"], list(found)[-1]) == (3, "unavailable", "initialize")


def test_the_checklist_takes_a_module_by_its_address(desk):
    code, found = lines("--terminal", "--gateway", "mt5:ledger.testing:fake_mt5")
    assert (code, found["initialize"]["state"]) == (0, "ok")
    done = run("doctor", "--terminal", "--gateway", "tcp://127.0.0.1:1")
    assert (done.code, "expected a terminal in this process" in done.text) == (2, True)


def test_the_checklist_goes_on_behind_a_check_that_fails(desk, monkeypatch):
    mt5 = ScriptedMt5(position(7), deals=(deal(7),))
    mt5.symbols_get = None  # type: ignore[method-assign, assignment]
    monkeypatch.setitem(sys.modules, "MetaTrader5", mt5)
    code, found = lines("--terminal")
    assert code == 1
    assert (found["symbols"]["state"], found["lock"]["state"]) == ("unavailable", "failed")
    assert found["snapshot"]["state"] == "ok"


def test_the_checklist_shows_a_terminal_that_is_not_connected(desk, monkeypatch):
    mt5 = ScriptedMt5()
    mt5.terminal |= {"connected": False, "trade_allowed": False}
    monkeypatch.setitem(sys.modules, "MetaTrader5", mt5)
    code, found = lines("--terminal")
    assert (code, found["connected"]["state"], found["trading"]["seen"]) == (1, "failed", "not allowed by terminal")
