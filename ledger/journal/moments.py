"""Which events the ends of moments select: what had happened by then, what was known then."""

from __future__ import annotations

from collections.abc import Callable

from ledger.events import DealOrder
from ledger.journal import Selection
from ledger.terms import AccountTerms


def select_events(
    last: int,
    *,
    until_us: int | None,
    known_us: int | None,
    version_at: Callable[[int], int],
    terms_at: Callable[[int], AccountTerms],
) -> tuple[Selection, AccountTerms]:
    """Return which of the first ``last`` events a replay folds, and the account terms for them.

    Args:
        last: The last version that is looked at.
        until_us: The end of what had happened, exclusive, UTC microseconds; None without one.
        known_us: The end of what was known, likewise.
        version_at: Returns the last version recorded before a UTC microsecond.
        terms_at: Returns the account terms after so many events, the present ones before the account was opened.
    """
    if known_us is not None:
        last = min(last, version_at(known_us))
    # Currency, mode and scales hold for any moment; which clock rule was believed depends on what was known.
    terms = terms_at(last)
    if until_us is None:
        return Selection(version=last), terms
    until_utc_msc = (until_us - 1) // 1000
    time_msc = terms.clock.from_utc_msc(until_utc_msc)
    hour = terms.clock.repeated_hour(time_msc) if terms.order is DealOrder.TICKET else None
    if hour is None:
        return Selection(version=last, time_msc=time_msc), terms
    return Selection(version=last, time_msc=hour[1] - 1, until_utc_msc=until_utc_msc), terms
