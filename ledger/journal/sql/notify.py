"""Watches of journals in SQLite and Postgres (see ``journal.watch``)."""

from __future__ import annotations

import time
from typing import Any, Final

from ledger.journal.sql.engine import Engine
from ledger.journal.sql.forking import gate, prepare_for_forks, set_aside
from ledger.journal.watch import LOOK_SECONDS, AppendListener, Closing
from ledger.values import AccountId

#: What a writer on Postgres notifies after its commit, with the key of the account and the version that it is at.
CHANNEL: Final = "ledger_appended"
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


class PostgresWatch(Closing):
    """Notices what writers notify. Where the connection is lost it just lets the time pass, and listens again when it can."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._driver: Any = None
        self._names: dict[str, AccountId] = {}  # by their keys
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
        except Exception:  # noqa: BLE001  # whatever it is: without a notification the reader looks a little later
            self.close()

    def wait(self, seconds: float) -> frozenset[AccountId] | None:
        """Return at the first notification, with all that are there by then."""
        begin = time.monotonic()
        try:
            if self._driver is not None:
                came = [one.payload for one in self._driver.notifies(timeout=seconds, stop_after=1)]
                came += [one.payload for one in self._driver.notifies(timeout=0)] if came else []
                return self._named({payload.partition(" ")[0] for payload in came})
        except Exception:  # noqa: BLE001  # as above
            self.close()
        time.sleep(max(0.0, seconds - (time.monotonic() - begin)))
        self._listen()
        return None

    def _named(self, keys: set[str]) -> frozenset[AccountId] | None:
        """Return the accounts of some keys; None where one is unknown, as an older program that writes names none."""
        for key in keys - self._names.keys():
            if not key.isdecimal():
                return None
            with self._engine.reading() as session:
                found = session.query("SELECT server, login FROM accounts WHERE account_id = ?", int(key))
            if not found:
                return None
            self._names[key] = AccountId(*found[0])
        return frozenset(self._names[key] for key in keys)

    def close(self) -> None:
        """Close the connection."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None


def watch(engine: Engine) -> AppendListener:
    """Return a watch for the database of an engine."""
    return PostgresWatch(engine) if engine.is_postgres else SqliteWatch(engine)
