"""Orders over the gateway's client: the calls of ``ledger.gateway.OrderGateway``.

An order is asked for once: where the connection is cut, or no answer comes in time, that is raised, and whoever sent it asks
what became of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from ledger.order_messages import OrderAnswer, OrderMessage, OrderStatus, RemoteCheck, RemoteOrders, RemoteTick
from ledger.protocol.echo import Asked
from ledger.protocol.messages import AskOrderStatus, CheckOrder, GetOrderHistory, GetOrders, GetTick, Query, SendOrder
from ledger.protocol.order_answers import read_check, read_order_answer, read_order_status, read_orders, read_tick

_Value = TypeVar("_Value")


class AsksAboutOrders(ABC):
    """What a client asks about orders, by a call that its class has."""

    @abstractmethod
    def _ask(
        self, query: Query, read: Callable[[bytes, Asked], _Value], *, timeout_ms: int | None = None, attempts: int = 2
    ) -> _Value:
        """Send a request and return the content of its answer."""

    def order_send(self, message: OrderMessage, *, timeout_ms: int | None = None) -> OrderAnswer:
        """Send an order, once, and wait for its answer. See ``OrderGateway``."""
        return self._ask(SendOrder(message=message), read_order_answer, timeout_ms=timeout_ms, attempts=1)

    def order_status(
        self, client_id: str, *, store: str, fence: bool, lookup: bool, timeout_ms: int | None = None
    ) -> OrderStatus:
        """Return what the gateway's store has of a client id. See ``OrderGateway``."""
        query = AskOrderStatus(client_id=client_id, store=store, fence=fence, lookup=lookup)
        return self._ask(query, read_order_status, timeout_ms=timeout_ms)

    def active_orders(self) -> RemoteOrders:
        """Return the orders that the broker is working on. See ``OrderGateway``."""
        return self._ask(GetOrders(), read_orders)

    def order_history(
        self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None, order: int | None = None
    ) -> RemoteOrders:
        """Return orders that are done. See ``OrderGateway``."""
        query = GetOrderHistory(from_msc=from_msc, to_msc=to_msc, position=position, order=order)
        return self._ask(query, read_orders)

    def tick(self, symbol: str) -> RemoteTick:
        """Return the newest prices of a symbol. See ``OrderGateway``."""
        return self._ask(GetTick(symbol=symbol), read_tick)

    def order_check(self, message: OrderMessage) -> RemoteCheck:
        """Return what the broker would say of an order; nothing is sent. See ``OrderGateway``."""
        return self._ask(CheckOrder(message=message), read_check)
