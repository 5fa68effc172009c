"""The reconciler: compares an account with its broker, appends what follows, and reports whether it is safe to trade."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import metadata
from threading import Event, RLock
from typing import Final
from uuid import uuid4

import attrs

from ledger.clock import ClockRule, to_clock
from ledger.errors import AccountMoved, AccountMoving, AccountUnknown, BadValue, JournalError, LedgerError, SnapshotRefused
from ledger.events import Origin, Recorded
from ledger.events.orders import HaltMode, HaltScope
from ledger.gateway import Gateway, PushGateway, Subscription
from ledger.journal.health import HeldBack, SyncHealth
from ledger.journal.memory import MemoryJournal
from ledger.marks import KEEP_DAYS, KEEP_DAYS_MAX, KEEP_DAYS_MIN
from ledger.orders.view import Order
from ledger.reconcile.compare import Disagreement, NewTicket, compare
from ledger.reconcile.decide import Held, WaitsFor, describe_sides
from ledger.reconcile.policy import DEFAULT, Action, Foreign, ReconcilePolicy
from ledger.reconcile.validate import validate
from ledger.reconciler.history import History
from ledger.reconciler.marks import MarkKeeper
from ledger.reconciler.orders import OrdersMemory, Resolves
from ledger.reconciler.results import ReconcilerStatus, Safety, SyncResult, SyncStatus
from ledger.reconciler.sync import Sync, SyncState
from ledger.safety import Seen, judge
from ledger.service import Account, Ledger, utc_now_us
from ledger.text import visible
from ledger.values import AccountId, require_type, shown, to_amount, to_text, to_whole
from ledger.views import Break

__all__ = [
    "Action",
    "Foreign",
    "ReconcilePolicy",
    "ReconcilerStatus",
    "Safety",
    "StateReconciler",
    "SyncResult",
    "SyncStatus",
    "account_of",
    "sync_all",
]

SYNC_INTERVAL_SEC: Final = 15.0
_LISTEN_SEC: Final = 0.2  # how often ``run`` looks whether the connection came back
_WOKEN_AGAIN_SEC: Final = 0.1  # events that come one after another cause no more syncs than that
_BACK_AT_ONCE_SEC: Final = 1.0  # a connection that comes and goes is not followed faster than this
_HELD_MAX: Final = 100  # so many reasons are stored: the first ones name what is wrong
_STARTED_US: Final = utc_now_us()
_LEVELS: Final = {
    SyncStatus.SUCCESS: logging.INFO,
    SyncStatus.PARTIAL: logging.WARNING,
    SyncStatus.DEGRADED: logging.ERROR,
    SyncStatus.FAILED: logging.ERROR,
}
_logger: Final = logging.getLogger("ledger.reconciler")
_results: Final = logging.getLogger("ledger.sync")
_STARTUP_SNAPSHOTS_MAX: Final = 12  # snapshots that one startup takes at most


class StateReconciler:
    """Keeps one account of a ledger in agreement with its broker. Safe to use from several threads.

    Args:
        account: The account to reconcile. It need not be open: a gateway that states its account opens it.
        gateway: The way to the broker.
        policy: What to do about which disagreement.
        sync_interval_sec: Seconds between syncs of ``sync_continuous`` and ``run``, after failures too.
        clock: Server clock rule for an account that the gateway opens; measured at its clock without.
        on_event: Is called with every event that a sync appends, once it is durable, from the thread that syncs.
        keep_marks_days: So many days it is known what the account was worth, sync by sync (``Account.marks``).
        breaches: Returns what makes the account unsafe at a moment (UTC microseconds) beside what a sync finds, in words:
            ``ledger.monitors.breaches`` does. Asked after every sync.
        orders: An ``OrderManager``: each sync lets it find out what became of orders whose answer is late or unknown.
        monotonic: Seconds that only rise.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        account: Account,
        gateway: Gateway,
        *,
        policy: ReconcilePolicy = DEFAULT,
        sync_interval_sec: float = SYNC_INTERVAL_SEC,
        clock: ClockRule | str | None = None,
        on_event: Callable[[Recorded], object] = lambda _: None,
        keep_marks_days: int = KEEP_DAYS,
        breaches: Callable[[int], Sequence[str]] = lambda _: (),
        orders: Resolves | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.account = require_type(account, Account, "an account of a ledger (ledger.account(...))")
        self.gateway = gateway
        self.policy = require_type(policy, ReconcilePolicy, "a ReconcilePolicy")
        self.sync_interval_sec = to_amount(sync_interval_sec, 0, "sync_interval_sec")
        self._clock = None if clock is None else to_clock(clock)
        self._on_event = on_event
        self._marks = MarkKeeper(account, to_whole(keep_marks_days, KEEP_DAYS_MIN, KEEP_DAYS_MAX, "keep_marks_days"))
        self._breaches = breaches
        self._breached: tuple[str, ...] = ()
        self._orders = orders
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = RLock()
        self._woken = Event()
        self._on_wake: Callable[[], object] = lambda: None
        self._subscription: Subscription | None = None
        self._memory = SyncState(history=History(account, gateway, policy), orders=OrdersMemory())
        self._attempted_at: float | None = None
        self._reconnections = gateway.reconnections
        self._begun_at = 0.0
        self._took_sec: float | None = None
        self._logged: tuple[SyncStatus, str | None] | None = None
        self._unsaved: str | None = None  # why sync health could not be stored the last time
        self._last: SyncResult | None = None
        self._since_us: int | None = None
        self._synced_us: int | None = None
        self._good_us: int | None = None
        self._verified_us: int | None = None
        self._verified_at: float | None = None  # by the clock that only rises: the other may be set back

    # ---- syncing

    def sync_positions(self) -> SyncResult:
        """Reconcile now, with one snapshot.

        Raises:
            AccountUnknown: The account is not open, and the gateway does not state which it is.
        """
        with self._lock:
            return self._synced(self._sync())

    def startup_recovery(self) -> SyncResult:
        """Reconcile now, and take the further snapshots that a decision needs one after another. For a process that starts.

        It waits for a fill that was recorded just before. Raises as ``sync_positions``.
        """
        with self._lock:
            result = self._sync()
            for _ in range(_STARTUP_SNAPSHOTS_MAX):
                waits_for = {held.waits_for for held in result.held} - {None}
                if not waits_for:
                    break
                if waits_for == {WaitsFor.TIME}:
                    self._sleep(self.policy.settle_sec)
                result = _followed_by(result, self._sync())
            return self._synced(result)

    def sync_continuous(self) -> SyncResult | None:
        """Reconcile if the interval has passed, the connection came back or an event woke us; else return None.

        Raises as ``sync_positions``.
        """
        with self._lock:
            return self.sync_positions() if self.is_due else None

    @property
    def is_due(self) -> bool:
        """Whether ``sync_continuous`` would sync now."""
        if self._attempted_at is None:
            return True
        passed = self._monotonic() - self._attempted_at
        came_back = self.gateway.reconnections != self._reconnections
        is_woken = self._woken.is_set() and passed >= _WOKEN_AGAIN_SEC
        return passed >= self.sync_interval_sec or is_woken or (came_back and passed >= _BACK_AT_ONCE_SEC)

    def wake(self) -> None:
        """Let ``sync_continuous`` sync at once: something changed at the broker. May be called from any thread."""
        self._woken.set()
        self._on_wake()

    def follow(self) -> None:
        """Wake at each event that the gateway pushes, if it is one that does, until ``unfollow``.

        Syncs at intervals go on: they are the truth, and an event only a reason to look sooner.
        """
        if self._subscription is None and isinstance(self.gateway, PushGateway):
            self._subscription = self.gateway.subscribe(lambda _: self.wake())

    def unfollow(self) -> None:
        """Stop listening to the gateway."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    @property
    def is_following(self) -> bool:
        """Whether the gateway pushes events, and was heard a moment ago."""
        return self._subscription is not None and self._subscription.is_alive

    def wait(self, timeout_sec: float) -> None:
        """Wait for so long, or until ``wake``."""
        if self._woken.wait(timeout_sec) and not self.is_due:
            self._sleep(min(timeout_sec, _WOKEN_AGAIN_SEC))

    def _sync(self) -> SyncResult:
        self._begun_at = self._monotonic()
        self._woken.clear()  # what changes from now on is a reason for the next sync
        self._reconnections = self.gateway.reconnections
        try:
            sync = Sync(
                self.account,
                self.gateway,
                policy=self.policy,
                memory=self._memory,
                correlation=f"sync-{uuid4().hex}",
                clock=self._clock,
                appended=self._on_event,
                orders=self._orders,
            )
            result = sync.result()
            if sync.mark is not None:
                self._marks.store(sync.mark)
            return result
        finally:
            self._attempted_at = self._monotonic()

    def _synced(self, result: SyncResult) -> SyncResult:
        now_us = self.account.ledger.now_us()
        if self._last is None or self._last.status is not result.status:
            self._since_us = now_us
        self._last, self._synced_us, self._took_sec = result, now_us, max(0.0, self._monotonic() - self._begun_at)
        if result.status is SyncStatus.SUCCESS:
            self._good_us = now_us
        if result.status in (SyncStatus.SUCCESS, SyncStatus.PARTIAL):
            self._verified_us, self._verified_at = now_us, self._monotonic()
        self._breached = self._read_breaches(now_us)
        elsewhere = self._save_health(result, now_us)
        if elsewhere is not None:  # whatever agrees here: it is not decided here any more
            self._last = result = attrs.evolve(result, status=SyncStatus.FAILED, reason=elsewhere)
        self._log(result)
        return result

    def _read_breaches(self, now_us: int) -> tuple[str, ...]:
        """Return what makes the account unsafe beside what a sync finds. What cannot be read is not safe."""
        try:
            return tuple(self._breaches(now_us))
        except LedgerError as error:
            return (f"whether a monitor is breached cannot be read: {error}",)

    def _log(self, result: SyncResult) -> None:
        """Log a result that is another than the one before, or that appended something."""
        why = _why(result)
        ended = (result.status, why)
        if ended != self._logged or result.appended:
            self._logged = ended
            suffix = f": {visible(why)}" if why else ""
            _results.log(_LEVELS[result.status], "%s: %s, %d events appended%s", visible(str(result.account)),
                        result.status.value, result.appended, suffix)  # fmt: skip

    def _save_health(self, result: SyncResult, now_us: int) -> str | None:
        """Store how the attempt ended. That it cannot be stored is logged, once, and never fails a sync.

        Returns:
            Why it is not to be stored: the account is in another journal, or on its way there.
        """
        if not result.version:
            return None  # the account is not open, or the journal does not answer
        health = SyncHealth(
            account=result.account,
            status=result.status.value,
            reason=_why(result),
            since_us=self._since_us or now_us,
            seen_us=now_us,
            verified_us=self._verified_us,
            success_us=self._good_us,
            duration_us=round((self._took_sec or 0.0) * 1_000_000),
            interval_us=round(self.sync_interval_sec * 1_000_000),
            verified_sec=self.policy.verified_sec,
            balance_halts=self.policy.balance is Action.HALT,
            withdrawn_halts=self.policy.withdrawn is Action.HALT,
            held=_held_back(result)[:_HELD_MAX],
            breached=self._breached,
            gateway=getattr(self.gateway, "endpoint", None),
            host=socket.gethostname(),
            pid=os.getpid(),
            started_us=_STARTED_US,
            program=_program(),
        )
        try:
            self.account.ledger.journal.save_sync_health(health)
            self._unsaved = None
        except (AccountMoved, AccountMoving) as error:
            return str(error)
        except JournalError as error:
            if self._unsaved != str(error):
                self._unsaved = str(error)
                _logger.warning("%s: sync health was not stored: %s", visible(str(result.account)), visible(str(error)))
        return None

    async def run(self, *, startup: bool = True, on_result: Callable[[SyncResult], object] = lambda _: None) -> None:
        """Reconcile at once and then continuously, without blocking the event loop, until cancelled.

        Raises as ``sync_positions``.
        """
        woken, loop = asyncio.Event(), asyncio.get_running_loop()
        self._on_wake = lambda: loop.call_soon_threadsafe(woken.set)
        self.follow()
        try:
            if startup:
                on_result(await asyncio.to_thread(self.startup_recovery))
            while True:
                result = await asyncio.to_thread(self.sync_continuous)
                if result is not None:
                    on_result(result)
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_LISTEN_SEC, self.sync_interval_sec)):  # wait_for may lose a cancellation
                        await woken.wait()
                woken.clear()
                if self._woken.is_set() and not self.is_due:
                    await asyncio.sleep(_WOKEN_AGAIN_SEC)
        finally:
            await asyncio.to_thread(self.unfollow)
            self._on_wake = lambda: None

    async def sync_positions_async(self) -> SyncResult:
        """Reconcile now, as ``sync_positions``, without blocking the event loop."""
        return await asyncio.to_thread(self.sync_positions)

    async def startup_recovery_async(self) -> SyncResult:
        """Reconcile as ``startup_recovery``, without blocking the event loop."""
        return await asyncio.to_thread(self.startup_recovery)

    def dry_run(self, *, startup: bool = False) -> SyncResult:
        """Return what a sync would do. Nothing is appended: it is done on a copy of the account in memory."""
        with self._lock:
            ledger = self.account.ledger
            copy = Ledger(MemoryJournal.copy_of(ledger.journal, [self.account.name], ledger.now_us), ledger.now_us)
            twin = StateReconciler(
                copy.account(self.account.name), self.gateway, policy=self.policy, clock=self._clock, sleep=self._sleep
            )
            return twin.startup_recovery() if startup else twin.sync_positions()

    def listen(self, on_event: Callable[[Recorded], object]) -> None:
        """Call something else than ``on_event`` with every event that a sync appends, from now on."""
        self._on_event = on_event

    # ---- asking

    def differences(self) -> tuple[Disagreement | NewTicket, ...]:
        """Compare with a fresh snapshot. Changes nothing.

        Raises:
            GatewayError: There is no usable snapshot: it is unknown whether both agree.
            AccountUnknown: The account is not open.
        """
        portfolio = self.account.portfolio
        now_msc = portfolio.terms.clock.from_utc_msc(self.account.ledger.now_us() // 1000)
        listing = self._memory.lists.ask(self.gateway, portfolio)
        snapshot = validate(listing.snapshot, portfolio, now_msc=now_msc)
        found = compare(self.account.portfolio, snapshot)
        if listing.partial is not None and not found:
            raise SnapshotRefused(listing.partial, field="positions")
        return found

    def detect_drift(self) -> str | None:
        """Describe how the portfolio and a fresh snapshot differ; None where they agree. Changes nothing.

        Raises as ``differences``.
        """
        lines = [describe(one) for one in self.differences()]
        return "\n".join(lines) or None

    def get_audit_trail(self, *, after: int = 0) -> tuple[Recorded, ...]:
        """Return everything that neither an engine nor an import recorded, from the journal, oldest first.

        Corrections with their breaks and evidence, deals that recovery booked, degraded spans, adjustments.
        """
        return tuple(one for one in self.account.events(after=after) if _is_audited(one))

    def get_status(self) -> ReconcilerStatus:
        """Return the reconciler's state. Never waits for a sync under way, and never raises."""
        last, now_us = self._last, self.account.ledger.now_us()
        safety = self.safe_to_trade()
        return ReconcilerStatus(
            account=self.account.name,
            state=None if last is None else last.status,
            since_us=self._since_us,
            why=None if last is None else _why(last),
            synced_us=self._synced_us,
            good_us=self._good_us,
            good_age_sec=_age_sec(self._good_us, now_us),
            breaks=safety.breaks,
            held=() if last is None else last.held,
            safety=safety,
        )

    @property
    def took_sec(self) -> float | None:
        """How long the last sync took, in seconds; None before the first."""
        return self._took_sec

    @property
    def clock_skew_sec(self) -> float | None:
        """How far the broker's clock, read by the account's rule, was ahead of ours when last seen; None where it was not."""
        return self._memory.skew_sec

    def safe_to_trade(self, symbol: str | None = None) -> Safety:
        """Return whether an engine may open something now: of a symbol, or of any without one.

        It may if the last sync believed its snapshot, not too long ago, and nothing about the symbol is held or open. Never
        raises: where the journal does not answer, it is not safe.
        """
        symbol = None if symbol is None else to_text(symbol, "a symbol")
        try:
            breaks, degraded = self._disagreements()
            unknown, halts = self._orders_in_the_way()
        except JournalError as error:
            return Safety(
                is_safe=False, why=f"the journal cannot be read: {error}", verified_us=self._verified_us, age_sec=None
            )
        seen = self._seen()
        verdict = judge(seen, breaks, degraded=degraded, symbol=symbol, unknown=unknown, halts=halts)
        return Safety(
            is_safe=verdict.is_safe,
            why=verdict.why,
            verified_us=self._verified_us,
            age_sec=None if seen is None else seen.verified_sec,
            breaks=tuple(one for one in breaks if symbol is None or one.symbol in (None, symbol)),
        )

    def _seen(self) -> Seen | None:
        """Return what the last attempt left; its age by the clock that only rises, as the other may be set back."""
        last, now = self._last, self._monotonic()
        if last is None or self._attempted_at is None:
            return None
        return Seen(
            status=last.status.value,
            reason=last.reason,
            seen_sec=now - self._attempted_at,
            verified_sec=None if self._verified_at is None else now - self._verified_at,
            interval_sec=self.sync_interval_sec,
            verified_sec_max=self.policy.verified_sec,
            balance_halts=self.policy.balance is Action.HALT,
            withdrawn_halts=self.policy.withdrawn is Action.HALT,
            held=_held_back(last),
            breached=self._breached,
        )

    def _disagreements(self) -> tuple[tuple[Break, ...], str | None]:
        """Return the open breaks, and why the journal has the account as degraded."""
        try:
            portfolio = self.account.portfolio
        except AccountUnknown:
            return (), None
        return portfolio.breaks, None if portfolio.degraded is None else portfolio.degraded.reason

    def _orders_in_the_way(self) -> tuple[tuple[Order, ...], tuple[tuple[tuple[HaltScope, str | None], HaltMode], ...]]:
        """Return the orders of which nobody knows whether they were executed, and what is halted."""
        try:
            _, orders = self.account.current_orders()
        except AccountUnknown:
            return (), ()
        now_utc_msc = self.account.ledger.now_us() // 1000
        return tuple(one for one in orders.open_orders(now_utc_msc) if one.is_unknown), tuple(orders.halts.items())


def _held_back(result: SyncResult) -> tuple[HeldBack, ...]:
    return tuple(HeldBack(kind=held.kind, symbol=held.symbol, why=held.why) for held in result.held)


def _why(result: SyncResult) -> str | None:
    """Return why a sync did not end in SUCCESS."""
    return result.reason or "; ".join(dict.fromkeys(_held_text(held) for held in result.held)) or None


def _held_text(held: Held) -> str:
    about = " ".join(str(one) for one in (held.kind, held.position_id, held.symbol) if one is not None)
    return f"{about}: {held.why}"


def describe(one: Disagreement | NewTicket) -> str:
    """Write a disagreement as a line for people."""
    if isinstance(one, NewTicket):
        return f"new ticket: position {one.position_id} {one.symbol}: ticket {one.ours.ticket} is now {one.theirs.ticket}"
    field, ours, theirs = describe_sides(one)
    about = f" in {field}" if field else ""
    shown = [f"ours {ours}" if ours else "we have none", f"theirs {theirs}" if theirs else "the broker has none"]
    return f"{one.kind.value}: position {one.position_id}{about}: {', '.join(shown)}"


@cache
def _program() -> str:
    """Return the version of this package."""
    try:
        return metadata.version("mt5-position-ledger")
    except metadata.PackageNotFoundError:  # run from its sources
        return "unknown"


def _is_audited(one: Recorded) -> bool:
    """Return whether neither an engine nor an import recorded it: only what these record of deals has another origin."""
    return getattr(one.event, "origin", Origin.RECOVERY) is Origin.RECOVERY


def _age_sec(then_us: int | None, now_us: int) -> float | None:
    return None if then_us is None else max(0, now_us - then_us) / 1_000_000


def _followed_by(first: SyncResult, then: SyncResult) -> SyncResult:
    """Return two syncs of one startup as one: what both did, and how the later ended."""
    return attrs.evolve(
        then,
        fills=first.fills + then.fills,
        revised=first.revised + then.revised,
        recovered=first.recovered + then.recovered,
        closed=first.closed + then.closed,
        corrected=first.corrected + then.corrected,
        reticketed=first.reticketed + then.reticketed,
        withdrawn=tuple(dict.fromkeys(first.withdrawn + then.withdrawn)),
        appended=first.appended + then.appended,
        events=first.events + then.events,
        warnings=tuple(dict.fromkeys(first.warnings + then.warnings)),
    )


def account_of(gateway: Gateway) -> AccountId | None:
    """Return the account that a gateway is of; None where it speaks only the base form.

    Raises:
        GatewayError: It does not answer.
    """
    if not gateway.positions().is_extended:
        return None
    remote = gateway.account()
    return AccountId(remote.server, remote.login)


def sync_all(reconcilers: Sequence[StateReconciler], *, startup: bool = False, dry_run: bool = False) -> tuple[SyncResult, ...]:
    """Sync several accounts at once, each in a thread of its own: one that fails leaves the others alone.

    Args:
        reconcilers: One for each account.
        startup: Take the further snapshots that decisions need.
        dry_run: Return what would be done; append nothing.
    """
    if not isinstance(reconcilers, Iterable):
        raise BadValue(f"expected a list of StateReconcilers, found {shown(reconcilers)}")
    reconcilers = [require_type(one, StateReconciler, "a StateReconciler") for one in reconcilers]
    with ThreadPoolExecutor(max_workers=max(1, len(reconcilers)), thread_name_prefix="ledger-sync") as threads:
        return tuple(threads.map(lambda one: _result_of(one, startup=startup, dry_run=dry_run), reconcilers))


def _result_of(one: StateReconciler, *, startup: bool, dry_run: bool) -> SyncResult:
    try:
        if dry_run:
            return one.dry_run(startup=startup)
        return one.startup_recovery() if startup else one.sync_positions()
    except LedgerError as error:
        return SyncResult(account=one.account.name, status=SyncStatus.FAILED, reason=str(error))
