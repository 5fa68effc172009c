"""``ledger alert`` as it is called: a test of the channels, one round, and the daemon until a signal."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from ledger import Ledger
from ledger.service import utc_now_us
from tests.gateway.terminals import until
from tests.support.alerts import WEBHOOK, Receiver, ghost_opened, health_of, settings_file
from tests.support.commands import run
from tests.support.journals import ACCOUNT, new_url, opened

TWO = "[alerts]\ngrace_sec = 0\n" + "".join(
    f'[alerts.channels.{name}]\ntype = "webhook"\nurl_file = "{name}"\n' for name in ("desk", "mail")
)


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def url(tmp_path):
    return desk_url("sqlite", tmp_path)


def desk_url(kind, folder):
    """Return the URL of a journal with an account that was verified, and a break of it."""
    url = new_url(kind, folder)
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), ghost_opened()])
        ledger.journal.save_sync_health(health_of(ACCOUNT, utc_now_us(), verified_sec=86_400.0))
    return url


def config(folder, text, **secrets):
    settings_file(folder, text, **secrets)
    return str(folder / "ledger.toml")


def test_every_channel_is_tried_and_what_became_of_it_is_reported(tmp_path, receiver):
    path = config(tmp_path, TWO, desk=receiver.url, mail="http://127.0.0.1:9/SESAME")
    ran = run("alert", "--test", "--config", path)
    assert ran.code == 3
    rows = [line.split() for line in ran.out.decode().splitlines()[2:4]]
    assert [(one[:2], one[4:]) for one in rows] == [
        (["desk", "webhook"], ["delivered"]), (["mail", "webhook"], ["Connection", "refused"]),
    ]  # fmt: skip
    assert "SESAME" not in ran.text
    (got,) = (one.json() for one in receiver.got)
    assert (got["state"], got["kind"], got["account"]) == ("test", "test", None)
    assert got["text"].startswith("TEST the journal: test notice\n")

    ran = run("alert", "--test", "--json", "--config", path)
    assert (ran.code, [(one["channel"], one["type"], one["delivered"], one["error"]) for one in ran.json()]) == (
        3, [("desk", "webhook", True, None), ("mail", "webhook", False, "Connection refused")],
    )  # fmt: skip
    ran = run("alert", "--test", "--channel", "desk", "--json", "--config", path)
    assert (ran.code, len(ran.json()), len(receiver.got)) == (0, 1, 3)


@pytest.mark.parametrize(
    ("words", "text", "stated"),
    [
        (["--test"], "", "expected a channel in the settings, found none"),
        (["--once"], "", "expected a channel in the settings, found none"),
        (["--test", "--channel", "phone"], TWO, "there is no channel 'phone'; there are: desk, mail"),
        (["--once", "--test"], TWO, "exclude one another"),
        (["--once", "--channel", "desk"], TWO, "--channel goes with --test"),
        (["--once", "--metrics", "127.0.0.1:0"], TWO, "only a daemon is there to be scraped"),
        (["--json"], TWO, "--json goes with --once or --test"),
    ],
)
def test_wrong_use_is_stated(tmp_path, url, words, text, stated):
    ran = run("alert", *words, "--config", config(tmp_path, text), journal=url)
    assert (ran.code, ran.out) == (2, b"")
    assert stated in ran.text


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_once_sends_what_is_due_and_states_what_it_could_not(tmp_path, receiver, kind):
    url, title = desk_url(kind, tmp_path), "Broker-Live/70113: ghost 7 EURUSD"
    path = config(tmp_path, TWO, desk=receiver.url, mail="http://127.0.0.1:9/SESAME")
    ran = run("alert", "--once", "--config", path, journal=url)
    assert (ran.code, ran.out.decode()) == (3, f"desk: OPEN {title}\n")
    assert "mail: not sent: Connection refused\n" in ran.err.decode()
    (tmp_path / "mail").write_text(receiver.url, encoding="utf-8")
    found = run("alert", "--once", "--json", "--config", path, journal=url).json()
    assert found | {"sent": []} == {"conditions": 1, "due": 1, "failed": [], "sent": []}
    assert [(one["channel"], one["title"]) for one in found["sent"]] == [("mail", title)]
    ran = run("alert", "--once", "--config", path, journal=url)
    assert (ran.code, ran.out.decode()) == (0, "nothing to send; what is wrong (1) is reported, or within its grace period\n")
    assert len(receiver.got) == 2


def test_without_a_journal_it_can_be_tried_again(tmp_path, receiver):
    path = config(tmp_path, WEBHOOK, desk=receiver.url)
    assert run("alert", "--test", "--config", path, journal=f"sqlite:///{tmp_path}/none.db").code == 0
    ran = run("alert", "--once", "--config", path, journal=f"sqlite:///{tmp_path}/none.db")
    assert ran.code == 2
    assert "there is no journal" in ran.text


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM")
def test_the_daemon_notifies_when_something_is_appended_and_ends_at_a_signal(tmp_path, receiver, url):
    path = config(
        tmp_path, f'{TWO}[alerts.deadman]\nurl_file = "ping"\n', desk=receiver.url, ping=f"{receiver.url}/ping",
        mail="http://127.0.0.1:9/SESAME",
    )  # fmt: skip
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-m", "ledger", "alert", "--journal", url, "--config", path, "--metrics", "127.0.0.1:0"],
            env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=subprocess.PIPE,
        )
        try:
            assert notified.recv(100) == b"READY=1"
            until(lambda: subjects(receiver) == ["7 EURUSD"], "the break that is there is reported")
            with Ledger.open(url) as ledger:
                ledger.journal.append(ACCOUNT, [ghost_opened(8)])
            until(lambda: subjects(receiver) == ["7 EURUSD", "8 EURUSD"], "the break that was appended is reported")
            assert process.stderr is not None
            begin = [process.stderr.readline() for _ in range(2)]
            at, delivered = json.loads(begin[1])["at"], 'ledger_alert_notices_total{channel="desk",result="delivered"} 2.0'
            until(lambda: delivered in page(at), "both are counted")
            metrics = page(at)
            process.send_signal(signal.SIGTERM)
            errors = process.stderr.read()
            process.stderr.close()
            process.wait(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert notified.recv(100) == b"STOPPING=1"
    assert process.returncode == 0
    lines = [json.loads(line) for line in (*begin, *errors.splitlines())]
    assert 'ledger_alert_last_delivery_timestamp_seconds{channel="desk"} ' in metrics
    assert 'ledger_alert_last_delivery_timestamp_seconds{channel="mail"} ' not in metrics
    assert [lines[0]["event"], lines[-1]["event"]] == ["watching", "stopped"]
    assert {one["why"] for one in lines if one["event"] == "not sent"} == {"Connection refused"}
    assert b"SESAME" not in errors
    assert next(one.path for one in receiver.got if one.method == "GET") == "/ping/start"


def page(url):
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  # ours
        return answer.read().decode()


def subjects(receiver):
    return [one.json()["subject"] for one in receiver.got if one.method == "POST"]
