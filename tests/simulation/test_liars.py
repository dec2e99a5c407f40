"""Members, brands and strangers who lie: each is refused with its reason, and nothing moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from comity.clock import DAY, MINUTE
from comity.errors import ComityError, Equivocation, Forbidden, Malformed
from comity.ledger import entries
from comity.rpc.channel import stub
from comity.terms import quotes
from comity.v1 import clearing_pb2, common_pb2, entry_pb2, member_pb2, peer_pb2
from comity.v1.clearing_pb2_grpc import ClearingServiceStub
from comity.v1.peer_pb2_grpc import PeerServiceStub
from tests.simulation import identities
from tests.simulation.hosts import driver
from tests.simulation.identities import CLEARING, NETWORK
from tests.simulation.network import Message
from tests.simulation.people import Member, Wanted, euro
from tests.simulation.watch import LIAR
from tests.world import COFFEE, World, play

DELIVERED = member_pb2.REDEMPTION_STATE_DELIVERED
FAILED = member_pb2.REDEMPTION_STATE_FAILED


class Plot:
    """alice of grocery at fuel: a hold is placed, and fuel's claim has not arrived yet."""

    world: World
    alice: Member
    wanted: Wanted
    redeeming: asyncio.Task[member_pb2.Redemption]
    claim: clearing_pb2.ClaimRequest

    @property
    def hold(self) -> clearing_pb2.HoldClaim:
        return self.claim.claims[0].hold

    def clearing_as(self, brand: str) -> Any:
        """Clearing's service, called with the certificate of a brand."""
        return stub(ClearingServiceStub, self.world.ground.channel(brand, CLEARING, wire=LIAR))

    def heads(self, brand: str, to: str = CLEARING) -> common_pb2.HeadExchange:
        """The heads that an honest brand sends."""
        service = self.world.brands[brand].service
        return service.network.heads.mine(f"{NETWORK}/{to}")

    async def claim_as(self, brand: str, item: clearing_pb2.ClaimItem) -> clearing_pb2.ClaimResult:
        """What clearing answers a claim by this brand."""
        request = clearing_pb2.ClaimRequest(heads=self.heads(brand), claims=[item])
        results: Sequence[clearing_pb2.ClaimResult]
        results = (await self.clearing_as(brand).Claim(request)).results
        return results[0]

    async def hold_as(self, acceptor: str, issuer: str, request: Any) -> peer_pb2.HoldResult:
        """What an issuer answers a hold asked for by this acceptor."""
        peer: Any = stub(PeerServiceStub, self.world.ground.channel(acceptor, issuer))
        asked = peer_pb2.PlaceHoldsRequest(heads=self.heads(acceptor, issuer), holds=[request])
        results: Sequence[peer_pb2.HoldResult] = (await peer.PlaceHolds(asked)).results
        return results[0]


async def _plot(world: World) -> Plot:
    plot = Plot()
    plot.world = world
    plot.alice = await world.enrol("grocery", "alice", points=500)
    claims: list[Message] = []
    world.network.listeners.append(
        lambda one: (
            claims.append(one)
            if one.path.endswith("/Claim") and one.sender == "fuel" and not one.is_answer
            else None
        )
    )
    await world.quiet()
    plot.wanted = await plot.alice.want_reward("fuel", COFFEE)
    world.partition("fuel", CLEARING)
    plot.redeeming = asyncio.create_task(plot.alice.redeem(plot.wanted))
    while not claims:
        await asyncio.sleep(0.1)
    plot.claim = clearing_pb2.ClaimRequest.FromString(claims[0].data)
    return plot


def _state(world: World) -> Any:
    """Every balance, hold, position and decision there is."""
    found = []
    for host in world.hosts:
        tables = ("positions", "decisions") if host.name == CLEARING else ("accounts", "holds")
        with driver(host.engine) as connection:
            found += [connection.execute(f"SELECT * FROM {one}").fetchall() for one in tables]
    return found


@asynccontextmanager
async def _unmoved(world: World) -> AsyncIterator[None]:
    before = _state(world)
    yield
    await asyncio.sleep(1)
    assert _state(world) == before, "a lie has moved something"


def _play(lie: Callable[[Plot], Any], *, state: int = DELIVERED) -> None:
    """Tell a lie while a claim is on its way; nothing moves, and the truth still comes out."""

    async def story(world: World) -> None:
        plot = await _plot(world)
        async with _unmoved(world):
            await lie(plot)
        world.heal()
        assert (await plot.redeeming).state == state
        await world.finish()

    play(story, honest=False, terms_changes={"quote_life_us": MINUTE})


def _entry_of(statement: common_pb2.Statement) -> entry_pb2.Entry:
    return entry_pb2.Entry.FromString(statement.entry)


# --- statements -------------------------------------------------------------------------------


def test_a_forged_statement_does_not_verify() -> None:
    async def lie(plot: Plot) -> None:
        forged = clearing_pb2.HoldClaim()
        forged.CopyFrom(plot.hold)
        entry = _entry_of(forged.hold)
        entry.hold.points *= 10
        entry.hold.amount.minor *= 10
        forged.hold.entry = entries.canonical(entry)
        result = await plot.claim_as("fuel", clearing_pb2.ClaimItem(hold=forged))
        assert result.failure.code == "BAD_STATEMENT"

    _play(lie)


def test_a_statement_under_a_key_of_ones_own_does_not_verify() -> None:
    async def lie(plot: Plot) -> None:
        forged = clearing_pb2.HoldClaim()
        forged.CopyFrom(plot.hold)
        origin = f"{NETWORK}/grocery".encode()
        own = identities.signer("fuel").sign(1, bytes(32))
        forged.hold.checkpoint = own.replace(f"{NETWORK}/fuel".encode(), origin)
        result = await plot.claim_as("fuel", clearing_pb2.ClaimItem(hold=forged))
        assert result.failure.code == "UNKNOWN_KEY"

    _play(lie)


def test_a_forked_log_is_told_as_equivocation() -> None:
    async def lie(plot: Plot) -> None:
        heads = plot.heads("grocery")
        known = plot.world.clearing.service.heads.known(f"{NETWORK}/grocery")
        assert known is not None
        heads.checkpoint = identities.signer("grocery").sign(known.size, b"f" * 32)
        with pytest.raises(Equivocation) as caught:
            await plot.clearing_as("grocery").Pulse(clearing_pb2.PulseRequest(heads=heads))
        assert {"first", "second"} <= caught.value.metadata.keys()

    _play(lie)


# --- claims -----------------------------------------------------------------------------------


def test_a_replayed_claim_is_decided_once() -> None:
    async def story(world: World) -> None:
        plot = await _plot(world)
        world.heal()
        assert (await plot.redeeming).state == DELIVERED
        await world.quiet()
        async with _unmoved(world):
            item = clearing_pb2.ClaimItem(hold=plot.hold)
            first = await plot.claim_as("fuel", item)
            for _ in range(3):
                again = await plot.claim_as("fuel", item)
                assert again.decided.decision.index == first.decided.decision.index
        await world.finish()

    play(story, terms_changes={"quote_life_us": MINUTE})


def test_the_hold_of_another_acceptor_cannot_be_claimed() -> None:
    async def lie(plot: Plot) -> None:
        result = await plot.claim_as("cinema", clearing_pb2.ClaimItem(hold=plot.hold))
        assert result.failure.code == Forbidden.code

    _play(lie)


def test_a_redemption_id_is_not_used_again_with_another_issuer() -> None:
    async def lie(plot: Plot) -> None:
        quote = quotes.read(plot.hold.quote)
        quote.issuer = "cinema"
        other = entries.canonical(quote)
        # The member, at the acceptor.
        request = member_pb2.RedeemRequest()
        request.CopyFrom(plot.wanted.request)
        request.quote = other
        with pytest.raises(Forbidden) as caught:
            await plot.alice.at("fuel").send(request)
        assert caught.value.field == "seal"
        # The acceptor, at the other issuer: with the member's own mandate, and with none for it.
        mandate = plot.wanted.request.mandate
        for data in (plot.hold.quote, other):
            asked = peer_pb2.HoldRequest(quote=data, mandate=mandate)
            refused = await plot.hold_as("fuel", "cinema", asked)
            assert refused.failure.code == "MANDATE_REJECTED"
        # The acceptor, at clearing.
        changed = clearing_pb2.HoldClaim(hold=plot.hold.hold, quote=other)
        result = await plot.claim_as("fuel", clearing_pb2.ClaimItem(hold=changed))
        assert result.failure.code == Malformed.code

    _play(lie)


def test_a_claim_above_the_cap_is_aborted() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice", points=500)
        await world.operator.set_cap(id="cap", participant="grocery", net_debit_cap=euro(83))
        _, shown = await world.buy(alice, "fuel")
        assert (shown.state, shown.failure.code) == (FAILED, "CAP_EXCEEDED")
        await world.finish()
        balance = await alice.balance()
        assert (balance.available, balance.held) == (500, 0)
        with driver(world.clearing.engine) as connection:
            moved = connection.execute("SELECT * FROM positions WHERE running_minor <> 0")
            assert moved.fetchall() == []

    play(story)


def test_a_quote_that_would_live_for_days_holds_nothing() -> None:
    async def lie(plot: Plot) -> None:
        quote = quotes.read(plot.hold.quote)
        quote.redemption_id = f"rdm_{'7' * 32}"
        quote.expires_at_us += 2 * DAY
        quoted = member_pb2.GetQuoteResponse(quote=entries.canonical(quote))
        wanted = plot.alice.sign(quoted, reward_id=COFFEE, not_after_us=quote.expires_at_us)
        asked = peer_pb2.HoldRequest(quote=quoted.quote, mandate=wanted.request.mandate)
        result = await plot.hold_as("fuel", "grocery", asked)
        assert result.failure.code == "MALFORMED"

    _play(lie)


# --- asking too early, or without a right to ----------------------------------------------------


def test_only_the_two_brands_resolve_or_abort_a_redemption() -> None:
    async def lie(plot: Plot) -> None:
        key = clearing_pb2.RedemptionKey(
            issuer="grocery", acceptor="fuel", redemption_id=plot.wanted.id
        )
        with pytest.raises(Forbidden):
            await plot.clearing_as("cinema").Resolve(
                clearing_pb2.ResolveRequest(heads=plot.heads("cinema"), keys=[key])
            )
        abort = clearing_pb2.AbortClaim(
            issuer="grocery", acceptor="fuel", redemption_id=plot.wanted.id, hold=plot.hold.hold
        )
        result = await plot.claim_as("cinema", clearing_pb2.ClaimItem(abort=abort))
        assert result.failure.code == Forbidden.code

    _play(lie)


def test_an_issuer_does_not_abort_before_its_hold_has_expired() -> None:
    async def lie(plot: Plot) -> None:
        abort = clearing_pb2.AbortClaim(
            issuer="grocery", acceptor="fuel", redemption_id=plot.wanted.id, hold=plot.hold.hold
        )
        result = await plot.claim_as("grocery", clearing_pb2.ClaimItem(abort=abort))
        assert result.failure.code == "NOT_YET"
        abort.ClearField("hold")
        result = await plot.claim_as("grocery", clearing_pb2.ClaimItem(abort=abort))
        assert result.failure.code == Forbidden.code

    _play(lie)


def test_a_brand_calls_nobody_with_anothers_certificate() -> None:
    async def story(world: World) -> None:
        stranger: Any = stub(PeerServiceStub, world.ground.channel("operator", "grocery"))
        request = peer_pb2.ExchangeHeadsRequest(heads=common_pb2.HeadExchange(now_us=1))
        with pytest.raises(ComityError) as caught:
            await stranger.ExchangeHeads(request)
        assert caught.value.code == Forbidden.code

    play(story)
