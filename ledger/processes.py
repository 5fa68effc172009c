"""Processes that we start run our own code and nothing that happens to be in the current folder."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Final

#: Run in isolated mode (-I): neither the current folder nor the environment decides what is imported. It imports the package
#: from where ours is; for everything else the standard library and installed packages go first.
_START: Final = """
import importlib, json, runpy, sys, typing
package, further, module = sys.argv[1:4]
sys.path.insert(0, package)
import ledger
sys.path.remove(package)
sys.path += [one for one in json.loads(further) if one not in sys.path]
sys.argv[1:4] = []
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def own_command(module: str, *arguments: str) -> list[str] | None:
    """Return the command that runs a module of this package in a new process; None where this program is not a Python.

    Start it with ``cwd=SAFE_FOLDER``. Arguments can be read by other users: secrets go through a pipe.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    package = str(Path(__file__).resolve().parents[1])
    return [sys.executable, "-I", "-c", _START, package, json.dumps(_further_paths(package)), module, *arguments]


#: A folder that is always there and that nobody but the system's owner writes to.
SAFE_FOLDER: Final = Path(sys.executable or os.sep).anchor or os.sep


def _further_paths(package: str) -> list[str]:
    """Return where this process imports from, without what is relative or was only added because it is the current folder."""
    here = os.path.realpath(Path.cwd()) if _has_folder() else None
    absolute = [path for path in sys.path if os.path.isabs(path) and os.path.realpath(path) != here]  # noqa: PTH117  # text
    return [*absolute, package]


def _has_folder() -> bool:
    """Return whether the current folder still exists."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True
