"""Names that were replaced: every old one still works, and warns with the name to use."""

from __future__ import annotations

from importlib import import_module

import pytest

from ledger import AccountId, GatewayRefused, MarginMode
from ledger.deprecation import Alias, arguments, init_arguments, module_getattr
from ledger.gateway.client import ZmqGateway
from ledger.gateway.open import open_gateway
from ledger.gateway.sandbox.client import Sandbox
from ledger.gateway.sandbox.faults import Faults
from ledger.gateway.sandbox.server import SandboxServer
from ledger.gateway.sandbox.terminal import Terminal
from ledger.importer import ImportOptions, import_files
from ledger.json_views import balance_json
from tools.testkit.stories import Story, opened

MODULES = {
    "ledger.terms.Standing": "ledger.terms.AccountTerms",
    "ledger.terms.STANDING_KINDS": "ledger.terms.TERMS_KINDS",
    "ledger.importing.Told": "ledger.importer.ImportOptions",
    "ledger.importing.import_files": "ledger.importer.import_files",
    "ledger.exporting.take_back": "ledger.exporter.import_json_lines",
    "ledger.exporting.TakenBack": "ledger.exporter.ImportedAccount",
    "ledger.exporting.export": "ledger.exporter.export",
    "ledger.corrections.propose_add": "ledger.adjustments.propose_add",
    "ledger.gateway.client.open_gateway": "ledger.gateway.open.open_gateway",
    "ledger.gateway.client.FORMS": "ledger.gateway.forms.FORMS",
    "ledger.gateway.client.TIMEOUT_MSC": "ledger.gateway.client.TIMEOUT_MS",
}


def named(path):
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize(("old", "new"), MODULES.items())
def test_an_old_name_of_a_module_is_the_new_one_and_warns(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is deprecated: use {new}"):
        assert named(old) is named(new)


def test_what_never_was_a_name_is_none():
    getter = module_getattr("here", {"old": "ledger.AccountId"})
    with pytest.raises(AttributeError, match="module 'here' has no attribute 'odl'"):
        getter("odl")


def test_old_attributes_are_the_new_ones():
    story = Story()
    story.record("buy 1 @ 10")
    account, portfolio = story.account, story.portfolio
    (position,) = portfolio.positions.values()
    terminal = Terminal(seed=3)
    gateway = open_gateway("tcp://127.0.0.1:5555")
    cases = [
        (account, "standing", account.terms),
        (portfolio, "standing", portfolio.terms),
        (portfolio.totals, "deals_untold", portfolio.totals.deals_incomplete),
        (position, "is_id_told", position.is_id_known),
        (GatewayRefused("PING", detail="busy"), "told", "busy"),
        (terminal, "left_to_live", 0),
        (terminal, "live_next", terminal.play_next),
        (terminal, "hand", terminal.trade_manually),
        (terminal, "pace_msc", terminal.pace_ms),
        (Terminal, "living", Terminal.from_history),
        (Faults(), "slow_msc", Faults().slow_ms),
        (gateway, "timeout_msc", 5000),
    ]
    for owner, old, value in cases:
        with pytest.warns(DeprecationWarning, match=rf"{old} is deprecated: use \w+"):
            assert getattr(owner, old) == value
    with pytest.warns(DeprecationWarning, match=r"Terminal\.pace_msc is deprecated: use pace_ms"):
        terminal.pace_msc = 7
    assert terminal.pace_ms == 7
    assert isinstance(vars(Sandbox)["hand"], Alias)
    gateway.close()


def test_old_arguments_are_the_new_ones():
    with pytest.warns(DeprecationWarning, match=r"timeout_msc=\) is deprecated: use timeout_ms="):
        gateway = ZmqGateway("tcp://127.0.0.1:5555", timeout_msc=70)  # type: ignore[call-arg]
    assert gateway.timeout_ms == 70
    gateway.close()
    with pytest.warns(DeprecationWarning, match=r"open_gateway\(timeout_msc=\)"):
        open_gateway("tcp://127.0.0.1:5555", timeout_msc=70).close()  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning, match="pace_msc"):
        assert Terminal(pace_msc=3).pace_ms == 3  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning, match="slow_msc"):
        assert Faults(slow_msc=3).slow_ms == 3  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning, match="hand_every_msc"):
        server = SandboxServer(Terminal(), hand_every_msc=3)  # type: ignore[call-arg]
    assert server.manual_trade_every_ms == 3
    with pytest.warns(DeprecationWarning, match="told"):
        assert GatewayRefused("PING", told="busy").detail == "busy"  # type: ignore[call-arg]
    options = ImportOptions(account=AccountId("Broker-Live", 1), mode=MarginMode.HEDGING)
    with pytest.warns(DeprecationWarning, match=r"import_files\(told=\)"):
        assert import_files(opened().ledger, [], told=options) == ()  # type: ignore[call-arg]


def test_an_argument_under_both_names_is_refused():
    @arguments(old="new")
    def function(*, new: int = 0) -> int:
        return new

    @init_arguments(old="new")
    class Thing:
        def __init__(self, *, new: int = 0) -> None:
            self.new = new

    for call in (function, Thing):
        with pytest.raises(TypeError, match="both new and old"):
            call(new=1, old=2)  # type: ignore[call-arg]


def test_the_json_key_that_was_renamed_is_written_under_both_names():
    story = Story()
    story.record("buy 1 @ 10")
    shown = balance_json(story.portfolio)
    assert shown["deals_untold"] == shown["deals_incomplete"]
