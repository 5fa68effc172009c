"""The sandbox survives every request: whatever is sent to either of its ports, over real sockets, it answers the next one."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from typing import Any

import pytest
import zmq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.gateway.sandbox.server import SandboxServer
from ledger.gateway.sandbox.terminal import START_MSC, SYMBOLS, Terminal
from ledger.values import MarginMode

ACTIONS = ("GET_POSITIONS", "GET_DEALS", "GET_ACCOUNT", "GET_SYMBOLS", "PING", "SEND_ORDER", "WHAT")
COMMANDS = (
    "fault", "clear", "advance", "trade_manually", "trade", "close", "close_by", "fill_more", "cash", "rollover", "swap",
    "stop_out", "play", "books", "stats", "what",
)  # fmt: skip
FIELDS = (
    "symbol", "side", "volume", "position", "other", "order", "magic", "comment", "parts", "from_msc", "to_msc", "req_id",
    "msc", "count", "kind", "times", "slow_ms", "late_deals", "type", "amount",
)  # fmt: skip
PATIENCE_MSC = 20_000

scalars: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["EURUSD", "buy", "sell", "0.10", "1e400", "NaN", "-Infinity", "offline", "foreign", "slow", "half",
                       "error", 10**18, 10**25, 50_000_000_001])
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=4
)
fields = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), values, max_size=5)
requests = st.builds(lambda action, rest: {**rest, "action": action}, st.sampled_from(ACTIONS) | values, fields)
commands = st.builds(lambda command, rest: {**rest, "command": command}, st.sampled_from(COMMANDS) | values, fields)
raws = st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode())


class Served:
    """A sandbox in a thread, and sockets to it that send whatever they like."""

    def __init__(self) -> None:
        terminal = Terminal(
            mode=MarginMode.HEDGING, symbols=dict(SYMBOLS), now_msc=START_MSC, seed=1, login=7, server="Sandbox", currency="USD"
        )
        terminal.cash(2, Decimal(10_000), "first")
        self.server = SandboxServer(terminal)
        ready = threading.Event()
        self.endpoints: tuple[str, str] = ("", "")

        def note(endpoint: str, control: str) -> None:
            self.endpoints = (endpoint, control)
            ready.set()

        self.thread = threading.Thread(target=self.server.serve, args=(note,), daemon=True)
        self.thread.start()
        assert ready.wait(20)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def send(self, port: int, frames: list[bytes], *, is_answered: bool = True) -> bytes | None:
        """Send frames to a port; return the answer, or None where none is waited for."""
        socket = self.context.socket(zmq.DEALER)
        socket.linger = 0
        try:
            socket.connect(self.endpoints[port])
            socket.send_multipart([b"", *frames])
            if not is_answered:
                return None
            assert socket.poll(PATIENCE_MSC), f"no answer to {frames!r:.300}"
            return socket.recv_multipart()[-1]
        finally:
            socket.close()

    def is_well(self) -> bool:
        assert json.loads(self.send(1, [b'{"command": "clear"}']) or b"")["status"] == "SUCCESS"
        for action in ACTIONS[:5]:
            answer = json.loads(self.send(0, [json.dumps({"action": action, "req_id": "1"}).encode()]) or b"")
            assert (answer["status"], answer["req_id"]) == ("SUCCESS", "1"), answer
        return self.thread.is_alive()

    def stop(self) -> None:
        self.server.stop()
        self.thread.join()
        self.context.term()


@pytest.fixture(scope="module")
def served():
    served = Served()
    yield served
    served.stop()


def strict(raw: bytes | None) -> Any:
    """Read an answer as a strict reader does."""

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    return json.loads(raw or b"", parse_constant=refuse)


@given(asked=requests)
@settings(max_examples=150)
@example({"action": "GET_POSITIONS", "req_id": 5})
@example({"action": "GET_POSITIONS", "req_id": float("nan")})
@example({"action": {"a": []}, "req_id": []})
@example({"action": "GET_DEALS", "from_msc": "x"})
@example({"action": "GET_DEALS", "position": []})
@example({"action": "SEND_ORDER", "symbol": [], "side": {}, "volume": None})
@example({"action": "SEND_ORDER", "symbol": "EURUSD", "side": "buy", "volume": "0.10", "parts": 10**12})
@example({"action": "SEND_ORDER", "symbol": "EURUSD", "side": "buy", "volume": "0.10", "magic": None})
@example({"action": "SEND_ORDER", "symbol": "EURUSD", "side": "buy", "volume": "0.10", "comment": "\ud800"})
def test_any_request_is_answered_and_so_is_the_next(served, asked):
    strict(served.send(0, [json.dumps(asked).encode()]))
    assert served.is_well()


@given(command=commands)
@settings(max_examples=150)
@example({"command": "fault", "kind": "slow", "slow_ms": "x"})
@example({"command": "fault", "kind": "error", "times": "x"})
@example({"command": "fault", "kind": "late-deals", "late_deals": "x", "times": -1})
@example({"command": "fault", "kind": []})
@example({"command": "advance", "msc": 10**30})
@example({"command": "trade_manually", "count": 10**12})
@example({"command": "cash", "type": 2, "amount": "NaN"})
@example({"command": "cash", "type": [], "amount": 1})
@example({"command": "cash", "type": 2, "amount": "1e999999"})
@example({"command": "rollover", "position": {}})
@example({"command": ["a"]})
def test_any_command_is_answered_and_so_is_the_next(served, command):
    if command.get("command") == "trade_manually" and isinstance(command.get("count"), int):
        command["count"] = min(command["count"], 5) if command["count"] < 10**9 else command["count"]
    strict(served.send(1, [json.dumps(command).encode()]))
    assert served.is_well()


@given(frames=st.lists(raws, min_size=1, max_size=3), port=st.sampled_from([0, 1]))
@settings(max_examples=150)
@example([b"[" * 100_000], 0)
@example([b"[" * 100_000], 1)
@example([b'{"command": "books"}', b"more"], 1)
@example([b"1" * 5000], 0)
@example([b"\xff\xfe"], 1)
@example([b'{"action": "PING", "req_id": ' + b"[" * 900 + b"]" * 900 + b"}"], 0)
def test_any_frames_are_answered_and_so_are_the_next(served, frames, port):
    strict(served.send(port, frames))
    assert served.is_well()


def test_a_client_that_leaves_before_the_answer_does_not_end_the_server(served):
    for port in (0, 1):
        for _ in range(20):
            served.send(port, [b'{"action": "PING", "command": "books"}'], is_answered=False)
    assert served.is_well()


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 200, b"\x00" * 64, b""])
def test_a_client_of_another_protocol_does_not_end_the_server(noise, served):
    import socket

    for endpoint in served.endpoints:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(noise)
    assert served.is_well()
