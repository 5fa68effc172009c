"""Engines and reconcilers killed at random moments, a shorter run of ``tools/faults/kill_processes.py``."""

from __future__ import annotations

import pytest

from tests.support.journals import new_url
from tools.faults.kill_processes import Broken, Run, run

KILLS = 24


@pytest.mark.parametrize(
    ("kind", "form", "mode"),
    [
        ("sqlite", "extended", "hedging"),
        ("sqlite", "base", "netting"),
        ("sqlite", "base", "hedging"),
        ("postgres", "extended", "netting"),
    ],
)
def test_every_restart_after_a_kill_converges_and_nothing_acknowledged_is_lost(kind, form, mode, tmp_path):
    done = run(new_url(kind, tmp_path), tmp_path, kills=KILLS, form=form, mode=mode, seed=11)
    assert done.kills == KILLS
    assert done.acknowledged
    assert done.moments.total() == KILLS


def test_a_deal_that_was_acknowledged_and_is_not_there_is_noticed(tmp_path):
    found = Run(new_url("sqlite", tmp_path), tmp_path, form="extended", mode="hedging", seed=3)
    try:
        found.check()
        found.acknowledged.add(4711)
        with pytest.raises(Broken, match="acknowledged and lost: deals \\[4711\\]"):
            found.check()
    finally:
        found.close()


def test_books_that_differ_are_noticed(tmp_path):
    found = Run(new_url("sqlite", tmp_path), tmp_path, form="extended", mode="hedging", seed=3)
    try:
        found.check()
        found.sandbox.control("trade", symbol="EURUSD", side="buy", volume="0.10")
        with pytest.raises(Broken, match="ours and theirs"):
            found._compare()
    finally:
        found.close()
