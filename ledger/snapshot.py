"""What a gateway reported at one moment: positions, account and symbols as the broker showed them. Never our own state.

Values only, read strictly by ``ledger.gateway`` and believed or refused by ``ledger.reconcile``. ``None`` means that the
gateway did not report. Times are the broker's server clock in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from typing import Any

from attrs import frozen

from ledger.events import Deal
from ledger.values import MarginMode, Side


def evidence_of(raw: bytes) -> str:
    """Return the name of a raw answer among the evidence: its SHA-256, in hex."""
    return sha256(raw).hexdigest()


@frozen(kw_only=True, slots=False)  # a thousand come with each snapshot: without slots they are made in half the time
class RemotePosition:
    """One open position as the broker shows it. Volume in lots, unsigned.

    ``position_id`` is the identifier, or the ticket where the gateway reports no identifier: then ``is_identified`` is False.
    ``price_open`` is None where the broker reported 0, which means that it does not know. ``profit`` and ``swap`` are marks.
    ``sl`` and ``tp`` are its stops, 0 for none.
    """

    position_id: int
    ticket: int
    symbol: str
    side: Side
    volume: Decimal
    price_open: Decimal | None
    is_identified: bool = True
    opened_msc: int | None = None
    updated_msc: int | None = None
    magic: int | None = None
    comment: str | None = None
    profit: Decimal | None = None
    swap: Decimal | None = None
    sl: Decimal | None = None
    tp: Decimal | None = None


@frozen(kw_only=True, slots=False)
class Snapshot:
    """The open positions of an account at one moment, in the order of the answer.

    ``raw`` is the answer as it came in: the evidence of whatever is concluded from it. ``is_extended`` means that the answer
    echoed our request id, so that the gateway may be asked for more than positions. ``is_engine_form`` means that it is from a
    server as trading engines bring along, which may have passed ``*`` on to MetaTrader 5 as the name of a symbol.
    """

    positions: tuple[RemotePosition, ...]
    raw: bytes
    is_extended: bool = False
    is_engine_form: bool = False
    server_time_msc: int | None = None
    count: int | None = None
    login: int | None = None
    server: str | None = None
    mode: MarginMode | None = None
    connected: bool | None = None

    @cached_property
    def evidence(self) -> str:
        """SHA-256 of the raw answer, in hex."""
        return evidence_of(self.raw)


@frozen(kw_only=True)
class RemoteAccount:
    """The account as the broker states it. Money in account currency.

    ``orders_limit`` is how many positions and pending orders it may have together, 0 for any number.
    """

    login: int
    server: str
    currency: str
    mode: MarginMode
    balance: Decimal
    credit: Decimal
    currency_digits: int | None = None
    equity: Decimal | None = None
    margin: Decimal | None = None
    orders_limit: int | None = None
    connected: bool | None = None


@frozen(kw_only=True)
class RemoteHistory:
    """Deals as the broker reports them, of origin recovery, and of which account they are, where the answer states it."""

    deals: tuple[Deal, ...]
    login: int | None = None
    server: str | None = None
    mode: MarginMode | None = None
    connected: bool | None = None


@frozen(kw_only=True)
class RemoteSymbol:
    """The broker's specification of a symbol. ``currency`` is the one that its profit is in.

    ``filling_mode`` is MetaTrader 5's mask (1: FOK, 2: IOC), ``stops_level`` in points.
    """

    symbol: str
    digits: int | None = None
    volume_step: Decimal | None = None
    contract_size: Decimal | None = None
    currency: str | None = None
    volume_min: Decimal | None = None
    volume_max: Decimal | None = None
    filling_mode: int | None = None
    stops_level: int | None = None
    point: Decimal | None = None
    tick_size: Decimal | None = None


@frozen(kw_only=True)
class RemoteService:
    """What a gateway of protocol version 2 states of itself. See ``ledger.protocol.messages.ServiceState``.

    ``gateway_time_msc`` is the clock of its machine, UTC.
    """

    protocol: int
    can: frozenset[str]
    store: str
    epoch: int
    seq: int
    push_port: int | None = None
    login: int | None = None
    server: str | None = None
    connected: bool | None = None
    trade_allowed: bool | None = None
    gateway_time_msc: int | None = None
    terminal_process: Mapping[str, Any] | None = None


@frozen(kw_only=True)
class PushedEvent:
    """What a gateway pushed: a reason to look sooner, never the truth. ``at_msc`` is UTC on the gateway's machine.

    A ``heartbeat`` has no number of its own: its ``seq`` is that of the newest event.
    """

    store: str
    epoch: int
    seq: int
    kind: str
    at_msc: int
    data: Mapping[str, Any]
