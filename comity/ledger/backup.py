"""A consistent copy of a service's database, taken while it serves.

The copy of either database is a SQLite file: of SQLite through its online backup, of PostgreSQL
by reading every table in one snapshot. Whoever runs PostgreSQL may as well use its own tools.
A copy counts once it verifies.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Engine, MetaData, Table, func, insert, select

from comity.errors import Conflict, LedgerFault
from comity.ledger import schema
from comity.ledger.engine import opened, writer
from comity.ledger.exchange import keys_of
from comity.ledger.guard import Signer
from comity.ledger.store import Head, read_head, read_tile
from comity.log.merkle import leaf_hash
from comity.log.tiles import TileTree

PAGES = 1_000
"""Rows copied, or verified, at a time."""


def back_up(engine: Engine, metadata: MetaData, target: Path) -> None:
    """Copy every table into a new SQLite file. Raises Conflict if the file exists."""
    if target.exists():
        raise Conflict(f"The file {target} exists; name a new one for the backup.")
    if engine.dialect.name == "sqlite":
        _copy_file(engine, target)
    else:
        with opened(f"sqlite:///{target}") as copy:
            copy_tables(engine, copy, metadata)


def copy_tables(source: Engine, target: Engine, metadata: MetaData) -> None:
    """Copy every table of one snapshot of `source` into `target`, which has none of them yet.

    Also the way from SQLite to PostgreSQL. Leases are copied as they are and run out.
    """
    with source.connect() as reading, writer(target).begin() as writing:
        metadata.create_all(writing)
        for table in metadata.sorted_tables:
            rows = reading.execution_options(yield_per=PAGES).execute(select(table))
            for page in rows.mappings().partitions():
                writing.execute(insert(table), [dict(row) for row in page])


def verify_copy(path: Path, *, ledger: str, signer: Signer) -> Head:
    """Recompute a copy's whole log and check its signed head; returns the head.

    Raises LedgerFault if anything is missing or altered.
    """
    with opened(f"sqlite:///{path}") as engine:
        return verify_log(engine, ledger=ledger, signer=signer)


def verify_log(engine: Engine, *, ledger: str, signer: Signer) -> Head:
    """Recompute a ledger's root and tiles from its entries, and check its signed head."""
    table = schema.entries
    signer.learn(keys_of(engine, ledger))
    with engine.connect() as connection:
        head = read_head(connection, ledger)
        tree = TileTree(0, lambda level, index: b"")
        start = 0
        while start < head.size:
            query = (
                select(table.c["index"], table.c.body)
                .where(table.c.ledger == ledger, table.c["index"] >= start)
                .order_by(table.c["index"])
                .limit(PAGES)
            )
            rows = connection.execute(query).all()
            expected = list(range(start, min(start + PAGES, head.size)))
            if [index for index, _ in rows[: len(expected)]] != expected:
                raise LedgerFault(f"The copy of ledger {ledger} misses entries from {start} on.")
            for at, tile in tree.append([leaf_hash(body) for _, body in rows]).items():
                if not read_tile(connection, ledger, *at).startswith(tile):
                    raise LedgerFault(f"The copy of ledger {ledger} has an altered tile {at}.")
            start += len(rows)
        if tree.root() != head.root or signer.verify(head.note) != (head.size, head.root):
            raise LedgerFault(f"The copy of ledger {ledger} does not lead to its signed head.")
    return head


def rows_by_table(engine: Engine, metadata: MetaData) -> dict[str, int]:
    """How many rows each table has, to compare a copy with its source."""

    def count(table: Table) -> int:
        with engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

    return {table.name: count(table) for table in metadata.sorted_tables}


def _copy_file(engine: Engine, target: Path) -> None:
    copy = sqlite3.connect(target)
    try:
        with engine.connect() as connection:
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)
            source.backup(copy)
    finally:
        copy.close()
