"""The health of a journal and what it rests on: the checks of ``ledger doctor``, made again and again while somebody looks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from ledger.clock import utc_text_us
from ledger.config import Configuration
from ledger.errors import LedgerError
from ledger.gateway.mt5_module import is_module_address
from ledger.gateway_settings import GatewaySettings, SyncSettings, gateways_of
from ledger.health_checks import (
    FAILED,
    OK,
    WARNING,
    Check,
    account_checks,
    gateway_checks,
    journal_checks,
    key_checks,
    program_checks,
)
from ledger.json_views import Json
from ledger.page.answers import waiting
from ledger.page.work import Job

if TYPE_CHECKING:
    from ledger.page.desk import Desk
    from ledger.page.endpoints import Call

#: Checks that are older than this are made anew, in seconds.
FRESH_SEC: Final = 15
#: So many accounts are checked one by one; of more, those that are not safe.
_ACCOUNTS_MAX: Final = 200
#: An account with more events is left out: to look at the order of its tickets reads all of them.
_EVENTS_MAX: Final = 200_000


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
        at_us = self._desk.now_us()
        try:
            found = list(checks_of(self._desk))
        except Exception as error:  # noqa: BLE001  # one line of all that is looked at
            found = [Check("checks", FAILED, str(error) or type(error).__name__)]
        with self._lock:
            self._made, self._job = (at_us, found), None


def health(call: Call) -> Json:
    """Return the checks of ``ledger doctor``, with when they were made."""
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


def checks_of(desk: Desk) -> list[Check]:
    """Return everything that can be looked at from here."""
    ledger, settings = desk.source.reader, desk.source.configuration
    found = list(program_checks())
    found.append(_settings(settings))
    found += journal_checks(ledger, settings)
    heads = ledger.journal.heads()
    names = [name for name, head in heads.items() if head.version <= _EVENTS_MAX]
    if len(names) > _ACCOUNTS_MAX:
        seen = f"{len(heads):,} accounts: the overview has those that are not safe"
        found.append(Check("accounts", OK, seen))
    elif names:
        found += account_checks(ledger, names)
    try:
        gateways = gateways_of(settings)
    except LedgerError as error:
        return [*found, Check("gateway", FAILED, str(error))]
    found += key_checks(
        [settings.seal_key, *(file for one in gateways for file in (one.client_key, one.server_key))]
        + [settings.gateway.get(name) for name in ("client_key", "server_key")]
    )
    return [*found, *_gateways(desk, gateways)]


def _settings(settings: Configuration) -> Check:
    seen = "no file: every setting has its default" if settings.path is None else f"settings from {settings.path}"
    return Check("settings", OK, seen)


def _gateways(desk: Desk, gateways: list[GatewaySettings]) -> list[Check]:
    """Look at the gateways on a wire: a terminal in a process of its own is not attached to by a page."""
    on_a_wire = [one for one in gateways if not is_module_address(one.url)]
    found = [
        Check(f"gateway {one.url}", OK, "a terminal of another process: ledger doctor looks at it there", gateway=one.url)
        for one in gateways
        if one not in on_a_wire
    ]
    if not gateways:
        return [Check("gateway", OK, "none is in the settings: nothing to look at from here")]
    if not on_a_wire:
        return found
    settings = desk.source.configuration
    sync = SyncSettings(policy=settings.policy, monitors=settings.monitors)
    return [*found, *gateway_checks(desk.source.reader, on_a_wire, sync)]
