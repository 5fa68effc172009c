"""What becomes of a recorded event: once, twice, richer, poorer, with other content, anew."""

from __future__ import annotations

from decimal import Decimal

import pytest
from attrs import evolve

from ledger import (
    AccountMismatch,
    AccountUnknown,
    BreakKind,
    DealCompleted,
    DealConflict,
    GhostClosed,
    Ledger,
    Outcome,
    PositionRecovered,
    RuleError,
    SymbolSpecified,
    VersionConflict,
)
from tools.testkit.stories import RECORDED_US, START_MSC, at, cash, fill, incomplete, left_behind, opened, state, ticking

APPENDED, COMPLETED, DUPLICATE = Outcome.APPENDED, Outcome.COMPLETED, Outcome.DUPLICATE


def kinds(account):
    return [one.kind for one in account.events()][1:]


def recorded(*events, mode="hedging"):
    account = opened(mode)
    return account, [account.record(event) for event in events]


# -------------------------------------------------------------------------------------------------------- recorded again


@pytest.mark.parametrize("event", [
    fill(1, magic=3, comment="c"), cash(1), incomplete(fill(1)), GhostClosed(before=state("long 1 @ 10"), time_msc=at(1)),
    SymbolSpecified(symbol="X", digits=5, time_msc=at(1)),
])  # fmt: skip
def test_an_event_recorded_twice_is_stored_once(event):
    account, outcomes = recorded(event, event, event)
    assert outcomes == [APPENDED, DUPLICATE, DUPLICATE]
    assert account.version == 2


def test_an_event_recorded_twice_in_one_call_is_stored_once():
    account = opened()
    assert account.record_many([fill(1), fill(1), incomplete(fill(1)), fill(2)]).outcomes == (
        APPENDED,
        DUPLICATE,
        DUPLICATE,
        APPENDED,
    )
    assert account.version == 3


@pytest.mark.parametrize("poorer", [
    {"magic": None, "comment": None, "reason": None}, {"order": None}, {"commission": None}, {"position_id": None},
    {"comment": "PARTIAL_TP"}, {"reason": 3}, {"external_id": "z"}, {"origin": "import"},
])  # fmt: skip
def test_a_poorer_or_otherwise_annotated_record_is_the_same(poorer):
    full = fill(1, magic=3, comment="c", reason=5, order=8, origin="engine")
    account, outcomes = recorded(full, evolve(full, **poorer))
    assert outcomes == [APPENDED, DUPLICATE]
    assert next(iter(account.events(after=1))).event == full


@pytest.mark.parametrize("other", [
    {"symbol": "USDJPY"}, {"side": "sell"}, {"entry": "out"}, {"volume": 2}, {"price": 11}, {"commission": -1}, {"fee": 1},
    {"swap": 1}, {"profit": 1}, {"position_id": 8}, {"time_msc": at(2)}, {"entry": 7},
])  # fmt: skip
def test_other_content_is_a_conflict_and_what_we_had_stays(other):
    account, _ = recorded(fill(1))
    with pytest.raises(DealConflict) as conflict:
        account.record(evolve(fill(1), **other))
    (field,) = other
    assert (conflict.value.deal, list(conflict.value.differences)) == (1, ["deal_type" if field == "side" else field])
    assert account.version == 2
    assert left_behind(account.portfolio) == "long 1 @ 10"


@pytest.mark.parametrize("other", [{"type": 4}, {"profit": 101}, {"commission": 1}])
def test_other_cash_is_a_conflict(other):
    account, _ = recorded(cash(1, commission=0))
    with pytest.raises(DealConflict):
        account.record(evolve(cash(1, commission=0), **other))


@pytest.mark.parametrize("swapped", [False, True])
def test_a_kind_of_cash_recorded_as_a_word_is_the_kind_recorded_as_a_code(swapped):
    records = [cash(1), cash(1, type=None, word="Einzahlung")]
    account, outcomes = recorded(*(records[::-1] if swapped else records))
    assert (outcomes, account.portfolio.balance) == ([APPENDED, DUPLICATE], 100)


def test_a_trade_is_never_recorded_again_as_cash():
    account, _ = recorded(fill(1))
    with pytest.raises(DealConflict, match="deal_type"):
        account.record(cash(1, 0, type=13, time_msc=at(1)))


def test_a_conflict_names_both_sides_as_people_write_them():
    account, _ = recorded(fill(1, volume="0.10"))
    with pytest.raises(DealConflict, match=r"volume: known 0\.1, found 0\.25; price: known 10, found 11\.5"):
        account.record(fill(1, volume="0.25", price="11.50"))


def test_conflicts_refuse_the_append_or_are_left_out():
    account = opened()
    account.record(fill(1))
    events = [fill(2), fill(1, volume=9), fill(3)]
    with pytest.raises(DealConflict):
        account.record_many(events)
    assert account.version == 2
    appended = account.ledger.journal.append(account.name, events, conflicts="keep")
    assert [type(one) for one in appended.outcomes] == [Outcome, DealConflict, Outcome]
    assert account.version == 4


@pytest.mark.parametrize(("first", "second"), [(at("1"), at("1.250")), (at("1.250"), at("1"))])
def test_seconds_and_milliseconds_are_one_deal_and_the_first_record_stays(first, second):
    account, outcomes = recorded(fill(1, time_msc=first), fill(1, time_msc=second))
    assert outcomes == [APPENDED, DUPLICATE]
    assert account.portfolio.positions[7].opened_msc == first


def test_dirt_is_no_difference():
    _, outcomes = recorded(
        fill(1, profit="-1.89", volume="0.2"), fill(1, profit=-1.8900000000000001, volume=0.30000000000000004 - 0.1)
    )
    assert outcomes == [APPENDED, DUPLICATE]


# ------------------------------------------------------------------------------------------------------------- completed


def test_a_record_that_knows_more_is_recorded_as_what_it_adds():
    account, outcomes = recorded(incomplete(fill(1, position_id=None)), fill(1, commission=-3, profit=5))
    assert outcomes == [APPENDED, COMPLETED]
    event = list(account.events())[-1].event
    assert event == DealCompleted(deal=1, time_msc=at(1), caused_by=2, position_id=7, commission=-3, fee=0, swap=0, profit=5)


def test_a_deal_may_be_completed_bit_by_bit():
    account, outcomes = recorded(
        incomplete(fill(1)),
        evolve(incomplete(fill(1)), commission=Decimal(-3)),
        fill(1, commission=-3, profit=5),
        fill(1, commission=-3, profit=5),
    )
    assert outcomes == [APPENDED, COMPLETED, COMPLETED, DUPLICATE]
    assert (account.portfolio.balance, account.portfolio.totals.deals_incomplete) == (2, 0)
    assert [one.natural_key for one in account.events()][1:] == ["deal:1", "deal:1#2", "deal:1#3"]
    with pytest.raises(DealConflict, match="commission"):
        account.record(fill(1, commission=-4, profit=5))


def test_a_completion_may_be_recorded_as_one():
    account, outcomes = recorded(incomplete(fill(1)), DealCompleted(deal=1, time_msc=at(1), caused_by=2, profit=5))
    assert (outcomes, account.portfolio.balance) == ([APPENDED, COMPLETED], 5)
    assert account.record(DealCompleted(deal=1, time_msc=at(1), caused_by=2, profit=5)) is DUPLICATE
    with pytest.raises(DealConflict):
        account.record(DealCompleted(deal=1, time_msc=at(1), caused_by=2, profit=6))


def test_what_is_not_known_cannot_be_completed():
    with pytest.raises(RuleError, match="not known"):
        opened().record(DealCompleted(deal=1, time_msc=at(1), caused_by=2, profit=5))


# --------------------------------------------------------------------------------------------------------------- revised


def test_a_revision_replaces_what_was_recorded():
    account, _ = recorded(fill(1, profit=1))
    assert account.revise(fill(1, volume=2, profit=3)) is APPENDED
    assert (left_behind(account.portfolio), account.portfolio.balance) == ("long 2 @ 10", 3)
    assert account.record(fill(1, volume=2, profit=3)) is DUPLICATE
    with pytest.raises(DealConflict):
        account.record(fill(1, profit=1))  # what the broker showed once


def test_a_revision_without_anything_new_is_none():
    account, _ = recorded(fill(1))
    assert account.revise(fill(1, comment="other")) is DUPLICATE
    assert account.revise(incomplete(fill(1))) is DUPLICATE
    assert account.version == 2


def test_a_revision_that_only_knows_more_completes():
    account, _ = recorded(incomplete(fill(1)))
    assert account.revise(fill(1, commission=-3)) is COMPLETED
    assert (account.portfolio.balance, kinds(account)) == (-3, ["FillRecorded", "DealCompleted"])


def test_a_deal_may_be_revised_twice_and_back():
    account, _ = recorded(fill(1))
    assert [account.revise(fill(1, volume=volume)) for volume in (2, 3, 1)] == [APPENDED] * 3
    assert left_behind(account.portfolio) == "long 1 @ 10"
    assert [getattr(one.event, "caused_by", None) for one in account.events()][2:] == [2, 3, 4]


def test_a_revision_may_move_a_deal_in_time_both_ways():
    account, _ = recorded(fill(1, time_msc=at(5)), fill(2, side="sell", entry="out", time_msc=at(7)))
    account.revise(fill(1, time_msc=at(9)))
    assert left_behind(account.portfolio) == "long 1 @ 10; close without opening 1"
    account.revise(fill(1, time_msc=at(3)))
    assert left_behind(account.portfolio) == "flat"
    assert account.record(fill(1, time_msc=at("3.4"))) is DUPLICATE


def test_a_revision_by_milliseconds_is_one():
    account, _ = recorded(fill(1, time_msc=at(1)))
    assert account.revise(fill(1, time_msc=at("1.5"))) is APPENDED
    assert account.portfolio.positions[7].opened_msc == at("1.5")


def test_a_revised_deal_may_be_completed():
    account, _ = recorded(fill(1, profit=1, commission=-1))
    account.revise(incomplete(fill(1, volume=2)))
    assert (account.portfolio.balance, account.portfolio.totals.deals_incomplete) == (0, 1)
    assert account.record(fill(1, volume=2, profit=7)) is COMPLETED
    assert (left_behind(account.portfolio), account.portfolio.balance) == ("long 2 @ 10", 7)


def test_a_deal_that_moved_and_was_completed_is_counted_once():
    account, _ = recorded(incomplete(fill(1)), fill(1, commission=-1))
    account.revise(incomplete(fill(1, time_msc=at(50))))
    account.record(fill(1, time_msc=at(50), commission=-5))
    assert (left_behind(account.portfolio), account.portfolio.balance) == ("long 1 @ 10", -5)


# --------------------------------------------------------------------------------------------------------- account terms


def test_nothing_is_recorded_of_an_account_that_is_not_open():
    account = Ledger.open("memory://").account("S", 1)
    with pytest.raises(AccountUnknown):
        account.record(fill(1))
    assert not account.is_open


def test_an_account_is_opened_once_and_keeps_its_terms():
    account = opened("hedging")
    assert account.open(currency="USD", mode="hedging", clock="+0", time_msc=at(99)) is DUPLICATE
    for other in ({"currency": "EUR"}, {"mode": "netting"}, {"clock": "+3"}, {"digits": 3}):
        terms = {"currency": "USD", "mode": "hedging", "clock": "UTC"} | other
        with pytest.raises(AccountMismatch, match=next(iter(other))):
            account.open(**terms)


def test_scales_of_a_symbol_may_be_recorded_before_they_are_used_and_never_change_after():
    account = opened()
    fine = SymbolSpecified(symbol="EURUSD", price_scale=3, volume_scale=2, time_msc=at(0))
    assert account.record(fine) is APPENDED
    assert account.record(evolve(fine, volume_scale=3)) is APPENDED
    account.record(fill(1))
    with pytest.raises(RuleError, match="scales"):
        account.record(evolve(fine, volume_scale=4))
    assert account.record(evolve(fine, volume_scale=3, digits=3)) is APPENDED
    assert account.record(evolve(fine, volume_scale=3, digits=3, time_msc=at(5))) is DUPLICATE


@pytest.mark.parametrize("first", [fill(1), PositionRecovered(position=state("long 1 @ 10"), time_msc=at(1))])
def test_scales_that_were_used_without_being_recorded_cannot_change(first):
    account, _ = recorded(first)
    with pytest.raises(RuleError, match="scales"):
        account.record(SymbolSpecified(symbol="EURUSD", price_scale=3, time_msc=at(0)))
    assert account.record(SymbolSpecified(symbol="EURUSD", digits=5, time_msc=at(0))) is APPENDED
    assert account.record(SymbolSpecified(symbol="USDJPY", price_scale=3, time_msc=at(0))) is APPENDED


def test_the_expected_version_is_checked_first():
    account = opened()
    account.record(fill(1), expected_version=1)
    with pytest.raises(VersionConflict) as conflict:
        account.record(fill(1), expected_version=1)
    assert (conflict.value.expected, conflict.value.found, conflict.value.retryable) == (1, 2, True)


# ------------------------------------------------------------------------------------------------------ the clock is wrong


def at_the_present(now_us=RECORDED_US, **terms):
    return opened(now_us=ticking(now_us), **terms)


NOW_MSC = RECORDED_US // 1000


@pytest.mark.parametrize(("ahead_msc", "breaks"), [(-1, 0), (59_000, 0), (61_000, 1), (3_600_000, 1)])
def test_a_deal_from_the_future_is_recorded_and_opens_a_break_of_the_clock(ahead_msc, breaks):
    account = at_the_present()
    assert account.record(fill(1, time_msc=NOW_MSC + ahead_msc)) is APPENDED
    assert [one.kind for one in account.portfolio.breaks] == [BreakKind.CLOCK] * breaks
    assert list(account.portfolio.positions) == [7]


def test_one_break_for_one_wrong_rule_however_many_deals_come_from_the_future():
    account = at_the_present()
    account.record_many([fill(deal, time_msc=NOW_MSC + 7_200_000) for deal in (1, 2)])
    account.record(cash(3, time_msc=NOW_MSC + 7_200_000))
    assert len(account.portfolio.breaks) == 1
    account.change_clock("+03:00", operator="mk", reason="the broker runs on Athens time")
    assert account.portfolio.breaks == ()
    account.record(fill(4, time_msc=NOW_MSC + 7_200_000))
    assert account.portfolio.breaks == ()


def test_the_clock_rule_of_the_account_is_what_counts():
    account = at_the_present(clock="+03:00")
    account.record(fill(1, time_msc=NOW_MSC + 3 * 3_600_000))
    assert account.portfolio.breaks == ()


def test_recorded_times_grow_even_if_our_own_clock_does_not():
    account = opened(now_us=lambda: START_MSC * 1000)
    account.record_many([fill(1, time_msc=at(-9)), fill(2, time_msc=at(-8))])
    account.record(fill(3, time_msc=at(-7)))
    assert [one.recorded_us - START_MSC * 1000 for one in account.events()] == [0, 1, 2, 3]


def test_the_future_is_recorded_from_the_recorded_time():
    moments = iter([RECORDED_US + 600_000_000, RECORDED_US])  # our clock was set back by ten minutes
    account = opened(now_us=lambda: next(moments, RECORDED_US))
    account.record(fill(1, time_msc=NOW_MSC + 300_000))
    assert account.portfolio.breaks == ()
