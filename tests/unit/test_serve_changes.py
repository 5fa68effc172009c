"""What changed between two looks at a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.gateway.serve.changes import DEALS_EVERY_MS, DEALS_LATE_MS, DEALS_OVERLAP_MS, Watch, compare_rows

Row = dict[str, Any]


def position(ticket: int = 1, **more: Any) -> Row:
    return {"ticket": ticket, "volume": 0.1, "sl": 0.0, "profit": 1.0, "price_current": 1.1, **more}


def deal(ticket: int, time_msc: int) -> Row:
    return {"ticket": ticket, "time_msc": time_msc, "volume": 0.1}


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ([], [], []),
        ([position(1)], [position(1)], []),
        ([position(1)], [position(1, profit=7.0, price_current=1.2)], []),  # a tick is no change
        ([], [position(1)], [("added", 1)]),
        ([position(1)], [], [("removed", 1)]),
        ([position(1)], [position(1, volume=0.05)], [("changed", 1)]),
        ([position(1)], [position(1, sl=1.05)], [("changed", 1)]),
        ([position(1), position(2)], [position(2), position(3)], [("removed", 1), ("added", 3)]),
        ([position(1)], [{"ticket": 1, "volume": 0.1}], [("changed", 1)]),  # a field that is gone is a change
    ],
)
def test_how_two_lists_differ(before, after, changes):
    found = list(compare_rows("position", before, after))
    assert [(one.data["change"], one.data["position"]["ticket"]) for one in found] == changes
    assert {one.kind for one in found} <= {"position"}


def test_the_first_look_makes_no_events():
    watch = Watch()
    assert watch.see_lists([position(1)], [position(9)], at_ms=0) == []
    assert watch.see_deals([deal(5, 1000)], from_msc=0, at_ms=0) == []
    assert watch.see_account({"balance": 1.0}) == []


def test_orders_and_positions_have_events_of_their_own():
    watch = Watch()
    watch.see_lists([], [position(9)], at_ms=0)
    changes = watch.see_lists([position(9)], [], at_ms=200)
    assert [(one.kind, one.data["change"]) for one in changes] == [("order", "removed"), ("position", "added")]


def test_a_deal_is_an_event_once_and_carries_its_complete_row():
    watch = Watch()
    watch.see_deals([deal(5, 100_000)], from_msc=0, at_ms=0)
    from_msc = watch.deals_from_msc(0)
    assert from_msc == 100_000 - DEALS_OVERLAP_MS
    rows = [deal(5, 100_000), deal(6, 100_000)]
    (change,) = watch.see_deals(rows, from_msc=from_msc, at_ms=0)
    assert (change.kind, change.data) == ("deal", rows[1])
    assert watch.see_deals(rows, from_msc=from_msc, at_ms=0) == []


def test_a_deal_that_arrives_late_is_an_event_all_the_same():
    watch = Watch()
    watch.see_deals([deal(5, 100_000)], from_msc=0, at_ms=0)
    late = deal(4, 99_000)
    assert [one.data["ticket"] for one in watch.see_deals([late, deal(5, 100_000)], from_msc=40_000, at_ms=0)] == [4]


def test_deals_that_left_the_window_are_forgotten():
    watch = Watch()
    watch.see_deals([deal(1, 1_000)], from_msc=0, at_ms=0)
    watch.see_deals([deal(2, 900_000)], from_msc=0, at_ms=0)
    watch.see_deals([deal(2, 900_000)], from_msc=watch.deals_from_msc(0), at_ms=0)
    assert watch._deals == {2: 900_000}


def test_deals_are_read_at_intervals_and_for_a_while_after_a_change():
    watch = Watch()
    assert watch.needs_deals(0)
    watch.see_lists([], [], at_ms=0)
    watch.see_deals([], from_msc=0, at_ms=0)
    assert not watch.needs_deals(DEALS_EVERY_MS - 1)
    assert watch.needs_deals(DEALS_EVERY_MS)
    watch.see_deals([], from_msc=0, at_ms=DEALS_EVERY_MS)
    now_ms = DEALS_EVERY_MS + 200
    assert not watch.needs_deals(now_ms)
    watch.see_lists([position(1)], [], at_ms=now_ms)
    watch.see_deals([], from_msc=0, at_ms=now_ms)
    assert watch.needs_deals(now_ms + DEALS_LATE_MS)
    assert not watch.needs_deals(now_ms + DEALS_LATE_MS + 1)


def test_money_is_an_event_and_its_marks_are_none():
    watch = Watch()
    watch.see_account({"balance": 100.0, "equity": 100.0})
    assert watch.see_account({"balance": 100.0, "equity": 90.0}) == []
    (change,) = watch.see_account({"balance": 130.0, "equity": 130.0})
    assert (change.kind, change.data["account"]["balance"]) == ("account", 130.0)
