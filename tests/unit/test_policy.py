"""The policy is a value: what it accepts, what it refuses, and what it does when nobody decided anything."""

from __future__ import annotations

import pytest

from ledger import Action, BadValue, BreakKind, Foreign, ReconcilePolicy
from ledger.reconcile.policy import DEFAULT


def test_by_default_everything_is_adopted_that_can_be():
    assert ReconcilePolicy() == DEFAULT
    assert {kind: DEFAULT.action(kind) for kind in BreakKind} == {
        BreakKind.ZOMBIE: Action.ADOPT,
        BreakKind.GHOST: Action.ADOPT,
        BreakKind.DRIFT: Action.ADOPT,
        BreakKind.BALANCE: Action.REPORT,
        BreakKind.CLOCK: Action.HALT,
        BreakKind.WITHDRAWN: Action.REPORT,
        BreakKind.ORDER: Action.REPORT,
        BreakKind.STOPS: Action.REPORT,
        BreakKind.APPROVAL: Action.REPORT,
    }
    assert (DEFAULT.magics, DEFAULT.foreign) == (None, Foreign.ADOPT)


def test_the_figures_are_those_that_the_documents_name():
    assert (DEFAULT.settle_sec, DEFAULT.ghost_confirmations, DEFAULT.vanish_confirmations) == (2, 2, 3)
    assert (DEFAULT.vanish_least, DEFAULT.vanish_share, DEFAULT.attempts_max) == (3, 0.5, 3)


@pytest.mark.parametrize("kind", ["zombie", "ghost", "drift"])
@pytest.mark.parametrize("action", ["adopt", "report", "halt"])
def test_each_kind_has_its_own_action_in_words(kind, action):
    policy = ReconcilePolicy(**{kind: action})
    assert policy.action(BreakKind(kind)) is Action(action)
    others = {BreakKind.ZOMBIE, BreakKind.GHOST, BreakKind.DRIFT} - {BreakKind(kind)}
    assert {policy.action(other) for other in others} == {Action.ADOPT}


def test_money_is_never_adopted():
    assert ReconcilePolicy(balance="halt").action(BreakKind.BALANCE) is Action.HALT
    with pytest.raises(BadValue, match="moves money"):
        ReconcilePolicy(balance="adopt")


@pytest.mark.parametrize(
    ("magics", "magic", "is_ours"),
    [
        (None, 5, True),
        (None, None, True),
        ([5, 6], 5, True),
        ([5, 6], 7, False),
        ([5, 6], None, False),
        ([5, 6], 0, False),
        ([0], 0, True),
        ([], 5, False),
    ],
)
def test_a_magic_number_is_ours_if_the_policy_lists_it_or_has_no_list(magics, magic, is_ours):
    assert ReconcilePolicy(magics=magics).is_ours(magic) is is_ours


@pytest.mark.parametrize(
    "wrong",
    [
        {"settle_sec": -1},
        {"ghost_confirmations": 0},
        {"vanish_confirmations": 0},
        {"vanish_least": 0},
        {"vanish_share": -0.1},
        {"attempts_max": 0},
        {"overlap_sec": -1},
        {"verified_sec": -1},
        {"settle_sec": float("nan")},
        {"settle_sec": float("inf")},
        {"settle_sec": "2"},
    ],
)
def test_a_figure_that_cannot_be_is_refused_by_name(wrong):
    with pytest.raises(BadValue, match=next(iter(wrong))):
        ReconcilePolicy(**wrong)


@pytest.mark.parametrize("wrong", [{"zombie": "close"}, {"foreign": "halt"}, {"drift": None}])
def test_a_word_that_is_none_is_refused(wrong):
    with pytest.raises(BadValue, match="expected one of"):
        ReconcilePolicy(**wrong)


def test_a_numbered_magic_is_ours_if_its_base_is():
    policy = ReconcilePolicy(magics=[7, 2**24])
    numbered = (7 * 2**24 + 1, 7 * 2**24 + 2**24 - 1, 8 * 2**24, 2**24, 2**48 + 5)
    assert [policy.is_ours(one) for one in numbered] == [True, True, False, True, True]
