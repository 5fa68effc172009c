"""What became of each client id: the part of the store that lets an order be sent at most once.

A request is RECEIVED, then SENDING, then ANSWERED or UNRESOLVED, or it is FENCED and never sent. Every step is a
compare-and-set that is on disk before it returns; SENDING is there before the call. The database itself refuses any other
step, whatever code asks for it: nothing leads back.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from attrs import define, frozen

from ledger.order_messages import RequestState

#: How long what became of a request is stored at least, in milliseconds: 400 days.
STORED_MSC: Final = 400 * 86_400_000
#: How far ahead a message may be valid at most, in milliseconds.
VALID_MAX_MSC: Final = 62_000

#: State -> those that may follow. A row begins as RECEIVED or FENCED.
STEPS: Final = {
    RequestState.RECEIVED: (RequestState.SENDING, RequestState.FENCED),
    RequestState.SENDING: (RequestState.ANSWERED, RequestState.UNRESOLVED),
    RequestState.UNRESOLVED: (RequestState.ANSWERED,),
    RequestState.ANSWERED: (),
    RequestState.FENCED: (),
}
_ALLOWED: Final = ", ".join(f"'{one.value}>{other.value}'" for one, others in STEPS.items() for other in others)

#: What makes the tables: a step of the store's. A later version changes this by a step of its own.
REQUEST_TABLES: Final = (
    "CREATE TABLE requests (client_id TEXT PRIMARY KEY, digest TEXT, content TEXT, token TEXT, state TEXT NOT NULL,"
    " valid_until INTEGER, received INTEGER NOT NULL, sending INTEGER, sending_server INTEGER, answered INTEGER, answer TEXT,"
    " epoch INTEGER NOT NULL, fenced_by TEXT) WITHOUT ROWID",
    "CREATE INDEX requests_open ON requests (state) WHERE state IN ('received', 'sending')",
    "CREATE INDEX requests_token ON requests (token)",
    "CREATE TABLE pruned (one INTEGER PRIMARY KEY CHECK (one = 1), valid_until INTEGER NOT NULL)",
    "INSERT INTO pruned VALUES (1, 0)",
    "CREATE TRIGGER requests_begin BEFORE INSERT ON requests WHEN NEW.state NOT IN ('received', 'fenced')"
    " BEGIN SELECT RAISE(ABORT, 'a request begins as received or fenced'); END",
    "CREATE TRIGGER requests_step BEFORE UPDATE OF state ON requests"
    f" WHEN (OLD.state || '>' || NEW.state) NOT IN ({_ALLOWED})"
    " BEGIN SELECT RAISE(ABORT, 'no step of a request leads there'); END",
    "CREATE TRIGGER requests_identity BEFORE UPDATE OF client_id, digest, content, token, valid_until, received, epoch"
    " ON requests BEGIN SELECT RAISE(ABORT, 'a request is what it was received as'); END",
    "CREATE TRIGGER requests_prune BEFORE DELETE ON requests WHEN OLD.state NOT IN ('answered', 'fenced')"
    " BEGIN SELECT RAISE(ABORT, 'a request is stored until it is answered'); END",
)  # fmt: skip


@frozen(kw_only=True)
class StoredRequest:
    """What the store has of a client id. Times in UTC milliseconds by the clock of the service's machine.

    Attributes:
        client_id: Its id.
        digest: Of the content that it came with; None where it was fenced before it came.
        content: That content.
        token: What of the id goes to the broker.
        state: How far it is.
        received: When it came, or was fenced.
        sending: When it was passed on to be sent; None where it was not.
        sending_server: The newest server time at that moment, on the server's clock; None where none was known.
        answered: When its answer was stored.
        answer: The answer, as it goes to a client.
        epoch: In which start of the service it came.
        fenced_by: Why it is never sent.
    """

    client_id: str
    digest: str | None
    content: str | None
    token: str | None
    state: RequestState
    received: int
    sending: int | None
    sending_server: int | None
    answered: int | None
    answer: dict[str, Any] | None
    epoch: int
    fenced_by: str | None


@define(eq=False)
class Requests:
    """The requests of a store that is open.

    Every method that writes raises sqlite3.Error where that was not possible; then nothing may be sent for it.
    """

    _database: sqlite3.Connection
    _epoch: int

    # ---- what is there

    def find(self, client_id: str) -> StoredRequest | None:
        """Return what is stored of a client id; None: it was never seen."""
        row = self._database.execute(
            "SELECT client_id, digest, content, token, state, received, sending, sending_server, answered, answer, epoch,"
            " fenced_by FROM requests WHERE client_id = ?",
            (client_id,),
        ).fetchone()
        if row is None:
            return None
        identity, digest, content, token, state, received, sending, server, answered, answer, epoch, fenced_by = row
        return StoredRequest(
            client_id=identity,
            digest=digest,
            content=content,
            token=token,
            state=RequestState(state),
            received=received,
            sending=sending,
            sending_server=server,
            answered=answered,
            answer=None if answer is None else json.loads(answer),
            epoch=epoch,
            fenced_by=fenced_by,
        )

    def client_id_of(self, token: str) -> str | None:
        """Return the client id whose token this is; None where the store does not know it."""
        row = self._database.execute("SELECT client_id FROM requests WHERE token = ?", (token,)).fetchone()
        return None if row is None else str(row[0])

    def is_forgotten(self, valid_until: int) -> bool:
        """Return whether a message may be one that was stored and pruned since, by until when it is valid."""
        (newest,) = self._database.execute("SELECT valid_until FROM pruned").fetchone()
        return valid_until <= int(newest)

    # ---- its steps

    def receive(self, client_id: str, *, digest: str, content: str, token: str, valid_until: int, now: int) -> bool:
        """Insert a request that is to be sent; return whether it was new. The unique key decides between two arrivals."""
        return self._changed(
            "INSERT INTO requests (client_id, digest, content, token, state, valid_until, received, epoch)"
            " SELECT ?, ?, ?, ?, 'received', ?, ?, ? WHERE ? > (SELECT valid_until FROM pruned)"
            " ON CONFLICT (client_id) DO NOTHING",
            (client_id, digest, content, token, valid_until, now, self._epoch, valid_until),
        )

    def fence(self, client_id: str, *, token: str | None, by: str, now: int) -> bool:
        """Let a client id that was never seen never be sent; return whether it was never seen."""
        return self._changed(
            "INSERT INTO requests (client_id, token, state, received, epoch, fenced_by) VALUES (?, ?, 'fenced', ?, ?, ?)"
            " ON CONFLICT (client_id) DO NOTHING",
            (client_id, token, now, self._epoch, by),
        )

    def fence_received(self, client_id: str, *, by: str) -> bool:
        """Let a request that was received and not passed on never be sent; return whether that was so."""
        return self._changed(
            "UPDATE requests SET state = 'fenced', fenced_by = ? WHERE client_id = ? AND state = 'received'", (by, client_id)
        )

    def begin(self, client_id: str, *, now: int, server_msc: int | None) -> bool:
        """Note that a request is being sent, on disk; return whether it may be. Only then, and only once, it is."""
        return self._changed(
            "UPDATE requests SET state = 'sending', sending = ?, sending_server = ?"
            " WHERE client_id = ? AND state = 'received' AND epoch = ? AND valid_until > ?",
            (now, server_msc, client_id, self._epoch, now),
        )

    def answer(self, client_id: str, answer: dict[str, Any], *, now: int) -> bool:
        """Store a definite answer of a request that was being sent."""
        return self._finish(client_id, "answered", "sending", answer, now)

    def leave(self, client_id: str, answer: dict[str, Any] | None, *, now: int) -> bool:
        """Note that what became of a request that was being sent is not known, with whatever answer there was."""
        return self._finish(client_id, "unresolved", "sending", answer, None if answer is None else now)

    def resolve(self, client_id: str, answer: dict[str, Any], *, now: int) -> bool:
        """Store what was found out of a request whose answer was not known."""
        return self._finish(client_id, "answered", "unresolved", answer, now)

    def _finish(self, client_id: str, state: str, before: str, answer: dict[str, Any] | None, now: int | None) -> bool:
        text = None if answer is None else json.dumps(answer, separators=(",", ":"))
        return self._changed(
            "UPDATE requests SET state = ?, answer = coalesce(?, answer), answered = coalesce(?, answered)"
            " WHERE client_id = ? AND state = ?",
            (state, text, now, client_id, before),
        )

    # ---- at a start, and once in a while

    def start(self, now: int) -> None:
        """Settle what earlier starts left: what was received was not sent and never is; of what was sent nothing is known."""
        self._database.execute(
            "UPDATE requests SET state = 'fenced', fenced_by = 'start' WHERE state = 'received' AND epoch < ?", (self._epoch,)
        )
        self._database.execute("UPDATE requests SET state = 'unresolved' WHERE state = 'sending'")
        self.prune(now)

    def prune(self, now: int) -> int:
        """Forget requests that are done and older than 400 days; return how many.

        A message of one of them is refused by until when it was valid, even if a clock should be wrong.
        """
        before = now - STORED_MSC
        self._database.execute(
            "UPDATE pruned SET valid_until = max(valid_until, coalesce((SELECT max(max(coalesce(valid_until, 0), received + ?))"
            " FROM requests WHERE state IN ('answered', 'fenced') AND received < ?), 0))",
            (VALID_MAX_MSC, before),
        )
        return self._database.execute(
            "DELETE FROM requests WHERE state IN ('answered', 'fenced') AND received < ?", (before,)
        ).rowcount

    def _changed(self, statement: str, values: tuple[object, ...]) -> bool:
        return self._database.execute(statement, values).rowcount == 1


@frozen
class Transaction:
    """A transaction that is committed unless something is raised in it."""

    database: sqlite3.Connection

    def __enter__(self) -> None:
        self.database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.database.execute("COMMIT")
        finally:
            if self.database.in_transaction:  # SQLite has ended some of those that failed by itself
                self.database.execute("ROLLBACK")
