"""Indexes that answer alone for a moment in the past: where revisions have their place, and the marks of checkpoints.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_REVISED = "kind = 'DealRevised'"
_MARK = ["time_msc", "deal", "at_version", "events", "newest", "newest_plain", "latest_msc", "version", "hash"]


def upgrade() -> None:
    """Make the index of revisions anew, with their place, and one of the marks."""
    where = sa.text(_REVISED)
    op.drop_index("ix_events_revised", "events")
    columns = ["account_id", "kind", "version", "order_msc", "caused_by"]
    op.create_index("ix_events_revised", "events", columns, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_checkpoints_marks", "checkpoints", ["account_id", "fold", *_MARK])
