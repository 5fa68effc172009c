"""The store of the gateway service: durable, numbered without a gap, and used by one service at a time."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from ledger.errors import BadValue, GatewayUnavailable
from ledger.gateway.serve.changes import Change
from ledger.gateway.serve.lock import FileLock
from ledger.gateway.serve.store import Store


def changes(*numbers: int) -> list[Change]:
    return [Change("deal", {"ticket": number}) for number in numbers]


def test_a_store_keeps_its_id_and_counts_its_starts(tmp_path):
    path = tmp_path / "gateway.db"
    first = Store.open(path)
    first.close()
    second = Store.open(path)
    assert (first.epoch, second.epoch) == (1, 2)
    assert first.id == second.id
    second.close()


def test_two_stores_have_two_ids(tmp_path):
    one, other = Store.open(tmp_path / "a.db"), Store.open(tmp_path / "b.db")
    assert one.id != other.id
    one.close()
    other.close()


def test_events_are_numbered_on_after_a_restart(tmp_path):
    path = tmp_path / "gateway.db"
    store = Store.open(path)
    assert [event.seq for event in store.append(changes(7, 8), at_msc=1)] == [1, 2]
    store.close()
    store = Store.open(path)
    (event,) = store.append(changes(9), at_msc=2)
    assert (event.seq, event.epoch, store.seq) == (3, 2, 3)
    found = store.events(0, limit=10)
    assert found is not None
    assert [(one.seq, one.epoch, one.data["ticket"]) for one in found] == [(1, 1, 7), (2, 1, 8), (3, 2, 9)]
    store.close()


def test_no_event_makes_no_number(tmp_path):
    store = Store.open(tmp_path / "gateway.db")
    assert store.append([], at_msc=1) == []
    assert store.seq == 0
    store.close()


@pytest.mark.parametrize(
    ("after", "limit", "found"),
    [(3, 10, [4, 5, 6]), (4, 1, [5]), (6, 10, []), (2, 10, None), (0, 10, None), (7, 10, None)],
)
def test_only_the_newest_events_are_stored_and_a_gap_is_no_list(tmp_path, after, limit, found):
    store = Store.open(tmp_path / "gateway.db", events_max=3)
    store.append(changes(1, 2, 3, 4), at_msc=1)
    store.append(changes(5, 6), at_msc=1)
    events = store.events(after, limit=limit)
    assert (None if events is None else [event.seq for event in events]) == found
    store.close()


def test_a_store_belongs_to_the_first_account_that_it_was_used_for(tmp_path):
    path = tmp_path / "gateway.db"
    store = Store.open(path)
    assert store.bind(7, "Desk")
    assert not store.bind(8, "Desk")
    store.close()
    store = Store.open(path)
    assert store.account == (7, "Desk")
    assert not store.bind(7, "Other")
    store.close()


def test_a_second_service_is_refused_while_the_first_has_the_store(tmp_path):
    path = tmp_path / "gateway.db"
    store = Store.open(path)
    with pytest.raises(GatewayUnavailable, match="another service uses it"):
        Store.open(path)
    store.close()
    Store.open(path).close()


def test_a_commit_is_on_disk(tmp_path):
    path = tmp_path / "gateway.db"
    store = Store.open(path)
    assert store._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


def test_another_database_is_no_store(tmp_path):
    path = tmp_path / "desk.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE events (x)")
    other.close()
    with pytest.raises(BadValue, match="found another database"):
        Store.open(path)


def test_a_file_of_something_else_is_no_store(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("nothing of ours " * 100, encoding="utf-8")
    with pytest.raises(BadValue, match="cannot be opened as a store"):
        Store.open(path)
    lock = FileLock.of_file(path)
    assert lock.acquire(), "a refused store is released"
    lock.release()


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "gateway.db"
    store = Store.open(path)
    store._database.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(BadValue, match="version 99 is newer"):
        Store.open(path)


def test_an_append_that_fails_changes_nothing(tmp_path):
    store = Store.open(tmp_path / "gateway.db")
    store.append(changes(1), at_msc=1)
    with pytest.raises(TypeError):
        store.append([Change("deal", {"ticket": object()})], at_msc=1)
    assert store.seq == 1
    assert [event.seq for event in store.append(changes(2), at_msc=1)] == [2]
    store.close()


@pytest.mark.parametrize("statement", ["INSERT", "COMMIT"])
def test_a_store_on_a_full_disk_goes_on_once_there_is_room(tmp_path, statement):
    store: Any = Store.open(tmp_path / "gateway.db")
    database = store._database
    if statement == "INSERT":
        database.execute("PRAGMA max_page_count = 1")  # what a full disk is to SQLite: it may end the transaction itself
    else:
        store._database = Refusing(database, statement)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.append([Change("deal", {"text": "x" * 100_000})], at_msc=1)
    store._database = database
    database.execute("PRAGMA max_page_count = 1000000")
    assert [event.seq for event in store.append(changes(7), at_msc=1)] == [1]
    store.close()


class Refusing:
    """A database for which there is no room at one statement."""

    def __init__(self, database: sqlite3.Connection, statement: str) -> None:
        self._database, self._statement = database, statement

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, statement: str, *given: Any) -> Any:
        if statement == self._statement:
            raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(statement, *given)


def test_a_lock_is_held_by_one_and_free_after_it(tmp_path):
    one, other = FileLock.of_folder(tmp_path), FileLock.of_folder(tmp_path)
    assert one.acquire()
    assert one.acquire(), "it is ours already"
    assert not other.acquire()
    one.release()
    assert other.acquire()
    other.release()
