"""The cause that is named is the true one: scenarios whose cause is known, from a simulated terminal and real syncs."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from ledger.causes import RULES, Cause, Certainty
from tools.testkit.cause_scenarios import NAMED_SHARE, SHARES, TRUTHS, Named, measure, shortfalls

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "causes.md"


@pytest.fixture(scope="module")
def found():
    return measure(5, 1)


def test_named_causes_are_right_as_often_as_is_stated(found):
    assert list(shortfalls(found)) == []
    assert {one.truth for one in found} == {truth.name for truth in TRUTHS}
    assert {one.cause for one in found} >= {cause for truth in TRUTHS for cause in truth.right} - {Cause.ROLLOVER}


def test_without_deals_nothing_is_made_up(found):
    ghosts = [one for one in found if one.form == "base" and one.kind == "ghost" and one.truth in ("stop loss", "stop-out")]
    assert ghosts
    assert {one.certainty for one in ghosts} == {Certainty.UNKNOWN}


def test_what_is_wrong_or_not_named_too_often_is_reported(found):
    wrong = [attrs.evolve(one, is_right=False) for one in found]
    assert [line.split(":")[0] for line in shortfalls(wrong)] == [one.value for one in SHARES]
    nothing = [attrs.evolve(one, cause=Cause.UNKNOWN, certainty=Certainty.UNKNOWN) for one in found]
    assert [line.endswith(f"{NAMED_SHARE:.0%}") for line in shortfalls(nothing)] == [True]
    assert all(isinstance(one, Named) for one in found)


def test_the_manual_has_every_rule_as_it_is_tried():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{one.name}` | {one.cause.value} | {one.certainty.value} | {one.when} |" for one in RULES]
