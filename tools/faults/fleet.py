#!/usr/bin/env python3
"""Syncs a fleet on real processes while workers, a gateway and Postgres fail, and checks that nothing of it shows.

    python3 tools/faults/fleet.py                                            # 10,000 accounts, 40 gateways: hours on two cores
    python3 tools/faults/fleet.py --accounts 1000 --interval 60 --scale 1

Simulated terminals of every account trade behind servers on real sockets, many accounts each. Two supervisors with two workers
each sync them, on a Postgres server of its own. One supervisor with its workers is killed (SIGKILL) and started again later;
one gateway is stopped (SIGSTOP) for a while; Postgres is killed and started again. At the end trading stops, every account is
synced once more, and every portfolio is compared with the simulated broker's books.

``--interval`` and ``--minutes`` are simulated time, and so is the lease; one simulated second takes ``--scale`` real ones. The
exit code is 1 if a deal is lost or doubled, books differ, or an account waited longer than its interval and a lease.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

_LOOK_SEC: Final = 0.25
_FEW: Final = 100
_GATEWAYS_MIN: Final = 2  # what the others did is what the waits are measured by
_GATEWAYS_AT_ONCE: Final = 10  # in one process
_DEALS: Final = (
    "SELECT a.server, a.login, e.deal, count(*) FROM events e JOIN accounts a ON a.account_id = e.account_id "
    "WHERE e.kind IN ('FillRecorded', 'CashMoved') GROUP BY 1, 2, 3"
)
#: The times between two syncs of each account, from a moment on: the longest of each.
_GAPS: Final = (
    "SELECT server, login, max(gap) FROM (SELECT a.server, a.login, coalesce(lead(m.at_us) OVER w, ?) - m.at_us AS gap "
    "FROM marks m JOIN accounts a ON a.account_id = m.account_id WHERE m.at_us <= ? WINDOW w AS (PARTITION BY m.account_id "
    "ORDER BY m.at_us)) AS gaps GROUP BY 1, 2"
)
_LEFT: Final = "SELECT count(*) FROM fleet_leases WHERE coalesce(synced_us, 0) <= ?"
_SYNCS: Final = "SELECT count(*) FROM marks WHERE at_us > ? AND at_us <= ?"


class Broken(Exception):
    """Something does not hold that must."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is simulated. Durations are simulated; ``scale`` real seconds take one."""

    accounts: int
    gateways: int
    interval_sec: float
    minutes: float
    lease_sec: float = 30.0
    scale: float = 1.0
    machines: int = 2
    workers: int = 2
    threads: int = 8
    trade_every_sec: float = 1.0
    seed: int = 1
    stop_gateway: bool = True
    restart_postgres: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated, or would not be what the report states.

        Raises:
            ValueError: It cannot.
        """
        if self.stop_gateway and self.gateways < _GATEWAYS_MIN:
            raise ValueError(f"expected {_GATEWAYS_MIN} gateways or more, of which the first is stopped, found {self.gateways}")
        if self.gateways < 1 or self.accounts < 1 or self.accounts % self.gateways:
            raise ValueError(
                f"expected as many accounts behind each gateway, found {self.accounts} accounts and {self.gateways} gateways"
            )

    @property
    def lease_real_sec(self) -> float:
        """How long a lease lasts."""
        return max(1.0, self.lease_sec * self.scale)


@dataclass(kw_only=True)
class Report:
    """What was seen. Durations are real."""

    accounts: int
    gateways: int
    deals: int = 0
    trades: int = 0
    syncs: int = 0
    opening_sec: float = 0.0
    measured_sec: float = 0.0
    lost: int = 0
    doubled: int = 0
    differing: list[str] = field(default_factory=list)
    gap_max_sec: float = 0.0
    gap_p99_sec: float = 0.0
    gap_allowed_sec: float = 0.0
    gap_max_of_stopped_sec: float = 0.0
    late_accounts: int = 0
    losses: int = 0
    memory_mb: list[int] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether everything holds."""
        return not (self.lost or self.doubled or self.differing or self.late_accounts)


class Fleet:
    """A simulation under way."""

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], object]) -> None:
        from tools.testkit.fleet import GatewayProcess
        from tools.testkit.postgres import start_postgres

        self.plan = plan
        self._folder = folder
        self._say = say
        self._stack = ExitStack()
        self._machines: list[subprocess.Popen[bytes]] = []
        try:
            server = start_postgres(autovacuum="on", max_connections="200", shared_buffers="256MB")
            self.server = self._stack.enter_context(server)
            self.url = self.server.create_database()
            per = plan.accounts // plan.gateways
            # The first is alone in its process, to be stopped.
            others = range(1, plan.gateways, _GATEWAYS_AT_ONCE)
            sizes = [1] + [min(_GATEWAYS_AT_ONCE, plan.gateways - first) for first in others]
            self.processes = [
                self._stack.enter_context(
                    GatewayProcess(
                        gateways=size, accounts=per, first=sum(sizes[:number]), seed=plan.seed,
                        trade_every_ms=plan.trade_every_sec * plan.scale * 1000,
                    )
                )
                for number, size in enumerate(sizes)
            ]  # fmt: skip
            self.behind = [one.endpoints() for one in self.processes]
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        from ledger import Ledger
        from ledger.fleet.accounts import fleet_account
        from ledger.fleet.leases import Leases
        from ledger.values import AccountId

        plan = self.plan
        self.ledger = self._stack.enter_context(Ledger.create(self.url))
        self.leases = Leases(self.ledger.journal)
        every = f"{plan.interval_sec * plan.scale:.3f}"
        listed = [(name, one) for found in self.behind for one, names in found.items() for name in names]
        self.leases.add([fleet_account(AccountId.parse(name), one, every) for name, one in listed])
        self._settings = self._folder / "ledger.toml"
        warm = plan.accounts // plan.machines  # what all workers of the other machine may have to take over
        self._settings.write_text(
            f"[gateway]\ntimeout_ms = 5000\n[fleet]\nlease_sec = {plan.lease_real_sec}\n"
            f"grace_sec = {min(2.0, plan.lease_real_sec / 5)}\nthreads = {plan.threads}\nwarm_accounts = {warm}\n",
            encoding="utf-8",
        )
        self._settings.chmod(0o600)

    def close(self) -> None:
        """End all processes that were started."""
        for one in self._machines:
            self._kill(one)
        self._stack.close()

    # ---- machines

    def start_machine(self) -> subprocess.Popen[bytes]:
        """Start a supervisor with its workers, in a process group of its own."""
        command = [sys.executable, "-m", "ledger", "sync", "--fleet", "--workers", str(self.plan.workers)]
        with (self._folder / "log").open("ab") as log:
            one = subprocess.Popen(
                [*command, "--config", str(self._settings), "--server-tz", "UTC"],
                env=os.environ | {"LEDGER_JOURNAL": self.url, "PYTHONPATH": str(bootstrap.ROOT)}, cwd=self._folder,
                start_new_session=True, stdin=subprocess.DEVNULL, stderr=log, stdout=log,
            )  # fmt: skip
        self._machines.append(one)
        return one

    def kill_machine(self, one: subprocess.Popen[bytes]) -> None:
        """Kill a supervisor and its workers at once, wherever they are."""
        self._kill(one)
        self._machines.remove(one)

    @staticmethod
    def _kill(one: subprocess.Popen[bytes]) -> None:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()

    def drain(self) -> None:
        """End all machines in good order; their workers give everything back."""
        for one in self._machines:
            one.terminate()
        for one in self._machines:
            if one.wait() != 0:
                raise Broken(f"a supervisor ended with {one.returncode}: {self.log()}")
        self._machines.clear()
        held = sum(one.held for one in self.leases.state(late_us=0).gateways)
        if held:
            raise Broken(f"{held} leases were not given back by workers that ended in good order")

    def log(self) -> str:
        """Return the end of what all processes logged."""
        return (self._folder / "log").read_text(encoding="utf-8")[-4000:]

    def memory_mb(self) -> list[int]:
        """Return the memory of each worker that runs."""
        return sorted(_memory_mb(pid) for one in self._machines for pid in _children(one.pid))

    # ---- waiting

    def wait_synced(self, since_us: int, give_up_sec: float) -> None:
        """Wait until every account was synced after a moment of our clock."""
        give_up = time.monotonic() + give_up_sec
        while True:
            left = self._rows(_LEFT, since_us)[0][0]
            if not left:
                return
            if time.monotonic() > give_up:
                raise Broken(f"{left} accounts were not synced within {give_up_sec:.0f} s: {self.log()}")
            self._say(f"{left} accounts to be synced")
            time.sleep(_LOOK_SEC if self.plan.accounts <= _FEW else 10 * _LOOK_SEC)

    # ---- the end

    def compare(self, found: Report) -> None:
        """Compare every portfolio with the simulated broker's books."""
        books = {name: book for one in self.processes for name, book in one.ask("books").items()}
        theirs = {(name, ticket) for name, book in books.items() for ticket in book["tickets"]}
        ours = {(f"{server}/{login}", deal): times for server, login, deal, times in self._rows(_DEALS)}
        found.deals = len(theirs)
        found.lost = len(theirs - ours.keys())
        found.doubled = sum(times > 1 for times in ours.values()) + len(ours.keys() - theirs)
        with ThreadPoolExecutor(2) as threads:
            found.differing = [one for one in threads.map(lambda one: self._difference(*one), books.items()) if one]

    def _difference(self, name: str, book: Mapping[str, Any]) -> str | None:
        from ledger.values import AccountId

        account = self.ledger.account(AccountId.parse(name))
        portfolio = account.replay()
        self.ledger.forget(account.name)
        ours = {
            one.position_id: (one.symbol, one.side.value, one.volume, round(one.price_open, 8))
            for one in portfolio.positions.values()
        }
        theirs = {
            one["position_id"]: (one["symbol"], one["side"], Decimal(one["volume"]), round(Decimal(one["price_open"]), 8))
            for one in book["positions"]
        }
        if ours != theirs:
            return f"{name}: ours {ours}, theirs {theirs}"
        if (portfolio.balance, portfolio.credit) != (Decimal(book["balance"]), Decimal(book["credit"])):
            return f"{name}: balance {portfolio.balance}, at the broker {book['balance']}"
        return None

    def measure(self, found: Report, begin_us: int, end_us: int, stopped_sec: float) -> None:
        """Read how long each account waited between two syncs in a span, and hold it against what is allowed."""
        plan = self.plan
        found.gap_allowed_sec = plan.interval_sec * plan.scale + plan.lease_real_sec
        stopped = {name for names in self.behind[0].values() for name in names} if plan.stop_gateway else set()
        gaps: list[float] = []
        of_stopped: list[float] = []
        for server, login, gap_us in self._rows(_GAPS, end_us, end_us):
            (of_stopped if f"{server}/{login}" in stopped else gaps).append(gap_us / 1e6)
        gaps.sort()
        found.gap_max_sec, found.gap_p99_sec = gaps[-1], gaps[len(gaps) * 99 // 100]
        found.gap_max_of_stopped_sec = max(of_stopped, default=0.0)
        found.late_accounts = sum(one > found.gap_allowed_sec for one in gaps)
        found.late_accounts += sum(one > found.gap_allowed_sec + stopped_sec + _BACKOFF_SEC for one in of_stopped)
        found.syncs = self._rows(_SYNCS, begin_us, end_us)[0][0]
        found.losses = sum(one.losses for one in self.leases.state(late_us=0).gateways)

    def _rows(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        journal: Any = self.ledger.journal
        rows: list[tuple[Any, ...]] = journal.select(text, *values)
        return rows


#: How long a gateway is left alone at most before it is asked again.
_BACKOFF_SEC: Final = 30.0


def run(plan: Plan, folder: Path, say: Callable[[str], object] = lambda _: None) -> Report:
    """Simulate, and return what was seen.

    Raises:
        Broken: An account was never synced, or leases were left behind.
    """
    fleet = Fleet(plan, folder, say)
    try:
        return _run(fleet, plan, say)
    finally:
        fleet.close()


def _run(fleet: Fleet, plan: Plan, say: Callable[[str], object]) -> Report:
    found = Report(accounts=plan.accounts, gateways=plan.gateways)
    began = time.monotonic()
    machines = [fleet.start_machine() for _ in range(plan.machines)]
    fleet.wait_synced(0, 3_600 + plan.accounts)
    found.opening_sec = time.monotonic() - began
    say(f"every account was synced once after {found.opening_sec:.0f} s")
    real_sec = plan.minutes * 60 * plan.scale
    begin_us, began = _now_us(), time.monotonic()
    with _stopped_gateway(fleet, plan, real_sec) as stopped_sec:
        _sleep_until(began + real_sec * 0.15)
        fleet.kill_machine(machines[-1])
        say("a machine with its workers was killed")
        _sleep_until(began + real_sec * 0.4)
        fleet.start_machine()
        say("it was started again")
        _sleep_until(began + real_sec * 0.75)
        if plan.restart_postgres:
            fleet.server.kill()
            fleet.server.start()
            say("Postgres was killed and started again")
        _sleep_until(began + real_sec)
    end_us = _now_us()
    found.measured_sec = time.monotonic() - began
    found.memory_mb = fleet.memory_mb()
    found.trades = sum(one.ask("quiet") for one in fleet.processes)
    say("no more trades; every account is synced once more")
    quiet_us = _now_us() + 2_500_000  # a fill that is just settling is left for the next sync
    fleet.wait_synced(quiet_us, 10 * found.opening_sec + 600)
    fleet.drain()
    fleet.measure(found, begin_us, end_us, stopped_sec[0])
    fleet.compare(found)
    return found


@contextmanager
def _stopped_gateway(fleet: Fleet, plan: Plan, real_sec: float) -> Iterator[list[float]]:
    """Stop the first gateway from half of the time on for a tenth of it; the list has for how long it was."""
    process, stopped_sec, ending = fleet.processes[0].popen, [0.0], threading.Event()

    def stop() -> None:
        if ending.wait(real_sec * 0.5):
            return
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        ending.wait(real_sec * 0.1)
        process.send_signal(signal.SIGCONT)
        stopped_sec[0] = time.monotonic() - began

    thread = threading.Thread(target=stop)
    if plan.stop_gateway:
        thread.start()
    try:
        yield stopped_sec
    finally:
        ending.set()
        if plan.stop_gateway:
            thread.join()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _now_us() -> int:
    return time.time_ns() // 1000


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _memory_mb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=10_000, metavar="N")
    parser.add_argument("--gateways", type=int, default=40, metavar="N")
    parser.add_argument("--interval", type=float, default=15.0, metavar="SEC", help="simulated seconds between two syncs")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="simulated minutes")
    parser.add_argument("--scale", type=float, default=10.0, metavar="X", help="real seconds that a simulated one takes")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    asked = parser.parse_args()
    try:
        plan = Plan(
            accounts=asked.accounts, gateways=asked.gateways, interval_sec=asked.interval, minutes=asked.minutes,
            scale=asked.scale, seed=asked.seed,
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    bootstrap.enter(bootstrap.DEV_LOCK)
    folder = Path(tempfile.mkdtemp(prefix="ledger-fleet-"))
    try:
        found = run(plan, folder, progress())
    except Broken as error:
        print(f"BROKEN: {error}\nlogs are left at {folder}")
        return 1
    show(found)
    if found.is_good:
        shutil.rmtree(folder)
        return 0
    print(f"BROKEN; logs are left at {folder}")
    return 1


def progress() -> Callable[[str], object]:
    """Return what prints a line for each step, and at most one every few seconds about the rest."""
    began, last = time.monotonic(), [0.0]

    def say(text: str) -> None:
        is_count = text[:1].isdigit()
        if is_count and time.monotonic() - last[0] < 15:
            return
        last[0] = time.monotonic()
        print(f"{time.monotonic() - began:7.0f} s  {text}", file=sys.stderr, flush=True)

    return say


def show(found: Report) -> None:
    """Print what was seen."""
    for name, value in vars(found).items():
        shown = value[:5] if name == "differing" else value
        print(f"  {name:<24} {json.dumps(shown)}")
    print("every portfolio is the broker's books, lost 0, doubled 0" if found.is_good else "something does not hold")


if __name__ == "__main__":
    sys.exit(main())
