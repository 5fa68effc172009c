"""Test doubles for engines and gateways that use MetaTrader 5."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Final

from ledger.clock import ClockRule, to_clock
from ledger.gateway.sandbox.terminal import Terminal, open_random_positions
from ledger.testing.mt5 import FakeFault, FakeFaults, FakeMetaTrader5, FakeSettings
from ledger.values import MarginMode

__all__ = ["FakeFault", "FakeFaults", "FakeMetaTrader5", "FakeSettings", "fake_mt5"]

_DEPOSIT: Final = 2  # the deal type
_HISTORY_MS: Final = 3_600_000  # the account's first deals are so old, so that none is just settling


def fake_mt5(
    *,
    mode: MarginMode | str = MarginMode.HEDGING,
    login: int = 70113,
    server: str = "Sandbox-Demo",
    currency: str = "USD",
    deposit: Decimal | str | int = 10_000,
    positions: int = 0,
    magic: int = 0,
    seed: int = 1,
    clock: ClockRule | str | Callable[[], int] | None = None,
    settings: FakeSettings | None = None,
    faults: FakeFaults | None = None,
    **more: Any,
) -> FakeMetaTrader5:
    """Return a fake ``MetaTrader5`` over a new simulated terminal. ``initialize()`` is still to be called.

    A partial of this function, ``partial(fake_mt5, seed=7)``, can be pickled and called in another process.

    Args:
        mode: How the account books positions: hedging, netting, exchange.
        login: Number of the account.
        server: Name of its trade server.
        currency: Its currency.
        deposit: Its first deposit; 0: none.
        positions: How many positions are open at the start.
        magic: Magic number of those.
        seed: The same seed and the same calls give the same prices, tickets and deals.
        clock: Rule of the server's clock, as ``ny-close``: it shows the present; or a function that returns what it shows, in
            msc. None: it moves with deals and on command.
        settings: How terminal and broker behave.
        faults: What goes wrong.
        more: Further arguments of the terminal.
    """
    terminal = Terminal(mode=MarginMode(mode), seed=seed, login=login, server=server, currency=currency, **more)
    present = _present(clock)
    if present is not None:
        terminal.now_msc = present() - _HISTORY_MS
    if Decimal(deposit):
        terminal.cash(_DEPOSIT, Decimal(deposit))
    open_random_positions(terminal, positions, magic=magic)
    if present is not None:
        terminal.pace_ms = 0
    return FakeMetaTrader5(terminal, settings=settings, clock=present, faults=faults)


def _present(clock: ClockRule | str | Callable[[], int] | None) -> Callable[[], int] | None:
    if clock is None or (callable(clock) and not isinstance(clock, ClockRule)):
        return clock
    return partial(_present_msc, to_clock(clock))


def _present_msc(rule: ClockRule) -> int:
    return rule.from_utc_msc(time.time_ns() // 1_000_000)
