"""Stories of dumps of ``history_deals_get``, as scripts write them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest

from ledger.errors import MalformedExport
from ledger.imports import attribute
from ledger.values import Entry, MarginMode
from tests.support.reports import Workbook, reader, saved
from tools.samples.history import make_history, render_csv

HEADER = (
    "ticket,order,time,time_msc,type,entry,magic,position_id,reason,volume,price,commission,swap,profit,fee,symbol,comment,"
    "external_id"
)
CASH = "501,0,1704189600,1704189600123,2,0,0,0,0,0.0,0.0,0.0,0.0,1000.0,0.0,,Deposit,"
BUY = "502,601,1704189605,1704189605456,0,0,-7,601,3,0.1,1.1,-0.35,0.0,0.0,0.0,EURUSD,EA,x1"
SELL = "503,602,1704193205,1704193205789,1,1,0,601,4,0.1,1.101,-0.35,-0.02,-1.8900000000000001,0.0,EURUSD,[sl 1.101],"
DUMP = f"{HEADER}\n{CASH}\n{BUY}\n{SELL}\n"


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path)


def test_a_dump_is_read_by_field_names(read):
    dump = read(DUMP)
    assert (dump.kind, dump.server, dump.login, dump.closed, dump.open, dump.opening) == ("dump", None, None, None, None, None)
    deal = dump.deals[1]
    assert (deal.row, deal.deal, deal.order, deal.time_msc) == (3, 502, 601, 1704189605456)
    assert (deal.type, deal.entry, deal.symbol, deal.volume, deal.price) == (
        0,
        Entry.IN,
        "EURUSD",
        Decimal("0.1"),
        Decimal("1.1"),
    )
    assert (deal.position_id, deal.magic, deal.reason) == (601, -7, 3)
    assert (deal.comment, deal.external_id, deal.balance) == ("EA", "x1", None)
    assert dump.deals[2].profit == Decimal("-1.8900000000000001")


def test_money_that_is_no_trade_has_no_position(read):
    cash = read(DUMP).deals[0]
    assert (cash.type, cash.order, cash.position_id, cash.symbol) == (2, None, None, None)
    assert (cash.entry, cash.volume, cash.price) == (None, None, None)


def test_a_dump_reports_its_positions_itself(read):
    assert attribute(read(DUMP), MarginMode.HEDGING).position_ids == (None, 601, 601)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiter_and_encoding_are_found_out(read, delimiter, encoding):
    assert read(DUMP.replace(",", delimiter).encode(encoding)).deals == read(DUMP).deals


def columns_without(names, text=DUMP):
    header = text.split("\n")[0].split(",")
    others = [index for index, name in enumerate(header) if name not in names]
    return "\n".join(",".join(line.split(",")[index] for index in others) for line in text.strip().split("\n"))


def test_what_a_dump_lacks_is_unknown_not_zero(read):
    deal = read(columns_without({"commission", "fee", "swap", "magic", "reason", "comment", "external_id", "order"})).deals[1]
    assert (deal.commission, deal.fee, deal.swap, deal.magic, deal.reason, deal.comment, deal.order) == (None,) * 7


def test_an_empty_cell_is_unknown_too(read):
    deal = read(DUMP.replace("-0.35,0.0,0.0,0.0,EURUSD,EA,x1", ",nan,0.0,None,EURUSD,,")).deals[1]
    assert (deal.commission, deal.swap, deal.fee, deal.comment) == (None, None, None, None)


@pytest.mark.parametrize("name", ["ticket", "type", "entry", "symbol", "volume", "price", "profit", "position_id"])
def test_a_column_that_is_missing_is_named(read, name):
    with pytest.raises(MalformedExport, match=f"without {name}") as refused:
        read(columns_without({name}))
    assert refused.value.row == 1


def test_every_missing_column_is_named(read):
    with pytest.raises(MalformedExport, match="without time or time_msc, entry, position_id"):
        read(columns_without({"time", "time_msc", "entry", "position_id"}))


@pytest.mark.parametrize(
    ("written", "time_msc"),
    [
        ("1704189600", 1704189600000),
        ("1704189600.0", 1704189600000),
        ("2024-01-02 10:00:00", 1704189600000),
        ("2024-01-02T10:00:00.250", 1704189600250),
        ("2024-01-02 10:00:00+00:00", 1704189600000),
        ("2024.01.02 10:00:00", 1704189600000),
    ],
)
def test_times_come_as_seconds_or_as_text(read, written, time_msc):
    assert read(columns_without({"time_msc"}).replace("1704189600", written, 1)).deals[0].time_msc == time_msc


def test_milliseconds_are_preferred_where_there_are_any(read):
    assert read(DUMP.replace("1704189600123", "0")).deals[0].time_msc == 1704189600000
    assert read(columns_without({"time"})).deals[0].time_msc == 1704189600123


@pytest.mark.parametrize(("written", "stored"), [("2", (2, None)), ("balance", (2, None)), ("DEAL_TYPE_CREDIT", (3, None))])
def test_types_come_as_codes_or_words(read, written, stored):
    cash = read(DUMP.replace("1704189600123,2,", f"1704189600123,{written},")).deals[0]
    assert (cash.type, cash.word) == stored
    assert read(DUMP.replace("1704189600123,2,", "1704189600123,77,")).deals[0].type == 77
    assert read(DUMP.replace("1704189600123,2,", "1704189600123,zeroing,")).deals[0].word == "zeroing"


@pytest.mark.parametrize(
    ("written", "entry"),
    [("1", Entry.OUT), ("out", Entry.OUT), ("DEAL_ENTRY_OUT_BY", Entry.OUT_BY), ("inout", Entry.IN_OUT), ("9", 9)],
)
def test_entries_come_as_codes_or_words(read, written, entry):
    assert read(DUMP.replace("1704193205789,1,1,", f"1704193205789,1,{written},")).deals[2].entry == entry


def test_an_index_column_and_extra_columns_are_let_pass(read):
    lines = DUMP.strip().split("\n")
    more = "\n".join(
        f"{'' if number == 0 else number - 1},{line},{'total' if number == 0 else 9}" for number, line in enumerate(lines)
    )
    assert read(more).deals == read(DUMP).deals


def test_empty_lines_are_let_pass_and_counted(read):
    assert [deal.row for deal in read(DUMP.replace(BUY, f"\n{BUY}")).deals] == [2, 4, 5]


def test_a_dump_may_be_a_sheet_of_a_workbook(read):
    book = Workbook()
    book.active.append(["notes"])
    sheet = book.create_sheet("deals")
    for line in DUMP.strip().split("\n"):
        sheet.append([float(cell) if cell.lstrip("-").replace(".", "").isdigit() else cell for cell in line.split(",")])
    sheet["C2"], sheet["D2"] = datetime(2024, 1, 2, 10), None  # noqa: DTZ001
    deals, expected = read(saved(book)).deals, read(DUMP.replace("-1.8900000000000001", "-1.89")).deals
    assert deals[1:] == expected[1:]
    assert deals[0].time_msc == 1704189600000


def test_a_generated_dump_has_the_simulated_deals(read):
    history = make_history(3, "hedging", 120)
    dump = read(render_csv(history))
    assert [(d.deal, d.time_msc, d.money, d.position_id or 0) for d in dump.deals] == [
        (deal.ticket, deal.time_msc, deal.money, deal.position_id) for deal in history.deals
    ]


# ------------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("before", "after", "row", "column", "message"),
    [
        ("502,601,", "x,601,", 3, "ticket", "expected a ticket"),
        ("502,601,", "501,601,", 3, "ticket", "deal 501 in row 2 already"),
        ("502,601,", "502,6.5,", 3, "order", "expected a ticket"),
        ("502,601,", "9007199254740993.0,601,", 3, "ticket", "above 2^53"),
        ("1704189605456", "1704189605", 3, "time_msc", "expected milliseconds"),
        ("1704189605,1704189605456", "1704189605456,0", 3, "time", "belong into a column time_msc"),
        ("1704189605,1704189605456", "2024-01-02 10:00:05+02:00,", 3, "time", "expected a time"),
        ("456,0,0,-7", "456,-1,0,-7", 3, "type", "expected a deal type"),
        ("456,0,0,-7", "456,,0,-7", 3, "type", "found nothing"),
        ("456,0,0,-7", "456,0,sideways,-7", 3, "entry", "expected an entry"),
        ("456,0,0,-7", "456,0,,-7", 3, "entry", "expected an entry"),
        ("-7,601,3", "1.5,601,3", 3, "magic", "expected a whole number"),
        ("-7,601,3", "-7,six,3", 3, "position_id", "expected a ticket"),
        ("-7,601,3", "-7,601,-3", 3, "reason", "expected a reason"),
        ("3,0.1,1.1", "3,0.0,1.1", 3, "volume", "above 0"),
        ("3,0.1,1.1", "3,0.1,", 3, "price", "expected a number"),
        ("-0.35,0.0,0.0,0.0,EURUSD,EA", "-0.35,0.0,,0.0,EURUSD,EA", 3, "profit", "expected a number"),
        ("-0.35,0.0,0.0,0.0,EURUSD,EA", "-0.35,0.0,inf,0.0,EURUSD,EA", 3, "profit", "expected a number"),
        ("EURUSD,EA", ",EA", 3, "symbol", "expected a symbol"),
        ("EURUSD,EA", "EURUSD,\x00", 3, "comment", "no text may hold"),
        ("EURUSD,EA", "EURUSD,one,two", 3, None, "expected 18 cells as in the header, found 19"),
        (",[sl 1.101],", "", 4, None, "found 16"),
        ("EURUSD,EA", 'EURUSD,"EA', 3, None, "cannot be split"),
        ("ticket,order", "ticket,ticket", 1, "ticket", "'ticket' 2 times"),
    ],
)
def test_a_damaged_row_is_named_and_refuses_the_file(read, before, after, row, column, message):
    assert before in DUMP
    with pytest.raises(MalformedExport) as refused:
        read(DUMP.replace(before, after, 1))
    assert message in str(refused.value)
    assert (refused.value.row, refused.value.column) == (row, column)


def test_orders_and_positions_are_refused_as_what_they_are(read):
    orders = "ticket,time_setup,time_done,type,state,volume_initial,volume_current,price_open,symbol\n"
    with pytest.raises(MalformedExport, match=r"a dump of orders \(history_orders_get\)"):
        read(orders + "1,2,3,0,4,0.1,0.0,1.1,EURUSD\n")
    positions = ",ticket,time,type,identifier,volume,price_open,sl,tp,price_current,swap,profit,symbol\n"
    with pytest.raises(MalformedExport, match=r"a dump of positions \(positions_get\)"):
        read(positions + "0,1,2024-01-02 10:00:00,0,1,0.1,1.1,0,0,1.2,0,5,EURUSD\n")


def test_a_dump_without_rows_states_that_there_are_no_deals(read):
    assert read(HEADER + "\n").deals == ()


def test_a_deal_on_two_sheets_is_refused_even_in_the_same_row(read):
    book = Workbook()
    for sheet in (book.worksheets[0], book.create_sheet("again")):
        for line in DUMP.strip().split("\n"):
            sheet.append(line.split(","))
    with pytest.raises(MalformedExport, match="deal 501 in row 2 already"):
        read(saved(book))
