"""This module finds ``promtool``, ``prometheus``, ``amtool`` and ``alertmanager`` for tests, and fetches them where it can.

They are looked for in ``LEDGER_TEST_PROMETHEUS=/path/to/folder``, on the PATH, and in ``.tools`` in the project folder.
Where there is apt they are unpacked to the last from the packages ``prometheus`` and ``prometheus-alertmanager``, whose
signatures apt checks: no service is installed or started, and no root is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from tools.testkit import debian

BINARIES_VARIABLE: Final = "LEDGER_TEST_PROMETHEUS"
UNPACKED: Final = Path(__file__).resolve().parents[2] / ".tools" / "prometheus"

Name = Literal["promtool", "prometheus", "amtool", "alertmanager"]

_NAMES: Final[dict[Name, tuple[str, ...]]] = {  # what a program is called; the second is what Debian calls it
    "promtool": ("promtool",),
    "prometheus": ("prometheus",),
    "amtool": ("amtool",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
}
_PACKAGES: Final[dict[Name, str]] = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "alertmanager": "prometheus-alertmanager",
}
_TEMPLATES: Final = (b"/usr/share/prometheus/alertmanager", b"usr//share/prometheus/alertmanager")


class PrometheusMissingError(Exception):
    """A program is not there and could not be fetched; the message states how to install it."""


def binary(name: Name) -> Path:
    """Return a program of Prometheus or Alertmanager, fetched first if that is possible.

    Raises:
        PrometheusMissingError: It is not there, and cannot be fetched.
    """
    found = _found(name)
    if found is not None:
        return found
    if os.environ.get(BINARIES_VARIABLE):
        raise PrometheusMissingError(_missing(name, f"{BINARIES_VARIABLE} names a folder without it"))
    if not debian.has_apt():
        raise PrometheusMissingError(_missing(name, "apt is not on this system"))
    try:
        _fetch(_PACKAGES[name])
    except (OSError, subprocess.CalledProcessError) as error:
        raise PrometheusMissingError(_missing(name, debian.cannot(error))) from error
    found = _found(name)
    if found is None:
        raise PrometheusMissingError(_missing(name, f"the package {_PACKAGES[name]} has none"))
    return found


@contextmanager
def alertmanager(config: Path, storage: Path, port: int) -> Iterator[None]:
    """Run Alertmanager on a port of this machine, with a file of settings; it is ready once ``/-/ready`` answers 200."""
    program, cwd = binary("alertmanager"), Path.cwd()
    if program.parent == Path(_bin()):
        program, cwd = _with_unpacked_templates(program, storage), UNPACKED
    words = [f"--config.file={config}", f"--storage.path={storage}", f"--web.listen-address=127.0.0.1:{port}"]
    output = subprocess.DEVNULL
    process = subprocess.Popen([program, *words, "--cluster.listen-address="], cwd=cwd, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _with_unpacked_templates(program: Path, folder: Path) -> Path:
    """Return a copy of Debian's program, in a folder, that finds its templates in ``UNPACKED`` if it is started there.

    Their place is built in. The other one is as long, and relative.
    """
    if not (UNPACKED / _TEMPLATES[1].decode()).exists():
        _fetch(_PACKAGES["alertmanager"])
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / program.name
    copy.write_bytes(program.read_bytes().replace(*_TEMPLATES))
    copy.chmod(0o755)
    return copy


def run(name: Name, *words: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and return its exit code and output."""
    return subprocess.run([binary(name), *words], input=stdin, capture_output=True, text=True, encoding="utf-8", check=False)


def _missing(name: Name, why: str) -> str:
    return (
        f"{name} was not found, and {why}. Install Prometheus and Alertmanager (on Debian: apt install {_PACKAGES[name]}), "
        f"or name a folder that holds {name} in {BINARIES_VARIABLE}."
    )


def _found(name: Name) -> Path | None:
    chosen = os.environ.get(BINARIES_VARIABLE)
    for one in _NAMES[name]:
        found = shutil.which(one, path=chosen) if chosen else shutil.which(one) or shutil.which(one, path=_bin())
        if found:
            return Path(found).absolute()
    return None


def _bin() -> str:
    return str(UNPACKED / "usr" / "bin")


def _fetch(package: str) -> None:
    debian.unpack([package], UNPACKED, ("usr/share/prometheus/**/*.tmpl", "usr/bin/*"))
