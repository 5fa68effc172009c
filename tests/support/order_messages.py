"""Order messages for tests: to a service that runs, of which only what a test is about is written out."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from ledger.events.orders import OrderKind, PendingType
from ledger.order_messages import OrderMessage
from ledger.orders.ids import token_of
from ledger.protocol.order_requests import order_fields
from ledger.values import AccountId, Side

ACCOUNT = AccountId("Sandbox-Demo", 70113)
_WORDS = {"kind": OrderKind, "side": Side, "type": PendingType}
_NUMBERS = ("volume", "price", "stoplimit", "sl", "tp")


def utc_msc() -> int:
    return time.time_ns() // 1_000_000


def message(client_id: str, store: str, **fields: Any) -> OrderMessage:
    """Return an order message: to buy 0.1 EURUSD, where nothing else is given."""
    kind = OrderKind(fields.get("kind", "market"))
    token = token_of(ACCOUNT, client_id)
    given: dict[str, Any] = {"kind": kind, "comment": token}
    if kind in (OrderKind.MARKET, OrderKind.PENDING):
        given |= {"symbol": "EURUSD", "side": Side.BUY, "volume": Decimal("0.1")}
    for name, value in fields.items():
        known = _WORDS.get(name)
        given[name] = known(value) if known and value is not None else Decimal(value) if name in _NUMBERS and value else value
    identity = {"login": ACCOUNT.login, "server": ACCOUNT.server, "valid_until_utc_msc": utc_msc() + 30_000}
    return OrderMessage(**{**identity, "client_id": client_id, "token": token, "store": store, **given})


def send_fields(client_id: str, store: str, **fields: Any) -> dict[str, Any]:
    """Return an ORDER_SEND as its fields, for a client that asks as badly as it likes."""
    return {"action": "ORDER_SEND", "req_id": client_id, **order_fields(message(client_id, store, **fields))}
