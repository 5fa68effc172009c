"""The reference of protocol version 2 has examples that the real readers read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from ledger.errors import GatewayRefused
from ledger.events.orders import Verdict
from ledger.gateway.serve.command import serve
from ledger.orders.ids import token_of
from ledger.protocol.messages import AskOrderStatus, GetEvents, Ping, SendOrder
from ledger.protocol.order_answers import read_order_answer, read_order_status
from ledger.protocol.read import read_events, read_pong, read_pushed, read_query, read_request
from ledger.values import AccountId

ROOT: Final = Path(__file__).resolve().parents[2]
TEXT: Final = (ROOT / "docs" / "reference" / "gateway-service.md").read_text(encoding="utf-8")
EXAMPLES: Final = [raw.encode() for raw in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]
TASK: Final = ROOT / "deploy" / "windows" / "ledger-gateway.xml"


def test_its_examples_are_read_as_what_they_are():
    ping, pong, error, pushed, asked, events, *orders = EXAMPLES
    assert read_query(read_request(ping)) == Ping()
    found = read_pong(pong)
    assert found is not None
    assert (found.protocol, found.can, found.seq, found.push_port) == (2, {"orders", "push", "fence"}, 80213, 5556)
    with pytest.raises(GatewayRefused, match="-10004 No IPC connection"):
        read_pong(error)
    assert (read_pushed(pushed).kind, read_pushed(pushed).seq) == ("deal", 80214)
    assert read_query(read_request(asked)) == GetEvents(after_seq=80205, limit=500)
    assert [event.seq for event in read_events(events)] == [80206]
    assert json.loads(pushed)["data"]["ticket"] == 535084512
    sent, answered, asked, status, refused = orders
    query = read_query(read_request(sent))
    assert isinstance(query, SendOrder)
    assert query.message.token == token_of(AccountId("Broker-Live", 70113), query.message.client_id)
    assert read_order_answer(answered).verdict is Verdict.ACCEPTED
    assert isinstance(read_query(read_request(asked)), AskOrderStatus)
    lookup = read_order_status(status).lookup
    assert lookup is not None
    assert ([one.ticket for one in lookup.orders], [one.deal for one in lookup.deals]) == ([557416535], [535084512])
    with pytest.raises(GatewayRefused) as raised:
        read_order_answer(refused)
    assert raised.value.executed == "never"


def test_the_task_for_windows_calls_the_service_with_options_that_it_has():
    space = {"task": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    task = ET.parse(TASK).getroot()  # noqa: S314  # our own file
    assert task.find(".//task:LogonTrigger", space) is not None
    assert task.findtext(".//task:LogonTrigger/task:Repetition/task:Interval", namespaces=space) == "PT1M"
    assert task.find(".//task:Repetition/task:Duration", space) is None, "it is repeated without an end"
    assert task.findtext(".//task:MultipleInstancesPolicy", namespaces=space) == "IgnoreNew"
    assert 1 <= int(task.findtext(".//task:RestartOnFailure/task:Count", "", space)) <= 255, "a byte, by the schema of tasks"
    assert task.findtext(".//task:ExecutionTimeLimit", namespaces=space) == "PT0S"
    arguments = task.findtext(".//task:Arguments", namespaces=space) or ""
    assert arguments.startswith("-m ledger.gateway.serve ")
    known = {name for option in serve.params for name in option.opts}
    assert set(re.findall(r"--[a-z-]+", arguments)) <= known
