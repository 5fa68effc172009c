"""This module is how the commands in tools/ get a place to run in: ``.venv`` in the project folder, from a lock file.

The folder is used again as long as the lock file, the Python and the place are the ones it was made for; otherwise, or
when its making was interrupted, it is made anew. What cannot be done ends the command with one sentence and exit
code 3.
Only the standard library is used, and no syntax newer than Python 3.6 (see ``python_check``).
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tools.dev import python_check  # noqa: F401  # stops a Python that is too old

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
RUNTIME_LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"

UNAVAILABLE = 3  # exit code: try again when what was missing is there
SPACE_NEEDED_MB = {RUNTIME_LOCK: 200, DEV_LOCK: 3000}
LOCK_WAIT_SEC = 900

_RECORD = VENV / "ledger-installed.json"  # what is installed here; written last, removed first
_PIP_FAILURES = (  # what pip prints -> what it means and what to do
    ("DO NOT MATCH THE HASHES", "a package is not the one that was locked; the package index or a proxy changed it"),
    ("No space left", "the disk is full; free some space"),
    ("Disk quota", "the disk quota is used up; free some space"),
    ("No matching distribution", "the package index does not offer it, or cannot be reached; check the network"),
    ("requires a different Python", "this Python is not supported; use another one"),
)
_REDIRECTING = (
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_REQUIREMENT",
    "PIP_REQUIRE_HASHES",
    "PYTHONPATH",
    "PYTHONHOME",
)
_PIP_UNKNOWN = "pip could not fetch or install it; check the network and the lines above"


class CannotPrepareError(Exception):
    """The place to run in cannot be made; the message states what failed and what to do."""


def ready(lock_name: str) -> Path:
    """Return the Python of a ``.venv`` that has a lock file's packages and the project itself.

    Ends the program with exit code 3 and one sentence where that is not possible.
    """
    try:
        with _one_at_a_time():
            return _prepared(lock_name)
    except CannotPrepareError as error:
        print(f"Cannot prepare {VENV}: {error}", file=sys.stderr, flush=True)
    except OSError as error:
        print(f"Cannot prepare {VENV}: {error}. Check the folder's permissions and space.", file=sys.stderr, flush=True)
    sys.exit(UNAVAILABLE)


def enter(lock_name: str) -> None:
    """Go on in a ``.venv`` that has a lock file's packages: where this is another Python, the command starts anew there."""
    python = ready(lock_name)
    if Path(sys.prefix) != python.parent.parent:
        os.execv(str(python), [str(python), *sys.argv])  # noqa: S606  # ourselves


def python_in(venv: Path) -> Path:
    """Return where a virtual environment has its Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _prepared(lock_name: str) -> Path:
    wanted, installed = _wanted(lock_name), _installed()
    if not _fits(installed, wanted):
        _check_space(lock_name)
        _make_venv()
        installed = {"made_for": wanted["made_for"], "locks": {}, "project": None}
    if lock_name not in installed["locks"]:
        _check_space(lock_name)
        _install(f"the packages of {lock_name}", "--require-hashes", "--requirement", str(ROOT / lock_name))
        installed["locks"].update(wanted["locks"])
        _write_record(installed)
    if installed["project"] != wanted["project"]:
        _write_record(dict(installed, project=None))
        _install("the project itself", "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT))
        installed["project"] = wanted["project"]
        _write_record(installed)
    return python_in(VENV)


# ---------------------------------------------------------------------------------------- what is there, what is wanted


def _wanted(lock_name: str) -> dict[str, Any]:
    """Describe the installation that a lock file asks for; the dev lock holds everything of the runtime lock."""
    names = (RUNTIME_LOCK, DEV_LOCK) if lock_name == DEV_LOCK else (lock_name,)
    return {
        "made_for": {"root": str(ROOT), "python": sys.version, "base": os.path.realpath(sys.base_prefix)},
        "locks": {name: _digest(ROOT / name) for name in names},
        "project": _digest(ROOT / "pyproject.toml"),
    }


def _installed() -> dict[str, Any]:
    """Read what is installed; empty where nothing is, or where the making was interrupted."""
    try:
        record: dict[str, Any] = json.loads(_RECORD.read_text(encoding="utf-8"))
        run = subprocess.run([str(python_in(VENV)), "-I", "-c", ""], capture_output=True, check=False)
    except (OSError, ValueError):
        return {}
    is_whole = run.returncode == 0 and {"made_for", "locks", "project"} <= set(record)
    return record if is_whole else {}


def _fits(installed: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Return whether an installation can be used or added to: right Python and place, and no lock file has changed."""
    if installed.get("made_for") != wanted["made_for"]:
        return False
    return all(digest == _digest(ROOT / name) for name, digest in installed["locks"].items())


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise CannotPrepareError(f"{path.name} is missing; is this a complete copy of the project?") from None


def _write_record(installed: dict[str, Any]) -> None:
    draft = _RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(installed, indent=2) + "\n", encoding="utf-8")
    draft.replace(_RECORD)


# ------------------------------------------------------------------------------------------------------------ making it


def _make_venv() -> None:
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise CannotPrepareError(
                f"this Python ({sys.executable}) comes without its module {module}; "
                "install it (on Debian and Ubuntu: apt install python3-venv) and run the command again"
            )
    if VENV.exists() or VENV.is_symlink():
        _report("Removing the old .venv: it is incomplete, or was made for something else")
        _remove(VENV)
    _report(f"Making .venv with Python {sys.version.split()[0]}")
    base = getattr(sys, "_base_executable", None) or sys.executable  # not the .venv's own, which may be gone by now
    made = _run([base, "-I", "-m", "venv", str(VENV)])
    if made.returncode:
        print(made.stdout, file=sys.stderr)
        raise CannotPrepareError("python -m venv failed; see the lines above, then run the command again")


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    _RECORD.unlink(missing_ok=True)  # first, so that an interrupted removal is not mistaken for a whole .venv
    shutil.rmtree(str(path))


def _check_space(lock_name: str) -> None:
    needed, free = SPACE_NEEDED_MB[lock_name], shutil.disk_usage(str(ROOT)).free // 2**20
    if free < needed:
        raise CannotPrepareError(f"it needs about {needed} MB of disk space and {free} MB are free; free some space")


def _install(what: str, *arguments: str) -> None:
    _report(f"Installing {what}")
    started = time.monotonic()
    python = str(python_in(VENV))
    run = _run([python, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", *arguments])
    if run.returncode:
        print("\n".join(run.stdout.strip().splitlines()[-12:]), file=sys.stderr)
        reason = next((meaning for output, meaning in _PIP_FAILURES if output in run.stdout), _PIP_UNKNOWN)
        raise CannotPrepareError(f"installing {what} failed: {reason}, then run the command again")
    _report(f"Installed in {time.monotonic() - started:.0f} s")


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a program that changes ``.venv``; should we be killed, it goes on and holds the lock until it is done."""
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(),
        close_fds=False,  # the lock is inherited
        check=False,
    )


def _environment() -> dict[str, str]:
    """Return the environment for pip: a person's own settings stay, but nothing may redirect where it installs."""
    environment = {name: value for name, value in os.environ.items() if name not in _REDIRECTING}
    environment["PIP_USER"] = "0"
    environment.setdefault("PIP_RETRIES", "2")  # five, pip's own number, makes a person without network wait
    return environment


def _report(text: str) -> None:
    print(f"[setup] {text}", flush=True)


# -------------------------------------------------------------------------------------------------------- one at a time


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Prevent two commands from making ``.venv`` at once. The lock ends with its process, however that ends."""
    with (ROOT / ".venv.lock").open("a+") as file:
        os.set_inheritable(file.fileno(), True)  # noqa: FBT003  # that call has no keyword
        _wait_for(lambda: _try_lock(file.fileno()))
        yield


def _wait_for(attempt: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LOCK_WAIT_SEC
    output = False
    while not attempt():
        if not output:
            _report("Another command is preparing .venv; waiting for it")
            output = True
        if time.monotonic() > give_up:
            raise CannotPrepareError("another command has been preparing it for 15 minutes; end that one, then try again")
        time.sleep(0.2)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
