"""Orders that points paid a part of."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text()


def check(condition: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(name))


def upgrade() -> None:
    columns: dict[str, Any] = {
        "ledger": TEXT,
        "order_id": TEXT,
        "index": BIG,
        "account": TEXT,
        "unit": TEXT,
        "points": BIG,
        "currency": TEXT,
        "amount_minor": BIG,
        "covered_minor": BIG,
        "taken": TEXT,
        "refunded_points": BIG,
    }
    op.create_table(
        "payments",
        *(sa.Column(one, kind, nullable=False) for one, kind in columns.items()),
        check("points > 0", "ck_payments_points"),
        check("covered_minor BETWEEN 1 AND amount_minor", "ck_payments_covered"),
        check("refunded_points BETWEEN 0 AND points", "ck_payments_refunded"),
        sa.PrimaryKeyConstraint("ledger", "order_id", name=op.f("pk_payments")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("payments")
