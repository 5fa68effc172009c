"""Delivery through one channel: in order, with backoff, each notice recorded once it was accepted.

First sent, then recorded: at least once. What was accepted is sent again only if the process ended before that was recorded.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event
from typing import Final

from attrs import frozen

from ledger.alerts.channels import DeliveryFailed, Sender, send
from ledger.alerts.lane import Lane
from ledger.alerts.lifecycle import Due
from ledger.alerts.notices import Notice
from ledger.errors import LedgerError
from ledger.journal import NoticeStore
from ledger.journal.notices import RESOLVED, SentNotice

_PAUSE_SEC: Final = 1.0
_PAUSE_MAX_SEC: Final = 300.0


@frozen(kw_only=True)
class Parcel:
    """A notice for one channel, and what it is recorded as; None for one that only repeats what the channel has."""

    notice: Notice
    due: Due | None

    @property
    def id(self) -> str:
        """What it is known by."""
        return self.notice.id


class Log:
    """Takes what happens: a level (info, warning, error), a word for it, and fields. This one drops it."""

    def __call__(self, level: str, event: str, **fields: object) -> None:
        """Write it down."""


class Delivery:
    """Sends through one channel, in a thread of its own.

    Args:
        name: The channel's.
        sender: Sends.
        store: Where what was sent is recorded.
        now_us: Returns the present, UTC.
        log: Takes what happens.
        monotonic: Seconds that only rise.
    """

    def __init__(
        self, name: str, sender: Sender, store: NoticeStore, *, now_us: Callable[[], int], log: Log,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.name = name
        self.sender = sender
        self.results: Counter[str] = Counter()
        self.last_us: int | None = None
        self._store = store
        self._now_us = now_us
        self._log = log
        self._monotonic = monotonic
        self._accepted: set[str] = set()
        self._unrecorded: list[Parcel] = []
        self._failures: Counter[str] = Counter()
        self._failed_in_row = 0
        self._not_before = 0.0
        self._refreshed_at: float | None = None
        self._stopping = Event()
        self._lane = Lane(f"ledger-alert {name}", self._broken)

    def offer(self, parcels: Sequence[Parcel]) -> None:
        """Have notices sent, instead of those that wait; not before a channel that failed is due again."""
        if parcels or self._unrecorded:
            self._lane.offer(lambda: self._deliver(parcels))

    def is_refresh_due(self) -> bool:
        """Return whether the receiver has to be sent what goes on; it is taken as sent then."""
        every_sec, now = self.sender.refresh_sec, self._monotonic()
        if every_sec is None or (self._refreshed_at is not None and now - self._refreshed_at < every_sec):
            return False
        self._refreshed_at = now
        return True

    def wait(self, seconds: float | None = None) -> bool:
        """Return when nothing is under way, or after so many seconds; whether it is so."""
        return self._lane.wait(seconds)

    def close(self, seconds: float) -> None:
        """Finish the notice that is under way, so many seconds at the longest."""
        self._stopping.set()
        self._lane.close(seconds)

    # ---- in the channel's thread

    def _deliver(self, parcels: Sequence[Parcel]) -> None:
        self._unrecorded = [one for one in self._unrecorded if not self._record(one)]
        for one in sorted(parcels, key=lambda each: self._failures[each.id]):  # one that fails again and again is no obstacle
            if self._stopping.is_set() or self._monotonic() < self._not_before:
                return
            if one.due is not None and one.id in self._accepted:
                continue
            self._send(one)

    def _send(self, one: Parcel) -> None:
        """Send a notice, and record it if the channel accepted it."""
        try:
            if one.due is not None and self._is_recorded(one.due):
                return  # by another alerter, meanwhile
            send(self.sender, one.notice)
        except (DeliveryFailed, LedgerError) as error:  # of the channel, or of the journal before anything was sent
            self._failed(one, str(error))
            return
        self.results["sent"] += 1
        self.last_us = self._now_us()
        self._failed_in_row = 0
        self._failures.pop(one.id, None)
        if one.due is None:
            return
        self._accepted.add(one.id)
        self._log("info", "sent", channel=self.name, **_named(one.notice))
        if not self._record(one):
            self._unrecorded.append(one)

    def _is_recorded(self, due: Due) -> bool:
        """Return whether a notice, or one of a later stage, is recorded already."""
        found = [one.stage for one in self._store.sent_notices([due.key]) if (one.key, one.channel) == (due.key, self.name)]
        return RESOLVED in found if due.is_resolved else max(found, default=RESOLVED) >= due.stage

    def _record(self, one: Parcel) -> bool:
        """Record what was accepted; return whether it was."""
        assert one.due is not None
        try:
            sent = SentNotice(key=one.due.key, stage=one.due.stage, channel=self.name, sent_us=self._now_us())
            self._store.save_notice(sent)
        except Exception as error:  # noqa: BLE001  # it was sent: whatever it is, it must not be sent again
            why = str(error) if isinstance(error, LedgerError) else type(error).__name__
            self._log("warning", "not recorded", channel=self.name, key=one.due.key, why=why)
            return False
        return True

    def _failed(self, one: Parcel, why: str) -> None:
        self.results["failed"] += 1
        self._failures[one.id] += 1
        pause_sec = self._pause()
        self._log("error", "not sent", channel=self.name, **_named(one.notice), why=why, again_sec=pause_sec)

    def _broken(self, error: Exception) -> None:
        """Report a fault of ours, without its text, and go on later."""
        self._log("error", "delivery failed", channel=self.name, why=type(error).__name__, again_sec=self._pause())

    def _pause(self) -> float:
        """Send nothing for a while, longer each time, and return how many seconds."""
        pause_sec = min(_PAUSE_MAX_SEC, _PAUSE_SEC * float(2 ** min(self._failed_in_row, 20)))
        self._failed_in_row += 1
        self._not_before = self._monotonic() + pause_sec
        return pause_sec


def _named(notice: Notice) -> dict[str, object]:
    return {"state": notice.state.value, "stage": notice.stage, "title": notice.title, "key": notice.key}
