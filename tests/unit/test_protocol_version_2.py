"""Protocol version 2 as both sides write and read it: PING, GET_EVENTS, and what is pushed."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from ledger.errors import GatewayRefused, SnapshotRefused
from ledger.protocol.echo import Asked
from ledger.protocol.messages import (
    Deals,
    EncodedRows,
    Events,
    GetEvents,
    Head,
    Ping,
    Pong,
    Refusal,
    ServiceState,
    Symbols,
)
from ledger.protocol.read import read_deals, read_events, read_pong, read_pushed, read_query, read_request, read_symbols
from ledger.protocol.write import encode_rows, write_answer, write_request
from ledger.values import MarginMode

HEAD: Final = Head(login=7, server="Desk", margin_mode=MarginMode.HEDGING, server_time_msc=1704153600123, connected=True)
STATE: Final = ServiceState(
    protocol=2, can=("push", "orders"), store="a1", epoch=41, seq=80213, push_port=5556, trade_allowed=True,
    gateway_time_msc=1764172800120, terminal_process={"state": "busy", "call": "order_send", "since_msc": 1764172799000},
)  # fmt: skip
ROW: Final[dict[str, Any]] = {"seq": 8, "kind": "order", "at_msc": 1764172799512, "data": {"ticket": 5}}


def test_a_service_states_itself_and_a_client_reads_it():
    raw = write_answer(Pong(head=HEAD, service=STATE), echo={"req_id": "a"})
    found = read_pong(raw, Asked("a"))
    assert found is not None
    assert (found.protocol, found.can, found.store, found.epoch, found.seq) == (2, {"push", "orders"}, "a1", 41, 80213)
    assert (found.push_port, found.login, found.server, found.connected, found.trade_allowed) == (5556, 7, "Desk", True, True)
    assert found.gateway_time_msc == 1764172800120
    assert json.loads(raw)["terminal_process"]["call"] == "order_send"


def test_a_service_that_has_no_terminal_yet_states_itself_all_the_same():
    found = read_pong(write_answer(Pong(head=None, service=STATE), echo={"req_id": "a"}), Asked("a"))
    assert found is not None
    assert (found.login, found.server, found.connected, found.seq) == (None, None, None, 80213)


def test_a_gateway_of_version_1_states_nothing():
    assert read_pong(write_answer(Pong(head=HEAD), echo={"req_id": "a"}), Asked("a")) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("can", None), ("can", "push"), ("can", [1]), ("store", None), ("store", 7), ("epoch", "soon"), ("epoch", -1),
        ("seq", None), ("seq", 1.5), ("push_port", 0), ("push_port", 70_000), ("protocol", "two"), ("trade_allowed", "yes"),
        ("gateway_time_msc", "now"), ("gateway_time_msc", 1.5),
    ],
)  # fmt: skip
def test_a_statement_that_cannot_be_read_is_refused_by_its_field(field, value):
    raw = json.dumps(json.loads(write_answer(Pong(head=HEAD, service=STATE))) | {field: value}).encode()
    with pytest.raises(SnapshotRefused) as refused:
        read_pong(raw)
    assert refused.value.field == field


def test_events_are_asked_for_by_number_and_read_in_their_order():
    asked = read_request(write_request(GetEvents(after_seq=7, limit=2), req_id="a"))
    assert read_query(asked) == GetEvents(after_seq=7, limit=2)
    raw = write_answer(Events(head=HEAD, store="a1", epoch=41, rows=[ROW, {**ROW, "seq": 9}]), echo={"req_id": "a"})
    found = read_events(raw, Asked("a"))
    assert [(one.seq, one.kind, one.store, one.epoch, one.at_msc, dict(one.data)) for one in found] == [
        (8, "order", "a1", 41, 1764172799512, {"ticket": 5}),
        (9, "order", "a1", 41, 1764172799512, {"ticket": 5}),
    ]


@pytest.mark.parametrize("row", [7, {}, {**ROW, "seq": -1}, {**ROW, "kind": 5}, {**ROW, "at_msc": "x"}])
def test_an_event_that_cannot_be_read_is_refused(row):
    raw = write_answer(Events(head=HEAD, store="a1", epoch=41, rows=[ROW, row]))
    with pytest.raises(SnapshotRefused, match="row 2"):
        read_events(raw)


def test_a_gap_is_an_error_with_its_code():
    with pytest.raises(GatewayRefused) as refused:
        read_events(write_answer(Refusal("GAP", "sync")))
    assert refused.value.code == "GAP"


def test_a_refusal_carries_its_further_fields():
    raw = write_answer(Refusal("READ_ONLY", "no orders", {"executed": "never"}), echo={"req_id": "a"})
    assert json.loads(raw) == {
        "req_id": "a", "status": "ERROR", "error_code": "READ_ONLY", "error_msg": "no orders", "executed": "never",
    }  # fmt: skip


def test_a_pushed_event_is_read():
    found = read_pushed(json.dumps({"store": "a1", "epoch": 41, **ROW}).encode())
    assert (found.store, found.epoch, found.seq, found.kind, found.data) == ("a1", 41, 8, "order", {"ticket": 5})


def test_a_heartbeat_carries_no_data():
    raw = json.dumps({"store": "a1", "epoch": 41, "seq": 8, "kind": "heartbeat", "at_msc": 5}).encode()
    assert read_pushed(raw).data == {}


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"{}", b'{"store":"a","epoch":1,"seq":NaN,"kind":"x","at_msc":1}'])
def test_what_is_no_event_is_refused(raw):
    with pytest.raises(SnapshotRefused):
        read_pushed(raw)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "after_seq is a whole number"),
        ({"after_seq": -1}, "after_seq is a whole number"),
        ({"after_seq": True}, "after_seq is a whole number"),
        ({"after_seq": 0, "limit": 0}, "limit is a whole number from 1 to 1000"),
        ({"after_seq": 0, "limit": 1001}, "limit is a whole number from 1 to 1000"),
    ],
)
def test_a_question_for_events_is_read_strictly(fields, why):
    request = read_request(json.dumps({"action": "GET_EVENTS", **fields}).encode())
    with pytest.raises(ValueError, match=why):
        read_query(request)


def test_rows_that_are_written_already_are_as_good():
    deal = {"ticket": 5, "time_msc": 1704153600123, "type": "buy", "entry": "in", "position_id": 5, "symbol": "EURUSD",
            "volume": 0.1, "price": 1.1}  # fmt: skip
    symbol = {"symbol": "EURUSD", "digits": 5}
    for rows in ([deal], encode_rows([deal])):
        (found,) = read_deals(write_answer(Deals(head=HEAD, rows=rows))).deals
        assert found.deal == 5
    for symbols in ([symbol], EncodedRows(raw=json.dumps([symbol]).encode(), count=1)):
        (one,) = read_symbols(write_answer(Symbols(head=HEAD, rows=symbols)))
        assert one.symbol == "EURUSD"


def test_ping_is_asked_as_before():
    assert read_query(read_request(write_request(Ping(), req_id="a"))) == Ping()
