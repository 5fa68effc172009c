"""A journal is created and migrated safely from any number of threads and processes at once."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3 as database
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.journal.sql import sqlite
from ledger.journal.sql.create import create_journal
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.file_identity import require_own_log
from ledger.journal.sql.migrate import migrate
from ledger.journal.sql.words import REVISION
from tests.support.frozen import thawed
from tests.support.journals import ACCOUNT, DURABLE, empty_postgres_url, opened

THREADS = 8
PROCESSES = 3


def create(url):
    """Create a journal and record something in it."""
    with Ledger.create(url) as ledger:
        ledger.account(ACCOUNT).record(opened())
        return ledger.account(ACCOUNT).version


def create_in_threads(urls):
    together = threading.Barrier(len(urls))

    def work(url):
        together.wait()
        return create(url)

    with ThreadPoolExecutor(len(urls)) as threads:
        return list(threads.map(work, urls))


def new(kind, folder, name="journal"):
    return f"sqlite:///{folder}/{name}.db" if kind == "sqlite" else empty_postgres_url()


@pytest.mark.parametrize("kind", DURABLE)
def test_threads_create_one_journal(kind, tmp_path):
    url = new(kind, tmp_path)
    assert create_in_threads([url] * THREADS) == [1] * THREADS
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok


def test_threads_create_and_migrate_one_sqlite_journal(tmp_path):
    """As a program of an earlier version would, which knows the migrations only."""
    url = new("sqlite", tmp_path)
    together = threading.Barrier(THREADS)

    def work(number):
        engine = open_engine(url)
        together.wait()
        try:
            return migrate(engine) if number % 2 else create_journal(url)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(work, range(THREADS)))
    assert {None} <= set(found) <= {None, REVISION}
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok
        ledger.account(ACCOUNT).record(opened())


@pytest.mark.parametrize("kind", DURABLE)
def test_threads_create_journals_of_their_own(kind, tmp_path):
    urls = [new(kind, tmp_path, str(number)) for number in range(THREADS)]
    assert create_in_threads(urls) == [1] * THREADS
    assert len({_identity(url) for url in urls}) == THREADS


def _identity(url):
    with Ledger.open(url) as ledger:
        return ledger.journal.identity()


@pytest.mark.parametrize("kind", DURABLE)
def test_processes_with_threads_create_one_journal(kind, tmp_path):
    url = new(kind, tmp_path)
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        found = pool.map(create_in_threads, [[url] * THREADS] * PROCESSES)
    assert found == [[1] * THREADS] * PROCESSES
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok


@pytest.mark.parametrize("kind", DURABLE)
def test_threads_migrate_one_journal(kind, tmp_path):
    url = thawed("0001", kind, tmp_path)

    def work(_):
        engine = open_engine(url)
        try:
            return migrate(engine)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(work, range(THREADS)))
    assert found.count("0001") == 1
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok


def test_a_child_creates_while_a_thread_of_its_parent_did(tmp_path):
    """The lock that a thread of the parent held at the fork is none of the child's."""
    stop = threading.Event()

    def work():
        number = 0
        while not stop.is_set():
            number += 1
            create(str(tmp_path / f"{number}.db"))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(_fork_and_create, (str(tmp_path / "forked"),)) == [1] * 5
    finally:
        stop.set()
        thread.join()


def _fork_and_create(prefix):
    """In a process of its own: fork while a thread creates journals, and create some in each child."""
    stop = threading.Event()

    def work():
        number = 0
        while not stop.is_set():
            number += 1
            create(f"{prefix}-thread-{number}.db")

    thread = threading.Thread(target=work)
    thread.start()
    found = []
    for child in range(5):
        pid = os.fork()
        if not pid:
            code = 0
            try:
                code = create(f"{prefix}-{child}.db")
            finally:
                os._exit(code)
        found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop.set()
    thread.join()
    return found


def test_what_was_begun_by_somebody_who_died_is_made_whole(tmp_path):
    """An empty file, or one that was only marked, holds no journal yet."""
    path = Path(tmp_path / "journal.db")
    path.touch()
    engine = open_engine(str(path))
    engine.raw_connection().close()  # what a program does that is killed before it makes the tables
    engine.dispose()
    assert path.stat().st_size
    assert create(str(path)) == 1


def test_a_file_that_is_marked_between_two_looks_is_no_other_journals(tmp_path, monkeypatch):
    path = tmp_path / "journal.db"
    path.touch()
    look, looks = require_own_log, []

    def marked_meanwhile(file, mark):
        looks.append(mark)
        if len(looks) == 1:
            with closing(database.connect(path, isolation_level=None)) as other:
                sqlite._mark_file(other, str(path))
        look(file, mark)

    monkeypatch.setattr(sqlite, "require_own_log", marked_meanwhile)
    assert create_journal(f"sqlite:///{path}") is None
    assert looks[0] == 0
    assert looks[1] > 0
