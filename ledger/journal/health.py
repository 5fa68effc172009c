"""Sync health: what is stored of the last sync attempt of each account, beside its events and never part of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, fields, frozen

from ledger.values import AccountId


@frozen(kw_only=True)
class HeldBack:
    """Something that a sync holds back: its kind, the symbol it is about (None: the account), and why."""

    kind: str
    symbol: str | None
    why: str


@frozen(kw_only=True)
class SyncHealth:
    """How the last sync attempt of an account ended, whatever process made it. Times are UTC in microseconds.

    Attributes:
        account: Whose.
        status: SUCCESS, PARTIAL, DEGRADED or FAILED.
        reason: Why it is not SUCCESS, now.
        since_us: When attempts began to end like this.
        seen_us: When the last attempt ended.
        verified_us: When a snapshot was last believed; None for never.
        success_us: When one last ended in SUCCESS; None for never.
        duration_us: What the last attempt took.
        interval_us: Between two attempts, as planned.
        verified_sec: How old the last verification may be while the account is safe to trade, by the policy of that process.
        balance_halts: Whether its policy halts while balance or credit differ.
        withdrawn_halts: Whether it halts while the broker does not list a deal any more.
        held: What it holds back.
        breached: What monitors found that makes the account unsafe, in words (``ledger.monitors``).
        gateway: URL, without secrets.
        host: Machine of the process;
        pid: its number there;
        started_us: and when it started.
        program: Its version of this package.
    """

    account: AccountId
    status: str
    reason: str | None
    since_us: int
    seen_us: int
    verified_us: int | None
    success_us: int | None
    duration_us: int
    interval_us: int
    verified_sec: float
    balance_halts: bool
    withdrawn_halts: bool = False
    held: tuple[HeldBack, ...]
    breached: tuple[str, ...] = ()
    gateway: str | None
    host: str
    pid: int
    started_us: int
    program: str


_PLAIN: Final = frozenset(one.name for one in fields(SyncHealth)) - {
    "account", "verified_sec", "balance_halts", "withdrawn_halts", "held",
    "breached",
}  # fmt: skip


#: The columns of a row, without the account.
COLUMNS: Final = (
    "status", "reason", "since_us", "seen_us", "verified_us", "success_us", "duration_us", "interval_us", "policy", "held",
    "gateway", "host", "pid", "started_us", "program",
)  # fmt: skip
#: What safety depends on beside how the attempt ended.
_POLICY: Final = ("verified_sec", "balance_halts", "withdrawn_halts", "breached")


def merged(before: SyncHealth | None, after: SyncHealth) -> SyncHealth:
    """Return what is stored after an attempt: what an earlier one knew, and since when the status is what it is."""
    if before is None:
        return after
    return evolve(
        after,
        since_us=before.since_us if before.status == after.status else after.since_us,
        verified_us=before.verified_us if after.verified_us is None else after.verified_us,
        success_us=before.success_us if after.success_us is None else after.success_us,
    )


def to_columns(health: SyncHealth) -> dict[str, Any]:
    """Return the columns of a row, without the account."""
    return {
        "status": health.status,
        "reason": health.reason,
        "since_us": health.since_us,
        "seen_us": health.seen_us,
        "verified_us": health.verified_us,
        "success_us": health.success_us,
        "duration_us": health.duration_us,
        "interval_us": health.interval_us,
        "policy": json.dumps({name: getattr(health, name) for name in _POLICY}),
        "held": json.dumps([{"kind": one.kind, "symbol": one.symbol, "why": one.why} for one in health.held]),
        "gateway": health.gateway,
        "host": health.host,
        "pid": health.pid,
        "started_us": health.started_us,
        "program": health.program,
    }


def from_columns(account: AccountId, row: Mapping[str, Any]) -> SyncHealth | None:
    """Return the content of a row; None where it is damaged: nothing is known then, which is never safe."""
    try:
        policy, held = json.loads(row["policy"]), json.loads(row["held"])
        plain = {name: value for name, value in row.items() if name in _PLAIN}
        if any(name.endswith(("_us", "pid")) and not isinstance(value, (int, type(None))) for name, value in plain.items()):
            return None
        return SyncHealth(
            account=account,
            verified_sec=float(policy["verified_sec"]),
            balance_halts=bool(policy["balance_halts"]),
            withdrawn_halts=bool(policy["withdrawn_halts"]),
            breached=tuple(map(str, policy.get("breached", ()))),  # an older program stored none
            held=tuple(HeldBack(kind=str(one["kind"]), symbol=one["symbol"], why=str(one["why"])) for one in held),
            **plain,
        )
    except (KeyError, TypeError, ValueError):
        return None
