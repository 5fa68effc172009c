"""Laws of two persons: whatever they propose and decide, and whatever happens in between.

What is applied always had the persons that the policy in force asked for, and verify finds nothing; one event more that nobody
was allowed to append is found.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import (
    Adjusted,
    BreakClosed,
    BreakOpened,
    CorrectionDecided,
    CorrectionProposed,
    Ledger,
    LedgerError,
    PolicySet,
    RuleError,
    proposals,
)
from ledger.approvals import ApprovalsFold, ProposalState
from ledger.approvals.effect import adjustment_of, changes, digest_of, subjects_of
from ledger.approvals.people import is_same_person
from ledger.approvals.policy import Policy
from ledger.codec import decode
from ledger.proposals import CorrectionRequest
from tests.support.journals import ACCOUNT, START_MSC, Clock, cash, fill, opened

PEOPLE = ("ann", "Ann ", "bob", "cyd")
POSITIONS = (1, 2, 3)
people = st.sampled_from(PEOPLE)
recipes = st.one_of(
    st.builds(lambda one: {"what": "close", "position_id": one}, st.sampled_from(POSITIONS)),
    st.builds(
        lambda one, volume: {"what": "update", "position_id": one, "volume": volume},
        st.sampled_from(POSITIONS),
        st.sampled_from(("0.5", "2")),
    ),
    st.builds(
        lambda one, price: {"what": "update", "position_id": one, "price_open": price},
        st.sampled_from(POSITIONS),
        st.sampled_from(("1.050000001", "1.0543000")),
    ),
    st.builds(lambda one: {"what": "balance", "balance": one}, st.sampled_from(("0", "50.5"))),
    st.builds(lambda one: {"what": "acceptance", "position_id": one}, st.sampled_from(POSITIONS)),
    st.builds(lambda one: {"what": "clock", "clock": one}, st.sampled_from(("UTC", "UTC+3"))),
    st.builds(
        lambda approvals, one: {"what": "policy", "approvals": approvals, "corrections": one},
        st.sampled_from((1, 2)),
        st.sampled_from((["balance"], ["position", "balance"], ["position", "balance", "acceptance", "clock"])),
    ),
)
steps = st.one_of(
    st.tuples(st.just("fill"), st.sampled_from(POSITIONS), st.booleans()),
    st.tuples(st.just("break"), st.sampled_from(POSITIONS), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from((1, 40)), st.none()),
    st.tuples(st.just("correct"), people, recipes),
    st.tuples(st.just("propose"), people, st.tuples(recipes, st.booleans())),
    st.tuples(st.just("answer"), people, st.tuples(recipes, st.booleans())),
    st.tuples(st.just("approve"), people, st.integers(0, 3)),
    st.tuples(st.just("approve"), people, st.just(0)),
    st.tuples(st.just("approve"), people, st.just(1)),
    st.tuples(st.just("reject"), people, st.integers(0, 3)),
    st.tuples(st.just("withdraw"), people, st.integers(0, 3)),
)


class Desk:
    """An account, and people who do to it what they want as far as it is allowed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ledger = Ledger.open("memory://", now_us=self.clock)
        self.account = self.ledger.account(ACCOUNT)
        self.account.record_many([opened(), cash(9, 0), *(fill(one, 1) for one in POSITIONS)])
        proposals.set_policy(self.account, approvals=2, operator="ann", reason="the rule")
        self.deal = 100

    def do(self, what: str, who: Any, about: Any) -> None:
        try:
            getattr(self, f"_{what}")(who, about)
        except RuleError:
            return

    def _fill(self, position_id: int, is_out: bool) -> None:  # drawn
        self.deal += 1
        terms: dict[str, Any] = {"entry": "out", "side": "sell"} if is_out else {}
        self.account.record(fill(self.deal, self.deal, position_id=position_id, volume="0.25", **terms))

    def _break(self, position_id: int, is_end: bool) -> None:  # drawn
        about: dict[str, Any] = {"kind": "ghost", "position_id": position_id, "time_msc": START_MSC + self.account.version}
        breaks = [one for one in self.account.portfolio.breaks if one.kind.value == "ghost"]
        opened_at = [one.version or 0 for one in breaks if one.position_id == position_id]
        if not is_end:
            self.account.record(BreakOpened(symbol="EURUSD", **about))
        elif opened_at:
            self.account.record(BreakClosed(end="vanished", caused_by=opened_at[0], **about))

    def _wait(self, minutes: int, _: None) -> None:
        self.clock.now_us += minutes * 60_000_000

    def _correct(self, who: str, recipe: dict[str, Any]) -> None:
        proposals.correct(self.account, CorrectionRequest(recipe), operator=who, reason="r")

    def _propose(self, who: str, about: tuple[dict[str, Any], bool]) -> None:
        proposals.propose(self.account, CorrectionRequest(about[0]), operator=who, reason="r", urgent=about[1])

    def _answer(self, who: str, about: tuple[dict[str, Any], bool]) -> None:
        request, opened_at = CorrectionRequest(about[0]), [one.version for one in self.account.portfolio.breaks]
        if opened_at:
            proposals.propose(
                self.account, request, operator=who, reason="r", urgent=about[1], break_version=opened_at[-1]
            )  # fmt: skip

    def _of(self, number: int) -> Any:
        known = self.account.approvals.proposals
        return known[-1 - number % len(known)] if known else None

    def _approve(self, who: str, number: int) -> None:
        one = self._of(number)
        if one is not None:
            proposals.approve(self.account, one.version, operator=who, effect_digest=one.effect_digest)

    def _reject(self, who: str, number: int) -> None:
        one = self._of(number)
        if one is not None:
            proposals.reject(self.account, one.version, operator=who, reason="r")

    def _withdraw(self, who: str, number: int) -> None:
        one = self._of(number)
        if one is not None:
            proposals.withdraw(self.account, one.version, operator=who)

    def problems(self) -> list[str]:
        return [one.what for one in self.ledger.verify().problems]


def played(script: list[tuple[str, Any, Any]]) -> Desk:
    desk = Desk()
    for step in script:
        desk.do(*step)
    return desk


@given(st.lists(steps, max_size=25))
def test_what_is_applied_had_the_persons_that_the_policy_asked_for(script):
    desk = played(script)
    policy = Policy()
    proposed: dict[int, Any] = {}
    decisions: dict[int, CorrectionDecided] = {}
    for row in desk.ledger.journal.rows(ACCOUNT):
        if row.kind in ("FillRecorded", "CashMoved"):
            continue
        event = decode(row, None)
        if row.kind == "CorrectionProposed":
            proposed[row.version] = event
        elif isinstance(event, CorrectionDecided):
            decisions[row.version] = event
        elif isinstance(event, (Adjusted, PolicySet)):
            after = Policy.of(event, row.version) if isinstance(event, PolicySet) else policy
            is_two = policy.persons(subjects_of(adjustment_of(event))) == 2 or policy.is_lowered_by(after)
            if is_two or event.decision is not None:
                assert event.decision is not None
                decision = decisions[event.decision]
                proposal = proposed[decision.caused_by]
                assert decision.effect_digest == proposal.effect_digest == digest_of(proposal.effect)
                assert adjustment_of(event) in proposal.effect["adjusted"]
                assert proposal.urgent or not is_same_person(decision.operator, proposal.operator)
            policy = after
    assert policy.rule == desk.account.approvals.policy.rule
    assert desk.problems() == []


@given(st.lists(steps, max_size=20))
def test_an_urgent_correction_has_a_break_until_a_second_person_agrees(script):
    desk = played(script)
    waiting = {one.opened_break for one in desk.account.approvals.pending if one.state is not ProposalState.PENDING}
    assert waiting == {one.version for one in desk.account.portfolio.breaks if one.kind.value == "approval"}
    events = {one.version: one.event for one in desk.account.events()}
    decision: Any = None
    for event in events.values():
        if isinstance(event, CorrectionDecided):
            decision = event
        elif isinstance(event, BreakClosed) and event.kind.value == "approval":
            proposal: Any = events[decision.caused_by]
            assert decision.outcome.value == "approved"
            assert not is_same_person(decision.operator, proposal.operator)
    assert desk.problems() == []


@given(st.lists(steps, max_size=20), st.integers(0, 30))
def test_approvals_folded_on_are_those_folded_from_the_start(script, cut):
    desk = played(script)
    version = min(cut, desk.account.version)
    part = ApprovalsFold()
    for row in desk.ledger.journal.approval_rows(ACCOUNT, upto=version):
        part.apply(decode(row, None), row.version)
    twin = part.copy()
    for row in desk.ledger.journal.approval_rows(ACCOUNT, after=version):
        twin.apply(decode(row, None), row.version)
    fresh = Ledger(desk.ledger.journal, desk.clock).account(ACCOUNT).approvals
    assert twin.at(0, 0).policies == fresh.policies
    assert [one.decisions for one in twin.at(0, 0).proposals] == [one.decisions for one in fresh.proposals]
    assert [one.version for one in part.at(0, 0).proposals] == [
        one.version for one in fresh.proposals if one.version <= version
    ]


def forgeries(desk: Desk) -> list[Any]:
    """Return events that nobody may append where two persons are asked for, each of them alone."""
    account = desk.account
    at: dict[str, Any] = {"operator": "mal", "reason": "mine", "time_msc": START_MSC + 777}
    decisions = [one.version for proposal in account.approvals.proposals for one in proposal.decisions]
    drafted = proposals.draft(account, CorrectionRequest({"what": "balance", "balance": "777"}), operator="mal", reason="mine")
    lone: Any = drafted.events[0]
    yielded: list[Any] = [lone, PolicySet(approvals=1, **at)]
    yielded.append(
        CorrectionProposed(
            correction=dict(drafted.recipe), effect=drafted.effect, effect_digest=drafted.digest, rests_on=account.version,
            lapses_utc_msc=START_MSC * 2, **at,
        )
    )  # fmt: skip
    yielded += [attrs.evolve(lone, decision=one) for one in (*decisions, account.version, account.version + 1)]
    yielded += [PolicySet(approvals=1, decision=one, **at) for one in decisions]
    digests = {one.version: one.effect_digest for one in account.approvals.proposals}
    for one in account.approvals.proposals:
        about: dict[str, Any] = {"outcome": "approved", "caused_by": one.version, "time_msc": START_MSC + 777}
        yielded.append(CorrectionDecided(operator=one.operator, effect_digest=digests[one.version], **about))
        yielded.append(CorrectionDecided(operator="dan", effect_digest="ab" * 32, **about))
        if one.state in (ProposalState.APPROVED, ProposalState.WITHDRAWN):
            yielded.append(CorrectionDecided(operator="dan", effect_digest=digests[one.version], **about))
    yielded += [
        BreakClosed(kind="approval", end="accepted", time_msc=START_MSC + 777, caused_by=one.version)
        for one in account.portfolio.breaks
        if one.kind.value == "approval" and one.version is not None
    ]
    return yielded


@given(st.lists(steps, max_size=15), st.data())
def test_any_single_forged_event_is_found(script, data):
    desk = played(script)
    policy = desk.account.approvals.policy
    if policy.persons(["balance"]) < 2:
        proposals.set_policy(desk.account, approvals=2, operator="ann", reason="again")
    forged = data.draw(st.sampled_from(forgeries(desk)))
    version = desk.account.version
    desk.account.record_many([forged])
    assert desk.account.version == version + 1
    assert desk.problems() != []


@given(st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), st.text(max_size=3), st.lists(st.integers(), max_size=2))))
def test_an_effect_that_differs_has_another_digest_and_names_what_changed(effect):
    other = effect | {"a": "another"}
    assert (digest_of(effect) == digest_of(other)) == (effect == other)
    assert (changes(effect, other) == {}) == (effect == other)
    assert digest_of(dict(reversed(effect.items()))) == digest_of(effect)


@given(st.text(min_size=1, max_size=6))
def test_a_person_is_the_same_in_any_case_and_spacing(name):
    assert is_same_person(name, f" {name}\u200b ")
    assert is_same_person(name, name.upper().lower()) or name.upper().lower() != name.lower()


def test_a_forged_decision_is_refused_by_the_library_too():
    desk = Desk()
    proposal = proposals.propose(
        desk.account, CorrectionRequest({"what": "close", "position_id": 1}), operator="ann", reason="r"
    ).proposal
    assert proposal is not None
    with pytest.raises(LedgerError):
        proposals.approve(desk.account, proposal.version, operator="ann", effect_digest=proposal.effect_digest)
