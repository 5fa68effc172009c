"""The commands about the policy: how many persons a correction needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.approvals import Policy
from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import (
    account_of,
    account_option,
    accounts_of,
    accounts_option,
    decision_options,
    journal_option,
    json_option,
    open_ledger,
    require_consent,
    yes_option,
)
from ledger.cli.output import print_json, print_line, print_table, warn
from ledger.cli.proposal_output import WAITS, report
from ledger.cli.signing import known_keys
from ledger.clock import utc_text
from ledger.errors import BadValue
from ledger.events.approvals import SUBJECTS
from ledger.json_views import account_json, policy_json
from ledger.proposals import PROPOSED, set_policy
from ledger.signing_keys import fingerprint

if TYPE_CHECKING:
    from ledger.values import AccountId

_COLUMNS: Final = (*ACCOUNT, "approvals", "corrections", "signed", "set_at", "operator", "reason", "version")
_TWO: Final = 2


@click.group("policy", short_help="Show how many persons a correction needs, or set it.")
def policy() -> None:
    """Show how many persons a correction of an account needs, or set it. The rule is in the journal, and verify checks it.

    \b
    Examples:
      ledger policy show
      ledger policy set --approvals 2 --reason "the desk's rule"
      ledger policy set --approvals 2 --for position --for balance --signed --reason "names are not enough"
    """


@policy.command("show")
@journal_option
@accounts_option
@json_option
@csv_option
def show(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> None:
    """Show the policy of every account: how many persons, for what, who set it, and whose keys are known."""
    require_one_format(as_json=as_json, as_csv=as_csv)
    with open_ledger(journal) as ledger:
        found = [(one.terms, one.approvals.policy) for one in accounts_of(ledger, accounts)]
    items = [{"account": account_json(terms)} | policy_json(one, terms.clock) for terms, one in found]
    if as_csv:
        print_csv(_COLUMNS, items)
        return
    if as_json:
        print_json(items)
        return
    print_table(
        "policy",
        ["account", ">persons", "for", "signed", "set (UTC)", "by"],
        [
            [
                str(terms.account), str(one.approvals), _for(one), "yes" if one.signed else "no",
                "never" if one.time_msc is None else utc_text(terms.clock.to_utc_msc(one.time_msc))[:16].replace("T", " "),
                one.operator or "-",
            ]
            for terms, one in found
        ],
        empty="no accounts yet",
    )  # fmt: skip
    for name, keys in known_keys().of.items():
        for key in keys:
            print_line(f"{name} signs with {fingerprint(key)}")


def _for(one: Policy) -> str:
    if one.approvals < _TWO:
        return "-"
    return "everything" if set(one.corrections) == set(SUBJECTS) else ", ".join(one.corrections)


@policy.command("set")
@click.option("--approvals", type=click.Choice(["1", "2"]), required=True, help="How many persons a correction needs.")
@click.option(
    "--for", "corrections", type=click.Choice(SUBJECTS), multiple=True,
    help="Only corrections of this; repeatable, all without it.",
)  # fmt: skip
@click.option("--signed", is_flag=True, help="The second person signs (ledger keys operator).")
@decision_options
@yes_option
@journal_option
@account_option
@json_option
def set_command(
    journal: str | None,
    account: AccountId | None,
    approvals: str,
    corrections: tuple[str, ...],
    signed: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    operator: str,
    reason: str,
) -> int:
    """Set how many persons a correction needs. To ask for less than before is proposed: it takes a second person itself.

    Exit codes: 0 set, 4 proposed for a second person.
    """
    if signed:
        _require_two_keys()
    wanted: dict[str, Any] = {"approvals": int(approvals), "corrections": corrections or SUBJECTS, "signed": signed}
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account)
        before, after = found.approvals.policy, Policy(**wanted)
        if not as_json:
            _print_change(str(found.name), before.rule, after.rule)
        if before.rule != after.rule:
            question = "Propose this policy?" if before.is_lowered_by(after) else "Set this policy?"
            require_consent(yes=yes, question=question, what="this policy", err=as_json)
        result = set_policy(found, operator=operator, reason=reason, **wanted)
        report(found, result, as_json=as_json, more={"before": before.rule, "after": after.rule})
    if not as_json and after.approvals < _TWO and corrections:
        warn("where one person corrects, --for has no effect")
    return WAITS if result.became == PROPOSED else 0


def _require_two_keys() -> None:
    """Refuse to ask for signatures that nobody could make: a second person has to have a key that is known.

    Raises:
        BadValue: Fewer than two persons have one.
    """
    known = [name for name, keys in known_keys().of.items() if keys]
    if len(known) < _TWO:
        raise BadValue(
            f"expected the keys of two operators in [approvals.keys] of ledger.toml, found {', '.join(known) or 'none'}: "
            "nobody could approve what another proposes. ledger keys operator makes them"
        )


def _print_change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    print_table(
        f"{name} policy would change",
        ["", "before", "after"],
        [[rule, _words(before[rule]), _words(after[rule])] for rule in after if before[rule] != after[rule]],
        empty="nothing",
    )


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


COMMANDS: Final = {"policy": policy}
