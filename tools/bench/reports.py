"""The rows about reports: the command on a long account whose derived tables are up to date, and folded from the events.

The reference reads all that the report sums, with a bare driver, and lets SQLite sum it in one group.
"""

import sqlite3
import time
from pathlib import Path as File

from tools.bench.paths import Path, Paths, Sizes
from tools.bench.read import command_seconds, journal_url

#: A journal of so many events has a million trades.
_MILLION_TRADES = 2_430_000
_TARGET_SEC = 3
_SUMS = (
    "SELECT count(*), sum(commission), sum(fee), sum(swap), sum(profit), sum(amount) FROM bookings",
    "SELECT count(*), sum(profit + swap + commission + fee), max(closed_utc_msc - opened_utc_msc) FROM closed_trades",
)


def report_paths(folder: File, sizes: Sizes, *, events: int = _MILLION_TRADES) -> Paths:
    """A report of a whole history, by month, symbol and day, its memory, and a report of a day."""
    from ledger import Ledger

    url = journal_url(folder, min(sizes.long, events), nets=False)
    with Ledger.open(url) as ledger:
        (account,) = ledger.accounts()
        row = account.derived.catch_up()
        day = account.report(by="day").buckets[-1].name
    size = f"{row.trades:,} trades"
    for by in ("month", "symbol", "day"):
        yield Path(
            name=f"ledger report --by {by}, {size}", unit="s", target=_TARGET_SEC,
            ours=lambda by=by: command_seconds("report", "--by", by, "--journal", url)[0],  # type: ignore[misc]
            reference=lambda: _summed(url),
        )  # fmt: skip
    yield Path(
        name=f"memory of ledger report, {size}", unit="MB", target=150, once=True,
        ours=lambda: command_seconds("report", "--journal", url)[1],
    )  # fmt: skip
    yield Path(
        name=f"ledger report --since its last day, {size}", unit="s", target=None,
        ours=lambda: command_seconds("report", "--since", str(day), "--journal", url)[0],
    )  # fmt: skip
    yield Path(
        name=f"ledger report folded from the events, {size}", unit="s", target=None, once=True,
        ours=lambda: command_seconds("report", "--known-at", "2100-01-01", "--journal", url)[0],
    )  # fmt: skip


def _summed(url: str) -> float:
    """Return how long a bare driver takes to sum all deals and trades."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        start = time.perf_counter()
        for text in _SUMS:
            connection.execute(text).fetchall()
        return time.perf_counter() - start
    finally:
        connection.close()
