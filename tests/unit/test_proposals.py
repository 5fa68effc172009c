"""Corrections that two persons decide: what is applied, what lapses, what is refused, and what verify finds."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import (
    Adjusted,
    BadValue,
    BalanceAsserted,
    BreakClosed,
    BreakKind,
    BreakOpened,
    CorrectionDecided,
    CorrectionProposed,
    InputError,
    Ledger,
    PolicySet,
    RuleError,
    VersionConflict,
    adjustments,
    proposals,
)
from ledger.approvals import LAPSES_MAX_MIN, ProposalState
from ledger.approvals.effect import adjustment_of, digest_of
from ledger.approvals.people import is_same_person, person, to_person
from ledger.proposals import CorrectionRequest
from ledger.safety import blocks_trading
from ledger.signatures import Approval, sign
from tests.support.journals import ACCOUNT, START_MSC, Clock, cash, fill, opened

CLOSE = CorrectionRequest({"what": "close", "position_id": 1})
HALF = CorrectionRequest({"what": "update", "position_id": 1, "volume": "0.5"})
MONEY = CorrectionRequest({"what": "balance", "balance": "100.50"})
MINUTE_US = 60_000_000


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def account(clock):
    with Ledger.open("memory://", now_us=clock) as ledger:
        account = ledger.account(ACCOUNT)
        account.record_many([opened(), fill(1, 1), fill(2, 2)])
        yield account


@pytest.fixture
def desk(account):
    """An account whose policy asks for two persons."""
    assert proposals.set_policy(account, approvals=2, operator="ann", reason="the desk's rule").became == "applied"
    return account


def propose(account, request=CLOSE, operator="ann", **how):
    return proposals.propose(account, request, operator=operator, reason="gone", **how).proposal


def approve(account, proposal, operator="bob", **how):
    digest = how.pop("effect_digest", proposal.effect_digest)
    return proposals.approve(account, proposal.version, operator=operator, effect_digest=digest, **how)


def signed(account, proposal):
    """Return a signature of a proposal's effect, and the key that it is checked with."""
    journal_id = account.ledger.journal.identity()
    about = Approval(
        journal_id=journal_id, account=ACCOUNT, rests_on=proposal.rests_on, effect_digest=proposal.effect_digest
    )  # fmt: skip
    return attrs.asdict(sign(about, Ed25519PrivateKey.generate()))


def shown(result):
    assert result.proposal is not None
    return result.proposal


def kinds(result):
    return [one.kind for one in result.events]


def problems(account):
    return [(one.field, one.what) for one in account.ledger.verify().problems]


def forge(account, *events):
    """Append what a person with the writer role could, past every rule of the library."""
    account.record_many(events)


# ------------------------------------------------------------------------------------------------------------- approval


def test_an_unrelated_fill_in_between_does_not_hinder_the_approval(desk):
    proposal = propose(desk)
    desk.record_many([fill(3, 3), cash(4, 4)])
    result = approve(desk, proposal)
    assert (result.became, kinds(result)) == ("applied", ["CorrectionDecided", "Adjusted"])
    decided, adjusted = result.events
    assert (adjusted.event.decision, adjusted.event.operator, adjusted.event.reason) == (decided.version, "ann", "gone")
    assert (decided.event.operator, decided.event.caused_by) == ("bob", proposal.version)
    assert list(desk.portfolio.positions) == [2, 3]
    assert desk.approvals.pending == ()
    assert problems(desk) == []


def test_a_position_that_changed_lapses_the_proposal_and_names_what_changed(desk):
    proposal = propose(desk)
    desk.record(fill(3, 3, entry="out", side="sell", position_id=1, volume="0.4"))
    before = desk.portfolio
    result = approve(desk, proposal)
    assert (result.became, kinds(result)) == ("lapsed", ["CorrectionDecided"])
    assert result.changed["positions.1.0.volume"] == ["1", "0.6"]
    assert shown(result).state is ProposalState.LAPSED
    assert desk.portfolio.positions == before.positions
    with pytest.raises(RuleError, match="lapsed"):
        approve(desk, proposal)
    assert problems(desk) == []


def test_a_position_that_is_gone_lapses_the_proposal_with_the_reason(desk):
    proposal = propose(desk)
    desk.record(fill(3, 3, entry="out", side="sell", position_id=1))
    result = approve(desk, proposal)
    assert result.became == "lapsed"
    assert "not open" in result.changed["correction"][1]


def test_money_that_moved_lapses_another_balance(desk):
    proposal = propose(desk, MONEY)
    assert proposal.effect["money"] == {"balance": "100.5"}
    desk.record(cash(3, 3, profit=5))
    result = approve(desk, proposal)
    assert result.became == "lapsed"
    assert result.changed["money.balance"] == ["100.5", "95.5"]


@pytest.mark.parametrize("name", ["ann", "Ann", " ann ", "ANN\u200b", "\uff41nn", "a\u00adnn"])
def test_the_proposer_approves_nothing_however_the_name_is_written(desk, name):
    proposal = propose(desk)
    for decide in (approve, lambda *_: proposals.reject(desk, proposal.version, operator=name, reason="no")):
        with pytest.raises(RuleError, match="another person"):
            decide(desk, proposal, name)
    assert desk.approvals.pending == (proposal,)


def test_the_effect_that_the_person_saw_has_to_be_that_of_the_proposal(desk):
    proposal = propose(desk)
    with pytest.raises(RuleError, match="look at it again"):
        approve(desk, proposal, effect_digest=digest_of({"another": "effect"}))
    assert desk.version == proposal.version


def test_a_proposal_lapses_with_its_time(desk, clock):
    proposal = propose(desk, lapses_min=5)
    clock.now_us += 6 * MINUTE_US
    (shown,) = desk.approvals.proposals
    assert (shown.state, desk.approvals.pending) == (ProposalState.LAPSED, ())
    with pytest.raises(RuleError, match="in time"):
        approve(desk, proposal)
    assert approve(desk, propose(desk)).became == "applied"


@pytest.mark.parametrize("minutes", [0, -1, LAPSES_MAX_MIN + 1, "soon"])
def test_how_long_a_proposal_waits_is_limited(desk, minutes):
    with pytest.raises(BadValue, match="minutes"):
        propose(desk, lapses_min=minutes)


def test_the_end_of_its_break_lapses_a_proposal(desk):
    desk.record(BreakOpened(kind="ghost", position_id=1, symbol="EURUSD", time_msc=START_MSC))
    opened_at = desk.version
    proposal = propose(desk)
    assert proposal.break_version == opened_at  # the one break that the correction would end
    desk.record(BreakClosed(kind="ghost", end="vanished", position_id=1, time_msc=START_MSC, caused_by=opened_at))
    assert desk.approvals.proposals[0].state is ProposalState.LAPSED
    with pytest.raises(RuleError, match=f"ended with v{desk.version}"):
        approve(desk, proposal)


def test_an_approved_answer_ends_the_break_with_it(desk):
    desk.record(BreakOpened(kind="ghost", position_id=1, symbol="EURUSD", time_msc=START_MSC))
    proposal = propose(desk)
    assert proposal.effect["breaks"] == [{"kind": "ghost", "position_id": 1}]
    assert kinds(approve(desk, proposal)) == ["CorrectionDecided", "Adjusted", "BreakClosed"]
    assert (desk.portfolio.breaks, problems(desk)) == ((), [])


def test_a_break_that_is_not_open_has_no_answer(desk):
    with pytest.raises(RuleError, match="open are: none"):
        propose(desk, break_version=2)


def test_the_same_is_proposed_once(desk):
    first = propose(desk)
    with pytest.raises(RuleError, match=f"the same already, v{first.version}"):
        propose(desk, operator="bob")
    proposals.withdraw(desk, first.version, operator="ann")
    assert propose(desk, operator="bob").version > first.version


def test_a_proposal_is_withdrawn_by_who_made_it(desk):
    proposal = propose(desk)
    with pytest.raises(RuleError, match="ann proposed"):
        proposals.withdraw(desk, proposal.version, operator="bob")
    result = proposals.withdraw(desk, proposal.version, operator="Ann", reason="a mistake")
    assert (result.became, shown(result).state) == ("withdrawn", ProposalState.WITHDRAWN)
    with pytest.raises(RuleError, match="withdrawn by Ann"):
        approve(desk, proposal)


def test_a_rejected_proposal_is_not_applied_any_more(desk):
    proposal = propose(desk)
    result = proposals.reject(desk, proposal.version, operator="bob", reason="it is open at the broker")
    assert (result.became, shown(result).state, result.advice) == ("rejected", ProposalState.REJECTED, None)
    with pytest.raises(RuleError, match="it is open at the broker"):
        approve(desk, proposal, "cyd")
    assert len(desk.portfolio.positions) == 2


@pytest.mark.parametrize("version", [0, 1, 99, "x", None])
def test_what_is_no_proposal_is_not_decided(desk, version):
    with pytest.raises(RuleError, match="no proposal"):
        proposals.approve(desk, version, operator="bob", effect_digest="ab" * 32)


def test_what_comes_in_between_only_makes_it_be_decided_again(desk, monkeypatch):
    conflicts: list[Any] = []
    proposal, record = propose(desk), desk.record_many

    def disturbed(events, **how):
        if len(conflicts) < 3:
            conflicts.append(record([fill(10 + len(conflicts), 10 + len(conflicts))]))
        return record(events, **how)

    monkeypatch.setattr(desk, "record_many", disturbed)
    assert approve(desk, proposal).became == "applied"
    assert len(conflicts) == 3
    monkeypatch.undo()
    assert problems(desk) == []


def test_an_account_that_is_never_quiet_is_given_up_with_the_conflict(desk, monkeypatch):
    proposal, record = propose(desk), desk.record_many

    def disturbed(events, **how):
        record([fill(desk.version + 10, desk.version)])
        return record(events, **how)

    monkeypatch.setattr(desk, "record_many", disturbed)
    with pytest.raises(VersionConflict):
        approve(desk, proposal)


# ----------------------------------------------------------------------------------------------------- every correction


CORRECTIONS = [
    {"what": "add", "position_id": 9, "symbol": "EURUSD", "side": "BUY", "volume": 0.10, "price_open": "1.05", "magic": 5},
    {
        "what": "add",
        "position_id": 9,
        "symbol": "EURUSD",
        "side": "sell",
        "volume": 1,
        "price_open": 1,
        "opened_msc": START_MSC,
    },
    {"what": "close", "position_id": "1"},
    {"what": "update", "position_id": 1, "volume": "0.50", "magic": 3},
    {"what": "balance", "balance": "100.50"},
    {"what": "balance", "credit": 7},
    {"what": "withdrawal", "deal": 2},
    {"what": "clock", "clock": "UTC+3"},
    {"what": "order", "order": "time"},
]


@pytest.mark.parametrize("recipe", CORRECTIONS, ids=lambda one: " ".join(map(str, one.values())))
@pytest.mark.parametrize("urgent", [False, True])
def test_a_correction_of_every_kind_is_applied_as_one_person_alone_would(desk, recipe, urgent):
    request, clock = CorrectionRequest(recipe), desk.ledger.now_us
    alone = Ledger(type(desk.ledger.journal).copy_of(desk.ledger.journal, [ACCOUNT], clock), clock).account(ACCOUNT)
    proposals.set_policy(desk, approvals=2, operator="ann", reason="all")
    drafted = proposals.draft(alone, request, operator="ann", reason="gone")
    alone.record_many(drafted.events, expected_version=drafted.version)
    proposal = propose(desk, request, urgent=urgent)
    desk.record(fill(50, 50))
    assert approve(desk, proposal).became == ("confirmed" if urgent else "applied")
    positions = {key: one for key, one in desk.portfolio.positions.items() if key != 50}
    assert {key: evolved(one) for key, one in positions.items()} == {
        key: evolved(one) for key, one in alone.portfolio.positions.items()
    }
    for row in desk.ledger.journal.rows(ACCOUNT, kinds=("Adjusted",)):
        if recipe["what"] == "withdrawal":
            named = next(desk.ledger.journal.rows(ACCOUNT, after=row.caused_by - 1))
            assert (named.kind, named.deal) == ("DealRevised", 2)
    assert desk.portfolio.balance == alone.portfolio.balance
    assert (desk.terms.clock, desk.terms.order) == (alone.terms.clock, alone.terms.order)
    assert (desk.portfolio.breaks, problems(desk)) == ((), [])


def evolved(position):
    return attrs.evolve(position, opened_msc=0)


def test_what_is_unexplained_is_accepted_by_two(desk):
    approve(desk, propose(desk))
    request = CorrectionRequest({"what": "acceptance", "position_id": 1})
    proposal = propose(desk, request)
    assert proposal.effect["unexplained"] == {"ghost result 1": ["1", "0"]}
    assert approve(desk, proposal).became == "applied"
    assert (desk.portfolio.unexplained, problems(desk)) == ((), [])


@pytest.mark.parametrize(
    ("recipe", "match"),
    [
        ({}, "what is one of"),
        ({"what": "destroy"}, "what is one of"),
        ({"what": ["close"]}, "what is one of"),
        ({"what": "close"}, "without position_id"),
        ({"what": "close", "position_id": 1, "profit": 5}, "with 'profit'"),
        ({"what": "close", "position_id": 0}, "ticket"),
        ({"what": "add", "position_id": 1, "symbol": "X", "side": "up", "volume": 1, "price_open": 1}, "buy"),
        ({"what": "balance"}, "at least one of balance, credit"),
        ({"what": "balance", "balance": "much"}, "number"),
        ({"what": "policy", "approvals": 3}, "persons"),
        ({"what": "policy", "approvals": 2, "corrections": []}, "some of position"),
        ({"what": "policy", "approvals": 1, "signed": True}, "2 approvals with signed"),
        ({"what": "order", "order": "luck"}, "ticket, time"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(recipe, match):
    with pytest.raises(InputError, match=match):
        CorrectionRequest(recipe)


# ------------------------------------------------------------------------------------------------------------- the policy


def test_one_person_corrects_as_long_as_no_policy_asks_for_two(account):
    assert kinds(proposals.correct(account, CLOSE, operator="ann", reason="gone")) == ["Adjusted"]
    assert account.approvals.policy.version is None


def test_a_correction_becomes_a_proposal_where_the_policy_asks_for_two(desk):
    result = proposals.correct(desk, CLOSE, operator="ann", reason="gone")
    assert (result.became, shown(result).state) == ("proposed", ProposalState.PENDING)
    assert len(desk.portfolio.positions) == 2


def test_what_the_policy_does_not_name_needs_one_person(account):
    proposals.set_policy(account, approvals=2, corrections=("balance",), operator="ann", reason="money")
    assert proposals.correct(account, CLOSE, operator="ann", reason="gone").became == "applied"
    assert proposals.correct(account, MONEY, operator="ann", reason="fee").became == "proposed"
    both = CorrectionRequest({"what": "balance", "balance": 1, "credit": 1})
    assert proposals.correct(account, both, operator="ann", reason="fee").became == "proposed"
    assert problems(account) == []


def test_nothing_of_the_library_corrects_past_the_policy(desk):
    for act in (
        lambda: adjustments.apply(desk, adjustments.propose_close(desk, position_id=1, operator="ann", reason="x")),
        lambda: desk.change_clock("UTC+3", operator="ann", reason="x"),
        lambda: desk.change_order("time", operator="ann", reason="x"),
    ):
        with pytest.raises(RuleError, match="two persons"):
            act()
    assert problems(desk) == []


def test_asking_for_more_needs_one_person_and_asking_for_less_two(desk):
    assert proposals.set_policy(desk, approvals=2, operator="Ann", reason="again").became == "unchanged"
    assert proposals.set_policy(desk, approvals=2, signed=True, operator="bob", reason="more").became == "applied"
    lower = proposals.set_policy(desk, approvals=2, operator="bob", reason="less")
    assert (lower.became, desk.approvals.policy.signed) == ("proposed", True)
    assert approve(desk, lower.proposal, "ann", **signed(desk, lower.proposal)).became == "applied"
    assert desk.approvals.policy.signed is False
    fewer = proposals.set_policy(desk, approvals=2, corrections=("balance",), operator="bob", reason="less")
    assert (fewer.became, approve(desk, fewer.proposal, "ann").became) == ("proposed", "applied")
    alone = proposals.set_policy(desk, approvals=1, operator="bob", reason="alone")
    assert (alone.became, approve(desk, alone.proposal, "ann").became) == ("proposed", "applied")
    assert proposals.correct(desk, CLOSE, operator="bob", reason="gone").became == "applied"
    assert problems(desk) == []


def test_a_policy_that_changed_meanwhile_lapses_another(desk):
    lower = proposals.set_policy(desk, approvals=1, operator="ann", reason="alone").proposal
    proposals.set_policy(desk, approvals=2, signed=True, operator="cyd", reason="more")
    result = approve(desk, lower, signature="s", key="k")
    assert (result.became, result.changed["policy.0.signed"]) == ("lapsed", [False, True])


def test_a_policy_is_never_urgent(desk):
    with pytest.raises(RuleError, match="never urgent"):
        propose(desk, CorrectionRequest({"what": "policy", "approvals": 1}), urgent=True)


def test_a_signed_policy_asks_for_a_signature_and_records_it(desk):
    proposals.set_policy(desk, approvals=2, signed=True, operator="ann", reason="more")
    proposal = propose(desk)
    with pytest.raises(RuleError, match="signature"):
        approve(desk, proposal)
    by_bob = signed(desk, proposal)
    decided = approve(desk, proposal, **by_bob).events[0].event
    assert (decided.signature, decided.key, decided.rests_on) == (by_bob["signature"], by_bob["key"], proposal.rests_on)
    assert problems(desk) == []


# -------------------------------------------------------------------------------------------------------------- emergency


def test_an_urgent_correction_is_applied_at_once_and_waits_for_a_second_person(desk):
    result = proposals.propose(desk, CLOSE, operator="ann", reason="fire", urgent=True)
    assert (result.became, kinds(result)) == (
        "applied", ["CorrectionProposed", "CorrectionDecided", "Adjusted", "BreakOpened"],
    )  # fmt: skip
    assert list(desk.portfolio.positions) == [2]
    (found,) = desk.portfolio.breaks
    assert (found.kind, found.position_id, found.field) == (BreakKind.APPROVAL, 1, f"v{shown(result).version}")
    assert not blocks_trading(found, None, balance_halts=True, withdrawn_halts=True)
    (waiting,) = desk.approvals.pending
    assert waiting.state is ProposalState.UNCONFIRMED
    with pytest.raises(RuleError, match="another person"):
        approve(desk, waiting, "ann")
    with pytest.raises(RuleError, match="cannot be withdrawn"):
        proposals.withdraw(desk, waiting.version, operator="ann")
    confirmed = approve(desk, waiting)
    assert (confirmed.became, kinds(confirmed)) == ("confirmed", ["CorrectionDecided", "BreakClosed"])
    assert (desk.portfolio.breaks, desk.approvals.pending, problems(desk)) == ((), (), [])


def test_an_urgent_correction_waits_for_ever(desk, clock):
    proposal = propose(desk, urgent=True, lapses_min=1)
    clock.now_us += 30 * 24 * 60 * MINUTE_US
    assert desk.approvals.pending[0].state is ProposalState.UNCONFIRMED
    assert approve(desk, proposal).became == "confirmed"
    assert problems(desk) == []


def test_what_is_rejected_afterwards_stays_applied_until_it_is_corrected_or_confirmed(desk):
    before = desk.portfolio.balance
    proposal = propose(desk, MONEY, urgent=True)
    result = proposals.reject(desk, proposal.version, operator="bob", reason="no such bonus")
    assert "correct it back, as the answer to that break" in str(result.advice)
    assert (len(desk.portfolio.breaks), len(desk.approvals.pending)) == (1, 1)
    with pytest.raises(RuleError, match="rejected already"):
        proposals.reject(desk, proposal.version, operator="bob", reason="no")
    back = CorrectionRequest({"what": "balance", "balance": before})
    answer = propose(desk, back, "bob", break_version=shown(result).opened_break)
    assert kinds(approve(desk, answer, "ann")) == ["CorrectionDecided", "Adjusted", "BreakClosed"]
    assert (desk.portfolio.balance, desk.portfolio.breaks, desk.approvals.pending) == (before, (), ())
    assert problems(desk) == []


def test_what_was_rejected_afterwards_may_still_be_confirmed(desk):
    proposal = propose(desk, urgent=True)
    proposals.reject(desk, proposal.version, operator="bob", reason="why?")
    assert approve(desk, proposal).became == "confirmed"
    assert (desk.approvals.proposal(proposal.version).state, problems(desk)) == (ProposalState.APPROVED, [])


def test_nobody_ends_what_they_applied_at_once_by_an_answer_that_they_apply_at_once(desk):
    proposal = propose(desk, MONEY, urgent=True)
    more = CorrectionRequest({"what": "balance", "balance": "100.51"})
    answer = propose(desk, more, urgent=True, break_version=proposal.opened_break)
    assert [one.version for one in desk.portfolio.breaks] == [proposal.opened_break, answer.opened_break]
    assert [one.state for one in desk.approvals.pending] == [ProposalState.UNCONFIRMED] * 2
    assert kinds(approve(desk, answer)) == ["CorrectionDecided", "BreakClosed", "BreakClosed"]
    assert (desk.portfolio.breaks, desk.approvals.pending, problems(desk)) == ((), (), [])


@pytest.mark.parametrize("corrections", [("position",), ("position", "acceptance")])
@pytest.mark.parametrize("urgent", [False, True])
def test_what_stays_unexplained_confirms_nothing(account, corrections, urgent):
    proposals.set_policy(account, approvals=2, corrections=corrections, operator="ann", reason="the rule")
    proposal = propose(account, urgent=True)
    accept = CorrectionRequest({"what": "acceptance", "position_id": 1})
    if urgent:
        propose(account, accept, urgent=True)
    else:
        made = proposals.correct(account, accept, operator="ann", reason="so be it")
        if made.proposal is not None:
            approve(account, made.proposal)
    assert proposal.opened_break in [one.version for one in account.portfolio.breaks]
    assert account.approvals.proposal(proposal.version).state is ProposalState.UNCONFIRMED
    with pytest.raises(RuleError, match="nothing is unexplained"):
        proposals.draft(account, accept, operator="ann", reason="so be it")
    assert approve(account, proposal).became == "confirmed"
    assert problems(account) == []


# ------------------------------------------------------------------------------------------------------------------ notes


def test_notes_of_a_break_and_who_deals_with_it(desk):
    desk.record(BreakOpened(kind="ghost", position_id=1, symbol="EURUSD", time_msc=START_MSC))
    opened_at = desk.version
    desk.record(
        BreakOpened(
            kind="ghost", position_id=1, symbol="EURUSD", time_msc=START_MSC, caused_by=opened_at, confirmations=2
        )
    )  # fmt: skip
    proposals.note(desk, opened_at, operator="ann", text="phoned", owner=" bob ")
    proposals.note(desk, desk.version - 1, operator="ann", text="again")  # a version at which it was seen again
    approvals = desk.approvals
    assert [(one.break_version, one.text, one.owner) for one in approvals.notes] == [
        (opened_at, "phoned", "bob"), (opened_at, "again", None),
    ]  # fmt: skip
    assert approvals.owner(opened_at) == "bob"
    with pytest.raises(RuleError, match="opened no break"):
        proposals.note(desk, 2, operator="ann", text="?")
    with pytest.raises(BadValue, match="a note"):
        proposals.note(desk, opened_at, operator="ann", text=" ")


# ------------------------------------------------------------------------------------------------------------ time travel


def test_approvals_are_shown_as_they_were(desk, clock):
    proposal = propose(desk)
    clock.now_us += MINUTE_US
    approve(desk, proposal)
    now, then = desk.approvals, desk.approvals_at(version=proposal.version)
    assert [one.state.value for one in (*now.proposals, *then.proposals)] == ["approved", "pending"]
    assert desk.approvals_at(version=3).policy.approvals == 1
    assert (now.policy_at(3).approvals, now.policy_at(desk.version).approvals) == (1, 2)
    assert desk.approvals_at().proposals == now.proposals


def test_the_names_of_one_person():
    assert is_same_person("Ann", " ann  ")
    assert is_same_person("Strau\u00df", "STRAUSS")
    assert person("\uff21nn \u200bLee") == person("ann lee")
    assert all(
        is_same_person("ann", f"ann{one}")
        for one in "\u2065\ufff0\U000e0000\U000e0080\U000e01f0\ufe0f\u3164\U00016fe4\U0001d159"
    )
    assert not is_same_person("Ann", "Anne")
    assert to_person(" Ann ") == "Ann"
    with pytest.raises(BadValue, match="nothing of it can be seen"):
        to_person("\u200b\ufeff")


def test_an_effect_holds_no_time_no_version_and_no_operator(desk, clock):
    first = proposals.draft(desk, CLOSE, operator="ann", reason="a")
    clock.now_us += MINUTE_US
    desk.record_many([fill(3, 3)])
    again = proposals.draft(desk, CLOSE, operator="bob", reason="b")
    assert (first.version, first.effect, first.digest) == (again.version - 1, again.effect, again.digest)
    assert first.digest == digest_of(first.effect)
    (changed,) = proposals.draft(desk, HALF, operator="ann", reason="a").effect["adjusted"]
    assert changed.keys() == {"before", "after"}
    assert "opened_msc" not in (changed["before"] | changed["after"])


# ----------------------------------------------------------------------------------------------------------------- verify


def adjusted(account, **fields):
    drafted = proposals.draft(account, HALF, operator="mal", reason="mine")
    return attrs.evolve(drafted.events[0], **fields)


def shown_proposal(account):
    return account.approvals.proposals[-1]


def decided(proposal, **fields):
    terms = {"outcome": "approved", "operator": "bob", "effect_digest": proposal.effect_digest, "time_msc": START_MSC}
    return CorrectionDecided(caused_by=proposal.version, **(terms | fields))


def test_verify_finds_a_correction_by_one_person(desk):
    forge(desk, adjusted(desk))
    assert problems(desk) == [
        ("approval", "mal corrected position, and the policy v4 asks for two persons: no decision allows it")
    ]


def test_verify_finds_what_names_a_decision_that_is_used_up(desk):
    decision = approve(desk, propose(desk, HALF)).events[0].version
    forge(desk, attrs.evolve(adjusted(desk, decision=decision), time_msc=START_MSC + 9))
    ((_, what),) = problems(desk)
    assert f"it is not what v{decision} approved" in what


def test_verify_finds_what_names_no_decision(desk):
    forge(desk, adjusted(desk, decision=2))
    assert "v2 is not the decision before it" in problems(desk)[0][1]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"operator": "ANN "}, "expected another person"),
        ({"effect_digest": "ab" * 32}, "it approves the effect abab"),
    ],
)
def test_verify_finds_a_decision_that_does_not_count(desk, fields, match):
    proposal = propose(desk, HALF)
    forge(desk, decided(proposal, **fields), adjusted(desk, decision=desk.version + 1))
    first, second = problems(desk)
    assert match in first[1]
    assert "does not count" in second[1]


def test_verify_finds_another_correction_than_the_one_that_was_approved(desk):
    proposal = propose(desk, CLOSE)
    forge(desk, decided(proposal), adjusted(desk, decision=desk.version + 1))
    whats = " ".join(what for _, what in problems(desk))
    assert "is not what" in whats
    assert "does not follow it" in whats


def test_verify_finds_a_decision_after_the_time_and_after_the_end_of_the_break(desk, clock):
    desk.record(BreakOpened(kind="ghost", position_id=1, symbol="EURUSD", time_msc=START_MSC))
    opened_at = desk.version
    proposal = propose(desk, HALF, lapses_min=1)
    desk.record(BreakClosed(kind="ghost", end="vanished", position_id=1, time_msc=START_MSC, caused_by=opened_at))
    clock.now_us += 3 * MINUTE_US
    forge(desk, decided(proposal), adjusted(desk, decision=desk.version + 1))
    whats = " ".join(what for _, what in problems(desk))
    assert "lapsed with the end of its break" in whats
    assert "after its time" in whats


def test_verify_finds_a_lower_policy_by_one_and_no_rule_follows_it(desk):
    forge(desk, PolicySet(approvals=1, operator="mal", reason="mine", time_msc=START_MSC))
    assert desk.approvals.policy.approvals == 2
    forge(desk, adjusted(desk))
    assert [what.partition(",")[0] for _, what in problems(desk)] == ["mal corrected the policy", "mal corrected position"]


def test_verify_finds_a_missing_signature(desk):
    proposals.set_policy(desk, approvals=2, signed=True, operator="ann", reason="more")
    forge(desk, decided(propose(desk, HALF)), adjusted(desk, decision=desk.version + 2))
    assert [field for field, what in problems(desk) if "sign" in what] == ["approval"]


@pytest.mark.parametrize(("late_msc", "is_found"), [(59_000, False), (600_000, True)])
def test_verify_finds_a_proposal_that_never_lapses_and_what_is_approved_of_it(desk, clock, late_msc, is_found):
    drafted = proposals.draft(desk, HALF, operator="mal", reason="mine")
    proposed = CorrectionProposed(
        operator="mal", reason="mine", time_msc=START_MSC, correction=dict(drafted.recipe), effect=drafted.effect,
        effect_digest=drafted.digest, rests_on=desk.version,
        lapses_utc_msc=clock.now_us // 1000 + LAPSES_MAX_MIN * 60_000 + late_msc,
    )  # fmt: skip
    forge(desk, proposed)
    forge(desk, decided(shown_proposal(desk)), attrs.evolve(drafted.events[0], decision=desk.version + 1))
    found = [what for _, what in problems(desk)]
    assert ["lapses later than 7 days" in " ".join(found), "does not count" in " ".join(found)] == [is_found] * 2
    assert bool(found) == is_found


def test_verify_finds_a_signature_that_is_used_again(desk):
    proposals.set_policy(desk, approvals=2, signed=True, operator="ann", reason="more")
    proposal = propose(desk, MONEY)
    signature = signed(desk, proposal)
    assert approve(desk, proposal, **signature).became == "applied"
    desk.record(BalanceAsserted(balance=0, time_msc=desk.portfolio.newest_known_msc + 1))
    assert (desk.portfolio.balance, problems(desk)) == (0, [])
    fields = {name: getattr(proposal, name) for name in ("correction", "effect", "effect_digest", "rests_on")}
    again = CorrectionProposed(
        operator="ann", reason="more", time_msc=START_MSC, lapses_utc_msc=START_MSC + 3_600_000, **fields
    )
    version = desk.version
    forge(desk, again)
    with pytest.raises(RuleError, match="is forged, reject it"):
        approve(desk, desk.approvals.pending[0], **signature)
    decision = decided(attrs.evolve(proposal, version=version + 1), rests_on=proposal.rests_on, **signature)
    (money,) = proposals.draft(desk, MONEY, operator="ann", reason="more").events
    forge(desk, decision, attrs.evolve(money, decision=version + 2))
    found = [what for _, what in problems(desk)]
    assert any(f"it states that it rests on version {proposal.rests_on}" in what for what in found)
    assert any("does not count" in what for what in found)


def test_verify_finds_a_signature_about_another_version(desk):
    proposals.set_policy(desk, approvals=2, signed=True, operator="ann", reason="more")
    proposal = propose(desk, HALF)
    signed = decided(proposal, signature="s", key="k", rests_on=1)
    forge(desk, signed, adjusted(desk, decision=desk.version + 1))
    assert "its signature is about version 1" in problems(desk)[0][1]


def test_verify_finds_the_end_of_an_urgent_correction_that_nobody_confirmed(desk):
    proposal = propose(desk, urgent=True)
    forge(desk, BreakClosed(kind="approval", end="accepted", time_msc=START_MSC, caused_by=proposal.opened_break))
    assert "no second person confirmed" in problems(desk)[0][1]


def test_verify_finds_an_urgent_correction_without_its_break(desk):
    drafted = proposals.draft(desk, HALF, operator="mal", reason="mine")
    version = desk.version
    proposed = CorrectionProposed(
        operator="mal", reason="mine", time_msc=START_MSC, correction=dict(drafted.recipe), effect=drafted.effect,
        effect_digest=drafted.digest, rests_on=version, lapses_utc_msc=START_MSC + 3_600_000, urgent=True,
    )  # fmt: skip
    decision = CorrectionDecided(
        outcome="approved", operator="mal", effect_digest=drafted.digest, time_msc=START_MSC, caused_by=version + 1
    )
    forge(desk, proposed, decision, attrs.evolve(drafted.events[0], decision=version + 2))
    assert "no break of it was opened" in problems(desk)[0][1]


def test_verify_finds_an_end_of_an_urgent_correction_that_states_another_kind(desk):
    proposal = propose(desk, urgent=True)
    forge(desk, BreakClosed(kind="ghost", end="accepted", time_msc=START_MSC, caused_by=proposal.opened_break))
    assert "no second person confirmed" in problems(desk)[0][1]


@pytest.mark.parametrize("signed", [False, True])
def test_verify_finds_a_lower_policy_that_is_applied_at_once_under_another_name(desk, signed):
    if signed:
        proposals.set_policy(desk, approvals=2, signed=True, operator="ann", reason="more")
    version = desk.version
    lower = PolicySet(approvals=1, operator="mal", reason="mine", time_msc=START_MSC, decision=version + 2)
    effect = {"adjusted": [adjustment_of(lower)]}
    proposed = CorrectionProposed(
        operator="mal", reason="mine", time_msc=START_MSC, correction=dict(CLOSE.recipe), effect=effect,
        effect_digest=digest_of(effect), rests_on=version, lapses_utc_msc=START_MSC + 3_600_000, urgent=True,
    )  # fmt: skip
    decision = CorrectionDecided(
        outcome="approved", operator="mal", effect_digest=digest_of(effect), time_msc=START_MSC, caused_by=version + 1
    )
    alone = BreakOpened(kind="approval", symbol="EURUSD", time_msc=START_MSC, caused_by=version + 1)
    forge(desk, proposed, decision, lower, alone)
    forge(desk, adjusted(desk))
    wanted = ("not that of a correction", "that is forged", "corrected the policy", "corrected position")
    found = [what for _, what in problems(desk)]
    assert [any(one in what for what in found) for one in wanted] == [True] * 4
    assert desk.approvals.policy.approvals == 2


@pytest.mark.parametrize("request_", [HALF, CLOSE, CorrectionRequest({"what": "policy", "approvals": 1})])
@pytest.mark.parametrize("is_left_out", [False, True])
def test_verify_finds_an_effect_that_shows_something_else_than_it_records(desk, request_, is_left_out):
    drafted = proposals.draft(desk, request_, operator="mal", reason="mine")
    effect = dict(drafted.effect)
    name = "policy" if "policy" in effect else "positions"
    shown_ = effect.pop(name)
    if not is_left_out:
        now = shown_[0] if name == "policy" else shown_["1"][0]
        effect[name] = [now, now] if name == "policy" else {"1": [now, now]}
    proposed = CorrectionProposed(
        operator="mal", reason="mine", time_msc=START_MSC, correction=dict(drafted.recipe), effect=effect,
        effect_digest=digest_of(effect), rests_on=desk.version, lapses_utc_msc=START_MSC + 3_600_000,
    )  # fmt: skip
    forge(desk, proposed)
    (proposal,) = desk.approvals.pending
    (event,) = drafted.events
    forge(desk, decided(proposal), attrs.evolve(event, decision=desk.version + 1))
    assert any("what its effect shows is not what it would record" in what for _, what in problems(desk))
    assert "does not count" in problems(desk)[-1][1]


def test_an_effect_that_is_not_that_of_its_digest_is_approved_by_nobody(desk):
    drafted = proposals.draft(desk, MONEY, operator="mal", reason="mine")
    little = {"adjusted": [{"balance_before": "0", "balance_after": "0.01"}], "money": {"balance": "0.01"}}
    proposed = CorrectionProposed(
        operator="mal", reason="mine", time_msc=START_MSC, correction=dict(MONEY.recipe), effect=little,
        effect_digest=drafted.digest, rests_on=desk.version, lapses_utc_msc=START_MSC + 3_600_000,
    )  # fmt: skip
    forge(desk, proposed)
    with pytest.raises(RuleError, match="is forged, reject it"):
        approve(desk, desk.approvals.pending[0])
    assert desk.portfolio.balance == 0


def test_a_lower_policy_without_the_signature_that_is_asked_for_is_not_in_force(desk):
    proposals.set_policy(desk, approvals=2, signed=True, operator="ann", reason="more")
    made = proposals.set_policy(desk, approvals=1, operator="mal", reason="less")
    proposal = shown(made)
    version = desk.version
    decision = CorrectionDecided(
        outcome="approved", operator="bob", effect_digest=proposal.effect_digest, time_msc=START_MSC,
        caused_by=proposal.version,
    )  # fmt: skip
    forge(desk, decision, PolicySet(approvals=1, operator="mal", reason="less", time_msc=START_MSC, decision=version + 1))
    assert (desk.approvals.policy.approvals, desk.approvals.policy.signed) == (2, True)
    assert any("it has no signature" in what for _, what in problems(desk))


def test_verify_finds_no_fault_in_what_was_before_the_policy_and_what_it_does_not_ask_for(account):
    proposals.correct(account, HALF, operator="ann", reason="before")
    proposals.set_policy(account, approvals=2, corrections=("balance",), operator="ann", reason="money")
    proposals.correct(account, CLOSE, operator="ann", reason="not asked for")
    account.record(BalanceAsserted(balance=1, time_msc=START_MSC))
    assert problems(account) == []


def test_an_adjustment_without_a_decision_reads_as_before(account):
    adjustments.apply(account, adjustments.propose_close(account, position_id=1, operator="ann", reason="gone"))
    (row,) = account.ledger.journal.rows(ACCOUNT, kinds=("Adjusted",))
    assert "decision" not in row.data
    assert isinstance(next(account.events(after=row.version - 1)).event, Adjusted)
