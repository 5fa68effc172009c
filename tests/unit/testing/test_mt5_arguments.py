"""The argument rules of the package, every row of the table against the fake, and the script that checks the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ledger.testing import FakeMetaTrader5, fake_mt5
from ledger.testing.mt5.argument_table import CASES, Case, Observation, Outcome, difference, observe
from ledger.testing.mt5.arguments import utf16_units
from tools.dev import mt5_arguments

ROWS = {
    "comment",
    "magic",
    "volume, price, sl, tp, stoplimit",
    "expiration",
    "deviation",
    "unknown keys, no action, no symbol, {}",
    "f(request, **{})",
    "positions_get('EURUSD'), orders_get(None, ticket=1)",
    "history_*_get()",
    "3.2 without a terminal",
    "(not in the document)",
}
NAMES = [f"{case.row}: {case.call}"[:120] for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_fake_answers_as_the_package_does(case):
    assert difference(case, observe(FakeMetaTrader5(), case)) is None


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.outcome is not Outcome.ANSWERS], ids=lambda case: case.call[:120]
)
def test_with_a_terminal_the_same_arguments_are_refused(case):
    mt5 = fake_mt5(positions=1)
    mt5.initialize()
    seen = observe(mt5, case)
    if case.outcome is Outcome.PASSES:  # the terminal judges
        assert seen.outcome is Outcome.ANSWERS
    else:
        assert difference(case, seen) is None


def test_after_a_system_error_the_text_names_the_argument():
    mt5 = FakeMetaTrader5()
    with pytest.raises(SystemError, match="<built-in function order_send> returned a result with an exception set"):
        mt5.order_send({"magic": -1})
    assert mt5.last_error() == (-2, 'Invalid "magic" argument')


def test_a_request_by_the_name_of_the_parameter_is_sent_as_one_without_fields():
    mt5 = fake_mt5()
    mt5.initialize()
    request = {"action": mt5.TRADE_ACTION_DEAL, "symbol": "EURUSD", "volume": 0.1, "type": mt5.ORDER_TYPE_BUY}
    result = mt5.order_send(request=request)
    assert (result.retcode, result.request.symbol) == (mt5.TRADE_RETCODE_INVALID, "")
    assert mt5.order_send(**request).retcode == mt5.TRADE_RETCODE_DONE


def test_every_row_of_the_table_has_cases():
    assert {case.row for case in CASES} == ROWS


def test_the_request_of_a_wrapper_is_sent_when_it_leaves_out_the_empty_mapping():
    mt5 = fake_mt5()
    mt5.initialize()
    request = {"action": mt5.TRADE_ACTION_DEAL, "symbol": "EURUSD", "volume": 0.1, "type": mt5.ORDER_TYPE_BUY}

    def wrapper(function, *args, **named):
        return function(*args, **named) if named else function(*args)

    assert wrapper(mt5.order_send, request).retcode == mt5.TRADE_RETCODE_DONE


@pytest.mark.parametrize(("text", "units"), [("", 0), ("abc", 3), ("\N{SLIGHTLY SMILING FACE}", 2), ("\ud83d", 1)])
def test_the_length_of_a_comment_is_counted_in_utf16_units(text, units):
    assert utf16_units(text) == units


# ---- the script


def test_the_script_finds_no_difference_in_the_fake(capsys):
    assert mt5_arguments.main(["--fake"]) == 0
    assert capsys.readouterr().out.endswith(" 0 differences\n")


class Wrong(FakeMetaTrader5):
    """A package that changed."""

    TRADE_RETCODE_DONE = 1  # type: ignore[misc]
    TradePosition = FakeMetaTrader5.TradeDeal

    def positions_get(self, *_args, **named):
        return super().positions_get(**named)


def test_the_script_names_each_difference(capsys):
    assert mt5_arguments.report(Wrong()) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "constant TRADE_RETCODE_DONE: expected: 10009; found: 1"
    assert lines[1].startswith("fields of TradePosition: expected: ticket time time_msc")
    assert lines[2].startswith(
        "positions_get('EURUSD'), orders_get(None, ticket=1): positions_get('EURUSD'): expected: None, -2"
    )
    assert lines[-1].endswith(f" {len(lines) - 1} differences")


def test_the_script_refuses_a_module_that_is_connected(capsys):
    mt5 = fake_mt5()
    mt5.initialize()
    assert mt5_arguments.report(mt5) == 2
    assert "orders would be sent" in capsys.readouterr().out
    assert mt5.history_orders_total(0, 2_000_000_000) == 0


def test_the_script_needs_no_database_and_no_sockets():
    program = "import sys, tools.dev.mt5_arguments\nprint({'sqlalchemy', 'alembic', 'zmq', 'click'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_difference_states_what_was_expected_and_what_was_found():
    case = Case(row="magic", call="f()", run=lambda _: None, outcome=Outcome.RAISES)
    assert difference(case, Observation(outcome=Outcome.RAISES)) is None
    seen = Observation(outcome=Outcome.REFUSED, error=(-2, "Invalid arguments"))
    assert difference(case, seen) == (
        "magic: f(): expected: raises SystemError; found: returned None, last_error (-2, 'Invalid arguments')"
    )
