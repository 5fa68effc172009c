"""The daemon: syncs several accounts, each in a thread of its own, so that no failure of one ends another.

A worker that dies is restarted, later each time, and named. The watchdog is fed only while every account was attempted
recently, so that one that hangs is noticed by whoever watches the process.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from enum import Enum
from threading import Event, Lock, Thread
from typing import Final, Protocol

from attrs import define, field, frozen

from ledger.errors import GatewayError, LedgerError
from ledger.reconciler import StateReconciler, SyncResult
from ledger.systemd import SystemdNotifier
from ledger.text import visible
from ledger.values import AccountId

#: How often workers and the supervisor look around, in seconds.
_LISTEN_SEC: Final = 0.2
#: The longest pause before a worker is restarted. Shorter than what counts as recent, so that restarting is attempting.
_PAUSE_MAX_SEC: Final = 30.0
#: What counts as recent: so many intervals, and so many seconds at least.
_INTERVALS_RECENT: Final = 3
_RECENT_SEC: Final = 60.0


class Log(Protocol):
    """Takes what happens: a level (info, warning, error), a word for it, and fields."""

    def __call__(self, level: str, event: str, **fields: object) -> None:
        """Write it down."""
        ...


class End(Enum):
    """Why the daemon ended."""

    STOPPED = "stopped"
    RELOAD = "reload"


@frozen(kw_only=True)
class Job:
    """An account to keep in agreement.

    Attributes:
        name: The account, or its gateway where it is not known yet.
        interval_sec: Between two syncs.
        open: Returns its reconciler; called in the worker's thread, again after it died. What it raises is reported.
        account: The account, where it is known.
    """

    name: str
    interval_sec: float
    open: Callable[[], StateReconciler]
    account: AccountId | None = None


@define
class Worker:
    """One account under way.

    Attributes:
        job: What it is to do.
        account: Which it is, as soon as that is known.
        reconciler: Of the account, once it could be opened.
        attempted_at: When the last attempt began, appended something or ended; seconds that only rise.
        attempts: How many ended, whatever way.
        status: How the last one ended, in words.
    """

    job: Job
    attempted_at: float
    account: AccountId | None = None
    reconciler: StateReconciler | None = None
    attempts: int = 0
    status: str = "not attempted"
    failures: int = 0
    thread: Thread | None = field(default=None, repr=False)


class Daemon:
    """Workers for some accounts, from ``run`` until a signal.

    Args:
        jobs: The accounts.
        log: Takes what happens.
        notifier: Receives the daemon's state.
        on_result: Called with every result, from the worker's thread.
        monotonic: Seconds that only rise.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        log: Log,
        notifier: SystemdNotifier,
        on_result: Callable[[Daemon, SyncResult], object] = lambda *_: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._notifier = notifier
        self._on_result = on_result
        self._monotonic = monotonic
        self._stopping = Event()
        self._is_ready = False
        self._ready_lock = Lock()
        self.workers = [Worker(job, monotonic(), job.account) for job in jobs]

    @property
    def reconcilers(self) -> list[StateReconciler]:
        """Those of the accounts that could be opened."""
        return [worker.reconciler for worker in self.workers if worker.reconciler is not None]

    @property
    def accounts(self) -> list[AccountId]:
        """The accounts that are known: named, or once opened. One whose worker failed is still among them."""
        return [worker.account for worker in self.workers if worker.account is not None]

    def run(self, stopping: Event, reloading: Callable[[], bool] = lambda: False) -> End:
        """Sync until ``stopping`` is set or ``reloading`` is set; what is under way is finished first.

        Args:
            stopping: Is set by a signal.
            reloading: Asked now and then in this thread; whether to end in order to begin anew with other settings.
        """
        for worker in self.workers:
            self._start(worker)
        self._log("info", "watching", accounts=[worker.job.name for worker in self.workers])
        end = End.STOPPED
        while not stopping.wait(_LISTEN_SEC):
            if reloading():
                end = End.RELOAD
                break
            self._supervise()
        if end is End.STOPPED:
            self._notifier.send("STOPPING=1")
        self._stop()
        return end

    def is_attempting(self) -> bool:
        """Return whether every account was attempted recently."""
        now = self._monotonic()
        return all(now - worker.attempted_at <= _recent_sec(worker.job) for worker in self.workers)

    def _supervise(self) -> None:
        for worker in self.workers:
            if worker.thread is not None and not worker.thread.is_alive():  # nothing that it catches ended it
                self._log("error", "worker died", account=worker.job.name)
                self._start(worker)
        if self.is_attempting():
            self._notifier.alive()

    def _start(self, worker: Worker) -> None:
        worker.thread = Thread(target=self._keep, args=(worker,), name=f"ledger-sync {worker.job.name}", daemon=True)
        worker.thread.start()

    def _stop(self) -> None:
        self._stopping.set()
        for worker in self.workers:
            if worker.thread is not None:
                worker.thread.join()
            if worker.reconciler is not None:
                worker.reconciler.unfollow()
                worker.reconciler.gateway.close()

    # ---- in a worker's thread

    def _keep(self, worker: Worker) -> None:
        """Keep one account in agreement until the daemon stops, whatever goes wrong with it."""
        while not self._stopping.is_set():
            try:
                self._work(worker)
            except GatewayError as error:
                self._failed(worker, "unreachable", error, worker.job.interval_sec if error.retryable else None)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is one account's: the others go on
                self._failed(worker, "worker ended", error, None)

    def _work(self, worker: Worker) -> None:
        """Sync one account until the daemon stops: with all snapshots it needs at first, then whenever it is due."""
        self._beat(worker)
        if worker.reconciler is None:
            worker.reconciler = worker.job.open()
            worker.account = worker.reconciler.account.name
            worker.reconciler.listen(lambda _: self._beat(worker))
            worker.reconciler.follow()
        one = worker.reconciler
        result: SyncResult | None = one.startup_recovery() if not worker.attempts or worker.failures else one.sync_continuous()
        while True:
            if result is not None:
                worker.failures = 0
                self._ended(worker, result.status.value)
                self._on_result(self, result)
            one.wait(min(_LISTEN_SEC, one.sync_interval_sec))
            if self._stopping.is_set():
                return
            if one.is_due:
                self._beat(worker)
            result = one.sync_continuous()

    def _failed(self, worker: Worker, event: str, error: Exception, pause_sec: float | None) -> None:
        """Report what ended a worker, let go of what it had, and wait before it begins anew."""
        worker.failures += 1
        if pause_sec is None:
            pause_sec = min(_PAUSE_MAX_SEC, worker.job.interval_sec * 2 ** min(worker.failures - 1, 20))
        pause_sec = min(pause_sec, _PAUSE_MAX_SEC)
        fields: dict[str, object] = {"account": worker.job.name, "reason": visible(str(error)), "restart_sec": pause_sec}
        if not isinstance(error, LedgerError):
            fields |= {"reason": f"{type(error).__name__}: {visible(str(error))}", "traceback": traceback.format_exc()}
        self._log("error", event, **fields)
        if worker.reconciler is not None:
            worker.reconciler.unfollow()
            worker.reconciler.gateway.close()
            worker.reconciler = None
        self._ended(worker, event)
        self._stopping.wait(pause_sec)

    def _beat(self, worker: Worker) -> None:
        worker.attempted_at = self._monotonic()

    def _ended(self, worker: Worker, status: str) -> None:
        """Note how an attempt ended, and let systemd know: that all is ready, once every account was attempted."""
        self._beat(worker)
        worker.attempts += 1
        worker.status = status
        states = "; ".join(f"{visible(one.job.name)}: {one.status}" for one in self.workers)
        with self._ready_lock:
            ready = not self._is_ready and all(one.attempts for one in self.workers)
            self._is_ready = self._is_ready or ready
            self._notifier.send(("READY=1\n" if ready else "") + f"STATUS={states[:_STATUS_MAX]}")


_STATUS_MAX: Final = 1000


def _recent_sec(job: Job) -> float:
    return max(_RECENT_SEC, _INTERVALS_RECENT * job.interval_sec)
