"""How a worker of a fleet reaches its gateways: what the settings state of all gateways, and the keys of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ledger.errors import BadValue
from ledger.fleet.leases import Lease
from ledger.gateway.curve import ClientKeys, load_client_keys
from ledger.gateway.pool import AccountGateway, GatewayPool, Pools
from ledger.gateway_settings import SyncSettings, reconciler_over
from ledger.reconciler import StateReconciler
from ledger.service import Ledger


class Connector:
    """Makes the reconcilers of a worker.

    Args:
        ledger: Of the journal.
        gateway: What holds for all gateways: the settings of ``[gateway]``, as the options of ``GatewaySettings``.
        sync: What a reconciler is made with.
        pools: The connections of the process.

    Raises:
        BadValue: The gateways speak a form that names no accounts.
    """

    def __init__(self, ledger: Ledger, gateway: Mapping[str, Any], sync: SyncSettings, pools: Pools) -> None:
        form = gateway.get("form") or "json"
        if form != "json":
            raise BadValue(
                f"a fleet asks its gateways in the form json, which names the account, found {form}: leave --form and form out"
            )
        self._ledger = ledger
        self._gateway = gateway
        self._sync = sync
        self._pools = pools

    def __call__(self, lease: Lease, before_use: Callable[[], object]) -> tuple[StateReconciler, AccountGateway]:
        """Return the reconciler of an account and its gateway. Nothing is asked yet.

        Raises:
            BadValue: The address or a file of keys is none.
            GatewayDenied: It is on another machine, and there are no keys.
        """
        gateway = AccountGateway(lease.account, self._pool(lease), before_use)
        return reconciler_over(self._ledger, lease.account, gateway, self._sync), gateway

    def _pool(self, lease: Lease) -> GatewayPool:
        return self._pools.pool(
            lease.gateway,
            timeout_ms=self._gateway.get("timeout_ms"),
            keys=self._keys(lease.server_key or self._gateway.get("server_key")),
            allow_insecure=bool(self._gateway.get("insecure")),
        )

    def _keys(self, server_key: str | None) -> ClientKeys | None:
        client_key = self._gateway.get("client_key")
        if bool(server_key) != bool(client_key):
            raise BadValue("keys come in twos: --client-key (our own) and the gateway's (ledger fleet gateway --server-key)")
        return load_client_keys(Path(client_key), Path(server_key)) if client_key and server_key else None
