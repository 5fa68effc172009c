"""This module is how tests build the project, and what installed packages consist of."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


def build(source: Path, kind: str, target: Path) -> Path:
    """Build a wheel or a source archive (``sdist``) and return it."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    run = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (built,) = target.iterdir()
    return built


def make_empty_environment(folder: Path) -> Path:
    """Make a virtual environment without any package and return its Python."""
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def copy_package(name: str, python: Path) -> None:
    """Copy an installed package into another environment of the same Python: no network, the version that is locked."""
    ask = [str(python), "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    target = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    for file in distribution(name).files or ():
        if ".." not in file.parts:  # not its commands
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target / file)


def install_wheel(wheel: Path, python: Path) -> None:
    """Install a wheel as pip does, without what it depends on."""
    pip = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "--quiet"]
    run = subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
