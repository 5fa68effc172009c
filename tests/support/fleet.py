"""This module is what tests of fleets share: leases on a journal of their own, a gateway in this process, and workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import zmq

from ledger import AccountId, Ledger
from ledger.fleet.accounts import fleet_account
from ledger.fleet.connect import Connector
from ledger.fleet.leases import Lease, Leases
from ledger.fleet.worker import Connect, FleetSettings, Worker
from ledger.gateway.pool import Pools
from ledger.gateway.server import Call
from ledger.gateway_settings import SyncSettings
from ledger.protocol.messages import GetPositions
from ledger.reconcile.policy import ReconcilePolicy
from ledger.systemd import SystemdNotifier
from ledger.values import INT64_MAX
from tests.support.journals import new_postgres_url
from tools.testkit.fleet import FIRST_LOGIN, SERVER, Gateway

ADDRESS = "tcp://127.0.0.1:5555"
OTHER_ADDRESS = "tcp://127.0.0.1:5556"
LEASE_US = 60_000_000
#: The policy of a test: a fill of the moment before is not waited for.
POLICY = ReconcilePolicy(settle_sec=0)


def names(count: int, first: int = FIRST_LOGIN) -> list[AccountId]:
    """Return the accounts of a simulated broker."""
    return [AccountId(SERVER, login) for login in range(first, first + count)]


class Desk:
    """A journal in Postgres with a fleet."""

    def __init__(self) -> None:
        self.url = new_postgres_url()
        self.ledger = Ledger.open(self.url)
        self.leases = Leases(self.ledger.journal)

    def add(self, accounts: Sequence[AccountId], address: str = ADDRESS, every: str = "15s") -> None:
        self.leases.add([fleet_account(one, address, every) for one in accounts])

    def execute(self, text: str, *values: Any) -> None:
        journal: Any = self.ledger.journal
        with journal.engine.writing() as session:
            session.execute(text, *values)

    def let_all_be_due(self) -> None:
        """Let every account be due that nobody holds, now."""
        self.execute("UPDATE fleet_leases SET due_us = 1, ready_us = 1 WHERE worker IS NULL AND is_stopped = 0")

    def let_all_lapse(self) -> None:
        """Let every lease lapse, now."""
        now = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        self.execute(f"UPDATE fleet_leases SET ready_us = {now} WHERE worker IS NOT NULL")  # noqa: S608

    def set_clock_back(self, span_us: int) -> None:
        """Let all moments be as much further ahead as they are when the database's clock goes back."""
        self.execute("UPDATE fleet_leases SET due_us = due_us + ?", span_us)
        self.execute("UPDATE fleet_leases SET ready_us = ready_us + ? WHERE ready_us < ?", span_us, INT64_MAX)
        self.execute("UPDATE fleet_gateways SET retry_us = retry_us + ? WHERE retry_us IS NOT NULL", span_us)

    def claim(self, worker: str, limit: int = 100, *, grace_us: int = LEASE_US, lease_us: int = LEASE_US) -> list[Lease]:
        return self.leases.claim(worker, limit=limit, lease_us=lease_us, grace_us=grace_us)


@contextmanager
def desk_of_fleet() -> Iterator[Desk]:
    """Make a journal with a fleet, for one test."""
    desk = Desk()
    try:
        yield desk
    finally:
        desk.ledger.close()


class HoldingGateway(Gateway):
    """A gateway that can hold back the answer to one request for positions."""

    def __init__(self, logins: range) -> None:
        super().__init__(logins, trade_every_ms=0, seed=1)
        self.is_holding = False
        self.arrived = Event()
        self._held: list[bytes] = []
        self._call: Call | None = None

    def take(self, call: Call) -> None:
        """Answer; or have the answer ready, which shows the positions of this moment, and send it later."""
        if not self.is_holding or call.request.action != GetPositions.action:
            super().take(call)
            return
        self.is_holding, self._call = False, call
        super().take(Call(call.request, self._held.append, call.client))
        self.arrived.set()

    def let_go(self) -> None:
        """Send the answer that was held back."""
        assert self._call is not None
        self._call.send(self._held.pop())


@contextmanager
def serving(*gateways: Gateway) -> Iterator[list[str]]:
    """Serve gateways in threads of this process; yields their endpoints."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    threads = []
    try:
        for one in gateways:
            ready = Event()
            threads.append(Thread(target=one.server.serve, args=(context, _setter(ready))))
            threads[-1].start()
            assert ready.wait(30)
        yield [one.server.endpoint for one in gateways]
    finally:
        for one in gateways:
            one.server.stop()
        for thread in threads:
            thread.join()
        context.term()


def _setter(ready: Event) -> Callable[[str], object]:
    return lambda _: ready.set()


@contextmanager
def working(desk: Desk, connect: Connect, *, lease_sec: float = 60) -> Iterator[list[tuple[str, dict[str, object]]]]:
    """Have a worker in a thread of this process; yields what it logs, as event and fields."""
    logged: list[tuple[str, dict[str, object]]] = []

    def log(level: str, event: str, **fields: object) -> None:
        logged.append((event, fields | {"level": level}))

    settings = FleetSettings(lease_sec=lease_sec, grace_sec=0, poll_sec=0.02, threads=2)
    worker, stopping = Worker(desk.ledger, connect, settings=settings, log=log, notifier=SystemdNotifier()), Event()
    thread = Thread(target=worker.run, args=(stopping,))
    thread.start()
    try:
        yield logged
    finally:
        stopping.set()
        thread.join()


@contextmanager
def connecting(ledger: Ledger, **gateway: object) -> Iterator[Connector]:
    """Make reconcilers as a worker has them, by the settings of ``[gateway]`` that are given."""
    pools = Pools()
    try:
        yield Connector(ledger, gateway, SyncSettings(policy=POLICY), pools)
    finally:
        pools.close()
