"""Views for people and tools that speak SQL: plain numbers, UTC as text and in milliseconds, the same columns everywhere.

A number is ``numeric`` on Postgres. SQLite has none: there it is a float for charts, and the exact text stands beside it in the
column of the same name with ``_text``, which Postgres has as well. Nothing is stored: a view is a question that has a name.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


class _Words(Protocol):
    """How a database writes what differs."""

    def number(self, units: str, scale: str) -> str:
        """Return a scaled integer as a number."""
        ...

    def text(self, units: str, scale: str) -> str:
        """Return a scaled integer as exact text."""
        ...

    def of_text(self, text: str) -> str:
        """Return exact text as a number."""
        ...

    def utc(self, milliseconds: str) -> str:
        """Return milliseconds since 1970 as text."""
        ...

    def utc_us(self, microseconds: str) -> str:
        """Return microseconds since 1970 as text."""
        ...

    def field(self, data: str, name: str) -> str:
        """Return a field of JSON as text; of what is damaged nothing, so that the other rows are still shown."""
        ...

    def whole(self, data: str, name: str) -> str:
        """Return a field of JSON as an integer; of what is damaged nothing."""
        ...

    def unsigned(self, magic: str) -> str:
        """Return a magic number as the terminal shows it."""
        ...

    def hexed(self, digest: str) -> str:
        """Return bytes as hexadecimal digits."""
        ...

    def flag(self, value: str) -> str:
        """Return 0 or 1 as what is true or false."""
        ...


class _Sqlite:
    def number(self, units: str, scale: str) -> str:
        return f"(CAST({units} AS REAL) / {self._power(scale)})"

    def text(self, units: str, scale: str) -> str:
        power = self._power(scale)
        plain = (
            f"(CASE WHEN {units} < 0 THEN '-' ELSE '' END) || (abs({units}) / {power}) || "
            f"(CASE WHEN {units} % {power} = 0 THEN '' ELSE "
            f"rtrim(printf('.%0*d', {scale}, abs({units}) % {power}), '0') END)"
        )
        return f"CASE WHEN {units} IS NOT NULL AND {scale} IS NOT NULL THEN {plain} END"

    def of_text(self, text: str) -> str:
        return f"CAST({text} AS REAL)"

    def utc(self, milliseconds: str) -> str:
        whole = f"({milliseconds} - ({milliseconds} % 1000 + 1000) % 1000) / 1000"
        return (
            f"(strftime('%Y-%m-%dT%H:%M:%S', {whole}, 'unixepoch') || printf('.%03dZ', ({milliseconds} % 1000 + 1000) % 1000))"
        )

    def utc_us(self, microseconds: str) -> str:
        return (
            f"(strftime('%Y-%m-%dT%H:%M:%S', {microseconds} / 1000000, 'unixepoch') || "
            f"printf('.%06dZ', {microseconds} % 1000000))"
        )

    def field(self, data: str, name: str) -> str:
        return f"CASE WHEN json_valid({data}) THEN json_extract({data}, '$.{name}') END"

    def whole(self, data: str, name: str) -> str:
        is_whole = f"json_valid({data}) AND json_type({data}, '$.{name}') = 'integer'"
        return f"CASE WHEN {is_whole} THEN json_extract({data}, '$.{name}') END"

    def unsigned(self, magic: str) -> str:
        return f"CASE WHEN {magic} < 0 THEN printf('%u', {magic}) ELSE {magic} END"

    def hexed(self, digest: str) -> str:
        return f"lower(hex({digest}))"

    def flag(self, value: str) -> str:
        return value

    @staticmethod
    def _power(scale: str) -> str:
        return f"CAST('1' || substr('000000000000000000', 1, {scale}) AS INTEGER)"


class _Postgres:
    def __init__(self, version: int) -> None:
        self._can_check = version >= 16  # before, nothing in SQL finds out whether a text is JSON

    def number(self, units: str, scale: str) -> str:
        return f"trim_scale({units} * ('1e-' || {scale})::numeric)"

    def text(self, units: str, scale: str) -> str:
        return f"{self.number(units, scale)}::text"

    def of_text(self, text: str) -> str:
        return f"{text}::numeric"

    def utc(self, milliseconds: str) -> str:
        moment = f"timestamp '1970-01-01' + {milliseconds} * interval '1 millisecond'"
        return f"""to_char({moment}, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""

    def utc_us(self, microseconds: str) -> str:
        moment = f"timestamp '1970-01-01' + {microseconds} * interval '1 microsecond'"
        return f"""to_char({moment}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

    def field(self, data: str, name: str) -> str:
        found = f"({data}::json ->> '{name}')"
        return f"CASE WHEN {data} IS JSON OBJECT THEN {found} END" if self._can_check else found

    def whole(self, data: str, name: str) -> str:
        found = self.field(data, name)
        return f"CASE WHEN ({found}) ~ '^-?[0-9]{{1,18}}$' THEN ({found})::bigint END"

    def unsigned(self, magic: str) -> str:
        whole = f"CASE WHEN {magic} < 0 THEN {magic} + 18446744073709551616 ELSE {magic}::numeric END"
        return f"CAST({whole} AS numeric(20))"  # without a precision DuckDB would make it a float

    def hexed(self, digest: str) -> str:
        return f"encode({digest}, 'hex')"

    def flag(self, value: str) -> str:
        return f"({value} <> 0)"


#: The events that change account terms, in the words of the index that finds them.
_TERMS = "(kind = 'AccountOpened' OR kind = 'SymbolSpecified' OR kind = 'Adjusted')"
_INCIDENTS = {
    "SyncDegraded": "degraded", "PositionRecovered": "recovered", "GhostClosed": "ghost closed",
    "DriftCorrected": "drift corrected", "PositionReticketed": "reticketed", "Adjusted": "adjusted", "DealRevised": "revised",
}  # fmt: skip


def _both(words: _Words, units: str, scale: str, name: str) -> str:
    """Return the columns of a figure: the number, and the exact text."""
    return f"{words.number(units, scale)} AS {name}, {words.text(units, scale)} AS {name}_text"


def _both_of_text(words: _Words, text: str, name: str) -> str:
    return f"{words.of_text(text)} AS {name}, {text} AS {name}_text"


def _time(words: _Words, milliseconds: str, name: str) -> str:
    """Return the columns of a moment: text, and milliseconds since 1970."""
    return f"{words.utc(milliseconds)} AS {name}, {milliseconds} AS {name}_ms"


def _server_time(words: _Words, milliseconds: str) -> str:
    """Return the columns of a moment by the trade server's clock, which is not UTC."""
    return f"rtrim({words.utc(milliseconds)}, 'Z') AS server_time, {milliseconds} AS server_time_ms"


def _time_us(words: _Words, microseconds: str, name: str) -> str:
    return f"{words.utc_us(microseconds)} AS {name}, {microseconds} / 1000 AS {name}_ms"


def _opened(words: _Words) -> str:
    """Return what every account was opened with."""
    fields = ", ".join(f"{words.field('data', name)} AS {name}" for name in ("currency", "mode", "clock"))
    scales = ", ".join(f"{words.whole('data', name)} AS {name}" for name in ("currency_digits", "money_scale"))
    return (
        "SELECT a.account_id, a.server, a.login, o.* FROM accounts a JOIN (SELECT account_id AS opened_id, "
        f"{fields}, {scales} FROM events WHERE version = 1) o ON o.opened_id = a.account_id"
    )


def _specified(words: _Words) -> str:
    """Return the scales of the symbols that have others than everything else: the latest specification of each."""
    return (
        f"SELECT account_id AS specified_id, symbol AS specified, {words.whole('data', 'price_scale')} AS price_scale, "
        f"{words.whole('data', 'volume_scale')} AS volume_scale FROM events s WHERE {_TERMS} AND kind = 'SymbolSpecified' "
        f"AND NOT EXISTS (SELECT 1 FROM events l WHERE l.account_id = s.account_id AND {_TERMS.replace('kind', 'l.kind')} "
        "AND l.kind = 'SymbolSpecified' AND l.symbol = s.symbol AND l.version > s.version)"
    )


_MONEY = ("commission", "fee", "swap", "profit")
_SIDE = "CASE {0} WHEN 0 THEN 'buy' WHEN 1 THEN 'sell' END"
_ENTRY = "CASE {0} WHEN 0 THEN 'in' WHEN 1 THEN 'out' WHEN 2 THEN 'in/out' WHEN 3 THEN 'out by' ELSE CAST({0} AS TEXT) END"
_FROM_EVENTS = (
    "FROM events e JOIN v_accounts a ON a.account_id = e.account_id "
    "LEFT JOIN ({specified}) s ON s.specified_id = e.account_id AND s.specified = e.symbol"
)


def _views(words: _Words) -> Iterator[tuple[str, str]]:
    yield "v_accounts", _accounts(words)
    yield "v_events", _events(words)
    yield "v_deals", _deals(words, "e.deal_type IN (0, 1)", f"{_SIDE.format('e.deal_type')} AS side, ")
    yield "v_cash", _deals(words, "(e.deal_type IS NULL OR e.deal_type NOT IN (0, 1))", "")
    yield from _of_breaks(words)
    yield from _of_syncs(words)
    yield from _of_derived(words)


def _accounts(words: _Words) -> str:
    corrected = words.field("c.data", "clock_after")
    clock = (
        f"coalesce((SELECT {corrected} FROM events c WHERE c.account_id = o.account_id "
        f"AND {_TERMS.replace('kind', 'c.kind')} AND c.kind = 'Adjusted' AND {corrected} IS NOT NULL "
        "ORDER BY c.version DESC LIMIT 1), o.clock)"
    )
    return (
        f"SELECT o.account_id, o.server, o.login, o.currency, o.currency_digits, o.mode, {clock} AS clock, h.version, "
        f"{words.hexed('h.hash')} AS head, {_time_us(words, 'h.recorded_us', 'recorded_at')}, o.money_scale "
        f"FROM ({_opened(words)}) o JOIN heads h ON h.account_id = o.account_id"
    )


_NAME = "a.server, a.login, a.currency"


def _numbers_of_deals(words: _Words) -> str:
    sizes = [
        _both(words, f"e.{name}", f"coalesce(s.{name}_scale, 8)", name) for name in ("volume", "price")
    ]  # 8: what symbols without a specification have
    return ", ".join([*sizes, *(_both(words, f"e.{name}", "a.money_scale", name) for name in _MONEY)])


def _events(words: _Words) -> str:
    return (
        f"SELECT {_NAME}, e.account_id, e.version, e.kind, {_time_us(words, 'e.recorded_us', 'recorded_at')}, "
        f"{_server_time(words, 'e.time_msc')}, e.position_id, e.deal, e.order_ticket, e.symbol, "
        f"{_SIDE.format('e.deal_type')} AS side, {_entry('e.entry')} AS entry, {_numbers_of_deals(words)}, "
        f"{words.unsigned('e.magic')} AS magic, e.reason, e.comment, e.origin, e.deal_type, e.natural_key, e.caused_by, "
        f"e.correlation, e.evidence, e.client_id, e.data, {words.hexed('e.hash')} AS hash "
        + _FROM_EVENTS.format(specified=_specified(words))
    )


def _entry(column: str) -> str:
    return f"CASE WHEN {column} IS NOT NULL THEN {_ENTRY.format(column)} END"


#: The deals that were revised, with the last revision of each; and what was added to deals since their last record.
_REVISED = (
    "SELECT account_id AS revised_id, deal AS revised, max(version) AS last FROM events WHERE kind = 'DealRevised' "
    "GROUP BY account_id, deal"
)
_ADDED = ("position_id", "magic", *_MONEY)
_COMPLETED = (
    f"SELECT c.account_id AS completed_id, c.deal AS completed, {', '.join(f'max(c.{name}) AS {name}' for name in _ADDED)} "
    f"FROM events c LEFT JOIN ({_REVISED}) v ON v.revised_id = c.account_id AND v.revised = c.deal "
    "WHERE c.placement = 1 AND c.kind = 'DealCompleted' AND (v.last IS NULL OR v.last < c.version) "
    "GROUP BY c.account_id, c.deal"
)


def _deals(words: _Words, which: str, side: str) -> str:
    """Return each deal once, as it is known by now: its latest record, with what later ones added."""
    given = ", ".join(
        f"d.{name}"
        for name in (
            "account_id", "version", "time_msc", "recorded_us", "deal", "deal_type", "entry", "order_ticket", "symbol",
            "volume", "price", "reason", "comment", "origin",
        )
    )  # fmt: skip
    current = (
        f"SELECT {given}, {', '.join(f'coalesce(d.{name}, c.{name}) AS {name}' for name in _ADDED)} FROM events d "
        f"LEFT JOIN ({_REVISED}) r ON r.revised_id = d.account_id AND r.revised = d.deal "
        f"LEFT JOIN ({_COMPLETED}) c ON c.completed_id = d.account_id AND c.completed = d.deal "
        "WHERE (r.last IS NULL AND d.kind IN ('FillRecorded', 'CashMoved')) OR r.last = d.version"
    )
    return (
        f"SELECT {_NAME}, e.account_id, e.deal, e.version, {_server_time(words, 'e.time_msc')}, "
        f"{_time_us(words, 'e.recorded_us', 'recorded_at')}, e.deal_type, {side}{_entry('e.entry')} AS entry, e.position_id, "
        f"e.order_ticket, e.symbol, {_numbers_of_deals(words)}, {words.unsigned('e.magic')} AS magic, e.reason, e.comment, "
        "e.origin "
        + _FROM_EVENTS.format(specified=_specified(words)).replace("FROM events e", f"FROM ({current}) e")
        + f" WHERE {which}"
    )


#: What an operator wants to see, few among the deals. The condition is written out wherever the index is to be used.
_NOTABLE = (
    "kind IN ('BreakOpened', 'BreakClosed', 'SyncDegraded', 'SyncRestored', 'PositionRecovered', 'GhostClosed', "
    "'DriftCorrected', 'PositionReticketed', 'Adjusted', 'DealRevised')"
)


def _notable(kind: str, *columns: str) -> str:
    """Return the events of a kind, found by the index of notable ones."""
    return f"SELECT {', '.join(columns) or '*'} FROM events WHERE {_NOTABLE} AND kind = '{kind}'"


def _of_breaks(words: _Words) -> Iterator[tuple[str, str]]:
    texts = ", ".join(f"{words.field('b.data', name)} AS {name}" for name in ("field", "ours", "theirs", "why", "client_id"))
    again = (
        f"SELECT s.account_id AS seen_id, s.caused_by AS seen, count(s.version) AS times FROM ({_notable('BreakOpened')}) s "
        "GROUP BY s.account_id, s.caused_by"
    )
    opened, closed = _time_us(words, "b.recorded_us", "opened_at"), _time_us(words, "c.recorded_us", "closed_at")
    yield (
        "v_breaks",
        (
            f"SELECT {_NAME}, b.account_id, b.version, {words.field('b.data', 'kind')} AS kind, b.position_id, b.symbol, "
            f"b.deal, "
            f"{words.whole('b.data', 'order')} AS order_ticket, {texts}, {opened}, {closed}, "
            f"{words.field('c.data', 'end')} AS ended, c.version AS closed_version, coalesce(n.times, 0) + 1 AS sightings "
            f"FROM ({_notable('BreakOpened')}) b JOIN v_accounts a ON a.account_id = b.account_id "
            f"LEFT JOIN ({_notable('BreakClosed')}) c ON c.account_id = b.account_id AND c.caused_by = b.version "
            f"LEFT JOIN ({again}) n ON n.seen_id = b.account_id AND n.seen = b.version "
            f"LEFT JOIN ({_notable('BreakOpened', 'account_id', 'version')}) f "
            "ON f.account_id = b.account_id AND f.version = b.caused_by WHERE f.version IS NULL"
        ),
    )
    names = " ".join(f"WHEN '{kind}' THEN '{word}'" for kind, word in _INCIDENTS.items())
    started, ended = _time_us(words, "b.recorded_us", "started_at"), _time_us(words, "c.recorded_us", "ended_at")
    ends = {
        "BreakOpened": ("BreakClosed", "x.caused_by = b.version"),
        "SyncDegraded": ("SyncRestored", "x.version > b.version"),
    }
    last = " ".join(
        f"WHEN '{kind}' THEN (SELECT min(x.version) FROM ({_notable(end)}) x WHERE x.account_id = b.account_id AND {which})"
        for kind, (end, which) in ends.items()
    )
    # One question without UNION: what DuckDB makes of one is none for SQLite. What corrects a break is part of it.
    yield (
        "v_incidents",
        (
            f"SELECT {_NAME}, b.account_id, b.version, CASE b.kind WHEN 'BreakOpened' THEN {words.field('b.data', 'kind')} "
            f"{names} END AS kind, b.position_id, b.symbol, b.deal, {started}, {ended}, c.version AS ended_version, "
            f"coalesce({words.field('c.data', 'end')}, {words.field('b.data', 'reason')}) AS outcome, "
            f"{words.field('b.data', 'operator')} AS operator FROM (SELECT * FROM events WHERE {_NOTABLE}) b "
            "JOIN v_accounts a ON a.account_id = b.account_id "
            f"LEFT JOIN events c ON c.account_id = b.account_id AND c.version = CASE b.kind {last} END "
            f"LEFT JOIN ({_notable('BreakOpened', 'account_id', 'version')}) f "
            "ON f.account_id = b.account_id AND f.version = b.caused_by "
            "WHERE b.kind NOT IN ('BreakClosed', 'SyncRestored') AND f.version IS NULL"
        ),
    )


def _of_syncs(words: _Words) -> Iterator[tuple[str, str]]:
    times = ", ".join(
        _time_us(words, f"h.{column}_us", name)
        for column, name in (
            ("since", "since"), ("seen", "last_seen"), ("verified", "last_verified"), ("success", "last_success"),
            ("started", "started"),
        )
    )  # fmt: skip
    yield (
        "v_sync_health",
        (
            f"SELECT {_NAME}, h.account_id, h.status, h.reason, {times}, h.duration_us / 1000 AS duration_ms, "
            "h.interval_us / 1000 AS interval_ms, h.gateway, h.host, h.pid, h.program "
            "FROM sync_health h JOIN v_accounts a ON a.account_id = h.account_id"
        ),
    )
    amounts = ", ".join(
        _both(words, f"m.{name}", "m.scale", name) for name in ("balance", "credit", "floating", "equity", "margin")
    )
    yield (
        "v_marks",
        (
            f"SELECT {_NAME}, m.account_id, {_time_us(words, 'm.at_us', 'time')}, {amounts}, "
            f"{words.flag('m.is_equity_reported')} AS is_equity_reported "
            "FROM marks m JOIN v_accounts a ON a.account_id = m.account_id"
        ),
    )
    figures = ("open", "high", "low", "close")
    values = ", ".join(_both(words, f"d.{name}", "d.scale", f"equity_{name}") for name in figures)
    times = ", ".join(_time_us(words, f"d.{name}_us", f"{name}_at") for name in figures)
    day = words.utc("d.day * 86400000")
    yield (
        "v_equity_day",
        (
            f"SELECT {_NAME}, d.account_id, substr({day}, 1, 10) AS server_day, {values}, {times}, d.samples "
            "FROM equity_day d JOIN v_accounts a ON a.account_id = d.account_id"
        ),
    )


_FOLLOWED = (
    "JOIN v_accounts a ON a.account_id = {0}.account_id "
    "JOIN followers f ON f.account_id = {0}.account_id AND f.follower = 'derived'"
)
_RESTS_ON = "f.version AS rests_on"


def _of_derived(words: _Words) -> Iterator[tuple[str, str]]:
    yield (
        "v_positions",
        (
            f"SELECT {_NAME}, p.account_id, p.position_id, p.ticket, p.symbol, {_SIDE.format('p.side')} AS side, "
            f"{_both_of_text(words, 'p.volume', 'volume')}, {_both_of_text(words, 'p.price_open', 'price_open')}, "
            f"{_time(words, 'p.opened_utc_msc', 'opened_at')}, p.basis, {words.unsigned('p.magic')} AS magic, p.comment, "
            f"{_RESTS_ON} "
            f"FROM open_positions p {_FOLLOWED.format('p')}"
        ),
    )
    yield (
        "v_balances",
        (
            f"SELECT {_NAME}, s.account_id, {_both(words, 's.balance', 's.scale', 'balance')}, "
            f"{_both(words, 's.credit', 's.scale', 'credit')}, s.positions, s.unexplained, s.incomplete, s.breaks_open, "
            f"{_time(words, 's.last_event_utc_msc', 'last_event')}, s.version AS rests_on "
            "FROM summaries s JOIN v_accounts a ON a.account_id = s.account_id"
        ),
    )
    money = ", ".join(_both(words, f"t.{name}", "a.money_scale", name) for name in _MONEY)
    net = _both(words, "(t.profit + t.swap + t.commission + t.fee)", "a.money_scale", "net")
    yield (
        "v_trades",
        (
            f"SELECT {_NAME}, t.account_id, t.position_id, t.ticket, t.symbol, {_SIDE.format('t.side')} AS side, "
            f"{_both_of_text(words, 't.volume', 'volume')}, {_time(words, 't.opened_utc_msc', 'opened_at')}, "
            f"{_both_of_text(words, 't.price_open', 'price_open')}, {_time(words, 't.closed_utc_msc', 'closed_at')}, "
            f"{_both_of_text(words, 't.price_close', 'price_close')}, {money}, {net}, "
            f"{words.flag('t.is_complete')} AS is_complete, "
            f"t.basis, {words.unsigned('t.magic')} AS magic, {_RESTS_ON} FROM closed_trades t {_FOLLOWED.format('t')}"
        ),
    )
    values = ", ".join(
        _both(words, f"c.{name}", "a.money_scale", f"balance_{name}") for name in ("open", "low", "high", "close")
    )
    yield (
        "v_balance_curve",
        (
            f"SELECT {_NAME}, c.account_id, c.span_min, {_time(words, '(c.begin_min * 60000)', 'begins')}, {values}, "
            f"c.bookings, "
            f"{_RESTS_ON} FROM balance_curve c {_FOLLOWED.format('c')}"
        ),
    )


def upgrade() -> None:
    """Make the index and the views."""
    where = sa.text(_NOTABLE)
    columns = ["account_id", "kind", "caused_by", "version"]
    op.create_index("ix_events_notable", "events", columns, sqlite_where=where, postgresql_where=where)
    bind = op.get_bind()
    release = int((bind.dialect.server_version_info or (0,))[0])
    words: _Words = _Postgres(release) if bind.dialect.name == "postgresql" else _Sqlite()
    for name, question in _views(words):
        op.get_bind().exec_driver_sql(f"CREATE VIEW {name} AS {question}")
