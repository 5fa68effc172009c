"""The tables of the SQL journals. Shared with ``migrations/``, which makes them; nothing else needs SQLAlchemy's.

``accounts``, ``events``, ``evidence``, ``identity``, ``parents``, ``origins`` and ``seals`` are immutable: triggers refuse
every change. ``heads`` is the one row per account that an append locks and moves on. ``checkpoints`` can be thrown away at
any time; ``sync_health`` is replaced by every sync, ``upkeep`` by every verification, seal and backup, the rows of the
``fleet_`` tables by workers; ``marks`` are samples, and old ones are deleted. The derived tables (``journal.derived``) are
made of the events, and made anew whenever somebody drops them.
"""

from __future__ import annotations

from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from ledger.codec import BYTE_COLUMNS, TEXT_COLUMNS, Stored
from ledger.journal.derived import KEYS, TABLES
from ledger.postings import Posting

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    # A digest of the name, so that no sequence assigns ids and two databases agree on them.
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("server", Text, nullable=False),
    Column("login", BigInteger, nullable=False),
    UniqueConstraint("server", "login"),
)

heads = Table(
    "heads",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.account_id"), primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("recorded_us", BigInteger, nullable=False),
    Column("last_msc", BigInteger, nullable=False),
    Column("last_deal", BigInteger, nullable=False),
    # Where the account is (see ``journal.location``): the trigger refuses appends unless the state is NULL.
    Column("epoch", BigInteger, nullable=False, server_default=text("1")),
    Column("state", Text),
    Column("other", Text),
    Column("other_id", Text),
)

_SMALL: Final = {"placement", "schema"}
_REQUIRED: Final = {
    "time_msc", "version", "kind", "placement", "schema", "recorded_us", "natural_key", "prev_hash", "hash", "checks",
}  # fmt: skip


def _column(name: str) -> Column[object]:
    kind = (
        Text()
        if name in TEXT_COLUMNS
        else LargeBinary()
        if name in BYTE_COLUMNS
        else SmallInteger()
        if name in _SMALL
        else BigInteger()
    )
    return Column(name, kind, nullable=name not in _REQUIRED, primary_key=name == "version", autoincrement=False)


#: In the table the placement comes before the schema, which the fold did not always read.
_IN_TABLE_ORDER: Final = (*Posting._fields[:-1], "placement", "schema", *Stored._fields[len(Posting._fields) + 1 :])
assert _IN_TABLE_ORDER[-4:] == ("order_msc", "order_deal", "client_id", "token"), "columns that came later follow the others"

events = Table(
    "events",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.account_id"), primary_key=True, autoincrement=False),
    # What the fold reads comes first: a row is read up to the last column that is wanted.
    *map(_column, _IN_TABLE_ORDER),
    UniqueConstraint("account_id", "natural_key"),
    sqlite_with_rowid=False,
)

#: The raw answers that events of an account refer to: by account, so that everything can be distributed by it.
evidence = Table(
    "evidence",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.account_id"), primary_key=True, autoincrement=False),
    Column("digest", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

#: One row: what the journal is known by, wherever it is moved to.
identity = Table(
    "identity",
    metadata,
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("journal_id", Text, nullable=False),
    Column("made_us", BigInteger, nullable=False),
    CheckConstraint("number = 1", name="ck_identity_number"),
    sqlite_with_rowid=False,
)

#: The journals that a restored one came from, the nearest first; ``heads`` is JSON: account -> the last version that both have.
parents = Table(
    "parents",
    metadata,
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("journal_id", Text, nullable=False),
    Column("heads", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: The journals that an account was in before, and up to which version: in the order of their numbers, as they were added.
origins = Table(
    "origins",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.account_id"), primary_key=True, autoincrement=False),
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("journal_id", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: The seals that were made of the journal: the text as it was signed, by its SHA-256.
seals = Table(
    "seals",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("made_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: States of the fold (see ``checkpoints``): by their place in the fold order and the rules that they were made by, the latest
#: made for a place.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.account_id"), primary_key=True, autoincrement=False),
    Column("time_msc", BigInteger, primary_key=True, autoincrement=False),
    Column("deal", BigInteger, primary_key=True, autoincrement=False),
    Column("at_version", BigInteger, primary_key=True, autoincrement=False),
    Column("fold", Text, primary_key=True),
    Column("events", BigInteger, nullable=False),
    Column("newest", BigInteger, nullable=False),
    Column("newest_plain", BigInteger, nullable=False),
    Column("latest_msc", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

#: How the last sync attempt of each account ended (see ``health``): beside the events, replaced every time.
sync_health = Table(
    "sync_health",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.account_id"), primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("since_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
    Column("verified_us", BigInteger),
    Column("success_us", BigInteger),
    Column("duration_us", BigInteger, nullable=False),
    Column("interval_us", BigInteger, nullable=False),
    Column("policy", Text, nullable=False),
    Column("held", Text, nullable=False),
    Column("gateway", Text),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("program", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: What each account was worth, a row after each trusted snapshot (see ``ledger.marks``).
marks = Table(
    "marks",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.account_id"), primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, primary_key=True, autoincrement=False),
    Column("server_msc", BigInteger),
    Column("scale", SmallInteger, nullable=False),
    Column("balance", BigInteger),
    Column("credit", BigInteger),
    Column("floating", BigInteger),
    Column("equity", BigInteger),
    Column("margin", BigInteger),
    Column("is_equity_reported", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)


def _equity(name: str, bucket: str) -> Table:
    """Return a table of what an account was worth in each minute (UTC) or day (server's clock), of all of its marks."""
    figures = ("open", "high", "low", "close")
    return Table(
        name,
        metadata,
        Column("account_id", BigInteger, ForeignKey("accounts.account_id"), primary_key=True, autoincrement=False),
        Column(bucket, BigInteger, primary_key=True, autoincrement=False),
        Column("scale", SmallInteger, nullable=False),
        *(Column(figure, BigInteger, nullable=False) for figure in figures),
        *(Column(f"{figure}_us", BigInteger, nullable=False) for figure in figures),
        Column("samples", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


equity_minute = _equity("equity_minute", "minute")
equity_day = _equity("equity_day", "day")

#: Which notice was sent through which channel, by the stage that it had come to (see ``ledger.alerts``).
sent_notices = Table(
    "sent_notices",
    metadata,
    Column("key", Text, primary_key=True),
    Column("stage", SmallInteger, primary_key=True, autoincrement=False),
    Column("channel", Text, primary_key=True),
    Column("sent_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: How the last verification, seal and backup ended (see ``upkeep``): a row for each kind, replaced every time.
upkeep = Table(
    "upkeep",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("succeeded_us", BigInteger),
    Column("problems", BigInteger, nullable=False),
    Column("problem", Text),
    Column("host", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: The gateways of accounts that several workers sync, and how they are (see ``ledger.fleet``).
fleet_gateways = Table(
    "fleet_gateways",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("calls_max", BigInteger, nullable=False),
    Column("server_key", Text),
    Column("failures", BigInteger, nullable=False),
    Column("since_us", BigInteger),
    Column("retry_us", BigInteger),
    Column("reason", Text),
    sqlite_with_rowid=False,
)

#: Those accounts: when each is due, and which worker has its lease. It may be in no event yet: a sync opens it.
fleet_leases = Table(
    "fleet_leases",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("server", Text, nullable=False),
    Column("login", BigInteger, nullable=False),
    Column("gateway", Text, ForeignKey("fleet_gateways.gateway"), nullable=False),
    Column("interval_us", BigInteger, nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("ready_us", BigInteger, nullable=False),
    Column("is_stopped", SmallInteger, nullable=False),
    Column("worker", Text),
    Column("last_worker", Text),
    Column("epoch", BigInteger, nullable=False),
    Column("losses", BigInteger, nullable=False),
    Column("synced_us", BigInteger),
    sqlite_with_rowid=False,
)

_SMALL_DERIVED: Final = frozenset({"side", "digits", "scale", "span_min"})
_DERIVED_TYPES: Final[dict[type, Any]] = {int: BigInteger, str: Text, bytes: LargeBinary}
#: Where there is a row for every deal, the database does not look up its account each time: nothing depends on them.
_WITHOUT_ACCOUNT: Final = frozenset({"bookings", "closed_trades", "balance_curve"})


def _derived(name: str) -> Table:
    """Return a derived table, with the columns of its rows."""
    columns: list[Column[Any]] = []
    for column, hint in get_type_hints(TABLES[name]).items():
        kinds = get_args(hint) or (hint,)
        kind = SmallInteger if column in _SMALL_DERIVED or column.startswith("is_") else _DERIVED_TYPES[kinds[0]]
        is_key = column in KEYS[name]
        columns.append(Column(column, kind, nullable=NoneType in kinds, primary_key=is_key, autoincrement=False))
    account: list[Any] = [] if name in _WITHOUT_ACCOUNT else [ForeignKey("accounts.account_id")]
    return Table(
        name,
        metadata,
        Column("account_id", BigInteger, *account, primary_key=True, autoincrement=False),
        *columns,
        sqlite_with_rowid=False,
    )


#: Table -> what is in it is made of the events (see ``journal.derived``).
derived: Final = {name: _derived(name) for name in TABLES}
