"""Reports to systemd: a program's state, and that it is alive. A small module, for a page has to start quickly."""

from __future__ import annotations

import os
import socket
import time

from ledger.clock import SECOND_US
from ledger.errors import BadValue


class SystemdNotifier:
    """Reports the daemon's state to systemd (sd_notify); does nothing where systemd did not ask for it.

    Raises:
        BadValue: The environment names no socket.
    """

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET")
        if self._address and self._address[0] not in "/@":
            raise BadValue(f"NOTIFY_SOCKET is a path or begins with @, found {self._address!r}")
        self._every_sec = int(os.environ.get("WATCHDOG_USEC") or 0) / SECOND_US / 2
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

    def reloading(self) -> None:
        """Say that settings are read anew; ``READY=1`` follows once every account was attempted with them."""
        self.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
