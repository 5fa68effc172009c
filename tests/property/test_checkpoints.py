"""The law of checkpoints: whatever was stored of earlier replays, a replay is what it is from the start."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from hypothesis import event, example, given
from hypothesis import strategies as st

from ledger import Event, LedgerError
from ledger.folds import FOLDS, PORTFOLIO
from ledger.journal import Selection
from ledger.journal.checkpoints import load as reopened
from ledger.journal.checkpoints import replayed
from ledger.journal.memory import MemoryJournal
from ledger.journal.verify.walk import verify_account
from tests.property.test_journals_agree import ANSWERS, batches
from tests.support.journals import ACCOUNT, START_MSC, Clock, completion, fill, ghost, opened, revised
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
    assert found.mark.place[0] == START_MSC + 10_000
