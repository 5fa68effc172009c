"""The daemon as a process of its own, under what happens to it: a database that restarts, an account that fails, signals."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import pytest

from ledger import AccountId, Ledger
from ledger.derived import lags
from ledger.gateway.sandbox.client import Sandbox
from tests.crash.conftest import ROOT
from tests.support.journals import new_url
from tests.support.machine import agrees, deals_of, look, money_agrees
from tools.testkit.postgres import start_postgres

ACCOUNT = AccountId("Sandbox-Demo", 70113)
PATIENCE_SEC = 60


class Watch:
    """A daemon: the lines that it logs, and what it lets systemd know."""

    def __init__(self, folder: Path, journal: str, *options: str, **environment: str) -> None:
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind(str(folder / "notify"))
        self.ear.settimeout(PATIENCE_SEC)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LEDGER_", "GTW_", "SYNC_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ledger", "sync", "--watch", "--interval", "0.1", "--timeout-ms", "2000", *options],
            cwd=folder, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**inherited, "LEDGER_JOURNAL": journal, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(folder / "notify"),
                 **environment},
        )  # fmt: skip
        self.lines: list[dict[str, Any]] = []
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.ear.close()

    def until(self, event: str, **fields: object) -> dict[str, Any]:
        """Return the next line about an event with these fields."""
        while True:
            line = self._line()
            self.lines.append(line)
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items()):
                return line

    def _line(self) -> dict[str, Any]:
        assert self.process.stderr is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.process.stderr], [], [], PATIENCE_SEC)
            assert ready, f"the daemon prints nothing more after {self.lines[-3:]}"
            more = os.read(self.process.stderr.fileno(), 65536)
            assert more, f"the daemon ended with {self.process.wait()} after {self.lines[-3:]} {self._rest.decode()}"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def notified(self, words: str) -> str:
        while words not in (output := self.ear.recv(65536).decode()):
            pass
        return output

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SEC)


def named(*ports: tuple[str, str]) -> str:
    return "".join(f'[gateways."{account}"]\nurl = "{url}"\n' for account, url in ports)


@pytest.mark.parametrize("how", ["shut down", "killed"])
def test_a_database_that_restarts_is_reported_and_waited_for(how, tmp_path):
    with start_postgres() as server, Sandbox.start("--positions", "2", "--server-tz", "UTC") as sandbox:
        url = server.create_database()
        Ledger.open(url, create=True).close()
        with Watch(tmp_path, url, "--gateway", sandbox.endpoint, "--health", str(tmp_path / "health.json")) as daemon:
            daemon.until("sync", status="SUCCESS")
            for _ in range(2):
                if how == "killed":
                    server.kill()
                else:
                    server.shut_down()
                sandbox.control("trade", symbol="EURUSD", side="buy", volume="0.10")
                reason = daemon.until("sync", status="FAILED")["reason"]
                assert "postgres" in reason
                entry = json.loads((tmp_path / "health.json").read_text())["accounts"][str(ACCOUNT)]
                assert entry["safe_to_trade"] is False
                server.start()
                daemon.until("sync", status="SUCCESS")
            assert daemon.end() == 0
        with Ledger.open(url, create=False) as ledger:
            account = ledger.account(ACCOUNT)
            seen, books = look(account), sandbox.books()
            agrees(seen, books, extended=True, nets=False)
            money_agrees(seen, books)
            assert len(deals_of(account)) == len(set(deals_of(account))) == books["deals"]
            assert ledger.verify().ok
            stored = ledger.journal.sync_health(ACCOUNT)
            assert stored is not None
            assert stored.status == "SUCCESS"


def test_an_account_that_fails_is_named_and_the_others_go_on(tmp_path):
    url = new_url("sqlite", tmp_path)
    with (
        Sandbox.start("--positions", "1", "--server-tz", "UTC") as good,
        Sandbox.start("--form", "base", "--login", "7") as unknown,  # reports no account, and the journal holds none like it
    ):
        (tmp_path / "ledger.toml").write_text(
            named((str(ACCOUNT), good.endpoint), ("Sandbox-Demo/7", unknown.endpoint), ("Gone/1", "tcp://127.0.0.1:1"))
        )
        with Watch(tmp_path, url, WATCHDOG_USEC="200000") as daemon:
            assert daemon.until("watching")["accounts"] == [str(ACCOUNT), "Sandbox-Demo/7", "Gone/1"]
            first = daemon.until("worker ended")
            assert (first["account"], "open it" in first["reason"]) == ("Sandbox-Demo/7", True)
            assert "READY=1" in daemon.notified("READY=1")
            daemon.notified("WATCHDOG=1")
            ticket = good.control("trade", symbol="EURUSD", side="buy", volume="0.10")["deals"][0]["ticket"]
            while ticket not in daemon.until("sync", account={"server": "Sandbox-Demo", "login": 70113}).get("fills", []):
                pass
            with Ledger.open(url, create=False) as ledger:
                ledger.account("Sandbox-Demo", 7).open(currency="USD", mode="hedging")
            daemon.until("sync", account={"server": "Sandbox-Demo", "login": 7}, status="SUCCESS")
            assert daemon.end() == 0
    pauses = [line["restart_sec"] for line in daemon.lines if line["event"] == "worker ended"]
    assert pauses == sorted(pauses)


def wait_for_tables(url: str) -> None:
    """Return when a follower has brought the account's derived tables up to date."""
    give_up = time.monotonic() + PATIENCE_SEC
    with Ledger.open(url) as ledger:
        while (lag := ledger.account(ACCOUNT).derived.lag()).events:
            assert time.monotonic() < give_up, f"nobody follows: {lag}"
            time.sleep(0.02)


def test_a_hangup_has_the_settings_read_anew_and_wrong_ones_left_out(tmp_path):
    url = new_url("sqlite", tmp_path)
    config = tmp_path / "ledger.toml"
    with Sandbox.start("--server-tz", "UTC") as first, Sandbox.start("--login", "8", "--server-tz", "UTC") as second:
        config.write_text(named((str(ACCOUNT), first.endpoint)))
        with Watch(tmp_path, url) as daemon:
            daemon.until("sync", status="SUCCESS")
            daemon.notified("READY=1")
            wait_for_tables(url)  # it keeps them up beside its syncs
            config.write_text("[polcy]\n")
            daemon.process.send_signal(signal.SIGHUP)
            assert "Did you mean policy?" in daemon.until("reload refused")["reason"]
            both = named((str(ACCOUNT), first.endpoint), ("Sandbox-Demo/8", second.endpoint))
            config.write_text(f"{both}[derived]\nfollow = false\n")
            daemon.process.send_signal(signal.SIGHUP)
            daemon.until("reloaded")
            assert daemon.until("watching")["accounts"] == [str(ACCOUNT), "Sandbox-Demo/8"]
            daemon.until("sync", account={"server": "Sandbox-Demo", "login": 8}, status="SUCCESS")
            assert "MONOTONIC_USEC=" in daemon.notified("RELOADING=1")
            daemon.notified("READY=1")
            assert daemon.end() == 0
    with Ledger.open(url) as ledger:
        assert {name.login: lag.version > 0 for name, lag in lags(ledger).items()} == {70113: True, 8: False}


def test_settings_that_are_wrong_at_the_start_are_wrong_use(tmp_path):
    url = new_url("sqlite", tmp_path)
    (tmp_path / "ledger.toml").write_text('[gateway]\nurl = "tcp://10.0.0.7:5555"\n')
    with Watch(tmp_path, url) as daemon:
        assert daemon.process.wait(PATIENCE_SEC) == 2
