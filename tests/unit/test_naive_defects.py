"""What a naive reconciler gets wrong: each story is recorded by it and by ours. It must fail, and ours must not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

import pytest
import zmq

from ledger import FillRecorded, GatewayError, GatewayTimeout, Ledger, Snapshot, StateReconciler, SyncStatus
from ledger.gateway.client import ZmqGateway
from ledger.protocol.read import read_snapshot
from ledger.reconciler import SyncResult
from tests.support.broker import ACCOUNT, Desk, ScriptedGateway, Watch, kinds, reconciler
from tests.support.naive import NaiveClient, NaiveReconciler
from tools.testkit.stories import START_MSC, Story, at

WINTER = START_MSC // 1000


def row(ticket: object, side: str, volume: object, price: object, symbol: str = "EURUSD", **other: Any) -> dict[str, Any]:
    """Return a row of the base form."""
    shown = {
        "ticket": ticket,
        "symbol": symbol,
        "type": side,
        "volume": volume,
        "price_open": price,
        "profit": 0,
        "time": WINTER,
    }
    return shown | other


class JsonGateway(ScriptedGateway):
    """A gateway whose answers are JSON, read as those of a real one are."""

    answer: dict[str, Any] | None = None

    def positions(self) -> Snapshot:
        self.calls.append("positions")
        if self.answer is None:
            raise GatewayTimeout("no answer")
        return read_snapshot(json.dumps(self.answer).encode())


class Both:
    """A naive reconciler and ours, with the same fills of the engine and the same positions of the broker."""

    def __init__(self, mode: str = "hedging") -> None:
        self.watch = Watch()
        self.story = Story(mode, now_us=self.watch)
        self.broker = JsonGateway(now_us=self.watch)
        self.ours = reconciler(self.story.account, self.broker, self.watch)
        self.asked = 0
        self.naive = NaiveReconciler(self._ask, self.watch.monotonic)
        self.show()

    def fill(
        self, deal: int, ticket: int, side: str, volume: str, price: str, *, symbol: str = "EURUSD", entry: str = "in"
    ) -> None:
        """Record a fill of the engine in both."""
        recorded = FillRecorded(
            deal=deal, position_id=ticket, symbol=symbol, side=side, entry=entry, volume=volume, price=price, time_msc=at(deal),
            commission=0, fee=0, swap=0, profit=0,
        )  # fmt: skip
        self.story.account.record(recorded)
        self.naive.fill(ticket, symbol, side, float(volume), float(price))
        self.watch.move(60)

    def show(self, *rows: dict[str, Any]) -> None:
        """Have the broker show these rows."""
        self.broker.answer = {"status": "SUCCESS", "positions": list(rows)}

    def sync(self) -> SyncResult:
        """Let both sync."""
        self.watch.move(15)
        self.naive.sync()
        return self.ours.sync_positions()

    @property
    def left(self) -> str:
        return self.story.left

    def _ask(self) -> dict[str, Any] | None:
        self.asked += 1
        return self.broker.answer


def test_1_a_short_in_agreement_is_no_drift():
    both = Both()
    both.fill(1, 7, "sell", "0.1", "1.1")
    both.show(row(7, "sell", 0.1, 1.1))
    appended = [both.sync().appended for _ in range(3)]
    assert appended == [0, 0, 0]
    assert both.naive.audit == ["drift of 7"] * 3


def test_2_two_positions_are_two_positions():
    both = Both()
    both.fill(1, 7, "buy", "0.1", "1.1")
    both.fill(2, 8, "buy", "0.2", "1.2")
    both.show(row(7, "buy", 0.1, 1.1), row(8, "buy", 0.2, 1.2))
    assert [both.sync().appended for _ in range(2)] == [0, 0]
    assert both.left == "#7 long 0.1 @ 1.1, #8 long 0.2 @ 1.2"
    assert both.naive.net == 0.2
    assert both.naive.audit == ["recovered 7", "recovered 8"] * 2


@pytest.mark.parametrize(
    "answer", [None, {}, {"status": "SUCCESS"}, {"status": "ERROR"}, {"status": "SUCCESS", "positions": None}]
)
def test_3_an_error_is_never_an_empty_list(answer):
    both = Both()
    both.fill(1, 7, "buy", "0.1", "1.1")
    both.broker.answer = answer
    for _ in range(3):
        assert both.sync().status is SyncStatus.DEGRADED
    assert both.left == "#7 long 0.1 @ 1.1"
    assert both.naive.net == 0


def test_4_both_spellings_of_the_answer_are_read():
    both = Both()
    both.fill(1, 7, "buy", "0.1", "1.1")
    shown = {
        "ticket": 7,
        "symbol": "EURUSD",
        "type": "BUY",
        "volume": 0.1,
        "open_price": 1.1,
        "current_price": 1.2,
        "profit": 1,
    }
    both.broker.answer = {"uuid": "1", "status": "ok", "positions": [shown], "timestamp": WINTER}
    assert (both.sync().status, both.left) == (SyncStatus.SUCCESS, "#7 long 0.1 @ 1.1")
    assert both.naive.net == 0


def test_5_symbols_are_never_added_up():
    both = Both("netting")
    both.fill(1, 7, "buy", "0.1", "1.1")
    both.fill(2, 8, "buy", "0.2", "1533.7", symbol="XAUUSD")
    assert both.left == "long 0.1 @ 1.1, XAUUSD long 0.2 @ 1533.7"
    assert (both.naive.symbol, both.naive.net, both.naive.price) == ("EURUSD", 0.2, 1533.7)


@pytest.mark.parametrize(("theirs", "noted"), [(1.1005, []), (1.15, ["price of 7 corrected"] * 2)], ids=["five pips", "more"])
def test_6_a_price_that_differs_is_corrected_and_then_agrees(theirs, noted):
    both = Both()
    both.fill(1, 7, "buy", "0.1", "1.1")
    both.show(row(7, "buy", 0.1, theirs))
    assert [both.sync().corrected for _ in range(2)] == [(7,), ()]
    assert both.left == f"#7 long 0.1 @ {theirs}"
    assert (both.naive.price, both.naive.audit) == (1.1, noted)


def test_7_one_ghost_closes_nothing_else():
    both = Both()
    both.fill(1, 8, "buy", "0.2", "1.2")
    both.fill(2, 7, "buy", "0.1", "1.1")
    both.show(row(8, "buy", 0.2, 1.2))
    both.sync()
    assert both.naive.net == 0
    assert both.sync().closed == (7,)
    assert both.left == "#8 long 0.2 @ 1.2; ghost result 0.1"


def test_8_a_partial_close_leaves_the_open_price():
    both = Both()
    both.fill(1, 7, "buy", "0.3", "1.1")
    both.fill(2, 7, "sell", "0.1", "1.5", entry="out")
    assert both.left == "#7 long 0.2 @ 1.1"
    assert both.naive.price == 1.5


def test_9_a_fill_recorded_twice_counts_once():
    both = Both()
    for _ in range(2):
        both.fill(1, 7, "buy", "0.3", "1.1")
    assert both.left == "#7 long 0.3 @ 1.1"
    assert both.naive.net == 0.6


def test_10_what_is_closed_is_nothing_and_not_nearly_nothing():
    both = Both()
    both.fill(1, 7, "buy", "0.3", "1.1")
    both.fill(2, 7, "sell", "0.1", "1.1", entry="out")
    both.fill(3, 7, "sell", "0.2", "1.1", entry="out")
    assert both.left == "flat"
    assert both.naive.net < 0


def test_11_startup_recovery_twice_is_once():
    both = Both()
    both.show(row(7, "buy", 0.1, 1.1))
    for _ in range(2):
        both.naive.startup_recovery()
    assert [both.ours.startup_recovery().recovered for _ in range(2)] == [(7,), ()]
    assert both.left == "#7 long 0.1 @ 1.1"
    assert both.naive.orders == [7, 7]


def test_12_a_gateway_that_fails_is_not_hammered():
    both = Both()
    both.broker.answer = None
    for _ in range(100):
        both.ours.sync_continuous()
        both.naive.sync_continuous()
        both.watch.move(0.1)
    assert len(both.broker.calls) == 1
    assert both.asked == 100


@pytest.mark.parametrize(
    ("wrong", "field", "naive_net"),
    [
        ({"volume": "a lot"}, "volume", 0.0),  # everything is gone
        ({"type": None}, "type", -0.5),
        ({"ticket": 0}, "ticket", 0.1),  # as if it were not there
    ],
)
def test_13_a_bad_row_is_named_and_nothing_is_made_of_it(wrong, field, naive_net):
    both = Both()
    both.fill(1, 7, "buy", "0.1", "1.1")
    both.show(row(7, "buy", 0.1, 1.1), row(8, "buy", 0.5, 1.2) | wrong)
    result = both.sync()
    assert (result.status, both.left) == (SyncStatus.DEGRADED, "#7 long 0.1 @ 1.1")
    assert f"row 2, {field}" in str(result.reason)
    assert both.naive.net == naive_net


def test_13_a_missing_type_is_no_buy():
    both = Both()
    shown = row(8, "sell", 0.5, 1.2)
    del shown["type"]
    both.show(shown)
    result = both.sync()
    assert (result.status, both.left) == (SyncStatus.DEGRADED, "flat")
    assert "row 1, type" in str(result.reason)
    assert both.naive.net == 0.5


@contextmanager
def a_server_that_drops_the_first_request() -> Iterator[str]:
    """Answer every request but the first of each client, at an endpoint of this machine."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    stopped = threading.Event()

    def serve() -> None:
        asked = 0
        while not stopped.is_set():
            if not socket.poll(20):
                continue
            *route, request = socket.recv_multipart()
            asked += 1
            if asked > 1:
                answer = {
                    "status": "SUCCESS",
                    "positions": [row(7, "buy", 0.1, 1.1)],
                    "req_id": json.loads(request).get("req_id"),
                }
                socket.send_multipart([*route, json.dumps(answer).encode()])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        stopped.set()
        thread.join()
        socket.close()
        context.term()


def test_14_after_a_timeout_the_next_call_works():
    with a_server_that_drops_the_first_request() as endpoint, closing(ZmqGateway(endpoint, timeout_ms=300)) as gateway:
        with pytest.raises(GatewayError):
            gateway.positions()
        assert [one.ticket for one in until_answered(gateway.positions).positions] == [7]
    with a_server_that_drops_the_first_request() as endpoint, closing(NaiveClient(endpoint, timeout_ms=300)) as client:
        assert [client.ask() for _ in range(3)] == [None, None, None]


def until_answered(ask: Callable[[], Snapshot]) -> Snapshot:
    """Ask until there is an answer; a slow machine may need more than one deadline."""
    for _ in range(20):
        try:
            return ask()
        except GatewayTimeout:
            continue
    return ask()


def test_15_the_servers_clock_is_not_read_in_our_own_zone(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        both = Both()
        both.show(row(7, "buy", 0.1, 1.1))
        both.sync()
        (position,) = both.story.portfolio.positions.values()
        assert position.opened_msc == START_MSC
        assert both.naive.opened_at is not None
        assert both.naive.opened_at.hour == 5  # it was ten at the broker's
    finally:
        monkeypatch.undo()
        time.tzset()


def test_16_the_result_of_what_was_closed_unseen_is_looked_up():
    desk = Desk("#7 buy 1 @ 10", extended=True)
    naive = NaiveReconciler(lambda: {"status": "SUCCESS", "positions": []}, desk.watch.monotonic)
    naive.fill(7, "EURUSD", "buy", 1, 10)
    desk.broker.report(desk.fill(50, side="sell", entry="out", price=12, profit=200))
    result = desk.sync()
    naive.sync()
    assert (kinds(result.events), desk.story.balance) == (["FillRecorded"], "200")
    assert (naive.realized, naive.audit) == (0, ["ghost 7 closed"])


def test_16_without_a_closing_deal_the_result_is_reported_as_unknown():
    desk = Desk("#7 buy 1 @ 10")
    desk.startup()
    assert (desk.left, desk.story.trades) == ("flat; ghost result 1", ["long 1 @ 10 to ?, 0?"])


def test_17_the_audit_trail_is_whole_and_survives_the_process(tmp_path):
    """Each loses its process after more corrections than a list of a thousand holds."""
    url = f"sqlite:///{tmp_path}/desk.db"
    desk = Desk(journal=url)
    shown = [row(number, "buy", 1, 10) for number in range(1, 1102)]
    naive = NaiveReconciler(lambda: {"status": "SUCCESS", "positions": shown}, desk.watch.monotonic)
    desk.broker.show(", ".join(f"#{number} long 1 @ 10" for number in range(1, 1102)))
    desk.startup()
    naive.sync()
    assert len(naive.audit) == 1000
    desk.account.ledger.close()
    with Ledger.create(url) as ledger:
        restarted = StateReconciler(ledger.account(ACCOUNT), desk.broker)
        trail = [one for one in restarted.get_audit_trail() if one.kind == "PositionRecovered"]
        assert len(trail) == 1101
    assert NaiveReconciler(lambda: None, desk.watch.monotonic).audit == []


def test_the_numbers_of_ours_are_exact():
    both = Both()
    both.fill(1, 7, "buy", "0.1", "1.1")
    both.show(row(7, "buy", 0.1 + 0.2 - 0.2, 1.1))
    assert both.sync().appended == 0
    assert both.story.portfolio.positions[7].volume == Decimal("0.1")
