"""The command that pins the store of a gateway: the one that intents name from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.gateway_options import gateway_options
from ledger.cli.gateways import gateway_settings
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
from ledger.cli.output import print_json, print_line, print_recorded, print_table
from ledger.errors import BadValue
from ledger.json_views import account_json, recorded_json
from ledger.order_decisions import StoreChange, apply_store, propose_store

if TYPE_CHECKING:
    from ledger.snapshot import RemoteService
    from ledger.values import AccountId

_SHOWN_MAX: Final = 10


@click.command("pin", short_help="Pin the store of a gateway, as its disk was lost or replaced.")
@click.argument("store", required=False)
@decision_options
@yes_option
@journal_option
@account_option
@gateway_options
@json_option
def pin(
    journal: str | None,
    account: AccountId | None,
    store: str | None,
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    operator: str,
    reason: str,
    **gateway: Any,
) -> None:
    """Pin a gateway's store: from now on orders are sent only through the gateway that has it.

    Without STORE the gateway is asked for its own. A store is replaced when the gateway's disk was lost. It knows nothing of
    orders that were sent through the old one: those that are open are found by ticket and token, or a person decides.

    \b
    Example:
      ledger gateway pin --gateway tcp://10.0.0.7:5555 --reason "new disk"
    """
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account)
        wanted = store or _asked(found.name, gateway)
        proposal = propose_store(found, wanted, operator=operator, reason=reason)
        if not as_json:
            _print_change(str(found.name), proposal)
        if proposal.events:
            require_consent(yes=yes, question="Pin this store?", what="this store", err=as_json)
        events = apply_store(found, proposal)
        terms = found.terms
    if as_json:
        print_json(
            {
                "account": account_json(terms),
                "before": proposal.before,
                "after": proposal.after,
                "left": list(proposal.left),
                **recorded_json(events, terms, proposal.version),
            }
        )
        return
    print_recorded(events, otherwise="nothing to record: it is pinned already")


def _asked(account: AccountId, given: dict[str, Any]) -> str:
    """Return the store that the account's gateway states.

    Raises:
        BadValue: No gateway is named, or it has no store, or is of another account.
        GatewayError: It does not answer.
    """
    settings = gateway_settings(account, **given)
    if settings is None:
        raise BadValue("which store? Name it, or the gateway that has it (--gateway tcp://HOST:PORT)")
    gateway = settings.connect()
    try:
        ping = getattr(gateway, "ping", None)
        service: RemoteService | None = None if ping is None else ping()
    finally:
        gateway.close()
    if service is None:
        raise BadValue(f"{settings.url} has no store: it speaks protocol version 1, which sends no orders")
    if (service.server, service.login) != (account.server, account.login):
        shown = "no account" if service.login is None else f"{service.server}/{service.login}"
        raise BadValue(f"expected the gateway of {account}, {settings.url} answers for {shown}")
    return service.store


def _print_change(name: str, proposal: StoreChange) -> None:
    print_table(
        f"{name} would change",
        ["", "before", "after"],
        [["pinned store", proposal.before or "none", proposal.after]] if proposal.events else [],
        empty="nothing",
    )
    if proposal.left:
        more = f" and {len(proposal.left) - _SHOWN_MAX} more" if len(proposal.left) > _SHOWN_MAX else ""
        print_line(
            f"the new store knows nothing of {', '.join(proposal.left[:_SHOWN_MAX])}{more}: open orders that were sent through "
            "the old one are found by ticket and token only, see ledger orders --open",
            "yellow",
        )
