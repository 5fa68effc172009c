"""The command that checks everything that syncing and trading rest on, one line a check."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import evolve

from ledger.cli.gateway_options import gateway_options
from ledger.cli.gateways import GatewaySettings, SyncSettings, all_gateway_settings, gateway_settings, policy
from ledger.cli.options import (
    accounts_option,
    configuration,
    configuration_note,
    is_by_directory,
    journal_option,
    journal_url,
    journals_of,
    json_option,
    open_ledger,
)
from ledger.cli.output import print_json, print_table
from ledger.errors import BadValue, LedgerError
from ledger.gateway.mt5_module import SCHEME, is_module_address
from ledger.health_checks import (
    FAILED,
    OK,
    UNAVAILABLE,
    WARNING,
    Check,
    account_checks,
    gateway_checks,
    journal_checks,
    key_checks,
    program_checks,
)
from ledger.service import Ledger

if TYPE_CHECKING:
    from ledger.config import Configuration
    from ledger.values import AccountId


@click.command("doctor", short_help="Check everything that syncing and trading rest on.")
@journal_option
@accounts_option
@gateway_options
@click.option(
    "--terminal",
    metavar="[PATH]",
    is_flag=False,
    flag_value="",
    help="Check a MetaTrader 5 terminal on this machine instead, call by call.",
)
@click.option("--orders", is_flag=True, help="Check what sending orders rests on too.")
@json_option
def doctor(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    as_json: bool,  # noqa: FBT001
    terminal: str | None,
    orders: bool,  # noqa: FBT001
    **gateway: Any,
) -> int:
    """Check versions, settings, journal, durability, triggers, disk, verify, seal, backup, keys, accounts, gateways, clocks.

    One line a check.

    Every account and gateway of the settings is looked at, even if one is dead. What ledger drift would refuse is refused here.

    With --orders, also what carries client ids, the gateway's store, clock and fillings, limits, halts, the kill switch.

    With --terminal, go through the calls that a MetaTrader 5 terminal answers and show what was seen. Nothing trades.

    \b
    Examples:
      ledger doctor
      ledger doctor --gateway tcp://127.0.0.1:5555 --json
      ledger doctor --orders --gateway tcp://127.0.0.1:5555
      ledger doctor --terminal "C:\\Terminal\\terminal64.exe"

    Exit codes: 0 fine (warnings too), 1 something failed, 3 journal or gateway do not answer.
    """
    checks = list(
        _checks(journal, accounts, gateway, with_orders=orders) if terminal is None else _terminal(terminal, gateway["gateway"])
    )
    if as_json:
        print_json([one.json_row() for one in checks])
    else:
        print_table(
            "doctor",
            ["check", "", "seen"],
            [[one.title(), one.state, f"{one.seen}: {one.advice}" if one.advice else one.seen] for one in checks],
            empty="nothing",
        )
    states = {one.state for one in checks}
    return 1 if FAILED in states else 3 if UNAVAILABLE in states else 0


def _checks(
    journal: str | None, accounts: Sequence[AccountId], gateway: dict[str, Any], *, with_orders: bool
) -> Iterator[Check]:
    yield from program_checks()
    yield from _settings()
    ledger: Ledger | None = None
    try:
        ledger = _opened(journal)
    except LedgerError as error:
        yield Check("journal", UNAVAILABLE if error.retryable else FAILED, str(error))
    try:
        for name, one in [] if ledger is None else journals_of(ledger):
            mine = accounts if name is None else [account for account in accounts if one.account(account).is_open]
            checks = journal_checks(one, _readable())
            yield from checks if name is None else (evolve(check, name=f"{name}: {check.name}") for check in checks)
            if name is None or mine or not accounts:
                yield from account_checks(one, mine, with_orders=with_orders)
        yield from _keys()
        yield from _gateways(ledger, accounts, gateway, with_orders=with_orders)
    finally:
        if ledger is not None:
            ledger.close()


def _opened(journal: str | None) -> Ledger:
    if is_by_directory(journal):
        return open_ledger(journal)
    url = journal_url(journal)
    return Ledger.open(url, segments=found.segments if (found := _readable()) else None)


def _readable() -> Configuration | None:
    """Return the settings, None where they cannot be read: what is wrong with them is printed already."""
    try:
        return configuration()
    except LedgerError:
        return None


def _terminal(path: str, address: str | None) -> Iterator[Check]:
    from ledger.cli.terminal_checks import check_terminal

    settings = configuration().gateway
    named = address or str(settings.get("url") or "")
    if address and not is_module_address(address):
        raise BadValue(f"expected a terminal in this process (--gateway mt5: or none) with --terminal, found {address}")
    known = is_module_address(named)
    path = path or (str(settings.get("terminal") or "") if known else "")
    for name, state, seen, advice in check_terminal(named if known else SCHEME, path or None):
        yield Check(name, state, seen, advice)


def _settings() -> Iterator[Check]:
    try:
        note = configuration_note()
    except LedgerError as error:
        yield Check("settings", FAILED, str(error))
        return
    if note is None:
        yield Check("settings", OK, "no file: every setting has its default")
    elif configuration().path is None:
        yield Check("settings", WARNING, note)
    else:
        yield Check("settings", OK, note)


def _keys() -> Iterator[Check]:
    try:
        found = configuration()
        named = [getattr(one, name) for one in all_gateway_settings() for name in ("client_key", "server_key")]
    except LedgerError:
        return  # what is wrong with the settings is printed already
    named += [found.seal_key, *(found.gateway.get(name) for name in ("client_key", "server_key"))]
    yield from key_checks([*named, os.environ.get("LEDGER_SEAL_KEY")])


def _gateways(
    ledger: Ledger | None, accounts: Sequence[AccountId], given: dict[str, Any], *, with_orders: bool
) -> Iterator[Check]:
    try:
        found = _named_gateways(accounts, given)
        settings = SyncSettings(policy=policy())
    except LedgerError as error:
        yield Check("gateway", FAILED, str(error))
        return
    yield from gateway_checks(ledger, found, settings, with_orders=with_orders)


def _named_gateways(accounts: Sequence[AccountId], given: dict[str, Any]) -> list[GatewaySettings]:
    """Return the gateways that are meant: of the accounts that are named, of all the settings, or one.

    Raises:
        BadValue: One gateway is named for several accounts, or a setting is wrong.
    """
    named: list[AccountId | None] = list(dict.fromkeys(accounts))
    if len(named) > 1 and given["gateway"]:
        raise BadValue("one gateway is of one account: name one --account with --gateway, or none")
    of_settings = [] if named or given["gateway"] else all_gateway_settings()
    return of_settings or [one for account in named or [None] if (one := gateway_settings(account, **given)) is not None]


COMMANDS: Final = {"doctor": doctor}
