"""The store of the service: an SQLite database with its id, the count of its starts, and the newest events that were pushed.

Every commit is on disk before it returns (WAL, ``synchronous=FULL``, read back when it is opened). Its tables are made step by
step, so that a later version adds its own without a change to what is there; those of orders are in ``requests``.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

from attrs import define, field, frozen

from ledger.errors import BadValue, GatewayUnavailable
from ledger.gateway.serve.changes import Change
from ledger.gateway.serve.lock import FileLock
from ledger.gateway.serve.requests import REQUEST_TABLES, Requests, Transaction

#: How many of the newest events are stored.
EVENTS_MAX: Final = 10_000
_APPLICATION: Final = 0x4C47_5753  # "LGWS": another SQLite file is no store
#: What makes the tables, a step for each version of the store; ``PRAGMA user_version`` counts those that were done.
_STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE service (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, epoch INTEGER NOT NULL,"
        " seq INTEGER NOT NULL, login INTEGER, server TEXT)",
        "CREATE TABLE events (seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, kind TEXT NOT NULL, at_msc INTEGER NOT NULL,"
        " data TEXT NOT NULL)",
    ),
    REQUEST_TABLES,
)


@frozen(kw_only=True)
class Event:
    """A pushed event. ``at_msc`` is UTC, by the clock of the service's machine."""

    seq: int
    epoch: int
    kind: str
    at_msc: int
    data: dict[str, Any]


@define
class Store:
    """A store that is open, used by one thread and by no other process.

    Attributes:
        id: Made once with the store.
        epoch: How often a service was started with it.
        seq: Number of the newest event, 0 before the first.
        account: Login and server that it belongs to; None before the first connection.
        requests: What became of each client id.
    """

    id: str
    epoch: int
    seq: int
    account: tuple[int, str] | None
    events_max: int
    requests: Requests
    _database: sqlite3.Connection = field(repr=False)
    _lock: FileLock = field(repr=False)

    @classmethod
    def open(cls, path: Path, *, events_max: int = EVENTS_MAX, utc_msc: int | None = None) -> Self:
        """Open a store, or make it, and count the start. What an earlier one left under way is fenced, or unresolved.

        Args:
            path: Its file.
            events_max: How many of the newest events are stored.
            utc_msc: The present, UTC.

        Raises:
            BadValue: It is no store, of a newer version, damaged, or SQLite is not durable there.
            GatewayUnavailable: Another service uses it.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock.of_file(path)
            is_ours = lock.acquire()
        except OSError as error:
            raise BadValue(f"store {path}: cannot be written ({error.strerror or error}); name another with --store") from error
        if not is_ours:
            raise GatewayUnavailable(f"store {path}: another service uses it; stop that one, or name another with --store")
        try:
            return cls._opened(path, lock, events_max, time.time_ns() // 1_000_000 if utc_msc is None else utc_msc)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _opened(cls, path: Path, lock: FileLock, events_max: int, utc_msc: int) -> Self:
        database = sqlite3.connect(path, isolation_level=None)
        try:
            _make_durable(database, path)
            _make_tables(database, path)
            with Transaction(database):
                identity, epoch, seq, login, server = database.execute(
                    "UPDATE service SET epoch = epoch + 1 RETURNING id, epoch, seq, login, server"
                ).fetchone()
                requests = Requests(database, epoch)
                requests.start(utc_msc)
        except sqlite3.Error as error:
            database.close()
            raise BadValue(f"store {path}: cannot be opened as a store of the service: {error}") from error
        except BaseException:
            database.close()
            raise
        account = None if login is None else (login, server)
        return cls(identity, epoch, seq, account, events_max, requests, database, lock)

    def close(self) -> None:
        """Close the store and release it."""
        self._database.close()
        self._lock.release()

    def bind(self, login: int, server: str) -> bool:
        """Return whether the store belongs to an account; one that belongs to none belongs to it from now on."""
        if self.account is None:
            self._database.execute("UPDATE service SET login = ?, server = ?", (login, server))
            self.account = (login, server)
        return self.account == (login, server)

    def append(self, changes: Sequence[Change], *, at_msc: int, beside: Callable[[], object] | None = None) -> list[Event]:
        """Store changes as the next events and return them; they are on disk then.

        Args:
            changes: What changed.
            at_msc: When, UTC.
            beside: Writes what belongs to them, in the same transaction: both are on disk then, or neither.
        """
        if not changes:
            return []
        events = [
            Event(seq=self.seq + number, epoch=self.epoch, kind=change.kind, at_msc=at_msc, data=dict(change.data))
            for number, change in enumerate(changes, 1)
        ]
        newest = events[-1].seq
        with Transaction(self._database):
            if beside is not None:
                beside()
            self._database.executemany(
                "INSERT INTO events (seq, epoch, kind, at_msc, data) VALUES (?, ?, ?, ?, ?)",
                [(one.seq, one.epoch, one.kind, one.at_msc, json.dumps(one.data)) for one in events],
            )
            self._database.execute("DELETE FROM events WHERE seq <= ?", (newest - self.events_max,))
            self._database.execute("UPDATE service SET seq = ?", (newest,))
        self.seq = newest
        return events

    def events(self, after_seq: int, *, limit: int) -> list[Event] | None:
        """Return the events after a number, oldest first; None where some of them are not stored any more, or never were."""
        if after_seq > self.seq:
            return None
        rows = self._database.execute(
            "SELECT seq, epoch, kind, at_msc, data FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit)
        ).fetchall()
        if after_seq < self.seq and (not rows or rows[0][0] != after_seq + 1):
            return None
        return [
            Event(seq=seq, epoch=epoch, kind=kind, at_msc=msc, data=json.loads(data)) for seq, epoch, kind, msc, data in rows
        ]


def _make_durable(database: sqlite3.Connection, path: Path) -> None:
    """Let every commit be on disk before it returns.

    Raises:
        BadValue: SQLite does not do so here.
    """
    (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
    database.execute("PRAGMA synchronous = FULL")
    (level,) = database.execute("PRAGMA synchronous").fetchone()
    if (mode, level) != ("wal", 2):
        raise BadValue(
            f"store {path}: expected WAL with synchronous=FULL (wal, 2), found {mode}, {level}; put it on a local disk"
        )


def _make_tables(database: sqlite3.Connection, path: Path) -> None:
    """Do the steps that are missing.

    Raises:
        BadValue: It is another kind of database, or a newer version made it.
    """
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (done,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION:
        raise BadValue(f"store {path}: expected a store of the service, found another database; name another with --store")
    if done > len(_STEPS):
        raise BadValue(f"store {path}: version {done} is newer than this program ({len(_STEPS)}); upgrade the program")
    if done == len(_STEPS):
        return
    with Transaction(database):
        for step in _STEPS[done:]:
            for statement in step:
                database.execute(statement)
        if not done:
            database.execute("INSERT INTO service VALUES (1, ?, 0, 0, NULL, NULL)", (uuid4().hex,))
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        database.execute(f"PRAGMA user_version = {len(_STEPS)}")
