"""Which gateway a command speaks to, and how: options beat the environment, the environment beats the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ledger.cli.options import configuration
from ledger.errors import BadValue
from ledger.gateway.mt5_module import SCHEME, is_module_address
from ledger.gateway_settings import GatewaySettings, SyncSettings, gateways_of, of_file, of_table, reconciler_of
from ledger.reconciler import SYNC_INTERVAL_SEC

if TYPE_CHECKING:
    from ledger.orders.monitor_values import MonitorRules
    from ledger.reconcile.policy import ReconcilePolicy
    from ledger.values import AccountId

_PORT: Final = 5555

__all__ = ["GatewaySettings", "SyncSettings", "reconciler_of"]  # with what is made here, all that a command needs


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
    settings = of_file({**found.gateway, **of_account, "url": url})
    settings |= {"timeout_ms": _whole(timeout, "GTW_TIMEOUT_MS")} if timeout else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    return of_table(settings | {"url": url}, account, found)


def all_gateway_settings() -> list[GatewaySettings]:
    """Return the gateways of all accounts that the settings name. Raises as ``gateways_of``."""
    return gateways_of(configuration())


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
