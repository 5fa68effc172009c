"""The JSON output: what commands print with ``--json`` and what other programs may rely on.

Numbers that must be exact are text. Times are ISO 8601 in UTC with a Z.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

from attrs import asdict

from ledger.clock import ClockRule, utc_text, utc_text_us
from ledger.errors import BadValue, DealConflict, LedgerError
from ledger.values import EXACT, AccountId, plain, unsigned_magic

if TYPE_CHECKING:  # each command shows a few of them, and would load all
    from ledger.approvals import Approvals, Note, Policy, Proposal
    from ledger.causes import Finding
    from ledger.equity import Equity, EquityRow
    from ledger.events import LimitsSet, Recorded
    from ledger.incidents import Incident
    from ledger.journal import Head
    from ledger.journal.verify.walk import Problem
    from ledger.monitors import MonitorState
    from ledger.order_decisions import Halt, Resolution
    from ledger.orders.view import Order
    from ledger.portfolio import Portfolio
    from ledger.reconcile.compare import Disagreement, NewTicket
    from ledger.reconciler import SyncResult
    from ledger.results import HoldingResults, Results
    from ledger.service import Verification
    from ledger.terms import AccountTerms
    from ledger.views import Break, Position, Trade, Unexplained

Json = dict[str, Any]
_NOTHING = Decimal(0)


def _finding_json(finding: Finding | None) -> Json:
    from ledger.causes import finding_json

    return finding_json(finding)


def account_json(terms: AccountTerms) -> Json:
    """An account with what it is read with."""
    return {
        "server": terms.opened.server,
        "login": terms.opened.login,
        "currency": terms.opened.currency,
        "mode": terms.opened.mode.value,
    }


def name_json(account: AccountId | str) -> Json:
    """An account by name only."""
    name = AccountId.parse(account) if isinstance(account, str) and "/" in account else account
    return {"server": name.server, "login": name.login} if isinstance(name, AccountId) else {"server": name, "login": None}


def _money(terms: AccountTerms) -> Callable[[Decimal], str]:
    digits = terms.opened.currency_digits
    return lambda amount: plain(amount, decimals=digits)


def _second_text(time_msc: int, clock: ClockRule) -> str:
    """Write a time in whole seconds: all that some sources report, so that a portfolio does not depend on its sources."""
    return utc_text(clock.to_utc_msc(time_msc // 1000 * 1000))


def position_json(position: Position, clock: ClockRule) -> Json:
    """An open position."""
    return {
        "position_id": position.position_id,
        "ticket": position.ticket,
        "symbol": position.symbol,
        "side": position.side.value,
        "volume": plain(position.volume),
        "price_open": plain(position.price_open),
        "opened_at": _second_text(position.opened_msc, clock),
        "basis": position.basis,
        "magic": position.magic,
    }


def unexplained_json(one: Unexplained, clock: ClockRule) -> Json:
    """Volume that no deal explains."""
    return {
        "position_id": one.position_id,
        "symbol": one.symbol,
        "kind": one.kind,
        "volume": plain(one.volume),
        "since": _second_text(one.since_msc, clock),
    }


def break_json(one: Break, clock: ClockRule) -> Json:
    """An open disagreement."""
    return {
        "kind": one.kind.value,
        "position_id": one.position_id,
        "symbol": one.symbol,
        "deal": one.deal,
        "order": one.order,
        "client_id": one.client_id,
        "field": one.field,
        "ours": one.ours,
        "theirs": one.theirs,
        "opened_at": utc_text(clock.to_utc_msc(one.opened_msc)),
        "why": one.why,
    }


def trade_json(trade: Trade, terms: AccountTerms) -> Json:
    """A closed trade."""
    clock, money = terms.clock, _money(terms)
    return {
        "position_id": trade.position_id,
        "ticket": trade.ticket,
        "symbol": trade.symbol,
        "side": trade.side.value,
        "volume": plain(trade.volume),
        "opened_at": None if trade.opened_msc is None else utc_text(clock.to_utc_msc(trade.opened_msc)),
        "price_open": None if trade.price_open is None else plain(trade.price_open),
        "closed_at": utc_text(clock.to_utc_msc(trade.closed_msc)),
        "price_close": None if trade.price_close is None else plain(trade.price_close),
        "commission": money(trade.commission),
        "fee": money(trade.fee),
        "swap": money(trade.swap),
        "profit": money(trade.profit),
        "complete": trade.complete,
        "opened_before_history": trade.opened_msc is None,
        "basis": trade.basis,
        "magic": trade.magic,
    }


def balance_json(portfolio: Portfolio) -> Json:
    """Money of an account."""
    terms = portfolio.terms
    money, totals = _money(terms), portfolio.totals
    return {
        "account": account_json(terms),
        "balance": money(portfolio.balance),
        "credit": money(portfolio.credit),
        "commission": money(totals.commission),
        "fee": money(totals.fee),
        "swap": money(totals.swap),
        "profit": money(totals.profit),
        "cash": {kind: money(amount) for kind, amount in totals.cash.items()},
        "deals": totals.deals,
        "deals_incomplete": totals.deals_incomplete,
        "deals_untold": totals.deals_incomplete,  # its old name, for one minor version
        "unexplained": [unexplained_json(one, terms.clock) for one in portfolio.unexplained],
    }


def balance_change_json(before: Portfolio, after: Portfolio, *, since: str, until: str | None) -> Json:
    """How the money of an account changed between two moments: every figure is a difference but those of before and after.

    ``adjusted`` is what no deal moved, of balance and credit together: assertions of the broker and adjustments of people.
    """
    terms, money = after.terms, _money(after.terms)
    old, new = before.totals, after.totals
    with localcontext(EXACT):
        parts = {name: getattr(new, name) - getattr(old, name) for name in ("profit", "swap", "commission", "fee")}
        cash = {kind: new.cash.get(kind, _NOTHING) - old.cash.get(kind, _NOTHING) for kind in sorted({*old.cash, *new.cash})}
        balance, credit = after.balance - before.balance, after.credit - before.credit
        adjusted = balance + credit - sum(parts.values()) - sum(cash.values())
    return {
        "account": account_json(terms),
        "since": since,
        "until": until,
        "balance_before": money(before.balance),
        "balance": money(balance),
        "balance_after": money(after.balance),
        "credit_before": money(before.credit),
        "credit": money(credit),
        "credit_after": money(after.credit),
        **{name: money(amount) for name, amount in parts.items()},
        "cash": {kind: money(amount) for kind, amount in cash.items()},
        "adjusted": money(adjusted),
        "deals": new.deals - old.deals,
        "deals_incomplete": new.deals_incomplete - old.deals_incomplete,
    }


def order_json(order: Order, clock: ClockRule) -> Json:
    """One order. ``since`` is when it came to its state, ``why`` what led there."""
    return {
        "client_id": order.client_id,
        "token": order.token,
        "kind": order.kind.value,
        "symbol": order.symbol,
        "side": order.side.value if order.side else None,
        "volume": None if order.volume is None else plain(order.volume),
        "state": order.state.value,
        "since": utc_text(clock.to_utc_msc(order.since_msc)),
        "why": order.why,
        "ticket": order.ticket,
        "filled": plain(order.filled),
    }


def order_row_json(order: Order, terms: AccountTerms) -> Json:
    """One order as a listing has it: with its account, and with what only some readers need."""
    until = order.valid_until_utc_msc
    return {"account": account_json(terms)} | order_json(order, terms.clock) | {
        "open": order.is_open,
        "tickets": list(order.tickets),
        "position_id": order.position_id,
        "strategy": order.strategy,
        "valid_until": None if until is None else utc_text(until),
    }  # fmt: skip


def halt_json(halt: Halt, clock: ClockRule) -> Json:
    """A halt in force: of the account where ``name`` is None, by an operator or by a rule."""
    return {
        "scope": halt.scope.value,
        "name": halt.name,
        "mode": halt.mode.value,
        "since": utc_text(clock.to_utc_msc(halt.since_msc)),
        "operator": halt.operator,
        "rule": halt.rule,
        "reason": halt.reason,
    }


def blocked_json(blocked: Mapping[str | None, tuple[str, ...]]) -> list[Json]:
    """What accepts no new risk as long as orders are unknown; ``symbol`` is None for any."""
    return [{"symbol": symbol, "client_ids": list(names)} for symbol, names in blocked.items()]


def limits_json(event: LimitsSet | None, terms: AccountTerms) -> Json:
    """The limits in force; ``rules`` is None where none were set. ``problem``: why they cannot be read here."""
    from ledger.orders.limits import Limits

    rules, digest, problem = None, None, None
    if event is not None:
        rules = json.loads(event.rules)
        try:
            digest = Limits.of_rules(rules).digest
        except BadValue as error:
            problem = str(error)
    return {
        "account": account_json(terms),
        "rules": rules,
        "digest": digest,
        "problem": problem,
        "since": None if event is None else utc_text(terms.clock.to_utc_msc(event.time_msc)),
        "operator": None if event is None else event.operator,
        "reason": None if event is None else event.reason,
    }


def resolution_json(proposal: Resolution, terms: AccountTerms) -> Json:
    """What a person's decision about an order changes."""
    return {
        "before": order_row_json(proposal.before, terms),
        "after": order_row_json(proposal.after, terms),
        "blocked": {
            "before": blocked_json(proposal.blocked_before),
            "after": blocked_json(proposal.blocked_after),
        },
        "notes": list(proposal.notes),
    }


def replay_json(
    portfolio: Portfolio,
    *,
    until: str | None,
    known_at: str | None,
    version: int,
    head: str,
    selected: int,
    orders: Sequence[Order] = (),
    approvals: Approvals | None = None,
) -> Json:
    """The portfolio and the orders at a moment, and the corrections that waited for a second person then.

    ``version`` and ``head`` are the account's now, ``selected`` counts events folded.
    """
    terms = portfolio.terms
    clock, money = terms.clock, _money(terms)
    return {
        "account": account_json(terms),
        "until": until,
        "known_at": known_at,
        "version": version,
        "head": head,
        "selected": selected,
        "balance": money(portfolio.balance),
        "credit": money(portfolio.credit),
        "positions": [position_json(position, clock) for position in portfolio.positions.values()],
        "unexplained": [unexplained_json(one, clock) for one in portfolio.unexplained],
        "breaks": [break_json(one, clock) for one in portfolio.breaks],
        "orders": [order_json(one, clock) for one in orders],
        **(approvals_json(approvals, clock) if approvals is not None else {"policy": None, "proposals": []}),
        "deals_incomplete": portfolio.totals.deals_incomplete,
        "deals_untold": portfolio.totals.deals_incomplete,  # its old name, for one minor version
    }


def policy_json(policy: Policy, clock: ClockRule) -> Json:
    """How many persons a correction needs, who set it and when; ``version`` is null where nobody set any."""
    return {
        **policy.rule,
        "version": policy.version,
        "operator": policy.operator,
        "reason": policy.reason,
        "set_at": None if policy.time_msc is None else utc_text(clock.to_utc_msc(policy.time_msc)),
    }


def proposal_json(proposal: Proposal, clock: ClockRule) -> Json:
    """A proposed correction, and what was decided about it."""
    return {
        "version": proposal.version,
        "state": proposal.state.value,
        "why": proposal.why,
        "waits": proposal.waits,
        "urgent": proposal.urgent,
        "operator": proposal.operator,
        "reason": proposal.reason,
        "proposed_at": utc_text(clock.to_utc_msc(proposal.time_msc)),
        "lapses_at": utc_text(proposal.lapses_utc_msc),
        "correction": dict(proposal.correction),
        "effect": dict(proposal.effect),
        "effect_digest": proposal.effect_digest,
        "rests_on": proposal.rests_on,
        "break_version": proposal.break_version,
        "opened_break": proposal.opened_break,
        "position_id": proposal.position_id,
        "symbol": proposal.symbol,
        "decisions": [
            {
                "version": one.version,
                "outcome": one.outcome.value,
                "operator": one.operator,
                "reason": one.reason,
                "decided_at": utc_text(clock.to_utc_msc(one.time_msc)),
                "changed": None if one.changed is None else dict(one.changed),
                "signature": one.signature,
                "key": one.key,
                "rests_on": one.rests_on,
            }
            for one in proposal.decisions
        ],
    }


def note_json(note: Note, clock: ClockRule) -> Json:
    """What a person noted about a break."""
    return {
        "version": note.version,
        "break_version": note.break_version,
        "operator": note.operator,
        "owner": note.owner,
        "text": note.text,
        "noted_at": utc_text(clock.to_utc_msc(note.time_msc)),
    }


def approvals_json(approvals: Approvals, clock: ClockRule) -> Json:
    """The policy in force and the proposals that wait for a second person."""
    return {
        "policy": policy_json(approvals.policy, clock),
        "proposals": [proposal_json(one, clock) for one in approvals.pending],
    }


def recorded_json(events: Sequence[Recorded], terms: AccountTerms, version: int) -> Json:
    """What was recorded of a person's decision that rests on ``version``."""
    return {
        "events": [log_json(event, terms) for event in events],
        "appended": len(events),
        "version": events[-1].version if events else version,
    }


def log_json(recorded: Recorded, terms: AccountTerms) -> Json:
    """One event of the journal."""
    from ledger.codec import plain_fields
    from ledger.events import DealRevised

    event = recorded.event
    data = plain_fields(event.now if isinstance(event, DealRevised) else event, magic=unsigned_magic)
    return {
        "account": account_json(terms),
        "version": recorded.version,
        "kind": recorded.kind,
        "event_time": utc_text(terms.clock.to_utc_msc(event.time_msc) if recorded.utc_msc is None else recorded.utc_msc),
        "recorded_at": utc_text_us(recorded.recorded_us),
        "position_id": data.get("position_id") or getattr(event, "position_id", None),
        "deal": getattr(event, "deal", None),
        "natural_key": recorded.natural_key,
        "caused_by": getattr(event, "caused_by", None),
        "correlation": recorded.correlation,
        "evidence": getattr(event, "evidence", None),
        "data": {"time_msc": event.time_msc} | data,
    } | ({"event_time_ambiguous": True} if recorded.is_ambiguous else {})


def identity_json(portfolio: Portfolio) -> Json:
    """Whether answers of a gateway must state login and server, and since when."""
    terms, identity = portfolio.terms, portfolio.identity
    seen, decided = identity.seen, identity.decided

    def since(time_msc: int) -> str:
        return utc_text(terms.clock.to_utc_msc(time_msc))

    return {
        "account": account_json(terms),
        "required": identity.is_required,
        "identified": None if seen is None else {"form": seen.form, "since": since(seen.time_msc)},
        "decided": None
        if decided is None
        else {
            "kind": type(decided).__name__,
            "operator": decided.operator,
            "reason": decided.reason,
            "since": since(decided.time_msc),
        },
    }


def problem_json(problem: Problem) -> Json:
    """One thing that verification found."""
    return {
        "account": name_json(problem.account),
        "version": problem.version,
        "field": problem.field,
        "what": problem.what,
    }


def verification_json(found: Verification) -> Json:
    """What verification found."""
    return {
        "ok": found.ok,
        "accounts": [
            {
                "account": name_json(one.account),
                "version": one.version,
                "head": one.head,
                "ok": not one.problems,
            }
            for one in found.accounts
        ],
        "problems": [problem_json(problem) for problem in found.problems],
        "schema": [{"kind": one.kind, "name": one.name, "what": one.what} for one in found.schema],
        "signed_decisions": found.signed,
    }


def conflict_json(conflict: DealConflict) -> Json:
    """A deal that was given with other content."""
    return {
        "deal": conflict.deal,
        "differences": {field: {"ours": ours, "theirs": theirs} for field, (ours, theirs) in conflict.differences.items()},
    }


# ------------------------------------------------------------------------------------------------------ reconciliation


def sync_json(result: SyncResult, terms: AccountTerms | None, *, dry_run: bool) -> Json:
    """What a sync did. Without terms the account is only named."""
    return {
        "account": name_json(result.account) if terms is None else account_json(terms),
        "status": result.status.value,
        "reason": result.reason,
        "fills": list(result.fills),
        "revised": list(result.revised),
        "withdrawn": list(result.withdrawn),
        "recovered": list(result.recovered),
        "closed": list(result.closed),
        "corrected": list(result.corrected),
        "reticketed": list(result.reticketed),
        "held": [
            {"position_id": held.position_id, "symbol": held.symbol, "kind": held.kind, "why": held.why} for held in result.held
        ],
        "appended": result.appended,
        "version": result.version,
        "dry_run": dry_run,
    }


# ------------------------------------------------------------------------------------------------- equity, monitors


def equity_json(found: Equity) -> Json:
    """The equity of an account over a period. There is no row where there was no sample."""
    terms = found.account.terms
    return {
        "account": account_json(terms),
        "by": found.by,
        "interval_sec": None if found.interval_us is None else found.interval_us / 1_000_000,
        "equity_reported": found.is_reported,
        "rows": [equity_row_json(row, terms) for row in found.rows],
    }


def equity_row_json(row: EquityRow, terms: AccountTerms) -> Json:
    """One sample, minute or server day."""
    bucket, money = row.bucket, _money(terms)
    if row.mark is not None:
        amounts = {name: getattr(row.mark, name) for name in ("balance", "credit", "floating", "equity", "margin")}
        return {
            "time": utc_text_us(row.begin_us),
            "server_time_msc": row.mark.server_msc,
            **{name: None if amount is None else money(amount) for name, amount in amounts.items()},
            "equity_reported": row.mark.is_equity_reported,
        }
    return {
        **({} if row.day is None else {"day": row.day}),
        "begin": utc_text_us(row.begin_us),
        "end": utc_text_us(row.end_us),
        **{name: money(getattr(bucket, name)) for name in _PRICES},
        **{f"{name}_time": utc_text_us(getattr(bucket, f"{name}_us")) for name in _PRICES},
        "samples": bucket.samples,
    }


_PRICES = ("open", "high", "low", "close")


def monitor_json(one: MonitorState, terms: AccountTerms | None) -> Json:
    """The state of one limit of an account. Without terms the account is only named: it is not in the journal."""
    from ledger.monitors import NOTE

    money = plain if terms is None else _money(terms)
    amounts = {name: getattr(one, name) for name in ("allowed", "used", "left", "level", "equity", "base")}
    times = {
        "as_of": one.as_of_us, "breached_at": one.breached_us, "day_start": one.day_start_us, "day_end": one.day_end_us,
    }  # fmt: skip
    return {
        "account": name_json(one.account) if terms is None else account_json(terms),
        "limit": one.limit,
        "rule": str(getattr(one.rules, one.limit)),
        "state": one.state.value,
        "reason": one.reason,
        **{name: None if amount is None else money(amount) for name, amount in amounts.items()},
        "base_from": one.base_from,
        "equity_reported": one.is_equity_reported,
        **{name: None if at_us is None else utc_text_us(at_us) for name, at_us in times.items()},
        "day": one.day,
        "for_good": one.is_for_good,
        "warn_at": str(one.rules.warn_at),
        "unsafe_on_breach": one.rules.unsafe_on_breach,
        "interval_sec": None if one.interval_us is None else one.interval_us / 1_000_000,
        "note": NOTE,
    }


def drift_json(terms: AccountTerms, found: Sequence[Disagreement | NewTicket]) -> Json:
    """How an account and a snapshot differ: one entry a field."""
    from ledger.reconcile.compare import NewTicket

    breaks = [entry for one in found if not isinstance(one, NewTicket) for entry in _break_entries(one)]
    return {
        "account": account_json(terms),
        "agrees": not breaks,
        "breaks": breaks,
        "reticketed": [one.position_id for one in found if isinstance(one, NewTicket)],
    }


def no_drift_json(account: Json | None, url: str | None, error: LedgerError) -> Json:
    """An account without a usable snapshot: whether it agrees is not known."""
    return {
        "account": account,
        "agrees": None,
        "breaks": [],
        "reticketed": [],
        "gateway": url,
        "error": {"code": type(error).__name__, "text": str(error), "retryable": error.retryable},
    }


def _break_entries(one: Disagreement) -> list[Json]:
    from ledger.reconcile.compare import Drift
    from ledger.reconcile.decide import describe_sides

    entry: Json = {"kind": one.kind.value, "position_id": one.position_id, "symbol": one.symbol}
    if isinstance(one, Drift):
        return [entry | {"field": each.field, "ours": each.ours, "theirs": each.theirs} for each in one.differences]
    field, ours, theirs = describe_sides(one)
    return [entry | {"field": field, "ours": ours, "theirs": theirs}]


def open_break_json(
    one: Break, terms: AccountTerms, now_us: int, finding: Finding | None = None, approvals: Approvals | None = None
) -> Json:
    """An open disagreement with its age, what was tried, its likely cause, who took it over, and what waits for a person.

    ``proposal`` is the version of a proposal that waits: to settle the break, or to be confirmed.
    """
    from ledger.causes import NOTHING

    opened_us = terms.clock.to_utc_msc(one.opened_msc) * 1000
    return {"account": account_json(terms)} | break_json(one, terms.clock) | {
        "age_sec": max(0, (now_us - opened_us) // 1_000_000),
        "confirmations": one.confirmations,
        "attempts": one.attempts,
    } | _finding_json(finding or NOTHING) | {
        "version": one.version,
        "owner": None if approvals is None or one.version is None else approvals.owner(one.version),
        "proposal": None if approvals is None else _proposal_about(one, approvals),
    }  # fmt: skip


def _proposal_about(one: Break, approvals: Approvals) -> int | None:
    """Return the version of the proposal that settles a break, or that it waits to be confirmed for."""
    return next((each.version for each in approvals.pending if one.version in (each.opened_break, each.break_version)), None)


def unexplained_row_json(one: Unexplained, terms: AccountTerms, finding: Finding) -> Json:
    """What no deal explains as a listing has it: with its account and its likely cause."""
    return {"account": account_json(terms)} | unexplained_json(one, terms.clock) | _finding_json(finding)


def incident_json(incident: Incident, terms: AccountTerms, now_us: int) -> Json:
    """An incident. ``duration_sec`` is null for what has none, and goes on while it is open."""
    duration_us = incident.duration_us(now_us)
    return (
        {
            "account": account_json(terms),
            "kind": incident.kind,
            "position_id": incident.position_id,
            "symbol": incident.symbol,
            "deal": incident.deal,
            "started_at": utc_text_us(incident.started_us),
            "ended_at": None if incident.ended_us is None else utc_text_us(incident.ended_us),
            "duration_sec": None if duration_us is None else round(duration_us / 1_000_000, 3),
            "outcome": incident.outcome,
            "operator": incident.operator,
            "reason": incident.reason,
            "versions": list(incident.versions),
        }
        | _finding_json(incident.finding)
        | {"approved_by": incident.approved_by, "owner": incident.owner}
    )


def results_json(results: Results, *, digits: int = 0, holding: HoldingResults | None = None) -> Json:
    """The figures of MT5's Results section under MT5's names; ``digits`` are the decimals of the currency.

    Counts are numbers, all else is text; null where a figure is not defined, or rests on a balance that is not known.
    """
    from ledger.results import MONEY_FIGURES

    block: Json = {name: _figure(value, digits if name in MONEY_FIGURES else 0) for name, value in asdict(results).items()}
    if holding is not None:
        block |= {f"position_holding_time_{name}": value for name, value in asdict(holding).items()}
    return block


def _figure(value: Decimal | int | None, digits: int) -> str | int | None:
    return plain(value, decimals=digits) if isinstance(value, Decimal) else value


def heads_json(heads: Mapping[AccountId, Head]) -> list[Json]:
    """Account heads."""
    return [{"account": name_json(name), "version": head.version, "head": head.hash.hex()} for name, head in heads.items()]
