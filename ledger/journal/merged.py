"""Merged segments: the postings of an account in the fold order, each deal once, packed in files as the segments are.

A replay from the start folds them in whole packs, without putting anything in its place. Each ends with a mark, as a checkpoint
has one, and answers for another selection of events by the same rule (see ``journal.checkpoints``): only if that selection
has the same postings up to its place. So what is recorded late makes those useless that reach further than its place, and no
others; behind the last that answers, a replay goes on as it does behind a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from ledger.folds import PORTFOLIO
from ledger.journal.checkpoints import INTERVAL, Mark, is_of
from ledger.postings import FoldKey, Posting, Postings, Reading, Row, Selection
from ledger.segments.native import quick_slice
from ledger.segments.packed import ROWS_MAX, Packed, PackedSlice
from ledger.terms import AccountTerms
from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.journal import Journal

_VERSION: Final = Posting._fields.index("version")
_START: Final[FoldKey] = (-1, 0, 0)


def packs(
    journal: Journal, account: AccountId, selection: Selection, terms: AccountTerms
) -> Iterator[tuple[Mark, PackedSlice]]:
    """Yield packs of the first postings of a selection, in the fold order, and the mark at the end of each.

    Args:
        journal: Where they are.
        account: Whose.
        selection: Which events.
        terms: The account terms that order them.
    """
    limits: dict[int, FoldKey | None] = {}
    code = PORTFOLIO.code(terms)
    for made_by, mark, packed in _written(journal, account):
        if made_by != code or (selection.time_msc is not None and mark.reading.latest_msc > selection.time_msc):
            return
        if not _answers(journal, account, mark, selection.version, limits):
            return
        yield mark, quick_slice(packed)


def _written(journal: Journal, account: AccountId) -> Iterator[tuple[str, Mark, Packed]]:
    """Yield all packs, with the rules that order them and their marks, as long as each begins where the one before ends."""
    end = _START
    for head, packed in journal.segments.merged(account):
        made_by, begin, place, reading, version, chain = head
        mark = Mark(tuple(place), Reading(*reading), version, bytes.fromhex(chain))
        if tuple(begin) != end:
            return
        end = mark.place
        yield made_by, mark, packed


def _answers(journal: Journal, account: AccountId, mark: Mark, version: int, limits: dict[int, FoldKey | None]) -> bool:
    """Return whether the first ``version`` events have the same postings up to a mark. The rest as ``is_of``."""
    return mark.reading.newest <= version and is_of(journal, account, mark, version, limits)


def extend(
    journal: Journal,
    account: AccountId,
    version: int,
    terms: AccountTerms,
    *,
    most: int = ROWS_MAX,
    is_stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Write the packs that are not there yet, of what is known at a version; return how many were written.

    Args:
        journal: Where they go.
        account: Whose.
        version: Up to which.
        terms: The account terms at it.
        most: Postings of a pack.
        is_stopped: Asked now and then whether to leave the rest for another time.
    """
    if journal.segments.folder is None or version < journal.segments.merged_due.get(account, most):
        return 0
    journal.segments.merged_due[account] = version + most // 2  # it costs a look at all of them
    selection, chain = Selection(version=version), journal.hash_at(account, version)
    marks = [mark for mark, _ in packs(journal, account, selection, terms)]
    behind = marks[-1] if marks else None
    if chain is None or version - (behind.reading.events if behind else 0) < most:
        return 0
    postings = journal.postings(account, selection, terms, after=behind)
    begin, rows, written = postings.place, list[Row](), 0
    step = max(1, min(INTERVAL, most // 8))
    while not is_stopped() and (more := postings.take(step)):
        rows += more
        for rest in postings.take_second():
            rows += rest
        if len(rows) < most - 2 * step:
            continue
        head = [PORTFOLIO.code(terms), begin, postings.place, postings.reading, version, chain.hex()]
        if not journal.segments.write_merged(account, len(marks) + written + 1, head, rows):
            break
        written, begin = written + 1, postings.place
        rows.clear()
    return written


def merged_differences(journal: Journal, account: AccountId, version: int) -> list[int]:
    """Return the first version at which packs that answer for something hold something else than the rows; none without.

    Those that answer for the present are compared with what it knows. The others, behind something that was recorded late,
    answer for earlier versions, and are compared with what was known when they were written: a pack that answers for any
    version answers for that one.

    Args:
        journal: Where they are.
        account: Whose.
        version: Up to which it is verified: a pack that rests on later events is left aside.
    """
    limits: dict[int, FoldKey | None] = {}
    behind, compared_with, postings = None, None, None
    for made_by, mark, packed in _written(journal, account):
        known = version if _answers(journal, account, mark, version, limits) else mark.version
        if postings is None or (made_by, known) != compared_with:
            postings = _rows_behind(journal, account, made_by, known, behind) if known <= version else None
            compared_with = made_by, known
        if postings is None or not _answers(journal, account, mark, known, limits):
            return []
        rows = postings.take(ROWS_MAX, mark.place)
        for rest in postings.take_second():
            rows += rest
        pairs = zip_longest(rows, quick_slice(packed))
        different = next((at for at, (mine, theirs) in enumerate(pairs) if mine != theirs), None)
        if different is not None:
            return [rows[min(different, len(rows) - 1)][_VERSION] if rows else mark.version]
        if (postings.place, postings.reading) != (mark.place, mark.reading):
            return [mark.version]
        behind = mark
    return []


def _rows_behind(journal: Journal, account: AccountId, code: str, version: int, behind: Mark | None) -> Postings | None:
    """Return the postings behind a pack, read from the journal's rows; None where no replay goes on behind it so.

    Args:
        journal: Where they are.
        account: Whose.
        code: The rules that order them.
        version: What is known.
        behind: The mark of the pack, which is what the rows give; None for the start.
    """
    then = journal.terms(account, version)
    terms = PORTFOLIO.terms_of(code, then) if then else None
    if terms is None or (behind is not None and not _answers(journal, account, behind, version, {})):
        return None
    return journal.postings(account, Selection(version=version), terms, after=behind, differences=[])
