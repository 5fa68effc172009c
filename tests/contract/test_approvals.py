"""What every journal promises of proposals, decisions, policies and notes: they are recorded, and move no figure."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ledger import BreakClosed, BreakOpened, Ledger, RuleError, proposals
from ledger.approvals import LAPSES_MAX_MIN, ProposalState
from ledger.codec import APPROVAL_KEYS, ORDER_KEYS, natural_key
from ledger.events import APPROVAL_KINDS
from ledger.journal import Selection
from ledger.journal.verify.walk import verify_account
from ledger.postings import OUTSIDE_FOLD
from tests.support.journals import ACCOUNT, OTHER, START_MSC, fill, opened
from tools.testkit.every_event import EVENTS

APPROVALS = [event for event in EVENTS if type(event).__name__ in APPROVAL_KINDS]


@pytest.fixture
def book(journal):
    journal.append(ACCOUNT, [opened(), fill(1, 1)])
    return journal


def test_approvals_move_no_portfolio_no_place_and_no_order(book, clock):
    account = Ledger(book, clock).account(ACCOUNT)
    before, orders, head = account.portfolio.state(), account.current_orders()[1].state(), book.head(ACCOUNT)
    for event in APPROVALS:
        account.record(event)
        assert account.portfolio.state() == before
        assert account.current_orders()[1].state() == orders
    after = book.head(ACCOUNT)
    assert (after.last_msc, after.last_deal) == (head.last_msc, head.last_deal)
    assert account.replay(checkpoints=False).state() == before
    assert {row.placement for row in book.rows(ACCOUNT, after=2)} == {OUTSIDE_FOLD}


def test_a_portfolio_goes_on_behind_approvals_without_a_replay(book, clock, monkeypatch):
    account = Ledger(book, clock).account(ACCOUNT)
    assert account.portfolio.folded
    monkeypatch.setattr(account, "fold", None)
    account.record_many(APPROVALS)
    account.record(fill(2, 2))
    assert len(account.portfolio.positions) == 2


def test_orders_are_folded_without_the_approvals_between_them(book, clock):
    account = Ledger(book, clock).account(ACCOUNT)
    order = next(one for one in EVENTS if type(one).__name__ == "StorePinned")
    account.record_many([*APPROVALS, order])
    assert account.current_orders()[1].pinned_store == "9b1c"
    rows = [row for rows in book.order_events(ACCOUNT, 99) for row in rows]
    assert [row[3] for row in rows] == ["StorePinned"]


@pytest.mark.parametrize("until_msc", [None, START_MSC - 1, START_MSC, START_MSC + 10**9])
def test_a_replay_counts_approvals_among_the_events_it_selects(book, until_msc):
    book.append(ACCOUNT, [*APPROVALS, fill(2, 2)])
    _, selected = Ledger(book).account(ACCOUNT).replayed(Selection(version=book.head(ACCOUNT).version, time_msc=until_msc))
    assert selected == sum(until_msc is None or row.time_msc <= until_msc for row in book.rows(ACCOUNT))


def test_what_is_decided_at_the_same_moment_again_is_recorded_again(book):
    book.append(ACCOUNT, APPROVALS, expected_version=2)
    book.append(ACCOUNT, APPROVALS, expected_version=2 + len(APPROVALS))
    book.append(ACCOUNT, APPROVALS)  # without a version it is the same, recorded twice
    assert book.head(ACCOUNT).version == 2 + 2 * len(APPROVALS)
    assert {one.field for one in verify_account(book, ACCOUNT).problems} <= {"approval"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: type(one).__name__)
def test_the_range_of_keys_holds_approvals_and_nothing_else(event):
    key, (first, end) = natural_key(event), APPROVAL_KEYS
    assert (first <= key < end) == (type(event).__name__ in APPROVAL_KINDS)
    assert APPROVAL_KEYS not in ORDER_KEYS


# ------------------------------------------------------------------------------------------------------- two persons


def propose(account, position_id=1, operator="ann", **how):
    request = proposals.CorrectionRequest({"what": "close", "position_id": position_id})
    return proposals.propose(account, request, operator=operator, reason="gone", **how).proposal


def approve(account, proposal, operator="bob"):
    return proposals.approve(account, proposal.version, operator=operator, effect_digest=proposal.effect_digest)


@pytest.fixture
def desk(book, clock):
    account = Ledger(book, clock).account(ACCOUNT)
    account.record_many([fill(2, 2), fill(3, 3)])
    proposals.set_policy(account, approvals=2, operator="ann", reason="the rule")
    return account


def test_a_correction_needs_two_persons_whatever_the_journal(desk, clock):
    desk.record(BreakOpened(kind="ghost", position_id=1, symbol="EURUSD", time_msc=START_MSC))
    desk.record(BreakOpened(kind="ghost", position_id=2, symbol="EURUSD", time_msc=START_MSC))
    ghosts = desk.version - 1, desk.version
    applied, ended, urgent = propose(desk, 1), propose(desk, 2), propose(desk, 3, urgent=True)
    assert (applied.break_version, ended.break_version) == ghosts
    desk.record(BreakClosed(kind="ghost", end="vanished", position_id=2, time_msc=START_MSC, caused_by=ghosts[1]))
    desk.record(fill(4, 4))
    assert approve(desk, applied).became == "applied"
    with pytest.raises(RuleError, match="ended with"):
        approve(desk, ended)
    fresh = Ledger(desk.ledger.journal, clock).account(ACCOUNT)
    for account in (desk, fresh):
        states = [one.state for one in account.approvals.proposals]
        assert states == [ProposalState.APPROVED, ProposalState.LAPSED, ProposalState.UNCONFIRMED]
        assert [one.kind.value for one in account.portfolio.breaks] == ["approval"]
    assert approve(fresh, urgent).became == "confirmed"
    assert (list(desk.portfolio.positions), desk.portfolio.breaks) == ([2, 4], ())
    assert desk.approvals.proposals == fresh.approvals.proposals
    assert desk.ledger.verify().problems == ()


def test_verify_names_what_one_person_corrected_whatever_the_journal(desk):
    drafted = proposals.draft(
        desk, proposals.CorrectionRequest({"what": "close", "position_id": 1}), operator="mal", reason="mine"
    )
    desk.record_many(drafted.events)
    (problem,) = desk.ledger.verify().problems
    assert (problem.field, problem.version) == ("approval", desk.version)
    in_parallel = desk.ledger.verify(in_parallel=True)
    assert in_parallel.problems == (problem,)


def test_of_two_persons_who_approve_at_once_one_does(desk):
    proposal = propose(desk)

    def decide(name):
        try:
            return approve(desk, proposal, name).became
        except RuleError as error:
            return str(error).partition(":")[0]

    with ThreadPoolExecutor(4) as pool:
        found = sorted(pool.map(decide, ("bob", "cyd", "dan", "eve")))
    assert found == ["applied", *[f"v{proposal.version} is approved"] * 3]
    assert desk.ledger.verify().problems == ()


def test_the_ends_of_breaks_are_those_of_the_breaks_that_are_asked_about(desk):
    desk.record_many([BreakOpened(kind="ghost", position_id=one, time_msc=START_MSC) for one in (1, 2, 3)])
    opened_at = [desk.version - 2, desk.version - 1, desk.version]
    desk.record_many(
        [BreakClosed(kind="ghost", end="vanished", time_msc=START_MSC, caused_by=one) for one in reversed(opened_at)]
    )
    ends = desk.ledger.journal.break_ends
    assert [row.caused_by for row in ends(ACCOUNT, opened_at[:2], desk.version)] == [opened_at[1], opened_at[0]]
    assert [row.caused_by for row in ends(ACCOUNT, opened_at, desk.version - 2)] == [opened_at[2]]
    assert (ends(ACCOUNT, [], 99), ends(OTHER, opened_at, 99)) == ([], [])


def test_what_waits_in_all_accounts_is_listed_oldest_first(desk, clock):
    ledger = desk.ledger
    other = ledger.account(OTHER)
    other.record_many([opened(OTHER), fill(1, 1)])
    assert proposals.pending(ledger) == []
    later, first = propose(desk, lapses_min=120), propose(other, lapses_min=60)
    propose(desk, 2, urgent=True)
    proposals.withdraw(desk, propose(desk, 3).version, operator="ann")
    assert [(account.name, one.version) for account, one in proposals.pending(ledger)] == [
        (OTHER, first.version), (ACCOUNT, later.version),
    ]  # fmt: skip
    clock.now_us += 90 * 60_000_000
    assert [account.name for account, _ in proposals.pending(ledger)] == [ACCOUNT]
    assert sorted(map(str, ledger.journal.proposed_since(0))) == sorted(map(str, (ACCOUNT, OTHER)))
    clock.now_us += LAPSES_MAX_MIN * 60_000_000
    assert ledger.journal.proposed_since(clock.now_us) == []
