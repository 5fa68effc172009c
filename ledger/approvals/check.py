"""Whether every correction had the persons that the policy in force asked for. Pure, one event after the other.

Memory grows with the proposals that wait at a time, never with the history: one that lapsed is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define

from ledger.approvals import LAPSES_MAX_MIN
from ledger.approvals.effect import adjustment_of, forged, subjects_of
from ledger.approvals.people import is_same_person
from ledger.approvals.policy import ONE_PERSON, TWO, Policy
from ledger.events import (
    Adjusted,
    BreakClosed,
    BreakKind,
    BreakOpened,
    CorrectionDecided,
    CorrectionProposed,
    DecisionOutcome,
    Event,
    PolicySet,
)

#: The kinds of events that the check reads.
CHECKED: Final = (
    "Adjusted",
    "BreakClosed",
    "BreakOpened",
    "CorrectionDecided",
    "CorrectionProposed",
    "PolicySet",
)
#: So long after its time an approval may be recorded that was decided in time: a database may be busy, and clocks differ.
_GRACE_MSC: Final = 60_000


@define(kw_only=True)
class _Waiting:
    """A proposal that waits for a person: to approve it, or to confirm what was applied at once."""

    version: int
    event: CorrectionProposed
    most_msc: int  # nothing proposed with it may lapse later
    ended: int | None = None  # version of the end of its break
    is_applied: bool = False
    break_version: int | None = None  # that its own application opened, of kind approval

    @property
    def last_msc(self) -> int:
        """Until then it may be approved, and the approval be recorded."""
        return min(self.event.lapses_utc_msc, self.most_msc) + _GRACE_MSC

    def forged(self) -> str | None:
        """Return what it states that cannot be; None where all of it can."""
        if self.event.lapses_utc_msc > self.most_msc + _GRACE_MSC:
            return f"it lapses later than {LAPSES_MAX_MIN // (24 * 60)} days after it was recorded"
        return forged(self.version, self.event)


@define(kw_only=True)
class _Run:
    """What has to follow a decision: its corrections one by one, and the break of what one person applied."""

    decision: int
    adjusted: list[Any]
    is_good: bool
    opens: _Waiting | None = None
    ends: frozenset[int] = frozenset()


class ApprovalCheck:
    """Reads the events of ``CHECKED`` of one account, ascending version, and names what lacked a person."""

    def __init__(self) -> None:
        self.policy = ONE_PERSON
        self._waiting: dict[int, _Waiting] = {}
        self._run: _Run | None = None

    def read(self, version: int, recorded_us: int, event: Event) -> Iterator[tuple[int, str]]:
        """Yield what is wrong once an event is known: version, what. Only what a policy of two persons forbids is wrong."""
        is_asked = self.policy.approvals == TWO
        found = list(self._read(version, recorded_us // 1000, event))
        if is_asked:
            yield from found

    def end(self) -> Iterator[tuple[int, str]]:
        """Yield what is wrong behind the last event."""
        found = list(self._finish())
        if self.policy.approvals == TWO:
            yield from found

    def _read(self, version: int, recorded_msc: int, event: Event) -> Iterator[tuple[int, str]]:
        match event:
            case CorrectionProposed():
                yield from self._finish()
                self._forget(recorded_msc)
                known = _Waiting(version=version, event=event, most_msc=recorded_msc + LAPSES_MAX_MIN * 60_000)
                self._waiting[version] = known
                if (what := known.forged()) is not None:
                    yield version, what
            case CorrectionDecided():
                yield from self._finish()
                yield from self._decide(version, recorded_msc, event)
            case Adjusted() | PolicySet():
                yield from self._correct(version, event)
            case BreakOpened(kind=BreakKind.APPROVAL):
                yield from self._open(version, event)
            case BreakClosed():
                yield from self._close(version, event)
            case _:
                pass

    def _forget(self, recorded_msc: int) -> None:
        """Let proposals go that lapsed: nobody may decide them any more."""
        gone = [one.version for one in self._waiting.values() if not one.is_applied and recorded_msc > one.last_msc]
        for version in gone:
            del self._waiting[version]

    def _finish(self) -> Iterator[tuple[int, str]]:
        """End what follows a decision: all of it has to be there."""
        run, self._run = self._run, None
        if run is None:
            return
        if run.adjusted:
            yield run.decision, "it approves a correction that does not follow it"
        if run.opens is not None:
            yield run.decision, f"{run.opens.event.operator} applied v{run.opens.version} alone, and no break of it was opened"

    # ---- decisions

    def _decide(self, version: int, recorded_msc: int, event: CorrectionDecided) -> Iterator[tuple[int, str]]:
        known = self._waiting.get(event.caused_by)
        if known is None:
            yield version, f"it decides v{event.caused_by}, which is no proposal that waits: decided already, lapsed, or none"
            self._run = _Run(decision=version, adjusted=[], is_good=False)
            return
        proposed = known.event
        if event.outcome is not DecisionOutcome.APPROVED:
            if not known.is_applied:
                del self._waiting[known.version]
            if event.outcome is DecisionOutcome.WITHDRAWN and not is_same_person(proposed.operator, event.operator):
                yield version, f"{event.operator} withdrew v{known.version}, which {proposed.operator} proposed"
            return
        is_alone = is_same_person(proposed.operator, event.operator)
        is_urgent = is_alone and proposed.urgent and not known.is_applied and proposed.correction["what"] != "policy"
        faults = list(self._faults(known, recorded_msc, event, is_alone=is_alone and not is_urgent, is_urgent=is_urgent))
        yield from ((version, what) for what in faults)
        # of what one person applied nothing ends: also the break that it is the answer to waits until a second one confirms
        ends = set() if is_urgent else {proposed.break_version, *([known.break_version] if known.is_applied else [])}
        self._run = _Run(
            decision=version,
            adjusted=[] if known.is_applied else list(_adjusted(proposed.effect)),
            is_good=not faults,
            opens=known if is_urgent else None,
            ends=frozenset(one for one in ends if one is not None),
        )
        known.is_applied = True
        if not is_urgent:
            del self._waiting[known.version]

    def _faults(
        self, known: _Waiting, recorded_msc: int, event: CorrectionDecided, *, is_alone: bool, is_urgent: bool
    ) -> Iterator[str]:
        proposed = known.event
        if is_alone:
            yield f"{event.operator} approved v{known.version}, which {proposed.operator} proposed: expected another person"
        if event.effect_digest != proposed.effect_digest:
            yield (f"it approves the effect {event.effect_digest[:16]}, and v{known.version} has {proposed.effect_digest[:16]}")
        if (what := known.forged()) is not None:
            yield f"it approves v{known.version}, and that is forged: {what}"
        if known.ended is not None:
            yield f"it approves v{known.version}, which lapsed with the end of its break, v{known.ended}"
        if not known.is_applied and recorded_msc > known.last_msc:
            yield f"it approves v{known.version} after its time"
        if self.policy.signed and not is_urgent:
            if event.signature is None:
                yield f"it has no signature, which the policy v{self.policy.version} asks for"
            elif event.rests_on != proposed.rests_on:
                yield f"its signature is about version {event.rests_on}, and v{known.version} rests on {proposed.rests_on}"

    # ---- what follows them

    def _correct(self, version: int, event: Adjusted | PolicySet) -> Iterator[tuple[int, str]]:
        policy = Policy.of(event, version) if isinstance(event, PolicySet) else None
        subjects = sorted(subjects_of(adjustment_of(event)))
        is_gated = self.policy.persons(subjects) == TWO if policy is None else self.policy.is_lowered_by(policy)
        what = self._lacks(event)
        if event.decision is None:
            yield from self._finish()
        if what is not None and is_gated:
            asked = f"the policy v{self.policy.version} asks for two persons"
            about = "the policy" if policy is not None else ", ".join(subjects)
            yield version, f"{event.operator} corrected {about}, and {asked}: {what}"
        if policy is not None and (what is None or not is_gated):
            self.policy = policy

    def _lacks(self, event: Adjusted | PolicySet) -> str | None:
        """Return why no decision allows a correction; None if one does, which is used up with it."""
        if event.decision is None:
            return "no decision allows it"
        run = self._run
        if run is None or run.decision != event.decision:
            return f"v{event.decision} is not the decision before it"
        if not run.adjusted or run.adjusted[0] != adjustment_of(event):
            return f"it is not what v{event.decision} approved"
        del run.adjusted[0]
        return None if run.is_good else f"its decision v{event.decision} does not count"

    def _open(self, version: int, event: BreakOpened) -> Iterator[tuple[int, str]]:
        run = self._run
        if run is None or run.opens is None or run.opens.version != event.caused_by:
            yield version, "it states that a correction was applied at once, and none was"
            return
        run.opens.break_version, run.opens = version, None

    def _close(self, version: int, event: BreakClosed) -> Iterator[tuple[int, str]]:
        for one in self._waiting.values():
            if one.event.break_version == event.caused_by and not one.is_applied:
                one.ended = one.ended or version
        ended = [one for one in self._waiting.values() if one.break_version == event.caused_by]
        if event.kind is not BreakKind.APPROVAL and not ended:  # an end that states another kind is an end too
            return
        run = self._run
        if run is None or not run.is_good or event.caused_by not in run.ends:
            yield version, f"it ends the break v{event.caused_by} of a correction that no second person confirmed"
        for one in ended:
            del self._waiting[one.version]


def _adjusted(effect: Mapping[str, Any]) -> list[Any]:
    found = effect.get("adjusted")
    return found if isinstance(found, list) else []
