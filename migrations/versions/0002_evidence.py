"""Evidence: the raw broker answers behind corrections, as immutable as the events that refer to them.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, then the triggers of the database at hand."""
    op.create_table(
        "evidence",
        sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "digest", name="pk_evidence"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_evidence_account_id"),
        sqlite_with_rowid=False,  # a row id would be another key to replace rows by
    )
    for statement in _SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else _POSTGRES_TRIGGERS:
        op.execute(statement)


# INSERT OR REPLACE deletes without firing a delete trigger, so what it would replace is looked for before the insert.
_SQLITE_TRIGGERS = (
    "CREATE TRIGGER evidence_no_update BEFORE UPDATE ON evidence "
    "BEGIN SELECT RAISE(ABORT, 'evidence is immutable: UPDATE is refused'); END",
    "CREATE TRIGGER evidence_no_delete BEFORE DELETE ON evidence "
    "BEGIN SELECT RAISE(ABORT, 'evidence is immutable: DELETE is refused'); END",
    "CREATE TRIGGER evidence_no_replace BEFORE INSERT ON evidence WHEN EXISTS (SELECT 1 FROM evidence "
    "WHERE account_id = NEW.account_id AND digest = NEW.digest) "
    "BEGIN SELECT RAISE(ABORT, 'evidence is immutable: REPLACE is refused'); END",
)

# The function is that of the events, from 0001.
_POSTGRES_TRIGGERS = (
    "CREATE TRIGGER evidence_no_change BEFORE UPDATE OR DELETE ON evidence FOR EACH ROW EXECUTE FUNCTION ledger_refuse()",
    "CREATE TRIGGER evidence_no_truncate BEFORE TRUNCATE ON evidence FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()",
    "ALTER TABLE evidence ENABLE ALWAYS TRIGGER evidence_no_change",
    "ALTER TABLE evidence ENABLE ALWAYS TRIGGER evidence_no_truncate",
    "REVOKE UPDATE, DELETE, TRUNCATE ON evidence FROM PUBLIC, CURRENT_USER",
)
