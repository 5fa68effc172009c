"""This module decides which notices are due: from what is wrong now, what was sent, and the time. Pure.

Nothing is remembered between two rounds but what was sent, so that a restart repeats nothing and a channel that was dead gets
what is still true, once, at the stage that it has reached by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final

from attrs import frozen

from ledger.alert_settings import AlertSettings
from ledger.alerts.conditions import Condition
from ledger.clock import SECOND_US
from ledger.journal.notices import RESOLVED, SentNotice

#: So far clocks of two machines may be apart before a time in the future means that nothing is known.
_CLOCKS_APART_US: Final = 60 * SECOND_US
_MINUTE_US: Final = 60 * SECOND_US


#: So long nobody is reminded of what somebody took over.
ACKNOWLEDGED_US: Final = 4 * 3600 * SECOND_US


class Ending(Enum):
    """What became of a condition that is not present any more."""

    #: It is over.
    OVER = "over"
    #: Whether it is over is not known: nothing is sent.
    UNKNOWN = "unknown"
    #: It goes on under another key: nothing is sent, and it is not looked for any more.
    SUPERSEDED = "superseded"


@frozen(kw_only=True)
class Due:
    """A notice that a channel has to get. ``condition`` is None where it is over, and the stage ``RESOLVED``."""

    key: str
    channel: str
    stage: int
    condition: Condition | None

    @property
    def is_resolved(self) -> bool:
        """Whether it says that it is over."""
        return self.condition is None


def stage_of(one: Condition, settings: AlertSettings, now_us: int) -> int | None:
    """Return the stage that a condition has reached, from 0; None while it is not reported."""
    if one.is_inhibited:
        return None
    if one.since_us is None or one.since_us > now_us + _CLOCKS_APART_US:
        return one.stage
    if one.acknowledged_us is not None and now_us < one.acknowledged_us + ACKNOWLEDGED_US:
        now_us = min(now_us, one.acknowledged_us)  # until then it is as old as when somebody took it over
    age_us = now_us - one.since_us
    if one.has_grace and now_us - max(one.since_us, one.quiet_until_us) < settings.grace_sec * SECOND_US:
        return None
    if not one.is_escalating:
        return one.stage
    return max(one.stage, sum(age_us >= minutes * _MINUTE_US for minutes in settings.escalate_min))


def routed(stage: int, settings: AlertSettings) -> dict[str, int]:
    """Return the channels that have to get a notice at a stage -> the last stage, up to it, that is theirs."""
    if not settings.routes:
        return {}
    last = len(settings.routes) - 1
    return {name: number for number in range(stage + 1) for name in settings.routes[min(number, last)]}


def due(
    conditions: Iterable[Condition],
    sent: Sequence[SentNotice],
    settings: AlertSettings,
    now_us: int,
    ending: Callable[[str], Ending],
) -> list[Due]:
    """Return what has to be sent now, what began first at the front.

    Args:
        conditions: What is wrong now.
        sent: What was sent about it, and all that was sent and is not resolved.
        settings: Grace period, ages and routes.
        now_us: The present, UTC.
        ending: Returns what became of a condition that is not among them, by its key.
    """
    reached = reached_stages(sent)
    found: list[Due] = []
    present: set[str] = set()
    for condition in sorted(conditions, key=lambda one: (one.since_us or 0, one.key)):
        present.add(condition.key)
        stage = stage_of(condition, settings, now_us)
        if stage is None:
            continue
        found += (
            Due(key=condition.key, channel=channel, stage=number, condition=condition)
            for channel, number in routed(stage, settings).items()
            if reached.get((condition.key, channel), RESOLVED) < number
        )
    return over(sent, settings, present, ending) + found


def over(sent: Sequence[SentNotice], settings: AlertSettings, present: set[str], ending: Callable[[str], Ending]) -> list[Due]:
    """Return what is over and was sent, once for every channel that got it."""
    found = [one for one in going_on(sent) if one[0] not in present and one[1] in settings.channels]
    ended = {key for key in dict.fromkeys(key for key, _ in found) if ending(key) is Ending.OVER}
    return [Due(key=key, channel=channel, stage=RESOLVED, condition=None) for key, channel in found if key in ended]


def superseded(sent: Sequence[SentNotice], present: set[str], ending: Callable[[str], Ending]) -> list[tuple[str, str]]:
    """Return key and channel of what was sent and goes on under another key."""
    found = [one for one in going_on(sent) if one[0] not in present]
    return [(key, channel) for key, channel in found if ending(key) is Ending.SUPERSEDED]


def reached_stages(sent: Iterable[SentNotice]) -> dict[tuple[str, str], int]:
    """Return key and channel -> the highest stage that was sent."""
    reached: dict[tuple[str, str], int] = {}
    for one in sent:
        reached[one.key, one.channel] = max(one.stage, reached.get((one.key, one.channel), RESOLVED))
    return reached


def going_on(sent: Sequence[SentNotice]) -> list[tuple[str, str]]:
    """Return key and channel of what was sent and whose end was not."""
    ended = {(one.key, one.channel) for one in sent if one.stage == RESOLVED}
    return [one for one in dict.fromkeys((one.key, one.channel) for one in sent) if one not in ended]
