"""``ledger gateway serve --fake`` for state machines: real processes that are killed, and a terminal that a test commands."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import zmq

from ledger.errors import GatewayError, GatewayRefused
from ledger.gateway.client import ZmqGateway
from ledger.gateway.sandbox.client import Sandbox
from ledger.snapshot import PushedEvent
from tests.support.machine import Json, RemoteTerminal

ROOT: Final = Path(__file__).resolve().parents[2]
GIVE_UP_SEC: Final = 120.0  # for what has to happen; nothing waits this long when all is well
_LOOK_SEC: Final = 0.01  # between two looks at whether it has
#: The first call of the service's own look at its terminal.
LOOK: Final = "orders_get"
_BLOCKED_SEC: Final = 3_600.0

#: The command itself. Only its pauses before another attempt are shorter, as a test lets it fail a hundred times.
_PROGRAM: Final = """
import sys
from ledger.gateway.serve import link, service
link.PAUSE_SEC = service.RECONNECT_SEC = 0.02
link.PAUSE_MAX_SEC = service.RECONNECT_MAX_SEC = 0.2
from ledger.gateway.serve.command import serve
serve(sys.argv[1:])
"""

#: Faults of the package that every snapshot shows, or there is none.
SERVED_REFUSED: Final = ("no-connection", "timeout", "fail", "exit", "not-connected", "wrong-login", "wrong-server")
#: Faults that a snapshot shows where there are positions.
SERVED_ROWS: Final = ("half", "duplicate")
#: Faults of the deals.
SERVED_DEALS: Final = ("late-deals", "half-history")


def until(holds: Callable[[], Any], what: str) -> Any:
    """Look again and again until something holds, and return it."""
    give_up = time.monotonic() + GIVE_UP_SEC
    while not (found := holds()):
        assert time.monotonic() < give_up, f"waited for {what}"
        time.sleep(_LOOK_SEC)
    return found


def _free_ports() -> int:
    """Return the first of three ports that nobody has.

    Systems give them to nobody who asks for any port: he would have them while the service is dead.
    """
    while True:
        first = 20_000 + 3 * secrets.randbelow(4_000)
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + 3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


class ServiceProcesses:
    """A server process and its terminal process. Either can be killed; the service starts again where it was.

    Args:
        folder: Where its store and the terminal's books are.
        mode: How the account books positions.
    """

    def __init__(self, folder: Path, *, mode: str) -> None:
        self._folder = folder
        self._mode = mode
        self._port = str(_free_ports())
        self._orphans: list[int] = []  # terminal processes whose server process was killed, inside a call or not
        self._process: subprocess.Popen[bytes] | None = None
        self.epochs: list[int] = []
        self.store = ""
        self.start()
        self.gateway = ZmqGateway(self.endpoint, timeout_ms=5_000)

    def start(self) -> None:
        """Start the server process, and wait until it answers."""
        assert self._process is None
        command = [
            sys.executable, "-c", _PROGRAM, "--fake", "--mode", self._mode, "--balance", "0", "--seed", "7", "--server-tz",
            "still", "--store", str(self._folder / "gateway.db"), "--json", "--port", self._port,
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log()
        ready = json.loads(line)
        self.endpoint, self.control_endpoint = ready["endpoint"], ready["control"]
        assert self.store in ("", ready["store"]), "the store is another one"
        assert not self.epochs or ready["epoch"] == self.epochs[-1] + 1, (self.epochs, ready)
        self.store = ready["store"]
        self.epochs.append(ready["epoch"])

    def log(self) -> str:
        return (self._folder / "log").read_text(encoding="utf-8")

    @property
    def is_running(self) -> bool:
        """Whether there is a server process."""
        return self._process is not None

    def pushed(self) -> list[PushedEvent]:
        """Return all events that the service pushed since its store was made."""
        found: list[PushedEvent] = []
        while more := self.gateway.events(after_seq=found[-1].seq if found else 0):
            found += more
        return found

    def until_ready(self) -> None:
        """Wait until positions are answered."""
        until(self._answers, "an answer")

    def _answers(self) -> bool:
        with suppress(GatewayError):
            self.gateway.positions()
            return True
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        return False

    def ping(self) -> Json:
        """Return what the service states of itself; it never waits for the terminal."""
        with zmq.Context() as context, context.socket(zmq.REQ) as asking:
            asking.linger = 0
            asking.connect(self.endpoint)
            asking.send(b'{"action": "PING", "req_id": "ping"}')
            assert asking.poll(round(GIVE_UP_SEC * 1000)), f"no answer to PING: {self.log()}"
            found: Json = json.loads(asking.recv())
            return found

    # ---- what is done to it

    def kill_server_process(self) -> None:
        """Kill it (SIGKILL). Its terminal process ends by itself, unless it is inside a call."""
        assert self._process is not None
        self._orphans += [pid for pid in (self._terminal_process(),) if pid is not None]
        self._process.kill()
        self._collect()

    def end(self) -> None:
        """End it in good order."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._collect()

    def kill_terminal_process(self) -> None:
        """Kill it (SIGKILL) wherever it is, and wait until it is gone."""
        pid = until(self._terminal_process, "a terminal process")
        os.kill(pid, signal.SIGKILL)
        until(lambda: self._terminal_process() != pid, "the end of the terminal process")

    def give_back(self) -> None:
        """End all of its processes."""
        self.gateway.close()
        if self._process is not None and self._process.poll() is None:
            self.kill_server_process()
        for pid in self._orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _collect(self) -> None:
        assert self._process is not None
        self._process.wait(GIVE_UP_SEC)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process = None

    def _terminal_process(self) -> int | None:
        """Return the terminal process's id; None where there is none now."""
        found: int | None = self.ping()["terminal_process"].get("pid")
        return found


class Commands(Sandbox):
    """Commands to the terminal behind a service. Its books are asked for again after a command only: no other changes them."""

    def __init__(self, service: ServiceProcesses) -> None:
        super().__init__(service.endpoint, service.control_endpoint)
        self._books: Json | None = None

    def control(self, command: str, **fields: Any) -> Json:
        if command != "books":
            self._books = None
            return super().control(command, **fields)
        if self._books is None:
            self._books = super().control(command)
        return self._books

    def forget(self) -> None:
        """Ask for the books again."""
        self._books = None


class ServedTerminal(RemoteTerminal):
    """The terminal behind a service, with the methods of a terminal.

    Args:
        service: The service.
    """

    def __init__(self, service: ServiceProcesses) -> None:
        self.commands = Commands(service)
        super().__init__(self.commands)
        self._service = service
        self._known: Json | None = None  # its books while no command is carried out; None while commands are
        self._owed_msc = 0  # what passed since

    def books(self) -> Json:
        return super().books() if self._known is None else self._known

    @property
    def now_msc(self) -> int:
        return int(self.books()["now_msc"]) + self._owed_msc

    def advance(self, msc: int) -> None:
        if self._known is not None:
            self._owed_msc += msc
        elif msc:
            super().advance(msc)

    def send_order(self, symbol: str, side: str, volume: str, *, parts: int = 1, magic: int = 0, reason: int = 3) -> Any:  # noqa: ARG002  # the control's own
        return self._do("trade", symbol=symbol, side=side, volume=volume, parts=parts, magic=magic)

    @contextmanager
    def unavailable(self) -> Iterator[None]:
        """Answer from what is known meanwhile; afterwards the terminal must have what it had."""
        known = self._known = self.books()
        try:
            yield
        finally:
            self._known = None
        self.commands.forget()
        owed_msc, self._owed_msc = self._owed_msc, 0
        assert until(self._books_again, "the books") == known
        self.advance(owed_msc)

    def _books_again(self) -> Json | None:
        with suppress(GatewayRefused):  # the command went to a terminal process that was killed
            return self.books()
        return None

    def block(self, call: str) -> None:
        """Let the next call of a function block the terminal process. The first of a look is waited for: it comes by itself."""
        self.commands.control("block", seconds=_BLOCKED_SEC, call=call)
        if call == LOOK:
            until(lambda: self._service.ping()["terminal_process"]["call"] == call, "a call that blocks")


class ServedCounter:
    """What is wrong with the package that a service asks, as ``Counter`` says it.

    Args:
        commands: Commands to the terminal.
        service: The service.
    """

    extended = True

    def __init__(self, commands: Commands, service: ServiceProcesses) -> None:
        self.fault: str | None = None
        self._commands = commands
        self._service = service

    def suffer(self, fault: str) -> None:
        """Fail from now on."""
        self._commands.clear()
        self.fault = fault
        self._commands.control("fail", fault=fault)

    def heal(self) -> None:
        """Let all be well, and wait until the service has noticed."""
        self.fault = None
        self._commands.clear()
        self._service.until_ready()
