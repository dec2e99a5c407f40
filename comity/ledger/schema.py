"""The tables every ledger has, whatever its service keeps beside them.

Each service has a `MetaData` of its own, which starts as a copy of these tables
(`service_metadata`), so that two services in one process share no database schema.

House rules, kept by a test over each service's metadata: `ledger` is the first column of
every primary key, unique constraint, index and foreign key, so one ledger lives on one shard
of a distributed database; constraints are named and stand on the table, not on the column.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    event,
)
from sqlalchemy.schema import SchemaItem

from comity.ledger import statistics

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)
"""The kernel's tables. Services use `service_metadata()`."""

BigInt = BigInteger().with_variant(Integer, "sqlite")
"""A signed 64-bit integer on both databases."""


def key(name: str, kind: Any = Text) -> Column[Any]:
    """A column of the primary key."""
    return Column(name, kind, primary_key=True, autoincrement=False)


def field(name: str, kind: Any = Text, *, nullable: bool = False) -> Column[Any]:
    """A column outside the primary key; never null unless it says so."""
    return Column(name, kind, nullable=nullable)


def ledger_table(into: MetaData, name: str, *items: SchemaItem) -> Table:
    """A table keyed by `ledger` first, then by the `key` columns among `items`.

    On SQLite the rows live in the primary key's own tree (`WITHOUT ROWID`): one tree to
    write instead of two.
    """
    return Table(name, into, key("ledger"), *items, sqlite_with_rowid=False)


def service_metadata() -> MetaData:
    """A fresh `MetaData` holding a copy of the kernel's tables, for a service to add to."""
    copy = MetaData(naming_convention=NAMING)
    for table in metadata.sorted_tables:
        table.to_metadata(copy)
    event.listen(copy, "after_create", _created)
    return copy


def _created(target: MetaData, connection: Connection, **named: Any) -> None:
    statistics.assume(connection, target)


ledgers = ledger_table(
    metadata,
    "ledgers",
    field("network"),
    field("origin"),
    field("vkey"),
    field("created_at_us", BigInt),
    field("size", BigInt),
    field("root", LargeBinary),
    field("note", LargeBinary),
    field("last_at_us", BigInt),
    field("lease_holder"),
    field("lease_fence", BigInt),
    field("lease_until_us", BigInt),
    CheckConstraint("size >= 0", name="size"),
    CheckConstraint("lease_fence >= 0", name="fence"),
)
"""One row a ledger: who it is, its head, and who may write it.

`note` is the latest signed checkpoint, `vkey` the keys of the log (`comity.log.history`).
`last_at_us` is the time of the last batch. The lease columns belong to `comity.ledger.lease`.
"""

entries = ledger_table(
    metadata,
    "entries",
    key("index", BigInt),
    field("kind"),
    field("at_us", BigInt),
    field("body", LargeBinary),
    field("opening", LargeBinary, nullable=True),
    CheckConstraint('"index" >= 0', name="index"),
)
"""The log's leaves as first written. `opening` holds salts and is never served to strangers."""

tiles = ledger_table(
    metadata,
    "tiles",
    key("level", BigInt),
    key("index", BigInt),
    field("hashes", LargeBinary),
)
"""The log's hashes in tiles of up to 256 (C2SP tlog-tiles): level 0 holds leaf hashes."""

checkpoints = ledger_table(
    metadata,
    "checkpoints",
    key("size", BigInt),
    field("note", LargeBinary),
    field("at_us", BigInt),
)
"""Every signed checkpoint: one for each batch that appended."""

commands = ledger_table(
    metadata,
    "commands",
    key("caller"),
    key("id"),
    field("step"),
    field("digest", LargeBinary),
    field("first_index", BigInt, nullable=True),
    field("entry_count", BigInt),
    field("answer", LargeBinary),
    field("refusal", nullable=True),
    field("at_us", BigInt),
    CheckConstraint("entry_count >= 0", name="entry_count"),
)
"""What each caller's id was answered, for ever. `refusal` is the recorded error as JSON."""

heads = ledger_table(
    metadata,
    "heads",
    key("origin"),
    field("size", BigInt),
    field("root", LargeBinary),
    field("note", LargeBinary),
    field("linked", BigInt),
    field("at_us", BigInt),
    CheckConstraint("size >= 0", name="size"),
    CheckConstraint("linked IN (0, 1)", name="linked"),
)
"""The highest verified head of each counterparty's log, written with the effect relying on it."""

loose_heads = ledger_table(
    metadata,
    "loose_heads",
    key("origin"),
    key("size", BigInt),
    field("root", LargeBinary),
    field("note", LargeBinary),
    field("at_us", BigInt),
    CheckConstraint("size >= 0", name="size"),
)
"""Signed heads of counterparties that their owner has not yet linked with the highest one."""

quarantine = ledger_table(
    metadata,
    "quarantine",
    key("caller"),
    key("id"),
    key("digest", LargeBinary),
    field("step"),
    field("reason"),
    field("at_us", BigInt),
)
"""Commands that raised something unforeseen, each kept once, for an operator to look at."""
