"""This script records the states that the fold comes to, and refuses to where a changed fold has no new number.

    python3 tools/dev/freeze_fold.py    # writes tests/folds/states.json; makes tests/folds/journal.db.xz where it is missing

Checkpoints are stored under ``FOLD_VERSION`` (ledger/portfolio.py). A program whose fold comes to something else must not
begin at the checkpoints of another one: so the states are not written while the number is the one that they were recorded
with.
"""

import contextlib
import json
import lzma
import sqlite3
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

_DEALS = 1000


def main() -> int:
    """Fold, compare with what is recorded, and record it."""
    bootstrap.enter(bootstrap.DEV_LOCK)
    from ledger.portfolio import FOLD_VERSION
    from tools.testkit import folds

    with tempfile.TemporaryDirectory() as folder:
        if not folds.JOURNAL.exists():
            folds.FOLDER.mkdir(exist_ok=True)
            folds.JOURNAL.write_bytes(lzma.compress(_made(Path(folder) / "journal.db"), preset=9))
        found = folds.states(Path(folder))
    if folds.STATES.exists():
        before = folds.recorded()
        if before["states"] == found:
            print(f"the fold of version {before['fold_version']} comes to the same: nothing is changed")
            return 0
        if before["fold_version"] == FOLD_VERSION:
            print(
                f"the fold comes to other states than those recorded of version {FOLD_VERSION}: if that is meant, raise "
                "FOLD_VERSION in ledger/portfolio.py and run this again"
            )
            return 1
    folds.STATES.write_text(json.dumps({"fold_version": FOLD_VERSION, "states": found}, indent=1) + "\n", encoding="utf-8")
    print(f"recorded: the states of version {FOLD_VERSION}")
    return 0


def _made(file: Path) -> bytes:
    """Record one of everything, and two histories as an engine with its reconciler records them."""
    from ledger import Ledger, LedgerError
    from ledger.events import AccountOpened
    from tools.bench.journals import START_MSC, generate_events
    from tools.testkit.every_event import EVENTS
    from tools.testkit.facts import Clock
    from tools.testkit.frozen import record_everything

    with Ledger.create(str(file), now_us=Clock()) as ledger:
        record_everything(ledger)
        for mode in ("hedging", "netting"):
            account = ledger.account("Every-Kind", 1 if mode == "hedging" else 2)
            account.open(currency="USD", mode=mode, clock="ny-close", time_msc=EVENTS[0].time_msc)
            for event in EVENTS:
                try:
                    account.record(event)
                except LedgerError as error:
                    if not isinstance(event, AccountOpened):
                        print(f"{mode}: {type(event).__name__}: {error}")
    now_us = [START_MSC * 1000]
    with Ledger.open(str(file), now_us=lambda: now_us[0]) as ledger:
        for login, nets in ((1, False), (2, True)):
            account = ledger.account("Engine", login)
            account.open(currency="USD", mode="netting" if nets else "hedging", clock="ny-close", time_msc=START_MSC)
            for event in generate_events(_DEALS, seed=7, nets=nets):
                now_us[0] = max(now_us[0], (event.time_msc + 1000) * 1000)
                account.record(event)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("DELETE FROM checkpoints")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
