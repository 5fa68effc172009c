"""A broker on paper that has orders: a gateway in memory that takes none and shows what a test lets happen to them."""
# ruff: noqa: ARG002  # what a reconciler never asks is there for the interface

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import attrs

from ledger import FillRecorded, GatewayRefused, OrderAnswered, OrderIntended
from ledger.errors import GatewayError
from ledger.order_messages import OrderAnswer, OrderMessage, OrderStatus, RemoteCheck, RemoteOrder, RemoteOrders, RemoteTick
from ledger.orders.ids import token_of
from ledger.orders.view import Order, Orders
from ledger.snapshot import RemotePosition, RemoteService, Snapshot
from tests.support.broker import ACCOUNT, Desk, ScriptedGateway
from tools.testkit.stories import SYMBOL

PLACED, CANCELED, PARTIAL, FILLED, REJECTED, EXPIRED = 1, 2, 3, 4, 5, 6
BUY, SELL, BUY_LIMIT = 0, 1, 2


class NeverAsked:
    """What a gateway that takes orders has, and a reconciler never calls."""

    def order_send(self, message: OrderMessage, *, timeout_ms: int | None = None) -> OrderAnswer:
        raise AssertionError("a reconciler sends no order")

    def order_status(
        self, client_id: str, *, store: str, fence: bool, lookup: bool, timeout_ms: int | None = None
    ) -> OrderStatus:
        raise AssertionError("a reconciler asks no store")

    def tick(self, symbol: str) -> RemoteTick:
        raise AssertionError("a reconciler needs no tick")

    def order_check(self, message: OrderMessage) -> RemoteCheck:
        raise AssertionError("a reconciler checks no order")


class OrderBroker(NeverAsked, ScriptedGateway):
    """A broker whose orders and positions do what a test lets happen. It is asked as a gateway that takes orders."""

    def __init__(self, *args: Any, can: frozenset[str] | None = frozenset({"orders"}), **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.can = can
        self.active: dict[int, RemoteOrder] = {}
        self.done: dict[int, RemoteOrder] = {}
        self.hidden: set[int] = set()  # in neither list, whatever it is
        self.wrong: dict[str, Any] = {}  # what lists state otherwise
        self.stops: dict[int, tuple[Decimal, Decimal]] = {}
        self.looked: list[dict[str, int | None]] = []
        self._deal_number = 5000

    # ---- what a test lets happen

    def place(self, ticket: int, *, token: str | None = None, **fields: Any) -> RemoteOrder:
        """Have an active order: buy limit 1 lot at 10 unless given otherwise."""
        known: dict[str, Any] = {
            "ticket": ticket, "symbol": SYMBOL, "type": BUY_LIMIT, "state": PLACED, "volume_initial": Decimal(1),
            "volume_current": Decimal(1), "price_open": Decimal(10), "time_setup_msc": self.server_msc, "comment": token,
            "magic": 0, "reason": 3, "sl": Decimal(0), "tp": Decimal(0),
        }  # fmt: skip
        row = RemoteOrder(**(known | fields))
        self.active[ticket] = row
        return row

    def change(self, ticket: int, **fields: Any) -> None:
        """Show an order otherwise."""
        rows = self.active if ticket in self.active else self.done
        rows[ticket] = attrs.evolve(rows[ticket], **fields)

    def finish(self, ticket: int, state: int = CANCELED) -> None:
        """Move an order to the history."""
        row = self.active.pop(ticket)
        self.done[ticket] = attrs.evolve(row, state=state, time_done_msc=self.server_msc)

    def fill(
        self, ticket: int, volume: Any = 1, *, deal: int | None = None, position_id: int | None = None, **fields: Any
    ) -> int:
        """Fill an order, or so many lots of it: a deal, a position, and its record. Returns the deal's ticket."""
        row, lots = self.active[ticket], Decimal(str(volume))
        left = row.volume_current - lots
        self.active[ticket] = attrs.evolve(row, volume_current=left, state=PARTIAL if left else FILLED)
        if not left:
            self.finish(ticket, FILLED)
        return self.deal(ticket, lots, deal=deal, position_id=position_id or ticket, symbol=row.symbol, **fields)

    def deal(self, ticket: int, volume: Any, *, deal: int | None = None, position_id: int | None = None, **fields: Any) -> int:
        """Report a deal of an order, and show the position that it makes."""
        self._deal_number += 1
        number, lots = deal or self._deal_number, Decimal(str(volume))
        known: dict[str, Any] = {
            "symbol": SYMBOL, "side": "buy", "entry": "in", "price": 10, "time_msc": self.server_msc, "commission": 0, "fee": 0,
            "swap": 0, "profit": 0,
        }  # fmt: skip
        fill = FillRecorded(deal=number, order=ticket, position_id=position_id or ticket, volume=lots, **(known | fields))
        self.report(fill)
        held = {one.position_id: one for one in self._shown}
        before = held.get(fill.position_id or 0)
        total = lots + (before.volume if before else 0)
        held[fill.position_id or 0] = RemotePosition(
            position_id=fill.position_id or 0, ticket=fill.position_id or 0, symbol=fill.symbol, side=fill.side, volume=total,
            price_open=fill.price, opened_msc=before.opened_msc if before else fill.time_msc, updated_msc=fill.time_msc,
        )  # fmt: skip
        self.show_rows(held.values())
        return number

    def positions(self) -> Snapshot:
        shown = super().positions()
        rows = [attrs.evolve(row, sl=sl, tp=tp) for row in shown.positions for sl, tp in [self._stops_of(row.position_id)]]
        return attrs.evolve(shown, positions=tuple(rows), raw=shown.raw + repr(sorted(self.stops.items())).encode())

    def _stops_of(self, position_id: int) -> tuple[Decimal, Decimal]:
        return self.stops.get(position_id, (Decimal(0), Decimal(0)))

    # ---- a gateway that takes orders

    def ping(self) -> RemoteService | None:
        self._called("ping")
        if self.can is None:
            return None
        return RemoteService(protocol=2, can=self.can, store="store", epoch=1, seq=0)

    def active_orders(self) -> RemoteOrders:
        self._called("active_orders")
        answer = self._list(row for ticket, row in self.active.items() if ticket not in self.hidden)
        self._happen("active_orders")
        return answer

    def order_history(
        self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None, order: int | None = None
    ) -> RemoteOrders:
        self.looked.append({"from_msc": from_msc, "to_msc": to_msc, "order": order})
        self._called("order_history")
        found = [row for ticket, row in self.done.items() if ticket not in self.hidden]
        if order is not None:
            return self._list([row for row in found if row.ticket == order])
        begin, end = from_msc or 0, to_msc or self.server_msc
        return self._list([row for row in found if begin <= (row.time_setup_msc or 0) <= end])

    def _list(self, rows: Any) -> RemoteOrders:
        fields: dict[str, Any] = {
            "login": self.name.login, "server": self.name.server, "connected": True, "server_time_msc": self.server_msc,
        } | self.wrong  # fmt: skip
        found = tuple(rows)
        return RemoteOrders(orders=found, raw=repr((found, len(self.calls))).encode(), **fields)


TICKET: Final = 901


class OrderDesk(Desk):
    """A desk whose broker has orders. What the engine intends, and what it was answered, is recorded as the manager does."""

    broker: OrderBroker

    def __init__(
        self, shows: str = "", *, orders: Any = None, can: frozenset[str] | None = frozenset({"orders"}), **terms: Any
    ):
        self.manager = orders
        super().__init__(shows=shows, extended=True, **terms)
        self.broker = OrderBroker(shows, extended=True, mode=terms.get("mode", "hedging"), now_us=self.watch, can=can)
        self.restarted()

    def restarted(self) -> Any:
        self.reconciler = super().restarted()
        self.reconciler._orders = self.manager
        return self.reconciler

    @property
    def utc_msc(self) -> int:
        return self.watch.now_us // 1000

    def token(self, client_id: str = "c-1") -> str:
        return token_of(ACCOUNT, client_id)

    def intend(self, client_id: str = "c-1", **fields: Any) -> str:
        """Record an intent: buy limit 1 lot at 10 unless given otherwise. Returns its token."""
        known: dict[str, Any] = {
            "kind": "pending", "symbol": SYMBOL, "side": "buy", "volume": 1, "type": "limit", "price": 10,
            "valid_until_utc_msc": self.utc_msc + 5000,
        }  # fmt: skip
        if fields.get("kind") in ("stops", "cancel", "modify", "market", "close"):
            known = {"valid_until_utc_msc": self.utc_msc + 5000}
            if fields["kind"] == "market":
                known |= {"symbol": SYMBOL, "side": "buy", "volume": 1}
        token = self.token(client_id)
        self.account.record(OrderIntended(client_id=client_id, token=token, time_msc=self.now(), **(known | fields)))
        return token

    def answer(self, client_id: str = "c-1", verdict: str = "accepted", order: int = 0, **fields: Any) -> None:
        """Record the answer to an intent."""
        self.account.record(
            OrderAnswered(
                client_id=client_id, verdict=verdict, order=order, time_msc=self.now(), **({"retcode": 10009} | fields)
            )
        )

    def working(self, ticket: int = TICKET, client_id: str = "c-1", **fields: Any) -> None:
        """Have a pending order of ours at the broker, and its answer recorded; all of it settled."""
        token = self.intend(client_id)
        self.broker.place(ticket, token=token, **fields)
        self.answer(client_id, order=ticket)
        self.watch.move(10)

    @property
    def orders(self) -> Orders:
        return self.account.current_orders()[1]

    def order(self, client_id: str = "c-1") -> Order:
        found = self.orders.order(client_id)
        assert found is not None
        return found

    @property
    def states(self) -> list[tuple[str, str]]:
        """Orders: client id or ticket, and state."""
        return [(one.client_id or f"#{one.ticket}", one.state.value) for one in self.orders.orders()]

    @property
    def order_breaks(self) -> list[tuple[str, str | None, int | None, int]]:
        """Open breaks about orders and stops: kind, field, order or position, confirmations."""
        return [
            (one.kind.value, one.field, one.order or one.position_id, one.confirmations)
            for one in self.account.portfolio.breaks
        ]

    def quiet(self, syncs: int = 3) -> None:
        """Sync until nothing is appended any more: it has to be so after a few."""
        for _ in range(syncs):
            if not self.sync().appended:
                return
        result = self.sync()
        assert result.appended == 0, [one.event for one in result.events]


def refused(action: str = "GET_ORDERS") -> GatewayError:
    return GatewayRefused(action, code="BUSY", detail="the terminal is busy")
