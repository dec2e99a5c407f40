"""Database engines: SQLite and PostgreSQL by URL, with one behaviour.

The drivers' default transactions would lose updates on SQLite without a word; here every
transaction begins explicitly. Times are integer microseconds, so no type depends on a driver.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

BUSY_TIMEOUT_MS = 5_000
POOL_SIZE = 8


def open_engine(url: str) -> Engine:
    """An engine whose transactions read one snapshot; `writer` makes the one that writes.

    `sqlite:///file` is durable at each commit (WAL, synchronous FULL). `sqlite://` is a
    database in memory that lives as long as the engine, for simulated worlds: one connection,
    one thread at a time. `postgresql://…` uses psycopg.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(url, in_memory=parsed.database in (None, "", ":memory:"))
    if parsed.get_backend_name() == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            isolation_level="REPEATABLE READ",
            pool_size=POOL_SIZE,
            pool_pre_ping=True,
        )
    raise ValueError(f"a database URL begins with sqlite or postgresql, not {url.split(':')[0]!r}")


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """As `open_engine`; the connections are closed with the block, however it ends."""
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def writer(engine: Engine) -> Engine:
    """The same database and pool, for transactions that write.

    On SQLite they take the write lock at once (`BEGIN IMMEDIATE`). On PostgreSQL they read
    committed data; what keeps a second writer out is the ledger's lease.
    """
    if engine.dialect.name == "sqlite":
        return engine.execution_options(comity_begin="BEGIN IMMEDIATE")
    return engine.execution_options(isolation_level="READ COMMITTED")


def _sqlite(url: str, *, in_memory: bool) -> Engine:
    arguments: dict[str, Any] = {
        "isolation_level": None,
        "check_same_thread": False,
        "cached_statements": 1_024,
    }
    if in_memory:
        engine = create_engine(url, connect_args=arguments, poolclass=StaticPool)
        event.listen(engine, "connect", _ending_with(engine))
    else:
        arguments["timeout"] = BUSY_TIMEOUT_MS / 1_000
        engine = create_engine(url, connect_args=arguments, pool_size=POOL_SIZE, pool_use_lifo=True)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _ending_with(engine: Engine) -> Callable[[Any, object], None]:
    """Closes the connection of a database in memory when the engine is no more."""
    owner = weakref.ref(engine)

    def ends(connection: Any, record: object) -> None:
        alive = owner()
        if alive is not None:
            weakref.finalize(alive, connection.close)

    return ends


def _configure_sqlite(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "cache_size=-65536",
        "wal_autocheckpoint=4000",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    how = connection.get_execution_options().get("comity_begin", "BEGIN")
    connection.connection.cursor().execute(how)
