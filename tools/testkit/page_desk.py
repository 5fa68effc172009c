"""This module makes the small journal that the page is looked at with: by tests, by the soak and in the manual's pictures.

Five accounts, synced with simulated terminals by the real reconciler up to now: one that trades, has breaks and late deals;
one whose gateway does not answer any more; one at rest; one that was never compared with a broker; one that nets, in yen.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from ledger import Account, AccountId, FillRecorded, Ledger
from ledger.clock import ClockRule, to_clock
from ledger.gateway.sandbox.faults import Fault, Faults
from ledger.gateway.sandbox.responder import SandboxResponder
from ledger.gateway.sandbox.terminal import Row, Terminal
from ledger.reconcile.policy import Action, ReconcilePolicy
from ledger.reconciler import StateReconciler
from tools.testkit.cause_scenarios import FalseReads, Line

MAIN: Final = AccountId("Broker-Live", 70113)
DEGRADED: Final = AccountId("Broker-Live", 70200)
AT_REST: Final = AccountId("Prop-2", 881)
NEVER_SYNCED: Final = AccountId("Broker-Live", 70300)
NETTING: Final = AccountId("Tokyo-Demo", 5150)
ACCOUNTS: Final = (MAIN, DEGRADED, AT_REST, NEVER_SYNCED, NETTING)

OUR_MAGIC: Final = 4711
#: What a broker's comment may hold: markup that would run, and marks that turn the order of letters around.
HOSTILE: Final = "<img src=x onerror=alert(1)> \u202eevil\u2066"
#: A symbol of the same kind.
HOSTILE_SYMBOL: Final = "EUR<b>USD\u202e"

_EXPERT: Final = 3
_SYNC_SEC: Final = 15
_BEFORE_SEC: Final = 160 * 60  # so long ago the journal begins
_FRESH_SEC: Final = 86_400.0  # so long nothing is stale: no test depends on how long it takes
_POLICY: Final = ReconcilePolicy(ghost=Action.REPORT, drift=Action.REPORT, verified_sec=_FRESH_SEC)


@define(eq=False)
class DeskAccount:
    """An account of the desk: its terminal, an engine that records what it does, and its reconciler.

    Attributes:
        name: Which.
        ledger: Where it is recorded.
        now_us: What our own clock shows; it moves with ``wait`` alone.
    """

    name: AccountId
    ledger: Ledger
    now_us: list[int]
    mode: str = "hedging"
    currency: str = "USD"
    digits: int = 2
    clock: ClockRule = field(default=to_clock("UTC"), converter=to_clock)
    terminal: Terminal = field(init=False)
    faults: Faults = field(init=False)
    reads: FalseReads = field(init=False)
    account: Account = field(init=False)
    reconciler: StateReconciler = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.terminal = Terminal(
            mode=self.mode, seed=self.name.login, login=self.name.login, server=self.name.server, currency=self.currency,
            currency_digits=self.digits, now_msc=self._server_msc(), pace_ms=0,
        )  # fmt: skip
        self.faults = Faults(seed=self.name.login)
        self.reads = FalseReads(self.terminal)
        responder = SandboxResponder(
            terminal=self.terminal, reads=self.reads, is_extended=True, clock=None, manual_trade_every_ms=0, faults=self.faults,
            restart=lambda: None,
        )  # fmt: skip
        self.account = self.ledger.account(self.name)
        self.account.open(
            currency=self.currency, mode=self.mode, clock=str(self.clock), digits=self.digits, time_msc=self._server_msc()
        )
        self.reconciler = StateReconciler(
            self.account, Line(responder), policy=_POLICY, monotonic=lambda: self.now_us[0] / 1e6, sleep=self.wait
        )

    def _server_msc(self) -> int:
        return self.clock.from_utc_msc(self.now_us[0] // 1000)

    def wait(self, seconds: float) -> None:
        """Let time pass, here and at the broker."""
        self.now_us[0] += round(seconds * 1_000_000)
        self.terminal.advance(max(0, self._server_msc() - self.terminal.now_msc))

    def sync(self, times: int = 1) -> None:
        """Sync so many times, a quarter of a minute apart."""
        for _ in range(times):
            self.wait(_SYNC_SEC)
            self.terminal.revision += 1  # what is hidden or halved changes nothing at the terminal
            self.reconciler.sync_positions()

    def record(self, deals: Iterable[Row]) -> None:
        """Let the engine record deals."""
        self.account.record_many([FillRecorded.from_deal(deal) for deal in deals])

    def trade(self, symbol: str, side: str, lots: str, **terms: Any) -> int:
        """Let the engine open a position, and record it; return its id."""
        deals = self.terminal.send_order(symbol, side, lots, **{"magic": OUR_MAGIC, **terms}).deals
        self.record(deals)
        return int(deals[0]["position_id"])

    def close(self, position_id: int, *, recorded: bool = True) -> tuple[Row, ...]:
        """Close a position; return the deals."""
        held = next(one for one in self.terminal.open_positions() if one.position_id == position_id)
        deals = self.terminal.send_order(
            held.symbol, held.side.opposite, held.volume, position=position_id, magic=OUR_MAGIC, reason=_EXPERT
        ).deals
        if recorded:
            self.record(deals)
        return deals

    def trade_for_a_while(self, times: int) -> None:
        """Open positions and close most of them again, minutes apart."""
        dice = random.Random(self.name.login)  # noqa: S311  # repeatable, not secret
        held: list[int] = []
        for _ in range(times):
            self.wait(dice.randrange(20, 240))
            self.terminal.tick()
            if len(held) > 2 and dice.random() < 0.7:
                self.close(held.pop(dice.randrange(len(held))))
            else:
                symbol = dice.choice(("EURUSD", "GBPUSD", "XAUUSD", "USDJPY"))
                held.append(self.trade(symbol, dice.choice(("buy", "sell")), f"{Decimal(dice.randint(1, 60)) / 100}"))
            if dice.random() < 0.4:
                self.sync()

    # ---- what goes wrong

    def lose_sight_of(self, position_id: int) -> None:
        """Let the broker's list leave a position out: a ghost, reported and left to people."""
        self.reads.hidden.add(position_id)
        self.sync(4)

    def halve(self, position_id: int) -> None:
        """Let the broker's list show half of a position: a drift."""
        self.reads.halved.add(position_id)
        self.sync(3)

    def record_late(self, position_id: int, seconds: float) -> None:
        """Close a position whose deal is recorded so much later: the gateway does not report it meanwhile."""
        deals = self.close(position_id, recorded=False)
        self.wait(seconds)
        self.record(deals)
        self.sync(2)


def make_desk(url: str, *, now_us: int | None = None) -> None:
    """Write the journal; what its accounts last did was now."""
    end_us = time.time_ns() // 1000 if now_us is None else now_us
    clock = [end_us - _BEFORE_SEC * 1_000_000]
    with Ledger.create(url, now_us=lambda: _tick(clock)) as ledger:
        main = DeskAccount(name=MAIN, ledger=ledger, now_us=clock, clock="ny-close")
        degraded = DeskAccount(name=DEGRADED, ledger=ledger, now_us=clock)
        rest = DeskAccount(name=AT_REST, ledger=ledger, now_us=clock, currency="EUR", clock="ny-close")
        netting = DeskAccount(name=NETTING, ledger=ledger, now_us=clock, mode="netting", currency="JPY", digits=0)
        ledger.account(NEVER_SYNCED).open(currency="USD", mode="hedging", clock="UTC", time_msc=clock[0] // 1000)
        for one, money in ((main, "10000"), (degraded, "5000"), (rest, "25000"), (netting, "1000000")):
            one.terminal.cash(2, money)
            one.sync(2)
        rest.close(rest.trade("EURGBP", "buy", "0.50"))
        degraded.trade("EURUSD", "buy", "0.30")
        degraded.trade("GBPUSD", "sell", "0.10")
        netting.trade("USDJPY", "buy", "0.10")
        netting.trade("USDJPY", "sell", "0.30")
        main.trade_for_a_while(40)
        _go_wrong(main)
        for one in (rest, netting, degraded):
            one.sync(2)
        degraded.faults.add(Fault.OFFLINE, -1)
        degraded.sync(2)
        clock[0] = max(clock[0], end_us - 80_000_000)
        for one in (rest, netting, main):
            one.wait(0)
            one.sync()
        for account in ledger.accounts():
            account.derived.catch_up()


def _go_wrong(main: DeskAccount) -> None:
    """Let a ghost, a drift, a late deal and the broker's odd texts come to the busiest account."""
    lost = main.trade("EURUSD", "buy", "0.01")
    larger = main.trade("XAUUSD", "sell", "0.20")
    late = main.trade("GBPUSD", "buy", "0.07")
    main.terminal.rename_symbol("NZDUSD", HOSTILE_SYMBOL)
    main.trade(HOSTILE_SYMBOL, "buy", "0.05", comment=HOSTILE)
    main.sync(2)
    main.record_late(late, 25 * 60)
    main.lose_sight_of(lost)
    main.halve(larger)


def _tick(clock: list[int]) -> int:
    clock[0] += 1
    return clock[0]


def copy_of(journal: Path, target: Path) -> str:
    """Copy a journal that nobody has open, and return the URL of the copy."""
    shutil.copyfile(journal, target)
    return f"sqlite:///{target}"
