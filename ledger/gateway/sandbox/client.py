"""A sandbox in a process of its own, and what to do with it: for tests, demonstrations and engines that are being written."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from threading import Lock
from typing import Any, Self

import zmq

from ledger.deprecation import Alias
from ledger.errors import GatewayRefused, GatewayTimeout, GatewayUnavailable
from ledger.processes import own_command

_PATIENCE_MS = 30_000


class Sandbox:
    """A running sandbox: its endpoints, its commands, and orders sent to it. Safe to use from several threads.

    Args:
        endpoint: Where engines and reconcilers ask.
        control: Where commands go.
        process: The process, if it was started here.
    """

    def __init__(self, endpoint: str, control: str, process: subprocess.Popen[str] | None = None) -> None:
        self.endpoint = endpoint
        self.control_endpoint = control
        self._process = process
        self._lock = Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    @classmethod
    def start(cls, *options: str) -> Sandbox:
        """Start ``ledger sandbox`` on free ports, with further options, and wait until it answers.

        Raises:
            GatewayUnavailable: It did not start.
        """
        command = own_command("ledger", "sandbox", "--port", "0", "--control-port", "0", "--json", *options)
        if command is None:
            raise GatewayUnavailable("a sandbox is started with Python, and this program is none: run ledger sandbox")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  # ourselves
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise GatewayUnavailable(f"the sandbox did not start: exit code {process.wait()}")
        endpoints = json.loads(line)
        return cls(endpoints["endpoint"], endpoints["control"], process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        self._left()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
        self._left()

    def _left(self) -> None:
        if self._process is not None:
            self._process.wait(_PATIENCE_MS / 1000)
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        if not self._context.closed:
            self._context.term()

    def control(self, command: str, **fields: Any) -> dict[str, Any]:
        """Give a command and return its answer.

        Raises:
            GatewayRefused: It was refused.
            GatewayTimeout: There was no answer.
        """
        return self._asked(self.control_endpoint, {"command": command, **fields}, command)

    def send_order(self, symbol: str, side: str, volume: object, **fields: Any) -> dict[str, Any]:
        """Send an order, once and never again, and return what became of it: order and deals as the broker reports them.

        Raises:
            GatewayRefused: It was refused.
            GatewayTimeout: There was no answer: whether it was carried out is not known.
        """
        asked = {"action": "SEND_ORDER", "symbol": symbol, "side": side, "volume": str(volume), **fields}
        return self._asked(self.endpoint, asked, "SEND_ORDER")

    def books(self) -> dict[str, Any]:
        """Return the exact truth. See ``Terminal.books``."""
        books: dict[str, Any] = self.control("books")["books"]
        return books

    def trade_manually(self, count: int = 1) -> Sequence[str]:
        """Make random manual trades; return what was done, in words."""
        done: list[str] = self.control("trade_manually", count=count)["done"]
        return done

    hand = Alias("trade_manually")

    def fault(self, kind: str, times: int = 1, **fields: Any) -> None:
        """Let something go wrong; a negative number of times is until ``clear``."""
        self.control("fault", kind=kind, times=times, **fields)

    def clear(self) -> None:
        """Let all be well."""
        self.control("clear")

    def advance(self, msc: int) -> None:
        """Advance a clock that does not run."""
        self.control("advance", msc=msc)

    def _asked(self, endpoint: str, asked: dict[str, Any], what: str) -> dict[str, Any]:
        with self._lock:
            socket = self._context.socket(zmq.REQ)
            try:
                socket.linger = 0
                socket.connect(endpoint)
                socket.send(json.dumps(asked).encode())
                if not socket.poll(_PATIENCE_MS):
                    raise GatewayTimeout(f"the sandbox at {endpoint} does not answer {what}")
                answer: dict[str, Any] = json.loads(socket.recv())
            finally:
                socket.close(linger=0)
        if answer.get("status") != "SUCCESS":
            raise GatewayRefused(what, code=answer.get("error_code"), detail=answer.get("error_msg"))
        return answer
