"""This module is an invented account's history written down as terminals and scripts write it: html, xlsx, csv."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from html import escape
from typing import Final

from tools.samples.account import START_MSC, Closed, Deal, History, Order, Symbol, rounded
from tools.samples.results import Cell, Rows, Trade, in_html, in_workbook, terminal_section

LOGIN: Final = 70113
SERVER: Final = "Sample-Demo"
NAME: Final = "Sample Trader"
COMPANY: Final = "Sample Markets Ltd"

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # a wall clock has no zone
_ZERO: Final = Decimal(0)

# ------------------------------------------------------------------------------------------------------------ the words

_WORDS: Final = {
    "en": (
        "Trade History Report|Name:|Account:|Company:|Date:|Positions|Orders|Deals|Open Positions|Working Orders|Results",
        (
            "Time|Position|Symbol|Type|Volume|Price|S / L|T / P|Commission|Swap|Profit|Open Time|Order|State|Comment|Deal|"
            "Direction|Fee|Balance|Market Price|Cost"
        ),
        "Balance:|Free Margin:|Credit Facility:|Margin:|Floating P/L:|Margin Level:|Equity:|Total Net Profit:",
        (
            "Gross Profit:|Gross Loss:|Profit Factor:|Expected Payoff:|Recovery Factor:|Sharpe Ratio:|"
            "Balance Drawdown:|Balance Drawdown Absolute:|Balance Drawdown Maximal:|Balance Drawdown Relative:|"
            "Total Trades:|Short Trades (won %):|Long Trades (won %):|Profit Trades (% of total):|"
            "Loss Trades (% of total):|Largest profit trade:|Largest loss trade:|Average profit trade:|"
            "Average loss trade:|Maximum consecutive wins ($):|Maximum consecutive losses ($):|"
            "Maximal consecutive profit (count):|Maximal consecutive loss (count):|Average consecutive wins:|"
            "Average consecutive losses:"
        ),
    ),
    "de": (
        (
            "Bericht der Handelshistorie|Name:|Konto:|Unternehmen:|Datum:|Positionen|Orders|Trades|Offene Positionen|"
            "Aktive Orders|Ergebnisse"
        ),
        (
            "Zeit|Position|Symbol|Typ|Volumen|Preis|S / L|T / P|Kommission|Swap|Gewinn|Eröffnungszeit|Order|Status|Kommentar|"
            "Trade|Richtung|Gebühr|Kontostand|Marktpreis|Kosten"
        ),
        "Kontostand:|Freie Margin:|Kredit:|Margin:|Schwebender P/L:|Margin-Niveau:|Kapital:|Nettogewinn gesamt:",
        (
            "Bruttogewinn:|Bruttoverlust:|Profitfaktor:|Erwartetes Ergebnis:|Erholungsfaktor:|Sharpe Ratio:|"
            "Drawdown des Kontostands:|Absoluter Drawdown:|Maximaler Drawdown:|Relativer Drawdown:|"
            "Trades gesamt:|Short-Trades (gewonnen %):|Long-Trades (gewonnen %):|Gewinntrades (% aller):|"
            "Verlusttrades (% aller):|Größter Gewinntrade:|Größter Verlusttrade:|Durchschnittlicher Gewinntrade:|"
            "Durchschnittlicher Verlusttrade:|Längste Gewinnserie ($):|Längste Verlustserie ($):|"
            "Höchster Seriengewinn (Anzahl):|Höchster Serienverlust (Anzahl):|Durchschnittliche Gewinnserie:|"
            "Durchschnittliche Verlustserie:"
        ),
    ),
    "es": (
        (
            "Informe del historial de trading|Nombre:|Cuenta:|Compañía:|Fecha:|Posiciones|Órdenes|Transacciones|"
            "Posiciones abiertas|Órdenes activas|Resultados"
        ),
        (
            "Fecha/Hora|Posición|Símbolo|Tipo|Volumen|Precio|S / L|T / P|Comisión|Swap|Beneficio|Hora de apertura|Orden|Estado|"
            "Comentario|Transacción|Dirección|Tarifa|Balance|Precio de mercado|Coste"
        ),
        "Balance:|Margen libre:|Crédito:|Margen:|P/L flotante:|Nivel de margen:|Equidad:|Beneficio neto total:",
        (
            # One label for four rows: labels of terminals are not unique either.
            "Beneficio bruto:|Pérdida bruta:|Factor de beneficio:|Beneficio esperado:|Factor de recuperación:|"
            "Ratio de Sharpe:|Reducción del balance:|Reducción absoluta del balance:|"
            "Reducción máxima del balance:|Reducción relativa del balance:|Total de operaciones:|"
            "Posiciones cortas (% ganadas):|Posiciones largas (% ganadas):|Posiciones rentables (% del total):|"
            "Posiciones no rentables (% del total):|Mayor operación rentable:|Mayor operación no rentable:|"
            "Promedio rentable:|Promedio no rentable:|Máximo de pérdidas consecutivas:|"
            "Máximo de pérdidas consecutivas:|Máximo de pérdidas consecutivas:|Máximo de pérdidas consecutivas:|"
            "Promedio de ganancias consecutivas:|Promedio de pérdidas consecutivas:"
        ),
    ),
    "ja": (
        "取引履歴レポート|名前:|口座:|会社:|日付:|ポジション一覧|注文|約定|ポジション|現在のオーダー|結果",
        # One word for commission and fee, as the terminal has it.
        (
            "時間|ポジション情報|銘柄|タイプ|数量|価格|決済逆指値|決済指値|手数料|スワップ|損益|約定時刻|注文|状況|コメント|約定|"
            "新規・決済|手数料|残高|市場価格|費用"
        ),
        "残高:|余剰証拠金:|クレジット:|必要証拠金:|含み損益:|証拠金維持率:|有効証拠金:|総損益:",
        (
            "利益合計:|損失合計:|利益率:|期待値:|回復率:|シャープ:|残高の下落:|絶対的な下落:|"
            "最大の下落:|相対的な下落:|取引の数:|売り (勝ち %):|買い (勝ち %):|"
            "勝った取引 (%):|負けた取引 (%):|最も大きな利益:|最も大きな損失:|利益の平均:|"
            "損失の平均:|連続した勝ち (額):|連続した負け (額):|連続した利益 (数):|"
            "連続した損失 (数):|連続した勝ちの平均:|連続した負けの平均:"
        ),
    ),
    "ru": (
        "Отчет торговой истории|Имя:|Счет:|Компания:|Дата:|Позиции|Ордера|Сделки|Открытые позиции|Рабочие ордера|Результаты",
        (
            "Время|Позиция|Символ|Тип|Объем|Цена|S / L|T / P|Комиссия|Своп|Прибыль|Время открытия|Ордер|Состояние|Комментарий|"
            "Сделка|Направление|Плата|Баланс|Рыночная цена|Затраты"
        ),
        "Баланс:|Свободная маржа:|Кредит:|Маржа:|Плавающая P/L:|Уровень маржи:|Средства:|Чистая прибыль:",
        (
            "Общая прибыль:|Общий убыток:|Прибыльность:|Матожидание выигрыша:|Фактор восстановления:|"
            "Коэффициент Шарпа:|Просадка по балансу:|Абсолютная просадка:|Максимальная просадка:|"
            "Относительная просадка:|Количество трейдов:|Короткие трейды (% выигравших):|"
            "Длинные трейды (% выигравших):|Прибыльные трейды (% от всех):|Убыточные трейды (% от всех):|"
            "Самый большой прибыльный трейд:|Самый большой убыточный трейд:|Средний прибыльный трейд:|"
            "Средний убыточный трейд:|Наибольшее число выигрышей подряд ($):|"
            "Наибольшее число проигрышей подряд ($):|Наибольшая прибыль подряд (число):|"
            "Наибольший убыток подряд (число):|Средний непрерывный выигрыш:|Средний непрерывный проигрыш:"
        ),
    ),
}
LANGUAGES: Final = tuple(_WORDS)

_TITLES: Final = ["title", "name", "account", "company", "date", "positions", "orders", "deals", "open", "working", "results"]
_HEADERS: Final = [
    "time",
    "position",
    "symbol",
    "type",
    "volume",
    "price",
    "sl",
    "tp",
    "commission",
    "swap",
    "profit",
    "opened",
    "order",
    "state",
    "comment",
    "deal",
    "direction",
    "fee",
    "balance",
    "market",
    "cost",
]
_RESULTS: Final = [
    "gross profit", "gross loss", "factor", "payoff", "recovery", "sharpe", "drawdown", "drawdown absolute",
    "drawdown maximal", "drawdown relative", "trades", "short", "long", "profits", "losses", "largest profit", "largest loss",
    "average profit", "average loss", "wins", "defeats", "profit series", "loss series", "average wins", "average losses",
]  # fmt: skip
_FIGURES: Final = ["balance", "free", "credit", "margin", "floating", "level", "equity", "net"]

_CLOSED_HEADER: Final = [
    "time",
    "position",
    "symbol",
    "type",
    "volume",
    "price",
    "sl",
    "tp",
    "time",
    "price",
    "commission",
    "swap",
    "profit",
]
_ORDER_HEADER: Final = ["opened", "order", "symbol", "type", "volume", "price", "sl", "tp", "time", "state", "comment"]
_WORKING_HEADER: Final = ["opened", "order", "symbol", "type", "volume", "price", "sl", "tp", "market", "state", "comment"]
_OPEN_HEADER: Final = [
    "time",
    "position",
    "symbol",
    "type",
    "volume",
    "price",
    "sl",
    "tp",
    "market",
    "swap",
    "profit",
    "comment",
]
_DEAL_HEADER: Final = ["time", "deal", "symbol", "type", "direction", "volume", "price", "order"]


class _Words:
    """The headings, column names and labels of one language."""

    def __init__(self, language: str) -> None:
        titles, headers, figures, results = _WORDS[language]
        self.title = dict(zip(_TITLES, titles.split("|"), strict=True))
        self.header = dict(zip(_HEADERS, headers.split("|"), strict=True))
        self.figure = dict(zip(_FIGURES, figures.split("|"), strict=True))
        self.figure |= zip(_RESULTS, results.split("|"), strict=True)

    def headers(self, names: Sequence[str]) -> list[str]:
        """Return column names in this language."""
        return [self.header[name] for name in names]


def _time(time_msc: int) -> str:
    return (_EPOCH + timedelta(milliseconds=time_msc)).strftime("%Y.%m.%d %H:%M:%S")


def _spaced(number: Decimal, digits: int) -> str:
    """Write money as terminals do in HTML: blanks between thousands."""
    return f"{number:,.{digits}f}".replace(",", " ")


def _lots(volume: Decimal) -> str:
    return f"{volume.normalize():f}"


def _price(symbol: Symbol, price: Decimal) -> str:
    """Write a price with the symbol's digits, a mean with as many as it needs."""
    text = f"{price.normalize():f}"
    decimals = len(text.partition(".")[2])
    return text if decimals > symbol.digits else f"{price:.{symbol.digits}f}"


def _money_columns(columns: int, history: History) -> list[str]:
    """Return the names of a deal's columns behind the order; 13 as in old builds, 14, or 15 with a hidden one."""
    if columns == 13 and any(deal.fee for deal in history.deals):
        raise ValueError("a report of 13 columns has no fees: make the history with fees=False")
    before = {13: ["commission"], 14: ["commission", "fee"], 15: ["cost", "commission", "fee"]}[columns]
    return [*before, "swap", "profit", "balance", "comment"]


# ----------------------------------------------------------------------------------------------------------------- html

_HEAD: Final = """<!DOCTYPE html PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN" "http://www.w3.org/TR/html4/loose.dtd">
<html>
  <head>
    <title>{login}: {name} - {title}</title>
    <meta name="generator" content="client terminal">
    <style type="text/css">
    <!--
    .hidden {{ display: none; }}
    //-->
    </style>
  </head>
<body>
<div align="center">
    <table cellspacing="1" cellpadding="3" border="0">
"""
_FOOT: Final = """    </table>
</div>
</body>
</html>
"""


_HIDDEN: Final = ' class="hidden"'


def _td(text: str, attributes: str = "") -> str:
    return f"<td{' ' if attributes else ''}{attributes}>{escape(text)}</td>"


def _tr(cells: Iterable[str]) -> str:
    return (
        '        <tr bgcolor="#FFFFFF" align="right">\n'
        + "".join(f"            {cell}\n" for cell in cells)
        + "        </tr>\n"
    )


def _heading(text: str) -> str:
    return _tr([f'<th colspan="14" style="height: 25px"><div style="font: 10pt Tahoma"><b>{escape(text)}</b></div></th>'])


def render_html(
    history: History, language: str = "en", *, columns: int = 15, server: str = SERVER, login: int = LOGIN
) -> bytes:
    """Write the report as terminals do: UTF-16LE with a mark, hidden cells, no-break spaces in the account line."""
    words = _Words(language)
    mode = {"hedging": "Hedge", "netting": "Netting"}[history.mode]
    account = f"{login} ({history.currency}, {server}, demo, {mode})"
    written = _time(history.deals[-1].time_msc if history.deals else START_MSC)[:16]
    text = [_HEAD.format(login=login, name=escape(NAME), title=escape(words.title["title"]))]
    text.append(_tr([_td(words.title["title"], 'colspan="14"')]))
    for label, value in (("name", NAME), ("account", account), ("company", COMPANY), ("date", written)):
        shown = escape(value).replace(" ", "&nbsp;") if label == "account" else escape(value)
        text.append(_tr([f'<th colspan="4">{words.title[label]}</th>', f'<th colspan="10"><b>{shown}</b></th>']))
    text.append(_tr([_td("")] * 14))
    text += _html_closed(history, words)
    text += _html_orders(history, words)
    text += _html_deals(history, words, columns)
    text += _html_open(history, words)
    text += _html_working(history, words)
    text += _html_figures(history, words)
    return b"\xff\xfe" + "".join((*text, _FOOT)).replace("\n", "\r\n").encode("utf-16-le")


def _html_header(names: Sequence[str], hidden: int = -1) -> str:
    return _tr(f"<td nowrap{_HIDDEN if index == hidden else ''}><b>{escape(name)}</b></td>" for index, name in enumerate(names))


def _html_closed(history: History, words: _Words) -> Iterator[str]:
    if not history.closed:
        return
    yield _heading(words.title["positions"])
    yield _html_header(words.headers(_CLOSED_HEADER))
    for row in history.closed:
        symbol = row.symbol
        money = [_spaced(amount, history.digits) for amount in (row.commission, row.swap, row.profit)]
        yield _tr(
            [
                _td(_time(row.opened_msc)), _td(str(row.position_id)), _td(symbol.name), _td(row.side),
                _td(row.comment, 'class="hidden" colspan="8"'), _td(_closed_volume(row)),
                _td(_price(symbol, row.price_open)), _td(""), _td(""), _td(_time(row.closed_msc)),
                _td(_price(symbol, row.price_close)), _td(money[0]), _td(money[1]), _td(money[2], 'colspan="2"'),
            ]
        )  # fmt: skip
    yield _tr([_td("")])


def _closed_volume(row: Closed) -> str:
    """Write what is closed, and of how much if the rest is open."""
    both = (_lots(row.volume), _lots(row.volume_opened))
    return both[0] if row.volume == row.volume_opened else " / ".join(both)


def _order_cells(order: Order) -> list[str]:
    price = "market" if order.price is None else _price(order.symbol, order.price)
    volumes = f"{_lots(order.volume)} / {_lots(order.filled)}"
    return [_time(order.setup_msc), str(order.ticket), order.symbol.name, order.type, volumes, price, "", ""]


def _html_orders(history: History, words: _Words) -> Iterator[str]:
    done = [order for order in history.orders if order.state != "placed"]
    if not done:
        return
    yield _heading(words.title["orders"])
    yield _html_header(words.headers(_ORDER_HEADER))
    for order in done:
        rest = [_time(order.done_msc), order.state, order.comment]
        yield _tr(_td(cell) for cell in [*_order_cells(order), *rest])
    yield _tr([_td("")])


def _deal_cells(deal: Deal) -> list[str]:
    """Return a deal's cells up to its order; money that is no trade leaves most of them empty."""
    if deal.symbol is None:
        return [_time(deal.time_msc), str(deal.ticket), "", deal.type, *_cash_cells(deal)]
    return [
        _time(deal.time_msc), str(deal.ticket), deal.symbol.name, deal.type, deal.entry, _lots(deal.volume),
        _price(deal.symbol, deal.price), str(deal.order),
    ]  # fmt: skip


def _cash_cells(deal: Deal) -> list[str]:
    """Direction, volume, price, order: some builds show a credit as an entry of nothing."""
    return ["in", "0", "", ""] if deal.type == "credit" else ["", "", "", ""]


def _html_deals(history: History, words: _Words, columns: int) -> Iterator[str]:
    if not history.deals:
        return
    behind = _money_columns(columns, history)
    hidden = 8 if columns == 15 else -1
    yield _heading(words.title["deals"])
    yield _html_header(words.headers([*_DEAL_HEADER, *behind]), hidden)
    for deal in history.deals:
        money = {name: _spaced(getattr(deal, name), history.digits) for name in ("commission", "fee", "swap", "profit")}
        rest = {**money, "balance": _spaced(deal.balance, history.digits), "comment": deal.comment, "cost": ""}
        cells = [*_deal_cells(deal), *(rest[name] for name in behind)]
        yield _tr(_td(cell, 'class="hidden"' if index == hidden else "") for index, cell in enumerate(cells))
    totals = [sum((getattr(deal, name) for deal in history.deals), _ZERO) for name in behind[columns == 15 : -2]]
    last = [_spaced(amount, history.digits) for amount in (*totals, history.deals[-1].balance)]
    yield _tr([_td("", 'colspan="8"'), *(_td(cell) for cell in last), _td("")])


def _html_open(history: History, words: _Words) -> Iterator[str]:
    if not history.open:
        return
    yield _heading(words.title["open"])
    yield _html_header(words.headers(_OPEN_HEADER))
    for row in history.open:
        cells = [
            _time(row.opened_msc), str(row.ticket), row.symbol.name, row.side, _lots(row.volume),
            _price(row.symbol, row.price_open), "", "", _price(row.symbol, row.price_current),
            _spaced(row.swap, history.digits), _spaced(row.profit, history.digits),
        ]  # fmt: skip
        yield _tr([*(_td(cell) for cell in cells), _td(row.comment, 'colspan="3"')])
    totals = (sum((row.swap for row in history.open), _ZERO), sum((row.profit for row in history.open), _ZERO))
    yield _tr([_td("", 'colspan="9"'), *(_td(_spaced(total, history.digits)) for total in totals), _td("")])


def _html_working(history: History, words: _Words) -> Iterator[str]:
    working = [order for order in history.orders if order.state == "placed"]
    if not working:
        return
    yield _heading(words.title["working"])
    yield _html_header(words.headers(_WORKING_HEADER))
    for order in working:
        market = _price(order.symbol, order.symbol.price)
        yield _tr(_td(cell) for cell in [*_order_cells(order), market, order.state, order.comment])


def _figures(history: History, words: _Words) -> list[list[tuple[str, Decimal]]]:
    """Return the block of account figures: balance, credit, floating result, equity, and the margins beside them."""
    floating = sum((row.profit for row in history.open), _ZERO)
    equity = history.balance + history.credit + floating
    margin = rounded(sum((row.volume for row in history.open), _ZERO) * 100, history.digits)
    label = words.figure
    return [
        [(label["balance"], history.balance), (label["free"], equity - margin)],
        [(label["credit"], history.credit), (label["margin"], margin)],
        [(label["floating"], floating), (label["level"], rounded(equity / margin * 100 if margin else _ZERO, 2))],
        [(label["equity"], equity)],
    ]


def _section(history: History) -> tuple[Rows, Rows]:
    """Return the Results section above and below the heading of the drawdown."""
    deals = [deal for deal in history.deals if deal.type in ("buy", "sell")]
    trades = [Trade(deal.time_msc // 1000, deal.type, deal.entry, deal.money) for deal in deals]
    return terminal_section(trades, deals[0].balance - deals[0].money if deals else history.opening)


def _html_figures(history: History, words: _Words) -> Iterator[str]:
    yield _tr([_td("", 'colspan="13"')])
    for row in _figures(history, words):
        cells: list[str] = []
        for label, amount in row:
            percent = "%" if label == words.figure["level"] else ""
            cells += [_td(label, 'colspan="3"'), _td(_spaced(amount, history.digits) + percent, 'colspan="2"'), _td("")]
        yield _tr(cells[:-1])
    yield _heading(words.title["results"])
    above, below = _section(history)
    yield from (_html_results(figures, history, words) for figures in above)
    yield _tr([_td("", 'colspan="13"')])
    yield _tr([_td(words.figure["drawdown"], 'colspan="3"'), _td("", 'colspan="10"')])
    for index, figures in enumerate(below):
        yield _html_results(figures, history, words, indented=index > 1)
        if index == 0:
            yield _tr([_td("", 'colspan="13"')])


def _html_results(row: list[Cell], history: History, words: _Words, *, indented: bool = False) -> str:
    cells = [_td("", 'colspan="4"')] if indented else []
    for cell in row:
        cells += [_td(words.figure[cell.label], 'colspan="3"'), _td(f"{in_html(cell, history.digits)}")]
    return _tr(cells)


# ----------------------------------------------------------------------------------------------------------------- xlsx

_XML: Final = '<?xml version="1.0"?>\n'
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"

_PARTS: Final = {
    "[Content_Types].xml": f"""<Types xmlns="{_PACKAGE}/content-types">
  <Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
  <Default Extension="xml" ContentType="application/xml"/>
  <Override PartName="/xl/workbook.xml" \
ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>
  <Override PartName="/xl/worksheets/sheet1.xml" \
ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>
  <Override PartName="/xl/sharedStrings.xml" \
ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/>
  <Override PartName="/xl/styles.xml" \
ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/>
</Types>
""",
    "_rels/.rels": f"""<Relationships xmlns="{_PACKAGE}/relationships">
 <Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>
</Relationships>
""",
    "xl/workbook.xml": f"""<workbook xmlns="{_MAIN}"
          xmlns:r="{_OFFICE}">
 <sheets>
  <sheet name="Sheet1" sheetId="1" r:id="rId1"/>
 </sheets>
</workbook>
""",
    "xl/_rels/workbook.xml.rels": f"""<Relationships xmlns="{_PACKAGE}/relationships">
 <Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>
 <Relationship Id="rId2" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/>
 <Relationship Id="rId3" Type="{_OFFICE}/styles" Target="styles.xml"/>
</Relationships>
""",
    "xl/styles.xml": f"""<styleSheet xmlns="{_MAIN}">
 <fonts count="1"><font><sz val="8"/><name val="Tahoma"/></font></fonts>
 <fills count="1"><fill><patternFill patternType="none"/></fill></fills>
 <borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>
 <cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>
 <cellXfs count="2">
  <xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>
  <xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>
 </cellXfs>
</styleSheet>
""",
}

#: A cell: text, a number as it is to be written, a formula with its last result, or nothing.
_Cell = str | Decimal | int | tuple[str, Decimal] | None


class _Sheet:
    """One worksheet in the making: rows of 15 cells, texts shared, wide cells merged."""

    def __init__(self) -> None:
        self._strings: dict[str, int] = {}
        self._rows: list[str] = []
        self._merged: list[str] = []

    @property
    def next_row(self) -> int:
        """Number of the row that comes next."""
        return len(self._rows) + 1

    def row(self, *cells: _Cell, merge: str = "") -> None:
        """Write a row; ``merge`` names ranges of it by letters, as in ``A:C D:O``."""
        number = self.next_row
        padded = [*cells, *[None] * (15 - len(cells))]
        text = "".join(self._cell(f"{chr(65 + index)}{number}", cell) for index, cell in enumerate(padded))
        self._rows.append(f'  <row r="{number}" spans="1:15" ht="15.0000" customHeight="1">\n{text}  </row>\n')
        for span in merge.split():
            first, last = span.split(":")
            self._merged.append(f'  <mergeCell ref="{first}{number}:{last}{number}"/>\n')

    def _cell(self, name: str, cell: _Cell) -> str:
        if cell is None or cell == "":
            return f'   <c r="{name}" s="1"/>\n'
        if isinstance(cell, str):
            index = self._strings.setdefault(cell, len(self._strings))
            return f'   <c r="{name}" s="1" t="s"><v>{index}</v></c>\n'
        if isinstance(cell, tuple):
            return f'   <c r="{name}" s="1"><f>{cell[0]}</f><v>{cell[1]:f}</v></c>\n'
        return f'   <c r="{name}" s="1"><v>{cell:f}</v></c>\n' if isinstance(cell, Decimal) else self._whole(name, cell)

    @staticmethod
    def _whole(name: str, cell: int) -> str:
        return f'   <c r="{name}" s="1"><v>{cell}</v></c>\n'

    def sheet_xml(self) -> str:
        """Return the worksheet part."""
        merged = f' <mergeCells count="{len(self._merged)}">\n{"".join(self._merged)} </mergeCells>\n' if self._merged else ""
        opened = f'<worksheet xmlns="{_MAIN}"\n           xmlns:r="{_OFFICE}">\n <sheetData>\n'
        return opened + "".join(self._rows) + " </sheetData>\n" + merged + "</worksheet>\n"

    def strings_xml(self) -> str:
        """Return the part with all texts."""
        count = len(self._strings)
        texts = "".join(f" <si><t>{escape(text)}</t></si>\n" for text in self._strings)
        return f'<sst xmlns="{_MAIN}" count="{count}" uniqueCount="{count}">\n{texts}</sst>\n'


def render_xlsx(
    history: History, language: str = "en", *, columns: int = 14, server: str = SERVER, login: int = LOGIN
) -> bytes:
    """Write the report as terminals do: one sheet, UTF-16LE parts, times and volumes as text, totals as formulas."""
    words, sheet = _Words(language), _Sheet()
    mode = {"hedging": "Hedge", "netting": "Netting"}[history.mode]
    written = _time(history.deals[-1].time_msc if history.deals else START_MSC)[:16]
    sheet.row(words.title["title"], merge="A:O")
    account = f"{login} ({history.currency}, {server}, demo, {mode})"
    for label, value in (("name", NAME), ("account", account), ("company", COMPANY), ("date", written)):
        sheet.row(words.title[label], None, None, value, merge="A:C D:O")
    _xlsx_closed(sheet, history, words)
    _xlsx_orders(sheet, history, words)
    _xlsx_deals(sheet, history, words, columns)
    _xlsx_open(sheet, history, words)
    for row in _figures(history, words):
        cells: list[_Cell] = []
        for label, amount in row:
            cells += [label, None, None, amount, None, None]
        sheet.row(*cells, merge="A:C D:E G:I J:K")
    sheet.row(words.title["results"], merge="A:O")
    above, below = _section(history)
    for index, figures in enumerate([*above, [], *below]):
        cells = [words.figure["drawdown"]] if not figures else [None] * 4 if index > len(above) + 2 else []
        for cell in figures:
            cells += [words.figure[cell.label], None, None, in_workbook(cell, history.digits)]
        sheet.row(*cells, merge="A:C E:G I:K")
    return _zipped(sheet)


def _xlsx_closed(sheet: _Sheet, history: History, words: _Words) -> None:
    if not history.closed:
        return
    sheet.row(words.title["positions"], merge="A:O")
    sheet.row(*words.headers(_CLOSED_HEADER), merge="M:O")
    for row in history.closed:
        sheet.row(
            _time(row.opened_msc), row.position_id, row.symbol.name, row.side, _closed_volume(row), row.price_open, None,
            None, _time(row.closed_msc), row.price_close, row.commission, row.swap, row.profit, merge="M:O",
        )  # fmt: skip


def _xlsx_orders(sheet: _Sheet, history: History, words: _Words) -> None:
    for title, header, working in (("orders", _ORDER_HEADER, False), ("working", _WORKING_HEADER, True)):
        orders = [order for order in history.orders if (order.state == "placed") is working]
        if not orders:
            continue
        sheet.row(words.title[title], merge="A:O")
        names = words.headers(header)
        sheet.row(*names[:10], None, names[10], merge="J:K L:O")
        for order in orders:
            cells = _order_cells(order)
            ninth: _Cell = order.symbol.price if working else _time(order.done_msc)
            price: _Cell = "market" if order.price is None else order.price
            sheet.row(
                cells[0], order.ticket, *cells[2:5], price, None, None, ninth, order.state, None, order.comment,
                merge="J:K L:O",
            )  # fmt: skip


def _xlsx_deals(sheet: _Sheet, history: History, words: _Words, columns: int) -> None:
    if not history.deals:
        return
    behind = _money_columns(columns, history)
    sheet.row(words.title["deals"], merge="A:O")
    sheet.row(*words.headers([*_DEAL_HEADER, *behind]))
    first = sheet.next_row
    for deal in history.deals:
        cells: list[_Cell] = [*_deal_cells(deal)]
        cells[1] = deal.ticket
        if deal.symbol is not None:
            cells[6:8] = [deal.price, deal.order]
        cells += [None if name == "cost" else getattr(deal, name) for name in behind]
        sheet.row(*cells)
    last = sheet.next_row - 1
    totals: list[_Cell] = [None] * 8
    for name in behind[:-1]:
        letter = chr(65 + len(totals))
        total = sum((getattr(deal, name, _ZERO) for deal in history.deals), _ZERO)
        # The terminal writes formulas for the small sums, plain numbers for profit and balance.
        formula = (f"SUM(Sheet1!{letter}{first}:{letter}{last})", total)
        totals.append({"profit": total, "balance": history.deals[-1].balance, "cost": None}.get(name, formula))
    sheet.row(*totals)


def _xlsx_open(sheet: _Sheet, history: History, words: _Words) -> None:
    if not history.open:
        return
    names = words.headers(_OPEN_HEADER)
    sheet.row(words.title["open"], merge="A:O")
    sheet.row(*names[:10], None, *names[10:], merge="J:K M:O")
    for row in history.open:
        sheet.row(
            _time(row.opened_msc), row.ticket, row.symbol.name, row.side, _lots(row.volume), row.price_open, None, None,
            row.price_current, row.swap, None, row.profit, row.comment, merge="J:K M:O",
        )  # fmt: skip
    number = sheet.next_row
    swap, profit = (sum((getattr(row, name) for row in history.open), _ZERO) for name in ("swap", "profit"))
    rows = f"{number - len(history.open)}:{{0}}{number - 1}"
    formulas = [(f"SUM(Sheet1!{letter}{rows.format(letter)})", total) for letter, total in (("K", swap), ("L", profit))]
    sheet.row(*[None] * 10, *formulas)


def _zipped(sheet: _Sheet) -> bytes:
    parts = {**_PARTS, "xl/sharedStrings.xml": sheet.strings_xml(), "xl/worksheets/sheet1.xml": sheet.sheet_xml()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in parts.items():
            info = zipfile.ZipInfo(name)  # without a date: the same history gives the same bytes
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, b"\xff\xfe" + (_XML + text).encode("utf-16-le"))
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------------------ csv

_FIELDS: Final = [
    "ticket",
    "order",
    "time",
    "time_msc",
    "type",
    "entry",
    "magic",
    "position_id",
    "reason",
    "volume",
    "price",
    "commission",
    "swap",
    "profit",
    "fee",
    "symbol",
    "comment",
    "external_id",
]
_TYPE_CODES: Final = {
    "buy": 0, "sell": 1, "balance": 2, "credit": 3, "charge": 4, "correction": 5, "bonus": 6, "daily commission": 8,
    "interest": 12, "dividend": 15, "tax": 17, "so compensation": 18,
}  # fmt: skip
_ENTRY_CODES: Final = {"": 0, "in": 0, "out": 1, "in/out": 2, "out by": 3}


def render_csv(history: History) -> bytes:
    """Write the deals as scripts dump ``history_deals_get``: UTF-8 with a mark, milliseconds, position ids, doubles."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_FIELDS)
    for deal in history.deals:
        reason = 6 if deal.comment.startswith("[so") else 3 if deal.symbol else 0
        name = deal.symbol.name if deal.symbol else ""
        writer.writerow(
            [
                deal.ticket, deal.order, deal.time_msc // 1000, deal.time_msc, _TYPE_CODES[deal.type],
                _ENTRY_CODES[deal.entry], 1000 if deal.symbol else 0, deal.position_id, reason, float(deal.volume),
                float(deal.price), float(deal.commission), float(deal.swap), float(deal.profit), float(deal.fee), name,
                deal.comment, "",
            ]
        )  # fmt: skip
    return b"\xef\xbb\xbf" + text.getvalue().encode()
