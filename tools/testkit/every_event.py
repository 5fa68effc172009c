"""This module is an example of every kind of event, with the fields that are easily lost."""

from __future__ import annotations

from ledger import (
    AccountOpened,
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakOpened,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Event,
    GatewayIdentified,
    GhostClosed,
    IdentityRelaxed,
    IdentityRequired,
    PositionRecovered,
    PositionReticketed,
    SymbolSpecified,
    SyncDegraded,
    SyncRestored,
)
from tools.testkit.stories import at, cash, fill, incomplete, state

SEEN = state("long 1.25 @ 10.123456789", 7, ticket=70, opened_msc=at(1), magic=-5, comment="EA ✓")

EVENTS: list[Event] = [
    AccountOpened(server="S x", login=1, currency="BTC", currency_digits=8, mode="exchange", clock="ny-close", time_msc=at(0)),
    SymbolSpecified(symbol="EURUSD", digits=5, volume_step="0.01", contract_size=100000, currency="USD", time_msc=at(0)),
    fill(1, order=5, magic=-1, reason=6, comment="[so 50%]", external_id="x-1", origin="import", commission="-3.123456"),
    fill(2, entry=9, side="sell", volume="0.00000001", price="-37.63"),
    incomplete(fill(3, position_id=None)),
    cash(4, "-12.34", type=17, comment="tax"),
    cash(5, 1, type=None, word="so compensation"),
    cash(6, 0, type=14, symbol="EURUSD", entry="out", volume=1, price=10, order=3, position_id=7, commission=1, fee=2, swap=3),
    cash(7, 0, type=99, volume=0, entry=8, magic=4, reason=3, external_id="y"),
    DealCompleted(
        deal=3, time_msc=at(3), caused_by=4, position_id=7, magic=9, commission="-1", fee=0, swap="0.5", profit=9,
        origin="import",
    ),
    DealRevised(now=fill(1, volume=2), caused_by=3),
    DealRevised(now=cash(1, 0, type=13), caused_by=3),
    PositionRecovered(position=SEEN, time_msc=at(9), caused_by=2, evidence="cd" * 32),
    GhostClosed(before=SEEN, time_msc=at(9), caused_by=2, evidence="cd" * 32),
    DriftCorrected(before=SEEN, after=state("short 2 @ 11", 7), time_msc=at(9), caused_by=2, evidence="cd" * 32),
    PositionReticketed(position_id=7, symbol="EURUSD", ticket_before=7, ticket_after=9, time_msc=at(9), caused_by=1),
    BreakOpened(
        kind="drift", time_msc=at(9), position_id=7, deal=1, field="volume", ours="1", theirs="2", why="?", evidence="ab"
    ),
    BreakClosed(kind="drift", end="corrected", time_msc=at(9), caused_by=5, position_id=7),
    SyncDegraded(reason="timeout", time_msc=at(9), evidence="ab"),
    SyncRestored(time_msc=at(9), caused_by=5),
    BalanceAsserted(balance="-1.5", credit=3, complete_until_msc=at(50), time_msc=at(9), evidence="ab"),
    GatewayIdentified(login=70113, server="Broker-Live", form="extended", time_msc=at(9), evidence="ab"),
    IdentityRelaxed(operator="mk", reason="the old bridge", time_msc=at(9)),
    IdentityRequired(operator="mk", reason="the new bridge", time_msc=at(9)),
    Adjusted(
        operator="mk", reason="why", time_msc=at(9), before=SEEN, after=SEEN, balance_before=1, balance_after=2,
        credit_before=3, credit_after=4, clock_before="UTC", clock_after="+3", caused_by=1,
    ),
]  # fmt: skip
