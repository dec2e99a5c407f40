"""The environment of clearing's migrations: the kernel's."""

from comity.ledger import migrate

migrate.run()
