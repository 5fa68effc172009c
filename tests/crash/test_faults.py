"""A short round of every fault that tools/faults stages: nothing that was acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import os

import pytest

from tools.faults import postgres as postgres_faults
from tools.faults import power_loss
from tools.faults import run as faults

NEEDS_ROOT = {"disk full"}  # it mounts a small disk


@pytest.mark.parametrize("fault", list(faults.STAGES))
def test_a_staged_fault_loses_and_doubles_nothing(fault):
    if fault in NEEDS_ROOT and os.geteuid() != 0:
        pytest.skip("only root may mount a disk that can be filled")
    stage, rounds, _ = faults.STAGES[fault]
    row = faults.staged(fault, stage, rounds, seed=11)
    assert (row.lost, row.doubled) == (0, 0)
    assert row.acknowledged > 0


def test_power_losses_lose_nothing():
    found = power_loss.rounds(40, 11)
    assert found.ok
    assert found.acknowledged > 0


def test_the_simulated_disk_does_lose_what_was_not_synced():
    """Or the test before would prove nothing."""
    assert power_loss.rounds(20, 11, synchronous="OFF").lost > 0


@pytest.mark.parametrize(("stage", "rounds"), [
    (postgres_faults.server_killed, 1), (postgres_faults.connection_cut, 1), (postgres_faults.failover, 1),
    (postgres_faults.watch_restarted, 3),
])  # fmt: skip
def test_a_fault_of_postgres_loses_and_doubles_nothing(stage, rounds):
    found = stage(rounds, 11)
    assert (found.lost, found.doubled) == (0, 0)
    assert found.acknowledged > 0


def test_a_failover_to_a_standby_that_nobody_waited_for_refuses_whoever_lost_something():
    """It raises where a writer appends behind what is gone. Were nothing lost, the test before would prove nothing."""
    found = postgres_faults.unwaited_failover(1, 11)
    assert found.lost > 0
    assert found.doubled == 0
    assert found.ok


def test_what_is_lost_would_be_counted(tmp_path):
    """The comparison can fail: an event that was acknowledged and is not there, and one that is there twice."""
    import random

    book = faults.Book(tmp_path, random.Random(1))
    with book.opened() as account:
        book.record(account)
    book.acknowledged.add(10**6)
    assert book.missing_and_doubled() == (1, 0)
