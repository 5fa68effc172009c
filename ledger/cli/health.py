"""How syncing stands, for others to see: a file that is always whole, and systemd's notifications."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from ledger.clock import utc_text_us
from ledger.errors import BadValue
from ledger.output_files import require_writable, written_whole
from ledger.reconciler import ReconcilerStatus

_MICROSECOND: Final = 1_000_000


@frozen
class Health:
    """A file that says how the last syncs ended, per account. Nothing rests on it: it may be lost or thrown away."""

    path: Path

    def write(self, statuses: Sequence[ReconcilerStatus]) -> None:
        """Replace what the file says of these accounts; others keep theirs.

        Raises:
            OSError: It cannot be written.
        """
        told = {name: dict(value) for name, value in self.read().items()}
        told |= {str(one.account): _kept(_entry(one), told.get(str(one.account), {})) for one in statuses}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(self.path) as partial:
            partial.write_text(json.dumps({"accounts": told}, indent=2) + "\n", "utf-8")

    def require_own(self, journal: Path | None) -> None:
        """Refuse to write where something else is: the journal, or a file that is no health file.

        Raises:
            BadValue: It is.
        """
        require_writable(self.path, journal=journal, is_ours=lambda _: "accounts" in self._content())

    def read(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what it says: account -> entry. Nothing if there is none, or if it is damaged."""
        told = self._content().get("accounts", {})
        return told if isinstance(told, dict) and all(isinstance(one, dict) for one in told.values()) else {}

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
        "last_good_sync_us": one.good_us,
        "verified_us": one.safety.verified_us,
        "open_breaks": len(one.breaks),
        "safe_to_trade": one.safety.is_safe,
        "why_not_safe": one.safety.why,
    }


def _kept(entry: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with what an earlier process knew: the last good sync, and since when the state is what it is."""
    for name in ("last_good_sync", "last_good_sync_us", "verified_us"):
        entry[name] = entry[name] or before.get(name)
    if before.get("state") == entry["state"]:
        entry["since"] = before.get("since") or entry["since"]
    return entry


def _text(time_us: int | None) -> str | None:
    return None if time_us is None else utc_text_us(time_us)


def health_file(given: str | None, journal: str) -> Health:
    """Return the health file of a journal: as named, else beside a SQLite file, else in the state folder of the user."""
    if given:
        return Health(Path(given))
    from ledger.journal.connect import journal_url, shown, sqlite_path

    url = journal_url(journal)
    path = sqlite_path(url)
    if path is not None:
        return Health(path.with_name(f"{path.name}.health.json"))
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return Health(state / "ledger" / f"{sha256(shown(url).encode()).hexdigest()[:16]}.health.json")


class Notifier:
    """Tells systemd how the daemon is (sd_notify); does nothing where nobody asked for it."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET")
        if self._address and self._address[0] not in "/@":
            raise BadValue(f"NOTIFY_SOCKET is a path or begins with @, found {self._address!r}")
        self._every_sec = int(os.environ.get("WATCHDOG_USEC") or 0) / _MICROSECOND / 2
        self._last = 0.0

    def send(self, words: str) -> None:
        """Send an assignment or several, one a line."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
            wire.settimeout(0)
            try:
                wire.sendto(words.encode(), address)
            except OSError:
                return  # whoever listened is gone, or does not listen now; that is no reason to stop or to wait

    def alive(self) -> None:
        """Feed the watchdog, half as often as it bites."""
        if self._every_sec and time.monotonic() - self._last >= self._every_sec:
            self._last = time.monotonic()
            self.send("WATCHDOG=1")
