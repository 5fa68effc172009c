"""The command incidents, and the causes that breaks shows: text in 80 columns, JSON and CSV, on SQLite and Postgres."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest

from ledger import Adjusted, BreakClosed, BreakOpened, GhostClosed, Ledger, SyncDegraded, SyncRestored
from ledger.cli.output import print_lines
from ledger.service import utc_now_us
from tests.support.commands import run
from tests.support.journals import ACCOUNT, OTHER, START_MSC, Intruder, fill, ghost, new_url, opened

MINUTE_MSC = 60_000
POSITION = 50_629_002_942
GHOST: dict[str, Any] = {
    "kind": "ghost",
    "position_id": POSITION,
    "symbol": "EURUSD",
    "ours": "buy 1 EURUSD @ 1.1",
}
FIELDS = ["account", "kind", "position_id", "symbol", "deal", "started_at", "ended_at", "duration_sec", "outcome", "operator",
          "reason", "versions", "cause", "certainty", "because", "approved_by", "owner"]  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request, tmp_path_factory):
    """A journal of two accounts, recorded within the last half hour. It is only read."""
    url = new_url(request.param, tmp_path_factory.mktemp("incidents"))
    begin_us = utc_now_us() - 30 * MINUTE_MSC * 1000
    clock = [begin_us]
    with Ledger.create(url, now_us=lambda: clock[0]) as ledger:
        for name in (ACCOUNT, OTHER):
            ledger.journal.append(name, [opened(name)])
        for minute, events in enumerate(story(begin_us // 1000), 1):
            clock[0] = begin_us + minute * MINUTE_MSC * 1000
            ledger.account(ACCOUNT).record_many(events, correlation="sync", expected_version=ledger.account(ACCOUNT).version)
    return url


def story(begin_msc: int) -> list[list[Any]]:
    times = [begin_msc + minute * MINUTE_MSC for minute in range(9)]
    closing = fill(5001, side="sell", entry="out", position_id=POSITION, reason=6, origin="recovery", time_msc=times[2])
    return [
        [
            fill(5000, position_id=POSITION, time_msc=times[0]),
            fill(9, time_msc=times[0]),
            SyncDegraded(reason="timeout", time_msc=times[1]),
        ],
        [SyncRestored(time_msc=times[2]), BreakOpened(**GHOST, time_msc=times[2])],
        [closing],
        [BreakClosed(kind="ghost", end="explained", position_id=POSITION, time_msc=times[4], caused_by=6)],
        [Adjusted(operator="ann", reason="=1+1", time_msc=times[5], balance_before="1", balance_after="5.2")],
        [BreakOpened(**{**GHOST, "position_id": 8}, flaps=3, why="it flaps", time_msc=times[6])],
        [GhostClosed(before=ghost(9).before, time_msc=times[7])],
    ]


def test_a_terminal_shows_the_period_in_eighty_columns_and_a_pipe_all_of_it(url, monkeypatch):
    lines = run("incidents", "--account", str(ACCOUNT), journal=url).text.splitlines()
    assert lines[0] == str(ACCOUNT)
    assert lines[1].split() == ["started", "(UTC)", "lasted", "what", "about", "outcome"]
    assert [line.split("  ")[-1].strip() for line in lines[2:7]] == [
        "restored; timeout",
        "explained by deal 5001, v7; stop-out",
        '+4.20 by ann: "=1+1"',
        "closed buy 1, result unknown: possibly gateway fault",
        "buy 1 EURUSD, broker none; flapping",
    ]
    assert lines[7].startswith("4 closed, 1 open; degraded ")
    assert lines[7].endswith("(0.01 % of the period)")
    monkeypatch.setenv("COLUMNS", "80")
    printed = io.StringIO()
    printed.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdout", printed)
    monkeypatch.setenv("TERM", "xterm")
    print_lines(lines)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue()).splitlines()
    assert max(map(len, shown)) <= 80
    assert any(line.endswith("…") for line in shown)


def test_programs_read_the_same_in_json_and_csv(url):
    found = run("incidents", "--json", journal=url).json()
    assert [list(one) for one in found] == [FIELDS] * 5
    broken = found[1]
    assert (broken["kind"], broken["position_id"], broken["deal"], broken["outcome"]) == ("ghost", POSITION, 5001, "explained")
    assert (broken["versions"], broken["duration_sec"]) == ([6, 7, 8], 120.0)
    assert (broken["cause"], broken["certainty"]) == ("stop-out", "certain")
    assert broken["because"] == [{"version": 7, "kind": "FillRecorded", "deal": 5001, "what": "reason so"}]
    assert (found[2]["cause"], found[2]["duration_sec"], found[2]["operator"]) == (None, None, "ann")
    assert (found[4]["ended_at"], found[4]["outcome"], found[4]["reason"]) == (None, None, "it flaps")
    assert found[4]["duration_sec"] > 20 * 60
    out = run("incidents", "--csv", journal=url).out.decode()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["kind"] for row in rows] == [one["kind"] for one in found]
    assert (rows[1]["account"], rows[1]["started_at"]) == (str(ACCOUNT), broken["started_at"])
    assert (rows[2]["reason"], rows[2]["deal"], rows[4]["ended_at"]) == ("'=1+1", "", "")


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (("--kind", "ghost"), ["ghost", "ghost"]),
        (("--kind", "breaks", "--open"), ["ghost"]),
        (("--kind", "corrections"), ["adjusted", "ghost closed"]),
        (("--kind", "DEGRADED", "--kind", "deals"), ["degraded"]),
        (("--open",), ["ghost"]),
        (("--since", "1s"), ["ghost"]),
        (("--since", "2020-01-01", "--until", "2020-12-31"), []),
        (("--account", str(OTHER)), []),
        (("--account", str(OTHER), "--account", str(ACCOUNT), "--open"), ["ghost"]),
    ],
)
def test_options_select(words, kinds, url):
    assert [one["kind"] for one in run("incidents", "--json", *words, journal=url).json()] == kinds


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("--kind", "gost"), "Did you mean ghost?"),
        (("--kind", "x"), "Kinds: degraded,"),
        (("--since", "yesterday"), "24h"),
        (("--since", "2026-01-02", "--until", "2026-01-01"), "--since"),
        (("--json", "--csv"), "choose one"),
        (("--account", "No/1"), "not in this journal"),
    ],
)
def test_what_cannot_be_asked_is_wrong_use(words, output, url):
    ran = run("incidents", *words, journal=url)
    assert (ran.code, output in ran.text) == (2, True)


def test_nothing_is_reported_as_nothing(tmp_path):
    url = new_url("sqlite", tmp_path)
    assert run("incidents", journal=url).text == "no accounts yet\n"
    assert run("incidents", "--json", journal=url).json() == []
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    lines = run("incidents", journal=url).text.splitlines()
    assert lines == [str(ACCOUNT), "0 closed, 0 open; degraded 0 s (0.00 % of the period)"]


def test_breaks_and_what_is_unexplained_show_their_causes(url):
    [item] = run("breaks", "--json", journal=url).json()
    assert (item["position_id"], item["cause"], item["certainty"], item["because"][0]["version"]) == (
        8,
        "flapping",
        "certain",
        10,
    )
    assert "ghost 8: it flaps; flapping" in run("breaks", journal=url).text
    [row] = run("breaks", "--unexplained", "--json", journal=url).json()
    assert (row["position_id"], row["kind"], row["cause"]) == (9, "ghost result", "gateway fault")
    assert "possibly gateway fault" in run("breaks", "--unexplained", journal=url).text
    assert run("breaks", "--unexplained", "--csv", journal=url).out.decode().splitlines()[1].startswith(f"{ACCOUNT},USD,9,")
    assert "cause" in run("breaks", "--csv", journal=url).out.decode().splitlines()[0]


@pytest.mark.parametrize("options", [(), ("--json",), ("--csv",)])
def test_an_account_that_cannot_be_read_is_named_and_hides_no_other(tmp_path, options):
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        for name in (ACCOUNT, OTHER):
            ledger.journal.append(name, [opened(name), fill(1), SyncDegraded(reason="timeout", time_msc=START_MSC + 2)])
    intruder = Intruder(url)
    intruder.disarm()
    of_first = "account_id IN (SELECT account_id FROM accounts WHERE login = 70113)"
    intruder(f"UPDATE events SET data = '{{' WHERE version = 3 AND {of_first}")  # noqa: S608  # of the test's own
    found = run("incidents", "--since", "2000-01-01", *options, journal=url)
    assert found.code == 1
    assert f"{ACCOUNT}: version 3: SyncDegraded cannot be read" in found.err.decode()
    assert b"timeout" in found.out
    assert options != ("--json",) or [one["account"]["login"] for one in found.json()] == [OTHER.login]


@pytest.mark.parametrize(("options", "is_shown"), [((), True), (("--kind", "degraded"), True), (("--kind", "breaks"), False),
                                                   (("--open",), False)])  # fmt: skip
def test_how_long_it_was_degraded_is_stated_only_where_degradations_are_listed(url, options, is_shown):
    lines = run("incidents", *options, "--account", str(ACCOUNT), journal=url).text.splitlines()
    assert ("degraded" in lines[-1]) is is_shown
    assert "degraded 0 s" not in lines[-1]
