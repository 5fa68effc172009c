"""The calendar of a report: on which day something happened, by whose clock, and which bucket of the report that is.

A day begins at midnight of the trade server's clock, of UTC or of a zone. Where that clock changes to or from daylight time the
day has 23 or 25 hours. Weeks are ISO weeks: Monday to Sunday, and week 1 has the year's first Thursday.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from ledger.clock import DAY_MSC, ClockRule
from ledger.errors import BadValue
from ledger.service import Account
from ledger.terms import AccountTerms
from ledger.values import shown

SERVER_DAY: Final = "server"
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()

#: What a report can be by in time, each with the name of its bucket on a day.
BY_TIME: Final[dict[str, Callable[[date], str]]] = {
    "day": date.isoformat,
    "week": lambda day: f"{day.isocalendar().year:04d}-W{day.isocalendar().week:02d}",
    "month": lambda day: f"{day.year:04d}-{day.month:02d}",
}
#: What needs the day of a deal.
BY_DAY: Final = (*BY_TIME, "weekday")


def day_rule(day: str) -> ClockRule | None:
    """Return the clock whose midnight begins a day, None for the trade server's.

    Raises:
        BadValue: It is no clock.
    """
    if str(day).strip().lower() == SERVER_DAY:
        return None
    try:
        return ClockRule(day)
    except BadValue:
        raise BadValue(
            f"a day is of the clock server, utc or a zone (Europe/Athens, +03:00, ny-close), found {shown(day)}"
        ) from None


def day_name(day: str) -> str:
    """Return the one spelling of what ``--day`` names. Raises as ``day_rule``."""
    rule = day_rule(day)
    return SERVER_DAY if rule is None else "utc" if rule.name == "UTC" else rule.name


class Calendar:
    """Days and buckets of one account's report.

    Args:
        clock: The trade server's.
        day: ``server``, ``utc`` or a zone.
        by: ``day``, ``week``, ``month`` or ``weekday``.
    """

    def __init__(self, clock: ClockRule, day: str, by: str) -> None:
        self.clock = clock
        self._rule = day_rule(day)
        self._name = BY_TIME.get(by) or (lambda one: WEEKDAYS[one.weekday()])
        self._names: dict[int, str] = {}

    def day_of(self, time_msc: int, utc_msc: int) -> int:
        """Return the number of the day, counted from 1970-01-01, of a broker time and the UTC moment that it is."""
        return (time_msc if self._rule is None else self._rule.wall_msc(utc_msc)) // DAY_MSC

    def bucket(self, time_msc: int, utc_msc: int) -> str:
        """Return the name of the bucket of a broker time and the UTC moment that it is."""
        return self.name_of(self.day_of(time_msc, utc_msc))

    def name_of(self, day: int) -> str:
        """Return the name of the bucket of a day, counted from 1970-01-01."""
        name = self._names.get(day)
        if name is None:
            name = self._names[day] = self._name(date.fromordinal(EPOCH_DAY + day))
        return name

    def begin_msc(self, day: date) -> int:
        """Return the UTC moment at which a day begins."""
        return (self._rule or self.clock).to_utc_msc((day.toordinal() - EPOCH_DAY) * DAY_MSC)


def span(by: str, name: str) -> tuple[date, date]:
    """Return the first day of a bucket of time, and the first one after it."""
    if by == "day":
        first = date.fromisoformat(name)
        return first, date.fromordinal(first.toordinal() + 1)
    if by == "week":
        first = date.fromisocalendar(int(name[:4]), int(name[6:]), 1)
        return first, date.fromordinal(first.toordinal() + 7)
    year, month = int(name[:4]), int(name[5:])
    return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)


class Moments:
    """When deals of an account happened, in UTC.

    An hour that the server's clock showed twice is read as ``ledger log`` reads it: deal by deal.

    Args:
        account: Whose.
        terms: The account terms.
        version: What is known.
    """

    def __init__(self, account: Account, terms: AccountTerms, version: int) -> None:
        self._account, self._terms, self._version = account, terms, version
        self._offsets: dict[int, int | None] = {}  # broker day -> what UTC is behind, None where that changes within the day
        self._hours: dict[tuple[int, int], tuple[dict[int, int], dict[int, int]]] = {}

    def utc_msc(self, time_msc: int, deal: int | None = None) -> int:
        """Return the UTC moment of a broker time; inside a repeated hour that of the deal, or of a deal at that time."""
        day = time_msc // DAY_MSC
        if day not in self._offsets:
            self._offsets[day] = self._offset_of(day)
        offset = self._offsets[day]
        return time_msc - offset if offset is not None else self._read(time_msc, deal)

    def _offset_of(self, day: int) -> int | None:
        clock, begin = self._terms.clock, day * DAY_MSC
        first, last = begin - clock.to_utc_msc(begin), begin + DAY_MSC - clock.to_utc_msc(begin + DAY_MSC)
        return first if first == last and not clock.repeated_hours(begin, begin + DAY_MSC - 1) else None

    def _read(self, time_msc: int, deal: int | None) -> int:
        hour = self._terms.clock.repeated_hour(time_msc)
        if hour is None:
            return self._terms.clock.to_utc_msc(time_msc)
        if hour not in self._hours:
            self._hours[hour] = self._readings(hour)
        by_deal, by_time = self._hours[hour]
        known = by_deal.get(deal or 0)
        return by_time.get(time_msc, self._terms.clock.to_utc_msc(time_msc)) if known is None else known

    def _readings(self, hour: tuple[int, int]) -> tuple[dict[int, int], dict[int, int]]:
        found = self._account.hour_readings(hour, self._version, self._terms)
        by_deal = {deal: reading.utc_msc for deal, reading in found.items()}
        return by_deal, {self._terms.clock.wall_msc(utc_msc): utc_msc for utc_msc in by_deal.values()}
