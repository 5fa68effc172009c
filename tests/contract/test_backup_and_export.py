"""Backup, restore and export: exports as data tools read them, JSON lines imported, backups restored. Equal, or refused."""

from __future__ import annotations

import csv
import json
import threading
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pytest

from ledger import AccountMismatch, CorruptEvent, JournalError, JournalMissing, Ledger, MalformedExport
from ledger.exporter import FORMATS, Record, export, import_json_lines, is_export
from ledger.journal import backup
from ledger.journal.backup import copy_journal, restore_journal
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.migrate import migrate
from tests.support.journals import (
    ACCOUNT,
    DURABLE,
    OTHER,
    Clock,
    Intruder,
    cash,
    digest_of,
    empty_postgres_url,
    fill,
    ghost,
    opened,
    revised,
    specified,
)

RAW = b'{"status": "SUCCESS", "positions": []}'


@pytest.fixture
def desk(ledger):
    """Two accounts with everything that is hard to carry: late, revised, unknown, evidence, odd texts, odd scales."""
    for account in (ACCOUNT, OTHER):
        ledger.journal.append(
            account,
            [
                opened(account, clock="ny-close", money_scale=3),
                specified("BTCJPY", digits=0, price_scale=2, volume_scale=10),
                *(fill(n, n, comment='ü, "q"\n=1+1') for n in range(1, 30)),
                fill(50, 50, symbol="BTCJPY", price="12345678901234.25", volume="0.0000000001", profit=None, entry=9),
                ghost(1, 60, evidence=digest_of(RAW)),
                ghost(2, 61, evidence=digest_of(RAW)),
                fill(99, 2.5),
                revised(fill(3, 3, profit=2)),
                cash(70, 80, type=77, profit="-0.001"),
            ],
            correlation="import:1",
            evidence=[RAW],
        )
    return ledger


def everything(ledger):
    return {name: list(ledger.journal.rows(name)) for name in ledger.journal.accounts()}


def exported(ledger, path):
    return export(ledger, ledger.accounts(), path, path.suffix[1:])


@pytest.fixture(params=DURABLE)
def empty_url(request, tmp_path):
    return f"sqlite:///{tmp_path}/copy.db" if request.param == "sqlite" else empty_postgres_url()


# ---- exports


def expected(ledger):
    return [
        (account.name.server, account.name.login, row.version, row.kind, row.hash.hex())
        for account in ledger.accounts()
        for row in ledger.journal.rows(account.name)
    ]


def test_pandas_reads_a_parquet_export_with_types(desk, tmp_path):
    assert exported(desk, tmp_path / "x.parquet").events == 2 * 37
    frame = pd.read_parquet(tmp_path / "x.parquet")
    assert list(frame.columns) == list(Record._fields)
    assert list(frame[["server", "login", "version", "kind", "hash"]].itertuples(index=False, name=None)) == expected(desk)
    coin = frame[frame["deal"] == 50].iloc[0]
    assert (coin["price"], coin["volume"]) == (Decimal("12345678901234.25"), Decimal("0.0000000001"))
    assert coin["profit"] is None
    assert str(frame["event_time"].dtype) == str(frame["recorded_at"].dtype) == "datetime64[us, UTC]"
    assert coin["event_time"].isoformat() == "2026-01-05T08:00:50+00:00"  # ten in the morning at the server
    assert coin["broker_msc"] == 1767607250000


def test_polars_and_duckdb_agree_with_the_portfolio(desk, tmp_path):
    for format_ in FORMATS:
        exported(desk, tmp_path / f"x.{format_}")
    lazy = pl.read_parquet(tmp_path / "x.parquet")
    fills = lazy.filter((pl.col("kind") == "FillRecorded") & (pl.col("login") == ACCOUNT.login))
    assert fills["volume"].sum() == 30 + Decimal("0.0000000001")
    for format_ in FORMATS:
        [(money, last)] = (
            duckdb.connect()
            .execute(
                f"SELECT sum(profit::DECIMAL(38, 6)), max(recorded_at)::VARCHAR FROM '{tmp_path}/x.{format_}' "  # noqa: S608
                f"WHERE login = {ACCOUNT.login}"
            )
            .fetchall()
        )
        assert money == Decimal("1.999")
        assert last.startswith("2026-")


def test_a_csv_is_read_back_cell_by_cell(desk, tmp_path):
    exported(desk, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["server"], int(row["login"]), int(row["version"]), row["kind"], row["hash"]) for row in rows] == expected(desk)
    assert rows[2]["comment"] == 'ü, "q"\n=1+1'
    assert rows[2]["recorded_at"].endswith("Z")


def test_an_export_that_fails_leaves_nothing_and_what_was_there(desk, tmp_path):
    (tmp_path / "x.csv").write_text("mine")
    Intruder(desk.journal.engine.url.render_as_string(hide_password=False))  # the journal itself stays
    with pytest.raises(RuntimeError):
        export(desk, desk.accounts(), tmp_path / "x.csv", "csv", progress=_fail)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".x", "x"))] == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "mine"


def _fail(_):
    raise RuntimeError


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch):
    """So that few events need several steps."""
    monkeypatch.setattr("ledger.exporter._AT_ONCE", 5)
    monkeypatch.setattr(backup, "_ROWS", 5)


# ---- JSON lines imported


def test_json_lines_make_the_same_journal_again(desk, tmp_path, empty_url):
    exported(desk, tmp_path / "x.jsonl")
    assert is_export(tmp_path / "x.jsonl")
    with Ledger.create(empty_url) as copy:
        found = import_json_lines(copy, tmp_path / "x.jsonl")
        assert [(one.account, one.read, one.appended) for one in found] == [(ACCOUNT, 37, 37), (OTHER, 37, 37)]
        assert everything(copy) == everything(desk)
        assert copy.verify().ok
        assert copy.account(ACCOUNT).evidence(digest_of(RAW)) == RAW
        assert [one.appended for one in import_json_lines(copy, tmp_path / "x.jsonl")] == [0, 0]
        assert copy.account(ACCOUNT).portfolio.state() == desk.account(ACCOUNT).portfolio.state()


def test_a_later_export_adds_what_is_new(desk, tmp_path, empty_url):
    exported(desk, tmp_path / "x.jsonl")
    desk.account(ACCOUNT).record(fill(200, 200))
    exported(desk, tmp_path / "y.jsonl")
    with Ledger.create(empty_url) as copy:
        import_json_lines(copy, tmp_path / "x.jsonl")
        assert [one.appended for one in import_json_lines(copy, tmp_path / "y.jsonl", dry_run=True)] == [1, 0]
        assert [one.appended for one in import_json_lines(copy, tmp_path / "y.jsonl")] == [1, 0]
        assert [one.appended for one in import_json_lines(copy, tmp_path / "x.jsonl")] == [0, 0]  # the older one is known
        assert everything(copy) == everything(desk)


@pytest.mark.parametrize("name", [name for name in Record._fields if name not in ("event_time", "side", "server", "login")])
def test_an_edited_line_is_named_and_nothing_is_imported(name, desk, tmp_path, empty_url):
    """Whatever the chain covers, in any line."""
    exported(desk, tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    output = json.loads(lines[20])
    old = output[name]
    output[name] = old + 1 if isinstance(old, int) else "7" if old is None else "9" + old
    lines[20] = json.dumps(output)
    (tmp_path / "x.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with Ledger.create(empty_url) as copy:
        with pytest.raises((CorruptEvent, MalformedExport), match=r"(line|row) 21"):
            import_json_lines(copy, tmp_path / "x.jsonl")
        assert copy.accounts() == []


@pytest.mark.parametrize("what", ["cut", "removed", "swapped", "answer"])
def test_a_file_that_is_not_whole_is_refused(what, desk, tmp_path, empty_url):
    exported(desk, tmp_path / "x.jsonl")
    text = (tmp_path / "x.jsonl").read_text(encoding="utf-8")
    lines = text.splitlines()
    match what:
        case "cut":
            text = text[:-100]
        case "removed":
            text = "\n".join(lines[:7] + lines[8:])
        case "swapped":
            text = "\n".join([*lines[:7], lines[8], lines[7], *lines[9:]])
        case "answer":
            text = text.replace("evidence_zlib_base64", "other", 1)
    (tmp_path / "x.jsonl").write_text(text, encoding="utf-8")
    with Ledger.create(empty_url) as copy:
        with pytest.raises((CorruptEvent, MalformedExport)):
            import_json_lines(copy, tmp_path / "x.jsonl")
        assert copy.accounts() == []


def test_another_history_of_an_account_is_refused(desk, tmp_path, empty_url):
    exported(desk, tmp_path / "x.jsonl")
    with Ledger.create(empty_url) as copy:
        copy.journal.append(ACCOUNT, [opened(), fill(1, 1)])
        with pytest.raises(AccountMismatch, match="another history"):
            import_json_lines(copy, tmp_path / "x.jsonl")
        assert [account.version for account in copy.accounts()] == [2]


# ---- backups


def test_a_backup_is_equal_and_a_restored_one_too(desk, tmp_path, empty_url):
    backup = f"sqlite:///{tmp_path}/backup.db"
    desk.journal.save_seal("a seal", 1)
    copied = copy_journal(desk.journal, backup, Clock())
    assert copied.heads == desk.journal.heads()
    with Ledger.open(backup) as source:
        assert source.journal.identity() == desk.journal.identity()
        restore_journal(source.journal, empty_url, Clock())
    with Ledger.open(empty_url) as restored:
        assert everything(restored) == everything(desk)
        assert restored.journal.identity() != desk.journal.identity()
        assert [one.journal_id for one in restored.journal.parents()] == [desk.journal.identity()]
        assert restored.journal.seals() == ["a seal"]
        assert restored.verify().ok
        restored.account(ACCOUNT).record(fill(300, 300))  # and goes on


def test_a_backup_under_load_is_of_one_moment(desk, tmp_path):
    stop, recorded = threading.Event(), []

    def write():
        deal = 1000
        while not stop.is_set():
            deal += 1
            for account in (ACCOUNT, OTHER):  # always in this order: no moment has more of the second
                desk.account(account).record(fill(deal, deal))
            recorded.append(deal)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            while len(recorded) < 5 * (number + 1):
                assert writer.is_alive()
            copy_journal(desk.journal, f"sqlite:///{tmp_path}/{number}.db", Clock())
    finally:
        stop.set()
        writer.join()
    for number in range(5):
        with Ledger.open(f"sqlite:///{tmp_path}/{number}.db") as copy:
            assert copy.verify().ok
            first, second = (account.version for account in copy.accounts())
            assert first - second in (0, 1)
            assert first >= 36 + 5 * (number + 1)
            for name, rows in everything(copy).items():
                assert rows == list(desk.journal.rows(name, upto=len(rows)))


@pytest.mark.parametrize("steps", [0, 1, 3, 8, 15, 16, 20])
def test_a_backup_cut_short_is_no_journal_and_goes_on(steps, desk, tmp_path, empty_url):
    left = [steps]

    def fail(_):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    try:
        copy_journal(desk.journal, empty_url, Clock(), fail)
    except KeyboardInterrupt:
        with pytest.raises(JournalError, match="unfinished copy"):
            Ledger.create(empty_url)
        assert copy_journal(desk.journal, empty_url, Clock()).heads == desk.journal.heads()
    with Ledger.open(empty_url) as copy:
        assert everything(copy) == everything(desk)


def test_a_copy_never_goes_into_a_journal_or_another_copy(desk, tmp_path, empty_url):
    Ledger.create(empty_url).close()
    with pytest.raises(JournalMissing, match="a journal already"):
        copy_journal(desk.journal, empty_url, Clock())
    other = open_engine(f"sqlite:///{tmp_path}/other.db")
    migrate(other, copy_of="somebody")
    other.dispose()
    with pytest.raises(AccountMismatch, match="unfinished copy of another journal, somebody"):
        copy_journal(desk.journal, f"sqlite:///{tmp_path}/other.db", Clock())


def test_a_damaged_journal_is_not_backed_up_as_if_it_were_whole(desk, tmp_path, intruder):
    intruder.disarm()
    intruder("UPDATE events SET volume = 5 WHERE version = 9")
    with pytest.raises(CorruptEvent, match="version 9 is not what was recorded"):
        copy_journal(desk.journal, f"sqlite:///{tmp_path}/backup.db", Clock())
    with pytest.raises(JournalError, match="unfinished copy"):
        Ledger.create(f"sqlite:///{tmp_path}/backup.db")


def test_a_copy_is_verified_before_it_passes_for_a_journal(desk, tmp_path, intruder):
    """Evidence is copied as it is stored: what is wrong with it shows in the copy."""
    intruder.disarm()
    intruder("UPDATE evidence SET size = size + 1")
    with pytest.raises(CorruptEvent, match="does not verify"):
        copy_journal(desk.journal, f"sqlite:///{tmp_path}/backup.db", Clock())
    with pytest.raises(JournalError, match="unfinished copy"):
        Ledger.create(f"sqlite:///{tmp_path}/backup.db")
