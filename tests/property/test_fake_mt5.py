"""Laws of the fake ``MetaTrader5``: what holds for any arguments and any sequence of calls, trades and faults."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.testing import FakeFault, FakeSettings, fake_mt5
from ledger.testing.mt5.structs import TradeRequest

FAR = 2_000_000_000
WITH_KEYWORDS = (
    "order_send", "order_check", "positions_get", "orders_get", "history_orders_get", "history_deals_get", "symbols_get",
    "initialize", "login",
)  # fmt: skip
FUNCTIONS = (
    *WITH_KEYWORDS, "history_orders_total", "history_deals_total", "symbol_info", "symbol_info_tick", "symbol_select",
    "order_calc_margin", "order_calc_profit",
)  # fmt: skip
MODES = ("hedging", "netting", "exchange")

garbage = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=40), st.binary(max_size=4),
    st.decimals(), st.datetimes(), st.datetimes(timezones=st.just(UTC)), st.lists(st.integers(), max_size=2),
    st.sampled_from(["EURUSD", "USDJPY", 10**400, -(10**400), 1.0, 0.01, 1, 5, 6, 7, 8, 10]),
)  # fmt: skip
requests = st.dictionaries(st.sampled_from([*TradeRequest.__match_args__, "more"]), garbage, max_size=8)
arguments = st.lists(garbage | requests, max_size=4)
named = st.dictionaries(
    st.sampled_from(
        ["symbol", "ticket", "group", "position", "request", "login", "server", "path", *TradeRequest.__match_args__]
    ),
    garbage | requests,
    max_size=4,
)


@settings(max_examples=1000)
@given(name=st.sampled_from(FUNCTIONS), args=arguments, more=named, mode=st.sampled_from(MODES), is_attached=st.booleans())
@example(name="history_deals_get", args=[datetime(1, 1, 1), FAR], more={}, mode="hedging", is_attached=True)  # noqa: DTZ001
@example(name="history_deals_get", args=[math.nan, math.inf], more={}, mode="hedging", is_attached=True)
@example(name="order_calc_margin", args=[0, "EURUSD", math.nan, 1.0], more={}, mode="hedging", is_attached=True)
@example(name="order_calc_profit", args=[0, "EURUSD", math.inf, 1.0, 1.0], more={}, mode="hedging", is_attached=True)
@example(
    name="order_send", args=[{"action": 1, "symbol": "EURUSD", "volume": 1e300}], more={}, mode="hedging", is_attached=True
)
def test_any_arguments_are_answered_refused_or_a_system_error(name, args, more, mode, is_attached):
    mt5 = fake_mt5(mode=mode, positions=2)
    if is_attached:
        mt5.initialize()
    before = mt5.terminal.books()
    try:
        answer = getattr(mt5, name)(*args, **more) if more and name in WITH_KEYWORDS else getattr(mt5, name)(*args)
    except SystemError:
        assert mt5.terminal.books() == before
        return
    code, text = mt5.last_error()
    assert isinstance(answer, (tuple, int, float, bool)) or answer is None
    assert (answer is None or answer is False) == (code < 0)
    if code == -2 and not text.startswith("Terminal"):
        assert mt5.terminal.books() == before


volumes = st.integers(-2, 40).map(lambda steps: steps * 0.01)
prices = st.integers(100_000, 120_000).map(lambda points: points / 100_000)


class Trading(RuleBasedStateMachine):
    """Trades, ticks, other people and faults; after each step the fake shows what the terminal has."""

    @initialize(mode=st.sampled_from(MODES), liquidity=st.sampled_from([0.0, 0.1]), delay=st.integers(0, 2))
    def start(self, mode, liquidity, delay):
        self.mt5 = fake_mt5(
            mode=mode,
            spread=2,
            settings=FakeSettings(liquidity=liquidity, parts=2, deals_delay_calls=delay, history_delay_calls=delay),
        )
        self.mt5.initialize()
        self.mt5.control.set_price("EURUSD", "1.10000")

    @rule(
        kind=st.integers(0, 8),
        volume=volumes,
        filling=st.integers(0, 3),
        price=prices,
        sl=prices | st.just(0.0),
        tp=prices | st.just(0.0),
        closes=st.booleans(),
        action=st.sampled_from([1, 1, 1, 5, 5, 6, 7, 8, 10]),
    )
    def send(self, kind, volume, filling, price, sl, tp, closes, action):
        mt5 = self.mt5
        held, waiting = mt5.positions_get() or (), mt5.orders_get() or ()
        request = {
            "action": action, "symbol": "EURUSD", "type": kind, "volume": volume, "type_filling": filling, "price": price,
            "sl": sl, "tp": tp, "stoplimit": price - 0.01,
        }  # fmt: skip
        if closes and held:
            request |= {"position": held[0].ticket, "position_by": held[-1].ticket}
        if waiting:
            request["order"] = waiting[0].ticket
        books = mt5.terminal.books()
        checked = mt5.order_check(request)
        assert mt5.terminal.books() == books
        result = mt5.order_send(request)
        assert (result is None) == (mt5.last_error()[0] < 0)
        if result is not None and checked is not None and checked.retcode not in (0, result.retcode):
            pytest.fail(f"checked {checked}, sent {result}")
        if result is not None and result.retcode not in (10008, 10009, 10010):
            assert (result.order, result.deal, result.volume, result.price) == (0, 0, 0.0, 0.0)
            assert mt5.terminal.books() == books

    @rule(price=prices)
    def move(self, price):
        self.mt5.control.set_price("EURUSD", Decimal(repr(price)))

    @rule(milliseconds=st.integers(0, 10_000))
    def wait(self, milliseconds):
        self.mt5.control.advance(milliseconds)

    @rule()
    def trade_manually(self):
        self.mt5.control.trade_manually()

    @rule(fault=st.sampled_from([FakeFault.FAIL, FakeFault.TIMEOUT, FakeFault.NO_CONNECTION]))
    def fail_once(self, fault):
        self.mt5.faults.add(fault)
        assert self.mt5.positions_get() is None

    @precondition(lambda self: self.mt5.orders_total())
    @rule()
    def fill(self):
        self.mt5.control.fill_order(self.mt5.orders_get()[0].ticket, "0.01")

    @invariant()
    def shows_the_terminal(self):
        if not hasattr(self, "mt5"):
            return
        mt5 = self.mt5
        for _ in range(3):
            mt5.symbols_total()  # lets every delay pass
        deals = mt5.history_deals_get(0, FAR)
        assert [row.ticket for row in deals] == [row["ticket"] for row in mt5.terminal.deals()]
        truth = {one.position_id: one for one in mt5.terminal.open_positions()}
        shown = {row.identifier: row for row in mt5.positions_get()}
        assert {key: row.volume for key, row in shown.items()} == pytest.approx(
            {key: float(one.volume) for key, one in truth.items()}
        )
        active, finished = mt5.orders_get(), mt5.history_orders_get(0, FAR)
        orders = {row.ticket: row for row in (*active, *finished)}
        assert len(orders) == len(active) + len(finished), "an order is active or finished"
        trades = [row for row in deals if row.type in (0, 1)]
        assert {row.order for row in trades} <= {*orders}
        for ticket, row in orders.items():
            filled = sum(deal.volume for deal in trades if deal.order == ticket)
            if row.type != mt5.ORDER_TYPE_CLOSE_BY:
                assert filled == pytest.approx(row.volume_initial - row.volume_current)
        assert mt5.positions_total() == len(shown)


Trading.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestTrading = Trading.TestCase
