"""Monitors against brute force: every state equals what a scan of all marks, and of all moments with nothing open, comes to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import event, given, settings
from hypothesis import strategies as st

from ledger import BalanceAsserted, Ledger
from ledger.journal.memory import MemoryJournal
from ledger.marks import Mark
from ledger.monitors import states
from ledger.orders.monitor_values import MonitorRules
from tools.testkit.facts import ACCOUNT, cash, fill, opened

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
#: Two days before both changes of daylight time of Europe in 2026; America's are a week apart.
BEGINS = (1_774_483_200_000_000, 1_792_627_200_000_000)
INITIAL = Decimal(1000)
ZONES = ("Europe/Athens", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC")
FRESH = 60 * SECOND


class World:
    """An account with a deposit of 1000, and after it marks, trades that open and close, and money paid in and out."""

    def __init__(self, begin_us: int, happenings: list[tuple[int, str, int]], now_us: int) -> None:
        self.begin_us, self.now_us = begin_us, now_us
        self.marks: list[tuple[int, Decimal]] = []
        #: From when on: balance, what was paid in, whether nothing is open.
        self.steps: list[tuple[int, Decimal, Decimal, bool]] = [(begin_us, INITIAL, Decimal(0), True)]
        self.ledger = Ledger(MemoryJournal(lambda: begin_us + 90 * 24 * HOUR), now_us=lambda: now_us)
        self.account = self.ledger.account(ACCOUNT)
        self.journal = self.ledger.journal
        self.journal.append(ACCOUNT, [opened(clock="Europe/Athens", time_msc=self.wall_msc(begin_us))])
        self.record(cash(1, profit=1000, time_msc=self.wall_msc(begin_us)))
        self.record(BalanceAsserted(balance=1000, time_msc=self.wall_msc(begin_us), complete_until_msc=self.wall_msc(begin_us)))
        self.is_open, self.opened = False, 0
        for number in (2, 3):  # what is paid in before the first trade is part of the initial balance
            self.trade(number, begin_us + number * SECOND, Decimal(0))
        for number, (at_us, what, change) in enumerate(sorted(happenings), 4):
            getattr(self, what)(number, at_us, Decimal(change))

    def record(self, event: Any) -> None:
        self.account.record(event)

    @staticmethod
    def wall_msc(at_us: int) -> int:
        moment = datetime.fromtimestamp(at_us // SECOND, ZoneInfo("Europe/Athens"))
        return at_us // 1000 + (moment.utcoffset() or timedelta()) // timedelta(milliseconds=1)

    def sample(self, _: int, at_us: int, amount: Decimal) -> None:
        balance, is_flat = self.steps[-1][1], self.steps[-1][3]
        floating = Decimal(0) if is_flat else amount
        equity = balance + floating
        self.journal.save_mark(ACCOUNT, Mark(at_us=at_us, balance=balance, credit=Decimal(0), floating=floating, equity=equity))
        self.marks.append((at_us, equity))

    def trade(self, number: int, at_us: int, amount: Decimal) -> None:
        """Open a position, or close it with a result."""
        _, balance, paid_in, _ = self.steps[-1]
        if self.is_open:
            self.record(
                fill(
                    number, time_msc=self.wall_msc(at_us), side="sell", entry="out", position_id=self.opened, profit=int(amount)
                )
            )
            self.steps.append((at_us, balance + amount, paid_in, True))
        else:
            self.opened = number
            self.record(fill(number, time_msc=self.wall_msc(at_us)))
            self.steps.append((at_us, balance, paid_in, False))
        self.is_open = not self.is_open

    def pay(self, number: int, at_us: int, amount: Decimal) -> None:
        if amount:
            self.record(cash(number, time_msc=self.wall_msc(at_us), profit=int(amount)))
            _, balance, paid_in, is_flat = self.steps[-1]
            self.steps.append((at_us, balance + amount, paid_in + amount, is_flat))

    # ---- brute force

    def points(self, from_us: int) -> list[tuple[int, Decimal, Decimal, Decimal]]:
        """Return every known equity since a moment: when, equity, what was paid in by then at most, and the highest balance."""
        found = []
        for at_us, equity in self.marks:  # those of the first minute may be of before the deposit
            if max(from_us, self.begin_us + MINUTE) <= at_us <= self.now_us:
                found.append((at_us, equity, self.paid_near(at_us), self.highest(at_us)))
        for at_us, balance, paid_in, is_flat in self.steps:
            if is_flat and from_us <= at_us <= self.now_us:
                found.append((at_us, balance, paid_in, self.highest(at_us)))
        return sorted(found)

    def paid_near(self, at_us: int) -> Decimal:
        at_start = [one for one in self.steps if one[0] <= max(at_us - MINUTE, self.steps[0][0])][-1]
        near = [one for one in self.steps if at_us - MINUTE < one[0] <= at_us + MINUTE]
        return min(one[2] for one in (at_start, *near))

    def highest(self, at_us: int) -> Decimal:
        return max([INITIAL, *(one[1] for one in self.steps if one[0] <= at_us)])


def day_of(at_us: int, zone: str, start: str) -> tuple[int, int, str]:
    """Return begin, end and date of a day by Python's own zones."""
    hour, minute = map(int, start.split(":"))
    wall = datetime.fromtimestamp(at_us // SECOND, ZoneInfo(zone)).replace(tzinfo=None)
    date = (wall - timedelta(hours=hour, minutes=minute)).date()

    def begin_us(day: Any) -> int:
        moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone))
        return int(moment.astimezone(UTC).timestamp()) * SECOND

    return begin_us(date), begin_us(date + timedelta(days=1)), str(date)


def daily(world: World, rules: dict[str, Any]) -> tuple[str, Decimal | None]:
    """Return state and what is left, by a scan."""
    zone = "Europe/Athens" if rules["day"] == "server" else rules["day"]
    start_us, _, _ = day_of(world.now_us, zone, rules["day_start"])
    before = [one for one in world.steps if one[0] < start_us]
    _, balance, paid_in, is_flat = (before or world.steps[:1])[-1]
    start_us = start_us if before else world.begin_us
    fresh = [one for one in sorted(world.marks) if one[0] <= start_us and start_us // 1000 - one[0] // 1000 <= FRESH // 1000]
    newest_balance = None
    if fresh:
        newest_balance = [one[1] for one in world.steps if one[0] <= fresh[-1][0]][-1]
    floating = Decimal(0) if is_flat else fresh[-1][1] - newest_balance if fresh and newest_balance is not None else None
    if rules["daily_base"] == "balance":
        base = balance
    elif floating is None:
        return "unknown", None
    else:
        base = balance + floating if rules["daily_base"] == "equity" else max(balance, balance + floating)
    allowed = base / 10
    worths = [equity - paid + paid_in for _, equity, paid, _ in world.points(start_us)]
    return judged(
        world,
        [one for one in worths if one < base - allowed],
        allowed,
        lambda equity, paid: equity - paid + paid_in - base + allowed,
    )


def drawdown(world: World, kind: str) -> tuple[str, Decimal | None]:
    allowed = INITIAL / 10
    peak, broken, level = INITIAL, [], INITIAL - allowed
    for _, equity, _, highest in world.points(world.begin_us):
        peak = max(peak, {"static": peak, "trailing-balance": highest}.get(kind, equity))
        level = peak - allowed
        if kind == "trailing-until-start":
            level = min(level, INITIAL)
        if equity < level:
            broken.append(equity)
            break
    return judged(world, broken, allowed, lambda equity, _: equity - level)


def judged(world: World, broken: Any, allowed: Decimal, left_of: Any) -> tuple[str, Decimal | None]:
    newest = [one for one in sorted(world.marks) if one[0] <= world.now_us]
    left = None
    if newest and world.now_us - newest[-1][0] <= FRESH:
        left = left_of(newest[-1][1], world.paid_near(newest[-1][0]))
    if broken:
        return "breached", left
    if left is None:
        return "unknown", None
    return "near" if allowed - left >= allowed * 8 / 10 else "ok", left


moments = st.tuples(st.integers(2, 95), st.sampled_from([0, 1, 30, 59]), st.sampled_from([10, 11, 30, 59])).map(
    lambda at: at[0] * HOUR + at[1] * MINUTE + at[2] * SECOND
)
#: How long before the present: mostly of its day, often of the same minutes.
agos = st.tuples(st.sampled_from([0, 0, 1, 2, 9, 26]), st.sampled_from([0, 1, 1, 30]), st.sampled_from([1, 2, 30, 59])).map(
    lambda at: at[0] * HOUR + at[1] * MINUTE + at[2] * SECOND
)
happening = st.tuples(
    agos, st.sampled_from(["sample", "sample", "sample", "trade", "pay"]), st.integers(-19, 12).map(lambda n: n * 10)
)
stories = st.lists(happening, min_size=3, max_size=25, unique_by=lambda one: one[0])


@settings(max_examples=400, deadline=None)
@given(
    begin_us=st.sampled_from(BEGINS),
    story=stories,
    now=moments,
    newest=st.none() | st.integers(-9, 9).map(lambda n: n * 10),
    at_start=st.none() | st.integers(-9, 9).map(lambda n: n * 10),
    base=st.sampled_from(["balance", "equity", "higher"]),
    day=st.sampled_from(["server", *ZONES]),
    start=st.sampled_from(["00:00", "17:00", "23:30"]),
    kind=st.sampled_from(["static", "trailing", "trailing-balance", "trailing-until-start"]),
)
def test_monitors_equal_a_scan_of_all_marks(begin_us, story, now, newest, at_start, base, day, start, kind):
    now_us = begin_us + now
    zone = "Europe/Athens" if day == "server" else day
    happenings = [(now_us - ago, what, amount) for ago, what, amount in story]
    happenings += [(now_us, "sample", newest)] if newest is not None else []
    happenings += [(day_of(now_us, zone, start)[0] - 7 * SECOND, "sample", at_start)] if at_start is not None else []
    happenings = [one for one in happenings if one[0] > begin_us + 10 * SECOND]
    world = World(begin_us, happenings, now_us)
    table = {"daily_loss": "10%", "daily_base": base, "day": day, "day_start": start, "max_drawdown": "10%", "drawdown": kind}
    rules = MonitorRules.of_table(table)
    by_day, in_all = states(world.ledger, SimpleNamespace(monitors={ACCOUNT: rules}), now_us)
    assert (by_day.day_start_us, by_day.day_end_us, by_day.day) == day_of(now_us, zone, start)
    assert (by_day.state, by_day.left) == daily(world, table)
    event(f"day {by_day.state}")
    event(f"all {in_all.state} {kind}")
    assert (in_all.state, in_all.left) == drawdown(world, kind)
