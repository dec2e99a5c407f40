"""What was paid in a partner sale, and what became of its refunds at both brands."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text()

PLEDGES = (
    "amount_minor",
    "refunded_minor",
    "asked_points",
    "answered_points",
    "recovered_points",
)
NOTICES = ("asked_points", "recovered_points", "reversed_seq")
WAITS = sa.text("asked_points > answered_points")


def added(table_name: str, name: str, kind: Any, value: str) -> None:
    """A column whose rows so far get `value`."""
    column = sa.Column(name, kind, nullable=False, server_default=sa.text(value))
    op.add_column(table_name, column)


def upgrade() -> None:
    empty = "''" if op.get_bind().dialect.name == "postgresql" else "x''"
    added("pledges", "currency", TEXT, "''")
    added("pledges", "decision", sa.LargeBinary(), empty)
    for name in PLEDGES:
        added("pledges", name, BIG, "0")
    for name in NOTICES:
        added("notices", name, BIG, "0")
    op.create_index(
        op.f("ix_pledges_ledger_redemption_id"),
        "pledges",
        ["ledger", "redemption_id"],
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_pledges_ledger_redemption_id"), "pledges")
    for name in NOTICES:
        op.drop_column("notices", name)
    for name in ("currency", "decision", *PLEDGES):
        op.drop_column("pledges", name)
