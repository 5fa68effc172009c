"""Gateways: the way to a terminal. What the reconciler needs of one, whatever it speaks.

Another gateway is one class with these methods. It translates and decides nothing: an answer that it cannot read whole is
refused, with row and field named; an error is raised and never becomes an empty list. Whether a snapshot is believed is
decided by ``ledger.reconcile``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # the options of a command name a gateway's form, and need no events
    from ledger.order_messages import OrderAnswer, OrderMessage, OrderStatus, RemoteCheck, RemoteOrders, RemoteTick
    from ledger.snapshot import PushedEvent, RemoteAccount, RemoteHistory, RemoteService, RemoteSymbol, Snapshot


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


@runtime_checkable
class OrderGateway(Gateway, Protocol):
    """A gateway that may be sent orders, beside being asked: one with a store and a fence (protocol version 2).

    Calls raise as ``Gateway``. An error that the gateway answered to an order message is a ``GatewayRefused`` with ``executed``
    as it stated it; whatever else is raised after the request may have left us says nothing about whether it was executed.
    """

    def ping(self) -> RemoteService | None:
        """Return what the gateway states of itself; None from protocol version 1, which takes no orders."""
        ...

    def order_send(self, message: OrderMessage, *, timeout_ms: int | None = None) -> OrderAnswer:
        """Send an order, and wait for its answer. It is never sent again by itself, whatever happens to the connection."""
        ...

    def order_status(
        self, client_id: str, *, store: str, fence: bool, lookup: bool, timeout_ms: int | None = None
    ) -> OrderStatus:
        """Return what the gateway's store has of a client id; with ``fence`` one that it never saw is refused from now on."""
        ...

    def active_orders(self) -> RemoteOrders:
        """Return the orders that the broker is working on."""
        ...

    def order_history(
        self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None, order: int | None = None
    ) -> RemoteOrders:
        """Return orders that are done: of a span of broker server time, of one position, or one of them."""
        ...

    def tick(self, symbol: str) -> RemoteTick:
        """Return the newest prices of a symbol."""
        ...

    def order_check(self, message: OrderMessage) -> RemoteCheck:
        """Return what the broker would say of an order. Nothing is sent; ``client_id``, ``token`` and ``store`` are ignored."""
        ...
