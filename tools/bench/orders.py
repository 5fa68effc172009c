"""The rows about orders, for ``bench.py``: what the check of a request costs, by what there is on the account."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from tools.bench.paths import Path, Paths

_POSITIONS = 1000
_FINISHED = 10_000
_CHECKS = 200
_MSC = 1_767_607_200_000
_SYMBOLS = 20


def order_paths() -> Paths:
    """What a check costs: with many positions, right after one of them changed, and behind many orders that are done."""
    yield Path(name=f"check of an order, {_POSITIONS:,} positions", unit="us", target=100, ours=_checked(_POSITIONS, 0))
    yield Path(
        name=f"check after a change, {_POSITIONS:,} positions", unit="us", target=None,
        ours=_checked(_POSITIONS, 0, is_changed=True),
    )  # fmt: skip
    yield Path(name=f"check of an order, {_FINISHED:,} orders done", unit="us", target=100, ours=_checked(1, _FINISHED))


def _checked(positions: int, finished: int, *, is_changed: bool = False) -> Callable[[], float]:
    """Return what measures, in microseconds, the check of one request; ``is_changed``: each on a portfolio not asked before."""
    from ledger import FillRecorded, Ledger, OrderAnswered, OrderIntended
    from ledger.orders.limits import Allowed, Limits, Market, check
    from ledger.orders.request import OrderRequest

    account = Ledger.open("memory://").account("Bench", 1)
    account.open(currency="USD", mode="hedging", time_msc=_MSC)
    account.record_many(
        [
            FillRecorded(
                deal=number, symbol=f"S{number % _SYMBOLS}", side="buy", entry="in", volume="0.10", price="1.10005",
                time_msc=_MSC + number, order=number, position_id=number, commission=0, fee=0, swap=0, profit=0,
            )
            for number in range(1, positions + 1)
        ]
    )  # fmt: skip
    for number in range(finished):
        client_id = f"c{number}"
        account.record_many(
            [
                OrderIntended(
                    client_id=client_id, token="L" + "A" * 19, kind="market", time_msc=_MSC, symbol="S1", side="buy", volume=1
                ),
                OrderAnswered(client_id=client_id, verdict="rejected", order=0, deal=0, volume=0, time_msc=_MSC),
            ]
        )
    portfolio, orders = account.portfolio, account.replayed_orders(account.selection()[0])
    market = Market(now_utc_msc=_MSC + 60_000, verified_age_ms=0, positions_age_ms=0, intents=())
    limits = Limits(
        volume_per_order_max=1, volume_per_symbol_max=100, volume_total_max=1000, positions_max=5000, orders_max=5000,
        orders_per_minute_max=10, same_request_within_sec=1, hours=["mon-sun 00:00-24:00"], symbols=["S1"],
    )  # fmt: skip
    request = OrderRequest.market("S1", "buy", "0.10")

    def once() -> float:
        took = []
        for _ in range(_CHECKS):
            asked = portfolio.followed_by((), portfolio.folded + 1) if is_changed else portfolio
            if is_changed:
                asked.fold((), _never)
            start = time.perf_counter()
            found = check(limits, asked, orders, market, request)
            took.append((time.perf_counter() - start) * 1e6)
            if not isinstance(found, Allowed):
                raise SystemExit(f"expected the request to be allowed, found {found}")
        return statistics.median(took)

    return once


def _never(row: object) -> Any:
    raise AssertionError(f"nothing is folded, found {row}")
