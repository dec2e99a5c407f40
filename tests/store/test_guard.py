"""What a process refuses to start on, and the small file that remembers the head."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from comity.clock import SECOND
from comity.errors import (
    Conflict,
    ForeignLedger,
    ForkedLedger,
    LeaseHeld,
    LedgerFault,
    MissingLedger,
    ShorterLedger,
)
from comity.ledger import guard, schema
from comity.ledger.engine import open_engine, writer
from comity.ledger.guard import HeadFile
from comity.ledger.store import Head
from tests.store.toy import LEDGER, NETWORK, Deposit, Ticking, World, metadata, signer


def deposits(start: int, count: int, points: int = 1) -> list[Deposit]:
    return [
        Deposit(caller="till", id=str(number), account="a", points=points)
        for number in range(start, start + count)
    ]


def tables(world: World) -> dict[str, list[dict[str, object]]]:
    with world.engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in metadata.sorted_tables
        }


def restore(world: World, copy: dict[str, list[dict[str, object]]]) -> None:
    """Put an older copy of the database back, and nothing else."""
    with writer(world.engine).begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(delete(table))
            if copy[table.name]:
                connection.execute(insert(table), copy[table.name])


def test_a_new_ledger_opens_with_a_signed_empty_head(world: World) -> None:
    lease = world.open()
    assert lease.fence == 1
    head = world.store().head()
    assert signer().verify(head.note) == (0, head.root)


def test_a_ledger_is_created_once(world: World) -> None:
    with pytest.raises(Conflict):
        world.init()


def test_a_database_without_tables_is_a_missing_ledger(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(MissingLedger):
        World(engine, tmp_path).open()


def test_a_database_without_this_ledger_is_a_missing_ledger(world: World) -> None:
    with writer(world.engine).begin() as connection:
        connection.execute(delete(schema.ledgers))
    with pytest.raises(MissingLedger):
        world.open()


def test_another_key_makes_a_foreign_ledger(world: World) -> None:
    with pytest.raises(ForeignLedger, match="key"):
        world.open(key=b"other")


def test_another_network_makes_a_foreign_ledger(world: World) -> None:
    with pytest.raises(ForeignLedger, match="network"):
        guard.open_ledger(
            world.engine,
            ledger=LEDGER,
            network="other.example",
            signer=signer(),
            holder="test",
            now_us=world.clock(),
        )


def test_a_head_file_of_another_log_is_foreign(world: World) -> None:
    other = world.head_file
    other.bind("comity.example/airline")
    other.keep(Head(size=3, root=bytes(32), note=b"", at_us=0))
    with pytest.raises(ForeignLedger):
        world.open()


def test_a_database_restored_alone_from_an_older_copy_is_shorter(world: World) -> None:
    sequencer = world.start()
    sequencer.run_batch(deposits(0, 3))
    copy = tables(world)
    sequencer.run_batch(deposits(3, 2))
    sequencer.close()
    restore(world, copy)
    with pytest.raises(ShorterLedger) as caught:
        world.open()
    assert caught.value.metadata == {"ours": "3", "known": "5"}


def test_a_database_with_another_history_is_forked(world: World) -> None:
    sequencer = world.start()
    sequencer.run_batch(deposits(0, 3))
    copy = tables(world)
    sequencer.run_batch(deposits(3, 2))
    sequencer.close()
    restore(world, copy)
    kept = world.head_file.path.read_bytes()
    world.head_file.path.unlink()
    world.start().run_batch(deposits(3, 4, points=2))
    world.head_file.path.write_bytes(kept)
    with pytest.raises(ForkedLedger):
        world.open()


def test_a_head_that_others_know_is_compared_the_same_way(world: World) -> None:
    sequencer = world.start()
    sequencer.run_batch(deposits(0, 3))
    known = sequencer.store.head()
    sequencer.run_batch(deposits(3, 2))
    store = world.store()
    guard.check_known_head(store, size=known.size, root=known.root)
    guard.check_known_head(store, size=5, root=store.head().root)
    with pytest.raises(ShorterLedger):
        guard.check_known_head(store, size=6, root=bytes(32))
    with pytest.raises(ForkedLedger):
        guard.check_known_head(store, size=3, root=bytes(32))


def test_a_ledger_that_lost_an_entry_or_a_tile_is_not_served(world: World) -> None:
    world.start().run_batch(deposits(0, 5))
    with writer(world.engine).begin() as connection:
        connection.execute(update(schema.tiles).values(hashes=bytes(32 * 5)))
    with pytest.raises(LedgerFault, match="root"):
        world.open()
    with writer(world.engine).begin() as connection:
        connection.execute(delete(schema.entries).where(schema.entries.c["index"] == 4))
    with pytest.raises(LedgerFault, match="4 entries"):
        world.open()


def test_a_refused_start_takes_no_lease(world: World) -> None:
    with pytest.raises(ForeignLedger):
        world.open(key=b"other")
    assert world.open(dead=False).fence == 1


def test_a_lost_database_is_not_created_anew(world: World) -> None:
    sequencer = world.start()
    sequencer.run_batch(deposits(0, 3))
    with writer(world.engine).begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(delete(table))
    with pytest.raises(ShorterLedger, match="Restore"):
        world.init()


# --- the head file --------------------------------------------------------------------


def head(size: int, at_us: int = 0) -> Head:
    return Head(size=size, root=bytes([size]) * 32, note=b"", at_us=at_us)


def test_the_head_file_survives_a_torn_write(tmp_path: Path) -> None:
    path = tmp_path / "head"
    file = HeadFile(path, interval_us=0)
    file.bind("comity.example/grocery")
    for size in (1, 2, 3):
        file.keep(head(size))
    data = bytearray(path.read_bytes())
    data[20:40] = bytes(20)  # the slot of size 3
    path.write_bytes(data)
    found = file.read()
    assert found is not None
    assert (found.size, found.root) == (2, bytes([2]) * 32)
    path.write_bytes(bytes(1024))
    with pytest.raises(LedgerFault):
        file.read()


def test_the_head_file_is_not_written_for_each_batch(tmp_path: Path) -> None:
    file = HeadFile(tmp_path / "head", interval_us=SECOND)
    file.bind("comity.example/grocery")

    def kept() -> int:
        found = file.read()
        assert found is not None
        return found.size

    file.keep(head(1))
    file.keep(head(2, at_us=SECOND - 1))
    assert kept() == 1
    file.keep(head(3, at_us=SECOND))
    assert kept() == 3
    file.keep(head(4, at_us=SECOND + 1), now=True)
    assert kept() == 4


def test_a_restarted_process_does_not_overwrite_the_only_good_slot(tmp_path: Path) -> None:
    path = tmp_path / "head"
    for size in (1, 2, 3):
        file = HeadFile(path)
        file.bind("comity.example/grocery")
        file.read()
        file.keep(head(size))
    data = path.read_bytes()
    assert b" 2 " in data
    assert b" 3 " in data


# --- leases ---------------------------------------------------------------------------


def test_a_second_writer_is_refused_while_the_lease_runs(world: World) -> None:
    world.open(holder="first")
    with pytest.raises(LeaseHeld) as caught:
        world.open(holder="second", dead=False)
    assert caught.value.metadata["holder"] == "first"
    assert "first" in caught.value.message


def test_a_lease_that_ran_out_can_be_taken_and_raises_the_fence(world: World) -> None:
    first = world.open(holder="first")
    world.clock.now_us += 10 * SECOND
    second = world.open(holder="second", dead=False)
    assert second.fence == first.fence + 1


def test_each_commit_and_each_renewal_extends_the_lease(world: World) -> None:
    sequencer = world.start()
    for _ in range(3):
        world.clock.now_us += 8 * SECOND
        sequencer.renew()
    world.clock.now_us += 8 * SECOND
    sequencer.run_batch(deposits(0, 1))
    world.clock.now_us += 8 * SECOND
    with pytest.raises(LeaseHeld):
        world.open(holder="second", dead=False)


def test_a_closed_writer_leaves_the_ledger_free(world: World) -> None:
    world.start().close()
    world.open(holder="second", dead=False)


def test_two_ledgers_in_one_database_have_their_own_writers(world: World) -> None:
    guard.init_ledger(
        world.engine,
        ledger="airline",
        network=NETWORK,
        signer=signer(f"{NETWORK}/airline"),
        now_us=0,
    )
    world.open(dead=False)
    guard.open_ledger(
        world.engine,
        ledger="airline",
        network=NETWORK,
        signer=signer(f"{NETWORK}/airline"),
        holder="other",
        now_us=world.clock(),
        is_dead=lambda _: False,
    )


def test_a_database_in_memory_lives_as_long_as_its_engine(tmp_path: Path) -> None:
    engine = open_engine("sqlite://")
    world = World(engine, tmp_path, clock=Ticking())
    world.create()
    world.start().run_batch(deposits(0, 3))
    world.start().run_batch(deposits(2, 3))
    assert world.balances() == {"a": 5}
    engine.dispose()
