"""The command derive: what it brings up to date, shows, and deletes, on SQLite and Postgres."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ledger import Ledger
from tests.support.commands import run
from tests.support.journals import ACCOUNT, DURABLE, OTHER, Clock, cash, fill, new_url, opened


@pytest.fixture(params=DURABLE)
def url(request, tmp_path):
    url = new_url(request.param, tmp_path)
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 9))])
        ledger.journal.append(OTHER, [opened(OTHER)])
    return url


def rows(ran):
    """Return login -> version, how far behind, bookings of what was printed as JSON."""
    assert ran.code == 0, ran
    return {one["account"]["login"]: (one["version"], one["behind"], one["bookings"]) for one in ran.json()}


def test_it_brings_tables_up_to_date_and_shows_how_far_behind_they_are(url):
    assert rows(run("derive", "--lag", "--json", journal=url)) == {70113: (0, 9, 0), 70114: (0, 1, 0)}
    assert rows(run("derive", "--account", str(ACCOUNT), "--json", journal=url)) == {70113: (9, 0, 8)}
    assert rows(run("derive", "--json", journal=url)) == {70113: (9, 0, 8), 70114: (1, 0, 0)}
    lines = run("derive", "--rebuild", journal=url).text.splitlines()
    assert [line.split()[:4] for line in lines[2:4]] == [
        ["Broker-Live/70113", "v9", "0", "8"],
        ["Broker-Live/70114", "v1", "0", "0"],
    ]
    assert max(map(len, lines)) <= 80
    assert run("derive", "--drop", "--account", str(ACCOUNT), journal=url).text == "Broker-Live/70113: dropped\n"
    assert rows(run("derive", "--lag", "--json", journal=url)) == {70113: (0, 9, 0), 70114: (1, 0, 0)}
    assert run("derive", "--drop", "--json", journal=url).json() == [{"server": "Broker-Live", "login": 70114}]
    assert run("derive", "--drop", journal=url).text == "there is nothing to drop\n"


def test_an_account_that_fails_keeps_no_other_from_being_kept_up(url):
    most = "9000000000000"  # two do not fit a sum
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [cash(9, 9, profit=most), cash(10, 10, profit=most)])
    ran = run("derive", journal=url)
    assert ran.code == 2
    assert "Broker-Live/70113 is left out: account Broker-Live/70113: " in ran.text
    assert rows(run("derive", "--lag", "--json", journal=url)) == {70113: (0, 11, 0), 70114: (1, 0, 0)}


@pytest.mark.parametrize("words", [("--drop", "--rebuild"), ("--watch", "--lag"), ("--watch", "--account", str(ACCOUNT))])
def test_what_does_not_go_together_is_refused(words, tmp_path):
    url = new_url("sqlite", tmp_path)
    ran = run("derive", *words, journal=url)
    assert ran.code == 2
    assert "choose one" in ran.text or "leave --account out" in ran.text


def test_watching_goes_on_until_it_is_stopped(url):
    """As a process of its own: it prints each account that it caught up, and ends with a signal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")}
    command = [sys.executable, "-m", "ledger", "derive", "--watch", "--journal", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["Broker-Live/70113 v9\n", "Broker-Live/70114 v1\n"]
            with Ledger.open(url) as ledger:
                ledger.account(OTHER).record(fill(1, 1))
                assert process.stdout.readline() == "Broker-Live/70114 v2\n"
                assert ledger.account(OTHER).derived.lag().events == 0
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
