"""The rows about reconciliation, for ``bench.py``: a sync over loopback against a real sandbox, and its parts.

References do the same work without the ledger's rules: a bare ZeroMQ round trip with the standard library's JSON, a bare
cursor inserting as many rows.
"""

import json
import resource
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path as File

from tools.bench.paths import Path, Paths

_POSITIONS = 1000
_MANY = 10_000
_SYNCS = 200
_MEMORY_SYNCS = 10_000
_MEMORY_GROWTH_MB = 4.0
_ACCOUNT = ("Sandbox-Demo", 70113)


def sync_paths(folder: File) -> Paths:
    """What a sync costs."""
    yield from compare_paths()
    yield from agreeing_paths(folder)
    yield from startup_paths(folder)
    yield from memory_paths(folder)


def compare_paths() -> Paths:
    """Compare and decide about many positions: all agree, or one in a hundred does not."""
    many, more = _compared(_MANY), _compared(2 * _MANY)
    yield Path(name=f"compare and decide, {_MANY:,} positions", unit="ms", target=20, ours=many)
    yield Path(
        name=f"compare and decide, one of {2 * _MANY:,} positions to one of {_MANY:,}", unit="us", target=1.3, by_ratio=True,
        ours=lambda: more() * 1000 / (2 * _MANY), reference=lambda: many() * 1000 / _MANY,
    )  # fmt: skip
    yield Path(
        name=f"compare and decide, {_MANY:,} positions, 100 differ", unit="ms", target=None, ours=_compared(_MANY, differ=100)
    )


def _compared(positions: int, *, differ: int = 0) -> Callable[[], float]:
    """Return what measures, in milliseconds, comparing and deciding about so many positions."""
    from ledger import Ledger, ReconcilePolicy, RemotePosition, Side, Snapshot
    from ledger.events import PositionRecovered, PositionState
    from ledger.reconcile.compare import compare
    from ledger.reconcile.decide import DecisionContext, decide

    account = Ledger.open("memory://").account("Bench", 1)
    account.open(currency="USD", mode="hedging")
    states = [
        PositionState(position_id=number, symbol="EURUSD", side="buy", volume="0.10", price_open="1.10005")
        for number in range(1, positions + 1)
    ]
    account.record_many([PositionRecovered(position=state, time_msc=1_767_607_200_000) for state in states])
    portfolio = account.portfolio
    assert len(portfolio.positions) == positions
    rows = tuple(
        RemotePosition(
            position_id=number, ticket=number, symbol="EURUSD", side=Side.BUY, price_open=Decimal("1.10005"),
            volume=Decimal("0.20" if number <= differ else "0.10"),
        )
        for number in range(1, positions + 1)
    )  # fmt: skip
    snapshot = Snapshot(positions=rows, raw=b"{}")
    around = DecisionContext(time_msc=1_767_607_200_000, version=account.version)
    policy = ReconcilePolicy()

    def once() -> float:
        start = time.perf_counter()
        found = compare(portfolio, snapshot)
        decision = decide(portfolio, snapshot, found, policy=policy, around=around)
        took = (time.perf_counter() - start) * 1000
        if len(decision.corrected) != differ:
            raise SystemExit(f"expected {differ} corrections, found {len(decision.corrected)}")
        return took

    return once


def agreeing_paths(folder: File) -> Paths:
    """A full sync of agreeing positions over loopback, median and 99th percentile. It appends nothing; it leaves a mark."""
    import zmq

    from ledger import Ledger, StateReconciler
    from ledger.gateway.client import ZmqGateway
    from ledger.gateway.sandbox.client import Sandbox

    with Sandbox.start("--positions", str(_POSITIONS), "--balance", "100000000") as sandbox:
        ledger = Ledger.create(f"sqlite:///{folder}/agreeing.db")
        account = ledger.account(*_ACCOUNT)
        account.open(currency="USD", mode="hedging", clock="ny-close")
        gateway = ZmqGateway(sandbox.endpoint)
        reconciler = StateReconciler(account, gateway)
        first = reconciler.startup_recovery()
        if first.status.value != "SUCCESS":
            raise SystemExit(f"the first sync ended in {first.status.value}: {first.reason}")
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REQ)
        socket.linger = 0
        socket.connect(sandbox.endpoint)
        took: list[float] = []
        bare: list[float] = []
        appended = 0
        for _ in range(_SYNCS):
            start = time.perf_counter()
            appended += reconciler.sync_positions().appended
            took.append((time.perf_counter() - start) * 1000)
            start = time.perf_counter()
            socket.send(b'{"action": "GET_POSITIONS", "symbol": "*", "req_id": "x"}')
            json.loads(socket.recv())
            bare.append((time.perf_counter() - start) * 1000)
        socket.close()
        gateway.close()
        ledger.close()
    name = f"sync of {_POSITIONS:,} agreeing positions over loopback"
    yield Path(
        name=name, unit="ms", target=10, ours=lambda: statistics.median(took), reference=lambda: statistics.median(bare),
        once=True,
    )  # fmt: skip
    yield Path(name=f"{name}, p99", unit="ms", target=25, ours=lambda: _p99(took), reference=lambda: _p99(bare), once=True)
    yield Path(name=f"events appended by {_SYNCS} such syncs", unit="", target=0, ours=lambda: float(appended), once=True)


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def startup_paths(folder: File) -> Paths:
    """Startup recovery of zombies into SQLite, over loopback, against a bare cursor inserting as many rows."""
    from ledger import Ledger, StateReconciler
    from ledger.gateway.client import ZmqGateway
    from ledger.gateway.sandbox.client import Sandbox

    with Sandbox.start("--positions", str(_POSITIONS), "--balance", "100000000", "--form", "base") as sandbox:
        numbers = count()

        def ours() -> float:
            with Ledger.create(f"sqlite:///{folder}/startup-{next(numbers)}.db") as ledger:
                account = ledger.account(*_ACCOUNT)
                account.open(currency="USD", mode="hedging", clock="ny-close")
                gateway = ZmqGateway(sandbox.endpoint)
                start = time.perf_counter()
                result = StateReconciler(account, gateway).startup_recovery()
                took = time.perf_counter() - start
                gateway.close()
                if len(result.recovered) != _POSITIONS:
                    raise SystemExit(f"expected {_POSITIONS} recovered, found {len(result.recovered)}: {result.reason}")
                return took

        def bare() -> float:
            connection = sqlite3.connect(folder / f"bare-{next(numbers)}.db", isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("CREATE TABLE t (a INTEGER, b TEXT, c TEXT, PRIMARY KEY (a)) WITHOUT ROWID")
            start = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO t VALUES (?, ?, ?)", [(n, "x" * 200, "y" * 100) for n in range(3 * _POSITIONS)])
            connection.execute("COMMIT")
            took = time.perf_counter() - start
            connection.close()
            return took

        yield Path(
            name=f"startup recovery of {_POSITIONS:,} zombies into SQLite", unit="s", target=1.0, ours=ours, reference=bare
        )


def memory_paths(folder: File) -> Paths:
    """How much the process grows over many syncs that find nothing, after the first thousand."""
    from ledger import Ledger, StateReconciler
    from ledger.gateway.client import ZmqGateway
    from ledger.gateway.sandbox.client import Sandbox

    with Sandbox.start("--positions", "10") as sandbox, Ledger.create(f"sqlite:///{folder}/memory.db") as ledger:
        account = ledger.account(*_ACCOUNT)
        account.open(currency="USD", mode="hedging", clock="ny-close")
        gateway = ZmqGateway(sandbox.endpoint)
        reconciler = StateReconciler(account, gateway)
        reconciler.startup_recovery()
        for _ in range(_MEMORY_SYNCS // 10):
            reconciler.sync_positions()
        before = _resident_mb()
        for _ in range(_MEMORY_SYNCS):
            reconciler.sync_positions()
        grown = _resident_mb() - before
        gateway.close()
    name = f"growth of memory over {_MEMORY_SYNCS:,} syncs"
    yield Path(name=name, unit="MB", target=_MEMORY_GROWTH_MB, ours=lambda: grown, once=True)


def _resident_mb() -> float:
    """Return the memory that this process has now, in MB; where the system does not report it, its peak so far."""
    statm = File("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    unit = 1024 if sys.platform.startswith("linux") else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
