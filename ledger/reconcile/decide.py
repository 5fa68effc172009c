"""Decide: what to append about the disagreements that were found. Pure; the service around it fetches and appends.

Every disagreement is a break with a life: it is opened when it is first seen, counts the snapshots that show it, causes a
correction, and is closed when the correction holds or when it is gone by itself. What has to wait is held, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Final

import attrs
from attrs import frozen

from ledger.codec import decode_posting, encode, posting
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
from ledger.portfolio import Break, Portfolio, Position
from ledger.reconcile.compare import Difference, Disagreement, Drift, Ghost, NewTicket, Zombie, compare
from ledger.reconcile.policy import Action, Foreign, ReconcilePolicy
from ledger.reconcile.trust import state_of
from ledger.snapshot import RemotePosition, Snapshot
from ledger.values import plain

#: The field of a break about the server time of a snapshot; other clock breaks are about the clock rule.
SERVER_TIME: Final = "server_time"
_POSITION_KINDS: Final = (BreakKind.ZOMBIE, BreakKind.GHOST, BreakKind.DRIFT)


@frozen(kw_only=True)
class Circumstances:
    """What is known around a snapshot.

    Attributes:
        time_msc: The snapshot's moment on the broker's server clock, in milliseconds.
        version: Version that the portfolio stands at; what is decided is appended right behind it.
        touched: Position ids, and symbols where the id is not known, that the engine told a fill of just now.
        filled: Position id -> version of the latest deal told of it, as far back as the oldest open break.
        repeated: What was corrected in every sync since it last agreed -> how often (see ``sameness``).
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
    repeated: Mapping[object, int] = attrs.field(factory=dict)
    unclear: str | None = None
    halted: str | None = None
    updated_by: Mapping[int, int] = attrs.field(factory=dict)
    simulate: Callable[[Sequence[Event]], Portfolio] | None = None


class WaitsFor(Enum):
    """What settles a disagreement that is held."""

    #: Another snapshot, which may be taken at once.
    SNAPSHOT = "another snapshot"
    #: Time: what was told just now may be under way still.
    TIME = "time"


@frozen(kw_only=True)
class Held:
    """A disagreement that waits, and why. ``waits_for`` says what may settle it without anybody's doing."""

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
    #: What was corrected, for counting repetitions.
    done: tuple[object, ...] = ()


def decide(
    portfolio: Portfolio,
    snapshot: Snapshot,
    found: Sequence[Disagreement | NewTicket],
    *,
    policy: ReconcilePolicy,
    around: Circumstances,
) -> Decision:
    """Return what to append about what ``compare`` found.

    The corrections are tried on a copy of the portfolio: a break whose correction does not bring agreement stays open and
    counts an attempt.
    """
    return _Deciding(portfolio, snapshot, found, policy, around).decision()


def decide_money(
    portfolio: Portfolio, differences: Sequence[Difference], *, policy: ReconcilePolicy, around: Circumstances, evidence: str
) -> Decision:
    """Return the breaks to open and close about balance and credit. No correction ever moves money."""
    standing_breaks = {one.field: one for one in portfolio.breaks if one.kind is BreakKind.BALANCE and one.version}
    differing = {one.field: one for one in differences}
    time_msc = max(around.time_msc, portfolio.newest_known_msc)
    if differences and around.touched:
        why = "a fill was told just now, its money may still be under way: left for the next sync"
        return Decision(held=(Held(kind="balance", position_id=None, symbol=None, why=why, waits_for=WaitsFor.TIME),))
    events: list[Event] = [
        BreakOpened(
            kind=BreakKind.BALANCE, field=name, ours=one.ours, theirs=one.theirs, time_msc=time_msc, evidence=evidence,
            why="the broker states another figure and its deals do not explain it",
            caused_by=standing_breaks[name].version if name in standing_breaks else None,
        )
        for name, one in differing.items()
        if name not in standing_breaks or gap(one) != gap(standing_breaks[name])
    ]  # fmt: skip
    events += [
        BreakClosed(kind=BreakKind.BALANCE, end=BreakEnd.VANISHED, time_msc=time_msc, caused_by=one.version, evidence=evidence)
        for name, one in standing_breaks.items()
        if name not in differing and one.version
    ]
    halts = ", nothing is corrected while it stands" if policy.balance is Action.HALT else ""
    held = tuple(
        Held(kind="balance", position_id=None, symbol=None, why=f"{name} is {one.ours} here and {one.theirs} there{halts}")
        for name, one in differing.items()
    )
    return Decision(events=tuple(events), held=held)


def gap(one: Difference | Break) -> Decimal:
    """Return by how much the broker's figure is above ours. It stays while both move by deals that both know."""
    return Decimal(one.theirs or 0) - Decimal(one.ours or 0)


def sameness(one: Disagreement) -> object:
    """Return what makes two corrections the same: the position, what we had and what the broker showed."""
    match one:
        case Zombie(theirs):
            return ("zombie", one.position_id, _shown(theirs))
        case Ghost(ours):
            return ("ghost", one.position_id, _shown(ours))
        case Drift(ours, theirs):
            return ("drift", one.position_id, _shown(ours), _shown(theirs))


class _Deciding:
    """One decision under way: the events so far, and what is known of each break."""

    def __init__(
        self,
        portfolio: Portfolio,
        snapshot: Snapshot,
        found: Sequence[Disagreement | NewTicket],
        policy: ReconcilePolicy,
        around: Circumstances,
    ) -> None:
        self._portfolio = portfolio
        self._snapshot = snapshot
        self._policy = policy
        self._around = around
        self._nets = portfolio.standing.opened.mode.nets
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
        ghosts = [one for one in self._found if isinstance(one, Ghost)]
        many = len(ghosts) >= policy.vanish_least and len(ghosts) > policy.vanish_share * len(portfolio.positions)
        self._confirmations = policy.vanish_confirmations if many else policy.ghost_confirmations
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
        renamed = [pair for pair in self._new_tickets if not self._is_touched(pair)]
        for pair in self._new_tickets:
            if self._is_touched(pair):
                self._wait(pair, "a fill of it was told just now: left for the next sync", WaitsFor.TIME)
            else:
                self._events.append(self._renaming(pair))
        helped = self._close_what_is_corrected()
        return Decision(
            events=tuple(self._events),
            recovered=_ids(helped, Zombie),
            closed=_ids(helped, Ghost),
            corrected=_ids(helped, Drift),
            reticketed=tuple(pair.position_id for pair in renamed),
            held=tuple(self._held),
            done=tuple(sameness(one) for one, _, _ in self._corrections),
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
        halting = [one for one in self._found if self._policy.action(one.kind) is Action.HALT]
        if halting:
            return f"the policy halts at a {halting[0].kind.value}: correct it by hand with ledger correct"
        return self._around.halted or self._around.unclear

    def _why_held(self, one: Disagreement) -> str | None:
        if isinstance(one, (Zombie, Drift)) and one.theirs.price_open is None:
            return "the broker tells no open price: nothing is made up"
        if self._policy.action(one.kind) is Action.REPORT:
            return f"the policy reports a {one.kind.value} and corrects nothing"
        if self._policy.foreign is Foreign.REPORT and self._is_foreign(one):
            return "its magic number is not ours: the policy reports it"
        return None

    def _hold(self, one: Disagreement, why: str) -> None:
        """Keep a break open, without counting; open it if it is new. What is settling gets no break at all."""
        if self._is_touched(one):
            self._wait(one, "a fill of it was told just now: left for the next sync", WaitsFor.TIME)
            return
        if self._standing_break(one) is None:
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
        known = self._standing_break(one)
        attempts = max(known.attempts if known else 0, self._around.repeated.get(sameness(one), 0))
        if attempts >= self._policy.attempts_max:
            self._escalate(one, known, attempts)
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

    def _escalate(self, one: Disagreement, known: Break | None, attempts: int) -> None:
        why = f"corrected {attempts} times and it is back: nothing more is made up, correct it with ledger correct"
        if known is None or known.attempts < attempts:
            self._events.append(self._seen(one, why=why, known=known, attempts=attempts))
        self._held.append(Held(kind=one.kind.value, position_id=one.position_id, symbol=one.symbol, why=why))

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

    def _standing_break(self, one: Disagreement) -> Break | None:
        return self._breaks.get((one.kind, one.position_id))

    def _seen(
        self,
        one: Disagreement,
        *,
        why: str | None,
        known: Break | None = None,
        confirmations: int = 1,
        attempts: int = 0,
    ) -> BreakOpened:
        field, ours, theirs = in_words(one)
        return BreakOpened(
            kind=one.kind, position_id=one.position_id, symbol=one.symbol, field=field, ours=ours, theirs=theirs, why=why,
            confirmations=confirmations, attempts=attempts, caused_by=known.version if known else None,
            time_msc=self._time_msc, evidence=self._snapshot.evidence,
        )  # fmt: skip

    def _close_what_is_gone(self) -> None:
        """Close breaks that this snapshot does not show any more."""
        present = {(one.kind, one.position_id) for one in self._found}
        for key, known in self._breaks.items():
            if key in present or known.version is None:
                continue
            told = self._around.filled.get(known.position_id or 0, 0) > known.version
            self._close(known.kind, known.position_id, known.version, BreakEnd.EXPLAINED if told else BreakEnd.VANISHED)

    def _close_what_is_corrected(self) -> list[Disagreement]:
        """Close the breaks whose correction brings agreement, and count an attempt for the others."""
        if not self._corrections:
            return []
        portfolio = self._portfolio
        simulate = self._around.simulate
        tried = simulate(self._events) if simulate else tried_on(portfolio, self._events, self._around.version)
        left = {key for one in compare(tried, self._snapshot) if not isinstance(one, NewTicket) for key in _keys(one)}
        helped: list[Disagreement] = []
        for one, _, opened in self._corrections:
            if left.isdisjoint(_keys(one)):
                helped.append(one)
                self._close(one.kind, one.position_id, opened, BreakEnd.CORRECTED)
                continue
            known = self._standing_break(one)
            attempts = (known.attempts if known else 0) + 1
            why = f"a correction did not help, {attempts} of {self._policy.attempts_max} attempts"
            seen = self._seen(one, why=why, known=known, attempts=attempts)
            self._events.append(attrs.evolve(seen, caused_by=opened))
            self._wait(one, why, WaitsFor.SNAPSHOT)
        return helped

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


def tried_on(portfolio: Portfolio, events: Sequence[Event], version: int) -> Portfolio:
    """Return what a portfolio at a version becomes with more events behind it, none of them a deal."""
    tried = portfolio.copy()
    rows = (
        posting(encode(event, portfolio.standing)._replace(version=number)) for number, event in enumerate(events, version + 1)
    )
    tried.fold(rows, decode_posting)
    return tried


def in_words(one: Disagreement) -> tuple[str | None, str | None, str | None]:
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


def _shown(one: Position | RemotePosition) -> tuple[object, ...]:
    return one.symbol, one.side, one.volume, one.price_open


def _keys(one: Disagreement) -> set[int | str]:
    """Return what a disagreement is known by: on either side, by id."""
    match one:
        case Drift(ours, theirs):
            return {ours.position_id, theirs.position_id}
        case _:
            return {one.position_id}


def _seen_msc(row: RemotePosition) -> int:
    """Return the earliest broker time at which a row can have been shown: all of its fills so far lie before.

    A gateway that tells no server time is placed by our own clock, and whole seconds may hide up to 999 milliseconds.
    """
    if row.updated_msc is not None:
        return row.updated_msc
    return 0 if row.opened_msc is None else row.opened_msc + (999 if row.opened_msc % 1000 == 0 else 0)


def ours_as_seen(position: Position) -> PositionState:
    """Return a position of ours as the events say it."""
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
