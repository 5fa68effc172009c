"""What a deal or an assertion does to one position, in scaled integers."""

from __future__ import annotations

import pytest

from ledger.positions import OpenPosition, divided

NO_MONEY = (0, 0, 0, 0)


def long(volume: int, price: int) -> OpenPosition:
    return OpenPosition(7, "EURUSD", 0, volume, price, 1000, None)


@pytest.mark.parametrize(
    ("numerator", "denominator", "quotient"),
    [
        (7, 2, 4), (5, 2, 2), (9, 2, 4), (11, 2, 6), (-7, 2, -4), (-5, 2, -2), (-9, 2, -4), (1, 3, 0), (2, 3, 1), (-1, 3, 0),
        (-2, 3, -1), (6, 3, 2), (-6, 3, -2), (0, 5, 0), (10**40 + 1, 2, 10**40 // 2), (3, 2, 2), (1, 2, 0), (-1, 2, 0),
    ],
)  # fmt: skip
def test_division_rounds_half_to_even(numerator, denominator, quotient):
    assert divided(numerator, denominator) == quotient


def test_adding_extends_the_average():
    position = long(100, 10)
    position.add(300, 20, *NO_MONEY)
    assert (position.volume, position.price_open()) == (400, 18)  # 17.5, half to even
    assert (position.volume_in, position.cost_in) == (400, 7000)


def test_reducing_leaves_the_average_and_counts_what_it_cost():
    position = long(300, 10)
    position.add(1, 11, *NO_MONEY)
    cost, volume = position.cost, position.cost_volume
    position.reduce(200, 99, *NO_MONEY)
    assert (position.volume, position.cost, position.cost_volume) == (101, cost, volume)
    assert (position.volume_out, position.cost_out) == (200, 19_800)


def test_an_average_that_a_partial_close_does_not_divide_is_rounded_once():
    position = long(1, 10)
    position.add(2, 11, *NO_MONEY)  # 32 / 3
    position.reduce(1, 50, *NO_MONEY)
    position.add(2, 10, *NO_MONEY)  # 21.33 rounds to 21; (21 + 20) / 4
    assert (position.cost, position.cost_volume, position.price_open()) == (41, 4, 10)


def test_money_is_counted_whether_it_opens_or_closes():
    position = OpenPosition(7, "EURUSD", 0, 2, 10, 1000, None, -1, -2, -3, 4)
    position.add(1, 10, -10, -20, -30, 40)
    position.reduce(1, 10, -100, -200, -300, 400)
    assert (position.commission, position.fee, position.swap, position.profit) == (-111, -222, -333, 444)


@pytest.mark.parametrize(("asserted", "volume_in"), [(50, 50), (80, 80), (20, 50)])
def test_what_somebody_saw_replaces_volume_and_price(asserted, volume_in):
    position = long(50, 10)
    position.assert_open(asserted, 12)
    assert (position.volume, position.price_open(), position.volume_in) == (asserted, 12, volume_in)


def test_what_is_lost_is_remembered():
    position = long(50, 10)
    position.lose(20)
    assert (position.volume, position.volume_unexplained, position.volume_out) == (30, 20, 0)


def test_a_copy_has_everything_and_shares_nothing():
    position = long(50, 10)
    position.comment, position.basis, position.is_money_known = "EA", "recovery", False
    twin = position.copy()
    assert all(getattr(twin, name) == getattr(position, name) for name in OpenPosition.__slots__)
    twin.add(1, 1, 1, 1, 1, 1)
    assert (position.volume, position.cost, position.profit) == (50, 500, 0)
