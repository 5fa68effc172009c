"""A terminal through the module: what is an error is never an empty list, and what is another terminal's is never believed."""

from __future__ import annotations

import threading
import traceback
from typing import Any

import pytest

from ledger.errors import BadValue, GatewayError, GatewayRefused, GatewayTimeout, GatewayUnavailable, SnapshotRefused
from ledger.gateway.mt5_terminal import Mt5Terminal
from tests.gateway.scripted_mt5 import (
    FOLDER,
    NO_CONNECTION,
    OPENED_MSC,
    PROGRAM,
    TIMED_OUT,
    UTC_MSC,
    Record,
    ScriptedMt5,
    deal,
    position,
)


def terminal_of(mt5, **given):
    return Mt5Terminal(mt5, utc_ms=lambda: UTC_MSC, **given)


# ---- rows


def test_positions_are_plain_rows_with_words_for_their_side():
    rows = terminal_of(ScriptedMt5(position(7), position(8, type=1))).positions()
    assert [(row["ticket"], row["type"]) for row in rows] == [(7, "buy"), (8, "sell")]
    assert all(type(row) is dict for row in rows)


def test_a_side_that_has_no_word_stays_a_code():
    assert terminal_of(ScriptedMt5(position(7, type=6))).positions()[0]["type"] == 6


def test_no_positions_are_an_empty_list():
    assert terminal_of(ScriptedMt5()).positions() == []


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ({"type": 0, "entry": 0}, ("buy", "in")),
        ({"type": 1, "entry": 1}, ("sell", "out")),
        ({"type": 0, "entry": 2}, ("buy", "in/out")),
        ({"type": 0, "entry": 3}, ("buy", "out by")),
        ({"type": 2, "entry": 0}, ("balance", "in")),
        ({"type": 77, "entry": 9}, (77, 9)),
    ],
)
def test_deals_have_words_for_the_codes_that_have_one(codes, words):
    (row,) = terminal_of(ScriptedMt5(deals=(deal(5, **codes),))).deals()
    assert (row["type"], row["entry"]) == words


def test_a_span_is_asked_for_in_whole_seconds_and_returned_to_the_millisecond():
    mt5 = ScriptedMt5(deals=tuple(deal(5 + n, time_msc=OPENED_MSC + n) for n in range(4)))
    rows = terminal_of(mt5).deals(from_msc=OPENED_MSC + 1, to_msc=OPENED_MSC + 2)
    assert [row["ticket"] for row in rows] == [6, 7]
    assert mt5.given[-1][0] == (OPENED_MSC // 1000, OPENED_MSC // 1000 + 1)
    assert [type(one) for one in mt5.given[-1][0]] == [int, int]


def test_a_deal_without_a_time_is_returned_for_the_reader_to_refuse():
    mt5 = ScriptedMt5(deals=(deal(5, time_msc=0),))
    mt5.history_deals_get = lambda *_: mt5.deals  # type: ignore[method-assign]
    assert len(terminal_of(mt5).deals(from_msc=OPENED_MSC, to_msc=OPENED_MSC)) == 1


def test_a_span_without_an_end_reaches_a_day_beyond_any_clock():
    mt5 = ScriptedMt5()
    terminal_of(mt5).deals()
    (first, last), _ = mt5.given[-1]
    assert first == 0
    assert last - UTC_MSC // 1000 == (24 + 16) * 60 * 60


def test_the_deals_of_a_position_are_asked_for_by_its_identifier_alone():
    mt5 = ScriptedMt5(deals=(deal(5), deal(6)))
    assert [row["ticket"] for row in terminal_of(mt5).deals(position=6)] == [6]
    assert mt5.given[-1] == ((), {"position": 6})


def test_a_position_that_the_terminal_does_not_know_has_no_deals():
    mt5 = ScriptedMt5()
    mt5.fail("history_deals_get", (-2, "Terminal: Invalid params"))
    assert terminal_of(mt5).deals(position=6) == []


def test_an_argument_that_the_module_refuses_is_no_unknown_position():
    mt5 = ScriptedMt5()
    mt5.fail("history_deals_get", (-2, 'Invalid "position" argument'))
    with pytest.raises(GatewayRefused, match="Invalid"):
        terminal_of(mt5).deals(position=6)


def test_the_account_is_returned_without_the_name_of_its_owner():
    row = terminal_of(ScriptedMt5()).account()
    assert row["margin_mode"] == "hedging"
    assert "A Person" not in row.values()


def test_symbols_have_the_names_of_the_protocol():
    mt5 = ScriptedMt5()
    mt5.symbols = (Record(name="EURUSD", digits=5, volume_step=0.01, volume_min=0.01, volume_max=50.0,
        trade_contract_size=100000.0, currency_profit="USD", filling_mode=3, trade_stops_level=0, time=1),)  # fmt: skip
    assert terminal_of(mt5).symbols() == [
        {"symbol": "EURUSD", "digits": 5, "volume_step": 0.01, "volume_min": 0.01, "volume_max": 50.0,
         "contract_size": 100000.0, "currency_profit": "USD", "filling_mode": 3, "stops_level": 0, "point": None,
         "tick_size": None}
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [object(), float("nan"), float("inf"), [1], b"x"])
def test_a_value_that_is_no_number_or_text_is_refused_with_its_row_and_field(wrong):
    with pytest.raises(SnapshotRefused, match="row 2, volume: expected a number or a text"):
        terminal_of(ScriptedMt5(position(7), position(8, volume=wrong))).positions()


def test_what_is_no_record_is_refused_with_its_row():
    mt5 = ScriptedMt5()
    mt5.positions = (7,)  # type: ignore[assignment]
    with pytest.raises(SnapshotRefused, match="row 1: expected a record of MetaTrader 5"):
        terminal_of(mt5).positions()


# ---- errors


@pytest.mark.parametrize(
    ("last_error", "kind"),
    [
        ((-1, "Fail"), GatewayRefused),
        ((-2, "Terminal: Invalid params"), GatewayRefused),
        ((-8, "AutoTrading disabled"), GatewayRefused),
        ((1, "Success"), GatewayRefused),
        ((-10001, "IPC send failed"), GatewayUnavailable),
        ((-10002, "IPC recv failed"), GatewayUnavailable),
        ((-10003, "IPC initialize failed"), GatewayUnavailable),
        (NO_CONNECTION, GatewayUnavailable),
        (TIMED_OUT, GatewayTimeout),
        ((-1, "result expired"), GatewayTimeout),
        (EOFError("stream has been closed"), GatewayUnavailable),
        (ConnectionResetError("reset"), GatewayUnavailable),
        (TimeoutError("result expired"), GatewayTimeout),
        (RuntimeError("result expired"), GatewayTimeout),
        (SystemError("an argument does not fit"), GatewayRefused),
        (AttributeError("no such call"), GatewayRefused),
    ],
)
@pytest.mark.parametrize("call", ["positions_get", "positions_total", "history_deals_get", "account_info", "symbols_get"])
def test_none_is_an_error_and_never_an_empty_list(call, last_error, kind):
    mt5 = ScriptedMt5()
    terminal = terminal_of(mt5)
    terminal.head()
    mt5.fail(call, last_error)
    reads = {"history_deals_get": terminal.deals, "account_info": terminal.account, "symbols_get": terminal.symbols}
    with pytest.raises(kind) as caught:
        reads.get(call, terminal.positions)()
    assert call in str(caught.value)


def test_an_error_has_its_code_and_text():
    mt5 = ScriptedMt5()
    mt5.fail("positions_get", (-1, "Fail"))
    terminal = terminal_of(mt5)
    with pytest.raises(GatewayRefused) as caught:
        terminal.positions()
    assert caught.value.code == "-1"
    assert terminal.last_error == (-1, "Fail")


def test_a_count_that_differs_once_is_asked_for_again():
    mt5 = ScriptedMt5(position(7))
    mt5.totals = [2]
    assert len(terminal_of(mt5).positions()) == 1
    assert mt5.asked.count("positions_get") == 2


def test_a_count_that_differs_twice_is_refused():
    mt5 = ScriptedMt5(position(7))
    mt5.totals = [2, 2, 1]
    with pytest.raises(SnapshotRefused, match="expected the 2 positions of positions_total, positions_get returned 1"):
        terminal_of(mt5).positions()


# ---- the checks of a start


def test_optional_arguments_are_left_out():
    mt5 = ScriptedMt5()
    terminal_of(mt5).positions()
    assert mt5.given[mt5.asked.index("initialize")] == ((), {"timeout": 60_000})


def test_what_is_expected_is_passed_on():
    mt5 = ScriptedMt5()
    given = {"path": PROGRAM, "login": 70113, "server": "Broker-Live", "password": "p", "portable": True}
    terminal_of(mt5, **given, timeout_ms=5).positions()
    assert mt5.given[mt5.asked.index("initialize")] == ((), given | {"timeout": 5})


def test_the_checks_run_once_while_all_is_well():
    mt5 = ScriptedMt5()
    terminal = terminal_of(mt5)
    for _ in range(3):
        terminal.positions()
    assert mt5.asked.count("initialize") == 1
    assert terminal.reconnections == 0


@pytest.mark.parametrize("error", [(-3, "No memory"), NO_CONNECTION, TIMED_OUT, EOFError("gone")])
def test_after_an_error_below_minus_two_the_checks_run_again_and_are_counted(error):
    mt5 = ScriptedMt5()
    terminal = terminal_of(mt5)
    terminal.positions()
    mt5.fail("positions_get", error)
    with pytest.raises((GatewayRefused, GatewayUnavailable, GatewayTimeout)):
        terminal.positions()
    assert terminal.reconnections == 0
    terminal.positions()
    assert (mt5.asked.count("initialize"), terminal.reconnections) == (2, 1)


@pytest.mark.parametrize("error", [(-1, "Fail"), (-2, "Terminal: Invalid params")])
def test_a_refused_call_needs_no_new_checks(error):
    mt5 = ScriptedMt5()
    terminal = terminal_of(mt5)
    mt5.fail("positions_get", error)
    with pytest.raises(GatewayRefused):
        terminal.positions()
    terminal.positions()
    assert mt5.asked.count("initialize") == 1


def test_a_module_that_the_program_attached_is_left_as_it_is():
    mt5 = ScriptedMt5(is_attached=True)
    terminal = terminal_of(mt5)
    terminal.positions()
    terminal.close()
    assert not {"initialize", "shutdown"} & {*mt5.asked}


def test_a_module_that_the_program_attached_is_initialised_with_what_is_named_and_not_shut_down():
    mt5 = ScriptedMt5(is_attached=True)
    terminal = terminal_of(mt5, path=PROGRAM, login=70113)
    terminal.positions()
    terminal.close()
    assert mt5.given[mt5.asked.index("initialize")][1] == {"timeout": 60_000, "path": PROGRAM, "login": 70113}
    assert "shutdown" not in mt5.asked


@pytest.mark.parametrize("named", [{"path": "D:\\Other\\terminal64.exe"}, {"login": 7}, {"server": "Elsewhere"}])
def test_a_module_that_the_program_attached_elsewhere_is_refused_and_stays_there(named):
    mt5 = ScriptedMt5(is_attached=True)
    terminal = terminal_of(mt5, **named)
    for _ in range(3):
        with pytest.raises(SnapshotRefused):
            terminal.positions()
    terminal.close()
    assert not {"initialize", "shutdown"} & {*mt5.asked}


def test_a_module_that_we_initialised_is_shut_down_with_us():
    mt5 = ScriptedMt5()
    terminal = terminal_of(mt5)
    terminal.positions()
    terminal.close()
    terminal.close()
    assert mt5.asked.count("shutdown") == 1
    with pytest.raises(GatewayUnavailable, match="was closed"):
        terminal.positions()


def test_a_module_whose_other_end_is_gone_is_closed_all_the_same():
    mt5 = ScriptedMt5()
    terminal = terminal_of(mt5)
    terminal.positions()

    class Gone:
        def __getattribute__(self, name: str) -> Any:
            raise EOFError("stream has been closed")

    terminal._mt5 = Gone()
    with pytest.raises(GatewayUnavailable, match="EOFError: stream has been closed"):
        terminal.positions()
    terminal.close()


@pytest.mark.parametrize(
    ("expected", "field"),
    [
        ({"login": 7}, "login: expected 7, the terminal is logged in to 70113"),
        ({"server": "Broker-Demo"}, "server: expected Broker-Demo, the terminal is logged in to 'Broker-Live'"),
        ({"path": "C:\\Other\\terminal64.exe"}, "path: expected the terminal C:.Other.terminal64.exe"),
    ],
)
def test_another_login_server_or_terminal_is_refused(expected, field):
    terminal = terminal_of(ScriptedMt5(position(7)), **expected)
    for read in (terminal.head, terminal.positions, terminal.deals, terminal.account):
        with pytest.raises(SnapshotRefused, match=field):
            read()


@pytest.mark.parametrize("path", [PROGRAM, FOLDER, "c:/terminal/TERMINAL64.EXE", "C:\\Terminal\\"])
def test_a_terminal_is_known_by_its_folder(path):
    assert terminal_of(ScriptedMt5(), path=path).head()["path"] == FOLDER


def test_the_terminal_may_not_become_another_one():
    mt5 = ScriptedMt5()
    terminal = terminal_of(mt5)
    terminal.head()
    mt5.terminal["path"] = "D:\\Terminal"
    with pytest.raises(SnapshotRefused, match="path"):
        terminal.head()


@pytest.mark.parametrize(("code", "word"), [(0, "netting"), (1, "exchange"), (2, "hedging"), (3, 3)])
def test_the_head_has_a_word_for_the_margin_mode(code, word):
    mt5 = ScriptedMt5()
    mt5.account["margin_mode"] = code
    assert terminal_of(mt5).head()["margin_mode"] == word


def test_a_terminal_without_an_account_is_refused():
    mt5 = ScriptedMt5()
    mt5.account["login"] = 0
    with pytest.raises(SnapshotRefused, match="logged in to no account"):
        terminal_of(mt5).head()


@pytest.mark.parametrize(
    ("account", "terminal", "allowed"),
    [({}, {}, True), ({"trade_allowed": False}, {}, False), ({}, {"trade_allowed": False}, False),
     ({}, {"tradeapi_disabled": True}, False)],
)  # fmt: skip
def test_the_head_states_whether_trading_is_allowed(account, terminal, allowed):
    mt5 = ScriptedMt5()
    mt5.account |= account
    mt5.terminal |= terminal
    assert terminal_of(mt5).head()["trade_allowed"] is allowed


def test_a_start_that_fails_is_tried_again_at_the_next_call():
    mt5 = ScriptedMt5()
    mt5.fail("initialize", NO_CONNECTION)
    terminal = terminal_of(mt5)
    with pytest.raises(GatewayUnavailable, match="initialize"):
        terminal.positions()
    assert terminal.positions() == []


def test_with_a_back_off_the_next_start_waits_twice_as_long_each_time():
    now, mt5 = [0.0], ScriptedMt5()
    terminal = terminal_of(mt5, backoff_max_sec=60, monotonic=lambda: now[0])
    for started, wait in enumerate((1, 2, 4, 8, 16, 32, 60, 60), 1):
        mt5.fail("initialize", NO_CONNECTION)
        with pytest.raises(GatewayUnavailable):
            terminal.positions()
        now[0] += wait - 0.5
        with pytest.raises(GatewayUnavailable, match="tried again in 1 s"):
            terminal.positions()
        assert mt5.asked.count("initialize") == started
        now[0] += 0.5
    assert terminal.positions() == []


@pytest.mark.parametrize(
    "failure",
    [
        (-6, "Authorization failed"),
        (-6, "hunter2 is wrong"),
        RuntimeError("initialize(password='hunter2')"),
        SystemError("initialize(password='hunter2')"),
        TimeoutError("initialize(password='hunter2')"),
    ],
    ids=repr,
)
def test_the_password_is_in_no_error(failure):
    mt5 = ScriptedMt5()
    mt5.fail("initialize", failure)
    terminal = terminal_of(mt5, password="hunter2")  # noqa: S106
    with pytest.raises(GatewayError) as caught:
        terminal.positions()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in f"{caught.value!r} {terminal.last_error}"


# ---- the server's clock


def test_nothing_seen_is_no_time():
    assert terminal_of(ScriptedMt5()).head()["server_time_msc"] is None


def test_the_server_time_is_the_newest_of_what_was_seen():
    mt5 = ScriptedMt5(position(7, time_update_msc=OPENED_MSC + 1), deals=(deal(5, time_msc=OPENED_MSC + 2),))
    terminal = terminal_of(mt5)
    terminal.positions()
    assert terminal.head()["server_time_msc"] == OPENED_MSC + 1
    assert terminal.refresh_clock() == OPENED_MSC + 2
    mt5.orders = (Record(ticket=9, time_setup_msc=OPENED_MSC + 3),)
    terminal.orders()
    assert terminal.head()["server_time_msc"] == OPENED_MSC + 3
    mt5.ticks["EURUSD"] = OPENED_MSC + 4
    assert terminal.refresh_clock() == OPENED_MSC + 4
    assert terminal.head()["server_time_msc"] == OPENED_MSC + 4


def spans_of_deals(mt5):
    return [given[0] for call, given in zip(mt5.asked, mt5.given, strict=True) if call == "history_deals_get"]


def test_the_clock_is_read_from_the_newest_deals_only():
    mt5 = ScriptedMt5(deals=(deal(5),))
    terminal = terminal_of(mt5)
    for _ in range(3):
        assert terminal.refresh_clock() == OPENED_MSC
    latest = UTC_MSC // 1000 + (16 + 24) * 60 * 60
    assert spans_of_deals(mt5)[0] == (latest - 2 * 24 * 60 * 60, latest)
    assert [first for first, _ in spans_of_deals(mt5)[1:]] == [OPENED_MSC // 1000 - 60] * 2


@pytest.mark.parametrize(("days", "looks"), [(3, 2), (300, 3)])
def test_the_newest_deal_is_found_however_long_ago_it_was(days, looks):
    then_msc = OPENED_MSC - days * 86_400_000
    mt5 = ScriptedMt5(deals=(deal(5, time_msc=then_msc),))
    assert terminal_of(mt5).refresh_clock() == then_msc
    assert len(spans_of_deals(mt5)) == looks


def test_an_account_without_deals_is_searched_to_its_beginning_once():
    mt5 = ScriptedMt5()
    terminal = terminal_of(mt5)
    terminal.refresh_clock()
    assert [first for first, _ in spans_of_deals(mt5)][-1] == 0
    terminal.refresh_clock()
    assert len(spans_of_deals(mt5)) == 4


def test_where_nothing_was_traded_the_prices_of_all_symbols_are_looked_at_once():
    mt5 = ScriptedMt5()
    mt5.symbols = (Record(name="EURUSD", time=OPENED_MSC // 1000), Record(name="USDJPY", time=OPENED_MSC // 1000 - 9))
    terminal = terminal_of(mt5)
    assert [terminal.refresh_clock() for _ in range(2)] == [OPENED_MSC // 1000 * 1000] * 2
    assert mt5.asked.count("symbols_get") == 1


def test_a_lost_connection_is_noticed_while_prices_are_read():
    mt5 = ScriptedMt5(position(7))
    terminal = terminal_of(mt5)
    terminal.positions()
    mt5.fail("symbol_info_tick", NO_CONNECTION)
    mt5.ticks["EURUSD"] = 1
    with pytest.raises(GatewayUnavailable):
        terminal.refresh_clock()


def test_a_history_that_is_refused_leaves_the_time_of_what_else_is_seen():
    mt5 = ScriptedMt5(position(7), deals=(deal(5, time_msc=OPENED_MSC + 9),))
    terminal = terminal_of(mt5)
    terminal.positions()
    mt5.fail("history_deals_get", (-1, "Fail"))
    assert terminal.refresh_clock() == OPENED_MSC
    assert terminal.refresh_clock() == OPENED_MSC + 9
    mt5.fail("history_deals_get", NO_CONNECTION)
    with pytest.raises(GatewayUnavailable):
        terminal.refresh_clock()


def test_a_module_without_prices_and_history_still_shows_positions():
    class Few(ScriptedMt5):
        def __getattribute__(self, name: str) -> Any:
            if name in ("history_deals_get", "symbol_info_tick", "symbols_get"):
                raise AttributeError(name)
            return super().__getattribute__(name)

    terminal = terminal_of(Few(position(7)))
    assert terminal.refresh_clock() is None
    assert len(terminal.positions()) == 1


def test_another_account_has_another_clock():
    mt5 = ScriptedMt5(position(7))
    terminal = terminal_of(mt5)
    terminal.positions()
    mt5.account |= {"login": 8, "server": "Elsewhere"}
    assert terminal.head()["server_time_msc"] is None


# ---- several threads


def test_a_call_waits_for_another_threads_call_as_long_as_it_may():
    terminal = terminal_of(ScriptedMt5(), timeout_ms=1)
    begun, done = threading.Event(), threading.Event()

    def hold():
        with terminal.turn():
            begun.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(20)
    try:
        with pytest.raises(GatewayTimeout, match="another call was under way"):
            terminal.positions()
    finally:
        done.set()
        thread.join()


# ---- what is no module


@pytest.mark.parametrize("wrong", [None, "MetaTrader5", object()])
def test_what_is_no_module_is_refused(wrong):
    with pytest.raises(BadValue, match="expected the MetaTrader5 module"):
        Mt5Terminal(wrong)
