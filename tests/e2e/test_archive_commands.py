"""The commands about archives and fleets: what is printed, for people and programs; and every executor, for real."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import AccountId, BreakOpened, Ledger
from ledger.events import Event
from ledger.forensics.executors import EXECUTORS
from ledger.signing_keys import make_keys
from tests.support.commands import run
from tests.support.journals import START_MSC, Clock, cash, completion, fill, new_url, opened, revised

ACCOUNTS = [AccountId("Desk", login) for login in range(1, 21)]
NOON = "2026-01-05T12:00:00Z"
AFTER_A_SECOND = "2026-01-05T10:00:01Z"
ROOT = str(Path(__file__).resolve().parents[2])


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Twenty accounts. Every second one is in gold from the second second on, which is recorded late. It is only read."""
    url = new_url("sqlite", tmp_path_factory.mktemp("fleet"))
    clock = Clock()
    with Ledger.open(url, now_us=clock) as ledger:
        for number, name in enumerate(ACCOUNTS):
            events: list[Event] = [opened(name), cash(1, 0, profit=1000), fill(2, 0.5), fill(4, 5, profit=None), fill(5, 6)]
            late: list[Event] = [fill(3, 1, symbol="XAUUSD", volume=number + 1, side="sell")] if number % 2 else []
            later: list[Event] = [completion(4, profit=3), revised(fill(5, 6, profit=2))]
            broken = BreakOpened(kind="drift", position_id=2, symbol="EURUSD", ours="1", theirs="2", time_msc=START_MSC + 7000)
            for some in (events, [*late, *later], [broken] if number == 4 else []):
                ledger.journal.append(name, some, conflicts="keep")
        clock.now_us += 3_600_000_000
    return url


@pytest.fixture(scope="module")
def archive(url, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives") / "archive"
    done = run("archive", "--out", str(folder), "--jobs", "1", journal=url)
    assert done.code == 0, done.text
    assert done.text.splitlines()[-1].startswith("140 events") or "events of 20 accounts" in done.text
    return str(folder)


def fleet(archive: str, command: str, *words: str) -> object:
    done = run("fleet", command, "--archive", archive, "--workers", "1", *words, "--json")
    assert done.code == 0, done.text
    return json.loads(done.out)


def test_every_executor_gives_what_the_journal_gives(url, archive):
    """Processes of this machine, Dask, Ray and Spark, each started for real: one digest."""
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "ignore"}
    words = [sys.executable, "-m", "ledger", "fleet", "replay", "--archive", archive, "--workers", "2", "--json", "--executor"]
    started = [
        subprocess.Popen([*words, name], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for name in EXECUTORS
    ]
    expected = run("fleet", "replay", "--json", journal=url).json()
    assert len(expected["accounts"]) == 20
    for one in started:
        out, err = one.communicate()
        assert one.returncode == 0, err.decode()
        assert json.loads(out) == expected


#: What a program is connected with already, and what it does with that afterwards.
CONNECTIONS = {
    "spark": (
        "from pyspark.sql import SparkSession; own = SparkSession.builder.master('local[2]').getOrCreate()",
        "own.range(3).count()",
    ),
    "ray": ("import ray; ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)", "ray.get(ray.put(3))"),
}


@pytest.mark.parametrize("executor", CONNECTIONS)
def test_a_connection_of_the_program_is_used_from_any_thread_and_left_open(archive, executor):
    connect, use = CONNECTIONS[executor]
    program = f"""
from pathlib import Path
from threading import Thread
from ledger.forensics.questions import Where, replay
{connect}
found = []
thread = Thread(target=lambda: found.extend(replay(Path({archive!r}), Where(executor={executor!r}))))
thread.start()
thread.join()
print(len(found), {use})
"""
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "ignore", "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["20 3"], done.stderr


def _each_executor(*words: str) -> dict[str, tuple[int | None, str]]:
    """Run a command with every executor at once, and return what became of each: exit code and what it wrote as errors."""
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "ledger", "fleet", "report", "--workers", "2", *words, "--executor"]
    started = {
        name: subprocess.Popen([*command, name], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for name in EXECUTORS
    }
    errors = {name: one.communicate()[1].decode() for name, one in started.items()}
    return {name: (one.returncode, errors[name]) for name, one in started.items()}


def test_every_executor_names_a_file_that_was_changed(archive, tmp_path):
    shutil.copytree(archive, tmp_path / "archive")
    [path] = (tmp_path / "archive" / "accounts").glob("Desk_7-*/events-*")
    path.write_bytes(path.read_bytes()[:-20] + b"x" * 20)
    for name, (code, errors) in _each_executor("--archive", str(tmp_path / "archive")).items():
        assert code == 1, (name, errors)
        assert f"{path}: expected a Parquet file of an archive" in errors, (name, errors)
        assert "Traceback" not in errors, (name, errors)


def test_an_executor_whose_cluster_is_none_is_named(archive):
    found = _each_executor("--archive", archive, "--cluster", "nonsense://nowhere")
    assert found.pop("local")[0] == 2
    for name, (code, errors) in found.items():
        assert code == 3, (name, errors)
        assert f"expected the executor {name} on nonsense://nowhere to fold the archive, and it failed: " in errors
        assert "Traceback (most recent call last)" not in errors, (name, errors)


@pytest.mark.parametrize("words", [("--executor", "dask"), ("--cluster", "tcp://1.2.3.4:5"), ("--workers", "2")])
def test_what_folds_an_archive_is_not_ignored_without_one(url, words):
    for command in ("replay", "report", "breaks"):
        done = run("fleet", command, *words, journal=url)
        assert (done.code, "name it with --archive FOLDER" in done.text) == (2, True), done.text


def test_who_held_gold_then_and_who_believed_it(archive):
    asked = ("--until", AFTER_A_SECOND, "--where", "symbol = XAUUSD")
    held = fleet(archive, "replay", *asked)
    believed = fleet(archive, "replay", *asked, "--known-at", "2026-01-05T10:00:01Z")
    assert isinstance(held, dict)
    assert isinstance(believed, dict)
    assert [one["account"]["login"] for one in held["accounts"]] == list(range(2, 21, 2))
    assert believed["accounts"] == []  # it was recorded later
    large = fleet(archive, "replay", *asked, "--where", "volume >= 18", "--where", "side != buy")
    assert isinstance(large, dict)
    assert [(one["account"]["login"], one["positions"][0]["volume"]) for one in large["accounts"]] == [(18, "18"), (20, "20")]


def test_a_condition_that_cannot_be_is_refused(archive):
    for condition, complaint in [
        ("symbol", "expected FIELD, one of = != <= >= < >, and a value, as symbol = XAUUSD, found 'symbol'"),
        ("color = red", "expected a field of symbol, side, account, currency, basis, opened_at, volume, price_open"),
        ("volume > many", "expected a number to compare volume with, found 'many'"),
        ("1=1; DROP TABLE x", "expected a field"),
    ]:
        done = run("fleet", "replay", "--archive", archive, "--where", condition)
        assert (done.code, complaint in done.text) == (2, True), done.text


def test_a_fleet_is_summed_up_and_its_breaks_are_listed(archive, url):
    summed = fleet(archive, "report")
    assert isinstance(summed, dict)
    assert summed["accounts"] == 20
    assert [one["symbol"] for one in summed["exposure"]] == ["EURUSD", "XAUUSD"]
    assert summed["exposure"][1] == {
        "symbol": "XAUUSD", "accounts": 10, "positions": 10, "long": "0", "short": "110",
    }  # fmt: skip
    breaks = fleet(archive, "breaks")
    assert [(one["account"], one["kind"], one["theirs"]) for one in breaks] == [({"server": "Desk", "login": 5}, "drift", "2")]  # type: ignore[attr-defined]
    for command in ("replay", "report", "breaks"):
        ours = run("fleet", command, "--archive", archive, "--workers", "1")
        theirs = run("fleet", command, journal=url)
        assert (ours.code, ours.out) == (0, theirs.out)
        assert max(map(len, ours.out.decode().splitlines())) <= 80, ours.text
        rows = list(
            csv.DictReader(io.StringIO(run("fleet", command, "--archive", archive, "--workers", "1", "--csv").out.decode()))
        )
        assert len(rows) == {"replay": 20, "report": 2, "breaks": 1}[command]


def test_an_archive_is_sealed_grows_and_verifies(url, tmp_path):
    public, secret = make_keys(tmp_path, "seal")
    folder = str(tmp_path / "archive")
    chosen = ("--account", "Desk/1", "--account", "Desk/2")
    assert run("archive", "--out", folder, "--key", str(secret), *chosen, journal=url).code == 0
    again = run("archive", "--out", folder, *chosen, journal=url)
    assert "0 events of 0 accounts" in again.text
    good = run("archive", "verify", folder, "--trusted-key", str(public))
    assert (good.code, good.text) == (0, "2 accounts, 15 events: ok\n")
    kept = tmp_path / "kept.seal"
    assert run("seal", "--key", str(secret), "--out", str(kept), journal=url).code == 0
    since = run("archive", "verify", folder, "--trusted-key", str(public), "--since", str(kept))
    assert (since.code, since.text.count(f"{kept}: account Desk/")) == (1, 18)  # these were never archived
    assert "it states version 8, and nothing of it is archived" in since.text
    [path] = (tmp_path / "archive" / "accounts").glob("Desk_1-*/events-*")
    path.write_bytes(path.read_bytes()[:-1])
    bad = run("archive", "verify", folder, "--json")
    assert (bad.code, bad.json()["ok"]) == (1, False)
    assert "expected" in bad.json()["problems"][0]["what"]


def test_what_is_no_archive_is_named(tmp_path):
    for words in (("archive", "verify", str(tmp_path)), ("fleet", "report", "--archive", str(tmp_path))):
        done = run(*words)
        assert (done.code, "expected an archive, found" in done.text) == (2, True)
