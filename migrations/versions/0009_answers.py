"""What answers are read from: equity by minute and day for ever, the notices that were sent, and the derived tables.

None of it is an event. Equity is made of marks, which are deleted after a while; what was sent is noted so that nobody is
notified twice. The derived tables are made of the events by a follower, and can be dropped at any time.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

#: Derived table -> its key behind the account, and its columns: those with a question mark may be empty. What is ``is_`` or of
#: few values is small, what is named here is text or bytes, the rest is big.
_DERIVED = {
    "followers": ("follower", "follower revision version hash code is_whole bookings trades state? at_us"),
    "summaries": (
        "",
        "version hash currency digits scale mode clock balance credit positions unexplained incomplete breaks_open "
        "breaks_oldest_utc_msc? breaks degraded_utc_msc? degraded_reason? halts orders last_event_utc_msc? recorded_us",
    ),
    "open_positions": (
        "position_id",
        "position_id ticket symbol side volume price_open opened_msc opened_utc_msc basis magic? comment? is_id_known",
    ),
    "closed_trades": (
        "is_unfinished number",
        "is_unfinished number position_id? ticket? symbol side volume opened_msc? opened_utc_msc? price_open? closed_msc "
        "closed_utc_msc price_close? commission fee swap profit is_complete basis magic?",
    ),
    "bookings": (
        "number",
        "number at_utc_msc time_msc deal? version kind side? entry? position_id? symbol? magic? commission fee swap profit "
        "amount credited is_complete balance credit",
    ),
    "balance_curve": ("span_min begin_min", "span_min begin_min open low high close bookings"),
}
_TEXT = {
    "follower", "code", "currency", "mode", "clock", "breaks", "degraded_reason", "halts", "orders", "symbol", "volume",
    "price_open", "price_close", "basis", "comment", "kind",
}  # fmt: skip
_BYTES = {"hash", "state"}
_SMALL = {"side", "digits", "scale", "span_min"}
#: Each of their rows belongs to an account that is there; where there is a row for every deal, that is not looked up.
_WITH_ACCOUNT = ("followers", "summaries", "open_positions")


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
    for name, (key, columns) in _DERIVED.items():
        constraints: list[sa.Constraint] = [sa.PrimaryKeyConstraint("account_id", *key.split(), name=f"pk_{name}")]
        if name in _WITH_ACCOUNT:
            constraints.append(sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=f"fk_{name}_account_id"))
        op.create_table(
            name,
            sa.Column("account_id", sa.BigInteger, nullable=False, autoincrement=False),
            *map(_column, columns.split()),
            *constraints,
            sqlite_with_rowid=False,
        )
    for name, column in (("bookings", "time_msc"), ("bookings", "at_utc_msc"), ("closed_trades", "closed_msc")):
        op.create_index(f"ix_{name}_{column}", name, ["account_id", column])


def _column(text: str) -> sa.Column[object]:
    name = text.rstrip("?")
    kind: Any = sa.BigInteger
    if name in _TEXT:
        kind = sa.Text
    elif name in _BYTES:
        kind = sa.LargeBinary
    elif name.startswith("is_") or name in _SMALL:
        kind = sa.SmallInteger
    return sa.Column(name, kind, nullable=text.endswith("?"), autoincrement=False)
