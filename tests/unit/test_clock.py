"""The broker's clock: wall time to UTC and back, around every kind of change, and how times are read and written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ledger import BadValue, ClockRule
from ledger.clock import moment_end_us, utc_text, utc_text_us

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def msc(text: str) -> int:
    """Return milliseconds since 1970 of a time, read as if it were UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(("written", "rule"), [
    ("UTC", "UTC"), ("gmt", "UTC"), ("Z", "UTC"), ("+00:00", "UTC"), ("-0", "UTC"), ("+0:00", "UTC"), ("UTC+3", "+03:00"),
    ("+3", "+03:00"), ("GMT-05:30", "-05:30"), ("+0330", "+03:30"), ("+330", "+03:30"), ("NY-Close", "ny-close"),
    (" Europe/Athens ", "Europe/Athens"), ("+15:59", "+15:59"),
])  # fmt: skip
def test_a_rule_has_one_spelling(written, rule):
    assert str(ClockRule(written)) == rule
    assert ClockRule(written) == ClockRule(rule)


@pytest.mark.parametrize(
    "written", ["", "Athens", "+16:00", "+03:60", "3", "+", "ny close", "Europe/../Etc/UTC", "/etc/passwd", "\0", "+1:2:3"]
)
def test_what_is_no_rule_is_refused(written):
    with pytest.raises(BadValue):
        ClockRule(written)


@pytest.mark.parametrize(("rule", "offset"), [("UTC", 0), ("+03:00", 180), ("-05:30", -330), ("+15:59", 959)])
def test_a_fixed_offset_is_the_same_in_summer_and_winter(rule, offset):
    for text in ("2024-01-15T12:00:00", "2024-07-15T12:00:00"):
        assert ClockRule(rule).to_utc_msc(msc(text)) == msc(text) - offset * MINUTE
        assert ClockRule(rule).from_utc_msc(msc(text)) == msc(text) + offset * MINUTE


#: When New York changes its clocks (02:00 local), in UTC: to daylight time at 07:00, back at 06:00.
NEW_YORK = [
    ("2024-03-10T07:00:00", "2024-11-03T06:00:00"), ("2025-03-09T07:00:00", "2025-11-02T06:00:00"),
    ("2026-03-08T07:00:00", "2026-11-01T06:00:00"), ("2027-03-14T07:00:00", "2027-11-07T06:00:00"),
]  # fmt: skip


@pytest.mark.parametrize(("spring", "autumn"), NEW_YORK)
def test_ny_close_is_gmt_2_and_3_while_new_york_is_on_daylight_time(spring, autumn):
    rule = ClockRule("ny-close")
    for change, before, after in ((msc(spring), 2, 3), (msc(autumn), 3, 2)):
        assert rule.to_utc_msc(change - 2 * HOUR + before * HOUR) == change - 2 * HOUR
        assert rule.to_utc_msc(change + 2 * HOUR + after * HOUR) == change + 2 * HOUR
        assert rule.from_utc_msc(change - 1) - (change - 1) == before * HOUR
        assert rule.from_utc_msc(change + HOUR) - (change + HOUR) == after * HOUR


@pytest.mark.parametrize("year", range(2024, 2028))
def test_the_ny_close_day_ends_at_five_in_new_york_all_year(year):
    from zoneinfo import ZoneInfo

    rule = ClockRule("ny-close")
    for month in range(1, 13):
        for day in (2, 9, 16, 28):
            midnight = rule.to_utc_msc(msc(f"{year}-{month:02}-{day:02}T00:00:00"))
            assert datetime.fromtimestamp(midnight / 1000, ZoneInfo("America/New_York")).hour == 17


@pytest.mark.parametrize(("wall", "utc"), [
    ("2024-03-31T02:59:59", "2024-03-31T00:59:59"),  # the last second of winter
    ("2024-03-31T03:00:00", "2024-03-31T01:00:00"),  # skipped: the moment of the skip
    ("2024-03-31T03:30:00", "2024-03-31T01:00:00"),
    ("2024-03-31T03:59:59", "2024-03-31T01:00:00"),
    ("2024-03-31T04:00:00", "2024-03-31T01:00:00"),
    ("2024-03-31T04:00:01", "2024-03-31T01:00:01"),
    ("2024-10-27T02:59:59", "2024-10-26T23:59:59"),
    ("2024-10-27T03:00:00", "2024-10-27T00:00:00"),  # shown twice: the first showing
    ("2024-10-27T03:59:59", "2024-10-27T00:59:59"),
    ("2024-10-27T04:00:00", "2024-10-27T02:00:00"),
    ("2026-07-01T12:00:00", "2026-07-01T09:00:00"),
    ("2026-01-01T12:00:00", "2026-01-01T10:00:00"),
])  # fmt: skip
def test_athens_through_its_changes(wall, utc):
    assert ClockRule("Europe/Athens").to_utc_msc(msc(wall)) == msc(utc)


@pytest.mark.parametrize(("rule", "wall", "utc"), [
    ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T10:00:00"),  # a whole day was skipped
    ("Australia/Lord_Howe", "2024-10-06T02:15:00", "2024-10-05T15:30:00"),  # half an hour is skipped
    ("Asia/Kathmandu", "2024-01-01T05:45:00", "2024-01-01T00:00:00"),
    ("America/Sao_Paulo", "2024-07-01T00:00:00", "2024-07-01T03:00:00"),
])  # fmt: skip
def test_zones_with_other_habits(rule, wall, utc):
    assert ClockRule(rule).to_utc_msc(msc(wall)) == msc(utc)


@pytest.mark.parametrize("rule", ["ny-close", "Europe/Athens", "Europe/London", "Australia/Lord_Howe", "Pacific/Apia"])
@pytest.mark.parametrize(
    "day", ["2024-03-10", "2024-03-31", "2024-04-06", "2024-10-05", "2024-10-27", "2024-11-03", "2011-12-29"]
)
def test_time_never_runs_backwards_and_finds_its_way_back(rule, day):
    clock, start = ClockRule(rule), msc(f"{day}T00:00:00")
    walls = range(start - DAY, start + 2 * DAY, 5 * MINUTE)
    utcs = [clock.to_utc_msc(wall) for wall in walls]
    assert utcs == sorted(utcs)
    for wall, utc in zip(walls, utcs, strict=True):
        latest = clock.from_utc_msc(utc)
        assert latest >= wall
        assert clock.to_utc_msc(latest) == utc
        assert clock.to_utc_msc(latest + 1) > utc


@pytest.mark.parametrize("rule", ["UTC", "ny-close", "Europe/Athens", "+15:59", "-12:00"])
def test_the_first_and_the_last_moments_have_an_answer(rule):
    clock = ClockRule(rule)
    for moment in (0, 1, 253_370_764_800_000, 253_402_300_799_999):
        assert clock.to_utc_msc(clock.from_utc_msc(moment)) == moment
    assert clock.from_utc_msc((moment_end_us("9999-12-31") - 1) // 1000) > 253_370_764_800_000


# ------------------------------------------------------------------------------------------------- how times are written


@pytest.mark.parametrize(("text", "last"), [
    ("2026-06-15", "2026-06-15T23:59:59.999999"),
    ("2026-06-15T12:00", "2026-06-15T12:00:59.999999"),
    ("2026-06-15 12:00", "2026-06-15T12:00:59.999999"),
    ("2026-06-15T12:00:05", "2026-06-15T12:00:05.999999"),
    ("2026-06-15T12:00:05Z", "2026-06-15T12:00:05.999999"),
    ("2026-06-15T12:00:05.1", "2026-06-15T12:00:05.199999"),
    ("2026-06-15T12:00:05.123", "2026-06-15T12:00:05.123999"),
    ("2026-06-15T12:00:05.123456", "2026-06-15T12:00:05.123456"),
    ("2026-06-15T12:00:05+03:00", "2026-06-15T09:00:05.999999"),
    ("2026-06-15T12:00-0530", "2026-06-15T17:30:59.999999"),
    (" 2024-02-29 ", "2024-02-29T23:59:59.999999"),
])  # fmt: skip
def test_a_moment_includes_the_whole_unit_that_it_names(text, last):
    wanted = datetime.fromisoformat(last).replace(tzinfo=UTC)
    assert moment_end_us(text) - 1 == (wanted - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000


@pytest.mark.parametrize("text", [
    "", "now", "2026", "2026-06", "2026-02-29", "2026-13-01", "2026-06-15T24:00", "2026-06-15T12", "2026-06-15Z",
    "2026-06-15T12:60", "2026-06-15T12:00:05.1234567", "2026-06-15T12:00+99:99", "2026-06-15T12:00+16:00",
    "15.06.2026", "0000-01-01",
])  # fmt: skip
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(BadValue):
        moment_end_us(text)


def test_times_are_written_in_utc_with_no_more_than_there_is():
    assert utc_text(msc("2026-06-15T12:00:05")) == "2026-06-15T12:00:05Z"
    assert utc_text(msc("2026-06-15T12:00:05") + 7) == "2026-06-15T12:00:05.007Z"
    assert utc_text(-1) == "1969-12-31T23:59:59.999Z"
    assert utc_text_us(msc("2026-06-15T12:00:05") * 1000) == "2026-06-15T12:00:05.000000Z"
