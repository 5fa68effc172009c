"""Conditions of --where: what a position has to meet."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ledger import BadValue
from ledger.forensics.conditions import Condition

GOLD = {"symbol": "XAUUSD", "side": "buy", "volume": "1.50", "price_open": "2350.1", "magic": None, "account": "Desk/1"}


@pytest.mark.parametrize(
    ("written", "is_met"),
    [
        ("symbol = XAUUSD", True),
        ("symbol='XAUUSD'", True),
        ('symbol != "XAUUSD"', False),
        ("volume >= 1.5", True),
        ("volume>1.5", False),
        ("volume < 10", True),  # a number: as text it would come behind
        ("price_open <= 2350.1", True),
        ("magic = 7", False),
        ("magic != 7", False),  # what is not known meets nothing
        ("account = Desk/1", True),
    ],
)
def test_what_meets_a_condition(written, is_met):
    assert Condition.parse(written).is_met(GOLD) is is_met


@pytest.mark.parametrize(
    "written", ["", "symbol", "symbol =", "= 1", "volume = NaN", "volume = Infinity", "balance > 1", "a b = 1"]
)
def test_what_is_no_condition_is_refused(written):
    with pytest.raises(BadValue, match="expected"):
        Condition.parse(written)


def test_numbers_are_exact():
    assert Condition.parse("volume = 0.1").value == Decimal("0.1")
