"""The balance curve: minutes, hours and days with open, low, high and close, so that any span is drawn from few rows.

A node knows the balance before the first booking in it and after the last, and the extremes of all of them. So what is drawn
from nodes has the extremes of a scan: nothing is sampled, and nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from ledger.journal.derived import SPANS, CurveNode, DerivedStore
from ledger.values import AccountId

MINUTE_MSC: Final = 60_000
#: So many nodes of a span make a bucket at most, before the next longer span is drawn from.
_NODES_MAX: Final = {1: 15, 60: 16}
#: From so many bookings on, a short period is drawn from minutes, too.
_BOOKINGS_MAX: Final = 10_000


class CurveBuilder:
    """Makes the nodes of a curve, booking by booking. A node is given out when the next one begins.

    Args:
        at_utc_msc: When the last booking happened, -1 before the first.
        begun: The nodes that are under way.
    """

    def __init__(self, at_utc_msc: int = -1, begun: Iterable[CurveNode] = ()) -> None:
        self.at_utc_msc = at_utc_msc
        self._begun: dict[int, list[int]] = {node.span_min: list(node[1:]) for node in begun}

    def add(self, at_utc_msc: int, before: int, after: int) -> list[CurveNode]:
        """Count a booking that changed the balance, and return the nodes that are over. Times never fall."""
        minute = at_utc_msc // MINUTE_MSC
        self.at_utc_msc = at_utc_msc
        over: list[CurveNode] = []
        for span in SPANS:
            begin = minute - minute % span
            node = self._begun.get(span)
            if node is None or node[0] != begin:
                if node is not None:
                    over.append(CurveNode(span, *node))
                low, high = (before, after) if before <= after else (after, before)
                self._begun[span] = [begin, before, low, high, after, 1]
                continue
            if after < node[2]:
                node[2] = after
            elif after > node[3]:
                node[3] = after
            node[4] = after
            node[5] += 1
        return over

    def begun(self) -> list[CurveNode]:
        """Return the nodes that are under way, as far as they are known."""
        return [CurveNode(span, *node) for span, node in self._begun.items()]

    def begins(self) -> dict[int, int]:
        """Return span -> where the node under way begins, where it does in all spans: before all time without any."""
        return {span: self._begun[span][0] if span in self._begun else -(2**62) for span in SPANS}

    def state(self) -> dict[str, Any]:
        """Return everything that it goes on from, as JSON values."""
        return {"at_utc_msc": self.at_utc_msc, "begun": [list(node) for node in self.begun()]}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> CurveBuilder:
        """Return the builder of a ``state``.

        Raises:
            KeyError: It is not such a state; TypeError, ValueError too.
        """
        return cls(state["at_utc_msc"], [CurveNode(*node) for node in state["begun"]])


class Bucket(NamedTuple):
    """The balance in one stretch of a curve, in the account's scaled integers.

    ``open`` is the balance before its first booking, ``close`` that after its last, ``bookings`` how many it has.
    """

    begin_utc_msc: int
    end_utc_msc: int
    open: int
    low: int
    high: int
    close: int
    bookings: int


class Curve(NamedTuple):
    """The balance over a period: what it was at its begin, and the buckets in which it changed, ascending."""

    from_utc_msc: int
    until_utc_msc: int
    width_msc: int
    opening: int
    buckets: list[Bucket]


def read_curve(store: DerivedStore, account: AccountId, from_utc_msc: int, until_utc_msc: int, columns: int) -> Curve:
    """Return the balance over a period, in at most so many buckets of one width, each with its exact extremes.

    The period is extended to whole minutes, hours or days where it is drawn from these; what is returned states it. Buckets
    are aligned to their width, so that the first and the last may reach further than the period; they count only what is in it.

    Args:
        store: Where the tables are.
        account: Whose.
        from_utc_msc: UTC, in milliseconds.
        until_utc_msc: UTC, in milliseconds, exclusive.
        columns: How many buckets, at most; 2 or more.
    """
    least_msc = max(-(-(until_utc_msc - from_utc_msc) // (columns - 1)), 1)  # one is left over: the first is seldom whole
    if least_msc < MINUTE_MSC:
        points = store.curve_bookings(account, from_utc_msc, until_utc_msc, _BOOKINGS_MAX)
        if points is not None:
            opening, width_msc = store.balance_before(account, from_utc_msc), _neat(least_msc)
            return Curve(from_utc_msc, until_utc_msc, width_msc, opening, _of_points(points, opening, width_msc))
    width_min, span = _width(-(-least_msc // MINUTE_MSC))
    from_min, until_min = from_utc_msc // MINUTE_MSC // span * span, -(-until_utc_msc // MINUTE_MSC // span) * span
    from_utc_msc, until_utc_msc = from_min * MINUTE_MSC, until_min * MINUTE_MSC
    opening = store.balance_before(account, from_utc_msc)
    nodes = store.curve_nodes(account, span, from_min, until_min)
    return Curve(from_utc_msc, until_utc_msc, width_min * MINUTE_MSC, opening, _of_nodes(nodes, width_min))


def _neat(width_msc: int) -> int:
    """Return the next width that fills a minute in whole steps."""
    return next(
        one for one in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000) if one >= width_msc
    )


def _width(minutes: int) -> tuple[int, int]:
    """Return how many minutes a bucket has, at least so many, and the span of the nodes that it is made of."""
    for span, longer in zip(SPANS, (*SPANS[1:], None), strict=True):
        count = -(-minutes // span)
        if longer is None or count <= _NODES_MAX[span]:
            return count * span, span
    raise AssertionError("the longest span is never too short")


def _of_nodes(nodes: Iterable[CurveNode], width_min: int) -> list[Bucket]:
    buckets: list[Bucket] = []
    width_msc = width_min * MINUTE_MSC
    at = -1
    opening = low = high = close = count = 0
    for _, begin, node_open, node_low, node_high, node_close, bookings in nodes:
        if begin // width_min != at:
            if count:
                buckets.append(Bucket(at * width_msc, (at + 1) * width_msc, opening, low, high, close, count))
            at, opening, low, high, count = begin // width_min, node_open, node_low, node_high, 0
        low, high = min(low, node_low), max(high, node_high)
        close = node_close
        count += bookings
    if count:
        buckets.append(Bucket(at * width_msc, (at + 1) * width_msc, opening, low, high, close, count))
    return buckets


def _of_points(points: Iterable[tuple[int, int]], balance: int, width_msc: int) -> list[Bucket]:
    buckets: list[Bucket] = []
    at = -1
    opening = low = high = count = 0
    for at_utc_msc, after in points:
        if at_utc_msc // width_msc != at:
            if count:
                buckets.append(Bucket(at * width_msc, (at + 1) * width_msc, opening, low, high, balance, count))
            at, opening, low, high, count = at_utc_msc // width_msc, balance, balance, balance, 0
        if after < low:
            low = after
        elif after > high:
            high = after
        balance = after
        count += 1
    if count:
        buckets.append(Bucket(at * width_msc, (at + 1) * width_msc, opening, low, high, balance, count))
    return buckets
