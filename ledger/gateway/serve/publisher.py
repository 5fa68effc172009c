"""The push stream's socket: events and heartbeats to whoever listens. A slow reader loses messages and delays nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import zmq
from attrs import define, field
from zmq.auth.thread import ThreadAuthenticator

from ledger.gateway.curve import ServerKeys, secure_server
from ledger.gateway.serve.store import Event

#: How many messages wait for one reader before it loses some.
WAITING_MAX: Final = 10_000
_SUBSCRIPTION_BYTES_MAX: Final = 4_096


@define(eq=False)
class Publisher:
    """A PUB socket of its own context, as each context has one authenticator only.

    Attributes:
        endpoint: Where it binds; port 0 takes a free one, which is its endpoint from then on.
        keys: CURVE keys; readers must be in ``authorised`` then.
        authorised: The folder of the clients' public keys.
    """

    endpoint: str = "tcp://127.0.0.1:0"
    keys: ServerKeys | None = None
    authorised: Path | None = None
    waiting_max: int = WAITING_MAX
    _context: zmq.Context[zmq.Socket[bytes]] | None = field(default=None, init=False)
    _socket: zmq.Socket[bytes] | None = field(default=None, init=False)
    _authenticator: ThreadAuthenticator | None = field(default=None, init=False)

    def open(self) -> None:
        """Bind the socket.

        Raises:
            zmq.ZMQError: The port is somebody else's.
        """
        context = self._context = zmq.Context()
        socket = self._socket = context.socket(zmq.PUB)
        socket.linger = 0
        socket.sndhwm = self.waiting_max
        socket.setsockopt(zmq.MAXMSGSIZE, _SUBSCRIPTION_BYTES_MAX)
        socket.setsockopt(zmq.IPV6, int("[" in self.endpoint))
        if self.keys is not None:
            self._authenticator = secure_server(socket, context, self.keys, self.authorised or Path("authorised"))
        socket.bind(self.endpoint)
        self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        """Close the socket; what was not sent is lost."""
        if self._socket is not None:
            self._socket.close(linger=0)
        if self._authenticator is not None:
            self._authenticator.stop()
        if self._context is not None:
            self._context.term()
        self._socket = self._authenticator = self._context = None

    @property
    def port(self) -> int:
        """The port that it is bound to."""
        return int(self.endpoint.rpartition(":")[2])

    def publish(self, event: Event, *, store: str, account: tuple[int, str]) -> None:
        """Send an event to whoever listens to its topic."""
        self._send(account, event.kind, {"store": store, "epoch": event.epoch, "seq": event.seq, "kind": event.kind,
                                         "at_msc": event.at_msc, "data": event.data})  # fmt: skip

    def beat(self, *, store: str, epoch: int, seq: int, at_msc: int, account: tuple[int, str]) -> None:
        """Send a heartbeat, with the number of the newest event."""
        self._send(account, "heartbeat", {"store": store, "epoch": epoch, "seq": seq, "kind": "heartbeat", "at_msc": at_msc})

    def _send(self, account: tuple[int, str], kind: str, message: dict[str, object]) -> None:
        assert self._socket is not None, "it is open"
        login, server = account
        topic = f"LEDGER/{server}/{login}/{kind}"
        self._socket.send_multipart([topic.encode(), json.dumps(message, separators=(",", ":")).encode()])
