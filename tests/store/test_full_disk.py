"""A disk without room: nothing is acknowledged, nothing is half done, and it goes on afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from comity.errors import Unavailable
from comity.ledger.command import Answer
from comity.ledger.engine import open_engine
from comity.ledger.guard import check_known_head
from comity.verify.database import database
from tests.store.toy import Deposit, World


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield made
    made.dispose()


def allow(engine: Engine, pages: int) -> None:
    """Let the database grow to so many pages, as a disk would; 0 for no more than it has."""

    def limit(connection: object, *_: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"PRAGMA max_page_count={pages or 1}")
        cursor.close()

    event.listen(engine, "checkout", limit)


def deposits(first: int, count: int) -> list[Deposit]:
    return [
        Deposit(caller="till", id=f"{first}-{n}", account=f"{first}-{n}", points=n + 1)
        for n in range(count)
    ]


def test_a_full_disk_acknowledges_nothing_and_the_same_requests_succeed_later(
    world: World, engine: Engine, tmp_path: Path
) -> None:
    sequencer = world.start()
    before = sequencer.run_batch(deposits(0, 50))
    assert all(isinstance(one, Answer) for one in before)
    head, balances = sequencer.store.head(), world.balances()
    # 1. No room: refused in words, nothing done.
    allow(engine, 0)
    wanted = deposits(1, 500)
    for _ in range(3):
        for outcome in sequencer.run_batch(wanted):
            assert isinstance(outcome, Unavailable)
            assert "nothing was decided. Repeat the request." in outcome.message
    assert sequencer.store.head() == world.store().head() == head
    assert world.balances() == balances
    # 2. What was answered is still answered, and proven.
    again = sequencer.run_batch(deposits(0, 50))
    assert all(isinstance(one, Answer) and one.repeated for one in again)
    assert sequencer.store.prove((49,)).entries
    # 3. There is room again: the same requests, each counted once.
    allow(engine, 1_000_000)
    done = sequencer.run_batch(wanted)
    assert all(isinstance(one, Answer) and not one.repeated for one in done)
    assert world.balances() == balances | {one.account: one.points for one in wanted}
    check_known_head(sequencer.store, size=head.size, root=head.root)
    sequencer.close()
    report = database(tmp_path / "ledger.db", head_file=tmp_path / "head")
    assert [one for one in report.checks if one.name in ("root", "tiles", "commands")]
    assert all(one.passed for one in report.checks if one.name in ("root", "tiles", "commands"))
