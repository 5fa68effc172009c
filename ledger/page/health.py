"""The health of a journal and what it rests on: the checks of ``ledger doctor``, made again and again while somebody looks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from ledger.clock import utc_text_us
from ledger.json_views import Json
from ledger.page.answers import waiting
from ledger.page.work import Job

if TYPE_CHECKING:  # what checks use takes long to load, and a page has to start quickly
    from ledger.health_checks import Check
    from ledger.page.desk import Desk
    from ledger.page.endpoints import Call

#: Checks that are older than this are made anew, in seconds.
FRESH_SEC: Final = 15


class Health:
    """The last checks of a page. Safe to use from several threads.

    Args:
        desk: Where the journal is.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._made: tuple[int, list[Check]] | None = None
        self._job: Job | None = None

    def checks(self) -> tuple[int, list[Check]]:
        """Return the last checks, and when they were made (UTC, microseconds); newer ones are begun where they are old.

        Raises:
            Unanswered: None were made yet: they are under way (202).
        """
        with self._lock:
            made, job = self._made, self._job
            is_old = made is None or self._desk.now_us() - made[0] > FRESH_SEC * 1_000_000
            if is_old and job is None:
                job = self._job = Job("health", "health", 1)
                self._desk.work.beside(job, self._make)
        if made is not None:
            return made
        assert job is not None
        job.ended.wait(1.0)
        with self._lock:
            if self._made is not None:
                return self._made
        raise waiting(job.id, 0, 1)

    def _make(self) -> None:
        from ledger.health_checks import FAILED, Check
        from ledger.page.looks import checks_of

        at_us = self._desk.now_us()
        try:
            found = list(checks_of(self._desk))
        except Exception as error:  # noqa: BLE001  # one line of all that is looked at
            found = [Check("checks", FAILED, str(error) or type(error).__name__)]
        with self._lock:
            self._made, self._job = (at_us, found), None


def health(call: Call) -> Json:
    """Return the checks of ``ledger doctor``, with when they were made."""
    from ledger.health_checks import FAILED, OK, WARNING

    desk = call.desk
    at_us, found = desk.health.checks()
    states = [one.state for one in found]
    return {
        "checks": [one.json_row() for one in found],
        "as_of": utc_text_us(at_us),
        "fresh_sec": FRESH_SEC,
        "worst": next((state for state in (FAILED, "unavailable", WARNING) if state in states), OK),
        "streams": desk.changes.streams,
        "journal": desk.source.json_row(),
    }
