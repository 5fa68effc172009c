"""What changed, for browsers: one thread watches the journal, and every open stream gets the accounts that were appended to.

A slow reader costs no memory: what it did not read yet is one entry for each account, its newest version. Every change has a
number of this run of the program; a browser that comes back names the last one that it saw, and gets what changed since.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, NamedTuple

from ledger.errors import JournalError
from ledger.page.answers import too_much
from ledger.service import HeadWatch, Ledger
from ledger.text import visible
from ledger.values import AccountId

#: So often a stream shows that it is still there, in seconds.
BEAT_SEC: Final = 5.0
_POLL_SEC: Final = 1.0
#: So many streams are open at once.
STREAMS_MAX: Final = 64
_logger: Final = logging.getLogger("ledger.page")


class Change(NamedTuple):
    """An account that was appended to: its version, and the number of the change."""

    number: int
    version: int


class Changes:
    """Watches a journal for as long as a page runs.

    Args:
        ledger: Of the journal, to read.
    """

    def __init__(self, ledger: Ledger) -> None:
        #: Seconds between two signs that a stream is still there.
        self.beat_sec = BEAT_SEC
        self._ledger = ledger
        self._run = secrets.token_hex(4)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._known: dict[AccountId, Change] = {}
        self._number = 0
        self._is_away = False
        self._streams: set[_Stream] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="ledger-page-changes", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End all streams, and the watch."""
        self._stop.set()
        with self._lock:
            streams = list(self._streams)
        for one in streams:
            one.wake()
        if self._thread is not None:
            self._thread.join()

    @property
    def number(self) -> int:
        """The number of the last change."""
        return self._number

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    # ---- watching

    def _watch(self) -> None:
        with HeadWatch(self._ledger.journal, None, _POLL_SEC, self._stop) as heads:
            while not self._stop.is_set():
                try:
                    self._note({name: head.version for name, head in heads.look().items()})
                    self._is_away = False
                except JournalError as error:
                    heads.look_at_all()
                    if not self._is_away:
                        _logger.warning("the journal does not answer, and is waited for: %s", visible(str(error)))
                    self._is_away = True
                heads.wait()

    def _note(self, versions: dict[AccountId, int]) -> None:
        with self._lock:
            before, is_first = self._number, not self._number
            for name, version in versions.items():
                known = self._known.get(name)
                if known is None or known.version != version:
                    self._number += not is_first
                    self._known[name] = Change(self._number, version)
            self._number = self._number or 1
            streams = list(self._streams) if self._number > before else []
        for one in streams:
            one.wake()

    # ---- streaming

    async def stream(self, last: str | None) -> AsyncIterator[bytes]:
        """Yield server-sent events until the browser leaves or the page ends: ``hello``, ``changed``, ``beat``.

        Args:
            last: The id of the last event that the browser saw, if it comes back.

        Raises:
            Unanswered: Too many streams are open.
        """
        with self._lock:
            if len(self._streams) >= STREAMS_MAX:
                raise too_much(f"{STREAMS_MAX} streams are open: close pages that nobody looks at")
            seen = self._number_of(last)
            one = _Stream(asyncio.get_running_loop(), self._number if seen is None else seen)
            self._streams.add(one)
        return self._events(one, is_resumed=seen is not None)

    def _number_of(self, last: str | None) -> int | None:
        """Return the number of a change that an id names; None where it is none of this run."""
        run, _, number = (last or "").partition("-")
        if run != self._run or not (number.isascii() and number.isdigit() and len(number) < 16):
            return None
        return min(int(number), self._number)

    async def _events(self, one: _Stream, *, is_resumed: bool) -> AsyncIterator[bytes]:
        try:
            yield b"retry: 1000\n" + self._event("hello", {"resumed": is_resumed}, one.seen)
            while not self._stop.is_set():
                for block in self._news(one):
                    yield block
                if not await one.woken(self.beat_sec):
                    yield self._event("beat", {}, one.seen)
        finally:
            with self._lock:
                self._streams.discard(one)

    def _news(self, one: _Stream) -> list[bytes]:
        with self._lock:
            if one.seen >= self._number:
                return []
            new = sorted((change, name) for name, change in self._known.items() if change.number > one.seen)
            one.seen = self._number
        return [
            self._event("changed", {"server": name.server, "login": name.login, "version": change.version}, change.number)
            for change, name in new
        ]

    def _event(self, name: str, data: dict[str, object], number: int) -> bytes:
        return f"id: {self._run}-{number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


class _Stream:
    """One open stream: the number of the last change that was written to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seen: int) -> None:
        self.seen = seen
        self._loop = loop
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Have it look; from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and the stream with it
            self._loop.call_soon_threadsafe(self._event.set)

    async def woken(self, seconds: float) -> bool:
        """Return whether it was woken within a time."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        self._event.clear()
        return True
