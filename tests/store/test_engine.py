"""What an engine promises of the database behind it."""

from __future__ import annotations

import gc
import sqlite3

import pytest

from comity.ledger.engine import open_engine


def test_a_database_in_memory_ends_with_its_engine() -> None:
    engine = open_engine("sqlite://")
    with engine.connect() as connection:
        database = connection.connection.driver_connection
    assert isinstance(database, sqlite3.Connection)
    assert database.execute("SELECT 1").fetchone() == (1,)
    del connection, engine
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")
