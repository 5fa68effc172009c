"""The commands about accounts: open one, correct its clock, decide about its identity, list them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.directory import move, refuse_journal, where
from ledger.cli.options import (
    ACCOUNT_NAME,
    CLOCK,
    CLOCK_HELP,
    accounts_of,
    accounts_option,
    journal_option,
    json_option,
    open_directory,
    open_ledger,
    operator_option,
)
from ledger.cli.output import print_json, print_line, print_table
from ledger.cli.proposal_output import WAITS, report
from ledger.cli.unread import Unread
from ledger.clock import ClockRule, utc_text
from ledger.events import DealOrder
from ledger.journal import Outcome
from ledger.json_views import Json, account_json, identity_json
from ledger.proposals import CorrectionRequest, propose
from ledger.values import AccountId, MarginMode

if TYPE_CHECKING:
    from ledger.service import Account, Ledger


@click.group("account", short_help="Open or move an account, correct its clock or order, decide about its identity.")
def account() -> None:
    """Open or move an account, correct its clock or the order of its deals, or decide which answers identify it."""


account.add_command(move)
account.add_command(where)


@account.command("open")
@click.argument("name", type=ACCOUNT_NAME, metavar="SERVER/LOGIN")
@click.option("--currency", required=True, metavar="C", help="Account currency, as USD.")
@click.option("--mode", required=True, type=click.Choice([mode.value for mode in MarginMode]), help="How it books positions.")
@click.option("--server-tz", type=CLOCK, metavar="RULE", default="UTC", show_default=True, help=CLOCK_HELP)
@click.option("--in", "in_journal", metavar="NAME", help="The journal of the directory to open it in (ledger directory).")
@journal_option
def open_account(
    journal: str | None, name: AccountId, currency: str, mode: str, server_tz: ClockRule, in_journal: str | None
) -> None:
    """Name an account. Its currency and mode can never be changed; its clock can, by an event.

    \b
    Examples:
      ledger account open Broker-Live/70113 --currency USD --mode hedging --server-tz ny-close
      ledger account open Broker-Live/70113 --currency USD --mode hedging --in eu
    """
    with _ledger_to_open_in(journal, name, in_journal) as ledger:
        outcome = ledger.account(name).open(currency=currency, mode=mode, clock=server_tz)
    did = "opened" if outcome is Outcome.APPENDED else "is open already with these terms"
    print_line(f"account {name} {did}: {currency.upper()}, {mode}, server clock {server_tz}")


@contextmanager
def _ledger_to_open_in(journal: str | None, name: AccountId, in_journal: str | None) -> Iterator[Ledger]:
    """Open the journal that an account is to be opened in: the one of the directory that is named, else as every command."""
    if in_journal is None:
        with open_ledger(journal) as ledger:
            yield ledger
        return
    refuse_journal(journal)
    with open_directory() as found:
        found.open_journal(in_journal)  # before it is claimed: one that does not answer gets no accounts
        found.claim(name, in_journal)  # before it is opened, so that no other journal opens it too
        yield found.ledger(name)


@account.command("clock")
@click.argument("name", type=ACCOUNT_NAME, metavar="SERVER/LOGIN")
@click.argument("rule", type=CLOCK, metavar="RULE")
@operator_option("Who corrects it.")
@click.option("--reason", required=True, help="Why it was wrong.")
@journal_option
def change_clock(journal: str | None, name: AccountId, rule: ClockRule, operator: str, reason: str) -> int:
    """Correct what the server's clock means, by an event. Recorded broker times stay; event times follow.

    \b
    Example:
      ledger account clock Broker-Live/70113 ny-close --reason "the broker runs GMT+2/+3"

    Exit codes: 0 corrected, 4 proposed, as the policy asks for a second person.
    """
    with open_ledger(journal) as ledger:
        (found,) = accounts_of(ledger, name)
        before = found.terms.clock
        if _waits(found, "clock"):
            return _proposed(found, {"what": "clock", "clock": rule}, operator, reason)
        found.change_clock(rule, operator=operator, reason=reason)
    print_line(f"account {name}: server clock {before} -> {rule}")
    return 0


def _waits(account: Account, subject: str) -> bool:
    """Return whether a second person has to approve a correction of that."""
    return account.approvals.policy.persons((subject,)) > 1


def _proposed(account: Account, recipe: Mapping[str, Any], operator: str, reason: str) -> int:
    """Propose a correction for a second person; return the exit code."""
    report(account, propose(account, CorrectionRequest(recipe), operator=operator, reason=reason), as_json=False)
    return WAITS


@account.command("order")
@click.argument("name", type=ACCOUNT_NAME, metavar="SERVER/LOGIN")
@click.argument("order", type=click.Choice([order.value for order in DealOrder]), metavar="ticket|time")
@operator_option("Who changes it.")
@click.option("--reason", required=True, help="Why it was wrong.")
@journal_option
def change_order(journal: str | None, name: AccountId, order: str, operator: str, reason: str) -> int:
    """Change what orders the deals of an account, by an event: ticket (every live account), or time.

    Tickets do not rise with time in Strategy Tester reports and on accounts that were moved to another server.

    \b
    Example:
      ledger account order Broker-Live/70113 time --reason "moved to another server in May"

    Exit codes: 0 changed, 4 proposed, as the policy asks for a second person.
    """
    with open_ledger(journal) as ledger:
        (found,) = accounts_of(ledger, name)
        before = found.terms.order
        if _waits(found, "order"):
            return _proposed(found, {"what": "order", "order": order}, operator, reason)
        found.change_order(order, operator=operator, reason=reason)
    print_line(f"account {name}: deals are ordered by {before.value} -> {order}")
    return 0


@account.command("identity")
@click.argument("name", type=ACCOUNT_NAME, metavar="SERVER/LOGIN")
@click.option("--allow-base-form", "decision", flag_value="allow", help="Accept answers that state no login and server.")
@click.option("--require", "decision", flag_value="require", help="Refuse answers that state no login and server.")
@operator_option("Who decides; it is recorded.")
@click.option("--reason", help="Why; it is recorded.")
@json_option
@journal_option
def identity(
    journal: str | None,
    name: AccountId,
    decision: str | None,
    operator: str,
    reason: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Show whether answers of a gateway must state login and server, or decide it, by an event.

    Once one did, every answer must: another program or terminal on the same port would show its own positions, or none.
    A decision applies until the next one.

    \b
    Examples:
      ledger account identity Broker-Live/70113
      ledger account identity Broker-Live/70113 --allow-base-form --reason "the old bridge is back"
      ledger account identity Broker-Live/70113 --require --reason "the old bridge is gone"
    """
    if decision is not None and reason is None:
        raise click.UsageError("expected --reason TEXT with a decision: it is recorded")
    with open_ledger(journal) as ledger:
        (found,) = accounts_of(ledger, name)
        outcome = None
        if decision is not None and reason is not None:
            decide = found.relax_identity if decision == "allow" else found.require_identity
            outcome = decide(operator=operator, reason=reason)
        item = identity_json(found.portfolio)
    if as_json:
        print_json(item | ({} if outcome is None else {"appended": int(outcome is Outcome.APPENDED)}))
        return
    if outcome is Outcome.DUPLICATE:
        print_line("this was decided before: nothing to record")
    _print_identity(name, item)


def _print_identity(name: AccountId, item: Json) -> None:
    seen, decided = item["identified"], item["decided"]
    if seen is None:
        print_line(f"account {name}: no answer has stated login and server yet")
    else:
        print_line(f"account {name}: first identified at {seen['since']} by the {seen['form']} form")
    if decided is not None:
        did = "required the identity" if item["required"] else "allowed answers without identity"
        print_line(f"  {decided['operator']} {did} at {decided['since']}: {decided['reason']}")
    rule = "refused (DEGRADED)" if item["required"] else "accepted"
    print_line(f"  answers that state no login and server are {rule}")


_COLUMNS: Final = (*ACCOUNT, "mode", "clock", "version", "head", "last_event_time")


@click.command("accounts", short_help="List the accounts.")
@journal_option
@accounts_option
@json_option
@csv_option
def accounts(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """List the accounts with their terms, heads and numbers of events.

    Exit codes: 0 fine, 1 an account cannot be read: the others are listed.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    unread = Unread()
    with open_ledger(journal) as ledger:
        items = list(unread.of_each(accounts_of(ledger, accounts), lambda one: [_json_row(one)]))
    if as_json:
        print_json(items)
        return unread.code
    if as_csv:
        print_csv(_COLUMNS, [item | {"account": item} for item in items])
        return unread.code
    print_table(
        "accounts",
        ["account", "currency", "mode", "clock", ">version", "last event"],
        [
            [
                f"{item['server']}/{item['login']}", item["currency"], item["mode"], item["clock"], str(item["version"]),
                item["last_event_time"] or "",
            ]
            for item in items
        ],
        empty="none yet; import an export, or: ledger account open SERVER/LOGIN --currency C --mode M",
    )  # fmt: skip
    return unread.code


def _json_row(found: Account) -> Json:
    terms, head = found.terms, found.journal_head
    last_msc = head.last_msc if head.last_msc >= 0 else terms.opened.time_msc
    return account_json(terms) | {
        "clock": terms.clock.name,
        "version": head.version,
        "head": head.hash.hex(),
        "last_event_time": utc_text(terms.clock.to_utc_msc(last_msc)),
    }


COMMANDS: Final = {"account": account, "accounts": accounts}
