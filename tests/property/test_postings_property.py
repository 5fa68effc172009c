"""Laws of the merge: however postings are taken, they are the same, in the fold order, each deal once."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from ledger.journal.memory import replaced_versions
from ledger.postings import IN_ORDER, NO_DEAL, PLACED, Postings, as_told
from tests.support.journals import ACCOUNT, Clock, fill, ghost, open_journal, opened, revised


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
            journal.append(ACCOUNT, [fill(100 + number, second, commission=None, swap=None)])
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
    placed = sorted((one for one in map(as_read, rows) if one), key=lambda row: row[:3])
    found = []
    for key, tellings in groupby(placed, key=lambda row: (row[0], row[1], row[2] if row[1] == NO_DEAL else 0)):
        left = [row for row in tellings if row[2] not in replaced]
        if left:
            found.append(as_told(left) if key[1] != NO_DEAL else left[0])
    return found


def as_read(row):
    from ledger.codec import posting

    return posting(row) if row.placement in (IN_ORDER, PLACED) else None


def postings(rows, block):
    from ledger.codec import posting

    plain = [posting(row) for row in rows if row.placement == IN_ORDER]
    placed = sorted(posting(row) for row in rows if row.placement == PLACED)
    blocks = [plain[at : at + block] for at in range(0, len(plain), block)]
    return Postings(blocks, placed, replaced_versions(rows))


@given(histories(), st.integers(1, 7))
def test_the_merge_is_the_sorted_whole(rows, block):
    assert list(postings(rows, block)) == merged(rows)


@given(histories(), st.integers(1, 7), st.lists(st.integers(1, 9), max_size=30))
def test_they_are_the_same_however_many_are_taken_at_once(rows, block, counts):
    together, one_by_one = postings(rows, block), postings(rows, 3)
    for count in [*counts, 10**6]:
        taken = together.take(count)
        assert taken == [row for _ in range(len(taken)) for row in one_by_one.take(1)]
        if len(taken) == count:
            assert together.reading == one_by_one.reading
    one_by_one.take(1)
    assert together.reading == one_by_one.reading
    assert together.reading.events == sum(row.placement in (IN_ORDER, PLACED) for row in rows)
