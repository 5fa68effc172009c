"""The leases of a fleet: which worker syncs which account until when. Every statement about them is here.

An account has one row. ``ready_us`` is the moment from which on it may be claimed: when it is due while nobody has its lease,
when the lease lapses while somebody has. All times are those of the database's clock, in UTC microseconds, so that no worker's
clock matters. ``epoch`` counts the leases of an account: what a worker reports of an older one changes nothing.

A lease saves work; it protects nothing. What a sync decided is appended with the version that it rests on, and that refuses
whoever was overtaken.

The database's clock may go back: a server that takes over is behind, or its clock is set. Every moment here is too far ahead
then; ``Leases.bring_forward`` finds them by how far ahead a moment can be at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeGuard

from attrs import frozen

from ledger.clock import SECOND_US
from ledger.errors import BadValue, JournalBusy, JournalNewer
from ledger.fleet.slots import BACKOFF_MAX_US, next_due_us, retry_us
from ledger.journal import Journal
from ledger.journal.sql.engine import Engine, Session
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.words import REVISION, account_key
from ledger.postings import Row
from ledger.text import visible
from ledger.values import INT64_MAX, AccountId

CALLS_MAX: Final = 4
INTERVAL_SEC: Final = 15.0
_REASON_MAX: Final = 500
_STOP_LOOK_SEC: Final = 0.05

_NOW: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_NOW_AND_REVISION: Final = f"{_NOW}, (SELECT version_num FROM alembic_version)"
#: What a worker may claim of a gateway: what is ready, and was not synced last by another one, who has its portfolio in memory
#: and gets a moment for it. A lease that lapsed is waited for no longer.
_READY: Final = (
    "l.is_stopped = 0 AND l.ready_us <= ? "
    "AND (l.worker IS NOT NULL OR l.last_worker IS NULL OR l.last_worker = ? OR l.ready_us <= ?)"
)
#: The gateways of what may be claimed. Locked, so that no two workers count the calls of one gateway at once.
_GATEWAYS: Final = (
    "SELECT g.gateway FROM fleet_gateways g WHERE (g.retry_us IS NULL OR g.retry_us <= ?) AND EXISTS "
    f"(SELECT 1 FROM fleet_leases l WHERE l.gateway = g.gateway AND {_READY}) ORDER BY random() LIMIT ? "
    "FOR UPDATE OF g SKIP LOCKED"
)
#: As many leases as its gateways have room for, one where a gateway is only probed; those first that wait longest.
_CLAIM: Final = (
    "WITH room AS (SELECT g.gateway, g.failures, g.server_key, greatest(0, CASE WHEN g.retry_us IS NULL THEN g.calls_max "
    "ELSE 1 END - (SELECT count(*) FROM fleet_leases h WHERE h.gateway = g.gateway AND h.worker IS NOT NULL "
    "AND h.ready_us > ?)) AS free FROM fleet_gateways g WHERE g.gateway = ANY(?)), "
    "picked AS (SELECT one.account_id, room.failures, room.server_key FROM room CROSS JOIN LATERAL (SELECT l.account_id, "
    f"l.ready_us FROM fleet_leases l WHERE l.gateway = room.gateway AND {_READY} ORDER BY l.ready_us LIMIT room.free "
    "FOR UPDATE SKIP LOCKED) one ORDER BY one.ready_us LIMIT ?) "
    "UPDATE fleet_leases l SET losses = losses + CASE WHEN l.worker IS NULL THEN 0 ELSE 1 END, worker = ?, last_worker = ?, "
    "epoch = epoch + 1, ready_us = ? FROM picked WHERE l.account_id = picked.account_id "
    "RETURNING l.server, l.login, l.gateway, l.interval_us, l.due_us, l.epoch, picked.failures, picked.server_key"
)
#: Whether an account that is not stopped waits for a moment further ahead than any can be: it is due within its interval, and
#: its lease, whose end is given together with the present, is added for what changes meanwhile.
_TOO_FAR: Final = "> ? + l.interval_us"
#: A lease is cut, and not ended: whoever syncs its account renews it. Rows that are being changed are found the next time.
_BRING_FORWARD: Final = (
    "UPDATE fleet_leases l SET due_us = least(l.due_us, ?), ready_us = CASE WHEN l.worker IS NULL THEN ? ELSE ? END "
    f"FROM (SELECT l.account_id FROM fleet_leases l WHERE l.is_stopped = 0 AND l.ready_us {_TOO_FAR} FOR UPDATE SKIP LOCKED) "
    "AS far WHERE l.account_id = far.account_id"
)
_ASK_AGAIN: Final = (
    "UPDATE fleet_gateways g SET retry_us = ? FROM (SELECT gateway FROM fleet_gateways WHERE retry_us > ? "
    "FOR UPDATE SKIP LOCKED) AS far WHERE g.gateway = far.gateway"
)
_RENEW: Final = (
    "UPDATE fleet_leases l SET ready_us = ? FROM unnest(?::bigint[], ?::bigint[]) AS held (account_id, epoch) "
    "WHERE l.account_id = held.account_id AND l.epoch = held.epoch AND l.worker = ? RETURNING l.server, l.login"
)
#: One whose interval was changed during its sync is due at once.
_NEXT: Final = "CASE WHEN l.interval_us = ended.interval_us THEN ended.due_us ELSE ? END"
#: A stopped account is ready never again.
_RELEASE: Final = (
    f"UPDATE fleet_leases l SET worker = NULL, due_us = {_NEXT}, ready_us = CASE WHEN l.is_stopped = 0 THEN {_NEXT} "
    "ELSE ? END, synced_us = coalesce(ended.synced_us, l.synced_us), "
    "last_worker = CASE WHEN ended.is_warm THEN l.last_worker END "
    "FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bool[]) "
    "AS ended (account_id, epoch, interval_us, due_us, synced_us, is_warm) "
    "WHERE l.account_id = ended.account_id AND l.epoch = ended.epoch AND l.worker = ?"
)
_FORGET: Final = "UPDATE fleet_leases SET last_worker = NULL WHERE account_id = ANY(?) AND last_worker = ?"
_LEAVE: Final = "UPDATE fleet_leases SET last_worker = NULL WHERE last_worker = ?"
_SILENT: Final = "SELECT failures FROM fleet_gateways WHERE gateway = ? FOR UPDATE"
_FAILED: Final = (
    "UPDATE fleet_gateways SET failures = ?, retry_us = ?, reason = ?, since_us = coalesce(since_us, ?) WHERE gateway = ?"
)
_ALIVE: Final = (
    "UPDATE fleet_gateways SET failures = 0, retry_us = NULL, reason = NULL, since_us = NULL WHERE gateway = ? AND failures > 0"
)
#: What adds many rows waits for no row of a worker, and none waits for its rows: both would, in orders of their own. What is
#: read meanwhile does not wait.
_ALONE: Final = "LOCK TABLE fleet_gateways, fleet_leases IN EXCLUSIVE MODE"
_ADD_GATEWAY: Final = (
    "INSERT INTO fleet_gateways (gateway, calls_max, server_key, failures) SELECT gateway, ?, NULL, 0 FROM "
    "unnest(?::text[]) AS given (gateway) ON CONFLICT (gateway) DO NOTHING"
)
#: An account that is stopped stays so; one that is due earlier than it would be now stays due then.
_ADD: Final = (
    "INSERT INTO fleet_leases (account_id, server, login, gateway, interval_us, due_us, ready_us, is_stopped, epoch, losses) "
    "SELECT account_id, server, login, gateway, interval_us, due_us, due_us, 0, 0, 0 FROM "
    "unnest(?::bigint[], ?::text[], ?::bigint[], ?::text[], ?::bigint[], ?::bigint[]) "
    "AS given (account_id, server, login, gateway, interval_us, due_us) ON CONFLICT (account_id) DO UPDATE SET "
    "gateway = excluded.gateway, interval_us = excluded.interval_us, due_us = least(fleet_leases.due_us, excluded.due_us), "
    "ready_us = CASE WHEN fleet_leases.worker IS NULL AND fleet_leases.is_stopped = 0 "
    "THEN least(fleet_leases.due_us, excluded.due_us) ELSE fleet_leases.ready_us END"
)
_STOPPED: Final = "SELECT count(*) FROM fleet_leases WHERE is_stopped = 1 AND account_id = ANY(?)"
_STOP: Final = (
    "UPDATE fleet_leases SET is_stopped = 1, ready_us = CASE WHEN worker IS NULL THEN ? ELSE ready_us END WHERE account_id = ?"
)
#: Nobody has the lease, or it lapsed: then nobody gets it any more.
_IS_HELD: Final = "SELECT ready_us FROM fleet_leases WHERE account_id = ? AND worker IS NOT NULL AND ready_us > ?"
_END: Final = "UPDATE fleet_leases SET worker = NULL, ready_us = ? WHERE account_id = ? AND is_stopped = 1"
_RESUME: Final = (
    "UPDATE fleet_leases SET is_stopped = 0, due_us = ?, ready_us = CASE WHEN worker IS NULL THEN ? ELSE ready_us END "
    "WHERE account_id = ? AND is_stopped = 1"
)
_REMOVE: Final = "DELETE FROM fleet_leases WHERE account_id = ?"
_REMOVE_OTHERS: Final = (
    "DELETE FROM fleet_leases l WHERE NOT EXISTS (SELECT 1 FROM unnest(?::bigint[]) AS given (account_id) "
    "WHERE given.account_id = l.account_id)"
)
#: A gateway without accounts keeps its row: its settings count again when it gets some.
_GATEWAY: Final = (
    "INSERT INTO fleet_gateways AS g (gateway, calls_max, server_key, failures) "
    "VALUES (?, coalesce(?, ?), nullif(?::text, ''), 0) ON CONFLICT (gateway) DO UPDATE SET calls_max "
    "= coalesce(?, g.calls_max), server_key = nullif(coalesce(?::text, g.server_key), '') RETURNING calls_max, server_key"
)
_ACCOUNTS: Final = (
    "SELECT server, login, gateway, interval_us, due_us, is_stopped, worker, synced_us FROM fleet_leases ORDER BY server, login"
)
_STATUS: Final = (
    "SELECT g.gateway, g.calls_max, g.failures, g.since_us, g.retry_us, g.reason, count(l.account_id), "
    "count(*) FILTER (WHERE (l.worker IS NULL OR l.ready_us <= ?) AND l.is_stopped = 0 "
    f"AND (l.due_us <= ? OR l.due_us {_TOO_FAR})), "
    f"count(*) FILTER (WHERE l.is_stopped = 0 AND (l.due_us <= ? OR l.due_us {_TOO_FAR})), "
    "count(*) FILTER (WHERE l.worker IS NOT NULL AND l.ready_us > ?), count(*) FILTER (WHERE l.is_stopped = 1), "
    "coalesce(sum(l.losses), 0)::bigint, min(l.due_us) FILTER (WHERE l.is_stopped = 0) "
    "FROM fleet_gateways g JOIN fleet_leases l ON l.gateway = g.gateway GROUP BY g.gateway ORDER BY g.gateway"
)
_WORKERS: Final = (
    "SELECT last_worker, count(*), count(*) FILTER (WHERE worker = last_worker AND ready_us > ?), max(synced_us) "
    "FROM fleet_leases WHERE last_worker IS NOT NULL GROUP BY last_worker ORDER BY last_worker"
)


@frozen(kw_only=True)
class FleetAccount:
    """An account that a fleet syncs: by which gateway, and how often."""

    account: AccountId
    gateway: str
    interval_us: int


class Added(NamedTuple):
    """What adding accounts did besides.

    ``stopped`` of them are stopped, and stay so until ``resume``; ``removed`` others are no longer synced.
    """

    stopped: int
    removed: int


class Lease(NamedTuple):
    """The right of a worker to sync an account, until it lapses.

    ``failures`` is how many calls in a row its gateway did not answer before; times are the database's, in microseconds.
    """

    account: AccountId
    gateway: str
    interval_us: int
    due_us: int
    epoch: int
    failures: int
    server_key: str | None


@frozen(kw_only=True)
class Ended:
    """A lease that is given back.

    Attributes:
        lease: Which.
        is_done: Whether the sync came to an end, well or not; else the account is due at once.
        is_synced: Whether the broker's answer was recorded, or agreed with what is.
        is_warm: Whether its worker still has the account in memory, and is preferred for it.
    """

    lease: Lease
    is_done: bool = True
    is_synced: bool = True
    is_warm: bool = True


class GatewayState(NamedTuple):
    """A gateway that has accounts of a fleet. Times are the database's, in microseconds.

    ``due`` accounts wait for a worker, ``late`` ones have done so longer than they should; ``held`` ones are being synced;
    ``retry_us`` is when the gateway is asked again, None while it answers.
    """

    gateway: str
    calls_max: int
    failures: int
    since_us: int | None
    retry_us: int | None
    reason: str | None
    accounts: int
    due: int
    late: int
    held: int
    stopped: int
    losses: int
    oldest_due_us: int | None


class WorkerState(NamedTuple):
    """A worker, by the accounts that it synced last: how many, how many it syncs now, and when the last good sync ended."""

    worker: str
    accounts: int
    held: int
    synced_us: int | None


class FleetState(NamedTuple):
    """A fleet at a moment of the database's clock, in microseconds."""

    now_us: int
    gateways: list[GatewayState]
    workers: list[WorkerState]


class AccountState(NamedTuple):
    """An account of a fleet. Times are the database's, in microseconds.

    ``worker`` is whoever has its lease; ``synced_us`` is when the last sync ended that was a good one.
    """

    account: AccountId
    gateway: str
    interval_us: int
    due_us: int
    is_stopped: bool
    worker: str | None
    synced_us: int | None


def is_possible(journal: Journal) -> TypeGuard[SqlJournal]:
    """Return whether a journal can have a fleet: only one in Postgres can.

    Raises:
        BadValue: There are several journals, and none is named.
    """
    return journal.file() is None and isinstance(journal, SqlJournal) and journal.engine.is_postgres


class Leases:
    """The leases of a journal.

    Args:
        journal: One in Postgres.

    Raises:
        BadValue: It is in SQLite or in memory.
    """

    def __init__(self, journal: Journal) -> None:
        if not is_possible(journal):
            raise BadValue(
                "a fleet needs a journal in Postgres: its workers are several processes, often on several machines, and SQLite "
                "lets one of them write at a time. Move the journal (ledger backup, ledger restore), or run ledger sync --watch"
            )
        self._engine: Engine = journal.engine

    # ---- what a worker does

    def claim(self, worker: str, *, limit: int, lease_us: int, grace_us: int) -> list[Lease]:
        """Take the leases of accounts that are due, and of those whose lease lapsed.

        Args:
            worker: Who.
            limit: So many at most.
            lease_us: How long they last.
            grace_us: How long an account is left to the worker that synced it last.

        Raises:
            JournalNewer: The journal was migrated by a newer program.
        """
        with self._engine.writing() as session:
            now_us = _now_in_our_schema(session)
            ready = now_us, worker, now_us - grace_us
            gateways = [row[0] for row in session.query(_GATEWAYS, now_us, *ready, limit)]
            if not gateways:
                return []
            rows = session.query(_CLAIM, now_us, gateways, *ready, limit, worker, worker, now_us + lease_us)
        return [Lease(AccountId(server, login), *row) for server, login, *row in rows]

    def renew(self, worker: str, leases: Sequence[Lease], *, lease_us: int) -> set[AccountId]:
        """Let leases last on from now; return the accounts whose lease is still this one."""
        if not leases:
            return set()
        with self._engine.writing() as session:
            rows = session.query(_RENEW, _now(session) + lease_us, _keys(leases), [one.epoch for one in leases], worker)
        return {AccountId(server, login) for server, login in rows}

    def bring_forward(self, *, lease_us: int) -> int:
        """Let accounts and gateways not wait for moments that the database's clock had reached before it went back.

        Args:
            lease_us: How long leases last.

        Returns:
            How many accounts no longer wait so long: they are due now, or as soon as nobody renews their lease.
        """
        with self._engine.writing() as session:
            now_us = _now(session)
            lapses_us = now_us + lease_us
            session.execute(_ASK_AGAIN, now_us, now_us + BACKOFF_MAX_US)
            return session.execute(_BRING_FORWARD, now_us, now_us, lapses_us, lapses_us)

    def release(self, worker: str, ended: Sequence[Ended]) -> None:
        """Give leases back: their accounts are due at the next moment that is theirs. One that lapsed is left alone."""
        if not ended:
            return
        leases = [one.lease for one in ended]
        keys = _keys(leases)
        with self._engine.writing() as session:
            now_us = _now(session)
            dues = [
                next_due_us(now_us, key, one.lease.interval_us) if one.is_done else now_us
                for key, one in zip(keys, ended, strict=True)
            ]
            synced = [now_us if one.is_synced else None for one in ended]
            warm = [one.is_warm for one in ended]
            epochs, intervals = [one.epoch for one in leases], [one.interval_us for one in leases]
            session.execute(_RELEASE, now_us, now_us, INT64_MAX, keys, epochs, intervals, dues, synced, warm, worker)

    def forget(self, worker: str, accounts: Iterable[AccountId]) -> None:
        """Note that a worker no longer has accounts in memory: nobody waits for it any more."""
        keys = [account_key(one) for one in accounts]
        if keys:
            with self._engine.writing() as session:
                session.execute(_FORGET, keys, worker)

    def leave(self, worker: str) -> None:
        """Note that a worker ends: nobody waits for it any more."""
        with self._engine.writing() as session:
            session.execute(_LEAVE, worker)

    def gateway_failed(self, gateway: str, reason: str) -> None:
        """Note that a gateway did not answer. After a few calls in a row all of its accounts are left alone for a while."""
        with self._engine.writing() as session:
            now_us = _now(session)
            for (failures,) in session.query(_SILENT, gateway):
                until_us = retry_us(now_us, failures + 1)
                session.execute(_FAILED, failures + 1, until_us, visible(reason)[:_REASON_MAX], now_us, gateway)

    def gateway_answered(self, gateway: str) -> None:
        """Note that a gateway answers again: its accounts may be claimed at once."""
        with self._engine.writing() as session:
            session.execute(_ALIVE, gateway)

    # ---- what people do

    def add(self, accounts: Sequence[FleetAccount], *, remove_others: bool = False) -> Added:
        """Let accounts be synced, or change how they are. Their first syncs are spread over their interval.

        Args:
            accounts: Which.
            remove_others: Let all others no longer be synced, at the same moment.
        """
        keys = [account_key(one.account) for one in accounts]
        with self._engine.writing() as session:
            session.execute(_ALONE)
            now_us = _now(session)
            session.execute(_ADD_GATEWAY, CALLS_MAX, sorted({one.gateway for one in accounts}))
            session.execute(
                _ADD, keys, [one.account.server for one in accounts], [one.account.login for one in accounts],
                [one.gateway for one in accounts], [one.interval_us for one in accounts],
                [next_due_us(now_us, key, one.interval_us) for key, one in zip(keys, accounts, strict=True)],
            )  # fmt: skip
            removed = session.execute(_REMOVE_OTHERS, keys) if remove_others else 0
            return Added(stopped=session.query(_STOPPED, keys)[0][0], removed=removed)

    def set_gateway(
        self, gateway: str, *, calls_max: int | None = None, server_key: str | None = None
    ) -> tuple[int, str | None]:
        """Set how many calls a gateway takes at once, and the file of its public key on the workers' machines.

        Args:
            gateway: Which; it need not have accounts yet.
            calls_max: None: as before, or the usual number.
            server_key: None: as before; empty: none of its own.

        Returns:
            Both as they are now.
        """
        with self._engine.writing() as session:
            (row,) = session.query(_GATEWAY, gateway, calls_max, CALLS_MAX, server_key, calls_max, server_key)
        return row[0], row[1]

    def remove(self, account: AccountId) -> bool:
        """Let an account no longer be synced; return whether it was. A sync that is under way ends by itself."""
        with self._engine.writing() as session:
            return session.execute(_REMOVE, account_key(account)) > 0

    def resume(self, account: AccountId) -> bool:
        """Let an account be synced again that was stopped, at once; return whether it was stopped."""
        with self._engine.writing() as session:
            now_us = _now(session)
            return session.execute(_RESUME, now_us, now_us, account_key(account)) > 0

    def stop(self, account: AccountId) -> int | None:
        """Let nobody get the account's lease from now on.

        Returns:
            For how many microseconds somebody may still have it; None for an account that is not in the fleet.
        """
        key = account_key(account)
        with self._engine.writing() as session:
            if not session.execute(_STOP, INT64_MAX, key):
                return None
            now_us = _now(session)
            held = session.query(_IS_HELD, key, now_us)
            if held:
                return int(held[0][0]) - now_us
            session.execute(_END, INT64_MAX, key)
        return 0

    # ---- what people see

    def state(self, *, late_us: int) -> FleetState:
        """Return the fleet as it is now. An account is late that waits longer than ``late_us``."""
        with self._engine.reading() as session:
            now_us = _now(session)
            far_us = now_us + late_us
            rows = session.query(_STATUS, now_us, now_us, far_us, now_us - late_us, far_us, now_us)
            gateways = [GatewayState(*row) for row in rows]
            workers = [WorkerState(*row) for row in session.query(_WORKERS, now_us)]
        return FleetState(now_us, gateways, workers)

    def accounts(self) -> list[AccountState]:
        """Return the accounts of the fleet, by server and login."""
        with self._engine.reading() as session:
            return [_account_state(row) for row in session.query(_ACCOUNTS)]


def stop(journal: Journal, account: AccountId, *, timeout_sec: float = 120.0) -> bool:
    """Let no worker sync an account any more, and wait until none does: until its lease is given back or lapsed.

    It stays stopped until ``Leases.resume``. What a worker appends that was paused in between is refused by the version that it
    rests on, as ever.

    Returns:
        Whether a fleet syncs the account at all; always False for a journal that can have none.

    Raises:
        JournalBusy: Its lease is renewed again and again: the account is still being synced. It stays stopped.
    """
    if not is_possible(journal):
        return False
    leases, give_up = Leases(journal), time.monotonic() + timeout_sec
    while left_us := leases.stop(account):
        if time.monotonic() > give_up:
            raise JournalBusy(
                f"{account} is being synced for longer than {timeout_sec:.0f} s: expected its worker to end the sync. "
                "Look at ledger fleet status, and try again"
            )
        time.sleep(min(_STOP_LOOK_SEC, left_us / SECOND_US))
    return left_us is not None


def _account_state(row: Row) -> AccountState:
    server, login, gateway, interval_us, due_us, is_stopped, worker, synced_us = row
    return AccountState(AccountId(server, login), gateway, interval_us, due_us, bool(is_stopped), worker, synced_us)


def _keys(leases: Iterable[Lease]) -> list[int]:
    return [account_key(one.account) for one in leases]


def _now(session: Session) -> int:
    return int(session.query(_NOW)[0][0])


def _now_in_our_schema(session: Session) -> int:
    now_us, revision = session.query(_NOW_AND_REVISION)[0]
    if revision > REVISION:
        raise JournalNewer(
            f"the journal was migrated to schema {revision} meanwhile, this program knows {REVISION}: start a newer ledger"
        )
    return int(now_us)
