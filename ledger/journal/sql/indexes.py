"""The indexes of the tables of ``schema``, for what makes and compares tables.

Apart from them, because they name both databases: SQLAlchemy would load all of Postgres for a SQLite journal.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Index, text

from ledger.journal.sql.schema import checkpoints, derived, events, fleet_leases, metadata
from ledger.journal.sql.words import MARKED, NOTABLE, TERMS_FILTER

__all__ = ["metadata"]

#: What has to be put in its place: few rows, merged into the others by replay. With the placement itself, or else SQLite would
#: rather read the whole table.
Index(
    "ix_events_late",
    events.c.account_id,
    events.c.order_msc,
    events.c.placement,
    events.c.version,
    sqlite_where=text("placement = 1"),
    postgresql_where=text("placement = 1"),
)
#: What asserts something, by its place.
Index(
    "ix_events_asserted",
    events.c.account_id,
    events.c.order_msc,
    events.c.placement,
    events.c.version,
    sqlite_where=text("placement = 3"),
    postgresql_where=text("placement = 3"),
)
#: The same by what it is about: the latest assertion of a position, or of the balance.
Index(
    "ix_events_asserted_position",
    events.c.account_id,
    events.c.position_id,
    events.c.placement,
    events.c.version,
    sqlite_where=text("placement = 3"),
    postgresql_where=text("placement = 3"),
)
#: The same rows by when they came: which of them a checkpoint does not know.
Index(
    "ix_events_placed",
    events.c.account_id,
    events.c.placement,
    events.c.version,
    events.c.kind,
    events.c.caused_by,
    sqlite_where=text("placement = 1"),
    postgresql_where=text("placement = 1"),
)
#: The events that change account terms (see ``words.TERMS_FILTER``).
Index(
    "ix_events_standing",
    events.c.account_id,
    events.c.version,
    sqlite_where=text(TERMS_FILTER),
    postgresql_where=text(TERMS_FILTER),
)

#: The few that replace other records, where they have their place, and what they replace. With the kind, or SQLite would read
#: the table.
_REVISED: Final = "kind = 'DealRevised'"
Index(
    "ix_events_revised",
    events.c.account_id,
    events.c.kind,
    events.c.version,
    events.c.order_msc,
    events.c.caused_by,
    sqlite_where=text(_REVISED),
    postgresql_where=text(_REVISED),
)

#: The marks of checkpoints, without what was folded: which of them serves.
Index("ix_checkpoints_marks", checkpoints.c.account_id, checkpoints.c.fold, *(checkpoints.c[name] for name in MARKED))

#: What an operator wants to see, few among the deals: by kind, and by what it is about.
Index(
    "ix_events_notable",
    events.c.account_id,
    events.c.kind,
    events.c.caused_by,
    events.c.version,
    sqlite_where=text(NOTABLE),
    postgresql_where=text(NOTABLE),
)

#: What is about a position: all of it is a few rows among millions.
_POSITION: Final = "position_id IS NOT NULL"
Index(
    "ix_events_position",
    events.c.account_id,
    events.c.position_id,
    events.c.version,
    sqlite_where=text(_POSITION),
    postgresql_where=text(_POSITION),
)

#: The events about orders alone, few beside the deals, by when they came. With the placement, as above.
Index(
    "ix_events_orders",
    events.c.account_id,
    events.c.placement,
    events.c.version,
    events.c.kind,
    sqlite_where=text("placement = 2"),
    postgresql_where=text("placement = 2"),
)
#: What names a client id or a token, by it.
for _name in ("client_id", "token"):
    Index(
        f"ix_events_{_name}",
        events.c.account_id,
        events.c[_name],
        events.c.version,
        sqlite_where=text(f"{_name} IS NOT NULL"),
        postgresql_where=text(f"{_name} IS NOT NULL"),
    )

#: What a report of a period reads, and the balance curve of a short one.
for _table, _column in (("bookings", "time_msc"), ("bookings", "at_utc_msc"), ("closed_trades", "closed_msc")):
    Index(f"ix_{_table}_{_column}", derived[_table].c.account_id, derived[_table].c[_column])

#: What a gateway's accounts have to be synced next.
Index("ix_fleet_leases_gateway_ready_us", fleet_leases.c.gateway, fleet_leases.c.ready_us)
