"""What a client asks about an account: the calls of ``ledger.gateway.Gateway``, by a call that its class has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from ledger.protocol.echo import Asked
from ledger.protocol.messages import GetAccount, GetDeals, GetEvents, GetPositions, GetSymbols, Ping, Query
from ledger.protocol.read import read_account, read_deals, read_events, read_pong, read_snapshot, read_symbols
from ledger.snapshot import PushedEvent, RemoteAccount, RemoteHistory, RemoteService, RemoteSymbol, Snapshot

_Value = TypeVar("_Value")


class AsksAboutAccount(ABC):
    """What a reconciler asks."""

    @abstractmethod
    def _ask(
        self, query: Query, read: Callable[[bytes, Asked], _Value], *, timeout_ms: int | None = None, attempts: int = 2
    ) -> _Value:
        """Send a request and return the content of its answer."""

    def positions(self) -> Snapshot:
        """Return all open positions. See ``Gateway``."""
        return self._ask(GetPositions(), read_snapshot)

    def positions_of(self, symbol: str) -> Snapshot:
        """Return the open positions of one symbol. See ``SymbolGateway``."""
        return self._ask(GetPositions(symbol=symbol), read_snapshot)

    def account(self) -> RemoteAccount:
        """Return the broker's figures of the account. See ``Gateway``."""
        return self._ask(GetAccount(), read_account)

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> RemoteHistory:
        """Return deals of a span of server time, or of one position. See ``Gateway``."""
        return self._ask(GetDeals(from_msc=from_msc, to_msc=to_msc, position=position), read_deals)

    def symbols(self) -> Sequence[RemoteSymbol]:
        """Return the broker's specifications of its symbols. See ``Gateway``."""
        return self._ask(GetSymbols(), read_symbols)

    def ping(self) -> RemoteService | None:
        """Return what the gateway states of itself; None from protocol version 1. Raises as ``Gateway``."""
        return self._ask(Ping(), read_pong)

    def events(self, *, after_seq: int) -> tuple[PushedEvent, ...]:
        """Return pushed events after a number, oldest first, as many as one answer holds. Raises as ``Gateway``."""
        return self._ask(GetEvents(after_seq=after_seq), read_events)
