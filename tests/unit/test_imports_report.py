"""Stories of terminal and tester reports, written manually."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest

from ledger.errors import LedgerError, MalformedExport
from ledger.imports import read_statement
from ledger.values import Entry, MarginMode, Side
from tests.support.reports import html, joined, reader, xlsx
from tools.samples.history import LANGUAGES, LOGIN, SERVER, make_history, render_html

DEPOSIT = "2024.01.02 10:00:00 | 101 | | balance | | | | | 0.00 | 0.00 | 0.00 | 1 000.00 | 1 000.00 | Deposit"
BUY = "2024.01.02 10:00:05 | 102 | EURUSD | buy | in | 0.10 | 1.10000 | 201 | -0.35 | 0.00 | 0.00 | 0.00 | 999.65 | EA"
SELL = "2024.01.02 11:00:05 | 103 | EURUSD | sell | out | 0.10 | 1.10100 | 202 | -0.35 | 0.00 | -0.02 | 10.00 | 1 009.28 |"
DEALS = f"{DEPOSIT}\n{BUY}\n{SELL}"
TOTALS = " | -0.70 | 0.00 | -0.02 | 1 010.00 | 1 009.28 |"
CLOSED = "2024.01.02 10:00:05 | 201 | EURUSD | buy | 0.10 | 1.10000 | | | 2024.01.02 11:00:05 | 1.10100 | -0.70 | -0.02 | 10.00"
OPEN = "2024.01.02 12:00:00 | 301 | XAUUSD | sell | 0.20 | 2063.50 | | | 2060.00 | -0.10 | 70.00 | EA"
ORDER = "2024.01.02 10:00:05 | 201 | EURUSD | buy | 0.10 / 0.10 | market | | | 2024.01.02 10:00:05 | filled | EA"
CANCELED = "2024.01.02 10:00:07 | 209 | EURUSD | buy stop | 0.5 / 0 | 1.20000 | | | 2024.01.02 10:30:05 | canceled |"
WORKING = "2024.01.02 09:10 | 210 | EURUSD | sell limit | 1.01 / 0.00 | 1.20000 | | | 1.10100 | placed |"
FIGURES = """
Balance: | 1 009.28 | | Free Margin: | 1 079.28
Credit Facility: | 50.00 | | Margin: | 0.00
Floating P/L: | 70.00 | | Margin Level: | 21 645%
Equity: | 1 129.28
"""
EPOCH = 1704189600000  # 2024.01.02 10:00:00


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path)


# ------------------------------------------------------------------------------------------------------------- its tables


def test_a_report_is_read_into_deals_positions_and_figures(read):
    report = read(html(joined("Positions", CLOSED, "Orders", ORDER, CANCELED, "Deals", DEALS, TOTALS, OPEN, WORKING, FIGURES)))
    assert (report.kind, report.server, report.login, report.currency) == ("report", "Sample-Demo", 70113, "USD")
    assert report.mode is MarginMode.HEDGING
    assert [deal.deal for deal in report.deals] == [101, 102, 103]
    assert [row.position_id for row in report.closed] == [201]
    assert [row.ticket for row in report.open] == [301]
    assert (report.balance, report.credit, report.has_figures) == (Decimal("1009.28"), Decimal("50.00"), True)
    assert report.starts_at_opening


def test_a_deal_has_the_values_of_its_cells(read):
    deal = read(html(DEALS)).deals[2]
    assert (deal.row, deal.time_msc, deal.deal, deal.order) == (4, EPOCH + 3_605_000, 103, 202)
    assert (deal.symbol, deal.type, deal.side, deal.entry) == ("EURUSD", 1, Side.SELL, Entry.OUT)
    assert (deal.volume, deal.price, deal.profit) == (Decimal("0.10"), Decimal("1.10100"), Decimal("10.00"))
    assert (deal.commission, deal.fee, deal.swap) == (Decimal("-0.35"), Decimal("0.00"), Decimal("-0.02"))
    assert (deal.balance, deal.comment) == (Decimal("1009.28"), None)
    assert (deal.position_id, deal.magic, deal.reason, deal.word) == (None, None, None, None)


def test_a_closed_and_an_open_position_have_the_values_of_their_cells(read):
    report = read(html(joined(CLOSED, DEALS, OPEN)))
    closed, still_open = report.closed[0], report.open[0]
    assert (closed.row, closed.side, closed.volume, closed.volume_opened) == (2, Side.BUY, Decimal("0.10"), None)
    assert (closed.price_open, closed.price_close) == (Decimal("1.10000"), Decimal("1.10100"))
    assert (closed.commission, closed.swap, closed.profit) == (Decimal("-0.70"), Decimal("-0.02"), Decimal("10.00"))
    assert (closed.opened_msc, closed.closed_msc) == (EPOCH + 5_000, EPOCH + 3_605_000)
    assert (still_open.side, still_open.volume, still_open.price_open) == (Side.SELL, Decimal("0.20"), Decimal("2063.50"))
    assert (still_open.swap, still_open.profit, still_open.comment) == (Decimal("-0.10"), Decimal("70.00"), "EA")


def test_a_row_of_a_position_closed_in_part_reports_both_volumes(read):
    row = read(html(joined(CLOSED.replace("buy | 0.10", "buy | 0.02 / 0.10"), DEALS))).closed[0]
    assert (row.volume, row.volume_opened) == (Decimal("0.02"), Decimal("0.10"))


def test_a_hidden_comment_that_is_shown_moves_the_rest_of_a_closed_row_on(read):
    row = read(html(joined(CLOSED.replace("buy | ", "buy | 85144267 | "), DEALS))).closed[0]
    assert (row.volume, row.profit) == (Decimal("0.10"), Decimal("10.00"))


def test_absent_tables_are_none_and_state_nothing(read):
    report = read(html(DEALS))
    assert (report.closed, report.open, report.balance, report.credit, report.has_figures) == (None, None, None, None, False)


def money_columns(deal, columns):
    cells = deal.split("|")
    return "|".join({13: cells[:9] + cells[10:], 14: cells, 15: [*cells[:8], "", *cells[8:]]}[columns])


@pytest.mark.parametrize("write", [html, xlsx])
@pytest.mark.parametrize("columns", [13, 14, 15])
def test_every_build_has_its_money_where_it_is(read, write, columns):
    deals = read(write("\n".join(money_columns(line, columns) for line in DEALS.split("\n")))).deals
    assert [(deal.money, deal.balance, deal.fee) for deal in deals] == [
        (Decimal("1000.00"), Decimal("1000.00"), 0),
        (Decimal("-0.35"), Decimal("999.65"), 0),
        (Decimal("9.63"), Decimal("1009.28"), 0),
    ]


def test_a_hidden_cell_is_left_out(read):
    text = "\n".join(money_columns(line, 15).replace("| |", "|", 0) for line in DEALS.split("\n"))
    assert read(html(text, hidden=8)).deals == read(html(text)).deals


def test_a_comment_that_looks_like_money_is_no_balance(read):
    text = "\n".join(money_columns(line, 13).rstrip("EA |") + "| 85144267" for line in (BUY, SELL))
    assert [deal.balance for deal in read(xlsx(text)).deals] == [Decimal("999.65"), Decimal("1009.28")]


def test_deals_without_any_profit_keep_their_balance_column(read):
    again = BUY.replace("| 102 |", "| 104 |").replace("-0.35", "0.00")
    assert [deal.balance for deal in read(xlsx(f"{BUY.replace('-0.35', '0.00')}\n{again}")).deals] == [Decimal("999.65")] * 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_language_changes_nothing(read, language):
    history = make_history(11, "hedging", 60)
    translated, english = read(render_html(history, language)), read(render_html(history))
    assert (translated.deals, translated.closed, translated.open, translated.balance) == (
        english.deals,
        english.closed,
        english.open,
        english.balance,
    )
    assert (translated.server, translated.login, len(translated.deals)) == (SERVER, LOGIN, len(history.deals))


# ----------------------------------------------------------------------------------------------------------- what it contains


@pytest.mark.parametrize(
    ("line", "account"),
    [
        ("70113 (USD, Sample-Demo, demo, Hedge)", ("Sample-Demo", 70113, "USD", MarginMode.HEDGING)),
        (
            "70113\u00a0(JPY,\u00a0Two Words Demo,\u00a0real,\u00a0Netting)",
            ("Two Words Demo", 70113, "JPY", MarginMode.NETTING),
        ),
        ("70113 (BRL, Sample-MT5, real, Exchange)", ("Sample-MT5", 70113, "BRL", MarginMode.EXCHANGE)),
        ("70113 (USD, 1:100, Sample-Demo, demo)", ("Sample-Demo", 70113, "USD", None)),
    ],
)
def test_the_account_line_names_the_account(read, line, account):
    report = read(html(DEALS, account=line))
    assert (report.server, report.login, report.currency, report.mode) == account


def test_a_tester_report_names_no_account(read):
    for text in (
        html(DEALS, account=None, generator="strategy tester"),
        html(joined("Some-Demo (Build 2190)", DEALS), account=None),
    ):
        report = read(text)
        assert (report.kind, report.server, report.login, report.mode) == ("tester", None, None, None)


def test_a_new_account_has_no_deals(read):
    report = read(html(joined("Trade History Report", FIGURES)))
    assert (report.deals, report.login, report.opening, report.balance) == ((), 70113, None, Decimal("1009.28"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_html_comes_in_several_encodings(read, encoding):
    data = html(joined("Handelshistorie für Åse", DEALS)).encode(encoding)
    assert len(read(b"\xfe\xff" + data if encoding == "utf-16-be" else data).deals) == 3


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("3 000 493", "3000493"),
        ("3\u00a0000\u00a0493.50", "3000493.50"),
        ("3\u202f000\u202f493", "3000493"),
        ("-1 145.00", "-1145.00"),
        ("99966.95", "99966.95"),
        ("\u2212 5".replace(" ", ""), "-5"),
    ],
)
def test_thousands_may_be_separated(read, written, number):
    assert read(html(DEPOSIT.replace("| 1 000.00 | 1 000.00 |", f"| {written} | {written} |"))).deals[0].balance == Decimal(
        number
    )


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("balance", 2), ("credit", 3), ("charge", 4), ("correction", 5), ("bonus", 6), ("commission", 7),
        ("daily commission", 8), ("commission daily", 8), ("monthly commission", 9), ("agent daily commission", 10),
        ("commission agent monthly", 11), ("interest", 12), ("buy canceled", 13), ("canceled sell", 14),
        ("cancelled buy", 13), ("dividend", 15), ("franked dividend", 16), ("dividend franked", 16), ("tax", 17),
        ("Deal_Type_Bonus", 6),
    ],
)  # fmt: skip
def test_deal_types_are_known_in_many_spellings(read, word, code):
    deal = read(html(DEPOSIT.replace("balance", word))).deals[0]
    assert (deal.type, deal.word, deal.side, deal.entry) == (code, None, None, None)


def test_a_type_that_nobody_documented_is_stored_as_its_word(read):
    deal = read(html(DEPOSIT.replace("balance", "SO compensation"))).deals[0]
    assert (deal.type, deal.word, deal.profit) == (None, "SO compensation", Decimal("1000.00"))


def test_a_credit_is_money_even_if_its_entry_is_in(read):
    deal = read(html(DEPOSIT.replace("balance | | |", "credit | in | 0.00 |"))).deals[0]
    assert (deal.type, deal.entry, deal.volume, deal.symbol) == (3, None, None, None)


def test_a_cancelled_deal_keeps_what_it_was_about(read):
    deal = read(html(f"{DEPOSIT}\n{BUY.replace('| buy |', '| buy canceled |')}")).deals[1]
    assert (deal.type, deal.side, deal.symbol, deal.volume, deal.entry) == (13, None, "EURUSD", Decimal("0.10"), Entry.IN)


def test_a_file_that_begins_in_the_middle_reports_its_opening_figure(read):
    report = read(html(f"{BUY}\n{SELL}"))
    assert (report.opening, report.starts_at_opening) == (Decimal("1000.00"), False)


def test_a_ticket_may_need_more_than_53_bits_in_html(read):
    assert read(html(DEPOSIT.replace("| 101 |", "| 9007199254740993 |"))).deals[0].deal == 9007199254740993


# -------------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("before", "after", "row", "column", "message"),
    [
        ("2024.01.02 11:00:05", "2024.13.02 11:00:05", 4, "time", "month must be in 1..12"),
        ("2024.01.02 11:00:05", "2024.01.02 11:00", 4, "time", "YYYY.MM.DD HH:MM:SS"),
        ("2024.01.02 11:00:05", "2O24.01.02 11:00:05", 4, "time", "'2O24.01.02 11:00:05'"),
        ("2024.01.02 11:00:05", "", 4, "time", "found nothing"),
        ("| 103 |", "| 103x |", 4, "deal", "expected a ticket"),
        ("| 103 |", "| 0 |", 4, "deal", "above 0"),
        ("| 103 |", "| 99999999999999999999 |", 4, "deal", "expected a ticket"),
        ("| 103 |", "| 102 |", 4, "deal", "found deal 102 in row 3 already"),
        ("sell | out", "sell | away", 4, "direction", "found 'away'"),
        ("sell | out", "sell |", 4, "direction", "found nothing"),
        ("0.10 | 1.10100", "x | 1.10100", 4, "volume", "expected a number"),
        ("0.10 | 1.10100", "0 | 1.10100", 4, "volume", "above 0"),
        ("| 1.10100", "| ", 4, "price", "expected a number"),
        ("| 202 |", "| none |", 4, "order", "expected a ticket"),
        ("| -0.02 |", "| =A1 |", 4, "swap", "the formula '=A1'"),
        ("| 10.00 |", "| 10,00 |", 4, "profit", "1 234.56, found '10,00'"),
        ("| 10.00 |", "| 1e30 |", 4, "profit", "at most 18 digits"),
        ("| 10.00 |", "| NaN |", 4, "profit", "found 'NaN'"),
        ("| 1 009.28 |", "| |", 4, "balance", "found nothing"),
        ("sell | out | 0.10 | 1.10100", "sell | 1 | 0.10 | 1.10100", 4, None, "does not look like those above"),
        (" 1 009.28 |", "", 4, None, "expected 14 cells as in the rows above, found 13"),
    ],
)
def test_a_damaged_deal_is_named_and_refuses_the_file(read, before, after, row, column, message):
    assert DEALS.count(before) == 1 or before.startswith(("| -0.02", "0.10 | 1.10100"))
    with pytest.raises(MalformedExport, match="report") as refused:
        read(html(DEALS.replace(before, after)))
    assert (refused.value.row, refused.value.column) == (row, column)
    assert message in str(refused.value)
    assert refused.value.file.endswith("report")


@pytest.mark.parametrize(
    ("damaged", "column"),
    [
        (CLOSED.replace("1.10100", "?"), "close price"),
        (CLOSED.replace("| 0.10 |", "| ? |"), "volume"),
        (CLOSED.replace("10.00", ""), "profit"),
        (CLOSED.replace("| 201 |", "| |"), "position"),
        (OPEN.replace("2063.50", "?"), "price"),
        (OPEN.replace("301", "?"), "position"),
        (OPEN.replace("| -0.10 |", "| ? |"), "swap"),
    ],
)
def test_a_damaged_position_is_named_too(read, damaged, column):
    with pytest.raises(MalformedExport) as refused:
        read(html(joined(DEALS, damaged)))
    assert (refused.value.row, refused.value.column) == (6, column)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"\xef\xbb\xbf\r\n", "empty file"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"\xd0\xcf\x11\xe0....", "password-protected Excel"),
        (b"\x89PNG\r\n", "a picture"),
        (b"just a line of text", "no table of a report and no field names of a dump"),
        (b'{"deals": []}', "no table of a report"),
        ("<html>".encode("utf-16"), "no table of a report"),
        (b"\xff\xfe<\x00h\x00t\x00m", "neither (byte"),
        (b"caf\xe9, au lait", "neither (byte"),
    ],
)
def test_what_is_no_export_is_refused_with_what_it_is(read, content, message):
    with pytest.raises(MalformedExport) as refused:
        read(content)
    assert message in str(refused.value)


def test_a_report_that_is_cut_off_anywhere_is_refused(read):
    whole = html(joined(CLOSED, DEALS, FIGURES))
    end = whole.index("</table>") + len("</table>")
    for length in range(whole.index("<table>") + 7, end):
        with pytest.raises(MalformedExport):
            read(whole[:length])
    assert len(read(whole[:end]).deals) == 3


def test_a_quote_that_swallows_rows_is_found(read):
    with pytest.raises(MalformedExport, match="hides the rest"):
        read(html(DEALS).replace("<tr>", '<tr class="odd>', 2))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (joined("Positions", CLOSED), "1 rows of closed positions"),
        (joined("Orders", ORDER, CANCELED), "2 rows of orders"),
        (joined(OPEN, ORDER), "1 rows of open positions and 1 rows of orders"),
    ],
)
def test_a_report_without_its_deals_is_refused(read, text, found):
    with pytest.raises(MalformedExport, match=found):
        read(html(text, account=None if "Positions" not in text else "70113 (USD, Sample-Demo, demo)"))


def test_two_accounts_in_one_file_are_refused(read):
    text = joined(DEALS, "Account: | 70114 (USD, Sample-Demo, demo, Hedge)")
    with pytest.raises(MalformedExport, match="found 70113 and 70114"):
        read(html(text))
    assert read(html(joined(DEALS, "Account: | 70113 (USD, Sample-Demo, demo, Hedge)"))).login == 70113


def test_a_row_of_no_known_table_is_refused(read):
    with pytest.raises(MalformedExport, match="no known table"):
        read(html(joined(DEALS, "2024.01.02 12:00:00 | 1 | 2 | 3 | 4 | 5 | 6")))
    assert len(read(html(joined(DEALS, "2024.01.02 12:00:00 | a note of the owner"))).deals) == 3


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_statement(tmp_path / "nothing.html")


def test_what_is_raised_is_an_input_error_with_a_place():
    assert issubclass(MalformedExport, LedgerError)
    assert str(MalformedExport("what", file="f.html", row=3, column="time")) == "f.html, row 3, column time: what"


def test_importing_the_package_loads_no_reader():
    code = "import ledger.imports, sys; print(sorted({'ledger.imports.html_grid', 'python_calamine'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
