"""A lost tail of clearing's log comes back from the brands' mirrors, or nothing does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from clearing import tables
from clearing.build import LEDGER
from clearing.record import opening_for
from clearing.recover import Recovered, recover
from comity.errors import BadStatement, Forbidden, NotFound, ShorterLedger, Unavailable
from comity.ledger import entries, guard, schema
from comity.ledger.backup import back_up
from comity.ledger.engine import open_engine
from comity.ledger.guard import HeadFile
from comity.ledger.store import LedgerStore
from comity.v1 import entry_pb2, peer_pb2
from tests.store.clearing_world import NETWORK, World, outcome, terms


class MirrorChannel:
    """A brand's `ReadMirror`, answered from the log clearing had before it lost its tail."""

    def __init__(self, world: World, name: str, *, size: int | None = None) -> None:
        store = world.clearing.ledger
        head = store.head() if size is None else store.checkpoint_at_or_after(size)
        self.checkpoint = head.note
        self.leaves: list[bytes] = []
        self.openings: dict[int, entry_pb2.DecisionOpening] = {}
        for stored in store.entries(0, head.size):
            self.leaves.append(stored.body)
            if stored.opening is not None:
                whole = entry_pb2.EntryOpening.FromString(stored.opening).decision
                shown = opening_for(name, entries.decode(stored.body).decision, whole)
                if shown is not None:
                    self.openings[stored.index] = shown
        self.limit = 3
        self.down = False

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Any:
        async def call(request: Any, **_: object) -> peer_pb2.ReadMirrorResponse:
            if self.down:
                raise Unavailable("Nobody answers.")
            start = request.from_index
            found = self.leaves[start : start + self.limit]
            return peer_pb2.ReadMirrorResponse(
                entries=found,
                openings={
                    index: opening
                    for index, opening in self.openings.items()
                    if start <= index < start + len(found)
                },
                checkpoint=self.checkpoint,
            )

        return call

    async def close(self) -> None: ...


class Lost:
    """A world whose clearing database was restored from an older copy."""

    def __init__(self, world: World, engine: Engine, folder: Path) -> None:
        self.world = world
        self.engine = engine
        self.head_file = HeadFile(folder / "head")
        self.mirrors = {name: MirrorChannel(world, name) for name in world.brands}

    async def recover(self) -> Recovered:
        world = self.world
        lease = guard.open_ledger(
            self.engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=world.signer,
            holder="recovery",
            now_us=world.clock(),
            is_dead=lambda _: True,
        )
        return await recover(
            engine=self.engine,
            lease=lease,
            signer=world.signer,
            network=NETWORK,
            peers=lambda name: self.mirrors[name],
            clock=world.clock,
            random=world.random,
            head_file=self.head_file,
        )

    @property
    def size(self) -> int:
        return LedgerStore(self.engine, LEDGER).head().size


@pytest.fixture
async def lost(engine: Engine, tmp_path: Path) -> AsyncIterator[Lost]:
    """Decisions, a reversal, an abort, a cap, a standing, an exchanged key, a brand revoked, a
    new version and brand, two windows."""
    world = World(engine)
    for name in ("grocery", "fuel"):
        await world.admit(name)
    await world.agree(terms(fee_basis_points=100))
    fee = terms(fee_basis_points=100)
    first = await world.commit("first", points=100, under=fee)
    copy = tmp_path / "older.db"
    back_up(engine, tables.metadata, copy)
    fuel = world.brands["fuel"]
    await world.commit("second", points=300, under=fee)
    giving_back = world.giving_back(fuel, first, cumulative=40, delivery=world.deliver(fuel, first))
    assert outcome(await world.one(fuel, giving_back)) == "REVERSED RETURNED"
    await world.close(1)
    await world.admit("hotel", cap_minor=500)
    await world.cap("grocery", 777_000)
    await world.stand("hotel", entry_pb2.PARTICIPANT_STATUS_SUSPENDED)
    await world.rotate("hotel")
    await world.admit("spa", cap_minor=500)
    await world.revoke("spa")
    second = terms(version=2)
    await world.agree(second)
    await world.commit("third", points=50, under=second)
    await world.settle(1)
    await world.clearing.sweep.round()
    blocked = world.purchase("fourth", points=999_999, under=second)
    item = world.hold_claim(blocked, issuer=world.brands["grocery"])
    assert outcome(await world.one(fuel, item)) == "ABORTED CAP_EXCEEDED"
    older = open_engine(f"sqlite:///{copy}")
    yield Lost(world, older, tmp_path)
    older.dispose()


SAME = (
    tables.participants,
    tables.caps,
    tables.positions,
    tables.decisions,
    tables.spans,
    tables.totals,
)


def rows(engine: Engine, table: Any) -> list[Any]:
    with engine.connect() as connection:
        columns = [column for column in table.c if column.name != "head_size"]
        return sorted(tuple(row) for row in connection.execute(select(*columns)))


async def test_a_recovered_clearing_has_the_same_log_and_the_same_books(lost: Lost) -> None:
    before = lost.size
    whole = lost.world.clearing.ledger.head()
    found = await lost.recover()
    assert (found.size_before, found.size) == (before, whole.size)
    assert found.asked == ("fuel", "grocery")
    head = LedgerStore(lost.engine, LEDGER).head()
    assert (head.size, head.root, head.note) == (whole.size, whole.root, whole.note)
    for table in SAME:
        assert rows(lost.engine, table) == rows(lost.world.engine, table), table.name
    with lost.engine.connect() as connection:
        table = schema.entries
        opened = connection.execute(select(table.c["index"], table.c.opening)).all()
        times = connection.execute(select(table.c["index"], table.c.kind, table.c.at_us)).all()
    for index, kind, at_us in times:
        written = lost.world.clearing.ledger.entry(index)
        assert (kind, at_us) == (written.kind, written.at_us)
    kept = {index: opening for index, opening in opened if opening is not None}
    for index, opening in kept.items():
        stored = lost.world.clearing.ledger.entry(index).opening
        assert stored is not None
        assert entry_pb2.EntryOpening.FromString(opening) == entry_pb2.EntryOpening.FromString(
            stored
        )


async def test_a_recovered_clearing_goes_on_where_it_was(lost: Lost) -> None:
    await lost.recover()
    world = lost.world
    world.engine = lost.engine
    world.restart()
    spa = world.brands.pop("spa")
    with pytest.raises(Forbidden, match="was revoked"):
        await world.pulse(spa)
    for brand in world.brands.values():
        await world.pulse(brand)
    await world.agree(terms(version=2))
    decided = await world.commit("fifth", points=1, under=terms(version=2))
    assert decided.decision.index == world.clearing.ledger.head().size - 1
    again = world.hold_claim(
        world.purchase("third", points=50, under=terms(version=2)),
        issuer=world.brands["grocery"],
    )
    assert outcome(await world.one(world.brands["fuel"], again)) == "COMMITTED"
    assert decided.decision.index == world.clearing.ledger.head().size - 1


async def test_one_brand_is_enough_for_the_log_and_its_own_figures(lost: Lost) -> None:
    lost.mirrors["grocery"].down = True
    found = await lost.recover()
    assert found.unreachable == ("grocery",)
    assert lost.size == lost.world.clearing.ledger.head().size


async def test_without_anybodys_figures_nothing_is_written(lost: Lost) -> None:
    before = lost.size
    for mirror in lost.mirrors.values():
        mirror.openings.clear()
    with pytest.raises(NotFound):
        await lost.recover()
    assert lost.size == before
    for mirror in lost.mirrors.values():
        mirror.down = True
    with pytest.raises(NotFound):
        await lost.recover()


async def test_a_mirror_that_invents_entries_is_not_believed(lost: Lost) -> None:
    before = lost.size
    for mirror in lost.mirrors.values():
        mirror.leaves[-1] = mirror.leaves[-2]
    with pytest.raises(BadStatement):
        await lost.recover()
    assert lost.size == before


async def test_false_figures_of_one_brand_do_not_count(lost: Lost) -> None:
    for opening in lost.mirrors["fuel"].openings.values():
        opening.amounts.amount.minor += 1
    await lost.recover()
    assert rows(lost.engine, tables.positions) == rows(lost.world.engine, tables.positions)


async def test_a_head_beyond_every_mirror_is_named(lost: Lost) -> None:
    lost.head_file.bind(lost.world.signer.origin)
    lost.head_file.keep(lost.world.clearing.ledger.head(), now=True)
    shorter = lost.world.clearing.ledger.head().size - 2
    for name in lost.mirrors:
        lost.mirrors[name] = MirrorChannel(lost.world, name, size=shorter)
    with pytest.raises(ShorterLedger):
        await lost.recover()


async def test_nothing_lost_is_nothing_done(lost: Lost) -> None:
    await lost.recover()
    again = await lost.recover()
    assert again.size_before == again.size
