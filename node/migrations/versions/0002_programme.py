"""Accounts in several units: points by source, and what comes due."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text()


def added(table: str, name: str, kind: sa.types.TypeEngine[Any], value: str) -> None:
    """A column whose rows so far get `value`."""
    op.add_column(table, sa.Column(name, kind, nullable=False, server_default=sa.text(value)))


def upgrade() -> None:
    for name in ("business", "activity", "bonus"):
        added("accounts", name, BIG, "0")
    added("accounts", "lot", TEXT, "''")
    # Nobody knows what is due on an account until its lots are looked at.
    added("accounts", "due_at_us", BIG, "1")


def downgrade() -> None:
    raise NotImplementedError("An older release does not know several units; restore a backup.")
