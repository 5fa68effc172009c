"""What assertions contain, the repeated hour, wrong clocks, renamed symbols: each as it happened to somebody."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ledger import (
    BalanceAsserted,
    BreakKind,
    FillRecorded,
    GhostClosed,
    Origin,
    Outcome,
    PositionRecovered,
    SymbolSpecified,
    SyncStatus,
)
from ledger.clock import ClockRule
from ledger.json_views import replay_json
from tests.support.broker import Desk, kinds
from tools.testkit.stories import SYMBOL, at, fill, opened, state

SECOND_MSC = 1000
HOUR_MSC = 3_600_000


def whole_seconds(desk: Desk, deal: int, position_id: int, **fields: Any) -> FillRecorded:
    """Return a fill of now as a source records it that counts whole seconds."""
    return desk.fill(deal, position_id, **{"time_msc": desk.now() // 1000 * 1000, **fields})


def start_up(desk: Desk, at_msc: int = 200) -> None:
    """Sync once, so many milliseconds after a whole second."""
    desk.watch.now_us = desk.watch.now_us // 1_000_000 * 1_000_000 + at_msc * 1000
    assert desk.reconciler.sync_positions().status is SyncStatus.SUCCESS


# -------------------------------------------------------------------------------------- right after the start-up sync


@pytest.mark.parametrize("extended", [True, False], ids=["extended", "base"])
@pytest.mark.parametrize("mode", ["hedging", "netting"])
def test_a_fill_in_the_second_of_the_start_up_sync_counts(mode, extended):
    desk = Desk(shows="#7 long 0.1 @ 10", mode=mode, extended=extended)
    if extended:
        desk.broker.state(1000)
    start_up(desk)
    before = desk.account.portfolio.balance
    desk.watch.move(0.4)
    position_id = 7 if mode == "netting" else 8
    desk.account.record(whole_seconds(desk, 5002, position_id, volume="0.2", order=5002, commission="-1.5"))
    volumes = {one.position_id: one.volume for one in desk.account.portfolio.positions.values()}
    assert volumes == ({7: Decimal("0.3")} if mode == "netting" else {7: Decimal("0.1"), 8: Decimal("0.2")})
    assert desk.account.portfolio.balance == before + Decimal("-1.5")
    assert desk.account.portfolio.unexplained == ()
    assert replay_json(desk.account.replay(checkpoints=False), **SHOWN) == replay_json(desk.account.portfolio, **SHOWN)


SHOWN: dict[str, Any] = {"until": None, "known_at": None, "version": 0, "head": "", "selected": 0}


@pytest.mark.parametrize("extended", [True, False], ids=["extended", "base"])
@pytest.mark.parametrize("mode", ["hedging", "netting"])
def test_the_close_of_a_recovered_position_in_the_same_second_closes_it(mode, extended):
    desk = Desk(shows="#7 long 1 @ 10 opened 1 updated 1" if extended else "#7 long 1 @ 10", mode=mode, extended=extended)
    if extended:
        desk.broker.state(1000)
    start_up(desk)
    desk.account.record(whole_seconds(desk, 5002, 7, entry="out", side="sell", profit=20, order=5002))
    portfolio = desk.account.portfolio
    assert (dict(portfolio.positions), portfolio.unexplained) == ({}, ())
    assert portfolio.balance == (1020 if extended else 20)


def test_the_deal_that_opened_a_recovered_position_is_in_it_whenever_it_is_recorded():
    """An engine that comes back first sees its position at the broker and then records the fill that opened it."""
    desk = Desk(shows="#7 long 0.1 @ 10")
    start_up(desk)
    desk.account.record(whole_seconds(desk, 5001, 7, volume="0.1", order=7, commission=-2))
    assert desk.left == "#7 long 0.1 @ 10"
    assert desk.account.portfolio.balance == -2


# ------------------------------------------------------------------------------------------------ clocks and histories


@pytest.mark.parametrize("ahead_sec", [3, -3, 30, -3600])
def test_a_close_after_a_first_sync_counts_whatever_the_server_s_clock_shows(ahead_sec):
    desk = Desk(shows="#7 long 1 @ 10 opened 1 updated 1", extended=True)
    desk.broker.report(fill(5001, time_msc=at(1)), desk.cash(5000, 1000, time_msc=at(0))).state(1000)
    desk.broker.ahead_msc = ahead_sec * 1000
    desk.sync()
    assert desk.account.portfolio.balance == 1000
    desk.watch.move(1)
    desk.account.record(desk.fill(5003, 7, entry="out", side="sell", profit=-50, time_msc=desk.watch.now_us // 1000))
    portfolio = desk.account.portfolio
    assert (portfolio.balance, dict(portfolio.positions), portfolio.unexplained) == (950, {}, ())


def test_a_revision_of_a_deal_that_the_asserted_balance_contains_counts():
    desk = Desk(extended=True)
    deals = (
        desk.cash(1, 1000, time_msc=at(1)),
        fill(2, time_msc=at(2)),
        fill(3, entry="out", side="sell", profit=-50, time_msc=at(3)),
    )
    desk.broker.report(*deals).state(950)
    desk.sync()
    [asserted] = [one.event for one in desk.log if isinstance(one.event, BalanceAsserted)]
    assert (asserted.balance, asserted.deals_through, asserted.deals_through_msc, asserted.complete) == (950, 3, at(3), True)
    desk.account.revise(fill(3, entry="out", side="sell", profit=-20, time_msc=at(3)))
    assert desk.account.portfolio.balance == 980
    assert desk.account.portfolio.breaks == ()


def test_a_balance_over_deals_that_are_not_all_known_is_the_origin():
    desk = Desk(extended=True)
    desk.broker.report(desk.fill(2, 7), desk.fill(3, 7, entry="out", side="sell", profit=-50)).state(1950)
    desk.sync()
    [asserted] = [one.event for one in desk.log if isinstance(one.event, BalanceAsserted)]
    assert (asserted.deals_through, asserted.complete) == (3, None)
    assert desk.account.portfolio.balance == 1950
    desk.account.record(desk.cash(1, 2000, time_msc=at(1)))  # contained
    assert desk.account.portfolio.balance == 1950
    desk.account.record(desk.cash(4, 7))
    assert desk.account.portfolio.balance == 1957


def test_an_opening_deal_that_the_history_shows_late_does_not_count_its_volume_twice():
    """After a reconnect the terminal shows the position before its history has the deal."""
    desk = Desk(extended=True)
    desk.broker.state(1000)
    made = desk.fill(5001, 7, commission=-3)
    desk.broker.show_rows([row(7, 1, made.time_msc)])
    result = desk.sync()
    [recovered] = [one.event for one in desk.log if isinstance(one.event, PositionRecovered)]
    assert (result.recovered, recovered.updated_msc, recovered.updated_deal) == ((7,), made.time_msc, None)
    desk.broker.report(made)
    desk.sync()
    assert desk.left == "#7 long 1 @ 10"
    assert desk.account.portfolio.totals.commission == -3


def row(position_id: int, volume: int, updated_msc: int) -> Any:
    from ledger import RemotePosition, Side

    return RemotePosition(
        position_id=position_id, ticket=position_id, symbol=SYMBOL, side=Side.BUY, volume=Decimal(volume),
        price_open=Decimal(10), opened_msc=updated_msc, updated_msc=updated_msc,
    )  # fmt: skip


def test_a_correction_names_the_deal_that_the_gateway_reported():
    desk = Desk("#7 buy 1 @ 10", extended=True)
    added = desk.fill(5002, 7, volume=2)
    desk.broker.report(added).show_rows([row(7, 5, added.time_msc)])  # two more that no deal explains
    desk.sync()
    assert kinds(desk.log)[-3:] == ["BreakOpened", "DriftCorrected", "BreakClosed"]
    corrected: Any = desk.log[-2].event
    assert (corrected.updated_msc, corrected.updated_deal) == (added.time_msc, 5002)


def test_a_ghost_contains_every_close_whatever_its_time():
    account = opened("hedging")
    account.record(fill(1))
    account.record(GhostClosed(before=state("long 1 @ 10"), time_msc=at(5)))
    account.record(fill(9, entry="out", side="sell", profit=30, time_msc=at(50)))
    portfolio = account.portfolio
    assert (dict(portfolio.positions), portfolio.unexplained, portfolio.balance) == ({}, (), 30)
    account.record(fill(10, time_msc=at(60)))  # an order that goes on filling opens it again
    account.record(fill(11, entry="out", side="sell", volume="0.25", time_msc=at(70)))
    assert account.portfolio.positions[7].volume == Decimal("0.75")


def test_an_assertion_never_folds_before_an_earlier_one_of_its_position():
    """A gateway loses sight of a position and shows it again, unchanged since before."""
    account = opened("hedging")
    account.record(fill(1))
    account.record(GhostClosed(before=state("long 1 @ 10"), time_msc=at(100)))
    account.record(PositionRecovered(position=state("long 1 @ 10"), time_msc=at(200), updated_msc=at(1), updated_deal=1))
    assert list(account.portfolio.positions) == [7]
    assert list(account.replay(checkpoints=False).positions) == [7]
    assert dict(account.replay(version=3).positions) == {}


# ----------------------------------------------------------------------------------------------------- the repeated hour

NY_CLOSE = ClockRule("ny-close")
#: 2024-11-03 08:00 on the server's wall, which shows the hour up to 09:00 twice.
EIGHT_MSC = 1_730_620_800_000
#: The second showing begins at 06:00 UTC.
AGAIN_UTC_MSC = 1_730_613_600_000


def minutes(number: float) -> int:
    return EIGHT_MSC + round(number * 60_000)


@pytest.mark.parametrize("origin", [Origin.ENGINE, Origin.IMPORT], ids=["engine", "imported"])
@pytest.mark.parametrize("mode", ["hedging", "netting"])
@pytest.mark.parametrize("is_late", [False, True], ids=["in order", "late"])
def test_a_position_closed_after_the_clock_went_back_is_flat(mode, origin, is_late):
    account = opened(mode, clock="ny-close")
    deals = [
        fill(1, time_msc=minutes(50), origin=origin),
        fill(2, entry="out", side="sell", profit=5, time_msc=minutes(10), origin=origin),
    ]
    for deal in reversed(deals) if is_late else deals:
        account.record(deal)
    portfolio = account.portfolio
    assert (dict(portfolio.positions), portfolio.unexplained, portfolio.balance) == ({}, (), 5)
    assert account.ledger.verify().ok


@pytest.mark.parametrize("mode", ["hedging", "netting"])
def test_a_replay_until_a_moment_in_the_repeated_hour_follows_the_tickets(mode):
    account = opened(mode, clock="ny-close")
    account.record_many([
        fill(1, time_msc=minutes(50)),
        fill(2, volume=2, time_msc=minutes(10), position_id=7),
        fill(3, entry="out", side="sell", volume=3, time_msc=minutes(55)),
    ])  # fmt: skip
    held = {
        f"{hour:02}:{minute:02}": [
            one.volume for one in account.replay(until=f"2024-11-03T{hour:02}:{minute:02}").positions.values()
        ]
        for hour, minute in ((5, 49), (5, 50), (6, 9), (6, 10), (6, 54), (6, 55), (7, 10))
    }
    assert held == {"05:49": [], "05:50": [1], "06:09": [1], "06:10": [3], "06:54": [3], "06:55": [], "07:10": []}


def test_a_corrected_clock_rule_orders_the_hour_anew():
    account = opened("hedging", clock="UTC")
    account.record(fill(1, time_msc=minutes(50)))
    account.record(fill(2, entry="out", side="sell", time_msc=minutes(10)))
    assert list(account.portfolio.positions) == [7]  # for a clock that never goes back it closed before it opened
    account.change_clock("ny-close", operator="mk", reason="the broker's site states it")
    assert (dict(account.portfolio.positions), account.portfolio.unexplained) == ({}, ())
    assert list(account.replay(version=3).positions) == [7]  # as it was known before


def test_a_sync_within_the_repeated_hour_is_accepted_and_closes_nothing():
    desk = Desk(extended=True, clock="ny-close")
    desk.watch.now_us = (AGAIN_UTC_MSC - 10 * 60_000) * 1000
    desk.broker.ahead_msc = 3 * HOUR_MSC
    first = desk.fill(1, 7, time_msc=minutes(50))
    desk.account.record(first)
    desk.broker.report(first).show("#7 long 1 @ 10").state(0)
    desk.watch.move(5)
    assert desk.sync().status is SyncStatus.SUCCESS
    desk.watch.now_us = (AGAIN_UTC_MSC + 10 * 60_000) * 1000
    desk.broker.ahead_msc = 2 * HOUR_MSC
    missed = desk.fill(2, 8, time_msc=minutes(9))
    desk.broker.report(missed).show("#7 long 1 @ 10, #8 long 1 @ 10")
    result = desk.sync()
    assert (result.status, result.fills, result.recovered) == (SyncStatus.SUCCESS, (2,), ())
    closed = desk.fill(3, 7, entry="out", side="sell", time_msc=minutes(11))
    desk.broker.report(closed).show("#8 long 1 @ 10")
    result = desk.sync()
    assert (result.status, result.fills, result.closed) == (SyncStatus.SUCCESS, (3,), ())
    assert desk.left == "#8 long 1 @ 10"


# ---------------------------------------------------------------------------------------------- wrong clocks, and our own


def test_a_server_clock_far_ahead_stamps_nothing_and_holds_corrections():
    desk = Desk("#7 buy 0.2 @ 10", "#7 long 0.2 @ 10, #8 long 0.3 @ 10", extended=True)
    desk.broker.ahead_msc = 23 * HOUR_MSC
    result = desk.sync()
    assert (result.status, result.recovered, [one.kind for one in result.held]) == (SyncStatus.PARTIAL, (), ["zombie", "clock"])
    assert [one.kind for one in desk.account.portfolio.breaks] == [BreakKind.ZOMBIE, BreakKind.CLOCK]
    assert not desk.reconciler.safe_to_trade(SYMBOL)
    now_msc = desk.watch.now_us // 1000
    assert all(one.event.time_msc <= now_msc for one in desk.log)
    again = desk.sync()
    assert (again.status, again.appended) == (SyncStatus.PARTIAL, 0)
    desk.broker.ahead_msc = 0
    result = desk.sync()
    assert (result.status, result.recovered) == (SyncStatus.SUCCESS, (8,))
    assert desk.account.portfolio.breaks == ()
    assert desk.reconciler.safe_to_trade(SYMBOL)
    desk.account.record(desk.fill(5009, 7, volume="0.3"))
    assert desk.account.portfolio.positions[7].volume == Decimal("0.5")


def test_a_clock_that_is_wrong_again_opens_a_break_again():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    for _ in range(2):
        desk.broker.ahead_msc = 2 * HOUR_MSC
        assert desk.sync().status is SyncStatus.PARTIAL
        desk.broker.ahead_msc = 0
        assert desk.sync().status is SyncStatus.SUCCESS
    assert kinds(desk.heard) == ["BreakOpened", "BreakClosed"] * 2


def test_a_clock_that_is_stopped_over_the_weekend_makes_nothing_stale():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.broker.state(0)
    desk.sync()
    friday_msc = desk.broker.server_msc
    desk.broker.amiss(server_time_msc=friday_msc)
    desk.watch.move(20 * 3600)  # Saturday
    deposit = desk.cash(5010, 500)
    desk.broker.report(deposit).state(500).show("#7 long 1 @ 10, #8 long 1 @ 10")  # and a position that no deal explains
    result = desk.sync()
    assert (result.status, result.fills, result.recovered) == (SyncStatus.SUCCESS, (5010,), (8,))
    for _ in range(3):
        desk.watch.move(3600)
        result = desk.sync()
        assert (result.status, result.appended) == (SyncStatus.SUCCESS, 0)
    desk.broker.recover()
    assert desk.sync().status is SyncStatus.SUCCESS


def test_an_answer_older_than_an_earlier_one_is_stale():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.sync()
    desk.broker.amiss(server_time_msc=desk.broker.server_msc - 60_000)
    assert desk.sync().status is SyncStatus.DEGRADED


def test_a_history_that_lost_its_newest_deal_is_stale_for_some_answers():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.broker.report(desk.cash(5010, 1)).state(1)
    desk.sync()
    desk.broker._deals.clear()
    assert [desk.sync().status for _ in range(4)] == [SyncStatus.DEGRADED] * 3 + [SyncStatus.SUCCESS]


# -------------------------------------------------------------------------------------------------------- renamed symbols


def test_a_closing_deal_under_a_renamed_symbol_closes_the_position():
    account = opened("netting")
    account.record(fill(1, position_id=10, volume="0.2"))
    account.record(fill(2, position_id=10, volume="0.2", entry="out", side="sell", symbol="EURUSD.r", profit=3))
    portfolio = account.portfolio
    assert (dict(portfolio.positions), portfolio.unexplained, portfolio.balance) == ({}, (), 3)
    [trade] = account.trades()
    assert (trade.position_id, trade.volume, trade.profit) == (10, Decimal("0.2"), 3)


@pytest.mark.parametrize("digits", [5, 9, 12])
def test_deals_under_a_renamed_symbol_of_other_digits_add_up_exactly(digits):
    account = opened("netting")
    account.record(SymbolSpecified(symbol="EURUSD.r", time_msc=at(0), digits=digits, price_scale=max(8, digits)))
    account.record(fill(1, position_id=10, volume=1, price="1.5"))
    account.record(fill(2, position_id=10, volume=1, price="1.7", symbol="EURUSD.r"))
    account.record(fill(3, position_id=10, volume="0.5", price="1.9", entry="out", side="sell"))
    [position] = account.portfolio.positions.values()
    assert (position.volume, position.price_open) == (Decimal("1.5"), Decimal("1.6"))
    assert account.portfolio.unexplained == ()


@pytest.mark.parametrize("scales", [(8, 8), (9, 8), (9, 4), (3, 4)], ids=["same", "finer", "neither", "coarser"])
def test_a_position_that_takes_the_symbol_of_another_one_ended_that_one(scales):
    """The broker has one position of a symbol. The one whose scales cannot be kept is unexplained as well, and stays exact."""
    price_scale, volume_scale = scales
    account = opened("netting")
    other = {"symbol": "EURUSD.r", "price_scale": price_scale, "volume_scale": volume_scale}
    account.record(SymbolSpecified(**other, time_msc=at(0)))
    account.record(fill(1, position_id=10, volume=1))
    account.record(fill(2, position_id=11, volume=2, symbol="EURUSD.r"))
    account.record(fill(3, position_id=10, volume=4, symbol="EURUSD.r"))
    portfolio = account.portfolio
    [position] = portfolio.positions.values()
    lost = {one.position_id: one.volume for one in portfolio.unexplained}
    if scales == (9, 4):
        assert (position.position_id, position.symbol, position.volume, lost) == (10, "EURUSD.r", 4, {10: 1, 11: 2})
    else:
        assert (position.position_id, position.volume, lost) == (10, 5, {11: 2})


def test_a_renamed_symbol_is_one_drift_in_a_sync():
    desk = Desk("buy 0.2 @ 10", mode="netting", extended=True)
    [ours] = desk.account.portfolio.positions
    desk.broker.show(f"#{ours} long 0.2 EURUSD.r @ 10")
    result = desk.sync()
    assert (result.status, result.corrected, result.recovered, result.closed) == (SyncStatus.SUCCESS, (ours,), (), ())
    [corrected] = [one.event for one in desk.heard if one.kind == "DriftCorrected"]
    assert (corrected.before.symbol, corrected.after.symbol) == ("EURUSD", "EURUSD.r")  # type: ignore[union-attr]
    assert desk.sync().appended == 0


# ----------------------------------------------------------------------------------------------- accounts ordered by time


def test_an_account_whose_tickets_do_not_rise_is_ordered_by_time():
    account = opened("netting", order="time")
    account.record(fill(20, position_id=10, time_msc=at("1.100")))
    account.record(fill(19, position_id=10, entry="out", side="sell", time_msc=at("1.900")))
    assert (dict(account.portfolio.positions), account.portfolio.unexplained) == ({}, ())


def test_a_person_changes_the_order_by_an_event():
    account = opened("netting")
    account.record(fill(20, position_id=10, time_msc=at("1.100")))
    account.record(fill(19, position_id=10, entry="out", side="sell", time_msc=at("1.500")))
    account.record(fill(18, position_id=10, time_msc=at("1.900")))
    assert account.portfolio.positions[10].opened_msc == at("1.100")
    account.change_order("time", operator="mk", reason="moved to another server")
    assert account.portfolio.positions[10].opened_msc == at("1.900")
    assert account.replay(version=4).positions[10].opened_msc == at("1.100")
    assert account.change_order("time", operator="mk", reason="again") is Outcome.DUPLICATE
    assert account.ledger.verify().ok


def test_the_log_states_when_a_deal_of_the_repeated_hour_happened():
    account = opened("hedging", clock="ny-close")
    account.record_many([
        fill(1, time_msc=minutes(50), origin=Origin.IMPORT), fill(2, time_msc=minutes(10), origin=Origin.IMPORT),
    ])  # fmt: skip
    first, second = list(account.events())[1:]
    assert (first.utc_msc, first.is_ambiguous) == (AGAIN_UTC_MSC - 10 * 60_000, False)
    assert (second.utc_msc, second.is_ambiguous) == (AGAIN_UTC_MSC + 10 * 60_000, False)


@pytest.mark.parametrize(("recorded_min", "happened_min"), [(-40, -45), (15, 15)])
def test_where_nothing_decides_an_engine_s_deal_happened_near_its_recording_and_is_marked(recorded_min, happened_min):
    now_us = (AGAIN_UTC_MSC + recorded_min * 60_000) * 1000
    account = opened("hedging", clock="ny-close", now_us=lambda: now_us, time_msc=minutes(-60))
    account.record(fill(1, time_msc=minutes(15)))
    [one] = list(account.events())[1:]
    assert (one.utc_msc, one.is_ambiguous) == (AGAIN_UTC_MSC + happened_min * 60_000, True)


def test_where_nothing_decides_an_imported_deal_happened_at_the_first_showing():
    account = opened("hedging", clock="ny-close")
    account.record(fill(1, time_msc=minutes(15), origin=Origin.IMPORT))
    [one] = list(account.events())[1:]
    assert (one.utc_msc, one.is_ambiguous) == (AGAIN_UTC_MSC - 45 * 60_000, True)
