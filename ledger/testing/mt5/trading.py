"""The trade server behind the fake ``MetaTrader5``: what it refuses, and how it carries out what it accepts.

Rules as MT5 documents them (MQL5 Reference, "Trade Request Structure", "Return Codes of the Trade Server", "Order Properties").
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from attrs import frozen

from ledger.gateway.sandbox.terminal import Answer, Open
from ledger.testing.mt5.broker import Broker
from ledger.testing.mt5.constants import Constants as Code
from ledger.testing.mt5.orders import BUYING, LIMITS, PENDING, STOP_LIMITS, Order, Request
from ledger.values import Entry, MarginMode, Side

_PRICE_MAX: Final = Decimal(10) ** 9
_NOTHING: Final = Decimal(0)
_FILLING_BITS: Final = {Code.ORDER_FILLING_FOK: 1, Code.ORDER_FILLING_IOC: 2}
_INSTANT: Final = frozenset({Code.SYMBOL_TRADE_EXECUTION_REQUEST, Code.SYMBOL_TRADE_EXECUTION_INSTANT})


@frozen(kw_only=True)
class Result:
    """What the trade server answers: a return code, and the numbers that it knows."""

    retcode: int
    order: int = 0
    deal: int = 0
    volume: Decimal = _NOTHING
    price: Decimal = _NOTHING


def execute(broker: Broker, request: Request) -> Result:
    """Check a request and carry it out."""
    refused = check(broker, request)
    return Result(retcode=refused) if refused else _ACTIONS[request.action](broker, request)


# ---- what is refused: each check returns a return code, or 0


def check(broker: Broker, request: Request) -> int:
    """Return with which return code a request is refused; 0: it is not."""
    settings = broker.settings
    if not broker.terminal.is_connected:
        return Code.TRADE_RETCODE_CONNECTION
    if request.action not in _ACTIONS or not request.is_finite:
        return Code.TRADE_RETCODE_INVALID
    if not settings.is_trading_allowed:
        return Code.TRADE_RETCODE_CLIENT_DISABLES_AT
    if not settings.is_account_trading_allowed:
        return Code.TRADE_RETCODE_TRADE_DISABLED
    if not broker.is_market_open:
        return Code.TRADE_RETCODE_MARKET_CLOSED
    return next((code for one in _CHECKS[request.action] if (code := one(broker, request))), 0)


def _check_symbol(broker: Broker, request: Request) -> int:
    return 0 if request.symbol in broker.terminal.symbols else Code.TRADE_RETCODE_INVALID


def _check_market_type(_broker: Broker, request: Request) -> int:
    is_market = request.type in (Code.ORDER_TYPE_BUY, Code.ORDER_TYPE_SELL)
    return 0 if is_market else Code.TRADE_RETCODE_INVALID_ORDER


def _check_pending_type(_broker: Broker, request: Request) -> int:
    return 0 if request.type in PENDING else Code.TRADE_RETCODE_INVALID_ORDER


def _check_volume(broker: Broker, request: Request) -> int:
    settings, lots = broker.settings, request.volume
    step = broker.terminal.symbols[request.symbol].volume_step
    if not step <= lots <= Decimal(repr(settings.volume_max)) or lots % step:
        return Code.TRADE_RETCODE_INVALID_VOLUME
    if not settings.volume_limit or request.position:
        return 0
    same = [held for held in broker.terminal.open_positions() if held.symbol == request.symbol and held.side is _side(request)]
    waiting = [order for order in broker.book.active.values() if order.symbol == request.symbol]
    total = sum((held.volume for held in same), lots)
    total += sum((order.volume_current for order in waiting if order.is_buying == (request.type in BUYING)), _NOTHING)
    return Code.TRADE_RETCODE_LIMIT_VOLUME if total > Decimal(repr(settings.volume_limit)) else 0


def _check_filling(broker: Broker, request: Request) -> int:
    mode, execution = request.type_filling, broker.execution
    if mode == Code.ORDER_FILLING_RETURN:
        is_fine = request.action == Code.TRADE_ACTION_PENDING or execution == Code.SYMBOL_TRADE_EXECUTION_EXCHANGE
    elif execution in _INSTANT:
        is_fine = mode == Code.ORDER_FILLING_FOK
    else:
        is_fine = bool(broker.settings.filling_mode & _FILLING_BITS.get(mode, 0))
    return 0 if is_fine else Code.TRADE_RETCODE_INVALID_FILL


def _check_position(broker: Broker, request: Request) -> int:
    """Check the position that a market order closes, where it names one."""
    if not request.position:
        return 0
    held = _held(broker, request.position)
    if held is None:
        return Code.TRADE_RETCODE_POSITION_CLOSED
    if held.symbol != request.symbol:
        return Code.TRADE_RETCODE_INVALID
    if broker.terminal.mode is not MarginMode.HEDGING:
        return 0
    if held.side is _side(request):
        return Code.TRADE_RETCODE_INVALID
    return Code.TRADE_RETCODE_INVALID_CLOSE_VOLUME if request.volume > held.volume else 0


def _check_limit(broker: Broker, _request: Request) -> int:
    total = len(broker.terminal.open_positions()) + len(broker.book.active)
    limit = broker.settings.limit_orders
    return Code.TRADE_RETCODE_LIMIT_POSITIONS if limit and total >= limit else 0


def _check_quote(broker: Broker, request: Request) -> int:
    """Check the price of a market order where execution is instant: beyond the deviation it is quoted again."""
    if broker.execution not in _INSTANT:
        return 0
    if not _is_on_tick(broker, request.symbol, request.price):
        return Code.TRADE_RETCODE_INVALID_PRICE
    now = broker.terminal.price(request.symbol, _side(request))
    is_off = abs(now - request.price) > request.deviation * _point(broker, request.symbol)
    return Code.TRADE_RETCODE_REQUOTE if is_off else 0


def _check_market_stops(broker: Broker, request: Request) -> int:
    side = _side(request)
    price = broker.terminal.price(request.symbol, side.opposite)
    return _check_stops(broker, request.symbol, side, price, request.sl, request.tp)


def _check_margin(broker: Broker, request: Request) -> int:
    if not broker.settings.is_margin_checked or request.position:
        return 0
    free = broker.account()["margin_free"]
    return Code.TRADE_RETCODE_NO_MONEY if broker.margin_of(request.symbol, request.volume) > free else 0


def _check_pending_price(broker: Broker, request: Request) -> int:
    return _pending_price(broker, request.symbol, request.type, request.price, request.stoplimit)


def _pending_price(broker: Broker, symbol: str, kind: int, price: Decimal, stoplimit: Decimal) -> int:
    """Check on which side of the market a pending order is, and that it is far enough away."""
    if not _is_on_tick(broker, symbol, price):
        return Code.TRADE_RETCODE_INVALID_PRICE
    side = Side.BUY if kind in BUYING else Side.SELL
    now, distance = broker.terminal.price(symbol, side), _stops_distance(broker, symbol)
    is_below = (side is Side.BUY) == (kind in LIMITS)  # limits buy lower and sell higher, stops the other way round
    is_fine = price <= now - distance and price < now if is_below else price >= now + distance and price > now
    if is_fine and kind in STOP_LIMITS:
        is_fine = _is_on_tick(broker, symbol, stoplimit) and (stoplimit < price if side is Side.BUY else stoplimit > price)
    return 0 if is_fine else Code.TRADE_RETCODE_INVALID_PRICE


def _check_pending_stops(broker: Broker, request: Request) -> int:
    price = request.stoplimit if request.type in STOP_LIMITS else request.price
    return _check_stops(broker, request.symbol, _side(request), price, request.sl, request.tp)


def _check_expiration(broker: Broker, request: Request) -> int:
    return _expiration(broker, request.type_time, request.expiration)


def _expiration(broker: Broker, type_time: int, expires_sec: int) -> int:
    if type_time in (Code.ORDER_TIME_GTC, Code.ORDER_TIME_DAY):
        return 0
    is_known = type_time in (Code.ORDER_TIME_SPECIFIED, Code.ORDER_TIME_SPECIFIED_DAY)
    is_ahead = expires_sec * 1000 > broker.terminal.now_msc
    return 0 if is_known and is_ahead else Code.TRADE_RETCODE_INVALID_EXPIRATION


def _check_changed_stops(broker: Broker, request: Request) -> int:
    held = _stops_target(broker, request)
    if held is None:
        return Code.TRADE_RETCODE_POSITION_CLOSED
    price = broker.terminal.price(held.symbol, held.side.opposite)
    refused = _check_stops(broker, held.symbol, held.side, price, request.sl, request.tp)
    if refused:
        return refused
    is_same = broker.stops.get(held.position_id, (_NOTHING, _NOTHING)) == (request.sl, request.tp)
    return Code.TRADE_RETCODE_NO_CHANGES if is_same else 0


def _check_modified(broker: Broker, request: Request) -> int:
    order = broker.book.active.get(request.order)
    if order is None:
        return Code.TRADE_RETCODE_INVALID_ORDER
    refused = _pending_price(broker, order.symbol, order.type, request.price, request.stoplimit)
    side = Side.BUY if order.is_buying else Side.SELL
    level = request.stoplimit if order.type in STOP_LIMITS else request.price
    refused = refused or _check_stops(broker, order.symbol, side, level, request.sl, request.tp)
    refused = refused or _expiration(broker, request.type_time, request.expiration)
    wanted = request.price, request.stoplimit, request.sl, request.tp, request.type_time, request.expiration
    present = order.price_open, order.stoplimit, order.sl, order.tp, order.type_time, order.expires_sec
    return refused or (Code.TRADE_RETCODE_NO_CHANGES if wanted == present else 0)


def _check_removed(broker: Broker, request: Request) -> int:
    return 0 if request.order in broker.book.active else Code.TRADE_RETCODE_INVALID


def _check_close_by(broker: Broker, request: Request) -> int:
    one, other = _held(broker, request.position), _held(broker, request.position_by)
    if one is None or other is None or one.position_id == other.position_id:
        return Code.TRADE_RETCODE_POSITION_CLOSED
    is_pair = one.symbol == other.symbol and one.side is not other.side
    return 0 if is_pair and broker.terminal.mode is MarginMode.HEDGING else Code.TRADE_RETCODE_INVALID


def _check_stops(broker: Broker, symbol: str, side: Side, price: Decimal, sl: Decimal, tp: Decimal) -> int:
    """Check stops against the price that they are measured from: 0 is none, a loss is behind the price, a profit ahead."""
    distance, ahead = _stops_distance(broker, symbol), 1 if side is Side.BUY else -1
    for level, way in ((sl, -ahead), (tp, ahead)):
        away = (level - price) * way
        if level and (not _is_on_tick(broker, symbol, level) or away <= 0 or away < distance):
            return Code.TRADE_RETCODE_INVALID_STOPS
    return 0


def _is_on_tick(broker: Broker, symbol: str, price: Decimal) -> bool:
    return _NOTHING < price <= _PRICE_MAX and not price % _point(broker, symbol)


def _point(broker: Broker, symbol: str) -> Decimal:
    return Decimal(1).scaleb(-broker.terminal.symbols[symbol].digits)


def _stops_distance(broker: Broker, symbol: str) -> Decimal:
    return broker.settings.stops_level * _point(broker, symbol)


def _side(request: Request) -> Side:
    return Side.BUY if request.type in BUYING else Side.SELL


def _held(broker: Broker, ticket: int) -> Open | None:
    return next((held for held in broker.terminal.open_positions() if held.ticket == ticket), None)


def _stops_target(broker: Broker, request: Request) -> Open | None:
    """Return the position whose stops are changed: by its ticket, on accounts that net by its symbol too."""
    if request.position or broker.terminal.mode is MarginMode.HEDGING:
        return _held(broker, request.position)
    return next((held for held in broker.terminal.open_positions() if held.symbol == request.symbol), None)


# ---- what is carried out


def _trade(broker: Broker, request: Request) -> Result:
    """Carry out a market order."""
    wanted, filled = request.volume, _available(broker, request)
    if not filled or (filled < wanted and request.type_filling == Code.ORDER_FILLING_FOK):
        return Result(retcode=Code.TRADE_RETCODE_REJECT)
    answer = broker.terminal.send_order(
        request.symbol,
        _side(request),
        filled,
        position=broker.identifier(request.position) if request.position else None,
        magic=request.magic,
        comment=_kept_comment(broker, request),
        parts=max(1, broker.settings.parts),
    )
    if not answer.is_done:
        return Result(retcode=answer.retcode)
    broker.hide_deals(deal["ticket"] for deal in answer.deals)
    _add_market_order(broker, request, answer, filled)
    stops = (_NOTHING, _NOTHING) if broker.settings.drops_stops else (request.sl, request.tp)
    _after_deals(broker, stops, answer)
    if broker.execution == Code.SYMBOL_TRADE_EXECUTION_EXCHANGE:  # the deals come by themselves
        return Result(retcode=Code.TRADE_RETCODE_PLACED, order=answer.order, volume=wanted)
    first = answer.deals[0]
    retcode = Code.TRADE_RETCODE_DONE if filled == wanted else Code.TRADE_RETCODE_DONE_PARTIAL
    return Result(retcode=retcode, order=answer.order, deal=first["ticket"], volume=filled, price=first["price"])


def _available(broker: Broker, request: Request) -> Decimal:
    """Return how many lots of a market order are filled at once."""
    if not broker.settings.liquidity:
        return request.volume
    step = broker.terminal.symbols[request.symbol].volume_step
    return min(request.volume, Decimal(repr(broker.settings.liquidity)) // step * step)


def _add_market_order(broker: Broker, request: Request, answer: Answer, filled: Decimal) -> None:
    last = answer.deals[-1]
    order = _order(broker, request, answer.order)
    order.volume_current = request.volume - filled
    order.price_open = order.price_current = last["price"]
    order.position_id = last["position_id"]
    if order.volume_current and request.type_filling == Code.ORDER_FILLING_RETURN:
        order.state = Code.ORDER_STATE_PARTIAL
    else:
        state = Code.ORDER_STATE_CANCELED if order.volume_current else Code.ORDER_STATE_FILLED
        order.finish(state, last["time_msc"], shown_from=broker.shown_from)
    broker.book.add(order)


def _after_deals(broker: Broker, stops: tuple[Decimal, Decimal], answer: Answer) -> None:
    """Set the stops of the position that deals opened or added to; overwrite the comment of one that they closed in part."""
    last = answer.deals[-1]
    is_open = any(held.position_id == last["position_id"] for held in broker.terminal.open_positions())
    if not is_open:
        return
    if last["entry"] in (Entry.IN, Entry.IN_OUT):
        if any(stops) or last["entry"] == Entry.IN_OUT:
            broker.stops[last["position_id"]] = stops
    elif last["entry"] == Entry.OUT:
        broker.comment_partial_close(last["position_id"])


def _place(broker: Broker, request: Request) -> Result:
    """Place a pending order: it has a ticket, no deal and no price."""
    ticket = broker.terminal.place_order(request.symbol, _side(request), magic=request.magic)
    order = _order(broker, request, ticket)
    order.price_open, order.stoplimit = request.price, request.stoplimit
    order.type_time, order.expires_sec = request.type_time, request.expiration
    order.price_current = broker.terminal.price(request.symbol, _side(request))
    broker.book.add(order)
    return Result(retcode=Code.TRADE_RETCODE_DONE, order=ticket, volume=request.volume)


def _order(broker: Broker, request: Request, ticket: int) -> Order:
    return Order(
        ticket=ticket, symbol=request.symbol, type=request.type, volume_initial=request.volume,
        volume_current=request.volume, setup_msc=broker.terminal.now_msc, type_filling=request.type_filling,
        magic=request.magic, sl=request.sl, tp=request.tp, comment=_kept_comment(broker, request),
    )  # fmt: skip


def _kept_comment(broker: Broker, request: Request) -> str:
    return request.comment[: broker.settings.comment_length]


def _change_stops(broker: Broker, request: Request) -> Result:
    """Change the stops of a position: no record of it remains, neither order nor deal."""
    held = _stops_target(broker, request)
    assert held is not None, "it was checked"
    broker.stops[held.position_id] = request.sl, request.tp
    broker.terminal.revision += 1
    return Result(retcode=Code.TRADE_RETCODE_DONE)


def _modify(broker: Broker, request: Request) -> Result:
    order = broker.book.active[request.order]
    order.price_open, order.stoplimit, order.sl, order.tp = request.price, request.stoplimit, request.sl, request.tp
    order.type_time, order.expires_sec = request.type_time, request.expiration
    return Result(retcode=Code.TRADE_RETCODE_DONE, order=order.ticket)


def _remove(broker: Broker, request: Request) -> Result:
    order = broker.book.active[request.order]
    broker.book.end(order, Code.ORDER_STATE_CANCELED, broker.terminal.now_msc, shown_from=broker.shown_from)
    return Result(retcode=Code.TRADE_RETCODE_DONE, order=order.ticket)


def _close_by(broker: Broker, request: Request) -> Result:
    one, other = broker.identifier(request.position), broker.identifier(request.position_by)
    assert one is not None, "it was checked"
    assert other is not None, "it was checked"
    answer = broker.terminal.close_by(one, other)
    if not answer.is_done:
        return Result(retcode=answer.retcode)
    first = answer.deals[0]
    broker.hide_deals(deal["ticket"] for deal in answer.deals)
    return Result(
        retcode=Code.TRADE_RETCODE_DONE, order=answer.order, deal=first["ticket"], volume=first["volume"],
        price=first["price"],
    )  # fmt: skip


_Check = Callable[[Broker, Request], int]
_CHECKS: Final[dict[int, tuple[_Check, ...]]] = {
    Code.TRADE_ACTION_DEAL: (
        _check_symbol, _check_market_type, _check_volume, _check_filling, _check_position, _check_limit, _check_quote,
        _check_market_stops, _check_margin,
    ),
    Code.TRADE_ACTION_PENDING: (
        _check_symbol, _check_pending_type, _check_volume, _check_filling, _check_limit, _check_pending_price,
        _check_pending_stops, _check_expiration,
    ),
    Code.TRADE_ACTION_SLTP: (_check_changed_stops,),
    Code.TRADE_ACTION_MODIFY: (_check_modified,),
    Code.TRADE_ACTION_REMOVE: (_check_removed,),
    Code.TRADE_ACTION_CLOSE_BY: (_check_close_by,),
}  # fmt: skip
_ACTIONS: Final[dict[int, Callable[[Broker, Request], Result]]] = {
    Code.TRADE_ACTION_DEAL: _trade,
    Code.TRADE_ACTION_PENDING: _place,
    Code.TRADE_ACTION_SLTP: _change_stops,
    Code.TRADE_ACTION_MODIFY: _modify,
    Code.TRADE_ACTION_REMOVE: _remove,
    Code.TRADE_ACTION_CLOSE_BY: _close_by,
}
