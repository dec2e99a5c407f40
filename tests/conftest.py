"""What every test may ask for: a PostgreSQL server, the published vectors, the seeds to walk.

COMITY_TEST_POSTGRESQL_URL  a server to use instead of starting one
COMITY_REQUIRE_POSTGRESQL   1: fail where PostgreSQL tests would be skipped
COMITY_VECTORS              the folder of vectors; by default ../shared/vectors
COMITY_REQUIRE_VECTORS      1: fail where vector tests would be skipped
COMITY_SEEDS                how many seeds the simulation walks; by default 200
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests import postgres

ROOT = Path(__file__).resolve().parent.parent

# No time limit: a slow machine is not a failure. A failing example prints how to repeat it.
settings.register_profile(
    "comity",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("comity")


def absent(reason: str, *, demanded_by: str) -> NoReturn:
    """Skips the test, or fails it where the environment demands that it runs."""
    if os.environ.get(demanded_by, "") not in ("", "0"):
        pytest.fail(f"{reason} ({demanded_by} is set)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgres.Server]:
    """A running PostgreSQL server and where its binaries are."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(postgres.server())
        except postgres.NoPostgresql as reason:
            absent(str(reason), demanded_by="COMITY_REQUIRE_POSTGRESQL")
        yield running


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: postgres.Server) -> str:
    """The server's own `postgres` database: for tests which share tables, or make databases."""
    return postgresql_server.url


@pytest.fixture
def postgresql_database(postgresql_url: str) -> Iterator[str]:
    """The URL of a database which is new and empty for each test."""
    with postgres.database(postgresql_url) as url:
        yield url


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of published test vectors."""
    folder = Path(os.environ.get("COMITY_VECTORS") or ROOT.parent / "shared" / "vectors")
    if not folder.is_dir():
        absent(f"No vectors at {folder}: set COMITY_VECTORS.", demanded_by="COMITY_REQUIRE_VECTORS")
    return folder


@pytest.fixture(scope="session")
def seeds() -> range:
    """The seeds of the simulation: 0 up to COMITY_SEEDS, 200 unless told."""
    return range(int(os.environ.get("COMITY_SEEDS") or 200))
