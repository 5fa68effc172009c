"""This script is the checklist of a release: it names what is missing, and installs what would be released.

    python3 tools/release_check.py    # the exit code is 0 only if nothing is missing

It checks the version, its dated section in ``CHANGELOG.md``, the frozen journal of the schema and the lock files, then
builds the wheel and installs it into empty environments, once complete and once as a gateway needs it: that needs the
package index that pip is set up with. What it does not do is run the tests: ``python3 tools/test.py`` does.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Python looks in the folder of a script, not in the project

from tools import lock
from tools.dev import bootstrap

_DATED = re.compile(r"^## \[?(?P<version>\d+\.\d+\.\d+)\]? - (?P<day>\d{4}-\d{2}-\d{2})$", re.MULTILINE)
_UNRELEASED = re.compile(r"^## \[?Unreleased\]?$(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL | re.IGNORECASE)


class Check(NamedTuple):
    """One thing that a release needs: its name, and what finds what is missing, a sentence each."""

    name: str
    problems: Callable[[], Iterator[str]]


def main() -> int:
    """Go through the list; return 1 if something is missing."""
    python = bootstrap.ready(bootstrap.DEV_LOCK)
    root, version = bootstrap.ROOT, project_version(bootstrap.ROOT)
    with tempfile.TemporaryDirectory(prefix="ledger-release-") as name:
        folder = Path(name)
        checks = [
            Check("commit", lambda: uncommitted(root)),
            Check("changelog", lambda: changelog_problems((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)),
            Check("frozen journal", lambda: frozen_problems(root)),
            Check("lock files", lock.problems),
            Check("complete installation", lambda: _installed(python, folder, bootstrap.RUNTIME_LOCK, version)),
            Check("small installation", lambda: _installed(python, folder, lock.GATEWAY_LOCK, version)),
        ]
        print(f"What a release of {version} needs:")
        missing = [problem for check in checks for problem in _reported(check)]
    print(f"{len(missing)} things are missing." if missing else "Nothing is missing.")
    return 1 if missing else 0


def _reported(check: Check) -> list[str]:
    problems = list(check.problems())
    print(f"  {check.name:<24}{'MISSING' if problems else 'ok'}", flush=True)
    for problem in problems:
        print(f"    {problem}", flush=True)
    return problems


# ------------------------------------------------------------------------------------------------- what files contain


def project_version(root: Path) -> str:
    """Return the version that ``pyproject.toml`` states."""
    import tomllib

    stated: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return stated


def uncommitted(root: Path) -> Iterator[str]:
    """Yield the files that no commit holds."""
    git = shutil.which("git")
    if git is None:
        yield "git is not installed here, and cannot report what is committed"
        return
    run = subprocess.run([git, "status", "--porcelain"], cwd=str(root), capture_output=True, text=True, check=False)
    if run.returncode:
        yield f"git does not answer: {run.stderr.strip()}"
    yield from (f"not committed: {line[3:]}" for line in run.stdout.splitlines())


def changelog_problems(text: str, version: str) -> Iterator[str]:
    """Yield what a changelog lacks: a dated section of the version, before all others, and nothing left unreleased."""
    dated = [found["version"] for found in _DATED.finditer(text)]
    if version not in dated:
        yield f"CHANGELOG.md has no section '## {version} - YYYY-MM-DD'"
    elif dated[0] != version:
        yield f"the newest section of CHANGELOG.md is {dated[0]}, and pyproject.toml has {version}"
    left = _UNRELEASED.search(text)
    if left and left["text"].strip():
        yield f"CHANGELOG.md has changes under Unreleased: move them to {version}"


def frozen_problems(root: Path) -> Iterator[str]:
    """Yield what is missing of the frozen journal of the newest schema."""
    revisions = sorted(path.name[:4] for path in (root / "migrations" / "versions").glob("[0-9]*.py"))
    names = [f"{revisions[-1]}{ending}" for ending in (".db.xz", ".sql.xz", ".json")]
    missing = [name for name in names if not (root / "tests" / "journals" / name).is_file()]
    if missing:
        yield f"tests/journals has no {', '.join(missing)}: run python3 tools/dev/freeze_journal.py"


# ---------------------------------------------------------------------------------------------- what people would get


def _installed(python: Path, folder: Path, lock_name: str, version: str) -> Iterator[str]:
    """Build the wheel, install it beside a lock file's packages into an empty environment, and call its commands."""
    place = folder / lock_name
    made = _run(python, "-I", "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place / "dist"))
    wheels = [path for path in (place / "dist").glob("*.whl") if f"-{version}-" in path.name]
    if made.returncode or len(wheels) != 1:
        yield f"no wheel of {version} was built: {_last_line(made)}"
        return
    _run(python, "-I", "-m", "venv", str(place / "env"))
    inside = bootstrap.python_in(place / "env")
    before, started = _megabytes(place / "env"), time.monotonic()
    requirements = ["--require-hashes", "--requirement", str(bootstrap.ROOT / lock_name)]
    for words in (requirements, ["--no-index", str(wheels[0])]):
        run = _run(inside, "-I", "-m", "pip", "install", "--quiet", "--no-deps", *words)
        if run.returncode:
            yield f"pip install {words[-1]} failed: {_last_line(run)}"
            return
    seconds, size = time.monotonic() - started, _megabytes(place / "env") - before
    print(f"    {lock_name} and the wheel: {size:.0f} MB in {seconds:.0f} s")
    for name in ("ledger", "mt5-ledger"):
        run = _run(inside.with_name(name), "--version")
        if run.stdout.strip() != f"ledger {version}":
            yield f"{name} --version printed {run.stdout.strip() or _last_line(run)!r}"
    yield from _used(inside.with_name("ledger"), place, is_complete=lock_name == bootstrap.RUNTIME_LOCK)


def _used(command: Path, place: Path, *, is_complete: bool) -> Iterator[str]:
    """Make and verify a journal with a complete installation, a pair of keys with a small one."""
    journal = ["--journal", f"sqlite:///{place / 'desk.db'}"]
    uses = [["init", *journal], ["verify", "--json", *journal]] if is_complete else [["keys", "make", "gateway"]]
    for words in uses:
        run = _run(command, *words, cwd=place)
        if run.returncode:
            yield f"ledger {' '.join(words)} ended with {run.returncode}: {_last_line(run)}"
        elif words[0] == "verify" and not json.loads(run.stdout).get("ok"):
            yield f"a new journal does not verify: {run.stdout}"


def _run(program: Path, *words: str, cwd: Path = bootstrap.ROOT) -> "subprocess.CompletedProcess[str]":
    others = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "LEDGER_JOURNAL")}
    return subprocess.run([str(program), *words], cwd=str(cwd), env=others, capture_output=True, text=True, check=False)


def _last_line(run: "subprocess.CompletedProcess[str]") -> str:
    return next(reversed((run.stdout + run.stderr).strip().splitlines()), f"exit code {run.returncode}")


def _megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
