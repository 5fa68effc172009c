"""The fold order where places alone do not give it: what a span of postings is sorted by.

Three spans are sorted again, each a rule of the broker's clock or of what an assertion contains:

- an hour that the server's clock shows twice, at the end of daylight time: its deals by ticket, because the wall clock went
  back while tickets rose;
- a second in which a position or a balance was asserted by the time of a snapshot: a deal that the engine recorded after the
  assertion counts as after it;
- each second of an account that is ordered by time, because its tickets do not rise with time: its deals by milliseconds.

Pure: what the journal knows of single events is asked for through ``Records``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from ledger.clock import SECOND_MSC, ClockRule
from ledger.events import Event, Origin
from ledger.postings import DEAL, NO_DEAL, FoldKey, Posting, Row, second_of

#: Events that set a position to what somebody saw.
POSITION_ASSERTIONS: Final = frozenset({"PositionRecovered", "DriftCorrected", "GhostClosed", "Adjusted"})
#: Those whose fields state what they contain, and so their place.
_PLACED_BY_FIELDS: Final = ("PositionRecovered", "DriftCorrected", "BalanceAsserted")
_LIVE: Final = (Origin.ENGINE.value, Origin.RECOVERY.value)


class FirstRecord(NamedTuple):
    """How a deal was first recorded: version, by whom, and when (UTC microseconds)."""

    version: int
    origin: str | None
    recorded_us: int


class Records(Protocol):
    """What the journal knows of single events of one account."""

    def first_records(self, deals: Sequence[int]) -> Mapping[int, FirstRecord]:
        """Return deal ticket -> its first record."""
        ...

    def recorded_us(self, versions: Sequence[int]) -> Mapping[int, int]:
        """Return version -> when it was recorded, UTC microseconds."""
        ...


class Asserted(NamedTuple):
    """What an assertion is about, and its own place: second and deal ticket, before earlier assertions are looked at.

    ``position_id`` is None for a balance. ``contains`` means that the broker stated what the assertion contains; else the time
    of the snapshot places it.
    """

    position_id: int | None
    second_msc: int
    deal: int
    contains: bool


def asserted(kind: str, time_msc: int, position_id: int | None, data: str | None) -> Asserted | None:
    """Return what a stored event asserts, None if it is no assertion that orders deals.

    Raises:
        TypeError: Its data is damaged: a text in the place of a time is refused by its sign, and formats nothing. Also
            ValueError and RecursionError.
    """
    return _own(kind, time_msc, position_id, _payload(data).get if kind in _PLACED_BY_FIELDS else _nothing)


def asserted_by(event: Event) -> Asserted | None:
    """Return what an event asserts, as ``asserted`` of its row."""
    return _own(type(event).__name__, event.time_msc, getattr(event, "position_id", None), partial(_field, event))


def _own(kind: str, time_msc: int, position_id: int | None, get: Callable[[str], Any]) -> Asserted | None:
    """Return what an event with some fields asserts.

    An opening figure of an import is no assertion: it states what was there before its time, whoever recorded what when.
    """
    own = Asserted(position_id, second_of(time_msc), NO_DEAL, contains=False)
    if kind in ("PositionRecovered", "DriftCorrected"):
        updated_msc = get("updated_msc")
        if updated_msc is None:
            return own
        return Asserted(position_id, second_of(+updated_msc), get("updated_deal") or NO_DEAL, contains=True)
    if kind == "BalanceAsserted":
        deal = get("deals_through")
        if deal is not None:
            return Asserted(None, second_of(+(get("deals_through_msc") or 0)), deal, contains=True)
        return own if get("evidence") is not None else None
    if kind == "GhostClosed" or (kind == "Adjusted" and position_id is not None):
        return own
    return None


def asserted_place(own: Asserted, before: tuple[int, int] | None) -> tuple[int, int]:
    """Return the second and deal ticket that an assertion is placed at: never before an earlier one of the same.

    Args:
        own: What it asserts.
        before: The place of the latest earlier assertion of the same position, or of the balance.
    """
    return max((own.second_msc, own.deal), before or (-1, 0))


_STRETCH_MSC: Final = 366 * 24 * 60 * 60 * SECOND_MSC


class FoldOrder:
    """The order of one account's postings.

    Args:
        clock: What the server's wall clock means.
        by_time: Order deals by (time, ticket), because tickets do not rise with time.
        nets: Whether the account has one position a symbol.
        records: What the journal knows of single events.
        until_utc_msc: Leave out what happened later, within a repeated hour; the rest is the selection's.
    """

    def __init__(
        self, clock: ClockRule, *, by_time: bool, nets: bool, records: Records, until_utc_msc: int | None = None
    ) -> None:
        self._clock = clock
        self._by_time = by_time
        self._nets = nets
        self.records = records
        self._until_utc_msc = until_utc_msc
        self._stretch: tuple[int, int, Sequence[tuple[int, int]]] = (0, -1, ())  # of broker time, and its repeated hours

    @property
    def is_anchored(self) -> bool:
        """Whether what an assertion contains places it; else its broker time does."""
        return not self._by_time

    def spans(self, first_msc: int, last_msc: int) -> Sequence[tuple[int, int]]:
        """Return the repeated hours between two moments; on an account that is ordered by time there is nothing to sort."""
        if self._by_time:
            return ()
        begin_msc, end_msc, spans = self._stretch
        if not begin_msc <= first_msc <= last_msc <= end_msc:
            begin_msc, end_msc = first_msc - _STRETCH_MSC, last_msc + _STRETCH_MSC
            spans = self._clock.repeated_hours(begin_msc, end_msc)
            self._stretch = begin_msc, end_msc, spans
        return [span for span in spans if span[0] <= last_msc and first_msc < span[1]]

    def needs_seconds(self, times: Iterable[int]) -> bool:
        """Return whether milliseconds order the deals of each second, and there are any."""
        return self._by_time and any(time_msc % SECOND_MSC for time_msc in times)

    def needs_second(self, row: Row) -> bool:
        """Return whether a posting is an assertion that the time of a snapshot places."""
        if row[DEAL] != NO_DEAL:  # deals assert nothing, and most of what arrives late are deals
            return False
        found = _asserted_by(Posting._make(row))
        return found is not None and (not found.contains or self._by_time)

    def arrange(self, rows: list[tuple[FoldKey, Row]], span: tuple[int, int]) -> Sequence[Posting]:
        """Return the postings of a span in their order, without those of a repeated hour that happened too late."""
        is_hour = span[1] - span[0] > SECOND_MSC
        placed = [(place, Posting._make(row)) for place, row in rows]
        postings = [posting for _, posting in placed]
        first = self._first_records(postings, is_hour=is_hour)
        moments = self._moments(postings, first, span) if is_hour else {}
        keys = _after_assertions(self._keys(placed, moments), postings, first, moments, nets=self._nets, by_time=self._by_time)
        if is_hour and self._until_utc_msc is not None:
            postings = [posting for posting in postings if moments[posting.version] <= self._until_utc_msc]
        return sorted(postings, key=lambda posting: keys[posting.version])

    def _first_records(self, rows: Sequence[Posting], *, is_hour: bool) -> Mapping[int, FirstRecord]:
        """Return the first records of the deals for which they count: of those recorded after something else, or of all."""
        earliest = min((row.version for row in rows if row.deal == NO_DEAL), default=0)
        deals = [row.deal for row in rows if row.deal != NO_DEAL and (is_hour or 0 < earliest < row.version)]
        return self.records.first_records(deals) if deals else {}

    def _keys(self, rows: list[tuple[FoldKey, Posting]], moments: Mapping[int, int]) -> dict[int, _Key]:
        """Return version -> what a posting of a span is sorted by: time where that counts, ticket, version.

        Args:
            rows: The postings with their places.
            moments: Version -> when it happened, in UTC milliseconds, of a repeated hour; empty for a second.
        """
        keys: dict[int, _Key] = {}
        latest: dict[int | None, int] = {}  # position -> ticket that its latest assertion of a repeated hour comes after
        for (_, deal, _), row in sorted(rows, key=lambda one: one[1].version):
            version = row.version
            if row.deal != NO_DEAL:
                keys[version] = (row.time_msc if self._by_time else 0, deal, 0, 0, 0)
                continue
            if self._by_time:
                keys[version] = (row.time_msc, NO_DEAL, version, 0, 0)
                continue
            own = _asserted_by(row)
            if not moments:
                keys[version] = (0, NO_DEAL if own is None else deal, version, 0, 0)
            else:
                utc_msc = moments[version]
                if own is not None and own.contains:
                    utc_msc = self._clock.nearest_utc_msc(own.second_msc, utc_msc)
                after = own.deal if own is not None and own.deal != NO_DEAL else _last_deal(rows, moments, utc_msc)
                if own is not None:
                    after = latest[own.position_id] = max(after, latest.get(own.position_id, 0))
                keys[version] = (0, after, version, 0, 0)
        return keys

    def _moments(self, rows: Sequence[Posting], first: Mapping[int, FirstRecord], span: tuple[int, int]) -> dict[int, int]:
        """Return version -> when a posting of a repeated hour happened, in UTC milliseconds.

        What is no deal happened at the reading nearer to when it was recorded; the opening figure of an import at the first.
        """
        deals = sorted((row for row in rows if row.deal != NO_DEAL), key=lambda row: row.deal)
        readings = hour_readings(deals, first, span, self._clock)
        moments = {row.version: readings[row.deal].utc_msc for row in deals}
        others = [row for row in rows if row.deal == NO_DEAL]
        recorded = self.records.recorded_us([row.version for row in others]) if others else {}
        for row in others:
            near_msc = recorded.get(row.version, 0) // 1000
            is_live = row.kind != "BalanceAsserted" or "evidence" in _payload(row.data)
            readings_msc = self._clock.readings(row.time_msc)
            moments[row.version] = self._clock.nearest_utc_msc(row.time_msc, near_msc) if is_live else readings_msc[0]
        return moments


#: Time where that counts, ticket, version, and for a deal that an engine recorded after an assertion 1 and its ticket.
_Key = tuple[int, int, int, int, int]


def _last_deal(rows: Iterable[tuple[FoldKey, Posting]], moments: Mapping[int, int], utc_msc: int) -> int:
    """Return the highest ticket of the deals that happened up to a moment, to the second; 0 without any."""
    second = utc_msc // SECOND_MSC
    return max((row.deal for _, row in rows if row.deal != NO_DEAL and moments[row.version] // SECOND_MSC <= second), default=0)


def _after_assertions(
    keys: dict[int, _Key],
    rows: Sequence[Posting],
    first: Mapping[int, FirstRecord],
    moments: Mapping[int, int],
    *,
    nets: bool,
    by_time: bool,
) -> dict[int, _Key]:
    """Put the deals that an engine recorded after an assertion of the same second behind it.

    Only where the time of a snapshot places the assertion: the gateway did not report what it contains.
    """
    by_clock = []
    for row in rows:
        own = None if row.deal != NO_DEAL else _asserted_by(row)
        if own is not None and (by_time or not own.contains):
            by_clock.append(row)
    moved: dict[int, _Key] = {}
    for row in rows if by_clock else ():
        record = first.get(row.deal)
        if record is None or record.origin != Origin.ENGINE.value:
            continue
        for made in by_clock:
            is_later = made.version < record.version and _is_about(made, row, nets=nets) and not _opened_by(made, row)
            if is_later and _second(row, moments) == _second(made, moments):
                time_msc, deal, version, *_ = keys[made.version]
                moved[row.version] = max(moved.get(row.version, keys[row.version]), (time_msc, deal, version, 1, row.deal))
    return keys | moved


def _second(row: Posting, moments: Mapping[int, int]) -> int:
    return moments.get(row.version, row.time_msc) // SECOND_MSC


def _is_about(assertion: Posting, deal: Posting, *, nets: bool) -> bool:
    """Return whether an assertion, of the balance or of a position, is about what a deal changes."""
    if assertion.kind == "BalanceAsserted":
        return True
    if deal.kind != "FillRecorded":
        return False
    return deal.position_id in (None, assertion.position_id) or (nets and deal.symbol == assertion.symbol)


def _opened_by(assertion: Posting, deal: Posting) -> bool:
    """Return whether a deal is of the order that opened an asserted position: it was there, so the deal is in it.

    The identifier of a position is the ticket of its opening order (MQL5 Reference, "Position Properties").
    """
    return (
        assertion.kind in ("PositionRecovered", "DriftCorrected")
        and deal.entry == 0
        and deal.order_ticket == assertion.position_id
    )


class FallingTickets(NamedTuple):
    """Where tickets do not rise with time: how many deals have a lower ticket than one of an earlier second, and the first."""

    deals: int
    first_deal: int
    first_msc: int


def falling_tickets(deals: Iterable[tuple[int, int]]) -> FallingTickets | None:
    """Return where tickets fall, None where they rise.

    Args:
        deals: Broker time in milliseconds and ticket, ascending by the second.
    """
    count = first_deal = first_msc = highest = highest_before = 0
    second = -1
    for time_msc, ticket in deals:
        if time_msc // SECOND_MSC != second:
            second, highest_before = time_msc // SECOND_MSC, highest
        if ticket < highest_before:
            count += 1
            first_deal, first_msc = (ticket, time_msc) if count == 1 else (first_deal, first_msc)
        highest = max(highest, ticket)
    return FallingTickets(count, first_deal, first_msc) if count else None


class HourReading(NamedTuple):
    """When a deal of a repeated hour happened; ``is_ambiguous`` where nothing decides between its two meanings."""

    utc_msc: int
    is_ambiguous: bool


def hour_readings(
    rows: Sequence[Posting], first: Mapping[int, FirstRecord], span: tuple[int, int], clock: ClockRule
) -> dict[int, HourReading]:
    """Return deal ticket -> when it happened, for the deals of one hour that the clock showed twice, ascending by ticket.

    UTC rises with the tickets. So where the wall clock falls from one ticket to the next, all up to there are of the first
    showing and all behind it of the second. Where it never falls, the turn is put where the deals of live origins are nearest
    to when they were recorded; without any, all are of the first.
    """
    length = span[1] - span[0]
    times = [clock.to_utc_msc(row.time_msc) for row in rows]
    falls = [at for at in range(1, len(rows)) if rows[at].time_msc // SECOND_MSC < rows[at - 1].time_msc // SECOND_MSC]
    if falls:
        turn = falls[0]
    else:
        near = [first[row.deal].recorded_us // 1000 if _is_live(first.get(row.deal)) else None for row in rows]
        turn = _best_turn(times, near, length)
    return {
        row.deal: HourReading(utc_msc + (length if at >= turn else 0), is_ambiguous=not falls)
        for at, (row, utc_msc) in enumerate(zip(rows, times, strict=True))
    }


def _best_turn(times: Sequence[int], near: Sequence[int | None], length: int) -> int:
    """Return the number of deals of the first showing with which they are nearest to when they were recorded."""
    off = [0 if one is None else abs(one - time) - abs(one - time - length) for time, one in zip(times, near, strict=True)]
    best, turn, cost = 0, len(times), 0
    for at in range(len(times) - 1, -1, -1):  # what it costs to read ``at`` and all behind it as of the second showing
        cost -= off[at]
        if cost < best:
            best, turn = cost, at
    return turn


def _is_live(record: FirstRecord | None) -> bool:
    return record is not None and record.origin in _LIVE


def _asserted_by(row: Posting) -> Asserted | None:
    return asserted(row.kind, row.time_msc, row.position_id, row.data)


def _nothing(_: str) -> None:
    return None


def _field(event: Event, name: str) -> Any:
    return getattr(event, name, None)


def _payload(data: str | None) -> dict[str, Any]:
    fields = json.loads(data or "{}")
    return fields if isinstance(fields, dict) else {}
