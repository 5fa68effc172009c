"""Corrections that two persons decide: proposed by one, approved by another, by the policy that the journal holds.

An approval binds to the effect, not to the version: the correction is proposed anew at the present version, and recorded only
if it would change what the second person saw. So an account may go on trading meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs
from attrs import frozen

from ledger import adjustments
from ledger.approvals import LAPSES_MAX_MIN, LAPSES_MIN, Approvals, Policy, Proposal, ProposalState
from ledger.approvals.effect import Json, adjustment_of, changes, digest_of, effect_of, forged, subjects_of
from ledger.approvals.people import is_same_person, to_person
from ledger.approvals.recipes import to_recipe
from ledger.clock import utc_text
from ledger.codec import Stored, recorded
from ledger.errors import BadValue, RuleError, VersionConflict
from ledger.events import (
    Adjusted,
    BreakClosed,
    BreakEnd,
    BreakKind,
    BreakNoted,
    BreakOpened,
    CorrectionDecided,
    CorrectionProposed,
    DecisionOutcome,
    Event,
    PolicySet,
    Recorded,
)
from ledger.events.approvals import SUBJECTS, to_digest
from ledger.journal import Appended
from ledger.portfolio import Portfolio
from ledger.service import Account, Ledger
from ledger.values import AccountId, shown, to_whole
from ledger.views import Break

#: What became of a request: recorded as asked, waiting for a second person, or one of the ends of a proposal.
APPLIED: Final = "applied"
PROPOSED: Final = "proposed"
CONFIRMED: Final = "confirmed"
REJECTED: Final = "rejected"
WITHDRAWN: Final = "withdrawn"
LAPSED: Final = "lapsed"
NOTED: Final = "noted"
UNCHANGED: Final = "unchanged"

#: So often a decision is made again where somebody else wrote meanwhile: each time from what is known then.
_ATTEMPTS: Final = 50
_MINUTE_MSC: Final = 60_000
_CORRELATION: Final = "correct"


@frozen
class CorrectionRequest:
    """A correction that is asked for: ``what``, and the arguments of ``ledger.adjustments``, as JSON values.

    ``CorrectionRequest({"what": "close", "position_id": 123})``. Numbers may be text.
    """

    recipe: Mapping[str, Any] = attrs.field(converter=to_recipe)


@frozen(kw_only=True)
class Draft:
    """What a correction would do at a version: what it would record, the portfolio before and after, its effect."""

    recipe: Mapping[str, Any]
    events: tuple[Event, ...]
    before: Portfolio
    after: Portfolio
    version: int
    effect: Json
    digest: str

    @property
    def subjects(self) -> frozenset[str]:
        """What a policy can ask two persons for that it is about; nothing for a policy itself."""
        return frozenset(
            one for event in self.events if isinstance(event, Adjusted) for one in subjects_of(adjustment_of(event))
        )

    def waits(self, policy: Policy) -> bool:
        """Return whether a policy asks for a second person before it is recorded."""
        lowers = any(isinstance(event, PolicySet) and policy.is_lowered_by(Policy.of(event)) for event in self.events)
        return lowers or policy.persons(self.subjects) > 1


@frozen(kw_only=True)
class Result:
    """What became of a request.

    Attributes:
        became: ``applied``, ``proposed``, ``confirmed``, ``rejected``, ``withdrawn``, ``lapsed``, ``noted`` or ``unchanged``.
        proposal: The proposal, as it is now; None where there is none.
        events: What was recorded.
        changed: Of a lapsed one what differs: path -> as proposed, as it is now.
        advice: What to do next, where something is left to do.
    """

    became: str
    proposal: Proposal | None = None
    events: tuple[Recorded, ...] = ()
    changed: Mapping[str, Any] | None = None
    advice: str | None = None


# ------------------------------------------------------------------------------------------------------------ to propose


def draft(account: Account, request: CorrectionRequest, *, operator: str, reason: str) -> Draft:
    """Return what a correction would do now. Nothing is recorded.

    Raises:
        RuleError: It cannot be, as of a position that is not open; AccountUnknown, if the account was not opened.
        BadValue: An argument is not what it has to be.
    """
    recipe = dict(request.recipe)
    what = recipe.pop("what")
    if what == "policy":
        return _policy_draft(account, recipe, operator, reason)
    found = _PROPOSE[what](account, **recipe, operator=operator, reason=reason)
    effect = effect_of(found.events, found.before, found.after)
    return Draft(
        recipe=request.recipe, events=found.events, before=found.before, after=found.after, version=found.version,
        effect=effect, digest=digest_of(effect),
    )  # fmt: skip


_PROPOSE: Final[Mapping[str, Callable[..., adjustments.Proposal]]] = {
    "add": adjustments.propose_add,
    "close": adjustments.propose_close,
    "update": adjustments.propose_update,
    "balance": adjustments.propose_balance,
    "withdrawal": adjustments.propose_withdrawal,
    "acceptance": lambda account, position_id=None, **rest: adjustments.propose_acceptance(
        account, position_id=position_id, **rest
    ),
    "clock": adjustments.propose_clock,
    "order": adjustments.propose_order,
}


def _policy_draft(account: Account, recipe: Mapping[str, Any], operator: str, reason: str) -> Draft:
    version, portfolio, approvals = account.current_with_approvals()
    event = PolicySet(**recipe, operator=operator, reason=reason, time_msc=_time_msc(account, portfolio))
    effect = {"adjusted": [adjustment_of(event)], "policy": [approvals.policy.rule, Policy.of(event).rule]}
    return Draft(
        recipe={"what": "policy", **recipe}, events=(event,), before=portfolio, after=portfolio, version=version, effect=effect,
        digest=digest_of(effect),
    )  # fmt: skip


def propose(
    account: Account,
    request: CorrectionRequest,
    *,
    operator: str,
    reason: str,
    lapses_min: int = LAPSES_MIN,
    urgent: bool = False,
    break_version: int | None = None,
    effect_digest: str | None = None,
    agree: Callable[[], object] | None = None,
) -> Result:
    """Propose a correction, for another person to approve.

    Args:
        account: Whose.
        request: What.
        operator: Who proposes.
        reason: Why.
        lapses_min: After so many minutes nobody can approve it any more.
        urgent: Apply it at once. That opens a break of kind approval, which is reported and not in the way of trading, until
            another person confirms it.
        break_version: The version that opened the break that it is the answer to: with its end the proposal lapses. Left out,
            it is the one break that the correction would end.
        effect_digest: The effect that the person was shown; another one by now is refused.
        agree: Called once, when all is checked and before anything is recorded; what it raises ends it.

    Raises:
        RuleError: It cannot be, the break is not open, the same waits already, or the effect is another one by now.
        BadValue: An argument is not what it has to be.
    """
    operator, minutes = to_person(operator), to_whole(lapses_min, 1, LAPSES_MAX_MIN, "minutes until a proposal lapses")
    if urgent and request.recipe["what"] == "policy":
        raise RuleError("a policy is never urgent: it is what decides how many persons a correction needs")

    def decide(version: int, portfolio: Portfolio, approvals: Approvals) -> _Decided:
        found = _drafted(account, request, version, operator, reason)
        if effect_digest is not None and to_digest(effect_digest) != found.digest:
            raise RuleError(f"the effect is another one by now: {_named(found.effect)}. Look at it again, and propose it then")
        _refuse_twice(approvals, found, operator)
        answer = _answered(portfolio, found, break_version)
        now_msc = _now_msc(account)
        proposed = CorrectionProposed(
            operator=operator, reason=reason, time_msc=_time_msc(account, portfolio), correction=dict(found.recipe),
            effect=found.effect, effect_digest=found.digest, rests_on=version, symbol=_symbol(found, answer), urgent=urgent,
            lapses_utc_msc=now_msc + minutes * _MINUTE_MSC, break_version=None if answer is None else answer.version,
            position_id=found.recipe.get("position_id"),
        )  # fmt: skip
        if not urgent:
            return _Decided(PROPOSED, [proposed])
        decision = _decision(DecisionOutcome.APPROVED, proposed, version + 1, operator=operator, reason=reason)
        why = f"{found.recipe['what']} was applied by {operator} alone: {reason}"
        opened = BreakOpened(
            kind=BreakKind.APPROVAL, time_msc=proposed.time_msc, position_id=proposed.position_id, symbol=proposed.symbol,
            field=f"v{version + 1}", why=why, caused_by=version + 1,
        )  # fmt: skip
        events = [proposed, decision, *_decided_events(found, version + 2), opened]
        return _Decided(
            APPLIED, events, advice=f"another person confirms it: ledger approve v{version + 1} --account {account.name}"
        )

    return _settled(account, decide, None, agree)


def _drafted(account: Account, request: CorrectionRequest, version: int, operator: str, reason: str) -> Draft:
    """Return the draft of a request at a version.

    Raises:
        VersionConflict: The account is not at that version any more.
    """
    found = draft(account, request, operator=operator, reason=reason)
    if found.version != version:
        raise VersionConflict(str(account.name), expected=version, found=found.version)
    return found


def _refuse_twice(approvals: Approvals, found: Draft, operator: str) -> None:
    for one in approvals.pending:
        if one.state is ProposalState.PENDING and one.effect_digest == found.digest and one.correction == found.recipe:
            whose = "you proposed" if is_same_person(one.operator, operator) else f"{one.operator} proposed"
            raise RuleError(f"{whose} the same already, v{one.version}: another person may approve it")


def _answered(portfolio: Portfolio, found: Draft, break_version: int | None) -> Break | None:
    """Return the open break that a proposal is the answer to.

    Raises:
        RuleError: It is not open.
    """
    opened = {one.version: one for one in portfolio.breaks if one.version is not None}
    if break_version is not None:
        if break_version not in opened:
            listed = ", ".join(f"v{version}" for version in opened)
            raise RuleError(f"no break of version {shown(break_version)} is open; open are: {listed or 'none'}")
        return opened[break_version]
    ended = [opened[one.caused_by] for one in found.events if isinstance(one, BreakClosed) and one.caused_by in opened]
    return ended[0] if len(ended) == 1 else None


def _answer_ends(answer: Break | None, time_msc: int) -> list[Event]:
    """Return the end of a break of kind approval: what it was about is corrected otherwise now, by two persons."""
    if answer is None or answer.kind is not BreakKind.APPROVAL or answer.version is None:
        return []
    return [
        BreakClosed(
            kind=BreakKind.APPROVAL, end=BreakEnd.CORRECTED, time_msc=time_msc, caused_by=answer.version,
            position_id=answer.position_id,
        )
    ]  # fmt: skip


def _symbol(found: Draft, answer: Break | None) -> str | None:
    about = next((one.symbol for one in found.events if isinstance(one, Adjusted) and one.symbol), None)
    return about or (answer.symbol if answer is not None else None)


# ------------------------------------------------------------------------------------------------------------- to decide


def approve(
    account: Account,
    version: int,
    *,
    operator: str,
    effect_digest: str,
    reason: str | None = None,
    signature: str | None = None,
    key: str | None = None,
    agree: Callable[[], object] | None = None,
) -> Result:
    """Approve a proposal: the correction is recorded in the same transaction, if its effect is still what was proposed.

    One that was applied at once is confirmed: its break of kind approval ends.

    Args:
        account: Whose.
        version: That of the proposal.
        operator: Who approves: another person than the one who proposed.
        effect_digest: The effect that the person saw.
        reason: Why.
        signature: By the person's key, over journal, account, effect and the version that the proposal rests on; the caller
            has checked it.
        key: The public key that it is checked with.
        agree: Called once, when all is checked and before anything is recorded; what it raises ends it.

    Returns:
        ``applied``; ``confirmed``; or ``lapsed``, with what would be different by now.

    Raises:
        RuleError: Nothing waits there, the person proposed it, or saw another effect, or the policy asks for a signature.
    """
    operator, seen = to_person(operator), to_digest(effect_digest)

    def decide(at: int, portfolio: Portfolio, approvals: Approvals) -> _Decided:
        known = _waiting(account, approvals, version)
        _require_other(known, operator, "approve")
        if seen != known.effect_digest:
            raise RuleError(
                f"v{version} has the effect {known.effect_digest[:16]}, and you looked at {seen[:16]}: look at it again"
            )
        if (fault := forged(version, known)) is not None:
            raise RuleError(f"v{version} is forged, reject it: {fault}")
        if approvals.policy.signed and signature is None:
            raise RuleError(f"the policy of {account.name} asks for a signature (ledger approve --key, or offline)")
        time_msc = _time_msc(account, portfolio)
        signed = {} if signature is None else {"signature": signature, "key": key, "rests_on": known.rests_on}
        approved = _decision(
            DecisionOutcome.APPROVED, known, known.version, operator=operator, reason=reason, time_msc=time_msc, **signed
        )
        answer = next((one for one in portfolio.breaks if one.version == known.break_version), None)
        if known.is_applied:
            ends = [*_confirmed(portfolio, known, time_msc), *_answer_ends(answer, time_msc)]
            return _Decided(CONFIRMED, [approved, *ends])
        now = _now(account, known, at)
        if isinstance(now, Draft) and now.digest == known.effect_digest:
            events = [*_decided_events(now, at + 1), *_answer_ends(answer, time_msc)]
            return _Decided(APPLIED, [approved, *events])
        what = known.correction["what"]
        changed = changes(known.effect, now.effect) if isinstance(now, Draft) else {"correction": [what, now]}
        lapsed = _decision(
            DecisionOutcome.LAPSED, known, known.version, operator=operator, time_msc=time_msc, changed=changed,
            reason="its effect would be another one by now",
        )  # fmt: skip
        advice = "look at what changed, and propose it again if it is still right"
        return _Decided(LAPSED, [lapsed], changed=changed, advice=advice)

    return _settled(account, decide, version, agree)


def _now(account: Account, known: Proposal, version: int) -> Draft | str:
    """Return what a proposed correction would do at a version, or why it cannot be any more."""
    try:
        return _drafted(account, CorrectionRequest(known.correction), version, known.operator, known.reason)
    except (RuleError, BadValue) as error:
        return str(error)


def _confirmed(portfolio: Portfolio, known: Proposal, time_msc: int) -> Iterator[Event]:
    for one in portfolio.breaks:
        if one.version is not None and one.version == known.opened_break:
            yield BreakClosed(
                kind=BreakKind.APPROVAL, end=BreakEnd.ACCEPTED, time_msc=time_msc, caused_by=one.version,
                position_id=one.position_id,
            )  # fmt: skip


def reject(account: Account, version: int, *, operator: str, reason: str) -> Result:
    """Reject a proposal of another person.

    One that was applied at once stays applied, and its break open: the result states what to do.

    Raises:
        RuleError: Nothing waits there, or the person proposed it.
    """
    operator = to_person(operator)

    def decide(_: int, portfolio: Portfolio, approvals: Approvals) -> _Decided:
        known = _waiting(account, approvals, version)
        _require_other(known, operator, "reject")
        if known.state is ProposalState.REJECTED:
            raise RuleError(f"v{version} is rejected already: {known.why}. {_opposite(known)}")
        decision = _decision(
            DecisionOutcome.REJECTED, known, known.version, operator=operator, reason=reason,
            time_msc=_time_msc(account, portfolio),
        )  # fmt: skip
        return _Decided(REJECTED, [decision], advice=_opposite(known) if known.is_applied else None)

    return _settled(account, decide, version)


def withdraw(account: Account, version: int, *, operator: str, reason: str | None = None) -> Result:
    """Withdraw a proposal of one's own.

    Raises:
        RuleError: Nothing waits there, another person proposed it, or it is applied already.
    """
    operator = to_person(operator)

    def decide(_: int, portfolio: Portfolio, approvals: Approvals) -> _Decided:
        known = _waiting(account, approvals, version)
        if not is_same_person(known.operator, operator):
            raise RuleError(f"{known.operator} proposed v{version}, and may withdraw it: another person rejects it")
        if known.is_applied:
            raise RuleError(f"v{version} was applied at once and cannot be withdrawn. {_opposite(known)}")
        decision = _decision(
            DecisionOutcome.WITHDRAWN, known, known.version, operator=operator, reason=reason,
            time_msc=_time_msc(account, portfolio),
        )  # fmt: skip
        return _Decided(WITHDRAWN, [decision])

    return _settled(account, decide, version)


def note(account: Account, break_version: int, *, operator: str, text: str, owner: str | None = None) -> Result:
    """Note something about a break, and take it over for somebody where ``owner`` names one. Text can never be deleted.

    Args:
        account: Whose.
        break_version: A version that opened a break, or at which it was seen again; it may have ended.
        operator: Who notes it.
        text: What.
        owner: Who deals with it from now on.

    Raises:
        RuleError: No break was opened at that version.
    """
    operator, owner = to_person(operator), None if owner is None else to_person(owner)

    def decide(_: int, portfolio: Portfolio, approvals: Approvals) -> _Decided:  # noqa: ARG001  # as the others
        opened = _opened(account, to_whole(break_version, 1, 2**63 - 1, "a version"))
        event = BreakNoted(
            operator=operator, text=text, owner=owner, caused_by=opened, time_msc=_time_msc(account, portfolio)
        )  # fmt: skip
        return _Decided(NOTED, [event])

    return _settled(account, decide, None)


def _opened(account: Account, version: int) -> int:
    """Return the version at which the break was opened that is seen at a version.

    Raises:
        RuleError: None is.
    """
    found = _break_row(account, version)
    if found is None:
        raise RuleError(f"v{version} of {account.name} opened no break: ledger breaks and ledger log breaks list them")
    while found.caused_by is not None and (before := _break_row(account, found.caused_by)) is not None:
        found = before
    return found.version


def _break_row(account: Account, version: int) -> Stored | None:
    row = next(account.ledger.journal.rows(account.name, after=version - 1, upto=version), None)
    return row if row is not None and row.kind == "BreakOpened" else None


def set_policy(
    account: Account,
    *,
    approvals: int,
    operator: str,
    reason: str,
    corrections: tuple[str, ...] = SUBJECTS,
    signed: bool = False,
    lapses_min: int = LAPSES_MIN,
) -> Result:
    """Set how many persons a correction needs. To ask for less than the policy in force is proposed, for another to approve.

    Args:
        account: Whose.
        approvals: 1 or 2.
        operator: Who sets it.
        reason: Why.
        corrections: For which corrections; all without.
        signed: Whether decisions have to be signed.
        lapses_min: After so many minutes nobody can approve a lower one any more.

    Returns:
        ``applied``, ``proposed``, or ``unchanged`` where it is in force already.
    """
    operator = to_person(operator)
    request = CorrectionRequest(
        {"what": "policy", "approvals": approvals, "corrections": tuple(corrections), "signed": signed}
    )  # fmt: skip

    def decide(version: int, _: Portfolio, known: Approvals) -> _Decided:
        found = _drafted(account, request, version, operator, reason)
        event = found.events[0]
        assert isinstance(event, PolicySet), "the draft of a policy sets one"
        if known.policy.rule == Policy.of(event).rule:
            return _Decided(UNCHANGED, [])
        return _Decided(PROPOSED, []) if known.policy.is_lowered_by(Policy.of(event)) else _Decided(APPLIED, [event])

    found = _settled(account, decide, None)
    if found.became != PROPOSED:
        return found
    return propose(account, request, operator=operator, reason=reason, lapses_min=lapses_min)


def correct(
    account: Account,
    request: CorrectionRequest,
    *,
    operator: str,
    reason: str,
    effect_digest: str | None = None,
    agree: Callable[[], object] | None = None,
) -> Result:
    """Apply a correction where the policy asks for one person, else propose it. Arguments and errors as ``propose``."""
    operator = to_person(operator)
    if request.recipe["what"] == "policy":
        rest = {name: value for name, value in request.recipe.items() if name != "what"}
        return set_policy(account, operator=operator, reason=reason, **rest)

    def decide(version: int, _: Portfolio, known: Approvals) -> _Decided:
        found = _drafted(account, request, version, operator, reason)
        if effect_digest is not None and to_digest(effect_digest) != found.digest:
            raise RuleError(f"the effect is another one by now: {_named(found.effect)}. Look at it again")
        return _Decided(PROPOSED, []) if found.waits(known.policy) else _Decided(APPLIED, list(found.events))

    result = _settled(account, decide, None, agree)
    if result.became != PROPOSED:
        return result
    return propose(account, request, operator=operator, reason=reason, effect_digest=effect_digest, agree=agree)


# ----------------------------------------------------------------------------------------------------------- all accounts


def pending(ledger: Ledger) -> list[tuple[Account, Proposal]]:
    """Return the proposals of all accounts that wait for a second person's approval, oldest first.

    One statement finds the accounts in which something was proposed that cannot have lapsed yet; only those are read. What was
    applied at once and waits to be confirmed is an open break, of kind approval.
    """
    found = [(account, one) for account in map(ledger.account, with_pending(ledger)) for one in pending_of(account)]
    return sorted(found, key=lambda one: one[1].lapses_utc_msc)


def with_pending(ledger: Ledger) -> list[AccountId]:
    """Return the accounts in which something was proposed that cannot have lapsed yet."""
    return list(ledger.journal.proposed_since(ledger.now_us() - (LAPSES_MAX_MIN + 1) * _MINUTE_MSC * 1000))


def pending_of(account: Account) -> list[Proposal]:
    """Return the proposals of an account that nobody decided yet."""
    return [one for one in account.approvals.pending if one.state is ProposalState.PENDING]


# ------------------------------------------------------------------------------------------------------------------ parts


@frozen
class _Decided:
    """What is to be recorded behind the version that it was decided at, and what that means."""

    became: str
    events: list[Event]
    changed: Mapping[str, Any] | None = None
    advice: str | None = None


def _settled(
    account: Account,
    decide: Callable[[int, Portfolio, Approvals], _Decided],
    about: int | None,
    agree: Callable[[], object] | None = None,
) -> Result:
    """Decide from what is known and record it; what comes between only makes it be decided again.

    Args:
        account: Whose.
        decide: Called with the version, and with portfolio and approvals at it.
        about: The version of the proposal that it is about; None where it makes one, or none.
        agree: Called once something is to be recorded; what is known by then is decided from again.
    """
    if agree is not None and _decided(account, decide)[1].events:
        agree()
    decided, appended = _recorded(account, decide)
    terms = None if appended is None else appended.terms or account.terms
    events = () if appended is None else tuple(recorded(account.name, row, terms) for row in appended.rows)
    made = next((one.version for one in events if isinstance(one.event, CorrectionProposed)), about)
    return Result(
        became=decided.became,
        proposal=None if made is None else account.approvals.proposal(made),
        events=events,
        changed=decided.changed,
        advice=decided.advice,
    )


def _decided(account: Account, decide: Callable[[int, Portfolio, Approvals], _Decided]) -> tuple[int, _Decided]:
    version, portfolio, approvals = account.current_with_approvals()
    return version, decide(version, portfolio, approvals)


def _recorded(account: Account, decide: Callable[[int, Portfolio, Approvals], _Decided]) -> tuple[_Decided, Appended | None]:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            version, decided = _decided(account, decide)
            if not decided.events:
                return decided, None
            appended = account.record_many(decided.events, expected_version=version, correlation=_CORRELATION)
        except VersionConflict:
            if attempt == _ATTEMPTS:
                raise
        else:
            return decided, appended
    raise AssertionError("the last attempt returns or raises")


def _waiting(account: Account, approvals: Approvals, version: int) -> Proposal:
    """Return a proposal that waits for a person.

    Raises:
        RuleError: There is none, or it is decided.
    """
    known = approvals.proposal(version)
    if known is None:
        listed = ", ".join(f"v{one.version}" for one in approvals.pending)
        raise RuleError(f"v{shown(version)} of {account.name} is no proposal; waiting are: {listed or 'none'}")
    if not known.waits:
        again = "; propose it again if it is still right" if known.state is ProposalState.LAPSED else ""
        raise RuleError(f"v{version} is {known.state.value}: {known.why or utc_text(known.lapses_utc_msc)}{again}")
    return known


def _require_other(known: Proposal, operator: str, what: str) -> None:
    if is_same_person(known.operator, operator):
        way = "" if known.is_applied else ", or withdraw it"
        raise RuleError(f"{known.operator} proposed v{known.version}: expected another person to {what} it{way}")


def _opposite(known: Proposal) -> str:
    """Return what to do about a correction that was applied at once and that somebody does not want."""
    return (
        f"It stays applied, and its break of kind approval open: correct it back, as the answer to that break "
        f"({known.correction['what']}, effect {_named(known.effect)}), or confirm it all the same"
    )


def _named(effect: Mapping[str, Any]) -> str:
    return ", ".join(effect) or "nothing"


def _decision(
    outcome: DecisionOutcome, proposal: CorrectionProposed | Proposal, version: int, **fields: Any
) -> CorrectionDecided:
    given = {"time_msc": proposal.time_msc} | fields
    return CorrectionDecided(outcome=outcome, effect_digest=proposal.effect_digest, caused_by=version, **given)


def _decided_events(found: Draft, decision: int) -> list[Event]:
    """Return what a correction records behind its decision, whose version it names. ``found`` rests on a lower version."""
    moved = decision - found.version
    events: list[Event] = []
    for one in found.events:
        event = one
        if isinstance(event, (Adjusted, PolicySet)):
            event = attrs.evolve(event, decision=decision)
        caused_by = getattr(event, "caused_by", None)
        if isinstance(event, Adjusted) and caused_by is not None and caused_by > found.version:
            event = attrs.evolve(event, caused_by=caused_by + moved)
        events.append(event)
    return events


def _now_msc(account: Account) -> int:
    """Return the present in UTC: never before what was recorded last."""
    return max(account.ledger.now_us(), account.journal_head.recorded_us) // 1000


def _time_msc(account: Account, portfolio: Portfolio) -> int:
    return max(portfolio.terms.clock.from_utc_msc(_now_msc(account)), 0)
