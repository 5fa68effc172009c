"""Which events a listing shows: by kind, position, deal, sync run, time, lateness, symbol. For ``ledger log`` and the page."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

from attrs import frozen

from ledger.codec import KINDS
from ledger.errors import BadValue
from ledger.event_lines import is_late
from ledger.events import APPROVAL_KINDS, DEAL_KINDS, ORDER_KINDS, BreakOpened, Recorded
from ledger.filters import Filter
from ledger.subjects import Subjects
from ledger.terms import AccountTerms

#: Words for several kinds at once.
GROUPS: Final[dict[str, frozenset[str]]] = {
    "deals": DEAL_KINDS,
    "breaks": frozenset(("BreakOpened", "BreakClosed")),
    "corrections": frozenset(("PositionRecovered", "GhostClosed", "DriftCorrected", "PositionReticketed", "Adjusted")),
    "orders": ORDER_KINDS,
    "approvals": APPROVAL_KINDS,
    "notable": frozenset(KINDS) - {"AccountOpened", "SymbolSpecified", "FillRecorded", "CashMoved", "DealCompleted"},
}


def kinds_named(name: str) -> frozenset[str]:
    """Return the kinds of events that a word names: one, or those of a group.

    Raises:
        BadValue: There is no such kind.
    """
    known = {one.lower(): one for one in (*GROUPS, *KINDS)}
    found = known.get(name.lower())
    if found is not None:
        return GROUPS.get(found, frozenset((found,)))
    near = get_close_matches(name.lower(), known, 1)
    meant = f" Did you mean {known[near[0]]}?" if near else ""
    raise BadValue(f"there is no kind {name!r}.{meant} Groups: {', '.join(GROUPS)}. Kinds: {', '.join(KINDS)}.")


@frozen(kw_only=True)
class EventFilter:
    """Which events are listed.

    Attributes:
        kinds: Their kinds; all for None.
        is_notable: Whether the notable ones are meant, which lateness decides too.
        named: Kinds that are meant without the notable ones.
        position: Only of this position.
        deal: Only of this deal.
        correlation: Only of this sync run or import.
        shown: Symbols, magic numbers and times (UTC microseconds, the end exclusive).
        by: Which time is meant: ``event`` or ``recorded``.
        is_late: Only what was recorded late.
    """

    kinds: frozenset[str] | None
    is_notable: bool
    named: frozenset[str]  # kinds that are meant without the notable ones
    position: int | None
    deal: int | None
    correlation: str | None
    shown: Filter
    by: str
    is_late: bool

    @classmethod
    def of_kinds(cls, kinds: Iterable[frozenset[str]], **rest: Any) -> EventFilter:
        """Return the filter of some kinds or groups, any of them; of all kinds without one. ``rest`` are the other fields."""
        several = tuple(kinds)
        return cls(
            kinds=frozenset().union(*several) if several else None,
            is_notable=GROUPS["notable"] in several,
            named=frozenset().union(*(one for one in several if one != GROUPS["notable"])),
            **rest,
        )

    def __call__(self, recorded: Recorded, terms: AccountTerms, subjects: Subjects) -> bool:
        """Return whether an event is shown."""
        event = recorded.event
        return (
            (self.kinds is None or recorded.kind in self.kinds or (self.is_notable and is_late(recorded, terms)))
            and not (self.is_notable and recorded.kind not in self.named and _is_repeated(recorded, terms))
            and (self.position is None or subjects.position_of(event) == self.position)
            and (self.deal is None or getattr(event, "deal", None) == self.deal)
            and self.correlation in (None, recorded.correlation)
            and self.shown.is_within(self._time_us(recorded, terms))
            and (not self.is_late or is_late(recorded, terms))
            and (not (self.shown.symbols or self.shown.magics) or self.shown.is_of(*subjects.of(recorded)))
        )

    def _time_us(self, recorded: Recorded, terms: AccountTerms) -> int:
        return recorded.recorded_us if self.by == "recorded" else terms.clock.to_utc_msc(recorded.event.time_msc) * 1000


def _is_repeated(recorded: Recorded, terms: AccountTerms) -> bool:
    """Whether a known break was just seen again, and in time: what is late is notable whatever it is."""
    return isinstance(recorded.event, BreakOpened) and recorded.event.caused_by is not None and not is_late(recorded, terms)
