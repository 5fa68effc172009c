"""Sync health on every journal: what a sync leaves beside the events, for whoever asks."""

from __future__ import annotations

import attrs
import pytest

from ledger import JournalError, Ledger
from ledger.journal.health import HeldBack, SyncHealth
from tests.support.journals import ACCOUNT, OTHER, START_US, Clock, open_journal, opened

HEALTH = SyncHealth(
    account=ACCOUNT, status="PARTIAL", reason="ghost 7: missing in 1 of 2 snapshots", since_us=START_US, seen_us=START_US + 5,
    verified_us=START_US + 5, success_us=None, duration_us=12, interval_us=15_000_000, verified_sec=60.0, balance_halts=False,
    held=(HeldBack(kind="ghost", symbol="EURUSD\u202e", why="missing"), HeldBack(kind="sync", symbol=None, why="busy")),
    gateway="tcp://127.0.0.1:5555", host="desk1", pid=4711, started_us=START_US, program="0.1.0",
)  # fmt: skip


def test_what_is_stored_is_what_another_reader_sees(journal):
    journal.append(ACCOUNT, [opened()])
    assert journal.sync_health(ACCOUNT) is None
    journal.save_sync_health(HEALTH)
    assert journal.sync_health(ACCOUNT) == HEALTH
    assert journal.sync_health(OTHER) is None
    assert journal.head(ACCOUNT).version == 1  # it is no event


def test_a_later_attempt_keeps_what_an_earlier_one_stored(journal):
    journal.append(ACCOUNT, [opened()])
    journal.save_sync_health(attrs.evolve(HEALTH, success_us=START_US + 1))
    later = attrs.evolve(HEALTH, since_us=START_US + 50, seen_us=START_US + 50, verified_us=None, success_us=None, pid=4712)
    journal.save_sync_health(later)
    found = journal.sync_health(ACCOUNT)
    assert (found.since_us, found.seen_us, found.pid) == (START_US, START_US + 50, 4712)
    assert (found.verified_us, found.success_us) == (START_US + 5, START_US + 1)
    journal.save_sync_health(attrs.evolve(later, status="DEGRADED", since_us=START_US + 60, reason="timeout"))
    found = journal.sync_health(ACCOUNT)
    assert (found.status, found.since_us, found.reason) == ("DEGRADED", START_US + 60, "timeout")


def test_a_journal_opened_elsewhere_sees_it(url):
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
        ledger.journal.save_sync_health(HEALTH)
        head = ledger.account(ACCOUNT).head
    with Ledger.open(url, create=False) as ledger:
        assert ledger.journal.sync_health(ACCOUNT) == HEALTH
        assert ledger.account(ACCOUNT).head == head
        assert ledger.verify().ok


def test_an_account_that_is_not_open_has_none(url):
    journal = open_journal(url, Clock())
    with pytest.raises(JournalError):
        journal.save_sync_health(HEALTH)
    journal.close()


@pytest.mark.parametrize(
    "damage", ["policy = '{'", "policy = '{}'", "held = '[{}]'", "held = 'null'", "policy = 'null'", "held = '5'"]
)
def test_a_damaged_row_is_no_health(damage, url, intruder):
    journal = open_journal(url, Clock())
    journal.append(ACCOUNT, [opened()])
    journal.save_sync_health(HEALTH)
    intruder(f"UPDATE sync_health SET {damage}")  # noqa: S608
    assert journal.sync_health(ACCOUNT) is None
    journal.save_sync_health(HEALTH)  # the next sync mends it
    assert journal.sync_health(ACCOUNT) == HEALTH
    journal.close()


def test_a_copy_of_a_journal_has_no_health(url, tmp_path):
    from ledger.journal.backup import copy_journal

    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
        ledger.journal.save_sync_health(HEALTH)
        copy_journal(ledger.journal, f"sqlite:///{tmp_path}/copy.db", Clock())
    with Ledger.open(f"sqlite:///{tmp_path}/copy.db", create=False) as copy:
        assert copy.journal.sync_health(ACCOUNT) is None
