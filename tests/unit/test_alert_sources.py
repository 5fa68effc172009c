"""What notices draw on: monitors and causes, as the modules that know them answer, and nothing where there are none."""

from __future__ import annotations

import sys
from decimal import Decimal
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from ledger import Ledger
from ledger.alerts.conditions import LimitState
from ledger.alerts.sources import causes_of, limits_of
from ledger.journal.memory import MemoryJournal
from tests.support.journals import ACCOUNT, OTHER, START_US, Clock, opened

MONITOR = {
    "account": ACCOUNT, "limit": "daily_loss", "state": "near", "reason": None, "currency": "USD", "used": Decimal("81.50"),
    "allowed": Decimal(100), "left": Decimal("18.50"), "day": "2026-01-04", "breached_us": None,
}  # fmt: skip


@pytest.fixture
def ledger():
    clock = Clock()
    ledger = Ledger(MemoryJournal(clock), clock)
    ledger.journal.append(ACCOUNT, [opened()])
    return ledger


def put(monkeypatch, name, **content):
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def test_the_limits_of_the_watched_accounts_are_read(ledger, monkeypatch):
    configuration = SimpleNamespace(monitors={ACCOUNT: "rules"})
    asked = []

    def states(*given):
        asked.append(given)
        breached = {"limit": "max_drawdown", "state": "breached", "day": None, "breached_us": 7, "reason": "below 9000"}
        unknown = {"used": None, "left": None, "currency": None, "state": "unknown", "reason": "no fresh mark"}
        return [SimpleNamespace(**(MONITOR | more)) for more in ({}, breached, unknown, {"account": OTHER})]

    put(monkeypatch, "ledger.monitors", states=states)
    near, breached, unknown = limits_of(configuration)(ledger, [ACCOUNT], START_US)
    assert asked == [(ledger, configuration, START_US)]
    assert near == LimitState(
        account=ACCOUNT, limit="daily_loss", day="2026-01-04", state="near", what="81.5 of 100 USD is lost, 18.5 is left"
    )
    assert (breached.day, breached.since_us, breached.what[-12:]) == ("2026-01-05", 7, "; below 9000")
    assert (unknown.state, unknown.what) == ("unknown", "? of 100 is lost, ? is left; no fresh mark")


def test_without_settings_of_monitors_nothing_is_asked(ledger):
    assert list(limits_of(SimpleNamespace(monitors={}))(ledger, [ACCOUNT], START_US)) == []
    assert list(limits_of(SimpleNamespace())(ledger, [ACCOUNT], START_US)) == []


def test_causes_are_worded_with_what_supports_them(ledger, monkeypatch):
    def open_findings(journal, account, terms):
        assert (journal, account, terms.opened.currency) == (ledger.journal, ACCOUNT, "USD")
        support = SimpleNamespace(what="deal 5001 has the reason stop-out")
        return {
            2: SimpleNamespace(words="likely stop-out", because=(support,)),
            3: SimpleNamespace(words="cause unknown", because=()),
        }

    put(monkeypatch, "ledger.incidents", open_findings=open_findings)
    found = causes_of(ledger.account(ACCOUNT))
    assert found == {2: "likely stop-out: deal 5001 has the reason stop-out", 3: "cause unknown"}
