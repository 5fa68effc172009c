"""Stories of closes that no table explains: what the profit decides, what net zero forces, and what stays undecided."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ledger.imports import attribute, one_line_each
from ledger.imports.factor import Constant, Interval, Inverse, Stretch, Varying, learn_factor, usual_factors
from ledger.imports.notes import Note
from ledger.values import MarginMode
from tests.unit.test_attribution import account, deal, still_open

CHOSEN = "paired in order"


def attributed(*deals, **more):
    attribution = attribute(account(*deals, **more), MarginMode.HEDGING)
    return list(attribution.position_ids), [note.cause for note in attribution.notes]


def close(number, text, profit, **more):
    return deal(number, text, profit=Decimal(profit).quantize(Decimal("0.01")), **more)


# ------------------------------------------------------------------------------------------------------ the profit decides


def test_a_basket_closed_in_one_second_is_distinguished_by_its_profits():
    ids, notes = attributed(
        deal(1, "10:00 buy in 0.1 @ 1.10000"),
        deal(2, "10:01 buy in 0.1 @ 1.09000"),
        deal(3, "10:02 buy in 0.1 @ 1.08000"),
        close(4, "11:00 sell out 0.1 @ 1.09500", 50),
        close(5, "11:00 sell out 0.1 @ 1.09500", 150),
        close(6, "11:00 sell out 0.1 @ 1.09500", -50),
    )
    assert (ids[3:], notes) == ([1002, 1003, 1001], [])


def test_a_close_in_part_is_distinguished_by_its_profit_too():
    ids, notes = attributed(
        deal(1, "10:00 sell in 0.3 @ 1.10000"),
        deal(2, "10:01 sell in 0.3 @ 1.11000"),
        close(3, "11:00 buy out 0.1 @ 1.10500", 50),
        close(4, "11:10 buy out 0.3 @ 1.10500", -150),
        close(5, "11:20 buy out 0.2 @ 1.10500", 100),
    )
    assert (ids[2:], notes) == ([1002, 1001, 1002], [])


def test_the_profit_decides_while_another_position_stays_open():
    ids, notes = attributed(
        deal(1, "10:00 buy in 0.1 @ 1.10000"),
        deal(2, "10:01 buy in 0.1 @ 1.09000"),
        close(3, "11:00 sell out 0.1 @ 1.09500", 50),
        deal(4, "12:00 buy in 0.1 @ 1.07000"),
        close(5, "13:00 sell out 0.1 @ 1.07500", 50),
    )
    assert (ids[2], ids[4], notes) == (1002, 1004, [])


def test_a_profit_in_another_currency_is_compared_with_those_around_it():
    by = Decimal(127431)  # what a lot and a unit of the price are worth; no round number
    rows = [
        ("10:00 buy in 0.1 @ 0.86000", None), ("10:30 sell out 0.1 @ 0.86100", "0.00100"),
        ("11:00 buy in 0.1 @ 0.86000", None), ("11:01 buy in 0.1 @ 0.85000", None), ("11:02 buy in 0.1 @ 0.84000", None),
        ("12:00 sell out 0.1 @ 0.85500", "0.00500"), ("12:00 sell out 0.1 @ 0.85500", "-0.00500"),
        ("12:00 sell out 0.1 @ 0.85500", "0.01500"),
    ]  # fmt: skip
    deals = [
        deal(n, text, profit=(Decimal(moved or 0) * by / 10).quantize(Decimal("0.01")))
        for n, (text, moved) in enumerate(rows, 1)
    ]
    ids, notes = attributed(*deals)
    assert (ids[1], ids[5:], notes) == (1001, [1004, 1003, 1005], [])


def test_profits_distinguish_closes_that_are_hours_apart():
    by = Decimal(127431)
    rows = [
        ("10:00 buy in 0.1 @ 0.86000", None), ("10:30 sell out 0.1 @ 0.86100", "0.00100"),
        ("11:00 buy in 0.1 @ 0.86000", None), ("11:01 buy in 0.1 @ 0.85000", None), ("11:02 buy in 0.1 @ 0.84000", None),
        ("12:00 sell out 0.1 @ 0.85500", "0.00500"), ("15:00 sell out 0.1 @ 0.86500", "0.00500"),
        ("21:00 sell out 0.1 @ 0.84500", "0.00500"),
    ]  # fmt: skip
    deals = [
        deal(n, text, profit=(Decimal(moved or 0) * by / 10).quantize(Decimal("0.01")))
        for n, (text, moved) in enumerate(rows, 1)
    ]
    ids, notes = attributed(*deals)
    assert (ids[5:], notes) == ([1004, 1003, 1005], [])


def test_a_close_by_names_the_price_of_what_it_closed():
    ids, _ = attributed(
        deal(1, "10:00 buy in 0.1 @ 1.10"), deal(2, "10:01 buy in 0.1 @ 1.20"), deal(3, "10:02 buy in 0.1 @ 1.20"),
        deal(4, "10:03 sell in 0.1 @ 1.30"),
        deal(5, "11:00 sell out by 0.1 @ 1.30", order=1005), deal(6, "11:00 buy out by 0.1 @ 1.20", order=1005),
        deal(7, "12:00 sell out 0.1 @ 1.25"), deal(8, "12:00 sell out 0.1 @ 1.25"),
    )  # fmt: skip
    assert ids[5] == 1004
    assert ids[4] in (1002, 1003)
    assert {ids[4], *ids[6:]} == {1001, 1002, 1003}


# ---------------------------------------------------------------------------------------------------- net zero forces the rest


def test_one_tie_reaches_no_further_than_the_moment_when_all_was_closed():
    ids, notes = attributed(
        deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "10:01 buy in 0.1 @ 1.2"),
        deal(3, "11:00 sell out 0.1 @ 1.3"), deal(4, "11:00 sell out 0.1 @ 1.3"),  # profits of 0 show nothing
        deal(5, "12:00 buy in 0.1 @ 1.1"), deal(6, "13:00 sell out 0.1 @ 1.2"),
    )  # fmt: skip
    assert set(ids[2:4]) == {1001, 1002}
    assert (ids[5], [CHOSEN in note for note in notes]) == (1005, [True, True])


def test_positions_that_nothing_distinguishes_need_no_note():
    opened = [deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "10:00 buy in 0.1 @ 1.1")]
    ids, notes = attributed(*opened, close(3, "11:00 sell out 0.1 @ 1.2", 1000), close(4, "12:00 sell out 0.1 @ 1.3", 2000))
    assert (set(ids[2:]), notes) == ({1001, 1002}, [])


def test_of_positions_of_one_price_and_two_times_the_choice_is_noted():
    opened = [deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "10:30 buy in 0.1 @ 1.1")]
    ids, notes = attributed(*opened, close(3, "11:00 sell out 0.1 @ 1.2", 1000), close(4, "12:00 sell out 0.1 @ 1.3", 2000))
    assert (set(ids[2:]), [CHOSEN in note for note in notes]) == ({1001, 1002}, [True, True])


def test_volumes_have_to_come_out_even():
    ids, _ = attributed(
        deal(1, "10:00 buy in 0.3 @ 1.1"), deal(2, "10:00 buy in 0.2 @ 1.2"), deal(3, "10:00 buy in 0.1 @ 1.3"),
        deal(4, "11:00 sell out 0.1 @ 1.3"), deal(5, "11:00 sell out 0.2 @ 1.3"), deal(6, "11:00 sell out 0.2 @ 1.3"),
        deal(7, "11:00 sell out 0.1 @ 1.3"),
    )  # fmt: skip
    closed = {1001: Decimal("0.3"), 1002: Decimal("0.2"), 1003: Decimal("0.1")}
    for position_id, volume in zip(ids[3:], ("0.1", "0.2", "0.2", "0.1"), strict=True):
        closed[position_id] -= Decimal(volume)
    assert set(closed.values()) == {0}


def test_what_is_closed_and_opened_again_in_one_second_ends_a_stretch():
    ids, notes = attributed(
        deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "11:00 sell out 0.1 @ 1.3"), deal(3, "11:00 buy in 0.1 @ 1.3"),
        deal(4, "12:00 buy in 0.1 @ 1.4"), deal(5, "13:00 sell out 0.1 @ 1.3"), deal(6, "13:00 sell out 0.1 @ 1.3"),
    )  # fmt: skip
    assert (ids[1], set(ids[4:])) == (1001, {1003, 1004})
    assert len(notes) == 2  # of the last two only


# ------------------------------------------------------------------------------------------------- the table of open positions


def test_open_positions_state_which_of_two_was_closed():
    ids, notes = attributed(
        deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "10:01 buy in 0.1 @ 1.2"), deal(3, "11:00 sell out 0.1 @ 1.3"),
        still_open=[still_open(1001, "10:00 buy 0.1 @ 1.1")],
    )  # fmt: skip
    assert (ids[2], notes) == (1002, [])


def test_open_positions_state_how_much_of_each_was_closed():
    ids, notes = attributed(
        deal(1, "10:00 buy in 0.3 @ 1.1"), deal(2, "10:01 buy in 0.3 @ 1.2"),
        deal(3, "11:00 sell out 0.1 @ 1.3"), deal(4, "11:01 sell out 0.2 @ 1.3"),
        still_open=[still_open(1001, "10:00 buy 0.2 @ 1.1"), still_open(1002, "10:01 buy 0.1 @ 1.2")],
    )  # fmt: skip
    assert (ids[2:], notes) == ([1001, 1002], [])


# -------------------------------------------------------------------------------------------------------- what stays undecided


def test_of_two_that_may_be_meant_none_is_while_one_stays_open():
    ids, notes = attributed(
        deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "10:01 buy in 0.1 @ 1.1"), close(3, "11:00 sell out 0.1 @ 1.2", 1000),
        deal(4, "12:00 buy in 0.1 @ 1.15"), close(5, "13:00 sell out 0.1 @ 1.25", 1000),
    )  # fmt: skip
    assert (ids[2], ids[4]) == (None, 1004)  # and the tie affects nothing else
    assert notes == ["the file does not determine its position; left unattributed"]


def test_a_book_that_does_not_add_up_forces_nothing():
    ids, _ = attributed(
        deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "10:01 buy in 0.1 @ 1.2"),
        deal(3, "11:00 sell out 0.1 @ 1.3"), deal(4, "11:00 sell out 0.1 @ 1.3"), deal(5, "11:00 sell out 0.1 @ 1.3"),
    )  # fmt: skip
    assert ids[2:] == [None, None, None]


# ------------------------------------------------------------------------------------------------------------------ the factor


def stretch(moved, profit, *, price=1.0, at=0, count=1):
    return Stretch(at, at, moved, profit, abs(profit), profit * price, price * count, count, 0.005)


def test_a_contract_size_is_found_among_the_usual_ones():
    factors = usual_factors([stretch(0.01, 1000.00), stretch(-0.002, -200.00)])
    assert [factor for factor in factors if isinstance(factor, Constant)] == [factors[0]]
    assert factors[0].at(0, 1.1) == pytest.approx((100_000, 100_000))


def test_the_base_currency_gives_a_size_divided_by_the_price():
    factors = usual_factors([stretch(0.5, 333.33, price=150.0), stretch(0.8, 500.00, price=160.0)])
    assert [type(factor) for factor in factors] == [Inverse]
    value = factors[0].at(0, 150.0)
    assert value is not None
    assert value.middle == pytest.approx(100_000 / 150)


def test_a_factor_that_varies_is_known_near_its_times_only():
    day = 86_400_000
    factor = learn_factor([stretch(0.01, 1270.00, at=0), stretch(0.01, 1300.00, at=20 * day)])
    assert isinstance(factor, Varying)
    near, far = factor.at(1000, 1.0), factor.at(10 * day, 1.0)
    assert near is not None
    assert far is not None
    assert near.low < 127_000 < near.high
    assert near.high - near.low < (far.high - far.low) / 5


def test_a_sum_that_losses_nearly_cancel_shows_little():
    known = stretch(0.01, 1000.00).varying()
    cancelled = Stretch(0, 86_400_000, 0.01, 1000.00, 90_000.00, 1000.00, 1.0, 1, 0.005).varying()
    assert known is not None
    assert cancelled is not None
    assert known.high < 101_000
    assert cancelled.high > 140_000


def test_a_profit_of_nothing_shows_no_factor():
    assert learn_factor([stretch(0.0, 0.0), stretch(0.01, -5.0)]) is None
    assert Interval(1, 2).meets(Interval(3, 4)) is None


# --------------------------------------------------------------------------------------------------------------------- notes


def test_a_cause_is_one_line_with_its_first_places():
    notes = [Note("deals", f"deal {n} (row {n})", "why") for n in range(1, 5)] + [Note("deals", "deal 9 (row 9)", "else")]
    assert one_line_each(notes) == (
        "4 deals: why: deal 1 (row 1), deal 2 (row 2), deal 3 (row 3) and 1 more",
        "deal 9 (row 9): else",
    )
