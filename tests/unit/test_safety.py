"""Safe to trade, or not: stories in order of danger, and a law over everything that may be known."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Break
from ledger.events import BreakKind
from ledger.journal.health import HeldBack
from ledger.safety import Danger, Seen, judge

GOOD = Seen(
    status="SUCCESS", reason=None, seen_sec=3, verified_sec=3, interval_sec=15, verified_sec_max=60, balance_halts=False,
    by="desk1, process 4711",
)  # fmt: skip


def broken(kind="ghost", symbol="EURUSD"):
    return Break(
        kind=BreakKind(kind), position_id=7, symbol=symbol, deal=None, field=None, ours="buy 1", theirs=None, opened_msc=0,
        why="missing", version=3, confirmations=1, attempts=0,
    )  # fmt: skip


STORIES = [
    ({}, (), None, Danger.NONE, None),
    (None, (), None, Danger.STALE, "nothing was verified yet"),
    ({"seen_sec": 240, "verified_sec": 240}, (), None, Danger.STALE, "240 s old, at most 60 s are allowed (by desk1, "),
    ({"seen_sec": 61, "verified_sec": 61, "interval_sec": 30}, (), None, Danger.STALE, "the last verification is 61 s old"),
    ({"seen_sec": -10}, (), None, Danger.STALE, "in the future: a clock is wrong"),
    ({"verified_sec": -10}, (), None, Danger.STALE, "in the future"),
    ({"seen_sec": math.nan}, (), None, Danger.STALE, "no age that can be compared"),
    ({"verified_sec": math.nan}, (), None, Danger.STALE, "no age that can be compared"),
    ({"verified_sec_max": math.nan}, (), None, Danger.STALE, "compared"),
    ({"seen_sec": -0.5, "verified_sec": -0.5}, (), None, Danger.NONE, None),  # clocks of two machines
    ({"status": "DEGRADED", "reason": "timeout"}, (), None, Danger.DEGRADED, "DEGRADED: timeout"),
    ({"status": "FAILED", "reason": "no disk"}, (broken(),), None, Danger.DEGRADED, "FAILED: no disk"),
    ({}, (), "the terminal is gone", Danger.DEGRADED, "DEGRADED: the terminal is gone"),
    ({"status": "DEGRADED", "reason": "now this"}, (), "first that", Danger.DEGRADED, "DEGRADED: now this"),
    ({"status": "DEGRADED", "reason": "x", "seen_sec": 999}, (), None, Danger.STALE, "17 min old"),
    ({"verified_sec": None}, (), None, Danger.STALE, "no snapshot"),
    ({}, (broken(),), None, Danger.BREAK, "a ghost of EURUSD is open: missing"),
    ({}, (broken("balance", None),), None, Danger.NONE, None),
    ({"balance_halts": True}, (broken("balance", None),), None, Danger.BREAK, "balance"),
    ({"held": (HeldBack(kind="ghost", symbol="XAUUSD", why="young"),)}, (), None, Danger.BREAK, "ghost XAUUSD is held: young"),
    ({"held": (HeldBack(kind="balance", symbol=None, why="x"),)}, (), None, Danger.NONE, None),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "breaks", "degraded", "danger", "why"), STORIES)
def test_safety_is_decided_by_what_is_known(changes, breaks, degraded, danger, why):
    seen = None if changes is None else attrs.evolve(GOOD, **changes)
    verdict = judge(seen, breaks, degraded=degraded)
    assert verdict.danger is danger
    assert (why or "") in (verdict.why or "")
    assert (verdict.why is None) is (why is None)


def test_a_symbol_is_in_danger_by_itself():
    assert judge(GOOD, [broken(symbol="XAUUSD")], symbol="EURUSD").is_safe
    assert judge(GOOD, [broken(symbol="EURUSD")], symbol="EURUSD").danger is Danger.BREAK
    assert judge(GOOD, [broken(symbol=None)], symbol="EURUSD").danger is Danger.BREAK


ages = st.floats() | st.sampled_from([-math.inf, math.inf, math.nan, 0.0, 60.0, -1e-9])


@given(seen=ages, verified=ages | st.none(), interval=ages, allowed=ages, status=st.sampled_from(["SUCCESS", "PARTIAL", "X"]))
def test_what_is_safe_was_seen_and_verified_in_time_by_ages_that_are_numbers(seen, verified, interval, allowed, status):
    verdict = judge(
        attrs.evolve(
            GOOD, status=status, seen_sec=seen, verified_sec=verified, interval_sec=interval, verified_sec_max=allowed
        ),
        (),
    )
    if verdict.is_safe:
        assert verified is not None
        assert -1 <= verified <= allowed
        assert -1 <= seen <= max(3 * interval, allowed)
    else:
        assert verdict.why
