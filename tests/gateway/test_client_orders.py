"""Orders over the client: what is sent once, and what an error means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import GatewayRefused, GatewayUnavailable, SnapshotRefused
from ledger.gateway.client import ZmqGateway
from ledger.protocol.order_answers import NEVER, read_order_answer
from tests.gateway.terminals import GIVE_UP_SEC, Terminal
from tests.support.order_messages import message

PATIENT = round(GIVE_UP_SEC * 1000)


def test_an_order_whose_connection_is_cut_is_not_sent_again():
    asked: list[dict[str, Any]] = []

    def cut(_: int, request: dict[str, Any]) -> Iterator[bytes]:
        asked.append(request)
        yield b"x" * 2_000

    with Terminal(cut) as terminal, ZmqGateway(terminal.endpoint, timeout_ms=PATIENT, message_bytes_max=1_000) as gateway:
        with pytest.raises(GatewayUnavailable, match="What became of it is not known"):
            gateway.order_send(message("one", "store"))
        assert [one["action"] for one in asked] == ["ORDER_SEND"]
        with pytest.raises(GatewayUnavailable, match="twice"):
            gateway.order_status("one", store="store", fence=True, lookup=False)


@given(
    st.sampled_from([*sorted(NEVER), "INTERNAL", "-10005", "STORE_LOST", "", None]),
    st.sampled_from(["never", "unknown", "Never", True, None, 0]),
)
def test_an_error_is_never_only_where_it_states_so_with_a_code_that_goes_with_it(code, executed):
    raw = json.dumps({"status": "ERROR", "error_code": code, "error_msg": "no", "executed": executed}).encode()
    with pytest.raises(GatewayRefused) as refused:
        read_order_answer(raw)
    assert refused.value.executed == ("never" if code in NEVER and executed == "never" else "unknown")


GOOD = {"status": "SUCCESS", "client_id": "one", "state": "answered", "verdict": "accepted", "order": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "done"}, {"state": None}, {"verdict": None}, {"verdict": "fine"}, {"order": -1}, {"order": "x"},
        {"client_id": None}, {"client_id": 7}, {"volume": "much"}, {"replayed": 1}, {"retcode": 1.5},
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_whole_is_refused(fields):
    assert read_order_answer(json.dumps(GOOD).encode()).order == 1
    with pytest.raises(SnapshotRefused):
        read_order_answer(json.dumps(GOOD | fields).encode())


def test_what_last_error_reported_is_read():
    raw = json.dumps(GOOD | {"state": "unresolved", "verdict": "unknown", "last_error": [-10005, "IPC timeout"]}).encode()
    assert read_order_answer(raw).last_error == -10005
