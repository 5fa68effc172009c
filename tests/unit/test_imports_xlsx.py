"""Stories of workbooks: as terminals write them, as users edit them, and as nobody should send them."""

from __future__ import annotations

import io
import struct
import zipfile
from datetime import datetime
from decimal import Decimal

import pytest

from ledger.errors import MalformedExport
from ledger.imports import read_statement
from tests.support.reports import Workbook, joined, reader, saved, xlsx
from tests.unit.test_imports_report import BUY, CLOSED, DEALS, FIGURES, OPEN, ORDER, SELL
from tools.samples.history import make_history, render_html, render_xlsx


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path)


def remade(data, change):
    """A workbook with its parts changed: name -> bytes in, bytes out (None leaves the part out)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            part = change(name, source.read(name))
            if part is not None:
                target.writestr(name, part)
    return buffer.getvalue()


def sheet_changed(data, before, after):
    """A terminal's workbook with a piece of its sheet replaced."""

    def change(name, part):
        if not name.endswith("sheet1.xml"):
            return part
        text = part.decode("utf-16")
        assert before in text
        return text.replace(before, after, 1).encode("utf-16")

    return remade(data, change)


# ----------------------------------------------------------------------------------------------------- as terminals write


@pytest.mark.parametrize("mode", ["hedging", "netting"])
def test_a_workbook_states_what_the_html_of_the_same_account_states(read, mode):
    history = make_history(7, mode, 150)
    assert history.open
    book, page = read(render_xlsx(history)), read(render_html(history))
    assert [(deal.deal, deal.money, deal.balance, deal.order, deal.comment) for deal in book.deals] == [
        (deal.deal, deal.money, deal.balance, deal.order, deal.comment) for deal in page.deals
    ]
    assert (book.balance, book.credit, book.login, book.mode) == (page.balance, page.credit, page.login, page.mode)
    assert [(row.position_id, row.profit) for row in book.closed] == [(row.position_id, row.profit) for row in page.closed]
    assert [(row.ticket, row.swap, row.profit, row.comment) for row in book.open] == [
        (row.ticket, row.swap, row.profit, row.comment) for row in page.open
    ]


def test_parts_in_utf_8_are_read_as_well(read):
    data = render_xlsx(make_history(5, "hedging", 40))
    plain = remade(data, lambda _, part: part.decode("utf-16").encode())
    assert read(plain).deals == read(data).deals


def test_an_encoding_that_is_declared_does_not_hinder(read):
    data = render_xlsx(make_history(5, "hedging", 40))
    declared = remade(
        data, lambda _, part: part.decode("utf-16").replace('"1.0"', '"1.0" encoding="UTF-16"', 1).encode("utf-16")
    )
    assert read(declared).deals == read(data).deals


def test_a_row_is_named_as_the_spreadsheet_counts_it(read):
    data = sheet_changed(render_xlsx(make_history(5, "hedging", 40)), "<v>10000.00</v>", "<v>1e40</v>")
    with pytest.raises(MalformedExport) as refused:
        read(data)
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode("utf-16")
    cell = sheet[: sheet.index("<v>1e40</v>")].rsplit('r="', 1)[1].split('"')[0]
    assert (f"L{refused.value.row}", refused.value.column) == (cell, "profit")
    assert "sheet 'Sheet1'" in str(refused.value)


# --------------------------------------------------------------------------------------------------------- as users edit


def test_sections_may_be_split_over_sheets_in_any_order(read):
    report = read(xlsx({"Orders": ORDER, "Deals": joined("Deals", DEALS), "Positions": joined(CLOSED, OPEN), "Sum": FIGURES}))
    assert (report.login, len(report.deals), len(report.closed), len(report.open)) == (70113, 3, 1, 1)
    assert (report.balance, report.credit) == (Decimal("1009.28"), Decimal(50))


def test_deals_of_several_sheets_are_one_history(read):
    report = read(xlsx({"January": "\n".join(DEALS.split("\n")[:2]), "February": SELL}))
    assert [deal.deal for deal in report.deals] == [101, 102, 103]


def test_a_deal_on_two_sheets_is_refused(read):
    with pytest.raises(MalformedExport, match="sheet 'B': expected every deal once") as refused:
        read(xlsx({"A": DEALS, "B": f"{BUY.replace('| 102 |', '| 104 |')}\n{SELL}"}))
    assert (refused.value.row, refused.value.column) == (2, "deal")


def test_sheets_of_two_accounts_are_refused(read):
    with pytest.raises(MalformedExport, match="70113 and 70114"):
        read(xlsx({"A": DEALS, "B": "Account: | 70114 (USD, Sample-Demo, demo, Hedge)"}))


def test_an_empty_column_before_the_tables_does_not_hinder(read):
    book = Workbook()
    for text in (BUY, SELL):
        cells = [cell.strip() for cell in text.split("|")]
        money = [float(cell) if cell else None for cell in cells[8:13] for cell in [cell.replace(" ", "")]]
        book.active.append([None, cells[0], int(cells[1]), *cells[2:6], float(cells[6]), int(cells[7]), *money, cells[13]])
    assert [deal.balance for deal in read(saved(book)).deals] == [Decimal("999.65"), Decimal("1009.28")]


def test_a_formula_is_never_read_as_its_last_result(read):
    data = render_xlsx(make_history(5, "hedging", 40))
    edited = sheet_changed(data, "<v>10000.00</v>", "<f>5000*2</f><v>10000.00</v>")
    with pytest.raises(MalformedExport, match="the formula '=5000\\*2'"):
        read(edited)
    assert b"<f>SUM" in zipfile.ZipFile(io.BytesIO(data)).read("xl/worksheets/sheet1.xml").decode("utf-16").encode()


def test_times_that_a_spreadsheet_made_dates_are_times(read):
    book = Workbook()
    book.active.append([datetime(2024, 1, 2, 10), 101, None, "balance", *[None] * 4, 0, 0, 0, 1000, 1000, "Deposit"])  # noqa: DTZ001
    assert read(saved(book)).deals[0].time_msc == 1704189600000


# ------------------------------------------------------------------------------------------------------- what is refused


def test_a_ticket_that_a_double_cannot_hold_is_refused(read):
    edited = sheet_changed(render_xlsx(make_history(5, "hedging", 40)), "<v>1200", "<v>900719925474099312")
    with pytest.raises(MalformedExport, match=r"above 2\^53 .* as HTML"):
        read(edited)


def test_a_workbook_that_is_cut_off_anywhere_is_refused(read):
    data = render_xlsx(make_history(5, "hedging", 20))
    for length in [*range(4, len(data), 97), len(data) - 1]:
        with pytest.raises(MalformedExport):
            read(data[:length])


def test_an_absurd_size_is_refused_before_it_is_unpacked(read):
    data = bytearray(render_xlsx(make_history(5, "hedging", 20)))
    entry = data.index(b"PK\x01\x02", data.rindex(b"xl/worksheets/sheet1.xml") - 60)
    data[entry + 24 : entry + 28] = struct.pack("<I", 3 * 2**30)  # the size that the directory states
    with pytest.raises(MalformedExport, match="once unpacked"):
        read(bytes(data))


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="XFD5"><v>1</v></c><c r="A1048576"><v>1</v></c>',
        '<c r="A99999999999"><v>1</v></c>',
        "<c r='AAAA1'><v>1</v></c><c r = 'A999999'><v>1</v></c>",
        "<c><v>1</v></c>" * 30_000,
    ],
)
def test_cells_far_away_do_not_fill_the_memory(read, cell):
    edited = sheet_changed(render_xlsx(make_history(5, "hedging", 1000)), "</sheetData>", f"<row>{cell}</row></sheetData>")
    with pytest.raises(MalformedExport, match="stray cells"):
        read(edited)


def test_cells_a_little_beside_the_report_do_no_harm(read):
    data = render_xlsx(make_history(5, "hedging", 40))
    edited = sheet_changed(data, "</sheetData>", '<row r="900"><c r="AC900"><v>1</v></c></row></sheetData>')
    assert read(edited).deals == read(data).deals


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("xl/worksheets/sheet1.xml", "cannot be read"),
        ("xl/workbook.xml", "no table of a report"),
        ("xl/", "another kind of zip"),
    ],
)
def test_a_workbook_without_one_of_its_parts_is_refused(read, name, message):
    data = render_xlsx(make_history(5, "hedging", 20))
    with pytest.raises(MalformedExport, match=message):
        read(remade(data, lambda part, content: None if part.startswith(name) else content))


def test_a_text_that_is_missing_from_its_list_is_refused(read):
    data = render_xlsx(make_history(5, "hedging", 20))
    with pytest.raises(MalformedExport, match="cannot be read"):
        read(sheet_changed(data, 't="s"><v>1</v>', 't="s"><v>99999</v>'))


def test_half_a_character_at_the_end_of_a_part_is_refused(read):
    data = render_xlsx(make_history(5, "hedging", 20))
    with pytest.raises(MalformedExport, match="cannot be read"):
        read(remade(data, lambda _, part: part[:-1]))


def test_a_file_is_known_by_its_content_not_by_its_name(tmp_path):
    path = tmp_path / "deals.csv"
    path.write_bytes(render_xlsx(make_history(5, "hedging", 20)))
    assert read_statement(str(path)).kind == "report"
    assert read_statement(path).file == str(path)
