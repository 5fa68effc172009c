"""Reports: what is counted when, which day something is of, what is not known, and what a filter leaves."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from ledger import Account, Adjusted, BadValue, BalanceAsserted, Ledger
from ledger.clock import ClockRule
from ledger.marks import Mark
from ledger.performance.tally import Counted, GroupTally
from ledger.reports import BY, AccountReport, Report
from ledger.reports.build import Basis, Counter, make_question, report_of_events, report_of_tables
from ledger.reports.calendar import Calendar
from ledger.reports.json import report_json
from ledger.reports.words import equation, figures, money_columns, mt5_lines
from tools.testkit.facts import ACCOUNT, OTHER, START_MSC, START_US, Clock, cash, completion, fill, ghost, opened

DAY = 86_400


def account(*events: Any, clock: str = "UTC", ledger: Ledger | None = None, name: Any = ACCOUNT, **terms: Any) -> Account:
    """Return an account with some events, recorded long after they happened."""
    known = (ledger or Ledger.open("memory://", now_us=Clock(START_US + 400 * DAY * 1_000_000))).account(name)
    known.record(opened(name, clock=clock, **terms))
    known.record_many(events)
    return known


def trade(number: int, begin: float, end: float, profit: Any, **fields: Any) -> list[Any]:
    """Return a round trip of a position of its own, opened and closed some seconds after the start."""
    about = {"symbol": "EURUSD", "magic": None} | fields
    return [
        fill(number, begin, position_id=number, commission="-1", **about),
        fill(number + 1, end, position_id=number, side="sell", entry="out", profit=profit, **about),
    ]


def lines(report: AccountReport) -> dict[str | None, tuple[str, int]]:
    """Return the net and the number of trades of each line."""
    return {one.name: (f"{one.money.net:.2f}", one.trades.count) for one in report.buckets}


# ------------------------------------------------------------------------------------------------------------------ days


def test_a_trade_is_of_the_day_it_closed_and_its_opening_commission_of_the_day_before():
    report = account(cash(1), *trade(10, 0, DAY, 7)).report(by="day")
    assert lines(report) == {"2026-01-05": ("-1.00", 0), "2026-01-06": ("7.00", 1)}
    assert report.trades.net == 6


@pytest.mark.parametrize(
    ("day", "clock", "begin", "hours"),
    [
        ("server", "Europe/Athens", "2025-03-30", 23),
        ("server", "Europe/Athens", "2025-10-26", 25),
        ("server", "ny-close", "2025-03-09", 23),
        ("America/New_York", "UTC", "2025-03-09", 23),
        ("America/New_York", "UTC", "2025-11-02", 25),
        ("America/New_York", "Europe/Athens", "2025-11-02", 25),
        ("utc", "Europe/Athens", "2025-10-26", 24),
        ("+03:00", "UTC", "2025-10-26", 24),
        ("America/Sao_Paulo", "UTC", "2018-11-04", 23),  # its midnight does not exist: the day begins at one
    ],
)
def test_a_day_has_23_or_25_hours_where_its_clock_changes(day, clock, begin, hours):
    calendar, rule = Calendar(ClockRule(clock), day, "day"), ClockRule(clock)
    first = date.fromisoformat(begin)
    start, end = calendar.begin_msc(first), calendar.begin_msc(date.fromordinal(first.toordinal() + 1))
    assert (end - start) / 3_600_000 == hours

    def bucket(utc_msc: int) -> str:
        return calendar.bucket(rule.wall_msc(utc_msc), utc_msc)

    inside = {bucket(start + minute * 60_000) for minute in range(0, hours * 60, 15)}
    assert inside == {bucket(start), bucket(end - 1)} == {begin}
    assert begin not in (bucket(start - 1), bucket(end))


def test_weeks_are_iso_weeks_and_weekdays_are_in_their_order():
    monday, sunday = (ClockRule("UTC").to_utc_msc(int(datetime(2026, 1, day, tzinfo=UTC).timestamp() * 1000)) for day in (5, 4))
    week = Calendar(ClockRule("UTC"), "utc", "week")
    assert [week.bucket(one, one) for one in (sunday, monday)] == ["2026-W01", "2026-W02"]
    assert week.bucket(new_year := int(datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1000), new_year) == "2026-W53"
    report = account(*trade(10, 0, 6 * DAY, 1), *trade(20, DAY, 2 * DAY, 1)).report(by="weekday")
    assert [one.name for one in report.buckets] == ["Monday", "Tuesday", "Wednesday", "Sunday"]


def test_deals_of_an_hour_that_the_clock_showed_twice_are_where_their_tickets_put_them():
    first = int(datetime(2025, 10, 26, 0, 30, tzinfo=UTC).timestamp() * 1000)  # Athens shows 03:30, and again an hour later
    rule = ClockRule("Europe/Athens")
    deals = [
        evolve(cash(number), time_msc=rule.wall_msc(first + minutes * 60_000), profit=number)
        for number, minutes in ((1, 0), (2, 20), (3, 60), (4, 80), (5, 120))
    ]
    desk = account(*deals, clock="Europe/Athens", time_msc=first)
    until = datetime.fromtimestamp((first + 60 * 60_000 - 1) / 1000, UTC)
    assert desk.report(until=until).money.flows == 3
    assert desk.report(since=datetime.fromtimestamp((first + 60 * 60_000) / 1000, UTC)).money.flows == 12


# ----------------------------------------------------------------------------------------------------------------- money


def test_start_and_what_moved_the_balance_come_to_the_end():
    bonus, charge, credit = cash(2, 1, type=6, profit=5), cash(3, 2, type=4, profit=-2), cash(4, 3, type=3, profit=50)
    adjusted = Adjusted(operator="ann", reason="x", time_msc=START_MSC + 9000, balance_before="1", balance_after="1.5")
    report = account(cash(1), bonus, charge, credit, *trade(10, 5, 6, 3), adjusted).report()
    money = report.money
    assert (money.start, money.flows, money.net, money.other, money.adjusted, money.end) == (
        0, 105, 2, -2, Decimal("0.5"), Decimal("105.5"),
    )  # fmt: skip
    assert (money.difference, report.reconciles) == (0, True)


def test_a_balance_that_the_broker_stated_in_mid_history_is_adjusted_and_no_result():
    stated = BalanceAsserted(balance=1000, time_msc=START_MSC, complete_until_msc=START_MSC)
    report = account(stated, *trade(10, 5, 6, -90)).report()
    assert (report.money.adjusted, report.money.end) == (1000, 909)
    assert report.drawdown.absolute is not None
    assert (report.drawdown.absolute.amount, report.drawdown.absolute.peak) == (91, 1000)


def test_figures_that_do_not_add_up_to_the_balance_are_an_error():
    desk = account(cash(1))
    counter = Counter(make_question(), desk.terms, lambda time_msc, _=None: time_msc, with_curve=False)
    report = counter.report(Basis(2, "", 0), balance=1)
    assert not report.reconciles
    assert report.money.difference == Decimal("0.000001")


def test_a_deal_whose_money_is_not_known_counts_as_incomplete_until_it_is():
    desk = account(cash(1), *trade(10, 1, 2, None))
    report = desk.report()
    assert (report.money.incomplete, report.trades.incomplete, report.trades.count, report.incomplete) == (1, 1, 0, 2)
    desk.record(completion(11, profit=4))
    report = desk.report()
    assert (report.incomplete, report.trades.net, report.money.net) == (0, 3, 3)


def test_a_balance_is_uncertain_from_the_deal_on_whose_money_is_not_known():
    desk = account(cash(1), *trade(10, 1, 2, None), *trade(20, 2 * DAY, 2 * DAY + 5, 4))
    desk.derived.catch_up()
    since = datetime.fromtimestamp((START_MSC + DAY * 1000) / 1000, UTC)
    for read in (report_of_events, report_of_tables):
        found = read(desk, make_question(by="day"))
        assert found is not None
        columns = {one.name: [*one.cells, one.total] for one in money_columns(found.buckets, found.money, 2)}
        assert columns["net"] == ["-1.00?", "3.00", "2.00?"]
        assert columns["flows"] == ["100.00", "0.00", "100.00"]
        assert columns["balance"] == ["99.00?", "102.00?", "102.00?"]
        later = read(desk, make_question(since=since))
        assert later is not None
        assert (later.money.incomplete, later.money.incomplete_before, later.buckets[0].money.incomplete_before) == (0, 1, 1)
        assert dict(equation(later.money, 2)) | {"net": ""} == {
            "start": "99.00?", "flows": "0.00", "net": "", "other": "0.00", "adjusted": "0.00", "end": "102.00?",
        }  # fmt: skip


def test_figures_that_rest_on_what_is_not_known_are_marked():
    found = account(cash(1), *trade(10, 1, 2, None), *trade(20, 3, 4, -4)).report()
    assert found.results is not None
    by_position, by_deal = ({one.name: one.value for one in lines} for lines in (
        figures(found), mt5_lines(found.results, found.money, 2),
    ))  # fmt: skip
    assert (by_position["worst trade"], by_position["max drawdown"], by_position["Sharpe ratio"]) == ("-5.00?", "6.00?", "-")
    assert (by_deal["Total Net Profit"], by_deal["Profit Trades (% of total)"]) == ("-6.00?", "1 (50.00%)?")


def test_a_ghost_and_a_close_without_an_opening_are_incomplete():
    report = account(fill(7), ghost(7, 5), fill(9, 6, side="sell", entry="out", profit=4, position_id=99)).report(by="side")
    assert report.trades.incomplete == 2
    assert {one.name: one.trades.incomplete for one in report.buckets} == {"buy": 2}
    assert report.money.net == 4


# ---------------------------------------------------------------------------------------------------------------- trades


def test_a_trade_of_exactly_nothing_is_neither_win_nor_loss_and_ends_a_series():
    trades = [one for at, profit in enumerate((2, 3, 1, 2, 0.5)) for one in trade(10 + 2 * at, 10 * at, 10 * at + 5, profit)]
    report = account(*trades).report()
    assert (report.trades.count, report.trades.wins, report.trades.losses) == (5, 3, 1)
    assert (report.series.wins, report.series.wins_money, report.series.losses) == (2, 3, 1)
    assert (report.trades.best, report.trades.worst) == (2, Decimal("-0.5"))
    assert report.trades.held_average_ms == report.trades.held_max_ms == 5000


def test_a_trade_counts_by_its_first_magic_and_money_by_that_of_the_deal():
    desk = account(fill(1, 0, magic=7, commission=-1), fill(2, 1, side="sell", entry="out", position_id=1, magic=8, profit=5))
    assert lines(desk.report(by="magic")) == {"7": ("-1.00", 1), "8": ("5.00", 0)}
    filtered = desk.report(magics=[7])
    assert (filtered.money.net, filtered.trades.net) == (-1, 4)
    fall = filtered.drawdown.absolute
    assert fall is not None
    assert (fall.amount, fall.percent, filtered.drawdown.relative) == (1, None, None)
    assert lines(desk.report(magics=[-1])) == {}


def test_what_closes_a_position_is_money_of_its_side():
    report = account(*trade(10, 0, 1, 5), fill(20, 2, side="sell"), fill(21, 3, entry="out", position_id=20, profit=2)).report(
        by="side"
    )
    assert lines(report) == {"buy": ("4.00", 1), "sell": ("2.00", 1)}


def test_without_losses_and_without_trades_a_ratio_is_none():
    won, nothing = account(*trade(10, 0, 1, 5)).report().trades, account(cash(1)).report().trades
    assert (won.profit_factor, won.average_loss, won.win_rate) == (None, None, 1)
    assert (nothing.win_rate, nothing.profit_factor, nothing.expectancy, nothing.held_average_ms) == (None, None, None, None)


# ------------------------------------------------------------------------------------------------------------- drawdowns


def test_a_withdrawal_is_no_drawdown_and_moves_the_peak():
    report = account(
        cash(1, 0, profit=1000), *trade(10, 1, 2, 101), cash(20, 3, profit=-500), *trade(30, 4, 5, -58), *trade(40, 6, 7, 100)
    ).report()
    fall = report.drawdown.absolute
    assert fall is not None
    assert (fall.amount, fall.peak, fall.percent) == (60, 600, 10)
    assert (fall.peak_utc_msc, fall.bottom_utc_msc) == (START_MSC + 2000, START_MSC + 6000)


def test_the_largest_fall_in_per_cent_may_be_another_one():
    report = account(
        cash(1, 0, profit=100), *trade(10, 1, 2, -49), cash(20, 3, profit=10_000), *trade(30, 4, 5, 99), *trade(40, 6, 7, -98)
    ).report()
    absolute, relative = report.drawdown.absolute, report.drawdown.relative
    assert absolute is not None
    assert relative is not None
    assert (absolute.amount, relative.amount, relative.percent) == (99, 50, 50)


def test_a_fall_below_a_peak_of_nothing_has_no_per_cent():
    drawdown = account(*trade(10, 1, 2, -49)).report().drawdown
    assert drawdown.absolute is not None
    assert (drawdown.absolute.amount, drawdown.absolute.percent, drawdown.relative) == (50, None, None)


def test_equity_falls_between_deals_and_a_deposit_is_no_rise():
    desk = account(cash(1, 0, profit=1000), cash(2, 30, profit=500))
    for second, equity in ((1, 1000), (10, 900), (20, 1010), (40, 1500), (50, 1400)):
        at_us = (START_MSC + second * 1000) * 1000
        desk.ledger.journal.save_mark(ACCOUNT, Mark(at_us=at_us, server_msc=START_MSC + second * 1000, equity=Decimal(equity)))
    desk.ledger.journal.save_mark(ACCOUNT, Mark(at_us=START_US + 60_000_000))  # shows no equity
    found = desk.report().equity
    assert found is not None
    assert found.absolute is not None
    assert found.relative is not None
    assert (found.absolute.amount, found.absolute.peak, found.samples) == (110, 1510, 5)
    assert (found.relative.amount, found.relative.percent) == (100, 10)
    assert desk.report(until=datetime.fromtimestamp((START_MSC + 20_000) / 1000, UTC)).equity.samples == 3  # type: ignore[union-attr]
    assert desk.report(symbols=["EURUSD"]).equity is None
    assert dict(account(cash(1)).report().unavailable)["equity"] == "no sample of equity is stored for the period"


def test_the_minutes_of_samples_that_are_deleted_have_their_extremes():
    desk = account(cash(1, 0, profit=1000))
    for second, equity in ((1, 1000), (10, 900), (20, 950), (70, 1100), (80, 1040), (200, 1090)):
        desk.ledger.journal.save_mark(ACCOUNT, Mark(at_us=START_US + second * 1_000_000, equity=Decimal(equity)))
    whole = desk.report().equity
    assert whole is not None
    for before in (15, 75, 300):
        desk.ledger.journal.delete_marks(ACCOUNT, START_US + before * 1_000_000)
        left = desk.report().equity
        assert left is not None
        assert (left.absolute, left.relative) == (whole.absolute, whole.relative)
        assert (left.last_us, left.samples) == (whole.last_us, 6)


def test_a_deposit_that_a_sample_does_not_show_yet_is_no_fall():
    desk = account(cash(1, 0, profit=1000), cash(2, 30, profit=500), cash(3, 50, type=3, profit=200))
    for second, balance, equity in ((1, 1000, 1000), (30, 1000, 995), (31, 1500, 1490), (60, 1500, 1690), (70, 1500, 1700)):
        mark = Mark(at_us=START_US + second * 1_000_000, balance=Decimal(balance), equity=Decimal(equity))
        desk.ledger.journal.save_mark(ACCOUNT, mark)
    found = desk.report().equity
    assert found is not None
    assert found.absolute is not None
    assert (found.absolute.amount, found.absolute.peak) == (10, 1500)


# ---------------------------------------------------------------------------------------------------------------- ratios


def test_there_are_no_ratios_under_twenty_days():
    def ratios(days: int) -> Any:
        closes = [one for at in range(days) for one in trade(10 + 2 * at, at * DAY, at * DAY + 5, 5 + at % 3)]
        return account(cash(1, 0, profit=1000), *closes).report().ratios

    assert ratios(19).sharpe is None
    assert dict(ratios(19).why)["sharpe"] == "19 daily returns, at least 20 are needed"
    assert ratios(20).sharpe > 0
    assert dict(ratios(20).why) == {"sortino": "no daily return is negative"}


def test_quiet_weekdays_count_as_returns_of_nothing_and_quiet_weekends_do_not():
    desk = account(cash(1, 0, profit=1000), *trade(10, 0, 5, 5), *trade(20, 28 * DAY, 28 * DAY + 5, 5))
    assert desk.report().ratios.days == 21  # type: ignore[union-attr]


def test_a_day_that_begins_without_a_balance_has_no_return():
    ratios = account(*trade(10, 0, 5, 5)).report().ratios
    assert ratios is not None
    assert dict(ratios.why)["sharpe"] == "a day began with a balance of 0 or less"


# --------------------------------------------------------------------------------------------------- questions and totals


def test_what_was_known_at_a_moment_is_what_a_report_showed_then():
    now = Clock(START_US, step_us=1_000_000)
    desk = account(cash(1), ledger=Ledger.open("memory://", now_us=now))
    before, moment = desk.report(), datetime.fromtimestamp(now.now_us / 1_000_000, UTC)
    now.now_us += 3_600_000_000
    desk.record(cash(2, -5, profit=9))
    assert desk.report().money.flows == 109
    then = desk.report(known_at=moment)
    assert (then.money, then.version, then.head, then.buckets) == (before.money, before.version, before.head, before.buckets)
    assert desk.report(known_at="2020-01-01").version == 0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"by": "year"}, "a report is by day, week, month, weekday, symbol, magic or side, found 'year'"),
        ({"day": "Mars"}, "a day is of the clock server, utc or a zone"),
        ({"since": "2026-01-02", "until": "2026-01-01"}, "the period ends before it begins"),
        ({"symbols": "EURUSD"}, "symbols are several: pass a list"),
        ({"magics": ["x"]}, "expected a magic number"),
        ({"since": datetime(2026, 1, 1)}, "expected a datetime with a zone"),  # noqa: DTZ001
    ],
)
def test_a_question_that_cannot_be_is_refused(wrong, complaint):
    with pytest.raises(BadValue, match=complaint):
        account().report(**wrong)


def test_accounts_have_a_total_for_each_currency_and_no_sum_of_several():
    ledger = Ledger.open("memory://", now_us=Clock(START_US + 400 * DAY * 1_000_000))
    account(cash(1), *trade(10, 0, 5, 5), ledger=ledger)
    account(cash(1), *trade(10, 0, DAY, -2), ledger=ledger, name=OTHER)
    yen = evolve(OTHER, login=9)
    account(cash(1), ledger=ledger, name=yen, currency="JPY", currency_digits=0)
    found: Report = ledger.report(by="day")
    assert [(one.currency, len(one.accounts), one.money.net, one.money.end) for one in found.totals] == [
        ("JPY", 1, 0, 100), ("USD", 2, 1, 201),
    ]  # fmt: skip
    assert [(one.name, one.trades.count) for one in found.totals[1].buckets] == [("2026-01-05", 1), ("2026-01-06", 1)]
    assert [one.account for one in ledger.report([OTHER]).accounts] == [OTHER]
    written = report_json(found)
    assert [one["currency"] for one in written["totals"]] == ["JPY", "USD"]
    assert sorted(one["money"]["end"] for one in written["accounts"]) == ["100", "104.00", "97.00"]


@pytest.mark.parametrize("most", [0, 1, 2, 300])
def test_a_group_with_too_many_keys_is_summed_from_the_tables(most, monkeypatch):
    monkeypatch.setattr(GroupTally, "KEYS_MAX", most)
    desk = account(
        cash(1), *trade(10, 0, 5, 5, magic=1), *trade(20, 0, 6, 7, symbol="XAUUSD", magic=2), fill(30, 8), ghost(30, 9)
    )
    desk.derived.catch_up()
    for by in BY:
        question = make_question(by=by)
        assert report_of_tables(desk, question) == report_of_events(desk, question)
    counted = desk.derived.accumulated("report")
    assert isinstance(counted, Counted)
    assert (counted.groups.groups("symbol") is None) == (most < 3)
