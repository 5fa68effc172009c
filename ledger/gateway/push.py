"""The push stream of a gateway of protocol version 2, as a client listens to it: a reason to look sooner, never the truth.

A message that is lost is noticed by its number, and asked for. Whatever cannot be made up for is reported as lost, and it is
time to look then. A stream that is silent is dead until it can be heard again; whoever listens goes on looking at intervals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final, Protocol
from urllib.parse import urlsplit

import zmq

from ledger.errors import GatewayError, GatewayRefused, SnapshotRefused
from ledger.gateway.curve import ClientKeys
from ledger.protocol.read import read_pushed
from ledger.snapshot import PushedEvent, RemoteService

#: A stream without a heartbeat for so long is dead.
SILENT_SEC: Final = 3.0
#: How long to wait before a gateway is asked again for its stream: one that does not answer, and one that has none.
RETRY_SEC: Final = 2.0
RETRY_WITHOUT_SEC: Final = 60.0
HEARTBEAT: Final = "heartbeat"
_LISTEN_MS: Final = 100  # how often it is looked whether the stream is closed
_MESSAGE_BYTES_MAX: Final = 1 << 20
_TOPICS: Final = b"LEDGER/"


class PushSource(Protocol):
    """What a stream asks of its gateway, over a connection of its own."""

    def ping(self) -> RemoteService | None:
        """Return what the gateway states of itself; None from protocol version 1."""
        ...

    def events(self, *, after_seq: int) -> tuple[PushedEvent, ...]:
        """Return the events after a number, oldest first: not all of them if there are many."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class PushStream:
    """Listens in a thread of its own until it is closed.

    Args:
        endpoint: Where the gateway answers; its stream is on the same host.
        connect: Returns a connection for questions about the stream. Called in the thread.
        on_event: Called from the thread with each event, in the order of their numbers, and with None where some were lost,
            or may have been: so too when the stream is heard first, as what changed just before is no event of it.
        keys: Ours and the gateway's, as for its requests.
        silent_sec: A stream without a heartbeat for so long is dead.
        monotonic: Seconds that only rise.
    """

    def __init__(
        self,
        endpoint: str,
        connect: Callable[[], PushSource],
        on_event: Callable[[PushedEvent | None], object],
        *,
        keys: ClientKeys | None = None,
        silent_sec: float = SILENT_SEC,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._connect = connect
        self._on_event = on_event
        self._keys = keys
        self._silent_sec = silent_sec
        self._monotonic = monotonic
        self._closing = Event()
        self._known: tuple[str, int] | None = None  # store and number of the newest event that was delivered or given up
        self._is_alive = False
        self._was_heard = False
        self._thread = Thread(target=self._listen, name=f"ledger-push {endpoint}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the stream was heard a moment ago."""
        return self._is_alive

    def close(self) -> None:
        """Stop listening; returns once the thread has ended, which an answer that does not come may delay."""
        self._closing.set()
        self._thread.join()

    # ---- in the thread

    def _listen(self) -> None:
        source = self._connect()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            while not self._closing.is_set():
                pause_sec = self._hear_once(source, context)
                self._is_alive = False
                self._closing.wait(pause_sec)
        finally:
            self._is_alive = False
            context.term()
            source.close()

    def _hear_once(self, source: PushSource, context: zmq.Context[zmq.Socket[bytes]]) -> float:
        """Listen until the stream is dead or another one; return for how long to wait before the next attempt."""
        try:
            service = source.ping()
        except GatewayRefused:
            return RETRY_WITHOUT_SEC
        except GatewayError:
            return RETRY_SEC
        if service is None or "push" not in service.can or service.push_port is None:
            return RETRY_WITHOUT_SEC
        with context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_BYTES_MAX)
            socket.setsockopt(zmq.IPV6, 1)
            if self._keys is not None:
                socket.curve_publickey = self._keys.public
                socket.curve_secretkey = self._keys.secret
                socket.curve_serverkey = self._keys.server_public
            socket.setsockopt(zmq.SUBSCRIBE, _TOPICS)
            try:
                socket.connect(push_endpoint(self._endpoint, service.push_port))
            except zmq.ZMQError:
                return RETRY_WITHOUT_SEC
            return self._hear(socket, source, service)

    def _hear(self, socket: zmq.Socket[bytes], source: PushSource, service: RemoteService) -> float:
        """Read the stream until it is dead or another one."""
        known = self._known
        if known is None or known[0] != service.store or service.seq < known[1]:
            self._known = (service.store, service.seq)  # what was before is no event of ours
            if known is not None:
                self._on_event(None)
        heard_seq = -1
        give_up = self._monotonic() + self._silent_sec
        while not self._closing.is_set():
            if not socket.poll(_LISTEN_MS):
                if self._monotonic() > give_up:
                    return 0.0 if self._is_alive else RETRY_SEC
                continue
            try:
                event = read_pushed(socket.recv_multipart()[-1])
            except SnapshotRefused:
                continue
            give_up = self._monotonic() + self._silent_sec
            self._is_alive = True
            if not self._was_heard:
                self._was_heard = True
                self._on_event(None)
            assert self._known is not None, "the stream is known"
            if event.store != self._known[0] or event.seq < heard_seq:
                self._known = (event.store, event.seq)  # another store, or an older copy of it: nothing known counts
                heard_seq = event.seq
                self._on_event(None)
                continue
            heard_seq = event.seq
            self._take(event, source)
        return 0.0

    def _take(self, event: PushedEvent, source: PushSource) -> None:
        """Deliver an event, after those before it that did not arrive."""
        assert self._known is not None, "the stream is known"
        store, seq = self._known
        is_heartbeat = event.kind == HEARTBEAT
        if event.seq > seq + (0 if is_heartbeat else 1):
            self._recover(event, source)
        elif event.seq == seq + 1 and not is_heartbeat:
            self._known = (store, event.seq)
            self._on_event(event)

    def _recover(self, newest: PushedEvent, source: PushSource) -> None:
        """Ask for the events that did not arrive, and deliver them; None where they cannot be had."""
        assert self._known is not None, "the stream is known"
        try:
            while self._known[1] < newest.seq and not self._closing.is_set():
                found = source.events(after_seq=self._known[1])
                if not found or found[0].seq != self._known[1] + 1 or found[0].store != newest.store:
                    break
                for event in found:
                    self._known = (event.store, event.seq)
                    self._on_event(event)
        except GatewayError:
            pass  # GAP: they are not stored any more; or no answer now. Looking does what the events would have asked for
        if self._known[1] < newest.seq:
            self._known = (newest.store, newest.seq)
            self._on_event(None)


def push_endpoint(endpoint: str, port: int) -> str:
    """Return where the stream of a gateway is: on the host that answers."""
    host = urlsplit(endpoint).hostname or "127.0.0.1"
    return f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
