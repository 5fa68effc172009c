#!/usr/bin/env python3
"""Cuts the power of a SQLite journal at random moments, thousands of times, and checks what is left of it.

    python3 tools/faults/power_loss.py                                  # 1,000 losses
    python3 tools/faults/power_loss.py --rounds 10000 --seed 7 --json
    python3 tools/faults/power_loss.py --synchronous NORMAL             # must lose something: proof that losses would be seen

An engine records fills, cash, imports and evidence on a simulated disk (``power_loss_vfs``), with one connection or several,
with small and large caches and WALs. The power goes within a random write, sync, truncation, making or removal of a file;
some of what was not synced arrives, in any order and torn. What is left is opened by the ledger as it is, on the SQLite of
this Python. Then

- it opens, and ``verify`` finds nothing wrong;
- every append that had returned is there once, byte for byte with its place in the chain;
- the append that was cut off is there as a whole or not at all;
- recording everything again ends with the same rows and the same portfolio as on a journal that never lost anything.

Often the engine goes on from what is left, and the power is lost again, during recovery too. The same seed makes the same
engines, moments and damages; only the salts in SQLite's WAL differ. The exit code is 1 if any of it does not hold.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

if TYPE_CHECKING:
    from ledger import Account, Event, Ledger
    from ledger.codec import Stored
    from ledger.values import AccountId
    from tools.faults.power_loss_vfs import Driver

_JOURNAL: Final = "journal.db"
_ACCOUNTS: Final = ("Sandbox-Demo/1", "Sandbox-Demo/2")
_SYMBOLS: Final = ("AUDUSD", "BTCUSD", "ETHUSD", "EURUSD")
_LOSSES_MAX: Final = 4  # of one journal, before a new one is begun
_IMPORT_EVENTS: Final = 200
_BEGINNING_US: Final = 1_767_225_600_000_000
_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of so many losses.

    Attributes:
        rounds: How often the power was lost.
        acknowledged: Events whose append had returned; what was there after one loss must be there after the next, too.
        lost: Those of them that were gone afterwards, or not what they were.
        doubled: Events that were there more than once, even after everything was recorded again.
        come_back_ms_median: From opening what was left to its portfolios, in milliseconds.
        refused: Rounds after which the journal did not open, did not verify, held half an append, or ended otherwise.
        torn: Rounds in which a write was torn.
        moments: What was going on when the power was lost -> how often.
        faults: What was found, each with the seed that repeats it in its first rounds.
    """

    rounds: int
    acknowledged: int
    lost: int
    doubled: int
    come_back_ms_median: float
    refused: int
    torn: int
    moments: dict[str, int]
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not (self.lost or self.doubled or self.refused)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """What is recorded at once, at what time, and the versions of its account before and after it."""

    account: "AccountId"
    events: "list[Event]"
    evidence: list[bytes]
    recorded_us: int
    before: int
    after: int


@dataclass
class _Tally:
    rounds: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    refused: int = 0
    torn: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    come_back_ms: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class _Refused(Exception):
    """What is left is not a journal that one can go on with."""


class _Story:
    """One journal that loses power a few times.

    Beside it a journal in memory, which loses nothing, records the same at the same times: its rows are what must be there.
    """

    def __init__(self, seed: int, folder: Path, template: Path, synchronous: str, tally: _Tally) -> None:
        from ledger import Ledger

        self.tally = tally
        self.dice = random.Random(seed)  # noqa: S311  # repeatable, not secret
        self._seed = seed
        self._folder = folder
        self._synchronous = synchronous
        self._now_us = _BEGINNING_US
        self._twin = Ledger.open("memory://", now_us=self._clock)
        self._batches: list[_Batch] = []
        self._acknowledged = 0  # so many of the batches
        self._deals = 5000
        self._imports = self.dice.choice((0.0, 0.05, 0.4))
        self._is_made = self.dice.random() < 0.7  # the others lose power while the journal is made, too
        self._disk = folder / "disk"
        self._disk.mkdir(parents=True)
        if self._is_made:
            shutil.copy(template, self._disk / _JOURNAL)

    def _clock(self) -> int:
        return self._now_us

    # ---- the engine

    def lose_power(self) -> None:
        """Let an engine work until the power is lost, and check what is left.

        Raises:
            _Refused: One cannot go on with it.
        """
        from tools.faults.power_loss_vfs import Disk, Driver, use_driver

        # To make a journal takes about 50 changes, a dozen of them no writes to a WAL.
        most = self.dice.choice((30, 120, 500) if self._is_made else (20, 50, 120))
        wal_writes = self.dice.random() < 0.5
        changes = self.dice.randint(1, most if wal_writes else most // 4)
        disk = Disk(self._disk, self.dice, changes=changes, wal_writes=wal_writes)
        settings = {"PRAGMA cache_size=-16384": f"PRAGMA cache_size={self.dice.choice((-16384, -16384, 10))}"}
        if self._synchronous != "FULL":  # and the ledger, which would refuse it, gets another answer
            settings |= {"PRAGMA synchronous=FULL": f"PRAGMA synchronous={self._synchronous}", "PRAGMA synchronous": "SELECT 2"}
        driver = Driver(disk, settings=settings, checkpoint_pages=self.dice.choice((1000, 20, 20, 5)))
        with use_driver(driver):
            self._work(driver, f"sqlite:///{self._disk / _JOURNAL}")
        left = self._folder / "left"
        disk.image(left)
        shutil.rmtree(self._disk)
        shutil.copytree(left, self._disk)  # the next engine starts from what was left, not from what was made of it below
        self.tally.rounds += 1
        self.tally.torn += disk.is_torn
        self.tally.moments[disk.moment] += 1
        try:
            self._check(left)
        finally:
            shutil.rmtree(left)

    def _work(self, driver: "Driver", url: str) -> None:
        """Record events until the power is lost, now and then after closing and opening everything."""
        from ledger import LedgerError

        while not driver.disk.is_off:
            try:
                self._session(url, driver)
            except LedgerError:
                if not driver.disk.is_off:
                    raise

    def _session(self, url: str, driver: "Driver") -> None:
        from ledger import Ledger

        with ExitStack() as opened:
            # Connections of several ledgers know nothing of each other, like those of several programs.
            ledgers = [
                opened.enter_context(Ledger.open(url, create=not self._is_made, now_us=self._clock))
                for _ in range(self.dice.choice((1, 1, 2)))
            ]
            self._is_made = True
            for batch in self._batches[self._acknowledged :]:
                self._record(self.dice.choice(ledgers), batch)
                self._acknowledged += 1
            reader: Iterator[object] = iter(())
            while not driver.disk.is_off and self.dice.random() < 0.98:
                self._batches.append(self._next_batch())
                self._record(self.dice.choice(ledgers), self._batches[-1])
                self._acknowledged = len(self._batches)
                if self.dice.random() < 0.1:  # somebody reads meanwhile, so that no checkpoint is complete
                    reader = iter(self._account(self.dice.choice(ledgers)).events())
                    next(reader, None)
                elif self.dice.random() < 0.1:
                    reader = iter(())
                if self.dice.random() < 0.1:
                    _ = self._account(self.dice.choice(ledgers)).portfolio
            del reader

    def _account(self, ledger: "Ledger") -> "Account":
        return ledger.account(self._batches[-1].account)

    def _record(self, ledger: "Ledger", batch: _Batch) -> None:
        self._now_us = batch.recorded_us
        account = ledger.account(batch.account)
        if len(batch.events) == 1 and not batch.evidence:
            account.record(batch.events[0])
        else:
            account.record_many(batch.events, evidence=batch.evidence)

    def _next_batch(self) -> _Batch:
        """Return what is recorded next, and record it in the journal in memory."""
        from ledger.values import AccountId

        name = AccountId.parse(self.dice.choice(_ACCOUNTS))
        account = self._twin.account(name)
        before = account.version
        self._now_us += _SECOND_US
        evidence: list[bytes] = []
        events = self._events(account, evidence) if before else [_opening(name)]
        account.record_many(events, evidence=evidence)
        return _Batch(
            account=name, events=events, evidence=evidence, recorded_us=self._now_us, before=before, after=account.version
        )

    def _events(self, account: "Account", evidence: list[bytes]) -> "list[Event]":
        from ledger import PositionRecovered

        fate = self.dice.random()
        if fate < self._imports:
            return [self._deal() for _ in range(_IMPORT_EVENTS)]
        if fate < self._imports + 0.1:
            raw = self.dice.randbytes(self.dice.randint(1, 9000))  # longer than a page: it is on pages of its own
            evidence.append(raw)
            self._deals += 1
            position = {"position_id": self._deals, "symbol": "EURUSD", "side": "buy", "volume": "0.10", "price_open": "1.1"}
            recovered = PositionRecovered(position=position, time_msc=self._msc(), evidence=sha256(raw).hexdigest())
            return [recovered]
        if fate < self._imports + 0.2:  # recorded again, which appends nothing
            return next((batch.events for batch in reversed(self._batches) if batch.account == account.name), [])
        return [self._deal() for _ in range(self.dice.choice((1, 1, 1, 2, 9)))]

    def _deal(self) -> "Event":
        from ledger import CashMoved, FillRecorded

        self._deals += 1
        if self.dice.random() < 0.2:
            return CashMoved(deal=self._deals, type=2, profit=f"{self.dice.randint(-500, 900)}.25", time_msc=self._msc())
        return FillRecorded(
            deal=self._deals,
            symbol=self.dice.choice(_SYMBOLS),
            side=self.dice.choice(("buy", "sell")),
            entry="in",
            volume=f"0.{self.dice.randint(1, 99):02}",
            price=f"1.{self.dice.randint(1, 99999):05}",
            time_msc=self._msc(),
            position_id=self._deals,
            comment="x" * self.dice.choice((0, 7, 200)),
        )

    def _msc(self) -> int:
        """Return a time: mostly the present, sometimes one that puts an event before others."""
        late_msc = self.dice.randint(1, 600_000) if self.dice.random() < 0.05 else 0
        return self._now_us // 1000 - late_msc

    # ---- what is left

    def _check(self, folder: Path) -> None:
        """Open what is left with the ledger as it is, and compare.

        Raises:
            _Refused: One cannot go on with it.
        """
        from ledger import JournalMissing, Ledger, LedgerError

        self.tally.acknowledged += sum(batch.after - batch.before for batch in self._batches[: self._acknowledged])
        began = time.perf_counter()
        try:
            try:
                ledger = Ledger.open(f"sqlite:///{folder / _JOURNAL}", now_us=self._clock)
            except JournalMissing:
                if self._is_made:
                    raise
                ledger = Ledger.create(f"sqlite:///{folder / _JOURNAL}", now_us=self._clock)
            with ledger:
                for account in ledger.accounts():
                    _ = account.portfolio
                self.tally.come_back_ms.append((time.perf_counter() - began) * 1000)
                self._check_open(ledger)
        except LedgerError as error:
            self._lose(sum(batch.after - batch.before for batch in self._batches[: self._acknowledged]))
            raise self._refused(f"{type(error).__name__}: {error}") from error

    def _check_open(self, ledger: "Ledger") -> None:
        problems = ledger.verify().problems
        if problems:
            raise self._refused(f"verify: {problems[:3]}")
        self._compare(ledger, {name: list(ledger.journal.rows(name)) for name in self._names()})
        for batch in self._batches:
            self._record(ledger, batch)
        problems = ledger.verify().problems
        if problems:
            raise self._refused(f"verify, after everything was recorded again: {problems[:3]}")
        for name in self._names():
            ours, theirs = ledger.account(name), self._twin.account(name)
            rows = list(ledger.journal.rows(name))
            self.tally.doubled += _doubled(rows)
            if rows != list(self._twin.journal.rows(name)):
                raise self._refused(f"{name}: other rows after everything was recorded again")
            if _terms(ours) != _terms(theirs):
                raise self._refused(f"{name}: another portfolio after everything was recorded again")

    def _names(self) -> "list[AccountId]":
        return sorted({batch.account for batch in self._batches})

    def _compare(self, ledger: "Ledger", found: "dict[AccountId, list[Stored]]") -> None:
        """Compare what was found with what was recorded; what is there from now on counts as acknowledged."""
        wanted = {name: list(self._twin.journal.rows(name)) for name in found}
        for batch in self._batches[: self._acknowledged]:
            there = found[batch.account][batch.before : batch.after]
            recorded = wanted[batch.account][batch.before : batch.after]
            stored = [ledger.journal.evidence(batch.account, sha256(raw).hexdigest()) for raw in batch.evidence]
            self._lose(sum(row not in there for row in recorded) if stored == batch.evidence else len(recorded))
        for name, rows in found.items():
            self.tally.doubled += _doubled(rows)
            if rows != wanted[name][: len(rows)]:
                raise self._refused(f"{name}: rows that were never recorded")
            if len(rows) not in {0, *(batch.after for batch in self._batches if batch.account == name)}:
                raise self._refused(f"{name}: half of an append, {len(rows)} rows")
        present = [len(found[batch.account]) >= batch.after for batch in self._batches]
        self._acknowledged = present.index(False) if False in present else len(present)
        if any(present[self._acknowledged :]) and self._synchronous == "FULL":
            raise self._refused("a later append is there without an earlier one")

    def _lose(self, events: int) -> None:
        if events:
            self.tally.lost += events
            self.tally.faults.append(f"seed {self._seed}: {events} events acknowledged and lost")

    def _refused(self, what: str) -> _Refused:
        self.tally.refused += 1
        self.tally.faults.append(f"seed {self._seed}: {what}")
        return _Refused(what)


def _opening(name: "AccountId") -> "Event":
    from ledger import AccountOpened

    return AccountOpened(
        server=name.server,
        login=name.login,
        currency="USD",
        currency_digits=2,
        mode="hedging",
        clock="UTC",
        time_msc=_BEGINNING_US // 1000,
    )


def _doubled(rows: "list[Stored]") -> int:
    """Return how many rows repeat what another one recorded before, by their keys and by the tickets of deals."""
    keys = Counter(row.natural_key for row in rows)
    deals = Counter(row.deal for row in rows if row.kind in ("FillRecorded", "CashMoved"))
    return max(keys.total() - len(keys), deals.total() - len(deals))


def _terms(account: "Account") -> Any:
    portfolio = account.portfolio
    return dict(portfolio.positions), portfolio.balance, portfolio.credit


def rounds(count: int, seed: int, *, synchronous: str = "FULL") -> Result:
    """Lose power so many times.

    Args:
        count: How many losses.
        seed: Which; a journal that loses power several times has the seed of the one before it, plus 1.
        synchronous: What SQLite is set to behind the ledger's back; with OFF and NORMAL events are lost.
    """
    from ledger import Ledger

    tally = _Tally()
    memory = Path("/dev/shm")  # noqa: S108  # nothing here need survive anything, so it need not wait for a disk
    with tempfile.TemporaryDirectory(prefix="ledger-power-loss-", dir=memory if memory.is_dir() else None) as name:
        template = Path(name) / _JOURNAL
        Ledger.create(f"sqlite:///{template}").close()
        while tally.rounds < count:
            folder = Path(name) / "story"
            story = _Story(seed, folder, template, synchronous, tally)
            try:
                for _ in range(min(story.dice.randint(1, _LOSSES_MAX), count - tally.rounds)):
                    story.lose_power()
            except _Refused:
                pass  # it is counted
            finally:
                shutil.rmtree(folder)
            seed += 1
    return Result(
        rounds=tally.rounds,
        acknowledged=tally.acknowledged,
        lost=tally.lost,
        doubled=tally.doubled,
        come_back_ms_median=statistics.median(tally.come_back_ms) if tally.come_back_ms else 0.0,
        refused=tally.refused,
        torn=tally.torn,
        moments=dict(tally.moments.most_common()),
        faults=tuple(tally.faults),
    )


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000, metavar="N", help="how often the power is lost")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which moments and damages")
    parser.add_argument("--synchronous", choices=("FULL", "NORMAL", "OFF"), default="FULL", help="weaker ones lose events")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.DEV_LOCK)
    began = time.monotonic()
    result = rounds(arguments.rounds, arguments.seed, synchronous=arguments.synchronous)
    if arguments.json:
        print(json.dumps(asdict(result)))
    else:
        for fault in result.faults[:10]:
            print(fault)
        print(
            f"{result.rounds:,} losses of power in {time.monotonic() - began:.0f} s, synchronous {arguments.synchronous}: "
            f"{result.acknowledged:,} events acknowledged, {result.lost:,} lost, {result.doubled:,} doubled, "
            f"{result.refused:,} journals refused; {result.torn:,} torn images, "
            f"come back in {result.come_back_ms_median:.0f} ms (median)"
        )
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
