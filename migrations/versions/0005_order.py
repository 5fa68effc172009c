"""The fold order by whole second and deal ticket, and places of their own for what the broker asserted.

Two columns hold the place of every event that does not arrive in the fold order, an index finds them by it. How replay finds
an event (``placement``) is derived from what is recorded; it is derived anew for every event, which changes nothing under
the chain. Checkpoints are made anew, too: they are made of events.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NO_DEAL = 2**63 - 1
_ROWS = 5000
_COLUMNS = "version, kind, time_msc, deal, position_id, data, placement"


def upgrade() -> None:
    """Add the columns, derive them and the placements, make the indexes, and the checkpoints' table anew."""
    op.add_column("events", sa.Column("order_msc", sa.BigInteger))
    op.add_column("events", sa.Column("order_deal", sa.BigInteger))
    for name in ("ix_events_late", "ix_events_placed"):
        op.drop_index(name, "events")
    _derive_all(op.get_bind())
    for name, columns, placement in (
        ("ix_events_late", ["account_id", "order_msc", "placement", "version"], 1),
        ("ix_events_asserted", ["account_id", "order_msc", "placement", "version"], 3),
        ("ix_events_asserted_position", ["account_id", "position_id", "placement", "version"], 3),
        ("ix_events_placed", ["account_id", "placement", "version", "kind", "caused_by"], 1),
    ):
        where = sa.text(f"placement = {placement}")
        op.create_index(name, "events", columns, sqlite_where=where, postgresql_where=where)
    op.drop_table("checkpoints")
    op.create_table(
        "checkpoints",
        sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("time_msc", sa.BigInteger, nullable=False),
        sa.Column("deal", sa.BigInteger, nullable=False),
        sa.Column("at_version", sa.BigInteger, nullable=False),
        sa.Column("fold", sa.Text, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("newest", sa.BigInteger, nullable=False),
        sa.Column("newest_plain", sa.BigInteger, nullable=False),
        sa.Column("latest_msc", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "time_msc", "deal", "at_version", "fold", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_checkpoints_account_id"),
        sqlite_with_rowid=False,
    )


# ------------------------------------------------------------------------------------------------ what is derived of events


def _derive_all(connection: sa.Connection) -> None:
    """Derive placements and places of every account, with the triggers that keep events as they are set aside meanwhile."""
    is_sqlite = connection.dialect.name == "sqlite"
    triggers = {
        "events_no_update": "UPDATE ON events",
        "heads_only_forward": "UPDATE ON heads",
    }
    kept = {}
    if is_sqlite:
        for name in triggers:
            text = sa.text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = :name")
            found = connection.execute(text, {"name": name}).scalar()
            if found is not None:  # one that somebody dropped is for ledger verify to report
                kept[name] = found
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
    else:
        connection.exec_driver_sql("ALTER TABLE events DISABLE TRIGGER events_no_change")
        connection.exec_driver_sql("ALTER TABLE heads DISABLE TRIGGER heads_only_forward")
        connection.exec_driver_sql("GRANT UPDATE ON events TO CURRENT_USER")
    for (account,) in connection.execute(sa.text("SELECT account_id FROM heads ORDER BY account_id")).all():
        _derive(connection, account)
    if is_sqlite:
        for statement in kept.values():
            connection.exec_driver_sql(statement)
    else:
        connection.exec_driver_sql("REVOKE UPDATE ON events FROM CURRENT_USER")
        connection.exec_driver_sql("ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_change")
        connection.exec_driver_sql("ALTER TABLE heads ENABLE ALWAYS TRIGGER heads_only_forward")


def _derive(connection: sa.Connection, account: int) -> None:
    last = (-1, 0)  # broker time and deal of the latest event in order
    latest: dict[int | None, tuple[int, int]] = {}  # position -> place of its latest assertion
    update = sa.text(
        "UPDATE events SET placement = :placement, order_msc = :msc, order_deal = :deal "
        "WHERE account_id = :account AND version = :version"
    )
    for rows in _batches(connection, account):
        changed = []
        for version, kind, time_msc, deal, position_id, data, before in rows:
            at = (time_msc, _NO_DEAL if deal is None else deal)
            placement, place = _placed(kind, at, position_id, data, last)
            if placement == 3 and place is not None:
                about = None if kind == "BalanceAsserted" else position_id
                place = latest[about] = max(place, latest.get(about, (-1, 0)))
            if placement == 0:
                last = at
            if place is not None or placement != before:
                msc, ticket = place or (None, None)
                changed.append({"account": account, "version": version, "placement": placement, "msc": msc, "deal": ticket})
        if changed:
            connection.execute(update, changed)
    connection.execute(
        sa.text("UPDATE heads SET last_msc = :msc, last_deal = :deal WHERE account_id = :account"),
        {"account": account, "msc": last[0], "deal": last[1]},
    )


def _batches(connection: sa.Connection, account: int) -> Iterator[list[Any]]:
    query = sa.text(
        f"SELECT {_COLUMNS} FROM events WHERE account_id = :account AND version > :after ORDER BY version LIMIT {_ROWS}"  # noqa: S608
    )
    after = 0
    while rows := connection.execute(query, {"account": account, "after": after}).all():
        yield list(rows)
        after = rows[-1][0]


def _placed(
    kind: str, at: tuple[int, int], position_id: int | None, data: str | None, last: tuple[int, int]
) -> tuple[int, tuple[int, int] | None]:
    """Return how replay finds an event, and its place where it does not arrive in order.

    No event before this revision states what its assertion contains: all have the place of their time.
    """
    second = (at[0] // 1000 * 1000, at[1])
    if kind in ("AccountOpened", "SymbolSpecified"):
        return 2, None
    if kind in ("PositionRecovered", "DriftCorrected", "GhostClosed"):
        return 3, second
    if kind == "Adjusted" and position_id is not None:
        return 3, second
    if kind == "BalanceAsserted" and "evidence" in json.loads(data or "{}"):
        return 3, second
    if kind in ("DealCompleted", "DealRevised") or second < (last[0] // 1000 * 1000, last[1]):
        return 1, second
    return 0, None
