"""The posting: one event as the fold reads it, a plain tuple of integers and texts, and the order postings are folded in.

Reading and folding is the hot path of everything, so the fold eats tuples as they come out of the database instead of
event objects. Volumes, prices and money are integers scaled as the account and the symbol say.

A deal may have been told more than once: first by an engine that knew little, then completed, then revised by the
broker. The fold must see it once, with what is known of it in the selection that is being folded. ``settled`` does that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple


class Posting(NamedTuple):
    """The columns that the fold reads, in this order; the first three are the fold order.

    Money, price and volume are scaled integers, None where not told. ``deal`` is ``NO_DEAL`` for what is not a fact about
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


#: A posting as a database driver returns it: the same columns without the class. More columns may follow.
Row = tuple[Any, ...]

NO_DEAL: Final = 2**63 - 1

#: A place in the fold order: broker time, deal, version.
Place = tuple[int, int, int]


class Reading(NamedTuple):
    """What postings up to some place rest on.

    ``events`` were read for them, all tellings counted. Knowing more than the first ``newest`` events changed nothing of
    them, and ``newest_plain`` is the last event among them that had arrived in order.
    """

    events: int
    newest: int
    newest_plain: int


#: Where an event stands for replay: it arrived in the fold order; it has to be put in its place (it arrived late, or tells
#: a deal again); or it is no part of the fold (it stands whatever the moment).
IN_ORDER: Final = 0
PLACED: Final = 1
APART: Final = 2

#: What a later telling may add to an earlier one.
COMPLETABLE: Final = ("position_id", "magic", "commission", "fee", "swap", "profit")

_KIND: Final = Posting._fields.index("kind")
_DEAL: Final = Posting._fields.index("deal")
_VERSION: Final = Posting._fields.index("version")
_DEAL_TYPE: Final = Posting._fields.index("deal_type")
_COMPLETABLE_AT: Final = tuple(Posting._fields.index(name) for name in COMPLETABLE)


def completed(known: Row, completion: Row) -> Row:
    """Return a posting with what a completion newly tells filled in; what was known stays."""
    row = list(known)
    for at in _COMPLETABLE_AT:
        if row[at] is None:
            row[at] = completion[at]
    return tuple(row)


def as_told(tellings: Iterable[Row]) -> Row:
    """Return what all tellings of one deal, oldest first, say together: one posting of a fill or a cash movement."""
    current: Row | None = None
    for row in tellings:
        if row[_KIND] == "DealRevised":
            current = (*row[:_KIND], "FillRecorded" if row[_DEAL_TYPE] in (0, 1) else "CashMoved", *row[_KIND + 1 :])
        elif row[_KIND] == "DealCompleted":
            assert current is not None, "a completion follows what it completes"
            current = completed(current, row)
        else:
            current = row
    assert current is not None
    return current


class Postings:
    """An account's postings in the fold order, each deal once: its two streams merged.

    Args:
        plain: Postings that arrived in fold order and tell nothing again; ascending.
        placed: Postings that arrived late, and all that complete or revise a known deal; ascending in fold order.
        replaced: version whose place a revision took -> version of that revision. A revised deal may have moved in time, so
            that its tellings do not stand side by side.
        begin: What was read before, where this goes on.

    Attributes:
        reading: What was read for the postings that were given out so far.
    """

    def __init__(
        self,
        plain: Iterable[Row],
        placed: Iterable[Row] = (),
        replaced: Mapping[int, int] = MappingProxyType({}),
        begin: Reading | None = None,
    ) -> None:
        self.reading = begin or Reading(events=0, newest=0, newest_plain=0)
        # Where nothing has to be put in its place, the driver's tuples are passed on as they come.
        self._is_plain = placed == () and not replaced
        self._rows = iter(plain) if self._is_plain else self._merged(iter(plain), iter(placed), replaced)

    def __iter__(self) -> Iterator[Row]:
        """Give out all that is left; ``reading`` is kept up by ``take`` only."""
        return self._rows

    def take(self, count: int) -> list[Row]:
        """Return the next so many postings, fewer only at the end."""
        rows = list(islice(self._rows, count))
        if self._is_plain and rows:
            last = rows[-1][_VERSION]
            self.reading = Reading(
                events=self.reading.events + len(rows), newest=max(self.reading.newest, last), newest_plain=last
            )
        return rows

    def _merged(self, plain: Iterator[Row], placed: Iterator[Row], replaced: Mapping[int, int]) -> Iterator[Row]:
        events, newest, newest_plain = self.reading
        left, right = next(plain, None), next(placed, None)
        tellings: list[Row] = []
        while left is not None or right is not None:
            if right is None or (left is not None and left < right):
                assert left is not None
                row, left = left, next(plain, None)
                newest_plain = row[_VERSION]
            else:
                row, right = right, next(placed, None)
            events += 1
            newest = max(newest, row[_VERSION], replaced.get(row[_VERSION], 0))
            if row[_VERSION] not in replaced:
                tellings.append(row)
            if row[_DEAL] != NO_DEAL and (_is_of(row, left) or _is_of(row, right)):
                continue
            if tellings:
                self.reading = Reading(events=events, newest=newest, newest_plain=newest_plain)
                yield as_told(tellings) if len(tellings) > 1 or tellings[0][_KIND] == "DealRevised" else tellings[0]
                tellings = []
        self.reading = Reading(events=events, newest=newest, newest_plain=newest_plain)


def is_behind(row: Row, place: Place) -> bool:
    """Return whether a posting belongs behind a place. All tellings of a deal stand at the place of the deal."""
    if row[_DEAL] == NO_DEAL:
        return row[:3] > place
    return row[:2] > place[:2]


def _is_of(row: Row, other: Row | None) -> bool:
    """Return whether another row tells the same deal at the same place."""
    return other is not None and other[_DEAL] == row[_DEAL] and other[0] == row[0]
