"""Watches: what wakes a reader when somebody else appends. Never more than a hint: a reader looks at the heads anyway.

A watch notices from the moment on that it was made or last waited for, so that a reader who looks at the heads in between
misses nothing.
"""

from __future__ import annotations

from threading import Condition
from typing import Final, Protocol, Self

from ledger.values import AccountId

#: How often somebody looks who is not woken.
LOOK_SECONDS: Final = 0.02


class AppendListener(Protocol):
    """Notices appends. To be closed."""

    def wait(self, seconds: float) -> frozenset[AccountId] | None:
        """Return when something may have been appended since the last time, after so many seconds at the latest.

        Returns:
            The accounts that were appended to, none where only the time has passed; None where any account may have been.
        """
        ...

    def close(self) -> None:
        """Give back what it holds open."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class Closing:
    """What is closed at the end of a ``with``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what it holds open."""


class MemoryListener(Closing):
    """Notices appends to a journal in this process's memory.

    Args:
        appended: Is notified of every append.
    """

    def __init__(self, appended: Condition) -> None:
        self._appended = appended

    def wait(self, seconds: float) -> None:
        """Return when somebody appends, or soon: an append between two waits is only noticed at the end of the next."""
        with self._appended:
            self._appended.wait(min(seconds, LOOK_SECONDS))
