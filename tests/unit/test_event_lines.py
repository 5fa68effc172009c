"""What happened in one line, for every kind of event."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import (
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakNoted,
    BreakOpened,
    CarrierBroken,
    CarrierProven,
    CorrectionDecided,
    CorrectionProposed,
    DealRevised,
    DriftCorrected,
    GatewayIdentified,
    GhostClosed,
    IdentityRelaxed,
    IdentityRequired,
    Ledger,
    LimitsSet,
    OrderAnswered,
    OrderDenied,
    OrderIntended,
    OrderResolved,
    OrderSeen,
    PolicySet,
    PositionRecovered,
    PositionReticketed,
    PositionState,
    StopsSeen,
    StorePinned,
    SyncDegraded,
    SyncRestored,
    TradingHalted,
    TradingResumed,
)
from ledger.codec import KINDS
from ledger.event_lines import LINES, WIDTH, event_line
from ledger.events import AcceptedResult, Recorded
from tests.support.journals import ACCOUNT, START_MSC, START_US, cash, completion, fill, opened, specified

TOKEN = "L" + "A" * 19
POSITION = 50_629_002_942  # as long as those of real brokers


def state(**fields):
    terms: dict[str, Any] = {
        "position_id": POSITION,
        "symbol": "EURUSD",
        "side": "buy",
        "volume": "0.10",
        "price_open": "1.0543",
    }
    return PositionState(**(terms | fields))


def broke(kind, **fields):
    return BreakOpened(kind=kind, position_id=POSITION, time_msc=START_MSC, **fields)


OURS, THEIRS = "buy 0.2 XAUUSD @ 1900.12", "buy 0.1 XAUUSD @ 1900.12"
DEAL: dict[str, Any] = {"deal": 5001, "position_id": POSITION, "order": 9, "volume": "0.01", "price": "1.0543"}

STORIES = [
    (opened(clock="ny-close"), "USD hedging, server clock ny-close"),
    (specified(volume_step="0.01", currency="USD"), "EURUSD, digits 5, step 0.01, in USD"),
    (fill(**DEAL), "buy in 0.01 EURUSD @ 1.0543, deal 5001"),
    (
        fill(**DEAL, side="sell", entry="out", profit="4.2"),
        "sell out 0.01 EURUSD @ 1.0543 +4.20",
    ),
    (fill(**DEAL, side="sell", entry="out", profit=None), "sell out 0.01 EURUSD @ 1.0543, result unknown"),
    (fill(**DEAL, side="sell", entry="out", profit=0), "sell out 0.01 EURUSD @ 1.0543 +0.00"),
    (cash(1000, profit=5000, comment="first"), 'balance +5000.00, deal 1000 "first"'),
    (cash(1000, type=7, profit="-1.5"), "commission -1.50, deal 1000"),
    (cash(1000, type=77, profit="-1.5"), "type 77 -1.50, deal 1000"),
    (completion(7, profit=3, commission="-0.1", position_id=9), "deal 7: profit +3.00, commission -0.10"),
    (DealRevised(now=fill(5, profit=77, entry="out", side="sell"), caused_by=3), "deal 5 now sell out 1 EURUSD @ 1.1 +77.00"),
    (DealRevised(now=cash(5, type=13, profit=0), caused_by=3), "deal 5 now buy canceled +0.00"),
    (PositionRecovered(position=state(), time_msc=START_MSC), f"{POSITION} buy 0.1 EURUSD @ 1.0543"),
    (GhostClosed(before=state(), time_msc=START_MSC), f"{POSITION} buy 0.1 EURUSD, result unknown"),
    (
        DriftCorrected(before=state(), after=state(volume="1", side="sell"), time_msc=START_MSC),
        f"{POSITION} side buy->sell, volume 0.1->1",
    ),
    (
        PositionReticketed(
            position_id=POSITION, symbol="EURUSD", ticket_before=POSITION, ticket_after=POSITION + 1, time_msc=START_MSC
        ),
        f"{POSITION} ticket -> {POSITION + 1}",
    ),
    (broke("ghost", ours="buy 0.01 EURUSD @ 1.1"), f"ghost {POSITION}: buy 0.01 EURUSD"),
    (broke("ghost", ours="buy 0.01 EURUSD @ 1.1", confirmations=2), f"ghost {POSITION}: buy 0.01 EURUSD, seen 2x"),
    (broke("zombie", theirs="sell 0.01 EURUSD @ 1.1"), f"zombie {POSITION}: broker sell 0.01 EURUSD"),
    (broke("drift", field="volume", ours=OURS, theirs=THEIRS), f"drift {POSITION}: volume 0.2, broker 0.1"),
    (
        BreakOpened(kind="balance", field="balance", ours="5000.00", theirs="5001.00", time_msc=START_MSC),
        "balance balance: ours 5000.00, broker 5001.00",
    ),
    (
        BreakOpened(kind="order", order=901, client_id="c-1", field="overfill", ours="1.1", theirs="1", time_msc=START_MSC),
        "order 901 overfill: ours 1.1, broker 1",
    ),
    (
        BreakClosed(kind="order", end="explained", order=901, time_msc=START_MSC, caused_by=7),
        "order 901 explained, opened v7",
    ),
    (
        BreakOpened(kind="stops", position_id=POSITION, client_id="c-2", ours="sl 9", theirs="no stops", time_msc=START_MSC),
        f"stops {POSITION}: ours sl 9, broker no stops",
    ),
    (BreakOpened(kind="clock", deal=5, why="it is from tomorrow", time_msc=START_MSC), "clock deal 5: it is from tomorrow"),
    (
        BreakClosed(kind="ghost", end="explained", position_id=POSITION, time_msc=START_MSC, caused_by=1388),
        f"ghost {POSITION} explained, opened v1388",
    ),
    (SyncDegraded(reason="timeout", time_msc=START_MSC), "timeout"),
    (SyncRestored(time_msc=START_MSC), "snapshots are usable again"),
    (BalanceAsserted(balance="5000.01", time_msc=START_MSC), "broker states 5000.01 with credit"),
    (BalanceAsserted(balance="5000.01", credit=0, time_msc=START_MSC), "broker states 5000.01, credit 0.00"),
    (
        Adjusted(operator="ann", reason="bonus", time_msc=START_MSC, balance_before="9945", balance_after="9949.2"),
        'balance 9945.00 -> 9949.20 by ann: "bonus"',
    ),
    (
        Adjusted(operator="ann", reason="gone", time_msc=START_MSC, before=state()),
        f'closed {POSITION} buy 0.1 EURUSD by ann: "gone"',
    ),
    (
        Adjusted(operator="ann", reason="phone", time_msc=START_MSC, after=state()),
        f'added {POSITION} buy 0.1 EURUSD by ann: "phone"',
    ),
    (
        Adjusted(operator="ann", reason="half", time_msc=START_MSC, before=state(), after=state(volume="0.05")),
        f'{POSITION} volume 0.1 -> 0.05 by ann: "half"',
    ),
    (
        Adjusted(operator="ann", reason="DST", time_msc=START_MSC, clock_before="UTC", clock_after="ny-close"),
        'clock UTC -> ny-close by ann: "DST"',
    ),
    (
        Adjusted(operator="ann", reason="moved", time_msc=START_MSC, order_before="ticket", order_after="time"),
        'order ticket -> time by ann: "moved"',
    ),
    (Adjusted(operator="ann", reason="gone", time_msc=START_MSC, deal=5001), 'withdrew deal 5001 by ann: "gone"'),
    (
        Adjusted(
            operator="ann", reason="old", time_msc=START_MSC,
            accepted=AcceptedResult(symbol="EURUSD", volume="0.1", position_id=POSITION),
        ),
        f'accepted 0.1 EURUSD of {POSITION} by ann: "old"',
    ),
    (
        GatewayIdentified(login=70113, server="Broker-Live", form="extended", time_msc=START_MSC),
        "gateway of Broker-Live/70113",
    ),
    (IdentityRelaxed(operator="ann", reason="old bridge", time_msc=START_MSC), 'base form allowed by ann: "old bridge"'),
    (IdentityRequired(operator="ann", reason="new bridge", time_msc=START_MSC), 'identity required by ann: "new bridge"'),
    (
        OrderIntended(
            client_id="c-1", token=TOKEN, kind="pending", type="stop_limit", symbol="EURUSD", side="buy", volume="0.10",
            price="1.05", stoplimit="1.04", sl="1.03", time_msc=START_MSC,
        ),
        "c-1 pending stop limit buy 0.1 EURUSD @ 1.05",
    ),
    (
        OrderIntended(client_id="c-1", token=TOKEN, kind="close_by", position_id=7, by_position_id=8, time_msc=START_MSC),
        "c-1 close by, position 7, by 8",
    ),
    (
        OrderDenied(
            client_id="c-1", kind="market", symbol="EURUSD", side="buy", volume=1, rule="orders_max", limit="9", value="10",
            why="full", time_msc=START_MSC,
        ),
        "c-1 market buy 1 EURUSD: orders_max",
    ),
    (
        OrderAnswered(client_id="c-1", verdict="accepted", retcode=10009, order=5, deal=0, time_msc=START_MSC),
        "c-1 accepted 10009, order 5",
    ),
    (OrderAnswered(client_id="c-1", verdict="fenced", time_msc=START_MSC), "c-1 fenced"),
    (
        OrderSeen(ticket=5, symbol="EURUSD", type=2, state=1, volume_initial=1, volume_current="0.4", time_msc=START_MSC),
        "5 placed, 0.4 left of 1 EURUSD, not ours",
    ),
    (
        OrderResolved(client_id="c-1", number=1, outcome="absent", basis="absence", time_msc=START_MSC),
        "c-1 absent by absence",
    ),
    (
        OrderResolved(
            client_id="c-1", number=2, outcome="executed", basis="person", tickets=(5,), operator="ann", reason="seen",
            time_msc=START_MSC,
        ),
        'c-1 executed by person by ann: "seen"',
    ),
    (StopsSeen(position_id=7, sl="1.05", tp=0, client_id="c-1", time_msc=START_MSC), "7 sl 1.05, tp 0, asked by c-1"),
    (LimitsSet(rules={"orders_max": 9}, operator="ann", reason="new", time_msc=START_MSC), 'limits set by ann: "new"'),
    (
        TradingHalted(scope="account", number=1, mode="all", operator="ann", reason="news", time_msc=START_MSC),
        'account halted by ann: "news"',
    ),
    (
        TradingHalted(
            scope="symbol", name="EURUSD", number=1, mode="no_new_risk", rule="losses", reason="3 in a row", time_msc=START_MSC
        ),
        'symbol EURUSD: no new risk, by rule losses: "3 in a row"',
    ),
    (
        TradingResumed(scope="strategy", name="ema", number=2, operator="ann", reason="over", time_msc=START_MSC),
        'strategy ema resumed by ann: "over"',
    ),
    (CarrierProven(kind="comment", ticket=5, time_msc=START_MSC), "comment of 5 came back as sent"),
    (CarrierBroken(kind="comment", ticket=5, found="LAB", time_msc=START_MSC), 'comment of 5 came back changed "LAB"'),
    (
        StorePinned(store="9b1c", number=1, reason="first use", time_msc=START_MSC),
        '9b1c, the first: "first use"',
    ),
    (
        StorePinned(store="77aa", number=2, operator="ann", reason="new disk", time_msc=START_MSC),
        '77aa by ann: "new disk"',
    ),
    (
        CorrectionProposed(
            operator="ann", reason="gone", correction={"what": "close", "position_id": 7}, effect={"positions": {}}, rests_on=3,
            effect_digest="ab" * 32, lapses_utc_msc=START_MSC, time_msc=START_MSC,
        ),
        'close 7 by ann: "gone"',
    ),
    (
        CorrectionProposed(
            operator="ann", reason="fee", correction={"what": "balance", "balance": "9.50"}, effect={"money": {}}, rests_on=3,
            effect_digest="ab" * 32, lapses_utc_msc=START_MSC, time_msc=START_MSC, urgent=True,
        ),
        'urgent: balance 9.50 by ann: "fee"',
    ),
    *(
        (
            CorrectionProposed(
                operator="ann", reason="x", correction=correction, effect={"positions": {}}, rests_on=3,
                effect_digest="ab" * 32, lapses_utc_msc=START_MSC, time_msc=START_MSC,
            ),
            f'{words} by ann: "x"',
        )
        for correction, words in (
            ({"what": "update", "position_id": 7, "volume": "0.2", "magic": 9}, "update 7 volume 0.2 magic 9"),
            (
                {"what": "add", "position_id": 7, "symbol": "EURUSD", "side": "buy", "volume": 1, "price_open": "1.1"},
                "add 7 EURUSD buy 1 @ 1.1",
            ),
            ({"what": "balance", "balance": None, "credit": "5"}, "balance credit 5"),
            ({"what": "withdrawal", "deal": 5001}, "withdrawal deal 5001"),
            ({"what": "policy", "approvals": 1}, "policy: one person corrects"),
            ({"what": "policy", "approvals": 2, "corrections": ["clock"], "signed": True}, "policy: two persons, signed"),
        )
    ),
    (
        CorrectionDecided(
            outcome="approved", operator="bob", effect_digest="ab" * 32, caused_by=5, time_msc=START_MSC, key="00",
            signature="00", rests_on=3, reason="checked",
        ),
        'v5 approved by bob, signed: "checked"',
    ),
    (
        Adjusted(operator="ann", reason="fee", time_msc=START_MSC, balance_before=1, balance_after=2, decision=6),
        'balance 1.00 -> 2.00 by ann: "fee"',
    ),
    (
        CorrectionDecided(outcome="approved", operator="bob", effect_digest="ab" * 32, caused_by=5, time_msc=START_MSC),
        "v5 approved by bob",
    ),
    (
        CorrectionDecided(
            outcome="lapsed", operator="bob", reason="changed", effect_digest="ab" * 32, caused_by=5, time_msc=START_MSC,
            changed={"positions.7": ["1", "2"]},
        ),
        'v5 lapsed by bob: "changed"',
    ),
    (PolicySet(approvals=1, operator="ann", reason="alone", time_msc=START_MSC), 'one person corrects by ann: "alone"'),
    (
        PolicySet(approvals=2, corrections=("balance",), signed=True, operator="ann", reason="desk", time_msc=START_MSC),
        'two persons, signed by ann: "desk"',
    ),
    (
        BreakNoted(operator="ann", text="phoned", owner="bob", caused_by=5, time_msc=START_MSC),
        'break v5, owner bob: "phoned" by ann',
    ),
    (PolicySet(approvals=2, corrections=("clock",), operator="a", reason="b", time_msc=START_MSC), 'by a: "b", for clock'),
]  # fmt: skip


@pytest.fixture(scope="module")
def terms():
    with Ledger.open("memory://") as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
        yield ledger.account(ACCOUNT).terms


def line_of(event, terms, *, lag_us=1_000_000, version=12_345):
    recorded = Recorded(
        account=ACCOUNT, version=version, recorded_us=START_US + lag_us, natural_key="k", event=event, head="", correlation=None
    )
    return event_line(recorded, terms)


@pytest.mark.parametrize(("event", "output"), STORIES, ids=lambda one: one if isinstance(one, str) else type(one).__name__)
def test_a_line_states_what_happened_in_eighty_columns(event, output, terms):
    line = line_of(event, terms)
    assert line.startswith(f"v12345 01-05 10:00:{line[19:21]} {type(event).__name__} ")
    assert output in line
    assert len(line.partition(': "')[0]) <= WIDTH  # a person's reason may be as long as it likes


def test_every_kind_has_a_line_and_a_story():
    assert KINDS.keys() <= LINES.keys()
    given = {type(event).__name__ for event, _ in STORIES}
    assert KINDS.keys() - given == set()


def test_a_kind_without_a_line_is_shown_by_its_fields(terms, monkeypatch):
    monkeypatch.delattr("ledger.event_lines.LINES")
    monkeypatch.setattr("ledger.event_lines.LINES", {}, raising=False)
    assert "reason timeout" in line_of(SyncDegraded(reason="timeout", time_msc=START_MSC), terms)


@pytest.mark.parametrize(
    ("minutes", "origin", "output"),
    [(42, "engine", " late 42m"), (180, "recovery", " late 3h"), (60 * 72, "engine", " late 3d"), (1, "engine", None)],
)
def test_a_deal_that_was_recorded_late_is_reported(minutes, origin, output, terms):
    line = line_of(fill(1, profit=None, origin=origin), terms, lag_us=minutes * 60_000_000, version=7)
    assert line.startswith("v7 01-05 10:00:00 FillRecorded buy in 1 EURUSD @ 1.1")
    assert (output in line) if output else ("late" not in line)
    assert "late" not in line_of(fill(1, origin="import"), terms, lag_us=minutes * 60_000_000)
