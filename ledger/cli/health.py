"""The health file, an extra for programs that read files: how the syncs of one daemon ended, always whole."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import utc_text_us
from ledger.output_files import require_writable, written_whole
from ledger.service import utc_now_us
from ledger.text import json_text

if TYPE_CHECKING:
    from ledger.reconciler import ReconcilerStatus

_MARK: Final = "ledger_health"
_VERSION: Final = 1


class HealthFile:
    """A file of one process. Nothing rests on it: what ``ledger status`` shows is in the journal's database.

    Args:
        path: Where it is.
        journal: The file of the SQLite journal in use, which it must not be.

    Raises:
        BadValue: There is another file than one of these.
    """

    def __init__(self, path: Path, journal: Path | None = None) -> None:
        self.path = path
        self._lock = Lock()
        require_writable(path, journal=journal, is_ours=lambda _: _MARK in self._content())

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
            with written_whole(self.path) as partial:
                partial.write_text(f"{text}\n", "utf-8")

    def _content(self) -> Mapping[str, Any]:
        try:
            content = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


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
