"""The rows about orders, for ``bench.py``: what an order costs from request to fill, and what its check costs.

An order goes to a sandbox over loopback, durable at both ends: intent, answer and fill in the journal, three steps in the
gateway's store. Its reference is commits of one row into a bare SQLite file (WAL, synchronous FULL, in the same folder), and a
round trip between a DEALER and a ROUTER that do nothing else.
"""

import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path as File
from typing import Any

import zmq

from tools.bench.paths import Path, Paths

_ORDERS = 200
_WARM = 10
_COMMITS = 12
_ROW = "x" * 400  # about what an event has
_PATIENCE_MS = 60_000
_POSITIONS = 1000
_FINISHED = 10_000
_CHECKS = 200
_MSC = 1_767_607_200_000
_SYMBOLS = 20


def order_paths(folder: File, *, orders: int = _ORDERS) -> Paths:
    """What an order costs; and its check: with many positions, right after one of them changed, behind many orders done."""
    with _ordering(folder) as (submit, bare):
        took: dict[str, list[float]] = {"ours": [], "bare": []}
        for number in range(orders + _WARM):  # in turn: both see the machine in all its moods
            for name, work in (("ours", submit), ("bare", bare)):
                start = time.perf_counter()
                work()
                if number >= _WARM:
                    took[name].append((time.perf_counter() - start) * 1000)
    yield Path(
        name=f"an order and its fill, to {_COMMITS} commits and a round trip", unit="ms", target=1.0, by_ratio=True,
        ours=lambda: statistics.median(took["ours"]), reference=lambda: statistics.median(took["bare"]), once=True,
    )  # fmt: skip
    yield Path(name=f"check of an order, {_POSITIONS:,} positions", unit="us", target=100, ours=_checked(_POSITIONS, 0))
    yield Path(
        name=f"check after a change, {_POSITIONS:,} positions", unit="us", target=None,
        ours=_checked(_POSITIONS, 0, is_changed=True),
    )  # fmt: skip
    yield Path(name=f"check of an order, {_FINISHED:,} orders done", unit="us", target=100, ours=_checked(1, _FINISHED))


@contextmanager
def _ordering(folder: File) -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """Return what orders once, until the fill is recorded, and what its reference does."""
    from ledger import Ledger, StateReconciler
    from ledger.gateway.client import ZmqGateway
    from ledger.gateway.sandbox.client import Sandbox
    from ledger.order_manager import OrderManager, OrderRequest

    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox.start("--mode", "netting", "--store", str(folder / "gateway.db")))
        gateway = stack.enter_context(ZmqGateway(sandbox.endpoint))
        ledger = stack.enter_context(Ledger.create(f"sqlite:///{folder}/orders.db"))
        stated = gateway.ping()
        assert stated is not None
        assert stated.server is not None
        account = ledger.account(stated.server, stated.login)
        account.open(currency="USD", mode="netting", clock="ny-close")
        first = StateReconciler(account, gateway).startup_recovery()
        if first.status.value != "SUCCESS":
            raise SystemExit(f"the first sync ended in {first.status.value}: {first.reason}")
        manager = OrderManager(account, gateway)
        requests = cycle([OrderRequest.market("EURUSD", side, "0.01") for side in ("buy", "sell")])  # a few positions at most
        commit = stack.enter_context(_bare_commits(folder / "bare.db"))
        ask = stack.enter_context(_bare_round_trips())

        def submit() -> None:
            order = manager.submit(next(requests))
            if order.state.value != "filled":
                raise SystemExit(f"expected the order to be filled, found {order.state.value}: {order.why}")

        def bare() -> None:
            for _ in range(_COMMITS):
                commit()
            ask()

        yield submit, bare


@contextmanager
def _bare_commits(path: File) -> Iterator[Callable[[], object]]:
    """Return what inserts a row durably."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    try:
        yield lambda: database.execute("INSERT INTO rows (text) VALUES (?)", (_ROW,))
    finally:
        database.close()


@contextmanager
def _bare_round_trips() -> Iterator[Callable[[], object]]:
    """Return what sends a message from a DEALER to a ROUTER, which sends it back, and waits for it."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        router.linger = dealer.linger = 0
        dealer.connect(f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}")

        def serve() -> None:
            while True:
                name, message = router.recv_multipart()
                router.send_multipart([name, message])
                if not message:
                    return

        def ask(message: bytes = b"{}") -> None:
            dealer.send(message)
            if not dealer.poll(_PATIENCE_MS):
                raise SystemExit("no answer from the bare server")
            dealer.recv()

        thread = threading.Thread(target=serve, name="bare server")
        thread.start()
        try:
            yield ask
        finally:
            ask(b"")
            thread.join()


def _checked(positions: int, finished: int, *, is_changed: bool = False) -> Callable[[], float]:
    """Return what measures, in microseconds, the check of one request; ``is_changed``: each on a portfolio not asked before."""
    from ledger import FillRecorded, Ledger, OrderAnswered, OrderIntended
    from ledger.orders.limits import Allowed, Limits, Market, check
    from ledger.orders.request import OrderRequest

    account = Ledger.open("memory://").account("Bench", 1)
    account.open(currency="USD", mode="hedging", time_msc=_MSC)
    account.record_many(
        [
            FillRecorded(
                deal=number, symbol=f"S{number % _SYMBOLS}", side="buy", entry="in", volume="0.10", price="1.10005",
                time_msc=_MSC + number, order=number, position_id=number, commission=0, fee=0, swap=0, profit=0,
            )
            for number in range(1, positions + 1)
        ]
    )  # fmt: skip
    for number in range(finished):
        client_id = f"c{number}"
        account.record_many(
            [
                OrderIntended(
                    client_id=client_id, token="L" + "A" * 19, kind="market", time_msc=_MSC, symbol="S1", side="buy", volume=1
                ),
                OrderAnswered(client_id=client_id, verdict="rejected", order=0, deal=0, volume=0, time_msc=_MSC),
            ]
        )
    portfolio, orders = account.portfolio, account.replayed_orders(account.selection()[0])
    market = Market(now_utc_msc=_MSC + 60_000, verified_age_ms=0, positions_age_ms=0, intents=())
    limits = Limits(
        volume_per_order_max=1, volume_per_symbol_max=100, volume_total_max=1000, positions_max=5000, orders_max=5000,
        orders_per_minute_max=10, same_request_within_sec=1, hours=["mon-sun 00:00-24:00"], symbols=["S1"],
    )  # fmt: skip
    request = OrderRequest.market("S1", "buy", "0.10")

    def once() -> float:
        took = []
        for _ in range(_CHECKS):
            asked = portfolio.followed_by((), portfolio.folded + 1) if is_changed else portfolio
            if is_changed:
                asked.fold((), _never)
            start = time.perf_counter()
            found = check(limits, asked, orders, market, request)
            took.append((time.perf_counter() - start) * 1e6)
            if not isinstance(found, Allowed):
                raise SystemExit(f"expected the request to be allowed, found {found}")
        return statistics.median(took)

    return once


def _never(row: object) -> Any:
    raise AssertionError(f"nothing is folded, found {row}")
