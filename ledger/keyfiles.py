"""Files of keys: written once, and the secret ones readable by nobody but their owner, from the first moment on.

POSIX protects a file by its mode, Windows by its access list: there a secret file is made empty, protected, and written then.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from ledger.access_lists import other_readers, protect
from ledger.errors import BadValue

OWNER_ONLY: Final = 0o600
READABLE: Final = 0o644
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_HAS_MODES: Final = os.name == "posix"


def new_pair(folder: Path, name: str, public_suffix: str, secret_suffix: str) -> tuple[Path, Path]:
    """Return where a new pair of keys goes, public and secret, and make the folder.

    Raises:
        BadValue: There are keys of that name already, or it is no name for a file.
    """
    if not _NAME.fullmatch(name):
        raise BadValue(f"expected a plain name for a pair of keys (letters, digits, '_', '.', '-'), found {name!r}")
    public, secret = folder / f"{name}{public_suffix}", folder / f"{name}{secret_suffix}"
    there = [str(path) for path in (public, secret) if path.exists()]
    if there:
        raise BadValue(f"{', '.join(there)} exists: keys are never overwritten; take another name, or move it away")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return public, secret


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is not there yet; its rights are what they shall be from the first moment on.

    Raises:
        BadValue: It is there, or it cannot be protected.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise BadValue(f"{path} exists: keys are never overwritten; take another name, or move it away") from None
    with os.fdopen(descriptor, "wb") as file:
        try:
            if mode == OWNER_ONLY and not _HAS_MODES:
                protect(path)
            file.write(content)
        except BaseException:
            file.close()  # Windows removes no file that is open
            path.unlink()
            raise


def check_private(path: Path) -> None:
    """Refuse a secret key that others can read.

    Raises:
        BadValue: They can, or who can is not known.
    """
    if _HAS_MODES:
        if path.stat().st_mode & _OTHERS:
            raise BadValue(f"others can read the secret key {path}: chmod 600 it, and make new keys if they may have")
        return
    others = other_readers(path)
    if others:
        raise BadValue(
            f"others ({', '.join(others)}) can read the secret key {path}: make new keys if they may have, else protect it: "
            f'icacls "{path}" /inheritance:r /grant:r "%USERNAME%:F"'
        )
