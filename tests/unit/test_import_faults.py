"""Stories of small files that once failed, each with the figures that the broker itself gives.

The files in ``tests/support/exports`` were made for this project in the format of a real export that failed.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from ledger import AccountId, Ledger
from ledger.errors import MalformedExport
from ledger.importer import ImportOptions, import_files

FOLDER = Path(__file__).resolve().parents[1] / "support" / "exports"
ACCOUNT = AccountId("Tester", 1)

#: file -> deals, final balance, rows of the Balance column, open positions as (position id, signed lots)
RIGHT = {
    "tester_same_second_closes.csv": (7, "2980.05", 7, []),
    "a_profit_decides.csv": (5, "3009.33", 5, []),
    "b_then_single.csv": (7, "3007.33", 7, []),
    "c_identical.csv": (5, "3001.86", 5, []),
    "d_hedged.csv": (5, "2995.53", 5, []),
    "e_volumes.csv": (5, "3004.53", 5, []),
    "excel_csv_negative_blank.csv": (3, "5003.28", 3, []),
    "xlsx_text_negative_blank.xlsx": (3, "969.88", 3, []),
    "deals_table_only.csv": (3, "1003550", 2, []),
    "deals_table_titled_control.csv": (3, "1003550", 2, []),
    "cut_header_onesheet.xlsx": (3, "969.88", 3, []),
    "cut_header_sheets.xlsx": (3, "969.88", 3, []),
    "cut_header_dealsonly.xlsx": (3, "969.88", 3, []),
    "cut_header_titlekept_control.xlsx": (3, "969.88", 3, []),
    "tester_rows_not_in_time_order.csv": (5, "10001.22", 5, []),
    "tester_same_second_rows_swapped.csv": (5, "1007.00", 5, []),
    "utf16_odd_tail.html": (1, "1000.00", 1, []),
    "utf16_even_control.html": (1, "1000.00", 1, []),
    "tester2016_no_seconds.csv": (3, "9941.18", 3, []),
    "open_table_says_closed.html": (6, "11325.69", 6, [(106, "1.00")]),
}
NETS = {"deals_table_only.csv", "deals_table_titled_control.csv"}
NAMED = {"excel_csv_negative_blank.csv", "xlsx_text_negative_blank.xlsx"}  # their account line says whose they are


def imported(ledger, name):
    options = ImportOptions(mode="netting" if name in NETS else "hedging", currency=None if name.endswith("html") else "USD")
    if name not in NAMED and not name.endswith("html"):
        options = ImportOptions(account=ACCOUNT, mode=options.mode, currency="USD")
    (report,) = import_files(ledger, [FOLDER / name], options=options)
    return report


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_a_file_that_failed_gives_what_its_broker_states(name):
    deals, balance, rows, still_open = RIGHT[name]
    with Ledger.open("memory://") as ledger:
        report = imported(ledger, name)
        portfolio = ledger.account(report.account).portfolio
    assert (report.agrees, report.unattributed, report.appended) == (True, 0, deals)
    assert portfolio.balance == Decimal(balance)
    assert next(check.agreed for check in report.checks if check.name == "balance column") == rows
    assert [(one.position_id, one.volume) for one in portfolio.positions.values()] == [
        (position_id, Decimal(volume)) for position_id, volume in still_open
    ]
    assert portfolio.unexplained == ()


@pytest.mark.parametrize(
    ("name", "trades"),
    [
        ("tester_same_second_closes.csv", [(2, "0.93"), (3, "5.40"), (6, "-26.28")]),
        ("a_profit_decides.csv", [(2, "0.93"), (3, "8.40")]),
        ("open_table_says_closed.html", [(102, "644.49"), (103, "681.20")]),
    ],
)
def test_the_profit_states_which_position_was_closed(name, trades):
    with Ledger.open("memory://") as ledger:
        account = ledger.account(imported(ledger, name).account)
        closed = sorted((trade.position_id, trade.profit) for trade in account.trades())
    assert closed == [(position_id, Decimal(profit)) for position_id, profit in trades]


def test_a_mistyped_figure_still_refuses_the_file():
    with Ledger.open("memory://") as ledger, pytest.raises(MalformedExport, match=r"'5 0032\.8'") as refused:
        imported(ledger, "edited_balance_report.csv")
    assert (refused.value.row, refused.value.column) == (14, "balance")


def written(folder, name, *changes):
    """A file that names its account, with some words of it changed."""
    text = (FOLDER / "excel_csv_negative_blank.csv").read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    (folder / name).write_text(text, "utf-8")
    return folder / name


TOO_FINE = ("4 186.14", "4186.123456789012")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_number_that_does_not_fit_is_named_by_its_row_and_nothing_is_recorded(kind, tmp_path):
    """Of one account the append finds it; of several it is found before anything is recorded."""
    whole = written(tmp_path, "whole.csv", ("70113", "70112"))
    finer = written(tmp_path, "finer.csv", TOO_FINE)
    url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/new.db"
    with Ledger.open(url) if kind == "memory" else Ledger.create(url) as ledger:
        for files in ([finer], [whole, finer], [finer, whole]):
            with pytest.raises(MalformedExport, match="at most 8 decimals can be stored") as refused:
                import_files(ledger, files)
            assert (refused.value.file, refused.value.row, refused.value.column) == (str(finer), 7, "price")
            assert ledger.accounts() == []
        (report,) = import_files(ledger, [whole])
        assert report.agrees
