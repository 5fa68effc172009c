"""The rows about the gateway service, for ``bench.py``: a sync over it, an event from broker to callback, PING under load.

The terminal is the fake module in a terminal process of its own. The reference of a sync is a bare round trip of the same
bytes: a socket that answers what it was given, and the standard library's JSON.
"""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as File
from typing import Any

from tools.bench.paths import Path, Paths

_POSITIONS = 1000
_SYNCS = 200
_TRADES = 100
_PINGS = 1000
_ACCOUNT = ("Sandbox-Demo", 70113)
_GIVE_UP_SEC = 60.0


def service_paths(folder: File) -> Paths:
    """What the service costs."""
    with _service(folder) as ready:
        yield from _sync_paths(folder, ready["endpoint"])
        yield from _push_paths(ready)
        yield from _ping_paths(ready["endpoint"])


@contextmanager
def _service(folder: File) -> Iterator[dict[str, Any]]:
    """Run a service over a simulated terminal with many positions."""
    options = ("--fake", "--json", "--port", "0", "--positions", str(_POSITIONS), "--balance", "100000000")
    process = subprocess.Popen(
        [sys.executable, "-m", "ledger.gateway.serve", *options, "--store", str(folder / "gateway.db")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.communicate()  # it ends with its input


def _sync_paths(folder: File, endpoint: str) -> Paths:
    import zmq

    from ledger import Ledger, StateReconciler
    from ledger.errors import GatewayError
    from ledger.gateway.client import ZmqGateway

    with Ledger.create(f"sqlite:///{folder}/service.db") as ledger, ZmqGateway(endpoint) as gateway:
        account = ledger.account(*_ACCOUNT)
        account.open(currency="USD", mode="hedging", clock="ny-close")
        raw = b""
        while not raw:
            try:
                raw = gateway.positions().raw
            except GatewayError:
                time.sleep(0.05)
        reconciler = StateReconciler(account, gateway)
        first = reconciler.startup_recovery()
        if first.status.value != "SUCCESS":
            raise SystemExit(f"the first sync ended in {first.status.value}: {first.reason}")
        took: list[float] = []
        bare: list[float] = []
        with _echo(raw) as plain:
            socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REQ)
            socket.linger = 0
            socket.connect(plain)
            for _ in range(_SYNCS):
                start = time.perf_counter()
                result = reconciler.sync_positions()
                took.append((time.perf_counter() - start) * 1000)
                if result.status.value != "SUCCESS" or result.appended:
                    raise SystemExit(f"a sync ended in {result.status.value}, {result.appended} appended: {result.reason}")
                start = time.perf_counter()
                socket.send(b'{"action": "GET_POSITIONS", "symbol": "*", "req_id": "x"}')
                json.loads(socket.recv())
                bare.append((time.perf_counter() - start) * 1000)
            socket.send(b"stop")
            socket.recv()
            socket.close()
    yield Path(
        name=f"sync of {_POSITIONS:,} agreeing positions over the service", unit="ms", target=2.5, by_ratio=True,
        ours=lambda: statistics.median(took), reference=lambda: statistics.median(bare), once=True,
    )  # fmt: skip


@contextmanager
def _echo(raw: bytes) -> Iterator[str]:
    """Answer every request with the same bytes, until one is ``stop``."""
    import zmq

    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REP)
    socket.linger = 0
    port = socket.bind_to_random_port("tcp://127.0.0.1")

    def answer() -> None:
        while socket.recv() != b"stop":
            socket.send(raw)
        socket.send(b"")

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"tcp://127.0.0.1:{port}"
    thread.join()
    socket.close()


def _push_paths(ready: dict[str, Any]) -> Paths:
    """A deal at the broker to the callback of a client that subscribed."""
    from ledger.gateway.client import ZmqGateway
    from ledger.gateway.sandbox.client import Sandbox

    took: list[float] = []
    heard: dict[int, float] = {}
    arrived = threading.Condition()

    def on_event(event: Any) -> None:
        if event is not None and event.kind == "deal":
            with arrived:
                heard[event.data["ticket"]] = time.perf_counter()
                arrived.notify()

    with ZmqGateway(ready["endpoint"]) as gateway, Sandbox(ready["endpoint"], ready["control"]) as terminal:
        stream = gateway.subscribe(on_event)
        while not stream.is_alive:
            time.sleep(0.01)
        for number in range(_TRADES):
            time.sleep(0.013 * (number % 16))  # at any moment between two looks of the service
            start = time.perf_counter()
            (deal,) = terminal.control("trade", symbol="EURUSD", side="buy", volume="0.01")["deals"]
            with arrived:
                give_up = start + _GIVE_UP_SEC
                while deal["ticket"] not in heard:
                    if not arrived.wait(give_up - time.perf_counter()):
                        raise SystemExit(f"deal {deal['ticket']} did not arrive")
            took.append((heard[deal["ticket"]] - start) * 1000)
        stream.close()
    yield Path(name="push of a deal to a callback", unit="ms", target=None, ours=lambda: statistics.median(took), once=True)
    yield Path(name="push of a deal to a callback, p99", unit="ms", target=300, ours=lambda: _p99(took), once=True)


def _ping_paths(endpoint: str) -> Paths:
    """PING while three other clients read a thousand positions without a pause."""
    from ledger.errors import GatewayRefused
    from ledger.gateway.client import ZmqGateway

    took: list[float] = []
    is_over = threading.Event()

    def read() -> None:
        with ZmqGateway(endpoint) as gateway:
            while not is_over.is_set():
                try:
                    gateway.positions()
                except GatewayRefused:
                    continue  # BUSY

    readers = [threading.Thread(target=read) for _ in range(3)]
    for one in readers:
        one.start()
    with ZmqGateway(endpoint) as gateway:
        gateway.ping()
        for _ in range(_PINGS):
            start = time.perf_counter()
            gateway.ping()
            took.append((time.perf_counter() - start) * 1000)
    is_over.set()
    for one in readers:
        one.join()
    yield Path(name="PING of the service under load, p99", unit="ms", target=50, ours=lambda: _p99(took), once=True)


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
