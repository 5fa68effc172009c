"""The commands about a fleet: which accounts it has, how they are, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.fleet import ADDRESS, OTHER_ADDRESS, HoldingGateway, desk_of_fleet, names, serving
from tests.support.journals import new_url
from tests.support.served import until
from tools.testkit.fleet import FIRST_LOGIN

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = map(str, names(2))
#: Becomes a Python with other arguments. Whoever runs the tests may ignore SIGHUP, and it would inherit that.
HEARING_HANGUPS = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def desk():
    with desk_of_fleet() as found:
        yield found


def table(tmp_path, *lines):
    file = tmp_path / "accounts.csv"
    file.write_text("\n".join(["account,gateway,every_sec", *lines]) + "\n", encoding="utf-8")
    return str(file)


def test_an_account_is_added_listed_and_removed(desk):
    added = run("fleet", "add", ONE, "--gateway", ADDRESS, "--every", "2m", journal=desk.url)
    assert (added.code, added.text) == (0, f"{ONE}: synced every 120 s by {ADDRESS}\n")
    (item,) = run("fleet", "list", "--json", journal=desk.url).json()
    assert (item["gateway"], item["every_sec"], item["stopped"], item["synced_at"]) == (ADDRESS, 120, False, None)
    assert ONE in run("fleet", "list", journal=desk.url).text
    assert run("fleet", "remove", ONE, journal=desk.url).code == 0
    again = run("fleet", "remove", ONE, journal=desk.url)
    assert again.code == 1
    assert "ledger fleet list shows those that are" in again.text
    assert run("fleet", "list", "--json", journal=desk.url).json() == []


def test_what_is_listed_as_csv_is_loaded_again(desk, tmp_path):
    loaded = run("fleet", "load", table(tmp_path, f"{ONE},{ADDRESS},15", f"{TWO},{OTHER_ADDRESS},60.0"), journal=desk.url)
    assert loaded.text == "2 accounts are synced\n"
    listed = run("fleet", "list", "--csv", journal=desk.url).text
    file = tmp_path / "again.csv"
    file.write_text(listed, encoding="utf-8")
    assert run("fleet", "load", str(file), "--replace", journal=desk.url).text == "2 accounts are synced, 0 no longer\n"
    assert run("fleet", "list", "--csv", journal=desk.url).text == listed
    one = run("fleet", "load", table(tmp_path, f"{TWO},{ADDRESS},"), "--replace", journal=desk.url)
    assert one.text == "1 accounts are synced, 1 no longer\n"
    assert [item["every_sec"] for item in run("fleet", "list", "--json", journal=desk.url).json()] == [15]


def test_a_file_without_accounts_replaces_nothing(desk, tmp_path):
    desk.add(names(2))
    refused = run("fleet", "load", table(tmp_path), "--replace", journal=desk.url)
    assert (refused.code, "expected the accounts that stay, found none" in refused.text) == (2, True)
    assert len(desk.leases.accounts()) == 2
    assert run("fleet", "load", table(tmp_path), journal=desk.url).text == "0 accounts are synced\n"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("no account,tcp://127.0.0.1:1,15", "line 3: an account is written SERVER/LOGIN"),
        (f"{TWO},127.0.0.1:1,15", "line 3: a gateway is tcp://HOST:PORT"),
        (f"{TWO},tcp://127.0.0.1:1,soon", "line 3: expected how often to sync, as 15s or 2m"),
        (f"{TWO},tcp://127.0.0.1:1,0.5", "between a second and a day, found '0.5'"),
        (f"{ONE},tcp://127.0.0.1:1,15", f"line 3: {ONE} is in line 2 already"),
        (f"{TWO},tcp://127.0.0.1:1,15,1m", "line 3: expected 3 values, as many as there are columns, found 4"),
        (f"{TWO},tcp://127.0.0.1:1", "line 3: expected 3 values, as many as there are columns, found 2"),
    ],
)
def test_one_bad_line_loads_nothing(line, why, desk, tmp_path):
    done = run("fleet", "load", table(tmp_path, f"{ONE},{ADDRESS},15", line), journal=desk.url)
    assert done.code == 2
    assert why in done.text
    assert desk.leases.accounts() == []


def test_a_file_with_other_columns_is_refused(desk, tmp_path):
    file = tmp_path / "other.csv"
    for columns in ("login,address", "account,gateway,gateway", "account,gateway,every_sec,every_sec", "account"):
        file.write_text(f"{columns}\n", encoding="utf-8")
        done = run("fleet", "load", str(file), journal=desk.url)
        expected = f"expected the columns account, gateway, every_sec, each once, found {columns.replace(',', ', ')}"
        assert (done.code, expected in done.text) == (2, True)
    missing = run("fleet", "load", str(tmp_path / "none.csv"), journal=desk.url)
    assert (missing.code, "expected a CSV file" in missing.text) == (2, True)


def test_the_status_names_late_accounts_and_silent_gateways(desk):
    desk.add(names(2))
    quiet = run("fleet", "status", "--json", journal=desk.url)
    assert quiet.code == 0
    (gateway,) = quiet.json()["gateways"]
    assert (gateway["state"], gateway["accounts"], gateway["late"], gateway["why"]) == ("answers", 2, 0, None)
    desk.let_all_be_due()
    desk.claim("a", 1)
    for _ in range(3):
        desk.leases.gateway_failed(ADDRESS, "nobody is there")
    late = run("fleet", "status", "--json", journal=desk.url)
    assert late.code == 1
    (gateway,) = late.json()["gateways"]
    assert (gateway["state"], gateway["due"], gateway["late"], gateway["held"]) == ("backing off", 1, 2, 1)
    assert [one["worker"] for one in late.json()["workers"]] == ["a"]
    shown = run("fleet", "status", journal=desk.url)
    assert shown.code == 1
    assert "no answer to 3 calls in a row: nobody is there" in shown.text
    assert run("fleet", "status", "--csv", journal=desk.url).text.splitlines()[1].startswith(f"{ADDRESS},backing off,2,1,2,1")


def test_an_account_is_stopped_and_resumed(desk):
    desk.add(names(1))
    assert "no worker syncs it" in run("fleet", "stop", ONE, journal=desk.url).text
    assert run("fleet", "list", "--json", journal=desk.url).json()[0]["stopped"]
    assert "it is due now" in run("fleet", "resume", ONE, journal=desk.url).text
    assert desk.claim("a")
    fleet, halted = "an account of the fleet", "an account that is stopped"
    for what, account, expected in (("stop", TWO, fleet), ("resume", TWO, halted), ("resume", ONE, halted)):
        refused = run("fleet", what, account, journal=desk.url)
        assert (refused.code, f"expected {expected}, found {account}" in refused.text) == (2, True)


def test_what_is_stopped_stays_so_when_it_is_loaded_or_added_again_and_that_is_stated(desk, tmp_path):
    desk.add(names(2))
    run("fleet", "stop", ONE, journal=desk.url)
    loaded = run("fleet", "load", table(tmp_path, f"{ONE},{ADDRESS},15", f"{TWO},{ADDRESS},15"), journal=desk.url)
    assert (loaded.code, "1 of them are stopped, and stay so" in loaded.text) == (0, True)
    added = run("fleet", "add", ONE, "--gateway", ADDRESS, journal=desk.url)
    assert (added.code, f"stays so until ledger fleet resume {ONE}" in added.text) == (0, True)
    assert "stopped" not in run("fleet", "add", TWO, "--gateway", ADDRESS, journal=desk.url).text
    assert [one["stopped"] for one in run("fleet", "list", "--json", journal=desk.url).json()] == [True, False]


def test_a_gateway_is_given_room_and_a_key(desk, tmp_path):
    desk.add(names(9))
    key = tmp_path / "gateway.key"
    assert run("fleet", "gateway", ADDRESS, "--calls", "9", "--server-key", str(key), journal=desk.url).code == 0
    desk.let_all_be_due()
    assert {one.server_key for one in desk.claim("a")} == {str(key)}
    assert desk.leases.state(late_us=0).gateways[0].held == 9


def test_a_gateway_keeps_what_is_not_given(desk, tmp_path):
    key = tmp_path / "gateway.key"
    for words, shown in (
        (("--server-key", str(key)), f"4 calls at once, key {key}"),
        (("--calls", "8"), f"8 calls at once, key {key}"),
        (("--no-server-key",), "8 calls at once"),
    ):
        assert run("fleet", "gateway", ADDRESS, *words, journal=desk.url).text == f"{ADDRESS}: {shown}\n"
    both = run("fleet", "gateway", ADDRESS, "--no-server-key", "--server-key", str(key), journal=desk.url)
    assert (both.code, "choose one" in both.text) == (2, True)


def test_a_journal_in_sqlite_is_refused_with_the_way_out(tmp_path):
    url = new_url("sqlite", tmp_path)
    for words in (("fleet", "status"), ("sync", "--fleet"), ("sync", "--fleet", "--workers", "2")):
        done = run(*words, journal=url)
        assert done.code == 2
        assert "a fleet needs a journal in Postgres" in done.text


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--workers", "2"), "--workers goes with --fleet"),
        (("--fleet", "--gateway", ADDRESS), "by their own gateways and intervals"),
        (("--fleet", "--dry-run"), "by their own gateways and intervals"),
        (("--fleet", "--form", "json"), "by their own gateways and intervals"),
    ],
)
def test_what_does_not_go_with_a_fleet_is_refused(words, why, desk):
    done = run("sync", *words, journal=desk.url)
    assert (done.code, why in done.text) == (2, True)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_supervisor_starts_its_workers_again_and_ends_them_in_good_order(name, desk, tmp_path):
    gateway = HoldingGateway(range(FIRST_LOGIN, FIRST_LOGIN + 2))
    with serving(gateway) as (address,), (tmp_path / "log").open("wb") as log:
        desk.add(names(2), address, "1s")
        supervisor = subprocess.Popen(
            [sys.executable, "-c", HEARING_HANGUPS, "-m", "ledger", "sync", "--fleet", "--workers", "2", "--server-tz", "UTC"],
            cwd=ROOT, env=os.environ | {"LEDGER_JOURNAL": desk.url}, stderr=log,
        )  # fmt: skip
        try:
            pids = until(lambda: two(started(tmp_path)), "two workers")
            until(lambda: all(one.synced_us for one in desk.leases.accounts()), "both to be synced")
            os.kill(pids[0], signal.SIGKILL)
            until(lambda: len(started(tmp_path)) == 3, "another worker")
            supervisor.send_signal(getattr(signal, name))
            assert supervisor.wait(60) == 0
        finally:
            supervisor.kill()
            supervisor.wait()
    for pid in started(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def started(folder):
    lines = (folder / "log").read_text(encoding="utf-8").splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
    return [one["pid"] for one in found if one["event"] == "worker started"]


def two(found):
    return found if len(found) == 2 else None
