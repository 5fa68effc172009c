"""What is recorded of an order, and what of it goes to the gateway: events and messages, made of one another. Pure."""

from __future__ import annotations

from typing import Final

from ledger.errors import BadValue
from ledger.events.orders import (
    OrderAnswered,
    OrderOutcome,
    Verdict,
)
from ledger.order_messages import OrderAnswer, OrderMessage
from ledger.orders.view import Order
from ledger.snapshot import evidence_of
from ledger.values import AccountId

_ANSWERED: Final = (
    "retcode", "last_error", "order", "deal", "volume", "price", "bid", "ask", "comment", "request_id", "retcode_external",
    "store", "seq", "sent_utc_msc", "answered_utc_msc",
)  # fmt: skip
#: What of a request goes to the gateway as it is.
_SENT: Final = (
    "kind", "symbol", "side", "type", "volume", "price", "stoplimit", "deviation", "sl", "tp", "filling", "lifetime",
    "expires_msc", "magic", "position_id", "by_position_id",
)  # fmt: skip


def to_message(account: AccountId, order: Order, *, target: int | None) -> OrderMessage:
    """Return an intent as it goes to the gateway.

    Args:
        account: The account that it is of.
        order: An intent.
        target: The ticket of the order that it is about.
    """
    request = order.request
    if None in (request, order.client_id, order.token, order.store, order.valid_until_utc_msc):
        raise BadValue(f"expected an intent that the order manager recorded, found {order.client_id} without what it sends")
    assert request is not None
    assert order.client_id is not None
    assert order.token is not None
    assert order.store is not None
    assert order.valid_until_utc_msc is not None
    comment = order.token if request.comment_tail is None else f"{order.token} {request.comment_tail}"
    return OrderMessage(
        client_id=order.client_id,
        token=order.token,
        login=account.login,
        server=account.server,
        store=order.store,
        valid_until_utc_msc=order.valid_until_utc_msc,
        order=target,
        comment=comment,
        **{name: getattr(request, name) for name in _SENT},
    )


def to_answered(answer: OrderAnswer, verdict: Verdict, *, time_msc: int) -> OrderAnswered:
    """Return the event of an answer. ``time_msc`` is now, in broker server time."""
    return OrderAnswered(
        client_id=answer.client_id,
        verdict=verdict,
        time_msc=time_msc,
        evidence=evidence_of(answer.raw),
        **{name: getattr(answer, name) for name in _ANSWERED},
    )


def outcome_of(answer: OrderAnswer) -> OrderOutcome | None:
    """Return what a definite answer comes to that was found out after it was answered with an unknown verdict."""
    match answer.verdict:
        case Verdict.ACCEPTED | Verdict.NO_CHANGE:
            return OrderOutcome.EXECUTED if answer.deal or not answer.order else OrderOutcome.WORKING
        case Verdict.REJECTED | Verdict.NOT_SENT | Verdict.EXPIRED | Verdict.FENCED:
            is_empty = not (answer.order or answer.deal or answer.volume)
            return OrderOutcome.REJECTED if is_empty else None
    return None
