"""Given, when, expected: every scenario of the design of orders, and the tests that cover it.

The list was collected from field reports, from what other programs' users reported, and from what was measured. Its numbers
are those of the design, O1 to O46. What no other file covers whole is here, as the row states it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import pytest

from ledger import CarrierBroken, FillRecorded, GatewayRefused, GatewayTimeout
from ledger.errors import OrdersRefused
from ledger.events.deals import Origin
from ledger.events.orders import Carrier, CarrierProven, HaltMode, HaltScope, Verdict
from ledger.journal import Selection
from ledger.order_decisions import apply_resolution, propose_resolution
from ledger.order_manager import Denied, Limits, OrderManager, OrderPolicy, OrderRequest
from ledger.orders.states import OrderState
from ledger.values import Side
from tests.support.broker import ScriptedGateway
from tests.support.commands import run
from tests.support.listed import require_tests
from tests.support.order_desk import OrderDesk

BUY: Final = OrderRequest.market("EURUSD", "buy", "0.1")
SELL: Final = OrderRequest.market("EURUSD", "sell", "0.1")
BUY_LIMIT: Final = OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.05")
PRESUME: Final = OrderPolicy(absence="presume")
STATES: Final = OrderState

_HERE: Final = "unit/test_order_scenarios.py::test_"
_MANAGER: Final = "unit/test_order_manager.py::test_"
_SERVED: Final = "gateway/test_orders_served.py::test_"
_SYNCED: Final = "unit/test_orders_reconciled.py::test_"

#: row -> (what it is about, the tests that cover it).
COVERED: Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    1: ("an order that fills", (f"{_HERE}an_order_is_intended_then_working_then_filled",
                                f"{_MANAGER}an_order_that_fills_leaves_an_intent_an_answer_and_its_fill")),
    2: ("denied by a rule", (f"{_HERE}a_denied_order_is_denied_again_under_its_id",)),
    3: ("two engines at once", (f"{_MANAGER}two_engines_cannot_both_pass_a_limit",)),
    4: ("the same id again, the same content", (f"{_SERVED}an_order_is_sent_once_and_its_answer_stored",
                                                f"{_MANAGER}what_was_sent_is_not_sent_again")),
    5: ("the same id again, other content", (f"{_SERVED}another_content_for_a_client_id_is_never_sent",
                                             f"{_MANAGER}an_id_names_one_request")),
    6: ("the reply times out", (f"{_MANAGER}no_answer_is_unknown_and_never_rejected",)),
    7: ("10012, and it is active", (f"{_HERE}an_order_that_timed_out_and_is_active_is_working",)),
    8: ("10012, and nothing is found", (f"{_HERE}an_order_that_is_found_nowhere_is_presumed_absent_and_watched",
                                        f"{_MANAGER}absence_is_presumed_after_agreeing_lookups_and_a_time")),
    9: ("as before, and the comment is not proven", (f"{_HERE}what_is_not_presumed_blocks_until_a_person_decides",
                                                     f"{_MANAGER}absence_is_not_presumed_of_a_carrier_that_is_not_proven")),
    10: ("the active list is None", (f"{_SERVED}a_list_that_is_none_is_no_lookup",
                                     f"{_HERE}an_answer_without_a_lookup_counts_for_nothing")),
    11: ("an equal order was there before", (f"{_MANAGER}an_order_that_merely_resembles_it_is_a_hint",)),
    12: ("10009, and the deals cannot be read", (f"{_HERE}an_order_whose_deals_cannot_be_read_counts_until_they_are",
                                                 f"{_SYNCED}a_deal_behind_an_answer_is_booked_however_old_it_is")),
    13: ("in neither list", (f"{_SYNCED}an_order_in_neither_list_is_missing_after_three_lookups_and_may_still_fill",)),
    14: ("network errors", (f"{_HERE}ten_network_errors_move_no_counter",
                            f"{_SYNCED}what_cannot_be_read_moves_no_counter_and_positions_sync")),
    15: ("a deal of an order that is done", (f"{_HERE}a_deal_of_an_order_that_is_done_counts",
                                             f"{_SYNCED}an_absent_order_is_watched_for_ever",
                                             f"{_SYNCED}a_late_fill_counts_and_is_a_break_until_the_record_shows_it")),
    16: ("a part is filled, the rest is gone", (f"{_HERE}what_was_filled_of_an_order_that_is_gone_stays",
                                                f"{_SYNCED}a_cancelled_order_keeps_what_was_filled")),
    17: ("more deals than ordered", (f"{_SYNCED}deals_beyond_the_volume_are_a_break_and_the_position_follows_them",)),
    18: ("less at the broker than our deals",
         (f"{_SYNCED}a_record_with_less_than_our_deals_is_a_break_and_no_negative_fill",)),
    19: ("an engine died before the send", (f"{_MANAGER}an_engine_that_died_before_the_send_is_proven_not_to_have_sent",
                                            f"{_SERVED}a_fence_keeps_an_order_from_ever_being_sent")),
    20: ("a message after its fence", (f"{_MANAGER}a_message_that_arrives_after_the_fence_is_refused",
                                       f"{_SERVED}a_fence_keeps_an_order_from_ever_being_sent")),
    21: ("a message after its time", (f"{_HERE}a_message_past_its_time_is_never_sent",
                                      f"{_SERVED}a_message_that_is_wrong_is_refused_and_never_stored")),
    22: ("the server died after it was received", (f"{_SERVED}what_was_received_when_the_service_died_was_never_executed",
                                                   "gateway/test_serve_requests.py::test_a_start_fences_what_was_received"
                                                   "_and_gives_up_what_was_being_sent")),
    23: ("the server died while it was sent", (
        "gateway/test_orders_killed.py::test_a_server_process_killed_during_a_call_leaves_an_order_that_is_looked_up",)),
    24: ("the terminal process died while it was sent", (
        f"{_HERE}an_order_executed_by_a_terminal_that_died_is_found_with_its_fill",
        f"{_SERVED}a_terminal_process_that_dies_inside_a_call_leaves_it_unresolved")),
    25: ("the call blocks", (f"{_SERVED}while_an_order_is_being_sent_all_else_is_answered_or_busy",
                             "gateway/test_push.py::test_a_call_that_blocks_degrades_the_sync_and_closes_nothing")),
    26: ("another store", (f"{_MANAGER}another_store_needs_a_person", f"{_SERVED}another_store_knows_nothing")),
    27: ("two tickets", (f"{_HERE}an_order_under_two_tickets_halts_and_both_fills_count",
                         f"{_SYNCED}one_token_on_two_tickets_halts_the_account_and_both_fills_count")),
    28: ("flat, one unknown", (f"{_HERE}an_unknown_order_from_flat_blocks_both_sides_of_its_symbol",)),
    29: ("hedging, an unknown close", (f"{_HERE}an_unknown_close_blocks_closes_of_its_position_alone",)),
    30: ("netting, an unknown sale of all", (f"{_HERE}an_unknown_sale_of_all_blocks_another_that_could_turn_the_position",
                                             "property/test_intervals.py"
                                             "::test_what_can_only_reduce_does_so_whatever_is_true")),
    31: ("unknown, and the switch", (f"{_HERE}with_the_switch_on_only_what_reduces_passes",)),
    32: ("a comment that is cut", (f"{_HERE}absence_is_not_presumed_where_comments_are_cut",
                                   f"{_HERE}a_market_order_that_fills_at_once_shows_what_its_record_carries",
                                   f"{_SYNCED}a_record_that_lacks_the_token_breaks_the_comment",
                                   "e2e/test_doctor_orders.py::test_what_the_journal_holds_has_a_line")),
    33: ("a comment that is too long", (f"{_SERVED}a_message_that_is_wrong_is_refused_and_never_stored",
                                        "gateway/test_mt5_requests.py::test_what_the_package_itself_refuses_was_not_sent"
                                        "_and_nothing_escapes")),
    34: ("numbers that do not fit", (f"{_SERVED}a_message_that_is_wrong_is_refused_and_never_stored",
                                     "gateway/test_mt5_requests.py::test_numbers_are_exact_until_the_call_and_fit_it")),
    35: ("a requote", (f"{_HERE}a_requote_is_rejected_and_its_retry_is_checked_again",
                       f"{_SERVED}a_rejection_is_definite")),
    36: ("a rejection with an order", (f"{_HERE}a_rejection_that_names_an_order_is_looked_up",
                                       f"{_SERVED}a_rejection_that_names_an_order_is_looked_up")),
    37: ("stops without a record", (f"{_SYNCED}stops_that_were_asked_for_and_are_there_fulfil_the_request",
                                    f"{_SYNCED}stops_that_were_asked_for_and_are_not_there_are_a_break",
                                    f"{_SYNCED}stops_that_the_broker_reports_as_set_and_does_not_show_are_a_break")),
    38: ("a cancellation that is refused", (f"{_HERE}a_cancellation_that_is_refused_is_decided_by_the_record",
                                            f"{_SYNCED}a_cancellation_whose_answer_is_lost_is_what_the_order_shows")),
    39: ("it fills while we are down", (f"{_SYNCED}a_pending_order_that_fills_while_we_are_down_explains_its_position",)),
    40: ("an order that we do not have", (f"{_SYNCED}an_order_of_a_person_is_what_the_policy_makes_it",
                                          f"{_SYNCED}an_order_with_our_token_is_ours_whatever_the_policy")),
    41: ("lost events", ("gateway/test_push.py::test_a_jump_of_numbers_is_asked_for_and_another_epoch_is_followed",
                         "gateway/test_push.py::test_a_gap_that_cannot_be_filled_is_a_reason_to_look",
                         "gateway/test_push.py::test_another_store_is_a_reason_to_look")),
    42: ("fills during a reconnect", (f"{_SYNCED}fills_without_any_event_are_booked_by_the_next_poll",)),
    43: ("a journal of yesterday", (f"{_HERE}a_journal_of_yesterday_gets_todays_orders_back_and_reuses_no_id",
                                    f"{_SYNCED}the_gateways_store_brings_orders_back_to_a_restored_journal")),
    44: ("a day that began with a loss", ("unit/test_market.py::test_the_day_of_a_firm_begins_with_what_was_open_then",
                                          "unit/test_limits.py"
                                          "::test_a_day_that_began_with_a_floating_loss_counts_all_of_it")),
    45: ("slots for exits", (f"{_HERE}slots_are_left_for_exits",)),
    46: ("a gateway that takes no orders", (f"{_HERE}a_gateway_that_takes_no_orders_is_refused_and_syncs",)),
}  # fmt: skip


@pytest.mark.parametrize("row", range(1, 47))
def test_every_scenario_has_tests(row):
    meaning, tests = COVERED[row]
    assert meaning
    require_tests(tests)


def test_no_other_scenario_is_listed():
    assert COVERED.keys() == set(range(1, 47))


# ------------------------------------------------------------------------------------------ what no other file covers


@pytest.fixture(params=["hedging", "netting"])
def desk(request) -> OrderDesk:
    return OrderDesk(request.param)


@pytest.fixture
def hedging() -> OrderDesk:
    return OrderDesk("hedging")


@pytest.fixture
def netting() -> OrderDesk:
    return OrderDesk("netting")


def started(desk: OrderDesk, **arguments: Any) -> Any:
    """Return an order manager; what it returns is looked at without asking whether it is None."""
    return OrderManager(desk.account, desk.gateway, **arguments)


def unknown(desk: OrderDesk, manager: Any, request: OrderRequest = BUY, outcome: str = "timeout") -> Any:
    """Send an order of which nobody knows what became of it."""
    desk.gateway.then(outcome)
    order = manager.submit(request)
    assert order.state is STATES.UNKNOWN
    return order


def denied_by(manager: Any, request: OrderRequest) -> str | None:
    """Return which rule denies a request; None where it is allowed."""
    found = manager.check_risk(request)
    return found.rule if isinstance(found, Denied) else None


def look(desk: OrderDesk, manager: Any, times: int) -> None:
    """Resolve so many times, a minute apart."""
    for _ in range(times):
        desk.watch.move(60)
        manager.resolve()


def prove(desk: OrderDesk) -> None:
    """Prove that the broker's order records have what was sent as a comment."""
    desk.account.record(CarrierProven(kind=Carrier.COMMENT, ticket=5, time_msc=desk.gateway.server_msc))


def named(desk: OrderDesk, kind: type) -> list[Any]:
    return [one.event for one in desk.account.events() if isinstance(one.event, kind)]


def breaks(desk: OrderDesk) -> list[tuple[str, str | None]]:
    return [(one.kind.value, one.field) for one in desk.account.portfolio.breaks]


def test_an_order_is_intended_then_working_then_filled(desk):
    """O1."""
    manager = started(desk, limits=Limits(volume_per_order_max="0.1"))
    before = desk.account.version
    order = manager.create_order(BUY)
    assert order.state is STATES.INTENDED
    order = manager.send_order(order)
    states: list[str] = []
    for version in range(before + 1, desk.account.version + 1):
        shown = desk.account.replayed_orders(Selection(version=version)).order(order.client_id)
        assert shown is not None
        states.append(shown.state.value)
    assert list(dict.fromkeys(states)) == ["intended", "working", "filled"]
    assert (order.verdict, order.retcode) == (Verdict.ACCEPTED, 10009)
    assert [fill.order for fill in named(desk, FillRecorded)] == [order.ticket]


def test_a_denied_order_is_denied_again_under_its_id(desk):
    """O2."""
    manager = started(desk, limits=Limits(volume_per_order_max="0.05"))
    order = manager.create_order(BUY, "ema-1")
    assert (order.state, order.why) == (STATES.DENIED, f"volume_per_order_max: {manager.check_risk(BUY).why}")
    version = desk.account.version
    assert manager.create_order(BUY, "ema-1") == order
    assert manager.submit(BUY, "ema-1") == order
    assert (desk.account.version, desk.gateway.executions) == (version, [])
    desk.watch.move(1)
    wider = started(desk, limits=Limits(volume_per_order_max="1"))
    assert (wider.submit(BUY, "ema-1"), denied_by(wider, BUY), desk.gateway.executions) == (order, None, [])


def test_an_order_that_timed_out_and_is_active_is_working(desk):
    """O7."""
    manager = started(desk)
    order = unknown(desk, manager, BUY_LIMIT, "timeout executed")
    manager.resolve()
    found = manager.order(order.client_id)
    assert (found.state, found.tickets) == (STATES.WORKING, tuple(desk.gateway.active))
    assert desk.gateway.calls.count("order_send") == 1


def test_an_order_that_is_found_nowhere_is_presumed_absent_and_watched(desk):
    """O8."""
    prove(desk)
    manager = started(desk, policy=PRESUME)
    order = unknown(desk, manager)
    look(desk, manager, 3)
    assert manager.order(order.client_id).state is STATES.UNKNOWN, "180 s are not enough"
    look(desk, manager, 1)
    assert manager.order(order.client_id).state is STATES.ABSENT
    desk.sync()
    assert manager.submit(BUY).state is STATES.FILLED
    desk.watch.move(100_000)
    desk.gateway.execute_late(order.client_id)
    desk.sync()
    assert manager.order(order.client_id).state is STATES.FILLED
    assert (breaks(desk), desk.net) == ([("order", "late_fill")], Decimal("0.2"))


def test_what_is_not_presumed_blocks_until_a_person_decides(desk):
    """O9."""
    manager = started(desk, policy=PRESUME)
    order = unknown(desk, manager)
    look(desk, manager, 10)
    desk.sync()
    assert (manager.order(order.client_id).state, denied_by(manager, BUY)) == (STATES.UNKNOWN, "unknown_orders")
    decided = propose_resolution(
        desk.account, client_id=order.client_id, outcome="absent", operator="mk", reason="asked the broker"
    )
    apply_resolution(desk.account, decided)
    assert (manager.order(order.client_id).state, denied_by(manager, BUY)) == (STATES.ABSENT, None)


def test_an_answer_without_a_lookup_counts_for_nothing(desk):
    """O10."""
    prove(desk)
    manager = started(desk, policy=PRESUME)
    order = unknown(desk, manager)
    desk.gateway.looks_up = False
    look(desk, manager, 10)
    assert manager.order(order.client_id).state is STATES.UNKNOWN
    desk.gateway.looks_up = True
    look(desk, manager, 2)
    assert manager.order(order.client_id).state is STATES.UNKNOWN, "three have to agree"
    look(desk, manager, 1)
    assert manager.order(order.client_id).state is STATES.ABSENT


def test_an_order_whose_deals_cannot_be_read_counts_until_they_are(desk):
    """O12."""
    manager = started(desk, limits=Limits(volume_per_symbol_max="0.1"))
    desk.gateway.fail(GatewayTimeout("no answer to GET_DEALS"), on="deals")
    order = manager.submit(BUY)
    assert (order.state, order.filled, desk.net) == (STATES.WORKING, 0, 0)
    assert denied_by(manager, BUY) == "volume_per_symbol_max"
    desk.gateway.recover()
    desk.sync()
    assert (manager.order(order.client_id).state, desk.net) == (STATES.FILLED, Decimal("0.1"))
    assert not {"PositionRecovered", "DriftCorrected"} & {type(one.event).__name__ for one in desk.account.events()}


def test_ten_network_errors_move_no_counter(desk):
    """O14."""
    prove(desk)
    manager = started(desk, policy=PRESUME)
    order = unknown(desk, manager)
    desk.gateway.fail(GatewayTimeout("no answer"), on="order_status", times=10)
    look(desk, manager, 12)
    assert manager.order(order.client_id).state is STATES.UNKNOWN, "two looked, and ten saw nothing"
    look(desk, manager, 1)
    assert manager.order(order.client_id).state is STATES.ABSENT


@pytest.mark.parametrize("ended", ["cancelled", "absent", "rejected"])
def test_a_deal_of_an_order_that_is_done_counts(ended, hedging):
    """O15, S66: half of it is executed after it was done."""
    prove(hedging)
    manager = started(hedging, policy=PRESUME)
    if ended == "absent":
        order = unknown(hedging, manager, BUY_LIMIT)
        look(hedging, manager, 4)
    else:
        order = manager.submit(BUY_LIMIT)
        hedging.gateway.end(order.ticket, state=2 if ended == "cancelled" else 5)
        hedging.sync()
    assert manager.order(order.client_id).state.value == ended
    ticket = hedging.gateway.execute_late(order.client_id, "0.05", ticket=order.ticket)
    hedging.sync()
    found = manager.order(order.client_id)
    assert (found.filled, found.tickets, hedging.net) == (Decimal("0.05"), (ticket,), Decimal("0.05"))
    assert found.state in (STATES.CANCELLED, STATES.FILLED)
    assert breaks(hedging) == [("order", "late_fill")]


def test_what_was_filled_of_an_order_that_is_gone_stays(desk):
    """O16, S67."""
    manager = started(desk)
    order = manager.submit(OrderRequest.pending("EURUSD", "buy", "1.0", type="limit", price="1.05"))
    desk.gateway.fill_pending(order.ticket, "0.4")
    desk.gateway.end(order.ticket, state=2)
    desk.sync()
    found = manager.order(order.client_id)
    assert (found.state, found.filled, desk.net, breaks(desk)) == (STATES.CANCELLED, Decimal("0.4"), Decimal("0.4"), [])


def test_a_message_past_its_time_is_never_sent(desk):
    """O21."""
    manager = started(desk)
    order = manager.create_order(BUY)
    desk.watch.move(31)
    order = manager.send_order(order)
    assert (order.state, desk.gateway.executions) == (STATES.REJECTED, [])
    assert order.verdict in (Verdict.EXPIRED, Verdict.FENCED)


def test_an_order_executed_by_a_terminal_that_died_is_found_with_its_fill(desk):
    """O24."""
    manager = started(desk)
    desk.gateway.then("killed executed")
    order = manager.submit(BUY)
    manager.resolve()
    assert manager.order(order.client_id).state is STATES.FILLED
    assert [(one.order, one.origin) for one in named(desk, FillRecorded)] == [
        (manager.order(order.client_id).ticket, Origin.RECOVERY)
    ]
    assert desk.gateway.executions == [order.client_id]


def test_an_order_under_two_tickets_halts_and_both_fills_count(desk):
    """O27."""
    manager = started(desk)
    desk.gateway.then("duplicate")
    order = manager.submit(BUY)
    manager.resolve()
    desk.sync()
    found = manager.order(order.client_id)
    assert (len(found.tickets), found.filled, desk.net) == (2, Decimal("0.2"), Decimal("0.2"))
    assert desk.account.current_orders()[1].halts[HaltScope.ACCOUNT, None] is HaltMode.ALL
    assert manager.submit(BUY).state is STATES.DENIED


def test_an_unknown_order_from_flat_blocks_both_sides_of_its_symbol(desk):
    """O28."""
    manager = started(desk, limits=Limits(volume_per_symbol_max="0.1"))
    unknown(desk, manager)
    assert denied_by(manager, BUY) == "unknown_orders"
    assert denied_by(manager, SELL) == "unknown_orders", "at one end it opens -0.1"
    assert denied_by(manager, OrderRequest.market("GBPUSD", "buy", "0.1")) is None


def test_an_unknown_close_blocks_closes_of_its_position_alone(hedging):
    """O29."""
    manager = started(hedging)
    one, other = manager.submit(BUY).ticket, manager.submit(BUY).ticket
    unknown(hedging, manager, OrderRequest.close(one))
    assert denied_by(manager, OrderRequest.close(one)) == "unknown_orders"
    assert denied_by(manager, OrderRequest.close(other)) is None


def test_an_unknown_sale_of_all_blocks_another_that_could_turn_the_position(netting):
    """O30."""
    manager = started(netting)
    manager.submit(OrderRequest.market("EURUSD", "buy", "1"))
    unknown(netting, manager, OrderRequest.market("EURUSD", "sell", "1"))
    assert denied_by(manager, OrderRequest.market("EURUSD", "sell", "1")) == "unknown_orders"


def test_with_the_switch_on_only_what_reduces_passes(hedging, tmp_path):
    """O31."""
    switch = tmp_path / "stop"
    manager = started(hedging, limits=Limits(kill_switch_file=str(switch)))
    position, pending = manager.submit(BUY).ticket, manager.submit(BUY_LIMIT)
    unknown(hedging, manager)
    gold = OrderRequest.market("XAUUSD", "buy", "0.1")
    assert denied_by(manager, gold) is None
    switch.touch()
    assert denied_by(manager, gold) == "kill_switch_file"
    assert denied_by(manager, BUY) is not None
    assert manager.cancel(pending.client_id).state is STATES.FILLED
    assert manager.submit(OrderRequest.close(position)).state is STATES.FILLED


def test_absence_is_not_presumed_where_comments_are_cut(desk):
    """O32."""
    prove(desk)
    desk.gateway.keeps_comments = False
    manager = started(desk, policy=PRESUME)
    manager.submit(BUY_LIMIT)
    desk.sync()
    assert [one.kind for one in named(desk, CarrierBroken)] == [Carrier.COMMENT]
    order = unknown(desk, manager)
    look(desk, manager, 10)
    assert manager.order(order.client_id).state is STATES.UNKNOWN


@pytest.mark.parametrize(("keeps", "found"), [(True, [CarrierProven]), (False, [CarrierBroken])])
def test_a_market_order_that_fills_at_once_shows_what_its_record_carries(keeps, found, desk):
    """O32: it was never among the active orders, and its fill was booked with its answer."""
    desk.gateway.keeps_comments = keeps
    manager = started(desk)
    assert [manager.submit(BUY).state for _ in range(2)] == [STATES.FILLED] * 2
    desk.sync(3)
    assert [type(one) for kind in (CarrierProven, CarrierBroken) for one in named(desk, kind)] == found
    assert desk.gateway.calls.count("order_history") == 1, "one record is enough"


def test_a_requote_is_rejected_and_its_retry_is_checked_again(desk):
    """O35."""
    manager = started(desk, limits=Limits(orders_per_minute_max=1))
    desk.gateway.refusal = {"retcode": 10004}
    desk.gateway.then("reject")
    order = manager.submit(BUY)
    assert (order.state, order.retcode, order.tickets) == (STATES.REJECTED, 10004, ())
    again = manager.submit(BUY)
    assert (again.state, again.client_id != order.client_id) == (STATES.DENIED, True)
    desk.watch.move(61)
    desk.sync()
    assert manager.submit(BUY).state is STATES.FILLED


def test_a_rejection_that_names_an_order_is_looked_up(desk):
    """O36."""
    manager = started(desk)
    desk.gateway.refusal = {"retcode": 10006, "order": 900}
    order = unknown(desk, manager, outcome="reject")
    look(desk, manager, 1)
    assert manager.order(order.client_id).state is STATES.UNKNOWN
    assert desk.gateway.calls.count("order_status") >= 1


@pytest.mark.parametrize("retcode", [10013, 10035])
@pytest.mark.parametrize("names_it", [False, True])
@pytest.mark.parametrize(("record", "state"), [(2, "cancelled"), (4, "filled"), (None, "working")])
def test_a_cancellation_that_is_refused_is_decided_by_the_record(retcode, names_it, record, state, hedging):
    """O38: the order was done meanwhile, which its own record shows; what cannot be read decides nothing."""
    manager = started(hedging)
    order = manager.submit(BUY_LIMIT)
    if record == 4:
        hedging.gateway.fill_pending(order.ticket)
    elif record is not None:
        hedging.gateway.end(order.ticket, state=record)
    hedging.gateway.refusal = {"retcode": retcode, "order": order.ticket if names_it else 0}
    hedging.gateway.then("reject")
    for call in ("active_orders", "order_history"):
        hedging.gateway.fail(GatewayRefused(call, code="BUSY"), on=call)
    cancel = manager.cancel(order.client_id)
    manager.resolve()
    assert manager.order(cancel.client_id).state is (STATES.UNKNOWN if names_it else STATES.REJECTED)
    assert manager.order(order.client_id).is_open
    hedging.gateway.recover()
    manager.resolve()
    hedging.sync()
    assert manager.order(order.client_id).state.value == state or record is None
    cancelled = {2: STATES.FILLED, 4: STATES.REJECTED, None: STATES.UNKNOWN}[record]
    assert manager.order(cancel.client_id).state is (cancelled if names_it else STATES.REJECTED)


def test_a_journal_of_yesterday_gets_todays_orders_back_and_reuses_no_id(tmp_path):
    """O43."""
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("desk", "restored")]
    desk = OrderDesk("hedging", urls[0])
    manager = started(desk)
    old = manager.submit(BUY)
    backup = str(tmp_path / "yesterday.db")
    assert run("backup", backup, journal=urls[0]).code == 0
    desk.watch.move(86_400)
    desk.sync()
    today = [manager.submit(BUY), manager.submit(BUY_LIMIT, "ema-1")]
    desk.ledger.close()
    assert run("restore", backup, journal=urls[1]).code == 0
    restored = OrderDesk("hedging", urls[1], gateway=desk.gateway, watch=desk.watch)
    again = started(restored)
    assert [again.order(one.client_id).state for one in (old, *today)] == [STATES.FILLED, STATES.FILLED, STATES.WORKING]
    assert (restored.net, breaks(restored)) == (Decimal("0.2"), [])
    sent = list(desk.gateway.executions)
    assert again.submit(BUY_LIMIT, "ema-1").tickets == today[1].tickets
    assert desk.gateway.executions == sent, "an id of the engine's own that was sent is not sent again"
    assert again.create_order(BUY).client_id not in sent
    restored.ledger.close()


def test_slots_are_left_for_exits(hedging):
    """O45: the account has 199 positions, and the broker allows 200."""
    hedging.gateway.state(10_000)
    hedging.gateway.orders_limit = 200
    positions = [hedging.gateway.trade(Side.BUY, "0.01") for _ in range(199)]
    hedging.sync(2)
    manager = started(hedging, limits=Limits(orders_max="broker", exit_slots=6))
    denied = manager.check_risk(BUY)
    assert isinstance(denied, Denied)
    assert (denied.rule, denied.limit, denied.value) == ("exit_slots", "194", "200")
    assert manager.submit(OrderRequest.close(positions[0])).state is STATES.FILLED
    assert denied_by(manager, OrderRequest.stops(positions[1], sl="1.05")) is None


def test_a_gateway_that_takes_no_orders_is_refused_and_syncs(desk):
    """O46."""
    base = ScriptedGateway(extended=False, now_us=desk.watch)
    with pytest.raises(OrdersRefused, match="ledger gateway serve"):
        OrderManager(desk.account, base)
    desk.gateway.can = frozenset({"push"})
    with pytest.raises(OrdersRefused, match="asked twice"):
        started(desk)
    version = desk.account.version
    desk.gateway.trade(Side.BUY, "0.1")
    desk.sync()
    assert (desk.net, desk.account.version > version) == (Decimal("0.1"), True)
