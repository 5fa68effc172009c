"""A restored journal is a journal of its own that names its parent; what is left of another one is never thrown away."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import AccountMismatch, JournalError, JournalReplaced, Ledger
from ledger.cli import main
from ledger.journal.backup import copy_journal, restore_journal
from ledger.seals import create
from tests.support.journals import ACCOUNT, DURABLE, OTHER, Clock, Intruder, empty_postgres_url, fill, new_url, opened

KEY = Ed25519PrivateKey.generate()


@pytest.fixture(params=DURABLE)
def urls(request, tmp_path):
    """Where journals may be restored to, one after the other, in one kind of database."""
    numbers = iter(range(100))

    def url():
        return f"sqlite:///{tmp_path}/{next(numbers)}.db" if request.param == "sqlite" else empty_postgres_url()

    return url


@pytest.fixture
def desk(urls):
    with Ledger.create(urls(), now_us=Clock()) as ledger:
        for account in (ACCOUNT, OTHER):
            ledger.journal.append(account, [opened(account), *(fill(n, n) for n in range(1, 10))])
        yield ledger


def restored(ledger, url):
    restore_journal(ledger.journal, url, Clock())
    return Ledger.open(url, now_us=Clock())


def test_a_restored_journal_names_its_parent_and_where_they_part(desk, urls):
    with restored(desk, urls()) as child, restored(child, urls()) as grandchild:
        ids = [one.journal.identity() for one in (desk, child, grandchild)]
        assert len(set(ids)) == 3
        assert [one.journal_id for one in child.journal.parents()] == ids[:1]
        assert [one.journal_id for one in grandchild.journal.parents()] == [ids[1], ids[0]]
        assert child.journal.parents()[0].versions == {ACCOUNT: 10, OTHER: 10}
        assert grandchild.verify().ok
    assert desk.journal.parents() == ()


def test_a_backup_is_the_same_journal_and_knows_its_parents(desk, urls):
    url = urls()
    with restored(desk, urls()) as child:
        copy_journal(child.journal, url, Clock())
        with Ledger.open(url) as backup:
            assert backup.journal.identity() == child.journal.identity()
            assert backup.journal.parents() == child.journal.parents()


def test_a_seal_of_the_parent_proves_what_both_have(desk, urls):
    seal = create(desk.journal, KEY, desk.now_us())
    with restored(desk, urls()) as child, restored(child, urls()) as grandchild:
        for one in (child, grandchild):
            one.account(ACCOUNT).record(fill(100, 20))
            assert one.verify(since=seal).ok


def test_a_seal_that_the_parent_made_later_shows_what_is_missing(desk, urls):
    with restored(desk, urls()) as child:
        desk.account(ACCOUNT).record(fill(100, 20))
        desk.account(ACCOUNT).record(fill(101, 21))
        child.account(ACCOUNT).record(fill(200, 20))  # the journals have parted
        child.account(ACCOUNT).record(fill(201, 21))
        seal = create(desk.journal, KEY, desk.now_us())
        [problem] = child.verify(since=seal).problems
        assert (problem.account, problem.version) == (str(ACCOUNT), 11)
        assert "version 12 was sealed there, and this journal was restored from its version 10" in problem.what
        assert desk.verify(since=seal).ok


def test_a_seal_of_a_sibling_copy_is_of_another_journal(desk, urls):
    with restored(desk, urls()) as child, restored(desk, urls()) as sibling:
        seal = create(sibling.journal, KEY, sibling.now_us())
        for one in (desk, child):
            [problem] = one.verify(since=seal).problems
            assert problem.what.startswith("the seal is of another journal")


def test_a_rewritten_copy_is_not_accepted_as_a_restored_one(desk, urls):
    seal = create(desk.journal, KEY, desk.now_us())
    url = urls()
    with Ledger.create(url, now_us=Clock()) as other:
        other.journal.append(ACCOUNT, [opened(), *(fill(n, n, profit=1) for n in range(1, 10))])
        other.journal.append(OTHER, [opened(OTHER), *(fill(n, n) for n in range(1, 10))])
    intruder = Intruder(url)
    intruder(
        "INSERT INTO parents (number, journal_id, heads) VALUES (1, ?, ?)",
        desk.journal.identity(), f'{{"{ACCOUNT}": 10, "{OTHER}": 10}}',
    )  # fmt: skip
    with Ledger.open(url) as other:
        assert "the chain was rewritten" in other.verify(since=seal).problems[0].what


@pytest.mark.parametrize("steps", [0, 1, 5, 8])
def test_a_restore_cut_short_goes_on_as_of_its_beginning(steps, desk, urls, monkeypatch):
    monkeypatch.setattr("ledger.journal.backup._ROWS", 3)
    url, left = urls(), [steps]

    def fail(_):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_journal(desk.journal, url, Clock(), fail)
    desk.account(ACCOUNT).record(fill(100, 20))
    restore_journal(desk.journal, url, Clock())
    with Ledger.open(url) as child:
        assert child.account(ACCOUNT).version == child.journal.parents()[0].versions[ACCOUNT] == 10
        assert child.verify().ok


def test_what_was_begun_as_a_restore_is_no_backup_and_the_other_way_round(desk, urls):
    for begin, go_on in ((restore_journal, copy_journal), (copy_journal, restore_journal)):
        url = urls()
        with pytest.raises(KeyboardInterrupt):
            begin(desk.journal, url, Clock(), _fail)
        with pytest.raises(AccountMismatch, match="unfinished"):
            go_on(desk.journal, url, Clock())


def _fail(_):
    raise KeyboardInterrupt


def test_parents_cannot_be_changed(desk, urls):
    url = urls()
    restored(desk, url).close()
    for statement in ("UPDATE parents SET heads = '{}'", "DELETE FROM parents"):
        with pytest.raises(Exception, match=r"immutable|permission"):
            Intruder(url)(statement)


# ---- what is left of a journal


@pytest.fixture
def path(tmp_path):
    """A journal with a backup, whose engine was killed: its last events are in the -wal alone."""
    path = tmp_path / "desk.db"
    with Ledger.create(str(path), now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 10))])
        copy_journal(ledger.journal, str(tmp_path / "backup.db"), Clock())
    ledger = Ledger.open(str(path), now_us=Clock())
    for deal in range(10, 20):
        ledger.account(ACCOUNT).record(fill(deal, deal))
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", tmp_path / f"killed.db{suffix}")
    ledger.close()
    return tmp_path / "killed.db"


@pytest.mark.parametrize("is_empty", [False, True], ids=["gone", "empty"])
@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_no_journal_is_made_where_the_log_of_another_one_is_left(suffix, is_empty, path):
    log = Path(f"{path}{suffix}")
    if suffix == "-journal":
        Path(f"{path}-wal").rename(log)
    left = log.read_bytes()
    path.write_bytes(b"") if is_empty else path.unlink()
    for make in (lambda: Ledger.create(str(path)), lambda: restore(path)):
        with pytest.raises(JournalError, match="may hold events that are nowhere else"):
            make()
    with pytest.raises(SystemExit) as ended:
        main(["restore", str(path.with_name("backup.db")), "--journal", str(path)])
    assert ended.value.code == 2
    assert log.read_bytes() == left


@pytest.mark.parametrize("is_empty", [False, True], ids=["gone", "empty"])
@pytest.mark.parametrize("is_synced", [False, True], ids=["written", "synced"])
def test_the_log_of_a_journal_that_was_just_being_made_is_no_reason_to_refuse(is_synced, is_empty, tmp_path):
    path, log = tmp_path / "new.db", tmp_path / "new.db-journal"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("PRAGMA user_version = 7")
        left = log.read_bytes()
        other.execute("ROLLBACK")
    path.write_bytes(b"") if is_empty else path.unlink()
    log.write_bytes(bytes.fromhex("d9d505f920a163d700000000") + left[12:] if is_synced else left)  # as SQLite does at the end
    with Ledger.create(str(path)) as ledger:
        assert ledger.verify().ok
    assert not log.exists()


def test_the_rollback_journal_of_a_database_that_had_pages_is_kept(tmp_path):
    path, log = tmp_path / "desk.db", tmp_path / "desk.db-journal"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE facts (fact)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO facts VALUES (1)")
        left = bytes.fromhex("d9d505f920a163d700000001") + log.read_bytes()[12:]
        other.execute("ROLLBACK")
    path.write_bytes(b"")
    log.write_bytes(left)
    with pytest.raises(JournalError, match="may hold events that are nowhere else"):
        Ledger.create(str(path))
    assert log.read_bytes() == left


def restore(path):
    with Ledger.open(str(path.with_name("backup.db"))) as backup:
        restore_journal(backup.journal, str(path), Clock())


def test_the_ten_events_come_back_with_the_file(path):
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(JournalError):
        restore(path)
    path.write_bytes(before)
    with Ledger.open(str(path)) as ledger:
        assert ledger.verify().ok
        assert ledger.account(ACCOUNT).version >= 20


def test_an_empty_log_is_no_reason_to_refuse(path):
    path.unlink()
    Path(f"{path}-wal").write_bytes(b"")
    restore(path)
    with Ledger.open(str(path)) as ledger:
        assert ledger.account(ACCOUNT).version == 10


def test_a_backup_that_was_copied_over_a_killed_journal_is_not_mixed_with_its_log(path):
    shutil.copy(path.with_name("backup.db"), path)
    copied = path.read_bytes()
    for _ in range(2):
        with pytest.raises(JournalReplaced, match="its -wal belongs to another database"):
            Ledger.open(str(path))
    assert path.read_bytes() == copied


def test_a_journal_that_was_made_before_files_were_marked_is_opened(tmp_path):
    url = new_url("sqlite", tmp_path)
    Intruder(url)("PRAGMA user_version = 0")
    with Ledger.open(url) as ledger:
        ledger.account(ACCOUNT).record(opened())
    with Ledger.open(url) as ledger:
        ledger.account(ACCOUNT).record(fill(1, 1))
