"""The push stream: events arrive in order, lost ones are asked for, and whatever cannot be made up for is a reason to look."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import pytest
import zmq

from ledger import Ledger
from ledger.daemon import Daemon, Job
from ledger.errors import GatewayDenied, GatewayRefused, GatewayTimeout
from ledger.gateway import push
from ledger.gateway.client import ZmqGateway
from ledger.gateway.curve import authorise, load_client_keys, load_server_keys, make_keys
from ledger.gateway.push import PushStream, push_endpoint
from ledger.gateway.serve.changes import Change
from ledger.gateway.serve.publisher import Publisher
from ledger.gateway.serve.store import Event
from ledger.reconciler import StateReconciler, SyncResult, SyncStatus
from ledger.snapshot import PushedEvent, RemoteService
from ledger.systemd import SystemdNotifier
from tests.gateway.terminals import until
from tests.support.service import GIVE_UP_MS, GIVE_UP_SEC, ServedTerminal

ACCOUNT: Final = (7, "Desk")
HOUR_SEC: Final = 3_600.0


class Gateway:
    """A gateway whose stream a test publishes event by event, and whose stored events it chooses."""

    def __init__(self) -> None:
        self.publisher = Publisher()
        self.publisher.open()
        self.store, self.epoch, self.seq = "a", 1, 0
        self.stored: list[int] = []
        self.asked: list[int] = []
        self.pings = 0
        self.is_silent = False
        self.is_version_1 = False
        self.refuses = False
        self.heard: queue.Queue[PushedEvent | None] = queue.Queue()
        self.stream: PushStream | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            self.stream.close()
        self.publisher.close()

    def listen(self, **more: Any) -> None:
        """Start a stream, and wait until it hears the heartbeats."""
        self.stream = PushStream("tcp://127.0.0.1:1", lambda: self, self.heard.put, **more)
        self.until(lambda: self.stream is not None and self.stream.is_alive)
        assert self.next() is None, "what changed before it could be heard is a reason to look"

    def until(self, condition: Callable[[], bool]) -> None:
        """Beat until something is so."""
        give_up = time.monotonic() + GIVE_UP_SEC
        while not condition():
            assert time.monotonic() < give_up, "it did not come to be so"
            self.beat()
            time.sleep(0.01)

    def beat(self) -> None:
        self.publisher.beat(store=self.store, epoch=self.epoch, seq=self.seq, at_msc=1, account=ACCOUNT)

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            event = Event(seq=number, epoch=self.epoch, kind="deal", at_msc=1, data={"ticket": number})
            self.publisher.publish(event, store=self.store, account=ACCOUNT)
            self.seq = number

    def next(self) -> int | None:
        event = self.heard.get(timeout=GIVE_UP_SEC)
        return None if event is None else event.seq

    # ---- as the stream asks

    def ping(self) -> RemoteService | None:
        self.pings += 1
        if self.is_silent:
            raise GatewayTimeout("nobody is there")
        if self.refuses:
            raise GatewayRefused("PING", code="UNKNOWN_ACTION")
        if self.is_version_1:
            return None
        return RemoteService(
            protocol=2, can=frozenset({"push"}), store=self.store, epoch=self.epoch, seq=self.seq, push_port=self.publisher.port
        )

    def events(self, *, after_seq: int) -> tuple[PushedEvent, ...]:
        self.asked.append(after_seq)
        found = [number for number in self.stored if number > after_seq]
        if not found or found[0] != after_seq + 1:
            raise GatewayRefused("GET_EVENTS", code="GAP")
        return tuple(
            PushedEvent(store=self.store, epoch=self.epoch, seq=number, kind="deal", at_msc=1, data={}) for number in found[:2]
        )

    def close(self) -> None:
        pass


@pytest.fixture
def gateway():
    with Gateway() as gateway:
        yield gateway


def test_events_arrive_in_their_order(gateway):
    gateway.listen()
    gateway.publish(1, 2, 3)
    assert [gateway.next() for _ in range(3)] == [1, 2, 3]
    assert gateway.asked == []


def test_what_was_before_is_no_event(gateway):
    gateway.seq = 40
    gateway.listen()
    gateway.publish(41)
    assert gateway.next() == 41


def test_a_stream_that_ended_is_not_alive(gateway, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def end(_: PushedEvent | None) -> None:
        raise RuntimeError("the listener is gone")

    gateway.stream = PushStream("tcp://127.0.0.1:1", lambda: gateway, end)
    gateway.until(lambda: gateway.stream is not None and not gateway.stream._thread.is_alive())
    assert not gateway.stream.is_alive


def test_lost_events_are_asked_for_as_often_as_it_takes(gateway):
    gateway.listen()
    gateway.stored = [1, 2, 3, 4, 5]
    gateway.publish(5)
    assert [gateway.next() for _ in range(5)] == [1, 2, 3, 4, 5]
    assert gateway.asked == [0, 2, 4]
    gateway.publish(6)
    assert gateway.next() == 6


def test_a_heartbeat_shows_that_the_newest_event_was_lost(gateway):
    gateway.listen()
    gateway.stored = [1]
    gateway.seq = 1
    gateway.beat()
    assert gateway.next() == 1


def test_a_gap_that_cannot_be_filled_is_a_reason_to_look(gateway):
    gateway.listen()
    gateway.stored = [4, 5]
    gateway.publish(5)
    assert gateway.next() is None
    gateway.publish(6)
    assert gateway.next() == 6


def test_a_jump_of_numbers_is_asked_for_and_another_epoch_is_followed(gateway):
    """O41: 9 comes after 5."""
    gateway.seq = 4
    gateway.listen(silent_sec=HOUR_SEC)
    gateway.publish(5)
    assert (gateway.next(), gateway.asked) == (5, [])
    gateway.stored = [6, 7, 8, 9]
    gateway.publish(9)
    assert [gateway.next() for _ in range(4)] == [6, 7, 8, 9]
    assert gateway.asked[0] == 5
    gateway.epoch = 2  # the service was started again with its store: its numbers go on
    gateway.publish(10)
    assert gateway.next() == 10
    gateway.store, gateway.epoch, gateway.seq = "b", 1, 0  # with another one: nobody knows what was between
    gateway.publish(1)
    assert gateway.next() is None


def test_another_store_is_a_reason_to_look(gateway):
    gateway.listen(silent_sec=HOUR_SEC)
    gateway.publish(1)
    assert gateway.next() == 1
    gateway.store = "b"
    gateway.publish(2)  # as if it were the next one
    assert gateway.next() is None
    gateway.publish(3)
    assert gateway.next() == 3


def test_a_lower_number_is_an_older_copy_of_the_store(gateway):
    gateway.seq = 10
    gateway.listen(silent_sec=HOUR_SEC)
    gateway.publish(11)
    assert gateway.next() == 11
    gateway.publish(5)
    assert gateway.next() is None
    gateway.publish(6)
    assert gateway.next() == 6


def test_what_is_recovered_already_is_not_delivered_twice(gateway):
    gateway.listen()
    gateway.stored = [1, 2, 3]
    gateway.publish(2, 3, 4)
    assert [gateway.next() for _ in range(4)] == [1, 2, 3, 4]


def test_a_message_that_is_none_is_left_alone(gateway):
    gateway.listen()
    for raw in (
        b"",
        b"[]",
        b"{}",
        b'{"store":1}',
        b"\xff",
        b"[" * 100_000,
        b'{"store":"a","epoch":1,"seq":-1,"kind":"deal","at_msc":1}',
    ):
        gateway.publisher._socket.send_multipart([b"LEDGER/Desk/7/deal", raw])
    gateway.publish(1)
    assert gateway.next() == 1


def test_a_silent_stream_is_dead_until_it_is_heard_again(gateway):
    gateway.listen(silent_sec=0.05)
    pings = gateway.pings
    until(lambda: not gateway.stream.is_alive, "the silence")
    gateway.until(lambda: gateway.stream.is_alive)
    assert gateway.pings > pings


def test_a_stream_that_came_back_with_another_store_is_a_reason_to_look(gateway):
    gateway.listen(silent_sec=0.05)
    gateway.publish(1)
    assert gateway.next() == 1
    gateway.store = "b"
    until(lambda: not gateway.stream.is_alive, "the silence")
    gateway.until(lambda: gateway.stream.is_alive)
    assert gateway.next() is None


def test_a_gateway_of_version_1_has_no_stream(gateway):
    gateway.is_version_1 = True
    gateway.stream = PushStream("tcp://127.0.0.1:1", lambda: gateway, gateway.heard.put)
    until(lambda: gateway.pings > 0, "the question")
    gateway.publish(1)
    gateway.stream.close()
    assert gateway.heard.empty()
    assert not gateway.stream.is_alive


def test_a_gateway_that_refuses_ping_has_no_stream_and_is_not_asked_each_moment(gateway, monkeypatch):
    monkeypatch.setattr(push, "RETRY_SEC", 0.0)  # as for one that does not answer
    monkeypatch.setattr(push, "RETRY_WITHOUT_SEC", HOUR_SEC)
    gateway.refuses = True
    waits: queue.Queue[float] = queue.Queue()
    monkeypatch.setattr(push, "Event", lambda: Closing(waits))
    gateway.stream = PushStream("tcp://127.0.0.1:1", lambda: gateway, gateway.heard.put)
    assert waits.get(timeout=GIVE_UP_SEC) == HOUR_SEC


class Closing(threading.Event):
    """Whether a stream is closed; notes how long it waits for that."""

    def __init__(self, waits: queue.Queue[float]) -> None:
        super().__init__()
        self._waits = waits

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._waits.put(timeout)
        return super().wait(timeout)


@pytest.mark.parametrize(
    ("endpoint", "stream"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556"),
        ("tcp://[::1]:5555", "tcp://[::1]:5556"),
        ("tcp://desk.example:5555", "tcp://desk.example:5556"),
    ],
)
def test_the_stream_is_on_the_host_that_answers(endpoint, stream):
    assert push_endpoint(endpoint, 5556) == stream


def test_a_reader_that_never_reads_delays_nobody():
    publisher = Publisher(waiting_max=10)
    publisher.open()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    slow, quick = context.socket(zmq.SUB), context.socket(zmq.SUB)
    for socket in (slow, quick):
        socket.setsockopt(zmq.SUBSCRIBE, b"LEDGER/")
        socket.linger = 0
    slow.rcvhwm = 1
    slow.setsockopt(zmq.RCVBUF, 1024)
    quick.rcvhwm = 0
    for socket in (slow, quick):
        socket.connect(publisher.endpoint)
        while not socket.poll(0):
            publisher.beat(store="a", epoch=1, seq=0, at_msc=1, account=ACCOUNT)
            threading.Event().wait(0.005)
    event = Change("deal", {"text": "x" * 1000})
    for number in range(1, 20_001):  # 20 MB, none of which the slow reader takes
        publisher.publish(
            Event(seq=number, epoch=1, kind=event.kind, at_msc=1, data=dict(event.data)), store="a", account=ACCOUNT
        )
        if number % 5 == 0:
            while quick.poll(0):
                quick.recv_multipart()

    def is_newest_heard() -> bool:  # what was lost in between is no matter
        publisher.beat(store="a", epoch=1, seq=20_000, at_msc=1, account=ACCOUNT)
        return bool(quick.poll(5)) and json.loads(quick.recv_multipart()[1])["seq"] == 20_000

    until(is_newest_heard, "the newest event")
    slow.close()
    quick.close()
    context.term()
    publisher.close()


# ---- what it is for


@pytest.fixture
def served(tmp_path):
    with ServedTerminal(tmp_path, terminal={"positions": 2, "clock": "ny-close"}) as served:
        served.until_connected()
        yield served


def reconciler_of(ledger: Ledger, served: ServedTerminal, **more: Any) -> StateReconciler:
    gateway = ZmqGateway(served.endpoint, timeout_ms=GIVE_UP_MS)
    return StateReconciler(ledger.account("Sandbox-Demo", 70113), gateway, sync_interval_sec=HOUR_SEC, clock="ny-close", **more)


def trade(served: ServedTerminal) -> int:
    """Trade manually, and return the ticket of the deal."""
    (deal,) = served.terminal.control("trade", symbol="EURUSD", side="buy", volume="0.10")["deals"]
    return int(deal["ticket"])


def test_a_deal_wakes_a_reconciler_that_would_look_in_an_hour(served):
    async def engine(ledger: Ledger) -> None:
        reconciler = reconciler_of(ledger, served)
        results: asyncio.Queue[SyncResult] = asyncio.Queue()
        running = asyncio.create_task(reconciler.run(on_result=results.put_nowait))
        async with asyncio.timeout(GIVE_UP_SEC):
            assert (await results.get()).status is SyncStatus.SUCCESS
            await asyncio.to_thread(until, lambda: reconciler.is_following, "the stream")
            ticket = await asyncio.to_thread(trade, served)
            booked: Sequence[int] = ()
            while ticket not in booked:
                booked = (await results.get()).fills
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not reconciler.is_following
        reconciler.gateway.close()

    with Ledger.open("memory://") as ledger:
        asyncio.run(engine(ledger))


def test_a_deal_wakes_the_daemon(served, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    results: queue.Queue[SyncResult] = queue.Queue()
    stopping = threading.Event()
    with Ledger.open("memory://") as ledger:
        daemon = Daemon(
            [Job(name="desk", interval_sec=HOUR_SEC, open=lambda: reconciler_of(ledger, served))],
            log=lambda *_, **__: None,
            notifier=SystemdNotifier(),
            on_result=lambda _, result: results.put(result),
        )
        thread = threading.Thread(target=daemon.run, args=(stopping,))
        thread.start()
        assert results.get(timeout=GIVE_UP_SEC).status is SyncStatus.SUCCESS
        until(lambda: daemon.reconcilers[0].is_following, "the stream")
        ticket = trade(served)
        booked: Sequence[int] = ()
        while ticket not in booked:
            booked = results.get(timeout=GIVE_UP_SEC).fills
        stopping.set()
        thread.join()


def test_a_call_that_blocks_degrades_the_sync_and_closes_nothing(tmp_path):
    with ServedTerminal(tmp_path, patience_sec=0.05, terminal={"positions": 2, "clock": "ny-close"}) as served:
        served.until_connected()
        with Ledger.open("memory://") as ledger:
            reconciler = reconciler_of(ledger, served)
            assert reconciler.startup_recovery().status is SyncStatus.SUCCESS
            before = dict(reconciler.account.portfolio.positions)
            assert len(before) == 2
            served.block(HOUR_SEC)
            served.until("the call", call="orders_get")
            result = reconciler.sync_positions()
            assert result.status is SyncStatus.DEGRADED
            assert result.reason is not None
            assert "BUSY the terminal process has been inside orders_get" in result.reason
            assert (result.closed, result.fills) == ((), ())
            assert not reconciler.safe_to_trade().is_safe
            served.kill_terminal_process()
            while (again := reconciler.sync_positions()).status is not SyncStatus.SUCCESS:
                assert (again.status, again.closed) == (SyncStatus.DEGRADED, ())
            assert dict(reconciler.account.portfolio.positions) == before
            reconciler.gateway.close()


def test_with_keys_only_a_listed_client_hears_the_stream(tmp_path):
    for name in ("server", "desk", "stranger"):
        make_keys(tmp_path, name)
    authorise(tmp_path / "desk.key", tmp_path / "authorised")
    keys = {"keys": load_server_keys(tmp_path / "server.key_secret"), "authorised": tmp_path / "authorised"}
    with ServedTerminal(tmp_path, **keys) as served:
        heard: dict[str, queue.Queue[PushedEvent | None]] = {"desk": queue.Queue(), "stranger": queue.Queue()}
        own = {name: load_client_keys(tmp_path / f"{name}.key_secret", tmp_path / "server.key") for name in heard}
        with ZmqGateway(served.endpoint, keys=own["desk"], timeout_ms=GIVE_UP_MS) as gateway:
            desk = gateway.subscribe(heard["desk"].put)
            stranger = PushStream(served.endpoint, lambda: gateway, heard["stranger"].put, keys=own["stranger"])
            until(lambda: desk.is_alive, "the stream")
            assert heard["desk"].get(timeout=GIVE_UP_SEC) is None
            trade(served)
            event = heard["desk"].get(timeout=GIVE_UP_SEC)
            assert event is not None
            assert not stranger.is_alive
            assert heard["stranger"].empty()
            desk.close()
            stranger.close()
        with ZmqGateway(served.endpoint, keys=own["stranger"], timeout_ms=GIVE_UP_MS) as gateway, pytest.raises(GatewayDenied):
            gateway.ping()
