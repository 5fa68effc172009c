"""An event-sourced position ledger for MetaTrader 5 with a replayable journal.

```python
from ledger import Ledger

ledger = Ledger.open("sqlite:///desk.db")
account = ledger.account("Broker-Live", 70113)
account.open(currency="USD", mode="hedging", clock="ny-close")
account.record(fill)  # durable when it returns; telling it again is harmless
account.portfolio.positions
```

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ledger.clock import ClockRule
    from ledger.errors import (
        AccountMismatch,
        AccountUnknown,
        BadValue,
        CorruptEvent,
        DealConflict,
        InexactNumber,
        InputError,
        JournalBusy,
        JournalError,
        JournalMissing,
        JournalNewer,
        JournalUnavailable,
        JournalUnsafe,
        LedgerError,
        MalformedExport,
        RuleError,
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
        BreakOpened,
        CashMoved,
        DealCompleted,
        DealRevised,
        DriftCorrected,
        Event,
        FillRecorded,
        GhostClosed,
        Origin,
        PositionRecovered,
        PositionReticketed,
        PositionState,
        Recorded,
        SymbolSpecified,
        SyncDegraded,
        SyncRestored,
    )
    from ledger.journal import Appended, Outcome
    from ledger.portfolio import Break, Portfolio, Position, Totals, Trade, Unexplained
    from ledger.service import Account, Ledger, Verification
    from ledger.values import AccountId, Entry, MarginMode, Side

_HOMES = {
    "clock": ("ClockRule",),
    "errors": (
        "AccountMismatch", "AccountUnknown", "BadValue", "CorruptEvent", "DealConflict", "InexactNumber", "InputError",
        "JournalBusy", "JournalError", "JournalMissing", "JournalNewer", "JournalUnavailable", "JournalUnsafe",
        "LedgerError", "MalformedExport", "RuleError", "UnknownEvent", "VersionConflict", "VersionGap",
    ),
    "events": (
        "AccountOpened", "Adjusted", "BalanceAsserted", "BreakClosed", "BreakEnd", "BreakKind", "BreakOpened", "CashMoved",
        "DealCompleted", "DealRevised", "DriftCorrected", "Event", "FillRecorded", "GhostClosed", "Origin",
        "PositionRecovered", "PositionReticketed", "PositionState", "Recorded", "SymbolSpecified", "SyncDegraded",
        "SyncRestored",
    ),
    "journal": ("Appended", "Outcome"),
    "portfolio": ("Break", "Portfolio", "Position", "Totals", "Trade", "Unexplained"),
    "service": ("Account", "Ledger", "Verification"),
    "values": ("AccountId", "Entry", "MarginMode", "Side"),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

# Spelled out, because type checkers read nothing else; tests/unit/test_library.py compares it with the homes.
__all__ = [
    "Account",
    "AccountId",
    "AccountMismatch",
    "AccountOpened",
    "AccountUnknown",
    "Adjusted",
    "Appended",
    "BadValue",
    "BalanceAsserted",
    "Break",
    "BreakClosed",
    "BreakEnd",
    "BreakKind",
    "BreakOpened",
    "CashMoved",
    "ClockRule",
    "CorruptEvent",
    "DealCompleted",
    "DealConflict",
    "DealRevised",
    "DriftCorrected",
    "Entry",
    "Event",
    "FillRecorded",
    "GhostClosed",
    "InexactNumber",
    "InputError",
    "JournalBusy",
    "JournalError",
    "JournalMissing",
    "JournalNewer",
    "JournalUnavailable",
    "JournalUnsafe",
    "Ledger",
    "LedgerError",
    "MalformedExport",
    "MarginMode",
    "Origin",
    "Outcome",
    "Portfolio",
    "Position",
    "PositionRecovered",
    "PositionReticketed",
    "PositionState",
    "Recorded",
    "RuleError",
    "Side",
    "SymbolSpecified",
    "SyncDegraded",
    "SyncRestored",
    "Totals",
    "Trade",
    "Unexplained",
    "UnknownEvent",
    "Verification",
    "VersionConflict",
    "VersionGap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ledger' has no attribute {name!r}")
    found = getattr(import_module(f"ledger.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
