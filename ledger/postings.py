"""The posting: one event as the fold reads it, a plain tuple of integers and texts, and the order postings are folded in.

Reading and folding is the hot path of everything, so the fold eats tuples as they come out of the database instead of
event objects. Volumes, prices and money are integers scaled as the account and the symbol say.

A deal may have been told more than once: first by an engine that knew little, then completed, then revised by the
broker. The fold must see it once, with what is known of it in the selection that is being folded. ``settled`` does that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple


class Posting(NamedTuple):
    """The columns that the fold reads, in this order; the first three are the fold order.

    Money, price and volume are scaled integers, None where not told. ``deal`` is ``NO_DEAL`` for what is not a fact about
    a deal: it sorts after all deals of its millisecond. ``data`` is the rest of the event as JSON text.
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


#: A posting as a database driver returns it: the same columns without the class. More columns may follow.
Row = tuple[Any, ...]

NO_DEAL: Final = 2**63 - 1

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

_by_deal = itemgetter(_DEAL)


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


def in_fold_order(plain: Iterable[Row], placed: Iterable[Row], replaced: frozenset[int]) -> Iterator[Row]:
    """Merge an account's two streams into the fold order, each deal once.

    Args:
        plain: Postings that arrived in fold order and tell nothing again; ascending.
        placed: Postings that arrived late, and all that complete or revise a known deal; ascending in fold order.
        replaced: Versions whose place a revision took. A revised deal may have moved in time, so that its tellings do
            not stand side by side.
    """
    rows: Iterator[Row] = merge(plain, placed)
    if replaced:
        rows = (row for row in rows if row[_VERSION] not in replaced)
    for deal, tellings in groupby(rows, key=_by_deal):
        if deal != NO_DEAL:
            told = list(tellings)
            yield as_told(told) if len(told) > 1 or told[0][_KIND] == "DealRevised" else told[0]
        else:
            yield from tellings
