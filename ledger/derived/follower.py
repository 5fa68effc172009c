"""The follower: keeps an account's derived tables at what the journal knows.

What is new is mostly folded on behind what was folded before. Where something belongs further back (a late deal, a revision, a
completion, an assertion), rows from there on are deleted and made anew, from the latest checkpoint before it. Rows that other
rules or another history made are made anew from the start. Each change is one transaction that also moves the account's row in
``followers`` on, and is carried out only if nobody else moved it meanwhile: of two followers one does the work, and no reader
sees half of a change. Only where very much is made anew is it stored in parts, and marked as incomplete until the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from attrs import frozen

from ledger.codec import decode_posting, posting
from ledger.derived.fold import DerivedFold, Output
from ledger.derived.rows import OrdersShown, position_rows, show_orders, summary_row
from ledger.errors import JournalBusy
from ledger.events import BY_VERSION_KINDS
from ledger.folds import Fold
from ledger.journal import Journal, Selection
from ledger.journal.checkpoints import HELD_PER_INTERVAL, Keeper, load
from ledger.journal.derived import DELETED_AT_ONCE, FOLLOWER, FollowerRow, Update
from ledger.postings import FoldKey, Postings
from ledger.service import Account, follows
from ledger.terms import AccountTerms

#: So many events are folded on one by one; more are read as a replay reads them.
_FOLLOWED_MAX: Final = 2000
_CHUNK: Final = 500
#: So many bookings are stored at once, so that nobody who writes waits long.
AT_ONCE: Final = 10_000
#: A state that holds more costs more to write down every time than to replay once.
_HELD_MAX: Final = 500
_TRIES: Final = 20


@frozen(kw_only=True)
class Target:
    """What the tables are to rest on."""

    version: int
    hash: bytes
    recorded_us: int
    terms: AccountTerms
    code: str
    orders: OrdersShown


class _Warm(NamedTuple):
    """What was folded, for as long as the rows are of this revision."""

    revision: int
    folded: DerivedFold


class _OvertakenError(Exception):
    """Somebody else changed the tables meanwhile."""


class AccountFollower:
    """Keeps the tables of one account. Not to be used by two threads at once.

    Args:
        account: Whose.
        fold: What makes the rows.
    """

    def __init__(self, account: Account, fold: Fold[DerivedFold]) -> None:
        self._account = account
        self._journal: Journal = account.ledger.journal
        self._fold = fold
        self._warm: _Warm | None = None

    def catch_up(self) -> FollowerRow:
        """Bring the tables to the account's present version, and return what they rest on.

        Raises:
            AccountUnknown: The account was not opened.
            InexactNumber: A sum does not fit the tables.
            JournalBusy: Others changed them again and again meanwhile.
            JournalError: They could not be stored.
        """
        for _ in range(_TRIES):
            stored = self._journal.derived.follower(self._account.name)
            if stored is not None and self._is_done(stored):
                return stored
            target = self._target()
            is_ahead = stored is not None and stored.version > target.version
            if is_ahead and self._account.version > target.version:
                continue  # another follower has seen more than was looked at
            with suppress(_OvertakenError):
                return self._followed_on(stored, target) or self._made_anew(stored, target)
        raise JournalBusy(f"account {self._account.name}: others change its derived tables again and again: try again")

    def cool(self) -> None:
        """Let go of what was folded."""
        self._warm = None

    def _is_done(self, stored: FollowerRow) -> bool:
        """Return whether there is nothing to do: found out before anything is folded, orders too."""
        is_at_head = stored.is_whole and (stored.version, stored.hash) == self._account.journal_head[:2]
        return bool(is_at_head) and stored.code == self._fold.code(self._account.terms)

    def _target(self) -> Target:
        orders = self._account.ask_orders(show_orders)
        version = orders.version
        (row,) = self._journal.rows(self._account.name, after=version - 1, upto=version)
        terms = self._journal.terms(self._account.name, version) or self._account.terms
        return Target(
            version=version, hash=row.hash, recorded_us=row.recorded_us, terms=terms, code=self._fold.code(terms), orders=orders
        )

    def _is_of(self, stored: FollowerRow, target: Target) -> bool:
        """Return whether rows were made by our rules, of the history that there is."""
        if stored.code != target.code or stored.version > target.version:
            return False
        if stored.version == target.version:
            return stored.hash == target.hash
        return self._journal.hash_at(self._account.name, stored.version) == stored.hash

    # ---- folding on

    def _followed_on(self, stored: FollowerRow | None, target: Target) -> FollowerRow | None:
        """Fold on what is new, where all of it belongs behind what was folded; None where it does not."""
        warm, self._warm = self._warm, None  # what is folded half way is not used again
        if stored is None or not stored.is_whole or not self._is_of(stored, target):
            return None
        if target.version - stored.version > _FOLLOWED_MAX:
            return None
        folded = self._loaded(stored, warm, target)
        if folded is None or self._is_due(folded):
            return None
        rows = self._journal.rows(self._account.name, after=stored.version, upto=target.version)
        new = [row for row in rows if row.kind not in BY_VERSION_KINDS]
        if new and not follows(new, folded.portfolio):
            return None
        kept = _kept(folded)
        folded.output = Output()
        folded.fold(map(posting, new), decode_posting)
        return self._store(stored, target, folded, kept)

    def _is_due(self, folded: DerivedFold) -> bool:
        """Return whether it is time for another checkpoint, which only a replay leaves."""
        return folded.since_checkpoint > 2 * _interval(self._account.ledger.checkpoint_interval, folded)

    def _loaded(self, stored: FollowerRow, warm: _Warm | None, target: Target) -> DerivedFold | None:
        if warm is not None and warm.revision == stored.revision:
            return warm.folded
        if stored.state is None:
            return None
        try:
            return self._fold.restore(target.terms, json.loads(stored.state))
        except (KeyError, TypeError, ValueError):
            return None

    # ---- making anew

    def _made_anew(self, stored: FollowerRow | None, target: Target) -> FollowerRow:
        """Fold from a checkpoint, and replace the rows behind what stays."""
        name = self._account.name
        self._journal.derived.require_writable()  # else all of it would be folded in vain
        selection = Selection(version=target.version)
        changed, stays = self._changed(stored, target)
        folded, postings = self._begun(stored if stays else None, selection, target, changed)
        keeper = Keeper(self._journal, name, self._fold, target.version, postings.place)
        run = _Run(folded, postings, keeper, self._account.ledger.checkpoint_interval)
        if stays and stored is not None and stored.is_whole:
            for _ in run.upto(changed):
                pass
        kept = _kept(folded)
        while stored is not None and stored.bookings - kept.bookings > DELETED_AT_ONCE:
            stored = self._shrunk(stored, kept)
        folded.output = Output()
        for _ in run.upto(None):
            if len(folded.output.bookings) >= AT_ONCE:
                stored = self._store(stored, target, folded, kept, is_whole=False)
                keeper.finish()
                kept, folded.output = _kept(folded), Output()
        done = self._store(stored, target, folded, kept)
        keeper.finish()
        return done

    def _changed(self, stored: FollowerRow | None, target: Target) -> tuple[FoldKey | None, bool]:
        """Return the first place from which on rows change, None for none, and whether any row can stay."""
        if stored is None or not self._is_of(stored, target) or self._is_shown_otherwise(stored, target):
            return None, False
        change = self._journal.earliest_change(self._account.name, stored.version, target.version)
        if change is None:
            return None, True
        return (target.terms.clock.order_msc(change[0]), -1, 0), True  # what is sorted again is so as a whole

    def _is_shown_otherwise(self, stored: FollowerRow, target: Target) -> bool:
        """Return whether trades that are stored are shown otherwise now, as a symbol was specified since."""
        before = self._journal.terms(self._account.name, stored.version)
        if before is None:
            return True
        names = before.symbols.keys() | target.terms.symbols.keys()
        changed = {
            one for one in names
            if (before.scales(one), before.shown_digits(one)) != (target.terms.scales(one), target.terms.shown_digits(one))
        }  # fmt: skip
        return bool(changed) and self._journal.derived.has_trades(self._account.name, sorted(changed))

    def _begun(
        self, stored: FollowerRow | None, selection: Selection, target: Target, changed: FoldKey | None
    ) -> tuple[DerivedFold, Postings]:
        """Return what to fold on, and what comes behind: from the latest checkpoint whose rows stay."""
        name, before = self._account.name, changed
        while stored is not None and (
            found := self._journal.checkpoint(name, selection, self._fold.code(target.terms), before=before)
        ):
            begun = load(found, self._fold, target.terms)
            if begun is not None and begun.bookings <= stored.bookings and begun.trades <= stored.trades:
                begun.since_checkpoint = 0
                return begun, self._journal.postings(name, selection, target.terms, after=found.mark)
            before = found.mark.place
        return self._fold.begin(target.terms), self._journal.postings(name, selection, target.terms)

    # ---- storing

    def _shrunk(self, stored: FollowerRow, kept: _Kept) -> FollowerRow:
        """Delete the last rows, some of very many: so that nobody who writes waits long.

        Those that are left are still of the version and the rules that they were made of: whoever goes on finds out which stay.
        """
        row = stored._replace(
            revision=stored.revision + 1,
            is_whole=0,
            bookings=stored.bookings - DELETED_AT_ONCE,
            trades=max(kept.trades, stored.trades - DELETED_AT_ONCE),
            state=None,
        )
        update = Update(
            expected=stored.revision, row=row, keep_bookings=row.bookings, keep_trades=row.trades, nodes_from=kept.nodes
        )
        self._update(update)
        return row

    def _update(self, update: Update) -> None:
        if not self._journal.derived.update(self._account.name, update):
            raise _OvertakenError

    def _store(
        self, stored: FollowerRow | None, target: Target, folded: DerivedFold, kept: _Kept, *, is_whole: bool = True
    ) -> FollowerRow:
        """Store what was folded."""
        now_us = self._account.ledger.now_us()
        assert folded.output is not None
        portfolio = folded.portfolio
        if is_whole:
            folded.note_version(target.version)
        row = FollowerRow(
            follower=FOLLOWER,
            revision=now_us if stored is None else stored.revision + 1,
            version=target.version,
            hash=target.hash,
            code=target.code,
            is_whole=int(is_whole),
            bookings=folded.bookings,
            trades=folded.trades,
            state=folded.dump() if is_whole and folded.held <= _HELD_MAX else None,
            at_us=now_us,
        )
        summary = summary_row(portfolio, target.orders, chain=target.hash, recorded_us=target.recorded_us)
        self._update(
            Update(
                expected=None if stored is None else stored.revision,
                row=row,
                keep_bookings=kept.bookings,
                keep_trades=kept.trades,
                nodes_from=kept.nodes,
                bookings=folded.output.bookings,
                trades=[*folded.output.trades, *(folded.unfinished_rows() if is_whole else ())],
                nodes=[*folded.output.nodes, *folded.curve.begun()],
                positions=position_rows(portfolio) if is_whole else None,
                summary=summary if is_whole else None,
            ),
        )
        folded.output = None
        if is_whole:
            self._warm = _Warm(row.revision, folded)
        return row


class _Kept(NamedTuple):
    """Which rows stay: so many bookings and trades, and of each span of the curve what is before a node."""

    bookings: int
    trades: int
    nodes: dict[int, int]


def _kept(folded: DerivedFold) -> _Kept:
    return _Kept(folded.bookings, folded.trades, folded.curve.begins())


def _interval(interval: int, folded: DerivedFold) -> int:
    """Return how many postings are between two checkpoints, as ``checkpoints.replayed`` has it."""
    return interval * (1 + folded.held // HELD_PER_INTERVAL)


class _Run:
    """A fold under way that leaves checkpoints, as ``checkpoints.replayed`` does."""

    def __init__(self, folded: DerivedFold, postings: Postings, keeper: Keeper[DerivedFold], interval: int) -> None:
        self._folded = folded
        self._postings = postings
        self._keeper = keeper
        self._interval = interval
        self._due = 0

    def upto(self, end: FoldKey | None) -> Iterator[None]:
        """Fold up to a place, exclusive, or all; yield now and then."""
        last = (end[0], end[1], end[2] - 1) if end is not None else None
        while rows := self._take(last):
            self._folded.fold(rows, decode_posting)
            self._due = max(0, self._due - len(rows))
            for rest in () if self._due else self._postings.take_second():
                self._folded.fold(rest, decode_posting)
            yield

    def _take(self, last: FoldKey | None) -> list[tuple[object, ...]]:
        if not self._due:
            if self._folded.since_checkpoint:
                self._folded.since_checkpoint = 0
                self._keeper.note(self._folded, self._postings.place, self._postings.reading)
            self._due = _interval(self._interval, self._folded)
        count = min(_CHUNK, self._due)
        return self._postings.take(count) if last is None else self._postings.take(count, last)
