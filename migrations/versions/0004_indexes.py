"""Indexes that serve long accounts: late events by their time, and what stands without a cost for every row.

The index of what stands had an ``IN`` in its condition, for which SQLite builds a table for every row that is inserted.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STANDING = "kind = 'AccountOpened' OR kind = 'SymbolSpecified' OR kind = 'Adjusted'"


def upgrade() -> None:
    """Make one index, and another one anew: the same rows, another way to say which."""
    op.create_index(
        "ix_events_late",
        "events",
        ["account_id", "time_msc", "placement", "version"],
        sqlite_where=sa.text("placement = 1"),
        postgresql_where=sa.text("placement = 1"),
    )
    op.drop_index("ix_events_standing", "events")
    op.create_index(
        "ix_events_standing",
        "events",
        ["account_id", "version"],
        sqlite_where=sa.text(_STANDING),
        postgresql_where=sa.text(_STANDING),
    )
