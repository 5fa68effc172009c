"""The dead-man's switch: a sign of life to somebody else's watch, only while every account is verified.

A ping that proved nothing more than that this process runs would hide that nothing is synced any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from ledger.alert_settings import Deadman
from ledger.alerts.channels import DeliveryFailed
from ledger.alerts.channels.http import request
from ledger.alerts.delivery import Log
from ledger.alerts.lane import Lane
from ledger.alerts.survey import Look
from ledger.clock import SECOND_US
from ledger.errors import BadValue

START: Final = "/start"
FAIL: Final = "/fail"
ALIVE: Final = ""
_AGAIN_SEC: Final = 10.0


def signal_of(look: Look, settings: Deadman) -> str | None:
    """Return what is sent after a round: ALIVE, FAIL, or None for nothing, which raises the alarm in time."""
    limit_us = settings.fail_after_sec * SECOND_US
    if any(look.now_us - since_us >= limit_us for since_us in look.unsafe_since_us.values()):
        return FAIL
    return ALIVE if look.is_verified else None


class DeadmanSwitch:
    """Sends signs of life, in a thread of its own.

    Args:
        settings: Where to, how often.
        log: Takes what happens.
        monotonic: Seconds that only rise.
    """

    def __init__(self, settings: Deadman, *, log: Log, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._log = log
        self._monotonic = monotonic
        self._due_at = 0.0
        self._lane = Lane("ledger-alert deadman", lambda error: self._unsent("?", type(error).__name__))

    def start(self) -> None:
        """Report that the alerter has started."""
        self._lane.offer(lambda: self._send(START))

    def note(self, look: Look) -> None:
        """Send what a round shows, as often as the settings say."""
        signal = signal_of(look, self._settings)
        if signal is None or self._monotonic() < self._due_at or not self._lane.is_idle():
            return
        self._due_at = self._monotonic() + self._settings.every_sec
        self._lane.offer(lambda: self._send(signal))

    def wait(self, seconds: float | None = None) -> bool:
        """Return when nothing is under way, or after so many seconds; whether it is so."""
        return self._lane.wait(seconds)

    def close(self, seconds: float) -> None:
        """Finish what is under way, so many seconds at the longest."""
        self._lane.close(seconds)

    def _send(self, signal: str) -> None:
        try:
            parts = urlsplit(self._settings.url.read())
            url = parts._replace(path=parts.path.rstrip("/") + signal if signal else parts.path).geturl()
            request(url, timeout_sec=self._settings.timeout_sec)
        except (DeliveryFailed, BadValue, ValueError) as error:
            self._unsent(signal or "alive", "expected a URL" if type(error) is ValueError else str(error))

    def _unsent(self, signal: str, why: str) -> None:
        self._due_at = self._monotonic() + min(_AGAIN_SEC, self._settings.every_sec)
        self._log("error", "dead-man signal not sent", signal=signal, why=why)
