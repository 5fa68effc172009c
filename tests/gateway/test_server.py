"""The server alone: whatever answers behind it is a gateway to the client, at once, later, or not at all."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from typing import Any, Final, Self

import pytest
import zmq

from ledger.errors import GatewayRefused
from ledger.gateway.client import ZmqGateway
from ledger.gateway.server import Call, GatewayServer
from ledger.protocol.messages import Extension, GetPositions, Head, Ping, Pong, Positions, Query, Refusal
from ledger.protocol.read import read_query
from ledger.protocol.write import write_request
from ledger.values import MarginMode
from tests.gateway.terminals import GIVE_UP_SEC, until

PATIENT: Final = 20_000
HEAD: Final = Head(login=7, server="Desk", margin_mode=MarginMode.HEDGING, server_time_msc=1704153600123, connected=True)
ROW: Final = {"ticket": 5, "symbol": "EURUSD", "type": "buy", "volume": 0.1, "price_open": 1.1}


class Served:
    """A server in a thread, before a responder that does with a call what a test defines."""

    def __init__(self, answer: Callable[[Call], object], run_due: Callable[[], float] = lambda: math.inf) -> None:
        self._answer, self._run_due = answer, run_due
        self.server = GatewayServer(self)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        ready = threading.Event()
        self._thread = threading.Thread(target=self.server.serve, args=(self.context, lambda _: ready.set()))
        self._thread.start()
        assert ready.wait(GIVE_UP_SEC)
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(self.server.endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self._thread.join()
        self.socket.close()
        self.context.term()

    def take(self, call: Call) -> None:
        self._answer(call)

    def run_due(self) -> float:
        return self._run_due()

    def ask(self, raw: bytes | Query, req_id: str = "a") -> None:
        raw = raw if isinstance(raw, bytes) else write_request(raw, req_id=req_id)
        self.socket.send_multipart([b"", raw])

    def answer(self) -> dict[str, Any]:
        assert self.socket.poll(PATIENT)
        answer: dict[str, Any] = json.loads(self.socket.recv_multipart()[1])
        return answer


def pong(call: Call) -> None:
    call.answer(Pong(head=HEAD))


def test_whatever_answers_behind_it_is_a_gateway_to_the_client():
    def answer(call: Call) -> None:
        is_known = isinstance(read_query(call.request), GetPositions)
        call.answer(Positions(head=HEAD, rows=[ROW]) if is_known else Refusal("BUSY", "a call is under way"))

    with Served(answer) as served, ZmqGateway(served.server.endpoint, timeout_ms=PATIENT) as gateway:
        snapshot = gateway.positions()
        assert [row.ticket for row in snapshot.positions] == [5]
        assert (snapshot.is_extended, snapshot.login, snapshot.server, snapshot.count) == (True, 7, "Desk", 1)
        with pytest.raises(GatewayRefused, match="BUSY"):
            gateway.account()


def test_calls_may_be_answered_later_and_in_another_order():
    calls: list[Call] = []

    def run_due() -> float:
        if len(calls) == 2:
            pong(calls.pop())
            pong(calls.pop())
        return math.inf

    with Served(calls.append, run_due) as served:
        served.ask(Ping(), "first")
        served.ask(Ping(), "second")
        assert [served.answer()["req_id"] for _ in range(2)] == ["second", "first"]


def test_a_responder_that_fails_answers_an_error_and_the_next_request():
    def answer(call: Call) -> None:
        if call.request.action == "FAIL":
            raise KeyError("nothing there")
        pong(call)

    with Served(answer) as served:
        served.ask(b'{"action":"FAIL","req_id":"a"}')
        error = served.answer()
        assert (error["status"], error["error_code"], error["error_msg"], error["req_id"]) == (
            "ERROR", "INVALID_REQUEST", "KeyError: 'nothing there'", "a",
        )  # fmt: skip
        served.ask(Ping())
        assert served.answer()["status"] == "SUCCESS"


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"action":1}', b"\xff", b'{"req_id":"a"}'])
def test_what_is_no_request_is_refused_before_the_responder(raw):
    calls: list[Call] = []
    with Served(calls.append) as served:
        served.ask(raw)
        assert served.answer()["error_code"] == "MALFORMED_REQUEST"
    assert calls == []


def test_an_action_of_its_own_is_answered_by_a_responder_with_fields_of_its_own():
    with Served(lambda call: call.answer(Extension(fields={"given": call.request.fields["x"]}))) as served:
        served.ask(b'{"action":"OWN","x":[1],"req_id":"a"}')
        assert served.answer() == {"status": "SUCCESS", "req_id": "a", "given": [1]}


def test_a_restart_loses_what_was_not_answered_and_keeps_the_port():
    before: list[Call] = []
    restarted = threading.Event()

    def answer(call: Call) -> None:
        if call.request.action == "RESTART":
            served.server.restart()
            restarted.set()
        elif call.request.action == "WAIT":
            before.append(call)
        else:
            for one in before:
                pong(one)
            pong(call)

    with Served(answer) as served:
        endpoint = served.server.endpoint
        served.ask(b'{"action":"WAIT","req_id":"lost"}')
        served.ask(b'{"action":"RESTART"}')
        until(restarted.is_set, "the restart")
        with ZmqGateway(endpoint, timeout_ms=PATIENT) as gateway:
            gateway.ping()  # asks again if it came too early
        assert len(before) == 1
        assert not served.socket.poll(0)
        assert served.server.endpoint == endpoint


def test_further_sockets_are_read_beside_the_requests():
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    inner, outer = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    heard: list[bytes] = []
    served: GatewayServer

    class Silent:
        def take(self, call: Call) -> None:
            pass

        def run_due(self) -> float:
            return math.inf

    def read() -> None:
        heard.append(inner.recv())
        served.stop()

    inner.bind("inproc://further")
    outer.connect("inproc://further")
    outer.send(b"end")
    served = GatewayServer(Silent())
    served.serve(context, watched={inner: read})
    assert heard == [b"end"]
    inner.close()
    outer.close()
    context.term()
