"""This module is a regular file of a bounded size into bytes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from ledger.imports.cells import Place

#: Bytes that a file may have. A report of a million deals has about 500 million.
LARGEST_FILE: Final = 2**30

_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)


def read_regular(path: str | os.PathLike[str], place: Place) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        MalformedExport: It is a pipe, a device, a directory or a socket, or it is too large.
        OSError: It cannot be opened.
    """
    _refuse_irregular(Path(path).stat().st_mode, place)
    # Between the two looks another file may take the name: opening must not wait for the other end of a pipe.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor, not a path
        _refuse_irregular(os.fstat(descriptor).st_mode, place)
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise place.error(f"expected a file of at most {LARGEST_FILE} bytes, found a larger one. Export a shorter period.")
    return data


def refuse_irregular(path: str | os.PathLike[str]) -> None:
    """Refuse what is no regular file before anything opens it.

    Raises:
        MalformedExport: It is a pipe, a device, a directory or a socket.
        OSError: There is nothing of this name.
    """
    _refuse_irregular(Path(path).stat().st_mode, Place(os.fspath(path)))


def _refuse_irregular(mode: int, place: Place) -> None:
    if stat.S_ISREG(mode):
        return
    found = next((what for is_kind, what in _KINDS if is_kind(mode)), "something else")
    raise place.error(f"expected a regular file, found {found}. Save the export to a file and import that.")
