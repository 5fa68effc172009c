"""Metrics as Prometheus gets them: a real daemon over a real sandbox, scraped, and compared with what commands print."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from datetime import datetime

import pytest

from ledger.gateway.sandbox.client import Sandbox
from ledger.metrics import families
from tests.e2e.test_sync_commands import Desk
from tests.support.journals import new_url
from tools.testkit import prometheus

SERVER = 'server="Sandbox-Demo"'
OF_ACCOUNT = 'login="70113",server="Sandbox-Demo"'


class Serving:
    """A command that serves metrics until it is ended."""

    def __init__(self, desk, *words):
        self.process = subprocess.Popen(
            desk.command(*words), cwd=desk.folder, env=desk.environment, stderr=subprocess.PIPE, text=True
        )
        self.lines = []

    def until(self, found):
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found(line):
                return line
        raise AssertionError("".join(self.lines))

    def end(self):
        self.process.terminate()
        code = self.process.wait(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


def scrape(url):
    with urllib.request.urlopen(url) as answer:  # noqa: S310  # ours
        text = answer.read().decode()
    run = prometheus.run("promtool", "check", "metrics", stdin=text)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", ""), text
    return figures(text)


def figures(text):
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(figure) for name, _, figure in lines}


def seconds(moment):
    return datetime.fromisoformat(moment).timestamp()


@pytest.fixture(params=["sqlite", "postgres"])
def desk(request, tmp_path):
    sandbox = Sandbox.start("--positions", "3")
    desk = Desk(tmp_path, sandbox, new_url(request.param, tmp_path))
    desk.run("init")
    yield desk
    sandbox.stop()


def test_what_a_daemon_serves_is_what_status_shows_and_outlives_it_in_another_process(desk):
    daemon = Serving(desk, "sync", "--watch", "--interval", "0.2", "--metrics", "127.0.0.1:0")
    try:
        url = json.loads(daemon.until(lambda line: '"metrics"' in line))["at"]
        daemon.until(lambda line: '"SUCCESS"' in line)
        found = scrape(url)
        assert found[f"ledger_safe_to_trade{{{OF_ACCOUNT}}}"] == 1
        assert found[f"ledger_positions_open{{{OF_ACCOUNT}}}"] == 3
        assert found[f'ledger_syncs_total{{{OF_ACCOUNT},status="SUCCESS"}}'] >= 1
        assert found[f'ledger_syncs_total{{{OF_ACCOUNT},status="FAILED"}}'] == 0
        assert found[f"ledger_append_duration_seconds_count{{{SERVER}}}"] > 3
        assert found[f'ledger_gateway_requests_total{{action="GET_POSITIONS",result="ok",{SERVER}}}'] >= 1
        assert abs(found[f"ledger_gateway_clock_skew_seconds{{{SERVER}}}"]) < 5
        desk.sandbox.fault("error", times=-1)
        daemon.until(lambda line: '"DEGRADED"' in line)
        assert scrape(url)[f"ledger_sync_degraded{{{OF_ACCOUNT}}}"] == 1
    finally:
        code = daemon.end()
    assert code == 0
    (shown,) = desk.json("status")
    found = figures(desk.run("metrics").stdout)
    assert found[f"ledger_safe_to_trade{{{OF_ACCOUNT}}}"] == shown["safe_to_trade"] == 0
    assert found[f"ledger_sync_last_attempt_timestamp_seconds{{{OF_ACCOUNT}}}"] == seconds(shown["last_seen"])
    assert found[f"ledger_sync_last_success_timestamp_seconds{{{OF_ACCOUNT}}}"] == seconds(shown["last_verified"])
    assert found[f'ledger_accounts{{{SERVER},state="degraded"}}'] == 1
    assert found[f'ledger_events_appended_total{{kind="SyncDegraded",{SERVER}}}'] == 1
    served = Serving(desk, "metrics", "--listen", "127.0.0.1:0")
    try:
        again = scrape(served.until(lambda line: "http://" in line).split()[-1])
    finally:
        assert served.end() == 0
    sizes = ("ledger_journal_free_bytes", "ledger_journal_size_bytes")  # others write to the disk too
    assert {name: figure for name, figure in again.items() if name not in sizes} == {
        name: figure for name, figure in found.items() if name not in sizes
    }


def test_a_daemon_may_leave_the_journal_to_another_process(tmp_path):
    sandbox = Sandbox.start()
    desk = Desk(tmp_path, sandbox, new_url("sqlite", tmp_path))
    desk.run("init")
    (tmp_path / "ledger.toml").write_text("[metrics]\njournal = false\n", "utf-8")
    daemon = Serving(desk, "sync", "--watch", "--interval", "0.2", "--metrics", "127.0.0.1:0")
    try:
        url = json.loads(daemon.until(lambda line: '"metrics"' in line))["at"]
        daemon.until(lambda line: '"SUCCESS"' in line)
        names = {name.partition("{")[0] for name in scrape(url)}
    finally:
        daemon.end()
        sandbox.stop()
    assert "ledger_syncs_total" in names
    assert not names & {families.PREFIX + one.name for one in families.OF_JOURNAL}


def test_commands_that_run_once_leave_their_metrics_in_files(tmp_path):
    sandbox = Sandbox.start("--positions", "2")
    desk = Desk(tmp_path, sandbox, new_url("sqlite", tmp_path))
    desk.run("init")
    try:
        desk.run("sync", "--once", "--metrics-textfile", "sync.prom")
    finally:
        sandbox.stop()
    desk.run("keys", "seal")
    desk.run("verify", "--metrics-textfile", "verify.prom")
    desk.run("seal", "--metrics-textfile", "seal.prom")
    desk.run("backup", "copy.db", "--metrics-textfile", "backup.prom")
    text = "".join((tmp_path / f"{name}.prom").read_text("utf-8") for name in ("sync", "verify", "seal", "backup"))
    run = prometheus.run("promtool", "check", "metrics", stdin=text)
    assert (run.returncode, run.stdout) == (0, "")
    found = figures(text)
    assert found[f"ledger_positions_open{{{OF_ACCOUNT}}}"] == 2
    assert f"ledger_safe_to_trade{{{OF_ACCOUNT}}}" not in found  # nobody would take it back
    assert found["ledger_verify_problems"] == 0
    health = seconds(desk.json("status")[0]["last_seen"])
    for name in ("verify_last", "seal_last", "backup_last_success"):
        assert health <= found[f"ledger_{name}_timestamp_seconds"] < health + 600
    refused = desk.run("seal", "--metrics-textfile", "backup.prom", code=2)
    assert "give each command its own file" in refused.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--once", "--metrics", "127.0.0.1:0"), "use --metrics with --watch"),
        (("--watch", "--metrics-textfile", "x.prom"), "use --metrics HOST:PORT"),
        (("--watch", "--metrics", "9464"), "HOST:PORT"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, words, reason):
    sandbox = Sandbox.start()
    desk = Desk(tmp_path, sandbox, new_url("sqlite", tmp_path))
    desk.run("init")
    try:
        assert reason in desk.run("sync", *words, code=2).stderr
    finally:
        sandbox.stop()
