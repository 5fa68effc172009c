"""Laws of limits: tighter rules and less to read never allow more, and limits are what is recorded of them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

import attrs
from hypothesis import event, given
from hypothesis import strategies as st

from ledger import BalanceAsserted, LimitsSet
from ledger.order_messages import RemoteCheck, RemoteTick
from ledger.orders.limits import Allowed, ClosedResult, DayFigures, Intent, Limits, Market, check
from ledger.orders.request import OrderRequest
from tests.support.orders import answered, fold_events, held, intended
from tools.testkit.facts import START_MSC, specified

NOW_MSC = START_MSC + 3_600_000
BUY = OrderRequest.market("EURUSD", "buy", "0.1", sl="1.09", deviation=5)
#: Each rule from its loosest value to its tightest; not to have it is looser still.
RULES: Final[dict[str, list[Any]]] = {
    "verified_within_sec": [3600, 60, 1],
    "unknown_scope": ["symbol", "account"],
    "kill_switch_file": ["stop"],
    "symbols": [["EURUSD", "XAUUSD"], ["EURUSD"], []],
    "sides": [["buy", "sell"], ["buy"], []],
    "one_position": [True],
    "volume_step": ["0.01", "0.1", "0.2"],
    "symbol_step": [True],
    "volume_per_order_max": [2, "0.1", "0.05"],
    "volume_per_order_min": ["0.01", "0.1", "0.5"],
    "volume_per_symbol_max": [5, "1.1", "0.5"],
    "volume_total_max": [5, "1.1", "0.5"],
    "positions_max": [9, 2, 1],
    "orders_max": [9, 2, 1],
    "orders_per_minute_max": [9, 2, 1],
    "orders_per_day_max": [9, 2, 1],
    "same_request_within_sec": [1, 30, 3600],
    "hours": [["mon-fri 00:00-24:00", "mon 01:00-02:00"], ["mon 10:00-12:00"], ["tue 00:00-24:00"]],
    "no_new_within_sec": [1, 3599, 3600],
    "cooldown_after_losses": [
        {"losses": 3, "within_min": 10, "pause_min": 10},
        {"losses": 2, "within_min": 60, "pause_min": 10},
        {"losses": 1, "within_min": 60, "pause_min": 60},
    ],
    "tick_age_max_sec": [60, 5, 1],
    "price_collar": [1000, 5, 1],
    "stops_required": [True],
    "stop_distance_max": [5000, 1000, 10],
    "risk_per_order_max": [1000, 100, 10],
    "notional_per_order_max": [20_000, 11_000, 10],
    "notional_total_max": [200_000, 121_000, 10],
    "margin_free_min": [1, 900, 1000],
    "margin_level_min": ["1%", "1000%", "2000%"],
    "daily_loss_max": [1000, 500, 1],
    "loss_total_max": [1000, 500, 1],
}
SETTINGS: Final[dict[str, list[Any]]] = {
    "daily_base": ["balance", "equity", "higher"],
    "day": ["server", "Europe/Prague", "Asia/Tokyo"],
    "day_start": ["00:00", "17:00"],
    "loss_total_base": ["static", "trailing"],
}
EVENTS: Final[tuple[Any, ...]] = (
    held(1),
    specified(volume_step="0.01", contract_size=100_000, currency="USD"),
    BalanceAsserted(balance=10_000, time_msc=START_MSC),
)
OPEN_ORDERS: Final[tuple[list[Any], ...]] = (
    [],
    [intended("a", symbol="EURUSD", side="buy", volume=1)],
    [intended("a", symbol="EURUSD", side="sell", volume=1), answered("a", "unknown")],
    [intended("a", "pending", symbol="XAUUSD", side="buy", volume=1, type="limit", price=1), answered("a", "accepted", 7)],
)
REQUESTS: Final = (
    BUY,
    attrs.evolve(BUY, symbol="XAUUSD"),
    OrderRequest.close(1),
    OrderRequest.close(1, "0.15"),
    OrderRequest.close(1, 2),
    OrderRequest.pending("EURUSD", "sell", "0.1", type="limit", price="1.1", sl="1.2"),
    OrderRequest.stops(1, sl="1.05"),
    OrderRequest.modify("a", price="1.1"),
    OrderRequest.market("EURUSD", "sell", "0.5"),
)
TICK: Final = RemoteTick(symbol="EURUSD", bid=Decimal("1.0999"), ask=Decimal("1.1"), time_msc=START_MSC, age_ms=4000)
FULL: Final = Market(
    now_utc_msc=NOW_MSC,
    verified_age_ms=30_000,
    positions_age_ms=20_000,
    is_kill_switch_on=False,
    ticks={"EURUSD": TICK, "XAUUSD": attrs.evolve(TICK, symbol="XAUUSD")},
    order_check=RemoteCheck(retcode=0, margin=Decimal(100), margin_free=Decimal(950), margin_level=Decimal(1500)),
    intents=(Intent(utc_msc=NOW_MSC - 20_000, request=BUY),),
    results=(ClosedResult(utc_msc=NOW_MSC - 600_000, result=Decimal(-1)),),
    day=DayFigures(balance=Decimal(10_000), results=Decimal(-100), floating=Decimal(50)),
    floating=Decimal(-450),
    highest_balance=Decimal(10_100),
    slots_max=5,
)
#: What could be read, and what is left where it could not.
UNREAD: Final[dict[str, Any]] = {
    one.name: {} if one.name in ("ticks", "rates") else None
    for one in attrs.fields(Market)
    if one.name not in ("now_utc_msc", "late", "verified_why")
}


def rules(draw: st.DrawFn) -> dict[str, int]:
    """Draw some rules, each with how tight it is."""
    names = draw(st.lists(st.sampled_from(sorted(RULES)), max_size=4, unique=True))
    return {name: draw(st.integers(0, len(RULES[name]) - 1)) for name in names}


@st.composite
def tightened(draw: st.DrawFn) -> tuple[Limits, Limits]:
    """Return limits, and such that are as tight in each rule or tighter."""
    loose, further = rules(draw), rules(draw)
    tight = {name: max(loose.get(name, 0), further.get(name, 0)) for name in {**loose, **further}}
    settings = {name: draw(st.sampled_from(values)) for name, values in SETTINGS.items()}
    made = [{name: RULES[name][one] for name, one in chosen.items()} for chosen in (loose, tight)]
    first, second = (Limits.of_rules(one | settings | {"initial_balance": 10_000}) for one in made)
    return first, second


def markets() -> st.SearchStrategy[Market]:
    return st.sets(st.sampled_from(sorted(UNREAD)), max_size=3).map(lambda gone: without(FULL, gone))


def without(market: Market, gone: set[str]) -> Market:
    return attrs.evolve(market, **{name: UNREAD[name] for name in gone})


def is_allowed(limits: Limits, market: Market, request: OrderRequest, orders: list[Any], mode: str) -> bool:
    portfolio, view = fold_events([*EVENTS, *orders], mode)
    return isinstance(check(limits, portfolio, view, market, request), Allowed)


@given(tightened(), markets(), st.sampled_from(REQUESTS), st.sampled_from(OPEN_ORDERS), st.sampled_from(["netting", "hedging"]))
def test_tighter_limits_never_allow_more(pair, market, request, orders, mode):
    loose, tight = pair
    allowed = is_allowed(tight, market, request, orders, mode)
    event(f"allowed: {allowed}")
    if allowed:
        assert is_allowed(loose, market, request, orders, mode)


@given(
    tightened(), markets(), st.sets(st.sampled_from(sorted(UNREAD))), st.sampled_from(REQUESTS), st.sampled_from(OPEN_ORDERS),
    st.sampled_from(["netting", "hedging"]),
)  # fmt: skip
def test_less_to_read_never_allows_more(pair, market, gone, request, orders, mode):
    allowed = is_allowed(pair[0], without(market, gone), request, orders, mode)
    event(f"allowed: {allowed}")
    if allowed:
        assert is_allowed(pair[0], market, request, orders, mode)


@given(tightened())
def test_limits_are_what_is_recorded_of_them(pair):
    for limits in pair:
        event_ = LimitsSet(rules=limits.rules, operator="ann", reason="law", time_msc=START_MSC)
        assert Limits.of_rules(limits.rules) == Limits.of_rules(event_.rules) == limits
        assert json.loads(event_.rules) == limits.rules
        assert Limits.of_rules(event_.rules).digest == limits.digest
    assert (pair[0] == pair[1]) is (pair[0].digest == pair[1].digest)


def test_every_rule_is_under_these_laws():
    settings = {*SETTINGS, "hours_zone", "initial_balance", "exit_slots"}  # exit_slots only makes orders_max smaller
    assert {one.name for one in attrs.fields(Limits)} == RULES.keys() | settings
