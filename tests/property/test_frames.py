"""Frames have the rows and figures of the JSON output, whatever library they are made for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ledger import FillRecorded
from ledger.clock import utc_text_us
from ledger.frames.rows import Asked, is_derived
from ledger.json_views import account_json, log_json, position_json, trade_json
from tests.property.test_fold import recorded
from tests.support.strategies import histories, records

_LIBRARIES = ("pyarrow", "polars", "pandas")


def rows_of(frame) -> list[dict[str, Any]]:
    """Return a frame as rows in words of the JSON output: decimals and times as text, nothing where nothing is known."""
    if isinstance(frame, pa.Table):
        rows = frame.to_pylist()
    elif isinstance(frame, pl.DataFrame):
        rows = frame.to_dicts()
    else:
        assert all(isinstance(kind, pd.ArrowDtype) for kind in frame.dtypes)
        rows = pa.Table.from_pandas(frame, preserve_index=False).to_pylist()
    return [{name: _worded(value) for name, value in row.items()} for row in rows]


def _worded(value):
    if isinstance(value, Decimal):
        return value
    return utc_text_us(int(value.timestamp() * 1_000_000)) if hasattr(value, "timestamp") else value


def json_rows(items, terms, frame_rows) -> list[dict[str, Any]]:
    """Return what the JSON output has, in the form of ``rows_of``: figures as numbers, times with microseconds."""
    named = {name: value for name, value in account_json(terms).items() if name != "mode"}
    return [
        named | {name: _as_shown(value, frame_rows[number].get(name)) for name, value in item.items() if name != "account"}
        for number, item in enumerate(items)
    ]


def _as_shown(value, shown):
    if isinstance(shown, Decimal):
        return Decimal(value)
    return utc_text_us(int(pd.Timestamp(value).value // 1000)) if isinstance(value, str) and value.endswith("Z") else value


@given(histories(), st.sampled_from(_LIBRARIES))
def test_trades_and_positions_are_those_of_the_listings(history, library):
    account = recorded(history.deals, history.mode)
    terms = account.terms
    shown = rows_of(account.trades_frame(library=library))
    assert shown == json_rows([trade_json(one, terms) for one in account.trades()], terms, shown)
    held = rows_of(account.positions_frame(library=library))
    positions = account.portfolio.positions.values()
    assert held == json_rows([position_json(one, terms.clock) for one in positions], terms, held)


@given(st.data())
def test_every_event_and_every_deal_is_a_row(data):
    history = data.draw(histories())
    account = recorded(data.draw(records(history)), history.mode)
    terms = account.terms
    events = rows_of(account.events_frame(library="pyarrow"))
    listed = [log_json(one, terms) for one in account.events()]
    for name in ("version", "kind", "deal", "natural_key", "caused_by", "correlation", "evidence"):
        assert [row[name] for row in events] == [item[name] for item in listed]
    assert [row["event_time"] for row in events] == [_as_shown(item["event_time"], None) for item in listed]
    deals = rows_of(account.deals_frame(library="pyarrow"))
    totals = account.portfolio.totals
    assert len(deals) == totals.deals
    trades = [row for row in deals if row["type"] in ("buy", "sell")]
    for name in ("commission", "fee", "swap", "profit"):
        assert sum(row[name] or 0 for row in trades) == getattr(totals, name)
    shown = {row["deal"]: row for row in trades}
    for event in (one.event for one in account.events() if isinstance(one.event, FillRecorded)):
        row = shown[event.deal]
        assert (row["volume"], row["price"], row["symbol"]) == (event.volume, event.price, event.symbol)


@given(histories(), st.data())
def test_filters_leave_out_rows_and_nothing_else(history, data):
    account = recorded(history.deals, history.mode)
    everything = account.trades_frame(library="pyarrow").to_pylist()
    symbols = data.draw(st.sets(st.sampled_from(sorted({row["symbol"] for row in everything}) or ["EURUSD"])))
    moments = sorted(row["closed_at"] for row in everything)
    since = data.draw(st.none() | st.sampled_from(moments)) if moments else None
    shown = account.trades_frame(library="pyarrow", symbols=symbols, since=since).to_pylist()
    assert shown == [row for row in everything if row["symbol"] in symbols and (since is None or row["closed_at"] >= since)]


@given(history=histories(), data=st.data())
def test_trades_read_from_derived_tables_are_those_that_are_folded(history, data):
    account = recorded(history.deals, history.mode)
    since = data.draw(st.none() | st.sampled_from(["2026-01-05T10:00:00Z", "2026-01-06"]))
    magics = data.draw(st.none() | st.sets(st.integers(0, 2)))
    folded = account.trades_frame(library="pyarrow", since=since, magics=magics)
    account.derived.catch_up()
    assert is_derived(account, Asked.of())
    assert account.trades_frame(library="pyarrow", since=since, magics=magics).equals(folded)
    assert account.trades_frame(library="pyarrow", known_at="2100-01-01").num_rows == len(list(account.trades()))
