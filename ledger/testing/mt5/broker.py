"""The terminal and the broker behind the fake ``MetaTrader5``: rows in the package's form, from a simulated terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from attrs import define, field

from ledger.gateway.sandbox.terminal import Symbol, Terminal
from ledger.testing.mt5.constants import Constants as Code
from ledger.testing.mt5.orders import OrderBook, Row, executed_elsewhere
from ledger.testing.mt5.settings import FakeSettings
from ledger.values import ENTRY_WORDS, UINT64_MAX, Entry, MarginMode, Side

_MARGIN_MODES: Final = {
    MarginMode.NETTING: Code.ACCOUNT_MARGIN_MODE_RETAIL_NETTING,
    MarginMode.EXCHANGE: Code.ACCOUNT_MARGIN_MODE_EXCHANGE,
    MarginMode.HEDGING: Code.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING,
}
_NO_STOPS: Final = (Decimal(0), Decimal(0))
_SIDES: Final = {"buy": Code.DEAL_TYPE_BUY, "sell": Code.DEAL_TYPE_SELL}


@define(eq=False)
class Broker:
    """One account at one broker, as the package shows it.

    Attributes:
        terminal: Positions, deals and money.
        settings: How the broker behaves.
        book: Orders that were sent through the package.
        stops: Position identifier -> stop loss and take profit; 0: none.
        is_market_open: Whether prices move and orders are accepted.
        requests: What ``order_send`` sent to the server, the oldest first, whatever became of it.
        calls: How many calls there were: delays are counted in them.
        loading_calls: For how many more calls the history is half loaded.
    """

    terminal: Terminal
    settings: FakeSettings
    book: OrderBook = field(factory=OrderBook)
    stops: dict[int, tuple[Decimal, Decimal]] = field(factory=dict)
    is_market_open: bool = True
    requests: list[Row] = field(factory=list)
    calls: int = 0
    loading_calls: int = 0
    _comments: dict[int, str] = field(factory=dict, init=False)
    _deals_shown_from: dict[int, int] = field(factory=dict, init=False)
    _selected: set[str] = field(init=False)
    _prices: dict[str, Decimal] = field(init=False)
    _ticks: dict[str, int] = field(init=False)
    _noted: int = field(default=-1, init=False)
    _margin: tuple[tuple[int, int], float] | None = field(default=None, init=False)
    _positions: tuple[int, list[Row]] | None = field(default=None, init=False)
    _deals: tuple[int, list[Row]] | None = field(default=None, init=False)
    _reasons: tuple[int, dict[int, int]] | None = field(default=None, init=False)
    _elsewhere: tuple[int, list[Row]] | None = field(default=None, init=False)
    _frozen: tuple[list[Row], list[Row], list[Row], list[Row]] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._selected = set(self.terminal.symbols)
        self._prices = self._present_prices()
        self._ticks = dict.fromkeys(self._prices, self.terminal.now_msc)

    # ---- the connection to the server

    def disconnect(self) -> None:
        """Lose the server: what is shown stays as it is, whatever happens there."""
        self._frozen = self.positions(), self.deals(), self.orders(), self.order_history()
        self.terminal.is_connected = False

    def reconnect(self) -> None:
        """Find the server again; the history is loaded anew."""
        self._frozen = None
        self.terminal.is_connected = True
        self.loading_calls = self.settings.loading_calls

    # ---- ticks

    def note_ticks(self) -> None:
        """Note which prices moved since the last call: these ticks are of now."""
        if self._noted == self.terminal.revision:
            return
        self._noted = self.terminal.revision
        present = self._present_prices()
        for name, price in present.items():
            if self._prices.get(name) != price:
                self._ticks[name] = self.terminal.now_msc
        self._prices = present

    def tick_msc(self, name: str) -> int:
        """Return when a symbol's price last moved, on the server's clock."""
        return self._ticks.get(name, self.terminal.now_msc)

    def _present_prices(self) -> dict[str, Decimal]:
        return {name: self.terminal.price(name) for name in self.terminal.symbols}

    # ---- rows

    def positions(self) -> list[Row]:
        """Return the rows of ``positions_get``."""
        if self._frozen is not None:
            return self._frozen[0]
        if self._positions is None or self._positions[0] != self.terminal.revision:
            reasons = self._opening_reasons()
            self._positions = self.terminal.revision, [self._position(row, reasons) for row in self.terminal.positions()]
        return self._positions[1]

    def _opening_reasons(self) -> Mapping[int, int]:
        """Return position identifier -> reason of its first deal."""
        if self._reasons is None or self._reasons[0] != self.terminal.deals_revision:
            rows = reversed(self._all_deals())
            reasons = {row["position_id"]: row["reason"] for row in rows if row["entry"] == Entry.IN}
            self._reasons = self.terminal.deals_revision, reasons
        return self._reasons[1]

    def _position(self, row: Row, reasons: Mapping[int, int]) -> Row:
        sl, tp = self.stops.get(row["identifier"], _NO_STOPS)
        return row | {
            "type": _SIDES[row["type"]],
            "magic": row["magic"] & UINT64_MAX,
            "reason": reasons.get(row["identifier"], Code.POSITION_REASON_CLIENT),
            "external_id": "",
            "sl": float(sl),
            "tp": float(tp),
            "comment": self._comments.get(row["identifier"], row["comment"]),
        }

    def deals(self) -> list[Row]:
        """Return the rows of ``history_deals_get``, the oldest first."""
        if self._frozen is not None:
            return self._frozen[1]
        hidden = {ticket for ticket, shown_from in self._deals_shown_from.items() if shown_from > self.calls}
        return [row for row in self._all_deals() if row["ticket"] not in hidden] if hidden else self._all_deals()

    def _all_deals(self) -> list[Row]:
        if self._deals is None or self._deals[0] != self.terminal.deals_revision:
            self._deals = self.terminal.deals_revision, [_deal(row) for row in self.terminal.deals()]
        return self._deals[1]

    def orders(self) -> list[Row]:
        """Return the rows of ``orders_get``."""
        return self._frozen[2] if self._frozen is not None else [order.row() for order in self.book.active.values()]

    def order_history(self) -> list[Row]:
        """Return the rows of ``history_orders_get``, by the moment they ended."""
        if self._frozen is not None:
            return self._frozen[3]
        own = [order.row() for order in self.book.finished.values() if order.shown_from <= self.calls]
        return sorted([*own, *self._orders_elsewhere()], key=lambda row: (row["time_done_msc"], row["ticket"]))

    def _orders_elsewhere(self) -> list[Row]:
        """Return the orders of deals that nobody sent through the package."""
        if self._elsewhere is None or self._elsewhere[0] != self.terminal.deals_revision:
            by_order: dict[int, list[Row]] = {}
            for row in self._all_deals():
                if row["order"] and row["type"] in (0, 1) and row["order"] not in self.book:
                    by_order.setdefault(row["order"], []).append(row)
            self._elsewhere = self.terminal.deals_revision, [executed_elsewhere(deals).row() for deals in by_order.values()]
        return [row for row in self._elsewhere[1] if row["ticket"] not in self.book]

    # ---- what the trade server changes

    def identifier(self, ticket: int) -> int | None:
        """Return the identifier of the open position with a ticket; None where there is none."""
        return next((held.position_id for held in self.terminal.open_positions() if held.ticket == ticket), None)

    def hide_deals(self, tickets: Iterable[int]) -> None:
        """Let the history show these deals later, as the settings have it."""
        if self.settings.deals_delay_calls:
            self._deals_shown_from |= dict.fromkeys(tickets, self.calls + self.settings.deals_delay_calls)

    def forget_closed(self) -> None:
        """Forget the stops of positions that are closed."""
        if self.stops:
            open_ids = {held.position_id for held in self.terminal.open_positions()}
            self.stops = {position_id: stops for position_id, stops in self.stops.items() if position_id in open_ids}

    def comment_partial_close(self, position_id: int) -> None:
        """Overwrite a position's comment, as some servers do when a part of it is closed."""
        if self.settings.comment_after_partial_close is not None:
            self._comments[position_id] = self.settings.comment_after_partial_close

    @property
    def shown_from(self) -> int:
        """Number of the call from which on the history shows an order that ends now."""
        return self.calls + self.settings.history_delay_calls if self.settings.history_delay_calls else 0

    def account(self) -> Row:
        """Return the fields of ``account_info``."""
        shown, settings = self.terminal.account(), self.settings
        margin = self.margin()
        equity = shown["equity"]
        return {
            "login": shown["login"], "leverage": settings.leverage,
            "trade_mode": Code.ACCOUNT_TRADE_MODE_REAL if settings.is_real else Code.ACCOUNT_TRADE_MODE_DEMO,
            "limit_orders": settings.limit_orders, "trade_allowed": settings.is_account_trading_allowed, "trade_expert": True,
            "margin_mode": _MARGIN_MODES[self.terminal.mode], "currency_digits": shown["currency_digits"], "fifo_close": False,
            "balance": shown["balance"], "credit": shown["credit"], "equity": equity,
            "profit": round(equity - shown["balance"] - shown["credit"], shown["currency_digits"]), "margin": margin,
            "margin_free": round(equity - margin, 2), "margin_level": round(equity / margin * 100, 2) if margin else 0.0,
            "margin_so_call": 50.0, "margin_so_so": 30.0, "name": "A trader", "server": shown["server"],
            "currency": shown["currency"], "company": settings.company,
        }  # fmt: skip

    def margin(self) -> float:
        """Return the margin of all open positions: volume times contract size and price, by the leverage."""
        known = self.terminal.revision, self.settings.leverage
        if self._margin is None or self._margin[0] != known:
            held = self.terminal.open_positions()
            self._margin = known, round(sum(self.margin_of(one.symbol, one.volume) for one in held), 2)
        return self._margin[1]

    def margin_of(self, symbol: str, volume: Decimal) -> float:
        """Return the margin of one volume in account currency, without a conversion of other currencies."""
        known = self.terminal.symbols[symbol]
        is_base = symbol.startswith(self.terminal.currency)
        price = Decimal(1) if is_base else self.terminal.price(symbol)
        return float(volume * known.contract_size * price / max(1, self.settings.leverage))

    def terminal_info(self, path: str) -> Row:
        """Return the fields of ``terminal_info``.

        Args:
            path: Folder of the terminal.
        """
        settings = self.settings
        return {
            "connected": self.terminal.is_connected, "dlls_allowed": False, "trade_allowed": settings.is_trading_allowed,
            "tradeapi_disabled": settings.is_api_disabled, "build": settings.build, "maxbars": 100_000, "codepage": 1252,
            "ping_last": 21_000, "company": settings.company, "name": "MetaTrader 5", "language": "English", "path": path,
            "data_path": settings.data_path or path, "commondata_path": r"C:\Common", "community_account": False,
            "community_connection": False, "email_enabled": False, "ftp_enabled": False, "notifications_enabled": False,
            "mqid": False,
        }  # fmt: skip

    # ---- symbols

    def symbols(self) -> list[Row]:
        """Return the rows of ``symbols_get``."""
        return [self._symbol(one) for one in self.terminal.symbols.values()]

    def symbol(self, name: str) -> Row | None:
        """Return the fields of ``symbol_info``; None where there is no such symbol."""
        known = self.terminal.symbols.get(name)
        return None if known is None else self._symbol(known)

    def select(self, name: str, *, is_shown: bool) -> bool:
        """Add a symbol to the Market Watch or remove it; return whether that was possible."""
        is_held = any(held.symbol == name for held in self.terminal.open_positions())
        if name not in self.terminal.symbols or (is_held and not is_shown):
            return False
        (self._selected.add if is_shown else self._selected.discard)(name)
        return True

    def tick(self, name: str) -> Row | None:
        """Return the fields of ``symbol_info_tick``; None where there is no such symbol."""
        known = self.terminal.symbols.get(name)
        if known is None:
            return None
        return {
            "time": self.tick_msc(name) // 1000, "bid": float(self.bid(known)), "ask": float(self.ask(known)),
            "time_msc": self.tick_msc(name), "flags": Code.TICK_FLAG_BID | Code.TICK_FLAG_ASK, "volume": 0,
        }  # fmt: skip

    def bid(self, symbol: Symbol) -> Decimal:
        """Return the present price for who sells."""
        return self.terminal.price(symbol.name)

    def ask(self, symbol: Symbol) -> Decimal:
        """Return the present price for who buys."""
        return self.terminal.price(symbol.name, Side.BUY)

    def _symbol(self, one: Symbol) -> Row:
        settings, point = self.settings, Decimal(1).scaleb(-one.digits)
        bid, ask = self.bid(one), self.ask(one)
        value = float(one.contract_size * point)
        return {
            "select": one.name in self._selected, "visible": one.name in self._selected, "custom": False,
            "time": self.tick_msc(one.name) // 1000, "digits": one.digits, "spread": int((ask - bid) / point),
            "spread_float": True, "ticks_bookdepth": 0, "trade_calc_mode": Code.SYMBOL_CALC_MODE_FOREX,
            "trade_mode": Code.SYMBOL_TRADE_MODE_FULL,
            "trade_stops_level": settings.stops_level, "trade_freeze_level": 0,
            "trade_exemode": self.execution, "swap_mode": Code.SYMBOL_SWAP_MODE_POINTS, "swap_rollover3days": 3,
            "margin_hedged_use_leg": False, "expiration_mode": 15, "filling_mode": settings.filling_mode, "order_mode": 127,
            "order_gtc_mode": Code.SYMBOL_ORDERS_GTC, "bid": float(bid), "ask": float(ask), "point": float(point),
            "trade_tick_value": value, "trade_tick_value_profit": value, "trade_tick_value_loss": value,
            "trade_tick_size": float(point), "trade_contract_size": float(one.contract_size),
            "volume_min": float(one.volume_step), "volume_max": settings.volume_max, "volume_step": float(one.volume_step),
            "volume_limit": settings.volume_limit, "currency_base": one.name[:3], "currency_profit": one.currency_profit,
            "currency_margin": one.name[:3], "description": one.name, "name": one.name, "path": f"Sandbox\\{one.name}",
        }  # fmt: skip

    @property
    def execution(self) -> int:
        """How orders are executed: as the settings have it, else by exchange on exchange accounts and by market on others."""
        if self.settings.execution is not None:
            return self.settings.execution
        is_exchange = self.terminal.mode is MarginMode.EXCHANGE
        return Code.SYMBOL_TRADE_EXECUTION_EXCHANGE if is_exchange else Code.SYMBOL_TRADE_EXECUTION_MARKET


def _deal(row: Row) -> Row:
    return row | {
        "type": _SIDES.get(row["type"], row["type"]),
        "entry": ENTRY_WORDS[row["entry"]].value if isinstance(row["entry"], str) else row["entry"],
        "magic": row["magic"] & UINT64_MAX,
    }


def in_group(rows: Iterable[Row], group: str, *, name: str = "symbol") -> Iterator[Row]:
    """Yield the rows whose symbol fits a group: masks with ``*``, separated by commas, applied in turn; ``!`` excludes."""
    masks = [mask.strip() for mask in group.split(",")]
    for row in rows:
        fits = False
        for mask in masks:
            if mask.startswith("!"):
                fits = fits and not fnmatchcase(row[name], mask[1:])
            else:
                fits = fits or fnmatchcase(row[name], mask)
        if fits:
            yield row
