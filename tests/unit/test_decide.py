"""What follows from a disagreement: the life of a break, what has to wait, and corrections that name their cause."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import (
    Action,
    BalanceAsserted,
    BreakClosed,
    BreakEnd,
    BreakKind,
    BreakOpened,
    DriftCorrected,
    Event,
    Foreign,
    GhostClosed,
    Outcome,
    PositionRecovered,
    PositionReticketed,
    ReconcilePolicy,
    RemoteAccount,
    VersionConflict,
)
from ledger.codec import natural_key
from ledger.reconcile.compare import Difference, compare, compare_money
from ledger.reconcile.decide import Decision, DecisionContext, WaitsFor, decide, decide_money
from ledger.reconcile.flapping import Flapping
from ledger.values import plain
from tests.support.broker import snapshot
from tools.testkit.stories import Story, at, fill, left_behind

CORRECTIONS = (PositionRecovered, GhostClosed, DriftCorrected)


class Case:
    """A ledger on a story, and what is decided about one snapshot after the other."""

    def __init__(self, given: str = "", mode: str = "hedging", *, extended: bool = True, **policy: Any) -> None:
        self.story = Story(mode)
        if given:
            self.story.record(given)
        self.policy = ReconcilePolicy(**policy)
        self.extended = extended
        self.seconds = 100

    def decide(self, shows: str, **around: Any) -> Decision:
        """Decide about a snapshot, and append nothing."""
        version, portfolio = self.story.account.current()
        seen = snapshot(shows, extended=self.extended)
        known: dict[str, Any] = {"time_msc": at(self.seconds), "version": version, "flapping": flapping_of(self.story)}
        return decide(
            portfolio, seen, compare(portfolio, seen), policy=self.policy, around=DecisionContext(**(known | around))
        )  # fmt: skip

    def see(self, shows: str, **around: Any) -> Decision:
        """Decide about a snapshot, and append what was decided."""
        self.seconds += 10
        decision = self.decide(shows, **around)
        self.append(decision.events)
        return decision

    def append(self, events: tuple[Event, ...]) -> None:
        account = self.story.account
        outcomes = account.record_many(events, expected_version=account.version).outcomes
        assert set(outcomes) <= {Outcome.APPENDED}

    @property
    def breaks(self) -> list[tuple[str, int | None, int, int]]:
        return [(one.kind.value, one.position_id, one.confirmations, one.attempts) for one in self.story.portfolio.breaks]


def flapping_of(story: Story) -> Flapping:
    """Return what flapped, the whole journal being within the window."""
    flapping = Flapping()
    for row in story.account.ledger.journal.rows(story.account.name):
        flapping.read(row)
    return flapping


def words(decision: Decision) -> list[str]:
    """Return events in short: ``open ghost #7``, ``seen ghost #7 x2``, ``GhostClosed #7``, ``close ghost #7 corrected``."""
    return [_word(event) for event in decision.events]


def _word(event: Event) -> str:
    match event:
        case BreakOpened(kind=kind, position_id=position_id, confirmations=times, attempts=attempts, caused_by=known, why=why):
            counted = f" tried {attempts}" if attempts else f" x{times}" if "missing in" in (why or "") else ""
            return f"{'seen' if known else 'open'} {kind.value} #{position_id}{counted}"
        case BreakClosed(kind=kind, position_id=position_id, end=end):
            return f"close {kind.value} #{position_id} {end.value}"
        case PositionRecovered() | GhostClosed() | DriftCorrected() | PositionReticketed():
            return f"{type(event).__name__} #{event.position_id}"
        case _:
            return type(event).__name__


# ----------------------------------------------------------------------------------------------------- the life of a break


def test_without_a_difference_nothing_is_appended():
    assert Case("#7 buy 1 @ 10").decide("#7 long 1 @ 10") == Decision()


def test_a_zombie_is_recovered_at_once():
    case = Case()
    decision = case.see("#7 long 1 @ 10 ticket 99 magic 5 opened 3")
    assert words(decision) == ["open zombie #7", "PositionRecovered #7", "close zombie #7 corrected"]
    assert decision.recovered == (7,)
    position = case.story.portfolio.positions[7]
    assert (position.ticket, position.magic, position.opened_msc, position.basis) == (99, 5, at(3), "recovery")


def test_a_drift_is_corrected_at_once_and_states_before_and_after():
    case = Case("#7 buy 1 @ 10")
    decision = case.see("#7 long 1.5 @ 11")
    assert words(decision) == ["open drift #7", "DriftCorrected #7", "close drift #7 corrected"]
    (correction,) = [one for one in decision.events if isinstance(one, DriftCorrected)]
    assert (correction.before.volume, correction.before.price_open) == (1, 10)
    assert (float(correction.after.volume), correction.after.price_open) == (1.5, 11)
    (opened,) = [one for one in decision.events if isinstance(one, BreakOpened)]
    assert (opened.field, opened.ours, opened.theirs) == ("volume,price_open", "buy 1 EURUSD @ 10", "buy 1.5 EURUSD @ 11")
    assert (decision.corrected, case.story.left) == ((7,), "#7 long 1.5 @ 11")


def test_a_ghost_is_missed_twice_before_it_is_closed():
    case = Case("#7 buy 1 @ 10")
    first = case.see("")
    assert words(first) == ["open ghost #7 x1"]
    assert [(one.kind, one.position_id, one.waits_for) for one in first.held] == [("ghost", 7, WaitsFor.SNAPSHOT)]
    assert (case.story.left, case.breaks) == ("#7 long 1 @ 10", [("ghost", 7, 1, 0)])
    second = case.see("")
    assert words(second) == ["GhostClosed #7", "close ghost #7 corrected"]
    assert (second.closed, second.held, case.breaks) == ((7,), (), [])
    assert case.story.left == "flat; ghost result 1"


@pytest.mark.parametrize("needed", [1, 2, 3, 5])
def test_a_ghost_waits_for_as_many_snapshots_as_the_policy_states(needed):
    case = Case("#7 buy 1 @ 10", ghost_confirmations=needed)
    for number in range(1, needed):
        assert case.see("").closed == ()
        assert case.breaks == [("ghost", 7, number, 0)]
    assert case.see("").closed == (7,)


def test_a_break_that_is_gone_by_itself_vanished():
    case = Case("#7 buy 1 @ 10")
    case.see("")
    assert words(case.see("#7 long 1 @ 10")) == ["close ghost #7 vanished"]
    assert (case.breaks, case.story.left) == ([], "#7 long 1 @ 10")


def test_a_ghost_that_came_back_is_counted_from_the_beginning():
    case = Case("#7 buy 1 @ 10")
    case.see("")
    case.see("#7 long 1 @ 10")
    assert words(case.see("")) == ["open ghost #7 x1"]


def test_a_break_that_a_deal_settled_is_explained():
    case = Case("#7 buy 1 @ 10")
    case.see("")
    version = case.story.account.version
    case.story.record("t99 #7 out sell 1 @ 12")
    assert words(case.see("", filled={7: version + 1})) == ["close ghost #7 explained"]


def test_a_deal_of_before_the_break_explains_nothing():
    case = Case("#7 buy 1 @ 10")
    case.see("")
    assert words(case.see("#7 long 1 @ 10", filled={7: 2})) == ["close ghost #7 vanished"]


def test_a_break_that_turned_into_another_kind_ends_and_the_other_begins():
    case = Case("#7 buy 1 @ 10", drift="report")
    assert words(case.see("#7 long 2 @ 10")) == ["open drift #7"]
    assert words(case.see("")) == ["close drift #7 vanished", "open ghost #7 x1"]


def test_recoveries_come_before_ghosts_before_drifts():
    case = Case("#3 buy 1 @ 10, #5 buy 1 @ 10", ghost_confirmations=1)
    assert words(case.see("#9 long 1 @ 10, #5 long 2 @ 10")) == [
        "open zombie #9", "PositionRecovered #9", "open ghost #3", "GhostClosed #3", "open drift #5", "DriftCorrected #5",
        "close zombie #9 corrected", "close ghost #3 corrected", "close drift #5 corrected",
    ]  # fmt: skip
    assert case.story.left == "#5 long 2 @ 10, #9 long 1 @ 10; ghost result 1"


def test_every_correction_and_every_end_names_the_version_of_its_break():
    case = Case("#3 buy 1 @ 10, #5 buy 1 @ 10, #6 buy 1 @ 10")
    case.see("#9 long 1 @ 10, #5 long 2 @ 10, #6 long 1 @ 10")
    case.see("#10 short 1 @ 3, #9 long 1 @ 10, #5 long 2 @ 10")
    case.see("#10 short 2 @ 3, #9 long 1 @ 10, #5 long 2 @ 10 ticket 55")
    recorded = {one.version: one.event for one in case.story.account.events()}
    about = {
        version: (event.kind, event.position_id)
        for version, event in recorded.items()
        if isinstance(event, BreakOpened) and event.caused_by is None
    }
    ends = {event.caused_by: event for event in recorded.values() if isinstance(event, BreakClosed)}
    kind_of = {PositionRecovered: BreakKind.ZOMBIE, GhostClosed: BreakKind.GHOST, DriftCorrected: BreakKind.DRIFT}
    corrected = [event for event in recorded.values() if isinstance(event, CORRECTIONS)]
    assert len(corrected) == 6
    for event in corrected:
        assert event.caused_by is not None
        assert about[event.caused_by] == (kind_of[type(event)], event.position_id)
        assert ends[event.caused_by].end is BreakEnd.CORRECTED
    assert {version: (event.kind, event.position_id) for version, event in ends.items()} == about
    assert all(event.evidence for event in corrected)


# ---------------------------------------------------------------------------------------------------- vanishing all at once


FIVE = ", ".join(f"#{number} buy 1 @ 10" for number in range(1, 6))


def left_of(story: str, gone: set[int]) -> str:
    return ", ".join(f"#{number} long 1 @ 10" for number in range(1, 6) if number not in gone and f"#{number} " in story)


@pytest.mark.parametrize(
    ("given", "gone", "needed"),
    [
        (FIVE, {1, 2}, 2),  # fewer than three
        (FIVE, {1, 2, 3}, 3),  # three, and more than half
        (FIVE, {1, 2, 3, 4, 5}, 3),
        (FIVE + ", #6 buy 1 @ 10", {1, 2, 3}, 2),  # half is not more than half
        ("#1 buy 1 @ 10, #2 buy 1 @ 10", {1, 2}, 2),  # all, but fewer than three
    ],
)
def test_many_that_vanish_at_once_need_further_snapshots(given, gone, needed):
    case = Case(given)
    shows = left_of(given, gone) + (", #6 long 1 @ 10" if "#6" in given else "")
    for _ in range(needed - 1):
        assert case.see(shows).closed == ()
    assert set(case.see(shows).closed) == gone


def test_what_many_is_belongs_to_the_policy():
    case = Case(FIVE, vanish_least=2, vanish_share=0.2, vanish_confirmations=4)
    shows = left_of(FIVE, {1, 2})
    assert [case.see(shows).closed for _ in range(4)] == [(), (), (), (1, 2)]


# --------------------------------------------------------------------------------------------- corrections that do not help


def never_helped(case: Case, shows: str, seen: str) -> Decision:
    """Decide about a disagreement that stays whatever is corrected: the snapshot shows something else."""
    version, portfolio = case.story.account.current()
    case.seconds += 10
    decision = decide(
        portfolio, snapshot(seen, extended=True), compare(portfolio, snapshot(shows, extended=True)), policy=case.policy,
        around=DecisionContext(time_msc=at(case.seconds), version=version),
    )  # fmt: skip
    case.append(decision.events)
    return decision


def test_a_correction_that_does_not_help_counts_an_attempt_and_is_left_to_people_in_the_end():
    case = Case("#7 buy 1 @ 10")
    for attempt in (1, 2, 3):
        decision = never_helped(case, f"#7 long {attempt + 1} @ 10", "#7 long 9 @ 10")
        assert words(decision)[-2:] == ["DriftCorrected #7", f"seen drift #7 tried {attempt}"]
        assert decision.corrected == ()
        assert [one.waits_for for one in decision.held] == [WaitsFor.SNAPSHOT]
        assert case.breaks == [("drift", 7, 1, attempt)]
    decision = never_helped(case, "#7 long 9 @ 10", "#7 long 9 @ 10")
    assert decision.events == ()
    assert "ledger correct" in decision.held[0].why
    assert decision.held[0].waits_for is None
    assert case.breaks == [("drift", 7, 1, 3)]


def test_a_break_that_is_left_to_people_does_not_block_others():
    case = Case("#7 buy 1 @ 10")
    for attempt in (1, 2, 3):
        never_helped(case, f"#7 long {attempt + 1} @ 10", "#7 long 9 @ 10")
    decision = case.see("#7 long 9 @ 10, #8 long 1 @ 3")
    assert decision.recovered == (8,)
    assert [one.position_id for one in decision.held] == [7]


def test_what_clears_is_closed_and_counted_anew():
    case = Case("#7 buy 1 @ 10")
    for attempt in (1, 2, 3):
        never_helped(case, f"#7 long {attempt + 1} @ 10", "#7 long 9 @ 10")
    assert words(case.see(f"#7 long {plain(case.story.portfolio.positions[7].volume)} @ 10")) == ["close drift #7 vanished"]
    assert case.see("#7 long 2 @ 10").corrected == (7,)


# --------------------------------------------------------------------------------------------------------- what has to wait


@pytest.mark.parametrize(("given", "shows"), [("", "#7 long 1 @ 10"), ("#7 buy 2 @ 9", ""), ("#7 buy 2 @ 9", "#7 long 1 @ 10")])
def test_a_position_with_a_fill_recorded_just_now_waits_and_opens_no_break(given, shows):
    decision = Case(given, ghost_confirmations=1).decide(shows, touched={7})
    assert decision.events == ()
    assert [(one.position_id, one.waits_for) for one in decision.held] == [(7, WaitsFor.TIME)]


def test_only_what_was_touched_waits():
    decision = Case("#7 buy 1 @ 10, #8 buy 1 @ 10", ghost_confirmations=1).decide("", touched={7})
    assert decision.closed == (8,)


def test_a_fill_without_a_position_id_touches_its_symbol():
    assert Case("#7 buy 1 @ 10").decide("#7 long 2 @ 10", touched={"EURUSD"}).events == ()
    assert Case("#7 buy 1 @ 10").decide("#7 long 2 @ 10", touched={"USDJPY"}).corrected == (7,)


def test_a_new_ticket_of_what_was_touched_waits_too():
    case = Case("#7 buy 1 @ 10")
    waiting = case.decide("#7 long 1 @ 10 ticket 99", touched={7})
    assert (waiting.events, waiting.reticketed) == ((), ())
    assert case.decide("#7 long 1 @ 10 ticket 99").reticketed == (7,)


@pytest.mark.parametrize(
    ("given", "shows", "kind"), [("", "#7 long 1 @ ?", "zombie"), ("#7 buy 1 @ 10", "#7 short 1 @ ?", "drift")]
)
def test_an_open_price_that_is_not_known_is_not_made_up(given, shows, kind):
    case = Case(given)
    left = case.story.left
    assert words(case.see(shows)) == [f"open {kind} #7"]
    assert case.story.left == left
    again = case.see(shows)
    assert again.events == ()
    assert "price" in again.held[0].why
    assert words(case.see(shows.replace("?", "11")))[-1] == f"close {kind} #7 corrected"


def test_a_ghost_needs_no_price():
    assert Case("#7 buy 1 @ 10", ghost_confirmations=1).see("").closed == (7,)


def test_while_the_clock_is_in_doubt_nothing_is_corrected():
    case = Case("#7 buy 1 @ 10")
    case.story.record(BreakOpened(kind=BreakKind.CLOCK, time_msc=at(50)))
    decision = case.see("#8 long 1 @ 10, #7 long 2 @ 10")
    assert words(decision) == ["open zombie #8", "open drift #7"]
    assert all("ledger account clock" in one.why for one in decision.held)
    assert case.story.left == "#7 long 1 @ 10"


def test_what_is_unclear_holds_everything_and_states_why():
    decision = Case("#7 buy 1 @ 10", ghost_confirmations=1).decide("#8 long 1 @ 10", unclear="the deals are missing")
    assert words(decision) == ["open zombie #8", "open ghost #7"]
    assert {one.why for one in decision.held} == {"the deals are missing"}


def test_what_is_held_does_not_count_snapshots():
    case = Case("#7 buy 1 @ 10")
    for _ in range(5):
        assert case.see("", unclear="the deals are missing").closed == ()
    assert case.breaks == [("ghost", 7, 1, 0)]


# ------------------------------------------------------------------------------------------------------------------ policy


@pytest.mark.parametrize(
    ("kind", "given", "shows"),
    [("zombie", "", "#7 long 1 @ 10"), ("ghost", "#7 buy 1 @ 10", ""), ("drift", "#7 buy 1 @ 10", "#7 long 2 @ 10")],
)
def test_a_kind_that_is_only_reported_opens_a_break_and_nothing_more(kind, given, shows):
    action: dict[str, Any] = {kind: Action.REPORT}
    case = Case(given, ghost_confirmations=1, **action)
    left = case.story.left
    assert words(case.see(shows)) == [f"open {kind} #7"]
    assert case.see(shows).events == ()
    assert case.story.left == left
    assert case.breaks == [(kind, 7, 1, 0)]


def test_a_kind_that_is_reported_leaves_the_others_to_be_corrected():
    decision = Case("#7 buy 1 @ 10", drift="report").see("#7 long 2 @ 10, #8 long 1 @ 3")
    assert decision.recovered == (8,)
    assert decision.corrected == ()


def test_a_kind_that_halts_holds_everything_else():
    case = Case("#7 buy 1 @ 10", drift="halt")
    decision = case.see("#7 long 2 @ 10, #8 long 1 @ 3")
    assert words(decision) == ["open zombie #8", "open drift #7"]
    assert case.see("#7 long 1 @ 10, #8 long 1 @ 3").recovered == (8,)  # until it is gone


OURS: dict[str, Any] = {"magics": {1, 2}}


@pytest.mark.parametrize(
    ("foreign", "given", "shows", "expected"),
    [
        (Foreign.ADOPT, "", "#7 long 1 @ 10 magic 9", ["open zombie #7", "PositionRecovered #7", "close zombie #7 corrected"]),
        (Foreign.REPORT, "", "#7 long 1 @ 10 magic 9", ["open zombie #7"]),
        (Foreign.IGNORE, "", "#7 long 1 @ 10 magic 9", []),
        (Foreign.REPORT, "", "#7 long 1 @ 10", ["open zombie #7"]),  # no magic number known: not ours
        (Foreign.IGNORE, "", "#7 long 1 @ 10", []),
        (Foreign.IGNORE, "", "#7 long 1 @ 10 magic 2", ["open zombie #7", "PositionRecovered #7", "close zombie #7 corrected"]),
    ],
)
def test_positions_of_others_are_adopted_reported_or_ignored(foreign, given, shows, expected):
    assert words(Case(given, foreign=foreign, **OURS).decide(shows)) == expected


def test_what_was_adopted_of_others_keeps_its_magic_number():
    case = Case(foreign="adopt", **OURS)
    case.see("#7 long 1 @ 10 magic 9, #8 long 1 @ 10 magic 1")
    assert {one.position_id: one.magic for one in case.story.portfolio.positions.values()} == {7: 9, 8: 1}


@pytest.mark.parametrize(("foreign", "opened"), [("report", ["open ghost #7"]), ("ignore", [])])
def test_ghosts_and_drifts_of_others_are_recognised_by_their_magic_number(foreign, opened):
    case = Case(ghost_confirmations=1, foreign=foreign, **OURS)
    case.story.record(fill(1, position_id=7, magic=9))
    assert words(case.decide("")) == opened
    assert words(case.decide("#7 long 2 @ 10")) == [one.replace("ghost", "drift") for one in opened]
    case.story.record(fill(2, position_id=8, magic=1))
    assert case.decide("#7 long 1 @ 10").closed == (8,)


def test_the_break_of_a_position_that_is_ignored_from_now_on_is_closed():
    case = Case(foreign="report", **OURS)
    case.see("#7 long 1 @ 10 magic 9")
    case.policy = ReconcilePolicy(foreign="ignore", magics={1, 2})
    assert words(case.see("#7 long 1 @ 10 magic 9")) == ["close zombie #7 vanished"]


# ----------------------------------------------------------------------------------------------------------------- netting


def test_a_net_position_that_turned_is_corrected_at_once():
    case = Case("#7 buy 1 @ 10", "netting")
    assert case.see("#7 short 0.5 @ 11").corrected == (7,)
    assert case.story.left == "short 0.5 @ 11; ghost result 1"
    assert case.story.trades == ["long 1 @ 10 to ?, 0?"]


def test_a_successor_on_an_account_that_nets_proves_that_the_old_one_ended():
    case = Case("#7 buy 1 @ 10", "netting")
    decision = case.see("#8 short 2 @ 11")
    assert (decision.recovered, decision.closed, decision.held) == ((8,), (7,), ())
    assert case.story.left == "short 2 @ 11; ghost result 1"
    assert case.see("#8 short 2 @ 11").events == ()


def test_where_only_tickets_are_recorded_a_net_position_keeps_our_id():
    case = Case("#7 buy 1 @ 10", "netting", extended=False)
    decision = case.see("#99 short 0.5 @ 11")
    assert (decision.corrected, decision.reticketed) == ((7,), (7,))
    (position,) = case.story.portfolio.positions.values()
    assert (position.position_id, position.ticket, float(position.volume)) == (7, 99, 0.5)
    assert case.see("#99 short 0.5 @ 11").events == ()


# ----------------------------------------------------------------------------------------------------------- when and how


def test_a_correction_is_never_earlier_than_anything_known():
    case = Case("t500 #7 buy 1 @ 10")
    assert {one.time_msc for one in case.decide("#7 long 2 @ 10").events} == {at(500)}


@pytest.mark.parametrize(
    ("shown", "moment"), [("updated 200.5", 200.5), ("opened 200.5", 200.5), ("opened 200", 200.999), ("opened 50", 100)]
)
def test_a_correction_is_not_before_the_last_change_that_the_broker_shows(shown, moment):
    """Else a fill that the snapshot shows already would count again once it is recorded."""
    assert {one.time_msc for one in Case().decide(f"#7 long 1 @ 10 {shown}").events} == {at(moment)}


def test_deciding_is_deterministic_and_changes_nothing():
    case = Case("#3 buy 1 @ 10, #5 buy 1 @ 10", ghost_confirmations=1)
    left, version = case.story.left, case.story.account.version
    first, second = (case.decide("#9 long 1 @ 10, #5 long 2 @ 10") for _ in range(2))
    assert first == second
    assert (case.story.left, case.story.account.version) == (left, version)


def test_the_same_decision_appended_twice_is_all_duplicates():
    case = Case("#3 buy 1 @ 10, #5 buy 1 @ 10", ghost_confirmations=1)
    decision = case.decide("#9 long 1 @ 10, #5 long 2 @ 10 ticket 55")
    assert len({natural_key(one) for one in decision.events}) == len(decision.events) == 10
    case.story.account.record_many(decision.events)
    version = case.story.account.version
    again = case.story.account.record_many(decision.events)  # a crash between append and answer, and no expected version
    assert set(again.outcomes) == {Outcome.DUPLICATE}
    assert case.story.account.version == version


def test_of_two_reconcilers_that_decided_on_one_version_the_second_is_refused():
    case = Case("#5 buy 1 @ 10")
    version = case.story.account.version
    first, second = case.decide("#5 long 2 @ 10"), case.decide("#5 long 2 @ 10", time_msc=at(101))
    case.append(first.events)
    with pytest.raises(VersionConflict):
        case.story.account.record_many(second.events, expected_version=version)


def test_corrections_are_simulated_on_a_copy_that_is_numbered_like_the_journal():
    case = Case("#5 buy 1 @ 10")
    version, portfolio = case.story.account.current()
    decision = case.decide("#5 long 2 @ 10")
    tried = portfolio.followed_by(decision.events, version)
    case.append(decision.events)
    assert left_behind(tried, named=True) == case.story.left == "#5 long 2 @ 10"
    assert tried.last == case.story.portfolio.last
    assert left_behind(portfolio, named=True) == "#5 long 1 @ 10"


# ------------------------------------------------------------------------------------------------------------------- money


def money(case: Case, balance: object, credit: object = 0, **around: Any) -> Decision:
    """Decide about the money that the broker states, and append what was decided."""
    case.seconds += 10
    version, portfolio = case.story.account.current()
    opened = portfolio.terms.opened
    stated = RemoteAccount(
        login=opened.login, server=opened.server, currency="USD", mode=opened.mode, balance=balance, credit=credit  # type: ignore[arg-type]
    )  # fmt: skip
    known: dict[str, Any] = {"time_msc": at(case.seconds), "version": version}
    decision = decide_money(
        portfolio, compare_money(portfolio, stated), policy=case.policy, around=DecisionContext(**(known | around)),
        evidence="e" * 64,
    )  # fmt: skip
    case.append(decision.events)
    return decision


@pytest.fixture
def rich() -> Case:
    """A hundred on the account, as the broker stated it."""
    case = Case()
    case.story.record(BalanceAsserted(balance=100, credit=0, time_msc=at(1)))
    return case


def test_money_that_agrees_is_nothing_to_append(rich):
    assert money(rich, 100) == Decision()


def test_money_that_differs_is_a_break_that_is_held_and_moves_nothing(rich):
    decision = money(rich, 90, 5)
    assert [(one.field, one.ours, one.theirs) for one in rich.story.portfolio.breaks] == [
        ("balance", "100.00", "90.00"), ("credit", "0.00", "5.00"),
    ]  # fmt: skip
    assert [one.kind for one in decision.held] == ["balance", "balance"]
    assert (rich.story.portfolio.balance, rich.story.portfolio.credit) == (100, 0)
    assert money(rich, 90, 5).events == ()


def test_each_figure_ends_by_itself(rich):
    money(rich, 90, 5)
    decision = money(rich, 100, 5)
    assert words(decision) == ["close balance #None vanished"]
    assert [one.field for one in rich.story.portfolio.breaks] == ["credit"]
    money(rich, 100, 0)
    assert rich.story.portfolio.breaks == ()


def test_a_difference_that_stays_while_both_move_is_no_news_and_another_one_is(rich):
    money(rich, 90)
    rich.story.record("t50 deposit 7")
    assert money(rich, 97).events == ()
    assert words(money(rich, 95)) == ["seen balance #None"]
    (known,) = rich.story.portfolio.breaks
    assert (known.ours, known.theirs) == ("107.00", "95.00")


def test_right_after_a_fill_the_money_is_left_for_the_next_sync(rich):
    decision = money(rich, 90, touched={7})
    assert decision.events == ()
    assert [one.waits_for for one in decision.held] == [WaitsFor.TIME]


def test_a_policy_that_halts_at_money_is_named_as_the_reason(rich):
    rich.policy = ReconcilePolicy(balance="halt")
    assert "nothing is corrected" in money(rich, 90).held[0].why
    decision = rich.see("#7 long 1 @ 10")
    assert words(decision) == ["open zombie #7"]
    assert "balance" in decision.held[0].why


def test_no_decision_about_money_is_a_correction():
    portfolio = Story().record("deposit 100").portfolio
    decision = decide_money(
        portfolio, (Difference(field="balance", ours="100", theirs="90"),), policy=ReconcilePolicy(),
        around=DecisionContext(time_msc=at(9), version=1), evidence="e",
    )  # fmt: skip
    assert {type(one) for one in decision.events} == {BreakOpened}
