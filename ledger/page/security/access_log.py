"""The access log: who signed in, and who read what, as lines of JSON. Not in the journal, and never with a secret."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ledger.clock import utc_text_us
from ledger.page.security.limits import Bucket
from ledger.text import json_text

_PATH_MAX: Final = 500
#: So many refusals are logged at once, and then one in so many seconds: nobody fills a disk with them.
_REFUSALS: Final = 100
_REFUSAL_SEC: Final = 1.0


class AccessLog:
    """Lines of JSON, to a file that only its owner reads, or to a function that prints them.

    Args:
        path: The file; None to print.
        complain: Prints a line.
        clock: UTC seconds.
    """

    def __init__(self, path: Path | None, complain: Callable[[str], object], clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._complain = complain
        self._clock = clock
        self._refusals = Bucket(_REFUSALS, _REFUSAL_SEC)
        self._left_out = 0
        self._is_failing = False

    def write(self, what: str, *, path: str, **more: Any) -> None:
        """Write a line: what happened, where, and what else is known of it."""
        if what == "refused":
            if not self._refusals.draw():
                self._left_out += 1
                return
            if self._left_out:
                more["left_out"], self._left_out = self._left_out, 0
        time_utc = utc_text_us(int(self._clock() * 1_000_000))
        self._line(json_text({"time": time_utc, "what": what, "path": path[:_PATH_MAX], **more}, is_ascii=True))

    def _line(self, line: str) -> None:
        if self._path is None:
            self._complain(line)
            return
        try:  # opened each time, so that a program that moves old logs away needs no signal to us
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(f"{line}\n".encode("ascii"))
        except OSError as error:
            if not self._is_failing:
                self._complain(f"the access log {self._path} cannot be written: {error.strerror or error}; the page goes on")
            self._is_failing = True
        else:
            self._is_failing = False
