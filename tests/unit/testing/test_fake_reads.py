"""The fake ``MetaTrader5``: connection, rows and errors of the reading calls."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest

from ledger.testing import FakeMetaTrader5, FakeSettings, fake_mt5
from ledger.testing.mt5 import structs

FAR = 2_000_000_000
WORD = "a word"
READS = ("positions_get", "orders_get", "account_info", "terminal_info", "positions_total", "orders_total")


@pytest.fixture
def mt5():
    module = fake_mt5(positions=3)
    assert module.initialize()
    return module


def test_everything_is_none_before_initialize_and_after_shutdown():
    module = fake_mt5(positions=1)
    for code in (-5, -10004):  # once it was connected, the build is known
        for name in READS:
            assert getattr(module, name)() is None
            assert module.last_error() == (-10004, "No IPC connection")
        assert module.version() == (0, 0, "")
        assert module.last_error()[0] == -10004
        for name in ("symbols_total", "symbols_get"):
            assert getattr(module, name)() is None
            assert module.last_error()[0] == code
        assert module.login(70113) is False
        assert module.initialize()
        assert module.shutdown() is True


def test_initialize_accepts_the_terminals_own_account_only():
    module = fake_mt5(login=7, server="Broker-Live", settings=FakeSettings(password=WORD))
    assert not module.initialize(login=8)
    assert module.last_error() == (-6, "Terminal: Authorization failed")
    assert not module.initialize(login=7, server="Broker-Live", password=WORD[1:])
    assert not module.initialize(login=7, server="Other")
    assert module.initialize(login=7, server="Broker-Live", password=WORD, timeout=60_000, portable=True)
    assert module.last_error() == (1, "Success")
    assert (module.account_info().login, module.account_info().server) == (7, "Broker-Live")


@pytest.mark.parametrize("wrong", [{"login": 8}, {"login": "70113"}])
def test_an_attempt_that_fails_leaves_no_connection(mt5, wrong):
    assert mt5.initialize(login=70113)
    assert mt5.positions_total() == 3
    assert not mt5.initialize(**wrong)
    assert mt5.positions_total() is None
    assert mt5.last_error()[0] == -10004


def test_the_terminal_is_where_initialize_started_it():
    module = fake_mt5()
    assert module.initialize(r"C:\Two\terminal64.exe")
    assert module.terminal_info().path == r"C:\Two"
    strict = fake_mt5(settings=FakeSettings(path=r"C:\One"))
    assert not strict.initialize(path=r"C:\Two\terminal64.exe")
    assert strict.last_error()[0] == -10003
    assert strict.initialize(path=r"c:\one\terminal64.exe")


def test_rows_are_read_only_tuples_with_names_that_cannot_be_pickled(mt5):
    row = mt5.positions_get()[0]
    assert isinstance(mt5.positions_get()[0], tuple)
    assert row._asdict()["ticket"] == row.ticket == row[0]
    assert copy.deepcopy(row) is row
    with pytest.raises(AttributeError):
        row.ticket = 1
    with pytest.raises(AttributeError):
        row.note = 1
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(row)


def test_a_row_is_made_of_all_its_fields_or_none():
    with pytest.raises(TypeError, match=r"TradeDeal\(\) takes a 18-sequence \(2-sequence given\)"):
        structs.TradeDeal((1, 2))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("TradeOrder", 24), ("TradePosition", 19), ("TradeDeal", 18), ("OrderSendResult", 11), ("TradeRequest", 17)],
)
def test_rows_have_the_packages_number_of_fields(kind, fields):
    assert getattr(FakeMetaTrader5, kind).n_fields == fields


def test_positions_and_deals_are_those_of_the_terminal(mt5):
    truth = mt5.terminal.open_positions()
    assert [(row.identifier, row.symbol) for row in mt5.positions_get()] == [(one.position_id, one.symbol) for one in truth]
    assert mt5.positions_total() == len(truth) == 3
    deals = mt5.history_deals_get(0, FAR)
    assert [row.ticket for row in deals] == [row["ticket"] for row in mt5.terminal.deals()]
    assert mt5.history_deals_total(0, FAR) == len(deals) == 4
    assert deals[0].type == mt5.DEAL_TYPE_BALANCE


def test_filters_name_a_symbol_a_ticket_or_a_group(mt5):
    row = mt5.positions_get()[0]
    assert mt5.positions_get(ticket=row.ticket) == (row,)
    assert row in mt5.positions_get(symbol=row.symbol)
    assert mt5.positions_get(symbol="*") == ()
    assert mt5.positions_get(group="*") == mt5.positions_get()
    assert row not in mt5.positions_get(group=f"*,!{row.symbol}")
    assert {one.name for one in mt5.symbols_get(group="EUR*,!*JPY")} == {"EURUSD", "EURGBP", "EURCHF"}


def test_an_unknown_ticket_is_nothing_among_positions_and_an_error_in_the_history(mt5):
    assert mt5.positions_get(ticket=1) == ()
    assert mt5.last_error() == (1, "Success")
    assert mt5.history_deals_get(ticket=1) is None
    assert mt5.last_error() == (-2, "Terminal: Invalid params")
    assert mt5.history_deals_get(position=1) == ()
    assert mt5.history_deals_get(FAR, FAR) == ()


def test_an_unknown_symbol_is_an_error(mt5):
    for call in (mt5.symbol_info, mt5.symbol_info_tick):
        assert call("NOPE") is None
        assert mt5.last_error()[0] == -4
    assert mt5.symbol_select("NOPE") is False
    assert mt5.symbol_info("EURUSD").digits == 5
    assert mt5.symbol_info_tick("EURUSD").time_msc <= mt5.terminal.now_msc


@pytest.mark.parametrize(("mode", "code"), [("netting", 0), ("exchange", 1), ("hedging", 2)])
def test_the_account_names_its_margin_mode(mode, code):
    module = fake_mt5(mode=mode, deposit="250.50")
    module.initialize()
    assert (module.account_info().margin_mode, module.account_info().balance) == (code, 250.5)


def test_what_makes_a_fake_can_be_pickled():
    make = pickle.loads(pickle.dumps(partial(fake_mt5, positions=2, seed=9, clock="ny-close")))  # noqa: S301  # our own bytes
    one, other = make(), make()
    assert one.terminal.books()["positions"][0]["symbol"] == other.terminal.books()["positions"][0]["symbol"]
    assert one.initialize()
    assert one.positions_total() == 2


def test_a_clock_shows_the_present():
    present = [1_767_700_000_000]
    module = FakeMetaTrader5(clock=lambda: present[0])
    module.initialize()
    module.positions_get()
    assert module.terminal.now_msc == 1_767_700_000_000
