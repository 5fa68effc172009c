"""The commands for a person's corrections: the effect is shown first, then asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.options import (
    account_of,
    account_option,
    decision_options,
    journal_option,
    json_option,
    open_ledger,
    require_consent,
    yes_option,
)
from ledger.cli.output import print_line, print_table
from ledger.cli.proposal_output import WAITS, report
from ledger.cli.recipes import Recipe, add_recipes, urgent_option
from ledger.events import BreakClosed
from ledger.json_views import balance_json, position_json, unexplained_json
from ledger.proposals import PROPOSED, CorrectionRequest, Draft, draft, propose
from ledger.proposals import correct as apply_or_propose
from ledger.values import AccountId, plain

if TYPE_CHECKING:
    from ledger.portfolio import Portfolio


@click.group("correct", short_help="Correct manually what no machine can know.")
def correct() -> None:
    """Correct manually what no machine can know. Operator and reason are recorded with it; nothing is overwritten.

    Where the policy of the account asks for a second person, the correction is proposed instead: nothing is corrected until
    another person approves it, and the exit code is 4. --urgent applies it all the same.

    \b
    Examples:
      ledger correct close 50629002942 --reason "closed at the dealer's desk"
      ledger correct update 50629002942 --volume 0.20 --reason "half was closed" --yes
      ledger correct add 50629002942 EURUSD buy 0.10 1.0543 --reason "opened by phone"
      ledger correct balance --to 10250.00 --reason "bonus that the gateway does not report"
      ledger correct withdraw 5001 --reason "the broker deleted it, ticket 4711"
      ledger correct accept 50629002942 --reason "the broker has no deals of 2019"

    Exit codes: 0 corrected, 4 proposed for a second person.
    """


def _correct(
    recipe: Recipe,
    arguments: Mapping[str, Any],
    *,
    journal: str | None,
    account: AccountId | None,
    yes: bool,
    as_json: bool,
    operator: str,
    reason: str,
    urgent: bool,
) -> int:
    """Show what a correction does, ask, and record it if it still does that: or the proposal of it, as the policy asks."""
    request = CorrectionRequest({"what": recipe.what, **arguments})
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account)
        shown = draft(found, request, operator=operator, reason=reason)
        policy = found.approvals.policy
        waits = shown.waits(policy)
        if not as_json:
            _show(shown)
            if waits:
                print_line(f"the policy (v{policy.version}) asks for two persons")
        question, what = _QUESTIONS[waits, urgent]
        given: dict[str, Any] = {
            "operator": operator, "reason": reason, "effect_digest": shown.digest,
            "agree": partial(require_consent, yes=yes, question=question, what=what, err=as_json),
        }  # fmt: skip
        if waits and urgent:
            result = propose(found, request, urgent=True, **given)
        else:
            result = apply_or_propose(found, request, **given)
        report(found, result, as_json=as_json, more=_json(shown))
    return WAITS if result.became == PROPOSED else 0


_QUESTIONS: Final = {
    (False, False): ("Record this correction?", "this correction"),
    (False, True): ("Record this correction?", "this correction"),
    (True, False): ("Propose this correction?", "a proposal of it"),
    (True, True): ("Apply this correction at once?", "an urgent correction"),
}

add_recipes(correct, _correct, (journal_option, account_option, decision_options, urgent_option, yes_option, json_option))


def _json(shown: Draft) -> dict[str, Any]:
    return {
        "before": _positions(shown.before),
        "after": _positions(shown.after),
        "balance": {"before": balance_json(shown.before)["balance"], "after": balance_json(shown.after)["balance"]},
        "unexplained": {"before": _unexplained(shown.before), "after": _unexplained(shown.after)},
    }


def _positions(portfolio: Portfolio) -> list[dict[str, Any]]:
    return [position_json(position, portfolio.terms.clock) for position in portfolio.positions.values()]


def _unexplained(portfolio: Portfolio) -> list[dict[str, Any]]:
    return [unexplained_json(one, portfolio.terms.clock) for one in portfolio.unexplained]


def _unexplained_rows(shown: Draft) -> list[list[str]]:
    """Return the lines of what is unexplained before or after, and not on the other side."""
    sides = [
        {(one.kind, one.position_id or one.symbol): f"{one.kind} {plain(one.volume)} {one.symbol}" for one in side.unexplained}
        for side in (shown.before, shown.after)
    ]
    changed = sorted(sides[0].items() ^ sides[1].items(), key=str)
    keys = dict.fromkeys(key for key, _ in changed)
    return [[str(key[1]), *(side.get(key, "nothing unexplained") for side in sides)] for key in keys]


def _money(shown: Draft, name: str) -> tuple[str, str]:
    return balance_json(shown.before)[name], balance_json(shown.after)[name]


def _show(shown: Draft) -> None:
    """Print the lines of the portfolio that change, before and after, and the breaks that end."""
    items = [{item["position_id"]: item for item in _positions(one)} for one in (shown.before, shown.after)]
    rows = []
    for position_id in sorted(items[0].keys() | items[1].keys()):
        before, after = (side.get(position_id) for side in items)
        if before != after:
            rows.append([str(position_id), _words(before), _words(after)])
    for name in ("balance", "credit"):
        before_money, after_money = _money(shown, name)
        if before_money != after_money:
            rows.append([name, before_money, after_money])
    rows += _unexplained_rows(shown)
    print_table(f"{shown.before.terms.account} would change", ["", "before", "after"], rows, empty="nothing")
    ended = sum(isinstance(event, BreakClosed) for event in shown.events)
    if ended:
        print_line(f"{ended} open break{'s' if ended > 1 else ''} about it would end as accepted")


def _words(item: dict[str, Any] | None) -> str:
    if item is None:
        return "none"
    magic = f", magic {item['magic']}" if item["magic"] else ""
    return f"{item['side']} {item['volume']} {item['symbol']} @ {item['price_open']}{magic}"


COMMANDS: Final = {"correct": correct}
