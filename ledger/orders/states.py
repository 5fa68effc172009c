"""The states of an order, derived from what is recorded of it and never stored as a decision.

Facts of the broker come first: its deals, then its record of the order. Without any, what was resolved decides, then what was
answered. A state that is final is so for asking only: a late fill counts in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Final

from attrs import frozen

from ledger.events.orders import OrderBasis, OrderKind, OrderOutcome, Verdict


class OrderState(Enum):
    """Where an order stands."""

    DENIED = "denied"
    INTENDED = "intended"
    UNKNOWN = "unknown"
    WORKING = "working"
    PARTIAL = "partial"
    CHANGING = "changing"
    CANCELLING = "cancelling"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    ABSENT = "absent"


#: Nobody asks about these any more. None of them is final for filling.
FINAL: Final = frozenset(
    {
        OrderState.DENIED, OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.ABSENT,
    }
)  # fmt: skip
#: Executed or not: nobody knows.
OPEN_QUESTION: Final = frozenset({OrderState.INTENDED, OrderState.UNKNOWN})
#: The broker has it.
AT_BROKER: Final = frozenset({OrderState.WORKING, OrderState.PARTIAL, OrderState.CHANGING, OrderState.CANCELLING})
#: Kinds that lead to no deal.
WITHOUT_FILLS: Final = frozenset({OrderKind.STOPS, OrderKind.MODIFY, OrderKind.CANCEL})
#: Kinds that are about another order.
CHANGES: Final = frozenset({OrderKind.MODIFY, OrderKind.CANCEL})

# The broker's states of an order that is gone, as MetaTrader 5 numbers them.
CANCELED_CODE, _PARTIAL, FILLED_CODE, REJECTED_CODE, _EXPIRED = 2, 3, 4, 5, 6
#: Code -> what an order comes to that is done at the broker.
GONE: Final[Mapping[int, OrderState]] = {
    CANCELED_CODE: OrderState.CANCELLED,
    FILLED_CODE: OrderState.PARTIAL,  # until all of its deals are known
    REJECTED_CODE: OrderState.REJECTED,
    _EXPIRED: OrderState.EXPIRED,
}
#: Reasons of orders that the trade server made: stop loss, take profit, stop out. They may carry what they close.
BY_THE_SERVER: Final = frozenset({4, 5, 6})
_NEVER: Final = frozenset({Verdict.REJECTED, Verdict.NOT_SENT, Verdict.EXPIRED, Verdict.FENCED})


@frozen(kw_only=True)
class Answer:
    """What of an answer decides: ``is_empty`` where it names no order, no deal and no volume."""

    verdict: Verdict
    is_empty: bool


@frozen(kw_only=True)
class Resolution:
    """What of a resolution decides, and whether it is later than all that was seen of the order."""

    outcome: OrderOutcome
    basis: OrderBasis
    is_last: bool


@frozen(kw_only=True)
class Evidence:
    """All that decides the state of an order.

    Attributes:
        kind: What was asked for.
        is_denied: Whether our own rules refused it.
        volume: What was asked for, None where it is not known.
        filled: The sum of its deals.
        answer: Its answer, None without one.
        resolution: The last one, None without any.
        records: The broker's states of its tickets as they were seen last.
        is_seen_done: Whether the broker showed that what it asked for is so.
    """

    kind: OrderKind
    is_denied: bool = False
    volume: Decimal | None = None
    filled: Decimal = Decimal(0)
    answer: Answer | None = None
    resolution: Resolution | None = None
    records: tuple[int, ...] = ()
    is_seen_done: bool = False


def state_of(evidence: Evidence) -> OrderState:
    """Return the state of an order, without what is under way to change or cancel it."""
    if evidence.is_denied:
        return OrderState.DENIED
    if evidence.kind in WITHOUT_FILLS:
        return _of_request(evidence)
    if evidence.volume and evidence.filled >= evidence.volume:
        return OrderState.FILLED
    found = _of_record(evidence) or _of_resolution(evidence) or _of_answer(evidence)
    if not evidence.filled:
        return found
    if found is OrderState.WORKING:
        return OrderState.PARTIAL
    return OrderState.CANCELLED if found in (OrderState.REJECTED, OrderState.ABSENT) else found


def overlaid(state: OrderState, changes: Iterable[tuple[OrderKind, OrderState]]) -> OrderState:
    """Return a state with what is under way: requests about the order, by kind and state."""
    if state not in (OrderState.WORKING, OrderState.PARTIAL):
        return state
    open_kinds = {kind for kind, found in changes if found in OPEN_QUESTION}
    if OrderKind.CANCEL in open_kinds:
        return OrderState.CANCELLING
    return OrderState.CHANGING if OrderKind.MODIFY in open_kinds else state


def _of_record(evidence: Evidence) -> OrderState | None:
    """Return what the broker's records come to: one that works counts before those that are gone."""
    active = [state for state in evidence.records if state not in GONE]
    if active:
        resolved = evidence.resolution
        if resolved is not None and resolved.is_last and resolved.basis is OrderBasis.PERSON:
            return _of_resolution(evidence)
        return OrderState.PARTIAL if _PARTIAL in active else OrderState.WORKING
    gone = [GONE[state] for state in evidence.records]
    return OrderState.PARTIAL if OrderState.PARTIAL in gone else gone[-1] if gone else None


def _of_resolution(evidence: Evidence) -> OrderState | None:
    if evidence.resolution is None:
        return None
    match evidence.resolution.outcome:
        case OrderOutcome.EXECUTED | OrderOutcome.DUPLICATE:
            return OrderState.PARTIAL  # until all of its deals are known
        case OrderOutcome.WORKING:
            return OrderState.WORKING
        case OrderOutcome.REJECTED:
            return OrderState.REJECTED
        case OrderOutcome.ABSENT:
            return OrderState.ABSENT


def _of_answer(evidence: Evidence) -> OrderState:
    answer = evidence.answer
    if answer is None:
        return OrderState.INTENDED
    if answer.verdict is Verdict.ACCEPTED:
        return OrderState.WORKING
    if answer.verdict in _NEVER and answer.is_empty:
        return OrderState.REJECTED
    return OrderState.UNKNOWN


def _of_request(evidence: Evidence) -> OrderState:
    """Return the state of a request that leads to no deal: it is filled when it is done."""
    if evidence.is_seen_done:
        return OrderState.FILLED
    if evidence.resolution is not None and evidence.resolution.outcome is not OrderOutcome.WORKING:
        found = _of_resolution(evidence)
        return OrderState.FILLED if found is OrderState.PARTIAL or found is None else found
    answer = evidence.answer
    if answer is not None and answer.verdict is Verdict.NO_CHANGE:
        return OrderState.UNKNOWN if evidence.kind is OrderKind.CANCEL else OrderState.FILLED
    if answer is not None and answer.verdict is Verdict.ACCEPTED and evidence.kind is not OrderKind.STOPS:
        return OrderState.FILLED
    if answer is not None and answer.verdict in _NEVER:  # an answer about an order names that order
        return OrderState.REJECTED
    return _of_answer(evidence)
