"""One-time links: what waits in a folder that only its owner reads until somebody signs in with it.

The folder is how the command that makes a link and the page that accepts it meet: both run as the same user of the system. A
file is named by the digest of its token, so that reading the folder signs nobody in. Who removes the file has used the link.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from attrs import frozen

from ledger.access_lists import protect
from ledger.errors import BadValue
from ledger.keyfiles import OWNER_ONLY, write_new
from ledger.page_settings import PageSettings, Role, person_name

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_RUNNING: Final = "running.json"
_LINKS: Final = "links"
_PRINTED: Final = "link"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_IS_POSIX: Final = os.name == "posix"


@frozen
class Link:
    """Whom a link signs in."""

    name: str
    role: Role


class Links:
    """The links of one page that nobody used yet.

    Args:
        folder: Where they are; it is made, and protected, where it is not there.
        clock: UTC seconds.

    Raises:
        BadValue: Others could read the folder, or it is somebody else's.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        private_folder(folder)
        self._folder = private_folder(folder / _LINKS)
        self._clock = clock

    def make(self, link: Link, minutes: float) -> str:
        """Return the token of a new link."""
        self._remove_lapsed()
        token = secrets.token_urlsafe(32)
        content = {"name": link.name, "role": link.role.value, "lapses": self._clock() + minutes * 60}
        write_new(self._path(token), json.dumps(content).encode(), OWNER_ONLY)
        return token

    def use(self, token: str) -> Link | None:
        """Return whom a token signs in, once; None where it was used, has lapsed, or never was."""
        if not _TOKEN.fullmatch(token):
            return None
        path = self._path(token)
        try:
            content = json.loads(_own_content(path))
            path.unlink()  # of two that use it at once, one finds it gone
        except (OSError, ValueError):
            return None
        return Link(person_name(content["name"]), Role(content["role"])) if content["lapses"] > self._clock() else None

    def _path(self, token: str) -> Path:
        return self._folder / f"{hashlib.sha256(token.encode()).hexdigest()}.json"

    def _remove_lapsed(self) -> None:
        for path in self._folder.glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                if json.loads(path.read_bytes())["lapses"] <= self._clock():
                    path.unlink()


# ---- the folder


def folder_of(settings: PageSettings, port: int) -> Path:
    """Return the folder of the page that listens on a port, or on the socket of the settings."""
    place = settings.folder or _own_folder()
    if settings.socket is None:
        return place / f"port-{port}"
    return place / f"socket-{hashlib.sha256(os.fsencode(settings.socket.absolute())).hexdigest()[:16]}"


@contextmanager
def running(folder: Path, url: str) -> Iterator[None]:
    """Have it noted under which address a page runs, for the command that makes links."""
    path = private_folder(folder) / _RUNNING
    path.unlink(missing_ok=True)
    write_new(path, json.dumps({"url": url}).encode(), OWNER_ONLY)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        (folder / _PRINTED).unlink(missing_ok=True)


def running_url(folder: Path) -> str | None:
    """Return under which address a page runs; None where none does."""
    try:
        _check_private(folder)
        return str(json.loads((folder / _RUNNING).read_bytes())["url"])
    except (OSError, ValueError, KeyError):
        return None


def write_links(folder: Path, links: Sequence[str]) -> Path:
    """Write links to a file that only its owner reads, and return the file."""
    path = private_folder(folder) / _PRINTED
    path.unlink(missing_ok=True)
    write_new(path, "".join(f"{one}\n" for one in links).encode(), OWNER_ONLY)
    return path


def private_folder(folder: Path) -> Path:
    """Return a folder that only the present user can read; it is made where it is not there.

    Raises:
        BadValue: It is somebody else's, or others can read it.
    """
    if not folder.parent.exists():
        private_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        _check_private(folder)
    else:
        if not _IS_POSIX:
            protect(folder)
    return folder


def _check_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise BadValue(f"expected a folder, found something else at {folder}: remove it, or name another with folder in [page]")
    if _IS_POSIX and (found.st_uid != os.geteuid() or found.st_mode & _OTHERS):
        raise BadValue(
            f"links to sign in would not be safe in {folder}: it is somebody else's, or others can read it. "
            "Name another folder with folder in [page] of ledger.toml"
        )


def _own_content(path: Path) -> bytes:
    """Return what a file has that is the user's own: whoever owns a folder further up may have put another one there since.

    Raises:
        OSError: It cannot be read, or is somebody else's.
    """
    with path.open("rb") as file:
        if _IS_POSIX and os.fstat(file.fileno()).st_uid != os.geteuid():
            raise PermissionError(f"{path} is somebody else's")
        return file.read()


def _own_folder() -> Path:
    """Return the folder of the user's session, which ends with it; else one among the temporary files."""
    session = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("LOCALAPPDATA")
    if session and Path(session).is_dir() and not (_IS_POSIX and Path(session).stat().st_uid != os.geteuid()):
        return Path(session) / "ledger-page"
    user = str(os.geteuid()) if _IS_POSIX else "user"
    return private_folder(Path(tempfile.gettempdir()) / f"ledger-page-{user}")
