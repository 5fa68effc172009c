"""The law of archives: what is archived answers every question as the journal does, whatever was recorded in how many runs."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from ledger import AccountId, Ledger, LedgerError
from ledger.archive.columns import packs_of, posting_rows
from ledger.archive.form import account_folder
from ledger.archive.read import ArchivedAccount
from ledger.archive.verify import verify_archive
from ledger.archive.write import archive
from ledger.clock import utc_text_us
from ledger.codec import Stored
from ledger.events import DealOrder
from ledger.forensics import fold_archive, fold_journal
from ledger.journal import Journal, Selection
from ledger.journal.memory import MemoryJournal
from ledger.postings import Postings
from ledger.terms import AccountTerms
from tests.property.test_checkpoints import HOUR_MSC, HOUR_UTC_MSC, contained, moved, selection_of
from tests.property.test_journals_agree import ANSWERS, batches, times
from tests.property.test_segments import everything, reordered
from tests.support.journals import START_MSC, START_US, Clock, completion, fill, opened, revised

_numbers = count(1)

steps_taken = st.tuples(
    st.one_of(batches, batches, st.lists(contained | st.builds(reordered, times, st.sampled_from(DealOrder)), max_size=2)),
    st.booleans(),  # whether it is archived then, or with what comes later
)
questions = st.lists(
    st.tuples(st.sampled_from([1, 1, 0.9, 0.6, 0.3]), st.sampled_from([None, None, 0.5, 1, 2, 3]), st.booleans()), max_size=3
)


class _Stays(MemoryJournal):
    """A journal that outlives the runs that archive it."""

    def close(self) -> None:
        pass


class _Archived:
    """An archived account where a journal is expected."""

    def __init__(self, place: Path) -> None:
        self.account = ArchivedAccount(place)

    def postings(self, _: AccountId, selection: Selection, terms: AccountTerms) -> Postings:
        return self.account.postings(selection, terms)


def compare(journal: Journal, archived: Any, account: AccountId, selection: Selection, chunk: int) -> None:
    terms = journal.terms(account, selection.version)
    assert archived.account.terms(selection.version) == terms
    if terms is None:
        return
    expected = everything(journal, account, selection, terms, chunk)  # type: ignore[arg-type]
    assert everything(archived, account, selection, terms, chunk) == expected
    assert archived.account.count_outside_fold(selection) == journal.count_outside_fold(account, selection)
    if selection.version:
        assert archived.account.hash_at(selection.version) == journal.hash_at(account, selection.version)


@settings(max_examples=settings().max_examples // 3)
@given(
    steps=st.lists(steps_taken, max_size=5),
    asked=questions,
    mode=st.sampled_from(["hedging", "netting"]),
    order=st.sampled_from([DealOrder.TICKET, DealOrder.TICKET, DealOrder.TIME]),
    is_hour=st.sampled_from([False, False, True]),
    chunk=st.integers(1, 5),
)
@example(  # revised, moved on and completed behind what is archived already
    steps=[
        ([fill(1, 0), fill(2, 1, profit=None), fill(3, 3)], True),
        ([revised(fill(2, 2, profit=None)), completion(2, profit=5), fill(4, 4), fill(5, 0)], True),
    ],
    asked=[(0.6, None, False), (1, 2, False)], mode="hedging", order=DealOrder.TICKET, is_hour=False, chunk=1,
)  # fmt: skip
def test_an_archive_answers_as_the_journal(steps, asked, mode, order, is_hour, chunk):
    """Late events, revisions, completions, assertions, changes of clock and order, the hour that a clock shows twice."""
    clock = Clock(now_us=HOUR_UTC_MSC * 1000, step_us=900_000_000) if is_hour else Clock()
    account, journal = AccountId("Archived", next(_numbers)), _Stays(clock)
    folder = Path(tempfile.mkdtemp(prefix="ledger-archive-"))
    zone, time_msc = ("America/New_York", HOUR_MSC - 3_600_000) if is_hour else ("UTC", START_MSC)
    journal.append(account, [opened(account, mode=mode, order=order, clock=zone, time_msc=time_msc)])
    try:
        for events, is_run in [*steps, ([], True)]:
            with suppress(LedgerError):
                recorded = [moved(one) for one in events] if is_hour else events
                journal.append(account, recorded, conflicts="keep", evidence=ANSWERS)
            if is_run:
                archive(lambda: journal, folder, lambda: START_US)
        archived = _Archived(account_folder(folder, account))
        event(f"{min(len(archived.account.manifest.segments), 3)} segments or more")
        for part, second, is_later in [(1, None, False), *asked]:
            compare(journal, archived, account, selection_of(journal, account, part, second, is_later=is_later), chunk)
        for table in archived.account.tables():
            assert [row for packed in packs_of(table) for row in packed.rows()] == posting_rows(table)
        for rows in journal.raw_rows(account):
            unchecked = [Stored._make(row)._replace(checks=b"") for row in rows]
            assert [row for some in archived.account.rows() for row in some] == unchecked
            moments = [None, *(utc_text_us(row.recorded_us) for row in unchecked[:: max(1, len(rows) // 3)])]
            ledger = Ledger(journal, clock)
            for until in moments:
                for known_at in moments:
                    expected = fold_journal(ledger.account(account), until=until, known_at=known_at)
                    assert fold_archive(archived.account.place, until=until, known_at=known_at) == expected
        assert verify_archive(folder)[1] == []
    finally:
        shutil.rmtree(folder)
