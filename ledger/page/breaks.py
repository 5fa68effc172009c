"""The open breaks of all accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from ledger.account_status import breaks_of
from ledger.clock import duration_us
from ledger.errors import BadValue, LedgerError
from ledger.json_views import Json, account_json, open_break_json, policy_json, proposal_json
from ledger.page.answers import Unanswered, error_json
from ledger.page.endpoints import ROWS_MAX
from ledger.proposals import pending_of, with_pending
from ledger.safety import is_escalated
from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.page.endpoints import Call


_WAITING: Final[Json] = {"code": "Waiting", "text": "its history is being folded: its breaks follow", "retryable": True}


def open_breaks(call: Call) -> Json:
    """Return the open breaks of all accounts: those left to people first, then by age. One that cannot be read is named.

    Where all kinds are asked for, what waits for a second person and is the answer to no break comes with them.
    """
    desk, asked, now_us = call.desk, call.query, call.desk.now_us()
    unread: dict[AccountId, Json] = {}
    rows = _of_each(desk.accounts_with_breaks(), lambda name: _rows(call, name, now_us), unread)
    least_sec = _age_sec(asked["age"])
    others = with_pending(desk.source.reader) if asked["kind"] is None and asked["state"] != "escalated" else []
    proposals = _of_each(others, lambda name: _without_break(call, name), unread)
    shown = [
        one
        for one in rows
        if asked["kind"] in (None, one["kind"])
        and one["age_sec"] >= least_sec
        and asked["state"] in (None, "open", one["state"])
    ]
    shown.sort(key=lambda one: (one["state"] != "escalated", -one["age_sec"], one["name"], one["version"]))
    errors = [{"account": str(name), "error": error} for name, error in sorted(unread.items())]
    return {"rows": shown[:ROWS_MAX], "found": len(shown), "unread": errors, "proposals": proposals}


def _of_each(names: Iterable[AccountId], read: Callable[[AccountId], list[Json]], unread: dict[AccountId, Json]) -> list[Json]:
    """Return what is read of some accounts; why one cannot be read is added to ``unread``, and the others are shown."""
    found: list[Json] = []
    for name in names:
        try:
            found += read(name)
        except Unanswered:  # the others are shown meanwhile
            unread[name] = _WAITING
        except LedgerError as error:
            if error.retryable:
                raise
            unread[name] = error_json(error)
    return found


def _without_break(call: Call, name: AccountId) -> list[Json]:
    """Return the proposals of an account that are the answer to no break; nothing without any."""
    account = call.desk.source.reader.account(name)
    shown = [one for one in pending_of(account) if one.break_version is None]
    if not shown:
        return []
    terms = account.terms
    return [
        {
            "name": str(name),
            "account": account_json(terms),
            "clock": terms.clock.name,
            "policy": policy_json(account.approvals.policy, terms.clock),
            "proposals": [proposal_json(one, terms.clock) for one in shown],
        }
    ]


def _rows(call: Call, name: AccountId, now_us: int) -> list[Json]:
    desk = call.desk
    account = desk.source.reader.account(name)
    desk.current(account, call.principal.name)
    (portfolio, causes), approvals = breaks_of(account), account.approvals
    attempts_max = desk.source.configuration.policy.attempts_max
    return [
        open_break_json(one, portfolio.terms, now_us, causes.get(one.version), approvals) | {
            "name": str(name),
            "proposals": sum(one.version in (each.break_version, each.opened_break) for each in approvals.pending),
            "state": "escalated" if is_escalated(one, attempts_max) else "open",
        }
        for one in portfolio.breaks
    ]  # fmt: skip


def _age_sec(text: str | None) -> float:
    found = 0 if text is None else duration_us(text)
    if found is None:
        raise BadValue(f"age: expected so long, as 90s, 15min, 1h or 2d, found {text!r}")
    return found / 1_000_000
