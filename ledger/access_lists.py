"""Access lists of Windows: who can read a file there, where the mode bits of POSIX protect nothing.

Windows' own programs ``icacls`` and ``whoami`` do the work. Accounts are named by their SIDs and lists are read as SDDL, as
both are the same in every language; names of groups are not.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path, PureWindowsPath
from typing import Final

from ledger.errors import BadValue

#: Who can read every file anyway, as SDDL names them: the system, administrators, the built-in administrator, the owner.
_ALWAYS: Final = frozenset({"SY", "BA", "LA", "OW", "CO", "S-1-5-18", "S-1-5-32-544", "S-1-3-0", "S-1-3-4"})
_SID: Final = re.compile(r"S-1-[0-9-]+")
#: An entry that allows something: its rights are the third field, whom it allows is the sixth.
_ALLOWED: Final = re.compile(r"\(A;[^;]*;[^;]+;[^;]*;[^;]*;([^;)]+)[^)]*\)")


def protect(path: Path) -> None:
    """Let nobody but the present user read or change a file.

    Raises:
        BadValue: The access list could not be set.
    """
    _run("icacls", str(path), "/inheritance:r", "/grant:r", f"*{own_sid()}:F")


def other_readers(path: Path) -> list[str]:
    """Return who besides the present user, the system and administrators has access to a file, as SIDs or SDDL's short names.

    Raises:
        BadValue: The access list could not be read.
    """
    with tempfile.TemporaryDirectory(prefix="ledger-acl-") as folder:
        saved = Path(folder) / "list"
        _run("icacls", str(path), "/save", str(saved))
        try:
            text = saved.read_bytes().decode("utf-16")
        except (OSError, UnicodeError) as error:
            raise BadValue(f"the access list of {path} cannot be read: {error}") from None
    granted = _ALLOWED.findall(text)
    if not granted:
        raise BadValue(f"expected the access list of {path} as SDDL, found {text[:200]!a}")
    return sorted({*granted} - _ALWAYS - {own_sid()})


def own_sid() -> str:
    """Return the SID of the present user.

    Raises:
        BadValue: It could not be found.
    """
    raw = _run("whoami", "/user", "/fo", "csv", "/nh")
    rows = list(csv.reader(raw.decode("ascii", "replace").splitlines()))
    found = rows[0][-1].strip() if rows and rows[0] else ""
    if not _SID.fullmatch(found):
        raise BadValue(f"expected the SID of the present user from whoami, found {found[:80]!a}")
    return found


def _run(program: str, *words: str) -> bytes:
    """Run one of Windows' programs, that of the system before any other of its name, and return what it prints."""
    command = _program(program)
    if command is None:
        raise BadValue(
            f"{program} was not found, so nothing can protect a secret file here: put it on the PATH, or make keys elsewhere"
        )
    try:
        done = subprocess.run([command, *words], capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    except OSError as error:
        raise BadValue(f"{program} cannot be started: {error}") from None
    if done.returncode:
        seen = ascii((done.stderr or done.stdout).decode("ascii", "replace").strip()[:200])
        raise BadValue(f"{program} {words[0]} failed with exit code {done.returncode}: {seen}")
    return done.stdout


def _program(name: str) -> str | None:
    root = os.environ.get("SystemRoot")  # noqa: SIM112  # Windows writes it so
    own = str(PureWindowsPath(root, "System32", f"{name}.exe")) if root else ""
    return own if own and Path(own).is_file() else shutil.which(name)
