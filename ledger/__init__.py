"""An event-sourced position ledger for MetaTrader 5 with a replayable journal.

```python
from ledger import Ledger

ledger = Ledger.create("sqlite:///desk.db")  # later: Ledger.open, which never makes a journal
account = ledger.account("Broker-Live", 70113)
account.open(currency="USD", mode="hedging", clock="ny-close")
account.record(fill)  # durable when it returns; recording it again is harmless
account.portfolio.positions
```

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ledger.approvals import Approvals, Policy, Proposal, ProposalState
    from ledger.causes import Cause, Certainty, Finding
    from ledger.clock import ClockRule
    from ledger.directory import Directory
    from ledger.engines import ExecutionGateway, PortfolioManager
    from ledger.errors import (
        AccountMismatch,
        AccountMoved,
        AccountMoving,
        AccountUnknown,
        BadValue,
        CorruptEvent,
        DealConflict,
        GatewayDenied,
        GatewayError,
        GatewayRefused,
        GatewayTimeout,
        GatewayUnavailable,
        InexactNumber,
        InputError,
        JournalBusy,
        JournalError,
        JournalMissing,
        JournalNewer,
        JournalReplaced,
        JournalUnavailable,
        JournalUnsafe,
        LeaseLost,
        LedgerError,
        MalformedExport,
        NotPermitted,
        OrderConflict,
        OrdersRefused,
        RuleError,
        SnapshotRefused,
        UnknownEvent,
        VersionConflict,
        VersionGap,
    )
    from ledger.events import (
        AccountOpened,
        Adjusted,
        BalanceAsserted,
        BreakClosed,
        BreakEnd,
        BreakKind,
        BreakNoted,
        BreakOpened,
        CarrierBroken,
        CarrierProven,
        CashMoved,
        CorrectionDecided,
        CorrectionProposed,
        DealCompleted,
        DealRevised,
        DriftCorrected,
        Event,
        FillRecorded,
        GatewayIdentified,
        GhostClosed,
        IdentityRelaxed,
        IdentityRequired,
        LimitsSet,
        OrderAnswered,
        OrderDenied,
        OrderIntended,
        OrderResolved,
        OrderSeen,
        Origin,
        PolicySet,
        PositionRecovered,
        PositionReticketed,
        PositionState,
        Recorded,
        StopsSeen,
        StorePinned,
        SymbolSpecified,
        SyncDegraded,
        SyncRestored,
        TradingHalted,
        TradingResumed,
    )
    from ledger.gateway.metatrader5 import MetaTrader5Gateway
    from ledger.gateway.open import open_gateway
    from ledger.incidents import Incident
    from ledger.journal import Appended, Outcome
    from ledger.order_manager import OrderManager
    from ledger.orders.limits import Allowed, Denied, Limits
    from ledger.orders.policy import OrderPolicy
    from ledger.orders.request import OrderRequest
    from ledger.orders.states import OrderState
    from ledger.orders.view import Order
    from ledger.portfolio import Portfolio
    from ledger.proposals import CorrectionRequest
    from ledger.reconciler import (
        Action,
        Foreign,
        ReconcilePolicy,
        ReconcilerStatus,
        Safety,
        StateReconciler,
        SyncResult,
        SyncStatus,
        sync_all,
    )
    from ledger.service import Account, Ledger, Verification
    from ledger.snapshot import RemoteAccount, RemoteHistory, RemotePosition, RemoteSymbol, Snapshot
    from ledger.values import AccountId, Entry, MarginMode, Side
    from ledger.views import Break, Position, Totals, Trade, Unexplained

#: Everything that the package logs goes here; who does not ask for it sees none of it.
logging.getLogger("ledger").addHandler(logging.NullHandler())

_HOMES = {
    "approvals": ("Approvals", "Policy", "Proposal", "ProposalState"),
    "causes": ("Cause", "Certainty", "Finding"),
    "clock": ("ClockRule",),
    "directory": ("Directory",),
    "errors": (
        "AccountMismatch", "AccountMoved", "AccountMoving", "AccountUnknown", "BadValue", "CorruptEvent", "DealConflict",
        "GatewayDenied", "GatewayError",
        "GatewayRefused", "GatewayTimeout", "GatewayUnavailable", "InexactNumber", "InputError", "JournalBusy",
        "JournalError", "JournalMissing", "JournalNewer", "JournalReplaced", "JournalUnavailable", "JournalUnsafe",
        "LeaseLost", "LedgerError", "MalformedExport", "NotPermitted", "OrderConflict", "OrdersRefused", "RuleError",
        "SnapshotRefused", "UnknownEvent", "VersionConflict", "VersionGap",
    ),
    "events": (
        "AccountOpened", "Adjusted", "BalanceAsserted", "BreakClosed", "BreakEnd", "BreakKind", "BreakOpened", "CashMoved",
        "DealCompleted", "DealRevised", "DriftCorrected", "Event", "FillRecorded", "GatewayIdentified", "GhostClosed",
        "IdentityRelaxed", "IdentityRequired", "Origin", "PositionRecovered", "PositionReticketed", "PositionState", "Recorded",
        "SymbolSpecified", "SyncDegraded", "SyncRestored",
        "OrderIntended", "OrderDenied", "OrderAnswered", "OrderSeen", "OrderResolved", "StopsSeen", "LimitsSet",
        "TradingHalted", "TradingResumed", "CarrierProven", "CarrierBroken", "StorePinned",
        "CorrectionProposed", "CorrectionDecided", "PolicySet", "BreakNoted",
    ),
    "engines": ("ExecutionGateway", "PortfolioManager"),
    "gateway.metatrader5": ("MetaTrader5Gateway",),
    "gateway.open": ("open_gateway",),
    "incidents": ("Incident",),
    "journal": ("Appended", "Outcome"),
    "order_manager": ("OrderManager",),
    "orders.limits": ("Allowed", "Denied", "Limits"),
    "orders.policy": ("OrderPolicy",),
    "orders.request": ("OrderRequest",),
    "orders.states": ("OrderState",),
    "orders.view": ("Order",),
    "portfolio": ("Portfolio",),
    "proposals": ("CorrectionRequest",),
    "reconciler": (
        "Action", "Foreign", "ReconcilePolicy", "ReconcilerStatus", "Safety", "StateReconciler", "SyncResult", "SyncStatus",
        "sync_all",
    ),
    "service": ("Account", "Ledger", "Verification"),
    "snapshot": ("RemoteAccount", "RemoteHistory", "RemotePosition", "RemoteSymbol", "Snapshot"),
    "values": ("AccountId", "Entry", "MarginMode", "Side"),
    "views": ("Break", "Position", "Totals", "Trade", "Unexplained"),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

# Spelled out, because type checkers read nothing else; tests/unit/test_library.py compares it with the homes.
__all__ = [
    "Account",
    "AccountId",
    "AccountMismatch",
    "AccountMoved",
    "AccountMoving",
    "AccountOpened",
    "AccountUnknown",
    "Action",
    "Adjusted",
    "Allowed",
    "Appended",
    "Approvals",
    "BadValue",
    "BalanceAsserted",
    "Break",
    "BreakClosed",
    "BreakEnd",
    "BreakKind",
    "BreakNoted",
    "BreakOpened",
    "CarrierBroken",
    "CarrierProven",
    "CashMoved",
    "Cause",
    "Certainty",
    "ClockRule",
    "CorrectionDecided",
    "CorrectionProposed",
    "CorrectionRequest",
    "CorruptEvent",
    "DealCompleted",
    "DealConflict",
    "DealRevised",
    "Denied",
    "Directory",
    "DriftCorrected",
    "Entry",
    "Event",
    "ExecutionGateway",
    "FillRecorded",
    "Finding",
    "Foreign",
    "GatewayDenied",
    "GatewayError",
    "GatewayIdentified",
    "GatewayRefused",
    "GatewayTimeout",
    "GatewayUnavailable",
    "GhostClosed",
    "IdentityRelaxed",
    "IdentityRequired",
    "Incident",
    "InexactNumber",
    "InputError",
    "JournalBusy",
    "JournalError",
    "JournalMissing",
    "JournalNewer",
    "JournalReplaced",
    "JournalUnavailable",
    "JournalUnsafe",
    "LeaseLost",
    "Ledger",
    "LedgerError",
    "Limits",
    "LimitsSet",
    "MalformedExport",
    "MarginMode",
    "MetaTrader5Gateway",
    "NotPermitted",
    "Order",
    "OrderAnswered",
    "OrderConflict",
    "OrderDenied",
    "OrderIntended",
    "OrderManager",
    "OrderPolicy",
    "OrderRequest",
    "OrderResolved",
    "OrderSeen",
    "OrderState",
    "OrdersRefused",
    "Origin",
    "Outcome",
    "Policy",
    "PolicySet",
    "Portfolio",
    "PortfolioManager",
    "Position",
    "PositionRecovered",
    "PositionReticketed",
    "PositionState",
    "Proposal",
    "ProposalState",
    "ReconcilePolicy",
    "ReconcilerStatus",
    "Recorded",
    "RemoteAccount",
    "RemoteHistory",
    "RemotePosition",
    "RemoteSymbol",
    "RuleError",
    "Safety",
    "Side",
    "Snapshot",
    "SnapshotRefused",
    "StateReconciler",
    "StopsSeen",
    "StorePinned",
    "SymbolSpecified",
    "SyncDegraded",
    "SyncRestored",
    "SyncResult",
    "SyncStatus",
    "Totals",
    "Trade",
    "TradingHalted",
    "TradingResumed",
    "Unexplained",
    "UnknownEvent",
    "Verification",
    "VersionConflict",
    "VersionGap",
    "open_gateway",
    "sync_all",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ledger' has no attribute {name!r}")
    found = getattr(import_module(f"ledger.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
