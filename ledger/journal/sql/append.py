"""Appending to the SQL journals: what happens under an account's lock, in as few statements and round trips as it takes.

Statements go to the driver as text. On Postgres what does not depend on one another travels together.
"""

from __future__ import annotations

import math
import random
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain, count
from typing import Any, Final, NamedTuple

import msgspec
from attrs import define

from ledger.codec import Stored, natural_key, terms_of
from ledger.errors import JournalReplaced, JournalUnavailable, LedgerError
from ledger.events import Event
from ledger.journal import Appended, AppendOptions, Head
from ledger.journal.admission import Admission, admit_verbatim, start
from ledger.journal.evidence import StoredEvidence, compress, referenced
from ledger.journal.quiet import PSYCOPG, quiet
from ledger.journal.sql import wire
from ledger.journal.sql.engine import MAY_BE_RECORDED, Connected, ConnectionLost, Engine, is_lost, translate_errors
from ledger.journal.sql.file_identity import Fault, OpenFiles
from ledger.journal.sql.forking import gate, prepare_for_forks, set_aside
from ledger.journal.sql.notify import CHANNEL, UNNOTIFIED_SEC, payload_of
from ledger.journal.sql.sqlite import begin_immediate, stop_waiting
from ledger.journal.sql.words import (
    HEAD,
    HEAD_OF,
    LATEST_ASSERTED,
    ROW,
    TERMS_FILTER,
    TERMS_OF,
    USE_TERMS_INDEX,
    about_position,
    account_key,
    for_postgres,
)
from ledger.terms import TERMS_KINDS, AccountTerms
from ledger.values import AccountId

#: So many rows SQLite is given in one statement: fewer than 999 values, which is what some builds take at most.
_ROWS_AT_ONCE: Final = 25
_BULK: Final = 100  # from so many events on an append is an import, which lets others go first
_COPIED: Final = 20  # from so many events on Postgres takes them as a COPY, which is a round trip more
#: After a lost connection: how long to try to find out what became of an append, and how long to wait in between, in seconds.
_LOCK_WAIT_SEC: Final = 30.0
_RECONNECT: Final = (0.02, 0.2)

# The statements, in SQLite's dialect.
_OF_ACCOUNT: Final = "FROM events WHERE account_id = ?"

_LOCK: Final = f"{HEAD_OF} FOR UPDATE"
_LAST_TERMS: Final = (
    f"SELECT hash FROM events {USE_TERMS_INDEX} WHERE account_id = ? AND ({TERMS_FILTER}) AND version > 0 "
    "ORDER BY version DESC LIMIT 1"
)
_HASH: Final = f"SELECT hash {_OF_ACCOUNT} AND version = ?"
_SYMBOL_USED: Final = f"SELECT version {_OF_ACCOUNT} AND symbol = ? AND kind <> 'SymbolSpecified' LIMIT 1"
#: A cross join is carried out as it is written: each key is looked up. For an IN with many keys SQLite reads the whole account.
_KNOWN_SQLITE: Final = (
    f"SELECT {ROW} FROM json_each(?) AS wanted CROSS JOIN events WHERE account_id = ? AND natural_key = wanted.value"
)
_KNOWN_POSTGRES: Final = f"SELECT {ROW} {_OF_ACCOUNT} AND natural_key = ANY(?)"
#: All that one event is decided by, as it is at one moment. With the key each time: of partitions only the account's is opened.
_SEEN: Final = (
    f"SELECT {HEAD}, ({_LAST_TERMS}), EXISTS (SELECT 1 {_OF_ACCOUNT} AND natural_key = ?) FROM heads WHERE account_id = ?"
)
_KEPT: Final = "SELECT digest FROM evidence WHERE account_id = ? AND digest = ?"

#: With the account written out, so that rows are passed on as they are.
_INSERT: Final = f"INSERT INTO events (account_id, {ROW}) VALUES (%d, {', '.join('?' * len(Stored._fields))})"
#: Without it, for Postgres, which takes many as a COPY.
_INSERT_MANY: Final = _INSERT.replace("%d", "?")
_MOVE_HEAD: Final = f"UPDATE heads SET {', '.join(f'{name} = ?' for name in Head._fields)} WHERE account_id = ?"
#: Need not be durable: who misses it looks at the heads a little later.
_NOTIFY: Final = f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{CHANNEL}', $1)".encode()
_KEEP: Final = "INSERT INTO evidence (account_id, digest, size, body) VALUES (?, ?, ?, ?)"
_NEW_ACCOUNT: Final = "INSERT INTO accounts (account_id, server, login) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_NEW_HEAD: Final = f"INSERT INTO heads ({HEAD}, account_id) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"

#: From so many bytes on the write-ahead log is begun anew as soon as nobody reads from it, which is looked at so often.
_LOG_BYTES: Final = 64 * 1024**2
_SHORTEN_EVERY_SEC: Final = 1.0
#: So long after the files were compared behind a commit, the next append compares the database before it writes, too.
_CHECKED_SEC: Final = 0.01

_IN_TRANSACTION: Final = (2, 3)  # as libpq names it: idle within one, and one that failed
_json: Final = msgspec.json.Encoder().encode

_Rows = list[tuple[Any, ...]]


class _AccountState(NamedTuple):
    """What is found under an account's lock: its head, and the rows known under the natural keys that are given.

    ``last_terms`` is the chain hash of the last event that changed account terms: it names all such events. ``terms`` are
    those at the head, where they need not be looked up.
    """

    driver: Any
    head: Head | None
    last_terms: bytes | None
    known: Mapping[str, Stored]
    terms: AccountTerms | None = None


class _Acknowledged(NamedTuple):
    """The last head of an account that a caller was given, and of which natural key.

    ``terms`` are those at the head where the next event is to be taken for new, unless it is the same again.
    ``opened`` is how many connections had been opened before it was written.
    """

    head: Head
    terms: AccountTerms | None
    key: str | None
    opened: int


class _Own(NamedTuple):
    """What an account is at where nobody but this process has appended since."""

    head: Head
    last_terms: bytes | None


@define
class _Pending:
    """What was sent last, until the database confirmed it."""

    last: Appended | None = None


class Appender:
    """Appends to the tables of ``schema``.

    Args:
        engine: From ``engine.open_engine``, of a journal with the current schema.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writers = _Writers(engine)
        self._is_postgres = engine.is_postgres
        self._terms_by_account: dict[AccountId, tuple[bytes, AccountTerms]] = {}  # with the ``last_terms`` that they are of
        self._acknowledged: dict[AccountId, _Acknowledged] = {}
        self._own: dict[AccountId, _Own] = {}  # of accounts that nobody else seems to append to, on Postgres
        self._notified: dict[AccountId, float] = {}  # when followers were last notified, on Postgres

    def close(self) -> None:
        """Return the connections to the pool."""
        self._writers.close()

    def append(
        self,
        account: AccountId,
        events: Sequence[Event],
        how: AppendOptions,
        now_us: Callable[[], int],
    ) -> Appended:
        """Append what is new of the events; see ``Journal.append``. The present is asked for under the lock."""
        # Before the lock, as the keys are, so that nobody waits for it.
        answers = compress(how["evidence"], events) if how.get("evidence") else ()
        keys = [natural_key(event) for event in events]

        def admitted(state: _AccountState) -> Appended:
            admission = Admission(
                account,
                head=state.head or start(account),
                terms=self._terms(state, account),
                known=state.known,
                lookup=lambda wanted: self._known(state.driver, account, wanted),
                symbol_used=lambda symbol: bool(self._query(state.driver, _SYMBOL_USED, account_key(account), symbol)),
                latest_asserted=lambda position_id: self._latest_asserted(state.driver, account, position_id),
                now_us=now_us(),
            )
            return admission.appended(events, keys, how)

        return self._written(account, list(dict.fromkeys(keys)), admitted, answers, is_bulk=len(events) > _BULK)

    def append_verbatim(self, account: AccountId, rows: Sequence[Stored], evidence: Sequence[StoredEvidence]) -> Head:
        """Append events of another journal as they were recorded there; see ``Journal.append_verbatim``."""

        def decided(state: _AccountState) -> Appended:
            begin = state.head or start(account)
            new = [row for row in rows if row.version > begin.version]
            return admit_verbatim(account, begin, new, lambda one: self._latest_asserted(state.driver, account, one))

        return self._written(account, [], decided, evidence, is_bulk=True).head

    def _written(
        self,
        account: AccountId,
        keys: list[str],
        decide: Callable[[_AccountState], Appended],
        answers: Sequence[StoredEvidence],
        *,
        is_bulk: bool,
    ) -> Appended:
        """Decide under the account's lock what to append, and append it, exactly once.

        Where the connection is lost nobody knows whether the commit was carried out. So it is tried again until the database
        answers; what was committed is found by its chain hash, which no other append can have.

        One event is first tried at once. On Postgres without the lock: it is inserted only if the account's head is still the
        one that it was decided by, which takes two round trips instead of four, and one where this process appended last. On
        SQLite behind the head that was acknowledged last, without a look at the journal (see ``_guessed``).
        """
        sending = _Pending()
        give_up: float | None = None
        for attempt in count():
            # A statement that is a transaction of its own has the settings of its session, which a pooler does not keep.
            at_once = not attempt and len(keys) == 1 and (not self._is_postgres or self._engine.pooled_settings is None)
            try:
                with self._writers.begun(is_bulk=is_bulk, at_once=at_once) as writer:
                    opened = self._writers.opened  # before it is committed: another thread may be connected elsewhere after
                    appended = self._tried(writer, account, keys, decide, answers, sending, at_once=at_once)
                if appended is not None:
                    if appended.head.version:  # else there is no event that could be missing later
                        self._acknowledge(account, appended, keys[-1] if keys else None, opened)
                    return appended
            except JournalUnavailable as error:
                is_gone = is_lost(error.__cause__)
                if is_gone and not attempt and sending.last is None:
                    continue  # it may have been dead since the append before: a new one shows whether the database answers
                if give_up is None and not is_gone:
                    raise
                give_up = give_up or time.monotonic() + _LOCK_WAIT_SEC
                if time.monotonic() >= give_up:
                    raise _unknown(error, sending.last) from error
                if attempt:  # as above
                    time.sleep(random.uniform(*_RECONNECT))  # noqa: S311  # no secret
        raise AssertionError("it is tried for ever, or ended")

    def _acknowledge(self, account: AccountId, appended: Appended, key: str | None, opened: int) -> None:
        """Note what a caller is given. Behind a deal that was known there is often another one, which is not to be guessed."""
        before = self._acknowledged.get(account)
        terms = appended.terms if appended.rows or (before is not None and before.key == key) else None
        self._acknowledged[account] = _Acknowledged(appended.head, terms, key, opened)

    def _tried(
        self,
        writer: _Writer,
        account: AccountId,
        keys: list[str],
        decide: Callable[[_AccountState], Appended],
        answers: Sequence[StoredEvidence],
        sending: _Pending,
        *,
        at_once: bool,
    ) -> Appended | None:
        """Decide and append; None where that has to be done again, under the lock."""
        driver = writer.driver
        known = self._acknowledged.get(account)  # before the journal is looked at: another thread may append meanwhile
        own = self._own.pop(account, None)  # until it is known to be right
        if at_once and own is not None and known is not None and own.head == known.head:
            appended = self._tried_unseen(writer, account, own, decide, sending)
            if appended is not None:
                return appended
        if at_once and not self._is_postgres:
            appended, at_once = self._guessed(driver, account, known, keys[0], decide), False
            if appended is not None:
                return appended
            if not driver.in_transaction:  # what was written behind a wrong head was taken back
                writer.begin(is_bulk=False, at_once=False)
        state = self._seen(driver, account, keys[0]) if at_once else self._locked(driver, account, keys)
        if state is None:
            return None
        last = None if known is None else known.head
        self._require_same_history(state, account, known)
        if sending.last is not None and self._is_there(driver, account, sending.last.head):
            return sending.last
        appended = decide(state)
        if not appended.rows:
            return appended
        if at_once and not _is_at_once(appended):
            return None
        if at_once:
            return self._written_at_once(writer, state, account, appended, sending, is_own=last in (None, state.head))
        sending.last = appended
        self._write(state, account, appended, referenced(answers, appended.rows) if answers else {})
        self._remember(state, account, appended, is_own=last in (None, state.head))
        self._notify_followers(writer.connection, account)
        return appended

    def _tried_unseen(
        self, writer: _Writer, account: AccountId, own: _Own, decide: Callable[[_AccountState], Appended], sending: _Pending
    ) -> Appended | None:
        """Append one event to Postgres without looking first; None where that cannot be done.

        It is decided as if nobody had appended since we did, and as if nothing were known under its key. The statement that
        inserts it requires both.
        """
        state = _AccountState(writer.driver, own.head, own.last_terms, {})
        try:
            appended = decide(state)
        except LedgerError:  # which may rest on what is not so any more
            return None
        if not _is_at_once(appended):
            return None
        return self._written_at_once(writer, state, account, appended, sending, is_own=True)

    def _written_at_once(
        self,
        writer: _Writer,
        state: _AccountState,
        account: AccountId,
        appended: Appended,
        sending: _Pending,
        *,
        is_own: bool,
    ) -> Appended | None:
        """Write one event to Postgres, if the account's head is the one that it was decided by; None where it is not."""
        sending.last = appended
        if not wire.insert(writer.driver, account_key(account), appended):
            sending.last = None  # another writer was faster, and may even have recorded the same
            return None
        self._remember(state, account, appended, is_own=is_own)
        self._notify_followers(writer.connection, account)
        return appended

    def _guessed(
        self,
        driver: Any,
        account: AccountId,
        known: _Acknowledged | None,
        key: str,
        decide: Callable[[_AccountState], Appended],
    ) -> Appended | None:
        """Append one event to SQLite behind the head that was acknowledged last, as if it was new; None where either is wrong.

        The journal is locked: what else the decision asks for is as it will be when the event is written. A version and a key
        can be there once, and the head is moved on only from the one that was guessed: its hash names all that is before it,
        the account terms included. Whatever else comes of it, an error for example, is decided anew by what is there.
        """
        if known is None or known.terms is None or known.key == key:
            return None
        state = _AccountState(driver, known.head, None, {}, known.terms)
        try:
            appended = decide(state)
        except LedgerError:
            return None
        if not _is_at_once(appended):
            return None
        insert, move_head = _at_once(account)
        try:
            driver.execute(insert, tuple(appended.rows[0]))
        except sqlite3.IntegrityError:
            return None
        if not driver.execute(move_head, (*appended.head, known.head.version, known.head.hash)).rowcount:
            driver.rollback()
            return None
        driver.commit()
        if appended.terms is not known.terms:
            self._remember(state, account, appended, is_own=True)
        return appended

    def _require_same_history(self, state: _AccountState, account: AccountId, known: _Acknowledged | None) -> None:
        """Refuse to append where the last event that a caller was given is not in the journal any more.

        An older copy, another journal, or a standby without the newest commits replaced it under the open ledger. To look
        whether the event is still there costs Postgres a round trip where others appended meanwhile, and a database is not
        replaced under its connections: there it is done for each account if a connection was opened since.
        """
        if known is None or (state.head is not None and state.head[:2] == known.head[:2]):
            return
        is_behind = state.head is None or state.head.version <= known.head.version
        is_reconnected = known.opened != self._writers.opened or not self._is_postgres
        if is_behind or (is_reconnected and not self._is_there(state.driver, account, known.head)):
            raise JournalReplaced(
                f"account {account}: version {known.head.version} was recorded here and is not in the journal any more, which "
                f"is at version {state.head.version if state.head else 0}: an older copy, another journal, or a standby "
                "without the newest commits replaced it while it was open. Nothing was appended: put the right one in its "
                "place, run ledger verify, and open it again"
            )

    # ---- what is found

    def _locked(self, driver: Any, account: AccountId, keys: list[str]) -> _AccountState:
        """Lock the account for this transaction and return its state.

        SQLite has locked the whole journal already. On Postgres the head row is the lock; a new account is made first, so
        that there is a row to wait for.
        """
        key = account_key(account)
        if not self._is_postgres and len(keys) == 1:
            return self._seen(driver, account, keys[0]) or _AccountState(driver, None, None, {})
        if not self._is_postgres:
            heads = self._query(driver, HEAD_OF, key)
            if not heads:
                return _AccountState(driver, None, None, {})
            last = self._query(driver, _LAST_TERMS, key)
            return _AccountState(driver, Head._make(heads[0]), last[0][0] if last else None, self._known(driver, account, keys))
        while True:
            heads, last, rows = self._query_all(driver, (_LOCK, key), (_LAST_TERMS, key), (_KNOWN_POSTGRES, key, keys))
            if heads:
                head = Head._make(heads[0])
                return _AccountState(driver, head if head.version else None, last[0][0] if last else None, _by_key(rows))
            self._create_account(driver, account)

    def _seen(self, driver: Any, account: AccountId, natural_key: str) -> _AccountState | None:
        """Return an account's state, without locking it; None if it has no events yet."""
        key = account_key(account)
        found = self._query(driver, _SEEN, key, key, natural_key, key)
        if not found or not found[0][0]:
            return None
        *head, last, is_known = found[0]
        return _AccountState(driver, Head(*head), last, self._known(driver, account, [natural_key]) if is_known else {})

    def _terms(self, state: _AccountState, account: AccountId) -> AccountTerms | None:
        if state.terms is not None:
            return state.terms
        if state.head is None or state.last_terms is None:
            return None
        last, terms = self._terms_by_account.get(account, (None, None))
        if last != state.last_terms:
            rows = self._query(state.driver, TERMS_OF, account_key(account), state.head.version)
            terms = terms_of(list(map(Stored._make, rows)))
            if terms is not None:
                self._terms_by_account[account] = state.last_terms, terms
        return terms

    def _remember(self, state: _AccountState, account: AccountId, appended: Appended, *, is_own: bool) -> None:
        """Note the account terms after an append, so that the next one need not read them; on Postgres, where it ended.

        Args:
            state: Before the append.
            account: Whose.
            appended: What was appended.
            is_own: Whether nobody else has appended since this process did. Where others do, to guess would be in vain.
        """
        last = next((row.hash for row in reversed(appended.rows) if row.kind in TERMS_KINDS), None)
        if last is not None and appended.terms is not None:
            self._terms_by_account[account] = last, appended.terms
        if is_own and self._is_postgres:
            self._own[account] = _Own(appended.head, last or state.last_terms)

    def _known(self, driver: Any, account: AccountId, keys: Sequence[str]) -> Mapping[str, Stored]:
        """Return natural key -> row, of those that there are."""
        if self._is_postgres:
            return _by_key(self._query(driver, _KNOWN_POSTGRES, account_key(account), list(keys)))
        return _by_key(self._query(driver, _KNOWN_SQLITE, _json(keys).decode(), account_key(account)))

    def _latest_asserted(self, driver: Any, account: AccountId, position_id: int | None) -> tuple[int, int] | None:
        """Return the place of the latest assertion about a position, or about the balance."""
        about, values = about_position(position_id)
        found = self._query(driver, LATEST_ASSERTED % about, account_key(account), *values)
        return (found[0][0], found[0][1]) if found else None

    def _is_there(self, driver: Any, account: AccountId, head: Head) -> bool:
        """Return whether the event of a head is in the journal."""
        return self._query(driver, _HASH, account_key(account), head.version) == [(head.hash,)]

    # ---- what is written

    def _write(
        self, state: _AccountState, account: AccountId, appended: Appended, answers: Mapping[str, StoredEvidence]
    ) -> None:
        """Write all of an append and commit it, on Postgres in one round trip."""
        driver, key = state.driver, account_key(account)
        if state.head is None and not self._is_postgres:
            self._create_account(driver, account)
        for kept in answers.values():  # the account is locked: nobody else keeps them meanwhile
            if not self._query(driver, _KEPT, key, kept.digest):
                self._execute(driver, _KEEP, (key, *kept))
        insert = _INSERT % key
        if not self._is_postgres:
            _insert_sqlite(driver, insert, appended.rows)
            self._execute(driver, _MOVE_HEAD, (*appended.head, key))
            driver.commit()
            return
        rows = [(key, *row) for row in appended.rows]
        if len(rows) >= _COPIED:
            self._execute(driver, _INSERT_MANY, *rows)
            rows = []
        with self._one_round_trip(driver):
            if rows:
                self._execute(driver, _INSERT_MANY, *rows)
            self._execute(driver, _MOVE_HEAD, (*appended.head, key))
            driver.commit()

    def _create_account(self, driver: Any, account: AccountId) -> None:
        key = account_key(account)
        self._execute(driver, _NEW_ACCOUNT, (key, account.server, account.login))
        self._execute(driver, _NEW_HEAD, (*start(account), key))

    def _notify_followers(self, connection: Connected, account: AccountId) -> None:
        """Wake those who follow, after the commit: within it Postgres would let such commits go only one by one.

        Whoever is woken looks once more a little later (see ``PostgresWatch``), so that one notification will do for what is
        appended meanwhile.

        Its answer is not waited for. It has no content, and is read before the connection is used again. A pooler keeps the
        server's connection for us until then, so there it is taken at once.
        """
        if not self._is_postgres:
            return
        now = time.perf_counter()  # finer than the monotonic clock on Windows
        if now - self._notified.get(account, -math.inf) < UNNOTIFIED_SEC:
            return
        self._notified[account] = now
        driver: Any = connection.driver_connection
        try:
            driver.pgconn.send_query_params(_NOTIFY, [payload_of(account)])
            driver.pgconn.flush()
            if self._engine.pooled_settings is not None:
                wire.settle(driver)
        except Exception:  # noqa: BLE001  # the append is durable whatever happens here
            self._notified.pop(account, None)
            connection.invalidate()

    # ---- the driver

    def _query(self, driver: Any, text: str, *values: Any) -> _Rows:
        if self._is_postgres:
            return list(driver.execute(for_postgres(text), values, binary=True))
        return list(driver.execute(text, values))

    def _query_all(self, driver: Any, *questions: tuple[Any, ...]) -> list[_Rows]:
        """Ask Postgres several questions in one round trip. They are answered one after the other."""
        with self._one_round_trip(driver):
            cursors = [driver.execute(for_postgres(text), values, binary=True) for text, *values in questions]
            return [cursor.fetchall() for cursor in cursors]

    @contextmanager
    def _one_round_trip(self, driver: Any) -> Iterator[None]:
        """Send statements together. Not through a pooler: some give the connection away before all of them are answered."""
        if self._engine.pooled_settings is not None:
            yield
            return
        with quiet(PSYCOPG), driver.pipeline():
            yield

    def _execute(self, driver: Any, text: str, *rows: tuple[Any, ...]) -> None:
        cursor = driver.cursor()
        statement = for_postgres(text) if self._is_postgres else text
        if len(rows) == 1:
            cursor.execute(statement, tuple(rows[0]))
        elif text is _INSERT_MANY and len(rows) >= _COPIED:
            wire.copy(cursor, rows)
        else:
            cursor.executemany(statement, rows)


class _Writers:
    """Connections that write, reused from one append to the next.

    To take one from the pool and give it back costs a fifth of a durable fill on SQLite, and on Postgres a round trip to see
    whether the server is still there.

    Attributes:
        opened: How many were taken from the pool so far. As long as it stays the same, the server does.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._file = None if engine.is_postgres else engine.address()
        self._translated = translate_errors(engine.url)
        self._journal_id: str | None = None
        self.opened = 0
        self._idle: list[_Writer] = []
        weakref.finalize(self, _end_all, self._idle)  # for a ledger that nobody closed
        prepare_for_forks(self)

    def close(self) -> None:
        """Give back those that nobody uses."""
        _end_all(self._idle)

    def before_fork(self) -> None:
        """Close the SQLite connections that nobody uses (see ``forking``)."""
        if self._file is not None:
            self.close()

    def after_fork_in_child(self) -> None:
        """Set aside what the parent uses: a child must not even close it."""
        for writer in self._idle:
            set_aside(writer)
        self._idle.clear()

    @contextmanager
    def begun(self, *, is_bulk: bool, at_once: bool) -> Iterator[_Writer]:
        """Begin to write. What is not committed is rolled back; a connection that is lost is reported as such.

        Args:
            is_bulk: Whether much is to be written.
            at_once: Let every statement be a transaction of its own, on Postgres.

        Raises:
            JournalReplaced: The journal is not the one that was opened, before or after what was written.
        """
        number = gate.enter(self._file) if self._file is not None else 0
        try:
            with self._translated:
                writer = self._taken()
                try:
                    writer.begin(is_bulk=is_bulk, at_once=at_once)
                    yield writer
                    writer.roll_back()
                    writer.check_files()
                except BaseException as error:
                    is_gone = isinstance(error, Exception) and self._engine.is_disconnect(error, writer.driver)
                    if not is_gone:
                        self._put_back(writer, error)
                        raise
                    writer.connection.invalidate(error)
                    self.close()  # the others will not do either
                    raise ConnectionLost(error) from error
                if writer.connection.is_valid:
                    self._idle.append(writer)
        finally:
            gate.leave(number)

    def _put_back(self, writer: _Writer, error: BaseException) -> None:
        """Let go of a connection after an append that failed.

        On SQLite it is used again: the last one that is closed would copy the log into the database.
        """
        if isinstance(error, JournalReplaced):
            self._engine.refuse_from_now_on(error)
            self.close()
        if self._file is None or not isinstance(error, LedgerError) or isinstance(error, JournalReplaced):
            writer.end()
            return
        writer.roll_back()
        self._idle.append(writer)

    def _taken(self) -> _Writer:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connected()

    def _connected(self) -> _Writer:
        connection = self._engine.raw_connection()
        if self._file is not None:
            connection.detach()  # it counts as in use while it writes, and not while it waits for the next append
        writer = _Writer(connection, self._file, self._engine.pooled_settings)
        self.opened += 1
        try:
            self._engine.require_writable()
            self._require_same_journal(writer.journal_id())
            writer.roll_back()
        except BaseException:
            writer.connection.invalidate()
            raise
        return writer

    def _require_same_journal(self, found: str | None) -> None:
        if self._journal_id is not None and self._journal_id != found:
            raise JournalReplaced(
                f"another journal, {found}, replaced {self._journal_id} while it was open. Nothing was appended: put "
                "the right one in its place, run ledger verify, and open it again"
            )
        self._journal_id = found


class _Writer:
    """One connection that writes."""

    def __init__(self, connection: Connected, file: str | None, settings: str | None) -> None:
        self.connection = connection
        self.driver: Any = connection.driver_connection
        self._file = file
        self._settings = settings  # what a transaction begins with, behind a pooler
        self._files: OpenFiles | None = None
        self._checked = self._shortened = 0.0
        self._waiting = 0.0 if file is None else stop_waiting(self.driver)  # seconds that SQLite would wait by itself

    def journal_id(self) -> str | None:
        """Return the id of the journal, None for one whose schema has none yet."""
        try:
            return str(self.driver.execute("SELECT journal_id FROM identity").fetchone()[0])
        except Exception as error:
            if "no such table" in str(error) or 'relation "identity" does not exist' in str(error):
                return None
            raise

    def begin(self, *, is_bulk: bool, at_once: bool) -> None:
        """Begin a transaction that writes, once others let it."""
        self._settle()
        if self._file is None:
            autocommit = at_once and self._settings is None  # if not, psycopg begins with the first statement
            if self.driver.autocommit != autocommit:
                self.driver.autocommit = autocommit
            self.driver.pgconn.consume_input()  # or what is sent next goes nowhere, and may have been carried out
            if self._settings is not None:
                self.driver.execute(self._settings)
            return
        begin_immediate(self.driver, self._waiting, is_bulk=is_bulk)
        if self._files is None:
            self._files = OpenFiles(self._file)
        if time.monotonic() - self._checked > _CHECKED_SEC:  # what guarantees is the check after the commit
            self._files.check_database()
        if not self._files.is_log_marked:
            self._mark_log()

    def _mark_log(self) -> None:
        """Write the database's mark once more, so that its log is not taken for that of another (see ``require_own_log``)."""
        (mark,) = self.driver.execute("PRAGMA user_version").fetchone()
        self.driver.execute(f"PRAGMA user_version = {mark}")

    def check_files(self) -> None:
        """Refuse to acknowledge what was written to a file that is not the one that the URL names any more.

        Raises:
            JournalReplaced: It is not.
            JournalUnavailable: That is not known.
        """
        if self._files is None:
            return
        try:
            self._files.check()
        except JournalUnavailable as error:
            raise JournalUnavailable(f"{error}. {MAY_BE_RECORDED}") from error
        self._checked = time.monotonic()
        if self._checked - self._shortened > _SHORTEN_EVERY_SEC:
            self._shortened = self._checked
            if self._files.log_bytes() > _LOG_BYTES:
                self._shorten_log()

    def _shorten_log(self) -> None:
        """Begin the write-ahead log anew where readers left it no moment to, if none reads from it now."""
        with suppress(sqlite3.Error):  # the append is durable whatever happens here
            self.driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def roll_back(self) -> None:
        """Take back what was not committed."""
        if self._file is None:
            if self.driver.pgconn.transaction_status in _IN_TRANSACTION:
                self.driver.rollback()
        elif self.driver.in_transaction:
            self.driver.rollback()
        elif self._files is not None:
            self._files.is_log_marked = True  # with what was committed

    def end(self) -> None:
        """Give the connection back as it was; on SQLite, close it."""
        self._settle()
        if self._file is not None:
            self.roll_back()
            if self._is_to_stay_open():
                set_aside(self)
                return
        elif not self.driver.closed:
            self.roll_back()
            self.driver.autocommit = False
        self.connection.close()

    def _is_to_stay_open(self) -> bool:
        """Return whether closing would do harm; what was acknowledged is saved first, if the database is still the journal's.

        The last connection that is closed copies the log into the database, which ruins one that was written over; and it
        removes the -wal that its path names, which may be that of the database that took the place of this one.
        """
        if self._files is None:
            return False
        try:
            self._files.check()
        except JournalReplaced:
            pass
        except JournalUnavailable:
            return True  # it may be another file; what the process leaves open does no harm
        fault = self._files.fault
        if fault in (Fault.LOG, Fault.MOVED):
            with suppress(sqlite3.Error):
                self.driver.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
        return fault is Fault.OVERWRITTEN or (fault is Fault.MOVED and self._files.is_log_of_others())

    def _settle(self) -> None:
        """Take the answer of the last notification, if there was one."""
        if self._file is None:
            wire.settle(self.driver)


def _end_all(idle: list[_Writer]) -> None:
    while True:
        try:
            idle.pop().end()
        except IndexError:
            return


@lru_cache(maxsize=256)
def _at_once(account: AccountId) -> tuple[str, str]:
    """Return the statements that insert an event of an account and move its head on from what it was, for SQLite.

    They are the same texts each time, so that the driver finds by their hash what SQLite has made of them.
    """
    key = account_key(account)
    return _INSERT % key, f"{_MOVE_HEAD.replace('account_id = ?', f'account_id = {key}')} AND version = ? AND hash = ?"


def _insert_sqlite(driver: Any, insert: str, rows: Sequence[Stored]) -> None:
    """Insert rows, many with one statement: what SQLite does once a statement costs a fifth of a row."""
    begin, row = insert.split(" VALUES ")
    many = f"{begin} VALUES {', '.join([row] * _ROWS_AT_ONCE)}"
    whole = len(rows) - len(rows) % _ROWS_AT_ONCE
    for first in range(0, whole, _ROWS_AT_ONCE):
        driver.execute(many, tuple(chain.from_iterable(rows[first : first + _ROWS_AT_ONCE])))
    driver.executemany(insert, map(tuple, rows[whole:]))  # SQLite reads plain tuples faster


def _is_at_once(appended: Appended) -> bool:
    """Return whether an append writes one row, and nothing beside it."""
    return len(appended.rows) == 1 and appended.rows[0].evidence is None


def _by_key(rows: Iterable[tuple[Any, ...]]) -> dict[str, Stored]:
    return {row.natural_key: row for row in map(Stored._make, rows)}


def _unknown(error: JournalUnavailable, sent: Appended | None) -> JournalUnavailable:
    if sent is None:
        return error
    return JournalUnavailable(
        f"{error}. The connection was lost while it committed: whether it is recorded is not known. "
        "Record it again when the database answers: that is harmless"
    )
