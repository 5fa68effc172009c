"""The rows about derived tables: making them, one event more, a late one, a balance curve of any span; and frames of data."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path as File
from shutil import copyfile
from typing import Any

from tools.bench.journals import START_MSC
from tools.bench.paths import Path, Paths, Sizes
from tools.bench.read import journal_url, replay_rate

_COLUMNS = 900


def derived_paths(folder: File, sizes: Sizes) -> Paths:
    """Making the tables against a replay of the same events; then what they cost and give when they are there."""
    url = _copy(folder, journal_url(folder, sizes.replayed, nets=False))
    yield Path(
        name=f"derived tables of {sizes.replayed:,} events, to a full replay, SQLite", unit="events/s", target=0.15,
        better="higher", by_ratio=True, ours=lambda: _rebuild_rate(url), reference=lambda: replay_rate(url),
    )  # fmt: skip
    for name in ("trades", "deals", "events"):  # the first is read from the tables
        yield Path(
            name=f"frame of {name} of {sizes.replayed:,} events, to a full replay", unit="events/s", target=1.0,
            better="higher", by_ratio=True, ours=partial(_frame_rate, url, name), reference=lambda: replay_rate(url),
        )  # fmt: skip
    long = _copy(folder, journal_url(folder, sizes.long, nets=False))
    size = f"{sizes.long:,} events"
    _rebuild_rate(long)
    yield Path(
        name=f"one fill more in the derived tables of {size}",
        unit="ms",
        target=50,
        ours=lambda: _caught_up_ms(long, late_sec=0),
    )
    yield Path(
        name=f"one fill ten minutes late in them, {size}", unit="ms", target=500, ours=lambda: _caught_up_ms(long, late_sec=600)
    )
    yield Path(name=f"balance curve of {size} in {_COLUMNS} columns", unit="ms", target=50, ours=lambda: next(_curves_ms(long)))
    yield Path(
        name=f"balance curve of any span of {size}, the slowest", unit="ms", target=50, worst=True,
        ours=lambda: max(_curves_ms(long)),
    )  # fmt: skip


def tables_of(folder: File, count: int) -> str:
    """Return the URL of a journal of so many events that has its derived tables."""
    url = _copy(folder, journal_url(folder, count, nets=False))
    with _account(url) as account:
        account.derived.catch_up()
    return url


def _copy(folder: File, url: str) -> str:
    """Return the URL of a copy: the other rows measure journals without these tables."""
    name = url.removeprefix("sqlite:///")
    copy = folder / f"derived-{File(name).name}"
    if not copy.exists():
        copyfile(name, copy)
    return f"sqlite:///{copy}"


def _rebuild_rate(url: str) -> float:
    with _account(url) as account:
        account.derived.drop()
        start = time.perf_counter()
        account.derived.catch_up()
        return float(account.version / (time.perf_counter() - start))


def _frame_rate(url: str, name: str) -> float:
    from ledger.frames import frame

    with _account(url) as account:
        account.derived.catch_up()
        start = time.perf_counter()
        frame(name, [account], library="pyarrow")
        return float(account.version / (time.perf_counter() - start))


def _caught_up_ms(url: str, *, late_sec: int) -> float:
    """Record a fill and return how long a follower takes that has everything before it."""
    from ledger import FillRecorded

    with _account(url) as account:
        account.derived.catch_up()
        newest = account.portfolio.newest_known_msc
        number = max(row.deal or 0 for row in account.ledger.journal.rows(account.name, after=account.version - 50))
        account.record(
            FillRecorded(
                deal=number + 1, symbol="EURUSD", side="buy", entry="in", volume="0.01", price="1.1", order=number + 1,
                position_id=number + 1, commission=0, fee=0, swap=0, profit=0, time_msc=newest + 1000 - late_sec * 1000,
            )
        )  # fmt: skip
        start = time.perf_counter()
        account.derived.catch_up()
        return (time.perf_counter() - start) * 1000


def _curves_ms(url: str) -> Iterator[float]:
    """Yield how long a curve takes, the best of three: of the whole span first, then of shorter and shorter ones."""
    with _account(url) as account:
        newest = account.portfolio.newest_known_msc
        span_msc = float(newest - START_MSC)
        while span_msc > 60_000:
            taken = []
            for _ in range(3):
                start = time.perf_counter()
                account.derived.curve(newest - int(span_msc), newest, _COLUMNS)
                taken.append((time.perf_counter() - start) * 1000)
            yield min(taken)
            span_msc *= 0.6


class _account:  # noqa: N801  # reads as a statement: with _account(url)
    """The account of a journal that is open for as long as it is asked."""

    def __init__(self, url: str) -> None:
        from ledger import Ledger

        self._ledger = Ledger.open(url)

    def __enter__(self) -> Any:
        (account,) = self._ledger.accounts()
        return account

    def __exit__(self, *_: object) -> None:
        self._ledger.close()
