"""Where accounts are: an epoch that only rises, whether appends are accepted here, and which journals events came from.

An account that moves to another journal is refused here by the trigger of the heads, which every append moves on.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table, and make the triggers anew that guard them."""
    op.add_column("heads", sa.Column("epoch", sa.BigInteger, nullable=False, server_default=sa.text("1")))
    for name in ("state", "other", "other_id"):
        op.add_column("heads", sa.Column(name, sa.Text))
    op.create_table(
        "origins",
        sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("number", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("journal_id", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "number", name="pk_origins"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_origins_account_id"),
        sqlite_with_rowid=False,
    )
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRES:
        op.execute(statement)


_GOES_BACK = (
    "NEW.account_id <> OLD.account_id OR NEW.epoch < OLD.epoch "
    "OR (OLD.state = 'moved' AND NEW.epoch = OLD.epoch AND coalesce(NEW.state, '') <> 'moved')"
)
_APPENDS = " OR ".join(f"NEW.{name} <> OLD.{name}" for name in ("version", "hash", "recorded_us", "last_msc", "last_deal"))
_IS_NO_APPEND = "NEW.version <= OLD.version OR NEW.recorded_us <= OLD.recorded_us"
_STAYS = "NEW.epoch = OLD.epoch AND " + " AND ".join(
    f"coalesce(NEW.{name}, '') = coalesce(OLD.{name}, '')" for name in ("state", "other", "other_id")
)
_BACK = "heads only move on: going back is refused"
_ELSEWHERE = "the account is not here: an append is refused"

_SQLITE = (
    "DROP TRIGGER heads_only_forward",
    "CREATE TRIGGER heads_only_forward BEFORE UPDATE ON heads BEGIN SELECT CASE "
    f"WHEN {_GOES_BACK} THEN RAISE(ABORT, '{_BACK}') "
    f"WHEN {_APPENDS} THEN CASE WHEN {_IS_NO_APPEND} THEN RAISE(ABORT, '{_BACK}') "
    f"WHEN OLD.state IS NOT NULL THEN RAISE(ABORT, '{_ELSEWHERE}') END "
    f"WHEN {_STAYS} THEN RAISE(ABORT, '{_BACK}') END; END",
    *(
        f"CREATE TRIGGER origins_no_{verb.lower()} BEFORE {verb} ON origins "
        f"BEGIN SELECT RAISE(ABORT, 'origins are immutable: {verb} is refused'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    "CREATE TRIGGER origins_no_replace BEFORE INSERT ON origins WHEN EXISTS (SELECT 1 FROM origins "
    "WHERE account_id = NEW.account_id AND number = NEW.number) "
    "BEGIN SELECT RAISE(ABORT, 'origins are immutable: REPLACE is refused'); END",
)

# The functions are those of 0001. A function that is replaced keeps the triggers that call it, and that they are ENABLE ALWAYS.
_POSTGRES = (
    "CREATE OR REPLACE FUNCTION ledger_only_forward() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    f"IF {_GOES_BACK} THEN RAISE EXCEPTION '{_BACK}'; END IF; "
    f"IF {_APPENDS} THEN IF {_IS_NO_APPEND} THEN RAISE EXCEPTION '{_BACK}'; END IF; "
    f"IF OLD.state IS NOT NULL THEN RAISE EXCEPTION '{_ELSEWHERE}'; END IF; "
    f"ELSIF {_STAYS} THEN RAISE EXCEPTION '{_BACK}'; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER origins_no_change BEFORE UPDATE OR DELETE ON origins FOR EACH ROW EXECUTE FUNCTION ledger_refuse()",
    "CREATE TRIGGER origins_no_truncate BEFORE TRUNCATE ON origins FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()",
    "ALTER TABLE origins ENABLE ALWAYS TRIGGER origins_no_change",
    "ALTER TABLE origins ENABLE ALWAYS TRIGGER origins_no_truncate",
    "REVOKE UPDATE, DELETE, TRUNCATE ON origins FROM PUBLIC, CURRENT_USER",
)
