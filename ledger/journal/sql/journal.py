"""The journal on SQLite and Postgres.

Statements are text in the words of SQLite (``words``), for both databases. Reading many rows goes through the driver's own
cursor. Appending is ``append``'s.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from functools import lru_cache, partial
from hashlib import sha256
from heapq import merge
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, Unpack

from attrs import asdict, fields

from ledger.clock import SECOND_MSC
from ledger.codec import APPROVAL_KEYS, KINDS, ORDER_KEYS, Stored, posting, stored_place, terms_of
from ledger.errors import AccountMoved, BadValue, CorruptEvent, JournalError, LedgerError, VersionGap
from ledger.events import Event, storable
from ledger.fold_order import FirstRecord
from ledger.journal import Appended, AppendOptions, Difference, Head, Parent, Selection
from ledger.journal.checkpoints import Checkpoint, Mark, order_of, select
from ledger.journal.evidence import StoredEvidence, decompress, is_digest
from ledger.journal.health import COLUMNS as HEALTH
from ledger.journal.health import SyncHealth, from_columns, merged, to_columns
from ledger.journal.location import LOCATION_COLUMNS, MOVED, ORIGIN_COLUMNS, FormerJournal, Location, refusal
from ledger.journal.notices import RESOLVED, SentNotice
from ledger.journal.sql import equity
from ledger.journal.sql.derived import SqlDerived
from ledger.journal.sql.engine import Engine, Session, translate_errors
from ledger.journal.sql.forking import importing, owned, set_aside
from ledger.journal.sql.words import (
    HEAD_OF,
    LATEST_ASSERTED,
    MARKED,
    POSTING,
    ROW,
    TERMS_FILTER,
    TERMS_OF,
    USE_TERMS_INDEX,
    about_position,
    account_key,
    among,
    for_postgres,
    insert,
    replace,
)
from ledger.journal.tally import BREAK_KINDS, Tally, tally_of
from ledger.journal.upkeep import COLUMNS as UPKEEP
from ledger.journal.upkeep import Upkeep
from ledger.journal.upkeep import from_columns as upkeep_of
from ledger.journal.upkeep import merged as with_upkeep
from ledger.journal.watch import AppendListener
from ledger.marks import Bucket, MarkColumns
from ledger.marks import Mark as AccountMark
from ledger.marks import from_columns as mark_of
from ledger.postings import (
    ASSERTED,
    IN_ORDER,
    NO_DEAL,
    OUT_OF_ORDER,
    OUTSIDE_FOLD,
    FoldKey,
    Posting,
    Postings,
    Reading,
    Row,
    blocks_until,
    place_of,
    second_of,
)
from ledger.segments.store import FOLDER_SUFFIX, Segments
from ledger.terms import AccountTerms
from ledger.values import INT64_MAX, AccountId

if TYPE_CHECKING:
    from ledger.journal.sql.append import Appender

T = TypeVar("T")

_BATCH: Final = 500
#: Of so many accounts at most is remembered what a replay would ask anew.
_KNOWN_MAX: Final = 1000
#: So many rows are read at once: of SQLite fewer than Python makes before it looks for garbage, of Postgres a
#: round trip's worth.
_STREAM_ROWS: Final = 500
_STREAM_ROWS_POSTGRES: Final = 5000
_HEALTH_PATIENCE: Final = 2.0  # seconds: a sync is not to be delayed by others who write
#: So many rows a page has, where SQLite is asked anew for each.
_PAGE_ROWS: Final = 500
_STREAM_MARKS: Final = 16
_CANDIDATES: Final = 4  # the latest checkpoint nearly always serves, and each has kilobytes beside it
_MARKS_LOCK: Final = 0x6D61726B73  # with the key of an account: whoever stores a mark of it holds this lock on Postgres
_STREAM_ANSWERS: Final = 4  # each may be many megabytes

_KEYS_AT_ONCE: Final = 500
_SENT: Final = tuple(one.name for one in fields(SentNotice))
#: The notices that are not over, and those that were over before a moment.
_NOTICES: Final = f"SELECT {', '.join(_SENT)} FROM sent_notices AS sent"
_NOT_OVER: Final = (
    f"{_NOTICES} WHERE NOT EXISTS (SELECT 1 FROM sent_notices AS ends "
    f"WHERE ends.key = sent.key AND ends.channel = sent.channel AND ends.stage = {RESOLVED})"
)
_DELETE_OVER: Final = (
    "DELETE FROM sent_notices WHERE EXISTS (SELECT 1 FROM sent_notices AS ends WHERE ends.key = sent_notices.key "
    f"AND ends.channel = sent_notices.channel AND ends.stage = {RESOLVED} AND ends.sent_us < ?)"
)
_MARKS: Final = f"SELECT {', '.join(MarkColumns._fields)} FROM marks WHERE account_id = ?"
_ACCOUNTS: Final = "SELECT account_id, server, login FROM accounts"
_HEADS: Final = (
    f"SELECT server, login, {', '.join(Head._fields)} FROM accounts JOIN heads ON heads.account_id = accounts.account_id "
    "WHERE heads.version > 0"
)
_HEALTHS: Final = (
    f"SELECT server, login, {', '.join(HEALTH)} FROM accounts JOIN sync_health ON sync_health.account_id = accounts.account_id"
)
_HEALTH_OF: Final = f"SELECT {', '.join(HEALTH)} FROM sync_health WHERE account_id = ?"
_LOCATION: Final = f"SELECT {', '.join(LOCATION_COLUMNS)} FROM heads WHERE account_id = ?"
_ORIGINS: Final = f"SELECT {', '.join(ORIGIN_COLUMNS)} FROM origins WHERE account_id = ? ORDER BY number"
_LOCATIONS: Final = (
    f"SELECT server, login, {', '.join(LOCATION_COLUMNS)} FROM accounts JOIN heads ON heads.account_id = accounts.account_id "
    "WHERE epoch <> 1 OR state IS NOT NULL"
)
_KEPT: Final = f"SELECT {', '.join(StoredEvidence._fields)} FROM evidence WHERE account_id = ?"
_UPKEEP: Final = f"SELECT {', '.join(UPKEEP)} FROM upkeep"
_OF_NOBODY: Final = "account_id NOT IN (SELECT account_id FROM accounts)"
_TWICE: Final = "SELECT account_id, natural_key, max(version) FROM events GROUP BY account_id, natural_key HAVING count(*) > 1"
_VERSION: Final = Stored._fields.index("version")
_PLAIN: Final = (
    f"SELECT {POSTING} FROM events WHERE account_id = ? AND version > ? AND version <= ? AND placement = {IN_ORDER} "
    "ORDER BY version"
)
_ROWS: Final = f"SELECT {ROW} FROM events WHERE account_id = ? AND version > ? AND version <= ? ORDER BY version"
_ROWS_OF_KINDS: Final = (
    f"SELECT {ROW} FROM events WHERE account_id = ? AND version > ? AND version <= ? AND kind IN (%s) ORDER BY version"
)
#: How a statement goes on where its last page ended: its value of the lower bound, and the column that becomes the next one.
_BY_VERSION: Final = (1, _VERSION)
_POSTING_BY_VERSION: Final = (1, Posting._fields.index("version"))
_WITH_PLACE: Final = f"SELECT order_msc, order_deal, {POSTING} FROM events WHERE account_id = ?"
_ALL_PLACED: Final = f"{_WITH_PLACE} AND placement = {OUT_OF_ORDER}"
_ALL_ASSERTED: Final = f"{_WITH_PLACE} AND placement = {ASSERTED} AND order_msc >= ? AND version <= ?"
_ASSERTED_BEHIND: Final = (
    "SELECT max(order_msc - time_msc) FROM events INDEXED BY ix_events_asserted WHERE account_id = ? AND "
    f"placement = {ASSERTED} AND version <= ?"
)
_PLACED_FROM: Final = f"{_ALL_PLACED} AND order_msc >= ? AND version <= ?"
#: What arrived late, or completes a deal, belongs before something that had arrived in order already: what belongs behind a
#: checkpoint came after the last of its events in order. Only a revision can move a deal ahead, and with it what completes the
#: deal from then on: the first revision that did came before all of these.
_PLACED_BEHIND: Final = (
    f"{_ALL_PLACED.replace('FROM events', 'FROM events INDEXED BY ix_events_placed')} AND version > "
    "coalesce((SELECT min(version) - 1 FROM events INDEXED BY ix_events_revised WHERE account_id = ? AND kind = 'DealRevised' "
    "AND version <= ? AND order_msc >= ?), ?) AND version <= ?"
)
#: Of what is asserted behind a place a question about the past knows little: its versions are found in the index alone.
_ASSERTED_KNOWN: Final = (
    f"{_WITH_PLACE} AND version IN (SELECT version FROM events INDEXED BY ix_events_asserted WHERE account_id = ? AND "
    f"placement = {ASSERTED} AND order_msc >= ? AND version <= ?)"
)
#: What is outside the fold and about orders: neither account terms nor approvals.
_IS_ABOUT_ORDERS: Final = (
    f"placement = {OUTSIDE_FOLD} AND kind NOT IN ('AccountOpened', 'SymbolSpecified', 'CorrectionProposed', "
    "'CorrectionDecided', 'PolicySet', 'BreakNoted')"
)
_ORDER_ROWS: Final = (
    f"SELECT {POSTING}, recorded_us FROM events WHERE account_id = ? AND version > ? AND version <= ? AND time_msc <= ? AND "
    f"(order_ticket IS NOT NULL OR ({_IS_ABOUT_ORDERS}) OR kind = 'DealRevised') "
    "ORDER BY version"
)
#: The events about orders alone, or those that name something. SQLite has to be made to use their index.
_ORDER_EVENTS: Final = (
    f"SELECT {POSTING} FROM events INDEXED BY ix_events_%s WHERE account_id = ? AND %s version <= ? ORDER BY version"
)
_ABOUT_ORDERS: Final = f"{_IS_ABOUT_ORDERS} AND"
_BEHIND: Final = "FROM events WHERE account_id = ? AND version > ? AND version <= ?"
_TALLY: Final = f"SELECT kind, count(*) {_BEHIND} GROUP BY kind"
_BREAKS: Final = f"SELECT kind, caused_by, data {_BEHIND} AND kind IN {BREAK_KINDS} ORDER BY version"
#: Of a SQLite journal that is in use: its file, and what was written and is not in it yet.
_FILES: Final = ("", "-wal")
_FIRST_RECORD: Final = "SELECT deal, version, origin, recorded_us FROM events WHERE account_id = ? AND natural_key = ?"
_RECORDED_US: Final = "SELECT version, recorded_us FROM events WHERE account_id = ? AND version = ?"


def _by_keys(*spans: tuple[str, str]) -> str:
    """Select events by spans of natural keys: their index serves, so no column may do that another one begins with."""
    return " UNION ALL ".join(
        f"SELECT version FROM events WHERE account_id = ? AND natural_key >= '{first}' AND natural_key < '{end}' "
        f"AND placement + 0 = {OUTSIDE_FOLD} AND version + 0 <= ? AND time_msc <= ?"
        for first, end in spans
    )


_OF_ORDERS: Final = _by_keys(*ORDER_KEYS)
#: The events that change account terms and are not folded. With the name of the index: SQLite would rather read all events.
_TERMS_OUTSIDE_FOLD: Final = (
    f"SELECT count(*) FROM events {USE_TERMS_INDEX} WHERE account_id = ? AND ({TERMS_FILTER}) AND version <= ? "
    f"AND time_msc <= ? AND placement + 0 = {OUTSIDE_FOLD}"
)
#: All that is folded by version.
_BY_VERSION_KEYS: Final = (*ORDER_KEYS, APPROVAL_KEYS)
_OF_VERSIONS: Final = _by_keys(*_BY_VERSION_KEYS)
_PROPOSED_KEY: Final = f"{APPROVAL_KEYS[0]}:CorrectionProposed"
#: What people proposed, decided, set and noted: by the same index.
_APPROVALS: Final = (
    f"SELECT {ROW} FROM events WHERE account_id = ? AND natural_key >= '{APPROVAL_KEYS[0]}' AND "
    f"natural_key < '{APPROVAL_KEYS[1]}' AND version + 0 > ? AND version + 0 <= ? ORDER BY version + 0"
)
#: The end of a break.
_BREAK_END: Final = (
    f"SELECT {ROW} FROM events INDEXED BY ix_events_notable WHERE account_id = ? AND "
    "kind = 'BreakClosed' AND caused_by = ? AND version <= ? ORDER BY version"
)
_PROPOSED: Final = (
    "SELECT a.server, a.login FROM accounts a WHERE EXISTS (SELECT 1 FROM events e WHERE e.account_id = a.account_id AND "
    f"e.natural_key >= '{_PROPOSED_KEY}' AND e.natural_key < '{_PROPOSED_KEY[:-1]}e' AND e.recorded_us >= ?) "
    "ORDER BY a.server, a.login"
)
_REVISIONS: Final = "SELECT caused_by, version FROM events WHERE account_id = ? AND kind = 'DealRevised' AND version <= ?"
_CAUSES: Final = "SELECT caused_by, version FROM events WHERE account_id = ? AND version IN (%s) AND caused_by IS NOT NULL"
#: Where a checkpoint is in the fold order, what was read until there, and the version and hash that it rests on.
_STATE_PLACE: Final = "time_msc, deal, at_version"
_MARKED: Final = ", ".join(MARKED)
_MARK_COLUMNS: Final = len(MARKED)
_STATE_COLUMNS: Final = ("account_id", *MARKED, "fold", "body", "digest")
_STATES: Final = f"SELECT {_MARKED} FROM checkpoints INDEXED BY ix_checkpoints_marks WHERE account_id = ?"
_WHOLE_STATES: Final = f"SELECT {_MARKED}, fold, body, digest FROM checkpoints WHERE account_id = ?"
_WITHIN: Final = (
    f"FROM checkpoints WHERE account_id = ? AND fold = ? AND ({_STATE_PLACE}) > (?, ?, ?) AND ({_STATE_PLACE}) <= (?, ?, ?)"
)
#: The first place that something behind a version has in the fold order: of what arrived in order, what did not, what is
#: asserted (where it has its own place, and where it is ordered by time), and the deals that were revised.
_CHANGES: Final = (
    f"SELECT time_msc, coalesce(deal, {NO_DEAL}), version, deal %s AND placement = {IN_ORDER} ORDER BY version LIMIT 1",
    f"SELECT order_msc, order_deal, version, deal %s AND placement = {OUT_OF_ORDER} ORDER BY order_msc, order_deal LIMIT 1",
    f"SELECT order_msc, order_deal, version, deal %s AND placement = {ASSERTED} ORDER BY order_msc, order_deal LIMIT 1",
    f"SELECT time_msc, coalesce(deal, {NO_DEAL}), version, deal %s AND placement = {ASSERTED} "
    f"ORDER BY time_msc / {SECOND_MSC}, version LIMIT 1",
)
_TAKEN: Final = (
    f"SELECT named.time_msc, coalesce(named.deal, {NO_DEAL}), named.version, named.deal FROM events JOIN events AS named "
    "ON named.account_id = events.account_id AND named.version = events.caused_by "
    "WHERE events.account_id = ? AND events.version > ? AND events.version <= ? AND events.kind = 'DealRevised' "
    "ORDER BY named.time_msc, named.deal LIMIT 1"
)


class SqlJournal:
    """Streams in the tables of ``schema``.

    Args:
        engine: From ``engine.open_engine``, of a journal with the current schema.
        now_us: Returns the present in UTC microseconds.
        segments: The folder of the segments; without one it is beside the file of SQLite, and Postgres has none.
    """

    def __init__(self, engine: Engine, now_us: Callable[[], int], segments: Path | None = None) -> None:
        self.engine = engine
        self._now_us = now_us
        self._is_postgres = engine.is_postgres
        self._appenders: list[Appender] = []
        self.derived = SqlDerived(self)
        file = self.file()
        beside = None if file is None else file.with_name(f"{file.name}{FOLDER_SUFFIX}")
        self.segments = Segments(segments or beside, self._plain_rows, self.hash_at, journal=file if segments is None else None)
        self._clocks: dict[int, equity.KnownClock] = {}  # of accounts that marks were stored of, by key
        # Of the events up to a version, which has this chain hash: ``_replaced``, and ``_asserted_behind``.
        self._replaced: dict[AccountId, tuple[int, bytes | None, dict[int, int]]] = {}
        self._asserted: dict[AccountId, tuple[int, bytes | None, int]] = {}

    def close(self) -> None:
        for one in self._appenders:
            one.close()
        self.engine.dispose()

    @property
    def _appender(self) -> Appender:
        if not self._appenders:  # programs that only read do not wait for it
            with importing():
                from ledger.journal.sql.append import Appender

            self._appenders.append(Appender(self.engine))
        return self._appenders[0]  # of two threads that made one, both use the first

    # ---- reading

    def accounts(self) -> list[AccountId]:
        names = (_name(server, login) for _, server, login in self.stream_rows(_ACCOUNTS, lenient=True))
        return sorted(name for name in names if name is not None)

    def head(self, account: AccountId) -> Head | None:
        return _head_of(self.engine.query_once(HEAD_OF, account_key(account)))

    def heads(self) -> dict[AccountId, Head]:
        return self._heads(_HEADS)

    def heads_here(self) -> dict[AccountId, Head]:
        return self._heads(f"{_HEADS} AND (state IS NULL OR state <> '{MOVED}')")

    def _heads(self, text: str) -> dict[AccountId, Head]:
        named = ((_name(server, login), Head(*row)) for server, login, *row in self.stream_rows(text))
        found = [(name, head) for name, head in named if name is not None]
        return dict(sorted(found, key=lambda one: (one[0].server, one[0].login)))  # quicker than comparing names

    def listen(self) -> AppendListener:
        from ledger.journal.sql.notify import watch

        return watch(self.engine)

    def terms(self, account: AccountId, version: int) -> AccountTerms | None:
        return terms_of(map(Stored._make, self.engine.query_once(TERMS_OF, account_key(account), version)))

    def rows(
        self, account: AccountId, *, after: int = 0, upto: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[Stored]:
        values = (account_key(account), min(after, INT64_MAX), INT64_MAX if upto is None else min(upto, INT64_MAX))
        text = _ROWS
        if kinds is not None:  # written out: none of them is from outside
            text = _ROWS_OF_KINDS % ", ".join(f"'{kind}'" for kind in ["", *sorted(KINDS.keys() & set(kinds))])
        return (Stored._make(row) for block in self.stream(text, *values, page=_BY_VERSION) for row in block)

    def raw_rows(self, account: AccountId, *, after: int | None = None, upto: int | None = None) -> Iterator[list[Row]]:
        last: Any = after
        try:
            for block in self._raw_blocks(account, last, upto):
                yield block
                last = block[-1][_VERSION]
        except CorruptEvent:
            # Some text is none, or a page is damaged: now one by one, so that nothing before the damage is lost with it, and
            # leniently, which takes twice as long.
            text, values = _raw(account, last, upto)
            yield from self._read(text, values, lenient=True, at_once=1)

    def _raw_blocks(self, account: AccountId, after: Any, upto: int | None) -> Iterator[list[Row]]:
        """Yield rows as they are stored, whatever their columns hold: of SQLite in pages (see ``stream``)."""
        text, values = _raw(account, after, upto)
        if self._is_postgres:
            yield from self._read(text, values)
            return
        while block := self._page(f"{text} LIMIT {_STREAM_ROWS}", values):
            yield block
            text, values = _raw(account, block[-1][_VERSION], upto)

    def irregularities(self) -> Iterator[tuple[str, int | None, str, str]]:
        # One statement for each question, so that what others append meanwhile is in all of its answer or in none.
        for key, server, login in self.stream_rows(_ACCOUNTS, lenient=True):
            yield from self._misnamed(key, server, login)
        for table in ("events", "heads"):
            strays = f"SELECT account_id, min(version) FROM {table} WHERE {_OF_NOBODY} GROUP BY account_id"
            for key, version in self.stream_rows(strays):
                what = f"{table} of an account that does not exist"
                field = "account_id" if table == "events" else f"{table}.account_id"
                yield self._first_name(key) or f"account id {key}", version, field, what
        for (key,) in self.stream_rows(f"SELECT DISTINCT account_id FROM evidence WHERE {_OF_NOBODY}"):
            what = "evidence of an account that does not exist"
            yield self._first_name(key) or f"account id {key}", None, "evidence.account_id", what
        for key, natural_key, version in self.stream_rows(_TWICE, lenient=True):
            yield self._first_name(key) or f"account id {key}", version, "natural_key", f"{natural_key!r} was recorded before"
        if not self._is_postgres:
            for (what,) in self.stream_rows("SELECT integrity_check FROM pragma_integrity_check()"):
                if what != "ok":
                    yield "the file", None, "integrity_check", what

    def _misnamed(self, key: int, server: Any, login: Any) -> Iterator[tuple[str, int | None, str, str]]:
        """Compare an account's name with its id, and where they disagree with the name in its first event."""
        name = _name(server, login)
        if name is not None and account_key(name) == key:
            return
        first = self._first_name(key)
        if first is None:
            shown = f"account id {key}" if name is None else str(name)
            yield shown, None, "accounts.account_id", f"it was changed: {key} is not the id of the account's name"
            return
        for field, found, named in zip(("server", "login"), (server, login), first.rpartition("/")[::2], strict=True):
            if str(found) != named:
                yield first, None, f"accounts.{field}", f"it was changed: {found!r} is not what was recorded"

    def _first_name(self, key: int) -> str | None:
        """Return the name in the first event under an account id, if the id is that of the name."""
        query = "SELECT data FROM events WHERE account_id = ? AND version = 1"
        for (data,) in self.stream_rows(query, key, lenient=True):
            try:
                fields = json.loads(data)
                name = AccountId(fields["server"], fields["login"])
            except (LedgerError, TypeError, ValueError, KeyError):
                return None
            return str(name) if account_key(name) == key else None
        return None

    def evidence(self, account: AccountId, digest: str) -> bytes | None:
        found = self.stored_evidence(account, digest)
        return None if found is None else decompress(found)

    def stored_evidence(self, account: AccountId, digest: str) -> StoredEvidence | None:
        if not is_digest(digest):
            return None
        found = self._found(f"{_KEPT} AND digest = ?", account_key(account), digest)
        return StoredEvidence(*found[0]) if found else None

    def raw_evidence(self, account: AccountId) -> Iterator[StoredEvidence]:
        rows = self.stream_rows(_KEPT, account_key(account), lenient=True, at_once=_STREAM_ANSWERS)
        return map(StoredEvidence._make, rows)

    def postings(
        self,
        account: AccountId,
        selection: Selection,
        terms: AccountTerms | None = None,
        *,
        after: Mark | None = None,
        besides: Sequence[Stored] = (),
        differences: list[int] | None = None,
    ) -> Postings:
        terms = terms or self.terms(account, selection.version)
        key, begin = account_key(account), after.reading if after else None
        # Whenever they happened: a revision may have taken a deal out of the time that is asked about.
        replaced = self._replaced_at(account, selection.version, is_fresh=differences is not None)
        newest_plain = begin.newest_plain if begin else 0
        plain = self._plain(account, newest_plain, selection.version, differences)
        if selection.time_msc is not None:
            plain = blocks_until(plain, selection.time_msc)
        order = order_of(terms, _Records(self, key), selection)
        placed: Iterator[tuple[FoldKey, Row]] = self._placed(account, selection, after, is_anchored=order.is_anchored)
        if besides:
            added = sorted(
                (stored_place(row) if order.is_anchored else place_of(posting(row)), posting(row)) for row in besides
            )
            placed = merge(placed, added, key=lambda one: one[0][0])
        return Postings(
            plain,
            placed,
            order=order,
            replaced=replaced,
            begin=begin,
            place=after.place if after else (-1, 0, 0),
        )

    def _replaced_at(self, account: AccountId, version: int, *, is_fresh: bool) -> dict[int, int]:
        """Return what ``_replaced`` does: of what it returned before, as long as the history until there is the same."""
        known = None if is_fresh else self._known(self._replaced, account, version)
        if known is None:
            with self.engine.reading() as session:
                known = _replaced(session, account, version)
            _note(self._replaced, account, (version, self.hash_at(account, version), known))
        return {record: revision for record, revision in known.items() if revision <= version}

    def _asserted_behind(self, account: AccountId, version: int) -> int:
        """Return by how many milliseconds at most the place of an assertion is behind its own time."""
        known = self._known(self._asserted, account, version)
        if known is None:
            ((most,),) = self.select(_ASSERTED_BEHIND, account_key(account), version)
            known = most or 0
            _note(self._asserted, account, (version, self.hash_at(account, version), known))
        return known

    def _known(self, facts: Mapping[AccountId, tuple[int, bytes | None, T]], account: AccountId, version: int) -> T | None:
        """Return what was found of all events up to a version or a later one, if the history until there is still the same."""
        at, chain, known = facts.get(account, (0, None, None))
        return known if at >= version and chain is not None and chain == self.hash_at(account, at) else None

    def _plain(self, account: AccountId, after: int, upto: int, differences: list[int] | None) -> Iterator[Sequence[Row]]:
        """Yield what arrived in order, ascending by version, some at a time: what is packed of it from there."""
        if differences is not None:
            yield from self.segments.compared(account, self._plain_rows(account, after, upto), after, upto, differences)
            return
        after = yield from self.segments.blocks(account, after, upto)
        if after < upto:
            yield from self._plain_rows(account, after, upto)

    def _plain_rows(self, account: AccountId, after: int, upto: int) -> Iterator[list[Row]]:
        """Yield what ``_plain`` does, of the rows alone."""
        return self.stream(_PLAIN, account_key(account), after, upto, page=_POSTING_BY_VERSION)

    def _placed(
        self, account: AccountId, selection: Selection, after: Mark | None, *, is_anchored: bool
    ) -> Iterator[tuple[FoldKey, Row]]:
        """Yield what has to be put in its place, ascending by its second: what follows a checkpoint, or all."""
        key, version, until_msc = account_key(account), selection.version, selection.time_msc
        from_msc = after.place[0] if after and is_anchored else -(2**62)
        late: tuple[str, tuple[Any, ...]]
        asserted: tuple[str, tuple[Any, ...]] = _ALL_ASSERTED, (key, from_msc, version)
        if after is not None and until_msc is None:
            newest_plain = after.reading.newest_plain
            asserted = _ASSERTED_KNOWN, (key, *asserted[1])
            late = _PLACED_BEHIND, (key, key, newest_plain, after.place[0], newest_plain, version)
        else:
            late = _PLACED_FROM, (key, after.place[0] if after else 0, version)
            if until_msc is not None:
                late = f"{late[0]} AND order_msc <= ?", (*late[1], until_msc)
        if until_msc is not None:
            last_msc = until_msc + self._asserted_behind(account, version)
            asserted = f"{_ALL_ASSERTED} AND order_msc <= ?", (*asserted[1], last_msc)
        text, values = f"{late[0]} UNION ALL {asserted[0]}", (*late[1], *asserted[1])
        column = 1 if is_anchored else 3
        for block in self.stream(f"{text} ORDER BY {column}", *values):
            for order_msc, order_deal, *columns in block:
                row = tuple(columns)
                natural = place_of(row)
                place = (order_msc, order_deal, natural[2]) if is_anchored else natural
                if (after is None or place > after.place) and (until_msc is None or row[0] <= until_msc):
                    yield place, row

    def order_rows(self, account: AccountId, selection: Selection, *, after: int = 0) -> Iterator[list[Row]]:
        key, version = account_key(account), selection.version
        asked = (key, version, INT64_MAX) * len(ORDER_KEYS)
        if not self.select(f"SELECT version FROM ({_OF_ORDERS}) AS of_orders LIMIT 1", *asked):
            return
        until_msc = INT64_MAX if selection.time_msc is None else selection.time_msc
        values = key, after, version, until_msc
        yield from self.stream(_ORDER_ROWS, *values, page=_POSTING_BY_VERSION)

    def order_events(
        self, account: AccountId, version: int, *, client_id: str | None = None, token: str | None = None
    ) -> Iterator[list[Row]]:
        named = {name: text for name, text in (("client_id", client_id), ("token", token)) if text is not None}
        about = " ".join(f"{name} = ? AND" for name in named) or _ABOUT_ORDERS
        query = _ORDER_EVENTS % (next(iter(named), "orders"), about)
        return self.stream(query, account_key(account), *named.values(), version)

    def approval_rows(self, account: AccountId, *, after: int = 0, upto: int | None = None) -> list[Stored]:
        last = INT64_MAX if upto is None else min(upto, INT64_MAX)
        return [Stored._make(row) for row in self.select(_APPROVALS, account_key(account), after, last)]

    def break_ends(self, account: AccountId, opened: Sequence[int], upto: int) -> list[Stored]:
        found = [row for one in opened for row in self.select(_BREAK_END, account_key(account), one, min(upto, INT64_MAX))]
        return sorted(map(Stored._make, found), key=attrgetter("version"))

    def proposed_since(self, since_us: int) -> list[AccountId]:
        return [AccountId(server, login) for server, login in self.select(_PROPOSED, since_us)]

    def latest_asserted(self, account: AccountId, position_id: int | None, before: int | None = None) -> tuple[int, int] | None:
        version = INT64_MAX if before is None else before
        about, values = about_position(position_id)
        found = self.select(LATEST_ASSERTED % f"{about} AND version < ?", account_key(account), *values, version)
        return (found[0][0], found[0][1]) if found else None

    def select(self, text: str, *values: Any) -> list[Row]:
        """Return the few rows that a statement in the words of SQLite selects."""
        with closing(self.stream(text, *values)) as blocks:
            return [row for block in blocks for row in block]

    def count_outside_fold(self, account: AccountId, selection: Selection) -> int:
        asked = account_key(account), selection.version, INT64_MAX if selection.time_msc is None else selection.time_msc
        terms = self.select(_TERMS_OUTSIDE_FOLD, *asked)
        others = self.select(f"SELECT count(*) FROM ({_OF_VERSIONS}) AS of_versions", *asked * len(_BY_VERSION_KEYS))
        return int(terms[0][0]) + int(others[0][0])

    # ---- checkpoints

    def checkpoint(
        self, account: AccountId, selection: Selection, fold: str, before: FoldKey | None = None
    ) -> Checkpoint | None:
        text, values = f"{_STATES} AND fold = ? AND newest <= ?", [selection.version]
        if selection.time_msc is not None:  # no place is later than what is latest: so those behind are not even looked at
            text, values = f"{text} AND latest_msc <= ? AND time_msc <= ?", [*values, *[selection.time_msc] * 2]
        if before is not None:
            text, values = f"{text} AND ({_STATE_PLACE}) < (?, ?, ?)", [*values, *before]
        text += f" ORDER BY {_STATE_PLACE.replace(',', ' DESC,')} DESC"
        rows = self.stream_rows(text, account_key(account), fold, *values, at_once=_CANDIDATES)
        with closing(rows):  # the first that serves is enough
            found = select(self, account, map(_mark, rows), selection.version)
        if found is None:
            return None
        of_place = f" AND fold = ? AND ({_STATE_PLACE}) = (?, ?, ?)"
        return next(self._checkpoints(account, of_place, fold, *found.place), None)

    def checkpoints(self, account: AccountId) -> Iterator[Checkpoint]:
        return self._checkpoints(account)

    def _checkpoints(self, account: AccountId, where: str = "", *values: Any) -> Iterator[Checkpoint]:
        text = f"{_WHOLE_STATES}{where} ORDER BY {_STATE_PLACE}"
        for row in self.stream_rows(text, account_key(account), *values, at_once=_STREAM_MARKS):
            yield Checkpoint(_mark(row), *row[-3:])

    def save_checkpoints(self, account: AccountId, begin: FoldKey, checkpoints: Sequence[Checkpoint]) -> None:
        key, last, fold = account_key(account), checkpoints[-1].mark, checkpoints[-1].fold
        within = (key, fold, *begin, *last.place)
        try:
            with self.write_in_turn() as session:
                if not session.query(f"SELECT 1 {_WITHIN} AND version > ? LIMIT 1", *within, last.version):
                    session.execute(f"DELETE {_WITHIN}", *within)
                    for mark, code, body, digest in checkpoints:
                        values = (*mark.place, *mark.reading, mark.version, mark.hash, code, body, digest)
                        session.execute(insert("checkpoints", _STATE_COLUMNS), key, *values)
        except JournalError:
            return

    def hash_at(self, account: AccountId, version: int) -> bytes | None:
        found = self._found("SELECT hash FROM events WHERE account_id = ? AND version = ?", account_key(account), version)
        return found[0][0] if found else None

    def earliest_change(self, account: AccountId, after: int, upto: int) -> FoldKey | None:
        within = account_key(account), after, upto
        with self.engine.reading() as session:
            found = [row for text in _CHANGES for row in session.query(text % _BEHIND, *within)]
            found += session.query(_TAKEN, *within)
        places = ((second_of(msc), at, 0 if deal is not None else version) for msc, at, version, deal in found)
        return min(places, default=None)

    def version_at(self, account: AccountId, recorded_end_us: int) -> int:
        with self.engine.reading() as session:
            head = _read_head(session, account)
            low, high = 0, head.version if head else 0
            while low < high:  # recorded time rises with the version
                middle = (low + high + 1) // 2
                found = session.query(_RECORDED_US, account_key(account), middle)
                if not found:
                    raise VersionGap(f"account {account}: version {middle} is missing. Run: ledger verify")
                recorded_us = found[0][1]
                low, high = (middle, high) if recorded_us < recorded_end_us else (low, middle - 1)
            return low

    def tally(self, account: AccountId, *, after: int = 0, upto: int) -> Tally:
        span = account_key(account), after, upto
        kinds = {kind: count for block in self.stream(_TALLY, *span) for kind, count in block}
        breaks = [row for block in self.stream(_BREAKS, *span) for row in block] if kinds.keys() & BREAK_KINDS else ()
        return tally_of(kinds, breaks)

    def write_in_turn(self, patience: float = 0, *, is_bulk: bool = False) -> AbstractContextManager[Session]:
        """Write something that may as well stay undone: wait so many seconds for others, at most.

        ``is_bulk`` lets those go first who write little.
        """
        return self.engine.writing(patience, is_bulk=is_bulk)

    def _found(self, text: str, *values: Any) -> list[Row]:
        """Return the few rows that a statement in the words of SQLite selects, in a transaction."""
        with self.engine.reading() as session:
            return session.query(text, *values)

    def stream_rows(
        self, text: str, *values: Any, lenient: bool = False, at_once: int | None = None
    ) -> Generator[Row, None, None]:
        """Yield the rows that a statement in the words of SQLite selects, some at a time. Arguments as ``_read``."""
        with closing(self._read(text, values, lenient=lenient, at_once=at_once)) as blocks:
            for block in blocks:
                yield from block

    def stream(self, text: str, *values: Any, page: tuple[int, int] | None = None) -> Generator[list[Row], None, None]:
        """Yield the rows that a statement in the words of SQLite selects, some at a time.

        With ``page``, SQLite, and a pooler, is asked anew for every block, so that a slow consumer leaves no transaction open.
        It would keep the write-ahead log from being begun anew, the process from forking, and one of the pooler's few
        connections from others. Rows are never changed, so both ways give the same.
        """
        if page is None or (self._is_postgres and self.engine.pooled_settings is None):
            yield from self._read(text, values)
            return
        at, column = page
        asked = [*values, _PAGE_ROWS]
        while block := self._page(f"{text} LIMIT ?", asked):
            yield block
            if len(block) < asked[-1]:
                return
            asked[at] = block[-1][column]

    def _page(self, text: str, values: Sequence[Any]) -> list[Row]:
        if self._is_postgres:
            with self.engine.reading() as session:
                return list(session.driver.execute(for_postgres(text), values, binary=True))
        with translate_errors(self.engine.url), owned(self.engine.raw_connection()) as connection:
            rows: list[Row] = connection.driver_connection.execute(text, values).fetchall()
            return rows

    def _read(
        self, text: str, values: Sequence[Any], *, lenient: bool = False, at_once: int | None = None
    ) -> Generator[list[Row], None, None]:
        """Yield the rows that a statement in the words of SQLite selects, so many at a time, in a transaction.

        ``lenient`` reads text that is no text any more, so that it can be named instead of raised.
        """
        at_once = at_once or (_STREAM_ROWS_POSTGRES if self._is_postgres else _STREAM_ROWS)
        process = os.getpid()
        with self.engine.reading() as session:
            driver = session.driver
            if self._is_postgres:
                cursor = driver.cursor(name="ledger_stream", binary=True)
            else:
                cursor = driver.cursor()
                driver.text_factory = _any_text if lenient else str
            try:
                cursor.execute(for_postgres(text) if self._is_postgres else text, values)
                while block := cursor.fetchmany(at_once):
                    yield block
                    _require_process(process)
            finally:
                if os.getpid() == process:
                    cursor.close()
                    driver.text_factory = str
                else:
                    set_aside(cursor)

    # ---- appending

    def append(self, account: AccountId, events: Sequence[Event], **how: Unpack[AppendOptions]) -> Appended:
        try:
            return self._appender.append(account, events, how, self._now_us)
        except AccountMoved as error:
            raise refusal(account, self.location(account)) from error

    def append_verbatim(self, account: AccountId, rows: Sequence[Stored], evidence: Sequence[StoredEvidence] = ()) -> Head:
        try:
            return self._appender.append_verbatim(account, rows, evidence)
        except AccountMoved as error:
            raise refusal(account, self.location(account)) from error

    # ---- where accounts are

    def location(self, account: AccountId) -> Location:
        with self.engine.reading() as session:
            return _read_location(session, account)

    def locations(self) -> dict[AccountId, Location]:
        named = ((_name(server, login), row) for server, login, *row in self.stream_rows(_LOCATIONS, lenient=True))
        return {name: Location(**dict(zip(LOCATION_COLUMNS, row, strict=True))) for name, row in named if name is not None}

    def origins(self, account: AccountId) -> tuple[FormerJournal, ...]:
        return tuple(FormerJournal(*row) for row in self._found(_ORIGINS, account_key(account)))

    # ---- sync health

    def sync_health(self, account: AccountId) -> SyncHealth | None:
        with self.engine.reading() as session:
            return _read_health(session, account)

    def sync_healths(self) -> dict[AccountId, SyncHealth]:
        found: dict[AccountId, SyncHealth] = {}
        for server, login, *row in self.stream_rows(_HEALTHS, lenient=True):
            name = _name(server, login)
            health = None if name is None else from_columns(name, dict(zip(HEALTH, row, strict=True)))
            if health is not None:
                found[health.account] = health
        return found

    def save_sync_health(self, health: SyncHealth) -> None:
        with self.write_in_turn(_HEALTH_PATIENCE) as session:
            location = _read_location(session, health.account)
            if not location.is_here:
                raise refusal(health.account, location)
            stored = to_columns(merged(_read_health(session, health.account), health))
            text = replace("sync_health", ("account_id", *stored), ("account_id",))
            session.execute(text, account_key(health.account), *stored.values())

    # ---- marks

    def save_mark(self, account: AccountId, mark: AccountMark) -> None:
        key = account_key(account)
        with self.write_in_turn(_HEALTH_PATIENCE) as session:
            driver = session.driver
            known = self._clocks.get(key)
            if self._is_postgres:  # SQLite has one writer
                from ledger.journal.quiet import PSYCOPG, quiet

                # Not through a pooler: see ``append``.
                with quiet(PSYCOPG), nullcontext() if self.engine.pooled_settings else driver.pipeline():
                    driver.execute("SELECT pg_advisory_xact_lock(%s)", (key ^ _MARKS_LOCK,))
                    known = equity.save_mark(partial(_execute_on_postgres, driver), key, mark, known)
            else:
                known = equity.save_mark(partial(_execute_on_sqlite, driver), key, mark, known)
        self._clocks[key] = known

    def equity(
        self, account: AccountId, by: Literal["minute", "day"], *, first: int | None = None, last: int | None = None
    ) -> Iterator[Bucket]:
        return equity.read(self._rows_of, account_key(account), by, first, last)

    def _rows_of(self, text: str, *values: Any) -> Iterator[Row]:
        return (row for block in self.stream(text, *values) for row in block)

    def marks(self, account: AccountId, *, from_us: int | None = None, to_us: int | None = None) -> Iterator[AccountMark]:
        text, values = _MARKS, [account_key(account)]
        for sign, at_us in ((">=", from_us), ("<=", to_us)):
            if at_us is not None:
                text, values = f"{text} AND at_us {sign} ?", [*values, at_us]
        return (mark_of(MarkColumns._make(row)) for row in self.stream_rows(f"{text} ORDER BY at_us", *values))

    def newest_mark(self, account: AccountId, *, at_us: int | None = None) -> AccountMark | None:
        until_us = INT64_MAX if at_us is None else at_us
        text = f"{_MARKS} AND at_us <= ? ORDER BY at_us DESC LIMIT 1"
        found = self._found(text, account_key(account), until_us)
        return mark_of(MarkColumns._make(found[0])) if found else None

    def delete_marks(self, account: AccountId, before_us: int) -> int:
        with self.write_in_turn(_HEALTH_PATIENCE) as session:
            return session.execute("DELETE FROM marks WHERE account_id = ? AND at_us < ?", account_key(account), before_us)

    # ---- notices

    def sent_notices(self, keys: Collection[str] = ()) -> list[SentNotice]:
        wanted = sorted(set(keys))
        chunks = (wanted[begin : begin + _KEYS_AT_ONCE] for begin in range(0, len(wanted), _KEYS_AT_ONCE))
        with self.engine.reading() as session:
            found = set(session.query(_NOT_OVER))
            for chunk in chunks:
                marks, values = among(chunk)
                found.update(session.query(f"{_NOTICES} WHERE key IN ({marks})", *values))
        return sorted(SentNotice(**dict(zip(_SENT, row, strict=True))) for row in found)

    def save_notice(self, sent: SentNotice) -> None:
        stored = asdict(sent)
        with self.write_in_turn(_HEALTH_PATIENCE) as session:
            session.execute(insert("sent_notices", tuple(stored), ("key", "stage", "channel")), *stored.values())

    def last_deliveries(self) -> dict[str, int]:
        return dict(self._found("SELECT channel, max(sent_us) FROM sent_notices GROUP BY channel"))

    def delete_notices(self, before_us: int) -> int:
        with self.write_in_turn(_HEALTH_PATIENCE) as session:
            return session.execute(_DELETE_OVER, before_us)

    # ---- upkeep

    def upkeep(self) -> dict[str, Upkeep]:
        found = (upkeep_of(dict(zip(UPKEEP, row, strict=True))) for row in self.stream_rows(_UPKEEP, lenient=True))
        return {one.kind: one for one in found if one is not None}

    def save_upkeep(self, upkeep: Upkeep) -> None:
        with self.write_in_turn(_HEALTH_PATIENCE) as session:
            found = session.query(f"{_UPKEEP} WHERE kind = ?", upkeep.kind)
            before = upkeep_of(dict(zip(UPKEEP, found[0], strict=True))) if found else None
            stored = asdict(with_upkeep(before, upkeep))
            session.execute(replace("upkeep", tuple(stored), ("kind",)), *stored.values())

    # ---- what is stored of the journal as a whole

    def identity(self) -> str:
        found = self._found("SELECT journal_id FROM identity")
        return str(found[0][0] if found else None)

    def made_us(self) -> int | None:
        found = self._found("SELECT made_us FROM identity")
        return found[0][0] if found else None

    def parents(self) -> tuple[Parent, ...]:
        found = self._found("SELECT journal_id, heads FROM parents ORDER BY number")
        return tuple(_parent(journal_id, heads) for journal_id, heads in found)

    def schema_differences(self) -> tuple[Difference, ...]:
        from ledger.journal.sql.preflight import differences  # slow to load, and only needed to verify

        return differences(self.engine)

    def size_bytes(self) -> int | None:
        if self._is_postgres:
            return int(self._found("SELECT pg_database_size(current_database())")[0][0] or 0)
        found = 0
        for suffix in _FILES:
            with suppress(FileNotFoundError):
                found += Path(f"{self.engine.address()}{suffix}").stat().st_size
        return found

    def file(self) -> Path | None:
        return None if self._is_postgres else Path(self.engine.address())

    def seals(self) -> list[str]:
        return [body for (body,) in self._found("SELECT body FROM seals ORDER BY made_us, digest")]

    def save_seal(self, text: str, made_us: int) -> None:
        digest = sha256(text.encode()).hexdigest()
        with self.engine.writing() as session:
            if not session.query("SELECT 1 FROM seals WHERE digest = ?", digest):
                session.execute(insert("seals", ("digest", "made_us", "body")), digest, made_us, text)


@lru_cache(maxsize=16_384, typed=True)
def _name(server: Any, login: Any) -> AccountId | None:
    """Return an account's name as it is stored, None if it is damaged."""
    try:
        return AccountId(storable(server), login) if type(server) is str and type(login) is int else None
    except BadValue:
        return None


def _parent(journal_id: str, heads: str) -> Parent:
    return Parent(
        journal_id=journal_id, versions={AccountId.parse(name): int(version) for name, version in json.loads(heads).items()}
    )


def _raw(account: AccountId, after: Any, upto: int | None) -> tuple[str, tuple[Any, ...]]:
    """Return the statement for rows as they are stored, and its values. A version may be of any type in a damaged journal."""
    text = f"SELECT {ROW} FROM events WHERE account_id = ?"
    values: tuple[Any, ...] = (account_key(account),)
    for sign, bound in ((">", after), ("<=", upto)):
        if bound is not None:
            text, values = f"{text} AND version {sign} ?", (*values, bound)
    return f"{text} ORDER BY version", values


def _require_process(process: int) -> None:
    """Refuse to go on reading in a child what its parent began: both would take rows from one connection."""
    if os.getpid() != process:
        raise JournalError("this iterator was begun before the process was forked: begin it again in the child")


def _any_text(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _execute_on_sqlite(driver: Any, text: str, *values: Any) -> Sequence[Row]:
    """Carry out a statement within the transaction of a connection, and return its rows if it has any."""
    rows: Sequence[Row] = driver.execute(text, values).fetchall()
    return rows


def _execute_on_postgres(driver: Any, text: str, *values: Any) -> Sequence[Row]:
    """As ``_execute_on_sqlite``. Only what has rows is waited for."""
    cursor = driver.execute(for_postgres(text), values)
    return cursor.fetchall() if text.startswith("SELECT") else ()


def _read_head(session: Session, account: AccountId) -> Head | None:
    return _head_of(session.query(HEAD_OF, account_key(account)))


def _head_of(rows: Sequence[Row]) -> Head | None:
    return Head._make(rows[0]) if rows else None


def _read_location(session: Session, account: AccountId) -> Location:
    rows = session.query(_LOCATION, account_key(account))
    return Location(**dict(zip(LOCATION_COLUMNS, rows[0], strict=True))) if rows else Location()


def _read_health(session: Session, account: AccountId) -> SyncHealth | None:
    rows = session.query(_HEALTH_OF, account_key(account))
    return from_columns(account, dict(zip(HEALTH, rows[0], strict=True))) if rows else None


class _Records:
    """Single events of an account: ``fold_order.Records``."""

    def __init__(self, journal: SqlJournal, key: int) -> None:
        self._journal = journal
        self._key = key

    def first_records(self, deals: Sequence[int]) -> Mapping[int, FirstRecord]:
        keys = (f"deal:{deal}" for deal in deals)
        rows = (row for key in keys for row in self._journal.select(_FIRST_RECORD, self._key, key))
        return {deal: FirstRecord(version, origin, recorded_us) for deal, version, origin, recorded_us in rows}

    def recorded_us(self, versions: Sequence[int]) -> Mapping[int, int]:
        return dict(row for version in versions for row in self._journal.select(_RECORDED_US, self._key, version))


def _mark(row: Row) -> Mark:
    time_msc, deal, at_version, *reading, version, chain = row[:_MARK_COLUMNS]
    return Mark(place=(time_msc, deal, at_version), reading=Reading(*reading), version=version, hash=chain)


def _note(facts: dict[AccountId, tuple[int, bytes | None, T]], account: AccountId, fact: tuple[int, bytes | None, T]) -> None:
    """Remember something of an account, and forget what was remembered longest of too many."""
    facts.pop(account, None)
    facts[account] = fact
    for gone in list(facts)[:-_KNOWN_MAX]:
        facts.pop(gone, None)


def _replaced(session: Session, account: AccountId, version: int) -> dict[int, int]:
    """Return the versions of all records that a later revision of their deal replaced -> the first such revision.

    Every record names the one before it, so that they are found by their keys instead of by reading all.
    """
    key = account_key(account)
    revisions = session.query(_REVISIONS, key, version)
    known = {revision for _, revision in revisions}
    new = {replaced: revision for replaced, revision in revisions if replaced is not None}
    found: dict[int, int] = {}
    while new:
        found |= new
        wanted, by = sorted(new.keys() - known), new  # what comes before a revision is known already
        new = {}
        for at in range(0, len(wanted), _BATCH):
            marks, values = among(wanted[at : at + _BATCH])
            causes = session.query(_CAUSES % marks, key, *values)
            new |= {replaced: by[record] for replaced, record in causes if replaced not in found}
    return found
