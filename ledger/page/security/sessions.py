"""Who is signed in, in which browser: in memory only, so that a restart ends all sign-ins, and only digests of cookies."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from attrs import define, field

from ledger.page.principals import Principal

#: A browser accepts a cookie of such a name only with Secure, for this host alone, and for all of its paths.
COOKIE: Final = "__Host-ledger"
SESSIONS_MAX: Final = 64
_VALUE: Final = re.compile(rb"[A-Za-z0-9_-]{43}")
_BYTES: Final = 32


@define(eq=False)
class Session:
    """One browser in which somebody is signed in.

    Attributes:
        principal: Who.
        csrf: What its requests to write carry: another origin cannot read it.
        begun: When, by the clock of the sessions.
        used: When a request of it began or ended last.
        streams: So many requests of it are under way.
        over: Set when it ends.
    """

    principal: Principal
    csrf: str
    begun: float
    used: float
    streams: int = 0
    over: asyncio.Event = field(factory=asyncio.Event)


class Sessions:
    """The sign-ins that there are.

    Args:
        longest_sec: No sign-in lasts longer.
        idle_sec: So long without a request ends one.
        clock: Seconds, for ever growing.
    """

    def __init__(self, *, longest_sec: float, idle_sec: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest_sec = longest_sec
        self._idle_sec = idle_sec
        self._clock = clock
        self._secret = secrets.token_bytes(_BYTES)
        self._by_digest: OrderedDict[bytes, Session] = OrderedDict()  # the one that was not used for longest is first

    def __len__(self) -> int:
        return len(self._by_digest)

    def begin(self, principal: Principal) -> tuple[str, Session]:
        """Sign somebody in, and return the cookie's value. Beyond the most that there may be, the one idle for longest ends."""
        value = secrets.token_urlsafe(_BYTES)
        return value, self._add(_digest(value.encode()), principal, secrets.token_urlsafe(_BYTES))

    def of_proxy(self, principal: Principal) -> Session:
        """Return the sign-in of somebody whom a proxy signs in, with each request anew."""
        key = b"proxy\0" + principal.name.encode()
        session = self._used(key)
        if session is not None and session.principal == principal:
            return session
        self._end(key)
        return self._add(key, principal, hmac.digest(self._secret, key, "sha256").hex())

    def _add(self, key: bytes, principal: Principal, csrf: str) -> Session:
        session = Session(principal, csrf, self._clock(), self._clock())
        for digest, found in list(self._by_digest.items()):
            if self._left_sec(found) <= 0:
                self._end(digest)
        while len(self._by_digest) >= SESSIONS_MAX:
            self._end(next(iter(self._by_digest)))
        self._by_digest[key] = session
        return session

    def find(self, cookie: bytes | None) -> Session | None:
        """Return the sign-in of a cookie, and note that it is used; None where there is none, or none any more."""
        return None if cookie is None else self._used(_digest(cookie))

    def _used(self, key: bytes) -> Session | None:
        session = self._by_digest.get(key)
        if session is None:
            return None
        if self._left_sec(session) <= 0:
            self._end(key)
            return None
        self._by_digest.move_to_end(key)
        session.used = self._clock()
        return session

    def end(self, cookie: bytes | None) -> None:
        """Sign out."""
        if cookie is not None:
            self._end(_digest(cookie))

    def end_all(self) -> None:
        """Sign everybody out."""
        for digest in list(self._by_digest):
            self._end(digest)

    def left_sec(self, session: Session) -> float:
        """Return how long a request that is under way may go on."""
        return session.begun + self._longest_sec - self._clock()

    def opened(self, session: Session) -> None:
        """Note that a request begins: until it ends, the sign-in is not idle."""
        session.streams += 1

    def closed(self, session: Session) -> None:
        """Note that a request ends."""
        session.streams -= 1
        session.used = self._clock()

    def _left_sec(self, session: Session) -> float:
        longest = self.left_sec(session)
        return longest if session.streams else min(longest, session.used + self._idle_sec - self._clock())

    def _end(self, digest: bytes) -> None:
        session = self._by_digest.pop(digest, None)
        if session is not None:
            session.over.set()


def cookie_of(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """Return the value of the one cookie that is ours; None where there is none, several, or one that we never gave."""
    pairs = (pair.strip().partition(b"=") for name, value in headers if name == b"cookie" for pair in value.split(b";"))
    found = [value for name, _, value in pairs if name == COOKIE.encode()]
    return found[0] if len(found) == 1 and _VALUE.fullmatch(found[0]) else None


def set_cookie(value: str) -> tuple[bytes, bytes]:
    """Return the header that gives a browser a cookie; an empty value removes it."""
    lasting = "" if value else "; Max-Age=0"
    return b"set-cookie", f"{COOKIE}={value}; Secure; HttpOnly; SameSite=Strict; Path=/{lasting}".encode()


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
