"""What commands do to their outputs: other encodings, readers that leave, full disks, terminals; and what a library logs."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import FillRecorded, JournalUnavailable, Ledger
from ledger.text import visible
from tests.support.commands import run
from tests.support.journals import START_MSC, Clock, fill, new_postgres_url, opened, shared_postgres

ROOT = Path(__file__).resolve().parents[2]
WORD = "Ωμέγα \N{GRINNING FACE} é"


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/desk.db"
    with Ledger.create(url) as ledger:
        account = ledger.account("Broker", 7)
        account.open(currency="USD", mode="hedging")
        account.record(
            FillRecorded(deal=1, symbol=WORD, side="buy", entry="in", volume=1, price=1, time_msc=START_MSC, comment=WORD)
        )
    return url


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "ledger", *words]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "koi8-r", "utf-8", "utf-16"])
@pytest.mark.parametrize("words", [("positions",), ("log",), ("trades",), ("verify",), ("positions", "--account", f"{WORD}/1")])
def test_what_an_output_cannot_encode_is_escaped(encoding, words, url):
    ran = run(*words, journal=url, encoding=encoding)
    assert ran.code == (2 if "--account" in words else 0)
    if words == ("positions",):
        assert ran.out.decode(encoding) in (
            run(*words, journal=url).text,
            run(*words, journal=url).text.encode(encoding, "backslashreplace").decode(encoding),
        )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_stays_json_whatever_the_encoding(encoding, url):
    (found,) = json.loads(run("positions", "--json", journal=url, encoding=encoding).out.decode(encoding))
    assert found["symbol"] == WORD
    line = run("log", "--json", journal=url, encoding=encoding).out.decode(encoding).splitlines()[-1]
    assert json.loads(line)["data"]["comment"] == WORD


@pytest.mark.parametrize("encoding", ["ascii", "cp1252:strict"])
def test_a_console_of_another_encoding_is_no_traceback(encoding, url):
    done = subprocess.run(
        command("positions", "--journal", url), env=environment(PYTHONIOENCODING=encoding), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u03a9" in done.stdout


@pytest.mark.parametrize("words", ["log --json", "log", "positions", "--help", "positions --account X/1 2>&1 >/dev/null"])
def test_a_reader_that_leaves_ends_a_command_quietly_and_not_with_the_code_for_disagreement(words, url):
    with Ledger.create(url) as ledger:
        ledger.account("Broker", 7).record_many([fill(deal, deal, comment="x" * 200) for deal in range(2, 800)])
    script = f"{sys.executable} -m ledger {words} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], env=environment(LEDGER_JOURNAL=url), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode in ((141,) if words == "log --json" else (0, 2, 141))  # all was written before it left, or not


def test_a_command_without_outputs_does_its_work(tmp_path):
    script = f"{sys.executable} -m ledger init --journal sqlite:///{tmp_path}/x.db >&- 2>&-"
    assert subprocess.run(["bash", "-c", script], env=environment(), check=False).returncode == 0
    assert (tmp_path / "x.db").exists()


def test_a_full_disk_behind_the_output_is_reported_and_can_be_tried_again(url):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m ledger log --journal {url} > /dev/full"], env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr == "ledger: the output cannot be written: No space left on device\n"


def test_a_fault_of_ours_does_not_look_like_a_disagreement(url, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a \x1b[31mfault")

    monkeypatch.setattr("ledger.cli.listings.print_positions", broken)
    ran = run("positions", journal=url)
    assert ran.code == 70
    assert b"RuntimeError: a \\x1b[31mfault" in ran.err


def on_a_terminal(*words: str, columns: int) -> str:
    """Run a command on a terminal of its own and return what that was sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*words), stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment(COLUMNS=str(columns), TERM="xterm", PYTHONUTF8="1"),
    )  # fmt: skip
    os.close(theirs)
    sent = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # the other end was closed
            break
        if not more:
            break
        sent += more
    os.close(ours)
    assert process.wait() == 0, sent
    return sent.decode()


@pytest.mark.parametrize("words", [("positions",), ("log",), ("replay",)])
def test_a_terminal_gets_no_codes_but_ours(words, tmp_path):
    import re

    url = f"sqlite:///{tmp_path}/desk.db"
    with Ledger.create(url) as ledger:
        ledger.account("Bro[red]ker\x1b[2J", 7).open(currency="USD", mode="hedging")
        ledger.account("Bro[red]ker\x1b[2J", 7).record(fill(1, 1, symbol="E\x9b31m\u202eR", comment="\x1b]0;owned\x07"))
    sent = on_a_terminal(*words, "--journal", url, columns=80)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", lambda code: "" if code[0] != "\x1b[2J" else code[0], sent).replace("\r\n", "\n")
    assert [letter for letter in shown if letter not in "\n\r" and visible(letter) != letter] == []
    assert "E\\x9b31m\\u202eR" in shown.replace("\n", "")


def test_evidence_is_bytes_for_a_program(tmp_path):
    from tests.support.journals import digest_of, ghost

    raw = b'{"comment": "\x1b[2J \xc2\x9b"}'
    url = f"sqlite:///{tmp_path}/desk.db"
    with Ledger.create(url) as ledger:
        account = ledger.account("Broker-Live", 70113)
        account.record_many([opened(), fill(1, 1), ghost(1, 2, evidence=digest_of(raw))], evidence=[raw])
    assert run("log", "--evidence", digest_of(raw), journal=url).out == raw


# ---------------------------------------------------------------------------------------------------------- an engine's log

_ENGINE = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s")
from ledger import Ledger
with Ledger.create(sys.argv[1]) as ledger:
    ledger.account("Broker", 7).open(currency="USD", mode="hedging")
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_engines_log_holds_no_line_of_the_libraries_below(kind, tmp_path):
    url = f"sqlite:///{tmp_path}/x.db" if kind == "sqlite" else shared_postgres().create_database()
    done = subprocess.run(
        [sys.executable, "-c", _ENGINE, url], env=environment(), capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert [line for line in done.stderr.splitlines() if line.startswith(("alembic", "psycopg", "sqlalchemy"))] == []


def test_the_library_has_one_logger_that_is_silent_until_asked():
    assert any(isinstance(one, logging.NullHandler) for one in logging.getLogger("ledger").handlers)


def test_the_use_of_alembic_by_others_is_logged_as_ever(caplog, tmp_path):
    Ledger.create(f"sqlite:///{tmp_path}/x.db").close()
    with caplog.at_level(logging.INFO):
        logging.getLogger("alembic.runtime.migration").info("a migration of theirs")
    assert caplog.messages == ["a migration of theirs"]


def test_a_pipeline_that_lost_its_connection_is_reported_by_us_alone(monkeypatch, caplog):
    """A bulk append goes through a pipeline; the server ends the connection under it, for good."""
    import psycopg

    from ledger.journal.sql import append
    from tests.support.journals import ACCOUNT, Intruder, open_journal

    url = new_postgres_url()
    journal = open_journal(url, Clock())
    journal.append(ACCOUNT, [opened()])
    monkeypatch.setattr(append, "_LOCK_WAIT_SEC", 0.0)
    execute = psycopg.Cursor.executemany

    def cut(cursor, *words, **more):
        Intruder(url)("SELECT pg_terminate_backend(?)", cursor.connection.info.backend_pid)
        execute(cursor, *words, **more)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.Cursor, "executemany", cut)
    with caplog.at_level(logging.DEBUG), pytest.raises(JournalUnavailable):
        journal.append(ACCOUNT, [fill(1, 1), fill(2, 2)])
    assert [record for record in caplog.records if record.name.startswith("psycopg")] == []
    journal.close()
