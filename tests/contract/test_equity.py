"""What every journal promises of equity by minute and day: it equals a scan of all marks that there ever were, in any order."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ledger import AccountId, Ledger
from ledger.clock import ClockRule, utc_text_us
from ledger.equity import By, equity
from ledger.errors import InexactNumber
from ledger.journal.memory import MemoryJournal
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.schema import marks as marks_table
from ledger.marks import Bucket, Mark, day_of, minute_of, to_columns
from tests.support.journals import ACCOUNT, DURABLE, OTHER, Clock, older_url, opened, write_older

MINUTE = 60_000_000
#: Both changes of daylight time of Athens in 2026, a day before each: days of 23 and 25 hours.
SPRING, AUTUMN = 1_774_656_000_000_000, 1_792_800_000_000_000
_login = count(1)


def mark(at_us, equity):
    return Mark(at_us=at_us, equity=None if equity is None else Decimal(equity))


def scanned(marks, number_of):
    """The law, without any of our code: every bucket from all of its marks at once."""
    found: dict[int, list[Any]] = {}
    for one in sorted(marks, key=lambda one: one.at_us):
        if one.equity is not None:
            found.setdefault(number_of(one.at_us), []).append(one)
    buckets = []
    for number, within in sorted(found.items()):
        high, low = max(one.equity for one in within), min(one.equity for one in within)
        buckets.append(
            Bucket(
                number=number, open=within[0].equity, high=high, low=low, close=within[-1].equity, open_us=within[0].at_us,
                high_us=next(one.at_us for one in within if one.equity == high),
                low_us=next(one.at_us for one in within if one.equity == low),
                close_us=within[-1].at_us, samples=len(within),
            )
        )  # fmt: skip
    return buckets


def require_scan(journal, account, marks, clock):
    assert list(journal.equity(account, "minute")) == scanned(marks, minute_of)
    assert list(journal.equity(account, "day")) == scanned(marks, lambda at_us: server_day(at_us, clock))


def server_day(at_us, zone):
    """The calendar day of a moment by Python's own zones."""
    from zoneinfo import ZoneInfo

    wall = datetime.fromtimestamp(at_us // 1_000_000, ZoneInfo(zone))
    return (wall.date() - datetime(1970, 1, 1).date()) // timedelta(days=1)  # noqa: DTZ001


@pytest.fixture
def book(journal):
    for account in (ACCOUNT, OTHER):
        journal.append(account, [opened(account, clock="Europe/Athens")])
    return journal


moments = st.builds(
    lambda day, hour, minute, us: day + hour * 3_600_000_000 + minute * MINUTE + us,
    st.sampled_from([SPRING, AUTUMN]), st.integers(0, 60), st.sampled_from([0, 59]), st.sampled_from([0, 1, MINUTE - 1]),
)  # fmt: skip
equities = st.none() | st.decimals(-99, 99, places=0) | st.decimals(-9, 9, places=8)
samples = st.lists(st.builds(mark, moments, equities), max_size=14)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example(marks=[mark(AUTUMN, 2), mark(AUTUMN + 2, 1), mark(AUTUMN + 1, 1), mark(AUTUMN + 2, "1.5")])  # the lowest is replaced
@example(marks=[mark(AUTUMN, "1"), mark(AUTUMN, None)])  # the only one is
@example(marks=[mark(AUTUMN, 5), mark(AUTUMN + 1, "0.00000001"), mark(AUTUMN + 1, 4)])  # a scale grows and shrinks
@given(marks=samples)
def test_minutes_and_days_equal_a_scan_of_all_marks_under_any_order(book, marks):
    account = AccountId("Prop-2", next(_login))
    book.append(account, [opened(account, clock="Europe/Athens")])
    for one in marks:
        book.save_mark(account, one)
    require_scan(book, account, {one.at_us: one for one in marks}.values(), "Europe/Athens")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example(marks=[mark(AUTUMN, 1), mark(AUTUMN + 1, 2)], known_us=AUTUMN)  # within the minute
@given(marks=samples, known_us=moments)
def test_what_was_known_of_equity_is_a_scan_of_the_marks_by_then(book, marks, known_us):
    account = Ledger(book, Clock()).account(AccountId("Prop-3", next(_login)))
    book.append(account.name, [opened(account.name, clock="Europe/Athens")])
    for one in marks:
        book.save_mark(account.name, one)
    known = [one for one in {one.at_us: one for one in marks}.values() if one.at_us <= known_us]
    numbers: dict[By, Any] = {"minute": minute_of, "day": lambda at_us: server_day(at_us, "Europe/Athens")}
    for by, number_of in numbers.items():
        rows = list(equity(account, by=by, known_at=utc_text_us(known_us)).rows)
        assert [row.bucket for row in rows] == scanned(known, number_of)
        assert all(row.end_us <= known_us + 1 for row in rows)


def test_equity_is_of_its_account_alone_and_between_two_numbers(book):
    for minute in (3, 1, 2):
        book.save_mark(ACCOUNT, mark(minute * MINUTE, minute))
    assert list(book.equity(OTHER, "minute")) == []
    assert [one.close for one in book.equity(ACCOUNT, "minute", first=2)] == [2, 3]
    assert [one.number for one in book.equity(ACCOUNT, "minute", first=-(10**30), last=2)] == [1, 2]
    assert [one.samples for one in book.equity(ACCOUNT, "day", first=0, last=0)] == [3]


def test_minutes_and_days_are_there_when_marks_are_deleted(book):
    marks = [mark(us, us) for us in (10, 20, MINUTE)]
    for one in marks:
        book.save_mark(ACCOUNT, one)
    assert book.delete_marks(ACCOUNT, MINUTE) == 2
    require_scan(book, ACCOUNT, marks, "Europe/Athens")
    book.save_mark(ACCOUNT, mark(15, -5))  # so late that the others of its minute are gone
    require_scan(book, ACCOUNT, [*marks, mark(15, -5)], "Europe/Athens")
    book.save_mark(ACCOUNT, mark(15, 25))  # what was lowest for all that is known now is not: no extreme is forgotten
    (bucket,) = book.equity(ACCOUNT, "minute", last=0)
    assert (bucket.open, bucket.high, bucket.low, bucket.close, bucket.samples) == (10, 25, -5, 20, 3)


def test_figures_that_no_scale_holds_are_refused_and_change_nothing(book):
    book.save_mark(ACCOUNT, mark(1, "1e-18"))
    with pytest.raises(InexactNumber):
        book.save_mark(ACCOUNT, mark(2, 10**18))
    require_scan(book, ACCOUNT, [mark(1, "1e-18")], "Europe/Athens")
    assert [one.at_us for one in book.marks(ACCOUNT)] == [1]


def test_days_follow_the_clock_when_a_person_corrects_it(book):
    account = Ledger(book, Clock()).account(ACCOUNT)
    evening = SPRING + 23 * 3_600_000_000  # the next day in Athens, and the same one three hours behind UTC
    marks = [mark(evening, 1), mark(evening + MINUTE, 2)]
    book.save_mark(ACCOUNT, marks[0])
    account.change_clock("-03:00", operator="ann", reason="the broker's notice")
    book.save_mark(ACCOUNT, marks[1])
    assert list(book.equity(ACCOUNT, "day")) == scanned(marks, lambda at_us: day_of(at_us, ClockRule("-03:00")))


@pytest.mark.parametrize("kind", DURABLE)
def test_the_marks_of_an_older_journal_are_counted_with_the_first_new_one(kind, tmp_path):
    url = older_url(kind, tmp_path, "0008")
    before = MemoryJournal(Clock())
    before.append(ACCOUNT, [opened(ACCOUNT, clock="Europe/Athens")])
    write_older(url, before)
    marks = [mark(AUTUMN + hour * 3_600_000_000, hour) for hour in (1, 22, 23)]
    engine, key = open_engine(url), sa.text("SELECT account_id FROM accounts")
    with engine.alchemy.connect().execution_options(write=True) as connection, connection.begin():
        rows = [{"account_id": connection.scalar(key)} | to_columns(one)._asdict() for one in [*marks, mark(5, None)]]
        connection.execute(marks_table.insert(), rows)
    engine.dispose()
    with Ledger.create(url) as ledger:
        marks[1] = mark(marks[1].at_us, 7)  # the first new one replaces an old one
        ledger.journal.save_mark(ACCOUNT, marks[1])
        require_scan(ledger.journal, ACCOUNT, marks, "Europe/Athens")


def test_two_writers_count_every_mark(url):
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened(ACCOUNT, clock="Europe/Athens")])
    marks = [mark(AUTUMN + us, us % 7) for us in range(40)]

    def write(some):
        with Ledger.open(url) as own:
            for one in some:
                own.journal.save_mark(ACCOUNT, one)

    threads = [Thread(target=write, args=(marks[begin::2],)) for begin in (0, 1)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with Ledger.open(url) as ledger:
        require_scan(ledger.journal, ACCOUNT, marks, "Europe/Athens")
