"""What assertions contain: however deals are delivered, whatever clocks do, the ledger ends with the broker's books.

A broker executes deals of a few positions. An engine records some of them, at once or late, in milliseconds or in whole
seconds; syncs are made with server clocks that run ahead or lag and with histories that do not show the newest deals yet.
In the end every deal becomes known, in some order, from the engine or from an export. The reference is the broker itself,
which knows what it did and when.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger import Account, FillRecorded, Ledger, Origin, ReconcilePolicy, RemotePosition, Side
from ledger.clock import ClockRule
from tests.property.test_fold import is_up_to_date
from tests.support.broker import ACCOUNT, ScriptedGateway, Watch, reconciler

#: 2024-11-03 05:40 UTC: on a server that closes the day at 17:00 New York twenty minutes before the hour that it shows twice.
BEFORE_THE_HOUR_MSC = 1_730_612_400_000
#: 2024-05-15 12:00 UTC.
PLAIN_DAY_MSC = 1_715_774_400_000
CLOCK = ClockRule("ny-close")


@dataclass
class Broker:
    """What the broker did: the truth."""

    nets: bool
    utc_msc: int
    deals: list[FillRecorded] = field(default_factory=list)
    held: dict[int, RemotePosition] = field(default_factory=dict)

    def trade(self, draw: random.Random) -> FillRecorded:
        """Execute one deal: open, add, close in part or whole."""
        self.utc_msc += draw.choice([50, 300, 700, 1_500, 5_000, 60_000, 600_000])
        ticket = (self.deals[-1].deal if self.deals else 100) + draw.randint(1, 3)
        time_msc = wall_msc(self.utc_msc)
        symbol = draw.choice(["EURUSD", "XAUUSD"])
        known = [one for one in self.held.values() if not self.nets or one.symbol == symbol]
        position = draw.choice(known) if known and (self.nets or draw.random() < 0.6) else None
        closes = position is not None and draw.random() < 0.65
        volume = Decimal(draw.randint(1, 3))
        if position is not None and closes:
            volume = position.volume if draw.random() < 0.6 else Decimal(draw.randint(1, int(position.volume)))
        deal = FillRecorded(
            deal=ticket, order=ticket, position_id=position.position_id if position else ticket,
            entry="out" if closes else "in", symbol=position.symbol if position else symbol,
            side="sell" if closes else "buy", volume=volume, price=10,
            time_msc=time_msc, commission=Decimal(draw.randint(-3, 0)), fee=0, swap=0,
            profit=Decimal(draw.randint(-5, 5)) if closes else 0, origin=Origin.RECOVERY,
        )  # fmt: skip
        self.deals.append(deal)
        left = (position.volume if position else Decimal(0)) + (-volume if closes else volume)
        self.held.pop(deal.position_id or 0, None)
        if left:
            self.held[deal.position_id or 0] = RemotePosition(
                position_id=deal.position_id or 0, ticket=deal.position_id or 0, symbol=deal.symbol, side=Side.BUY, volume=left,
                price_open=Decimal(10), opened_msc=position.opened_msc if position else time_msc, updated_msc=time_msc,
            )  # fmt: skip
        return deal

    @property
    def balance(self) -> Decimal:
        amounts = (deal.profit + deal.commission for deal in self.deals)  # type: ignore[operator]
        return sum(amounts, Decimal(0))


def wall_msc(utc_msc: int) -> int:
    """Return what the server's clock shows: New York's and seven hours, as its own terminal would compute it."""
    from datetime import UTC, datetime, timedelta
    from zoneinfo import ZoneInfo

    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=utc_msc)
    offset = moment.astimezone(ZoneInfo("America/New_York")).utcoffset()
    assert offset is not None
    return utc_msc + (offset + timedelta(hours=7)) // timedelta(milliseconds=1)


class History:
    """One random history over the real ledger: the broker's truth, and what the ledger was given of it.

    Args:
        seed: Of all that is random.
        nets: Whether the account nets.
        start_msc: When it begins, UTC.
        skews: How far the server's stated clock may be off, in milliseconds; at most what the rule of the clock allows.
        lags: How many of the newest deals the gateway's history may not show yet.
        extended: Whether the gateway speaks the extended form; the base form states no deals, times and identifiers.
    """

    def __init__(
        self, seed: int, *, nets: bool, start_msc: int, skews: tuple[int, ...], lags: tuple[int, ...], extended: bool = True
    ) -> None:
        self.draw = random.Random(seed)
        self.broker = Broker(nets, start_msc)
        self.skews, self.lags = skews, lags
        self.watch = Watch(start_msc * 1000)
        self.ledger = Ledger.open("memory://", now_us=self.watch)
        self.account: Account = self.ledger.account(ACCOUNT)
        mode = "netting" if nets else "hedging"
        self.account.open(currency="USD", mode=mode, clock=CLOCK, time_msc=wall_msc(start_msc))
        self.extended = extended
        self.gateway = ScriptedGateway(extended=extended, mode=mode, now_us=self.watch)
        policy = ReconcilePolicy(settle_sec=0, ghost_confirmations=1, vanish_confirmations=1, attempts_max=100)
        self.service = reconciler(self.account, self.gateway, self.watch, policy)
        self.unrecorded: list[FillRecorded] = []
        for _ in range(self.draw.randint(4, 14)):
            if self.draw.random() < 0.6:
                self.trade()
            else:
                self.watch.now_us = max(self.watch.now_us, self.broker.utc_msc * 1000)
                self.watch.move(self.draw.choice([0.1, 0.4, 2, 9]))
                self.broker.utc_msc = self.watch.now_us // 1000
                self.sync(self.draw.choice(self.skews), self.draw.choice(self.lags))
        for deal in self.draw.sample(self.broker.deals, len(self.broker.deals)):
            self.record(deal, Origin.IMPORT)

    def trade(self) -> None:
        deal = self.broker.trade(self.draw)
        self.watch.now_us = max(self.watch.now_us, self.broker.utc_msc * 1000)
        chance = self.draw.random()
        if chance < 0.4:
            self.record(deal, Origin.ENGINE)
        elif chance < 0.6:
            self.unrecorded.append(deal)

    def record(self, deal: FillRecorded, origin: Origin) -> None:
        whole = self.draw.random() < (0.5 if origin is Origin.ENGINE else 0.3)
        time_msc = deal.time_msc // 1000 * 1000 if whole else deal.time_msc
        recorded = attrs.evolve(deal, time_msc=time_msc, origin=origin)
        self.ledger.journal.append(ACCOUNT, [recorded], conflicts="keep")

    def sync(self, skew: int = 0, lag: int = 0) -> Any:
        deals = self.broker.deals[: len(self.broker.deals) - lag] if lag else self.broker.deals
        self.gateway._deals = {deal.deal: deal for deal in deals}
        rows = list(self.broker.held.values())
        if not self.extended:
            rows = [attrs.evolve(one, is_identified=False, opened_msc=None, updated_msc=None) for one in rows]
        self.gateway.show_rows(rows)
        self.gateway.state(self.broker.balance)
        now_msc = self.watch.now_us // 1000
        self.gateway.ahead_msc = wall_msc(now_msc) - now_msc + skew
        result = self.service.sync_positions()
        while self.unrecorded and self.draw.random() < 0.5:
            self.record(self.unrecorded.pop(0), Origin.ENGINE)
        return result

    def volumes(self) -> dict[int, Decimal]:
        return {one.position_id: one.volume for one in self.account.portfolio.positions.values()}

    @property
    def is_right(self) -> bool:
        theirs = {one.position_id: one.volume for one in self.broker.held.values()}
        return self.volumes() == theirs and self.account.portfolio.balance == self.broker.balance

    def heal(self) -> None:
        """Let a minute pass and sync with a good clock and a whole history."""
        self.watch.move(3_700)
        self.sync()


STARTS = {"a plain day": PLAIN_DAY_MSC, "the hour that is shown twice": BEFORE_THE_HOUR_MSC}
MODES = {"hedging": False, "netting": True}


@pytest.mark.parametrize("nets", MODES.values(), ids=MODES)
@pytest.mark.parametrize("start_msc", STARTS.values(), ids=STARTS)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_every_order_of_delivery_ends_with_the_broker_s_books(seed, nets, start_msc):
    """Clocks as they should be, histories that are whole: nothing is left to chance."""
    history = History(seed, nets=nets, start_msc=start_msc, skews=(0,), lags=(0,))
    assert history.is_right
    assert history.account.portfolio.unexplained == ()
    is_up_to_date(history.account)
    assert history.ledger.verify().ok


@pytest.mark.parametrize("nets", MODES.values(), ids=MODES)
@pytest.mark.parametrize("start_msc", STARTS.values(), ids=STARTS)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
@example(seed=831998)  # netting: an older correction of the symbol, placed by a clock, came after each newer one
def test_clocks_that_lead_or_lag_and_histories_that_lag_are_healed_by_one_more_sync(seed, nets, start_msc):
    skews = (0, 0, -3_000, -500, 3_000, 400)
    history = History(seed, nets=nets, start_msc=start_msc, skews=skews, lags=(0, 0, 0, 1, 2, 99))
    is_up_to_date(history.account)
    history.heal()
    assert history.volumes() == {one.position_id: one.volume for one in history.broker.held.values()}
    assert history.ledger.verify().ok


@pytest.mark.parametrize("nets", MODES.values(), ids=MODES)
@pytest.mark.parametrize("start_msc", STARTS.values(), ids=STARTS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_where_only_positions_are_stated_one_more_sync_heals_too(seed, nets, start_msc):
    """The base form: no deals, no server time, no identifiers. Nobody can distinguish all deals of one second."""
    history = History(seed, nets=nets, start_msc=start_msc, skews=(0,), lags=(0,), extended=False)
    is_up_to_date(history.account)
    history.heal()
    ours = sorted((one.symbol, one.volume) for one in history.account.portfolio.positions.values())
    assert ours == sorted((one.symbol, one.volume) for one in history.broker.held.values())
    assert history.account.portfolio.balance == history.broker.balance
    assert history.ledger.verify().ok
