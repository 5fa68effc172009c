"""What is asked of the orders: by client id, token, ticket and time, as they were recorded, and at what cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Adjusted, Ledger, LimitsSet, OrderDenied, StorePinned, SymbolSpecified
from ledger.errors import LedgerError, OrderConflict
from ledger.events.orders import OrderBasis, OrderOutcome, Verdict
from ledger.folds import ORDERS
from ledger.orders.request import OrderRequest
from ledger.orders.states import FINAL, OrderState
from ledger.orders.view import Order, Orders
from tests.property.test_journals_agree import batches
from tests.support.journals import ACCOUNT, START_MSC, Clock, fill, opened
from tools.testkit.orders import TOKEN, absent, answered, intended, seen

DAY_MSC = 86_400_000


@pytest.fixture
def account():
    with Ledger.open("memory://", now_us=Clock()) as ledger:
        account = ledger.account(ACCOUNT)
        account.record(opened())
        yield account


def orders_of(account) -> Orders:
    orders: Orders = account.current_orders()[1]
    return orders


def one(found: Order | None) -> Order:
    assert found is not None
    return found


def test_an_order_shows_its_whole_request_and_all_that_is_known_of_it(account):
    asked = OrderRequest.pending(
        "EURUSD", "buy", "0.30", type="stop_limit", price="1.0510", stoplimit="1.05", sl=0, tp="1.2", deviation=5,
        filling="ioc", lifetime="specified", expires_msc=START_MSC + 9, magic=2**64 - 1, comment_tail="ema", strategy="s",
    )  # fmt: skip
    account.record_many([
        intended(1, 1, **{name: value for name, value in asked.fields.items() if value is not None}, store="9b1c",
                 checked_version=1, valid_until_utc_msc=START_MSC + 5000),
        answered(1, 2, "unknown", retcode=10012), absent(1, 3),
    ])  # fmt: skip
    order = one(orders_of(account).order("c-1"))
    assert order.request == asked
    assert (order.store, order.checked_version, order.intended_msc) == ("9b1c", 1, START_MSC + 1000)
    assert (order.verdict, order.retcode) == (Verdict.UNKNOWN, 10012)
    assert (order.resolutions, order.outcome, order.basis) == (1, OrderOutcome.ABSENT, OrderBasis.ABSENCE)
    account.record(seen(1, 4, 1, price_open="1.0511", sl="1.01", tp=0))
    order = one(orders_of(account).by_ticket(1))
    shown = [order.broker_state, order.volume_current, order.price, order.sl, order.tp]
    assert shown == [1, 0, Decimal("1.0511"), Decimal("1.01"), 0]
    assert order == one(orders_of(account).by_token(TOKEN))
    assert ORDERS.restore(account.terms, orders_of(account).state()).orders() == orders_of(account).orders()


def test_a_denied_order_shows_its_request_and_is_found_by_its_client_id_alone(account):
    request = OrderRequest.market("EURUSD", "sell", 1)
    account.record(OrderDenied(client_id="d", rule="r", why="w", time_msc=START_MSC, token=TOKEN, **request.fields))
    orders = orders_of(account)
    assert one(orders.order("d")).request == request
    assert (orders.by_token(TOKEN), orders.open_orders(), orders.intended_since(0)) == (None, (), ())


def test_what_is_under_way_about_an_order_shows_however_it_is_asked_for(account):
    account.record_many([intended(1, 1), answered(1, 2), intended(2, 3, kind="cancel", target_order=1, token="L" + "B" * 19)])
    orders = orders_of(account)
    found = [orders.order("c-1"), orders.by_ticket(1), orders.by_token(TOKEN), orders.open_orders()[0], orders.orders()[0]]
    assert {one(order).state for order in found} == {OrderState.CANCELLING}
    assert one(orders.order("c-2")).request == OrderRequest.cancel(1, **{
        name: getattr(one(orders.order("c-2")).request, name) for name in ("symbol", "side", "volume")
    })  # fmt: skip


def test_an_order_that_is_not_ours_is_found_by_its_ticket_until_it_is_ours(account):
    account.record(seen(7, 1, 1, client_id=None))
    assert one(orders_of(account).by_ticket(7)).client_id is None
    assert orders_of(account).order("#7") is None
    account.record(seen(7, 2, 1))
    orders = orders_of(account)
    assert [order.client_id for order in orders.open_orders()] == ["c-7"]
    assert one(orders.by_ticket(7)) == one(orders.order("c-7"))


def test_intents_of_a_time_are_found_whatever_became_of_them_and_whatever_the_clock_shows(account):
    account.record_many([
        Adjusted(operator="o", reason="r", time_msc=START_MSC, clock_before="UTC", clock_after="ny-close"),
        *(intended(number, second) for number, second in ((1, 5), (2, 3), (3, 4))), answered(2, 9, "rejected"),
    ])  # fmt: skip
    orders, clock = orders_of(account), account.terms.clock
    first = clock.to_utc_msc(START_MSC)
    asked = {after: [order.client_id for order in orders.intended_since(first + after)] for after in (3000, 3001, 4001, 5001)}
    assert asked == {3000: ["c-2", "c-3", "c-1"], 3001: ["c-3", "c-1"], 4001: ["c-1"], 5001: []}
    assert one(orders.order("c-2")).intended_utc_msc == first + 3000


def test_an_intent_of_the_hour_that_is_shown_twice_counts_as_late_as_it_can_be(account):
    clock = "ny-close"
    hour_msc = 1_762_070_400_000  # 2025-11-02T08:00, server time: 05:00 or 06:00 UTC
    account.record_many([
        Adjusted(operator="o", reason="r", time_msc=START_MSC, clock_before="UTC", clock_after=clock),
        intended(1, (hour_msc - START_MSC) // 1000 + 600),
    ])  # fmt: skip
    utc_msc = hour_msc - 2 * 3_600_000 + 600_000
    assert [len(orders_of(account).intended_since(at)) for at in (0, utc_msc - 3_600_000, utc_msc, utc_msc + 1)] == [1, 1, 1, 0]


def test_what_applies_is_that_of_the_newest_version_whatever_was_asked_before(account):
    other = account.ledger.account(account.name)
    for number, ask in enumerate((account.current, account.current_orders, account.current_with_orders), 1):
        ask()
        assert account.terms == account.ledger.journal.terms(account.name, account.version)
        other.record(SymbolSpecified(symbol=f"S{number}", digits=number, time_msc=START_MSC))
        assert f"S{number}" in account.terms.symbols
        version, portfolio, orders = account.current_with_orders()
        assert (version, f"S{number}" in portfolio.terms.symbols, f"S{number}" in orders.terms.symbols) == (
            account.version, True, True,
        )  # fmt: skip


def test_new_intents_are_pinned_to_the_store_that_was_pinned_last(account):
    assert (orders_of(account).pinned_store, orders_of(account).pinned_number) == (None, 0)
    first = StorePinned(store="9b1c", number=1, reason="first use", time_msc=START_MSC)
    account.record(first)
    assert orders_of(account).pinned_store == "9b1c"
    account.record(StorePinned(store="77aa", number=2, operator="ann", reason="new disk", time_msc=START_MSC))
    account.record(first)  # a duplicate
    orders = orders_of(account)
    assert (orders.pinned_store, orders.pinned_number) == ("77aa", 2)
    assert Orders.from_state(account.terms, orders.state()).pinned_store == "77aa"
    with pytest.raises(OrderConflict, match="pin:2"):
        account.record(StorePinned(store="0000", number=2, operator="ann", reason="new disk", time_msc=START_MSC))


def test_the_orders_go_on_with_what_is_new_and_nothing_else_is_read(account, monkeypatch):
    account.record_many([intended(1, 1), answered(1, 2), fill(1, 3, order=1), fill(2, 3)])
    version, orders = account.current_orders()
    read: list[int] = []
    rows = account._journal.rows

    def counted(*asked: Any, **how: Any) -> Any:
        for row in rows(*asked, **how):
            read.append(row.version)
            yield row

    monkeypatch.setattr(account._journal, "rows", counted)
    monkeypatch.setattr(account._journal, "order_rows", lambda *_, **__: pytest.fail("everything is read again"))
    assert account.current_orders() == (version, orders)
    account.record_many([
        fill(3, 4, order=1), SymbolSpecified(symbol="X", digits=1, volume_step="0.1", time_msc=START_MSC),
        fill(4, 4, order=2, symbol="X", volume="0.1"),
        Adjusted(operator="o", reason="r", time_msc=START_MSC, clock_before="UTC", clock_after="+02:00"), intended(2, 6),
    ])  # fmt: skip
    known, same = account.current_orders()
    assert (known, same, read[:6]) == (version + 5, orders, [5, 6, 7, 8, 9, 10])  # 5, to see that it is still there
    assert one(orders.order("c-1")).filled == 2
    assert one(orders.order("c-2")).intended_utc_msc == START_MSC + 6000 - 2 * 3_600_000
    monkeypatch.undo()
    assert orders.state() == account.replayed_orders(account.selection()[0], checkpoints=False).state()


def test_what_is_asked_about_one_order_looks_at_no_finished_ones(account, monkeypatch):
    account.record_many([one for n in range(1, 40) for one in (intended(n, n), answered(n, n), fill(n, n, order=n, volume=2))])
    account.record(intended(99, 99))
    orders = orders_of(account)
    shown: list[str] = []
    state_at = Orders._state_at

    def noted(self: Orders, record: Any, at_utc_msc: int | None) -> Any:
        shown.append(record.client_id)
        return state_at(self, record, at_utc_msc)

    monkeypatch.setattr(Orders, "_state_at", noted)
    assert [order.client_id for order in orders.open_orders()] == ["c-99"]
    orders.order("c-5")
    orders.by_ticket(7)
    assert len(orders.intended_since(START_MSC + 38_500)) == 2
    assert set(shown) == {"c-99", "c-5", "c-7", "c-39"}


@given(steps=st.lists(batches, max_size=6), at=st.none() | st.integers(0, 8))
def test_every_way_of_asking_gives_the_same_orders(steps, at):
    """Any history: what goes on, what is replayed and what is restored are one, and so are the ways to ask."""
    at_utc_msc = None if at is None else START_MSC + at * 1000
    with Ledger.open("memory://", now_us=Clock()) as ledger:
        account = ledger.account(ACCOUNT)
        account.record(opened())
        for events in steps:
            try:
                account.record_many(events)
            except LedgerError:
                continue
            version, orders = account.current_orders()
            assert version == account.version
            assert orders.state() == account.replayed_orders(account.selection()[0], checkpoints=False).state()
        orders = account.current_orders()[1]
        every = orders.orders(at_utc_msc=at_utc_msc)
        assert Orders.from_state(account.terms, orders.state()).open_orders(at_utc_msc) == orders.open_orders(at_utc_msc)
        assert set(orders.open_orders(at_utc_msc)) == {order for order in every if order.state not in FINAL}
        for order in every:
            if order.client_id is not None:
                assert orders.order(order.client_id, at_utc_msc=at_utc_msc) == order
            for ticket in order.tickets:
                assert one(orders.by_ticket(ticket, at_utc_msc=at_utc_msc)).client_id is not None or order.client_id is None
        intents = [order for order in every if order.intended_msc is not None]
        assert set(orders.intended_since(0, at_utc_msc=at_utc_msc)) == set(intents)


def test_an_account_whose_orders_are_only_rules_has_its_deals_when_the_first_order_comes(account):
    account.record_many([LimitsSet(rules={}, operator="o", reason="r", time_msc=START_MSC), fill(1, 1, order=1)])
    assert orders_of(account).orders() == ()
    account.record_many([fill(2, 1, order=1), intended(1, 1), answered(1, 2)])
    assert one(orders_of(account).order("c-1")).filled == 2


@pytest.mark.parametrize(("volume", "expected"), [("0", None), (None, None), ("0.3", Decimal("0.3"))])
def test_the_volume_of_a_close_of_all_that_was_answered_with_none_is_not_known(account, volume, expected):
    account.record_many([intended(1, 1, kind="close", position_id=7, volume=None), answered(1, 2, volume=volume)])
    assert one(orders_of(account).order("c-1")).volume == expected
