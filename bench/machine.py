"""What the figures were measured on and with: for the file of results."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from comity.ledger import guard, queue
from comity.ledger.engine import open_engine
from comity.ledger.sequencer import BATCH_LIMIT

PACKAGES = ("comity", "grpcio", "protobuf", "cryptography", "sqlalchemy", "psycopg", "duckdb")


def machine() -> dict[str, Any]:
    """The machine, as far as the operating system tells."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mib": psutil.virtual_memory().total >> 20,
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Of what takes part."""
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def sizes() -> dict[str, int]:
    """How much goes into one batch at most, and how much may wait."""
    return {"batch_limit": BATCH_LIMIT, "queue_limit": queue.QUEUE_LIMIT}


def durability(folder: Path) -> dict[str, Any]:
    """What a commit waits for."""
    engine = open_engine(f"sqlite:///{folder / 'settings.db'}")
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "wal_autocheckpoint")
        }
    engine.dispose()
    return {
        "sqlite": found,
        "postgresql": "the server's defaults: fsync on, synchronous_commit on",
        "head_file": f"fsynced after a commit, every {guard.HEAD_FILE_INTERVAL_US // 1_000} ms",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
