"""When an account of a fleet is due, and how long a gateway is left alone. Pure."""

from __future__ import annotations

from typing import Final

from ledger.clock import SECOND_US

#: So many calls in a row without an answer, before a gateway is left alone.
FAILURES_MAX: Final = 3
_BACKOFF_US: Final = SECOND_US
#: A gateway is left alone so long at most.
BACKOFF_MAX_US: Final = 30 * SECOND_US


def next_due_us(now_us: int, account_key: int, interval_us: int) -> int:
    """Return when an account is due again that was synced just now: after ``now_us``, and at most one interval later.

    Each account has its own moment within the interval, by its key. So ten thousand accounts are spread over the interval, and
    are again one interval after all of them were late at once.

    Args:
        now_us: The present, microseconds.
        account_key: The database's id of the account.
        interval_us: Between two syncs.
    """
    phase_us = account_key % interval_us
    return (now_us + interval_us - phase_us) // interval_us * interval_us + phase_us


def retry_us(now_us: int, failures: int) -> int | None:
    """Return until when a gateway is left alone that did not answer so many calls in a row; None: not yet."""
    if failures < FAILURES_MAX:
        return None
    return now_us + min(BACKOFF_MAX_US, _BACKOFF_US << min(failures - FAILURES_MAX, 32))
