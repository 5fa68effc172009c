"""The fake ``MetaTrader5`` as a gateway that takes orders: its lists as a service would answer them. Sends nothing itself."""
# ruff: noqa: ARG002  # what a reconciler never asks is there for the interface

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ledger import MetaTrader5Gateway
from ledger.errors import GatewayRefused
from ledger.mt5 import to_row
from ledger.order_messages import RemoteOrder, RemoteOrders
from ledger.snapshot import RemoteService
from ledger.testing.mt5 import FakeMetaTrader5
from ledger.values import exact
from tests.support.order_broker import NeverAsked

_NUMBERS = ("volume_initial", "volume_current", "price_open", "price_stoplimit", "sl", "tp")
_PLAIN = ("ticket", "symbol", "type", "state", "type_time", "type_filling", "magic", "reason", "comment", "external_id")


class FakeOrdersGateway(NeverAsked, MetaTrader5Gateway):
    """A gateway over the fake that shows its orders."""

    def __init__(self, mt5: FakeMetaTrader5) -> None:
        super().__init__(mt5)
        self.mt5 = mt5

    def ping(self) -> RemoteService | None:
        return RemoteService(protocol=2, can=frozenset({"orders"}), store="store", epoch=1, seq=0)

    def active_orders(self) -> RemoteOrders:
        return self._list("orders_get", self.mt5.orders_get())

    def order_history(
        self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None, order: int | None = None
    ) -> RemoteOrders:
        if order is not None:
            found = self.mt5.history_orders_get(ticket=order)
            return self._list("history_orders_get", () if found is None and self.mt5.last_error()[0] == -2 else found)
        return self._list("history_orders_get", self.mt5.history_orders_get((from_msc or 0) // 1000, (to_msc or 0) // 1000))

    def _list(self, call: str, rows: Iterable[Any] | None) -> RemoteOrders:
        if rows is None:
            code, text = self.mt5.last_error()
            raise GatewayRefused(call, code=str(code), detail=text)
        found = [to_row(row) for row in rows]
        head, _ = self.terminal.with_head(list)
        return RemoteOrders(
            orders=tuple(map(_order, found)), raw=json.dumps(found).encode(), login=head["login"], server=head["server"],
            connected=head["connected"], server_time_msc=head["server_time_msc"],
        )  # fmt: skip


def _order(row: dict[str, Any]) -> RemoteOrder:
    known: dict[str, Any] = {name: row[name] for name in _PLAIN} | {name: exact(row[name]) for name in _NUMBERS}
    known |= {name: row[name] or None for name in ("time_setup_msc", "time_done_msc", "position_id")}
    return RemoteOrder(**known, by_position_id=row["position_by_id"] or None, expires_msc=row["time_expiration"] * 1000 or None)
