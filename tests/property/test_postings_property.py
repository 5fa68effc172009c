"""Laws of the merge: however postings are read, they are the same, in the fold order, each deal once."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from ledger import Origin
from ledger.codec import posting, stored_place
from ledger.journal import Selection
from ledger.journal.memory import ordered_postings, replaced_versions
from ledger.postings import ASSERTED, IN_ORDER, NO_DEAL, OUT_OF_ORDER, OUTSIDE_FOLD, Postings, Row, merge_records
from ledger.terms import AccountTerms
from tests.support.journals import ACCOUNT, Clock, fill, ghost, open_journal, opened, revised

TERMS_FILTER = AccountTerms(opened=opened(), clock=opened().clock)


@st.composite
def histories(draw):
    """Rows of a journal: deals in order and late, completed, revised and moved in time, and what is no deal."""
    journal = open_journal("memory://", Clock())
    journal.append(ACCOUNT, [opened()])
    known: dict[int, int] = {}
    for number in range(draw(st.integers(0, 25))):
        second = draw(st.integers(0, 12))
        what = draw(st.sampled_from(("deal", "deal", "deal", "completed", "revised", "ghost")))
        if what == "deal" or not known:
            known[100 + number] = second
            deal = fill(100 + number, second, commission=None, swap=None, origin=Origin.IMPORT)
            journal.append(ACCOUNT, [deal])
        elif what == "ghost":
            journal.append(ACCOUNT, [ghost(1 + number, second)])
        else:
            deal = draw(st.sampled_from(sorted(known)))
            if what == "completed":
                journal.append(ACCOUNT, [fill(deal, known[deal], commission=1)], conflicts="keep")
            else:
                known[deal] = second
                journal.append(ACCOUNT, [revised(fill(deal, second, profit=number))])
    return list(journal.rows(ACCOUNT))


def merged(rows):
    """The same by sorting everything: an independent reading of the rule."""
    replaced = replaced_versions(rows)
    read = [row for row in rows if row.placement != OUTSIDE_FOLD]
    found = []
    for key, records in groupby(sorted(read, key=own_key), key=lambda row: own_key(row)[:2]):
        left = [posting(row) for row in records if row.version not in replaced]
        if left:
            found += [merge_records(left)] if key[1] != NO_DEAL else left
    return found


def own_key(row):
    """Second, ticket, version: what no deal is comes after all deals of its second. All deals here are an import's."""
    return row.time_msc // 1000, NO_DEAL if row.deal is None else row.deal, row.version


def postings(rows, block):
    whole = ordered_postings(rows, Selection(version=len(rows)), TERMS_FILTER)
    plain = [posting(row) for row in rows if row.placement == IN_ORDER]
    blocks = [plain[at : at + block] for at in range(0, len(plain), block)]
    placed = sorted((stored_place(row), posting(row)) for row in rows if row.placement in (OUT_OF_ORDER, ASSERTED))
    return Postings(blocks, placed, order=whole.order, replaced=replaced_versions(rows))


@given(histories(), st.integers(1, 7))
def test_the_merge_is_the_sorted_whole(rows, block):
    assert list(postings(rows, block)) == merged(rows)


@given(histories(), st.integers(1, 7), st.lists(st.integers(1, 9), max_size=30))
def test_postings_are_the_same_however_many_are_read_at_once(rows, block, counts):
    together, one_by_one = postings(rows, block), postings(rows, 3)
    together_rows: list[Row] = []
    ones: list[Row] = []
    for count in [*counts, 10**6]:
        together_rows += together.take(count)
        while len(ones) < len(together_rows):
            ones += one_by_one.take(1)  # more where some have to stay together
        if len(ones) == len(together_rows):
            assert ones == together_rows
    one_by_one.take(1)
    assert (together.place, together.reading) == (one_by_one.place, one_by_one.reading)
    assert together.reading.events == sum(row.placement != OUTSIDE_FOLD for row in rows)
