"""Archives of every kind of journal: what is written, in steps; what is refused; what a verification finds."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import weakref
from decimal import Decimal
from functools import partial
from typing import Any, Final

import duckdb
import pyarrow.parquet
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import AccountMismatch, AccountMoved, BadValue, CorruptEvent, JournalUnavailable, Ledger
from ledger.archive import check, columns, read, restore, write
from ledger.archive.form import MANIFEST, account_folder, folder_name
from ledger.archive.manifest import read_manifest
from ledger.archive.read import ArchivedAccount
from ledger.archive.restore import ArchiveSource
from ledger.archive.verify import verify_archive
from ledger.archive.write import archive
from ledger.clock import utc_text_us
from ledger.codec import Stored
from ledger.forensics import fleet_digest, fold_archive, fold_journal
from ledger.forensics.questions import Where, replay, replay_journal
from ledger.forensics.views import connect
from ledger.gateway.serve.lock import FileLock
from ledger.journal.backup import restore_journal
from ledger.journal.chain import covered, digest, genesis
from ledger.journal.evidence import decompress
from ledger.journal.location import MOVED, FormerJournal, Location
from ledger.journal.sql.moving import restore_location
from ledger.seals import read as read_seal
from ledger.values import AccountId
from tests.support.journals import (
    ACCOUNT,
    OTHER,
    START_US,
    Clock,
    Intruder,
    cash,
    digest_of,
    fill,
    ghost,
    new_url,
    opened,
    revised,
)

RAW = b'{"positions": []}'


def open_journal(url):
    return Ledger.open(url, now_us=Clock()).journal


def record(ledger, *events, account=ACCOUNT):
    ledger.journal.append(account, list(events), evidence=[RAW], conflicts="keep")


@pytest.fixture
def filled(ledger):
    """Two accounts with what arrives late, is revised, and rests on a raw answer."""
    for account in (ACCOUNT, OTHER):
        record(ledger, opened(account), cash(1, 0, profit=1000), fill(2, 1), fill(4, 4), account=account)
        record(ledger, fill(3, 2), ghost(2, 5, evidence=digest_of(RAW)), revised(fill(4, 4, profit=7)), account=account)
    return ledger


@pytest.fixture
def run(url, tmp_path):
    """Archive the journal, as another program would."""
    return partial(archive, partial(open_journal, url), tmp_path / "archive", lambda: START_US)


def test_an_archive_is_the_journal_and_grows_with_it(filled, run, tmp_path):
    folder = tmp_path / "archive"
    assert [(one.account, one.events) for one in run()] == [(ACCOUNT, 7), (OTHER, 7)]
    record(filled, cash(9, 9), revised(fill(4, 4, profit=8)))
    assert [one.events for one in run()] == [2, 0]
    assert [one.events for one in run()] == [0, 0]
    found = [fold_archive(account_folder(folder, account)) for account in (ACCOUNT, OTHER)]
    assert found == [fold_journal(filled.account(account)) for account in (ACCOUNT, OTHER)]
    assert fleet_digest(found) != fleet_digest(found[:1])
    accounts, problems = verify_archive(folder)
    assert (problems, [one.version for one in accounts]) == ([], [9, 7])
    assert {one.account: one.head for one in accounts} == {
        account: head.hash.hex() for account, head in filled.journal.heads().items()
    }


def test_what_was_read_of_an_account_is_let_go_with_it(filled, run, tmp_path):
    """At once, without a search for garbage: a fold makes few objects and holds megabytes."""
    run()
    account = ArchivedAccount(account_folder(tmp_path / "archive", ACCOUNT))
    assert account.terms(7) is not None
    held = weakref.ref(account)
    gc.disable()
    try:
        del account
        assert held() is None
    finally:
        gc.enable()


def test_a_fold_is_the_same_over_the_ends_of_packs_groups_and_segments(ledger, run, tmp_path, monkeypatch):
    """With small ones, so that there are many ends, at versions around each of them; late and revised deals on both sides."""
    for module, name, size in (
        (columns, "ROWS_MAX", 20), (read, "GROUP_ROWS", 40), (write, "GROUP_ROWS", 40), (write, "SEGMENT_ROWS", 100),
        (write, "_BATCH", 10),
    ):  # fmt: skip
        assert hasattr(module, name)
        monkeypatch.setattr(module, name, size)
    record(ledger, opened())
    for begin in range(1, 250, 5):
        late = fill(begin + 1000, max(0, begin - 50), symbol="XAUUSD", volume="0.01")
        record(ledger, *(fill(deal, deal) for deal in range(begin, begin + 4)), late, revised(fill(begin, begin, profit=7)))
        if begin == 101:
            run()
    run()
    place = account_folder(tmp_path / "archive", ACCOUNT)
    rows = [row for block in ledger.journal.raw_rows(ACCOUNT) for row in block]
    assert len(ArchivedAccount(place).manifest.segments) == 4
    assert verify_archive(tmp_path / "archive")[1] == []
    for version in (1, 19, 20, 21, 39, 40, 41, 99, 100, 101, 122, 123, 222, 223, len(rows)):
        moment = utc_text_us(rows[version - 1][Stored._fields.index("recorded_us")])
        for asked in ({"known_at": moment}, {"until": moment}, {"known_at": moment, "until": moment}):
            assert fold_archive(place, **asked) == fold_journal(ledger.account(ACCOUNT), **asked), (version, asked)


def test_an_archive_is_of_one_moment_while_an_engine_records(filled, run, tmp_path):
    """What comes while the first account is written is not in the second one either: the next run has it."""
    found = run(progress=lambda _: record(filled, cash(50, 50), account=OTHER))
    assert [one.version for one in found] == [7, 7]
    assert filled.account(OTHER).version == 8
    assert verify_archive(tmp_path / "archive")[1] == []
    assert [one.events for one in run()] == [0, 1]


def test_several_processes_archive_the_same(filled, run, tmp_path):
    run()
    shutil.move(tmp_path / "archive", tmp_path / "one")
    run(jobs=2)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("archive/accounts/*/*")} == {
        path.name: path.read_bytes() for path in tmp_path.glob("one/accounts/*/*")
    }


def test_anybody_follows_the_chain_with_duckdb_and_the_standard_library(filled, run, tmp_path):
    """The rows, the hash over each and its predecessor, and the raw answers: without a line of ours but the canonical bytes."""
    run()
    place = account_folder(tmp_path / "archive", ACCOUNT)
    names = (
        "version, kind, schema, time_msc, recorded_us, natural_key, correlation, caused_by, evidence, deal, deal_type, entry"
    )
    names += ", position_id, order_ticket, symbol, volume, price, commission, fee, swap, profit, magic, reason, comment, origin"
    files = duckdb.read_parquet(f"{place}/events-*.parquet").order("version")
    rows = files.project(f"{names}, data, hash").fetchall()
    before = genesis(ACCOUNT)
    for *covered_columns, found in rows:
        assert digest(tuple(covered_columns), before) == found
        before = found
    assert before == filled.journal.head(ACCOUNT).hash
    [(sha256, _, raw)] = duckdb.read_parquet(f"{place}/evidence-*.parquet").fetchall()
    assert (sha256.hex(), raw) == (digest_of(RAW), RAW)
    assert covered(next(filled.journal.rows(ACCOUNT))) == rows[0][:-1]


def test_a_journal_with_another_history_is_refused_by_name(filled, run, tmp_path):
    run()
    (tmp_path / "restored").mkdir()
    other = new_url("sqlite", tmp_path / "restored")
    for known in (3, 20):  # it ends before what is archived; it goes on behind it
        with Ledger.open(other, now_us=Clock()) as journal:
            record(journal, opened(), *(cash(100 + at, at) for at in range(known)))
        with pytest.raises(AccountMismatch, match=f"account {ACCOUNT}: version 7 is archived .* another history"):
            archive(partial(open_journal, other), tmp_path / "archive", lambda: START_US)
    assert verify_archive(tmp_path / "archive")[1] == []


def test_an_account_with_another_history_keeps_no_other_from_being_archived(filled, run, forge, tmp_path):
    folder = tmp_path / "archive"
    run()
    forge(folder)
    for account in (ACCOUNT, OTHER):
        record(filled, cash(9, 9), account=account)
    with pytest.raises(AccountMismatch, match=rf"account {ACCOUNT}: version 7 (?s:.*)archived meanwhile: 1$"):
        run(key=Ed25519PrivateKey.generate())
    manifests = [read_manifest(account_folder(folder, account)) for account in (ACCOUNT, OTHER)]
    assert [one and one.head.version for one in manifests] == [7, 8]
    assert json.loads((folder / "archive.json").read_text())["seals"] == []  # which would state the refused account too


def test_a_journal_that_has_nothing_to_do_with_the_archive_is_refused(filled, run, tmp_path):
    folder = tmp_path / "archive"
    run(accounts=[OTHER])
    (tmp_path / "elsewhere").mkdir()
    other = new_url("sqlite", tmp_path / "elsewhere")
    with Ledger.open(other, now_us=Clock()) as journal:
        record(journal, opened())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(BadValue, match=f"expected journal {filled.journal.identity()}.*: archive it into a new folder"):
        archive(partial(open_journal, other), folder, lambda: START_US)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_process_of_a_killed_run_still_keeps_others_from_its_account(filled, run, tmp_path):
    run()
    lock = FileLock(account_folder(tmp_path / "archive", ACCOUNT) / "archive.lock")
    assert lock.acquire()
    with pytest.raises(JournalUnavailable, match="another run is writing this archive"):
        run()
    lock.release()
    assert run()


def test_a_journal_that_a_process_cannot_open_is_reported_as_that(filled, url, tmp_path):
    opener = partial(open_in_one_process, os.getpid(), url)
    with pytest.raises(JournalUnavailable, match="too many clients"):
        archive(opener, tmp_path / "archive", lambda: START_US, jobs=2)


def open_in_one_process(process, url):
    if os.getpid() != process:
        raise JournalUnavailable("too many clients")
    return open_journal(url)


def test_a_damaged_name_of_a_raw_answer_is_a_damaged_journal(filled, url, run):
    intruder = Intruder(url)
    intruder.disarm()
    intruder("UPDATE events SET evidence = 'zz' WHERE evidence IS NOT NULL")
    with pytest.raises(CorruptEvent, match="expected the SHA-256 of a raw answer, found 'zz'"):
        run()


def test_what_a_killed_first_run_left_is_no_foreign_file(filled, run, tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / ".archive.json.0f2a9c51.partial").write_text("{")
    run()
    assert not list(folder.glob(".*"))


def test_of_two_archivers_at_once_one_is_refused(filled, run, tmp_path):
    run()
    lock = FileLock(tmp_path / "archive" / "archive.lock")
    assert lock.acquire()
    with pytest.raises(JournalUnavailable, match="another run is writing this archive"):
        run()
    lock.release()
    assert run()


def test_a_folder_that_is_no_archive_is_left_alone(filled, run, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "thesis.txt").write_text("mine")
    with pytest.raises(Exception, match="is no archive, and not empty"):
        run()


def test_a_segment_is_read_back_before_a_manifest_names_it(filled, run, tmp_path, monkeypatch):
    """A disk that stores something else than what was written: nothing is archived, and the next run repairs it."""
    original = check.read_back

    def on_a_bad_disk(place, account, files, *rest):
        path = place / files[0].file
        table = pyarrow.parquet.read_table(path)
        at = table.schema.get_field_index("profit")
        changed = table.set_column(at, table.field(at), pyarrow.array([5] * len(table), pyarrow.int64()))
        pyarrow.parquet.write_table(changed, path)
        return original(place, account, (check.file_of(path, len(table)), files[1]), *rest)

    monkeypatch.setattr(write, "read_back", on_a_bad_disk)
    with pytest.raises(CorruptEvent, match="version 1 is not what was recorded"):
        run()
    assert not list(tmp_path.glob(f"archive/accounts/*/{MANIFEST}"))
    monkeypatch.undo()
    run()
    assert verify_archive(tmp_path / "archive")[1] == []


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_changed_byte_anywhere_is_found(filled, run, tmp_path, at):
    run()
    for kind in ("events", "evidence"):
        [path] = account_folder(tmp_path / "archive", ACCOUNT).glob(f"{kind}-*")
        content = bytearray(path.read_bytes())
        content[int(len(content) * at)] ^= 1
        path.write_bytes(content)
        [problem] = verify_archive(tmp_path / "archive")[1]
        assert f"{kind}-000000000001-000000000007.parquet: expected" in problem.what
        content[int(len(content) * at)] ^= 1
        path.write_bytes(content)
    assert verify_archive(tmp_path / "archive")[1] == []


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("profit", 1, "is not what was recorded"),
        ("placement", 1, "is placed otherwise"),
        ("order_msc", 1, "is placed otherwise"),
        ("version", 1, "expected version 2, found 1"),
    ],
)
def test_rows_that_were_changed_with_all_digests_are_found_by_the_chain(filled, run, tmp_path, column, value, problem):
    run()
    place = account_folder(tmp_path / "archive", ACCOUNT)
    [path] = place.glob("events-*")
    table = pyarrow.parquet.read_table(path)
    at = table.schema.get_field_index(column)
    values = table.column(column).to_pylist()
    values[1] = value
    pyarrow.parquet.write_table(table.set_column(at, table.field(at), pyarrow.array(values, table.field(at).type)), path)
    manifest = json.loads((place / MANIFEST).read_text())
    manifest["segments"][0]["events"] |= {
        "bytes": path.stat().st_size,
        "sha256": check.file_of(path, 7).sha256,
    }
    (place / MANIFEST).write_text(json.dumps(manifest))
    assert [problem in one.what for one in verify_archive(tmp_path / "archive")[1]] == [True]


def test_a_seal_proves_that_nothing_was_cut_off(filled, run, tmp_path):
    key = Ed25519PrivateKey.generate()
    run(key=key)
    folder = tmp_path / "archive"
    place, public = account_folder(folder, OTHER), key.public_key().public_bytes_raw().hex()
    assert verify_archive(folder, public)[1] == []
    manifest = read_manifest(place)
    assert manifest is not None
    assert manifest.segments[0].seal == next((folder / "seals").iterdir()).name
    assert verify_archive(folder, "00")[1][0].what.startswith("it is signed with another key,")
    shutil.rmtree(place)
    assert [one.what for one in verify_archive(folder)[1]] == [
        f"account {OTHER}: it states version 7, and nothing of it is archived: it was cut off, or never archived so far"
    ]


@pytest.fixture
def forge(url, tmp_path):
    """Put another history of an account, which holds by itself, in its place."""

    def forged(folder, account=ACCOUNT):
        (tmp_path / "elsewhere").mkdir()
        other = new_url("sqlite", tmp_path / "elsewhere")
        with Ledger.open(other, now_us=Clock()) as journal:
            record(journal, opened(account), *(cash(100 + at, at, profit=999) for at in range(6)), account=account)
        archive(partial(open_journal, other), tmp_path / "forged", lambda: START_US)
        place = account_folder(folder, account)
        shutil.rmtree(place)
        shutil.copytree(account_folder(tmp_path / "forged", account), place)

    return forged


def describe(folder, **fields):
    path = folder / "archive.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("is_sealed_later", [False, True])
def test_an_account_that_was_written_anew_is_found_by_a_seal(filled, run, forge, tmp_path, is_sealed_later):
    """Whether a segment names the seal or the events were archived before, as by the manual page."""
    folder, key = tmp_path / "archive", Ed25519PrivateKey.generate()
    if is_sealed_later:
        run()
    run(key=key)
    forge(folder)
    describe(folder, accounts={})  # the seal alone shows it
    [problem] = verify_archive(folder, key.public_key().public_bytes_raw().hex())[1]
    assert problem.file == folder_name(ACCOUNT)
    assert re.search(r"the chain was rewritten: .*\.seal states version 7 with chain hash", problem.what)


def test_without_a_seal_the_last_run_shows_what_was_exchanged_or_is_missing(filled, run, forge, tmp_path):
    folder = tmp_path / "archive"
    run()
    forge(folder)
    (account_folder(folder, OTHER) / MANIFEST).unlink()
    assert [(one.file, one.what.split(" states")[0]) for one in verify_archive(folder)[1]] == [
        (folder_name(ACCOUNT), "the chain was rewritten: archive.json"),
        ("archive.json", f"folder {folder_name(OTHER)}: it"),
    ]


def test_a_seal_from_elsewhere_shows_an_end_that_was_cut_off(filled, run, tmp_path):
    """Somebody puts the archive of yesterday in the place of that of today: it holds by itself, seals and all."""
    folder, key = tmp_path / "archive", Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    run(key=key)
    shutil.copytree(folder, tmp_path / "yesterday")
    record(filled, cash(9, 9))
    archive(run.args[0], folder, lambda: START_US + 1_000_000, key=key)
    path = max((folder / "seals").iterdir())
    since = {"kept.seal": read_seal(path.read_text())}
    assert verify_archive(folder, public, since=since)[1] == []
    shutil.rmtree(folder)
    (tmp_path / "yesterday").rename(folder)
    assert verify_archive(folder, public)[1] == []
    [problem] = verify_archive(folder, public, since=since)[1]
    assert (problem.file, "it states version 8, and version 7 is archived" in problem.what) == ("kept.seal", True)


def test_a_trusted_key_that_sealed_nothing_proves_nothing(filled, run, tmp_path):
    run()
    [problem] = verify_archive(tmp_path / "archive", "00")[1]
    assert problem.what.startswith("no finished run sealed the archive with the trusted key")


def test_a_seal_of_some_accounts_is_no_seal_of_the_journal(filled, run, tmp_path):
    key = Ed25519PrivateKey.generate()
    run(key=key, accounts=[ACCOUNT])
    assert verify_archive(tmp_path / "archive", key.public_key().public_bytes_raw().hex())[1] == []
    assert filled.journal.seals() == []
    run(key=key)
    assert len(filled.journal.seals()) == 1


def change_manifest(folder, change):
    path = account_folder(folder, ACCOUNT) / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


#: What is changed in a manifest, and what is said of it.
CHANGES: Final = [
    (lambda one: one["scales"].update(money=5), "the manifest has the scales"),
    (lambda one: one.update(scales=[]), "the manifest has the scales"),
    (lambda one: one["segments"][0].update(seal=[1]), "seal: expected a text, found"),
    (lambda one: one["segments"][0]["events"].update(file=5), "file: expected a text, found 5"),
    (lambda one: one["segments"][0]["events"].update(file="../../x"), "expected the file events-000000000001-"),
    (lambda one: one["segments"][0]["events"].update(bytes="x"), "bytes: expected a whole number, found 'x'"),
    (lambda one: one["segments"][0]["events"].update(rows=3), "expected 7 events"),
    (lambda one: one["segments"][0]["evidence"].update(rows=3), "expected 3 raw answers, found 1"),
    (lambda one: one["account"].update(server=5), "account: expected the name of a trade server"),
    (lambda one: one["account"].update(login=10**30), "account: expected"),
    (lambda one: one.update(form=2), "use a newer ledger"),
]


def test_a_changed_manifest_is_a_problem_of_its_account_alone(filled, run, tmp_path):
    run()
    path = account_folder(tmp_path / "archive", ACCOUNT) / MANIFEST
    before = path.read_text()
    for change, problem in CHANGES:
        path.write_text(before)
        change_manifest(tmp_path / "archive", change)
        accounts, problems = verify_archive(tmp_path / "archive")
        assert [problem in one.what for one in problems] == [True], (problem, problems)
        assert OTHER in [one.account for one in accounts]


def test_a_description_that_is_none_is_refused(filled, run, tmp_path):
    run()
    for text in ("[]", '"x"', '{"form": 1}', '{"form": 1, "seals": 5}', '{"form": 1, "seals": ["../x"]}'):
        (tmp_path / "archive" / "archive.json").write_text(text)
        with pytest.raises(BadValue, match="expected what ledger archive writes"):
            verify_archive(tmp_path / "archive")


def of_bytes(count):
    """A column of texts that are no UTF-8."""
    ends = b"".join(at.to_bytes(4, "little") for at in range(count + 1))
    return pyarrow.StringArray.from_buffers(count, pyarrow.py_buffer(ends), pyarrow.py_buffer(b"\xff" * count))


#: Which column gets which values, and what is said of it.
STRANGE: Final = [
    ("events", "profit", lambda count: pyarrow.array([1.5] * count), "expected the column profit of int64, found"),
    ("events", "entry", lambda count: pyarrow.array([True] * count), "expected the column entry of int64, found"),
    ("events", "comment", lambda count: pyarrow.array([[1]] * count), "expected the column comment of string, found"),
    ("events", "schema", lambda count: pyarrow.array([None] * count, pyarrow.int64()), "of int64, never null, found"),
    ("events", "comment", of_bytes, "can't decode byte 0xff"),
    ("evidence", "size", lambda count: pyarrow.array([99] * count), "is not what was recorded"),
]


def test_columns_that_no_archive_has_are_problems(filled, run, tmp_path):
    run()
    place = account_folder(tmp_path / "archive", ACCOUNT)
    manifest = (place / MANIFEST).read_text()
    for kind, column, values, problem in STRANGE:
        (place / MANIFEST).write_text(manifest)
        [path] = place.glob(f"{kind}-*")
        before = path.read_bytes()
        table = pyarrow.parquet.read_table(path)
        at, found = table.schema.get_field_index(column), values(len(table))
        is_nullable = bool(found.null_count) or table.schema.field(at).nullable
        pyarrow.parquet.write_table(table.set_column(at, pyarrow.field(column, found.type, is_nullable), found), path)
        digests = {"bytes": path.stat().st_size, "sha256": check.file_of(path, 7).sha256}
        change_manifest(tmp_path / "archive", lambda one, kind=kind, new=digests: one["segments"][0][kind].update(new))
        problems = verify_archive(tmp_path / "archive")[1]
        assert [problem in one.what for one in problems] == [True], (problem, problems)
        path.write_bytes(before)


def test_a_journal_is_restored_from_an_archive(filled, run, tmp_path):
    run(key=Ed25519PrivateKey.generate())
    copied = restore_journal(ArchiveSource(tmp_path / "archive"), f"sqlite:///{tmp_path}/restored.db", lambda: START_US)
    with Ledger.open(copied.target) as restored:
        assert restored.verify().problems == ()
        assert restored.journal.heads() == filled.journal.heads()
        assert [one.journal_id for one in restored.journal.parents()] == [filled.journal.identity()]
        for account in (ACCOUNT, OTHER):
            assert list(restored.journal.rows(account)) == list(filled.journal.rows(account))
        assert restored.journal.evidence(ACCOUNT, digest_of(RAW)) == RAW
        archive(partial(open_journal, copied.target), tmp_path / "archive", lambda: START_US)  # which goes on with the same


def test_each_raw_answer_is_read_once_for_a_restore(filled, run, tmp_path, monkeypatch):
    """In two segments; with one that both name, and which is archived with the first."""
    raws = [b'{"answer": %d}' % number for number in range(20)]
    for some in (raws[:10], raws[10:]):
        broken = [ghost(int(raw[11:-1]) + 10, 9, evidence=digest_of(raw)) for raw in [*some, raws[0]]]
        filled.journal.append(ACCOUNT, broken, evidence=raws, conflicts="keep")
        run()
    read = []

    def noted(path, columns, *how):
        for table in check.tables(path, columns, *how):
            read.append(len(table) if "raw" in columns else 0)
            yield table

    monkeypatch.setattr(restore, "tables", noted)
    source = ArchiveSource(tmp_path / "archive")
    copied = restore_journal(source, f"sqlite:///{tmp_path}/restored.db", lambda: START_US)
    assert sum(read) == len(raws) + 2
    with Ledger.open(copied.target) as restored:
        assert [restored.journal.evidence(ACCOUNT, digest_of(raw)) for raw in raws] == raws
    backwards = [source.stored_evidence(ACCOUNT, digest_of(raw)) for raw in reversed(raws)]
    assert [decompress(one) for one in backwards if one] == raws[::-1]
    assert [source.stored_evidence(ACCOUNT, one) for one in (digest_of(b"another"), "zz")] == [None, None]


def test_an_archive_has_what_its_journal_has_about_moves(filled, run, tmp_path):
    """An account that has moved is counted where it is; a journal restored from the archive refuses it as the journal does."""
    run(key=Ed25519PrivateKey.generate())
    copied = restore_journal(ArchiveSource(tmp_path / "archive"), f"sqlite:///{tmp_path}/first.db", lambda: START_US)
    location = Location(epoch=2, state=MOVED, other="asia (sqlite:///asia.db)", other_id="asia's")
    origins = (FormerJournal("older", 2),)
    with Ledger.open(copied.target, now_us=Clock()) as moved:
        journal: Any = moved.journal
        restore_location(journal, OTHER, location, origins)
        archive(partial(open_journal, copied.target), tmp_path / "archive", lambda: START_US)  # it has nothing new but this
        found = list(replay(tmp_path / "archive", Where(workers=1)))
        assert found == list(replay_journal(moved))
        assert [one.account for one in found] == [str(ACCOUNT)]
        assert connect(tmp_path / "archive").sql("SELECT login, moved_to FROM accounts ORDER BY login").fetchall() == [
            (ACCOUNT.login, None), (OTHER.login, location.other),
        ]  # fmt: skip
        assert fold_archive(account_folder(tmp_path / "archive", OTHER)) == fold_journal(moved.account(OTHER))
        parents = moved.journal.parents()
    copied = restore_journal(ArchiveSource(tmp_path / "archive"), f"sqlite:///{tmp_path}/second.db", lambda: START_US)
    with Ledger.open(copied.target, now_us=Clock()) as restored:
        assert (restored.journal.location(OTHER), restored.journal.origins(OTHER)) == (location, origins)
        assert restored.journal.location(ACCOUNT) == Location()
        assert restored.journal.parents()[1:] == parents
        [seal] = restored.journal.seals()
        assert restored.verify(since=read_seal(seal)).problems == ()  # it is of a parent's parent
        with pytest.raises(AccountMoved):
            record(restored, cash(50, 50), account=OTHER)


@pytest.mark.parametrize(
    "changed", [{"location": {"epoch": 0}}, {"location": {"state": "gone"}}, {"origins": [{"version": 1}]}]
)
def test_what_is_no_location_is_no_manifest(filled, run, tmp_path, changed):
    run()
    path = account_folder(tmp_path / "archive", ACCOUNT) / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(CorruptEvent, match="expected the manifest of an archived account, found something else"):
        ArchiveSource(tmp_path / "archive")


@pytest.mark.parametrize("parents", [None, [1], [{"journal": "a"}], [{"journal": "a", "versions": {"nobody": 1}}]])
def test_what_are_no_parents_are_refused(filled, run, tmp_path, parents):
    run()
    path = tmp_path / "archive" / "archive.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parents": parents}))
    with pytest.raises(CorruptEvent, match="expected the parents of a journal, found something else"):
        ArchiveSource(tmp_path / "archive").parents()


def test_a_copy_of_an_account_is_not_counted_twice(filled, run, tmp_path):
    run()
    place = account_folder(tmp_path / "archive", OTHER)
    copy = shutil.copytree(place, place.with_suffix(".bak"))
    for ask in (lambda: list(replay(tmp_path / "archive", Where(workers=1))), lambda: ArchiveSource(tmp_path / "archive")):
        with pytest.raises(CorruptEvent, match=f"{re.escape(str(copy))}: expected {place.name} as the name of the folder"):
            ask()
    counted = "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM events), (SELECT count(*) FROM evidence)"
    assert connect(tmp_path / "archive").sql(counted).fetchall() == [(2, 14, 2)]


def test_views_are_of_any_folder(filled, run, tmp_path):
    run()
    folder = shutil.move(tmp_path / "archive", tmp_path / "what's [1] of *?")
    assert connect(folder).sql("SELECT count(*), max(version) FROM events").fetchall() == [(14, 7)]


def test_views_show_exact_decimals_of_what_is_archived(filled, run, tmp_path):
    run()
    stray = account_folder(tmp_path / "archive", OTHER)
    shutil.copy(next(stray.glob("events-*")), stray / "events-000000000008-000000000014.parquet")  # no manifest names it
    views = connect(tmp_path / "archive")
    sums = "SELECT login, count(*), sum(profit), max(volume), max(price) FROM events GROUP BY login ORDER BY login"
    expected = (7, Decimal(1007), Decimal(1), Decimal("1.1"))
    assert views.sql(sums).fetchall() == [(70113, *expected), (70114, *expected)]
    assert views.sql("SELECT login, evidence, raw FROM evidence ORDER BY login").fetchall() == [
        (login, digest_of(RAW), RAW) for login in (70113, 70114)
    ]
    assert views.sql("SELECT login, currency, version FROM accounts ORDER BY login").fetchall() == [
        (70113, "USD", 7), (70114, "USD", 7),
    ]  # fmt: skip
    for forbidden in (
        "COPY (SELECT 1) TO 'x.csv'",
        f"FROM read_text('{__file__}')",
        "SET enable_external_access = true",
    ):
        with pytest.raises(duckdb.Error):
            views.execute(forbidden)


def test_what_is_archived_can_be_folded_on_every_file_system():
    names = [AccountId("Broker-Live", 1), AccountId("BROKER-LIVE", 1), AccountId("a.. b c:é*", 1), AccountId("x" * 200, 1)]
    found = [folder_name(one) for one in names]
    assert len({one.lower() for one in found}) == len(names)
    assert all(one.replace("-", "").replace("_", "").isalnum() and one.isascii() and len(one) < 90 for one in found)
