"""What every journal promises of sent notices: each is recorded once, and found until its end was sent, or by its key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Ledger
from ledger.journal.backup import copy_journal
from ledger.journal.memory import MemoryJournal
from ledger.journal.notices import RESOLVED, SentNotice
from tests.support.journals import ACCOUNT, Clock, new_url, open_journal, opened

KEY, OTHER_KEY = "ledger:id:Broker/7:2", "ledger:id:Broker/7:3"


def sent(key=KEY, channel="desk", stage=0, at=10):
    return SentNotice(key=key, channel=channel, stage=stage, sent_us=at)


def test_a_notice_is_recorded_once_as_it_was_first(journal):
    assert (journal.sent_notices([KEY]), journal.last_deliveries()) == ([], {})
    journal.save_notice(sent(at=10))
    journal.save_notice(sent(at=99))
    assert journal.sent_notices() == journal.sent_notices([KEY]) == [sent(at=10)]


def test_what_is_over_is_found_by_its_key_alone(journal):
    rows = [sent(channel="mail", stage=1, at=11), sent(at=12), sent(OTHER_KEY, at=13)]
    for one in rows:
        journal.save_notice(one)
    assert journal.sent_notices() == sorted(rows)
    ended = [sent(stage=RESOLVED, at=20), *rows]
    journal.save_notice(ended[0])
    assert journal.sent_notices() == [rows[0], rows[2]]  # mail does not know of the end yet
    assert journal.sent_notices([KEY]) == sorted(ended)
    assert journal.last_deliveries() == {"desk": 20, "mail": 11}


def test_many_keys_are_found_at_once(journal):
    rows = [sent(f"key {number}", stage=stage) for number in range(7) for stage in (0, RESOLVED)]
    for one in rows:
        journal.save_notice(one)
    assert journal.sent_notices([f"key {number}" for number in range(1201)]) == sorted(rows)
    assert journal.sent_notices() == []


def test_only_what_ended_long_ago_is_deleted(journal):
    for one in (
        sent(at=1),
        sent(stage=RESOLVED, at=5),
        sent(OTHER_KEY, at=1),
        sent("late", at=2),
        sent("late", stage=RESOLVED, at=6),
    ):
        journal.save_notice(one)
    assert journal.delete_notices(6) == 2
    assert journal.delete_notices(6) == 0
    assert [one.key for one in journal.sent_notices([KEY, OTHER_KEY, "late"])] == ["late", "late", OTHER_KEY]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_two_alerters_that_record_the_same_notice_at_once_record_it_once(kind, tmp_path):
    url = new_url(kind, tmp_path)
    journals = [open_journal(url, Clock()) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        for key in ("a", "b", "c"):
            list(threads.map(lambda one, key=key: one.save_notice(sent(key, at=id(one) % 1000)), journals))
    assert [one.key for one in journals[0].sent_notices()] == ["a", "b", "c"]
    for one in journals:
        one.close()


def test_a_backup_leaves_notices_out(journal, tmp_path):
    journal.append(ACCOUNT, [opened(ACCOUNT)])
    journal.save_notice(sent())
    copy_journal(journal, f"sqlite:///{tmp_path / 'backup.db'}", Clock())
    with Ledger.open(f"sqlite:///{tmp_path / 'backup.db'}") as copy:
        assert copy.journal.sent_notices([KEY]) == []


_ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(RESOLVED, 2), st.integers(0, 9)), max_size=9
)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agree")
    stored = open_journal(new_url("sqlite", folder), Clock())
    yield MemoryJournal(Clock()), stored
    stored.close()


@given(_ROWS)
def test_the_journals_agree(both, rows):
    for one in both:  # what the example before left
        for key, channel in {(each.key, each.channel) for each in one.sent_notices()}:
            one.save_notice(sent(key, channel, RESOLVED, 0))
        one.delete_notices(100)
    for key, channel, stage, at in rows:
        for one in both:
            one.save_notice(sent(key, channel, stage, at))
    looks = [(one.sent_notices(), one.sent_notices("ab"), one.last_deliveries(), one.delete_notices(5), one.sent_notices("abc"))
             for one in both]  # fmt: skip
    assert looks[0] == looks[1]
