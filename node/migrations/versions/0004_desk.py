"""Adjustments with four eyes, switches, and claims of missed purchases."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text()


def table(table_name: str, key: list[str], *items: Any, **columns: Any) -> None:
    op.create_table(
        table_name,
        sa.Column("ledger", TEXT, nullable=False),
        *(sa.Column(one, kind, nullable=False) for one, kind in columns.items()),
        *items,
        sa.PrimaryKeyConstraint("ledger", *key, name=op.f(f"pk_{table_name}")),
        sqlite_with_rowid=False,
    )


def check(condition: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(name))


def index(name: str, column: str) -> None:
    op.create_index(op.f(f"ix_{name}_ledger_{column}"), name, ["ledger", column])


def upgrade() -> None:
    table(
        "adjustments",
        ["adjustment_id"],
        check("state IN ('WAITING', 'DONE', 'REJECTED')", "ck_adjustments_state"),
        adjustment_id=TEXT,
        account=TEXT,
        points=BIG,
        reason_code=TEXT,
        state=TEXT,
        proposed_by=TEXT,
        proposed_key=TEXT,
        proposed_at_us=BIG,
        expires_at_us=BIG,
        decided_by=TEXT,
        decided_at_us=BIG,
        index=BIG,
    )
    index("adjustments", "proposed_at_us")
    table("adjusted_days", ["account", "day"], account=TEXT, day=BIG, points=BIG)
    table(
        "switches",
        ["name"],
        check("is_on IN (0, 1)", "ck_switches_is_on"),
        name=TEXT,
        is_on=BIG,
        reason_code=TEXT,
        changed_by=TEXT,
        changed_at_us=BIG,
    )
    table(
        "claims",
        ["claim_id"],
        check("state IN ('WAITING', 'CONFIRMED', 'REJECTED')", "ck_claims_state"),
        claim_id=TEXT,
        account=TEXT,
        purchase_id=TEXT,
        currency=TEXT,
        amount_minor=BIG,
        occurred_at_us=BIG,
        state=TEXT,
        claimed_at_us=BIG,
        decided_by=TEXT,
        decided_at_us=BIG,
        reason_code=TEXT,
    )
    index("claims", "account")
    index("claims", "state")


def downgrade() -> None:
    for name in ("claims", "switches", "adjusted_days", "adjustments"):
        op.drop_table(name)
