"""The terminal and the broker behind the fake ``MetaTrader5``: rows in the package's form, from a simulated terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Final

from attrs import define, field

from ledger.gateway.sandbox.terminal import Symbol, Terminal
from ledger.testing.mt5.constants import Constants as Code
from ledger.testing.mt5.settings import FakeSettings
from ledger.values import ENTRY_WORDS, UINT64_MAX, Entry, MarginMode

Row = dict[str, Any]

_MARGIN_MODES: Final = {
    MarginMode.NETTING: Code.ACCOUNT_MARGIN_MODE_RETAIL_NETTING,
    MarginMode.EXCHANGE: Code.ACCOUNT_MARGIN_MODE_EXCHANGE,
    MarginMode.HEDGING: Code.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING,
}
_SIDES: Final = {"buy": Code.DEAL_TYPE_BUY, "sell": Code.DEAL_TYPE_SELL}


@define(eq=False)
class Broker:
    """One account at one broker, as the package shows it.

    Attributes:
        terminal: Positions, deals and money.
        settings: How the broker behaves.
        tick_msc: When prices last moved, on the server's clock.
    """

    terminal: Terminal
    settings: FakeSettings
    tick_msc: int = field(init=False)
    _selected: set[str] = field(init=False)
    _deals: tuple[int, list[Row]] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.tick_msc = self.terminal.now_msc
        self._selected = set(self.terminal.symbols)

    # ---- rows

    def positions(self) -> list[Row]:
        """Return the rows of ``positions_get``."""
        reasons = {row["position_id"]: row["reason"] for row in reversed(self.deals()) if row["entry"] == Entry.IN}
        return [self._position(row, reasons) for row in self.terminal.positions()]

    def _position(self, row: Row, reasons: dict[int, int]) -> Row:
        return row | {
            "type": _SIDES[row["type"]],
            "magic": row["magic"] & UINT64_MAX,
            "reason": reasons.get(row["identifier"], Code.POSITION_REASON_CLIENT),
            "external_id": "",
        }

    def deals(self) -> list[Row]:
        """Return the rows of ``history_deals_get``, the oldest first."""
        if self._deals is None or self._deals[0] != self.terminal.revision:
            self._deals = self.terminal.revision, [_deal(row) for row in self.terminal.deals()]
        return self._deals[1]

    def orders(self) -> list[Row]:
        """Return the rows of ``orders_get``."""
        return []

    def order_history(self) -> list[Row]:
        """Return the rows of ``history_orders_get``, the oldest first."""
        return []

    def account(self) -> Row:
        """Return the fields of ``account_info``."""
        shown, settings = self.terminal.account(), self.settings
        margin = self.margin()
        equity = shown["equity"]
        return {
            "login": shown["login"], "trade_mode": Code.ACCOUNT_TRADE_MODE_DEMO, "leverage": settings.leverage,
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
        return round(sum(self.margin_of(held.symbol, held.volume) for held in self.terminal.open_positions()), 2)

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
            "time": self.tick_msc // 1000, "bid": float(self.bid(known)), "ask": float(self.ask(known)),
            "time_msc": self.tick_msc, "flags": Code.TICK_FLAG_BID | Code.TICK_FLAG_ASK, "volume": 0,
        }  # fmt: skip

    def bid(self, symbol: Symbol) -> Decimal:
        """Return the present price for who sells."""
        return self.terminal.price(symbol.name)

    def ask(self, symbol: Symbol) -> Decimal:
        """Return the present price for who buys."""
        return self.terminal.price(symbol.name)

    def _symbol(self, one: Symbol) -> Row:
        settings, point = self.settings, Decimal(1).scaleb(-one.digits)
        bid, ask = self.bid(one), self.ask(one)
        value = float(one.contract_size * point)
        return {
            "select": one.name in self._selected, "visible": one.name in self._selected, "custom": False,
            "time": self.tick_msc // 1000, "digits": one.digits, "spread": int((ask - bid) / point), "spread_float": True,
            "ticks_bookdepth": 0, "trade_calc_mode": Code.SYMBOL_CALC_MODE_FOREX, "trade_mode": Code.SYMBOL_TRADE_MODE_FULL,
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
