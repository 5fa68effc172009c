"""This script is an invented trading account: it lives a random history and writes it down as a terminal would.

It shares no code with the ledger, so that what it says of its own history (running balance, closed and open positions,
position ids) can be held against what the ledger makes of the file.

    python3 tools/sample_history.py --mode hedging --deals 60 --seed 7 --format html --out report.html

The same seed gives the same bytes. Nothing in here is a real account, broker, price or person.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from html import escape
from pathlib import Path
from random import Random
from typing import Final

LOGIN: Final = 70113
SERVER: Final = "Sample-Demo"
NAME: Final = "Sample Trader"
COMPANY: Final = "Sample Markets Ltd"

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # a wall clock has no zone
_START_MSC: Final = 1_704_153_600_000  # 2024.01.02 00:00:00
_DAY_MSC: Final = 86_400_000
_ZERO: Final = Decimal(0)
_LOT_STEP: Final = Decimal("0.01")


# ------------------------------------------------------------------------------------------------------------ the account


@dataclass(frozen=True)
class Symbol:
    """A tradable thing. ``commission`` is per lot and side, ``fee`` per deal, in account currency."""

    name: str
    digits: int
    contract: int
    price: Decimal
    quote: str
    commission: Decimal = _ZERO
    fee: Decimal = _ZERO

    def round(self, price: Decimal, more: int = 0) -> Decimal:
        """Round a price to the symbol's digits, and so many more."""
        return price.quantize(Decimal(1).scaleb(-self.digits - more), ROUND_HALF_UP)


SYMBOLS: Final = (
    Symbol("EURUSD", 5, 100_000, Decimal("1.09550"), "USD", commission=Decimal("-3.5")),
    Symbol("GBPUSD", 5, 100_000, Decimal("1.27140"), "USD", commission=Decimal("-3.5")),
    Symbol("USDJPY", 3, 100_000, Decimal("143.215"), "JPY", commission=Decimal("-2.5")),
    Symbol("XAUUSD", 2, 100, Decimal("2063.50"), "USD"),
    Symbol("US30.cash", 1, 1, Decimal("37715.0"), "USD", fee=Decimal("-0.15")),
)


@dataclass(frozen=True)
class Deal:
    """One deal; ``balance`` is the running figure after it, credit included. A trade has a symbol."""

    ticket: int
    time_msc: int
    type: str
    profit: Decimal
    order: int = 0
    position_id: int = 0
    symbol: Symbol | None = None
    entry: str = ""
    volume: Decimal = _ZERO
    price: Decimal = _ZERO
    commission: Decimal = _ZERO
    fee: Decimal = _ZERO
    swap: Decimal = _ZERO
    comment: str = ""
    balance: Decimal = _ZERO

    @property
    def money(self) -> Decimal:
        """What the deal moves the running figure by."""
        return self.profit + self.commission + self.fee + self.swap


@dataclass(frozen=True)
class Closed:
    """A closed position as the terminal sums it up; ``volume_opened`` is larger than ``volume`` if a part is open."""

    position_id: int
    symbol: Symbol
    side: str
    opened_msc: int
    closed_msc: int
    volume: Decimal
    volume_opened: Decimal
    price_open: Decimal
    price_close: Decimal
    commission: Decimal
    swap: Decimal
    profit: Decimal
    comment: str


@dataclass(frozen=True)
class Open:
    """A position that is still open. ``ticket`` differs from the position id after a reversal."""

    position_id: int
    ticket: int
    symbol: Symbol
    side: str
    opened_msc: int
    volume: Decimal
    price_open: Decimal
    price_current: Decimal
    swap: Decimal
    profit: Decimal
    comment: str


@dataclass(frozen=True)
class Order:
    """An order, done or still working (``state`` placed)."""

    ticket: int
    setup_msc: int
    done_msc: int
    symbol: Symbol
    type: str
    volume: Decimal
    filled: Decimal
    price: Decimal | None
    state: str
    comment: str


@dataclass(frozen=True)
class History:
    """An account's deals from ``deals[0]`` on, and what they come to. ``opening`` is the figure before the first."""

    mode: str
    currency: str
    digits: int
    deals: tuple[Deal, ...]
    orders: tuple[Order, ...]
    closed: tuple[Closed, ...]
    open: tuple[Open, ...]
    opening: Decimal
    #: position_id -> (symbol, side, volume) of what was open before the first deal.
    open_before: dict[int, tuple[str, str, Decimal]]
    _all: tuple[Deal, ...] = field(repr=False)

    @property
    def credit(self) -> Decimal:
        """The credit facility at the end."""
        last = self.deals[-1].ticket if self.deals else 0
        return sum((deal.profit for deal in self._all if deal.type == "credit" and deal.ticket <= last), _ZERO)

    @property
    def balance(self) -> Decimal:
        """The balance at the end, without credit."""
        return (self.deals[-1].balance if self.deals else self.opening) - self.credit

    def window(self, first: int = 0, last: int | None = None) -> History:
        """Return the same account as an export of deals ``first`` up to (not including) ``last`` would show it."""
        last = len(self.deals) if last is None else last
        shown = self.deals[first:last]
        start = self._all.index(self.deals[first]) if first < len(self.deals) else len(self._all)
        end = start + len(shown)
        until = shown[-1].time_msc if shown else 0
        before = _play(self.mode, self._all[:start], self.digits)
        after = _play(self.mode, self._all[:end], self.digits)
        since = shown[0].time_msc if shown else 0
        return replace(
            self,
            deals=shown,
            orders=tuple(order for order in self.orders if since <= order.setup_msc <= until),
            closed=tuple(
                row for row in after.closed if row.closed_msc >= since and row not in before.closed
            ),
            open=tuple(after.open),
            opening=self._all[start - 1].balance if start else _ZERO,
            open_before={p.position_id: (p.symbol.name, p.side, p.volume) for p in before.open},
        )


# ---------------------------------------------------------------------------------------------- what deals come to, again


@dataclass
class _Lived:
    """One position while its deals are played: sums of what opened and of what closed it."""

    position_id: int
    ticket: int
    symbol: Symbol
    side: str
    opened_msc: int
    comment: str
    volume: Decimal = _ZERO
    cost: Decimal = _ZERO
    opened: Decimal = _ZERO
    opened_cost: Decimal = _ZERO
    gone: Decimal = _ZERO
    gone_cost: Decimal = _ZERO
    closed_msc: int = 0
    commission: Decimal = _ZERO
    swap: Decimal = _ZERO
    profit: Decimal = _ZERO

    @property
    def price_open(self) -> Decimal:
        return self.symbol.round(self.cost / self.volume, 3)

    def add(self, deal: Deal, volume: Decimal) -> None:
        self.volume += volume
        self.cost += volume * deal.price
        self.opened += volume
        self.opened_cost += volume * deal.price
        self.commission += deal.commission

    def take(self, deal: Deal, volume: Decimal) -> None:
        self.cost -= self.cost * volume / self.volume
        self.volume -= volume
        self.gone += volume
        self.gone_cost += volume * deal.price
        self.closed_msc = deal.time_msc
        self.commission += deal.commission
        self.swap += deal.swap
        self.profit += deal.profit

    def as_closed(self) -> Closed:
        return Closed(
            self.position_id, self.symbol, self.side, self.opened_msc, self.closed_msc, self.gone, self.opened,
            self.symbol.round(self.opened_cost / self.opened, 3), self.symbol.round(self.gone_cost / self.gone),
            self.commission, self.swap, self.profit, self.comment,
        )  # fmt: skip

    def as_open(self, digits: int) -> Open:
        """Mark it at a price a little off, which no deal depends on."""
        shift = Decimal(self.position_id % 21 - 10).scaleb(-self.symbol.digits)
        price = self.symbol.round(self.cost / self.volume) + shift
        profit = _profit(self.symbol, self.side, self.price_open, price, self.volume, digits)
        return Open(
            self.position_id, self.ticket, self.symbol, self.side, self.opened_msc, self.volume, self.price_open,
            price, _ZERO, profit, self.comment,
        )  # fmt: skip


@dataclass
class _Played:
    closed: list[Closed] = field(default_factory=list)
    open: list[Open] = field(default_factory=list)


def _play(mode: str, deals: Iterable[Deal], digits: int) -> _Played:
    """Replay deals by their position ids; closed positions in the order of their opening, as terminals list them."""
    lived: dict[int, _Lived] = {}
    done: list[_Lived] = []
    for deal in deals:
        if deal.symbol is None or deal.type not in ("buy", "sell"):
            continue
        position = lived.get(deal.position_id)
        if deal.entry == "in":
            if position is None:
                position = lived[deal.position_id] = _born(deal)
            position.add(deal, deal.volume)
            continue
        assert position is not None, f"{mode}: deal {deal.ticket} closes what is not open"
        rest = deal.volume - position.volume
        position.take(deal, min(deal.volume, position.volume))
        if not position.volume:
            done.append(lived.pop(deal.position_id))
        if deal.entry == "in/out":
            turned = lived[deal.position_id] = _born(deal)
            turned.add(replace(deal, commission=_ZERO), rest)
    rows = [position.as_closed() for position in done] + [p.as_closed() for p in lived.values() if p.gone]
    rows.sort(key=lambda row: (row.opened_msc, row.position_id))
    return _Played(rows, [position.as_open(digits) for position in lived.values()])


def _born(deal: Deal) -> _Lived:
    assert deal.symbol is not None
    return _Lived(deal.position_id, deal.order, deal.symbol, deal.type, deal.time_msc, deal.comment)


def _profit(symbol: Symbol, side: str, opened: Decimal, closed: Decimal, volume: Decimal, digits: int) -> Decimal:
    """Return a result in account currency; a foreign quote currency is converted at the closing price."""
    points = closed - opened if side == "buy" else opened - closed
    amount = points * volume * symbol.contract
    if symbol.quote != "USD":
        amount /= closed
    return _money(amount, digits)


def _money(amount: Decimal, digits: int) -> Decimal:
    """Round to the currency; a negative nothing is nothing."""
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP) + _ZERO


# ------------------------------------------------------------------------------------------------------------------ a life


@dataclass
class _Held:
    """A position while the account lives."""

    position_id: int
    symbol: Symbol
    side: str
    volume: Decimal
    price: Decimal
    opened_msc: int


class _Life:
    """A random account that does one thing after the other."""

    def __init__(self, seed: int, mode: str, deals: int, *, digits: int, fees: bool, big_tickets: bool) -> None:
        self.rng = Random(f"{seed}/{mode}/{deals}")  # noqa: S311  # plausible, not secret
        self.mode, self.wanted, self.digits, self.fees = mode, deals, digits, fees
        self.time_msc = _START_MSC + self.rng.randrange(_DAY_MSC)
        base = 50_629_000_000 if big_tickets else 1_200_000
        self.next_deal = base + self.rng.randrange(1000)
        self.next_order = base + 7_000_000 + self.rng.randrange(1000)
        self.figure = self.credit = _ZERO
        self.prices = {symbol.name: symbol.price for symbol in SYMBOLS}
        self.held: list[_Held] = []
        self.pending: list[Order] = []
        self.deals: list[Deal] = []
        self.orders: list[Order] = []

    # ------------------------------------------------------------------------------------------------------- small steps

    def wait(self) -> None:
        """Let some time pass, often none: several deals in one second are common."""
        if self.rng.random() < 0.25:
            self.time_msc += self.rng.randrange(200)
            return
        self.time_msc += self.rng.choice((1_500, 40_000, 900_000, 9_000_000, 40_000_000)) + self.rng.randrange(5_000)

    def move(self, symbol: Symbol) -> Decimal:
        """Let a price go a little way, and return it."""
        step = self.prices[symbol.name] * Decimal(self.rng.randrange(-40, 41)) / 20_000
        self.prices[symbol.name] = symbol.round(self.prices[symbol.name] + step)
        return self.prices[symbol.name]

    def money(self, amount: Decimal) -> Decimal:
        """Round to the account's currency."""
        return _money(amount, self.digits)

    def ticket(self) -> int:
        """Return a new order ticket."""
        self.next_order += self.rng.randrange(1, 6)
        return self.next_order

    def lots(self) -> Decimal:
        """Return a volume."""
        return self.rng.choice((1, 1, 2, 3, 5, 10, 25, 100)) * _LOT_STEP

    def note(self, deal: Deal) -> None:
        """Book a deal."""
        self.next_deal += self.rng.randrange(1, 4)
        self.figure += deal.money
        if deal.type == "credit":
            self.credit += deal.profit
        self.deals.append(replace(deal, ticket=self.next_deal, time_msc=self.time_msc, balance=self.figure))

    def trade(
        self, symbol: Symbol, side: str, entry: str, volume: Decimal, price: Decimal, *, order: int, position_id: int,
        profit: Decimal = _ZERO, swap: Decimal = _ZERO, comment: str = "",
    ) -> None:  # fmt: skip
        """Book a trade with what it costs."""
        self.note(
            Deal(
                0, 0, side, profit, order=order, position_id=position_id, symbol=symbol, entry=entry, volume=volume,
                price=price, commission=self.money(symbol.commission * volume),
                fee=self.money(symbol.fee) if self.fees else self.money(_ZERO), swap=swap, comment=comment,
            )
        )  # fmt: skip

    def fill(self, symbol: Symbol, side: str, volume: Decimal, *, comment: str = "", kind: str = "") -> int:
        """Note an order that is filled at once, and return its ticket."""
        ticket = self.ticket()
        self.orders.append(
            Order(ticket, self.time_msc, self.time_msc, symbol, kind or side, volume, volume, None, "filled", comment)
        )
        return ticket

    # ---------------------------------------------------------------------------------------------------- things to do

    def pay(self) -> None:
        """Book money that is no trade."""
        rng = self.rng
        kind, low, high, comment = rng.choice(
            (
                ("balance", 50_000, 500_000, "Deposit"),
                ("balance", -30_000, -1_000, "Withdrawal"),
                ("credit", 5_000, 20_000, "Credit line"),
                ("charge", -900, -100, "Data feed"),
                ("correction", -500, 500, ""),
                ("bonus", 1_000, 5_000, "Welcome"),
                ("interest", 10, 400, ""),
                ("dividend", 100, 2_000, "US30.cash dividend"),
                ("tax", -800, -50, "Tax on dividend"),
                ("daily commission", -300, -20, ""),
                ("so compensation", 10, 400, "zeroed"),
            )
        )
        amount = self.money(Decimal(rng.randrange(low, high)) / 100)
        if kind == "credit" and self.credit and rng.random() < 0.6:
            amount, comment = -self.credit, "Credit withdrawn"
        self.note(Deal(0, 0, kind, amount, comment=comment))

    def place(self) -> None:
        """Place a pending order; it may be filled much later, under the ticket it has now."""
        symbol, side = self.rng.choice(SYMBOLS), self.rng.choice(("buy", "sell"))
        kind = f"{side} {self.rng.choice(('limit', 'stop'))}"
        price = self.move(symbol)
        self.pending.append(Order(self.ticket(), self.time_msc, 0, symbol, kind, self.lots(), _ZERO, price, "placed", ""))

    def cancel(self) -> None:
        """Give up a pending order."""
        if self.pending:
            order = self.pending.pop(self.rng.randrange(len(self.pending)))
            self.orders.append(replace(order, done_msc=self.time_msc, state="canceled"))

    def begin(self) -> None:
        """Open a position (netting: or add to one), sometimes by a pending order, sometimes in two fills."""
        rng = self.rng
        if self.pending and rng.random() < 0.5:
            order = self.pending.pop(0)
            symbol, side, volume, ticket = order.symbol, order.type.split()[0], order.volume, order.ticket
            self.orders.append(replace(order, done_msc=self.time_msc, filled=volume, state="filled"))
        else:
            symbol, side, volume = rng.choice(SYMBOLS), rng.choice(("buy", "sell")), self.lots()
            ticket = 0
        if self.mode == "netting" and (held := self._held(symbol)):
            if ticket and held.side != side:
                self._less(held, min(volume, held.volume), ticket=ticket)
                return
            side = held.side
        ticket = ticket or self.fill(symbol, side, volume, comment="Sample EA")
        parts = [volume]
        if volume > _LOT_STEP and rng.random() < 0.15:
            first = rng.randrange(1, int(volume / _LOT_STEP)) * _LOT_STEP
            parts = [first, volume - first]
        for part in parts:
            self._more(symbol, side, part, ticket)

    def _held(self, symbol: Symbol) -> _Held | None:
        return next((held for held in self.held if held.symbol is symbol), None)

    def _more(self, symbol: Symbol, side: str, volume: Decimal, ticket: int) -> None:
        same = [h for h in self.held if h.position_id == ticket or (self.mode == "netting" and h.symbol is symbol)]
        price = self.move(symbol)
        if same:
            held = same[0]
            held.price = (held.price * held.volume + price * volume) / (held.volume + volume)
            held.volume += volume
        else:
            held = _Held(ticket, symbol, side, volume, price, self.time_msc)
            self.held.append(held)
        self.trade(symbol, side, "in", volume, price, order=ticket, position_id=held.position_id, comment="Sample EA")

    def end(self) -> None:
        """Close a position, or a part of it."""
        if not self.held:
            return
        held = self.rng.choice(self.held)
        volume = held.volume
        if volume > _LOT_STEP and self.rng.random() < 0.4:
            volume = self.rng.randrange(1, int(volume / _LOT_STEP)) * _LOT_STEP
        self._less(held, volume)

    def _less(self, held: _Held, volume: Decimal, *, ticket: int = 0) -> None:
        side = "sell" if held.side == "buy" else "buy"
        price = self.move(held.symbol)
        comment = self.rng.choice(("", "", f"[sl {price}]", f"[tp {price}]", "[so 48.7%/35.1/72.0]", "PARTIAL"))
        ticket = ticket or self.fill(held.symbol, side, volume, comment=comment)
        profit = _profit(held.symbol, held.side, held.price, price, volume, self.digits)
        self.trade(
            held.symbol, side, "out", volume, price, order=ticket, position_id=held.position_id, profit=profit,
            swap=self._swap(held, volume), comment=comment,
        )  # fmt: skip
        self._shrink(held, volume)

    def _shrink(self, held: _Held, volume: Decimal) -> None:
        held.volume -= volume
        if not held.volume:
            self.held.remove(held)

    def _swap(self, held: _Held, volume: Decimal) -> Decimal:
        """Return interest for the nights that a position was held, in either direction."""
        nights = self.time_msc // _DAY_MSC - held.opened_msc // _DAY_MSC
        return self.money(Decimal(self.rng.choice((-61, -13, 0, 27))) / 10 * volume * nights)

    def end_by(self) -> None:
        """Close two opposite positions by one another: two deals of one order, the result on one of them."""
        pairs = [(a, b) for a in self.held for b in self.held if a.symbol is b.symbol and (a.side, b.side) == ("buy", "sell")]
        if not pairs:
            return
        buy, sell = self.rng.choice(pairs)
        volume, symbol = min(buy.volume, sell.volume), buy.symbol
        buy_price, sell_price = symbol.round(buy.price), symbol.round(sell.price)
        ticket = self.fill(symbol, "sell", volume, kind="close by")
        profit = _profit(symbol, "buy", buy_price, sell_price, volume, self.digits)
        results = [profit, _ZERO] if self.rng.random() < 0.5 else [_ZERO, profit]
        for held, price, result in ((buy, sell_price, results[0]), (sell, buy_price, results[1])):
            self.trade(
                symbol, "sell" if held is buy else "buy", "out by", volume, price, order=ticket, profit=self.money(result),
                position_id=held.position_id, swap=self._swap(held, volume), comment=f"close #{held.position_id}",
            )  # fmt: skip
            self._shrink(held, volume)

    def turn(self) -> None:
        """Reverse a netting position: one deal closes it and opens the other side, under the same position id."""
        if not self.held:
            return
        held = self.rng.choice(self.held)
        side = "sell" if held.side == "buy" else "buy"
        price, volume = self.move(held.symbol), held.volume + self.lots()
        ticket = self.fill(held.symbol, side, volume)
        self.trade(
            held.symbol, side, "in/out", volume, price, order=ticket, position_id=held.position_id,
            profit=_profit(held.symbol, held.side, held.price, price, held.volume, self.digits),
            swap=self._swap(held, held.volume),
        )  # fmt: skip
        held.side, held.volume, held.price, held.opened_msc = side, volume - held.volume, price, self.time_msc

    # ------------------------------------------------------------------------------------------------------ the whole life

    def live(self) -> None:
        """Deposit, then do things until there are enough deals."""
        self.note(Deal(0, 0, "balance", self.money(Decimal(10_000)), comment="Deposit"))
        other = self.end_by if self.mode == "hedging" else self.turn
        while len(self.deals) < self.wanted:
            self.wait()
            crowded = len(self.held) >= 12
            actions = (self.begin, self.end, other, self.pay, self.place, self.cancel)
            self.rng.choices(actions, (5 if crowded else 40, 40, 6, 4, 8, 3))[0]()


def make_history(
    seed: int, mode: str = "hedging", deals: int = 60, *, currency: str = "USD", fees: bool = True, big_tickets: bool = False
) -> History:
    """Live an account of at least so many deals.

    Args:
        seed: The same seed gives the same history.
        mode: ``hedging`` or ``netting``.
        deals: How many deals; an action that has begun is completed.
        currency: JPY and other currencies without decimals are rounded to whole units.
        fees: Whether some symbols cost a fee. Reports of 13 columns have none to show.
        big_tickets: Whether tickets need more than 32 bits.
    """
    digits = 0 if currency in ("JPY", "KRW") else 2
    life = _Life(seed, mode, deals, digits=digits, fees=fees, big_tickets=big_tickets)
    life.live()
    all_deals = tuple(life.deals)
    played = _play(mode, all_deals, digits)
    orders = sorted([*life.orders, *life.pending], key=lambda order: order.ticket)
    return History(
        mode, currency, digits, all_deals, tuple(orders), tuple(played.closed), tuple(played.open), _ZERO, {}, all_deals
    )


# --------------------------------------------------------------------------------------------------------------- the words

_WORDS: Final = {
    "en": (
        "Trade History Report|Name:|Account:|Company:|Date:|Positions|Orders|Deals|Open Positions|Working Orders|Results",
        "Time|Position|Symbol|Type|Volume|Price|S / L|T / P|Commission|Swap|Profit|Open Time|Order|State|Comment|Deal|"
        "Direction|Fee|Balance|Market Price|Cost",
        "Balance:|Free Margin:|Credit Facility:|Margin:|Floating P/L:|Margin Level:|Equity:|Total Net Profit:",
    ),
    "de": (
        "Bericht der Handelshistorie|Name:|Konto:|Unternehmen:|Datum:|Positionen|Orders|Trades|Offene Positionen|"
        "Aktive Orders|Ergebnisse",
        "Zeit|Position|Symbol|Typ|Volumen|Preis|S / L|T / P|Kommission|Swap|Gewinn|Eröffnungszeit|Order|Status|Kommentar|"
        "Trade|Richtung|Gebühr|Kontostand|Marktpreis|Kosten",
        "Kontostand:|Freie Margin:|Kredit:|Margin:|Schwebender P/L:|Margin-Niveau:|Kapital:|Nettogewinn gesamt:",
    ),
    "es": (
        "Informe del historial de trading|Nombre:|Cuenta:|Compañía:|Fecha:|Posiciones|Órdenes|Transacciones|"
        "Posiciones abiertas|Órdenes activas|Resultados",
        "Fecha/Hora|Posición|Símbolo|Tipo|Volumen|Precio|S / L|T / P|Comisión|Swap|Beneficio|Hora de apertura|Orden|Estado|"
        "Comentario|Transacción|Dirección|Tarifa|Balance|Precio de mercado|Coste",
        "Balance:|Margen libre:|Crédito:|Margen:|P/L flotante:|Nivel de margen:|Equidad:|Beneficio neto total:",
    ),
    "ja": (
        "取引履歴レポート|名前:|口座:|会社:|日付:|ポジション一覧|注文|約定|ポジション|現在のオーダー|結果",
        # One word for commission and fee, as the terminal has it.
        "時間|ポジション情報|銘柄|タイプ|数量|価格|決済逆指値|決済指値|手数料|スワップ|損益|約定時刻|注文|状況|コメント|約定|"
        "新規・決済|手数料|残高|市場価格|費用",
        "残高:|余剰証拠金:|クレジット:|必要証拠金:|含み損益:|証拠金維持率:|有効証拠金:|総損益:",
    ),
    "ru": (
        "Отчет торговой истории|Имя:|Счет:|Компания:|Дата:|Позиции|Ордера|Сделки|Открытые позиции|Рабочие ордера|Результаты",
        "Время|Позиция|Символ|Тип|Объем|Цена|S / L|T / P|Комиссия|Своп|Прибыль|Время открытия|Ордер|Состояние|Комментарий|"
        "Сделка|Направление|Сбор|Баланс|Рыночная цена|Затраты",
        "Баланс:|Свободная маржа:|Кредит:|Маржа:|Плавающая P/L:|Уровень маржи:|Средства:|Чистая прибыль:",
    ),
}
LANGUAGES: Final = tuple(_WORDS)

_TITLES: Final = "title name account company date positions orders deals open working results".split()
_HEADERS: Final = (
    "time position symbol type volume price sl tp commission swap profit opened order state comment deal direction fee "
    "balance market cost".split()
)
_FIGURES: Final = "balance free credit margin floating level equity net".split()

_CLOSED_HEADER: Final = "time position symbol type volume price sl tp time price commission swap profit".split()
_ORDER_HEADER: Final = "opened order symbol type volume price sl tp time state comment".split()
_WORKING_HEADER: Final = "opened order symbol type volume price sl tp market state comment".split()
_OPEN_HEADER: Final = "time position symbol type volume price sl tp market swap profit comment".split()
_DEAL_HEADER: Final = "time deal symbol type direction volume price order".split()


class _Words:
    """The headings, column names and labels of one language."""

    def __init__(self, language: str) -> None:
        titles, headers, figures = _WORDS[language]
        self.title = dict(zip(_TITLES, titles.split("|"), strict=True))
        self.header = dict(zip(_HEADERS, headers.split("|"), strict=True))
        self.figure = dict(zip(_FIGURES, figures.split("|"), strict=True))

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


# -------------------------------------------------------------------------------------------------------------------- html

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


def _td(text: str, attributes: str = "") -> str:
    return f"<td{' ' if attributes else ''}{attributes}>{escape(text)}</td>"


def _tr(cells: Iterable[str]) -> str:
    return '        <tr bgcolor="#FFFFFF" align="right">\n' + "".join(f"            {cell}\n" for cell in cells) + "        </tr>\n"


def _heading(text: str) -> str:
    return _tr([f'<th colspan="14" style="height: 25px"><div style="font: 10pt Tahoma"><b>{escape(text)}</b></div></th>'])


def render_html(
    history: History, language: str = "en", *, columns: int = 15, server: str = SERVER, login: int = LOGIN
) -> bytes:
    """Write the report as the terminal does: UTF-16LE with a mark, hidden cells, no-break spaces in the account line."""
    words = _Words(language)
    mode = {"hedging": "Hedge", "netting": "Netting"}[history.mode]
    account = f"{login} ({history.currency}, {server}, demo, {mode})"
    written = _time(history.deals[-1].time_msc if history.deals else _START_MSC)[:16]
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
    return _tr(
        f'<td nowrap{chr(32) + chr(99) + "lass=hidden" if index == hidden else ""}><b>{escape(name)}</b></td>'
        for index, name in enumerate(names)
    )


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
    margin = _money(sum((row.volume for row in history.open), _ZERO) * 100, history.digits)
    label = words.figure
    return [
        [(label["balance"], history.balance), (label["free"], equity - margin)],
        [(label["credit"], history.credit), (label["margin"], margin)],
        [(label["floating"], floating), (label["level"], _money(equity / margin * 100 if margin else _ZERO, 2))],
        [(label["equity"], equity)],
    ]


def _net(history: History) -> Decimal:
    return sum((deal.profit + deal.swap + deal.commission + deal.fee for deal in history.deals if deal.symbol), _ZERO)


def _html_figures(history: History, words: _Words) -> Iterator[str]:
    yield _tr([_td("", 'colspan="13"')])
    for row in _figures(history, words):
        cells: list[str] = []
        for label, amount in row:
            percent = "%" if label == words.figure["level"] else ""
            cells += [_td(label, 'colspan="3"'), _td(_spaced(amount, history.digits) + percent, 'colspan="2"'), _td("")]
        yield _tr(cells[:-1])
    yield _heading(words.title["results"])
    net = _spaced(_net(history), history.digits)
    yield _tr([_td(words.figure["net"], 'colspan="3"'), _td(net)])


# -------------------------------------------------------------------------------------------------------------------- xlsx

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
 <fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>
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
    """Write the report as the terminal does: one sheet, UTF-16LE parts, times and volumes as text, totals as formulas."""
    words, sheet = _Words(language), _Sheet()
    mode = {"hedging": "Hedge", "netting": "Netting"}[history.mode]
    written = _time(history.deals[-1].time_msc if history.deals else _START_MSC)[:16]
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
    sheet.row(words.figure["net"], None, None, _net(history), merge="A:C")
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


# -------------------------------------------------------------------------------------------------------------------- csv

_FIELDS: Final = (
    "ticket order time time_msc type entry magic position_id reason volume price commission swap profit fee symbol comment "
    "external_id".split()
)
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


# ------------------------------------------------------------------------------------------------------------ the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file, or the bytes to standard output."""
    parser = argparse.ArgumentParser(description="Write an invented account's history as a terminal would.")
    parser.add_argument("--mode", choices=("hedging", "netting"), default="hedging")
    parser.add_argument("--deals", type=int, default=60, help="how many deals the account lives (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes (default 1)")
    parser.add_argument("--format", choices=("html", "xlsx", "csv"), default="html")
    parser.add_argument("--language", choices=LANGUAGES, default="en")
    parser.add_argument("--currency", default="USD", help="account currency (default USD)")
    parser.add_argument("--columns", type=int, choices=(13, 14, 15), help="columns of the deals table")
    parser.add_argument("--from-deal", type=int, default=0, help="leave out so many deals at the beginning (date filter)")
    parser.add_argument("--to-deal", type=int, help="stop before this deal: an earlier export of the same account")
    parser.add_argument("--big-tickets", action="store_true", help="tickets of more than 32 bits")
    parser.add_argument("--out", type=Path, help="file to write; standard output without it")
    given = parser.parse_args(arguments)
    history = make_history(
        given.seed, given.mode, given.deals, currency=given.currency, fees=given.columns != 13,
        big_tickets=given.big_tickets,
    ).window(given.from_deal, given.to_deal)  # fmt: skip
    if given.format == "csv":
        data = render_csv(history)
    elif given.format == "html":
        data = render_html(history, given.language, columns=given.columns or 15)
    else:
        data = render_xlsx(history, given.language, columns=given.columns or 14)
    if given.out:
        given.out.write_bytes(data)
    else:
        sys.stdout.buffer.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
