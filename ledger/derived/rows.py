"""The rows of the derived tables: made of what the fold holds, and back to what a portfolio shows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NamedTuple

import attrs

from ledger.clock import ClockRule
from ledger.errors import InexactNumber
from ledger.events import BreakKind
from ledger.events.orders import HaltMode, HaltScope, OrderKind
from ledger.journal.derived import PositionRow, Summary, TradeRow
from ledger.orders.states import OrderState
from ledger.orders.view import Order, Orders
from ledger.portfolio import Portfolio
from ledger.positions import OpenPosition, divided
from ledger.terms import AccountTerms
from ledger.values import INT64_MAX, Side, plain, signed_magic, unscaled, unsigned_magic
from ledger.views import Break, Position, Trade

_SIDES: Final = (Side.BUY, Side.SELL)


def trade_row(position: OpenPosition, terms: AccountTerms, number: int, *, is_unfinished: bool = False) -> TradeRow:
    """Return the row of a position that went flat."""
    price_scale, volume_scale = terms.scales(position.symbol)
    digits, is_known = terms.shown_digits(position.symbol), position.is_opening_known
    volume, clock = position.volume_in if is_known else position.volume_out, terms.clock
    if max(map(abs, (position.commission, position.fee, position.swap, position.profit))) > INT64_MAX:
        raise too_large(terms, f"the result of position {position.position_id}")
    return TradeRow(
        int(is_unfinished), number, position.position_id, position.ticket, position.symbol, position.side,
        _plain(volume, volume_scale), position.opened_msc if is_known else None,
        clock.to_utc_msc(position.opened_msc) if is_known else None,
        _average(position.cost_in, position.volume_in, price_scale, digits), position.closed_msc,
        clock.to_utc_msc(position.closed_msc), _average(position.cost_out, position.volume_out, price_scale, digits),
        position.commission, position.fee, position.swap, position.profit,
        int(position.is_money_known and not position.volume_unexplained), position.basis, position.magic,
    )  # fmt: skip


def too_large(terms: AccountTerms, what: str) -> InexactNumber:
    """Return the error for a sum that no column holds."""
    most = terms.money(INT64_MAX)
    return InexactNumber(f"account {terms.account}: {what} makes a sum that does not fit the derived tables: at most {most}")


def _average(cost: int, volume: int, price_scale: int, digits: int) -> str | None:
    """Return an average price as ``views.show_trade`` shows it, without the way through decimals."""
    return _plain(divided(cost * 10**digits, volume * 10**price_scale), digits) if volume else None


def _plain(units: int, scale: int) -> str:
    """Write a scaled integer without trailing zeros, as ``values.plain`` writes its decimal."""
    if not scale:
        return str(units)
    sign, text = ("-", str(-units)) if units < 0 else ("", str(units))
    text = text.rjust(scale + 1, "0")
    fraction = text[-scale:].rstrip("0")
    return f"{sign}{text[:-scale]}.{fraction}" if fraction else f"{sign}{text[:-scale]}"


def trade_of(row: TradeRow, scale: int) -> Trade:
    """Return the trade of a row, as a portfolio shows it. ``scale`` is that of the account's money."""
    return Trade(
        position_id=row.position_id,
        ticket=row.ticket,
        symbol=row.symbol,
        side=_SIDES[row.side],
        volume=Decimal(row.volume),
        opened_msc=row.opened_msc,
        price_open=None if row.price_open is None else Decimal(row.price_open),
        closed_msc=row.closed_msc,
        price_close=None if row.price_close is None else Decimal(row.price_close),
        commission=unscaled(row.commission, scale),
        fee=unscaled(row.fee, scale),
        swap=unscaled(row.swap, scale),
        profit=unscaled(row.profit, scale),
        complete=bool(row.is_complete),
        basis=row.basis,
        magic=unsigned_magic(row.magic),
    )


def position_rows(portfolio: Portfolio) -> list[PositionRow]:
    """Return the rows of all open positions."""
    clock = portfolio.terms.clock
    return [
        PositionRow(
            one.position_id, one.ticket, one.symbol, one.side.code, plain(one.volume), plain(one.price_open), one.opened_msc,
            clock.to_utc_msc(one.opened_msc), one.basis, signed_magic(one.magic), one.comment, int(one.is_id_known),
        )
        for one in portfolio.positions.values()
    ]  # fmt: skip


def position_of(row: PositionRow) -> Position:
    """Return the position of a row, as a portfolio shows it."""
    return Position(
        position_id=row.position_id,
        ticket=row.ticket,
        symbol=row.symbol,
        side=_SIDES[row.side],
        volume=Decimal(row.volume),
        price_open=Decimal(row.price_open),
        opened_msc=row.opened_msc,
        basis=row.basis,
        magic=unsigned_magic(row.magic),
        comment=row.comment,
        is_id_known=bool(row.is_id_known),
    )


class OrdersShown(NamedTuple):
    """What a summary shows of orders: at which version, and its columns."""

    version: int
    halts: str
    orders: str


def show_orders(version: int, orders: Orders) -> OrdersShown:
    """Return what a summary shows of orders."""
    halts = [[scope.value, name, mode.value] for (scope, name), mode in orders.halts.items()]
    return OrdersShown(version, _text(halts), _text([_order_json(one) for one in orders.open_orders()]))


def summary_row(portfolio: Portfolio, orders: OrdersShown, *, chain: bytes, recorded_us: int) -> Summary:
    """Return the summary of an account at a version."""
    terms, clock = portfolio.terms, portfolio.terms.clock
    breaks, degraded = portfolio.breaks, portfolio.degraded
    balance, credit = portfolio.money_units
    newest_msc = portfolio.newest_known_msc
    return Summary(
        version=orders.version,
        hash=chain,
        currency=terms.opened.currency,
        digits=terms.opened.currency_digits,
        scale=terms.opened.money_scale,
        mode=terms.opened.mode.value,
        clock=clock.name,
        balance=balance,
        credit=credit,
        positions=portfolio.positions_count,
        unexplained=len(portfolio.unexplained),
        incomplete=portfolio.totals.deals_incomplete,
        breaks_open=len(breaks),
        breaks_oldest_utc_msc=min((clock.to_utc_msc(one.opened_msc) for one in breaks), default=None),
        breaks=_text([_break_json(one, clock) for one in breaks]),
        degraded_utc_msc=None if degraded is None else clock.to_utc_msc(degraded.time_msc),
        degraded_reason=None if degraded is None else degraded.reason,
        halts=orders.halts,
        orders=orders.orders,
        last_event_utc_msc=None if newest_msc < 0 else clock.to_utc_msc(newest_msc),
        recorded_us=recorded_us,
    )


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _break_json(one: Break, clock: ClockRule) -> dict[str, Any]:
    return attrs.asdict(one) | {"kind": one.kind.value, "opened_utc_msc": clock.to_utc_msc(one.opened_msc)}


def breaks_of(summary: Summary) -> tuple[Break, ...]:
    """Return the open breaks of a summary, oldest first, as a portfolio shows them."""
    found: Iterable[dict[str, Any]] = json.loads(summary.breaks)
    return tuple(
        Break(**{name: value for name, value in one.items() if name != "opened_utc_msc"} | {"kind": BreakKind(one["kind"])})
        for one in found
    )


def halts_of(summary: Summary) -> list[tuple[tuple[HaltScope, str | None], HaltMode]]:
    """Return what is halted, as items of ``Orders.halts``."""
    return [((HaltScope(scope), name), HaltMode(mode)) for scope, name, mode in json.loads(summary.halts)]


def _order_json(order: Order) -> dict[str, Any]:
    return {
        "client_id": order.client_id,
        "kind": order.kind.value,
        "symbol": order.symbol,
        "state": order.state.value,
        "valid_until_utc_msc": order.valid_until_utc_msc,
        "since_msc": order.since_msc,
        "why": order.why,
    }


def unknown_orders(summary: Summary, at_utc_msc: int) -> tuple[Order, ...]:
    """Return the orders of which nobody knew at a moment whether they were executed, as far as a summary shows them."""
    return tuple(
        Order(
            client_id=one["client_id"], token=None, kind=OrderKind(one["kind"]), symbol=one["symbol"], side=None, volume=None,
            filled=Decimal(0), state=OrderState.UNKNOWN, since_msc=one["since_msc"], why=one["why"],
            valid_until_utc_msc=one["valid_until_utc_msc"],
        )
        for one in json.loads(summary.orders)
        if _is_unknown(OrderState(one["state"]), one["valid_until_utc_msc"], at_utc_msc)
    )  # fmt: skip


def _is_unknown(state: OrderState, until_utc_msc: int | None, at_utc_msc: int) -> bool:
    is_over = until_utc_msc is not None and until_utc_msc < at_utc_msc
    return state is OrderState.UNKNOWN or (state is OrderState.INTENDED and is_over)
