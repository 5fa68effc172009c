"""Order requests: what an engine wants, as a value that is not recorded yet."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Self

import attrs

from ledger.events.orders import OrderDenied, OrderIntended, OrderKind, PendingType
from ledger.values import Number, Side

#: The fields that a request has in common with the events that record it.
FIELDS = (
    "kind", "symbol", "side", "volume", "type", "price", "stoplimit", "sl", "tp", "deviation", "filling", "lifetime",
    "expires_msc", "position_id", "by_position_id", "target_order", "target_client_id", "magic", "comment_tail", "strategy",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class OrderRequest:
    """What an engine wants done. Numbers are exact; floats are refused, as everywhere.

    ```python
    OrderRequest.market("EURUSD", "buy", "0.10", sl="1.0500")
    ```

    Volumes in lots, prices in the symbol's, ``deviation`` in points, ``expires_msc`` in broker server time. ``sl`` and ``tp``
    are None where nothing is asked for, 0 to remove a stop. Of a request about an order, ``target_order`` is its ticket, or
    ``target_client_id`` ours.

    Raises:
        BadValue: A field is not what it has to be, or one that its kind needs is missing.
    """

    kind: OrderKind
    symbol: str | None = None
    side: Side | None = None
    volume: Decimal | None = None
    type: PendingType | None = None
    price: Decimal | None = None
    stoplimit: Decimal | None = None
    sl: Decimal | None = None
    tp: Decimal | None = None
    deviation: int | None = None
    filling: str | None = None
    lifetime: str | None = None
    expires_msc: int | None = None
    position_id: int | None = None
    by_position_id: int | None = None
    target_order: int | None = None
    target_client_id: str | None = None
    magic: int | None = None
    comment_tail: str | None = None
    strategy: str | None = None

    @classmethod
    def _of(cls, **fields: Any) -> Self:
        """Return a request of fields as an engine writes them: they are converted as the events convert them."""
        checked = OrderDenied(client_id="-", rule="-", why="-", time_msc=_ANY_MSC, **fields)
        return cls(**{name: getattr(checked, name) for name in FIELDS})

    @classmethod
    def of_event(cls, event: OrderIntended | OrderDenied) -> Self:
        """Return the request that an event records."""
        return cls(**{name: getattr(event, name) for name in FIELDS})

    @classmethod
    def market(cls, symbol: str, side: Side | str, volume: Number, **further: Any) -> Self:
        """Return a request to buy or sell at once.

        ``further``: price, sl, tp, deviation, filling, magic, comment_tail, strategy.
        """
        return cls._of(kind=OrderKind.MARKET, symbol=symbol, side=side, volume=volume, **further)

    @classmethod
    def pending(cls, symbol: str, side: Side | str, volume: Number, **further: Any) -> Self:
        """Return a request for an order that waits for its ``price``.

        ``further``: type (limit, stop or stop_limit) and price, which it needs; stoplimit, lifetime, expires_msc, and those of
        ``market``.
        """
        return cls._of(kind=OrderKind.PENDING, symbol=symbol, side=side, volume=volume, **further)

    @classmethod
    def close(cls, position_id: int, volume: Number | None = None, **further: Any) -> Self:
        """Return a request to close a position, or ``volume`` lots of it."""
        return cls._of(kind=OrderKind.CLOSE, position_id=position_id, volume=volume, **further)

    @classmethod
    def close_by(cls, position_id: int, by_position_id: int, **further: Any) -> Self:
        """Return a request to close two opposite positions of a symbol against one another."""
        return cls._of(kind=OrderKind.CLOSE_BY, position_id=position_id, by_position_id=by_position_id, **further)

    @classmethod
    def stops(cls, position_id: int, *, sl: Number | None = None, tp: Number | None = None, **further: Any) -> Self:
        """Return a request to set the stops of a position. None leaves one as it is, 0 removes it."""
        return cls._of(kind=OrderKind.STOPS, position_id=position_id, sl=sl, tp=tp, **further)

    @classmethod
    def modify(cls, target: str | int, **changes: Any) -> Self:
        """Return a request to change a pending order, by client id or ticket.

        ``changes``: price, stoplimit, sl, tp, lifetime, expires_msc.
        """
        return cls._of(kind=OrderKind.MODIFY, **_target(target), **changes)

    @classmethod
    def cancel(cls, target: str | int, **further: Any) -> Self:
        """Return a request to cancel a pending order, by client id or ticket."""
        return cls._of(kind=OrderKind.CANCEL, **_target(target), **further)

    @property
    def fields(self) -> dict[str, Any]:
        """What of it an event records."""
        return {name: getattr(self, name) for name in FIELDS}


_ANY_MSC = 946_684_800_000  # a time that is allowed: it is not used


def _target(target: str | int) -> dict[str, Any]:
    return {"target_client_id": target} if isinstance(target, str) else {"target_order": target}
