"""The order form of existing engines: an order without an intent and without a pinned store, by its ``order_id``.

``{"order_id", "symbol", "action": "BUY" or "SELL", "volume", "price", "confidence"}`` is a market order of the client id
``order_id``, valid for five seconds. It is sent at most once as all are; what it lacks is a journal that knows of it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from ledger.errors import BadValue
from ledger.events.orders import OrderKind, to_client_id
from ledger.gateway.serve.orders import Orders, Reply
from ledger.order_messages import OrderMessage
from ledger.orders.ids import token_of
from ledger.protocol.messages import Refusal, Request, Row
from ledger.protocol.order_requests import FieldRefused
from ledger.values import AccountId, Side, shown

#: The actions of this form; no message of the protocol has these names.
ACTIONS: Final = frozenset({"BUY", "SELL"})
#: How long an order is valid, from its arrival on.
VALID_MSC: Final = 5_000
_FILLED: Final = frozenset({10009, 10010})
#: Refusals after which an order under this id may have been sent before all the same.
_MAYBE_BEFORE: Final = frozenset({"CLIENT_ID_CONFLICT"})
_NUMBER_MAX: Final = 1e9


def take_engine_order(request: Request, orders: Orders, send: Callable[[Row], object]) -> None:
    """Take an order of this form; ``send`` is called once, with its answer."""

    def reply(found: Row | Refusal) -> None:
        send({**request.echo, **engine_answer(request.fields, found)})

    host = orders.host
    if host.account is None:
        reply(Refusal("NOT_CONNECTED", "the terminal has shown no account yet", {"executed": "never"}))
        return
    try:
        message = read_engine_order(request, host.account, store=host.store.id, now=host.utc_msc())
    except FieldRefused as error:
        reply(Refusal("BAD_REQUEST", str(error), {"executed": "never", "field": error.name}))
        return
    orders.take(message, _stating(reply))


def _stating(reply: Reply) -> Reply:
    def stated(found: Row | Refusal) -> object:
        if isinstance(found, Refusal):
            found = Refusal(found.code, found.text, {"executed": "never", **found.further})
        return reply(found)

    return stated


def read_engine_order(request: Request, account: AccountId, *, store: str, now: int) -> OrderMessage:
    """Return the order message that an order of this form is.

    Its price is what the engine saw: the order is sent at the price of the moment.

    Raises:
        FieldRefused: A field cannot be read.
    """
    fields = request.fields
    try:
        client_id = to_client_id(fields.get("order_id"))
    except BadValue as error:
        raise FieldRefused("order_id", str(error)) from None
    symbol, volume = fields.get("symbol"), fields.get("volume")
    if not isinstance(symbol, str) or not symbol.strip() or symbol == "*":
        raise FieldRefused("symbol", f"expected the name of a symbol, found {shown(symbol)}")
    if type(volume) not in (int, float) or not 0 < volume < _NUMBER_MAX:  # type: ignore[operator]  # it is a number
        raise FieldRefused("volume", f"expected a number of more than 0, found {shown(volume)}")
    token = token_of(account, client_id)
    return OrderMessage(
        client_id=client_id,
        token=token,
        login=account.login,
        server=account.server,
        store=store,
        valid_until_utc_msc=now + VALID_MSC,
        kind=OrderKind.MARKET,
        symbol=symbol,
        side=Side.BUY if request.action == "BUY" else Side.SELL,
        volume=Decimal(repr(volume)),
        comment=token,
    )


def engine_answer(fields: Row, found: Row | Refusal) -> dict[str, Any]:
    """Return an answer in this form: REJECTED only where the order was certainly not executed."""
    if isinstance(found, Refusal):
        is_never = found.further.get("executed") == "never" and found.code not in _MAYBE_BEFORE
        status, error = "REJECTED" if is_never else "UNKNOWN", f"{found.code} {found.text}"
        given: Row = {"error_code": found.code, **found.further}
    else:
        status, error = _status_of(found), None
        given = found
        if status != "FILLED":
            words = (found.get("verdict") or found["state"], found.get("retcode"), found.get("comment"))
            error = " ".join(str(word) for word in words if word)
    return {
        **given, "status": status, "order_id": fields.get("order_id"), "ticket": given.get("order") or None,
        "filled_price": _number(given.get("price")) if status == "FILLED" else None,
        "filled_volume": _number(given.get("volume")) if status == "FILLED" else None, "error": error,
    }  # fmt: skip


def _status_of(found: Row) -> str:
    if found["state"] == "fenced" or found.get("verdict") in ("rejected", "not_sent"):
        return "REJECTED"
    is_filled = found.get("verdict") == "accepted" and found.get("retcode") in _FILLED and found.get("deal")
    return "FILLED" if is_filled else "UNKNOWN"


def _number(text: Any) -> float | None:
    return None if text is None else float(text)
