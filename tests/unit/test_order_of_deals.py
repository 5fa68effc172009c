"""Accounts whose tickets do not rise with time: found, reported, and ordered by time."""

from __future__ import annotations

import attrs
import pytest

from ledger import Ledger, RuleError, proposals
from ledger.event_filter import GROUPS, EventFilter
from ledger.event_lines import LATE_MSC, lag_msc
from ledger.events import Adjusted, DealOrder
from ledger.filters import Filter
from ledger.fold_order import falling_tickets
from ledger.importer import ImportOptions, import_files
from ledger.subjects import Subjects
from ledger.values import AccountId
from tests.support.reports import html

DEALS = """Deals
Time,Deal,Symbol,Type,Direction,Volume,Price,Order,Commission,Swap,Profit,Balance,Comment
2024.01.02 00:00:00,1,,balance,,,,,0,0,1000,1000,
2024.01.02 10:00:00,{first},EURUSD,buy,in,0.1,1.1,7,0,0,0,1000,
2024.01.02 11:00:00,{second},EURUSD,sell,out,0.1,1.2,8,0,0,10,1010,
"""
ACCOUNT = AccountId("Tester", 1)
TESTER = """
2024.01.02 09:00:00 | 1 | | balance | | | | | 0.00 | 0.00 | 1 000.00 | 1 000.00 |
2024.01.02 10:00:05 | 3 | EURUSD | buy | in | 0.10 | 1.10000 | 2 | 0.00 | 0.00 | 0.00 | 1 000.00 |
2024.01.02 11:00:05 | 2 | EURUSD | sell | out | 0.10 | 1.10100 | 3 | 0.00 | 0.00 | 10.00 | 1 010.00 |
"""


@pytest.mark.parametrize(("deals", "found"), [
    ([], None), ([(1000, 5), (2000, 6)], None), ([(1000, 6), (1500, 5)], None),  # within a second nothing is reported
    ([(1000, 6), (2000, 5)], (1, 5, 2000)), ([(1000, 6), (2000, 5), (2000, 4), (3000, 7), (4000, 1)], (3, 5, 2000)),
])  # fmt: skip
def test_falling_tickets_are_found(deals, found):
    assert falling_tickets(deals) == found


def imported(tmp_path, first, second, name="deals.csv"):
    file = tmp_path / name
    file.write_text(DEALS.format(first=first, second=second), encoding="utf-8")
    ledger = Ledger.open("memory://")
    options = ImportOptions(account=ACCOUNT, mode="hedging", currency="USD")
    return ledger, import_files(ledger, [file], options=options)[0]


def test_an_import_reports_where_tickets_fall(tmp_path):
    _, report = imported(tmp_path, first=9, second=5)
    assert any("tickets of 1 deals do not rise" in str(note) and "ledger account order" in str(note) for note in report.notes)
    _, report = imported(tmp_path, first=5, second=9)
    assert not any("do not rise" in str(note) for note in report.notes)


def test_a_tester_report_orders_its_account_by_time(tmp_path):
    file = tmp_path / "tester.html"
    file.write_text(html(TESTER, account=None, generator="strategy tester"), encoding="utf-8")
    ledger = Ledger.open("memory://")
    account = ledger.account(ACCOUNT)
    options = ImportOptions(account=ACCOUNT, mode="hedging", currency="USD")
    import_files(ledger, [file], options=options)
    assert account.terms.order is DealOrder.TIME
    version = account.version
    import_files(ledger, [file], options=options)
    assert account.version == version

    other = Ledger.open("memory://").account(ACCOUNT)
    other.open(currency="USD", mode="hedging")
    import_files(other.ledger, [file], options=options)
    assert other.terms.order is DealOrder.TIME
    [changed] = [one.event for one in other.events() if isinstance(one.event, Adjusted)]
    assert (changed.order_before, changed.order_after) == (DealOrder.TICKET, DealOrder.TIME)
    assert other.ledger.verify().ok


def test_a_policy_that_was_set_meanwhile_is_asked_before_an_import_changes_the_order(tmp_path, monkeypatch):
    file = tmp_path / "tester.html"
    file.write_text(html(TESTER, account=None, generator="strategy tester"), encoding="utf-8")
    account = Ledger.open("memory://").account(ACCOUNT)
    account.open(currency="USD", mode="hedging")
    append, others = account.ledger.journal.append, [True]

    def append_after_another(*given, **how):
        if others and others.pop():
            proposals.set_policy(account, approvals=2, operator="ann", reason="the rule")
        return append(*given, **how)

    monkeypatch.setattr(account.ledger.journal, "append", append_after_another)
    options = ImportOptions(account=ACCOUNT, mode="hedging", currency="USD")
    with pytest.raises(RuleError, match="asks for two persons to correct order"):
        import_files(account.ledger, [file], options=options)
    assert (account.version, account.terms.order, account.ledger.verify().ok) == (2, DealOrder.TICKET, True)


def test_what_an_import_records_is_never_late(tmp_path):
    ledger, _ = imported(tmp_path, first=5, second=9)
    account = ledger.account(ACCOUNT)
    late = EventFilter.of_kinds([], position=None, deal=None, correlation=None, shown=Filter(), by="event", is_late=True)
    notable = attrs.evolve(late, kinds=GROUPS["notable"], is_notable=True, is_late=False)
    every = list(account.events())
    assert {"AccountOpened", "BalanceAsserted"} <= {one.kind for one in every if lag_msc(one, account.terms) > LATE_MSC}
    assert not [one for one in every if late(one, account.terms, Subjects(account))]
    assert {one.kind for one in every if notable(one, account.terms, Subjects(account))} <= GROUPS["notable"]
