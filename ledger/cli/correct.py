"""The commands for a person's corrections: the effect is shown first, then asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from ledger.adjustments import (
    Proposal,
    apply,
    propose_acceptance,
    propose_add,
    propose_balance,
    propose_close,
    propose_update,
    propose_withdrawal,
)
from ledger.cli.options import (
    Command,
    account_of,
    account_option,
    decision_options,
    journal_option,
    json_option,
    open_ledger,
    require_consent,
    yes_option,
)
from ledger.cli.output import print_json, print_line, print_recorded, print_table
from ledger.events import BreakClosed
from ledger.json_views import account_json, balance_json, position_json, recorded_json, unexplained_json
from ledger.portfolio import Portfolio
from ledger.service import Account
from ledger.values import AccountId, plain


@click.group("correct", short_help="Correct manually what no machine can know.")
def correct() -> None:
    """Correct manually what no machine can know. Operator and reason are recorded with it; nothing is overwritten.

    \b
    Examples:
      ledger correct close 50629002942 --reason "closed at the dealer's desk"
      ledger correct update 50629002942 --volume 0.20 --reason "half was closed" --yes
      ledger correct add 50629002942 EURUSD buy 0.10 1.0543 --reason "opened by phone"
      ledger correct balance --to 10250.00 --reason "bonus that the gateway does not report"
      ledger correct withdraw 5001 --reason "the broker deleted it, ticket 4711"
      ledger correct accept 50629002942 --reason "the broker has no deals of 2019"
    """


def _common(command: Command) -> Command:
    for option in (
        json_option,
        yes_option,
        decision_options,
        account_option,
        journal_option,
    ):
        command = option(command)
    return command


@correct.command("add")
@click.argument("position_id", type=click.IntRange(min=1))
@click.argument("symbol")
@click.argument("side", type=click.Choice(["buy", "sell"]))
@click.argument("volume")
@click.argument("price_open")
@click.option("--magic", type=int, metavar="N", help="The engine's number.")
@_common
def add(journal: str | None, account: AccountId | None, yes: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Add a position that the broker has and the journal does not: id, symbol, side, lots, open price."""
    _correct(journal, account, lambda found: propose_add(found, **options), yes=yes, as_json=as_json)


@correct.command("close")
@click.argument("position_id", type=click.IntRange(min=1))
@_common
def close(journal: str | None, account: AccountId | None, yes: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Close a position that is gone. Its result stays unknown until its closing deal is recorded."""
    _correct(journal, account, lambda found: propose_close(found, **options), yes=yes, as_json=as_json)


@correct.command("update")
@click.argument("position_id", type=click.IntRange(min=1))
@click.option("--side", type=click.Choice(["buy", "sell"]))
@click.option("--volume", metavar="LOTS")
@click.option("--price-open", metavar="PRICE")
@click.option("--magic", type=int, metavar="N")
@_common
def update(journal: str | None, account: AccountId | None, yes: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Change side, volume, open price or magic number of an open position."""
    _correct(journal, account, lambda found: propose_update(found, **options), yes=yes, as_json=as_json)


@correct.command("balance")
@click.option("--to", "balance", metavar="AMOUNT", help="What the balance is.")
@click.option("--credit", metavar="AMOUNT", help="What the credit is.")
@_common
def balance(journal: str | None, account: AccountId | None, yes: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Set balance or credit to what the broker states."""
    _correct(journal, account, lambda found: propose_balance(found, **options), yes=yes, as_json=as_json)


@correct.command("withdraw")
@click.argument("deal", type=click.IntRange(min=1))
@_common
def withdraw(journal: str | None, account: AccountId | None, yes: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Record that the broker withdrew a deal: it counts as cancelled, its volume and its money are removed."""
    _correct(journal, account, lambda found: propose_withdrawal(found, **options), yes=yes, as_json=as_json)


@correct.command("accept")
@click.argument("position_id", type=click.IntRange(min=1), required=False)
@click.option("--symbol", metavar="NAME", help="Only of this symbol; needed where no position is known.")
@_common
def accept(journal: str | None, account: AccountId | None, yes: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Accept what is unexplained of a position: a ghost result that no deal will explain. No money moves.

    The trade stays listed as incomplete. A deal that comes to light later counts all the same.
    """
    if options["position_id"] is None and options["symbol"] is None:
        raise click.UsageError("expected a position id, or --symbol where no position is known: ledger balance --json")
    _correct(journal, account, lambda found: propose_acceptance(found, **options), yes=yes, as_json=as_json)


def _correct(
    journal: str | None, account: AccountId | None, propose: Callable[[Account], Proposal], *, yes: bool, as_json: bool
) -> None:
    """Show what a correction does, ask, and record it with the version that was shown."""
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account)
        proposal = propose(found)
        if not as_json:
            _show(proposal)
        require_consent(yes=yes, question="Record this correction?", what="this correction", err=as_json)
        events = apply(found, proposal)
        terms = found.terms
    if as_json:
        print_json(
            {
                "account": account_json(terms),
                "before": _positions(proposal.before),
                "after": _positions(proposal.after),
                "balance": {
                    "before": balance_json(proposal.before)["balance"],
                    "after": balance_json(proposal.after)["balance"],
                },
                "unexplained": {"before": _unexplained(proposal.before), "after": _unexplained(proposal.after)},
                **recorded_json(events, terms, proposal.version),
            }
        )
        return
    print_recorded(events, otherwise="nothing to record: it is known already")


def _positions(portfolio: Portfolio) -> list[dict[str, Any]]:
    return [position_json(position, portfolio.terms.clock) for position in portfolio.positions.values()]


def _unexplained(portfolio: Portfolio) -> list[dict[str, Any]]:
    return [unexplained_json(one, portfolio.terms.clock) for one in portfolio.unexplained]


def _unexplained_rows(proposal: Proposal) -> list[list[str]]:
    """Return the lines of what is unexplained before or after, and not on the other side."""
    sides = [
        {(one.kind, one.position_id or one.symbol): f"{one.kind} {plain(one.volume)} {one.symbol}" for one in side.unexplained}
        for side in (proposal.before, proposal.after)
    ]
    changed = sorted(sides[0].items() ^ sides[1].items(), key=str)
    keys = dict.fromkeys(key for key, _ in changed)
    return [[str(key[1]), *(side.get(key, "nothing unexplained") for side in sides)] for key in keys]


def _money(proposal: Proposal, name: str) -> tuple[str, str]:
    return balance_json(proposal.before)[name], balance_json(proposal.after)[name]


def _show(proposal: Proposal) -> None:
    """Print the lines of the portfolio that change, before and after, and the breaks that end."""
    items = [{item["position_id"]: item for item in _positions(one)} for one in (proposal.before, proposal.after)]
    rows = []
    for position_id in sorted(items[0].keys() | items[1].keys()):
        before, after = (side.get(position_id) for side in items)
        if before != after:
            rows.append([str(position_id), _words(before), _words(after)])
    for name in ("balance", "credit"):
        before_money, after_money = _money(proposal, name)
        if before_money != after_money:
            rows.append([name, before_money, after_money])
    rows += _unexplained_rows(proposal)
    print_table(f"{proposal.before.terms.account} would change", ["", "before", "after"], rows, empty="nothing")
    ended = sum(isinstance(event, BreakClosed) for event in proposal.events)
    if ended:
        print_line(f"{ended} open break{'s' if ended > 1 else ''} about it would end as accepted")


def _words(item: dict[str, Any] | None) -> str:
    if item is None:
        return "none"
    magic = f", magic {item['magic']}" if item["magic"] else ""
    return f"{item['side']} {item['volume']} {item['symbol']} @ {item['price_open']}{magic}"


COMMANDS: Final = {"correct": correct}
