"""Segments of journals in a database: what is damaged or of another history is left aside and written anew; nothing fails."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from attrs import evolve

from ledger import Adjusted, Ledger
from ledger.derived import keep_up
from ledger.events import DealOrder
from ledger.journal.backup import copy_journal
from ledger.journal.merged import extend, packs
from ledger.journal.verify.walk import verify_account
from tests.support.journals import ACCOUNT, Clock, everything, fill, new_url
from tests.support.segments import files, forge, forge_merged
from tools.bench.journals import generate_events

ROOT = Path(__file__).resolve().parents[2]
EVENTS = [*islice(generate_events(10**9, seed=7, nets=False), 350)]
SIZE = 50


@contextmanager
def reopened(url: str, folder: Path) -> Iterator[Ledger]:
    """Open a journal with segments of 50 postings."""
    with Ledger.open(url, now_us=Clock(), segments=folder / "segments") as ledger:
        ledger.journal.segments.size = SIZE
        yield ledger


@pytest.fixture
def ledger(url, tmp_path):
    """A ledger with an account of 350 events, of which 300 postings are in segments."""
    with reopened(url, tmp_path) as ledger:
        ledger.account(ACCOUNT).open(currency="USD", mode="hedging", clock="UTC")
        ledger.account(ACCOUNT).record_many(EVENTS)
        assert ledger.account(ACCOUNT).derived.pack() == 6
        yield ledger


def replayed(ledger: Ledger) -> object:
    """Return what a replay and the trades come to."""
    account = ledger.account(ACCOUNT)
    return account.replay(checkpoints=False).state(), list(account.trades())


def packed(ledger: Ledger) -> int:
    """Return how many postings are read out of segments."""
    return sum(map(len, ledger.journal.segments.blocks(ACCOUNT, 0, ledger.account(ACCOUNT).version)))


def without(ledger: Ledger) -> object:
    """Return what ``replayed`` does, of the rows alone."""
    segments = ledger.journal.segments
    folder, segments.folder = segments.folder, None
    try:
        return replayed(ledger)
    finally:
        segments.folder = folder


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def replace(path: Path) -> None:
    """Put another segment of the same account in its place."""
    path.write_bytes(min(path.parent.iterdir()).read_bytes())


def write_over(path: Path) -> None:
    path.write_text("some notes of somebody" * 100, encoding="utf-8")


def test_a_file_that_is_not_what_was_written_is_left_aside_and_written_anew(url, ledger, tmp_path, caplog):
    expected, whole = without(ledger), {path: path.read_bytes() for path in files(ledger)}
    assert packed(ledger) == 6 * SIZE
    for damage in (cut_off, empty, flip, replace, write_over):
        damage(files(ledger)[2])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert replayed(ledger) == expected
        assert f"segment {files(ledger)[2]} is left aside" in caplog.text
        assert packed(ledger) == 2 * SIZE
        assert verify_account(ledger.journal, ACCOUNT).problems == ()
        with reopened(url, tmp_path) as other:
            assert other.journal.segments.coverage(ACCOUNT)[:2] == (2, 4)
            assert other.account(ACCOUNT).derived.pack() == 4
            assert replayed(other) == expected
        assert {path: path.read_bytes() for path in files(ledger)} == whole


def test_segments_of_another_history_are_not_used_and_written_anew(ledger, tmp_path):
    """The same account, recorded at other moments: as where another journal is put in the place of one."""
    other_url = f"sqlite:///{tmp_path}/other.db"
    Ledger.create(other_url).close()
    with reopened(other_url, tmp_path) as other:
        other.account(ACCOUNT).open(currency="USD", mode="hedging", clock="UTC")
        other.account(ACCOUNT).record_many(EVENTS[1:])
        expected = without(other)
        assert (packed(other), replayed(other)) == (0, expected)
        assert other.account(ACCOUNT).derived.pack() == 6
        assert (packed(other), replayed(other)) == (6 * SIZE, expected)
    assert (packed(ledger), replayed(ledger)) == (0, without(ledger))


def test_of_a_journal_that_was_taken_back_the_segments_up_to_there_are_used(ledger, tmp_path):
    older = f"sqlite:///{tmp_path}/older.db"
    Ledger.create(older).close()
    rows = list(ledger.journal.rows(ACCOUNT, upto=200))
    with reopened(older, tmp_path) as taken_back:
        taken_back.journal.append_verbatim(ACCOUNT, rows)
        assert packed(taken_back) == 3 * SIZE
        taken_back.account(ACCOUNT).record_many([fill(10**6 + n, n / 1000) for n in range(100)])
        assert replayed(taken_back) == without(taken_back)
        assert taken_back.account(ACCOUNT).derived.pack() == 2
        assert packed(taken_back) == 5 * SIZE
        assert replayed(taken_back) == without(taken_back)


def test_verify_finds_a_segment_that_passes_for_one_and_holds_something_else(ledger):
    """Its digest and chain hash are right: whoever can write the folder could make it."""
    version = forge(ledger, 3, 20)
    assert replayed(ledger) != without(ledger)
    (found,) = verify_account(ledger.journal, ACCOUNT).problems
    assert (found.version, found.field) == (version, "segments")
    assert ledger.account(ACCOUNT).derived.drop()
    assert verify_account(ledger.journal, ACCOUNT).problems == ()
    assert replayed(ledger) == without(ledger)


def test_dropped_while_others_read_and_written_by_two_at_once(url, ledger, tmp_path):
    """A reader goes on with the rows where the files are gone, and of two writers both write the same."""
    expected = without(ledger)
    reading = iter(ledger.journal.postings(ACCOUNT, everything(ledger.journal)))
    begun = [next(reading) for _ in range(80)]
    with reopened(url, tmp_path) as other:
        assert other.account(ACCOUNT).derived.drop()
        assert files(ledger) == []
        assert not other.account(ACCOUNT).derived.drop()
        rows = [*begun, *reading]
        with ThreadPoolExecutor(2) as threads:
            packed_by = list(threads.map(lambda one: one.account(ACCOUNT).derived.pack(), [ledger, other]))
        assert 6 in packed_by
        assert packed(other) == 6 * SIZE
        assert rows == [*other.journal.postings(ACCOUNT, everything(other.journal))]
        assert replayed(other) == replayed(ledger) == expected


def test_files_that_another_process_writes_while_one_looks_for_those_to_write_are_kept(url, ledger, tmp_path, monkeypatch):
    for path in files(ledger)[3:]:
        path.unlink()
    segments, names, written = ledger.journal.segments, ledger.journal.segments._names, list[int]()

    def looked(account):
        found = names(account)
        if not written:
            with reopened(url, tmp_path) as other:
                written.append(other.account(ACCOUNT).derived.pack())
        return found

    with monkeypatch.context() as patched:
        patched.setattr(segments, "_names", looked)
        segments._due.clear()
        assert ledger.account(ACCOUNT).derived.pack() == 0
    assert written == [3]
    assert segments.coverage(ACCOUNT)[:2] == (6, 0)
    assert segments._due[ACCOUNT] < ledger.account(ACCOUNT).version + SIZE  # nothing is put off, as after a failure


def test_a_replay_from_the_start_leaves_segments_and_a_daemon_adds_to_them(url, tmp_path):
    with reopened(url, tmp_path) as ledger:
        account = ledger.account(ACCOUNT)
        account.open(currency="USD", mode="hedging", clock="UTC")
        account.record_many(EVENTS[:200])
        account.replay(until="2020-09-13", checkpoints=True)
        assert packed(ledger) == 0  # of a moment it may be no long one
        account.replay()
        assert packed(ledger) == 4 * SIZE
        account.record_many(EVENTS[200:])
        keep_up(ledger, _Until(lambda: packed(ledger) == 6 * SIZE), poll_seconds=0.01)
        assert replayed(ledger) == without(ledger)


def merged(ledger: Ledger) -> list[int]:
    """Return how many postings each merged segment that can be used has."""
    account = ledger.account(ACCOUNT)
    return [len(rows) for _, rows in packs(ledger.journal, ACCOUNT, everything(ledger.journal), account.terms)]


def merge(ledger: Ledger) -> int:
    """Write the merged segments that are not there, of 50 postings at most."""
    account = ledger.account(ACCOUNT)
    ledger.journal.segments.merged_due.clear()
    return extend(ledger.journal, ACCOUNT, account.version, account.terms, most=SIZE)


def test_merged_segments_are_used_up_to_what_arrived_late_and_written_anew_from_there(ledger):
    account = ledger.account(ACCOUNT)
    assert merge(ledger) == len(merged(ledger)) > 5
    before = merged(ledger)
    assert replayed(ledger) == without(ledger)
    late = evolve(EVENTS[150], deal=10**7)
    account.record_many([late])
    kept = merged(ledger)
    assert 0 < len(kept) < len(before)
    assert kept == before[: len(kept)]
    assert replayed(ledger) == without(ledger)
    assert account.replay(version=351).state() == account.replay(version=351, checkpoints=False).state()
    assert merge(ledger) == len(before) - len(kept)
    assert sum(merged(ledger)) > sum(kept)
    assert replayed(ledger) == without(ledger)
    assert verify_account(ledger.journal, ACCOUNT).problems == ()


def test_a_merged_segment_that_was_damaged_is_left_aside_and_one_that_was_forged_is_found(ledger):
    assert merge(ledger) > 5
    path, expected = sorted(path for path in files(ledger)[0].parent.iterdir() if path.suffix == ".merged")[2], without(ledger)
    whole = path.read_bytes()
    for damage in (cut_off, empty, flip, write_over):
        damage(path)
        assert (len(merged(ledger)), replayed(ledger)) == (2, expected)
        path.write_bytes(whole)
    version = forge_merged(ledger, 3, 20)
    assert replayed(ledger) != expected
    (found,) = verify_account(ledger.journal, ACCOUNT).problems
    assert (found.version, found.field) == (version, "segments")


def record_more(ledger: Ledger) -> None:
    first = ledger.account(ACCOUNT).version
    ledger.account(ACCOUNT).record_many(
        [evolve(fill(10**7 + n, 0), time_msc=EVENTS[-1].time_msc + n) for n in range(first, first + 120)]
    )


def record_late(ledger: Ledger) -> None:
    ledger.account(ACCOUNT).record(evolve(EVENTS[150], deal=10**7 - 1))


def order_by_time(ledger: Ledger) -> None:
    order = Adjusted(
        operator="o", reason="r", time_msc=EVENTS[-1].time_msc, order_before=DealOrder.TICKET, order_after=DealOrder.TIME
    )
    ledger.journal.append(ACCOUNT, [order])


@pytest.mark.parametrize(
    "steps",
    [
        [record_late],
        [order_by_time],
        [record_more, merge, record_late],
        [record_more, merge, record_late, record_more, merge],
    ],
)
def test_a_merged_segment_that_answers_for_earlier_versions_alone_is_compared_with_what_was_known_then(ledger, steps):
    assert merge(ledger) > 5
    versions = [ledger.account(ACCOUNT).version]
    for step in steps:
        step(ledger)
        versions.append(ledger.account(ACCOUNT).version)
    assert verify_account(ledger.journal, ACCOUNT).problems == ()
    expected = states(ledger, versions)
    kept = {path: path.read_bytes() for path in files(ledger)[0].parent.glob("*.merged")}
    compared = set()
    for number in range(1, len(kept) + 1, 2):
        version = forge_merged(ledger, number, 20)
        if states(ledger, versions) != expected:
            (found,) = verify_account(ledger.journal, ACCOUNT).problems
            assert (found.version, found.field) == (version, "segments")
            compared.add(number)
        for path, content in kept.items():
            path.write_bytes(content)
    assert compared >= {1, 3, 5}


def states(ledger: Ledger, versions: list[int]) -> list[object]:
    """Return what a replay from the start comes to at each of some versions."""
    return [ledger.account(ACCOUNT).replay(version=one, checkpoints=False).state() for one in versions]


class _Until:
    """A sign to stop that is set once something has happened."""

    def __init__(self, has_happened: Callable[[], bool]) -> None:
        self._has_happened = has_happened

    def is_set(self) -> bool:
        """Return whether it has."""
        return self._has_happened()


def test_on_a_full_disk_there_are_no_segments_and_nothing_fails(tmp_path):
    """Real writes that fail half way; afterwards the same program writes them."""
    program = """
import resource, sys
from tests.contract.test_segments import *
with reopened(sys.argv[1], Path(sys.argv[2])) as ledger:
    account = ledger.account(ACCOUNT)
    account.open(currency="USD", mode="hedging", clock="UTC")
    account.record_many(EVENTS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    account.replay()
    print(account.derived.pack(), [*Path(sys.argv[2]).rglob("*partial"), *files(ledger)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with reopened(sys.argv[1], Path(sys.argv[2])) as ledger:
    print(ledger.account(ACCOUNT).derived.pack())
"""
    command = [sys.executable, "-c", program, new_url("sqlite", tmp_path), str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout == "0 []\n6\n", run.stderr


def rights(ledger: Ledger) -> set[int]:
    """Return who may do what with the folder of the segments, and with those of the accounts."""
    folder = ledger.journal.segments.folder
    assert folder is not None
    return {one.stat().st_mode & 0o777 for one in (folder, *(file.parent for file in files(ledger)))}


def test_beside_a_file_they_are_in_a_folder_that_its_readers_can_read_and_no_others(tmp_path):
    url = new_url("sqlite", tmp_path)
    file = tmp_path / "journal.db"
    file.chmod(0o640)
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.segments.size = SIZE
        ledger.account(ACCOUNT).open(currency="USD", mode="hedging", clock="UTC")
        ledger.account(ACCOUNT).record_many(EVENTS[:150])
        assert ledger.account(ACCOUNT).derived.pack()
        assert ledger.journal.segments.folder == tmp_path / "journal.db.segments"
        if sys.platform != "win32":  # which has no such rights
            assert rights(ledger) == {0o750}
            file.chmod(0o600)
            ledger.account(ACCOUNT).record_many(EVENTS[150:250])
            assert ledger.account(ACCOUNT).derived.pack()
            assert rights(ledger) == {0o700}
            file.chmod(0o664)
        ledger.account(ACCOUNT).record_many(EVENTS[250:])
        assert ledger.account(ACCOUNT).derived.pack()
        assert rights(ledger) <= {0o775, 0o777}
        copy_journal(ledger.journal, f"sqlite:///{tmp_path}/backup.db", Clock())
        assert not (tmp_path / "backup.db.segments").exists()
        assert ledger.account(ACCOUNT).derived.drop()
        assert not (tmp_path / "journal.db.segments").exists()
    with Ledger.open("memory://") as ledger:
        assert ledger.journal.segments.extend(ACCOUNT, 10**6) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such rights")
def test_a_group_that_is_not_the_journals_cannot_read_them(tmp_path):
    url = new_url("sqlite", tmp_path)
    groups = {os.getegid() + 1} if os.geteuid() == 0 else {*os.getgroups()} - {os.getegid()}
    if not groups:
        pytest.skip("this user is in one group alone")
    os.chown(tmp_path / "journal.db", -1, groups.pop())
    (tmp_path / "journal.db").chmod(0o640)
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.segments.size = SIZE
        ledger.account(ACCOUNT).open(currency="USD", mode="hedging", clock="UTC")
        ledger.account(ACCOUNT).record_many(EVENTS)
        assert ledger.account(ACCOUNT).derived.pack() == 6
        assert rights(ledger) == {0o700}


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such rights")
def test_in_a_folder_that_settings_name_only_who_writes_them_can_read_them(url, ledger, tmp_path):
    """Those who can read a journal on Postgres have a password; no right to a file means that."""
    assert rights(ledger) == {0o700}
    folder = tmp_path / "segments"
    folder.chmod(0o755)  # an administrator made it, and may have other things there
    (path,) = folder.iterdir()
    path.chmod(0o755)
    files(ledger)[-1].unlink()
    with reopened(url, tmp_path) as other:
        assert other.account(ACCOUNT).derived.pack() == 1
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o755, 0o700)


def test_a_folder_that_cannot_be_made_or_read_is_none(url, tmp_path):
    (tmp_path / "segments").write_text("not a folder", encoding="utf-8")
    with reopened(url, tmp_path) as ledger:
        ledger.account(ACCOUNT).open(currency="USD", mode="hedging", clock="UTC")
        ledger.account(ACCOUNT).record_many(EVENTS)
        assert ledger.account(ACCOUNT).derived.pack() == 0
        assert (packed(ledger), replayed(ledger)) == (0, without(ledger))


@pytest.mark.usefixtures("ledger")
def test_a_question_about_orders_reads_no_file(url, tmp_path, monkeypatch):
    """Whoever folds a long history anew looks whether there is a file to write, and reads all files for that."""
    with reopened(url, tmp_path) as again:
        opened: list[Path] = []
        read = again.journal.segments._read

        def noted(path: Path, key: tuple[int, int, int]) -> object:
            opened.append(path)
            return read(path, key)

        monkeypatch.setattr(again.journal.segments, "_read", noted)
        assert again.account(ACCOUNT).orders() == ()
        assert opened == []
        again.account(ACCOUNT).replay()
        assert opened
