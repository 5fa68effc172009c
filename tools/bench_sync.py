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
from pathlib import Path

_POSITIONS = 1000
_SYNCS = 200
_MEMORY_SYNCS = 10_000
_MEMORY_GROWTH_MB = 4.0
_ACCOUNT = ("Sandbox-Demo", 70113)


def sync_rows(folder: Path, measured: Callable[..., dict[str, object]], rounds: int) -> list[dict[str, object]]:
    """Measure what a sync costs."""
    return [
        one_position_row(measured, rounds),
        *agreeing_rows(folder, measured),
        startup_row(folder, measured, rounds),
        memory_row(folder, measured),
    ]


def one_position_row(measured: Callable[..., dict[str, object]], rounds: int) -> dict[str, object]:
    """Compare and decide about one agreeing position, in milliseconds."""
    from ledger import Ledger, ReconcilePolicy, RemotePosition, Side, Snapshot
    from ledger.events import PositionRecovered, PositionState
    from ledger.reconcile.compare import compare
    from ledger.reconcile.decide import Circumstances, decide

    account = Ledger.open("memory://").account("Bench", 1)
    account.open(currency="USD", mode="hedging")
    state = PositionState(position_id=7, symbol="EURUSD", side="buy", volume="0.10", price_open="1.10005")
    account.record(PositionRecovered(position=state, time_msc=1_767_607_200_000))
    portfolio = account.portfolio
    row = RemotePosition(
        position_id=7, ticket=7, symbol="EURUSD", side=Side.BUY, volume=Decimal("0.10"), price_open=Decimal("1.10005")
    )
    snapshot = Snapshot(positions=(row,), raw=b"{}")
    around = Circumstances(time_msc=1_767_607_200_000, version=2)
    policy = ReconcilePolicy()

    def ours() -> float:
        start = time.perf_counter()
        for _ in range(1000):
            found = compare(portfolio, snapshot)
            decide(portfolio, snapshot, found, policy=policy, around=around)
        return time.perf_counter() - start  # seconds for a thousand are milliseconds for one

    return measured("compare and decide, one agreeing position", "ms", ours, None, 0.2, rounds=rounds)


def agreeing_rows(folder: Path, measured: Callable[..., dict[str, object]]) -> list[dict[str, object]]:
    """A full sync of agreeing positions over loopback, median and 99th percentile, and that it writes nothing."""
    import zmq

    from ledger import Ledger, StateReconciler
    from ledger.gateway.client import ZmqGateway
    from ledger.gateway.sandbox.client import Sandbox

    with Sandbox.start("--positions", str(_POSITIONS), "--balance", "100000000") as sandbox:
        ledger = Ledger.open(f"sqlite:///{folder}/agreeing.db")
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
        before = _written(folder / "agreeing.db")
        for _ in range(_SYNCS):
            start = time.perf_counter()
            appended += reconciler.sync_positions().appended
            took.append((time.perf_counter() - start) * 1000)
            start = time.perf_counter()
            socket.send(b'{"action": "GET_POSITIONS", "symbol": "*", "req_id": "x"}')
            json.loads(socket.recv())
            bare.append((time.perf_counter() - start) * 1000)
        written = _written(folder / "agreeing.db") != before
        socket.close()
        gateway.close()
        ledger.close()
    name = f"sync of {_POSITIONS:,} agreeing positions over loopback"
    return [
        measured(name, "ms", lambda: statistics.median(took), lambda: statistics.median(bare), 10, rounds=1),
        measured(f"{name}, p99", "ms", lambda: _p99(took), lambda: _p99(bare), 25, rounds=1),
        measured("events and files written by 200 such syncs", "", lambda: float(appended + written), None, 0, rounds=1),
    ]


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _written(path: Path) -> list[tuple[str, int, int]]:
    """Return what tells whether anything was written to a SQLite journal: sizes and times of its files."""
    return [
        (one.name, one.stat().st_size, one.stat().st_mtime_ns)
        for one in sorted(path.parent.glob(f"{path.name}*"))
        if not one.name.endswith("-shm")
    ]


def startup_row(folder: Path, measured: Callable[..., dict[str, object]], rounds: int) -> dict[str, object]:
    """Startup recovery of zombies into SQLite, over loopback, against a bare cursor inserting as many rows."""
    from ledger import Ledger, StateReconciler
    from ledger.gateway.client import ZmqGateway
    from ledger.gateway.sandbox.client import Sandbox

    with Sandbox.start("--positions", str(_POSITIONS), "--balance", "100000000", "--form", "base") as sandbox:
        numbers = iter(range(1000))

        def ours() -> float:
            with Ledger.open(f"sqlite:///{folder}/startup-{next(numbers)}.db") as ledger:
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

        return measured(f"startup recovery of {_POSITIONS:,} zombies into SQLite", "s", ours, bare, 1.0, rounds=rounds)


def memory_row(folder: Path, measured: Callable[..., dict[str, object]]) -> dict[str, object]:
    """How much the process grows over many syncs that find nothing, after the first thousand."""
    from ledger import Ledger, StateReconciler
    from ledger.gateway.client import ZmqGateway
    from ledger.gateway.sandbox.client import Sandbox

    with Sandbox.start("--positions", "10") as sandbox, Ledger.open(f"sqlite:///{folder}/memory.db") as ledger:
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
    return measured(name, "MB", lambda: grown, None, _MEMORY_GROWTH_MB, rounds=1)


def _resident_mb() -> float:
    """Return the memory that this process has now, in MB; where the system does not tell, its peak so far."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    unit = 1024 if sys.platform.startswith("linux") else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
