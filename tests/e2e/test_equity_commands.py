"""The commands equity and monitors: text at 80 columns, JSON and CSV, from SQLite and Postgres."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from ledger import BalanceAsserted, Ledger
from ledger.clock import utc_text_us
from ledger.config import read
from ledger.journal.health import SyncHealth
from ledger.json_views import equity_json, monitor_json
from ledger.marks import Mark
from ledger.monitors import states
from ledger.service import utc_now_us
from tests.support.commands import run
from tests.support.journals import ACCOUNT, OTHER, cash, new_url, opened

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000


@pytest.fixture
def now_us():
    return utc_now_us()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path, now_us):
    """A journal with an account of three samples: an hour apart, and after a pause of days one that was computed."""
    url = new_url(request.param, tmp_path)
    begin_us = now_us - 3 * DAY
    begin_msc = begin_us // 1000
    health = SyncHealth(
        account=ACCOUNT, status="SUCCESS", reason=None, since_us=now_us, seen_us=now_us, verified_us=now_us, success_us=now_us,
        duration_us=5, interval_us=15 * SECOND, verified_sec=3600, balance_halts=False, held=(), gateway=None, host="desk1",
        pid=4711, started_us=now_us, program="0.1.0",
    )  # fmt: skip
    with Ledger.create(url) as ledger:
        for account in (ACCOUNT, OTHER):
            ledger.journal.append(account, [opened(account)])
        stated = BalanceAsserted(balance=10_000, time_msc=begin_msc)
        ledger.journal.append(ACCOUNT, [cash(1, profit=10_000, time_msc=begin_msc), stated])
        for at_us, equity in ((begin_us + HOUR, "10000"), (begin_us + 2 * HOUR, "9950.5"), (now_us, "9000.25")):
            mark = Mark(at_us=at_us, balance=Decimal(10_000), equity=Decimal(equity), is_equity_reported=at_us < now_us)
            ledger.journal.save_mark(ACCOUNT, mark)
        ledger.journal.save_sync_health(health)
    return url


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        f'[monitors."{ACCOUNT}"]\ndaily_loss = "50%"\nmax_drawdown = 900\nday = "Asia/Tokyo"\n'
        f'[monitors."{OTHER}"]\nmax_drawdown = "10%"\n',
        encoding="utf-8",
    )
    return path


def test_equity_has_a_row_where_there_were_samples_and_none_in_gaps(url):
    ran = run("equity", "--account", str(ACCOUNT), "--by", "minute", journal=url)
    lines = ran.text.splitlines()
    assert [line.split()[2:] for line in lines[2:5]] == [
        ["10000.00", "10000.00", "10000.00", "10000.00", "1"],
        ["9950.50", "9950.50", "9950.50", "9950.50", "1"],
        ["9000.25", "9000.25", "9000.25", "9000.25", "1"],
    ]
    assert lines[-1] == (
        "interval between samples: 15 s; equity: computed (balance + credit + floating); extremes between samples are unseen"
    )
    assert max(map(len, lines[:-1])) <= 80
    ran = run("equity", "--account", str(OTHER), journal=url)
    assert "no samples: a sync stores one" in ran.text
    assert "source unknown" in ran.text


@pytest.mark.parametrize("by", ["mark", "minute", "day"])
def test_equity_as_json_is_what_the_library_returns_and_csv_has_the_same_rows(url, by, now_us):
    since, until = utc_text_us(now_us - 3 * DAY + HOUR), utc_text_us(now_us - 3 * DAY + 2 * HOUR)
    words = ("equity", "--by", by, "--since", since, "--until", until)
    found = run(*words, "--json", journal=url).json()
    with Ledger.open(url) as ledger:
        assert found == [equity_json(one.equity(by=by, since=since, until=until)) for one in ledger.accounts()]
    mine, other = found
    assert (mine["equity_reported"], mine["by"], other["equity_reported"], other["rows"]) == (True, by, None, [])
    assert sum(row.get("samples", 1) for row in mine["rows"]) == 2
    ran = run(*words, "--csv", journal=url)
    rows = list(csv.DictReader(io.StringIO(ran.out.decode())))
    assert {row["account"] for row in rows} == {str(ACCOUNT)}
    names = [name for name in rows[0] if name not in ("account", "currency")]
    known = [{name: "" if row[name] is None else str(row[name]) for name in names} for row in mine["rows"]]
    assert [{name: row[name].replace("true", "True") for name in names} for row in rows] == known


def test_monitors_show_each_limit_and_what_they_rest_on(url, settings):
    ran = run("--config", str(settings), "monitors", journal=url)
    lines = ran.out.decode().splitlines()
    assert ran.code == 0
    assert lines[2].split() == ["daily_loss", "ok", "999.75", "5000.00", "4000.25", "9000.25", "5000.00"]
    assert lines[3].split() == ["max_drawdown", "breached", "999.75", "900.00", "-99.75", "9000.25", "9100.00"]
    assert "max_drawdown is BREACHED: since" in ran.text
    assert "initial balance 10000.00, of the journal" in ran.text
    assert f"{OTHER} monitors in USD" in ran.text
    assert "max_drawdown is UNKNOWN: the initial balance is not known" in ran.text
    assert lines[-1] == "the provider's own figures decide"
    assert max(len(line) for line in lines if line.startswith(("limit", "daily_loss  ", "max_drawdown  "))) <= 80


def test_monitors_as_json_are_what_the_library_returns(url, settings):
    ran = run("--config", str(settings), "monitors", "--json", journal=url)
    with Ledger.open(url) as ledger:
        found = states(ledger, read(settings), utc_now_us())
        assert ran.json() == [monitor_json(one, ledger.account(one.account).terms) for one in found]
    ran = run("--config", str(settings), "monitors", "--account", str(OTHER), "--csv", journal=url)
    (row,) = csv.DictReader(io.StringIO(ran.out.decode()))
    assert (row["account"], row["limit"], row["state"], row["used"]) == (str(OTHER), "max_drawdown", "unknown", "")


def test_what_is_not_monitored_is_said(url, settings):
    ran = run("--config", str(settings), "monitors", "--account", "Nobody/1", journal=url)
    assert ran.code == 2
    assert f"account Nobody/1 is not monitored by {settings}" in ran.text
    assert f"there are: {ACCOUNT}, {OTHER}" in ran.text
    assert "no monitors: write" in run("monitors", journal=url).text
    assert run("monitors", "--json", journal=url).json() == []


@pytest.mark.parametrize("words", [("equity",), ("trades",), ("log",), ("incidents",), ("report",), ("balance",)])
def test_a_period_that_ends_before_it_begins_is_wrong_use(words, tmp_path):
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    for since, until in (("2026-06-02", "2026-06-01"), ("2026-06-01T12:00", "2026-06-01T11:59")):
        ran = run(*words, "--since", since, "--until", until, journal=url)
        assert (ran.code, ran.out) == (2, b"")
    assert run(*words, "--since", "2026-06-01", "--until", "2026-06-01", journal=url).code == 0
