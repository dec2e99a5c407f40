"""A brand that was revoked takes no part any more, anywhere; what concerns others still ends."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from comity.errors import Conflict, Forbidden, NotFound, RetiredKey, Unauthenticated
from comity.keys import SigningKey
from comity.ledger import entries, statements
from comity.log.checkpoint import CheckpointCache
from comity.log.history import KeyHistory
from comity.rpc.caller import Caller, CallerKind, Credentials
from comity.rpc.channel import LocalChannel, stub
from comity.rpc.tokens import challenge_message
from comity.v1 import clearing_pb2 as pb
from comity.v1 import entry_pb2, log_pb2, operator_pb2
from comity.v1.log_pb2_grpc import LogServiceStub, SessionServiceStub
from comity.v1.member_pb2 import RedemptionState
from node.build import admission
from tests.redemption_world import pair
from tests.store.clearing_world import World, decision_of, outcome, redemption_id, terms

FAILED = RedemptionState.REDEMPTION_STATE_FAILED


@pytest.fixture
async def world(engine: Engine) -> World:
    made = World(engine)
    for name in ("grocery", "fuel"):
        await made.admit(name, cap_minor=100_000)
    await made.agree(terms())
    return made


async def keys_of(world: World, participant: str) -> KeyHistory:
    listed = await world.operator.ListParticipants(operator_pb2.ListParticipantsRequest())
    (found,) = (one for one in listed.participants if one.participant == participant)
    assert found.revoked == (KeyHistory.parse(found.keys).current is None)
    return KeyHistory.parse(found.keys)


async def test_a_revoked_brand_is_refused_and_nothing_commits_with_it(world: World) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    await world.commit("before")
    item = world.hold_claim(world.purchase("held"), issuer=grocery)
    await world.pulse(grocery)
    known = len(grocery.leaves)
    body = entries.decode((await world.revoke("grocery")).entry).revoke
    assert (body.participant, body.last_size, body.operator) == ("grocery", known, "olga")
    for call in (world.pulse(grocery), world.claim(grocery)):
        with pytest.raises(Forbidden, match="was revoked"):
            await call
    assert outcome(await world.one(fuel, item)) == "ABORTED SUSPENDED"
    late = world.hold_claim(world.purchase("late"), issuer=grocery)
    assert outcome(await world.one(fuel, late)) == "failure RETIRED_KEY"


async def test_what_concerns_the_other_brand_is_decided_still(world: World) -> None:
    fuel = world.brands["fuel"]
    decided = await world.commit("first")
    second = await world.commit("second")
    delivery = world.deliver(fuel, decided)
    await world.report(fuel, delivery)
    await world.revoke("grocery")
    world.restart()
    await world.pulse(fuel)
    abort = pb.ClaimItem(
        abort=pb.AbortClaim(
            issuer="grocery", acceptor="fuel", redemption_id=redemption_id("never held")
        )
    )
    assert outcome(await world.one(fuel, abort)).startswith("ABORTED")
    back = world.giving_back(fuel, decided, cumulative=100, delivery=delivery)
    assert outcome(await world.one(fuel, back)) == "REVERSED RETURNED"
    world.clock.now_us = decision_of(second).deliver_by_us + 1
    await world.clearing.sweep.round()
    assert world.positions()["grocery"] == 0, "what was not delivered is taken back"
    closed = await world.close(1)
    assert closed.decisions == 5
    await world.settle(1)


async def test_revoked_is_for_good_and_the_same_request_says_so_again(world: World) -> None:
    first = await world.revoke("grocery")
    assert (await world.revoke("grocery")).entry == first.entry
    with pytest.raises(Conflict):
        await world.revoke("grocery", reason="something else")
    size = world.clearing.ledger.head().size
    with pytest.raises(Conflict, match="for good"):
        await world.revoke("grocery", id="again")
    with pytest.raises(Conflict, match="for good"):
        await world.stand("grocery", entry_pb2.PARTICIPANT_STATUS_ACTIVE)
    with pytest.raises(Conflict, match="for good"):
        await world.admit("grocery")
    with pytest.raises(NotFound):
        await world.revoke("cumin")
    assert world.clearing.ledger.head().size == size


async def test_after_a_start_it_is_revoked_still_and_its_old_statements_verify(
    world: World,
) -> None:
    grocery = world.brands["grocery"]
    hold = grocery.state(world.purchase().hold)
    await world.pulse(grocery)
    await world.revoke("grocery")
    world.restart()
    with pytest.raises(Forbidden, match="was revoked"):
        await world.pulse(grocery)
    keys = await keys_of(world, "grocery")
    assert keys.current is None
    found = statements.verify(hold, origin=keys.name, verifier=keys, cache=CheckpointCache())
    assert found.entry.HasField("hold")
    later = grocery.state(world.purchase("later").hold)
    with pytest.raises(RetiredKey, match="revoked"):
        statements.verify(later, origin=keys.name, verifier=keys, cache=CheckpointCache())


async def test_every_node_refuses_a_revoked_brand() -> None:
    network, _, fuel, alice, _ = await pair()
    try:
        await alice.buy()
        await network.clearing_world.revoke("grocery")
        await network.until(
            lambda: fuel.net.feed.size == network.clearing_world.clearing.ledger.head().size
        )
        brand = network.clearing_world.brands["grocery"]
        caller = Caller(kind=CallerKind.BRAND, id="grocery", key_hash=bytes(32))
        with pytest.raises(Unauthenticated):
            admission(fuel.net.roster)(caller)
        for ask in (fuel.net.roster.verifier_of, fuel.net.roster.origin_of):
            with pytest.raises(NotFound):
                ask(brand.origin if ask == fuel.net.roster.verifier_of else "grocery")
        done = await alice.buy()
        assert done.state == FAILED
    finally:
        await network.close()


async def test_a_revoked_auditor_reads_nothing_from_that_moment(world: World) -> None:
    key = SigningKey(bytes([5]) * 32)
    admitted = await world.operator.AdmitAuditor(
        operator_pb2.AdmitAuditorRequest(id="a", auditor="smith", public_key=key.public.raw)
    )
    public = world.clearing.public
    sessions = stub(SessionServiceStub, LocalChannel(public, Credentials()))

    async def open_session() -> str:
        begun = await sessions.BeginSession(log_pb2.BeginSessionRequest(key_id=admitted.key_id))
        message = challenge_message(world.signer.origin, begun.challenge)
        opened = await sessions.OpenSession(
            log_pb2.OpenSessionRequest(
                key_id=admitted.key_id, challenge=begun.challenge, signature=key.sign(message)
            )
        )
        return str(opened.token)

    token = await open_session()
    reader = stub(LogServiceStub, LocalChannel(public, Credentials(bearer_token=token)))
    asked = log_pb2.ReadEntriesRequest(from_index=0, limit=1)
    assert (await reader.ReadEntries(asked)).entries
    ended = operator_pb2.RevokeAuditorRequest(id="b", key_id=admitted.key_id)
    await world.operator.RevokeAuditor(ended)
    await world.operator.RevokeAuditor(ended)
    with pytest.raises(Unauthenticated, match="revoked"):
        await reader.ReadEntries(asked)
    with pytest.raises(Unauthenticated):
        await open_session()
    with pytest.raises(NotFound):
        await world.operator.RevokeAuditor(
            operator_pb2.RevokeAuditorRequest(id="c", key_id=admitted.key_id)
        )
