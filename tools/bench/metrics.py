"""The rows about metrics, for ``bench.py``: what a scrape costs with many accounts, and an append that is measured.

A scrape is what collecting and writing the text format takes, in milliseconds of CPU: a database server's own work is not in
it. All accounts but one in a hundred are safe to trade; those that changed have one more deal.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path as File
from tempfile import TemporaryDirectory
from typing import Any

from tools.bench.paths import Path, Paths

_SIZES = (1000, 10_000)
_CHANGED = 100
_APPENDS = 300
#: CPU milliseconds of a scrape: 1 and 10 per cent of a processor where somebody scrapes every 15 seconds.
_TARGETS = {1000: 150.0, 10_000: 1500.0}
_START_MSC = 1_767_607_200_000


def metrics_paths(folder: File, server: Any) -> Paths:
    """What metrics cost, on SQLite and Postgres."""
    for kind in ("SQLite", "Postgres"):
        for size in _SIZES:
            url = f"sqlite:///{folder / f'metrics-{size}.db'}" if kind == "SQLite" else server.create_database()
            yield from _scrape_paths(url, kind, size)
    yield from _append_paths(folder)


def _scrape_paths(url: str, kind: str, size: int) -> Paths:
    from ledger import Ledger
    from ledger.metrics.of_journal import JournalMetrics
    from ledger.metrics.textfile import exposition

    names = make_accounts(url, size)
    with closing(Ledger.open(url)) as ledger:
        metrics = JournalMetrics(ledger)

        def scrape() -> float:
            return _cpu_ms(lambda: exposition(metrics.collect()))

        yield Path(name=f"scrape, {kind}, {size:,} accounts: the first", unit="ms CPU", target=None, ours=scrape, once=True)
        kib = len(exposition(metrics.collect())) / 1024
        yield Path(name=f"scrape, {kind}, {size:,} accounts: {kib:,.0f} KiB", unit="ms CPU", target=_TARGETS[size], ours=scrape)
        numbers = iter(range(10, 1_000_000))

        def changed() -> float:
            number = next(numbers)
            for name in names[:_CHANGED]:
                ledger.account(name).record(_fill(number))
            return scrape()

        yield Path(name=f"scrape, {kind}, {size:,} accounts: {_CHANGED} changed", unit="ms CPU", target=None, ours=changed)


def _append_paths(folder: File) -> Paths:
    from ledger import AccountId, Ledger
    from ledger.metrics.of_process import ProcessMetrics

    account = AccountId("Bench-Live", 1)
    with TemporaryDirectory(dir=folder) as new, ExitStack() as stack:
        plain, measured = (
            stack.enter_context(Ledger.create(f"sqlite:///{File(new) / name}")) for name in ("plain.db", "measured.db")
        )
        ProcessMetrics().measure_journal(measured.journal)
        for ledger in (plain, measured):
            ledger.account(account).open(currency="USD", mode="hedging", clock="UTC", time_msc=_START_MSC)
        numbers = iter(range(1, 1_000_000))

        def appends(ledger: Any) -> float:
            start = time.perf_counter()
            for _ in range(_APPENDS):
                ledger.account(account).record(_fill(next(numbers)))
            return (time.perf_counter() - start) * 1e6 / _APPENDS

        yield Path(
            name="append, measured, to one without metrics", unit="us", target=1.1, by_ratio=True, more=3,
            ours=lambda: appends(measured), reference=lambda: appends(plain),
        )  # fmt: skip


def make_accounts(url: str, size: int) -> list[Any]:
    """Make a journal of so many accounts, each with a deal and sync health, and return their names."""
    from ledger import AccountId, AccountOpened, Ledger
    from ledger.journal.health import SyncHealth, to_columns
    from ledger.journal.sql.journal import SqlJournal
    from ledger.journal.sql.schema import sync_health
    from ledger.journal.sql.words import account_key

    names = [AccountId(f"Broker-{login % 5}", login) for login in range(1, size + 1)]
    now_us = time.time_ns() // 1000
    with closing(Ledger.create(url)) as ledger:
        if len(ledger.journal.heads()) < size:
            for name in names:
                opened = AccountOpened(
                    server=name.server, login=name.login, currency="USD", currency_digits=2, mode="hedging", clock="UTC",
                    time_msc=_START_MSC,
                )  # fmt: skip
                ledger.journal.append(name, [opened, *map(_fill, range(1, 4))])
        journal = ledger.journal
        assert isinstance(journal, SqlJournal)
        with journal.engine.alchemy.connect().execution_options(write=True) as connection, connection.begin():
            connection.execute(sync_health.delete())
            connection.execute(sync_health.insert(), list(_healths(names, now_us, account_key, to_columns, SyncHealth)))
    return names


def _healths(
    names: list[Any], now_us: int, key: Callable[[Any], int], columns: Callable[[Any], dict[str, Any]], make: Any
) -> Iterator[dict[str, Any]]:
    """Yield rows of sync health that stay good for as long as the measuring takes."""
    for number, name in enumerate(names):
        health = make(
            account=name, status="PARTIAL" if number % 100 == 0 else "SUCCESS", reason=None, since_us=now_us, seen_us=now_us,
            verified_us=None if number % 100 == 0 else now_us, success_us=now_us, duration_us=1, interval_us=15_000_000,
            verified_sec=36_000.0, balance_halts=False, held=(), gateway="tcp://127.0.0.1:5555", host="desk", pid=1,
            started_us=now_us, program="1",
        )  # fmt: skip
        yield {"account_id": key(name)} | columns(health)


def _fill(number: int) -> Any:
    from ledger import FillRecorded

    return FillRecorded(
        deal=number, symbol="EURUSD", side="buy", entry="in", volume=1, price="1.1", time_msc=_START_MSC + number * 1000,
        order=number, position_id=number, commission=0, fee=0, swap=0, profit=0,
    )  # fmt: skip


def _cpu_ms(do: Callable[[], object]) -> float:
    start = time.process_time()
    do()
    return (time.process_time() - start) * 1000
