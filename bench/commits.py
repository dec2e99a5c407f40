"""The plainest durable write there is: one row, one commit, one fsync, on SQLite."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path


class Commits:
    """A table of its own, with the ledger's settings: write-ahead log, synchronous FULL."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("CREATE TABLE rows (at INTEGER PRIMARY KEY, value BLOB NOT NULL)")

    def commit(self) -> None:
        """One row more, for good."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        execute("INSERT INTO rows (value) VALUES (?)", (b"\0" * 100,))
        execute("COMMIT")

    def run(self, seconds: float) -> float:
        """Commits per second."""
        done, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            self.commit()
            done += 1
        return done / elapsed

    def close(self) -> None:
        self._connection.close()
