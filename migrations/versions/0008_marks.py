"""Marks: what each account was worth, a row after each trusted snapshot. Samples, no events: old ones are deleted.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "marks",
        sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("at_us", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("server_msc", sa.BigInteger),
        sa.Column("scale", sa.SmallInteger, nullable=False),
        sa.Column("balance", sa.BigInteger),
        sa.Column("credit", sa.BigInteger),
        sa.Column("floating", sa.BigInteger),
        sa.Column("equity", sa.BigInteger),
        sa.Column("margin", sa.BigInteger),
        sa.Column("is_equity_reported", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "at_us", name="pk_marks"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_marks_account_id"),
        sqlite_with_rowid=False,
    )
