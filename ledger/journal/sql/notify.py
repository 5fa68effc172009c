"""Watches of journals in SQLite and Postgres (see ``journal.watch``)."""

from __future__ import annotations

import time
from typing import Any, Final

from ledger.errors import BadValue
from ledger.journal.sql.engine import Engine
from ledger.journal.sql.forking import gate, prepare_for_forks, set_aside
from ledger.journal.watch import LOOK_SECONDS, AppendListener, Closing
from ledger.values import AccountId

#: What a writer on Postgres notifies after its commit, with ``payload_of``.
CHANNEL: Final = "ledger_appended"
#: So long after a notification a writer may append to the account without another one.
UNNOTIFIED_SEC: Final = LOOK_SECONDS
#: So long after a notification, or after it began to listen, a watch reports once more what may have been appended meanwhile.
_AGAIN_SEC: Final = 1.5 * UNNOTIFIED_SEC
_PAYLOAD_MAX: Final = 7999  # bytes, for Postgres
_NOBODY: Final[frozenset[AccountId]] = frozenset()


class SqliteWatch(Closing):
    """Notices commits of other connections, in this process or another, by SQLite's change counter (PRAGMA data_version).

    The counter counts for one connection, which is closed before a fork and made anew.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None
        prepare_for_forks(self)
        self._seen = self._counter()

    def before_fork(self) -> None:
        """Close the connection, which counts as unused between two looks."""
        self.close()

    def after_fork_in_child(self) -> None:
        """Set aside what could not be closed."""
        if self._connection is not None:
            set_aside(self._connection)
            self._connection = None

    def _counter(self) -> int | None:
        number = gate.enter(self._engine.url.database or "")
        try:
            if self._connection is None:
                self._connection = self._engine.raw_connection()
                self._connection.detach()
            counter: int = self._connection.driver_connection.execute("PRAGMA data_version").fetchone()[0]
        except Exception:  # noqa: BLE001  # whatever it is: the reader looks a little later, and finds it out
            return None
        else:
            return counter
        finally:
            gate.leave(number)

    def wait(self, seconds: float) -> frozenset[AccountId] | None:
        """Look at the counter, which costs next to nothing, again and again. It names no account."""
        give_up = time.monotonic() + seconds
        while (counter := self._counter()) == self._seen and (left := give_up - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_SECONDS))
        is_same, self._seen = counter == self._seen, counter
        return _NOBODY if is_same and counter is not None else None

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def payload_of(account: AccountId) -> bytes:
    """Return what a writer notifies when it appended to an account: its name, or nothing where that is too long."""
    name = str(account).encode()
    return name if len(name) <= _PAYLOAD_MAX else b""


class PostgresWatch(Closing):
    """Notices what writers notify. Where the connection is lost it just lets the time pass, and listens again when it can.

    A writer notifies once of what it appends to an account within a short time. So what was reported is reported once more when
    that time has passed, and after listening began, any account is: a writer may have notified just before.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._driver: Any = None
        self._again: dict[AccountId | None, float] = {}  # when to report an account once more, or any
        prepare_for_forks(self)
        self._listen()

    def before_fork(self) -> None:
        """Do nothing: a child sets the connection aside."""

    def after_fork_in_child(self) -> None:
        """Set aside the parent's connection, and listen again."""
        if self._driver is not None:
            set_aside(self._driver)
            self._driver = None

    def _listen(self) -> None:
        try:
            connection = self._engine.raw_connection()
            if self._engine.pooled_settings is not None:  # what is listened to there is another session's in a moment
                connection.close()
                return
            self._driver = connection.driver_connection
            connection.detach()  # one that listens must not be given to others
            self._driver.autocommit = True
            self._driver.execute(f"LISTEN {CHANNEL}")
            self._again = {None: time.perf_counter() + _AGAIN_SEC}
        except Exception:  # noqa: BLE001  # whatever it is: without a notification the reader looks a little later
            self.close()

    def wait(self, seconds: float) -> frozenset[AccountId] | None:
        """Return at the first notification, with all that are there by then."""
        begin = time.perf_counter()
        try:
            if self._driver is not None:
                until = min([begin + seconds, *self._again.values()])
                came = [one.payload for one in self._driver.notifies(timeout=max(0.0, until - begin), stop_after=1)]
                came += [one.payload for one in self._driver.notifies(timeout=0)] if came else []
                return self._woken(set(map(_named, came)))
        except Exception:  # noqa: BLE001  # as above
            self.close()
        time.sleep(max(0.0, seconds - (time.perf_counter() - begin)))
        self._listen()
        return None

    def _woken(self, notified: set[AccountId | None]) -> frozenset[AccountId] | None:
        """Return who was notified of, and who is to be reported once more; None for any account."""
        now = time.perf_counter()
        woken = notified | {name for name, due in self._again.items() if due <= now}
        for name in woken:
            self._again.pop(name, None)
        self._again |= dict.fromkeys(notified, now + _AGAIN_SEC)
        return None if None in woken else frozenset(name for name in woken if name is not None)

    def close(self) -> None:
        """Close the connection."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None


def _named(payload: str) -> AccountId | None:
    """Return the account that a payload names; None where it names none, as that of an older program."""
    try:
        return AccountId.parse(payload)
    except BadValue:
        return None


def watch(engine: Engine) -> AppendListener:
    """Return a watch for the database of an engine."""
    return PostgresWatch(engine) if engine.is_postgres else SqliteWatch(engine)
