"""What was last done for the journal's own safety, whoever did it: verified, sealed, backed up. And events by position.

What was done is no event: each kind has one row, which is replaced.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the index."""
    op.create_table(
        "upkeep",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("succeeded_us", sa.BigInteger),
        sa.Column("problems", sa.BigInteger, nullable=False),
        sa.Column("problem", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_upkeep"),
        sqlite_with_rowid=False,
    )
    about = sa.text("position_id IS NOT NULL")
    op.create_index(
        "ix_events_position", "events", ["account_id", "position_id", "version"], sqlite_where=about, postgresql_where=about
    )
