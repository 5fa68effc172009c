"""The posting: one event as the fold reads it, a plain tuple of integers and texts, and the order postings are folded in.

Reading and folding is the hot path of everything, so the fold eats tuples as they come out of the database instead of
event objects. Volumes, prices and money are integers scaled as the account and the symbol say.

A deal may have been told more than once: first by an engine that knew little, then completed, then revised by the
broker. The fold must see it once, with what is known of it in the selection that is being folded. ``settled`` does that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
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

_BLOCK: Final = 4096

#: What a later telling may add to an earlier one.
COMPLETABLE: Final = ("position_id", "magic", "commission", "fee", "swap", "profit")

_KIND: Final = Posting._fields.index("kind")
_DEAL: Final = Posting._fields.index("deal")
_VERSION: Final = Posting._fields.index("version")
_DEAL_TYPE: Final = Posting._fields.index("deal_type")
_version: Final = itemgetter(_VERSION)
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

    Nearly all postings arrived in order, so that whole runs of the driver's tuples are passed on as they come; only around
    what has to be put in its place are single rows looked at.

    Args:
        plain: Postings that arrived in fold order and tell nothing again; ascending, some at a time.
        placed: Postings that arrived late, and all that complete or revise a known deal; ascending in fold order.
        replaced: version whose place a revision took -> version of that revision. A revised deal may have moved in time, so
            that its tellings do not stand side by side.
        begin: What was read before, where this goes on.
    """

    def __init__(
        self,
        plain: Iterable[list[Row]],
        placed: Iterable[Row] = (),
        replaced: Mapping[int, int] = MappingProxyType({}),
        begin: Reading | None = None,
    ) -> None:
        self._events, self._newest, self._newest_plain = begin or (0, 0, 0)
        self._plain, self._placed = iter(plain), iter(placed)
        self._block: list[Row] = []  # of the plain ones, given out up to ``_at``
        self._at = 0
        self._right = next(self._placed, None)
        self._replaced = replaced
        self._replaced_ahead = sorted(replaced, reverse=True)

    def __iter__(self) -> Iterator[Row]:
        """Give out all that is left."""
        while rows := self.take(_BLOCK):
            yield from rows

    @property
    def reading(self) -> Reading:
        """What was read for the postings that were given out so far."""
        return Reading(self._events, self._newest, self._newest_plain)

    def take(self, count: int) -> list[Row]:
        """Return the next so many postings, fewer only at the end."""
        rows: list[Row] = []
        while len(rows) < count and (self._is_ahead() or self._right is not None):
            rows += self._run(count - len(rows)) or self._told()
        return rows

    def _is_ahead(self) -> bool:
        """Read ahead, and return whether there are plain postings left."""
        if self._at == len(self._block):
            self._block, self._at = next(filter(None, self._plain), []), 0
        return self._at < len(self._block)

    def _run(self, most: int) -> list[Row]:
        """Return the plain postings that come next: up to what has to be put in its place, or was replaced."""
        block, begin = self._block, self._at
        end = min(begin + most, len(block))
        if self._right is not None:
            end = bisect_left(block, self._right, begin, end)
        if end > begin and self._replaced_ahead:
            while self._replaced_ahead and self._replaced_ahead[-1] < block[begin][_VERSION]:
                self._replaced_ahead.pop()
            if self._replaced_ahead:
                end = bisect_left(block, self._replaced_ahead[-1], begin, end, key=_version)
        if end > begin and _is_of(block[end - 1], self._right):
            end -= 1
        if end == begin:
            return []
        self._events += end - begin
        self._newest_plain = block[end - 1][_VERSION]
        self._newest = max(self._newest, self._newest_plain)
        self._at = end
        return block[begin:end]

    def _told(self) -> list[Row]:
        """Return the posting that all tellings make which come next for one place; none if they were replaced."""
        tellings: list[Row] = []
        while True:
            left = self._block[self._at] if self._is_ahead() else None
            if self._right is None or (left is not None and left < self._right):
                assert left is not None, "there is something left"
                row, self._newest_plain = left, left[_VERSION]
                self._at += 1
                left = self._block[self._at] if self._is_ahead() else None
            else:
                row, self._right = self._right, next(self._placed, None)
            version = row[_VERSION]
            self._events += 1
            self._newest = max(self._newest, version, self._replaced.get(version, 0))
            if version not in self._replaced:
                tellings.append(row)
            if row[_DEAL] == NO_DEAL or not (_is_of(row, self._right) or _is_of(row, left)):
                break
        if len(tellings) > 1 or (tellings and tellings[0][_KIND] == "DealRevised"):
            return [as_told(tellings)]
        return tellings


def is_behind(row: Row, place: Place) -> bool:
    """Return whether a posting belongs behind a place. All tellings of a deal stand at the place of the deal."""
    if row[_DEAL] == NO_DEAL:
        return row[:3] > place
    return row[:2] > place[:2]


def _is_of(row: Row, other: Row | None) -> bool:
    """Return whether another row tells the same deal at the same place."""
    return other is not None and other[_DEAL] == row[_DEAL] and other[0] == row[0]
