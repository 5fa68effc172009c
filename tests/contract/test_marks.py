"""What every journal promises of marks: each is there as it was sampled, of its account alone, until it is deleted."""

from __future__ import annotations

import shutil
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Ledger
from ledger.errors import LedgerError
from ledger.journal.backup import copy_journal, restore_journal
from ledger.marks import Mark, from_columns, to_columns
from tests.support.journals import ACCOUNT, OTHER, Clock, opened

MARK = Mark(
    at_us=1_767_607_200_000_000, server_msc=1_767_614_400_123, balance=Decimal("10000.25"), credit=Decimal(0),
    floating=Decimal("-505.125"), equity=Decimal("9495.13"), margin=None, is_equity_reported=True,
)  # fmt: skip


def at(us, **fields):
    return Mark(at_us=us, balance=Decimal(us), **fields)


@pytest.fixture
def book(journal):
    for account in (ACCOUNT, OTHER):
        journal.append(account, [opened(account)])
    return journal


def test_a_mark_is_there_as_it_was_sampled_and_of_its_account_alone(book):
    assert (list(book.marks(ACCOUNT)), book.newest_mark(ACCOUNT)) == ([], None)
    book.save_mark(ACCOUNT, MARK)
    assert list(book.marks(ACCOUNT)) == [MARK]
    assert list(book.marks(OTHER)) == []
    assert list(Ledger(book).account(ACCOUNT).marks()) == [MARK]
    assert book.head(ACCOUNT).version == 1


def test_marks_come_oldest_first_between_two_moments(book):
    for us in (30, 10, 20):
        book.save_mark(ACCOUNT, at(us))
    book.save_mark(ACCOUNT, at(20, margin=Decimal("0.5")))  # the same moment again
    assert [one.at_us for one in book.marks(ACCOUNT)] == [10, 20, 30]
    assert [one.at_us for one in book.marks(ACCOUNT, from_us=11, to_us=30)] == [20, 30]
    assert [one.at_us for one in book.marks(ACCOUNT, from_us=20, to_us=29)] == [20]
    assert next(book.marks(ACCOUNT, from_us=20)).margin == Decimal("0.5")
    newest = [book.newest_mark(ACCOUNT, at_us=us) for us in (9, 10, 29, None)]
    assert [one and one.at_us for one in newest] == [None, 10, 20, 30]


def test_old_marks_are_deleted_and_no_others(book):
    for account in (ACCOUNT, OTHER):
        for us in (10, 20, 30):
            book.save_mark(account, at(us))
    assert book.delete_marks(ACCOUNT, 20) == 1
    assert book.delete_marks(ACCOUNT, 20) == 0
    assert [[one.at_us for one in book.marks(account)] for account in (ACCOUNT, OTHER)] == [[20, 30], [10, 20, 30]]


def test_what_does_not_fit_is_refused_and_not_rounded(book):
    for balance in (Decimal("1e-19"), Decimal(12345678901234567890), Decimal("NaN")):
        with pytest.raises(LedgerError):
            book.save_mark(ACCOUNT, Mark(at_us=1, balance=balance))
    assert list(book.marks(ACCOUNT)) == []


@given(st.lists(st.none() | st.decimals(-(10**9), 10**9, places=8), min_size=5, max_size=5))
def test_amounts_are_exact(amounts):
    balance, credit, floating, equity, margin = amounts
    mark = Mark(at_us=1, balance=balance, credit=credit, floating=floating, equity=equity, margin=margin)
    assert from_columns(to_columns(mark)) == mark


def test_a_backup_and_what_is_restored_of_it_leave_marks_out(book, tmp_path):
    book.save_mark(ACCOUNT, MARK)
    backup, restored = (f"sqlite:///{tmp_path / name}" for name in ("backup.db", "restored.db"))
    copy_journal(book, backup, Clock())
    with Ledger.open(backup) as copy:
        assert list(copy.account(ACCOUNT).marks()) == []
        restore_journal(copy.journal, restored, Clock())
    with Ledger.open(restored) as again:
        assert again.account(ACCOUNT).newest_mark() is None
    assert list(book.marks(ACCOUNT)) == [MARK]


def test_a_copy_of_the_file_has_the_marks_that_were_in_it(tmp_path):
    with Ledger.create(f"sqlite:///{tmp_path / 'journal.db'}") as ledger:
        ledger.journal.append(ACCOUNT, [opened(ACCOUNT)])
        ledger.journal.save_mark(ACCOUNT, MARK)
    shutil.copy(tmp_path / "journal.db", tmp_path / "copy.db")
    with Ledger.open(f"sqlite:///{tmp_path / 'copy.db'}") as copy:
        assert list(copy.account(ACCOUNT).marks()) == [MARK]
