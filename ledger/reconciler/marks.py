"""What an account was worth: a mark after each trusted snapshot, and the old ones deleted now and then.

Nothing that happens to a mark is in the way of a sync: one that cannot be stored is logged, and missed.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Final

from ledger.clock import DAY_MSC, MINUTE_MSC
from ledger.errors import InexactNumber, LedgerError
from ledger.marks import MINUTE_US, Mark, minute_of
from ledger.service import Account
from ledger.snapshot import RemoteAccount, RemotePosition, Snapshot
from ledger.terms import AccountTerms
from ledger.text import visible
from ledger.values import EXACT, INT64_MAX, exact_sum

#: How often old marks are looked for.
_CLEANED_US: Final = 60 * MINUTE_MSC * 1000
_logger: Final = logging.getLogger("ledger.reconciler")


def mark_of(
    snapshot: Snapshot,
    money: RemoteAccount | None,
    at_us: int,
    terms: AccountTerms,
    *,
    is_whole: bool,
    is_time_doubted: bool,
) -> Mark:
    """Return what a trusted snapshot shows an account to be worth; None for what it does not show, or not exactly.

    Args:
        snapshot: The positions.
        money: The broker's figures, where it states them.
        at_us: When the snapshot was asked for, by our clock.
        terms: The account terms: amounts are cleaned of binary dirt as those of deals are.
        is_whole: Whether the snapshot is of the whole account.
        is_time_doubted: Whether the server's time is in doubt.
    """
    floating = _floating(snapshot.positions, terms) if is_whole else None
    names = ("balance", "credit", "equity", "margin")
    known = {name: None if money is None else _exact(getattr(money, name), name, terms) for name in names}
    is_reported = money is not None and money.equity is not None
    if not is_reported:
        known["equity"] = _sum(known["balance"], known["credit"], floating)
    return Mark(
        at_us=at_us,
        server_msc=None if is_time_doubted else snapshot.server_time_msc,
        floating=floating,
        is_equity_reported=is_reported,
        **known,
    )


def _floating(rows: tuple[RemotePosition, ...], terms: AccountTerms) -> Decimal | None:
    """Return profit and swap of all positions; None where one of them is not shown, or has digits that no money has.

    An exact sum has as many decimals as the part with the most. If money has as many, no part is dirty, and the sum is it.
    """
    amounts = [amount for row in rows for amount in (row.profit, row.swap)]
    if not amounts or None in amounts:
        return _sum(*amounts)
    scale, whole = terms.opened.money_scale, exact_sum(filter(None, amounts))
    exponent, most = whole.as_tuple().exponent, INT64_MAX // 10**scale
    if isinstance(exponent, int) and exponent >= -scale and all(-most <= amount <= most for amount in filter(None, amounts)):
        return whole.quantize(Decimal(1).scaleb(-scale), context=EXACT)
    return _sum(*(_exact(getattr(row, name), name, terms) for row in rows for name in ("profit", "swap")))


def _sum(*amounts: Decimal | None) -> Decimal | None:
    """Return a sum, None where a part of it is not known."""
    known = [amount for amount in amounts if amount is not None]
    return exact_sum(known) if len(known) == len(amounts) else None


def _exact(amount: Decimal | None, what: str, terms: AccountTerms) -> Decimal | None:
    """Return an amount of the broker's without binary dirt; None where it is not known, or has digits that no money has."""
    if amount is None:
        return None
    try:
        return terms.money(terms.money_units(amount, what))
    except InexactNumber:
        return None


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
                journal.delete_marks(name, minute_of(mark.at_us - self._keep_us) * MINUTE_US)  # whole minutes
            self._failed = None
        except LedgerError as error:
            if self._failed != str(error):
                self._failed = str(error)
                _logger.warning("%s: a mark was not stored: %s", visible(str(name)), visible(str(error)))
