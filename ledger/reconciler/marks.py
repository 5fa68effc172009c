"""What an account was worth: a mark after each trusted snapshot, and the old ones deleted now and then.

Nothing that happens to a mark is in the way of a sync: one that cannot be stored is logged, and missed.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Final

from ledger.clock import DAY_MSC, MINUTE_MSC
from ledger.errors import LedgerError
from ledger.marks import Mark
from ledger.orders.intervals import EXACT
from ledger.service import Account
from ledger.snapshot import RemoteAccount, RemotePosition, Snapshot
from ledger.text import visible

#: How often old marks are looked for.
_CLEANED_US: Final = 60 * MINUTE_MSC * 1000
_logger: Final = logging.getLogger("ledger.reconciler")


def mark_of(snapshot: Snapshot, money: RemoteAccount | None, at_us: int, *, is_whole: bool, is_time_doubted: bool) -> Mark:
    """Return what a trusted snapshot shows an account to be worth; None for what it does not show.

    Args:
        snapshot: The positions.
        money: The broker's figures, where it states them.
        at_us: When the snapshot was asked for, by our clock.
        is_whole: Whether the snapshot is of the whole account.
        is_time_doubted: Whether the server's time is in doubt.
    """
    floating = _floating(snapshot.positions) if is_whole else None
    equity, is_reported = None, False
    if money is not None:
        equity, is_reported = money.equity, money.equity is not None
        if equity is None and floating is not None:
            equity = EXACT.add(EXACT.add(money.balance, money.credit), floating)
    return Mark(
        at_us=at_us,
        server_msc=None if is_time_doubted else snapshot.server_time_msc,
        balance=None if money is None else money.balance,
        credit=None if money is None else money.credit,
        floating=floating,
        equity=equity,
        margin=None if money is None else money.margin,
        is_equity_reported=is_reported,
    )


def _floating(rows: tuple[RemotePosition, ...]) -> Decimal | None:
    """Return profit and swap of all positions; None where one of them is not shown."""
    whole = Decimal(0)
    for row in rows:
        if row.profit is None or row.swap is None:
            return None
        whole = EXACT.add(whole, EXACT.add(row.profit, row.swap))
    return whole


class MarkKeeper:
    """Stores the marks of one account, and deletes those of more than so many days ago."""

    def __init__(self, account: Account, keep_days: int) -> None:
        self._account = account
        self._keep_us = keep_days * DAY_MSC * 1000
        self._cleaned_us: int | None = None
        self._failed: str | None = None  # why it failed the last time

    def store(self, mark: Mark) -> None:
        """Store a mark. That it cannot be stored is logged, once for each reason."""
        journal, name = self._account.ledger.journal, self._account.name
        try:
            journal.save_mark(name, mark)
            if self._cleaned_us is None or not 0 <= mark.at_us - self._cleaned_us < _CLEANED_US:
                self._cleaned_us = mark.at_us
                journal.delete_marks(name, mark.at_us - self._keep_us)
            self._failed = None
        except LedgerError as error:
            if self._failed != str(error):
                self._failed = str(error)
                _logger.warning("%s: a mark was not stored: %s", visible(str(name)), visible(str(error)))
