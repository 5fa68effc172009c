"""The broker's clock: server wall time in milliseconds to UTC and back, and how times are written.

MetaTrader 5 sends times as the trade server's wall clock written as if it were an epoch. A rule says what that wall
clock means. Three spellings: an IANA zone (``Europe/Athens``), a fixed offset (``+03:00``, ``UTC``), or ``ny-close``: the
clock that most brokers run so that the daily bar closes at 17:00 New York, GMT+2, and GMT+3 while New York is on
daylight time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ledger.errors import BadValue

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # a wall clock has no zone
_MINUTE_MSC: Final = 60_000
_QUARTER_MSC: Final = 15 * _MINUTE_MSC  # no zone changes its offset within a quarter of an hour
_DAY_MSC: Final = 24 * 60 * _MINUTE_MSC
# Zones are looked up within the years that a datetime can hold; outside of them their offset stays as it is there.
_QUARTERS: Final = range(-62_000_000_000_000 // _QUARTER_MSC, 253_000_000_000_000 // _QUARTER_MSC)
_NY_CLOSE_SHIFT_MSC: Final = 7 * 60 * _MINUTE_MSC
_FIXED: Final = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?")


def _spelling(text: str) -> str:
    """Bring a rule to its one spelling, refusing what is none."""
    rule = str(text).strip()
    if rule.upper() in ("UTC", "GMT", "Z", "+00:00", "-00:00", "+0", "-0"):
        return "UTC"
    if rule.lower() == "ny-close":
        return "ny-close"
    fixed = _FIXED.fullmatch(rule.upper())
    if fixed:
        hours, minutes = int(fixed[2]), int(fixed[3] or 0)
        if hours > 15 or minutes > 59:
            raise BadValue(f"a fixed offset is at most 15:59, found {text!r}")
        return f"{fixed[1]}{hours:02d}:{minutes:02d}" if hours or minutes else "UTC"
    _zone(rule)
    return rule


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadValue(
            f"a server clock is an IANA zone (Europe/Athens), an offset (+03:00) or ny-close, found {name!r}"
        ) from None


@lru_cache(maxsize=8192)
def _zone_offset_msc(name: str, quarter: int) -> int | None:
    """Offset of a zone's wall clock at a quarter hour; None where that quarter hour is skipped by the clock.

    A quarter hour that the clock shows twice is taken as its first showing, so that wall time never runs backwards.
    """
    zone = _zone(name)
    wall = _EPOCH + timedelta(milliseconds=quarter * _QUARTER_MSC)
    offset = wall.replace(tzinfo=zone).utcoffset()
    assert offset is not None
    shown = (wall - offset).replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
    return offset // timedelta(milliseconds=1) if shown == wall else None


@frozen
class ClockRule:
    """What a trade server's wall clock means in UTC.

    ``to_utc_msc`` never decreases when its argument grows: a repeated hour is taken as its first showing, a skipped
    hour as the moment of the skip.
    """

    name: str = field(converter=_spelling, default="UTC")

    def __str__(self) -> str:
        return self.name

    def to_utc_msc(self, time_msc: int) -> int:
        """Convert broker server time to UTC, both in milliseconds since 1970."""
        if self.name == "UTC":
            return time_msc
        if self.name == "ny-close":
            return _zone_to_utc("America/New_York", time_msc - _NY_CLOSE_SHIFT_MSC)
        if self.name[0] in "+-":
            return time_msc - _fixed_msc(self.name)
        return _zone_to_utc(self.name, time_msc)

    def from_utc_msc(self, utc_msc: int) -> int:
        """Return the latest broker server time whose UTC is not after ``utc_msc``, both in milliseconds."""
        low, high = utc_msc - 2 * _DAY_MSC, utc_msc + 2 * _DAY_MSC
        while low < high:
            middle = (low + high + 1) // 2
            if self.to_utc_msc(middle) <= utc_msc:
                low = middle
            else:
                high = middle - 1
        return low


@lru_cache(maxsize=64)
def _fixed_msc(name: str) -> int:
    sign = -1 if name[0] == "-" else 1
    return sign * (int(name[1:3]) * 60 + int(name[4:6])) * _MINUTE_MSC


def _zone_to_utc(name: str, wall_msc: int) -> int:
    quarter = min(max(wall_msc // _QUARTER_MSC, _QUARTERS.start), _QUARTERS.stop)
    offset = _zone_offset_msc(name, quarter)
    if offset is not None:
        return wall_msc - offset
    while (offset := _zone_offset_msc(name, quarter)) is None:
        quarter += 1  # skipped time ends at the first wall clock time that exists again
    return quarter * _QUARTER_MSC - offset


def utc_text(utc_msc: int) -> str:
    """Write UTC milliseconds as ISO 8601 with a Z, with milliseconds only where there are any."""
    return _iso(utc_msc * 1000, "milliseconds")


def utc_text_us(utc_us: int) -> str:
    """Write UTC microseconds as ISO 8601 with a Z, always with six decimals."""
    return _iso(utc_us, "microseconds", always=True)


def _iso(utc_us: int, timespec: str, *, always: bool = False) -> str:
    moment = _EPOCH + timedelta(microseconds=utc_us)
    return moment.isoformat(timespec=timespec if always or moment.microsecond else "seconds") + "Z"


_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)
_SECOND_US: Final = 1_000_000


def moment_span_us(text: str) -> tuple[int, int]:
    """Return the first UTC microsecond of the unit that a written time names, and the first one after it.

    ``2026-06-15`` names the whole day, ``2026-06-15T12:00`` the minute, ``12:00:05`` the second, ``12:00:05.123`` the
    millisecond. A time without a zone is UTC.

    Raises:
        BadValue: Not a date or a date and time.
    """
    found = _TIME.fullmatch(text.strip())
    if not found:
        raise BadValue(f"a time is written 2026-06-15, 2026-06-15T12:00:05 or ...:05.123Z (UTC), found {text!r}")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    if zone and not hour:
        raise BadValue(f"a zone needs a time of day before it, found {text!r}")
    try:
        wall = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001
    except ValueError as error:
        raise BadValue(f"{text!r} is not a time: {error}") from None
    start_us = (wall - _EPOCH) // timedelta(microseconds=1) + int((fraction or "").ljust(6, "0"))
    if zone and zone.upper() != "Z":
        digits = zone[1:].replace(":", "")
        hours, minutes = int(digits[:2]), int(digits[2:])
        if hours > 15 or minutes > 59:
            raise BadValue(f"a fixed offset is at most 15:59, found {text!r}")
        offset = (hours * 60 + minutes) * 60 * _SECOND_US
        start_us -= -offset if zone[0] == "-" else offset
    if fraction:
        unit_us = int(10 ** (6 - len(fraction)))
    elif second:
        unit_us = _SECOND_US
    elif hour:
        unit_us = 60 * _SECOND_US
    else:
        unit_us = 24 * 3600 * _SECOND_US
    return start_us, start_us + unit_us


def moment_end_us(text: str) -> int:
    """Return the first UTC microsecond after the unit that a written time names. As ``moment_span_us``."""
    return moment_span_us(text)[1]
