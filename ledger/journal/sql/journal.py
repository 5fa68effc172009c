"""The journal on SQLite and Postgres.

SQLAlchemy makes the engine and most statements. Reading many rows goes through the driver's own cursor: a row object for each
event would cost as much as the fold. Appending is ``append``'s.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from hashlib import sha256
from heapq import merge
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal, Unpack

import sqlalchemy as sa
from attrs import asdict, fields
from sqlalchemy import CompoundSelect, Connection, Engine, Select

from ledger.clock import SECOND_MSC
from ledger.codec import APPROVAL_KEYS, KINDS, ORDER_KEYS, Stored, posting, stored_place, terms_of
from ledger.errors import BadValue, CorruptEvent, JournalError, LedgerError, VersionGap
from ledger.events import Event, storable
from ledger.fold_order import FirstRecord
from ledger.journal import Appended, AppendOptions, Difference, Head, Parent, Selection
from ledger.journal.checkpoints import Checkpoint, Mark, order_of, select
from ledger.journal.evidence import StoredEvidence, decompress, is_digest
from ledger.journal.health import SyncHealth, from_columns, merged, to_columns
from ledger.journal.notices import RESOLVED, SentNotice
from ledger.journal.quiet import PSYCOPG, quiet
from ledger.journal.sql import equity
from ledger.journal.sql.append import Appender, for_postgres
from ledger.journal.sql.derived import SqlDerived
from ledger.journal.sql.engine import address_of, close_engine, pooled_settings, translate_errors
from ledger.journal.sql.forking import owned, set_aside
from ledger.journal.sql.notify import watch
from ledger.journal.sql.schema import (
    HEAD_OF,
    LATEST_ASSERTED,
    NOTABLE,
    POSTING,
    ROW,
    TERMS_FILTER,
    TERMS_OF,
    USE_TERMS_INDEX,
    about_position,
    account_key,
    accounts,
    events,
    heads,
)
from ledger.journal.sql.schema import checkpoints as states
from ledger.journal.sql.schema import evidence as answers
from ledger.journal.sql.schema import identity as identities
from ledger.journal.sql.schema import marks as samples
from ledger.journal.sql.schema import parents as origins
from ledger.journal.sql.schema import seals as sealings
from ledger.journal.sql.schema import sent_notices as notices
from ledger.journal.sql.schema import sync_health as healths
from ledger.journal.sql.schema import upkeep as done
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
    PackedRows,
    Posting,
    Postings,
    Reading,
    Row,
    place_of,
    second_of,
)
from ledger.segments.store import FOLDER_SUFFIX, Segments
from ledger.terms import AccountTerms
from ledger.values import INT64_MAX, AccountId

_BATCH: Final = 500
#: So many rows are read at once: of SQLite fewer than Python makes before it looks for garbage, of Postgres a
#: round trip's worth.
_STREAM_ROWS: Final = {"sqlite": 500, "postgresql": 5000}
_HEALTH_PATIENCE: Final = 2.0  # seconds: a sync is not to be delayed by others who write
#: So many rows a page has, where SQLite is asked anew for each.
_PAGE_ROWS: Final = 500
_STREAM_MARKS: Final = 16
_MARKS_LOCK: Final = 0x6D61726B73  # with the key of an account: whoever stores a mark of it holds this lock on Postgres
_STREAM_ANSWERS: Final = 4  # each may be many megabytes

# Without SQLAlchemy's conversions: the drivers return what we want, and what is damaged comes as it is stored.
_stored: list[sa.ColumnElement[Any]] = [
    sa.type_coerce(events.c[name], sa.types.NullType()).label(name) for name in Stored._fields
]
_headed: list[sa.ColumnElement[Any]] = [sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in heads.c]
_kept: list[sa.ColumnElement[Any]] = [
    sa.type_coerce(answers.c[name], sa.types.NullType()).label(name) for name in StoredEvidence._fields
]
_KEYS_AT_ONCE: Final = 500
_sent: Final = tuple(notices.c[one.name] for one in fields(SentNotice))
_sampled: Final = tuple(samples.c[name] for name in MarkColumns._fields)
_deal: Final = sa.func.coalesce(events.c.deal, sa.literal_column(str(NO_DEAL)))
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
_PLACED_FROM: Final = f"{_ALL_PLACED} AND order_msc >= ? AND version <= ?"
#: What arrived late, or completes a deal, belongs before something that had arrived in order already: what belongs behind a
#: checkpoint came after the last of its events in order. Only a revision can move a deal ahead, and with it what completes the
#: deal from then on: the first revision that did came before all of these.
_PLACED_BEHIND: Final = (
    f"{_ALL_PLACED} AND version > coalesce((SELECT min(version) - 1 FROM events WHERE account_id = ? AND order_msc >= ? AND "
    "version IN (SELECT version FROM events WHERE account_id = ? AND kind = 'DealRevised' AND version <= ?)), ?) "
    "AND version <= ?"
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
#: The end of a break. With the words of the index, or SQLite would not use it.
_BREAK_END: Final = (
    f"SELECT {ROW} FROM events INDEXED BY ix_events_notable WHERE account_id = ? AND {NOTABLE} AND "
    "kind = 'BreakClosed' AND caused_by = ? AND version <= ? ORDER BY version"
)
_PROPOSED: Final = (
    "SELECT a.server, a.login FROM accounts a WHERE EXISTS (SELECT 1 FROM events e WHERE e.account_id = a.account_id AND "
    f"e.natural_key >= '{_PROPOSED_KEY}' AND e.natural_key < '{_PROPOSED_KEY[:-1]}e' AND e.recorded_us >= ?) "
    "ORDER BY a.server, a.login"
)
_is_revision: Final = events.c.kind == sa.literal_column("'DealRevised'")
_state_place: Final = (states.c.time_msc, states.c.deal, states.c.at_version)
_reading: Final = (states.c.events, states.c.newest, states.c.newest_plain, states.c.latest_msc)
_marked: Final = (*_state_place, *_reading, states.c.version, states.c.hash)


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
        self._is_postgres = engine.dialect.name == "postgresql"
        self._appender = Appender(engine)
        self.derived = SqlDerived(self)
        file = self.file()
        beside = None if file is None else file.with_name(f"{file.name}{FOLDER_SUFFIX}")
        self.segments = Segments(segments or beside, self._plain_rows, self.hash_at)
        self._clocks: dict[int, equity.KnownClock] = {}  # of accounts that marks were stored of, by key

    def close(self) -> None:
        self._appender.close()
        close_engine(self.engine)

    # ---- reading

    def accounts(self) -> list[AccountId]:
        query = sa.select(accounts.c.server, accounts.c.login)
        names = (_name(server, login) for server, login in self.stream_rows(query, lenient=True))
        return sorted(name for name in names if name is not None)

    def head(self, account: AccountId) -> Head | None:
        with self._reading() as connection:
            return _read_head(connection, account)

    def heads(self) -> dict[AccountId, Head]:
        query = (
            sa.select(accounts.c.server, accounts.c.login, *_headed[1:]).join_from(accounts, heads).where(heads.c.version > 0)
        )
        named = (
            (_name(server, login), Head(*row)) for server, login, *row in self.stream_rows(query.where(heads.c.version > 0))
        )
        found = [(name, head) for name, head in named if name is not None]
        return dict(sorted(found, key=lambda one: (one[0].server, one[0].login)))  # quicker than comparing names

    def listen(self) -> AppendListener:
        return watch(self.engine)

    def terms(self, account: AccountId, version: int) -> AccountTerms | None:
        with self._reading() as connection:
            return _read_terms(connection, account, version)

    def rows(
        self, account: AccountId, *, after: int = 0, upto: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[Stored]:
        values = (account_key(account), min(after, INT64_MAX), INT64_MAX if upto is None else min(upto, INT64_MAX))
        text = _ROWS
        if kinds is not None:  # written out: none of them is from outside
            text = _ROWS_OF_KINDS % ", ".join(f"'{kind}'" for kind in ["", *sorted(KINDS.keys() & set(kinds))])
        return (Stored._make(row) for block in self.stream(text, *values, page=_BY_VERSION) for row in block)

    def raw_rows(self, account: AccountId, *, after: int | None = None, upto: int | None = None) -> Iterator[list[Row]]:
        query = sa.select(*_stored).where(events.c.account_id == account_key(account)).order_by(events.c.version)
        if upto is not None:
            query = query.where(events.c.version <= upto)
        last: Any = after
        try:
            for block in self._blocks(_behind(query, last)) if self._is_postgres else self._raw_pages(account, after, upto):
                yield block
                last = block[-1][_VERSION]
        except CorruptEvent:
            # Some text is none, or a page is damaged: now one by one, so that nothing before the damage is lost with it, and
            # leniently, which takes twice as long.
            yield from self._blocks(_behind(query, last), lenient=True, at_once=1)

    def _raw_pages(self, account: AccountId, after: int | None, upto: int | None) -> Iterator[list[Row]]:
        """Yield rows as they are stored in SQLite, whatever their columns hold, in pages (see ``_said``)."""
        begin, end = ("" if bound is None else f" AND version {sign} ?" for bound, sign in ((after, ">"), (upto, "<=")))
        values = [account_key(account), *(one for one in (after, upto) if one is not None)]
        last = [] if upto is None else [upto]
        size = _STREAM_ROWS["sqlite"]
        text = f"SELECT {ROW} FROM events WHERE account_id = ?{begin}{end} ORDER BY version LIMIT {size}"
        while block := self._page(text, values):
            yield block
            values = [account_key(account), block[-1][_VERSION], *last]
            text = f"SELECT {ROW} FROM events WHERE account_id = ? AND version > ?{end} ORDER BY version LIMIT {size}"

    def irregularities(self) -> Iterator[tuple[str, int | None, str, str]]:
        # One statement for each question, so that what others append meanwhile is in all of its answer or in none.
        for key, server, login in self.stream_rows(
            sa.select(accounts.c.account_id, accounts.c.server, accounts.c.login), lenient=True
        ):
            yield from self._misnamed(key, server, login)
        for table in (events, heads):
            strays = (
                sa.select(table.c.account_id, sa.func.min(table.c.version))
                .where(table.c.account_id.not_in(sa.select(accounts.c.account_id)))
                .group_by(table.c.account_id)
            )
            for key, version in self.stream_rows(strays):
                what = f"{table.name} of an account that does not exist"
                field = "account_id" if table is events else f"{table.name}.account_id"
                yield self._first_name(key) or f"account id {key}", version, field, what
        strays = sa.select(answers.c.account_id).where(answers.c.account_id.not_in(sa.select(accounts.c.account_id))).distinct()
        for (key,) in self.stream_rows(strays):
            what = "evidence of an account that does not exist"
            yield self._first_name(key) or f"account id {key}", None, "evidence.account_id", what
        twice = (
            sa.select(events.c.account_id, events.c.natural_key, sa.func.max(events.c.version))
            .group_by(events.c.account_id, events.c.natural_key)
            .having(sa.func.count() > 1)
        )
        for key, natural_key, version in self.stream_rows(twice, lenient=True):
            yield self._first_name(key) or f"account id {key}", version, "natural_key", f"{natural_key!r} was recorded before"
        if self.engine.dialect.name == "sqlite":
            for (what,) in self.stream_rows(
                sa.select(sa.column("integrity_check")).select_from(sa.func.pragma_integrity_check())
            ):
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
        query = sa.select(events.c.data).where(events.c.account_id == key, events.c.version == 1)
        for (data,) in self.stream_rows(query, lenient=True):
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
        query = sa.select(*_kept).where(answers.c.account_id == account_key(account), answers.c.digest == digest)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else StoredEvidence(*row)

    def raw_evidence(self, account: AccountId) -> Iterator[StoredEvidence]:
        query = sa.select(*_kept).where(answers.c.account_id == account_key(account))
        return map(StoredEvidence._make, self.stream_rows(query, lenient=True, at_once=_STREAM_ANSWERS))

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
        with self._reading() as connection:
            # Whenever they happened: a revision may have taken a deal out of the time that is asked about.
            replaced = _replaced(connection, account, selection.version)
        newest_plain = begin.newest_plain if begin else 0
        plain = self._plain(account, newest_plain, selection.version, differences)
        if selection.time_msc is not None:
            plain = _until(plain, selection.time_msc)
        order = order_of(terms, _Records(self, key), selection)
        placed: Iterator[tuple[FoldKey, Row]] = self._placed(key, selection, after, is_anchored=order.is_anchored)
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

    def _plain(self, account: AccountId, after: int, upto: int, differences: list[int] | None) -> Iterator[Sequence[Row]]:
        """Yield what arrived in order, ascending by version, some at a time: what is packed of it from there."""
        if differences is not None:
            yield from self.segments.compared(account, self._plain_rows(account, after, upto), upto, differences)
            return
        after = yield from self.segments.blocks(account, after, upto)
        if after < upto:
            yield from self._plain_rows(account, after, upto)

    def _plain_rows(self, account: AccountId, after: int, upto: int) -> Iterator[list[Row]]:
        """Yield what ``_plain`` does, of the rows alone."""
        return self.stream(_PLAIN, account_key(account), after, upto, page=_POSTING_BY_VERSION)

    def _placed(
        self, key: int, selection: Selection, after: Mark | None, *, is_anchored: bool
    ) -> Iterator[tuple[FoldKey, Row]]:
        """Yield what has to be put in its place, ascending by its second: what follows a checkpoint, or all."""
        version, until_msc = selection.version, selection.time_msc
        from_msc = after.place[0] if after and is_anchored else -(2**62)
        late: tuple[str, tuple[Any, ...]]
        if after is not None and until_msc is None:
            newest_plain = after.reading.newest_plain
            late = _PLACED_BEHIND, (key, key, after.place[0], key, newest_plain, newest_plain, version)
        else:
            late = _PLACED_FROM, (key, after.place[0] if after else 0, version)
            if until_msc is not None:
                late = f"{late[0]} AND order_msc <= ?", (*late[1], until_msc)
        text, values = f"{late[0]} UNION ALL {_ALL_ASSERTED}", (*late[1], key, from_msc, version)
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
        of_fold = (states.c.account_id == account_key(account), states.c.fold == fold)
        query = sa.select(*_marked).where(*of_fold, states.c.newest <= selection.version)
        if selection.time_msc is not None:
            query = query.where(states.c.latest_msc <= selection.time_msc)
        if before is not None:
            query = query.where(sa.tuple_(*_state_place) < sa.tuple_(*before))
        rows = self.stream_rows(query.order_by(*(column.desc() for column in _state_place)), at_once=_STREAM_MARKS)
        with closing(rows):  # the first that serves is enough
            found = select(self, account, map(_mark, rows), selection.version)
        return None if found is None else next(self._checkpoints(account, states.c.fold == fold, _is_at(found.place)), None)

    def checkpoints(self, account: AccountId) -> Iterator[Checkpoint]:
        return self._checkpoints(account)

    def _checkpoints(self, account: AccountId, *clauses: sa.ColumnElement[bool]) -> Iterator[Checkpoint]:
        query = sa.select(*_marked, states.c.fold, states.c.body, states.c.digest)
        query = query.where(states.c.account_id == account_key(account), *clauses).order_by(*_state_place)
        for row in self.stream_rows(query, at_once=_STREAM_MARKS):
            yield Checkpoint(_mark(row), *row[-3:])

    def save_checkpoints(self, account: AccountId, begin: FoldKey, checkpoints: Sequence[Checkpoint]) -> None:
        last, fold = checkpoints[-1].mark, checkpoints[-1].fold
        of_fold = (states.c.account_id == account_key(account), states.c.fold == fold)
        within = (sa.tuple_(*_state_place) > sa.tuple_(*begin), sa.tuple_(*_state_place) <= sa.tuple_(*last.place))
        known = sa.select(states.c.version).where(*of_fold, *within, states.c.version > last.version)
        names = [column.name for column in (*_marked, states.c.fold, states.c.body, states.c.digest)]
        rows = [
            {"account_id": account_key(account)}
            | dict(zip(names, (*mark.place, *mark.reading, mark.version, mark.hash, code, body, digest), strict=True))
            for mark, code, body, digest in checkpoints
        ]
        try:
            with self.write_in_turn() as connection:
                if connection.scalar(known.limit(1)) is None:
                    connection.execute(states.delete().where(*of_fold, *within))
                    connection.execute(states.insert(), rows)
        except JournalError:
            return

    def hash_at(self, account: AccountId, version: int) -> bytes | None:
        query = sa.select(events.c.hash).where(events.c.account_id == account_key(account), events.c.version == version)
        with self._reading() as connection:
            return connection.scalar(query)

    def earliest_change(self, account: AccountId, after: int, upto: int) -> FoldKey | None:
        within = (events.c.account_id == account_key(account), events.c.version > after, events.c.version <= upto)
        named = events.alias()
        natural = (events.c.time_msc, _deal, events.c.version, events.c.deal)
        own = (events.c.order_msc, events.c.order_deal, events.c.version, events.c.deal)
        plain = sa.select(*natural).where(*within, _placement_is(IN_ORDER)).order_by(events.c.version).limit(1)
        late, asserted = (
            sa.select(*own).where(*within, _placement_is(placement)).order_by(*own[:2]).limit(1)
            for placement in (OUT_OF_ORDER, ASSERTED)
        )
        second = events.c.time_msc - events.c.time_msc % sa.literal_column(str(SECOND_MSC))  # what orders by time has it there
        timed = sa.select(*natural).where(*within, _placement_is(ASSERTED)).order_by(second, events.c.version).limit(1)
        taken = (
            sa.select(named.c.time_msc, named.c.deal, named.c.version, named.c.deal)
            .join(events, (named.c.account_id == events.c.account_id) & (named.c.version == events.c.caused_by))
            .where(*within, _is_revision)
            .order_by(named.c.time_msc, named.c.deal)
            .limit(1)
        )
        with self._reading() as connection:
            found = [row for query in (plain, late, asserted, timed, taken) for row in connection.execute(query)]
        places = ((second_of(msc), at, 0 if deal is not None else version) for msc, at, version, deal in found)
        return min(places, default=None)

    def version_at(self, account: AccountId, recorded_end_us: int) -> int:
        with self._reading() as connection:
            head = _read_head(connection, account)
            low, high = 0, head.version if head else 0
            while low < high:  # recorded time rises with the version
                middle = (low + high + 1) // 2
                recorded_us = connection.scalar(
                    sa.select(events.c.recorded_us).where(
                        events.c.account_id == account_key(account), events.c.version == middle
                    )
                )
                if recorded_us is None:
                    raise VersionGap(f"account {account}: version {middle} is missing. Run: ledger verify")
                low, high = (middle, high) if recorded_us < recorded_end_us else (low, middle - 1)
            return low

    def tally(self, account: AccountId, *, after: int = 0, upto: int) -> Tally:
        span = account_key(account), after, upto
        kinds = {kind: count for block in self.stream(_TALLY, *span) for kind, count in block}
        breaks = [row for block in self.stream(_BREAKS, *span) for row in block] if kinds.keys() & BREAK_KINDS else ()
        return tally_of(kinds, breaks)

    @contextmanager
    def write_in_turn(self, patience: float = 0, *, is_bulk: bool = False) -> Iterator[Connection]:
        """Write something that may as well stay undone: wait so many seconds for others, at most.

        ``is_bulk`` lets those go first who write little.
        """
        connected = self.engine.connect().execution_options(write=True, patience=patience, is_bulk=is_bulk)
        with translate_errors(self.engine.url), connected as connection, connection.begin():
            if self.engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(patience * 1000) or 1}")
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translate_errors(self.engine.url), owned(self.engine.connect()) as connection:
            yield connection

    def stream_rows(
        self, query: Select[Any] | CompoundSelect[Any], *, lenient: bool = False, at_once: int | None = None
    ) -> Generator[Row, None, None]:
        """Yield rows as the driver's tuples. Arguments as ``_blocks``."""
        with closing(self._blocks(query, lenient=lenient, at_once=at_once)) as blocks:
            for block in blocks:
                yield from block

    def _blocks(
        self, query: Select[Any] | CompoundSelect[Any], *, lenient: bool = False, at_once: int | None = None
    ) -> Generator[list[Row], None, None]:
        """Yield rows as the driver's tuples, so many at a time.

        ``lenient`` reads text that is no text any more, so that it can be named instead of raised.
        """
        compiled = query.compile(dialect=self.engine.dialect, compile_kwargs={"render_postcompile": True})
        values = [compiled.params[name] for name in compiled.positiontup] if compiled.positiontup else compiled.params
        return self._read(str(compiled), values, lenient=lenient, at_once=at_once)

    def stream(self, text: str, *values: Any, page: tuple[int, int] | None = None) -> Generator[list[Row], None, None]:
        """Yield the rows that a statement in the words of SQLite selects, some at a time.

        With ``page``, SQLite, and a pooler, is asked anew for every block, so that a slow consumer leaves no transaction open.
        It would keep the write-ahead log from being begun anew, the process from forking, and one of the pooler's few
        connections from others. Rows are never changed, so both ways give the same.
        """
        if page is None or (self._is_postgres and pooled_settings(self.engine) is None):
            yield from self._read(for_postgres(text) if self._is_postgres else text, values)
            return
        at, column = page
        asked = [*values, _PAGE_ROWS]
        while block := self._page(f"{text} LIMIT ?", asked):
            yield block
            if len(block) < asked[-1]:
                return
            asked[at] = block[-1][column]

    def _page(self, text: str, values: list[Any]) -> list[Row]:
        if self._is_postgres:
            with self._reading() as connection:
                connection.begin()
                driver: Any = connection.connection.driver_connection
                return list(driver.execute(for_postgres(text), values, binary=True))
        with translate_errors(self.engine.url), owned(self.engine.raw_connection()) as connection:
            rows: list[Row] = connection.driver_connection.execute(text, values).fetchall()
            return rows

    def _read(
        self, text: str, values: Any, *, lenient: bool = False, at_once: int | None = None
    ) -> Generator[list[Row], None, None]:
        at_once = at_once or _STREAM_ROWS[self.engine.dialect.name]
        process = os.getpid()
        with translate_errors(self.engine.url), owned(self.engine.connect()) as connection:
            connection.begin()
            driver: Any = connection.connection.driver_connection
            if self._is_postgres:
                cursor = driver.cursor(name="ledger_stream", binary=True)
            else:
                cursor = driver.cursor()
                driver.text_factory = _any_text if lenient else str
            try:
                cursor.execute(text, values)
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
        return self._appender.append(account, events, how, self._now_us)

    def append_verbatim(self, account: AccountId, rows: Sequence[Stored], evidence: Sequence[StoredEvidence] = ()) -> Head:
        return self._appender.append_verbatim(account, rows, evidence)

    # ---- sync health

    def sync_health(self, account: AccountId) -> SyncHealth | None:
        with self._reading() as connection:
            return _read_health(connection, account)

    def sync_healths(self) -> dict[AccountId, SyncHealth]:
        columns = [sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in healths.c]
        names = [column.name for column in columns]
        query = sa.select(accounts.c.server, accounts.c.login, *columns).join_from(accounts, healths)
        found: dict[AccountId, SyncHealth] = {}
        for server, login, *row in self.stream_rows(query, lenient=True):
            name = _name(server, login)
            health = None if name is None else from_columns(name, dict(zip(names, row, strict=True)))
            if health is not None:
                found[health.account] = health
        return found

    def save_sync_health(self, health: SyncHealth) -> None:
        key = account_key(health.account)
        with self.write_in_turn(_HEALTH_PATIENCE) as connection:
            stored = merged(_read_health(connection, health.account), health)
            insert = self._insert(healths).values(account_id=key, **to_columns(stored))
            connection.execute(insert.on_conflict_do_update(index_elements=["account_id"], set_=to_columns(stored)))

    # ---- marks

    def save_mark(self, account: AccountId, mark: AccountMark) -> None:
        key = account_key(account)
        with self.write_in_turn(_HEALTH_PATIENCE) as connection:
            driver: Any = connection.connection.driver_connection
            known = self._clocks.get(key)
            if self._is_postgres:  # SQLite has one writer
                # Not through a pooler: see ``append``.
                with quiet(PSYCOPG), nullcontext() if pooled_settings(self.engine) else driver.pipeline():
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
        query = sa.select(*_sampled).where(samples.c.account_id == account_key(account)).order_by(samples.c.at_us)
        if from_us is not None:
            query = query.where(samples.c.at_us >= from_us)
        if to_us is not None:
            query = query.where(samples.c.at_us <= to_us)
        return (mark_of(MarkColumns._make(row)) for row in self.stream_rows(query))

    def newest_mark(self, account: AccountId, *, at_us: int | None = None) -> AccountMark | None:
        query = sa.select(*_sampled).where(samples.c.account_id == account_key(account))
        if at_us is not None:
            query = query.where(samples.c.at_us <= at_us)
        with self._reading() as connection:
            row = connection.execute(query.order_by(samples.c.at_us.desc()).limit(1)).one_or_none()
        return None if row is None else mark_of(MarkColumns._make(row))

    def delete_marks(self, account: AccountId, before_us: int) -> int:
        old = (samples.c.account_id == account_key(account), samples.c.at_us < before_us)
        with self.write_in_turn(_HEALTH_PATIENCE) as connection:
            return connection.execute(samples.delete().where(*old)).rowcount

    # ---- notices

    def sent_notices(self, keys: Collection[str] = ()) -> list[SentNotice]:
        ends = notices.alias()
        is_over = sa.exists().where(ends.c.key == notices.c.key, ends.c.channel == notices.c.channel, ends.c.stage == RESOLVED)
        wanted = sorted(set(keys))
        chunks = (wanted[begin : begin + _KEYS_AT_ONCE] for begin in range(0, len(wanted), _KEYS_AT_ONCE))
        conditions = [~is_over, *(notices.c.key.in_(chunk) for chunk in chunks)]
        with self._reading() as connection:
            found = {row for one in conditions for row in connection.execute(sa.select(*_sent).where(one)).mappings()}
        return sorted(SentNotice(**row) for row in found)

    def save_notice(self, sent: SentNotice) -> None:
        with self.write_in_turn(_HEALTH_PATIENCE) as connection:
            connection.execute(self._insert(notices).values(**asdict(sent)).on_conflict_do_nothing())

    def last_deliveries(self) -> dict[str, int]:
        query = sa.select(notices.c.channel, sa.func.max(notices.c.sent_us)).group_by(notices.c.channel)
        with self._reading() as connection:
            return {channel: sent_us for channel, sent_us in connection.execute(query)}  # noqa: C416  # rows, not tuples

    def delete_notices(self, before_us: int) -> int:
        ends = notices.alias()
        old = sa.exists().where(
            ends.c.key == notices.c.key, ends.c.channel == notices.c.channel, ends.c.stage == RESOLVED,
            ends.c.sent_us < before_us,
        )  # fmt: skip
        with self.write_in_turn(_HEALTH_PATIENCE) as connection:
            return connection.execute(notices.delete().where(old)).rowcount

    # ---- upkeep

    def upkeep(self) -> dict[str, Upkeep]:
        columns: list[Any] = [sa.type_coerce(done.c[name], sa.types.NullType()).label(name) for name in UPKEEP]
        found = (upkeep_of(dict(zip(UPKEEP, row, strict=True))) for row in self.stream_rows(sa.select(*columns), lenient=True))
        return {one.kind: one for one in found if one is not None}

    def save_upkeep(self, upkeep: Upkeep) -> None:
        with self.write_in_turn(_HEALTH_PATIENCE) as connection:
            row = connection.execute(sa.select(done).where(done.c.kind == upkeep.kind)).one_or_none()
            before = None if row is None else upkeep_of(dict(zip(done.c.keys(), row, strict=True)))
            stored = asdict(with_upkeep(before, upkeep))
            insert = self._insert(done).values(**stored)
            connection.execute(insert.on_conflict_do_update(index_elements=["kind"], set_=stored))

    def insert_or_ignore(self, table: sa.Table, **values: Any) -> Any:
        """Return an insert that does nothing where there is such a row."""
        return self._insert(table).values(**values).on_conflict_do_nothing()

    def _insert(self, table: sa.Table) -> Any:
        """Return an insert that can replace a row, which both databases write alike."""
        if self._is_postgres:
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
        return insert(table)

    # ---- what is stored of the journal as a whole

    def identity(self) -> str:
        with self._reading() as connection:
            return str(connection.scalar(sa.select(identities.c.journal_id)))

    def made_us(self) -> int | None:
        with self._reading() as connection:
            return connection.scalar(sa.select(identities.c.made_us))

    def parents(self) -> tuple[Parent, ...]:
        query = sa.select(origins.c.journal_id, origins.c.heads).order_by(origins.c.number)
        with self._reading() as connection:
            return tuple(_parent(journal_id, heads) for journal_id, heads in connection.execute(query))

    def schema_differences(self) -> tuple[Difference, ...]:
        from ledger.journal.sql.preflight import differences  # slow to load, and only needed to verify

        return differences(self.engine)

    def size_bytes(self) -> int | None:
        if self._is_postgres:
            with self._reading() as connection:
                return int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)
        found = 0
        for suffix in _FILES:
            with suppress(FileNotFoundError):
                found += Path(f"{address_of(self.engine)}{suffix}").stat().st_size
        return found

    def file(self) -> Path | None:
        return None if self._is_postgres else Path(address_of(self.engine))

    def seals(self) -> list[str]:
        query = sa.select(sealings.c.body).order_by(sealings.c.made_us, sealings.c.digest)
        with self._reading() as connection:
            return list(connection.scalars(query))

    def save_seal(self, text: str, made_us: int) -> None:
        digest = sha256(text.encode()).hexdigest()
        known = sa.select(sealings.c.digest).where(sealings.c.digest == digest)
        connected = self.engine.connect().execution_options(write=True)
        with translate_errors(self.engine.url), connected as connection, connection.begin():
            if connection.scalar(known) is None:
                connection.execute(sealings.insert(), {"digest": digest, "made_us": made_us, "body": text})


@lru_cache(maxsize=16_384, typed=True)
def _name(server: Any, login: Any) -> AccountId | None:
    """Return an account's name as it is stored, None if it is damaged."""
    try:
        return AccountId(storable(server), login) if type(server) is str and type(login) is int else None
    except BadValue:
        return None


def insert_parents(connection: Connection, parents: Sequence[Parent]) -> None:
    """Note where a copy that is being made comes from."""
    rows = [
        {
            "number": number,
            "journal_id": parent.journal_id,
            "heads": json.dumps({str(account): version for account, version in sorted(parent.versions.items())}),
        }
        for number, parent in enumerate(parents, 1)
    ]
    if rows:
        connection.execute(origins.insert(), rows)


def _parent(journal_id: str, heads: str) -> Parent:
    return Parent(
        journal_id=journal_id, versions={AccountId.parse(name): int(version) for name, version in json.loads(heads).items()}
    )


def _behind(query: Select[Any], version: Any) -> Select[Any]:
    """Select the rows behind a version, which may be of any type in a damaged journal."""
    return query if version is None else query.where(events.c.version > sa.bindparam(None, version, sa.types.NullType()))


def _require_process(process: int) -> None:
    """Refuse to go on reading in a child what its parent began: both would take rows from one connection."""
    if os.getpid() != process:
        raise JournalError("this iterator was begun before the process was forked: begin it again in the child")


def _any_text(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _select(connection: Connection, text: str, *values: Any) -> Sequence[sa.Row[Any]]:
    """Return what a statement in the words of SQLite selects, within the transaction of a connection."""
    is_postgres = connection.dialect.name == "postgresql"
    return connection.exec_driver_sql(for_postgres(text) if is_postgres else text, values).all()


def _execute_on_sqlite(driver: Any, text: str, *values: Any) -> Sequence[Row]:
    """Carry out a statement within the transaction of a connection, and return its rows if it has any."""
    rows: Sequence[Row] = driver.execute(text, values).fetchall()
    return rows


def _execute_on_postgres(driver: Any, text: str, *values: Any) -> Sequence[Row]:
    """As ``_execute_on_sqlite``. Only what has rows is waited for."""
    cursor = driver.execute(for_postgres(text), values)
    return cursor.fetchall() if text.startswith("SELECT") else ()


def _read_head(connection: Connection, account: AccountId) -> Head | None:
    rows = _select(connection, HEAD_OF, account_key(account))
    return Head._make(rows[0]) if rows else None


def _read_health(connection: Connection, account: AccountId) -> SyncHealth | None:
    row = connection.execute(sa.select(healths).where(healths.c.account_id == account_key(account))).mappings().one_or_none()
    return None if row is None else from_columns(account, dict(row))


def _read_terms(connection: Connection, account: AccountId, version: int) -> AccountTerms | None:
    return terms_of(map(Stored._make, _select(connection, TERMS_OF, account_key(account), version)))


def _placement_is(placement: int) -> sa.ColumnElement[bool]:
    """Compare written out: with a parameter, SQLite does not see that the partial index applies."""
    return events.c.placement == sa.literal_column(str(placement))


def _until(blocks: Iterator[Sequence[Row]], time_msc: int) -> Iterator[Sequence[Row]]:
    """Yield postings, ascending by the second, up to a broker time inclusive."""
    for block in blocks:
        last_msc, second_msc = second_of(block[-1][0]), second_of(time_msc)
        if last_msc < second_msc:
            yield block
            continue
        begin, end = 0, len(block)
        if isinstance(block, PackedRows):  # which need not all be made into rows
            places = ((msc, -1, 0) for msc in (second_msc, second_msc + SECOND_MSC))
            begin, end = (bisect_left(range(end), place, key=block.place) for place in places)
        yield block[:begin]
        yield [row for row in block[begin:end] if row[0] <= time_msc]
        if last_msc > time_msc:
            return


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


def _is_at(place: FoldKey) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == value for column, value in zip(_state_place, place, strict=True)))


def _mark(row: Row) -> Mark:
    time_msc, deal, at_version, *reading, version, chain = row[: len(_marked)]
    return Mark(place=(time_msc, deal, at_version), reading=Reading(*reading), version=version, hash=chain)


def _replaced(connection: Connection, account: AccountId, version: int) -> dict[int, int]:
    """Return the versions of all records that a later revision of their deal replaced -> the first such revision.

    Every record names the one before it, so that they are found by their keys instead of by reading all.
    """
    of_account = events.c.account_id == account_key(account)
    before = sa.select(events.c.caused_by, events.c.version).where(of_account, _is_revision, events.c.version <= version)
    revisions = [(replaced, revision) for replaced, revision in connection.execute(before)]
    known = {revision for _, revision in revisions}
    new = {replaced: revision for replaced, revision in revisions if replaced is not None}
    found: dict[int, int] = {}
    while new:
        found |= new
        wanted, by = sorted(new.keys() - known), new  # what comes before a revision is known already
        new = {}
        for at in range(0, len(wanted), _BATCH):
            query = sa.select(events.c.caused_by, events.c.version).where(
                of_account, events.c.version.in_(wanted[at : at + _BATCH]), events.c.caused_by.is_not(None)
            )
            new |= {replaced: by[record] for replaced, record in connection.execute(query) if replaced not in found}
    return found
