"""Long readings of the page: a few at once, each once, with their progress, and never in the way of short ones."""

from __future__ import annotations

import threading

import pytest

from ledger.errors import BadValue
from ledger.page.answers import Unanswered
from ledger.page.work import AT_ONCE, FOLDS_MAX, FOLDS_OF_ONE, Work

LONG = AT_ONCE + 1


class Gate:
    """Something long that goes on when a test lets it."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Semaphore(0)
        self.made = 0

    def __call__(self, progress):
        self.made += 1
        progress(7)
        self.begun.release()
        self.open.wait()
        return "made"


@pytest.fixture
def work():
    work = Work()
    yield work
    work.close()


def refused(work, key, who, make, cost=LONG):
    with pytest.raises(Unanswered) as found:
        work.do(key, who, cost, make, narrow="choose less")
    return found.value


def test_what_costs_little_is_made_at_once_however_much_is_under_way(work):
    gate = Gate()
    for number in range(FOLDS_MAX):
        assert refused(work, number, f"person {number}", gate).status == 202
    assert work.do("short", "ann", AT_ONCE, lambda _: "short", narrow="") == "short"
    gate.open.set()


def test_a_job_is_made_once_for_all_who_ask_and_states_its_progress(work):
    gate = Gate()
    first = refused(work, "key", "ann", gate)
    gate.begun.acquire()
    second = refused(work, "key", "bob", gate)
    assert first.content["job"] == second.content["job"]
    assert (second.status, second.content["done"], second.content["of"]) == (202, 7, LONG)
    job = work.job(first.content["job"])
    assert job.json_row() == {"job": job.id, "done": 7, "of": LONG, "state": "running", "error": None}
    gate.open.set()
    job.ended.wait()
    assert (job.json_row()["state"], job.json_row()["done"]) == ("done", LONG)
    assert work.do("key", "ann", LONG, gate, narrow="") == "made"
    assert gate.made == 1


def test_one_person_has_two_and_all_have_four_and_more_is_refused_with_what_to_narrow(work):
    gate = Gate()
    for number in range(FOLDS_OF_ONE):
        assert refused(work, number, "ann", gate).status == 202
    mine = refused(work, "third", "ann", gate)
    assert (mine.status, mine.headers["Retry-After"]) == (429, "1")
    assert "of yours" in mine.content["error"]["text"]
    assert "choose less" in mine.content["error"]["text"]
    for number in range(FOLDS_OF_ONE, FOLDS_MAX):
        assert refused(work, number, f"person {number}", gate).status == 202
    assert refused(work, "fifth", "eve", gate).status == 429
    job = work.job(refused(work, 0, "ann", gate).content["job"])  # the same is no further one
    gate.open.set()
    job.ended.wait()
    work.wait("ann")
    assert work.do("third", "ann", LONG, gate, narrow="") == "made"


def test_what_failed_is_reported_once_and_then_tried_again(work):
    outcomes = [BadValue("no"), "made"]

    def make(_):
        found = outcomes.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    with pytest.raises(BadValue):
        work.do("key", "ann", LONG, make, narrow="")
    assert work.do("key", "ann", LONG, make, narrow="") == "made"


def test_what_is_under_way_ends_with_the_page(work):
    gate = Gate()

    def make(progress):
        gate.open.wait()
        progress(1)

    job = work.job(refused(work, "key", "ann", make).content["job"])
    work.close()
    gate.open.set()
    job.ended.wait()
    assert (job.json_row()["state"], job.json_row()["error"]["retryable"]) == ("failed", True)


def test_a_job_that_nobody_knows_is_not_there(work):
    with pytest.raises(Unanswered) as found:
        work.job("none")
    assert found.value.status == 404
