"""Archives of every kind of journal: what is written, in steps; what is refused; what a verification finds."""

from __future__ import annotations

import gc
import json
import re
import shutil
import weakref
from decimal import Decimal
from functools import partial

import duckdb
import pyarrow.parquet
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import AccountMismatch, AccountMoved, CorruptEvent, JournalUnavailable, Ledger
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
from tests.support.journals import ACCOUNT, OTHER, START_US, Clock, cash, digest_of, fill, ghost, new_url, opened, revised

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
        f"account {OTHER}: version 7 was sealed, and nothing of it is archived: it was cut off"
    ]


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
        restore_location(moved.journal, OTHER, location, origins)
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
