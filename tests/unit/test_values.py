"""Accounts, sides, codes and exact numbers."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest

from ledger import AccountId, BadValue, Entry, InexactNumber, MarginMode, Side
from ledger.values import (
    INT64_MAX,
    currency_digits,
    entry_word,
    exact,
    plain,
    rounded,
    scaled,
    signed_magic,
    to_entry,
    to_magic,
    to_margin_mode,
    to_side,
    unscaled,
    unsigned_magic,
)
from tools.testkit.stories import fill, opened

# -------------------------------------------------------------------------------------------------------------- accounts


@pytest.mark.parametrize("text", ["Broker-Live/70113", "My Broker Ltd./1", "x/0", f"x/{INT64_MAX}"])
def test_an_account_is_read_as_it_is_written(text):
    assert str(AccountId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Broker",
        "70113",
        "/1",
        " /1",
        "a/b/1",
        "Broker/",
        "Broker/x",
        "Broker/-1",
        "x/1.5",
        f"x/{2**63}",
        "x\x00/1",
        "\udcff/1",
    ],
)
def test_what_is_no_account_is_refused(text):
    with pytest.raises(BadValue):
        AccountId.parse(text)


@pytest.mark.parametrize("login", [None, 1.5, Decimal("7.1"), True, float("inf"), float("nan"), [], "1e3"])
def test_a_login_is_a_whole_number(login):
    with pytest.raises(BadValue):
        AccountId("Broker", login)


def test_accounts_are_ordered_by_server_and_login():
    assert sorted([AccountId("b", 1), AccountId("a", 10), AccountId("a", 9)]) == [
        AccountId("a", 9), AccountId("a", 10), AccountId("b", 1),
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(("value", "side"), [
    ("buy", Side.BUY), (" BUY ", Side.BUY), ("Sell", Side.SELL), (0, Side.BUY), (1, Side.SELL), (Side.SELL, Side.SELL),
])  # fmt: skip
def test_a_side_is_read_from_words_and_codes(value, side):
    assert to_side(value) is side
    assert to_side(side.code) is side
    assert side.opposite.opposite is side
    assert side.opposite is not side


@pytest.mark.parametrize("value", ["", "long", "0", 2, -1, None, True, False, [], 0.5])
def test_what_is_no_side_is_refused(value):
    with pytest.raises(BadValue):
        to_side(value)


@pytest.mark.parametrize(("value", "entry", "word"), [
    ("in", Entry.IN, "in"), (" IN/OUT ", Entry.IN_OUT, "in/out"), ("out by", Entry.OUT_BY, "out by"), (1, Entry.OUT, "out"),
    ("3", Entry.OUT_BY, "out by"), (9, 9, "9"), ("17", 17, "17"), (INT64_MAX, INT64_MAX, str(INT64_MAX)),
])  # fmt: skip
def test_an_entry_is_read_from_words_and_codes_and_unknown_codes_are_stored(value, entry, word):
    assert to_entry(value) == entry
    assert isinstance(to_entry(value), Entry) == isinstance(entry, Entry)
    assert entry_word(to_entry(value)) == word


@pytest.mark.parametrize("value", ["", "inout", "-1", "1.5", "²", -1, 1.5, Decimal("0.5"), None, True, 2**63, float("nan")])
def test_what_is_no_entry_is_refused(value):
    with pytest.raises(BadValue):
        to_entry(value)


@pytest.mark.parametrize(("value", "mode"), [
    ("hedging", MarginMode.HEDGING), ("Hedge", MarginMode.HEDGING), ("RETAIL_HEDGING", MarginMode.HEDGING),
    ("netting", MarginMode.NETTING), ("Net", MarginMode.NETTING), ("retail netting", MarginMode.NETTING),
    ("Exchange", MarginMode.EXCHANGE), (0, MarginMode.NETTING), (1, MarginMode.EXCHANGE), (2, MarginMode.HEDGING),
])  # fmt: skip
def test_a_margin_mode_is_read_from_words_and_codes(value, mode):
    assert to_margin_mode(value) is mode
    assert mode.nets == (mode is not MarginMode.HEDGING)


@pytest.mark.parametrize("value", ["", "demo", "3", 3, -1, None, True, False, 1.5])
def test_a_margin_mode_is_never_guessed(value):
    with pytest.raises(BadValue):
        to_margin_mode(value)


@pytest.mark.parametrize(("currency", "digits"), [
    ("USD", 2), ("eur", 2), ("JPY", 0), ("KWD", 3), ("BTC", 8), ("IDR", 2), ("XYZ", 2),
])  # fmt: skip
def test_a_currency_is_shown_with_its_own_number_of_decimals(currency, digits):
    assert currency_digits(currency) == digits


# --------------------------------------------------------------------------------------------------------------- numbers


class LoudFloat(float):
    """A float that writes itself as numpy's does."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"


@pytest.mark.parametrize(("value", "number"), [
    (0.1, "0.1"), (1e22, "1e22"), (-0.0, "0"), (5, "5"), ("1.50", "1.50"), (" 7 ", "7"), (Decimal("2.5"), "2.5"),
    (-1.8900000000000001, "-1.8900000000000001"), (5e-324, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e308"),
    (LoudFloat(1.25), "1.25"), ("-37.63", "-37.63"),
])  # fmt: skip
def test_a_number_is_read_through_its_shortest_text(value, number):
    assert exact(value) == Decimal(number)


@pytest.mark.parametrize(
    "value",
    ["", "x", "NaN", "inf", float("nan"), float("-inf"), Decimal("sNaN"), True, None, [], "1,5", Fraction(1, 2), "1e999999",
     Decimal("1e-999999"), "1.2.3"],
)  # fmt: skip
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InexactNumber):
        exact(value)


@pytest.mark.parametrize(("number", "scale", "whole"), [
    ("1.5", 2, 150), ("-1.5", 2, -150), ("0", 8, 0), ("1e3", 0, 1000), ("1.50000000000000000000", 1, 15),
    ("-1.8900000000000001", 2, -189), ("0.19999999999999998", 1, 2), ("0.30000000000000004", 8, 30_000_000),
    ("9223372036854775807", 0, INT64_MAX), ("-9223372036854775807", 0, -INT64_MAX), ("92233720368.54775807", 8, INT64_MAX),
    ("5.551115123125783e-17", 8, 0), ("-5.551115123125783e-17", 8, 0),  # 0.1 + 0.2 - 0.3
])  # fmt: skip
def test_a_number_is_scaled_and_dirt_goes(number, scale, whole):
    assert scaled(Decimal(number), scale, "volume") == whole


@pytest.mark.parametrize(("number", "scale"), [
    ("1.005", 2), ("0.5", 0), ("0.001", 2), ("1.23456789", 6), ("0.123456789", 8), ("-0.0000001", 6), ("1.0001", 3),
    ("9223372036854775808", 0), ("92233720368.54775808", 8), ("1e30", 2), ("-1e30", 2), ("1e399", 8),
    ("100000000000000.4", 0),  # a double of this size could be any of its neighbours
    ("35184372088832.123456789", 6),
])  # fmt: skip
def test_a_number_that_does_not_fit_is_refused_and_never_rounded(number, scale):
    with pytest.raises(InexactNumber, match=r"volume .* does not fit"):
        scaled(Decimal(number), scale, "volume")


@pytest.mark.parametrize("scale", [0, 2, 8])
def test_half_a_unit_is_never_mistaken_for_dirt(scale):
    unit = Decimal(1).scaleb(-scale)
    for units in (0, 1, 10**6, 10**12, 10**14, 10**15):
        with pytest.raises(InexactNumber):
            scaled(unit * units + unit / 2, scale, "price")


def test_the_precision_that_an_engine_set_changes_no_number():
    with decimal.localcontext() as context:
        context.prec, context.rounding = 2, decimal.ROUND_DOWN
        assert scaled(Decimal("123456789.12"), 6, "money") == 123_456_789_120_000
        assert unscaled(123_456_789_120_000, 6) == Decimal("123456789.12")
        assert rounded(Decimal("145.8066666666667"), 8, "price") == 14_580_666_667
        assert scaled(Decimal("-1.8900000000000001"), 2, "money") == -189
        with pytest.raises(InexactNumber):
            scaled(Decimal("123456789.123"), 2, "money")


@pytest.mark.parametrize(("number", "whole"), [
    ("145.8066666666667", 14581), ("0.005", 0), ("0.015", 2), ("0.025", 2), ("-0.015", -2), ("7", 700),
])  # fmt: skip
def test_an_average_is_rounded_half_to_even(number, whole):
    assert rounded(Decimal(number), 2, "price") == whole


def test_an_average_that_does_not_fit_is_refused():
    with pytest.raises(InexactNumber, match="price"):
        rounded(Decimal("1e30"), 8, "price")


@pytest.mark.parametrize(("number", "decimals", "text"), [
    ("1.50", 0, "1.5"), ("1.50", 2, "1.50"), ("1.505", 2, "1.505"), ("100", 0, "100"), ("1E+3", 2, "1000.00"),
    ("-0.00", 0, "0"), ("-0.00", 2, "0.00"),
    ("0E+5", 0, "0"), ("1E-8", 0, "0.00000001"), ("-5", 2, "-5.00"), ("0.10", 8, "0.10000000"),
])  # fmt: skip
def test_a_number_is_written_without_exponent_and_trailing_zeros(number, decimals, text):
    assert plain(Decimal(number), decimals=decimals) == text


def test_the_dirt_of_a_large_double_is_seen_at_the_decimals_that_the_amount_has():
    dirty = exact(1234567890.1200001)
    with pytest.raises(InexactNumber):
        scaled(dirty, 6, "profit")
    assert scaled(dirty, 6, "profit", step=2) == 1_234_567_890_120_000
    with pytest.raises(InexactNumber) as refused:
        scaled(Decimal("0.1234567"), 6, "profit", step=2)
    assert refused.value.what == "profit"


@pytest.mark.parametrize("number", [
    "0.300000000001", "1.000000000001", "0.1000000000001", "0.30000000000001", "1.10000000000001", "100.000000000001",
    "0.000000000001", "-0.300000000001", "0.30000000000000001", "9.999999999999999999999999999", "1e-15", "0.123456780000001",
])  # fmt: skip
@pytest.mark.parametrize("scale", [2, 8])
def test_a_decimal_below_the_scale_is_no_dirt_however_small(number, scale):
    with pytest.raises(InexactNumber, match=f"at most {scale} decimals"):
        scaled(exact(number), scale, "volume")


@pytest.mark.parametrize(("number", "whole"), [
    (0.1 + 0.2, 30_000_000), (0.3 - 0.1, 20_000_000), (0.3 - 0.1 - 0.2, 0), (1.1 * 3, 330_000_000),
    (-1.8900000000000001, -189_000_000),
    (1000.1 - 1000, 10_000_000), (sum([0.01] * 10), 10_000_000),
])  # fmt: skip
def test_what_arithmetic_on_doubles_leaves_is_cleaned_as_a_float_and_as_its_text(number, whole):
    assert scaled(exact(number), 8, "volume") == whole
    assert scaled(exact(repr(number)), 8, "volume") == whole


@pytest.mark.parametrize(
    "number", ["0.10000000000000001", "1.1000000000000001", "0.10000000000000000555", "0.1000000000000000055511151231257827"]
)
def test_a_double_may_be_written_with_more_digits_than_it_needs(number):
    assert scaled(exact(number), 2, "volume") == round(float(number) * 100)


def test_a_float_below_the_scale_is_refused_too():
    for number in (0.300000000001, 1.000000000001, 0.1000000000001, 1e-12):
        with pytest.raises(InexactNumber):
            scaled(exact(number), 8, "volume")


def test_what_cancellation_leaves_is_dirt_of_a_float_and_a_digit_of_a_decimal():
    short = 16.45 - 16.44
    assert repr(short) == "0.00999999999999801"  # 15 digits, and none of the bits below those of 16
    assert scaled(exact(short), 2, "profit") == 1
    with pytest.raises(InexactNumber):
        scaled(exact(repr(short)), 2, "profit")


def test_a_float_that_was_cleaned_makes_no_equal_decimal_clean():
    account = opened()
    for commission in (16.45 - 16.44, 16.45 - 16.44):
        account.record(fill(1, commission=commission))
    assert account.portfolio.totals.commission == Decimal("0.01")
    with pytest.raises(InexactNumber):
        account.record(fill(2, commission=Decimal("0.00999999999999801")))


@pytest.mark.parametrize(("value", "magic"), [
    (0, 0), (7, 7), ("7", 7), (-7, 2**64 - 7), (2**63, 2**63), (2**64 - 1, 2**64 - 1), (-(2**63), 2**63), (-1, 2**64 - 1),
])  # fmt: skip
def test_a_magic_number_is_unsigned_as_the_terminal_shows_it(value, magic):
    assert to_magic(value) == magic
    stored = signed_magic(magic)
    assert stored is not None
    assert -(2**63) <= stored < 2**63
    assert unsigned_magic(stored) == magic


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 1.0, "x", True, None, "1.0"])
def test_what_is_no_magic_number_is_refused(value):
    with pytest.raises(BadValue, match="a magic number"):
        to_magic(value)
