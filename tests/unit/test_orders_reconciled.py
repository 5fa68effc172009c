"""Orders and stops, reconciled with the broker's lists: facts, breaks, and what is never concluded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ledger import (
    BreakClosed,
    BreakOpened,
    CarrierBroken,
    CarrierProven,
    GatewayTimeout,
    OrderResolved,
    OrderSeen,
    StopsSeen,
    SyncStatus,
    TradingHalted,
)
from ledger.adjustments import apply, propose_acceptance
from ledger.events.orders import Carrier, HaltMode, HaltScope, OrderBasis, OrderOutcome
from ledger.snapshot import RemoteSymbol
from tests.support.broker import kinds
from tests.support.order_broker import CANCELED, EXPIRED, FILLED, SELL, TICKET, OrderDesk, refused
from tools.testkit.stories import SYMBOL


def orders_events(desk: OrderDesk, kind: type[Any]) -> list[Any]:
    return [one.event for one in desk.log if isinstance(one.event, kind)]


# ------------------------------------------------------------------------------------------------------------- gateways


@pytest.mark.parametrize("can", [None, frozenset({"push"})])
def test_a_gateway_that_takes_no_orders_is_asked_for_none(can):
    desk = OrderDesk(can=can)
    desk.working()
    assert desk.sync(3).status is SyncStatus.SUCCESS
    assert (desk.broker.calls.count("ping"), desk.broker.calls.count("active_orders")) == (1, 0)
    desk.broker.reconnections += 1
    desk.sync()
    assert desk.broker.calls.count("ping") == 2


def test_orders_that_agree_cost_one_request_and_no_event():
    desk = OrderDesk()
    desk.working()
    desk.quiet()
    desk.broker.calls.clear()
    assert (desk.sync().appended, desk.broker.calls) == (0, ["positions", "account", "deals", "active_orders"])
    desk.restarted()
    assert desk.sync().appended == 0


# ---------------------------------------------------------------------------------------------------------------- facts


def test_a_change_at_the_broker_is_a_fact():
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.change(TICKET, price_open=Decimal("10.5"), sl=Decimal(9))
    assert (kinds(desk.sync().events), desk.order_breaks) == (["OrderSeen"], [])
    assert orders_events(desk, OrderSeen)[-1].price_open == Decimal("10.5")
    desk.broker.change(TICKET, price_open=Decimal(10), sl=Decimal(0))
    assert kinds(desk.sync().events) == ["OrderSeen"]  # as it was before is a change, too
    assert desk.sync().appended == 0


def test_evidence_of_orders_is_their_own_answer():
    desk = OrderDesk()
    desk.working()
    desk.sync()
    [seen] = orders_events(desk, OrderSeen)
    assert b"RemoteOrder" in desk.account.evidence(seen.evidence)


@pytest.mark.parametrize(("state", "word"), [(CANCELED, "cancelled"), (EXPIRED, "expired")])
def test_an_order_that_left_the_list_is_what_the_history_shows(state, word):
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.finish(TICKET, state)
    assert (desk.sync().status, desk.states, desk.orders.active) == (SyncStatus.SUCCESS, [("c-1", word)], frozenset())
    assert desk.sync().appended == 0


def test_a_cancelled_order_keeps_what_was_filled():  # S67
    desk = OrderDesk()
    desk.working()
    desk.broker.fill(TICKET, "0.4")
    desk.sync()
    assert desk.states == [("c-1", "partial")]
    desk.broker.finish(TICKET)
    desk.quiet()
    assert (desk.order().state.value, desk.order().filled, desk.order_breaks) == ("cancelled", Decimal("0.4"), [])
    assert desk.left == "#901 long 0.4 @ 10"


def test_a_pending_order_that_fills_while_we_are_down_explains_its_position():  # O39
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.fill(TICKET)
    desk.watch.move(3600)
    desk.restarted()
    result = desk.startup()
    assert (result.status, desk.states, result.recovered) == (SyncStatus.SUCCESS, [("c-1", "filled")], ())
    assert not {"PositionRecovered", "DriftCorrected", "BreakOpened"} & set(kinds(desk.log))
    assert desk.sync().appended == 0


def test_fills_without_any_event_are_booked_by_the_next_poll():  # O42
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.fill(TICKET, "0.5")
    desk.broker.reconnections += 1
    desk.broker.fill(TICKET, "0.5")
    desk.sync()
    assert (desk.states, desk.left) == ([("c-1", "filled")], "#901 long 1 @ 10")


# --------------------------------------------------------------------------------------------------------------- missing


def test_an_order_in_neither_list_is_missing_after_three_lookups_and_may_still_fill():  # O13 = S65
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.hidden.add(TICKET)
    for count in (1, 2, 3, 3, 3):
        desk.restarted()  # no restart loses the count
        result = desk.sync()
        assert (desk.order_breaks, result.status) == ([("order", "missing", TICKET, count)], SyncStatus.PARTIAL)
        assert desk.states == [("c-1", "working")]
    assert desk.sync().appended == 0
    assert "nothing may replace it" in str(desk.reconciler.safe_to_trade(SYMBOL).why)
    desk.broker.fill(TICKET)
    desk.broker.hidden.clear()
    desk.quiet()
    assert (desk.states, desk.order_breaks) == ([("c-1", "filled")], [])
    assert orders_events(desk, BreakClosed)[-1].end.value == "explained"


def test_one_look_proves_nothing_and_is_forgotten_when_the_order_is_back():
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.hidden.add(TICKET)
    desk.sync()
    desk.broker.hidden.clear()
    desk.quiet()
    assert desk.order_breaks == []
    desk.broker.hidden.add(TICKET)
    desk.sync()
    assert desk.order_breaks == [("order", "missing", TICKET, 1)]


def test_an_order_answered_just_now_is_not_missing():
    desk = OrderDesk()
    desk.intend()
    desk.watch.move(14.5)
    desk.answer(order=TICKET)
    result = desk.reconciler.sync_positions()
    assert (desk.order_breaks, [one.kind for one in result.held]) == ([], ["order"])


@pytest.mark.parametrize("on", ["active_orders", "order_history", "ping"])
@pytest.mark.parametrize("error", [refused(), GatewayTimeout("no answer")])
def test_what_cannot_be_read_moves_no_counter_and_positions_sync(on, error):  # O14
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.hidden.add(TICKET)
    desk.broker.fail(error, on=on)
    desk.broker.reconnections += 1
    desk.broker.show("#7 long 1 @ 10")
    recovered: list[int] = []
    for _ in range(10):
        result = desk.sync()
        recovered += result.recovered
        assert (desk.order_breaks, result.status) == ([], SyncStatus.PARTIAL)
    assert recovered == [7]
    assert "could not be read" in str(desk.reconciler.safe_to_trade(SYMBOL).why)
    desk.broker.recover()
    desk.sync()
    assert desk.order_breaks == [("order", "missing", TICKET, 1)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"login": 1}, {"server": "Other"}, {"connected": False}, {"login": None}, {"server_time_msc": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_list_that_earns_no_trust_moves_no_counter(wrong):
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.active.clear()
    desk.broker.wrong = wrong
    assert (desk.sync(5).status, desk.order_breaks, desk.states) == (SyncStatus.PARTIAL, [], [("c-1", "working")])


def test_an_order_listed_twice_is_not_believed():
    desk = OrderDesk()
    desk.working()
    row = desk.broker.active[TICKET]
    desk.broker.active[TICKET + 1] = row
    assert "listed once" in desk.sync().held[0].why
    assert orders_events(desk, OrderSeen) == []


def test_lookups_at_one_moment_are_one_lookup():
    desk = OrderDesk(settle_sec=30)
    desk.working()
    desk.watch.move(60)
    desk.sync()
    desk.broker.hidden.add(TICKET)
    desk.watch.move(60)
    desk.sync()
    desk.sync()
    assert desk.order_breaks == [("order", "missing", TICKET, 1)]


# ------------------------------------------------------------------------------------------------------- deals of orders


def test_a_late_fill_counts_and_is_a_break_until_the_record_shows_it():  # O15 = S66
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.finish(TICKET)
    desk.sync()
    assert desk.states == [("c-1", "cancelled")]
    desk.broker.deal(TICKET, "0.4")
    result = desk.sync()
    assert (desk.order().state.value, desk.order().filled) == ("cancelled", Decimal("0.4"))
    assert desk.order_breaks == [("order", "late_fill", TICKET, 1)]
    assert (result.status, desk.left) == (SyncStatus.PARTIAL, "#901 long 0.4 @ 10")
    assert not desk.reconciler.safe_to_trade(SYMBOL)
    desk.broker.change(TICKET, volume_current=Decimal("0.6"))
    desk.quiet()
    assert desk.order_breaks == []


def test_a_late_fill_that_the_record_shows_is_a_break_for_one_sync():
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.finish(TICKET)
    desk.sync()
    desk.broker.deal(TICKET, 1)
    desk.broker.change(TICKET, volume_current=Decimal(0), state=FILLED)
    desk.sync()
    assert (desk.order_breaks, desk.states) == ([("order", "late_fill", TICKET, 1)], [("c-1", "filled")])
    desk.sync()
    assert (desk.order_breaks, desk.sync().appended) == ([], 0)


def test_an_absent_order_is_watched_for_ever():  # O15
    desk = OrderDesk()
    token = desk.intend()
    desk.answer(verdict="unknown", retcode=10012)
    desk.account.record(OrderResolved(client_id="c-1", number=1, outcome="absent", basis="absence", time_msc=desk.now()))
    desk.watch.move(100_000)
    desk.sync()
    desk.broker.place(TICKET, token=token)
    desk.broker.fill(TICKET)
    desk.sync()
    assert (desk.states, desk.order_breaks) == ([("c-1", "filled")], [("order", "late_fill", TICKET, 1)])
    desk.quiet()
    assert desk.order_breaks == []


def test_deals_beyond_the_volume_are_a_break_and_the_position_follows_them():  # O17 = S68
    desk = OrderDesk()
    desk.working()
    desk.broker.fill(TICKET)
    desk.broker.deal(TICKET, "0.1")
    desk.sync()
    assert (desk.order_breaks, desk.left) == ([("order", "overfill", TICKET, 1)], "#901 long 1.1 @ 10")
    desk.sync(2)
    assert (desk.order_breaks, desk.sync().appended) == ([("order", "overfill", TICKET, 1)], 0)
    desk.account.record(
        OrderResolved(
            client_id="c-1", number=1, outcome="executed", basis="person", operator="mk", reason="checked", tickets=[TICKET],
            time_msc=desk.now(),
        )
    )  # fmt: skip
    desk.quiet()
    assert desk.order_breaks == []
    assert {one.end.value for one in orders_events(desk, BreakClosed)} == {"accepted"}


@pytest.mark.parametrize("verdict", ["unknown", "accepted"])
@pytest.mark.parametrize("answered", [None, 0])
def test_an_answer_without_a_volume_is_no_overfill_of_an_order_that_names_none(answered, verdict):
    """A close of all that is held names no volume, and neither does an answer of 10012: its deals are not beyond either."""
    desk = OrderDesk()
    desk.working()
    desk.broker.fill(TICKET)
    desk.sync()
    token = desk.intend("c-2", kind="close", position_id=TICKET, symbol=SYMBOL)
    desk.answer("c-2", verdict, order=TICKET + 1, volume=answered)
    assert desk.order("c-2").volume is None
    desk.broker.place(TICKET + 1, token=token, type=1, position_id=TICKET)
    desk.broker.fill(TICKET + 1)
    desk.sync()
    assert [one for one in orders_events(desk, BreakOpened) if one.field == "overfill"] == []


def test_closing_by_another_position_is_no_overfill():
    desk = OrderDesk()
    desk.broker.place(TICKET, type=8)
    desk.sync()
    desk.broker.finish(TICKET, FILLED)
    desk.broker.change(TICKET, volume_current=Decimal(0))
    desk.broker.deal(TICKET, 1, position_id=7)
    desk.broker.deal(TICKET, 1, position_id=8)  # each of both positions has a deal of it
    desk.quiet()
    assert desk.order_breaks == []


def test_a_record_with_less_than_our_deals_is_a_break_and_no_negative_fill():  # O18 = S69
    desk = OrderDesk()
    desk.working()
    desk.broker.fill(TICKET, "0.5")
    desk.broker.change(TICKET, volume_current=Decimal("0.7"))
    desk.sync()
    desk.sync()
    assert (desk.order_breaks, desk.order().filled) == ([("order", "underfill", TICKET, 1)], Decimal("0.5"))
    desk.broker.change(TICKET, volume_current=Decimal("0.5"))
    desk.quiet()
    assert desk.order_breaks == []


def test_a_deal_behind_an_answer_is_booked_however_old_it_is():  # O12, C10
    desk = OrderDesk()
    desk.sync()
    token = desk.intend(kind="market")
    desk.broker.place(TICKET, token=token, type=0)
    desk.broker.fill(TICKET)
    desk.answer(order=TICKET, deal=5001)
    desk.watch.move(7200)
    newer = desk.fill(6000, 8, order=8)
    desk.account.record(newer)
    desk.broker.report(newer)
    desk.broker.show(f"#8 long 1 @ 10, #{TICKET} long 1 @ 10")
    desk.restarted()
    desk.watch.move(60)
    desk.broker.asked.clear()
    desk.broker.fail(refused("GET_DEALS"), on="deals", times=1)
    desk.sync()
    assert desk.order().filled == 0
    desk.sync()
    assert (desk.states, "PositionRecovered" in kinds(desk.log)) == ([("c-1", "filled")], False)
    assert [one["position"] for one in desk.broker.asked] == [None, None]  # it was found in the span, not by its position
    desk.intend("c-2", kind="market")
    desk.answer("c-2", verdict="unknown")
    desk.watch.move(7200)
    later = desk.fill(6001, 8, order=8)
    desk.account.record(later)
    desk.broker.report(later)
    desk.broker.show(f"#8 long 2 @ 10, #{TICKET} long 1 @ 10")
    spans = []
    for _ in range(2):
        desk.sync()
        spans.append(desk.broker.asked[-1]["from_msc"] or 0)
    assert spans[0] < spans[1]  # once as it is, not at every sync


def test_a_record_is_not_held_against_deals_of_just_now():
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.watch.move(14)
    desk.account.record(desk.fill(6000, TICKET, order=TICKET, volume="0.5"))  # the engine's; the terminal's list lags
    desk.broker.report(desk.fill(6000, TICKET, order=TICKET, volume="0.5"))
    desk.broker.show(f"#{TICKET} long 0.5 @ 10")
    result = desk.reconciler.sync_positions()
    assert (desk.order_breaks, [one.kind for one in result.held]) == ([], ["order"])
    desk.sync(2)
    assert desk.order_breaks == [("order", "underfill", TICKET, 1)]


def test_nothing_is_judged_while_deals_cannot_be_read():
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.hidden.add(TICKET)
    desk.broker.fail(refused("GET_DEALS"), on="deals", times=2)
    desk.sync(2)
    assert desk.order_breaks == []
    desk.sync()
    assert desk.order_breaks == [("order", "missing", TICKET, 1)]


def test_what_is_done_is_not_looked_for_again():
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.broker.finish(TICKET, FILLED)  # its deals do not come
    desk.quiet()
    desk.broker.looked.clear()
    desk.sync(3)
    assert (desk.states, desk.broker.looked) == ([("c-1", "partial")], [])


# ------------------------------------------------------------------------------------------------------ whose an order is


def test_an_unknown_order_is_found_by_its_token():  # O7
    desk = OrderDesk()
    token = desk.intend()
    desk.answer(verdict="unknown", retcode=10012)
    desk.broker.place(TICKET, token=token + "abc")
    desk.sync()
    assert (desk.states, desk.order().ticket) == ([("c-1", "working")], TICKET)


def test_an_executed_order_is_found_by_the_ticket_that_its_deal_names():
    desk = OrderDesk()
    token = desk.intend(kind="market")
    desk.answer(verdict="unknown", retcode=10012)
    desk.sync()
    desk.broker.place(TICKET, token=token, type=0)
    desk.broker.fill(TICKET)
    desk.sync()
    assert desk.states == [("c-1", "filled")]


@pytest.mark.parametrize(
    ("foreign", "breaks", "states"),
    [
        ("adopt", [], [(f"#{TICKET}", "working")]),
        ("report", [("order", "orphan", TICKET, 1)], []),
        ("ignore", [], []),
    ],
)
def test_an_order_of_a_person_is_what_the_policy_makes_it(foreign, breaks, states):  # O40
    desk = OrderDesk(foreign=foreign)
    desk.broker.place(TICKET)
    desk.sync()
    assert (desk.order_breaks, desk.states) == (breaks, states)
    assert desk.sync(3).appended == 0
    desk.broker.finish(TICKET)
    desk.quiet()
    assert desk.order_breaks == []
    assert [state for _, state in desk.states] == ["cancelled"] * len(states)


def test_an_order_with_our_token_is_ours_whatever_the_policy():  # O40
    desk = OrderDesk(foreign="report")
    desk.broker.place(TICKET, token=desk.intend())
    desk.sync()
    assert (desk.order_breaks, desk.states) == ([], [("c-1", "working")])


def test_the_gateways_store_brings_orders_back_to_a_restored_journal():  # O43
    desk = OrderDesk(foreign="report")
    desk.broker.place(TICKET, token=desk.token("c-9"), client_id="c-9")
    desk.broker.place(TICKET + 1, token=desk.token("c-8"), client_id="c-7")  # the two do not agree: it is nobody's
    desk.sync()
    assert desk.states == [("c-9", "working")]
    assert desk.order_breaks == [("order", "orphan", TICKET + 1, 1)]


def test_a_magic_number_of_its_own_makes_an_order_ours():
    desk = OrderDesk(foreign="report")
    unique, shared = 5 * 2**24 + 1, 77
    desk.intend("c-1", magic=unique)
    desk.intend("c-2", magic=shared)
    desk.broker.place(TICKET, magic=unique)
    desk.broker.place(TICKET + 1, magic=shared)
    desk.sync()
    assert (desk.order("c-1").ticket, desk.order("c-2").ticket) == (TICKET, None)


def test_what_a_stop_closes_is_no_second_execution():
    desk = OrderDesk()
    desk.working()
    desk.broker.fill(TICKET)
    desk.sync()
    desk.broker.place(TICKET + 1, token=desk.token(), type=SELL, reason=4)
    desk.broker.place(TICKET + 2, token=desk.token(), type=SELL, reason=1, position_id=TICKET)
    desk.sync()
    assert (orders_events(desk, TradingHalted), desk.order().tickets) == ([], (TICKET,))


def test_one_token_on_two_tickets_halts_the_account_and_both_fills_count():  # O27
    desk = OrderDesk()
    token = desk.intend(kind="market", volume=2)
    desk.answer(order=TICKET)
    desk.broker.place(TICKET, token=token, type=0)
    desk.broker.fill(TICKET)
    desk.sync()
    assert orders_events(desk, TradingHalted) == []
    desk.broker.place(TICKET + 1, token=token, type=0)
    desk.broker.fill(TICKET + 1)
    desk.restarted()
    desk.sync()
    [halt], [resolved] = orders_events(desk, TradingHalted), orders_events(desk, OrderResolved)
    assert (halt.scope, halt.mode, halt.rule) == (HaltScope.ACCOUNT, HaltMode.ALL, "duplicate")
    assert (resolved.outcome, resolved.tickets, resolved.basis) == (
        OrderOutcome.DUPLICATE, (TICKET, TICKET + 1), OrderBasis.TOKEN,
    )  # fmt: skip
    assert (desk.order().filled, desk.left) == (2, "#901 long 1 @ 10, #902 long 1 @ 10")
    desk.quiet()
    assert len(orders_events(desk, TradingHalted)) == 1


def test_two_orders_of_one_token_at_once_are_a_duplicate():
    desk = OrderDesk()
    token = desk.intend()
    desk.broker.place(TICKET, token=token)
    desk.broker.place(TICKET + 1, token=token)
    desk.sync()
    [resolved] = orders_events(desk, OrderResolved)
    assert (resolved.tickets, len(orders_events(desk, TradingHalted))) == ((TICKET, TICKET + 1), 1)
    assert desk.sync().appended == 0


# ------------------------------------------------------------------------------------------------------------- carriers


def test_a_record_that_has_the_token_proves_the_comment():
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.working(TICKET + 1, "c-2")
    desk.sync()
    assert [one.ticket for one in orders_events(desk, CarrierProven)] == [TICKET]
    assert desk.orders.carriers == {Carrier.COMMENT: True}


@pytest.mark.parametrize("comment", [None, "", "LAAAA"])
def test_a_record_that_lacks_the_token_breaks_the_comment(comment):  # O32
    desk = OrderDesk()
    desk.intend()
    desk.broker.place(TICKET, comment=comment)
    desk.answer(order=TICKET)
    desk.sync()
    [broken] = orders_events(desk, CarrierBroken)
    assert (broken.found or "", desk.orders.carriers, desk.order().ticket) == (comment or "", {Carrier.COMMENT: False}, TICKET)
    assert desk.sync().appended == 0


def test_an_order_found_by_its_token_alone_proves_nothing():
    desk = OrderDesk()
    desk.broker.place(TICKET, token=desk.intend())
    desk.sync()
    assert desk.orders.carriers == {}


# ------------------------------------------------------------------------------------------------ requests about orders


@pytest.mark.parametrize(
    ("happens", "state"), [(CANCELED, "filled"), (FILLED, "rejected"), (EXPIRED, "rejected"), (None, "unknown")]
)
def test_a_cancellation_whose_answer_is_lost_is_what_the_order_shows(happens, state):  # O38
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.intend("c-2", kind="cancel", target_order=TICKET)
    desk.answer("c-2", verdict="unknown", retcode=10012)
    if happens == FILLED:
        desk.broker.fill(TICKET)
    elif happens is not None:
        desk.broker.finish(TICKET, happens)
    desk.watch.move(5)
    desk.broker.fail(refused(), on="active_orders", times=2)
    desk.sync(2)
    assert desk.order("c-2").state.value == "unknown"  # what cannot be read is not gone
    desk.sync()
    assert desk.order("c-2").state.value == state
    desk.quiet()


def test_a_change_whose_answer_is_lost_is_what_the_order_shows():
    desk = OrderDesk()
    desk.working()
    desk.sync()
    desk.intend("c-2", kind="modify", target_client_id="c-1", price="10.5")
    desk.sync()
    desk.sync()
    assert desk.order("c-2").state.value == "intended"
    desk.broker.change(TICKET, price_open=Decimal("10.5"))
    desk.sync()
    assert desk.order("c-2").state.value == "filled"


# ---------------------------------------------------------------------------------------------------------------- stops


def holding(**terms: Any) -> OrderDesk:
    """Return a desk with a position of ours, without stops."""
    desk = OrderDesk(**terms)
    desk.intend(kind="market")
    desk.broker.place(TICKET, token=desk.token(), type=0)
    desk.broker.fill(TICKET)
    desk.answer(order=TICKET)
    desk.watch.move(30)
    desk.quiet()
    return desk


def test_stops_that_change_are_a_fact():
    desk = holding()
    assert orders_events(desk, StopsSeen) == []
    desk.broker.stops[TICKET] = (Decimal(9), Decimal(0))
    assert kinds(desk.sync().events) == ["StopsSeen"]
    desk.broker.stops[TICKET] = (Decimal("9.5"), Decimal(12))
    desk.sync()
    assert (desk.orders.stops[TICKET], desk.sync().appended) == ((Decimal("9.5"), Decimal(12)), 0)
    assert desk.order_breaks == []


@pytest.mark.parametrize("verdict", ["accepted", "unknown"])
def test_stops_that_were_asked_for_and_are_there_fulfil_the_request(verdict):  # O37
    desk = holding()
    desk.intend("c-2", kind="stops", position_id=TICKET, sl=9)
    desk.answer("c-2", verdict=verdict)
    desk.broker.stops[TICKET] = (Decimal(9), Decimal(0))
    desk.sync()
    assert (desk.order("c-2").state.value, orders_events(desk, StopsSeen)[-1].client_id) == ("filled", "c-2")
    assert desk.sync().appended == 0


def test_stops_that_were_asked_for_and_are_not_there_are_a_break():  # O37
    desk = holding()
    desk.intend("c-2", kind="stops", position_id=TICKET, sl=9)
    desk.watch.move(13.5)
    desk.answer("c-2")
    assert [one.kind for one in desk.reconciler.sync_positions().held] == ["stops"]
    assert desk.order_breaks == []  # it was asked for just now
    desk.sync()
    assert desk.order_breaks == [("stops", "missing", TICKET, 1)]
    assert not desk.reconciler.safe_to_trade(SYMBOL)
    assert desk.sync().appended == 0
    desk.broker.stops[TICKET] = (Decimal(9), Decimal(0))
    desk.quiet()
    assert (desk.order_breaks, desk.order("c-2").state.value) == ([], "filled")


def test_stops_that_the_broker_reports_as_set_and_does_not_show_are_a_break():  # O37: 10025
    desk = holding()
    desk.intend("c-2", kind="stops", position_id=TICKET, sl=9)
    desk.answer("c-2", "no_change", retcode=10025)
    assert desk.order("c-2").state.value == "filled"
    desk.sync(2)
    assert desk.order_breaks == [("stops", "missing", TICKET, 1)]
    desk.broker.stops[TICKET] = (Decimal(9), Decimal(0))
    desk.quiet()
    assert (desk.order_breaks, desk.order("c-2").state.value) == ([], "filled")


def test_a_stop_that_the_broker_dropped_is_a_break():
    desk = holding()
    desk.intend("c-2", kind="stops", position_id=TICKET, sl=9)
    desk.answer("c-2")
    desk.broker.stops[TICKET] = (Decimal(9), Decimal(0))
    desk.sync(2)
    desk.broker.stops[TICKET] = (Decimal("9.5"), Decimal(0))  # moved, not lost
    desk.sync()
    assert desk.order_breaks == []
    desk.broker.stops[TICKET] = (Decimal(0), Decimal(0))
    desk.sync()
    assert desk.order_breaks == [("stops", "missing", TICKET, 1)]
    apply(desk.account, propose_acceptance(desk.account, position_id=TICKET, operator="mk", reason="on purpose"))
    assert ([desk.sync().appended for _ in range(2)], desk.order_breaks) == ([0, 0], [])
    desk.broker.stops[TICKET] = (Decimal(0), Decimal(12))
    desk.sync()
    assert desk.order_breaks == [("stops", "missing", TICKET, 1)]
    desk.broker.show("")
    desk.broker.deal(TICKET + 1, 1, position_id=TICKET, side="sell", entry="out", profit=0)
    desk.broker.show("")
    desk.quiet()
    assert desk.order_breaks == []


def test_a_stop_that_came_with_an_order_and_is_not_there_is_a_break():
    desk = OrderDesk()
    desk.intend(kind="market", sl=9)
    desk.broker.place(TICKET, token=desk.token(), type=0)
    desk.broker.fill(TICKET)
    desk.answer(order=TICKET)
    desk.watch.move(30)
    desk.sync()
    assert desk.order_breaks == [("stops", "missing", TICKET, 1)]
    assert desk.sync().appended == 0


@pytest.mark.parametrize(("shown", "state"), [("9.000004", "filled"), ("9.000006", "working")])
def test_half_a_point_is_no_difference(shown, state):
    desk = holding()
    desk.broker.specs = (RemoteSymbol(symbol=SYMBOL, digits=5),)
    desk.restarted()
    desk.sync()
    desk.intend("c-2", kind="stops", position_id=TICKET, sl=9)
    desk.answer("c-2")
    desk.broker.stops[TICKET] = (Decimal(shown), Decimal(0))
    desk.sync()
    assert desk.order("c-2").state.value == state


@pytest.mark.parametrize(("verdict", "state"), [("accepted", "rejected"), ("unknown", "absent")])
def test_a_request_about_the_stops_of_a_position_that_is_gone_is_over(verdict, state):
    desk = holding()
    desk.intend("c-2", kind="stops", position_id=TICKET, sl=9)
    desk.answer("c-2", verdict)
    desk.sync()
    assert desk.order("c-2").is_open, "the position is there"
    desk.broker.deal(TICKET + 1, 1, position_id=TICKET, side="sell", entry="out", profit=0)
    desk.broker.show("")
    desk.quiet()
    assert (desk.order("c-2").state.value, desk.left) == (state, "flat")


# ---------------------------------------------------------------------------------------------------------- the manager


class Resolver:
    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    def resolve(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


def test_a_sync_lets_the_manager_resolve_what_is_late_or_unknown():
    manager = Resolver()
    desk = OrderDesk(orders=manager)
    desk.sync()
    assert manager.calls == 0
    desk.intend()
    desk.reconciler.sync_positions()  # whether its answer is late, the manager knows
    assert manager.calls == 1
    desk.answer(verdict="unknown")
    manager.error = refused("ORDER_STATUS")
    result = desk.sync()
    assert (manager.calls, result.status, result.held[0].kind) == (2, SyncStatus.PARTIAL, "orders")
    desk.reconciler.dry_run()
    assert manager.calls == 2


def test_an_unknown_order_makes_its_symbol_unsafe():
    desk = OrderDesk()
    desk.sync()
    assert desk.reconciler.safe_to_trade(SYMBOL)
    desk.intend()
    assert desk.reconciler.safe_to_trade(SYMBOL)
    desk.watch.move(6)
    verdict = desk.reconciler.safe_to_trade(SYMBOL)
    assert (verdict.is_safe, "c-1" in str(verdict.why)) == (False, True)
    assert not desk.reconciler.safe_to_trade()
    assert desk.reconciler.safe_to_trade("USDJPY")
