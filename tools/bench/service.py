"""The rows about the gateway service, for ``bench.py``: syncs through it, its push stream, and PING while others ask.

The service is ``ledger gateway serve --fake`` with its two processes. The reference of a sync is a bare ZeroMQ server that
answers one request with as many bytes of the same JSON, and does nothing else.
"""

import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path as File
from typing import Any

import zmq
from attrs import frozen

from tools.bench.paths import Path, Paths

_ROOT = File(__file__).resolve().parents[2]
_ACCOUNT = ("Sandbox-Demo", 70113)
_PATIENCE_SEC = 60.0
_POLL_SEC = 0.2  # how often the service looks at its terminal
_POSITIONS_REQUEST = b'{"action": "GET_POSITIONS", "symbol": "*", "req_id": "x"}'
_PUSH_TARGET_MS = 300.0
_PING_TARGET_MS = 50.0
_SYNC_TARGET = 2.5


@frozen(kw_only=True)
class ServiceSizes:
    """How much is measured."""

    positions: int = 1000
    syncs: int = 200
    pushes: int = 100
    pings: int = 1000
    clients: int = 4  # that ask for positions without a pause, while PING is measured


@frozen(kw_only=True)
class _Service:
    """Where a running service is."""

    endpoint: str
    control: str


def service_paths(folder: File, sizes: ServiceSizes | None = None) -> Paths:
    """What the gateway service costs whoever asks it, and how soon it reports."""
    sizes = sizes or ServiceSizes()
    with _served(folder, "--positions", str(sizes.positions)) as service:
        yield from _sync_rows(folder, service, sizes)
        yield from _ping_rows(service, sizes)
    with _served(folder, "--positions", "10") as service:
        yield from _push_rows(service, sizes)


@contextmanager
def _served(folder: File, *options: str) -> Iterator[_Service]:
    """Run a service over a simulated terminal, and wait until it has it."""
    command = [sys.executable, "-m", "ledger.gateway.serve", "--fake", "--port", "0", "--json", *options]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "service.log").open("ab"))
        process = stack.enter_context(
            subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        )
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            service = _Service(endpoint=ready["endpoint"], control=ready["control"])
            from tools.testkit.services import wait_ready

            wait_ready(service.endpoint, _PATIENCE_SEC)
            yield service
        finally:
            process.terminate()


# ----------------------------------------------------------------------------------------------------------------- syncs


def _sync_rows(folder: File, service: _Service, sizes: ServiceSizes) -> Paths:
    """A sync of agreeing positions against a bare JSON round trip of the bytes of their answer."""
    from ledger import Ledger, StateReconciler
    from ledger.gateway.client import ZmqGateway

    with ExitStack() as stack:
        asker = stack.enter_context(_requests(service.endpoint))
        answer = asker(_POSITIONS_REQUEST)
        decoded = json.loads(answer)
        encoded = stack.enter_context(_bare_server(lambda: _encode(decoded)))
        ready_made = stack.enter_context(_bare_server(lambda: answer))
        gateway = stack.enter_context(ZmqGateway(service.endpoint))
        ledger = stack.enter_context(Ledger.create(f"sqlite:///{folder}/service.db"))
        account = ledger.account(*_ACCOUNT)
        account.open(currency="USD", mode="hedging", clock="ny-close")
        reconciler = StateReconciler(account, gateway)
        first = reconciler.startup_recovery()
        if first.status.value != "SUCCESS" or len(account.portfolio.positions) != sizes.positions:
            raise SystemExit(f"the first sync ended in {first.status.value}: {first.reason}")
        took: dict[str, list[float]] = {"sync": [], "bare": [], "ready-made": []}
        for _ in range(sizes.syncs):
            took["sync"].append(_milliseconds(lambda: _require_success(reconciler.sync_positions())))
            took["bare"].append(_milliseconds(lambda: json.loads(encoded(_POSITIONS_REQUEST))))
            took["ready-made"].append(_milliseconds(lambda: json.loads(ready_made(_POSITIONS_REQUEST))))
    middle = {name: statistics.median(values) for name, values in took.items()}
    name = f"sync of {sizes.positions:,} agreeing positions through the service"
    yield Path(
        name=name, unit="ms", target=_SYNC_TARGET, by_ratio=True, ours=lambda: middle["sync"],
        reference=lambda: middle["bare"], once=True,
    )  # fmt: skip
    yield Path(
        name=f"{name}, to bytes that are ready-made", unit="ms", target=None, ours=lambda: middle["sync"],
        reference=lambda: middle["ready-made"], once=True,
    )  # fmt: skip


def _require_success(result: Any) -> None:
    if result.status.value != "SUCCESS" or result.appended:
        raise SystemExit(f"a sync ended in {result.status.value} with {result.appended} events: {result.reason}")


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@contextmanager
def _requests(endpoint: str) -> Iterator[Callable[[bytes], bytes]]:
    """Return what asks and waits for the answer."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(endpoint)

        def ask(request: bytes) -> bytes:
            socket.send(request)
            if not socket.poll(round(_PATIENCE_SEC * 1000)):
                raise SystemExit(f"no answer from {endpoint}")
            return socket.recv()

        yield ask


@contextmanager
def _bare_server(answer: Callable[[], bytes]) -> Iterator[Callable[[bytes], bytes]]:
    """Run a server that decodes a request and answers, and return what asks it.

    It is a thread: while it works, whoever asks only waits.
    """
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        socket.linger = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")

        def serve() -> None:
            while "action" in json.loads(socket.recv()):
                socket.send(answer())
            socket.send(b"")

        thread = threading.Thread(target=serve, name="bare server")
        thread.start()
        with _requests(f"tcp://127.0.0.1:{port}") as ask:
            try:
                yield ask
            finally:
                ask(b"{}")
                thread.join()


# ------------------------------------------------------------------------------------------------------------------ PING


def _ping_rows(service: _Service, sizes: ServiceSizes) -> Paths:
    """PING while other clients ask for all positions without a pause."""
    from ledger.gateway.client import ZmqGateway

    took: list[float] = []
    program = f"from tools.bench.service import ask_for_ever; ask_for_ever({service.endpoint!r}, {sizes.clients})"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE) as process, ZmqGateway(service.endpoint) as gateway:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # each client was answered once
            for _ in range(sizes.pings):
                took.append(_milliseconds(gateway.ping))
                time.sleep(0.001)  # as often as somebody may look, and no busy loop
        finally:
            process.kill()
    name = f"PING while {sizes.clients} clients ask for {sizes.positions:,} positions"
    yield Path(name=f"{name}, p99", unit="ms", target=_PING_TARGET_MS, ours=lambda: percentile(took, 99), once=True)


def ask_for_ever(endpoint: str, clients: int) -> None:
    """Ask for all positions in so many threads, without a pause. Prints a line when each was answered."""
    from ledger.errors import GatewayError
    from ledger.gateway.client import ZmqGateway

    answered = threading.Barrier(clients + 1)

    def ask() -> None:
        with ZmqGateway(endpoint) as gateway:
            gateway.positions()
            answered.wait()
            while True:
                try:
                    gateway.positions()
                except GatewayError:
                    continue  # busy: so it is asked again

    for _ in range(clients):
        threading.Thread(target=ask, daemon=True).start()
    answered.wait()
    print("ready", flush=True)
    threading.Event().wait()


# ------------------------------------------------------------------------------------------------------------------ push


def _push_rows(service: _Service, sizes: ServiceSizes) -> Paths:
    """From a manual trade in the terminal, and from its publication, to the callback of whoever listens."""
    from ledger.gateway.client import ZmqGateway
    from ledger.gateway.sandbox.client import Sandbox

    dice = random.Random(1)  # noqa: S311  # a measurement is repeatable, not secret
    arrived = threading.Event()
    seen: dict[str, float] = {}

    def note(event: Any) -> None:
        if event is not None and event.kind == "position" and not arrived.is_set():
            seen["at"], seen["pushed"] = time.time() * 1000, event.at_msc
            arrived.set()

    since_trade: list[float] = []
    since_push: list[float] = []
    with ZmqGateway(service.endpoint) as gateway, Sandbox(service.endpoint, service.control) as terminal:
        stream = gateway.subscribe(note)
        try:
            _wait_alive(stream)
            for _ in range(sizes.pushes):
                time.sleep(dice.uniform(0, _POLL_SEC))  # a trade comes at any moment between two looks
                arrived.clear()
                terminal.control("trade", symbol="EURUSD", side="buy", volume="0.01")
                start = time.time() * 1000  # the simulation has written its books, which no terminal would wait for
                if not arrived.wait(_PATIENCE_SEC):
                    raise SystemExit("a trade was not pushed")
                since_trade.append(max(0.0, seen["at"] - start))
                since_push.append(max(0.0, seen["at"] - seen["pushed"]))
        finally:
            stream.close()
    for name, values in (("a trade in the terminal", since_trade), ("push", since_push)):
        yield Path(
            name=f"{name} to callback, p99", unit="ms", target=_PUSH_TARGET_MS,
            ours=partial(percentile, values, 99), once=True,
        )  # fmt: skip


def _wait_alive(stream: Any) -> None:
    give_up = time.monotonic() + _PATIENCE_SEC
    while not stream.is_alive:
        if time.monotonic() > give_up:
            raise SystemExit("nothing is pushed")
        time.sleep(0.01)


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def percentile(values: list[float], percent: int) -> float:
    """Return the smallest value that at least so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
