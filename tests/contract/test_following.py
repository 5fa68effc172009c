"""Following: every event once and in order per account, woken by others' appends, and right without being woken."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing, closing
from itertools import islice
from typing import Any, cast

import pytest

from ledger import AccountId, CorruptEvent, JournalUnavailable, Ledger
from ledger.journal import Outcome
from ledger.journal.sql.notify import PostgresWatch, SqliteWatch
from tests.support.journals import ACCOUNT, OTHER, Clock, Intruder, fill, head, open_journal, opened

FAR = 3600.0  # nobody would wait so long: who returns was woken


@pytest.fixture
def two(url):
    """The same journal opened twice: one that appends, one that follows."""
    with Ledger.open(url, now_us=Clock()) as writer, Ledger.open(url, now_us=Clock()) as reader:
        yield writer, reader


def read(follower: Any, count: int) -> list[tuple[AccountId, int]]:
    return [(event.account, event.version) for event in islice(follower, count)]


def test_what_is_there_comes_first_and_what_comes_later_follows(two):
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened(), fill(1, 1)])
    with closing(reader.account(ACCOUNT).follow(poll_seconds=FAR)) as follower:
        assert read(follower, 2) == [(ACCOUNT, 1), (ACCOUNT, 2)]
        for deal in range(2, 20):
            timer = threading.Timer(0.01, writer.account(ACCOUNT).record, [fill(deal, deal)])
            timer.start()
            assert read(follower, 1) == [(ACCOUNT, deal + 1)]
            timer.join()


def test_a_reader_goes_on_where_it_was(two):
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened(), fill(1, 1), fill(2, 2)])
    with closing(reader.account(ACCOUNT).follow(after=2)) as follower:
        assert read(follower, 1) == [(ACCOUNT, 3)]


def test_all_accounts_are_followed_new_ones_too(two):
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened(), fill(1, 1)])
    with closing(reader.follow(after={ACCOUNT: 1}, poll_seconds=FAR)) as follower:
        assert read(follower, 1) == [(ACCOUNT, 2)]
        timer = threading.Timer(0.01, writer.journal.append, [OTHER, [opened(OTHER), fill(1, 1)]])
        timer.start()
        assert read(follower, 2) == [(OTHER, 1), (OTHER, 2)]
        timer.join()


def test_many_events_come_in_batches_without_a_gap(two, monkeypatch):
    monkeypatch.setattr("ledger.service._AT_ONCE", 3)
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 50))])
    with closing(reader.follow()) as follower:
        assert read(follower, 50) == [(ACCOUNT, version) for version in range(1, 51)]


def test_a_set_stop_sign_ends_it(two):
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened()])
    stop = threading.Event()
    seen = []
    for event in reader.follow(poll_seconds=0.01, stop=stop):
        seen.append(event.version)
        stop.set()
    assert seen == [1]


def test_an_older_copy_in_the_journals_place_is_reported(two):
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened()])
    with pytest.raises(CorruptEvent, match="an older copy replaced the"):
        next(reader.account(ACCOUNT).follow(after=7))


def test_it_is_right_without_being_woken(two, monkeypatch):
    monkeypatch.setattr(SqliteWatch, "_counter", lambda _: None)
    monkeypatch.setattr(PostgresWatch, "_listen", lambda _: None)
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened(), fill(1, 1)])
    with closing(reader.follow(poll_seconds=0.01)) as follower:
        assert read(follower, 2) == [(ACCOUNT, 1), (ACCOUNT, 2)]
        writer.account(ACCOUNT).record(fill(2, 2))
        assert read(follower, 1) == [(ACCOUNT, 3)]


def test_a_follower_in_this_process_sees_appends_to_memory():
    with Ledger.open("memory://") as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
        with closing(cast("Any", ledger.follow())) as follower:
            assert read(follower, 1) == [(ACCOUNT, 1)]
            ledger.account(ACCOUNT).record(fill(1, 1))
            assert read(follower, 1) == [(ACCOUNT, 2)]


# ---- without blocking an event loop


def followers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ledger-follow")]


def test_events_come_without_blocking_the_loop_and_end_with_their_task(two):
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened(), fill(1, 1)])

    async def desk() -> list[int]:
        seen: asyncio.Queue[int] = asyncio.Queue()

        async def collect() -> None:
            async for event in reader.account(ACCOUNT).follow_async(poll_seconds=FAR):
                await seen.put(event.version)

        task = asyncio.create_task(collect())
        found = [await seen.get(), await seen.get()]
        for deal in range(2, 6):
            await asyncio.to_thread(writer.account(ACCOUNT).record, fill(deal, deal))
            found.append(await seen.get())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return found

    assert asyncio.run(desk()) == [1, 2, 3, 4, 5, 6]
    assert followers() == []


def test_all_accounts_are_followed_by_a_loop_too_and_closing_ends_it(two):
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened(), fill(1, 1)])
    writer.journal.append(OTHER, [opened(OTHER)])

    async def desk() -> list[tuple[AccountId, int]]:
        seen: list[tuple[AccountId, int]] = []
        async with aclosing(reader.follow_async(after={ACCOUNT: 1}, poll_seconds=FAR)) as events:
            async for event in events:
                seen.append((event.account, event.version))
                if len(seen) == 2:
                    break
        assert followers() == []
        return seen

    assert asyncio.run(desk()) == [(ACCOUNT, 2), (OTHER, 1)]


def test_an_older_copy_is_reported_to_a_loop_too(two):
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened()])

    async def desk() -> None:
        async for _ in reader.account(ACCOUNT).follow_async(after=7):
            raise AssertionError("there is nothing to follow")

    with pytest.raises(CorruptEvent, match="an older copy replaced the"):
        asyncio.run(desk())
    assert followers() == []


def test_a_loop_that_ends_does_not_wait_for_the_next_poll(two):
    """``asyncio.run`` cancels what is left: nobody waits an hour for it."""
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened()])

    async def desk() -> asyncio.Task[None]:
        seen = asyncio.Event()

        async def collect() -> None:
            async for _ in reader.follow_async(poll_seconds=FAR):
                seen.set()

        task = asyncio.create_task(collect())
        await seen.wait()
        return task

    assert asyncio.run(desk()).cancelled()
    assert followers() == []


def test_a_stop_sign_is_seen_between_two_polls(two):
    _, reader = two
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    assert list(reader.follow(poll_seconds=FAR, stop=stop)) == []


def test_a_database_that_is_away_is_waited_for_and_logged_once(two, monkeypatch, caplog):
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened()])
    heads = type(reader.journal).heads
    failures = [JournalUnavailable("away \x1b")] * 3

    def away(journal: Any) -> Any:
        if failures and journal is reader.journal:
            raise failures.pop()
        return heads(journal)

    monkeypatch.setattr(type(reader.journal), "heads", away)
    with closing(reader.follow(poll_seconds=0.001)) as follower:
        assert read(follower, 1) == [(ACCOUNT, 1)]
    assert [one.message for one in caplog.records] == ["the journal does not answer, and is waited for: away \\x1b"]


# ---- an append whose outcome is not known


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("expected", [None, 1])
def test_a_connection_lost_at_commit_is_found_out_about(moment, expected, monkeypatch):
    """The server is asked to end the connection just before, or just after, the commit was carried out."""
    import psycopg

    from tests.support.journals import new_postgres_url

    url = new_postgres_url()
    journal = open_journal(url, Clock())
    journal.append(ACCOUNT, [opened()])
    commit = psycopg.Connection.commit
    cut = [True]

    def commit_and_lose(driver):
        if not cut or driver.info.dbname != url.rpartition("/")[2]:
            return commit(driver)
        cut.clear()
        if moment == "after":
            commit(driver)  # in a pipeline this waits until it is carried out
        Intruder(url)("SELECT pg_terminate_backend(?)", driver.info.backend_pid)
        return driver.execute("SELECT 1") if moment == "after" else commit(driver)

    monkeypatch.setattr(psycopg.Connection, "commit", commit_and_lose)
    appended = journal.append(ACCOUNT, [fill(1, 1), fill(2, 2)], expected_version=expected)
    assert not cut
    assert appended.head.version == 3
    assert head(journal).version == 3
    assert [row.natural_key for row in journal.rows(ACCOUNT)] == ["account", "deal:1", "deal:2"]
    assert appended.outcomes == (Outcome.APPENDED, Outcome.APPENDED)
    journal.close()


def test_a_connection_that_died_since_the_last_append_is_replaced_at_once(monkeypatch):
    """Connections that write stay open; the server may have ended them meanwhile."""
    from tests.support.journals import new_postgres_url

    def waited(_):
        raise AssertionError("a dead connection is no reason to wait")

    monkeypatch.setattr(time, "sleep", waited)
    url = new_postgres_url()
    journal = open_journal(url, Clock())
    journal.append(ACCOUNT, [opened(), fill(1, 1)])
    for events in ([fill(2, 2)], [fill(3, 3), fill(4, 4)]):
        Intruder(url)("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
                      "pg_backend_pid()")  # fmt: skip
        assert journal.append(ACCOUNT, events).outcomes == (Outcome.APPENDED,) * len(events)
    assert [row.deal for row in journal.rows(ACCOUNT)] == [None, 1, 2, 3, 4]
    journal.close()


@pytest.mark.parametrize("has_looked", [False, True], ids=["unseen", "seen"])
@pytest.mark.parametrize("theirs", [fill(2, 2), fill(3, 3)], ids=["the same deal", "another deal"])
def test_a_writer_who_is_faster_is_noticed(theirs, has_looked, monkeypatch):
    """One event is inserted without a lock, if the account's head is the one that it was decided by: else under the lock."""
    from ledger.journal.sql import wire
    from tests.support.journals import new_postgres_url

    url = new_postgres_url()
    ours, other = open_journal(url, Clock(step_us=0)), open_journal(url, Clock(step_us=0))
    ours.append(ACCOUNT, [opened(), fill(1, 1)])
    if has_looked:
        ours._appender._own.clear()  # type: ignore[attr-defined]
    insert = wire.insert
    pending = [theirs]

    def overtaken(*inserted):
        while pending:
            other.append(ACCOUNT, [pending.pop()])
        return insert(*inserted)

    monkeypatch.setattr(wire, "insert", overtaken)
    appended = ours.append(ACCOUNT, [fill(2, 2)])
    assert pending == []
    assert appended.outcomes == ((Outcome.DUPLICATE,) if theirs.deal == 2 else (Outcome.APPENDED,))
    assert sorted(row.deal for row in ours.rows(ACCOUNT) if row.deal) == sorted({1, 2, theirs.deal})
    assert Ledger(ours).verify().ok
    ours.close()
    other.close()


def test_where_nobody_else_appends_a_fill_takes_one_statement(monkeypatch):
    """What is known under its key is found all the same, and others are waited for by looking first."""
    from ledger.journal.sql.append import Appender
    from tests.support.journals import new_postgres_url

    url = new_postgres_url()
    ours, other = open_journal(url, Clock()), open_journal(url, Clock())
    ours.append(ACCOUNT, [opened(), fill(1, 1)])
    looks: list[Any] = []
    query = Appender._query

    def noted(*asked):
        looks.append(asked)
        return query(*asked)

    monkeypatch.setattr(Appender, "_query", noted)

    def looked(journal, deal):
        looks.clear()
        outcomes = journal.append(ACCOUNT, [fill(deal, deal)]).outcomes
        assert outcomes == (Outcome.DUPLICATE if deal == 1 else Outcome.APPENDED,)
        return bool(looks)

    assert [looked(ours, deal) for deal in (2, 3, 1, 4, 5)] == [False, False, True, True, False]
    for deal in (10, 12):
        assert looked(other, deal)  # it has appended nothing yet, or somebody has since
        assert looked(ours, deal + 1)
    assert [looked(ours, deal) for deal in (14, 15)] == [True, False]
    ours.close()
    other.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # psycopg reports that it was not closed
def test_a_ledger_that_nobody_closed_lets_its_connections_go_quietly(caplog):
    import gc

    from tests.support.journals import new_postgres_url

    ledger = Ledger.create(new_postgres_url(), now_us=Clock())
    ledger.journal.append(ACCOUNT, [opened(), fill(1, 1)])
    ledger.account(ACCOUNT).record(fill(2, 2))  # its notification was not waited for
    del ledger
    for _ in range(3):  # what lets go of something is collected with it, or after it
        gc.collect()
    assert caplog.records == []


def test_accounts_are_named_in_order(two):
    writer, _ = two
    names = [AccountId("B", 2), AccountId("A", 10), AccountId("A", 9)]
    for name in names:
        writer.journal.append(name, [opened(name)])
    assert list(writer.journal.heads()) == sorted(names)
    assert {name: found.version for name, found in writer.journal.heads().items()} == dict.fromkeys(names, 1)


# ---- which accounts a follower is woken for


def test_a_listener_names_who_was_appended_to(two):
    """Postgres names the accounts, SQLite none; both know when nothing came."""
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened()])
    names_them = writer.journal.file() is None
    with reader.journal.listen() as listener:
        found = listener.wait(FAR) if names_them else None  # somebody may have been notified of before it listened
        while found != frozenset():
            assert found in (None, {ACCOUNT})  # of the event before, it may be notified while it begins to listen
            found = listener.wait(0.01)
        writer.journal.append(OTHER, [opened(OTHER)])
        assert listener.wait(FAR) == (frozenset([OTHER]) if names_them else None)
        for deal in (1, 2):
            writer.journal.append(ACCOUNT, [fill(deal, deal)])
            writer.journal.append(OTHER, [fill(deal, deal)])
        woken: set[AccountId] = set()
        while names_them and len(woken) < 2:
            found = listener.wait(FAR)
            assert found
            woken |= found
        assert woken == ({ACCOUNT, OTHER} if names_them else set())


def test_a_notification_without_a_name_may_be_of_any_account():
    """As programs of before name none."""
    from tests.support.journals import new_postgres_url

    url = new_postgres_url()
    journal = open_journal(url, Clock())
    with journal.listen() as listener:
        assert listener.wait(FAR) is None
        for payload in ("", "12 1", "x"):
            Intruder(url)("SELECT pg_notify('ledger_appended', ?)", payload)
            assert listener.wait(5) is None
            assert listener.wait(5) is None  # once more, for what was appended meanwhile
            assert listener.wait(0.01) == frozenset()
    journal.close()


def test_what_is_appended_soon_after_a_notification_needs_none(monkeypatch):
    """Who was woken is woken once more when the time has passed in which nobody is notified."""
    from tests.support.journals import new_postgres_url

    url = new_postgres_url()
    writer, reader = open_journal(url, Clock()), open_journal(url, Clock())
    writer.append(ACCOUNT, [opened()])
    with reader.listen() as listener:
        assert listener.wait(5) is None
        monkeypatch.setattr("ledger.journal.sql.append.UNNOTIFIED_SEC", FAR)  # however slow this machine is
        writer.append(OTHER, [opened(OTHER)])
        assert listener.wait(5) == {OTHER}
        for deal in (1, 2, 3):
            writer.append(OTHER, [fill(deal, deal)])
        assert listener.wait(5) == {OTHER}
        assert listener.wait(0.05) == frozenset()
        monkeypatch.undo()
        writer.append(OTHER, [fill(4, 4)])
        assert listener.wait(5) == {OTHER}
    writer.close()
    reader.close()


def test_a_name_that_is_too_long_for_a_notification_wakes_all():
    from tests.support.journals import new_postgres_url

    account = AccountId("S" * 9000, 1)
    journal = open_journal(new_postgres_url(), Clock())
    with journal.listen() as listener:
        assert listener.wait(5) is None
        assert listener.wait(0.01) == frozenset()
        journal.append(account, [opened(account)])
        assert listener.wait(5) is None
    journal.close()


def counted_heads(journal: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what lists each time that all heads of a journal are read, and each account whose head is read alone."""
    seen: list[str] = []
    heads, one = journal.heads, journal.head

    def all_of_them() -> Any:
        seen.append("all")
        return heads()

    def only(account: AccountId) -> Any:
        seen.append(str(account))
        return one(account)

    monkeypatch.setattr(journal, "heads", all_of_them)
    monkeypatch.setattr(journal, "head", only)
    return seen


def test_a_follower_reads_the_heads_that_it_is_woken_for(two, monkeypatch):
    writer, reader = two
    for name in (ACCOUNT, OTHER):
        writer.journal.append(name, [opened(name)])
    seen = counted_heads(reader.journal, monkeypatch)
    with closing(cast("Any", reader.follow(poll_seconds=FAR))) as follower:
        assert read(follower, 2) == [(ACCOUNT, 1), (OTHER, 1)]
        for deal in range(2, 6):
            timer = threading.Timer(0.01, writer.account(OTHER).record, [fill(deal, deal)])
            timer.start()
            assert read(follower, 1) == [(OTHER, deal)]
            timer.join()
    names_them = writer.journal.file() is None
    if names_them:  # all once more after it began to listen, and each that it is woken for once more a little later
        assert seen.pop(0) == "all"
        assert set(seen) - {"all"} == {str(OTHER)}
        assert seen.count("all") <= 1
    else:
        assert seen == ["all"] * 5


def test_a_lost_notification_is_made_good_by_a_look_at_all(two, monkeypatch):
    monkeypatch.setattr("ledger.service.SWEEP_SECONDS", 0.02)
    monkeypatch.setattr("ledger.journal.sql.append.Appender._notify_followers", lambda *_: None)
    writer, reader = two
    writer.journal.append(ACCOUNT, [opened()])
    with closing(cast("Any", reader.follow(poll_seconds=0.01))) as follower:
        assert read(follower, 1) == [(ACCOUNT, 1)]
        writer.account(ACCOUNT).record(fill(1, 1))
        assert read(follower, 1) == [(ACCOUNT, 2)]
