"""The daemon's rules, with reconcilers that do as a test defines: workers that die or hang, and when the watchdog is fed."""

from __future__ import annotations

import time
from threading import Event, Thread
from typing import Any, cast

import pytest

from ledger import AccountId, AccountUnknown, GatewayDenied, GatewayTimeout, SyncResult, SyncStatus
from ledger.daemon import Daemon, End, Job
from ledger.systemd import SystemdNotifier
from tests.gateway.terminals import until


class Notes:
    """A notifier that writes down."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.fed = 0

    def send(self, words: str) -> None:
        self.sent.append(words)

    def alive(self) -> None:
        self.fed += 1


class Reconciler:
    """Does one thing after another at each attempt: raises what is an error, waits for what is an event, else succeeds."""

    def __init__(self, name: str, *script: Any) -> None:
        self.name = AccountId.parse(name)
        self.script = list(script)
        self.synced = 0
        self.sync_interval_sec = 0.001
        self.is_due = True
        self.closed = 0
        self.is_followed = False
        self.gateway = self.account = self

    def close(self) -> None:
        self.closed += 1

    def listen(self, heard: Any) -> None:
        self.heard = heard

    def follow(self) -> None:
        self.is_followed = True

    def unfollow(self) -> None:
        self.is_followed = False

    def wait(self, timeout_sec: float) -> None:
        time.sleep(timeout_sec)

    def startup_recovery(self) -> SyncResult:
        return self.sync_continuous()

    def sync_continuous(self) -> SyncResult:
        then = self.script.pop(0) if self.script else None
        if isinstance(then, BaseException):
            raise then
        if isinstance(then, Event):
            then.wait(20)
        self.synced += 1
        return SyncResult(account=self.name, status=SyncStatus.SUCCESS, version=1)


class Desk:
    """A daemon in a thread of its own, with its output."""

    def __init__(self, *reconcilers: Any, interval_sec: float = 0.001) -> None:
        self.notes, self.lines, self.stopping = Notes(), list[dict[str, Any]](), Event()
        self.reloading = Event()
        self.now = 0.0

        def opened(one: Any) -> Any:
            if callable(one):
                return one()
            return one

        jobs = [
            Job(name=f"Broker/{number}", interval_sec=interval_sec, open=lambda one=one: opened(one))  # type: ignore[misc]
            for number, one in enumerate(reconcilers, 1)
        ]
        self.daemon = Daemon(jobs, log=self.log, notifier=cast("SystemdNotifier", self.notes), monotonic=lambda: self.now)
        self.end: End | None = None
        self.thread = Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.end = self.daemon.run(self.stopping, self.reloading.is_set)

    def log(self, level: str, event: str, **fields: object) -> None:
        self.lines.append({"level": level, "event": event, **fields})

    def output(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join()


@pytest.fixture
def desks():
    made: list[Desk] = []

    def make(*reconcilers: Any, **words: Any) -> Desk:
        made.append(Desk(*reconcilers, **words))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_what_a_gateway_pushes_is_followed_until_the_daemon_stops(desks):
    one = Reconciler("Broker/1")
    desk = desks(one)
    until(lambda: one.synced > 1, "a sync")
    assert one.is_followed
    desk.stop()
    assert not one.is_followed


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a fault \x1b"), AccountUnknown("not open"), GatewayDenied("no key"), MemoryError(), ZeroDivisionError()],
)
def test_a_worker_that_dies_is_named_and_restarted_and_the_others_go_on(error, desks):
    bad, good = Reconciler("Broker/1", None, error, None, error), Reconciler("Broker/2")
    desk = desks(bad, good)
    until(lambda: bad.synced > 3 and good.synced > 3, "both")
    lines = [line for line in desk.lines if line["event"] in ("worker ended", "unreachable")]
    assert [line["account"] for line in lines] == ["Broker/1", "Broker/1"]
    assert "\x1b" not in str(lines[0]["reason"])
    assert desk.thread.is_alive()
    desk.stop()
    assert desk.end is End.STOPPED


def test_pauses_before_a_restart_grow_up_to_a_limit(desks, monkeypatch):
    monkeypatch.setattr("ledger.daemon._PAUSE_MAX_SEC", 0.008)
    desk = desks(Reconciler("Broker/1", *[RuntimeError("x")] * 8))
    until(lambda: len(desk.output("worker ended")) == 8, "eight ends")
    assert [line["restart_sec"] for line in desk.output("worker ended")] == [
        0.001,
        0.002,
        0.004,
        0.008,
        0.008,
        0.008,
        0.008,
        0.008,
    ]


def test_a_success_in_between_begins_the_pauses_anew(desks):
    error = RuntimeError("x")
    desk = desks(Reconciler("Broker/1", error, error, None, error))
    until(lambda: len(desk.output("worker ended")) == 3, "three ends")
    assert [line["restart_sec"] for line in desk.output("worker ended")] == [0.001, 0.002, 0.001]


def test_a_gateway_that_does_not_answer_is_asked_again_at_the_interval(desks):
    tries = iter([GatewayTimeout("late"), GatewayTimeout("late")])
    found = Reconciler("Broker/1")

    def opened() -> Reconciler:
        for error in tries:
            raise error
        return found

    desk = desks(opened)
    until(lambda: found.synced > 0, "a sync")
    assert [line["restart_sec"] for line in desk.output("unreachable")] == [0.001, 0.001]


def test_ready_comes_once_when_every_account_was_attempted(desks):
    gate = Event()
    slow, quick = Reconciler("Broker/1", gate), Reconciler("Broker/2")
    desk = desks(slow, quick)
    until(lambda: quick.synced > 3, "the quick one")
    assert not any("READY=1" in words for words in desk.notes.sent)
    gate.set()
    until(lambda: slow.synced > 3, "the slow one")
    assert sum("READY=1" in words for words in desk.notes.sent) == 1
    assert "Broker/1: SUCCESS; Broker/2: SUCCESS" in desk.notes.sent[-1]


def test_the_watchdog_is_fed_only_while_every_account_was_attempted_recently(desks):
    gate = Event()
    hung, good = Reconciler("Broker/1", gate), Reconciler("Broker/2")
    desk = desks(hung, good)
    until(lambda: desk.notes.fed > 0 and good.synced > 3, "food")
    desk.now = 61.0
    until(lambda: good.synced > 20 and not desk.daemon.is_attempting(), "a hang that is noticed")
    fed = desk.notes.fed
    looked = good.synced
    until(lambda: good.synced > looked + 20, "the other to go on")
    assert desk.notes.fed <= fed + 1  # one that was under way
    hung.heard(None)  # it appends something: it does not hang
    assert desk.daemon.is_attempting()
    gate.set()


def test_a_restart_is_an_attempt(desks):
    desk = desks(Reconciler("Broker/1", *[RuntimeError("x")] * 1000))
    until(lambda: len(desk.output("worker ended")) > 3, "ends")
    desk.now = 61.0
    until(desk.daemon.is_attempting, "an attempt")


def test_a_thread_that_something_uncatchable_ended_is_started_again(desks, monkeypatch):
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    bad = Reconciler("Broker/1", None, SystemExit(), None)
    desk = desks(bad)
    until(lambda: bad.synced > 2, "a sync after that")
    assert [line["account"] for line in desk.output("worker died")] == ["Broker/1"]


def test_a_reload_ends_it_after_what_is_under_way_and_closes_what_it_had(desks):
    one = Reconciler("Broker/1")
    desk = desks(one)
    until(lambda: one.synced > 0, "a sync")
    desk.reloading.set()
    desk.thread.join()
    assert desk.end is End.RELOAD
    assert one.closed == 1
    assert "STOPPING=1" not in desk.notes.sent
