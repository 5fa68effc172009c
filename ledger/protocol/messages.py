"""The messages of the gateway protocol as values: what a client asks, and what a server answers.

A ``Query`` is what is asked. A ``Request`` is one that arrived at a server, with the id that its answer has to echo. An
``Answer`` is what the server sends back; its rows have the field names of MetaTrader 5, with numbers and words as JSON writes
them. What the client makes of an answer are the values of ``ledger.snapshot``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from attrs import field, frozen

from ledger.order_messages import OrderMessage
from ledger.values import MarginMode

Row = Mapping[str, Any]

#: The fields that a position has in the base form.
BASE_FIELDS: Final = ("ticket", "symbol", "type", "volume", "price_open", "profit", "time")


#: How many events one answer holds, where nothing else is asked, and how many at most.
EVENTS_LIMIT: Final = 500
EVENTS_LIMIT_MAX: Final = 1_000


# ---- what is asked


@frozen(kw_only=True)
class GetPositions:
    """Ask for the open positions. ``*`` means those of all symbols."""

    action: ClassVar[str] = "GET_POSITIONS"
    symbol: str = "*"


@frozen(kw_only=True)
class GetDeals:
    """Ask for the deals of a span of broker server time, both ends included, or for those of one position."""

    action: ClassVar[str] = "GET_DEALS"
    from_msc: int | None = None
    to_msc: int | None = None
    position: int | None = None


@frozen(kw_only=True)
class GetAccount:
    """Ask for the account: its currency, margin mode and money."""

    action: ClassVar[str] = "GET_ACCOUNT"


@frozen(kw_only=True)
class GetSymbols:
    """Ask for the specifications of the symbols."""

    action: ClassVar[str] = "GET_SYMBOLS"


@frozen(kw_only=True)
class Ping:
    """Ask whether the gateway is there."""

    action: ClassVar[str] = "PING"


@frozen(kw_only=True)
class GetEvents:
    """Ask for the pushed events after a number, oldest first, ``limit`` at most. Protocol version 2."""

    action: ClassVar[str] = "GET_EVENTS"
    after_seq: int
    limit: int = EVENTS_LIMIT


@frozen(kw_only=True)
class GetOrders:
    """Ask for the orders that the broker is working on. Protocol version 2, as all that follows."""

    action: ClassVar[str] = "GET_ORDERS"


@frozen(kw_only=True)
class GetOrderHistory:
    """Ask for orders that are done: of a span of broker server time, of one position, or one of them."""

    action: ClassVar[str] = "GET_ORDER_HISTORY"
    from_msc: int | None = None
    to_msc: int | None = None
    position: int | None = None
    order: int | None = None


@frozen(kw_only=True)
class GetTick:
    """Ask for the newest prices of a symbol."""

    action: ClassVar[str] = "GET_TICK"
    symbol: str


@frozen(kw_only=True)
class SendOrder:
    """Send an order, once."""

    action: ClassVar[str] = "ORDER_SEND"
    message: OrderMessage


@frozen(kw_only=True)
class CheckOrder:
    """Ask what the broker would say of an order; nothing is sent."""

    action: ClassVar[str] = "ORDER_CHECK"
    message: OrderMessage


@frozen(kw_only=True)
class AskOrderStatus:
    """Ask what the store has of a client id; with ``fence`` one that it never saw is refused from now on."""

    action: ClassVar[str] = "ORDER_STATUS"
    client_id: str
    store: str
    fence: bool = False
    lookup: bool = False


Read = GetPositions | GetDeals | GetAccount | GetSymbols | Ping
OrderRead = GetOrders | GetOrderHistory | GetTick | CheckOrder
#: Every error that answers one of these states whether the order was executed.
OrderQuery = SendOrder | CheckOrder | AskOrderStatus
Query = Read | GetEvents | OrderRead | SendOrder | AskOrderStatus


@frozen(kw_only=True)
class Request:
    """A request as it arrived: its action, and all its fields as JSON has them, of which none is checked yet."""

    action: str
    fields: Row

    @property
    def echo(self) -> Row:
        """What the answer has to repeat: the id, whatever was sent as one; nothing where none was."""
        return {"req_id": self.fields["req_id"]} if "req_id" in self.fields else {}


# ---- what is answered


@frozen(kw_only=True)
class Head:
    """What a good answer of the extended form states of account and terminal. What is None is left out.

    But for ``server_time_msc``, which is null before the terminal has shown any time.
    """

    login: int | None
    server: str | None
    margin_mode: MarginMode
    server_time_msc: int | None
    connected: bool


@frozen(kw_only=True)
class EncodedRows:
    """Rows that are written already, for a server that is asked for the same ones again and again."""

    raw: bytes
    count: int


@frozen(kw_only=True)
class Positions:
    """Answer to ``GetPositions``. Without a head it is of the base form.

    ``rows`` is None where the terminal has none to give: null, which no client takes for an empty list. ``count`` is how many
    there are, where that is not the length of ``rows``.
    """

    head: Head | None
    rows: Sequence[Row] | EncodedRows | None
    count: int | None = None


@frozen(kw_only=True)
class Deals:
    """Answer to ``GetDeals``."""

    head: Head
    rows: Sequence[Row] | EncodedRows


@frozen(kw_only=True)
class Account:
    """Answer to ``GetAccount``."""

    head: Head
    account: Row


@frozen(kw_only=True)
class Symbols:
    """Answer to ``GetSymbols``."""

    head: Head
    rows: Sequence[Row] | EncodedRows


@frozen(kw_only=True)
class ServiceState:
    """What a service of protocol version 2 states of itself.

    Attributes:
        protocol: The version of the protocol.
        can: What it can do beside reading: ``orders``, ``push``, ``fence``.
        store: The id of its store.
        epoch: How often it was started with that store.
        seq: The number of the newest pushed event.
        push_port: The port of the push stream, on the host that answers; None where there is none.
        trade_allowed: Whether the account, the terminal and the service allow orders.
        gateway_time_msc: The clock of its machine, UTC.
        terminal_process: What the process is doing that talks to the terminal: state, call, since_msc.
    """

    protocol: int
    can: Sequence[str]
    store: str
    epoch: int
    seq: int
    push_port: int | None
    trade_allowed: bool
    gateway_time_msc: int
    terminal_process: Row


@frozen(kw_only=True)
class Pong:
    """Answer to ``Ping``. A service may not know its terminal yet: then it has no head."""

    head: Head | None
    service: ServiceState | None = None


@frozen(kw_only=True)
class Events:
    """Answer to ``GetEvents``: rows with ``seq``, ``kind``, ``at_msc`` and ``data``, ascending ``seq``."""

    head: Head | None
    store: str
    epoch: int
    rows: Sequence[Row]


@frozen
class Refusal:
    """An error as an answer, to any request; ``further`` are fields of its own, as ``executed`` of order messages."""

    code: str
    text: str
    further: Row = field(factory=dict)


@frozen(kw_only=True)
class Extension:
    """A good answer to an action that only this server has."""

    fields: Row = field(factory=dict)


@frozen(kw_only=True)
class Orders:
    """Answer to ``GetOrders`` and ``GetOrderHistory``. ``is_by_ticket``: of one ticket, where "nothing" proves little."""

    head: Head
    rows: Sequence[Row]
    is_by_ticket: bool = False


@frozen(kw_only=True)
class OrderReply:
    """Answer to an order message, or to ``GetTick``: its fields, behind the head where the terminal is known."""

    head: Head | None
    fields: Row


Answer = Positions | Deals | Account | Symbols | Pong | Events | Orders | OrderReply | Refusal | Extension
