#!/usr/bin/env python3
"""Measures the ledger: each path in turn with its reference in the same run, several rounds, medians and ratios.

    python3 tools/bench.py               # three minutes
    python3 tools/bench.py --only sync   # what a sync costs
    python3 tools/bench.py --json

An absolute time on a shared machine says little; the ratio to a reference that did the same work a moment ago does. Targets
that are given in seconds are compared as they are.
"""

import argparse
import json
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bootstrap

_SYMBOLS = (("EURUSD", 108_000, 100_000), ("GBPUSD", 127_000, 100_000), ("XAUUSD", 235_000, 100), ("USDJPY", 15_600, 100))


# ------------------------------------------------------------------------------------------------------------- journals


def fills(count: int, *, seed: int, nets: bool) -> Iterator[Any]:
    """Yield a seeded history: opens, adds, partial and full closes over four symbols, a deal every few seconds."""
    from ledger import CashMoved, Entry, FillRecorded, Side

    dice = random.Random(seed)  # noqa: S311  # a benchmark needs repeatable, not secret
    time_msc = 1_700_000_000_000
    yield CashMoved(deal=1, type=2, profit=100_000, time_msc=time_msc)
    held: dict[object, tuple[str, Side, int, int]] = {}
    for deal in range(2, count + 1):
        time_msc += dice.randrange(100, 5_000)
        symbol, middle, unit = dice.choice(_SYMBOLS)
        price = f"{(middle + dice.randrange(-500, 500)) / unit:.5f}"
        common: dict[str, Any] = {"deal": deal, "time_msc": time_msc, "price": price, "order": deal, "fee": 0, "magic": 7}
        key: object = symbol if nets else (dice.choice(list(held)) if len(held) > 20 else None)
        if key in held and dice.random() < (0.5 if nets else 0.9):
            symbol, side, lots, position_id = held.pop(key)
            closing = lots if dice.random() < 0.8 else max(1, lots // 2)
            if lots > closing:
                held[key] = (symbol, side, lots - closing, position_id)
            yield FillRecorded(
                symbol=symbol, side=side.opposite, entry=Entry.OUT, volume=f"{closing / 100:.2f}", commission="-0.03",
                swap=f"{dice.randrange(-300, 100) / 100:.2f}", profit=f"{dice.randrange(-9000, 10000) / 100:.2f}",
                position_id=position_id, **common,
            )  # fmt: skip
            continue
        lots = dice.randrange(1, 50)
        if nets and symbol in held:
            _, side, before, position_id = held[symbol]
            held[symbol] = (symbol, side, before + lots, position_id)
        else:
            side, position_id = dice.choice((Side.BUY, Side.SELL)), deal
            held[symbol if nets else deal] = (symbol, side, lots, deal)
        yield FillRecorded(
            symbol=symbol, side=side, entry=Entry.IN, volume=f"{lots / 100:.2f}", commission="-0.03", swap=0, profit=0,
            position_id=position_id, **common,
        )  # fmt: skip


def make_journal(folder: Path, count: int, *, nets: bool) -> str:
    """Write a journal of so many deals and return its URL."""
    from ledger import Ledger

    url = f"sqlite:///{folder}/{'netting' if nets else 'hedging'}-{count}.db"
    with Ledger.open(url) as ledger:
        account = ledger.account("Bench", 2 if nets else 1)
        account.open(currency="USD", mode="netting" if nets else "hedging", clock="ny-close")
        batch: list[Any] = []
        for fill in fills(count, seed=count, nets=nets):
            batch.append(fill)
            if len(batch) == 20_000:
                account.record_many(batch)
                batch.clear()
        account.record_many(batch)
    return url


# ---------------------------------------------------------------------------------------------------------------- rows


def measured(
    name: str,
    unit: str,
    ours: Callable[[], float],
    reference: Callable[[], float] | None,
    target: float,
    *,
    rounds: int,
    better: str = "lower",
    by_ratio: bool = False,
) -> dict[str, object]:
    """Run ours and its reference in turn and return a row.

    Both functions return their figure. The target is compared with the ratio (ours to reference) or with ours.
    """  # fmt: skip
    pairs = [(ours(), reference() if reference else None) for _ in range(rounds)]
    middle = statistics.median(mine for mine, _ in pairs)
    references = [other for _, other in pairs if other is not None]
    ratios = [mine / other for mine, other in pairs if other]
    ratio = statistics.median(ratios) if ratios else None
    value = ratio if by_ratio else middle
    reached = value is not None and (value <= target if better == "lower" else value >= target)
    return {
        "name": name,
        "unit": unit,
        "ours": round(middle, 4),
        "reference": round(statistics.median(references), 4) if references else None,
        "ratio": None if ratio is None else round(ratio, 3),
        "target": target,
        "better": better,
        "reached": reached,
    }


def replay_row(name: str, url: str, count: int, rounds: int) -> dict[str, object]:
    """Full replay to the portfolio, against a bare cursor reading the same columns."""
    from ledger import Ledger
    from ledger.postings import Posting

    def ours() -> float:
        with Ledger.open(url, create=False) as ledger:
            (account,) = ledger.accounts()
            start = time.perf_counter()
            account.replay(checkpoints=False)
            return count / (time.perf_counter() - start)

    def bare() -> float:
        columns = ", ".join(Posting._fields)
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        start = time.perf_counter()
        for _ in connection.execute(f"SELECT {columns} FROM events ORDER BY account_id, version"):  # noqa: S608
            pass
        took = time.perf_counter() - start
        connection.close()
        return count / took

    return measured(name, "events/s", ours, bare, 300_000, rounds=rounds, better="higher")


def moment_rows(folder: Path, count: int, rounds: int) -> list[dict[str, object]]:
    """Moments near the end of a long account, with the checkpoints that one replay left, against an account of 10,000."""
    from ledger import Ledger

    def asked(url: str, events: int, about: Callable[[Any, random.Random], None]) -> Callable[[], float]:
        with Ledger.open(url, create=False) as ledger:
            ledger.accounts()[0].replay()

        def took() -> float:
            dice = random.Random(events)  # noqa: S311  # which moments, no secret
            with Ledger.open(url, create=False) as ledger:
                (account,) = ledger.accounts()
                about(account, dice)  # the first question finds the files cold
                start = time.perf_counter()
                for _ in range(20):
                    about(account, dice)
                return (time.perf_counter() - start) / 20

        return took

    def until(account: Any, dice: random.Random) -> None:
        last = account.journal_head.last_msc
        clock = account.standing.clock
        moment = datetime.fromtimestamp(clock.to_utc_msc(last - dice.randrange(600_000)) / 1000, UTC)
        account.replay(until=moment)

    def known(account: Any, dice: random.Random) -> None:
        account.replay(version=account.version - dice.randrange(1000))

    long, short = (make_journal(folder, events, nets=False) for events in (count, 10_000))
    return [
        measured(f"{name} near the end of {count:,} events, to 10,000", "s", asked(long, count, about),
                 asked(short, 10_000, about), 1.5, rounds=rounds, by_ratio=True)
        for name, about in (("--until", until), ("--version", known))
    ]  # fmt: skip


def seconds(command: list[str], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Run a command and return its wall time in seconds and its peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})}
    )
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed: {process.stderr.read().decode() if process.stderr else ''}")
    unit = 1024 if sys.platform.startswith("linux") else 1024 * 1024
    return took, usage.ru_maxrss / unit


def start_rows(rounds: int) -> list[dict[str, object]]:
    """How long a command and the package take to start, against a bare interpreter."""
    python = sys.executable

    def bare() -> float:
        return seconds([python, "-c", "pass"])[0]

    return [
        measured("ledger --help", "s", lambda: seconds([python, "-m", "ledger", "--help"])[0], bare, 0.15, rounds=rounds),
        measured("import ledger", "s", lambda: seconds([python, "-c", "import ledger"])[0], bare, 0.1, rounds=rounds),
    ]


def import_rows(folder: Path, rounds: int) -> list[dict[str, object]]:
    """Importing a 12,000-deal workbook as a command, against reading its cells alone."""
    from sample_history import make_history, render_xlsx

    workbook = folder / "history.xlsx"
    workbook.write_bytes(render_xlsx(make_history(seed=12, mode="hedging", deals=12_000)))
    memory: list[float] = []
    python = sys.executable

    def ours() -> float:
        target = folder / f"import-{time.monotonic_ns()}.db"
        command = [python, "-m", "ledger", "import", str(workbook), "--journal", f"sqlite:///{target}"]
        took, peak = seconds([*command, "--server-tz", "ny-close"])
        memory.append(peak)
        return took

    def reading() -> float:
        return seconds([python, "-c", f"from ledger.imports import read_statement; read_statement({str(workbook)!r})"])[0]

    size = workbook.stat().st_size / 1e6
    name = f"import of a 12,000-deal workbook ({size:.1f} MB)"
    took = measured(name, "s", ours, reading, 4.0, rounds=rounds)
    peak = measured(f"{name}, peak memory", "MB", lambda: statistics.median(memory), None, 300, rounds=1)
    return [took, peak]


def measured_rows(folder: Path, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Measure what is asked for."""
    from bench_sync import sync_rows

    only, rounds = arguments.only, arguments.rounds
    rows: list[dict[str, object]] = []
    if only in (None, "start"):
        rows += start_rows(rounds)
    if only in (None, "import"):
        rows += import_rows(folder, rounds)
    if only in (None, "replay"):
        for nets in (False, True):
            url = make_journal(folder, arguments.events, nets=nets)
            kind = "netting" if nets else "hedging"
            path = f"replay to portfolio, {kind}, {arguments.events:,} events"
            rows.append(replay_row(path, url, arguments.events, rounds))
    if only in (None, "moment"):
        rows += moment_rows(folder, arguments.events, rounds)
    if only in (None, "sync"):
        rows += sync_rows(folder, measured, rounds)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--events", type=int, default=200_000, metavar="N", help="events in each replayed journal")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of each measurement")
    parser.add_argument("--only", choices=("start", "import", "replay", "moment", "sync"), help="measure only this")
    arguments = parser.parse_args()
    python = bootstrap.ready(bootstrap.RUNTIME_LOCK)
    if Path(sys.prefix) != python.parent.parent:
        os.execv(python, [str(python), *sys.argv])  # noqa: S606  # the same command, in the project's own environment
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = measured_rows(folder, arguments)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"{versions}, {os.cpu_count()} processors, {platform.system()}")
    print(f"{'':<52} {'ours':>10} {'reference':>10} {'ratio':>6} {'target':>9}")
    for row in rows:
        mark = "" if row["reached"] else "  MISSED"
        sign = "<=" if row["better"] == "lower" else ">="
        shown = [_short(row[key]) for key in ("ours", "reference", "ratio")]
        print(
            f"{row['name']:<52.52} {shown[0]:>10} {shown[1]:>10} {shown[2]:>6} {sign}{_short(row['target']):>7}"
            f" {row['unit']}{mark}"
        )


def _short(value: object) -> str:
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main()
