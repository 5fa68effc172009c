"""The fake ``MetaTrader5``: what goes wrong on command and by seed, connections, clocks and other people's trades."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections import Counter

import pytest

from ledger.errors import BadValue
from ledger.gateway.sandbox.terminal import Terminal
from ledger.testing import FakeFault, FakeFaults, FakeMetaTrader5, FakeSettings, fake_mt5
from ledger.testing.mt5.blocking import block
from ledger.testing.mt5.faults import ALWAYS, read_fault
from ledger.testing.mt5.retcodes import COMMENTS
from ledger.values import MarginMode
from tools.testkit import facts

FAR = 2_000_000_000
EXECUTIONS = {  # fault -> how many positions it leaves, what the engine sees
    "requote": (0, 10004),
    "reject": (0, 10006),
    "reject-with-order": (0, 10006),
    "unknown-executed": (1, 10012),
    "unknown-not-executed": (0, 10012),
    "lost-executed": (1, -10005),
    "lost-not-executed": (0, -10005),
    "executed-twice": (2, 10009),
    "timeout": (0, -10005),
    "no-connection": (0, -10004),
    "fail": (0, -1),
}


@pytest.fixture
def mt5():
    return connected()


def connected(**options):
    module = fake_mt5(**options)
    module.initialize()
    return module


def buy(module, **more):
    request = {"action": module.TRADE_ACTION_DEAL, "symbol": "EURUSD", "volume": 0.1, "type": module.ORDER_TYPE_BUY}
    return module.order_send(request | more)


# ---- order_send


@pytest.mark.parametrize("fault", EXECUTIONS)
def test_what_an_engine_sees_is_not_always_what_happened(mt5, fault):
    positions, seen = EXECUTIONS[fault]
    mt5.faults.add(fault)
    result = buy(mt5)
    assert (mt5.last_error()[0] if result is None else result.retcode) == seen
    assert len(mt5.terminal.open_positions()) == positions
    assert buy(mt5).retcode == mt5.TRADE_RETCODE_DONE, "the fault is over"


def test_the_comment_finds_an_order_whose_answer_was_lost(mt5):
    mt5.faults.add("lost-executed")
    assert buy(mt5, comment="LK3V") is None
    assert [row.comment for row in mt5.history_orders_get(0, FAR)] == ["LK3V"]


def test_a_double_execution_shows_the_comment_on_two_orders(mt5):
    mt5.faults.add("executed-twice")
    result = buy(mt5, comment="LK3V")
    orders = [row.ticket for row in mt5.history_orders_get(0, FAR) if row.comment == "LK3V"]
    assert (len(orders), result.order) == (2, orders[0])


def test_what_was_sent_can_be_counted_whatever_became_of_it(mt5):
    mt5.faults.add("timeout")
    assert buy(mt5, comment="first") is None
    mt5.faults.add("lost-executed")
    assert buy(mt5, comment="second") is None
    assert buy(mt5, comment="x" * 30) is None
    assert mt5.order_check({"action": 1}).retcode == mt5.TRADE_RETCODE_INVALID
    assert [request["comment"] for request in mt5.control.requests] == ["second"]


def test_a_rejection_may_name_an_order(mt5):
    mt5.faults.add("reject-with-order")
    result = buy(mt5)
    assert (result.retcode, result.deal) == (10006, 0)
    assert mt5.history_orders_get(ticket=result.order)[0].state == mt5.ORDER_STATE_REJECTED


@pytest.mark.parametrize("retcode", [code for code in COMMENTS if code])
def test_every_return_code_comes_on_command(mt5, retcode):
    succeeds = retcode in (10008, 10009, 10010)
    mt5.faults.answer(retcode)
    result = buy(mt5)
    assert (result.retcode, result.comment) == (retcode, COMMENTS[retcode])
    assert mt5.positions_total() == int(succeeds)


def test_answers_on_command_come_in_their_order(mt5):
    mt5.faults.answer(10012, executions=1)
    mt5.faults.answer(10007)
    mt5.faults.answer(0, executions=1, error=(-10002, "IPC recv failed"))
    assert [buy(mt5).retcode, buy(mt5).retcode] == [10012, 10007]
    assert buy(mt5) is None
    assert mt5.last_error() == (-10002, "IPC recv failed")
    assert mt5.positions_total() == 2


def test_a_request_that_would_be_refused_is_refused_as_often_as_it_is_executed(mt5):
    mt5.faults.add("executed-twice")
    assert buy(mt5, volume=0.001).retcode == mt5.TRADE_RETCODE_INVALID_VOLUME
    assert mt5.positions_total() == 0


# ---- reads


def test_faults_of_reads(mt5):
    for _ in range(4):
        buy(mt5)
    mt5.faults.add("half")
    assert (mt5.positions_total(), len(mt5.positions_get())) == (4, 2)
    mt5.faults.add("duplicate")
    assert max(Counter(row.ticket for row in mt5.positions_get()).values()) == 2
    mt5.faults.add("late-deals")
    assert len(mt5.history_deals_get(0, FAR)) == 2
    mt5.faults.add("half-history", 2)
    assert (len(mt5.history_deals_get(0, FAR)), len(mt5.history_orders_get(0, FAR))) == (2, 2)
    mt5.faults.add("wrong-login")
    mt5.faults.add("wrong-server")
    assert (mt5.account_info().login, mt5.account_info().server) == (70114, "Sandbox-Demo")
    mt5.faults.add("wrong-server")
    assert mt5.account_info().server == "Other-Server"
    mt5.faults.add("not-connected")
    assert (mt5.terminal_info().connected, mt5.terminal_info().connected) == (False, True)
    assert (len(mt5.positions_get()), len(mt5.history_deals_get(0, FAR))) == (4, 5)


def test_a_fault_waits_for_a_call_that_it_applies_to(mt5):
    mt5.faults.add("requote")
    assert mt5.positions_get() == ()
    assert buy(mt5).retcode == mt5.TRADE_RETCODE_REQUOTE


def test_a_fault_lasts_until_it_is_cleared(mt5):
    mt5.faults.add("fail", ALWAYS)
    assert [mt5.positions_get() for _ in range(3)] == [None] * 3
    mt5.faults.answer(10006)
    mt5.faults.clear()
    assert mt5.positions_get() == ()
    assert buy(mt5).retcode == 10009


def test_the_same_seed_goes_wrong_in_the_same_way():
    def run(seed):
        module = connected(positions=4, faults=FakeFaults(rate=0.5, seed=seed, slow_ms=0))
        seen = []
        for _ in range(30):
            module.initialize()
            seen.append((module.positions_get(), module.last_error()))
            buy(module)
        return seen

    seen = run(3)
    assert 0 < [rows is None for rows, _ in seen].count(True) < len(seen), "some calls fail, some do not"
    assert run(3) == seen
    assert run(3) != run(4)


@pytest.mark.parametrize(
    ("text", "fault"), [("half", (FakeFault.HALF, ALWAYS)), ("lost-executed:2", (FakeFault.LOST_EXECUTED, 2))]
)
def test_a_fault_is_written_with_its_number_of_times(text, fault):
    assert read_fault(text) == fault


@pytest.mark.parametrize("text", ["gone", "half:x", ""])
def test_an_unknown_fault_names_the_known_ones(text):
    with pytest.raises(BadValue, match="a fault is one of no-connection, timeout"):
        read_fault(text)


# ---- connection


def test_cut_off_from_the_server_the_terminal_shows_what_it_had(mt5):
    buy(mt5)
    shown = mt5.positions_get(), mt5.history_deals_get(0, FAR), mt5.history_orders_get(0, FAR), mt5.orders_get()
    mt5.control.disconnect()
    mt5.terminal.close(mt5.terminal.open_positions()[0].position_id)
    assert mt5.terminal_info().connected is False
    assert buy(mt5).retcode == mt5.TRADE_RETCODE_CONNECTION
    assert (mt5.positions_get(), mt5.history_deals_get(0, FAR), mt5.history_orders_get(0, FAR), mt5.orders_get()) == shown
    mt5.control.reconnect()
    assert mt5.terminal_info().connected is True
    assert mt5.positions_get() == ()
    assert len(mt5.history_deals_get(0, FAR)) == 3


def test_a_terminal_that_ended_is_started_by_initialize(mt5):
    mt5.control.exit_terminal()
    for _ in range(2):
        assert mt5.positions_get() is None
        assert mt5.last_error() == (-10004, "No IPC connection")
        assert mt5.version() == (0, 0, "")
        assert mt5.initialize()
        assert mt5.positions_get() == ()
        mt5.faults.add("exit")
        assert mt5.positions_get() is None


def test_a_terminal_may_not_start_at_once():
    mt5 = fake_mt5()
    mt5.faults.add("no-start", 2)
    mt5.faults.add("fail")
    for _ in range(2):
        assert not mt5.initialize()
        assert mt5.last_error() == (-10005, "IPC timeout")
        assert mt5.positions_get() is None
    assert mt5.initialize()
    assert mt5.positions_get() is None, "the fault of a call waits for a call"
    assert mt5.positions_get() == ()


def test_broker_and_books_survive_the_process(mt5):
    waiting = {"action": mt5.TRADE_ACTION_PENDING, "type": mt5.ORDER_TYPE_BUY_LIMIT, "price": 0.5, "type_filling": 2}
    assert buy(mt5, sl=0.9).retcode == buy(mt5, **waiting).retcode == 10009
    again = connected()
    again.broker = pickle.loads(pickle.dumps(mt5.broker))  # noqa: S301  # our own bytes
    for name in ("positions_get", "orders_get"):
        assert getattr(again, name)() == getattr(mt5, name)() != ()
    assert again.history_orders_get(0, FAR) == mt5.history_orders_get(0, FAR)
    assert buy(again).order == buy(mt5).order


def test_after_a_login_the_history_is_half_loaded_for_a_while():
    mt5 = connected(positions=3, settings=FakeSettings(loading_calls=2))
    assert [len(mt5.history_deals_get(0, FAR)) for _ in range(3)] == [2, 2, 4]
    mt5.initialize()
    assert len(mt5.history_deals_get(0, FAR)) == 4, "it was connected already"
    mt5.control.disconnect()
    mt5.control.reconnect()
    assert [len(mt5.history_orders_get(0, FAR)) for _ in range(3)] == [1, 1, 3]


def test_the_terminal_may_be_logged_in_to_another_account_between_two_calls(mt5):
    buy(mt5)
    mt5.control.switch_account(Terminal(login=8, server="Other", mode="netting"))
    assert (mt5.account_info().login, mt5.account_info().server, mt5.account_info().margin_mode) == (8, "Other", 0)
    assert mt5.positions_get() == ()
    assert not mt5.initialize(login=70113)


def test_settings_change_while_it_runs(mt5):
    assert mt5.account_info().trade_mode == mt5.ACCOUNT_TRADE_MODE_DEMO
    mt5.control.change(is_real=True)
    assert mt5.account_info().trade_mode == mt5.ACCOUNT_TRADE_MODE_REAL
    mt5.control.change(is_trading_allowed=False)
    assert not mt5.terminal_info().trade_allowed
    assert buy(mt5).retcode == mt5.TRADE_RETCODE_CLIENT_DISABLES_AT


@pytest.mark.parametrize("settings", [{"leverage": -1}, {"parts": True}, {"comment_length": "all"}])
def test_a_setting_that_cannot_be_is_refused(settings):
    with pytest.raises(BadValue, match=f"{next(iter(settings))} is a whole number from 0 to"):
        FakeSettings(**settings)


# ---- clock


def test_while_the_market_is_closed_no_tick_comes_and_no_order_is_accepted(mt5):
    mt5.control.close_market()
    before = mt5.symbol_info_tick("EURUSD")
    mt5.control.advance(3_600_000)
    assert mt5.symbol_info_tick("EURUSD") == before
    assert buy(mt5).retcode == mt5.TRADE_RETCODE_MARKET_CLOSED
    mt5.control.open_market()
    mt5.control.advance(1_000)
    assert mt5.symbol_info_tick("EURUSD").time_msc == mt5.terminal.now_msc
    assert buy(mt5).retcode == mt5.TRADE_RETCODE_DONE


def test_with_a_clock_prices_move_by_themselves_while_the_market_is_open():
    present = [1_767_700_000_000]
    mt5 = connected(clock=lambda: present[0])
    first = mt5.symbol_info_tick("EURUSD").time_msc
    assert first == present[0]
    present[0] += 999
    assert mt5.symbol_info_tick("EURUSD").time_msc == first
    present[0] += 1
    assert mt5.symbol_info_tick("EURUSD").time_msc == present[0]
    mt5.control.close_market()
    present[0] += 10_000
    assert mt5.symbol_info_tick("EURUSD").time_msc == present[0] - 10_000


def test_the_span_of_a_history_is_on_the_servers_clock_in_whole_seconds(mt5):
    buy(mt5)
    second = mt5.history_deals_get(0, FAR)[-1].time
    assert len(mt5.history_deals_get(second, second)) >= 1
    assert mt5.history_deals_get(second + 1, FAR) == ()


# ---- others


def test_a_deal_that_the_broker_withdraws_is_gone_from_the_history(mt5):
    first, second = buy(mt5), buy(mt5)
    assert len(mt5.history_deals_get(0, FAR)) == 3
    mt5.terminal.withdraw(second.deal)
    assert [row.order for row in mt5.history_deals_get(0, FAR)] == [0, first.order]
    assert [row.identifier for row in mt5.positions_get()] == [first.order]


def test_a_position_has_the_reason_of_its_first_deal():
    mt5 = connected(mode="netting")
    buy(mt5)
    mt5.terminal.send_order("EURUSD", "buy", "0.10", reason=mt5.DEAL_REASON_CLIENT)
    mt5.terminal.send_order("GBPUSD", "sell", "0.10", reason=mt5.DEAL_REASON_CLIENT)
    reasons = {row.symbol: row.reason for row in mt5.positions_get()}
    assert reasons == {"EURUSD": mt5.POSITION_REASON_EXPERT, "GBPUSD": mt5.POSITION_REASON_CLIENT}


def test_a_recorded_history_plays_as_time_passes():
    deals = [facts.fill(1, 5), facts.fill(2, 10, side="sell", entry="out", position_id=1, order=None)]
    mt5 = FakeMetaTrader5(Terminal.from_history(deals, mode=MarginMode.HEDGING))
    mt5.initialize()
    assert mt5.positions_get() == ()
    mt5.control.advance(2_000)
    (position,) = mt5.positions_get()
    assert (position.ticket, position.volume) == (1, 1.0)
    assert [row.ticket for row in mt5.history_orders_get(0, FAR)] == [1]
    mt5.control.advance(10_000)
    assert mt5.positions_get() == ()
    assert [row.ticket for row in mt5.history_deals_get(position=1)] == [1, 2]


def test_other_peoples_trades_have_deals_and_orders(mt5):
    mt5.control.trade_manually(30)
    deals = [row for row in mt5.history_deals_get(0, FAR) if row.type in (0, 1)]
    orders = {row.ticket: row for row in mt5.history_orders_get(0, FAR)}
    assert {row.order for row in deals} == {*orders}
    assert {row.reason for row in deals} <= {mt5.DEAL_REASON_CLIENT, mt5.DEAL_REASON_SO}
    assert all(row.state == mt5.ORDER_STATE_FILLED for row in orders.values())


# ---- the process


@pytest.fixture
def no_forced_switch():
    """Let a thread run until it lets others run: what happens meanwhile does not depend on time."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize(("wait", "is_blocking"), [(lambda: block(30), True), (lambda: time.sleep(0.03), False)])
def test_a_call_blocks_every_thread_of_the_process(no_forced_switch, wait, is_blocking):
    count, stop = 0, threading.Event()

    def work():
        nonlocal count
        while not stop.is_set():
            count += 1
            time.sleep(0)

    thread = threading.Thread(target=work)
    thread.start()
    while not count:
        time.sleep(0)
    before = count
    wait()
    after = count
    stop.set()
    thread.join()
    assert (before == after) is is_blocking


def test_a_slow_call_lasts_as_long_as_configured():
    mt5 = connected(settings=FakeSettings(call_ms=30), faults=FakeFaults(slow_ms=40))
    mt5.faults.add("slow")
    start = time.perf_counter()
    assert mt5.positions_get() == ()
    assert time.perf_counter() - start >= 0.07
