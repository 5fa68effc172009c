"""Laws of the fold: whatever happened, and however it was recorded, the portfolio is what it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import count
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ledger import (
    Account,
    Adjusted,
    DriftCorrected,
    Event,
    FillRecorded,
    GhostClosed,
    Origin,
    Portfolio,
    PositionRecovered,
    PositionState,
    RuleError,
    Side,
)
from ledger.clock import utc_text_us
from ledger.json_views import replay_json, trade_json
from ledger.positions import OpenPosition
from tests.support.model import Picture, picture
from tests.support.strategies import History, histories, in_batches, records, revised_histories, seconds
from tools.testkit.hostile_postings import make_history
from tools.testkit.stories import START_MSC, opened, shown

# ------------------------------------------------------------------------------------------------------------ comparing


def json_of(portfolio: Portfolio) -> dict[str, Any]:
    """Return what a portfolio shows, without its version and its hash."""
    return replay_json(portfolio, until=None, known_at=None, version=0, head="", selected=0)


def trades(account: Account, **moment: Any) -> list[dict[str, Any]]:
    return [trade_json(trade, account.terms) for trade in account.trades(**moment)]


def recorded(events: Iterable[Event], mode: str) -> Account:
    """Return an account with some events recorded, one by one, conflicts left out."""
    account = opened(mode)
    for event in events:
        account.ledger.journal.append(account.name, [event], conflicts="keep")
    return account


def agrees(portfolio: Portfolio, seen: Picture) -> None:
    """Check a portfolio against the model."""
    ours = {one.position_id: (one.symbol, one.side, Fraction(one.volume)) for one in portfolio.positions.values()}
    assert ours == {position_id: about[:3] for position_id, about in seen.positions().items()}
    for position_id, (*_, price) in seen.positions().items():
        # What is left of an average after a partial close is rounded once when volume is added again (positions.py).
        assert abs(Fraction(portfolio.positions[position_id].price_open) - price) <= Fraction(2, 10**8)
    unexplained = sorted(((one.position_id, one.kind, Fraction(one.volume)) for one in portfolio.unexplained), key=str)
    assert unexplained == seen.unexplained()
    assert (portfolio.balance, portfolio.credit) == (seen.balance, seen.credit)
    assert portfolio.totals.deals == seen.deals


def is_sound(account: Account) -> None:
    """Check that a portfolio does not disagree with itself, nor with its trades."""
    portfolio = account.portfolio
    totals, cash = portfolio.totals, portfolio.totals.cash
    booked = totals.commission + totals.fee + totals.swap + totals.profit
    assert portfolio.balance == booked + sum(cash.values()) - cash.get("credit", 0)
    for position_id, position in portfolio.positions.items():
        assert position.position_id == position_id
        assert position.volume > 0
    assert all(one.volume > 0 for one in portfolio.unexplained)
    assert portfolio.breaks == ()
    trades = [
        *account.trades(), *(portfolio.trade(one) for one in portfolio._holdings.open.values()),
    ]  # fmt: skip
    for name in ("commission", "fee", "swap", "profit"):
        assert sum(getattr(trade, name) for trade in trades) == getattr(totals, name)
    assert portfolio.totals.deals_incomplete or all(
        trade.complete or any(one.kind == "ghost result" for one in portfolio.unexplained) for trade in account.trades()
    )


def is_up_to_date(account: Account) -> None:
    """Check that the portfolio that is updated event by event equals a fold from the start."""
    assert json_of(account.portfolio) == json_of(account.replay(checkpoints=False))
    assert account.portfolio.totals == account.replay().totals


@given(st.data())
def test_applying_each_event_as_it_comes_equals_a_replay(data):
    history: History = data.draw(histories())
    account = recorded(data.draw(records(history)), history.mode)
    portfolio = Portfolio(account.terms)
    for one in account.events():
        try:
            portfolio.apply(one.event, one.version)
        except RuleError:  # it belongs further back
            portfolio = account.replay(version=one.version)
        assert portfolio.state() == account.replay(version=one.version, checkpoints=False).state()


# --------------------------------------------------------------------------------------------------------- what happened


@given(histories())
def test_volume_is_the_sum_of_signed_fills(history):
    portfolio = recorded(history.deals, history.mode).portfolio
    sums: dict[int, Decimal] = {}
    for fill in history.fills:
        signed = fill.volume if fill.side is Side.BUY else -fill.volume
        sums[fill.position_id or 0] = sums.get(fill.position_id or 0, Decimal(0)) + signed
    ours = {one.position_id: one.volume if one.side is Side.BUY else -one.volume for one in portfolio.positions.values()}
    assert ours == {position_id: volume for position_id, volume in sums.items() if volume}


@given(histories())
def test_the_portfolio_is_what_the_broker_holds(history):
    account = recorded(history.deals, history.mode)
    held = {one.position_id: one for one in history.shown_after[-1]}
    assert set(account.portfolio.positions) == set(held)
    for position in account.portfolio.positions.values():
        theirs = held[position.position_id]
        assert (position.symbol, position.side, position.volume) == (theirs.symbol, theirs.side, theirs.volume)
        assert abs(position.price_open - theirs.price_open) <= Decimal("2e-8")
        assert (position.opened_msc, position.basis) == (theirs.opened_msc, "fills")
    assert account.portfolio.unexplained == ()
    is_sound(account)


@given(histories())
def test_a_portfolio_holds_nothing_of_closed_positions(history):
    portfolio = recorded(history.deals, history.mode).portfolio
    holdings = portfolio._holdings
    assert len(holdings.open) == len(history.held)
    assert (holdings.loose, holdings.ghosts, holdings.parts, portfolio._breaks) == ({}, {}, {}, {})


@given(histories())
def test_every_round_trip_that_ended_is_one_complete_trade(history):
    account = recorded(history.deals, history.mode)
    seen = picture(history.deals, history.mode)
    ended = sorted((trade.position_id or 0, trade.closed_msc, trade.opened_msc) for trade in seen.closed)
    found = list(account.trades())
    assert sorted((trade.position_id or 0, trade.closed_msc, trade.opened_msc or 0) for trade in found) == ended
    assert all(trade.complete for trade in found)


# ----------------------------------------------------------------------------------------------- however it was recorded


@given(st.data())
def test_recording_twice_shuffled_late_and_in_batches_equals_recording_once(data):
    history: History = data.draw(histories())
    once = recorded(history.deals, history.mode)
    again = opened(history.mode)
    for batch in in_batches(data.draw, data.draw(records(history))):
        again.record_many(batch)
        is_up_to_date(again)
    assert json_of(again.portfolio) == json_of(once.portfolio)
    assert again.portfolio.totals == once.portfolio.totals
    assert trades(again) == trades(once)


@given(st.data())
def test_only_what_is_not_recorded_yet_is_left_out(data):
    history: History = data.draw(histories(waits=seconds))
    some = data.draw(st.lists(st.sampled_from(history.deals), unique_by=lambda deal: deal.deal))
    account = recorded(some, history.mode)
    agrees(account.portfolio, picture(some, history.mode))
    is_up_to_date(account)
    is_sound(account)


@given(st.data())
def test_money_and_volume_do_not_wait_for_each_other(data):
    history: History = data.draw(histories())
    events = data.draw(records(history))
    account = opened(history.mode)
    for number, event in enumerate(events, 1):
        account.record(event)
        seen = picture(events[:number], history.mode)
        assert (account.portfolio.balance, account.portfolio.credit) == (seen.balance, seen.credit)


@given(st.data())
def test_deals_in_seconds_and_in_milliseconds_come_to_the_same_on_a_hedging_account(data):
    history: History = data.draw(histories(nets=False))
    once = recorded(history.deals, history.mode)
    coarse = [evolve(deal, time_msc=deal.time_msc // 1000 * 1000) for deal in history.deals]
    mixed = recorded(data.draw(st.permutations([*history.deals, *coarse])), history.mode)
    volumes = [
        [(one.position_id, one.side, one.volume) for one in account.portfolio.positions.values()] for account in (once, mixed)
    ]
    assert volumes[0] == volumes[1]
    assert mixed.portfolio.balance == once.portfolio.balance
    assert mixed.portfolio.unexplained == ()


# ------------------------------------------------------------------------------------------------ revised and completed


@given(revised_histories(waits=seconds))
def test_a_revision_counts_instead_of_what_it_revises(drawn):
    history, events = drawn
    account = opened(history.mode)
    for event in events:
        account.record(event)
        is_up_to_date(account)
    agrees(account.portfolio, picture(events, history.mode))
    is_sound(account)


@given(st.data())
def test_completions_and_revisions_come_in_any_order(data):
    history, events = data.draw(revised_histories(waits=seconds))
    poor = [evolve(deal, profit=None) if isinstance(deal, FillRecorded) else deal for deal in history.deals]
    revisions = events[len(history.deals) :]
    order = [*poor, *data.draw(st.permutations([*history.deals, *revisions, *history.deals]))]
    account = recorded(order, history.mode)
    agrees(account.portfolio, picture(order, history.mode))
    is_up_to_date(account)


# ------------------------------------------------------------------------------------------------------- at every moment


@given(st.data())
def test_a_replay_until_a_moment_is_what_had_happened_by_then(data):
    history: History = data.draw(histories())
    account = recorded(data.draw(st.permutations(history.deals)), history.mode)
    for moment in {deal.time_msc for deal in history.deals}:
        for cut in (moment - 1, moment):
            before = recorded([deal for deal in history.deals if deal.time_msc <= cut], history.mode)
            until = datetime.fromtimestamp(cut / 1000, UTC)
            assert json_of(account.replay(until=until)) == json_of(before.portfolio)
            assert trades(account, until=until) == trades(before)


@given(revised_histories(waits=seconds))
def test_a_replay_until_a_moment_uses_all_that_is_known_now(drawn):
    history, events = drawn
    account = recorded(events, history.mode)
    for cut in {event.time_msc for event in events}:
        agrees(account.replay(until=datetime.fromtimestamp(cut / 1000, UTC)), picture(events, history.mode, cut))


@given(st.data())
def test_what_was_known_at_a_moment_is_what_was_shown_then(data):
    history, events = data.draw(revised_histories())
    account = opened(history.mode)
    then: list[tuple[str, int, dict[str, Any], list[dict[str, Any]]]] = []
    for batch in in_batches(data.draw, events):
        account.record_many(batch)
        recorded_us = list(account.events())[-1].recorded_us
        then.append((utc_text_us(recorded_us), account.version, json_of(account.portfolio), trades(account)))
    for known_at, version, shown_then, trades_then in then:
        assert json_of(account.replay(known_at=known_at)) == shown_then
        assert json_of(account.replay(version=version)) == shown_then
        assert trades(account, known_at=known_at) == trades_then


# ---------------------------------------------------------------------------------------- corrected, then explained


def corrections(portfolio: Portfolio, broker: Sequence[PositionState], time_msc: int, numbers: Iterable[int]) -> list[Event]:
    """Return what makes a portfolio agree with what the broker shows: recovery, ghost, drift. Each with its own cause."""
    theirs = {one.position_id: one for one in broker}
    ours = {position_id: shown(portfolio, position_id) for position_id in portfolio.positions}
    cause = iter(numbers)
    found: list[Event] = [
        PositionRecovered(position=theirs[one], time_msc=time_msc, caused_by=next(cause)) for one in theirs if one not in ours
    ]
    found += [GhostClosed(before=ours[one], time_msc=time_msc, caused_by=next(cause)) for one in ours if one not in theirs]
    for one in sorted(set(ours) & set(theirs)):
        mine, seen = ours[one], theirs[one]
        if (mine.symbol, mine.side, mine.volume, mine.price_open) != (seen.symbol, seen.side, seen.volume, seen.price_open):
            found.append(DriftCorrected(before=mine, after=seen, time_msc=time_msc, caused_by=next(cause)))
    return found


def snapshots(data: st.DataObject, history: History) -> set[int]:
    """Return after which deals the broker is asked: after the last one of their second."""
    following = [*(deal.time_msc // 1000 for deal in history.deals[1:]), None]
    last = [number for number, deal in enumerate(history.deals) if deal.time_msc // 1000 != following[number]]
    chosen: set[int] = data.draw(st.sets(st.sampled_from(last)))
    return chosen | {len(history.deals) - 1}


@given(st.data())
def test_corrections_hold_until_late_deals_explain_them(data):
    history: History = data.draw(histories(waits=seconds))
    lost = data.draw(st.sets(st.sampled_from([deal.deal for deal in history.deals])))
    asked, numbers = snapshots(data, history), count(1)
    account = opened(history.mode)
    events: list[Event] = []
    for number, deal in enumerate(history.deals):
        found: list[Event] = [] if deal.deal in lost else [deal]
        if number in asked:
            account.record_many(found)
            broker = history.shown_after[number]
            found_now = corrections(account.portfolio, broker, deal.time_msc, numbers)
            account.record_many(found_now)
            assert corrections(account.portfolio, broker, deal.time_msc, numbers) == []
            found += found_now
        else:
            account.record_many(found)
        events += found
        agrees(account.portfolio, picture(events, history.mode))
        is_up_to_date(account)
    end_msc = history.deals[-1].time_msc
    # On an account that nets, a late deal of another trade in the same symbol may still move what is open there.
    corrected = [
        one.position_id
        for one in events
        if isinstance(one, (PositionRecovered, GhostClosed, DriftCorrected)) and one.time_msc == end_msc
    ]
    broker_now = {one.position_id: (one.side, one.volume) for one in history.shown_after[-1]}
    # What an engine records right after a correction of the same second counts as after it: the broker reports these.
    missed = [evolve(deal, origin=Origin.RECOVERY) for deal in history.deals if deal.deal in lost]
    for late in data.draw(st.permutations(missed)):
        account.record(late)
        events.append(late)
        agrees(account.portfolio, picture(events, history.mode))
        is_up_to_date(account)
        is_sound(account)
        if not history.nets:
            ours = {one.position_id: (one.side, one.volume) for one in account.portfolio.positions.values()}
            assert [ours.get(one) for one in corrected] == [broker_now.get(one) for one in corrected]
    once = recorded(history.deals, history.mode)
    assert volumes(account.portfolio) == volumes(once.portfolio)
    assert account.portfolio.unexplained == ()
    assert account.portfolio.totals == once.portfolio.totals
    assert all(trade.complete for trade in account.trades())
    assert [trade["position_id"] for trade in trades(account)] == [trade["position_id"] for trade in trades(once)]


@given(st.data())
def test_whatever_is_tried_on_a_copy_is_a_replay_and_changes_no_other_copy(data):
    history: History = data.draw(histories(steps=8, waits=seconds))
    lost = data.draw(st.sets(st.sampled_from([deal.deal for deal in history.deals])))
    account, asked, numbers = opened(history.mode), snapshots(data, history), count(1)
    for number, deal in enumerate(history.deals):
        account.record_many([] if deal.deal in lost else [deal])
        if number in asked:
            account.record_many(corrections(account.portfolio, history.shown_after[number], deal.time_msc, numbers))
    copies: list[tuple[int, Portfolio]] = []
    portfolio = Portfolio(account.terms)
    for one in account.events():
        if data.draw(st.booleans()):
            volumes(portfolio)  # shown already: what changes later has to be shown anew
        if data.draw(st.booleans()):
            twins = [portfolio, portfolio.copy()]
            portfolio = twins.pop(data.draw(st.integers(0, 1)))
            copies.append((one.version - 1, twins.pop()))
        try:
            portfolio.apply(one.event, one.version)
        except RuleError:  # it belongs further back
            portfolio = account.replay(version=one.version)
    for version, twin in [*copies, (account.version, portfolio)]:
        replayed = account.replay(version=version, checkpoints=False) if version else Portfolio(account.terms)
        assert (json_of(twin), twin.volumes) == (json_of(replayed), replayed.volumes)
        assert twin.state() == replayed.state()


def volumes(portfolio: Portfolio) -> list[tuple[int, Side, Decimal]]:
    return [(one.position_id, one.side, one.volume) for one in portfolio.positions.values()]


_ASSERTED: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    position_id=st.integers(1, 3),
    symbol=st.sampled_from(["EURUSD", "USDJPY"]),
    side=st.sampled_from(["buy", "sell"]),
    volume=st.sampled_from(["0.10", "0.20"]),
    price_open=st.just("1.07"),
)


@given(st.lists(st.tuples(st.sampled_from(["recovered", "drift", "ghost", "adjusted"]), _ASSERTED, _ASSERTED), max_size=8))
def test_whatever_is_asserted_a_symbol_that_nets_has_one_position(assertions):
    """Also where what is seen of a position names another symbol, or another side, and another position had it."""
    account = opened("netting")
    for number, (what, one, other) in enumerate(assertions, 1):
        before, after = PositionState(**one), PositionState(**(other | {"position_id": one["position_id"]}))
        when: dict[str, Any] = {"time_msc": START_MSC + number * 1000}
        events: dict[str, Event] = {
            "recovered": PositionRecovered(position=before, caused_by=number, **when),
            "drift": DriftCorrected(before=before, after=after, caused_by=number, **when),
            "ghost": GhostClosed(before=before, caused_by=number, **when),
            "adjusted": Adjusted(operator="ann", reason="seen", after=after, **when),
        }
        account.record(events[what])
        held = [one.symbol for one in account.portfolio.positions.values()]
        assert len(held) == len(set(held))
    for number, one in enumerate(account.portfolio.positions.values(), 1):
        account.record(
            FillRecorded(
                deal=number, position_id=one.position_id, symbol=one.symbol, side="sell" if one.side is Side.BUY else "buy",
                entry="out", volume=one.volume, price="1.07", time_msc=START_MSC + (len(assertions) + number) * 1000,
            )
        )  # fmt: skip
    assert not account.portfolio.positions
    is_sound(account)


def test_whatever_is_dealt_or_asserted_a_symbol_that_nets_has_one_position():
    """Also where a position takes another symbol, whose scales cannot be added to its own, or that another position had."""
    histories = [make_history(seed) for seed in (*range(150), 882)]
    symbol_at, looks = OpenPosition.__slots__.index("symbol"), 0
    for history in (one for one in histories if one.terms.opened.mode.nets):
        portfolio = Portfolio(history.terms)
        with suppress(ArithmeticError, LookupError, TypeError, ValueError):  # beyond what any account can hold
            for row in history.rows:
                portfolio.fold([row], history.decode)
                held = [fields[symbol_at] for fields in portfolio.state()["open"]]
                assert len(held) == len(set(held)), row
                looks += len(held) > 1
    assert looks > 500
