"""What commands show of proposals: one in full, what became of a decision, who decides next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ledger.approvals import Proposal, ProposalState
from ledger.cli.effects import path_words, print_effect
from ledger.cli.output import print_json, print_line, print_table
from ledger.clock import utc_text
from ledger.json_views import account_json, proposal_json, recorded_json
from ledger.proposals import APPLIED, CONFIRMED, LAPSED, NOTED, PROPOSED, REJECTED, UNCHANGED, WITHDRAWN, Result
from ledger.text import json_text

if TYPE_CHECKING:
    from ledger.service import Account
    from ledger.terms import AccountTerms

#: Exit code of a command that would have corrected something, and proposed it instead: nothing is corrected yet.
WAITS: Final = 4
_WORDS: Final = {
    CONFIRMED: "confirmed",
    REJECTED: "rejected",
    WITHDRAWN: "withdrawn",
    NOTED: "noted",
    UNCHANGED: "nothing to record: it is so already",
}
_NOT_THERE: Final = "-"


def who_decides(proposal: Proposal, terms: AccountTerms, *, signed: bool) -> Iterator[str]:
    """Yield who decides next, and by which command; nothing for a proposal that waits for nobody."""
    if not proposal.waits:
        return
    if proposal.state is ProposalState.PENDING:
        lapses = utc_text(proposal.lapses_utc_msc)[:16].replace("T", " ")
        yield f"another person than {proposal.operator} decides until {lapses} UTC, then it lapses:"
    else:
        yield f"another person than {proposal.operator} confirms what was applied at once:"
    about = f"v{proposal.version} --account {terms.account}"
    if not signed:
        yield f"  ledger approve {about}"
        return
    yield f"  ledger approve {about} --key FILE"
    yield "or signs, where the key is, the text that this prints (ledger approve TEXT):"
    yield f"  ledger proposals {about} --text"


def print_proposal(proposal: Proposal, terms: AccountTerms) -> None:
    """Print a proposal: what it would change, by whom and why, and what became of it."""
    did = "was changed" if proposal.is_applied else "would change"
    print_effect(f"{terms.account} {did} (v{proposal.version})", proposal.effect)
    urgent = "urgent, " if proposal.urgent else ""
    print_line(f'{urgent}proposed by {proposal.operator}: "{proposal.reason}"')
    if proposal.state is ProposalState.UNCONFIRMED:
        print_line("applied at once: nobody has confirmed it yet")
    elif proposal.why is not None:
        print_line(f"{proposal.state.value}: {proposal.why}")


def report(account: Account, result: Result, *, as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    """Print what became of a decision.

    Args:
        account: Whose.
        result: What became of it.
        as_json: As JSON; else for people.
        more: What the JSON has besides.
    """
    terms = account.terms
    if as_json:
        print_json(
            {
                "account": account_json(terms),
                "became": result.became,
                "proposal": None if result.proposal is None else proposal_json(result.proposal, terms.clock),
                "changed": result.changed,
                "advice": result.advice,
                **(more or {}),
                **recorded_json(result.events, terms, account.version),
            }
        )
        return
    print_line(_became(result))
    if result.changed:
        print_table(
            "changed since it was proposed",
            ["", "as proposed", "now"],
            [[path_words(path), *map(_value, sides)] for path, sides in result.changed.items()],
            empty="nothing",
        )
    if result.advice is not None and result.proposal is not None and not result.proposal.waits:
        print_line(result.advice)
    if result.proposal is not None:
        for line in who_decides(result.proposal, terms, signed=account.approvals.policy.signed):
            print_line(line)


def _became(result: Result) -> str:
    versions = [one.version for one in result.events]
    if result.became == PROPOSED and result.proposal is not None:
        return f"proposed as version {result.proposal.version}: nothing is corrected yet"
    if result.became == LAPSED:
        return f"lapsed with version {versions[0]}: nothing is corrected"
    if result.became == APPLIED:
        recorded = f"recorded as version {versions[0]}" if versions else _WORDS[UNCHANGED]
        if result.proposal is None:
            return recorded
        did = "applied at once" if result.proposal.urgent else "approved"
        return f"{did}: recorded as versions {versions[0]} to {versions[-1]}"
    return f"{_WORDS[result.became]}{f', recorded as version {versions[0]}' if versions else ''}"


def _value(value: Any) -> str:
    return _NOT_THERE if value is None else value if isinstance(value, str) else json_text(value)
