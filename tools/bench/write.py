"""The rows about recording: one durable fill, a thousand at once, several accounts at once.

The bare driver inserts the same rows, made before, into the table of another journal: the same columns, keys, indexes and
triggers, and the same durability. It finds out nothing, decides nothing and chains nothing.
"""

import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path as File
from typing import Any

from tools.bench.journals import generate_events
from tools.bench.paths import Path, Paths, Sizes

_MANY = 1000
_WARM = 20
_MORE = 5
_PROCESSES = 8
_names = count()


def _fresh() -> str:
    """Return a name that no other run has in the same folder."""
    return f"{os.getpid()}-{next(_names)}"


def sqlite_paths(folder: File, sizes: Sizes) -> Paths:
    """One durable fill and a thousand at once, into SQLite, against the driver and against eventsourcing."""
    from tools.bench.reference import Shelf

    one, many, rows = books(lambda: f"sqlite:///{folder}/write-{_fresh()}.db", sizes)
    journal = _bare_sqlite(folder / f"bare-{_fresh()}.db", plain=False)
    plain = _bare_sqlite(folder / f"plain-{_fresh()}.db", plain=True)
    shelf = Shelf(folder)
    yield Path(
        name="one durable fill, SQLite", unit="ms", ours=one, target=1.5, by_ratio=True, more=_MORE,
        reference=lambda: _each(journal, rows, sizes.fills),
    )  # fmt: skip
    yield Path(
        name="one durable fill, SQLite, to a bare table", unit="ms", ours=one, target=None, by_ratio=True, more=_MORE,
        reference=lambda: _each(plain, rows, sizes.fills),
    )  # fmt: skip
    yield Path(
        name="one durable fill, SQLite, to eventsourcing", unit="ms", ours=one, target=1.0, by_ratio=True, more=_MORE,
        reference=lambda: shelf.save_each(sizes.fills),
    )  # fmt: skip
    yield Path(
        name="record_many of 1,000, SQLite", unit="events/s", ours=many, target=0.4, better="higher", by_ratio=True, more=_MORE,
        reference=lambda: _at_once(journal, rows, sizes.batches),
    )  # fmt: skip
    yield Path(
        name="record_many of 1,000, SQLite, to a bare table", unit="events/s", ours=many, target=None, better="higher",
        by_ratio=True, more=_MORE, reference=lambda: _at_once(plain, rows, sizes.batches),
    )  # fmt: skip
    yield Path(
        name="record_many of 1,000, SQLite, absolute", unit="events/s", ours=many, target=50_000, better="higher", more=_MORE,
    )  # fmt: skip


def postgres_paths(server: Any, sizes: Sizes) -> Paths:
    """One durable fill into Postgres, and how several accounts in several processes get on."""
    one, many, rows = books(lambda: socket_url(server), sizes)
    bare = _BarePostgres(socket_url(server))
    yield Path(
        name="one durable fill, Postgres", unit="ms", ours=one, target=2.0, by_ratio=True, more=_MORE,
        reference=lambda: _each(bare, rows, sizes.fills),
    )  # fmt: skip
    yield Path(
        name="record_many of 1,000, Postgres", unit="events/s", ours=many, target=None, better="higher", by_ratio=True,
        more=_MORE, reference=lambda: _at_once(bare, rows, sizes.batches),
    )  # fmt: skip
    url = socket_url(server)
    yield Path(
        name="8 accounts in 8 processes, the bare driver, to one account", unit="fills/s", target=None, better="higher",
        by_ratio=True, ours=lambda: _side_by_side(url, _PROCESSES, 5 * sizes.fills, how="bare"),
        reference=lambda: _side_by_side(url, 1, 5 * sizes.fills, how="bare"),
    )  # fmt: skip
    yield Path(
        name="8 accounts in 8 processes, Postgres, to one account", unit="fills/s", target=3.0, better="higher", by_ratio=True,
        ours=lambda: _side_by_side(url, _PROCESSES, 5 * sizes.fills), reference=lambda: _side_by_side(url, 1, 5 * sizes.fills),
    )  # fmt: skip


def socket_url(server: Any) -> str:
    """Make a database and return its URL on the server's Unix socket."""
    name = server.create_database().rpartition("/")[2]
    return f"postgresql+psycopg://postgres@/{name}?host={server.folder}&port={server.port}"


# ---------------------------------------------------------------------------------------------------------------- ours


def books(new_url: Callable[[], str], sizes: Sizes) -> tuple[Callable[[], float], Callable[[], float], Iterator[Any]]:
    """Return what measures one fill (ms) and a thousand at once (events/s), and rows for the reference without an end."""
    from ledger import FillRecorded, Ledger

    ledger = Ledger.create(new_url())
    account = ledger.account("Bench", 1)
    account.open(currency="USD", mode="hedging", clock="ny-close")
    fills = (
        event
        for event in generate_events(10**9, seed=7, nets=False)
        if type(event) is FillRecorded and event.profit is not None
    )
    account.record_many([next(fills) for _ in range(1000)])

    def one() -> float:
        took = []
        for _ in range(sizes.fills):
            fill = next(fills)
            start = time.perf_counter()
            account.record(fill)
            took.append(time.perf_counter() - start)
        return statistics.median(took) * 1000

    def many() -> float:
        took = []
        for _ in range(sizes.batches):
            batch = [next(fills) for _ in range(_MANY)]
            start = time.perf_counter()
            account.record_many(batch)
            took.append(time.perf_counter() - start)
        return _MANY / statistics.median(took)

    return one, many, _rows()


def _rows() -> Iterator[Any]:
    """Yield rows as a journal holds them, with numbers of their own, for ever."""
    from ledger import FillRecorded, Ledger

    ledger = Ledger.open("memory://")
    account = ledger.account("Bench", 1)
    account.open(currency="USD", mode="hedging", clock="ny-close")
    fills = (
        event
        for event in generate_events(10**9, seed=7, nets=False)
        if type(event) is FillRecorded and event.profit is not None
    )
    seen = account.version
    while True:
        account.record_many([next(fills) for _ in range(_MANY)])
        for row in account._journal.rows(account.name, after=seen):  # noqa: SLF001
            yield (1, *row)
        seen = account.version
        if seen > 200_000:
            raise SystemExit("more rows were asked for than are held in memory")


# ----------------------------------------------------------------------------------------------------------- references


class _BareSqlite:
    def __init__(self, connection: sqlite3.Connection, insert: str) -> None:
        self._connection, self._insert = connection, insert

    def insert(self, rows: list[Any]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        if len(rows) == 1:
            self._connection.execute(self._insert, rows[0])
        else:
            self._connection.executemany(self._insert, rows)
        self._connection.execute("COMMIT")


def _bare_sqlite(file: File, *, plain: bool) -> _BareSqlite:
    """Make the table of a journal, or one with its columns and keys only, on a connection with our settings."""
    from ledger import Ledger
    from ledger.codec import Stored

    Ledger.create(f"sqlite:///{file}").close()
    connection = sqlite3.connect(file, isolation_level=None)
    for setting in ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON", "cache_size=-16384"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("INSERT INTO accounts VALUES (1, 'Bench', 1)")
    table = "events"
    if plain:
        table = "plain"
        columns = ", ".join(
            f"{name} {kind}{' NOT NULL' if needed else ''}"
            for _, name, kind, needed, *_ in connection.execute("PRAGMA table_info(events)")
        )
        connection.execute(
            f"CREATE TABLE plain ({columns}, PRIMARY KEY (account_id, version), UNIQUE (account_id, natural_key)) WITHOUT ROWID"
        )
    names = ", ".join(("account_id", *Stored._fields))
    marks = ", ".join("?" * (1 + len(Stored._fields)))
    return _BareSqlite(connection, f"INSERT INTO {table} ({names}) VALUES ({marks})")


class _BarePostgres:
    def __init__(self, url: str, *, account: int = 1) -> None:
        import psycopg

        from ledger import Ledger
        from ledger.codec import Stored

        Ledger.create(url).close()
        self._connection = psycopg.connect(url.replace("+psycopg", ""))
        self._connection.execute("INSERT INTO accounts VALUES (%s, 'Bare', %s)", (account, account))
        self._connection.commit()
        names = ", ".join(("account_id", *Stored._fields))
        self._insert: Any = f"INSERT INTO events ({names}) VALUES ({', '.join(['%s'] * (1 + len(Stored._fields)))})"

    def insert(self, rows: list[Any]) -> None:
        cursor = self._connection.cursor()
        if len(rows) == 1:
            cursor.execute(self._insert, rows[0])
        else:
            cursor.executemany(self._insert, rows)
        self._connection.commit()


def _each(bare: Any, rows: Iterator[Any], times: int) -> float:
    took = []
    for _ in range(times):
        row = [next(rows)]
        start = time.perf_counter()
        bare.insert(row)
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000


def _at_once(bare: Any, rows: Iterator[Any], batches: int) -> float:
    took = []
    for _ in range(batches):
        batch = [next(rows) for _ in range(_MANY)]
        start = time.perf_counter()
        bare.insert(batch)
        took.append(time.perf_counter() - start)
    return _MANY / statistics.median(took)


# ---------------------------------------------------------------------------------------------------- several processes


def _side_by_side(url: str, processes: int, fills: int, *, how: str = "ledger") -> float:
    """Return fills per second of several processes together, each with an account of its own."""
    command = [sys.executable, __file__, how, url, str(fills)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(
            [*command, str(next(_names))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(processes)
    ]
    for one in running:
        assert one.stdout is not None
        one.stdout.readline()  # it is ready
    start = time.perf_counter()
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in running:
        assert one.stdout is not None
        one.stdout.readline()  # all is recorded
    took = time.perf_counter() - start
    for one in running:
        one.communicate()
        if one.returncode:
            raise SystemExit("a process that records failed")
    return processes * fills / took


def _record(how: str, url: str, fills: int, login: int) -> None:
    """Record fills into an account of one's own at the signal, or insert as many rows."""
    from ledger import FillRecorded, Ledger

    record: Callable[[Any], Any]
    if how == "bare":
        bare, rows = _BarePostgres(url, account=login), _rows()
        fills_to_record: list[Any] = [[(login, *next(rows)[1:])] for _ in range(fills + _WARM)]
        record = bare.insert
    else:
        account = Ledger.create(url).account("Bench", 1000 + login)
        account.open(currency="USD", mode="hedging", clock="ny-close")
        source = generate_events(2 * (fills + _WARM), seed=login, nets=False)
        fills_to_record = [event for event in source if type(event) is FillRecorded][: fills + _WARM]
        record = account.record
    for fill in fills_to_record[:_WARM]:  # so that statements are prepared
        record(fill)
    print("ready", flush=True)
    sys.stdin.readline()
    for fill in fills_to_record[_WARM:]:
        record(fill)
    print("done", flush=True)


if __name__ == "__main__":
    _record(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
