"""The marks that syncs store, and the day's loss that is judged by them."""

from __future__ import annotations

import logging
from decimal import Decimal, localcontext
from typing import Any

import attrs
import pytest

from ledger import (
    BadValue,
    Denied,
    GatewayTimeout,
    JournalUnavailable,
    Ledger,
    Limits,
    OrderManager,
    OrderRequest,
    Side,
    StateReconciler,
    SyncStatus,
)
from ledger.marks import Mark
from ledger.reconciler.marks import mark_of
from ledger.snapshot import RemoteAccount
from tests.support.broker import ACCOUNT, Desk, ScriptedGateway, Watch, rows, snapshot
from tests.support.order_desk import OrderDesk

DAY_US = 86_400 * 1_000_000
TERMS = Desk().account.terms


def shown(story: str, profit: Any = 0, swap: Any = 0) -> Any:
    """Positions with their results."""
    given = {"profit": profit, "swap": swap}
    amounts: Any = {name: None if one is None else Decimal(str(one)) for name, one in given.items()}
    return [attrs.evolve(row, **amounts) for row in rows(story)]


def marks(desk: Desk) -> list[Mark]:
    return list(desk.account.marks())


def test_each_trusted_snapshot_leaves_a_mark():
    desk = Desk("#7 buy 1 @ 10, #8 buy 2 @ 10", extended=True)
    desk.broker.state(10_000, 50)
    desk.broker.show_rows(shown("#7 long 1 @ 10, #8 long 2 @ 10", "-252.25", "-0.3"))
    before_us = desk.watch.now_us
    assert desk.sync().status is SyncStatus.SUCCESS
    [mark] = marks(desk)
    assert before_us < mark.at_us < desk.watch.now_us
    assert mark == Mark(
        at_us=mark.at_us, server_msc=mark.server_msc, balance=Decimal(10_000), credit=Decimal(50),
        floating=Decimal("-505.1"), equity=Decimal("9544.9"),
    )  # fmt: skip
    assert mark.server_msc is not None
    assert abs(mark.server_msc - mark.at_us // 1000) <= 1
    assert desk.account.newest_mark() == mark
    desk.sync(2)
    assert len(marks(desk)) == 3


def test_a_sync_that_believed_nothing_leaves_none():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.broker.fail(GatewayTimeout("no answer"))
    assert desk.sync().status is SyncStatus.DEGRADED
    desk.broker.recover().amiss(connected=False)
    assert desk.sync().status is SyncStatus.DEGRADED
    assert marks(desk) == []


def test_a_disagreement_is_no_reason_to_leave_the_mark_out():
    desk = Desk("#7 buy 1 @ 10", extended=True)
    assert desk.sync().status is SyncStatus.PARTIAL
    assert [one.floating for one in marks(desk)] == [0]


def test_a_startup_of_several_snapshots_leaves_one_for_each():
    desk = Desk("#7 buy 1 @ 10", ghost_confirmations=4)
    desk.startup()
    assert len(marks(desk)) == 4


MONEY = RemoteAccount(
    login=1, server="s", currency="USD", mode=Desk().account.terms.opened.mode, balance=Decimal(1000), credit=Decimal(5)
)  # fmt: skip


@pytest.mark.parametrize(
    ("positions", "money", "words", "expected"),
    [
        ((), None, {}, {"floating": 0}),
        ((), MONEY, {}, {"floating": 0, "balance": 1000, "credit": 5, "equity": 1005}),
        (shown("#7 long 1 @ 10", 1, None), MONEY, {}, {"balance": 1000, "credit": 5}),
        (shown("#7 long 1 @ 10", None, 1), MONEY, {}, {"balance": 1000, "credit": 5}),
        (shown("#7 long 1 @ 10", 1, 2), MONEY, {"is_whole": False}, {"balance": 1000, "credit": 5}),
        (shown("#7 long 1 @ 10", 1, 2), attrs.evolve(MONEY, equity=Decimal(7), margin=Decimal(3)), {},
         {"balance": 1000, "credit": 5, "floating": 3, "equity": 7, "margin": 3, "is_equity_reported": True}),
        ((), None, {"is_time_doubted": True}, {"floating": 0, "server_msc": None}),
    ],
    ids=["base form", "flat", "no swap", "no profit", "not the whole account", "all reported", "clock in doubt"],
)  # fmt: skip
def test_what_is_not_shown_is_not_known(positions, money, words, expected):
    seen = attrs.evolve(snapshot(server_time_msc=5), positions=tuple(positions))
    words = {"is_whole": True, "is_time_doubted": False} | words
    assert mark_of(seen, money, 9, TERMS, **words) == Mark(**{"at_us": 9, "server_msc": 5} | expected)


def test_a_sum_is_never_rounded():
    positions = (*shown("#7 long 1 @ 10", "1e10"), *shown("#8 long 1 @ 10", "1e-6"))
    seen = attrs.evolve(snapshot(), positions=positions)
    with localcontext(prec=3):
        found = mark_of(seen, None, 9, TERMS, is_whole=True, is_time_doubted=False)
    assert found.floating == Decimal("10000000000.000001")


def test_amounts_are_cleaned_of_binary_dirt_and_what_no_money_has_is_not_known():
    """-0.1 - 0.2 of doubles, beside a balance with which so many decimals do not fit."""
    desk = Desk("#7 buy 1 @ 10", extended=True)
    desk.broker.state("99999941.52")
    desk.broker.show_rows(shown("#7 long 1 @ 10", repr(-0.1 - 0.2), repr(0.1 + 0.7)))
    desk.sync()
    [mark] = marks(desk)
    assert (mark.floating, mark.balance, mark.equity) == (Decimal("0.5"), Decimal("99999941.52"), Decimal("99999942.02"))
    desk.broker.show_rows(shown("#7 long 1 @ 10", "0.123456789012"))
    desk.sync()
    assert marks(desk)[-1].floating is None


@pytest.mark.parametrize("name", ["save_mark", "delete_marks"])
def test_what_happens_to_marks_never_fails_a_sync(name, monkeypatch, caplog):
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")

    def fail(*_: Any, **__: Any) -> None:
        raise JournalUnavailable("the disk is full")

    monkeypatch.setattr(desk.account.ledger.journal, name, fail)
    with caplog.at_level(logging.WARNING):
        assert desk.sync(2).status is SyncStatus.SUCCESS
    assert [one.message for one in caplog.records].count(f"{ACCOUNT}: a mark was not stored: the disk is full") == 1


def test_an_amount_that_does_not_fit_is_no_reason_to_fail():
    desk = Desk("#7 buy 1 @ 10")
    desk.broker.show_rows(shown("#7 long 1 @ 10", "1e-30"))
    assert desk.sync().status is SyncStatus.SUCCESS
    assert [one.floating for one in marks(desk)] == [None]


def test_old_marks_are_deleted_now_and_then(monkeypatch):
    desk = Desk(extended=True)
    deleted: list[int] = []
    delete = desk.account.ledger.journal.delete_marks

    def noted(account: Any, before_us: int) -> int:
        deleted.append(before_us)
        return delete(account, before_us)

    monkeypatch.setattr(desk.account.ledger.journal, "delete_marks", noted)
    desk.reconciler = StateReconciler(
        desk.account, desk.broker, policy=desk.policy, keep_marks_days=2, monotonic=desk.watch.monotonic, sleep=desk.watch.sleep
    )
    desk.sync(9)
    assert len(deleted) == 1
    before = [one.at_us for one in marks(desk)]
    desk.watch.move(2 * 86_400 - 20)
    desk.sync()
    assert len(deleted) == 2
    left = [one.at_us for one in marks(desk)]
    whole_minutes_us = (left[-1] - 2 * DAY_US) // 60_000_000 * 60_000_000
    assert left[:-1] == [at_us for at_us in before if at_us >= whole_minutes_us]
    assert 0 < len(left[:-1]) < len(before)


@pytest.mark.parametrize("days", [1, 36_501, 30.0, None])
def test_a_number_of_days_that_cannot_be_is_refused(days):
    desk = Desk()
    with pytest.raises(BadValue, match="keep_marks_days"):
        StateReconciler(desk.account, ScriptedGateway(now_us=desk.watch), keep_marks_days=days)


def test_a_dry_run_leaves_no_mark():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    assert desk.reconciler.dry_run().status is SyncStatus.SUCCESS
    assert marks(desk) == []


# ---- the day's loss, by marks that syncs stored

BUY = OrderRequest.market("EURUSD", "buy", "0.1")
HOUR_US = 3_600 * 1_000_000
SECOND = 1 / 3600
MIDNIGHT_US = Watch().now_us // DAY_US * DAY_US


class Day(OrderDesk):
    """An account of a server that shows UTC, with 10,000 and a position that is open from the first afternoon on."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway.state(10_000)
        self.gateway.trade(Side.BUY, "1")
        self.at(15, 0)

    def at(self, hour: float, floating: Any) -> None:
        """Go on to an hour behind the first midnight, UTC, and sync there while the position floats so."""
        results: Any = {"profit": Decimal(str(floating)), "swap": Decimal(0)}
        self.gateway.show_rows([attrs.evolve(row, **results) for row in self.gateway.positions().positions])
        self.watch.now_us = MIDNIGHT_US + round(hour * HOUR_US) - 15 * 1_000_000
        self.sync()

    def judge(self, **rules: Any) -> str:
        found = OrderManager(self.account, self.gateway, limits=Limits(daily_loss_max=500, **rules)).check_risk(BUY)
        return found.why if isinstance(found, Denied) else "allowed"


def test_a_day_that_begins_at_a_loss_counts_from_its_balance():  # O44
    day = Day()
    day.at(23 - SECOND, -330)  # midnight in Prague
    day.at(34, "-499.99")
    assert day.judge(day="Europe/Prague") == "allowed"
    day.at(34.1, -505)
    assert "expected a loss of at most 500 since the day began with 10000, found 505" in day.judge(day="Europe/Prague")


def test_the_day_is_the_firms_and_not_the_servers():
    day = Day()
    day.at(23 - SECOND, 0)  # midnight in Prague
    day.at(24 - SECOND, -330)  # midnight at the server
    day.at(34, -505)
    assert day.judge(day="server", daily_base="equity") == "allowed"
    assert "found 505" in day.judge(day="Europe/Prague", daily_base="equity")


@pytest.mark.parametrize("late_sec", [-61, 1])
def test_without_a_mark_when_the_day_began_new_risk_is_denied(late_sec):
    day = Day()
    day.at(23 + late_sec * SECOND, 0)
    day.at(34, 0)
    assert "what the account had when the day began could not be read" in day.judge(day="Europe/Prague")
    assert day.judge(day="Europe/Prague", daily_base="balance") == "allowed"


def test_a_mark_in_a_file_is_there_for_the_next_process(tmp_path):
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", journal=url)
    desk.sync()
    [mark] = marks(desk)
    desk.account.ledger.close()
    with Ledger.open(url) as again:
        assert again.account(ACCOUNT).newest_mark(at_us=mark.at_us) == mark
        assert again.account(ACCOUNT).newest_mark(at_us=mark.at_us - 1) is None
