"""This script is how the lock files are made: exact versions, with the hashes of the files for every platform.

    python3 tools/lock.py             # after a change of pyproject.toml: versions that still fit stay as they are
    python3 tools/lock.py --upgrade   # newest versions that fit

``requirements.lock`` holds what the command ``ledger`` needs, ``requirements-dev.lock`` everything: Postgres, tests,
lint. Both hold the build backend, so that the project itself installs from them too. ``requirements-gateway.lock`` holds what
the gateway's side needs, beside a terminal: no journal, no tables, no imports of workbooks.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

UV = "uv==0.13.9"  # resolves for all platforms at once, which pip cannot
DEV_INPUT = ("--all-extras", "--group", "dev")
RUNTIME_INPUT = ("--group", "build", "--constraint", bootstrap.DEV_LOCK)  # the same versions in both
GATEWAY_LOCK = "requirements-gateway.lock"
GATEWAY_PACKAGES = ("attrs", "click", "msgspec", "pyzmq", "tzdata")  # the last one: Windows has no time zones of its own
_PIN = re.compile(r"^[a-z0-9]\S*==\S+", re.MULTILINE)


def main() -> int:
    """Make both lock files and check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="use the newest versions that fit")
    upgrade = ["--upgrade"] if parser.parse_args().upgrade else []
    with tempfile.TemporaryDirectory(prefix="ledger-lock-") as folder:
        uv = _install_uv(Path(folder))
        _compile(uv, bootstrap.DEV_LOCK, *DEV_INPUT, *upgrade)
        _compile(uv, bootstrap.RUNTIME_LOCK, *RUNTIME_INPUT, *upgrade)
    (bootstrap.ROOT / GATEWAY_LOCK).write_text(gateway_lock(), encoding="utf-8")
    found = list(problems())
    print("\n".join(found or ["The lock files are complete."]))
    return 1 if found else 0


def gateway_lock() -> str:
    """Return the text of the gateway's lock file: its packages as the runtime lock has them, for ``pip install --no-deps``."""
    text = (bootstrap.ROOT / bootstrap.RUNTIME_LOCK).read_text(encoding="utf-8")
    packages = [block for block in _blocks(text) if block.partition("==")[0] in GATEWAY_PACKAGES]
    pins = [line for block in packages for line in block.splitlines() if not line.lstrip().startswith("#")]
    return "\n".join(["# Made by: python3 tools/lock.py", *pins, ""])


def _install_uv(folder: Path) -> Path:
    subprocess.run([sys.executable, "-I", "-m", "venv", str(folder)], check=True)
    python = bootstrap.python_in(folder)
    subprocess.run([str(python), "-I", "-m", "pip", "install", "--quiet", UV], check=True)
    return python.parent / "uv"


def _compile(uv: Path, output: str, *arguments: str) -> None:
    print(f"Resolving {output} ...", flush=True)
    subprocess.run(
        [
            *(str(uv), "pip", "compile", "pyproject.toml", "--output-file", output),
            *("--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"),
            *("--custom-compile-command", "python3 tools/lock.py"),
            *arguments,
        ],
        cwd=bootstrap.ROOT,
        env=os.environ | _index(),
        check=True,
    )


def _index() -> dict[str, str]:
    """Ask the package index that pip is set up with, which uv does not read by itself."""
    asked = [sys.executable, "-I", "-m", "pip", "config", "get", "global.index-url"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    index = os.environ.get("PIP_INDEX_URL") or found.stdout.strip()
    return {"UV_DEFAULT_INDEX": index} if index else {}


def problems() -> Iterator[str]:
    """Yield what is wrong with the lock files, a sentence each."""
    for name in (bootstrap.DEV_LOCK, bootstrap.RUNTIME_LOCK, GATEWAY_LOCK):
        text = (bootstrap.ROOT / name).read_text(encoding="utf-8")
        yield from (f"{name}: {block.split()[0]} has no hash" for block in _blocks(text) if "--hash=sha256:" not in block)
        if "://" in text:
            yield f"{name}: names an address"
        if name == GATEWAY_LOCK and text != gateway_lock():
            yield f"{name}: differs from {bootstrap.RUNTIME_LOCK}; run python3 tools/lock.py"


def _blocks(text: str) -> list[str]:
    """Return a lock file's packages, each with its hashes."""
    starts = [match.start() for match in _PIN.finditer(text)]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


if __name__ == "__main__":
    sys.exit(main())
