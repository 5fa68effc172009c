"""Metrics of ``ledger alert``: what became of notices, channel by channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from prometheus_client import Metric

from ledger.clock import SECOND_US
from ledger.metrics import families as f

#: What a channel counts as -> what it is exported as.
_RESULTS: Final = {"sent": "delivered", "failed": "failed"}


class Channel(Protocol):
    """A way to people: its name, how many notices it sent and failed to, when it last accepted one (UTC, microseconds)."""

    @property
    def name(self) -> str:
        """As in the settings."""
        ...

    @property
    def results(self) -> Mapping[str, int]:
        """How often a notice was ``sent``, and ``failed``."""
        ...

    @property
    def last_us(self) -> int | None:
        """When a notice was last accepted; None for never."""
        ...


class AlertMetrics:
    """Collects what channels count, for a registry of ``prometheus_client``.

    Args:
        channels: Returns the channels.
    """

    def __init__(self, channels: Callable[[], Iterable[Channel]]) -> None:
        self._channels = channels

    def collect(self) -> Iterator[Metric]:
        """Yield the families, as they are now."""
        channels = list(self._channels())
        yield f.NOTICES.metric(
            ((one.name, word), one.results.get(counted, 0)) for one in channels for counted, word in _RESULTS.items()
        )
        yield f.LAST_DELIVERY.metric(((one.name,), one.last_us / SECOND_US) for one in channels if one.last_us is not None)
