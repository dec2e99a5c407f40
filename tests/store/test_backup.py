"""A copy taken while serving, and what makes a copy count."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from comity.errors import Conflict, LedgerFault
from comity.ledger import schema
from comity.ledger.backup import back_up, copy_tables, rows_by_table, verify_copy, verify_log
from comity.ledger.engine import open_engine, writer
from tests.store.toy import LEDGER, Deposit, World, metadata, signer


@pytest.fixture
def busy(world: World) -> World:
    sequencer = world.start()
    for start in (0, 300):
        sequencer.run_batch(
            [
                Deposit(caller="till", id=str(start + number), account="a", points=1)
                for number in range(300)
            ]
        )
    return world


def test_a_backup_verifies_and_serves(busy: World, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    back_up(busy.engine, metadata, target)
    head = verify_copy(target, ledger=LEDGER, signer=signer())
    assert head == busy.store().head()
    copy = World(open_engine(f"sqlite:///{target}"), tmp_path, clock=busy.clock)
    assert rows_by_table(copy.engine, metadata) == rows_by_table(busy.engine, metadata)
    copy.start().run_batch([Deposit(caller="till", id="new", account="a", points=1)])
    assert copy.balances() == {"a": 601}
    copy.engine.dispose()


def test_a_backup_never_overwrites(busy: World, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    back_up(busy.engine, metadata, target)
    with pytest.raises(Conflict):
        back_up(busy.engine, metadata, target)


def test_a_ledger_moves_from_one_database_to_another(busy: World, postgresql_database: str) -> None:
    target = open_engine(postgresql_database)
    copy_tables(busy.engine, target, metadata)
    assert verify_log(target, ledger=LEDGER, signer=signer()) == busy.store().head()
    target.dispose()


@pytest.mark.parametrize("change", ["entry", "tile", "head"])
def test_an_altered_copy_does_not_verify(busy: World, tmp_path: Path, change: str) -> None:
    target = tmp_path / "copy.db"
    back_up(busy.engine, metadata, target)
    engine: Engine = open_engine(f"sqlite:///{target}")
    with writer(engine).begin() as connection:
        match change:
            case "entry":
                table = schema.entries
                connection.execute(
                    update(table).where(table.c["index"] == 17).values(body=b"deposit a 99")
                )
            case "tile":
                tiles = schema.tiles
                connection.execute(
                    update(tiles)
                    .where(tiles.c.level == 0, tiles.c["index"] == 0)
                    .values(hashes=bytes(256 * 32))
                )
            case _:
                connection.execute(update(schema.ledgers).values(root=bytes(32)))
    engine.dispose()
    with pytest.raises(LedgerFault):
        verify_copy(target, ledger=LEDGER, signer=signer())
