"""Test notices: whether each channel can be reached, tried by sending a notice that is marked as a test."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attrs import frozen

from ledger.alert_settings import Channel
from ledger.alerts.channels import DeliveryFailed, open_channel, send
from ledger.alerts.conditions import Condition
from ledger.alerts.notices import Notice, State


@frozen(kw_only=True)
class Tried:
    """What became of a test notice: ``error`` is None where the channel accepted it."""

    channel: Channel
    took_sec: float
    error: str | None = None


def send_tests(channels: Sequence[Channel], now_us: int) -> list[Tried]:
    """Send a test notice through channels, all at once, and return what became of each."""
    what = "this is a test: nothing is wrong, and nothing has to be done"
    condition = Condition(
        key=f"ledger:test:{now_us}", kind="test", what=what, since_us=now_us, subject="test notice", command="nothing",
    )  # fmt: skip
    notice = Notice(condition=condition, state=State.TEST, stage=None, now_us=now_us)
    if not channels:
        return []
    with ThreadPoolExecutor(len(channels), thread_name_prefix="ledger-alert-test") as threads:
        return list(threads.map(lambda one: _try(one, notice), channels))


def _try(channel: Channel, notice: Notice) -> Tried:
    began = time.monotonic()
    try:
        send(open_channel(channel), notice)
    except DeliveryFailed as error:
        return Tried(channel=channel, took_sec=time.monotonic() - began, error=str(error))
    return Tried(channel=channel, took_sec=time.monotonic() - began)


def tried_json(one: Tried) -> dict[str, Any]:
    """What became of a test notice as JSON."""
    return {
        "channel": one.channel.name,
        "type": one.channel.type,
        "delivered": one.error is None,
        "error": one.error,
        "took_sec": round(one.took_sec, 3),
    }
