"""Verification in two processes reports what one process reports, whatever becomes of the other."""

from __future__ import annotations

import json
import sys

import pytest

from ledger import CashMoved, Ledger
from ledger.journal.verify import worker
from ledger.journal.verify.walk import WorkerResult
from ledger.journal.verify.worker import VerifyWorker, helper
from tests.support.journals import (
    ACCOUNT,
    DURABLE,
    OTHER,
    START_MSC,
    Clock,
    Intruder,
    digest_of,
    fill,
    ghost,
    new_url,
    opened,
    revised,
)
from tests.support.segments import forge

MANY = 60
RAW = b"an answer"


@pytest.fixture(params=DURABLE)
def url(request, tmp_path, monkeypatch):
    """A journal with something of everything, large enough for two."""
    monkeypatch.setattr(worker, "LEAST", 10)
    url = new_url(request.param, tmp_path)
    with Ledger.create(url, now_us=Clock()) as ledger:
        journal = ledger.journal
        journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, MANY))])
        journal.append(ACCOUNT, [ghost(1, 10**4, evidence=digest_of(RAW))], evidence=[RAW])
        journal.append(ACCOUNT, [fill(1000, 3.5), revised(fill(5, 5, profit=9)), fill(1001, 10**4 + 1)])
        journal.append(OTHER, [opened(OTHER), fill(1, 1)])
    return url


def verified(url, *, in_parallel, segments=None):
    with Ledger.open(url, segments=segments) as ledger:
        counted: list[int] = []
        found = ledger.verify(counted.append, in_parallel=in_parallel)
        return found, sum(counted)


def test_what_is_whole_is_whole_and_every_event_is_counted_once(url):
    alone, together = verified(url, in_parallel=False), verified(url, in_parallel=True)
    assert alone == together
    assert alone[0].ok
    assert alone[1] == sum(one.version for one in alone[0].accounts)


def test_the_other_process_does_its_part(url, monkeypatch):
    read: list[tuple[int | None, int | None]] = []
    with Ledger.open(url) as ledger:
        raw_rows = ledger.journal.raw_rows

        def noted(account, *, after=None, upto=None):
            if account == ACCOUNT:
                read.append((after, upto))
            return raw_rows(account, after=after, upto=upto)

        monkeypatch.setattr(ledger.journal, "raw_rows", noted)
        assert ledger.verify(in_parallel=True).ok
        version = ledger.account(ACCOUNT).version
    assert read[0] == (None, int(version * 0.74))
    assert {after for after, _ in read[1:]} == {version}  # nothing of the other's part was read here


@pytest.mark.parametrize("version", [5, MANY - 2, MANY + 2])
@pytest.mark.parametrize("column", ["profit", "recorded_us", "prev_hash", "checks", "natural_key"])
def test_what_is_wrong_is_named_the_same_wherever_it_is(url, version, column):
    intruder = Intruder(url)
    intruder.disarm()
    value = b"\x00" * 32 if column in ("prev_hash", "checks") else "deal:77777" if column == "natural_key" else 77777
    statement = f"UPDATE events SET {column} = ? WHERE version = ? AND deal <> 1"  # noqa: S608
    intruder(statement, value, version)
    alone, together = verified(url, in_parallel=False)[0], verified(url, in_parallel=True)[0]
    assert alone == together
    assert not alone.ok


def test_a_changed_segment_is_found_wherever_the_fold_is_done(url, tmp_path):
    """On Postgres too, where the other process has no place beside the journal to look for segments."""
    folder = tmp_path / "segments"
    with Ledger.open(url, segments=folder) as ledger:
        ledger.journal.segments.size = 20
        assert ledger.account(ACCOUNT).derived.pack() == 3
        version = forge(ledger, 1, 5)
    alone, together = (verified(url, in_parallel=way, segments=folder)[0] for way in (False, True))
    assert alone == together
    assert [(one.version, one.field) for one in together.problems] == [(version, "segments")]


def test_a_program_that_cannot_be_started_is_done_without(url, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert verified(url, in_parallel=True)[0].ok
    monkeypatch.setattr(sys, "executable", "false")
    assert verified(url, in_parallel=True)[0].ok


@pytest.mark.parametrize("output", [b"", b"{}", b"nonsense", b'{"begin": 1, "end": 2, "evidence": {}, "folded": []}'])
def test_a_malformed_result_of_the_other_process_does_not_count(output):
    assert worker._read(output) is None


def test_what_was_found_is_the_same_on_the_other_side(url):
    with Ledger.open(url) as ledger:
        account = ledger.account(ACCOUNT)
        version = account.version
        one = helper(account._journal, ACCOUNT, version)
        assert isinstance(one, VerifyWorker)
        found = one.result()
    assert isinstance(found, WorkerResult)
    assert (found.begin.version, found.end.version, found.folded) == (one.after, version, ())
    assert found.evidence == {digest_of(RAW): MANY + 1}
    assert worker._read(json.dumps(worker._written(found)).encode()) == found


def test_small_accounts_and_other_journals_are_verified_here(monkeypatch, tmp_path):
    monkeypatch.setattr(worker, "LEAST", 10)
    with Ledger.open("memory://") as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, MANY))])
        assert helper(ledger.journal, ACCOUNT, MANY) is None
        assert ledger.verify(in_parallel=True).ok
    with Ledger.create(f"sqlite:///{tmp_path}/small.db") as ledger:
        ledger.journal.append(ACCOUNT, [opened(), CashMoved(deal=1, type=2, profit=1, time_msc=START_MSC)])
        assert helper(ledger.journal, ACCOUNT, 2) is None
