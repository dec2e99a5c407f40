"""Where Alembic begins; all of it is `comity.ledger.migrate`."""

from comity.ledger import migrate

migrate.run()
