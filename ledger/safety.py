"""Safety: whether an engine may open something now. One rule for the library, the command line and whatever else shows it.

It rests on what the last sync attempt left (``SyncHealth``), on how long ago that was, on the breaks that are open, on halts,
on orders of which nobody knows whether they were executed, and on breaches of monitors that are to make it unsafe. What is not
known, an age that is negative or no number included, is not safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

from attrs import frozen

from ledger.clock import SECOND_US
from ledger.events import BreakKind
from ledger.events.orders import HaltMode, HaltScope, OrderKind
from ledger.journal.health import HeldBack, SyncHealth
from ledger.orders.view import Order, Orders, how_to_resume
from ledger.views import Break

_NO_SNAPSHOT: Final = ("DEGRADED", "FAILED")
#: An account is not seen if its last attempt is more than so many intervals ago.
INTERVALS_MAX: Final = 3
#: So far clocks of two machines may be apart before an age counts as negative, in seconds.
_CLOCKS_APART_SEC: Final = 1.0


class Danger(IntEnum):
    """Why it is not safe to trade: the exit codes of ``ledger status --check``. Of several accounts the highest counts."""

    #: It is.
    NONE = 0
    #: Recently verified, but a break or something held is in the way.
    BREAK = 1
    #: Syncing runs, and its last attempt had no usable snapshot, or the journal refused.
    DEGRADED = 4
    #: Never synced, not verified in time, or not seen: nothing reconciles the account with its broker.
    STALE = 5


@frozen(kw_only=True)
class Verdict:
    """Whether an account, or one symbol of it, is safe to trade, and why not."""

    danger: Danger
    why: str | None = None

    @property
    def is_safe(self) -> bool:
        """Whether an engine may open something."""
        return self.danger is Danger.NONE


@frozen(kw_only=True)
class Seen:
    """What the last sync attempt left, with ages instead of times.

    Attributes:
        status: How it ended.
        reason: Why it is not SUCCESS, now.
        seen_sec: How long ago it ended, in seconds.
        verified_sec: How long ago a snapshot was last believed; None for never.
        interval_sec: Between two attempts, as planned.
        verified_sec_max: How old a verification may be.
        balance_halts: Whether the policy halts while balance or credit differ.
        withdrawn_halts: Whether it halts while the broker does not list a deal any more.
        held: What was held back.
        breached: What monitors found that makes it unsafe, in words.
        by: Which process it was, for people.
    """

    status: str
    reason: str | None
    seen_sec: float
    verified_sec: float | None
    interval_sec: float
    verified_sec_max: float
    balance_halts: bool
    withdrawn_halts: bool = False
    held: Sequence[HeldBack] = ()
    breached: Sequence[str] = ()
    by: str | None = None


def seen_of(health: SyncHealth, now_us: int) -> Seen:
    """Return what is stored of a sync attempt, at a moment (UTC, microseconds)."""
    verified_us = health.verified_us
    return Seen(
        status=health.status,
        reason=health.reason,
        seen_sec=(now_us - health.seen_us) / SECOND_US,
        verified_sec=None if verified_us is None else (now_us - verified_us) / SECOND_US,
        interval_sec=health.interval_us / SECOND_US,
        verified_sec_max=health.verified_sec,
        balance_halts=health.balance_halts,
        withdrawn_halts=health.withdrawn_halts,
        held=health.held,
        breached=health.breached,
        by=f"{health.host}, process {health.pid}",
    )


def state_of(health: SyncHealth | None, *, degraded: str | None) -> str | None:
    """Return how the last sync attempt ended: SUCCESS, PARTIAL, DEGRADED or FAILED; None where there was none.

    Args:
        health: What is stored of it.
        degraded: Why the journal has the account as degraded, whoever stored the last attempt; None where it has not.
    """
    if degraded is not None and (health is None or health.status not in _NO_SNAPSHOT):
        return _NO_SNAPSHOT[0]
    return None if health is None else health.status


def assess(
    health: SyncHealth | None,
    now_us: int,
    *,
    breaks: Iterable[Break],
    degraded: str | None,
    orders: Orders,
    symbol: str | None = None,
) -> Verdict:
    """Decide whether it is safe to trade by what is stored: for everybody but the process that syncs the account itself.

    Args:
        health: What the last sync attempt left; None for never.
        now_us: The present, UTC in microseconds.
        breaks: The open ones of the account.
        degraded: Why the journal has the account as degraded; None where it has not.
        orders: All of the account.
        symbol: Only this one; any without it.
    """
    seen = None if health is None else seen_of(health, now_us)
    unknown = [one for one in orders.open_orders(at_utc_msc=now_us // 1000) if one.is_unknown]
    return judge(seen, breaks, degraded=degraded, symbol=symbol, unknown=unknown, halts=orders.halts.items())


def judge(
    seen: Seen | None,
    breaks: Iterable[Break],
    *,
    degraded: str | None = None,
    symbol: str | None = None,
    unknown: Iterable[Order] = (),
    halts: Iterable[tuple[tuple[HaltScope, str | None], HaltMode]] = (),
) -> Verdict:
    """Decide whether it is safe to trade.

    Args:
        seen: The last sync attempt; None for never.
        breaks: The open ones of the account.
        degraded: Why the journal has the account as degraded; None where it has not.
        symbol: Only this one; any without it.
        unknown: Orders of which nobody knows whether they were executed.
        halts: What is halted, as items of ``Orders.halts``.
    """
    if seen is None:
        return Verdict(danger=Danger.STALE, why="nothing was verified yet: run startup_recovery, or ledger sync --startup")
    unseen = _too_old("the last sync attempt", seen.seen_sec, max(INTERVALS_MAX * seen.interval_sec, seen.verified_sec_max))
    if unseen is not None:
        by = f" (by {seen.by})" if seen.by else ""
        return Verdict(danger=Danger.STALE, why=f"no sync is running: {unseen}{by}")
    if seen.status in _NO_SNAPSHOT:
        return Verdict(danger=Danger.DEGRADED, why=f"{seen.status}: {seen.reason}")
    if degraded is not None:
        return Verdict(danger=Danger.DEGRADED, why=f"DEGRADED: {degraded}")
    if seen.verified_sec is None:
        return Verdict(danger=Danger.STALE, why="no snapshot was believed yet")
    unverified = _too_old("the last verification", seen.verified_sec, seen.verified_sec_max)
    if unverified is not None:
        return Verdict(danger=Danger.STALE, why=unverified)
    blocked = _halted(halts, symbol) or next(iter(seen.breached), None) or _unknown(unknown, symbol)
    in_the_way = blocked or _held(seen, symbol) or _broken(seen, breaks, symbol)
    return Verdict(danger=Danger.BREAK, why=in_the_way) if in_the_way else Verdict(danger=Danger.NONE)


def blocks_trading(one: Break, symbol: str | None, *, balance_halts: bool, withdrawn_halts: bool) -> bool:
    """Return whether an open break makes it unsafe to trade a symbol, or anything without one.

    Money that does not add up shows nothing about positions: it blocks trading only where the policy halts at it. So is a cash
    movement that the broker does not list any more. A correction that nobody confirmed yet was applied, and blocks nothing.
    """
    if one.kind is BreakKind.APPROVAL:
        return False
    if one.kind is BreakKind.BALANCE:
        return balance_halts
    if one.kind is BreakKind.WITHDRAWN and one.symbol is None:
        return withdrawn_halts
    if one.symbol is None or symbol is None or one.symbol == symbol:
        return True
    return one.flaps is not None and "symbol" in (one.field or "").split(",")  # of which symbol it is, is in doubt


def is_escalated(one: Break, attempts_max: int) -> bool:
    """Return whether an open break is left to people: as many corrections did not help, or its position flaps."""
    return one.flaps is not None or one.attempts >= attempts_max


def age_text(seconds: float) -> str:
    """Write an age for people, in the largest unit that it fills."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _exact_age(seconds: float) -> str:
    """Write an age so that one just above what is allowed can be distinguished from it."""
    return f"{seconds:.0f} s" if seconds < 600 else age_text(seconds)


def _too_old(what: str, age_sec: float, allowed_sec: float) -> str | None:
    """Say what is wrong with an age; None if it is one, and not above what is allowed."""
    if 0 <= age_sec <= allowed_sec or -_CLOCKS_APART_SEC <= age_sec < 0 <= allowed_sec:
        return None
    if age_sec < 0:
        return f"{what} is {age_text(-age_sec)} in the future: a clock is wrong"
    if age_sec > allowed_sec:
        return f"{what} is {_exact_age(age_sec)} old, at most {_exact_age(allowed_sec)} are allowed"
    return f"{what} has no age that can be compared: {age_sec} s, {allowed_sec} s are allowed"


def _halted(halts: Iterable[tuple[tuple[HaltScope, str | None], HaltMode]], symbol: str | None) -> str | None:
    """Name a halt. That of a strategy is in the way of that strategy alone."""
    for (scope, name), mode in halts:
        if scope is HaltScope.ACCOUNT or (scope is HaltScope.SYMBOL and symbol in (None, name)):
            risk = "" if mode is HaltMode.ALL else ", no new risk"
            return f"trading of {name or 'the account'} is halted{risk}: {how_to_resume(scope, name)} ends it"
    return None


def _unknown(orders: Iterable[Order], symbol: str | None) -> str | None:
    """Name an order that may or may not have been executed; one of no known symbol may be of any.

    One that sets stops adds no volume, and asking again does no harm: it is in nobody's way.
    """
    found = [one for one in orders if one.kind is not OrderKind.STOPS and (symbol is None or one.symbol in (None, symbol))]
    if not found:
        return None
    first, more = found[0], f" and {len(found) - 1} more" if len(found) > 1 else ""
    about = f" of {first.symbol}" if first.symbol else ""
    return f"order {first.client_id}{about}{more} may or may not have been executed: ledger orders --unknown"


def _held(seen: Seen, symbol: str | None) -> str | None:
    for one in seen.held:
        is_money = one.kind == BreakKind.BALANCE.value or (one.kind == BreakKind.WITHDRAWN.value and one.symbol is None)
        if not is_money and (symbol is None or one.symbol in (None, symbol)):
            return f"{one.kind} {one.symbol or ''} is held: {one.why}"
    return None


def _broken(seen: Seen, breaks: Iterable[Break], symbol: str | None) -> str | None:
    for one in breaks:
        if blocks_trading(one, symbol, balance_halts=seen.balance_halts, withdrawn_halts=seen.withdrawn_halts):
            return f"a {one.kind.value} of {one.symbol or 'the account'} is open: {one.why or one.theirs or one.ours or ''}"
    return None
