"""What trust in a journal rests on: its identity, the seals made of it, checkpoints of the fold, an index of revisions.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import time
from uuid import uuid4

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, give the journal its identity, then the triggers of the database at hand."""
    identity = op.create_table(
        "identity",
        sa.Column("number", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("journal_id", sa.Text, nullable=False),
        sa.Column("made_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_identity"),
        sa.CheckConstraint("number = 1", name="ck_identity_number"),  # a journal has one identity
        sqlite_with_rowid=False,
    )
    op.create_table(
        "seals",
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("made_us", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_seals"),
        sqlite_with_rowid=False,
    )
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
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "time_msc", "deal", "at_version", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_checkpoints_account_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_events_revised",
        "events",
        ["account_id", "kind", "version", "caused_by"],
        sqlite_where=sa.text(_REVISED),
        postgresql_where=sa.text(_REVISED),
    )
    # A journal that is restored keeps its identity, so that its seals still speak of it.
    journal_id = context.config.attributes.get("journal_id") or str(uuid4())
    op.bulk_insert(identity, [{"number": 1, "journal_id": journal_id, "made_us": time.time_ns() // 1000}])
    for statement in _SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else _POSTGRES_TRIGGERS:
        op.execute(statement)


_REVISED = "kind = 'DealRevised'"
_KEYS = {"identity": "number = NEW.number", "seals": "digest = NEW.digest"}

_SQLITE_TRIGGERS = (
    *(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is immutable: {verb} is refused'); END"
        for table in _KEYS
        for verb in ("UPDATE", "DELETE")
    ),
    *(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {key}) "  # noqa: S608
        f"BEGIN SELECT RAISE(ABORT, '{table} is immutable: REPLACE is refused'); END"
        for table, key in _KEYS.items()
    ),
)

# The function is that of the events, from 0001.
_POSTGRES_TRIGGERS = tuple(
    statement
    for table in _KEYS
    for statement in (
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION ledger_refuse()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()",
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change",
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate",
        f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM PUBLIC, CURRENT_USER",
    )
)
