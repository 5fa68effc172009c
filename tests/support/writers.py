"""This module is a program: a writer or a follower of a journal, made to be killed at any moment.

    python writers.py write URL NOTES NUMBER ACTIONS
    python writers.py follow URL NOTES ACCOUNT|all POLL_SECONDS woken|blind

A writer notes what was acknowledged, a line each, after the call returned, and goes on behind its notes when it is started
again. A follower notes every event that it saw, and goes on behind them. A last line without an end is none.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import TextIO

from ledger import AccountId, FillRecorded, Ledger, VersionConflict
from ledger.journal.sql import notify

SHARED = 15  # tickets that all writers record
ACCOUNTS = (AccountId("Desk", 1), AccountId("Desk", 2))


def fill(deal: int) -> FillRecorded:
    return FillRecorded(
        deal=deal, symbol="EURUSD", side="buy", entry="in", volume=1, price="1.1", time_msc=1_767_607_200_000 + deal,
        order=deal, position_id=1 + deal % 7, commission=0, fee=0, swap=0, profit=0,
    )  # fmt: skip


def reopened(notes: Path) -> tuple[list[str], TextIO]:
    """Return the lines that are whole, and the file to go on in."""
    text = notes.read_text(encoding="utf-8") if notes.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    notes.write_text(whole, encoding="utf-8")
    return whole.splitlines(), notes.open("a", encoding="utf-8")


def write(url: str, notes: Path, number: int, actions: int) -> None:
    done, file = reopened(notes)
    with Ledger.open(url) as ledger, file:
        for action in range(len(done), actions):
            chance = random.Random(number * 1000 + action)  # the same again after a kill
            account = ledger.account(chance.choice(ACCOUNTS))
            own = 1000 * number + 10 * action
            kind = chance.choice(["one", "shared", "batch", "expecting"])
            deals = {"shared": [chance.randint(1, SHARED)], "batch": list(range(own, own + 5))}.get(kind, [own])
            while True:
                try:
                    expected = account.version if kind == "expecting" else None
                    account.record_many([fill(deal) for deal in deals], expected_version=expected)
                    break
                except VersionConflict:
                    continue
            file.write(f"{account.name} {' '.join(map(str, deals))}\n")
            file.flush()


def follow(url: str, notes: Path, account: str, poll_seconds: float) -> None:
    seen, file = reopened(notes)
    cursors: dict[AccountId, int] = {}
    for line in seen:
        parsed, version, _ = line.split(" ")
        cursors[AccountId.parse(parsed)] = int(version)
    with Ledger.open(url) as ledger, file:
        if account == "all":
            events = ledger.follow(after=cursors, poll_seconds=poll_seconds)
        else:
            name = AccountId.parse(account)
            events = ledger.account(name).follow(after=cursors.get(name, 0), poll_seconds=poll_seconds)
        for event in events:
            file.write(f"{event.account} {event.version} {event.head}\n")
            file.flush()


def _blind(_: object, seconds: float) -> bool:
    time.sleep(seconds)
    return False


def main() -> None:
    role, url, notes, *rest = sys.argv[1:]
    if role == "write":
        write(url, Path(notes), int(rest[0]), int(rest[1]))
        return
    if rest[2] == "blind":
        notify.SqliteWatch.wait = notify.PostgresWatch.wait = _blind  # type: ignore[method-assign,assignment]
    follow(url, Path(notes), rest[0], float(rest[1]))


if __name__ == "__main__":
    main()
