"""This module is what a notice can be about: conditions that are present now, as values. Pure.

Every condition has a key that is the same in every round and every process while it lasts, so that what was sent about it is
found again. It begins with the journal's id, and the account or the server, where it is of one.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import evolve, frozen

from ledger.events import BreakKind
from ledger.journal.health import SyncHealth
from ledger.safety import Danger, Verdict, is_escalated
from ledger.values import AccountId
from ledger.views import Break

#: From here on the notices of single accounts give way to one about their server.
SERVER_SHARE: Final = 0.3
SERVER_ACCOUNTS_MIN: Final = 5
#: What is said of an account that is degraded, stale, or one after the other.
NO_SYNC: Final = "no usable sync"
#: The stage of what needs a person at once, however old it is.
ESCALATED: Final = 1


@frozen(kw_only=True)
class Condition:
    """Something that is wrong now.

    Attributes:
        key: What it is known by while it lasts.
        kind: A kind of break, or sync, server, limit, disk, journal, verify, verify-old.
        what: One sentence.
        since_us: When it began, UTC; None where that is not known.
        server: Whose; None for the journal's.
        account: Whose; None for a server's or the journal's.
        subject: What of the account it is about: a position, an order, a figure.
        symbol: Of what.
        ours: What the journal holds, of a break.
        theirs: What the broker has, of a break.
        is_safe: Whether the account is safe to trade; None where that is not known, or it is no account's.
        why_unsafe: Why it is not.
        cause: The likely cause, if one is known.
        command: What to do next.
        has_grace: Whether it is reported only after the grace period.
        stage: The stage that it has reached whatever its age.
        is_escalating: Whether it goes through the stages with its age.
        is_inhibited: Whether another notice says it for all of a server.
        quiet_until_us: The grace period begins here, if that is later.
        owner: Who took it over last.
        acknowledged_us: When; for a while nobody is reminded.
    """

    key: str
    kind: str
    what: str
    since_us: int | None
    server: str | None = None
    account: AccountId | None = None
    subject: str = ""
    symbol: str | None = None
    ours: str | None = None
    theirs: str | None = None
    is_safe: bool | None = None
    why_unsafe: str | None = None
    cause: str | None = None
    command: str = "ledger status"
    has_grace: bool = True
    stage: int = 0
    is_escalating: bool = True
    is_inhibited: bool = False
    quiet_until_us: int = 0
    owner: str | None = None
    acknowledged_us: int | None = None

    @property
    def about(self) -> str:
        """What it is of, for people."""
        return str(self.account or self.server or "the journal")


def account_prefix(journal_id: str, account: AccountId) -> str:
    """Return what the keys of an account's conditions begin with."""
    return f"ledger:{journal_id}:{account}:"


def server_prefix(journal_id: str, server: str) -> str:
    """Return what the keys of a server's conditions begin with. No account's key does: an account has a slash."""
    return f"ledger:{journal_id}:{server}:server:"


def journal_prefix(journal_id: str, kind: str) -> str:
    """Return what the keys of the journal's own conditions of a kind begin with."""
    return f"ledger:{journal_id}::{kind}:"


def of_account(account: AccountId, command: str) -> str:
    """Return a command about an account as a person types it."""
    return f"{command} --account {shlex.quote(str(account))}"


# ---- of breaks


def break_condition(
    journal_id: str, account: AccountId, one: Break, *, opened_us: int, verdict: Verdict, attempts_max: int,
    cause: str | None = None, owner: str | None = None, acknowledged_us: int | None = None,
) -> Condition:  # fmt: skip
    """Return the condition of an open break. ``opened_us`` is when its first sighting was recorded."""
    # What the fold itself found was opened by no event; it is of the account's money, and there is one at a time.
    life = f"{one.kind.value}-{one.field}-{one.opened_msc}" if one.version is None else str(one.version)
    needs_person = is_escalated(one, attempts_max)
    return Condition(
        key=account_prefix(journal_id, account) + life,
        kind=one.kind.value,
        what=_what_broke(one, attempts_max),
        since_us=opened_us,
        server=account.server,
        account=account,
        subject=subject_of(one),
        symbol=one.symbol,
        ours=one.ours,
        theirs=one.theirs,
        is_safe=verdict.is_safe,
        why_unsafe=verdict.why,
        cause=cause,
        command=_command_of(one, account),
        has_grace=not needs_person and one.kind is not BreakKind.APPROVAL,
        stage=ESCALATED if needs_person else 0,
        owner=owner,
        acknowledged_us=acknowledged_us,
    )


def subject_of(one: Break) -> str:
    """Return what a break is about: a position, an order with what of it, or a figure."""
    order = one.order or one.client_id
    if one.position_id is None and order is not None:
        return f"{order} {one.field or ''}".rstrip()
    return " ".join(str(part) for part in (one.position_id or one.deal or one.field, one.symbol) if part)


_WORDS: Final = {
    "ghost": "we hold a position that the broker does not have",
    "zombie": "the broker has a position that we do not hold",
    "drift": "a position differs from the broker's",
    "balance": "balance or credit differs from the broker's",
    "clock": "the server's clock is not what its rule says",
    "withdrawn": "the broker does not list a deal any more",
    "order": "an order and the broker's record of it do not agree",
    "approval": "one person corrected something at once; a second one has to confirm it",
    "stops": "a position does not have the stops that were asked for",
}


def _what_broke(one: Break, attempts_max: int) -> str:
    what = _WORDS.get(one.kind.value, one.kind.value)
    if one.flaps is not None:
        return f"{what}; it disagreed {one.flaps} times, and nothing is corrected any more"
    if one.attempts >= attempts_max:
        return f"{what}; {one.attempts} corrections did not help"
    return f"{what}: {one.why}" if one.why else what


def _command_of(one: Break, account: AccountId) -> str:
    if one.client_id is not None:
        return of_account(account, f"ledger order show {one.client_id}")
    if one.kind is BreakKind.APPROVAL:
        return of_account(account, "ledger proposals")
    return of_account(account, "ledger breaks")


# ---- of syncs


def sync_condition(
    journal_id: str, account: AccountId, verdict: Verdict, *, since_us: int | None, key: str | None = None
) -> Condition:
    """Return the condition of an account that has no usable snapshot, or is not synced any more.

    ``key`` is that of the same condition in an earlier round, whatever it began with.
    """
    return Condition(
        key=key or f"{account_prefix(journal_id, account)}sync:{since_us or 0}",
        kind="sync",
        what=verdict.why or "",
        since_us=since_us,
        server=account.server,
        account=account,
        subject=NO_SYNC,
        is_safe=False,
        why_unsafe=verdict.why,
        command=of_account(account, "ledger doctor"),
    )


def sync_began_us(health: SyncHealth | None, verdict: Verdict, *, degraded_us: int | None, opened_us: int) -> int | None:
    """Return since when an account is degraded, or was last verified, UTC; None where that is not known.

    Args:
        health: What the last attempt left; None for never.
        verdict: What was decided from it.
        degraded_us: Since when the journal has it as degraded.
        opened_us: When the account was opened.
    """
    if health is None:
        return opened_us
    if verdict.danger is Danger.DEGRADED:
        return health.since_us if health.status in ("DEGRADED", "FAILED") else degraded_us
    return health.started_us if health.verified_us is None else health.verified_us


def with_servers(
    journal_id: str, found: Sequence[Condition], totals: Mapping[str, int], keys: Mapping[str, str]
) -> list[Condition]:
    """Return conditions of sync with one for each server that most of them are of; those of its accounts are inhibited then.

    Args:
        journal_id: Which journal's.
        found: The conditions of the accounts, of sync only.
        totals: Server -> its accounts.
        keys: Server -> the key of the condition that it had in an earlier round.
    """
    by_server: dict[str, list[Condition]] = {}
    for one in found:
        by_server.setdefault(one.server or "", []).append(one)
    conditions: list[Condition] = []
    for server, members in by_server.items():
        total = totals[server]
        if total < SERVER_ACCOUNTS_MIN or len(members) <= SERVER_SHARE * total:
            conditions += members
            continue
        conditions += (evolve(one, is_inhibited=True) for one in members)
        since_us = _crossed_us([one.since_us for one in members], total)
        conditions.append(
            Condition(
                key=keys.get(server) or f"{server_prefix(journal_id, server)}{since_us or 0}",
                kind="server",
                what=f"{len(members)} of {total} accounts have no usable sync; of {members[0].account}: {members[0].what}",
                since_us=since_us,
                server=server,
                subject="accounts degraded",
                command="ledger status --check",
            )
        )
    return conditions


def _crossed_us(begins: Iterable[int | None], total: int) -> int | None:
    """Return when the share of a server's accounts crossed the limit; None where that is not known."""
    known = sorted(begin or 0 for begin in begins)
    return known[int(SERVER_SHARE * total)] or None


# ---- of limits


@frozen(kw_only=True)
class LimitState:
    """The state of a limit of an account on a day: ok, near, breached or unknown, and why in words."""

    account: AccountId
    limit: str
    day: str
    state: str
    what: str
    since_us: int | None = None


def limit_conditions(journal_id: str, one: LimitState) -> list[Condition]:
    """Return the conditions of a limit: that it is near, and that it is breached. What is breached was near."""
    states = {"near": ("near",), "breached": ("near", "breached")}.get(one.state, ())
    return [
        Condition(
            key=f"{limit_prefix(journal_id, one)}{one.day}:{state}",
            kind="limit",
            what=one.what,
            since_us=one.since_us,
            server=one.account.server,
            account=one.account,
            subject=f"{one.limit} {state}",
            command=of_account(one.account, "ledger monitors"),
            has_grace=False,
            stage=ESCALATED if state == "breached" else 0,
            is_escalating=False,
            is_inhibited=state != one.state,
        )
        for state in states
    ]


def limit_prefix(journal_id: str, one: LimitState) -> str:
    """Return what the keys of a limit of an account begin with, whatever day."""
    return f"{account_prefix(journal_id, one.account)}limit:{one.limit}:"
