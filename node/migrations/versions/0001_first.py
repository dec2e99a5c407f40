"""The tables of the first release."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text()
BYTES = sa.LargeBinary()


def table(name: str, *items: SchemaItem) -> None:
    op.create_table(name, *items, sqlite_with_rowid=False)


def key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, autoincrement=False, nullable=False)


def field(name: str, kind: Any, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


def check(condition: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(name))


def primary(table_name: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table_name}"))


def index(table_name: str, name: str, columns: list[str], where: str = "") -> None:
    condition = sa.text(where) if where else None
    op.create_index(
        op.f(name), table_name, columns, sqlite_where=condition, postgresql_where=condition
    )


def upgrade() -> None:
    table(
        "accounts",
        key("ledger", TEXT),
        key("account", TEXT),
        key("unit", TEXT),
        field("pending", BIG),
        field("available", BIG),
        field("held", BIG),
        field("debt", BIG),
        check("available >= 0", "ck_accounts_available"),
        check("debt <= 0", "ck_accounts_debt"),
        check("held >= 0", "ck_accounts_held"),
        check("pending >= 0", "ck_accounts_pending"),
        primary("accounts", "ledger", "account", "unit"),
    )
    table(
        "agreements",
        key("ledger", TEXT),
        key("agreement_id", TEXT),
        key("version", BIG),
        field("issuer", TEXT),
        field("acceptor", TEXT),
        field("state", TEXT),
        field("terms", BYTES),
        field("digest", BYTES),
        field("own_index", BIG),
        field("propose", BYTES),
        field("terminate_index", BIG),
        field("active_from_us", BIG),
        field("active_until_us", BIG),
        check(
            "state IN ('PROPOSED', 'OFFERED', 'ACCEPTED', 'ACTIVE', 'SUPERSEDED', 'TERMINATED')",
            "ck_agreements_state",
        ),
        primary("agreements", "ledger", "agreement_id", "version"),
    )
    table(
        "book",
        key("ledger", TEXT),
        key("seq", BIG),
        field("window", BIG),
        field("row", BYTES),
        field("currency", TEXT),
        field("net_minor", BIG),
        field("out_minor", BIG),
        field("in_minor", BIG),
        field("fee_minor", BIG),
        field("index", BIG),
        primary("book", "ledger", "seq"),
    )
    index("book", "ix_book_ledger_window", ["ledger", "window"])

    table(
        "checkpoints",
        key("ledger", TEXT),
        key("size", BIG),
        field("note", BYTES),
        field("at_us", BIG),
        primary("checkpoints", "ledger", "size"),
    )
    table(
        "class_totals",
        key("ledger", TEXT),
        key("unit", TEXT),
        key("account_class", BIG),
        field("points", BIG),
        primary("class_totals", "ledger", "unit", "account_class"),
    )
    table(
        "commands",
        key("ledger", TEXT),
        key("caller", TEXT),
        key("id", TEXT),
        field("step", TEXT),
        field("digest", BYTES),
        field("first_index", BIG, nullable=True),
        field("entry_count", BIG),
        field("answer", BYTES),
        field("refusal", TEXT, nullable=True),
        field("at_us", BIG),
        check("entry_count >= 0", "ck_commands_entry_count"),
        primary("commands", "ledger", "caller", "id"),
    )
    table(
        "devices",
        key("ledger", TEXT),
        key("key_id", TEXT),
        field("account", TEXT),
        field("public_key", BYTES),
        field("added_at_us", BIG),
        field("revoked_at_us", BIG),
        primary("devices", "ledger", "key_id"),
    )
    index("devices", "ix_devices_ledger_account", ["ledger", "account"])

    table(
        "entries",
        key("ledger", TEXT),
        key("index", BIG),
        field("kind", TEXT),
        field("at_us", BIG),
        field("body", BYTES),
        field("opening", BYTES, nullable=True),
        check('"index" >= 0', "ck_entries_index"),
        primary("entries", "ledger", "index"),
    )
    table(
        "heads",
        key("ledger", TEXT),
        key("origin", TEXT),
        field("size", BIG),
        field("root", BYTES),
        field("note", BYTES),
        field("linked", BIG),
        field("at_us", BIG),
        check("linked IN (0, 1)", "ck_heads_linked"),
        check("size >= 0", "ck_heads_size"),
        primary("heads", "ledger", "origin"),
    )
    table(
        "holds",
        key("ledger", TEXT),
        key("redemption_id", TEXT),
        key("acceptor", TEXT),
        field("index", BIG),
        field("leaf_hash", BYTES),
        field("state", TEXT),
        field("account", TEXT),
        field("kind", BIG),
        field("agreement_id", TEXT),
        field("agreement_version", BIG),
        field("quote_digest", BYTES),
        field("points", BIG),
        field("taken", TEXT),
        field("expires_at_us", BIG),
        field("ended_index", BIG),
        field("restored_points", BIG),
        field("restored_indices", TEXT),
        field("decision", BYTES),
        check("state IN ('HELD', 'POSTED', 'RELEASED')", "ck_holds_state"),
        check("points > 0", "ck_holds_points"),
        check("restored_points BETWEEN 0 AND points", "ck_holds_restored"),
        primary("holds", "ledger", "redemption_id", "acceptor"),
    )
    index(
        "holds",
        "ix_holds_ledger_expires_at_us",
        ["ledger", "expires_at_us"],
        where="state = 'HELD'",
    )

    table(
        "ledgers",
        key("ledger", TEXT),
        field("network", TEXT),
        field("origin", TEXT),
        field("vkey", TEXT),
        field("created_at_us", BIG),
        field("size", BIG),
        field("root", BYTES),
        field("note", BYTES),
        field("last_at_us", BIG),
        field("lease_holder", TEXT),
        field("lease_fence", BIG),
        field("lease_until_us", BIG),
        check("lease_fence >= 0", "ck_ledgers_fence"),
        check("size >= 0", "ck_ledgers_size"),
        primary("ledgers", "ledger"),
    )
    table(
        "loose_heads",
        key("ledger", TEXT),
        key("origin", TEXT),
        key("size", BIG),
        field("root", BYTES),
        field("note", BYTES),
        field("at_us", BIG),
        check("size >= 0", "ck_loose_heads_size"),
        primary("loose_heads", "ledger", "origin", "size"),
    )
    table(
        "lots",
        key("ledger", TEXT),
        key("lot", TEXT),
        field("account", TEXT),
        field("unit", TEXT),
        field("earned", BIG),
        field("pending", BIG),
        field("available", BIG),
        field("held", BIG),
        field("earned_at_us", BIG),
        field("available_at_us", BIG),
        field("expires_at_us", BIG),
        field("due_at_us", BIG),
        field("open", BIG),
        check("available >= 0", "ck_lots_available"),
        check("held >= 0", "ck_lots_held"),
        check("open = CASE WHEN pending + available + held > 0 THEN 1 ELSE 0 END", "ck_lots_open"),
        check("pending + available + held <= earned", "ck_lots_earned"),
        check("pending >= 0", "ck_lots_pending"),
        primary("lots", "ledger", "lot"),
    )
    index("lots", "ix_lots_ledger_account_open", ["ledger", "account", "open"])
    index("lots", "ix_lots_ledger_due_at_us", ["ledger", "due_at_us"])

    table(
        "members",
        key("ledger", TEXT),
        key("account", TEXT),
        field("created_at_us", BIG),
        field("locked", BIG),
        field("erased_at_us", BIG),
        check("locked IN (0, 1)", "ck_members_locked"),
        primary("members", "ledger", "account"),
    )
    table(
        "mirror",
        key("ledger", TEXT),
        key("index", BIG),
        field("body", BYTES),
        field("opening", BYTES, nullable=True),
        primary("mirror", "ledger", "index"),
    )
    table(
        "mirror_state",
        key("ledger", TEXT),
        key("origin", TEXT),
        field("size", BIG),
        field("frontier", BYTES),
        field("note", BYTES),
        field("applied", BIG),
        field("last_seq", BIG),
        field("reported", BIG),
        check("applied <= size", "ck_mirror_state_applied"),
        primary("mirror_state", "ledger", "origin"),
    )
    table(
        "notices",
        key("ledger", TEXT),
        key("partner", TEXT),
        key("redemption_id", TEXT),
        field("state", TEXT),
        field("pledge", BYTES),
        field("account", TEXT),
        field("points", BIG),
        field("accrued_index", BIG),
        field("lot", TEXT),
        field("reversed_points", BIG),
        field("decision", BYTES),
        field("cites", BYTES),
        field("seq", BIG),
        check("state IN ('NOTED', 'COMMITTED', 'ABORTED', 'ACCRUED')", "ck_notices_state"),
        check("reversed_points BETWEEN 0 AND points", "ck_notices_reversed"),
        primary("notices", "ledger", "partner", "redemption_id"),
    )
    table(
        "pledges",
        key("ledger", TEXT),
        key("redemption_id", TEXT),
        field("purchase_id", TEXT),
        field("issuer", TEXT),
        field("state", TEXT),
        field("account", TEXT),
        field("salt", BYTES),
        field("points", BIG),
        field("agreement_id", TEXT),
        field("agreement_version", BIG),
        field("index", BIG),
        field("noticed", BIG),
        check("state IN ('PLEDGED', 'COMMITTED', 'ABORTED')", "ck_pledges_state"),
        check("noticed IN (0, 1)", "ck_pledges_noticed"),
        primary("pledges", "ledger", "redemption_id"),
    )
    index(
        "pledges",
        "ix_pledges_ledger_index",
        ["ledger", "index"],
        where="state = 'PLEDGED' OR noticed = 0",
    )

    table(
        "postings",
        key("ledger", TEXT),
        key("account", TEXT),
        key("index", BIG),
        key("unit", TEXT),
        field("at_us", BIG),
        field("entry", TEXT),
        field("pending", BIG),
        field("available", BIG),
        field("held", BIG),
        field("debt", BIG),
        field("reference", TEXT),
        primary("postings", "ledger", "account", "index", "unit"),
    )
    table(
        "profiles",
        key("ledger", TEXT),
        key("account", TEXT),
        field("name", TEXT),
        field("email", TEXT),
        primary("profiles", "ledger", "account"),
    )
    table(
        "programmes",
        key("ledger", TEXT),
        key("index", BIG),
        field("version", TEXT),
        field("digest", BYTES),
        field("effective_at_us", BIG),
        primary("programmes", "ledger", "index"),
    )
    table(
        "purchases",
        key("ledger", TEXT),
        key("purchase_id", TEXT),
        field("account", TEXT),
        field("currency", TEXT),
        field("amount_minor", BIG),
        field("refunded_minor", BIG),
        field("points", BIG),
        field("reversed_points", BIG),
        field("rate_points", BIG),
        field("rate_minor", BIG),
        field("lot", TEXT),
        field("occurred_at_us", BIG),
        check("refunded_minor BETWEEN 0 AND amount_minor", "ck_purchases_refunded"),
        check("reversed_points BETWEEN 0 AND points", "ck_purchases_reversed"),
        primary("purchases", "ledger", "purchase_id"),
    )
    table(
        "quarantine",
        key("ledger", TEXT),
        key("caller", TEXT),
        key("id", TEXT),
        key("digest", BYTES),
        field("step", TEXT),
        field("reason", TEXT),
        field("at_us", BIG),
        primary("quarantine", "ledger", "caller", "id", "digest"),
    )
    table(
        "redeemed_days",
        key("ledger", TEXT),
        key("account", TEXT),
        key("day", BIG),
        field("redemptions", BIG),
        field("points", BIG),
        primary("redeemed_days", "ledger", "account", "day"),
    )
    table(
        "redemptions",
        key("ledger", TEXT),
        key("redemption_id", TEXT),
        field("issuer", TEXT),
        field("state", TEXT),
        field("kind", BIG),
        field("quote", BYTES),
        field("mandate", BYTES),
        field("reward_id", TEXT),
        field("quantity", BIG),
        field("destination", TEXT),
        field("points", BIG),
        field("acceptor_points", BIG),
        field("reserved_at_us", BIG),
        field("hold", BYTES),
        field("decision", BYTES),
        field("delivery_index", BIG),
        field("vouchers", TEXT),
        field("voucher_salt", BYTES),
        field("lot", TEXT),
        field("failure", BYTES),
        field("reversed_points", BIG),
        check("state IN ('RESERVED', 'DELIVERED', 'FAILED', 'REVERSED')", "ck_redemptions_state"),
        check("reversed_points BETWEEN 0 AND points", "ck_redemptions_reversed"),
        primary("redemptions", "ledger", "redemption_id"),
    )
    index(
        "redemptions",
        "ix_redemptions_ledger_redemption_id",
        ["ledger", "redemption_id"],
        where="state = 'RESERVED'",
    )
    index("redemptions", "ix_redemptions_ledger_reserved_at_us", ["ledger", "reserved_at_us"])

    table(
        "returns",
        key("ledger", TEXT),
        key("redemption_id", TEXT),
        key("cumulative_points", BIG),
        field("index", BIG),
        field("state", TEXT),
        field("reason_code", TEXT),
        check("state IN ('CLAIMED', 'REVERSED', 'REFUSED')", "ck_returns_state"),
        check("cumulative_points > 0", "ck_returns_points"),
        primary("returns", "ledger", "redemption_id", "cumulative_points"),
    )
    index("returns", "ix_returns_ledger_index", ["ledger", "index"], where="state = 'CLAIMED'")

    table(
        "rewards",
        key("ledger", TEXT),
        key("reward_id", TEXT),
        field("title", TEXT),
        field("kind", BIG),
        field("price_points", BIG),
        field("retail_currency", TEXT),
        field("retail_minor", BIG),
        field("active", BIG),
        field("unlimited", BIG),
        field("stock", BIG),
        field("reserved", BIG),
        field("delivered", BIG),
        check("active IN (0, 1)", "ck_rewards_active"),
        check("delivered >= 0", "ck_rewards_delivered"),
        check("reserved >= 0", "ck_rewards_reserved"),
        check("unlimited = 1 OR reserved + delivered <= stock", "ck_rewards_stock"),
        check("unlimited IN (0, 1)", "ck_rewards_unlimited"),
        primary("rewards", "ledger", "reward_id"),
    )
    table(
        "roster",
        key("ledger", TEXT),
        key("participant", TEXT),
        field("origin", TEXT),
        field("vkey", TEXT),
        field("old_keys", TEXT),
        field("tls_key_hash", BYTES),
        field("display_name", TEXT),
        field("peer_address", TEXT),
        field("public_address", TEXT),
        field("status", BIG),
        field("revoked", BIG),
        primary("roster", "ledger", "participant"),
    )
    table(
        "settlements",
        key("ledger", TEXT),
        key("window", BIG),
        field("index", BIG),
        field("leaf_hash", BYTES),
        field("table", BYTES),
        field("state", TEXT),
        field("answer_index", BIG),
        check("state IN ('SEEN', 'ACKNOWLEDGED', 'PROTESTED', 'ANSWERED')", "ck_settlements_state"),
        primary("settlements", "ledger", "window"),
    )
    table(
        "staff",
        key("ledger", TEXT),
        key("key_id", TEXT),
        field("role", TEXT),
        field("name", TEXT),
        field("public_key", BYTES),
        field("added_at_us", BIG),
        check("role IN ('till', 'manager', 'auditor')", "ck_staff_role"),
        primary("staff", "ledger", "key_id"),
    )
    table(
        "tiles",
        key("ledger", TEXT),
        key("level", BIG),
        key("index", BIG),
        field("hashes", BYTES),
        primary("tiles", "ledger", "level", "index"),
    )
    table(
        "vouchers",
        key("ledger", TEXT),
        key("code", TEXT),
        field("reward_id", TEXT),
        field("redemption_id", TEXT),
        field("state", TEXT),
        field("issued_at_us", BIG),
        field("used_at_us", BIG),
        field("used_by", TEXT),
        check("state IN ('VALID', 'USED', 'VOID')", "ck_vouchers_state"),
        primary("vouchers", "ledger", "code"),
    )
    index("vouchers", "ix_vouchers_ledger_redemption_id", ["ledger", "redemption_id"])


def downgrade() -> None:
    raise NotImplementedError("There is no release before the first; restore a backup.")
