"""Orders of the fake ``MetaTrader5``: the active ones and the finished ones, as rows in the package's form."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from attrs import define, field, frozen

from ledger.testing.mt5.constants import Constants as Code

Row = dict[str, Any]

BUYING: Final = frozenset({
    Code.ORDER_TYPE_BUY, Code.ORDER_TYPE_BUY_LIMIT, Code.ORDER_TYPE_BUY_STOP, Code.ORDER_TYPE_BUY_STOP_LIMIT,
})  # fmt: skip
LIMITS: Final = frozenset({Code.ORDER_TYPE_BUY_LIMIT, Code.ORDER_TYPE_SELL_LIMIT})
STOPS: Final = frozenset({Code.ORDER_TYPE_BUY_STOP, Code.ORDER_TYPE_SELL_STOP})
STOP_LIMITS: Final = frozenset({Code.ORDER_TYPE_BUY_STOP_LIMIT, Code.ORDER_TYPE_SELL_STOP_LIMIT})
PENDING: Final = LIMITS | STOPS | STOP_LIMITS
_DAY_SEC: Final = 86_400
_NOTHING: Final = Decimal(0)


def _exact(number: Any) -> Decimal:
    return Decimal(repr(float(number)))


@frozen(kw_only=True)
class Request:
    """A trade request with exact numbers. What was left out of it is 0 or empty, as the package sends it."""

    action: int = 0
    magic: int = 0
    order: int = 0
    symbol: str = ""
    volume: Decimal = field(default=_NOTHING, converter=_exact)
    price: Decimal = field(default=_NOTHING, converter=_exact)
    stoplimit: Decimal = field(default=_NOTHING, converter=_exact)
    sl: Decimal = field(default=_NOTHING, converter=_exact)
    tp: Decimal = field(default=_NOTHING, converter=_exact)
    deviation: int = 0
    type: int = 0
    type_filling: int = 0
    type_time: int = 0
    expiration: int = 0
    comment: str = ""
    position: int = 0
    position_by: int = 0

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are numbers."""
        return all(number.is_finite() for number in (self.volume, self.price, self.stoplimit, self.sl, self.tp))


@define(kw_only=True)
class Order:
    """One order. Volumes in lots, moments in msc on the server's clock."""

    ticket: int
    symbol: str
    type: int
    volume_initial: Decimal
    volume_current: Decimal
    setup_msc: int
    done_msc: int = 0
    state: int = Code.ORDER_STATE_PLACED
    type_time: int = Code.ORDER_TIME_GTC
    type_filling: int = Code.ORDER_FILLING_FOK
    expires_sec: int = 0
    magic: int = 0
    position_id: int = 0
    position_by_id: int = 0
    reason: int = Code.ORDER_REASON_EXPERT
    price_open: Decimal = _NOTHING
    price_current: Decimal = _NOTHING
    stoplimit: Decimal = _NOTHING
    sl: Decimal = _NOTHING
    tp: Decimal = _NOTHING
    comment: str = ""
    #: Number of the call from which on the history shows it.
    shown_from: int = 0

    @property
    def is_buying(self) -> bool:
        """Whether it buys."""
        return self.type in BUYING

    def finish(self, state: int, now_msc: int, *, shown_from: int = 0) -> None:
        """End it.

        Args:
            state: How it ended (``ORDER_STATE_...``).
            now_msc: When.
            shown_from: Number of the call from which on the history shows it.
        """
        self.state, self.done_msc, self.shown_from = state, now_msc, shown_from

    def expires_at_sec(self) -> int | None:
        """Return the second at which it ends by itself; None: never."""
        if self.type_time == Code.ORDER_TIME_SPECIFIED:
            return self.expires_sec
        if self.type_time in (Code.ORDER_TIME_DAY, Code.ORDER_TIME_SPECIFIED_DAY):
            start = self.setup_msc // 1000 if self.type_time == Code.ORDER_TIME_DAY else self.expires_sec
            return (start // _DAY_SEC + 1) * _DAY_SEC
        return None

    def row(self) -> Row:
        """Return its row in the package's form."""
        return {
            "ticket": self.ticket, "time_setup": self.setup_msc // 1000, "time_setup_msc": self.setup_msc,
            "time_done": self.done_msc // 1000, "time_done_msc": self.done_msc, "time_expiration": self.expires_sec,
            "type": self.type, "type_time": self.type_time, "type_filling": self.type_filling, "state": self.state,
            "magic": self.magic, "position_id": self.position_id, "position_by_id": self.position_by_id,
            "reason": self.reason, "volume_initial": float(self.volume_initial),
            "volume_current": float(self.volume_current), "price_open": float(self.price_open), "sl": float(self.sl),
            "tp": float(self.tp), "price_current": float(self.price_current), "price_stoplimit": float(self.stoplimit),
            "symbol": self.symbol, "comment": self.comment, "external_id": "",
        }  # fmt: skip


@define(eq=False)
class OrderBook:
    """The active and the finished orders of an account. ``ticket -> Order``, ascending by the moment they were added."""

    active: dict[int, Order] = field(factory=dict)
    finished: dict[int, Order] = field(factory=dict)

    def add(self, order: Order) -> None:
        """Add an order, to the history where it has ended."""
        (self.finished if order.done_msc else self.active)[order.ticket] = order

    def end(self, order: Order, state: int, now_msc: int, *, shown_from: int = 0) -> None:
        """End an active order: it leaves the list, and the history shows it from a later call on."""
        del self.active[order.ticket]
        order.finish(state, now_msc, shown_from=shown_from)
        self.finished[order.ticket] = order

    def __contains__(self, ticket: int) -> bool:
        return ticket in self.active or ticket in self.finished


def executed_elsewhere(deals: list[Row]) -> Order:
    """Return the finished order of deals whose order was not sent by us: a person's, another client's or the server's.

    Args:
        deals: All deals of the order, rows in the package's form, the oldest first.
    """
    first, last = deals[0], deals[-1]
    volume = sum((_exact(deal["volume"]) for deal in deals), _NOTHING)
    is_close_by = first["entry"] == Code.DEAL_ENTRY_OUT_BY
    if is_close_by:
        volume = _exact(first["volume"])
    return Order(
        ticket=first["order"], symbol=first["symbol"], type=Code.ORDER_TYPE_CLOSE_BY if is_close_by else first["type"],
        volume_initial=volume, volume_current=_NOTHING, setup_msc=first["time_msc"], done_msc=last["time_msc"],
        state=Code.ORDER_STATE_FILLED, type_filling=Code.ORDER_FILLING_IOC, magic=first["magic"],
        position_id=first["position_id"], position_by_id=last["position_id"] if is_close_by else 0,
        reason=first["reason"], price_current=_exact(last["price"]), comment=first["comment"],
    )  # fmt: skip
