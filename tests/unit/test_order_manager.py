"""The order manager at work: an engine that orders, a broker that does something with each order, and what is known afterwards.

Numbers like O6 are those of the cases that the design lists.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from decimal import Decimal
from itertools import count
from typing import Any

import attrs
import pytest

from ledger import (
    FillRecorded,
    GatewayError,
    GatewayTimeout,
    JournalUnavailable,
    OrderAnswered,
    OrderConflict,
    OrdersRefused,
    SyncStatus,
)
from ledger.events.orders import Carrier, CarrierProven, HaltMode, HaltScope, Verdict
from ledger.order_manager import Denied, Limits, OrderManager, OrderPolicy, OrderRequest
from ledger.order_messages import RequestState
from ledger.orders.states import OrderState
from ledger.reconciler.orders import OrdersPhase
from tests.support.broker import ACCOUNT, ScriptedGateway
from tests.support.order_desk import OrderDesk

BUY = OrderRequest.market("EURUSD", "buy", "0.1")
PRESUME = OrderPolicy(absence="presume")
STATES = OrderState


@pytest.fixture(params=["hedging", "netting"])
def desk(request) -> OrderDesk:
    return OrderDesk(request.param)


@pytest.fixture
def hedging() -> OrderDesk:
    return OrderDesk("hedging")


def started(desk: OrderDesk, **arguments: Any) -> Any:
    """Return an order manager; what it returns is looked at without asking whether it is None."""
    return OrderManager(desk.account, desk.gateway, **arguments)


def kinds_of(desk: OrderDesk, client_id: str) -> list[str]:
    """Return the kinds of the events about one order, in order."""
    return [type(one.event).__name__ for one in desk.account.events() if getattr(one.event, "client_id", None) == client_id]


# ---- the straight way


def test_an_order_that_fills_leaves_an_intent_an_answer_and_its_fill(desk):  # O1
    order = started(desk).submit(BUY)
    assert (order.state, order.filled, desk.net) == (STATES.FILLED, Decimal("0.1"), Decimal("0.1"))
    assert kinds_of(desk, order.client_id) == ["OrderIntended", "OrderAnswered"]
    assert desk.gateway.executions == [order.client_id]


@pytest.mark.parametrize(("outcome", "origin"), [("fill", "engine"), ("killed executed", "recovery")])
def test_a_fill_states_whether_its_engine_waited_for_it(desk, outcome, origin):
    manager = started(desk)
    desk.gateway.then(outcome)
    manager.submit(BUY)
    manager.resolve()
    desk.sync(2)
    about_deals = [one.event for one in desk.account.events() if hasattr(one.event, "deal") and hasattr(one.event, "volume")]
    fills = [one for one in about_deals if not isinstance(one, OrderAnswered)]
    assert [(type(one), one.origin.value) for one in fills] == [(FillRecorded, origin)], "a sync finds nothing new"


def test_the_intent_is_durable_before_anything_is_sent(desk):
    seen = []
    desk.gateway.meanwhile(lambda: None)
    send = desk.gateway.order_send

    def order_send(message, **arguments):
        seen.extend(kinds_of(desk, message.client_id))
        return send(message, **arguments)

    desk.gateway.order_send = order_send
    started(desk).submit(BUY)
    assert seen == ["OrderIntended"]


def test_an_order_can_be_checked_recorded_and_sent_step_by_step(desk):
    manager = started(desk)
    assert manager.check_risk(BUY).is_allowed
    order = manager.create_order(BUY, "ema-1")
    assert (order.state, desk.gateway.executions) == (STATES.INTENDED, [])
    assert manager.send_order(order).state is STATES.FILLED
    assert manager.find_order_by_ticket(order.ticket or manager.order("ema-1").ticket).client_id == "ema-1"
    assert list(manager.get_local_positions()) == [manager.order("ema-1").ticket]


def test_what_was_sent_is_not_sent_again(desk):  # O4
    manager = started(desk)
    order = manager.create_order(BUY, "ema-1")
    manager.send_order(order)
    again = manager.send_order(order)
    assert (again.state, desk.gateway.executions) == (STATES.FILLED, ["ema-1"])
    assert manager.submit(BUY, "ema-1").state is STATES.FILLED
    assert desk.gateway.executions == ["ema-1"]


def test_an_id_that_is_known_is_not_sent_by_another_process(desk):  # C13
    one, other = started(desk), started(desk)
    order = one.create_order(BUY, "ema-1")
    assert other.send_order(other.create_order(BUY, "ema-1")).state is STATES.INTENDED
    assert desk.gateway.executions == []
    assert one.send_order(order).state is STATES.FILLED


def test_an_id_names_one_request(desk):  # O5
    manager = started(desk)
    manager.submit(BUY, "ema-1")
    with pytest.raises(OrderConflict, match="volume"):
        manager.submit(OrderRequest.market("EURUSD", "buy", "0.2"), "ema-1")
    assert (manager.order("ema-1").state, desk.gateway.executions) == (STATES.FILLED, ["ema-1"])


def test_a_refused_order_is_rejected_and_may_be_tried_under_a_new_id(desk):  # O35
    manager = started(desk)
    desk.gateway.then("reject")
    assert manager.submit(BUY).state is STATES.REJECTED
    assert manager.submit(BUY).state is STATES.FILLED
    assert desk.net == Decimal("0.1")


def test_a_message_that_the_gateway_refuses_is_fenced_and_its_reason_recorded(desk):
    manager = started(desk)
    desk.gateway.then("refuse")
    order = manager.submit(BUY)
    assert (order.state, order.why) == (STATES.REJECTED, "answered fenced: BAD_REQUEST volume: off the step")
    assert desk.gateway.rows[order.client_id][0] is RequestState.FENCED


def test_an_answer_about_another_order_is_no_answer(desk):
    manager = started(desk)
    other = manager.submit(BUY)
    send, status = desk.gateway.order_send, desk.gateway.order_status
    desk.gateway.order_send = lambda message, **named: attrs.evolve(send(message, **named), client_id=other.client_id)
    desk.gateway.order_status = lambda _, **named: status(other.client_id, **named)
    order = manager.submit(OrderRequest.market("EURUSD", "sell", "0.1"))
    assert (order.state, kinds_of(desk, order.client_id)) == (STATES.UNKNOWN, ["OrderIntended"])


def test_an_order_asks_and_reads_no_more_than_it_needs(desk, monkeypatch):
    manager = started(desk)
    manager.submit(BUY)
    counts: Counter[str] = Counter()

    def count(name: str) -> None:
        ask = getattr(desk.ledger.journal, name)

        def counted(*arguments, **named):
            counts[name] += 1
            return ask(*arguments, **named)

        monkeypatch.setattr(desk.ledger.journal, name, counted)

    for name in ("head", "terms", "append"):
        count(name)
    desk.gateway.calls.clear()
    assert manager.submit(BUY).state is STATES.FILLED
    assert desk.gateway.calls == ["order_send", "deals"]
    assert (counts["append"], counts["terms"]) == (3, 0)
    assert counts["head"] <= 7


# ---- denied by our own rules


def test_a_denied_order_is_recorded_and_never_sent(desk):  # O2
    manager = started(desk, limits=Limits(volume_per_order_max="0.05"))
    order = manager.submit(BUY, "ema-1")
    assert (order.state, kinds_of(desk, "ema-1")) == (STATES.DENIED, ["OrderDenied"])
    assert manager.submit(BUY, "ema-1").state is STATES.DENIED
    assert "order_send" not in desk.gateway.calls


def test_checking_changes_nothing(desk):
    manager = started(desk, limits=Limits(volume_per_order_max="0.05"))
    version = desk.account.version
    assert isinstance(manager.check_risk(BUY), Denied)
    assert desk.account.version == version


def test_limits_that_are_given_are_recorded_once(desk):
    started(desk, limits=Limits(volume_per_order_max="0.05"))
    version = desk.account.version
    started(desk, limits=Limits(volume_per_order_max="0.05"))
    assert desk.account.version == version
    assert isinstance(started(desk).check_risk(BUY), Denied), "the recorded ones apply"


def test_two_engines_cannot_both_pass_a_limit(desk):  # O3
    limits = Limits(volume_per_symbol_max="1")
    one, other = started(desk, limits=limits), started(desk, limits=limits)
    request = OrderRequest.market("EURUSD", "buy", "0.6")
    read = other._market.read

    def read_while_the_other_orders(*arguments, **named):
        market = read(*arguments, **named)
        if not one.orders():
            one.create_order(request)
        return market

    other._market.read = read_while_the_other_orders
    assert other.create_order(request).state is STATES.DENIED
    assert [order.state for order in other.orders()] == [STATES.INTENDED, STATES.DENIED]


# ---- unknown


def test_no_answer_is_unknown_and_never_rejected(desk):  # O6, 64
    manager = started(desk)
    desk.gateway.then("sending")
    order = manager.submit(BUY)
    assert order.state is STATES.UNKNOWN
    assert kinds_of(desk, order.client_id) == ["OrderIntended"], "a missed deadline is no answer"
    desk.gateway.finish()
    manager.resolve()
    desk.sync(2)
    assert (manager.order(order.client_id).state, desk.net) == (STATES.FILLED, Decimal("0.1"))


def test_an_order_whose_answer_is_late_blocks_before_its_time_is_over(desk):  # R4: for whoever waited, it is unknown already
    manager = started(desk)
    desk.gateway.then("sending")
    assert manager.submit(BUY).state is STATES.UNKNOWN
    denied = manager.check_risk(BUY)
    assert isinstance(denied, Denied)
    assert denied.rule == "unknown_orders"
    assert manager.submit(BUY).state is STATES.DENIED
    desk.gateway.finish()
    manager.resolve()
    assert manager.submit(BUY).state is STATES.FILLED


@pytest.mark.parametrize("outcome", ["answer lost", "timeout executed", "killed executed"])
def test_an_executed_order_is_found_and_its_fill_recorded(desk, outcome):  # O23, O24, C6 to C8
    manager = started(desk)
    desk.gateway.then(outcome)
    order = manager.submit(BUY)
    manager.resolve()
    desk.sync()
    assert (manager.order(order.client_id).state, desk.net) == (STATES.FILLED, Decimal("0.1"))
    assert desk.gateway.executions == [order.client_id]


def test_a_message_that_was_lost_is_fenced_and_proven_not_sent(desk):  # C2, O19
    manager = started(desk)
    desk.gateway.then("lost")
    order = manager.submit(BUY)
    assert (order.state, order.verdict) == (STATES.REJECTED, Verdict.FENCED)
    assert desk.gateway.executions == []
    assert manager.submit(BUY).state is STATES.FILLED


def test_a_message_that_arrives_after_the_fence_is_refused(desk):  # O20
    manager = started(desk)
    desk.gateway.then("late")
    order = manager.submit(BUY)
    assert order.state is STATES.REJECTED
    assert desk.gateway.deliver() is None
    assert desk.gateway.executions == []


@pytest.mark.parametrize("outcome", ["timeout", "killed"])
def test_what_nobody_finds_stays_unknown_and_blocks(desk, outcome):  # O8, O9: a person decides
    manager = started(desk)
    desk.gateway.then(outcome)
    order = manager.submit(BUY)
    for _ in range(10):
        desk.watch.move(60)
        manager.resolve()
    assert manager.order(order.client_id).state is STATES.UNKNOWN
    desk.sync()
    assert manager.submit(BUY).state is STATES.DENIED
    assert manager.check_risk(OrderRequest.market("GBPUSD", "buy", "0.1")).is_allowed, "another symbol is free"


def test_absence_is_presumed_after_agreeing_lookups_and_a_time(desk):  # O8
    desk.account.record(CarrierProven(kind=Carrier.COMMENT, ticket=5, time_msc=desk.gateway.server_msc))
    manager = started(desk, policy=PRESUME)
    desk.gateway.then("timeout")
    order = manager.submit(BUY)
    states = []
    for _ in range(6):
        desk.watch.move(60)
        manager.resolve()
        states.append(manager.order(order.client_id).state)
    assert states == [STATES.UNKNOWN] * 3 + [STATES.ABSENT] * 3
    desk.sync()
    assert manager.submit(BUY).state is STATES.FILLED


def test_absence_is_not_presumed_of_a_carrier_that_is_not_proven(desk):  # O9
    manager = started(desk, policy=PRESUME)
    desk.gateway.then("timeout")
    order = manager.submit(BUY)
    for _ in range(10):
        desk.watch.move(60)
        manager.resolve()
    assert manager.order(order.client_id).state is STATES.UNKNOWN


def test_lookups_of_a_terminal_that_is_not_connected_prove_nothing(desk):  # O10, O14
    desk.account.record(CarrierProven(kind=Carrier.COMMENT, ticket=5, time_msc=desk.gateway.server_msc))
    manager = started(desk, policy=PRESUME)
    desk.gateway.then("timeout")
    order = manager.submit(BUY)
    desk.gateway.connected = False
    for _ in range(10):
        desk.watch.move(60)
        manager.resolve()
    assert manager.order(order.client_id).state is STATES.UNKNOWN
    desk.gateway.fail(GatewayTimeout("no answer"), on="order_status")
    for _ in range(10):
        desk.watch.move(60)
        manager.resolve()
    assert manager.order(order.client_id).state is STATES.UNKNOWN


def test_an_order_that_merely_resembles_it_is_a_hint(hedging):  # O11
    manager = started(hedging)
    ticket = manager.submit(OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.05")).ticket
    hedging.gateway.active[ticket] = attrs.evolve(hedging.gateway.active[ticket], comment=None)
    hedging.gateway.then("timeout")
    order = manager.submit(OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.05"))
    manager.resolve()
    assert manager.order(order.client_id).state is STATES.UNKNOWN
    assert manager.hints == {order.client_id: (ticket,)}


def test_an_order_under_two_tickets_halts_the_account(desk):  # O27
    manager = started(desk)
    desk.gateway.then("duplicate")
    order = manager.submit(BUY)
    manager.resolve()
    found = manager.order(order.client_id)
    assert len(found.tickets) == 2
    _, orders = desk.account.current_orders()
    assert orders.halts[HaltScope.ACCOUNT, None] is HaltMode.ALL
    desk.sync()
    assert manager.submit(BUY).state is STATES.DENIED


# ---- starting again


def test_an_engine_that_died_before_the_send_is_proven_not_to_have_sent(desk):  # C1, O19
    started(desk).create_order(BUY, "ema-1")
    again = started(desk)
    assert again.order("ema-1").state is STATES.REJECTED
    assert again.submit(BUY, "ema-2").state is STATES.FILLED
    assert desk.gateway.executions == ["ema-2"]


def test_an_engine_does_not_start_while_an_order_is_unknown(desk):
    manager = started(desk)
    desk.gateway.then("timeout")
    manager.submit(BUY, "ema-1")
    with pytest.raises(OrdersRefused, match="ema-1"):
        started(desk)
    assert started(desk, allow_unknown=True).submit(BUY).state is STATES.DENIED


def test_a_journal_that_fails_with_the_intent_sends_nothing(desk, monkeypatch):
    manager = started(desk)

    def fail(*_, **__):
        raise JournalUnavailable("disk full")

    monkeypatch.setattr(desk.ledger.journal, "append", fail)
    with pytest.raises(JournalUnavailable):
        manager.submit(BUY)
    assert desk.gateway.executions == []


def test_a_journal_that_fails_with_the_answer_is_caught_up_later(desk, monkeypatch):  # C9
    manager = started(desk)
    order = manager.create_order(BUY, "ema-1")
    with monkeypatch.context() as broken:

        def fail(*_, **__):
            raise JournalUnavailable("disk full")

        broken.setattr(desk.ledger.journal, "append", fail)
        with pytest.raises(JournalUnavailable):
            manager.send_order(order)
    again = started(desk)
    desk.sync()
    assert (again.order("ema-1").state, desk.gateway.executions) == (STATES.FILLED, ["ema-1"])


@pytest.mark.parametrize("outcome", ["lost", "killed", "killed executed", "sending"])
def test_what_an_engine_was_sending_when_it_was_killed_blocks_the_next_one_at_once(desk, outcome):
    """Its message is valid for some seconds more: nobody waits for its answer, and a second order could double it."""
    engine, send = started(desk), desk.gateway.order_send

    def send_and_end(*arguments: Any, **words: Any) -> None:
        with suppress(GatewayError):
            send(*arguments, **words)
        raise SystemExit

    desk.gateway.then(outcome)
    desk.gateway.order_send = send_and_end
    with pytest.raises(SystemExit):
        engine.submit(BUY, "ema-1")
    desk.gateway.fail(GatewayTimeout("no answer"), on="order_status")
    with pytest.raises(OrdersRefused, match="1 orders are unknown"):
        started(desk)
    again = started(desk, allow_unknown=True)
    assert again.order("ema-1").state is STATES.UNKNOWN
    assert again.check_risk(BUY).rule == "unknown_orders"


# ---- gateways that take no orders


def test_a_gateway_without_a_store_is_refused_and_says_why(desk):  # O46
    plain = ScriptedGateway(extended=True, now_us=desk.watch)
    with pytest.raises(OrdersRefused, match="ledger gateway serve"):
        OrderManager(desk.account, plain)
    desk.gateway.can = frozenset({"push"})
    with pytest.raises(OrdersRefused, match="asked twice"):
        started(desk)


def test_a_gateway_of_another_account_is_refused(desk):
    desk.gateway.name = attrs.evolve(ACCOUNT, login=1)
    with pytest.raises(OrdersRefused, match="expected a gateway of account"):
        started(desk)


@pytest.mark.parametrize("changes", [{"login": None}, {"login": 1}, {"can": frozenset({"push"})}, {"protocol": 1}, None])
def test_a_gateway_that_takes_no_orders_any_more_denies_them_until_it_does_again(desk, changes):
    manager = started(desk)
    stated = desk.gateway.ping
    desk.gateway.ping = lambda: None if changes is None else attrs.evolve(stated(), **changes)
    desk.watch.move(11)
    decision = manager.check_risk(BUY)
    assert (decision.is_allowed, decision.rule) == (False, "gateway")
    assert manager.submit(BUY).state is STATES.DENIED
    desk.gateway.ping = stated
    desk.sync()
    assert manager.submit(BUY).state is STATES.FILLED


def test_another_store_needs_a_person(desk):  # C12, O26
    manager = started(desk)
    desk.gateway.then("killed")
    order = manager.submit(BUY)
    desk.gateway.replace_store("s2")
    manager.resolve()
    assert manager.order(order.client_id).state is STATES.UNKNOWN
    with pytest.raises(OrdersRefused):
        started(desk, allow_unknown=True)


def test_an_order_of_a_lost_store_is_found_by_its_token(desk):  # C12
    manager = started(desk)
    desk.gateway.then("killed executed")
    order = manager.submit(BUY)
    desk.gateway.replace_store("s2")
    manager.resolve()
    desk.sync()
    assert manager.order(order.client_id).state is STATES.FILLED


def test_an_intent_of_an_earlier_process_is_unknown_at_once_where_nobody_answers_for_it(desk, monkeypatch):  # C1
    started(desk).create_order(BUY)

    def busy(*_: Any, **__: Any) -> Any:
        raise GatewayTimeout("no answer")

    monkeypatch.setattr(desk.gateway, "order_status", busy)
    with pytest.raises(OrdersRefused, match="unknown"):
        started(desk)
    manager = started(desk, allow_unknown=True)
    assert manager.check_risk(BUY).rule == "unknown_orders"
    monkeypatch.undo()
    desk.sync()
    manager.resolve()
    assert manager.check_risk(BUY).is_allowed


def test_clocks_that_differ_send_nothing(desk):  # C16
    manager = started(desk)
    desk.gateway.clock_ahead_msc = 5_000
    desk.watch.move(11)
    order = manager.submit(BUY)
    assert (order.state, "clock" in order.why) == (STATES.DENIED, True)


# ---- pending orders, closes and stops


def test_a_pending_order_works_changes_and_is_cancelled(hedging):
    manager = started(hedging)
    order = manager.submit(OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.05"))
    assert order.state is STATES.WORKING
    assert manager.modify(order.client_id, price="1.04").state is STATES.FILLED
    assert hedging.gateway.active[order.ticket].price_open == Decimal("1.04")
    assert manager.cancel(order.client_id).state is STATES.FILLED
    assert manager.order(order.client_id).state is STATES.CANCELLED
    assert manager.orders(open_only=True) == ()


def test_an_unknown_cancellation_is_decided_by_the_record_of_its_order(hedging):  # O38
    manager = started(hedging)
    order = manager.submit(OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.05"))
    hedging.gateway.then("killed executed")
    cancel = manager.cancel(order.client_id)
    manager.resolve()
    assert manager.order(cancel.client_id).state is STATES.FILLED
    assert manager.order(order.client_id).state is STATES.CANCELLED


def test_a_position_is_closed_once(hedging):
    manager = started(hedging)
    position = manager.submit(BUY).ticket
    assert manager.submit(OrderRequest.close(position)).state is STATES.FILLED
    assert hedging.net == 0


def test_an_order_without_a_ticket_cannot_be_cancelled(hedging):
    manager = started(hedging)
    hedging.gateway.then("timeout")
    order = manager.submit(BUY)
    assert manager.cancel(order.client_id).state is STATES.DENIED


def test_unknown_stops_keep_no_engine_from_starting(hedging):
    manager = started(hedging)
    position = manager.submit(BUY).ticket
    hedging.gateway.then("killed")
    stops = manager.submit(OrderRequest.stops(position, sl="1.05"))
    again = started(hedging)
    assert again.order(stops.client_id).state is STATES.UNKNOWN
    hedging.gateway.then("killed")
    again.submit(BUY)
    with pytest.raises(OrdersRefused, match="1 orders are unknown"):
        started(hedging)


def test_unknown_stops_that_no_sync_shows_are_presumed_absent_in_time(hedging):
    hedging.account.record(CarrierProven(kind=Carrier.COMMENT, ticket=5, time_msc=hedging.gateway.server_msc))
    manager = started(hedging, policy=PRESUME)
    position = manager.submit(BUY).ticket
    hedging.gateway.then("killed")
    stops = manager.submit(OrderRequest.stops(position, sl="1.05"))
    states = []
    for _ in range(6):
        hedging.watch.move(60)
        manager.resolve()
        states.append(manager.order(stops.client_id).state)
    assert states == [STATES.UNKNOWN] * 4 + [STATES.ABSENT] * 2


# ---- following


def test_followers_see_orders_and_fills_once_and_in_order(desk):
    manager = started(desk)
    desk.sync()
    manager.submit(BUY, "ema-1")
    seen = []
    for one in manager.follow(poll_seconds=0):
        seen.append(type(one.event).__name__)
        if seen[-1] == "FillRecorded":
            break
    assert seen == ["StorePinned", "OrderIntended", "OrderAnswered", "FillRecorded"]


# ---- client ids in magic numbers


def test_a_magic_of_its_own_identifies_an_order_where_comments_are_lost(desk):
    policy = OrderPolicy(carrier="magic", magic_base=7, absence="presume")
    manager = started(desk, policy=policy)
    desk.gateway.keeps_comments = False
    first = manager.submit(BUY)
    desk.gateway.then("killed executed")
    second = manager.submit(OrderRequest.market("EURUSD", "sell", "0.1"))
    assert [one.request.magic - 7 * 2**24 for one in (first, second)] == [1, 2]
    manager.resolve()
    desk.sync()
    assert manager.order(second.client_id).state is STATES.FILLED
    again = started(desk, policy=policy)
    assert again.submit(BUY).request.magic == 7 * 2**24 + 3, "a number is never used again"


def test_an_order_whose_answer_could_not_be_recorded_blocks_at_once(desk, monkeypatch):
    manager = started(desk)
    order = manager.create_order(BUY, "ema-1")

    def fail(*_, **__):
        raise JournalUnavailable("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(desk.ledger.journal, "append", fail)
        with pytest.raises(JournalUnavailable):
            manager.send_order(order)
    assert manager.order("ema-1").state is STATES.UNKNOWN
    decision = manager.check_risk(BUY)
    assert isinstance(decision, Denied)
    assert decision.rule == "unknown_orders"


def test_a_sync_beside_an_engine_that_never_pauses_comes_to_its_end(desk, monkeypatch):
    takes_orders, tickets = OrdersPhase._takes_orders, count(1)

    def while_somebody_writes(phase: OrdersPhase) -> bool:
        proven = CarrierProven(kind=Carrier.COMMENT, ticket=next(tickets), time_msc=desk.gateway.server_msc)
        desk.account.record(proven)
        return takes_orders(phase)

    monkeypatch.setattr(OrdersPhase, "_takes_orders", while_somebody_writes)
    desk.watch.move(15)
    result = desk.reconciler.sync_positions()
    assert (result.status, next(tickets)) == (SyncStatus.SUCCESS, 2), "one round"


def test_an_order_that_was_answered_is_not_asked_about(hedging):
    manager = started(hedging)
    assert manager.submit(OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.05")).state is STATES.WORKING
    hedging.gateway.calls.clear()
    manager.resolve()
    assert hedging.gateway.calls == []
