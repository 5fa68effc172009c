"""This module finds ``promtool``, ``prometheus``, ``amtool`` and ``alertmanager`` for tests, and fetches them where it can.

They are looked for in ``LEDGER_TEST_PROMETHEUS=/path/to/folder``, on the PATH, and in ``.tools`` in the project folder.
Where there is apt they are unpacked to the last from the packages ``prometheus`` and ``prometheus-alertmanager``, whose
signatures apt checks: no service is installed or started, and no root is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

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
_APT: Final = ("apt-get", "dpkg-deb")


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
    if not all(map(shutil.which, _APT)):
        raise PrometheusMissingError(_missing(name, "apt is not on this system"))
    try:
        _fetch(_PACKAGES[name])
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        raise PrometheusMissingError(_missing(name, f"apt could not fetch it: {output.strip()}")) from error
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
    """Unpack a package of the system's distribution. Two that do it at once do the same."""
    UNPACKED.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=UNPACKED.parent) as name:
        folder = Path(name)
        try:
            _apt(["download", package], folder)
        except subprocess.CalledProcessError:  # the system's lists are old, or there are none: with lists of our own
            own = ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
            for each in ("lists/partial", "cache/archives/partial"):
                (folder / each).mkdir(parents=True)
            _apt([*own, "update"], folder)
            _apt([*own, "download", package], folder)
        (archive,) = folder.glob("*.deb")
        _call(["dpkg-deb", "-x", str(archive), "unpacked"], folder)
        begin = folder / "unpacked"
        for file in (*(begin / "usr" / "share" / "prometheus").rglob("*.tmpl"), *(begin / "usr" / "bin").iterdir()):
            target = UNPACKED / file.relative_to(begin)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


def _apt(words: Sequence[str], folder: Path) -> None:
    _call(["apt-get", "-o", "APT::Sandbox::User=", *words], folder)


def _call(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
