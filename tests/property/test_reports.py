"""Laws of reports: they agree with sums that pandas makes of the same history, they add up, and periods join."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import sqrt
from typing import Any

import pandas as pd
import pytest
from attrs import evolve, fields_dict
from hypothesis import given
from hypothesis import strategies as st

from ledger import Account, CashMoved, Event, FillRecorded, Ledger
from ledger.clock import ClockRule
from ledger.reports import BY, AccountReport, add_money, add_trades, join_money, make_question
from ledger.reports.build import report_of_events, report_of_tables
from tests.property.test_fold import recorded
from tests.support.strategies import revised_histories
from tools.testkit.facts import ACCOUNT, START_MSC, START_US, Clock, opened

DAY = 86_400_000
CLOCKS = ("UTC", "+03:00", "Europe/Athens", "ny-close", "America/New_York")
DAYS = ("server", "utc", "Europe/Athens", "Asia/Kathmandu", "America/New_York")
BY_TIME = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "weekday": "%A"}
#: Days around which clocks of Europe and America change, and ordinary ones. All are in 2025, before the clock of the tests.
DATES = ("2025-03-09", "2025-03-30", "2025-06-02", "2025-10-26", "2025-11-02")


@dataclass
class Desk:
    """A history as rows for pandas beside the events: one row a deal, one a trade."""

    events: list[Event]
    deals: pd.DataFrame
    trades: pd.DataFrame


money = st.integers(-50_000, 50_000)
charges = st.integers(-700, 0)


@st.composite
def desks(draw: st.DrawFn, clock: str = "UTC", deposit: int = 100_000_000, days: int = 60) -> Desk:
    """Return a history on a hedging account: round trips with partial closes, cash of all kinds, each deal at its own time."""
    rule, deals, trades, events = ClockRule(clock), [], [], []
    begin = ClockRule("UTC").to_utc_msc(int(pd.Timestamp(draw(st.sampled_from(DATES))).timestamp() * 1000)) - days // 2 * DAY
    count = draw(st.integers(1, 25))
    steps = sorted(draw(st.sets(st.integers(1, days * 24 * 60), min_size=2 * count, max_size=2 * count)))
    when = iter(steps)
    ticket = iter(range(2, 1000))

    def book(event_of: Callable[..., Event], kind: str, utc_msc: int, **fields: Any) -> dict[str, Any]:
        number = next(ticket)
        event: Any = event_of(deal=number, time_msc=rule.from_utc_msc(utc_msc), **fields)
        events.append(event)
        row: dict[str, Any] = {
            "utc": utc_msc,
            "server": event.time_msc,
            "kind": kind,
            "symbol": None,
            "magic": None,
            "side": None,
        }
        row |= {name: int(fields.get(name, 0) * 100) for name in ("profit", "commission", "swap", "fee")}
        row["amount"] = sum(row[name] for name in ("profit", "commission", "swap", "fee"))
        deals.append(row)
        return row

    book(CashMoved, "flow", begin, type=2, profit=Decimal(deposit) / 100)
    while True:
        first, last = next(when, None), next(when, None)
        if first is None or last is None:
            break
        first, last = begin + first * 60_000, begin + last * 60_000
        if draw(st.integers(0, 4)) == 0:
            kind, code = draw(st.sampled_from([("flow", 2), ("flow", 6), ("other", 4), ("other", 12), ("credit", 3)]))
            amount = draw(money)
            book(CashMoved, kind, first, type=code, profit=Decimal(amount) / 100)
            if kind == "credit":
                deals[-1]["amount"] = 0
            continue
        symbol, side, magic = (
            draw(st.sampled_from(["EURUSD", "XAUUSD"])),
            draw(st.sampled_from(["buy", "sell"])),
            draw(st.sampled_from([0, 7, 2**64 - 1])),
        )
        other, position_id, parts = (
            ("sell" if side == "buy" else "buy"),
            5000 + first // 60_000 % 10**6,
            draw(st.integers(1, 2)),
        )
        about = {"symbol": symbol, "magic": magic, "position_id": position_id, "price": 1}
        rows = []
        for entry, deal_side, volume, moment in [
            ("in", side, parts, first), *(("out", other, 1, last - (parts - 1 - at) * 1000) for at in range(parts)),
        ]:  # fmt: skip
            amounts = {"commission": draw(charges), "swap": draw(charges), "fee": draw(charges)}
            amounts["profit"] = draw(money) if entry == "out" else 0
            named = {name: Decimal(amount) / 100 for name, amount in amounts.items()}
            row = book(FillRecorded, "trade", moment, entry=entry, side=deal_side, volume=volume, **about, **named)
            row |= {"symbol": symbol, "magic": str(magic), "side": side}
            deals[-1] = row
            rows.append(row)
        trades.append(
            {"utc": rows[-1]["utc"], "server": rows[-1]["server"], "symbol": symbol, "magic": str(magic), "side": side}
            | {"net": sum(row["amount"] for row in rows), "held": rows[-1]["utc"] - rows[0]["utc"]}
        )
    frame = pd.DataFrame(deals).sort_values("utc", kind="stable").reset_index(drop=True)
    columns = ["utc", "server", "symbol", "magic", "side", "net", "held"]
    closed = pd.DataFrame(trades, columns=columns).sort_values("utc", kind="stable").reset_index(drop=True)
    return Desk(events, frame, closed)


def desk(story: Desk, clock: str = "UTC") -> Account:
    """Record a history, in any order."""
    account = Ledger.open("memory://", now_us=Clock(START_US)).account(ACCOUNT)
    account.record(opened(clock=clock, time_msc=START_MSC))
    account.record_many(story.events)
    return account


def cents(amount: Decimal | None) -> int:
    assert amount is not None
    return int(amount * 100)


def names(frame: pd.DataFrame, by: str, day: str) -> pd.Series:
    """Return the bucket of each row, as pandas sees it."""
    if by not in BY_TIME:
        return frame[by]
    if day == "server":
        wall = pd.to_datetime(frame["server"], unit="ms")
    else:
        wall = pd.to_datetime(frame["utc"], unit="ms", utc=True).dt.tz_convert("UTC" if day == "utc" else day)
    return wall.dt.strftime(BY_TIME[by])


# -------------------------------------------------------------------------------------------------- as pandas computes it


@given(st.data(), st.sampled_from([*BY_TIME, "symbol", "magic", "side"]), st.sampled_from(CLOCKS), st.sampled_from(DAYS))
def test_money_and_trades_are_what_pandas_makes_of_the_same_deals(data, by, clock, day):
    story = data.draw(desks(clock))
    report = desk(story, clock).report(by=by, day=day)
    deals, trades = story.deals, story.trades
    assert cents(report.money.end) == deals["amount"].sum()
    trade_deals = deals[deals["kind"] == "trade"]
    for name in ("profit", "commission", "swap", "fee"):
        assert cents(getattr(report.money, name)) == trade_deals[name].sum()
    assert cents(report.money.flows) == deals.loc[deals["kind"] == "flow", "amount"].sum()
    assert cents(report.money.other) == deals.loc[deals["kind"] == "other", "amount"].sum()
    by_deal = deals.groupby(names(deals, by, day), dropna=False)["amount"].sum()
    shown = {one.name: cents(one.money.moved) for one in report.buckets if one.money.moved or one.name in set(by_deal.index)}
    assert shown == {None if pd.isna(name) else name: amount for name, amount in by_deal.items()}
    closed = trades.groupby(names(trades, by, day))["net"].agg(["count", "sum", "max", "min"])
    got = {
        one.name: [one.trades.count, *map(cents, (one.trades.net, one.trades.best, one.trades.worst))]
        for one in report.buckets
        if one.trades.count
    }
    assert got == {name: list(row) for name, row in closed.T.items()}


@given(st.data())
def test_ratios_of_trades_are_what_pandas_makes_of_them(data):
    story = data.draw(desks())
    found, net = desk(story).report().trades, story.trades["net"]
    wins, losses = net[net > 0], net[net < 0]
    assert (found.count, found.wins, found.losses) == (len(net), len(wins), len(losses))
    for value, expected in (
        (found.win_rate, (net > 0).mean()),
        (found.expectancy, net.mean() / 100),
        (found.average_win, wins.mean() / 100),
        (found.average_loss, losses.mean() / 100),
        (found.profit_factor, wins.sum() / -losses.sum() if len(losses) else float("nan")),
        (found.held_average_ms, story.trades["held"].mean()),
    ):
        assert (value is None) == bool(pd.isna(expected))
        assert value is None or float(value) == pytest.approx(expected, rel=1e-12, abs=1)


@given(st.data())
def test_daily_returns_are_what_pandas_makes_of_them(data):
    story = data.draw(desks(data.draw(st.sampled_from(CLOCKS))))
    deals = story.deals
    ratios = desk(story).report().ratios
    assert ratios is not None
    results = deals["kind"].isin(["trade", "other"])
    after = deals["amount"].cumsum()
    growth = (after / (after - deals["amount"]))[results]
    days = pd.to_datetime(deals["server"], unit="ms").dt.normalize()[results]
    if days.empty:
        assert ratios.days == 0
        return
    daily = growth.groupby(days).prod() - 1
    every = pd.date_range(days.min(), days.max(), freq="D")
    daily = daily.reindex([one for one in every if one.weekday() < 5 or one in daily.index], fill_value=0.0)
    assert ratios.days == len(daily)
    if len(daily) < 20:
        assert (ratios.sharpe, ratios.sortino, ratios.mar) == (None, None, None)
        return
    sharpe = daily.mean() / daily.std(ddof=0) * sqrt(252) if daily.std(ddof=0) else None
    below = sqrt((daily.clip(upper=0) ** 2).mean())
    sortino = daily.mean() / below * sqrt(252) if below else None
    for value, expected in ((ratios.sharpe, sharpe), (ratios.sortino, sortino)):
        assert (value is None) == (expected is None)
        assert value is None or float(value) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert ratios.growth_percent is not None
    yearly = ((daily + 1).prod() ** (365.25 / len(every)) - 1) * 100
    assert float(ratios.growth_percent) == pytest.approx(yearly, rel=1e-6, abs=1e-6)


@given(st.data(), st.sampled_from([100_000_000, 60_000]))
def test_drawdowns_are_those_of_a_search_over_all_pairs(data, deposit):
    story = data.draw(desks(deposit=deposit))
    found = desk(story).report().drawdown
    earned, moved, points = 0, 0, [(0, 0)]
    falls: list[tuple[int, int]] = []
    for row in story.deals.itertuples():
        if row.kind in ("trade", "other"):
            earned += row.amount
        else:
            moved += row.amount
        points.append((earned, moved))
        peak = max(one for one, _ in points) + moved
        if row.kind in ("trade", "other"):  # a withdrawal is no fall, and makes none deeper
            falls.append((peak - earned - moved, peak))
    deepest = max((fall for fall, _ in falls), default=0)
    assert (cents(found.absolute.amount) if found.absolute else 0) == deepest
    worst = max((Fraction(100 * fall, peak) for fall, peak in falls if peak > 0 and fall > 0), default=None)
    assert (found.relative is None) == (worst is None)
    if found.relative and worst is not None:
        amount, peak = cents(found.relative.amount), cents(found.relative.peak)
        assert Fraction(100 * amount, peak) == worst
        assert found.relative.percent == Decimal(worst.numerator) / worst.denominator


@given(st.data())
def test_series_are_those_of_the_results_in_their_order(data):
    story = data.draw(desks())
    series = desk(story).report().series
    runs: list[list[int]] = [[]]
    for net in story.trades["net"]:
        if not runs[-1] or net * runs[-1][-1] <= 0:
            runs.append([])
        runs[-1].append(net)
    won = [(len(run), sum(run)) for run in runs if run and run[0] > 0]
    lost = [(len(run), sum(run)) for run in runs if run and run[0] < 0]
    assert (series.wins, cents(series.wins_money)) == max(won, default=(0, 0))
    assert (series.losses, cents(series.losses_money)) == max(lost, key=lambda one: (one[0], -one[1]), default=(0, 0))
    assert cents(series.best_money) == max((money for _, money in won), default=0)
    assert cents(series.worst_money) == min((money for _, money in lost), default=0)


# ------------------------------------------------------------------------------------------------------------ reconciling


def period(account: Account, begin: int | None, end: int | None, **how: Any) -> AccountReport:
    """Return the report of [begin, end), UTC milliseconds."""
    since = _at(begin)
    return account.report(since=since, until=None if end is None else _at(end - 1), **how)


def _at(utc_msc: int | None) -> datetime | None:
    return None if utc_msc is None else datetime.fromtimestamp(utc_msc / 1000, UTC)


@given(st.data(), st.sampled_from(CLOCKS), st.sampled_from(["day", "week", "month", "symbol", "magic"]))
def test_a_report_reconciles_for_any_split_of_the_period(data, clock, by):
    story = data.draw(desks(clock, days=6))
    account = desk(story, clock)
    moments = [*story.deals["utc"], *(one + DAY // 24 for one in story.deals["utc"])]
    cuts = sorted(data.draw(st.sets(st.sampled_from(moments), min_size=1, max_size=4)))
    whole = period(account, None, None, by=by)
    parts = [period(account, begin, end, by=by) for begin, end in pairwise([None, *cuts, None])]
    assert join_money(*(one.money for one in parts)) == whole.money
    assert add_trades(*(one.trades for one in parts)) == whole.trades
    assert all(one.reconciles for one in parts)
    assert all(first.money.end == then.money.start for first, then in pairwise(parts))
    by_name: dict[str | None, list[Any]] = {}
    for one in parts:
        for bucket in one.buckets:
            by_name.setdefault(bucket.name, []).append(bucket)
    assert {one.name: one.money for one in whole.buckets} == {
        name: join_money(*(one.money for one in several)) for name, several in by_name.items()
    }
    assert {one.name: one.trades for one in whole.buckets} == {
        name: add_trades(*(one.trades for one in several)) for name, several in by_name.items()
    }


@given(revised_histories(), st.sampled_from(["day", "side", "weekday"]))
def test_whatever_is_recorded_the_buckets_come_to_the_whole_and_to_the_balance(drawn, by):
    history, events = drawn
    account = recorded(events, history.mode)
    report = account.report(by=by)
    assert report.reconciles
    assert report.money.end == account.portfolio.balance
    assert add_money(*(evolve(one.money, start=None, end=None) for one in report.buckets)).moved == report.money.moved
    trades = [*account.trades()]
    finished = trades[: len(trades) - len([*account.portfolio.unfinished_trades()])]
    complete = [one for one in finished if one.complete]
    assert report.trades.count == len(complete) == sum(one.trades.count for one in report.buckets)
    assert report.trades.incomplete == len(trades) - len(complete)
    assert report.trades.net == sum((one.profit + one.swap + one.commission + one.fee for one in complete), Decimal(0))


@given(st.data())
def test_a_filter_shows_what_the_deals_of_it_come_to(data):
    story = data.draw(desks())
    account = desk(story)
    for field, value, how in (("symbol", "EURUSD", {"symbols": ["EURUSD"]}), ("magic", str(2**64 - 1), {"magics": [-1]})):
        report = account.report(**how)
        deals, trades = story.deals[story.deals[field] == value], story.trades[story.trades[field] == value]
        assert cents(report.money.net) == deals["amount"].sum()
        assert (report.trades.count, cents(report.trades.net)) == (len(trades), trades["net"].sum())
        assert (report.money.start, report.money.end, report.money.flows, report.ratios) == (None, None, None, None)
        curve = [0, *deals["amount"].cumsum()]
        deepest = max(max(curve[: at + 1]) - one for at, one in enumerate(curve))
        assert (cents(report.drawdown.absolute.amount) if report.drawdown.absolute else 0) == deepest


# ------------------------------------------------------------------------------------------------------------ two sources


@given(st.data(), st.sampled_from(CLOCKS), st.sampled_from(DAYS), st.sampled_from(BY))
def test_a_report_of_the_tables_is_the_one_of_the_events(data, clock, day, by):
    story = data.draw(desks(clock, days=40))
    account = desk(story, clock)
    account.derived.catch_up()
    moments = st.none() | st.sampled_from([*story.deals["utc"]]).map(_at)
    since, until = sorted((data.draw(moments), data.draw(moments)), key=lambda one: one or datetime.max.replace(tzinfo=UTC))
    asked: dict[str, Any] = data.draw(st.sampled_from([{}, {}, {"symbols": ["EURUSD"]}, {"magics": [7]}]))
    question = make_question(by=by, day=day, since=since, until=until if until != since else None, **asked)
    with_curve = data.draw(st.booleans())
    of_tables = report_of_tables(account, question, with_curve=with_curve)
    of_events = report_of_events(account, question, with_curve=with_curve)
    for name in fields_dict(AccountReport):
        assert (name, getattr(of_tables, name)) == (name, getattr(of_events, name))


@given(revised_histories(), st.sampled_from(BY))
def test_whatever_is_recorded_a_report_of_the_tables_is_the_one_of_the_events(drawn, by):
    history, events = drawn
    account = recorded(events, history.mode)
    question = make_question(by=by)
    account.derived.catch_up()
    assert report_of_tables(account, question) == report_of_events(account, question)
