"""What people propose, decide and note: folded by version, by the policy that was in force at each. Pure.

Nothing here changes a figure. ``Approvals`` is what an account shows of it at a moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

import attrs
from attrs import frozen

from ledger.approvals.people import is_same_person
from ledger.approvals.policy import ONE_PERSON, Policy
from ledger.events import (
    BreakClosed,
    BreakKind,
    BreakNoted,
    BreakOpened,
    CorrectionDecided,
    CorrectionProposed,
    DecisionOutcome,
    Event,
    PolicySet,
)

__all__ = ["ONE_PERSON", "Approvals", "ApprovalsFold", "Note", "Policy", "Proposal", "ProposalState"]

#: A proposal lapses after so many minutes, if nobody states otherwise; and at the latest after so many.
LAPSES_MIN: Final = 60
LAPSES_MAX_MIN: Final = 7 * 24 * 60


class ProposalState(Enum):
    """What became of a proposal."""

    #: Nobody decided yet.
    PENDING = "pending"
    #: A second person approved, and the correction was recorded with it.
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    #: Its time is over, its break ended, or its effect would have been another one.
    LAPSED = "lapsed"
    #: Applied at once by one person, and no second one has confirmed it yet.
    UNCONFIRMED = "unconfirmed"


@frozen(kw_only=True)
class Decision:
    """What a person decided about a proposal; ``version`` is that of the event."""

    version: int
    outcome: DecisionOutcome
    operator: str
    effect_digest: str
    time_msc: int
    reason: str | None = None
    changed: Mapping[str, Any] | None = None
    signature: str | None = None
    key: str | None = None
    rests_on: int | None = None


@frozen(kw_only=True)
class Proposal:
    """A proposed correction, at a moment. ``version`` is that of the event; ``why`` explains a state that is final."""

    version: int
    operator: str
    reason: str
    time_msc: int
    correction: Mapping[str, Any]
    effect: Mapping[str, Any]
    effect_digest: str
    rests_on: int
    lapses_utc_msc: int
    urgent: bool
    break_version: int | None
    position_id: int | None
    symbol: str | None
    state: ProposalState = ProposalState.PENDING
    why: str | None = None
    decisions: tuple[Decision, ...] = ()
    #: The version that opened its break of kind approval, where it was applied at once, and that of its end.
    opened_break: int | None = None
    ended_break: int | None = None

    @property
    def is_applied(self) -> bool:
        """Whether what it proposed was recorded."""
        return any(one.outcome is DecisionOutcome.APPROVED for one in self.decisions)

    @property
    def waits(self) -> bool:
        """Whether a person may decide it: to approve it, or to confirm what was applied at once, also after a rejection."""
        if self.state is ProposalState.PENDING:
            return True
        is_open = self.opened_break is not None and self.ended_break is None
        return is_open and self.state in (ProposalState.UNCONFIRMED, ProposalState.REJECTED)


@frozen(kw_only=True)
class Note:
    """What a person noted about the break that version ``break_version`` opened."""

    version: int
    break_version: int
    operator: str
    text: str
    owner: str | None
    time_msc: int


@frozen(kw_only=True)
class Approvals:
    """What is proposed, decided and noted of an account, at a moment. ``version`` is up to which its events are read."""

    version: int
    policy: Policy
    policies: tuple[Policy, ...]
    proposals: tuple[Proposal, ...]
    notes: tuple[Note, ...]

    @property
    def pending(self) -> tuple[Proposal, ...]:
        """The proposals that wait for a second person: to approve them, or to confirm what was applied at once."""
        return tuple(one for one in self.proposals if one.waits)

    def proposal(self, version: int) -> Proposal | None:
        """Return the proposal of a version."""
        return next((one for one in self.proposals if one.version == version), None)

    def policy_at(self, version: int) -> Policy:
        """Return the policy that was in force behind a version."""
        return next((one for one in reversed(self.policies) if (one.version or 0) <= version), ONE_PERSON)

    def owner(self, break_version: int) -> str | None:
        """Return who took a break over last."""
        owners = (one.owner for one in reversed(self.notes) if one.break_version == break_version)
        return next((one for one in owners if one is not None), None)


class ApprovalsFold:
    """What the events come to, folded by version; ``at`` shows it at a moment.

    The state grows with what people did, which is little beside what brokers report.
    """

    def __init__(self) -> None:
        self.version = 0
        self._policies: list[Policy] = []
        self._proposals: dict[int, Proposal] = {}
        self._notes: list[Note] = []
        self._ends: dict[int, int] = {}  # break that a proposal is the answer to -> version of its end

    @property
    def break_versions(self) -> tuple[int, ...]:
        """The breaks whose ends decide about proposals that nobody decided yet."""
        found = {one.break_version for one in self._proposals.values() if one.state is ProposalState.PENDING}
        return tuple(sorted(version for version in found if version is not None and version not in self._ends))

    def apply(self, event: Event, version: int) -> None:
        """Apply the next event; versions rise, and others than these may be between them."""
        match event:
            case CorrectionProposed():
                fields = {one.name: getattr(event, one.name) for one in attrs.fields(CorrectionProposed)}
                self._proposals[version] = Proposal(version=version, **fields)
            case CorrectionDecided():
                self._decide(event, version)
            case PolicySet():
                self._set_policy(event, version)
            case BreakNoted():
                self._notes.append(
                    Note(
                        version=version, break_version=event.caused_by, operator=event.operator, text=event.text,
                        owner=event.owner, time_msc=event.time_msc,
                    )
                )  # fmt: skip
            case BreakOpened(kind=BreakKind.APPROVAL):
                self._change(event.caused_by, opened_break=version)
            case BreakClosed(kind=BreakKind.APPROVAL):
                self._end_approval(event, version)
            case BreakClosed():
                self._ends[event.caused_by] = version
            case _:
                return
        self.version = max(self.version, version)

    def _decide(self, event: CorrectionDecided, version: int) -> None:
        known = self._proposals.get(event.caused_by)
        if known is None:
            return
        names = [one.name for one in attrs.fields(Decision) if one.name != "version"]
        decision = Decision(version=version, **{name: getattr(event, name) for name in names})
        self._proposals[event.caused_by] = attrs.evolve(
            known, decisions=(*known.decisions, decision), state=_state_after(known, decision), why=_why(decision)
        )

    def _set_policy(self, event: PolicySet, version: int) -> None:
        """Let a policy be in force; one that asks for less only if a second person approved it (``verify`` names others)."""
        policy = Policy.of(event, version)
        known = self._policies[-1] if self._policies else ONE_PERSON
        allowed = (
            version == (event.decision or 0) + 1
            and any(
                one.state is ProposalState.APPROVED
                and one.decisions[-1].version == event.decision
                and one.decisions[-1].effect_digest == one.effect_digest
                and not (known.signed and one.decisions[-1].signature is None)
                and one.correction == {"what": "policy", **policy.rule}
                and not is_same_person(one.operator, one.decisions[-1].operator)
                for one in self._proposals.values()
            )
        )  # fmt: skip
        if allowed or not known.is_lowered_by(policy):
            self._policies.append(policy)

    def _change(self, proposal: int | None, **fields: Any) -> None:
        known = self._proposals.get(proposal or 0)
        if known is not None:
            self._proposals[known.version] = attrs.evolve(known, **fields)

    def _end_approval(self, event: BreakClosed, version: int) -> None:
        """End the break of what was applied at once: confirmed, or corrected otherwise. It may have answers of its own."""
        self._ends[event.caused_by] = version
        for known in [one for one in self._proposals.values() if one.opened_break == event.caused_by]:
            self._change(known.version, ended_break=version)
            if known.state is ProposalState.UNCONFIRMED:
                self._change(known.version, state=ProposalState.REJECTED, why=f"it was corrected otherwise: v{version}")

    def copy(self) -> ApprovalsFold:
        """Return an independent copy, to fold on from here."""
        twin = ApprovalsFold()
        twin.version = self.version
        twin._policies, twin._notes = list(self._policies), list(self._notes)
        twin._proposals, twin._ends = dict(self._proposals), dict(self._ends)
        return twin

    def at(self, at_utc_msc: int, version: int) -> Approvals:
        """Return what it comes to at a moment in UTC, with all events up to a version."""
        return Approvals(
            version=version,
            policy=self._policies[-1] if self._policies else ONE_PERSON,
            policies=tuple(self._policies),
            proposals=tuple(self._shown(one, at_utc_msc) for one in self._proposals.values()),
            notes=tuple(self._notes),
        )

    def _shown(self, proposal: Proposal, at_utc_msc: int) -> Proposal:
        if proposal.state is not ProposalState.PENDING:
            return proposal
        ended = self._ends.get(proposal.break_version or 0)
        if ended is not None:
            why = f"the break that it was the answer to ended with v{ended}"
        elif at_utc_msc > proposal.lapses_utc_msc:
            why = "nobody decided it in time"
        else:
            return proposal
        return attrs.evolve(proposal, state=ProposalState.LAPSED, why=why)


def _state_after(known: Proposal, decision: Decision) -> ProposalState:
    """Return the state of a proposal after a decision. What its own proposer approves at once waits for a second person."""
    if decision.outcome is not DecisionOutcome.APPROVED:
        return ProposalState(decision.outcome.value)
    if known.urgent and not known.is_applied and is_same_person(known.operator, decision.operator):
        return ProposalState.UNCONFIRMED
    return ProposalState.APPROVED


def _why(decision: Decision) -> str:
    reason = f": {decision.reason}" if decision.reason else ""
    return f"{decision.outcome.value} by {decision.operator} with v{decision.version}{reason}"


def folded(events: Iterable[tuple[int, Event]]) -> ApprovalsFold:
    """Return what events come to, each with its version, ascending."""
    fold = ApprovalsFold()
    for version, event in events:
        fold.apply(event, version)
    return fold
