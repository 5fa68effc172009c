"""A journal that is removed, renamed or replaced while it is open acknowledges nothing more; what it acknowledged is there."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ledger import CorruptEvent, JournalMissing, JournalReplaced, JournalUnavailable, Ledger
from ledger.journal import Selection
from ledger.journal.backup import copy_journal
from ledger.journal.sql.forking import _inherited
from tests.support.journals import (
    ACCOUNT,
    OTHER,
    Clock,
    Intruder,
    bare_postgres,
    bare_sqlite,
    fill,
    new_postgres_url,
    opened,
    shared_postgres,
)

ROOT = Path(__file__).resolve().parents[2]
FIRST = 30


@pytest.fixture
def path(tmp_path):
    """A journal with a few fills, and beside it a copy of the file (old.db), a backup and a journal of somebody else."""
    path = tmp_path / "journal.db"
    with Ledger.create(str(path), now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, FIRST))])
        copy_journal(ledger.journal, str(tmp_path / "backup.db"), Clock())
    shutil.copy(path, tmp_path / "old.db")
    with Ledger.create(str(tmp_path / "other.db"), now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 200))])
    return path


def copy_over(source):
    return lambda path: shutil.copy(path.with_name(source), path)


def move_over(source):
    return lambda path: path.with_name(source).replace(path)


def rename_all(path):
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").rename(f"{path}.moved{suffix}")


def remove(*suffixes):
    def removed(path):
        for suffix in suffixes:
            Path(f"{path}{suffix}").unlink()

    return removed


#: What happens to the files -> where all that was acknowledged is found afterwards; None where somebody removed it.
WAYS = {
    "removed": (remove(""), None),
    "all removed": (remove("", "-wal", "-shm"), None),
    "renamed": (lambda path: path.rename(f"{path}.moved"), ".moved"),
    "all renamed": (rename_all, ".moved"),
    "an old copy moved over it": (move_over("old.db"), None),
    "a backup moved over it": (move_over("backup.db"), None),
    "an old copy copied over it": (copy_over("old.db"), None),
    "a backup copied over it": (copy_over("backup.db"), None),
    "another journal copied over it": (copy_over("other.db"), None),
    "log removed": (remove("-wal"), ""),
    "log and index removed": (remove("-wal", "-shm"), ""),
    "index removed": (remove("-shm"), ""),
    "emptied": (lambda path: path.write_bytes(b""), None),
    "written over with something else": (lambda path: path.write_bytes(b"Dear Sir or Madam, " * 9000), None),
}


def record(ledger, first, count, acknowledged):
    for deal in range(first, first + count):
        ledger.account(ACCOUNT).record(fill(deal, deal))
        acknowledged.append(deal)


def deals(path):
    with Ledger.open(str(path)) as ledger:
        assert ledger.verify().ok
        return [row.deal for row in ledger.journal.rows(ACCOUNT) if row.deal is not None]


@pytest.mark.parametrize("is_checkpointed", [False, True], ids=["log full", "log copied"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_more_is_acknowledged(way, is_checkpointed, path):
    happen, copy = WAYS[way]
    acknowledged = list(range(1, FIRST))
    ledger = Ledger.open(str(path), now_us=Clock())
    record(ledger, 100, 10, acknowledged)
    if is_checkpointed:
        with bare_sqlite(f"sqlite:///{path}") as other:
            other.execute("PRAGMA wal_checkpoint(FULL)")
    record(ledger, 200, 3, acknowledged)
    happen(path)
    for deal in (300, 301):  # and it stays so
        with pytest.raises(JournalReplaced, match=r"journal\.db.* while it was open") as refused:
            ledger.account(ACCOUNT).record(fill(deal, deal))
        assert not refused.value.retryable
    ledger.close()
    if copy is not None:
        assert set(deals(f"{path}{copy}")) >= set(acknowledged)


def test_a_journal_whose_time_was_changed_loses_nothing_by_the_advice(path):
    acknowledged = list(range(1, FIRST))
    ledger = Ledger.open(str(path), now_us=Clock())
    record(ledger, 100, 10, acknowledged)
    os.utime(path, (1, 1))
    with pytest.raises(JournalReplaced, match=r"changed its time.*the last events are in the -wal.*open it again") as refused:
        ledger.account(ACCOUNT).record(fill(300, 300))
    assert "remove its" not in str(refused.value)
    ledger.close()
    assert set(deals(path)) >= set(acknowledged)


def test_a_folder_that_became_a_file_is_reported_as_a_journal_that_is_gone(path):
    ledger = Ledger.open(str(path), now_us=Clock())
    record(ledger, 100, 1, [])
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.write_bytes(b"")
    with pytest.raises(JournalReplaced, match="was removed or renamed"):
        ledger.account(ACCOUNT).record(fill(300, 300))
    ledger.close()


def test_what_was_committed_and_cannot_be_looked_at_may_be_recorded(path, monkeypatch):
    """The rights of the folder were taken away while it committed."""
    ledger = Ledger.open(str(path), now_us=Clock())
    record(ledger, 100, 1, [])
    stat = os.stat

    def refused(what, *rest, **words):
        if what == str(path.parent):
            raise PermissionError(13, "Permission denied", str(what))
        return stat(what, *rest, **words)

    with monkeypatch.context() as patched:
        patched.setattr("ledger.journal.sql.file_identity.os.stat", refused)
        with pytest.raises(JournalUnavailable, match=r"rights of its folder.* may be in the journal"):
            ledger.account(ACCOUNT).record(fill(300, 300))
    ledger.account(ACCOUNT).record(fill(300, 300))
    record(ledger, 301, 1, [])
    ledger.close()
    assert deals(path).count(300) == 1


def test_a_process_without_free_descriptors_records_nothing_and_says_so(path, monkeypatch):
    def refused(_):
        raise OSError(24, "Too many open files")

    with Ledger.open(str(path), now_us=Clock()) as ledger:
        with monkeypatch.context() as patched:
            patched.setattr("ledger.journal.sql.file_identity.os.listdir", refused)
            with pytest.raises(JournalUnavailable, match="cannot be listed: has it too many"):
                ledger.account(ACCOUNT).record(fill(300, 300))
        assert 300 not in deals(path)
        ledger.account(ACCOUNT).record(fill(300, 300))


def test_a_removed_journal_is_not_made_again_by_whoever_has_it_open(path):
    with Ledger.open(str(path), now_us=Clock()) as ledger:
        record(ledger, 100, 3, [])
        rename_all(path)
        with pytest.raises(JournalReplaced):
            ledger.account(ACCOUNT).record(fill(300, 300))
        with pytest.raises(JournalReplaced):  # a reader is not shown an old picture either
            ledger.account(ACCOUNT).portfolio  # noqa: B018  # it is the question that is refused
    assert not path.exists()
    with pytest.raises(JournalMissing):
        Ledger.open(str(path))


def test_a_journal_that_replaced_it_is_left_alone(path):
    """The last connection to the old one would remove the -wal that its path names, which is the new one's."""
    old = Ledger.open(str(path), now_us=Clock())
    record(old, 100, 3, [])
    rename_all(path)
    path.with_name("backup.db").rename(path)
    new = Ledger.open(str(path), now_us=Clock())
    acknowledged: list[int] = []
    record(new, 400, 5, acknowledged)
    with pytest.raises(JournalReplaced):
        old.account(ACCOUNT).record(fill(300, 300))
    old.close()
    record(new, 500, 5, acknowledged)
    new.close()
    assert set(deals(path)) == {*range(1, FIRST), *acknowledged}


@pytest.mark.parametrize("seed", range(4))
def test_checkpoints_of_other_programs_are_no_replacement(seed, path):
    """Whoever else appends, copies the log into the database, or begins it anew: nothing is refused."""
    chance = random.Random(seed)
    with Ledger.open(str(path), now_us=Clock()) as ledger, Ledger.open(str(path), now_us=Clock()) as other:
        acknowledged = list(range(1, FIRST))
        with bare_sqlite(f"sqlite:///{path}") as bare:
            for deal in range(100, 400):
                record(chance.choice([ledger, other]), deal, 1, acknowledged)
                if chance.random() < 0.1:
                    bare.execute(f"PRAGMA wal_checkpoint({chance.choice(['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'])})")
                if chance.random() < 0.02:
                    chance.choice([ledger, other]).close()  # connections come back by themselves
    assert deals(path) == acknowledged


def test_a_copy_over_it_right_after_a_checkpoint_is_found(path):
    """The header shows it, though a checkpoint may have written to the file as well."""
    with Ledger.open(str(path), now_us=Clock()) as ledger:
        record(ledger, 100, 10, [])
        with bare_sqlite(f"sqlite:///{path}") as other:
            other.execute("PRAGMA wal_checkpoint(FULL)")
            shutil.copy(path.with_name("backup.db"), path)
            with pytest.raises(JournalReplaced, match="another database was copied over"):
                ledger.account(ACCOUNT).record(fill(300, 300))


def test_a_link_to_the_journal_is_the_journal(path):
    link = path.with_name("link.db")
    link.symlink_to(path)
    with Ledger.open(str(link), now_us=Clock()) as ledger:
        record(ledger, 100, 3, [])


def test_a_folder_that_is_changed_into_changes_nothing(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with Ledger.open("journal.db", now_us=Clock()) as ledger:
        record(ledger, 100, 3, [])
        monkeypatch.chdir("/")
        record(ledger, 200, 3, [])
        assert ledger.verify().ok


def test_the_end_of_the_program_closes_no_file_that_was_replaced(path):
    """A process that found its journal replaced and ends leaves the log of the new one where it is."""
    program = """
import sys
from pathlib import Path
from ledger import JournalReplaced, Ledger
from tests.support.journals import ACCOUNT, fill
path = Path(sys.argv[1])
ledger = Ledger.open(str(path))
ledger.account(ACCOUNT).record(fill(100, 100))
path.with_name("backup.db").replace(path)
try:
    ledger.account(ACCOUNT).record(fill(101, 101))
except JournalReplaced:
    print("refused")
"""
    run = subprocess.run([sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("refused\n", "")
    assert os.path.exists(f"{path}-wal")  # noqa: PTH110  # not closed, so not removed


def test_a_connection_that_would_remove_the_log_of_another_journal_stays_open(path):
    ledger = Ledger.open(str(path), now_us=Clock())
    record(ledger, 100, 1, [])
    rename_all(path)
    path.with_name("other.db").replace(path)
    with Ledger.open(str(path), now_us=Clock()) as other:
        record(other, 500, 1, [])
        before = len(_inherited)
        with pytest.raises(JournalReplaced):
            record(ledger, 101, 1, [])
        ledger.close()
        assert len(_inherited) > before
        assert Path(f"{path}-wal").exists()
        record(other, 501, 1, [])


# ---- Postgres: the database is replaced under the connections


@pytest.fixture
def desk():
    url = new_postgres_url()
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, FIRST))])
    return url


def put_in_place(source, url):
    """Replace a database by another one, as whoever restores a dump does."""
    name = url.rpartition("/")[2]
    server = shared_postgres()
    server.drop_database(url)
    with psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True) as admin:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        admin.execute(statement.format(sql.Identifier(name), sql.Identifier(source.rpartition("/")[2])))


def test_an_older_copy_of_a_database_in_its_place_is_refused(desk):
    older = shared_postgres().create_database(template=desk)
    with Ledger.open(desk, now_us=Clock()) as ledger:
        record(ledger, 100, 3, [])
        put_in_place(older, desk)
        for deal in (200, 201):
            with pytest.raises(JournalReplaced, match="version 34 was recorded here"):
                ledger.account(ACCOUNT).record(fill(deal, deal))


def test_another_journal_in_the_place_of_a_database_is_refused(desk):
    other = new_postgres_url()
    with Ledger.open(desk, now_us=Clock()) as ledger:
        record(ledger, 100, 1, [])
        put_in_place(other, desk)
        with pytest.raises(JournalReplaced, match="another journal"):
            ledger.account(ACCOUNT).record(fill(200, 200))


@pytest.mark.parametrize("fills", [3, 9], ids=["of the same length", "longer"])
def test_a_rewritten_history_is_refused(fills, desk):
    older = shared_postgres().create_database(template=desk)
    with Ledger.open(desk, now_us=Clock()) as ledger:
        record(ledger, 100, 3, [])
        with Ledger.open(older, now_us=Clock()) as copy:
            record(copy, 500, fills, [])
        put_in_place(older, desk)
        with pytest.raises(JournalReplaced, match="is not in the journal any more"):
            ledger.account(ACCOUNT).record(fill(200, 200))


def test_the_rewritten_history_of_one_account_among_several_is_refused(desk):
    """The connection is not new any more: another account has appended through it."""
    with Ledger.open(desk, now_us=Clock()) as ledger:
        ledger.journal.append(OTHER, [opened(OTHER)])
        older = shared_postgres().create_database(template=left_alone(desk, ledger))
        record(ledger, 100, 3, [])
        with Ledger.open(older, now_us=Clock()) as copy:
            record(copy, 500, 9, [])
        put_in_place(older, desk)
        ledger.account(OTHER).record(fill(1, 1))
        with pytest.raises(JournalReplaced, match="is not in the journal any more"):
            ledger.account(ACCOUNT).record(fill(200, 200))


def left_alone(url, ledger):
    """Let nobody be connected to a database, so that it can be copied."""
    ledger.close()
    with bare_postgres(shared_postgres().url()) as connection:
        name = url.rpartition("/")[2]
        while connection.execute("SELECT FROM pg_stat_activity WHERE datname = %s", [name]).fetchone():
            pass
    return url


@pytest.mark.parametrize("fills", [1, 3, 9], ids=["shorter", "of the same length", "longer"])
def test_whoever_reads_gets_what_the_journal_has_now(fills, desk):
    """Where a database lost its newest events, and others recorded some: never a mixture of both."""
    older = shared_postgres().create_database(template=desk)
    with ExitStack() as stack:
        ledger, reader = (stack.enter_context(Ledger.open(desk, now_us=Clock())) for _ in range(2))
        record(ledger, 100, 3, [])
        account = reader.account(ACCOUNT)
        assert len(account.portfolio.positions) == FIRST + 2
        assert account.current_orders()[0] == account.current_with_approvals()[0] == account.version
        seen: Any = account.follow()
        stack.enter_context(closing(seen))
        for _ in range(account.version):
            next(seen)
        with Ledger.open(older, now_us=Clock()) as copy:
            record(copy, 500, fills, [])
        put_in_place(older, desk)
        assert account.portfolio.state() == account.replay(checkpoints=False).state()
        assert set(account.portfolio.positions) == {*range(1, FIRST), *range(500, 500 + fills)}
        assert account.current_orders()[1].state() == account.replayed_orders(Selection(version=account.version)).state()
        if fills != 3:  # it waits for the next event, which shows that what was read is gone
            with pytest.raises(CorruptEvent, match="was read"):
                next(seen)


def test_a_history_that_was_rewritten_under_an_open_connection_is_refused(desk):
    with Ledger.open(desk, now_us=Clock()) as ledger:
        record(ledger, 100, 3, [])
        intruder = Intruder(desk)
        intruder.disarm()
        intruder("UPDATE heads SET hash = ?", bytes(32))
        with pytest.raises(JournalReplaced, match="is not in the journal any more"):
            ledger.account(ACCOUNT).record(fill(200, 200))


def test_a_first_page_that_a_power_loss_cut_off_is_read_from_the_log(path, tmp_path):
    torn = tmp_path / "torn.db"
    with Ledger.open(str(path), now_us=Clock()) as ledger:
        acknowledged = ledger.journal.append(ACCOUNT, [fill(n, n) for n in range(1000, 1400)]).head.version
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{torn}{suffix}")
    with torn.open("r+b") as file:
        file.write(bytes(512))
    with Ledger.open(str(torn), now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [fill(5000, 5000)])
        assert ledger.journal.heads()[ACCOUNT].version == acknowledged + 1
        assert ledger.verify().ok
