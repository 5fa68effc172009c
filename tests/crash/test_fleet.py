"""A fleet on real processes: workers that are killed, paused and ended, and gateways and journals that are away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread, current_thread

import pytest

from ledger import Ledger
from ledger.errors import LeaseLost
from ledger.fleet.leases import Lease
from ledger.fleet.worker import FleetSettings, Held, Worker
from ledger.portfolio import FOLD_VERSION
from ledger.reconcile.decide import decide
from ledger.reconciler import SyncStatus
from ledger.systemd import SystemdNotifier
from ledger.values import AccountId
from tests.support.fleet import Desk, HoldingGateway, connecting, desk_of_fleet, names, serving
from tests.support.served import until
from tools.faults.fleet import Plan, run
from tools.testkit.fleet import FIRST_LOGIN

ROOT = Path(__file__).resolve().parents[2]
(ONE,) = names(1)
LOGINS = range(FIRST_LOGIN, FIRST_LOGIN + 1)


@pytest.fixture
def desk():
    with desk_of_fleet() as found:
        yield found


class Process:
    """A worker process of ``ledger sync --fleet``, and what it logs."""

    def __init__(self, desk: Desk, folder: Path, *, lease_sec: float, program: Path) -> None:
        folder.mkdir()
        settings = folder / "ledger.toml"
        settings.write_text(f"[fleet]\nlease_sec = {lease_sec}\ngrace_sec = 0\nthreads = 2\n", encoding="utf-8")
        settings.chmod(0o600)
        self._log = folder / "log"
        command = [sys.executable, "-m", "ledger", "sync", "--fleet", "--server-tz", "UTC", "--config", str(settings)]
        with self._log.open("wb") as log:
            self.popen = subprocess.Popen(
                command, cwd=program, env=os.environ | {"LEDGER_JOURNAL": desk.url}, stdin=subprocess.DEVNULL, stderr=log
            )

    def logged(self, event: str) -> list[dict[str, object]]:
        """Return the lines about something."""
        lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
        return [one for one in found if one["event"] == event]

    def end(self) -> int:
        """End it in good order."""
        self.popen.terminate()
        return self.popen.wait(60)

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()


@pytest.fixture
def start(desk, tmp_path):
    """Starts worker processes, which are gone when the test ends."""
    started: list[Process] = []

    def begin(*, lease_sec: float = 60, program: Path = ROOT) -> Process:
        started.append(Process(desk, tmp_path / str(len(started)), lease_sec=lease_sec, program=program))
        return started[-1]

    yield begin
    for one in started:
        one.close()


def check_books(desk: Desk, gateway: HoldingGateway, name: AccountId = ONE) -> None:
    """Every deal of the broker is recorded once, and nothing else is."""
    books = gateway.books()[str(name)]
    account = desk.ledger.account(name)
    kinds = ("FillRecorded", "CashMoved")
    recorded = Counter(getattr(one.event, "deal", None) for one in account.events() if one.kind in kinds)
    assert recorded == Counter(books["tickets"])
    portfolio = account.replay()
    assert {str(one.position_id): one.volume for one in portfolio.positions.values()} == {
        str(one["position_id"]): Decimal(one["volume"]) for one in books["positions"]
    }
    assert portfolio.balance == Decimal(books["balance"])


def test_a_worker_that_was_paused_past_its_lease_doubles_nothing(desk, start):
    gateway = HoldingGateway(LOGINS)
    with serving(gateway) as (address,), connecting(desk.ledger) as connect:
        gateway.is_holding = True
        desk.add([ONE], address, "1s")
        paused = start(lease_sec=1)
        assert gateway.arrived.wait(60)  # it has asked for the positions, and waits for them
        os.kill(paused.popen.pid, signal.SIGSTOP)
        gateway.terminals[str(ONE)].trade_manually(5)
        stopping, settings = Event(), FleetSettings(lease_sec=60, grace_sec=0, poll_sec=0.02, threads=2)
        other = Worker(desk.ledger, connect, settings=settings, log=lambda *_, **__: None, notifier=SystemdNotifier())
        thread = Thread(target=other.run, args=(stopping,))
        thread.start()
        try:
            until(lambda: desk.leases.accounts()[0].synced_us, "the other worker to sync it")
        finally:
            stopping.set()
            thread.join()
        version = desk.ledger.account(ONE).version
        gateway.let_go()
        desk.leases.stop(ONE)  # nobody is to sync it any more
        os.kill(paused.popen.pid, signal.SIGCONT)
        (lost,) = until(lambda: paused.logged("lease lost"), "the paused worker to notice")
        assert "it lapsed" in str(lost["reason"])
        assert paused.end() == 0
        assert desk.ledger.account(ONE).version == version
        check_books(desk, gateway)


def test_the_version_refuses_whoever_was_overtaken_even_if_the_lease_is_not_looked_at(desk, monkeypatch):
    gateway, decided, goes_on = HoldingGateway(LOGINS), Event(), Event()

    def decide_slowly(*arguments, **named):
        found = decide(*arguments, **named)
        if current_thread().name == "slow" and not decided.is_set():
            decided.set()
            assert goes_on.wait(60)
        return found

    monkeypatch.setattr("ledger.reconciler.sync.decide", decide_slowly)
    with serving(gateway) as (address,), Ledger.open(desk.url) as other, connecting(desk.ledger) as connect:
        with connecting(other) as connect_other:
            lease = Lease(ONE, address, 15_000_000, 0, 1, 0, None)
            slow, quick = connect(lease, lambda: None)[0], connect_other(lease, lambda: None)[0]
            results = []
            thread = Thread(target=lambda: results.append(slow.sync_positions()), name="slow")
            thread.start()
            assert decided.wait(60)
            assert quick.sync_positions().appended  # the first balance, among others
            goes_on.set()
            thread.join(60)
        assert results[0].status is SyncStatus.SUCCESS
        assert [one.kind for one in desk.ledger.account(ONE).events()].count("BalanceAsserted") == 1
        check_books(desk, gateway)


def test_a_lease_is_lost_by_time_alone_and_by_what_the_journal_has():
    lease = Lease(ONE, "tcp://127.0.0.1:1", 15_000_000, 0, 1, 0, None)
    now = [10.0]
    held = Held(lease, until=20.0, monotonic=lambda: now[0])
    held.check()
    now[0] = 20.0
    with pytest.raises(LeaseLost, match="found that it lapsed"):
        held.check()
    held.until, held.is_lost = 99.0, True
    with pytest.raises(LeaseLost):
        held.check()


def test_a_worker_that_is_ended_finishes_what_is_under_way_and_gives_everything_back(desk, start):
    gateway = HoldingGateway(LOGINS)
    with serving(gateway) as (address,):
        gateway.is_holding = True
        desk.add([ONE], address, "1s")
        worker = start()
        assert gateway.arrived.wait(60)
        worker.popen.terminate()
        gateway.let_go()
        assert worker.popen.wait(60) == 0
        (found,) = desk.leases.accounts()
        assert found.worker is None
        assert found.synced_us is not None
        assert desk.leases.state(late_us=0).workers == []
        assert desk.claim("another", grace_us=0) or found.due_us > found.synced_us
        assert worker.logged("stopped")
        check_books(desk, gateway)


def test_a_worker_ends_when_a_newer_program_migrated_the_journal(desk, start):
    gateway = HoldingGateway(LOGINS)
    with serving(gateway) as (address,):
        desk.add([ONE], address, "1s")
        worker = start()
        until(lambda: desk.leases.accounts()[0].synced_us, "a sync")
        desk.execute("UPDATE alembic_version SET version_num = '9999'")
        assert worker.popen.wait(60) == 2
        assert "start a newer ledger" in worker._log.read_text(encoding="utf-8")
        assert desk.leases.accounts()[0].worker is None


def later_version(folder: Path) -> Path:
    """Make a program of a later version, whose fold differs, and return the folder to run it in."""
    program = folder / "later"
    shutil.copytree(ROOT / "ledger", program / "ledger", ignore=shutil.ignore_patterns("__pycache__"))
    (program / "migrations").symlink_to(ROOT / "migrations")
    fold = program / "ledger" / "portfolio.py"
    was, now = (f"FOLD_VERSION: Final = {number}" for number in (FOLD_VERSION, FOLD_VERSION + 1))
    text = fold.read_text(encoding="utf-8")
    assert text.count(was) == 1
    fold.write_text(text.replace(was, now), encoding="utf-8")
    return program


def wait_until_all_share(desk: Desk, *workers: Process) -> None:
    """Wait until each of these workers has synced an account, and then each account was synced."""
    expected, seen = set[object](), set[object]()

    def have_all_synced() -> bool:
        expected.update(line["name"] for one in workers for line in one.logged("worker"))
        seen.update(one.worker for one in desk.leases.state(late_us=0).workers if one.accounts > one.held)
        return len(expected) == len(workers) and expected <= seen

    until(have_all_synced, "every worker to have synced an account")
    since_us = time.time_ns() // 1000
    until(lambda: all((one.synced_us or 0) > since_us for one in desk.leases.accounts()), "every account to be synced")


def test_workers_of_two_versions_share_a_fleet_while_it_is_upgraded_and_while_that_is_undone(desk, start, tmp_path):
    accounts, later = names(4), later_version(tmp_path)
    gateway = HoldingGateway(range(FIRST_LOGIN, FIRST_LOGIN + len(accounts)))
    with serving(gateway) as (address,):
        desk.add(accounts, address, "1s")
        workers = [start()]
        wait_until_all_share(desk, *workers)
        for program in (later, ROOT):
            for one in accounts:
                gateway.terminals[str(one)].trade_manually(5)
            workers.append(start(program=program))
            wait_until_all_share(desk, *workers[-2:])
            assert workers[-2].end() == 0
            for one in accounts:
                gateway.terminals[str(one)].trade_manually(5)
            wait_until_all_share(desk, workers[-1])
        assert workers[-1].end() == 0
        assert [line for one in workers for line in one.logged("sync failed")] == []
        for one in accounts:
            check_books(desk, gateway, one)
    assert desk.ledger.verify().ok


def test_a_worker_goes_on_after_the_clock_of_the_database_went_back(desk, start):
    gateway = HoldingGateway(LOGINS)
    with serving(gateway) as (address,):
        desk.add([ONE], address, "1s")
        worker = start(lease_sec=1)
        until(lambda: desk.leases.accounts()[0].synced_us, "a sync")
        desk.set_clock_back(3_600_000_000)
        desk.execute("UPDATE fleet_leases SET synced_us = NULL")
        until(lambda: desk.leases.accounts()[0].synced_us, "another sync")
        until(lambda: worker.logged("clock went back"), "a line about it")
        assert worker.end() == 0


@pytest.mark.parametrize(("accounts", "gateways"), [(30, 1), (2, 3), (31, 3), (0, 3), (30, 0)])
def test_a_simulation_is_refused_that_would_not_be_what_its_report_states(accounts, gateways):
    with pytest.raises(ValueError, match=f"found {gateways if gateways < 2 else accounts}"):
        Plan(accounts=accounts, gateways=gateways, interval_sec=3, minutes=0.1)
    if gateways == 1:
        assert Plan(accounts=accounts, gateways=gateways, interval_sec=3, minutes=0.1, stop_gateway=False).gateways == 1


def test_workers_killed_a_gateway_stopped_and_postgres_killed_lose_and_double_nothing(tmp_path):
    plan = Plan(
        accounts=30, gateways=3, interval_sec=3, minutes=0.1, lease_sec=2, machines=2, workers=1, threads=4,
        trade_every_sec=0.5, seed=7,
    )  # fmt: skip
    found = run(plan, tmp_path)
    assert (found.lost, found.doubled, found.differing) == (0, 0, [])
    assert found.trades
    assert found.syncs
    assert found.deals >= 60
