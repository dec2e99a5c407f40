"""Who may join, and endpoints that are told of changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text()
BYTES = sa.LargeBinary()


def upgrade() -> None:
    for name in ("birth_date", "region"):
        op.add_column(
            "profiles", sa.Column(name, TEXT, nullable=False, server_default=sa.text("''"))
        )
    op.create_table(
        "invitations",
        sa.Column("ledger", TEXT, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("made_at_us", BIG, nullable=False),
        sa.Column("expires_at_us", BIG, nullable=False),
        sa.Column("made_by", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.CheckConstraint(
            "state IN ('VALID', 'USED', 'REVOKED')", name=op.f("ck_invitations_state")
        ),
        sa.PrimaryKeyConstraint("ledger", "code", name=op.f("pk_invitations")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_invitations_ledger_account"), "invitations", ["ledger", "account"])
    op.create_table(
        "applications",
        sa.Column("ledger", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("enrolment_id", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("public_key", BYTES, nullable=False),
        sa.Column("awaits", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("asked_at_us", BIG, nullable=False),
        sa.Column("decided_at_us", BIG, nullable=False),
        sa.Column("decided_by", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("email", TEXT, nullable=False),
        sa.Column("birth_date", TEXT, nullable=False),
        sa.Column("region", TEXT, nullable=False),
        sa.CheckConstraint(
            "awaits IN ('approval', 'payment')", name=op.f("ck_applications_awaits")
        ),
        sa.CheckConstraint(
            "state IN ('WAITING', 'ADMITTED', 'REFUSED')", name=op.f("ck_applications_state")
        ),
        sa.PrimaryKeyConstraint("ledger", "account", name=op.f("pk_applications")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_applications_ledger_key_id"), "applications", ["ledger", "key_id"])
    op.create_index(op.f("ix_applications_ledger_state"), "applications", ["ledger", "state"])
    op.create_table(
        "webhooks",
        sa.Column("ledger", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("kinds", TEXT, nullable=False),
        sa.Column("salt", BYTES, nullable=False),
        sa.Column("old_salt", BYTES, nullable=False),
        sa.Column("old_until_us", BIG, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("next_index", BIG, nullable=False),
        sa.Column("failures", BIG, nullable=False),
        sa.Column("failing_since_us", BIG, nullable=False),
        sa.Column("retry_at_us", BIG, nullable=False),
        sa.Column("last_error", TEXT, nullable=False),
        sa.Column("changed_at_us", BIG, nullable=False),
        sa.CheckConstraint(
            "state IN ('ACTIVE', 'PAUSED', 'FAILED')", name=op.f("ck_webhooks_state")
        ),
        sa.CheckConstraint("next_index >= 0", name=op.f("ck_webhooks_next_index")),
        sa.PrimaryKeyConstraint("ledger", "name", name=op.f("pk_webhooks")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("webhooks")
