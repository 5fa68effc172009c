"""What explain lists adds up to the figure exactly, whatever was recorded, in whatever order, and whatever is asked about."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger import Account, Adjusted, BalanceAsserted, DriftCorrected, Event, GhostClosed, PositionRecovered, PositionState
from ledger.explain import NOT_OPEN, POSITION, TRADE, Explanation, explain_balance, explain_position, explain_trade, summed
from ledger.views import Trade
from tests.property.test_fold import recorded
from tests.support.strategies import amounts, histories, lots, prices, records, revised_histories, sides
from tools.testkit.stories import START_MSC, fill

_MONEY = ("commission", "fee", "swap", "profit")


@st.composite
def assertions(draw: st.DrawFn, time_msc: int, symbols: dict[int, str]) -> Event:
    """Return something that a broker or a person stated at a moment, of a position or of money, agreeing with nothing."""
    position_id = draw(st.sampled_from(sorted(symbols)))
    state = st.builds(
        PositionState, position_id=st.just(position_id), symbol=st.just(symbols[position_id]), side=sides, volume=lots,
        price_open=prices,
    )  # fmt: skip
    one = draw(state)
    about: dict[str, Any] = {"time_msc": time_msc, "evidence": "0" * 64, "caused_by": 1}
    after = PositionState(
        position_id=one.position_id, symbol=one.symbol, side=one.side, volume=draw(lots), price_open=draw(prices)
    )
    person: dict[str, Any] = {"time_msc": time_msc, "operator": "ann", "reason": "bonus"}
    options: list[Event] = [
        PositionRecovered(position=one, **about),
        GhostClosed(before=one, **about),
        DriftCorrected(before=one, after=after, **about),
        BalanceAsserted(time_msc=time_msc, balance=draw(amounts), credit=draw(amounts)),
        Adjusted(balance_before=draw(amounts), balance_after=draw(amounts), **person),
        Adjusted(credit_before=draw(amounts), credit_after=draw(amounts), **person),
        Adjusted(before=one, **person),
        Adjusted(before=one, after=after, **person),
    ]
    return draw(st.sampled_from(options))


@st.composite
def hostile(draw: st.DrawFn) -> Account:
    """Return accounts whose deals came out of order, twice, poorly or revised, among assertions that agree with nothing."""
    if draw(st.booleans()):
        history, events = draw(revised_histories())
    else:
        history = draw(histories())
        events = draw(records(history))
    symbols = {one.position_id: one.symbol for one in history.deals if one.position_id is not None and one.symbol} or {
        1: "EURUSD"
    }
    for _ in range(draw(st.integers(0, 5))):
        time_msc = draw(st.sampled_from(history.deals)).time_msc + draw(st.sampled_from([-1000, 0, 500, 60_000]))
        events.insert(draw(st.integers(0, len(events))), draw(assertions(time_msc, symbols)))
    return recorded(events, history.mode)


def adds_up(found: Explanation) -> None:
    for lines in (found.lines, summed(found.lines, found.terms)):
        for name, figure in found.figures.items():
            assert sum((line.amounts[name] for line in lines), Decimal(0)) == figure, name
    assert sum(line.count for line in summed(found.lines, found.terms)) == len(found.lines)


def ids_of(account: Account) -> list[int]:
    known = {getattr(one.event, "position_id", None) for one in account.events()}
    known |= {getattr(getattr(one.event, "now", None), "position_id", None) for one in account.events()}
    known |= {one.position_id for one in account.trades()} | set(account.portfolio.positions)
    return sorted(one for one in known if one is not None)


@given(hostile(), st.data())
def test_the_lines_of_a_balance_add_up_and_name_every_record_of_a_deal_once(account, data):
    version = data.draw(st.integers(1, account.version))
    found = explain_balance(account, version=version, every=True)
    adds_up(found)
    portfolio = account.replay(version=version)
    assert found.figures == {"balance": portfolio.balance, "credit": portfolio.credit}
    listed = Counter((line.first_version, line.kind) for line in found.lines)
    deals = [one for one in account.events(upto=version) if one.natural_key.startswith("deal:")]
    assert {one: count for one, count in listed.items() if one[1].startswith(("Deal", "Fill", "Cash"))} == {
        (one.version, one.kind): 1 for one in deals
    }
    for line in found.lines:
        if line.by is not None:
            assert not any(line.amounts.values())
            assert line.by > line.first_version


@given(hostile(), st.data())
def test_the_lines_of_a_position_add_up_to_what_is_open_and_to_the_money_of_all_its_trades(account, data):
    position_id = data.draw(st.sampled_from(ids_of(account) or [1]))
    if position_id not in ids_of(account):
        return
    found = explain_position(account, position_id, every=True)
    adds_up(found)
    position = account.portfolio.positions.get(position_id)
    signed = Decimal(0) if position is None else position.volume if position.side.value == "buy" else -position.volume
    assert found.figures["volume"] == signed
    trades = [one for one in account.trades() if one.position_id == position_id]
    holdings = account.portfolio.holdings
    still = [holdings.open[position_id]] if position_id in holdings.open else []
    for name in _MONEY:
        open_money = sum((account.terms.money(getattr(one, name)) for one in still), Decimal(0))
        assert found.figures[name] == open_money + sum((getattr(one, name) for one in trades), Decimal(0))
    assert tuple(found.figures) == POSITION


@given(hostile())
def test_the_lines_of_trades_add_up_to_each_of_them(account):
    trades = list(account.trades())
    for position_id in {one.position_id for one in trades if one.position_id is not None}:
        found = explain_trade(account, position_id, every=True)
        for one in found:
            adds_up(one)
        assert Counter(tuple(one.figures[name] for name in TRADE) for one in found) == Counter(
            money_of(one) for one in trades if one.position_id == position_id
        )


def test_closes_recorded_before_the_opening_that_explains_a_part_of_them_are_of_its_trade_with_their_money():
    closing = fill(1, side="sell", entry="out", volume=3, price=12, profit=6, time_msc=START_MSC)
    opening = fill(2, side="buy", entry="in", volume=2, price=10, commission=-1, time_msc=START_MSC)
    account = recorded([closing, opening], "hedging")
    rest, matched = explain_trade(account, 7)
    for one in (matched, rest):
        adds_up(one)
    assert [(line.kind, line.deal, line.amounts["profit"]) for line in matched.lines] == [
        ("FillRecorded", 1, Decimal(6)), ("FillRecorded", 2, Decimal(0)),
    ]  # fmt: skip
    assert [(line.deal, line.amounts["profit"], line.reason) for line in rest.lines] == [(1, Decimal(0), NOT_OPEN)]
    assert (rest.unknown, matched.figures["commission"]) == (("its opening is not recorded",), Decimal(-1))
    assert [line.deal for line in explain_position(account, 7).lines] == [1, 2]


def money_of(trade: Trade) -> tuple[Decimal, ...]:
    return tuple(getattr(trade, name) for name in TRADE)
