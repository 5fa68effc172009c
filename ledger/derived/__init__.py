"""Derived tables: bookings, trades, positions, the balance curve and a summary of each account, kept for fast answers.

    row = account.derived.catch_up()            # what is new is folded on; row.version is what the tables rest on
    for booking in account.derived.bookings(): ...
    curve = account.derived.curve(from_utc_msc, until_utc_msc, columns=900)

They are disposable (``drop``, ``rebuild``), and nothing trusts them over the events.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from threading import RLock
from typing import Any, Final, NamedTuple, TypeVar

from ledger.derived.accumulators import ACCUMULATORS, Accumulator, AccumulatorKind
from ledger.derived.curve import Bucket, Curve, read_curve
from ledger.derived.fold import fold_of
from ledger.derived.follower import AccountFollower
from ledger.derived.keeping import keep_up
from ledger.derived.rows import breaks_of, halts_of, position_of, trade_of, unknown_orders
from ledger.errors import BadValue, InexactNumber, JournalBusy, JournalError, LedgerError
from ledger.journal import Head, Journal
from ledger.journal.derived import BookingRow, FollowerRow, PositionRow, SumBy, Summary, TradeRow
from ledger.journal.merged import extend
from ledger.performance.tally import BookingSum, TradeSum
from ledger.service import Account, Ledger
from ledger.values import INT64_MAX, AccountId, to_whole

__all__ = [
    "Accumulator",
    "AccumulatorKind",
    "BookingRow",
    "Bucket",
    "Curve",
    "Derived",
    "FollowerRow",
    "Lag",
    "PositionRow",
    "Summary",
    "TradeRow",
    "breaks_of",
    "halts_of",
    "keep_up",
    "lags",
    "position_of",
    "trade_of",
    "unknown_orders",
]

#: More columns than any screen has.
COLUMNS_MAX: Final = 20_000
_TRIES: Final = 5
_T = TypeVar("_T")


class Lag(NamedTuple):
    """How far an account's tables are behind: the version that they rest on (0: none, or not whole), and the account's."""

    version: int
    head: int

    @property
    def events(self) -> int:
        """How many events they are behind."""
        return max(0, self.head - self.version)


def lags(ledger: Ledger) -> dict[AccountId, Lag]:
    """Return account -> how far its tables are behind, of all accounts."""
    rows, rules = ledger.journal.derived.followers(), fold_of(ACCUMULATORS).code(None)
    return {account: _lag(rows.get(account), head, rules) for account, head in ledger.journal.heads_here().items()}


def _lag(row: FollowerRow | None, head: Head | None, rules: str) -> Lag:
    if head is None:
        return Lag(0, 0)
    if row is None or not _is_usable(row, rules) or row.version > head.version:
        return Lag(0, head.version)
    if row.version == head.version and row.hash != head.hash:
        return Lag(0, head.version)
    return Lag(row.version, head.version)


def _is_usable(row: FollowerRow, rules: str) -> bool:
    """Return whether rows are all there, and made by the rules that a fold is named by."""
    return bool(row.is_whole) and row.code.partition(":")[0] == rules


class Derived:
    """The derived tables of one account. Safe to use from several threads.

    Args:
        account: Whose.
        kinds: What is counted beside the tables (``derived.accumulators``).
    """

    def __init__(self, account: Account, kinds: Sequence[AccumulatorKind] = ACCUMULATORS) -> None:
        self._account = account
        self._kinds = {kind.name: kind for kind in kinds}
        self._journal: Journal = account.ledger.journal
        self._store = account.ledger.journal.derived
        fold = fold_of(kinds)
        self._rules = fold.code(None)
        self._follower = AccountFollower(account, fold)
        self._lock = RLock()

    # ---- keeping them

    def catch_up(self) -> FollowerRow:
        """Bring the tables to the account's present version, and return what they rest on.

        Raises:
            AccountUnknown: The account was not opened.
            InexactNumber: A sum does not fit the tables.
            JournalBusy: Others changed them again and again meanwhile.
            JournalError: They could not be stored, as nothing may be written.
        """
        with self._lock:
            return self._follower.catch_up()

    def fresh(self) -> Lag:
        """Bring the tables to the present version where that can be done, and return how far they are behind now."""
        try:
            row = self.catch_up()
        except (JournalError, InexactNumber):
            return self.lag()
        return Lag(row.version, row.version)

    def cool(self) -> None:
        """Let go of what was folded: the next ``catch_up`` begins from what is stored."""
        with self._lock:
            self._follower.cool()

    def pack(self, is_stopped: Callable[[], bool] = lambda: False) -> int:
        """Write the segments of the account that are not there yet (``ledger.segments``), and return how many were written.

        Args:
            is_stopped: Asked now and then whether to leave the rest for another time.
        """
        name, version, terms = self._account.name, self._account.version, self._account.terms
        written = self._journal.segments.extend(name, version, is_stopped)
        return written + extend(self._journal, name, version, terms, is_stopped=is_stopped)

    @property
    def packed(self) -> int:
        """Up to which version there are segments."""
        return self._journal.segments.end(self._account.name)

    def drop(self) -> bool:
        """Delete the account's rows and segments; return whether there were any. ``catch_up`` and ``pack`` make them anew."""
        with self._lock:
            return self._journal.segments.drop(self._account.name) | self._store.drop(self._account.name)

    def rebuild(self) -> FollowerRow:
        """Delete the account's rows and make them anew. Raises as ``catch_up``."""
        with self._lock:
            self.drop()
            return self.catch_up()

    # ---- what they rest on

    @property
    def row(self) -> FollowerRow | None:
        """What the tables rest on; None where there are none."""
        return self._store.follower(self._account.name)

    def lag(self) -> Lag:
        """Return how far the tables are behind."""
        return _lag(self.row, self._journal.head(self._account.name), self._rules)

    def read(self, ask: Callable[[FollowerRow], _T]) -> _T:
        """Return what a function makes of the tables, all of one version: it is called again where they changed meanwhile.

        Raises:
            BadValue: There are no whole tables: call ``catch_up``.
            JournalBusy: They changed again and again meanwhile.
        """
        for _ in range(_TRIES):
            row = self.row
            if row is None or not _is_usable(row, self._rules):
                raise BadValue(f"{self._account.name} has no derived tables yet, or they are being made: run ledger derive")
            found = ask(row)
            after = self.row
            if after is not None and after.revision == row.revision:
                return found
        raise JournalBusy(f"the derived tables of {self._account.name} change again and again: try again")

    # ---- reading them

    def summary(self) -> Summary | None:
        """Return what an overview shows of the account; None where there is none."""
        return self._store.summary(self._account.name)

    def positions(self) -> list[PositionRow]:
        """Return the open positions, position id ascending."""
        return self._store.open_positions(self._account.name)

    def trades(self, *, from_msc: int | None = None, until_msc: int | None = None) -> Iterator[TradeRow]:
        """Yield trades in the order of closing, then those not known in full. Arguments: broker server time, end exclusive."""
        return self._store.closed_trades(self._account.name, from_msc=from_msc, until_msc=until_msc)

    def unfinished_trades(self) -> Iterator[TradeRow]:
        """Yield the trades that ended but are not known in full."""
        return self._store.closed_trades(self._account.name, after=INT64_MAX)

    def bookings(self, *, from_msc: int | None = None, until_msc: int | None = None, after: int = 0) -> Iterator[BookingRow]:
        """Yield bookings in the fold order, behind a number. Arguments: broker server time, end exclusive."""
        return self._store.bookings(self._account.name, from_msc=from_msc, until_msc=until_msc, after=after)

    def moved(self, *, from_msc: int | None = None, until_msc: int | None = None) -> tuple[int, int, int]:
        """Return what the bookings of a period moved of balance and credit, and how many deals of trades are incomplete.

        Arguments: broker server time, end exclusive.
        """
        return self._store.moved(self._account.name, from_msc=from_msc, until_msc=until_msc)

    def sums(self, by: SumBy) -> tuple[list[BookingSum], list[TradeSum]]:
        """Return the sums over all bookings, by key and kind, and over all trades, by key.

        The database sums both at once, where there is a second processor.
        """
        from concurrent.futures import ThreadPoolExecutor

        name = self._account.name
        with ThreadPoolExecutor(1, thread_name_prefix="ledger-sums") as beside:
            trades = beside.submit(self._store.trade_sums, name, by)
            return self._store.booking_sums(name, by), trades.result()

    def curve(self, from_utc_msc: int, until_utc_msc: int, columns: int) -> Curve:
        """Return the balance over a period, in at most so many buckets, each with its exact extremes (see ``read_curve``).

        Args:
            from_utc_msc: UTC, in milliseconds.
            until_utc_msc: UTC, in milliseconds, exclusive.
            columns: How many buckets, at most.
        """
        columns = to_whole(columns, 2, COLUMNS_MAX, "columns")
        if until_utc_msc < from_utc_msc:
            raise BadValue(f"expected a period, found one that ends at {until_utc_msc} and begins at {from_utc_msc}")
        return read_curve(self._store, self._account.name, from_utc_msc, until_utc_msc, columns)

    def accumulated(self, name: str) -> Accumulator | None:
        """Return an accumulator as of the version that the tables rest on; None where its state is not stored, or damaged.

        It is not where very many positions are open: then fold from ``bookings`` and ``trades``.
        """
        row = self.row
        if row is None or row.state is None or not _is_usable(row, self._rules):
            return None
        terms = self._journal.terms(self._account.name, row.version)
        try:
            state: Any = json.loads(row.state)["accumulators"].get(name)
            return None if terms is None or state is None else self._kinds[name].restore(terms, state)
        except (AttributeError, KeyError, TypeError, ValueError, LedgerError):
            return None
