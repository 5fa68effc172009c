"""Plausible facts: broker times and terms that are refused when they are recorded, because no journal forgets them.

Only what is recorded is checked. Stored events are never refused, so that older journals stay readable.
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.clock import DAY_MSC, SECOND_MSC, TIME_MAX_MSC, TIME_MIN_MSC, ClockRule, implausible
from ledger.errors import BadValue
from ledger.events import (
    AccountOpened,
    Adjusted,
    CashMoved,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Event,
    FillRecorded,
    PositionRecovered,
    PositionState,
    SymbolSpecified,
)
from ledger.values import EXPECTED_CURRENCY, is_currency_code, shown


def refuse_currency(event: AccountOpened) -> None:
    """Refuse to open an account with what is no currency code: it can never be changed.

    Raises:
        BadValue: Neither three letters nor a code of up to five capitals and digits.
    """
    if not is_currency_code(event.currency):
        raise BadValue(f"{EXPECTED_CURRENCY}, found {shown(event.currency)}. It is fixed when the account is opened")


def latest_msc(clock: ClockRule, now_msc: int) -> int:
    """Return the latest broker time that can be: a day ahead of now (UTC) through the clock rule.

    A computer whose own clock is before 2000 has lost it, and cannot judge what is ahead of it.
    """
    return TIME_MAX_MSC if now_msc < TIME_MIN_MSC else clock.from_utc_msc(now_msc + DAY_MSC)


def refuse_time(time_msc: int, clock: ClockRule, now_msc: int, what: str) -> None:
    """Refuse a broker time that cannot be.

    Args:
        time_msc: Broker server clock.
        clock: The account's clock rule.
        now_msc: The present in UTC.
        what: The event and its field, for the error.

    Raises:
        BadValue: It names the likely cause: seconds, microseconds or nanoseconds instead of milliseconds.
    """
    if time_msc >= TIME_MIN_MSC and clock.to_utc_msc(time_msc) <= now_msc + DAY_MSC:
        return  # nearly always, and quicker than the way back from UTC
    why = implausible(time_msc, latest_msc(clock, now_msc))
    if why is not None:
        raise BadValue(f"{what}: {why}")


def refuse_times(event: Event, clock: ClockRule, now_msc: int, *, known_msc: int, first_msc: int | None = None) -> None:
    """Refuse an event whose broker times cannot be.

    What is concluded from a snapshot is never earlier than anything known, so it may be as late as that: an older journal may
    hold a deal of the year 2119, and its account must go on.

    Args:
        event: What is to be recorded.
        clock: The account's clock rule.
        now_msc: The present in UTC.
        known_msc: The latest broker time that the account holds.
        first_msc: For a completion, the time that its deal was first recorded with.

    Raises:
        BadValue: See ``refuse_time``.
    """
    name = type(event).__name__
    match event:
        case FillRecorded() | CashMoved() | DealRevised():
            refuse_time(event.time_msc, clock, now_msc, f"{name} of deal {event.deal}, time_msc")
        case DealCompleted():
            if event.time_msc != first_msc:
                refuse_time(event.time_msc, clock, now_msc, f"{name} of deal {event.deal}, time_msc")
        case AccountOpened():
            refuse_time(event.time_msc, clock, now_msc, f"{name}, time_msc")
        case SymbolSpecified(time_msc=0):
            pass  # terms apply at every moment
        case _:
            if event.time_msc > known_msc + SECOND_MSC or event.time_msc < TIME_MIN_MSC:
                refuse_time(event.time_msc, clock, now_msc, f"{name}, time_msc")
            for field, time_msc in _stated_times(event):
                refuse_time(time_msc, clock, now_msc, f"{name}, {field}")


def _stated_times(event: Event) -> Iterator[tuple[str, int]]:
    """Yield field and broker time of what an event newly states of a position; what it quotes of our own state was checked."""
    before: PositionState | None = None
    match event:
        case PositionRecovered():
            field, after = "position", event.position
        case DriftCorrected() | Adjusted() if event.after is not None:
            field, before, after = "after", event.before, event.after
        case _:
            return
    for name in ("opened_msc", "updated_msc"):
        time_msc = getattr(after, name)
        if time_msc is not None and time_msc != getattr(before, name, None):
            yield f"{field}.{name}", time_msc
