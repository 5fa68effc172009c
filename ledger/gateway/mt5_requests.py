"""Order messages to requests of MetaTrader 5: what is to be done and what the terminal shows, to the fields of ``order_send``.

Nothing here asks a terminal. Numbers stay exact decimals as text until the very last moment. Nothing is rounded: a price off
the tick or a volume off the step is refused by its field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

from ledger.events.orders import OrderKind, PendingType
from ledger.order_messages import OrderMessage
from ledger.protocol.order_requests import FILLINGS, LIFETIMES, FieldRefused, decimal_text
from ledger.values import Side

Row = Mapping[str, Any]

#: Fields of a request that the package takes as doubles.
DOUBLES: Final = frozenset({"volume", "price", "stoplimit", "sl", "tp"})

_DEAL, _PENDING, _SLTP, _MODIFY, _REMOVE, _CLOSE_BY = 1, 5, 6, 7, 8, 10  # TRADE_ACTION_...
_INSTANT: Final = frozenset({0, 1})  # SYMBOL_TRADE_EXECUTION_REQUEST, _INSTANT: all or nothing, at the price that is named
_FOK_BIT, _IOC_BIT = 1, 2
_TYPES: Final[Mapping[tuple[PendingType, Side], int]] = {
    (PendingType.LIMIT, Side.BUY): 2, (PendingType.LIMIT, Side.SELL): 3, (PendingType.STOP, Side.BUY): 4,
    (PendingType.STOP, Side.SELL): 5, (PendingType.STOP_LIMIT, Side.BUY): 6, (PendingType.STOP_LIMIT, Side.SELL): 7,
}  # fmt: skip
_STOP_LIMITS: Final = frozenset({6, 7})


@frozen(kw_only=True)
class Shown:
    """What the terminal shows of what an order message is about; None where it shows none, or where it is not needed.

    Attributes:
        symbol: Row of ``symbol_info``.
        tick: Row of ``symbol_info_tick``.
        position: Row of the open position.
        by_position: Row of the other one, of two that are closed against one another.
        order: Row of the active order.
    """

    symbol: Row | None = None
    tick: Row | None = None
    position: Row | None = None
    by_position: Row | None = None
    order: Row | None = None


def build_request(message: OrderMessage, found: Shown) -> dict[str, Any]:
    """Return the request that carries out an order message, with its numbers as decimal text.

    Args:
        message: What is to be done.
        found: What the terminal shows.

    Raises:
        FieldRefused: A field does not go with what the terminal shows.
    """
    common = {
        name: value
        for name, value in (("magic", message.magic), ("comment", message.comment), ("deviation", message.deviation))
        if value is not None
    }
    request = _KINDS[message.kind](message, found)
    return common | {name: decimal_text(value) if isinstance(value, Decimal) else value for name, value in request.items()}


def symbol_of(message: OrderMessage, found: Shown) -> str | None:
    """Return the symbol that an order message is about: its own, or that of its position or order. None: it needs none.

    Raises:
        FieldRefused: Its position or order is not there, or is of another symbol.
    """
    row: Row | None = None
    if message.kind in (OrderKind.CLOSE, OrderKind.STOPS, OrderKind.CLOSE_BY):
        row = _position(message, found)
    elif message.kind is OrderKind.MODIFY:
        row = _order(message, found)
    if row is None:
        return message.symbol
    if message.symbol is not None and message.symbol != row["symbol"]:
        raise FieldRefused("symbol", f"expected {row['symbol']}, of which the position or order is, found {message.symbol}")
    return str(row["symbol"])


def to_call(request: Row) -> dict[str, Any]:
    """Return a request as ``order_send`` takes it: doubles from decimals, here and nowhere before."""
    return {name: float(Decimal(value)) if name in DOUBLES else value for name, value in request.items()}


# ---- kinds


def _market(message: OrderMessage, found: Shown) -> dict[str, Any]:
    symbol, side, volume = _symbol(message, found), message.side, message.volume
    assert side is not None, "it was read"
    assert volume is not None, "it was read"
    _check_volume(volume, symbol)
    return {
        "action": _DEAL, "symbol": symbol["name"], "type": _type_of(side), "volume": volume,
        **_price_now(message, found, symbol, side), **_given_stops(message, symbol),
        "type_filling": _filling(message, symbol, is_pending=False), "type_time": LIFETIMES["gtc"],
    }  # fmt: skip


def _close(message: OrderMessage, found: Shown) -> dict[str, Any]:
    position, symbol = _position(message, found), _symbol(message, found)
    held = decimal_of(position["volume"])
    volume = held if message.volume is None else message.volume
    if volume > held:
        raise FieldRefused("volume", f"expected at most the {decimal_text(held)} of the position, found {decimal_text(volume)}")
    if volume != held:  # what is left over of a symbol may be less than its least volume, and is closed all the same
        _check_volume(volume, symbol)
    side = Side.SELL if position["type"] in ("buy", 0) else Side.BUY
    return {
        "action": _DEAL, "symbol": symbol["name"], "type": _type_of(side), "volume": volume, "position": position["ticket"],
        **_price_now(message, found, symbol, side), "type_filling": _filling(message, symbol, is_pending=False),
        "type_time": LIFETIMES["gtc"],
    }  # fmt: skip


def _pending(message: OrderMessage, found: Shown) -> dict[str, Any]:
    symbol, side, kind = _symbol(message, found), message.side, message.type
    volume, price = message.volume, message.price
    assert side is not None, "it was read"
    assert kind is not None, "it was read"
    assert volume is not None, "it was read"
    assert price is not None, "it was read"
    _check_volume(volume, symbol)
    _check_price("price", price, symbol)
    request = {
        "action": _PENDING, "symbol": symbol["name"], "type": _TYPES[kind, side], "volume": volume, "price": price,
        **_given_stops(message, symbol), "type_filling": _filling(message, symbol, is_pending=True),
        "type_time": LIFETIMES[message.lifetime or "gtc"],
    }  # fmt: skip
    if kind is PendingType.STOP_LIMIT:
        assert message.stoplimit is not None, "it was read"
        _check_price("stoplimit", message.stoplimit, symbol)
        request["stoplimit"] = message.stoplimit
    if message.expires_msc is not None:
        request["expiration"] = message.expires_msc // 1000
    return request


def _stops(message: OrderMessage, found: Shown) -> dict[str, Any]:
    position, symbol = _position(message, found), _symbol(message, found)
    present = {name: decimal_of(position[name]) for name in ("sl", "tp")}
    target = {"action": _SLTP, "symbol": symbol["name"], "position": position["ticket"]}
    return target | present | _given_stops(message, symbol)


def _modify(message: OrderMessage, found: Shown) -> dict[str, Any]:
    order, symbol = _order(message, found), _symbol(message, found)
    request: dict[str, Any] = {
        "action": _MODIFY, "order": order["ticket"], "symbol": symbol["name"], "price": decimal_of(order["price_open"]),
        "sl": decimal_of(order["sl"]), "tp": decimal_of(order["tp"]), "type_time": order["type_time"],
        **_given_stops(message, symbol),
    }  # fmt: skip
    if message.price is not None:
        _check_price("price", message.price, symbol)
        request["price"] = message.price
    if order["type"] in _STOP_LIMITS:
        request["stoplimit"] = decimal_of(order["price_stoplimit"]) if message.stoplimit is None else message.stoplimit
        _check_price("stoplimit", request["stoplimit"], symbol)
    if message.lifetime is not None:
        request["type_time"] = LIFETIMES[message.lifetime]
    expires_sec = order["time_expiration"] if message.expires_msc is None else message.expires_msc // 1000
    if expires_sec and request["type_time"] in (LIFETIMES["specified"], LIFETIMES["specified_day"]):
        request["expiration"] = expires_sec
    return request


def _close_by(message: OrderMessage, found: Shown) -> dict[str, Any]:
    position, other = _position(message, found), _by_position(message, found)
    return {"action": _CLOSE_BY, "position": position["ticket"], "position_by": other["ticket"]}


def _cancel(message: OrderMessage, _: Shown) -> dict[str, Any]:
    return {"action": _REMOVE, "order": message.order}


_KINDS: Final[Mapping[OrderKind, Callable[[OrderMessage, Shown], dict[str, Any]]]] = {
    OrderKind.MARKET: _market, OrderKind.PENDING: _pending, OrderKind.CLOSE: _close, OrderKind.CLOSE_BY: _close_by,
    OrderKind.STOPS: _stops, OrderKind.MODIFY: _modify, OrderKind.CANCEL: _cancel,
}  # fmt: skip


# ---- what they are made of


def decimal_of(number: Any) -> Decimal:
    """Return what a double of the terminal was written as."""
    return Decimal(repr(number))


def _type_of(side: Side) -> int:
    return 0 if side is Side.BUY else 1


def _symbol(message: OrderMessage, found: Shown) -> Row:
    if found.symbol is None:
        raise FieldRefused("symbol", f"the terminal has no symbol {symbol_of(message, found)}")
    return found.symbol


def _position(message: OrderMessage, found: Shown) -> Row:
    if found.position is None:
        raise FieldRefused("position", f"position {message.position_id} is not open")
    return found.position


def _by_position(message: OrderMessage, found: Shown) -> Row:
    if found.by_position is None:
        raise FieldRefused("position_by", f"position {message.by_position_id} is not open")
    return found.by_position


def _order(message: OrderMessage, found: Shown) -> Row:
    if found.order is None:
        raise FieldRefused("order", f"order {message.order} is not among the active ones")
    return found.order


def _price_now(message: OrderMessage, found: Shown, symbol: Row, side: Side) -> dict[str, Any]:
    """Return the price of an order at the market: the one that is named, else the present one."""
    if message.price is not None:
        _check_price("price", message.price, symbol)
        return {"price": message.price}
    if found.tick is not None:
        return {"price": decimal_of(found.tick["ask" if side is Side.BUY else "bid"])}
    if symbol["trade_exemode"] in _INSTANT:
        raise FieldRefused("price", f"the terminal shows no price of {symbol['name']}, and its execution needs one")
    return {}


def _given_stops(message: OrderMessage, symbol: Row) -> dict[str, Any]:
    given = {name: value for name, value in (("sl", message.sl), ("tp", message.tp)) if value is not None}
    for name, value in given.items():
        if value:  # 0 is none
            _check_price(name, value, symbol)
    return given


def _check_price(name: str, price: Decimal, symbol: Row) -> None:
    tick = decimal_of(symbol["trade_tick_size"]) or decimal_of(symbol["point"])
    if not price or tick <= 0 or price % tick:
        raise FieldRefused(
            name, f"expected a price on the tick of {decimal_text(tick)}, more than 0, found {decimal_text(price)}"
        )


def _check_volume(volume: Decimal, symbol: Row) -> None:
    low, high, step = (decimal_of(symbol[name]) for name in ("volume_min", "volume_max", "volume_step"))
    if not low <= volume <= high:
        raise FieldRefused(
            "volume", f"expected {decimal_text(low)} to {decimal_text(high)} of {symbol['name']}, found {decimal_text(volume)}"
        )
    if step <= 0 or volume % step:
        raise FieldRefused("volume", f"expected a multiple of {decimal_text(step)}, found {decimal_text(volume)}")


def _filling(message: OrderMessage, symbol: Row, *, is_pending: bool) -> int:
    """Return how the order is filled: as it names, or as the symbol allows."""
    if message.filling not in (None, "auto"):
        return FILLINGS[str(message.filling)]
    if symbol["trade_exemode"] in _INSTANT:
        return FILLINGS["fok"]
    if is_pending:
        return FILLINGS["return"]
    mask = symbol["filling_mode"]
    return FILLINGS["ioc" if mask & _IOC_BIT else "fok" if mask & _FOK_BIT else "return"]
