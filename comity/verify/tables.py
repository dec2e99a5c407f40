"""The tables in which services keep what follows from their logs, against the replayed logs.

The kernel knows these tables by name and column only: a service that keeps other tables is
checked as far as it has these, and one that has none of them passes with what its log says.
Which table follows from what is written down in docs/reference/tables.md.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect

from comity.ledger.replay import Findings, Replay
from comity.verify.brand_tables import check_brand
from comity.verify.clearing_tables import check_clearing
from comity.verify.comparison import Comparison, Reading
from comity.verify.report import AnyReplay


def check_tables(
    connection: Connection, ledger: str, replay: AnyReplay, reading: Reading, found: Findings
) -> dict[str, str]:
    """Compare whatever tables there are; returns each table's name with the good news."""
    present = set(inspect(connection).get_table_names())
    compare = Comparison(connection, ledger, reading, found, present)
    if isinstance(replay, Replay):
        check_brand(compare, replay)
    else:
        check_clearing(compare, replay)
    return compare.good
