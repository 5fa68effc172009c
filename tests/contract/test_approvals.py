"""What every journal promises of proposals, decisions, policies and notes: they are recorded, and move no figure."""

from __future__ import annotations

import pytest

from ledger import Ledger
from ledger.codec import APPROVAL_KEYS, ORDER_KEYS, natural_key
from ledger.events import APPROVAL_KINDS
from ledger.journal import Selection
from ledger.journal.verify.walk import verify_account
from ledger.postings import OUTSIDE_FOLD
from tests.support.journals import ACCOUNT, START_MSC, fill, opened
from tools.testkit.every_event import EVENTS

APPROVALS = [event for event in EVENTS if type(event).__name__ in APPROVAL_KINDS]


@pytest.fixture
def book(journal):
    journal.append(ACCOUNT, [opened(), fill(1, 1)])
    return journal


def test_approvals_move_no_portfolio_no_place_and_no_order(book, clock):
    account = Ledger(book, clock).account(ACCOUNT)
    before, orders, head = account.portfolio.state(), account.current_orders()[1].state(), book.head(ACCOUNT)
    for event in APPROVALS:
        account.record(event)
        assert account.portfolio.state() == before
        assert account.current_orders()[1].state() == orders
    after = book.head(ACCOUNT)
    assert (after.last_msc, after.last_deal) == (head.last_msc, head.last_deal)
    assert account.replay(checkpoints=False).state() == before
    assert {row.placement for row in book.rows(ACCOUNT, after=2)} == {OUTSIDE_FOLD}


def test_a_portfolio_goes_on_behind_approvals_without_a_replay(book, clock, monkeypatch):
    account = Ledger(book, clock).account(ACCOUNT)
    assert account.portfolio.folded
    monkeypatch.setattr(account, "fold", None)
    account.record_many(APPROVALS)
    account.record(fill(2, 2))
    assert len(account.portfolio.positions) == 2


def test_orders_are_folded_without_the_approvals_between_them(book, clock):
    account = Ledger(book, clock).account(ACCOUNT)
    order = next(one for one in EVENTS if type(one).__name__ == "StorePinned")
    account.record_many([*APPROVALS, order])
    assert account.current_orders()[1].pinned_store == "9b1c"
    rows = [row for rows in book.order_events(ACCOUNT, 99) for row in rows]
    assert [row[3] for row in rows] == ["StorePinned"]


@pytest.mark.parametrize("until_msc", [None, START_MSC - 1, START_MSC, START_MSC + 10**9])
def test_a_replay_counts_approvals_among_the_events_it_selects(book, until_msc):
    book.append(ACCOUNT, [*APPROVALS, fill(2, 2)])
    _, selected = Ledger(book).account(ACCOUNT).replayed(Selection(version=book.head(ACCOUNT).version, time_msc=until_msc))
    assert selected == sum(until_msc is None or row.time_msc <= until_msc for row in book.rows(ACCOUNT))


def test_what_is_decided_at_the_same_moment_again_is_recorded_again(book):
    book.append(ACCOUNT, APPROVALS, expected_version=2)
    book.append(ACCOUNT, APPROVALS, expected_version=2 + len(APPROVALS))
    book.append(ACCOUNT, APPROVALS)  # without a version it is the same, recorded twice
    assert book.head(ACCOUNT).version == 2 + 2 * len(APPROVALS)
    assert {one.field for one in verify_account(book, ACCOUNT).problems} <= {"approval"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: type(one).__name__)
def test_the_range_of_keys_holds_approvals_and_nothing_else(event):
    key, (first, end) = natural_key(event), APPROVAL_KEYS
    assert (first <= key < end) == (type(event).__name__ in APPROVAL_KINDS)
    assert APPROVAL_KEYS not in ORDER_KEYS
