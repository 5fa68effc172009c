"""The gateway service: a real server, a real terminal process, and a simulated terminal in it that blocks and is killed."""

from __future__ import annotations

import errno
import json
import os
import socket
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import zmq

from ledger.errors import BadValue, GatewayRefused
from ledger.gateway.client import ZmqGateway
from ledger.gateway.serve.service import ServiceSettings
from ledger.gateway.serve.store import Store
from ledger.gateway.serve.terminal_process import TerminalSettings
from ledger.gateway.server import GatewayServer
from ledger.testing.service import FakeTerminal, open_fake
from tests.support.service import GIVE_UP_MS, ServedTerminal

HOUR_SEC = 3_600.0


@pytest.fixture
def served(tmp_path):
    with ServedTerminal(tmp_path, terminal={"positions": 3}) as served:
        served.until_connected()
        yield served


def tickets(answer: dict[str, Any]) -> list[int]:
    return [row["ticket"] for row in answer["positions"]]


def test_a_client_reads_positions_deals_account_and_symbols(served):
    books = served.terminal.books()
    with ZmqGateway(served.endpoint, timeout_ms=GIVE_UP_MS) as gateway:
        snapshot = gateway.positions()
        assert {row.position_id for row in snapshot.positions} == {row["ticket"] for row in books["positions"]}
        assert (snapshot.login, snapshot.server, snapshot.connected, snapshot.count) == (70113, "Sandbox-Demo", True, 3)
        assert snapshot.is_extended
        assert len(gateway.deals(from_msc=0).deals) == books["deals"]
        assert gateway.account().balance
        assert "EURUSD" in {one.symbol for one in gateway.symbols()}


def test_ping_states_the_service_and_what_the_terminal_process_does(served):
    answer = served.ask("PING")
    assert (answer["protocol"], answer["can"], answer["epoch"]) == (2, ["orders", "push", "fence"], 1)
    assert answer["store"] == served.service.store.id
    assert answer["push_port"] == served.service.publisher.port
    assert (answer["login"], answer["server"], answer["margin_mode"]) == (70113, "Sandbox-Demo", "hedging")
    assert answer["trade_allowed"] is True
    assert answer["terminal_process"]["state"] in ("idle", "busy")


def test_the_base_form_has_base_fields_only(served):
    served.send(b'{"action":"GET_POSITIONS","symbol":"*"}')
    answer = served.receive()
    assert answer.keys() == {"status", "positions"}
    assert {tuple(row) for row in answer["positions"]} == {
        ("ticket", "symbol", "type", "volume", "price_open", "profit", "time")
    }


def test_positions_of_one_symbol(served):
    (first, *_) = served.ask("GET_POSITIONS")["positions"]
    rows = served.ask("GET_POSITIONS", symbol=first["symbol"])["positions"]
    assert {row["symbol"] for row in rows} == {first["symbol"]}
    assert served.ask("GET_POSITIONS", symbol="NOTHING")["positions"] == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"action": "WHAT"}, "UNKNOWN_ACTION"),
        ({"action": "ORDER_SEND"}, "BAD_REQUEST"),
        ({"action": "GET_DEALS", "from_msc": "soon"}, "BAD_REQUEST"),
        ({"action": "GET_EVENTS"}, "BAD_REQUEST"),
        ({"action": "GET_EVENTS", "after_seq": 0, "limit": 100_000}, "BAD_REQUEST"),
        ({"action": "GET_EVENTS", "after_seq": 10**6}, "GAP"),
        ({"action": 7}, "MALFORMED_REQUEST"),
    ],
)
def test_what_cannot_be_answered_is_an_error_with_a_code(served, request_, code):
    served.send(json.dumps(request_).encode())
    answer = served.receive()
    assert (answer["status"], answer["error_code"]) == ("ERROR", code)
    assert answer.get("executed") == ("never" if request_["action"] == "ORDER_SEND" else None)


def test_a_read_only_service_refuses_orders_as_such(tmp_path):
    with ServedTerminal(tmp_path, read_only=True) as served:
        served.until_connected()
        answer = served.ask("ORDER_SEND")
        assert (answer["error_code"], answer["executed"]) == ("READ_ONLY", "never")
        assert served.ask("PING")["trade_allowed"] is False


# ---- a call that blocks


def test_ping_answers_during_a_call_that_blocks_and_positions_are_busy(tmp_path):
    with ServedTerminal(tmp_path, patience_sec=0.05) as served:
        served.until_connected()
        served.block(HOUR_SEC)
        answer = served.until("the call", state="busy", call="orders_get")
        assert answer["terminal_process"]["since_msc"] <= answer["gateway_time_msc"]
        busy = served.ask("GET_POSITIONS")
        assert busy["error_code"] == "BUSY"
        assert busy["error_msg"].startswith("the terminal process has been inside orders_get for ")
        assert served.ask("PING")["status"] == "SUCCESS"
        assert served.ask("GET_EVENTS", after_seq=0)["status"] == "SUCCESS"


def test_the_client_whose_own_call_blocks_is_answered_before_it_gives_up(tmp_path):
    with ServedTerminal(tmp_path) as served:
        served.until_connected()
        served.block(HOUR_SEC, "positions_total")  # of no poll
        answer = served.ask("GET_POSITIONS", deadline_msc=200)
        assert answer["error_code"] == "BUSY"
        assert "inside positions_total" in answer["error_msg"]


def test_a_request_waits_its_turn_behind_a_call_that_ends(tmp_path):
    with ServedTerminal(tmp_path, patience_sec=HOUR_SEC, terminal={"positions": 2}) as served:
        served.until_connected()
        served.block(0.3)
        served.until("the call", state="busy", call="orders_get")
        assert len(served.ask("GET_POSITIONS")["positions"]) == 2


def test_a_call_past_its_deadline_costs_the_terminal_process(tmp_path):
    with ServedTerminal(tmp_path, call_deadline_sec=2.0, patience_sec=0.05, terminal={"positions": 2}) as served:
        served.until_connected()
        before = tickets(served.ask("GET_POSITIONS"))
        pid = served.service.link.pid
        served.block(HOUR_SEC)
        served.until("the call", call="orders_get")
        served.until("the next one", state="idle")
        assert served.service.link.pid not in (None, pid)
        assert any("more than 2 s" in one for one in served.reports)
        served.until_connected()
        assert tickets(_patiently(served)) == before


def test_a_terminal_process_that_is_killed_in_a_call_is_replaced(tmp_path):
    with ServedTerminal(tmp_path, terminal={"positions": 2}) as served:
        served.until_connected()
        before = tickets(served.ask("GET_POSITIONS"))
        served.block(HOUR_SEC, "positions_total")
        served.send(b'{"action":"GET_POSITIONS","req_id":"lost"}')
        served.until("the call", call="positions_total")
        pid = served.kill_terminal_process()
        answer = served.receive("lost")
        assert (answer["status"], answer["error_code"]) == ("ERROR", "INTERNAL")
        assert "by signal 9" in answer["error_msg"]
        served.until("the next one", state="idle")
        assert served.service.link.pid != pid
        assert tickets(_patiently(served)) == before
        assert served.service.link.replaced == 1


def test_a_terminal_process_ends_when_the_service_does(tmp_path):
    with ServedTerminal(tmp_path) as served:
        served.until_connected()
        pid = served.service.link.pid
        assert pid is not None
        served.block(HOUR_SEC)
        served.until("the call", state="busy", call="orders_get")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_package_that_is_not_there_is_named_and_tried_again(tmp_path):
    with ServedTerminal(tmp_path, opener="no_such_package:open") as served:
        answer = served.until("the failure", state="down")
        assert "no_such_package" in answer["terminal_process"]["error"]
        assert served.ask("GET_POSITIONS")["error_code"] == "BUSY"
        assert "no_such_package" in served.ask("GET_POSITIONS")["error_msg"]


def test_a_terminal_process_that_was_replaced_is_reported_once_it_is_connected_again(tmp_path):
    with ServedTerminal(tmp_path) as served:
        served.until_connected()
        with served.listen() as listener:
            served.reports.clear()
            served.kill_terminal_process()
            lost, back = listener.next_of("connection"), listener.next_of("connection")
        why = "it ended by signal 9"
        assert lost["data"] == {"connected": False, "trade_allowed": False, "reason": why}
        assert back["data"] == {"connected": True, "trade_allowed": True, "reason": None}
        assert served.reports == [
            f"the terminal process is replaced in 1 s: {why}", "account Sandbox-Demo/70113: connected",
        ]  # fmt: skip


def test_ping_states_no_connection_while_the_terminal_process_is_replaced(tmp_path):
    with ServedTerminal(tmp_path, opener=f"{__name__}:open_once", terminal={"once": str(tmp_path / "once")}) as served:
        served.until_connected()
        served.kill_terminal_process()
        answer = served.until("the loss", state="down", connected=False)
        assert (answer["login"], answer["trade_allowed"]) == (70113, False)


# ---- in which order


def test_the_terminal_is_looked_at_before_the_first_request_is_answered(tmp_path):
    log = tmp_path / "log"
    with ServedTerminal(
        tmp_path, patience_sec=HOUR_SEC, opener=f"{__name__}:open_logged", terminal={"log": str(log)}
    ) as served:
        while (answer := served.ask("GET_POSITIONS"))["status"] != "SUCCESS":
            assert answer["error_code"] == "BUSY"
        assert log.read_text(encoding="utf-8").split()[0] == "poll"


def test_requests_without_a_pause_do_not_keep_it_from_looking(tmp_path):
    log = tmp_path / "log"
    settings = {"log": str(log), "call_sec": 0.02}  # so that a look is overdue after each request
    with ServedTerminal(
        tmp_path, patience_sec=HOUR_SEC, poll_ms=10, opener=f"{__name__}:open_logged", terminal=settings
    ) as served:
        served.until_connected()
        for number in range(4):
            served.send(json.dumps({"action": "GET_POSITIONS", "req_id": str(number)}).encode())
        assert [served.receive(str(number))["status"] for number in range(4)] == ["SUCCESS"] * 4
        assert "positions positions" not in " ".join(log.read_text(encoding="utf-8").split())


# ---- which account


def test_a_store_of_another_account_answers_ping_and_errors_only(tmp_path):
    with ServedTerminal(tmp_path, terminal={"login": 7}) as served:
        served.until_connected()
    (tmp_path / "books").unlink()
    with ServedTerminal(tmp_path, terminal={"login": 8}) as served:
        answer = _until_refused(served, "WRONG_ACCOUNT")
        assert "(7, 'Sandbox-Demo')" in answer["error_msg"]
        assert "login" not in served.ask("PING")
        assert served.ask("GET_EVENTS", after_seq=0)["error_code"] == "WRONG_ACCOUNT"


def test_another_terminal_of_the_same_account_answers_ping_and_errors_only(tmp_path):
    with ServedTerminal(tmp_path, opener=f"{__name__}:open_moving") as served:
        served.until_connected()
        first = served.kill_terminal_process()
        answer = _until_refused(served, "WRONG_ACCOUNT", "INTERNAL")
        assert f"the service is of the terminal in C:\\{first}, found the one in C:\\" in answer["error_msg"]
        assert "login" not in served.ask("PING")


def test_a_terminal_that_is_not_connected_allows_no_trade(served):
    assert served.ask("PING")["trade_allowed"] is True
    served.terminal.control("fail", fault="no-connection")
    answer = served.until("the loss", trade_allowed=False)
    assert "login" not in answer


def test_a_head_that_cannot_be_read_is_refused_and_ends_nothing(tmp_path):
    with ServedTerminal(tmp_path, opener=f"{__name__}:open_strange") as served:
        assert "strange" in _until_refused(served, "INTERNAL")["error_msg"]
        assert served.ask("PING")["status"] == "SUCCESS"


@pytest.mark.parametrize("action", ["PING", "GET_ACCOUNT", "NONE"])
def test_an_id_that_can_be_read_and_not_be_echoed_ends_nothing(served, action):
    for depth in (8, 9, *range(900, 1_000)):  # Python reads some more levels than it writes further down its stack
        served.send(f'{{"action":"{action}","req_id":{"[" * depth}{"]" * depth}}}'.encode())
        answer = served.receive()
        assert ("req_id" in answer, answer.get("error_code") == "MALFORMED_REQUEST") == (depth <= 8, depth > 8)


def test_a_row_that_cannot_be_written_is_refused_and_ends_nothing(tmp_path):
    with ServedTerminal(tmp_path, opener=f"{__name__}:open_timeless", terminal={"positions": 1}) as served:
        served.until_connected()
        served.send(b'{"action":"GET_POSITIONS","symbol":"*"}')
        while (answer := served.receive())["error_code"] == "BUSY":
            served.send(b'{"action":"GET_POSITIONS","symbol":"*"}')
        assert (answer["error_code"], answer["error_msg"]) == ("INTERNAL", "KeyError: 'time'")
        assert served.ask("GET_ACCOUNT")["status"] == "SUCCESS"


def test_without_keys_only_this_machine_is_bound(tmp_path):
    settings: dict[str, Any] = {"terminal": TerminalSettings(opener="none:none"), "store": tmp_path / "gateway.db"}
    for endpoint in ("tcp://0.0.0.0:5555", "tcp://[::]:5555", "tcp://desk.example:5555"):
        with pytest.raises(BadValue, match="needs keys"):
            ServiceSettings(**settings, endpoint=endpoint)
        with pytest.raises(BadValue, match="needs keys"):
            ServiceSettings(**settings, push_endpoint=endpoint)
        with pytest.raises(BadValue, match="have no keys"):
            ServiceSettings(**settings, control_endpoint=endpoint)
    for endpoint in ("tcp://127.0.0.1:5555", "tcp://[::1]:5555", "tcp://localhost:5555"):
        ServiceSettings(**settings, endpoint=endpoint, push_endpoint=endpoint)


def test_a_second_service_of_one_terminal_is_read_only(tmp_path):
    folders = [tmp_path / name for name in ("terminal", "one", "other")]
    for folder in folders:
        folder.mkdir()
    terminal = {"data_path": str(folders[0])}
    with ServedTerminal(folders[1], terminal=terminal) as first:
        first.until("the lock", connected=True, trade_allowed=True)
        with ServedTerminal(folders[2], terminal=terminal) as second:
            second.until("the terminal", connected=True, trade_allowed=False)
            assert second.ask("ORDER_SEND")["error_code"] == "READ_ONLY"
            assert second.ask("GET_POSITIONS")["status"] == "SUCCESS"
            assert any("another service uses the terminal" in one for one in second.reports)
    with ServedTerminal(folders[2], terminal=terminal) as second:
        second.until("the lock", connected=True, trade_allowed=True)


def test_this_machine_is_bound_by_version_6_of_its_address_too(tmp_path):
    endpoint = "tcp://[::1]:0"
    if not has_version_6():  # then it is the machine that refuses it, and not our reading of the address
        with zmq.Context() as context, pytest.raises(zmq.ZMQError) as refused:
            GatewayServer(None, endpoint=endpoint).serve(context)  # type: ignore[arg-type]  # it is never asked
        assert refused.value.errno != errno.EINVAL
        return
    with ServedTerminal(tmp_path, endpoint=endpoint, push_endpoint=endpoint) as served:
        assert served.until_connected()["push_port"] == served.service.publisher.port


def has_version_6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_without_the_lock_of_the_terminal_a_service_is_read_only(tmp_path):
    with ServedTerminal(tmp_path, terminal={"data_path": str(tmp_path / "missing")}) as served:
        assert served.until_connected()["trade_allowed"] is False
        assert served.ask("ORDER_SEND")["error_code"] == "READ_ONLY"
        assert any("the lock of" in one and "read only" in one for one in served.reports)


def test_a_terminal_without_its_connection_is_connected_again(tmp_path):
    with ServedTerminal(tmp_path, terminal={"faults": ["no-connection:1"]}) as served:
        answer = served.until_connected()
        assert answer["terminal_process"]["state"] in ("idle", "busy")
        assert any("-10004 No IPC connection" in one for one in served.reports)
        events = served.ask("GET_EVENTS", after_seq=0)["events"]
        assert [one["data"]["connected"] for one in events if one["kind"] == "connection"] == [True]


def test_an_error_of_the_package_is_answered_with_its_code(tmp_path):
    with ServedTerminal(tmp_path, poll_ms=60_000) as served:
        served.until_connected()
        served.until("the first look", state="idle")
        served.terminal.control("fail", fault="no-connection:1")
        answer = served.ask("GET_POSITIONS")
        assert (answer["error_code"], answer["last_error"]) == ("-10004", [-10004, "No IPC connection"])
        assert served.ask("GET_POSITIONS")["error_code"] == "-10004", "until it is connected again"
        served.until("the connection", state="idle")
        while (answer := served.ask("GET_POSITIONS"))["status"] != "SUCCESS":
            assert answer["error_code"] == "-10004"


def test_a_fault_of_the_package_lasts_until_it_is_cleared(tmp_path):
    with ServedTerminal(tmp_path, terminal={"positions": 2}, poll_ms=60_000) as served:
        served.until_connected()
        served.terminal.control("fail", fault="fail")
        for _ in range(3):
            assert served.ask("GET_POSITIONS")["error_code"] == "-1"
        served.terminal.clear()
        assert served.ask("GET_POSITIONS")["count"] == 2


def test_a_fault_that_only_a_sandbox_has_is_refused(served):
    with pytest.raises(GatewayRefused, match="fail"):
        served.terminal.fault("half")


# ---- what is published


def test_a_manual_trade_is_published_and_stored_with_its_deal(served):
    with served.listen() as listener:
        (deal,) = served.terminal.control("trade", symbol="EURUSD", side="buy", volume="0.10")["deals"]
        pushed = listener.next_of("deal")
    assert pushed["data"]["ticket"] == deal["ticket"]
    assert (pushed["store"], pushed["epoch"]) == (served.service.store.id, 1)
    events = served.ask("GET_EVENTS", after_seq=0)["events"]
    assert [one["seq"] for one in events] == [*range(1, len(events) + 1)]
    assert [one for one in events if one["seq"] == pushed["seq"]] == [
        {name: pushed[name] for name in ("seq", "kind", "at_msc", "data")}
    ]


def test_a_disk_that_is_full_costs_events_and_no_answers(served, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with served.listen() as listener:
        with monkeypatch.context() as full:
            full.setattr(Store, "append", refuse)
            served.terminal.control("trade", symbol="EURUSD", side="buy", volume="0.10")
            while not (found := [one for one in served.reports if "not stored" in one]):
                assert served.ask("GET_POSITIONS")["status"] == "SUCCESS"
        assert found == ["events are not stored and not published: database or disk is full"]
        (deal,) = served.terminal.control("trade", symbol="EURUSD", side="buy", volume="0.10")["deals"]
        while listener.next_of("deal")["data"]["ticket"] != deal["ticket"]:
            pass


def test_numbers_go_on_after_a_restart_of_the_service(tmp_path):
    with ServedTerminal(tmp_path) as served:
        served.until_connected()
        before = served.ask("PING")
    with ServedTerminal(tmp_path) as served:
        served.until_connected()
        after = served.ask("PING")
    assert after["store"] == before["store"]
    assert after["epoch"] == before["epoch"] + 1
    assert after["seq"] > before["seq"]


def _patiently(served: ServedTerminal) -> dict[str, Any]:
    while True:
        answer = served.ask("GET_POSITIONS")
        if answer["status"] == "SUCCESS":
            return answer
        assert answer["error_code"] in ("BUSY", "INTERNAL"), answer


def _until_refused(served: ServedTerminal, code: str, *before: str) -> dict[str, Any]:
    while (answer := served.ask("GET_POSITIONS")).get("error_code") != code:
        assert answer.get("error_code") in ("BUSY", *before), answer
    return answer


# ---- terminals, as the terminal process opens them


Settings = Mapping[str, Any]
Report = Callable[[str | None], object]


def open_once(settings: Settings, report: Report) -> FakeTerminal:
    """Open a terminal the first time, and none after it."""
    Path(settings["once"]).touch(exist_ok=False)
    return open_fake({}, report)


def open_logged(settings: Settings, report: Report) -> FakeTerminal:
    """Open a terminal that writes down what it is asked for."""
    settings = dict(settings)
    log = Path(settings.pop("log"))
    terminal = open_fake(settings, report)

    def logged(name: str) -> Callable[[], Any]:
        read = getattr(terminal, name)

        def call() -> Any:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")
            return read()

        return call

    return _changed(terminal, poll=logged("poll"), positions=logged("positions"))


def open_moving(settings: Settings, report: Report) -> FakeTerminal:
    """Open a terminal that is in another folder each time."""
    return _with_head(open_fake(settings, report), path=f"C:\\{os.getpid()}")


def open_strange(settings: Settings, report: Report) -> FakeTerminal:
    """Open a terminal with a margin mode that nobody knows."""
    return _with_head(open_fake(settings, report), margin_mode="strange")


def open_timeless(settings: Settings, report: Report) -> FakeTerminal:
    """Open a terminal whose positions have no time."""
    terminal = open_fake(settings, report)
    read = terminal.positions
    return _changed(terminal, positions=lambda: [{name: row[name] for name in row if name != "time"} for row in read()])


def _with_head(terminal: FakeTerminal, **fields: Any) -> FakeTerminal:
    read = terminal.head
    return _changed(terminal, head=lambda: read() | fields)


def _changed(terminal: FakeTerminal, **calls: Callable[[], Any]) -> FakeTerminal:
    for name, call in calls.items():
        setattr(terminal, name, call)
    return terminal
