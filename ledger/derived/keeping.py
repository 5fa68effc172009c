"""Keeping the derived tables of all accounts up, for as long as a program runs: in a thread of the daemon, or by itself."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from ledger.derived.accumulators import ACCUMULATORS
from ledger.derived.fold import fold_of
from ledger.errors import JournalError, LedgerError
from ledger.journal import Head
from ledger.journal.derived import FollowerRow
from ledger.service import HeadWatch, Ledger, StopSign
from ledger.text import visible
from ledger.values import AccountId

#: What comes in so short a time is folded together: each time is a transaction, and others write too.
_PAUSE_SEC: Final = 0.1
_LOOK_SEC: Final = 0.02
#: So many accounts are kept folded; those that others than these need are begun from what is stored.
_WARM_MAX: Final = 1000
_logger: Final = logging.getLogger("ledger.derived")


def keep_up(
    ledger: Ledger,
    stop: StopSign,
    *,
    poll_seconds: float = 1.0,
    done: Callable[[AccountId, FollowerRow], object] = lambda *_: None,
) -> None:
    """Keep the tables of all accounts up until ``stop`` is set.

    An account that fails is logged, once for each version, and the others go on. A database that does not answer is waited
    for.

    Args:
        ledger: Whose.
        stop: Ends it; looked at often, but an account that is being caught up is finished first.
        poll_seconds: How often to look where nothing is noticed.
        done: Called with each account that was caught up, and what its tables rest on.
    """
    keeper = _Keeper(ledger, done)
    with HeadWatch(ledger.journal, None, poll_seconds, stop) as watch:
        while not stop.is_set():
            try:
                keeper.catch_up(watch.look(), stop)
                keeper.note_answer()
            except JournalError as error:
                watch.look_at_all()
                keeper.report(None, 0, error)
            give_up = time.monotonic() + _PAUSE_SEC
            while not stop.is_set() and time.monotonic() < give_up:
                time.sleep(_LOOK_SEC)
            watch.wait()


class _Keeper:
    """What ``keep_up`` remembers of the accounts."""

    def __init__(self, ledger: Ledger, done: Callable[[AccountId, FollowerRow], object]) -> None:
        self._ledger = ledger
        self._done = done
        self._warm: OrderedDict[AccountId, None] = OrderedDict()
        self._reported: dict[AccountId | None, tuple[int, str]] = {}
        self._rules = fold_of(ACCUMULATORS).code(None)

    def catch_up(self, heads: Mapping[AccountId, Head], stop: StopSign) -> None:
        """Bring the tables of the accounts up that are behind their heads.

        Raises:
            JournalError: The database does not answer.
        """
        rows = self._ledger.journal.derived.followers() if len(heads) > 1 else {}
        for name, head in heads.items():
            if stop.is_set():
                return
            row = rows.get(name)
            if row is not None and row.is_whole and row.hash == head.hash and row.code.partition(":")[0] == self._rules:
                continue
            try:
                self._done(name, self._ledger.account(name).derived.catch_up())
                self._ledger.account(name).derived.pack(stop.is_set)
            except JournalError as error:
                if error.retryable:
                    raise
                self.report(name, head.version, error)
            except LedgerError as error:
                self.report(name, head.version, error)
            self._keep_warm(name)

    def note_answer(self) -> None:
        """Note that the database answers, so that it is logged if it is away again."""
        self._reported.pop(None, None)

    def report(self, name: AccountId | None, version: int, error: Exception) -> None:
        """Log what went wrong, once for an account at a version."""
        what = (version, str(error))
        if self._reported.get(name) != what:
            self._reported[name] = what
            about = "the derived tables" if name is None else f"the derived tables of {name}"
            _logger.warning("%s are not kept up: %s", about, visible(str(error)))

    def _keep_warm(self, name: AccountId) -> None:
        self._warm[name] = None
        self._warm.move_to_end(name)
        if len(self._warm) > _WARM_MAX:
            cold, _ = self._warm.popitem(last=False)
            self._ledger.account(cold).derived.cool()
