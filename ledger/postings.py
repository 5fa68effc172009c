"""The posting: one event as the fold reads it, a plain tuple of integers and texts, and the order postings are folded in.

Reading and folding is the hot path of everything, so the fold eats tuples as they come out of the database instead of
event objects. Volumes, prices and money are integers scaled by the account's and the symbol's scales.

A deal may have been recorded more than once: first by an engine that knew little, then completed, then revised by the
broker. The fold must see it once, with what is known of it in the selection that is being folded. ``Postings`` does that.

The fold order (``FoldKey``) is whole second and deal ticket; what is no deal comes after all deals of its second, and what the
broker asserted comes directly after the last deal that it contains. Where this is not the order that counts (inside an hour
that the server's clock shows twice, on accounts that are ordered by time, for deals that an engine recorded right after an
assertion of the same second) ``ledger.fold_order`` sorts a span of postings again.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from attrs import frozen

from ledger.clock import SECOND_MSC, ClockRule
from ledger.errors import InexactNumber
from ledger.events import CashMoved, Deal, FillRecorded
from ledger.terms import AccountTerms
from ledger.values import INT64_MAX, TRADES, scaled, signed_magic


class Posting(NamedTuple):
    """The columns that the fold reads, in this order.

    Money, price and volume are scaled integers, None where not known. ``deal`` is ``NO_DEAL`` for what is not a fact about
    a deal: it sorts after all deals of its millisecond. ``data`` is the rest of the event as JSON text, in the words of its
    ``schema``.
    """

    time_msc: int
    deal: int
    version: int
    kind: str
    deal_type: int | None
    entry: int | None
    position_id: int | None
    order_ticket: int | None
    symbol: str | None
    volume: int | None
    price: int | None
    commission: int | None
    fee: int | None
    swap: int | None
    profit: int | None
    magic: int | None
    data: str | None
    schema: int


class Fill(NamedTuple):
    """The posting of a fill: the same columns, with what every fill has. ``side`` is MT5's code: 0 buy, 1 sell."""

    time_msc: int
    deal: int
    version: int
    kind: str
    side: int
    entry: int
    position_id: int | None
    order: int | None
    symbol: str
    volume: int
    price: int
    commission: int | None
    fee: int | None
    swap: int | None
    profit: int | None
    magic: int | None
    data: str | None
    schema: int

    @property
    def money(self) -> tuple[int, int, int, int]:
        """Commission, fee, swap and profit; 0 for what is not known."""
        return self.commission or 0, self.fee or 0, self.swap or 0, self.profit or 0

    @property
    def is_money_known(self) -> bool:
        """Whether all the money of it is known."""
        return None not in (self.commission, self.fee, self.swap, self.profit)


assert len(Fill._fields) == len(Posting._fields)

#: A posting as a database driver returns it: the same columns without the class. More columns may follow.
Row = tuple[Any, ...]

NO_DEAL: Final = INT64_MAX

#: Schema version that fills and cash movements are written with: their columns mean the same in all.
DEAL_SCHEMA: Final = 1

#: A place in the fold order: whole second in milliseconds, deal ticket, and 0 for a deal, else the version.
FoldKey = tuple[int, int, int]


class Reading(NamedTuple):
    """What postings up to some place rest on.

    ``events`` were read for them, all records of a deal counted. Knowing more than the first ``newest`` events changed nothing
    of them, and ``newest_plain`` is the last event among them that had arrived in order. ``latest_msc`` bounds their broker
    times: nothing among them is later. All of it follows from the events up to that place and from what took one of them away:
    nothing that is recorded later elsewhere, and nothing of how they were read, changes it.
    """

    events: int
    newest: int
    newest_plain: int
    latest_msc: int = -1


#: How replay finds an event: it arrived in the fold order; it has to be put in its place (it arrived late, or records a deal
#: again); it is no part of the fold (it applies whatever the moment); or it asserts something, and has its own place.
IN_ORDER: Final = 0
OUT_OF_ORDER: Final = 1
OUTSIDE_FOLD: Final = 2
ASSERTED: Final = 3

_BLOCK: Final = 4096
#: So many packed postings are made into rows at once: fewer than Python makes before it looks for garbage.
_UNPACKED: Final = 500
#: So many are given out as they are packed, at least.
_WORTH_IT: Final = 2000
#: Behind every place.
END: Final[FoldKey] = (INT64_MAX, INT64_MAX, INT64_MAX)

#: The fields of a deal that are amounts of money.
MONEY: Final = ("commission", "fee", "swap", "profit")
#: What a later record may add to an earlier one.
COMPLETABLE: Final = ("position_id", "magic", *MONEY)

_KIND: Final = Posting._fields.index("kind")
DEAL: Final = Posting._fields.index("deal")
_VERSION: Final = Posting._fields.index("version")
_DEAL_TYPE: Final = Posting._fields.index("deal_type")
_version: Final = itemgetter(_VERSION)
_time: Final = itemgetter(0)
_COMPLETABLE_AT: Final = tuple(Posting._fields.index(name) for name in COMPLETABLE)


#: Writes JSON values as the text that is stored: one spelling for the same.
dump_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
# For what comes again and again, as volumes and commissions do. Typed: what was given as a float may be dirty where an equal
# decimal is not.
_often: Final = lru_cache(maxsize=4096, typed=True)(scaled)


def deal_posting(deal: Deal, terms: AccountTerms, version: int) -> Row:
    """Return the posting of a fill or a cash movement: its numbers as scaled integers.

    Raises:
        InexactNumber: A number does not fit the scales of the account or symbol.
    """
    price_scale, volume_scale = terms.scales(deal.symbol or "")
    money_scale, digits = terms.opened.money_scale, terms.opened.currency_digits
    volume = None if deal.volume is None else _often(deal.volume, volume_scale, "volume")
    is_fill = isinstance(deal, FillRecorded)
    if is_fill and not volume:
        raise InexactNumber(f"deal {deal.deal}: volume {deal.volume} is nothing with {volume_scale} decimals")
    entry, commission, fee, swap, profit = deal.entry, deal.commission, deal.fee, deal.swap, deal.profit
    return (
        deal.time_msc,
        deal.deal,
        version,
        type(deal).__name__,
        deal.side.code if isinstance(deal, FillRecorded) else deal.type,
        None if entry is None else int(entry),
        deal.position_id,
        deal.order,
        deal.symbol,
        volume,
        None if deal.price is None else scaled(deal.price, price_scale, "price"),
        None if commission is None else _often(commission, money_scale, "commission", digits),
        None if fee is None else _often(fee, money_scale, "fee", digits),
        None if swap is None else _often(swap, money_scale, "swap", digits),
        None if profit is None else scaled(profit, money_scale, "profit", digits),
        signed_magic(deal.magic),
        None if is_fill and deal.external_id is None else _rest(deal),
        DEAL_SCHEMA,
    )


def _rest(deal: Deal) -> str | None:
    """Return what few deals have beside their columns, as JSON text."""
    extra = {"external_id": deal.external_id} if deal.external_id else {}
    if isinstance(deal, CashMoved) and deal.word is not None:
        extra["word"] = deal.word
    return dump_json(extra) if extra else None


def apply_completion(known: Row, completion: Row) -> Row:
    """Return a posting with what a completion adds filled in; what was known stays."""
    row = list(known)
    for at in _COMPLETABLE_AT:
        if row[at] is None:
            row[at] = completion[at]
    return tuple(row)


def merge_records(records: Iterable[Row]) -> Row:
    """Return what all records of one deal, oldest first, come to: one posting of a fill or a cash movement."""
    current: Row | None = None
    for row in records:
        if row[_KIND] == "DealRevised":
            current = (*row[:_KIND], "FillRecorded" if row[_DEAL_TYPE] in TRADES else "CashMoved", *row[_KIND + 1 :])
        elif row[_KIND] == "DealCompleted":
            assert current is not None, "a completion follows what it completes"
            current = apply_completion(current, row)
        else:
            current = row
    assert current is not None
    return current


@frozen(kw_only=True)
class Selection:
    """Which events of an account a replay folds: the first ``version`` ones, and of those up to ``time_msc``.

    ``time_msc`` is broker server time, inclusive; None does not limit it. Where it is the last of an hour that the server's
    clock showed twice, ``until_utc_msc`` decides which of the events in that hour: those that happened not later.
    """

    version: int
    time_msc: int | None = None
    until_utc_msc: int | None = None


class Witness(Protocol):
    """Sees what postings are made of where that is more than one record, for a reader who explains them."""

    def merged(self, records: Sequence[Row]) -> None:
        """Note the records, oldest first, that one deal is posted from, where these are not just its first."""
        ...

    def replaced(self, place: FoldKey, record: Row, by: int) -> None:
        """Note a record that is not posted, because the revision with a version took its place."""
        ...


class Order(Protocol):
    """How the postings of an account are ordered beyond their places (``ledger.fold_order``)."""

    @property
    def records(self) -> Any:
        """What the journal knows of single events (``fold_order.Records``)."""
        ...

    def spans(self, first_msc: int, last_msc: int) -> Sequence[tuple[int, int]]:
        """Return the spans of broker time that have to be sorted again, between two moments, ascending."""
        ...

    def needs_seconds(self, times: Iterable[int]) -> bool:
        """Return whether each second of some broker times has to be sorted again."""
        ...

    def needs_second(self, row: Row) -> bool:
        """Return whether the second of a posting that has its own place has to be sorted again."""
        ...

    def arrange(self, rows: list[tuple[FoldKey, Row]], span: tuple[int, int]) -> Sequence[Row]:
        """Return the postings of a span in their order, without those that the selection leaves out."""
        ...


def second_of(time_msc: int) -> int:
    """Return the whole second of a broker time, in milliseconds."""
    return time_msc - time_msc % SECOND_MSC


def _end_of(time_msc: int) -> int:
    """Return the last millisecond of the second of a broker time."""
    return second_of(time_msc) + SECOND_MSC - 1


def place_of(row: Row) -> FoldKey:
    """Return the place of a posting that has no other than its time and deal give it."""
    time_msc, deal, version = row[0], row[DEAL], row[_VERSION]
    return time_msc - time_msc % SECOND_MSC, deal, version if deal == NO_DEAL else 0


class PackedRows(Sequence[Row]):
    """Rows of which the place and the version of each are found without making it."""

    __slots__ = ()

    @abstractmethod
    def place(self, at: int) -> FoldKey:
        """Return the place of a row."""

    @abstractmethod
    def version(self, at: int) -> int:
        """Return the version of a row."""


def blocks_until(blocks: Iterable[Sequence[Row]], time_msc: int) -> Iterator[Sequence[Row]]:
    """Yield postings that arrived in order, some at a time, up to a broker time inclusive."""
    for block in blocks:
        last_msc, second_msc = second_of(block[-1][0]), second_of(time_msc)
        if last_msc < second_msc:
            yield block
            continue
        begin, end = 0, len(block)
        if isinstance(block, PackedRows):  # which need not all be made into rows
            places = ((msc, -1, 0) for msc in (second_msc, second_msc + SECOND_MSC))
            begin, end = (bisect_left(range(end), place, key=block.place) for place in places)
        yield block[:begin]
        yield [row for row in block[begin:end] if row[0] <= time_msc]
        if last_msc > time_msc:
            return


class Postings:
    """An account's postings in the fold order, each deal once: its two streams merged.

    Nearly all postings arrived in order, so that whole runs of the driver's tuples are passed on as they come; only around
    what has to be put in its place are single rows looked at.

    Args:
        plain: Postings that arrived in fold order and record nothing again; ascending, some at a time.
        placed: FoldKey and posting of all others; ascending by the second of their place.
        order: What has to be sorted again.
        replaced: version whose place a revision took -> version of that revision, the next of the deal. A revised deal may have
            moved in time, so that its records are not side by side.
        begin: What was read before, where this goes on.
        place: Where that ended.
    """

    def __init__(
        self,
        plain: Iterable[Sequence[Row]],
        placed: Iterable[tuple[FoldKey, Row]] = (),
        *,
        order: Order,
        replaced: Mapping[int, int] = MappingProxyType({}),
        begin: Reading | None = None,
        place: FoldKey = (-1, 0, 0),
    ) -> None:
        self._events, self._newest, self._newest_plain, self._latest_msc = begin or (0, 0, 0, -1)
        self.place = place
        self.order = order
        self.witness: Witness | None = None
        self._plain, self._placed = iter(plain), iter(placed)
        self._left: Sequence[Row] = []  # of the plain ones that were read, behind the block
        self._block: Sequence[Row] = []  # of the plain ones, given out up to ``_at``
        self._at = 0
        self._is_packed_wanted = False
        self._spans: Sequence[tuple[int, int]] = ()  # to be sorted again, within the block
        self._by_second = False  # whether the block has to be sorted again second by second
        self._ahead = next(self._placed, None)
        self._late: list[tuple[FoldKey, Row]] = []  # the placed ones of the next second that has any, last first
        self._late_msc = -1
        self._late_span = False  # whether that second has to be sorted again
        self._fetch_late()
        self._replaced = replaced
        self._replaced_ahead = sorted(replaced, reverse=True)

    def __iter__(self) -> Iterator[Row]:
        """Give out all that is left."""
        while rows := self.take(_BLOCK):
            yield from rows

    @property
    def reading(self) -> Reading:
        """What was read for the postings that were given out so far."""
        return Reading(self._events, self._newest, self._newest_plain, self._latest_msc)

    def take(self, count: int, upto: FoldKey = END) -> list[Row]:
        """Return the next so many postings: fewer only at the end, more where some have to stay together.

        Args:
            count: How many.
            upto: The last place to give out.
        """
        rows: list[Row] = []
        while len(rows) < count and not (rows and self._is_packed_wanted and self._packed_ahead()):
            first = self._first()
            if first is None or first > upto:
                break
            rows += self._run(count - len(rows), upto) or self._next(first)
        return rows

    def take_packed(self, most: int) -> PackedRows | None:
        """Return the next postings as they are packed, if none has to be put between a good number of them, else nothing.

        Who asks once has to ask before each ``take``, which ends where packed postings begin from then on.
        """
        self._is_packed_wanted = True
        block = self._packed_ahead()
        if block is None or self.order.needs_seconds((1,)):  # where milliseconds count, seconds are sorted one by one
            return None
        end = min(most, len(block))
        bounds: list[FoldKey] = [(begin, -1, 0) for begin, _ in self.order.spans(block.place(0)[0], _end_of(block[end - 1][0]))]
        if self._late:
            bounds.append((self._late_msc, -1, 0) if self._late_span else self._late[-1][0])
        end = bisect_left(range(end), min(bounds), key=block.place) if bounds else end
        if replaced := self._replaced_from(block.version(0)):
            end = bisect_left(range(end), replaced, key=block.version)
        if end < _WORTH_IT:
            return None
        run, self._left = block[:end], block[end:]
        self._note(run)
        assert isinstance(run, PackedRows)
        return run

    def take_second(self) -> Iterator[list[Row]]:
        """Give out what is left of the second that was begun, and end behind whatever may be recorded in it later.

        Only there does reading from the start end too, whatever else is known then: a second may have to be read in one go.
        """
        if self.place[0] < 0:
            return
        end = (self.place[0], NO_DEAL, INT64_MAX)
        while rows := self.take(_BLOCK, end):
            yield rows
        self.place = end

    def _first(self) -> FoldKey | None:
        """Return the place of what comes next, None at the end."""
        left = place_of(self._block[self._at]) if self._is_ahead() else None
        right = self._late[-1][0] if self._late else None
        return min((one for one in (left, right) if one is not None), default=None)

    # ---- reading ahead

    def _is_ahead(self) -> bool:
        """Read ahead, and return whether there are plain postings left."""
        if self._at == len(self._block):
            block = self._read_on()
            is_packed = isinstance(block, PackedRows)
            self._block, self._left = (list(block[:_UNPACKED]), block[_UNPACKED:]) if is_packed else (block, [])
            self._at = 0
            if self._block:
                first_msc, last_msc = second_of(self._block[0][0]), self._block[-1][0] + SECOND_MSC
                self._spans = self.order.spans(first_msc, last_msc)
                self._by_second = self.order.needs_seconds(map(_time, self._block))
        return self._at < len(self._block)

    def _read_on(self) -> Sequence[Row]:
        """Return the plain postings behind the block, as far as they are read: none only at the end."""
        if not self._left:
            self._left = next(filter(None, self._plain), [])
        return self._left

    def _packed_ahead(self) -> PackedRows | None:
        """Return what comes behind the block if that is at its end and the next postings are packed."""
        block = self._read_on() if self._at == len(self._block) else None
        return block if isinstance(block, PackedRows) else None

    def _fetch_late(self) -> None:
        """Read ahead all placed postings of the next second that has any."""
        late: list[tuple[FoldKey, Row]] = []
        if self._ahead is not None:
            self._late_msc = self._ahead[0][0]
        while self._ahead is not None and self._ahead[0][0] == self._late_msc:
            late.append(self._ahead)
            self._ahead = next(self._placed, None)
        self._late = late if len(late) < 2 else sorted(late, key=_place_and_version, reverse=True)
        self._late_span = self.order.needs_seconds(one[1][0] for one in late) or any(
            self.order.needs_second(row) for _, row in late
        )

    def _pop_late(self) -> tuple[FoldKey, Row]:
        found = self._late.pop()
        if not self._late:
            self._fetch_late()
        return found

    # ---- giving out

    def _run(self, most: int, upto: FoldKey) -> Sequence[Row]:
        """Return the plain postings that come next: up to what has to be put in its place or in order, or was replaced."""
        block, begin = self._block, self._at
        if begin == len(block) or self._by_second:
            return []
        end = min(begin + most, len(block))
        if upto < END:
            end = bisect_right(block, upto, begin, end, key=place_of)
        if self._late:
            bound = (self._late_msc, -1, 0) if self._late_span else self._late[-1][0]
            end = _before(block, bound, begin, end)
        for span_begin, span_end in self._spans:
            if span_end > block[begin][0]:
                end = _before(block, (span_begin, -1, 0), begin, end)
                break
        if end > begin and (replaced := self._replaced_from(block[begin][_VERSION])):
            end = bisect_left(block, replaced, begin, end, key=_version)
        if end == begin:
            return []
        self._at = end
        run = block[begin:end]
        self._note(run)
        return run

    def _replaced_from(self, version: int) -> int | None:
        """Return the first replaced record from a version on, None without any."""
        while self._replaced_ahead and self._replaced_ahead[-1] < version:
            self._replaced_ahead.pop()
        return self._replaced_ahead[-1] if self._replaced_ahead else None

    def _note(self, run: Sequence[Row]) -> None:
        """Note that a run of plain postings is given out."""
        last = run[-1]
        self._events += len(run)
        self._newest_plain = last[_VERSION]
        self._newest = max(self._newest, self._newest_plain)
        self._latest_msc = max(self._latest_msc, _end_of(last[0]))
        self.place = place_of(last)

    def _next(self, first: FoldKey) -> Sequence[Row]:
        """Return the postings of the next place, or of a span that has to be sorted again; none if they were replaced."""
        span = self._span(first[0])
        if span is None:
            return [row for _, row in self._gather(first)]
        begin, end = span
        found = self._gather((end - SECOND_MSC, NO_DEAL, INT64_MAX))
        rows = self.order.arrange(found, span)
        self._events -= len(found) - len(rows)
        self._latest_msc = max(self._latest_msc, end if end - begin > SECOND_MSC else end - 1)
        return rows

    def _span(self, time_msc: int) -> tuple[int, int] | None:
        """Return the span that has to be sorted again and that holds a second."""
        spans = [*self._spans, *self.order.spans(time_msc, time_msc)]
        found = next(((begin, end) for begin, end in spans if begin <= time_msc < end), None)
        if found is None and (self._by_second or (self._late_span and self._late_msc == time_msc)):
            found = time_msc, time_msc + SECOND_MSC
        return found

    def _gather(self, last: FoldKey) -> list[tuple[FoldKey, Row]]:
        """Take what comes up to a place off both streams, all records of a deal as one; those that were replaced left out."""
        found: list[tuple[FoldKey, Row]] = []
        while self._is_ahead() and (place := place_of(row := self._block[self._at])) <= last:
            self._newest_plain = row[_VERSION]
            self._at += 1
            found.append((place, row))
        while self._late and self._late[-1][0] <= last:
            found.append(self._pop_late())
        if len(found) == 1 and not self._replaced:
            place, row = found[0]
            self._events += 1
            self._newest = max(self._newest, row[_VERSION])
            self._latest_msc = max(self._latest_msc, _end_of(row[0]))
            self.place = last
            return found
        records: dict[FoldKey, list[Row]] = {}
        if len(found) > 1:
            found.sort(key=_place_and_version)
        for place, row in found:
            version = row[_VERSION]
            self._events += 1
            self._newest = max(self._newest, version, self._replaced.get(version, 0))
            self._latest_msc = max(self._latest_msc, _end_of(row[0]))
            if version not in self._replaced:
                records.setdefault(place, []).append(row)
            elif self.witness is not None:
                self.witness.replaced(place, row, self._replaced[version])
        self.place = last
        if self.witness is not None:
            for rows in records.values():
                if len(rows) > 1 or rows[0][_KIND] == "DealRevised":
                    self.witness.merged(rows)
        return [(place, _merged(rows)) for place, rows in records.items()]


class VersionedPostings:
    """An account's postings as they were recorded, ascending by version: for a fold to which their order in time means nothing.

    Every record of a deal comes as it is. Read as ``Postings`` are; the place of one is before all places of the fold order, as
    nothing that is recorded later changes what was read.

    Args:
        blocks: Postings, some at a time.
        clock: What the server's wall clock means.
        begin: What was read before, where this goes on.
    """

    def __init__(self, blocks: Iterable[list[Row]], *, clock: ClockRule, begin: Reading | None = None) -> None:
        self.reading = begin or Reading(0, 0, 0)
        self._clock = clock
        self._blocks = iter(blocks)
        self._block: list[Row] = []
        self._at = 0

    def __iter__(self) -> Iterator[Row]:
        """Give out all that is left."""
        while rows := self.take(_BLOCK):
            yield from rows

    @property
    def place(self) -> FoldKey:
        """Where what was given out ends."""
        return -1, 0, self.reading.newest

    def take(self, count: int, upto: FoldKey = END) -> list[Row]:
        """Return the next so many postings, fewer only at the end. ``upto`` is the last place to give out."""
        rows: list[Row] = []
        while len(rows) < count and self._is_ahead():
            row = self._block[self._at]
            if (-1, 0, row[_VERSION]) > upto:
                break
            rows.append(row)
            self._at += 1
        if rows:
            events, _, _, latest_msc = self.reading
            newest = rows[-1][_VERSION]
            self.reading = Reading(events + len(rows), newest, newest, max(latest_msc, self._latest_of(rows)))
        return rows

    def take_second(self) -> Iterator[list[Row]]:
        """Give out nothing: reading may end behind any of them."""
        yield from ()

    def _latest_of(self, rows: list[Row]) -> int:
        """Return what bounds the broker times: in an hour that was shown twice its end, as it may have been the second time."""
        latest_msc = max(map(_time, rows))
        hour = self._clock.repeated_hour(latest_msc)
        return hour[1] if hour else latest_msc

    def _is_ahead(self) -> bool:
        if self._at == len(self._block):
            self._block, self._at = next(filter(None, self._blocks), []), 0
        return self._at < len(self._block)


def _merged(rows: list[Row]) -> Row:
    return merge_records(rows) if len(rows) > 1 or rows[0][_KIND] == "DealRevised" else rows[0]


def _before(block: Sequence[Row], bound: FoldKey, begin: int, end: int) -> int:
    """Return how far the rows of a block from one index to another come before a place.

    Rows ascend by whole second and deal, not by millisecond: so the second is found by the time, and the rest one by one.
    """
    at = bisect_left(block, (bound[0],), begin, end)
    while at < end and place_of(block[at]) < bound:
        at += 1
    return at


def _place_and_version(one: tuple[FoldKey, Row]) -> tuple[FoldKey, int]:
    return one[0], one[1][_VERSION]
