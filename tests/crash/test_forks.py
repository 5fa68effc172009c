"""A ledger that is used after a fork opens connections of its own: what parent and children recorded is all there, once."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.forking import gate
from tests.support import forking_programs
from tests.support.forking_programs import WAYS
from tests.support.journals import ACCOUNT, DURABLE, new_url, opened

ROOT = Path(__file__).resolve().parents[2]
PLAIN = [way for way in WAYS if way != "a_reader_is_open"]


@pytest.fixture(params=DURABLE)
def url(request, tmp_path):
    url = new_url(request.param, tmp_path)
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    return url


def run(way, url):
    command = [sys.executable, forking_programs.__file__, way, url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def recorded(url):
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok
        return sorted(row.deal for row in ledger.journal.rows(ACCOUNT) if row.deal is not None)


@pytest.mark.parametrize("way", PLAIN)
def test_what_was_acknowledged_around_a_fork_is_there_once(way, url):
    found = run(way, url)
    assert len(found["done"]) >= 2 * forking_programs.EACH
    assert recorded(url) == sorted(found["done"])


def test_an_iterator_of_the_parent_is_not_shared(url):
    """On SQLite it holds nothing between two pages; on Postgres a child would read rows from the parent's connection."""
    found = run("an_iterator_is_open", url)
    assert found["parent"] == list(range(1, forking_programs.EACH + 2))
    if url.startswith("sqlite"):
        assert found["child"] == found["parent"]
    else:
        assert "begin it again in the child" in found["child"][-1]


def test_a_child_does_not_trust_locks_that_it_only_seems_to_have(url):
    """SQLite counts the locks of a file per process, and the child has the count without the locks."""
    found = run("a_reader_is_open", url)
    if url.startswith("sqlite"):
        assert found["child"].startswith("JournalUnsafe: ")
        assert "was forked while its parent used the journal" in found["child"]
    assert recorded(url) == sorted(found["done"])


def test_a_ledger_is_not_sent_to_another_process(url):
    with Ledger.open(url) as ledger, pytest.raises(TypeError, match="open it there by its URL"):
        pickle.dumps(ledger)


def test_a_fork_waits_for_connections_that_are_being_closed_and_they_for_it(tmp_path):
    """A thread that closes one holds mutexes of SQLite that are the whole process's; in a child nobody would release them."""
    engine = open_engine(new_url("sqlite", tmp_path))
    engine.raw_connection().close()  # one is idle now
    closing = threading.Thread(target=engine.dispose)
    gate.close(1)  # as a fork begins
    try:
        closing.start()
        while closing.is_alive() and not gate._changed._waiters:  # type: ignore[attr-defined]
            closing.join(0.01)
        assert closing.is_alive()
    finally:
        gate.open()
    closing.join()
