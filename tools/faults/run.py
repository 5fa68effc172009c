#!/usr/bin/env python3
"""Stages every fault that a journal has to survive, for real, and writes what came of it as one table.

    python3 tools/faults/run.py                      # a short round of each
    python3 tools/faults/run.py --full               # thousands; writes docs/FAULTS.md
    python3 tools/faults/run.py --only "disk full" --seed 7

What was acknowledged has to be there once, what was not is absent or whole, and the next start reports what it found. Where a
file was damaged, that is: the damage is found, and the backup is restored. The exit code is 1 if anything was lost or doubled.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

if TYPE_CHECKING:
    from ledger import Account

_DOCUMENT: Final = bootstrap.ROOT / "docs" / "FAULTS.md"
_MARK: Final = "<!-- the table, as tools/faults/run.py --full wrote it -->"
_TMPFS_KB: Final = 6000
_START_US: Final = 1_767_607_200_000_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of a fault. ``come_back_ms`` is the median from the fault, or the next start, to the first append.

    ``may_lose``: it loses what was acknowledged, by design of what is staged, and is counted to show how much.
    """

    fault: str
    rounds: int
    acknowledged: int
    lost: int
    doubled: int
    come_back_ms: float
    may_lose: bool = False


class Broken(Exception):
    """Something does not hold that must."""


class Book:
    """A journal in a folder, what was acknowledged of it, and how long it took to come back."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.file = folder / "journal.db"
        self.url = f"sqlite:///{self.file}"
        self.acknowledged: set[int] = set()
        self.come_back: list[float] = []
        self._deal = 0

    def start_at(self, deal: int) -> None:
        """Go on with other tickets."""
        self._deal = deal

    def record(self, account: "Account") -> None:
        """Record one fill, or a batch, and note what was acknowledged."""
        from ledger import FillRecorded

        count = self.chance.choice([1, 1, 1, 40])
        deals = range(self._deal + 1, self._deal + count + 1)
        fills = [
            FillRecorded(
                deal=deal, symbol="EURUSD", side="buy", entry="in", volume=1, price="1.1", position_id=1 + deal % 9, order=deal,
                time_msc=1_767_607_200_000 + deal, commission=0, fee=0, swap=0, profit=0, comment="x" * 200,
            )
            for deal in deals
        ]  # fmt: skip
        self._deal += count
        account.record_many(fills)
        self.acknowledged.update(deals)

    @contextmanager
    def opened(self, **words: Any) -> "Iterator[Account]":
        """Open the journal and give out its one account, opened on the first time."""
        from ledger import Ledger

        with Ledger.create(self.url, **words) as ledger:
            account = ledger.account("Sandbox-Demo", 1)
            account.open(currency="USD", mode="hedging", time_msc=1_767_607_200_000)
            yield account

    def back(self, **words: Any) -> None:
        """Measure the time from the next start to its first append."""
        begun = time.perf_counter()
        with self.opened(**words) as account:
            self.record(account)
        self.come_back.append((time.perf_counter() - begun) * 1000)

    def missing_and_doubled(self) -> tuple[int, int]:
        """Compare the file with what was acknowledged, by a bare driver; and have the ledger verify it."""
        from ledger import Ledger

        with sqlite3.connect(self.file) as connection:
            keys = [key for (key,) in connection.execute("SELECT deal FROM events WHERE kind = 'FillRecorded'")]
        connection.close()
        with Ledger.open(self.url) as ledger:
            problems = ledger.verify().problems
        if problems:
            raise Broken(f"{self.folder}: {problems[0]}")
        return len(self.acknowledged - set(keys)), len(keys) - len(set(keys))


Stage = Callable[[Book], None]


def staged(fault: str, stage: Stage, rounds: int, seed: int) -> Row:
    """Stage a fault again and again, each time on a journal of its own."""
    acknowledged = lost = doubled = 0
    come_back: list[float] = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="ledger-fault-") as folder:
            book = Book(Path(folder), random.Random(f"{fault} {seed} {number}"))  # noqa: S311
            stage(book)
            missing, twice = book.missing_and_doubled()
            acknowledged, lost, doubled = acknowledged + len(book.acknowledged), lost + missing, doubled + twice
            come_back += book.come_back
    return Row(
        fault=fault, rounds=rounds, acknowledged=acknowledged, lost=lost, doubled=doubled,
        come_back_ms=round(statistics.median(come_back), 1),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------ disk and file


def disk_full(book: Book) -> None:
    """A small disk of its own fills up while an engine appends; then somebody frees space."""
    from ledger.errors import JournalUnavailable

    with _small_disk(book) as filler, book.opened() as account:
        filler.write_bytes(bytes(1024 * book.chance.randint(_TMPFS_KB // 2, _TMPFS_KB - 1500)))
        _until_refused(book, account, JournalUnavailable, "full")
        filler.unlink()
        begun = time.perf_counter()
        book.record(account)
        book.come_back.append((time.perf_counter() - begun) * 1000)


@contextmanager
def _small_disk(book: Book) -> Iterator[Path]:
    """Put the journal on a disk of a few megabytes: a tmpfs where we may mount one."""
    disk = book.folder / "disk"
    disk.mkdir()
    options = f"size={_TMPFS_KB}k"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        raise Broken("a disk to be filled needs the right to mount one: run this as root, in a container")
    book.file = disk / "journal.db"
    book.url = f"sqlite:///{book.file}"
    try:
        yield disk / "filler"
        shutil.copy(book.file, book.folder / "journal.db")  # after the last connection is closed, for the comparison
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607
        book.file = book.folder / "journal.db"
        book.url = f"sqlite:///{book.file}"


def _until_refused(book: Book, account: "Account", error: type[Exception], word: str) -> None:
    for _ in range(2000):
        try:
            book.record(account)
        except error as refused:
            if word not in str(refused):
                raise Broken(f"{refused} does not name {word!r}") from refused
            return
    raise Broken(f"2,000 appends and none was refused ({word})")


def read_only(book: Book) -> None:
    """The journal cannot be written any more: the engine is refused, readers are not, and then it can again."""
    from ledger.errors import JournalError

    with book.opened() as account:
        for _ in range(book.chance.randint(1, 20)):
            book.record(account)
    with book.opened() as account:
        _set_query_only(account.ledger.journal, is_on=True)
        _until_refused(book, account, JournalError, "readonly")
        if len(account.portfolio.positions) == 0:
            raise Broken("a reader sees nothing")
        _set_query_only(account.ledger.journal, is_on=False)
    book.back()


def _set_query_only(journal: Any, *, is_on: bool) -> None:
    """Do to every connection what a file system does that was remounted read-only."""
    for writer in journal._appender._writers._idle:  # noqa: SLF001  # the connections that write are not in the pool
        writer.driver.execute(f"PRAGMA query_only = {'ON' if is_on else 'OFF'}")
    connections = [journal.engine.raw_connection() for _ in range(max(1, len(journal.engine._idle)))]  # noqa: SLF001  # all of them
    for connection in connections:
        connection.driver_connection.execute(f"PRAGMA query_only = {'ON' if is_on else 'OFF'}")
    for connection in connections:
        connection.close()


def damaged_page(book: Book) -> None:
    """A page is overwritten with noise or zeros: it is found, and the backup brings everything back."""
    _damaged(book, _overwrite_page)


def truncated_file(book: Book) -> None:
    """The end of the file is gone: it is found, and the backup brings everything back."""
    _damaged(book, _truncate)


def _overwrite_page(book: Book) -> None:
    pages = book.file.stat().st_size // 4096
    with book.file.open("r+b") as file:
        file.seek(4096 * book.chance.randrange(pages))
        file.write(book.chance.choice([bytes(4096), book.chance.randbytes(4096)]))


def _truncate(book: Book) -> None:
    size = book.file.stat().st_size
    with book.file.open("r+b") as file:
        file.truncate(book.chance.randrange(1, size))


def _damaged(book: Book, damage: Callable[[Book], None]) -> None:
    from ledger import Ledger
    from ledger.journal.backup import copy_journal
    from ledger.service import utc_now_us

    with book.opened() as account:
        for _ in range(book.chance.randint(5, 40)):
            book.record(account)
        backup = book.folder / "backup.db"
        copy_journal(account.ledger.journal, f"sqlite:///{backup}", utc_now_us)
        before = account.head
    damage(book)
    if not _is_found(book) and not _is_whole(book, before):
        raise Broken(f"{book.folder}: the damage was not found")
    begun = time.perf_counter()
    for left in book.folder.glob("journal.db*"):
        left.unlink()
    with Ledger.open(f"sqlite:///{backup}") as ledger:
        copy_journal(ledger.journal, book.url, utc_now_us)
    with book.opened() as account:
        book.record(account)
    book.come_back.append((time.perf_counter() - begun) * 1000)


def _is_found(book: Book) -> bool:
    """Whether opening or verifying reports that something is wrong, in the ledger's own words."""
    from ledger import Ledger, LedgerError

    try:
        with Ledger.open(book.url) as ledger:
            return not ledger.verify().ok
    except LedgerError:
        return True


def _is_whole(book: Book, head: str) -> bool:
    """Whether the damage hit nothing that is in use."""
    with book.opened() as account:
        return account.head == head and account.verify().problems == ()


# ------------------------------------------------------------------------------------------------- replaced and forked


def removed(book: Book) -> None:
    """The journal is removed or renamed, its log with it or not, while an engine has it open; then the file is put back."""
    from ledger import JournalReplaced

    aside = book.folder / "aside"
    aside.mkdir()
    suffixes = book.chance.choice([("",), ("", "-wal", "-shm"), ("-wal",), ("-wal", "-shm"), ("-shm",)])
    with book.opened() as account:
        for _ in range(book.chance.randint(1, 20)):
            book.record(account)
        for suffix in suffixes:
            Path(f"{book.file}{suffix}").rename(aside / f"journal.db{suffix}")
        _until_refused(book, account, JournalReplaced, "while it was open")
    if "" in suffixes:
        for left in book.folder.glob("journal.db*"):
            left.unlink()
        (aside / "journal.db").rename(book.file)
    book.back()


def replaced(book: Book) -> None:
    """A backup, an older copy or another journal replaces it, moved or copied over it; then the backup is restored."""
    from ledger import JournalReplaced, Ledger
    from ledger.journal.backup import copy_journal, restore_journal
    from ledger.service import utc_now_us

    names = [book.folder / name for name in ("backup.db", "older.db", "other.db")]
    backup, older, other = names
    with book.opened() as account:
        book.record(account)
    shutil.copy(book.file, older)
    shutil.copy(book.folder / "journal.db", other)
    with book.opened() as account:
        for _ in range(book.chance.randint(1, 20)):
            book.record(account)
        copy_journal(account.ledger.journal, str(backup), utc_now_us)
        source = book.folder / "source.db"
        shutil.copy(book.chance.choice(names), source)
        if book.chance.random() < 0.5:
            source.replace(book.file)
        else:
            shutil.copy(source, book.file)
        _until_refused(book, account, JournalReplaced, "while it was open")
    begun = time.perf_counter()
    for left in book.folder.glob("journal.db*"):
        left.unlink()
    with Ledger.open(str(backup)) as ledger:
        restore_journal(ledger.journal, book.url, utc_now_us)
    with book.opened() as account:
        book.record(account)
    book.come_back.append((time.perf_counter() - begun) * 1000)


def forked(book: Book) -> None:
    """An engine forks while its threads append; children go on with its ledger, and it closes it or goes on as well."""
    with book.opened() as account:
        for _ in range(3):
            book.record(account)
        stop = threading.Event()
        beside = Book(book.folder, random.Random(book.chance.random()))  # noqa: S311
        beside.start_at(10**8)

        def append() -> None:
            while not stop.is_set():
                beside.record(account)

        thread = threading.Thread(target=append)
        thread.start()
        children = [_child(book, account, (number + 1) * 10**6) for number in range(3)]
        if book.chance.random() < 0.5:
            for _ in range(5):
                book.record(account)
        stop.set()
        thread.join()
    for pid, reading in children:
        with os.fdopen(reading, "rb") as pipe:
            book.acknowledged.update(_deals(pipe.read()))
        if os.waitpid(pid, 0)[1]:
            raise Broken(f"{book.folder}: a child failed")
    book.acknowledged |= beside.acknowledged
    book.start_at(10**9)
    book.back()


def _child(book: Book, account: "Account", first: int) -> tuple[int, int]:
    """Fork a process that records some fills through the ledger of its parent, and return it and where it writes them down."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 1
    try:
        mine = Book(book.folder, random.Random(first))  # noqa: S311
        mine.start_at(first)
        for _ in range(10):
            mine.record(account)
        os.write(writing, b"".join(deal.to_bytes(8, "big") for deal in sorted(mine.acknowledged)))
        code = 0
    finally:
        os._exit(code)


def _deals(written: bytes) -> set[int]:
    return {int.from_bytes(written[at : at + 8], "big") for at in range(0, len(written) // 8 * 8, 8)}


# ------------------------------------------------------------------------------------------------- clock and versions


def clock_backwards(book: Book) -> None:
    """Our own clock jumps back, by seconds or years: recorded times go on rising, and every question has an answer."""
    now = [_START_US]

    def clock() -> int:
        now[0] += book.chance.choice([1, 1000, 10**6, -(10**6), -(10**9), -(10**13), 10**12])
        now[0] = max(now[0], 1)
        return now[0]

    with book.opened(now_us=lambda: _START_US):
        pass  # a clock that is wrong from the start opens no account: its deals would be ahead of it
    with book.opened(now_us=clock) as account:
        for _ in range(40):
            book.record(account)
        recorded = [event.recorded_us for event in account.events()]
        if recorded != sorted(set(recorded)):
            raise Broken("recorded times do not rise")
    book.back(now_us=clock)


def two_migrations(book: Book) -> None:
    """Two programs migrate an older journal at once, while a third one waits to append."""
    from ledger.journal.sql.words import REVISION

    _thaw(book)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map(_migrated, [book.url] * 2)
    if sorted(found) not in (["0001", "0001"], ["0001", REVISION]):
        raise Broken(f"two migrations found {found}")
    book.back()


def newer_journal(book: Book) -> None:
    """A newer program wrote the journal: the older one refuses it and changes nothing; the newer one goes on."""
    from ledger import JournalNewer, Ledger

    with book.opened() as account:
        for _ in range(5):
            book.record(account)
    with sqlite3.connect(book.file) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = book.file.read_bytes()
    for create in (True, False):
        with suppress(JournalNewer):
            Ledger.open(book.url, create=create)
            raise Broken("a newer journal was opened")
    if book.file.read_bytes() != before:
        raise Broken("a newer journal was changed")
    with sqlite3.connect(book.file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.close()
    book.back()


def _thaw(book: Book) -> None:
    import lzma

    book.file.write_bytes(lzma.decompress((bootstrap.ROOT / "tests" / "journals" / "0001.db.xz").read_bytes()))
    with sqlite3.connect(book.file) as connection:
        first = "account_id = (SELECT min(account_id) FROM accounts)"
        deals = connection.execute(f"SELECT deal FROM events WHERE kind = 'FillRecorded' AND {first}")
        book.acknowledged.update(deal for (deal,) in deals)
        # One account is enough: the other one has the same tickets.
        other = first.replace("=", "<>")
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f'DROP TRIGGER "{name}"')
        for table in ("events", "heads", "accounts"):
            connection.execute(f"DELETE FROM {table} WHERE {other}")
        for _, sql in triggers:
            connection.execute(sql)
    connection.close()
    book.start_at(10**6)


def _migrated(url: str) -> str:
    from ledger.journal.sql.engine import open_engine
    from ledger.journal.sql.migrate import migrate

    engine = open_engine(url)
    found = migrate(engine)
    engine.dispose()
    return found or "none"


# -------------------------------------------------------------------------------------------------------------- kills


def _killed(book: Book, work: Callable[[int], object]) -> bytes:
    """Run something in a process of its own, kill that at a random instant, and return what it wrote down before."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            work(writing)
        finally:
            os._exit(0)
    os.close(writing)
    time.sleep(book.chance.uniform(0, book.chance.choice([0.005, 0.05])))  # the random instant
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read()


def _filled(book: Book, appends: int) -> None:
    with book.opened() as account:
        for _ in range(appends):
            book.record(account)


def killed_append(book: Book) -> None:
    """An engine that appends and writes down each deal after it was recorded."""

    def work(pipe: int) -> None:
        with book.opened() as account:
            while True:
                before = set(book.acknowledged)
                book.record(account)
                os.write(pipe, b"".join(deal.to_bytes(8) for deal in sorted(book.acknowledged - before)))

    _filled(book, 1)
    written = _killed(book, work)
    book.acknowledged.update(_deals(written))
    book.start_at(10**6)
    book.back()


def killed_import(book: Book) -> None:
    """An import of JSON lines; importing again ends as if nothing had happened."""
    from ledger import Ledger
    from ledger.exporter import export, import_json_lines

    source = Book(book.folder, book.chance)
    source.file = book.folder / "source.db"
    source.url = f"sqlite:///{source.file}"
    _filled(source, 30)
    lines = book.folder / "source.jsonl"
    with Ledger.open(source.url) as ledger:
        export(ledger, ledger.accounts(), lines, "jsonl")
        heads = ledger.journal.heads()

    def work(_: int) -> None:
        with Ledger.create(book.url) as ledger:
            import_json_lines(ledger, lines)

    _killed(book, work)
    begun = time.perf_counter()
    with Ledger.create(book.url) as ledger:
        import_json_lines(ledger, lines)
        if ledger.journal.heads() != heads:
            raise Broken(f"{book.folder}: another journal than the one that was exported")
    book.come_back.append((time.perf_counter() - begun) * 1000)
    book.acknowledged.update(source.acknowledged)


def killed_migration(book: Book) -> None:
    """A migration from the first schema on; the journal has the one schema or the other, whole, and migrating again ends it."""
    from ledger.journal.sql.words import REVISION

    _thaw(book)
    _killed(book, lambda _: _migrated(book.url))
    with sqlite3.connect(book.file) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    if revision not in ("0001", REVISION):
        raise Broken(f"{book.folder}: half a migration, at {revision}")
    book.back()


def killed_checkpoint(book: Book) -> None:
    """A reader whose replays leave checkpoints; a replay with what is left is a replay from the start."""
    _filled(book, 30)

    def work(_: int) -> None:
        with book.opened() as account:
            account.ledger.checkpoint_interval = 5
            while True:
                account.replay()
                with account.ledger.journal.engine.alchemy.begin() as connection:  # type: ignore[attr-defined]
                    connection.exec_driver_sql("DELETE FROM checkpoints")

    _killed(book, work)
    book.back()
    with book.opened() as account:
        if account.replay().state() != account.replay(checkpoints=False).state():
            raise Broken(f"{book.folder}: a checkpoint is not what a replay gives")


def killed_backup(book: Book) -> None:
    """A backup under way: no journal before it is whole, and another backup completes it."""
    from ledger import Ledger, LedgerError
    from ledger.journal.backup import copy_journal
    from ledger.service import utc_now_us

    _filled(book, 30)
    backup = f"sqlite:///{book.folder}/backup.db"

    def work(_: int) -> None:
        with Ledger.open(book.url) as ledger:
            copy_journal(ledger.journal, backup, utc_now_us)

    _killed(book, work)
    with Ledger.open(book.url) as ledger:
        begun = time.perf_counter()
        with suppress(LedgerError):  # it was finished already, and is refused as a target
            copy_journal(ledger.journal, backup, utc_now_us)
        book.come_back.append((time.perf_counter() - begun) * 1000)
        with Ledger.open(backup) as copy:
            if copy.journal.heads() != ledger.journal.heads():
                raise Broken(f"{book.folder}: the backup is another journal")


# -------------------------------------------------------------------------------------------------------- all of them


STAGES: Final[dict[str, tuple[Stage, int, int]]] = {  # fault -> how it is staged, short rounds, full rounds
    "disk full": (disk_full, 3, 200),
    "read-only": (read_only, 3, 200),
    "damaged page, backup restored": (damaged_page, 5, 500),
    "truncated file, backup restored": (truncated_file, 5, 500),
    "clock jumps backwards": (clock_backwards, 3, 200),
    "two migrations at once": (two_migrations, 3, 200),
    "newer journal, older program": (newer_journal, 3, 200),
    "journal removed or renamed while open": (removed, 5, 200),
    "journal replaced while open": (replaced, 5, 200),
    "fork while threads append": (forked, 3, 200),
    "SIGKILL during append": (killed_append, 10, 2000),
    "SIGKILL during import": (killed_import, 5, 1000),
    "SIGKILL during migration": (killed_migration, 5, 500),
    "SIGKILL while checkpoints are saved": (killed_checkpoint, 5, 1000),
    "SIGKILL during backup": (killed_backup, 5, 500),
}


def _others(full: bool, seed: int) -> Iterator[tuple[str, Callable[[], list[Row]]]]:  # noqa: FBT001
    """Yield the faults that have tools of their own."""
    from tools.faults import postgres as postgres_faults
    from tools.faults import power_loss

    yield "power loss", lambda: [_row("power loss", power_loss.rounds(2000 if full else 30, seed))]
    for name, stage, many in (
        ("Postgres killed with -9", postgres_faults.server_killed, 10),
        ("connection cut at commit", postgres_faults.connection_cut, 60),
        ("failover to a standby", postgres_faults.failover, 5),
        ("failover to a standby, without waiting for it", postgres_faults.unwaited_failover, 5),
        ("restarts under --watch", postgres_faults.watch_restarted, 30),
    ):
        yield name, lambda name=name, stage=stage, many=many: [_row(name, stage(many if full else 1, seed))]  # type: ignore[misc]


def _row(fault: str, found: Any) -> Row:
    return Row(
        fault=fault, rounds=found.rounds, acknowledged=found.acknowledged, lost=found.lost, doubled=found.doubled,
        come_back_ms=round(found.come_back_ms_median, 1), may_lose=getattr(found, "may_lose", False),
    )  # fmt: skip


def rows(seed: int, *, full: bool, only: str | None = None) -> Iterator[Row]:
    """Stage all faults, or those whose name contains a text."""
    for fault, (stage, short, many) in STAGES.items():
        if only is None or only in fault:
            yield staged(fault, stage, many if full else short, seed)
    for fault, run in _others(full, seed):
        if only is None or only in fault:
            yield from run()


def table(found: list[Row]) -> str:
    """Return the rows as a table for a document."""
    lines = ["| fault | rounds | acknowledged | lost | doubled | recovery time (median) |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.fault} | {row.rounds:,} | {row.acknowledged:,} | {row.lost} | {row.doubled} | {row.come_back_ms:,} ms |"
        for row in found
    ]
    return "\n".join(lines)


def main() -> int:
    """Stage them, print the table, and with ``--full`` write it into the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="thousands of rounds; writes docs/FAULTS.md")
    parser.add_argument("--only", metavar="TEXT", help="only faults whose name contains this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.DEV_LOCK)
    found = []
    for row in rows(arguments.seed, full=arguments.full, only=arguments.only):
        found.append(row)
        if not arguments.json:
            print(f"{row.fault}: {row.rounds} rounds, {row.acknowledged} acknowledged, {row.lost} lost, {row.doubled} doubled, "
                  f"back in {row.come_back_ms} ms", flush=True)  # fmt: skip
    if arguments.json:
        print(json.dumps([asdict(row) for row in found], indent=1))
    if arguments.full and arguments.only is None:
        head = _DOCUMENT.read_text(encoding="utf-8").partition(_MARK)[0]
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
        _DOCUMENT.write_text(f"{head}{_MARK}\n\n{table(found)}\n\n{machine}, seed {arguments.seed}.\n", encoding="utf-8")
    return 1 if any((row.lost and not row.may_lose) or row.doubled for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
