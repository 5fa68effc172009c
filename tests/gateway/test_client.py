"""The client against terminals that answer, hang, mix up, cut off and come back."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import zmq
import zmq.error

from ledger.errors import (
    BadValue,
    GatewayDenied,
    GatewayError,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    SnapshotRefused,
)
from ledger.gateway import client
from ledger.gateway.client import ZmqGateway, checked_endpoint
from ledger.gateway.curve import ClientKeys
from ledger.gateway.forms import FORMS
from ledger.gateway.mql5_json_api import Mql5JsonApiGateway
from ledger.gateway.open import open_gateway
from tests.gateway.terminals import GIVE_UP_SEC, Terminal, echoing, plain, positions, silent, until, unused_port

PATIENT = round(GIVE_UP_SEC * 1000)  # a call that has to succeed may take as long as a test waits
BRISK = 250  # a call that has to fail


def tickets(gateway: ZmqGateway) -> list[int]:
    return [row.ticket for row in gateway.positions().positions]


def hasty(endpoint: str) -> ZmqGateway:
    """A client that first connects with all patience, and waits for nothing from then on."""
    gateway = ZmqGateway(endpoint, timeout_ms=PATIENT)
    connection = gateway._connected()
    until(lambda: bool(connection.listen()) or connection.is_ready, "the connection")
    until(lambda: connection.listen() is not None and connection.is_ready, "the handshake")
    gateway.timeout_ms = BRISK
    return gateway


# ---- answers


@pytest.mark.parametrize("kind", [zmq.REP, zmq.ROUTER])
def test_a_server_of_either_kind_is_understood_again_and_again(kind):
    with Terminal(plain, kind=kind) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        assert [tickets(gateway) for _ in range(3)] == [[1], [2], [3]]


def test_a_request_states_what_is_asked_by_which_id_and_how_long_we_wait():
    with Terminal(echoing) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        gateway.positions()
        gateway.positions()
    first, second = server.asked
    assert first.keys() == {"action", "symbol", "req_id", "deadline_msc"}
    assert (first["action"], first["symbol"]) == ("GET_POSITIONS", "*")
    assert 0 < first["deadline_msc"] <= PATIENT
    assert first["req_id"] != second["req_id"]


def test_only_an_answer_that_echoes_our_id_is_extended():
    for script, is_extended in ((plain, False), (echoing, True)):
        with Terminal(script) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
            assert gateway.positions().is_extended is is_extended


def test_deals_are_asked_by_what_is_given_only():
    def deals(number, request):
        return (json.dumps({"status": "SUCCESS", "req_id": request["req_id"], "deals": []}).encode(),)

    with Terminal(deals) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        assert gateway.deals(from_msc=0, to_msc=5).deals == ()
        gateway.deals(position=7)
    spans = [
        {name: request[name] for name in ("from_msc", "to_msc", "position") if name in request} for request in server.asked
    ]
    assert spans == [{"from_msc": 0, "to_msc": 5}, {"position": 7}]


def test_an_error_is_raised_with_its_code_and_never_an_empty_list():
    def refusing(number, request):
        return (b'{"status": "ERROR", "error_code": 5040, "error_msg": "no data", "positions": []}',)

    with Terminal(refusing) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        with pytest.raises(GatewayRefused) as refused:
            gateway.positions()
        assert (refused.value.code, refused.value.detail) == ("5040", "no data")


# ---- whose answer it is


def test_an_answer_to_somebody_else_is_dropped_and_counted():
    def mixed_up(number, request):
        return positions(666, echo={"req_id": "another"}), positions(number, echo=request)

    with Terminal(mixed_up) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        assert (tickets(gateway), gateway.dropped) == ([1], 1)


@pytest.mark.parametrize("name", ["reqId", "request_id", "REQUEST_ID", "uuid", "id"])
@pytest.mark.parametrize("other", ["another", 17])
def test_an_answer_to_somebody_else_is_dropped_whatever_key_names_the_request(name, other):
    def mixed_up(number, request):
        theirs = json.loads(positions(666)) | {name: other}
        failed = {"status": "ERROR", "error_msg": "theirs", name: other}
        return json.dumps(theirs).encode(), json.dumps(failed).encode(), positions(number, echo=request)

    with Terminal(mixed_up) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        assert (tickets(gateway), gateway.dropped) == ([1], 2)


def test_answers_to_somebody_else_are_no_answer():
    def theirs(number, request):
        return (json.dumps(json.loads(positions()) | {"requestId": 5, "note": request["req_id"]}).encode(),)

    dropped = pytest.raises(GatewayTimeout, match="1 answers to other requests were dropped")
    with Terminal(theirs) as server, hasty(server.endpoint) as gateway, dropped:
        gateway.positions()


def test_an_answer_that_cannot_be_read_leaves_the_connection_as_it_is():
    def once_bad(number, request):
        return (positions(0, echo=request) if number == 1 else positions(number, echo=request),)

    with Terminal(once_bad) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        with pytest.raises(SnapshotRefused, match="row 1, ticket"):
            gateway.positions()
        connection = gateway._connected()
        assert tickets(gateway) == [2]
        assert gateway._connected() is connection


def test_a_gateway_that_echoed_once_must_go_on_echoing():
    def forgetful(number, request):
        return (positions(number, echo=request),) if number == 1 else (positions(666), positions(number, echo=request))

    with Terminal(forgetful) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        assert (tickets(gateway), tickets(gateway), gateway.dropped) == ([1], [2], 1)


def test_an_error_without_an_echo_is_raised_all_the_same():
    def failing(number, request):
        return (positions(number, echo=request) if number == 1 else b'{"status": "ERROR", "error_msg": "busy"}',)

    with Terminal(failing) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        gateway.positions()
        with pytest.raises(GatewayRefused, match="busy"):
            gateway.positions()


def test_another_program_in_its_place_need_not_echo():
    with Terminal(echoing) as server:
        gateway = ZmqGateway(server.endpoint, timeout_ms=PATIENT)
        gateway.positions()
    with Terminal(plain, port=server.port), gateway:
        assert tickets(gateway) == [1]


def test_a_late_answer_is_never_the_next_one():
    def late(number, request):
        if number == 1:
            return ()
        server.answer_late(1, positions(666))
        return (positions(number),)

    with Terminal(late) as server, hasty(server.endpoint) as gateway:
        with pytest.raises(GatewayTimeout, match="no answer to GET_POSITIONS within 250 ms"):
            gateway.positions()
        server.wait_asked(1)
        gateway.timeout_ms = PATIENT
        assert tickets(gateway) == [2]


def test_an_answer_that_nobody_asked_for_is_never_the_next_one():
    def twice(number, request):
        return (positions(1), positions(666)) if number == 1 else (positions(number),)

    with Terminal(twice) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        assert tickets(gateway) == [1]
        assert gateway._connected().socket.poll(PATIENT)
        assert (tickets(gateway), gateway.dropped) == ([2], 1)


def test_an_interrupted_call_leaves_no_answer_behind():
    def late(number, request):
        if number == 1:
            return ()
        server.answer_late(1, positions(666))
        return (positions(number),)

    def interrupted() -> float:
        if server.asked:
            raise KeyboardInterrupt
        return time.monotonic()

    with Terminal(late) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT, monotonic=interrupted) as gateway:
        with pytest.raises(KeyboardInterrupt):
            gateway.positions()
        gateway._monotonic = time.monotonic
        assert tickets(gateway) == [2]


def test_threads_get_their_own_answers():
    def by_action(number, request):
        return (json.dumps({"status": "SUCCESS", "req_id": request["req_id"], "positions": [], "count": number}).encode(),)

    with Terminal(by_action) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        with ThreadPoolExecutor(8) as pool:
            counts = [snapshot.count for snapshot in pool.map(lambda _: gateway.positions(), range(64))]
        assert (sorted(map(int, filter(None, counts))), gateway.dropped) == (list(range(1, 65)), 0)


def test_waiting_for_another_thread_is_part_of_the_deadline():
    with Terminal(silent) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        held, done = threading.Event(), threading.Event()

        def hold():
            with gateway._lock:
                held.set()
                done.wait(GIVE_UP_SEC)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(GIVE_UP_SEC)
        gateway.timeout_ms = BRISK
        with pytest.raises(GatewayTimeout, match="another call"):
            gateway.positions()
        assert gateway.reconnections == 0  # asking costs nothing and never waits
        done.set()
        holder.join()


# ---- connections


def test_nobody_there_is_a_timeout_that_asks_whether_it_runs():
    gateway = ZmqGateway(f"tcp://127.0.0.1:{unused_port()}", timeout_ms=BRISK)
    with gateway, pytest.raises(GatewayTimeout, match="is it running"):
        gateway.positions()


def test_something_that_is_no_gateway_is_named_as_such():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gateway = ZmqGateway(f"tcp://127.0.0.1:{listener.getsockname()[1]}", timeout_ms=BRISK)
        with gateway, pytest.raises(GatewayTimeout, match="never finishes the handshake"):
            gateway.positions()


def test_a_restarted_server_gets_no_abandoned_request():
    with Terminal(silent) as server:
        gateway = hasty(server.endpoint)
        for _ in range(2):
            with pytest.raises(GatewayTimeout):
                gateway.positions()
    for _ in range(2):
        with pytest.raises(GatewayTimeout):
            gateway.positions()
    with Terminal(echoing, port=server.port) as restarted, gateway:
        gateway.timeout_ms = PATIENT
        assert tickets(gateway) == [1]
        assert len(restarted.asked) == 1
        assert gateway.reconnections == 1


def test_a_connection_that_came_back_is_counted_without_a_call():
    with Terminal(echoing) as server:
        gateway = ZmqGateway(server.endpoint, timeout_ms=PATIENT)
        gateway.positions()
        assert gateway.reconnections == 0
    with Terminal(echoing, port=server.port), gateway:
        until(lambda: gateway.reconnections == 1, "the return of the connection")
        gateway.positions()
        assert gateway.reconnections == 1


def test_a_gateway_that_hangs_and_stays_connected_did_not_come_back():
    def hanging(number, request):
        return () if number <= 3 else (positions(number),)

    with Terminal(hanging) as server, hasty(server.endpoint) as gateway:
        for number in range(1, 4):
            with pytest.raises(GatewayTimeout):
                gateway.positions()
            server.wait_asked(number)
            until(lambda: gateway.reconnections == 0 and gateway._connected().is_ready, "the new socket")
        gateway.timeout_ms = PATIENT
        assert tickets(gateway) == [4]
        assert gateway.reconnections == 0


def test_a_read_that_was_cut_off_is_sent_once_more():
    died = threading.Event()

    def dying(number, request):
        died.set()
        return ()

    with ThreadPoolExecutor(1) as pool:
        with Terminal(dying) as server:
            gateway = ZmqGateway(server.endpoint, timeout_ms=PATIENT)
            asked = pool.submit(tickets, gateway)
            assert died.wait(GIVE_UP_SEC)
        with Terminal(echoing, port=server.port) as restarted, gateway:
            assert asked.result(GIVE_UP_SEC) == [1]
            assert (len(restarted.asked), gateway.reconnections) == (1, 1)


def test_an_answer_that_is_too_large_is_asked_for_twice_and_no_more():
    large = {"is": True}

    def answers(number, request):
        return (positions(*range(1, 100 if large["is"] else 2), echo=request),)

    with Terminal(answers) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT, message_bytes_max=1000) as gateway:
        with pytest.raises(GatewayUnavailable, match="larger than 1000 bytes"):
            gateway.positions()
        assert len(server.asked) == 2
        until(lambda: gateway.reconnections == 0 and gateway._connected().is_ready, "the new socket")
        assert gateway.reconnections == 0  # or the reconciler would ask again at once
        large["is"] = False
        assert tickets(gateway) == [1]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="only a POSIX system can stop a process")
def test_a_connected_peer_that_sends_nothing_is_noticed_without_a_call():
    program = (
        "import zmq; socket = zmq.Context().socket(zmq.REP);"
        "print(socket.bind_to_random_port('tcp://127.0.0.1'), flush=True)\n"
        'while socket.recv(): socket.send(b\'{"status": "SUCCESS", "positions": []}\')'
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdout is not None
        endpoint = f"tcp://127.0.0.1:{int(peer.stdout.readline())}"
        with ZmqGateway(endpoint, timeout_ms=PATIENT, heartbeat_ms=100, heartbeat_timeout_ms=300) as gateway:
            assert tickets(gateway) == []
            os.kill(peer.pid, signal.SIGSTOP)
            until(lambda: gateway.reconnections == 0 and not gateway._connected().is_ready, "silence to be noticed")
            os.kill(peer.pid, signal.SIGCONT)
            assert tickets(gateway) == []
            assert gateway.reconnections == 1
        peer.kill()


def test_a_closed_client_reports_it_and_can_be_closed_twice():
    with Terminal(echoing) as server:
        gateway = ZmqGateway(server.endpoint, timeout_ms=PATIENT)
        gateway.positions()
        gateway.close()
        gateway.close()
        with pytest.raises(GatewayUnavailable, match="closed"):
            gateway.positions()


def test_noise_on_the_wire_is_refused_and_the_next_call_goes_on():
    def noisy(number, request):
        return (b"\xff\x00[[[",) if number == 1 else (positions(number),)

    with Terminal(noisy) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        with pytest.raises(SnapshotRefused):
            gateway.positions()
        assert tickets(gateway) == [2]


# ---- endpoints, tables


@pytest.mark.parametrize(
    "endpoint",
    ["", "127.0.0.1:5555", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999", "tcp://h:1:2", "tcp://[::1",
     "http://127.0.0.1:5555", "tcp://127.0.0.1:5555/x", "tcp://127.0.0.1:5555?x", "tcp://a@127.0.0.1:5555", "tcp://127.0.0.1:55\n55",
     "tcp://127.0.0.1 :5555", "ipc://", "tcp://127.0.0.1:5555;10.0.0.9:1"],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(endpoint):
    with pytest.raises(BadValue, match="tcp://HOST:PORT"):
        ZmqGateway(endpoint, allow_insecure=True)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:5555", "tcp://127.0.0.9:1", "tcp://localhost:5555", "tcp://[::1]:5555"])
def test_this_machine_is_contacted_without_keys(endpoint):
    assert checked_endpoint(endpoint, has_keys=False, allow_insecure=False) == endpoint


@pytest.mark.parametrize(
    "endpoint", ["tcp://10.0.0.9:5555", "tcp://desk.example:5555", "tcp://0.0.0.0:5555", "tcp://[2001:db8::1]:5555"]
)
def test_another_machine_is_contacted_with_keys_or_on_demand_only(endpoint):
    for form in FORMS:
        with pytest.raises(GatewayDenied, match=r"ledger keys make.*--insecure"):
            open_gateway(endpoint, form=form)
    open_gateway(endpoint, allow_insecure=True).close()
    assert checked_endpoint(endpoint, has_keys=True, allow_insecure=False) == endpoint


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://no host:5", "tcp://256.1.1.1:5555", "ipc:///no/such/folder/socket", "inproc://nobody", "ipc:///" + "x" * 200],
)
def test_whatever_zeromq_makes_of_an_endpoint_is_one_of_our_errors(endpoint):
    with pytest.raises((GatewayError, BadValue)), ZmqGateway(endpoint, timeout_ms=BRISK, allow_insecure=True) as gateway:
        gateway.positions()


def test_every_error_of_zeromq_has_a_meaning():
    raised = {
        error
        for _, error in inspect.getmembers(zmq.error, inspect.isclass)
        if issubclass(error, Exception) and error.__module__ == zmq.error.__name__ and not issubclass(error, Warning)
    }
    assert {error.__name__ for error in raised} == client.ERRORS.keys()


def test_the_nearest_meaning_decides():
    assert isinstance(client.translate_error(zmq.Again(), "tcp://x:1"), GatewayTimeout)
    assert isinstance(client.translate_error(zmq.ContextTerminated(), "tcp://x:1"), GatewayUnavailable)
    assert "tcp://x:1" in str(client.translate_error(zmq.ZMQError(zmq.EFSM), "tcp://x:1"))


def test_a_gateway_is_opened_by_its_form():
    with Terminal(plain, kind=zmq.REP) as server:
        for form, kind in zip(FORMS, (ZmqGateway, Mql5JsonApiGateway, Mql5JsonApiGateway), strict=True):
            gateway = open_gateway(server.endpoint, form=form)
            assert type(gateway) is kind
            gateway.close()


def test_an_unknown_form_is_refused_and_keys_are_never_left_unused():
    with pytest.raises(BadValue, match="json, mql5-json-api, ejtrader"):
        open_gateway("tcp://127.0.0.1:5555", form="jsno")  # type: ignore[arg-type]
    keys = ClientKeys(public=b"p", secret=b"s", server_public=b"q")
    with pytest.raises(BadValue, match="knows no keys"):
        open_gateway("tcp://127.0.0.1:5555", form="ejtrader", keys=keys)
