"""What a person decides about orders: what is refused, what it changes, and that no two decisions collide."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ledger import BadValue, Ledger, OrderDenied, OrderSeen, RuleError, TradingHalted, VersionConflict
from ledger.events.orders import HaltMode, HaltScope, OrderOutcome
from ledger.journal import Outcome
from ledger.journal.memory import MemoryJournal
from ledger.order_decisions import (
    apply_resolution,
    apply_store,
    halt,
    halts,
    order_history,
    orders_at_head,
    propose_resolution,
    propose_store,
    resume,
)
from ledger.orders.states import OrderState
from tests.support.journals import ACCOUNT, START_MSC, START_US, Clock, fill, opened
from tools.testkit.orders import answered, intended, seen

WHO: dict[str, Any] = {"operator": "ann", "reason": "looked at the terminal"}
#: Client ids and what is recorded of each, behind the intent.
FATES: dict[str, list[Any]] = {
    "c-1": [answered(1, 1, "unknown", retcode=10012)],
    "c-2": [answered(2, 1)],
    "c-3": [answered(3, 1), fill(31, 2, order=3, volume=2)],
    "c-4": [answered(4, 1, "rejected", retcode=10006)],
    "c-5": [],  # nobody answered, and its time is over
    "c-6": [answered(6, 1), fill(61, 2, order=6, volume=1)],
}


def story() -> Ledger:
    clock = Clock(START_US + 3600 * 1_000_000)
    journal = MemoryJournal(clock)
    events: list[Any] = [opened()]
    for name, rest in FATES.items():
        events += [intended(int(name[2:]), 0, valid_until_utc_msc=START_MSC + 5000), *rest]
    events += [
        intended(7, 1, valid_until_utc_msc=(START_US + 7200 * 1_000_000) // 1000),
        intended(8, 1, kind="stops", position_id=5, symbol="GBPUSD", side=None, volume=None, valid_until_utc_msc=START_MSC),
        OrderSeen(ticket=90, symbol="EURUSD", type=0, state=1, volume_initial=2, volume_current=2, time_msc=START_MSC),
        OrderSeen(ticket=91, symbol="EURUSD", type=1, state=1, volume_initial=2, volume_current=2, time_msc=START_MSC),
        OrderSeen(ticket=92, symbol="XAUUSD", type=0, state=1, volume_initial=2, volume_current=2, time_msc=START_MSC),
        OrderDenied(
            client_id="c-9", kind="market", symbol="EURUSD", side="buy", volume=1, rule="r", why="w", time_msc=START_MSC
        ),
    ]
    journal.append(ACCOUNT, events)
    return Ledger(journal, clock)


@pytest.fixture
def account():
    return story().account(ACCOUNT)


def propose(account, client_id, outcome, *tickets):
    return propose_resolution(account, client_id=client_id, outcome=outcome, tickets=tickets, **WHO)


# --------------------------------------------------------------------------------------------------- what became of an order


@pytest.mark.parametrize(
    ("client_id", "outcome", "tickets", "why"),
    [
        ("c-77", "absent", (), "no order of .* is known by 'c-77'; open are: c-1, c-2"),
        ("c-3", "executed", (3,), "filled already"),
        ("c-9", "absent", (), "denied already"),
        ("c-4", "absent", (), "rejected already"),
        ("c-7", "absent", (), "may be under way until 20"),
        ("c-6", "rejected", (), "deals of 1 lots are recorded"),
        ("c-6", "absent", (), "deals of 1 lots are recorded"),
        ("c-1", "absent", (50,), "and have a ticket"),
        ("c-1", "executed", (), "no ticket yet: .* --ticket"),
        ("c-1", "working", (), "no ticket yet"),
        ("c-1", "executed", (2,), "ticket 2 belongs to order c-2"),
        ("c-1", "executed", (91,), "expected side buy, found sell"),
        ("c-1", "executed", (92,), "expected symbol EURUSD, found XAUUSD"),
        ("c-2", "working", (), "would stay working"),
        ("c-8", "working", (), "is of kind stops"),
        ("c-8", "executed", (5,), "is of kind stops"),
        ("90", "absent", (), "order 90 is not ours"),
    ],
)
def test_what_makes_no_sense_is_refused_and_records_nothing(client_id, outcome, tickets, why, account):
    before = account.version
    with pytest.raises(RuleError, match=why):
        propose(account, client_id, outcome, *tickets)
    assert account.version == before


@pytest.mark.parametrize("outcome", ["duplicate", "gone", "", None])
def test_an_outcome_is_one_of_four(outcome, account):
    with pytest.raises(BadValue, match="expected one of"):
        propose(account, "c-1", outcome)


@pytest.mark.parametrize(
    ("client_id", "outcome", "tickets", "before", "after"),
    [
        ("c-1", "absent", (), "unknown", "absent"),
        ("c-1", "rejected", (), "unknown", "rejected"),
        ("c-1", "working", (50,), "unknown", "working"),
        ("c-1", "executed", (50,), "unknown", "partial"),  # until its deals are recorded
        ("c-1", "executed", (90,), "unknown", "partial"),  # an order that was taken for somebody else's
        ("c-2", "absent", (), "working", "absent"),
        ("c-5", "absent", (), "unknown", "absent"),
        ("c-8", "executed", (), "unknown", "filled"),
        ("c-8", "absent", (), "unknown", "absent"),
        ("c-4", "working", (50,), "rejected", "working"),  # it was believed to be rejected, and there it is
    ],
)
def test_the_effect_that_is_shown_is_what_recording_leads_to(client_id, outcome, tickets, before, after, account):
    proposal = propose(account, client_id, outcome, *tickets)
    assert (proposal.before.state.value, proposal.after.state.value) == (before, after)
    assert len(apply_resolution(account, proposal)) == 1
    (order,) = [one for one in account.orders() if one.client_id == client_id]
    assert order == proposal.after


def test_it_is_shown_what_the_decision_unblocks(account):
    proposal = propose(account, "c-1", "absent")
    assert proposal.blocked_before == {"EURUSD": ("c-1", "c-5")}  # stops add no volume: they block nothing
    assert proposal.blocked_after == {"EURUSD": ("c-5",)}
    assert "doubles the exposure" in proposal.notes[0]


@pytest.mark.parametrize(
    ("request_of", "symbol"),
    [
        ({"kind": "cancel", "target_client_id": "c-2"}, "EURUSD"),
        ({"kind": "modify", "target_order": 2}, "EURUSD"),
        ({"kind": "cancel", "target_order": 999}, None),
        ({"kind": "close", "position_id": 31}, "USDJPY"),
        ({"kind": "close", "position_id": 999}, None),
    ],
)
def test_an_unknown_order_blocks_the_symbol_of_what_it_is_about_or_any(request_of, symbol, account):
    account.record(fill(77, 3, position_id=31, symbol="USDJPY"))
    account.record(intended(40, 3, valid_until_utc_msc=START_MSC, symbol=None, side=None, volume=None, **request_of))
    assert "c-40" in propose(account, "c-1", "absent").blocked_after[symbol]


@pytest.mark.parametrize(("name", "client_id"), [("2", "c-2"), ("c-2", "c-2"), (intended(1, 0).token, "c-8")])
def test_an_order_is_named_by_client_id_token_or_ticket(name, client_id, account):
    proposal = propose(account, name, "absent")
    assert proposal.before.client_id == client_id


def test_a_decision_rests_on_what_was_shown(account):
    proposal = propose(account, "c-1", "absent")
    account.record(seen(1, 5, 1))
    with pytest.raises(VersionConflict):
        apply_resolution(account, proposal)
    assert propose(account, "c-1", "absent").before.state is OrderState.WORKING


def test_a_decision_can_be_changed_by_the_next(account):
    for outcome, tickets, state in (("absent", (), "absent"), ("working", (50,), "working"), ("executed", (), "partial")):
        apply_resolution(account, propose(account, "c-1", outcome, *tickets))
        (order,) = [one for one in account.orders() if one.client_id == "c-1"]
        assert order.state.value == state
    assert [one.resolutions for one in account.orders() if one.client_id == "c-1"] == [3]
    with pytest.raises(RuleError, match="would stay partial"):
        propose(account, "c-1", "executed")


def test_two_tickets_are_a_duplicate_and_halt_the_account_with_it(account):
    proposal = propose(account, "c-1", "executed", 50, 51)
    recorded: list[Any] = [one.event for one in apply_resolution(account, proposal)]
    resolved, halted = recorded
    assert (resolved.outcome, resolved.tickets) == (OrderOutcome.DUPLICATE, (50, 51))
    assert (halted.scope, halted.mode, halted.operator) == (HaltScope.ACCOUNT, HaltMode.ALL, "ann")
    assert any("more than once" in note for note in proposal.notes)
    again = propose(account, "c-5", "executed", 52, 53)
    assert len(again.events) == 1  # it is halted already


def test_the_history_of_an_order_is_all_that_is_about_it_and_nothing_else(account):
    account.record_many([intended(20, 3, kind="cancel", symbol=None, side=None, volume=None, target_client_id="c-6"),
                         intended(21, 3, kind="cancel", symbol=None, side=None, volume=None, target_order=6)])  # fmt: skip
    (order,) = [one for one in account.orders() if one.client_id == "c-6"]
    events = [one.event for one in order_history(account, order)]
    assert [type(one).__name__ for one in events] == [
        "OrderIntended", "OrderAnswered", "FillRecorded", "OrderIntended", "OrderIntended"
    ]  # fmt: skip
    assert [getattr(one, "client_id", None) for one in events] == ["c-6", "c-6", None, "c-20", "c-21"]


# ------------------------------------------------------------------------------------------------------ the gateway's store


def test_a_pinned_store_names_the_orders_that_it_knows_nothing_of(account):
    first = propose_store(account, "old", **WHO)
    assert (first.before, first.after, first.left) == (None, "old", ())
    assert len(apply_store(account, first)) == 1
    account.record_many([intended(30, 1, store="old"), intended(31, 1, store="old"), answered(31, 2, "rejected"),
                         intended(32, 1, store="new")])  # fmt: skip
    second = propose_store(account, "new", **WHO)
    assert (second.before, second.after, second.left) == ("old", "new", ("c-30",))
    assert [one.event.number for one in apply_store(account, second)] == [2]  # type: ignore[union-attr]
    assert orders_at_head(account)[1].pinned_store == "new"
    again = propose_store(account, "new", **WHO)
    assert (again.events, apply_store(account, again)) == ((), ())


def test_a_store_is_pinned_at_the_version_that_was_shown(account):
    proposal = propose_store(account, "new", **WHO)
    account.record(intended(30, 1, store="old"))
    with pytest.raises(VersionConflict):
        apply_store(account, proposal)


# ---------------------------------------------------------------------------------------------------------------- halts


def test_a_halt_names_its_scope_and_ends_alone(account):
    assert halt(account, mode="no_new_risk", **WHO) is Outcome.APPENDED
    assert halt(account, symbol="EURUSD", **WHO) is Outcome.APPENDED
    assert halt(account, strategy="ema", rule="loss_total_max", reason="over") is Outcome.APPENDED
    assert [(one.scope.value, one.name, one.mode.value, one.operator, one.rule) for one in halts(account)] == [
        ("account", None, "no_new_risk", "ann", None),
        ("symbol", "EURUSD", "all", "ann", None),
        ("strategy", "ema", "all", None, "loss_total_max"),
    ]
    assert resume(account, symbol="EURUSD", **WHO) is Outcome.APPENDED
    assert [one.scope.value for one in halts(account)] == ["account", "strategy"]


def test_a_halt_of_what_is_halted_is_no_second_one_unless_it_stops_something_else(account):
    assert halt(account, mode="no_new_risk", **WHO) is Outcome.APPENDED
    assert halt(account, mode="no_new_risk", **WHO) is Outcome.DUPLICATE
    assert halt(account, mode="all", **WHO) is Outcome.APPENDED
    assert [(one.mode, one.number) for one in halts(account)] == [(HaltMode.ALL, 2)]


@pytest.mark.parametrize("scope", [{}, {"symbol": "EURUSD"}, {"strategy": "ema"}])
def test_what_is_not_halted_is_not_resumed(scope, account):
    halt(account, symbol="XAUUSD", **WHO)
    with pytest.raises(RuleError, match="is not halted; halted are: symbol XAUUSD"):
        resume(account, **scope, **WHO)
    halt(account, **scope, **WHO)
    resume(account, **scope, **WHO)
    with pytest.raises(RuleError, match="is not halted"):
        resume(account, **scope, **WHO)


def test_a_halt_is_of_one_scope(account):
    with pytest.raises(BadValue, match="both a symbol and a strategy"):
        halt(account, symbol="EURUSD", strategy="ema", **WHO)


def test_halts_at_the_same_time_get_numbers_of_their_own(account):
    names = [f"S{number}" for number in range(4)] * 2
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda name: halt(account, symbol=name, **WHO), names))
    assert sorted(one.value for one in outcomes) == ["appended"] * 4 + ["duplicate"] * 4
    assert {(one.name, one.number) for one in halts(account)} == {(name, 1) for name in names}


class Overtaken:
    """An account at which somebody writes between what a decision rests on and its record, so many times."""

    def __init__(self, account, *events):
        self._account, self._events = account, list(events)

    def __getattr__(self, name):
        return getattr(self._account, name)

    def record(self, event, **how):
        if self._events:
            self._account.record(self._events.pop(0))
        return self._account.record(event, **how)


def test_a_halt_goes_through_whatever_is_recorded_meanwhile(account):
    busy: Any = Overtaken(account, *(seen(1, second, 1) for second in range(5)))
    assert halt(busy, **WHO) is Outcome.APPENDED
    assert [one.number for one in halts(account)] == [1]


def test_a_resumption_never_ends_a_halt_that_nobody_saw(account):
    halt(account, mode="no_new_risk", **WHO)
    anew = TradingHalted(scope="account", number=2, mode="all", operator="bob", reason="fire", time_msc=START_MSC)
    busy: Any = Overtaken(account, anew)
    with pytest.raises(RuleError, match="halted anew meanwhile"):
        resume(busy, **WHO)
    assert [(one.mode, one.operator) for one in halts(account)] == [(HaltMode.ALL, "bob")]
