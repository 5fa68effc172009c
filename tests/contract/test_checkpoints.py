"""What every journal promises of checkpoints: they make replays short, and are never trusted over the journal."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import Any

import attrs
import pytest

from ledger import ClockRule, Ledger, PositionRecovered, PositionState
from ledger.events import DealOrder
from ledger.folds import PORTFOLIO, Fold
from ledger.journal import Selection, checkpoints
from ledger.journal.checkpoints import replayed
from ledger.journal.verify import walk
from ledger.journal.verify.walk import verify_account
from ledger.orders.view import ORDERS_VERSION
from ledger.portfolio import FOLD_VERSION
from ledger.postings import Posting
from tests.support.journals import (
    ACCOUNT,
    START_MSC,
    START_US,
    Clock,
    completion,
    everything,
    fill,
    new_url,
    open_journal,
    opened,
    revised,
)
from tools.testkit import folds

MANY = 40


@pytest.fixture
def book(journal):
    """A journal with checkpoints after every tenth posting."""
    journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, MANY + 1))])
    replay(journal)
    return journal


def replay(journal, selection=None, interval=10):
    """How many postings are folded when a replay begins at a stored checkpoint, and the state that it ends with."""
    selection = selection or everything(journal)
    terms = journal.terms(ACCOUNT, selection.version)
    begun = journal.checkpoint(ACCOUNT, selection, PORTFOLIO.code(terms))
    portfolio, _ = replayed(journal, ACCOUNT, selection, terms, fold=PORTFOLIO, interval=interval)
    before = checkpoints.load(begun, PORTFOLIO, portfolio.terms) if begun else None
    return portfolio.folded - (before.folded if before else 0), portfolio.state()


def stored(journal):
    return [
        (one.mark.place[0] - START_MSC) // 1000 + 1 for one in journal.checkpoints(ACCOUNT)
    ]  # deal n is version n + 1, second n


def test_a_long_replay_leaves_checkpoints_and_the_next_one_is_short(book):
    assert stored(book) == [11, 21, 31]
    assert replay(book)[0] == 10
    assert replay(book) == replay(book)
    assert (
        replay(book, interval=10**6)[1]
        == replayed(book, ACCOUNT, everything(book), book.terms(ACCOUNT, 41), fold=PORTFOLIO, interval=None)[0].state()
    )


def test_a_fold_from_the_start_reads_and_leaves_none(journal):
    journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, MANY + 1))])
    replayed(journal, ACCOUNT, everything(journal), journal.terms(ACCOUNT, 41), fold=PORTFOLIO, interval=None)
    assert stored(journal) == []


def test_what_arrives_late_is_folded_into_its_place(book):
    book.append(ACCOUNT, [fill(99, 25.5)])
    assert replay(book)[0] == MANY + 1 - 20  # the checkpoint behind the late one does not count any more
    assert stored(book) == [11, 21, 30, 40]  # and the next one replaced it
    assert replay(book, Selection(version=41))[0] == 20  # as it was known before


@pytest.mark.parametrize("moved", [35, 12, 50])
def test_a_deal_that_was_revised_behind_a_checkpoint_counts_once(moved, book):
    book.append(ACCOUNT, [fill(99, 60, profit=None), revised(fill(35, moved, volume=2)), revised(fill(35, moved, volume=3))])
    assert replayed(book, ACCOUNT, everything(book), book.terms(ACCOUNT, 44), fold=PORTFOLIO, interval=10)[1] == 44
    assert list(walk._check_fold(book, ACCOUNT, 44)) == []
    book.append(ACCOUNT, [completion(99, profit=5)])
    assert list(walk._check_fold(book, ACCOUNT, 45)) == []


def test_what_completes_a_deal_that_was_moved_ahead_is_folded_too(journal):
    poor = fill(2, 9, profit=None)
    moved = [opened(), fill(1, 0), fill(2, 1, profit=None), revised(poor), completion(2, profit=5)]
    journal.append(ACCOUNT, [*moved, *(fill(n, n) for n in (3, 4, 5)), fill(6, 20)], conflicts="keep")
    before = replay(journal, interval=4)
    assert stored(journal) == [6]  # of the deals 1, 3, 4 and 5: made of what was recorded after the completion
    assert replay(journal) == (2, before[1])
    assert next(journal.checkpoints(ACCOUNT)).mark.reading.events == 5  # 2 at its first place is counted, too
    assert replay(journal, interval=1)[1] == before[1]
    assert [one.mark.reading.events for one in journal.checkpoints(ACCOUNT)] == [5, 7]
    assert verify_account(journal, ACCOUNT).problems == ()


def test_a_revision_is_read_once_behind_a_checkpoint(journal):
    journal.append(ACCOUNT, [opened(), fill(1, 1), fill(2, 2), fill(9, 9), fill(10, 10)])
    replay(journal, interval=2)
    journal.append(ACCOUNT, [revised(fill(9, 8)), fill(11, 11)], conflicts="keep")
    replay(journal, interval=1)
    assert [one.mark.reading.events for one in journal.checkpoints(ACCOUNT)] == [2, 3, 5]
    assert verify_account(journal, ACCOUNT).problems == ()


def test_a_checkpoint_rests_on_the_first_revision_that_took_a_deal_away(journal):
    """Where a later revision takes the deal to, is behind it: knowing of that changes nothing of it."""
    journal.append(ACCOUNT, [opened(), fill(1, 0), fill(2, 1), revised(fill(1, 2))])
    replay(journal, interval=1)
    [before] = journal.checkpoints(ACCOUNT)
    assert (before.mark.reading.events, before.mark.reading.newest) == (2, 4)
    journal.append(ACCOUNT, [revised(fill(1, 3)), revised(fill(1, 4))], conflicts="keep")
    for version in (4, 5, 6):
        assert journal.checkpoint(ACCOUNT, Selection(version=version), before.fold) == before
    assert journal.checkpoint(ACCOUNT, Selection(version=3), before.fold) is None
    assert verify_account(journal, ACCOUNT).problems == ()
    journal.append(ACCOUNT, [revised(fill(1, 0)), revised(fill(1, 5))], conflicts="keep")
    assert journal.checkpoint(ACCOUNT, Selection(version=8), before.fold) is None  # it came back for a while
    replay(journal, interval=1)
    assert [one.mark.reading.newest for one in journal.checkpoints(ACCOUNT)][-1] == 8
    assert verify_account(journal, ACCOUNT).problems == ()


def test_a_checkpoint_ends_behind_a_whole_second(journal):
    journal.append(ACCOUNT, [opened(), *(fill(n, n // 3) for n in range(1, 10))])
    replay(journal, interval=2)
    assert stored(journal) == [1, 2, 3]
    journal.append(ACCOUNT, [fill(11, 2)])  # before the last, and behind what was recorded of its second
    assert replay(journal, interval=2)[0] == 1 + 3 + 1
    assert stored(journal) == [1, 2, 3]
    assert verify_account(journal, ACCOUNT).problems == ()


def test_where_milliseconds_order_every_second_is_read_as_a_whole(journal):
    """Also behind a checkpoint from which on there are none."""
    journal.append(ACCOUNT, [opened(order=DealOrder.TIME), fill(1, 0.5), fill(2, 1), *(fill(n, 2) for n in (3, 4, 5))])
    replay(journal, interval=1)
    journal.append(ACCOUNT, [fill(6, 3), fill(7, 4)])
    assert replay(journal, interval=1)[0] == 5
    assert stored(journal) == [1, 2, 3, 4]
    assert verify_account(journal, ACCOUNT).problems == ()


def test_what_is_asserted_later_of_an_earlier_time_has_its_place_there_where_time_orders(journal):
    state = PositionState(position_id=1, symbol="EURUSD", side="buy", volume=5, price_open="1.1")
    later, earlier = (
        PositionRecovered(position=state, time_msc=at_msc, updated_msc=at_msc, updated_deal=1)
        for at_msc in (START_MSC + 4000, START_MSC + 1000)
    )
    journal.append(ACCOUNT, [opened(order=DealOrder.TIME), fill(1, 0), later, *(fill(n, n) for n in (2, 3))])
    replay(journal, interval=1)
    journal.append(ACCOUNT, [earlier])
    whole = replayed(journal, ACCOUNT, everything(journal), journal.terms(ACCOUNT, 6), fold=PORTFOLIO, interval=None)
    assert replay(journal, interval=1)[1] == whole[0].state()
    assert verify_account(journal, ACCOUNT).problems == ()


def test_a_replay_of_a_moment_leaves_none(journal):
    """It leaves out what has its place before others that it has: here the first deal of a second."""
    journal.append(ACCOUNT, [opened(), fill(5, 0.9), fill(6, 0.5), fill(7, 0.5)])
    at = attrs.evolve(everything(journal), time_msc=START_US // 1000 + 500)
    assert replay(journal, at, interval=1)[0] == 2
    assert stored(journal) == []
    assert replay(journal, interval=1)[0] == 3


def test_other_rules_make_other_checkpoints(book, monkeypatch):
    before = list(book.checkpoints(ACCOUNT))
    monkeypatch.setattr(Fold, "code", lambda *_: "other")
    assert replay(book)[0] == MANY
    assert [one for one in book.checkpoints(ACCOUNT) if one.fold != "other"] == before  # nobody's are replaced by others
    assert len([*book.checkpoints(ACCOUNT)]) == 2 * len(before)


@pytest.mark.parametrize("changed", [{"clock": ClockRule("+03:00")}, {"order": DealOrder.TIME}], ids=["clock", "order"])
def test_other_terms_of_the_account_make_other_checkpoints(book, changed):
    terms = book.terms(ACCOUNT, 41)
    selection = everything(book)
    assert book.checkpoint(ACCOUNT, selection, PORTFOLIO.code(terms)) is not None
    assert book.checkpoint(ACCOUNT, selection, PORTFOLIO.code(attrs.evolve(terms, **changed))) is None


def test_the_code_of_the_fold_is_its_version_and_the_terms_that_order_events(book):
    terms = book.terms(ACCOUNT, 41)
    code = PORTFOLIO.code(terms)
    assert code == f"{FOLD_VERSION}:ticket:{terms.clock.name}"
    assert PORTFOLIO.terms_of(code, terms) == terms
    for other in ("", "1", "1:ticket:UTC", f"{code}x", code.replace("ticket", "size"), f"{FOLD_VERSION}:time"):
        assert PORTFOLIO.terms_of(other, terms) is None
    assert attrs.evolve(PORTFOLIO, version=10**6).code(terms).startswith("1000000:ticket:")
    assert attrs.evolve(PORTFOLIO, name="orders").code(terms).startswith(f"orders-{FOLD_VERSION}:ticket:")


def test_a_fold_that_comes_to_something_else_has_another_version(tmp_path):
    recorded = folds.recorded()
    assert recorded["fold_version"] == FOLD_VERSION, "run: python3 tools/dev/freeze_fold.py"
    assert recorded["orders_version"] == ORDERS_VERSION, "run: python3 tools/dev/freeze_fold.py"
    assert folds.order_states(tmp_path) == recorded["order_states"], "ORDERS_VERSION in ledger/orders/view.py is to be raised"
    assert folds.states(tmp_path) == recorded["states"], (
        "the fold comes to other states: if that is meant, raise FOLD_VERSION (ledger/portfolio.py), run freeze_fold.py"
    )


def forged(one, reading=None):
    """Return what whoever can write to the database puts in the place of a checkpoint: another state, or another reading."""
    mark = one.mark._replace(reading=reading or one.mark.reading)
    state = json.loads(one.body)
    state["open"].pop()
    body = one.body if reading else json.dumps(state, separators=(",", ":")).encode()
    return one._replace(mark=mark, body=body, digest=checkpoints._digest(mark, one.fold, body))


def put(journal, *some):
    """Store checkpoints, and only these."""
    if hasattr(journal, "engine"):
        with journal.engine.alchemy.begin() as connection:
            connection.exec_driver_sql("DELETE FROM checkpoints")
    else:
        journal._checkpoints.clear()
    for one in some:
        before = one.mark.place
        journal.save_checkpoints(ACCOUNT, (before[0], before[1] - 1, before[2]), [one])


@pytest.mark.parametrize("when", ["present", "known less", "other clock", "other order", "more than verified"])
def test_every_checkpoint_that_a_replay_may_begin_at_is_compared(when, book):
    some = list(book.checkpoints(ACCOUNT))
    version = 41
    if when == "known less":
        book.append(ACCOUNT, [fill(99, 5.5)])  # before all of them
        version = 42
    elif when.startswith("other"):
        other: dict[str, dict[str, Any]] = {"clock": {"clock": ClockRule("+03:00")}, "order": {"order": DealOrder.TIME}}
        other_terms = other[when.removeprefix("other ")]
        terms = attrs.evolve(book.terms(ACCOUNT, 41), **other_terms)
        put(book)
        replayed(book, ACCOUNT, everything(book), terms, fold=PORTFOLIO, interval=10)
        some = list(book.checkpoints(ACCOUNT))
        assert {one.fold for one in some} == {PORTFOLIO.code(terms)}
    elif when == "more than verified":
        book.append(ACCOUNT, [fill(99, 5.5)])
        put(book)
        replay(book)
        some = list(book.checkpoints(ACCOUNT))
    assert len(some) >= 3
    assert list(walk._check_fold(book, ACCOUNT, version)) == []
    for number, one in enumerate(some):
        for reading in (None, one.mark.reading._replace(newest=1)):
            put(book, *some[:number], forged(one, reading), *some[number + 1 :])
            (problem,) = walk._check_fold(book, ACCOUNT, version)
            assert problem.field == "checkpoints"
    put(book, *some)
    assert list(walk._check_fold(book, ACCOUNT, version)) == []


class Counted:
    """Another fold: how many deals there are of each symbol."""

    def __init__(self, terms, deals=None):
        self.terms, self.deals, self.seen = terms, dict(deals or {}), 0

    @property
    def held(self):
        return len(self.deals)

    def fold(self, rows, decode):  # noqa: ARG002  # nothing is decoded
        for row in map(Posting._make, rows):
            self.seen += 1
            self.deals[row.symbol] = self.deals.get(row.symbol, 0) + 1

    def note_version(self, version):
        self.version = version

    def state(self):
        return {"deals": self.deals}


COUNTED = Fold(name="counted", version=7, begin=Counted, restore=lambda terms, state: Counted(terms, state["deals"]))


def test_another_fold_stores_checkpoints_of_its_own(book, monkeypatch):
    ours, terms = list(book.checkpoints(ACCOUNT)), book.terms(ACCOUNT, 41)
    for seen in (MANY, 10):  # the second time from where the first left a checkpoint
        counted, selected = replayed(book, ACCOUNT, everything(book), terms, fold=COUNTED, interval=10)
        assert (counted.seen, counted.deals, counted.version, selected) == (seen, {"EURUSD": MANY}, 41, 41)
    assert replay(book)[0] == 10
    theirs = [one for one in book.checkpoints(ACCOUNT) if one.fold == COUNTED.code(terms)]
    assert len(theirs) == len(ours) == 3
    assert all(checkpoints.load(one, PORTFOLIO, terms) is None for one in theirs)
    assert all(checkpoints.load(one, COUNTED, terms) is None for one in ours)
    changed = theirs[1]._replace(body=b'{"deals":{"EURUSD":1}}')
    changed = changed._replace(digest=checkpoints._digest(changed.mark, changed.fold, changed.body))
    put(book, *ours, theirs[0], changed, theirs[2])
    assert list(walk._check_fold(book, ACCOUNT, 41)) == []  # as those of another program
    monkeypatch.setattr(walk, "FOLDS", (PORTFOLIO, COUNTED))
    assert [one.field for one in walk._check_fold(book, ACCOUNT, 41)] == ["checkpoints"]
    put(book, *ours, *theirs)
    assert list(walk._check_fold(book, ACCOUNT, 41)) == []


def test_each_fold_leaves_the_checkpoints_of_its_own_earlier_rules_aside_and_no_others(book, monkeypatch):
    terms, selection = book.terms(ACCOUNT, 41), everything(book)
    later = attrs.evolve(COUNTED, version=COUNTED.version + 1)
    replayed(book, ACCOUNT, selection, terms, fold=COUNTED, interval=10)
    assert book.checkpoint(ACCOUNT, selection, later.code(terms)) is None
    counted, _ = replayed(book, ACCOUNT, selection, terms, fold=later, interval=10)
    assert counted.seen == MANY  # from the start
    by_code = Counter(one.fold for one in book.checkpoints(ACCOUNT))
    assert by_code == {fold.code(terms): 3 for fold in (PORTFOLIO, COUNTED, later)}
    assert replay(book)[0] == 10
    monkeypatch.setattr(walk, "FOLDS", (PORTFOLIO, later))
    assert list(walk._check_fold(book, ACCOUNT, 41)) == []


def test_a_fold_that_fails_does_not_prevent_the_others_from_being_compared(book, monkeypatch):
    every = list(book.checkpoints(ACCOUNT))

    def begin(_):
        raise KeyError("no rule")

    broken = attrs.evolve(COUNTED, begin=begin)
    forged_one = every[1]._replace(body=every[0].body)
    digest = checkpoints._digest(forged_one.mark, forged_one.fold, forged_one.body)
    put(book, every[0], forged_one._replace(digest=digest), every[2])
    monkeypatch.setattr(walk, "FOLDS", (broken, PORTFOLIO))
    found = [(one.field, one.what) for one in walk._check_fold(book, ACCOUNT, 41)]
    assert [field for field, _ in found] == ["fold", "checkpoints"]
    assert found[0][1] == "counted: KeyError: 'no rule'"


def test_a_reader_that_knows_less_does_not_replace_the_checkpoints_of_others(book):
    replay(book, Selection(version=21), interval=4)
    assert stored(book) == [11, 21, 31]


@pytest.mark.parametrize(
    "damage",
    ["body = CAST('{}' AS {blob})", "events = events + 1", "newest = newest - 1", "newest_plain = newest_plain - 1"],
)
def test_a_damaged_checkpoint_is_left_aside_and_verify_names_it(damage, url, ledger, intruder):
    ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, MANY + 1))])
    _, state = replay(ledger.journal)
    assert ledger.verify().ok
    damage = damage.replace("{blob}", "BLOB" if intruder.is_sqlite else "TEXT")
    if not intruder.is_sqlite:
        damage = damage.replace("CAST('{}' AS TEXT)", "'{}'::bytea")
    intruder(f"UPDATE checkpoints SET {damage} WHERE time_msc = {START_MSC + 30_000}")  # noqa: S608
    (problem,) = ledger.verify().problems
    assert (problem.account, problem.field) == (str(ACCOUNT), "checkpoints")
    assert problem.version in (30, 31)  # what it states about itself may be what is damaged
    assert replay(ledger.journal) == (MANY, state)
    assert replay(ledger.journal)[0] == 10  # and the damaged one was replaced
    assert ledger.verify().ok


@pytest.mark.parametrize("change", ["hash = prev_hash", "version = 10000"])
def test_a_checkpoint_of_another_history_is_left_aside(change, url, ledger, intruder):
    ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, MANY + 1))])
    _, state = replay(ledger.journal)
    change = change.replace("prev_hash", "digest")
    intruder(f"UPDATE checkpoints SET {change}")  # noqa: S608
    code = PORTFOLIO.code(ledger.journal.terms(ACCOUNT, 41))
    assert ledger.journal.checkpoint(ACCOUNT, everything(ledger.journal), code) is None
    assert replay(ledger.journal) == (MANY, state)


def test_where_nothing_can_be_written_replays_still_answer(tmp_path, clock):
    url = new_url("sqlite", tmp_path)
    journal = open_journal(url, clock)
    journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, MANY + 1))])
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert replay(journal)[0] == MANY
    other.close()
    assert stored(journal) == []
    journal.close()


def test_a_checkpoint_states_the_same_in_every_journal(tmp_path, clock):
    """Byte for byte: what a fold comes to depends on its events alone."""
    seen = []
    for kind in ("sqlite", "postgres"):
        clock.now_us = START_US
        with Ledger.create(new_url(kind, tmp_path), now_us=clock) as ledger:
            ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, MANY + 1))])
            replay(ledger.journal)
            assert verify_account(ledger.journal, ACCOUNT).problems == ()
            seen.append(list(ledger.journal.checkpoints(ACCOUNT)))
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3


def test_a_program_that_runs_on_leaves_checkpoints_for_the_next_start(url):
    with Ledger.create(url, now_us=Clock()) as ledger:
        ledger.checkpoint_interval = 10
        ledger.journal.append(ACCOUNT, [opened()])
        account = ledger.account(ACCOUNT)
        for number in range(1, 100):
            account.record(fill(number, number))
            assert account.portfolio.totals.deals == number
        assert len(stored(ledger.journal)) >= 8
        assert account.portfolio.state() == account.replay(checkpoints=False).state()


def test_an_assertion_of_before_a_moment_belongs_to_it_even_if_its_place_is_behind_that(journal):
    """An assertion is never placed before an earlier one about the same position, whatever its own time is."""
    second = 1000
    late, early = (asserted(volume, START_MSC + at * second) for volume, at in (("0.01", 100), ("0.02", 10)))
    journal.append(ACCOUNT, [opened(), fill(1, 1), late, early])
    until = Selection(version=4, time_msc=START_MSC + 50 * second)
    for _ in range(2):
        assert [row[3] for row in journal.postings(ACCOUNT, until)] == ["FillRecorded", "PositionRecovered"]
    earlier = attrs.evolve(until, version=3)
    assert [row[3] for row in journal.postings(ACCOUNT, earlier)] == ["FillRecorded"]


def asserted(volume, time_msc):
    state = PositionState(position_id=7, symbol="EURUSD", side="buy", volume=volume, price_open="1.1")
    return PositionRecovered(position=state, time_msc=time_msc)
