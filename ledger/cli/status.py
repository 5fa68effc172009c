"""The commands that show how accounts stand: status and open breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from ledger.cli.gateways import policy
from ledger.cli.health import health_file
from ledger.cli.options import account_option, accounts_of, journal_option, journal_url, json_option, open_ledger
from ledger.cli.output import print_json, print_table, say
from ledger.clock import utc_text
from ledger.faces import Json, account_face, open_break_face
from ledger.portfolio import Portfolio
from ledger.reconcile.policy import ReconcilePolicy
from ledger.reconciler import is_in_the_way
from ledger.service import utc_now_us
from ledger.values import AccountId

_MICROSECOND: Final = 1_000_000


@click.command("status", short_help="Show how syncing stands, and whether it is safe to trade.")
@journal_option
@account_option
@click.option("--health", metavar="FILE", help="The health file that sync writes; beside a SQLite journal without.")
@json_option
def status(journal: str | None, account: AccountId | None, health: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Show each account's last good sync, state, open breaks, and whether it is safe to trade.

    \b
    Example:
      ledger status --json
    """
    with open_ledger(journal) as ledger:
        told = health_file(health, journal_url(journal)).read()
        rules = policy()
        faces = [
            _status_face(found.portfolio, told.get(str(found.name), {}), rules, utc_now_us())
            for found in accounts_of(ledger, account)
        ]
    if as_json:
        print_json(faces)
        return
    print_table(
        "status",
        ["account", "state", "last good sync (UTC)", ">age", ">breaks", "safe"],
        [
            [
                f"{face['account']['server']}/{face['account']['login']}", face["state"] or "never",
                (face["last_good_sync"] or "never")[:19].replace("T", " "), _age(face["age_sec"]), str(face["open_breaks"]),
                "yes" if face["safe_to_trade"] else "no",
            ]
            for face in faces
        ],
        empty="no accounts yet",
    )  # fmt: skip
    for face in faces:
        if face["why_not_safe"]:
            say(f"{face['account']['server']}/{face['account']['login']}: {face['why_not_safe']}")


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _status_face(portfolio: Portfolio, told: Mapping[str, Any], rules: ReconcilePolicy, now_us: int) -> Json:
    """Say how an account stands: what the journal knows for certain, and what the last sync said of itself."""
    standing, degraded = portfolio.standing, portfolio.degraded
    state, since, why = told.get("state"), told.get("since"), told.get("why")
    if degraded is not None:
        state, why = "DEGRADED", degraded.reason
        since = utc_text(standing.clock.to_utc_msc(degraded.time_msc))
    good_us, verified_us = told.get("last_good_sync_us"), told.get("verified_us")
    verified_sec = (now_us - verified_us) / _MICROSECOND if verified_us else None
    unsafe = told.get("why_not_safe")
    if degraded is not None:
        unsafe = f"DEGRADED since {since}: {why}"
    elif verified_sec is None:
        unsafe = "no sync is known: ledger sync"
    elif verified_sec > rules.verified_sec:
        unsafe = f"the last verification is {_age(verified_sec)} old, at most {rules.verified_sec:.0f} s are allowed"
    else:
        standing_in_the_way = [one for one in portfolio.breaks if is_in_the_way(one, None, rules)]
        if standing_in_the_way:
            unsafe = f"{len(standing_in_the_way)} breaks are open: ledger breaks"
    return {
        "account": account_face(standing),
        "state": state,
        "since": since,
        "why": why,
        "last_sync": told.get("last_sync"),
        "last_good_sync": told.get("last_good_sync"),
        "age_sec": (now_us - good_us) / _MICROSECOND if good_us else None,
        "open_breaks": len(portfolio.breaks),
        "safe_to_trade": unsafe is None,
        "why_not_safe": unsafe,
    }


@click.command("breaks", short_help="List open breaks with their age.")
@journal_option
@account_option
@json_option
def breaks(journal: str | None, account: AccountId | None, as_json: bool) -> None:  # noqa: FBT001
    """List what does not agree and is not settled, with its age and what was tried."""
    with open_ledger(journal) as ledger:
        now_us = utc_now_us()
        faces = [
            open_break_face(one, found.standing, now_us)
            for found in accounts_of(ledger, account)
            for one in found.portfolio.breaks
        ]
    if as_json:
        print_json(faces)
        return
    print_table(
        "open breaks",
        ["kind", ">position", "ours", "theirs", ">age", ">seen", ">tried"],
        [
            [
                face["kind"], str(face["position_id"] or face["field"] or ""), face["ours"] or "none", face["theirs"] or "none",
                _age(face["age_sec"]), str(face["confirmations"]), str(face["attempts"]),
            ]
            for face in faces
        ],
        empty="none",
    )  # fmt: skip
    for face in faces:
        if face["why"]:
            say(f"{face['kind']} {face['position_id'] or face['field'] or ''}: {face['why']}")


COMMANDS: Final = {"status": status, "breaks": breaks}
