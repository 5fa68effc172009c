"""Checkpoints: states of the fold at a place in the fold order, kept beside the journal to make replays short.

A checkpoint holds what all postings up to its place made, as they were known at ``version``. It answers for another
selection of events only if that selection has the same postings up to this place:

- knowing less: nothing up to the place rests on an event behind ``newest``, so that every version from there to ``version``
  knows the same of it;
- knowing more: the events behind ``version`` all belong behind the place. ``Journal.earliest_change`` returns the first key in
  the fold order that they change: of one that arrived late its own, of a revision the one that it took a deal away from too,
  of an assertion the time of it where that is earlier than its own;
- asking about an earlier moment: nothing up to the place happened later than that (``Reading.latest_msc``).

Its place is the end of a second, so that whatever belongs to a second is in it, or behind it, as a whole. Some seconds have to
be read in one go, and what is recorded later may make one such: reading from the start could not end in the middle of it.

Only a replay without a limit in time leaves checkpoints. One of a moment leaves out what happened later, and some of that has a
place before others that it has: a deal of the same second, or what was asserted later and contains no more than earlier deals.

So a checkpoint is never trusted over the journal. It is left aside if it was made by other rules or of another fold
(``Fold.code``), for another history (the chain hash at its version is not the journal's), or if it is damaged (its digest does
not hold).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple

from ledger.clock import ClockRule
from ledger.codec import Stored, decode_posting, first_place
from ledger.events import DealOrder
from ledger.fold_order import FoldOrder, HourReading, Records, hour_readings
from ledger.folds import PORTFOLIO, Fold, Folded, T
from ledger.portfolio import Portfolio
from ledger.postings import DEAL, NO_DEAL, FoldKey, PackedRows, Posting, Postings, Reading, Row, Selection, VersionedPostings
from ledger.segments.native import library
from ledger.terms import AccountTerms
from ledger.values import INT64_MAX, AccountId

if TYPE_CHECKING:  # the protocol speaks of checkpoints
    from ledger.journal import EventStore, Journal

#: How many postings are between two checkpoints, at least. A replay folds at most so many beside a checkpoint.
INTERVAL: Final = 5000
#: A state that holds many positions costs more to write down than to fold on: its checkpoints are further apart.
HELD_PER_INTERVAL: Final = 250
_CHUNK: Final = 500
#: Behind all places of a fold by version, and before all of the fold order.
_BEFORE_ALL: Final[FoldKey] = (0, 0, 0)
#: So many packed postings are folded at once, at most.
_PACKED: Final = 16_384
_KEPT_AT_ONCE: Final = 4 * 1024 * 1024


class Mark(NamedTuple):
    """A checkpoint without its state: its key, and what it depends on (see the module's text)."""

    place: FoldKey
    reading: Reading
    version: int
    hash: bytes


class Checkpoint(NamedTuple):
    """A state of the fold as it is kept. ``digest`` covers all the rest."""

    mark: Mark
    fold: str
    body: bytes
    digest: bytes


def order_of(terms: AccountTerms | None, records: Records, selection: Selection) -> FoldOrder:
    """Return the order that the account terms give the postings of a selection."""
    return FoldOrder(
        terms.clock if terms else ClockRule(),
        by_time=terms is not None and terms.order is DealOrder.TIME,
        nets=terms is not None and terms.opened.mode.nets,
        records=records,
        until_utc_msc=selection.until_utc_msc,
    )


def capture(fold: Fold[T], folded: T, place: FoldKey, reading: Reading, version: int, chain: bytes) -> Checkpoint:
    """Return a checkpoint of a fold as it is now.

    Args:
        fold: Which fold it is of.
        folded: What was folded.
        place: Up to which place.
        reading: What its postings rest on.
        version: The version that was known.
        chain: The chain hash of that version.
    """
    mark, code = Mark(place=place, reading=reading, version=version, hash=chain), fold.code(folded.terms)
    body = json.dumps(folded.state(), separators=(",", ":"), ensure_ascii=True).encode()
    return Checkpoint(mark=mark, fold=code, body=body, digest=_digest(mark, code, body))


def load(checkpoint: Checkpoint, fold: Fold[T], terms: AccountTerms) -> T | None:
    """Return what was folded for a checkpoint, None if it is damaged or made by other rules."""
    mark, code, body, digest = checkpoint
    if code != fold.code(terms) or digest != _digest(mark, code, body):
        return None
    try:
        return fold.restore(terms, json.loads(body))
    except (KeyError, TypeError, ValueError):
        return None


def _digest(mark: Mark, fold: str, body: bytes) -> bytes:
    content: list[Any] = [*mark.place, *mark.reading, mark.version, mark.hash.hex(), fold]
    return sha256(json.dumps(content).encode() + b"\n" + body).digest()


def select(journal: EventStore, account: AccountId, marks: Iterable[Mark], version: int) -> Mark | None:
    """Return the latest checkpoint that knows of its postings what the first ``version`` events know.

    Args:
        journal: Where they are kept.
        account: Whose.
        marks: Those that rest on no later version and reach no further in time than is asked about, latest place first.
        version: What is known.
    """
    limits: dict[int, FoldKey | None] = {}  # version -> the first place that was changed since
    for mark in marks:
        # What was changed since a later version was changed since an earlier one too: no need to ask again.
        if any(mark.version <= known and limit is not None and mark.place >= limit for known, limit in limits.items()):
            continue
        if is_of(journal, account, mark, version, limits):
            return mark
    return None


def is_of(journal: EventStore, account: AccountId, mark: Mark, version: int, limits: dict[int, FoldKey | None]) -> bool:
    """Return whether the first ``version`` events have the same postings up to a mark that rests on no later one.

    Args:
        journal: Where they are.
        account: Whose.
        mark: The mark.
        version: What is known.
        limits: Versions of marks -> the first place that was changed since, as far as it was looked for.
    """
    if mark.version < version:
        if mark.version not in limits:
            limits[mark.version] = journal.earliest_change(account, mark.version, version)
        limit = limits[mark.version]
        if limit is not None and mark.place >= limit:
            return False
    return journal.hash_at(account, mark.version) == mark.hash


def is_usable(
    journal: EventStore, account: AccountId, checkpoint: Checkpoint, fold: Fold[Any], version: int, terms: AccountTerms
) -> bool:
    """Return whether a replay of the first ``version`` events could begin at a checkpoint: whether it is of our making."""
    return checkpoint.fold == fold.code(terms) and select(journal, account, [checkpoint.mark], version) is not None


def postings_of(
    fold: Fold[Any],
    journal: Journal,
    account: AccountId,
    selection: Selection,
    terms: AccountTerms,
    *,
    after: Mark | None = None,
    differences: list[int] | None = None,
) -> Postings | VersionedPostings:
    """Return what a fold reads of a selection, behind a checkpoint or from the start. Arguments as ``Journal.postings``."""
    if not fold.is_by_version:
        return journal.postings(account, selection, terms, after=after, differences=differences)
    blocks = journal.order_rows(account, selection, after=after.reading.newest if after else 0)
    if selection.until_utc_msc is not None:
        blocks = _until_in_hour(journal, account, selection, terms, blocks)
    return VersionedPostings(blocks, clock=terms.clock, begin=after.reading if after else None)


def _until_in_hour(
    journal: Journal, account: AccountId, selection: Selection, terms: AccountTerms, blocks: Iterable[list[Row]]
) -> Iterator[list[Row]]:
    """Yield the rows of a selection that ends in an hour that the server's clock showed twice, without those after its end."""
    until_utc_msc, last_msc = selection.until_utc_msc, selection.time_msc
    hour = None if last_msc is None else terms.clock.repeated_hour(last_msc)
    if hour is None or until_utc_msc is None:
        yield from blocks
        return
    readings = repeated_hour(journal, account, selection.version, terms, hour)

    def is_selected(row: Row) -> bool:
        if not hour[0] <= row[0] < hour[1]:
            return True
        reading = readings.get(row[DEAL])
        recorded_msc = row[len(Posting._fields)] // 1000
        utc_msc = terms.clock.nearest_utc_msc(row[0], recorded_msc) if reading is None else reading.utc_msc
        return utc_msc <= until_utc_msc

    for block in blocks:
        yield list(filter(is_selected, block))


def replayed(
    journal: Journal,
    account: AccountId,
    selection: Selection,
    terms: AccountTerms,
    *,
    fold: Fold[T],
    interval: int | None = INTERVAL,
    progress: Callable[[int], object] = lambda _: None,
) -> tuple[T, int]:
    """Fold a selection of events, from the latest checkpoint that is the same as a replay from the start.

    Args:
        journal: Where they are kept; long folds leave checkpoints there.
        account: Whose events.
        selection: Which of them.
        terms: The account terms of the moment that is asked about.
        fold: Into what.
        interval: Postings between two checkpoints, at least. None folds from the start and leaves none.
        progress: Called with how many postings more are folded.

    Returns:
        What they come to, and how many events were selected.
    """
    if interval is None:
        folded, mark = _begun(journal, account, selection, terms, fold, progress)
        postings = postings_of(fold, journal, account, selection, terms, after=mark)
        fold_postings(folded, postings, progress)
        return _finished(folded, selection), _selected(journal, account, selection, postings)
    found = _latest(journal, account, selection, terms, fold)
    begun = load(found, fold, terms) if found else None
    if found and begun:
        folded, mark = begun, found.mark
    else:
        folded, mark = _begun(journal, account, selection, terms, fold, progress)
    postings = postings_of(fold, journal, account, selection, terms, after=mark)
    keeper = Keeper(journal, account, fold, selection.version, postings.place)
    place, reading = postings.place, postings.reading
    due = 0  # postings until the next checkpoint
    while rows := _quick(folded, postings, due or interval) or postings.take(min(_CHUNK, due or interval)):
        # What a moment leaves out may belong before what it has; and deals alone are read only once there are orders.
        if not due and selection.time_msc is None and (not fold.is_by_version or folded.held):
            keeper.note(folded, place, reading)  # only now: at the end of all there is nothing to be gained
        if not due:
            due = interval * (1 + folded.held // HELD_PER_INTERVAL)
        folded.fold(rows, decode_posting)
        progress(len(rows))
        due = max(0, due - len(rows))
        for rest in () if due else postings.take_second():
            folded.fold(rest, decode_posting)
        place, reading = postings.place, postings.reading
    keeper.finish()
    if begun is None and selection.time_msc is None and not fold.is_by_version:  # a long one makes the next one short
        journal.segments.extend(account, selection.version)
    return _finished(folded, selection), _selected(journal, account, selection, postings)


def fold_postings(
    folded: Folded, postings: Postings | VersionedPostings, progress: Callable[[int], object] = lambda _: None
) -> None:
    """Fold all that is left of postings. ``progress`` is called with how many more are folded."""
    while rows := _quick(folded, postings, _PACKED) or postings.take(_CHUNK):
        folded.fold(rows, decode_posting)
        progress(len(rows))


def _quick(folded: Folded, postings: Postings | VersionedPostings, most: int) -> PackedRows | None:
    """Return the next postings packed, if the native loop folds them: for a portfolio."""
    is_quick = isinstance(folded, Portfolio) and isinstance(postings, Postings) and library() is not None
    return postings.take_packed(most) if is_quick and isinstance(postings, Postings) else None


def _begun(
    journal: Journal,
    account: AccountId,
    selection: Selection,
    terms: AccountTerms,
    fold: Fold[T],
    progress: Callable[[int], object],
) -> tuple[T, Mark | None]:
    """Return what the merged segments of a selection come to, and the mark behind them."""
    from ledger.journal.merged import packs

    folded, behind = fold.begin(terms), None
    for mark, rows in () if fold.is_by_version else packs(journal, account, selection, terms):
        folded.fold(rows, decode_posting)
        progress(len(rows))
        behind = mark
    return folded, behind


def _latest(
    journal: Journal, account: AccountId, selection: Selection, terms: AccountTerms, fold: Fold[T]
) -> Checkpoint | None:
    """Return the checkpoint that a replay of a selection begins at, if there is one."""
    before = _BEFORE_ALL if fold.is_by_version else None  # or a database would look through those of all other folds
    return journal.checkpoint(account, selection, fold.code(terms), before=before)


def behind_checkpoint(journal: Journal, account: AccountId, selection: Selection, terms: AccountTerms, fold: Fold[T]) -> int:
    """Return how many events of a selection a replay folds, at most: those behind the checkpoint that it begins at."""
    found = _latest(journal, account, selection, terms, fold)
    return max(0, selection.version - (found.mark.reading.events if found is not None else 0))


def _finished(folded: T, selection: Selection) -> T:
    """Return what all of a selection was folded into: without a limit in time, the next event may be applied."""
    if isinstance(folded, Portfolio):
        folded.holdings.gather(INT64_MAX)  # several threads may read it from here on
    if selection.time_msc is None:
        folded.note_version(selection.version)
    return folded


def simulated(
    journal: Journal,
    account: AccountId,
    selection: Selection,
    terms: AccountTerms,
    rows: Sequence[Stored],
    *,
    fold: Fold[T],
) -> T:
    """Return what a selection comes to together with events that are not recorded.

    Args:
        journal: Where the others are.
        account: Whose events.
        selection: Which of them.
        terms: The account terms.
        rows: Events behind the selection, none of them a deal; with their places.
        fold: Into what.
    """
    first = min(map(first_place, rows))
    found = journal.checkpoint(account, selection, fold.code(terms), before=first)
    begun = load(found, fold, terms) if found else None
    folded = begun or fold.begin(terms)
    postings = journal.postings(account, selection, terms, after=found.mark if found and begun else None, besides=rows)
    while some := postings.take(_CHUNK):
        folded.fold(some, decode_posting)
    folded.note_version(selection.version + len(rows))
    return folded


def repeated_hour(
    journal: Journal, account: AccountId, version: int, terms: AccountTerms, span: tuple[int, int]
) -> dict[int, HourReading]:
    """Return deal ticket -> when it happened, of the deals in an hour that the server's clock showed twice.

    Args:
        journal: Where they are.
        account: Whose.
        version: What is known.
        terms: The account terms.
        span: The hour, in broker time.
    """
    selection, begin = Selection(version=version, time_msc=span[1] - 1), (span[0], -1, 0)
    found = journal.checkpoint(account, selection, PORTFOLIO.code(terms), before=begin)
    postings = journal.postings(account, selection, terms, after=found.mark if found else None)
    while postings.take(_CHUNK, begin):
        pass
    rows = [row for row in map(Posting._make, postings) if span[0] <= row.time_msc < span[1] and row.deal != NO_DEAL]
    first = postings.order.records.first_records([row.deal for row in rows]) if rows else {}
    return hour_readings(rows, first, span, terms.clock)


def _selected(journal: EventStore, account: AccountId, selection: Selection, postings: Postings | VersionedPostings) -> int:
    if selection.time_msc is None:
        return selection.version
    return postings.reading.events + journal.count_outside_fold(account, selection)


class Keeper(Generic[T]):
    """Takes checkpoints of a fold under way and has them kept: some at a time, so that memory stays bounded."""

    def __init__(self, journal: Journal, account: AccountId, fold: Fold[T], version: int, begin: FoldKey) -> None:
        self._journal = journal
        self._account = account
        self._fold = fold
        self._version = version
        self._begin = begin
        self._chain: bytes | None = None
        self._taken: list[Checkpoint] = []
        self._size = 0

    def note(self, folded: T, place: FoldKey, reading: Reading) -> None:
        """Capture a checkpoint of the fold, between two chunks."""
        if place == self._begin:
            return
        self._chain = self._chain or self._journal.hash_at(self._account, self._version)
        if self._chain is None:
            return
        self._taken.append(capture(self._fold, folded, place, reading, self._version, self._chain))
        self._size += len(self._taken[-1].body)
        if self._size > _KEPT_AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Have kept what was taken. What cannot be kept now is not: nothing depends on it."""
        if self._taken:
            self._journal.save_checkpoints(self._account, self._begin, self._taken)
            self._begin = self._taken[-1].mark.place
            self._taken, self._size = [], 0
