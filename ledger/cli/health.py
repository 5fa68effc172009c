"""The health file, an extra for programs that read files: how the syncs of one daemon ended, always whole."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final

from ledger.clock import utc_text_us
from ledger.errors import BadValue
from ledger.reconciler import ReconcilerStatus
from ledger.service import utc_now_us
from ledger.text import json_text

_MARK: Final = "ledger_health"
_VERSION: Final = 1


class HealthFile:
    """A file of one process. Nothing rests on it: what ``ledger status`` shows is in the journal's database.

    Args:
        path: Where it is.

    Raises:
        BadValue: There is another file than one of these.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._check()

    def write(self, statuses: Sequence[ReconcilerStatus]) -> None:
        """Replace what it holds. Safe to call from several threads.

        Raises:
            OSError: It cannot be written.
        """
        text = json_text(
            {
                _MARK: _VERSION,
                "by": {"host": socket.gethostname(), "pid": os.getpid()},
                "written": utc_text_us(utc_now_us()),
                "accounts": {str(one.account): _entry(one) for one in statuses},
            },
            indent=2,
        )
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._replace(f"{text}\n")

    def _replace(self, text: str) -> None:
        """Write it beside, under a name that nobody else has, and put that in its place."""
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=".part", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as part:
                part.write(text)
                part.flush()
                os.fsync(part.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _check(self) -> None:
        if not self.path.exists():
            return
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or _MARK not in found:
            raise BadValue(f"{self.path} is not a health file: name another with --health, or remove it")


def _entry(one: ReconcilerStatus) -> dict[str, Any]:
    return {
        "state": one.state.value if one.state else None,
        "since": _text(one.since_us),
        "why": one.why,
        "last_sync": _text(one.synced_us),
        "last_good_sync": _text(one.good_us),
        "open_breaks": len(one.breaks),
        "safe_to_trade": one.safety.is_safe,
        "why_not_safe": one.safety.why,
    }


def _text(time_us: int | None) -> str | None:
    return None if time_us is None else utc_text_us(time_us)
