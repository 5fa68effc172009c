"""This module is a small engine: a process that orders over a journal, obeys one command a line, and may die at any point.

A command is a JSON object with ``do``; the answer is one too. Its clock can be ahead. What it is asked to do it does
through ``OrderManager`` and ``StateReconciler``, as an engine does.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from ledger import GatewayError, Ledger, LedgerError, OrderManager, OrderPolicy, OrderRequest, OrdersRefused, StateReconciler
from ledger.events import FillRecorded
from ledger.gateway.client import ZmqGateway
from ledger.order_messages import OrderAnswer, OrderMessage
from ledger.orders.view import Order
from tools.testkit.crash_points import install_in_engine

Json = dict[str, Any]


#: What is counted of each order.
_RECORDED = ("OrderIntended", "OrderDenied", "OrderAnswered", "OrderResolved")
#: How long an answer is waited for once an order's was lost: the gateway may be gone.
_GONE_MS = 300


class _Gateway(ZmqGateway):
    """A client that waits a moment only, from when an order's answer is lost until the next command."""

    def order_send(self, message: OrderMessage, *, timeout_ms: int | None = None) -> OrderAnswer:
        try:
            return super().order_send(message, timeout_ms=timeout_ms)
        except GatewayError:
            self.timeout_ms = _GONE_MS
            raise


class Engine:
    """The engine.

    Args:
        url: Its journal.
        endpoint: Its gateway.
        server: The account's server,
        login: and number.
        timeout_ms: How long it waits for an answer.
        policy: Arguments of its ``OrderPolicy``.
    """

    def __init__(self, *, url: str, endpoint: str, server: str, login: int, timeout_ms: int, policy: Json) -> None:
        self._ahead_us = 0
        self._ledger = Ledger.create(url, now_us=lambda: time.time_ns() // 1000 + self._ahead_us)
        self._account = self._ledger.account(server, login)
        self._gateway = _Gateway(endpoint, timeout_ms=timeout_ms)
        self._timeout_ms = timeout_ms
        self._policy = OrderPolicy(**policy)
        self._manager: OrderManager | None = None
        self._reconciler = StateReconciler(self._account, self._gateway)

    def obey(self, do: str, **arguments: Any) -> Json:
        """Carry out a command by its name."""
        self._gateway.timeout_ms = self._timeout_ms
        found: Json = getattr(self, do)(**arguments)
        return found

    def start(self) -> Json:
        """Recover as an engine does at its start; orders that are unknown are stated, and it goes on with them."""
        if not self._account.is_open:
            self._reconciler.startup_recovery()
        refused = self._open(allow_unknown=False)
        if self._manager is None:
            refused = self._open(allow_unknown=True) or refused
        self._reconciler = StateReconciler(self._account, self._gateway, orders=self._manager)
        return {**self.sync(startup=True), "refused": refused, "started": self._manager is not None}

    def _open(self, *, allow_unknown: bool) -> str | None:
        """Make the order manager; return why that was refused."""
        try:
            self._manager = OrderManager(self._account, self._gateway, policy=self._policy, allow_unknown=allow_unknown)
        except OrdersRefused as error:
            return str(error)
        return None

    def order(
        self,
        symbol: str = "EURUSD",
        side: str = "buy",
        volume: str = "0.10",
        client_id: str | None = None,
        timeout_ms: int | None = None,
    ) -> Json:
        """Submit a market order, and return what is known of it."""
        assert self._manager is not None, "it started"
        request, timeout_sec = OrderRequest.market(symbol, side, volume), (timeout_ms or self._timeout_ms) / 1000
        return {"order": shown(self._manager.submit(request, client_id, timeout=timeout_sec))}

    def pending(self, price: str, client_id: str | None = None) -> Json:
        """Submit a limit order to buy, and return what is known of it."""
        assert self._manager is not None, "it started"
        request = OrderRequest.pending("EURUSD", "buy", "0.10", type="limit", price=price)
        return {"order": shown(self._manager.submit(request, client_id, timeout=self._timeout_ms / 1000))}

    def check(self, symbol: str = "EURUSD", side: str = "buy", volume: str = "0.10") -> Json:
        """Return what denies an order request, None where it is allowed."""
        assert self._manager is not None, "it started"
        decision = self._manager.check_risk(OrderRequest.market(symbol, side, volume))
        return {"denied_by": getattr(decision, "rule", None)}

    def sync(self, *, startup: bool = False) -> Json:
        """Sync, and return the state of affairs."""
        result = self._reconciler.startup_recovery() if startup else self._reconciler.sync_positions()
        return {"sync": result.status.value, **self.look()}

    def resolve(self) -> Json:
        """Find out what became of orders, and return the state of affairs."""
        assert self._manager is not None, "it started"
        self._manager.resolve()
        return self.look()

    def clock(self, ahead_msc: int) -> Json:
        """Let its clock jump."""
        self._ahead_us = ahead_msc * 1000
        return {}

    def look(self) -> Json:
        """Return orders, positions and breaks; of each order also what is recorded of it, and its deals."""
        portfolio, log = self._account.portfolio, [one.event for one in self._account.events()]
        orders = {str(one.client_id): shown(one) for one in self._account.orders() if one.client_id is not None}
        for client_id, found in orders.items():
            names = [type(event).__name__ for event in log if getattr(event, "client_id", None) == client_id]
            found["events"] = {name: names.count(name) for name in _RECORDED if name in names}
            fills = [event for event in log if isinstance(event, FillRecorded) and event.order == found["ticket"]]
            found["deals"] = [fill.deal for fill in fills]
            found["origins"] = sorted({fill.origin.value for fill in fills})
        positions = [
            [one.position_id, one.symbol, one.side.value, f"{one.volume.normalize():f}"] for one in portfolio.positions.values()
        ]
        return {
            "orders": orders,
            "positions": sorted(positions),
            "breaks": [[one.kind.value, one.field, one.client_id] for one in portfolio.breaks],
        }


def shown(order: Order) -> Json:
    """Return what is known of an order as JSON."""
    return {
        "client_id": order.client_id,
        "token": order.token,
        "state": order.state.value,
        "why": order.why,
        "verdict": None if order.verdict is None else order.verdict.value,
        "outcome": None if order.outcome is None else order.outcome.value,
        "basis": None if order.basis is None else order.basis.value,
        "ticket": order.ticket,
        "filled": f"{order.filled.normalize():f}",
    }


def main() -> None:
    """Obey until the input ends."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    install_in_engine()
    engine = Engine(**json.loads(sys.argv[1]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        try:
            answer = engine.obey(**json.loads(line))
        except (LedgerError, GatewayError) as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
