"""What statements consist of, in the words of SQLite, and how Postgres is asked the same: one text serves both databases.

No statement of a program that reads or writes a journal needs SQLAlchemy: it takes longer to load than most commands take.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from hashlib import sha256
from typing import Final, TypeVar

from ledger.codec import Stored
from ledger.journal import Head
from ledger.postings import ASSERTED, NO_DEAL, Posting
from ledger.terms import TERMS_KINDS
from ledger.values import AccountId

Value = TypeVar("Value")

#: The migration that this program was written for.
REVISION: Final = "0015"


@lru_cache(maxsize=4096)
def account_key(account: AccountId) -> int:
    """Return the database's id of an account: 63 bits of a digest of its name, the same in every database."""
    return int.from_bytes(sha256(str(account).encode()).digest()[:8], "big") >> 1


#: Columns as statements name them that go to the driver as text.
ROW: Final = ", ".join(f'"{name}"' for name in Stored._fields)
POSTING: Final = ", ".join(f"coalesce(deal, {NO_DEAL})" if name == "deal" else f'"{name}"' for name in Posting._fields)

#: The events that change account terms. With ``IN`` SQLite would build a table for every row that is inserted. It has to be
#: made to use the index (``USE_TERMS_INDEX`` behind the table's name).
TERMS_FILTER: Final = " OR ".join(f"kind = '{kind}'" for kind in TERMS_KINDS)
USE_TERMS_INDEX: Final = "INDEXED BY ix_events_standing"

#: The columns of a checkpoint's mark: where it is in the fold order, what was read until there, and what it rests on.
MARKED: Final = ("time_msc", "deal", "at_version", "events", "newest", "newest_plain", "latest_msc", "version", "hash")

HEAD: Final = ", ".join(Head._fields)
#: What both append and read ask for, in the words of SQLite: an account's head, what its terms after a version rest on, and the
#: place of the latest assertion about something (``about_position``). SQLite would rather read all events backwards for that.
HEAD_OF: Final = f"SELECT {HEAD} FROM heads WHERE account_id = ?"
TERMS_OF: Final = (
    f"SELECT {ROW} FROM events {USE_TERMS_INDEX} WHERE account_id = ? AND ({TERMS_FILTER}) AND version <= ? ORDER BY version"
)
LATEST_ASSERTED: Final = (
    "SELECT order_msc, order_deal FROM events INDEXED BY ix_events_asserted_position WHERE account_id = ? AND "
    f"placement = {ASSERTED} AND %s ORDER BY version DESC LIMIT 1"
)

#: What an operator wants to see: the condition of its index, which a query has to repeat word by word, or to name one of the
#: kinds. Written with OR: for an IN of more than two, SQLite makes a table with each statement that inserts an event.
NOTABLE: Final = (
    "(kind = 'BreakOpened' OR kind = 'BreakClosed' OR kind = 'SyncDegraded' OR kind = 'SyncRestored' OR "
    "kind = 'PositionRecovered' OR kind = 'GhostClosed' OR kind = 'DriftCorrected' OR kind = 'PositionReticketed' OR "
    "kind = 'Adjusted' OR kind = 'DealRevised')"
)
#: The kinds that it has.
NOTABLE_KINDS: Final = frozenset(NOTABLE.split("'")[1::2])


def about_position(position_id: int | None) -> tuple[str, tuple[int, ...]]:
    """Return the condition for what asserts something about a position, or the balance, and its values."""
    return ("position_id IS NULL", ()) if position_id is None else ("position_id = ?", (position_id,))


_USED_INDEX: Final = re.compile(" INDEXED BY [a-z_]+")


@cache
def for_postgres(text: str) -> str:
    """Write a statement with psycopg's marks for parameters; Postgres finds the index by itself."""
    return _USED_INDEX.sub("", text).replace("?", "%s")


def _marks(values: Sequence[object]) -> str:
    """Return so many marks for parameters."""
    return ", ".join("?" * len(values))


def among(values: Sequence[Value]) -> tuple[str, list[Value]]:
    """Return marks for values, at least one, to be looked for, and the values: the last again and again, up to a power of two.

    So there are few statements, whatever is looked for. Drivers remember statements with what the database made of them, and a
    statement with hundreds of marks takes tens of kilobytes of each connection.
    """
    wanted = 1 << (len(values) - 1).bit_length()
    return _marks(range(wanted)), [*values, *[values[-1]] * (wanted - len(values))]


@cache
def insert(table: str, columns: tuple[str, ...], key: tuple[str, ...] | None = None) -> str:
    """Return a statement that inserts a row; with a key, it does nothing where there is one."""
    conflict = "" if key is None else f" ON CONFLICT ({', '.join(key)}) DO NOTHING"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({_marks(columns)}){conflict}"


@cache
def replace(table: str, columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    """Return a statement that inserts a row, or replaces the one that there is."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return insert(table, columns, key).replace("DO NOTHING", f"DO UPDATE SET {changed}")
