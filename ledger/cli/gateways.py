"""Which gateway a command speaks to, and how: options beat the environment, the environment beats the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from attrs import frozen

from ledger.cli.accounts import CLOCK, CLOCK_HELP
from ledger.cli.options import Command, configuration
from ledger.clock import ClockRule
from ledger.errors import AccountUnknown, BadValue, GatewayError
from ledger.gateway import Gateway, OrderGateway
from ledger.gateway.forms import FORMS, Form
from ledger.gateway.mt5_module import SCHEME, is_module_address
from ledger.marks import KEEP_DAYS
from ledger.monitors import breaches
from ledger.order_manager.resolver import Resolver
from ledger.orders.monitor_values import MonitorRules
from ledger.orders.policy import OrderPolicy
from ledger.reconcile.policy import ReconcilePolicy
from ledger.reconciler import SYNC_INTERVAL_SEC, StateReconciler, account_of
from ledger.service import Ledger
from ledger.values import AccountId

_PORT: Final = 5555
_ON_A_WIRE: Final = frozenset({"form", "server_key", "client_key", "insecure"})
_IN_PROCESS: Final = frozenset({"terminal"})


def gateway_options(command: Command) -> Command:
    """Take what names a gateway and the keys for it."""
    for option in (
        click.option("--insecure", is_flag=True, default=None, help="Speak to another machine without keys."),
        click.option("--client-key", metavar="FILE", help="CURVE: our own secret key (ledger keys make)."),
        click.option("--server-key", metavar="FILE", help="CURVE: the public key of the gateway."),
        click.option("--form", type=click.Choice(FORMS), help="Gateway protocol (default: json)."),
        click.option("--timeout-ms", type=click.IntRange(min=1), metavar="N", help="For each request; else $GTW_TIMEOUT_MS."),
        click.option("--gateway", metavar="URL", help="tcp://HOST:PORT, or mt5:; else $GTW_HOST and $GTW_PORT (5555)."),
    ):
        command = option(command)
    return command


def terminal_option(command: Command) -> Command:
    """Add the option that names the program of a terminal in this process."""
    return click.option(
        "--terminal", metavar="PATH", help="Program of a MetaTrader 5 terminal on this machine, for --gateway mt5:."
    )(command)


def server_tz_option(command: Command) -> Command:
    """Take the clock rule for an account that a gateway opens."""
    return click.option("--server-tz", type=CLOCK, metavar="RULE", help=f"{CLOCK_HELP} For an account that is opened.")(command)


@frozen(kw_only=True)
class GatewaySettings:
    """How to reach one gateway, and its account, where that is given."""

    url: str
    account: AccountId | None = None
    form: Form = "json"
    timeout_ms: int | None = None
    server_key: str | None = None
    client_key: str | None = None
    insecure: bool = False
    terminal: str | None = None

    def connect(self) -> Gateway:
        """Return the gateway. Nothing is asked yet.

        Raises:
            BadValue: The URL or a key file is none, or the module of a terminal in this process is not installed.
            GatewayDenied: It is on another machine, and there are no keys.
        """
        from ledger.gateway.curve import load_client_keys
        from ledger.gateway.open import open_gateway

        if bool(self.server_key) != bool(self.client_key):
            raise BadValue("keys come in twos: --client-key (our own) and --server-key (the gateway's)")
        keys = load_client_keys(Path(self.client_key), Path(self.server_key)) if self.client_key and self.server_key else None
        return open_gateway(
            self.url,
            form=self.form,
            timeout_ms=self.timeout_ms,
            keys=keys,
            allow_insecure=self.insecure,
            terminal=self.terminal,
        )


def gateway_settings(account: AccountId | None = None, *, gateway: str | None, **given: Any) -> GatewaySettings | None:
    """Return the one gateway that is meant; None where nothing names one.

    Raises:
        BadValue: A setting cannot be read.
    """
    found = configuration()
    of_account = found.gateways.get(account, {}) if account else {}
    host, port = os.environ.get("GTW_HOST"), os.environ.get("GTW_PORT")
    named = f"tcp://{host or '127.0.0.1'}:{port or _PORT}" if host or port else None
    url = gateway or of_account.get("url") or named or found.gateway.get("url")
    if given.get("terminal") and not gateway and not is_module_address(url):
        url = SCHEME
    if not url:
        return None
    timeout = os.environ.get("GTW_TIMEOUT_MS")
    settings = _of_file({**found.gateway, **of_account, "url": url})
    settings |= {"timeout_ms": _whole(timeout, "GTW_TIMEOUT_MS")} if timeout else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    return _of_table(settings | {"url": url}, account)


def all_gateway_settings() -> list[GatewaySettings]:
    """Return the gateways of all accounts that the settings name.

    Raises:
        BadValue: A setting cannot be read.
    """
    found = configuration()
    listed = [_of_table(_of_file({**found.gateway, **table}), account) for account, table in found.gateways.items()]
    in_process = [str(one.account) for one in listed if is_module_address(one.url)]
    if len(in_process) > 1:
        raise BadValue(
            f"{found}: {' and '.join(in_process)} are terminals in this process, and one process can be attached to one "
            "terminal only: run ledger gateway serve beside each and name its tcp:// address, or one ledger sync for each"
        )
    return listed


def _of_file(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a file that go with its gateway: they may be shared by some on a wire and one in this process."""
    others = _ON_A_WIRE if is_module_address(settings.get("url")) else _IN_PROCESS
    return {name: value for name, value in settings.items() if name not in others}


def _of_table(settings: Mapping[str, Any], account: AccountId | None) -> GatewaySettings:
    if not settings.get("url"):
        raise BadValue(f"{configuration()}: gateway of {account}: expected url")
    return GatewaySettings(account=account, **settings)


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadValue(f"{name} is a whole number, found {text!r}") from None


def interval_sec(given: float | None) -> float:
    """Return the seconds between two syncs: the option, else the environment, else the file, else 15."""
    interval: Any = given if given is not None else os.environ.get("SYNC_INTERVAL_SEC")
    if interval is None or interval == "":
        interval = configuration().interval_sec or SYNC_INTERVAL_SEC
    try:
        seconds = float(interval)
    except (TypeError, ValueError):
        raise BadValue(f"SYNC_INTERVAL_SEC is a number of seconds, found {interval!r}") from None
    if not 0 < seconds < 86_400:
        raise BadValue(f"an interval is more than 0 and less than a day, found {seconds} s")
    return seconds


def policy() -> ReconcilePolicy:
    """Return the policy of the settings. Raises as ``ledger.config.find``."""
    return configuration().policy


def keep_marks_days() -> int:
    """Return for how many days marks are there by the settings. Raises as ``ledger.config.find``."""
    return configuration().keep_marks_days


def monitor_rules() -> Mapping[AccountId, MonitorRules]:
    """Return what each account may lose by the settings. Raises as ``ledger.config.find``."""
    return configuration().monitors


@frozen(kw_only=True)
class SyncSettings:
    """What a reconciler is made with. Read where the command's options are known, used in any thread."""

    policy: ReconcilePolicy
    interval_sec: float = SYNC_INTERVAL_SEC
    keep_marks_days: int = KEEP_DAYS
    monitors: Mapping[AccountId, MonitorRules] = {}
    clock: ClockRule | None = None


def reconciler_of(ledger: Ledger, found: GatewaySettings, settings: SyncSettings) -> StateReconciler:
    """Return a reconciler of the account that a gateway is of.

    Raises:
        GatewayError: The account has to be asked of the gateway, and it does not answer.
        AccountUnknown: Nothing names the account.
    """
    gateway = found.connect()
    try:
        account = found.account or _named(ledger, gateway)
        named = ledger.account(account)
        return StateReconciler(
            named,
            gateway,
            policy=settings.policy,
            sync_interval_sec=settings.interval_sec,
            keep_marks_days=settings.keep_marks_days,
            breaches=partial(breaches, named, settings.monitors.get(account)),
            clock=settings.clock,
            orders=Resolver(named, gateway, OrderPolicy()) if isinstance(gateway, OrderGateway) else None,
        )
    except BaseException:
        gateway.close()
        raise


def _named(ledger: Ledger, gateway: Gateway) -> AccountId:
    """Return the account that the gateway names; where it names none or does not answer, the only one of the journal."""
    known = ledger.journal.accounts()
    try:
        account = account_of(gateway)
    except GatewayError:
        if len(known) != 1:
            raise
        return known[0]
    if account is None and len(known) == 1:
        return known[0]
    if account is None:
        raise AccountUnknown(
            f"which account? The gateway does not report it, and the journal holds {len(known)}: name it with --account "
            "SERVER/LOGIN, and open it first (ledger account open)"
        )
    return account
