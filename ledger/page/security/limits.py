"""How much a request may be, and how often something may be tried."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ledger.page.security.refusals import Refused

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

HEAD_MAX: Final = 16 * 1024
BODY_MAX: Final = 64 * 1024
#: So long a request may take to arrive.
ARRIVAL_SEC: Final = 10.0
_PEERS_MAX: Final = 1000
_Headers = list[tuple[bytes, bytes]]


class Bucket:
    """So many at once, and one more each so many seconds.

    Args:
        size: At once.
        each_sec: Until there is one more.
        clock: Seconds, for ever growing.
    """

    def __init__(self, size: int, each_sec: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._each_sec = each_sec
        self._clock = clock
        self._level = float(size)
        self._seen = clock()

    def draw(self) -> bool:
        """Return whether there is one, and take it."""
        is_there = self.is_filled()
        self._level -= is_there
        return is_there

    def is_filled(self) -> bool:
        """Return whether there is one."""
        now = self._clock()
        self._level = min(self._size, self._level + (now - self._seen) / self._each_sec)
        self._seen = now
        return self._level >= 1


class Attempts:
    """Counts what failed, by who tried; of so many others that nobody fills the memory.

    Args:
        size: So many failures at once.
        each_sec: Until one more is forgiven.
        clock: Seconds, for ever growing.
    """

    def __init__(self, size: int, each_sec: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._each_sec = each_sec
        self._by_peer: OrderedDict[str, Bucket] = OrderedDict()

    def check(self, peer: str) -> None:
        """Refuse somebody who failed too often.

        Raises:
            Refused: 429.
        """
        if peer in self._by_peer and not self._by_peer[peer].is_filled():
            raise Refused(
                429, "TooOften", "too many sign-ins failed: wait, then open a new link", retry_sec=max(1, round(self._each_sec))
            )

    def failed(self, peer: str) -> None:
        """Note that somebody failed."""
        self._by_peer.setdefault(peer, Bucket(self._size, self._each_sec, self._clock)).draw()
        self._by_peer.move_to_end(peer)
        while len(self._by_peer) > _PEERS_MAX:
            self._by_peer.popitem(last=False)


async def read_body(receive: Receive, headers: _Headers) -> bytes:
    """Return the whole body of a request.

    Raises:
        Refused: It is too long, or takes too long.
        ConnectionError: Whoever sent it has left.
    """
    stated = [value for name, value in headers if name == b"content-length"]
    if stated and any(name == b"transfer-encoding" for name, _ in headers):  # a proxy may see another end of it
        raise Refused(400, "NotHttp", "expected Content-Length or Transfer-Encoding, found both")
    if stated and (len(stated[0]) > len(str(BODY_MAX)) or int(stated[0]) > BODY_MAX):
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(ARRIVAL_SEC):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ConnectionError("whoever sent the request has left")
                body += message.get("body", b"")
                if len(body) > BODY_MAX:
                    raise _too_large()
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise Refused(408, "TooSlow", f"expected the whole request within {ARRIVAL_SEC:g} s") from None


def check_head(scope: Scope) -> None:
    """Refuse a request whose head is too long.

    Raises:
        Refused: It is.
    """
    length = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
    if length + sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_MAX:
        raise Refused(431, "TooLarge", f"expected at most {HEAD_MAX} bytes in the head of a request")


def check_no_body(headers: _Headers) -> None:
    """Refuse a body where none is read.

    Raises:
        Refused: There is one.
    """
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
            raise Refused(413, "TooLarge", "expected no body with a request to read")


def replayed(body: bytes, otherwise: Callable[[], Any]) -> Receive:
    """Return what gives an application a body that was read already, and then what else arrives."""
    is_given = False

    async def receive() -> Message:
        nonlocal is_given
        if not is_given:
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}
        found: Message = await otherwise()
        return found

    return receive


async def until_over(receive: Receive, over: asyncio.Event, seconds: float | None) -> Message:
    """Return what arrives next; that the browser has left, once a sign-in is over or the page stops."""
    arriving, ending = asyncio.ensure_future(receive()), asyncio.ensure_future(over.wait())
    try:
        done, _ = await asyncio.wait({arriving, ending}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return arriving.result() if arriving in done and ending not in done else {"type": "http.disconnect"}
    finally:
        arriving.cancel()
        ending.cancel()


def _too_large() -> Refused:
    return Refused(413, "TooLarge", f"expected at most {BODY_MAX} bytes in a request")
