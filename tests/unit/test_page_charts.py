"""The rows of a chart: fewer of them, with the same extremes, and with the same gaps."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger.page.charts import _merged

#: Runs of minutes with samples: how many minutes have none before it, and how many it has.
RUNS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), min_size=1, max_size=8)
VALUES = st.lists(st.integers(-50, 50), min_size=320, max_size=320)


def rows_of(runs: list[tuple[int, int]], values: list[int]) -> list[dict[str, Any]]:
    minutes: list[int] = []
    for gap, length in runs:
        begin = (minutes[-1] + 1 if minutes else 0) + gap
        minutes += range(begin, begin + length)
    return [
        {
            "begin": minute, "end": minute + 1, "open": str(value), "high": str(value + 2), "high_time": minute,
            "low": str(value - 2), "low_time": minute, "close": str(value), "close_time": minute, "samples": 1,
        }
        for minute, value in zip(minutes, values, strict=False)
    ]  # fmt: skip


def ends_before_gaps(rows: list[dict[str, Any]]) -> list[int]:
    return [before["end"] for before, after in pairwise(rows) if before["end"] != after["begin"]]


@given(runs=RUNS, values=VALUES, limit=st.integers(2, 60))
def test_fewer_rows_have_the_same_extremes_and_bridge_no_gap_while_there_is_room(runs, values, limit):
    rows = rows_of(runs, values)
    merged = _merged(rows, limit)
    assert len(merged) <= limit
    assert max(Decimal(one["high"]) for one in merged) == max(Decimal(one["high"]) for one in rows)
    assert min(Decimal(one["low"]) for one in merged) == min(Decimal(one["low"]) for one in rows)
    assert sum(one["samples"] for one in merged) == len(rows)
    assert (merged[0]["begin"], merged[-1]["end"]) == (rows[0]["begin"], rows[-1]["end"])
    assert merged[-1]["close"] == rows[-1]["close"]
    gaps = ends_before_gaps(rows)
    if len(gaps) + 1 <= limit // 2:
        assert ends_before_gaps(merged) == gaps
