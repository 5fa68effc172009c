"""Flapping: what came to disagree again and again, counted from the rows that the journal holds. Pure.

A gateway that shows one lot more in every other snapshot is corrected up and down for ever, and each time the ledger looks
verified. So the breaks that were opened about one position are counted together, whatever their kind and whatever program
opened them, within a window of recorded time. A deal that is recorded later and is before such a break explains it, and it
does not count; nor does anything from before a person corrected the position.

Where the gateway reports deals, a change without a deal should not happen, and every one counts. Where it reports none, people
and engines trade unseen, and only what takes something back counts: the broker shows what either side had before, or another
open price for a position that nothing was traded of.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field, frozen

from ledger.codec import Stored
from ledger.events import BreakEnd, BreakKind

#: What may flap: ("position", id), ("deal", ticket) or ("money", balance or credit).
Subject = tuple[str, int | str]

_CORRECTIONS: Final = ("PositionRecovered", "GhostClosed", "DriftCorrected")
_VOLUMES_PER_FLAP: Final = 4  # a volume returns by chance more often than a volume with its open price
_TICKETS_PER_FLAP: Final = 8  # a broker may re-open a position again and again


@frozen(kw_only=True)
class Unrest:
    """What happened about one subject within the window.

    Attributes:
        openings: Breaks that were opened and that no deal explained; of money also figures that changed.
        returns: How many of them took something back;
        volume_returns: the same, the open price apart.
        tickets: New tickets since the last fill;
        ticket_returns: those that the position had before.
        is_quiet: Whether nothing happened at all;
        is_ebbing: the same of the later half of the window.
    """

    openings: int = 0
    returns: int = 0
    volume_returns: int = 0
    tickets: int = 0
    ticket_returns: int = 0
    is_quiet: bool = True
    is_ebbing: bool = True

    @property
    def ticket_flaps(self) -> int:
        """How often its ticket changed without need, the first change included."""
        return max(self.ticket_returns + 1 if self.ticket_returns else 0, self.tickets // _TICKETS_PER_FLAP)


_QUIET: Final = Unrest()


@define(kw_only=True)
class _Sight:
    """One row that counts."""

    recorded_us: int
    time_msc: int
    tickets: tuple[int, ...] = ()  # before and after
    is_ticket_return: bool = False
    is_opening: bool = False
    is_return: bool = False
    is_volume_return: bool = False
    shown: tuple[str | None, ...] = ()  # what either side showed

    def explain(self) -> None:
        self.is_opening = self.is_return = self.is_volume_return = False


@define
class Flapping:
    """What happened within the window, read row by row in the order of their versions."""

    _sights: dict[Subject, list[_Sight]] = field(factory=lambda: defaultdict(list))
    _subjects: dict[int, Subject] = field(factory=dict)  # version of an opening -> what it is about
    _traded: set[Subject] = field(factory=set)  # what was filled since its last break was opened
    _middle_us: int = 0

    def of(self, kind: str, name: int | str | None) -> Unrest:
        """Return what happened about a subject."""
        sights = self._sights.get((kind, name or 0))
        if not sights:
            return _QUIET
        return Unrest(
            openings=sum(one.is_opening for one in sights),
            returns=sum(one.is_return for one in sights),
            volume_returns=sum(one.is_volume_return for one in sights),
            tickets=sum(bool(one.tickets) for one in sights),
            ticket_returns=sum(one.is_ticket_return for one in sights),
            is_quiet=False,
            is_ebbing=all(one.recorded_us < self._middle_us for one in sights),
        )

    def flaps(self, position_id: int, field: str | None, theirs: str | None, *, with_deals: bool) -> int:
        """Return how often a position came to disagree without a cause that is known, before it does so once more.

        Args:
            position_id: The position.
            field: The fields that differ now, as a break quotes them.
            theirs: What the broker shows now, as a break quotes it.
            with_deals: Whether the gateway reports deals, which would have explained a change.
        """
        unrest = self.of("position", position_id)
        if with_deals:
            return unrest.openings
        takes_back = unrest.returns > 0 or self._is_return(("position", position_id), field, theirs)
        return max(unrest.returns + takes_back, unrest.volume_returns // _VOLUMES_PER_FLAP)

    def _is_return(self, subject: Subject, field: str | None, theirs: str | None) -> bool:
        """Return whether a disagreement takes back what was seen: what either side had, or an open price without a trade."""
        before = [one for one in self._sights.get(subject, ()) if one.shown]
        is_repriced = bool(before) and field == "price_open" and subject not in self._traded
        return is_repriced or any(theirs in one.shown for one in before)

    def changing_tickets(self, limit: int) -> list[int]:
        """Return the positions whose ticket changed so often, ascending."""
        names = [name for kind, name in self._sights if kind == "position" and isinstance(name, int)]
        return sorted(name for name in names if self.of("position", name).ticket_flaps >= limit)

    def forget(self, before_us: int, now_us: int) -> None:
        """Let the window begin at a UTC microsecond: leave out what was recorded before it."""
        self._middle_us = (before_us + now_us) // 2
        for subject, sights in list(self._sights.items()):
            sights[:] = [one for one in sights if one.recorded_us >= before_us]
            if not sights:
                del self._sights[subject]
        self._subjects = {version: subject for version, subject in self._subjects.items() if subject in self._sights}
        self._traded &= self._sights.keys()

    def read(self, row: Stored) -> None:
        """Count a row, if it is about a disagreement or ends one."""
        position = ("position", row.position_id or 0)
        if row.kind == "BreakOpened":
            self._read_break(row)
        elif row.kind == "BreakClosed" and _payload(row)["end"] == BreakEnd.ACCEPTED.value:
            self._sights.pop(self._subjects.get(row.caused_by or 0, position), None)
        elif row.position_id is None:
            return
        elif row.kind in _CORRECTIONS:
            self._add(position, row)
        elif row.kind == "PositionReticketed":
            payload = _payload(row)
            before, after = payload["ticket_before"], payload["ticket_after"]
            is_return = any(after in one.tickets for one in self._sights.get(position, ()))
            self._add(position, row, tickets=(before, after), is_ticket_return=is_return)
        elif row.kind == "Adjusted":
            self._sights.pop(position, None)
        elif row.deal is not None and position in self._sights:
            self._explain(position, row.time_msc)

    def _read_break(self, row: Stored) -> None:
        payload = _payload(row)
        subject = subject_of(payload)
        if subject is None:
            return
        self._subjects[row.caused_by or row.version] = subject
        if row.caused_by is not None and subject[0] != "money":
            self._add(subject, row)
            return
        ours, theirs = payload.get("ours"), payload.get("theirs")
        before = [one for one in self._sights.get(subject, ()) if one.shown]
        self._add(
            subject, row, is_opening=True, shown=(ours, theirs),
            is_return=self._is_return(subject, payload.get("field"), theirs),
            is_volume_return=any(_volume(theirs) in map(_volume, one.shown) for one in before),
        )  # fmt: skip
        self._traded.discard(subject)

    def _add(self, subject: Subject, row: Stored, **about: Any) -> None:
        self._sights[subject].append(_Sight(recorded_us=row.recorded_us, time_msc=row.time_msc, **about))

    def _explain(self, subject: Subject, time_msc: int) -> None:
        """Let a deal explain the first break that was seen at or after it, and the tickets that changed before."""
        self._traded.add(subject)
        for one in self._sights[subject]:
            if one.is_opening and one.time_msc >= time_msc:
                one.explain()
                break
        for one in self._sights[subject]:
            one.tickets, one.is_ticket_return = (), False


def subject_of(payload: Mapping[str, Any]) -> Subject | None:
    """Return what a break is about, as far as that can flap: not the clock rule, which a person corrects."""
    kind, position_id = payload.get("kind"), payload.get("position_id")
    if kind == BreakKind.WITHDRAWN.value:
        return ("deal", int(payload.get("deal") or 0))
    if kind == BreakKind.BALANCE.value:
        return ("money", str(payload.get("field")))
    if kind == BreakKind.CLOCK.value or position_id is None:
        return None
    return ("position", int(position_id))


def _volume(shown: str | None) -> str | None:
    """Return side, volume and symbol of what a break quotes, without the open price."""
    return None if shown is None else shown.partition(" @ ")[0]


def _payload(row: Stored) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(row.data or "{}")
    return payload
