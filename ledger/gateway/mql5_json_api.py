"""MQL5-JSON-API 2.0 and its ejtrader fork: another way that people already run, read as positions and nothing more.

The former answers ``OK`` on its request socket (port 15555) and sends what was asked for on the next port, the fork answers
on the request socket. Neither echoes a request: whatever is still queued is discarded first, and after
anything that goes wrong the sockets are made anew. When it is flat the ``error`` key is missing and the list holds empty
objects. Its deals name no position and no commission, so they are not offered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any, Final

import zmq

from ledger.deprecation import Alias, init_arguments
from ledger.errors import GatewayError, GatewayRefused, GatewayTimeout, GatewayUnavailable, SnapshotRefused
from ledger.gateway.client import TIMEOUT_MS, checked_duration, checked_endpoint, translate_error
from ledger.protocol import MESSAGE_BYTES_MAX
from ledger.protocol.echo import Asked, is_wanted
from ledger.protocol.json_stream import read_answer, shown
from ledger.protocol.read import read_position, renamed, rows_of
from ledger.snapshot import RemoteAccount, RemoteHistory, RemotePosition, RemoteSymbol, Snapshot
from ledger.values import INT64_MAX, to_whole

_ACTION: Final = "POSITIONS"
_OK: Final = b"OK"
_FIELDS: Final = {"id": "ticket", "open": "price_open", "time_setup": "time", "stoploss": "sl", "takeprofit": "tp"}


@init_arguments(timeout_msc="timeout_ms")
class Mql5JsonApiGateway:
    """A gateway that speaks MQL5-JSON-API. Safe to use from several threads, one at a time.

    Args:
        endpoint: ``tcp://HOST:PORT`` of the request socket; answers come from the next port.
        answers_at_once: The fork: answers come on the request socket.
        timeout_ms: What a call may take in all, in milliseconds.
        message_bytes_max: The largest answer that is accepted.
        allow_insecure: Speak to another machine, without keys, all the same. It knows none.
        monotonic: Seconds that only rise.

    Raises:
        BadValue: The endpoint is none.
        GatewayDenied: The endpoint is on another machine.
    """

    timeout_msc = Alias("timeout_ms")

    def __init__(
        self,
        endpoint: str,
        *,
        answers_at_once: bool = False,
        timeout_ms: int = TIMEOUT_MS,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        allow_insecure: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = checked_endpoint(endpoint, has_keys=False, allow_insecure=allow_insecure)
        self.timeout_ms = checked_duration(timeout_ms, "timeout_ms")
        self._answers_at_once = answers_at_once
        self._message_bytes_max = to_whole(message_bytes_max, 1, INT64_MAX, "message_bytes_max")
        self._monotonic = monotonic
        self._lock = RLock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: tuple[zmq.Socket[bytes], zmq.Socket[bytes]] | None = None

    def close(self) -> None:
        """Give back the sockets."""
        with self._lock:
            self._drop()
            self._context.term()

    @property
    def reconnections(self) -> int:
        """Not distinguished: the interval stays."""
        return 0

    def positions(self) -> Snapshot:
        """Return all open positions. See ``Gateway``."""
        with self._lock:
            try:
                raw = self._ask(json.dumps({"action": _ACTION}).encode())
            except zmq.ZMQBaseError as error:
                self._drop()
                raise translate_error(error, self.endpoint) from error
            except GatewayError:
                self._drop()
                raise
        return read_positions(raw)

    def account(self) -> RemoteAccount:
        """Refuse: it is never asked, as no snapshot of this gateway is extended."""
        raise GatewayRefused("GET_ACCOUNT", detail="this gateway is asked for positions only")

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> RemoteHistory:  # noqa: ARG002
        """Refuse, as ``account``."""
        raise GatewayRefused("GET_DEALS", detail="this gateway is asked for positions only")

    def symbols(self) -> Sequence[RemoteSymbol]:
        """Refuse, as ``account``."""
        raise GatewayRefused("GET_SYMBOLS", detail="this gateway is asked for positions only")

    # ---- one call

    def _ask(self, request: bytes) -> bytes:
        give_up = self._monotonic() + self.timeout_ms / 1000
        asking, answering = self._sockets or self._made()
        while answering.poll(0):
            answering.recv_multipart(zmq.NOBLOCK)  # of a request that nobody waits for any more
        if not asking.poll(self._left_msc(give_up), zmq.POLLOUT):
            raise GatewayTimeout(f"gateway {self.endpoint}: nobody is there within {self.timeout_ms} ms: is it running?")
        asking.send(request, zmq.NOBLOCK)
        answer = self._received(asking, give_up)
        if self._answers_at_once:
            return answer
        if answer.strip(b"\x00 \r\n").upper() != _OK:
            raise SnapshotRefused(f"expected OK on the request socket, found {shown(answer[:40])}")
        return self._received(answering, give_up)

    def _received(self, socket: zmq.Socket[bytes], give_up: float) -> bytes:
        if not socket.poll(self._left_msc(give_up)):
            raise GatewayTimeout(f"gateway {self.endpoint}: no answer to {_ACTION} within {self.timeout_ms} ms")
        return socket.recv(zmq.NOBLOCK)

    def _left_msc(self, give_up: float) -> int:
        return max(0, int((give_up - self._monotonic()) * 1000))

    def _made(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        if self._context.closed:
            raise GatewayUnavailable(f"gateway {self.endpoint}: the client was closed")
        asking = self._context.socket(zmq.REQ)
        answering = asking if self._answers_at_once else self._context.socket(zmq.PULL)
        self._sockets = asking, answering
        for socket in self._sockets:
            socket.linger = 0
            socket.setsockopt(zmq.IMMEDIATE, 1)
            socket.setsockopt(zmq.MAXMSGSIZE, self._message_bytes_max)
        asking.connect(self.endpoint)
        if answering is not asking:
            host, _, port = self.endpoint.rpartition(":")
            answering.connect(f"{host}:{int(port) + 1}")
        return self._sockets

    def _drop(self) -> None:
        for socket in self._sockets or ():
            socket.close(linger=0)
        self._sockets = None


def read_positions(raw: bytes) -> Snapshot:
    """Read an answer to POSITIONS.

    Raises:
        AnotherAnswer: It names a request.
        GatewayRefused: It is an error, 5040 among them: never a flat account.
        SnapshotRefused: It cannot be read whole.
    """
    answer = read_answer(raw, "positions", _read_row, is_wanted)
    fields = answer.fields
    Asked(None).check(fields)  # we name no request, so whatever names one answers somebody else
    error = fields.get("error")
    if error not in (None, False):
        code, detail = fields.get("lastError"), fields.get("description", fields.get("desription"))
        raise GatewayRefused(_ACTION, code=None if code is None else shown(code), detail=shown(detail))
    rows = rows_of(answer, "positions")
    if error is None and not any(rows):
        return Snapshot(positions=(), raw=raw)  # empty objects: how it reports that nothing is open
    if not all(rows):
        raise SnapshotRefused("is missing", row=rows.index(None) + 1, field="ticket")
    return Snapshot(positions=tuple(rows), raw=raw)


def _read_row(row: Any, number: int) -> RemotePosition | None:
    """Read a row under the names of the base form; its id is the identifier. An empty one is None."""
    if row == {}:
        return None
    if isinstance(row, dict):
        row = {**renamed(row, _FIELDS, number), "identifier": row.get("id")}
    return read_position(row, number)
