"""What partners who lie get from clearing: nothing written, or an ABORTED they cannot undo."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from comity.clock import DAY, HOUR
from comity.errors import BadStatement, Equivocation, Forbidden, ShorterLedger
from comity.ledger import entries
from comity.ledger.engine import open_engine
from comity.ledger.signer import LogSigner
from comity.log.merkle import EMPTY_ROOT
from comity.rpc import authority as authorities
from comity.rpc import tls
from comity.terms import agreements
from comity.v1 import clearing_pb2 as pb
from comity.v1 import common_pb2, entry_pb2, operator_pb2
from tests.store.clearing_world import (
    NETWORK,
    Purchase,
    World,
    decision_of,
    euros,
    outcome,
    redemption_id,
    terms,
)


@pytest.fixture
async def world(engine: Engine) -> World:
    made = World(engine)
    for name in ("grocery", "fuel", "hotel"):
        await made.admit(name, cap_minor=1_000)
    await made.agree(terms())
    await made.agree(terms(agreement_id="agr_hotel-fuel", issuer="hotel"))
    return made


def written(world: World) -> int:
    return world.clearing.ledger.head().size


async def refused(world: World, item: pb.ClaimItem, *, by: str = "fuel") -> str:
    """What the claim is answered; nothing may have been written, nothing moved."""
    before = written(world), world.positions()
    found = outcome(await world.one(world.brands[by], item))
    assert (written(world), world.positions()) == before
    return found


# --- forged, replayed, stolen ---------------------------------------------------------------


async def test_a_forged_entry_under_an_honest_head_is_no_statement(world: World) -> None:
    made = world.purchase(points=100)
    item = world.hold_claim(made, issuer=world.brands["grocery"])
    made.hold.points = 200
    item.hold.hold.entry = entries.encode(
        made.hold, origin=f"{NETWORK}/grocery", at_us=world.clock()
    )
    assert await refused(world, item) == "failure BAD_STATEMENT"


async def test_a_head_signed_by_another_key_is_no_statement(world: World) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    item = world.hold_claim(world.purchase(), issuer=grocery)
    tree = grocery.tree()
    impostor = LogSigner(grocery.origin, fuel.key)
    item.hold.hold.checkpoint = impostor.sign(tree.size, tree.root())
    assert await refused(world, item) == "failure UNKNOWN_KEY"


async def test_a_hold_for_another_acceptor_cannot_be_claimed(world: World) -> None:
    item = world.hold_claim(world.purchase(), issuer=world.brands["grocery"])
    assert await refused(world, item, by="hotel") == "failure FORBIDDEN"


async def test_nobody_claims_after_the_acceptor_what_was_the_acceptors(world: World) -> None:
    item = world.hold_claim(world.purchase(), issuer=world.brands["grocery"])
    await world.one(world.brands["fuel"], item)
    assert await refused(world, item, by="hotel") == "failure FORBIDDEN"


async def test_a_hold_in_the_acceptors_own_log_mints_nothing(world: World) -> None:
    made = world.purchase()
    item = world.hold_claim(made, issuer=world.brands["fuel"])
    assert await refused(world, item) == "failure MALFORMED"


async def test_a_hold_of_another_network_is_invalid(world: World) -> None:
    made = world.purchase()
    made.hold.network = "another.example"
    item = world.hold_claim(made, issuer=world.brands["grocery"])
    assert await refused(world, item) == "failure MALFORMED"


async def test_an_entry_that_is_no_hold_cannot_be_claimed_as_one(world: World) -> None:
    made = world.purchase()
    shown = world.brands["grocery"].state(entry_pb2.Transfer())
    item = pb.ClaimItem(hold=pb.HoldClaim(hold=shown, quote=entries.canonical(made.quote)))
    assert await refused(world, item) == "failure MALFORMED"


async def test_a_quote_the_hold_does_not_name_is_invalid(world: World) -> None:
    item = world.hold_claim(world.purchase(), issuer=world.brands["grocery"])
    item.hold.quote = entries.canonical(world.purchase("other").quote)
    assert await refused(world, item) == "failure MALFORMED"


async def test_an_id_reused_with_another_issuer_is_another_redemption(world: World) -> None:
    await world.commit("same", points=10)
    other = world.purchase(
        "same", points=20, under=terms(agreement_id="agr_hotel-fuel", issuer="hotel")
    )
    result = await world.one(
        world.brands["fuel"], world.hold_claim(other, issuer=world.brands["hotel"])
    )
    assert outcome(result) == "COMMITTED"
    assert world.positions() == {"grocery": -10, "hotel": -20, "fuel": 30}


async def test_one_mandate_is_spent_once(world: World) -> None:
    await world.commit("one", mandate="the same")
    item = world.hold_claim(
        world.purchase("two", mandate="the same"), issuer=world.brands["grocery"]
    )
    assert outcome(await world.one(world.brands["fuel"], item)) == "ABORTED ALREADY_USED"


async def test_one_mandate_is_spent_once_even_within_one_batch(world: World) -> None:
    grocery = world.brands["grocery"]
    items = [
        world.hold_claim(world.purchase(name, mandate="the same"), issuer=grocery)
        for name in ("one", "two")
    ]
    results = await world.claim(world.brands["fuel"], *items)
    assert [outcome(one) for one in results] == ["COMMITTED", "ABORTED ALREADY_USED"]


async def test_another_issuer_cannot_use_up_a_mandate(world: World) -> None:
    stolen = world.purchase(
        "hotel", under=terms(agreement_id="agr_hotel-fuel", issuer="hotel"), mandate="mine"
    )
    await world.one(world.brands["fuel"], world.hold_claim(stolen, issuer=world.brands["hotel"]))
    await world.commit("grocery", mandate="mine")


# --- promises -------------------------------------------------------------------------------


async def test_a_promise_above_the_cap_is_aborted_and_one_up_to_it_is_not(world: World) -> None:
    await world.commit("up to", points=1_000)
    item = world.hold_claim(world.purchase("above", points=1), issuer=world.brands["grocery"])
    assert outcome(await world.one(world.brands["fuel"], item)) == "ABORTED CAP_EXCEEDED"
    assert world.positions()["grocery"] == -1_000


async def test_the_cap_holds_within_one_batch(world: World) -> None:
    grocery = world.brands["grocery"]
    items = [
        world.hold_claim(world.purchase(str(place), points=400), issuer=grocery)
        for place in range(4)
    ]
    results = await world.claim(world.brands["fuel"], *items)
    assert [outcome(one) for one in results] == [
        "COMMITTED",
        "COMMITTED",
        "ABORTED CAP_EXCEEDED",
        "ABORTED CAP_EXCEEDED",
    ]


def far_quote(made: Purchase) -> None:
    made.quote.expires_at_us += HOUR
    made.hold.expires_at_us += HOUR


def from_the_future(made: Purchase) -> None:
    made.quote.issued_at_us += HOUR
    made.quote.expires_at_us += HOUR
    made.hold.expires_at_us += HOUR


def before_the_agreement(made: Purchase) -> None:
    made.quote.issued_at_us -= 2 * DAY


def short_hold(made: Purchase) -> None:
    made.hold.expires_at_us -= 1


def fewer_points(made: Purchase) -> None:
    made.quote.points -= 1
    made.hold.points -= 1


def more_money(made: Purchase) -> None:
    made.quote.amount.minor += 1
    made.hold.amount.minor += 1


def hold_of_other_points(made: Purchase) -> None:
    made.hold.points += 1


def other_reward_kind(made: Purchase) -> None:
    made.hold.kind = common_pb2.REDEMPTION_KIND_EXCHANGE


def unknown_version(made: Purchase) -> None:
    made.quote.agreement_version = made.hold.agreement_version = 9


def agreement_of_others(made: Purchase) -> None:
    made.quote.agreement_id = made.hold.agreement_id = "agr_hotel-fuel"


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (far_quote, "MALFORMED"),
        (from_the_future, "MALFORMED"),
        (before_the_agreement, "AGREEMENT_INACTIVE"),
        (short_hold, "HOLD_EXPIRED"),
        (fewer_points, "MALFORMED"),
        (more_money, "MALFORMED"),
        (hold_of_other_points, "MALFORMED"),
        (other_reward_kind, "MALFORMED"),
        (unknown_version, "AGREEMENT_INACTIVE"),
        (agreement_of_others, "AGREEMENT_INACTIVE"),
    ],
)
async def test_an_authentic_claim_that_breaks_a_rule_is_aborted(
    world: World, lie: Callable[[Purchase], None], reason: str
) -> None:
    made = world.purchase()
    lie(made)
    item = world.hold_claim(made.sealed(), issuer=world.brands["grocery"])
    assert outcome(await world.one(world.brands["fuel"], item)) == f"ABORTED {reason}"
    assert outcome(await world.one(world.brands["fuel"], item)) == f"ABORTED {reason}"
    assert world.positions() == {}


async def test_a_quote_is_worth_nothing_from_its_last_moment_on(world: World) -> None:
    made = world.purchase()
    item = world.hold_claim(made, issuer=world.brands["grocery"])
    world.clock.now_us = made.quote.expires_at_us
    assert outcome(await world.one(world.brands["fuel"], item)) == "ABORTED QUOTE_EXPIRED"


# --- aborts ---------------------------------------------------------------------------------


def abort_of(hold: common_pb2.Statement | None = None) -> pb.ClaimItem:
    return pb.ClaimItem(
        abort=pb.AbortClaim(
            issuer="grocery", acceptor="fuel", redemption_id=redemption_id("first"), hold=hold
        )
    )


async def test_a_third_party_cannot_abort(world: World) -> None:
    hold = world.brands["grocery"].state(world.purchase().hold)
    world.clock.now_us += DAY
    for item in (abort_of(), abort_of(hold)):
        assert await refused(world, item, by="hotel") == "failure FORBIDDEN"


async def test_the_issuer_cannot_abort_without_its_hold_or_with_another(world: World) -> None:
    grocery = world.brands["grocery"]
    other = grocery.state(world.purchase("other").hold)
    world.clock.now_us += DAY
    assert await refused(world, abort_of(), by="grocery") == "failure FORBIDDEN"
    assert await refused(world, abort_of(other), by="grocery") == "failure MALFORMED"


async def test_a_third_party_learns_nothing_of_a_redemption(world: World) -> None:
    await world.commit()
    hotel = world.brands["hotel"]
    key = pb.RedemptionKey(issuer="grocery", acceptor="fuel", redemption_id=redemption_id("first"))
    with pytest.raises(Forbidden):
        await world.at(hotel).Resolve(pb.ResolveRequest(heads=hotel.heads(), keys=[key]))
    page = await world.at(hotel).Follow(
        pb.FollowRequest(heads=hotel.heads(), from_index=0, limit=100)
    )
    assert len(page.entries) == written(world)
    assert not page.openings


# --- returns and deliveries -----------------------------------------------------------------


async def test_only_the_acceptor_gives_back(world: World) -> None:
    decided = await world.commit()
    for liar in ("hotel", "grocery"):
        item = world.giving_back(world.brands[liar], decided, cumulative=100)
        assert await refused(world, item, by=liar) == "failure NOT_FOUND"


async def test_what_was_aborted_cannot_be_reversed(world: World) -> None:
    fuel = world.brands["fuel"]
    aborted = (await world.one(fuel, abort_of())).decided
    item = world.giving_back(fuel, aborted, cumulative=1)
    assert await refused(world, item) == "failure NOT_REVERSIBLE"


async def test_a_return_that_cites_another_decision_moves_nothing(world: World) -> None:
    first, second = await world.commit("one"), await world.commit("two")
    returned = world.giving_back(world.brands["fuel"], second, cumulative=100)
    decision = decision_of(first)
    lie = world.brands["fuel"].state(
        entry_pb2.Return(
            issuer="grocery",
            redemption_id=decision.redemption_id,
            decision=entries.decode(returned.returned.returned.entry).returned.decision,
            cumulative_points=1,
            reason_code="RETURNED",
        )
    )
    item = pb.ClaimItem(returned=pb.ReturnClaim(returned=lie))
    assert await refused(world, item) == "failure MALFORMED"


async def test_a_second_delivery_of_one_redemption_is_a_conflict(world: World) -> None:
    fuel = world.brands["fuel"]
    decided = await world.commit()
    first, second = world.deliver(fuel, decided), world.deliver(fuel, decided)
    results = await world.report(fuel, first, first, second)
    codes = [one.failure.code for one in results]
    assert codes == ["", "", "CONFLICT"]


# --- logs -----------------------------------------------------------------------------------


async def test_two_histories_are_noticed(world: World) -> None:
    grocery = world.brands["grocery"]
    size = len(grocery.leaves)
    grocery.append(entry_pb2.Transfer())
    await world.pulse(grocery)
    del grocery.leaves[size:]
    grocery.append(entry_pb2.Expiry())
    with pytest.raises(Equivocation):
        await world.pulse(grocery)


async def test_a_link_that_proves_nothing_is_refused(world: World) -> None:
    grocery = world.brands["grocery"]
    heads = grocery.heads()
    known = len(grocery.leaves)
    grocery.leaves[0] = entries.encode(
        entry_pb2.Expiry(), origin=grocery.origin, at_us=world.clock()
    )
    grocery.append(entry_pb2.Transfer())
    lying = grocery.heads()
    lying.known = heads.known
    assert known < len(grocery.leaves)
    with pytest.raises(BadStatement):
        await world.at(grocery).Pulse(pb.PulseRequest(heads=lying))


async def test_a_head_of_our_own_log_we_never_signed_is_no_reason_to_stop(world: World) -> None:
    grocery = world.brands["grocery"]
    heads = grocery.heads()
    heads.known = grocery.checkpoint()
    with pytest.raises(BadStatement):
        await world.at(grocery).Pulse(pb.PulseRequest(heads=heads))
    await world.pulse(grocery)


async def test_clearing_stops_when_a_brand_shows_a_longer_log_of_clearings_own(
    world: World,
) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    longer = world.signer.sign(written(world) + 1, EMPTY_ROOT)
    heads = grocery.heads()
    heads.known = longer
    with pytest.raises(ShorterLedger):
        await world.at(grocery).Pulse(pb.PulseRequest(heads=heads))
    with pytest.raises(ShorterLedger):
        await world.pulse(fuel)
    with pytest.raises(ShorterLedger):
        await world.clearing.liveness.watch()


async def test_a_link_that_came_with_a_refused_request_is_kept_all_the_same(
    world: World,
) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    item = world.hold_claim(world.purchase(), issuer=grocery)
    assert outcome(await world.one(fuel, item)) == "COMMITTED"
    assert [head.origin for head in world.clearing.ledger.loose_heads()] == [grocery.origin]
    stranger = pb.RedemptionKey(
        issuer="hotel", acceptor="fuel", redemption_id=redemption_id("first")
    )
    with pytest.raises(Forbidden):
        await world.at(grocery).Resolve(pb.ResolveRequest(heads=grocery.heads(), keys=[stranger]))
    await world.pulse(fuel)
    assert not world.clearing.ledger.loose_heads()


# --- standing -------------------------------------------------------------------------------


async def test_a_suspended_brands_older_holds_commit_and_newer_ones_do_not(
    world: World,
) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    older = world.hold_claim(world.purchase("older"), issuer=grocery)
    await world.pulse(grocery)
    await world.stand("grocery", entry_pb2.PARTICIPANT_STATUS_SUSPENDED)
    newer = world.hold_claim(world.purchase("newer"), issuer=grocery)
    results = await world.claim(fuel, older, newer)
    assert [outcome(one) for one in results] == ["COMMITTED", "ABORTED SUSPENDED"]
    await world.stand("grocery", entry_pb2.PARTICIPANT_STATUS_ACTIVE)
    await world.commit("resumed")


async def test_a_suspended_acceptor_commits_holds_that_existed(world: World) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    older = world.hold_claim(world.purchase("older"), issuer=grocery)
    await world.pulse(grocery)
    await world.stand("fuel", entry_pb2.PARTICIPANT_STATUS_SUSPENDED)
    newer = world.hold_claim(world.purchase("newer"), issuer=grocery)
    results = await world.claim(fuel, older, newer)
    assert [outcome(one) for one in results] == ["COMMITTED", "ABORTED SUSPENDED"]


async def test_a_frozen_brand_commits_nothing(world: World) -> None:
    item = world.hold_claim(world.purchase(), issuer=world.brands["grocery"])
    await world.pulse(world.brands["grocery"])
    await world.stand("grocery", entry_pb2.PARTICIPANT_STATUS_FROZEN)
    assert outcome(await world.one(world.brands["fuel"], item)) == "ABORTED SUSPENDED"


async def test_a_certificate_replaced_by_a_newer_one_opens_nothing(world: World) -> None:
    grocery = world.brands["grocery"]
    old = grocery.certificate
    request = authorities.create_request(
        tls.brand(NETWORK, "grocery"), tls.new_tls_key(), log_key=grocery.key
    )
    response = await world.operator.AdmitParticipant(
        operator_pb2.AdmitParticipantRequest(
            id="renew",
            certificate_request=request.pem,
            vkey=grocery.signer.vkey,
            binding=request.binding,
            peer_address="127.0.0.1:7400",
        )
    )
    with pytest.raises(Forbidden):
        await world.pulse(grocery)
    grocery.certificate = response.certificate
    await world.pulse(grocery)
    assert grocery.certificate != old


# --- agreements -----------------------------------------------------------------------------


async def test_a_third_party_cannot_put_an_agreement_in_force(world: World) -> None:
    grocery, hotel = world.brands["grocery"], world.brands["hotel"]
    wanted = terms(agreement_id="agr_new")
    proposed = grocery.append(entry_pb2.Propose(terms=wanted))
    accepted = hotel.append(
        entry_pb2.Accept(propose=grocery.cite(proposed), terms_digest=agreements.digest(wanted))
    )
    with pytest.raises(Forbidden):
        await world.at(grocery).RegisterAgreement(
            pb.RegisterAgreementRequest(
                heads=grocery.heads(),
                propose=grocery.statement(proposed),
                accept=hotel.statement(accepted),
            )
        )


async def test_a_promise_in_a_currency_without_a_cap_is_refused(world: World) -> None:
    dollars = terms(agreement_id="agr_usd", currency="USD")
    await world.agree(dollars)
    made = world.purchase(under=dollars)
    assert made.quote.amount.currency == "USD"
    assert made.quote.amount.minor == euros(100).minor
    item = world.hold_claim(made, issuer=world.brands["grocery"])
    assert outcome(await world.one(world.brands["fuel"], item)) == "ABORTED CAP_EXCEEDED"


def test_the_world_runs_on_a_database_in_memory() -> None:
    assert World(open_engine("sqlite://")).positions() == {}
