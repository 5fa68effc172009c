"""MQL5-JSON-API and its fork: their answers over real sockets, and what they are when it is flat or fails."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager

import pytest
import zmq

from ledger.errors import GatewayRefused, GatewayTimeout, GatewayUnavailable, SnapshotRefused
from ledger.gateway.mql5_json_api import Mql5JsonApiGateway, read_positions
from ledger.values import Side
from tests.gateway.terminals import GIVE_UP_SEC, Terminal, until

PATIENT = round(GIVE_UP_SEC * 1000)
BRISK = 250
ROW = {
    "id": 50629002942, "magic": 7, "symbol": "EURUSD", "type": "POSITION_TYPE_SELL", "time_setup": 1704153600, "open": 1.1,
    "stoploss": 0, "takeprofit": 0, "volume": 0.1,
}  # fmt: skip


def listed(*ids: int) -> bytes:
    return json.dumps({"error": False, "positions": [ROW | {"id": number} for number in ids]}).encode()


def test_a_position_is_read_by_its_names():
    (position,) = read_positions(listed(50629002942)).positions
    assert (position.position_id, position.ticket, position.is_identified) == (50629002942, 50629002942, True)
    assert (position.side, str(position.volume), str(position.price_open)) == (Side.SELL, "0.1", "1.1")
    assert (position.opened_msc, position.magic, position.symbol) == (1704153600000, 7, "EURUSD")


@pytest.mark.parametrize("name", ["req_id", "requestId", "correlation_id"])
def test_an_answer_that_names_a_request_is_somebody_else_s(name):
    with pytest.raises(SnapshotRefused, match=name):
        read_positions(json.dumps({"error": False, "positions": [ROW], name: "x"}).encode())


def test_texts_and_ids_may_be_as_a_terminal_in_c_writes_them():
    row = ROW | {"id": 100001.0, "magic": 2**64 - 1, "symbol": "EURUSD\0\0", "comment": "x\0y"}
    (position,) = read_positions(json.dumps({"error": False, "positions": [row]}).encode() + b"\0").positions
    assert (position.position_id, position.magic, position.symbol, position.comment) == (100001, 2**64 - 1, "EURUSD", "x")


@pytest.mark.parametrize("rows", ["[{}]", "[]"])
def test_a_flat_account_has_no_error_key(rows):
    assert read_positions(f'{{"positions": {rows}}}'.encode()).positions == ()


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        (b'{"error": true, "lastError": "5040", "description": "no data", "positions": []}', "5040", "no data"),
        (b'{"error": true, "lastError": 10004, "desription": "requote"}', "10004", "requote"),
        (b'{"error": 1, "positions": [{}]}', None, "POSITIONS"),
        (b'{"error": "false", "positions": []}', None, "POSITIONS"),
    ],
)
def test_an_error_is_never_a_flat_account(raw, code, words):
    with pytest.raises(GatewayRefused, match=words) as refused:
        read_positions(raw)
    assert (refused.value.code or "").strip("'") == (code or "")


@pytest.mark.parametrize(
    "raw",
    [
        b"OK", b"{}", b'{"error": false}', b'{"error": false, "positions": [{}]}', b'{"error": false, "positions": null}',
        b'{"positions": [{}, null]}', b'{"positions": {}}', b"[]",
        json.dumps({"error": False, "positions": [{name: value for name, value in ROW.items() if name != "type"}]}).encode(),
        json.dumps({"error": False, "positions": [{name: value for name, value in ROW.items() if name != "id"}]}).encode(),
        json.dumps({"error": False, "positions": [ROW, {}]}).encode(),
        json.dumps({"error": False, "positions": [ROW | {"ticket": 5}]}).encode(),
    ],
)  # fmt: skip
def test_what_is_not_read_whole_is_refused(raw):
    with pytest.raises(SnapshotRefused):
        read_positions(raw)


@pytest.mark.parametrize("action", ["account", "deals", "symbols"])
def test_the_gateway_is_asked_for_positions_only(action):
    gateway = Mql5JsonApiGateway("tcp://127.0.0.1:5555")
    with pytest.raises(GatewayRefused, match="positions only"):
        getattr(gateway, action)()
    gateway.close()


# ---- sockets


def test_the_fork_answers_on_the_request_socket():
    with Terminal(lambda number, _: (listed(number),), kind=zmq.REP) as server:
        gateway = Mql5JsonApiGateway(server.endpoint, answers_at_once=True, timeout_ms=PATIENT)
        snapshots = [gateway.positions() for _ in range(2)]
        gateway.close()
    assert [row.position_id for snapshot in snapshots for row in snapshot.positions] == [1, 2]
    assert not any(snapshot.is_extended for snapshot in snapshots)
    assert server.asked == [{"action": "POSITIONS"}] * 2


def test_the_fork_recovers_from_a_timeout():
    with Terminal(lambda number, _: (listed(number),) if number > 1 else (), kind=zmq.ROUTER) as server:
        gateway = Mql5JsonApiGateway(server.endpoint, answers_at_once=True, timeout_ms=BRISK)
        while not server.asked:
            with pytest.raises(GatewayTimeout):
                gateway.positions()
        gateway.timeout_ms = PATIENT
        assert [row.position_id for row in gateway.positions().positions] == [2]
        gateway.close()


@contextmanager
def two_ports(script):
    """Run the original: OK on one port, what the script sends on the next; yields the terminal and the pushing socket."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pushing = context.socket(zmq.PUSH)
    pushing.linger = 0

    def answer(number, request):
        for raw in script(number):
            pushing.send(raw)
        return (b"OK",)

    with Terminal(answer, kind=zmq.REP, port=port_before(pushing)) as server:
        try:
            yield server, pushing
        finally:
            server.stop()
            pushing.close()
            context.term()


def port_before(pushing: zmq.Socket[bytes]) -> int:
    """Bind a socket where the port before is free too, and return that one."""
    while True:
        endpoint = f"tcp://127.0.0.1:{pushing.bind_to_random_port('tcp://127.0.0.1')}"
        before = int(endpoint.rpartition(":")[2]) - 1
        try:
            socket.create_server(("127.0.0.1", before)).close()
        except OSError:
            pushing.unbind(endpoint)
            continue
        return before


@contextmanager
def connected(server, timeout_ms=PATIENT):
    gateway = Mql5JsonApiGateway(server.endpoint, timeout_ms=timeout_ms)
    yield gateway
    gateway.close()


def test_the_original_answers_on_the_next_port():
    with two_ports(lambda number: (listed(number),)) as (server, _), connected(server) as gateway:
        assert [row.position_id for _ in range(2) for row in gateway.positions().positions] == [1, 2]


def test_a_message_left_in_the_queue_is_never_the_answer():
    with two_ports(lambda number: (listed(number),)) as (server, pushing), connected(server) as gateway:
        gateway.positions()
        pushing.send(listed(666))
        assert gateway._sockets is not None
        assert gateway._sockets[1].poll(PATIENT)
        assert [row.position_id for row in gateway.positions().positions] == [2]


def test_an_answer_without_ok_before_it_is_refused():
    server = Terminal(lambda *_: (b"NO",), kind=zmq.REP)
    with server, connected(server) as gateway, pytest.raises(SnapshotRefused, match="expected OK"):
        gateway.positions()


def test_a_closed_gateway_reports_it():
    gateway = Mql5JsonApiGateway("tcp://127.0.0.1:5555")
    gateway.close()
    with pytest.raises(GatewayUnavailable):
        gateway.positions()
    until(lambda: gateway._context.closed, "the end of it")
