"""Every channel against a real receiver on this machine: a mail server, a program, Alertmanager, and what apprise can reach."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.alerts.channels.webhook import signature
from ledger.alerts.trial import send_tests
from ledger.journal.memory import MemoryJournal
from tests.gateway.terminals import until
from tests.support.alerts import Desk, MailServer, Receiver, ghost_opened, settings_file
from tests.support.journals import START_US, Clock
from tools.testkit import prometheus

PASSWORD = "sesame"  # noqa: S105  # of a server of ours
GHOST = "Broker-Live/70113: ghost 7 EURUSD"


@contextmanager
def desk_of(folder, text, **secrets):
    clock = Clock()
    with Desk(Ledger(MemoryJournal(clock), clock), settings_file(folder, text, **secrets)) as desk:
        yield desk


def tried(folder, text, **secrets):
    """Return what became of a test notice through the only channel."""
    (found,) = send_tests(list(settings_file(folder, text, **secrets).alerts.channels.values()), START_US)
    return found.error


# ---- smtp


def mail_settings(server, tls="starttls", **more):
    settings = {"host": "127.0.0.1", "from": "ledger@desk.example", "ca_file": "cert.pem", "tls": tls, **more}
    lines = [f'{name} = "{content}"' for name, content in settings.items()]
    to = 'to = ["ann@desk.example", "bob@desk.example"]'
    return "\n".join(["[alerts.channels.mail]", 'type = "smtp"', *lines, to, f"port = {server.port}", ""])


SIGNED_IN = {"user": MailServer.USER, "password_file": "password"}


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_life_of_a_break_is_one_thread_of_mail(tmp_path, tls):
    text = "[alerts]\nescalate_min = [15]\n"
    with (
        MailServer(tmp_path, PASSWORD, tls=tls) as server,
        desk_of(tmp_path, text + mail_settings(server, tls, **SIGNED_IN), password=PASSWORD) as desk,
    ):
        version = desk.append(ghost_opened())
        for seconds in (61, 15 * 60):
            desk.round(seconds)
        desk.close_break(version)
        desk.round(1)
        assert desk.log.of("not sent") == []
    first, second, third = server.got
    assert [one["Subject"] for one in server.got] == [f"[ledger] {GHOST}", *[f"Re: [ledger] {GHOST}"] * 2]
    assert [one["X-Ledger-State"] for one in server.got] == ["open", "escalated", "resolved"]
    assert (
        {one["References"] for one in (second, third)}
        == {one["In-Reply-To"] for one in (second, third)}
        == {first["Message-ID"]}
    )
    assert len({one["Message-ID"] for one in server.got}) == 3
    assert first["To"] == "ann@desk.example, bob@desk.example"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["Date"].datetime.timestamp() == START_US // 1_000_000 + 61
    assert third.get_content().splitlines()[:2] == [f"RESOLVED {GHOST}", ""]


@pytest.mark.parametrize(
    ("changed", "password", "stated"),
    [
        ({}, "wrong", "the mail server answered 535"),
        ({"ca_file": "nobody.pem"}, "sesame", "No such file or directory"),
        ({"tls": "none", "ca_file": "cert.pem"}, None, "the mail server answered 530"),
    ],
)
def test_why_a_mail_server_does_not_accept_a_notice_is_stated_without_secrets(tmp_path, changed, password, stated):
    with MailServer(tmp_path, PASSWORD) as server:
        known = SIGNED_IN if password else {}
        secrets = {"password": password} if password else {}
        assert tried(tmp_path, mail_settings(server, **(known | changed)), **secrets) == stated
        assert server.got == []


def test_a_certificate_that_nobody_trusts_is_refused(tmp_path):
    with MailServer(tmp_path, PASSWORD) as server:
        text = mail_settings(server, **SIGNED_IN).replace('ca_file = "cert.pem"\n', "")
        assert tried(tmp_path, text, password=PASSWORD) == "TLS: CERTIFICATE_VERIFY_FAILED"


def test_a_server_without_tls_gets_nothing_where_tls_is_asked_for(tmp_path):
    with MailServer(tmp_path, PASSWORD, tls="none") as server:
        assert "does not offer" in tried(tmp_path, mail_settings(server))
        assert server.got == []
        assert tried(tmp_path, mail_settings(server, "none")) is None


def test_one_refused_recipient_does_not_repeat_the_mail_for_the_others(tmp_path, caplog):
    with MailServer(tmp_path, PASSWORD) as server:
        server.refused = {"bob@desk.example"}
        with caplog.at_level(logging.WARNING, "ledger.alerts"):
            assert tried(tmp_path, mail_settings(server, **SIGNED_IN), password=PASSWORD) is None
        assert [one.getMessage() for one in caplog.records if one.name == "ledger.alerts"] == [
            "the mail server refused 1 of 2 recipients"
        ]
        server.refused |= {"ann@desk.example"}
        assert (
            tried(tmp_path, mail_settings(server, **SIGNED_IN), password=PASSWORD)
            == "the mail server refused all recipients (550)"
        )


# ---- command


def command_settings(*words, timeout=10):
    return f'[alerts.channels.c]\ntype = "command"\ntimeout_sec = {timeout}\ncommand = {json.dumps([sys.executable, *words])}\n'


def test_a_program_gets_the_notice_on_standard_input_and_its_arguments_as_they_are(tmp_path):
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read()); print('noise')"
    where = str(tmp_path / "$(touch x); out 'put'")
    with desk_of(tmp_path, command_settings("-c", code, where)) as desk:
        desk.append(ghost_opened())
        desk.round(61)
        assert desk.log.of("not sent") == []
    found = json.loads(Path(where).read_text(encoding="utf-8"))
    assert (found["title"], found["state"]) == (GHOST, "open")


@pytest.mark.skipif(os.name != "posix", reason="Windows starts no scripts by their first line")
def test_a_relative_program_is_in_the_folder_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    program = tmp_path / "page"
    program.write_text(f"#!{sys.executable}\nimport sys; sys.exit(7)\n", encoding="utf-8")
    program.chmod(0o755)
    assert (
        tried(tmp_path, '[alerts.channels.c]\ntype = "command"\ncommand = ["./page"]') == "the program ended with exit code 7"
    )


def test_a_program_that_is_not_there_or_does_not_read_is_stated(tmp_path):
    missing = '[alerts.channels.c]\ntype = "command"\ncommand = ["./none"]'
    assert tried(tmp_path, missing) == "the program cannot be started: No such file or directory"
    assert tried(tmp_path, command_settings("-c", "import os; os.close(0)")) is None


@pytest.mark.skipif(os.name != "posix", reason="Windows ends the program alone")
def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path, monkeypatch):
    code = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
        "child.wait()"
    )
    pid_file = tmp_path / "pid"

    def timed_out(process, *_, timeout):
        until(lambda: pid_file.exists() and pid_file.read_text(encoding="utf-8") != "", "the program starts another")
        raise subprocess.TimeoutExpired(process.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", timed_out)
    stated = tried(tmp_path, command_settings("-c", code, str(pid_file)))
    assert stated == "the program did not end within 10 s, and was ended"
    pid = int(pid_file.read_text(encoding="utf-8"))
    until(lambda: not is_running(pid), "the child ends")


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# ---- apprise


def test_apprise_delivers_a_notice_as_text(tmp_path):
    with Receiver() as receiver:
        url = receiver.url.replace("http://", "json://") + "/SESAME"
        with desk_of(tmp_path, '[alerts.channels.chat]\ntype = "apprise"\nurl_file = "chat"\n', chat=url) as desk:
            desk.append(ghost_opened())
            desk.round(61)
            (got,) = receiver.got
            assert (got.json()["title"], got.path) == (f"OPEN {GHOST}", "/SESAME")
            assert got.json()["message"].startswith(f"OPEN {GHOST}\n\nwhat ")


@pytest.mark.parametrize(
    ("url", "stated"),
    [
        ("json://127.0.0.1:9/SESAME", "apprise could not deliver it"),
        ("sesame://x", "expected a URL that apprise understands"),
        ("json://a\njson://b", "expected one URL of apprise"),
    ],
)
def test_why_apprise_does_not_deliver_is_stated_without_its_url(tmp_path, url, stated, capfd, caplog):
    found = tried(tmp_path, '[alerts.channels.chat]\ntype = "apprise"\nurl_file = "chat"\n', chat=url)
    assert found.startswith(stated)
    output = capfd.readouterr()
    assert "sesame" not in f"{found}{output.out}{output.err}{caplog.text}".lower()


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    found = tried(tmp_path, '[alerts.channels.chat]\ntype = "apprise"\nurl_file = "chat"\n', chat="json://x")
    assert "pip install 'mt5-position-ledger[alerts]'" in found


# ---- alertmanager


@contextmanager
def alertmanager(folder, webhook):
    """Run a real Alertmanager that notifies a webhook of what changes, at once."""
    config = folder / "alertmanager.yml"
    config.write_text(
        "route: {receiver: hook, group_by: [...], group_wait: 0s, group_interval: 1s}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{webhook}', send_resolved: true}}]}}]\n",
        encoding="utf-8",
    )
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        port = wire.getsockname()[1]
    with prometheus.alertmanager(config, folder / "am", port):
        until(lambda: is_ready(port), "Alertmanager is ready")
        yield f"http://127.0.0.1:{port}"


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def alerts_of(url):
    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=10) as answer:  # noqa: S310  # ours
        return json.load(answer)


def test_alertmanager_gets_a_break_keeps_it_and_sends_that_it_is_over(tmp_path):
    with Receiver() as receiver, alertmanager(tmp_path, receiver.url) as url:
        text = f'[alerts]\nescalate_min = [15]\n[alerts.channels.am]\ntype = "alertmanager"\nurl = "{url}"\n'
        with desk_of(tmp_path, text) as desk:
            desk.clock.now_us = time.time_ns() // 1000 - 20 * 60_000_000  # Alertmanager has its own clock
            desk.wait(0)
            version = desk.append(ghost_opened())
            desk.round(61)
            assert receiver.arrived.acquire(timeout=30)
            (known,) = alerts_of(url)
            assert known["labels"] | {"key": ""} == {
                "alertname": "LedgerBreakOpen", "severity": "page", "kind": "ghost", "key": "", "source": "ledger alert",
                "server": "Broker-Live", "login": "70113",
            }  # fmt: skip
            assert known["annotations"]["summary"] == GHOST
            desk.round(15 * 60)  # escalated: the same alert
            desk.round(3 * 60)
            assert len(alerts_of(url)) == 1
            assert alerts_of(url)[0]["endsAt"] > known["endsAt"]
            desk.close_break(version)
            desk.round(10)
            assert receiver.arrived.acquire(timeout=30)
            assert desk.log.of("not sent") == []
        firing, resolved = (one.json() for one in receiver.got)
        assert [one["status"] for one in (firing, resolved)] == ["firing", "resolved"]
        assert firing["alerts"][0]["labels"] == resolved["alerts"][0]["labels"]


def test_what_goes_on_is_sent_to_alertmanager_again_and_recorded_once(tmp_path):
    with Receiver() as receiver:
        text = f'[alerts.channels.am]\ntype = "alertmanager"\nurl = "{receiver.url}/prefix/"\n'
        with desk_of(tmp_path, text) as desk:
            desk.append(ghost_opened())
            for _ in range(11):
                desk.round(61)
            assert [one.path for one in receiver.got] == ["/prefix/api/v2/alerts"] * 3
            assert len({json.dumps(one.json()[0]["labels"]) for one in receiver.got}) == 1
            assert len(desk.ledger.journal.sent_notices()) == 1


# ---- all of them


def test_a_receiver_that_accepts_and_never_answers_is_given_up(tmp_path):
    with Receiver() as receiver:
        receiver.holding = threading.Event()
        text = '[alerts.channels.desk]\ntype = "webhook"\nurl_file = "desk"\ntimeout_sec = 0.2\n'
        assert tried(tmp_path, text, desk=receiver.url) == "no answer in time"


def test_user_and_password_of_a_url_are_sent_as_such(tmp_path):
    with Receiver() as receiver:
        url = receiver.url.replace("http://", "http://ann:se%40same@")
        assert tried(tmp_path, '[alerts.channels.desk]\ntype = "webhook"\nurl_file = "desk"\n', desk=url) is None
        assert receiver.got[0].headers["Authorization"] == "Basic YW5uOnNlQHNhbWU="
        assert "ann" not in receiver.got[0].headers["Host"]


def test_the_signature_is_that_of_the_documented_recipe():
    assert signature(b"body", "secret") == "sha256=dc46983557fea127b43af721467eb9b3fde2338fe3e14f51952aa8478c13d355"
