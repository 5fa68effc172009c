"""This module is an invented trading account: it simulates a random history, and states what that history comes to.

It shares no code with the ledger, so that what it states about itself (running balance, closed and open positions, position
ids) can be held against what the ledger makes of a file. Nothing in here is a real account, broker, price or person.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Final

START_MSC: Final = 1_704_153_600_000  # 2024.01.02 00:00:00
_LONG: Final = 5000  # deals, which take about a year
_DECADE_MSC: Final = 3650 * 86_400_000
_DAY_MSC: Final = 86_400_000
_ZERO: Final = Decimal(0)
_LOT_STEP: Final = Decimal("0.01")


# ---------------------------------------------------------------------------------------------------------- the account


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

    def window(self, first: int = 0, last: int | None = None) -> "History":
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
            closed=tuple(row for row in after.closed if row.closed_msc >= since and row not in before.closed),
            open=tuple(after.open),
            opening=self._all[start - 1].balance if start else _ZERO,
            open_before={p.position_id: (p.symbol.name, p.side, p.volume) for p in before.open},
        )


# -------------------------------------------------------------------------------------------- what deals come to, again


@dataclass
class _Round:
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

    def reduce(self, deal: Deal, volume: Decimal) -> None:
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
    open_rounds: dict[int, _Round] = {}
    done: list[_Round] = []
    for deal in deals:
        if deal.symbol is None or deal.type not in ("buy", "sell"):
            continue
        position = open_rounds.get(deal.position_id)
        if deal.entry == "in":
            if position is None:
                position = open_rounds[deal.position_id] = _opened(deal)
            position.add(deal, deal.volume)
            continue
        assert position is not None, f"{mode}: deal {deal.ticket} closes what is not open"
        rest = deal.volume - position.volume
        position.reduce(deal, min(deal.volume, position.volume))
        if not position.volume:
            done.append(open_rounds.pop(deal.position_id))
        if deal.entry == "in/out":
            turned = open_rounds[deal.position_id] = _opened(deal)
            turned.add(replace(deal, commission=_ZERO), rest)
    rows = [position.as_closed() for position in done] + [p.as_closed() for p in open_rounds.values() if p.gone]
    rows.sort(key=lambda row: (row.opened_msc, row.position_id))
    return _Played(rows, [position.as_open(digits) for position in open_rounds.values()])


def _opened(deal: Deal) -> _Round:
    assert deal.symbol is not None
    return _Round(deal.position_id, deal.order, deal.symbol, deal.type, deal.time_msc, deal.comment)


def _profit(symbol: Symbol, side: str, opened: Decimal, closed: Decimal, volume: Decimal, digits: int) -> Decimal:
    """Return a result in account currency; a foreign quote currency is converted at the closing price."""
    points = closed - opened if side == "buy" else opened - closed
    amount = points * volume * symbol.contract
    if symbol.quote != "USD":
        amount /= closed
    return rounded(amount, digits)


def rounded(amount: Decimal, digits: int) -> Decimal:
    """Round to the currency; a negative nothing is nothing."""
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP) + _ZERO


# --------------------------------------------------------------------------------------------------------- a simulation


@dataclass
class _Held:
    """An open position of the account."""

    position_id: int
    symbol: Symbol
    side: str
    volume: Decimal
    price: Decimal
    opened_msc: int


class _Simulation:
    """A random account that does one thing after the other."""

    def __init__(self, seed: int, mode: str, deals: int, *, digits: int, fees: bool, big_tickets: bool) -> None:
        self.rng = Random(f"{seed}/{mode}/{deals}")  # noqa: S311  # plausible, not secret
        self.mode, self.wanted, self.digits, self.fees = mode, deals, digits, fees
        began = START_MSC if deals <= _LONG else START_MSC - _DECADE_MSC  # no deal may be in the future
        self.time_msc = began + self.rng.randrange(_DAY_MSC)
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
        return rounded(amount, self.digits)

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
        held = self._held(symbol) if self.mode == "netting" else None
        if held:
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

    # ------------------------------------------------------------------------------------------------------ the simulation

    def run(self) -> None:
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
    """Simulate an account of at least so many deals.

    Args:
        seed: The same seed gives the same history.
        mode: ``hedging`` or ``netting``.
        deals: How many deals; an action that has begun is completed.
        currency: JPY and other currencies without decimals are rounded to whole units.
        fees: Whether some symbols cost a fee. Reports of 13 columns have none to show.
        big_tickets: Whether tickets need more than 32 bits.
    """
    digits = 0 if currency in ("JPY", "KRW") else 2
    simulation = _Simulation(seed, mode, deals, digits=digits, fees=fees, big_tickets=big_tickets)
    simulation.run()
    all_deals = tuple(simulation.deals)
    played = _play(mode, all_deals, digits)
    orders = sorted([*simulation.orders, *simulation.pending], key=lambda order: order.ticket)
    return History(
        mode, currency, digits, all_deals, tuple(orders), tuple(played.closed), tuple(played.open), _ZERO, {}, all_deals
    )
