"""A trace: what each event of a selection did to the money of an account and to some of its positions, in the fold order.

The fold itself applies every posting; this looks at what it holds before and after. So what the effects add up to is what the
portfolio shows, by whatever rule. A deal that was recorded more than once has a part for each of its records, and a record
that a later revision replaced has an effect of nothing, with the version of that revision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Final, NamedTuple

from ledger.codec import decode_posting
from ledger.events import CashMoved, FillRecorded
from ledger.portfolio import Portfolio
from ledger.positions import OpenPosition
from ledger.postings import DEAL, MONEY, NO_DEAL, FoldKey, Posting, Row, Selection, apply_completion, place_of
from ledger.service import Account
from ledger.terms import AccountTerms
from ledger.values import CREDIT, EXACT

_CHUNK: Final = 500
_KIND: Final = Posting._fields.index("kind")
_POSITION: Final = Posting._fields.index("position_id")
_SYMBOL: Final = Posting._fields.index("symbol")
_FILL: Final = FillRecorded.__name__
_NOTHING: Final = Decimal(0)
#: Volume and money of one trip of a position: signed lots that are open, then commission, fee, swap and profit.
Amounts = tuple[Decimal, Decimal, Decimal, Decimal, Decimal]
_NONE: Final[Amounts] = (_NOTHING,) * 5


class Trip:
    """One round trip of a position: from its opening to flat, or closes of which no opening is known.

    Attributes:
        number: Counts the trips of a trace from 1 on, in the order in which they began.
        position: What the fold holds of it.
        amounts: What it came to so far.
        is_closed: Whether it went flat by deals.
    """

    def __init__(self, number: int, position: OpenPosition) -> None:
        self.number = number
        self.position = position
        self.amounts = _NONE
        self.marks: tuple[object, ...] = ()  # what changes where a posting is about it and moves no amount
        self.is_closed = False
        self.is_joined = False

    @property
    def is_loose(self) -> bool:
        """Whether only closes of it are known, and no opening so far."""
        return not self.position.is_opening_known and not self.is_joined


def difference(after: Amounts, before: Amounts) -> Amounts:
    """Return what was added between two amounts, figure by figure, exactly."""
    with localcontext(EXACT):
        volume, commission, fee, swap, profit = (new - old for new, old in zip(after, before, strict=True))
    return volume, commission, fee, swap, profit


def _negative(amount: Decimal) -> Decimal:
    return EXACT.minus(amount)


class Part(NamedTuple):
    """One record of a posting, and the money that became known by it, in scaled integers: commission, fee, swap, profit.

    ``by`` is the version of the revision that replaced it, None where it counts.
    """

    row: Row
    money: tuple[int, int, int, int]
    by: int | None = None


class Effect(NamedTuple):
    """What one posting did: in scaled integers to balance and credit, and to trips of the positions that are traced.

    ``trips`` names those that changed, or that the posting is about. ``joined`` are trips of closes whose opening this posting
    is: they go on as the first of ``trips``.
    """

    posting: Posting
    parts: Sequence[Part]
    balance: int
    credit: int
    trips: Sequence[tuple[Trip, Amounts]] = ()
    joined: Sequence[Trip] = ()

    @property
    def money(self) -> tuple[int, int, int, int]:
        """Commission, fee, swap and profit of a deal; 0 for what is not known."""
        return tuple(getattr(self.posting, name) or 0 for name in MONEY)  # type: ignore[return-value]

    @property
    def unknown(self) -> list[str]:
        """Which money of a deal is not known yet."""
        is_fill = self.posting.kind == _FILL
        return [name for name in MONEY if getattr(self.posting, name) is None] if is_fill else []


class Trace:
    """The effects of a selection of events, to be read once. ``portfolio`` and ``trips`` are what was read so far.

    Args:
        account: Whose.
        selection: Which events.
        terms: The account terms for them (``Account.selection``).
        position_ids: The positions whose trips are looked at.
        is_about_money: Whether fills of other positions are given out too.
    """

    def __init__(
        self,
        account: Account,
        selection: Selection,
        terms: AccountTerms,
        *,
        position_ids: Collection[int] = (),
        is_about_money: bool = True,
    ) -> None:
        self.portfolio = Portfolio(terms)
        self.trips: list[Trip] = []
        self._wanted = frozenset(position_ids)
        self._deals: set[int] = set()  # of those positions
        self._is_about_money = is_about_money
        self._nets = terms.opened.mode.nets
        self._symbols: set[str] = set()  # of what is looked at
        self._trip_of: dict[int, Trip] = {}
        self._closed: list[OpenPosition] = []
        self._records = _Records()
        self._postings = account.ledger.journal.postings(account.name, selection, terms)
        self._postings.witness = self._records

    def __iter__(self) -> Iterator[Effect]:
        """Give out all effects."""
        while rows := self._postings.take(_CHUNK):
            run: list[Row] = []
            for row in rows:
                if row[_KIND] == _FILL and not self._may_touch(row):
                    run.append(row)
                    continue
                yield from self._folded(run)
                run = []
                yield from self._stepped(row)
            yield from self._folded(run)
        yield from self._replaced(None)

    def _may_touch(self, row: Row) -> bool:
        """Return whether a fill may do something to what is looked at."""
        position_id = row[_POSITION]
        is_about = position_id is None or position_id in self._wanted
        return bool(self._wanted) and (is_about or (self._nets and row[_SYMBOL] in self._symbols))

    def _folded(self, run: list[Row]) -> Iterator[Effect]:
        """Fold fills that do nothing to what is looked at."""
        self.portfolio.fold(run, decode_posting)
        if not self._is_about_money:
            for row in run:
                self._records.taken(row)
            return
        for row in run:
            yield from self._replaced(place_of(row))
            posting = Posting._make(row[: len(Posting._fields)])
            money = (posting.commission or 0) + (posting.fee or 0) + (posting.swap or 0) + (posting.profit or 0)
            yield Effect(posting, self._records.taken(row), money, 0)

    def _stepped(self, row: Row) -> Iterator[Effect]:
        """Fold one posting and look at what it did."""
        yield from self._replaced(place_of(row))
        balance, credit = self.portfolio.money_units
        self.portfolio.fold((row,), decode_posting, self._closed.append)
        after, credit_after = self.portfolio.money_units
        posting = Posting._make(row[: len(Posting._fields)])
        changed, joined = self._look() if self._wanted else ([], [])
        self._closed.clear()
        if changed and posting.deal != NO_DEAL:
            self._deals.add(posting.deal)
        yield Effect(posting, self._records.taken(row), after - balance, credit_after - credit, changed, joined)

    def _look(self) -> tuple[list[tuple[Trip, Amounts]], list[Trip]]:
        """Return the trips that are otherwise than before, by how much, and those that another one goes on from."""
        holdings = self.portfolio.holdings
        present = {id(one): one for key in self._wanted for one in holdings.trips_of(key)}
        present |= {id(one): one for one in holdings.unnamed()}
        present |= {id(one): one for one in self._closed if one.position_id in self._wanted or id(one) in self._trip_of}
        changed: list[tuple[Trip, Amounts]] = []
        for key, position in present.items():
            trip = self._trip_of.get(key)
            if trip is None:
                trip = self._trip_of[key] = Trip(len(self._trip_of) + 1, position)
                self.trips.append(trip)
            self._symbols.add(position.symbol)
            now = self._amounts(position)
            marks = position.volume, position.volume_out, position.volume_unexplained, position.is_money_known
            if (now, marks) != (trip.amounts, trip.marks):
                changed.append((trip, difference(now, trip.amounts)))
            trip.amounts, trip.marks = now, marks
        for position in self._closed:
            if id(position) in self._trip_of:
                self._trip_of[id(position)].is_closed = True
        return changed, self._without_joined(present, changed)

    def _without_joined(self, present: Mapping[int, OpenPosition], changed: list[tuple[Trip, Amounts]]) -> list[Trip]:
        """Return the closes of which the opening was just folded: they go on as the trip that it began."""
        joined = [trip for trip in self.trips if trip.is_loose and id(trip.position) not in present]
        for trip in joined:
            commission, fee, swap, profit = (_negative(one) for one in trip.amounts[1:])
            changed.append((trip, (_NOTHING, commission, fee, swap, profit)))
            trip.amounts, trip.is_joined = _NONE, True
        return joined + [trip for trip, by in changed if trip.is_loose and not any(trip.amounts) and any(by)]

    def _amounts(self, position: OpenPosition) -> Amounts:
        terms, is_open = self.portfolio.terms, self.portfolio.holdings.open.get(position.position_id or 0) is position
        volume = terms.volume(position.symbol, position.volume) if is_open else _NOTHING
        money = (terms.money(getattr(position, name)) for name in MONEY)
        commission, fee, swap, profit = money
        return -volume if position.side else volume, commission, fee, swap, profit

    def _replaced(self, before: FoldKey | None) -> Iterator[Effect]:
        """Give out records that were replaced, up to a place."""
        for row, by in self._records.replaced_before(before):
            posting = Posting._make(row[: len(Posting._fields)])
            is_about = posting.position_id in self._wanted or posting.deal in self._deals
            if self._is_about_money or is_about:
                yield Effect(posting, [Part(row, (0, 0, 0, 0), by)], 0, 0)


class _Records:
    """Remembers what postings are made of until they are given out."""

    def __init__(self) -> None:
        self._merged: dict[int, Sequence[Row]] = {}
        self._left: list[tuple[FoldKey, Row, int]] = []

    def merged(self, records: Sequence[Row]) -> None:
        self._merged[records[0][DEAL]] = list(records)

    def replaced(self, place: FoldKey, record: Row, by: int) -> None:
        self._left.append((place, record, by))

    def replaced_before(self, place: FoldKey | None) -> Iterator[tuple[Row, int]]:
        if not self._left:
            return
        ready = [one for one in self._left if place is None or one[0] <= place]
        self._left = [one for one in self._left if place is not None and one[0] > place]
        for _, row, by in ready:
            yield row, by

    def taken(self, row: Row) -> list[Part]:
        """Return the parts of a posting."""
        records = self._merged.pop(row[DEAL], None)
        if records is None:
            return [Part(row, _known(row))]
        parts: list[Part] = []
        current: Row | None = None
        for record in records:
            if record[_KIND] == "DealCompleted" and current is not None:
                merged = apply_completion(current, record)
                gained = tuple(new - old for new, old in zip(_known(merged), _known(current), strict=True))
                parts.append(Part(record, gained))  # type: ignore[arg-type]
                current = merged
                continue
            parts = [Part(one.row, (0, 0, 0, 0), record[2]) for one in parts]
            parts.append(Part(record, _known(record)))
            current = record
        return parts


def _known(row: Row) -> tuple[int, int, int, int]:
    posting = Posting._make(row[: len(Posting._fields)])
    return posting.commission or 0, posting.fee or 0, posting.swap or 0, posting.profit or 0


def moved_by(part: Part, posting: Posting) -> tuple[int, int]:
    """Return what a record of a deal moved of the balance and of the credit, in scaled integers."""
    commission, fee, swap, profit = part.money
    if posting.kind == CashMoved.__name__ and posting.deal_type == CREDIT:
        return commission + fee + swap, profit
    return commission + fee + swap + profit, 0
