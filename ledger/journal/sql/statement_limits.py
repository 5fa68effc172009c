"""A limit on how long a thread may wait for the database: what takes longer is interrupted, and nothing else with it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from ledger.journal.sql.engine import Engine

_LOOK_SEC: Final = 0.05


class Limit:
    """What one thread may take.

    Attributes:
        is_over: Whether the time passed, and what was under way was interrupted.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.is_over = False
        self.connections: set[Any] = set()


class StatementLimits:
    """Limits of the threads that read through an engine. Those that ask for none have none.

    Args:
        engine: Whose connections are interrupted.
    """

    def __init__(self, engine: Engine) -> None:
        self._lock = threading.Lock()
        self._local = threading.local()
        self._limits: set[Limit] = set()
        self._owners: dict[int, Limit] = {}
        self._stop = threading.Event()
        engine.on_use(self._begun, self._ended)
        self._thread = threading.Thread(target=self._watch, name="ledger-statement-limits", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Interrupt what is under way within a limit, and nothing more from then on."""
        self._stop.set()
        self._thread.join()
        self._interrupt(math.inf)

    @contextmanager
    def within(self, seconds: float) -> Iterator[Limit]:
        """Give this thread so many seconds; what it waits for then raises, and ``is_over`` of what this yields is true."""
        limit = Limit(time.monotonic() + seconds)
        with self._lock:
            self._limits.add(limit)
        self._local.limit = limit
        try:
            yield limit
        finally:
            self._local.limit = None
            with self._lock:
                self._limits.discard(limit)

    def _begun(self, connection: Any) -> None:
        limit: Limit | None = getattr(self._local, "limit", None)
        if limit is not None:
            with self._lock:
                limit.connections.add(connection)
                self._owners[id(connection)] = limit

    def _ended(self, connection: Any) -> None:
        with self._lock:
            limit = self._owners.pop(id(connection), None)
            if limit is not None:
                limit.connections.discard(connection)

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_SEC):
            self._interrupt(time.monotonic())

    def _interrupt(self, now: float) -> None:
        with self._lock:  # nothing is given back meanwhile, so that nobody else's statement is interrupted
            for limit in self._limits:
                if now >= limit.deadline and limit.connections:
                    limit.is_over = True
                    for one in limit.connections:
                        _interrupt(one)


def _interrupt(connection: Any) -> None:
    """End the statement that a connection of SQLite or Postgres executes, from another thread."""
    with suppress(Exception):  # it is closed: then nothing is under way
        interrupt = getattr(connection, "interrupt", None) or connection.cancel
        interrupt()
