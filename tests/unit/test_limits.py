"""Limits: every rule at what it allows, just above it, and where what it needs could not be read."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from ledger import BalanceAsserted, LimitsSet, StopsSeen, TradingHalted
from ledger.codec import natural_key
from ledger.errors import BadValue
from ledger.events.orders import HaltScope
from ledger.order_messages import RemoteCheck, RemoteTick
from ledger.orders.limits import ClosedResult, DayFigures, Denied, Intent, Limits, Market, check, day_start_utc_msc
from ledger.orders.request import OrderRequest
from ledger.orders.view import how_to_resume
from tests.support.orders import answered, fold_events, held, intended, shown
from tools.testkit.facts import START_MSC, cash, specified

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "limits.md"
HOUR_MSC = 3_600_000
NOW_MSC = START_MSC + HOUR_MSC
COOLDOWN = {"cooldown_after_losses": {"losses": 3, "within_min": 60, "pause_min": 30}}
LOSS = {"daily_loss_max": 500, "daily_base": "balance"}
TOTAL = {"loss_total_max": "10%", "initial_balance": 10_000}
TRAILING = {"loss_total_max": 1000, "loss_total_base": "trailing"}
BUY = OrderRequest.market("EURUSD", "buy", "0.1")
FUNDED = BalanceAsserted(balance=10_000, credit=0, time_msc=START_MSC)
CLOSE = OrderRequest.close(1)
BUY_LIMIT = intended("a", "pending", symbol="EURUSD", side="buy", volume="0.1", type="limit", price=1)
MARKET = Market(now_utc_msc=NOW_MSC, verified_age_ms=0, positions_age_ms=0)


def judge(limits: Limits, request: OrderRequest = BUY, *events: Any, mode: str = "hedging", **market: Any) -> str:
    """Check a request on an account that holds 1 lot of EURUSD as position 1, and return which rule denies it, or "allowed"."""
    portfolio, orders = fold_events([held(1), *events], mode)
    found = check(limits, portfolio, orders, attrs.evolve(MARKET, **market), request)
    return found.rule if isinstance(found, Denied) else "allowed"


def halted(scope: str = "account", mode: str = "all", name: str | None = None) -> TradingHalted:
    return TradingHalted(scope=scope, number=1, mode=mode, reason="news", name=name, operator="ann", time_msc=START_MSC)


@pytest.mark.parametrize("request_", [BUY, CLOSE])
@pytest.mark.parametrize(
    ("age_ms", "expected"),
    [(60_000, "allowed"), (60_001, "verified_within_sec"), (None, "verified_within_sec"), (-1001, "verified_within_sec")],
)
def test_nothing_but_cancelling_is_allowed_long_after_the_account_was_verified(age_ms, expected, request_):
    assert judge(Limits(verified_within_sec=60), request_, verified_age_ms=age_ms, positions_age_ms=age_ms) == expected
    assert judge(Limits(), OrderRequest.cancel("c"), verified_age_ms=age_ms) == "allowed"


def test_a_position_that_is_not_recorded_is_not_verified():
    assert judge(Limits(), OrderRequest.close(2)) == "verified_within_sec"


@pytest.mark.parametrize(
    ("halt", "new_risk", "closing"),
    [
        (halted(), "halted", "halted"),
        (halted(mode="no_new_risk"), "halted", "allowed"),
        (halted("symbol", name="EURUSD"), "halted", "halted"),
        (halted("symbol", name="XAUUSD"), "allowed", "allowed"),
        (halted("strategy", name="grid"), "halted", "allowed"),
        (halted("strategy", name="trend"), "allowed", "allowed"),
    ],
)
def test_a_halt_denies_what_it_is_about(halt, new_risk, closing):
    buy = OrderRequest.market("EURUSD", "buy", "0.1", strategy="grid")
    assert (judge(Limits(), buy, halt), judge(Limits(), CLOSE, halt)) == (new_risk, closing)
    assert judge(Limits(), OrderRequest.cancel("c"), halt) == "allowed"


@pytest.mark.parametrize(("exists", "expected"), [(False, "allowed"), (True, "kill_switch_file"), (None, "kill_switch_file")])
def test_the_kill_switch_file_ends_new_risk_and_lets_positions_be_closed(exists, expected):
    limits = Limits(kill_switch_file="stop")
    assert judge(limits, is_kill_switch_on=exists) == expected
    assert judge(limits, CLOSE, is_kill_switch_on=exists) == "allowed"


@pytest.mark.parametrize(
    ("rules", "request_", "expected"),
    [
        ({"volume_per_order_max": "0.1"}, BUY, "allowed"),
        ({"volume_per_order_max": "0.09"}, BUY, "volume_per_order_max"),
        ({"volume_per_order_max": "0.09"}, CLOSE, "allowed"),
        ({"volume_per_order_min": "0.1"}, BUY, "allowed"),
        ({"volume_per_order_min": "0.11"}, BUY, "volume_per_order_min"),
        ({"volume_step": "0.05"}, BUY, "allowed"),
        ({"volume_step": "0.03"}, BUY, "volume_step"),
        ({"volume_step": "0.03"}, OrderRequest.close(1, "0.1"), "volume_step"),
        ({"volume_step": "0.03"}, OrderRequest.close(1, 1), "allowed"),
        ({"volume_per_symbol_max": "1.1"}, BUY, "allowed"),
        ({"volume_per_symbol_max": "1.09"}, BUY, "volume_per_symbol_max"),
        ({"volume_per_symbol_max": "0.1"}, CLOSE, "allowed"),
        ({"volume_per_symbol_max": "0.1"}, OrderRequest.market("XAUUSD", "buy", "0.1"), "allowed"),
        ({"volume_total_max": "1.1"}, OrderRequest.market("XAUUSD", "buy", "0.1"), "allowed"),
        ({"volume_total_max": "1.09"}, OrderRequest.market("XAUUSD", "buy", "0.1"), "volume_total_max"),
        ({"symbols": ["EURUSD"]}, BUY, "allowed"),
        ({"symbols": ["XAUUSD"]}, BUY, "symbols"),
        ({"symbols": ["XAUUSD"]}, CLOSE, "allowed"),
        ({"sides": ["buy"]}, BUY, "allowed"),
        ({"sides": ["sell"]}, BUY, "sides"),
    ],
)
def test_volumes_symbols_and_sides(rules, request_, expected):
    assert judge(Limits.of_rules(rules), request_) == expected


SPEC = specified(volume_step="0.01", contract_size=100_000, currency="USD")
TICK = RemoteTick(symbol="EURUSD", bid=Decimal("1.09990"), ask=Decimal("1.10000"), time_msc=START_MSC, age_ms=0)
PRICES: dict[str, Any] = {"ticks": {"EURUSD": TICK}}
CHECKED = RemoteCheck(retcode=0, margin=Decimal(100), margin_free=Decimal(900), margin_level=Decimal(1000))
WINDOW = ["mon-fri 08:00-17:00"]  # the tests are on a Monday, from 10:00 on, in UTC


def buy(volume: str = "0.1", **fields: Any) -> OrderRequest:
    return OrderRequest.market("EURUSD", "buy", volume, **fields)


def limit(price: str, **fields: Any) -> OrderRequest:
    return OrderRequest.pending("EURUSD", "buy", "0.1", type="limit", price=price, **fields)


def ago(*seconds: int, **fields: Any) -> tuple[Intent, ...]:
    return tuple(Intent(utc_msc=NOW_MSC - one * 1000, request=buy(**fields)) for one in seconds)


def losses(*minutes: int, result: int = -1) -> tuple[ClosedResult, ...]:
    return tuple(ClosedResult(utc_msc=NOW_MSC - one * 60_000, result=Decimal(result)) for one in minutes)


def day(balance: int, results: int = 0, floating: int | None = None) -> DayFigures:
    return DayFigures(
        balance=Decimal(balance), results=Decimal(results), floating=None if floating is None else Decimal(floating)
    )


#: Rules, request, market, and which of the rules denies it: at what is allowed, just above, and where it could not be read.
STORIES: list[tuple[dict[str, Any], OrderRequest, dict[str, Any], str]] = [
    ({"symbol_step": True}, buy("0.01"), {}, "allowed"),
    ({"symbol_step": True}, buy("0.015"), {}, "symbol_step"),
    ({"symbol_step": True}, OrderRequest.close(1, "0.015"), {}, "symbol_step"),
    ({"symbol_step": True}, OrderRequest.market("XAUUSD", "buy", 1), {}, "symbol_step"),
    ({"one_position": True}, buy(), {}, "one_position"),
    ({"one_position": True}, OrderRequest.market("XAUUSD", "buy", 1), {}, "allowed"),
    ({"positions_max": 2}, buy(), {}, "allowed"),
    ({"positions_max": 1}, buy(), {}, "positions_max"),
    ({"positions_max": 1}, CLOSE, {}, "allowed"),
    ({"orders_max": 2}, buy(), {}, "allowed"),
    ({"orders_max": 1}, buy(), {}, "orders_max"),
    ({"orders_max": "broker"}, buy(), {"slots_max": 2}, "allowed"),
    ({"orders_max": "broker"}, buy(), {"slots_max": 1}, "orders_max"),
    ({"orders_max": "broker"}, buy(), {}, "orders_max"),
    ({"exit_slots": 6, "orders_max": "broker"}, buy(), {"slots_max": 8}, "allowed"),
    ({"exit_slots": 6, "orders_max": "broker"}, buy(), {"slots_max": 7}, "exit_slots"),
    ({"exit_slots": 6, "orders_max": "broker"}, CLOSE, {"slots_max": 7}, "allowed"),
    ({"exit_slots": 6, "orders_max": "broker"}, buy(), {}, "exit_slots"),
    ({"exit_slots": 6, "orders_max": 8}, buy(), {}, "allowed"),
    ({"exit_slots": 6, "orders_max": 7}, buy(), {}, "exit_slots"),
    ({"orders_per_minute_max": 2}, buy(), {"intents": ago(60, 59)}, "allowed"),
    ({"orders_per_minute_max": 2}, buy(), {"intents": ago(59, 58)}, "orders_per_minute_max"),
    ({"orders_per_minute_max": 2}, buy(), {}, "orders_per_minute_max"),
    ({"orders_per_day_max": 1}, buy(), {"intents": ago(11 * 3600 + 1)}, "allowed"),
    ({"orders_per_day_max": 1}, buy(), {"intents": ago(11 * 3600)}, "orders_per_day_max"),
    ({"orders_per_day_max": 1, "day_start": "10:30"}, buy(), {"intents": ago(1801)}, "allowed"),
    ({"orders_per_day_max": 1, "day": "Asia/Tokyo"}, buy(), {"intents": ago(20 * 3600)}, "orders_per_day_max"),
    ({"orders_per_day_max": 1}, buy(), {}, "orders_per_day_max"),
    ({"same_request_within_sec": 5}, buy(), {"intents": ago(5)}, "allowed"),
    ({"same_request_within_sec": 5}, buy(price="1.1"), {"intents": ago(4, price="1.2")}, "same_request_within_sec"),
    ({"same_request_within_sec": 5}, buy("0.2"), {"intents": ago(4)}, "allowed"),
    ({"same_request_within_sec": 5}, buy(magic=5 << 24 | 1), {"intents": ago(4, magic=5 << 24)}, "same_request_within_sec"),
    ({"same_request_within_sec": 5}, buy(magic=1), {"intents": ago(4, magic=2)}, "allowed"),
    ({"same_request_within_sec": 5}, buy(), {}, "same_request_within_sec"),
    ({"hours": WINDOW}, buy(), {}, "allowed"),
    ({"hours": WINDOW}, CLOSE, {"now_utc_msc": NOW_MSC + 6 * HOUR_MSC}, "allowed"),
    ({"hours": WINDOW}, buy(), {"now_utc_msc": NOW_MSC + 6 * HOUR_MSC - 1}, "allowed"),
    ({"hours": WINDOW}, buy(), {"now_utc_msc": NOW_MSC + 6 * HOUR_MSC}, "hours"),
    ({"hours": WINDOW}, buy(), {"now_utc_msc": NOW_MSC + 5 * 24 * HOUR_MSC}, "hours"),
    ({"hours": WINDOW, "hours_zone": "Asia/Tokyo"}, buy(), {}, "hours"),
    ({"hours": ["sat-sun 00:00-24:00", "mon 11:00-11:01"]}, buy(), {}, "allowed"),
    ({"hours": WINDOW, "no_new_within_sec": 60}, buy(), {"now_utc_msc": NOW_MSC + 6 * HOUR_MSC - 60_001}, "allowed"),
    ({"hours": WINDOW, "no_new_within_sec": 60}, buy(), {"now_utc_msc": NOW_MSC + 6 * HOUR_MSC - 60_000}, "no_new_within_sec"),
    ({"no_new_within_sec": 60}, buy(), {"now_utc_msc": NOW_MSC + 13 * HOUR_MSC - 60_001}, "allowed"),
    ({"no_new_within_sec": 60}, buy(), {"now_utc_msc": NOW_MSC + 13 * HOUR_MSC - 60_000}, "no_new_within_sec"),
    ({"no_new_within_sec": 60}, buy(), {"now_utc_msc": NOW_MSC + 13 * HOUR_MSC + 60_000}, "no_new_within_sec"),
    ({"no_new_within_sec": 60}, buy(), {"now_utc_msc": NOW_MSC + 13 * HOUR_MSC + 60_001}, "allowed"),
    (COOLDOWN, buy(), {"results": losses(50, 40, 31)}, "allowed"),
    (COOLDOWN, buy(), {"results": losses(50, 40, 30)}, "allowed"),
    (COOLDOWN, buy(), {"results": losses(89, 40, 29)}, "cooldown_after_losses"),
    (COOLDOWN, buy(), {"results": losses(90, 40, 29)}, "allowed"),
    (COOLDOWN, buy(), {"results": losses(50, 40, 29, result=1)}, "allowed"),
    (COOLDOWN, buy(), {"results": losses(50, 40, 29, result=0)}, "allowed"),
    (COOLDOWN, buy(), {}, "cooldown_after_losses"),
    ({"tick_age_max_sec": 5}, buy(), {"ticks": {"EURUSD": attrs.evolve(TICK, age_ms=5000)}}, "allowed"),
    ({"tick_age_max_sec": 5}, buy(), {"ticks": {"EURUSD": attrs.evolve(TICK, age_ms=5001)}}, "tick_age_max_sec"),
    ({"tick_age_max_sec": 5}, buy(), {"ticks": {"EURUSD": attrs.evolve(TICK, age_ms=-1)}}, "tick_age_max_sec"),
    ({"tick_age_max_sec": 5}, buy(), {}, "tick_age_max_sec"),
    ({"price_collar": 50}, limit("1.09950"), PRICES, "allowed"),
    ({"price_collar": 50}, limit("1.09949"), PRICES, "price_collar"),
    ({"price_collar": "1%"}, limit("1.089"), PRICES, "allowed"),
    ({"price_collar": "1%"}, limit("1.08899"), PRICES, "price_collar"),
    ({"price_collar": 50}, buy(deviation=50), PRICES, "allowed"),
    ({"price_collar": 50}, buy(deviation=51), PRICES, "price_collar"),
    ({"price_collar": 50}, buy(), PRICES, "price_collar"),
    ({"price_collar": 50}, limit("1.09950"), {}, "price_collar"),
    ({"stops_required": True}, buy(sl="1.09"), {}, "allowed"),
    ({"stops_required": True}, buy(), {}, "stops_required"),
    ({"stops_required": True}, buy(sl=0), {}, "stops_required"),
    ({"stop_distance_max": 100}, buy(sl="1.09900"), PRICES, "allowed"),
    ({"stop_distance_max": 100}, buy(sl="1.09899"), PRICES, "stop_distance_max"),
    ({"stop_distance_max": 100}, buy(), PRICES, "stop_distance_max"),
    ({"stop_distance_max": 100}, buy(sl="1.09900"), {}, "stop_distance_max"),
    ({"stop_distance_max": 100}, limit("1.0", sl="0.999"), {}, "allowed"),
    ({"risk_per_order_max": 10}, buy(sl="1.099"), PRICES, "allowed"),
    ({"risk_per_order_max": 10}, buy(sl="1.09899"), PRICES, "risk_per_order_max"),
    ({"risk_per_order_max": 10}, buy(), PRICES, "risk_per_order_max"),
    ({"risk_per_order_max": 10}, buy(sl="1.099"), {}, "risk_per_order_max"),
    ({"notional_per_order_max": 11_000}, buy(), PRICES, "allowed"),
    ({"notional_per_order_max": 10_999}, buy(), PRICES, "notional_per_order_max"),
    ({"notional_per_order_max": 11_000}, buy(), {}, "notional_per_order_max"),
    ({"notional_per_order_max": 12_000}, limit("1.2"), PRICES, "allowed"),
    ({"notional_per_order_max": 11_999}, limit("1.2"), PRICES, "notional_per_order_max"),
    ({"notional_total_max": 121_000}, buy(), PRICES, "allowed"),
    ({"notional_total_max": 120_999}, buy(), PRICES, "notional_total_max"),
    ({"notional_total_max": 121_000}, buy(), {}, "notional_total_max"),
    ({"margin_free_min": 900}, buy(), {"order_check": CHECKED}, "allowed"),
    ({"margin_free_min": 901}, buy(), {"order_check": CHECKED}, "margin_free_min"),
    ({"margin_free_min": 1}, buy(), {"order_check": attrs.evolve(CHECKED, retcode=10019)}, "margin_free_min"),
    ({"margin_free_min": 1}, buy(), {}, "margin_free_min"),
    ({"margin_level_min": "1000%"}, buy(), {"order_check": CHECKED}, "allowed"),
    ({"margin_level_min": "1001%"}, buy(), {"order_check": CHECKED}, "margin_level_min"),
    ({"margin_level_min": "1%"}, buy(), {}, "margin_level_min"),
    (LOSS, buy(), {"day": day(10_000), "floating": Decimal(-500)}, "allowed"),
    (LOSS, buy(), {"day": day(10_000), "floating": Decimal("-500.01")}, "daily_loss_max"),
    (LOSS, buy(), {"day": day(10_000, -200), "floating": Decimal(-301)}, "daily_loss_max"),
    (LOSS, buy(), {"day": day(10_000, 200), "floating": Decimal(-700)}, "allowed"),
    (LOSS, buy(), {"day": day(10_000)}, "daily_loss_max"),
    (LOSS, buy(), {"floating": Decimal(0)}, "daily_loss_max"),
    (LOSS, CLOSE, {}, "allowed"),
    (LOSS | {"daily_base": "equity"}, buy(), {"day": day(10_000), "floating": Decimal(0)}, "daily_loss_max"),
    (LOSS | {"daily_base": "equity"}, buy(), {"day": day(10_000, 0, 300), "floating": Decimal(-200)}, "allowed"),
    (LOSS | {"daily_base": "equity"}, buy(), {"day": day(10_000, 0, 300), "floating": Decimal(-201)}, "daily_loss_max"),
    (LOSS | {"daily_base": "higher"}, buy(), {"day": day(10_000, 0, 300), "floating": Decimal(-201)}, "daily_loss_max"),
    ({"daily_loss_max": "5%", "daily_base": "balance"}, buy(), {"day": day(9_000), "floating": Decimal(-450)}, "allowed"),
    (
        {"daily_loss_max": "5%", "daily_base": "balance"},
        buy(),
        {"day": day(9_000), "floating": Decimal(-451)},
        "daily_loss_max",
    ),
    (TOTAL, buy(), {"floating": Decimal(-1000)}, "allowed"),
    (TOTAL, buy(), {"floating": Decimal(-1001)}, "loss_total_max"),
    (TOTAL, buy(), {}, "loss_total_max"),
    (TRAILING, buy(), {"floating": Decimal(-900), "highest_balance": Decimal(10_100)}, "allowed"),
    (TRAILING, buy(), {"floating": Decimal(-901), "highest_balance": Decimal(10_100)}, "loss_total_max"),
    (TRAILING, buy(), {"floating": Decimal(0)}, "loss_total_max"),
]


@pytest.mark.parametrize(("rules", "request_", "market", "expected"), STORIES)
def test_each_rule_allows_up_to_its_limit_and_denies_what_could_not_be_read(rules, request_, market, expected):
    assert judge(Limits.of_rules(rules), request_, SPEC, FUNDED, **market) == expected


def test_the_margin_of_orders_that_may_still_be_executed_is_missing_too():
    waiting = intended("a", symbol="EURUSD", side="sell", volume="0.2")
    for margin_free_min, expected in ((700, "allowed"), (701, "margin_free_min")):
        assert judge(Limits(margin_free_min=margin_free_min), BUY, waiting, order_check=CHECKED) == expected
    assert judge(Limits(margin_level_min="1%"), BUY, waiting, order_check=CHECKED) == "margin_level_min"


def test_a_balance_that_nobody_stated_is_not_compared():
    assert judge(Limits.of_rules(TOTAL), BUY, FUNDED, floating=Decimal(0)) == "allowed"
    assert judge(Limits.of_rules(TOTAL), BUY, cash(9, profit=10_000), floating=Decimal(0)) == "loss_total_max"


def test_a_day_that_began_with_a_floating_loss_counts_all_of_it():
    """The account began the day at -330 with open positions; -505 now is more than the 500 that the firm allows."""
    limits = Limits(daily_loss_max=500, day="Europe/Prague")
    assert judge(limits, day=day(10_000, 0, -330), floating=Decimal(-505)) == "daily_loss_max"
    assert judge(limits, CLOSE, day=day(10_000, 0, -330), floating=Decimal(-505)) == "allowed"


def test_the_firms_day_is_not_the_servers():
    terms = fold_events([], clock="Europe/Athens")[0].terms
    midday = START_MSC + 2 * HOUR_MSC
    starts = [day_start_utc_msc(Limits(day=one), terms, midday) for one in ("server", "Europe/Prague", "America/New_York")]
    assert [(midday - one) / HOUR_MSC for one in starts] == [14, 13, 7]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "allowed"),
        ([intended("a", symbol="EURUSD", side="buy", volume="0.1")], "volume_per_symbol_max"),
        ([intended("a", symbol="EURUSD", side="buy", volume="0.1"), answered("a", "rejected")], "allowed"),
        ([BUY_LIMIT, answered("a", "accepted", 7)], "volume_per_symbol_max"),
        ([shown(None, 7, volume="0.1")], "volume_per_symbol_max"),
        ([shown(None, 7, state=2, volume="0.1")], "allowed"),
    ],
)  # fmt: skip
def test_open_orders_count_as_executed(events, expected):
    assert judge(Limits(volume_per_symbol_max="1.1"), BUY, *events) == expected


def test_an_order_that_is_unknown_blocks_its_symbol_or_the_account():
    unknown = [intended("a", symbol="EURUSD", side="buy", volume="0.1"), answered("a", "unknown")]
    gold = OrderRequest.market("XAUUSD", "buy", "0.1")
    assert judge(Limits(), BUY, *unknown) == "unknown_orders"
    assert judge(Limits(), CLOSE, *unknown) == "allowed"
    assert judge(Limits(), gold, *unknown) == "allowed"
    assert judge(Limits(unknown_scope="account"), gold, *unknown) == "unknown_orders"


def test_an_order_past_its_deadline_is_unknown():
    late = intended("a", symbol="EURUSD", side="buy", volume="0.1", until_utc_msc=NOW_MSC - 1)
    assert judge(Limits(), BUY, late) == "unknown_orders"
    assert judge(Limits(), BUY, late, now_utc_msc=NOW_MSC - 1) == "allowed"


def test_an_order_whose_answer_this_process_missed_is_unknown_before_its_deadline():
    """It is late here at once; the journal shows that only when the order could not be sent any more."""
    sent = intended("a", symbol="EURUSD", side="buy", volume="0.1", until_utc_msc=NOW_MSC + 5_000)
    assert judge(Limits(), BUY, sent) == "allowed"
    assert judge(Limits(), BUY, sent, late=frozenset({"a"})) == "unknown_orders"
    assert judge(Limits(), BUY, sent, answered("a", "accepted", 7), late=frozenset({"a"})) == "allowed"


STOPS = StopsSeen(position_id=1, sl="1.05", tp="1.2", time_msc=START_MSC)
UNKNOWN_STOPS = [intended("s", "stops", position_id=1, sl="1.06"), answered("s", "unknown")]
OPENED_WITH_STOP = [intended("o", symbol="EURUSD", side="buy", volume=1, sl="1.05"), answered("o", "accepted", 1)]


@pytest.mark.parametrize(
    ("events", "asked", "is_tighter"),
    [
        ([STOPS], {"sl": "1.05"}, True),
        ([STOPS], {"sl": "1.06", "tp": "1.1"}, True),
        ([STOPS], {"sl": "1.04999"}, False),
        ([STOPS], {"tp": "1.2001"}, False),
        ([STOPS], {"sl": 0}, False),
        ([STOPS], {"tp": 0}, False),
        ([], {"sl": "1.01"}, True),
        ([], {"sl": 0}, True),
        (OPENED_WITH_STOP, {"sl": "1.05"}, True),
        (OPENED_WITH_STOP, {"sl": "1.04"}, False),
        ([STOPS, *UNKNOWN_STOPS], {"sl": "1.06"}, True),
        ([STOPS, *UNKNOWN_STOPS], {"sl": "1.055"}, False),
        ([StopsSeen(position_id=2, sl="1.05", tp=0, time_msc=START_MSC)], {"sl": "1.01"}, True),
    ],
)
def test_stops_may_always_be_set_tighter(events, asked, is_tighter):
    request = OrderRequest.stops(1, **asked)
    halt = halted(mode="no_new_risk")
    assert judge(Limits(), request, *events, halt) == ("allowed" if is_tighter else "halted")


def test_the_stops_of_a_short_position_are_tighter_below():
    events = [held(2, "sell"), StopsSeen(position_id=2, sl="1.2", tp="1.05", time_msc=START_MSC), halted(mode="no_new_risk")]
    assert judge(Limits(), OrderRequest.stops(2, sl="1.2", tp="1.06"), *events) == "allowed"
    assert judge(Limits(), OrderRequest.stops(2, sl="1.21"), *events) == "halted"
    assert judge(Limits(), OrderRequest.stops(2, tp="1.04"), *events) == "halted"


BY_TREND = [intended("t", symbol="EURUSD", side="buy", volume=1, strategy="trend"), answered("t", "accepted", 2)]
GRID = {"strategy": "grid"}


@pytest.mark.parametrize(
    ("rules", "fields", "events", "expected"),
    [
        ({"volume_per_order_max": "0.1"}, GRID, [], "allowed"),
        ({"volume_per_order_max": "0.05"}, GRID, [], "strategies_max.grid.volume_per_order_max"),
        ({"volume_per_order_max": "0.05"}, {"strategy": "trend"}, [], "allowed"),
        ({"volume_total_max": "1.1"}, GRID, [], "allowed"),  # position 1 may be of any strategy
        ({"volume_total_max": "1.1"}, GRID, BY_TREND, "allowed"),
        ({"volume_total_max": "1.1"}, GRID, [*BY_TREND, held(2)], "allowed"),
        ({"volume_total_max": "1.09"}, GRID, [], "strategies_max.grid.volume_total_max"),
        ({"positions_max": 2}, GRID, [*BY_TREND, held(2)], "allowed"),
        ({"positions_max": 1}, GRID, [*BY_TREND, held(2)], "strategies_max.grid.positions_max"),
        ({"symbols": ["XAUUSD"]}, GRID, [], "strategies_max.grid.symbols"),
        ({"orders_per_minute_max": 1}, GRID, [], "strategies_max.grid.orders_per_minute_max"),
    ],
)
def test_a_strategy_has_rules_of_its_own(rules, fields, events, expected):
    assert judge(Limits.of_rules({"strategies_max": {"grid": rules}}), buy(**fields), *events) == expected


def test_a_strategy_is_known_by_its_magic_number():
    limits = Limits.of_rules({"strategies_max": {"magic:7": {"volume_total_max": "1.1", "orders_per_minute_max": 1}}})
    others = [held(2, magic=8), held(3, magic=7, volume="0.01")]
    assert judge(limits, buy(magic=7), held(2, magic=8), intents=ago(5, magic=8)) == "allowed"
    assert judge(limits, buy(magic=7), *others, intents=()) == "strategies_max.magic:7.volume_total_max"
    assert judge(limits, buy(magic=8), *others, intents=()) == "allowed"
    assert judge(limits, buy(magic=7), intents=ago(5, magic=7)) == "strategies_max.magic:7.orders_per_minute_max"
    assert Limits.of_rules(limits.rules) == limits
    assert hash(limits) == hash(Limits.of_rules(limits.rules))


def test_one_change_at_a_time():
    assert judge(Limits(), OrderRequest.stops(1, sl="1.01"), STOPS) == "allowed"
    assert judge(Limits(), OrderRequest.stops(1, sl="1.01"), STOPS, *UNKNOWN_STOPS) == "unknown_orders"
    resting = [BUY_LIMIT, answered("a", "accepted", 7)]
    change = OrderRequest.modify("a", price="1.01")
    assert judge(Limits(), change, *resting) == "allowed"
    assert judge(Limits(), change, *resting, intended("m", "modify", target_client_id="a", price=1)) == "unknown_orders"
    assert judge(Limits(), change, *resting, intended("m", "cancel", target_order=7)) == "unknown_orders"


def test_limits_are_what_is_recorded_of_them():
    limits = Limits(volume_per_order_max="0.50", symbols=["XAUUSD", "EURUSD"], sides=["buy"], unknown_scope="account")
    assert limits.rules == {
        "verified_within_sec": 60,
        "unknown_scope": "account",
        "volume_per_order_max": "0.5",
        "symbols": ["EURUSD", "XAUUSD"],
        "sides": ["buy"],
    }
    event = LimitsSet(rules=limits.rules, operator="ann", reason="start", time_msc=START_MSC)
    assert Limits.of_rules(event.rules) == Limits.of_rules(limits.rules) == limits
    assert natural_key(event) == "limits"


def test_limits_of_a_file():
    limits = Limits.of_toml('volume_per_order_max = 0.10\nvolume_total_max = 2\nsymbols = ["EURUSD"]\n')
    assert limits == Limits(volume_per_order_max=Decimal("0.1"), volume_total_max=2, symbols=["EURUSD"])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"volume_max": 1}, "expected the name of a limit .*'volume_max'"),
        ({"volume_per_order_max": 0.5}, "limit volume_per_order_max: .*text"),
        ('{"volume_per_order_max": 0.5}', "'0.5'"),
        ({"volume_per_order_max": "0"}, "more than 0"),
        ({"volume_per_order_max": "five"}, "limit volume_per_order_max"),
        ({"volume_per_order_max": None}, "leave the rule out"),
        ({"verified_within_sec": "60 s"}, "without quotes and unit"),
        ({"verified_within_sec": 0}, "from 1"),
        ({"symbols": "EURUSD"}, "a list of symbols"),
        ({"sides": ["long"]}, "limit sides"),
        ({"unknown_scope": "all"}, "limit unknown_scope"),
        ({"orders_max": "many"}, "limit orders_max"),
        ({"exit_slots": 6}, "orders_max = 'broker'"),
        ({"loss_total_max": 1}, "initial_balance"),
        ({"margin_level_min": 150}, "'150%'"),
        ({"price_collar": "5 points"}, "limit price_collar"),
        ({"hours": "mon-fri 08:00-17:00"}, "a list of hours"),
        ({"hours": []}, "at least one"),
        ({"hours": ["mon-fri 22:00-02:00"]}, "over midnight"),
        ({"hours": ["mon-fri 08:60-17:00"]}, "limit hours"),
        ({"hours": ["mon-foo 08:00-17:00"]}, "limit hours"),
        ({"hours_zone": "Mars/Base"}, "limit hours_zone"),
        ({"day_start": "25:00"}, "a time of day"),
        ({"cooldown_after_losses": {"losses": 3}}, "within_min"),
        ({"no_new_within_sec": 43_200}, "half a day"),
        ({"one_position": 1}, "true or false"),
        ({"daily_base": "start"}, "limit daily_base"),
        ({"strategies_max": {}}, "a mapping of name to rules"),
        ({"strategies_max": {"grid": {"daily_loss_max": 1}}}, "strategy grid"),
        ({"strategies_max": {"grid": {"positions_max": "1"}}}, "limit positions_max"),
        ("[]", "a mapping"),
        ("{", "JSON object"),
    ],
)
def test_what_is_no_rule_is_refused(rules, message):
    with pytest.raises(BadValue, match=message):
        Limits.of_rules(rules)


def test_the_page_about_limits_names_every_rule_and_its_default():
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| (`?)([^`|]*)\2 ?\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    defaults = {name: default.strip() for name, _, default in rows}
    recorded = {one.name: one.default for one in attrs.fields(Limits)}
    assert defaults == {
        name: "" if default is None else str(getattr(default, "value", default)) for name, default in recorded.items()
    }


@pytest.mark.parametrize(
    ("scope", "name", "command"),
    [("account", None, "ledger resume"), ("symbol", "EURUSD", "ledger resume --symbol EURUSD"),
     ("strategy", "my grid", "ledger resume --strategy 'my grid'")],
)  # fmt: skip
def test_the_command_that_ends_a_halt_names_what_is_halted(scope, name, command):
    assert how_to_resume(HaltScope(scope), name) == command
