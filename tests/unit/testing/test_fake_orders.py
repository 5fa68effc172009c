"""The fake ``MetaTrader5``: what comes of orders, and what the history shows of them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ledger.errors import BadValue
from ledger.testing import FakeSettings, fake_mt5
from ledger.testing.mt5 import FakeMetaTrader5

FAR = 2_000_000_000


def make(mode="hedging", *, spread=2, **settings):
    module = fake_mt5(mode=mode, settings=FakeSettings(**settings), spread=spread)
    module.initialize()
    module.control.set_price("EURUSD", "1.10000")
    return module


@pytest.fixture
def mt5():
    return make()


def request(side="buy", volume=0.1, **more):
    kinds = {"buy": FakeMetaTrader5.ORDER_TYPE_BUY, "sell": FakeMetaTrader5.ORDER_TYPE_SELL}
    return {
        "action": FakeMetaTrader5.TRADE_ACTION_DEAL, "symbol": "EURUSD", "volume": volume, "type": kinds[side], "magic": 7,
        "type_filling": FakeMetaTrader5.ORDER_FILLING_IOC, "comment": "first",
    } | more  # fmt: skip


def pending(kind, price, **more):
    return (
        request()
        | {
            "action": FakeMetaTrader5.TRADE_ACTION_PENDING,
            "type": getattr(FakeMetaTrader5, f"ORDER_TYPE_{kind}"),
            "price": price,
            "type_filling": FakeMetaTrader5.ORDER_FILLING_RETURN,
        }
        | more
    )


# ---- market orders


def test_a_market_order_is_answered_with_order_and_deal(mt5):
    result = mt5.order_send(request())
    assert (result.retcode, result.volume, result.price) == (10009, 0.1, 1.10002)
    assert (result.bid, result.ask, result.comment) == (1.1, 1.10002, "Request executed")
    (deal,) = mt5.history_deals_get(ticket=result.order)
    assert (deal.ticket, deal.magic, deal.reason) == (result.deal, 7, mt5.DEAL_REASON_EXPERT)
    assert deal.price == pytest.approx(1.10002)
    (order,) = mt5.history_orders_get(ticket=result.order)
    assert (order.state, order.position_id, order.volume_current) == (mt5.ORDER_STATE_FILLED, result.order, 0.0)
    (position,) = mt5.positions_get()
    assert (position.identifier, position.ticket, position.comment) == (result.order, result.order, "first")
    assert result.request.symbol == "EURUSD"


def test_requests_are_numbered_within_a_session(mt5):
    assert [mt5.order_send(request()).request_id for _ in range(2)] == [1, 2]
    mt5.shutdown()
    mt5.initialize()
    assert mt5.order_send(request()).request_id == 1


def test_a_position_is_closed_by_its_ticket(mt5):
    opened = mt5.order_send(request(volume=0.3))
    part = mt5.order_send(request("sell", 0.1, position=opened.order))
    assert part.retcode == 10009
    assert [row.volume for row in mt5.positions_get()] == [pytest.approx(0.2)]
    assert mt5.order_send(request("sell", 0.3, position=opened.order)).retcode == mt5.TRADE_RETCODE_INVALID_CLOSE_VOLUME
    assert mt5.order_send(request("buy", 0.1, position=opened.order)).retcode == mt5.TRADE_RETCODE_INVALID
    assert mt5.order_send(request("sell", 0.2, position=opened.order)).retcode == 10009
    assert mt5.positions_get() == ()
    assert mt5.order_send(request("sell", 0.2, position=opened.order)).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED
    assert [row.entry for row in mt5.history_deals_get(position=opened.order)] == [0, 1, 1]
    assert len(mt5.history_orders_get(position=opened.order)) == 3


def test_after_a_rollover_only_the_new_ticket_closes(mt5):
    opened = mt5.order_send(request())
    ticket = mt5.terminal.rollover(opened.order)
    (position,) = mt5.positions_get()
    assert (position.ticket, position.identifier) == (ticket, opened.order)
    assert mt5.order_send(request("sell", position=opened.order)).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED
    assert mt5.order_send(request("sell", position=ticket)).retcode == 10009


def test_a_netting_account_reverses(mt5):
    netting = make("netting")
    first = netting.order_send(request(volume=0.1))
    netting.order_send(request("sell", volume=0.3))
    (position,) = netting.positions_get()
    assert (position.identifier, position.type, position.volume) == (first.order, 1, pytest.approx(0.2))
    assert position.ticket != first.order
    assert [row.entry for row in netting.history_deals_get(position=first.order)] == [0, 2]


def test_an_exchange_answers_before_its_deals():
    exchange = make("exchange", parts=2)
    result = exchange.order_send(request())
    assert (result.retcode, result.deal, result.price) == (exchange.TRADE_RETCODE_PLACED, 0, 0.0)
    assert result.order
    assert [row.volume for row in exchange.history_deals_get(ticket=result.order)] == pytest.approx([0.05, 0.05])


@pytest.mark.parametrize(
    ("settings", "changes", "retcode"),
    [
        ({}, {"action": 99}, 10013),
        ({}, {"symbol": "NOPE"}, 10013),
        ({}, {"volume": float("nan")}, 10013),
        ({}, {"type": 8}, 10035),
        ({}, {"volume": 0.0}, 10014),
        ({}, {"volume": 0.015}, 10014),
        ({}, {"volume": 50.01}, 10014),
        ({"volume_limit": 0.05}, {}, 10034),
        ({"filling_mode": 1}, {}, 10030),
        ({"filling_mode": 2}, {"type_filling": 0}, 10030),
        ({}, {"type_filling": 2}, 10030),
        ({"execution": 1}, {"type_filling": 1}, 10030),
        ({"limit_orders": 0, "is_trading_allowed": False}, {}, 10027),
        ({"is_account_trading_allowed": False}, {}, 10017),
        ({}, {"sl": 1.1}, 10016),
        ({}, {"sl": 1.2}, 10016),
        ({}, {"tp": 1.05}, 10016),
        ({}, {"sl": 1.099999}, 10016),
        ({"stops_level": 50}, {"sl": 1.0996}, 10016),
        ({"is_margin_checked": True}, {"volume": 20.0}, 10019),
        ({"liquidity": 0.05}, {"type_filling": 0}, 10006),
        ({"execution": 1}, {"type_filling": 0, "price": 1.1, "deviation": 1}, 10004),
    ],
)
def test_what_the_server_refuses(settings, changes, retcode):
    mt5 = make(**settings)
    result = mt5.order_send(request(**changes))
    assert (result.retcode, result.order, result.deal, result.volume) == (retcode, 0, 0, 0.0)
    assert mt5.positions_get() == ()
    assert mt5.history_orders_get(0, FAR) == ()
    if retcode != 10006:
        assert mt5.order_check(request(**changes)).retcode == retcode


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"stops_level": 50}, {"sl": 1.0995, "tp": 1.1005}),
        ({"filling_mode": 1}, {"type_filling": 0}),
        ({"volume_limit": 0.1}, {}),
        ({}, {"volume": 0.01}),
        ({"volume_max": 0.1}, {}),
        ({"execution": 1}, {"type_filling": 0, "price": 1.1, "deviation": 2}),
        ({"is_margin_checked": True}, {"volume": 1.0}),
    ],
)
def test_what_the_server_accepts(settings, changes):
    mt5 = make(**settings)
    assert mt5.order_check(request(**changes)).retcode == 0
    assert mt5.order_send(request(**changes)).retcode == 10009


def test_the_package_can_be_locked_out_in_the_terminal():
    mt5 = make(is_api_disabled=True)
    assert mt5.terminal_info().tradeapi_disabled
    assert mt5.order_send(request()) is None
    assert mt5.last_error() == (-8, "Auto-Trading using Python API disabled in Terminal")


def test_beyond_the_order_limit_exits_are_refused_too():
    mt5 = make(limit_orders=2)
    opened = [mt5.order_send(request()), mt5.order_send(pending("BUY_LIMIT", 1.09))]
    assert mt5.order_send(pending("BUY_LIMIT", 1.09)).retcode == mt5.TRADE_RETCODE_LIMIT_POSITIONS
    assert mt5.order_send(request("sell", position=opened[0].order)).retcode == mt5.TRADE_RETCODE_LIMIT_POSITIONS
    assert mt5.account_info().limit_orders == 2


def test_the_volume_limit_is_of_one_symbol_and_direction():
    mt5 = make(volume_limit=0.15)
    opened = mt5.order_send(request())
    assert mt5.order_send(request("sell")).retcode == 10009
    assert mt5.order_send(request(symbol="GBPUSD")).retcode == 10009
    assert mt5.order_send(request()).retcode == mt5.TRADE_RETCODE_LIMIT_VOLUME
    assert mt5.order_send(request("sell", position=opened.order)).retcode == 10009, "closing is not limited"
    assert mt5.order_send(pending("BUY_LIMIT", 1.09)).retcode == 10009
    assert mt5.order_send(request()).retcode == mt5.TRADE_RETCODE_LIMIT_VOLUME, "a pending order counts"
    assert mt5.order_send(pending("SELL_LIMIT", 1.2, volume=0.05)).retcode == 10009


@pytest.mark.parametrize("volume", ["0", "-0.01", "0.11"])
def test_no_more_than_the_rest_of_an_order_is_filled(mt5, volume):
    placed = mt5.order_send(pending("BUY_LIMIT", 1.09))
    with pytest.raises(BadValue, match="expected an active order with so much left"):
        mt5.control.fill_order(placed.order, volume)
    mt5.control.fill_order(placed.order, "0.10")
    with pytest.raises(BadValue, match="see orders_get"):
        mt5.control.fill_order(placed.order)


def test_a_symbol_with_a_position_stays_in_the_market_watch(mt5):
    mt5.order_send(request())
    assert mt5.symbol_select("EURUSD", False) is False  # as the package has it
    assert mt5.symbol_select("EURUSD", True)
    assert mt5.symbol_select("GBPUSD", False)
    assert (mt5.symbol_info("EURUSD").visible, mt5.symbol_info("GBPUSD").visible) == (True, False)
    assert mt5.symbol_select("GBPUSD")
    assert mt5.symbol_info("GBPUSD").select


def test_an_order_filled_in_part_is_cancelled_with_its_fills():
    mt5 = make(liquidity=0.25)
    result = mt5.order_send(request(volume=1.0))
    assert (result.retcode, result.volume) == (mt5.TRADE_RETCODE_DONE_PARTIAL, 0.25)
    (order,) = mt5.history_orders_get(ticket=result.order)
    assert (order.state, order.volume_initial, order.volume_current) == (mt5.ORDER_STATE_CANCELED, 1.0, 0.75)
    assert mt5.positions_get()[0].volume == pytest.approx(0.25)


def test_an_exchange_leaves_the_rest_of_a_return_order_in_the_book():
    mt5 = make("exchange", liquidity=0.25)
    result = mt5.order_send(request(volume=1.0, type_filling=mt5.ORDER_FILLING_RETURN))
    (order,) = mt5.orders_get()
    assert (order.ticket, order.state, order.volume_current) == (result.order, mt5.ORDER_STATE_PARTIAL, 0.75)
    mt5.control.fill_order(result.order, "0.50")
    mt5.control.fill_order(result.order)
    assert mt5.orders_get() == ()
    assert mt5.history_orders_get(ticket=result.order)[0].state == mt5.ORDER_STATE_FILLED
    assert mt5.positions_get()[0].volume == pytest.approx(1.0)


def test_the_account_shows_the_profit_of_its_positions(mt5):
    mt5.order_send(request(volume=1.0))
    mt5.control.set_price("EURUSD", "1.10100")
    account = mt5.account_info()
    assert account.profit == pytest.approx(98.0) == pytest.approx(sum(row.profit for row in mt5.positions_get()))
    assert account.equity == pytest.approx(account.balance + 98.0)
    assert account.margin == pytest.approx(1101.0)
    assert account.margin_free == pytest.approx(account.equity - account.margin)
    assert account.margin_level == pytest.approx(account.equity / account.margin * 100, abs=0.01)


def test_checking_an_order_sends_nothing(mt5):
    checked = mt5.order_check(request())
    assert (checked.retcode, checked.comment, checked.balance) == (0, "Done", 10_000.0)
    assert checked.margin == pytest.approx(110.0, abs=0.01)
    assert checked.margin_free == pytest.approx(9890.0, abs=0.01)
    assert mt5.positions_total() == 0
    assert mt5.order_calc_margin(0, "EURUSD", 0.1, 1.1) == checked.margin
    assert mt5.order_calc_profit(1, "EURUSD", 0.1, 1.1, 1.09) == pytest.approx(100.0)


# ---- stops


def test_stops_are_set_with_the_order_and_changed_without_a_record(mt5):
    opened = mt5.order_send(request(sl=1.09, tp=1.12))
    assert (mt5.positions_get()[0].sl, mt5.positions_get()[0].tp) == (1.09, 1.12)
    change = {"action": mt5.TRADE_ACTION_SLTP, "position": opened.order, "sl": 1.095, "tp": 0.0}
    changed = mt5.order_send(change)
    assert (changed.retcode, changed.order, changed.deal) == (10009, 0, 0)
    assert (mt5.positions_get()[0].sl, mt5.positions_get()[0].tp) == (1.095, 0.0)
    assert mt5.order_send(change).retcode == mt5.TRADE_RETCODE_NO_CHANGES
    assert mt5.order_check(change | {"sl": 1.08, "symbol": "NOPE"}).retcode == 0
    assert mt5.order_send(change | {"sl": 1.2}).retcode == mt5.TRADE_RETCODE_INVALID_STOPS
    assert mt5.order_send(change | {"position": 1}).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED
    assert len(mt5.history_orders_get(0, FAR)) == 1


def test_a_broker_may_lose_the_stops_of_an_order():
    mt5 = make(drops_stops=True)
    assert mt5.order_send(request(sl=1.09, tp=1.12)).retcode == 10009
    assert (mt5.positions_get()[0].sl, mt5.positions_get()[0].tp) == (0.0, 0.0)


def test_a_reversal_has_the_stops_of_the_order_that_reversed():
    netting = make("netting")
    netting.order_send(request(sl=1.09))
    netting.order_send(request(volume=0.1))
    assert netting.positions_get()[0].sl == 1.09, "an addition without stops leaves them"
    netting.order_send(request("sell", 0.5))
    assert (netting.positions_get()[0].type, netting.positions_get()[0].sl) == (1, 0.0)


@pytest.mark.parametrize(
    ("side", "stops", "price", "comment", "reason"),
    [
        ("buy", {"sl": 1.09}, "1.08990", "[sl 1.09000]", 4),
        ("buy", {"tp": 1.12}, "1.12000", "[tp 1.12000]", 5),
        ("sell", {"sl": 1.12}, "1.11998", "[sl 1.12000]", 4),
        ("sell", {"tp": 1.09}, "1.08998", "[tp 1.09000]", 5),
    ],
)
def test_the_server_closes_at_a_stop(mt5, side, stops, price, comment, reason):
    opened = mt5.order_send(request(side, **stops))
    mt5.control.set_price("EURUSD", price)
    assert mt5.positions_get() == ()
    assert mt5.broker.stops == {}
    deal = mt5.history_deals_get(position=opened.order)[-1]
    assert (deal.comment, deal.reason, deal.magic, deal.entry) == (comment, reason, 7, 1)
    (order,) = mt5.history_orders_get(ticket=deal.order)
    assert (order.reason, order.comment, order.state) == (reason, comment, mt5.ORDER_STATE_FILLED)


@pytest.mark.parametrize(("side", "price"), [("buy", "1.09001"), ("sell", "1.11997")])
def test_short_of_a_stop_nothing_is_closed(mt5, side, price):
    mt5.order_send(request(side, **({"sl": 1.09} if side == "buy" else {"sl": 1.12})))
    mt5.control.set_price("EURUSD", price)
    assert mt5.positions_total() == 1


def test_without_margin_the_server_closes_the_largest_loss():
    mt5 = make(stop_out_level=10.0)
    mt5.order_send(request("sell", 1.0))
    bad = mt5.order_send(request(volume=8.0))
    mt5.control.set_price("EURUSD", "1.08600")
    assert [row.volume for row in mt5.positions_get()] == [1.0]
    deal = mt5.history_deals_get(position=bad.order)[-1]
    assert (deal.reason, deal.comment[:3]) == (mt5.DEAL_REASON_SO, "[so")


# ---- pending orders


@pytest.mark.parametrize(
    ("kind", "price", "reached", "short"),
    [
        ("BUY_LIMIT", 1.09, "1.08998", "1.08999"),
        ("SELL_LIMIT", 1.11, "1.11000", "1.10999"),
        ("BUY_STOP", 1.11, "1.10998", "1.10997"),
        ("SELL_STOP", 1.09, "1.09000", "1.09001"),
    ],
)
def test_a_pending_order_waits_for_its_price(mt5, kind, price, reached, short):
    placed = mt5.order_send(pending(kind, price, sl=1.0 if kind.startswith("BUY") else 1.2))
    assert (placed.retcode, placed.deal, placed.price) == (10009, 0, 0.0)
    (order,) = mt5.orders_get(ticket=placed.order)
    assert (order.state, order.price_open, order.volume_current, order.time_done) == (mt5.ORDER_STATE_PLACED, price, 0.1, 0)
    mt5.control.set_price("EURUSD", short)
    assert mt5.orders_total() == 1
    mt5.control.set_price("EURUSD", reached)
    assert mt5.orders_get() == ()
    (position,) = mt5.positions_get()
    assert (position.ticket, position.comment, position.magic) == (placed.order, "first", 7)
    assert position.sl in (1.0, 1.2)
    (order,) = mt5.history_orders_get(ticket=placed.order)
    assert (order.state, order.position_id) == (mt5.ORDER_STATE_FILLED, placed.order)


def test_a_stop_limit_order_becomes_a_limit_order(mt5):
    placed = mt5.order_send(pending("BUY_STOP_LIMIT", 1.11, stoplimit=1.105))
    mt5.control.set_price("EURUSD", "1.11100")
    (order,) = mt5.orders_get()
    assert (order.ticket, order.type, order.price_open) == (placed.order, mt5.ORDER_TYPE_BUY_LIMIT, 1.105)
    mt5.control.set_price("EURUSD", "1.10490")
    assert mt5.positions_total() == 1


@pytest.mark.parametrize(
    ("kind", "price", "more", "retcode"),
    [
        ("BUY_LIMIT", 1.2, {}, 10015),
        ("SELL_LIMIT", 1.0, {}, 10015),
        ("BUY_STOP", 1.0, {}, 10015),
        ("SELL_STOP", 1.2, {}, 10015),
        ("BUY_LIMIT", 1.0900001, {}, 10015),
        ("BUY_STOP_LIMIT", 1.2, {"stoplimit": 1.3}, 10015),
        ("BUY_LIMIT", 1.09, {"sl": 1.095}, 10016),
        ("BUY_LIMIT", 1.09, {"type_time": 2, "expiration": 1_000_000}, 10022),
        ("BUY_LIMIT", 1.09, {"type_time": 9}, 10022),
        ("CLOSE_BY", 1.09, {}, 10035),
        ("BUY_LIMIT", 1.09, {"type_filling": 3}, 10030),
    ],
)
def test_a_pending_order_that_the_server_refuses(mt5, kind, price, more, retcode):
    assert mt5.order_send(pending(kind, price, **more)).retcode == retcode
    assert mt5.orders_total() == 0


@pytest.mark.parametrize(
    ("kind", "near", "far"),
    [
        ("BUY_LIMIT", 1.09953, 1.09952),
        ("SELL_LIMIT", 1.10049, 1.10050),
        ("BUY_STOP", 1.10051, 1.10052),
        ("SELL_STOP", 1.09951, 1.09950),
    ],
)
def test_a_pending_order_stays_away_from_the_price(kind, near, far):
    mt5 = make(stops_level=50)
    assert mt5.order_send(pending(kind, near)).retcode == mt5.TRADE_RETCODE_INVALID_PRICE
    assert mt5.order_send(pending(kind, far)).retcode == 10009


@pytest.mark.parametrize(("kind", "price"), [("BUY_STOP_LIMIT", 1.11), ("SELL_STOP_LIMIT", 1.09)])
def test_a_stop_limit_order_falls_back_to_a_better_price(mt5, kind, price):
    better = price - 0.00001 if kind.startswith("BUY") else price + 0.00001
    assert mt5.order_send(pending(kind, price, stoplimit=price)).retcode == mt5.TRADE_RETCODE_INVALID_PRICE
    assert mt5.order_send(pending(kind, price, stoplimit=round(better, 5))).retcode == 10009


def test_a_pending_order_is_modified_and_removed(mt5):
    placed = mt5.order_send(pending("BUY_LIMIT", 1.09))
    change = {"action": mt5.TRADE_ACTION_MODIFY, "order": placed.order, "price": 1.08, "sl": 1.07}
    changed = mt5.order_send(change)
    assert (changed.retcode, changed.order, changed.deal) == (10009, placed.order, 0)
    assert (mt5.orders_get()[0].price_open, mt5.orders_get()[0].sl) == (1.08, 1.07)
    assert mt5.order_send(change).retcode == mt5.TRADE_RETCODE_NO_CHANGES
    assert mt5.order_send(change | {"sl": 1.085}).retcode == mt5.TRADE_RETCODE_INVALID_STOPS
    assert mt5.order_send(change | {"price": 1.2}).retcode == mt5.TRADE_RETCODE_INVALID_PRICE
    assert mt5.order_send(change | {"type_time": 2}).retcode == mt5.TRADE_RETCODE_INVALID_EXPIRATION
    assert (mt5.orders_get()[0].price_open, mt5.orders_get()[0].sl) == (1.08, 1.07)
    removal = {"action": mt5.TRADE_ACTION_REMOVE, "order": placed.order}
    assert mt5.order_send(removal).retcode == 10009
    assert mt5.order_send(removal).retcode == mt5.TRADE_RETCODE_INVALID
    assert mt5.order_send(change).retcode == mt5.TRADE_RETCODE_INVALID_ORDER
    assert mt5.history_orders_get(ticket=placed.order)[0].state == mt5.ORDER_STATE_CANCELED
    assert mt5.history_deals_get(ticket=placed.order) is None


def test_a_pending_order_expires(mt5):
    until = mt5.terminal.now_msc // 1000 + 60
    placed = mt5.order_send(pending("BUY_LIMIT", 1.0, type_time=mt5.ORDER_TIME_SPECIFIED, expiration=until))
    mt5.order_send(pending("BUY_LIMIT", 1.0, type_time=mt5.ORDER_TIME_DAY))
    mt5.control.advance(59_000)
    assert mt5.orders_total() == 2
    mt5.control.advance(1_000)
    assert mt5.history_orders_get(ticket=placed.order)[0].state == mt5.ORDER_STATE_EXPIRED
    mt5.control.advance(86_400_000)
    assert mt5.orders_total() == 0


def test_an_order_is_in_neither_list_for_a_while_and_its_deals_come_later():
    mt5 = make(history_delay_calls=3, deals_delay_calls=2)
    result = mt5.order_send(request())  # call 1: shown from call 4 and 3 on
    assert mt5.orders_get() == ()  # 2
    assert mt5.positions_total() == 1  # 3
    assert len(mt5.history_deals_get(0, FAR)) == 2  # 4: the deposit and the deal
    assert mt5.history_orders_get(ticket=result.order)[0].state == mt5.ORDER_STATE_FILLED
    late = mt5.order_send(request())
    assert mt5.history_orders_get(ticket=late.order) is None
    assert mt5.last_error() == (-2, "Terminal: Invalid params")
    assert len(mt5.history_deals_get(0, FAR)) == 3


def test_two_positions_are_closed_by_one_another(mt5):
    one, other = mt5.order_send(request(volume=0.3)), mt5.order_send(request("sell", 0.1))
    pair = {"action": mt5.TRADE_ACTION_CLOSE_BY, "position": one.order, "position_by": other.order}
    result = mt5.order_send(pair)
    assert result.retcode == 10009
    (order,) = mt5.history_orders_get(ticket=result.order)
    assert (order.type, order.position_id, order.position_by_id) == (mt5.ORDER_TYPE_CLOSE_BY, one.order, other.order)
    assert [row.entry for row in mt5.history_deals_get(ticket=result.order)] == [3, 3]
    assert mt5.positions_get()[0].volume == pytest.approx(0.2)
    assert mt5.order_send(pair).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED


# ---- comments


@pytest.mark.parametrize(("length", "stored"), [(31, "LK3V0123456789ABCDEF ema1"), (16, "LK3V0123456789AB"), (0, "")])
def test_brokers_store_comments_cut_them_or_drop_them(length, stored):
    mt5 = make(comment_length=length)
    result = mt5.order_send(request(comment="LK3V0123456789ABCDEF ema1"))
    assert mt5.positions_get()[0].comment == mt5.history_deals_get(ticket=result.order)[0].comment == stored
    assert mt5.history_orders_get(ticket=result.order)[0].comment == stored


def test_a_partial_close_may_overwrite_the_comment():
    mt5 = make(comment_after_partial_close="PARTIAL_TP")
    opened = mt5.order_send(request(volume=0.3))
    mt5.order_send(request("sell", 0.1, position=opened.order))
    assert (mt5.positions_get()[0].comment, mt5.positions_get()[0].magic) == ("PARTIAL_TP", 7)
    assert mt5.history_orders_get(ticket=opened.order)[0].comment == "first"


def test_a_magic_of_64_bits_is_shown_unsigned(mt5):
    result = mt5.order_send(request(magic=2**64 - 1))
    rows = mt5.positions_get() + mt5.history_deals_get(ticket=result.order) + mt5.history_orders_get(ticket=result.order)
    assert {row.magic for row in rows} == {2**64 - 1}


def test_prices_set_on_command_are_ticks_of_their_moment(mt5):
    before = mt5.symbol_info_tick("GBPUSD").time_msc
    mt5.terminal.now_msc += 5_000
    mt5.control.set_price("EURUSD", Decimal("1.2"))
    assert mt5.symbol_info_tick("EURUSD").time_msc == mt5.terminal.now_msc
    assert mt5.symbol_info_tick("GBPUSD").time_msc == before
    assert (mt5.symbol_info("EURUSD").spread, mt5.symbol_info_tick("EURUSD").ask) == (2, 1.20002)
