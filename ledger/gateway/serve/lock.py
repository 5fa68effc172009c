"""The lock that keeps a second service away from a terminal or a store: held by one process, gone when that process ends.

This is the only module that names the file locks of the operating systems.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

from attrs import define, field

_NAME: Final = "ledger-gateway.lock"


@define
class FileLock:
    """A lock that one process at a time holds; the file it uses stays behind and means nothing by itself."""

    path: Path
    _file: IO[bytes] | None = field(default=None, init=False, repr=False)

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Return the lock of a folder, as of a terminal's data path. It is not acquired yet."""
        return cls(folder / _NAME)

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Return the lock of a file; its own file has the same name and ``.lock``. It is not acquired yet."""
        return cls(path.with_name(path.name + ".lock"))

    def acquire(self) -> bool:
        """Return whether the lock is ours now. Never waits.

        Raises:
            OSError: The file of the lock can be neither opened nor made.
        """
        if self._file is not None:
            return True
        file = self.path.open("ab")
        try:
            _lock(file.fileno())
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Release the lock, if it is ours."""
        if self._file is not None:
            with suppress(OSError):
                _unlock(self._file.fileno())
            self._file.close()
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
