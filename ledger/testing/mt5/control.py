"""What a test does to the fake ``MetaTrader5`` that an engine cannot: time, prices, connection, other people's trades."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import define, evolve

from ledger.errors import BadValue
from ledger.gateway.sandbox.terminal import Terminal
from ledger.testing.mt5.triggers import fill, settle

if TYPE_CHECKING:
    from ledger.testing.mt5.module import FakeMetaTrader5


@define(eq=False)
class FakeControl:
    """Commands for a fake module."""

    _module: FakeMetaTrader5

    # ---- time and prices

    def advance(self, milliseconds: int) -> None:
        """Let time pass. Prices move, unless the market is closed."""
        broker = self._module.broker
        if broker.is_market_open:
            broker.terminal.advance(milliseconds)
        else:
            broker.terminal.now_msc += milliseconds
        settle(broker)

    def set_price(self, symbol: str, price: Decimal | str) -> None:
        """Set a symbol's price for sellers; orders and stops that it reaches are filled."""
        broker = self._module.broker
        broker.terminal.set_price(symbol, Decimal(price))
        settle(broker)

    def close_market(self) -> None:
        """Close the market: prices stand still, and orders are refused."""
        self._module.broker.is_market_open = False

    def open_market(self) -> None:
        """Open the market."""
        self._module.broker.is_market_open = True

    # ---- connection

    def disconnect(self) -> None:
        """Cut the terminal off from the server: reads still answer, with what the terminal had."""
        self._module.broker.disconnect()

    def reconnect(self) -> None:
        """Connect the terminal to the server again."""
        self._module.broker.reconnect()

    def exit_terminal(self) -> None:
        """End the terminal: every call is -10004 until ``initialize`` starts it again."""
        self._module.detach()

    def switch_account(self, terminal: Terminal) -> None:
        """Log the terminal in to another account, as a person can at any moment."""
        self._module.attach(terminal)

    # ---- broker and other people

    @property
    def requests(self) -> tuple[dict[str, Any], ...]:
        """What ``order_send`` sent to the server, the oldest first, whatever became of it."""
        return tuple(self._module.broker.requests)

    def change(self, **settings: Any) -> None:
        """Change settings (see ``FakeSettings``) from now on."""
        self._module.settings = self._module.broker.settings = evolve(self._module.settings, **settings)

    def fill_order(self, ticket: int, volume: Decimal | str | None = None) -> None:
        """Fill an active order at the present price, or so many lots of it.

        Raises:
            BadValue: There is no such order, or it has not so much left.
        """
        broker = self._module.broker
        order = broker.book.active.get(ticket)
        lots = None if volume is None else Decimal(volume)
        if order is None or (lots is not None and not 0 < lots <= order.volume_current):
            raise BadValue(f"expected an active order with so much left, found {ticket} and {volume}; see orders_get()")
        fill(broker, order, lots)

    def trade_manually(self, count: int = 1) -> list[str]:
        """Let another client or a person trade by chance, as the seed has it; return what was done, in words."""
        return self._module.broker.terminal.trade_manually(count)
