"""Orders over the gateway service: the client, a real server, a terminal process, and a simulated terminal that is blocked."""

from __future__ import annotations

import pytest

from ledger.errors import GatewayRefused
from ledger.events.orders import Verdict
from ledger.gateway import OrderGateway
from ledger.gateway.client import ZmqGateway
from ledger.order_messages import RequestState
from tests.support.orders import message
from tests.support.service import GIVE_UP_MS, ServedTerminal


@pytest.fixture
def served(tmp_path):
    with ServedTerminal(tmp_path) as served:
        served.until_connected()
        yield served


@pytest.fixture
def gateway(served):
    with ZmqGateway(served.endpoint, timeout_ms=GIVE_UP_MS) as gateway:
        yield gateway


def calls(served: ServedTerminal) -> int:
    """Return how often ``order_send`` was entered."""
    sent: int = served.terminal.control("sent")["sent"]
    return sent


def test_the_client_is_an_order_gateway(gateway):
    assert isinstance(gateway, OrderGateway)
    service = gateway.ping()
    assert service is not None
    assert service.can >= {"orders", "fence"}


def test_an_order_is_sent_once_and_its_answer_stored(served, gateway):
    """O4."""
    store = served.service.store.id
    first = gateway.order_send(message("one", store))
    assert (first.state, first.verdict, first.retcode, first.replayed) == (
        RequestState.ANSWERED,
        Verdict.ACCEPTED,
        10009,
        False,
    )
    assert first.order
    assert first.deal
    again = gateway.order_send(message("one", store, volume="0.10"))
    assert (again.order, again.deal, again.replayed, again.seq) == (first.order, first.deal, True, first.seq)
    assert calls(served) == 1


def test_another_content_for_a_client_id_is_never_sent(served, gateway):
    """O5."""
    store = served.service.store.id
    gateway.order_send(message("one", store))
    with pytest.raises(GatewayRefused, match="another volume") as refused:
        gateway.order_send(message("one", store, volume="0.2"))
    assert (refused.value.code, refused.value.executed) == ("CLIENT_ID_CONFLICT", "never")
    assert gateway.order_status("one", store=store, fence=True, lookup=False).answer.verdict is Verdict.ACCEPTED
    assert calls(served) == 1


def test_a_fence_keeps_an_order_from_ever_being_sent(served, gateway):
    """O19, O20."""
    store = served.service.store.id
    never = gateway.order_status("late", store=store, fence=False, lookup=False)
    assert never.answer.state is RequestState.NEVER
    assert gateway.order_status("late", store=store, fence=True, lookup=False).answer.state is RequestState.FENCED
    with pytest.raises(GatewayRefused) as refused:
        gateway.order_send(message("late", store))
    assert (refused.value.code, refused.value.executed) == ("FENCED", "never")
    assert calls(served) == 0


def test_a_lookup_finds_an_order_by_its_token(served, gateway):
    store = served.service.store.id
    sent = gateway.order_send(message("one", store))
    found = gateway.order_status("one", store=store, fence=True, lookup=True).lookup
    assert found is not None
    assert [order.ticket for order in found.orders] == [sent.order]
    assert [order.client_id for order in found.orders] == ["one"]
    assert [deal.deal for deal in found.deals] == [sent.deal]
    assert found.connected
    other = gateway.order_status("other", store=store, fence=True, lookup=True).lookup
    assert other is not None
    assert (other.orders, other.deals) == ((), ())
