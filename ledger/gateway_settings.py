"""How the gateways of a journal are reached, and what their accounts are synced by, as the settings have it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from ledger.clock import ClockRule
from ledger.config import Configuration
from ledger.errors import AccountUnknown, BadValue, GatewayError
from ledger.gateway import Gateway, OrderGateway
from ledger.gateway.forms import Form
from ledger.gateway.mt5_module import is_module_address
from ledger.marks import KEEP_DAYS
from ledger.monitors import breaches
from ledger.order_manager.resolver import Resolver
from ledger.orders.monitor_values import MonitorRules
from ledger.orders.policy import OrderPolicy
from ledger.reconcile.policy import ReconcilePolicy
from ledger.reconciler import SYNC_INTERVAL_SEC, StateReconciler, account_of
from ledger.service import Ledger
from ledger.values import AccountId

_ON_A_WIRE: Final = frozenset({"form", "server_key", "client_key", "insecure"})
_IN_PROCESS: Final = frozenset({"terminal"})


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


def gateways_of(found: Configuration) -> list[GatewaySettings]:
    """Return the gateways of all accounts that the settings name.

    Raises:
        BadValue: A setting cannot be read.
    """
    listed = [of_table(of_file({**found.gateway, **table}), account, found) for account, table in found.gateways.items()]
    in_process = [str(one.account) for one in listed if is_module_address(one.url)]
    if len(in_process) > 1:
        raise BadValue(
            f"{found}: {' and '.join(in_process)} are terminals in this process, and one process can be attached to one "
            "terminal only: run ledger gateway serve beside each and name its tcp:// address, or one ledger sync for each"
        )
    return listed


def of_file(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a file that go with its gateway: they may be shared by some on a wire and one in this process."""
    others = _ON_A_WIRE if is_module_address(settings.get("url")) else _IN_PROCESS
    return {name: value for name, value in settings.items() if name not in others}


def of_table(settings: Mapping[str, Any], account: AccountId | None, found: Configuration) -> GatewaySettings:
    """Return the gateway of a table of settings.

    Raises:
        BadValue: It has no URL.
    """
    if not settings.get("url"):
        raise BadValue(f"{found}: gateway of {account}: expected url")
    return GatewaySettings(account=account, **settings)


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
        return reconciler_over(ledger, found.account or _named(ledger, gateway), gateway, settings)
    except BaseException:
        gateway.close()
        raise


def reconciler_over(ledger: Ledger, account: AccountId, gateway: Gateway, settings: SyncSettings) -> StateReconciler:
    """Return a reconciler of an account over a gateway that is there already."""
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
