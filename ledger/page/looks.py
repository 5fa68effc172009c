"""What the page looks at for its view of health: everything of ``ledger doctor`` that can be looked at from here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from ledger.config import Configuration
from ledger.errors import LedgerError
from ledger.gateway.mt5_module import is_module_address
from ledger.gateway_settings import GatewaySettings, SyncSettings, gateways_of
from ledger.health_checks import (
    FAILED,
    OK,
    UNAVAILABLE,
    Check,
    account_checks,
    gateway_checks,
    journal_checks,
    key_checks,
    program_checks,
)
from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.page.desk import Desk

#: So many accounts are checked one by one; of more, those that are not safe.
_ACCOUNTS_MAX: Final = 200
#: An account of which more events are to be folded first is left out.
_EVENTS_MAX: Final = 200_000


def checks_of(desk: Desk) -> list[Check]:
    """Return everything that can be looked at from here."""
    ledger, settings = desk.source.reader, desk.source.configuration
    found = list(program_checks())
    found.append(_settings(settings))
    found += journal_checks(ledger, settings)
    heads = ledger.journal.heads_here()
    if len(heads) > _ACCOUNTS_MAX:
        seen = f"{len(heads):,} accounts: the overview has those that are not safe"
        found.append(Check("accounts", OK, seen))
    else:
        found += _accounts(desk, heads)
    try:
        gateways = gateways_of(settings)
    except LedgerError as error:
        return [*found, Check("gateway", FAILED, str(error))]
    found += key_checks(
        [settings.seal_key, *(file for one in gateways for file in (one.client_key, one.server_key))]
        + [settings.gateway.get(name) for name in ("client_key", "server_key")]
    )
    return [*found, *_gateways(desk, gateways)]


def _accounts(desk: Desk, names: Iterable[AccountId]) -> Iterator[Check]:
    """Look at accounts, but for those that would take long; they are named."""
    quick: list[AccountId] = []
    for name in names:
        try:
            behind = desk.behind(desk.source.reader.account(name))
        except LedgerError:  # its check reports it
            behind = 0
        if behind <= _EVENTS_MAX:
            quick.append(name)
        else:
            seen = f"not checked: {behind:,} events have to be folded first"
            yield Check(str(name), UNAVAILABLE, seen, "open the account, which folds them, or ledger doctor", account=str(name))
    if quick:
        yield from account_checks(desk.source.reader, quick)


def _settings(settings: Configuration) -> Check:
    seen = "no file: every setting has its default" if settings.path is None else f"settings from {settings.path}"
    return Check("settings", OK, seen)


def _gateways(desk: Desk, gateways: list[GatewaySettings]) -> list[Check]:
    """Look at the gateways on a wire: a terminal in a process of its own is not attached to by a page."""
    on_a_wire = [one for one in gateways if not is_module_address(one.url)]
    found = [
        Check(f"gateway {one.url}", OK, "a terminal of another process: ledger doctor looks at it there", gateway=one.url)
        for one in gateways
        if one not in on_a_wire
    ]
    if not gateways:
        return [Check("gateway", OK, "none is in the settings: nothing to look at from here")]
    if not on_a_wire:
        return found
    settings = desk.source.configuration
    sync = SyncSettings(policy=settings.policy, monitors=settings.monitors)
    return [*found, *gateway_checks(desk.source.reader, on_a_wire, sync)]
