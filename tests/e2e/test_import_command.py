"""The command ``ledger import`` as a process: what it reports about closes without a position, and what it refuses to open."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tester import Robot, run

HEADER = "Time,Deal,Symbol,Type,Direction,Volume,Price,Order,Commission,Swap,Profit,Balance,Comment"
DEPOSIT = "2024.01.02 10:00:00,1,,balance,,,,,0.00,0.00,1000.00,1000.00,"


def ledger(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LEDGER_JOURNAL": f"sqlite:///{folder}/desk.db", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "ledger", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


def write(folder: Path, count: int) -> Path:
    """Write a report in which one of two positions was closed so many times over, and nothing states which."""
    lines = [HEADER, DEPOSIT]
    for number in range(count):
        symbol, first = f"S{number}", 10 + 10 * number
        for deal, word, entry in ((first, "buy", "in"), (first + 1, "buy", "in"), (first + 2, "sell", "out")):
            lines.append(f"2024.01.03 10:00:0{deal % 10},{deal},{symbol},{word},{entry},0.10,1.5,{deal},0,0,0,1000.00,")
    path = folder / "tester.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


OPTIONS = ("--account", "Tester/1", "--mode", "hedging", "--currency", "USD")


@pytest.mark.parametrize(
    ("count", "output"), [(1, "1 deal whose position is not determined"), (40, "40 deals whose positions")]
)
def test_a_close_without_a_position_is_reported_and_exits_1(tmp_path, count, output):
    done = ledger("import", write(tmp_path, count), *OPTIONS, folder=tmp_path)
    assert done.returncode == 1
    assert output in " ".join((done.stdout + done.stderr).split())
    done = ledger("import", tmp_path / "tester.csv", *OPTIONS, "--json", folder=tmp_path)
    (report,) = json.loads(done.stdout)["files"]
    assert (done.returncode, report["unattributed"], report["agrees"]) == (1, count, False)


def test_thousands_of_notes_of_one_cause_are_one_line_and_verbose_lists_them(tmp_path):
    path = write(tmp_path, 2000)
    done = ledger("import", path, *OPTIONS, "--json", folder=tmp_path)
    (report,) = json.loads(done.stdout)["files"]
    about = [note for note in report["notes"] if "does not determine" in note]
    assert len(about) == 1
    assert about[0].startswith("2000 deals: ")
    assert "details" not in report
    done = ledger("import", path, *OPTIONS, "--json", "--verbose", folder=tmp_path)
    (report,) = json.loads(done.stdout)["files"]
    assert len(report["details"]) == 2000
    quiet, verbose = (ledger("import", path, *OPTIONS, *more, folder=tmp_path) for more in ((), ("--verbose",)))
    assert len((quiet.stdout + quiet.stderr).splitlines()) < 40
    assert verbose.stdout.count("left unattributed") + verbose.stderr.count("left unattributed") >= 2000


def test_a_later_dump_states_what_a_report_left_open(tmp_path):
    ledger("import", write(tmp_path, 1), *OPTIONS, folder=tmp_path)
    fields = "ticket,order,time,type,entry,position_id,volume,price,commission,swap,profit,fee,symbol"
    dump = tmp_path / "dump.csv"
    dump.write_text(f"{fields}\n12,12,2024.01.03 10:00:02,1,1,11,0.10,1.5,0,0,0,0,S0\n")
    assert ledger("import", dump, *OPTIONS, folder=tmp_path).returncode == 0
    done = ledger("import", tmp_path / "tester.csv", *OPTIONS, "--json", folder=tmp_path)
    (report,) = json.loads(done.stdout)["files"]
    assert (done.returncode, report["unattributed"], report["agrees"]) == (0, 0, True)
    (position,) = json.loads(ledger("positions", "--json", folder=tmp_path).stdout)
    assert position["position_id"] == 10


def test_a_basket_of_hundreds_is_closed_whole(tmp_path):
    robot = Robot(symbols=("XAUUSD",), ways=(1,), open_chance=1, basket_chance=0, single_chance=0, partial_chance=0,
                  most=10**6, multiplier=1)  # fmt: skip
    path = tmp_path / "grid.csv"
    path.write_text(run(robot, 3, 900).csv())
    done = ledger("import", path, *OPTIONS[:4], "--json", folder=tmp_path)
    (report,) = json.loads(done.stdout)["files"]
    assert (done.returncode, report["unattributed"], report["read"]) == (0, 0, 1801)
    assert json.loads(ledger("positions", "--json", folder=tmp_path).stdout) == []


# ------------------------------------------------------------------------------------------------------ no regular files


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = ledger("import", tmp_path / "pipe", *OPTIONS, folder=tmp_path)
    assert (done.returncode, "found a named pipe" in done.stderr) == (2, True)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(tmp_path, device):
    done = ledger("import", device, *OPTIONS, folder=tmp_path)
    assert (done.returncode, "found a character device" in done.stderr) == (2, True)


def test_a_socket_and_a_directory_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        done = ledger("import", "socket", *OPTIONS, folder=tmp_path)
    assert (done.returncode, "found a socket" in done.stderr) == (2, True)
    done = ledger("import", tmp_path, *OPTIONS, folder=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_a_link_to_a_regular_file_is_read(tmp_path):
    (tmp_path / "link.csv").symlink_to(write(tmp_path, 1))
    assert ledger("import", tmp_path / "link.csv", *OPTIONS, folder=tmp_path).returncode == 1
