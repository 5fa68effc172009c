"""Incidents: degradations, breaks, corrections, deal conflicts and revisions, each with beginning and end.

They are read from the journal alone, as a stream: what is remembered grows with what is open or not explained yet, never with
the history. Beginning and end are the times at which they were recorded: an event's own time is that of the broker's clock,
which may stop, and a revision has that of its deal, which may be months old.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

from attrs import define, field, frozen

from ledger.causes import NOTHING, SHOWN, Case, DealFact, Finding, Twin, find
from ledger.clock import DAY_MSC, MINUTE_MSC
from ledger.codec import Stored
from ledger.errors import BadValue, CorruptEvent
from ledger.events import DEAL_KINDS, BreakEnd, BreakKind, Origin
from ledger.journal import EventStore
from ledger.terms import AccountTerms
from ledger.values import CREDIT, INT64_MAX, TRADES, AccountId, exact_sum, plain, unsigned_magic
from ledger.views import GHOST_RESULT, Unexplained

#: What an incident may be: the kinds of breaks, and what is none.
BREAKS: Final = tuple(kind.value for kind in BreakKind)
DEGRADED: Final = "degraded"
ADJUSTED: Final = "adjusted"
RETICKETED: Final = "reticketed"
REVISED: Final = "revised"
CONFLICT: Final = "conflict"
#: Corrections that no break led to, by their events.
_ALONE: Final[Mapping[str, tuple[str, BreakKind]]] = {
    "PositionRecovered": ("recovered", BreakKind.ZOMBIE),
    "GhostClosed": ("ghost closed", BreakKind.GHOST),
    "DriftCorrected": ("drift corrected", BreakKind.DRIFT),
}
CORRECTIONS: Final = (ADJUSTED, RETICKETED, *(word for word, _ in _ALONE.values()))
INCIDENT_KINDS: Final = (DEGRADED, *BREAKS, *CORRECTIONS, REVISED, CONFLICT)
#: Words for several kinds at once.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "breaks": BREAKS,
    "corrections": CORRECTIONS,
    "deals": (REVISED, CONFLICT),
}

#: What begins and ends what has a duration: all that is read of the time before.
_LIFE: Final = frozenset({"BreakOpened", "BreakClosed", "SyncDegraded", "SyncRestored"})
#: What is read besides deals, which are many: those only where something waits for them.
_READ: Final = frozenset(
    (
        *_LIFE, *_ALONE, "PositionReticketed", "Adjusted", "DealRevised", "OrderAnswered", "OrderSeen", "OrderResolved",
        "CorrectionDecided", "BreakNoted",
    )
)  # fmt: skip
_NEAR_US: Final = 15 * 60 * 1_000_000  # so long before a break something is near it
_UNDONE_US: Final = 60 * 60 * 1_000_000  # so long after a correction another one may take it back
_CAUSING_MSC: Final = MINUTE_MSC  # a deal that much behind a break cannot have caused it
_NIGHT_MSC: Final = 30 * MINUTE_MSC
_DEALS_MAX: Final = 50  # remembered of one break
_DEGRADED_MAX: Final = 5
_WAITING_MAX: Final = 10_000  # incidents that ended and wait for one before them to be explained


@frozen(kw_only=True)
class Incident:
    """One degradation, break, correction, deal conflict or deal revision.

    Attributes:
        account: Whose.
        kind: One of ``INCIDENT_KINDS``.
        position_id: The position that it is about.
        symbol: Its symbol.
        deal: The deal that it is about, or that explained it.
        started_us: When it was first recorded, UTC in microseconds.
        ended_us: When its end was recorded, None while it is open. What has no duration ended when it started.
        outcome: restored, explained, corrected, vanished, accepted, adjusted, reticketed or revised; None while it is open.
        operator: Who decided about it, if a person did.
        approved_by: The second person, where the correction was approved by one.
        owner: Who took it over last, by a note.
        reason: Why, as it was recorded.
        versions: The events that it consists of, ascending.
        finding: Its likely cause; None where none is looked for.
        details: What was recorded of it last, by the fields of its event, for people.
    """

    account: AccountId
    kind: str
    position_id: int | None = None
    symbol: str | None = None
    deal: int | None = None
    started_us: int
    ended_us: int | None
    outcome: str | None = None
    operator: str | None = None
    approved_by: str | None = None
    owner: str | None = None
    reason: str | None = None
    versions: tuple[int, ...]
    finding: Finding | None = None
    details: Mapping[str, Any] = field(factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.ended_us is None

    def duration_us(self, now_us: int) -> int | None:
        """Return how long it lasted, or has lasted by now; None for what has no duration."""
        if self.ended_us == self.started_us:
            return None
        return max(0, (now_us if self.ended_us is None else self.ended_us) - self.started_us)


@frozen(kw_only=True)
class Period:
    """A span of recorded time, UTC microseconds: the first one inclusive, the last one not. None is without an end."""

    since_us: int | None = None
    until_us: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.since_us is not None and self.until_us is not None and self.until_us <= self.since_us:
            raise BadValue("expected a period that ends after it begins, found one that does not: look at --since and --until")

    def overlaps(self, started_us: int, ended_us: int | None) -> bool:
        """Return whether something that began and ended so has a part in it; what has no duration is at one moment."""
        if self.until_us is not None and started_us >= self.until_us:
            return False
        if self.since_us is None or ended_us is None:
            return True
        return ended_us > self.since_us or (ended_us == started_us == self.since_us)

    def overlap_us(self, incident: Incident, now_us: int) -> int:
        """Return how much of an incident is in it, up to now."""
        begin = max(incident.started_us, self.since_us or 0)
        end = min(now_us if incident.ended_us is None else incident.ended_us, self.until_us or now_us, now_us)
        return max(0, end - begin)


def incidents_of(
    journal: EventStore,
    account: AccountId,
    terms: AccountTerms,
    period: Period | None = None,
    *,
    upto: int | None = None,
) -> Iterator[Incident]:
    """Yield the incidents of an account that overlap a period, in the order in which they ended; the open ones last.

    What is known now decides: an incident that ended behind the period has its end, one that was explained later its cause.
    Where more than ten thousand ended after one that waits for its explanation, it comes without.

    Args:
        journal: Holds the account.
        account: Whose.
        terms: What its rows are read with.
        period: The whole history without.
        upto: The last version that is read; the head's without.

    Raises:
        CorruptEvent: An event cannot be read.
    """
    period = period or Period()
    head = journal.head(account)
    if head is None:
        return
    last = head.version if upto is None else min(upto, head.version)
    begin, wider = _begin_of(journal, account, terms, period, last)
    reading = _Reading(account, terms, period, wider, lambda version: _origin_at(journal, account, version))
    for row in journal.rows(account, upto=begin - 1, kinds=_LIFE):
        reading.read(row)
    at = begin - 1
    for row in journal.rows(account, after=begin - 1, upto=last, kinds=_READ):
        yield from _read_deals(journal, account, reading, at, row.version - 1)
        reading.read(row)
        at = row.version
        yield from reading.ended()
    yield from _read_deals(journal, account, reading, at, last)
    yield from reading.rest()


def _read_deals(journal: EventStore, account: AccountId, reading: _Reading, after: int, upto: int) -> Iterator[Incident]:
    """Read what is between two rows, as long as something waits for deals; yield what they explain."""
    if after >= upto or not reading.waits_for_deals():
        return
    for row in journal.rows(account, after=after, upto=upto):
        reading.read(row)
        yield from reading.ended()
        if not reading.waits_for_deals():
            return


def open_findings(journal: EventStore, account: AccountId, terms: AccountTerms, upto: int | None = None) -> dict[int, Finding]:
    """Return the likely cause of every open break, by the version that opened it. Arguments and errors as ``incidents_of``."""
    head = journal.head(account)
    if head is None:
        return {}
    later = Period(since_us=head.recorded_us + 1)  # only what is open overlaps it
    found = incidents_of(journal, account, terms, later, upto=upto)
    return {one.versions[0]: one.finding for one in found if one.finding is not None and one.kind in BREAKS}


def unexplained_findings(
    journal: EventStore, account: AccountId, terms: AccountTerms, unexplained: Sequence[Unexplained], upto: int | None = None
) -> list[Finding]:
    """Return the likely cause of each result that nobody explained: that of the break by which it came up.

    Args:
        journal: Holds the account.
        account: Whose.
        terms: What its rows are read with.
        unexplained: What a portfolio shows at the version.
        upto: The last version that is read; the head's without.

    Raises:
        CorruptEvent: An event cannot be read.
    """
    ids = {one.position_id for one in unexplained}
    ghosts: dict[int | None, Finding] = {}
    if any(one.kind == GHOST_RESULT for one in unexplained):
        for one in incidents_of(journal, account, terms, upto=upto):
            if one.position_id in ids and one.finding is not None and one.details.get("before"):
                ghosts[one.position_id] = one.finding
    closes = _loose_closes(journal, account, terms, {one.position_id for one in unexplained if one.kind != GHOST_RESULT}, upto)
    return [(ghosts if one.kind == GHOST_RESULT else closes).get(one.position_id, NOTHING) for one in unexplained]


def _loose_closes(
    journal: EventStore, account: AccountId, terms: AccountTerms, ids: Collection[int | None], upto: int | None
) -> dict[int | None, Finding]:
    """Return what closes without an opening likely come from, by position id."""
    if not ids:
        return {}
    first_order = INT64_MAX
    deals: dict[int | None, list[DealFact]] = {}
    for row in journal.rows(account, upto=upto, kinds=DEAL_KINDS):
        first_order = min(first_order, row.order_ticket or INT64_MAX)
        if row.position_id in ids and row.deal_type in TRADES and len(deals.setdefault(row.position_id, [])) < _DEALS_MAX:
            deals[row.position_id].append(_fact_of(row, terms))
    return {
        position_id: find(_loose_case(some, is_first_known=position_id is not None and position_id < first_order))
        for position_id, some in deals.items()
    }


def _loose_case(deals: Sequence[DealFact], *, is_first_known: bool) -> Case:
    closing = tuple(one for one in deals if one.closes)
    return Case(about="close", version=deals[0].version, deals=closing, is_first_known=is_first_known)


def _begin_of(journal: EventStore, account: AccountId, terms: AccountTerms, period: Period, last: int) -> tuple[int, Period]:
    """Return the version from which on every deal is read, and the period that this covers.

    It is that of the first incident which overlaps the period, or which ended so shortly before it that it may be taken back:
    so that what is found of an incident does not depend on the period that is asked for.
    """
    if period.since_us is None:
        return 1, period
    first = _first_open(journal, account, terms, period.since_us, last)
    row = next(journal.rows(account, after=first - 1, upto=first), None)
    since_us = min(period.since_us, period.since_us if row is None else row.recorded_us) - _UNDONE_US
    return _first_open(journal, account, terms, since_us, last), Period(since_us=since_us)


def _first_open(journal: EventStore, account: AccountId, terms: AccountTerms, at_us: int, last: int) -> int:
    """Return the version of the first event of all incidents that were open at a moment, else the first one behind it."""
    before = min(journal.version_at(account, at_us), last)
    reading = _Reading(account, terms, Period(since_us=at_us), Period(since_us=at_us), lambda _: None)
    for row in journal.rows(account, upto=before, kinds=_LIFE):
        reading.read(row)
    return min([before + 1, *reading.open_versions()])


def _origin_at(journal: EventStore, account: AccountId, version: int) -> str | None:
    row = next(journal.rows(account, after=version - 1, upto=version), None)
    return None if row is None else row.origin


def _fact_of(row: Stored, terms: AccountTerms) -> DealFact:
    """Return what of a deal counts as evidence."""
    known = [terms.money(one) for one in (row.profit, row.commission, row.swap, row.fee) if one is not None]
    money = exact_sum(known) if known else None
    is_credit = row.deal_type == CREDIT
    return DealFact(
        version=row.version, kind=row.kind, deal=row.deal or 0, position_id=row.position_id, entry=row.entry,
        volume=terms.volume(row.symbol or "", row.volume or 0), reason=row.reason, magic=unsigned_magic(row.magic),
        comment=row.comment, origin=row.origin, order=row.order_ticket,
        money=Decimal(0) if is_credit else money, credit=money if is_credit else Decimal(0),
    )  # fmt: skip


def _fields(row: Stored) -> dict[str, Any]:
    """Return the fields of a row that is not about a deal.

    Raises:
        CorruptEvent: They cannot be read.
    """
    try:
        fields = json.loads(row.data or "")
    except ValueError as error:
        raise CorruptEvent(f"version {row.version}: {row.kind} cannot be read ({error}): run ledger verify") from error
    if not isinstance(fields, dict):
        raise CorruptEvent(f"version {row.version}: {row.kind} cannot be read: run ledger verify")
    return fields


@define(kw_only=True, eq=False)
class _Life:
    """One incident while it is read."""

    kind: str
    started_us: int
    version: int
    time_msc: int
    break_kind: BreakKind | None = None
    correlation: str | None = None
    details: dict[str, Any] = field(factory=dict)
    versions: list[int] = field(factory=list)
    sightings: list[int] = field(factory=list)
    position_id: int | None = None
    symbol: str | None = None
    deal: int | None = None
    ended_us: int | None = None
    end: BreakEnd | None = None
    outcome: str | None = None
    operator: str | None = None
    approved_by: str | None = None
    owner: str | None = None
    reason: str | None = None
    magic: int | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    corrected_msc: int | None = None
    deals: list[DealFact] = field(factory=list)
    times: list[int] = field(factory=list)
    degraded: dict[int, str] = field(factory=dict)
    reticketed: list[int] = field(factory=list)
    withdrawn: dict[int, int | None] = field(factory=dict)
    undone: list[int] = field(factory=list)
    twin: Twin | None = None
    doubled: dict[int, int] = field(factory=dict)
    our_orders: set[int] = field(factory=set)
    clock_changed: int | None = None
    digits: int = 2
    about: Literal["break", "ticket", "degraded", "none"] = "break"
    is_resolved: bool = False

    @property
    def identity(self) -> tuple[Any, ...]:
        """What an open break is known by, as the fold knows it."""
        return self.details.get("kind"), self.position_id, self.details.get("order"), self.details.get("client_id")

    @property
    def is_corrected(self) -> bool:
        return self.before is not None or self.after is not None

    def note(self, version: int) -> None:
        if version not in self.versions[-3:]:
            self.versions.append(version)

    def add(self, deal: DealFact, time_msc: int) -> None:
        """Note a deal that may have caused it."""
        reach_msc = self.time_msc if self.corrected_msc is None else max(self.time_msc, self.corrected_msc)
        if len(self.deals) < _DEALS_MAX and time_msc <= reach_msc + _CAUSING_MSC:
            self.deals.append(deal)

    def case(self) -> Case:
        """Return what a cause is looked for with."""
        details = self.details
        return Case(
            about=self.about, kind=self.break_kind, version=self.version, field=details.get("field"), ours=details.get("ours"),
            theirs=details.get("theirs"), end=self.end, flaps=details.get("flaps"),
            confirmations=details.get("confirmations", 1), sightings=tuple(self.sightings), deal=self.deal, magic=self.magic,
            deals=tuple(self.deals), degraded=dict(self.degraded), reticketed=tuple(self.reticketed),
            withdrawn=dict(self.withdrawn), undone=tuple(dict.fromkeys(self.undone)), twin=self.twin,
            our_orders=frozenset(self.our_orders), doubled=dict(self.doubled), clock_changed=self.clock_changed,
            digits=self.digits, is_night=_is_night(self.time_msc),
        )  # fmt: skip

    def is_explained(self) -> bool:
        """Whether its deals amount to the difference that it was about."""
        case = self.case()
        causing = case.causing
        if not causing:
            return False
        return exact_sum(one.volume for one in causing) >= abs(case.volume_gap)


def _is_night(time_msc: int) -> bool:
    since_midnight = time_msc % DAY_MSC
    return min(since_midnight, DAY_MSC - since_midnight) <= _NIGHT_MSC


class _Reading:
    """Rows of one account, ascending, to incidents."""

    def __init__(
        self, account: AccountId, terms: AccountTerms, period: Period, wider: Period, origin_at: Callable[[int], str | None]
    ) -> None:
        self._account = account
        self._terms = terms
        self._period = period
        self._wider = wider
        self._origin_at = origin_at
        self._open: dict[int, _Life] = {}
        self._degradation: _Life | None = None
        self._by_position: dict[int, list[_Life]] = {}  # open, or corrected and not explained
        self._ended: deque[_Life] = deque()
        self._recent: deque[tuple[int, Stored, _Life | None]] = deque()
        self._person: tuple[int, dict[str, Any]] | None = None
        self._decided: tuple[int, str] | None = None  # the last decision: its version, and who decided
        self._revised: int | None = None
        self._readers: Mapping[str, Callable[[Stored], None]] = {
            "BreakOpened": self._read_opened,
            "BreakClosed": self._read_closed,
            "SyncDegraded": self._read_degraded,
            "SyncRestored": self._read_restored,
            "PositionReticketed": self._read_reticketed,
            "Adjusted": self._read_adjusted,
            "OrderResolved": self._read_resolved,
            "CorrectionDecided": self._read_decided,
            "BreakNoted": self._read_noted,
            **dict.fromkeys(_ALONE, self._read_correction),
            **dict.fromkeys(("OrderAnswered", "OrderSeen"), self._remember),
            **dict.fromkeys(DEAL_KINDS, self._read_deal),
        }

    # ---- what goes in

    def read(self, row: Stored) -> None:
        """Read the next row."""
        reader = self._readers.get(row.kind)
        if reader is not None:
            reader(row)
        if row.kind not in ("CorrectionDecided", "Adjusted", "BreakClosed"):
            self._person = None

    def _begin(self, row: Stored, kind: str, **about: Any) -> _Life:
        life = _Life(
            kind=kind, started_us=row.recorded_us, version=row.version, versions=[row.version], time_msc=row.time_msc,
            correlation=row.correlation, position_id=row.position_id, symbol=row.symbol,
            digits=self._terms.opened.currency_digits, **about,
        )  # fmt: skip
        life.degraded = self._degraded_before(row.recorded_us)
        for _, near, _ in self._near(row.recorded_us):
            if near.kind == "PositionReticketed" and near.position_id is not None and near.position_id == row.position_id:
                life.reticketed.append(near.version)
        return life

    def _read_opened(self, row: Stored) -> None:
        fields = _fields(row)
        known = self._open.get(row.caused_by or 0)
        about = fields.get("kind"), fields.get("position_id"), fields.get("order"), fields.get("client_id")
        if known is not None and known.identity == about:
            known.details |= fields
            known.details["flaps"] = fields.get("flaps")
            known.reason = fields.get("why") or known.reason
            known.note(row.version)
            known.sightings.append(row.version)
            return
        life = self._begin(
            row, str(fields["kind"]), break_kind=BreakKind(fields["kind"]), details=fields, deal=fields.get("deal")
        )
        life.reason, life.sightings = fields.get("why"), [row.version]
        self._find_twin(life)
        self._find_undone(life)
        self._find_withdrawn(life)
        self._open[row.version] = life
        self._watch(life)
        self._remember(row, life)

    def _find_twin(self, life: _Life) -> None:
        """Link a ghost and a zombie of the same sync that are the same but for their ids, or their symbols as well."""
        shown = SHOWN.fullmatch(life.details.get("ours") or life.details.get("theirs") or "")
        if shown is None or life.break_kind not in (BreakKind.GHOST, BreakKind.ZOMBIE) or life.correlation is None:
            return
        for _, _, other in reversed(self._recent):
            if other is None or other.correlation != life.correlation or other.twin is not None:
                continue
            if {life.break_kind, other.break_kind} != {BreakKind.GHOST, BreakKind.ZOMBIE}:
                continue
            its = SHOWN.fullmatch(other.details.get("ours") or other.details.get("theirs") or "")
            if its is None or (its["side"], its["volume"]) != (shown["side"], shown["volume"]):
                continue
            if its["symbol"] == shown["symbol"] or its["price_open"] == shown["price_open"]:
                life.twin = Twin(other.version, other.position_id or 0, its["symbol"], its["price_open"])
                other.twin = Twin(life.version, life.position_id or 0, shown["symbol"], shown["price_open"])
                return

    def _find_withdrawn(self, life: _Life) -> None:
        """Link breaks about money with those about deals that the broker does not list at the same time."""
        for other in self._open.values():
            pair = {life.break_kind: life, other.break_kind: other}
            money, gone = pair.get(BreakKind.BALANCE), pair.get(BreakKind.WITHDRAWN)
            if money is not None and gone is not None and len(money.withdrawn) < _DEALS_MAX:
                money.withdrawn[gone.version] = gone.deal

    def _find_undone(self, life: _Life) -> None:
        """Note where the broker shows again, without a deal, what a correction shortly before took away."""
        shown = _sizes_of(life.details.get("theirs"))
        for other in self._by_position.get(life.position_id or 0, ()):
            is_soon = life.started_us - (other.ended_us or life.started_us) <= _UNDONE_US
            is_back = shown is not None and other.before is not None and _sizes(other.before) == shown
            if other.ended_us is not None and is_soon and is_back and not other.deals:
                other.undone.append(life.version)
                life.undone.append(other.version)

    def _read_closed(self, row: Stored) -> None:
        life = self._open.pop(row.caused_by or 0, None)
        if life is None:
            return
        life.end = BreakEnd(_fields(row)["end"])
        life.note(row.version)
        life.outcome = life.end.value
        if self._person is not None and life.end in (BreakEnd.ACCEPTED, BreakEnd.CORRECTED):
            version, fields = self._person
            life.note(version)
            life.operator, life.reason = fields.get("operator"), fields.get("reason")
            if "clock_after" in fields:
                life.clock_changed = version
        waits = life.end is BreakEnd.CORRECTED and life.is_corrected and not life.is_explained()
        self._end(life, row, is_resolved=not waits)

    def _read_degraded(self, row: Stored) -> None:
        fields = _fields(row)
        reason = str(fields.get("reason"))
        for life in self._open.values():
            if len(life.degraded) < _DEGRADED_MAX:
                life.degraded[row.version] = reason
        if self._degradation is not None:  # the fold takes the newest as well
            self._degradation.note(row.version)
            return
        self._degradation = self._begin(row, DEGRADED, details=fields, reason=reason, about="degraded")
        self._degradation.degraded = {row.version: reason}
        self._remember(row)

    def _read_restored(self, row: Stored) -> None:
        life, self._degradation = self._degradation, None
        if life is not None:
            life.note(row.version)
            life.outcome = "restored"
            self._end(life, row)

    def _read_correction(self, row: Stored) -> None:
        fields = _fields(row)
        before, after = fields.get("before"), fields.get("after") or fields.get("position")
        life = self._open.get(row.caused_by or 0)
        is_alone = life is None
        if life is None:
            kind, break_kind = _ALONE[row.kind]
            sides = {"ours": _shown(before), "theirs": _shown(after)}
            life = self._begin(row, kind, break_kind=break_kind, details={**sides, **fields}, outcome="corrected")
            life.sightings, life.end = [row.version], BreakEnd.CORRECTED
            self._find_undone(life)
        self._end_watches(life)
        life.note(row.version)
        life.before, life.after, life.corrected_msc = before, after, row.time_msc
        magic = (before or after or {}).get("magic")
        life.magic = unsigned_magic(magic) if magic is not None else life.magic
        if is_alone:
            self._end(life, row, is_resolved=False)
            self._watch(life)

    def _end_watches(self, life: _Life) -> None:
        """Let earlier corrections of a position wait no more: what follows is about the state that this one asserts.

        A ghost's result is unknown until a closing deal is recorded, whatever becomes of the position.
        """
        for other in list(self._by_position.get(life.position_id or 0, ())):
            if other is not life and other.ended_us is not None and (other.break_kind is not BreakKind.GHOST or other.undone):
                self._resolve(other)

    def _read_reticketed(self, row: Stored) -> None:
        for life in self._by_position.get(row.position_id or 0, ()):
            if life.ended_us is None:
                life.reticketed.append(row.version)
        self._remember(row)
        self._end(self._begin(row, RETICKETED, about="ticket", details=_fields(row), outcome="reticketed"), row)

    def _read_adjusted(self, row: Stored) -> None:
        fields = _fields(row)
        self._person = row.version, fields
        accepted, position_id = fields.get("accepted"), row.position_id
        if accepted is not None:
            for life in list(self._by_position.get(accepted.get("position_id") or 0, ())):
                if life.ended_us is not None:
                    self._resolve(life)
        life = self._begin(row, ADJUSTED, about="none", details=fields, outcome="adjusted", deal=fields.get("deal"))
        about = fields.get("after") or fields.get("before") or accepted or {}
        life.position_id = position_id if position_id is not None else about.get("position_id")
        life.symbol = row.symbol or about.get("symbol")
        life.operator, life.reason = fields.get("operator"), fields.get("reason")
        if self._decided is not None and self._decided[0] == fields.get("decision") and self._decided[1] != life.operator:
            life.approved_by = self._decided[1]
        if "deal" in fields and row.caused_by is not None:
            life.versions = [row.caused_by, row.version]
        self._end(life, row)

    def _read_decided(self, row: Stored) -> None:
        fields = _fields(row)
        self._person = row.version, fields
        self._decided = row.version, str(fields.get("operator"))

    def _read_noted(self, row: Stored) -> None:
        life = self._open.get(row.caused_by or 0)
        if life is not None:
            life.owner = _fields(row).get("owner") or life.owner
            life.note(row.version)

    def _read_resolved(self, row: Stored) -> None:
        fields = _fields(row)
        self._remember(row)
        if fields.get("outcome") == "duplicate":
            for ticket in fields.get("tickets", ()):
                for life in self._of_positions():
                    life.doubled[ticket] = row.version
        if "operator" in fields:
            for life in self._open.values():
                if life.details.get("client_id") is not None and life.details["client_id"] == fields.get("client_id"):
                    life.operator, life.reason = fields["operator"], fields.get("reason")
                    life.note(row.version)

    def _of_positions(self) -> Iterator[_Life]:
        for followed in self._by_position.values():
            yield from followed

    def _read_deal(self, row: Stored) -> None:
        if row.kind == "DealRevised":
            self._read_revised(row)
        followed = list(self._by_position.get(row.position_id, ())) if row.position_id is not None else []
        if self._open and row.deal is not None:
            followed += [life for life in self._open.values() if life.break_kind is BreakKind.BALANCE]
        if not followed or row.deal is None:
            return
        fact = _fact_of(row, self._terms)
        for life in followed:
            if life.break_kind is not BreakKind.BALANCE:
                if row.deal_type not in TRADES:
                    continue
                life.our_orders |= self._our_orders(row.order_ticket)  # only here: it looks through what is recent
                self._doubled(life, row)
            life.add(fact, row.time_msc)
            if life.ended_us is not None and life.is_explained():
                self._resolve(life)

    def _our_orders(self, ticket: int | None) -> set[int]:
        """Return the ticket of a deal's order if that was recorded as ours lately."""
        if ticket is None:
            return set()
        for _, row, _ in self._recent:
            if row.kind in ("OrderAnswered", "OrderSeen") and row.client_id is not None:
                fields = _fields(row)
                if ticket in (fields.get("order"), fields.get("ticket")):
                    return {ticket}
        return set()

    def _doubled(self, life: _Life, row: Stored) -> None:
        for _, near, _ in self._recent:
            fields = _fields(near) if near.kind == "OrderResolved" else {}
            if fields.get("outcome") == "duplicate" and row.order_ticket in fields.get("tickets", ()):
                life.doubled[row.order_ticket or 0] = near.version

    def _read_revised(self, row: Stored) -> None:
        """Read a revision: part of the break about its deal, else an incident of its own.

        Where it replaces what another source recorded, two sources had disagreed; else the broker changed what it had stated.
        """
        for life in self._open.values():
            if life.break_kind is BreakKind.WITHDRAWN and life.deal == row.deal:
                life.note(row.version)
                return
        before = self._origin_at(row.caused_by or 0) if self._period.overlaps(row.recorded_us, row.recorded_us) else None
        is_conflict = row.origin == Origin.RECOVERY.value and before in (Origin.ENGINE.value, Origin.IMPORT.value)
        details = {"caused_by": row.caused_by, "row": row}
        life = self._begin(row, CONFLICT if is_conflict else REVISED, about="none", details=details, deal=row.deal)
        life.outcome = "revised"
        self._end(life, row)

    # ---- what is near

    def _remember(self, row: Stored, life: _Life | None = None) -> None:
        self._forget(row.recorded_us)
        self._recent.append((row.recorded_us, row, life))

    def _forget(self, now_us: int) -> None:
        while self._recent and self._recent[0][0] < now_us - _NEAR_US:
            self._recent.popleft()

    def _near(self, now_us: int) -> deque[tuple[int, Stored, _Life | None]]:
        self._forget(now_us)
        return self._recent

    def _degraded_before(self, now_us: int) -> dict[int, str]:
        found = {} if self._degradation is None else dict(self._degradation.degraded)
        for _, near, _ in self._near(now_us):
            if near.kind == "SyncDegraded":
                found[near.version] = str(_fields(near).get("reason"))
        return dict(list(found.items())[-_DEGRADED_MAX:])

    # ---- what comes out

    def _watch(self, life: _Life) -> None:
        if life.position_id is not None:
            self._by_position.setdefault(life.position_id, []).append(life)

    def _unwatch(self, life: _Life) -> None:
        followed = self._by_position.get(life.position_id or 0, [])
        if life in followed:
            followed.remove(life)
            if not followed:
                del self._by_position[life.position_id or 0]

    def _end(self, life: _Life, row: Stored, *, is_resolved: bool = True) -> None:
        """Note that an incident ended; one that waits for its explanation goes on being watched."""
        life.ended_us = row.recorded_us
        if is_resolved or not self._wider.overlaps(life.started_us, life.ended_us):
            self._resolve(life)
        if self._period.overlaps(life.started_us, life.ended_us):
            self._ended.append(life)

    def _resolve(self, life: _Life) -> None:
        life.is_resolved = True
        self._unwatch(life)

    def ended(self) -> Iterator[Incident]:
        """Yield what ended and waits for nothing, in the order in which it ended."""
        while self._ended and (self._ended[0].is_resolved or len(self._ended) > _WAITING_MAX):
            life = self._ended.popleft()
            self._unwatch(life)
            yield self._incident(life)

    def rest(self) -> Iterator[Incident]:
        """Yield what is left: what ended and was not explained, then what is open."""
        while self._ended:
            yield self._incident(self._ended.popleft())
        followed = [*self._open.values(), *([] if self._degradation is None else [self._degradation])]
        for life in sorted(followed, key=lambda one: one.version):
            if self._period.overlaps(life.started_us, None):
                yield self._incident(life)

    def waits_for_deals(self) -> bool:
        """Whether a deal may explain something."""
        return bool(self._open or self._by_position)

    def open_versions(self) -> list[int]:
        """Return the versions that opened what is open."""
        return [*self._open, *([] if self._degradation is None else [self._degradation.version])]

    def _incident(self, life: _Life) -> Incident:
        finding = None if life.about == "none" else find(life.case())
        is_explained = life.end is BreakEnd.EXPLAINED or (life.ended_us is not None and life.is_corrected)
        causing = [(one.deal, one.version) for one in life.case().causing] if is_explained else []
        deal = life.deal if life.deal is not None or not causing else causing[-1][0]
        versions = {*life.versions, *(version for _, version in causing)}
        return Incident(
            account=self._account, kind=life.kind, position_id=life.position_id, symbol=life.symbol, deal=deal,
            started_us=life.started_us, ended_us=life.ended_us, outcome=life.outcome, operator=life.operator,
            approved_by=life.approved_by, owner=life.owner, reason=life.reason, versions=tuple(sorted(versions)),
            finding=finding,
            details={**life.details, "explained_by": causing, "before": life.before or life.details.get("before"),
                     "after": life.after or life.details.get("after")},
        )  # fmt: skip


def _shown(state: Mapping[str, Any] | None) -> str | None:
    """Return a position as a break quotes it."""
    if state is None:
        return None
    return f"{state['side']} {plain(Decimal(state['volume']))} {state['symbol']} @ {state['price_open']}"


def _sizes(state: Mapping[str, Any]) -> tuple[str, Decimal]:
    """Return side and volume of a position that an event states."""
    return state["side"], Decimal(state["volume"])


def _sizes_of(shown: str | None) -> tuple[str, Decimal] | None:
    """Return side and volume of a position as a break quotes it."""
    found = SHOWN.fullmatch(shown or "")
    return None if found is None else (found["side"], Decimal(found["volume"]))
