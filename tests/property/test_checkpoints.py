"""The law of checkpoints: whatever was stored of earlier replays, a replay is what it is from the start."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from ledger import AccountId, BalanceAsserted, DealRevised, Event, LedgerError, PositionRecovered, PositionState
from ledger.events import DealOrder
from ledger.folds import FOLDS, PORTFOLIO
from ledger.journal import Journal, Selection
from ledger.journal.checkpoints import load as reopened
from ledger.journal.checkpoints import replayed
from ledger.journal.memory import MemoryJournal
from ledger.journal.verify.walk import verify_account
from ledger.values import INT64_MAX
from tests.property.test_journals_agree import ANSWERS, batches, times
from tests.support.journals import (
    ACCOUNT,
    START_MSC,
    Clock,
    completion,
    fill,
    ghost,
    new_url,
    open_journal,
    opened,
    revised,
)
from tools.testkit.orders import answered, intended, seen

seconds = st.sampled_from([None, 0, 0.5, 1, 2, 2.25, 3, 4])
densities = st.sampled_from([1, 1, 2, 3, 5])


def whole(journal: MemoryJournal, selection: Selection) -> dict[str, Any]:
    """Fold from the start, in one go."""
    terms = journal.terms(ACCOUNT, selection.version) or journal.terms(ACCOUNT, 10**9)
    assert terms is not None
    return replayed(journal, ACCOUNT, selection, terms, fold=PORTFOLIO, interval=None)[0].state()


def ask(journal: MemoryJournal, version: int, second: float | None, density: int) -> None:
    selection = Selection(version=version, time_msc=None if second is None else START_MSC + int(second * 1000))
    terms = journal.terms(ACCOUNT, version) or journal.terms(ACCOUNT, 10**9)
    assert terms is not None
    used = journal.checkpoint(ACCOUNT, selection, PORTFOLIO.code(terms))
    event("from a checkpoint" if used else "from the start")
    portfolio, selected = replayed(journal, ACCOUNT, selection, terms, fold=PORTFOLIO, interval=density)
    assert portfolio.state() == whole(journal, selection)
    rows = list(journal.rows(ACCOUNT, upto=version))
    assert selected == sum(selection.time_msc is None or row.time_msc <= selection.time_msc for row in rows)


@given(
    steps=st.lists(st.tuples(batches, densities, st.lists(st.tuples(st.floats(0, 1), seconds), max_size=3)), max_size=8),
    mode=st.sampled_from(["hedging", "netting"]),
)
@example(  # a deal that a checkpoint counted is moved on in time by a later revision, and then completed there
    steps=[
        ([fill(1, 1), fill(2, 2), fill(3, 3)], 1, [(1, None)]),
        ([revised(fill(1, 4, volume=2))], 1, [(1, None), (0.9, None), (1, 2)]),
    ],
    mode="hedging",
)
@example(  # a deal at the very place of a checkpoint is completed later
    steps=[([fill(1, 1, profit=None), fill(2, 2)], 1, []), ([completion(1, profit=5)], 1, [(1, None), (1, 1)])],
    mode="hedging",
)
def test_a_replay_from_a_checkpoint_is_a_replay_from_the_start(steps, mode):
    """Any history, late events and revisions included; checkpoints of any density, made at any moment; any question."""
    journal = MemoryJournal(Clock())
    journal.append(ACCOUNT, [opened(mode=mode)])
    for events, density, questions in steps:
        with suppress(LedgerError):  # not everything that can happen can be recorded
            journal.append(ACCOUNT, events, conflicts="keep")
        head = journal.heads()[ACCOUNT].version
        ask(journal, head, None, density)
        for part, second in questions:
            ask(journal, round(part * head), second, density)


@given(
    steps=st.lists(st.tuples(batches, densities, st.sampled_from([1, 1, 1, 0.9, 0.5])), max_size=8),
    mode=st.sampled_from(["hedging", "netting"]),
)
@example(  # a checkpoint of several has to be compared with what was known then, and those before it with the present
    steps=[([fill(1, 1), fill(2, 2), fill(3, 3, profit=None)], 1, 1), ([completion(3, profit=5)], 1, 1)], mode="hedging"
)
@example(  # a second that was read in parts has to be read in one go, as something was asserted in it
    steps=[([fill(1, 0), fill(2, 0), ghost(1, 0), fill(3, 0)], 1, 0.6), ([], 1, 1)], mode="hedging"
)
@example(
    steps=[([fill(9, 0), intended(1, 0), answered(1, 1), fill(1, 2, order=1)], 1, 1), ([seen(1, 3, 4), fill(2, 1)], 1, 1)],
    mode="hedging",
)
def test_verify_finds_nothing_wrong_with_a_checkpoint_that_a_replay_left(steps, mode):
    """Any history of deals, orders, and changes of the account terms; checkpoints of both folds, made knowing less or all."""
    journal = MemoryJournal(Clock())
    journal.append(ACCOUNT, [opened(mode=mode)])
    for events, density, part in steps:
        with suppress(LedgerError):
            journal.append(ACCOUNT, events, conflicts="keep", evidence=ANSWERS)
        assert verify_account(journal, ACCOUNT).problems == ()  # between an append and the next replay
        version = max(1, round(part * journal.heads()[ACCOUNT].version))
        terms = journal.terms(ACCOUNT, version)
        assert terms is not None
        for fold in FOLDS:
            replayed(journal, ACCOUNT, Selection(version=version), terms, fold=fold, interval=density)
        event(f"{len(list(journal.checkpoints(ACCOUNT))) // 4 * 4} checkpoints or more")
    assert verify_account(journal, ACCOUNT).problems == ()


# ------------------------------------------------------------------------- every checkpoint that a replay may begin at

#: 2025-11-02, when New York's clocks went back from 02:00 to 01:00: broker time, and what it was in UTC.
HOUR_MSC = 1_762_045_200_000
HOUR_UTC_MSC = HOUR_MSC + 4 * 3_600_000


def at_the_hour(time_msc: int) -> int:
    """Return a moment around the hour that was shown twice: a second of a history is half an hour, its second one begins it."""
    return HOUR_MSC + (time_msc - START_MSC - 1000) * 1800


def moved(one: Any) -> Any:
    """Return an event of a history of seconds as one of a history of hours."""
    if isinstance(one, DealRevised):
        return evolve(one, now=moved(one.now))
    names = ("time_msc", "updated_msc", "deals_through_msc")
    known = {name: getattr(one, name, None) for name in names}
    return evolve(one, **{name: at_the_hour(time_msc) for name, time_msc in known.items() if time_msc is not None})


def recovered(position_id: int, at: float, updated: float, deal: int | None) -> PositionRecovered:
    """Return what somebody saw, and up to which moment and deal it contains what happened."""
    state = PositionState(position_id=position_id, symbol="EURUSD", side="buy", volume=1, price_open="1.1")
    updated_msc = START_MSC + int(min(at, updated) * 1000)
    return PositionRecovered(position=state, time_msc=START_MSC + int(at * 1000), updated_msc=updated_msc, updated_deal=deal)


contained = st.one_of(
    st.builds(recovered, st.integers(1, 2), times, times, st.none() | st.integers(1, 5)),
    st.builds(
        lambda at, through, through_msc: BalanceAsserted(
            balance=5, time_msc=START_MSC + int(at * 1000), deals_through=through, deals_through_msc=START_MSC + through_msc
        ),
        times,
        st.integers(1, 5),
        st.sampled_from([0, 500, 2000]),
    ),
)


class Before:
    """A journal that offers no checkpoint from a place on."""

    def __init__(self, journal: Journal, place: tuple[int, int, int]) -> None:
        self._journal = journal
        self._place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def checkpoint(
        self, account: AccountId, selection: Selection, fold: str, before: tuple[int, int, int] | None = None
    ) -> Any:
        return self._journal.checkpoint(account, selection, fold, before=min(self._place, before or self._place))


@cache
def shared_file() -> str:
    folder = Path(tempfile.mkdtemp(prefix="ledger-checkpoints-"))
    atexit.register(shutil.rmtree, folder)
    return new_url("sqlite", folder)


_numbers = count(1)


def selection_of(journal: Journal, account: AccountId, part: float, second: float | None, *, is_later: bool) -> Selection:
    """Return a question: how much is known of what happened up to a moment. Of an hour shown twice, the one or the other."""
    version = round(part * journal.heads()[account].version)
    terms = journal.terms(account, version)
    if second is None or terms is None:
        return Selection(version=version)
    time_msc = START_MSC + int(second * 1000)
    if terms.clock.name != "America/New_York":
        return Selection(version=version, time_msc=time_msc)
    until_utc_msc = terms.clock.to_utc_msc(at_the_hour(time_msc)) + is_later * 3_600_000
    time_msc = terms.clock.from_utc_msc(until_utc_msc)
    hour = terms.clock.repeated_hour(time_msc) if terms.order is DealOrder.TICKET else None
    if hour is None:
        return Selection(version=version, time_msc=time_msc)
    return Selection(version=version, time_msc=hour[1] - 1, until_utc_msc=until_utc_msc)


def behind(place: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the first place behind another."""
    second, deal, version = place
    return (
        (second, deal, version + 1)
        if version < INT64_MAX
        else (second, deal + 1, 0)
        if deal < INT64_MAX
        else (second + 1, 0, 0)
    )


def check_all_of(journal: Any, account: AccountId, selection: Selection, density: int) -> None:
    """Begin at every checkpoint that serves a question, and compare; then leave those of this question."""
    terms = journal.terms(account, selection.version)
    if terms is None:
        return
    places = [one.mark.place for one in journal.checkpoints(account)]
    for fold in FOLDS:
        expected, selected = replayed(journal, account, selection, terms, fold=fold, interval=None)
        served: set[bytes] = set()
        for before in map(behind, places):
            found = journal.checkpoint(account, selection, fold.code(terms), before=before)
            if found is None or found.digest in served:
                continue
            served.add(found.digest)
            some = Before(journal, before)
            folded, counted = replayed(some, account, selection, terms, fold=fold, interval=10**9)
            assert folded.state() == expected.state(), found.mark
            assert counted == selected, found.mark
        event(f"{fold.name or 'portfolio'}: {min(len(served), 3)} checkpoints or more")
        replayed(journal, account, selection, terms, fold=fold, interval=density)


questions = st.tuples(st.sampled_from([1, 1, 1, 0.9, 0.6]), seconds, st.booleans())


@settings(max_examples=settings().max_examples // 2)
@given(
    steps=st.lists(
        st.tuples(st.one_of(batches, st.lists(contained, max_size=2)), densities, st.lists(questions, max_size=2)), max_size=6
    ),
    mode=st.sampled_from(["hedging", "netting"]),
    order=st.sampled_from([DealOrder.TICKET, DealOrder.TICKET, DealOrder.TIME]),
    is_hour=st.sampled_from([False, False, True]),
    is_sql=st.booleans(),
)
@example(  # what completes a deal that was moved ahead arrived before what is between its two places
    steps=[
        ([fill(1, 0), fill(2, 1, profit=None), revised(fill(2, 4, profit=None)), completion(2, profit=5), fill(3, 2)], 2, []),
        ([fill(4, 2), fill(5, 3), fill(6, 4)], 3, [(1, None, False), (1, 4, False)]),
    ],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, is_sql=True,
)  # fmt: skip
@example(  # the revision that moved a deal ahead arrived after the last event in order: it was read twice
    steps=[
        ([fill(1, 0), fill(3, 3), revised(fill(3, 2)), fill(4, 4), fill(5, 4)], 1, [(0.9, None, False), (1, 2, False)]),
        ([fill(6, 4)], 1, [(1, None, False), (1, 4, False)]),
    ],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, is_sql=True,
)  # fmt: skip
@example(  # a moment in the middle of a second leaves out a deal before others that it has
    steps=[([fill(5, 0.9), fill(6, 0.5), fill(7, 0.5)], 1, [(1, 0.5, False), (1, None, False)])],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, is_sql=False,
)  # fmt: skip
@example(  # what was asserted later contains no more than what had happened at an earlier moment: it has its place there
    steps=[([fill(1, 0), fill(2, 1), fill(3, 2), fill(4, 3), recovered(1, 4, 0, 1)], 1, [(1, 3, False), (1, None, False)])],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, is_sql=False,
)  # fmt: skip
@example(  # the server's clock showed the time of the intents and of the answers twice, and the answers came at the second
    steps=[
        ([intended(1, 1), intended(2, 1)], 1, []), *[([], 1, [])] * 2,
        ([answered(1, 1), answered(2, 1)], 1, [(1, None, False), (1, 1, False), (1, 1, True)]),
    ],
    mode="hedging", order=DealOrder.TICKET, is_hour=True, is_sql=False,
)  # fmt: skip
def test_every_checkpoint_gives_what_the_start_gives(steps, mode, order, is_hour, is_sql):
    """Of both folds, whatever was asked before: any moment, any version; and verify finds nothing wrong with any of them."""
    clock = Clock(now_us=HOUR_UTC_MSC * 1000, step_us=900_000_000) if is_hour else Clock()
    account = AccountId("Every", next(_numbers)) if is_sql else ACCOUNT
    journal = open_journal(shared_file(), clock) if is_sql else MemoryJournal(clock)
    zone = "America/New_York" if is_hour else "UTC"
    time_msc = HOUR_MSC - 3_600_000 if is_hour else START_MSC
    journal.append(account, [opened(account, mode=mode, order=order, clock=zone, time_msc=time_msc)])
    try:
        for events, density, asked in steps:
            recorded = [moved(one) for one in events] if is_hour else events
            with suppress(LedgerError):
                journal.append(account, recorded, conflicts="keep", evidence=ANSWERS)
            for part, second, is_later in [(1, None, False), *asked]:
                selection = selection_of(journal, account, part, second, is_later=is_later)
                check_all_of(journal, account, selection, density)
                assert verify_account(journal, account).problems == ()
    finally:
        journal.close()


@given(seed=st.integers(0, 10**9), density=densities)
def test_every_checkpoint_serves_every_selection_or_none(seed, density):
    """One long history, recorded out of order; every version and every second asked about in turn, twice."""
    chance = random.Random(seed)
    deals = [
        fill(n, n // 3, position_id=1 + n % 4, entry=chance.choice(["in", "out"]), side=chance.choice(["buy", "sell"]))
        for n in range(1, 40)
    ]
    late = chance.sample(deals, 6)
    events: list[Event] = [deal for deal in deals if deal not in late]
    for deal in late:
        events.insert(chance.randrange(len(events) + 1), deal)
    for _ in range(2):
        at = chance.randrange(10, len(events))
        moved = chance.choice([deal for deal in deals if deal in events[:at]])
        events.insert(at, revised(fill(moved.deal, chance.randrange(14), position_id=moved.position_id)))
    journal = MemoryJournal(Clock())
    journal.append(ACCOUNT, [opened()])
    for one in events:
        journal.append(ACCOUNT, [one], conflicts="keep")
        if chance.random() < 0.2:
            ask(journal, journal.heads()[ACCOUNT].version, None, density)
    head = journal.heads()[ACCOUNT].version
    questions = [(version, second) for version in range(head + 1) for second in (None, 3, 8)]
    chance.shuffle(questions)
    for version, second in questions:
        ask(journal, version, second, density)


def test_most_replays_begin_at_a_checkpoint():
    """Or else the laws above would prove nothing."""
    journal = MemoryJournal(Clock())
    journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 30))])
    terms = journal.terms(ACCOUNT, 30)
    assert terms is not None
    replayed(journal, ACCOUNT, Selection(version=30), terms, fold=PORTFOLIO, interval=1)
    for version in range(5, 31):
        found = journal.checkpoint(ACCOUNT, Selection(version=version), PORTFOLIO.code(terms))
        assert found is not None
        portfolio = reopened(found, PORTFOLIO, terms)
        assert portfolio is not None
        assert portfolio.folded == version - 1 - (version == 30)
    journal.append(ACCOUNT, [fill(99, 10.5)])
    found = journal.checkpoint(ACCOUNT, Selection(version=31), PORTFOLIO.code(terms))
    assert found is not None
    assert found.mark.place[0] == START_MSC + 9000  # the second of the late one is behind it as a whole
