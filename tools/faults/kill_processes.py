#!/usr/bin/env python3
"""Kills engines and reconcilers at random moments, a thousand times, and checks that nothing of it shows.

    python3 tools/faults/kill_processes.py                                   # 1,000 SIGKILLs, SQLite, extended form, hedging
    python3 tools/faults/kill_processes.py --kills 200 --form base --mode netting --seed 7
    python3 tools/faults/kill_processes.py --journal postgresql+psycopg://postgres@localhost/kill

An engine sends orders to a simulated terminal and records their fills; a reconciler syncs the same journal; manual trades
happen behind their backs. Both are killed (SIGKILL) wherever they are. Then a restart must converge in one
``startup_recovery``: the portfolio equals the terminal's books, a second sync appends nothing, everything that was
acknowledged is in the journal, nothing is there twice, and the chain verifies. The exit code is 1 if any of it does not hold.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

_MAGIC = 20260101
_PATIENCE_SEC = 60
_VERIFY_EVERY = 50
_SYMBOLS = ("AUDUSD", "BTCUSD", "ETHUSD", "EURUSD")
_ACCOUNT = ("Sandbox-Demo", 70113)


class Broken(Exception):
    """Something does not hold that must."""


# ------------------------------------------------------------------------------- those who are killed (forked processes)


def fork_server() -> None:
    """Fork an engine or a reconciler for each line of standard input; answer with its process id.

    It has loaded everything and opened nothing, so that a thousand processes do not cost a thousand starts.
    """
    import ledger.gateway.client
    import ledger.gateway.sandbox.client
    import ledger.journal.sql.journal
    import ledger.reconciler  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever dies is gone at once
    for line in sys.stdin:
        role, *arguments = json.loads(line)
        child = os.fork()
        if not child:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                (_engine if role == "engine" else _reconciler)(*arguments)
            finally:
                os._exit(1)
        print(child, flush=True)


def _engine(url: str, endpoint: str, notes: str, seed: int, mode: str) -> None:
    """Trade for ever: send an order, record its fills. Notes ``o`` after an order and ``a DEAL`` after each record."""
    from ledger import Ledger
    from ledger.errors import GatewayRefused
    from ledger.gateway.sandbox.client import Sandbox

    report = _speaker(notes)
    dice = random.Random(seed)  # noqa: S311  # a test is repeatable, not secret
    account = Ledger.open(url).account(*_ACCOUNT)
    broker = Sandbox(endpoint, endpoint)
    report("ready")
    while True:
        mine = [one for one in account.portfolio.positions.values() if one.magic == _MAGIC]
        order: dict[str, Any] = {"symbol": dice.choice(_SYMBOLS), "side": dice.choice(("buy", "sell")), "magic": _MAGIC}
        lots = Decimal(dice.randint(1, 20)) / 100
        if mine and (len(mine) > 6 or dice.random() < 0.5):
            one = dice.choice(mine)
            lots = one.volume if dice.random() < 0.7 else max(Decimal("0.01"), (one.volume / 2).quantize(Decimal("0.01")))
            order |= {"symbol": one.symbol, "side": one.side.opposite.value}
            if mode == "hedging":
                order["position"] = one.position_id
        try:
            answer = broker.send_order(volume=lots.normalize(), **order)
        except GatewayRefused:
            continue  # a manual trade was faster
        report("o")
        for fill in _fills(answer["deals"]):
            account.record(fill)
            report(f"a {fill.deal}")


def _fills(rows: list[dict[str, Any]]) -> list[Any]:
    import attrs

    from ledger import Origin
    from ledger.protocol.read import read_deals

    given = read_deals(json.dumps({"status": "SUCCESS", "deals": rows}).encode())
    return [attrs.evolve(deal, origin=Origin.ENGINE) for deal in given.deals]


def _reconciler(url: str, endpoint: str, notes: str) -> None:
    """Sync for ever. Notes ``s`` after each sync."""
    from ledger import Ledger

    report = _speaker(notes)
    account = Ledger.open(url).account(*_ACCOUNT)
    one = reconciler(account, endpoint)
    report("ready")
    one.startup_recovery()
    while True:
        one.sync_positions()
        report("s")


def _speaker(notes: str) -> Any:
    """Return a function that leaves a note at once: what was written survives whoever wrote it."""
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return lambda words: os.write(file, f"{words}\n".encode())


def reconciler(account: Any, endpoint: str) -> Any:
    """Return a reconciler that does not wait long for what is settling, nor read ten minutes of such trading again."""
    from ledger import ReconcilePolicy, StateReconciler
    from ledger.gateway.client import ZmqGateway

    return StateReconciler(account, ZmqGateway(endpoint), policy=ReconcilePolicy(settle_sec=0.05, overlap_sec=5))


# ----------------------------------------------------------------------------------------------------- the one who kills


class Run:
    """One run: a sandbox, a journal, a fork server, and what was acknowledged so far."""

    def __init__(self, url: str, folder: Path, *, form: str, mode: str, seed: int) -> None:
        from ledger import Ledger
        from ledger.gateway.sandbox.client import Sandbox

        self.form, self.mode, self.url, self.folder = form, mode, url, folder
        self.dice = random.Random(seed)  # noqa: S311  # as above
        self.seed = seed
        self.sandbox = Sandbox.start("--mode", mode, "--form", form, "--seed", str(seed), "--symbols", ",".join(_SYMBOLS))
        self.ledger = Ledger.create(url)
        self.account = self.ledger.account(*_ACCOUNT)
        self.account.open(currency="USD", mode=mode, clock="ny-close")
        command = [sys.executable, str(Path(__file__).resolve()), "--fork-server"]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.acknowledged: set[int] = set()
        self.moments: Counter[str] = Counter()
        self.recorded: Counter[int] = Counter()
        self.seen = 0
        self.kills = 0

    def close(self) -> None:
        """End everything that was started."""
        for stream in (self.server.stdin, self.server.stdout):
            if stream is not None:
                stream.close()
        self.server.wait(_PATIENCE_SEC)
        self.sandbox.stop()
        self.ledger.close()

    def cycle(self, number: int) -> None:
        """Let both work, kill both, restart, check."""
        engine_notes, sync_notes = (self.folder / f"{number}.{role}" for role in ("engine", "sync"))
        engine = self._fork("engine", self.url, self.sandbox.endpoint, str(engine_notes), self.seed + number, self.mode)
        syncing = self._fork("reconciler", self.url, self.sandbox.endpoint, str(sync_notes))
        victims = [(engine, engine_notes, "engine"), (syncing, sync_notes, "reconciler")]
        self.dice.shuffle(victims)
        for process, notes, role in victims:
            self._wait_for(notes, self.dice.choice((0, 1, 1, 2, 3, 5)))
            if self.dice.random() < 0.4:
                self.sandbox.trade_manually(self.dice.randint(1, 3))
            time.sleep(self.dice.uniform(0, 0.006))  # anywhere within a step: that is the point
            os.kill(process, signal.SIGKILL)
            self._wait_gone(process)
            self.kills += 1
            self.moments[_moment(role, notes)] += 1
        self.acknowledged |= {int(line[2:]) for line in _lines(engine_notes) if line.startswith("a ")}
        engine_notes.unlink(missing_ok=True)
        sync_notes.unlink(missing_ok=True)
        self.check()

    def check(self) -> None:
        """Restart and compare."""
        one = reconciler(self.account, self.sandbox.endpoint)
        try:
            first = one.startup_recovery()
            if first.status.value != "SUCCESS":
                raise Broken(f"a restart did not converge: {first.status.value}, {first.reason}, held {first.held}")
            self._compare()
            second = one.sync_positions()
            if second.appended or second.status.value != "SUCCESS":
                raise Broken(f"a second sync appended {[event.event for event in second.events]}: {second.status.value}")
        finally:
            one.gateway.close()
        for event in self.account.events(after=self.seen):
            self.seen = event.version
            deal = getattr(event.event, "deal", None)
            if deal is not None and event.kind in ("FillRecorded", "CashMoved"):
                self.recorded[deal] += 1
        lost = self.acknowledged - self.recorded.keys()
        if lost:
            raise Broken(f"acknowledged and lost: deals {sorted(lost)}")
        twice = [deal for deal, times in self.recorded.items() if times > 1]
        if twice:
            raise Broken(f"recorded twice: deals {twice}")

    def _compare(self) -> None:
        books, portfolio = self.sandbox.books(), self.account.portfolio
        theirs = {_key(one, self.mode, self.form): _terms(one) for one in books["positions"]}
        ours = {
            _key({"position_id": one.position_id, "ticket": one.ticket, "symbol": one.symbol}, self.mode, self.form): (
                one.symbol, one.side.value, one.volume, round(one.price_open, 8),
            )
            for one in portfolio.positions.values()
        }  # fmt: skip
        if ours != theirs:
            different = {key: (ours.get(key), theirs.get(key)) for key in ours.keys() | theirs.keys()}
            raise Broken(f"ours and theirs: { {key: both for key, both in different.items() if both[0] != both[1]} }")
        if self.form == "extended" and (portfolio.balance, portfolio.credit) != (
            Decimal(books["balance"]), Decimal(books["credit"]),
        ):  # fmt: skip
            raise Broken(f"balance {portfolio.balance}, at the broker {books['balance']}")

    def verify(self) -> None:
        """Prove the journal."""
        problems = self.ledger.verify().problems
        if problems:
            raise Broken(f"verify: {problems[:3]}")

    def _fork(self, *words: object) -> int:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(words) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    @staticmethod
    def _wait_for(notes: Path, lines: int) -> None:
        give_up = time.monotonic() + _PATIENCE_SEC
        while len(_lines(notes)) < lines:
            if time.monotonic() > give_up:
                raise Broken(f"{notes.name}: expected {lines} notes, found {_lines(notes)}")
            time.sleep(0.0005)

    @staticmethod
    def _wait_gone(process: int) -> None:
        while True:
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                return
            time.sleep(0.0002)


def _key(one: dict[str, Any], mode: str, form: str) -> object:
    """Return what a position is known by: with the base form by its ticket, on an account that nets by its symbol."""
    if mode != "hedging":
        return one["symbol"]
    return one["position_id"] if form == "extended" else one["ticket"]


def _terms(one: dict[str, Any]) -> tuple[str, str, Decimal, Decimal]:
    return one["symbol"], one["side"], Decimal(one["volume"]), round(Decimal(one["price_open"]), 8)


def _lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def _moment(role: str, notes: Path) -> str:
    lines = _lines(notes)
    if role == "reconciler":
        return "reconciler: while it starts" if len(lines) < 2 else "reconciler: while it syncs"
    if not lines:
        return "engine: while it starts"
    return "engine: between order and record" if lines[-1] == "o" else "engine: before or in an order"


def run(url: str, folder: Path, *, kills: int, form: str, mode: str, seed: int, progress: Any = lambda _: None) -> Run:
    """Kill so many times.

    Raises:
        Broken: Something does not hold.
    """
    found = Run(url, folder, form=form, mode=mode, seed=seed)
    try:
        found.check()
        while found.kills < kills:
            found.cycle(found.kills)
            progress(found)
            if found.kills % _VERIFY_EVERY == 0:
                found.verify()
        found.verify()
    finally:
        found.close()
    return found


def main() -> int:
    """Run and report."""
    if "--fork-server" in sys.argv:
        fork_server()
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--form", choices=("extended", "base"), default="extended")
    parser.add_argument("--mode", choices=("hedging", "netting"), default="hedging")
    parser.add_argument("--journal", metavar="URL", help="an empty journal; a temporary SQLite file without")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.RUNTIME_LOCK)
    folder = Path(tempfile.mkdtemp(prefix="ledger-kill-"))
    url = arguments.journal or f"sqlite:///{folder}/kill.db"
    began = time.monotonic()

    def progress(found: Run) -> None:
        if sys.stderr.isatty():
            print(f"\r{found.kills} kills, {len(found.acknowledged)} deals acknowledged", end="", file=sys.stderr)

    try:
        found = run(
            url, folder, kills=arguments.kills, form=arguments.form, mode=arguments.mode, seed=arguments.seed, progress=progress
        )
    except Broken as error:
        print(f"\nBROKEN after {time.monotonic() - began:.0f} s: {error}\nthe journal is left at {url}, seed {arguments.seed}")
        return 1
    print(f"\n{found.kills} kills in {time.monotonic() - began:.0f} s, {arguments.form} form, {arguments.mode}")
    for moment, times in sorted(found.moments.items()):
        print(f"  {moment:<40} {times:>6}")
    print(f"  {'deals acknowledged':<40} {len(found.acknowledged):>6}")
    print(f"  {'events in the journal':<40} {found.seen:>6}")
    print("nothing acknowledged is lost, nothing is there twice, every restart converged in one sync, the chain verifies")
    return 0


if __name__ == "__main__":
    sys.exit(main())
