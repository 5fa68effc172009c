"""Listings as CSV: what a spreadsheet, ``csv`` and a database read of them is what the JSON output has."""

from __future__ import annotations

import csv
import io
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.cli.csv_output import TEXTS, csv_cell, print_csv
from ledger.cli.output import print_json, print_json_list, print_long_table
from ledger.text import visible

ACCOUNT = {"server": "Broker-Live", "login": 70113, "currency": "USD", "mode": "hedging"}


def printed(do, *arguments, **more) -> bytes:
    before, raw = sys.stdout, io.BytesIO()
    sys.stdout = io.TextIOWrapper(raw, encoding="latin-1", errors="backslashreplace", newline="")
    try:
        do(*arguments, **more)
        sys.stdout.flush()
        return raw.getvalue()
    finally:
        sys.stdout = before


def cells_of(raw: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(raw.decode("utf-8"), newline="")))


def test_rows_have_the_account_its_currency_and_the_named_columns_only():
    row = {"account": ACCOUNT, "balance": "-4.20", "cash": {"bonus": "1.00"}, "left": "out"}
    raw = printed(print_csv, ["account", "currency", "balance", "cash.bonus", "cash.charge"], [row])
    assert raw == b"account,currency,balance,cash_bonus,cash_charge\r\nBroker-Live/70113,USD,-4.20,1.00,\r\n"


def test_a_listing_of_nothing_has_a_header():
    assert printed(print_csv, ["account", "symbol"], []) == b"account,symbol\r\n"


def test_it_is_utf_8_whatever_the_terminal_encodes():
    assert printed(print_csv, ["symbol"], [{"symbol": "日経225"}]) == "symbol\r\n日経225\r\n".encode()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""), (True, "true"), (7, "7"), ("-4.20", "-4.20"), ("0.10", "0.10"), (Decimal("1E+2"), "100"), ("=1+1", "'=1+1"),
        ("+49 170", "'+49 170"), ("+5", "'+5"), ("-x", "'-x"), ("@a", "'@a"), ("2026-06-15T12:00:00Z", "2026-06-15T12:00:00Z"),
        ([1, 2], "1 2"), (["=a", "b"], "'=a b"), ({"a": "=b"}, '{"a": "=b"}'),
    ],
)  # fmt: skip
def test_a_cell_is_the_json_value(value, cell):
    assert csv_cell(value) == cell


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_words_that_look_like_a_negative_number_are_quoted_in_columns_of_words(name):
    assert cells_of(printed(print_csv, [name], [{name: "-5"}]))[1] == ["'-5"]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_a_spreadsheet_runs_no_text_and_a_program_reads_it_back(texts):
    rows = cells_of(printed(print_csv, ["comment"], [{"comment": one} for one in texts]))[1:]
    assert [cell for row in rows for cell in row or [""]] == [
        f"'{shown}" if shown.lstrip("'")[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20") else shown
        for shown in map(visible, texts)
    ]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=5)), max_size=4))
def test_a_list_printed_piece_by_piece_is_the_list(values):
    assert printed(print_json_list, iter(values)) == printed(print_json, values)


def test_a_long_table_is_read_row_by_row_and_grows_where_it_has_to(monkeypatch):
    monkeypatch.setattr("ledger.cli.output._FIRST_ROWS", 2)
    rows = [["1", "a"], ["22", "b"], ["333333", "c"], ["4", "d"]]
    lines = printed(print_long_table, "things", [">n", "name"], iter(rows), empty="none").decode().splitlines()
    assert lines == ["things", " n  name", " 1  a", "22  b", "333333  c", "     4  d", ""]
