"""Bringing a database to a service's newest schema, from any release of it.

Each service keeps its migrations in its own package; this module is their environment, so that
a service's `env.py` is one call: `migrate.run()`. A database which is at the newest revision
already, as at every start but the first of a release, needs nothing of Alembic, which is not even
imported then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ClauseElement, Connection, Engine, MetaData, inspect, text
from sqlalchemy.schema import CheckConstraint

from comity.ledger import statistics
from comity.ledger.engine import writer

if TYPE_CHECKING:
    from alembic.config import Config

_SAID: Final = re.compile(r"""^(down_)?revision\b[^=\n]*=\s*["']([^"'\n]+)["']""", re.MULTILINE)


def create_or_upgrade(engine: Engine, metadata: MetaData, script_location: Path | str) -> None:
    """Create the tables, or bring those of an older release to the newest; does nothing twice."""
    with writer(engine).begin() as connection:
        if _stored(connection) != {newest(script_location)}:
            from alembic import command

            command.upgrade(configuration(connection, metadata, script_location), "head")
        statistics.assume(connection, metadata)


def newest(script_location: Path | str) -> str:
    """The revision which no migration follows. Raises ValueError unless there is exactly one."""
    revisions: set[str] = set()
    followed: set[str] = set()
    for file in (Path(script_location) / "versions").glob("*.py"):
        for down, name in _SAID.findall(file.read_text(encoding="utf-8")):
            (followed if down else revisions).add(name)
    ends = revisions - followed
    if len(ends) != 1:
        raise ValueError(f"{script_location} ends in {sorted(ends)}, not in one revision")
    return ends.pop()


def _stored(connection: Connection) -> set[str]:
    """The revisions at which the database says it is; none for a new one."""
    if not inspect(connection).has_table("alembic_version"):
        return set()
    return set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def revise(engine: Engine, metadata: MetaData, script_location: Path | str, message: str) -> None:
    """Write a new migration from what differs between the database and `metadata`."""
    from alembic import command

    with writer(engine).begin() as connection:
        settings = configuration(connection, metadata, script_location)
        command.revision(settings, message=message, autogenerate=True)


def configuration(
    connection: Connection, metadata: MetaData, script_location: Path | str
) -> Config:
    """Alembic's settings for one connection, without a settings file."""
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(script_location))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    settings.attributes["metadata"] = metadata
    return settings


def run() -> None:
    """Run the migrations on the connection of `configuration`; all that an `env.py` does."""
    from alembic import context

    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        target_metadata=attributes["metadata"],
        render_as_batch=attributes["connection"].dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


Described = Mapping[str, Mapping[str, Any]]


def describe(connection: Connection) -> Described:
    """What a database's tables are, in comparable form: columns, keys, checks, indexes.

    For the test that `create_all` and the migrations lead to the same schema.
    """
    inspector = inspect(connection)
    found: dict[str, Mapping[str, Any]] = {}
    for table in sorted(inspector.get_table_names()):
        if table == "alembic_version":
            continue
        found[table] = {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"])
                for column in inspector.get_columns(table)
            ],
            "primary_key": inspector.get_pk_constraint(table),
            "unique": _sorted(inspector.get_unique_constraints(table)),
            "foreign_keys": _sorted(inspector.get_foreign_keys(table)),
            "checks": _sorted(inspector.get_check_constraints(table)),
            "indexes": _sorted(inspector.get_indexes(table)),
            "options": _options(connection, table),
        }
    return found


def ledger_first(metadata: MetaData) -> list[str]:
    """What breaks the house rules of `comity.ledger.schema`, as sentences; empty if nothing."""
    wrong = []
    for table in metadata.sorted_tables:
        groups = [("primary key", list(table.primary_key.columns))]
        groups += [(f"index {index.name}", list(index.columns)) for index in table.indexes]
        for constraint in table.constraints:
            columns = list(getattr(constraint, "columns", ()))
            if not isinstance(constraint, CheckConstraint) and constraint is not table.primary_key:
                groups.append((f"constraint {constraint.name}", columns))
        for name, columns in groups:
            if not columns or columns[0].name != "ledger":
                wrong.append(f"{table.name}: {name} does not begin with ledger")
        wrong += [
            f"{table.name}: column {column.name} carries its own constraint"
            for column in table.columns
            if column.constraints
        ]
    return wrong


def _sorted(items: Any) -> list[str]:
    return sorted(repr(_plain(item)) for item in items)


def _plain(value: Any) -> Any:
    """A reflected value with the text of the conditions in it, such as a partial index's."""
    if isinstance(value, dict):
        return sorted((name, _plain(part)) for name, part in value.items())
    return str(value) if isinstance(value, ClauseElement) else value


def _options(connection: Connection, table: str) -> str:
    """On SQLite whether the table has no row ids, which reflection does not tell."""
    if connection.dialect.name != "sqlite":
        return ""
    query = "SELECT wr FROM pragma_table_list(?)"
    return str(connection.exec_driver_sql(query, (table,)).scalar_one())
