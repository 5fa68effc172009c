"""The condition of the index of notable events, written so that SQLite makes no table for it with each insert.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_KINDS = (
    "BreakOpened", "BreakClosed", "SyncDegraded", "SyncRestored", "PositionRecovered", "GhostClosed", "DriftCorrected",
    "PositionReticketed", "Adjusted", "DealRevised",
)  # fmt: skip
_IN = f"kind IN ({', '.join(repr(kind) for kind in _KINDS)})"
_OR = f"({' OR '.join(f'kind = {kind!r}' for kind in _KINDS)})"


def upgrade() -> None:
    """Make the index anew, and for SQLite the view that names its condition: Postgres knows that both are the same."""
    where = sa.text(_OR)
    op.drop_index("ix_events_notable", "events")
    columns = ["account_id", "kind", "caused_by", "version"]
    op.create_index("ix_events_notable", "events", columns, sqlite_where=where, postgresql_where=where)
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        ((text,),) = bind.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'v_incidents'").fetchall()
        bind.exec_driver_sql("DROP VIEW v_incidents")
        bind.exec_driver_sql(text.replace(f"WHERE {_IN})", f"WHERE {_OR})"))
