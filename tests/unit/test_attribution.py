"""Stories of deals that find their position, and of those that must not guess it."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest

from ledger.imports import ClosedRow, DealRow, OpenRow, Statement, attribute, one_line_each
from ledger.values import MarginMode, Side, to_entry

HEDGING, NETTING, EXCHANGE = MarginMode.HEDGING, MarginMode.NETTING, MarginMode.EXCHANGE


def deal(number, text, **more):
    """A deal from ``10:00 buy in 0.1 @ 1.1``; its order is its number + 1000."""
    time, side, *entry, volume, _, price = text.split()
    hours, minutes = time.split(":")
    return DealRow(
        **{
            "row": number, "deal": number, "order": number + 1000, "symbol": "EURUSD", "type": int(side == "sell"),
            "time_msc": 1704153600000 + (int(hours) * 60 + int(minutes)) * 60_000, "entry": to_entry(" ".join(entry)),
            "volume": Decimal(volume), "price": Decimal(price), "profit": Decimal(0), "swap": Decimal(0),
            "commission": Decimal(0), "fee": Decimal(0), **more,
        }
    )  # fmt: skip


def closed(position_id, text, profit=0, **more):
    """A closed position from ``10:00 buy 0.1 @ 1.1 to 11:00 @ 1.2``."""
    opened, side, volume, _, price_open, _, until, _, price_close = text.split()
    times = [1704153600000 + (int(time[:2]) * 60 + int(time[3:])) * 60_000 for time in (opened, until)]
    return ClosedRow(
        **{
            "row": position_id, "position_id": position_id, "symbol": "EURUSD", "side": Side(side), "opened_msc": times[0],
            "closed_msc": times[1], "volume": Decimal(volume), "price_open": Decimal(price_open), "swap": Decimal(0),
            "price_close": Decimal(price_close), "profit": Decimal(profit), "commission": Decimal(0), **more,
        }
    )  # fmt: skip


def still_open(ticket, text, **more):
    """An open position from ``10:00 buy 0.1 @ 1.1``."""
    time, side, volume, _, price = text.split()
    opened_msc = 1704153600000 + (int(time[:2]) * 60 + int(time[3:])) * 60_000
    fields = {"symbol": "EURUSD", "swap": Decimal(0), "profit": Decimal(0), "side": Side(side), **more}
    return OpenRow(
        row=ticket, ticket=ticket, opened_msc=opened_msc, volume=Decimal(volume), price_open=Decimal(price), **fields
    )


def account(*deals, closed=(), still_open=(), opening=0):
    """A report with a Balance column that begins at ``opening``."""
    balance, rows = Decimal(opening), []
    for row in deals:
        balance += row.money
        rows.append(attrs.evolve(row, balance=balance))
    return Statement(file="f", kind="report", deals=rows, closed=tuple(closed) or None, open=tuple(still_open) or None)


def lines(attribution):
    return list(one_line_each(attribution.notes))


def attributed(statement, mode=HEDGING):
    return list(attribute(statement, mode).position_ids)


# ---------------------------------------------------------------------------------------------------------------- hedging


def test_an_opening_deal_names_its_position_by_its_order():
    assert attributed(account(deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "10:00 sell in 0.1 @ 1.1"))) == [1001, 1002]


def test_two_fills_of_one_order_open_one_position():
    statement = account(deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "10:05 buy in 0.2 @ 1.1", order=1001))
    assert attributed(statement) == [1001, 1001]


def test_a_close_is_found_by_what_its_closed_position_states():
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.1"),
        deal(2, "10:01 buy in 0.1 @ 1.2"),
        deal(3, "11:00 sell out 0.1 @ 1.3", profit=Decimal(1000)),
        deal(4, "11:00 sell out 0.1 @ 1.3", profit=Decimal(2000)),
        closed=[
            closed(1001, "10:00 buy 0.1 @ 1.1 to 11:00 @ 1.3", 2000),
            closed(1002, "10:01 buy 0.1 @ 1.2 to 11:00 @ 1.3", 1000),
        ],
    )
    assert attributed(statement) == [1001, 1002, 1002, 1001]


@pytest.mark.parametrize("differs", [{"symbol": "GBPUSD"}, {"type": 0}, {"swap": Decimal(1)}, {"profit": Decimal(1)}])
def test_a_close_that_differs_is_not_matched(differs):
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.1"),
        deal(2, "11:00 sell out 0.1 @ 1.3", **differs),
        closed=[closed(1001, "10:00 buy 0.1 @ 1.1 to 11:00 @ 1.3", 0)],
        opening=500,
    )
    assert attributed(statement) == [1001, None]


def in_steps(**more):
    return account(
        deal(1, "10:00 buy in 0.3 @ 1.1"),
        deal(2, "10:00 buy in 0.1 @ 1.1"),
        deal(3, "11:00 sell out 0.1 @ 1.20001", profit=Decimal("1000.10")),
        deal(4, "11:30 sell out 0.1 @ 1.30000", profit=Decimal(2000)),
        deal(5, "12:00 sell out 0.2 @ 1.20000", profit=Decimal(2000)),
        closed=[closed(1001, "10:00 buy 0.3 @ 1.1 to 12:00 @ 1.20000", "3000.10")],
        **more,
    )


def test_a_position_closed_in_steps_is_the_sum_of_its_closes():
    assert attributed(in_steps()) == [1001, 1002, 1001, 1002, 1001]


def test_what_is_left_after_the_sums_belongs_to_what_is_possible():
    attribution = attribute(in_steps(opening=500), HEDGING)
    assert attribution.position_ids == (1001, 1002, 1001, None, 1001)
    assert lines(attribution) == ["deal 4 (row 4): the file does not determine its position; left unattributed"]


def test_the_last_step_is_at_the_time_of_the_close():
    row = closed(1001, "10:00 buy 0.3 @ 1.1 to 12:01 @ 1.20000", "3000.10")
    statement = attrs.evolve(in_steps(opening=500), closed=(row,))
    assert attributed(statement)[2:] == [None, None, None]


def test_the_price_of_a_position_closed_in_steps_is_the_mean():
    row = closed(1001, "10:00 buy 0.3 @ 1.1 to 12:00 @ 1.20002", "3000.10")
    assert attributed(attrs.evolve(in_steps(opening=500), closed=(row,)))[2:] == [None, None, None]


def test_a_row_of_a_position_closed_in_part_finds_its_close():
    statement = account(
        deal(1, "10:00 buy in 0.3 @ 1.1"),
        deal(2, "10:01 buy in 0.3 @ 1.1"),
        deal(3, "11:00 sell out 0.1 @ 1.2", profit=Decimal(1000)),
        closed=[closed(1001, "10:00 buy 0.1 @ 1.1 to 11:00 @ 1.2", 1000, volume_opened=Decimal("0.3"))],
        still_open=[still_open(1001, "10:00 buy 0.2 @ 1.1"), still_open(1002, "10:01 buy 0.3 @ 1.1")],
    )
    assert attributed(statement) == [1001, 1002, 1001]


def test_an_ambiguous_sum_is_left_open_with_a_note():
    outs = [("11:00", "1.2", 1000), ("11:00", "1.3", 2000), ("11:00", "1.22", 1200), ("11:00", "1.28", 1800)]
    statement = account(
        deal(1, "10:00 buy in 0.2 @ 1.1"),
        deal(2, "10:00 buy in 0.2 @ 1.1"),
        *(deal(3 + n, f"{at} sell out 0.1 @ {price}", profit=Decimal(won)) for n, (at, price, won) in enumerate(outs)),
        closed=[closed(1001, "10:00 buy 0.2 @ 1.1 to 11:00 @ 1.25", 3000)],
        still_open=[still_open(1002, "10:00 buy 0.1 @ 1.1")],
    )
    attribution = attribute(statement, HEDGING)
    assert attribution.position_ids == (1001, 1002, None, None, None, None)
    assert lines(attribution)[0] == "closed position 1001 (row 1001): the file does not determine its closing deals"


def test_closes_that_nothing_distinguishes_are_matched_in_order():
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.1"),
        deal(2, "10:00 buy in 0.1 @ 1.1"),
        deal(4, "11:00 sell out 0.1 @ 1.3", profit=Decimal(2000)),
        deal(3, "11:00 sell out 0.1 @ 1.3", profit=Decimal(2000)),
        closed=[
            closed(1002, "10:00 buy 0.1 @ 1.1 to 11:00 @ 1.3", 2000),
            closed(1001, "10:00 buy 0.1 @ 1.1 to 11:00 @ 1.3", 2000),
        ],
    )
    assert attributed(statement) == [1001, 1002, 1001, 1002]


def test_the_commission_distinguishes_what_is_alike_otherwise():
    costly = {"commission": Decimal("-0.7")}
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.1"),
        deal(2, "10:00 buy in 0.1 @ 1.1", commission=Decimal("-0.1")),
        deal(3, "11:00 sell out 0.1 @ 1.3", profit=Decimal(2000), **costly),
        deal(4, "11:00 sell out 0.1 @ 1.3", profit=Decimal(2000)),
        closed=[
            closed(1001, "10:00 buy 0.1 @ 1.1 to 11:00 @ 1.3", 2000),
            closed(1002, "10:00 buy 0.1 @ 1.1 to 11:00 @ 1.3", 2000, commission=Decimal("-0.8")),
        ],
    )
    assert attributed(statement) == [1001, 1002, 1002, 1001]
    rows = tuple(attrs.evolve(row, commission=Decimal(-9)) for row in statement.closed)
    unclear = attribute(attrs.evolve(statement, closed=rows, deals=statement.deals), HEDGING)
    assert lines(unclear)[0].startswith("2 deals: closed positions and deals that all close alike")
    assert set(unclear.position_ids[2:]) == {1001, 1002}  # the book is flat, whichever closed which


def test_the_rest_of_an_open_position_was_closed_by_what_is_left():
    statement = account(
        deal(1, "10:00 buy in 0.5 @ 1.1"),
        deal(2, "10:01 buy in 0.5 @ 1.1"),
        deal(3, "11:00 sell out 0.2 @ 1.2", profit=Decimal(2000)),
        deal(4, "11:05 sell out 0.1 @ 1.2", profit=Decimal(1000)),
        still_open=[still_open(1001, "10:00 buy 0.2 @ 1.1"), still_open(1002, "10:01 buy 0.5 @ 1.1")],
        opening=500,
    )
    assert attributed(statement) == [1001, 1002, 1001, 1001]


def test_open_positions_that_do_not_explain_all_that_is_left_explain_nothing():
    statement = account(
        deal(1, "10:00 buy in 0.5 @ 1.1"),
        deal(3, "11:00 sell out 0.2 @ 1.2"),
        deal(4, "11:05 sell out 0.2 @ 1.2"),
        still_open=[still_open(1001, "10:00 buy 0.3 @ 1.1")],
        opening=500,
    )
    assert attributed(statement) == [1001, None, None]


def test_the_only_position_that_can_be_meant_is_meant():
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.1"),
        deal(2, "10:00 sell in 0.1 @ 1.1"),
        deal(3, "10:00 buy in 0.1 @ 1.1", symbol="GBPUSD"),
        deal(4, "11:00 sell out 0.1 @ 1.2"),
        deal(5, "12:00 buy in 0.1 @ 1.1"),
        deal(6, "13:00 sell out 0.1 @ 1.2"),
    )
    assert attributed(statement) == [1001, 1002, 1003, 1001, 1005, 1005]


def test_of_two_positions_that_can_be_meant_none_is():
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "10:00 buy in 0.2 @ 1.1"), deal(3, "11:00 sell out 0.1 @ 1.2")
    )
    assert attributed(statement) == [1001, 1002, None]
    assert attributed(attrs.evolve(statement, deals=[*statement.deals, deal(4, "11:30 sell out 0.2 @ 1.2")])) == [
        1001,
        1002,
        1001,
        1002,
    ]


def test_a_position_from_before_the_file_may_be_meant():
    statement = account(deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "11:00 sell out 0.1 @ 1.2"), opening=500)
    assert attributed(statement) == [1001, None]
    from_opening = account(deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, "11:00 sell out 0.1 @ 1.2"))
    assert attributed(from_opening) == [1001, 1001]


def by_one_another(**more):
    """A buy of 0.3 and a sell of 0.1 close one another; the result is on one leg only."""
    return account(
        deal(1, "10:00 buy in 0.3 @ 1.10"),
        deal(2, "10:01 sell in 0.1 @ 1.30"),
        deal(3, "10:02 buy in 0.3 @ 1.11"),
        deal(4, "10:03 sell in 0.1 @ 1.31"),
        deal(5, "11:00 sell out by 0.1 @ 1.30", order=1005, profit=Decimal(2000)),
        deal(6, "11:00 buy out by 0.1 @ 1.10", order=1005),
        **more,
    )


def test_two_positions_closed_by_one_another_are_found_by_their_open_prices():
    assert attributed(by_one_another()) == [1001, 1002, 1003, 1004, 1001, 1002]


def test_a_closed_position_may_have_its_result_on_the_other_leg():
    rows = [
        closed(1002, "10:01 sell 0.1 @ 1.30 to 11:00 @ 1.10", 2000),
        closed(1004, "10:03 sell 0.1 @ 1.31 to 11:00 @ 1.12", 1900),
    ]
    assert attributed(by_one_another(closed=rows))[5] == 1002


def test_two_legs_that_fit_two_positions_each_are_left_open():
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.10"),
        deal(2, "10:01 sell in 0.1 @ 1.30"),
        deal(3, "10:02 buy in 0.1 @ 1.10"),
        deal(5, "11:00 sell out by 0.1 @ 1.30", order=1005),
        deal(6, "11:00 buy out by 0.1 @ 1.10", order=1005),
    )
    assert attributed(statement) == [1001, 1002, 1003, None, 1002]


def test_a_close_by_later_closed_for_good_is_part_of_the_sum():
    statement = account(
        *by_one_another().deals,
        deal(7, "12:00 sell out 0.2 @ 1.20", profit=Decimal(2000)),
        closed=[closed(1001, "10:00 buy 0.3 @ 1.10 to 12:00 @ 1.23333", 4000)],
        opening=500,
    )
    assert attributed(statement)[4:] == [1001, 1002, 1001]


def test_money_belongs_to_no_position():
    statement = account(DealRow(row=1, time_msc=0, deal=1, type=2, profit=Decimal(5)))
    assert (attributed(statement), attributed(statement, NETTING)) == ([None], [None])


# ---------------------------------------------------------------------------------------------------------------- netting


@pytest.mark.parametrize("mode", [NETTING, EXCHANGE])
def test_a_netting_position_is_named_after_the_order_that_opened_it(mode):
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.1"),
        deal(2, "10:01 buy in 0.2 @ 1.1"),
        deal(3, "10:01 buy in 0.2 @ 1.1", symbol="GBPUSD"),
        deal(4, "10:02 sell out 0.1 @ 1.1"),
        deal(5, "10:03 sell out 0.2 @ 1.1"),
        deal(6, "10:04 sell in 0.1 @ 1.1"),
    )
    assert attributed(statement, mode) == [1001, 1001, 1003, 1001, 1001, 1006]


def test_a_reversal_keeps_the_identifier():
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.1"),
        deal(2, "10:01 sell in/out 0.3 @ 1.1"),
        deal(3, "10:02 buy out 0.2 @ 1.1"),
        deal(4, "10:03 buy in 0.2 @ 1.1"),
        still_open=[still_open(1004, "10:03 buy 0.2 @ 1.1")],
    )
    assert attributed(statement, NETTING) == [1001, 1001, 1001, 1004]


def test_a_trade_that_began_before_the_file_is_open_unless_a_row_names_it():
    deals = (
        deal(1, "10:00 sell out 0.1 @ 1.1"),
        deal(2, "10:01 sell out 0.1 @ 1.1"),
        deal(3, "10:05 buy in 0.2 @ 1.1"),
        deal(4, "10:06 sell out 0.2 @ 1.1"),
        deal(5, "10:07 buy in 0.2 @ 1.1"),
    )
    assert attributed(account(*deals, opening=500), NETTING) == [None] * 5
    named = closed(77, "09:00 buy 0.2 @ 1.1 to 10:01 @ 1.1")
    assert attributed(account(*deals, closed=[named], opening=500), NETTING) == [77, 77, 1003, 1003, 1005]
    later = closed(1003, "10:05 buy 0.2 @ 1.1 to 10:06 @ 1.1")
    assert attributed(account(*deals, closed=[later], opening=500), NETTING) == [None, None, 1003, 1003, 1005]


def test_an_open_position_names_only_the_trade_that_begins_in_the_file():
    deals = (deal(1, "10:00 buy out 0.1 @ 1.1"), deal(2, "10:05 buy in 0.2 @ 1.1"), deal(3, "10:06 buy in 0.2 @ 1.1"))
    begun = account(*deals, still_open=[still_open(1002, "10:05 buy 0.4 @ 1.1")], opening=500)
    assert attributed(begun, NETTING) == [None, 1002, 1002]
    before = account(*deals[1:], still_open=[still_open(77, "09:00 buy 0.9 @ 1.1")], opening=500)
    assert attributed(before, NETTING) == [None, None]


@pytest.mark.parametrize(
    "impossible",
    ["11:00 sell out 0.2 @ 1.1", "11:00 buy out 0.1 @ 1.1", "11:00 sell in 0.1 @ 1.1", "11:00 sell in/out 0.1 @ 1.1"],
)
def test_an_impossible_deal_ends_the_attribution(impossible):
    statement = account(deal(1, "10:00 buy in 0.1 @ 1.1"), deal(2, impossible), deal(3, "12:00 buy in 0.1 @ 1.1"))
    attribution = attribute(statement, NETTING)
    assert attribution.position_ids == (1001, None, None)
    assert str(attribution.notes[0]) == "deal 2 (row 2): it does not fit what the file shows of EURUSD before it"


def test_a_closed_position_that_no_deal_belongs_to_is_noted():
    statement = account(deal(1, "10:00 buy in 0.1 @ 1.1"), closed=[closed(77, "11:00 buy 0.2 @ 1.1 to 11:01 @ 1.1")])
    assert lines(attribute(statement, NETTING)) == ["closed position 77 (row 77): no deal of the file belongs to it"]


def test_rows_of_one_number_on_two_sheets_are_two_rows():
    statement = account(
        deal(1, "10:00 buy in 0.1 @ 1.1"),
        deal(2, "10:00 buy in 0.2 @ 1.1"),
        deal(3, "11:00 sell out 0.1 @ 1.3", profit=Decimal(2000)),
        deal(4, "11:00 sell out 0.1 @ 1.2", profit=Decimal(1000)),
        deal(5, "11:01 sell out 0.1 @ 1.2", profit=Decimal(1000)),
        closed=[
            closed(1001, "10:00 buy 0.1 @ 1.1 to 11:00 @ 1.3", 2000, row=8),
            closed(1002, "10:00 buy 0.2 @ 1.1 to 11:01 @ 1.2", 2000, row=8),
        ],
        opening=500,
    )
    assert attributed(statement) == [1001, 1002, 1001, 1002, 1002]


def test_many_closes_in_one_trade_are_not_searched_for_ever():
    outs = [deal(10 + n, f"11:00 sell out 0.01 @ 1.{2000 + n}", profit=Decimal(n * n % 97)) for n in range(150)]
    statement = account(
        deal(1, "10:00 buy in 2 @ 1.1"),
        *outs,
        closed=[closed(1001, "10:00 buy 0.75 @ 1.1 to 11:00 @ 1.2074", 3600)],
        opening=500,
    )
    attribution = attribute(statement, HEDGING)
    assert set(attribution.position_ids[1:]) == {None}
    assert "does not determine its closing deals" in lines(attribution)[0]


def test_what_was_opened_before_the_file_is_closed_by_the_deal_of_the_rows_last_second():
    rest = deal(2, "11:00 sell out 0.1 @ 1.2")
    row = closed(77, "09:00 buy 0.3 @ 1.1 to 11:00 @ 1.15")  # two of its closing deals are older than the file
    assert attributed(account(rest, closed=[row], opening=500)) == [77]
    two = [rest, deal(3, "11:00 sell out 0.1 @ 1.2")]
    assert attributed(account(*two, closed=[row], opening=500)) == [None, None]
