"""The rows about asking: replays, moments, a start with a long history, verification, exports.

Each figure of a long journal is measured in a process of its own, which reports the memory it needed. The bare cursor reads
the columns that the fold reads, in the order of the primary key, and forgets them.
"""

import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path as File
from typing import Any

from tools.bench.journals import make_journal
from tools.bench.paths import Path, Paths, Sizes
from tools.bench.write import socket_url

_names = count()


def replay_paths(folder: File, sizes: Sizes) -> Paths:
    """Full replay to the portfolio on SQLite."""
    from tools.bench.reference import Shelf

    for nets in (False, True):
        kind = "netting" if nets else "hedging"
        url = journal_url(folder, sizes.replayed, nets=nets)
        yield Path(
            name=f"full replay, {kind}, {sizes.replayed:,} events, SQLite", unit="events/s", target=0.5, better="higher",
            by_ratio=True, ours=lambda url=url: replay_rate(url), reference=lambda url=url: cursor_rate(url),  # type: ignore[misc]
        )  # fmt: skip
        yield Path(
            name=f"full replay, {kind}, {sizes.replayed:,} events, SQLite, of segments to rows", unit="us", target=0.61,
            by_ratio=True, ours=lambda url=url: event_us(url, is_packed=True),  # type: ignore[misc]
            reference=lambda url=url: event_us(url, is_packed=False),  # type: ignore[misc]
        )  # fmt: skip
    shelf = Shelf(folder)
    shelf.fill_up(sizes.library)
    url = journal_url(folder, sizes.replayed, nets=False)
    yield Path(
        name=f"full replay, hedging, {sizes.replayed:,} events, to eventsourcing", unit="events/s", target=12, better="higher",
        by_ratio=True, ours=lambda: replay_rate(url), reference=shelf.replay,
    )  # fmt: skip


def postgres_replay_paths(server: Any, sizes: Sizes) -> Paths:
    """Full replay to the portfolio on Postgres."""
    url = make_journal(socket_url(server), sizes.replayed, nets=False)
    yield Path(
        name=f"full replay, hedging, {sizes.replayed:,} events, Postgres", unit="events/s", target=0.4, better="higher",
        by_ratio=True, ours=lambda: replay_rate(url), reference=lambda: cursor_rate(url),
    )  # fmt: skip


def long_paths(folder: File, sizes: Sizes) -> Paths:
    """What a long account costs, and that its length does not matter where it should not."""
    base, long = (journal_url(folder, events, nets=False) for events in (sizes.replayed, sizes.long))
    size = f"{sizes.long:,} events"
    yield Path(
        name=f"full replay of {size}, to the rate of {sizes.replayed:,}", unit="events/s", target=0.85, better="higher",
        by_ratio=True, ours=lambda: apart("replay", long)["rate"], reference=lambda: apart("replay", base)["rate"],
    )  # fmt: skip
    yield Path(
        name=f"memory of a full replay of {size}", unit="MB", target=150, ours=lambda: apart("replay", long)["mb"],
        reference=lambda: apart("replay", base)["mb"], once=True,
    )  # fmt: skip
    apart("checkpoints", long)
    yield Path(
        name=f"memory of a full replay of {size}, of segments", unit="MB", target=150, ours=lambda: apart("packed", long)["mb"],
        reference=lambda: apart("packed", base)["mb"], once=True,
    )  # fmt: skip
    for about in ("until", "known-at"):
        yield Path(
            name=f"--{about} anywhere in {size}, the slowest of {sizes.moments}", unit="ms", target=50, worst=True,
            ours=lambda about=about: max(moments(long, about, sizes.moments)),  # type: ignore[misc]
        )  # fmt: skip
        yield Path(
            name=f"--{about} anywhere in {size}, median", unit="ms", target=50,
            ours=lambda about=about: statistics.median(moments(long, about, sizes.moments)),  # type: ignore[misc]
        )  # fmt: skip
        yield Path(
            name=f"ledger replay --{about} in {size}", unit="s", target=0.5,
            ours=lambda about=about: command_seconds("replay", f"--{about}", moment(long, about), "--journal", long)[0],  # type: ignore[misc]
        )  # fmt: skip
    yield Path(name=f"open a ledger of {size} and ask for the portfolio", unit="ms", target=100, ours=lambda: start_ms(long))
    yield Path(
        name=f"ledger verify, {sizes.replayed:,} events", unit="events/s", target=150_000, better="higher",
        ours=lambda: sizes.replayed / command_seconds("verify", "--journal", base)[0],
    )  # fmt: skip
    yield Path(
        name=f"walk of the chain, {sizes.replayed:,} events, one process", unit="events/s", target=150_000, better="higher",
        ours=lambda: apart("walk", base)["rate"],
    )  # fmt: skip
    yield Path(
        name=f"ledger verify of {size}, memory, to {sizes.replayed:,}", unit="MB", target=1.25, by_ratio=True, once=True,
        ours=lambda: command_seconds("verify", "--journal", long)[1],
        reference=lambda: command_seconds("verify", "--journal", base)[1],
    )  # fmt: skip
    yield Path(
        name=f"ledger export of {size}, memory, to {sizes.replayed:,}", unit="MB", target=1.25, by_ratio=True, once=True,
        ours=lambda: export_mb(folder, long), reference=lambda: export_mb(folder, base),
    )  # fmt: skip


def curve(folder: File, sizes: Sizes) -> list[dict[str, Any]]:
    """Measure journals of growing length: replay rate and memory, and the time of a start and of a moment."""
    points = []
    for events in sizes.curve:
        url = journal_url(folder, events, nets=False)
        replayed = apart("replay", url)
        bare = cursor_rate(url)
        apart("checkpoints", url)
        points.append(
            {
                "events": events,
                "replay": replayed["rate"],
                "cursor": bare,
                "mb": replayed["mb"],
                "start_ms": statistics.median(start_ms(url) for _ in range(3)),
                "until_ms": statistics.median(moments(url, "until", sizes.moments)),
                "known_at_ms": statistics.median(moments(url, "known-at", sizes.moments)),
            }
        )
    return points


# ------------------------------------------------------------------------------------------------------------ measuring


def journal_url(folder: File, events: int, *, nets: bool) -> str:
    """Return the URL of a SQLite journal of so many events, made if it is not there yet."""
    return make_journal(f"sqlite:///{folder}/{'netting' if nets else 'hedging'}-{events}.db", events, nets=nets)


def replay_rate(url: str) -> float:
    """Return events a second of a replay of the rows from the start."""
    from ledger import Ledger

    with Ledger.open(url) as ledger:
        ledger.journal.segments.folder = None
        (account,) = ledger.accounts()
        events = account.version
        start = time.perf_counter()
        account.replay(checkpoints=False)
        return float(events / (time.perf_counter() - start))


def event_us(url: str, *, is_packed: bool) -> float:
    """Return the processor time of a replay from the start, microseconds an event: of segments, or of the rows."""
    from ledger import Ledger

    with Ledger.open(url) as ledger:
        (account,) = ledger.accounts()
        if is_packed:
            account.derived.pack()
        else:
            ledger.journal.segments.folder = None
        events, start = account.version, time.process_time()
        account.replay(checkpoints=False)
        return (time.process_time() - start) / events * 1e6


def cursor_rate(url: str) -> float:
    """Return events a second of the driver's cursor, reading the same columns."""
    from ledger.postings import Posting

    columns = ", ".join(f'"{name}"' for name in Posting._fields)
    text: Any = f"SELECT {columns} FROM events ORDER BY account_id, version"
    rows = 0
    if url.startswith("sqlite"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"))
        start = time.perf_counter()
        for _ in connection.execute(text):
            rows += 1
    else:
        import psycopg

        connection = psycopg.connect(url.replace("+psycopg", ""))
        start = time.perf_counter()
        with connection.cursor(name="bare", binary=True) as cursor:
            cursor.itersize = 5000
            for _ in cursor.execute(text):
                rows += 1
    took = time.perf_counter() - start
    connection.close()
    return rows / took


def moments(url: str, about: str, times: int) -> list[float]:
    """Return the milliseconds of questions about moments anywhere in an account."""
    from ledger import Ledger

    took = []
    with Ledger.open(url) as ledger:
        (account,) = ledger.accounts()
        dice = random.Random(times)  # noqa: S311  # which moments, no secret
        ask(account, about, dice)  # the first finds the program cold
        for _ in range(times):
            words: dict[str, Any] = {about.replace("-", "_"): _moment(account, about, dice)}
            start = time.perf_counter()
            account.replay(**words)
            took.append((time.perf_counter() - start) * 1000)
    return took


def ask(account: Any, about: str, dice: random.Random) -> None:
    """Ask about one moment."""
    account.replay(**{about.replace("-", "_"): _moment(account, about, dice)})


def moment(url: str, about: str) -> str:
    """Return one moment as it is written on the command line."""
    from ledger import Ledger

    with Ledger.open(url) as ledger:
        (account,) = ledger.accounts()
        return str(_moment(account, about, random.Random(1)).isoformat())  # noqa: S311


def _moment(account: Any, about: str, dice: random.Random) -> datetime:
    journal, head = account.ledger.journal, account.journal_head
    first = next(journal.rows(account.name, after=1, upto=2))
    if about == "until":
        return datetime.fromtimestamp(account.terms.clock.to_utc_msc(dice.randrange(first.time_msc, head.last_msc)) / 1000, UTC)
    return datetime.fromtimestamp(dice.randrange(first.recorded_us, head.recorded_us) / 1e6, UTC)


def start_ms(url: str) -> float:
    """Return the milliseconds from opening a ledger to its portfolio."""
    from ledger import Ledger

    start = time.perf_counter()
    with Ledger.open(url) as ledger:
        (account,) = ledger.accounts()
        _ = account.portfolio
        return (time.perf_counter() - start) * 1000


def command_seconds(*words: str) -> tuple[float, float]:
    """Run a ledger command and return its wall time in seconds and its peak memory in MB."""
    return seconds([sys.executable, "-m", "ledger", *words])


def seconds(command: list[str]) -> tuple[float, float]:
    """Run a command and return its wall time in seconds and its peak memory in MB.

    A small program starts it: the reported memory of a process includes what its parent held when it was started.
    """
    runner = [sys.executable, "-I", "-S", "-c", _RUNNER, *command]
    run = subprocess.run(runner, capture_output=True, text=True, env=_environment(), check=False)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {run.stderr}")
    took, peak = run.stdout.split()
    return float(took), int(peak) / _RSS_UNITS


_RUNNER = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawn(
    sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
)
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def _environment() -> dict[str, str]:
    """Return the environment for what is measured: ours, with the modules importable, and compiled as when installed."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def export_mb(folder: File, url: str) -> float:
    """Return the memory of an export, in MB."""
    out = folder / f"export-{next(_names)}.jsonl"
    peak = command_seconds("export", "--out", str(out), "--journal", url)[1]
    out.unlink()
    return peak


_RSS_UNITS = 1024 if sys.platform.startswith("linux") else 1024 * 1024


def apart(what: str, url: str) -> dict[str, float]:
    """Do something with a journal in a process of its own; return events a second (``rate``) and its memory (``mb``)."""
    rates = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _RUNNER.replace("os.devnull", "'/dev/stderr'"), sys.executable, __file__, what, url],
        capture_output=True, text=True, env=_environment(), check=True,
    )  # fmt: skip
    return {"rate": float(rates.stderr), "mb": int(rates.stdout.split()[1]) / _RSS_UNITS}


def _replay(account: Any) -> None:
    account.ledger.journal.segments.folder = None
    account.replay(checkpoints=False)


def _packed(account: Any) -> None:
    account.replay(checkpoints=False)


def _checkpoints(account: Any) -> None:
    account.replay()


def _walk(account: Any) -> None:
    from ledger.journal.verify.walk import verify_chain

    if verify_chain(account.ledger.journal, account.name):
        raise SystemExit("a journal that was just made does not verify")


_DEEDS: dict[str, Callable[[Any], None]] = {
    "replay": _replay, "packed": _packed, "checkpoints": _checkpoints, "walk": _walk,
}  # fmt: skip


def _main(what: str, url: str) -> None:
    from ledger import Ledger

    with Ledger.open(url) as ledger:
        (account,) = ledger.accounts()
        start = time.perf_counter()
        _DEEDS[what](account)
        took = time.perf_counter() - start
        print(account.version / took)


if __name__ == "__main__":
    _main(*sys.argv[1:])
