"""The journal: accounts, heads and events, with the triggers that keep events as they are.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STANDING = "kind IN ('AccountOpened', 'SymbolSpecified', 'Adjusted')"
_PLACED = "placement = 1"


def upgrade() -> None:
    """Make the tables, then the triggers of the database at hand."""
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("login", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_accounts"),
        sa.UniqueConstraint("server", "login", name="uq_accounts_server_login"),
    )
    op.create_table(
        "heads",
        sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("recorded_us", sa.BigInteger, nullable=False),
        sa.Column("last_msc", sa.BigInteger, nullable=False),
        sa.Column("last_deal", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_heads"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_heads_account_id"),
    )
    _create_events()
    for statement in _SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else _POSTGRES_TRIGGERS:
        op.execute(statement)


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("time_msc", sa.BigInteger, nullable=False),
        sa.Column("deal", sa.BigInteger),
        sa.Column("version", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("deal_type", sa.BigInteger),
        sa.Column("entry", sa.BigInteger),
        sa.Column("position_id", sa.BigInteger),
        sa.Column("order_ticket", sa.BigInteger),
        sa.Column("symbol", sa.Text),
        sa.Column("volume", sa.BigInteger),
        sa.Column("price", sa.BigInteger),
        sa.Column("commission", sa.BigInteger),
        sa.Column("fee", sa.BigInteger),
        sa.Column("swap", sa.BigInteger),
        sa.Column("profit", sa.BigInteger),
        sa.Column("magic", sa.BigInteger),
        sa.Column("data", sa.Text),
        sa.Column("placement", sa.SmallInteger, nullable=False),
        sa.Column("schema", sa.SmallInteger, nullable=False),
        sa.Column("recorded_us", sa.BigInteger, nullable=False),
        sa.Column("natural_key", sa.Text, nullable=False),
        sa.Column("correlation", sa.Text),
        sa.Column("caused_by", sa.BigInteger),
        sa.Column("evidence", sa.Text),
        sa.Column("reason", sa.BigInteger),
        sa.Column("comment", sa.Text),
        sa.Column("origin", sa.Text),
        sa.Column("prev_hash", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("checks", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "version", name="pk_events"),
        sa.UniqueConstraint("account_id", "natural_key", name="uq_events_account_id_natural_key"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_events_account_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_events_placed",
        "events",
        ["account_id", "placement", "version", "kind", "caused_by"],
        sqlite_where=sa.text(_PLACED),
        postgresql_where=sa.text(_PLACED),
    )
    op.create_index(
        "ix_events_standing",
        "events",
        ["account_id", "version"],
        sqlite_where=sa.text(_STANDING),
        postgresql_where=sa.text(_STANDING),
    )


def _refuses(verb: str, table: str) -> str:
    return (
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} are immutable: {verb} is refused'); END"
    )


# INSERT OR REPLACE deletes without firing a delete trigger, so what it would replace is looked for before the insert.
_SQLITE_TRIGGERS = (
    *(_refuses(verb, table) for table in ("accounts", "events") for verb in ("UPDATE", "DELETE")),
    "CREATE TRIGGER accounts_no_replace BEFORE INSERT ON accounts WHEN EXISTS (SELECT 1 FROM accounts "
    "WHERE account_id = NEW.account_id OR (server = NEW.server AND login = NEW.login)) "
    "BEGIN SELECT RAISE(ABORT, 'accounts are immutable: REPLACE is refused'); END",
    "CREATE TRIGGER events_no_replace BEFORE INSERT ON events WHEN EXISTS (SELECT 1 FROM events "
    "WHERE account_id = NEW.account_id AND version = NEW.version) OR EXISTS (SELECT 1 FROM events "
    "WHERE account_id = NEW.account_id AND natural_key = NEW.natural_key) "
    "BEGIN SELECT RAISE(ABORT, 'events are immutable: REPLACE is refused'); END",
    "CREATE TRIGGER heads_no_delete BEFORE DELETE ON heads "
    "BEGIN SELECT RAISE(ABORT, 'heads only move on: DELETE is refused'); END",
    "CREATE TRIGGER heads_only_forward BEFORE UPDATE ON heads WHEN NEW.version <= OLD.version "
    "OR NEW.account_id <> OLD.account_id OR NEW.recorded_us <= OLD.recorded_us "
    "BEGIN SELECT RAISE(ABORT, 'heads only move on: going back is refused'); END",
    "CREATE TRIGGER heads_no_replace BEFORE INSERT ON heads WHEN EXISTS (SELECT 1 FROM heads "
    "WHERE account_id = NEW.account_id) BEGIN SELECT RAISE(ABORT, 'heads only move on: REPLACE is refused'); END",
)

_POSTGRES_TRIGGERS = (
    "CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE EXCEPTION '% are immutable: % is refused', TG_TABLE_NAME, TG_OP; END $$",
    "CREATE FUNCTION ledger_only_forward() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF NEW.version <= OLD.version OR NEW.account_id <> OLD.account_id OR NEW.recorded_us <= OLD.recorded_us "
    "THEN RAISE EXCEPTION 'heads only move on: going back is refused'; END IF; RETURN NEW; END $$",
    *(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION ledger_refuse()"
        for table in ("accounts", "events")
    ),
    *(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()"
        for table in ("accounts", "events", "heads")
    ),
    "CREATE TRIGGER heads_no_delete BEFORE DELETE ON heads FOR EACH ROW EXECUTE FUNCTION ledger_refuse()",
    "CREATE TRIGGER heads_only_forward BEFORE UPDATE ON heads FOR EACH ROW EXECUTE FUNCTION ledger_only_forward()",
    # Not even a session that passes itself off as a replica gets around them.
    *(
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger}"
        for table, triggers in {
            "accounts": ("no_change", "no_truncate"),
            "events": ("no_change", "no_truncate"),
            "heads": ("no_delete", "no_truncate", "only_forward"),
        }.items()
        for trigger in triggers
    ),
    # Who made the table may not change it either, unless it is a superuser; nothing refers to events, so that no
    # foreign key needs these rights.
    "REVOKE UPDATE, DELETE, TRUNCATE ON events FROM PUBLIC, CURRENT_USER",
)
