"""Adapters: the objects that an engine has already, over an order manager.

They have the methods and keys of a widespread kind of engine, with one difference that no adapter can hide: the status of an
order may be UNKNOWN. An engine that reads everything but FILLED as "no" doubles a position sooner or later. Figures in what
they return are floats, for the engine's own arithmetic; what is recorded is exact.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

from ledger import adjustments
from ledger.errors import BadValue, InputError, RuleError
from ledger.events.fields import to_symbol
from ledger.order_manager import OrderManager, OrderRequest
from ledger.orders.limits import Denied
from ledger.orders.states import OrderState
from ledger.orders.view import Order
from ledger.reconcile.validate import validate
from ledger.text import visible
from ledger.values import EXACT, Side, exact_sum, require_type, shown
from ledger.views import Position

_logger: Final = logging.getLogger("ledger.engines")
_SIDES: Final = {1: Side.BUY, -1: Side.SELL}
_ACTIONS: Final = {"BUY": Side.BUY, "SELL": Side.SELL}
_STATUS: Final = {
    OrderState.DENIED: "REJECTED",
    OrderState.REJECTED: "REJECTED",
    OrderState.CANCELLED: "CANCELED",
    OrderState.EXPIRED: "CANCELED",
    OrderState.UNKNOWN: "UNKNOWN",
    OrderState.ABSENT: "UNKNOWN",
}
_OPERATOR: Final = "engine"


def status_of(order: Order) -> str:
    """Return the status of an order in an engine's words: FILLED, REJECTED, CANCELED, PENDING or UNKNOWN.

    PENDING is at the broker, or was not sent yet. REJECTED is proven: nothing was executed. What is presumed never to have
    been executed is UNKNOWN.
    """
    if order.filled or order.state is OrderState.FILLED:
        return "FILLED"
    return _STATUS.get(order.state, "PENDING")


def answer_of(order: Order) -> str:
    """Return the status that ``send_order`` answers: FILLED, REJECTED or UNKNOWN, and nothing between.

    REJECTED is proven: nothing was executed. An accepted order whose deals are not known is UNKNOWN.
    """
    status = status_of(order)
    return {"CANCELED": "REJECTED", "PENDING": "UNKNOWN"}.get(status, status)


@frozen(kw_only=True)
class EngineOrder:
    """An order as such an engine has it. ``order_id`` is the client id."""

    order_id: str
    symbol: str
    action: str
    volume: float
    entry_price: float | None
    entry_time: datetime
    status: str
    ticket: int | None = None
    fill_price: float | None = None
    filled_volume: float | None = None


class PortfolioManager:
    """What an engine asks before it orders, and shows afterwards: one symbol, one position.

    Args:
        manager: Sends the orders of the account.
        symbol: The symbol that the engine trades.
    """

    def __init__(self, manager: OrderManager, symbol: str = "EURUSD") -> None:
        self.manager = require_type(manager, OrderManager, "an OrderManager")
        self.symbol = to_symbol(symbol)

    def check_risk(self, signal: int) -> bool:
        """Return whether a signal (-1, 0, 1) may become an order of the smallest volume. 0 never does."""
        request = self._request(signal, None)
        return request is not None and not self._is_blocked(request)

    def create_order(self, signal: int, price: float, volume: float = 0.01) -> EngineOrder | None:
        """Record an order of a signal; None where it is denied. ``ExecutionGateway.send_order`` sends it.

        ``price`` is what the engine saw. It is shown, and is no part of the order: it executes at the market.
        """
        request = self._request(signal, volume)
        if request is None or self._is_one_sided(request):
            return None
        order = self.manager.create_order(request)
        if order.state is OrderState.DENIED:
            _logger.warning("%s: %s", self.symbol, visible(order.why))
            return None
        return self._shown(order, price)

    def on_fill(self, fill_response: Mapping[str, Any]) -> bool:
        """Bring an order up to date after its answer; False where it is not one of ours.

        What an engine reports has no deal ticket, so it is no fill: the broker's deals are asked for, and recorded.
        """
        order_id = fill_response.get("order_id")
        if not isinstance(order_id, str) or self.manager.order(order_id) is None:
            _logger.error("order %s is not known", shown(order_id))
            return False
        self.manager.refresh(order_id)
        return True

    def get_local_positions(self) -> dict[int, Position]:
        """Return the open positions of the symbol by ticket."""
        return {one.ticket: one for one in self.manager.get_local_positions().values() if one.symbol == self.symbol}

    def find_order_by_ticket(self, ticket: int) -> EngineOrder | None:
        """Return the order of a broker's ticket, None without one."""
        order = self.manager.find_order_by_ticket(ticket)
        return None if order is None or order.client_id is None else self._shown(order)

    def get_position_summary(self) -> dict[str, Any]:
        """Return the position of the symbol. What a ledger does not know, the market's price and result, is None."""
        positions = list(self.get_local_positions().values())
        if not positions:
            return {"status": "FLAT", "symbol": self.symbol}
        net, volume = exact_sum(map(_signed, positions)), exact_sum(one.volume for one in positions)
        cost = exact_sum(EXACT.multiply(one.volume, one.price_open) for one in positions)
        return {
            "status": "OPEN",
            "symbol": self.symbol,
            "direction": "LONG" if net > 0 else "SHORT" if net < 0 else "FLAT",
            "net_volume": float(net),
            "avg_entry_price": float(EXACT.divide(cost, volume)),
            "current_price": None,
            "unrealized_pnl": None,
            "orders_count": len(positions),
        }

    def get_order_history(self) -> list[dict[str, Any]]:
        """Return all orders of the symbol that are ours, oldest first."""
        orders = [one for one in self.manager.orders() if one.client_id is not None and one.symbol == self.symbol]
        return [_as_dict(self._shown(one)) for one in orders]

    # ---- corrections

    def force_add_position(self, remote_position_data: Mapping[str, Any]) -> bool:
        """Record a position that the ledger does not know, as a correction; False where that is refused."""
        data = remote_position_data
        return self._corrected(
            lambda: adjustments.propose_add(
                self.manager.account,
                position_id=data["ticket"],
                symbol=data["symbol"],
                side=data["type"],
                volume=exact_text(data["volume"]),
                price_open=exact_text(data["price_open"]),
                operator=_OPERATOR,
                reason="force_add_position",
            )
        )

    def force_close_position(self, ticket: int) -> bool:
        """Record that a position is gone, as a correction; False where that is refused."""
        return self._corrected(
            lambda: adjustments.propose_close(
                self.manager.account, position_id=self._position_id(ticket), operator=_OPERATOR, reason="force_close_position"
            )
        )

    def force_update_position(self, ticket: int, remote_position_data: Mapping[str, Any]) -> bool:
        """Record other terms of a position, as a correction; False where that is refused."""
        data = remote_position_data
        return self._corrected(
            lambda: adjustments.propose_update(
                self.manager.account,
                position_id=self._position_id(ticket),
                side=data["type"],
                volume=exact_text(data["volume"]),
                price_open=exact_text(data["price_open"]),
                operator=_OPERATOR,
                reason="force_update_position",
            )
        )

    def _corrected(self, propose: Callable[[], adjustments.Proposal]) -> bool:
        try:
            adjustments.apply(self.manager.account, propose())
        except (RuleError, InputError, KeyError) as error:
            _logger.warning("%s: the correction is refused: %s", self.symbol, visible(str(error)))
            return False
        return True

    def _position_id(self, ticket: int) -> int:
        positions = self.manager.get_local_positions()
        return next((key for key, one in positions.items() if one.ticket == ticket), ticket)

    # ---- parts

    def _request(self, signal: int, volume: float | None) -> OrderRequest | None:
        if signal not in (-1, 0, 1):
            raise BadValue(f"expected a signal of -1, 0 or 1, found {shown(signal)}")
        side = _SIDES.get(signal)
        if side is None:
            return None
        return OrderRequest.market(self.symbol, side, Decimal("0.01") if volume is None else exact_text(volume))

    def _is_blocked(self, request: OrderRequest) -> bool:
        if self._is_one_sided(request):
            return True
        decision = self.manager.check_risk(request)
        if isinstance(decision, Denied):
            _logger.warning("%s: %s: %s", self.symbol, decision.rule, visible(decision.why))
            return True
        return False

    def _is_one_sided(self, request: OrderRequest) -> bool:
        """Return whether there is a position on the side of a request already: such an engine has one."""
        sign = 1 if request.side is Side.BUY else -1
        return any(_signed(one) * sign > 0 for one in self.get_local_positions().values())

    def _shown(self, order: Order, price: float | None = None) -> EngineOrder:
        assert order.client_id is not None, "it is ours"
        assert order.intended_utc_msc is not None, "it was recorded with its time"
        return EngineOrder(
            order_id=order.client_id,
            symbol=order.symbol or self.symbol,
            action="" if order.side is None else order.side.value.upper(),
            volume=float(order.volume or 0),
            entry_price=price,
            entry_time=datetime.fromtimestamp(order.intended_utc_msc / 1000, UTC),
            status=status_of(order),
            ticket=order.ticket,
            fill_price=None if order.fill_price is None else float(order.fill_price),
            filled_volume=float(order.filled) if order.filled else None,
        )


class ExecutionGateway:
    """Sends an engine's orders, and reads positions, over an order manager."""

    def __init__(self, manager: OrderManager) -> None:
        self.manager = require_type(manager, OrderManager, "an OrderManager")

    def send_order(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Send an order once, however often this is called, and return what became of it.

        ```python
        gateway.send_order({"order_id": "ema-1", "symbol": "EURUSD", "action": "BUY", "volume": 0.1, "price": 1.05432})
        ```

        Args:
            order: order_id, symbol, action (BUY, SELL), volume; price and confidence are not used.

        Returns:
            order_id, status (FILLED, REJECTED, UNKNOWN), ticket, filled_price, filled_volume, error. REJECTED
            is proven: nothing was executed. UNKNOWN has to be handled: it may be open, so nothing may be sent in its place.

        Raises:
            BadValue: A field is missing, or is not what it has to be.
            OrderConflict: The id is known for another order.
            JournalError: Nothing was sent, or the answer was not recorded: ask again with the same id.
        """
        missing = [name for name in ("order_id", "symbol", "action", "volume") if order.get(name) is None]
        if missing:
            raise BadValue(f"expected an order with order_id, symbol, action and volume, found no {', '.join(missing)}")
        side = _ACTIONS.get(str(order["action"]).upper())
        if side is None:
            raise BadValue(f"expected an action BUY or SELL, found {shown(order['action'])}")
        request = OrderRequest.market(order["symbol"], side, exact_text(order["volume"]))
        sent = self.manager.submit(request, client_id=order["order_id"])
        status = answer_of(sent)
        return {
            "order_id": sent.client_id,
            "status": status,
            "ticket": sent.ticket,
            "filled_price": None if sent.fill_price is None else float(sent.fill_price),
            "filled_volume": float(sent.filled),
            "error": None if status == "FILLED" else sent.why,
        }

    def get_positions(self, symbol: str = "*") -> list[dict[str, Any]]:
        """Return the broker's open positions of a symbol, or of all. It raises where they cannot be read and believed whole.

        Raises:
            GatewayError: There is no usable answer.
        """
        portfolio = self.manager.account.portfolio
        now_msc = portfolio.terms.clock.from_utc_msc(self.manager.account.ledger.now_us() // 1000)
        snapshot = validate(self.manager.gateway.positions(), portfolio, now_msc=now_msc)
        return [
            {
                "ticket": one.ticket,
                "symbol": one.symbol,
                "type": one.side.value,
                "volume": float(one.volume),
                "price_open": None if one.price_open is None else float(one.price_open),
                "profit": None if one.profit is None else float(one.profit),
                "time": None if one.opened_msc is None else one.opened_msc // 1000,
            }
            for one in snapshot.positions
            if symbol in ("*", one.symbol)
        ]


def exact_text(number: object) -> Decimal | str | int:
    """Return an engine's number as an exact one: of a float, the shortest decimal that it is the float of."""
    if isinstance(number, float):
        return Decimal(float.__repr__(number))  # of a subclass, as numpy's, too
    return number  # type: ignore[return-value]  # whatever it is, the request checks it


def _signed(position: Position) -> Decimal:
    return position.volume if position.side is Side.BUY else position.volume.copy_negate()


def _as_dict(order: EngineOrder) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "symbol": order.symbol,
        "action": order.action,
        "volume": order.volume,
        "entry_price": order.entry_price,
        "entry_time": order.entry_time.isoformat(),
        "status": order.status,
        "ticket": order.ticket,
        "fill_price": order.fill_price,
        "filled_volume": order.filled_volume,
    }
