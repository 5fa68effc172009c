"""The commands by which two persons decide: propose, list proposals, approve, reject, note."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.approvals import LAPSES_MAX_MIN, LAPSES_MIN, Proposal, ProposalState
from ledger.approvals.people import is_same_person
from ledger.cli import DISAGREES, FINE
from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.effects import print_effect
from ledger.cli.options import (
    VERSION,
    Command,
    account_of,
    account_option,
    accounts_of,
    accounts_option,
    decision_options,
    journal_option,
    json_option,
    open_ledger,
    operator_option,
    require_consent,
    yes_option,
)
from ledger.cli.output import print_json, print_line, print_table
from ledger.cli.proposal_output import print_proposal, report, who_decides
from ledger.cli.recipes import Recipe, add_recipes, urgent_option
from ledger.cli.signing import key_file, key_option, known_keys, sign_text
from ledger.cli.streams import print_text
from ledger.cli.unread import Unread
from ledger.clock import utc_text
from ledger.errors import RuleError
from ledger.event_lines import recipe_text
from ledger.json_views import Json, account_json, proposal_json
from ledger.proposals import LAPSED, CorrectionRequest, approve, draft, note, propose, reject, withdraw
from ledger.signatures import (
    MADE_BY,
    Approval,
    Request,
    Signature,
    is_request,
    is_signed_request,
    read_signed,
    request_text,
    sign,
)
from ledger.signing_keys import load_key

if TYPE_CHECKING:
    from ledger.service import Account
    from ledger.terms import AccountTerms
    from ledger.values import AccountId

# ------------------------------------------------------------------------------------------------------------- propose


@click.group("propose", short_help="Propose a correction, for a second person to approve.")
def propose_group() -> None:
    """Propose a correction, for a second person to approve. Nothing is corrected before.

    \b
    Examples:
      ledger propose close 50629002942 --reason "closed at the dealer's desk"
      ledger propose balance --to 10250.00 --reason "bonus that the gateway does not report" --lapses-min 240
      ledger propose close 50629002942 --urgent --reason "margin call, ann is not reachable"
      ledger proposals
    """


def _proposing(command: Command) -> Command:
    for option in (
        click.option("--break", "break_version", type=VERSION, metavar="VERSION", help="The break that it is the answer to."),
        click.option(
            "--lapses-min", type=click.IntRange(1, LAPSES_MAX_MIN), default=LAPSES_MIN, show_default=True, metavar="N",
            help="It lapses after so many minutes.",
        ),
        urgent_option,
        decision_options,
    ):  # fmt: skip
        command = option(command)
    return command


def _propose(
    recipe: Recipe,
    arguments: Mapping[str, Any],
    *,
    journal: str | None,
    account: AccountId | None,
    yes: bool,
    as_json: bool,
    operator: str,
    reason: str,
    **rest: Any,
) -> None:
    """Show what a correction would change, and record the proposal; an urgent one after a person agreed."""
    request = CorrectionRequest({"what": recipe.what, **arguments})
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account)
        drafted = draft(found, request, operator=operator, reason=reason)
        if not as_json:
            print_effect(f"{found.name} would change", drafted.effect)
        agree = partial(
            require_consent, yes=yes, question="Apply this correction at once?", what="an urgent correction", err=as_json
        )
        result = propose(
            found, request, operator=operator, reason=reason, effect_digest=drafted.digest,
            agree=agree if rest["urgent"] else None, **rest,
        )  # fmt: skip
        report(found, result, as_json=as_json)


add_recipes(propose_group, _propose, (journal_option, account_option, _proposing, yes_option, json_option))


# ------------------------------------------------------------------------------------------------------------- listing

_COLUMNS: Final = (
    *ACCOUNT, "version", "state", "why", "urgent", "operator", "reason", "proposed_at", "lapses_at", "correction", "effect",
    "effect_digest", "rests_on", "break_version", "position_id", "symbol",
)  # fmt: skip


@click.command("proposals", short_help="List corrections that wait for a second person.")
@click.argument("version", type=VERSION, required=False)
@click.option("--all", "is_all", is_flag=True, help="Also those that were decided or lapsed.")
@click.option("--text", "is_text", is_flag=True, help="Print only the text of VERSION that is signed elsewhere.")
@journal_option
@accounts_option
@json_option
@csv_option
def proposals(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    version: int | None,
    is_all: bool,  # noqa: FBT001
    is_text: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """List corrections that wait for a second person, or show the one of VERSION: what it would change, and who decides.

    \b
    Examples:
      ledger proposals
      ledger proposals v1403
      ledger proposals v1403 --text > approval.txt
      ledger proposals --all --csv

    Exit codes: 0 fine, 1 an account cannot be read: the others are listed.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    if is_text and version is None:
        raise click.UsageError("--text is of one proposal: name its VERSION")
    with open_ledger(journal) as ledger:
        if version is not None:
            one = account_of(ledger, accounts[0] if len(accounts) == 1 else None)
            proposal = _proposal(one, version)
            if is_text:
                print_text(f"{_text_of(one, proposal)}\n")
            elif as_json:
                print_json(_row(one.terms, proposal))
            elif as_csv:
                print_csv(_COLUMNS, [_row(one.terms, proposal)])
            else:
                print_proposal(proposal, one.terms)
                for line in who_decides(proposal, one.terms, signed=one.approvals.policy.signed):
                    print_line(line)
            return FINE
        unread = Unread()
        found = list(unread.of_each(accounts_of(ledger, accounts), lambda one: _listed(one, is_all=is_all)))
    if as_json:
        print_json([_row(terms, proposal) for terms, proposal in found])
    elif as_csv:
        print_csv(_COLUMNS, (_row(terms, proposal) for terms, proposal in found))
    else:
        _print_list(found, is_all=is_all)
    return unread.code


def _listed(account: Account, *, is_all: bool) -> list[tuple[AccountTerms, Proposal]]:
    terms, approvals = account.terms, account.approvals
    return [(terms, one) for one in (approvals.proposals if is_all else approvals.pending)]


def _row(terms: AccountTerms, proposal: Proposal) -> Json:
    return {"account": account_json(terms)} | proposal_json(proposal, terms.clock)


def _print_list(found: list[tuple[AccountTerms, Proposal]], *, is_all: bool) -> None:
    print_table(
        "proposals" if is_all else "proposals that wait for a second person",
        ["account", ">version", "what", "by", "state", "lapses (UTC)"],
        [
            [
                str(terms.account), f"v{one.version}", f"{'urgent: ' if one.urgent else ''}{recipe_text(one.correction)}",
                one.operator, one.state.value, _lapses(one),
            ]
            for terms, one in found
        ],
        empty="none",
    )  # fmt: skip


def _lapses(one: Proposal) -> str:
    return utc_text(one.lapses_utc_msc)[5:16].replace("T", " ") if one.state is ProposalState.PENDING else "-"


def _proposal(account: Account, version: int) -> Proposal:
    """Return the proposal of a version.

    Raises:
        RuleError: There is none.
    """
    approvals = account.approvals
    found = approvals.proposal(version)
    if found is None:
        waiting = ", ".join(f"v{one.version}" for one in approvals.pending) or "none"
        raise RuleError(f"version {version} of {account.name} is no proposal; those that wait for a second person: {waiting}")
    return found


def _text_of(account: Account, proposal: Proposal) -> str:
    """Return the text of a proposal that is signed where no journal is."""
    return request_text(Request(approval=_approval(account, proposal), version=proposal.version, effect=proposal.effect))


def _approval(account: Account, proposal: Proposal) -> Approval:
    return Approval(
        journal_id=account.ledger.journal.identity(),
        account=account.name,
        rests_on=proposal.rests_on,
        effect_digest=proposal.effect_digest,
    )


# ------------------------------------------------------------------------------------------------------------- deciding


@click.command("approve", short_help="Approve a correction that another person proposed, or sign it elsewhere.")
@click.argument("what", metavar="VERSION|TEXT")
@key_option
@operator_option("Who; with a signature it is the person whose key it is.")
@click.option("--reason", help="Why; it is recorded.")
@yes_option
@journal_option
@account_option
@json_option
@click.pass_context
def approve_command(
    ctx: click.Context,
    journal: str | None,
    account: AccountId | None,
    what: str,
    key: Path | None,
    operator: str,
    reason: str | None,
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> int:
    """Approve the proposal of VERSION. What it corrects is recorded with it, if it would still change the same.

    If it would change something else by now, it lapses, and what is different is listed. Who proposed it cannot approve it.

    Where the policy asks for signed decisions, sign with --key. To sign on a machine without the journal, copy the TEXT of
    "ledger proposals VERSION --text", approve it there, and approve here the text which that prints. - reads a text from
    standard input.

    \b
    Examples:
      ledger approve v1403
      ledger approve v1403 --key keys/bob.pem
      ledger approve - --key keys/bob.pem --yes < approval.txt > signed.txt
      ledger approve - --yes < signed.txt

    Exit codes: 0 approved and recorded, or signed; 1 it lapsed, and nothing is corrected.
    """
    text = sys.stdin.read() if what == "-" else what
    if is_request(text):
        sign_text(text, key, yes=yes, as_json=as_json)
        return 0
    is_named = ctx.get_parameter_source("operator") is not click.core.ParameterSource.DEFAULT
    signed = read_signed(text) if is_signed_request(text) else None
    version = signed.version if signed is not None else VERSION.convert(text.strip(), None, ctx)
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account if signed is None else signed.account)
        proposal = _proposal(found, version)
        signature = _signature(found, proposal, key) if signed is None else signed.signature
        if signature is not None:
            operator = _signer(found, proposal, signature, operator if is_named else None)
        if not as_json:
            print_proposal(proposal, found.terms)
        agree = partial(require_consent, yes=yes, question="Approve this correction?", what="this approval", err=as_json)
        signed_by = {} if signature is None else {"signature": signature.signature, "key": signature.key}
        result = approve(
            found, version, operator=operator, effect_digest=proposal.effect_digest, reason=reason, agree=agree, **signed_by
        )
        report(found, result, as_json=as_json)
    return DISAGREES if result.became == LAPSED else 0


def _signature(account: Account, proposal: Proposal, key: Path | None) -> Signature | None:
    """Sign an approval where the journal is; None where no key is named."""
    file = key_file(key)
    return None if file is None else sign(_approval(account, proposal), load_key(file, MADE_BY))


def _signer(account: Account, proposal: Proposal, signature: Signature, operator: str | None) -> str:
    """Return who signed: the person whose key it is.

    Raises:
        RuleError: The signature is of something else, or by the key of nobody who is known, or of somebody else.
    """
    keys = known_keys()
    name = operator or keys.owner(signature.key) or ""
    keys.require(_approval(account, proposal), signature, name)
    return name


@click.command("reject", short_help="Reject a proposed correction, or withdraw one's own.")
@click.argument("version", type=VERSION)
@decision_options
@journal_option
@account_option
@json_option
def reject_command(
    journal: str | None,
    account: AccountId | None,
    version: int,
    operator: str,
    reason: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Reject the proposal of VERSION: it can never be approved. One's own is withdrawn by it.

    \b
    Example:
      ledger reject v1403 --reason "the broker's deal is on its way"
    """
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account)
        proposal = _proposal(found, version)
        decide = withdraw if is_same_person(operator, proposal.operator) else reject
        report(found, decide(found, version, operator=operator, reason=reason), as_json=as_json)


@click.command("note", short_help="Note something about a break, or take it over.")
@click.argument("version", type=VERSION)
@click.argument("text")
@click.option("--owner", metavar="NAME", help="Who takes care of the break from now on.")
@click.option("--mine", is_flag=True, help="I do: the owner is the operator.")
@operator_option("Who notes it; it is recorded.")
@journal_option
@account_option
@json_option
def note_command(
    journal: str | None,
    account: AccountId | None,
    version: int,
    text: str,
    owner: str | None,
    mine: bool,  # noqa: FBT001
    operator: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Note TEXT about the break that VERSION opened (ledger breaks). It can never be deleted.

    A break with an owner is acknowledged: nobody is reminded of it for four hours.

    \b
    Example:
      ledger note v1388 "phoned the dealer, he looks" --mine
    """
    if mine and owner is not None:
        raise click.UsageError("--mine and --owner are two owners: choose one")
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account)
        result = note(found, version, operator=operator, text=text, owner=operator if mine else owner)
        report(found, result, as_json=as_json)


COMMANDS: Final = {
    "propose": propose_group,
    "proposals": proposals,
    "approve": approve_command,
    "reject": reject_command,
    "note": note_command,
}
