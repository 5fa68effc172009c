"""The law of segments: a replay with them is one without them, whatever was recorded before and since they were written."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from ledger import AccountId, Adjusted, LedgerError
from ledger.codec import decode_posting
from ledger.events import DealOrder
from ledger.folds import PORTFOLIO
from ledger.journal import Selection
from ledger.journal.checkpoints import replayed
from ledger.journal.merged import extend, packs
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.verify.walk import verify_account
from ledger.portfolio import Portfolio
from ledger.terms import AccountTerms
from tests.property.test_checkpoints import HOUR_MSC, HOUR_UTC_MSC, contained, moved, selection_of
from tests.property.test_journals_agree import ANSWERS, batches, times
from tests.support.journals import START_MSC, Clock, completion, fill, new_url, open_journal, opened, revised

_numbers = count(1)


@cache
def shared_file() -> str:
    folder = Path(tempfile.mkdtemp(prefix="ledger-segments-"))
    atexit.register(shutil.rmtree, folder)
    return new_url("sqlite", folder)


def reordered(at: float, order: DealOrder) -> Adjusted:
    """Return the event by which a person changes what orders deals."""
    return Adjusted(
        operator="o", reason="r", time_msc=START_MSC + int(at * 1000), order_before=DealOrder.TICKET, order_after=order
    )


steps_taken = st.tuples(
    st.one_of(batches, batches, st.lists(contained | st.builds(reordered, times, st.sampled_from(DealOrder)), max_size=2)),
    st.sampled_from([0, 1, 1, 2, 3]),  # postings of a segment; none are written
    st.lists(
        st.tuples(st.sampled_from([1, 1, 0.9, 0.6, 0.3]), st.sampled_from([None, None, 0.5, 1, 2, 3]), st.booleans()),
        max_size=2,
    ),
)


def everything(journal: SqlJournal, account: AccountId, selection: Selection, terms: AccountTerms, chunk: int) -> Any:
    """Return all that a replay from the start comes to: portfolio, trades, and what it rests on between its parts."""
    postings, folded, trades = journal.postings(account, selection, terms), Portfolio(terms), []
    readings, rows = [], []
    while part := postings.take(chunk):
        for some in (part, *postings.take_second()):  # to where checkpoints are
            folded.fold(some, decode_posting, lambda closed: trades.append(folded.trade(closed)))
            rows += some
        readings.append((len(rows), postings.place, postings.reading))
    return rows, readings, folded.state(), trades, list(folded.unfinished_trades())


def from_checkpoints(
    journal: SqlJournal, account: AccountId, selection: Selection, terms: AccountTerms, interval: int | None
) -> Any:
    """Return what a replay comes to that begins at, and leaves, checkpoints; None begins at the start."""
    folded, selected = replayed(journal, account, selection, terms, fold=PORTFOLIO, interval=interval)
    assert isinstance(folded.holdings.open, dict)  # whoever folded them
    return folded.state(), selected


@settings(max_examples=settings().max_examples // 2)
@given(
    steps=st.lists(steps_taken, max_size=6),
    mode=st.sampled_from(["hedging", "netting"]),
    order=st.sampled_from([DealOrder.TICKET, DealOrder.TICKET, DealOrder.TIME]),
    is_hour=st.sampled_from([False, False, True]),
    chunk=st.integers(1, 5),
)
@example(  # what is in a segment is revised, moved on, and completed there; the next segment begins behind it
    steps=[
        ([fill(1, 0), fill(2, 1, profit=None), fill(3, 3)], 2, []),
        ([revised(fill(2, 2, profit=None)), completion(2, profit=5), fill(4, 4), fill(5, 0)], 1, [(0.6, None, False)]),
    ],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, chunk=1,
)  # fmt: skip
@example(  # an earlier version ends in the middle of a segment
    steps=[([fill(1, 0), fill(2, 1), fill(3, 2), fill(4, 3)], 3, [(0.6, None, False)])],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, chunk=5,
)  # fmt: skip
@example(  # what was merged in the order of the tickets is ordered by time since
    steps=[
        (
            [
                fill(5, 0.9, position_id=1), fill(6, 0.5, position_id=1, entry="out", side="sell"),
                fill(7, 2, position_id=7), fill(8, 3, position_id=8),
            ], 1, [],
        ),
        ([reordered(4, DealOrder.TIME)], 0, [(1, None, False)]),
    ],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, chunk=5,
)  # fmt: skip
def test_a_replay_with_segments_is_a_replay_of_the_rows(steps, mode, order, is_hour, chunk):
    """Any history and any question, late events, revisions and changes of clock and order included; segments of any size."""
    clock = Clock(now_us=HOUR_UTC_MSC * 1000, step_us=900_000_000) if is_hour else Clock()
    account = AccountId("Packed", next(_numbers))
    journal, without = (open_journal(shared_file(), clock) for _ in range(2))
    assert isinstance(journal, SqlJournal)
    assert isinstance(without, SqlJournal)
    without.segments.folder = None
    zone, time_msc = ("America/New_York", HOUR_MSC - 3_600_000) if is_hour else ("UTC", START_MSC)
    journal.append(account, [opened(account, mode=mode, order=order, clock=zone, time_msc=time_msc)])
    try:
        for events, size, asked in steps:
            with suppress(LedgerError):
                recorded = [moved(one) for one in events] if is_hour else events
                journal.append(account, recorded, conflicts="keep", evidence=ANSWERS)
            if size:
                journal.segments.size = size
                version = journal.heads()[account].version
                journal.segments.extend(account, version)
                journal.segments.merged_due.clear()
                written = extend(journal, account, version, journal.terms(account, version) or pytest.fail("opened"), most=size)
                event(f"{min(written, 3)} merged or more")
            event(f"{min(journal.segments.coverage(account).usable, 3)} segments or more")
            for part, second, is_later in [(1, None, False), *asked]:
                selection = selection_of(journal, account, part, second, is_later=is_later)
                terms = journal.terms(account, selection.version)
                if terms is None:
                    continue
                expected = everything(without, account, selection, terms, chunk)
                assert everything(journal, account, selection, terms, chunk) == expected
                used = len(list(packs(journal, account, selection, terms)))
                event(f"{min(used, 3)} merged used or more")
                whole = expected[2], replayed(without, account, selection, terms, fold=PORTFOLIO, interval=None)[1]
                packed = replayed(journal, account, selection, terms, fold=PORTFOLIO, interval=None)
                assert (packed[0].state(), packed[1]) == whole
                assert from_checkpoints(journal, account, selection, terms, chunk) == whole
                assert from_checkpoints(journal, account, selection, terms, None) == whole
                assert from_checkpoints(without, account, selection, terms, chunk) == whole
        assert verify_account(journal, account).problems == ()
    finally:
        journal.segments.drop(account)
        journal.close()
        without.close()
