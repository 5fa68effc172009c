"""What answers are read from: equity by minute and day for ever, and the notices that were sent.

None of it is an event. Equity is made of marks, which are deleted after a while; what was sent is noted so that nobody is
notified twice.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    for name, bucket in (("equity_minute", "minute"), ("equity_day", "day")):
        op.create_table(
            name,
            sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
            sa.Column(bucket, sa.BigInteger, nullable=False, autoincrement=False),
            sa.Column("scale", sa.SmallInteger, nullable=False),
            *(sa.Column(figure, sa.BigInteger, nullable=False) for figure in ("open", "high", "low", "close")),
            *(sa.Column(f"{figure}_us", sa.BigInteger, nullable=False) for figure in ("open", "high", "low", "close")),
            sa.Column("samples", sa.BigInteger, nullable=False),
            sa.PrimaryKeyConstraint("account_id", bucket, name=f"pk_{name}"),
            sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=f"fk_{name}_account_id"),
            sqlite_with_rowid=False,
        )
    op.create_table(
        "sent_notices",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("stage", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("sent_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", "stage", "channel", name="pk_sent_notices"),
        sqlite_with_rowid=False,
    )
