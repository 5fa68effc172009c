"""What an order manager must not believe: copies of a client id, lists of another account, clocks that jump, an id sent before.

Each is a way in which a wrong order was adopted, or an order that may exist was called rejected or absent.
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import AccountId, GatewayRefused, GatewayTimeout, OrderConflict
from ledger.engines import exact_text
from ledger.events.orders import Carrier, CarrierProven, HaltMode, OrderKind, Verdict
from ledger.order_decisions import halt
from ledger.order_manager import Denied, OrderManager, OrderPolicy, OrderRequest
from ledger.order_messages import Lookup, RemoteOrder
from ledger.orders.ids import token_of
from ledger.orders.resolve import Agreement, Found, NotFound, is_absent, match
from ledger.orders.states import OrderState
from ledger.orders.view import Order
from ledger.values import Side
from tests.support.broker import ACCOUNT
from tests.support.order_desk import OrderDesk

BUY = OrderRequest.market("EURUSD", "buy", "0.1")
OTHER = AccountId("Other-Live", 77)
STATES = OrderState


@pytest.fixture
def desk() -> OrderDesk:
    return OrderDesk("hedging")


@pytest.fixture
def netting() -> OrderDesk:
    return OrderDesk("netting")


def started(desk: OrderDesk, **arguments: Any) -> Any:
    """Return an order manager; what it returns is looked at without asking whether it is None."""
    return OrderManager(desk.account, desk.gateway, **arguments)


def left_unknown(desk: OrderDesk, manager: Any, outcome: str, request: OrderRequest = BUY) -> Any:
    """Return an order whose answer is lost, and about which the gateway could not be asked so far."""
    desk.gateway.then(outcome).fail(GatewayTimeout("no answer"), on="order_status")
    order = manager.submit(request)
    desk.gateway.recover()
    assert order.state is STATES.UNKNOWN
    return order


# ---- copies of a client id


def closed_by_the_server(desk: OrderDesk) -> tuple[int, int]:
    """Let the server close the newest position, with a comment that is a copy; returns the tickets of both orders."""
    ticket = max(desk.gateway.past)
    opening = attrs.evolve(desk.gateway.past[ticket], position_id=ticket)
    closing = ticket + 1
    desk.gateway.past |= {ticket: opening, closing: attrs.evolve(opening, ticket=closing, type=1, reason=4)}
    return ticket, closing


def test_an_order_that_closes_ours_with_a_copy_of_its_comment_is_no_duplicate(desk):
    manager = started(desk)
    order = left_unknown(desk, manager, "killed executed")
    ticket, _ = closed_by_the_server(desk)
    manager.resolve()
    assert manager.order(order.client_id).tickets == (ticket,)
    assert not desk.account.current_orders()[1].halts


def test_an_order_is_not_taken_for_the_one_that_closes_it_where_a_list_is_partial(desk):
    desk.account.record(CarrierProven(kind=Carrier.COMMENT, ticket=5, time_msc=desk.gateway.server_msc))
    manager = started(desk, policy=OrderPolicy(absence="presume"))
    order = left_unknown(desk, manager, "killed executed")
    ticket, _ = closed_by_the_server(desk)
    del desk.gateway.past[ticket]
    for _ in range(8):
        desk.watch.move(60)
        manager.resolve()
    found = manager.order(order.client_id)
    assert (found.state, found.tickets) == (STATES.UNKNOWN, ()), "neither adopted nor absent: something carries its client id"


ROWS = st.builds(
    RemoteOrder,
    ticket=st.integers(1, 5),
    symbol=st.sampled_from(["EURUSD", "GBPUSD"]),
    type=st.integers(0, 8),
    state=st.integers(0, 9),
    volume_initial=st.just(Decimal("0.1")),
    volume_current=st.just(Decimal("0.1")),
    reason=st.none() | st.integers(0, 6),
    position_id=st.none() | st.integers(1, 5),
    comment=st.sampled_from([token_of(ACCOUNT, "a"), token_of(ACCOUNT, "a") + " x", token_of(ACCOUNT, "a")[:19], "", "buy"]),
)
KINDS = {
    OrderKind.MARKET: BUY,
    OrderKind.PENDING: OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.0"),
    OrderKind.CLOSE: OrderRequest.close(3, "0.1", symbol="EURUSD"),
}


@given(rows=st.lists(ROWS, max_size=5, unique_by=lambda row: row.ticket), kind=st.sampled_from(sorted(KINDS, key=str)))
def test_no_order_is_adopted_that_cannot_be_the_one_that_was_sent(rows, kind):
    request = KINDS[kind]
    order = Order(
        client_id="a", token=token_of(ACCOUNT, "a"), kind=kind, symbol="EURUSD", side=request.side, volume=request.volume,
        filled=Decimal(0), state=STATES.UNKNOWN, since_msc=0, why="", request=request,
    )  # fmt: skip
    lookup = Lookup(from_msc=0, to_msc=9, connected=True, orders=tuple(rows), deals=())
    found = match(order, lookup)
    carriers = {row.ticket for row in rows if (row.comment or "").startswith(str(order.token))}
    adopted = [row for row in rows if isinstance(found, Found) and row.ticket in found.tickets]
    for row in adopted:
        assert row.ticket in carriers
        assert row.symbol == "EURUSD"
        assert row.reason not in (4, 5, 6)
        assert (row.position_id in (None, 3)) if kind is OrderKind.CLOSE else (row.type % 2 == Side.BUY.code and row.type < 8)
    if isinstance(found, NotFound):
        assert set(found.copies) == carriers


def test_a_magic_number_of_a_strategy_names_none_of_its_orders(desk):
    manager = started(desk)
    order = manager.submit(OrderRequest.market("EURUSD", "buy", "0.1", magic=20_260_101))
    desk.sync()
    desk.gateway.active[2000] = RemoteOrder(
        ticket=2000, symbol="EURUSD", type=2, state=1, volume_initial=Decimal(5), volume_current=Decimal(5),
        magic=20_260_101, comment="another robot", time_setup_msc=desk.gateway.server_msc,
    )  # fmt: skip
    desk.sync(2)
    assert manager.order(order.client_id).tickets == order.tickets
    assert not desk.account.current_orders()[1].halts


# ---- lists of another account


def test_lists_of_another_account_change_nothing_of_ours(desk):
    manager = started(desk)
    pending = manager.submit(OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.0"), "waiting")
    desk.gateway.then("accept")
    market = manager.submit(BUY, "accepted")
    desk.gateway.settle()
    desk.gateway.end(pending.ticket, state=2)
    version = desk.account.version
    desk.gateway.name = OTHER
    manager._resolver.look_at(pending.ticket)
    assert manager.refresh("accepted").filled == 0
    assert desk.account.version == version
    desk.gateway.name = ACCOUNT
    manager._resolver.look_at(pending.ticket)
    assert manager.refresh("accepted").state is STATES.FILLED
    assert manager.order("waiting").state is STATES.CANCELLED
    assert market.state is STATES.WORKING


def test_a_lookup_of_another_account_finds_nothing(desk):
    manager = started(desk)
    order = left_unknown(desk, manager, "killed executed")
    desk.gateway.name = OTHER
    manager.resolve()
    assert manager.order(order.client_id).state is STATES.UNKNOWN
    desk.gateway.name = ACCOUNT
    manager.resolve()
    assert manager.order(order.client_id).state is STATES.FILLED


def test_a_gateway_that_is_of_another_account_now_denies(desk):
    manager = started(desk)
    desk.watch.move(15)
    desk.gateway.name = OTHER
    decision = manager.check_risk(BUY)
    assert isinstance(decision, Denied)
    assert (decision.rule, "Other-Live" in decision.why) == ("gateway", True)


# ---- an id that was sent before, and a store that forgot it


def test_an_id_that_was_sent_with_other_content_is_rejected_and_has_no_part_of_the_other(desk):
    manager = started(desk)
    manager.submit(BUY, "once")
    restored = OrderDesk("hedging")  # a journal of yesterday, at the same gateway
    restored.gateway.rows, restored.gateway.past = desk.gateway.rows, desk.gateway.past

    def order_send(message, **_):
        raise GatewayRefused("ORDER_SEND", code="CLIENT_ID_CONFLICT", detail="another volume", executed="never")

    setattr(restored.gateway, "order_send", order_send)  # noqa: B010  # as a method of the gateway
    order = started(restored).submit(OrderRequest.market("EURUSD", "sell", "0.3"), "once")
    assert (order.state, order.tickets, order.verdict) == (STATES.REJECTED, (), Verdict.REJECTED)
    assert "CLIENT_ID_CONFLICT" in order.why


def test_an_answer_that_names_an_order_on_the_other_side_is_not_recorded(desk):
    manager = started(desk)
    manager.submit(BUY, "once")
    restored = OrderDesk("hedging")
    restored.gateway.rows, restored.gateway.past = desk.gateway.rows, desk.gateway.past
    other = started(restored)
    order = left_unknown(restored, other, "lost", OrderRequest.market("EURUSD", "sell", "0.1"))
    restored.gateway.rows[order.client_id] = desk.gateway.rows["once"]
    state, answer = restored.gateway.rows[order.client_id]
    assert answer is not None
    restored.gateway.rows[order.client_id] = state, attrs.evolve(answer, client_id=order.client_id)
    other.resolve()
    assert (other.order(order.client_id).state, other.order(order.client_id).tickets) == (STATES.UNKNOWN, ())


def test_a_fence_of_a_store_that_forgot_is_no_proof_against_the_broker(desk):
    manager = started(desk)
    order = left_unknown(desk, manager, "killed executed")
    desk.gateway.rows.clear()  # the store was restored from a backup, with the id that it had
    manager.resolve()
    assert manager.order(order.client_id).state is STATES.FILLED


# ---- clocks


def test_a_clock_that_jumps_makes_no_order_absent(desk):
    desk.account.record(CarrierProven(kind=Carrier.COMMENT, ticket=5, time_msc=desk.gateway.server_msc))
    manager = started(desk, policy=OrderPolicy(absence="presume"))
    desk.gateway.then("timeout")
    order = manager.submit(BUY)
    desk.watch.move(3600)
    desk.gateway.ahead_msc -= 3_600_000  # the broker's clock did not move with ours
    for _ in range(4):
        desk.watch.move(15)
        manager.resolve()
    assert manager.order(order.client_id).state is STATES.UNKNOWN
    desk.watch.move(240)
    manager.resolve()
    assert manager.order(order.client_id).state is STATES.ABSENT


@given(
    jumps=st.lists(st.integers(-7200, 7200), min_size=3, max_size=8),
    server=st.lists(st.integers(0, 60), min_size=3, max_size=8),
)
def test_absence_needs_the_time_on_both_clocks(jumps, server):
    ours, theirs, found = 0, 0, []
    for jump, passed in zip(jumps, server, strict=False):
        ours, theirs = ours + jump, theirs + passed
        found.append(Agreement(at_utc_msc=ours * 1000, server_time_msc=theirs * 1000, epoch=1, rows=0))
    presume = OrderPolicy(absence="presume")
    if is_absent(found, 0, presume, is_carrier_proven=True, sent_msc=0):
        assert ours >= 240 <= theirs


def test_a_lookup_that_misses_a_part_of_the_time_since_is_no_proof(desk):
    desk.account.record(CarrierProven(kind=Carrier.COMMENT, ticket=5, time_msc=desk.gateway.server_msc))
    manager = started(desk, policy=OrderPolicy(absence="presume"))
    desk.gateway.then("timeout")
    order = manager.submit(BUY)
    status, first_msc = desk.gateway.order_status, desk.gateway.server_msc + 60_000

    def from_later(*names, **arguments):
        found = status(*names, **arguments)
        return attrs.evolve(found, lookup=attrs.evolve(found.lookup, from_msc=first_msc))

    desk.gateway.order_status = from_later
    for _ in range(8):
        desk.watch.move(60)
        manager.resolve()
    assert manager.order(order.client_id).state is STATES.UNKNOWN


def test_a_magic_number_is_used_once_whatever_the_clocks_of_two_engines_show(desk):
    policy = OrderPolicy(carrier="magic", magic_base=7)
    one, other = started(desk, policy=policy), started(desk, policy=policy)
    magics = []
    for turn in range(6):
        desk.watch.now_us += (-1) ** turn * 500_000  # the second engine's clock is half a second behind
        magics.append((one, other)[turn % 2].submit(BUY).request.magic)
    assert len(set(magics)) == len(magics)


# ---- between check and send


@pytest.mark.parametrize("scope", [{}, {"symbol": "EURUSD"}, {"strategy": "ema"}])
def test_what_is_halted_between_check_and_send_is_not_sent(desk, scope):
    manager = started(desk)
    order = manager.create_order(OrderRequest.market("EURUSD", "buy", "0.1", strategy="ema"))
    halt(desk.account, reason="news", operator="ann", **scope)
    sent = manager.send_order(order)
    assert (sent.state, desk.gateway.executions) == (STATES.REJECTED, [])
    assert "HALTED" in sent.why


def test_a_halt_of_new_risk_between_check_and_send_lets_exits_pass(desk, netting):
    manager = started(desk)
    position = manager.submit(BUY).ticket
    close, more = manager.create_order(OrderRequest.close(position)), manager.create_order(BUY)
    halt(desk.account, reason="news", operator="ann", mode=HaltMode.NO_NEW_RISK)
    assert manager.send_order(more).state is STATES.REJECTED
    assert manager.send_order(close).state is STATES.FILLED
    manager = started(netting)
    manager.submit(BUY)
    netting.sync()
    less = manager.create_order(OrderRequest.market("EURUSD", "sell", "0.1"))
    halt(netting.account, reason="news", operator="ann", mode=HaltMode.NO_NEW_RISK)
    assert manager.send_order(less).state is STATES.FILLED


def test_a_halt_is_no_hindrance_to_a_cancellation_or_to_another_symbol(desk):
    manager = started(desk)
    pending = manager.submit(OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.0"))
    cancel = manager.create_order(OrderRequest.cancel(pending.client_id))
    order = manager.create_order(BUY)
    halt(desk.account, reason="news", operator="ann", symbol="GBPUSD")
    assert manager.send_order(order).state is STATES.FILLED
    halt(desk.account, reason="news", operator="ann")
    assert manager.send_order(cancel).state is STATES.FILLED


# ---- whose right it is to send


def test_a_process_that_was_forked_has_no_right_to_send_what_its_parent_recorded(desk, monkeypatch):
    manager = started(desk)
    order = manager.create_order(BUY)
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        assert manager.send_order(order).state is STATES.INTENDED
    assert desk.gateway.executions == []


def test_an_order_that_became_late_meanwhile_stays_late(desk):
    manager = started(desk)
    shown = desk.account.current_orders
    desk.gateway.then("lost").fail(GatewayTimeout("no answer"), on="order_status")

    def resolve_meanwhile():
        version, orders = shown()
        return version, BeforeTheOrder(orders)

    order = manager.submit(BUY)
    desk.account.current_orders = resolve_meanwhile
    manager._unanswered()
    desk.account.current_orders = shown
    assert manager.order(order.client_id).state is STATES.UNKNOWN


class BeforeTheOrder:
    """Orders of which the open ones were listed just before the newest came up."""

    def __init__(self, orders: Any) -> None:
        self._orders = orders

    def __getattr__(self, name: str) -> Any:
        return getattr(self._orders, name)

    def open_orders(self, *_: Any) -> tuple[Order, ...]:
        return ()


# ---- what one id names


def test_an_id_names_all_of_its_request(desk):
    manager = started(desk)
    manager.submit(OrderRequest.market("EURUSD", "buy", "0.1", sl="1.0"), "ema-1")
    with pytest.raises(OrderConflict, match="sl"):
        manager.submit(BUY, "ema-1")
    assert manager.submit(OrderRequest.market("EURUSD", "buy", "0.10", sl="1.00"), "ema-1").state is STATES.FILLED


def test_an_order_with_a_magic_of_its_own_can_be_asked_for_again(desk):
    manager = started(desk, policy=OrderPolicy(carrier="magic", magic_base=7))
    request = OrderRequest.market("EURUSD", "buy", "0.1", magic=5)
    first = manager.submit(request, "ema-1")
    assert manager.submit(request, "ema-1").tickets == first.tickets
    assert desk.gateway.executions == ["ema-1"]


class Float64(float):
    """A float that writes itself as numpy's do."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)!r})"


@given(number=st.floats(allow_nan=False))
def test_a_float_of_a_subclass_is_the_decimal_that_the_float_is(number):
    assert exact_text(Float64(number)) == Decimal(repr(number))


# ---- an answer that names nothing


@pytest.mark.parametrize(
    ("state", "found"), [(1, STATES.WORKING), (2, STATES.CANCELLED), (4, STATES.PARTIAL), (5, STATES.REJECTED)]
)
def test_an_order_that_was_accepted_without_a_ticket_is_found_by_its_token(desk, state, found):
    manager = started(desk)
    send = desk.gateway.order_send

    def order_send(message, **arguments):
        answer = attrs.evolve(send(message, **arguments), order=0)
        desk.gateway.rows[message.client_id] = answer.state, answer
        return answer

    setattr(desk.gateway, "order_send", order_send)  # noqa: B010  # as a method of the gateway
    order = manager.submit(OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price="1.0"))
    assert (order.state, order.tickets) == (STATES.WORKING, ())
    (ticket,) = desk.gateway.active
    if state != 1:
        desk.gateway.end(ticket, state=state)
    manager.resolve()
    assert (manager.order(order.client_id).state, manager.order(order.client_id).tickets) == (found, (ticket,))
