"""Every test here that asks for `world` or `engine` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from comity.ledger.engine import open_engine
from tests import postgres
from tests.store.toy import World


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine on a new and empty database."""
    if request.param == "sqlite":
        made = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
        yield made
        made.dispose()
        return
    with postgres.database(request.getfixturevalue("postgresql_url")) as url:
        made = open_engine(url)
        yield made
        made.dispose()


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    """A ledger just created, not yet opened."""
    made = World(engine, tmp_path)
    made.create()
    return made
