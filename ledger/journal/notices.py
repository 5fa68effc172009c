"""Notices that were sent: which one, at which stage, through which channel, and when."""

from __future__ import annotations

from typing import Final

from attrs import frozen

#: The stage of the notice that something is over.
RESOLVED: Final = -1


@frozen(kw_only=True, order=True)
class SentNotice:
    """A notice that a channel accepted.

    Attributes:
        key: What it is about, for as long as that lasts.
        channel: Name of the channel.
        stage: How far it had escalated, from 0; ``RESOLVED`` where it said that it is over.
        sent_us: When it was accepted, UTC microseconds.
    """

    key: str
    channel: str
    stage: int
    sent_us: int
