"""The broker's clock: server wall time in milliseconds to UTC and back, and how times are written.

MetaTrader 5 sends times as the trade server's wall clock written as if it were an epoch. A rule states what that wall
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
from ledger.values import INT64_MAX, shown

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: The year 9999: the last that can be written as a date.
TIME_MAX_MSC: Final = 253_370_764_800_000
#: 2000-01-01: MetaTrader is younger, so no deal is older.
TIME_MIN_MSC: Final = 946_684_800_000

SECOND_MSC: Final = 1000
MINUTE_MSC: Final = 60 * SECOND_MSC
QUARTER_MSC: Final = 15 * MINUTE_MSC  # no zone changes its offset within a quarter of an hour
DAY_MSC: Final = 24 * 60 * MINUTE_MSC

#: What times count from: on a wall clock, and in UTC.
WALL_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # a wall clock has no zone
UTC_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
SECOND_US: Final = 1_000_000

# Zones are looked up within the years that a datetime can hold; outside of them their offset stays as it is there.
_QUARTERS: Final = range(-62_000_000_000_000 // QUARTER_MSC, 253_000_000_000_000 // QUARTER_MSC)
_NY_CLOSE_SHIFT_MSC: Final = 7 * 60 * MINUTE_MSC
_EXPECTED_RULE: Final = "a server clock is an IANA zone (Europe/Athens), an offset (+03:00) or ny-close"
_FIXED: Final = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?")


def _spelling(text: str) -> str:
    """Bring a rule to its one spelling, refusing what is none."""
    if not isinstance(text, str):
        raise BadValue(f"{_EXPECTED_RULE}, found {shown(text)} ({type(text).__name__})")
    rule = text.strip()
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
        raise BadValue(f"{_EXPECTED_RULE}, found {shown(name)}") from None


@lru_cache(maxsize=8192)
def _zone_offset_msc(name: str, quarter: int) -> int | None:
    """Offset of a zone's wall clock at a quarter hour; None where that quarter hour is skipped by the clock.

    A quarter hour that the clock shows twice is taken as its first showing, so that wall time never runs backwards.
    """
    zone = _zone(name)
    wall = WALL_EPOCH + timedelta(milliseconds=quarter * QUARTER_MSC)
    offset = wall.replace(tzinfo=zone).utcoffset()
    assert offset is not None
    shown = (wall - offset).replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
    return offset // timedelta(milliseconds=1) if shown == wall else None


@lru_cache(maxsize=8192)
def _utc_offset_msc(name: str, quarter: int) -> int:
    """Offset of a zone's wall clock at a quarter hour of UTC."""
    offset = (UTC_EPOCH + timedelta(milliseconds=quarter * QUARTER_MSC)).astimezone(_zone(name)).utcoffset()
    assert offset is not None
    return offset // timedelta(milliseconds=1)


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

    def wall_msc(self, utc_msc: int) -> int:
        """Return what the wall clock shows at a moment in UTC, both in milliseconds: an hour that is shown twice, twice."""
        name, shift_msc = _zone_of(self.name)
        if name is None:
            return utc_msc if self.name == "UTC" else utc_msc + _fixed_msc(self.name)
        quarter = min(max(utc_msc // QUARTER_MSC, _QUARTERS.start), _QUARTERS.stop)
        return utc_msc + _utc_offset_msc(name, quarter) + shift_msc

    def repeated_hour(self, time_msc: int) -> tuple[int, int] | None:
        """Return the span of wall clock time around a broker time that the server's clock shows twice, None if it does not.

        At the end of daylight time the wall clock goes back, usually by an hour. Broker time, begin inclusive, end exclusive.
        """
        spans = self.repeated_hours(time_msc, time_msc)
        return spans[0] if spans else None

    def repeated_hours(self, first_msc: int, last_msc: int) -> list[tuple[int, int]]:
        """Return the spans that the clock shows twice and that reach into a stretch of broker time, ascending."""
        name, shift_msc = _zone_of(self.name)
        if name is None:
            return []
        years = range(_year(first_msc - shift_msc), _year(last_msc - shift_msc) + 1)
        spans = (span for year in years for span in _repeated_hours(name, year))
        shifted = ((begin + shift_msc, end + shift_msc) for begin, end in spans)
        return [(begin, end) for begin, end in shifted if begin <= last_msc and first_msc < end]

    def order_msc(self, time_msc: int) -> int:
        """Return the order second of a broker time: the whole second, and the begin of the span for a repeated hour."""
        span = self.repeated_hour(time_msc)
        return span[0] if span else time_msc // SECOND_MSC * SECOND_MSC

    def readings(self, time_msc: int) -> tuple[int, ...]:
        """Return the moments in UTC that a broker time can mean, ascending: two inside a repeated hour, else one."""
        first = self.to_utc_msc(time_msc)
        span = self.repeated_hour(time_msc)
        return (first,) if span is None else (first, first + span[1] - span[0])

    def nearest_utc_msc(self, time_msc: int, near_utc_msc: int) -> int:
        """Return the moment in UTC that a broker time means, the one nearer to another moment inside a repeated hour."""
        return min(self.readings(time_msc), key=lambda utc_msc: abs(utc_msc - near_utc_msc))

    def from_utc_msc(self, utc_msc: int) -> int:
        """Return the latest broker server time whose UTC is not after ``utc_msc``, both in milliseconds."""
        low, high = utc_msc - 2 * DAY_MSC, utc_msc + 2 * DAY_MSC
        while low < high:
            middle = (low + high + 1) // 2
            if self.to_utc_msc(middle) <= utc_msc:
                low = middle
            else:
                high = middle - 1
        return low


def _zone_of(rule: str) -> tuple[str | None, int]:
    """Return the zone behind a rule and how far the server's wall clock is ahead of that zone's; no zone if it has none."""
    if rule == "ny-close":
        return "America/New_York", _NY_CLOSE_SHIFT_MSC
    return (None, 0) if rule == "UTC" or rule[0] in "+-" else (rule, 0)


def _year(time_msc: int) -> int:
    seconds = min(max(time_msc // SECOND_MSC, _QUARTERS.start * 900), _QUARTERS.stop * 900)
    return (WALL_EPOCH + timedelta(seconds=seconds)).year


@lru_cache(maxsize=1024)
def _repeated_hours(name: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return the spans of a zone's wall clock that begin in a year and are shown twice, in milliseconds."""
    if not 1900 <= year <= 9000:  # zones have local mean times before; a datetime cannot hold much more after
        return ()
    zone, day = _zone(name), timedelta(days=1)
    found: list[tuple[int, int]] = []
    moment = datetime(year, 1, 1, tzinfo=UTC) - day
    before = moment.astimezone(zone).utcoffset()
    for _ in range(368):
        moment += day
        after = moment.astimezone(zone).utcoffset()
        assert before is not None
        assert after is not None
        if after < before:
            turn = _turn(zone, moment - day, moment)
            begin, end = ((turn + offset).replace(tzinfo=None) for offset in (after, before))
            if begin.year == year:
                found.append(tuple((wall - WALL_EPOCH) // timedelta(milliseconds=1) for wall in (begin, end)))  # type: ignore[arg-type]
        before = after
    return tuple(found)


def _turn(zone: ZoneInfo, early: datetime, late: datetime) -> datetime:
    """Return the first second between two moments at which a zone has the offset of the later one."""
    low, high = 0, int((late - early).total_seconds())
    offset = late.astimezone(zone).utcoffset()
    while low < high:
        middle = (low + high) // 2
        if (early + timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle + 1
    return early + timedelta(seconds=low)


def to_clock(value: ClockRule | str) -> ClockRule:
    """Return a clock rule by itself or by its name.

    Raises:
        BadValue: Neither.
    """
    return value if isinstance(value, ClockRule) else ClockRule(value)


# ---------------------------------------------------------------------------------------------------- plausible times

#: What a number of milliseconds may be instead, and what makes milliseconds of it: times the first, divided by the second.
_UNITS: Final = (("seconds", 1000, 1), ("microseconds", 1, 1000), ("nanoseconds", 1, 1_000_000))


def implausible(time_msc: int, latest_msc: int) -> str | None:
    """Return what is wrong with a broker time and its likely cause, in words; None where nothing is.

    Args:
        time_msc: What was given as milliseconds on the broker's server clock.
        latest_msc: The latest server time that can be: a day ahead of now.
    """
    if TIME_MIN_MSC <= time_msc <= latest_msc:
        return None
    bound = "2000 or later" if time_msc < TIME_MIN_MSC else f"at most a day ahead of now ({utc_text(latest_msc - DAY_MSC)})"
    return (
        f"expected a broker time in milliseconds since 1970, {bound}, found {time_msc} ({_as_date(time_msc)})"
        f"{time_hint(time_msc, latest_msc)}"
    )


def time_hint(value: object, latest_msc: int = 4_102_444_800_000) -> str:
    """Return the likely cause of a broker time that cannot be, to end an error message with.

    Args:
        value: What was given as milliseconds on the broker's server clock, of any type.
        latest_msc: The latest server time that can be; the year 2100 if not given.
    """
    if isinstance(value, datetime):
        return ": MT5's time is the server's wall clock; take its time_msc as it is"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= INT64_MAX:
        return ""
    for unit, times, by in _UNITS:
        if TIME_MIN_MSC <= value * times / by <= latest_msc:
            fix = f"multiply by {times}" if times > 1 else f"divide by {by}"
            return f": it looks like {unit}: {fix}"
    return ": is the clock of this computer right?" if value > latest_msc else ": give time_msc as MT5 reports it"


def _as_date(time_msc: int) -> str:
    return utc_text(time_msc).removesuffix("Z").replace("T", " ")


@lru_cache(maxsize=64)
def _fixed_msc(name: str) -> int:
    sign = -1 if name[0] == "-" else 1
    return sign * (int(name[1:3]) * 60 + int(name[4:6])) * MINUTE_MSC


def _zone_to_utc(name: str, wall_msc: int) -> int:
    quarter = min(max(wall_msc // QUARTER_MSC, _QUARTERS.start), _QUARTERS.stop)
    offset = _zone_offset_msc(name, quarter)
    if offset is not None:
        return wall_msc - offset
    while (offset := _zone_offset_msc(name, quarter)) is None:
        quarter += 1  # skipped time ends at the first wall clock time that exists again
    return quarter * QUARTER_MSC - offset


def utc_text(utc_msc: int) -> str:
    """Write UTC milliseconds as ISO 8601 with a Z, with milliseconds only where there are any."""
    return _iso(utc_msc * 1000, "milliseconds")


def utc_text_us(utc_us: int) -> str:
    """Write UTC microseconds as ISO 8601 with a Z, always with six decimals."""
    return _iso(utc_us, "microseconds", always=True)


def _iso(utc_us: int, timespec: str, *, always: bool = False) -> str:
    moment = WALL_EPOCH + timedelta(microseconds=utc_us)
    return moment.isoformat(timespec=timespec if always or moment.microsecond else "seconds") + "Z"


_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)


_UNITS_SEC: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(rf"(\d{{1,6}})({'|'.join(sorted(_UNITS_SEC, key=len, reverse=True))})")


def duration_us(text: str) -> int | None:
    """Return how long a written duration is (``90s``, ``15min``, ``24h``, ``7d``), in microseconds; None where it is none."""
    found = _DURATION.fullmatch(text.strip())
    return None if found is None else int(found[1]) * _UNITS_SEC[found[2]] * SECOND_US


def written_time(text: str, now_us: int) -> str:
    """Return the written time that a person means: as it is, or of so long before now (``24h``, ``7d``).

    Raises:
        BadValue: It is neither.
    """
    ago_us = duration_us(text)
    if ago_us is not None and ago_us <= now_us:
        return utc_text_us(now_us - ago_us)
    try:
        moment_span_us(text)
    except BadValue as error:
        raise BadValue(f"{error}; or so long before now: 24h, 7d") from None
    return text


def moment_span_us(text: str) -> tuple[int, int]:
    """Return the first UTC microsecond of the unit that a written time names, and the first one after it.

    ``2026-06-15`` names the whole day, ``2026-06-15T12:00`` the minute, ``12:00:05`` the second, ``12:00:05.123`` the
    millisecond. A time without a zone is UTC.

    Raises:
        BadValue: Not a date or a date and time.
    """
    found = _TIME.fullmatch(text.strip())
    if not found:
        raise BadValue(f"a time is written 2026-06-15, 2026-06-15T12:00:05 or ...:05.123Z (UTC), found {shown(text)}")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    if zone and not hour:
        raise BadValue(f"a zone needs a time of day before it, found {text!r}")
    try:
        wall = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001
    except ValueError as error:
        raise BadValue(f"{text!r} is not a time: {error}") from None
    start_us = (wall - WALL_EPOCH) // MICROSECOND + int((fraction or "").ljust(6, "0"))
    if zone and zone.upper() != "Z":
        digits = zone[1:].replace(":", "")
        hours, minutes = int(digits[:2]), int(digits[2:])
        if hours > 15 or minutes > 59:
            raise BadValue(f"a fixed offset is at most 15:59, found {text!r}")
        offset = (hours * 60 + minutes) * 60 * SECOND_US
        start_us -= -offset if zone[0] == "-" else offset
    if fraction:
        unit_us = int(10 ** (6 - len(fraction)))
    elif second:
        unit_us = SECOND_US
    elif hour:
        unit_us = 60 * SECOND_US
    else:
        unit_us = 24 * 3600 * SECOND_US
    return start_us, start_us + unit_us


def moment_end_us(text: str) -> int:
    """Return the first UTC microsecond after the unit that a written time names. As ``moment_span_us``."""
    return moment_span_us(text)[1]
