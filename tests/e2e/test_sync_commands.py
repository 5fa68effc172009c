"""The commands around a gateway as an operator types them: real processes, a real sandbox, exit codes, what is printed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.gateway.sandbox.client import Sandbox
from tests.support.commands import run
from tests.support.journals import new_url

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "Sandbox-Demo/70113"


class Desk:
    """A folder with a journal, and a sandbox that its commands connect to."""

    def __init__(self, folder: Path, sandbox: Sandbox, journal: str) -> None:
        self.folder = folder
        self.sandbox = sandbox
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LEDGER_", "GTW_", "SYNC_"))}
        self.environment = {
            **inherited, "LEDGER_JOURNAL": journal, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "GTW_HOST": "127.0.0.1",
            "GTW_PORT": sandbox.endpoint.rpartition(":")[2], "XDG_STATE_HOME": str(folder / "state"),
        }  # fmt: skip

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "ledger", *words]

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *words: str, code: int = 0):
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def books(self) -> list[tuple[int, str, str, str]]:
        return [(one["position_id"], one["symbol"], one["side"], one["volume"]) for one in self.sandbox.books()["positions"]]

    def held(self) -> list[tuple[int, str, str, str]]:
        return [(one["position_id"], one["symbol"], one["side"], one["volume"]) for one in self.json("positions")]


@pytest.fixture(params=["sqlite", "postgres"])
def journal(request, tmp_path):
    return new_url(request.param, tmp_path)


def started(tmp_path, journal, *options):
    sandbox = Sandbox.start("--positions", "3", *options)
    return Desk(tmp_path, sandbox, journal)


@pytest.fixture
def desk(tmp_path, journal):
    desk = started(tmp_path, journal)
    yield desk
    desk.sandbox.stop()


@pytest.fixture
def base(tmp_path):
    desk = started(tmp_path, new_url("sqlite", tmp_path), "--form", "base")
    yield desk
    desk.sandbox.stop()


def test_a_first_sync_opens_the_account_and_arrives_at_the_terminals_books(desk):
    item = desk.json("sync", "--once")
    assert (item["status"], item["reason"], item["held"]) == ("SUCCESS", None, [])
    assert item["account"] == {"server": "Sandbox-Demo", "login": 70113, "currency": "USD", "mode": "hedging"}
    assert len(item["fills"]) == 4  # the deposit and three openings
    assert item["version"] == item["appended"]
    assert desk.held() == desk.books()
    assert desk.json("balance")[0]["balance"] == desk.sandbox.books()["balance"]
    again = desk.json("sync")
    assert (again["status"], again["appended"], again["version"]) == ("SUCCESS", 0, item["version"])


def test_a_dry_run_states_what_a_sync_would_do_and_appends_nothing(desk):
    would = desk.json("sync", "--dry-run")
    assert would["dry_run"]
    assert desk.json("accounts") == []
    did = desk.json("sync")
    assert (would["fills"], would["appended"]) == (did["fills"], did["appended"])


def test_an_error_of_the_terminal_is_degraded_and_changes_nothing(desk):
    desk.run("sync")
    before = desk.held()
    desk.sandbox.fault("error", times=-1)
    item = desk.json("sync", code=3)
    assert (item["status"], item["appended"]) == ("DEGRADED", 1)
    assert "No IPC connection" in item["reason"]
    assert desk.json("sync", code=3)["appended"] == 0  # the transition is recorded once
    assert desk.held() == before
    assert desk.json("status")[0]["state"] == "DEGRADED"
    assert "unknown whether both agree" in desk.run("drift", code=3).stderr
    desk.sandbox.clear()
    assert desk.json("sync")["status"] == "SUCCESS"
    status = desk.json("status")[0]
    assert (status["state"], status["safe_to_trade"], status["open_breaks"]) == ("SUCCESS", True, 0)
    assert status["age_sec"] >= 0


def test_a_gateway_that_is_not_there_is_degraded_even_before_the_account_is_known(desk):
    desk.sandbox.stop()
    item = desk.json("sync", "--timeout-ms", "300", code=3)
    assert (item["account"], item["status"]) == (None, "DEGRADED")
    assert "nobody is there" in item["reason"]


def test_drift_names_what_differs_field_by_field_and_changes_nothing(base):
    base.run("account", "open", ACCOUNT, "--currency", "USD", "--mode", "hedging", "--server-tz", "ny-close")
    base.run("sync", "--startup")
    assert base.json("drift") == {
        "account": {"server": "Sandbox-Demo", "login": 70113, "currency": "USD", "mode": "hedging"},
        "agrees": True, "breaks": [], "reticketed": [],
    }  # fmt: skip
    position, symbol, side, volume = base.books()[0]
    base.sandbox.control("close", position=position, volume="0.01")
    left = base.books()[0][3]
    found = base.json("drift", code=1)
    assert found["breaks"] == [
        {"kind": "drift", "position_id": position, "symbol": symbol, "field": "volume", "ours": volume, "theirs": left}
    ]
    assert base.held()[0] == (position, symbol, side, volume)
    assert base.json("sync")["corrected"] == [position]
    assert base.json("drift")["agrees"]


def test_a_ghost_is_held_shown_and_closed_by_the_second_snapshot(base):
    base.run("account", "open", ACCOUNT, "--currency", "USD", "--mode", "hedging", "--server-tz", "ny-close")
    base.run("sync", "--startup")
    position = base.books()[0][0]
    base.sandbox.control("close", position=position)
    first = base.json("sync", code=1)
    assert [(held["position_id"], held["kind"]) for held in first["held"]] == [(position, "ghost")]
    (open_break,) = base.json("breaks")
    assert (open_break["kind"], open_break["position_id"], open_break["confirmations"]) == ("ghost", position, 1)
    assert open_break["age_sec"] >= 0
    assert base.json("status")[0]["open_breaks"] == 1
    assert "missing in 1 of 2 snapshots" in base.run("breaks").stdout
    assert base.json("sync")["closed"] == [position]
    assert base.json("breaks") == []
    log = [json.loads(line) for line in base.run("log", "--json").stdout.splitlines()]
    closed = next(one for one in log if one["kind"] == "GhostClosed")
    opened = next(one for one in log if one["data"].get("kind") == "ghost")
    assert closed["caused_by"] == opened["version"]
    answer = json.loads(base.run("log", "--evidence", closed["evidence"]).stdout)
    assert position not in [row["ticket"] for row in answer["positions"]]


def test_a_base_form_and_a_journal_without_accounts_ask_which_one(base):
    base.run("init")
    done = base.run("sync", code=2)
    assert "which account?" in done.stderr
    assert "--account" in done.stderr


def test_without_a_gateway_the_error_states_how_to_name_one(desk):
    desk.run("init")
    del desk.environment["GTW_HOST"], desk.environment["GTW_PORT"]
    assert "--gateway tcp://" in desk.run("sync", code=2).stderr


def test_the_file_names_gateways_policy_and_interval(desk):
    (desk.folder / "ledger.toml").write_text(
        f'[policy]\nzombie = "report"\n[gateways."{ACCOUNT}"]\nurl = "{desk.sandbox.endpoint}"\ntimeout_ms = 2000\n', "utf-8"
    )
    del desk.environment["GTW_HOST"], desk.environment["GTW_PORT"]
    named = ("--config", "ledger.toml")  # needed for Postgres; beside a SQLite journal it is found
    assert desk.json("sync", *named)["account"]["login"] == 70113
    desk.sandbox.fault("no-deals", times=-1)
    desk.sandbox.control("trade", symbol="EURUSD", side="buy", volume="0.10")
    assert [held["kind"] for held in desk.json("sync", "--startup", *named, code=1)["held"]][:1] == ["zombie"]
    (desk.folder / "ledger.toml").write_text('[policy]\nzombies = "report"\n', "utf-8")
    assert "zombies" in desk.run("sync", "--gateway", desk.sandbox.endpoint, *named, code=2).stderr


def test_other_machines_are_contacted_with_keys_only(desk):
    desk.run("init")
    done = desk.run("sync", "--gateway", "tcp://192.0.2.1:5555", code=2)
    assert "ledger keys" in done.stderr
    assert "--insecure" in done.stderr


# --------------------------------------------------------------------------------------------------------------- daemon


class Watching:
    """A daemon: its log lines as they come, and systemd's ear."""

    def __init__(self, desk: Desk, *options: str) -> None:
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind(str(desk.folder / "notify"))
        self.ear.settimeout(60)
        self.process = subprocess.Popen(
            desk.command("sync", "--watch", *options), cwd=desk.folder, stderr=subprocess.PIPE, text=True,
            env={**desk.environment, "NOTIFY_SOCKET": str(desk.folder / "notify")},
        )  # fmt: skip

    def line(self) -> dict[str, object]:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("{"), line + self.process.stderr.read()
        output: dict[str, object] = json.loads(line)
        return output

    def until(self, event: str, **fields: object) -> dict[str, object]:
        while True:
            line = self.line()
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items()):
                return line

    def notified(self) -> str:
        return self.ear.recv(65536).decode()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.close()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.ear.close()


@pytest.fixture
def watching(desk):
    desk.run("init")
    watching = Watching(desk, "--interval", "0.2")
    yield watching
    watching.close()


def test_the_daemon_follows_the_terminal_and_ends_in_good_order(desk, watching):
    assert watching.until("sync", status="SUCCESS")["appended"]
    assert "READY=1" in watching.notified()
    ticket = desk.sandbox.control("trade", symbol="EURUSD", side="buy", volume="0.10")["deals"][0]["ticket"]
    assert watching.until("sync")["fills"] == [ticket]
    assert desk.held() == desk.books()
    desk.sandbox.fault("error", times=-1)
    assert watching.until("sync", status="DEGRADED")["reason"]
    desk.sandbox.clear()
    assert watching.until("sync", status="SUCCESS")
    assert watching.end() == 0
    status = desk.json("status")[0]
    assert status["state"] == "SUCCESS"
    assert desk.json("verify")["ok"]


def test_two_daemons_on_one_journal_do_no_harm(desk, watching):
    watching.until("sync", status="SUCCESS")
    (desk.folder / "notify").unlink()
    other = Watching(desk, "--interval", "0.2")
    try:
        other.until("watching")
        desk.sandbox.trade_manually(5)
        last = desk.sandbox.control("trade", symbol="EURUSD", side="buy", volume="0.10")["deals"][0]["ticket"]
        while last not in [one.get("deal") for one in map(json.loads, desk.run("log", "--json").stdout.splitlines())]:
            assert watching.process.poll() is other.process.poll() is None
        assert other.end() == 0
    finally:
        other.close()
    assert desk.json("sync")["status"] == "SUCCESS"
    assert desk.held() == desk.books()
    assert desk.json("verify")["ok"]


def test_a_daemon_that_was_killed_is_code_5_of_status_check(desk, journal):
    (desk.folder / "ledger.toml").write_text("[policy]\nverified_sec = 2\n", encoding="utf-8")
    Ledger.create(journal).close()
    watching = Watching(desk, "--interval", "0.2", "--config", "ledger.toml")
    try:
        watching.until("sync", status="SUCCESS")
    finally:
        watching.close()  # SIGKILL
    while (status := run("status", "--json", journal=journal).json()[0])["danger"] != "stale":
        assert status["danger"] == "none"  # the kill is not seen, but that nothing was verified since
    assert status["by"]["pid"] == watching.process.pid
    done = run("status", "--check", journal=journal)
    assert done.code == 5
    assert done.text.startswith(f"{ACCOUNT}: no sync is running: the last sync attempt is ")
    assert done.text.endswith(f"process {watching.process.pid})\n")


# ------------------------------------------------------------------------------------------------------ manually, doctor


def test_a_correction_shows_its_effect_asks_and_is_recorded_with_operator_and_reason(desk):
    desk.run("sync")
    position, symbol, _, volume = desk.books()[0]
    words = ("correct", "close", str(position), "--operator", "Ada", "--reason", "closed by phone")
    refused = desk.run(*words, code=2)
    assert f"{volume} {symbol}" in refused.stdout
    assert "--yes" in refused.stderr
    assert len(desk.held()) == 3
    item = desk.json(*words, "--yes")
    assert [one["position_id"] for one in item["before"]] == [one[0] for one in desk.books()]
    assert position not in [one["position_id"] for one in item["after"]]
    event = item["events"][0]
    assert (event["kind"], event["data"]["operator"], event["data"]["reason"]) == ("Adjusted", "Ada", "closed by phone")
    assert len(desk.held()) == 2
    assert "is not open" in desk.run(*words, "--yes", code=2).stderr
    assert "Missing option '--reason'" in desk.run("correct", "close", "7", code=2).stderr


def test_a_position_can_be_added_changed_and_the_balance_set(desk):
    desk.run("sync")
    why = ("--reason", "confirmed by phone", "--yes")
    desk.run("correct", "add", "4711", "EURUSD", "buy", "0.10", "1.0543", "--magic", "7", *why)
    assert (4711, "EURUSD", "buy", "0.1") in desk.held()
    assert "open already" in desk.run("correct", "add", "4711", "EURUSD", "buy", "0.10", "1.0543", *why, code=2).stderr
    desk.run("correct", "update", "4711", "--volume", "0.05", "--side", "sell", *why)
    assert (4711, "EURUSD", "sell", "0.05") in desk.held()
    desk.run("correct", "balance", "--to", "12345.67", *why)
    assert desk.json("balance")[0]["balance"] == "12345.67"
    found = desk.json("sync", code=1)
    assert {held["kind"] for held in found["held"]} == {"ghost", "balance"}
    desk.run("correct", "balance", "--to", desk.sandbox.books()["balance"], *why)
    desk.run("correct", "close", "4711", *why)
    assert desk.json("breaks") == []  # a person's answer ends the breaks about it
    assert desk.json("sync")["status"] == "SUCCESS"


def test_an_answer_without_the_identity_that_was_seen_is_refused_until_a_person_allows_it(desk):
    desk.run("sync")
    held = desk.held()
    desk.sandbox.fault("no-identity", times=-1)
    items = [desk.json("sync", "--startup", code=3) for _ in range(3)]
    assert [(item["status"], item["closed"]) for item in items] == [("DEGRADED", [])] * 3
    assert "ledger account identity" in items[0]["reason"]
    assert desk.held() == held
    assert "login" in desk.run("drift", code=3).stderr
    checks = {one["check"]: one for one in desk.json("doctor", code=1)}
    [refused] = [one for name, one in checks.items() if name.startswith("gateway")]
    assert refused["state"] == "failed"
    assert "expected login and server" in refused["seen"]
    assert not desk.json("status")[0]["safe_to_trade"]
    assert desk.json("account", "identity", ACCOUNT)["required"]
    desk.run("account", "identity", ACCOUNT, "--allow-base-form", code=2)  # without a reason
    allowed = desk.json("account", "identity", ACCOUNT, "--allow-base-form", "--reason", "an old bridge", "--operator", "mk")
    assert (allowed["required"], allowed["appended"], allowed["decided"]["operator"]) == (False, 1, "mk")
    assert desk.json("doctor")[-1]["state"] in ("ok", "warning")
    shown = desk.run("account", "identity", ACCOUNT).stdout
    assert "an old bridge" in shown
    assert "accepted" in shown
    kinds = [json.loads(line)["kind"] for line in desk.run("log", "--json").stdout.splitlines()]
    assert kinds.count("GatewayIdentified") == kinds.count("IdentityRelaxed") == kinds.count("SyncDegraded") == 1
    again = desk.json("account", "identity", ACCOUNT, "--require", "--reason", "the new bridge")
    assert (again["required"], again["appended"]) == (True, 1)
    desk.json("sync", code=3)
    desk.sandbox.clear()
    assert desk.json("sync")["status"] == "SUCCESS"
    assert desk.json("verify")["ok"]


def test_a_withdrawn_deal_is_reported_and_recorded_by_a_person(desk):
    desk.run("sync")
    desk.sandbox.control("cash", type=2, amount="100")
    desk.run("sync")
    deals = [one["deal"] for one in map(json.loads, desk.run("log", "--json").stdout.splitlines()) if one["deal"]]
    desk.sandbox.control("cash", type=2, amount="7")
    desk.run("sync")
    desk.sandbox.control("withdraw", deal=deals[-1])
    items = [desk.json("sync", code=1) for _ in range(3)]
    assert [item["withdrawn"] for item in items] == [[deals[-1]]] * 3
    assert {held["kind"] for held in items[-1]["held"]} == {"balance", "withdrawn"}
    assert "no longer lists" in desk.run("sync", code=1).stdout
    (one,) = [one for one in desk.json("breaks") if one["kind"] == "withdrawn"]
    assert (one["deal"], one["confirmations"]) == (deals[-1], 3)
    word = ("correct", "withdraw", str(deals[-1]), "--operator", "mk", "--reason", "deleted, ticket 4711", "--yes")
    done = desk.json(*word)
    assert [event["kind"] for event in done["events"]][:2] == ["DealRevised", "Adjusted"]
    assert (done["events"][1]["deal"], done["events"][1]["data"]["operator"]) == (deals[-1], "mk")
    assert float(done["balance"]["before"]) - float(done["balance"]["after"]) == 100
    assert desk.json("sync")["status"] == "SUCCESS"
    assert desk.json("balance")[0]["balance"] == desk.sandbox.books()["balance"]
    desk.run(*word, code=2)  # there is nothing left to withdraw
    assert desk.json("verify")["ok"]


def test_a_ghost_result_is_accepted_by_a_person(base):
    base.run("account", "open", ACCOUNT, "--currency", "USD", "--mode", "hedging")
    base.run("sync", "--startup")
    position_id = base.books()[0][0]
    base.sandbox.control("close", position=position_id)
    base.run("sync", "--startup")
    assert base.json("balance")[0]["unexplained"][0]["kind"] == "ghost result"
    shown = base.run("correct", "accept", str(position_id), "--reason", "nobody knows", "--yes").stdout
    assert "ghost result" in shown
    assert "nothing unexplained" in shown
    assert base.json("balance")[0]["unexplained"] == []
    assert [one["complete"] for one in base.json("trades")] == [False]
    assert (
        "nothing is unexplained" in base.run("correct", "accept", str(position_id), "--reason", "again", "--yes", code=2).stderr
    )
    assert "position id" in base.run("correct", "accept", "--reason", "again", "--yes", code=2).stderr
    assert base.json("verify")["ok"]


def test_the_doctor_looks_at_everything_and_finds_a_dropped_trigger(desk, journal):
    desk.run("sync")
    checks = {one["check"]: one for one in desk.json("doctor")}
    assert {name: one["state"] for name, one in checks.items() if one["state"] != "ok"} == {}
    assert {"versions", "journal", "durability", "triggers", "heads", "disk", "keys", "clock", ACCOUNT} <= checks.keys()
    if not journal.startswith("sqlite"):
        return
    connection = sqlite3.connect(journal.removeprefix("sqlite:///"))
    connection.execute("DROP TRIGGER events_no_update")
    connection.close()
    failed = {one["check"]: one for one in desk.json("doctor", code=1)}["triggers"]
    assert (failed["state"], failed["seen"]) == ("failed", "trigger events.events_no_update: it is missing")


def test_the_doctor_finds_a_trigger_that_is_off_on_postgres(desk, journal):
    if journal.startswith("sqlite"):
        return
    import psycopg

    desk.run("sync")
    with psycopg.connect(journal.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("ALTER TABLE heads DISABLE TRIGGER heads_only_forward")
    failed = {one["check"]: one for one in desk.json("doctor", code=1)}["triggers"]
    assert failed["seen"].startswith("trigger heads.heads_only_forward: it was changed")


def test_the_doctor_reports_a_gateway_that_does_not_answer_and_a_wrong_clock_rule(desk):
    desk.run("sync", "--server-tz", "UTC", code=1)  # its clock is ahead of the rule: held, as long as the rule is wrong
    wrong = {one["check"]: one for one in desk.json("doctor", code=1)}["clock"]
    assert "ledger account clock" in wrong["advice"]
    desk.sandbox.stop()
    silent = [one for one in desk.json("doctor", "--timeout-ms", "300", code=3) if one["state"] == "unavailable"]
    assert "nobody is there" in silent[0]["seen"]


def test_the_doctor_finds_no_journal(desk):
    desk.environment["LEDGER_JOURNAL"] = "sqlite:///elsewhere.db"
    missing = {one["check"]: one for one in desk.json("doctor", code=1)}["journal"]
    assert missing["state"] == "failed"


def test_a_daemon_whose_notifications_nobody_reads_still_ends(desk, watching):
    watching.until("sync", status="SUCCESS")
    for _ in range(12):  # more than wait in a queue that nobody empties
        desk.sandbox.fault("error", times=-1)
        watching.until("sync", status="DEGRADED")
        desk.sandbox.clear()
        watching.until("sync", status="SUCCESS")
    assert watching.end() == 0


def test_a_daemon_waits_for_a_gateway_that_does_not_answer_yet(desk):
    desk.run("init")
    desk.sandbox.fault("error", times=-1)
    watching = Watching(desk, "--interval", "0.2")
    try:
        assert "No IPC connection" in str(watching.until("unreachable")["reason"])
        desk.sandbox.clear()
        assert watching.until("sync", status="SUCCESS")["appended"]
        assert watching.end() == 0
    finally:
        watching.close()
