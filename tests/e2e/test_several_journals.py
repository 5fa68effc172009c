"""Commands find the journal of an account by a directory; what is about one journal is refused where there are several."""

from __future__ import annotations

import pytest

from ledger import Ledger
from tests.support.commands import run
from tests.support.journals import ACCOUNT, OTHER, Clock, empty_postgres_url, fill, opened
from tests.support.moving import new_journal

NAMES = {"eu": ACCOUNT, "asia": OTHER}


@pytest.fixture
def urls(tmp_path, monkeypatch):
    """A folder with settings, an account in each of two journals, and what the commands run in: name -> URL."""
    monkeypatch.delenv("LEDGER_JOURNAL", raising=False)
    monkeypatch.chdir(tmp_path)
    urls = {"eu": new_journal("postgres", tmp_path / "eu"), "asia": new_journal("sqlite", tmp_path / "asia")}
    directory = empty_postgres_url()
    (tmp_path / "ledger.toml").write_text(f'[directory]\nurl = "{directory}"\n', encoding="utf-8")
    assert run("directory", "init").code == 0
    for name, account in NAMES.items():
        with Ledger.open(urls[name], now_us=Clock()) as ledger:
            ledger.journal.append(account, [opened(account), fill(1), fill(2)])
        assert "1 of its accounts are new" in run("directory", "add", name, urls[name]).text
    return urls


def names(items):
    return [f"{(one.get('account') or one)['server']}/{(one.get('account') or one)['login']}" for one in items]


BOTH = [str(ACCOUNT), str(OTHER)]


def test_what_is_about_accounts_goes_to_all_journals_or_to_the_one_that_they_are_in(urls):
    for command in ("accounts", "positions", "balance", "status", "replay"):
        assert sorted(set(names(run(command, "--json").json()))) == BOTH, command
    assert names(run("accounts", "--account", str(OTHER), "--json").json()) == BOTH[1:]
    assert run("compare", str(ACCOUNT), str(OTHER), "--json").json()["a"]["version"] == 3
    assert names(run("verify", "--json").json()["accounts"]) == [str(OTHER), str(ACCOUNT)]  # journal by journal, by name
    checks = {one["check"]: one["state"] for one in run("doctor", "--json").json()}
    assert (checks["eu: triggers"], checks["asia: triggers"]) == ("ok", "ok")
    assert {one["check"].partition(": ")[0] for one in run("doctor", "--account", str(OTHER), "--json").json()} & {*urls} == {
        "asia"
    }
    corrected = run("account", "clock", str(OTHER), "ny-close", "--reason", "moved")
    assert corrected.code == 0, corrected.text
    with Ledger.open(urls["asia"]) as ledger:
        assert ledger.account(OTHER).version == 4


def test_what_is_about_one_journal_is_refused_with_the_names(urls):
    for words in (("backup", "copy.db"), ("page", "--port", "0"), ("export", "--out", "all.csv"), ("metrics",)):
        refused = run(*words)
        assert refused.code == 2, refused.text
        assert "--journal" in refused.text


def test_what_is_about_a_fleet_is_refused_with_the_names(urls):
    for command in ("status", "list"):
        refused = run("fleet", command)
        assert refused.code == 2, refused.text
        assert "this is about one journal, and there are several" in refused.text
        assert "--journal" in refused.text
        assert "Postgres" not in refused.text


def test_an_account_moves_and_its_commands_follow_it(urls):
    assert run("account", "move", str(ACCOUNT), "--to", "asia").code == 2  # nobody is there to be asked
    assert run("fleet", "add", str(ACCOUNT), "--gateway", "tcp://127.0.0.1:1", "--journal", urls["eu"]).code == 0
    done = run("account", "move", str(ACCOUNT), "--to", urls["asia"], "--yes", "--json")
    assert f"do so no more: asia is in SQLite and has no fleet, so ledger sync --account {ACCOUNT}" in done.err.decode()
    moved = done.json()
    assert [one["stopped"] for one in run("fleet", "list", "--json", "--journal", urls["eu"]).json()] == [True]
    assert (moved["from"], moved["to"], moved["epoch"], moved["version"]) == ("eu", "asia", 2, 3)
    again = run("account", "move", str(ACCOUNT), "--to", "asia", "--yes", "--json").json()
    assert again == moved | {"from": None}
    assert run("account", "where", str(ACCOUNT), "--json").json()["journal"] == "asia"
    assert names(run("accounts", "--json").json()) == BOTH
    shown = run("directory", "show", "--json").json()
    assert {one["name"]: one["accounts"] for one in shown["journals"]} == {"asia": 2, "eu": 0}
    old = run("positions", "--account", str(ACCOUNT), "--json", "--journal", urls["eu"])
    assert "has moved to asia" in old.err.decode()
    assert run("accounts", "--json", "--journal", urls["eu"]).json() == []
    assert "has moved to asia" in run("status", "--check", "--account", str(ACCOUNT), "--journal", urls["eu"]).text
    assert run("account", "move", str(ACCOUNT), "--cancel", "--yes").code == 2  # it has arrived


def test_an_account_is_opened_in_one_journal(urls):
    third = ("account", "open", "Prop-2/881", "--currency", "EUR", "--mode", "netting")
    assert "is not in the directory" in run(*third).text
    assert run(*third, "--in", "eu").code == 0
    refused = run(*third, "--in", "asia")
    assert (refused.code, "is in eu by the directory" in refused.text) == (2, True)
    with Ledger.open(urls["asia"]) as asia:
        assert [str(one.name) for one in asia.accounts()] == [str(OTHER)]


def test_an_account_is_opened_in_the_journal_of_in_and_in_no_other(urls, tmp_path, monkeypatch):
    third = ("account", "open", "Prop-2/881", "--currency", "EUR", "--mode", "netting")
    assert "ledger account open Prop-2/881 --in NAME" in run(*third).text
    monkeypatch.setenv("LEDGER_JOURNAL", urls["asia"])
    opened_in_eu = (*third, "--in", "eu", "--config", str(tmp_path / "ledger.toml"))
    for refused in (run(*opened_in_eu, "--journal", urls["asia"]), run("--journal", urls["asia"], *opened_in_eu)):
        assert (refused.code, "leave --journal out" in refused.text) == (2, True), refused.text
    assert run(*third, "--in", "eu").code == 2  # the file is not read beside a journal that the environment names
    assert run(*opened_in_eu).code == 0
    monkeypatch.delenv("LEDGER_JOURNAL")
    assert run("account", "where", "Prop-2/881", "--json").json()["journal"] == "eu"
    with Ledger.open(urls["eu"]) as eu, Ledger.open(urls["asia"]) as asia:
        assert (eu.account("Prop-2/881").version, asia.account("Prop-2/881").version) == (1, 0)


def test_an_account_whose_opening_failed_is_opened_where_it_was_to_be(urls):
    third = ("account", "open", "Prop-2/881", "--mode", "netting")
    assert run(*third, "--currency", "EUR EUR EUR", "--in", "eu").code == 2
    for words in ((*third, "--currency", "EUR", "--in", "asia"), ("account", "move", "Prop-2/881", "--to", "asia", "--yes")):
        assert "was not opened there yet: open it, ledger account open Prop-2/881 --in eu" in run(*words).text
    assert run(*third, "--currency", "EUR", "--in", "eu").code == 0
    moved = run("account", "move", "Prop-2/881", "--to", "asia", "--yes")
    assert (moved.code, moved.err) == (0, b"")  # no worker synced it


def test_a_cancelled_move_is_printed_as_json_too(urls):
    with Ledger.open(urls["asia"]) as asia:
        asia.journal.append(ACCOUNT, [opened(ACCOUNT), fill(1, profit=5)])  # in both, so that the move cannot be finished
    assert run("account", "move", str(ACCOUNT), "--to", "asia", "--yes").code == 2
    assert run("account", "where", str(ACCOUNT), "--json").json()["state"] == "moving"
    cancelled = run("account", "move", str(ACCOUNT), "--cancel", "--yes", "--json").json()
    assert (cancelled["journal"], cancelled["epoch"], cancelled["state"]) == ("eu", 1, "here")
    assert cancelled == run("account", "where", str(ACCOUNT), "--json").json()


def test_settings_that_contradict_one_another_are_refused(urls, tmp_path):
    (tmp_path / "ledger.toml").write_text('journal = "sqlite:///x.db"\n[directory]\nurl = "d.db"\n', encoding="utf-8")
    assert "write one of the two" in run("accounts").text
    (tmp_path / "ledger.toml").write_text("", encoding="utf-8")
    assert "which directory?" in run("directory", "show").text
    assert "leave --journal out" in run("directory", "show", "--journal", urls["eu"]).text
