"""What events mean: stories of positions, money, late history and corrections."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from ledger import (
    AccountOpened,
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakEnd,
    BreakKind,
    BreakOpened,
    ClockRule,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Event,
    InexactNumber,
    Outcome,
    Portfolio,
    PositionRecovered,
    RuleError,
    Side,
    SymbolSpecified,
    SyncDegraded,
    SyncRestored,
    VersionGap,
)
from ledger.clock import utc_text
from ledger.values import plain
from ledger.views import CLOSE_WITHOUT_OPENING, GHOST_RESULT
from tools.testkit.every_event import EVENTS
from tools.testkit.stories import Story, at, cash, fill, incomplete, left_behind, opened, play, shown, state

DAY_MSC = 86_400_000

# --------------------------------------------------------------------------------------------------- positions: netting


@pytest.mark.parametrize(
    ("fills", "left"),
    [
        ("buy 1 @ 10", "long 1 @ 10"),
        ("buy 1 @ 1.10, buy 0.5 @ 1.103", "long 1.5 @ 1.101"),  # exact average
        ("buy 1 @ 1, buy 2 @ 2", "long 3 @ 1.66666667"),  # rounded once, half to even
        ("buy 2 @ 10, sell 1 @ 30", "long 1 @ 10"),  # reducing: the open price stays
        ("buy 2 @ 10, sell 1 @ 30, buy 1 @ 20", "long 2 @ 15"),  # adding: over the remaining volume
        ("buy 1 @ 10, sell 1 @ 12", "flat"),
        ("sell 1 @ 10, buy 1 @ 12", "flat"),
        ("buy 1 @ 10, sell 3 @ 30", "short 2 @ 30"),  # reversal: the open price restarts
        ("sell 1 @ 10, buy 3 @ 30", "long 2 @ 30"),
        ("buy 1 @ 10, sell 3 @ 30, buy 2 @ 20", "flat"),
        ("buy 1 @ 10, sell 3 @ 30, sell 2 @ 20", "short 4 @ 25"),
        ("buy 1 @ 10, sell 1 @ 12, sell 1 @ 13", "short 1 @ 13"),  # a new trade after flat
        ("buy 1 @ 10, buy 1 USDJPY @ 150", "long 1 @ 10, USDJPY long 1 @ 150"),
        ("buy 1 @ -37.63, buy 1 @ 0.01", "long 2 @ -18.81"),  # prices can be negative
        ("buy 0.01 @ 63250.75, buy 0.02 @ 63250.76", "long 0.03 @ 63250.75666667"),
    ],
)
@pytest.mark.parametrize("mode", ["netting", "exchange"])
def test_what_fills_leave_behind(mode, fills, left):
    assert play(fills, mode) == left


def test_one_position_of_a_symbol_is_found_by_its_symbol():
    story = Story().record("buy 1 @ 10, sell 2 USDJPY @ 150")
    found = story.portfolio.position_of("USDJPY")
    assert found is not None
    assert (found.side, found.volume) == (Side.SELL, 2)
    assert story.portfolio.position_of("GBPUSD") is None


def test_five_reversals_in_one_second_are_found_in_the_order_of_their_tickets():
    story = Story().record(
        "t1 d1 buy 1 @ 10, t1 d2 sell 2 @ 11, t1 d3 buy 3 @ 12, t1 d4 sell 4 @ 13, t1 d5 buy 5 @ 14, t1 d6 sell 6 @ 15"
    )
    assert story.left == "short 3 @ 15"
    assert story.trades == [
        "long 1 @ 10 to 11, 0", "short 1 @ 11 to 12, 0", "long 2 @ 12 to 13, 0", "short 2 @ 13 to 14, 0",
        "long 3 @ 14 to 15, 0",
    ]  # fmt: skip


def test_a_reversal_is_one_deal_in_two_trades_of_one_position_id():
    story = Story().record("d5 buy 1 @ 10").record(
        fill(6, side="sell", entry="in/out", volume=3, price=12, position_id=5, order=99, profit=2, swap="-0.5",
             commission="-3", fee="-0.9", magic=4)
    )  # fmt: skip
    closed, position = next(story.account.trades()), story.portfolio.positions[5]
    assert (closed.position_id, closed.profit, closed.swap, closed.price_close) == (5, 2, Decimal("-0.5"), 12)
    assert (closed.commission, closed.fee) == (-1, Decimal("-0.3"))  # shared by volume: a third closed
    assert (position.ticket, position.magic, position.opened_msc) == (99, 4, at(6))  # ticket of the reversing order
    assert story.balance == "-2.4"
    assert story.portfolio.totals.deals == 2


def test_a_reversal_recorded_twice_is_still_one_deal():
    story = Story().record("t1 d5 buy 1 @ 10")
    reversal = fill(6, side="sell", entry="in/out", volume=3, price=12, position_id=5, profit=2)
    story.record(reversal).record(reversal)
    assert story.outcomes[-2:] == [Outcome.APPENDED, Outcome.DUPLICATE]
    assert (story.left, story.balance) == ("short 2 @ 12", "2")


def test_a_reversal_whose_money_is_not_recorded_leaves_the_closed_trade_incomplete():
    story = Story().record("d5 buy 1 @ 10, d6 sell 3 @ 12 incomplete")
    assert [trade.complete for trade in story.account.trades()] == [False]


def test_a_reversal_of_nothing_known_opens_nothing():
    assert play("in/out sell 3 @ 12") == "flat; close without opening 3"


# --------------------------------------------------------------------------------------------------- positions: hedging


@pytest.mark.parametrize(
    ("fills", "left"),
    [
        ("#11 buy 2 @ 10, #12 sell 1 @ 11, #11 out sell 0.5 @ 12", "#11 long 1.5 @ 10, #12 short 1 @ 11"),
        ("#11 in buy 1 @ 10, #11 in buy 1 @ 20", "#11 long 2 @ 15"),  # an order that fills in parts
        ("#11 buy 1 @ 10, #11 out sell 1.5 @ 12", "flat; close without opening 0.5"),  # never the other side
        ("#11 out sell 1 @ 12", "flat; close without opening 1"),
        ("#11 buy 1 @ 10, #11 out sell 1 @ 12, #11 out sell 1 @ 12", "flat; close without opening 1"),
        ("#11 buy 1 @ 10, #11 out sell 1 @ 12, #11 in buy 2 @ 13", "#11 long 2 @ 13"),  # the rest of the order fills
        ("#12 buy 1 @ 10, #11 sell 1 @ 10", "#11 short 1 @ 10, #12 long 1 @ 10"),
        ("#11 buy 1 @ 10, #11 in sell 2 @ 11", "#11 short 2 @ 11; ghost result 1"),  # it closed before, and nobody recorded it
        ("#11 out sell 1 @ 12, #12 out sell 2 @ 12", "flat; close without opening 1; close without opening 2"),
        ("#11 out sell 1 @ 12, #11 out sell 2 @ 12", "flat; close without opening 3"),
        ("#11 out sell 1 @ 12, #11 out buy 2 @ 12", "flat; close without opening 1; close without opening 2"),
    ],
)
def test_what_fills_leave_behind_on_a_hedging_account(fills, left):
    assert play(fills, "hedging") == left


def test_a_close_by_is_two_deals_and_the_larger_position_survives():
    story = Story("hedging").record(
        "#11 buy 1 @ 10, #12 sell 0.4 @ 12, #11 out by sell 0.4 @ 12 profit 80, #12 out by buy 0.4 @ 10"
    )
    assert (story.left, story.balance) == ("#11 long 0.6 @ 10", "80")
    assert story.trades == ["short 0.4 @ 12 to 10, 0"]  # the whole result is booked on the other leg


def test_a_close_by_in_one_second_does_not_depend_on_which_leg_comes_first():
    legs = ["t3 #11 out by sell 1 @ 12 profit 200", "t3 #12 out by buy 1 @ 10"]
    for first, second in (legs, legs[::-1]):
        story = Story("hedging").record(f"#11 buy 1 @ 10, #12 sell 1 @ 12, {first}, {second}")
        assert (story.left, story.balance) == ("flat", "200")


def test_a_stop_out_closes_part_and_books_its_cash():
    story = Story("hedging").record("deposit 100, #11 buy 1 @ 10, #11 out sell 0.6 @ 4 profit -90 commission -1")
    assert (story.left, story.balance) == ("#11 long 0.4 @ 10", "9")


def test_a_position_without_an_id_is_known_by_its_order_until_the_id_is_recorded():
    account = opened("hedging")
    account.record(fill(1, position_id=None, order=55))
    assert list(account.portfolio.positions) == [55]
    account.record(fill(1, position_id=56, order=55))
    assert list(account.portfolio.positions) == [56]


def test_an_entry_that_nobody_documented_is_stored_and_counts_its_money():
    account = opened("hedging")
    account.record(fill(1, entry=9, profit=5, reason=77))
    event: Any = list(account.events())[-1].event
    assert (event.entry, event.reason) == (9, 77)
    assert account.portfolio.balance == 5


# ----------------------------------------------------------------------------------------------------------------- money


@pytest.mark.parametrize(
    ("recorded", "balance"),
    [
        ("buy 1 @ 10 commission -3.5", "-3.5"),
        ("buy 1 @ 10 commission -3, sell 1 @ 10 commission -3", "-6"),
        ("buy 2 @ 10, sell 1 @ 12 profit 20 swap -1.5 fee -0.25 commission -0.1", "18.15"),
        ("buy 1 @ 10, sell 1 @ 12 profit 2, buy 1 @ 10, sell 1 @ 13 profit 3", "5"),  # an old result still counts
        ("deposit 1000, withdrawal -400, dividend 7, dividend franked 1, tax -3, interest 2, charge -1", "606"),
        ("commission -1, commission daily -2, commission monthly -3, bonus 10, correction -0.01", "3.99"),
        ("commission agent daily 1, commission agent monthly 2", "3"),
        ("deposit 10, buy canceled 0, sell canceled 0, balance 5", "15"),
    ],
)
def test_the_balance_is_the_sum_of_all_money(recorded, balance):
    assert Story().record(recorded).balance == balance


@pytest.mark.parametrize("code", [2, *range(4, 18), 18, 40, 99999])
def test_every_kind_of_cash_counts_and_is_stored(code):
    account = opened()
    account.record(cash(1, "12.34", type=code))
    assert account.portfolio.balance == Decimal("12.34")
    assert account.portfolio.positions == {}
    assert list(account.portfolio.totals.cash.values()) == [Decimal("12.34")]
    event: Any = list(account.events())[-1].event
    assert event.type == code


def test_a_kind_of_cash_without_a_code_is_stored_by_its_word():
    account = opened()
    account.record(cash(1, 5, type=None, word="so compensation"))
    assert account.portfolio.totals.cash == {"so compensation": 5}
    assert account.portfolio.balance == 5


def test_credit_is_counted_apart():
    story = Story().record("deposit 100, credit 50, credit -20")
    assert (story.balance, story.portfolio.credit) == ("100", 30)


def test_cash_with_a_volume_and_an_entry_is_no_position():
    account = opened()
    account.record(cash(1, 50, type=3, entry="in", volume=0, symbol=""))
    assert (left_behind(account.portfolio), account.portfolio.credit) == ("flat", 50)


@pytest.mark.parametrize(
    ("currency", "amount", "shown_as"),
    [
        ("JPY", "1234567", "1234567"),
        ("BTC", "0.00000001", "0.00000001"),
        ("IDR", "987654321012.34", "987654321012.34"),
        ("KWD", "1.234", "1.234"),
        ("USD", "-1.8900000000000001", "-1.89"),
    ],
)
def test_money_of_any_currency_is_exact(currency, amount, shown_as):
    account = opened(currency=currency)
    account.record(cash(1, amount))
    account.record(cash(2, amount))
    account.record(cash(3, str(-Decimal(amount))))
    assert plain(account.portfolio.balance) == shown_as
    assert account.portfolio.money_text(account.portfolio._balance()).startswith(shown_as)


def test_the_engine_s_own_precision_of_decimals_changes_nothing():
    story = Story("hedging").record(
        "deposit 123456789.12, #7 buy 1234567.89 @ 12345.6789, #7 out sell 1 @ 1, t9 drift #7 long 5 @ 1"
    )
    with decimal.localcontext() as context:
        context.prec = 3
        again = Story("hedging").record(
            "deposit 123456789.12, #7 buy 1234567.89 @ 12345.6789, #7 out sell 1 @ 1, t9 drift #7 long 5 @ 1"
        )
        assert (again.left, again.balance) == (story.left, story.balance)
    assert story.balance == "123456789.12"
    assert story.left == "#7 long 5 @ 1; ghost result 1234561.89"


def test_averages_are_shown_with_the_digits_of_the_symbol_and_three_more():
    account = opened()
    account.record(SymbolSpecified(symbol="EURUSD", digits=3, time_msc=at(0)))
    account.record(fill(1, price=1))
    account.record(fill(2, price=2, volume=2))
    assert account.portfolio.positions[7].price_open == Decimal("1.666667")


# ----------------------------------------------------------------------------- recorded again, completed, revised: money


def test_a_completion_counts_money_and_moves_no_volume():
    account = opened()
    account.record(incomplete(fill(1)))
    assert account.portfolio.totals.deals_incomplete == 1
    full = fill(1, commission="-3", swap=1, profit=0, fee=0)
    assert [account.record(full), account.record(full)] == [Outcome.COMPLETED, Outcome.DUPLICATE]
    assert (left_behind(account.portfolio), account.portfolio.balance) == ("long 1 @ 10", -2)
    assert account.portfolio.totals.deals_incomplete == 0
    assert account.portfolio.totals.deals == 1


def test_a_trade_is_complete_once_its_money_is_recorded():
    account = opened("hedging")
    closing = fill(2, side="sell", entry="out", profit=3)
    account.record(fill(1))
    account.record(incomplete(closing))
    assert [trade.complete for trade in account.trades()] == [False]
    account.record(closing)
    assert [(trade.complete, trade.profit) for trade in account.trades()] == [(True, 3)]


def test_a_cancelled_deal_undoes_what_it_did():
    account = opened("hedging")
    account.record(fill(1, commission=-1))
    account.record(fill(2, side="sell", entry="out", volume="0.5", profit=40))
    account.revise(cash(2, 0, type=14, symbol="EURUSD", entry="out", volume="0.5", price=10, position_id=7))
    assert (left_behind(account.portfolio), account.portfolio.balance) == ("long 1 @ 10", -1)
    account.record(cash(3, -40))  # the money is moved by a balance deal of its own
    assert account.portfolio.balance == -41


def test_a_revision_may_turn_cash_into_a_fill():
    account = opened()
    account.record(cash(1, 5))
    account.revise(fill(1, profit=2))
    assert (left_behind(account.portfolio), account.portfolio.balance) == ("long 1 @ 10", 2)


def test_a_deal_that_was_revised_to_a_later_time_is_folded_there():
    account = opened("hedging")
    account.record(fill(1, time_msc=at(1)))
    account.revise(fill(1, time_msc=at(100)))
    assert account.portfolio.positions[7].opened_msc == at(100)
    account.record(fill(2, time_msc=at(50), side="sell", entry="out"))
    for portfolio in (account.portfolio, account.replay()):
        assert left_behind(portfolio) == "long 1 @ 10; close without opening 1"


# ---------------------------------------------------------------------------------------------------------- late history


@pytest.mark.parametrize(
    ("recorded", "left"),
    [
        # a closing deal, then its opening
        ("t5 #7 out sell 1 @ 12, t1 #7 in buy 1 @ 10", "flat"),
        ("t5 #7 out sell 1 @ 12, t1 #7 in buy 3 @ 10", "#7 long 2 @ 10"),
        ("t5 #7 out sell 1 @ 12, t1 #7 in buy 0.4 @ 10", "flat; close without opening 0.6"),
        # an opening that is really later than the close opens
        ("t1 #7 out sell 1 @ 12, t5 #7 in buy 1 @ 10", "#7 long 1 @ 10; close without opening 1"),
        # a ghost, then its closing deal: before or after the ghost in time
        ("t1 #7 buy 1 @ 10, t9 ghost #7", "flat; ghost result 1"),
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t5 #7 out sell 1 @ 12", "flat"),
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t10 #7 out sell 1 @ 12", "flat"),
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t10 #7 out sell 0.4 @ 12", "flat; ghost result 0.6"),
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t10 #7 out sell 1.5 @ 12", "flat; close without opening 0.5"),
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t5 #7 out sell 0.4 @ 12", "flat; ghost result 0.6"),
        # a ghost whose id opens again
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t10 #7 in buy 2 @ 11", "#7 long 2 @ 11; ghost result 1"),
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t10 #7 in buy 2 @ 11, t11 #7 out sell 3 @ 11", "flat"),
        # a ghost that was none
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t12 recover #7 long 1 @ 10", "#7 long 1 @ 10"),
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t12 recover #7 long 0.4 @ 10", "#7 long 0.4 @ 10; ghost result 0.6"),
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t12 recover #7 short 1 @ 10", "#7 short 1 @ 10; ghost result 1"),
        # a recovery, then its opening
        ("t9 recover #7 long 1 @ 10", "#7 long 1 @ 10"),
        ("t9 recover #7 long 1 @ 10, t1 #7 in buy 1 @ 10", "#7 long 1 @ 10"),
        ("t9 recover #7 long 1 @ 10, t1 #7 in buy 2 @ 10, t2 #7 out sell 1 @ 12", "#7 long 1 @ 10"),
        ("t9 recover #7 long 1 @ 10, t11 #7 out sell 1 @ 12", "flat"),
        ("t9 recover #7 long 1 @ 10, t11 #7 in buy 1 @ 12", "#7 long 2 @ 11"),
        # drift up, then the deal
        ("t1 #7 buy 1 @ 10, t9 drift #7 long 1.5 @ 11", "#7 long 1.5 @ 11"),
        ("t1 #7 buy 1 @ 10, t9 drift #7 long 1.5 @ 11, t5 #7 in buy 0.5 @ 13", "#7 long 1.5 @ 11"),
        ("t1 #7 buy 1 @ 10, t9 drift #7 long 1.5 @ 11, t10 #7 in buy 0.5 @ 15", "#7 long 2 @ 12"),
        # drift down, then the deal
        ("t1 #7 buy 1.5 @ 10, t9 drift #7 long 1 @ 10", "#7 long 1 @ 10; ghost result 0.5"),
        ("t1 #7 buy 1.5 @ 10, t9 drift #7 long 1 @ 10, t5 #7 out sell 0.5 @ 12", "#7 long 1 @ 10"),
        ("t1 #7 buy 1.5 @ 10, t9 drift #7 long 1 @ 10, t5 #7 out sell 0.2 @ 12", "#7 long 1 @ 10; ghost result 0.3"),
        ("t1 #7 buy 1.5 @ 10, t9 drift #7 long 1 @ 10, t5 #7 out sell 0.9 @ 12", "#7 long 1 @ 10"),
        # two drifts down
        ("t1 #7 buy 3 @ 10, t8 drift #7 long 2 @ 10, t9 drift #7 long 1 @ 10", "#7 long 1 @ 10; ghost result 2"),
        # the other side
        ("t1 #7 buy 1 @ 10, t9 drift #7 short 0.5 @ 11", "#7 short 0.5 @ 11; ghost result 1"),
        # a closing deal of the other side shows that ours was gone before
        ("t1 #7 buy 1 @ 10, t9 #7 out buy 1 @ 11", "flat; close without opening 1; ghost result 1"),
    ],
)
def test_what_late_history_leaves_behind(recorded, left):
    assert play(recorded, "hedging") == left


@pytest.mark.parametrize(
    ("recorded", "left"),
    [
        ("t1 #7 buy 1 @ 10, t9 drift #7 short 0.5 @ 11", "short 0.5 @ 11; ghost result 1"),
        ("t1 #7 buy 1 @ 10, t9 drift #7 short 0.5 @ 11, t5 #7 in/out sell 1.5 @ 11", "short 0.5 @ 11"),
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t5 #7 out sell 1 @ 12", "flat"),
        ("t5 #7 out sell 1 @ 12, t1 #7 in buy 1 @ 10", "flat"),
        ("t5 #7 in/out sell 3 @ 12, t1 #7 in buy 1 @ 10", "short 2 @ 12"),
        # a new id shows that the old position ended
        ("t1 #7 buy 1 @ 10, t9 recover #8 long 1 @ 11", "long 1 @ 11; ghost result 1"),
        ("t1 #7 buy 1 @ 10, t9 recover #8 long 1 @ 11, t5 #7 out sell 1 @ 10, t6 #8 in buy 1 @ 11", "long 1 @ 11"),
        ("t1 #7 buy 1 @ 10, t5 #8 in sell 2 @ 11", "short 2 @ 11; ghost result 1"),
        ("t1 #7 buy 1 @ 10, t5 #8 in sell 2 @ 11, t3 #7 out sell 1 @ 9", "short 2 @ 11"),
        # a close of a position that is not the ghost does not explain the ghost
        ("t1 #7 buy 1 @ 10, t9 ghost #7, t10 #8 out sell 1 @ 12", "flat; ghost result 1; close without opening 1"),
    ],
)
def test_what_late_history_leaves_behind_on_a_netting_account(recorded, left):
    assert play(recorded) == left


def test_a_wrong_side_on_a_netting_account_shows_a_closed_long_and_an_open_short():
    story = Story().record("t1 #7 buy 1 @ 10, t9 drift #7 short 0.5 @ 11")
    assert story.trades == ["long 1 @ 10 to ?, 0?"]
    assert story.portfolio.positions[7].side is Side.SELL


def test_money_of_a_late_deal_counts_and_its_volume_does_not():
    story = Story("hedging").record("t1 #7 buy 1 @ 10, t9 drift #7 long 1.5 @ 11, t5 #7 in buy 0.5 @ 13 commission -3")
    assert (story.left, story.balance) == ("#7 long 1.5 @ 11", "-3")


@pytest.mark.parametrize("moment", [5, 10], ids=["before the ghost", "after the ghost"])
def test_a_ghost_gets_its_result_from_the_deal_and_both_events_stay(moment):
    story = Story("hedging").record("t1 #7 buy 1 @ 10, t9 ghost #7")
    assert (story.trades, story.balance) == (["long 1 @ 10 to ?, 0?"], "0")
    story.record(f"t{moment} #7 out sell 1 @ 12 profit 200 commission -3")
    assert (story.trades, story.balance) == (["long 1 @ 10 to 12, 197"], "197")
    assert [one.kind for one in story.account.events()][1:] == ["FillRecorded", "GhostClosed", "FillRecorded"]


def test_a_ghost_of_a_position_that_lost_a_part_before_stays_incomplete():
    story = Story("hedging").record("t1 #7 buy 3 @ 10, t8 drift #7 long 2 @ 10, t9 ghost #7, t10 #7 out sell 2 @ 12 profit 4")
    assert story.trades == ["long 3 @ 10 to 12, 4?"]
    assert story.left == "flat; ghost result 1"


def test_a_ghost_that_came_back_and_closed_is_complete():
    story = Story("hedging").record(
        "t1 #7 buy 1 @ 10, t9 ghost #7, t12 recover #7 long 1 @ 10, t13 #7 out sell 1 @ 11 profit 1"
    )
    assert (story.left, story.trades) == ("flat", ["long 1 @ 10 to 11, 1"])


def test_a_close_without_an_opening_is_a_trade_from_before_the_history():
    story = Story("hedging").record("t5 #7 out sell 1 @ 12 profit 2")
    (trade,) = story.account.trades()
    assert (trade.opened_msc, trade.price_open, trade.side, trade.volume) == (None, None, Side.BUY, 1)
    assert story.trades == ["long 1 @ ? to 12, 2"]
    story.record("t1 #7 in buy 1 @ 10")
    assert story.trades == ["long 1 @ 10 to 12, 2"]


def test_what_is_unexplained_is_listed_by_position_with_its_time():
    story = Story("hedging").record(
        "t1 #7 buy 1 @ 10, t9 ghost #7, t11 #8 out sell 2 @ 12, t12 #9 buy 3 @ 1, t13 drift #9 long 1 @ 1"
    )
    assert [(one.position_id, one.kind, one.volume, one.since_msc) for one in story.portfolio.unexplained] == [
        (7, GHOST_RESULT, 1, at(9)), (8, CLOSE_WITHOUT_OPENING, 2, at(11)), (9, GHOST_RESULT, 2, at(13)),
    ]  # fmt: skip


def test_no_correction_moves_money():
    story = Story("hedging").record("deposit 100, #7 buy 1 @ 10 commission -2")
    story.record(
        "t50 drift #7 long 2 @ 10, t51 drift #7 short 1 @ 9, t52 ghost #7, t53 recover #8 long 4 @ 1, t54 reticket #8 99"
    )
    assert story.balance == "98"


def test_what_a_position_rests_on():
    story = Story("hedging").record("t1 #1 buy 1 @ 10, t2 recover #2 long 1 @ 10, t3 #3 buy 1 @ 10, t4 drift #3 long 2 @ 10")
    assert [one.basis for one in story.portfolio.positions.values()] == ["fills", "recovery", "correction"]
    story.record("t1.5 #2 in buy 1 @ 10, t3.5 #3 in buy 1 @ 10")
    assert [one.basis for one in story.portfolio.positions.values()] == ["fills", "fills", "fills"]


def test_a_recovery_adopts_what_the_broker_shows():
    account = opened("hedging")
    seen = state("long 1 @ 10", 7, ticket=70, opened_msc=at(2), magic=5, comment="EA")
    account.record(PositionRecovered(position=seen, time_msc=at(9)))
    position = account.portfolio.positions[7]
    assert (position.ticket, position.opened_msc, position.magic, position.comment) == (70, at(2), 5, "EA")


@pytest.mark.parametrize("mode", ["hedging", "netting"])
def test_a_new_ticket_is_the_same_position(mode):
    story = Story(mode).record("t1 #7 buy 1 @ 10, t9 reticket #7 99")
    assert [(one.position_id, one.ticket) for one in story.portfolio.positions.values()] == [(7, 99)]
    assert Story(mode).record("t1 #8 buy 1 @ 10, t9 reticket #7 99").portfolio.positions[8].ticket == 8


# ------------------------------------------------------------------------------------- the same second in two resolutions


@pytest.mark.parametrize(
    ("recorded", "left"),
    [
        ("t5 #7 out sell 1 @ 12 profit 2, t5.3 #7 in buy 1 @ 10", "flat"),
        ("t5 #7 out sell 1 @ 12 profit 2, t5.3 #7 in buy 3 @ 10", "#7 long 2 @ 10"),
        ("t5 #7 out sell 2 @ 12 profit 2, t5.3 #7 in buy 1 @ 10, t5.4 #7 in buy 1 @ 10", "flat"),
        ("t5 #7 out sell 2 @ 12 profit 2, t5.3 #7 in buy 1 @ 10, t5.4 #7 in buy 2 @ 10", "#7 long 1 @ 10"),
        ("t5 #7 out sell 2 @ 12 profit 2, t5.3 #7 in buy 1 @ 10", "flat; close without opening 1"),
        ("t5 #7 out sell 1 @ 12 profit 2, t6 #7 in buy 1 @ 10", "#7 long 1 @ 10; close without opening 1"),
        ("t5 #7 out sell 1 @ 12 profit 2, t5.3 #8 in buy 1 @ 10", "#8 long 1 @ 10; close without opening 1"),
        ("t5 #7 out sell 1 @ 12 profit 2, t5.3 #7 in sell 1 @ 10", "#7 short 1 @ 10; close without opening 1"),
    ],
)
def test_a_close_recorded_in_seconds_finds_its_opening_recorded_in_milliseconds(recorded, left):
    story = Story("hedging").record(recorded)
    assert (story.left, story.balance) == (left, "2")
    assert sum(trade.profit for trade in [*story.account.trades(), *story.portfolio.partial_trades()]) == 2


# ----------------------------------------------------------------------------------------------------- asserted balances


def asserted(balance, moment, *, credit=None, until=None):
    return BalanceAsserted(
        balance=balance, credit=credit, time_msc=at(moment), complete_until_msc=None if until is None else at(until)
    )


def test_an_opening_figure_sets_the_balance_at_its_time():
    story = Story().record(asserted(1000, 10, credit=50)).record("t11 buy 1 @ 10 commission -3")
    assert (story.balance, story.portfolio.credit) == ("997", 50)
    story.record("t5 deposit 300")  # before the figure: already in it
    assert (story.balance, story.portfolio.breaks) == ("997", ())


def test_a_balance_where_the_history_is_complete_is_only_checked():
    story = Story().record(asserted(1000, 10, credit=0, until=100)).record("t20 deposit 5").record(asserted(1005, 30, credit=0))
    assert not story.portfolio.breaks
    story.record(asserted(1004, 40, credit=1))
    assert story.balance == "1005"
    assert [(one.kind, one.field, one.ours, one.theirs) for one in story.portfolio.breaks] == [
        (BreakKind.BALANCE, "balance", "1005.00", "1004.00"), (BreakKind.BALANCE, "credit", "0.00", "1.00"),
    ]  # fmt: skip


def test_a_break_in_the_balance_goes_when_the_missing_deal_is_recorded():
    story = Story().record(asserted(1000, 10, credit=0, until=100)).record(asserted(1005, 40, credit=0))
    assert len(story.portfolio.breaks) == 1
    story.record("t30 deposit 5")
    assert (story.portfolio.breaks, story.balance) == ((), "1005")


def test_a_balance_behind_what_is_complete_sets_again():
    story = Story().record(asserted(1000, 10, credit=0, until=20)).record(asserted(700, 40, credit=0))
    assert (story.balance, story.portfolio.breaks) == ("700", ())


def test_a_sum_of_balance_and_credit_leaves_the_credit_alone():
    story = Story().record("t1 credit 50").record(asserted(1050, 10))
    assert (story.balance, story.portfolio.credit) == ("1000", 50)


@pytest.mark.parametrize("first", [0, 1])
def test_the_order_of_two_opening_figures_does_not_matter(first):
    figures = [asserted(1000, 10, credit=0, until=20), asserted(1010, 30, credit=0, until=40)]
    story = Story().record(figures[first]).record(figures[1 - first]).record("t15 deposit 5, t35 deposit 1")
    assert (story.balance, story.portfolio.breaks) == ("1011", ())


# ---------------------------------------------------------------------------------------------- a person's corrections


def adjusted(moment=90, **what):
    return Adjusted(operator="mk", reason="checked with the broker", time_msc=at(moment), **what)


def test_a_person_adds_changes_and_removes_a_position():
    story = Story("hedging").record(adjusted(after=state("long 1 @ 10")))
    assert (story.left, story.portfolio.positions[7].basis) == ("#7 long 1 @ 10", "adjustment")
    story.record(adjusted(91, before=shown(story.portfolio, 7), after=state("long 2 @ 11")))
    assert story.left == "#7 long 2 @ 11"
    story.record(adjusted(92, before=shown(story.portfolio, 7)))
    assert story.left == "flat; ghost result 2"


def test_a_person_s_correction_moves_money_by_the_difference_of_its_figures():
    story = Story().record("deposit 100, credit 10")
    story.record(adjusted(balance_before=90, balance_after=95, credit_before=10, credit_after=0))
    assert (story.balance, story.portfolio.credit) == ("105", 0)
    story.record("t1.5 deposit 7")  # a late deal adds, the difference stays the same
    assert story.balance == "112"


# -------------------------------------------------------------------------------- what is open besides positions


def test_breaks_of_two_orders_are_two_breaks():
    story = Story()
    seen: dict[str, Any] = {"kind": "order", "time_msc": at(1), "field": "missing"}
    story.record(BreakOpened(**seen, order=901, client_id="c-1"))
    first = story.account.version
    story.record(BreakOpened(**seen, order=902, client_id="c-2", confirmations=2, caused_by=first))
    story.record(BreakOpened(**seen, order=901, client_id="c-1", confirmations=3, caused_by=first))
    assert [(one.order, one.client_id, one.confirmations) for one in story.portfolio.breaks] == [
        (901, "c-1", 3),
        (902, "c-2", 2),
    ]
    story.record(BreakClosed(kind="order", end="explained", time_msc=at(2), caused_by=first, order=901, client_id="c-1"))
    assert [one.order for one in story.portfolio.breaks] == [902]


def test_a_break_is_open_until_it_is_closed():
    account = opened()
    account.record(BreakOpened(kind="ghost", position_id=7, time_msc=at(1), field="volume", ours="1", theirs="0"))
    (found,) = account.portfolio.breaks
    assert (found.kind, found.position_id, found.opened_msc, found.version) == (BreakKind.GHOST, 7, at(1), 2)
    account.record(BreakClosed(kind="ghost", end=BreakEnd.EXPLAINED, time_msc=at(2), caused_by=2))
    assert account.portfolio.breaks == ()


def test_the_gateway_is_degraded_until_it_is_restored():
    account = opened()
    account.record(SyncDegraded(reason="timeout", time_msc=at(1)))
    assert account.portfolio.degraded is not None
    assert account.portfolio.degraded.reason == "timeout"
    account.record(SyncRestored(time_msc=at(2), caused_by=2))
    assert account.portfolio.degraded is None


def test_an_empty_account_shows_nothing():
    portfolio = opened().portfolio
    assert (left_behind(portfolio), portfolio.balance, portfolio.credit, portfolio.folded) == ("flat", 0, 0, 0)
    assert (portfolio.breaks, portfolio.complete_until_msc) == ((), -1)


def test_what_a_portfolio_shows_cannot_be_changed():
    portfolio = Story().record("buy 1 @ 10").portfolio
    with pytest.raises(TypeError):
        portfolio.positions[1] = portfolio.positions[1001]  # type: ignore[index]
    with pytest.raises(AttributeError):
        portfolio.positions[1001].volume = Decimal(5)  # type: ignore[misc]


def test_a_portfolio_that_was_returned_does_not_change():
    story = Story("hedging").record("#7 buy 2 @ 10, #8 buy 1 @ 10, #9 out sell 1 @ 1, t50 ghost #8, t51 drift #7 long 1 @ 10")
    before, output = story.portfolio, story.left
    story.record("t60 #7 in buy 1 @ 30, t61 #8 out sell 1 @ 11, t62 #9 out sell 1 @ 1, t63 drift #7 long 1 @ 10")
    story.record("t64 deposit 5, t65 #7 in buy 2 @ 5")
    assert story.left != output  # and with it, what is new was folded on
    assert left_behind(before, named=True) == output
    assert before.balance == 0


def test_a_correction_of_another_symbol_s_scales_begins_a_new_trade():
    account = opened("hedging")
    account.record(SymbolSpecified(symbol="BTCUSD", volume_scale=4, price_scale=2, time_msc=at(0)))
    account.record(fill(1))
    before = shown(account.portfolio, 7)
    account.record(DriftCorrected(before=before, after=state("long 2 @ 30", symbol="BTCUSD"), time_msc=at(9)))
    assert left_behind(account.portfolio) == "BTCUSD long 2 @ 30; ghost result 1"


def test_a_revision_of_what_is_not_known_is_refused():
    with pytest.raises(RuleError, match="not known"):
        opened().revise(fill(1))


def test_on_a_netting_account_another_position_id_shows_that_the_old_position_ended():
    account = opened("netting")
    account.record(fill(1, position_id=100))
    account.record(fill(2, volume=2, price=11, position_id=200))
    assert {position.position_id: position.volume for position in account.portfolio.positions.values()} == {200: 2}
    assert [(one.position_id, one.kind, one.volume) for one in account.portfolio.unexplained] == [(100, "ghost result", 1)]


def test_an_id_that_is_recorded_later_names_the_position_that_had_none():
    account = opened("netting")
    account.record(fill(1, position_id=None, order=7))
    assert list(account.portfolio.positions) == [7]
    account.record(fill(2, volume=2, price=11, position_id=100))
    assert {position.position_id: position.volume for position in account.portfolio.positions.values()} == {100: 3}
    assert account.portfolio.unexplained == ()


# ------------------------------------------------------------------------------------------------------------ one by one


@pytest.mark.parametrize(
    "event",
    [
        evolve(one, clock_before=None, clock_after=None) if isinstance(one, Adjusted) else one
        for one in EVENTS
        if not isinstance(one, (AccountOpened, DealCompleted, DealRevised))
    ],
    ids=lambda event: type(event).__name__,
)
def test_applying_an_event_leaves_what_recording_it_leaves(event):
    account = opened("hedging")
    account.record(fill(100, time_msc=at(0)))
    version, portfolio = account.current()
    before = portfolio.state()
    tried = portfolio.followed_by([event], version)
    assert portfolio.state() == before
    account.record(event)
    assert tried.state() == account.portfolio.state()
    assert tried.terms == account.terms


@pytest.mark.parametrize(
    "event",
    [
        DealCompleted(deal=9, time_msc=at(9), caused_by=2, profit=1),
        DealRevised(now=fill(9, volume=2), caused_by=2),
        Adjusted(operator="mk", reason="why", time_msc=at(20), clock_before="UTC", clock_after="+3"),
        Adjusted(operator="mk", reason="why", time_msc=at(20), order_before="ticket", order_after="time"),
        fill(8),
        fill(9),
    ],
    ids=["completion", "revision", "clock", "order", "late deal", "same deal"],
)
def test_an_event_that_changes_what_was_folded_is_not_applied(event):
    account = opened()
    account.record(fill(9))
    version, portfolio = account.current()
    before = portfolio.state()
    with pytest.raises(RuleError, match="replay"):
        portfolio.apply(event, version + 1)
    assert portfolio.state() == before


@pytest.mark.parametrize("order", ["ticket", "time"])
@pytest.mark.parametrize("hour", ["once", "twice"])
def test_a_deal_is_applied_only_where_tickets_order_deals(order, hour):
    ((begin, _),) = ClockRule("ny-close").repeated_hours(at(0) - 100 * DAY_MSC, at(0))
    time_msc = at(0) if hour == "once" else begin + 1000
    account = opened(clock="ny-close", order=order, time_msc=time_msc - DAY_MSC)
    portfolio = Portfolio(account.terms)
    portfolio.note_version(1)
    if (order, hour) == ("ticket", "once"):
        portfolio.apply(fill(9, time_msc=time_msc), 2)
        assert portfolio.totals.deals == 1
    else:
        with pytest.raises(RuleError, match="replay"):
            portfolio.apply(fill(9, time_msc=time_msc), 2)


@pytest.mark.parametrize("version", [1, 2, 4])
def test_only_the_next_version_is_applied(version):
    account = opened()
    account.record(fill(1))
    portfolio = account.portfolio
    with pytest.raises(VersionGap, match=rf"Broker-Live/70113: version 2 was folded, found version {version} as the next"):
        portfolio.apply(fill(2), version)
    portfolio.copy().apply(fill(2), 3)
    assert portfolio.totals.deals == 1


def test_nothing_is_applied_behind_a_selection_that_ends_at_no_version():
    account = opened()
    account.record(fill(1))
    account.record(fill(50))
    for portfolio in (account.replay(until=utc_text(at(9))), account.replay(until=utc_text(at(9)), checkpoints=False)):
        with pytest.raises(VersionGap, match="a selection of events was folded"):
            portfolio.apply(fill(51), 3)


def test_a_number_that_does_not_fit_is_refused_before_anything_changes():
    account = opened()
    account.record(fill(1))
    version, portfolio = account.current()
    before = portfolio.state()
    unfit: list[Event] = [
        fill(2, price="0.000000001"),
        Adjusted(operator="mk", reason="why", time_msc=at(9), balance_before="0.000000001", balance_after=1),
        DriftCorrected(before=shown(portfolio, 7), after=state("long 0.000000001 @ 1"), time_msc=at(9)),
    ]
    for event in unfit:
        with pytest.raises(InexactNumber):
            portfolio.apply(event, version + 1)
        assert portfolio.state() == before


def test_trades_that_end_are_passed_on():
    account = opened()
    account.record(fill(1))
    closed: list[Any] = []
    account.portfolio.copy().apply(fill(2, side="sell", entry="out", price=12, profit=2), 3, closed.append)
    assert [(one.position_id, one.profit) for one in map(account.portfolio.trade, closed)] == [(7, 2)]
