"""The gateway's server: requests over ZeroMQ, each passed to a responder, and its answers on their way back.

The server binds a ROUTER socket, refuses what is no request, and sends each answer to whoever asked. What is answered, and
when, is the business of its ``Responder``: the sandbox's simulated terminal is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import zmq
from attrs import define, field, frozen
from zmq.auth.thread import ThreadAuthenticator

from ledger.gateway.curve import ServerKeys, secure_server
from ledger.protocol import MESSAGE_BYTES_MAX
from ledger.protocol.messages import Answer, Refusal, Request
from ledger.protocol.read import read_request
from ledger.protocol.write import write_answer

Context = zmq.Context[zmq.Socket[bytes]]
Watched = Mapping[zmq.Socket[bytes], Callable[[], object]]

_WAIT_SEC: Final = 0.1  # how long the server waits for a request before it looks whether it shall end
_REBIND_SEC: Final = 5  # how long it takes the system at most to give our own port back
#: How many answers wait for a client that does not read them; what is beyond it is lost.
_UNREAD_MAX: Final = 100
_WORDS_MAX: Final = 500


@frozen(eq=False)
class Call:
    """One request, and the way back to whoever sent it."""

    request: Request
    _send: Callable[[bytes], object]
    client: bytes = b""  # which connection it came from

    def answer(self, answer: Answer) -> None:
        """Answer the request, with the id that it is to echo."""
        self.send(write_answer(answer, echo=self.request.echo))

    def send(self, raw: bytes) -> None:
        """Send an answer that is written already. It is lost if the server was restarted since the request came."""
        self._send(raw)


class Responder(Protocol):
    """What answers behind a server. All its methods are called by the thread that serves."""

    def take(self, call: Call) -> None:
        """Answer a request by its call: at once, later, or never.

        Whatever is raised is answered as ``INVALID_REQUEST``: no request ends the server.
        """
        ...

    def run_due(self) -> float:
        """Do what is due. Returns in how many seconds more is; ``inf`` where nothing is."""
        ...


@define
class GatewayServer:
    """Serves one responder until it is stopped.

    Attributes:
        responder: What answers.
        endpoint: Where it binds; port 0 takes a free one, which is its endpoint from then on.
        keys: CURVE keys; clients must be in ``authorised`` then.
        authorised: The folder of the clients' public keys.
    """

    responder: Responder
    endpoint: str = "tcp://127.0.0.1:0"
    keys: ServerKeys | None = None
    authorised: Path | None = None
    _is_stopped: bool = field(default=False, init=False)
    _is_restarting: bool = field(default=False, init=False)
    _socket: zmq.Socket[bytes] | None = field(default=None, init=False)
    _authenticator: ThreadAuthenticator | None = field(default=None, init=False)

    def serve(
        self,
        context: Context,
        ready: Callable[[str], object] = lambda _: None,
        *,
        watched: Watched = MappingProxyType({}),
        is_orphan: Callable[[], bool] = bool,
    ) -> None:
        """Bind and answer until ``stop``, or until nobody is left who started it.

        Args:
            context: Makes the socket; whoever passes it ends it.
            ready: Called with the endpoint once it is bound.
            watched: Further sockets, and what is to be done when one of them has something to read.
            is_orphan: Whether the process that started this one is gone.
        """
        try:
            self._open(context)
            ready(self.endpoint)
            while not self._is_stopped and not is_orphan():
                self._serve_once(watched)
                if self._is_restarting:
                    self._close()
                    self._open(context, is_again=True)
        finally:
            self._close()

    def stop(self) -> None:
        """End ``serve`` soon. May be called from a signal handler."""
        self._is_stopped = True

    def restart(self) -> None:
        """Close the socket and bind it again, after the present request. What is not answered by then never is."""
        self._is_restarting = True

    def _serve_once(self, watched: Watched) -> None:
        """Do what is due, wait for a request, and pass it on; the watched sockets come first."""
        assert self._socket is not None, "it is bound"
        wait_sec = max(0.0, min(_WAIT_SEC, self.responder.run_due()))
        zmq.zmq_poll([(one, zmq.POLLIN) for one in (*watched, self._socket)], int(wait_sec * 1000))
        for one, read in watched.items():
            if one.poll(0):
                read()
        if self._socket.poll(0):
            self._pass_on(self._socket, self._socket.recv_multipart())

    def _pass_on(self, socket: zmq.Socket[bytes], frames: list[bytes]) -> None:
        *address, raw = frames

        def send(answer: bytes) -> None:
            if self._socket is socket:
                socket.send_multipart([*address, answer])

        try:
            request = read_request(raw)
        except ValueError as error:
            send(write_answer(Refusal("MALFORMED_REQUEST", str(error))))
            return
        try:
            self.responder.take(Call(request, send, address[0] if address else b""))
        except Exception as error:  # noqa: BLE001  # a request of one client must not end the server of all
            send(write_answer(invalid_request(error), echo=request.echo))

    # ---- the socket

    def _open(self, context: Context, *, is_again: bool = False) -> None:
        socket = self._socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.sndhwm = _UNREAD_MAX
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        socket.setsockopt(zmq.IPV6, int("[" in self.endpoint))
        if self.keys is not None:
            self._authenticator = secure_server(socket, context, self.keys, self.authorised or Path("authorised"))
        give_up = time.monotonic() + _REBIND_SEC
        while True:
            try:
                socket.bind(self.endpoint)
                break
            except zmq.ZMQError:
                if time.monotonic() > give_up or not is_again:
                    raise  # the port is somebody else's; only our own may be given back late
                time.sleep(0.01)
        self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._is_restarting = False

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
        if self._authenticator is not None:
            self._authenticator.stop()
        self._socket = self._authenticator = None


def invalid_request(error: Exception) -> Refusal:
    """Return the answer to a request that a responder could not make sense of."""
    return Refusal("INVALID_REQUEST", words_of(error))


def words_of(error: Exception) -> str:
    """Return an error in words, as an answer may carry them."""
    return f"{type(error).__name__}: {error}"[:_WORDS_MAX]
