"""Decide: what to append about the disagreements that were found. Pure; the service around it fetches and appends.

Every disagreement is a break with a life: it is opened when it is first seen, counts the snapshots that show it, causes a
correction, and is closed when the correction holds or when it is gone by itself. What has to wait is held, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import attrs
from attrs import frozen

from ledger.events import (
    BreakClosed,
    BreakEnd,
    BreakKind,
    BreakOpened,
    DriftCorrected,
    Event,
    GhostClosed,
    PositionRecovered,
    PositionReticketed,
    PositionState,
)
from ledger.portfolio import Portfolio
from ledger.reconcile.compare import Difference, Disagreement, Drift, Ghost, NewTicket, Zombie, compare_again
from ledger.reconcile.flapping import Flapping, Unrest
from ledger.reconcile.policy import Action, Foreign, ReconcilePolicy
from ledger.reconcile.validate import state_of
from ledger.snapshot import RemotePosition, Snapshot
from ledger.values import plain
from ledger.views import Break, Position

#: The field of a break about the server time of a snapshot; other clock breaks are about the clock rule.
SERVER_TIME: Final = "server_time"
#: What corrections that do not help may leave out, in turn: the deal that they contain last, and its time as well.
_STATED_LESS: Final[tuple[dict[str, Any], ...]] = ({"updated_deal": None}, {"updated_deal": None, "updated_msc": None})
_POSITION_KINDS: Final = (BreakKind.ZOMBIE, BreakKind.GHOST, BreakKind.DRIFT)


@frozen(kw_only=True)
class DecisionContext:
    """What is known around a snapshot.

    Attributes:
        time_msc: The snapshot's moment on the broker's server clock, in milliseconds.
        version: The portfolio's version; what is decided is appended right behind it.
        touched: Position ids, and symbols where the id is not known, of which the engine recorded a fill just now.
        filled: Position id -> version of the latest deal recorded of it, as far back as the oldest open break.
        flapping: What came to disagree lately, as the journal holds it.
        has_deals: Whether the gateway reports deals, which would explain a change.
        is_another_answer: Whether its deals were asked for long enough after the time before to confirm what they lack.
        unclear: Why nothing can be concluded from this snapshot, though perhaps from the next one; None if it can.
        halted: Why nothing may be corrected, None if it may.
        updated_by: Position id -> ticket of the deal that last changed it, where the gateway reported it.
        simulate: Returns the portfolio that events would make, appended behind the version. Without it they are folded on
            behind the portfolio.
    """

    time_msc: int
    version: int
    touched: Collection[int | str] = frozenset()
    filled: Mapping[int, int] = attrs.field(factory=dict)
    flapping: Flapping = attrs.field(factory=Flapping)
    has_deals: bool = False
    is_another_answer: bool = True
    unclear: str | None = None
    halted: str | None = None
    updated_by: Mapping[int, int] = attrs.field(factory=dict)
    simulate: Callable[[Sequence[Event]], Portfolio] | None = None


class WaitsFor(Enum):
    """What settles a disagreement that is held."""

    #: Another snapshot, which may be taken at once.
    SNAPSHOT = "another snapshot"
    #: Time: what was recorded just now may still be incomplete.
    TIME = "time"


@frozen(kw_only=True)
class Held:
    """A disagreement that waits, and why. ``waits_for`` names what may settle it without anybody's doing."""

    kind: str
    position_id: int | None
    symbol: str | None
    why: str
    waits_for: WaitsFor | None = None


@frozen(kw_only=True)
class Decision:
    """What to append, in order, and what it is about: position ids."""

    events: tuple[Event, ...] = ()
    recovered: tuple[int, ...] = ()
    closed: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()
    reticketed: tuple[int, ...] = ()
    held: tuple[Held, ...] = ()
    #: Deals that the broker no longer lists, by ticket.
    withdrawn: tuple[int, ...] = ()


def decide(
    portfolio: Portfolio,
    snapshot: Snapshot,
    found: Sequence[Disagreement | NewTicket],
    *,
    policy: ReconcilePolicy,
    around: DecisionContext,
) -> Decision:
    """Return what to append about what ``compare`` found.

    The corrections are tried on a copy of the portfolio: a break whose correction does not bring agreement stays open and
    counts an attempt.
    """
    return _Deciding(portfolio, snapshot, found, policy, around).decision()


def decide_money(
    portfolio: Portfolio, differences: Sequence[Difference], *, policy: ReconcilePolicy, around: DecisionContext, evidence: str
) -> Decision:
    """Return the breaks to open and close about balance and credit. No correction ever moves money."""
    open_balance_breaks = {one.field: one for one in portfolio.breaks if one.kind is BreakKind.BALANCE and one.version}
    differing = {one.field: one for one in differences}
    time_msc = max(around.time_msc, portfolio.newest_known_msc)
    if differences and around.touched:
        why = "a fill was recorded just now, its money may still be incomplete: left for the next sync"
        return Decision(held=(Held(kind="balance", position_id=None, symbol=None, why=why, waits_for=WaitsFor.TIME),))
    events: list[Event] = []
    stated = "the broker states another figure and its deals do not explain it"
    for name, one in differing.items():
        known, unrest = open_balance_breaks.get(name), around.flapping.of("money", name)
        if known is not None and (gap(one) == gap(known) or _goes_on_flapping(known, unrest)):
            continue
        flaps = unrest.openings if unrest.openings >= policy.attempts_max else None
        often = "" if flaps is None else f"; it changed {flaps} times in {policy.flapping_sec:.0f} s"
        events.append(
            BreakOpened(
                kind=BreakKind.BALANCE, field=name, ours=one.ours, theirs=one.theirs, time_msc=time_msc, evidence=evidence,
                why=stated + often, flaps=flaps, caused_by=None if known is None else known.version,
            )
        )  # fmt: skip
    halts = ", nothing is corrected while it is open" if policy.balance is Action.HALT else ""
    held = [
        Held(kind="balance", position_id=None, symbol=None, why=f"{name} is {one.ours} here and {one.theirs} there{halts}")
        for name, one in differing.items()
    ]
    for field, settled in open_balance_breaks.items():
        if field in differing or not settled.version:
            continue
        if _goes_on_flapping(settled, around.flapping.of("money", field)):
            agrees = (
                f"{field} agrees now, but it changed {settled.flaps} times in {policy.flapping_sec:.0f} s: look at the gateway"
            )
            held.append(Held(kind="balance", position_id=None, symbol=None, why=agrees))
            continue
        events.append(
            BreakClosed(
                kind=BreakKind.BALANCE, end=BreakEnd.VANISHED, time_msc=time_msc, caused_by=settled.version, evidence=evidence
            )
        )  # fmt: skip
    return Decision(events=tuple(events), held=tuple(held))


def _goes_on_flapping(known: Break, unrest: Unrest) -> bool:
    return known.flaps is not None and not unrest.is_quiet


def gap(one: Difference | Break) -> Decimal:
    """Return by how much the broker's figure is above ours. It stays while both move by deals that both know."""
    return Decimal(one.theirs or 0) - Decimal(one.ours or 0)


class _Deciding:
    """One decision under way: the events so far, and what is known of each break."""

    def __init__(
        self,
        portfolio: Portfolio,
        snapshot: Snapshot,
        found: Sequence[Disagreement | NewTicket],
        policy: ReconcilePolicy,
        around: DecisionContext,
    ) -> None:
        self._portfolio = portfolio
        self._snapshot = snapshot
        self._compared = found
        self._policy = policy
        self._around = around
        self._nets = portfolio.terms.opened.mode.nets
        self._new_tickets = [one for one in found if isinstance(one, NewTicket)]
        self._found: list[Disagreement] = [one for one in found if not isinstance(one, NewTicket) and not self._is_ignored(one)]
        self._breaks: dict[tuple[BreakKind, int | None], Break] = {
            (one.kind, one.position_id): one
            for one in portfolio.breaks
            if one.kind in _POSITION_KINDS and one.version is not None
        }
        self._time_msc = max(
            around.time_msc, portfolio.newest_known_msc, *(_seen_msc(row) for row in self._rows_concerned()), 0
        )
        self._events: list[Event] = []
        self._held: list[Held] = []
        self._corrections: list[tuple[Disagreement, Event, int]] = []
        self._corrected_once: list[Disagreement] = []
        ghosts = [one for one in self._found if isinstance(one, Ghost)]
        many = len(ghosts) >= policy.vanish_least and len(ghosts) > policy.vanish_share * len(portfolio.positions)
        self._confirmations = policy.vanish_confirmations if many else policy.ghost_confirmations
        flapping = sorted((one for one in self._breaks.values() if one.flaps is not None), key=lambda one: one.version or 0)
        self._flapping = {one.position_id: one for one in flapping}
        self._succeeded = {one.symbol for one in self._found if isinstance(one, Zombie)} if self._nets else set()

    def decision(self) -> Decision:
        self._close_what_is_gone()
        halt = self._halt()
        for one in self._found:
            why = self._why_held(one) or halt
            if why is None:
                self._correct(one)
            else:
                self._hold(one, why)
        renamed = self._rename()
        helped = self._close_what_is_corrected() + self._corrected_once
        return Decision(
            events=tuple(self._events),
            recovered=_ids(helped, Zombie),
            closed=_ids(helped, Ghost),
            corrected=_ids(helped, Drift),
            reticketed=tuple(pair.position_id for pair in renamed),
            held=tuple(self._held),
        )

    # ---- what has to wait

    def _is_ignored(self, one: Disagreement) -> bool:
        return self._policy.foreign is Foreign.IGNORE and self._is_foreign(one)

    def _is_foreign(self, one: Disagreement) -> bool:
        match one:
            case Ghost(ours):
                return not self._policy.is_ours(ours.magic)
            case Zombie(theirs):
                return not self._policy.is_ours(theirs.magic)
            case Drift(ours, theirs):
                return not self._policy.is_ours(ours.magic if theirs.magic is None else theirs.magic)

    def _is_touched(self, one: Disagreement | NewTicket) -> bool:
        touched = self._around.touched
        # On an account that nets, a fill under any id is a fill of the symbol's one position.
        return one.position_id in touched or one.symbol in touched

    def _halt(self) -> str | None:
        """Return why no correction may be made at all, None if they may."""
        for one in self._portfolio.breaks:
            if one.kind is BreakKind.CLOCK and one.field != SERVER_TIME:
                return "the server's clock rule is in doubt: correct it with ledger account clock"
            if one.kind is BreakKind.BALANCE and self._policy.balance is Action.HALT:
                return "the policy halts while balance or credit differ"
            if one.kind is BreakKind.WITHDRAWN and self._policy.withdrawn is Action.HALT:
                return "the policy halts while the broker does not list a deal: ledger correct withdraw"
        halting = [one for one in self._found if self._policy.action(one.kind) is Action.HALT]
        if halting:
            return f"the policy halts at a {halting[0].kind.value}: correct it with ledger correct"
        return self._around.halted or self._around.unclear

    def _why_held(self, one: Disagreement) -> str | None:
        if isinstance(one, (Zombie, Drift)) and one.theirs.price_open is None:
            return "the broker reports no open price: nothing is made up"
        if self._policy.action(one.kind) is Action.REPORT:
            return f"the policy reports a {one.kind.value} and corrects nothing"
        if self._policy.foreign is Foreign.REPORT and self._is_foreign(one):
            return "its magic number is not ours: the policy reports it"
        return None

    def _hold(self, one: Disagreement, why: str) -> None:
        """Keep a break open, without counting; open it if it is new. What is settling gets no break at all."""
        if self._is_touched(one):
            self._wait(one, "a fill of it was recorded just now: left for the next sync", WaitsFor.TIME)
            return
        if one.position_id in self._flapping:
            self._hold_flapping(one, self._flapping[one.position_id], describe_sides(one)[2])
            return
        if self._open_break(one) is None:
            if self._flaps(one) >= self._policy.attempts_max:
                self._escalate_flapping(one)
                return
            self._events.append(self._seen(one, why=why))
        waits_for = WaitsFor.SNAPSHOT if why == self._around.unclear else None
        self._held.append(
            Held(kind=one.kind.value, position_id=one.position_id, symbol=one.symbol, why=why, waits_for=waits_for)
        )

    def _wait(self, one: Disagreement | NewTicket, why: str, waits_for: WaitsFor) -> None:
        kind = "ticket" if isinstance(one, NewTicket) else one.kind.value
        self._held.append(Held(kind=kind, position_id=one.position_id, symbol=one.symbol, why=why, waits_for=waits_for))

    # ---- corrections

    def _correct(self, one: Disagreement) -> None:
        if self._is_touched(one):
            self._hold(one, "")
            return
        if one.position_id in self._flapping:
            self._correct_once(one, self._flapping[one.position_id])
            return
        known = self._open_break(one)
        attempts = known.attempts if known else 0
        if attempts >= self._policy.attempts_max:
            self._escalate(one, attempts)
            return
        if known is None and self._flaps(one) >= self._policy.attempts_max:
            self._escalate_flapping(one)
            return
        confirmations = (known.confirmations if known else 0) + 1
        if isinstance(one, Ghost) and confirmations < self._needed(one):
            why = f"missing in {confirmations} of {self._needed(one)} snapshots, and no deal closed it"
            self._events.append(self._seen(one, why=why, known=known, confirmations=confirmations))
            self._wait(one, why, WaitsFor.SNAPSHOT)
            return
        if known is None:
            self._events.append(self._seen(one, why=None))
        opened = known.version if known and known.version else self._around.version + len(self._events)
        correction = self._correction(one, opened)
        self._events.append(correction)
        self._corrections.append((one, correction, opened))

    def _needed(self, ghost: Ghost) -> int:
        """Return how many snapshots have to miss a position.

        On an account that nets a new position of the symbol proves that the old one ended.
        """
        return 1 if ghost.symbol in self._succeeded else self._confirmations

    def _escalate(self, one: Disagreement, attempts: int) -> None:
        why = f"corrected {attempts} times and it is back: nothing more is made up, correct it with ledger correct"
        self._held.append(Held(kind=one.kind.value, position_id=one.position_id, symbol=one.symbol, why=why))

    # ---- what flaps

    def _unrest(self, one: Disagreement | Position | Break) -> Unrest:
        return self._around.flapping.of("position", one.position_id)

    def _flaps(self, one: Disagreement) -> int:
        field, _, theirs = describe_sides(one)
        return self._around.flapping.flaps(one.position_id, field, theirs, with_deals=self._around.has_deals)

    def _escalate_flapping(self, one: Disagreement) -> None:
        """Open a break that stays open: the position came to disagree too often."""
        flaps = self._flaps(one)
        self._events.append(self._seen(one, why=self._why_flapping(flaps), attempts=flaps, flaps=flaps))
        self._held.append(
            Held(kind=one.kind.value, position_id=one.position_id, symbol=one.symbol, why=self._why_flapping(flaps))
        )

    def _why_flapping(self, flaps: int) -> str:
        return (
            f"it came to disagree {flaps} times in {self._policy.flapping_sec:.0f} s and no deal explains it: nothing of it is "
            "corrected until it was quiet for so long; look at the gateway, or correct it with ledger correct"
        )

    def _hold_flapping(self, one: Disagreement | Break, known: Break, shown: str | None) -> None:
        """Hold what flaps. What the broker shows otherwise now is noted, twice a window at most: so it is never quiet."""
        why = self._why_flapping(known.flaps or 0)
        self._held.append(Held(kind=one.kind.value, position_id=one.position_id, symbol=one.symbol, why=why))
        if shown != known.theirs and self._unrest(known).is_ebbing and not self._unrest(known).is_quiet:
            self._events.append(
                BreakOpened(
                    kind=known.kind, position_id=known.position_id, symbol=known.symbol, field=known.field, ours=known.ours,
                    theirs=shown, why=why, attempts=known.attempts, flaps=known.flaps, caused_by=known.version,
                    time_msc=self._time_msc, evidence=self._snapshot.evidence,
                )
            )  # fmt: skip

    def _correct_once(self, one: Disagreement, flapping: Break) -> None:
        """Correct a flapping position once after a quiet window, if that brings agreement. Its break stays open."""
        self._hold_flapping(one, flapping, describe_sides(one)[2])
        if not self._unrest(one).is_quiet:
            return
        assert flapping.version is not None
        correction = self._correction(one, flapping.version)
        tried = self._portfolio.followed_by([correction], self._around.version)
        if self._disagreeing(tried).isdisjoint(_keys(one)):
            self._events.append(correction)
            self._corrected_once.append(one)

    def _rename(self) -> list[NewTicket]:
        """Take new tickets, but of positions whose ticket changes again and again; those are held while they do."""
        changing = self._around.flapping.changing_tickets(self._policy.attempts_max)
        for position_id in changing:
            ours = self._portfolio.positions.get(position_id)
            if ours is not None:
                times = self._unrest(ours).tickets
                why = f"its ticket changed {times} times in {self._policy.flapping_sec:.0f} s: look at the gateway"
                self._held.append(Held(kind="ticket", position_id=position_id, symbol=ours.symbol, why=why))
        renamed = []
        for pair in self._new_tickets:
            if self._is_touched(pair):
                self._wait(pair, "a fill of it was recorded just now: left for the next sync", WaitsFor.TIME)
            elif pair.position_id not in changing:
                self._events.append(self._renaming(pair))
                renamed.append(pair)
        return renamed

    def _correction(self, one: Disagreement, opened: int) -> Event:
        evidence, time_msc = self._snapshot.evidence, self._time_msc
        match one:
            case Zombie(theirs):
                return PositionRecovered(
                    position=state_of(theirs), time_msc=time_msc, caused_by=opened, evidence=evidence, **self._contained(theirs)
                )
            case Ghost(ours):
                return GhostClosed(before=ours_as_seen(ours), time_msc=time_msc, caused_by=opened, evidence=evidence)
            case Drift(ours, theirs):
                our_id = None if theirs.is_identified else ours.position_id
                return DriftCorrected(
                    before=ours_as_seen(ours), after=state_of(theirs, position_id=our_id), time_msc=time_msc, caused_by=opened,
                    evidence=evidence, **self._contained(theirs),
                )  # fmt: skip

    def _contained(self, theirs: RemotePosition) -> dict[str, int | None]:
        """Return what a correction states of the deals that it contains, as far as the gateway reported it."""
        if theirs.updated_msc is None:
            return {}
        return {"updated_msc": theirs.updated_msc, "updated_deal": self._around.updated_by.get(theirs.position_id)}

    def _renaming(self, pair: NewTicket) -> Event:
        return PositionReticketed(
            position_id=pair.position_id,
            symbol=pair.symbol,
            ticket_before=pair.ours.ticket,
            ticket_after=pair.theirs.ticket,
            time_msc=self._time_msc,
            caused_by=self._around.version,
            evidence=self._snapshot.evidence,
        )

    # ---- the life of a break

    def _open_break(self, one: Disagreement) -> Break | None:
        return self._breaks.get((one.kind, one.position_id))

    def _seen(
        self,
        one: Disagreement,
        *,
        why: str | None,
        known: Break | None = None,
        confirmations: int = 1,
        attempts: int = 0,
        flaps: int | None = None,
    ) -> BreakOpened:
        field, ours, theirs = describe_sides(one)
        return BreakOpened(
            kind=one.kind, position_id=one.position_id, symbol=one.symbol, field=field, ours=ours, theirs=theirs, why=why,
            confirmations=confirmations, attempts=attempts, flaps=flaps, caused_by=known.version if known else None,
            time_msc=self._time_msc, evidence=self._snapshot.evidence,
        )  # fmt: skip

    def _close_what_is_gone(self) -> None:
        """Close breaks that this snapshot does not show any more."""
        present = {(one.kind, one.position_id) for one in self._found}
        differing = {one.position_id for one in self._found}
        for key, known in self._breaks.items():
            if key in present or known.version is None:
                continue
            is_recorded = self._around.filled.get(known.position_id or 0, 0) > known.version
            differs = known.flaps is not None and known.position_id in differing
            if differs or (_goes_on_flapping(known, self._unrest(known)) and not (is_recorded and self._is_as_shown(known))):
                if known is self._flapping.get(known.position_id or 0) and not differs:
                    self._hold_flapping(known, known, self._ours(known))
                continue
            self._close(known.kind, known.position_id, known.version, BreakEnd.EXPLAINED if is_recorded else BreakEnd.VANISHED)

    def _ours(self, known: Break) -> str | None:
        ours = self._portfolio.positions.get(known.position_id or 0)
        return None if ours is None else _words(ours)

    def _is_as_shown(self, known: Break) -> bool:
        """Return whether we have now what the broker showed when a break was last noted: then deals explain it."""
        return self._ours(known) == known.theirs

    def _close_what_is_corrected(self) -> list[Disagreement]:
        """Close the breaks whose correction brings agreement, and count an attempt for the others."""
        if not self._corrections:
            return []
        left = self._left()
        for less in _STATED_LESS:
            if any(not left.isdisjoint(_keys(one)) for one, _, _ in self._corrections):
                left = self._state_less(left, less)
        helped: list[Disagreement] = []
        for one, _, opened in self._corrections:
            if left.isdisjoint(_keys(one)):
                helped.append(one)
                self._close(one.kind, one.position_id, opened, BreakEnd.CORRECTED)
                continue
            known = self._open_break(one)
            attempts = (known.attempts if known else 0) + 1
            why = f"a correction did not help, {attempts} of {self._policy.attempts_max} attempts"
            seen = self._seen(one, why=why, known=known, attempts=attempts)
            self._events.append(attrs.evolve(seen, caused_by=opened))
            self._wait(one, why, WaitsFor.SNAPSHOT)
        return helped

    def _left(self) -> set[int | str]:
        """Return what still disagrees after the events that were decided."""
        simulate, portfolio = self._around.simulate, self._portfolio
        return self._disagreeing(
            simulate(self._events) if simulate else portfolio.followed_by(self._events, self._around.version)
        )

    def _disagreeing(self, tried: Portfolio) -> set[int | str]:
        """Return what disagrees in what became of the portfolio."""
        found = compare_again(tried, self._snapshot, self._portfolio, self._compared)
        return {key for one in found if not isinstance(one, NewTicket) for key in _keys(one)}

    def _state_less(self, left: set[int | str], less: Mapping[str, Any]) -> set[int | str]:
        """Let corrections that do not help state less of what they contain, if that helps; return what still disagrees.

        What they contain puts them before an earlier correction that a clock placed at the end of the same second. On an
        account that nets, that one is about the position which had the symbol before.
        """
        events, corrections = list(self._events), list(self._corrections)
        for at, (one, correction, opened) in enumerate(corrections):
            if isinstance(correction, (PositionRecovered, DriftCorrected)) and not left.isdisjoint(_keys(one)):
                weaker = attrs.evolve(correction, **less)
                self._events[events.index(correction)] = weaker
                self._corrections[at] = (one, weaker, opened)
        now = self._left()
        if len(now) < len(left):
            return now
        self._events, self._corrections = events, corrections
        return left

    def _close(self, kind: BreakKind, position_id: int | None, opened: int, end: BreakEnd) -> None:
        self._events.append(
            BreakClosed(
                kind=kind, end=end, position_id=position_id, time_msc=self._time_msc, caused_by=opened,
                evidence=self._snapshot.evidence,
            )
        )  # fmt: skip

    def _rows_concerned(self) -> Iterator[RemotePosition]:
        for one in (*self._found, *self._new_tickets):
            if not isinstance(one, Ghost):
                yield one.theirs


def describe_sides(one: Disagreement) -> tuple[str | None, str | None, str | None]:
    """Return the field that a disagreement is about (several with commas) and what either side shows, as people read it."""
    match one:
        case Zombie(theirs):
            return None, None, _words(theirs)
        case Ghost(ours):
            return None, _words(ours), None
        case Drift(ours, theirs, differences):
            return ",".join(difference.field for difference in differences), _words(ours), _words(theirs)


def _words(one: Position | RemotePosition) -> str:
    price = "an unknown price" if one.price_open is None else plain(one.price_open)
    return f"{one.side.value} {plain(one.volume)} {one.symbol} @ {price}"


def _keys(one: Disagreement) -> set[int | str]:
    """Return what a disagreement is known by: on either side, by id."""
    match one:
        case Drift(ours, theirs):
            return {ours.position_id, theirs.position_id}
        case _:
            return {one.position_id}


def _seen_msc(row: RemotePosition) -> int:
    """Return the earliest broker time at which a row can have been shown: all of its fills so far are earlier.

    A gateway that reports no server time is placed by our own clock, and whole seconds may hide up to 999 milliseconds.
    """
    if row.updated_msc is not None:
        return row.updated_msc
    return 0 if row.opened_msc is None else row.opened_msc + (999 if row.opened_msc % 1000 == 0 else 0)


def ours_as_seen(position: Position) -> PositionState:
    """Return a position of ours as the events state it."""
    return PositionState(
        position_id=position.position_id,
        symbol=position.symbol,
        side=position.side,
        volume=position.volume,
        price_open=position.price_open,
        ticket=position.ticket,
        opened_msc=position.opened_msc,
        magic=position.magic,
        comment=position.comment,
    )


def _ids(found: Sequence[Disagreement], kind: Callable[..., Disagreement]) -> tuple[int, ...]:
    return tuple(one.position_id for one in found if type(one) is kind)
