"""The derived tables on SQLite and Postgres (see ``journal.derived``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ledger.journal.derived import (
    DELETED_AT_ONCE,
    FOLLOWER,
    KEYS,
    TABLES,
    BookingRow,
    CurveNode,
    FollowerRow,
    PositionRow,
    SumBy,
    Summary,
    TradeRow,
    Update,
)
from ledger.journal.sql.engine import Session
from ledger.journal.sql.words import account_key, for_postgres, insert
from ledger.values import INT64_MAX, AccountId

if TYPE_CHECKING:
    from ledger.journal.sql.journal import SqlJournal
    from ledger.performance.tally import BookingSum, TradeSum

_PATIENCE_SEC: Final = 10.0
#: From so many rows on Postgres takes them as a stream.
_STREAMED: Final = 200
_R = TypeVar("_R", bound=tuple[Any, ...])

_SELECTED: Final = {name: ", ".join(f'"{column}"' for column in kind._fields) for name, kind in TABLES.items()}  # type: ignore[attr-defined]
_BOOKINGS: Final = (
    f"SELECT {_SELECTED['bookings']} FROM bookings WHERE account_id = ? AND number > ? AND number <= ? "
    "AND time_msc >= ? AND time_msc < ? ORDER BY number"
)
_TRADES: Final = (
    f"SELECT {_SELECTED['closed_trades']} FROM closed_trades WHERE account_id = ? AND is_unfinished = ? AND number > ? "
    "AND number <= ? AND closed_msc >= ? AND closed_msc < ? ORDER BY number"
)
_NUMBERS: Final = "SELECT min(number), max(number) FROM %s WHERE account_id = ? AND %s >= ? AND %s < ?"
_NODES: Final = (
    f"SELECT {_SELECTED['balance_curve']} FROM balance_curve WHERE account_id = ? AND span_min = ? AND begin_min >= ? "
    "AND begin_min < ? ORDER BY begin_min"
)
#: Times rise with the numbers: the period is found by its ends, and read in the order of the primary key.
_FIRST_AND_LAST: Final = (
    "SELECT (SELECT number FROM bookings WHERE account_id = ? AND at_utc_msc >= ? ORDER BY at_utc_msc, number LIMIT 1), "
    "(SELECT number FROM bookings WHERE account_id = ? AND at_utc_msc < ? ORDER BY at_utc_msc DESC, number DESC LIMIT 1)"
)
_POINTS: Final = "SELECT at_utc_msc, balance FROM bookings WHERE account_id = ? AND number >= ? AND number <= ? ORDER BY number"
_BEFORE: Final = (
    "SELECT balance FROM bookings WHERE account_id = ? AND at_utc_msc < ? ORDER BY at_utc_msc DESC, number DESC LIMIT 1"
)
_DAY: Final = "%s / 86400000"
_SIDE: Final = "CASE WHEN side IS NULL THEN NULL WHEN entry = 0 THEN side ELSE 1 - side END"
_BOOKING_KEYS: Final[dict[str, str]] = {"day": _DAY % "time_msc", "symbol": "symbol", "magic": "magic", "side": _SIDE}
_TRADE_KEYS: Final[dict[str, str]] = {"day": _DAY % "closed_msc", "symbol": "symbol", "magic": "magic", "side": "side"}
# SQLite groups by sorting. Trade deals are nearly all, so they are not sorted by their kind as well; and a limit keeps what is
# computed of a row from being computed again for every sum.
_DEAL_SUMS: Final = (
    "SELECT %s, 'trade', count(*), sum(commission), sum(fee), sum(swap), sum(profit), sum(amount), sum(1 - is_complete) "
    "FROM bookings WHERE account_id = ? AND kind = 'trade' GROUP BY 1"
)
_CASH_SUMS: Final = (
    "SELECT %s, kind, count(*), sum(commission), sum(fee), sum(swap), sum(profit), sum(amount), sum(1 - is_complete) "
    "FROM bookings WHERE account_id = ? AND kind <> 'trade' GROUP BY 1, kind"
)
_TRADE_SUMS: Final = (
    "SELECT key, count(net), sum(CASE WHEN net > 0 THEN 1 ELSE 0 END), sum(CASE WHEN net < 0 THEN 1 ELSE 0 END), "
    "count(*) - count(net), sum(CASE WHEN net > 0 THEN net ELSE 0 END), sum(CASE WHEN net < 0 THEN net ELSE 0 END), "
    "max(net), min(net), count(held), coalesce(sum(held), 0), min(held), max(held) FROM (SELECT %s AS key, "
    "CASE WHEN is_unfinished = 0 AND is_complete = 1 THEN profit + swap + commission + fee END AS net, "
    "CASE WHEN is_unfinished = 0 AND is_complete = 1 AND opened_utc_msc IS NOT NULL THEN "
    "CASE WHEN closed_utc_msc > opened_utc_msc THEN closed_utc_msc - opened_utc_msc ELSE 0 END END AS held "
    f"FROM closed_trades WHERE account_id = ? LIMIT {INT64_MAX}) AS trades GROUP BY key"
)
_MOVED: Final = (
    "SELECT sum(amount), sum(credited), sum(CASE WHEN kind = 'trade' THEN 1 - is_complete ELSE 0 END) FROM bookings "
    "WHERE account_id = ? AND time_msc >= ? AND time_msc < ?"
)


class SqlDerived:
    """The derived tables of a journal.

    Args:
        journal: Whose.
    """

    def __init__(self, journal: SqlJournal) -> None:
        self._journal = journal
        self._is_postgres = journal.engine.is_postgres

    # ---- what they rest on

    def followers(self) -> dict[AccountId, FollowerRow]:
        return self._by_account("followers", FollowerRow, without="state")

    def follower(self, account: AccountId) -> FollowerRow | None:
        return self._one("followers", account, FollowerRow)

    # ---- changing them

    def require_writable(self) -> None:
        with self._journal.write_in_turn(_PATIENCE_SEC) as session:
            session.execute("UPDATE followers SET revision = revision WHERE account_id = -1")

    def update(self, account: AccountId, update: Update) -> bool:
        key = account_key(account)
        with self._journal.write_in_turn(_PATIENCE_SEC, is_bulk=True) as session:
            if self._is_postgres:  # what is lost with the machine is made anew
                session.execute("SET LOCAL synchronous_commit = off")
            if not self._claim(session, key, update):
                return False
            self._delete(session, key, update)
            self._insert(session, "bookings", key, update.bookings)
            self._insert(session, "closed_trades", key, update.trades)
            self._insert(session, "balance_curve", key, update.nodes)
            if update.positions is not None:
                self._replace_positions(session, key, update.positions)
            session.execute("DELETE FROM summaries WHERE account_id = ?", key)
            self._insert(session, "summaries", key, [] if update.summary is None else [update.summary])
        return True

    def drop(self, account: AccountId) -> bool:
        key = account_key(account)
        with self._journal.write_in_turn(_PATIENCE_SEC) as session:
            found = session.execute("DELETE FROM followers WHERE account_id = ? AND follower = ?", key, FOLLOWER)
            for name in ("summaries", "open_positions", "balance_curve"):
                session.execute(f"DELETE FROM {name} WHERE account_id = ?", key)
            made_for_them = "DELETE FROM checkpoints WHERE account_id = ? AND fold LIKE ?"
            session.execute(made_for_them, key, f"{FOLLOWER}-%")
        # Some at a time, so that nobody who writes waits long; none of a follower that has begun again: it deletes the rest.
        is_none = "NOT EXISTS (SELECT 1 FROM followers WHERE account_id = ? AND follower = ?)"
        for name in ("bookings", "closed_trades"):
            last = f"(SELECT max(number) FROM {name} WHERE account_id = ?)"
            text = f"DELETE FROM {name} WHERE account_id = ? AND number > {last} - {DELETED_AT_ONCE} AND {is_none}"
            while True:
                with self._journal.write_in_turn(_PATIENCE_SEC, is_bulk=True) as session:
                    if not session.execute(text, key, key, key, FOLLOWER):
                        break
        return bool(found)

    def _claim(self, session: Session, key: int, update: Update) -> bool:
        """Replace what the rows rest on, if it is still what the follower went on from; others wait until this is over."""
        columns = FollowerRow._fields
        if update.expected is None:
            text = insert("followers", ("account_id", *columns), ("account_id", *KEYS["followers"]))
            return bool(session.execute(text, key, *update.row))
        changed = ", ".join(f"{name} = ?" for name in columns)
        text = f"UPDATE followers SET {changed} WHERE account_id = ? AND follower = ? AND revision = ?"
        return bool(session.execute(text, *update.row, key, FOLLOWER, update.expected))

    def _delete(self, session: Session, key: int, update: Update) -> None:
        """Delete the rows that do not stay."""
        for text, value in (
            ("bookings WHERE account_id = ? AND number > ?", update.keep_bookings),
            ("closed_trades WHERE account_id = ? AND is_unfinished = 0 AND number > ?", update.keep_trades),
            ("closed_trades WHERE account_id = ? AND is_unfinished = ?", 1),
        ):
            session.execute(f"DELETE FROM {text}", key, value)
        for span, begin in update.nodes_from.items():
            session.execute(
                "DELETE FROM balance_curve WHERE account_id = ? AND span_min = ? AND begin_min >= ?",
                key,
                span,
                begin,
            )

    def _insert(self, session: Session, name: str, key: int, rows: Sequence[tuple[Any, ...]]) -> None:
        if not rows:
            return
        driver = session.driver
        if self._is_postgres and len(rows) >= _STREAMED:
            with driver.cursor() as cursor, cursor.copy(f"COPY {name} (account_id, {_SELECTED[name]}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row((key, *row))
            return
        text = f"INSERT INTO {name} (account_id, {_SELECTED[name]}) VALUES ({key}, {', '.join('?' * len(rows[0]))})"
        cursor = driver.cursor()
        if len(rows) == 1:
            cursor.execute(for_postgres(text) if self._is_postgres else text, tuple(rows[0]))
        else:
            cursor.executemany(for_postgres(text) if self._is_postgres else text, rows)

    def _replace_positions(self, session: Session, key: int, positions: Sequence[PositionRow]) -> None:
        """Write what changed of the open positions: mostly one of many."""
        text = f"SELECT {_SELECTED['open_positions']} FROM open_positions WHERE account_id = ?"
        known = {row[0]: row for row in session.query(text, key)}
        now = {row.position_id: tuple(row) for row in positions}
        gone = [(position_id,) for position_id, row in known.items() if now.get(position_id) != row]
        if gone:
            delete = f"DELETE FROM open_positions WHERE account_id = {key} AND position_id = ?"
            driver = session.driver
            driver.cursor().executemany(for_postgres(delete) if self._is_postgres else delete, gone)
        self._insert(session, "open_positions", key, [row for row in positions if known.get(row.position_id) != tuple(row)])

    # ---- reading them

    def summaries(self) -> dict[AccountId, Summary]:
        return self._by_account("summaries", Summary)

    def summary(self, account: AccountId) -> Summary | None:
        return self._one("summaries", account, Summary)

    def open_positions(self, account: AccountId) -> list[PositionRow]:
        text = f"SELECT {_SELECTED['open_positions']} FROM open_positions WHERE account_id = ? ORDER BY position_id"
        return list(map(PositionRow._make, self._journal.select(text, account_key(account))))

    def closed_trades(
        self, account: AccountId, *, from_msc: int | None = None, until_msc: int | None = None, after: int = 0
    ) -> Iterator[TradeRow]:
        begin, end = _period(from_msc, until_msc)
        key = account_key(account)
        first, last = self._numbers("closed_trades", "closed_msc", key, (from_msc, until_msc), after, " AND is_unfinished = 0")
        yield from self._streamed(TradeRow, _TRADES, key, 0, first, last, begin, end, page=(2, 1))
        yield from self._streamed(TradeRow, _TRADES, key, 1, 0, INT64_MAX, begin, end, page=(2, 1))

    def has_trades(self, account: AccountId, symbols: Sequence[str]) -> bool:
        text = "SELECT 1 FROM closed_trades WHERE account_id = ? AND symbol = ? LIMIT 1"
        return any(self._journal.select(text, account_key(account), symbol) for symbol in symbols)

    def bookings(
        self, account: AccountId, *, from_msc: int | None = None, until_msc: int | None = None, after: int = 0
    ) -> Iterator[BookingRow]:
        key = account_key(account)
        first, last = self._numbers("bookings", "time_msc", key, (from_msc, until_msc), after)
        return self._streamed(BookingRow, _BOOKINGS, key, first, last, *_period(from_msc, until_msc), page=(1, 0))

    def curve_nodes(self, account: AccountId, span_min: int, from_min: int, until_min: int) -> list[CurveNode]:
        return list(map(CurveNode._make, self._journal.select(_NODES, account_key(account), span_min, from_min, until_min)))

    def curve_bookings(
        self, account: AccountId, from_utc_msc: int, until_utc_msc: int, at_most: int
    ) -> list[tuple[int, int]] | None:
        key = account_key(account)
        first, last = self._journal.select(_FIRST_AND_LAST, key, from_utc_msc, key, until_utc_msc)[0]
        if first is None or last is None or last < first:
            return []
        if last - first >= at_most:
            return None
        return [(at_utc_msc, balance) for at_utc_msc, balance in self._journal.select(_POINTS, key, first, last)]

    def balance_before(self, account: AccountId, utc_msc: int) -> int:
        found = self._journal.select(_BEFORE, account_key(account), utc_msc)
        return int(found[0][0]) if found else 0

    def moved(self, account: AccountId, *, from_msc: int | None = None, until_msc: int | None = None) -> tuple[int, int, int]:
        sums = self._journal.select(_MOVED, account_key(account), *_period(from_msc, until_msc))[0]
        amount, credited, incomplete = (int(one or 0) for one in sums)
        return amount, credited, incomplete

    def booking_sums(self, account: AccountId, by: SumBy) -> list[BookingSum]:
        from ledger.performance.tally import BookingSum

        texts = (_DEAL_SUMS % _BOOKING_KEYS[by], _CASH_SUMS % _BOOKING_KEYS[by])
        found = [row for text in texts for row in self._journal.select(text, account_key(account))]
        return [BookingSum(_key(key), kind, *map(int, sums)) for key, kind, *sums in found]

    def trade_sums(self, account: AccountId, by: SumBy) -> list[TradeSum]:
        from ledger.performance.tally import TradeSum

        found = self._journal.select(_TRADE_SUMS % _TRADE_KEYS[by], account_key(account))
        return [TradeSum._make([_key(key), *(None if one is None else int(one) for one in sums)]) for key, *sums in found]

    def _numbers(
        self, name: str, column: str, key: int, period: tuple[int | None, int | None], after: int, only: str = ""
    ) -> tuple[int, int]:
        """Return between which numbers the rows of a period are, found by its index: behind the first, up to the last."""
        if period == (None, None):
            return after, INT64_MAX
        first, last = self._journal.select(_NUMBERS % (name, column, column) + only, key, *_period(*period))[0]
        return (max(after, first - 1), last) if first is not None else (0, 0)

    def _streamed(self, kind: type[_R], text: str, *values: Any, page: tuple[int, int]) -> Iterator[_R]:
        make: Any = kind._make  # type: ignore[attr-defined]
        return (make(row) for block in self._journal.stream(text, *values, page=page) for row in block)

    def _one(self, name: str, account: AccountId, kind: type[_R]) -> _R | None:
        where = "".join(f" AND {column} = '{FOLLOWER}'" for column in KEYS[name])
        found = self._journal.select(f"SELECT {_SELECTED[name]} FROM {name} WHERE account_id = ?{where}", account_key(account))
        return kind(*found[0]) if found else None

    def _by_account(self, name: str, kind: type[_R], without: str = "") -> dict[AccountId, _R]:
        columns = ", ".join("NULL" if column == without else f"{name}.{column}" for column in kind._fields)  # type: ignore[attr-defined]
        text = f"SELECT server, login, {columns} FROM accounts JOIN {name} ON {name}.account_id = accounts.account_id"
        named = {AccountId(server, login): kind(*row) for server, login, *row in self._journal.stream_rows(text)}
        return dict(sorted(named.items()))


def _period(begin: int | None, end: int | None) -> tuple[int, int]:
    return -INT64_MAX if begin is None else begin, INT64_MAX if end is None else end


def _key(value: Any) -> int | str | None:
    return value if value is None or isinstance(value, str) else int(value)
