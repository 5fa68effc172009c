"""Stories of text files as editors, spreadsheets and browsers save them: read where the file proves how, else refused."""

from __future__ import annotations

import codecs
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MalformedExport
from ledger.imports import statement_of
from ledger.imports.cells import is_number, to_number
from tests.support.reports import ACCOUNT, Workbook, archived, html, joined, saved
from tests.unit.test_imports_report import BUY, CLOSED, DEALS, DEPOSIT, OPEN, SELL

FRENCH = "Heure | Transaction | Symbole | Type | Sens | Volume | Prix | Ordre | Commission | Frais | Swap | Bénéfice | Solde |"
FRENCH_WORDS = "Société : Åse | Période"
RUSSIAN = "Время | Сделка | Символ | Тип | Направление | Объем | Цена | Ордер | Комиссия | Плата | Своп | Прибыль | Баланс |"
#: What separates thousands and follows a sign, as terminals and spreadsheets write it.
BLANKS = [" ", "\u00a0", "\u202f", "\u2009", "\u2007", "\u3000"]
HEADERS = {
    "en": "Time,Deal,Symbol,Type,Direction,Volume,Price,Order,Commission,Fee,Swap,Profit,Balance,Comment",
    "fr": "Heure,Transaction,Symbole,Type,Sens,Volume,Prix,Ordre,Commission,Frais,Swap,Bénéfice,Solde,Commentaire",
    "es": "Hora,Transacción,Símbolo,Tipo,Dirección,Volumen,Precio,Orden,Comisión,Tarifa,Swap,Beneficio,Balance,Comentario",
    "sk": "Čas,Obchod,Symbol,Typ,Smer,Objem,Cena,Objednávka,Komisia,Poplatok,Swap,Zisk,Stav účtu,Poznámka",
    "bg": "Време,Сделка,Символ,Тип,Посока,Обем,Цена,Поръчка,Комисиона,Такса,Суап,Печалба,Баланс,Коментар",
    "ja": "時間,約定,銘柄,タイプ,新規・決済,数量,価格,注文,手数料,手数料,スワップ,損益,残高,コメント",
    "pt": "Horário,Oferta,Ativo,Tipo,Direção,Volume,Preço,Ordem,Comissão,Taxa,Swap,Lucro,Saldo,Comentário",
    "de": "Zeit,Deal,Symbol,Typ,Richtung,Volumen,Preis,Order,Kommission,Gebühr,Swap,Gewinn,Kontostand,Kommentar",
    "ru": "Время,Сделка,Символ,Тип,Направление,Объем,Цена,Ордер,Комиссия,Плата,Своп,Прибыль,Баланс,Комментарий",
    "it": "Ora,Affare,Simbolo,Tipo,Direzione,Volume,Prezzo,Ordine,Commissione,Tassa,Swap,Profitto,Saldo,Commento",
    "zh": "时间,成交,交易品种,类型,方向,交易量,价位,订单,手续费,费用,库存费,盈利,结余,注释",
    "dump words": "time,ticket,symbol,type,direction,volume,price,order,commission,fee,swap,profit,balance,comment",
}


def read(content: str | bytes):
    return statement_of(content.encode() if isinstance(content, str) else content, "report")


def csv(text: str, delimiter: str = ",") -> str:
    return "\n".join(delimiter.join(cell.strip() for cell in line.split("|")) for line in text.split("\n")) + "\n"


# ---------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("thousands", BLANKS)
@pytest.mark.parametrize("behind", BLANKS)
@pytest.mark.parametrize("minus", ["-", "\u2212"])
def test_a_blank_behind_a_sign_is_no_part_of_a_number(thousands, behind, minus):
    text = f"{minus}{behind}1{thousands}230.12"
    assert is_number(text)
    assert to_number(text) == Decimal("-1230.12")
    assert to_number(f"{behind}{minus}30.12{behind}") == Decimal("-30.12")


@pytest.mark.parametrize("text", ["- ", "-", "- - 1", "1 -", "- 1,5", "-\n1", "1 2", "- 12 34", "1" * 65, "-" + " " * 70 + "1"])
def test_what_only_looks_like_a_number_is_none(text):
    assert not is_number(text)


@given(number=st.decimals(-(10**9), 10**9, places=2), blank=st.sampled_from(BLANKS), sign=st.sampled_from(["-", "\u2212"]))
def test_the_number_format_of_a_terminal_is_read_as_any_program_shows_it(number, blank, sign):
    shown = f"{abs(number):,.2f}".replace(",", blank)
    assert to_number(f"{sign}{blank}{shown}" if number < 0 else f"{blank}{shown}") == number


@pytest.mark.parametrize("write", [html, csv], ids=["html", "csv"])
def test_loose_signs_are_read_in_every_format(write):
    text = DEALS.replace("-0.35", "-\u00a00.35").replace("-0.02", "\u2212 0.02")
    report = read(write(text))
    assert [deal.money for deal in report.deals] == [Decimal("1000.00"), Decimal("-0.35"), Decimal("9.63")]
    assert report.deals == read(write(DEALS)).deals


# ----------------------------------------------------------------------------------------------------------- cut-off titles


@pytest.mark.parametrize("language", sorted(HEADERS))
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_deals_without_its_title_is_known_by_its_rows(language, delimiter):
    report = read(f"{HEADERS[language].replace(',', delimiter)}\n{csv(DEALS, delimiter)}")
    assert (report.kind, [deal.deal for deal in report.deals]) == ("report", [101, 102, 103])
    assert report.starts_at_opening


def test_a_dump_whose_rows_look_like_those_of_a_report_is_a_dump():
    fields = "time,ticket,symbol,type,entry,volume,price,order,commission,fee,swap,profit,position_id,comment"
    dump = read(f"{fields}\n2024.01.02 10:00:05,102,EURUSD,buy,in,0.10,1.10000,201,-0.35,0,0,0,77,EA\n")
    assert (dump.kind, dump.deals[0].position_id, dump.deals[0].balance) == ("dump", 77, None)


@pytest.mark.parametrize("language", ["en", "ja", "ru"])
def test_such_a_table_may_be_on_any_sheet_of_a_workbook(language):
    book = Workbook()
    book.active.append(["my notes", 1, 2, 3])
    sheet = book.create_sheet("second")
    sheet.append(HEADERS[language].split(","))
    for line in DEALS.split("\n"):
        sheet.append([cell.strip() or None for cell in line.split("|")])
    assert [deal.deal for deal in read(saved(book)).deals] == [101, 102, 103]


def test_a_table_that_a_spreadsheet_padded_is_as_wide_as_it_was():
    old = "\n".join("|".join([*line.split("|")[:9], *line.split("|")[10:]]) for line in DEALS.split("\n"))  # 13 columns
    padded = "".join(f"{line},,,\n" for line in csv(old).strip().split("\n"))
    assert [deal.balance for deal in read(padded).deals] == [deal.balance for deal in read(csv(old)).deals]


def test_empty_columns_before_a_table_do_not_hinder():
    assert len(read("".join(f",,{line}\n" for line in csv(DEALS).strip().split("\n"))).deals) == 3


def test_a_record_that_is_shorter_than_those_above_is_still_refused():
    with pytest.raises(MalformedExport, match="expected 14 cells as in the rows above, found 11"):
        read(csv(DEALS)[: csv(DEALS).rindex(",10.00")])


# ------------------------------------------------------------------------------------------------------------------- times


def test_times_without_seconds_are_those_of_an_old_tester():
    minutes = DEALS.replace(":05 |", " |").replace("10:00:00", "10:00")
    times = [deal.time_msc for deal in read(html(minutes, account=None)).deals]
    assert [time_msc % 60_000 for time_msc in times] == [0, 0, 0]
    with pytest.raises(MalformedExport, match="HH:MM:SS"):
        read(html(minutes, account=ACCOUNT))  # of a terminal, whose seconds were lost on the way


def test_one_time_without_seconds_among_others_is_damaged():
    with pytest.raises(MalformedExport, match="HH:MM:SS"):
        read(html(DEALS.replace("11:00:05", "11:00"), account=None))


# --------------------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [html(joined(FRENCH_WORDS, DEALS)), csv(f"{RUSSIAN}\n{DEALS}")], ids=["html", "csv"])
def test_utf_16_needs_no_mark(order, text):
    assert len(read(text.encode(order)).deals) == 3


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b"\r", b"\x00", b"\n\n\n", b" ", b"\x1a", b"\n\x00\n"])
@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_single_bytes_behind_the_end_of_utf_16_are_no_part_of_it(tail, order):
    mark = codecs.BOM_UTF16_LE if order == "utf-16-le" else codecs.BOM_UTF16_BE
    page = html(DEALS).strip()
    assert read(mark + page.encode(order) + tail).deals == read(page).deals


def test_a_stray_newline_behind_a_csv_of_utf_16_is_none_either():
    assert len(read(codecs.BOM_UTF16_LE + csv(DEALS).encode("utf-16-le") + b"\n").deals) == 3


def test_half_a_character_that_is_no_blank_is_a_file_cut_off():
    with pytest.raises(MalformedExport, match="cut off"):
        read((codecs.BOM_UTF16_LE + html(DEALS).strip().encode("utf-16-le"))[:-1])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (csv(f"{RUSSIAN}\n{DEALS}"), "windows-1251"),
        (html(joined(RUSSIAN, DEALS)), "windows-1251"),
        (csv(f"{FRENCH}\n{FRENCH_WORDS}\n{DEALS}"), "windows-1252"),
        (html(joined(FRENCH_WORDS, FRENCH, DEALS)), "windows-1252"),
    ],
)
def test_the_words_of_a_report_prove_an_encoding_of_one_byte(text, encoding):
    named = text.replace("EA", "Åse" if encoding == "windows-1252" else "Ася")
    assert read(named.encode(encoding)).deals[1].comment == named[named.index("Å" if "Åse" in named else "Ася") :][:3]


@pytest.mark.parametrize("encoding", ["windows-1251", "windows-1250", "koi8-r", "shift_jis", "gbk"])
def test_a_page_may_declare_its_encoding(encoding):
    word = {"windows-1250": "Správa účtu", "shift_jis": "取引履歴", "gbk": "交易历史"}.get(encoding, "Отчет")
    head = f'<html><head><meta http-equiv="Content-Type" content="text/html; charset={encoding}"></head>'
    page = html(joined(word, DEALS.replace("EA", word))).replace("<html><head>", head, 1)
    assert read(page.encode(encoding)).deals[1].comment == word


@pytest.mark.parametrize("encoding", ["windows-1251", "windows-1252", "koi8-r"])
def test_an_encoding_that_nothing_proves_is_refused(encoding):
    word = "Å" if encoding == "windows-1252" else "Я"
    with pytest.raises(MalformedExport, match="bytes that are neither"):
        read(csv(DEALS.replace("EA", word)).encode(encoding))


def test_bytes_that_contradict_what_a_page_declares_are_refused():
    page = html(DEALS.replace("EA", "Å")).replace("<head>", '<head><meta charset="utf-8">')
    with pytest.raises(MalformedExport, match="bytes that are neither"):
        read(page.encode("windows-1252"))


# ------------------------------------------------------------------------------------------------------------------- MHTML


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64"])
@pytest.mark.parametrize("charset", ["utf-8", "windows-1251"])
def test_a_web_archive_holds_the_page(charset, encoding):
    page = html(joined(RUSSIAN, CLOSED, DEALS, OPEN))
    report = read(archived(page, charset, encoding))
    assert (report.deals, report.closed, report.open, report.login) == (read(page).deals, report.closed, report.open, 70113)
    assert [row.position_id for row in report.closed] == [201]


def test_a_web_archive_that_is_cut_off_is_refused():
    data = archived(html(DEALS), "utf-8", "quoted-printable")
    for length in (len(data) // 2, len(data) - 200, len(data) - 8):
        with pytest.raises(MalformedExport):
            read(data[:length])


# -------------------------------------------------------------------------------------------------------------- row order


def rows_of(order: str) -> str:
    lines = [DEPOSIT, BUY, SELL]
    return "\n".join({"rows": lines, "reversed": lines[::-1], "shuffled": [lines[1], lines[0], lines[2]]}[order])


@pytest.mark.parametrize("order", ["rows", "reversed", "shuffled"])
def test_the_balance_column_runs_in_the_order_that_reproduces_it(order):
    report = read(html(rows_of(order)))
    assert [deal.deal for deal in report.as_booked] == [101, 102, 103]
    assert report.starts_at_opening


def test_rows_of_one_second_may_be_in_the_reverse_order_too():
    lines = [DEPOSIT, BUY.replace("10:00:05", "11:00:05"), SELL]
    assert [deal.deal for deal in read(html("\n".join(lines[::-1]))).as_booked] == [101, 102, 103]


def test_rows_that_are_not_in_time_order_stay_as_the_tester_booked_them():
    late = BUY.replace("10:00:05", "12:00:05")
    assert [deal.deal for deal in read(html(f"{DEPOSIT}\n{late}\n{SELL}")).as_booked] == [101, 102, 103]
