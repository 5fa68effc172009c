"""The reconciler at work: a ledger that recorded one story, a broker that shows another, and what a sync makes of it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from ledger import (
    AccountId,
    AccountUnknown,
    BalanceAsserted,
    BreakClosed,
    BreakEnd,
    BreakKind,
    BreakOpened,
    CashMoved,
    FillRecorded,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    JournalUnavailable,
    Ledger,
    Origin,
    PositionReticketed,
    RemoteSymbol,
    SnapshotRefused,
    StateReconciler,
    SyncDegraded,
    SyncResult,
    SyncStatus,
    sync_all,
)
from ledger.reconcile.decide import WaitsFor
from ledger.reconciler import account_of
from ledger.values import plain
from tests.support.broker import ACCOUNT, Desk, ScriptedGateway, Watch, kinds, reconciler
from tools.testkit.stories import at, incomplete

RECOVERED = ["BreakOpened", "PositionRecovered", "BreakClosed"]
BUSY = GatewayRefused("GET_DEALS", code="500", detail="busy")


# ------------------------------------------------------------------------------------------------------- starting to agree


@pytest.mark.parametrize("extended", [False, True], ids=["base form", "extended form"])
def test_an_empty_ledger_adopts_what_the_broker_has(extended):
    desk = Desk(shows="#7 long 1 @ 10 magic 5, #8 short 0.5 @ 11", extended=extended)
    result = desk.startup()
    assert (result.status, result.recovered) == (SyncStatus.SUCCESS, (7, 8))
    assert desk.left == "#7 long 1 @ 10, #8 short 0.5 @ 11"
    assert desk.account.portfolio.positions[7].magic == 5
    assert desk.breaks == []


@pytest.mark.parametrize("extended", [False, True], ids=["base form", "extended form"])
def test_a_warm_restart_in_agreement_writes_nothing(extended):
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=extended)
    version = desk.account.version
    result = desk.startup()
    assert (result.status, result.appended, result.version) == (SyncStatus.SUCCESS, 0, version)


def test_startup_recovery_run_twice_is_run_once():
    desk = Desk("#7 buy 1 @ 10, #9 buy 1 @ 10", "#7 long 2 @ 10, #8 short 1 @ 10")
    first = desk.startup()
    assert (first.recovered, first.closed, first.corrected) == ((8,), (9,), (7,))
    version = desk.account.version
    assert desk.startup().appended == 0
    desk.restarted()
    assert desk.startup().appended == 0
    assert (desk.account.version, desk.left) == (version, "#7 long 2 @ 10, #8 short 1 @ 10; ghost result 1")


def test_startup_takes_the_snapshots_that_a_ghost_needs_one_after_another():
    desk = Desk("#7 buy 1 @ 10", ghost_confirmations=4)
    result = desk.startup()
    assert (result.status, result.closed) == (SyncStatus.SUCCESS, (7,))
    assert desk.broker.calls == ["positions"] * 4
    assert desk.watch.waited == []


def test_a_sync_takes_one_snapshot_and_leaves_the_ghost_to_the_next():
    desk = Desk("#7 buy 1 @ 10")
    result = desk.sync()
    assert (result.status, result.closed) == (SyncStatus.PARTIAL, ())
    assert desk.broker.calls == ["positions"]
    assert desk.sync().closed == (7,)


def test_startup_waits_for_what_was_recorded_just_before():
    desk = Desk()
    desk.account.record(desk.fill(1))
    desk.broker.show("#7 long 2 @ 10")
    result = desk.startup()
    assert (result.status, result.corrected) == (SyncStatus.SUCCESS, (7,))
    assert desk.watch.waited == [2.0]


def test_startup_reports_what_all_its_snapshots_led_to():
    desk = Desk("#7 buy 1 @ 10, #9 buy 1 @ 10", "#8 short 1 @ 10, #9 long 2 @ 10 ticket 99", extended=True)
    known: Any = desk.story.recorded[0]
    desk.broker.report(desk.cash(50, 5), desk.fill(known.deal, price=11, time_msc=known.time_msc))
    result = desk.startup()
    assert (result.recovered, result.closed, result.status) == ((8,), (7,), SyncStatus.SUCCESS)
    assert (result.fills, result.revised, result.corrected, result.reticketed) == ((50,), (known.deal,), (9,), (9,))
    assert len(result.warnings) == 1
    assert result.appended == len(result.events) == len(desk.heard)
    assert result.version == desk.account.version


def test_startup_ends_even_where_a_disagreement_never_does():
    desk = Desk(ghost_confirmations=1, attempts_max=2)
    shown = iter(["#7 long 1 @ 10", "#7 long 2 @ 10"] * 50)

    def change() -> None:
        desk.broker.show(next(shown))
        desk.account.record(desk.fill(len(desk.broker.calls), time_msc=desk.now()))
        desk.broker.meanwhile(change)

    desk.broker.meanwhile(change)
    assert desk.startup().status is SyncStatus.PARTIAL
    assert len(desk.broker.calls) < 30


def test_confirmations_survive_a_restart():
    desk = Desk("#7 buy 1 @ 10", ghost_confirmations=3)
    desk.sync(2)
    assert desk.breaks == [("ghost", 7, 2, 0)]
    desk.restarted()
    assert desk.sync().closed == (7,)


# ---------------------------------------------------------------------------------------------------------------- the base form


@pytest.mark.parametrize(
    ("recorded", "shows", "left"),
    [
        ("#7 buy 1 @ 10", "#7 long 1.5 @ 11", "#7 long 1.5 @ 11"),
        ("#7 buy 1.5 @ 10", "#7 long 1 @ 10", "#7 long 1 @ 10; ghost result 0.5"),
        ("#7 buy 1 @ 10", "#7 long 1 @ 10.5", "#7 long 1 @ 10.5"),
        ("#7 buy 1 @ 10, #8 buy 2 @ 10", "#8 long 2 @ 10", "#8 long 2 @ 10; ghost result 1"),
        ("#7 buy 1 @ 10", "#7 short 1 @ 10", "#7 short 1 @ 10; ghost result 1"),
    ],
)
def test_the_portfolio_is_what_the_broker_shows(recorded, shows, left):
    desk = Desk(recorded, shows)
    desk.startup()
    assert desk.left == left
    assert desk.sync().appended == 0


def test_a_correction_of_one_position_leaves_the_others_as_they_are():
    desk = Desk("#7 buy 1 @ 10, #8 sell 2 USDJPY @ 150", "#7 long 2 @ 10, #8 short 2 USDJPY @ 150")
    before = desk.account.portfolio.positions[8]
    desk.sync()
    assert desk.account.portfolio.positions[8] == before


def test_a_net_position_that_turned_is_one_correction_and_the_next_sync_is_quiet():
    desk = Desk("buy 1 @ 10", "#77 short 0.5 @ 11", mode="netting")
    result = desk.sync()
    assert len(result.corrected) == len(result.reticketed) == 1
    assert (desk.left, desk.story.trades) == ("short 0.5 @ 11; ghost result 1", ["long 1 @ 10 to ?, 0?"])
    assert desk.sync().appended == 0


def test_a_new_ticket_is_the_same_position():
    desk = Desk("#7 buy 1 @ 10", "#99 long 1 @ 10")
    result = desk.sync()
    assert (result.status, result.reticketed) == (SyncStatus.SUCCESS, (7,))
    assert kinds(result.events) == ["PositionReticketed"]
    assert desk.sync().appended == 0
    assert desk.broker.calls == ["positions"] * 2


def test_only_positions_are_asked_of_a_gateway_that_speaks_the_base_form():
    desk = Desk("#7 buy 1 @ 10", "#8 long 1 @ 10")
    desk.startup()
    assert set(desk.broker.calls) == {"positions"}


@pytest.mark.parametrize("mode", ["hedging", "netting"])
@pytest.mark.parametrize("extended", [False, True], ids=["base form", "extended form"])
@pytest.mark.parametrize(
    ("recorded", "shows"),
    [
        ("#7 sell 0.1 @ 10", "#7 short 0.1 @ 10"),
        ("#7 buy 0.1 @ 10, #8 sell 0.2 USDJPY @ 150", "#7 long 0.1 @ 10, #8 short 0.2 USDJPY @ 150"),
        ("", ""),
    ],
    ids=["a short", "two tickets", "flat"],
)
def test_a_hundred_syncs_in_agreement_write_nothing(mode, extended, recorded, shows):
    desk = Desk(recorded, shows, mode=mode, extended=extended)
    version = desk.account.version
    for _ in range(100):
        assert (desk.sync().status, desk.heard) == (SyncStatus.SUCCESS, [])
    assert desk.account.version == version


# ------------------------------------------------------------------------------------------------------------- deals first


def test_a_fill_that_was_lost_is_booked_and_nothing_is_corrected():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1.5 @ 10", extended=True)
    desk.broker.report(desk.fill(50, volume="0.5", commission=-3))
    result = desk.sync()
    assert (result.status, result.fills, kinds(result.events)) == (SyncStatus.SUCCESS, (50,), ["FillRecorded"])
    assert (desk.left, desk.story.balance) == ("#7 long 1.5 @ 10", "-3")
    event: Any = result.events[0].event
    assert event.origin is Origin.RECOVERY


def test_a_ghost_is_explained_by_its_closing_deal_with_its_result():
    desk = Desk("#7 buy 1 @ 10", extended=True)
    desk.broker.report(desk.fill(50, side="sell", entry="out", price=12, profit=200, swap="-1.5", commission=-3))
    result = desk.sync()
    assert (result.status, kinds(result.events)) == (SyncStatus.SUCCESS, ["FillRecorded"])
    assert (desk.left, desk.story.trades) == ("flat", ["long 1 @ 10 to 12, 195.5"])


def test_what_opened_and_closed_unseen_is_booked_too():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.sync()
    opening = desk.fill(50, 9)
    desk.watch.move(3)
    desk.broker.report(opening, desk.fill(51, 9, side="sell", entry="out", price=11, profit=7))
    result = desk.sync()
    assert (result.fills, desk.left, desk.story.balance) == ((50, 51), "#7 long 1 @ 10", "7")


def test_a_stop_out_is_booked_in_one_sync_with_its_cash():
    desk = Desk("deposit 100, #7 buy 1 @ 10, #8 buy 1 @ 10", "#7 long 0.4 @ 10", extended=True)
    desk.broker.report(
        desk.fill(50, side="sell", entry="out", volume="0.6", price=4, profit=-60, reason=6, comment="so 49%"),
        desk.fill(51, 8, side="sell", entry="out", price=4, profit=-50, reason=6),
        desk.cash(52, 10, type=5, comment="stop out compensation"),
    )
    result = desk.sync()
    assert (result.status, result.corrected, result.closed) == (SyncStatus.SUCCESS, (), ())
    assert (desk.left, desk.story.balance) == ("#7 long 0.4 @ 10", "0")


def test_a_ledger_that_starts_empty_has_the_whole_history_after_its_first_sync():
    desk = Desk("deposit 100, #7 buy 1 @ 10", extended=True)
    deals = list(desk.story.recorded)
    fresh = Desk(shows="#7 long 1 @ 10", extended=True)
    fresh.broker.report(*deals)  # type: ignore[arg-type]
    assert fresh.sync().recovered == ()
    assert (fresh.left, fresh.story.balance) == ("#7 long 1 @ 10", "100")


def test_an_old_deal_is_found_by_its_position():
    """A position closed before the newest deal that we know, out of the window that is asked for first."""
    desk = Desk("t1 #7 buy 1 @ 10, t80000 #8 buy 1 @ 10", "#8 long 1 @ 10", extended=True)
    desk.broker.report(desk.fill(50, side="sell", entry="out", price=12, profit=2, time_msc=at(40_000)))
    result = desk.sync()
    assert (result.status, result.fills) == (SyncStatus.SUCCESS, (50,))
    assert {"from_msc": None, "to_msc": None, "position": 7} in desk.broker.asked
    assert desk.left == "#8 long 1 @ 10"


def test_where_many_positions_disagree_one_span_of_time_is_asked_for():
    many = range(1, 21)
    desk = Desk(", ".join(f"t{number} #{number} buy 1 @ 10" for number in many) + ", t80000 #99 buy 1 @ 10",
                "#99 long 1 @ 10", extended=True)  # fmt: skip
    desk.broker.report(
        *(desk.fill(500 + one, one, side="sell", entry="out", price=12, time_msc=at(40_000 + one)) for one in many)
    )
    assert len(desk.sync().fills) == 20
    assert all(one["position"] is None for one in desk.broker.asked)
    assert desk.left == "#99 long 1 @ 10"


def test_deals_that_the_engine_recorded_poorly_are_completed():
    desk = Desk("deposit 1", "#7 long 1 @ 10", extended=True)
    known = desk.fill(50, commission=-3)
    desk.account.record(incomplete(known))
    desk.broker.report(known)
    result = desk.sync()
    assert (result.fills, kinds(result.events)) == ((), ["DealCompleted"])
    assert (desk.left, desk.story.balance) == ("#7 long 1 @ 10", "-2")
    assert desk.sync().appended == 0


def test_a_deal_that_the_broker_shows_otherwise_is_revised():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10", extended=True)
    known: Any = desk.story.recorded[0]
    desk.broker.report(desk.fill(known.deal, volume=2, time_msc=known.time_msc))
    result = desk.sync()
    assert (result.revised, kinds(result.events)) == ((known.deal,), ["DealRevised"])
    assert (desk.left, result.status) == ("#7 long 2 @ 10", SyncStatus.SUCCESS)
    assert desk.sync().appended == 0


def test_a_cancelled_deal_undoes_what_it_did():
    desk = Desk("#7 buy 1 @ 10", extended=True)
    known: Any = desk.story.recorded[0]
    desk.broker.report(
        CashMoved(deal=known.deal, type=13, profit=0, time_msc=known.time_msc, symbol="EURUSD", volume=1, price=10)
    )
    result = desk.sync()
    assert (result.revised, desk.left, result.status) == ((known.deal,), "flat", SyncStatus.SUCCESS)


def test_deals_that_are_reported_again_are_not_even_offered_to_the_journal():
    desk = Desk("deposit 1", "#7 long 1 @ 10", extended=True)
    desk.broker.report(desk.fill(50), desk.cash(51, 5))
    desk.sync(2)
    assert len(desk.reconciler._memory.history._last_answer) == 2
    offered: list[Any] = []
    journal: Any = desk.account.ledger.journal
    append = journal.append
    journal.append = lambda *about, **words: (offered.append(about), append(*about, **words))[1]  # type: ignore[func-returns-value]
    desk.sync(5)
    assert offered == []


def test_no_deals_and_no_error_is_an_answer():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1.5 @ 11", extended=True)
    result = desk.sync()
    assert (result.status, result.corrected) == (SyncStatus.SUCCESS, (7,))


def test_an_error_about_deals_holds_corrections_and_is_given_up_after_some_syncs():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1.5 @ 11", extended=True)
    desk.broker.fail(BUSY, on="deals")
    for _ in range(2):
        result = desk.sync()
        assert (result.status, result.corrected) == (SyncStatus.PARTIAL, ())
        assert "could not be read" in result.held[0].why
    result = desk.sync()
    assert (result.status, result.corrected) == (SyncStatus.SUCCESS, (7,))
    assert any("without deals" in one for one in result.warnings)


def test_one_sync_counts_one_error_however_often_it_looked():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1.5 @ 11", extended=True)
    desk.broker.fail(BUSY, on="deals")
    journal: Any = desk.account.ledger.journal
    append, tickets = journal.append, iter((900, 901, 902))

    def crowded(account: AccountId, events: Any, **words: Any) -> Any:
        for deal in [next(tickets, None)]:
            if deal is not None:
                append(account, [desk.cash(deal, 1)])
        return append(account, events, **words)

    journal.append = crowded
    assert desk.sync().corrected == ()
    assert desk.broker.calls.count("deals") == 4
    assert desk.sync().corrected == ()
    assert desk.sync().corrected == (7,)


def test_an_answer_about_deals_in_between_starts_the_count_again():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.broker.fail(BUSY, on="deals", times=2)
    desk.sync(3)
    desk.broker.fail(BUSY, on="deals", times=2).show("#7 long 2 @ 10")
    assert [desk.sync().status for _ in range(2)] == [SyncStatus.PARTIAL] * 2


def test_syncs_come_to_an_end_where_deals_are_listed_by_span_but_not_by_position():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1.5 @ 11", extended=True)
    deals = desk.broker.deals

    def spans_only(**about: Any) -> Any:
        if about.get("position"):
            raise BUSY
        return deals(**about)

    desk.broker.deals = spans_only  # type: ignore[method-assign]
    assert [desk.sync().status for _ in range(3)] == [SyncStatus.PARTIAL, SyncStatus.PARTIAL, SyncStatus.SUCCESS]
    assert desk.left == "#7 long 1.5 @ 11"


@pytest.mark.parametrize("words", [{"code": "UNKNOWN_ACTION"}, {"detail": "action not supported"}, {"code": "NOT_IMPLEMENTED"}])
def test_a_gateway_that_knows_no_deals_is_not_asked_again_and_nothing_waits_for_them(words):
    desk = Desk("#7 buy 1 @ 10", "#7 long 1.5 @ 11", extended=True)
    desk.broker.fail(GatewayRefused("GET_DEALS", **words), on="deals")
    assert desk.sync().corrected == (7,)
    desk.sync(3)
    assert desk.broker.calls.count("deals") == 1


def test_no_answer_about_deals_is_no_usable_answer():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1.5 @ 11", extended=True)
    desk.broker.fail(GatewayTimeout("no answer"), on="deals", times=1)
    assert (desk.sync().status, desk.left) == (SyncStatus.DEGRADED, "#7 long 1 @ 10")


def test_a_deal_listed_twice_with_other_content_in_one_answer_is_refused():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    deals = desk.broker.deals
    doubled = desk.fill(50, 8), desk.fill(50, 8, volume=2)

    def both(**about: Any) -> Any:
        answer = deals(**about)
        return type(answer)(deals=doubled, login=answer.login, server=answer.server)

    desk.broker.deals = both  # type: ignore[method-assign]
    result = desk.sync()
    assert (result.status, desk.left) == (SyncStatus.DEGRADED, "#7 long 1 @ 10")
    assert "twice" in str(result.reason)


def test_deals_of_another_account_are_refused():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    deals = desk.broker.deals

    def foreign(**about: Any) -> Any:
        deals(**about)
        return type(deals(**about))(deals=(desk.fill(50),), login=70114)

    desk.broker.deals = foreign  # type: ignore[method-assign]
    assert (desk.sync().status, desk.left) == (SyncStatus.DEGRADED, "#7 long 1 @ 10")


def test_after_the_first_look_only_what_is_new_since_the_last_one_is_asked_for():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.sync()
    last_look_msc = desk.now()
    desk.watch.move(7200)
    desk.sync()
    assert desk.broker.asked[-1]["from_msc"] == last_look_msc - 600_000


def test_a_doubt_that_stays_as_it_is_is_not_looked_into_at_every_sync():
    desk = Desk("t1 #7 buy 1 @ 10, t2 #7 out sell 2 @ 11", extended=True)
    desk.sync(45)
    far_back = [one for one in desk.broker.asked if (one["from_msc"] or 0) < at(3)]
    assert 2 <= len(far_back) <= 3


def test_a_correction_applies_to_the_moment_of_its_snapshot():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10", extended=True)
    desk.broker.ahead_msc = 30_000
    desk.sync()
    assert {one.event.time_msc // 1000 for one in desk.heard} == {desk.now() // 1000}


@pytest.mark.parametrize("ahead_hours", [-5, 0, 3])
def test_deals_are_asked_for_by_the_server_s_clock_with_a_margin_on_both_sides(ahead_hours):
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True, clock=f"{ahead_hours:+03d}:00")
    desk.broker.ahead_msc = ahead_hours * 3_600_000
    known: Any = desk.story.recorded[0]
    desk.sync()
    assert desk.broker.asked[0]["from_msc"] == known.time_msc - 600_000
    server_msc = desk.now()
    desk.sync()
    asked: Any = desk.broker.asked[-1]
    assert asked["from_msc"] < server_msc - 500_000
    assert asked["to_msc"] > server_msc + 23 * 3_600_000


def test_the_hour_that_a_clock_shows_twice_loses_no_deal_and_counts_none_twice():
    desk = Desk("deposit 1", extended=True, clock="Europe/Athens")
    autumn_us = 1_792_888_200 * 1_000_000  # 2026-10-25 00:30 UTC, 03:30 in Athens, half an hour before it is 03:00 again
    desk.watch.now_us = autumn_us
    for minute in range(0, 120, 20):
        desk.watch.now_us = autumn_us + minute * 60_000_000
        hours = 3 if minute < 30 else 2
        desk.broker.ahead_msc = hours * 3_600_000
        desk.broker.report(desk.fill(100 + minute, 100 + minute))
        shown = ", ".join(f"#{100 + one} long 1 @ 10" for one in range(0, minute + 1, 20))
        desk.broker.show(shown)
        desk.sync()
    desk.watch.move(3600)
    desk.sync()
    fills = [one for one in desk.log if one.kind == "FillRecorded"]
    assert len(fills) == len(desk.account.portfolio.positions) == 6


def test_what_is_unexplained_is_looked_for_further_back():
    desk = Desk("t1 #7 buy 1 @ 10", extended=True)
    desk.broker.offers_deals = False
    desk.startup()
    assert desk.left == "flat; ghost result 1"
    closing = desk.fill(50, side="sell", entry="out", price=12, profit=9)
    desk.broker.offers_deals = True
    desk.restarted()
    desk.watch.move(7200)
    desk.broker.report(desk.fill(60, 8)).show("#8 long 1 @ 10")
    desk.sync()
    assert desk.left == "#8 long 1 @ 10; ghost result 1"
    desk.broker.report(closing)
    desk.watch.move(7200)
    desk.restarted()
    desk.sync()
    assert (desk.left, desk.story.balance) == ("#8 long 1 @ 10", "9")


def test_a_break_that_deals_settled_later_is_explained():
    desk = Desk("#7 buy 1 @ 10", extended=True)
    desk.sync()
    assert desk.breaks == [("ghost", 7, 1, 0)]
    desk.broker.report(desk.fill(50, side="sell", entry="out", price=12, profit=9))
    result = desk.sync()
    assert kinds(result.events) == ["FillRecorded", "BreakClosed"]
    end: Any = result.events[-1].event
    assert (end.end, desk.breaks, desk.left) == (BreakEnd.EXPLAINED, [], "flat")


def test_a_deal_that_comes_after_its_correction_counts_its_money_and_not_its_volume():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1.5 @ 11", extended=True)
    late = desk.fill(50, volume="0.5", price=13, commission=-3)
    desk.watch.move(5)
    assert desk.sync().corrected == (7,)
    desk.broker.report(late)
    result = desk.sync()
    assert (result.fills, result.corrected, result.status) == ((50,), (), SyncStatus.SUCCESS)
    assert (desk.left, desk.story.balance) == ("#7 long 1.5 @ 11", "-3")


# ----------------------------------------------------------------------------------------------------- answers to be refused


AMISS: list[dict[str, Any]] = [
    {"login": 70114},
    {"server": "Broker-Demo"},
    {"connected": False},
    {"count": 3},
    {"server_time_msc": at(0)},
]


@pytest.mark.parametrize("amiss", AMISS, ids=lambda one: next(iter(one)))
def test_a_refused_snapshot_changes_nothing_but_the_state(amiss):
    desk = Desk("#7 buy 1 @ 10", "#8 long 9 @ 9", extended=True)
    desk.broker.amiss(**amiss)
    result = desk.sync()
    assert (result.status, kinds(result.events)) == (SyncStatus.DEGRADED, ["SyncDegraded"])
    assert next(iter(amiss)) in str(result.reason)
    assert (desk.left, desk.breaks) == ("#7 long 1 @ 10", [])


ERRORS = [
    GatewayTimeout("no answer within 2000 ms"),
    GatewayUnavailable("the connection is gone"),
    GatewayRefused("GET_POSITIONS", code="5040"),
    SnapshotRefused("positions is missing", field="positions"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("shows", ["", "#8 long 9 @ 9"], ids=["flat", "something else"])
def test_an_error_is_never_an_empty_list(error, shows):
    desk = Desk("#7 buy 1 @ 10", shows)
    desk.broker.fail(error)
    for _ in range(5):
        result = desk.sync()
        assert (result.status, result.reason, desk.left) == (SyncStatus.DEGRADED, str(error), "#7 long 1 @ 10")
    assert not desk.reconciler.safe_to_trade()


def test_a_row_that_comes_twice_refuses_everything():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10, #7 long 1 @ 10")
    assert (desk.sync().status, desk.left) == (SyncStatus.DEGRADED, "#7 long 1 @ 10")


def test_degraded_is_reported_once_and_ends_by_itself():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.broker.fail(GatewayTimeout("no answer"))
    assert [desk.sync().appended for _ in range(4)] == [1, 0, 0, 0]
    desk.restarted()
    assert desk.sync().appended == 0
    desk.broker.recover()
    result = desk.sync()
    assert (result.status, kinds(result.events)) == (SyncStatus.SUCCESS, ["SyncRestored"])
    assert desk.sync().appended == 0
    assert desk.account.portfolio.degraded is None


def test_a_gateway_that_comes_and_goes_is_noted_each_time_even_where_no_broker_clock_moves():
    desk = Desk()
    desk.account.record(desk.fill(1, time_msc=desk.now(3600)))  # ahead of our clock: everything later is of this moment
    desk.broker.show("#7 long 1 @ 10")
    for number in range(3):
        desk.broker.fail(GatewayTimeout(f"no answer {number}"), times=1)
        assert kinds(desk.sync().events) == ["SyncDegraded"]
        result = desk.sync()
        assert (result.status, kinds(result.events)) == (SyncStatus.SUCCESS, ["SyncRestored"])


def test_a_gateway_that_fails_before_the_account_is_open_is_degraded_without_an_event():
    watch = Watch()
    gateway = ScriptedGateway(now_us=watch, extended=True).fail(GatewayTimeout("no answer"))
    account = Ledger.open("memory://", now_us=watch).account(ACCOUNT)
    result = reconciler(account, gateway, watch).sync_positions()
    assert (result.status, result.version, account.is_open) == (SyncStatus.DEGRADED, 0, False)


def test_whatever_a_gateway_states_about_its_error_can_be_stored():
    desk = Desk()
    desk.broker.fail(GatewayTimeout("a\0b \ud800 \x1b[2J" + "x" * 9000))
    result = desk.sync()
    assert result.status is SyncStatus.DEGRADED
    assert len(str(result.reason)) <= 500
    assert str(result.reason).isprintable()


def test_a_number_that_cannot_be_stored_degrades_and_does_not_raise():
    desk = Desk("deposit 5", extended=True)
    desk.broker.report(desk.fill(50, 9, volume="0.123456789"))
    assert (desk.sync().status, desk.story.balance) == (SyncStatus.DEGRADED, "5")


def test_a_journal_that_refuses_is_a_failure_and_not_a_broker_without_positions():
    desk = Desk("#7 buy 1 @ 10", "#8 long 1 @ 10")
    journal: Any = desk.account.ledger.journal

    def refuse(*_: Any, **__: Any) -> Any:
        raise JournalUnavailable("the disk is full")

    journal.append = refuse
    result = desk.sync()
    assert (result.status, result.reason, result.appended) == (SyncStatus.FAILED, "the disk is full", 0)
    assert (desk.left, desk.heard) == ("#7 long 1 @ 10", [])
    assert not desk.reconciler.safe_to_trade()


def test_of_two_accounts_only_the_one_that_fails_is_left_out():
    watch = Watch()
    ledger = Ledger.open("memory://", now_us=watch)
    both = []
    for login in (1, 2):
        account = ledger.account("Broker-Live", login)
        account.open(currency="USD", mode="hedging", time_msc=at(0))
        gateway = ScriptedGateway(f"#{login} long 1 @ 10", now_us=watch, name=account.name)
        both.append(reconciler(account, gateway, watch))
    failing: Any = both[0].gateway
    failing.fail(GatewayTimeout("no answer"))
    results = sync_all(both, startup=True)
    assert [one.status for one in results] == [SyncStatus.DEGRADED, SyncStatus.SUCCESS]
    assert [list(one.account.portfolio.positions) for one in both] == [[], [2]]
    assert sync_all([]) == ()


# ---------------------------------------------------------------------------------------------------------- time to settle


def test_a_fill_of_a_moment_ago_is_left_for_the_next_sync():
    desk = Desk("deposit 1", ghost_confirmations=1)
    desk.account.record(desk.fill(1))
    result = desk.reconciler.sync_positions()
    assert (result.status, result.appended, desk.left) == (SyncStatus.PARTIAL, 0, "#7 long 1 @ 10")
    assert result.held[0].waits_for is WaitsFor.TIME
    assert desk.sync().closed == (7,)


@pytest.mark.parametrize(("seconds", "closed"), [(1.9, ()), (2.1, (7,))])
def test_a_fill_has_settled_after_the_time_of_the_policy(seconds, closed):
    desk = Desk("deposit 1", ghost_confirmations=1)
    desk.account.record(desk.fill(1))
    desk.watch.move(seconds)
    assert desk.reconciler.sync_positions().closed == closed


def test_a_fill_that_arrives_during_the_query_is_not_undone():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", ghost_confirmations=1)
    desk.broker.meanwhile(lambda: desk.account.record(desk.fill(50, volume="0.5")))
    desk.broker.meanwhile(lambda: desk.account.record(desk.fill(51, 8)))
    result = desk.sync()
    assert (result.status, result.appended) == (SyncStatus.PARTIAL, 0)
    assert desk.left == "#7 long 1.5 @ 10"
    desk.broker.show("#7 long 1.5 @ 10, #8 long 1 @ 10")
    desk.sync()
    assert desk.sync().status is SyncStatus.SUCCESS
    assert desk.left == "#7 long 1.5 @ 10, #8 long 1 @ 10"


def test_a_fill_that_explains_a_difference_during_the_query_ends_it():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1.5 @ 10")
    desk.broker.meanwhile(lambda: desk.account.record(desk.fill(50, volume="0.5")))
    result = desk.sync()
    assert (result.status, result.appended, desk.left) == (SyncStatus.SUCCESS, 0, "#7 long 1.5 @ 10")


def test_what_an_import_reports_does_not_have_to_settle():
    desk = Desk("deposit 1", ghost_confirmations=1)
    desk.account.record(desk.fill(1, origin="import"))
    assert desk.reconciler.sync_positions().closed == (7,)


def test_deals_that_happen_after_the_snapshot_cause_another_snapshot():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)

    def fill_now() -> None:
        desk.watch.move(0.5)
        desk.broker.report(desk.fill(50, volume="0.5")).show("#7 long 1.5 @ 10")

    desk.broker.meanwhile(fill_now)
    result = desk.sync()
    assert (result.status, result.fills, result.corrected) == (SyncStatus.SUCCESS, (50,), ())
    assert (desk.left, desk.broker.calls.count("positions")) == ("#7 long 1.5 @ 10", 2)


def test_a_deal_that_the_second_snapshot_shows_holds_nothing_that_differs_besides():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)

    def fill_now() -> None:
        desk.watch.move(0.2)
        desk.broker.report(desk.fill(50, volume="0.5")).show("#7 long 1.5 @ 12")

    desk.broker.meanwhile(fill_now)
    result = desk.sync()
    assert (result.fills, result.corrected, result.held) == ((50,), (7,), ())


def test_where_deals_never_stop_nothing_is_corrected_back():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    filled: list[FillRecorded] = []

    def fill_now() -> None:
        desk.watch.move(1)
        filled.append(desk.fill(50 + len(filled), volume="0.1"))
        desk.broker.report(filled[-1]).show(f"#7 long {plain(1 + len(filled) * filled[0].volume)} @ 10")
        desk.broker.meanwhile(fill_now)

    desk.broker.meanwhile(fill_now)
    for _ in range(5):
        result = desk.sync()
        assert (result.status, result.corrected, result.closed, result.recovered) == (SyncStatus.PARTIAL, (), (), ())
        assert [one.waits_for for one in result.held] == [WaitsFor.TIME]
    assert desk.account.portfolio.unexplained == ()
    assert not any(one.kind in ("DriftCorrected", "BreakOpened") for one in desk.log)


# ----------------------------------------------------------------------------------------------------------- other writers


def test_a_writer_who_is_faster_has_the_decision_made_again():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10")
    journal: Any = desk.account.ledger.journal
    append = journal.append

    def late(account: AccountId, events: Any, **words: Any) -> Any:
        journal.append = append
        append(account, [desk.fill(50, 8, origin="import")])
        return append(account, events, **words)

    journal.append = late
    desk.broker.show("#7 long 2 @ 10, #8 long 1 @ 10")
    result = desk.sync()
    assert (result.status, result.recovered, result.corrected) == (SyncStatus.SUCCESS, (), (7,))
    assert desk.left == "#7 long 2 @ 10, #8 long 1 @ 10"
    assert desk.broker.calls == ["positions"] * 2
    corrections = [one for one in desk.log if one.kind == "DriftCorrected"]
    assert len(corrections) == 1


def test_writers_who_never_stop_hold_the_sync_and_nothing_is_made_up():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10")
    journal: Any = desk.account.ledger.journal
    append, tickets = journal.append, iter(range(100, 200))

    def crowded(account: AccountId, events: Any, **words: Any) -> Any:
        append(account, [desk.cash(next(tickets), 1)])
        return append(account, events, **words)

    journal.append = crowded
    result = desk.sync()
    assert (result.status, [one.kind for one in result.held]) == (SyncStatus.PARTIAL, ["sync"])
    assert desk.left == "#7 long 1 @ 10"
    assert not desk.reconciler.safe_to_trade()


def test_two_reconcilers_of_one_account_correct_once():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10, #8 long 1 @ 10")
    one, other = desk.reconciler, desk.restarted()
    results: list[SyncResult] = []
    desk.broker.meanwhile(lambda: results.append(other.sync_positions()))
    results.append(one.sync_positions())
    assert sorted(len(result.recovered) for result in results) == [0, 1]
    assert desk.left == "#7 long 2 @ 10, #8 long 1 @ 10"
    assert len([1 for event in desk.log if event.kind in ("PositionRecovered", "DriftCorrected")]) == 2


# ------------------------------------------------------------------------------------------------------------------ money


def test_the_first_figure_that_a_broker_states_is_asserted_with_its_evidence():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.broker.state("1234.56", 50)
    result = desk.sync()
    assert (result.status, kinds(result.events)) == (SyncStatus.SUCCESS, ["BalanceAsserted"])
    asserted: Any = result.events[0].event
    assert isinstance(asserted, BalanceAsserted)
    assert asserted.evidence
    assert (desk.story.balance, desk.account.portfolio.credit) == ("1234.56", 50)
    assert desk.sync().appended == 0


def test_the_first_figure_waits_until_it_is_clear_what_it_contains():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.broker.state(100).fail(BUSY, on="deals", times=2)
    assert "BalanceAsserted" not in kinds(desk.sync().events)  # without its deals
    assert kinds(desk.sync().events) == ["BalanceAsserted"]


def test_money_that_moves_with_its_deals_agrees():
    desk = Desk(extended=True)
    desk.broker.state(100)
    desk.sync()
    desk.broker.report(desk.cash(50, 25)).state(125)
    result = desk.sync()
    assert (result.status, kinds(result.events)) == (SyncStatus.SUCCESS, ["CashMoved"])


def test_a_difference_in_money_is_a_break_that_blocks_nothing_and_ends_by_itself():
    desk = Desk(shows="#7 long 1 @ 10", extended=True)
    desk.broker.state(100)
    desk.sync()
    desk.broker.state(90)
    result = desk.sync()
    assert (result.status, kinds(result.events)) == (SyncStatus.PARTIAL, ["BreakOpened"])
    assert (desk.breaks, desk.story.balance) == ([("balance", None, 1, 0)], "100")
    assert [desk.sync().appended for _ in range(3)] == [0, 0, 0]
    assert desk.reconciler.safe_to_trade()
    desk.broker.report(desk.cash(50, -10))
    result = desk.sync()
    assert (result.status, kinds(result.events)) == (SyncStatus.SUCCESS, ["CashMoved", "BreakClosed"])
    assert desk.breaks == []


def test_money_that_differs_sends_for_what_was_missed_long_ago():
    desk = Desk(extended=True)
    desk.broker.state(100)
    desk.sync()
    missed = desk.cash(50, -10)
    desk.watch.move(7200)
    desk.sync()
    desk.watch.move(7200)
    desk.broker.report(missed).state(90)
    result = desk.sync()
    assert (result.status, desk.story.balance, desk.breaks) == (SyncStatus.SUCCESS, "90", [])


def test_a_difference_that_is_known_is_not_asked_about_at_every_sync():
    desk = Desk(extended=True)
    desk.broker.state(100)
    desk.sync()
    desk.broker.state(90)
    desk.sync()
    desk.broker.report(desk.cash(50, 5)).state(95)  # both sides move, the difference stays
    desk.sync()
    desk.broker.asked.clear()
    desk.sync(5)
    assert len(desk.broker.asked) == 5
    assert min(one["from_msc"] or 0 for one in desk.broker.asked) > 0


def test_money_right_after_a_fill_is_not_trusted_and_looked_at_again():
    desk = Desk(shows="#7 long 1 @ 10", extended=True)
    desk.broker.state(100)
    desk.sync()
    known = desk.fill(50, 8, commission=-3)
    desk.account.record(incomplete(known))
    desk.broker.show("#7 long 1 @ 10, #8 long 1 @ 10").state(97)
    result = desk.reconciler.sync_positions()
    assert (result.status, result.appended) == (SyncStatus.PARTIAL, 0)
    assert result.held[0].waits_for is WaitsFor.TIME
    desk.broker.report(known)
    assert desk.sync().status is SyncStatus.SUCCESS


def test_a_policy_that_halts_at_money_corrects_nothing_from_the_first_moment_on():
    desk = Desk(extended=True, balance="halt")
    desk.broker.state(100)
    desk.sync()
    desk.broker.state(90).show("#7 long 1 @ 10")
    result = desk.sync()
    assert (result.status, result.recovered, desk.left) == (SyncStatus.PARTIAL, (), "flat")
    assert not desk.reconciler.safe_to_trade()
    desk.broker.state(100)
    desk.sync()
    assert desk.sync().status is SyncStatus.SUCCESS
    assert desk.left == "#7 long 1 @ 10"


def test_where_the_policy_halts_at_money_nothing_is_safe_while_it_differs():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True, balance="halt")
    desk.broker.state(100)
    desk.sync()
    assert desk.reconciler.safe_to_trade()
    desk.broker.state(90)
    desk.sync()
    assert "balance" in str(desk.reconciler.safe_to_trade("EURUSD").why)


def test_money_of_another_account_refuses_the_sync():
    desk = Desk("#7 buy 1 @ 10", "#8 long 1 @ 10", extended=True)
    desk.broker.state(100)
    account = desk.broker.account
    desk.broker.account = lambda: type(account())(  # type: ignore[method-assign]
        login=1, server="Other", currency="USD", mode=account().mode, balance=account().balance, credit=account().credit
    )
    assert (desk.sync().status, desk.left) == (SyncStatus.DEGRADED, "#7 long 1 @ 10")


# ------------------------------------------------------------------------------------------------ opened from the gateway


def unopened(*, ahead_msc: int = 0, **terms: Any) -> tuple[StateReconciler, ScriptedGateway]:
    watch = Watch()
    gateway = ScriptedGateway("#7 long 1 @ 10", extended=True, now_us=watch, ahead_msc=ahead_msc).state(100, 5)
    account = Ledger.open("memory://", now_us=watch).account(ACCOUNT)
    return reconciler(account, gateway, watch, **terms), gateway


@pytest.mark.parametrize(
    ("ahead_msc", "rule"),
    [
        (0, "UTC"),
        (3 * 3_600_000, "+03:00"),
        (-5 * 3_600_000, "-05:00"),
        (5 * 3_600_000 + 45 * 60_000, "+05:45"),
        (2 * 3_600_000 + 9_000, "+02:00"),  # two clocks may be apart by a little
        (-40 * 3_600_000, "UTC"),  # a clock that was stopped over the weekend
    ],
)
def test_an_account_is_opened_as_the_gateway_states_it_with_the_clock_that_is_measured(ahead_msc, rule):
    service, _ = unopened(ahead_msc=ahead_msc)
    result = service.startup_recovery()
    assert result.status is SyncStatus.SUCCESS
    terms = service.account.terms
    assert (terms.opened.currency, terms.opened.mode.value, terms.clock.name) == ("USD", "hedging", rule)
    assert (service.account.portfolio.balance, list(service.account.portfolio.positions)) == (100, [7])
    assert any("server clock" in one for one in result.warnings)


def test_a_clock_that_is_ahead_by_no_offset_is_in_doubt_from_the_start():
    service, _ = unopened(ahead_msc=2 * 3_600_000 + 11_000)
    result = service.startup_recovery()
    assert (result.status, result.recovered) == (SyncStatus.PARTIAL, ())
    assert [one.kind.value for one in service.account.portfolio.breaks] == ["zombie", "clock"]
    assert any("server clock UTC" in one for one in result.warnings)


def test_a_clock_rule_that_was_named_is_used():
    service, _ = unopened(ahead_msc=2 * 3_600_000, clock="ny-close")
    result = service.startup_recovery()
    assert (service.account.terms.clock.name, result.warnings) == ("ny-close", ())


@pytest.mark.parametrize("amiss", [{"connected": False}, {"login": 1}, {"server": "Other"}], ids=lambda one: next(iter(one)))
def test_no_account_is_opened_from_a_refused_answer(amiss):
    service, gateway = unopened()
    gateway.amiss(**amiss)
    result = service.sync_positions()
    assert (result.status, service.account.is_open, result.warnings) == (SyncStatus.DEGRADED, False, ())


def test_a_gateway_of_another_account_opens_nothing():
    service, gateway = unopened()
    gateway.name = AccountId("Broker-Live", 70114)
    assert (service.sync_positions().status, service.account.is_open) == (SyncStatus.DEGRADED, False)


def test_the_base_form_cannot_name_an_account():
    watch = Watch()
    account = Ledger.open("memory://", now_us=watch).account(ACCOUNT)
    gateway = ScriptedGateway("#7 long 1 @ 10", now_us=watch)
    with pytest.raises(AccountUnknown, match="account open"):
        reconciler(account, gateway, watch).sync_positions()
    assert account_of(gateway) is None
    assert account_of(ScriptedGateway(extended=True, now_us=watch).state(1)) == ACCOUNT


def test_what_the_broker_states_of_its_symbols_is_recorded_once():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10.000004, #8 long 1 USDJPY @ 150", extended=True)
    desk.broker.specs = tuple(
        RemoteSymbol(symbol=name, digits=2, volume_step="0.01", currency="USD")  # type: ignore[arg-type]
        for name in ("EURUSD", "USDJPY", "XAUUSD")
    )
    result = desk.sync()
    assert (result.status, result.corrected) == (SyncStatus.SUCCESS, ())  # the price is within half a unit of five decimals
    assert sorted(desk.account.terms.symbols) == ["EURUSD", "USDJPY"]
    desk.sync(3)
    desk.restarted()
    desk.sync(3)
    assert kinds(desk.log).count("SymbolSpecified") == 2
    assert desk.broker.calls.count("symbols") == 2


def test_symbols_that_could_not_be_asked_about_are_asked_about_again():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.broker.specs = (RemoteSymbol(symbol="EURUSD", digits=5),)
    desk.broker.fail(GatewayTimeout("no answer"), on="symbols", times=1)
    desk.sync(2)
    assert list(desk.account.terms.symbols) == ["EURUSD"]


def test_a_gateway_that_knows_no_symbols_is_no_hindrance():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.broker.fail(GatewayRefused("GET_SYMBOLS", code="UNKNOWN_ACTION"), on="symbols")
    result = desk.sync()
    assert result.status is SyncStatus.SUCCESS
    assert any("exactly" in one for one in result.warnings)
    desk.sync()
    assert desk.broker.calls.count("symbols") == 1


def test_a_symbol_whose_scales_are_used_already_is_reported_and_no_hindrance():
    desk = Desk("#7 buy 1 SHIB @ 10", "#7 long 1 SHIB @ 10", extended=True)
    desk.broker.specs = (RemoteSymbol(symbol="SHIB", digits=11),)
    result = desk.sync()
    assert result.status is SyncStatus.SUCCESS
    assert any("scales" in one for one in result.warnings)


# ------------------------------------------------------------------------------------------------------------------- when


def test_continuous_syncs_keep_their_interval():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    assert desk.reconciler.sync_continuous() is not None
    desk.watch.move(14.9)
    assert desk.reconciler.sync_continuous() is None
    desk.watch.move(0.2)
    assert desk.reconciler.sync_continuous() is not None
    assert len(desk.broker.calls) == 2


def test_the_interval_holds_after_failures_too():
    desk = Desk()
    desk.broker.fail(GatewayTimeout("no answer"))
    for _ in range(100):
        desk.reconciler.sync_continuous()
        desk.watch.move(0.1)
    assert len(desk.broker.calls) == 1
    desk.watch.move(15)
    desk.reconciler.sync_continuous()
    assert len(desk.broker.calls) == 2


def test_the_interval_holds_where_the_account_cannot_be_opened():
    watch = Watch()
    gateway = ScriptedGateway(now_us=watch)
    service = reconciler(Ledger.open("memory://", now_us=watch).account(ACCOUNT), gateway, watch)
    with pytest.raises(AccountUnknown):
        service.sync_continuous()
    assert service.sync_continuous() is None


def test_a_connection_that_came_back_is_followed_at_once():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.reconciler.sync_continuous()
    desk.watch.move(2)
    assert desk.reconciler.sync_continuous() is None
    desk.broker.reconnections += 1
    assert desk.reconciler.sync_continuous() is not None
    desk.watch.move(2)
    assert desk.reconciler.sync_continuous() is None  # once


def test_a_connection_that_flickers_is_not_followed_faster_than_it_can_be_of_use():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    for _ in range(50):
        desk.broker.reconnections += 1
        desk.reconciler.sync_continuous()
        desk.watch.move(0.1)
    assert len(desk.broker.calls) <= 5


def test_an_event_that_wakes_is_followed_at_once_and_once():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.reconciler.sync_continuous()
    desk.watch.move(0.5)
    assert desk.reconciler.sync_continuous() is None
    desk.reconciler.wake()
    desk.reconciler.wait(60)  # returns at once
    assert desk.reconciler.sync_continuous() is not None
    desk.watch.move(0.5)
    assert desk.reconciler.sync_continuous() is None


def test_events_that_come_at_once_cause_one_sync_and_none_is_lost():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.reconciler.sync_continuous()
    for _ in range(50):
        desk.reconciler.wake()
        desk.reconciler.sync_continuous()
        desk.watch.move(0.01)
    assert 2 <= len(desk.broker.calls) <= 12
    desk.watch.move(0.5)
    assert desk.reconciler.sync_continuous() is not None


def test_an_event_during_a_sync_is_a_reason_for_the_next_one():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.broker.meanwhile(desk.reconciler.wake)
    desk.reconciler.sync_continuous()
    desk.watch.move(0.5)
    assert desk.reconciler.sync_continuous() is not None


def test_a_gateway_that_pushes_nothing_is_followed_by_looking():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.reconciler.follow()
    assert not desk.reconciler.is_following
    desk.reconciler.unfollow()


@pytest.mark.parametrize("startup", [True, False])
def test_running_reconciles_at_once_and_does_not_block_the_loop(startup):
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10, #8 long 1 @ 10")
    started, may_answer = threading.Event(), threading.Event()

    def answer_slowly() -> None:
        started.set()
        assert may_answer.wait(10)

    desk.broker.meanwhile(answer_slowly)
    results: list[SyncResult] = []

    async def engine() -> None:
        task = asyncio.create_task(desk.reconciler.run(startup=startup, on_result=results.append))
        while not started.is_set():  # the loop turns while the gateway has not answered
            assert not task.done()
            await asyncio.sleep(0)
        assert results == []
        may_answer.set()
        while not results:  # as above
            assert not task.done()
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(engine())
    assert results[0].recovered == (8,)


def test_a_sync_can_be_awaited():
    desk = Desk("#7 buy 1 @ 10", ghost_confirmations=2)
    assert asyncio.run(desk.reconciler.sync_positions_async()).status is SyncStatus.PARTIAL
    assert asyncio.run(desk.reconciler.startup_recovery_async()).closed == (7,)


# ----------------------------------------------------------------------------------------------------------------- asking


def test_a_drift_is_described_and_nothing_is_changed():
    desk = Desk("#7 buy 1 @ 10, #9 buy 1 @ 10", "#7 long 1.5 @ 11, #8 short 1 @ 3, #9 long 1 @ 10 ticket 99", extended=True)
    version = desk.account.version
    assert (desk.reconciler.detect_drift() or "").splitlines() == [
        "zombie: position 8: we have none, theirs sell 1 EURUSD @ 3",
        "drift: position 7 in volume,price_open: ours buy 1 EURUSD @ 10, theirs buy 1.5 EURUSD @ 11",
        "new ticket: position 9 EURUSD: ticket 9 is now 99",
    ]
    assert (desk.account.version, desk.left) == (version, "#7 long 1 @ 10, #9 long 1 @ 10")
    assert Desk("#7 buy 1 @ 10", "#7 long 1 @ 10").reconciler.detect_drift() is None


def test_whether_there_is_drift_is_unknown_without_a_usable_snapshot():
    desk = Desk("#7 buy 1 @ 10", extended=True)
    desk.broker.amiss(connected=False)
    with pytest.raises(SnapshotRefused):
        desk.reconciler.detect_drift()
    desk.broker.fail(GatewayTimeout("no answer"))
    with pytest.raises(GatewayTimeout):
        desk.reconciler.detect_drift()


@pytest.mark.parametrize("extended", [False, True], ids=["base form", "extended form"])
@pytest.mark.parametrize("startup", [False, True])
def test_a_dry_run_states_what_would_happen_and_appends_nothing(extended, startup):
    desk = Desk("#7 buy 1 @ 10, #9 buy 1 @ 10", "#7 long 1.5 @ 11, #8 short 1 @ 3", extended=extended)
    desk.broker.report(desk.cash(50, 10))
    version, head = desk.account.version, desk.account.head
    tried = desk.reconciler.dry_run(startup=startup)
    assert (tried.recovered, tried.corrected, tried.closed) == ((8,), (7,), (9,) if startup else ())
    assert (desk.account.version, desk.account.head, desk.heard) == (version, head, [])
    assert desk.reconciler.get_status().state is None
    done = desk.startup() if startup else desk.sync()
    assert kinds(done.events) == kinds(tried.events)


def test_a_dry_run_before_the_account_is_open_opens_it_only_there():
    service, _ = unopened()
    assert service.dry_run(startup=True).recovered == (7,)
    assert not service.account.is_open


def test_a_listener_receives_exactly_what_was_appended_in_order():
    desk = Desk("#7 buy 1 @ 10, #9 buy 1 @ 10", "#7 long 1.5 @ 11, #8 short 1 @ 3", extended=True)
    before = desk.account.version
    desk.broker.report(desk.cash(50, 10)).state(100)
    results = [desk.startup(), desk.sync()]
    desk.broker.fail(GatewayTimeout("no answer"), times=1)
    results += [desk.sync(), desk.sync()]
    assert desk.heard == desk.log[before:]
    assert [event for result in results for event in result.events] == desk.heard
    assert [result.appended for result in results] == [len(result.events) for result in results]


def test_what_one_sync_appends_belongs_together():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10, #8 long 1 @ 10")
    desk.sync()
    desk.broker.show("#7 long 3 @ 10, #8 long 1 @ 10")
    desk.sync()
    syncs = [one.correlation for one in desk.heard]
    assert len(set(syncs)) == 2
    assert all(one and one.startswith("sync-") for one in syncs)


def test_the_audit_trail_is_complete_and_survives_the_process():
    desk = Desk("#7 buy 1 @ 10, #9 buy 1 @ 10", "#7 long 1.5 @ 11, #8 short 1 @ 3", extended=True)
    desk.broker.report(desk.cash(50, 10))
    desk.startup()
    trail = desk.reconciler.get_audit_trail()
    assert trail == desk.restarted().get_audit_trail()
    assert {one.kind for one in trail} >= {"PositionRecovered", "DriftCorrected", "GhostClosed", "BreakOpened", "CashMoved"}
    recorded = {one.version for one in desk.log if one.kind == "FillRecorded"}
    assert {one.version for one in desk.log} - {one.version for one in trail} == recorded  # all but the engine's own records
    assert desk.reconciler.get_audit_trail(after=trail[-2].version) == trail[-1:]


def test_every_correction_has_the_broker_s_own_answer_as_evidence():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10, #8 long 1 @ 10")
    desk.sync()
    for one in desk.heard:
        event: Any = one.event
        assert b"SUCCESS" in desk.account.evidence(event.evidence)


def test_the_status_reports_the_state_of_the_reconciler():
    desk = Desk("#7 buy 1 @ 10")
    assert (desk.reconciler.get_status().state, desk.reconciler.get_status().good_us) == (None, None)
    desk.broker.show("#7 long 1 @ 10")
    desk.sync()
    good = desk.reconciler.get_status()
    assert (good.state, good.why, good.breaks, good.held) == (SyncStatus.SUCCESS, None, (), ())
    desk.broker.fail(GatewayTimeout("no answer"))
    desk.sync(2)
    down = desk.reconciler.get_status()
    assert (down.state, down.why, down.good_us) == (SyncStatus.DEGRADED, "no answer", good.good_us)
    assert down.since_us is not None
    assert down.synced_us is not None
    assert good.synced_us is not None
    assert good.synced_us < down.since_us < down.synced_us
    assert round(down.good_age_sec or 0) == 30
    desk.broker.recover().show("")
    desk.sync()
    held = desk.reconciler.get_status()
    assert (held.state, [one.kind for one in held.breaks], len(held.held)) == (SyncStatus.PARTIAL, [BreakKind.GHOST], 1)
    assert "missing in 1 of 2" in str(held.why)


# ---------------------------------------------------------------------------------------------------------- safe to trade?


def test_nothing_is_safe_before_it_was_verified():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    safety = desk.reconciler.safe_to_trade()
    assert (bool(safety), safety.verified_us, safety.age_sec) == (False, None, None)
    assert "startup_recovery" in str(safety.why)
    desk.startup()
    assert desk.reconciler.safe_to_trade()


def test_a_verification_grows_old():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", verified_sec=60)
    desk.startup()
    desk.watch.move(59)
    assert desk.reconciler.safe_to_trade("EURUSD")
    desk.watch.move(2)
    safety = desk.reconciler.safe_to_trade("EURUSD")
    assert "61 s old" in str(safety.why)
    assert round(safety.age_sec or 0) == 61


def test_safety_is_a_matter_of_the_symbol():
    desk = Desk("#7 buy 1 @ 10, #8 buy 1 USDJPY @ 150", "#8 long 1 USDJPY @ 150")
    desk.sync()
    assert desk.reconciler.safe_to_trade("USDJPY")
    assert not desk.reconciler.safe_to_trade("EURUSD")
    assert not desk.reconciler.safe_to_trade()
    assert [one.symbol for one in desk.reconciler.safe_to_trade("EURUSD").breaks] == ["EURUSD"]
    desk.sync()
    assert desk.reconciler.safe_to_trade()


def test_what_settles_still_is_not_safe_and_only_there():
    desk = Desk("deposit 1", "#8 long 1 USDJPY @ 150")
    desk.sync()
    desk.account.record(desk.fill(1))
    desk.reconciler.sync_positions()
    assert not desk.reconciler.safe_to_trade("EURUSD")
    assert desk.reconciler.safe_to_trade("USDJPY")


def test_a_clock_in_doubt_makes_everything_unsafe():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.account.record(desk.fill(1, 8, time_msc=desk.now(7200)))
    desk.broker.show("#7 long 1 @ 10, #8 long 1 @ 10")
    assert desk.sync().status is SyncStatus.SUCCESS
    assert [one.kind for one in desk.account.portfolio.breaks] == [BreakKind.CLOCK]
    assert not desk.reconciler.safe_to_trade("USDJPY")
    desk.account.change_clock("+02:00", operator="mk", reason="the server is in Athens")
    desk.sync()
    assert desk.reconciler.safe_to_trade("USDJPY")


def test_while_the_clock_is_in_doubt_a_sync_corrects_nothing():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10")
    desk.account.record(desk.fill(1, 8, time_msc=desk.now(7200)))
    for _ in range(3):
        assert (desk.sync().status, desk.left) == (SyncStatus.PARTIAL, "#7 long 1 @ 10, #8 long 1 @ 10")


def test_trading_is_not_safe_while_the_gateway_is_silent():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.startup()
    desk.broker.fail(GatewayTimeout("no answer"), times=1)
    desk.sync()
    assert "no answer" in str(desk.reconciler.safe_to_trade().why)
    desk.sync()
    assert desk.reconciler.safe_to_trade()


# ---------------------------------------------------------------------------------------------------------- what is bounded


def test_what_a_terminal_undoes_again_and_again_is_left_to_people_in_the_end():
    desk = Desk(ghost_confirmations=1)
    for shows in ("#7 long 1 @ 10", "", "#7 long 1 @ 10"):
        desk.broker.show(shows)
        assert desk.sync().status is SyncStatus.SUCCESS
    desk.broker.show("")
    result = desk.sync()
    assert (result.closed, result.status) == ((), SyncStatus.PARTIAL)
    assert desk.breaks == [("ghost", 7, 1, 3)]
    assert desk.sync(20).appended == 0
    assert "ledger correct" in desk.reconciler.get_status().held[0].why


def test_a_break_that_was_left_to_people_is_corrected_again_once_it_cleared():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10", attempts_max=1)
    desk.sync()
    desk.account.record(desk.fill(1, side="sell", entry="out"))
    result = desk.sync()
    assert (result.status, result.corrected) == (SyncStatus.PARTIAL, ())
    assert desk.breaks == [("drift", 7, 1, 1)]
    assert desk.sync(5).appended == 0
    desk.account.record(desk.fill(2))
    result = desk.sync()  # it agrees
    assert (result.status, desk.breaks) == (SyncStatus.SUCCESS, [])
    ends = [one.event for one in desk.log if isinstance(one.event, BreakClosed)]
    assert ends[-1].end is BreakEnd.EXPLAINED
    assert ends[-1].time_msc > at(0)
    desk.watch.move(3600)
    desk.account.record(desk.fill(3, side="sell", entry="out"))
    assert desk.sync().corrected == (7,)  # the very same correction


def test_what_is_remembered_between_syncs_stays_small():
    desk = Desk(extended=True, ghost_confirmations=1)
    memory = desk.reconciler._memory
    for number in range(200):
        opening = desk.fill(1000 + 2 * number, 5000 + number)
        desk.watch.move(300)
        desk.broker.report(opening, desk.fill(1001 + 2 * number, 5000 + number, side="sell", entry="out", price=11))
        assert len(desk.sync().fills) == 2
        assert len(memory.history._last_answer) <= 10
    desk.broker.offers_deals = False
    for number in range(1200):
        desk.broker.show(f"#7 long {number + 1} @ 10")
        assert desk.sync().held == ()
        assert len(memory.flapping._sights["position", 7]) <= 2 * 3600 / 15 + 4  # a break and its correction a sync
    assert len(memory.asked_symbols) == 1


def test_a_break_that_stays_open_is_reported_once():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10", drift="report")
    version = desk.account.version
    desk.sync(50)
    assert desk.account.version == version + 1
    assert isinstance(desk.log[-1].event, BreakOpened)


def test_a_degraded_span_is_two_events_however_long():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.broker.fail(GatewayTimeout("no answer"), times=50)
    desk.sync(51)
    assert kinds(desk.heard) == ["SyncDegraded", "SyncRestored"]
    assert isinstance(desk.heard[0].event, SyncDegraded)


def test_a_new_ticket_is_recorded_while_the_rest_is_held():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10 ticket 99", extended=True, drift="report")
    result = desk.sync()
    assert (result.reticketed, result.corrected) == ((7,), ())
    assert [type(one.event) for one in desk.heard] == [BreakOpened, PositionReticketed]
