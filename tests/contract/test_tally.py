"""What is counted and looked up for metrics, on every journal: events by kind, breaks by how they went, sync health of all."""

from __future__ import annotations

import attrs
import pytest

from ledger import BreakClosed, BreakOpened, CorruptEvent, Event, Ledger
from ledger.journal.health import SyncHealth
from ledger.journal.sql.words import account_key
from tests.support.journals import ACCOUNT, OTHER, START_MSC, START_US, Clock, fill, opened

HEALTH = SyncHealth(
    account=ACCOUNT, status="SUCCESS", reason=None, since_us=START_US, seen_us=START_US + 5, verified_us=START_US + 5,
    success_us=None, duration_us=12, interval_us=15_000_000, verified_sec=60.0, balance_halts=False, held=(),
    gateway=None, host="desk1", pid=4711, started_us=START_US, program="0.1.0",
)  # fmt: skip


def seen(kind: str, position_id: int | None, caused_by: int | None = None, second: int = 1, **fields: object) -> BreakOpened:
    return BreakOpened(
        kind=kind, position_id=position_id, time_msc=START_MSC + second * 1000, caused_by=caused_by, **fields  # type: ignore[arg-type]
    )  # fmt: skip


STORY: list[Event] = [
    opened(),
    fill(1),
    seen("ghost", 1),  # version 3
    seen("ghost", 1, 3, 2, confirmations=2),
    seen("drift", 1, second=3),  # version 5
    BreakClosed(kind="ghost", end="explained", time_msc=START_MSC + 4000, caused_by=3),
    BreakClosed(kind="drift", end="corrected", time_msc=START_MSC + 5000, caused_by=5),
    seen("ghost", 1, second=6),
]


@pytest.mark.parametrize(
    ("after", "upto", "kinds", "begun", "closed"),
    [
        (
            0, 8, {"AccountOpened": 1, "FillRecorded": 1, "BreakOpened": 4, "BreakClosed": 2}, {"ghost": 2, "drift": 1},
            {("ghost", "explained"): 1, ("drift", "corrected"): 1},
        ),
        (2, 4, {"BreakOpened": 2}, {"ghost": 1}, {}),
        (3, 5, {"BreakOpened": 2}, {"drift": 1}, {}),
        (5, 6, {"BreakClosed": 1}, {}, {("ghost", "explained"): 1}),
        (8, 8, {}, {}, {}),
    ],
)  # fmt: skip
def test_events_are_counted_by_kind_and_a_break_once_however_often_it_is_seen(journal, after, upto, kinds, begun, closed):
    journal.append(OTHER, [opened(OTHER), fill(1)])
    assert len(journal.append(ACCOUNT, STORY).rows) == 8
    found = journal.tally(ACCOUNT, after=after, upto=upto)
    assert (found.kinds, found.opened, found.closed) == (kinds, begun, closed)


def test_a_span_counted_in_parts_is_the_same(journal):
    journal.append(ACCOUNT, STORY)
    whole = journal.tally(ACCOUNT, upto=8)
    for cut in range(9):
        assert journal.tally(ACCOUNT, upto=cut) + journal.tally(ACCOUNT, after=cut, upto=8) == whole


def test_a_damaged_break_is_named_as_such(url, intruder):
    with Ledger.create(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, STORY)
    intruder.disarm()
    intruder("UPDATE events SET data = ? WHERE version = 6", "{}")
    with Ledger.open(url) as ledger, pytest.raises(CorruptEvent, match="a BreakClosed cannot be read"):
        ledger.journal.tally(ACCOUNT, upto=8)


def test_the_health_of_all_accounts_is_what_each_one_has(journal):
    assert journal.sync_healths() == {}
    for name in (ACCOUNT, OTHER):
        journal.append(name, [opened(name)])
    journal.save_sync_health(HEALTH)
    assert journal.sync_healths() == {ACCOUNT: HEALTH}
    other = attrs.evolve(HEALTH, account=OTHER, status="DEGRADED", reason="timeout")
    journal.save_sync_health(other)
    assert journal.sync_healths() == {ACCOUNT: HEALTH, OTHER: other}


def test_health_that_is_damaged_hides_no_other(url, intruder):
    with Ledger.create(url, now_us=Clock()) as ledger:
        for name in (ACCOUNT, OTHER):
            ledger.journal.append(name, [opened(name)])
            ledger.journal.save_sync_health(attrs.evolve(HEALTH, account=name))
        intruder("UPDATE sync_health SET policy = ? WHERE account_id = ?", "x", account_key(OTHER))
        assert ledger.journal.sync_healths() == {ACCOUNT: HEALTH}
        assert ledger.journal.sync_health(OTHER) is None


def test_the_size_counts_what_is_not_in_the_file_yet(journal):
    before = journal.size_bytes()
    journal.append(ACCOUNT, [opened(), *(fill(number, number, comment="x" * 60) for number in range(1, 2001))])
    if before is None:
        assert journal.file() is None
    else:
        assert journal.size_bytes() > before + 2000 * 100
