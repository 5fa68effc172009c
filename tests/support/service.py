"""A gateway service over a simulated terminal: the server in a thread of the test, the terminal process a real one."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Final, Self

import zmq

from ledger.gateway.sandbox.client import Sandbox
from ledger.gateway.serve.service import GatewayService, ServiceSettings
from ledger.gateway.serve.terminal_process import TerminalSettings
from ledger.testing.service import OPENER

GIVE_UP_SEC: Final = 30.0  # how long a test waits for what has to happen; never how long it takes
GIVE_UP_MS: Final = round(GIVE_UP_SEC * 1000)


class ServedTerminal:
    """A running service, its simulated terminal, and a client that asks as badly as it likes.

    Args:
        folder: Where store and books are.
        terminal: Settings of the simulated terminal.
        opener: What opens it.
        settings: Further settings of the service.
    """

    def __init__(self, folder: Path, *, opener: str = OPENER, terminal: dict[str, Any] | None = None, **settings: Any) -> None:
        self.reports: list[str] = []
        self._answers: list[dict[str, Any]] = []  # to requests that are not waited for yet
        books = {"state": str(folder / "books")} if opener == OPENER else {}
        self.service = GatewayService(
            ServiceSettings(
                terminal=TerminalSettings(opener=opener, settings={**books, **(terminal or {})}),
                store=folder / "gateway.db",
                control_endpoint="tcp://127.0.0.1:0",
                **settings,
            ),
            report=self.reports.append,
        )
        ready = threading.Event()
        self._failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._serve, args=(ready,))
        self._thread.start()
        assert ready.wait(GIVE_UP_SEC), "the service is not ready"
        if self._failure:
            self._thread.join()
            raise self._failure[0]
        assert self.service.control_endpoint is not None
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.setsockopt(zmq.IPV6, 1)
        self.socket.connect(self.service.endpoint)
        self.terminal = Sandbox(self.service.endpoint, self.service.control_endpoint)

    def _serve(self, ready: threading.Event) -> None:
        try:
            self.service.serve(ready.set)
        except BaseException as error:  # noqa: BLE001  # the test raises it
            self._failure.append(error)
        finally:
            ready.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.terminal.stop()
        self.socket.close()
        self.context.term()
        self.service.stop()
        self._thread.join()
        assert not self._failure, self._failure

    @property
    def endpoint(self) -> str:
        return self.service.endpoint

    def send(self, raw: bytes) -> None:
        self.socket.send_multipart([b"", raw])

    def receive(self, req_id: str | None = None) -> dict[str, Any]:
        """Return the answer to a request; without an id the next one that came."""
        for number, found in enumerate(self._answers):
            if req_id in (None, found.get("req_id")):
                return self._answers.pop(number)
        while True:
            assert self.socket.poll(GIVE_UP_MS), "no answer"
            answer: dict[str, Any] = json.loads(self.socket.recv_multipart()[1])
            if req_id in (None, answer.get("req_id")):
                return answer
            self._answers.append(answer)

    def ask(self, action: str, **fields: Any) -> dict[str, Any]:
        self.send(json.dumps({"req_id": "asked", "action": action, **fields}).encode())
        return self.receive("asked")

    def ask_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Send a request of these fields, whatever they are, and return its answer."""
        self.send(json.dumps(fields).encode())
        return self.receive(fields["req_id"])

    def until(self, what: str, **expected: Any) -> dict[str, Any]:
        """Ask PING until its answer, or the terminal process in it, has these fields; return it."""
        give_up = time.monotonic() + GIVE_UP_SEC
        while True:
            answer = self.ask("PING")
            found = {**answer, **answer["terminal_process"]}
            if all(found.get(name) == value for name, value in expected.items()):
                return answer
            assert time.monotonic() < give_up, f"waited for {what}, found {answer}; {self.reports}"
            time.sleep(0.005)

    def until_connected(self) -> dict[str, Any]:
        return self.until("the terminal", connected=True)

    def block(self, seconds: float, call: str = "*") -> None:
        """Let the next call into the package block the terminal process, and wait until it does."""
        self.terminal.control("block", seconds=seconds, call=call)

    def kill_terminal_process(self) -> int:
        """Kill it at once (SIGKILL), wherever it is; return its id."""
        pid = self.service.link.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def listen(self, kind: str = "") -> Listener:
        """Return a reader of the push stream."""
        return Listener(self.context, self.service.publisher.endpoint, kind)


class Listener:
    """A reader of the push stream that is connected."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, kind: str = "") -> None:
        self.socket = context.socket(zmq.SUB)
        self.socket.linger = 0
        self.socket.setsockopt(zmq.SUBSCRIBE, b"LEDGER/")
        self.socket.connect(endpoint)
        self._kind = kind
        self.next_of("heartbeat")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def next_of(self, kind: str) -> dict[str, Any]:
        """Return the next message of a kind; those of other kinds are skipped."""
        give_up = time.monotonic() + GIVE_UP_SEC
        while time.monotonic() < give_up:
            if self.socket.poll(100):
                topic, raw = self.socket.recv_multipart()
                found: dict[str, Any] = json.loads(raw)
                if found["kind"] == kind:
                    assert topic.decode().endswith(f"/{kind}")
                    return found
        raise AssertionError(f"no {kind} was published")
