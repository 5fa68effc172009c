"""This module is what frozen journals hold: one of everything that can be recorded, on a hedging and on a netting account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ledger import Adjusted, BalanceAsserted, BreakOpened, Event, Ledger, SyncDegraded
from ledger.json_views import replay_json
from tools.testkit.facts import (
    ACCOUNT,
    OTHER,
    START_MSC,
    cash,
    completion,
    digest_of,
    fill,
    ghost,
    opened,
    revised,
    specified,
)

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "journals"
ANSWER = b'{"status": "SUCCESS", "positions": []}'


def record_everything(ledger: Ledger) -> None:
    """Record everything in an empty journal."""
    for account, mode in ((ACCOUNT, "hedging"), (OTHER, "netting")):
        events: list[Event] = [opened(account, mode=mode, clock="ny-close"), specified("EURUSD"), cash(1000, 0, profit=5000)]
        for deal in range(1, 60):
            closes = deal % 3 == 2
            events.append(
                fill(
                    deal, deal, position_id=1 + deal // 3, entry="out" if closes else "in", side="sell" if closes else "buy",
                    profit=deal if deal % 7 else None, comment="ü",
                )
            )  # fmt: skip
        events += [
            fill(300, 12.5),
            revised(fill(5, 5, profit=77, position_id=2, entry="out", side="sell")),
            completion(7, profit=3),
            BreakOpened(kind="ghost", position_id=2, field="position", ours="buy 1", time_msc=START_MSC + 70_000),
            ghost(2, 71, evidence=digest_of(ANSWER)),
            SyncDegraded(reason="timeout", time_msc=START_MSC + 72_000),
            BalanceAsserted(balance="5000.01", time_msc=START_MSC + 73_000),
            Adjusted(
                operator="mk", reason="by hand", time_msc=START_MSC + 74_000, balance_before="1", balance_after="2.5"
            ),
        ]  # fmt: skip
        ledger.journal.append(account, events, correlation="import:1", conflicts="keep", evidence=[ANSWER])


def json_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """Show what a program makes of a journal."""
    return [
        replay_json(
            account.portfolio, until=None, known_at=None, version=account.version, head=account.head, selected=account.version
        )
        | {"trades": sum(1 for _ in account.trades())}
        for account in ledger.accounts()
    ]
