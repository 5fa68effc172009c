"""Orders: the client id and token that an event names, found by them; and marks, what each account was worth.

No event of before names one: nothing is derived. Marks are samples and no events: old ones are deleted.

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
    """Add the columns, their indexes, and the table."""
    for name in ("client_id", "token"):
        op.add_column("events", sa.Column(name, sa.Text))
    for name, columns, condition in (
        ("ix_events_orders", ["account_id", "placement", "version", "kind"], "placement = 2"),
        ("ix_events_client_id", ["account_id", "client_id", "version"], "client_id IS NOT NULL"),
        ("ix_events_token", ["account_id", "token", "version"], "token IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, "events", columns, sqlite_where=where, postgresql_where=where)
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
