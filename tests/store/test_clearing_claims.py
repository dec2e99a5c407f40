"""Claims at clearing, end to end over its endpoint and database: one decision each, for good."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from comity.errors import NotFound, NotHeard
from comity.ledger import entries
from comity.v1 import clearing_pb2 as pb
from comity.v1 import entry_pb2
from tests.store.clearing_world import (
    ORIGIN,
    Brand,
    Ticking,
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
    await made.admit("grocery")
    await made.admit("fuel")
    await made.agree(terms())
    return made


async def test_an_honest_claim_is_committed_and_moves_what_the_agreement_says(
    world: World,
) -> None:
    decided = await world.commit(points=100)
    decision = decision_of(decided)
    assert decision.outcome == entry_pb2.OUTCOME_COMMITTED
    assert (decision.issuer_seq, decision.acceptor_seq, decision.window) == (1, 1, 1)
    assert decided.opening.points == 100
    assert decided.opening.amounts.amount.minor == 100
    entries.check_decision_opening(decision, decided.opening)
    assert world.positions() == {"grocery": -100, "fuel": 100}


async def test_the_acceptor_sees_its_own_position_and_not_the_issuers(world: World) -> None:
    decided = await world.commit()
    assert decided.opening.acceptor_position.minor == 100
    assert not decided.opening.issuer_position_salt
    assert not decided.opening.HasField("issuer_position")


async def test_a_repeated_claim_gets_the_same_decision(world: World) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    claim = world.hold_claim(world.purchase(), issuer=grocery)
    first = await world.one(fuel, claim)
    grocery.append(entry_pb2.Transfer())
    again = await world.claim(fuel, claim, claim)
    for result in again:
        assert result.decided.decision.index == first.decided.decision.index
        assert result.decided.decision.entry == first.decided.decision.entry
        assert result.decided.opening == first.decided.opening
    assert world.positions() == {"grocery": -100, "fuel": 100}


async def test_a_claim_repeated_within_one_batch_is_decided_once(world: World) -> None:
    claim = world.hold_claim(world.purchase(), issuer=world.brands["grocery"])
    results = await world.claim(world.brands["fuel"], claim, claim)
    assert results[0].decided.decision.index == results[1].decided.decision.index
    assert world.positions() == {"grocery": -100, "fuel": 100}


async def test_a_decision_survives_a_restart(world: World) -> None:
    claim = world.hold_claim(world.purchase(), issuer=world.brands["grocery"])
    first = await world.one(world.brands["fuel"], claim)
    world.restart()
    await world.pulse(world.brands["grocery"])
    again = await world.one(world.brands["fuel"], claim)
    assert again.decided.decision.entry == first.decided.decision.entry
    assert again.decided.opening == first.decided.opening


async def test_another_hold_under_the_same_id_is_a_conflict(world: World) -> None:
    await world.commit()
    other = world.purchase(points=50)
    result = await world.one(
        world.brands["fuel"], world.hold_claim(other, issuer=world.brands["grocery"])
    )
    assert outcome(result) == "failure CONFLICT"


async def test_two_holds_under_one_id_in_one_batch_commit_one(world: World) -> None:
    grocery = world.brands["grocery"]
    claims = [
        world.hold_claim(world.purchase(points=points), issuer=grocery) for points in (100, 50)
    ]
    results = await world.claim(world.brands["fuel"], *claims)
    assert [outcome(one) for one in results] == ["COMMITTED", "failure CONFLICT"]


async def test_one_bad_claim_does_not_disturb_the_others_of_its_batch(world: World) -> None:
    grocery = world.brands["grocery"]
    good = world.hold_claim(world.purchase("good"), issuer=grocery)
    forged = world.hold_claim(world.purchase("forged"), issuer=grocery)
    forged.hold.hold.index += 1
    other = world.hold_claim(world.purchase("other"), issuer=grocery)
    results = await world.claim(world.brands["fuel"], good, forged, other)
    assert [outcome(one) for one in results] == [
        "COMMITTED",
        "failure BAD_STATEMENT",
        "COMMITTED",
    ]
    assert [decision_of(results[place].decided).issuer_seq for place in (0, 2)] == [1, 2]


async def test_an_abort_by_the_acceptor_needs_no_hold_and_is_final(world: World) -> None:
    fuel = world.brands["fuel"]
    abort = pb.ClaimItem(
        abort=pb.AbortClaim(issuer="grocery", acceptor="fuel", redemption_id=redemption_id("first"))
    )
    assert outcome(await world.one(fuel, abort)) == "ABORTED REFUSED"
    late = await world.one(fuel, world.hold_claim(world.purchase(), issuer=world.brands["grocery"]))
    assert outcome(late) == "ABORTED REFUSED"
    assert world.positions() == {}


async def test_an_abort_after_the_commit_is_answered_with_the_commit(world: World) -> None:
    decided = await world.commit()
    abort = pb.ClaimItem(
        abort=pb.AbortClaim(issuer="grocery", acceptor="fuel", redemption_id=redemption_id("first"))
    )
    answered = await world.one(world.brands["fuel"], abort)
    assert answered.decided.decision.entry == decided.decision.entry


async def test_the_issuer_may_abort_once_its_hold_has_expired_and_not_before(
    world: World,
) -> None:
    grocery = world.brands["grocery"]
    made = world.purchase()
    abort = pb.ClaimItem(
        abort=pb.AbortClaim(
            issuer="grocery",
            acceptor="fuel",
            redemption_id=redemption_id("first"),
            hold=grocery.state(made.hold),
        )
    )
    world.clock.now_us = made.hold.expires_at_us - 1
    assert outcome(await world.one(grocery, abort)) == "failure NOT_YET"
    world.clock.now_us += 1
    assert outcome(await world.one(grocery, abort)) == "ABORTED HOLD_EXPIRED"
    repeated = await world.one(grocery, abort)
    assert outcome(repeated) == "ABORTED HOLD_EXPIRED"


async def test_a_pledge_makes_the_partner_pay_the_issuer(world: World) -> None:
    fuel = world.brands["fuel"]
    pledge = entry_pb2.Pledge(
        network="comity.example",
        issuer="grocery",
        redemption_id=redemption_id("pledge"),
        agreement_id="agr_grocery-fuel",
        agreement_version=1,
        points=40,
        amount=euros(40),
        destination=bytes(range(32)),
        event=bytes(range(32)),
        expires_at_us=world.clock() + 1,
    )
    result = await world.one(fuel, pb.ClaimItem(pledge=pb.PledgeClaim(pledge=fuel.state(pledge))))
    assert outcome(result) == "COMMITTED"
    assert result.decided.opening.amounts.amount.minor == -40
    assert world.positions() == {"grocery": 40, "fuel": -40}


async def test_a_partner_takes_back_in_parts_what_it_pledged(world: World) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    pledge = entry_pb2.Pledge(
        network="comity.example",
        issuer="grocery",
        redemption_id=redemption_id("pledge"),
        agreement_id="agr_grocery-fuel",
        agreement_version=1,
        points=40,
        amount=euros(40),
        destination=bytes(range(32)),
        event=bytes(range(32)),
        expires_at_us=world.clock() + 1,
    )
    result = await world.one(fuel, pb.ClaimItem(pledge=pb.PledgeClaim(pledge=fuel.state(pledge))))
    before = world.positions()
    await world.pulse(fuel)
    half = world.giving_back(fuel, result.decided, cumulative=pledge.points // 2)
    first = await world.one(fuel, half)
    assert outcome(first) == "REVERSED RETURNED"
    decision = decision_of(first.decided)
    assert (decision.kind, decision.issuer) == (decision_of(result.decided).kind, "grocery")
    again = await world.one(fuel, half)
    assert again.decided.decision.index == first.decided.decision.index
    assert {name: 2 * minor for name, minor in world.positions().items()} == before
    whole = world.giving_back(fuel, result.decided, cumulative=pledge.points)
    assert outcome(await world.one(fuel, whole)) == "REVERSED RETURNED"
    assert not any(world.positions().values())
    stolen = world.giving_back(grocery, result.decided, cumulative=pledge.points)
    assert (await world.one(grocery, stolen)).failure.code


async def test_resolve_shows_the_first_decision_and_its_reversals_in_order(
    world: World,
) -> None:
    fuel = world.brands["fuel"]
    decided = await world.commit(points=100)
    delivery = world.deliver(fuel, decided)
    for cumulative in (30, 100):
        item = world.giving_back(fuel, decided, cumulative=cumulative, delivery=delivery)
        assert outcome(await world.one(fuel, item)) == "REVERSED RETURNED"
    key = pb.RedemptionKey(issuer="grocery", acceptor="fuel", redemption_id=redemption_id("first"))
    unknown = pb.RedemptionKey(
        issuer="grocery", acceptor="fuel", redemption_id=redemption_id("never")
    )
    for brand in (fuel, world.brands["grocery"]):
        response = await world.at(brand).Resolve(
            pb.ResolveRequest(heads=brand.heads(), keys=[key, unknown])
        )
        shown = [decision_of(one) for one in response.results[0].decisions]
        assert [one.outcome for one in shown] == [1, 3, 3]
        assert [one.opening.points for one in response.results[0].decisions] == [100, 30, 70]
        assert not response.results[1].decisions


async def test_a_reversal_in_parts_ends_where_it_began(world: World) -> None:
    fuel = world.brands["fuel"]
    decided = await world.commit(points=100)
    delivery = world.deliver(fuel, decided)
    await world.report(fuel, delivery)
    for cumulative in (1, 50, 100):
        item = world.giving_back(fuel, decided, cumulative=cumulative, delivery=delivery)
        await world.one(fuel, item)
    assert set(world.positions().values()) == {0}
    beyond = world.giving_back(fuel, decided, cumulative=101, delivery=delivery)
    assert outcome(await world.one(fuel, beyond)) == "failure NOT_REVERSIBLE"


async def test_a_repeated_return_is_answered_with_its_own_reversal(world: World) -> None:
    fuel = world.brands["fuel"]
    decided = await world.commit(points=100)
    delivery = world.deliver(fuel, decided)
    items = [
        world.giving_back(fuel, decided, cumulative=cumulative, delivery=delivery)
        for cumulative in (30, 60)
    ]
    first, second = await world.claim(fuel, *items)
    again = await world.claim(fuel, *items)
    assert [one.decided.decision.index for one in again] == [
        first.decided.decision.index,
        second.decided.decision.index,
    ]
    assert world.positions() == {"grocery": -40, "fuel": 40}


async def test_neither_freeze_nor_cap_stands_against_a_reversal(world: World) -> None:
    fuel = world.brands["fuel"]
    decided = await world.commit(points=100)
    delivery = world.deliver(fuel, decided)
    for name in ("grocery", "fuel"):
        await world.stand(name, entry_pb2.PARTICIPANT_STATUS_FROZEN)
    await world.cap("fuel", 0)
    item = world.giving_back(fuel, decided, cumulative=100, delivery=delivery)
    assert outcome(await world.one(fuel, item)) == "REVERSED RETURNED"


async def test_clearing_decides_nothing_for_a_brand_it_has_not_heard(world: World) -> None:
    claim = world.hold_claim(world.purchase(), issuer=world.brands["grocery"])
    world.restart()
    assert outcome(await world.one(world.brands["fuel"], claim)) == "failure NOT_HEARD"
    await world.pulse(world.brands["grocery"])
    assert outcome(await world.one(world.brands["fuel"], claim)) == "COMMITTED"


async def test_a_brand_that_does_not_link_its_log_gets_no_new_commits(world: World) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    claim = world.hold_claim(world.purchase("one"), issuer=grocery)
    assert outcome(await world.one(fuel, claim)) == "COMMITTED"
    world.clock.now_us += world.rules.link_within_us + 1
    late = world.hold_claim(world.purchase("two"), issuer=grocery)
    assert outcome(await world.one(fuel, late)) == "failure NOT_HEARD"
    await world.pulse(grocery)
    assert outcome(await world.one(fuel, late)) == "COMMITTED"


async def test_nobody_is_known_who_was_not_admitted(world: World) -> None:
    stranger = world.purchase(under=terms(issuer="stranger"))
    brand = Brand("stranger", world.clock)
    result = await world.one(world.brands["fuel"], world.hold_claim(stranger, issuer=brand))
    assert outcome(result) == f"failure {NotFound.code}"


async def test_a_decision_cites_exactly_the_hold(world: World) -> None:
    grocery = world.brands["grocery"]
    made = world.purchase()
    item = world.hold_claim(made, issuer=grocery)
    decided = (await world.one(world.brands["fuel"], item)).decided
    cites = decision_of(decided).cites
    assert cites == grocery.cite(item.hold.hold.index)
    assert entries.decode(decided.decision.entry).origin == ORIGIN


async def test_a_clock_which_most_brands_contradict_decides_nothing_by_expiry(
    world: World,
) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    claim = world.hold_claim(world.purchase(), issuer=grocery)
    for brand in (grocery, fuel):
        brand.clock = Ticking(world.clock() + world.rules.skew_us + 1)
        await world.pulse(brand)
    assert outcome(await world.one(fuel, claim)) == "failure UNAVAILABLE"
    for brand in (grocery, fuel):
        brand.clock = world.clock
        await world.pulse(brand)
    assert outcome(await world.one(fuel, claim)) == "COMMITTED"


async def test_the_operator_signs_nothing_after_a_start_until_a_brand_is_heard(
    world: World,
) -> None:
    world.restart()
    with pytest.raises(NotHeard):
        await world.close(1)
    await world.pulse(world.brands["fuel"])
    await world.close(1)


# --- counted ----------------------------------------------------------------------------------


async def test_each_decision_is_counted_once_by_outcome_and_kind(world: World) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    claim = world.hold_claim(world.purchase("first"), issuer=grocery)
    await world.claim(fuel, claim, claim)
    await world.one(fuel, claim)
    await world.pulse(grocery)
    assert counted(world) == {("committed", "reward"): 1}
    second = await world.commit("second")
    returning = world.giving_back(fuel, second, cumulative=40, delivery=world.deliver(fuel, second))
    await world.one(fuel, returning)
    assert counted(world) == {("committed", "reward"): 2, ("reversed", "reward"): 1}
    assert counted(world) == {("committed", "reward"): 2, ("reversed", "reward"): 1}
    world.restart()
    assert counted(world) == {}, "since the process started"


def counted(world: World) -> dict[tuple[str, str], int]:
    """The metrics page's decisions."""
    return {
        (sample.labels["outcome"], sample.labels["kind"]): int(sample.value)
        for family in world.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "comity_decisions_total"
    }
