"""What the MetaTrader5 module returns becomes an event in one line, and what is no fill is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import BadValue, CashMoved, Entry, FillRecorded, InexactNumber, Ledger, Origin, Side
from ledger.mt5 import deal_type_of, name_of, to_row
from ledger.protocol.read import read_deals
from ledger.protocol.write import encode
from ledger.testing import fake_mt5
from tests.gateway.scripted_mt5 import OPENED_MSC, Record, deal


@pytest.fixture
def mt5():
    module = fake_mt5()
    assert module.initialize()
    return module


def send(mt5, **request: Any) -> Any:
    asked = {"action": mt5.TRADE_ACTION_DEAL, "symbol": "EURUSD", "type": mt5.ORDER_TYPE_BUY, "volume": 0.1, "magic": 7}
    return mt5.order_send(asked | request)


def deal_of(mt5, result: Any) -> Any:
    (found,) = mt5.history_deals_get(ticket=result.order)
    return found


# ---- deals


def test_a_deal_becomes_a_fill(mt5):
    result = send(mt5)
    fill = FillRecorded.from_deal(deal_of(mt5, result))
    assert isinstance(fill, FillRecorded)
    assert (fill.deal, fill.order, fill.position_id) == (result.deal, result.order, result.order)
    assert (fill.symbol, fill.side, fill.entry) == ("EURUSD", Side.BUY, Entry.IN)
    assert (float(fill.volume), float(fill.commission or 0)) == pytest.approx((0.1, -0.35))
    assert fill.origin is Origin.ENGINE


def test_a_deal_that_does_not_trade_becomes_a_cash_movement(mt5):
    deposit = FillRecorded.from_deal(mt5.history_deals_get(0, 2_000_000_000)[0])
    assert isinstance(deposit, CashMoved)
    assert (deposit.type, deposit.order, deposit.position_id) == (2, None, None)
    assert float(deposit.profit) == pytest.approx(10_000)
    assert CashMoved.from_deal(mt5.history_deals_get(0, 2_000_000_000)[0]) == deposit


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"type": 1, "entry": 1, "profit": -1.8900000000000001, "swap": -0.12, "comment": "[sl 1.05]", "reason": 4},
        {"entry": 2, "magic": 2**64 - 1, "external_id": "X1"},
        {"entry": 3, "position_id": 0, "order": 0},
        {"type": 2, "symbol": "", "volume": 0.0, "price": 0.0, "order": 0, "position_id": 0, "profit": 250.0},
        {"type": 13, "profit": 0.0},
        {"type": 99, "entry": 7, "profit": 1.0},
    ],
)
def test_a_deal_is_the_same_whether_an_engine_or_a_gateway_reports_it(fields):
    record = deal(5, **fields)
    (over_the_wire,) = read_deals(encode({"status": "SUCCESS", "deals": [record._asdict()]})).deals
    assert FillRecorded.from_deal(record, origin=Origin.RECOVERY) == over_the_wire


def test_a_deal_may_be_a_dict_with_words():
    row = deal(5)._asdict() | {"type": "sell", "entry": "out"}
    assert FillRecorded.from_deal(row) == FillRecorded.from_deal(deal(5, type=1, entry=1))


def test_a_deal_without_milliseconds_has_the_time_of_its_second():
    row = deal(5)._asdict()
    del row["time_msc"]
    assert FillRecorded.from_deal(row).time_msc == OPENED_MSC // 1000 * 1000


@pytest.mark.parametrize("missing", ["ticket", "type", "symbol", "entry", "volume", "price"])
def test_a_deal_without_a_field_that_it_needs_is_refused_by_name(missing):
    row = deal(5)._asdict()
    del row[missing]
    with pytest.raises(BadValue, match=f"with the field {missing}, found none"):
        FillRecorded.from_deal(row)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [({"ticket": 0}, BadValue), ({"volume": 0.0}, BadValue), ({"price": float("nan")}, InexactNumber),
     ({"time_msc": 1.5}, BadValue), ({"type": 1.0}, BadValue), ({"type": True}, BadValue)],
)  # fmt: skip
def test_a_deal_that_cannot_be_is_refused(wrong, kind):
    with pytest.raises(kind):
        FillRecorded.from_deal(deal(5)._asdict() | wrong)


@pytest.mark.parametrize("wrong", [None, (), 5, "deal"])
def test_what_is_no_record_is_refused(wrong):
    with pytest.raises(BadValue, match="expected a record of MetaTrader 5"):
        FillRecorded.from_deal(wrong)


def test_recording_what_the_module_returns_twice_changes_nothing(mt5):
    result = send(mt5)
    with Ledger.open("memory://") as ledger:
        account = ledger.account("Sandbox-Demo", 70113)
        account.open(currency="USD", mode="hedging", clock="UTC")
        for _ in range(2):
            account.record_many([FillRecorded.from_deal(one) for one in mt5.history_deals_get(0, 2_000_000_000)])
        assert account.portfolio.balance == mt5.terminal.balance
        assert list(account.portfolio.positions) == [result.order]


# ---- results of orders


def test_a_result_becomes_the_fill_that_the_deal_confirms(mt5):
    result = send(mt5)
    booked = deal_of(mt5, result)
    fill = FillRecorded.from_order_result(result, time_msc=booked.time_msc)
    with Ledger.open("memory://") as ledger:
        account = ledger.account("Sandbox-Demo", 70113)
        account.open(currency="USD", mode="hedging", clock="UTC")
        account.record(fill)
        assert list(account.portfolio.positions) == [result.order]
        account.record(FillRecorded.from_deal(booked))
        assert account.portfolio.totals.deals_incomplete == 0


def test_a_result_that_closes_a_position_goes_out(mt5):
    opened = send(mt5)
    closed = send(mt5, type=mt5.ORDER_TYPE_SELL, position=opened.order)
    fill = FillRecorded.from_order_result(closed, time_msc=OPENED_MSC)
    assert (fill.entry, fill.side, fill.position_id) == (Entry.OUT, Side.SELL, opened.order)


def test_the_entry_may_be_named():
    result = Record(retcode=10009, deal=8, order=9, volume=0.2, price=1.1, request=Record(type=1, symbol="EURUSD", position=0))
    assert FillRecorded.from_order_result(result, time_msc=OPENED_MSC, entry="in/out").entry is Entry.IN_OUT


def test_the_request_may_be_given_apart():
    result = Record(retcode=10009, deal=8, order=9, volume=0.2, price=1.1)
    fill = FillRecorded.from_order_result(result, {"type": 0, "symbol": "EURUSD", "magic": 7}, time_msc=OPENED_MSC)
    assert (fill.deal, fill.order, fill.magic, fill.position_id) == (8, 9, 7, None)


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (None, "order_send returned None, which is an error"),
        ({"retcode": 10008, "deal": 0, "order": 9, "volume": 0.1, "price": 1.1}, "retcode 10008 for order 9 without a deal"),
        ({"retcode": 10009, "deal": 8, "order": 9, "volume": 0.1, "price": 0.0}, "that is no fill"),
        ({"retcode": 10016, "deal": 0, "order": 0, "volume": 0.0, "price": 0.0}, "that is no fill"),
        ({"retcode": 10009, "deal": 8, "order": 9, "volume": 0.1, "price": 1.1, "request": {"type": 8, "symbol": "EURUSD"}},
         "expected a request to buy or sell at market .*, found type 8"),
        ({"retcode": 10009, "deal": 8, "order": 9, "volume": 0.1, "price": 1.1, "request": {"type": 0}}, "the field symbol"),
        ({"retcode": 10009, "deal": 8, "order": 9, "volume": 0.1, "price": 1.1}, "expected a record"),
    ],
)  # fmt: skip
def test_what_is_no_fill_is_refused_with_a_reason(result, complaint):
    with pytest.raises(BadValue, match=complaint):
        FillRecorded.from_order_result(result, time_msc=OPENED_MSC)


def test_a_rejected_order_is_no_fill(mt5):
    with pytest.raises(BadValue, match="that is no fill"):
        FillRecorded.from_order_result(send(mt5, volume=0.001), time_msc=OPENED_MSC)


# ---- codes and records


def test_a_code_without_a_name_stays_a_code():
    assert [name_of(code, {0: "buy"}) for code in (0, 1, None, "buy", False)] == ["buy", 1, None, "buy", False]


@pytest.mark.parametrize(
    ("value", "found"),
    [(0, (0, None)), ("buy", (0, None)), ("DEAL_TYPE_COMMISSION_DAILY", (8, None)), ("DEAL_TAX", (17, None)),
     (" 41 ", ("41", None)), ("so compensation", (None, "so compensation")), (2.5, (2.5, None))],
)  # fmt: skip
def test_the_type_of_a_deal_is_known_by_code_or_word(value, found):
    assert deal_type_of(value) == found


def test_a_record_is_copied():
    record = Record(ticket=5)
    row = to_row(record)
    row["ticket"] = 6
    assert record._asdict() == {"ticket": 5}


class There(dict[str, Any]):
    """A dict at the other end of a wire: its text is fetched at once, everything else bit by bit."""

    fetched = 0

    def __getitem__(self, name: str) -> Any:
        There.fetched += 1
        return super().__getitem__(name)

    def keys(self) -> Any:
        There.fetched += 1
        return list(super().keys())

    def __iter__(self) -> Any:
        return iter(self.keys())


@pytest.mark.parametrize(
    ("fields", "fetches"),
    [({"ticket": 2**60, "volume": 0.1 + 0.2, "comment": "it's", "magic": 2**64 - 1, "connected": True, "why": None}, 0),
     ({"ticket": 5, "price": float("inf")}, 3)],
)  # fmt: skip
def test_a_dict_that_is_elsewhere_is_fetched_at_once_where_its_text_has_all(fields, fetches):
    There.fetched = 0
    record = Record()
    record._asdict = lambda: There(fields)  # type: ignore[method-assign]
    row = to_row(record)
    assert There.fetched == fetches
    assert (type(row), row) == (dict, fields)
