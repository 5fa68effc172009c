"""The facts: frozen, complete, past tense. What happened or was seen, in exact decimals and the broker's own clock.

Every event has ``time_msc``, the broker server time in milliseconds (see ``ledger.clock``). Its account, version,
recorded time, natural key and place in the hash chain are not part of the fact; they come with being recorded
(``Recorded``). ``None`` means unknown, never zero.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, get_args

import attrs

from ledger.clock import MICROSECOND, UTC_EPOCH
from ledger.events.account import AccountOpened, DealOrder, SymbolSpecified
from ledger.events.adjustments import AcceptedResult, Adjusted, IdentityRelaxed, IdentityRequired
from ledger.events.approvals import ApprovalEvent, BreakNoted, CorrectionDecided, CorrectionProposed, DecisionOutcome, PolicySet
from ledger.events.breaks import BreakClosed, BreakEnd, BreakKind, BreakOpened
from ledger.events.corrections import (
    BalanceAsserted,
    DriftCorrected,
    GhostClosed,
    PositionRecovered,
    PositionReticketed,
    PositionState,
)
from ledger.events.deals import CashMoved, Deal, DealCompleted, DealRevised, FillRecorded, Origin
from ledger.events.fields import storable
from ledger.events.gateway import GatewayIdentified, SyncDegraded, SyncRestored
from ledger.events.orders import (
    CarrierBroken,
    CarrierProven,
    LimitsSet,
    OrderAnswered,
    OrderDenied,
    OrderEvent,
    OrderIntended,
    OrderResolved,
    OrderSeen,
    StopsSeen,
    StorePinned,
    TradingHalted,
    TradingResumed,
)
from ledger.values import AccountId

__all__ = [
    "APPROVAL_KINDS",
    "BY_VERSION_KINDS",
    "DEAL_KINDS",
    "ORDER_KINDS",
    "AcceptedResult",
    "AccountOpened",
    "AccountTerms",
    "Adjusted",
    "ApprovalEvent",
    "BalanceAsserted",
    "BreakClosed",
    "BreakEnd",
    "BreakKind",
    "BreakNoted",
    "BreakOpened",
    "CarrierBroken",
    "CarrierProven",
    "CashMoved",
    "CorrectionDecided",
    "CorrectionProposed",
    "Deal",
    "DealCompleted",
    "DealOrder",
    "DealRevised",
    "DecisionOutcome",
    "DriftCorrected",
    "Event",
    "FillRecorded",
    "GatewayIdentified",
    "GhostClosed",
    "IdentityRelaxed",
    "IdentityRequired",
    "LimitsSet",
    "OrderAnswered",
    "OrderDenied",
    "OrderEvent",
    "OrderIntended",
    "OrderResolved",
    "OrderSeen",
    "Origin",
    "PolicySet",
    "PositionRecovered",
    "PositionReticketed",
    "PositionState",
    "Recorded",
    "StopsSeen",
    "StorePinned",
    "SymbolSpecified",
    "SyncDegraded",
    "SyncRestored",
    "TradingHalted",
    "TradingResumed",
    "storable",
]

AccountTerms = AccountOpened | SymbolSpecified

Event = (
    AccountOpened
    | SymbolSpecified
    | FillRecorded
    | CashMoved
    | DealCompleted
    | DealRevised
    | PositionRecovered
    | GhostClosed
    | DriftCorrected
    | PositionReticketed
    | BreakOpened
    | BreakClosed
    | SyncDegraded
    | SyncRestored
    | BalanceAsserted
    | GatewayIdentified
    | IdentityRelaxed
    | IdentityRequired
    | Adjusted
    | OrderIntended
    | OrderDenied
    | OrderAnswered
    | OrderSeen
    | OrderResolved
    | StopsSeen
    | LimitsSet
    | TradingHalted
    | TradingResumed
    | CarrierProven
    | CarrierBroken
    | StorePinned
    | CorrectionProposed
    | CorrectionDecided
    | PolicySet
    | BreakNoted
)

#: Facts about deals come before what was concluded from a snapshot of the same millisecond.
DEAL_KINDS: Final = frozenset({"FillRecorded", "CashMoved", "DealCompleted", "DealRevised"})

#: Facts about orders. They are folded by version into orders, and are no part of the fold of positions and money.
ORDER_KINDS: Final = frozenset(kind.__name__ for kind in get_args(OrderEvent))

#: What people proposed, decided and noted. They are folded by version as well, into approvals.
APPROVAL_KINDS: Final = frozenset(kind.__name__ for kind in get_args(ApprovalEvent))

#: All that is folded by version and changes no position and no money.
BY_VERSION_KINDS: Final = ORDER_KINDS | APPROVAL_KINDS


@attrs.frozen(kw_only=True)
class Recorded:
    """An event with what being recorded gave it.

    ``recorded_us`` is UTC in microseconds; ``head`` the account's chain hash up to and with this event, in hex.

    ``utc_msc`` is when it happened, in UTC milliseconds, where the server's clock showed its time twice; None elsewhere, where
    the clock rule alone decides it. ``is_ambiguous`` means that nothing decided between the two.
    """

    account: AccountId
    version: int
    recorded_us: int
    natural_key: str
    event: Event
    head: str
    correlation: str | None = None
    utc_msc: int | None = None
    is_ambiguous: bool = False

    @property
    def recorded_at(self) -> datetime:
        """When it became durable here, in UTC."""
        return UTC_EPOCH + self.recorded_us * MICROSECOND

    @property
    def kind(self) -> str:
        """Stored name of the event."""
        return type(self.event).__name__
