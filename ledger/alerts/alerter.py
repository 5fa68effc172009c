"""The alerter: round after round it looks at the journal, decides what is due and has it sent. It is no part of a sync."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import Final

from attrs import frozen

from ledger.alert_settings import AlertSettings, Channel
from ledger.alerts.channels import Sender, open_channel
from ledger.alerts.conditions import Condition
from ledger.alerts.deadman import DeadmanSwitch
from ledger.alerts.delivery import Delivery, Log, Parcel
from ledger.alerts.lifecycle import Due, due, going_on, reached_stages, superseded
from ledger.alerts.notices import Notice, Outcome, State
from ledger.alerts.survey import Look, Survey
from ledger.clock import SECOND_US
from ledger.errors import LedgerError
from ledger.journal.notices import RESOLVED, SentNotice
from ledger.service import Ledger

#: So often a round begins at least, as ages grow while nothing is recorded.
LOOK_SEC: Final = 5.0
#: So long a round waits for more appends, and at most so long for a signal to stop.
_GATHER_SEC: Final = 0.2
#: So many days it is known which notices were sent of what is over.
_KEEP_DAYS: Final = 90
_DAY_US: Final = 86_400 * SECOND_US


@frozen(kw_only=True)
class Round:
    """What a round found: what is wrong, and what it has sent."""

    look: Look
    dues: Sequence[Due]


class Alerter:
    """Looks, decides, sends.

    Args:
        ledger: The journal.
        survey: Looks at it.
        settings: Channels, and when they get a notice.
        log: Takes what happens.
        monotonic: Seconds that only rise.
        opened: Returns what sends through a channel.
    """

    def __init__(
        self,
        ledger: Ledger,
        survey: Survey,
        settings: AlertSettings,
        *,
        log: Log,
        monotonic: Callable[[], float] = time.monotonic,
        opened: Callable[[Channel], Sender] = open_channel,
    ) -> None:
        self._ledger = ledger
        self._survey = survey
        self._settings = settings
        self._log = log
        self._is_away = False
        self._deleted_us: int | None = None
        self.deliveries = {
            name: Delivery(name, opened(channel), ledger.journal, now_us=ledger.now_us, log=log, monotonic=monotonic)
            for name, channel in settings.channels.items()
        }
        deadman = settings.deadman
        self.deadman = None if deadman is None else DeadmanSwitch(deadman, log=log, monotonic=monotonic)

    def round(self) -> Round:
        """Look once, and have sent what is due. What is under way goes on meanwhile: see ``wait``.

        Raises:
            JournalError: The journal does not answer: nothing is known, and nothing is sent.
        """
        store = self._ledger.journal
        look = self._survey.look(store.sent_notices())
        keys = [one.key for one in look.conditions]
        sent = store.sent_notices(keys)
        for key, channel in superseded(sent, set(keys), look.ending):
            store.save_notice(SentNotice(key=key, channel=channel, stage=RESOLVED, sent_us=look.now_us))
        self._delete_old(look.now_us)
        dues = due(look.conditions, sent, self._settings, look.now_us, look.ending)
        notices = self._notices(look, dues)
        repeated = _repeated(look.conditions, sent)
        for name, delivery in self.deliveries.items():
            parcels = [Parcel(notice=notice, due=one) for one, notice in notices if one.channel == name]
            if delivery.is_refresh_due():
                parcels += (Parcel(notice=_notice(one, stage, look.now_us), due=None) for one, stage in repeated.get(name, ()))
            delivery.offer(parcels)
        if self.deadman is not None:
            self.deadman.note(look)
        return Round(look=look, dues=dues)

    def run(self, stopping: Event, *, on_pass: Callable[[], object] = lambda: None, look_sec: float = LOOK_SEC) -> None:
        """Make rounds until a signal comes: when somebody appends, and as ages grow. A journal that is away is waited for.

        Args:
            stopping: Is set by a signal.
            on_pass: Called after each round, whether the journal answered or not.
            look_sec: Between two rounds at most.
        """
        if self.deadman is not None:
            self.deadman.start()
        with self._ledger.journal.listen() as watch:
            while not stopping.is_set():
                try:
                    self.round()
                    self._is_away = False
                except LedgerError as error:
                    if not error.retryable:
                        raise
                    if not self._is_away:
                        self._log("error", "the journal does not answer", why=str(error))
                    self._is_away = True
                on_pass()
                until = time.monotonic() + look_sec
                while not stopping.wait(_GATHER_SEC) and time.monotonic() < until:
                    if watch.wait(_GATHER_SEC) != frozenset():
                        break

    def wait(self, seconds: float | None = None) -> bool:
        """Return when nothing is under way, or after so many seconds for each channel; whether it is so."""
        found = [one.wait(seconds) for one in self._lanes()]
        return all(found)

    def close(self, seconds: float = 0.0) -> None:
        """Finish the notices that are under way, so many seconds at the longest."""
        until = time.monotonic() + seconds
        for one in self._lanes():
            one.close(max(0.0, until - time.monotonic()))

    def _ended(self, look: Look, key: str) -> tuple[Condition, Outcome]:
        """Return what is over and how; of what cannot be read any more that it is over."""
        try:
            return self._survey.ended(look, key)
        except Exception as error:  # one that cannot be described must not hold up the others
            if isinstance(error, LedgerError) and error.retryable:
                raise
            self._log("warning", "not described", key=key, why=str(error) or type(error).__name__)
            account = look.account_of(key)
            gone = Condition(
                key=key, kind="", what="", since_us=None, account=account, server=None if account is None else account.server
            )
            return gone, Outcome(how="over")

    def _delete_old(self, now_us: int) -> None:
        """Delete once a day what ended long ago."""
        if self._deleted_us is None or now_us - self._deleted_us >= _DAY_US:
            self._ledger.journal.delete_notices(now_us - _KEEP_DAYS * _DAY_US)
            self._deleted_us = now_us

    def _lanes(self) -> list[Delivery | DeadmanSwitch]:
        return [*self.deliveries.values(), *([] if self.deadman is None else [self.deadman])]

    def _notices(self, look: Look, dues: Sequence[Due]) -> list[tuple[Due, Notice]]:
        """Return what is due with what is sent."""
        found, ended = [], dict[str, Notice]()
        for one in dues:
            if one.condition is not None:
                found.append((one, _notice(one.condition, one.stage, look.now_us)))
                continue
            if one.key not in ended:
                condition, outcome = self._ended(look, one.key)
                ended[one.key] = Notice(
                    condition=condition, state=State.RESOLVED, stage=None, now_us=look.now_us, outcome=outcome
                )
            found.append((one, ended[one.key]))
        return found


def _notice(one: Condition, stage: int, now_us: int) -> Notice:
    return Notice(condition=one, state=State.ESCALATED if stage else State.OPEN, stage=stage, now_us=now_us)


def _repeated(conditions: Sequence[Condition], sent: Sequence[SentNotice]) -> dict[str, list[tuple[Condition, int]]]:
    """Return channel -> the conditions that it was sent and that go on, each with its stage there."""
    present, reached = {one.key: one for one in conditions}, reached_stages(sent)
    found: dict[str, list[tuple[Condition, int]]] = {}
    for key, channel in going_on(sent):
        if key in present:
            found.setdefault(channel, []).append((present[key], reached[key, channel]))
    return found
