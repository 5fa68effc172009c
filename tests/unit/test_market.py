"""The market of a request: only what the limits in force look at is read, and what cannot be read denies."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import attrs
import pytest

from ledger import BalanceAsserted, Ledger, OrderIntended
from ledger.errors import GatewayTimeout
from ledger.journal.health import HeldBack, SyncHealth
from ledger.journal.memory import MemoryJournal
from ledger.marks import Mark
from ledger.order_manager.market import MarketReader
from ledger.order_messages import RemoteCheck, RemoteTick
from ledger.orders.limits import DayFigures, Denied, Limits, Market, check
from ledger.orders.request import OrderRequest
from ledger.service import Account
from ledger.snapshot import RemoteAccount
from ledger.values import MarginMode
from tests.support.orders import TOKEN
from tools.testkit.facts import ACCOUNT, START_MSC, START_US, cash, completion, fill, revised, specified

HOUR_MSC = 3_600_000
BUY = OrderRequest.market("EURUSD", "buy", "0.1", deviation=5, sl="1.0")
CLOSE = OrderRequest.close(1)
HEALTH = SyncHealth(
    account=ACCOUNT, status="SUCCESS", reason=None, since_us=START_US, seen_us=START_US, verified_us=START_US,
    success_us=START_US, duration_us=1, interval_us=1, verified_sec=30.0, balance_halts=True, held=(), gateway=None, host="h",
    pid=1, started_us=START_US, program="-",
)  # fmt: skip


class Prices:
    """A gateway that has prices, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_down = False
        self.orders_limit: int | None = 2
        self.equity: Decimal | None = None
        self.login = ACCOUNT.login
        self.ticks = {"EURUSD": ("1.0999", "1.1"), "USDJPY": ("150", "150.1"), "GBPUSD": ("1.25", "1.26")}

    def tick(self, symbol: str) -> RemoteTick:
        self._ask(f"tick {symbol}")
        bid, ask = map(Decimal, self.ticks[symbol])
        return RemoteTick(symbol=symbol, bid=bid, ask=ask, time_msc=START_MSC, age_ms=0)

    def order_check(self, message: Any) -> RemoteCheck:
        self._ask(f"check {message.kind.value} {message.symbol} {message.volume}")
        return RemoteCheck(retcode=0, margin=Decimal(1), margin_free=Decimal(1), margin_level=Decimal(100))

    def account(self) -> RemoteAccount:
        self._ask("account")
        return RemoteAccount(
            login=self.login,
            server=ACCOUNT.server,
            currency="USD",
            mode=MarginMode.HEDGING,
            balance=Decimal(1),
            credit=Decimal(0),
            equity=self.equity,
            orders_limit=self.orders_limit,
        )

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.is_down:
            raise GatewayTimeout("no answer")


class Desk:
    """An account with a position of EURUSD and 10,000, whose limits are checked an hour after it was opened."""

    def __init__(self) -> None:
        self.now_us = START_US
        self.ledger = Ledger(MemoryJournal(lambda: self.now_us), now_us=lambda: self.now_us)
        self.account: Account = self.ledger.account(ACCOUNT)
        self.account.open(currency="USD", mode="hedging", time_msc=START_MSC)
        self.gateway = Prices()
        self.reader = MarketReader(self.account, self.gateway)
        self.record(fill(1), specified(contract_size=100_000, currency="USD"))
        self.record(BalanceAsserted(balance=10_000, time_msc=START_MSC))
        self.verify()

    def record(self, *events: Any) -> None:
        for event in events:
            self.account.record(event)

    def verify(self, **health: Any) -> None:
        self.ledger.journal.save_sync_health(attrs.evolve(HEALTH, seen_us=self.now_us, verified_us=self.now_us, **health))

    def sample(self, at_us: int, floating: int | None) -> None:
        floated = None if floating is None else Decimal(floating)
        self.ledger.journal.save_mark(ACCOUNT, Mark(at_us=at_us, floating=floated))

    def read(self, request: OrderRequest = BUY, **rules: Any) -> Market:
        orders = self.account.replayed_orders(self.account.selection()[0])
        return self.reader.read(Limits(**rules), self.account.portfolio, orders, request)

    def judge(self, request: OrderRequest = BUY, **rules: Any) -> str:
        orders = self.account.replayed_orders(self.account.selection()[0])
        market = self.reader.read(Limits(**rules), self.account.portfolio, orders, request)
        found = check(Limits(**rules), self.account.portfolio, orders, market, request)
        return found.rule if isinstance(found, Denied) else "allowed"


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.ledger.close()


@pytest.mark.parametrize(
    ("rules", "asked"),
    [
        ({}, []),
        ({"volume_total_max": 5, "hours": ["mon-sun 00:00-24:00"], "orders_per_day_max": 9}, []),
        ({"tick_age_max_sec": 5}, ["tick EURUSD"]),
        ({"risk_per_order_max": 10**6}, ["tick EURUSD"]),
        ({"orders_max": "broker"}, ["account"]),
        ({"margin_free_min": 1}, ["check market EURUSD 0.1"]),
    ],
)
def test_only_what_the_rules_look_at_is_read(desk, rules, asked):
    assert desk.judge(**rules) == "allowed"
    assert desk.gateway.asked == asked
    desk.gateway.asked.clear()
    assert desk.judge(CLOSE, **rules) == "allowed"
    assert desk.gateway.asked == []


@pytest.mark.parametrize(
    "rule", ["tick_age_max_sec", "price_collar", "risk_per_order_max", "notional_total_max", "margin_free_min"]
)
def test_a_gateway_that_does_not_answer_denies(desk, rule):
    desk.gateway.is_down = True
    assert desk.judge(**{rule: 1}) == rule


@pytest.mark.parametrize(
    ("health", "new_risk", "closing"),
    [
        ({}, "allowed", "allowed"),
        ({"held": (HeldBack(kind="zombie", symbol="EURUSD", why="seen once"),)}, "verified_within_sec", "verified_within_sec"),
        ({"held": (HeldBack(kind="zombie", symbol="XAUUSD", why="seen once"),)}, "allowed", "allowed"),
        ({"held": (HeldBack(kind="stops", symbol="EURUSD", why="seen once"),)}, "verified_within_sec", "allowed"),
        ({"status": "DEGRADED", "reason": "no answer"}, "allowed", "allowed"),
    ],
)
def test_what_disagrees_is_not_verified(desk, health, new_risk, closing):
    desk.verify(**health)
    assert (desk.judge(), desk.judge(CLOSE)) == (new_risk, closing)


def test_a_verification_gets_old(desk):
    desk.now_us += 60_000_000
    assert desk.judge() == "allowed"
    desk.now_us += 1000
    assert desk.judge() == "verified_within_sec"


def test_without_any_sync_nothing_is_verified():
    desk = Desk()
    desk.ledger.journal.save_sync_health(attrs.evolve(HEALTH, verified_us=None))
    fresh = Ledger(MemoryJournal(lambda: START_US), now_us=lambda: START_US)
    account = fresh.account(ACCOUNT)
    account.open(currency="USD", mode="hedging", time_msc=START_MSC)
    orders = account.replayed_orders(account.selection()[0])
    market = MarketReader(account, desk.gateway).read(Limits(), account.portfolio, orders, BUY)
    assert market.verified_age_ms is market.positions_age_ms is None


@pytest.mark.parametrize(("limit", "expected"), [(1, "orders_max"), (2, "allowed"), (0, "allowed"), (None, "orders_max")])
def test_the_brokers_limit_of_orders_counts(desk, limit, expected):
    desk.gateway.orders_limit = limit
    assert desk.judge(orders_max="broker") == expected


def test_the_kill_switch_file(desk, tmp_path):
    path = tmp_path / "stop"
    assert desk.judge(kill_switch_file=str(path)) == "allowed"
    path.touch()
    assert desk.judge(kill_switch_file=str(path)) == "kill_switch_file"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    assert desk.judge(kill_switch_file=str(link)) == "kill_switch_file"
    assert desk.read(kill_switch_file="a\0b".replace("\0", "b") + "x" * 5000).is_kill_switch_on is None


@pytest.mark.parametrize(
    ("symbol", "currency", "rate"),
    [("USDJPY", "JPY", Decimal("0.006666666667")), ("GBPUSD", "GBP", Decimal("1.26")), ("EURUSD", "CHF", None)],
)
def test_a_rate_is_of_a_symbol_that_trades_the_currency(desk, symbol, currency, rate):
    desk.record(specified(symbol, contract_size=1), specified("EURUSD", contract_size=1, currency=currency))
    assert desk.read(risk_per_order_max=1).rates.get(currency) == rate


def test_intents_survive_a_restart_and_are_counted(desk):
    for number in range(3):
        desk.now_us += 1_000_000
        desk.record(
            OrderIntended(
                client_id=f"c{number}", token=TOKEN, kind="market", symbol="EURUSD", side="buy", volume=1,
                time_msc=desk.now_us // 1000,
            )
        )  # fmt: skip
        assert desk.judge(orders_per_minute_max=number + 2) == "allowed"
        assert desk.judge(orders_per_minute_max=number + 1) == "orders_per_minute_max"
    desk.reader = MarketReader(desk.account, desk.gateway)
    assert desk.judge(orders_per_minute_max=3) == "orders_per_minute_max"
    desk.now_us += 59_000_001
    desk.verify()
    assert desk.judge(orders_per_minute_max=3) == "allowed"


def test_losses_are_those_of_deals_that_close(desk):
    rules = {"cooldown_after_losses": {"losses": 1, "within_min": 60, "pause_min": 30}}
    assert desk.judge(**rules) == "allowed"
    desk.record(fill(2, 1, side="sell", entry="out", position_id=1, volume="0.5", profit=None))
    assert desk.judge(**rules) == "cooldown_after_losses"  # nobody knows what it came to
    desk.record(completion(2, profit=1))
    assert desk.judge(**rules) == "allowed"
    desk.record(revised(fill(2, 1, side="sell", entry="out", position_id=1, volume="0.5", profit=1, commission=-2)))
    assert desk.judge(**rules) == "cooldown_after_losses"


DAY = {"daily_loss_max": 500, "daily_base": "balance"}


def test_the_days_results_are_what_was_earned_since_it_began(desk):
    assert desk.judge(**DAY) == "daily_loss_max"  # nobody stated what the account had when the day began
    desk.now_us += 24 * HOUR_MSC * 1000
    desk.verify()
    assert desk.read(**DAY).day == DayFigures(balance=Decimal(10_000), results=Decimal(0))
    late = 24 * 3600
    desk.gateway.equity = Decimal(1)
    desk.record(cash(2, late, profit=700), fill(3, late, side="sell", entry="out", position_id=1, volume=1, profit=-500))
    assert desk.read(**DAY).day == DayFigures(balance=Decimal(10_000), results=Decimal(-500))
    assert desk.judge(**DAY) == "allowed"
    desk.record(fill(4, late + 1, side="buy", position_id=4, commission="-0.01"))
    desk.record(fill(5, late + 2, side="sell", entry="out", position_id=4))
    assert desk.judge(**DAY) == "daily_loss_max"


def test_a_deal_from_before_the_day_that_comes_late_is_not_of_the_day(desk):
    desk.now_us += 24 * HOUR_MSC * 1000
    desk.verify()
    assert desk.read(**DAY).day == DayFigures(balance=Decimal(10_000), results=Decimal(0))
    desk.record(fill(2, 60, side="sell", entry="out", position_id=1, volume="0.5", profit=300))
    assert desk.read(**DAY).day == DayFigures(balance=Decimal(10_300), results=Decimal(0))


@pytest.mark.parametrize(
    "ending", [completion(2, commission=0, profit=-1), BalanceAsserted(balance=9_999, time_msc=START_MSC + 90_000)]
)
def test_a_day_that_began_with_unknown_money_has_no_loss_until_it_is_known(ending, desk):
    desk.now_us += 24 * HOUR_MSC * 1000
    desk.verify()
    desk.record(fill(2, 60, side="sell", entry="out", position_id=1, volume="0.5", profit=None))
    assert desk.read(**DAY).day is None
    assert desk.judge(**DAY) == "daily_loss_max"
    desk.record(ending)
    assert desk.read(**DAY).day == DayFigures(balance=Decimal(9_999), results=Decimal(0))


def next_day(desk: Desk) -> int:
    """Go on to 10:00 of the next day; return when that day began, in microseconds."""
    desk.now_us = START_US + 24 * HOUR_MSC * 1000
    desk.verify()
    return START_US + 14 * HOUR_MSC * 1000


@pytest.mark.parametrize(
    ("start_age_sec", "now_age_sec", "expected"),
    [(0, 0, "allowed"), (60, 60, "allowed"), (61, 0, "daily_loss_max"), (0, 61, "daily_loss_max"), (-1, 0, "daily_loss_max")],
)
def test_marks_at_the_days_start_and_now_have_to_be_fresh(desk, start_age_sec, now_age_sec, expected):
    start_us = next_day(desk)
    desk.sample(start_us - start_age_sec * 1_000_000, 50)
    desk.sample(desk.now_us - now_age_sec * 1_000_000, -400)
    assert desk.judge(daily_loss_max=500) == expected


def test_a_mark_from_before_the_newest_deal_is_not_of_now(desk):
    desk.sample(next_day(desk) - 1, 0)
    desk.sample(desk.now_us, 400)
    assert desk.read(**DAY).floating == Decimal(400)
    desk.now_us += 1_000_000
    desk.record(fill(2, 24 * 3600, side="sell", entry="out", position_id=1, volume="0.5", profit=400))
    assert desk.read(**DAY).floating is None  # 400 are earned already
    desk.gateway.equity = Decimal(-9)
    assert desk.read(**DAY).floating == Decimal(-10)
    desk.sample(desk.now_us + 1, 20)
    desk.now_us += 2
    assert desk.read(**DAY).floating == Decimal(20)


def test_a_mark_that_shows_no_floating_result_is_no_substitute(desk):
    desk.sample(next_day(desk), None)
    desk.gateway.equity = Decimal(1)
    assert desk.judge(daily_loss_max=500) == "daily_loss_max"
    assert desk.judge(daily_loss_max=500, daily_base="balance") == "allowed"


def test_the_day_of_a_firm_begins_with_what_was_open_then(desk):
    """O44: positions were at -330 when the firm's day began, an hour before the server's, and are at -505 now."""
    server_us = next_day(desk)
    firm_us = server_us - HOUR_MSC * 1000
    desk.sample(firm_us, -330)
    desk.sample(server_us, -330)
    desk.sample(desk.now_us, -505)
    rules = {"daily_loss_max": 500, "day": "Europe/Prague"}
    assert (desk.judge(**rules), desk.judge(CLOSE, **rules)) == ("daily_loss_max", "allowed")
    desk.now_us += 1
    desk.sample(desk.now_us, -500)
    assert desk.judge(**rules) == "allowed"
    between = 13 * 3600 + 1800  # half an hour after the firm's midnight
    desk.record(fill(2, between, side="sell", entry="out", position_id=1, volume="0.5", profit=100))
    desk.now_us += 1
    desk.sample(desk.now_us, -505)
    assert (desk.judge(**rules), desk.judge(daily_loss_max=500, day="server")) == ("allowed", "daily_loss_max")


def test_without_a_fresh_mark_the_brokers_equity_counts(desk):
    next_day(desk)
    assert desk.read(**DAY).floating is None
    assert desk.judge(**DAY) == "daily_loss_max"
    desk.gateway.equity = Decimal(-499)  # of a balance of 1, which is the broker's own
    assert desk.read(**DAY).floating == Decimal(-500)
    assert desk.judge(**DAY) == "allowed"
    desk.gateway.login = 1
    assert desk.judge(**DAY) == "daily_loss_max"


def test_a_day_that_began_with_nothing_open_needs_no_mark_of_its_start(desk):
    desk.record(fill(2, 1, side="sell", entry="out", position_id=1))
    next_day(desk)
    assert desk.judge(daily_loss_max=500, daily_base="higher") == "allowed"


def test_the_highest_balance_is_that_over_every_deal(desk):
    desk.record(cash(2, 1, profit=500), cash(3, 2, profit=-800))
    assert desk.read(loss_total_max=1, loss_total_base="trailing").highest_balance == Decimal(10_500)


def test_nothing_is_read_to_cancel(desk):
    desk.gateway.is_down = True
    assert desk.judge(OrderRequest.cancel("c"), tick_age_max_sec=1) == "allowed"
    assert desk.gateway.asked == []
