"""Orders over the gateway service: the client, a real server, a terminal process, and a simulated terminal that is blocked."""

from __future__ import annotations

import json
import sqlite3
import time
from decimal import Decimal
from typing import Any, Final

import pytest

from ledger.errors import GatewayRefused, GatewayTimeout
from ledger.events.orders import Verdict
from ledger.gateway import OrderGateway
from ledger.gateway.client import ZmqGateway
from ledger.gateway.serve.requests import Requests
from ledger.gateway.serve.store import Store
from ledger.order_messages import RequestState
from ledger.orders.ids import token_of
from ledger.protocol.order_requests import content_of, digest_of
from ledger.testing.service import SENT
from tests.support.order_messages import ACCOUNT, message, send_fields, utc_msc
from tests.support.service import GIVE_UP_MS, GIVE_UP_SEC, ServedTerminal

HOUR_SEC: Final = 3_600.0


@pytest.fixture
def served(tmp_path):
    with ServedTerminal(tmp_path) as served:
        served.until_connected()
        yield served


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Return a service of several tests, none of which leaves anything for the next."""
    with ServedTerminal(tmp_path_factory.mktemp("shared")) as served:
        served.until_connected()
        yield served


@pytest.fixture
def gateway(served):
    with ZmqGateway(served.endpoint, timeout_ms=GIVE_UP_MS) as gateway:
        yield gateway


def calls(served: ServedTerminal) -> int:
    """Return how often ``order_send`` was entered."""
    sent: int = served.terminal.control("sent")["sent"]
    return sent


def test_the_client_is_an_order_gateway(gateway):
    assert isinstance(gateway, OrderGateway)
    service = gateway.ping()
    assert service is not None
    assert service.can >= {"orders", "fence"}


def test_an_order_is_sent_once_and_its_answer_stored(served, gateway):
    """O4."""
    store = served.service.store.id
    first = gateway.order_send(message("one", store))
    assert (first.state, first.verdict, first.retcode, first.replayed) == (
        RequestState.ANSWERED,
        Verdict.ACCEPTED,
        10009,
        False,
    )
    assert first.order
    assert first.deal
    again = gateway.order_send(message("one", store, volume="0.10"))
    assert (again.order, again.deal, again.replayed, again.seq) == (first.order, first.deal, True, first.seq)
    assert calls(served) == 1


def test_another_content_for_a_client_id_is_never_sent(served, gateway):
    """O5."""
    store = served.service.store.id
    gateway.order_send(message("one", store))
    with pytest.raises(GatewayRefused, match="another volume") as refused:
        gateway.order_send(message("one", store, volume="0.2"))
    assert (refused.value.code, refused.value.executed) == ("CLIENT_ID_CONFLICT", "never")
    assert gateway.order_status("one", store=store, fence=True, lookup=False).answer.verdict is Verdict.ACCEPTED
    assert calls(served) == 1


def test_a_fence_keeps_an_order_from_ever_being_sent(served, gateway):
    """O19, O20."""
    store = served.service.store.id
    never = gateway.order_status("late", store=store, fence=False, lookup=False)
    assert never.answer.state is RequestState.NEVER
    assert gateway.order_status("late", store=store, fence=True, lookup=False).answer.state is RequestState.FENCED
    with pytest.raises(GatewayRefused) as refused:
        gateway.order_send(message("late", store))
    assert (refused.value.code, refused.value.executed) == ("FENCED", "never")
    assert calls(served) == 0


def test_a_lookup_finds_an_order_by_its_token(served, gateway):
    store = served.service.store.id
    sent = gateway.order_send(message("one", store))
    found = gateway.order_status("one", store=store, fence=True, lookup=True).lookup
    assert found is not None
    assert [order.ticket for order in found.orders] == [sent.order]
    assert [order.client_id for order in found.orders] == ["one"]
    assert [deal.deal for deal in found.deals] == [sent.deal]
    assert found.connected
    other = gateway.order_status("other", store=store, fence=True, lookup=True).lookup
    assert other is not None
    assert (other.orders, other.deals) == ((), ())


# ---- while order_send is under way, and when it does not return


def send_later(served: ServedTerminal, client_id: str, **fields: Any) -> None:
    """Send an order without waiting for its answer."""
    served.send(json.dumps(send_fields(client_id, served.service.store.id, **fields)).encode())


def status(served: ServedTerminal, client_id: str, **fields: Any) -> dict[str, Any]:
    return served.ask("ORDER_STATUS", client_id=client_id, store=served.service.store.id, **fields)


def look_up(served: ServedTerminal, client_id: str) -> dict[str, Any]:
    """Return the answer to ORDER_STATUS with what the terminal found, once its process is there again."""
    give_up = time.monotonic() + GIVE_UP_SEC
    while "lookup" not in (found := status(served, client_id, lookup=True, fence=True)):
        assert time.monotonic() < give_up, found
    return found


def test_while_an_order_is_being_sent_all_else_is_answered_or_busy(served):
    """O25."""
    served.block(HOUR_SEC, "order_send")
    send_later(served, "one")
    answer = served.until("the call", call="order_send", client_id="one")
    assert answer["terminal_process"]["state"] == "busy"
    for action in ("GET_POSITIONS", "GET_ORDERS", "GET_TICK"):
        assert served.ask(action, symbol="EURUSD")["error_code"] == "BUSY"
    found = status(served, "one", fence=True, lookup=True)
    assert (found["state"], found["verdict"], "lookup" in found) == ("sending", None, False)
    again = served.ask_fields({**send_fields("one", served.service.store.id), "req_id": "again"})
    assert (again["state"], again["verdict"]) == ("sending", None)
    assert served.ask("GET_EVENTS", after_seq=0)["status"] == "SUCCESS"
    served.kill_terminal_process()
    answer = served.receive("one")
    assert (answer["state"], answer["verdict"]) == ("unresolved", "unknown")


@pytest.mark.parametrize("is_executed", [True, False])
def test_a_terminal_process_that_dies_inside_a_call_leaves_it_unresolved(served, is_executed):
    """O24: found by its token where it was executed; never sent again."""
    served.terminal.control("block", seconds=HOUR_SEC, call="order_send", after=is_executed)
    send_later(served, "one")
    served.until("the call", call=SENT if is_executed else "order_send")
    served.kill_terminal_process()
    assert served.receive("one")["state"] == "unresolved"
    assert served.ask_fields(send_fields("one", served.service.store.id))["state"] == "unresolved"
    found = look_up(served, "one")
    assert (found["state"], len(found["orders"])) == (("answered", 1) if is_executed else ("unresolved", 0))
    if is_executed:
        assert (found["verdict"], found["basis"], found["order"]) == ("accepted", "token", found["orders"][0]["ticket"])
        assert [deal["order"] for deal in found["deals"]] == [found["order"]]
        stored = served.ask_fields(send_fields("one", served.service.store.id))
        assert (stored["order"], stored["replayed"]) == (found["order"], True)
    assert calls(served) == is_executed


def test_a_call_that_takes_too_long_is_unresolved(tmp_path):
    with ServedTerminal(tmp_path, call_deadline_sec=2.0) as served:
        served.until_connected()
        served.block(HOUR_SEC, "order_send")
        send_later(served, "one")
        assert served.receive("one")["state"] == "unresolved"


@pytest.mark.parametrize(
    ("fault", "retcode", "is_found"),
    [("unknown-executed", 10012, True), ("unknown-not-executed", 10012, False), ("lost-executed", None, True)],
)
def test_an_answer_that_means_nothing_is_unresolved_until_the_order_is_found(served, fault, retcode, is_found):
    served.terminal.control("fail", fault=f"{fault}:1")
    answer = served.ask_fields(send_fields("one", served.service.store.id))
    assert (answer["state"], answer["verdict"], answer.get("retcode")) == ("unresolved", "unknown", retcode)
    found = status(served, "one", lookup=True)
    assert (found["state"], len(found["orders"])) == (("answered", 1) if is_found else ("unresolved", 0))
    assert calls(served) == 1


def test_a_rejection_that_names_an_order_is_looked_up(served):
    """O36."""
    served.terminal.control("fail", fault="reject-with-order:1")
    answer = served.ask_fields(send_fields("one", served.service.store.id))
    assert (answer["state"], answer["verdict"], answer["retcode"]) == ("unresolved", "unknown", 10006)
    (row,) = status(served, "one", lookup=True)["orders"]
    assert (row["ticket"], row["state"]) == (answer["order"], "rejected")


def test_a_rejection_is_definite(served):
    """O35."""
    served.terminal.control("fail", fault="requote:1")
    answer = served.ask_fields(send_fields("one", served.service.store.id))
    assert (answer["state"], answer["verdict"], answer["retcode"]) == ("answered", "rejected", 10004)
    assert served.ask_fields(send_fields("two", served.service.store.id))["verdict"] == "accepted"


def test_a_token_on_two_orders_resolves_nothing(served):
    """O27, as the service sees it."""
    served.terminal.control("fail", fault="executed-twice:1")
    served.terminal.control("block", seconds=HOUR_SEC, call="order_send", after=True)
    send_later(served, "one")
    served.until("the call", call=SENT)
    served.kill_terminal_process()
    served.receive("one")
    found = look_up(served, "one")
    assert (found["state"], len(found["orders"]), len(found["deals"])) == ("unresolved", 2, 2)


def test_a_list_that_is_none_is_no_lookup(served):
    """O10: ``orders_get`` returns None after 10012, and whatever the history has, nothing was looked up."""
    served.terminal.control("fail", fault="unknown-executed:1")
    served.ask_fields(send_fields("one", served.service.store.id))
    served.terminal.control("fail", fault="fail:1000")
    found = status(served, "one", lookup=True)
    assert (found["state"], found["verdict"], "lookup" in found, "orders" in found) == ("unresolved", "unknown", False, False)
    served.terminal.control("heal")
    assert look_up(served, "one")["state"] == "answered"


def test_what_was_received_when_the_service_died_was_never_executed(tmp_path):
    """O22, crash point C3: it died between the two steps; the client learns that nothing was sent."""
    before = Store.open(tmp_path / "gateway.db")
    one = message("one", before.id)
    assert before.requests.receive(
        "one",
        digest=digest_of(one),
        content=content_of(one),
        token=one.token,
        valid_until=one.valid_until_utc_msc,
        now=utc_msc(),
    )
    before.close()
    with ServedTerminal(tmp_path) as served, ZmqGateway(served.endpoint, timeout_ms=GIVE_UP_MS) as gateway:
        served.until_connected()
        assert gateway.order_status("one", store=before.id, fence=False, lookup=False).answer.state is RequestState.FENCED
        with pytest.raises(GatewayRefused) as refused:
            gateway.order_send(one)
        assert (refused.value.code, refused.value.executed, calls(served)) == ("FENCED", "never", 0)


# ---- what is refused before anything is stored


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"comment": "x" * 28}, "BAD_REQUEST", "comment"),
        ({"comment": "x" * 30}, "BAD_REQUEST", "comment"),
        ({"comment": "\N{GRINNING FACE}" * 14}, "BAD_REQUEST", "comment"),
        ({"magic": -1}, "BAD_REQUEST", "magic"),
        ({"magic": 2**63}, "BAD_REQUEST", "magic"),
        ({"volume": 0.1}, "BAD_REQUEST", "volume"),
        ({"volume": "0"}, "BAD_REQUEST", "volume"),
        ({"volume": "0.105"}, "BAD_REQUEST", "volume"),
        ({"volume": "1e1"}, "BAD_REQUEST", "volume"),
        ({"volume": "1000000"}, "BAD_REQUEST", "volume"),
        ({"price": "1.085123"}, "BAD_REQUEST", "price"),
        ({"sl": "1.0000001"}, "BAD_REQUEST", "sl"),
        ({"symbol": "NOTHING"}, "BAD_REQUEST", "symbol"),
        ({"symbol": "*"}, "BAD_REQUEST", "symbol"),
        ({"deviation": -1}, "BAD_REQUEST", "deviation"),
        ({"kind": "guess"}, "BAD_REQUEST", "kind"),
        ({"side": None}, "BAD_REQUEST", "side"),
        ({"kind": "close", "side": None, "position": 1, "volume": None}, "BAD_REQUEST", "position"),
        ({"kind": "close", "position": 1}, "BAD_REQUEST", "side"),
        ({"kind": "modify", "side": None, "order": 1}, "BAD_REQUEST", "order"),
        ({"token": "L" + "A" * 19}, "BAD_REQUEST", "token"),
        ({"client_id": "not one"}, "BAD_REQUEST", "client_id"),
        ({"login": 70114}, "WRONG_ACCOUNT", None),
        ({"server": "Other"}, "WRONG_ACCOUNT", None),
        ({"store": "other"}, "WRONG_STORE", None),
        ({"valid_until_msc": 1}, "EXPIRED", None),
        ({"valid_until_msc": 2**42}, "CLOCK_SKEW", None),
    ],
)
def test_a_message_that_is_wrong_is_refused_and_never_stored(shared, fields, code, field):
    """O21, O26, O33, O34."""
    before = calls(shared)
    answer = shared.ask_fields({**send_fields("wrong", shared.service.store.id), **fields})
    assert (answer["status"], answer["error_code"], answer["executed"]) == ("ERROR", code, "never"), answer
    assert answer.get("field") == field
    assert answer["client_id"] == fields.get("client_id", "wrong")
    assert status(shared, "wrong")["state"] == "never"
    assert calls(shared) == before


def test_another_store_knows_nothing(shared):
    """O26."""
    answer = shared.ask("ORDER_STATUS", client_id="one", store="other", fence=True)
    assert (answer["error_code"], answer["executed"]) == ("WRONG_STORE", "unknown")


@pytest.mark.parametrize(
    ("fault", "code"),
    [("not-connected", "NOT_CONNECTED"), ("no-connection", "NOT_CONNECTED"), ("wrong-login", "WRONG_ACCOUNT")],
)
def test_without_the_account_at_its_broker_nothing_is_sent(served, fault, code):
    first = served.ask_fields(send_fields("one", served.service.store.id))
    served.terminal.control("fail", fault=fault)
    answer = served.ask_fields(send_fields("two", served.service.store.id))
    assert (answer["error_code"], answer["executed"]) == (code, "never")
    again = served.ask_fields({**send_fields("one", served.service.store.id), "valid_until_msc": 1})
    assert (again["order"], again["replayed"]) == (first["order"], True)
    served.terminal.control("heal")
    assert status(served, "two")["state"] == "never"


def test_a_read_only_service_neither_sends_nor_fences(tmp_path):
    with ServedTerminal(tmp_path, read_only=True) as served:
        served.until_connected()
        answer = served.ask_fields(send_fields("one", served.service.store.id))
        assert (answer["error_code"], answer["executed"]) == ("READ_ONLY", "never")
        assert status(served, "one", fence=True)["state"] == "never"


def test_an_account_that_may_not_trade_is_read_only(tmp_path):
    with ServedTerminal(tmp_path, terminal={"behaviour": {"is_account_trading_allowed": False}}) as served:
        assert served.until_connected()["trade_allowed"] is False
        answer = served.ask_fields(send_fields("one", served.service.store.id))
        assert (answer["error_code"], answer["executed"]) == ("READ_ONLY", "never")


# ---- kinds


def test_a_position_is_opened_stopped_and_closed(served, gateway):
    store = served.service.store.id
    opened = gateway.order_send(message("open", store, sl="1.00000"))
    (position,) = gateway.positions().positions
    assert opened.order == position.position_id
    changed = gateway.order_send(message("stops", store, kind="stops", position_id=position.position_id, tp="1.50000"))
    assert (changed.verdict, changed.order, changed.deal) == (Verdict.ACCEPTED, 0, 0)
    same = gateway.order_send(message("same", store, kind="stops", position_id=position.position_id, tp="1.5"))
    assert (same.verdict, same.retcode) == (Verdict.NO_CHANGE, 10025)
    (row,) = served.ask("GET_POSITIONS")["positions"]
    assert (row["sl"], row["tp"]) == (1.0, 1.5)
    part = gateway.order_send(message("part", store, kind="close", position_id=position.position_id, volume="0.04"))
    assert part.volume == Decimal("0.04")
    rest = gateway.order_send(message("rest", store, kind="close", position_id=position.position_id))
    assert rest.volume == Decimal("0.06")
    assert gateway.positions().positions == ()
    with pytest.raises(GatewayRefused, match="is not open") as refused:
        gateway.order_send(message("gone", store, kind="close", position_id=position.position_id))
    assert refused.value.executed == "never"


def test_opposite_positions_are_closed_against_one_another(served, gateway):
    store = served.service.store.id
    one = gateway.order_send(message("one", store)).order
    other = gateway.order_send(message("other", store, side="sell")).order
    closed = gateway.order_send(message("both", store, kind="close_by", position_id=one, by_position_id=other))
    assert closed.verdict is Verdict.ACCEPTED
    assert gateway.positions().positions == ()


def test_a_pending_order_is_placed_changed_and_cancelled(served, gateway):
    store = served.service.store.id
    placed = gateway.order_send(message("wait", store, kind="pending", type="limit", price="1.00000"))
    assert (placed.verdict, placed.deal, placed.price) == (Verdict.ACCEPTED, 0, Decimal(0))
    (order,) = gateway.active_orders().orders
    assert (order.ticket, order.client_id, order.price_open, order.state) == (placed.order, "wait", Decimal(1), 1)
    changed = gateway.order_send(message("change", store, kind="modify", order=placed.order, price="1.01000", sl="0.9"))
    assert changed.verdict is Verdict.ACCEPTED
    (order,) = gateway.active_orders().orders
    assert (order.price_open, order.sl) == (Decimal("1.01"), Decimal("0.9"))
    gone = gateway.order_send(message("cancel", store, kind="cancel", order=placed.order))
    assert gone.verdict is Verdict.ACCEPTED
    assert gateway.active_orders().orders == ()
    (done,) = gateway.order_history(order=placed.order).orders
    assert (done.state, done.client_id) == (2, "wait")
    weak = gateway.order_history(order=1)
    assert (weak.orders, weak.is_by_ticket) == ((), True)
    twice = gateway.order_send(message("twice", store, kind="cancel", order=placed.order))
    assert twice.verdict is Verdict.REJECTED


def test_answers_and_orders_are_pushed_with_their_client_id(served, gateway):
    """O41."""
    store = served.service.store.id
    with served.listen() as events:
        sent = gateway.order_send(message("wait", store, kind="pending", type="limit", price="1.00000"))
        answer = events.next_of("answer")
        assert (answer["seq"], answer["data"]["client_id"], answer["data"]["order"]) == (sent.seq, "wait", sent.order)
        order = events.next_of("order")
        assert (order["data"]["order"]["client_id"], order["data"]["order"]["ticket"]) == ("wait", sent.order)
    assert sent.seq is not None
    assert next(event.kind for event in gateway.events(after_seq=sent.seq - 1)) == "answer"


def test_an_order_that_gets_no_answer_is_not_asked_for_again(served):
    store = served.service.store.id
    served.block(HOUR_SEC, "order_send")
    with ZmqGateway(served.endpoint, timeout_ms=GIVE_UP_MS) as gateway:
        with pytest.raises(GatewayTimeout):
            gateway.order_send(message("one", store), timeout_ms=200)
        answer = gateway.order_status("one", store=store, fence=True, lookup=True).answer
        assert answer.state is RequestState.SENDING


# ---- a store that cannot be written


def fail(*_: object, **__: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize("step", ["receive", "begin"])
def test_what_cannot_be_stored_before_it_is_sent_is_never_sent(served, monkeypatch, step):
    store = served.service.store.id
    with monkeypatch.context() as full:
        full.setattr(Requests, step, fail)
        answer = served.ask_fields(send_fields("one", store))
        assert (answer["error_code"], answer["executed"]) == ("STORE_FAILED", "never")
    assert calls(served) == 0
    again = served.ask_fields(send_fields("one", store))
    assert again.get("error_code", again.get("verdict")) == ("accepted" if step == "receive" else "FENCED")
    assert calls(served) == (step == "receive")


def test_a_commit_that_failed_and_was_made_all_the_same_is_never_sent_and_stays_unknown(served, monkeypatch):
    store, begin = served.service.store.id, Requests.begin

    def begin_and_fail(self: Requests, *args: Any, **named: Any) -> None:
        begin(self, *args, **named)
        fail()

    with monkeypatch.context() as full:
        full.setattr(Requests, "begin", begin_and_fail)
        assert served.ask_fields(send_fields("one", store))["error_code"] == "STORE_FAILED"
    assert status(served, "one", fence=True)["state"] == "unresolved"
    assert served.ask_fields(send_fields("one", store))["state"] == "unresolved"
    assert calls(served) == 0


def test_an_answer_that_cannot_be_stored_is_unknown_until_it_is(served, monkeypatch):
    store = served.service.store.id
    with monkeypatch.context() as full:
        full.setattr(Store, "append", fail)
        for _ in range(2):
            answer = served.ask_fields(send_fields("one", store))
            assert (answer["error_code"], answer["executed"]) == ("STORE_FAILED", "unknown")
        assert status(served, "one")["error_code"] == "STORE_FAILED"
    found = status(served, "one", fence=True)
    assert (found["state"], found["verdict"]) == ("answered", "accepted")
    assert served.ask_fields(send_fields("one", store))["order"] == found["order"]
    assert calls(served) == 1


def test_a_store_that_cannot_be_read_knows_nothing(served, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(Requests, "find", fail)
        answer = served.ask_fields(send_fields("one", served.service.store.id))
        assert (answer["error_code"], answer["executed"]) == ("STORE_FAILED", "unknown")
        assert status(served, "one", fence=True)["executed"] == "unknown"
    assert calls(served) == 0


TOKEN: Final = token_of(ACCOUNT, "one")


@pytest.mark.parametrize(
    "another", [{"side": "sell", "comment": TOKEN}, {"comment": f"{TOKEN[:-1]} x"}, {"comment": f"re {TOKEN}"}]
)
def test_an_order_that_only_looks_like_it_is_not_stored_as_the_answer(served, another):
    served.terminal.control("fail", fault="unknown-not-executed:1")
    served.ask_fields(send_fields("one", served.service.store.id))
    assert served.ask_fields(send_fields("two", served.service.store.id, **another))["verdict"] == "accepted"
    assert status(served, "one", lookup=True)["state"] == "unresolved"


def test_an_order_with_the_token_on_the_right_side_is_the_answer(served):
    served.terminal.control("fail", fault="unknown-not-executed:1")
    served.ask_fields(send_fields("one", served.service.store.id))
    served.ask_fields(send_fields("two", served.service.store.id, comment=f"{TOKEN} tail1"))
    assert status(served, "one", lookup=True)["state"] == "answered"
