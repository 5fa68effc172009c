"""Nothing that we write replaces what we did not make; the journal is never written over, by whatever name."""

from __future__ import annotations

import json
import os
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import BadValue, Ledger
from ledger.cli import main
from ledger.exporter import FORMATS, export
from ledger.output_files import require_writable, written_whole
from tests.support.journals import ACCOUNT, Clock, fill, opened


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A journal in the current folder, with its -wal and -shm."""
    path = tmp_path / "desk.db"
    monkeypatch.chdir(tmp_path)
    with Ledger.create(str(path), now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 30))])
    return path


def ledger_command(*words):
    """Run a command, and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--journal", "sqlite:///desk.db"])
    return ended.value.code


def spellings(path):
    """The journal and what SQLite has beside it, by every name that leads to them."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        target = path.with_name(path.name + suffix)
        yield str(target)
        yield target.name
        yield f"./{target.name}"
        yield f"{path.parent}/x/../{target.name}"
        yield f"{path.parent}//{target.name}"
        if target.exists():
            for kind, make in (("soft", os.symlink), ("hard", os.link)):
                link = path.with_name(f"{kind}{suffix or '-db'}.csv")
                make(target, link)
                yield str(link)


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "forced"])
def test_an_export_never_replaces_the_journal(force, path):
    (path.parent / "x").mkdir()
    with Ledger.open(str(path)) as engine:
        engine.account(ACCOUNT).record(fill(100, 100))
        names = list(spellings(path))
        assert len(names) == 4 * 5 + 3 * 2
        for name in names:
            assert ledger_command("export", "--out", name, "--format", "csv", *force) == 2, name
            assert ledger_command("seal", "--out", name, "--key", seal_key(path)) == 2, name
            with pytest.raises(BadValue):  # the library refuses, too
                export(engine, engine.accounts(), Path(name), "csv")
        engine.account(ACCOUNT).record(fill(101, 101))
        assert engine.verify().ok


def seal_key(path):
    from ledger.signing_keys import make_keys

    key = path.with_name("keys") / "seal.pem"
    if not key.exists():
        make_keys(key.parent, "seal")
    return str(key)


def test_no_other_database_is_written_over(path):
    with Ledger.create("other.db"):
        pass
    assert ledger_command("export", "--out", "other.db", "--format", "jsonl", "--force") == 2
    Ledger.open("other.db").close()


@pytest.mark.parametrize("format_", FORMATS)
def test_an_export_replaces_an_earlier_export_and_nothing_else(format_, path, capsys):
    out = path.with_name(f"out.{format_}")
    assert ledger_command("export", "--out", str(out)) == 0
    first = out.stat().st_ino
    assert ledger_command("export", "--out", str(out)) == 0
    assert out.stat().st_ino != first
    out.write_text("my notes")
    assert ledger_command("export", "--out", str(out)) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "my notes"
    assert ledger_command("export", "--out", str(out), "--force") == 0
    assert out.read_bytes() != b"my notes"


def test_an_empty_file_may_be_written(path):
    out = path.with_name("out.csv")
    out.touch()
    assert ledger_command("export", "--out", str(out)) == 0
    assert out.stat().st_size


def test_what_is_no_file_is_not_written(path):
    path.with_name("folder.csv").mkdir()
    os.mkfifo(path.with_name("pipe.csv"))
    device = path.with_name("null.csv")
    device.symlink_to(os.devnull)
    for name in ("folder.csv", "pipe.csv", "null.csv"):
        assert ledger_command("export", "--out", name, "--force") == 2
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)  # noqa: PTH116


def test_a_link_stays_a_link(path):
    target, link = path.with_name("there.csv"), path.with_name("here.csv")
    target.touch()
    link.symlink_to(target)
    assert ledger_command("export", "--out", "here.csv") == 0
    assert link.is_symlink()
    assert target.read_text().startswith("server,login")


@pytest.mark.parametrize("name", ["desk.db", "desk.db-wal", "desk.db-shm", "notes.json", "list.json"])
def test_a_health_file_replaces_nothing_else(name, path):
    path.with_name("notes.json").write_text('{"mine": 1}')
    path.with_name("list.json").write_text("[1]")
    before = {one: one.read_bytes() for one in path.parent.glob("*") if one.is_file()}
    assert ledger_command("sync", "--gateway", "tcp://127.0.0.1:1", "--health", name) == 2
    assert {one: one.read_bytes() for one in path.parent.glob("*") if one.is_file()} == before


def test_a_health_file_may_be_replaced(path):
    health = path.with_name("health.json")
    health.write_text(json.dumps({"ledger_health": 1, "accounts": {}}))
    assert ledger_command("sync", "--gateway", "tcp://127.0.0.1:1", "--health", "health.json") == 3
    assert "accounts" in json.loads(health.read_text())


@pytest.mark.parametrize("name", ["desk.db", "desk.db-wal", "./desk.db-shm", "desk.db-journal"])
def test_a_backup_replaces_nothing(name, path):
    assert ledger_command("backup", name) == 2
    with Ledger.open(str(path)) as ledger:
        assert ledger.verify().ok


@given(content=st.binary(max_size=40), fails=st.booleans())
def test_a_file_is_whole_or_as_it_was(content, fails, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "file"
    path.write_bytes(b"before")
    with ExitStack() as stack:
        stack.enter_context(suppress(ZeroDivisionError))
        stack.enter_context(written_whole(path)).write_bytes(content)
        assert 1 / (not fails)
    assert path.read_bytes() == (b"before" if fails else content)
    assert list(folder.iterdir()) == [path]


def test_a_temporary_name_that_somebody_laid_out_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _: "00")
    (tmp_path / ".file.00.partial").symlink_to(tmp_path / "precious")
    with pytest.raises(FileExistsError), written_whole(tmp_path / "file"):
        pass
    assert not (tmp_path / "precious").exists()


def test_a_file_of_ours_may_be_replaced_without_force(tmp_path):
    (tmp_path / "x").write_text("ours")
    require_writable(tmp_path / "x", journal=None, is_ours=lambda path: path.read_text() == "ours")
    with pytest.raises(BadValue, match="--force"):
        require_writable(tmp_path / "x", journal=None, is_ours=lambda _: False)
    require_writable(tmp_path / "x", journal=None, is_ours=lambda _: False, force=True)
