"""The derived tables in memory (see ``journal.derived``)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from threading import RLock
from typing import Any

from attrs import Factory, define

from ledger.bookings import TRADE
from ledger.clock import DAY_MSC
from ledger.journal.derived import (
    SPANS,
    BookingRow,
    CurveNode,
    FollowerRow,
    PositionRow,
    SumBy,
    Summary,
    TradeRow,
    Update,
)
from ledger.performance.tally import BookingSum, TradeSum
from ledger.values import INT64_MAX, AccountId


@define
class _Tables:
    """The rows of one account."""

    row: FollowerRow
    bookings: list[BookingRow] = Factory(list)
    trades: list[TradeRow] = Factory(list)
    unfinished: list[TradeRow] = Factory(list)
    nodes: dict[int, list[CurveNode]] = Factory(lambda: {span: [] for span in SPANS})
    positions: list[PositionRow] = Factory(list)
    summary: Summary | None = None


class MemoryDerived:
    """Rows in lists.

    Args:
        lock: The journal's.
        drop_checkpoints: Deletes an account's checkpoints that were made for these tables.
    """

    def __init__(self, lock: RLock, drop_checkpoints: Callable[[AccountId], object]) -> None:
        self._lock: Any = lock
        self._drop_checkpoints = drop_checkpoints
        self._tables: dict[AccountId, _Tables] = {}

    def followers(self) -> dict[AccountId, FollowerRow]:
        with self._lock:
            return {account: tables.row._replace(state=None) for account, tables in sorted(self._tables.items())}

    def follower(self, account: AccountId) -> FollowerRow | None:
        with self._lock:
            found = self._tables.get(account)
            return None if found is None else found.row

    def require_writable(self) -> None:
        pass

    def update(self, account: AccountId, update: Update) -> bool:
        with self._lock:
            found = self._tables.get(account)
            if (None if found is None else found.row.revision) != update.expected:
                return False
            tables = self._tables.setdefault(account, _Tables(update.row))
            tables.row = update.row
            tables.bookings = [*tables.bookings[: update.keep_bookings], *map(BookingRow._make, update.bookings)]
            finished = [one for one in update.trades if not one.is_unfinished]
            tables.trades = [*tables.trades[: update.keep_trades], *finished]
            tables.unfinished = [one for one in update.trades if one.is_unfinished]
            for span, nodes in tables.nodes.items():
                begin = update.nodes_from.get(span, INT64_MAX)
                kept = nodes[: bisect_left(nodes, begin, key=lambda one: one.begin_min)]
                tables.nodes[span] = [*kept, *(one for one in update.nodes if one.span_min == span)]
            if update.positions is not None:
                tables.positions = sorted(update.positions)
            tables.summary = update.summary
            return True

    def drop(self, account: AccountId) -> bool:
        with self._lock:
            self._drop_checkpoints(account)
            return self._tables.pop(account, None) is not None

    def summaries(self) -> dict[AccountId, Summary]:
        with self._lock:
            return {name: one.summary for name, one in sorted(self._tables.items()) if one.summary is not None}

    def summary(self, account: AccountId) -> Summary | None:
        return self.summaries().get(account)

    def open_positions(self, account: AccountId) -> list[PositionRow]:
        return list(self._read(account).positions)

    def closed_trades(
        self, account: AccountId, *, from_msc: int | None = None, until_msc: int | None = None, after: int = 0
    ) -> Iterator[TradeRow]:
        tables = self._read(account)
        every = [*tables.trades[after:], *tables.unfinished]
        return (one for one in every if _is_within(one.closed_msc, from_msc, until_msc))

    def has_trades(self, account: AccountId, symbols: Sequence[str]) -> bool:
        return any(one.symbol in symbols for one in self._read(account).trades)

    def bookings(
        self, account: AccountId, *, from_msc: int | None = None, until_msc: int | None = None, after: int = 0
    ) -> Iterator[BookingRow]:
        every = self._read(account).bookings[after:]
        return (one for one in every if _is_within(one.time_msc, from_msc, until_msc))

    def curve_nodes(self, account: AccountId, span_min: int, from_min: int, until_min: int) -> list[CurveNode]:
        return [one for one in self._read(account).nodes[span_min] if from_min <= one.begin_min < until_min]

    def curve_bookings(
        self, account: AccountId, from_utc_msc: int, until_utc_msc: int, at_most: int
    ) -> list[tuple[int, int]] | None:
        every = self._read(account).bookings
        found = [(one.at_utc_msc, one.balance) for one in every if from_utc_msc <= one.at_utc_msc < until_utc_msc]
        return None if len(found) > at_most else found

    def balance_before(self, account: AccountId, utc_msc: int) -> int:
        return next((one.balance for one in reversed(self._read(account).bookings) if one.at_utc_msc < utc_msc), 0)

    def moved(self, account: AccountId, *, from_msc: int | None = None, until_msc: int | None = None) -> tuple[int, int, int]:
        found = [*self.bookings(account, from_msc=from_msc, until_msc=until_msc)]
        incomplete = sum(one.kind == TRADE and not one.is_complete for one in found)
        return sum(one.amount for one in found), sum(one.credited for one in found), incomplete

    def booking_sums(self, account: AccountId, by: SumBy) -> list[BookingSum]:
        groups: dict[tuple[int | str | None, str], list[BookingRow]] = {}
        for one in self._read(account).bookings:
            groups.setdefault((_booking_key(one, by), one.kind), []).append(one)
        return [
            BookingSum(
                key, kind, len(rows), sum(one.commission for one in rows), sum(one.fee for one in rows),
                sum(one.swap for one in rows), sum(one.profit for one in rows), sum(one.amount for one in rows),
                sum(not one.is_complete for one in rows),
            )
            for (key, kind), rows in groups.items()
        ]  # fmt: skip

    def trade_sums(self, account: AccountId, by: SumBy) -> list[TradeSum]:
        groups: dict[int | str | None, list[TradeRow]] = {}
        for one in self.closed_trades(account):
            groups.setdefault(one.closed_msc // DAY_MSC if by == "day" else getattr(one, by), []).append(one)
        return [_trade_sum(key, rows) for key, rows in groups.items()]

    def _read(self, account: AccountId) -> _Tables:
        with self._lock:
            return self._tables.get(account) or _Tables(FollowerRow("", 0, 0, b"", "", 0, 0, 0, None, 0))


def _is_within(time_msc: int, begin: int | None, end: int | None) -> bool:
    return (begin is None or begin <= time_msc) and (end is None or time_msc < end)


def _booking_key(one: BookingRow, by: SumBy) -> int | str | None:
    match by:
        case "day":
            return one.time_msc // DAY_MSC
        case "symbol":
            return one.symbol
        case "magic":
            return one.magic
        case _:
            return one.side if one.side is None or one.entry == 0 else 1 - one.side


def _trade_sum(key: int | str | None, rows: Sequence[TradeRow]) -> TradeSum:
    known = [one for one in rows if one.is_complete and not one.is_unfinished]
    nets = [one.profit + one.swap + one.commission + one.fee for one in known]
    held = [max(0, one.closed_utc_msc - one.opened_utc_msc) for one in known if one.opened_utc_msc is not None]
    won, lost = [one for one in nets if one > 0], [one for one in nets if one < 0]
    return TradeSum(
        key, len(nets), len(won), len(lost), len(rows) - len(nets), sum(won), sum(lost), max(nets, default=None),
        min(nets, default=None), len(held), sum(held), min(held, default=None), max(held, default=None),
    )  # fmt: skip
