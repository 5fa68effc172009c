"""This module is facts for journals, each with all that a fact has, and a clock that a test sets."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from ledger import (
    AccountId,
    AccountOpened,
    CashMoved,
    DealCompleted,
    DealRevised,
    FillRecorded,
    GhostClosed,
    PositionState,
    SymbolSpecified,
)

#: 2026-01-05 10:00:00 UTC, a Monday: our clock starts here, and so do the deals (the server's clock is UTC).
START_MSC: Final = 1_767_607_200_000
START_US: Final = START_MSC * 1000

ACCOUNT: Final = AccountId("Broker-Live", 70113)
OTHER: Final = AccountId("Broker-Live", 70114)


class Clock:
    """Our own clock, as a test sets it. It moves on by ``step_us`` with every look."""

    def __init__(self, now_us: int = START_US, step_us: int = 1_000_000) -> None:
        self.now_us = now_us
        self.step_us = step_us

    def __call__(self) -> int:
        self.now_us += self.step_us
        return self.now_us


def opened(account: AccountId = ACCOUNT, **terms: Any) -> AccountOpened:
    """Name an account: hedging, in USD, its server's clock in UTC."""
    output: dict[str, Any] = {"currency": "USD", "currency_digits": 2, "mode": "hedging", "clock": "UTC", "time_msc": START_MSC}
    return AccountOpened(server=account.server, login=account.login, **(output | terms))


def fill(deal: int, second: float = 0, **fields: Any) -> FillRecorded:
    """Return a deal some seconds after the start: it buys 1 lot, opening a position of its own."""
    output: dict[str, Any] = {
        "deal": deal,
        "symbol": "EURUSD",
        "side": "buy",
        "entry": "in",
        "volume": 1,
        "price": "1.1",
        "time_msc": START_MSC + int(second * 1000),
        "order": deal,
        "position_id": deal,
        "commission": 0,
        "fee": 0,
        "swap": 0,
        "profit": 0,
    }
    return FillRecorded(**(output | fields))


def cash(deal: int, second: float = 0, **fields: Any) -> CashMoved:
    """Return a deposit of 100 some seconds after the start."""
    return CashMoved(**({"deal": deal, "type": 2, "profit": 100, "time_msc": START_MSC + int(second * 1000)} | fields))


def revised(deal: FillRecorded | CashMoved) -> DealRevised:
    """Return what the broker shows of a deal now."""
    return DealRevised(now=deal, caused_by=1)


def completion(deal: int, **fields: Any) -> DealCompleted:
    """Return what a deal's first record did not know."""
    return DealCompleted(deal=deal, time_msc=START_MSC, caused_by=1, **fields)


def ghost(position_id: int, second: float = 0, **fields: Any) -> GhostClosed:
    """Return that a position of 1 lot is gone."""
    state = PositionState(position_id=position_id, symbol="EURUSD", side="buy", volume=1, price_open="1.1")
    return GhostClosed(before=state, time_msc=START_MSC + int(second * 1000), **fields)


def digest_of(raw: bytes) -> str:
    """Return what a raw answer is known by."""
    return sha256(raw).hexdigest()


def specified(symbol: str = "EURUSD", **fields: Any) -> SymbolSpecified:
    """Return what the broker states about a symbol."""
    return SymbolSpecified(symbol=symbol, **({"time_msc": START_MSC, "digits": 5} | fields))
