"""Gateways: the way to a terminal. What the reconciler needs of one, whatever it speaks.

Another gateway is one class with these methods. It translates and decides nothing: an answer that it cannot read whole is
refused, with row and field named; an error is raised and never becomes an empty list. Whether a snapshot is believed is
decided by ``ledger.reconcile``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from ledger.snapshot import PushedEvent, RemoteAccount, RemoteHistory, RemoteSymbol, Snapshot


class Gateway(Protocol):
    """A way to one broker account. Methods may be called from several threads; each returns or raises by its deadline.

    All but ``positions``, ``reconnections`` and ``close`` are asked only after a snapshot had ``is_extended`` set.

    Raises, from every call:
        GatewayTimeout: No answer in time.
        GatewayRefused: The gateway answered an error.
        GatewayDenied: The gateway and we do not accept one another's keys.
        GatewayUnavailable: The way to the gateway is broken.
        SnapshotRefused: The answer cannot be read whole.
    """

    def positions(self) -> Snapshot:
        """Return all open positions."""
        ...

    def account(self) -> RemoteAccount:
        """Return the broker's figures of the account."""
        ...

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> RemoteHistory:
        """Return the deals of a span of broker server time, both ends included, or those of one position."""
        ...

    def symbols(self) -> Sequence[RemoteSymbol]:
        """Return the broker's specifications of its symbols."""
        ...

    @property
    def reconnections(self) -> int:
        """How often the connection came back after it was lost. Asking costs nothing and never waits."""
        ...

    def close(self) -> None:
        """Give back what the gateway holds open."""
        ...


@runtime_checkable
class SymbolGateway(Protocol):
    """A gateway that may be asked for the positions of one symbol, beside all."""

    def positions_of(self, symbol: str) -> Snapshot:
        """Return the open positions of one symbol. Raises as ``Gateway``."""
        ...


class Subscription(Protocol):
    """What a gateway pushes, heard in a thread of its own until it is closed."""

    @property
    def is_alive(self) -> bool:
        """Whether it was heard a moment ago."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


@runtime_checkable
class PushGateway(Protocol):
    """A gateway that may push what changes, beside being asked."""

    def subscribe(self, on_event: Callable[[PushedEvent | None], object]) -> Subscription:
        """Listen.

        Args:
            on_event: Called from another thread with each event, and with None where some were lost, or may have been.
        """
        ...
