"""Facts are checked once, when they are built."""

from __future__ import annotations

import numbers
from decimal import Decimal
from typing import Any

import attrs
import pytest

from ledger import (
    AccountOpened,
    Adjusted,
    BadValue,
    BalanceAsserted,
    BreakClosed,
    BreakOpened,
    CashMoved,
    ClockRule,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Entry,
    FillRecorded,
    GhostClosed,
    InexactNumber,
    MarginMode,
    Origin,
    PositionRecovered,
    PositionState,
    Side,
    SymbolSpecified,
    SyncDegraded,
)
from ledger.codec import KINDS
from tools.testkit.stories import at, cash, fill, state


def test_a_fill_accepts_the_words_and_the_codes_of_mt5():
    words = fill(1, side="sell", entry="in/out", volume="0.10", price=1.1, origin="import")
    codes = fill(1, side=1, entry=2, volume=0.1, price="1.1", origin=Origin.IMPORT)
    assert words == codes
    assert (words.side, words.entry, words.volume) == (Side.SELL, Entry.IN_OUT, Decimal("0.10"))


def test_what_mt5_writes_for_nothing_is_unknown():
    made = fill(1, order=0, position_id="0", comment="", external_id="", magic=0)
    assert (made.order, made.position_id, made.comment, made.external_id) == (None, None, None, None)
    assert made.magic == 0  # 0 is a magic number


def test_a_ticket_may_be_larger_than_32_bits():
    assert fill(50_629_002_942, time_msc=at(1), position_id=2**63 - 2).position_id == 2**63 - 2


@pytest.mark.parametrize("code", [0, 9, 10, 4711, 2**31 - 1])
def test_a_reason_that_nobody_documented_is_stored(code):
    assert fill(1, reason=code).reason == code


@pytest.mark.parametrize(("field", "value"), [
    ("deal", 0), ("deal", -1), ("deal", 2**63), ("deal", 2**63 - 1), ("deal", 1.5), ("deal", Decimal("1.5")), ("deal", True),
    ("deal", "x"),    ("deal", None), ("deal", float("nan")), ("deal", float("inf")),
    ("symbol", ""), ("symbol", "  "), ("symbol", "EUR\0USD"), ("symbol", "\ud800"), ("symbol", None),
    ("symbol", 5), ("comment", 5), ("comment", b"x"),
    ("side", 2), ("side", "long"), ("entry", "inout"), ("entry", -1), ("entry", None), ("entry", 0.5),
    ("volume", 0), ("volume", "-1"), ("position_id", -1), ("position_id", 2**63), ("order", "x"),
    ("time_msc", -1), ("time_msc", 2**48), ("time_msc", 1_767_607_200_000_000), ("time_msc", None),
    ("magic", 2**64), ("magic", -(2**63) - 1), ("reason", -1), ("comment", "a\0b"), ("origin", "somebody"),
])  # fmt: skip
def test_a_fill_that_cannot_be_is_refused(field, value):
    with pytest.raises(BadValue):
        fill(**({"deal": 1, "time_msc": at(1)} | {field: value}))


@pytest.mark.parametrize("field", ["volume", "price", "commission", "fee", "swap", "profit"])
@pytest.mark.parametrize("value", ["NaN", float("inf"), "x", True, "1e999999"])
def test_what_is_no_number_is_refused_in_a_fill(field, value):
    with pytest.raises(InexactNumber):
        fill(1, **{field: value})


@pytest.mark.parametrize("price", [0, "-37.63"])
def test_a_price_may_be_anything(price):
    assert fill(1, price=price).price == Decimal(str(price))


def test_unknown_money_is_none_and_never_zero():
    made = FillRecorded(deal=1, symbol="X", side="buy", entry="in", volume=1, price=1, time_msc=0)
    assert (made.commission, made.fee, made.swap, made.profit, made.position_id) == (None,) * 5


@pytest.mark.parametrize("code", [0, 1])
def test_a_trade_is_no_cash_movement(code):
    with pytest.raises(BadValue, match="FillRecorded"):
        cash(1, type=code)


def test_a_cash_movement_needs_its_type():
    with pytest.raises(BadValue, match="type"):
        CashMoved(deal=1, type=None, profit=1, time_msc=0)


@pytest.mark.parametrize(("fields", "kind"), [
    ({"type": 2}, "balance"), ({"type": 17}, "tax"), ({"type": 99}, "type 99"), ({"type": None, "word": "so comp"}, "so comp"),
])  # fmt: skip
def test_a_cash_movement_states_what_kind_it_is(fields, kind):
    assert cash(1, **fields).kind == kind


@pytest.mark.parametrize("volume", ["0", "0.5", None])
def test_a_cash_movement_may_have_a_volume_but_no_sign(volume):
    assert cash(1, volume=volume).volume == (None if volume is None else Decimal(volume))
    with pytest.raises(BadValue):
        cash(1, volume="-0.1")


def test_a_revision_has_the_ticket_of_its_deal():
    revised = DealRevised(now=fill(5, time_msc=at(9)), caused_by=3)
    assert (revised.deal, revised.time_msc) == (5, at(9))


@pytest.mark.parametrize(("make", "about"), [
    (lambda: PositionRecovered(position=state("long 1 @ 10", 5), time_msc=0), 5),
    (lambda: GhostClosed(before=state("long 1 @ 10", 6), time_msc=0), 6),
    (lambda: DriftCorrected(before=state("long 1 @ 10", 7), after=state("short 1 @ 10", 7), time_msc=0), 7),
    (lambda: Adjusted(operator="mk", reason="r", time_msc=0, before=state("long 1 @ 10", 8)), 8),
    (lambda: Adjusted(operator="mk", reason="r", time_msc=0), None),
])  # fmt: skip
def test_a_correction_states_which_position_it_is_about(make, about):
    event = make()
    assert (event.position_id, event.symbol) == (about, "EURUSD" if about else None)


def test_a_state_may_come_as_plain_fields():
    seen: dict[str, Any] = {"position_id": 7, "symbol": "EURUSD", "side": "buy", "volume": "1", "price_open": "10"}
    assert PositionRecovered(position=seen, time_msc=0) == PositionRecovered(position=PositionState(**seen), time_msc=0)


@pytest.mark.parametrize("wrong", [
    {"operator": ""}, {"operator": "  "}, {"reason": ""}, {"balance_after": 5}, {"balance_before": 5}, {"credit_after": 5},
    {"clock_after": "UTC"}, {"clock_after": "nowhere", "clock_before": "UTC"},
])  # fmt: skip
def test_a_person_s_correction_states_who_why_and_both_figures(wrong):
    with pytest.raises(BadValue):
        Adjusted(**({"operator": "mk", "reason": "r", "time_msc": 0} | wrong))


@pytest.mark.parametrize("make", [
    lambda: BreakOpened(kind="oddity", time_msc=0),
    lambda: BreakClosed(kind="ghost", end="forgotten", time_msc=0, caused_by=1),
    lambda: BreakClosed(kind="ghost", end="vanished", time_msc=0, caused_by=0),
    lambda: DealCompleted(deal=1, time_msc=0, caused_by=0),
    lambda: SyncDegraded(reason="", time_msc=0),
    lambda: SymbolSpecified(symbol="X", time_msc=0, digits=16),
    lambda: SymbolSpecified(symbol="X", time_msc=0, volume_step=0),
])  # fmt: skip
def test_other_facts_are_checked_too(make):
    with pytest.raises(BadValue):
        make()


def test_the_opening_figure_may_be_negative_and_credit_unknown():
    assert BalanceAsserted(balance="-12.5", time_msc=0).credit is None


def opened_event(**terms: Any) -> AccountOpened:
    fields: dict[str, Any] = {
        "server": "S",
        "login": 1,
        "currency": "USD",
        "currency_digits": 2,
        "mode": "hedging",
        "clock": "+3",
        "time_msc": 0,
    }
    return AccountOpened(**(fields | terms))


def test_an_account_is_opened_with_words():
    event = opened_event()
    assert (event.mode, event.clock, event.money_scale) == (MarginMode.HEDGING, ClockRule("+03:00"), 6)


@pytest.mark.parametrize(("digits", "scale"), [(0, 6), (2, 6), (6, 6), (8, 8)])
def test_money_is_stored_with_at_least_the_decimals_of_its_currency(digits, scale):
    assert opened_event(currency_digits=digits).money_scale == scale


@pytest.mark.parametrize("wrong", [{"server": " "}, {"currency": ""}, {"login": -1}, {"mode": "x"}, {"currency_digits": 16}])
def test_an_account_that_cannot_be_is_refused(wrong):
    with pytest.raises(BadValue):
        opened_event(**wrong)


@pytest.mark.parametrize("cls", [cls for cls, _ in KINDS.values()], ids=lambda cls: cls.__name__)
def test_every_fact_is_frozen_and_keyword_only_and_has_a_time(cls):
    assert all(field.kw_only for field in attrs.fields(cls))
    assert hasattr(cls, "time_msc") or "time_msc" in attrs.fields_dict(cls)
    event = object.__new__(cls)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.time_msc = 0


def test_whole_numbers_of_other_libraries_are_whole_numbers():
    class Whole:
        def __int__(self) -> int:
            return 5

        def __eq__(self, other: object) -> bool:
            return other == 5

        __hash__ = None  # type: ignore[assignment]

    numbers.Integral.register(Whole)
    assert fill(Whole(), time_msc=0).deal == 5  # type: ignore[arg-type]
