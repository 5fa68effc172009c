"""One worker of a fleet: claims accounts that are due, syncs them in some threads, and gives their leases back.

What it syncs stays in memory, up to a number of accounts; those it is preferred for. Its main thread alone claims and gives
back, a second one renews what is being synced. A sync whose lease may have lapsed ends at the gateway's next answer; what it
has decided by then is refused where another worker was faster, by the version that it rests on.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock, Thread
from typing import Final, Protocol
from uuid import uuid4

from attrs import define, frozen

from ledger.clock import SECOND_US
from ledger.errors import JournalError, LeaseLost, LedgerError
from ledger.fleet.leases import Ended, Lease, Leases
from ledger.gateway.pool import AccountGateway
from ledger.reconciler import StateReconciler, SyncResult, SyncStatus
from ledger.service import Ledger
from ledger.systemd import SystemdNotifier
from ledger.text import visible
from ledger.values import AccountId

#: What ends is given back together, so that a hundred syncs a second are a few statements.
_TOGETHER_SEC: Final = 0.02
_AWAY_SEC: Final = 0.5
#: A lease is renewed so many times before it would lapse.
_RENEWALS: Final = 3
#: How a sync ends after which the account counts as synced.
_GOOD: Final = (SyncStatus.SUCCESS, SyncStatus.PARTIAL)


@frozen(kw_only=True)
class FleetSettings:
    """How a worker works.

    Attributes:
        lease_sec: How long a lease lasts that is not renewed: how long the accounts of a worker that was killed wait.
        grace_sec: How long an account that is due is left to the worker that has it in memory.
        threads: So many syncs at once.
        warm_accounts: So many accounts stay in memory.
        poll_sec: How often to look for accounts that are due, where none was.
    """

    lease_sec: float = 30.0
    grace_sec: float = 2.0
    threads: int = 8
    warm_accounts: int = 2_500
    poll_sec: float = 0.2


class Log(Protocol):
    """Takes what happens: a level (info, warning, error), a word for it, and fields."""

    def __call__(self, level: str, event: str, **fields: object) -> None:
        """Write it down."""
        ...


#: Makes the reconciler of an account, and the gateway that it has.
Connect = Callable[[Lease, Callable[[], object]], tuple[StateReconciler, AccountGateway]]


@define(eq=False)
class Held:
    """A lease that this worker has, and until when it certainly does, by the clock of this process that only rises."""

    lease: Lease
    until: float
    monotonic: Callable[[], float] = time.monotonic
    is_lost: bool = False

    def check(self) -> None:
        """Refuse to go on where another worker may have the lease.

        Raises:
            LeaseLost: It may.
        """
        if self.is_lost or self.monotonic() >= self.until:
            raise LeaseLost(
                f"{self.lease.account}: expected to have its lease until the sync ends, found that it lapsed: this process was "
                "paused, or the journal was away. This sync ends and appends nothing more. Whoever has the lease now syncs the "
                "account, and nothing has to be done"
            )


@define(eq=False)
class Warm:
    """An account in memory; ``failures`` is how many of its last syncs did not reach the journal or the gateway.

    ``server_key`` is the file of the gateway's key, as its lease had it.
    """

    reconciler: StateReconciler
    gateway: AccountGateway
    server_key: str | None
    failures: int = 0


class Worker:
    """Syncs accounts of a fleet from ``run`` until it is stopped.

    Args:
        ledger: Of the journal.
        connect: Makes reconcilers.
        settings: How it works.
        log: Takes what happens.
        notifier: Receives its state.
        on_result: Called with every result, from the thread that syncs.
        name: What it is called in leases; no two workers have the same.

    Raises:
        BadValue: The journal can have no fleet.
    """

    def __init__(
        self,
        ledger: Ledger,
        connect: Connect,
        *,
        settings: FleetSettings,
        log: Log,
        notifier: SystemdNotifier,
        on_result: Callable[[SyncResult], object] = lambda _: None,
        name: str | None = None,
    ) -> None:
        self.name = name or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._ledger = ledger
        self._leases = Leases(ledger.journal)
        self._connect = connect
        self._settings = settings
        self._log = log
        self._notifier = notifier
        self._on_result = on_result
        self._lease_us = round(settings.lease_sec * SECOND_US)
        self._grace_us = round(settings.grace_sec * SECOND_US)
        self._lock = Lock()
        self._held: dict[AccountId, Held] = {}
        self._ended: list[Ended] = []
        self._warm: OrderedDict[AccountId, Warm] = OrderedDict()
        self._cold: list[AccountId] = []
        self._changed = Event()
        self._renewing = Event()
        self._is_away = False
        self._is_ready = False

    def run(self, stopping: Event, *, is_orphan: Callable[[], bool] = bool) -> None:
        """Sync until ``stopping`` is set, or whoever started it is gone.

        What is under way is finished then, and all leases are given back.

        Raises:
            JournalNewer: The journal was migrated by a newer program.
            LedgerError: Something else is wrong that waiting does not mend.
        """
        threads = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="ledger-fleet")
        renewing = Thread(target=self._renew, name="ledger-leases", daemon=True)
        renewing.start()
        self._log("info", "worker", name=self.name, threads=self._settings.threads, warm=self._settings.warm_accounts)
        try:
            while not stopping.is_set() and not is_orphan():
                self._turn(threads, stopping)
            self._notifier.send("STOPPING=1")
        finally:
            threads.shutdown(cancel_futures=True)  # waits for what began
            self._renewing.set()
            renewing.join()
            self._leave()
        self._log("info", "stopped", name=self.name)

    # ---- the main thread

    def _turn(self, threads: ThreadPoolExecutor, stopping: Event) -> None:
        """Give back what ended, claim what is due, and wait until there is more to do."""
        self._changed.clear()
        try:
            self._give_back()
            claimed = self._claim()
            self._note_answer()
        except JournalError as error:
            if not error.retryable:
                raise
            self._note_silence(error)
            stopping.wait(_AWAY_SEC)
            return
        for one in claimed:
            threads.submit(self._sync, one).add_done_callback(self._report_fault)
        self._notifier.alive()
        stopping.wait(_TOGETHER_SEC)
        if not claimed:
            self._changed.wait(self._settings.poll_sec)

    def _claim(self) -> list[Held]:
        """Claim as many accounts as threads can be busy with soon: what waits here keeps others from it."""
        room = 2 * self._settings.threads - len(self._held)
        if room <= 0:
            return []
        until = time.monotonic() + self._settings.lease_sec  # before the database counts
        leases = self._leases.claim(self.name, limit=room, lease_us=self._lease_us, grace_us=self._grace_us)
        claimed = [Held(one, until) for one in leases]
        with self._lock:
            self._held |= {one.lease.account: one for one in claimed}
        return claimed

    def _give_back(self) -> None:
        with self._lock:
            ended, cold = list(self._ended), list(self._cold)
        self._leases.release(self.name, ended)
        self._leases.forget(self.name, cold)
        with self._lock:  # only now: where the journal is away, they are given back later
            self._ended, self._cold = self._ended[len(ended) :], self._cold[len(cold) :]

    def _leave(self) -> None:
        """Give everything back, also what did not begin. What cannot be given back lapses."""
        self._ended += [Ended(lease=one.lease, is_done=False, is_synced=False) for one in self._held.values()]
        try:
            self._give_back()
            self._leases.leave(self.name)
        except LedgerError as error:
            self._log("warning", "leases not given back", reason=visible(str(error)))

    def _note_answer(self) -> None:
        if self._is_away:
            self._log("info", "journal back")
        self._is_away = False
        if not self._is_ready:
            self._is_ready = True
            self._notifier.send("READY=1")

    def _note_silence(self, error: LedgerError) -> None:
        if not self._is_away:
            self._log("error", "journal away", reason=visible(str(error)))
        self._is_away = True

    # ---- the thread that renews

    def _renew(self) -> None:
        while not self._renewing.wait(self._settings.lease_sec / _RENEWALS):
            with self._lock:
                held = list(self._held.values())
            try:
                self._renew_some(held)
                self._look_at_clock()
            except LedgerError:  # reported by the main thread, which asks the same journal; meanwhile they lapse
                continue

    def _renew_some(self, held: Sequence[Held]) -> None:
        until = time.monotonic() + self._settings.lease_sec
        still = self._leases.renew(self.name, [one.lease for one in held], lease_us=self._lease_us)
        for one in held:
            if one.lease.account in still:
                one.until = until
            else:
                one.is_lost = True

    def _look_at_clock(self) -> None:
        count = self._leases.bring_forward(lease_us=self._lease_us)
        if count:
            self._log("warning", "clock went back", accounts=count)

    # ---- the threads that sync

    def _sync(self, held: Held) -> None:
        """Sync an account, whatever comes of it."""
        account, is_done, is_synced = held.lease.account, False, False
        try:
            held.check()
            warm = self._warmed(held)
            result = warm.reconciler.sync_positions()
            is_lost = result.status is SyncStatus.FAILED or warm.gateway.silence is not None
            warm.failures = warm.failures + 1 if is_lost else 0
            is_synced = result.status in _GOOD
            is_done = warm.failures != 1  # the first time it is tried again at once
            self._note_gateway(held.lease, warm.gateway)
            self._on_result(result)
        except LeaseLost as error:
            self._log("warning", "lease lost", account=str(account), reason=str(error))
        except LedgerError as error:
            is_done = not error.retryable
            self._log("error", "sync failed", account=str(account), reason=visible(str(error)))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is one account's: the others go on
            is_done = True
            why = f"{type(error).__name__}: {visible(str(error))}"
            self._log("error", "sync failed", account=str(account), reason=why, traceback=traceback.format_exc())
            self._cool(account)
        finally:
            self._end(held, is_done=is_done, is_synced=is_synced)

    def _end(self, held: Held, *, is_done: bool, is_synced: bool) -> None:
        with self._lock:
            account = held.lease.account
            if self._held.get(account) is held:
                del self._held[account]
            is_warm = account in self._warm
            self._ended.append(Ended(lease=held.lease, is_done=is_done, is_synced=is_synced, is_warm=is_warm))
        self._changed.set()

    def _note_gateway(self, lease: Lease, gateway: AccountGateway) -> None:
        if gateway.silence is not None:
            self._leases.gateway_failed(lease.gateway, gateway.silence)
        elif lease.failures:
            self._leases.gateway_answered(lease.gateway)

    def _warmed(self, held: Held) -> Warm:
        """Return the account from memory, or begin it; the one that waited longest makes room."""
        account = held.lease.account
        with self._lock:
            warm = self._warm.pop(account, None)
        if warm is None or (warm.gateway.endpoint, warm.server_key) != (held.lease.gateway, held.lease.server_key):
            warm = Warm(*self._connect(held.lease, held.check), held.lease.server_key)
        warm.gateway.before_use = held.check
        warm.reconciler.sync_interval_sec = held.lease.interval_us / SECOND_US
        with self._lock:
            self._warm[account] = warm
            while len(self._warm) > self._settings.warm_accounts:
                self._drop(self._coldest())
        return warm

    def _coldest(self) -> AccountId:
        """Return the account that is synced for the longest time, of those that are not being synced now."""
        return next((one for one in self._warm if one not in self._held), next(iter(self._warm)))

    def _cool(self, account: AccountId) -> None:
        with self._lock:
            if account in self._warm:
                self._drop(account)

    def _drop(self, account: AccountId) -> None:
        del self._warm[account]
        self._ledger.forget(account)
        self._cold.append(account)

    def _report_fault(self, done: Future[None]) -> None:
        """Log what ended a thread's work: it is a fault of this module."""
        if not done.cancelled() and (error := done.exception()) is not None:
            self._log("error", "sync failed", reason=f"{type(error).__name__}: {visible(str(error))}")
