"""An address names the module that a terminal is reached through; what is missing is explained."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from ledger import BadValue, MetaTrader5Gateway, open_gateway
from ledger.gateway.curve import ClientKeys
from ledger.gateway.mt5_module import is_module_address, load_module
from ledger.testing import FakeMetaTrader5, fake_mt5
from tests.gateway.scripted_mt5 import PROGRAM, ScriptedMt5


@pytest.fixture
def modules(monkeypatch):
    """A module of a test's own that can be imported by name."""

    def add(name, **content):
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return add


@pytest.mark.parametrize(
    ("address", "is_one"), [("mt5:", True), ("mt5:a.b:c", True), ("tcp://127.0.0.1:5555", False), ("mt5", False), (None, False)]
)
def test_an_address_of_a_module_is_known_by_its_scheme(address, is_one):
    assert is_module_address(address) is is_one


def test_the_official_module_is_meant_where_none_is_named(modules):
    official = modules("MetaTrader5")
    assert load_module("mt5:") is official


def test_without_the_official_module_it_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "MetaTrader5", None)
    with pytest.raises(BadValue, match="MetaTrader5 is not installed: it exists for Windows only: pip install MetaTrader5"):
        open_gateway("mt5:")


def test_a_module_may_be_named(modules):
    mine = modules("mine")
    assert load_module("mt5:mine") is mine


def test_an_object_in_a_module_may_be_named(modules):
    mt5 = ScriptedMt5()
    modules("mine", terminal=mt5)
    assert load_module("mt5:mine:terminal") is mt5


def test_a_function_that_returns_one_may_be_named():
    assert isinstance(load_module("mt5:ledger.testing:fake_mt5"), FakeMetaTrader5)


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("mt5:no_such_module", "there is no module no_such_module"),
        ("mt5:ledger.no_such_part", "there is no module ledger.no_such_part"),
        ("mt5:ledger.testing:nothing", "module ledger.testing has no nothing"),
        ("mt5:a-b", "expected mt5:, mt5:MODULE or mt5:MODULE:NAME"),
        ("mt5:../evil", "expected mt5:, mt5:MODULE or mt5:MODULE:NAME"),
        ("mt5:a:b:c", "expected mt5:, mt5:MODULE or mt5:MODULE:NAME"),
        ("mt5:a:b()", "expected mt5:, mt5:MODULE or mt5:MODULE:NAME"),
        ("mt5:json", "expected the MetaTrader5 module or an object with its calls"),
    ],
)
def test_what_names_no_module_is_refused(address, complaint):
    with pytest.raises(BadValue, match=complaint):
        open_gateway(address)


def test_a_module_that_lacks_something_says_what(modules, tmp_path, monkeypatch):
    (tmp_path / "half.py").write_text("import no_such_numpy\n", encoding="utf-8")
    (tmp_path / "old.py").write_text("raise ImportError('numpy 1.7 is needed')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadValue, match="module half needs no_such_numpy, which is not installed here"):
        load_module("mt5:half")
    with pytest.raises(BadValue, match=r"module old cannot be imported: numpy 1\.7 is needed"):
        load_module("mt5:old")


def test_a_gateway_is_opened_with_the_terminal_that_is_named(modules):
    mt5 = ScriptedMt5()
    modules("mine", terminal=mt5)
    gateway = open_gateway("mt5:mine:terminal", terminal=PROGRAM, timeout_ms=7)
    assert isinstance(gateway, MetaTrader5Gateway)
    gateway.positions()
    assert mt5.given[mt5.asked.index("initialize")][1] == {"path": PROGRAM, "timeout": 7}


def test_a_start_may_take_longer_than_a_request(modules):
    mt5 = ScriptedMt5()
    modules("mine", terminal=mt5)
    open_gateway("mt5:mine:terminal").positions()
    assert mt5.given[mt5.asked.index("initialize")][1] == {"timeout": 60_000}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"endpoint": "mt5:ledger.testing:fake_mt5", "form": "ejtrader"}, "keys and forms are for gateways on a wire"),
        (
            {"endpoint": "mt5:ledger.testing:fake_mt5", "keys": ClientKeys(public=b"", secret=b"", server_public=b"")},
            "on a wire",
        ),
        ({"endpoint": "tcp://127.0.0.1:5555", "terminal": PROGRAM}, "the path of a terminal goes with mt5:"),
    ],
)
def test_what_does_not_go_together_is_refused(given, complaint):
    with pytest.raises(BadValue, match=complaint):
        open_gateway(**given)


def test_a_fake_is_a_module_like_any_other():
    gateway = MetaTrader5Gateway(fake_mt5(positions=1))
    assert len(gateway.positions().positions) == 1
