"""What SQLite's planner should believe of a ledger's tables, before there is any data.

Without statistics SQLite takes ten rows for one value of an index's first column. Here the first
column is always `ledger`, which has one value in the whole file, so SQLite would rather walk a
table by its primary key than search a second index by (ledger, account). The estimates written
here (https://sqlite.org/fileformat2.html#the_sqlite_stat1_table) say what is true of every
ledger: all rows have its name, and each further column narrows them down to few.
"""

from __future__ import annotations

from sqlalchemy import Connection, MetaData

ROWS = 1_000_000
_AFTER_LEDGER = 100
"""Rows that share the ledger and the next column, and each column more divides by ten."""


def assume(connection: Connection, metadata: MetaData) -> None:
    """Write the estimates for every table there is; does nothing on other databases."""
    if connection.dialect.name != "sqlite":
        return
    connection.exec_driver_sql("ANALYZE sqlite_schema")
    found = connection.exec_driver_sql(
        "SELECT m.name, i.name, i.origin, "
        "(SELECT count(*) FROM pragma_index_info(i.name)) "
        "FROM sqlite_schema AS m JOIN pragma_index_list(m.name) AS i WHERE m.type = 'table'"
    ).fetchall()
    rows = [
        # A table without row ids is its primary key, which goes by the table's own name.
        (table, table if origin == "pk" else index, _estimate(columns, unique=origin == "pk"))
        for table, index, origin, columns in found
        if table in metadata.tables
    ]
    names = [(table,) for table in metadata.tables]
    connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE tbl = ?", names)
    if rows:
        connection.exec_driver_sql(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", rows
        )
    connection.exec_driver_sql("ANALYZE sqlite_schema")


def _estimate(columns: int, *, unique: bool) -> str:
    """The statistics of one index: all rows, then rows for each value of its first columns."""
    each = [ROWS, *(max(2, _AFTER_LEDGER // 10**at) for at in range(columns - 1))]
    if unique:
        each[-1] = 1
    return " ".join(str(count) for count in (ROWS, *each))
