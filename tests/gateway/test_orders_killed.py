"""The server process is killed around an order: what the next one knows of it, and that it is never sent again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ledger.errors import GatewayError
from ledger.events.deals import Origin
from ledger.events.orders import Verdict
from ledger.gateway.client import ZmqGateway
from ledger.gateway.serve.lock import FileLock
from ledger.order_messages import OrderStatus, RequestState
from ledger.testing.service import SENT
from tests.support.order_messages import message, send_fields
from tests.support.served import Commands, ServiceProcesses, until
from tests.support.service import GIVE_UP_MS, ServedTerminal


@pytest.fixture
def service(tmp_path) -> Iterator[ServiceProcesses]:
    service = ServiceProcesses(tmp_path, mode="hedging")
    try:
        service.until_ready()
        yield service
    finally:
        service.give_back()


def send(service: ServiceProcesses) -> None:
    with suppress(GatewayError), ZmqGateway(service.endpoint, timeout_ms=GIVE_UP_MS) as gateway:
        gateway.order_send(message("one", service.store))


@pytest.mark.parametrize("is_executed", [True, False])
def test_a_server_process_killed_during_a_call_leaves_an_order_that_is_looked_up(service, is_executed):
    """O23, crash points C5 to C7: its terminal process stays inside the call, and returns from it later or never."""
    blocked_sec = 3_600 if is_executed else 2
    with Commands(service) as commands:
        commands.control("block", seconds=blocked_sec, call="order_send", after=is_executed)
    sending = threading.Thread(target=send, args=(service,))
    sending.start()
    until(lambda: service.ping()["terminal_process"]["call"] == (SENT if is_executed else "order_send"), "the call")
    service.kill_server_process()
    sending.join()
    service.start()
    with ZmqGateway(service.endpoint, timeout_ms=GIVE_UP_MS) as gateway:
        first = gateway.order_status("one", store=service.store, fence=True, lookup=False).answer
        assert (first.state, first.verdict) == (RequestState.UNRESOLVED, Verdict.UNKNOWN)
        again = gateway.order_send(message("one", service.store))
        assert (again.state, again.replayed) == (RequestState.UNRESOLVED, True)

        def found() -> OrderStatus | None:
            status = gateway.order_status("one", store=service.store, fence=True, lookup=True)
            return status if status.lookup is not None and status.lookup.orders else None

        status = until(found, "the order at the broker")
        assert (status.answer.state, status.answer.verdict) == (RequestState.ANSWERED, Verdict.ACCEPTED)
        assert [order.ticket for order in status.lookup.orders] == [status.answer.order]
        assert [deal.origin for deal in status.lookup.deals] == [Origin.RECOVERY]
        assert gateway.order_send(message("two", service.store)).verdict is Verdict.ACCEPTED
        assert len(gateway.positions().positions) == 2
    with Commands(service) as commands:
        assert commands.control("sent")["sent"] == 2


def test_a_service_takes_the_lock_of_its_terminal_once_it_is_free(tmp_path):
    (tmp_path / "terminal").mkdir()
    lock = FileLock.of_folder(tmp_path / "terminal")
    assert lock.acquire()
    with ServedTerminal(tmp_path, terminal={"data_path": str(tmp_path / "terminal")}) as served:
        served.until("the terminal", connected=True, trade_allowed=False)
        answer = served.ask_fields(send_fields("one", served.service.store.id))
        assert (answer["error_code"], answer["executed"]) == ("READ_ONLY", "never")
        lock.release()
        served.until("the lock", connected=True, trade_allowed=True)
        assert served.ask_fields(send_fields("one", served.service.store.id))["verdict"] == "accepted"
