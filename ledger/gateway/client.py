"""The gateway client: requests over ZeroMQ, each with a deadline, none with an answer that is another's.

A DEALER with an empty delimiter frame is understood by a plain REP server and by a ROUTER. Every request carries an id of
its own; an answer that echoes another one is dropped and counted. A gateway that echoes none is distinguished from a late
answer by its connection: after whatever goes wrong, the socket is closed with what it still had to send and made anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from threading import RLock
from typing import Any, Final, NoReturn, Self, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import zmq
from zmq.utils.monitor import recv_monitor_message

from ledger.deprecation import Alias, init_arguments, module_getattr
from ledger.errors import (
    BadValue,
    GatewayDenied,
    GatewayError,
    GatewayTimeout,
    GatewayUnavailable,
)
from ledger.gateway.client_orders import AsksAboutOrders
from ledger.gateway.client_reads import AsksAboutAccount
from ledger.gateway.curve import ClientKeys, mechanism_of
from ledger.gateway.push import PushStream
from ledger.protocol import MESSAGE_BYTES_MAX
from ledger.protocol.echo import AnotherAnswer, Asked
from ledger.protocol.messages import Query
from ledger.protocol.write import write_request
from ledger.snapshot import PushedEvent
from ledger.values import INT64_MAX, AccountId, require_type, to_whole

_Value = TypeVar("_Value")

TIMEOUT_MS: Final = 5_000
_HEARTBEAT_MS: Final = 1_000
_PUSH_TIMEOUT_MS: Final = 2_000  # what is asked about a push stream is answered at once, or there is none now
_HEARTBEAT_TIMEOUT_MS: Final = 3_000
_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 5_000
_LISTEN_MS: Final = 50  # how often a call that waits looks at what happens to its connection
_HANDSHAKES_MAX: Final = 3  # failed ones in a row that are no accident any more: a server that stops may cut one off

#: What a ZeroMQ error means here: by the name of its class, the nearest of its bases that is listed decides.
ERRORS: Final[dict[str, tuple[type[GatewayError], str]]] = {
    "Again": (GatewayTimeout, "it accepts no request"),
    "ContextTerminated": (GatewayUnavailable, "the client was closed"),
    "InterruptedSystemCall": (GatewayUnavailable, "a signal interrupted the call"),
    "NotDone": (GatewayUnavailable, "a message was not sent whole"),
    "ZMQBindError": (GatewayUnavailable, "no port was free"),
    "ZMQVersionError": (GatewayUnavailable, "the ZeroMQ library is too old"),
    "ZMQError": (GatewayUnavailable, "the connection failed"),
    "ZMQBaseError": (GatewayUnavailable, "the connection failed"),
}

_DENIED: Final[dict[int, str]] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "the gateway does not accept our key: have it authorised there (ledger keys authorise)",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "the gateway and we do not speak the same protocol: is it a ZeroMQ gateway?",
}
#: Whether we have keys, and which mechanism the gateway's greeting names -> what is wrong. ZeroMQ itself reports none of it
#: reliably.
_DISAGREE: Final[dict[tuple[bool, str | None], str]] = {
    (False, "CURVE"): "the gateway speaks with keys only, and we have none: give --client-key and --server-key",
    (True, "NULL"): "the gateway has no keys, and we speak with keys only: give it some (ledger keys make), or leave ours out",
    (True, "CURVE"): "the pinned server key is not the gateway's, or no authenticator runs there",
}
_UNFINISHED: Final = "the gateway accepts the connection and never finishes the handshake: it hangs, or it is no ZeroMQ gateway"


def translate_error(error: zmq.ZMQBaseError, endpoint: str) -> GatewayError:
    """Return the ledger's error for one that ZeroMQ raised."""
    kind, words = next(ERRORS[base.__name__] for base in type(error).__mro__ if base.__name__ in ERRORS)
    return kind(f"gateway {endpoint}: {words} ({str(error) or type(error).__name__})")


def checked_endpoint(endpoint: str, *, has_keys: bool, allow_insecure: bool) -> str:
    """Return an endpoint that may be spoken to.

    Raises:
        BadValue: It is no endpoint.
        GatewayDenied: It is on another machine, and there are no keys.
    """
    require_type(endpoint, str, "a gateway as text (tcp://HOST:PORT)")
    require_type(allow_insecure, bool, "allow_insecure as True or False")
    try:
        parts = urlsplit(endpoint)
        port = parts.port if parts.scheme == "tcp" else None
    except ValueError:
        raise BadValue(f"a gateway is tcp://HOST:PORT, found {endpoint!r}") from None
    is_plain = endpoint.isprintable() and " " not in endpoint
    if parts.scheme in ("ipc", "inproc") and (parts.netloc or parts.path) and is_plain:
        return endpoint
    if not port or not parts.hostname or endpoint != f"tcp://{parts.netloc}" or "@" in parts.netloc or not is_plain:
        raise BadValue(f"a gateway is tcp://HOST:PORT, found {endpoint!r}")
    if not _is_this_machine(parts.hostname) and not has_keys and not allow_insecure:
        raise GatewayDenied(
            f"gateway {endpoint} is on another machine: whoever is between could show any position. Use keys "
            "(ledger keys make, --server-key, --client-key), or pass --insecure"
        )
    return endpoint


def checked_duration(value: object, what: str) -> int:
    """Return a number of milliseconds that ZeroMQ accepts: from 1 to a day.

    Raises:
        BadValue: Anything else.
    """
    return to_whole(value, 1, 24 * 60 * 60 * 1000, f"{what} in milliseconds")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Connection:
    """One socket with its monitor, from connect to close."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, options: dict[int, int], keys: ClientKeys | None
    ) -> None:
        self.socket = context.socket(zmq.DEALER)
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        if keys is not None:
            self.socket.curve_publickey = keys.public
            self.socket.curve_secretkey = keys.secret
            self.socket.curve_serverkey = keys.server_public
        self.monitor = self.socket.get_monitor_socket()
        self.is_ready = False
        self.was_taken = False  # the other end accepted the connection at least
        self.denied: str | None = None
        self.handshakes_failed = 0  # since one succeeded
        self.dropped = 0  # answers to others
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQBaseError:
            self.close()
            raise

    def listen(self) -> list[int]:
        """Take in what happened to the connection, without waiting; return the events."""
        events: list[int] = []
        while self.monitor.poll(0):
            event = int(recv_monitor_message(self.monitor, zmq.NOBLOCK)["event"])
            events.append(event)
            if event == zmq.EVENT_CONNECTED:
                self.was_taken = True
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.is_ready, self.denied, self.handshakes_failed = True, None, 0
            elif event == zmq.EVENT_DISCONNECTED:
                self.is_ready = False
            elif event in _DENIED:
                self.denied = _DENIED[event]
            elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                self.handshakes_failed += 1
        return events

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)


def _raise(error: GatewayError) -> NoReturn:
    raise error


@init_arguments(timeout_msc="timeout_ms", heartbeat_msc="heartbeat_ms", heartbeat_timeout_msc="heartbeat_timeout_ms")
class ZmqGateway(AsksAboutAccount, AsksAboutOrders):
    """A gateway that speaks the ledger's JSON protocol, base or extended. Safe to use from several threads, one at a time.

    Args:
        endpoint: ``tcp://HOST:PORT``.
        timeout_ms: What a call may take in all, in milliseconds.
        message_bytes_max: The largest answer that is accepted; a larger one cuts the connection.
        heartbeat_ms: How often the other end is asked whether it is there;
        heartbeat_timeout_ms: and how long it may be silent.
        keys: Ours and the gateway's. Without them only this machine is spoken to.
        allow_insecure: Speak to other machines without keys all the same.
        monotonic: Seconds that only rise.
        context: Of ZeroMQ, shared with other clients; whoever passes it ends it. Without, the client has its own.

    Raises:
        BadValue: The endpoint is none.
        GatewayDenied: The endpoint is on another machine, and there are no keys.
    """

    timeout_msc = Alias("timeout_ms")

    def __init__(
        self,
        endpoint: str,
        *,
        timeout_ms: int = TIMEOUT_MS,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        heartbeat_ms: int = _HEARTBEAT_MS,
        heartbeat_timeout_ms: int = _HEARTBEAT_TIMEOUT_MS,
        keys: ClientKeys | None = None,
        allow_insecure: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.endpoint = checked_endpoint(endpoint, has_keys=keys is not None, allow_insecure=allow_insecure)
        self.timeout_ms = checked_duration(timeout_ms, "timeout_ms")
        self.dropped = 0
        self._wait_ms = self.timeout_ms  # of the call under way
        self._keys = None if keys is None else require_type(keys, ClientKeys, "keys as load_client_keys returns them")
        self._monotonic = monotonic
        self._arguments: dict[str, Any] = {  # of a connection beside this one
            "timeout_ms": min(timeout_ms, _PUSH_TIMEOUT_MS), "message_bytes_max": message_bytes_max, "keys": keys,
            "heartbeat_ms": heartbeat_ms, "heartbeat_timeout_ms": heartbeat_timeout_ms, "allow_insecure": allow_insecure,
        }  # fmt: skip
        self._options: dict[int, int] = {
            zmq.LINGER: 0,  # what nobody waits for any more is not sent
            zmq.IMMEDIATE: 1,  # nothing is queued for a server that is not there: a restarted one gets no old requests
            zmq.MAXMSGSIZE: to_whole(message_bytes_max, 1, INT64_MAX, "message_bytes_max"),
            zmq.HEARTBEAT_IVL: checked_duration(heartbeat_ms, "heartbeat_ms"),
            zmq.HEARTBEAT_TIMEOUT: checked_duration(heartbeat_timeout_ms, "heartbeat_timeout_ms"),
            zmq.RECONNECT_IVL: _RECONNECT_MS,
            zmq.RECONNECT_IVL_MAX: _RECONNECT_MAX_MS,
            zmq.IPV6: 1,
        }
        self._lock = RLock()
        self._is_context_ours = context is None
        self._context: zmq.Context[zmq.Socket[bytes]] = context or zmq.Context()
        self._account: AccountId | None = None  # whom the call under way names
        self._connection: _Connection | None = None
        self._echoes = False
        self._is_lost = False
        self._reconnections = 0
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the socket. What was asked and not answered is gone."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                if self._connection is not None:
                    self._connection.close()
                if self._is_context_ours:
                    self._context.term()

    def subscribe(self, on_event: Callable[[PushedEvent | None], object]) -> PushStream:
        """Listen to what the gateway pushes, over connections of its own. See ``PushStream``."""
        return PushStream(self.endpoint, partial(ZmqGateway, self.endpoint, **self._arguments), on_event, keys=self._keys)

    @property
    def reconnections(self) -> int:
        """How often the connection came back after it was lost. Never waits for a call under way."""
        if self._lock.acquire(blocking=False):
            try:
                if self._connection is not None:
                    self._listen(self._connection)
            finally:
                self._lock.release()
        return self._reconnections

    # ---- one call

    def _ask(
        self, query: Query, read: Callable[[bytes, Asked], _Value], *, timeout_ms: int | None = None, attempts: int = 2
    ) -> _Value:
        return self.ask(query, read, timeout_ms=timeout_ms, attempts=attempts)

    def ask(
        self,
        query: Query,
        read: Callable[[bytes, Asked], _Value],
        *,
        timeout_ms: int | None = None,
        attempts: int = 2,
        account: AccountId | None = None,
    ) -> _Value:
        """Send a request and return the content of its answer; one that was cut off is sent once more while there is time.

        Args:
            query: What is asked.
            read: Reads its answer.
            timeout_ms: How long to wait for it; None as long as for all others.
            attempts: How often it is sent at most: once, what must not be asked twice.
            account: Whose, where the gateway answers for several.

        Raises:
            GatewayTimeout, GatewayUnavailable, GatewayDenied: There is no answer.
            GatewayRefused, SnapshotRefused: The answer is an error, or cannot be read whole.
        """
        wait_ms = self.timeout_ms if timeout_ms is None else checked_duration(timeout_ms, "timeout_ms")
        give_up = self._monotonic() + wait_ms / 1000
        if not self._lock.acquire(timeout=wait_ms / 1000):
            raise GatewayTimeout(f"gateway {self.endpoint}: another call was under way for {wait_ms} ms")
        try:
            if self._is_closed:
                raise GatewayUnavailable(f"gateway {self.endpoint}: the client was closed")
            self._wait_ms, self._account = wait_ms, account
            return self._attempt(query, read, give_up, attempts)
        finally:
            self._lock.release()

    def _attempt(self, query: Query, read: Callable[[bytes, Asked], _Value], give_up: float, attempts: int) -> _Value:
        reconnections = self._reconnections
        for _ in range(attempts):  # the connection may be lost with the request: reads change nothing and are asked again
            try:
                answer = self._answer(query, read, give_up)
            except zmq.ZMQBaseError as error:
                self._remake()
                raise translate_error(error, self.endpoint) from error
            except BaseException:  # an interrupt too leaves a request behind, and its answer is nobody's
                self._remake()
                raise
            if answer is not None:
                return answer()
            self._remake()
        if attempts == 1:
            raise GatewayUnavailable(
                f"gateway {self.endpoint}: the connection was cut at {query.action}. What became of it is not known: ask"
            )
        # It is there and cuts us off: that it accepted us again was no return, and must not make anybody ask at once.
        self._is_lost, self._reconnections = False, reconnections
        raise GatewayUnavailable(
            f"gateway {self.endpoint}: it cut the connection at {query.action}, twice. Does it read JSON, and is its "
            f"answer larger than {self._options[zmq.MAXMSGSIZE]} bytes?"
        )

    def _answer(self, query: Query, read: Callable[[bytes, Asked], _Value], give_up: float) -> Callable[[], _Value] | None:
        """Return a function of the answer's content or error; None if the connection was lost before it came."""
        if self._connection is not None:
            self._listen(self._connection)
            if self._connection.denied:  # of some time ago, and such a socket does not try again
                self._remake()
        connection = self._connected()
        self._wait_ready(connection, query.action, give_up)
        while connection.socket.poll(0):  # an answer without a request
            connection.socket.recv_multipart(zmq.NOBLOCK)
            self.dropped += 1
        left_msc = max(1, int((give_up - self._monotonic()) * 1000))
        req_id = uuid4().hex
        request = write_request(query, req_id=req_id, deadline_msc=left_msc, account=self._account)
        connection.socket.send_multipart([b"", request], zmq.NOBLOCK)
        while True:
            if connection.socket.poll(self._patience_msc(give_up)):
                frames = connection.socket.recv_multipart(zmq.NOBLOCK)
                if len(frames) == 2 and not frames[0]:
                    answer = self._read(frames[1], read, req_id)
                    if answer is not None:
                        return answer
                self.dropped += 1
                connection.dropped += 1
            events = self._listen(connection)
            if zmq.EVENT_DISCONNECTED in events and not connection.socket.poll(0):
                return None
            self._check_deadline(connection, query.action, give_up)

    def _read(self, raw: bytes, read: Callable[[bytes, Asked], _Value], req_id: str) -> Callable[[], _Value] | None:
        """Return what returns or raises what an answer comes to; None if it answers another request.

        This socket has asked nothing else that is not answered, so whatever names no request is taken for the answer, and
        read or refused as such. A gateway that named one once is held to it: only its errors may come without.
        """
        asked = Asked(req_id, must_echo=self._echoes)
        try:
            value = read(raw, asked)
        except AnotherAnswer:
            return None
        except GatewayError as error:
            self._echoes = self._echoes or asked.is_echoed
            return partial(_raise, error)
        self._echoes = self._echoes or asked.is_echoed
        return lambda: value

    def _wait_ready(self, connection: _Connection, action: str, give_up: float) -> None:
        """Wait until the connection is established: only then a request is for this server and no later one."""
        self._listen(connection)
        while not (connection.is_ready and connection.socket.poll(0, zmq.POLLOUT)):
            connection.monitor.poll(self._patience_msc(give_up))
            self._listen(connection)
            self._check_handshake(connection, give_up)
            self._check_deadline(connection, action, give_up)

    def _check_handshake(self, connection: _Connection, give_up: float) -> None:
        """Say what is wrong once that is clear; ZeroMQ itself tries again for ever."""
        is_failing = connection.handshakes_failed >= _HANDSHAKES_MAX
        denied = connection.denied
        if is_failing or denied == _DENIED[zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL]:
            connection.handshakes_failed = 0  # if it stays unclear, look again after as many more
            spoken = mechanism_of(self.endpoint, max(0.001, give_up - self._monotonic()))
            denied = _DISAGREE.get((self._keys is not None, spoken), denied)
        if denied:
            raise GatewayDenied(f"gateway {self.endpoint}: {denied}")

    def _patience_msc(self, give_up: float) -> int:
        return max(0, min(_LISTEN_MS, int((give_up - self._monotonic()) * 1000) + 1))

    def _check_deadline(self, connection: _Connection, action: str, give_up: float) -> None:
        if self._monotonic() < give_up:
            return
        if connection.is_ready:
            dropped = f"; {connection.dropped} answers to other requests were dropped" if connection.dropped else ""
            raise GatewayTimeout(f"gateway {self.endpoint}: no answer to {action} within {self._wait_ms} ms{dropped}")
        if connection.was_taken:
            raise GatewayTimeout(f"gateway {self.endpoint}: {_UNFINISHED}")
        raise GatewayTimeout(f"gateway {self.endpoint}: nobody is there within {self._wait_ms} ms: is it running?")

    # ---- the connection

    def _connected(self) -> _Connection:
        if self._connection is None:
            self._connection = _Connection(self._context, self.endpoint, self._options, self._keys)
        return self._connection

    def _remake(self) -> None:
        """Close the socket with all that it still holds, and make another at once, so that a return is noticed."""
        if self._connection is not None:
            self._is_lost = self._is_lost or not self._connection.is_ready
            self._connection.close()
            self._connection = None
        with suppress(zmq.ZMQBaseError):  # the next call reports it
            self._connected()

    def _listen(self, connection: _Connection) -> list[int]:
        """Take in what happened to the connection, and count when a lost one came back."""
        events = connection.listen()
        for event in events:
            if event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CONNECT_RETRIED):
                self._is_lost = True
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED and self._is_lost:
                self._is_lost = False
                self._echoes = False  # it may be another program now
                self._reconnections += 1
        return events


__getattr__ = module_getattr(
    __name__,
    {
        "open_gateway": "ledger.gateway.open.open_gateway",
        "FORMS": "ledger.gateway.forms.FORMS",
        "Form": "ledger.gateway.forms.Form",
        "TIMEOUT_MSC": "ledger.gateway.client.TIMEOUT_MS",
    },
)
