"""Orders at the sandbox: the messages of the service, answered by its own code."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zmq

from ledger.errors import GatewayRefused
from ledger.events.orders import Verdict
from ledger.gateway.client import ZmqGateway
from ledger.gateway.sandbox.client import Sandbox
from ledger.order_messages import RequestState
from tests.support.order_messages import message, send_fields, utc_msc
from tests.support.service import GIVE_UP_MS, ServedTerminal


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    store = tmp_path_factory.mktemp("sandbox") / "gateway.db"
    with Sandbox.start("--virtual-clock", "--store", str(store)) as sandbox:
        yield sandbox


@pytest.fixture
def gateway(sandbox):
    with ZmqGateway(sandbox.endpoint, timeout_ms=GIVE_UP_MS) as gateway:
        yield gateway


def test_an_order_at_the_sandbox_is_sent_once(sandbox, gateway):
    service = gateway.ping()
    assert service is not None
    assert service.can == {"orders", "fence"}
    sent = gateway.order_send(message("one", service.store))
    assert (sent.state, sent.verdict, sent.replayed) == (RequestState.ANSWERED, Verdict.ACCEPTED, False)
    again = gateway.order_send(message("one", service.store))
    assert (again.order, again.replayed) == (sent.order, True)
    assert [row["ticket"] for row in sandbox.books()["positions"]] == [sent.order]
    found = gateway.order_status("one", store=service.store, fence=True, lookup=True).lookup
    assert found is not None
    assert [order.ticket for order in found.orders] == [sent.order]


def test_what_the_sandbox_refuses_is_refused_as_by_the_service(gateway):
    service = gateway.ping()
    assert service is not None
    for fields, code in (
        ({"volume": "0.105"}, "BAD_REQUEST"),
        ({"valid_until_utc_msc": 1}, "EXPIRED"),
        ({"login": 1}, "WRONG_ACCOUNT"),
        ({"valid_until_utc_msc": utc_msc() + 600_000}, "CLOCK_SKEW"),
    ):
        with pytest.raises(GatewayRefused) as refused:
            gateway.order_send(message("wrong", service.store, **fields))
        assert (refused.value.code, refused.value.executed) == (code, "never")
    assert gateway.order_status("wrong", store=service.store, fence=True, lookup=True).answer.state is RequestState.FENCED
    assert gateway.tick("EURUSD").symbol == "EURUSD"
    with pytest.raises(GatewayRefused, match="BAD_REQUEST") as refused:
        gateway.tick("NOTHING")
    assert refused.value.executed is None


# ---- the order form of existing engines


def engine_order(order_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "req_id": order_id, "order_id": order_id, "symbol": "EURUSD", "action": "BUY", "volume": 0.1, "price": 1.0851,
        "confidence": 0.7, **fields,
    }  # fmt: skip


def test_an_order_of_the_engine_form_is_filled_once(tmp_path):
    with ServedTerminal(tmp_path, allow_engine_form=True) as served:
        served.until_connected()
        first = served.ask_fields(engine_order("e1"))
        assert (first["status"], first["order_id"], first["filled_volume"], first["error"]) == ("FILLED", "e1", 0.1, None)
        again = served.ask_fields(engine_order("e1"))
        assert (again["ticket"], again["replayed"]) == (first["ticket"], True)
        assert served.ask_fields(engine_order("e1", action="SELL"))["status"] == "UNKNOWN"
        for fields in ({"volume": "0.1"}, {"volume": 0.105}, {"symbol": "*"}, {"order_id": "a b"}, {"order_id": None}):
            wrong = served.ask_fields(engine_order("e2") | fields)
            assert (wrong["status"], wrong["executed"]) == ("REJECTED", "never"), wrong
        served.terminal.control("fail", fault="unknown-executed:1")
        assert served.ask_fields(engine_order("e3"))["status"] == "UNKNOWN"
        served.terminal.control("fail", fault="requote:1")
        assert served.ask_fields(engine_order("e4"))["status"] == "REJECTED"
        assert served.terminal.control("sent")["sent"] == 3


def test_without_leave_the_engine_form_is_an_unknown_action(tmp_path):
    with ServedTerminal(tmp_path) as served:
        served.until_connected()
        assert served.ask_fields(engine_order("e1"))["error_code"] == "UNKNOWN_ACTION"


def test_a_sandbox_of_the_base_form_takes_no_orders():
    with Sandbox.start("--form", "base") as sandbox, zmq.Context() as context, context.socket(zmq.REQ) as asking:
        asking.linger = 0
        asking.connect(sandbox.endpoint)
        asking.send(json.dumps(send_fields("one", "store")).encode())
        assert asking.poll(GIVE_UP_MS)
        assert json.loads(asking.recv())["error_code"] == "UNKNOWN_ACTION"
