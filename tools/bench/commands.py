"""The rows about commands: how long one takes to start, and the import of a workbook."""

import sys
import time
from itertools import count
from pathlib import Path as File

from tools.bench.journals import make_journal
from tools.bench.paths import Path, Paths
from tools.bench.read import command_seconds, seconds

_DEALS = 12_000
_names = count()


def start_paths(folder: File) -> Paths:
    """How long a command takes to start, beside a bare interpreter."""
    python = sys.executable
    small = make_journal(f"sqlite:///{folder}/small.db", 1000, nets=False)

    def bare() -> float:
        return seconds([python, "-c", "pass"])[0]

    yield Path(name="ledger --help", unit="s", target=0.1, ours=lambda: command_seconds("--help")[0], reference=bare)
    yield Path(
        name="ledger positions, 1,000 events", unit="s", target=0.4, reference=bare,
        ours=lambda: command_seconds("positions", "--journal", small)[0],
    )  # fmt: skip
    yield Path(
        name="import ledger", unit="s", target=0.1, reference=bare, ours=lambda: seconds([python, "-c", "import ledger"])[0]
    )  # fmt: skip


def import_paths(folder: File) -> Paths:
    """Import of a workbook into a new journal, proof included, against reading it alone; both as whole processes."""
    from tools.samples.history import make_history, render_xlsx

    workbook = folder / "history.xlsx"
    if not workbook.exists():
        workbook.write_bytes(render_xlsx(make_history(seed=12, mode="hedging", deals=_DEALS)))
    memory: list[float] = []

    def ours() -> float:
        target = f"sqlite:///{folder}/import-{next(_names)}-{time.monotonic_ns()}.db"
        seconds, peak = command_seconds("import", str(workbook), "--journal", target, "--server-tz", "ny-close")
        memory.append(peak)
        return seconds

    def reading() -> float:
        words = f"from ledger.imports import read_statement; read_statement({str(workbook)!r})"
        return seconds([sys.executable, "-c", words])[0]

    name = f"import of a {_DEALS:,}-deal workbook"
    yield Path(name=name, unit="s", target=2.0, by_ratio=True, ours=ours, reference=reading)
    yield Path(name=f"{name}, memory", unit="MB", target=300, ours=lambda: max(memory), once=True)
