"""Conditions of --where: what a position has to meet."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ledger import BadValue
from ledger.forensics.conditions import Condition

GOLD = {"symbol": "XAUUSD", "side": "buy", "volume": "1.50", "price_open": "2350.1", "magic": None, "account": "Desk/1"}
ROBOT = {"magic": 2**64 - 1, "basis": "fills", "opened_at": "2026-01-05T22:30:00Z"}


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
    ("written", "is_met"),
    [
        ("magic = -1", True),  # as the terminal shows it, and as every command reads it
        ("magic = 18446744073709551615", True),
        ("basis = fills", True),
        ("opened_at = 2026-01-05", True),  # the whole day
        ("opened_at != 2026-01-05", False),
        ("opened_at <= 2026-01-05", True),
        ("opened_at < 2026-01-05", False),
        ("opened_at > 2026-01-05", False),
        ("opened_at >= 2026-01-05", True),
        ("opened_at < 2026-01-06", True),
        ("opened_at > 2026-01-04", True),
        ("opened_at >= 2026-01-06", False),
        ("opened_at = 2026-01-06T00:30:00+02:00", True),
        ("opened_at > '2026-01-05T22:29'", True),
        ("opened_at < 2026-01-05T22:31+00:00", True),
    ],
)
def test_what_meets_a_condition_about_a_moment_or_a_robot(written, is_met):
    assert Condition.parse(written).is_met(ROBOT) is is_met


@pytest.mark.parametrize(
    "written",
    [
        "symbol == XAUUSD", "symbol <> XAUUSD", "volume =< 1", "volume => 1", "side = long", "side != BUY", "basis = deals",
        "magic = 1.5", "opened_at > yesterday", "opened_at = 2026-13-01",
    ],
)  # fmt: skip
def test_what_no_position_can_meet_is_refused(written):
    """It would be answered by none, as if nobody held anything."""
    with pytest.raises(BadValue):
        Condition.parse(written)


@pytest.mark.parametrize(
    "written", ["", "symbol", "symbol =", "= 1", "volume = NaN", "volume = Infinity", "balance > 1", "a b = 1"]
)
def test_what_is_no_condition_is_refused(written):
    with pytest.raises(BadValue, match="expected"):
        Condition.parse(written)


def test_numbers_are_exact():
    assert Condition.parse("volume = 0.1").value == Decimal("0.1")
