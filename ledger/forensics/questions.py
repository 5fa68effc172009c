"""Questions over all accounts of an archive: their portfolios at a moment, who was exposed, which breaks were open."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, localcontext
from functools import partial
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from ledger.archive.check import account_folders
from ledger.archive.form import ACCOUNTS, MANIFEST
from ledger.errors import BadValue
from ledger.forensics.conditions import Condition
from ledger.forensics.executors import executor
from ledger.forensics.summary import Summary, fold_archive_here, fold_journal
from ledger.json_views import Json
from ledger.service import Ledger, Moment
from ledger.values import EXACT, plain

_SIDES: Final = ("buy", "sell")


@frozen(kw_only=True)
class Where:
    """Where an archive is folded: the executor, its processes (of this machine as many as it has), its cluster."""

    executor: str = "local"
    workers: int | None = None
    cluster: str | None = None


def replay(folder: Path, where: Where, *, until: Moment = None, known_at: Moment = None) -> Iterator[Summary]:
    """Yield all accounts of an archive at a moment, ordered by the names of their folders.

    Those that have moved to another journal are left out, as they are from what a journal yields: they are counted there.

    Args:
        folder: The archive.
        where: Where it is folded.
        until: What had happened by then, as known now.
        known_at: What the ledger believed then.

    Raises:
        BadValue: There is no archive, or no such executor.
        CorruptEvent: Something of the archive is not what was written.
    """
    run = executor(where.executor)
    work = partial(fold_archive_here, until=until, known_at=known_at)
    found = run(work, paths_of(folder), where.workers or os.cpu_count() or 1, where.cluster)
    return (one for one in found if one is not None)


def replay_journal(ledger: Ledger, *, until: Moment = None, known_at: Moment = None) -> Iterator[Summary]:
    """Yield what ``replay`` yields, of the accounts of a journal."""
    return (fold_journal(account, until=until, known_at=known_at) for account in ledger.accounts())


def paths_of(folder: Path) -> list[str]:
    """Return the folders of the archived accounts.

    Raises:
        BadValue: There is no archive.
    """
    if not (folder / ACCOUNTS).is_dir():
        raise BadValue(f"{folder}: expected an archive, found none: ledger archive --out {folder} writes one")
    return [str(path) for path in account_folders(folder) if (path / MANIFEST).exists()]


def select_positions(summaries: Iterable[Summary], conditions: Sequence[Condition]) -> Iterator[Summary]:
    """Yield summaries with those positions alone that meet conditions; accounts without any are left out."""
    for one in summaries:
        account = {"account": one.account, "currency": one.currency}
        positions = tuple(position for position in one.positions if all(each.is_met(position | account) for each in conditions))
        if positions or not conditions:
            yield evolve(one, positions=positions)


@frozen(kw_only=True)
class Exposure:
    """What is open of a symbol: lots long and short, in so many accounts and positions."""

    symbol: str
    accounts: int
    positions: int
    long: str
    short: str


def exposures(summaries: Iterable[Summary]) -> list[Exposure]:
    """Return what is open of each symbol over all accounts, ordered by symbol."""
    open_: dict[str, list[tuple[str, Json]]] = {}
    for one in summaries:
        for position in one.positions:
            open_.setdefault(position["symbol"], []).append((one.account, position))
    return [_exposure(symbol, rows) for symbol, rows in sorted(open_.items())]


def _exposure(symbol: str, rows: list[tuple[str, Json]]) -> Exposure:
    with localcontext(EXACT):
        long, short = (
            sum((Decimal(position["volume"]) for _, position in rows if position["side"] == side), Decimal(0))
            for side in _SIDES
        )
    return Exposure(
        symbol=symbol,
        accounts=len({account for account, _ in rows}),
        positions=len(rows),
        long=plain(long),
        short=plain(short),
    )


@frozen(kw_only=True)
class Money:
    """Sums over the accounts of a currency."""

    currency: str
    accounts: int
    balance: str
    credit: str


def money(summaries: Iterable[Summary]) -> list[Money]:
    """Return the sums of balances and credits by currency, ordered by currency."""
    by_currency: dict[str, list[Summary]] = {}
    for one in summaries:
        by_currency.setdefault(one.currency, []).append(one)
    with localcontext(EXACT):
        return [
            Money(
                currency=currency,
                accounts=len(found),
                balance=plain(sum((Decimal(one.balance) for one in found), Decimal(0))),
                credit=plain(sum((Decimal(one.credit) for one in found), Decimal(0))),
            )
            for currency, found in sorted(by_currency.items())
        ]
