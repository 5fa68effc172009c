"""This module is an example of every kind of event, with the fields that are easily lost."""

from __future__ import annotations

from ledger import (
    AccountOpened,
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakNoted,
    BreakOpened,
    CarrierBroken,
    CarrierProven,
    CorrectionDecided,
    CorrectionProposed,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Event,
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
    PolicySet,
    PositionRecovered,
    PositionReticketed,
    StopsSeen,
    StorePinned,
    SymbolSpecified,
    SyncDegraded,
    SyncRestored,
    TradingHalted,
    TradingResumed,
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
        credit_before=3, credit_after=4, clock_before="UTC", clock_after="+3", caused_by=1, decision=2,
    ),
    OrderIntended(
        client_id="a.B_c-1", token="L" + "A2" * 9 + "7", kind="pending", type="stop_limit", symbol="EURUSD", side="buy",
        volume="0.10", price="1.05", stoplimit="1.04", sl=0, tp="1.2", deviation=10, filling="auto", lifetime="specified",
        expires_msc=at(99), magic=-5, comment_tail="ema ✓", strategy="ema", valid_until_utc_msc=at(20), limits="ab" * 32,
        checked_version=3, store="9b1c", time_msc=at(10),
    ),
    OrderIntended(
        client_id="close-1", token="L" + "B" * 19, kind="close_by", position_id=7, by_position_id=8, time_msc=at(10)
    ),
    OrderIntended(
        client_id="cancel-1", token="L" + "C" * 19, kind="cancel", target_order=5, target_client_id="a.B_c-1", time_msc=at(10)
    ),
    OrderDenied(
        client_id="denied-1", kind="market", symbol="EURUSD", side="sell", volume=1, rule="volume_per_symbol_max", limit="0.5",
        value="1", why="open 0.2, asked 1", time_msc=at(10), magic=-5,
    ),
    OrderAnswered(
        client_id="a.B_c-1", verdict="accepted", retcode=10009, last_error=-10005, order=5, deal=0, volume="0.10", price=0,
        bid="1.049", ask="1.051", comment="Request executed", request_id=55, retcode_external=0, store="9b1c", seq=80214,
        sent_utc_msc=at(10), answered_utc_msc=at(11), time_msc=at(11), evidence="cd" * 32,
    ),
    OrderSeen(
        ticket=5, symbol="EURUSD", type=6, state=1, volume_initial="0.10", volume_current="0.10", client_id="a.B_c-1",
        time_setup_msc=at(10), time_done_msc=0, expires_msc=at(99), type_time=2, type_filling=1, magic=-5, position_id=0,
        reason=3, price_open="1.05", price_stoplimit="1.04", sl=0, tp="1.2", comment="LA2", external_id="x", time_msc=at(12),
        evidence="cd" * 32,
    ),
    OrderResolved(
        client_id="a.B_c-1", number=1, outcome="duplicate", basis="person", tickets=[5, 6], operator="mk", reason="seen twice",
        lookups=3, first_utc_msc=at(10), last_utc_msc=at(20), time_msc=at(13), evidence="cd" * 32,
    ),
    StopsSeen(position_id=7, symbol="EURUSD", sl="1.05", tp=0, client_id="a.B_c-1", time_msc=at(14), evidence="cd" * 32),
    LimitsSet(
        rules={"volume_per_symbol_max": {"EURUSD": "0.5"}, "one_position": True, "orders_max": 200, "symbols": ["EURUSD"]},
        operator="mk", reason="the first", time_msc=at(15),
    ),
    TradingHalted(scope="symbol", name="X#Y", number=1, mode="no_new_risk", rule="kill_switch", reason="x", time_msc=at(16)),
    TradingHalted(scope="account", number=1, mode="all", operator="mk", reason="news", time_msc=at(16)),
    TradingResumed(scope="account", number=2, operator="mk", reason="over", time_msc=at(17)),
    CarrierProven(kind="comment", ticket=5, time_msc=at(18), evidence="cd" * 32),
    CarrierBroken(kind="magic", ticket=5, found="0", time_msc=at(19)),
    StorePinned(store="9b1c", number=1, reason="the first there is", time_msc=at(9)),
    StorePinned(store="77aa", number=2, operator="mk", reason="a new disk", time_msc=at(20)),
    CorrectionProposed(
        operator="mk", reason="gone ✓", correction={"what": "close", "position_id": 7}, effect={"positions": {"7": [{}, None]}},
        effect_digest="ab" * 32, rests_on=3, lapses_utc_msc=at(99), urgent=True, break_version=2, position_id=7,
        symbol="EURUSD", time_msc=at(20),
    ),
    CorrectionDecided(
        outcome="lapsed", operator="ann", reason="too late", effect_digest="cd" * 32, caused_by=5, time_msc=at(21),
        changed={"positions.7.volume": ["1", "2"]}, signature="c2ln", key="ann", rests_on=4,
    ),
    PolicySet(
        approvals=2, corrections=("position", "clock"), signed=True, operator="mk", reason="the desk's rule", decision=6,
        time_msc=at(22),
    ),
    BreakNoted(operator="ann", text="phoned ✓\nthem", owner="mk", caused_by=2, time_msc=at(23)),
]  # fmt: skip
