"""Frames: the types of their columns, several accounts, and what is said where something is missing."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow.parquet import read_table

from ledger import BadValue, FillRecorded, JournalUnavailable, Ledger, SymbolSpecified
from ledger.frames import Rows, frame
from ledger.frames.export import CONTENTS, export_rows
from ledger.marks import Mark

MSC = 1_767_607_200_000  # 2026-01-05T10:00:00
IDS = ("login", "position_id", "ticket")


@pytest.fixture
def ledger():
    return Ledger.open("memory://")


def fill(deal: int, entry: str, side: str, **fields):
    known: dict[str, Any] = {"commission": "-0.07", "fee": 0, "swap": 0, "profit": "1.25" if entry == "out" else 0}
    return FillRecorded(
        deal=deal, position_id=fields.pop("position_id", 7), symbol=fields.pop("symbol", "EURUSD"), side=side, entry=entry,
        volume=fields.pop("volume", "0.10"), price=fields.pop("price", "1.07"), time_msc=MSC + deal * 1000, **known | fields,
    )  # fmt: skip


def traded(ledger, login=1, currency="USD", **fields):
    account = ledger.account("Demo", login)
    account.open(currency=currency, mode="hedging", clock="+02:00")
    account.record(fill(1, "in", "buy", **fields))
    account.record(fill(2, "out", "sell", **fields))
    return account


def test_ids_are_whole_numbers_money_is_decimal_and_times_have_a_zone(ledger):
    traded(ledger).record(fill(3, "out", "sell", position_id=None))
    frame = ledger.trades_frame()
    assert {str(frame[name].dtype) for name in IDS} == {"int64[pyarrow]"}
    assert str(frame["magic"].dtype) == "uint64[pyarrow]"
    assert frame["position_id"].isna().tolist() == [False, True]
    assert frame["profit"].tolist()[0] == Decimal("1.25")
    assert pa.types.is_decimal(frame["profit"].dtype.pyarrow_dtype)
    assert frame["closed_at"][0] == pd.Timestamp("2026-01-05T08:00:02Z")
    assert str(frame["closed_at"].dtype.pyarrow_dtype) == "timestamp[us, tz=UTC]"


def test_polars_has_the_same_types(ledger):
    traded(ledger)
    frame = ledger.trades_frame(library="polars")
    assert isinstance(frame, pl.DataFrame)
    assert frame["position_id"].dtype == pl.Int64
    assert frame["profit"].dtype == pl.Decimal(19, 6)
    assert frame["closed_at"].dtype == pl.Datetime("us", "UTC")


def test_floats_are_given_where_they_are_asked_for_only(ledger):
    traded(ledger)
    assert ledger.trades_frame(floats=True, library="pyarrow")["profit"].to_pylist() == [1.25]
    assert ledger.deals_frame(floats=True, library="pyarrow").schema.field("deal").type == pa.int64()


def test_symbols_of_other_scales_share_a_column_exactly(ledger):
    account = traded(ledger)
    account.record(SymbolSpecified(symbol="SHIB", price_scale=12, volume_scale=2, time_msc=MSC))
    account.record(fill(4, "in", "buy", position_id=9, symbol="SHIB", volume="12345678901", price="0.000000012345"))
    shown = ledger.positions_frame(library="pyarrow").to_pylist()
    assert [(row["symbol"], row["volume"], row["price_open"]) for row in shown] == [
        ("SHIB", Decimal(12345678901), Decimal("0.000000012345"))
    ]
    deals = ledger.deals_frame(library="pyarrow").to_pylist()
    assert [row["price"] for row in deals] == [Decimal("1.07"), Decimal("1.07"), Decimal("0.000000012345")]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_columns_of_money_add_up_in_every_library(ledger, library):
    traded(ledger)
    frame = ledger.trades_frame(library=library)
    if library == "pyarrow":
        net = pc.add(pc.add(frame["profit"], frame["commission"]), pc.add(frame["swap"], frame["fee"])).to_pylist()
    else:
        net = list(frame["profit"] + frame["commission"] + frame["swap"] + frame["fee"])
    assert net == [Decimal("1.11")]


def test_accounts_follow_one_another_with_their_currency(ledger):
    traded(ledger, 1), traded(ledger, 2, "JPY", magic=2**64 - 1)
    frame = ledger.trades_frame(library="pyarrow").to_pylist()
    assert [(row["login"], row["currency"], row["magic"]) for row in frame] == [(1, "USD", None), (2, "JPY", 2**64 - 1)]
    assert ledger.trades_frame(library="pyarrow", magics=[2**64 - 1]).num_rows == 1
    assert ledger.trades_frame([ledger.account("Demo", 1)], library="pyarrow").num_rows == 1


def test_a_period_is_by_the_close_of_a_trade_and_its_end_belongs_to_it(ledger):
    traded(ledger)
    close = datetime(2026, 1, 5, 8, 0, 2, tzinfo=UTC)
    for since, until, rows in (
        (close, None, 1), (None, close, 1), ("2026-01-05T08:00:03Z", None, 0), (None, "2026-01-05T08:00:01Z", 0),
        ("2026-01-05", "2026-01-05", 1), ("2026-01-06", None, 0),
    ):  # fmt: skip
        assert ledger.trades_frame(since=since, until=until, library="pyarrow").num_rows == rows, (since, until)


def test_equity_is_sample_by_sample_and_unknown_is_null(ledger):
    account = traded(ledger)
    ledger.journal.save_mark(account.name, Mark(at_us=MSC * 1000, balance=Decimal(100), equity=Decimal("99.5")))
    [row] = account.equity_frame(library="pyarrow").to_pylist()
    assert (row["balance"], row["equity"], row["floating"], row["reported"]) == (Decimal(100), Decimal("99.5"), None, False)


def test_an_empty_journal_makes_frames_with_columns_and_no_rows(ledger):
    for name in ("trades", "deals", "positions", "events", "equity"):
        frame = getattr(ledger, f"{name}_frame")()
        assert (len(frame), "login" in frame.columns) == (0, True)


def test_what_is_wrong_is_said(ledger, monkeypatch):
    with pytest.raises(BadValue, match="expected a library of pandas, polars, pyarrow, found 'dask'"):
        ledger.trades_frame(library="dask")
    for options in ({"symbols": "EURUSD"}, {"magics": ["7"]}, {"since": datetime(2026, 1, 1)}, {"until": 5}):  # noqa: DTZ001
        with pytest.raises(BadValue):
            ledger.trades_frame(**options)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(JournalUnavailable, match=r"pip install 'mt5-position-ledger\[polars\]'"):
        ledger.trades_frame(library="polars")


def test_an_export_has_the_rows_of_its_frame_and_is_replaced_by_the_next(ledger, tmp_path):
    traded(ledger, 1), traded(ledger, 2, "JPY", symbol="=cmd()")
    for what in CONTENTS:
        expected = frame(what, ledger.accounts(), library="pyarrow")
        for _ in range(2):  # the second takes the place of the first without being forced
            file = tmp_path / f"{what}.parquet"
            assert export_rows(Rows(what, ledger.accounts()), ledger.journal, file, "parquet", force=False) == len(expected)
            assert read_table(file).equals(expected)
    file = tmp_path / "trades.csv"
    export_rows(Rows("trades", ledger.accounts()), ledger.journal, file, "csv")
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert [(row["symbol"], row["currency"], row["profit"], row["magic"], row["complete"]) for row in rows] == [
        ("EURUSD", "USD", "1.25", "", "true"), ("'=cmd()", "JPY", "1.25", "", "true"),
    ]  # fmt: skip
    assert rows[0]["closed_at"] == "2026-01-05T08:00:02.000000Z"
    (tmp_path / "mine.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(BadValue, match="was not made by this command"):
        export_rows(Rows("trades", ledger.accounts()), ledger.journal, tmp_path / "mine.csv", "csv", force=False)
    with pytest.raises(BadValue, match="JSON lines are of events only"):
        export_rows(Rows("trades", []), ledger.journal, tmp_path / "x.jsonl", "jsonl")
