"""Laws of reconciliation: whatever we have and whatever the broker shows, what differs is named, and it ends in agreement."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ledger import (
    Account,
    BreakClosed,
    BreakOpened,
    DriftCorrected,
    Event,
    FillRecorded,
    GatewayError,
    GatewayIdentified,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    GhostClosed,
    Ledger,
    MarginMode,
    Origin,
    Portfolio,
    PositionRecovered,
    PositionState,
    ReconcilePolicy,
    RemotePosition,
    Side,
    Snapshot,
    SnapshotRefused,
    SyncStatus,
)
from ledger.codec import natural_key
from ledger.reconcile.compare import Disagreement, Drift, Ghost, NewTicket, Zombie, compare, compare_again
from ledger.reconcile.decide import Decision, DecisionContext, decide
from ledger.reconcile.validate import validate
from tests.property.test_fold import agrees, is_up_to_date, json_of, volumes
from tests.support.broker import ACCOUNT, ScriptedGateway, Watch, reconciler
from tests.support.journals import new_url
from tests.support.model import picture
from tests.support.strategies import SYMBOLS, History, histories, lots, prices, seconds, sides
from tools.testkit.stories import START_MSC, opened, ticking

NOW_MSC = START_MSC + 3 * 86_400_000
CORRECTS_AT_ONCE = ReconcilePolicy(ghost_confirmations=1, vanish_confirmations=1)


# ------------------------------------------------------------------------------------------------- what a broker may show


def row_of(state: PositionState, *, is_identified: bool = True) -> RemotePosition:
    """Return a position as a gateway shows it."""
    return RemotePosition(
        position_id=state.position_id, ticket=state.ticket or state.position_id, symbol=state.symbol, side=state.side,
        volume=state.volume, price_open=state.price_open, is_identified=is_identified, opened_msc=state.opened_msc,
        magic=state.magic,
    )  # fmt: skip


def our_rows(portfolio: Portfolio, *, is_identified: bool = True) -> list[RemotePosition]:
    """Return what a broker shows that has exactly what we have."""
    return [
        RemotePosition(
            position_id=one.position_id if is_identified else one.ticket, ticket=one.ticket, symbol=one.symbol, side=one.side,
            volume=one.volume, price_open=one.price_open, is_identified=is_identified,
        )
        for one in portfolio.positions.values()
    ]  # fmt: skip


@st.composite
def shown(draw: st.DrawFn, portfolio: Portfolio, *, is_identified: bool = True) -> tuple[RemotePosition, ...]:
    """Return what a broker may show beside a portfolio: much of it the same, some changed, some gone, some new."""
    nets = portfolio.terms.opened.mode.nets
    rows: list[RemotePosition] = []
    for ours in our_rows(portfolio, is_identified=is_identified):
        change = draw(st.sampled_from(["same", "same", "gone", "volume", "price", "side", "all"]))
        if change == "gone":
            continue
        changed: dict[str, Any] = {}
        if change in ("volume", "all"):
            changed["volume"] = draw(lots)
        if change in ("price", "all"):
            changed["price_open"] = draw(prices)
        if change in ("side", "all"):
            changed["side"] = draw(sides)
        rows.append(attrs.evolve(ours, **changed))
    for number in range(draw(st.integers(0, 3))):
        symbol = draw(st.sampled_from(SYMBOLS))
        if nets and symbol in {row.symbol for row in rows} | {one.symbol for one in portfolio.positions.values()}:
            continue
        rows.append(
            RemotePosition(
                position_id=900_000 + number, ticket=900_000 + number, symbol=symbol, side=draw(sides), volume=draw(lots),
                price_open=draw(prices), is_identified=is_identified,
            )
        )  # fmt: skip
    return tuple(draw(st.permutations(rows)))


def snapshot_of(rows: Sequence[RemotePosition], *, raw: bytes = b"answer") -> Snapshot:
    return Snapshot(positions=tuple(rows), raw=raw, is_extended=all(row.is_identified for row in rows))


def known_deals(deals: Sequence[Event], mode: str) -> Account:
    account = opened(mode)
    account.record_many(deals)
    return account


# --------------------------------------------------------------------------------------------------------------- compare


def really_differing(portfolio: Portfolio, rows: Sequence[RemotePosition]) -> dict[str, set[int]]:
    """Return what differs, found another way: two dictionaries of plain figures, without any tolerance."""
    nets = portfolio.terms.opened.mode.nets
    ours = {
        (one.symbol if nets else one.position_id): (one.symbol, one.side, one.volume, one.price_open)
        for one in portfolio.positions.values()
    }
    theirs = {(row.symbol if nets else row.position_id): (row.symbol, row.side, row.volume, row.price_open) for row in rows}
    id_of: dict[Any, int] = {(row.symbol if nets else row.position_id): row.position_id for row in rows}
    id_of |= {(one.symbol if nets else one.position_id): one.position_id for one in portfolio.positions.values()}
    return {
        "zombie": {id_of[key] for key in theirs.keys() - ours.keys()},
        "ghost": {id_of[key] for key in ours.keys() - theirs.keys()},
        "drift": {id_of[key] for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]},
    }


@given(st.data())
def test_exactly_the_positions_that_differ_are_named(data):
    history: History = data.draw(histories())
    portfolio = known_deals(history.deals, history.mode).portfolio
    rows = data.draw(shown(portfolio))
    found = compare(portfolio, validate(snapshot_of(rows), portfolio, now_msc=NOW_MSC))
    named: dict[str, set[int]] = {"zombie": set(), "ghost": set(), "drift": set()}
    for one in found:
        assert not isinstance(one, NewTicket)
        named[one.kind.value].add(one.position_id)
    assert named == really_differing(portfolio, rows)
    assert len(found) == sum(map(len, named.values()))


@given(st.data())
def test_each_difference_states_what_either_side_shows(data):
    history: History = data.draw(histories())
    portfolio = known_deals(history.deals, history.mode).portfolio
    rows = data.draw(shown(portfolio))
    for one in compare(portfolio, snapshot_of(rows)):
        if isinstance(one, Drift):
            fields = {each.field for each in one.differences}
            figures = [(side.symbol, side.side, side.volume, side.price_open) for side in (one.ours, one.theirs)]
            names = ("symbol", "side", "volume", "price_open")
            assert fields == {name for name, ours, theirs in zip(names, *figures, strict=True) if ours != theirs}


@given(st.data())
def test_a_portfolio_agrees_with_itself_and_the_order_of_rows_is_nothing(data):
    history: History = data.draw(histories())
    portfolio = known_deals(history.deals, history.mode).portfolio
    for is_identified in (True, False):
        rows = our_rows(portfolio, is_identified=is_identified)
        assert compare(portfolio, snapshot_of(data.draw(st.permutations(rows)))) == ()
    drawn = data.draw(shown(portfolio))
    assert compare(portfolio, snapshot_of(drawn)) == compare(portfolio, snapshot_of(data.draw(st.permutations(drawn))))


@given(st.data())
def test_recoveries_come_before_ghosts_before_drifts_each_by_position_id(data):
    history: History = data.draw(histories())
    portfolio = known_deals(history.deals, history.mode).portfolio
    found = compare(portfolio, snapshot_of(data.draw(shown(portfolio))))
    order = [Zombie, Ghost, Drift]
    places = [(order.index(type(one)), one.position_id) for one in found]
    assert places == sorted(places)


@given(histories(), st.data())
def test_the_broker_s_own_account_of_a_history_is_no_difference(history, data):
    """What a trade server shows after its deals is what the fold makes of them, averages included."""
    number = data.draw(st.integers(0, len(history.deals) - 1))
    last = max(n for n, deal in enumerate(history.deals) if deal.time_msc == history.deals[number].time_msc)
    portfolio = known_deals(history.deals[: last + 1], history.mode).portfolio
    # What is left of an average after a partial close is rounded once when volume is added again: see positions.py.
    shown_then = [row_of(one) for one in history.shown_after[last]]
    assert [one for one in compare(portfolio, snapshot_of(shown_then)) if not _is_rounding(one)] == []


def _is_rounding(one: Disagreement | NewTicket) -> bool:
    if not isinstance(one, Drift) or [each.field for each in one.differences] != ["price_open"]:
        return False
    return abs(one.ours.price_open - (one.theirs.price_open or 0)) <= Decimal("2e-8")


# ---------------------------------------------------------------------------------------------------------------- decide


def decided(account: Account, snapshot: Snapshot, **policy: Any) -> Decision:
    version, portfolio = account.current()
    around = DecisionContext(time_msc=NOW_MSC, version=version)
    found = compare(portfolio, snapshot)
    return decide(portfolio, snapshot, found, policy=ReconcilePolicy(**policy), around=around)


@given(st.data())
def test_what_is_decided_brings_agreement(data):
    history: History = data.draw(histories())
    account = known_deals(history.deals, history.mode)
    version, portfolio = account.current()
    seen = snapshot_of(data.draw(shown(portfolio)))
    decision = decided(account, seen, ghost_confirmations=1, vanish_confirmations=1)
    assert decision == decided(account, seen, ghost_confirmations=1, vanish_confirmations=1)
    assert compare(portfolio.followed_by(decision.events, version), seen) == ()
    assert decision.held == ()
    account.record_many(decision.events, expected_version=version)
    assert compare(account.portfolio, seen) == ()
    assert account.portfolio.balance == portfolio.balance  # no correction ever moves money
    assert account.portfolio.breaks == ()


@given(st.data())
def test_what_was_tried_is_compared_again_as_everything_would_be(data):
    history: History = data.draw(histories())
    version, portfolio = known_deals(history.deals, history.mode).current()
    seen = snapshot_of(data.draw(shown(portfolio, is_identified=data.draw(st.booleans()))))
    found, around = compare(portfolio, seen), DecisionContext(time_msc=NOW_MSC, version=version)
    among = data.draw(st.sets(st.sampled_from(found))) if found else set()  # some corrections only: the others still differ
    some = decide(portfolio, seen, [one for one in found if one in among], policy=CORRECTS_AT_ONCE, around=around)
    tried = portfolio.followed_by(some.events, version)
    assert compare_again(tried, seen, portfolio, found) == compare(tried, seen)


@given(st.data())
def test_every_correction_names_the_break_that_it_ends_and_no_key_comes_twice(data):
    history: History = data.draw(histories())
    account = known_deals(history.deals, history.mode)
    decision = decided(account, snapshot_of(data.draw(shown(account.portfolio))), ghost_confirmations=1, vanish_confirmations=1)
    account.record_many(decision.events)
    recorded = {one.version: one.event for one in account.events()}
    for event in recorded.values():
        if isinstance(event, (PositionRecovered, GhostClosed, DriftCorrected, BreakClosed)):
            cause = recorded[event.caused_by or 0]
            assert isinstance(cause, BreakOpened)
            assert cause.position_id == event.position_id
    keys = [natural_key(event) for event in decision.events]
    assert len(set(keys)) == len(keys)


@given(st.data())
def test_whatever_is_only_reported_changes_no_position(data):
    history: History = data.draw(histories())
    account = known_deals(history.deals, history.mode)
    before = volumes(account.portfolio)
    seen = snapshot_of(data.draw(shown(account.portfolio)))
    decision = decided(account, seen, zombie="report", ghost="report", drift="report")
    account.record_many(decision.events)
    assert volumes(account.portfolio) == before
    assert {type(event) for event in decision.events} <= {BreakOpened}
    assert len(decision.events) == len(decision.held) == len(compare(account.portfolio, seen))
    assert decided(account, seen, zombie="report", ghost="report", drift="report").events == ()


# ------------------------------------------------------------------------------------------------------------- whole syncs


def desk(history: History, *, extended: bool = False, url: str = "memory://") -> tuple[Account, ScriptedGateway, Watch]:
    """Return an account with a history recorded long ago, and a gateway."""
    watch = Watch()
    account = Ledger.create(url, now_us=watch).account(ACCOUNT)
    account.open(currency="USD", mode=history.mode, clock="UTC", time_msc=START_MSC)
    if extended:
        account.record(GatewayIdentified(login=ACCOUNT.login, server=ACCOUNT.server, form="extended", time_msc=START_MSC))
    account.record_many(history.deals)
    watch.move(60)
    return account, ScriptedGateway(extended=extended, mode=history.mode, now_us=watch), watch


def shown_by(portfolio: Portfolio) -> set[tuple[object, ...]]:
    """Return what is open, by symbol, side, volume and price."""
    return {(one.symbol, one.side, one.volume, one.price_open) for one in portfolio.positions.values()}


@pytest.mark.parametrize("extended", [False, True], ids=["base form", "extended form"])
@given(data=st.data())
def test_after_startup_the_portfolio_is_what_the_broker_shows_and_a_second_sync_is_quiet(extended, data):
    history: History = data.draw(histories())
    account, gateway, watch = desk(history, extended=extended)
    rows = data.draw(shown(account.portfolio, is_identified=extended))
    gateway.show_rows(rows)
    service = reconciler(account, gateway, watch)
    assert service.startup_recovery().status is SyncStatus.SUCCESS
    assert shown_by(account.portfolio) == {(row.symbol, row.side, row.volume, row.price_open) for row in rows}
    version = account.version
    for again in (service, service, reconciler(account, gateway, watch)):
        watch.move(15)
        assert again.startup_recovery().appended == 0
    assert account.version == version
    is_up_to_date(account)
    assert account.ledger.verify().ok


refusals = st.sampled_from(
    [
        GatewayTimeout("no answer"),
        GatewayUnavailable("no connection"),
        GatewayRefused("GET_POSITIONS", code="5040"),
        SnapshotRefused("positions is missing"),
    ]
)
amiss = st.sampled_from(
    [{"login": 70114}, {"server": "Other"}, {"connected": False}, {"count": 99}, {"server_time_msc": START_MSC - 1},
     {"mode": "other mode"}, {"positions": "twice"}, {"login": None}, {"server": None}, {"login": None, "server": None}]
)  # fmt: skip


@given(st.data())
def test_a_refused_answer_changes_nothing_but_the_state(data):
    history: History = data.draw(histories())
    account, gateway, watch = desk(history, extended=True)
    assume(account.portfolio.newest_fill_msc >= START_MSC)
    rows = data.draw(shown(account.portfolio))
    gateway.show_rows(rows)
    wrong: GatewayError | dict[str, Any] = data.draw(refusals | amiss)
    match wrong:
        case GatewayError():
            gateway.fail(wrong)
        case {"mode": _}:
            gateway.amiss(mode=MarginMode.HEDGING if history.nets else MarginMode.NETTING)
        case {"positions": _}:
            assume(rows)
            gateway.show_rows([*rows, rows[0]])
        case _:
            gateway.amiss(**wrong)
    before, version = json_of(account.portfolio), account.version
    service = reconciler(account, gateway, watch)
    assert service.startup_recovery().status is SyncStatus.DEGRADED
    watch.move(15)
    assert service.sync_positions().appended == 0
    assert [one.kind for one in account.events(after=version)] == ["SyncDegraded"]
    assert json_of(account.portfolio) == before
    assert not service.safe_to_trade()


@given(st.data())
def test_corrections_hold_until_the_broker_reports_its_deals_in_any_order(data):
    """Some fills are lost, the broker is asked with and without deals, and then all deals come to light."""
    history: History = data.draw(histories(waits=seconds))
    lost = data.draw(st.sets(st.sampled_from([deal.deal for deal in history.deals])))
    watch = Watch(now_us=START_MSC * 1000)
    account = Ledger.open("memory://", now_us=watch).account(ACCOUNT)
    account.open(currency="USD", mode=history.mode, clock="UTC", time_msc=START_MSC)
    gateway = ScriptedGateway(extended=True, mode=history.mode, now_us=watch)
    gateway.offers_deals = False
    service = reconciler(account, gateway, watch, ReconcilePolicy(settle_sec=0, ghost_confirmations=1, vanish_confirmations=1))
    for number, deal in enumerate(history.deals):
        watch.now_us = max(watch.now_us, deal.time_msc * 1000)
        if deal.deal not in lost:
            account.record(deal)
        is_last = number + 1 == len(history.deals) or history.deals[number + 1].time_msc // 1000 != deal.time_msc // 1000
        if is_last and data.draw(st.booleans()):
            watch.move(0.5)
            gateway.show_rows([row_of(one) for one in history.shown_after[number]])
            assert service.sync_positions().status is SyncStatus.SUCCESS
            assert volumes_of(account.portfolio) == {(one.symbol, one.side, one.volume) for one in history.shown_after[number]}
    missed = [attrs.evolve(deal, origin=Origin.RECOVERY) for deal in history.deals if deal.deal in lost]
    for late in data.draw(st.permutations(missed)):
        account.record(late)
        is_up_to_date(account)
    facts = [one.event for one in account.events() if not isinstance(one.event, (BreakOpened, BreakClosed))]
    agrees(account.portfolio, picture([one for one in facts if type(one).__name__ in MODELLED], history.mode))
    once = known_deals(history.deals, history.mode)
    assert volumes(account.portfolio) == volumes(once.portfolio)
    assert account.portfolio.unexplained == ()
    assert account.portfolio.totals == once.portfolio.totals


MODELLED = {"FillRecorded", "CashMoved", "PositionRecovered", "GhostClosed", "DriftCorrected"}


def volumes_of(portfolio: Portfolio) -> set[tuple[str, Side, Decimal]]:
    return {(one.symbol, one.side, one.volume) for one in portfolio.positions.values()}


@given(st.data())
def test_a_broker_that_reports_its_deals_leaves_nothing_to_correct(data):
    """Whatever the engine lost within the overlap, the ledger ends with the fold of the broker's own deals."""
    history: History = data.draw(histories(waits=seconds))
    lost = data.draw(st.sets(st.sampled_from([deal.deal for deal in history.deals])))
    known = History(history.nets, deals=[deal for deal in history.deals if deal.deal not in lost])
    account, gateway, watch = desk(known, extended=True)
    watch.now_us = max(watch.now_us, history.deals[-1].time_msc * 1000 + 60_000_000)
    gateway.report(*history.deals).show_rows([row_of(one) for one in history.shown_after[-1]])
    service = reconciler(account, gateway, watch, ReconcilePolicy(overlap_sec=10**7))
    service.startup_recovery()
    watch.move(15)
    assert service.startup_recovery().status is SyncStatus.SUCCESS
    once = known_deals(history.deals, history.mode)
    assert volumes(account.portfolio) == volumes(once.portfolio)
    assert account.portfolio.totals == once.portfolio.totals
    assert not {one.kind for one in account.events()} & {"PositionRecovered", "DriftCorrected", "GhostClosed"}
    recorded_fills = {one.event.deal for one in account.events() if isinstance(one.event, FillRecorded)}
    assert recorded_fills == {fill.deal for fill in history.fills}


@settings(max_examples=15)
@given(data=st.data())
def test_journals_in_memory_and_on_disk_come_to_the_same(data, tmp_path_factory):
    history: History = data.draw(histories(steps=8))
    shows = data.draw(shown(known_deals(history.deals, history.mode).portfolio))
    fails = data.draw(st.booleans())
    seen = []
    for url in ("memory://", new_url("sqlite", tmp_path_factory.mktemp("desk"))):
        account, gateway, watch = desk(history, extended=True, url=url)
        gateway.show_rows(shows).report(*history.deals)
        if fails:
            gateway.fail(GatewayTimeout("no answer"), times=1)
        service = reconciler(account, gateway, watch)
        results = [service.startup_recovery(), service.sync_positions(), service.startup_recovery()]
        events = [attrs.evolve(one, correlation=None, head="", recorded_us=0) for one in account.events()]
        seen.append((events, [(one.status, one.held, one.appended) for one in results], json_of(account.portfolio)))
        assert account.ledger.verify().ok
        account.ledger.close()
    assert seen[0] == seen[1]


@given(st.data())
def test_two_restarts_in_the_middle_come_to_what_one_process_does(data):
    history: History = data.draw(histories())
    rows = data.draw(shown(known_deals(history.deals, history.mode).portfolio, is_identified=False))
    ends = []
    for restarts in (False, True):
        account, gateway, watch = desk(history)
        gateway.show_rows(rows)
        service = reconciler(account, gateway, watch)
        for _ in range(4):
            service = reconciler(account, gateway, watch) if restarts else service
            service.sync_positions()
            watch.move(15)
        ends.append((json_of(account.portfolio), account.version))
    assert ends[0] == ends[1]


def test_the_clock_of_these_laws_is_later_than_every_history():
    assert ticking()() // 1000 >= NOW_MSC
