"""The bench: its journals are as described, and it distinguishes slow from fast."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from ledger import Ledger


def test_the_same_seed_makes_the_same_journal():
    from tools.bench.journals import generate_events

    assert list(islice(generate_events(500, seed=3, nets=False), 500)) == list(generate_events(500, seed=3, nets=False))
    assert list(generate_events(500, seed=3, nets=False)) != list(generate_events(500, seed=4, nets=False))


@pytest.mark.parametrize("nets", [False, True], ids=["hedging", "netting"])
def test_a_journal_holds_what_an_engine_and_its_reconciler_record(nets, tmp_path):
    from tools.bench.journals import make_journal

    url = make_journal(f"sqlite:///{tmp_path}/made.db", 6000, nets=nets)
    with Ledger.open(url) as ledger:
        [account] = ledger.accounts()
        assert account.version == 6000
        assert account.verify().problems == ()
        kinds = Counter(row.kind for row in ledger.journal.rows(account.name))
        assert kinds["FillRecorded"] > 5000
        assert kinds["DealCompleted"] > 50
        assert kinds["CashMoved"] > 5
        assert kinds.keys() & {"DriftCorrected", "GhostClosed", "PositionRecovered"}
        assert any(row.placement == 1 and row.kind == "FillRecorded" for row in ledger.journal.rows(account.name))
        assert account.portfolio.breaks == ()


def test_a_row_states_what_was_measured_and_whether_that_is_enough():
    from tools.bench.paths import Path as Row
    from tools.bench.paths import measured

    figures = iter([1.0, 5.0, 3.0])
    row = measured(Row(name="n", unit="ms", ours=lambda: next(figures), reference=lambda: 2.0, target=1.5, by_ratio=True), 3)
    assert row == {
        "name": "n", "unit": "ms", "ours": 3.0, "reference": 2.0, "ratio": 1.5, "target": 1.5, "by_ratio": True,
        "better": "lower", "reached": True,
    }  # fmt: skip
    assert measured(Row(name="n", unit="", ours=lambda: 3.0, target=2), 1)["reached"] is False
    assert measured(Row(name="n", unit="", ours=lambda: 3.0, target=2, better="higher"), 1)["reached"] is True


@pytest.mark.parametrize(
    ("better", "ratio", "is_slower"),
    [("lower", 2.1, True), ("lower", 1.9, False), ("higher", 0.49, True), ("higher", 0.51, False)],
)
def test_a_path_is_slower_when_it_takes_more_than_twice_as_long(better, ratio, is_slower):
    from tools.bench import run as bench
    from tools.bench.paths import Path as Row

    path = Row(name="n", unit="", ours=lambda: 1.0, target=None, better=better)
    assert bench._is_slower(path, ratio, 1.0) is is_slower
    assert bench._is_slower(path, ratio, None) is False


def test_the_rows_about_the_service_are_measured_over_a_real_one(tmp_path):
    from tools.bench.service import ServiceSizes, service_paths

    sizes = ServiceSizes(positions=3, syncs=2, pushes=2, pings=3, clients=1)
    rows = {path.name: path for path in service_paths(tmp_path, sizes)}
    assert {name: (path.target, path.by_ratio) for name, path in rows.items()} == {
        "sync of 3 agreeing positions through the service": (2.5, True),
        "sync of 3 agreeing positions through the service, to bytes that are ready-made": (None, False),
        "PING while 1 clients ask for 3 positions, p99": (50, False),
        "a trade in the terminal to callback, p99": (300, False),
        "push to callback, p99": (300, False),
    }
    assert all(path.ours() >= 0 and (path.reference is None or path.reference() > 0) for path in rows.values())


def test_a_percentile_is_a_value_that_was_measured():
    from tools.bench.service import percentile

    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
    assert percentile([float(number) for number in range(1, 201)], 99) == 198.0
    assert percentile([float(number) for number in range(1, 201)], 50) == 100.0


def test_the_row_of_an_order_measures_orders_that_are_filled(tmp_path):
    from tools.bench.orders import order_paths
    from tools.bench.paths import measured

    row = measured(next(order_paths(tmp_path, orders=2)), 1)
    assert (row["unit"], row["by_ratio"], row["ours"] > 0, row["reference"] > 0) == ("ms", True, True, True)
    with Ledger.open(f"sqlite:///{tmp_path}/orders.db") as ledger:
        [account] = ledger.accounts()
        kinds = Counter(row.kind for row in ledger.journal.rows(account.name))
    assert kinds["OrderIntended"] == kinds["OrderAnswered"] == kinds["FillRecorded"] == 12
