"""A journal or a backup that cannot be written is read where nothing has to be recovered; else the reason is reported."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger import JournalUnavailable, Ledger
from ledger.journal.backup import copy_journal, restore_journal
from ledger.journal.sql import append
from tests.contract.test_connect import open_folder, run_as_nobody
from tests.support.journals import ACCOUNT, Clock, bare_sqlite, fill, new_url, opened

__all__ = ["open_folder"]

_READ = """
from ledger.journal.memory import MemoryJournal
try:
    with Ledger.open(sys.argv[1]) as ledger:
        account = ledger.account(ACCOUNT)
        ledger.checkpoint_interval = 5
        print(account.version, len(account.portfolio.positions), len(account.replay(version=10).positions), ledger.verify().ok)
        copy = MemoryJournal.copy_of(ledger.journal, [ACCOUNT], lambda: 1)
        print(copy.head(ACCOUNT).version)
        account.record(fill(99, 99))
except LedgerError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def journal(open_folder):
    path = open_folder / "journal.db"
    with Ledger.create(str(path), now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 20))])
    return path


def protect(path):
    for one in path.parent.iterdir():
        one.chmod(0o444)
    path.parent.chmod(0o555)


def read(path):
    run = run_as_nobody(_READ, str(path))
    assert not run.stderr, run.stderr
    return run.stdout.splitlines()


def test_a_journal_that_nobody_has_open_is_read_without_the_right_to_write(journal):
    protect(journal)
    before = sorted(journal.parent.iterdir())
    first, copied, refused = read(journal)
    assert (first, copied) == ("20 19 9 True", "20")
    assert refused.startswith("JournalUnavailable")
    assert "cannot be written" in refused
    assert sorted(journal.parent.iterdir()) == before


def test_a_journal_that_an_engine_writes_is_read_by_others(journal):
    with Ledger.open(str(journal), now_us=Clock()) as engine:
        engine.account(ACCOUNT).record(fill(20, 20))
        protect(journal)
        assert read(journal)[:2] == ["21 20 9 True", "21"]
        journal.parent.chmod(0o755)


def test_what_has_to_be_recovered_first_is_reported(journal):
    engine = Ledger.open(str(journal), now_us=Clock())
    engine.account(ACCOUNT).record(fill(20, 20))
    killed = journal.with_name("killed.db")
    for suffix in ("", "-wal"):
        shutil.copy(f"{journal}{suffix}", f"{killed}{suffix}")
    engine.close()
    protect(killed)
    [output] = read(killed)
    assert output.startswith("JournalUnavailable")
    assert "its -wal holds events that have to be recovered" in output
    killed.parent.chmod(0o755)


def test_a_medium_that_cannot_be_written_is_read(journal, tmp_path, open_folder):
    """A real one, where we may mount it; root's rights do not help there."""
    disk = open_folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=False, capture_output=True).returncode == 0
    target = disk / "journal.db"
    shutil.copy(journal, target)
    try:
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        else:
            target.chmod(0o444)
            disk.chmod(0o555)
        lines = read(target)
        assert lines[:2] == ["20 19 9 True", "20"]
        if mounted:
            with Ledger.open(str(target)) as ledger:
                restore_journal(ledger.journal, str(tmp_path / "restored.db"), Clock())
                with pytest.raises(JournalUnavailable, match="cannot be written"):
                    ledger.account(ACCOUNT).record(fill(99, 99))
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)
        disk.chmod(0o755)


# ---- readers and the log


def test_a_slow_reader_leaves_no_transaction_open(tmp_path):
    """It would prevent a new log: the old one would grow for as long as the reader reads."""
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 2000))])
        readers = [
            iter(ledger.account(ACCOUNT).events(upto=2000)),
            ledger.journal.raw_rows(ACCOUNT),
            ledger.account(ACCOUNT).trades(),
        ]
        for reader in readers:
            next(reader, None)
        ledger.account(ACCOUNT).record(fill(5000, 5000))
        with bare_sqlite(url) as other:
            busy, log, copied = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert (busy, log, copied) == (0, 0, 0)
        assert sum(1 for _ in readers[0]) == 2000 - 1  # as of when it was begun


def test_a_log_that_grew_is_begun_anew_as_soon_as_nobody_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(append, "_LOG_BYTES", 200_000)
    monkeypatch.setattr(append, "_SHORTEN_EVERY_SEC", 0.0)
    url = new_url("sqlite", tmp_path)
    log = Path(f"{url.removeprefix('sqlite:///')}-wal")
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
        with bare_sqlite(url) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchall()
            for deal in range(1, 100):
                ledger.account(ACCOUNT).record(fill(deal, deal, comment="x" * 200))
            assert log.stat().st_size > 200_000
            reader.execute("COMMIT")
            ledger.account(ACCOUNT).record(fill(1000, 1000))
            assert log.stat().st_size < 200_000
        assert ledger.verify().ok


def test_a_backup_is_a_journal_that_can_be_read_anywhere(journal, open_folder):
    with Ledger.open(str(journal)) as ledger:
        copy_journal(ledger.journal, str(open_folder / "backup.db"), Clock())
    assert not os.path.exists(f"{open_folder}/backup.db-wal")  # noqa: PTH110
    protect(journal)
    assert read(open_folder / "backup.db")[:2] == ["20 19 9 True", "20"]
