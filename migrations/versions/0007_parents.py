"""Where a restored journal came from: the journals before it, and up to where it has the same events as they.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, then the triggers of the database at hand."""
    op.create_table(
        "parents",
        sa.Column("number", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("journal_id", sa.Text, nullable=False),
        sa.Column("heads", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_parents"),
        sqlite_with_rowid=False,
    )
    for statement in _SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else _POSTGRES_TRIGGERS:
        op.execute(statement)


_SQLITE_TRIGGERS = (
    "CREATE TRIGGER parents_no_update BEFORE UPDATE ON parents "
    "BEGIN SELECT RAISE(ABORT, 'parents is immutable: UPDATE is refused'); END",
    "CREATE TRIGGER parents_no_delete BEFORE DELETE ON parents "
    "BEGIN SELECT RAISE(ABORT, 'parents is immutable: DELETE is refused'); END",
    "CREATE TRIGGER parents_no_replace BEFORE INSERT ON parents WHEN EXISTS (SELECT 1 FROM parents "
    "WHERE number = NEW.number) BEGIN SELECT RAISE(ABORT, 'parents is immutable: REPLACE is refused'); END",
)

# The function is that of the events, from 0001.
_POSTGRES_TRIGGERS = (
    "CREATE TRIGGER parents_no_change BEFORE UPDATE OR DELETE ON parents FOR EACH ROW EXECUTE FUNCTION ledger_refuse()",
    "CREATE TRIGGER parents_no_truncate BEFORE TRUNCATE ON parents FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()",
    "ALTER TABLE parents ENABLE ALWAYS TRIGGER parents_no_change",
    "ALTER TABLE parents ENABLE ALWAYS TRIGGER parents_no_truncate",
    "REVOKE UPDATE, DELETE, TRUNCATE ON parents FROM PUBLIC, CURRENT_USER",
)
