"""The command log: lines for people, filters that list what there is when they are asked for what is not there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger import Adjusted, BreakOpened, Ledger, SyncDegraded
from tests.support.commands import run
from tests.support.journals import ACCOUNT, OTHER, START_MSC, START_US, cash, completion, fill, ghost, opened, revised

SECOND = 1_000_000


@pytest.fixture
def url(tmp_path):
    """A journal of two accounts; all is recorded ten seconds after the start, the last hour later."""
    url = f"sqlite:///{tmp_path}/desk.db"
    clock = [START_US + 10 * SECOND]
    with Ledger.create(url, now_us=lambda: clock[0]) as ledger:
        ledger.journal.append(
            ACCOUNT,
            [
                opened(), cash(1000, 0, profit=5000), fill(1, 1, profit=None), fill(2, 2), completion(1, profit=3),
                revised(fill(2, 3, profit=4)),
                BreakOpened(kind="ghost", position_id=1, ours="buy 1 EURUSD @ 1.1", time_msc=START_MSC + 60_000),
                BreakOpened(kind="ghost", position_id=1, ours="buy 1 EURUSD @ 1.1", time_msc=START_MSC + 61_000,
                            confirmations=2, caused_by=7),
                ghost(1, 61), SyncDegraded(reason="timeout", time_msc=START_MSC + 3_600_000),
                Adjusted(operator="ann", reason="x", time_msc=START_MSC + 7_200_000, balance_before=1, balance_after=2),
            ],
            correlation="sync-1",
        )  # fmt: skip
        ledger.journal.append(OTHER, [opened(OTHER)])
        clock[0] += 3_600 * SECOND
        ledger.journal.append(ACCOUNT, [fill(3, 4)])
    return url


def versions(url, *words):
    ran = run("log", "--account", str(ACCOUNT), "--json", *words, journal=url)
    assert ran.code == 0, ran
    return [json.loads(line)["version"] for line in ran.out.decode().splitlines()]


def test_each_event_is_a_line_below_its_account_and_year(url):
    ran = run("log", journal=url)
    lines = ran.text.splitlines()
    assert lines[0] == "Broker-Live/70113 2026 (UTC)"
    assert lines[3].startswith("v3  01-05 10:00:01 FillRecorded buy in 1 EURUSD @ 1.1")
    assert lines[13:] == ["Broker-Live/70114 2026 (UTC)", "v1 01-05 10:00:00 AccountOpened USD hedging, server clock UTC"]
    assert max(map(len, lines)) <= 80
    assert lines[12].endswith("late 60m, position 3, deal 3") or "late 60m" in lines[12]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--deal", "1"), [3, 5]),
        (("--deal", "2"), [4, 6]),
        (("--position", "1"), [3, 7, 8, 9]),
        (("--position", "2"), [4, 6]),
        (("--kind", "FillRecorded"), [3, 4, 12]),
        (("--kind", "fillrecorded", "--kind", "GhostClosed"), [3, 4, 9, 12]),
        (("--kind", "deals"), [2, 3, 4, 5, 6, 12]),
        (("--kind", "breaks"), [7, 8]),
        (("--kind", "corrections"), [9, 11]),
        (("--kind", "notable"), [6, 7, 9, 10, 11, 12]),
        (("--late",), [12]),
        (("--since", "2026-01-05T10:00:02", "--until", "2026-01-05T10:00:03"), [4, 6]),
        (("--since", "2026-01-05T11:00"), [10, 11]),
        (("--until", "2026-01-05T10:00:01Z"), [1, 2, 3, 5]),
        (("--by", "recorded", "--since", "2026-01-05T11:00"), [12]),
        (("--since", "1h"), []),
        (("--correlation", "sync-1", "--kind", "breaks"), [7, 8]),
        (("--last", "2"), [11, 12]),
        (("--last", "1", "--kind", "breaks"), [8]),
        (("--after", "10"), [11, 12]),
    ],
)
def test_filters_select(words, found, url):
    assert versions(url, *words) == found


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("--kind", "FilRecorded"), "Did you mean FillRecorded?"),
        (("--kind", "correction"), "Did you mean corrections?"),
        (("--kind", "x"), "Kinds: AccountOpened,"),
        (("--since", "yesterday"), "2026-06-15"),
        (("--position", "x"), "not a valid integer"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(words, output, url):
    ran = run("log", *words, journal=url)
    assert ran.code == 2
    assert output in ran.text


def test_nothing_that_matches_is_reported(url):
    assert run("log", "--deal", "99", journal=url).text.splitlines() == [f"{name}: no events" for name in (ACCOUNT, OTHER)]


def test_what_is_notable_of_breaks_is_their_beginning_and_what_is_late(tmp_path):
    url = f"sqlite:///{tmp_path}/desk.db"
    ghost_seen: dict[str, Any] = {"kind": "ghost", "position_id": 1, "time_msc": START_MSC}
    clock = [START_US]
    with Ledger.create(url, now_us=lambda: clock[0]) as ledger:
        ledger.journal.append(
            ACCOUNT,
            [
                opened(),
                BreakOpened(**ghost_seen, attempts=3, flaps=3),  # it flaps from the beginning, and is seen for the first time
                BreakOpened(**ghost_seen, attempts=3, flaps=3, theirs="none", caused_by=2),
            ],
        )
        clock[0] += 3_600 * SECOND
        ledger.journal.append(ACCOUNT, [BreakOpened(**ghost_seen, confirmations=9, caused_by=2)], expected_version=3)
    assert versions(url, "--kind", "notable") == [2, 4]
    assert versions(url, "--kind", "notable", "--kind", "deals") == [2, 4]
    assert versions(url, "--kind", "notable", "--kind", "breaks") == [2, 3, 4]
