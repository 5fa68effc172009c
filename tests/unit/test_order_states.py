"""The states of an order: row by row, what leads from one to the next, and that nothing else does."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import (
    CarrierBroken,
    CarrierProven,
    Ledger,
    LimitsSet,
    OrderAnswered,
    OrderDenied,
    OrderIntended,
    OrderResolved,
    OrderSeen,
    StopsSeen,
    TradingHalted,
    TradingResumed,
)
from ledger.events.orders import Carrier, HaltMode, HaltScope
from ledger.orders.states import FINAL, OrderState
from ledger.orders.view import Orders
from tests.support.journals import ACCOUNT, START_MSC, START_US, Clock, fill, opened, revised
from tools.testkit.facts import cash

TICKET, TOKEN = 900, "L" + "A" * 19
REQUEST: dict[str, Any] = {"symbol": "EURUSD", "side": "buy", "volume": 2, "kind": "market", "token": TOKEN}


def intended(client_id="c", second=0, **fields):
    return OrderIntended(client_id=client_id, time_msc=START_MSC + second * 1000, **(REQUEST | fields))


def answered(verdict="accepted", client_id="c", **fields):
    fields = {"order": TICKET if verdict == "accepted" else 0, "deal": 0, "volume": 0} | fields
    return OrderAnswered(client_id=client_id, verdict=verdict, time_msc=START_MSC + 1000, **fields)


def seen(state, client_id: str | None = "c", second=2, **fields: Any):
    shown: dict[str, Any] = {"ticket": TICKET, "symbol": "EURUSD", "type": 0, "volume_initial": 2, "volume_current": 2}
    return OrderSeen(client_id=client_id, state=state, time_msc=START_MSC + second * 1000, **(shown | fields))


def resolved(outcome, basis="token", client_id="c", number=1, **fields):
    who = {"operator": "ann", "reason": "seen"} if basis == "person" else {}
    return OrderResolved(
        client_id=client_id, number=number, outcome=outcome, basis=basis, time_msc=START_MSC + 3000, **(who | fields)
    )


def deal(ticket=1, volume=1, order=TICKET, **fields):
    return fill(ticket, 4, volume=volume, order=order, **fields)


def orders_of(*events, **asked):
    """The orders after events that are recorded one by one."""
    with Ledger.open("memory://", now_us=Clock()) as ledger:
        account = ledger.account(ACCOUNT)
        for event in (opened(), *events):
            account.record(event)
        return account.orders(**asked)


def states(*events):
    """The state of the order "c" after each event."""
    with Ledger.open("memory://", now_us=Clock()) as ledger:
        account = ledger.account(ACCOUNT)
        found = []
        for event in (opened(), *events):
            account.record(event)
            one = next((one for one in account.orders() if one.client_id == "c"), None)
            found.append(one and one.state.value)
        return found[1:]


ROWS = [
    ([intended()], "intended"),
    ([OrderDenied(client_id="c", rule="r", why="w", time_msc=START_MSC, **REQUEST)], "denied"),
    ([intended(), answered()], "working"),
    ([intended(), answered(), seen(1)], "working"),
    ([intended(), answered(), deal()], "partial"),
    ([intended(), answered(), seen(3)], "partial"),
    ([intended(), answered(), deal(1), deal(2)], "filled"),
    ([intended(), answered(), deal(1, 3)], "filled"),  # too much of it: a break is for the reconciler
    ([intended(), *[answered("rejected", retcode=10004)]], "rejected"),
    ([intended(), answered("rejected", order=TICKET)], "unknown"),  # O36
    ([intended(), answered("not_sent")], "rejected"),
    ([intended(), answered("expired")], "rejected"),
    ([intended(), answered("fenced")], "rejected"),
    ([intended(), answered("unknown", retcode=10012)], "unknown"),
    ([intended(), answered("no_change")], "unknown"),
    ([intended(), answered("unknown"), seen(1)], "working"),  # O7
    ([intended(), answered("unknown"), seen(3), deal()], "partial"),
    ([intended(), answered("unknown"), seen(4)], "partial"),  # until its deals are known
    ([intended(), answered("unknown"), seen(4), deal(1), deal(2)], "filled"),
    ([intended(), answered("unknown"), seen(2)], "cancelled"),
    ([intended(), answered("unknown"), seen(5)], "rejected"),
    ([intended(), answered("unknown"), seen(6)], "expired"),
    ([intended(), answered("unknown"), resolved("absent", "absence")], "absent"),
    ([intended(), answered("unknown"), resolved("rejected", "fence")], "rejected"),
    ([intended(), answered("unknown"), resolved("working", tickets=[TICKET])], "working"),
    ([intended(), answered("unknown"), resolved("executed", tickets=[TICKET])], "partial"),
    ([intended(), answered("unknown"), resolved("executed", tickets=[TICKET]), deal(1, 2)], "filled"),
    ([intended(), answered(), seen(1), deal(), seen(2, second=5)], "cancelled"),  # O16: fills stay
    ([intended(), answered(), seen(1), seen(6, second=5)], "expired"),
    ([intended(), answered(), seen(1), seen(2, second=5), deal(1), deal(2)], "filled"),  # O15: late fills count
    ([intended(), answered("unknown"), resolved("absent", "absence", tickets=[TICKET]), deal()], "cancelled"),
    ([intended(), answered(), seen(1), resolved("rejected", "person")], "rejected"),
    ([intended(), answered(), seen(1), resolved("rejected", "ticket")], "working"),  # the broker's record counts
    ([intended(), resolved("duplicate", tickets=[TICKET, 901]), deal(1), deal(2, 1, order=901)], "filled"),  # O27
    ([intended(), answered(), deal(1, 2), revised(deal(1, 1))], "partial"),
    ([intended(), answered(), deal(1, 2), revised(cash(1, type=13))], "working"),
    ([intended(volume=None, kind="close", position_id=7), answered(volume=2), deal(1, 2)], "filled"),
    ([intended(kind="stops", position_id=7), answered("no_change")], "filled"),
    ([intended(kind="stops", position_id=7), answered(order=0)], "working"),
    (
        [intended(kind="stops", position_id=7), answered(order=0), StopsSeen(position_id=7, client_id="c", time_msc=START_MSC)],
        "filled",
    ),
    ([intended(kind="modify", target_order=5), answered("no_change")], "filled"),
    ([intended(kind="modify", target_order=5), answered(order=5)], "filled"),
    ([intended(kind="modify", target_order=5), answered("rejected", order=5)], "rejected"),
    ([intended(kind="cancel", target_order=5), answered("no_change")], "unknown"),
    ([intended(kind="cancel", target_order=5), answered("unknown"), resolved("executed", "ticket")], "filled"),
    ([intended(kind="cancel", target_order=5), answered("unknown"), resolved("absent", "absence")], "absent"),
]  # fmt: skip


@pytest.mark.parametrize(("events", "state"), ROWS)
def test_each_cause_leads_to_its_state(events, state):
    assert states(*events)[-1] == state


def test_an_order_shows_what_it_asks_for_and_what_became_of_it():
    [order] = orders_of(intended(strategy="ema"), answered(retcode=10009), deal(1, "0.5"))
    assert (order.client_id, order.token, order.kind.value, order.symbol) == ("c", TOKEN, "market", "EURUSD")
    assert (order.volume, order.filled, order.ticket, order.strategy) == (2, Decimal("0.5"), TICKET, "ema")
    assert (order.state.value, order.since_msc, order.why) == ("partial", START_MSC + 4000, "deal 1")
    assert order.is_open
    assert not order.is_unknown


def test_a_deal_of_another_order_and_one_without_an_order_count_for_none():
    [order] = orders_of(intended(), answered(), deal(1, order=901), deal(2, order=None))
    assert (order.filled, order.state) == (0, OrderState.WORKING)


@pytest.mark.parametrize(
    ("kind", "answer", "state"),
    [
        ("cancel", None, "cancelling"),
        ("modify", None, "changing"),
        ("cancel", "unknown", "cancelling"),
        ("cancel", "accepted", "working"),
        ("cancel", "rejected", "working"),
    ],
)
@pytest.mark.parametrize("by", [{"target_order": TICKET}, {"target_client_id": "c"}])
def test_what_is_asked_about_an_order_lies_over_its_state_until_it_is_answered(kind, answer, state, by):
    answers = [] if answer is None else [answered(answer, "x", order=TICKET)]
    target, _ = orders_of(intended(), answered(), intended("x", kind=kind, **by), *answers)
    assert target.state.value == state


def test_a_fill_comes_before_a_cancel_under_way():
    target, _ = orders_of(intended(), answered(), intended("x", kind="cancel", target_order=TICKET), deal(1, 2))
    assert target.state is OrderState.FILLED


def test_an_intent_that_nobody_answered_is_unknown_once_it_is_no_longer_valid():
    event = intended(valid_until_utc_msc=START_MSC + 5000)
    before, after = "2026-01-05T10:00:04Z", "2026-01-05T10:00:06Z"
    [order], [late] = orders_of(event, until=before), orders_of(event, until=after)
    assert (order.state, late.state, late.since_msc) == (OrderState.INTENDED, OrderState.UNKNOWN, START_MSC + 5000)
    [answered_one] = orders_of(event, answered(), until=after)
    assert answered_one.state is OrderState.WORKING


def test_an_order_of_somebody_else_is_shown_until_it_turns_out_to_be_ours():
    [foreign] = orders_of(seen(1, client_id=None, type=3))
    assert (foreign.client_id, foreign.kind.value, foreign.side and foreign.side.value) == (None, "pending", "sell")
    assert (foreign.ticket, foreign.volume, foreign.state) == (TICKET, 2, OrderState.WORKING)
    [ours] = orders_of(intended(), seen(1, client_id=None), deal(1), seen(1, second=9))
    assert (ours.client_id, ours.ticket, ours.filled, ours.state) == ("c", TICKET, 1, OrderState.PARTIAL)


def test_an_order_whose_intent_is_not_in_the_journal_is_adopted():
    [order] = orders_of(seen(1))
    assert (order.client_id, order.state, order.volume) == ("c", OrderState.WORKING, 2)


def test_limits_halts_carriers_and_stops_are_those_recorded_last():
    with Ledger.open("memory://", now_us=Clock()) as ledger:
        account = ledger.account(ACCOUNT)
        halt: dict[str, Any] = {"operator": "ann", "reason": "x", "time_msc": START_MSC}
        account.record_many([
            opened(),
            LimitsSet(rules={"a": 1}, **halt), LimitsSet(rules={"a": 2}, **halt),
            TradingHalted(scope="account", number=1, mode="all", **halt), TradingResumed(scope="account", number=2, **halt),
            TradingHalted(scope="symbol", name="X:Y", number=1, mode="no_new_risk", **halt),
            CarrierProven(kind="comment", ticket=1, time_msc=START_MSC),
            CarrierBroken(kind="magic", ticket=1, time_msc=START_MSC),
            StopsSeen(position_id=7, sl=1, tp=0, time_msc=START_MSC), StopsSeen(position_id=7, sl=2, time_msc=START_MSC),
        ])  # fmt: skip
        found = account.replayed_orders(account.selection()[0])
    assert found.limits == '{"a":2}'
    assert found.halts == {(HaltScope.SYMBOL, "X:Y"): HaltMode.NO_NEW_RISK}
    assert found.carriers == {Carrier.COMMENT: True, Carrier.MAGIC: False}
    assert found.stops == {7: (Decimal(2), None)}


# ------------------------------------------------------------------------------------------------------ an independent model

#: From which state to which others an order may come by one event, whatever it is: the table of the contract, and for what is
#: final that late facts count.
ALLOWED = {
    None: {"intended", "denied"},
    "denied": set(),
    "intended": {"working", "partial", "filled", "rejected", "unknown", "cancelled", "expired", "absent"},
    "unknown": {"working", "partial", "filled", "rejected", "cancelled", "expired", "absent"},
    "working": {"partial", "filled", "cancelled", "rejected", "expired"},
    "partial": {"filled", "cancelled", "expired", "rejected"},
    "filled": set(),
    "cancelled": {"filled"},
    "expired": {"filled"},
    "rejected": {"filled", "cancelled", "partial", "working", "expired"},
    "absent": {"filled", "cancelled", "partial", "working", "rejected", "expired"},
}  # fmt: skip


@st.composite
def courses(draw):
    """What a gateway and a broker may report of one order: an answer, a resolution where it was unknown, records, deals."""
    verdict = draw(st.sampled_from(["accepted", "unknown", "rejected", "fenced", None]))
    facts: list[Any] = [intended()]
    if verdict is not None:
        facts.append(answered(verdict))
    if verdict in (None, "unknown"):
        basis = draw(st.sampled_from([[], [resolved("absent", "absence")], [resolved("rejected", "fence")]]))
        facts += basis
    records = [[], [1], [0, 1], [1, 3]]
    ends = [[], [2], [4], [5], [6]]
    for at, state in enumerate(draw(st.sampled_from(records)) + draw(st.sampled_from(ends))):
        facts.append(seen(state, second=5 + at))
    deals = [deal(1), deal(2)][: draw(st.integers(0, 2))]
    for one in deals:
        facts.insert(draw(st.integers(1, len(facts))), one)
    return facts


@given(courses())
def test_an_order_moves_only_as_the_model_allows(events):
    path: list[str | None] = [None, *states(*events)]
    for before, after in pairwise(path):
        assert before == after or after in ALLOWED[before], path
    final = {state.value for state in FINAL}
    first = next((at for at, state in enumerate(path) if state in final), len(path))
    assert not set(path[first:]) & {"intended", "unknown", "denied"}


@given(courses(), st.randoms(use_true_random=False))
def test_deals_and_what_is_recorded_of_orders_may_come_in_any_order(events, random):
    deals = [event for event in events if event.time_msc == START_MSC + 4000]
    rest = [event for event in events if event not in deals]
    mixed = list(rest)
    for one in random.sample(deals, len(deals)):
        mixed.insert(random.randint(1, len(mixed)), one)
    [order], [other] = orders_of(*events), orders_of(*mixed)
    assert (order.state, order.filled, order.tickets) == (other.state, other.filled, other.tickets)


#: The moves of the model that is checked by exhaustion. "-": nothing yet, "A": at the broker, "X": absent.
MODEL_MOVES = {("-", "I"), ("I", "U"), ("I", "A"), ("I", "R"), ("U", "A"), ("U", "R"), ("U", "X")}


def test_the_states_make_every_move_of_the_model_that_is_checked_by_exhaustion():
    unknown = answered("unknown")
    ways = {
        ("-", "I"): [intended()],
        ("I", "U"): [intended(), unknown],
        ("I", "A"): [intended(), answered()],
        ("I", "R"): [intended(), answered("fenced")],
        ("U", "A"): [intended(), unknown, seen(1)],
        ("U", "R"): [intended(), unknown, resolved("rejected", "fence")],
        ("U", "X"): [intended(), unknown, resolved("absent", "absence")],
    }
    letters = {None: "-", "intended": "I", "unknown": "U", "working": "A", "rejected": "R", "absent": "X"}
    assert ways.keys() == MODEL_MOVES
    for move in MODEL_MOVES:
        path = [letters[state] for state in (None, *states(*ways[move]))]
        assert (path[-2], path[-1]) == move


def test_a_state_of_the_fold_is_what_it_goes_on_from():
    with Ledger.open("memory://", now_us=Clock(START_US)) as ledger:
        account = ledger.account(ACCOUNT)
        account.record_many(
            [opened(), intended(), answered(), deal(), seen(3), StopsSeen(position_id=7, sl=1, time_msc=START_MSC)]
        )
        found = account.replayed_orders(account.selection()[0])
        again = Orders.from_state(account.terms, found.state())
    assert again.state() == found.state()
    assert again.orders() == found.orders()


@pytest.mark.parametrize("precision", [1, 28])
def test_the_precision_that_an_engine_has_set_changes_no_order(precision):
    request = {"volume": "12.34"}
    deals = [deal(1, "4.56", price="1.23456"), deal(2, "4.57", price="1.23457")]
    with localcontext(prec=precision):
        [order] = orders_of(intended(**request), answered(), *deals)
        assert (order.state, order.filled, order.fill_price) == (
            OrderState.PARTIAL, Decimal("9.13"), Decimal("1.23456501"),
        )  # fmt: skip
        [whole] = orders_of(intended(**request), answered(), *deals, deal(3, "3.21"))
        assert (whole.state, whole.filled) == (OrderState.FILLED, Decimal("12.34"))
