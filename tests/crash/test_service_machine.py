"""Whatever happens to the terminal, to both processes of the gateway service, and to us: a startup agrees with the broker.

The machine of ``test_sync_machine`` over protocol version 2: a service in a process of its own, its terminal process, and a
desk in a third one; each of the three is killed (SIGKILL).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
import zmq
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from ledger import AccountId
from ledger.errors import GatewayError
from ledger.gateway.client import ZmqGateway
from ledger.gateway.sandbox.client import Sandbox
from ledger.snapshot import RemoteService
from tests.crash.test_sync_machine import Market
from tests.support.journals import new_url
from tests.support.machine import RealDesk, RemoteTerminal

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = 3
PHASES: Final = (Phase.explicit, Phase.reuse, Phase.generate)  # a failure here is too slow to be made smaller
GIVE_UP_SEC: Final = 60.0
#: Faults of the fake module with which no snapshot may be believed.
REFUSED: Final = ("no-connection", "timeout", "not-connected", "wrong-login", "wrong-server")
#: Faults that are refused where there is a position.
OF_POSITIONS: Final = ("half", "duplicate")
OTHERS: Final = ("slow", "terminal process killed", "server process killed")

WORK: Final = """
from tests.support import machine
machine.TIMEOUT_MS = 1_500
machine.work(url, *sys.argv[2:4], say, hear)
"""


class ServiceProcess(Sandbox):
    """A service over a simulated terminal in a process of its own, commanded as a sandbox is."""

    def __init__(self, folder: Path, mode: str) -> None:
        self._options = [
            "--mode",
            mode,
            "--balance",
            "0",
            "--seed",
            "7",
            "--server-tz",
            "still",
            "--store",
            f"{folder}/gateway.db",
        ]
        self._ports: tuple[str, ...] = ("--port", "0")
        ready = self._run()
        super().__init__(ready["endpoint"], ready["control"])
        names = {"--port": "endpoint", "--push-port": "push", "--control-port": "control"}
        self._ports = tuple(
            word for option, name in names.items() for word in (option, ready[name].rpartition(":")[2])
        )  # the same ones when it is started again

    def _run(self) -> dict[str, Any]:
        self.service = subprocess.Popen(
            [sys.executable, "-m", "ledger.gateway.serve", "--fake", "--json", *self._options, *self._ports],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.service.stdout is not None
        ready: dict[str, Any] = json.loads(self.service.stdout.readline())
        return ready

    def send_order(self, symbol: str, side: str, volume: object, **fields: Any) -> dict[str, Any]:
        return self.control("trade", symbol=symbol, side=side, volume=str(volume), **fields)

    def kill_service(self) -> None:
        """Kill the server process at once and start it again."""
        self._end()
        self._run()

    def kill_terminal_process(self, *, inside: str | None = None) -> None:
        """Kill the terminal process at once, wherever it is, or as soon as it is inside a call."""
        give_up = time.monotonic() + GIVE_UP_SEC
        while True:
            found = self._terminal_process()
            if inside in (None, found.get("call")):
                os.kill(found["pid"], signal.SIGKILL)
                return
            assert time.monotonic() < give_up, found
            time.sleep(0.002)

    def _terminal_process(self) -> dict[str, Any]:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        with context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(self.endpoint)
            socket.send(b'{"action":"PING","req_id":"pid"}')
            found: dict[str, Any] = json.loads(socket.recv())["terminal_process"]
            return found

    def kill_both(self, *, inside: str) -> None:
        """Kill the server process while the terminal process is inside a call, then that one, and start the service again."""
        give_up = time.monotonic() + GIVE_UP_SEC
        while (found := self._terminal_process()).get("call") != inside:
            assert time.monotonic() < give_up, found
            time.sleep(0.002)
        self.service.kill()
        os.kill(found["pid"], signal.SIGKILL)  # it would end by itself, but only when its call does
        self.service.communicate()
        self._run()

    def _end(self) -> None:
        self.service.kill()
        self.service.communicate()

    def stop(self) -> None:
        self._end()
        super().stop()

    def until_connected(self) -> None:
        """Wait until the service answers for its terminal."""
        give_up = time.monotonic() + GIVE_UP_SEC
        with ZmqGateway(self.endpoint) as gateway:
            while True:
                try:
                    gateway.positions()
                    state: RemoteService | None = gateway.ping()
                    if state is not None and state.connected:
                        return
                except GatewayError:
                    assert time.monotonic() < give_up


class ServiceCounter:
    """What is wrong with a service, as ``Counter`` has it."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self.extended = True
        self.fault: str | None = None

    def suffer(self, fault: str) -> None:
        self.heal()
        self.fault = fault
        if fault == "terminal process killed":
            self._service.kill_terminal_process()
            self._service.until_connected()
        elif fault == "server process killed":
            self._service.kill_service()
            self._service.until_connected()
        else:
            self._service.control("fail", fault=f"{fault}:-1", slow_ms=5)

    def heal(self) -> None:
        if self.fault is not None:
            self._service.control("heal")
            self._service.until_connected()
        self.fault = None


class ServiceMarket(Market):
    """A market whose terminal is behind the gateway service."""

    faults = (*REFUSED, *OF_POSITIONS, *OTHERS)
    folders: ClassVar[Any]
    url: ClassVar[Any]
    start: ClassVar[Any]

    def open(self):
        folder = next(type(self).folders)
        self.service = ServiceProcess(folder, self.mode)
        self.service.until_connected()
        self.terminal = RemoteTerminal(self.service)
        self.counter = ServiceCounter(self.service)
        self.name = AccountId("Sandbox-Demo", 70113)
        url = type(self).url(folder)
        self.desk = RealDesk(
            lambda: type(self).start(WORK, url, self.service.endpoint, str(self.name)), url, self.name, self.terminal
        )

    def is_refused(self, known_msc):  # noqa: ARG002  # an old answer is none of these faults
        has_positions = bool(self.terminal.open_positions()) if self.counter.fault in OF_POSITIONS else False
        return self.counter.fault in REFUSED or has_positions

    def is_recorded_whole(self):
        return True

    @precondition(lambda self: self.counter.fault is None)
    @rule(startup=st.booleans(), is_served=st.booleans())
    def a_process_is_killed_in_a_call(self, startup, is_served):
        """The terminal process, or the server process too, is killed while the terminal does not answer."""
        kill = self.service.kill_terminal_process if is_served else self.service.kill_both
        before = self.look()
        self.service.control("block", seconds=3_600, call="positions_total")
        killer = threading.Thread(target=kill, kwargs={"inside": "positions_total"})
        killer.start()
        result = self.desk.sync(startup=startup)
        killer.join()
        self.service.until_connected()
        assert result.status != "FAILED", result
        if is_served:
            assert result.status == "DEGRADED", result
            assert self.look()["positions"] == before["positions"]
        self.is_whole()

    def teardown(self):
        try:
            super().teardown()
        finally:
            self.service.stop()


@pytest.mark.parametrize(("mode", "kind"), [("hedging", "sqlite"), ("netting", "postgres")])
def test_a_startup_over_the_service_agrees_with_the_broker(mode, kind, tmp_path, start):
    numbers = count()

    def folders():
        while True:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            yield folder

    class Case(ServiceMarket):
        pass

    Case.mode, Case.folders, Case.start = mode, folders(), staticmethod(start)
    Case.url = staticmethod(lambda folder: new_url(kind, folder))
    run_state_machine_as_test(Case, settings=settings(max_examples=EXAMPLES, stateful_step_count=14, phases=PHASES))
