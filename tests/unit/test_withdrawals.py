"""Deals that the broker no longer lists, and results that nobody will ever explain: reported, decided, recorded."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from ledger import (
    Adjusted,
    BreakClosed,
    BreakEnd,
    BreakKind,
    CashMoved,
    DealRevised,
    FillRecorded,
    GatewayRefused,
    GatewayTimeout,
    Ledger,
    Portfolio,
    RuleError,
    SyncStatus,
    VersionConflict,
)
from ledger.adjustments import apply, propose_acceptance, propose_update, propose_withdrawal
from ledger.reconcile.withdrawals import KnownDeal, Listed, compare_deals, known_deals, withdrawal_of
from tests.support.broker import ACCOUNT, Desk, kinds
from tests.support.journals import new_url
from tools.testkit.stories import Story, at, cash, fill

WHO: dict[str, str] = {"operator": "mk", "reason": "the broker deleted it"}
HISTORY = "deposit 1000, #7 buy 1 @ 10 commission -3, #7 out sell 1 @ 12 profit 200, deposit 50, #8 buy 2 @ 11"
DEPOSIT, IN, OUT, MORE, OTHER = 1001, 1002, 1003, 1004, 1005


def booked(recorded: str = HISTORY, shows: str = "#8 long 2 @ 11", **terms: Any) -> Desk:
    """Return a desk whose deals came from the broker's own list, and that was in agreement with it."""
    deals: list[Any] = list(Story("hedging").record(recorded).recorded)
    desk = Desk(shows=shows, extended=True, **terms)
    shift_msc = desk.now() - 120_000 - deals[-1].time_msc  # two minutes ago
    desk.broker.report(*(attrs.evolve(deal, time_msc=deal.time_msc + shift_msc) for deal in deals))
    assert desk.startup().status is SyncStatus.SUCCESS
    desk.heard.clear()
    return desk


def withdraw(desk: Desk, *tickets: int) -> dict[int, Any]:
    """Delete deals from the broker's list; return them."""
    return {ticket: desk.broker._deals.pop(ticket) for ticket in tickets}


def withdrawn_breaks(desk: Desk) -> list[tuple[int | None, int]]:
    return [(one.deal, one.confirmations) for one in desk.account.portfolio.breaks if one.kind is BreakKind.WITHDRAWN]


# ----------------------------------------------------------------------------------------------------------------- reported


def test_a_deal_that_is_not_listed_any_more_is_reported_and_nothing_changes():
    desk = booked()
    withdraw(desk, MORE)
    first, second = desk.sync(), desk.sync()
    assert (first.status, first.withdrawn, [one.kind for one in first.held]) == (SyncStatus.PARTIAL, (MORE,), ["withdrawn"])
    assert "1 of 2" in first.held[0].why
    assert "ledger correct withdraw" in second.held[0].why
    assert (withdrawn_breaks(desk), desk.story.balance) == ([(MORE, 2)], "1247")
    for _ in range(30):
        result = desk.sync()
        assert (result.status, result.withdrawn, result.appended) == (SyncStatus.PARTIAL, (MORE,), 0)
    assert kinds(desk.heard) == ["BreakOpened", "BreakOpened"]
    assert desk.account.portfolio.breaks[0].ours == "balance 50"


def test_a_deal_that_is_listed_again_ends_it():
    desk = booked()
    gone = withdraw(desk, MORE)
    desk.sync(3)
    desk.watch.move(7200)  # what is open is asked for, however long ago it was
    desk.sync()
    desk.broker.report(*gone.values())
    result = desk.sync()
    assert (result.status, kinds(result.events), withdrawn_breaks(desk)) == (SyncStatus.SUCCESS, ["BreakClosed"], [])
    assert desk.sync().appended == 0


def test_confirmations_survive_a_restart():
    desk = booked(ghost_confirmations=3)
    withdraw(desk, MORE)
    for confirmations in (1, 2, 3, 3):
        desk.restarted()
        desk.sync()
        assert withdrawn_breaks(desk) == [(MORE, confirmations)]


def test_answers_of_one_moment_do_not_confirm_one_another():
    desk = booked(ghost_confirmations=4)
    withdraw(desk, MORE)
    desk.broker.show("")  # a ghost, for which startup takes snapshot after snapshot
    desk.startup()
    assert withdrawn_breaks(desk) == [(MORE, 1)]


@pytest.mark.parametrize("gone", [(IN,), (OUT,), (IN, OUT), (OUT, MORE)])
def test_whatever_is_missing_between_listed_deals_is_reported(gone):
    desk = booked()
    withdraw(desk, *gone)
    assert desk.sync(2).withdrawn == gone
    assert not desk.reconciler.safe_to_trade("EURUSD")


def test_a_withdrawn_cash_movement_blocks_no_trade():
    desk = booked()
    withdraw(desk, MORE)
    desk.sync(2)
    assert desk.reconciler.safe_to_trade("EURUSD")
    halting = booked(withdrawn="halt")
    withdraw(halting, MORE)
    halting.broker.show("#8 long 2 @ 11, #9 long 1 @ 10")
    assert halting.sync(2).recovered == ()
    assert not halting.reconciler.safe_to_trade("EURUSD")


def outlast(desk):
    """Sync while answers without the newest deal are judged stale: a history that lags looks the same."""
    assert [desk.sync().status for _ in range(desk.policy.attempts_max)] == [SyncStatus.DEGRADED] * 3


def test_the_newest_deal_needs_more_answers():
    desk = booked()
    withdraw(desk, OTHER)
    desk.broker.show("#8 long 2 @ 11")
    outlast(desk)
    for confirmations in (1, 2, 3):
        assert desk.sync().withdrawn == (OTHER,)
        assert withdrawn_breaks(desk) == [(OTHER, confirmations)]


def test_money_that_does_not_add_up_finds_what_was_withdrawn_long_ago():
    desk = booked(HISTORY.replace("deposit 50", "t9000 deposit 50").replace("#8 buy", "t20000 #8 buy"))
    desk.broker.state(1247)
    desk.sync()
    desk.watch.move(7200)
    desk.sync()
    withdraw(desk, MORE)
    desk.broker.state(1197)
    assert desk.sync().withdrawn == (MORE,)
    assert desk.sync().withdrawn == (MORE,)
    assert withdrawn_breaks(desk) == [(MORE, 2)]


def test_a_deal_that_flaps_is_reported_few_times():
    desk = booked()
    for _ in range(40):
        gone = withdraw(desk, MORE)
        desk.sync()
        desk.broker.report(*gone.values())
        desk.sync()
    result = desk.sync()
    assert len(desk.heard) <= 8
    assert (result.status, result.withdrawn) == (SyncStatus.PARTIAL, (MORE,))
    desk.watch.move(3600)
    assert desk.sync().status is SyncStatus.SUCCESS


# ----------------------------------------------------------------------------------- answers that state nothing about a deal


@pytest.mark.parametrize(
    "lists",
    [(), (DEPOSIT,), (DEPOSIT, IN), (MORE, OTHER), (OTHER,), (DEPOSIT, OTHER)],
    ids=["nothing", "the first", "the first two", "the last two", "the last", "the first and the last"],
)
def test_a_history_that_lags_or_starts_late_withdraws_nothing(lists):
    desk = booked()
    withdraw(desk, *({DEPOSIT, IN, OUT, MORE, OTHER} - set(lists)))
    if OTHER not in lists:  # the newest that was reported before
        outlast(desk)
    for _ in range(5):
        assert desk.sync().status is SyncStatus.SUCCESS
    assert {one.kind for one in desk.heard} <= {"SyncDegraded", "SyncRestored"}


def test_an_answer_that_is_an_error_withdraws_nothing():
    desk = booked()
    withdraw(desk, MORE)
    desk.broker.fail(GatewayRefused("GET_DEALS", code="500"), on="deals", times=2)
    assert [desk.sync().withdrawn for _ in range(2)] == [(), ()]
    desk.broker.fail(GatewayTimeout("no answer"), on="deals", times=1)
    assert desk.sync().status is SyncStatus.DEGRADED
    assert withdrawn_breaks(desk) == []


def test_what_an_engine_recorded_a_moment_ago_may_be_listed_later():
    desk = booked()
    desk.account.record(desk.fill(60, 9, price=10))
    desk.broker.report(desk.cash(61, 5)).show("#8 long 2 @ 11, #9 long 1 @ 10")
    desk.watch.move(5)
    assert desk.sync().withdrawn == ()
    desk.watch.move(60)
    assert [desk.sync().withdrawn for _ in range(2)] == [(), (60,)]  # it never came


@pytest.mark.parametrize("restarts", [False, True])
def test_what_an_engine_recorded_and_the_broker_listed_is_withdrawn_as_any_other(restarts):
    desk = Desk(shows="#7 long 1 @ 10, #8 long 1 @ 10", extended=True)
    deals = desk.cash(60, 1000), desk.fill(61, 7), desk.fill(62, 8)
    desk.account.record_many(deals)
    desk.broker.report(*deals)
    desk.watch.move(90)
    assert desk.startup().status is SyncStatus.SUCCESS
    withdraw(desk, 61)
    desk.broker.show("#8 long 1 @ 10")
    if restarts:
        desk.restarted()
        assert desk.sync().withdrawn == ()  # whether it ever was listed is not known: once more
    assert desk.sync().withdrawn == (61,)


def test_what_an_engine_recorded_and_the_broker_completed_was_listed():
    desk = Desk("deposit 1000", extended=True)
    poor = desk.fill(60, 9, price=10)
    desk.account.record(attrs.evolve(poor, commission=None, profit=None))
    desk.broker.report(*desk.story.recorded, poor, desk.cash(61, 5)).show("#9 long 1 @ 10")  # type: ignore[arg-type]
    desk.watch.move(90)
    desk.startup()
    withdraw(desk, 60)
    desk.restarted()
    assert desk.sync().withdrawn == (60,)


def test_what_an_engine_recorded_and_the_broker_never_listed_at_an_end_is_not_withdrawn():
    desk = booked()
    desk.account.record(desk.fill(60, 9, price=10))
    desk.broker.show("#8 long 2 @ 11, #9 long 1 @ 10")
    desk.watch.move(90)
    assert [desk.sync().withdrawn for _ in range(4)] == [()] * 4


KNOWN = [KnownDeal(at(second), second, was_listed=True) for second in range(1, 11)]


@pytest.mark.parametrize(
    ("listed", "missing"),
    [
        (set(range(1, 11)) - {5}, {5: True}),
        (set(range(1, 11)) - {5, 6}, {5: True, 6: True}),
        (set(range(1, 11)) - {10}, {10: False}),
        (set(range(1, 11)) - {1}, {1: False}),
        (set(range(1, 11)) - {9, 10}, {}),
        (set(range(1, 11)) - {1, 2}, {}),
        (set(range(1, 11)) - {3, 9, 10}, {3: True}),
        ({1, 3, 5, 7}, {}),  # most of it is missing
        ({99}, {}),
        (set(), {}),
    ],
)
def test_what_an_answer_states_of_deals_that_it_covers(listed, missing):
    assert compare_deals(KNOWN, listed, 0).missing == missing
    assert compare_deals(KNOWN, listed, at(1) - 3_600_000).missing == missing


def test_one_answer_that_lists_deals_on_both_sides_is_enough():
    narrow = Listed(missing={5: False}, present=frozenset({6}))
    wide = Listed(missing={5: True, 3: True}, present=frozenset({4, 6}))
    assert (narrow | wide).missing == (wide | narrow).missing == {5: True, 3: True}
    assert (wide | Listed(present=frozenset({5}))).missing == {3: True}


def test_a_deal_close_to_where_an_answer_begins_may_be_outside_it():
    assert compare_deals(KNOWN, set(range(1, 11)) - {5}, at(0)).missing == {}


def test_only_deals_with_an_effect_should_be_listed():
    story = Story("hedging")
    story.record("deposit 100, deposit 0, #7 buy 1 @ 10, #8 buy 1 @ 10")
    story.account.revise(withdrawal_of(story.recorded[3]))  # type: ignore[arg-type]
    rows = list(story.account.ledger.journal.rows(story.account.name))
    assert [one.deal for one in known_deals(rows, 0, at(99), now_us=2**62)] == [1001, 1003]
    assert [one.deal for one in known_deals(rows, at(2), at(99), now_us=2**62)] == [1003]
    assert known_deals(rows, 0, at(99), now_us=0) == []


# ----------------------------------------------------------------------------------------------------------------- recorded


@pytest.mark.parametrize(
    ("gone", "shows", "balance"),
    [((MORE,), "#8 long 2 @ 11", "1197"), ((IN, OUT), "#8 long 2 @ 11", "1050"), ((OTHER,), "", "1247")],
)
def test_a_policy_that_adopts_records_the_withdrawal(gone, shows, balance):
    desk = booked(withdrawn="adopt")
    withdraw(desk, *gone)
    desk.broker.show(shows)
    if OTHER in gone:
        outlast(desk)
    results = [desk.sync() for _ in range(4)]
    assert [result.withdrawn for result in results[:2]] == [gone, gone]
    revised = [one.event for one in desk.log if isinstance(one.event, DealRevised)]
    assert [(one.deal, one.now.profit) for one in revised] == [(deal, 0) for deal in gone]
    assert (desk.story.balance, withdrawn_breaks(desk)) == (balance, [])
    assert (results[-1].status, results[-1].appended) == (SyncStatus.SUCCESS, 0)
    ends = [one.event.end for one in desk.log if isinstance(one.event, BreakClosed)]
    assert set(ends) <= {BreakEnd.CORRECTED, BreakEnd.VANISHED, BreakEnd.EXPLAINED}
    assert desk.account.ledger.verify().ok


def test_a_withdrawn_deal_that_is_listed_again_counts_again():
    desk = booked(withdrawn="adopt")
    gone = withdraw(desk, MORE)
    desk.sync(3)
    assert desk.story.balance == "1197"
    desk.broker.report(*gone.values())
    result = desk.sync()
    assert (result.revised, desk.story.balance, result.status) == ((MORE,), "1247", SyncStatus.SUCCESS)


@pytest.mark.parametrize("deal", [MORE, IN, OUT])
def test_a_person_records_the_withdrawal_with_who_and_why(deal):
    desk = booked()
    withdraw(desk, deal)
    desk.sync(2)
    proposal = propose_withdrawal(desk.account, deal=deal, **WHO)
    events = apply(desk.account, proposal)
    assert kinds(events) == ["DealRevised", "Adjusted", "BreakClosed"]
    adjusted: Any = events[1].event
    assert (adjusted.operator, adjusted.reason, adjusted.deal, adjusted.caused_by) == (
        "mk",
        WHO["reason"],
        deal,
        events[0].version,
    )
    end: Any = events[2].event
    assert end.end is BreakEnd.ACCEPTED
    assert proposal.after.state()["open"] == desk.account.portfolio.state()["open"]
    assert (proposal.after.balance, withdrawn_breaks(desk)) == (desk.account.portfolio.balance, [])
    assert desk.sync().withdrawn == ()
    assert desk.account.ledger.verify().ok


def test_a_fill_is_cancelled_as_the_trade_server_writes_it_and_cash_becomes_nothing():
    sold = withdrawal_of(fill(1, side="sell", commission=-3, profit=7, order=5, magic=9, comment="x", reason=3))
    assert (sold.type, sold.profit, sold.commission, sold.volume, sold.price) == (14, 0, 0, 1, 10)
    assert (sold.order, sold.position_id, sold.magic, sold.comment, sold.reason) == (5, 7, 9, "x", 3)
    assert withdrawal_of(fill(1)).type == 13
    taxed = withdrawal_of(cash(2, -5, type=17, comment="tax"))
    assert (taxed.type, taxed.profit, taxed.comment) == (17, 0, "tax")


def test_what_is_not_known_or_counts_for_nothing_cannot_be_withdrawn():
    desk = booked()
    with pytest.raises(RuleError, match="not known"):
        propose_withdrawal(desk.account, deal=999_999, **WHO)
    apply(desk.account, propose_withdrawal(desk.account, deal=MORE, **WHO))
    with pytest.raises(RuleError, match="nothing to withdraw"):
        propose_withdrawal(desk.account, deal=MORE, **WHO)


def test_a_proposal_rests_on_what_was_known():
    desk = booked()
    proposal = propose_withdrawal(desk.account, deal=MORE, **WHO)
    desk.account.record(desk.cash(70, 1))
    with pytest.raises(VersionConflict):
        apply(desk.account, proposal)


def test_a_correction_of_the_position_leaves_the_break_of_its_deal_open():
    desk = booked()
    withdraw(desk, OTHER)
    outlast(desk)
    desk.sync(3)
    apply(desk.account, propose_update(desk.account, position_id=8, magic=5, **WHO))
    assert withdrawn_breaks(desk) == [(OTHER, 3)]


# -------------------------------------------------------------------------------------------------- results that are accepted


def ghost(recorded: str = "#7 buy 1 @ 10 commission -3, t9 ghost #7") -> Story:
    return Story("hedging").record(recorded)


def accept(story: Story, position_id: int | None = 7, **about: Any) -> None:
    apply(story.account, propose_acceptance(story.account, position_id=position_id, **WHO, **about))


@pytest.mark.parametrize(
    ("recorded", "unexplained", "trades"),
    [
        ("#7 buy 1 @ 10, t9 ghost #7", "flat; ghost result 1", ["long 1 @ 10 to ?, 0?"]),
        ("#7 buy 3 @ 10, t9 drift #7 long 1 @ 10", "#7 long 1 @ 10; ghost result 2", []),
        ("t9 #7 out sell 2 @ 11 profit 5", "flat; close without opening 2", ["long 2 @ ? to 11, 5?"]),
    ],
)
def test_what_is_accepted_is_not_unexplained_any_more_and_its_trade_stays_incomplete(recorded, unexplained, trades):
    story = ghost(recorded)
    assert story.left == unexplained
    balance = story.balance
    accept(story)
    assert (story.portfolio.unexplained, story.balance) == ((), balance)
    assert [trade.partition("?")[2] != "" or trade.endswith("?") for trade in story.trades] == [True] * len(trades)
    assert story.account.replay(checkpoints=False).unexplained == ()
    again = Portfolio.from_state(story.portfolio.terms, story.portfolio.state())
    assert (again.unexplained, again.state()) == ((), story.portfolio.state())


def test_the_adjustment_names_who_why_and_how_much():
    story = ghost()
    events = apply(story.account, propose_acceptance(story.account, position_id=7, **WHO))
    (adjusted,) = [one.event for one in events if isinstance(one.event, Adjusted)]
    assert adjusted.accepted is not None
    assert (adjusted.operator, adjusted.position_id, adjusted.symbol) == ("mk", 7, "EURUSD")
    assert adjusted.accepted.volume == 1


@pytest.mark.parametrize("second", [5, 8, 20])
def test_a_deal_that_comes_to_light_after_all_counts(second):
    story = ghost()
    accept(story)
    story.record(fill(50, side="sell", entry="out", price=12, profit=200, time_msc=at(second)))
    assert (story.left, story.balance, story.trades) == ("flat", "197", ["long 1 @ 10 to 12, 197"])
    assert story.account.replay(checkpoints=False).state() == story.portfolio.state()


def test_another_ghost_of_the_same_position_is_unexplained_again():
    story = ghost()
    accept(story)
    story.account.record(fill(60, time_msc=story.portfolio.newest_known_msc + 1000))
    story.record("t300000 ghost #7")
    assert [one.volume for one in story.portfolio.unexplained] == [1]


def test_only_what_is_unexplained_can_be_accepted():
    story = ghost()
    with pytest.raises(RuleError, match="unexplained are: 7"):
        propose_acceptance(story.account, position_id=8, **WHO)
    with pytest.raises(RuleError):
        propose_acceptance(story.account, position_id=7, symbol="USDJPY", **WHO)
    accept(story)
    with pytest.raises(RuleError, match="none"):
        accept(story)


def test_closes_of_no_known_position_are_accepted_by_symbol():
    story = Story("hedging")
    story.account.record(FillRecorded(deal=1, symbol="EURUSD", side="sell", entry="out", volume=1, price=10, time_msc=at(1)))
    assert story.left == "flat; close without opening 1"
    accept(story, None, symbol="EURUSD")
    assert story.portfolio.unexplained == ()


def test_a_break_that_is_open_about_the_position_ends_as_accepted():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10", drift="report")
    desk.sync()
    events = apply(desk.account, propose_acceptance(desk.account, position_id=7, **WHO))
    assert kinds(events) == ["Adjusted", "BreakClosed"]
    assert desk.breaks == []


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_journal_on_disk_stores_withdrawals_and_acceptances_too(database, tmp_path):
    url = new_url(database, tmp_path)
    desk = booked(journal=url)
    withdraw(desk, MORE, IN, OUT)
    desk.sync(2)
    apply(desk.account, propose_withdrawal(desk.account, deal=IN, **WHO))
    apply(desk.account, propose_acceptance(desk.account, position_id=7, **WHO))
    before = desk.account.portfolio.state()
    desk.account.ledger.close()
    with Ledger.open(url) as ledger:
        again = ledger.account(ACCOUNT)
        assert (again.portfolio.state(), again.portfolio.unexplained) == (before, ())
        assert ledger.verify().ok


def test_a_withdrawn_deal_stays_a_cash_movement_of_nothing():
    desk = booked()
    apply(desk.account, propose_withdrawal(desk.account, deal=IN, **WHO))
    (revised,) = [one.event for one in desk.log if isinstance(one.event, DealRevised)]
    assert isinstance(revised.now, CashMoved)
    assert revised.now.kind == "buy canceled"
