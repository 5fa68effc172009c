"""What the trade server does by itself: pending orders that fill or expire, stops that are hit, stop-outs."""

from __future__ import annotations

from decimal import Decimal

from ledger.gateway.sandbox.terminal import Open
from ledger.testing.mt5.broker import Broker
from ledger.testing.mt5.constants import Constants as Code
from ledger.testing.mt5.orders import BUYING, LIMITS, STOP_LIMITS, Order
from ledger.values import Side


def settle(broker: Broker) -> None:
    """Do what is due at the present prices and the present moment."""
    broker.note_ticks()
    for order in list(broker.book.active.values()):
        _settle_order(broker, order)
    if broker.stops:
        for held in broker.terminal.open_positions():
            if held.position_id in broker.stops:
                _settle_stops(broker, held)
    _stop_out(broker)
    broker.forget_closed()


def fill(broker: Broker, order: Order, volume: Decimal | None = None) -> None:
    """Fill an active order at the present price.

    Args:
        broker: Whose order it is.
        order: What to fill.
        volume: Lots; None: all that is left.
    """
    lots = order.volume_current if volume is None else min(volume, order.volume_current)
    answer = broker.terminal.fill_more(order.ticket, lots, comment=order.comment)
    deal = answer.deals[0]
    broker.hide_deals([deal["ticket"]])
    order.volume_current -= lots
    order.position_id, order.price_current = deal["position_id"], deal["price"]
    if order.sl or order.tp:
        broker.stops[deal["position_id"]] = order.sl, order.tp
    if order.volume_current:
        order.state = Code.ORDER_STATE_PARTIAL
    else:
        broker.book.end(order, Code.ORDER_STATE_FILLED, deal["time_msc"], shown_from=broker.shown_from)


def _settle_order(broker: Broker, order: Order) -> None:
    now_msc, ends_sec = broker.terminal.now_msc, order.expires_at_sec()
    if ends_sec is not None and now_msc >= ends_sec * 1000:
        broker.book.end(order, Code.ORDER_STATE_EXPIRED, now_msc, shown_from=broker.shown_from)
        return
    if order.state != Code.ORDER_STATE_PLACED:  # the rest of a partial fill comes on command
        return
    side = Side.BUY if order.is_buying else Side.SELL
    price = broker.terminal.price(order.symbol, side)
    is_lower = price <= order.price_open
    is_reached = price == order.price_open or is_lower == (order.is_buying == (order.type in LIMITS))
    if not is_reached:
        return
    if order.type in STOP_LIMITS:  # from now on it is a limit order
        order.type = Code.ORDER_TYPE_BUY_LIMIT if order.type in BUYING else Code.ORDER_TYPE_SELL_LIMIT
        order.price_open = order.stoplimit
    else:
        fill(broker, order)


def _settle_stops(broker: Broker, held: Open) -> None:
    sl, tp = broker.stops[held.position_id]
    price = broker.terminal.price(held.symbol, held.side.opposite)
    ahead = 1 if held.side is Side.BUY else -1
    for level, word, reason, way in ((sl, "sl", Code.DEAL_REASON_SL, -ahead), (tp, "tp", Code.DEAL_REASON_TP, ahead)):
        if level and (price - level) * way >= 0:
            digits = broker.terminal.symbols[held.symbol].digits
            broker.terminal.send_order(
                held.symbol, held.side.opposite, held.volume, position=held.position_id, magic=held.magic,
                comment=f"[{word} {level:.{digits}f}]", reason=reason,
            )  # fmt: skip
            return


def _stop_out(broker: Broker) -> None:
    """Close the position with the largest loss, one after the other, while the margin level is too low."""
    level = broker.settings.stop_out_level
    while level and broker.terminal.open_positions():
        account = broker.account()
        if not account["margin"] or account["margin_level"] > level:
            return
        worst = min(broker.terminal.positions(), key=lambda row: float(row["profit"]))
        broker.terminal.stop_out(worst["identifier"])
