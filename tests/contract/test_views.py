"""The views show what the JSON output shows, in every database and to every reader: sqlite3, psycopg and DuckDB."""

from __future__ import annotations

import re
import sqlite3
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import dict_row

from ledger import Account, AccountOpened, Ledger, LedgerError
from ledger.clock import utc_text_us
from ledger.journal.health import SyncHealth
from ledger.journal.sql.words import account_key
from ledger.marks import Mark
from tests.support.journals import DURABLE, Intruder, bare_postgres, new_url
from tests.support.strategies import histories, records, revised_histories, seconds
from tools.testkit.every_event import EVENTS
from tools.testkit.stories import START_MSC, at, fill

READERS = {"sqlite": ("sqlite3", "duckdb"), "postgres": ("psycopg", "duckdb")}
VIEWS = (
    "v_accounts", "v_events", "v_deals", "v_cash", "v_breaks", "v_incidents", "v_sync_health", "v_marks", "v_equity_day",
    "v_positions", "v_balances", "v_trades", "v_balance_curve",
)  # fmt: skip
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "views.md"
_MONEY = ("commission", "fee", "swap", "profit")
_numbers = count(1)


@pytest.fixture(scope="module", params=DURABLE)
def desk(request, tmp_path_factory):
    """A journal for all tests of the module, each with accounts of its own; the kind of its database."""
    with Ledger.open(new_url(request.param, tmp_path_factory.mktemp("views"))) as ledger:
        yield ledger, request.param


def new_account(ledger: Ledger, mode: str = "hedging") -> Account:
    account = ledger.account("Views", next(_numbers))
    account.open(currency="USD", mode=mode, clock="ny-close", time_msc=START_MSC)
    return account


def read(desk: tuple[Ledger, str], view: str, account: Account, reader: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of a view of an account: figures exactly by their texts, all else as texts."""
    ledger, kind = desk
    reader = reader or READERS[kind][0]
    table = f"desk.{view}" if reader == "duckdb" else view
    question = f"SELECT * FROM {table} WHERE server = '{account.name.server}' AND CAST(login AS BIGINT) = {account.name.login}"  # noqa: S608
    rows = _READ[reader](ledger, question)
    return [
        {
            name: Decimal(row[f"{name}_text"]) if row.get(f"{name}_text") is not None else None if value is None else str(value)
            for name, value in row.items()
            if not name.endswith("_text")
        }
        for row in rows
    ]


def _by_sqlite3(ledger: Ledger, question: str) -> list[dict[str, Any]]:
    connection = sqlite3.connect(f"file:{ledger.journal.file()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(question)]
    finally:
        connection.close()


def _url(ledger: Ledger) -> str:
    return str(ledger.journal.engine.url.render_as_string(hide_password=False))  # type: ignore[attr-defined]


def _by_psycopg(ledger: Ledger, question: str) -> list[dict[str, Any]]:
    with bare_postgres(_url(ledger), row_factory=dict_row) as connection:
        return [dict(row) for row in connection.execute(question.encode()).fetchall()]


def _by_duckdb(ledger: Ledger, question: str) -> list[dict[str, Any]]:
    kind = "postgres" if ledger.journal.file() is None else "sqlite"
    files = metadata.files(f"duckdb-extension-{kind}-scanner") or []
    [extension] = [str(one.locate()) for one in files if one.suffix == ".duckdb_extension"]
    where = str(ledger.journal.file() or _url(ledger).replace("+psycopg", ""))
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        connection.execute(f"ATTACH '{where}' AS desk (TYPE {kind}, READ_ONLY)")
        found = connection.execute(question)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


_READ = {"sqlite3": _by_sqlite3, "psycopg": _by_psycopg, "duckdb": _by_duckdb}


def shown(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def framed(table: Any, *names: str) -> list[tuple[Any, ...]]:
    """Return columns of a frame in the words of ``read``."""
    return [tuple(map(_worded, (row[name] for name in names))) for row in table.to_pylist()]


def _worded(value: Any) -> Any:
    if value is None or isinstance(value, Decimal):
        return value
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, datetime) else str(value)


def deals_agree(desk: tuple[Ledger, str], account: Account) -> None:
    """Check that the views have every deal once, with all that is known of it."""
    names = ("deal", "entry", "position_id", "symbol", "volume", "price", *_MONEY, "magic")
    frame = account.deals_frame(library="pyarrow")
    for view, is_trade in (("v_deals", True), ("v_cash", False)):
        expected = [
            row
            for row, (kind,) in zip(framed(frame, *names), framed(frame, "type"), strict=True)
            if (kind in ("buy", "sell")) == is_trade
        ]
        assert sorted(shown(read(desk, view, account), *names), key=str) == sorted(expected, key=str), view


@given(data=st.data())
def test_each_deal_is_shown_once_with_all_that_is_known_of_it(desk, data):
    history = data.draw(histories())
    account = new_account(desk[0], history.mode)
    for record in data.draw(records(history)):
        account.ledger.journal.append(account.name, [record], conflicts="keep")
    deals_agree(desk, account)


@given(drawn=revised_histories(waits=seconds))
def test_what_a_deal_was_revised_to_is_shown(desk, drawn):
    history, events = drawn
    account = new_account(desk[0], history.mode)
    account.record_many(events)
    deals_agree(desk, account)


@pytest.fixture(scope="module")
def busy(desk):
    """An account with every kind of event in it, a symbol of other scales, and what is stored beside events."""
    ledger, _ = desk
    [named] = [event for event in EVENTS if isinstance(event, AccountOpened)]
    account = ledger.account(named.server, named.login)
    account.record(named)
    for event in EVENTS:
        with suppress(LedgerError):  # an example need not fit behind the others
            ledger.journal.append(account.name, [event], conflicts="keep")
    ledger.journal.save_mark(
        account.name, Mark(at_us=1_767_607_200_123_456, balance=Decimal("-0.05"), equity=Decimal(10), server_msc=START_MSC)
    )
    ledger.journal.save_sync_health(
        SyncHealth(
            account=account.name, status="PARTIAL", reason="a break", since_us=1_767_607_200_000_001,
            seen_us=1_767_607_200_000_002,
            verified_us=None, success_us=None, duration_us=5000, interval_us=15_000_000, verified_sec=60.0,
            balance_halts=False, held=(), gateway="tcp://127.0.0.1:5555", host="desk1", pid=7, started_us=1, program="0.1.0",
        )
    )  # fmt: skip
    return account


@pytest.mark.parametrize("reader", [0, 1])
@pytest.mark.parametrize("view", VIEWS)
def test_every_reader_reads_every_view(desk, busy, view, reader):
    first, other = (read(desk, view, busy, READERS[desk[1]][number]) for number in (0, reader))
    order = sorted(first, key=str)
    assert [{name: str(value) for name, value in row.items()} for row in sorted(other, key=str)] == [
        {name: str(value) for name, value in row.items()} for row in order
    ]


def test_events_are_those_of_the_journal(desk, busy):
    names = ("version", "kind", "recorded_at", "deal", "symbol", "side", "entry", "volume", "price", *_MONEY, "magic", "hash")
    frame = busy.events_frame(library="pyarrow")
    rows = sorted(read(desk, "v_events", busy), key=lambda row: int(row["version"]))
    assert shown(rows, *names) == framed(frame, *names)
    assert len({row["kind"] for row in rows}) > 20


def test_an_account_has_its_terms_and_its_head(desk, busy):
    [row] = read(desk, "v_accounts", busy)
    head = busy.journal_head
    assert (row["version"], row["head"], row["clock"]) == (str(head.version), head.hash.hex(), str(busy.terms.clock))
    assert row["recorded_at"].rstrip("Z") == utc_text_us(head.recorded_us).rstrip("Z")


def test_open_breaks_are_those_of_the_portfolio(desk, busy):
    rows = [row for row in read(desk, "v_breaks", busy) if row["closed_at"] is None]
    known = [one for one in busy.portfolio.breaks if one.version is not None]
    assert known
    assert sorted(shown(rows, "version", "kind", "position_id", "ours", "theirs", "sightings")) == sorted(
        (
            str(one.version), one.kind.value, None if one.position_id is None else str(one.position_id), one.ours, one.theirs,
            str(one.confirmations),
        )
        for one in known
    )  # fmt: skip


def test_incidents_begin_and_end_as_they_are_listed(desk, busy):
    listed = [one for one in busy.incidents(since="2000-01-01") if one.kind != "conflict"]
    expected = sorted(
        (one.versions[0], one.kind, None if one.is_open or one.ended_us == one.started_us else utc_text_us(one.ended_us))
        for one in listed
    )
    rows = sorted(
        (int(row["version"]), row["kind"], None if row["ended_at"] is None else utc_text_us(int(row["ended_at_ms"]) * 1000))
        for row in read(desk, "v_incidents", busy)
    )
    assert [(version, kind) for version, kind, _ in rows] == [(version, kind) for version, kind, _ in expected]
    assert [ended is None for *_, ended in rows] == [ended is None for *_, ended in expected]
    assert any(kind == "degraded" and ended is not None for _, kind, ended in rows)


def test_what_is_stored_beside_events_is_shown_exactly(desk, busy):
    [mark] = read(desk, "v_marks", busy)
    assert (mark["time"], mark["balance"], mark["equity"], mark["margin"]) == (
        "2026-01-05T10:00:00.123456Z", Decimal("-0.05"), Decimal(10), None,
    )  # fmt: skip
    [health] = read(desk, "v_sync_health", busy)
    assert (health["status"], health["since"], health["last_verified"], health["interval_ms"]) == (
        "PARTIAL", "2026-01-05T10:00:00.000001Z", None, "15000",
    )  # fmt: skip


def test_every_column_is_documented_where_its_view_is(desk, busy):
    shared, *parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    by_view = {name: part for part in parts for name in re.findall(r"v_\w+", part.partition("\n")[0])}
    assert by_view.keys() == set(VIEWS)
    for view in VIEWS:
        [row, *_] = _READ[READERS[desk[1]][0]](desk[0], f"SELECT * FROM (SELECT 1 AS one) o LEFT JOIN {view} ON 1 = 1")  # noqa: S608
        for column in row.keys() - {"one"}:
            name = re.sub(r"_(text|ms)$", "", column) if column not in ("duration_ms", "interval_ms") else column
            assert f"`{name}`" in shared + by_view[view], (view, column)


@given(history=histories())
def test_what_is_derived_is_what_the_listings_show(desk, history):
    account = new_account(desk[0], history.mode)
    for deal in history.deals:
        account.ledger.journal.append(account.name, [deal], conflicts="keep")
    account.derived.catch_up()
    version = str(account.version)
    for view, frame in (("v_trades", "trades"), ("v_positions", "positions")):
        names: tuple[str, ...] = ("position_id", "symbol", "side", "volume", "price_open", "magic")
        names += ("closed_at", "price_close", *_MONEY) if frame == "trades" else ()
        rows = read(desk, view, account)
        shown_rows = [tuple(_to_seconds(value) for value in row) for row in shown(rows, *names)]
        expected = framed(getattr(account, f"{frame}_frame")(library="pyarrow"), *names)
        assert sorted(shown_rows, key=str) == sorted((tuple(map(_to_seconds, row)) for row in expected), key=str), view
        assert {row["rests_on"] for row in rows} <= {version}
    [balance] = read(desk, "v_balances", account)
    portfolio = account.portfolio
    assert (balance["balance"], balance["credit"], balance["positions"], balance["rests_on"]) == (
        portfolio.balance, portfolio.credit, str(len(portfolio.positions)), version,
    )  # fmt: skip
    days = [row for row in read(desk, "v_balance_curve", account) if row["span_min"] == "1440"]
    assert [row["balance_close"] for row in sorted(days, key=lambda row: int(row["begins_ms"]))][-1:] in (
        [], [portfolio.balance],
    )  # fmt: skip
    assert bool(days) == bool(history.deals)


def _to_seconds(value: Any) -> Any:
    """Return a time without its fraction, which views write with three digits and frames with six."""
    return value[:19] if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value) else value


@pytest.mark.parametrize("units", [0, 1, -1, 10, -10, 12_345_678, -12_345_678, 9 * 10**13 + 1, -9 * 10**13 - 1])
def test_a_figure_is_shown_to_its_last_digit(desk, units):
    account = new_account(desk[0])
    profit = Decimal(units).scaleb(-2)
    account.record(fill(1, profit=profit, time_msc=at(1), price="1.07"))
    [row] = read(desk, "v_deals", account)
    assert row["profit"] == profit


def test_marks_of_any_scale_are_shown_exactly(desk):
    account = new_account(desk[0])
    amounts = [Decimal("1e-18"), Decimal("-123456789.123456789"), Decimal(0), Decimal("5.50")]
    for number, amount in enumerate(amounts):
        desk[0].journal.save_mark(account.name, Mark(at_us=number * 10**12, equity=amount, floating=amount))
    rows = sorted(read(desk, "v_marks", account), key=lambda row: row["time"])
    assert shown(rows, "equity", "floating") == [(amount, amount) for amount in amounts]


_DAMAGES = ("{", "[]", "null", "", '{"currency_digits": "x", "money_scale": 1.5, "order": "x"}')


@pytest.mark.parametrize("kind", DURABLE)
def test_damaged_events_hide_no_other_account(kind, tmp_path):
    """Whichever events of an account they are: each view still shows all that it shows of the others."""
    url = new_url(kind, tmp_path)
    with Ledger.open(url) as ledger:
        desk = ledger, kind
        whole, damaged = (ledger.account("Views", login) for login in (1, 2))
        for account in (whole, damaged):
            account.open(currency="USD", mode="hedging", clock="ny-close", time_msc=START_MSC)
            account.record_many(EVENTS[1:])
            account.derived.catch_up()
        before = {view: read(desk, view, whole) for view in VIEWS}
        assert all(before[view] for view in ("v_accounts", "v_events", "v_breaks", "v_incidents", "v_cash"))
        intruder, statement = Intruder(url), "UPDATE events SET data = ? WHERE data IS NOT NULL AND account_id = ?"
        intruder.disarm()
        for damage in _DAMAGES:
            intruder(statement, damage, account_key(damaged.name))
            assert {view: read(desk, view, whole) for view in VIEWS} == before
            for view in VIEWS:
                read(desk, view, damaged)
