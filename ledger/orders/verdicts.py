"""Verdicts: what the answer to an order means. Pure, and the only place that decides it.

Whatever is not listed here is unknown: whether the broker has the order is looked up then, and nothing is sent again.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from attrs import frozen

from ledger.events.orders import OrderKind, Verdict

#: The order exists; orders and deals show the rest.
ACCEPTED: Final[AbstractSet[int]] = frozenset({10008, 10009, 10010})
#: It is already so, where stops or an order were to be changed.
NO_CHANGE: Final = 10025
#: Not executed, if the answer names no order, no deal and no volume.
REJECTED: Final[AbstractSet[int]] = frozenset({
    10004, 10006, *range(10013, 10023), 10024, 10026, 10027, 10029, 10030, *range(10032, 10037), 10038, *range(10040, 10046),
})  # fmt: skip

_CHANGES: Final = frozenset({OrderKind.STOPS, OrderKind.MODIFY})
_INVALID_PARAMS: Final = -2
#: How the package's own texts begin: it checks arguments before anything is sent. The terminal's begin with ``Terminal:``.
_OWN_TEXTS: Final = ("Invalid ", "Unnamed ")


@frozen
class SendResult:
    """``order_send`` returned a result. Codes and tickets are what the package wrote, whatever that is."""

    retcode: object
    order: object = 0
    deal: object = 0
    volume: object = 0


@frozen
class SendError:
    """``order_send`` returned None, and ``last_error`` reports this."""

    code: int
    text: str


@frozen
class SendRaised:
    """``order_send`` raised an exception: the name of its class."""

    name: str


@frozen
class ProcessLost:
    """The process that called ``order_send`` ended, or was ended, before it answered."""


SendOutcome = SendResult | SendError | SendRaised | ProcessLost


def judge(outcome: SendOutcome, kind: OrderKind) -> Verdict:
    """Return what became of an order, by what came of its call.

    Args:
        outcome: What came of it.
        kind: What the order asks for.
    """
    match outcome:
        case SendResult():
            return _judge_result(outcome, kind)
        case SendError(code=code, text=text):
            is_own = code == _INVALID_PARAMS and text.startswith(_OWN_TEXTS)
            return Verdict.NOT_SENT if is_own else Verdict.UNKNOWN
        case SendRaised(name=name):
            return Verdict.NOT_SENT if name == "SystemError" else Verdict.UNKNOWN
        case ProcessLost():
            return Verdict.UNKNOWN


def _judge_result(result: SendResult, kind: OrderKind) -> Verdict:
    retcode = result.retcode
    if type(retcode) is not int:
        return Verdict.UNKNOWN
    if retcode in ACCEPTED:
        return Verdict.ACCEPTED
    if retcode == NO_CHANGE and kind in _CHANGES:
        return Verdict.NO_CHANGE
    if retcode in REJECTED and all(_is_zero(value) for value in (result.order, result.deal, result.volume)):
        return Verdict.REJECTED
    return Verdict.UNKNOWN


def _is_zero(value: object) -> bool:
    return type(value) in (int, float) and value == 0
