"""What became of an order whose answer is not known: what a lookup proves, and what may be presumed. Pure.

A ticket proves most, then the token in an order's comment, then a magic number of its own. What merely resembles the order is
a hint, never a proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from ledger.events import FillRecorded
from ledger.events.orders import Carrier, OrderBasis, OrderKind, OrderOutcome
from ledger.order_messages import Lookup, RemoteOrder
from ledger.orders.policy import Absence, OrderPolicy
from ledger.orders.states import BY_THE_SERVER, CANCELED_CODE, FILLED_CODE, GONE, REJECTED_CODE
from ledger.orders.view import Order, Orders
from ledger.values import Side

_SETTLED_SEC: Final = 10.0
_CLOSE_BY: Final = 8
_OPENING: Final = frozenset({OrderKind.MARKET, OrderKind.PENDING})


@frozen(kw_only=True)
class Found:
    """The order is at the broker: under one ticket, or under several where it was executed more than once."""

    outcome: OrderOutcome
    basis: OrderBasis
    tickets: tuple[int, ...]
    rows: tuple[RemoteOrder, ...]
    deals: tuple[FillRecorded, ...]


@frozen(kw_only=True)
class NotFound:
    """The lookup has no order that is provably this one.

    ``hints`` are the tickets of orders that merely resemble it; ``copies`` of those that carry its client id and cannot be it,
    as what closes it may: then it is somewhere, and never absent.
    """

    hints: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()


def match(order: Order, lookup: Lookup, *, carrier: Carrier = Carrier.COMMENT, claimed: Iterable[int] = ()) -> Found | NotFound:
    """Return which order of a lookup is the one that was asked for.

    Args:
        order: One of ours, with its request.
        lookup: What the terminal found.
        carrier: The field that carries client ids.
        claimed: Tickets that are known to be other orders: they are no hints.
    """
    known = [row for row in lookup.orders if row.ticket in order.tickets]
    carried = [row for row in lookup.orders if carries(order, row, carrier)]
    rows = {row.ticket: row for row in (*known, *carried)}
    tickets = dict.fromkeys((*order.tickets, *rows))
    deals = tuple(deal for deal in lookup.deals if isinstance(deal, FillRecorded) and deal.order in tickets)
    if len(tickets) > 1:
        return Found(
            outcome=OrderOutcome.DUPLICATE,
            basis=_basis(carrier),
            tickets=tuple(tickets),
            rows=tuple(rows.values()),
            deals=deals,
        )
    if not rows and not deals:
        copies = tuple(row.ticket for row in lookup.orders if _names(order, row, carrier))
        return NotFound(hints=tuple(_hints(order, lookup, frozenset(claimed))), copies=copies)
    return Found(
        outcome=_outcome(rows.values(), deals),
        basis=OrderBasis.TICKET if order.tickets else _basis(carrier),
        tickets=tuple(tickets),
        rows=tuple(rows.values()),
        deals=deals,
    )


def carries(order: Order, row: RemoteOrder, carrier: Carrier) -> bool:
    """Return whether an order at the broker carries the client id of one of ours, and can be it."""
    return _names(order, row, carrier) and not cannot_be(order, row)


def cannot_be(order: Order, row: RemoteOrder) -> bool:
    """Return whether an order at the broker is another one than ours, whatever it carries: a comment may be a copy.

    It is of another symbol, on the other side, closes another position, or the trade server made it.
    """
    if row.reason in BY_THE_SERVER:
        return True
    request = order.request
    if request is None:
        return False
    if request.symbol is not None and row.symbol != request.symbol:
        return True
    if request.kind in _OPENING:
        return row.type == _CLOSE_BY or (request.side is not None and row.type % 2 != request.side.code)
    return None not in (request.position_id, row.position_id) and row.position_id not in (
        request.position_id,
        request.by_position_id,
    )


def _names(order: Order, row: RemoteOrder, carrier: Carrier) -> bool:
    if row.client_id is not None:
        return row.client_id == order.client_id
    if order.token is not None and row.comment is not None and row.comment.startswith(order.token):
        return True
    magic = None if order.request is None else order.request.magic
    return carrier is Carrier.MAGIC and magic is not None and row.magic == magic


def _basis(carrier: Carrier) -> OrderBasis:
    return OrderBasis.MAGIC if carrier is Carrier.MAGIC else OrderBasis.TOKEN


def _outcome(rows: Iterable[RemoteOrder], deals: Sequence[FillRecorded]) -> OrderOutcome:
    states = {row.state for row in rows}
    if states - GONE.keys():
        return OrderOutcome.WORKING
    if deals or FILLED_CODE in states:
        return OrderOutcome.EXECUTED
    return OrderOutcome.REJECTED if REJECTED_CODE in states else OrderOutcome.WORKING


def _hints(order: Order, lookup: Lookup, claimed: frozenset[int]) -> Iterable[int]:
    request = order.request
    if request is None or request.kind not in (OrderKind.MARKET, OrderKind.PENDING):
        return
    for row in lookup.orders:
        side = Side.SELL if row.type % 2 else Side.BUY
        if (row.symbol, side, row.volume_initial) == (
            request.symbol,
            request.side,
            request.volume,
        ) and row.ticket not in claimed:
            yield row.ticket


def target_ticket(order: Order, orders: Orders) -> int | None:
    """Return the ticket of the order that a change or a cancellation is about; None where it is not known."""
    request = order.request
    if request is None:
        return None
    if request.target_order is not None or request.target_client_id is None:
        return request.target_order
    target = orders.order(request.target_client_id)
    return None if target is None else target.ticket


def outcome_of_change(order: Order, row: RemoteOrder) -> OrderOutcome | None:
    """Return whether the broker's record of an order shows a change or a cancellation; None while it may still come."""
    is_gone = row.state in GONE
    if order.kind is OrderKind.CANCEL:
        if not is_gone:
            return None
        return OrderOutcome.EXECUTED if row.state == CANCELED_CODE else OrderOutcome.REJECTED
    request = order.request
    assert request is not None, "it is an intent of ours"
    wanted = {
        "price_open": request.price, "price_stoplimit": request.stoplimit, "sl": request.sl, "tp": request.tp,
        "expires_msc": request.expires_msc,
    }  # fmt: skip
    asked = {name: value for name, value in wanted.items() if value is not None}
    if asked and all((getattr(row, name) or 0) == value for name, value in asked.items()):
        return OrderOutcome.EXECUTED
    return OrderOutcome.REJECTED if is_gone else None


# ---- the rule of absence


@frozen(kw_only=True)
class Agreement:
    """One trusted lookup that did not find the order.

    ``at_utc_msc`` is our clock, ``server_time_msc`` the broker's. ``epoch`` counts the starts of the gateway, ``rows`` how much
    history it searched.
    """

    at_utc_msc: int
    server_time_msc: int
    epoch: int
    rows: int


def is_absent(
    agreements: Sequence[Agreement],
    sent_utc_msc: int,
    policy: OrderPolicy,
    *,
    is_carrier_proven: bool,
    sent_msc: int | None = None,
) -> bool:
    """Return whether an order may be presumed never executed.

    Args:
        agreements: The lookups that did not find it, oldest first, since one last did.
        sent_utc_msc: When it was sent at the latest.
        policy: Whether anything is presumed, after how long and how many.
        is_carrier_proven: Whether the account's order records are known to carry client ids.
        sent_msc: When it was sent at the latest, in broker server time: the server's clock has to show that the time is over
            too, as ours may jump.
    """
    if policy.absence is not Absence.PRESUME or not is_carrier_proven or len(agreements) < policy.missing_lookups:
        return False
    first, last = agreements[0], agreements[-1]
    after_msc = policy.absent_after_sec * 1000
    is_late = last.at_utc_msc - sent_utc_msc >= after_msc
    is_late = is_late and (sent_msc is None or last.server_time_msc - sent_msc >= after_msc)
    is_moving = last.server_time_msc > first.server_time_msc
    return is_late and is_moving and _is_settled(agreements, policy)


def _is_settled(agreements: Sequence[Agreement], policy: OrderPolicy) -> bool:
    """Return whether the history was whole: as long some time apart, by one terminal process that was not started meanwhile."""
    gap_msc = min(_SETTLED_SEC, policy.absent_after_sec / 4) * 1000
    last = agreements[-1]
    return any(
        one.rows == last.rows and last.at_utc_msc - one.at_utc_msc >= gap_msc for one in agreements if one.epoch == last.epoch
    )
