#!/usr/bin/env python3
"""Kills, cuts off and replaces a Postgres that is written to, and checks the journal in it afterwards.

    python3 tools/faults/postgres.py                            # a few rounds of each
    python3 tools/faults/postgres.py --only cut --rounds 1000 --seed 7
    python3 tools/faults/postgres.py --json

- killed: a server with several writers is killed (SIGKILL), all of its processes, the first one alone, or one that serves
  a writer; it is started again.
- cut: the connection is cut around the COMMIT of an append: before, within or after it, with or without its answer, sometimes
  twice in a row, sometimes while somebody else appends. So the writer cannot know what became of it.
- failover: a server that sends nothing to its standby any more is killed, the standby replaces it, and four writers go on
  there, in a partitioned journal. The server waits for the standby with every commit, so that nothing acknowledged is lost.
- unwaited: the same without waiting. What was acknowledged is lost, and counted; it is no failure. But every writer whose
  last event is gone must be refused (``JournalReplaced``) before it appends anything, and then opens the journal again.
- watch: the server under ``ledger sync --watch`` is killed or restarted, or the daemon is killed, while the terminal trades.

Writers that get an error record the same events again. After each fault every append that had returned is there
exactly once, every other is there as a whole or not at all, and ``verify`` finds nothing wrong: by the ledger, and by a bare
connection. The same seed makes the same faults at the same moments, as far as the scheduling of processes allows. The exit
code is 1 if any of it does not hold.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import select
import signal
import socket
import socketserver
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

if TYPE_CHECKING:
    import psycopg

    from ledger import Account, Event, Ledger
    from tools.testkit.postgres import PostgresServer

_SERVER: Final = "Sandbox-Demo"
_WRITERS: Final = 3  # the first two of them write to the same account
_WRITERS_OF_FAILOVER: Final = 4
_PARTITIONS: Final = 8
_DEALS_A_WRITER: Final = 10_000_000
_BATCHES: Final = (1, 1, 1, 1, 3, 20, 150)  # events recorded at once; 150 is an import, which lets others go first
_ROUNDS_A_JOURNAL: Final = 20  # so that what has to be read after each round stays short
_PATIENCE_SEC: Final = 60
_LOOK_SEC: Final = 0.002
#: What only messages hold that insert events: the statement, or once that is prepared the origin of each deal.
_INSERTS: Final = (b"INSERT INTO events", b"engine")
_SYNC: Final = b"S\x00\x00\x00\x04"  # ends what the server answers at once, as the protocol writes it
_NOTIFY: Final = b"pg_notify"


class Broken(Exception):
    """Something does not hold that must."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of so many faults.

    Attributes:
        fault: killed, cut, failover, unwaited or watch.
        rounds: How often.
        acknowledged: Events whose append had returned.
        lost: Those of them that were gone afterwards.
        doubled: Events that were there more than once.
        come_back_ms_median: From the fault to the first append after it that returned, in milliseconds.
        may_lose: The fault loses what was acknowledged, and whoever lost something was refused.
    """

    fault: str
    rounds: int
    acknowledged: int
    lost: int
    doubled: int
    come_back_ms_median: float
    may_lose: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not ((self.lost and not self.may_lose) or self.doubled)


# ------------------------------------------------------------------------------------------------------- what must be there


class _Books:
    """What was offered to one journal and what of it was acknowledged, by deals: each event is one."""

    def __init__(self) -> None:
        self.offered: list[range] = []
        self.confirmed: list[range] = []
        self.lost: set[int] = set()
        self.doubled: set[int] = set()

    @property
    def acknowledged(self) -> int:
        """Number of events whose append had returned."""
        return sum(map(len, self.confirmed))

    def compare(self, found: Counter[int], confirmed: list[range]) -> None:
        """Compare what was found (deal -> how often) with what was offered, and with what had been acknowledged before.

        Raises:
            Broken: There is half of an append, or something that nobody recorded.
        """
        self.lost |= {deal for deals in confirmed for deal in deals if not found[deal]}
        self.doubled |= {deal for deal, times in found.items() if times > 1}
        halves = [deals for deals in self.offered if 0 < sum(deal in found for deal in deals) < len(deals)]
        if halves:
            raise Broken(f"half of an append is there: deals {halves}")
        strangers = found.keys() - {deal for deals in self.offered for deal in deals}
        if strangers:
            raise Broken(f"nobody recorded these deals: {sorted(strangers)}")


def _check(books: _Books, ledger: "Ledger", url: str, refresh: Callable[[], object] = lambda: None) -> None:
    """Compare a journal that may be written to with the books about it.

    Args:
        books: What was offered and acknowledged.
        ledger: The journal, by the project's own code.
        url: The same, for a bare connection.
        refresh: Brings the books up to date. What was acknowledged before reading must be found; what is found was offered
            before the reading ended.

    Raises:
        Broken: Something does not hold, other than events lost or doubled, which the books count.
    """
    readings: tuple[Callable[[], Counter[int]], ...] = (lambda: _deals_by_ledger(ledger), lambda: _deals_by_driver(url))
    for reading in readings:
        refresh()
        confirmed = list(books.confirmed)
        found = reading()
        refresh()
        books.compare(found, confirmed)
    problems = ledger.verify().problems
    if problems:
        raise Broken(f"verify: {problems[:3]}")


def _deals_by_ledger(ledger: "Ledger") -> Counter[int]:
    from ledger import CashMoved, FillRecorded

    events = (one.event for account in ledger.accounts() for one in account.events())
    return Counter(event.deal for event in events if isinstance(event, (CashMoved, FillRecorded)))


def _deals_by_driver(url: str) -> Counter[int]:
    with _connected(url) as connection:
        rows = connection.execute("SELECT deal, count(*) FROM events WHERE deal IS NOT NULL GROUP BY deal").fetchall()
    return Counter(dict(rows))


def _connected(url: str) -> "psycopg.Connection[Any]":
    import psycopg

    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def _result(fault: str, rounds: int, journals: list[_Books], come_back_sec: list[float], *, may_lose: bool = False) -> Result:
    return Result(
        fault=fault,
        rounds=rounds,
        acknowledged=sum(books.acknowledged for books in journals),
        lost=sum(len(books.lost) for books in journals),
        doubled=sum(len(books.doubled) for books in journals),
        come_back_ms_median=round(statistics.median(come_back_sec) * 1000, 1) if come_back_sec else 0.0,
        may_lose=may_lose,
    )


# ------------------------------------------------------------------------------------------- those who write (processes)


def write(url: str, notes: str, login: int, number: int, seed: int) -> None:
    """Append for ever. Each line of notes is one step of a record: ``offered``, ``failed``, ``replaced`` and ``confirmed``."""
    from ledger import JournalReplaced, Ledger

    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def report(step: str, first: int, last: int, words: object = "") -> None:
        os.write(file, f"{step} {time.monotonic()} {first} {last} {words}\n".encode())

    dice = random.Random(seed)  # noqa: S311  # repeatable, not secret
    account = Ledger.open(url).account(_SERVER, login)
    account.open(currency="USD", mode="hedging")
    first = number * _DEALS_A_WRITER + 1
    while True:
        events = [_deal(first + at, dice) for at in range(dice.choice(_BATCHES))]
        last = first + len(events) - 1
        report("offered", first, last)
        try:
            for failure in _record(account, events, is_expecting=dice.random() < 0.3):
                report("failed", first, last, failure)
        except JournalReplaced as error:  # what it acknowledged is gone: to go on is a decision, which is taken here at once
            report("replaced", first, last, str(error).replace("\n", " "))
            account = Ledger.open(url).account(_SERVER, login)
            for failure in _record(account, events, is_expecting=False):
                report("failed", first, last, failure)
        report("confirmed", first, last)
        first = last + 1


def _record(account: "Account", events: "list[Event]", *, is_expecting: bool) -> Iterator[str]:
    """Record events until that returns, and yield what failed.

    What was not tried before, or was refused for certain, must be new to the journal.

    Raises:
        Broken: It was not.
    """
    from ledger import JournalUnavailable, LedgerError, Outcome

    is_uncertain = False
    while True:
        try:
            version = account.version if is_expecting else None
            outcomes = set(account.record_many(events, expected_version=version).outcomes)
        except LedgerError as error:
            yield f"{type(error).__name__}: {error}".replace("\n", " ")
            if not error.retryable:
                raise
            is_uncertain = is_uncertain or isinstance(error, JournalUnavailable)
            time.sleep(_LOOK_SEC)
        else:
            if outcomes != {Outcome.APPENDED} and not (is_uncertain and outcomes == {Outcome.DUPLICATE}):
                raise Broken(f"recorded for the first time, and the outcomes are {outcomes}")
            return


def _deal(deal: int, dice: random.Random) -> "Event":
    from ledger import CashMoved, FillRecorded

    time_msc = time.time_ns() // 1_000_000
    if dice.random() < 0.2:
        return CashMoved(deal=deal, type=2, profit=f"{dice.randint(-500, 900)}.25", time_msc=time_msc)
    return FillRecorded(
        deal=deal,
        symbol=dice.choice(("AUDUSD", "BTCUSD", "EURUSD")),
        side=dice.choice(("buy", "sell")),
        entry="in",
        volume=f"0.{dice.randint(1, 99):02}",
        price=f"1.{dice.randint(1, 99999):05}",
        time_msc=time_msc,
        position_id=deal,
    )


class _Writers:
    """Writers of one journal, each a process with its notes, which survive them."""

    def __init__(
        self,
        url: str,
        folder: Path,
        books: _Books,
        dice: random.Random,
        numbers: Iterator[int],
        *,
        many: int = _WRITERS,
    ) -> None:
        self._books = books
        self._steps: dict[Path, list[tuple[str, range]]] = {}
        self._notes: dict[Path, subprocess.Popen[str]] = {}
        self._read: dict[Path, int] = {}
        self._confirmed_at: dict[Path, list[float]] = {}
        for place in range(many):
            number = next(numbers)
            notes = folder / f"{number}.notes"
            words = [url, str(notes), str(max(place, 1)), str(number), str(dice.getrandbits(32))]
            errors = notes.with_suffix(".errors").open("w")
            with errors:
                self._notes[notes] = subprocess.Popen([sys.executable, __file__, "--write", *words], stderr=errors, text=True)
            self._read[notes], self._confirmed_at[notes], self._steps[notes] = 0, [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._notes.values():
            process.kill()
            process.wait()
        self.refresh()

    def refresh(self) -> None:
        """Add to the books what was noted since."""
        for notes in self._notes:
            whole = notes.read_bytes().rpartition(b"\n")[0] if notes.exists() else b""
            new = whole[self._read[notes] :].decode()
            self._read[notes] = len(whole)
            for step, moment, first, last, *_ in (line.split() for line in new.splitlines() if line):
                deals = range(int(first), int(last) + 1)
                self._steps[notes].append((step, deals))
                if step == "offered":
                    self._books.offered.append(deals)
                elif step == "confirmed":
                    self._books.confirmed.append(deals)
                    self._confirmed_at[notes].append(float(moment))

    def refusals(self) -> int:
        """Return how often writers were refused because what they had been given is gone."""
        return sum(step == "replaced" for steps in self._steps.values() for step, _ in steps)

    def require_refused(self, lost: set[int]) -> None:
        """Require that every writer that lost something was refused before it appended anything more.

        Raises:
            Broken: One was not.
        """
        for notes, steps in self._steps.items():
            is_unaware = False
            for step, deals in steps:
                if step == "confirmed" and is_unaware and not lost & {*deals}:
                    raise Broken(f"{notes.stem} lost what was acknowledged, and appended deals {deals} without being refused")
                is_unaware = (is_unaware and step != "replaced") or (step == "confirmed" and bool(lost & {*deals}))

    def wait_for_all(self, after: float) -> float:
        """Wait until each of them appended something after a moment, and return when the first one did."""
        give_up = time.monotonic() + _PATIENCE_SEC
        while True:
            self.refresh()
            moments = [next((at for at in confirmed_at if at > after), None) for confirmed_at in self._confirmed_at.values()]
            if None not in moments:
                return min(at for at in moments if at is not None)
            for notes, process in self._notes.items():
                if process.poll() is not None:
                    raise Broken(f"a writer ended: {notes.with_suffix('.errors').read_text().strip()[-2000:]}")
            if time.monotonic() > give_up:
                raise Broken(f"writers did not go on within {_PATIENCE_SEC} s")
            time.sleep(_LOOK_SEC)


# -------------------------------------------------------------------------------------------------------- a server is killed


def server_killed(rounds: int, seed: int) -> Result:
    """Kill a server so many times while writers append, and start it again.

    Raises:
        Broken: Something does not hold, other than events lost or doubled.
    """
    from tools.testkit.postgres import start_postgres

    dice = random.Random(seed)  # noqa: S311  # repeatable, not secret
    journals: list[_Books] = []
    come_back_sec: list[float] = []
    with start_postgres() as server:
        for begin in range(0, rounds, _ROUNDS_A_JOURNAL):
            with _journal(server) as (url, ledger, books), tempfile.TemporaryDirectory() as folder:
                journals.append(books)
                with _Writers(url, Path(folder), books, dice, itertools.count(1)) as writers:
                    writers.wait_for_all(0)
                    for _ in range(min(_ROUNDS_A_JOURNAL, rounds - begin)):
                        time.sleep(dice.uniform(0, 0.2))  # anywhere within an append: that is the point
                        struck_at = time.monotonic()
                        silent_at = _strike(server, url, dice)
                        come_back_sec.append(writers.wait_for_all(silent_at) - struck_at)
                        _check(books, ledger, url, writers.refresh)
                _check(books, ledger, url)
    return _result("killed", rounds, journals, come_back_sec)


@contextlib.contextmanager
def _journal(server: "PostgresServer") -> Iterator[tuple[str, "Ledger", _Books]]:
    from ledger import Ledger

    url = server.create_database()
    with Ledger.create(url) as ledger:
        yield url, ledger, _Books()
    server.drop_database(url)


def _strike(server: "PostgresServer", url: str, dice: random.Random) -> float:
    """Kill all processes of a server, the first one alone, or one that serves; return when it had fallen silent.

    When it returns, the server runs again or is about to.
    """
    with contextlib.closing(_connected(url)) as witness:
        fault = dice.choice(("all", "all", "first", "serving"))
        if fault == "serving":
            query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            serving = sorted(pid for (pid,) in witness.execute(query))
            os.kill(dice.choice(serving), signal.SIGKILL)
        else:
            server.kill(alone=fault == "first")
        _wait_until_silent(witness)
        silent_at = time.monotonic()
    if fault != "serving":  # there the first process goes on, and starts the others anew
        server.restart()
    return silent_at


def _wait_until_silent(witness: "psycopg.Connection[Any]") -> None:
    import psycopg

    give_up = time.monotonic() + _PATIENCE_SEC
    while time.monotonic() < give_up:
        try:
            witness.execute("SELECT 1")
        except psycopg.OperationalError:
            return
    raise Broken("a killed server goes on answering")


# ------------------------------------------------------------------------------------------------------- a connection is cut


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """One cut of a connection between a writer and its server.

    Attributes:
        text: Cut at a message from the writer that holds this; None for one that inserts events, with or without its commit.
        skipped: So many such messages pass before.
        forwarded: So much of the message still reaches the server, 0 to 1.
        is_answered: Whether the server's answer is awaited, and swallowed.
        is_reset: Whether the writer sees its connection reset, not just ended.
        linger_sec: The server learns so much later that the writer is gone, and holds its locks so long.
        meanwhile: What happens before the writer learns of it.
    """

    text: bytes | None
    skipped: int
    forwarded: float
    is_answered: bool
    is_reset: bool
    linger_sec: float
    meanwhile: Callable[[], object] | None


class _Proxy(socketserver.ThreadingTCPServer):
    """Passes bytes between a writer and a server, and cuts connections as it is asked to.

    Attributes:
        cuts: Those to come, in order.
        made: When the connection was cut.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.server_port = port
        self.cuts: deque[_Cut] = deque()
        self.made: list[float] = []
        self._skipped = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def port(self) -> int:
        """TCP port that it listens on."""
        return int(self.server_address[1])

    def due(self, message: bytes) -> _Cut | None:
        """Return the cut to be made at a message from the writer."""
        if not self.cuts:
            return None
        text = self.cuts[0].text
        if not any(one in message for one in (_INSERTS if text is None else (text,))):
            return None
        if self._skipped < self.cuts[0].skipped:
            self._skipped += 1
            return None
        self._skipped = 0
        return self.cuts.popleft()


class _Passing(socketserver.BaseRequestHandler):
    """One connection through the proxy."""

    server: _Proxy

    def handle(self) -> None:
        """Pass bytes until one side ends, or the connection is cut."""
        client = self.request
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with socket.create_connection(("127.0.0.1", self.server.server_port)) as server, contextlib.suppress(ConnectionError):
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                for source in select.select([client, server], [], [])[0]:
                    message = source.recv(2**16)
                    if not message:
                        return
                    if source is server:
                        client.sendall(message)
                        continue
                    cut = self.server.due(message)
                    if cut:
                        self._cut(cut, message, server)
                        return
                    server.sendall(message)

    def _cut(self, cut: _Cut, message: bytes, server: socket.socket) -> None:
        forwarded = message[: int(len(message) * cut.forwarded)]
        if forwarded:
            server.sendall(forwarded)
        if cut.is_answered and forwarded == message and message.endswith(_SYNC):
            server.recv(2**16)
        if cut.meanwhile:
            server.close()  # or it would hold the account's lock, which whoever appends meanwhile waits for
            cut.meanwhile()
        self.server.made.append(time.monotonic())
        if cut.is_reset:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()
        time.sleep(cut.linger_sec)  # a network needs its time


def connection_cut(rounds: int, seed: int) -> Result:
    """Cut the connection of a writer so many times, so that it cannot know what became of its append.

    Raises:
        Broken: Something does not hold, other than events lost or doubled.
    """
    from tools.testkit.postgres import start_postgres

    dice = random.Random(seed)  # noqa: S311  # repeatable, not secret
    journals: list[_Books] = []
    come_back_sec: list[float] = []
    with start_postgres() as server, _Proxy(server.port) as proxy:
        for begin in range(0, rounds, _ROUNDS_A_JOURNAL):
            with _journal(server) as (url, ledger, books):
                journals.append(books)
                writer = _CutOff(url, ledger, books, proxy, dice)
                for _ in range(min(_ROUNDS_A_JOURNAL, rounds - begin)):
                    come_back_sec.append(writer.round())
                    _check(books, ledger, url)
                writer.close()
    return _result("cut", rounds, journals, come_back_sec)


class _CutOff:
    """A writer behind a proxy, and a rival who writes to the same account without one."""

    def __init__(self, url: str, ledger: "Ledger", books: _Books, proxy: _Proxy, dice: random.Random) -> None:
        from ledger import Ledger

        self._books, self._proxy, self._dice = books, proxy, dice
        self._deals = itertools.count(1)
        self._direct = ledger
        self._login = 1
        ledger.account(_SERVER, self._login).open(currency="USD", mode="hedging")
        port = f":{proxy.server_port}/"
        self._ledger = Ledger.open(url.replace(port, f":{proxy.port}/"))

    def close(self) -> None:
        """Give back the connections."""
        self._ledger.close()

    def round(self) -> float:
        """Append while the connection is cut once or twice; return how long after the first cut that returned, in seconds."""
        has_rival = self._dice.random() < 0.3
        cuts = [self._cut(has_rival=has_rival) for _ in range(self._dice.choice((1, 1, 2)))]
        self._proxy.made.clear()
        self._proxy.cuts.extend(cuts)
        if self._dice.random() < 0.1 and not has_rival:
            self._open_another()
        else:
            self._append(has_rival=has_rival)
        returned_at = time.monotonic()
        missed = [cut for cut in self._proxy.cuts if cut.text is None]
        self._proxy.cuts.clear()
        if len(missed) == len(cuts):
            raise Broken("the writer inserted nothing, so that nothing was cut")
        return returned_at - self._proxy.made[0] if self._proxy.made else 0.0

    def _cut(self, *, has_rival: bool) -> _Cut:
        text = self._dice.choice((None, None, None, None, _NOTIFY, b""))
        return _Cut(
            text=text,
            skipped=self._dice.randint(0, 8) if text == b"" else 0,
            forwarded=self._dice.choice((0, 0.5, 1, 1, 1)),
            is_answered=self._dice.random() < 0.6,
            is_reset=self._dice.random() < 0.5,
            linger_sec=0 if has_rival else self._dice.choice((0, 0, self._dice.uniform(0, 0.2))),
            meanwhile=self._rival if has_rival else None,
        )

    def _rival(self) -> None:
        deals = self._next_deals(1)
        self._books.offered.append(deals)
        self._direct.account(_SERVER, self._login).record(_deal(deals[0], self._dice))
        self._books.confirmed.append(deals)

    def _next_deals(self, number: int) -> range:
        first = next(self._deals)
        for _ in range(number - 1):
            next(self._deals)
        return range(first, first + number)

    def _open_another(self) -> None:
        from ledger import JournalUnavailable, Outcome

        self._login += 1
        account = self._ledger.account(_SERVER, self._login)
        try:
            outcome = account.open(currency="USD", mode="hedging")
        except JournalUnavailable:
            account.open(currency="USD", mode="hedging")
        else:
            if outcome is not Outcome.APPENDED:
                raise Broken(f"an account opened for the first time is {outcome}")

    def _append(self, *, has_rival: bool) -> None:
        """Append something new; the only reason to refuse it is that the rival was faster."""
        from ledger import JournalUnavailable, Outcome, VersionConflict

        deals = self._next_deals(self._dice.choice(_BATCHES))
        events = [_deal(deal, self._dice) for deal in deals]
        before = self._direct.account(_SERVER, self._login).version
        expected = before if self._dice.random() < 0.5 else None
        self._books.offered.append(deals)
        account = self._ledger.account(_SERVER, self._login)
        try:
            outcomes: set[object]
            if len(events) == 1:
                outcomes = {account.record(events[0], expected_version=expected)}
            else:
                outcomes = set(account.record_many(events, expected_version=expected).outcomes)
        except VersionConflict:
            if expected is None or not has_rival:
                raise
            self._check_absent(deals)
            return
        except JournalUnavailable:  # of a ledger that leaves it to the writer to record again
            account.record_many(events)
        else:
            if outcomes != {Outcome.APPENDED}:
                raise Broken(f"recorded for the first time, and the outcomes are {outcomes}")
        self._books.confirmed.append(deals)

    def _check_absent(self, deals: range) -> None:
        found = _deals_by_ledger(self._direct)
        if any(found[deal] for deal in deals):
            raise Broken(f"refused with a VersionConflict, and there: deals {deals}")


# --------------------------------------------------------------------------------------------- a standby becomes the server


def failover(rounds: int, seed: int) -> Result:
    """Kill a server so many times that waits for its standby, and let the standby replace it; each round makes a new one.

    Raises:
        Broken: Something does not hold, other than events lost or doubled; or a writer was refused for a loss that is none.
    """
    return _failed_over(rounds, seed, is_awaited=True)


def unwaited_failover(rounds: int, seed: int) -> Result:
    """As ``failover``, with a server that does not wait for its standby: what it acknowledged at last is lost.

    Raises:
        Broken: Something else does not hold, or a writer appended without being refused, although its last events are gone.
    """
    return _failed_over(rounds, seed, is_awaited=False)


def _failed_over(rounds: int, seed: int, *, is_awaited: bool) -> Result:
    from ledger import Ledger
    from ledger.journal.sql.create import create_journal
    from tools.testkit.postgres import start_postgres

    dice = random.Random(seed)  # noqa: S311  # repeatable, not secret
    books, numbers = _Books(), itertools.count(1)
    come_back_sec: list[float] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(start_postgres())
        url = server.create_database()
        create_journal(url, partitions=_PARTITIONS)
        for _ in range(rounds):
            standby = stack.enter_context(server.standby(is_awaited=is_awaited))
            both = _either_url(url.rpartition("/")[2], dice.sample((server.port, standby.port), 2))
            writing = _Writers(both, folder, books, dice, numbers, many=_WRITERS_OF_FAILOVER)
            with writing as writers, Ledger.open(both) as ledger:
                writers.wait_for_all(0)
                struck_at, silent_at = _cut_off_and_killed(server, writers, dice, is_awaited=is_awaited)
                standby.promote()
                come_back_sec.append(writers.wait_for_all(silent_at) - struck_at)
                url = standby.url(url.rpartition("/")[2])
                _check(books, ledger, url, writers.refresh)
                if is_awaited and writers.refusals():
                    raise Broken("a writer was refused for events that are gone, and the server waits for its standby")
                writers.require_refused(books.lost)
            server.stop()
            server = standby
            with Ledger.open(url) as ledger:
                _check(books, ledger, url)
    return _result("failover" if is_awaited else "unwaited", rounds, [books], come_back_sec, may_lose=not is_awaited)


def _cut_off_and_killed(
    server: "PostgresServer", writers: _Writers, dice: random.Random, *, is_awaited: bool
) -> tuple[float, float]:
    """Kill a server a moment after the last bytes that its standby gets; return when it was killed, and when it was silent.

    Without waiting it acknowledges meanwhile what nobody else has; each of the writers goes on so far.
    """
    server.stop_sending()
    if not is_awaited:
        writers.wait_for_all(time.monotonic())
    time.sleep(dice.uniform(0, 0.2))  # anywhere within an append
    struck_at = time.monotonic()
    server.kill()
    return struck_at, time.monotonic()


def _either_url(database: str, ports: list[int]) -> str:
    hosts = "&".join(f"host=127.0.0.1:{port}" for port in ports)
    return f"postgresql+psycopg://postgres@/{database}?{hosts}&target_session_attrs=read-write"


# ------------------------------------------------------------------------------------------ restarts under a daemon


class _Watch:
    """``ledger sync --watch`` in a process of its own, and what it logged as appended."""

    def __init__(self, url: str, endpoint: str) -> None:
        self._command = [sys.executable, "-m", "ledger", "sync", "--watch", "--interval", "0.05", "--journal", url]
        self._command += ["--gateway", endpoint, "--server-tz", "UTC"]
        self.acknowledged: set[int] = set()
        self._lines: deque[tuple[float, dict[str, Any]]] = deque()
        self.start()

    def start(self) -> None:
        """Start it, again after a kill."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, cwd=bootstrap.ROOT, text=True)
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # one that a kill cut off
                    output = json.loads(line)
                    self.acknowledged.update(output.get("fills", ()))
                    self._lines.append((time.monotonic(), output))

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End it in good order.

        Raises:
            Broken: It had ended before, or does not end well.
        """
        if self._process.poll() is not None:
            raise Broken(f"the daemon ended with {self._process.returncode}")
        self._process.terminate()
        if self._process.wait(_PATIENCE_SEC):
            raise Broken(f"the daemon ended with {self._process.returncode}")

    def wait(self, after: float, what: Callable[[dict[str, Any]], bool]) -> float:
        """Wait for a line of after a moment, and return when it came."""
        give_up = time.monotonic() + _PATIENCE_SEC
        while time.monotonic() < give_up:
            while self._lines:
                at, output = self._lines.popleft()
                if at > after and what(output):
                    return at
            if self._process.poll() is not None:
                raise Broken(f"the daemon ended with {self._process.returncode}")
            time.sleep(_LOOK_SEC)
        raise Broken("the daemon did not come back")


def watch_restarted(rounds: int, seed: int) -> Result:
    """Restart or kill a server under ``ledger sync --watch``, or the daemon itself, so many times, while the terminal trades.

    What the daemon logged as appended was acknowledged; in the end the journal holds every deal of the terminal once.

    Raises:
        Broken: Something does not hold, other than events lost or doubled.
    """
    from ledger import Ledger
    from ledger.gateway.sandbox.client import Sandbox
    from tools.testkit.postgres import start_postgres

    dice = random.Random(seed)  # noqa: S311  # repeatable, not secret
    come_back_sec: list[float] = []
    with start_postgres() as server, Sandbox.start("--server-tz", "UTC", "--seed", str(seed)) as sandbox:
        url = server.create_database()
        Ledger.open(url, create=True).close()
        daemon = _Watch(url, sandbox.endpoint)
        daemon.wait(0, lambda output: output.get("status") == "SUCCESS")
        for _ in range(rounds):
            sandbox.trade_manually(dice.randint(1, 5))
            time.sleep(dice.uniform(0, 0.2))  # anywhere within a sync
            struck_at = time.monotonic()
            fault = dice.choice(("killed", "shut down", "daemon"))
            if fault == "daemon":
                daemon.kill()
                sandbox.trade_manually(1)
                daemon.start()
            else:
                server.kill() if fault == "killed" else server.shut_down()
                sandbox.trade_manually(dice.randint(1, 3))
                daemon.wait(struck_at, lambda output: output.get("status") == "FAILED")
                server.restart()
            ticket = sandbox.control("cash", type=2, amount="1")["deal"]
            back_at = daemon.wait(struck_at, lambda output, ticket=ticket: ticket in output.get("fills", ()))  # type: ignore[misc]
            come_back_sec.append(back_at - struck_at)
        daemon.end()
        books = sandbox.books()
        with Ledger.open(url, create=False) as ledger:
            by_ledger, by_driver = _deals_by_ledger(ledger), _deals_by_driver(url)
            problems = ledger.verify().problems
        if problems or sum(by_driver.values()) < books["deals"]:
            raise Broken(f"verify: {problems[:3]}; {sum(by_driver.values())} deals of the terminal's {books['deals']}")
    return Result(
        fault="watch",
        rounds=rounds,
        acknowledged=len(daemon.acknowledged),
        lost=len(daemon.acknowledged - by_ledger.keys()),
        doubled=sum(times > 1 for times in by_driver.values()),
        come_back_ms_median=round(statistics.median(come_back_sec) * 1000, 1),
    )


# ------------------------------------------------------------------------------------------------------------ the command

#: Name -> what stages it, and how many rounds of it are worth waiting for.
FAULTS: Final[dict[str, tuple[Callable[[int, int], Result], int]]] = {
    "killed": (server_killed, 20),
    "cut": (connection_cut, 200),
    "failover": (failover, 5),
    "unwaited": (unwaited_failover, 5),
    "watch": (watch_restarted, 20),
}


def main() -> int:
    """Run and report."""
    if sys.argv[1:2] == ["--write"]:
        url, notes, login, number, seed = sys.argv[2:]
        write(url, notes, int(login), int(number), int(seed))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, metavar="N", help="how many faults of each kind")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which moments and kinds")
    parser.add_argument("--only", choices=tuple(FAULTS), help="just these")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.DEV_LOCK)
    results = []
    for name in [arguments.only] if arguments.only else FAULTS:
        stage, usual = FAULTS[name]
        try:
            results.append(stage(usual if arguments.rounds is None else arguments.rounds, arguments.seed))
        except Broken as error:
            print(f"BROKEN, {name}, seed {arguments.seed}: {error}", file=sys.stderr)
            return 1
    if arguments.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        print(f"{'fault':<10}{'rounds':>8}{'acknowledged':>14}{'lost':>8}{'doubled':>9}{'back after':>14}")
        for one in results:
            back = f"{one.come_back_ms_median:,.0f} ms"
            print(f"{one.fault:<10}{one.rounds:>8,}{one.acknowledged:>14,}{one.lost:>8,}{one.doubled:>9,}{back:>14}")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
