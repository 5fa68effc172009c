"""Orders sent through the fake ``MetaTrader5``, and what the reconciler makes of what its lists show."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import CarrierBroken, CarrierProven, Ledger, OrderAnswered, OrderIntended, StateReconciler, SyncStatus
from ledger.orders.ids import token_of
from ledger.orders.view import Order
from ledger.testing import FakeSettings, fake_mt5
from tests.support.broker import kinds
from tests.support.fake_orders import FakeOrdersGateway


class FakeDesk:
    """An engine at the fake: it records an intent, sends, and records the answer. Our clock is the server's."""

    def __init__(self, **settings: Any) -> None:
        self.mt5 = fake_mt5(mode="hedging", settings=FakeSettings(**settings), spread=2)
        self.mt5.initialize()
        self.mt5.control.set_price("EURUSD", "1.10000")
        ledger = Ledger.create("memory://", now_us=lambda: self.mt5.terminal.now_msc * 1000)
        info = self.mt5.account_info()
        self.account = ledger.account(info.server, info.login)
        self.account.open(currency="USD", mode="hedging", clock="UTC", time_msc=self.mt5.terminal.now_msc)
        self.gateway = FakeOrdersGateway(self.mt5)
        self.restart()

    def restart(self) -> None:
        now_sec = lambda: self.mt5.terminal.now_msc / 1000  # noqa: E731
        self.reconciler = StateReconciler(
            self.account, self.gateway, monotonic=now_sec, sleep=lambda sec: self.mt5.control.advance(round(sec * 1000))
        )

    def send(self, client_id: str, *, kind: str = "pending", **fields: Any) -> int:
        """Buy 0.1 lots, at the limit 1.09 unless at once. Returns the ticket that was answered."""
        token, now_msc = token_of(self.account.name, client_id), self.mt5.terminal.now_msc
        asked: dict[str, Any] = {"symbol": "EURUSD", "side": "buy", "volume": "0.1", "kind": kind}
        asked |= {"type": "limit", "price": "1.09"} if kind == "pending" else {}
        self.account.record(OrderIntended(client_id=client_id, token=token, time_msc=now_msc, **(asked | fields)))
        request: dict[str, Any] = {"symbol": "EURUSD", "volume": 0.1, "comment": token, "magic": 7}
        request |= {name: float(value) for name, value in fields.items()}
        if kind == "pending":
            request |= {"action": self.mt5.TRADE_ACTION_PENDING, "type": self.mt5.ORDER_TYPE_BUY_LIMIT, "price": 1.09}
            request |= {"type_filling": self.mt5.ORDER_FILLING_RETURN}
        else:
            request |= {"action": self.mt5.TRADE_ACTION_DEAL, "type": 0, "type_filling": self.mt5.ORDER_FILLING_IOC}
        result = self.mt5.order_send(request)
        answer = {"retcode": result.retcode, "order": result.order, "deal": result.deal}
        self.account.record(OrderAnswered(client_id=client_id, verdict="accepted", time_msc=now_msc, **answer))
        return int(result.order)

    def sync(self, times: int = 1) -> Any:
        result = None
        for _ in range(times):
            self.mt5.control.advance(15_000)
            result = self.reconciler.sync_positions()
        return result

    def order(self, client_id: str) -> Order:
        [found] = [one for one in self.account.orders() if one.client_id == client_id]
        return found

    @property
    def breaks(self) -> list[tuple[str, str | None, str | None]]:
        return [(one.kind.value, one.field, one.client_id) for one in self.account.portfolio.breaks]


def tickets(desk: FakeDesk, kind: type[CarrierProven | CarrierBroken]) -> list[int]:
    return [one.event.ticket for one in desk.account.events() if isinstance(one.event, kind)]


def test_a_pending_order_of_the_fake_from_placing_to_a_fill_while_we_are_down():
    desk = FakeDesk()
    ticket = desk.send("c-1", sl="1.08")
    assert desk.sync().status is SyncStatus.SUCCESS
    assert tickets(desk, CarrierProven) == [ticket]
    desk.mt5.control.set_price("EURUSD", "1.08900")
    desk.restart()
    assert desk.reconciler.startup_recovery().status is SyncStatus.SUCCESS
    assert (desk.order("c-1").state.value, desk.breaks) == ("filled", [])
    assert not {"PositionRecovered", "BreakOpened"} & set(kinds(desk.account.events()))
    desk.sync()
    assert desk.sync(2).appended == 0


@pytest.mark.parametrize("length", [0, 16])
def test_a_broker_that_cuts_comments_breaks_the_carrier(length):
    desk = FakeDesk(comment_length=length)
    ticket = desk.send("c-1")
    desk.sync(2)
    assert tickets(desk, CarrierBroken) == [ticket]
    assert desk.order("c-1").state.value == "working"


def test_a_broker_that_drops_the_stops_of_an_order_is_noticed():
    desk = FakeDesk(drops_stops=True)
    desk.send("c-1", kind="market", sl="1.05")
    result = desk.sync()
    assert (desk.order("c-1").state.value, result.status) == ("filled", SyncStatus.PARTIAL)
    assert desk.breaks == [("stops", "missing", "c-1")]
    assert not desk.reconciler.safe_to_trade("EURUSD")


def test_stops_that_the_broker_has_are_no_break():
    desk = FakeDesk()
    desk.send("c-1", kind="market", sl="1.05")
    assert (desk.sync(2).status, desk.breaks) == (SyncStatus.SUCCESS, [])
    assert "StopsSeen" in kinds(desk.account.events())


def test_a_finished_order_that_is_in_neither_list_for_a_while_is_only_counted():
    desk = FakeDesk()
    ticket = desk.send("c-1")
    desk.sync()
    desk.mt5.control.change(history_delay_calls=40)
    desk.mt5.order_send({"action": desk.mt5.TRADE_ACTION_REMOVE, "order": ticket})
    desk.sync()
    assert (desk.breaks, desk.order("c-1").state.value) == ([("order", "missing", "c-1")], "working")
    desk.sync(6)
    assert (desk.breaks, desk.order("c-1").state.value) == ([], "cancelled")


def test_a_terminal_without_its_server_moves_no_counter():
    desk = FakeDesk()
    desk.send("c-1")
    desk.sync()
    desk.mt5.control.disconnect()
    assert desk.sync(5).status is SyncStatus.DEGRADED
    assert (desk.breaks, desk.order("c-1").state.value) == ([], "working")
