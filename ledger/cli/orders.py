"""The commands about orders: list them, show one with its events, record what a person found out about an unknown one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import (
    account_option,
    accounts_of,
    accounts_option,
    decision_options,
    journal_option,
    json_option,
    moment_options,
    open_ledger,
    require_consent,
    symbol_option,
    yes_option,
)
from ledger.cli.order_lines import INDENT, asked, filled, folded, order_lines
from ledger.cli.output import print_json, print_line, print_lines, print_recorded, print_table
from ledger.cli.unread import Unread
from ledger.errors import AccountUnknown, RuleError
from ledger.event_lines import event_line
from ledger.filters import Filter
from ledger.json_views import account_json, log_json, order_row_json, recorded_json, resolution_json
from ledger.order_decisions import (
    OUTCOMES,
    Resolution,
    apply_resolution,
    blocked_by_unknown,
    named_order,
    order_history,
    propose_resolution,
)
from ledger.values import AccountId, shown

if TYPE_CHECKING:
    from ledger.orders.view import Order
    from ledger.service import Account, Ledger
    from ledger.terms import AccountTerms

# -------------------------------------------------------------------------------------------------------------- listing


_COLUMNS: Final = (
    *ACCOUNT, "client_id", "token", "kind", "symbol", "side", "volume", "state", "since", "why", "ticket", "filled", "open",
    "tickets", "position_id", "strategy", "valid_until",
)  # fmt: skip


@click.command("orders", short_help="List orders: which are open, and of which nobody knows.")
@journal_option
@accounts_option
@symbol_option
@click.option("--open", "wanted", flag_value="open", help="Only those of which something may still come.")
@click.option("--unknown", "wanted", flag_value="unknown", help="Only those of which nobody knows whether they were executed.")
@moment_options
@json_option
@csv_option
def orders(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    symbols: tuple[str, ...],
    wanted: str | None,
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **moment: Any,
) -> int:
    """List orders in the order in which they came up: client id, state, since when and why, fills, ticket, token.

    UNKNOWN: nobody knows whether it was executed. As long as one is, nothing new is opened on its symbol.

    \b
    Examples:
      ledger orders --unknown
      ledger orders --open --json
      ledger orders --until 2026-06-15T12:00:05

    Exit codes: 0 fine, 1 at least one order is UNKNOWN, or an account cannot be read: the others are listed.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    unread = Unread()
    with open_ledger(journal) as ledger:
        chosen = accounts_of(ledger, accounts)
        listed = list(unread.of_each(chosen, lambda one: [_listed(one, moment, symbols)]))
    rows = [order_row_json(one, terms) for terms, every, _ in listed for one in every if _is_wanted(one, wanted)]
    if as_json:
        print_json(rows)
    elif as_csv:
        print_csv(_COLUMNS, rows)
    else:
        for terms, every, blocked in listed:
            _print_orders(terms, every, blocked, wanted)
        if not chosen:
            print_line("no accounts yet")
    return max(unread.code, int(any(one.is_unknown for _, every, _ in listed for one in every)))


_Blocked = Mapping[str | None, tuple[str, ...]]


def _listed(
    account: Account, moment: Mapping[str, Any], symbols: Sequence[str]
) -> tuple[AccountTerms, tuple[Order, ...], _Blocked]:
    """Return the orders of an account at a moment, of some symbols or all, and what those that are unknown block."""
    wanted = Filter(symbols=symbols)
    found = tuple(one for one in account.orders(**moment) if wanted.is_of(one.symbol, None))
    is_any_unknown = any(one.is_unknown for one in found)
    blocked = blocked_by_unknown(account.replay(**moment), found) if is_any_unknown else {}
    return account.selection(**moment)[1], found, blocked


def _is_wanted(order: Order, wanted: str | None) -> bool:
    return order.is_open if wanted == "open" else order.is_unknown or wanted != "unknown"


def _print_orders(terms: AccountTerms, every: Sequence[Order], blocked: _Blocked, wanted: str | None) -> None:
    chosen = [one for one in every if _is_wanted(one, wanted)]
    words = "orders" if wanted is None else f"{wanted} orders"
    print_line(f"{terms.account} {words}: {len(chosen) or 'none'}", "bold")
    for one in chosen:
        for number, line in enumerate(order_lines(one, terms.clock)):
            print_line(line, "red" if one.is_unknown and not number else "")
    for symbol, names in blocked.items():
        print_line(f"{symbol or 'any symbol'}: {_counted(len(names))} UNKNOWN, nothing new may be opened there", "red")
        for name in names:
            print_line(f"{INDENT}ledger order show {name}")


def _counted(number: int) -> str:
    return "1 order is" if number == 1 else f"{number} orders are"


# ------------------------------------------------------------------------------------------------------------ one order


@click.group("order", short_help="Show one order with all of its events; resolve an unknown one.")
def order() -> None:
    """Show one order with all of its events, or record what a person found out about an unknown one.

    An order is named by its client id, its token (the comment that the terminal shows) or its ticket.

    \b
    Examples:
      ledger order show 01JDN5ABCDEFGHJKMNPQRSTVWX
      ledger order resolve 01JDN5ABCDEFGHJKMNPQRSTVWX --outcome executed --ticket 557416535 --reason "seen in the terminal"
      ledger order resolve 01JDN5ABCDEFGHJKMNPQRSTVWX --outcome absent --reason "the dealer has no trace of it"
    """


@order.command("show")
@click.argument("client", metavar="CLIENT")
@journal_option
@account_option
@json_option
def show(journal: str | None, account: AccountId | None, client: str, as_json: bool) -> int:  # noqa: FBT001
    """Show one order with all of its events, oldest first, in UTC: request, answer, what the broker showed, deals, resolutions.

    Exit codes: 0 fine, 1 it is UNKNOWN.
    """
    with open_ledger(journal) as ledger:
        found, one = _named(ledger, account, client)
        terms = found.terms
        events = order_history(found, one)
    if as_json:
        print_json(order_row_json(one, terms) | {"events": [log_json(event, terms) for event in events]})
    else:
        print_line(str(found.name), "bold")
        for number, line in enumerate(order_lines(one, terms.clock)):
            print_line(line, "red" if one.is_unknown and not number else "")
        width = len(str(max((event.version for event in events), default=0))) + 1
        print_lines(event_line(event, terms, version_width=width) for event in events)
        if one.is_unknown and one.client_id:
            print_line("ledger sync asks the gateway about it; what only a person finds out is recorded:")
            print_line(f"{INDENT}ledger order resolve {one.client_id} --outcome OUTCOME --reason WHY")
    return int(one.is_unknown)


@order.command("resolve")
@click.argument("client", metavar="CLIENT")
@click.option(
    "--outcome",
    required=True,
    type=click.Choice([one.value for one in OUTCOMES]),
    help="executed, working at the broker, rejected by it, or absent: it never came there.",
)
@click.option("--ticket", "tickets", type=click.IntRange(min=1), multiple=True, metavar="N", help="As the terminal shows it.")
@decision_options
@yes_option
@journal_option
@account_option
@json_option
def resolve(
    journal: str | None,
    account: AccountId | None,
    client: str,
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    **decision: Any,
) -> None:
    """Record what became of an order of which nobody knows; the effect is shown first.

    Look at the terminal before: at its orders, its history and its deals. What a person decides counts like a fact: an order
    that was executed and is recorded as absent may be sent again, and then there are two.
    """
    with open_ledger(journal) as ledger:
        found, one = _named(ledger, account, client)
        proposal = propose_resolution(found, client_id=one.client_id or client, **decision)
        if not as_json:
            _print_effect(found, proposal)
        require_consent(yes=yes, question="Record this decision?", what="this decision", err=as_json)
        events = apply_resolution(found, proposal)
        terms = found.terms
    if as_json:
        print_json(
            {"account": account_json(terms)}
            | resolution_json(proposal, terms)
            | {
                **recorded_json(events, terms, proposal.version),
            }
        )
        return
    print_recorded(events, otherwise="nothing to record: it is known already")


def _named(ledger: Ledger, account: AccountId | None, client: str) -> tuple[Account, Order]:
    """Return an order by what it is known by, and its account.

    Raises:
        RuleError: There is none.
        AccountUnknown: Several accounts have one.
    """
    chosen = accounts_of(ledger, account)
    found = [(one, order) for one in chosen if (order := named_order(one.orders(), client)) is not None]
    if len(found) > 1:
        names = ", ".join(str(one.name) for one, _ in found)
        raise AccountUnknown(f"which account? {names} have an order {shown(client)}: name one with --account")
    if not found:
        where = ", ".join(str(one.name) for one in chosen) or "this journal"
        raise RuleError(
            f"no order of {where} is known by {shown(client)}: expected a client id, a token or a ticket. See: ledger orders"
        )
    return found[0]


def _print_effect(account: Account, proposal: Resolution) -> None:
    sides = proposal.before, proposal.after
    blocked = [_blocked(side) for side in (proposal.blocked_before, proposal.blocked_after)]
    rows = [
        ["state", *(one.state.value.upper() for one in sides)],
        ["filled", *map(filled, sides)],
        ["ticket", *(", ".join(map(str, one.tickets)) or "none" for one in sides)],
        ["UNKNOWN orders", *blocked],
    ]
    print_line(f"{account.name} order {proposal.before.client_id}: {asked(proposal.before)}")
    print_table("would change", ["", "before", "after"], rows, empty="nothing")
    for note in proposal.notes:
        for line in folded([note], " "):
            print_line(line, "yellow")


def _blocked(unknown: _Blocked) -> str:
    return ", ".join(f"{len(names)} on {symbol or 'any symbol'}" for symbol, names in unknown.items()) or "none"


COMMANDS: Final = {"orders": orders, "order": order}
