"""What goes to a gateway about orders, and what it answers, as values: exact decimals, tickets, verdicts. Pure.

Times named ``utc_msc`` are in UTC, all others are the broker's server clock. None means that the gateway did not state it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum

from attrs import frozen

from ledger.events import Deal
from ledger.events.orders import OrderKind, PendingType, Verdict
from ledger.values import Side


@frozen(kw_only=True)
class OrderMessage:
    """One ``ORDER_SEND``: an intent as it goes to the gateway, once.

    ``store`` names the gateway's store that the intent is pinned to. ``comment`` is the token, and what of the comment is left
    to the engine. ``side`` is None for close, close_by, stops, modify and cancel: the position or the order decides.
    """

    client_id: str
    token: str
    login: int
    server: str
    store: str
    valid_until_utc_msc: int
    kind: OrderKind
    symbol: str | None = None
    side: Side | None = None
    type: PendingType | None = None
    volume: Decimal | None = None
    price: Decimal | None = None
    stoplimit: Decimal | None = None
    deviation: int | None = None
    sl: Decimal | None = None
    tp: Decimal | None = None
    filling: str | None = None
    lifetime: str | None = None
    expires_msc: int | None = None
    magic: int | None = None
    position_id: int | None = None
    by_position_id: int | None = None
    order: int | None = None
    comment: str | None = None


class RequestState(Enum):
    """What the gateway's store has of a client id."""

    RECEIVED = "received"
    SENDING = "sending"
    ANSWERED = "answered"
    UNRESOLVED = "unresolved"
    FENCED = "fenced"
    #: Nothing: it was asked without a fence.
    NEVER = "never"


@frozen(kw_only=True)
class RemoteOrder:
    """One order as the broker shows it, with MetaTrader 5's codes; a price of 0 is none.

    ``client_id`` is set where the gateway's store knows it. ``fields`` is the row as it came in.
    """

    ticket: int
    symbol: str
    type: int
    state: int
    volume_initial: Decimal
    volume_current: Decimal
    client_id: str | None = None
    time_setup_msc: int | None = None
    time_done_msc: int | None = None
    expires_msc: int | None = None
    type_time: int | None = None
    type_filling: int | None = None
    magic: int | None = None
    position_id: int | None = None
    by_position_id: int | None = None
    reason: int | None = None
    price_open: Decimal | None = None
    price_stoplimit: Decimal | None = None
    sl: Decimal | None = None
    tp: Decimal | None = None
    comment: str | None = None
    external_id: str | None = None


@frozen(kw_only=True)
class RemoteOrders:
    """A list of orders: the active ones, or a part of the history. ``is_by_ticket``: a weak "not found" by one ticket."""

    orders: tuple[RemoteOrder, ...]
    raw: bytes
    login: int | None = None
    server: str | None = None
    connected: bool | None = None
    server_time_msc: int | None = None
    is_by_ticket: bool = False


@frozen(kw_only=True)
class OrderAnswer:
    """The answer to an ``ORDER_SEND``, now or stored. ``verdict`` is None while the terminal is still busy with it."""

    client_id: str
    state: RequestState
    raw: bytes
    verdict: Verdict | None = None
    token: str | None = None
    retcode: int | None = None
    retcode_external: int | None = None
    last_error: int | None = None
    order: int | None = None
    deal: int | None = None
    volume: Decimal | None = None
    price: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    comment: str | None = None
    request_id: int | None = None
    since_utc_msc: int | None = None
    sent_utc_msc: int | None = None
    answered_utc_msc: int | None = None
    store: str | None = None
    seq: int | None = None
    replayed: bool = False


@frozen(kw_only=True)
class Lookup:
    """One search of the active list, the history and the deals. Spans in broker server time."""

    from_msc: int
    to_msc: int
    connected: bool
    orders: tuple[RemoteOrder, ...]
    deals: tuple[Deal, ...]
    rows: int = 0
    server_time_msc: int | None = None
    login: int | None = None
    server: str | None = None


@frozen(kw_only=True)
class OrderStatus:
    """The answer to an ``ORDER_STATUS``: what the store has, and what the terminal found. ``lookup`` is None without one."""

    answer: OrderAnswer
    lookup: Lookup | None = None


@frozen(kw_only=True)
class RemoteTick:
    """The newest prices of a symbol. ``age_ms`` is on the gateway's clock."""

    symbol: str
    bid: Decimal
    ask: Decimal
    time_msc: int
    age_ms: int


@frozen(kw_only=True)
class RemoteCheck:
    """What ``order_check`` says of an order, without sending it. Retcode 0 is fine; money in account currency."""

    retcode: int
    comment: str | None = None
    margin: Decimal | None = None
    margin_free: Decimal | None = None
    margin_level: Decimal | None = None
    fields: Mapping[str, object] | None = None
