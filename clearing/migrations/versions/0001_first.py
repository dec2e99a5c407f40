"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "acknowledgements",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "window",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("participant", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "entry_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("kind IN ('ack', 'protest')", name=op.f("ck_acknowledgements_kind")),
        sa.PrimaryKeyConstraint(
            "ledger", "window", "participant", name=op.f("pk_acknowledgements")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agreements",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("agreement_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("acceptor", sa.Text(), nullable=False),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column(
            "valid_from_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("ends_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("propose", sa.LargeBinary(), nullable=False),
        sa.Column(
            "entry_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("terminate_leaf", sa.LargeBinary(), nullable=True),
        sa.Column(
            "terminate_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.PrimaryKeyConstraint("ledger", "agreement_id", "version", name=op.f("pk_agreements")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "auditors",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("auditor", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("ledger", "key_id", name=op.f("pk_auditors")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "caps",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("participant", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "cap_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint("cap_minor >= 0", name=op.f("ck_caps_cap_minor")),
        sa.PrimaryKeyConstraint("ledger", "participant", "currency", name=op.f("pk_caps")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoints",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "size",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("ledger", "size", name=op.f("pk_checkpoints")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "commands",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("caller", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column(
            "first_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column(
            "entry_count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("entry_count >= 0", name=op.f("ck_commands_entry_count")),
        sa.PrimaryKeyConstraint("ledger", "caller", "id", name=op.f("pk_commands")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "decisions",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "entry_index",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("acceptor", sa.Text(), nullable=False),
        sa.Column("redemption_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("outcome", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("claim_leaf", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("window", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "issuer_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "acceptor_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("points", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "fee_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "drift_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint("outcome IN (1, 2, 3, 4)", name=op.f("ck_decisions_outcome")),
        sa.PrimaryKeyConstraint("ledger", "entry_index", name=op.f("pk_decisions")),
        sa.UniqueConstraint("ledger", "acceptor", "acceptor_seq", name="uq_decisions_acceptor_seq"),
        sa.UniqueConstraint("ledger", "issuer", "issuer_seq", name="uq_decisions_issuer_seq"),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.create_index(
            "ix_decisions_ledger_redemption",
            ["ledger", "issuer", "acceptor", "redemption_id"],
            unique=False,
        )
        batch_op.create_index("ix_decisions_ledger_window", ["ledger", "window"], unique=False)

    op.create_table(
        "entries",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "index",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("opening", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint('"index" >= 0', name=op.f("ck_entries_index")),
        sa.PrimaryKeyConstraint("ledger", "index", name=op.f("pk_entries")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "heads",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("linked", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("linked IN (0, 1)", name=op.f("ck_heads_linked")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_heads_size")),
        sa.PrimaryKeyConstraint("ledger", "origin", name=op.f("pk_heads")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledgers",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("vkey", sa.Text(), nullable=False),
        sa.Column(
            "created_at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column(
            "last_at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("lease_holder", sa.Text(), nullable=False),
        sa.Column(
            "lease_fence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "lease_until_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint("lease_fence >= 0", name=op.f("ck_ledgers_fence")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_ledgers_size")),
        sa.PrimaryKeyConstraint("ledger", name=op.f("pk_ledgers")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "loose_heads",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "size",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("size >= 0", name=op.f("ck_loose_heads_size")),
        sa.PrimaryKeyConstraint("ledger", "origin", "size", name=op.f("pk_loose_heads")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "participants",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("participant", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("vkey", sa.Text(), nullable=False),
        sa.Column("tls_key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("peer_address", sa.Text(), nullable=False),
        sa.Column("public_address", sa.Text(), nullable=False),
        sa.Column("status", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "admitted_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint("seq >= 0", name=op.f("ck_participants_seq")),
        sa.CheckConstraint("status IN (1, 2, 3)", name=op.f("ck_participants_status")),
        sa.PrimaryKeyConstraint("ledger", "participant", name=op.f("pk_participants")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("participants", schema=None) as batch_op:
        batch_op.create_index("ix_participants_ledger_status", ["ledger", "status"], unique=False)

    op.create_table(
        "positions",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("participant", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "running_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.PrimaryKeyConstraint("ledger", "participant", "currency", name=op.f("pk_positions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quarantine",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("caller", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("ledger", "caller", "id", "digest", name=op.f("pk_quarantine")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "redemptions",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("issuer", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("acceptor", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("redemption_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("outcome", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column(
            "agreement_version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("claim_leaf", sa.LargeBinary(), nullable=True),
        sa.Column(
            "hold_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("quote_digest", sa.LargeBinary(), nullable=True),
        sa.Column("mandate_digest", sa.LargeBinary(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("points", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "fee_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "reversed_points", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "reversed_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "reversed_fee_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column(
            "decision_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("decision_leaf", sa.LargeBinary(), nullable=False),
        sa.Column(
            "acceptor_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "delivery_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("delivery_leaf", sa.LargeBinary(), nullable=True),
        sa.Column(
            "deliver_by_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("due_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint("outcome IN (1, 2)", name=op.f("ck_redemptions_outcome")),
        sa.CheckConstraint(
            "reversed_points BETWEEN 0 AND points", name=op.f("ck_redemptions_reversed_points")
        ),
        sa.PrimaryKeyConstraint(
            "ledger", "issuer", "acceptor", "redemption_id", name=op.f("pk_redemptions")
        ),
        sa.UniqueConstraint("ledger", "issuer", "hold_index", name="uq_redemptions_hold"),
        sa.UniqueConstraint("ledger", "issuer", "mandate_digest", name="uq_redemptions_mandate"),
        sa.UniqueConstraint("ledger", "issuer", "quote_digest", name="uq_redemptions_quote"),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("redemptions", schema=None) as batch_op:
        batch_op.create_index("ix_redemptions_ledger_due_us", ["ledger", "due_us"], unique=False)

    op.create_table(
        "spans",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "window",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("participant", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "first_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("last_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "decisions", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint("last_seq - first_seq + 1 = decisions", name=op.f("ck_spans_gapless")),
        sa.PrimaryKeyConstraint("ledger", "window", "participant", name=op.f("pk_spans")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "standings",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("participant", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("payer", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "head_size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.PrimaryKeyConstraint("ledger", "participant", "payer", name=op.f("pk_standings")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tiles",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "level",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "index",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ledger", "level", "index", name=op.f("pk_tiles")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "totals",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "window",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("participant", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "opening_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("in_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "out_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "fees_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "drift_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "decisions", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.PrimaryKeyConstraint(
            "ledger", "window", "participant", "currency", name=op.f("pk_totals")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "windows",
        sa.Column("ledger", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "window",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("state", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "decisions", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "opened_at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "closed_at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "settled_at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "closing_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("closing_leaf", sa.LargeBinary(), nullable=True),
        sa.Column(
            "settlement_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("settlement_leaf", sa.LargeBinary(), nullable=True),
        sa.Column("settlement", sa.LargeBinary(), nullable=True),
        sa.Column(
            "acknowledge_by_us",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.CheckConstraint("state IN (1, 2, 3)", name=op.f("ck_windows_state")),
        sa.PrimaryKeyConstraint("ledger", "window", name=op.f("pk_windows")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("windows", schema=None) as batch_op:
        batch_op.create_index("ix_windows_ledger_state", ["ledger", "state"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("windows", schema=None) as batch_op:
        batch_op.drop_index("ix_windows_ledger_state")

    op.drop_table("windows")
    op.drop_table("totals")
    op.drop_table("tiles")
    op.drop_table("standings")
    op.drop_table("spans")
    with op.batch_alter_table("redemptions", schema=None) as batch_op:
        batch_op.drop_index("ix_redemptions_ledger_due_us")

    op.drop_table("redemptions")
    op.drop_table("quarantine")
    op.drop_table("positions")
    with op.batch_alter_table("participants", schema=None) as batch_op:
        batch_op.drop_index("ix_participants_ledger_status")

    op.drop_table("participants")
    op.drop_table("loose_heads")
    op.drop_table("ledgers")
    op.drop_table("heads")
    op.drop_table("entries")
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.drop_index("ix_decisions_ledger_window")
        batch_op.drop_index("ix_decisions_ledger_redemption")

    op.drop_table("decisions")
    op.drop_table("commands")
    op.drop_table("checkpoints")
    op.drop_table("caps")
    op.drop_table("auditors")
    op.drop_table("agreements")
    op.drop_table("acknowledgements")
