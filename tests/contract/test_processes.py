"""Processes that we start run our own code: nothing of the current folder is executed, and no secret is passed in the open."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.gateway.sandbox.client import Sandbox
from ledger.journal.verify import worker
from ledger.processes import own_command
from tests.support.journals import ACCOUNT, DURABLE, Clock, fill, new_url, opened

ROOT = Path(__file__).resolve().parents[2]
TRAP = """
import os, sys
with open({mark!r}, "a") as mark:
    mark.write(__name__ + " was imported, standard input: " + repr(sys.stdin and os.fstat(0)) + chr(10))
"""
#: Verifies with another process, however few events there are, and prints whether that one did its part.
DRIVER = """
import sys
from ledger import Ledger
from ledger.journal.verify import worker
worker.LEAST = 10
found = []
result = worker.VerifyWorker.result
worker.VerifyWorker.result = lambda self: found.append(result(self)) or result(self)
with Ledger.open(sys.argv[1]) as ledger:
    print(ledger.verify(in_parallel=True).ok, bool(found) and found[0] is not None)
"""


@pytest.fixture
def trap(tmp_path):
    """A folder with modules that leave a mark when they are imported: ours, of the standard library, and Python's own hooks."""
    folder, mark = tmp_path / "trap", tmp_path / "mark"
    package = folder / "ledger" / "journal"
    package.mkdir(parents=True)
    names = ("json", "typing", "sqlite3", "runpy", "sqlalchemy", "attrs", "sitecustomize", "usercustomize", "pip", "venv")
    paths = [folder / f"{name}.py" for name in names]
    paths += [
        folder / "ledger" / "__init__.py",
        folder / "ledger" / "__main__.py",
        package / "__init__.py",
        package / "worker.py",
    ]
    for path in paths:
        path.write_text(TRAP.format(mark=str(mark)), encoding="utf-8")
    return folder, mark


@pytest.fixture(params=DURABLE)
def url(request, tmp_path):
    url = new_url(request.param, tmp_path)
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 40))])
    return url


def driven(url, folder, tmp_path, *, paths=(), further=(), python=("-I",)):
    """Run the driver, as an installed program, with a current folder of somebody else's."""
    driver = tmp_path / "driver.py"
    lines = f"import sys; sys.path[:] = [*{[*map(str, paths)]!r}, *sys.path, *{[*map(str, further)]!r}]\n"
    driver.write_text(lines + DRIVER, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *python, str(driver), url]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_verification_executes_nothing_of_the_current_folder(url, trap, tmp_path):
    folder, mark = trap
    assert driven(url, folder, tmp_path) == ["True", "True"]
    assert not mark.exists(), mark.read_text()


def test_verification_executes_nothing_from_the_path_of_the_starting_program(url, trap, tmp_path):
    """It has the folder in its path behind everything else, by its name and as the current one; what it starts has not."""
    folder, mark = trap
    copy = tmp_path / "site"
    shutil.copytree(ROOT / "ledger", copy / "ledger", ignore=shutil.ignore_patterns("__pycache__"))
    assert driven(url, folder, tmp_path, paths=(copy,), further=(folder, "", "."), python=()) == ["True", "True"]
    assert not mark.exists(), mark.read_text()


def test_verification_works_from_a_zip(url, trap, tmp_path):
    folder, mark = trap
    archive = tmp_path / "ledger.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(one for one in (ROOT / "ledger").rglob("*") if one.suffix in (".py", ".json")):
            packed.write(path, path.relative_to(ROOT))
    assert driven(url, folder, tmp_path, paths=(archive,)) == ["True", "True"]
    assert not mark.exists()


def test_the_url_is_in_no_argument_and_no_environment(url, monkeypatch):
    """Both can be read by others while the process runs."""
    started = []
    start = subprocess.Popen

    def noted(command, **words):
        started.append((command, words))
        return start(command, **words)

    monkeypatch.setattr(worker, "LEAST", 10)
    monkeypatch.setattr(subprocess, "Popen", noted)
    with Ledger.open(url) as ledger:
        assert ledger.verify(in_parallel=True).ok
    [(command, words)] = started
    name = url.rpartition("/")[2]
    assert name not in " ".join(command)
    assert words.get("env") is None
    assert words["cwd"] == os.path.abspath(os.sep)  # noqa: PTH100  # text


def test_a_sandbox_executes_nothing_of_the_current_folder(trap, monkeypatch):
    folder, mark = trap
    monkeypatch.chdir(folder)
    with Sandbox.start("--positions", "1") as sandbox:
        assert sandbox.endpoint.startswith("tcp://")
    assert not mark.exists(), mark.read_text()


def test_a_program_that_is_no_python_starts_none(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert own_command("ledger.journal.verify.worker") is None
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", "")
    assert own_command("ledger.journal.verify.worker") is None


def test_a_folder_that_is_gone_is_no_reason_to_fail(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    command = own_command("ledger", "--version")
    assert command is not None
    assert subprocess.run(command, cwd=os.sep, capture_output=True, text=True, check=True).stdout.startswith("ledger ")
    assert json.loads(command[5])
