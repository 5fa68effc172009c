"""A simulated MT5 terminal: one account with its own server clock, prices, positions, deals and money. No I/O.

The same seed and the same calls give the same books. Rules as MT5 documents them (MQL5 Reference, "Deal Properties",
"Position Properties"): hedging keeps a position an opening order, netting and exchange one a symbol.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any, Final

from attrs import define, evolve, field, frozen

from ledger.deprecation import Alias, init_arguments
from ledger.errors import BadValue
from ledger.events import CashMoved, Deal, FillRecorded
from ledger.values import CREDIT, Entry, MarginMode, Side, entry_word

Row = dict[str, Any]

DONE: Final = 10009
INVALID: Final = 10013
INVALID_VOLUME: Final = 10014
POSITION_CLOSED: Final = 10036
INVALID_CLOSE_VOLUME: Final = 10038

REASON_CLIENT: Final = 0
REASON_EXPERT: Final = 3
REASON_STOP_OUT: Final = 6

#: 2026-01-05 10:00:00 on the server's clock, a Monday.
START_MSC: Final = 1_767_607_200_000
_STEP: Final = Decimal("0.01")
_NOISE_EVERY: Final = 5  # one number in so many comes with dirt in its last bit


@frozen
class Symbol:
    """What is traded: decimals of its price, least volume, units in a lot, the currency of its profit, its first price."""

    name: str
    digits: int
    volume_step: Decimal
    contract_size: Decimal
    currency_profit: str
    price: Decimal


def _symbols() -> Mapping[str, Symbol]:
    listed = (
        ("EURUSD", 5, "100000", "USD", "1.08512"), ("GBPUSD", 5, "100000", "USD", "1.27044"),
        ("AUDUSD", 5, "100000", "USD", "0.65731"), ("NZDUSD", 5, "100000", "USD", "0.60127"),
        ("USDCHF", 5, "100000", "CHF", "0.88342"), ("USDCAD", 5, "100000", "CAD", "1.36215"),
        ("EURGBP", 5, "100000", "GBP", "0.85411"), ("EURCHF", 5, "100000", "CHF", "0.95860"),
        ("USDJPY", 3, "100000", "JPY", "156.312"), ("EURJPY", 3, "100000", "JPY", "169.604"),
        ("GBPJPY", 3, "100000", "JPY", "198.577"), ("XAUUSD", 2, "100", "USD", "2350.11"),
        ("XAGUSD", 3, "5000", "USD", "29.415"), ("US500", 1, "10", "USD", "5321.4"),
        ("GER40", 1, "10", "EUR", "18712.3"), ("USOIL", 2, "1000", "USD", "78.04"),
        ("BTCUSD", 2, "1", "USD", "68012.55"), ("ETHUSD", 2, "1", "USD", "3541.20"),
    )  # fmt: skip
    return {
        name: Symbol(name, digits, _STEP, Decimal(size), currency, Decimal(price))
        for name, digits, size, currency, price in listed
    }


SYMBOLS: Final = _symbols()


@define
class Open:
    """One open position. ``cost`` is volume times price, exact, of what is left."""

    position_id: int
    ticket: int
    symbol: str
    side: Side
    volume: Decimal
    cost: Fraction
    opened_msc: int
    updated_msc: int
    magic: int = 0
    comment: str = ""
    swap: Decimal = Decimal(0)

    def price(self) -> Fraction:
        """Return the exact open price."""
        return self.cost / Fraction(self.volume)

    def take(self, volume: Decimal) -> None:
        """Close a part; the open price stays."""
        self.cost -= self.price() * Fraction(volume)
        self.volume -= volume


@frozen(kw_only=True)
class Answer:
    """The result of an order, as MT5 reports it: return code, order ticket, and the deals that it made."""

    retcode: int
    order: int = 0
    deals: tuple[Row, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether it was carried out."""
        return self.retcode == DONE


@init_arguments(pace_msc="pace_ms")
@define
class Terminal:
    """One account of one broker. Money in account currency, times on the server's clock in milliseconds."""

    mode: MarginMode = field(default=MarginMode.HEDGING, converter=MarginMode)
    seed: int = 1
    login: int = 70113
    server: str = "Sandbox-Demo"
    currency: str = "USD"
    currency_digits: int = 2
    now_msc: int = START_MSC
    commission: Decimal = field(default=Decimal("3.50"), converter=Decimal)  # for a lot and a side
    symbols: Mapping[str, Symbol] = field(factory=lambda: dict(SYMBOLS))
    is_connected: bool = True
    #: Points between the prices for sellers and for buyers.
    spread: int = 0
    #: How far a deal moves the clock at most: none where the clock is a real one.
    pace_ms: int = 400
    #: Counts every change, so that its encoded rows can be reused while it stays.
    revision: int = 0
    #: Counts the changes of the deals alone.
    deals_revision: int = 0
    balance: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)
    _open: dict[int, Open] = field(factory=dict)
    _deals: list[Row] = field(factory=list)
    _orders: dict[int, tuple[str, Side, int]] = field(factory=dict)
    _prices: dict[str, Decimal] = field(factory=dict)
    _ticket: int = 50_000_000_000  # beyond 32 bits, as they are
    _future: list[Deal] = field(factory=list)
    _floating: tuple[int, Decimal] | None = None
    _dice: random.Random = field(init=False)
    _manual_dice: random.Random = field(init=False)

    living = Alias("from_history")
    live_next = Alias("play_next")
    left_to_live = Alias("remaining")
    hand = Alias("trade_manually")
    pace_msc = Alias("pace_ms")

    def __attrs_post_init__(self) -> None:
        self._dice = random.Random(f"prices {self.seed}")  # noqa: S311  # a simulation is repeatable, not secret
        self._manual_dice = random.Random(f"hand {self.seed}")  # noqa: S311
        self._prices = {name: symbol.price for name, symbol in self.symbols.items()}

    @classmethod
    def from_history(cls, deals: Iterable[Deal], *, mode: MarginMode, **terms: Any) -> Terminal:
        """Return a terminal that replays the deals of a recorded history, in their order and at their times."""
        future = sorted(deals, key=lambda deal: (deal.time_msc, deal.deal))
        start_msc = future[0].time_msc - 1000 if future else START_MSC
        terminal = cls(mode=mode, now_msc=start_msc, **terms)
        terminal._future = future  # its own
        for name in sorted({deal.symbol for deal in future if deal.symbol} - set(terminal.symbols)):
            # What nothing is known of but its deals: the size only makes marks, the digits are those of its prices.
            prices = [deal.price for deal in future if isinstance(deal, FillRecorded) and deal.symbol == name]
            digits = max((-int(price.normalize().as_tuple().exponent) for price in prices), default=5)
            terminal.symbols = {
                **terminal.symbols, name: Symbol(name, max(0, digits), _STEP, Decimal(1), terminal.currency, Decimal(1)),
            }  # fmt: skip
            terminal._prices[name] = prices[0] if prices else Decimal(1)
        return terminal

    # ---- time and prices

    def advance(self, msc: int) -> None:
        """Let time pass. A history that is replayed goes on to that moment; prices move."""
        until_msc = self.now_msc + max(0, msc)
        while self._future and self._future[0].time_msc <= until_msc:
            self.play_next()
        self.now_msc = max(self.now_msc, until_msc)
        self.tick()

    def tick(self) -> None:
        """Move every price by a few points."""
        for name, symbol in self.symbols.items():
            point = Decimal(1).scaleb(-symbol.digits)
            self._prices[name] = max(point, self._prices[name] + self._dice.randint(-20, 20) * point)
        self.revision += 1

    def price(self, symbol: str, side: Side = Side.SELL) -> Decimal:
        """Return the present price at which this side trades: sellers at the bid, buyers at the ask."""
        spread = self.spread * Decimal(1).scaleb(-self.symbols[symbol].digits) if side is Side.BUY else 0
        return self._prices[symbol] + spread

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Set the price at which sellers trade."""
        self._prices[symbol] = price
        self.revision += 1

    # ---- a history that is replayed

    @property
    def remaining(self) -> int:
        """How many deals of the history are still to come."""
        return len(self._future)

    def play_next(self, count: int = 1) -> tuple[Row, ...]:
        """Let the next deals of the history happen; return them."""
        played: list[Row] = []
        for _ in range(min(count, len(self._future))):
            deal = self._future.pop(0)
            self.now_msc = max(self.now_msc, deal.time_msc)
            row = _row_of(deal)
            self._settle(row)
            played.append(row)
        return tuple(played)

    # ---- orders

    def send_order(
        self,
        symbol: str,
        side: Side | str,
        volume: Decimal | str,
        *,
        position: int | None = None,
        magic: int = 0,
        comment: str = "",
        parts: int = 1,
        reason: int = REASON_EXPERT,
    ) -> Answer:
        """Carry out a market order: open, add, or close the position that is named; on accounts that net, as it comes.

        Args:
            symbol: What to trade.
            side: buy or sell.
            volume: Lots.
            position: On a hedging account, the position to close, in part or whole.
            magic: The engine's number.
            comment: StoredEvidence on position and deals.
            parts: How many deals fill it.
            reason: Who sent it, as MT5 codes it.
        """
        side, lots = Side(side), Decimal(volume)
        known = self.symbols.get(symbol)
        if known is None or parts < 1:
            return Answer(retcode=INVALID)
        if lots <= 0 or lots % known.volume_step:
            return Answer(retcode=INVALID_VOLUME)
        held = self._held(symbol, position)
        if position is not None and held is None:
            return Answer(retcode=POSITION_CLOSED)
        if self.mode is MarginMode.HEDGING and held is not None:
            if held.symbol != symbol or held.side is side:
                return Answer(retcode=INVALID)
            if lots > held.volume:
                return Answer(retcode=INVALID_CLOSE_VOLUME)
        order = self._next_ticket()
        self._orders[order] = (symbol, side, magic)
        step = known.volume_step
        whole = (lots / parts // step) * step
        shares = [whole] * (parts - 1) if whole else []
        deals = [
            self._trade(order, symbol, side, share, position, magic, comment, reason)
            for share in [*shares, lots - sum(shares, Decimal(0))]
        ]
        return Answer(retcode=DONE, order=order, deals=tuple(deals))

    def place_order(self, symbol: str, side: Side | str, *, magic: int = 0) -> int:
        """Register a pending order, which ``fill_more`` fills; return its ticket."""
        order = self._next_ticket()
        self._orders[order] = (symbol, Side(side), magic)
        self.revision += 1
        return order

    def fill_more(self, order: int, volume: Decimal | str, *, comment: str = "") -> Answer:
        """Fill an order on: it adds to its position, or opens it again under its old id if that was closed meanwhile."""
        symbol, side, magic = self._orders[order]
        deal = self._trade(order, symbol, side, Decimal(volume), None, magic, comment, REASON_EXPERT, belongs_to=order)
        return Answer(retcode=DONE, order=order, deals=(deal,))

    def close(self, position_id: int, volume: Decimal | str | None = None, *, reason: int = REASON_CLIENT) -> Answer:
        """Close a position, or a part of it."""
        held = self._open.get(position_id)
        if held is None:
            return Answer(retcode=POSITION_CLOSED)
        lots = held.volume if volume is None else Decimal(volume)
        if lots > held.volume:
            return Answer(retcode=INVALID_CLOSE_VOLUME)
        return self.send_order(held.symbol, held.side.opposite, lots, position=position_id, reason=reason)

    def close_by(self, position_id: int, other_id: int) -> Answer:
        """Close two opposite positions by one another: two ``out by`` deals, the whole result on the first."""
        one, other = self._open.get(position_id), self._open.get(other_id)
        if one is None or other is None or one is other:
            return Answer(retcode=POSITION_CLOSED)
        if self.mode is not MarginMode.HEDGING or one.symbol != other.symbol or one.side is other.side:
            return Answer(retcode=INVALID)
        order, lots = self._next_ticket(), min(one.volume, other.volume)
        prices = self._shown_price(one), self._shown_price(other)
        profit = self._profit(one, lots, prices[1])
        deals = []
        for held, price, result in ((one, prices[1], profit), (other, prices[0], Decimal(0))):
            deals.append(
                self._deal(
                    order=order, type=held.side.opposite.code, entry=int(Entry.OUT_BY), position_id=held.position_id,
                    symbol=held.symbol, volume=lots, price=price, profit=result, swap=self._swap_of(held, lots),
                    magic=held.magic, comment=f"close by #{other_id}", reason=REASON_CLIENT,
                )
            )  # fmt: skip
        return Answer(retcode=DONE, order=order, deals=tuple(deals))

    def stop_out(self, position_id: int) -> Answer:
        """Close a position for want of margin."""
        held = self._open.get(position_id)
        if held is None:
            return Answer(retcode=POSITION_CLOSED)
        order = self._next_ticket()
        deal = self._trade(
            order, held.symbol, held.side.opposite, held.volume, position_id, held.magic, "[so 49.82%]", REASON_STOP_OUT
        )
        return Answer(retcode=DONE, order=order, deals=(deal,))

    def _trade(
        self,
        order: int,
        symbol: str,
        side: Side,
        lots: Decimal,
        position: int | None,
        magic: int,
        comment: str,
        reason: int,
        belongs_to: int | None = None,
    ) -> Row:
        held = self._held(symbol, position if position is not None else belongs_to or order)
        price, swap, profit = self.price(symbol, side), Decimal(0), Decimal(0)
        if held is None or held.side is side:
            entry = Entry.IN
        else:
            entry = Entry.OUT if lots <= held.volume else Entry.IN_OUT
            closing = min(lots, held.volume)
            profit, swap = self._profit(held, closing, price), self._swap_of(held, closing)
        return self._deal(
            order=order, type=side.code, entry=int(entry), position_id=held.position_id if held else belongs_to or order,
            symbol=symbol, volume=lots, price=price, profit=profit, swap=swap, magic=magic, comment=comment, reason=reason,
            commission=-self._money(self.commission * lots),
        )  # fmt: skip

    def _held(self, symbol: str, position: int | None) -> Open | None:
        """Return the open position that an order meets: on accounts that net, the symbol's."""
        if self.mode is MarginMode.HEDGING:
            return self._open.get(position or 0)
        return next((held for held in self._open.values() if held.symbol == symbol), None)

    def _profit(self, held: Open, lots: Decimal, price: Decimal) -> Decimal:
        points = (Fraction(price) - held.price()) * Fraction(lots) * Fraction(self.symbols[held.symbol].contract_size)
        points = points if held.side is Side.BUY else -points
        return self._money(Decimal(points.numerator) / Decimal(points.denominator))

    def _swap_of(self, held: Open, lots: Decimal) -> Decimal:
        """Take the part of a position's swap that belongs to what is closed of it."""
        taken = held.swap if lots >= held.volume else self._money(held.swap * lots / held.volume)
        held.swap -= taken
        return taken

    def _money(self, amount: Decimal) -> Decimal:
        return amount.quantize(Decimal(1).scaleb(-self.currency_digits), ROUND_HALF_UP)

    # ---- what is not a trade

    def cash(self, type_code: int, amount: Decimal | str, comment: str = "") -> Row:
        """Book a deal that is no trade: deposit (2), credit (3), charge, dividend, tax, or any other code."""
        return self._deal(
            order=0, type=type_code, entry=0, position_id=0, symbol="", volume=Decimal(0), price=Decimal(0),
            profit=self._money(Decimal(amount)), swap=Decimal(0), magic=0, comment=comment, reason=REASON_CLIENT,
        )  # fmt: skip

    def charge_swap(self) -> None:
        """Let a night pass over the open positions: their swap grows, without a deal."""
        for held in self._open.values():
            held.swap += self._money(held.volume * self._dice.randint(-80, 20) / 10)
        self.revision += 1

    def rollover(self, position_id: int) -> int | None:
        """Open a position again under a new ticket, as brokers do overnight; its identifier stays. Returns the ticket."""
        held = self._open.get(position_id)
        if held is None:
            return None
        held.ticket = self._next_ticket()
        self.revision += 1
        return held.ticket

    def rename_symbol(self, symbol: str, name: str) -> None:
        """Give a symbol another name, as brokers do: open positions have it from now on, deals keep the old one.

        Raises:
            BadValue: There is no such symbol, or one of the new name.
        """
        known = self.symbols.get(symbol)
        if known is None or name in self.symbols:
            raise BadValue(f"expected a symbol that there is and a name that is new, found {symbol!r} and {name!r}")
        self.symbols = {**self.symbols, name: evolve(known, name=name)}
        self._prices[name] = self._prices[symbol]
        for held in self._open.values():
            held.symbol = name if held.symbol == symbol else held.symbol
        self.revision += 1

    def withdraw(self, ticket: int) -> None:
        """Delete a deal, as a broker's staff can: positions and money are those of the deals that are left.

        Raises:
            BadValue: There is no such deal.
        """
        left = [deal for deal in self._deals if deal["ticket"] != ticket]
        if len(left) == len(self._deals):
            raise BadValue(f"there is no deal {ticket}")
        self._deals, self._open, self.balance, self.credit = [], {}, Decimal(0), Decimal(0)
        self.deals_revision += 1
        self.revision += 1
        for deal in left:
            self._settle(deal)

    # ---- manual trades, behind the engine's back

    def trade_manually(self, count: int = 1) -> list[str]:
        """Make random manual trades, as the seed has it; return what was done, in words."""
        return [self._trade_once() for _ in range(count)]

    def _trade_once(self) -> str:
        dice = self._manual_dice
        held = list(self._open.values())
        symbol = dice.choice(sorted(self.symbols)[:6])
        side, lots = dice.choice((Side.BUY, Side.SELL)), dice.randint(1, 30) * _STEP
        self.tick()
        what = dice.choice(("open", "open", "open", "close", "part", "close", "by", "cash", "rollover", "stop out", "parts"))
        one = dice.choice(held) if held else None
        if one is None or what in ("open", "parts"):
            self.send_order(symbol, side, lots, reason=REASON_CLIENT, parts=1 if what == "open" else dice.randint(2, 3))
            return f"{side.value} {lots} {symbol}"
        if what == "part":
            part = max(_STEP, (one.volume / 2 // _STEP) * _STEP)
            self.close(one.position_id, part)
            return f"closed {part} of {one.position_id}"
        if what == "by":
            others = [other for other in held if other.symbol == one.symbol and other.side is not one.side]
            if others:
                self.close_by(one.position_id, others[0].position_id)
                return f"closed {one.position_id} by {others[0].position_id}"
        if what == "cash":
            code, amount = dice.choice(
                ((2, "250"), (2, "-100"), (3, "50"), (4, "-1.25"), (15, "3.10"), (17, "-0.80"), (12, "0.07"))
            )
            self.cash(code, amount)
            return f"booked {amount} of type {code}"
        if what == "rollover":
            self.rollover(one.position_id)
            return f"new ticket for {one.position_id}"
        if what == "stop out":
            self.stop_out(one.position_id)
            return f"stopped {one.position_id} out"
        self.close(one.position_id)
        return f"closed {one.position_id}"

    # ---- the books

    def _next_ticket(self) -> int:
        self._ticket += self._dice.randint(1, 9)
        return self._ticket

    def _deal(self, *, commission: Decimal = Decimal(0), **fields: Any) -> Row:
        self.now_msc += self._dice.randint(0, self.pace_ms)  # several deals in one second are normal
        row: Row = {
            "ticket": self._next_ticket(), "time_msc": self.now_msc, "commission": commission, "fee": Decimal(0),
            "external_id": "", **fields,
        }  # fmt: skip
        self._settle(row)
        return row

    def _settle(self, deal: Row) -> None:
        """Write a deal into the history and move positions and money by it."""
        self._deals.append(deal)
        self.deals_revision += 1
        self.revision += 1
        money = deal["profit"] + deal["swap"] + deal["commission"] + deal["fee"]
        if deal["type"] == CREDIT:
            self.credit += deal["profit"]
            money -= deal["profit"]
        self.balance += money
        if deal["type"] in (0, 1):
            self._move(deal)

    def _move(self, deal: Row) -> None:
        side = Side.SELL if deal["type"] else Side.BUY
        held = self._held(deal["symbol"], deal["position_id"])
        lots, cost = deal["volume"], Fraction(deal["volume"]) * Fraction(deal["price"])
        if deal["entry"] == Entry.IN:
            if held is not None:
                held.volume += lots
                held.cost += cost
                held.updated_msc = deal["time_msc"]
                return
            self._begin(deal, side, lots, ticket=deal["position_id"] or deal["order"])
            return
        if held is None:
            return  # a history that begins after its opening
        closing = min(lots, held.volume)
        held.take(closing)
        held.updated_msc = deal["time_msc"]
        if not held.volume:
            del self._open[held.position_id]
        if deal["entry"] == Entry.IN_OUT and lots > closing:
            self._begin(deal, side, lots - closing, ticket=deal["order"], position_id=held.position_id)

    def _begin(self, deal: Row, side: Side, lots: Decimal, *, ticket: int, position_id: int | None = None) -> None:
        position_id = position_id or deal["position_id"] or ticket
        self._open[position_id] = Open(
            position_id, ticket, deal["symbol"], side, lots, Fraction(lots) * Fraction(deal["price"]), deal["time_msc"],
            deal["time_msc"], deal["magic"] or 0, deal["comment"] or "",
        )  # fmt: skip

    def open_positions(self) -> list[Open]:
        """Return the open positions exactly, ascending by identifier. Copies."""
        return [evolve(self._open[key]) for key in sorted(self._open)]

    # ---- what it reports

    def _shown_price(self, held: Open) -> Decimal:
        """Return an open price as MT5 shows it: rounded to digits + 3, on exchange accounts not rounded."""
        exact = held.price()
        price = Decimal(exact.numerator) / Decimal(exact.denominator)
        if self.mode is MarginMode.EXCHANGE:
            return Decimal(repr(float(price)))
        return price.quantize(Decimal(1).scaleb(-self.symbols[held.symbol].digits - 3), ROUND_HALF_UP)

    def _mark(self, held: Open) -> Decimal:
        """Return the price at which a position could be closed now."""
        return self.price(held.symbol, held.side.opposite)

    def positions(self) -> list[Row]:
        """Return the rows of GET_POSITIONS, extended form."""
        return [self._position_row(held) for _, held in sorted(self._open.items())]

    def _position_row(self, held: Open) -> Row:
        price = self._mark(held)
        return {
            "ticket": held.ticket, "identifier": held.position_id, "symbol": held.symbol, "type": held.side.value,
            "volume": with_float_noise(held.volume, held.ticket),
            "price_open": with_float_noise(self._shown_price(held), held.ticket + 1),
            "price_current": float(price), "profit": with_float_noise(self._profit(held, held.volume, price), held.ticket + 2),
            "swap": with_float_noise(held.swap, held.ticket + 3), "sl": 0.0, "tp": 0.0, "magic": held.magic,
            "time": held.opened_msc // 1000, "time_msc": held.opened_msc, "time_update": held.updated_msc // 1000,
            "time_update_msc": held.updated_msc, "comment": held.comment,
        }  # fmt: skip

    def deals(self, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> list[Row]:
        """Return the rows of GET_DEALS: of a span of server time, both ends included, or of one position."""
        return [
            _deal_row(deal)
            for deal in self._deals
            if (position is None or deal["position_id"] == position)
            and (from_msc is None or deal["time_msc"] >= from_msc)
            and (to_msc is None or deal["time_msc"] <= to_msc)
        ]

    def account(self) -> Row:
        """Return the object of GET_ACCOUNT."""
        if self._floating is None or self._floating[0] != self.revision:
            marks = (self._profit(held, held.volume, self._mark(held)) for held in self._open.values())
            self._floating = (self.revision, sum(marks, Decimal(0)))
        floating = self._floating[1]
        return {
            "login": self.login, "server": self.server, "currency": self.currency, "currency_digits": self.currency_digits,
            "margin_mode": self.mode.value, "balance": with_float_noise(self.balance, len(self._deals)),
            "credit": float(self.credit), "equity": float(self.balance + self.credit + floating),
        }  # fmt: skip

    def symbol_rows(self) -> list[Row]:
        """Return the rows of GET_SYMBOLS."""
        return [
            {
                "symbol": one.name, "digits": one.digits, "volume_step": float(one.volume_step),
                "contract_size": float(one.contract_size), "currency_profit": one.currency_profit,
            }
            for one in self.symbols.values()
        ]  # fmt: skip

    def books(self) -> Row:
        """Return the exact truth, with numbers as text: what the ledger has to arrive at."""
        return {
            "now_msc": self.now_msc,
            "balance": f"{self.balance:f}",
            "credit": f"{self.credit:f}",
            "deals": len(self._deals),
            "positions": [
                {
                    "position_id": held.position_id, "ticket": held.ticket, "symbol": held.symbol, "side": held.side.value,
                    "volume": f"{held.volume.normalize():f}", "price_open": f"{self._shown_price(held):f}",
                    "magic": held.magic, "opened_msc": held.opened_msc,
                }
                for _, held in sorted(self._open.items())
            ],
        }  # fmt: skip


def with_float_noise(number: Decimal, ticket: int) -> float:
    """Return a number as a double; some come with an error in the last bit, always the same ones."""
    value = float(number)
    return math.nextafter(value, math.inf) if ticket % _NOISE_EVERY == 0 and value else value


def _deal_row(deal: Row) -> Row:
    shown = {
        name: with_float_noise(value, deal["ticket"]) if isinstance(value, Decimal) else value for name, value in deal.items()
    }
    shown["time"] = deal["time_msc"] // 1000
    if deal["type"] in (0, 1):
        shown["type"] = "sell" if deal["type"] else "buy"
        shown["entry"] = entry_word(deal["entry"])
    return shown


def _row_of(deal: Deal) -> Row:
    """Return a recorded deal as the terminal stores it. What is not known of it is 0, as a terminal shows it."""
    nothing = Decimal(0)
    if isinstance(deal, CashMoved) and deal.type is None:
        raise BadValue(f"deal {deal.deal}: a deal of type {deal.word!r} has no code that a terminal could show")
    return {
        "ticket": deal.deal, "order": deal.order or 0, "time_msc": deal.time_msc,
        "type": deal.side.code if isinstance(deal, FillRecorded) else deal.type,
        "entry": 0 if deal.entry is None else int(deal.entry), "magic": deal.magic or 0,
        "position_id": deal.position_id or 0, "reason": deal.reason or 0, "volume": deal.volume or nothing,
        "price": deal.price or nothing, "commission": deal.commission or nothing, "swap": deal.swap or nothing,
        "profit": deal.profit or nothing, "fee": deal.fee or nothing, "symbol": deal.symbol or "",
        "comment": deal.comment or "", "external_id": deal.external_id or "",
    }  # fmt: skip


def open_random_positions(terminal: Terminal, count: int, *, magic: int = 0) -> Sequence[Row]:
    """Open positions by chance, as the seed has it, after a first deposit. Returns the deals."""
    dice = random.Random(f"start {terminal.seed}")  # noqa: S311  # as above
    deals: list[Row] = []
    names = sorted(terminal.symbols)
    while len(terminal.open_positions()) < count:
        taken = {held.symbol for held in terminal.open_positions()}
        free = names if terminal.mode is MarginMode.HEDGING else [name for name in names if name not in taken]
        if not free:
            raise BadValue(f"an account that nets holds at most one position a symbol: {len(names)} here, found {count}")
        side, lots = dice.choice((Side.BUY, Side.SELL)), dice.randint(1, 100) * _STEP
        deals += terminal.send_order(dice.choice(free), side, lots, magic=magic).deals
    return deals
