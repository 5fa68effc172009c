"""This module is what frozen journals fold to, version by version: where it changes, the fold has another version."""

from __future__ import annotations

import json
import lzma
from hashlib import sha256
from pathlib import Path
from typing import Any

from ledger import Ledger

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "folds"
JOURNAL = FOLDER / "journal.db.xz"
ORDERS_JOURNAL = FOLDER / "orders.db.xz"
STATES = FOLDER / "states.json"
_STEP = 23  # versions between two states, of long accounts


def recorded() -> dict[str, Any]:
    """Return the versions of the folds whose states are recorded, and the states."""
    found: dict[str, Any] = json.loads(STATES.read_text(encoding="utf-8"))
    return found


def states(folder: Path) -> dict[str, dict[str, str]]:
    """Return account -> version -> the beginning of the SHA-256 of the state that a replay of so many events gives."""
    file = folder / "folded.db"
    file.write_bytes(lzma.decompress(JOURNAL.read_bytes()))
    with Ledger.create(str(file)) as ledger:
        return {
            str(account.name): {
                str(version): _digest(account.replay(version=version)) for version in _versions(account.version)
            }
            for account in ledger.accounts()
        }


def order_states(folder: Path) -> dict[str, dict[str, str]]:
    """Return the same of the fold of orders, out of a journal that has some."""
    file = folder / "orders.db"
    file.write_bytes(lzma.decompress(ORDERS_JOURNAL.read_bytes()))
    with Ledger.create(str(file)) as ledger:
        return {
            str(account.name): {
                str(version): _digest(account.replayed_orders(account.selection(version=version)[0]))
                for version in _versions(account.version)
            }
            for account in ledger.accounts()
        }


def _versions(head: int) -> list[int]:
    return [*range(1, min(head, 100)), *range(100, head, _STEP), head]


def _digest(folded: Any) -> str:
    return sha256(json.dumps(folded.state(), sort_keys=True).encode()).hexdigest()[:16]
