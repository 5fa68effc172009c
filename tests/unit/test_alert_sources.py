"""What notices draw on: monitors and causes, as the modules that know them answer, and nothing where there are none."""

from __future__ import annotations

import pytest

from ledger import BreakOpened, Ledger
from ledger.alerts.sources import causes_of, limits_of
from ledger.config import Configuration
from ledger.journal.memory import MemoryJournal
from tests.support.journals import ACCOUNT, OTHER, START_MSC, START_US, Clock, fill, opened
from tests.unit.test_monitors import HOUR, Book, monitored


@pytest.fixture
def ledger():
    clock = Clock()
    ledger = Ledger(MemoryJournal(clock), clock)
    ledger.journal.append(ACCOUNT, [opened()])
    return ledger


@pytest.mark.parametrize(
    ("equity", "state", "what"),
    [
        ("96000.01", "ok", "3999.99 of 5000.00 USD is lost, 1000.01 is left"),
        ("96000", "near", "4000.00 of 5000.00 USD is lost, 1000.00 is left"),
        ("94999.99", "breached", "5000.01 of 5000.00 USD is lost, -0.01 is left"),
    ],
)
def test_the_limits_of_the_watched_accounts_are_read(equity, state, what):
    book = Book()
    book.sample(START_US + HOUR, equity)
    limits = limits_of(monitored({"daily_loss": "5%"}))
    (found,) = limits(book.ledger.account(ACCOUNT), START_US + HOUR)
    assert (found.account, found.limit, found.state, found.day) == (ACCOUNT, "daily_loss", state, "2026-01-05")
    assert found.what.startswith(what)
    assert (found.since_us is not None) is (state == "breached")
    assert list(limits(book.ledger.account(OTHER), START_US + HOUR)) == []


def test_what_is_not_known_of_a_limit_is_unknown_and_a_limit_of_no_day_has_today():
    book = Book()
    (found,) = limits_of(monitored({"max_drawdown": "10%"}))(book.ledger.account(ACCOUNT), START_US + HOUR)
    assert (found.state, found.day, found.what[:2]) == ("unknown", "2026-01-05", "? ")


def test_without_settings_of_monitors_nothing_is_asked(ledger):
    assert list(limits_of(Configuration())(ledger.account(ACCOUNT), START_US)) == []


def test_causes_are_those_of_the_open_incidents_with_what_supports_them(ledger):
    ledger.journal.append(ACCOUNT, [
        fill(1, 1),
        BreakOpened(kind="ghost", position_id=1, symbol="EURUSD", ours="buy 1", theirs="none", time_msc=START_MSC + 2000),
        fill(2, 3, position_id=1, side="sell", entry="out", reason=6, volume=1, origin="recovery"),
    ])  # fmt: skip
    found = causes_of(ledger.account(ACCOUNT))
    listed = {one.versions[0]: one.finding for one in ledger.account(ACCOUNT).incidents() if one.is_open}
    assert found.keys() == listed.keys() == {3}
    assert found[3].startswith(f"{listed[3].words}: ")
    assert all(one.what in found[3] for one in listed[3].because)
    assert listed[3].because
