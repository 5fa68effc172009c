"""The simulated terminal books as MT5 does: it is what the ledger is checked against."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import BadValue, Entry, Side
from ledger.gateway.sandbox.terminal import (
    DONE,
    INVALID,
    INVALID_CLOSE_VOLUME,
    INVALID_VOLUME,
    POSITION_CLOSED,
    Terminal,
    open_random_positions,
    with_float_noise,
)

MODES = ("hedging", "netting", "exchange")


def terminal(mode="hedging", **terms):
    made = Terminal(mode=mode, **terms)
    made.cash(2, "10000")
    return made


def at(made, price, symbol="EURUSD"):
    made._prices[symbol] = Decimal(price)


def books(made):
    return [(one["symbol"], one["side"], one["volume"], Decimal(one["price_open"])) for one in made.books()["positions"]]


def test_hedging_has_a_position_for_each_order_and_closes_what_is_named():
    made = terminal()
    at(made, "1.10000")
    first = made.send_order("EURUSD", "buy", "0.10", magic=7)
    second = made.send_order("EURUSD", "sell", "0.20")
    assert [one.position_id for one in made.open_positions()] == [first.order, second.order]
    at(made, "1.10100")
    closed = made.send_order("EURUSD", "sell", "0.04", position=first.order)
    assert (closed.deals[0]["entry"], closed.deals[0]["profit"]) == (Entry.OUT, Decimal("4.00"))
    assert books(made) == [("EURUSD", "buy", "0.06", Decimal("1.1")), ("EURUSD", "sell", "0.2", Decimal("1.1"))]
    assert made.close(first.order).is_done
    assert made.close(first.order).retcode == POSITION_CLOSED


def test_buyers_pay_the_spread_and_positions_are_valued_where_they_can_be_closed():
    made = terminal(spread=2)
    made.set_price("EURUSD", Decimal("1.10000"))
    assert (made.price("EURUSD"), made.price("EURUSD", Side.BUY)) == (Decimal("1.10000"), Decimal("1.10002"))
    made.send_order("EURUSD", "buy", "1.00")
    made.send_order("EURUSD", "sell", "1.00")
    assert [Decimal(one["price_open"]) for one in made.books()["positions"]] == [Decimal("1.10002"), Decimal("1.10000")]
    assert [one["price_current"] for one in made.positions()] == [1.1, 1.10002]
    assert [one["profit"] for one in made.positions()] == pytest.approx([-2.0, -2.0])
    assert made.account()["equity"] == pytest.approx(float(made.balance) - 4.0)


def test_a_pending_order_is_filled_under_its_ticket():
    made = terminal()
    order = made.place_order("EURUSD", "sell", magic=7)
    assert (made.open_positions(), made.deals()[1:]) == ([], [])
    made.fill_more(order, "0.10", comment="limit")
    made.fill_more(order, "0.20")
    (held,) = made.open_positions()
    assert (held.position_id, held.ticket, held.side, held.volume) == (order, order, Side.SELL, Decimal("0.30"))
    assert (held.magic, held.comment) == (7, "limit")


def test_changes_of_deals_are_counted_apart_from_ticks():
    made = terminal()
    before = made.deals_revision, made.revision
    made.tick()
    assert (made.deals_revision, made.revision) == (before[0], before[1] + 1)
    made.withdraw(made.deals()[0]["ticket"])
    assert made.deals() == []
    assert (made.deals_revision, made.revision) == (before[0] + 1, before[1] + 2)


def test_orders_that_cannot_be_are_refused_with_mt5s_codes():
    made = terminal()
    order = made.send_order("EURUSD", "buy", "0.10").order
    assert made.send_order("NOTHING", "buy", "0.10").retcode == INVALID
    assert made.send_order("EURUSD", "buy", "0.105").retcode == INVALID_VOLUME
    assert made.send_order("EURUSD", "buy", "0").retcode == INVALID_VOLUME
    assert made.send_order("EURUSD", "buy", "0.10", position=order).retcode == INVALID
    assert made.send_order("EURUSD", "sell", "0.11", position=order).retcode == INVALID_CLOSE_VOLUME
    assert made.send_order("EURUSD", "sell", "0.11", position=1).retcode == POSITION_CLOSED


def test_netting_adds_over_what_remains_reduces_without_moving_the_price_and_reverses_in_one_deal():
    made = terminal("netting")
    at(made, "1.10000")
    order = made.send_order("EURUSD", "buy", "0.20").order
    made.send_order("EURUSD", "sell", "0.10")
    at(made, "1.10300")
    made.send_order("EURUSD", "buy", "0.20")
    assert books(made) == [("EURUSD", "buy", "0.3", Decimal("1.102"))]
    at(made, "1.10400")
    reversed_by = made.send_order("EURUSD", "sell", "0.50")
    (deal,) = reversed_by.deals
    assert (deal["entry"], deal["profit"]) == (Entry.IN_OUT, Decimal("60.00"))
    (held,) = made.open_positions()
    assert (held.position_id, held.ticket, held.side.value, held.volume) == (order, reversed_by.order, "sell", Decimal("0.20"))


def test_prices_are_rounded_to_three_decimals_more_than_the_symbol_has_but_not_on_an_exchange():
    for mode, shown in (("netting", Decimal("156.333333")), ("exchange", Decimal("156.33333333333334"))):
        made = terminal(mode)
        at(made, "156.300", "USDJPY")
        made.send_order("USDJPY", "buy", "0.02")
        at(made, "156.400", "USDJPY")
        made.send_order("USDJPY", "buy", "0.01")
        assert books(made) == [("USDJPY", "buy", "0.03", shown)]


def test_close_by_makes_two_deals_and_books_the_result_on_one():
    made = terminal()
    at(made, "1.10000")
    long = made.send_order("EURUSD", "buy", "0.30").order
    at(made, "1.10200")
    short = made.send_order("EURUSD", "sell", "0.10").order
    answer = made.close_by(long, short)
    assert [(one["entry"], one["position_id"], one["price"]) for one in answer.deals] == [
        (Entry.OUT_BY, long, Decimal("1.10200")), (Entry.OUT_BY, short, Decimal("1.10000")),
    ]  # fmt: skip
    assert [one["profit"] for one in answer.deals] == [Decimal("20.00"), 0]
    assert books(made) == [("EURUSD", "buy", "0.2", Decimal("1.1"))]


def test_swap_gathers_on_the_position_and_is_booked_with_what_is_closed():
    made = terminal()
    order = made.send_order("EURUSD", "buy", "0.40").order
    made._open[order].swap = Decimal("-4.00")
    half = made.close(order, "0.20").deals[0]
    rest = made.close(order).deals[0]
    assert (half["swap"], rest["swap"]) == (Decimal("-2.00"), Decimal("-2.00"))


def test_credit_is_apart_and_a_stop_out_is_reported():
    made = terminal()
    made.cash(3, "50")
    assert (made.balance, made.credit) == (Decimal(10000), Decimal(50))
    order = made.send_order("EURUSD", "buy", "0.10").order
    deal = made.stop_out(order).deals[0]
    assert deal["reason"] == 6
    assert deal["comment"].startswith("[so ")


def test_a_rollover_gives_a_new_ticket_and_an_order_may_open_its_position_again():
    made = terminal()
    order = made.send_order("EURUSD", "buy", "0.10").order
    ticket = made.rollover(order)
    assert [(one["identifier"], one["ticket"]) for one in made.positions()] == [(order, ticket)]
    made.close(order)
    made.fill_more(order, "0.05")
    assert [(one.position_id, one.volume) for one in made.open_positions()] == [(order, Decimal("0.05"))]


def test_deals_are_listed_by_span_both_ends_included_and_by_position():
    made = terminal()
    answer = made.send_order("EURUSD", "buy", "0.30", parts=3)
    first, second, third = (one["time_msc"] for one in answer.deals)
    assert answer.retcode == DONE
    assert {one["ticket"] for one in made.deals(from_msc=second, to_msc=third)} >= {one["ticket"] for one in answer.deals[1:]}
    assert len(made.deals(from_msc=first, to_msc=third)) == 3
    assert [one["ticket"] for one in made.deals(position=answer.order)] == [one["ticket"] for one in answer.deals]
    assert [one["type"] for one in made.deals()][:2] == [2, "buy"]


@pytest.mark.parametrize("mode", MODES)
def test_the_same_seed_plays_the_same_and_another_one_does_not(mode):
    def played(seed):
        made = terminal(mode, seed=seed)
        made.trade_manually(40)
        return made.books(), made.deals()

    assert played(3) == played(3)
    assert played(3) != played(4)


def test_dirt_is_in_the_last_bit_only():
    assert [Decimal(with_float_noise(Decimal("0.3"), ticket)).quantize(Decimal("1e-12")) for ticket in range(6)] == [
        Decimal("0.3")
    ] * 6
    assert with_float_noise(Decimal("0.3"), 5) != with_float_noise(Decimal("0.3"), 6)


def test_random_positions_are_as_many_as_asked_for():
    assert len(open_random_positions(terminal(seed=9), 12)) == 12
    assert terminal("netting").open_positions() == []


@given(seed=st.integers(0, 10_000), mode=st.sampled_from(MODES), count=st.integers(1, 60))
def test_the_books_are_the_sum_of_the_deals(seed, mode, count):
    made = terminal(mode, seed=seed)
    made.trade_manually(count)
    money, signed = Decimal(0), dict[object, Decimal]()
    for deal in made._deals:
        money += deal["commission"] + deal["fee"] + deal["swap"] + (0 if deal["type"] == 3 else deal["profit"])
        if deal["type"] in (0, 1):
            key = deal["position_id"] if mode == "hedging" else deal["symbol"]
            signed[key] = signed.get(key, Decimal(0)) + (deal["volume"] if deal["type"] == 0 else -deal["volume"])
    assert made.balance == money
    held = {
        (one.position_id if mode == "hedging" else one.symbol): one.volume if one.side.value == "buy" else -one.volume
        for one in made.open_positions()
    }
    assert held == {key: volume for key, volume in signed.items() if volume}


def test_a_renamed_symbol_is_that_of_open_positions_and_not_of_their_deals():
    terminal = Terminal(seed=3)
    (deal,) = terminal.send_order("EURUSD", "buy", "0.10").deals
    terminal.send_order("GBPUSD", "buy", "0.10")
    terminal.rename_symbol("EURUSD", "EURUSD.r")
    assert [row["symbol"] for row in terminal.positions()] == ["EURUSD.r", "GBPUSD"]
    assert terminal.deals()[0]["symbol"] == "EURUSD"
    assert terminal.close(deal["position_id"]).is_done
    assert not terminal.open_positions()[0].symbol.startswith("EURUSD")
    for symbol, name in (("XXX", "YYY"), ("EURUSD", "GBPUSD")):
        with pytest.raises(BadValue, match="a name that is new"):
            terminal.rename_symbol(symbol, name)
