"""A gateway that changes its mind: corrections that undo each other are counted together, in the journal, and end."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest

from ledger import BreakKind, BreakOpened, GhostClosed, Ledger, PositionRecovered, SyncResult, SyncStatus
from ledger.adjustments import apply, propose_update
from ledger.values import plain
from tests.support.broker import ACCOUNT, Desk, kinds
from tests.support.journals import new_url

CORRECTIONS = {"PositionRecovered", "GhostClosed", "DriftCorrected", "PositionReticketed"}
HOUR_SEC = 3600


def flap(desk: Desk, shows: Any, times: int = 200, *, restarts: bool = False) -> list[SyncResult]:
    """Sync so often, with one picture after the other."""
    pictures, results = iter(shows), []
    for _ in range(times):
        desk.broker.show(next(pictures))
        if restarts:
            desk.restarted()
        results.append(desk.sync())
    return results


def lots_of(desk: Desk) -> str:
    return ", ".join(plain(one.volume) for one in desk.account.portfolio.positions.values()) or "none"


def corrections(desk: Desk) -> list[str]:
    return [kind for kind in kinds(desk.log) if kind in CORRECTIONS]


#: Name -> what the ledger recorded, and the pictures that the gateway shows in turn.
FLAPS: dict[str, tuple[str, list[str]]] = {
    "one lot more": ("#7 buy 1 @ 10", ["#7 long 2 @ 10", "#7 long 1 @ 10"]),
    "now and then": ("#7 buy 1 @ 10", ["#7 long 2 @ 10", "#7 long 1 @ 10", "#7 long 1 @ 10", "#7 long 1 @ 10"]),
    "three volumes": ("#7 buy 1 @ 10", ["#7 long 2 @ 10", "#7 long 3 @ 10", "#7 long 1 @ 10"]),
    "side": ("#7 buy 1 @ 10", ["#7 short 1 @ 10", "#7 long 1 @ 10"]),
    "symbol": ("#7 buy 1 @ 10", ["#7 long 1 EURUSD.r @ 10", "#7 long 1 @ 10"]),
    "present and absent": ("#7 buy 1 @ 10", ["", "", "#7 long 1 @ 10"]),
    "absent once": ("#7 buy 1 @ 10", ["", "#7 long 1 @ 10"]),
    "a stranger": ("#7 buy 1 @ 10", ["#7 long 1 @ 10, #8 short 1 @ 9", "#7 long 1 @ 10", "#7 long 1 @ 10"]),
    "everything": ("#7 buy 1 @ 10", ["#7 short 2 @ 11", "", "", "#7 long 1 @ 10", "#7 long 3 @ 10"]),
    "two price": ("#7 buy 1 @ 10", ["#7 long 1 @ 10.5", "#7 long 1 @ 10"]),
}


@pytest.mark.parametrize("restarts", [False, True], ids=["one process", "a process a sync"])
@pytest.mark.parametrize("extended", [False, True], ids=["base form", "extended form"])
@pytest.mark.parametrize("name", FLAPS)
def test_what_flaps_is_left_to_people_with_few_events_and_is_not_safe(name, extended, restarts):
    recorded, pictures = FLAPS[name]
    desk = Desk(recorded, pictures[-1], extended=extended)
    desk.startup()
    results = flap(desk, cycle(pictures), restarts=restarts)
    assert len(corrections(desk)) <= (3 if extended else 3 + len(set(pictures)))
    assert sum(result.appended for result in results) <= 24
    assert {result.status for result in results[30:]} == {SyncStatus.PARTIAL}
    assert not desk.reconciler.safe_to_trade("EURUSD")
    assert "ledger correct" in results[-1].held[0].why
    assert desk.account.ledger.verify().ok


def test_another_open_price_in_each_sync_is_left_to_people():
    desk = Desk("#7 buy 1 @ 10")
    results = flap(desk, (f"#7 long 1 @ 10.{number:04}" for number in range(1, 201)))
    assert len(corrections(desk)) == 3
    assert {result.status for result in results[3:]} == {SyncStatus.PARTIAL}
    assert not desk.reconciler.safe_to_trade("EURUSD")


@pytest.mark.parametrize(("tickets", "corrected"), [([99, 7], 3), (range(100, 300), 24)], ids=["to and fro", "always another"])
def test_a_ticket_that_changes_in_each_sync_is_left_as_it_is_and_not_safe(tickets, corrected):
    desk = Desk("#7 buy 1 @ 10", extended=True)
    results = flap(desk, (f"#7 long 1 @ 10 ticket {number}" for number in cycle(tickets)))
    assert corrections(desk) == ["PositionReticketed"] * corrected
    assert {(result.status, result.appended) for result in results[corrected:]} == {(SyncStatus.PARTIAL, 0)}
    assert not desk.reconciler.safe_to_trade("EURUSD")
    desk.broker.show("#7 long 1 @ 10 ticket 999")
    desk.watch.move(HOUR_SEC)
    assert (desk.sync().reticketed, desk.sync().status) == ((7,), SyncStatus.SUCCESS)


def test_fills_that_give_a_position_new_tickets_are_no_flapping():
    desk = Desk("#7 buy 1 @ 10", mode="netting", extended=True)
    for number in range(8):
        side, shown = ("sell", "short") if number % 2 == 0 else ("buy", "long")
        desk.account.record(desk.fill(50 + number, 7, side=side, entry="in/out", volume=2, order=None))
        desk.broker.show(f"#7 {shown} 1 @ 10 ticket {900 + number}")
        result = desk.sync()
        assert (result.status, len(result.reticketed)) == (SyncStatus.SUCCESS, 1)


@pytest.mark.parametrize("action", ["report", "halt"])
@pytest.mark.parametrize("name", ["one lot more", "present and absent", "absent once", "a stranger"])
def test_what_is_only_reported_is_reported_few_times(name, action):
    recorded, pictures = FLAPS[name]
    desk = Desk(recorded, zombie=action, ghost=action, drift=action)
    results = flap(desk, cycle(pictures))
    assert corrections(desk) == []
    assert sum(result.appended for result in results) <= 12
    assert {result.status for result in results[20:]} == {SyncStatus.PARTIAL}


def test_a_balance_that_flaps_is_noted_few_times():
    desk = Desk("deposit 100", extended=True)
    desk.broker.state(100)
    desk.sync()
    results = []
    for number in range(200):
        desk.broker.state(90 + number % 3)
        results.append(desk.sync())
    assert sum(result.appended for result in results) <= 6
    assert {result.status for result in results} == {SyncStatus.PARTIAL}
    desk.broker.state(100)
    desk.watch.move(HOUR_SEC)
    assert desk.sync().status is SyncStatus.SUCCESS
    assert desk.account.portfolio.breaks == ()


def test_one_position_that_flaps_leaves_the_others_to_be_corrected_and_traded():
    desk = Desk("#7 buy 1 @ 10, #8 buy 1 USDJPY @ 150")
    flap(desk, cycle(["#7 long 2 @ 10, #8 long 1 USDJPY @ 150", "#7 long 1 @ 10, #8 long 1 USDJPY @ 150"]), 20)
    desk.broker.show("#7 long 1 @ 10, #8 long 3 USDJPY @ 150, #9 short 1 USDJPY @ 151")
    result = desk.sync()
    assert (result.corrected, result.recovered) == ((8,), (9,))
    assert desk.reconciler.safe_to_trade("USDJPY")
    assert not desk.reconciler.safe_to_trade("EURUSD")


def escalated(**terms: Any) -> Desk:
    """Return a desk whose position flapped until it was left to people, with two lots on our side."""
    desk = Desk("#7 buy 1 @ 10", **terms)
    flap(desk, cycle(["#7 long 2 @ 10", "#7 long 1 @ 10"]), 10)
    assert lots_of(desk) == "2"
    return desk


def test_it_ends_by_itself_after_a_quiet_window_of_agreement():
    desk = escalated()
    desk.broker.show("#7 long 2 @ 10")
    assert desk.sync(200).status is SyncStatus.PARTIAL
    result = desk.sync(170)
    assert (result.status, desk.breaks) == (SyncStatus.SUCCESS, [])
    assert desk.reconciler.safe_to_trade("EURUSD")


@pytest.mark.parametrize(("settles", "lots"), [("#7 long 1 @ 10", "1"), ("#7 short 4 @ 9", "4"), ("", "none")])
def test_what_the_gateway_settles_at_is_adopted_after_a_quiet_window_and_verified_for_another(settles, lots):
    desk = escalated()
    desk.broker.show(settles)
    assert (desk.sync(100).status, lots_of(desk)) == (SyncStatus.PARTIAL, "2")
    assert desk.sync(270).status is SyncStatus.PARTIAL
    assert lots_of(desk) == lots
    assert not desk.reconciler.safe_to_trade("EURUSD")
    assert desk.sync(370).status is SyncStatus.SUCCESS
    assert (desk.breaks, bool(desk.reconciler.safe_to_trade("EURUSD"))) == ([], True)


@pytest.mark.parametrize("restarts", [False, True], ids=["one process", "a process a sync"])
def test_what_never_settles_stays_held_and_is_noted_twice_a_window(restarts):
    desk = escalated()
    results = flap(desk, cycle(["#7 long 1 @ 10", "#7 long 2 @ 10"]), 10 * HOUR_SEC // 15, restarts=restarts)
    assert len(corrections(desk)) == 3
    assert {result.status for result in results} == {SyncStatus.PARTIAL}
    assert sum(result.appended for result in results) <= 20


def test_after_a_long_pause_one_agreeing_snapshot_ends_it():
    desk = escalated()
    desk.watch.move(HOUR_SEC)
    desk.broker.show("#7 long 2 @ 10")
    assert (desk.sync().status, desk.breaks) == (SyncStatus.SUCCESS, [])


def test_a_deal_that_explains_what_the_broker_showed_ends_it_at_once():
    desk = escalated()
    desk.broker.show("#7 long 1 @ 10")
    desk.sync()
    assert desk.breaks == [("drift", 7, 1, 3)]
    desk.account.record(desk.fill(50, side="sell", entry="out"))
    result = desk.sync()
    assert (result.status, desk.breaks) == (SyncStatus.SUCCESS, [])
    ends = [one.event for one in result.events if one.kind == "BreakClosed"]
    assert [end.end.value for end in ends] == ["explained"]  # type: ignore[union-attr]


def test_corrections_that_late_deals_explain_do_not_count():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    for number in range(8):
        deal = desk.fill(50 + number)
        desk.watch.move(1)
        desk.broker.show(f"#7 long {number + 2} @ 10")
        assert desk.sync().corrected == (7,)  # the history lags
        desk.broker.report(deal)
        result = desk.sync()
        assert (result.fills, result.status) == ((50 + number,), SyncStatus.SUCCESS)
    assert desk.left == "#7 long 9 @ 10"


def test_where_no_deals_are_reported_a_position_may_grow_and_shrink_through_manual_trades():
    desk = Desk("#7 buy 1 @ 10")
    for number, lots in enumerate([2, 3, 5, 4, 3.5, 6, 2.5, 1.5]):
        desk.broker.show(f"#7 long {lots} @ 10.{number}")
        assert desk.sync().status is SyncStatus.SUCCESS


def test_a_person_s_correction_ends_it_and_counts_anew():
    desk = escalated()
    proposal = propose_update(desk.account, position_id=7, volume=1, operator="mk", reason="the terminal shows one lot")
    apply(desk.account, proposal)
    desk.broker.show("#7 long 1 @ 10")
    assert desk.sync().status is SyncStatus.SUCCESS
    desk.broker.show("#7 long 2 @ 10")
    assert desk.sync().corrected == (7,)


def test_a_person_s_correction_counts_anew_where_no_break_is_open_too():
    desk = Desk("#7 buy 1 @ 10")
    flap(desk, ["#7 long 2 @ 10", "#7 long 1 @ 10", "#7 long 2 @ 10"], 3)
    apply(desk.account, propose_update(desk.account, position_id=7, magic=5, operator="mk", reason="it is the robot's"))
    assert [one.status for one in flap(desk, ["#7 long 1 @ 10", "#7 long 2 @ 10"], 2)] == [SyncStatus.SUCCESS] * 2


def test_a_window_of_nothing_counts_nothing():
    desk = Desk("#7 buy 1 @ 10", flapping_sec=0)
    results = flap(desk, cycle(["#7 long 2 @ 10", "#7 long 1 @ 10"]), 20)
    assert len(corrections(desk)) == 20
    assert {result.status for result in results} == {SyncStatus.SUCCESS}


def test_what_is_outside_the_window_does_not_count():
    desk = Desk("#7 buy 1 @ 10", flapping_sec=60)
    for number in range(12):
        desk.watch.move(60)
        desk.broker.show(f"#7 long {1 + number % 2} @ 10")
        assert desk.sync().status is SyncStatus.SUCCESS


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_several_programs_count_together(database, tmp_path):
    url = new_url(database, tmp_path)
    desk = Desk("#7 buy 1 @ 10", journal=url)
    own = desk.account
    for number in range(12):
        desk.broker.show(f"#7 long {2 - number % 2} @ 10")
        with Ledger.open(url, now_us=desk.watch) as other:
            desk.story.account = other.account(ACCOUNT)
            desk.restarted()
            desk.sync()
            assert [one.kind for one in desk.account.portfolio.breaks] == ([BreakKind.DRIFT] if number > 2 else [])
    desk.story.account = own
    assert len(corrections(desk)) == 3
    own.ledger.close()


@pytest.mark.parametrize("extended", [False, True], ids=["base form", "extended form"])
def test_the_same_answers_while_every_clock_is_stopped_are_seen_and_corrected_each_time(extended):
    desk = Desk("", "#7 long 1 @ 10", extended=extended, attempts_max=9)
    desk.watch.stop()
    for picture in ["#7 long 1 @ 10", ""] * 3:
        desk.broker.show(picture)
        result = desk.startup()
        assert (result.status, result.held) == (SyncStatus.SUCCESS, ())
        assert lots_of(desk) == ("1" if picture else "none")
    opened = [one.version for one in desk.log if isinstance(one.event, BreakOpened)]
    corrected = [one.event.caused_by for one in desk.log if isinstance(one.event, (PositionRecovered, GhostClosed))]
    assert (corrected, len(opened)) == (opened, 6)
    assert desk.account.verify().problems == ()
