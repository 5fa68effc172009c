"""``ledger gateway status``: what a service states of itself, for people and as JSON, and its exit codes."""

from __future__ import annotations

import pytest

from tests.gateway.terminals import Terminal, echoing
from tests.support.commands import run
from tests.support.service import ServedTerminal

FAR = "30000"


def test_the_state_of_a_service(tmp_path):
    with ServedTerminal(tmp_path) as served:
        served.until_connected()
        words = ("gateway", "status", "--gateway", served.endpoint, "--timeout-ms", FAR)
        ran = run(*words, "--json")
        assert ran.code == 0, ran.text
        found = ran.json()
        assert (found["account"], found["connected"], found["trade_allowed"]) == ("Sandbox-Demo/70113", True, True)
        assert (found["store"], found["epoch"]) == (served.service.store.id, 1)
        assert found["push_port"] == served.service.publisher.port
        assert found["terminal_process"]["state"] in ("idle", "busy")
        ran = run(*words)
        assert ran.code == 0
        assert all(len(line) <= 80 for line in ran.text.splitlines())
        assert served.service.store.id in ran.text


@pytest.mark.parametrize(("settings", "code"), [({"read_only": True}, 1), ({"terminal": {"faults": ["not-connected"]}}, 1)])
def test_a_service_that_sends_no_orders_is_not_fine(tmp_path, settings, code):
    with ServedTerminal(tmp_path, **settings) as served:
        served.until("an answer", status="SUCCESS")
        assert run("gateway", "status", "--gateway", served.endpoint, "--timeout-ms", FAR, "--json").code == code


def test_a_gateway_that_states_nothing_and_one_that_is_not_there():
    with Terminal(echoing) as terminal:
        ran = run("gateway", "status", "--gateway", terminal.endpoint, "--timeout-ms", FAR)
        assert (ran.code, "version 1" in ran.text) == (1, True)
    assert run("gateway", "status", "--gateway", "tcp://127.0.0.1:1", "--timeout-ms", "200").code == 3
