"""This module fetches programs for tests from the packages of a Debian or Ubuntu: no root is needed, nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_APT: Final = ("apt-get", "dpkg-deb")


def has_apt() -> bool:
    """Return whether packages can be fetched and unpacked here."""
    return all(map(shutil.which, _APT))


def unpack(packages: Sequence[str], target: Path, patterns: Iterable[str]) -> None:
    """Put those files of packages that a pattern names under a folder. Two that do it at once do the same.

    apt checks the packages' signatures.

    Raises:
        OSError, CalledProcessError: apt cannot fetch them; ``cannot`` writes why.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as name:
        folder = Path(name)
        try:
            apt(["download", *packages], folder)
        except subprocess.CalledProcessError:  # the system's lists are old, or there are none: with lists of our own
            own = ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
            for each in ("lists/partial", "cache/archives/partial"):
                (folder / each).mkdir(parents=True)
            apt([*own, "update"], folder)
            apt([*own, "download", *packages], folder)
        begin = folder / "unpacked"
        for archive in folder.glob("*.deb"):
            _call(["dpkg-deb", "-x", str(archive), str(begin)], folder)
        for pattern in patterns:
            for file in filter(Path.is_file, begin.glob(pattern)):
                place = target / file.relative_to(begin)
                place.parent.mkdir(parents=True, exist_ok=True)
                file.replace(place)


def apt(words: Sequence[str], folder: Path) -> None:
    """Run apt-get in a folder."""
    _call(["apt-get", "-o", "APT::Sandbox::User=", *words], folder)


def cannot(error: Exception) -> str:
    """Write why apt could not do something."""
    return f"apt could not fetch it: {(getattr(error, 'stderr', None) or str(error)).strip()}"


def _call(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
