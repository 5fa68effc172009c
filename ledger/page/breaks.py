"""The open breaks of all accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ledger.account_status import breaks_of
from ledger.clock import duration_us
from ledger.errors import BadValue, LedgerError
from ledger.json_views import Json, open_break_json
from ledger.page.answers import Unanswered, error_json
from ledger.page.endpoints import ROWS_MAX
from ledger.safety import is_escalated
from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.page.endpoints import Call


_WAITING: Final[Json] = {"code": "Waiting", "text": "its history is being folded: its breaks follow", "retryable": True}


def open_breaks(call: Call) -> Json:
    """Return the open breaks of all accounts: those left to people first, then by age. One that cannot be read is named."""
    desk, asked, now_us = call.desk, call.query, call.desk.now_us()
    rows: list[Json] = []
    unread: list[Json] = []
    for name in desk.accounts_with_breaks():
        try:
            rows += _rows(call, name, now_us)
        except Unanswered:  # the others are shown meanwhile
            unread.append({"account": str(name), "error": _WAITING})
        except LedgerError as error:
            if error.retryable:
                raise
            unread.append({"account": str(name), "error": error_json(error)})
    least_sec = _age_sec(asked["age"])
    shown = [
        one
        for one in rows
        if asked["kind"] in (None, one["kind"])
        and one["age_sec"] >= least_sec
        and asked["state"] in (None, "open", one["state"])
    ]
    shown.sort(key=lambda one: (one["state"] != "escalated", -one["age_sec"], one["name"], one["version"]))
    return {"rows": shown[:ROWS_MAX], "found": len(shown), "unread": unread}


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
