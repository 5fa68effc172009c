"""Metrics of the journal: read from it and its tables when somebody asks, only as far as something changed since."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from threading import Lock
from typing import Final

from attrs import evolve, field, frozen
from prometheus_client import Metric

from ledger.approvals import LAPSES_MAX_MIN, ProposalState
from ledger.clock import SECOND_US, ClockRule
from ledger.codec import KINDS
from ledger.derived import breaks_of, halts_of, unknown_orders
from ledger.errors import LedgerError
from ledger.fleet.leases import GatewayState, Leases, is_possible
from ledger.fleet.worker import FleetSettings
from ledger.folds import PORTFOLIO
from ledger.journal.derived import Summary
from ledger.journal.health import SyncHealth
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.overview import fulls, tallies
from ledger.journal.tally import Tally
from ledger.metrics import families as f
from ledger.orders.view import Orders
from ledger.reconcile.policy import DEFAULT
from ledger.safety import Verdict, assess, is_escalated, judge, seen_of, state_of
from ledger.service import Account, Ledger
from ledger.values import AccountId
from ledger.views import Break

#: Above so many accounts only those that are not safe to trade have series of their own.
ACCOUNTS_MAX: Final = 1000
#: From so many accounts that changed on their summaries are read, where they are of the heads.
MANY: Final = 200
#: No proposal waits longer.
PENDING_AT_MOST_US: Final = (LAPSES_MAX_MIN + 1) * 60 * SECOND_US
_NEVER: Final = "never"
_NO_SNAPSHOT: Final = ("degraded", "failed")

_Figures = dict[tuple[str, ...], float]
#: Limit -> 0 ok, 1 near, 2 breached, -1 unknown.
LimitStates = Callable[[Account, int], Mapping[str, int]]
#: Follower -> how many events it is behind.
FollowerLags = Callable[[], Mapping[str, int]]


@frozen(kw_only=True)
class _Folded:
    """What the events of an account come to at a version; nothing of it where they cannot be read."""

    version: int
    positions: int
    unexplained: int
    breaks: tuple[Break, ...]
    opened: tuple[tuple[str, float], ...]  # kind and moment of each break, in UTC seconds
    degraded: str | None
    orders: Orders | None  # None where all else is from the summary, as this is
    summary: Summary | None = None

    def verdict(self, health: SyncHealth | None, now_us: int) -> Verdict:
        """Decide whether it is safe to trade."""
        if self.orders is not None:
            return assess(health, now_us, breaks=self.breaks, degraded=self.degraded, orders=self.orders)
        assert self.summary is not None
        seen = None if health is None else seen_of(health, now_us)
        unknown, halts = unknown_orders(self.summary, now_us // 1000), halts_of(self.summary)
        return judge(seen, self.breaks, degraded=self.degraded, unknown=unknown, halts=halts)


@frozen(kw_only=True)
class _Looked:
    """An account at the moment of a scrape."""

    name: AccountId
    version: int | None
    folded: _Folded | None
    health: SyncHealth | None
    state: str
    is_safe: bool
    limits: Mapping[str, int] = field(factory=dict)

    @property
    def labels(self) -> tuple[str, str]:
        return self.name.server, str(self.name.login)


class JournalMetrics:
    """Collects the metrics of a journal, for a registry of ``prometheus_client``. Safe to use from several threads.

    Args:
        ledger: Of the journal.
        accounts: Returns whose metrics, also of accounts that the journal does not hold yet; all of the journal without it.
        attempts_max: Corrections that did not help, before a break is left to people.
        limits: Returns the states of an account's limits at a moment (UTC, microseconds).
        lags: Returns how far followers are behind.
        late_sec: So long an account of a fleet may have been due.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        accounts: Callable[[], Collection[AccountId]] | None = None,
        attempts_max: int = DEFAULT.attempts_max,
        limits: LimitStates | None = None,
        lags: FollowerLags | None = None,
        late_sec: float = FleetSettings().lease_sec,
    ) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._attempts_max = attempts_max
        self._limits = limits
        self._lags = lags
        self._late_us = round(late_sec * SECOND_US)
        self._lock = Lock()
        self._folded: dict[AccountId, tuple[int, _Folded | None]] = {}
        self._counted: dict[AccountId, int] = {}
        self._tallies: dict[str, Tally] = {}

    def collect(self) -> Iterator[Metric]:
        """Return the families, as they are now.

        Raises:
            JournalError: The journal does not answer: nothing is exported then, as nothing is known.
        """
        with self._lock:
            return iter(list(self._families()))

    # ---- reading

    def _families(self) -> Iterator[Metric]:
        looked = self._look()
        yield f.BUILD_INFO.metric([(_build(), 1)])
        yield from _of_servers(looked)
        yield from self._of_approvals(looked)
        yield from self._of_tallies()
        unsafe_only = len(looked) > ACCOUNTS_MAX
        yield from self._of_accounts([one for one in looked if not (unsafe_only and one.is_safe)])
        yield from self._of_fleet()
        yield from self._of_database()

    def _look(self) -> list[_Looked]:
        journal = self._ledger.journal
        heads = journal.heads_here()
        wanted = heads if self._accounts is None else dict.fromkeys(sorted(self._accounts()))
        found = [(name, heads[name].version if name in heads else None) for name in wanted]
        if any(version < self._counted.get(name, 0) for name, version in found if version is not None):
            self._folded, self._counted, self._tallies = {}, {}, {}  # an older copy replaced the journal
        self._read_summaries([name for name, version in found if version and self._is_new(name, version)])
        for name, version in found:
            if version is not None:
                self._read(name, version)
        for name in self._folded.keys() - wanted.keys():
            del self._folded[name]
        healths, elsewhere = journal.sync_healths(), journal.locations()
        now_us = self._ledger.now_us()
        looked = (self._looked(name, version, healths.get(name), now_us) for name, version in found)
        return [evolve(one, is_safe=False) if one.name in elsewhere else one for one in looked]

    def _is_new(self, name: AccountId, version: int) -> bool:
        known = self._folded.get(name)
        return known is None or known[0] != version

    def _read_summaries(self, names: Sequence[AccountId]) -> None:
        """Read the summaries of many accounts that changed, and count their events, at once: to fold each takes minutes."""
        journal = self._ledger.journal
        if len(names) < MANY or not isinstance(journal, SqlJournal):
            return
        for name, (version, tally) in tallies(journal, [one for one in names if one not in self._counted]).items():
            self._add(name, version, tally)
        for name, full in fulls(journal, names).items():
            one = full.newest
            if one is not None and one.version == self._counted.get(name):
                self._folded[name] = one.version, _of_summary(one)

    def _read(self, name: AccountId, version: int) -> None:
        if not self._is_new(name, version):
            return
        account = self._ledger.account(name)
        try:
            self._folded[name] = version, _folded(account)
            self._count(name, version)
        except Exception as error:  # whatever it is, it is one account's, and hides no other one
            if isinstance(error, LedgerError) and error.retryable:
                raise
            self._folded[name] = version, None

    def _count(self, name: AccountId, version: int) -> None:
        counted = self._counted.get(name, 0)
        if counted < version:
            self._add(name, version, self._ledger.journal.tally(name, after=counted, upto=version))

    def _add(self, name: AccountId, version: int, tally: Tally) -> None:
        self._tallies[name.server] = self._tallies.get(name.server, Tally()) + tally
        self._counted[name] = version

    def _looked(self, name: AccountId, version: int | None, health: SyncHealth | None, now_us: int) -> _Looked:
        folded = self._folded[name][1] if name in self._folded else None
        if folded is None:
            ended = state_of(health, degraded=None) or _NEVER
            return _Looked(name=name, version=version, folded=None, health=health, state=ended.lower(), is_safe=False)
        verdict = folded.verdict(health, now_us)
        ended = state_of(health, degraded=folded.degraded) or _NEVER
        return _Looked(
            name=name, version=version, folded=folded, health=health, state=ended.lower(),
            is_safe=verdict.is_safe, limits=self._limits_of(name, now_us),
        )  # fmt: skip

    def _limits_of(self, name: AccountId, now_us: int) -> Mapping[str, int]:
        try:
            return {} if self._limits is None else self._limits(self._ledger.account(name), now_us)
        except Exception as error:  # limits that cannot be computed are left out, and nothing else
            if isinstance(error, LedgerError) and error.retryable:
                raise
            return {}

    # ---- families

    def _of_accounts(self, looked: list[_Looked]) -> Iterator[Metric]:
        """Yield what is of one account. What is not known of one is left out."""
        folded = [(one, one.folded) for one in looked if one.folded is not None]
        healths = [(one, one.health) for one in looked if one.health is not None]
        yield f.ACCOUNT_VERSION.metric((one.labels, one.version) for one in looked if one.version is not None)
        yield f.SAFE_TO_TRADE.metric((one.labels, one.is_safe) for one in looked)
        yield f.SYNC_DEGRADED.metric((one.labels, one.state in _NO_SNAPSHOT) for one in looked)
        yield f.LAST_ATTEMPT.metric((one.labels, health.seen_us / SECOND_US) for one, health in healths)
        yield f.LAST_SUCCESS.metric(
            (one.labels, health.verified_us / SECOND_US) for one, health in healths if health.verified_us is not None
        )
        yield f.POSITIONS_OPEN.metric((one.labels, known.positions) for one, known in folded)
        yield f.UNEXPLAINED.metric((one.labels, known.unexplained) for one, known in folded)
        yield f.BREAKS_ESCALATED.metric(
            (one.labels, sum(is_escalated(each, self._attempts_max) for each in known.breaks)) for one, known in folded
        )
        open_breaks: Counter[tuple[str, ...]] = Counter()
        oldest: dict[tuple[str, ...], float] = {}
        for one, known in folded:
            for kind, opened in known.opened:
                labels = *one.labels, kind
                open_breaks[labels] += 1
                oldest[labels] = min(opened, oldest.get(labels, opened))
        yield f.BREAKS_OPEN.metric(open_breaks.items())
        yield f.BREAKS_OLDEST.metric(oldest.items())
        if self._limits is not None:
            yield f.LIMIT_STATE.metric(((*one.labels, name), state) for one in looked for name, state in one.limits.items())

    def _of_approvals(self, looked: list[_Looked]) -> Iterator[Metric]:
        """Yield what waits for a second person, by server. Only accounts in which something was proposed lately are read."""
        since_us = self._ledger.now_us() - PENDING_AT_MOST_US
        names = {one.name for one in looked if one.folded is not None}
        waiting: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for name in self._ledger.journal.proposed_since(since_us):
            if name in names:
                waiting[name.server,] += self._proposed(name)
        counts: _Figures = {labels: len(moments) for labels, moments in waiting.items()}
        yield f.counted(f.APPROVALS_PENDING, counts, dict.fromkeys(one.name.server for one in looked))
        yield f.APPROVALS_OLDEST.metric((labels, min(moments)) for labels, moments in waiting.items() if moments)

    def _proposed(self, name: AccountId) -> list[float]:
        """Return when each proposal that waits for approval was made, UTC seconds."""
        account = self._ledger.account(name)
        try:
            pending = [one for one in account.approvals.pending if one.state is ProposalState.PENDING]
            return [account.terms.clock.to_utc_msc(one.time_msc) / 1000 for one in pending]
        except Exception as error:  # as for all else: it is one account's, and hides no other one
            if isinstance(error, LedgerError) and error.retryable:
                raise
            return []

    def _of_tallies(self) -> Iterator[Metric]:
        servers = list(self._tallies)
        kinds: _Figures = {
            (server, kind): count for server, tally in self._tallies.items() for kind, count in tally.kinds.items()
        }
        yield f.counted(f.EVENTS_APPENDED, kinds, servers, KINDS)
        corrections: _Figures = {labels: count for labels, count in kinds.items() if labels[1] in f.CORRECTION_KINDS}
        yield f.counted(f.CORRECTIONS, corrections, servers, f.CORRECTION_KINDS)
        opened: _Figures = {
            (server, kind): count for server, one in self._tallies.items() for kind, count in one.opened.items()
        }
        yield f.counted(f.BREAKS_OPENED, opened, servers, f.BREAK_KINDS)
        closed: _Figures = {
            (server, *ended): count for server, one in self._tallies.items() for ended, count in one.closed.items()
        }
        yield f.counted(f.BREAKS_CLOSED, closed, servers, f.BREAK_KINDS, f.BREAK_ENDS)

    def _of_fleet(self) -> Iterator[Metric]:
        """Yield how the accounts are that workers sync, without samples where there are none."""
        journal = self._ledger.journal
        found = Leases(journal).state(late_us=self._late_us) if is_possible(journal) else None
        gateways = [] if found is None else found.gateways
        accounts, answers = _fleet_counts(gateways)
        yield f.FLEET_ACCOUNTS.metric(accounts.items() if gateways else [])
        yield f.FLEET_GATEWAYS.metric(answers.items() if gateways else [])
        yield f.FLEET_LATE.metric([((), sum(one.late for one in gateways))] if gateways else [])
        yield f.FLEET_LOSSES.metric([((), sum(one.losses for one in gateways))] if gateways else [])
        oldest_us = min((one.oldest_due_us for one in gateways if one.oldest_due_us is not None), default=None)
        is_waiting = found is not None and oldest_us is not None and oldest_us <= found.now_us
        yield f.FLEET_OLDEST.metric([((), oldest_us / SECOND_US)] if is_waiting and oldest_us is not None else [])

    def _of_database(self) -> Iterator[Metric]:
        journal = self._ledger.journal
        size = journal.size_bytes()
        yield f.JOURNAL_SIZE.metric([] if size is None else [((), size)])
        free = []
        if (file := journal.file()) is not None:
            with suppress(OSError):  # what is not known is not exported
                free = [((), shutil.disk_usage(file.parent).free)]
        yield f.JOURNAL_FREE.metric(free)
        if self._lags is not None:
            yield f.FOLLOWER_LAG.metric(((name,), lag) for name, lag in self._lags().items())


def _folded(account: Account) -> _Folded:
    version, portfolio, orders = account.current_with_orders()
    to_utc_msc = portfolio.terms.clock.to_utc_msc
    return _Folded(
        version=version,
        positions=len(portfolio.positions),
        unexplained=len(portfolio.unexplained),
        breaks=portfolio.breaks,
        opened=tuple((one.kind.value, to_utc_msc(one.opened_msc) / 1000) for one in portfolio.breaks),
        degraded=None if portfolio.degraded is None else portfolio.degraded.reason,
        orders=orders,
    )


def _of_summary(one: Summary) -> _Folded:
    breaks, to_utc_msc = breaks_of(one), ClockRule(one.clock).to_utc_msc
    return _Folded(
        version=one.version,
        positions=one.positions,
        unexplained=one.unexplained,
        breaks=breaks,
        opened=tuple((each.kind.value, to_utc_msc(each.opened_msc) / 1000) for each in breaks),
        degraded=one.degraded_reason,
        orders=None,
        summary=one,
    )


def _of_servers(looked: list[_Looked]) -> Iterator[Metric]:
    """Yield what is counted of a server's accounts, always of all of them."""
    states: dict[tuple[str, ...], float] = defaultdict(float)
    unsafe: dict[tuple[str, ...], float] = defaultdict(float)
    for one in looked:
        states[one.name.server, one.state] += 1
        unsafe[one.name.server,] += not one.is_safe
    servers = {one.name.server: None for one in looked}
    yield f.counted(f.ACCOUNTS, states, servers, f.STATES)
    yield f.counted(f.ACCOUNTS_UNSAFE, unsafe, servers)


def _fleet_counts(gateways: Sequence[GatewayState]) -> tuple[_Figures, _Figures]:
    """Return the accounts of a fleet by state, and its gateways by whether they answer."""
    accounts, answers = f.zeros(f.FLEET_STATES), f.zeros(f.GATEWAY_STATES)
    for one in gateways:
        waiting = one.accounts - one.due - one.held - one.stopped
        for state, count in zip(f.FLEET_STATES, (waiting, one.due, one.held, one.stopped), strict=True):
            accounts[(state,)] += max(0, count)
        answers["backing_off" if one.retry_us is not None else "failing" if one.failures else "answers",] += 1
    return accounts, answers


def _build() -> tuple[str, str, str]:
    """Return the versions of program, schema and fold."""
    from ledger.journal.sql.words import REVISION

    return metadata.version("mt5-position-ledger"), REVISION, PORTFOLIO.code(None)
