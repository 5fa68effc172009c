"""Metrics of this process: syncs, appends and requests to gateways, from the moment when it is measured.

Measuring replaces methods of the objects that are measured, so that whoever is not measured runs the same code as without this
module, and no gateway needs to know of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import wraps
from typing import Any, Final

from prometheus_client import Counter, Histogram, Metric

from ledger.errors import (
    DealConflict,
    GatewayDenied,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    JournalError,
    LedgerError,
    SnapshotRefused,
    VersionConflict,
)
from ledger.gateway import Gateway
from ledger.journal import Appended, Journal
from ledger.metrics import families as f
from ledger.protocol import messages as m
from ledger.reconciler import StateReconciler, SyncResult
from ledger.text import visible
from ledger.values import AccountId

#: What a gateway is asked for -> its name in the protocol.
ACTIONS: Final = {
    "positions": m.GetPositions.action, "positions_of": m.GetPositions.action, "account": m.GetAccount.action,
    "deals": m.GetDeals.action, "symbols": m.GetSymbols.action, "ping": m.Ping.action, "order_send": m.SendOrder.action,
    "order_status": m.AskOrderStatus.action, "active_orders": m.GetOrders.action,
    "order_history": m.GetOrderHistory.action, "tick": m.GetTick.action, "order_check": m.CheckOrder.action,
}  # fmt: skip
OK: Final = "ok"
OTHER: Final = "other"
_RESULTS: Final[dict[type[Exception], str]] = {
    GatewayTimeout: "timeout", GatewayUnavailable: "unavailable", GatewayDenied: "denied", GatewayRefused: "refused",
    SnapshotRefused: "unreadable",
}  # fmt: skip
RESULTS: Final = (OK, *_RESULTS.values(), OTHER)
#: The errors of a journal: each that an append can end with. Another writer who was faster is none.
ERRORS: Final = (
    *sorted(one.__name__ for one in JournalError.__subclasses__() if one is not VersionConflict), JournalError.__name__, OTHER,
)  # fmt: skip


class ProcessMetrics:
    """Collects what is measured, for a registry of ``prometheus_client``. Safe to use from several threads.

    Args:
        accounts: Returns whose syncs are counted: their series are there before the first.
        clock_skews: Returns server -> how far its clock is ahead of ours, in seconds.
        monotonic: Seconds that only rise.
    """

    def __init__(
        self,
        *,
        accounts: Callable[[], Collection[AccountId]] = tuple,
        clock_skews: Callable[[], Mapping[str, float]] = dict,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._accounts = accounts
        self._clock_skews = clock_skews
        self._monotonic = monotonic
        self._syncs = _counter(f.SYNCS)
        self._conflicts = _counter(f.DEAL_CONFLICTS)
        self._errors = _counter(f.APPEND_ERRORS)
        self._requests = _counter(f.REQUESTS)
        self._appends = _histogram(f.APPEND_DURATION)
        self._durations = _histogram(f.SYNC_DURATION)
        self._answers = _histogram(f.REQUEST_DURATION)
        for error in ERRORS:
            self._errors.labels(error)

    def collect(self) -> Iterator[Metric]:
        """Yield the families, as they are now."""
        accounts = self._accounts()
        for one in accounts:
            for status in f.STATUSES:
                self._syncs.labels(visible(one.server), str(one.login), status)
        for server in {one.server: None for one in accounts}:
            self._conflicts.labels(visible(server))
            self._appends.labels(visible(server))
            self._durations.labels(visible(server))
        yield f.CLOCK_SKEW.metric(((server,), skew) for server, skew in self._clock_skews().items())
        for each in (self._syncs, self._conflicts, self._errors, self._requests, self._appends, self._durations, self._answers):
            yield from each.collect()

    # ---- measuring

    def synced(self, result: SyncResult, seconds: float | None) -> None:
        """Count a sync that ended, and how long it took if that is known."""
        self._syncs.labels(visible(result.account.server), str(result.account.login), result.status.value).inc()
        if seconds is not None:
            self._durations.labels(visible(result.account.server)).observe(seconds)

    def measure_journal(self, journal: Journal) -> None:
        """Measure the appends of a journal from now on."""
        append = journal.append

        @wraps(append)
        def measured(account: AccountId, *words: Any, **how: Any) -> Appended:
            start = self._monotonic()
            try:
                appended = append(account, *words, **how)
            except DealConflict:
                self._conflicted(account, 1)
                raise
            except Exception as error:
                self._failed(error)
                raise
            self._appends.labels(visible(account.server)).observe(self._monotonic() - start)
            self._conflicted(account, sum(isinstance(one, DealConflict) for one in appended.outcomes))
            return appended

        _replace(journal, "append", measured)

    def measure_gateway(self, gateway: Gateway, server: str) -> None:
        """Measure the requests to a gateway of a server's account from now on."""
        for name, action in ACTIONS.items():
            ask = getattr(gateway, name, None)
            if ask is not None:
                for result in RESULTS:
                    self._requests.labels(visible(server), action, result)
                _replace(gateway, name, self._measured(ask, server, action))

    def measured(self, reconciler: StateReconciler) -> StateReconciler:
        """Measure the gateway of a reconciler, and return the reconciler."""
        self.measure_gateway(reconciler.gateway, reconciler.account.name.server)
        return reconciler

    def _measured(self, ask: Callable[..., Any], server: str, action: str) -> Callable[..., Any]:
        @wraps(ask)
        def measured(*words: Any, **how: Any) -> Any:
            start, result = self._monotonic(), OTHER
            try:
                answer = ask(*words, **how)
            except LedgerError as error:
                result = next((word for kind, word in _RESULTS.items() if isinstance(error, kind)), OTHER)
                raise
            else:
                result = OK
                return answer
            finally:
                self._requests.labels(visible(server), action, result).inc()
                self._answers.labels(visible(server), action).observe(self._monotonic() - start)

        return measured

    def _conflicted(self, account: AccountId, conflicts: int) -> None:
        self._conflicts.labels(visible(account.server)).inc(conflicts)

    def _failed(self, error: Exception) -> None:
        """Count an append that the journal failed. What the ledger's rules refuse, or a faster writer, is no failure of it."""
        if isinstance(error, LedgerError) and (not isinstance(error, JournalError) or isinstance(error, VersionConflict)):
            return
        name = type(error).__name__
        self._errors.labels(name if name in ERRORS else OTHER).inc()


def _counter(family: f.Family) -> Counter:
    return Counter(f.PREFIX + family.name, family.help, family.labels, registry=None)


def _histogram(family: f.Family) -> Histogram:
    return Histogram(f.PREFIX + family.name, family.help, family.labels, registry=None, buckets=f.BUCKETS)


def _replace(of: object, name: str, method: Callable[..., Any]) -> None:
    """Replace a method of one object."""
    object.__setattr__(of, name, method)
