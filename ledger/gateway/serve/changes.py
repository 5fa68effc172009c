"""What changed in a terminal between two looks: rows before and after to events, without a clock, a socket or a terminal.

The package has no events, so the terminal process looks again and again. An event says only that it is time to look: what
happened is read from the broker's deals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import define, field, frozen

Row = Mapping[str, Any]

#: Fields that move with every tick and mean no change of a position, an order or an account.
MARKS: Final = frozenset(
    {"profit", "price_current", "equity", "margin", "margin_free", "margin_level", "assets", "liabilities"}
)
#: How long deals are looked for after something changed: they may reach the terminal later than the position that they made.
DEALS_LATE_MS: Final = 2_000
#: How often deals are read where nothing changed.
DEALS_EVERY_MS: Final = 5_000
#: How far before the newest known deal history is read again, in milliseconds of the server's clock.
DEALS_OVERLAP_MS: Final = 60_000


@frozen
class Change:
    """Something that changed: the kind of its event, and what the event carries."""

    kind: str
    data: Row


def compare_rows(kind: str, before: Sequence[Row], after: Sequence[Row]) -> Iterator[Change]:
    """Yield how lists of positions or of orders differ: what is gone, then what is new or changed, in the order of the lists.

    Args:
        kind: ``position`` or ``order``: kind of the events, and name of the row in them.
        before: Rows of the earlier look, each with a ticket.
        after: Rows of the later one.
    """
    earlier = {row["ticket"]: row for row in before}
    present = {row["ticket"] for row in after}
    for ticket, row in earlier.items():
        if ticket not in present:
            yield Change(kind, {"change": "removed", kind: dict(row)})
    for row in after:
        was = earlier.get(row["ticket"])
        if was is None:
            yield Change(kind, {"change": "added", kind: dict(row)})
        elif differs(was, row):
            yield Change(kind, {"change": "changed", kind: dict(row)})


def compare_account(before: Row, after: Row) -> Iterator[Change]:
    """Yield that an account changed in more than its marks."""
    if differs(before, after):
        yield Change("account", {"account": dict(after)})


def differs(before: Row, after: Row) -> bool:
    """Return whether two rows of one ticket differ in more than their marks."""
    return before != after and any(
        before.get(name) != after.get(name) for name in before.keys() | after.keys() if name not in MARKS
    )


@define
class Watch:
    """What was seen last, and which look is due next.

    The first look at each list is the ground that later ones are compared with: it makes no events.
    """

    _positions: Sequence[Row] | None = field(default=None, init=False)
    _orders: Sequence[Row] | None = field(default=None, init=False)
    _account: Row | None = field(default=None, init=False)
    _deals: dict[int, int] | None = field(default=None, init=False)  # ticket -> time, of the window that is read
    _newest_msc: int = field(default=0, init=False)
    _changed_at_ms: int | None = field(default=None, init=False)
    _read_at_ms: int | None = field(default=None, init=False)

    def see_lists(self, positions: Sequence[Row], orders: Sequence[Row], *, at_ms: int) -> list[Change]:
        """Return what changed in the open positions and the active orders.

        Args:
            positions: Rows of ``positions_get``.
            orders: Rows of ``orders_get``.
            at_ms: When they were read, on a clock that only rises.
        """
        changes: list[Change] = []
        if self._positions is not None and self._orders is not None:
            changes += compare_rows("order", self._orders, orders)
            changes += compare_rows("position", self._positions, positions)
        self._positions, self._orders = positions, orders
        if changes:
            self._changed_at_ms = at_ms
        return changes

    def needs_deals(self, at_ms: int) -> bool:
        """Return whether deals and the account are to be read now."""
        if self._read_at_ms is None or at_ms - self._read_at_ms >= DEALS_EVERY_MS:
            return True
        return self._changed_at_ms is not None and at_ms - self._changed_at_ms <= DEALS_LATE_MS

    def deals_from_msc(self, server_time_msc: int) -> int:
        """Return from which server time on deals are to be read."""
        return max(0, (self._newest_msc or server_time_msc) - DEALS_OVERLAP_MS)

    def see_deals(self, deals: Iterable[Row], *, from_msc: int, at_ms: int) -> list[Change]:
        """Return the deals that were not seen before, as events that carry their complete rows.

        Args:
            deals: Rows of the history from ``from_msc`` on.
            from_msc: What ``deals_from_msc`` returned.
            at_ms: When they were read, on a clock that only rises.
        """
        rows = list(deals)
        known = self._deals
        changes = [] if known is None else [Change("deal", dict(row)) for row in rows if row["ticket"] not in known]
        times = {row["ticket"]: row["time_msc"] for row in rows}
        self._newest_msc = max([self._newest_msc, *times.values()])
        kept = {ticket: msc for ticket, msc in (known or {}).items() if msc >= from_msc}
        self._deals = kept | times
        self._read_at_ms = at_ms
        return changes

    def see_account(self, account: Row) -> list[Change]:
        """Return what changed in the account but its marks."""
        before, self._account = self._account, account
        return [] if before is None else list(compare_account(before, account))
