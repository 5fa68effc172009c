"""The gateway service survives every request: it answers the next one, trades nothing, and harms no other client."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.service import ServedTerminal
from tools.faults.fuzz_service import VALID, Campaign, Endpoints, hostile_requests

ACTIONS = (
    "PING", "GET_POSITIONS", "GET_DEALS", "GET_ACCOUNT", "GET_SYMBOLS", "GET_EVENTS", "ORDER_SEND", "ORDER_STATUS", "WHAT",
)  # fmt: skip
FIELDS = ("symbol", "from_msc", "to_msc", "position", "after_seq", "limit", "deadline_msc", "req_id", "client_id", "command")

scalars: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["EURUSD", "*", "1e400", "NaN", 10**18, 10**25, 2**63 - 1])
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=4
)
fields = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), values, max_size=5)
requests = st.builds(lambda action, rest: {**rest, "action": action}, st.sampled_from(ACTIONS) | values, fields)
raws = st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode())


@pytest.fixture(scope="module")
def served():
    with tempfile.TemporaryDirectory() as folder, ServedTerminal(Path(folder), terminal={"positions": 2}) as served:
        served.until_connected()
        yield served


@given(requests.map(lambda one: json.dumps(one).encode()) | raws)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_asked_is_answered_and_so_is_the_next_one(served, raw):
    before = served.service.link.pid, served.service.store.epoch
    served.send(raw)
    answer = served.receive()
    assert answer["status"] in ("SUCCESS", "ERROR")
    if answer["status"] == "ERROR":
        assert isinstance(answer["error_code"], str)
        assert isinstance(answer["error_msg"], str)
    assert len(served.ask("GET_POSITIONS")["positions"]) == 2
    assert (served.service.link.pid, served.service.store.epoch) == before


def test_hostile_clients_harm_no_other_client(served):
    service = served.service
    campaign = Campaign(Endpoints(service.endpoint, service.publisher.endpoint, service.control_endpoint or ""))
    campaign.run(3_000, seed=3)
    campaign.close()
    assert campaign.harm == []
    assert {"SUCCESS", "MALFORMED_REQUEST", "UNKNOWN_ACTION", "BAD_REQUEST"} <= campaign.counts.keys()


def test_the_campaign_notices_a_trade(served):
    service = served.service
    campaign = Campaign(Endpoints(service.endpoint, service.publisher.endpoint, service.control_endpoint or ""))
    served.terminal.control("trade", symbol="EURUSD", side="buy", volume="0.10")
    campaign.run(10, seed=3)
    campaign.close()
    assert any("expected" in one for one in campaign.harm)


def test_the_same_seed_sends_the_same_requests():
    assert list(hostile_requests(300, 7)) == list(hostile_requests(300, 7)) != list(hostile_requests(300, 8))
    assert {"ORDER_SEND", "BUY"} <= {one.get("action") for one in VALID}


def test_a_client_that_asks_without_end_does_not_keep_others_waiting(tmp_path):
    with ServedTerminal(tmp_path, patience_sec=3_600.0, terminal={"positions": 1}) as served:
        served.until_connected()
        served.block(1.0)
        served.until("the call", state="busy", call="orders_get")
        for number in range(50):
            served.send(b'{"action":"GET_POSITIONS","req_id":"%d"}' % number)
        answers = [served.receive(str(number)) for number in range(50)]
    refused = [one for one in answers if one["status"] == "ERROR"]
    assert {one["error_code"] for one in refused} == {"BUSY"}
    assert "too many requests" in refused[0]["error_msg"]
    assert [one["status"] for one in answers[:4]] == ["SUCCESS"] * 4
