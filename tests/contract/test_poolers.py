"""Databases as people run them: behind a pooler in transaction mode, with time limits, with other encodings."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from ledger import JournalBusy, JournalUnsafe, Ledger
from ledger.journal.backup import copy_journal
from ledger.journal.sql.engine import open_engine, translate_error
from tests.support.journals import (
    ACCOUNT,
    OTHER,
    Clock,
    bare_postgres,
    digest_of,
    empty_postgres_url,
    fill,
    ghost,
    new_postgres_url,
    opened,
    shared_postgres,
)
from tests.support.pooler import pooled

RAW = b"{}"


@pytest.fixture
def pooler():
    """URL through a pooler, the pooler, and the URL past it."""
    direct = empty_postgres_url()
    with pooled(direct, connections=6) as (url, found):
        yield url, found, direct


def test_everything_works_behind_a_pooler(pooler, tmp_path):
    url, found, direct = pooler
    with Ledger.create(url, now_us=Clock()) as ledger, Ledger.open(direct, now_us=Clock()) as other:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 300))])
        ledger.checkpoint_interval = 50
        for deal in range(300, 340):  # more often than psycopg waits before it prepares a statement
            ledger.account(ACCOUNT).record(fill(deal, deal))
            other.account(ACCOUNT).record(fill(1000 + deal, deal + 0.5))
            assert 1000 + deal in ledger.account(ACCOUNT).portfolio.positions
        ledger.journal.append(ACCOUNT, [ghost(1, 999, evidence=digest_of(RAW))], evidence=[RAW])
        ledger.journal.append(OTHER, [opened(OTHER), fill(1, 1)])
        with closing(ledger.account(ACCOUNT).follow(poll_seconds=0.01)) as events:  # type: ignore[type-var]
            assert [next(events).version for _ in range(100)] == list(range(1, 101))
        assert ledger.verify().ok
        assert ledger.verify(in_parallel=True).ok
        assert copy_journal(ledger.journal, str(tmp_path / "copy.db"), Clock()).heads == ledger.journal.heads()
    assert found.switches > 100


def test_eight_threads_can_work_behind_a_pooler(pooler):
    url, _, _ = pooler
    with Ledger.create(url, now_us=Clock(step_us=1)) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
        begin = threading.Barrier(8)

        def work(thread):
            begin.wait()
            for n in range(10):
                ledger.account(ACCOUNT).record(fill(1 + 100 * thread + n, n))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        deals = [row.deal for row in ledger.journal.rows(ACCOUNT) if row.deal is not None]
        assert sorted(deals) == sorted(1 + 100 * thread + n for thread in range(8) for n in range(10))
        assert ledger.verify().ok


def test_a_transaction_behind_a_pooler_has_its_settings_and_leaves_none(pooler):
    url, _, _ = pooler
    Ledger.create(url).close()
    name = url.rpartition("/")[2]
    with bare_postgres(shared_postgres().url()) as admin:
        admin.execute(f"ALTER DATABASE {name} SET statement_timeout = '77s'")
    with pooled(shared_postgres().url(name), connections=1) as (again, _):
        engine = open_engine(again, busy_seconds=5)
        with engine.alchemy.connect() as connection:
            shown = [connection.exec_driver_sql(f"SHOW {one}").scalar() for one in ("lock_timeout", "statement_timeout")]
            assert shown == ["5s", "0"]
        assert "synchronous_commit = on" in (engine.pooled_settings or "")
        engine.dispose()
        with psycopg.connect(again.replace("+psycopg", ""), autocommit=True) as other:  # the same server connection
            asked = ("lock_timeout", "statement_timeout")
            assert [other.execute(f"SHOW {one}", prepare=False).fetchall() for one in asked] == [[("0",)], [("77s",)]]


def test_a_server_without_a_pooler_is_none():
    engine = open_engine(new_postgres_url())
    with engine.alchemy.connect():
        assert engine.pooled_settings is None
    engine.dispose()


def test_a_time_limit_of_the_server_ends_none_of_our_statements():
    url = new_postgres_url()
    with bare_postgres(shared_postgres().url()) as admin:
        admin.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET statement_timeout = '500ms'")
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 50))])
        engine = ledger.journal.engine  # type: ignore[attr-defined]
        with engine.alchemy.connect() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(0.6)")
        assert ledger.verify().ok


def test_what_is_ended_by_a_time_limit_can_be_tried_again():
    error = psycopg.errors.QueryCanceled("canceling statement due to statement timeout")
    found = translate_error(error, open_engine("postgresql://host/db").url)
    assert type(found) is JournalBusy
    assert "longer than the database allows" in str(found)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_does_not_hold_every_text_is_refused(encoding):
    server = shared_postgres()
    name = f"enc_{encoding.lower()}"
    with bare_postgres(server.url()) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    for make in (Ledger.open, Ledger.create):
        with pytest.raises(JournalUnsafe, match=f"has the encoding {encoding}"):
            make(server.url(name))
    server.drop_database(name)
