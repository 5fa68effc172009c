"""Files that we write: whole or not there, and never in the place of what we did not make."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ledger.errors import BadValue

_MODE: Final = 0o666  # less what the user's umask takes away
#: How a SQLite database begins.
SQLITE_MAGIC: Final = b"SQLite format 3\0"
#: What SQLite stores beside a database, under the database's name.
COMPANIONS: Final = ("-wal", "-shm", "-journal")


def require_writable(path: Path, *, journal: Path | None, is_ours: Callable[[Path], bool], force: bool = False) -> None:
    """Refuse to write a file where that would destroy something.

    Args:
        path: The file to be written.
        journal: The file of the SQLite journal in use; it and what is beside it are never written.
        is_ours: Whether an existing file is one that we made, and may replace.
        force: Replace any other file too; never a database.

    Raises:
        BadValue: It is the journal, a database, no regular file, or somebody else's and not to be replaced.
    """
    if journal is not None and _belongs_to(path, journal):
        raise BadValue(f"{path} is the journal, or belongs to it: name another file")
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise BadValue(f"{path} is no regular file: name a new one")
    if _begins_with(path, SQLITE_MAGIC):
        raise BadValue(f"{path} is a database, which is never written over: name another file")
    if found.st_size and not force and not is_ours(path):
        raise BadValue(f"{path} exists and was not made by this command: name another file, or replace it with --force")


def _belongs_to(path: Path, journal: Path) -> bool:
    """Return whether a file is a journal or one of its companions, whatever links or spelling it is named by."""
    database = os.path.realpath(journal)
    for one in (database, *(f"{database}{suffix}" for suffix in COMPANIONS)):
        if os.path.realpath(path) == one or _is_same(path, Path(one)):
            return True
    return False


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except FileNotFoundError:
        return False


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give out the name of a temporary file beside a file; at the end it is durable and takes the file's place.

    If anything fails, the temporary file is removed and the file is as it was. A link stays one.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE))
    try:
        yield partial
        _sync(partial, os.O_RDWR)
        partial.replace(target)
        with suppress(OSError):  # not every system lets a folder be opened
            _sync(target.parent, os.O_RDONLY)
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
