"""Laws of tester reports: closes find their positions or are reported; and the time grows with the deals."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger import AccountId, Ledger
from ledger.importer import ImportOptions, import_files
from ledger.imports import attribute, statement_of
from ledger.values import Entry, MarginMode
from tests.support.tester import SYMBOLS, Backtest, Robot, open_now, run

OPTIONS = ImportOptions(account=AccountId("Tester", 1), mode="hedging", currency="USD")
PLAIN = sorted(name for name, symbol in SYMBOLS.items() if symbol.rate != "walk")

robots = st.builds(
    Robot,
    symbols=st.lists(st.sampled_from(sorted(SYMBOLS)), min_size=1, max_size=3, unique=True).map(tuple),
    ways=st.sampled_from([(1,), (1, -1)]),
    open_chance=st.sampled_from([0.2, 0.5, 0.9]),
    basket_chance=st.sampled_from([0, 0.02, 0.1, 0.3]),
    single_chance=st.sampled_from([0, 0.1, 0.3]),
    partial_chance=st.sampled_from([0, 0, 0.1]),
    reopen_chance=st.sampled_from([0, 0.5]),
    multiplier=st.sampled_from([1.0, 1.4, 2.0]),
    most=st.sampled_from([2, 5, 20, 60]),
    lots=st.sampled_from([1, 3, 10]),
    step_points=st.sampled_from([20, 60, 200]),
    ends_flat=st.sampled_from([True, True, False]),
)


def attributed(backtest: Backtest) -> tuple[dict[int, int | None], set[int]]:
    """Return deal -> position of the closes, and the deals of which a pairing was chosen."""
    statement = statement_of(backtest.csv().encode(), "tester.csv")
    attribution = attribute(statement, MarginMode.HEDGING)
    closes = {
        deal.deal: position_id
        for deal, position_id in zip(statement.deals, attribution.position_ids, strict=True)
        if deal.entry is Entry.OUT
    }
    chosen = {int(note.place.split()[1]) for note in attribution.notes if "paired in order" in note.cause}
    return closes, chosen


@given(robot=robots, seed=st.integers(0, 10**6), steps=st.sampled_from([5, 20, 60, 150]))
@settings(max_examples=150, deadline=None)
def test_a_close_is_given_a_position_of_the_right_price_or_is_named(robot, seed, steps):
    backtest = run(robot, seed, steps)
    closes, chosen = attributed(backtest)
    opened = backtest.opened
    for deal, position_id in closes.items():
        if position_id is not None and deal not in chosen:
            assert opened[position_id] == opened[backtest.closes[deal]]


@given(robot=robots, seed=st.integers(0, 10**6), steps=st.sampled_from([5, 20, 60]))
@settings(max_examples=60, deadline=None)
@example(robot=Robot(symbols=("XAUUSD",), basket_chance=0.3, single_chance=0, partial_chance=0), seed=1, steps=60)
def test_what_is_open_is_the_truth_or_the_report_does_not_agree(robot, seed, steps, tmp_path_factory):
    backtest = run(robot, seed, steps)
    path = tmp_path_factory.getbasetemp() / "tester.html"
    path.write_text(backtest.html())
    with Ledger.open("memory://") as ledger:
        (report,) = import_files(ledger, [path], options=OPTIONS)
        portfolio = ledger.account(report.account).portfolio
    ours = {(one.position_id, one.symbol, int(one.volume * 100)) for one in portfolio.positions.values()}
    assert portfolio.balance == backtest.rows[-1].balance
    assert report.agrees == (report.unattributed == 0)
    if report.agrees:
        assert ours == open_now(backtest.open)
        assert portfolio.unexplained == ()


@given(robot=robots, seed=st.integers(0, 10**6), steps=st.sampled_from([5, 20, 60]), delays=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_balance_column_is_proven_in_the_order_of_the_rows(robot, seed, steps, delays, tmp_path_factory):
    backtest = run(robot, seed, steps)
    late = [replace(row, time=row.time + delays.choice((0, 0, 0, 30, 4000))) for row in backtest.rows]
    opened = {row.position_id: row.time for row in late if row.entry == "in"}
    late[1:] = [replace(row, time=max(row.time, opened.get(row.position_id, 0))) for row in late[1:]]
    late[0] = replace(late[0], time=backtest.rows[0].time)  # the deposit begins the history
    path = tmp_path_factory.getbasetemp() / "delayed.csv"
    path.write_text(Backtest(late).csv())
    with Ledger.open("memory://") as ledger:
        (report,) = import_files(ledger, [path], options=OPTIONS)
        portfolio = ledger.account(report.account).portfolio
    (check,) = report.checks
    assert (check.checked, check.agreed) == (len(late), len(late))
    assert portfolio.balance == late[-1].balance
    if report.agrees and robot.ends_flat:
        assert dict(portfolio.positions) == {}


@pytest.mark.parametrize("symbol", PLAIN)
@pytest.mark.parametrize("multiplier", [1.0, 1.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_grid_that_ends_flat_is_flat(symbol, multiplier, seed):
    robot = Robot(symbols=(symbol,), multiplier=multiplier, basket_chance=0.05, partial_chance=0, most=30)
    closes, _ = attributed(run(robot, seed, 400))
    assert None not in closes.values()
    assert set(Counter(closes.values()).values()) == {1}  # each position is closed once, as a whole


@pytest.mark.parametrize("symbol", sorted(SYMBOLS))
@pytest.mark.parametrize("seed", range(3))
def test_what_ends_flat_is_flat_however_little_the_profits_show(symbol, seed):
    robot = Robot(symbols=(symbol,), basket_chance=0, partial_chance=0.2, most=200, multiplier=1, lots=2, step_points=5)
    backtest = run(robot, seed, 400)
    closes, _ = attributed(backtest)
    left: Counter[int | None] = Counter()
    for row in backtest.rows[1:]:
        left[row.position_id if row.entry == "in" else closes[row.deal]] += row.volume if row.entry == "in" else -row.volume
    assert None not in left
    assert set(left.values()) == {0}


def steps_of(data: bytes) -> int:
    """Return how many lines of the importers run for a report: a measure of time that no other process disturbs."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if "/ledger/imports/" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        attribute(statement_of(data, "tester.csv"), MarginMode.HEDGING)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    "robot",
    [
        Robot(most=10**6, basket_chance=0, single_chance=0.5, partial_chance=0, open_chance=1, ends_flat=True),
        Robot(symbols=("EURGBP",), most=10**6, basket_chance=0, open_chance=1, ends_flat=True),
        Robot(symbols=("US30",), step_points=1, most=10**6, basket_chance=0, multiplier=1, ends_flat=False),
    ],
    ids=["never flat", "a factor that varies", "many that fit"],
)
def test_four_times_the_deals_take_about_four_times_the_steps(robot):
    short, long = run(robot, 7, 150), run(robot, 7, 600)
    growth = len(long.rows) / len(short.rows)
    assert steps_of(long.csv().encode()) < 2 * growth * steps_of(short.csv().encode())
