"""A brand's log key is exchanged while its network works, and a stolen key opens nothing after."""

from __future__ import annotations

from typing import Any

import pytest

from comity.errors import Malformed, NotFound, RetiredKey
from comity.keys import SigningKey
from comity.ledger import statements
from comity.ledger.store import LedgerStore
from comity.log.checkpoint import CheckpointCache, open_checkpoint, read_checkpoint
from comity.log.history import KeyHistory, rotation_message
from comity.log.note import VerifierKey, split
from comity.v1 import common_pb2, operator_pb2
from comity.v1.clearing_pb2 import Decided
from comity.v1.member_pb2 import RedemptionState
from comity.verify.database import snapshot
from comity.verify.network import network
from tests.redemption_world import Node, NodeWorld, pair
from tests.unit.replay_log import failed

NEXT = SigningKey(bytes([77]) * 32)
DELIVERED = RedemptionState.REDEMPTION_STATE_DELIVERED


def request(node: Node, key: SigningKey = NEXT, **changed: Any) -> Any:
    """What `comity node rotate-key` would send, signed by both keys."""
    brand = node.world.clearing_world.brands[node.name]
    history = KeyHistory.parse(node.rows("ledgers")[0]["vkey"])
    assert history.current is not None
    new = VerifierKey.of(brand.origin, key.public)
    message = rotation_message(str(history.current), str(new))
    old = next(one for one in (brand.key, *node.next_keys) if one.public == history.current.public)
    plain: dict[str, Any] = {
        "id": f"rotate-{key.key_id}",
        "participant": node.name,
        "vkey": str(new),
        "new_signature": key.sign(message),
        "old_signature": old.sign(message),
    }
    return operator_pb2.RotateParticipantKeyRequest(**(plain | changed))


async def exchanged(node: Node, key: SigningKey = NEXT, **changed: Any) -> int:
    """Exchange the key; returns its last size once every node knows."""
    node.next_keys.append(key)
    asked = request(node, key, **changed)
    answer = await node.world.clearing_world.operator.RotateParticipantKey(asked)
    await node.world.settled()
    assert isinstance(answer.last_size, int)
    return answer.last_size


async def keys_of(world: NodeWorld) -> dict[str, str]:
    """The keys of every log, as the operator lists them."""
    listed = await world.clearing_world.operator.ListParticipants(
        operator_pb2.ListParticipantsRequest()
    )
    return {one.origin: one.keys for one in listed.participants}


def size(node: Node) -> int:
    return LedgerStore(node.engine, node.name).head().size


async def audited(world: NodeWorld) -> None:
    """Every database, and all of them together, verify under the keys the operator lists."""
    keys = await keys_of(world)
    reports = []
    for node in world.nodes.values():
        with node.engine.connect() as connection:
            vkey = keys[f"{node.rules.network}/{node.name}"]
            reports.append(snapshot(connection, vkey=vkey))
    with world.clearing_world.engine.connect() as connection:
        reports.append(snapshot(connection, final=True))
    for report in [*reports, network(reports)]:
        assert failed(report.checks) == {}, report.subject


async def test_redemptions_go_on_while_the_issuers_key_is_exchanged() -> None:
    world, grocery, fuel, alice, _ = await pair()
    try:
        first = await alice.buy()
        last_size = await exchanged(grocery, last_size=size(grocery) + 3)
        while size(grocery) <= last_size + 6:
            assert (await alice.buy()).state == DELIVERED
        assert first.state == DELIVERED
        await world.settled()
        keys = {origin: KeyHistory.parse(text) for origin, text in (await keys_of(world)).items()}
        sides = set()
        for row in fuel.rows("redemptions"):
            hold = common_pb2.Statement.FromString(row["hold"])
            head = read_checkpoint(hold.checkpoint)
            sides.add(head.size <= last_size)
            proven = statements.verify(
                hold, origin=head.origin, verifier=keys[head.origin], cache=CheckpointCache()
            )
            assert proven.entry.hold.redemption_id == row["redemption_id"]
            assert Decided.FromString(row["decision"]).decision.entry
        assert sides == {True, False}, "holds from before and from after"
        assert grocery.alarms == fuel.alarms == []
        await audited(world)
    finally:
        await world.close()


async def test_the_old_key_signs_up_to_the_last_size_and_never_above_it() -> None:
    world, grocery, _, alice, _ = await pair()
    try:
        last_size = await exchanged(grocery, last_size=size(grocery) + 2)
        for _ in range(3):
            await alice.buy()
        history = KeyHistory.parse(grocery.rows("ledgers")[0]["vkey"])
        assert [one.last_size for one in history.retired] == [last_size]
        ids = {key.key_id for key in history.keys}
        for row in grocery.rows("checkpoints"):
            head = open_checkpoint(row["note"], origin=history.name, verifier=history)
            signed = {one.key_id for one in split(row["note"])[1]}
            assert signed == {history.at(head.size).key_id} <= ids
    finally:
        await world.close()


async def test_a_node_beyond_the_last_size_signs_its_head_anew_and_goes_on() -> None:
    world, grocery, _, alice, _ = await pair()
    try:
        known = size(grocery)
        for number in range(5):
            await grocery.enrol(f"bob{number}", points=5)
        beyond = size(grocery)
        assert beyond > known
        await exchanged(grocery, last_size=_linked(world, grocery))
        head = LedgerStore(grocery.engine, "grocery").head()
        history = KeyHistory.parse(grocery.rows("ledgers")[0]["vkey"])
        assert head.size >= beyond > history.last_size
        assert open_checkpoint(head.note, origin=history.name, verifier=history).size == head.size
        assert (await alice.buy()).state == DELIVERED
        await world.settled()
        await audited(world)
    finally:
        await world.close()


def _linked(world: NodeWorld, node: Node) -> int:
    head = world.clearing_world.clearing.heads.known(f"{node.rules.network}/{node.name}")
    assert head is not None
    return head.size


async def test_clearing_and_nodes_that_start_again_keep_the_exchange() -> None:
    world, grocery, fuel, alice, _ = await pair()
    try:
        await alice.buy()
        last_size = await exchanged(grocery, last_size=size(grocery) + 1)
        await alice.buy()
        for node in (grocery, fuel):
            await node.stop()
        world.clearing_world.restart()
        for node in (grocery, fuel):
            await node.start()
        assert (await alice.buy()).state == DELIVERED
        keys = await keys_of(world)
        assert keys["comity.example/grocery"].split()[0] == str(last_size)
        second = SigningKey(bytes([78]) * 32)
        await exchanged(grocery, second, last_size=size(grocery) + 1)
        assert (await alice.buy()).state == DELIVERED
        assert (await alice.buy()).state == DELIVERED
        await world.settled()
        await audited(world)
        assert len(KeyHistory.parse((await keys_of(world))["comity.example/grocery"]).keys) == 3
    finally:
        await world.close()


async def test_an_acceptors_key_is_exchanged_with_deliveries_on_their_way() -> None:
    world, _, fuel, alice, _ = await pair()
    try:
        await alice.buy()
        await exchanged(fuel, last_size=_linked(world, fuel))
        for _ in range(3):
            assert (await alice.buy()).state == DELIVERED
        clearing = world.clearing_world.clearing.store
        await world.until(lambda: not clearing.undelivered(due_us=2**62, limit=10))
        await audited(world)
    finally:
        await world.close()


async def test_a_node_without_the_key_that_was_named_stops_and_says_so() -> None:
    world, grocery, _, _, _ = await pair()
    try:
        asked = request(grocery)
        await world.clearing_world.operator.RotateParticipantKey(asked)
        feed = next(task for task in grocery.tasks if task.get_name() == "grocery feed")
        await world.until(feed.done)
        assert "ForeignLedger" in repr(feed.exception())
    finally:
        await world.close()


async def test_a_stolen_old_key_forks_nothing_after_the_exchange() -> None:
    world, grocery, fuel, alice, _ = await pair()
    try:
        await alice.buy()
        last_size = await exchanged(grocery, last_size=size(grocery))
        for _ in range(2):
            await alice.buy()
        brand = world.clearing_world.brands["grocery"]
        forged = brand.signer.sign(last_size + 40, bytes([9]) * 32)
        origin = brand.origin
        for heads in (world.clearing_world.clearing.heads, fuel.net.heads):
            with pytest.raises(RetiredKey, match="not count"):
                heads.hear(origin, common_pb2.HeadExchange(checkpoint=forged))
        with pytest.raises(RetiredKey):
            fuel.net.peers.hear(origin, common_pb2.HeadExchange(checkpoint=forged))
        # To the owner itself it is no sign of a fork of its own.
        grocery.net.heads.hear("comity.example/fuel", common_pb2.HeadExchange(known=forged))
        assert grocery.net.gate.is_open
        assert (await alice.buy()).state == DELIVERED
        await audited(world)
    finally:
        await world.close()


async def test_what_was_planted_with_the_stolen_key_before_is_forgotten_by_the_exchange() -> None:
    world, grocery, fuel, alice, _ = await pair()
    try:
        await alice.buy()
        brand = world.clearing_world.brands["grocery"]
        forged = brand.signer.sign(size(grocery) + 500, bytes([9]) * 32)
        clearing = world.clearing_world.clearing
        for heads in (clearing.heads, fuel.net.heads):
            heads.hear(brand.origin, common_pb2.HeadExchange(checkpoint=forged))
            assert heads.oldest_loose_us(brand.origin) is not None
        await exchanged(grocery, last_size=size(grocery))
        for heads in (clearing.heads, fuel.net.heads):
            assert heads.oldest_loose_us(brand.origin) is None
        assert (await alice.buy()).state == DELIVERED
        for engine in (world.clearing_world.engine, fuel.engine):
            with engine.connect() as connection:
                kept = connection.exec_driver_sql("SELECT size FROM loose_heads").scalars().all()
            assert size(grocery) + 400 > max(kept, default=0)
    finally:
        await world.close()


async def test_the_same_request_gets_the_same_answer_and_a_wrong_one_changes_nothing() -> None:
    world, grocery, _, _, _ = await pair()
    operator = world.clearing_world.operator
    try:
        before = world.clearing_world.clearing.ledger.head().size
        other = SigningKey(bytes([80]) * 32)
        stranger = VerifierKey.of("comity.example/fuel", other.public)
        wrong: dict[str, dict[str, Any]] = {
            "new_signature": {"new_signature": bytes(64)},
            "old_signature": {"old_signature": bytes(64)},
            "last_size": {"old_signature": b""},
            "vkey": {"vkey": str(stranger)},
        }
        for field, change in wrong.items():
            with pytest.raises(Malformed) as refused:
                await operator.RotateParticipantKey(request(grocery, id=f"bad-{field}", **change))
            assert refused.value.field == field
        for last_size in (0, 5_000_000):
            with pytest.raises(Malformed, match="relied on"):
                await operator.RotateParticipantKey(request(grocery, last_size=last_size))
        with pytest.raises(NotFound):
            await operator.RotateParticipantKey(request(grocery, participant="cumin"))
        assert world.clearing_world.clearing.ledger.head().size == before
        grocery.next_keys.append(NEXT)
        asked = request(grocery)
        first = await operator.RotateParticipantKey(asked)
        await world.settled()
        again = await operator.RotateParticipantKey(asked)
        assert again.last_size == first.last_size > 1_024
        assert read_entry(again.rotate) == read_entry(first.rotate)
        with pytest.raises(Malformed, match="does not come back"):
            await operator.RotateParticipantKey(request(grocery, NEXT, id="once more"))
    finally:
        await world.close()


def read_entry(statement: common_pb2.Statement) -> tuple[int, bytes]:
    return statement.index, statement.entry
