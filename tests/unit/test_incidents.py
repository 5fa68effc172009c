"""Incidents: what counts as one, how it ends, whose decision it was, and what people read of it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from ledger import (
    Account,
    Adjusted,
    BadValue,
    BreakClosed,
    BreakNoted,
    BreakOpened,
    CorrectionDecided,
    DealRevised,
    DriftCorrected,
    GhostClosed,
    Ledger,
    OrderResolved,
    PositionRecovered,
    PositionReticketed,
    PositionState,
    SyncDegraded,
    SyncRestored,
)
from ledger.causes import Cause
from ledger.codec import Stored
from ledger.events import AcceptedResult, Event
from ledger.incident_lines import incident_lines
from ledger.incidents import Period, incidents_of, unexplained_findings
from tools.testkit.facts import ACCOUNT, OTHER, START_MSC, START_US, Clock, cash, fill, opened

MINUTE = 60 * 1_000_000
GHOST: dict[str, Any] = {"kind": "ghost", "position_id": 123456, "symbol": "EURUSD", "ours": "buy 0.01 EURUSD @ 1.1"}


def state(position_id: int = 123456, **fields: Any) -> PositionState:
    known: dict[str, Any] = {"symbol": "EURUSD", "side": "buy", "volume": "0.01", "price_open": "1.1"}
    return PositionState(position_id=position_id, **(known | fields))


class Desk:
    """An account and its clock: events are recorded at a minute after the start."""

    def __init__(self) -> None:
        self.clock = Clock(step_us=1)
        self.ledger = Ledger.open("memory://", now_us=self.clock)
        self.account: Account = self.ledger.account(ACCOUNT)
        self.account.record(opened())

    def at(self, minute: float, *events: Event, correlation: str | None = None, decided: bool = True) -> Desk:
        self.clock.now_us = START_US + round(minute * MINUTE)
        version = self.account.version if decided else None
        self.account.record_many(events, correlation=correlation, expected_version=version)
        return self

    @property
    def now_msc(self) -> int:
        return self.clock.now_us // 1000

    def time(self, minute: float) -> int:
        return START_MSC + round(minute * 60_000)

    def lines(self, minute: float = 120) -> list[str]:
        now_us = START_US + round(minute * MINUTE)
        period = Period(since_us=START_US, until_us=None)
        found = incidents_of(self.ledger.journal, ACCOUNT, self.account.terms, period)
        return list(incident_lines(found, self.account.terms, period, now_us))

    def story(self) -> list[tuple[str, str | None, tuple[int, ...]]]:
        return [(one.kind, one.outcome, one.versions) for one in self.account.incidents()]


@pytest.fixture
def desk():
    return Desk()


def test_the_contracts_example_reads_as_it_is_written(desk):
    desk.at(5, SyncDegraded(reason="timeout", time_msc=desk.time(5)))
    desk.at(8, SyncRestored(time_msc=desk.time(8)))
    desk.at(20, BreakOpened(**GHOST, time_msc=desk.time(20)))
    desk.at(60, fill(5001, 1190, position_id=123456, side="sell", entry="out", volume="0.01", origin="recovery"))
    desk.at(61, BreakClosed(kind="ghost", end="explained", position_id=123456, time_msc=desk.time(61), caused_by=4))
    bonus = Adjusted(operator="ann", reason="bonus", time_msc=desk.time(62), balance_before="1.00", balance_after="5.20")
    desk.at(62, bonus)
    shown: dict[str, Any] = {"ours": "buy 0.20 XAUUSD @ 1900", "theirs": "buy 0.10 XAUUSD @ 1900", "field": "volume"}
    about: dict[str, Any] = {"kind": "drift", "position_id": 123460, "symbol": "XAUUSD"}
    desk.at(108, BreakOpened(**about, **shown, time_msc=desk.time(108)))
    assert desk.lines() == [
        "started (UTC)     lasted  what      about          outcome",
        "01-05 10:05        3 min  degraded  gateway        restored; timeout",
        "01-05 10:20       41 min  ghost     123456 EURUSD  explained by deal 5001, v5; possibly closed manually",
        '01-05 11:02            -  adjusted  balance        +4.20 by ann: "bonus"',
        "01-05 11:48    open 12 m  drift     123460 XAUUSD  volume 0.20, broker 0.10; possibly partial close",
        "3 closed, 1 open; degraded 3 min (2.50 % of the period)",
    ]


@pytest.mark.parametrize("is_money_first", [True, False])
def test_money_that_differs_while_a_deal_is_not_listed_comes_from_that_deal(desk, is_money_first):
    opened: list[dict[str, Any]] = [
        {"kind": "balance", "field": "balance", "ours": "105.00", "theirs": "100.00"}, {"kind": "withdrawn", "deal": 5001},
    ]  # fmt: skip
    for one in opened if is_money_first else reversed(opened):
        desk.at(1, BreakOpened(**one, time_msc=desk.time(1)))
    money = next(one for one in desk.account.incidents() if one.kind == "balance")
    assert money.finding.words == "likely deal withdrawn"
    assert [(one.version, one.deal) for one in money.finding.because] == [(3 if is_money_first else 2, 5001)]


def test_a_break_that_is_seen_again_is_one_incident_with_all_of_its_events(desk):
    desk.at(1, BreakOpened(**GHOST, time_msc=desk.time(1)))
    desk.at(2, BreakOpened(**GHOST, time_msc=desk.time(2), confirmations=2, caused_by=2, why="missing"))
    desk.at(3, GhostClosed(before=state(), time_msc=desk.time(3), caused_by=2),
            BreakClosed(kind="ghost", end="corrected", position_id=123456, time_msc=desk.time(3), caused_by=2))  # fmt: skip
    [found] = desk.account.incidents()
    assert (found.kind, found.outcome, found.versions, found.reason) == ("ghost", "corrected", (2, 3, 4, 5), "missing")
    assert (found.started_us, found.duration_us(0)) == (START_US + MINUTE + 1, 2 * MINUTE + 1)
    assert "closed buy 0.01, result unknown" in desk.lines()[1]


def test_a_deal_that_comes_later_explains_what_was_corrected_and_the_order_of_the_ends_stays(desk):
    desk.at(1, BreakOpened(**GHOST, time_msc=desk.time(1)), GhostClosed(before=state(), time_msc=desk.time(1), caused_by=2),
            BreakClosed(kind="ghost", end="corrected", position_id=123456, time_msc=desk.time(1), caused_by=2))  # fmt: skip
    desk.at(2, SyncDegraded(reason="x", time_msc=desk.time(2)), SyncRestored(time_msc=desk.time(2)))
    half = {"position_id": 123456, "side": "sell", "entry": "out", "volume": "0.005", "origin": "recovery", "reason": 4}
    desk.at(3, fill(5001, 30, **half), fill(5002, 31, **half))
    assert desk.story() == [("ghost", "corrected", (2, 3, 4, 7, 8)), ("degraded", "restored", (5, 6))]
    [found, _] = desk.account.incidents()
    assert (found.deal, found.finding.cause) == (5002, Cause.STOP_LOSS)
    assert desk.lines()[1].endswith("closed buy 0.01: stop loss, 2 deals, v8")


def test_a_deal_from_behind_an_adoption_is_trading_and_explains_nothing(desk):
    zombie: dict[str, Any] = {"kind": "zombie", "position_id": 7, "symbol": "EURUSD", "theirs": "buy 0.01 EURUSD @ 1.1"}
    desk.at(1, BreakOpened(**zombie, time_msc=desk.time(1)),
            PositionRecovered(position=state(7, magic=5), time_msc=desk.time(1), caused_by=2),
            BreakClosed(kind="zombie", end="corrected", position_id=7, time_msc=desk.time(1), caused_by=2))  # fmt: skip
    desk.at(9, fill(5, 540, position_id=7, volume="0.01", reason=0))
    [found] = desk.account.incidents()
    assert (found.versions, found.finding.cause) == ((2, 3, 4), Cause.MISSED_FILL)
    assert desk.lines()[1].endswith("adopted buy 0.01: possibly missed fill")


def test_who_settled_a_break_is_named_with_the_reason(desk):
    desk.at(1, BreakOpened(**GHOST, time_msc=desk.time(1)))
    desk.at(2, Adjusted(operator="ann", reason="sold by phone", time_msc=desk.time(2), before=state()),
            BreakClosed(kind="ghost", end="accepted", position_id=123456, time_msc=desk.time(2), caused_by=2))  # fmt: skip
    found = list(desk.account.incidents())
    assert [(one.kind, one.outcome, one.operator, one.versions) for one in found] == [
        ("adjusted", "adjusted", "ann", (3,)), ("ghost", "accepted", "ann", (2, 3, 4)),
    ]  # fmt: skip
    assert desk.lines()[2].endswith('accepted by ann: "sold by phone"')
    assert desk.lines()[1].endswith('closed buy 0.01 by ann: "sold by phone"')


def test_an_adjustment_of_before_is_not_what_settled_a_break(desk):
    desk.at(1, BreakOpened(**GHOST, time_msc=desk.time(1)))
    desk.at(2, Adjusted(operator="ann", reason="x", time_msc=desk.time(2), balance_before="1", balance_after="2"))
    desk.at(3, cash(9, 180), BreakClosed(kind="ghost", end="accepted", position_id=123456, time_msc=desk.time(3), caused_by=2))
    assert [one.operator for one in desk.account.incidents()] == ["ann", None]


def test_who_approved_a_correction_is_named_beside_who_proposed_it(desk):
    decided: dict[str, Any] = {"operator": "bob", "effect_digest": "ab" * 32}
    for minute, decision in ((1, 2), (2, None)):
        approved = CorrectionDecided(outcome="approved", **decided, caused_by=1, time_msc=desk.time(minute))
        bonus = Adjusted(operator="ann", reason="bonus", time_msc=desk.time(minute), balance_before=1, balance_after=3,
                         decision=decision)  # fmt: skip
        desk.at(minute, approved, bonus)
    assert [(one.operator, one.approved_by) for one in desk.account.incidents()] == [("ann", "bob"), ("ann", None)]
    assert desk.lines()[1].endswith('+2.00 by ann, approved by bob: "bonus"')
    assert desk.lines()[2].endswith('+2.00 by ann: "bonus"')


def test_who_confirmed_an_urgent_correction_ended_its_break(desk):
    desk.at(1, BreakOpened(kind="approval", why="urgent", time_msc=desk.time(1)))
    confirmed = CorrectionDecided(outcome="approved", operator="bob", reason="phoned", effect_digest="ab" * 32, caused_by=2,
                                  time_msc=desk.time(2))  # fmt: skip
    desk.at(2, confirmed, BreakClosed(kind="approval", end="accepted", time_msc=desk.time(2), caused_by=2))
    assert desk.story() == [("approval", "accepted", (2, 3, 4))]
    assert desk.lines()[1].endswith('accepted by bob: "phoned"')


def test_whoever_took_a_break_over_last_owns_it_while_it_is_open(desk):
    desk.at(1, BreakOpened(**GHOST, time_msc=desk.time(1)))
    for minute, owner in ((2, "ann"), (3, "bob"), (4, None)):
        note = BreakNoted(operator="ann", text="phoned", owner=owner, time_msc=desk.time(minute), caused_by=2)
        desk.at(minute, note)
    desk.at(5, BreakNoted(operator="eve", text="mine", owner="eve", time_msc=desk.time(5), caused_by=9))
    [found] = desk.account.incidents()
    assert (found.owner, found.versions) == ("bob", (2, 3, 4, 5))
    assert "  owner bob; buy 0.01 EURUSD, broker none" in desk.lines()[1]


def test_a_person_who_resolved_an_order_settled_its_break(desk):
    about: dict[str, Any] = {"kind": "order", "order": 901, "client_id": "c-1"}
    desk.at(1, BreakOpened(**about, field="missing", symbol="EURUSD", time_msc=desk.time(1)))
    desk.at(2, OrderResolved(client_id="c-1", number=1, outcome="absent", basis="person", operator="ann", reason="phoned",
                             time_msc=desk.time(2)))  # fmt: skip
    desk.at(3, BreakClosed(**about, end="accepted", time_msc=desk.time(3), caused_by=2))
    [found] = desk.account.incidents()
    assert (found.operator, found.reason, found.versions) == ("ann", "phoned", (2, 3, 4))
    assert '901 missing  accepted by ann: "phoned"' in desk.lines()[1]


@pytest.mark.parametrize(
    ("first", "then", "kind"),
    [("engine", "recovery", "conflict"), ("import", "recovery", "conflict"), ("recovery", "recovery", "revised"),
     ("engine", "engine", "revised")],
)  # fmt: skip
def test_two_sources_in_conflict_and_a_broker_that_changes_its_word_are_two_kinds(first, then, kind, desk):
    desk.at(1, fill(5, 30, origin=first))
    desk.at(5000, DealRevised(now=fill(5, 30, price="1.2", origin=then), caused_by=1), decided=False)
    [found] = desk.account.incidents()
    assert (found.kind, found.deal, found.outcome, found.versions) == (kind, 5, "revised", (3,))
    assert found.started_us >= START_US + 5000 * MINUTE  # when it was learned, not when the deal was
    assert desk.lines(6000)[1].split()[4:] == ["deal", "5", "now", "buy", "in", "1", "EURUSD", "@", "1.2"]


def test_the_withdrawal_of_a_deal_is_part_of_the_break_about_it(desk):
    desk.at(1, cash(5, 30))
    desk.at(2, BreakOpened(kind="withdrawn", deal=5, ours="balance 100", time_msc=desk.time(2)))
    desk.at(3, DealRevised(now=cash(5, 30, profit=0), caused_by=1), decided=False)
    desk.at(4, BreakClosed(kind="withdrawn", end="corrected", time_msc=desk.time(4), caused_by=3))
    assert desk.story() == [("withdrawn", "corrected", (3, 4, 5))]


def test_corrections_that_no_break_led_to_are_incidents_of_their_own(desk):
    desk.at(1, PositionRecovered(position=state(7), time_msc=desk.time(1)))
    desk.at(2, DriftCorrected(before=state(7), after=state(7, volume="0.02"), time_msc=desk.time(2)))
    desk.at(3, GhostClosed(before=state(7), time_msc=desk.time(3)))
    desk.at(4, PositionReticketed(position_id=8, symbol="EURUSD", ticket_before=8, ticket_after=9, time_msc=desk.time(4)))
    assert desk.story() == [
        ("recovered", "corrected", (2,)), ("drift corrected", "corrected", (3,)), ("ghost closed", "corrected", (4,)),
        ("reticketed", "reticketed", (5,)),
    ]  # fmt: skip
    assert [line.split("  ")[-1] for line in desk.lines()[1:5]] == [
        "adopted buy 0.01", "volume 0.01 -> 0.02", "closed buy 0.01, result unknown", "ticket 8 -> 9",
    ]  # fmt: skip
    assert all(one.duration_us(0) is None for one in desk.account.incidents())


def test_a_second_degradation_without_a_recovery_is_the_same(desk):
    desk.at(1, SyncDegraded(reason="a", time_msc=desk.time(1)), SyncDegraded(reason="b", time_msc=desk.time(2)))
    assert desk.story() == [("degraded", None, (2, 3))]
    assert (
        desk.lines()[1].split() == ["01-05", "10:01", "open", "119", "m", "degraded", "gateway", "a"]
        or "open 2 h" in (desk.lines()[1])
    )
    assert desk.lines()[-1] == "0 closed, 1 open; degraded 2 h (99.17 % of the period)"


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [(None, None, 1), (2, 8, 1), (9, None, 0), (None, 1, 0), (None, 1.5, 1), (8.5, 9, 0), (7.9, None, 1)],
)
def test_an_incident_belongs_to_every_period_that_it_overlaps(since, until, found, desk):
    desk.at(1, SyncDegraded(reason="a", time_msc=desk.time(1)))
    desk.at(8, SyncRestored(time_msc=desk.time(8)))
    ends = [None if one is None else START_US + round(one * MINUTE) for one in (since, until)]
    period = Period(since_us=ends[0], until_us=ends[1])
    listed = list(incidents_of(desk.ledger.journal, ACCOUNT, desk.account.terms, period))
    assert len(listed) == found
    assert all(one.ended_us is not None for one in listed)  # as known now, also where it ended behind the period


def test_a_moment_belongs_to_the_period_that_begins_with_it():
    assert Period(since_us=5).overlaps(5, 5)
    assert not Period(since_us=5).overlaps(4, 5)
    assert not Period(until_us=5).overlaps(5, 5)
    with pytest.raises(BadValue, match="--since"):
        Period(since_us=5, until_us=5)


def test_accounts_answer_for_moments_and_a_ledger_for_all_of_its_accounts(desk):
    desk.at(1, SyncDegraded(reason="a", time_msc=desk.time(1)))
    desk.ledger.account(OTHER).record(opened(OTHER))
    desk.ledger.account(OTHER).record(SyncDegraded(reason="b", time_msc=desk.time(1)))
    assert [(one.account, one.reason) for one in desk.ledger.incidents()] == [(ACCOUNT, "a"), (OTHER, "b")]
    assert list(desk.account.incidents(until="2026-01-05T10:00")) == []
    assert len(list(desk.account.incidents(until="2026-01-05"))) == 1
    assert len(list(desk.account.incidents(since="2026-01-06"))) == 1  # it is open
    assert list(desk.account.incidents(version=1)) == []


class LazyJournal:
    """A journal that counts what is read of it, and that holds one degradation after another for ever."""

    def __init__(self, row: Stored, events: int) -> None:
        self.row, self.events, self.read = row, events, 0

    def head(self, _: Any) -> Any:
        return type("Head", (), {"version": self.events, "recorded_us": 1})

    def rows(self, _: Any, *, after: int = 0, upto: int | None = None, **__: Any) -> Any:
        for version in range(after + 1, min(upto or 0, self.events) + 1):
            self.read += 1
            kind = "SyncDegraded" if version % 2 else "SyncRestored"
            yield self.row._replace(version=version, kind=kind, recorded_us=version, time_msc=version)


def test_incidents_are_yielded_while_the_journal_is_read(desk):
    desk.at(1, SyncDegraded(reason="a", time_msc=desk.time(1)))
    [*_, row] = desk.ledger.journal.rows(ACCOUNT)
    journal: Any = LazyJournal(row, 2_000)
    found = list(islice(incidents_of(journal, ACCOUNT, desk.account.terms), 10))
    assert [one.versions for one in found[:2]] == [(1, 2), (3, 4)]
    assert journal.read == 20


def test_what_is_unexplained_has_the_cause_of_the_break_by_which_it_came_up(desk):
    desk.at(1, fill(5, 1, position_id=7, volume="0.01"), fill(6, 2, position_id=8, side="sell", entry="out", order=20))
    desk.at(2, fill(9, 3, position_id=30, side="sell", entry="out", order=21))
    desk.at(3, PositionReticketed(position_id=7, symbol="EURUSD", ticket_before=7, ticket_after=9, time_msc=desk.time(3)))
    desk.at(4, GhostClosed(before=state(7), time_msc=desk.time(4)))
    portfolio = desk.account.portfolio
    found = unexplained_findings(desk.ledger.journal, ACCOUNT, portfolio.terms, portfolio.unexplained)
    named = {one.position_id: finding.cause for one, finding in zip(portfolio.unexplained, found, strict=True)}
    assert named == {7: Cause.RETICKETED, 8: Cause.MISSED_FILL, 30: Cause.MISSED_FILL}
    accepted = AcceptedResult(symbol="EURUSD", volume="0.01", position_id=7)
    desk.at(5, Adjusted(operator="ann", reason="old", time_msc=desk.time(5), accepted=accepted))
    assert [one.kind for one in desk.account.incidents()] == ["reticketed", "ghost closed", "adjusted"]


def test_a_ghost_waits_for_its_closing_deal_whatever_becomes_of_its_position(desk):
    desk.at(1, GhostClosed(before=state(7), time_msc=desk.time(1)))
    desk.at(2, PositionRecovered(position=state(7, volume="0.02"), time_msc=desk.time(2)))
    desk.at(3, fill(5, 30, position_id=7, side="sell", entry="out", volume="0.01", reason=5))
    found = {one.kind: one.finding.cause for one in desk.account.incidents() if one.finding}
    assert found == {"ghost closed": Cause.TAKE_PROFIT, "recovered": Cause.UNKNOWN}


@pytest.mark.parametrize(
    ("correlations", "theirs", "cause"),
    [
        (("s", "s"), "buy 0.01 EURUSD @ 1.1", Cause.ROLLOVER),
        (("s", "s"), "buy 0.01 EURUSD.r @ 1.1", Cause.RENAMED),
        (("s", "t"), "buy 0.01 EURUSD @ 1.1", Cause.UNKNOWN),
        (("s", "s"), "sell 0.01 EURUSD @ 1.1", Cause.UNKNOWN),
        (("s", "s"), "buy 0.02 EURUSD @ 1.1", Cause.UNKNOWN),
        (("s", "s"), "buy 0.01 USDJPY @ 156", Cause.UNKNOWN),
    ],
)
def test_what_is_gone_and_what_came_in_one_sync_may_be_the_same_under_another_id(correlations, theirs, cause, desk):
    zombie: dict[str, Any] = {"kind": "zombie", "position_id": 8, "symbol": theirs.split()[2], "theirs": theirs}
    desk.at(1, BreakOpened(**zombie, time_msc=desk.time(1)), correlation=correlations[0])
    desk.at(2, BreakOpened(**GHOST, time_msc=desk.time(1)), correlation=correlations[1])
    assert [one.finding.cause for one in desk.account.incidents()] == [cause, cause]


def test_what_waits_for_its_explanation_does_not_hold_back_all_that_follows(desk, monkeypatch):
    monkeypatch.setattr("ledger.incidents._WAITING_MAX", 2)
    desk.at(1, GhostClosed(before=state(7), time_msc=desk.time(1)))
    for minute in range(2, 5):
        desk.at(minute, SyncDegraded(reason="x", time_msc=desk.time(minute)), SyncRestored(time_msc=desk.time(minute + 0.5)))
    found = desk.account.incidents()
    assert [next(found).kind for _ in range(4)] == ["ghost closed", "degraded", "degraded", "degraded"]
    desk.at(9, fill(5, 30, position_id=7, side="sell", entry="out", volume="0.01", reason=5))
    assert next(one.finding.certainty.value for one in desk.account.incidents() if one.finding) == "unknown"
