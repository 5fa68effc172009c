"""This script records the states that the folds come to, and refuses to where a changed fold has no new number.

    python3 tools/dev/freeze_fold.py    # writes tests/folds/states.json; makes the journals beside it where they are missing

Checkpoints are stored under ``FOLD_VERSION`` (ledger/portfolio.py) and ``ORDERS_VERSION`` (ledger/orders/view.py). A program
whose fold comes to something else must not begin at the checkpoints of another one: so the states are not written while the
number is the one that they were recorded with.
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
    from ledger.orders.view import ORDERS_VERSION
    from ledger.portfolio import FOLD_VERSION
    from tools.testkit import folds

    with tempfile.TemporaryDirectory() as folder:
        for journal, make in ((folds.JOURNAL, _made), (folds.ORDERS_JOURNAL, _made_of_orders)):
            if not journal.exists():
                folds.FOLDER.mkdir(exist_ok=True)
                journal.write_bytes(lzma.compress(make(Path(folder) / "journal.db"), preset=9))
        found = {"states": folds.states(Path(folder)), "order_states": folds.order_states(Path(folder))}
    before = folds.recorded() if folds.STATES.exists() else {}
    versions = {"fold_version": FOLD_VERSION, "orders_version": ORDERS_VERSION}
    for states, version in zip(found, versions, strict=True):
        if before.get(states) == found[states]:
            print(f"{states}: as recorded of version {before[version]}")
        elif before.get(version) == versions[version]:
            print(
                f"{states}: others than those recorded of version {versions[version]}: if that is meant, raise the number in "
                "ledger/portfolio.py or ledger/orders/view.py and run this again"
            )
            return 1
    folds.STATES.write_text(json.dumps(versions | found, indent=1) + "\n", encoding="utf-8")
    print(f"recorded: the states of {versions}")
    return 0


def _made_of_orders(file: Path) -> bytes:
    """Record orders as an engine does, and one of every event about orders."""
    from ledger import Ledger
    from ledger.events import ORDER_KINDS
    from tools.testkit.every_event import EVENTS
    from tools.testkit.facts import ACCOUNT, Clock
    from tools.testkit.orders import history

    with Ledger.create(str(file), now_us=Clock()) as ledger:
        ledger.account(ACCOUNT).record_many([*history(40), *(one for one in EVENTS if type(one).__name__ in ORDER_KINDS)])
    return _bytes_of(file)


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
    return _bytes_of(file)


def _bytes_of(file: Path) -> bytes:
    """Return a journal without checkpoints, as one file."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("DELETE FROM checkpoints")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
