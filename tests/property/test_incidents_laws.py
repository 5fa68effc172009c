"""Laws of incidents, over random histories: no incident is lost or listed twice, whatever period is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import (
    Account,
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakOpened,
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
from ledger.events import BreakEnd, BreakKind, Event
from ledger.incidents import BREAKS, Incident, Period, incidents_of, open_findings
from tools.testkit.facts import ACCOUNT, START_MSC, START_US, Clock, cash, fill, opened

SECOND = 1_000_000
POSITIONS = st.sampled_from([7, 7, 7, 8])
#: Steps of our clock, in seconds: within what is near, beyond it, and beyond what may be taken back.
STEPS = st.sampled_from([1, 15, 1000, 5000])
WORDS = st.sampled_from(["open", "open", "see", "correct", "close", "close", "stray", "degrade", "restore", "deal", "deal",
                         "revise", "adjust", "accept", "ticket", "alone", "cash", "doubled", "mistake"])  # fmt: skip
ACTS = st.lists(st.tuples(WORDS, st.integers(0, 7), POSITIONS, STEPS), min_size=6, max_size=30)


def state(position_id: int, volume: str = "1", symbol: str = "EURUSD") -> PositionState:
    return PositionState(position_id=position_id, symbol=symbol, side="buy", volume=volume, price_open="1.1", magic=7)


class History:
    """A random history of one account, recorded act by act."""

    def __init__(self) -> None:
        self.clock = Clock(step_us=0)
        self.account: Account = Ledger.open("memory://", now_us=self.clock).account(ACCOUNT)
        self.account.record(opened())
        self.open: list[tuple[int, BreakOpened]] = []
        self.deals = 100
        self.degraded = False

    @property
    def now_msc(self) -> int:
        return START_MSC + (self.clock.now_us - START_US) // 1000

    def play(self, acts: list[tuple[str, int, int, int]]) -> History:
        for number, (word, choice, position_id, step) in enumerate(acts):
            self.clock.now_us += step * SECOND
            events = list(self.events(word, choice, position_id))
            if events:
                how: dict[str, Any] = {} if word in ("deal", "cash", "revise") else {"expected_version": self.account.version}
                self.account.record_many(events, correlation=f"sync-{number // 3}", **how)
        return self

    def events(self, word: str, choice: int, position_id: int) -> Iterator[Event]:
        version, time_msc = self.account.version, self.now_msc
        chosen = self.open[choice % len(self.open)] if self.open else None
        match word:
            case "open":
                kind = list(BreakKind)[choice]
                shown: dict[str, Any] = (
                    {"ours": "buy 1 EURUSD @ 1.1"} if kind is not BreakKind.ZOMBIE else {"theirs": "buy 1 EURUSD @ 1.1"}
                )
                about = None if kind in (BreakKind.BALANCE, BreakKind.CLOCK) else position_id
                event = BreakOpened(kind=kind, position_id=about, symbol="EURUSD", time_msc=time_msc, field="volume", **shown)
                self.open.append((version + 1, event))
                yield event
            case "see" if chosen is not None:
                known = chosen[1]
                yield BreakOpened(kind=known.kind, position_id=known.position_id, symbol="EURUSD", time_msc=time_msc,
                                  confirmations=2, ours=known.ours, theirs=known.theirs, caused_by=chosen[0])  # fmt: skip
            case "correct" if chosen is not None and chosen[1].position_id is not None:
                yield self.correction(chosen[1].kind, chosen[1].position_id, chosen[0])
            case "close" if chosen is not None:
                self.open.remove(chosen)
                yield BreakClosed(kind=chosen[1].kind, end=list(BreakEnd)[choice % 4], position_id=chosen[1].position_id,
                                  time_msc=time_msc, caused_by=chosen[0])  # fmt: skip
            case "mistake" if chosen is not None:  # the cause is another break than it is about: then it is one of its own
                event = BreakOpened(kind="ghost", position_id=99, symbol="EURUSD", time_msc=time_msc, caused_by=chosen[0])
                self.open.append((version + 1, event))
                yield event
            case "stray":
                yield BreakClosed(kind="ghost", end="vanished", position_id=position_id, time_msc=time_msc, caused_by=1)
            case "degrade" if not self.degraded:
                self.degraded = True
                yield SyncDegraded(reason="timeout", time_msc=time_msc)
            case "restore" if self.degraded:
                self.degraded = False
                yield SyncRestored(time_msc=time_msc)
            case "deal" | "revise":
                self.deals += word == "deal" or self.deals == 100
                terms: dict[str, Any] = {"position_id": position_id, "reason": choice, "order": choice, "time_msc": time_msc}
                terms |= {"side": "sell", "entry": "out"} if choice % 2 else {}
                made = fill(self.deals, origin=("engine", "recovery")[choice % 2], **terms)
                known_deal = any(row.deal == self.deals for row in self.account.ledger.journal.rows(ACCOUNT))
                yield DealRevised(now=made, caused_by=1) if word == "revise" and known_deal else made
            case "adjust" | "accept":
                before, after = ("1", str(choice + 2)) if word == "adjust" else (None, None)
                yield Adjusted(operator="ann", reason="bonus", time_msc=time_msc, balance_before=before, balance_after=after)
                if word == "accept" and chosen is not None:
                    self.open.remove(chosen)
                    yield BreakClosed(kind=chosen[1].kind, end="accepted", position_id=chosen[1].position_id,
                                      time_msc=time_msc, caused_by=chosen[0])  # fmt: skip
            case "ticket":
                yield PositionReticketed(position_id=position_id, symbol="EURUSD", ticket_before=1, ticket_after=2,
                                         time_msc=time_msc)  # fmt: skip
            case "alone":
                yield self.correction(list(BreakKind)[choice % 3], position_id, None)
            case "cash":
                self.deals += 1
                yield cash(self.deals, time_msc=time_msc)
            case "doubled":
                tickets = choice + 1, 99
                yield OrderResolved(client_id="c-1", number=version, outcome="duplicate", basis="ticket", tickets=tickets,
                                    time_msc=time_msc)  # fmt: skip
            case _:
                yield BalanceAsserted(balance=choice, time_msc=time_msc)

    def correction(self, kind: BreakKind, position_id: int, caused_by: int | None) -> Event:
        common: dict[str, Any] = {"time_msc": self.now_msc, "caused_by": caused_by}
        if kind is BreakKind.ZOMBIE:
            return PositionRecovered(position=state(position_id), **common)
        if kind is BreakKind.GHOST:
            return GhostClosed(before=state(position_id), **common)
        return DriftCorrected(before=state(position_id), after=state(position_id, "0.5"), **common)

    def incidents(self, since_us: int | None = None, until_us: int | None = None) -> list[Incident]:
        period = Period(since_us=since_us, until_us=until_us)
        return list(incidents_of(self.account.ledger.journal, ACCOUNT, self.account.terms, period))


def moments_of(history: History) -> list[int]:
    """Return every moment at which something was recorded, and the one behind it."""
    moments = {START_US, *(one.recorded_us for one in history.account.events()), history.clock.now_us + 1}
    return sorted({one + shift for one in moments for shift in (0, 1)})


def check_periods(history: History) -> None:
    """Check that what is listed of any period is what overlaps it of all there is, with all that is known of it."""
    every = history.incidents()
    for since_us in moments_of(history):
        period = Period(since_us=since_us)
        wanted = [one for one in every if period.overlaps(one.started_us, one.ended_us)]
        assert history.incidents(since_us) == wanted


@given(ACTS, st.data())
@settings(max_examples=40)
def test_incidents_of_two_periods_are_those_of_both_together(acts, data):
    history = History().play(acts)
    some = st.sampled_from(moments_of(history))
    begin, middle, end = sorted(data.draw(st.lists(some, min_size=3, max_size=3, unique=True)))
    parts = [history.incidents(begin, middle), history.incidents(middle, end)]
    whole = history.incidents(begin, end)
    for listed in (*parts, whole):
        assert len({one.versions for one in listed}) == len(listed)
    assert {one.versions: one for part in parts for one in part} == {one.versions: one for one in whole}
    check_periods(history)


#: What happens shortly before an incident, and counts for its cause: act, choice, position, seconds.
NEAR: list[list[tuple[str, int, int, int]]] = [
    [("ticket", 0, 7, 1), ("open", 1, 7, 15), ("correct", 0, 7, 1), ("close", 0, 7, 1)],
    [("degrade", 0, 7, 1), ("restore", 0, 7, 1), ("open", 1, 7, 15), ("correct", 0, 7, 1), ("close", 0, 7, 1)],
    [("degrade", 0, 7, 1), ("open", 1, 7, 15), ("restore", 0, 7, 1), ("correct", 0, 7, 1), ("close", 0, 7, 1)],
    [("doubled", 0, 7, 1), ("open", 1, 7, 15), ("deal", 1, 7, 1), ("close", 1, 7, 1)],
    [
        ("open", 1, 7, 1),
        ("correct", 0, 7, 1),
        ("close", 0, 7, 1),
        ("open", 0, 7, 1000),
        ("correct", 0, 7, 1),
        ("close", 0, 7, 1),
    ],
    [
        ("open", 1, 7, 1),
        ("deal", 1, 7, 5000),
        ("correct", 0, 7, 1),
        ("close", 0, 7, 1),
        ("open", 0, 7, 1000),
        ("close", 2, 7, 1),
    ],
    [("alone", 1, 7, 1), ("alone", 0, 7, 1000), ("alone", 2, 7, 1)],
    [("open", 1, 7, 1), ("open", 0, 8, 0), ("correct", 0, 7, 1), ("close", 0, 7, 1), ("correct", 0, 8, 1), ("close", 0, 8, 1)],
]


@pytest.mark.parametrize("acts", NEAR, ids=range(len(NEAR)))
def test_a_cause_does_not_depend_on_the_period_that_is_asked_for(acts):
    history = History().play([("cash", 0, 7, 7200), *acts, ("cash", 0, 7, 7200)])
    assert any(one.finding and one.finding.because for one in history.incidents())
    check_periods(history)


@given(ACTS)
@settings(max_examples=80)
def test_each_first_sighting_is_one_incident_and_every_version_exists(acts):
    history = History().play(acts)
    found = history.incidents()
    recorded = {one.version: one.event for one in history.account.events()}
    firsts: list[int] = []
    known: dict[int | None, tuple[Any, ...]] = {}
    for version, event in recorded.items():
        if isinstance(event, BreakOpened):
            about = event.kind, event.position_id, event.order, event.client_id
            if known.get(event.caused_by) != about:
                firsts.append(version)
                known[version] = about
        elif isinstance(event, BreakClosed):
            known.pop(event.caused_by, None)
    breaks = [one for one in found if one.kind in BREAKS]
    assert sorted(min(set(one.versions) & set(firsts)) for one in breaks) == firsts
    assert {one.versions[0] for one in breaks if one.is_open} == known.keys()
    assert known.keys() == {one.version for one in history.account.portfolio.breaks}
    for one in found:
        assert list(one.versions) == sorted(set(one.versions))
        assert recorded.keys() >= {
            *one.versions,
            *(support.version for support in (one.finding.because if one.finding else ())),
        }
    ends = [one.ended_us for one in found if one.ended_us is not None]
    assert ends == sorted(ends)
    assert all(one.is_open for one in found[len(ends) :])
    causes = open_findings(history.account.ledger.journal, ACCOUNT, history.account.terms)
    assert causes == {one.versions[0]: one.finding for one in breaks if one.is_open}
