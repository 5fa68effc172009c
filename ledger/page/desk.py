"""What all requests of a page share: where they read and write, the jobs, what changed, the overview."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Protocol

from ledger.account_status import look
from ledger.errors import LedgerError
from ledger.folds import PORTFOLIO
from ledger.journal import Selection
from ledger.journal.checkpoints import behind_checkpoint
from ledger.journal.derived import Summary
from ledger.json_views import Json, policy_json, proposal_json
from ledger.page.answers import Unanswered
from ledger.page.changes import Changes
from ledger.page.health import Health
from ledger.page.overview import Summaries
from ledger.page.source import Source
from ledger.page.work import AT_ONCE, Progress, Work
from ledger.portfolio import Portfolio
from ledger.proposals import pending
from ledger.service import Account, utc_now_us
from ledger.text import visible
from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.journal.sql.statement_limits import StatementLimits

#: So many accounts are folded in this process at once; the one that nobody asked for for the longest time is let go.
WARM_MAX: Final = 200
#: So many accounts with long histories are folded when the page starts.
_WARMED_MAX: Final = 50
#: So long a status is used again, and a count of proposals: what waits lapses.
_STATUS_US: Final = 500_000
_PENDING_US: Final = 10 * 1_000_000
_WARM_UP: Final = "the start of the page"
_logger: Final = logging.getLogger("ledger.page")


def statement_limits(source: Source) -> StatementLimits:
    """Return the limits of what reads a journal in a request. Raises as ``Source.sql_journal``."""
    from ledger.journal.sql.statement_limits import StatementLimits

    return StatementLimits(source.sql_journal.engine)


class PageOptions(Protocol):
    """What an app is made with beside its journal: ``ledger.page_settings`` has more."""

    @property
    def allow_writes(self) -> bool:
        """Whether people may write."""
        ...


class Desk:
    """What the requests of one page share.

    Args:
        source: Where they read and write.
        settings: How the page was started.
        now_us: Returns the present, UTC microseconds.
    """

    def __init__(self, source: Source, settings: PageOptions, now_us: Callable[[], int] = utc_now_us) -> None:
        self.source = source
        self.settings = settings
        self.now_us = now_us
        self.program = version("mt5-position-ledger")
        self.work = Work()
        self.limits = statement_limits(source)
        self.changes = Changes(source.reader)
        self.summaries = Summaries()
        self.health = Health(self)
        self._lock = threading.Lock()
        self._warm: OrderedDict[AccountId, None] = OrderedDict()
        self._stop = threading.Event()
        self._statuses: dict[AccountId, tuple[int, int, Json]] = {}
        self._pending: tuple[int, int, int] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the journal, and fold the accounts with long histories."""
        self.changes.start()
        if self._thread is None:
            self._thread = threading.Thread(target=self._warm_up, name="ledger-page-warm-up", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the streams, and begin nothing more."""
        self._stop.set()
        self.changes.close()
        self.work.close()
        self.limits.close()

    @property
    def read_only_reason(self) -> str | None:
        """Why nobody may write; None where people may."""
        if not self.settings.allow_writes:
            return "this page only reads: ledger page --allow-writes lets people write"
        if self.source.writer is None:
            return "this page has no role that may append to the journal"
        return None

    # ---- folding

    def current(self, account: Account, who: str) -> tuple[int, Portfolio]:
        """Return an account's version and the portfolio at it.

        Raises:
            Unanswered: It is being folded (202), or too much is (429).
            LedgerError: It cannot be read.
        """
        self._note(account)
        known, cost = account.folded_version, self.behind(account)
        if cost <= AT_ONCE:
            return account.current()

        def fold(progress: Progress) -> None:
            account.warm_up(progress)

        key = ("current", account.name, id(account), known)
        self.work.do(key, who, cost, fold, narrow="open one account after the other")
        return account.current()

    def behind(self, account: Account) -> int:
        """Return about how many events are to be folded until an account is shown as it is now."""
        known = account.folded_version
        return account.version - known if known else self.cost_of(account)

    def cost_of(self, account: Account, selection: Selection | None = None) -> int:
        """Return about how many events a replay of a selection folds; of all that is recorded without one."""
        from ledger.journal.sql.looks import version_by_time

        wanted = selection or Selection(version=account.version)
        behind = behind_checkpoint(account.ledger.journal, account.name, wanted, account.terms, PORTFOLIO)
        if wanted.time_msc is None or behind <= AT_ONCE:
            return behind
        happened = version_by_time(self.source.sql_journal, account.name, wanted.time_msc, wanted.version)
        return max(0, behind - (wanted.version - happened))

    def made_summary(self, account: Account) -> Summary:
        """Make the summary of an account as it is now. Raises as ``Summaries.make``."""
        self._note(account)
        return self.summaries.make(account)

    def accounts_with_breaks(self) -> list[AccountId]:
        """Return the accounts that have open breaks, or may have: what is recorded last is not known of some."""
        from ledger.journal.sql.overview import with_breaks

        return with_breaks(self.source.sql_journal)

    def status(self, account: Account) -> Json:
        """Return how an account is, as ``ledger status --json`` prints it; of a moment ago while somebody moves a slider."""
        now_us, version = self.now_us(), account.version
        with self._lock:
            known = self._statuses.get(account.name)
        if known is not None and known[0] == version and 0 <= now_us - known[1] < _STATUS_US:
            return known[2]
        row = look(account, now_us).json_row()
        with self._lock:
            self._statuses[account.name] = version, now_us, row
            if len(self._statuses) > WARM_MAX:
                self._statuses.pop(next(iter(self._statuses)))
        return row

    def decisions(self, account: Account, opened: int | None = None) -> Json:
        """Return the policy and the proposals of an account: those that wait, or all about one of its breaks."""
        found, clock = account.approvals, account.terms.clock
        shown = (
            found.pending
            if opened is None
            else [one for one in found.proposals if opened in (one.break_version, one.opened_break)]
        )
        return {
            "proposals": [proposal_json(one, clock) for one in shown],
            "policy": policy_json(found.policy, clock),
        }

    def proposals_pending(self) -> int:
        """Return how many proposals wait for a second person; counted anew where something changed, and now and then."""
        now_us = self.now_us()
        with self._lock:
            known = self._pending
        if known is not None and known[0] == self.changes.number and now_us - known[1] < _PENDING_US:
            return known[2]
        number, count = self.changes.number, len(pending(self.source.reader))
        with self._lock:
            self._pending = number, now_us, count
        return count

    def _note(self, account: Account) -> None:
        """Note that somebody looks at an account, and let go of the one that nobody looked at for the longest time."""
        with self._lock:
            self._warm[account.name] = None
            self._warm.move_to_end(account.name)
            gone = self._warm.popitem(last=False)[0] if len(self._warm) > WARM_MAX else None
        if gone is not None:
            account.ledger.forget(gone)

    def _warm_up(self) -> None:
        """Fold the longest histories, so that nobody waits for them."""
        reader = self.source.reader
        try:
            heads = sorted(reader.journal.heads_here().items(), key=lambda one: -one[1].version)[:_WARMED_MAX]
        except LedgerError as error:
            _logger.warning("no account is folded yet: %s", visible(str(error)))
            return
        for name, head in heads:
            if self._stop.is_set() or head.version <= AT_ONCE:
                return
            try:
                self.current(reader.account(name), _WARM_UP)
            except Unanswered:  # it is under way: one after the other
                self.work.wait(_WARM_UP)
            except LedgerError as error:  # whoever opens the account gets to see it
                _logger.info("%s cannot be folded: %s", name, visible(str(error)))
