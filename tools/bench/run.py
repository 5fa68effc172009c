#!/usr/bin/env python3
"""Measures the ledger: each path in turn with its reference in the same run, several rounds, medians and ratios.

    python3 tools/bench/run.py                  # some minutes
    python3 tools/bench/run.py --full           # ten million events: half an hour, and 5 GB of disk
    python3 tools/bench/run.py --only sync      # one part
    python3 tools/bench/run.py --json           # rows, for programs; --chart FILE draws the growth curves
    python3 tools/bench/run.py --check          # fails where a path has become more than twice as slow as is recorded

An absolute time on a shared machine means little; the ratio to a reference that did the same work a moment ago means more.
Targets in seconds, milliseconds or events are compared as they are. BENCHMARKS.md explains the rows.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.bench.paths import FULL, QUICK, Sizes, measured
from tools.bench.paths import Path as Row
from tools.dev import bootstrap

_PARTS = (
    "start", "import", "write", "postgres", "replay", "native", "long", "derived", "sync", "service", "orders", "metrics",
    "reports", "page", "fleet",
)  # fmt: skip
#: What `--check` measures, and how much slower against its reference a path may have become.
_CHECKED = ("import", "write", "postgres", "replay")
_WORSE = 2.0
_TRIES = 3
_NAME = 43  # columns of a name
RECORDED = bootstrap.ROOT / "tools" / "bench" / "recorded.json"


def paths(part: str, folder: Path, sizes: Sizes) -> Iterator[Row]:
    """Yield the rows of one part, each to be measured before the next is asked for."""
    if part == "start":
        from tools.bench.commands import start_paths

        yield from start_paths(folder)
    elif part == "import":
        from tools.bench.commands import import_paths

        yield from import_paths(folder)
    elif part == "write":
        from tools.bench.write import sqlite_paths

        yield from sqlite_paths(folder, sizes)
    elif part == "postgres":
        from tools.bench.read import postgres_replay_paths
        from tools.bench.write import postgres_paths

        with postgres() as server:
            yield from postgres_paths(server, sizes)
            yield from postgres_replay_paths(server, sizes)
    elif part == "replay":
        from tools.bench.read import replay_paths

        yield from replay_paths(folder, sizes)
    elif part == "native":
        from tools.bench.native import native_paths

        yield from native_paths(folder, sizes)
    elif part == "long":
        from tools.bench.read import long_paths

        yield from long_paths(folder, sizes)
    elif part == "derived":
        from tools.bench.derived import derived_paths

        yield from derived_paths(folder, sizes)
    elif part == "orders":
        from tools.bench.orders import order_paths

        yield from order_paths(folder)
    elif part == "metrics":
        from tools.bench.metrics import metrics_paths

        with postgres() as server:
            yield from metrics_paths(folder, server)
    elif part == "reports":
        from tools.bench.reports import report_paths

        yield from report_paths(folder, sizes)
    elif part == "page":
        from tools.bench.page import page_paths

        yield from page_paths(folder, sizes)
    elif part == "fleet":
        from tools.bench.fleet import archive_paths, partition_paths

        with postgres() as server:
            yield from partition_paths(server, sizes)
        yield from archive_paths(folder, sizes)
    elif part == "service":
        from tools.bench.service import service_paths

        yield from service_paths(folder)
    else:
        from tools.bench.sync import sync_paths

        yield from sync_paths(folder)


def postgres() -> Any:
    """Start a Postgres for the run: on a local socket, fsync on, with the memory that a small server has."""
    from tools.testkit.postgres import start_postgres

    return start_postgres(shared_buffers="256MB", unix_socket=True)


def main() -> int:
    """Measure and print."""
    arguments = _arguments()
    bootstrap.enter(bootstrap.DEV_LOCK)
    sizes = FULL if arguments.full else QUICK
    with ExitStack() as stack:
        name = arguments.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="ledger-bench-"))
        folder = Path(name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.check or arguments.record:
            return _check(folder, record=arguments.record)
        rows = []
        out = sys.stderr if arguments.json else sys.stdout
        _print_head(sizes, out)
        for part in arguments.only or _PARTS:
            for path in paths(part, folder, sizes):
                rows.append(measured(path, sizes.rounds))
                _print_row(rows[-1], out)
        if arguments.chart:
            from tools.bench.chart import draw
            from tools.bench.read import curve

            points = curve(folder, sizes)
            draw(points, arguments.chart)
            for point in points:
                print("curve: " + ", ".join(f"{name} {_short(value)}" for name, value in point.items()), file=out)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the large sizes")
    parser.add_argument("--only", choices=_PARTS, action="append", help="only this part; may be given several times")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also measure the growth curves and draw them (SVG)")
    parser.add_argument("--folder", metavar="DIR", help="where the journals are made; those that are there are used again")
    parser.add_argument("--check", action="store_true", help=f"compare the quick ratios with {RECORDED.name}")
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name} anew")
    return parser.parse_args()


# ------------------------------------------------------------------------------------------------------------ the table


def _print_head(sizes: Sizes, out: TextIO) -> None:
    import attrs
    import psycopg
    import sqlalchemy

    print(f"{_processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}", file=out)
    versions = {
        "Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, "SQLAlchemy": sqlalchemy.__version__,
        "psycopg": psycopg.__version__, "attrs": attrs.__version__, "eventsourcing": version("eventsourcing"),
    }  # fmt: skip
    print(", ".join(f"{name} {number}" for name, number in versions.items()), file=out)
    print("SQLite: WAL, synchronous=FULL. Postgres: fsync on, synchronous_commit on, local socket. "
          f"Medians of {sizes.rounds} rounds.", file=out)  # fmt: skip
    print("A target with an x is one of the ratio. A row that missed it begins with !", file=out)
    print(f"{'':<{_NAME}} {'ours':>9} {'reference':>9} {'ratio':>6} {'target':>9}", file=out, flush=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _print_row(row: dict[str, Any], out: TextIO) -> None:
    """Print a row in 80 columns; a long name has a line of its own."""
    sign = "<=" if row["better"] == "lower" else ">="
    target = "" if row["target"] is None else f"{sign}{_short(row['target'])}{'x' if row['by_ratio'] else ''}"
    ours, reference, ratio = (_short(row[key]) for key in ("ours", "reference", "ratio"))
    name = f"{' ' if row['reached'] else '!'} {row['name']}{', ' if row['unit'] else ''}{row['unit']}"
    if len(name) > _NAME:
        print(name, file=out)
        name = ""
    print(f"{name:<{_NAME}} {ours:>9} {reference:>9} {ratio:>6} {target:>9}".rstrip(), file=out, flush=True)


def _short(value: object) -> str:
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


# ---------------------------------------------------------------------------------------------------- against the record


def _check(folder: Path, *, record: bool) -> int:
    """Compare the ratios of a quick run with those that are recorded, or record them.

    Where a path seems slower it is measured again: a busy machine is no reason, a slow path stays slow.
    """
    known: dict[str, float] = {} if record else json.loads(RECORDED.read_text(encoding="utf-8"))
    found: dict[str, float] = {}
    slower: list[str] = []
    for part in _CHECKED:
        for path in paths(part, folder, QUICK):
            if not path.by_ratio:
                continue
            ratios: list[float] = []
            for _ in range(_TRIES):
                ratios.append(measured(path, QUICK.rounds)["ratio"])
                if not record and not _is_slower(path, ratios[-1], known.get(path.name)):
                    break
            else:
                if not record:
                    slower.append(f"{path.name}: ratios {ratios}, recorded {known[path.name]}")
            found[path.name] = statistics.median(ratios) if record else ratios[-1]
            print(f"{path.name:<70} {found[path.name]:>7.3g} recorded {known.get(path.name, 0):>7.3g}", flush=True)
    if record:
        RECORDED.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return 0
    unknown = sorted(found.keys() ^ known.keys())
    if unknown:
        print(f"not recorded, or not measured any more: {', '.join(unknown)}. Run: python3 tools/bench/run.py --record")
    for one in slower:
        print(f"more than {_WORSE:g} times as slow against its reference as recorded: {one}")
    return 1 if slower or unknown else 0


def _is_slower(path: Row, ratio: float, recorded: float | None) -> bool:
    if recorded is None:
        return False
    return ratio > recorded * _WORSE if path.better == "lower" else ratio < recorded / _WORSE


if __name__ == "__main__":
    sys.exit(main())
