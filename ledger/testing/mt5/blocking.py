"""A wait that blocks the whole process, as every call of the package ``MetaTrader5`` does."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_USEC_MAX: Final = 999_999


def block(milliseconds: int) -> None:
    """Wait in C without releasing Python's global lock: no other thread of the process runs meanwhile."""
    if sys.platform == "win32":
        ctypes.PyDLL("kernel32").Sleep(milliseconds)
        return
    library, left = ctypes.PyDLL(None), milliseconds * 1000
    while left > 0:
        library.usleep(min(left, _USEC_MAX))
        left -= _USEC_MAX
