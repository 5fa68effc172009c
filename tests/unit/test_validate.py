"""A snapshot must earn trust: what refuses it whole, and what does not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest

from ledger import MarginMode, RemoteAccount, RemoteHistory, Snapshot, SnapshotRefused
from ledger.reconcile.validate import is_ahead, require_identity, state_of, validate
from tests.support.broker import rows, snapshot
from tools.testkit.stories import Story, at, cash, fill, state

DAY = 86_400
NOW = 3 * DAY  # seconds of the story


def accept(story: Story, shown: str = "#7 long 1 @ 10", *, now: float = NOW, **fields: Any) -> Snapshot:
    return validate(snapshot(shown, extended=True, **fields), story.portfolio, now_msc=at(now))


def refusal(story: Story, shown: str = "#7 long 1 @ 10", **fields: Any) -> SnapshotRefused:
    with pytest.raises(SnapshotRefused) as refused:
        accept(story, shown, **fields)
    return refused.value


@pytest.fixture
def story() -> Story:
    """One lot long, bought at second 5."""
    return Story("hedging").record("t5 #7 buy 1 @ 10")


# ------------------------------------------------------------------------------------------------------------ of whom it is


def test_a_snapshot_that_reports_nothing_but_positions_is_accepted(story):
    assert accept(story).positions == rows("#7 long 1 @ 10")


def test_an_empty_list_in_good_order_is_accepted(story):
    assert accept(story, "", count=0, connected=True).positions == ()


def test_a_snapshot_that_reports_everything_as_it_is_is_accepted(story):
    fields: dict[str, Any] = {
        "login": 70113,
        "server": "Broker-Live",
        "mode": MarginMode.HEDGING,
        "connected": True,
        "count": 1,
    }
    assert accept(story, server_time_msc=at(NOW), **fields).positions == rows("#7 long 1 @ 10")


@pytest.mark.parametrize(
    ("reported", "field", "expected", "found"),
    [
        ({"login": 70114}, "login", "70113", "70114"),
        ({"server": "Broker-Demo"}, "server", "Broker-Live", "Broker-Demo"),
        ({"mode": MarginMode.NETTING}, "margin_mode", "hedging", "netting"),
        ({"connected": False}, "connected", "not connected", ""),
        ({"count": 2}, "count", "2 rows", "found 1"),
        ({"count": 0}, "count", "0 rows", "found 1"),
    ],
)
def test_what_is_of_somebody_else_or_not_whole_is_refused_with_both_sides(story, reported, field, expected, found):
    error = refusal(story, **reported)
    assert error.field == field
    assert expected in str(error)
    assert found in str(error)
    assert error.retryable


@pytest.mark.parametrize("reported", [{"login": 70114}, {"server": "Broker-Demo"}, {"connected": False}])
def test_money_and_deals_of_somebody_else_are_refused_too(story, reported):
    money = {"login": 70113, "server": "Broker-Live", "currency": "USD", "mode": MarginMode.HEDGING, "balance": Decimal(1)}
    for answer in (RemoteAccount(**(money | {"credit": Decimal(0)} | reported)), RemoteHistory(deals=(), **reported)):
        with pytest.raises(SnapshotRefused):
            require_identity(answer, story.portfolio.terms)
    require_identity(RemoteHistory(deals=()), story.portfolio.terms)


# --------------------------------------------------------------------------------------------------------- listed twice


def test_a_ticket_that_comes_twice_is_refused_with_its_row(story):
    error = refusal(story, "#7 long 1 @ 10, #8 long 1 @ 10, #9 long 1 @ 10 ticket 7")
    assert (error.field, error.row) == ("ticket", 3)
    assert "7" in str(error)


def test_an_identifier_that_comes_twice_is_refused_with_its_row(story):
    error = refusal(story, "#7 long 1 @ 10, #7 long 1 @ 10 ticket 8")
    assert (error.field, error.row) == ("identifier", 2)


def test_a_symbol_that_comes_twice_is_refused_only_where_accounts_net():
    twice = "#7 long 1 @ 10, #8 short 1 @ 10"
    assert refusal(Story("netting"), twice).field == "symbol"
    assert refusal(Story("exchange"), twice).field == "symbol"
    assert len(accept(Story("hedging"), twice).positions) == 2


def test_one_bad_row_refuses_the_whole_snapshot_and_is_named(story):
    error = refusal(story, "#7 long 1 @ 10, #8 long 0.123456789 @ 10")
    assert (error.row, error.field) == (2, "volume")


# ------------------------------------------------------------------------------------------------------------------ stale


@pytest.mark.parametrize(
    ("reported_at", "is_accepted"),
    [
        ("5.4", True),  # the moment of the fill itself
        ("5.401", True),
        ("5.399", False),
        ("5", True),  # a terminal that counts whole seconds shows the second that the fill happened in
        ("4", False),
        ("4.999", False),
    ],
)
def test_a_snapshot_older_than_the_newest_fill_is_refused(reported_at, is_accepted):
    story = Story("hedging").record("t5.4 #7 buy 1 @ 10")
    if is_accepted:
        accept(story, server_time_msc=at(reported_at))
    else:
        error = refusal(story, server_time_msc=at(reported_at))
        assert error.field == "server_time_msc"
        assert "clock" in str(error)  # what to look at


@pytest.mark.parametrize("corrected", ["recover #8 long 1 @ 10", "drift #7 long 2 @ 10", "ghost #7"])
def test_corrections_make_no_snapshot_stale(story, corrected):
    """Their time may be one of ours: the broker's clock is stopped over a weekend."""
    story.record(f"t9000 {corrected}")
    accept(story, server_time_msc=at(8))


@pytest.mark.parametrize(("reported_at", "is_accepted"), [("8.999", False), ("9", True), ("9.001", False), ("9.9", True)])
def test_a_snapshot_older_than_an_earlier_answer_is_refused(story, reported_at, is_accepted):
    shown = snapshot("#7 long 1 @ 10", extended=True, server_time_msc=at(reported_at))
    if is_accepted:
        assert validate(shown, story.portfolio, now_msc=at(NOW), seen_msc=at("9.8")).positions
    else:
        with pytest.raises(SnapshotRefused, match="earlier answer"):
            validate(shown, story.portfolio, now_msc=at(NOW), seen_msc=at("9.8"))


def test_in_a_repeated_hour_the_wall_clock_goes_back_and_nothing_is_stale():
    story = Story("hedging", clock="Europe/Athens")
    hour_msc = 1_761_447_600_000  # 2025-10-26 03:00 to 04:00 on the wall, shown twice
    assert story.account.terms.clock.repeated_hour(hour_msc) == (hour_msc, hour_msc + 3_600_000)
    story.record(fill(1, time_msc=hour_msc + 50 * 60_000))
    for seen_msc in (None, hour_msc + 50 * 60_000):
        back = snapshot("#7 long 1 @ 10", extended=True, server_time_msc=hour_msc + 10 * 60_000)
        assert validate(back, story.portfolio, now_msc=hour_msc + 10 * 60_000, seen_msc=seen_msc).positions
    before = snapshot("#7 long 1 @ 10", extended=True, server_time_msc=hour_msc - 1)
    with pytest.raises(SnapshotRefused):
        validate(before, story.portfolio, now_msc=hour_msc)


def test_cash_and_what_is_reported_beside_positions_make_no_snapshot_stale(story):
    story.record(cash(2, time_msc=at(50)))
    accept(story, server_time_msc=at(6))


def test_a_late_fill_makes_no_snapshot_stale(story):
    story.record(fill(9, time_msc=at(50))).record(fill(8, time_msc=at(2)))
    accept(story, server_time_msc=at(50))
    refusal(story, server_time_msc=at(49))


def test_the_base_form_reports_no_age_and_is_never_stale(story):
    story.record("t50 #7 out sell 1 @ 11")
    assert validate(snapshot("#7 long 1 @ 10"), story.portfolio, now_msc=at(NOW)).positions


# ------------------------------------------------------------------------------------------------------------- the future


@pytest.mark.parametrize(("ahead_msc", "wrong"), [(60_000, False), (60_001, True), (23 * 3_600_000, True), (-(10**9), False)])
def test_a_server_clock_leads_by_a_minute_at_most(ahead_msc, wrong):
    assert is_ahead(snapshot("", extended=True, server_time_msc=at(NOW) + ahead_msc), at(NOW)) is wrong


def test_what_a_wrong_clock_shows_is_compared_all_the_same(story):
    accept(story, server_time_msc=at(NOW) + 30 * 86_400_000)


@pytest.mark.parametrize(("seconds", "is_accepted"), [(60, True), ("60.001", False)])
@pytest.mark.parametrize("changed", ["opened", "updated"])
def test_a_position_may_not_be_ahead_of_its_own_server(story, changed, seconds, is_accepted):
    moment = Decimal(100) + Decimal(seconds)
    shown_then = f"#7 long 1 @ 10, #8 long 1 @ 10 {changed} {moment}"
    if is_accepted:
        accept(story, shown_then, server_time_msc=at(100))
    else:
        error = refusal(story, shown_then, server_time_msc=at(100))
        assert (error.row, error.field) == (2, "time")


@pytest.mark.parametrize(("seconds", "is_accepted"), [(NOW + DAY, True), (NOW + DAY + 1, False)])
def test_without_a_server_clock_a_position_may_be_a_day_ahead_of_ours(story, seconds, is_accepted):
    if is_accepted:
        accept(story, f"#8 long 1 @ 10 opened {seconds}")
    else:
        refusal(story, f"#8 long 1 @ 10 opened {seconds}")


def test_an_opening_in_the_future_is_not_hidden_by_an_earlier_change(story):
    assert refusal(story, "#8 long 1 @ 10 opened 900 updated 50", server_time_msc=at(100)).field == "time"


# ------------------------------------------------------------------------------------------------------------------- dirt


def test_binary_dirt_is_cleaned_and_the_rest_is_left_alone(story):
    dirty = snapshot("#7 long 1 @ 10, #8 long 0.30000000000000004 @ 1.1000000000000001", extended=True, raw=b"as it came")
    cleaned = validate(dirty, story.portfolio, now_msc=at(NOW))
    assert [(one.volume, one.price_open) for one in cleaned.positions] == [(1, 10), (Decimal("0.3"), Decimal("1.1"))]
    assert (cleaned.raw, cleaned.evidence) == (b"as it came", dirty.evidence)


def test_a_price_with_more_decimals_than_are_stored_is_an_average_and_rounded_once(story):
    (row,) = accept(story, "#8 long 1 @ 145.8066666666667").positions
    assert row.price_open == Decimal("145.80666667")


def test_a_clean_snapshot_is_returned_as_it_is(story):
    clean = snapshot("#7 long 1 @ 10", extended=True)
    assert validate(clean, story.portfolio, now_msc=at(NOW)) is clean


def test_an_unknown_open_price_stays_unknown(story):
    (row,) = accept(story, "#8 long 1 @ ?").positions
    assert row.price_open is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"volume": Decimal("0.123456789")},
        {"volume": Decimal("1e-9")},
        {"volume": Decimal("1e12")},
        {"volume": Decimal(0)},
        {"volume": Decimal(-1)},
        {"price_open": Decimal("1e15")},
        {"comment": "a\0b"},
        {"symbol": " "},
        {"ticket": 2**63, "position_id": 2**63},
        {"position_id": -1},
        {"opened_msc": -5},
    ],
)
def test_what_could_not_be_stored_refuses_the_snapshot_with_the_row(story, wrong):
    (row,) = rows("#8 long 1 @ 10")
    seen = Snapshot(positions=(*rows("#7 long 1 @ 10"), attrs.evolve(row, **wrong)), raw=b"", is_extended=True)
    with pytest.raises(SnapshotRefused) as refused:
        validate(seen, story.portfolio, now_msc=at(NOW))
    assert refused.value.row == 2


def test_a_dirty_volume_never_hides_behind_a_number_that_fits(story):
    """A row counts as known only if volume and price are both ours to the last digit."""
    assert refusal(story, "#7 long 1.000000001 @ 10").row == 1
    assert refusal(story, "#7 long 1.000000001 @ 10.0000000000000001").row == 1


# -------------------------------------------------------------------------------------------------------- as events state it


def test_a_remote_position_is_quoted_in_full():
    (row,) = rows("#7 short 1 @ 10 ticket 99 magic 5 comment EA opened 3 updated 4")
    quoted = state_of(row)
    assert quoted == state("short 1 @ 10", ticket=99, magic=5, comment="EA", opened_msc=at(3), updated_msc=at(4))
    assert state_of(row, position_id=70).position_id == 70
