"""The adapters for engines: their methods and keys, over an order manager."""

from __future__ import annotations

import pytest

from ledger import ExecutionGateway, GatewayTimeout, InputError, OrderConflict, OrderManager, PortfolioManager
from tests.support.order_desk import OrderDesk


class Engine:
    """An engine as its authors wrote it: a portfolio manager and a gateway."""

    def __init__(self, desk: OrderDesk) -> None:
        self.desk = desk
        self.manager = OrderManager(desk.account, desk.gateway)
        self.portfolio = PortfolioManager(self.manager, "EURUSD")
        self.gateway = ExecutionGateway(self.manager)

    def signal(self, signal: int, volume: float = 0.1) -> dict[str, object] | None:
        """Do what the engine does with a signal; return the answer, None where it sends nothing."""
        order = self.portfolio.create_order(signal, 1.1, volume)
        if order is None:
            return None
        answer = self.gateway.send_order(
            {"order_id": order.order_id, "symbol": order.symbol, "action": order.action, "volume": order.volume, "price": 1.1}
        )
        self.portfolio.on_fill({**answer, "timestamp": 0.0})
        return answer


@pytest.fixture(params=["hedging", "netting"])
def engine(request) -> Engine:
    return Engine(OrderDesk(request.param))


def test_a_signal_becomes_one_position(engine):
    answer = engine.signal(1)
    assert answer is not None
    assert {name: answer[name] for name in ("status", "filled_volume", "filled_price", "error")} == {
        "status": "FILLED", "filled_volume": 0.1, "filled_price": 1.1, "error": None,
    }  # fmt: skip
    assert engine.portfolio.get_position_summary() == {
        "status": "OPEN", "symbol": "EURUSD", "direction": "LONG", "net_volume": 0.1, "avg_entry_price": 1.1,
        "current_price": None, "unrealized_pnl": None, "orders_count": 1,
    }  # fmt: skip
    assert list(engine.portfolio.get_local_positions()) == [answer["ticket"]]
    assert engine.portfolio.find_order_by_ticket(answer["ticket"]).order_id == answer["order_id"]


def test_there_is_no_second_order_on_the_same_side(engine):
    engine.signal(1)
    assert (engine.portfolio.check_risk(1), engine.signal(1)) == (False, None)
    assert engine.portfolio.check_risk(-1)
    assert (engine.portfolio.check_risk(0), engine.signal(0)) == (False, None)
    assert len(engine.desk.gateway.executions) == 1


def test_no_answer_is_unknown_and_nothing_is_sent_in_its_place(engine):
    engine.desk.gateway.then("timeout executed")
    answer = engine.signal(1)
    assert (answer["status"], answer["filled_volume"]) == ("FILLED", 0.1) or answer["status"] == "UNKNOWN"
    assert engine.signal(1) is None
    assert len(engine.desk.gateway.executions) == 1


def test_what_nobody_can_find_is_unknown(engine):
    engine.desk.gateway.then("timeout")
    assert engine.signal(1)["status"] == "UNKNOWN"
    assert engine.portfolio.check_risk(1) is False
    (row,) = engine.portfolio.get_order_history()
    assert (row["status"], row["ticket"], row["filled_volume"]) == ("UNKNOWN", None, None)


@pytest.mark.parametrize(("outcome", "status"), [("reject", "REJECTED"), ("lost", "REJECTED"), ("accept", "UNKNOWN")])
def test_rejected_is_proven_and_what_is_not_known_is_unknown(engine, outcome, status):
    engine.desk.gateway.then(outcome)
    assert engine.signal(1)["status"] == status


def test_an_order_is_sent_once_however_often_it_is_asked_for(engine):
    order = {"order_id": "ema-1", "symbol": "EURUSD", "action": "BUY", "volume": 0.1, "price": 1.1, "confidence": 0.9}
    first, second = engine.gateway.send_order(order), engine.gateway.send_order(order)
    assert first == second
    assert engine.desk.gateway.executions == ["ema-1"]
    with pytest.raises(OrderConflict):
        engine.gateway.send_order(order | {"volume": 0.2})


@pytest.mark.parametrize(("field", "value"), [("action", "HOLD"), ("symbol", None), ("volume", 0), ("volume", "lots")])
def test_an_order_that_cannot_be_is_refused(engine, field, value):
    with pytest.raises(InputError):
        engine.gateway.send_order({"order_id": "ema-1", "symbol": "EURUSD", "action": "BUY", "volume": 0.1} | {field: value})
    assert engine.desk.gateway.executions == []


def test_positions_are_read_or_an_error_is_raised(engine):
    engine.signal(1)
    (row,) = engine.gateway.get_positions("EURUSD")
    assert (row["type"], row["volume"], engine.gateway.get_positions("GBPUSD")) == ("buy", 0.1, [])
    engine.desk.gateway.fail(GatewayTimeout("no answer"), on="positions")
    with pytest.raises(GatewayTimeout):
        engine.gateway.get_positions()


def test_corrections_are_recorded_or_refused(engine):
    data = {"ticket": 7, "symbol": "EURUSD", "type": "buy", "volume": 0.2, "price_open": 1.2, "profit": 0.0, "time": 0}
    assert engine.portfolio.force_add_position(data)
    assert engine.portfolio.force_add_position(data) is False
    assert engine.portfolio.force_update_position(7, data | {"volume": 0.3})
    assert engine.portfolio.get_position_summary()["net_volume"] == 0.3
    assert engine.portfolio.force_close_position(7)
    assert engine.portfolio.force_close_position(7) is False
    assert engine.portfolio.get_position_summary() == {"status": "FLAT", "symbol": "EURUSD"}
    assert engine.portfolio.force_add_position({"ticket": 8}) is False


def test_a_fill_of_nobody_is_not_taken(engine):
    assert engine.portfolio.on_fill({"order_id": "who", "status": "FILLED", "ticket": 5}) is False
