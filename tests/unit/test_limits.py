"""Limits: every rule at what it allows, just above it, and where what it needs could not be read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest

from ledger import LimitsSet, TradingHalted
from ledger.codec import natural_key
from ledger.errors import BadValue
from ledger.orders.limits import Denied, Limits, Market, check
from ledger.orders.request import OrderRequest
from tests.support.orders import answered, fold_events, held, intended, shown
from tools.testkit.facts import START_MSC

NOW_MSC = START_MSC + 3_600_000
BUY = OrderRequest.market("EURUSD", "buy", "0.1")
CLOSE = OrderRequest.close(1)
BUY_LIMIT = intended("a", "pending", symbol="EURUSD", side="buy", volume="0.1", type="limit", price=1)
MARKET = Market(now_utc_msc=NOW_MSC, verified_age_ms=0)


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
    assert judge(Limits(verified_within_sec=60), request_, verified_age_ms=age_ms) == expected
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
    assert natural_key(event) == f"limits:{limits.digest}"


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
        ("[]", "a mapping"),
        ("{", "JSON object"),
    ],
)
def test_what_is_no_rule_is_refused(rules, message):
    with pytest.raises(BadValue, match=message):
        Limits.of_rules(rules)
