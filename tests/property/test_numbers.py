"""Laws of numbers and of the clock: never off, and refused where they do not fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ledger import ClockRule, InexactNumber
from ledger.clock import moment_end_us, utc_text, utc_text_us
from ledger.positions import divided
from ledger.values import INT64_MAX, exact, plain, rounded, scaled, unscaled

wholes = st.integers(-INT64_MAX, INT64_MAX)
scales = st.integers(0, 15)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(9 * 10**10), max_value=9 * 10**10)
doubles = st.floats(allow_nan=False, allow_infinity=False)

# --------------------------------------------------------------------------------------------------------------- numbers


@given(wholes, scales)
def test_a_scaled_integer_represents_one_decimal(whole, scale):
    number = unscaled(whole, scale)
    assert Fraction(number) == Fraction(whole, 10**scale)
    assert scaled(number, scale, "money") == whole
    assert scaled(exact(plain(number)), scale, "money") == whole


@given(wholes, scales, st.integers(1, 30))
def test_the_precision_of_the_engine_changes_nothing(whole, scale, precision):
    wanted = unscaled(whole, scale)
    with localcontext() as context:
        context.prec = precision
        assert str(unscaled(whole, scale)) == str(wanted)
        assert scaled(wanted, scale, "money") == whole


@given(decimals, st.integers(0, 8))
@example(Decimal("1.0001"), 3)
@example(Decimal("1e-12"), 8)
def test_a_number_is_stored_to_the_last_digit_or_refused(number, scale):
    """What is stored is off by dirt at most: by far less than half a unit, and by less than a double can distinguish."""
    try:
        whole = scaled(number, scale, "money")
    except InexactNumber:
        assert Fraction(number) * 10**scale != int(Fraction(number) * 10**scale)
    else:
        off = abs(Fraction(number) * 10**scale - whole)
        assert off <= max(Fraction(1, 10_000), abs(Fraction(number)) * 10**scale / 2**47)
        assert off < Fraction(1, 4)


@given(wholes, scales, st.integers(1, 9), st.integers(1, 6))
def test_a_digit_beyond_the_scale_is_never_rounded_away(whole, scale, digit, further):
    assume(abs(whole) < 2**45)
    number = Decimal(whole * 10**further + digit).scaleb(-scale - further)
    off = Fraction(digit, 10**further)
    nearest = min(off, 1 - off)
    if nearest > max(Fraction(1, 10_000), Fraction(abs(whole) + 1, 2**47)):
        with pytest.raises(InexactNumber):
            scaled(number, scale, "money")


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_dirt_of_sums_of_doubles_goes(left, right):
    dirty = left / 100 + right / 100
    assert scaled(exact(dirty), 2, "money") == left + right


@given(doubles)
def test_a_double_is_read_through_its_shortest_text(number):
    assert float(exact(number)) == number
    assert exact(number) == Decimal(repr(number))


@given(doubles, scales)
def test_a_double_is_accepted_or_refused_and_nothing_else(number, scale):
    try:
        whole = scaled(exact(number), scale, "money")
    except InexactNumber:
        return
    assert abs(Fraction(exact(number)) * 10**scale - whole) < Fraction(1, 4)


@given(decimals, st.integers(0, 8))
def test_an_average_is_rounded_by_half_a_unit_at_most(number, scale):
    whole = rounded(number, scale, "price")
    off = abs(Fraction(number) * 10**scale - whole)
    assert off < Fraction(1, 2) or (off == Fraction(1, 2) and whole % 2 == 0)


@given(st.integers(), st.integers(1))
@example(-5, 2)
@example(5, 2)
def test_division_is_to_the_nearest_and_half_to_even(numerator, denominator):
    assert divided(numerator, denominator) == round(Fraction(numerator, denominator))
    assert divided(-numerator, denominator) == -divided(numerator, denominator)


@given(decimals, st.integers(0, 12))
def test_what_is_written_is_the_number_again(number, least):
    text = plain(number, decimals=least)
    assert Decimal(text) == number
    assert "E" not in text
    assert len(text.partition(".")[2]) >= least
    assert text == plain(Decimal(text), decimals=least)


# ----------------------------------------------------------------------------------------------------------------- clock

rules = st.sampled_from(
    ["UTC", "ny-close", "+03:00", "-05:30", "Europe/Athens", "Europe/London", "America/New_York", "Australia/Lord_Howe",
     "Pacific/Apia", "America/Sao_Paulo", "Asia/Tehran", "Africa/Casablanca", "Antarctica/Troll"]
).map(ClockRule)  # fmt: skip
moments = st.integers(0, 4_102_444_800_000)  # 1970 to 2100
steps = st.sampled_from([0, 1, 999, 60_000, 899_999, 900_000, 1_800_000, 3_600_000, 7_200_000, 86_400_000])


@given(rules, moments, steps)
def test_time_never_runs_backwards(rule, moment, step):
    assert rule.to_utc_msc(moment) <= rule.to_utc_msc(moment + step)
    assert rule.from_utc_msc(moment) <= rule.from_utc_msc(moment + step)


@given(rules, moments)
def test_the_way_back_is_the_latest_wall_time_that_is_not_after(rule, utc_msc):
    wall = rule.from_utc_msc(utc_msc)
    assert rule.to_utc_msc(wall) <= utc_msc < rule.to_utc_msc(wall + 1)


@given(rules, moments)
def test_there_and_back_is_not_earlier_and_means_the_same(rule, wall):
    back = rule.from_utc_msc(rule.to_utc_msc(wall))
    assert back >= wall
    assert rule.to_utc_msc(back) == rule.to_utc_msc(wall)


@given(st.sampled_from(["Europe/Athens", "Europe/London", "America/New_York", "Asia/Tehran", "Pacific/Apia"]), moments)
def test_a_wall_time_that_exists_is_converted_as_the_zone_defines_it(name, wall):
    zone = ZoneInfo(name)
    shown = datetime(1970, 1, 1) + timedelta(milliseconds=wall)  # noqa: DTZ001  # a wall clock has no zone
    utc = shown.replace(tzinfo=zone).astimezone(UTC)
    assume(utc.astimezone(zone).replace(tzinfo=None) == shown)
    assert ClockRule(name).to_utc_msc(wall) == (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(moments)
def test_a_time_that_was_written_is_read_again(utc_msc):
    text = utc_text(utc_msc)
    unit = 1000 if "." in text else 1_000_000
    assert moment_end_us(text) == utc_msc * 1000 + unit
    assert moment_end_us(utc_text_us(utc_msc * 1000 + 7)) == utc_msc * 1000 + 8


# ------------------------------------------------------------------------------------------------------------------ dirt

#: Multiples of a step, as lots and amounts are.
multiples = st.integers(-(10**7), 10**7)


@given(st.lists(multiples, min_size=2, max_size=5), st.integers(0, 3))
@example([10003, -10002], 2)
@example([3, -1, -2], 1)
def test_what_a_few_sums_of_doubles_leave_is_cleaned(terms, places):
    total, most = 0.0, 0
    for count, term in enumerate(terms, 1):
        total += term / 10**places
        most = max(most, abs(sum(terms[:count])))
    try:
        assert scaled(exact(total), places, "volume") == sum(terms)
    except InexactNumber:
        assert abs(sum(terms)) * 64 < most  # nearly all digits cancelled out: what is left may be anything


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 20), st.integers(0, 8))
@example(300000000001, 12, 8)
@example(92_233_720_369, 0, 8)
def test_no_decimal_of_up_to_15_digits_is_ever_rounded(digits, places, scale):
    number = Decimal(digits).scaleb(-places)
    steps = Fraction(number) * 10**scale
    is_stored = steps == int(steps) and abs(steps) < 2**63  # a multiple that fits
    for spelling in (number, str(number), f"{number:f}"):
        if is_stored:
            assert Fraction(scaled(exact(spelling), scale, "volume"), 10**scale) == Fraction(number)
        else:
            with pytest.raises(InexactNumber):
                scaled(exact(spelling), scale, "volume")


@given(st.integers(1, 10**6), st.integers(0, 6), st.integers(1, 99), st.integers(9, 13))
def test_no_decimal_next_to_a_multiple_is_ever_rounded(units, scale, digits, further):
    """Right behind a multiple of the step, where dirt is looked for."""
    number = Decimal(units).scaleb(-scale) + Decimal(digits).scaleb(-further)
    assume(len(number.normalize().as_tuple().digits) <= 15)
    assume(Fraction(number) * 10**scale != int(Fraction(number) * 10**scale))
    with pytest.raises(InexactNumber):
        scaled(exact(number), scale, "volume")
