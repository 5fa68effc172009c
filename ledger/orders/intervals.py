"""Exposure while it is not known what was executed: intervals of volumes, and what can only make them smaller. Pure.

An order that is open may be executed whole, in part or not at all. So a true net volume is between two ends, and what is
checked is checked at both. Volumes in lots; where an account nets, the volume held of a symbol is the net one without its sign,
else it is the sum of both sides, as each position can be closed alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from decimal import Decimal
from typing import Final

from attrs import evolve, frozen

from ledger.events.orders import OrderKind
from ledger.orders.request import OrderRequest
from ledger.orders.states import OrderState
from ledger.orders.view import Order, Orders
from ledger.portfolio import Portfolio
from ledger.values import EXACT, Side, plain
from ledger.views import Position

#: What the name of a strategy begins with that is known by its magic number.
MAGIC: Final = "magic:"
_ZERO: Final = Decimal(0)
_UNLIMITED: Final = Decimal("Infinity")


@frozen(kw_only=True)
class Change:
    """What an order may still do: buy and sell at most so many lots of a symbol, and close so many of positions.

    ``symbol`` is None where it is not known: then it may be any. ``closes`` is filled only where an account holds several
    positions of a symbol; where it nets, a close buys or sells.
    """

    symbol: str | None
    buys: Decimal = _ZERO
    sells: Decimal = _ZERO
    closes: tuple[tuple[int, Decimal], ...] = ()


@frozen(kw_only=True)
class Exposure:
    """What is held of a symbol, and what open orders may add to it: lots."""

    nets: bool
    long: Decimal = _ZERO
    short: Decimal = _ZERO
    buys: Decimal = _ZERO
    sells: Decimal = _ZERO

    @property
    def net_low(self) -> Decimal:
        """The net volume if everything sells and nothing buys. Where an account nets."""
        return EXACT.subtract(EXACT.subtract(self.long, self.short), self.sells)

    @property
    def net_high(self) -> Decimal:
        """The net volume if everything buys and nothing sells. Where an account nets."""
        return EXACT.add(EXACT.subtract(self.long, self.short), self.buys)

    @property
    def worst(self) -> Decimal:
        """The most that can be held once the open orders are executed, or not."""
        if self.nets:
            return max(abs(self.net_low), abs(self.net_high))
        return EXACT.add(EXACT.add(self.long, self.short), EXACT.add(self.buys, self.sells))

    def after(self, change: Change) -> Exposure:
        """Return it with one more order."""
        return Exposure(
            nets=self.nets,
            long=self.long,
            short=self.short,
            buys=EXACT.add(self.buys, change.buys),
            sells=EXACT.add(self.sells, change.sells),
        )


class Book:
    """The positions of an account together with its open orders: what may be held of each symbol.

    Args:
        portfolio: The positions as they are recorded.
        orders: The orders.
        at_utc_msc: The moment, in UTC: what nobody answered by the end of its validity is unknown from then on.
        late: Client ids of orders that are unknown although they still count as intended.
    """

    def __init__(self, portfolio: Portfolio, orders: Orders, at_utc_msc: int, *, late: frozenset[str] = frozenset()) -> None:
        self.nets = portfolio.terms.opened.mode.nets
        self.portfolio = portfolio
        self.orders = tuple(_unknown(order) if order.client_id in late else order for order in orders.open_orders(at_utc_msc))
        self.view, self.late = orders, late
        self.changes = tuple((order, self.change_of(order)) for order in self.orders)
        self.volumes, self.positions_count = portfolio.volumes, portfolio.positions_count
        self.by_symbol = _group(self.changes)

    # ---- what orders may do

    def change_of(self, order: Order | OrderRequest) -> Change:
        """Return what an order, or a request, may still do."""
        symbol, volume = self.symbol_of(order), order.volume or None  # an answer may state 0 where it knows none
        if isinstance(order, Order) and volume is not None:
            volume = max(_ZERO, EXACT.subtract(volume, order.filled))
        match order.kind:
            case OrderKind.MARKET | OrderKind.PENDING:
                return _trade(symbol, order.side, volume)
            case OrderKind.CLOSE:
                position = self.position(order.position_id)
                if volume is None and position is not None:
                    volume = position.volume
                if self.nets:
                    return _trade(symbol, position.side.opposite if position else order.side, volume)
                return Change(symbol=symbol, closes=_closes({order.position_id}, volume))
            case OrderKind.CLOSE_BY if self.nets:
                return _trade(symbol, None, None)
            case OrderKind.CLOSE_BY:
                return Change(symbol=symbol, closes=self._closes_by(order))
            case OrderKind.STOPS | OrderKind.MODIFY | OrderKind.CANCEL:
                return Change(symbol=symbol)

    def _closes_by(self, order: Order | OrderRequest) -> tuple[tuple[int, Decimal], ...]:
        by = _request_of(order)
        if by is None or by.by_position_id is None:  # one of the two is not known: it may be any of them
            return _closes(self.portfolio.positions, None)
        pair = {order.position_id, by.by_position_id}
        volumes = [position.volume for position in map(self.position, pair) if position is not None]
        return _closes(pair, min(volumes) if len(volumes) == len(pair) else None)

    def position(self, position_id: int | None) -> Position | None:
        """Return an open position, None without one."""
        return None if position_id is None else self.portfolio.position(position_id)

    def symbol_of(self, order: Order | OrderRequest) -> str | None:
        """Return which symbol an order, or a request, is about; None where that is not known."""
        position = self.position(order.position_id)
        if position is not None:
            return position.symbol
        if order.symbol is not None:
            return order.symbol
        request = _request_of(order)
        target = None if request is None else self.target_of(request)
        return None if target is None else target.symbol

    def target_of(self, request: OrderRequest) -> Order | None:
        """Return the open order that a request changes or cancels, None without one."""
        for order in self.orders:
            if request.target_client_id is not None and order.client_id == request.target_client_id:
                return order
            if request.target_order is not None and request.target_order in order.tickets:
                return order
        return None

    def of_strategy(self, name: str) -> Book:
        """Return the part of it that belongs to a strategy, by its name or as ``magic:NUMBER``.

        What may belong to it counts: an order of ours whose request is not known, a position whose opening order is not; where
        the account nets, every position.
        """
        part = copy(self)
        part.changes = tuple((order, change) for order, change in self.changes if _may_be_of(name, order))
        part.orders = tuple(order for order, _ in part.changes)
        part.by_symbol = _group(part.changes)
        if self.nets:
            return part
        held = [position for position in self.portfolio.positions.values() if self._is_held_by(name, position)]
        volumes: dict[str, tuple[Decimal, Decimal]] = {}
        for position in held:
            long, short = volumes.get(position.symbol, (_ZERO, _ZERO))
            is_long = position.side is Side.BUY
            volumes[position.symbol] = (
                EXACT.add(long, position.volume if is_long else _ZERO), EXACT.add(short, _ZERO if is_long else position.volume)
            )  # fmt: skip
        part.volumes, part.positions_count = volumes, len(held)
        return part

    def _is_held_by(self, name: str, position: Position) -> bool:
        if name.startswith(MAGIC):
            return position.magic is None or name == f"{MAGIC}{position.magic}"
        opening = self.view.by_ticket(position.ticket)
        return opening is None or _may_be_of(name, opening)

    # ---- what may be held

    def exposure(self, symbol: str) -> Exposure:
        """Return what is held of a symbol, and what open orders may add."""
        long, short = self.volumes.get(symbol, (_ZERO, _ZERO))
        exposure = Exposure(nets=self.nets, long=long, short=short)
        for change in (*self.by_symbol.get(symbol, ()), *self.by_symbol.get(None, ())):
            exposure = exposure.after(change)
        return exposure

    def exposures(self) -> dict[str, Exposure]:
        """Return symbol -> exposure, of every symbol with a position or an open order."""
        symbols = dict.fromkeys([*self.volumes, *self.by_symbol])
        return {symbol: self.exposure(symbol) for symbol in symbols if symbol is not None}

    def closable(self, position_id: int) -> Decimal:
        """Return how many lots of a position no open order may close: what can surely be closed."""
        position = self.position(position_id)
        if position is None:
            return _ZERO
        left = position.volume
        for _, change in self.changes:
            for closed, volume in change.closes:
                if closed == position_id:
                    left = EXACT.subtract(left, volume)
        return max(_ZERO, left)

    def unknown_orders(self, symbol: str | None) -> tuple[Order, ...]:
        """Return the orders of which nobody knows whether they were executed, that may be about a symbol; None: about any.

        Not those that set stops: they add no volume, and asking again does no harm.
        """
        return tuple(
            order
            for order, change in self.changes
            if order.is_unknown and order.kind is not OrderKind.STOPS and (symbol is None or change.symbol in (None, symbol))
        )

    # ---- what only makes it smaller

    def why_not_reducing(self, request: OrderRequest) -> str | None:
        """Return why a request might make exposure larger; None where it cannot, whatever became of the open orders."""
        match request.kind:
            case OrderKind.CANCEL:
                return None
            case OrderKind.STOPS:
                return self._why_not_tighter(request)
            case OrderKind.PENDING | OrderKind.MODIFY:
                return f"an order of kind {request.kind.value} may be executed when there is nothing left to reduce"
            case OrderKind.MARKET if not self.nets:
                return "on a hedging account a market order opens a position: close the one that is meant"
            case OrderKind.MARKET | OrderKind.CLOSE | OrderKind.CLOSE_BY:
                missing = [one for one in (request.position_id, request.by_position_id) if one is not None]
                missing = [one for one in missing if self.position(one) is None]
                if missing:
                    return f"the journal has no open position {missing[0]}: sync first"
                return self._why_not_net(request) if self.nets else self._why_not_closable(request)

    def _why_not_net(self, request: OrderRequest) -> str | None:
        change = self.change_of(request)
        if change.symbol is None or request.kind is OrderKind.CLOSE_BY:
            return "an account that nets has one position of a symbol: close it, or a part of it"
        exposure = self.exposure(change.symbol)
        low, high = exposure.net_low, exposure.net_high
        if change.buys and not change.sells:
            is_smaller = EXACT.add(high, change.buys) <= 0
        else:
            is_smaller = not change.buys and EXACT.subtract(low, change.sells) >= 0
        return None if is_smaller else f"the net volume is from {_lots(low)} to {_lots(high)} lots: it could open or reverse"

    def _why_not_closable(self, request: OrderRequest) -> str | None:
        closes = dict(self.change_of(request).closes)
        if request.kind is OrderKind.CLOSE_BY:
            first, second = self.position(request.position_id), self.position(request.by_position_id)
            if not first or not second or first.symbol != second.symbol or first.side is second.side:
                return "two positions close one another where they are of one symbol and of opposite sides"
        for position_id, volume in closes.items():
            closable = self.closable(position_id)
            if volume > closable:
                return f"of position {position_id} at most {_lots(closable)} lots can be closed, found {_lots(volume)}"
        return None

    def _why_not_tighter(self, request: OrderRequest) -> str | None:
        position = self.position(request.position_id)
        if position is None:
            return f"the journal has no open position {request.position_id}: sync first"
        sign = 1 if position.side is Side.BUY else -1
        for sl, tp in self._stops_of(position):
            for name, wanted, known, towards in (("sl", request.sl, sl, sign), ("tp", request.tp, tp, -sign)):
                if wanted is not None and not _is_tighter(wanted, known or None, towards):
                    return f"{name} {plain(wanted)} is not tighter than {plain(known or _ZERO)}"
        return None

    def _stops_of(self, position: Position) -> Iterator[tuple[Decimal | None, Decimal | None]]:
        """Yield the stops that a position may have: as the broker showed them, else as it was opened; and those asked for."""
        shown = self.view.stops.get(position.position_id)
        if shown is None:
            opening = self.view.by_ticket(position.position_id)
            asked = None if opening is None else opening.request
            shown = (None, None) if asked is None else (asked.sl, asked.tp)
        yield shown
        for order in self.orders:
            if order.kind is OrderKind.STOPS and order.position_id == position.position_id and order.request is not None:
                sl, tp = order.request.sl, order.request.tp
                yield shown[0] if sl is None else sl, shown[1] if tp is None else tp


def is_reducing(book: Book, request: OrderRequest) -> bool:
    """Return whether a request can only make exposure smaller, whatever became of the open orders."""
    return book.why_not_reducing(request) is None


def _may_be_of(name: str, order: Order) -> bool:
    """Return whether an order belongs to a strategy, or may: one that is not ours belongs to none."""
    request = order.request
    if request is None:
        return order.client_id is not None
    return is_of_strategy(name, request)


def is_of_strategy(name: str, request: OrderRequest) -> bool:
    """Return whether a request is of a strategy, by its name or as ``magic:NUMBER``."""
    return name == request.strategy or (request.magic is not None and name == f"{MAGIC}{request.magic}")


def _unknown(order: Order) -> Order:
    """Return an order whose answer did not come as unknown, unless something of it is recorded by now."""
    if order.state is not OrderState.INTENDED:
        return order
    return evolve(order, state=OrderState.UNKNOWN, why="no answer within its deadline")


def _group(changes: Iterable[tuple[Order, Change]]) -> dict[str | None, list[Change]]:
    grouped: dict[str | None, list[Change]] = {}
    for _, change in changes:
        grouped.setdefault(change.symbol, []).append(change)
    return grouped


def _request_of(order: Order | OrderRequest) -> OrderRequest | None:
    return order if isinstance(order, OrderRequest) else order.request


def _trade(symbol: str | None, side: Side | None, volume: Decimal | None) -> Change:
    """Return what a trade may do; a side or a volume that is not known may be any."""
    lots = _UNLIMITED if volume is None else volume
    return Change(
        symbol=symbol,
        buys=_ZERO if side is Side.SELL else lots,
        sells=_ZERO if side is Side.BUY else lots,
    )


def _closes(positions: Iterable[int | None], volume: Decimal | None) -> tuple[tuple[int, Decimal], ...]:
    lots = _UNLIMITED if volume is None else volume
    return tuple((position_id, lots) for position_id in positions if position_id is not None)


def _is_tighter(wanted: Decimal, known: Decimal | None, towards: int) -> bool:
    """Return whether a stop is at least as near as the one that is there: above it where ``towards`` is 1."""
    if not wanted:
        return known is None
    return known is None or EXACT.multiply(EXACT.subtract(wanted, known), Decimal(towards)) >= 0


def _lots(volume: Decimal) -> str:
    return plain(volume) if volume.is_finite() else "any number of"
