"""Laws of withdrawals: what is left of the broker's deals is what counts, and a history that lags withdraws nothing."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ledger import DealRevised, FillRecorded, ReconcilePolicy, SyncStatus
from ledger.reconcile.compare import compare
from ledger.reconciler import StateReconciler
from tests.property.test_fold import is_up_to_date
from tests.property.test_reconcile import desk, known_deals, our_rows, row_of, snapshot_of
from tests.support.broker import ScriptedGateway, Watch, reconciler
from tests.support.strategies import History, histories, seconds

ADOPT = ReconcilePolicy(withdrawn="adopt", overlap_sec=10**7, flapping_sec=0)


def booked(history: History) -> tuple[StateReconciler, ScriptedGateway, Watch]:
    """Return a reconciler that has the whole history from the broker, long after it happened."""
    account, gateway, watch = desk(History(history.nets), extended=True)
    watch.now_us = max(watch.now_us, history.deals[-1].time_msc * 1000 + 3_600_000_000)
    gateway.report(*history.deals).show_rows([row_of(one) for one in history.shown_after[-1]])
    service = reconciler(account, gateway, watch, ADOPT)
    assert service.startup_recovery().status is SyncStatus.SUCCESS
    return service, gateway, watch


def syncs(service: StateReconciler, watch: Watch, times: int) -> list[SyncStatus]:
    found = []
    for _ in range(times):
        watch.move(15)
        found.append(service.sync_positions().status)
    return found


@settings(max_examples=40)
@given(st.data())
def test_what_is_left_of_the_broker_s_deals_is_what_counts(data):
    history: History = data.draw(histories(waits=seconds))
    inner = [deal.deal for deal in history.deals[1:-1]]
    assume(inner)
    assume(all(isinstance(deal, FillRecorded) or deal.profit for deal in (history.deals[0], history.deals[-1])))
    moving = sum(isinstance(deal, FillRecorded) or bool(deal.profit) for deal in history.deals)
    gone = data.draw(st.sets(st.sampled_from(inner), min_size=1, max_size=max(1, moving // 2)))
    service, gateway, watch = booked(history)
    left = known_deals([deal for deal in history.deals if deal.deal not in gone], history.mode).portfolio
    for ticket in gone:
        gateway._deals.pop(ticket)
    gateway.show_rows(our_rows(left))
    assert syncs(service, watch, 6)[-1] is SyncStatus.SUCCESS
    portfolio = service.account.portfolio
    assert (portfolio.balance, portfolio.credit) == (left.balance, left.credit)
    assert compare(portfolio, snapshot_of(our_rows(left))) == ()
    assert portfolio.breaks == ()
    is_up_to_date(service.account)
    assert service.account.ledger.verify().ok


@settings(max_examples=40)
@given(st.data())
def test_a_history_that_lags_withdraws_nothing(data):
    history: History = data.draw(histories(waits=seconds))
    count = len(history.deals)
    lacks = data.draw(st.sampled_from(["the newest", "the oldest", "most", "all"]))
    assume(count > 3)
    assume(all(isinstance(deal, FillRecorded) or deal.profit for deal in history.deals))
    tickets = [deal.deal for deal in history.deals]
    match lacks:
        case "the newest":
            gone = tickets[data.draw(st.integers(0, count - 2)) :]
        case "the oldest":
            gone = tickets[: data.draw(st.integers(2, count))]
        case "most":
            gone = data.draw(st.permutations(tickets))[: count // 2 + 1]
        case _:
            gone = tickets
    service, gateway, watch = booked(history)
    before, version = service.account.portfolio, service.account.version
    for ticket in gone:
        gateway._deals.pop(ticket)
    # Without the newest deal that was reported before, answers are judged stale at first.
    assert set(syncs(service, watch, 5)) <= {SyncStatus.SUCCESS, SyncStatus.DEGRADED}
    assert syncs(service, watch, 2) == [SyncStatus.SUCCESS] * 2
    assert {one.kind for one in service.account.events(after=version)} <= {"SyncDegraded", "SyncRestored"}
    assert not [one for one in service.account.events() if isinstance(one.event, DealRevised)]
    after = service.account.portfolio
    assert (after.positions, after.balance, after.totals) == (before.positions, before.balance, before.totals)
