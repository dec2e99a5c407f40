"""The figures of the ledger in one process: on SQLite, on PostgreSQL, over hot accounts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bench.commits import Commits
from bench.measure import Extent, Figure, NotMeasured, in_turns
from bench.pgbench import NAME as PGBENCH
from bench.pgbench import Pgbench
from bench.transfers import TransferBench
from comity.serve.process import spare_collector
from tests import postgres

MEMBERS = 10_000
LOTS = 10_000
HOT = 10

UNIT = "transfers/s"


@contextmanager
def _transfers(folder: Path, name: str, *, members: int, url: str = "") -> Iterator[TransferBench]:
    place = folder / name
    place.mkdir()
    url = url or f"sqlite:///{place / 'ledger.db'}"
    with closing(TransferBench(url, place / "node", members=members, lots=LOTS)) as found:
        found.run(0.3)
        spare_collector()
        yield found


def sqlite(folder: Path, extent: Extent) -> list[Figure]:
    """Transfers on SQLite beside single commits on SQLite."""
    with (
        _transfers(folder, "ledger_sqlite", members=MEMBERS) as transfers,
        closing(Commits(folder / "commits.db")) as commits,
    ):
        value, baseline = in_turns(
            extent.rounds,
            lambda: transfers.run(extent.seconds(3.0)),
            lambda: commits.run(extent.seconds(1.5)),
        )
    return [
        Figure(
            name="ledger_sqlite",
            value=value,
            unit=UNIT,
            baseline="fsynced one-row SQLite commits/s (write-ahead log, synchronous FULL)",
            baseline_value=baseline,
            floor=2,
            wish=5,
        )
    ]


def hot(folder: Path, extent: Extent) -> list[Figure]:
    """Transfers among ten accounts beside transfers among ten thousand."""
    with (
        _transfers(folder, "ledger_hot", members=HOT) as few,
        _transfers(folder, "ledger_cold", members=MEMBERS) as many,
    ):
        value, baseline = in_turns(
            extent.rounds,
            lambda: few.run(extent.seconds(2.5)),
            lambda: many.run(extent.seconds(2.5)),
        )
    return [
        Figure(
            name="ledger_hot",
            value=value,
            unit=f"{UNIT} over {HOT} accounts",
            baseline=f"{UNIT} over {MEMBERS:,} accounts",
            baseline_value=baseline,
            floor=0.9,
        )
    ]


def postgresql(folder: Path, extent: Extent) -> list[Figure]:
    """Transfers on PostgreSQL beside pgbench on the same server."""
    with ExitStack() as open_:
        try:
            server = open_.enter_context(postgres.server())
        except postgres.NoPostgresql as error:
            raise NotMeasured(str(error)) from error
        tables = open_.enter_context(postgres.database(server.url))
        pgbench = Pgbench(server.binaries, tables)
        url = open_.enter_context(postgres.database(server.url))
        transfers = open_.enter_context(
            _transfers(folder, "ledger_postgresql", members=MEMBERS, url=url)
        )
        value, baseline = in_turns(
            extent.rounds,
            lambda: transfers.run(extent.seconds(3.0)),
            lambda: pgbench.run(extent.seconds(5.0)),
        )
    return [
        Figure(
            name="ledger_postgresql",
            value=value,
            unit=UNIT,
            baseline=f"{PGBENCH}, same server, fsync on, transactions/s",
            baseline_value=baseline,
            floor=2,
            wish=5,
        )
    ]
