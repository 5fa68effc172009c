"""The overview: all accounts with their sync health and figures, unsafe ones first, a hundred a page.

It reads summaries and sync health, not events. A summary that is behind is made anew here, as long as that is quick; where it
is not, the row has the figures that are known, and by how many events they are behind.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from ledger.account_status import AccountStatus, look, status_of_summary, verdict_of_summary
from ledger.clock import utc_text, utc_text_us
from ledger.derived import breaks_of
from ledger.derived.rows import show_orders, summary_row
from ledger.errors import LedgerError
from ledger.journal.derived import Summary
from ledger.journal.health import SyncHealth
from ledger.json_views import Json, name_json
from ledger.page.answers import not_found
from ledger.page.work import AT_ONCE
from ledger.safety import INTERVALS_MAX, Danger, Verdict, judge, seen_of
from ledger.service import Account
from ledger.values import AccountId, plain, unscaled

if TYPE_CHECKING:
    from ledger.journal.sql.overview import Brief, Full
    from ledger.page.desk import Desk
    from ledger.page.endpoints import Call

ROWS: Final = 100
SORTS: Final = ("safety", "account", "age", "positions", "event")
STATES: Final = ("all", "unsafe", "safe", "broken", "degraded", "stale", "never", "success", "partial", "failed")
#: So many events are folded for one page of rows, beyond those that are folded already.
_FOLDED_MAX: Final = AT_ONCE
_MADE_MAX: Final = 1000
#: So long summaries are made for one page, in seconds of the processor: the rest is there when somebody looks again.
_MADE_SEC: Final = 0.4
_INF: Final = float("inf")


@frozen(kw_only=True)
class _Judged:
    """An account with what an overview counts it as."""

    brief: Brief
    danger: Danger
    is_never: bool
    full: Full | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The states that it is in."""
        if self.danger is Danger.NONE:
            return "safe", (self.brief.status or "").lower()
        kind = "never" if self.is_never else _WORDS[self.danger]
        return "unsafe", kind, (self.brief.status or "").lower()


_WORDS: Final = {Danger.NONE: "safe", Danger.BREAK: "broken", Danger.DEGRADED: "degraded", Danger.STALE: "stale"}
_CERTAIN: Final = {1: Danger.NONE, 2: Danger.STALE}
_RANKS: Final = {Danger.BREAK: 0, Danger.DEGRADED: 1, Danger.STALE: 2, Danger.NONE: 3}
_TOTALS: Final = {"safe": "safe", "broken": "unsafe", "degraded": "degraded", "stale": "stale", "never": "never"}


class Summaries:
    """Summaries that are made here, where the derived tables are behind. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[AccountId, tuple[int, Summary]] = OrderedDict()

    def get(self, name: AccountId, version: int) -> Summary | None:
        """Return what was made for a version, None where it was not."""
        with self._lock:
            found = self._made.get(name)
        return found[1] if found is not None and found[0] == version else None

    def make(self, account: Account) -> Summary:
        """Make the summary of an account as it is now.

        Raises:
            LedgerError: It cannot be read.
        """
        head = account.journal_head
        version, portfolio, orders = account.current_with_orders()
        made = summary_row(portfolio, show_orders(version, orders), chain=head.hash, recorded_us=head.recorded_us)
        with self._lock:
            self._made[account.name] = version, made
            self._made.move_to_end(account.name)
            while len(self._made) > _MADE_MAX:
                self._made.popitem(last=False)
        return made


def overview(call: Call) -> Json:
    """Return the overview: totals of all accounts, servers, and a page of rows."""
    desk, asked = call.desk, call.query
    now_us = desk.now_us()
    book = _Book(desk, now_us)
    every = book.judged()
    shown = [one for one in every if _is_wanted(one, asked)]
    shown.sort(key=_KEYS[asked["sort"]])
    pages = max(1, -(-len(shown) // ROWS))
    page = asked["page"]
    if page > pages:
        there = "there is 1 page" if pages == 1 else f"there are {pages} pages"
        raise not_found(f"{there}, and page {page} was asked for: choose one that is there")
    rows = book.rows(shown[(page - 1) * ROWS : page * ROWS])
    return {
        "totals": _totals(every, desk),
        "servers": sorted({one.brief.name.server for one in every}),
        "rows": rows,
        "found": len(shown),
        "page": page,
        "pages": pages,
        "as_of": utc_text_us(now_us),
    }


def _is_wanted(one: _Judged, asked: Any) -> bool:
    name = one.brief.name
    return (
        (asked["server"] is None or name.server == asked["server"])
        and (asked["state"] == "all" or asked["state"] in one.words)
        and (asked["q"] is None or asked["q"].casefold() in str(name).casefold())
    )


def _account_key(one: _Judged) -> tuple[Any, ...]:
    return one.brief.name.server, one.brief.name.login


def _safety_key(one: _Judged) -> tuple[Any, ...]:
    oldest = one.brief.breaks_oldest_utc_msc
    return _RANKS[one.danger], one.is_never, _INF if oldest is None else oldest, *_account_key(one)


def _newest_last(value: int | None) -> float:
    return -_INF if value is None else value


_KEYS: Final[dict[str, Callable[[_Judged], tuple[Any, ...]]]] = {
    "safety": _safety_key,
    "account": _account_key,
    "age": lambda one: (_newest_last(one.brief.verified_us), *_account_key(one)),
    "positions": lambda one: (-(one.brief.positions or 0), *_account_key(one)),
    "event": lambda one: (-_newest_last(one.brief.last_event_utc_msc), *_account_key(one)),
}


def _totals(every: Sequence[_Judged], desk: Desk) -> Json:
    counts = dict.fromkeys(_TOTALS.values(), 0)
    for one in every:
        counts[_TOTALS["never" if one.is_never else _WORDS[one.danger]]] += 1
    oldest = [msc for one in every if (msc := one.brief.breaks_oldest_utc_msc) is not None]
    return {
        "accounts": len(every),
        **counts,
        "oldest_break_at": utc_text(min(oldest)) if oldest else None,
        "proposals": desk.proposals_pending(),
    }


class _Book:
    """The accounts of a journal at one moment, looked at as closely as is needed.

    Args:
        desk: Where they are.
        now_us: The moment, UTC microseconds.
    """

    def __init__(self, desk: Desk, now_us: int) -> None:
        self._desk = desk
        self._now_us = now_us
        self._journal = desk.source.sql_journal
        self._budget = _FOLDED_MAX
        self._proposed: frozenset[AccountId] | None = None
        self._began = time.thread_time()

    def judged(self) -> list[_Judged]:
        """Return all accounts with what they count as."""
        from ledger.journal.sql.overview import DOUBTFUL, briefs, fulls

        every = briefs(self._journal, self._now_us, intervals_max=INTERVALS_MAX)
        doubtful = fulls(self._journal, [one.name for one in every if one.certainty == DOUBTFUL])
        return [self._judge(one, doubtful.get(one.name)) for one in every]

    def _judge(self, brief: Brief, full: Full | None) -> _Judged:
        """Return what an account counts as: by as little as decides it."""
        if full is None:
            danger = _CERTAIN.get(brief.certainty, Danger.STALE)
            return _Judged(brief=brief, danger=danger, is_never=brief.status is None)
        seen = None if full.health is None else seen_of(full.health, self._now_us)
        stored = full.newest
        if stored is not None:
            early = judge(seen, (), degraded=stored.degraded_reason)  # breaks and orders change nothing about it
            verdict = verdict_of_summary(stored, seen, self._now_us) if early.is_safe else early
            return _Judged(brief=brief, danger=verdict.danger, is_never=full.health is None, full=full)
        status, summary = self._status(brief.name, full)
        if summary is not None:  # what was made here is newer than the columns
            brief = brief._replace(
                positions=summary.positions, last_event_utc_msc=summary.last_event_utc_msc,
                breaks_oldest_utc_msc=summary.breaks_oldest_utc_msc,
            )  # fmt: skip
        return _Judged(brief=brief, danger=status.verdict.danger, is_never=full.health is None, full=full)

    def rows(self, shown: Sequence[_Judged]) -> list[Json]:
        """Return the rows of some accounts."""
        from ledger.journal.sql.overview import fulls

        missing = fulls(self._journal, [one.brief.name for one in shown if one.full is None])
        return [self._row(one.brief.name, one.full or missing.get(one.brief.name)) for one in shown]

    def _row(self, name: AccountId, full: Full | None) -> Json:
        if full is None:  # it cannot be deleted: what is there is damaged
            raise not_found(f"account {name} cannot be read: ledger verify")
        status, summary = self._status(name, full, is_shown=True)
        behind = full.version - (0 if summary is None else summary.version)
        if status.open_breaks is not None:
            status = evolve(status, proposals=self._waiting(name))
        return status.json_row() | {
            "name": str(name),
            "version": full.version,
            "behind": max(0, behind),
            "summary": None if summary is None else _summary_json(summary, self._now_us),
            "summary_reason": None
            if summary is not None
            else "its figures are not made yet: ledger derive, or open the account",
        }

    def _status(self, name: AccountId, full: Full, *, is_shown: bool = False) -> tuple[AccountStatus, Summary | None]:
        """Return how an account is, and the summary that this rests on.

        A summary that is behind is made anew where it matters: where the row is shown, or where nothing else is in the way.
        """
        health = full.health
        seen = None if health is None else seen_of(health, self._now_us)
        account = Account(self._desk.source.reader, name)  # not remembered: there may be very many
        if not full.is_here:
            return look(account, self._now_us), None
        stored = full.summary
        if stored is not None and full.newest is not None:
            return status_of_summary(account, stored, health, self._now_us), stored
        made = self._desk.summaries.get(name, full.version)
        early = judge(seen, ())
        if made is None and (is_shown or early.is_safe):
            made = self._made(self._desk.source.reader.account(name), full)
        if made is not None:
            return status_of_summary(account, made, health, self._now_us), made
        if stored is not None:
            known = status_of_summary(account, stored, health, self._now_us)
            return (_as_unknown(known, full.version - stored.version) if known.verdict.is_safe else known), stored
        return _nothing_known(name, health, early, self._now_us), None

    def _waiting(self, name: AccountId) -> int:
        """Return how many proposals wait; of most accounts none was ever made."""
        if self._proposed is None:
            self._proposed = frozenset(self._journal.proposed_since(0))
        return len(self._desk.source.reader.account(name).approvals.pending) if name in self._proposed else 0

    def _made(self, account: Account, full: Full) -> Summary | None:
        known = account.folded_version
        cost = full.version - known if known else self._desk.cost_of(account)
        if cost > self._budget or time.thread_time() - self._began > _MADE_SEC:
            return None
        self._budget -= cost
        try:
            return self._desk.made_summary(account)
        except LedgerError as error:
            if error.retryable:
                raise
            return None


def _as_unknown(known: AccountStatus, behind: int) -> AccountStatus:
    why = f"what was recorded last is not known here yet: the figures are {behind} events behind (ledger derive)"
    return evolve(known, verdict=Verdict(danger=Danger.BREAK, why=why))


def _nothing_known(name: AccountId, health: SyncHealth | None, early: Verdict, now_us: int) -> AccountStatus:
    verdict = early
    if early.is_safe:
        verdict = Verdict(danger=Danger.BREAK, why="what is recorded of it is not known here yet: ledger derive")
    seen = None if health is None else seen_of(health, now_us)
    return AccountStatus(name=name, account=name_json(name), health=health, seen=seen, verdict=verdict, now_us=now_us)


def _summary_json(summary: Summary, now_us: int) -> Json:
    """The figures of an account, as of the version that they rest on."""
    money = [plain(unscaled(one, summary.scale), decimals=summary.digits) for one in (summary.balance, summary.credit)]
    return {
        "version": summary.version,
        "balance": money[0],
        "credit": money[1],
        "currency": summary.currency,
        "clock": summary.clock,
        "positions": summary.positions,
        "unexplained": summary.unexplained,
        "deals_incomplete": summary.incomplete,
        "breaks": _counted(one.kind.value for one in breaks_of(summary)),
        "oldest_break_at": None if summary.breaks_oldest_utc_msc is None else utc_text(summary.breaks_oldest_utc_msc),
        "oldest_break_age_sec": None
        if summary.breaks_oldest_utc_msc is None
        else max(0, now_us // 1_000_000 - summary.breaks_oldest_utc_msc // 1000),
        "last_event_at": None if summary.last_event_utc_msc is None else utc_text(summary.last_event_utc_msc),
        "recorded_at": utc_text_us(summary.recorded_us),
    }


def _counted(kinds: Iterable[str]) -> Json:
    found: Json = {}
    for kind in kinds:
        found[kind] = found.get(kind, 0) + 1
    return found
