"""Accounts that several workers sync: whose lease each is, and how their gateways are.

Nothing of it is an event: a lease is replaced with every sync.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "fleet_gateways",
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("calls_max", sa.BigInteger, nullable=False),
        sa.Column("server_key", sa.Text),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.Column("since_us", sa.BigInteger),
        sa.Column("retry_us", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("gateway", name="pk_fleet_gateways"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "fleet_leases",
        sa.Column("account_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("login", sa.BigInteger, nullable=False),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("interval_us", sa.BigInteger, nullable=False),
        sa.Column("due_us", sa.BigInteger, nullable=False),
        sa.Column("ready_us", sa.BigInteger, nullable=False),
        sa.Column("is_stopped", sa.SmallInteger, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("last_worker", sa.Text),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("losses", sa.BigInteger, nullable=False),
        sa.Column("synced_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("account_id", name="pk_fleet_leases"),
        sa.ForeignKeyConstraint(["gateway"], ["fleet_gateways.gateway"], name="fk_fleet_leases_gateway"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_fleet_leases_gateway_ready_us", "fleet_leases", ["gateway", "ready_us"])
