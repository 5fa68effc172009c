"""Terminals that do what a test defines: real sockets in a thread of their own, and everything they were asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Self

import zmq

from ledger.gateway.curve import load_server_keys, secure_server

GIVE_UP_SEC: Final = 20.0  # how long a test waits for what has to happen; never how long it takes
_LOOK_MSC: Final = 5

Request = dict[str, Any]
Script = Callable[[int, Request], Iterable[bytes]]


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    give_up = time.monotonic() + GIVE_UP_SEC
    while not condition():
        assert time.monotonic() < give_up, f"waited for {what}"
        time.sleep(0.002)


def positions(*tickets: int, echo: Request | None = None) -> bytes:
    """Return an answer that shows these tickets; of the extended form where a request is given to echo."""
    rows = [{"ticket": ticket, "symbol": "EURUSD", "type": "buy", "volume": 0.1, "price_open": 1.1} for ticket in tickets]
    answer = {"status": "SUCCESS", "positions": rows} | ({} if echo is None else {"req_id": echo["req_id"]})
    return json.dumps(answer).encode()


class Terminal:
    """A server whose answers come from a script: the number of the request (1, 2, ...) and itself -> what to send back.

    A ROUTER sends the answers where the request came from; ``answer_late`` sends one to whoever asked a given request.
    """

    def __init__(
        self, script: Script, *, kind: int = zmq.ROUTER, port: int | None = None, keys: Path | None = None, enforce: bool = True
    ) -> None:
        self.asked: list[Request] = []
        self._script = script
        self._routes: list[list[bytes]] = []
        self._late: list[tuple[int, bytes]] = []
        self._stop = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(kind)
        self._socket.linger = 0
        self._authenticator = None
        if keys is not None:
            own = load_server_keys(keys / "server.key_secret")
            self._authenticator = secure_server(self._socket, self._context, own, keys / "authorised")
            if not enforce:
                self._authenticator.stop()
                self._authenticator = None
        if port is None:
            self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        else:
            self.port = port
            until(self._binds, f"port {port}")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _binds(self) -> bool:
        try:
            self._socket.bind(f"tcp://127.0.0.1:{self.port}")
        except zmq.ZMQError:
            return False
        return True

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def answer_late(self, number: int, raw: bytes) -> None:
        """Answer an earlier request before the one that is being answered."""
        self._late.append((number, raw))

    def wait_asked(self, count: int) -> None:
        until(lambda: len(self.asked) >= count, f"{count} requests")

    def _serve(self) -> None:
        try:
            while not self._stop.is_set():
                if not self._socket.poll(_LOOK_MSC):
                    continue
                *route, raw = self._socket.recv_multipart()
                request = json.loads(raw)
                self.asked.append(request)
                self._routes.append(route)
                for answer in self._script(len(self.asked), request):
                    while self._late:
                        number, late = self._late.pop()
                        self._socket.send_multipart([*self._routes[number - 1], late])
                    self._socket.send_multipart([*route, answer])
        finally:
            self._socket.close()
            if self._authenticator is not None:
                self._authenticator.stop()
            self._context.term()


def silent(number: int, request: Request) -> Iterable[bytes]:
    """Never answer."""
    return ()


def echoing(number: int, request: Request) -> Iterable[bytes]:
    """Answer each request by its number as the ticket, in the extended form."""
    return (positions(number, echo=request),)


def plain(number: int, request: Request) -> Iterable[bytes]:
    """Answer each request by its number as the ticket, in the base form."""
    return (positions(number),)


def unused_port() -> int:
    """Return a port where nobody is."""
    with Terminal(silent) as server:
        return server.port
