"""Accounts in several units, events and what they earned, levels, badges, titles and tags."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text()
BYTES = sa.LargeBinary()


def table(name: str, *items: SchemaItem) -> None:
    op.create_table(name, *items, sqlite_with_rowid=False)


def key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, autoincrement=False, nullable=False)


def field(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def check(condition: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(name))


def primary(table_name: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table_name}"))


def added(table_name: str, name: str, kind: Any, value: str) -> None:
    """A column whose rows so far get `value`."""
    column = sa.Column(name, kind, nullable=False, server_default=sa.text(value))
    op.add_column(table_name, column)


def upgrade() -> None:
    for name in ("business", "activity", "bonus"):
        added("accounts", name, BIG, "0")
    added("accounts", "lot", TEXT, "''")
    # Nobody knows what is due on an account until its lots are looked at.
    added("accounts", "due_at_us", BIG, "1")
    added("lots", "gone", BIG, "0")
    empty = "''" if op.get_bind().dialect.name == "postgresql" else "x''"
    added("programmes", "file", BYTES, empty)
    _create()
    _take_over(empty)
    op.drop_table("purchases")


def _create() -> None:
    table(
        "events",
        key("ledger", TEXT),
        key("event_id", TEXT),
        field("account", TEXT),
        field("type", TEXT),
        field("at_us", BIG),
        field("recorded_at_us", BIG),
        field("programme_version", TEXT),
        field("currency", TEXT),
        field("amount_minor", BIG),
        field("refunded_minor", BIG),
        field("details", BYTES),
        check("refunded_minor BETWEEN 0 AND amount_minor", "ck_events_refunded"),
        primary("events", "ledger", "event_id"),
    )
    op.create_index(op.f("ix_events_ledger_account"), "events", ["ledger", "account"])
    table(
        "earnings",
        key("ledger", TEXT),
        key("event_id", TEXT),
        key("place", BIG),
        field("rule", TEXT),
        field("unit", TEXT),
        field("points", BIG),
        field("reversed_points", BIG),
        field("lot", TEXT),
        field("numerator", BIG),
        field("denominator", BIG),
        field("by_line", BIG),
        field("source", BIG),
        field("funded_by", BIG),
        check("points > 0", "ck_earnings_points"),
        check("reversed_points BETWEEN 0 AND points", "ck_earnings_reversed"),
        check("by_line IN (0, 1)", "ck_earnings_by_line"),
        primary("earnings", "ledger", "event_id", "place"),
    )
    table(
        "counts",
        key("ledger", TEXT),
        key("account", TEXT),
        key("rule", TEXT),
        key("period", TEXT),
        field("times", BIG),
        field("points", BIG),
        check("times >= 0", "ck_counts_times"),
        check("points >= 0", "ck_counts_points"),
        primary("counts", "ledger", "account", "rule", "period"),
    )
    table(
        "activity",
        key("ledger", TEXT),
        key("account", TEXT),
        field("purchases", BIG),
        field("spend_minor", BIG),
        field("first_purchase_at_us", BIG),
        field("last_purchase_at_us", BIG),
        field("last_event_at_us", BIG),
        primary("activity", "ledger", "account"),
    )
    table(
        "ranks",
        key("ledger", TEXT),
        key("account", TEXT),
        field("level", TEXT),
        field("since_us", BIG),
        field("until_us", BIG),
        field("pinned", BIG),
        field("due_at_us", BIG),
        primary("ranks", "ledger", "account"),
    )
    op.create_index(op.f("ix_ranks_ledger_due_at_us"), "ranks", ["ledger", "due_at_us"])
    table(
        "marks",
        key("ledger", TEXT),
        key("account", TEXT),
        key("kind", BIG),
        key("name", TEXT),
        field("since_us", BIG),
        primary("marks", "ledger", "account", "kind", "name"),
    )


def _take_over(empty: str) -> None:
    """Purchases so far are events which one rule let earn in the brand's one unit."""
    op.execute(
        f"""
        INSERT INTO events (ledger, event_id, account, type, at_us, recorded_at_us,
            programme_version, currency, amount_minor, refunded_minor, details)
        SELECT ledger, purchase_id, account, 'purchase', occurred_at_us, occurred_at_us,
            '', currency, amount_minor, refunded_minor, {empty}
        FROM purchases
        """  # noqa: S608 - no value of a caller's is in it
    )
    op.execute(
        """
        INSERT INTO earnings (ledger, event_id, place, rule, unit, points, reversed_points, lot,
            numerator, denominator, by_line, source, funded_by)
        SELECT p.ledger, p.purchase_id, 0, 'purchase', a.unit, p.points, p.reversed_points, p.lot,
            p.rate_points, p.rate_minor, 0, 0, 0
        FROM purchases p JOIN accounts a ON a.ledger = p.ledger AND a.account = p.account
        WHERE p.points > 0
        """
    )
    op.execute(
        """
        INSERT INTO activity (ledger, account, purchases, spend_minor, first_purchase_at_us,
            last_purchase_at_us, last_event_at_us)
        SELECT ledger, account, SUM(CASE WHEN refunded_minor < amount_minor THEN 1 ELSE 0 END),
            SUM(amount_minor - refunded_minor), MIN(occurred_at_us), MAX(occurred_at_us),
            MAX(occurred_at_us)
        FROM purchases GROUP BY ledger, account
        """
    )


def downgrade() -> None:
    raise NotImplementedError("An older release does not know several units; restore a backup.")
