"""Gateways of a fleet: some connections to each, lent to the accounts behind it for one call at a time.

A reconciler has a gateway for as long as its account is in memory. Thousands of them would be thousands of connections; so what
a reconciler has is an ``AccountGateway``, which borrows a connection for a call and names its account in the request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final, TypeVar

import zmq

from ledger.errors import GatewayDenied, GatewayTimeout, GatewayUnavailable, SnapshotRefused
from ledger.gateway.client import TIMEOUT_MS, ZmqGateway, checked_endpoint
from ledger.gateway.client_orders import AsksAboutOrders
from ledger.gateway.client_reads import AsksAboutAccount
from ledger.gateway.curve import ClientKeys
from ledger.order_messages import RemoteOrders
from ledger.protocol.echo import Asked
from ledger.protocol.messages import Query
from ledger.snapshot import RemoteAccount, RemoteHistory, Snapshot
from ledger.values import AccountId

_Value = TypeVar("_Value")
_WITH_IDENTITY: Final = (Snapshot, RemoteAccount, RemoteHistory, RemoteOrders)


class Pools:
    """The connections of a process to the gateways of a fleet. Safe to use from several threads."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pools: dict[str, GatewayPool] = {}
        self._lock = Lock()

    def pool(
        self, endpoint: str, *, timeout_ms: int | None = None, keys: ClientKeys | None = None, allow_insecure: bool = False
    ) -> GatewayPool:
        """Return the connections to a gateway, made anew where its keys are others now.

        What else they are made with is what was given the first time.

        Raises:
            GatewayDenied: It is on another machine, and there are no keys.
        """
        with self._lock:
            found = self._pools.get(endpoint)
            if found is None or found.keys != keys:
                self._pools[endpoint] = GatewayPool(
                    endpoint, self._context, timeout_ms=timeout_ms, keys=keys, allow_insecure=allow_insecure
                )
                if found is not None:
                    found.close()
            return self._pools[endpoint]

    def close(self) -> None:
        """Close all connections."""
        for one in self._pools.values():
            one.close()
        self._context.term()


class GatewayPool:
    """Connections to one gateway, as many as calls were ever under way at once. Safe to use from several threads.

    Args:
        endpoint: ``tcp://HOST:PORT``.
        context: Of ZeroMQ, shared by all pools of a process.
        timeout_ms: What a call may take in all.
        keys: Ours and the gateway's.
        allow_insecure: Speak to other machines without keys.

    Raises:
        GatewayDenied: It is on another machine, and there are no keys.
    """

    def __init__(
        self,
        endpoint: str,
        context: zmq.Context[zmq.Socket[bytes]],
        *,
        timeout_ms: int | None = None,
        keys: ClientKeys | None = None,
        allow_insecure: bool = False,
    ) -> None:
        self.endpoint = checked_endpoint(endpoint, has_keys=keys is not None, allow_insecure=allow_insecure)
        self._context = context
        self._timeout_ms = timeout_ms or TIMEOUT_MS
        self.keys = keys
        self._allow_insecure = allow_insecure
        self._idle: list[ZmqGateway] = []
        self._is_closed = False
        self._lock = Lock()

    @contextmanager
    def lent(self) -> Iterator[ZmqGateway]:
        """Lend a connection that nobody uses; it is not kept once the pool is closed."""
        with self._lock:
            client = self._idle.pop() if self._idle else None
        client = client or self._connected()
        try:
            yield client
        finally:
            with self._lock:
                is_kept = not self._is_closed
                if is_kept:
                    self._idle.append(client)
            if not is_kept:
                client.close()

    def close(self) -> None:
        """Close the connections that are not lent now, and the others when they are given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def _connected(self) -> ZmqGateway:
        return ZmqGateway(
            self.endpoint, timeout_ms=self._timeout_ms, keys=self.keys, allow_insecure=self._allow_insecure,
            context=self._context,
        )  # fmt: skip


class AccountGateway(AsksAboutAccount, AsksAboutOrders):
    """The gateway of one account, over connections that many accounts share.

    Only an answer that states login and server is accepted: a base form's answer might be any account's.

    Args:
        account: Which.
        pool: The connections.
        before_use: Called before each request and after each answer; what it raises ends the call.
    """

    def __init__(self, account: AccountId, pool: GatewayPool, before_use: Callable[[], object]) -> None:
        self.account_id = account
        self.endpoint = pool.endpoint
        #: Why the gateway did not answer the last call; None where it did.
        self.silence: str | None = None
        self._pool = pool
        self.before_use = before_use

    @property
    def reconnections(self) -> int:
        """Return 0: an account of a fleet is synced when it is due, not when a connection came back."""
        return 0

    def close(self) -> None:
        """Do nothing: the connections are the pool's."""

    def _ask(
        self, query: Query, read: Callable[[bytes, Asked], _Value], *, timeout_ms: int | None = None, attempts: int = 2
    ) -> _Value:
        self.before_use()
        try:
            with self._pool.lent() as client:
                value = client.ask(query, read, timeout_ms=timeout_ms, attempts=attempts, account=self.account_id)
        except (GatewayTimeout, GatewayUnavailable, GatewayDenied) as error:
            self.silence = str(error)
            self.before_use()
            raise
        self.silence = None
        self.before_use()
        if isinstance(value, _WITH_IDENTITY):
            self._require_identity(value)
        return value

    def _require_identity(self, answer: Snapshot | RemoteAccount | RemoteHistory | RemoteOrders) -> None:
        for name in ("login", "server"):
            expected, found = getattr(self.account_id, name), getattr(answer, name)
            if found != expected:
                raise SnapshotRefused(
                    f"expected the {name} {expected} that was asked for, found {found or 'none'}: a gateway of a fleet "
                    "answers in the extended form, for the account that a request names",
                    field=name,
                )
