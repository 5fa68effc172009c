"""How accounts are: sync health, whether it is safe to trade, open breaks. For ``ledger status`` and the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import evolve, frozen

from ledger.causes import Finding
from ledger.clock import utc_text, utc_text_us
from ledger.derived import breaks_of as breaks_of_summary
from ledger.derived import halts_of, unknown_orders
from ledger.errors import LedgerError
from ledger.filters import EVERYTHING, Filter
from ledger.incidents import open_findings, unexplained_findings
from ledger.journal import Selection
from ledger.journal.derived import Summary
from ledger.journal.health import SyncHealth
from ledger.journal.location import refusal
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.overview import fulls
from ledger.json_views import Json, account_json, halt_json, name_json, unexplained_row_json
from ledger.order_decisions import halts
from ledger.orders.view import Orders
from ledger.portfolio import Portfolio
from ledger.safety import Danger, Seen, Verdict, assess, judge, seen_of
from ledger.service import Account, Ledger
from ledger.values import AccountId
from ledger.views import Break

#: From so many accounts on their summaries are read, where they are of the heads.
MANY: Final = 200


@frozen(kw_only=True)
class AccountStatus:
    """What is known of an account at one moment (UTC, microseconds).

    Attributes:
        name: Which.
        account: As JSON; only its name where its events cannot be read.
        health: How the last sync attempt ended.
        seen: The same with ages.
        verdict: Whether it is safe to trade.
        now_us: The moment.
        degraded: Why the journal has it as degraded, None where it has not;
        degraded_since: and since when.
        open_breaks: How many; None where they are not known, like all below.
        open_orders: How many.
        unknown: The client ids of the orders of which nobody knows whether they were executed.
        halts: Those in force, as JSON.
        proposals: How many corrections wait for a second person.
    """

    name: AccountId
    account: Json
    health: SyncHealth | None
    seen: Seen | None
    verdict: Verdict
    now_us: int
    degraded: str | None = None
    degraded_since: str | None = None
    open_breaks: int | None = None
    open_orders: int | None = None
    unknown: tuple[str, ...] | None = None
    halts: tuple[Json, ...] | None = None
    proposals: int | None = None

    @property
    def is_degraded_by_journal(self) -> bool:
        """Whether only the journal has it as degraded: the last attempt of whoever wrote the health ended otherwise."""
        return self.degraded is not None and (self.health is None or self.health.status not in ("DEGRADED", "FAILED"))

    @property
    def state(self) -> str | None:
        """How the last sync ended, if that still means something; None where there was none."""
        if self.is_degraded_by_journal:
            return "DEGRADED"
        if self.health is None:
            return None
        return "STALE" if self.verdict.danger is Danger.STALE else self.health.status

    @property
    def why(self) -> str | None:
        """Why it is not SUCCESS, now."""
        if self.is_degraded_by_journal:
            return self.degraded
        if self.state == "STALE":
            return self.verdict.why
        return None if self.health is None else self.health.reason

    @property
    def since(self) -> str | None:
        """Since when it is so."""
        if self.is_degraded_by_journal:
            return self.degraded_since
        return None if self.health is None else utc_text_us(self.health.since_us)

    def json_row(self) -> Json:
        """Return it as ``ledger status --json`` prints it."""
        health = self.health
        success_us = None if health is None else health.success_us
        return {
            "account": self.account,
            "state": self.state,
            "since": self.since,
            "why": self.why,
            "last_sync": _time(None if health is None else health.seen_us),
            "last_seen": _time(None if health is None else health.seen_us),
            "last_seen_age_sec": None if self.seen is None else self.seen.seen_sec,
            "last_verified": _time(None if health is None else health.verified_us),
            "last_good_sync": _time(success_us),
            "age_sec": None if success_us is None else (self.now_us - success_us) / 1_000_000,
            "by": health and {
                "host": health.host, "pid": health.pid, "started": utc_text_us(health.started_us), "program": health.program,
                "gateway": health.gateway, "interval_sec": health.interval_us / 1_000_000,
            },
            "open_breaks": self.open_breaks,
            "open_orders": self.open_orders,
            "unknown_orders": None if self.unknown is None else list(self.unknown),
            "halts": None if self.halts is None else list(self.halts),
            "safe_to_trade": self.verdict.is_safe,
            "danger": self.verdict.danger.name.lower(),
            "why_not_safe": self.verdict.why,
            "proposals": self.proposals,
        }  # fmt: skip


def look(account: Account, now_us: int, symbol: str | None = None) -> AccountStatus:
    """Look at an account. One that cannot be read is not safe, and does not hide the others.

    Args:
        account: Which.
        now_us: The present, UTC microseconds.
        symbol: Whether this one is safe to trade; any without it.

    Raises:
        JournalError: The journal does not answer: try again.
    """
    health: SyncHealth | None = None
    seen: Seen | None = None
    try:
        health = account.ledger.journal.sync_health(account.name)
        seen = None if health is None else seen_of(health, now_us)
        version, portfolio = account.current()
        folded = account.replayed_orders(Selection(version=version))
        found = status_of(account, portfolio, folded, health, now_us, symbol)
        location = account.ledger.journal.location(account.name)
        if location.is_here:
            return found
        return evolve(found, verdict=Verdict(danger=Danger.STALE, why=str(refusal(account.name, location))))
    except Exception as error:  # whatever it is, it is one account's
        if isinstance(error, LedgerError) and error.retryable:
            raise
        why = f"the account cannot be read: {str(error) or type(error).__name__}"
        verdict = Verdict(danger=Danger.BREAK, why=why)
        return AccountStatus(
            name=account.name, account=name_json(account.name), health=health, seen=seen, verdict=verdict, now_us=now_us
        )


def look_at_all(ledger: Ledger, accounts: Sequence[Account], now_us: int) -> Iterator[AccountStatus]:
    """Yield how each of many accounts is, in their order: by its summary where that is of its head, else by its events.

    Arguments and errors as ``look``. To fold ten thousand accounts takes minutes, to read their summaries a second.
    """
    journal = ledger.journal
    if len(accounts) < MANY or not isinstance(journal, SqlJournal):
        yield from (look(one, now_us) for one in accounts)
        return
    proposed = frozenset(journal.proposed_since(0))
    for begin in range(0, len(accounts), MANY):
        some = accounts[begin : begin + MANY]
        known = fulls(journal, [one.name for one in some])
        for one in some:
            full = known.get(one.name)
            if full is None or full.newest is None:
                yield look(one, now_us)
                continue
            found = status_of_summary(one, full.newest, full.health, now_us)
            yield evolve(found, proposals=len(one.approvals.pending) if one.name in proposed else 0)


def status_of(
    account: Account, portfolio: Portfolio, orders: Orders, health: SyncHealth | None, now_us: int, symbol: str | None = None
) -> AccountStatus:
    """Return what is known of an account by what its events come to and by how the last sync attempt ended."""
    clock, degraded = portfolio.terms.clock, portfolio.degraded
    open_orders = orders.open_orders(at_utc_msc=now_us // 1000)
    reason = None if degraded is None else degraded.reason
    return AccountStatus(
        name=account.name,
        account=account_json(portfolio.terms),
        health=health,
        seen=None if health is None else seen_of(health, now_us),
        verdict=assess(health, now_us, breaks=portfolio.breaks, degraded=reason, orders=orders, symbol=symbol),
        now_us=now_us,
        degraded=reason,
        degraded_since=None if degraded is None else utc_text(clock.to_utc_msc(degraded.time_msc)),
        open_breaks=len(portfolio.breaks),
        open_orders=len(open_orders),
        unknown=tuple(str(one.client_id) for one in open_orders if one.is_unknown),
        halts=tuple(halt_json(one, clock) for one in halts(account, orders)),
        proposals=len(account.approvals.pending),
    )


def status_of_summary(account: Account, summary: Summary, health: SyncHealth | None, now_us: int) -> AccountStatus:
    """Return the same by the row of the derived tables that an overview reads, without its events."""
    seen = None if health is None else seen_of(health, now_us)
    halted = halts_of(summary)
    terms = account.terms if halted else None
    return AccountStatus(
        name=account.name,
        account={
            "server": account.name.server, "login": account.name.login, "currency": summary.currency, "mode": summary.mode,
        },
        health=health,
        seen=seen,
        verdict=verdict_of_summary(summary, seen, now_us),
        now_us=now_us,
        degraded=summary.degraded_reason,
        degraded_since=None if summary.degraded_utc_msc is None else utc_text(summary.degraded_utc_msc),
        open_breaks=summary.breaks_open,
        open_orders=len(json.loads(summary.orders)),
        unknown=tuple(str(one.client_id) for one in unknown_orders(summary, now_us // 1000)),
        halts=tuple(halt_json(one, terms.clock) for one in halts(account)) if terms is not None else (),
    )  # fmt: skip


def verdict_of_summary(summary: Summary, seen: Seen | None, now_us: int) -> Verdict:
    """Decide whether an account is safe to trade by the row of the derived tables, as ``ledger.safety.assess`` does."""
    return judge(
        seen,
        breaks_of_summary(summary),
        degraded=summary.degraded_reason,
        unknown=unknown_orders(summary, now_us // 1000),
        halts=halts_of(summary),
    )


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else utc_text_us(time_us)


def breaks_of(account: Account) -> tuple[Portfolio, Mapping[int | None, Finding]]:
    """Return a portfolio, and the likely cause of its open breaks by the version that opened them."""
    version, portfolio = account.current()
    if not any(one.version for one in portfolio.breaks):
        return portfolio, {}
    return portfolio, dict(open_findings(account.ledger.journal, account.name, portfolio.terms, version).items())


def unexplained_rows(account: Account, wanted: Filter = EVERYTHING) -> Iterator[Json]:
    """Yield what no deal explains, with its likely cause."""
    version, portfolio = account.current()
    found = [one for one in portfolio.unexplained if wanted.is_of(one.symbol, None)]
    causes = unexplained_findings(account.ledger.journal, account.name, portfolio.terms, found, version)
    return (unexplained_row_json(one, portfolio.terms, cause) for one, cause in zip(found, causes, strict=True))


def subject_of(one: Break, portfolio: Portfolio) -> tuple[str | None, int | None]:
    """Return the symbol and the magic number that a break is about, each None where it is not known."""
    position = None if one.position_id is None else portfolio.position(one.position_id)
    symbol = one.symbol if one.symbol is not None or position is None else position.symbol
    return symbol, None if position is None else position.magic
