"""Laws of MT5's figures: one pass in constant memory gives what the definitions give, written out over whole lists."""

from __future__ import annotations

import json
import statistics
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, groupby, pairwise
from math import exp, isclose, log, sqrt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.errors import BadValue
from ledger.json_views import results_json
from ledger.results import DIGITS, MONEY_FIGURES, HoldingResults, HoldingTimes, ResultsCounter
from ledger.values import Entry
from tools.samples.results import Figures, Trade

NETS = st.one_of(st.sampled_from([0, 0, -100, 100, -1, 1]), st.integers(-200_000, 200_000))
DEALS = st.lists(st.tuples(NETS, st.sampled_from([0, 0, 1, 1, 2, 3]), st.integers(0, 1)), max_size=40)
STARTS = st.one_of(st.integers(1, 10**9), st.sampled_from([0, 1, 100, -100, 100_000]))
SCALES = st.sampled_from([0, 2, 6])  # JPY has no decimals


def counted(start: int | None, deals: list[tuple[int, int, int]], scale: int = 2) -> ResultsCounter:
    counter = ResultsCounter(start, scale=scale)
    counter.add_all(deals)
    return counter


def close_to(ours: Decimal | None, expected: Fraction | None) -> bool:
    """Whether a figure is a quotient, rounded once to its digits."""
    if ours is None or expected is None:
        return ours is expected
    return abs(Fraction(ours) - expected) <= abs(expected) * Fraction(1, 10 ** (DIGITS - 1))


def near(ours: Decimal | None, expected: float | Fraction, *, rel_tol: float, abs_tol: float = 0) -> bool:
    """Whether a figure is that of a computation in doubles."""
    return ours is not None and isclose(ours, float(expected), rel_tol=rel_tol, abs_tol=abs_tol)


def quotient(above: int | Fraction, below: int | Fraction) -> Fraction | None:
    return Fraction(above) / below if below else None


@given(start=STARTS, deals=DEALS, scale=SCALES)
def test_sums_counts_and_their_quotients_are_those_of_the_definitions(start, deals, scale):
    one = 10**scale
    closes = [(net, side) for net, entry, side in deals if entry != Entry.IN]
    charges = sum(net for net, entry, _ in deals if entry == Entry.IN)
    wins = [net for net, _ in closes if net >= 0]
    losses = [net for net, _ in closes if net < 0]
    gross_loss = sum(losses) + charges
    net = sum(net for net, _, _ in deals)
    results = counted(start, deals, scale).results()
    assert results.total_net_profit * one == net
    assert results.gross_profit * one == sum(wins)
    assert results.gross_loss * one == gross_loss
    assert (results.total_trades, results.total_deals) == (len(closes), len(deals))
    assert (results.profit_trades, results.loss_trades) == (len(wins), len(losses))
    assert results.largest_profit_trade * one == max(wins, default=0)
    assert results.largest_loss_trade * one == min(losses, default=0)
    assert close_to(results.profit_factor, quotient(sum(wins), abs(gross_loss)))
    assert close_to(results.expected_payoff, quotient(net, len(closes) * one))
    assert close_to(results.average_profit_trade, quotient(sum(wins), len(wins) * one))
    assert close_to(results.average_loss_trade, quotient(gross_loss, len(losses) * one))
    assert close_to(results.profit_trades_percent, quotient(100 * len(wins), len(closes)))
    assert close_to(results.loss_trades_percent, quotient(100 * len(losses), len(closes)))
    for side, count, percent in (
        (0, results.short_trades, results.short_trades_won_percent),
        (1, results.long_trades, results.long_trades_won_percent),
    ):
        of_side = [net for net, its in closes if its == side]
        assert count == len(of_side)
        assert close_to(percent, quotient(100 * sum(net >= 0 for net in of_side), len(of_side)) or Fraction(0))


@given(start=STARTS, deals=DEALS, scale=SCALES)
def test_drawdowns_are_the_deepest_falls_of_all_pairs_of_points(start, deals, scale):
    one = 10**scale
    points = list(accumulate((net for net, _, _ in deals), initial=start))
    falls = [(max(points[: i + 1]) - point, max(points[: i + 1])) for i, point in enumerate(points)]
    results = counted(start, deals, scale).results()
    assert results.balance_drawdown_absolute * one == start - min(points)
    deepest = max(fall for fall, _ in falls)
    assert results.balance_drawdown_maximal * one == deepest
    assert close_to(results.recovery_factor, quotient(points[-1] - start, deepest))
    peaks = [peak for fall, peak in falls if fall == deepest]
    if deepest == 0:
        assert (results.balance_drawdown_maximal_percent, results.balance_drawdown_relative_percent) == (0, 0)
        return
    if peaks[0] > 0:
        assert close_to(results.balance_drawdown_maximal_percent, Fraction(100 * deepest, peaks[0]))
    else:
        assert results.balance_drawdown_maximal_percent is None
    above_zero = [(Fraction(fall, peak), fall) for fall, peak in falls if fall and peak > 0]
    if above_zero:
        share, _ = max(above_zero)
        assert close_to(results.balance_drawdown_relative_percent, 100 * share)
        assert results.balance_drawdown_relative * one in {fall for its, fall in above_zero if its == share}
    else:
        assert (results.balance_drawdown_relative_percent, results.balance_drawdown_relative) == (None, None)


@given(start=STARTS, deals=DEALS)
@example(start=100, deals=[(0, 1, 0), (0, 1, 0), (-1, 1, 0), (0, 1, 0)])
@example(start=100, deals=[(5, 1, 0), (-1, 1, 0), (2, 1, 0), (3, 1, 0), (-1, 1, 0), (4, 1, 0), (2, 1, 0)])
def test_series_are_the_longest_and_the_richest_of_all(start, deals):
    nets = [net for net, entry, _ in deals if entry != Entry.IN]
    series = [(won, list(its)) for won, its in groupby(nets, lambda net: net >= 0)]
    results = counted(start, deals, 0).results()
    for won, longest, richest, mean in (
        (
            True, (results.maximum_consecutive_wins, results.maximum_consecutive_wins_money),
            (results.maximal_consecutive_profit, results.maximal_consecutive_profit_count), results.average_consecutive_wins,
        ),
        (
            False, (results.maximum_consecutive_losses, -results.maximum_consecutive_losses_money),
            (-results.maximal_consecutive_loss, results.maximal_consecutive_loss_count), results.average_consecutive_losses,
        ),
    ):  # fmt: skip
        ours = [(len(its), abs(sum(its))) for its_won, its in series if its_won is won]
        assert longest == max(ours, default=(0, 0))
        assert richest == max(((money, length) for length, money in ours), default=(0, 0))
        if ours:
            whole = Fraction(sum(length for length, _ in ours), len(ours))
            assert mean == int(whole + Fraction(1, 2))
        else:
            assert mean is None


@given(start=st.integers(10_000, 10**9), deals=DEALS, scale=SCALES)
@example(start=10_000, deals=[(-9_950, 1, 0)], scale=2)
def test_growth_per_deal_is_what_statistics_make_of_it(start, deals, scale):
    points = list(accumulate((net for net, _, _ in deals), initial=start))
    growth = [
        Fraction(after, before)
        for (before, after), (_, entry, _) in zip(pairwise(points), deals, strict=True)
        if entry != Entry.IN and before
    ]
    trades = sum(entry != Entry.IN for _, entry, _ in deals)
    results = counted(start, deals, scale).results()
    if not trades or len(growth) < trades:
        assert (results.ahpr, results.sharpe_ratio) == (None, None)
        return
    mean = statistics.mean(growth)
    assert near(results.ahpr, mean, rel_tol=1e-15)
    assert near(results.ahpr_percent, (mean - 1) * 100, rel_tol=1e-12, abs_tol=1e-25)
    end = max(points[-1], 10**scale)  # an end below 1 counts as 1
    assert near(results.ghpr, exp(log(end / start) / trades), rel_tol=1e-12)
    deviation = statistics.pstdev(growth)
    if len(set(growth)) == 1:
        assert results.sharpe_ratio is None
    else:
        assert near(results.sharpe_ratio, (mean - 1) / deviation, rel_tol=1e-9, abs_tol=1e-20)


@given(start=STARTS, deals=DEALS)
def test_the_straight_line_is_that_of_least_squares(start, deals):
    curve = [start]
    now = start
    for net, entry, _ in deals:
        now += net
        if entry != Entry.IN:
            curve.append(now)
    xs = range(len(curve))
    results = counted(start, deals, 0).results()
    if len(curve) < 2 or len(set(curve)) == 1:
        assert results.lr_correlation is None
    else:
        expected = statistics.correlation(xs, [one - start for one in curve])
        assert near(results.lr_correlation, expected, rel_tol=1e-6, abs_tol=1e-9)
    if len(curve) <= 2:
        assert results.lr_standard_error is None
        return
    slope, intercept = statistics.linear_regression([Fraction(x) for x in xs], [Fraction(y) for y in curve])
    squares = sum((y - intercept - slope * x) ** 2 for x, y in zip(xs, curve, strict=True))
    assert near(results.lr_standard_error, sqrt(squares / (len(curve) - 2)), rel_tol=1e-9, abs_tol=1e-12)


@given(start=STARTS, deals=DEALS)
@example(start=100, deals=[(1, 1, 0), (-1, 1, 0)] * 20)
def test_the_z_score_is_that_of_the_runs_test(start, deals):
    signs = [net >= 0 for net, entry, _ in deals if entry != Entry.IN]
    runs, won, n = len(list(groupby(signs))), sum(signs), len(signs)
    results = counted(start, deals, 0).results()
    # Wald and Wolfowitz's: expectation 2 w l / n + 1, with a correction of half a run.
    product = 2 * won * (n - won)
    variance = Fraction(product * (product - n), n * n * (n - 1)) if n > 1 else 0
    if variance <= 0:
        assert (results.z_score, results.z_score_percent) == (0, 0)
        return
    z = float(runs - Fraction(1, 2) - Fraction(product, n)) / sqrt(variance)
    assert near(results.z_score, z, rel_tol=1e-9, abs_tol=1e-9)
    shown = abs(float(f"{results.z_score:.2f}"))
    expected = 99.74 if shown >= 3 else 100 * (2 * statistics.NormalDist().cdf(shown) - 1)
    assert near(results.z_score_percent, expected, rel_tol=1e-3, abs_tol=1e-8)


MONDAY = 4 * 86_400  # 1970-01-05
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 3600, 86_400, 3 * 86_400, 10 * 86_400]),
        st.integers(1, 3),
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 3),
    ),
    max_size=30,
)


@given(steps=STEPS, nets=st.booleans())
@example(steps=[(0, 1, "buy", 1), (4 * 86_400, 1, "sell", 1)], nets=True)  # Monday to Friday
@example(steps=[(0, 1, "buy", 1), (5 * 86_400, 1, "sell", 1)], nets=True)  # to Saturday 00:00
@example(steps=[(0, 1, "buy", 1), (0, 1, "sell", 1), (60, 1, "buy", 1), (60, 1, "sell", 3)], nets=True)
def test_holding_times_are_those_of_each_position_without_weekends(steps, nets):
    """Deals of a netting account, where a larger one reverses, or of a hedging account, where none does."""
    held: dict[int, int] = {}
    trades = []
    times = HoldingTimes()
    now = MONDAY
    for seconds, position_id, side, volume in steps:
        now += seconds
        way = volume if side == "buy" else -volume
        before = held.get(position_id, 0)
        if before * way >= 0:
            entry = Entry.IN
        elif abs(way) <= abs(before):
            entry = Entry.OUT
        elif nets:
            entry = Entry.IN_OUT
        else:
            entry, way = Entry.OUT, -before
        held[position_id] = before + way
        word = {Entry.IN: "in", Entry.OUT: "out", Entry.IN_OUT: "in/out"}[entry]
        trades.append(Trade(now, side, word, Decimal(0), position_id, Decimal(abs(way))))
        times.add(now * 1000 + 999, position_id, entry, 0 if side == "buy" else 1, abs(way))
        assert times.is_open(position_id) is (held[position_id] != 0)
    results = times.results()
    shortest, longest, mean = Figures(trades, Decimal(1)).holding()
    ours = (results.minimal_sec or 0, results.maximal_sec or 0, results.average_sec or 0)
    assert ours[0] == shortest
    assert ours[2] == int(mean)
    assert ours[1] == longest or longest == 0


def test_a_close_of_what_was_opened_before_is_left_out():
    times = HoldingTimes()
    times.add(5000, 7, Entry.OUT, 1, 10)
    assert times.results() == HoldingResults(minimal_sec=None, maximal_sec=None, average_sec=None)


@given(start=st.one_of(st.none(), STARTS), deals=DEALS, scale=SCALES, cut=st.integers(0, 40))
def test_a_counter_that_was_saved_goes_on_as_if_it_never_had_been(start, deals, scale, cut):
    whole = counted(start, deals, scale)
    saved = json.loads(json.dumps(counted(start, deals[:cut], scale).state()))
    resumed = ResultsCounter.of_state(saved)
    resumed.add_all(deals[cut:])
    assert resumed.results() == whole.results()
    assert resumed.state() == whole.state()


@given(deals=DEALS, start=st.integers(1, 10**9), scale=SCALES)
def test_without_a_start_only_what_is_relative_to_it_is_unknown(deals, start, scale):
    known = results_json(counted(start, deals, scale).results())
    unknown = results_json(counted(None, deals, scale).results())
    relative = {
        "sharpe_ratio", "balance_drawdown_maximal_percent", "balance_drawdown_relative_percent", "balance_drawdown_relative",
        "ahpr", "ahpr_percent", "ghpr", "ghpr_percent",
    }  # fmt: skip
    assert {name for name in unknown if unknown[name] is None} >= relative
    assert {name: value for name, value in unknown.items() if name not in relative} == {
        name: value for name, value in known.items() if name not in relative
    }


@pytest.mark.parametrize("state", [{}, {"state": 2}, {**ResultsCounter(0).state(), "curve": "much"}])
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(BadValue, match="compute it anew"):
        ResultsCounter.of_state(state)


def test_an_account_that_never_traded_has_no_quotients():
    block = results_json(ResultsCounter(10**8).results(), digits=2)
    assert block["total_net_profit"] == "0.00"
    assert (block["total_trades"], block["profit_factor"], block["sharpe_ratio"], block["average_loss_trade"]) == (
        0,
        None,
        None,
        None,
    )
    assert {block[name] for name in MONEY_FIGURES} == {"0.00"}


def test_memory_does_not_grow_with_the_deals():
    short, long = (len(json.dumps(counted(10**6, [(7, 1, 0), (-5, 1, 1)] * n).state())) for n in (50, 5_000))
    assert long < short + 200


def test_figures_beyond_64_bits_stay_exact():
    results = counted(10**40, [(10**39 + 1, 1, 0), (-(10**38), 1, 1)], 6).results()
    assert f"{results.total_net_profit:.6f}".replace(".", "") == str(10**39 + 1 - 10**38)
