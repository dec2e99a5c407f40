"""A database of the first release comes to events and earnings with what it had sold."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from sqlalchemy import Engine, text

from comity.ledger.engine import writer
from comity.ledger.migrate import configuration, create_or_upgrade
from node import migrations
from node.tables import metadata

SCRIPTS = Path(migrations.__file__).parent

OLD = (
    "INSERT INTO accounts (ledger, account, unit, pending, available, held, debt) "
    "VALUES ('grocery', 'acc_a', 'grocery/points', 0, 70, 0, 0)",
    "INSERT INTO purchases (ledger, purchase_id, account, currency, amount_minor, refunded_minor, "
    "points, reversed_points, rate_points, rate_minor, lot, occurred_at_us) VALUES "
    "('grocery', 'p1', 'acc_a', 'EUR', 1000, 300, 100, 30, 1, 10, '7.0', 5), "
    "('grocery', 'p2', 'acc_a', 'EUR', 9, 9, 0, 0, 1, 10, '', 8)",
)


def test_purchases_become_events_with_what_they_earned(engine: Engine) -> None:
    with writer(engine).begin() as connection:
        command.upgrade(configuration(connection, metadata, SCRIPTS), "0001")
        for statement in OLD:
            connection.execute(text(statement))
    create_or_upgrade(engine, metadata, SCRIPTS)
    with engine.connect() as connection:
        events = connection.execute(
            text("SELECT event_id, type, at_us, amount_minor, refunded_minor FROM events")
        ).all()
        earnings = connection.execute(
            text("SELECT event_id, unit, points, reversed_points, lot, denominator FROM earnings")
        ).all()
        sums = connection.execute(text("SELECT purchases, spend_minor FROM activity")).all()
        due = connection.execute(text("SELECT due_at_us FROM accounts")).scalars().all()
    assert sorted(map(tuple, events)) == [
        ("p1", "purchase", 5, 1000, 300),
        ("p2", "purchase", 8, 9, 9),
    ]
    assert list(map(tuple, earnings)) == [("p1", "grocery/points", 100, 30, "7.0", 10)]
    assert list(map(tuple, sums)) == [(1, 700)]
    assert due == [1], "what is due is looked for when the account is next touched"
