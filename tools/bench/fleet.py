"""The rows about a fleet: a partitioned journal, archiving all accounts, and asking about all of them by every executor.

A partitioned journal on Postgres is measured beside a plain one, doing the same in turn.

Rates count a second of CPU of the process that does the work, where that is one process; where others do it, a second as it
passes, with the start of the executor. A digest that is not the journal's ends the run.
"""

import gc
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path as File
from typing import Any

from tools.bench.journals import make_fleet, make_journal
from tools.bench.paths import Path, Paths, Sizes
from tools.bench.read import replay_rate
from tools.bench.write import books, socket_url

_PARTITIONS = 64
_MORE = 5


def partition_paths(server: Any, sizes: Sizes) -> Paths:
    """What partitions cost one account: a durable fill, a thousand at once, a replay; and how many of them it reads."""
    one, many, _ = books(lambda: partitioned_url(server), sizes)
    one_plain, many_plain, _ = books(lambda: socket_url(server), sizes)
    yield Path(
        name=f"one durable fill, {_PARTITIONS} partitions, to none", unit="ms", ours=one, reference=one_plain, target=1.15,
        by_ratio=True, more=_MORE,
    )  # fmt: skip
    yield Path(
        name=f"record_many of 1,000, {_PARTITIONS} partitions, to none", unit="events/s", ours=many, reference=many_plain,
        target=0.85, better="higher", by_ratio=True, more=_MORE,
    )  # fmt: skip
    url, plain = (make_journal(new(server), sizes.replayed, nets=False) for new in (partitioned_url, socket_url))
    yield Path(
        name=f"full replay of {sizes.replayed:,} events, {_PARTITIONS} partitions, to none", unit="events/s", target=0.85,
        better="higher", by_ratio=True, ours=lambda: replay_rate(url), reference=lambda: replay_rate(plain),
    )  # fmt: skip
    yield Path(
        name=f"partitions of {_PARTITIONS} that inserting one event reads", unit="partitions", target=1, once=True,
        ours=lambda: float(len(partitions_read(url))),
    )  # fmt: skip


def partitioned_url(server: Any) -> str:
    """Make a partitioned journal, and return its URL on the server's Unix socket."""
    from ledger.journal.sql.create import create_journal

    url = socket_url(server)
    create_journal(url, partitions=_PARTITIONS)
    return url


def partitions_read(url: str) -> set[str]:
    """Return the partitions that Postgres reads to insert one event, by the plan that it has for any values."""
    import psycopg

    from ledger import Ledger
    from ledger.journal.sql import wire
    from ledger.journal.sql.words import account_key

    with Ledger.open(url) as ledger:
        (account,) = ledger.accounts()
        values = [account_key(account.name), *next(ledger.journal.rows(account.name)), 0, 0]
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        types = ", ".join(("int8", *wire._TYPES, "int8", "int8"))  # noqa: SLF001  # a measurement looks inside
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE one ({types}) AS {wire._INSERT}")  # noqa: SLF001
        statement: Any = f"EXPLAIN EXECUTE one ({', '.join(['%s'] * len(values))})"
        rows = psycopg.ClientCursor(connection).execute(statement, values).fetchall()
    return set(re.findall(r" on (events_p\d+)", "\n".join(line for (line,) in rows)))


def archive_paths(folder: File, sizes: Sizes) -> Paths:
    """Archiving, folding by each executor, and a question about all accounts at a moment in the past."""
    gc.set_threshold(50_000)  # as the command does
    accounts, each = sizes.fleet
    url, size = make_fleet(folder, accounts, each), f"{accounts:,} accounts, {accounts * each:,} events"
    archive = folder / f"archive-{accounts}-{each}"
    yield Path(
        name=f"archive {size}", unit="events/s CPU", target=None, better="higher", once=True,
        ours=lambda: accounts * each / _cpu(partial(write_archive, url, archive)),
    )  # fmt: skip
    yield Path(
        name=f"verify the archive of {size}", unit="events/s CPU", target=None, better="higher", once=True,
        ours=lambda: accounts * each / _cpu(partial(verify, archive)),
    )  # fmt: skip
    expected = digests(url)
    yield Path(
        name=f"fold {size}, archive to journal", unit="events/s CPU", target=350_000, better="higher", once=True,
        ours=lambda: accounts * each / _cpu(partial(_fold, archive, expected, "local", 1)),
        reference=lambda: accounts * each / _cpu(partial(digests, url)),
    )  # fmt: skip
    for name in ("local", "dask", "ray", "spark"):
        yield Path(
            name=f"fold {size}, {name}, with its start", unit="events/s", target=None, better="higher", once=True,
            ours=lambda name=name: accounts * each / _seconds(partial(_fold, archive, expected, name, os.cpu_count() or 1)),  # type: ignore[misc]
        )  # fmt: skip
    middle = moment(url)
    for asked in ({"until": middle}, {"known_at": middle}):
        _fold(archive, digests(url, **asked), "local", os.cpu_count() or 1, **asked)
    yield Path(
        name=f"who held gold then, and who believed it, {size}", unit="s", target=60, once=True,
        ours=lambda: _seconds(partial(ask, archive, middle)),
    )  # fmt: skip


def write_archive(url: str, archive: File) -> None:
    """Archive a journal anew, in this process."""
    from ledger import Ledger
    from ledger.archive.write import archive as write
    from ledger.service import utc_now_us

    shutil.rmtree(archive, ignore_errors=True)
    write(lambda: Ledger.open(url).journal, archive, utc_now_us)


def verify(archive: File) -> None:
    """Verify an archive."""
    from ledger.archive.verify import verify_archive

    _require(verify_archive(archive)[1] == [], "the archive does not verify")


def digests(url: str, **moment: Any) -> str:
    """Return the digest of all accounts of a journal."""
    from ledger import Ledger
    from ledger.forensics import fleet_digest
    from ledger.forensics.questions import replay_journal

    with Ledger.open(url) as ledger:
        ledger.checkpoint_interval = sys.maxsize  # or a second replay would begin at what the first left
        return fleet_digest(replay_journal(ledger, **moment))


def _fold(archive: File, expected: str, executor: str, workers: int, **moment: Any) -> None:
    from ledger.forensics import fleet_digest
    from ledger.forensics.questions import Where, replay

    found = fleet_digest(replay(archive, Where(executor=executor, workers=workers), **moment))
    _require(found == expected, f"{executor} gives another digest than the journal")


def moment(url: str) -> str:
    """Return a moment in the middle of what happened, behind much of what was recorded."""
    from ledger import Ledger
    from ledger.clock import utc_text

    with Ledger.open(url) as ledger:
        account = ledger.accounts()[0]
        middle = next(ledger.journal.rows(account.name, after=account.version * 6 // 10))
        return utc_text(account.terms.clock.to_utc_msc(middle.time_msc))


def ask(archive: File, middle: str) -> None:
    """Ask who was exposed to gold at a moment, as known now and as believed then."""
    from ledger.forensics.conditions import Condition
    from ledger.forensics.questions import Where, replay, select_positions

    gold = [Condition.parse("symbol = XAUUSD")]
    for asked in ({"until": middle}, {"known_at": middle}):
        _require(bool(list(select_positions(replay(archive, Where(), **asked), gold))), "nobody held gold")


def _require(is_right: bool, what: str) -> None:  # noqa: FBT001
    if not is_right:
        raise SystemExit(what)


def _cpu(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
