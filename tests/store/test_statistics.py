"""SQLite searches second indexes: it never walks a whole ledger for one account."""

from __future__ import annotations

import pytest
from sqlalchemy import Table

from comity.ledger.bulk import _sqlite_select, shape
from comity.ledger.engine import open_engine, writer
from node import redemption_tables, tables

SEARCHES = [
    (tables.lots, ("account", "open")),
    (tables.devices, ("account",)),
    (tables.vouchers, ("redemption_id",)),
    (redemption_tables.book, ("window",)),
]


@pytest.mark.parametrize(("table", "names"), SEARCHES, ids=lambda value: getattr(value, "name", ""))
def test_a_batch_finds_rows_by_their_index(table: Table, names: tuple[str, ...]) -> None:
    engine = open_engine("sqlite://")
    with writer(engine).begin() as connection:
        tables.metadata.create_all(connection)
        sql = "EXPLAIN QUERY PLAN " + _sqlite_select(shape(table), names, 2)
        plan = connection.exec_driver_sql(sql, (1,) * (2 * len(names) + 1)).fetchall()
    columns = " AND ".join(f"{name}=?" for name in ("ledger", *names))
    assert f"USING INDEX ix_{table.name}" in plan[-1][-1]
    assert f"({columns})" in plan[-1][-1]
    engine.dispose()
