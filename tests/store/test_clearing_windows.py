"""Windows, settlements, agreements and what the operator lists, over clearing's own endpoint."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Engine

from clearing.folder import MIGRATIONS
from clearing.tables import metadata
from comity.clock import HOUR
from comity.errors import (
    AlreadyDecided,
    ComityError,
    Conflict,
    NotFound,
    NotHeard,
    NotYet,
)
from comity.ledger import entries
from comity.ledger.engine import writer
from comity.ledger.migrate import create_or_upgrade, describe, ledger_first
from comity.terms import settlement
from comity.v1 import clearing_pb2 as pb
from comity.v1 import common_pb2, entry_pb2, operator_pb2
from tests.store.clearing_world import (
    ORIGIN,
    World,
    decision_of,
    outcome,
    terms,
    trading,
)


@pytest.fixture
async def world(engine: Engine) -> World:
    return await trading(engine)


def nets(table: entry_pb2.SettlementTable) -> dict[str, int]:
    return {row.participant: row.net.minor for row in table.positions}


def payments(table: entry_pb2.SettlementTable) -> list[tuple[str, str, int]]:
    return [(one.payer, one.payee, one.amount.minor) for one in table.payments]


# --- rounding -------------------------------------------------------------------------------


def thirty_points() -> list[list[int]]:
    """Thirty transfers in five windows: window w, transfer t moves 80 + 5·t + w points."""
    return [[80 + 5 * t + w for t in range(6)] for w in range(5)]


EXPECTED_FEES = {
    # One cent a point, fee 0.6 % half-up on each transfer: amount 83 pays 0.498 -> 0, and
    # from 84 on (0.504) up to 249 (1.494) it pays 1. Window w has the amounts
    # 80+w, 85+w, 90+w, 95+w, 100+w, 105+w: the first is below 84 for w = 0, 1, 2, 3 only.
    1: 5,
    2: 5,
    3: 5,
    4: 5,
    5: 6,
}
EXPECTED_NETS = {
    # Sum of amounts: 6·80 + 5·(0+1+2+3+4+5) + 6·w = 555 + 6·w for w = 0 … 4.
    1: 555,
    2: 561,
    3: 567,
    4: 573,
    5: 579,
}


async def test_fees_are_rounded_per_transfer_and_never_after_netting(engine: Engine) -> None:
    world = World(engine)
    await world.admit("grocery")
    await world.admit("fuel")
    agreed = terms(fee_basis_points=60)
    await world.agree(agreed)
    for window, amounts in enumerate(thirty_points(), start=1):
        for points in amounts:
            await world.commit(f"{window} {points}", points=points, under=agreed)
        await world.close(window)
    found = {}
    for window in EXPECTED_FEES:
        table = (await world.settle(window)).table
        settlement.check_settlement(table)
        found[window] = nets(table)
    assert found == {
        window: {
            "grocery": -EXPECTED_NETS[window],
            "fuel": EXPECTED_NETS[window] - fee,
            "operator": fee,
        }
        for window, fee in EXPECTED_FEES.items()
    }
    # Netting first would have charged 0.6 % of 2835 = 17.01 -> 17 in place of 26; window by
    # window 3.33, 3.366, 3.402, 3.438, 3.474 -> 3 each, 15 in place of 26.
    assert sum(EXPECTED_NETS.values()) == 2_835
    assert sum(EXPECTED_FEES.values()) == 26
    assert set(world.positions().values()) == {0}


# --- windows --------------------------------------------------------------------------------


async def test_closing_a_window_opens_the_next_and_states_every_last_number(
    world: World,
) -> None:
    await world.commit("one")
    await world.commit("two")
    closed = await world.close(1)
    body = entries.decode(closed.window.entry).window
    assert closed.decisions == body.decisions == 2
    assert {one.participant: one.seq for one in body.last} == {
        "grocery": 2,
        "fuel": 2,
        "hotel": 0,
    }
    assert decision_of(await world.commit("three")).window == 2


async def test_a_closing_decision_and_its_window_can_share_a_batch(world: World) -> None:
    claim = world.hold_claim(world.purchase(), issuer=world.brands["grocery"])
    fuel = world.brands["fuel"]
    closing = operator_pb2.CloseWindowRequest(id="close", window=1)
    result, closed = await asyncio.gather(
        world.one(fuel, claim), world.operator.CloseWindow(closing)
    )
    assert outcome(result) == "COMMITTED"
    number = decision_of(result.decided).window
    assert closed.decisions == (1 if number == 1 else 0)


async def test_a_closed_window_is_not_closed_again_except_by_the_same_request(
    world: World,
) -> None:
    asked = operator_pb2.CloseWindowRequest(id="close", window=1)
    first = await world.operator.CloseWindow(asked)
    again = await world.operator.CloseWindow(asked)
    assert first.window.entry == again.window.entry
    with pytest.raises(AlreadyDecided):
        await world.close(1)
    with pytest.raises(NotFound):
        await world.close(7)
    with pytest.raises(Conflict):
        await world.operator.CloseWindow(operator_pb2.CloseWindowRequest(id="close", window=2))


async def test_a_settlement_pays_every_net_through_the_operator(world: World) -> None:
    await world.commit("one", points=100)
    await world.commit("two", points=30, under=terms(agreement_id="agr_hotel-fuel", issuer="hotel"))
    await world.commit(
        "three",
        points=50,
        under=terms(agreement_id="agr_fuel-grocery", issuer="fuel", acceptor="grocery"),
    )
    await world.close(1)
    settled = await world.settle(1)
    assert nets(settled.table) == {"fuel": 80, "grocery": -50, "hotel": -30, "operator": 0}
    assert payments(settled.table) == [
        ("operator", "fuel", 80),
        ("grocery", "operator", 50),
        ("hotel", "operator", 30),
    ]
    body = entries.decode(settled.settlement.entry).settlement
    assert body.table == settlement.digest(settled.table)
    assert body.acknowledge_by_us == world.clock() + world.rules.acknowledge_within_us
    assert set(world.positions().values()) == {0}


async def test_what_a_later_window_owes_survives_a_settlement(world: World) -> None:
    await world.commit("one", points=100)
    await world.close(1)
    await world.commit("two", points=7)
    assert world.positions() == {"grocery": -107, "fuel": 107}
    await world.settle(1)
    assert world.positions() == {"grocery": -7, "fuel": 7}


async def test_a_settlement_frees_the_cap(engine: Engine) -> None:
    world = World(engine)
    await world.admit("grocery", cap_minor=100)
    await world.admit("fuel")
    await world.agree(terms())
    fuel, grocery = world.brands["fuel"], world.brands["grocery"]
    await world.commit("one", points=100)
    await world.close(1)
    world.clock.now_us += 1
    blocked = world.hold_claim(world.purchase("two"), issuer=grocery)
    assert outcome(await world.one(fuel, blocked)) == "ABORTED CAP_EXCEEDED"
    await world.settle(1)
    await world.commit("three", points=100)


async def test_only_a_closed_window_is_settled_and_only_once(world: World) -> None:
    await world.commit()
    with pytest.raises(NotYet):
        await world.settle(1)
    with pytest.raises(NotFound):
        await world.settle(9)
    await world.close(1)
    await world.settle(1)
    with pytest.raises(AlreadyDecided):
        await world.settle(1)


async def test_a_window_is_not_settled_while_a_head_it_rests_on_is_not_linked(
    world: World,
) -> None:
    await world.commit(linked=False)
    await world.close(1)
    with pytest.raises(NotHeard):
        await world.settle(1)
    await world.stand("grocery", entry_pb2.PARTICIPANT_STATUS_FROZEN)
    await world.settle(1)


async def settled_world(world: World) -> tuple[World, entry_pb2.SettlementTable]:
    await world.commit(points=100)
    await world.pulse(world.brands["grocery"])
    await world.close(1)
    return world, (await world.settle(1)).table


async def test_brands_acknowledge_or_protest_a_settlement_in_their_own_logs(
    world: World,
) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    await world.commit()
    await world.pulse(grocery)
    await world.close(1)
    shown = (await world.settle(1)).settlement
    settled = entries.cite(ORIGIN, shown.index, shown.entry)
    for brand, body in (
        (grocery, entry_pb2.Ack(settlement=settled, window=1)),
        (fuel, entry_pb2.Protest(settlement=settled, window=1, reason="no")),
    ):
        await world.at(brand).Acknowledge(
            pb.AcknowledgeRequest(heads=brand.heads(), statement=brand.state(body))
        )
    (first, *_) = (
        await world.operator.ListWindows(operator_pb2.ListWindowsRequest(before=2))
    ).windows
    assert (list(first.acknowledged), list(first.protested)) == (["grocery"], ["fuel"])
    other = entry_pb2.Ack(settlement=fuel.cite(0), window=1)
    with pytest.raises(ComityError):
        await world.at(fuel).Acknowledge(
            pb.AcknowledgeRequest(heads=fuel.heads(), statement=fuel.state(other))
        )


async def test_a_window_statement_adds_up(world: World) -> None:
    agreed = terms(agreement_id="agr_fee", fee_basis_points=1_000)
    await world.agree(agreed)
    await world.commit("one", points=100, under=agreed)
    await world.close(1)
    await world.commit("two", points=40, under=agreed)
    fuel = world.brands["fuel"]
    found = {}
    for window in (1, 2):
        response = await world.at(fuel).ReadWindow(pb.ReadWindowRequest(window=window))
        (total,) = response.statement.totals
        found[window] = (
            total.opening_minor,
            total.in_minor,
            total.out_minor,
            total.fees_minor,
            total.closing_minor,
        )
        assert response.statement.participant == "fuel"
    assert found == {1: (0, 100, 0, 10, 90), 2: (90, 40, 0, 4, 126)}
    with pytest.raises(NotFound):
        await world.at(fuel).ReadWindow(pb.ReadWindowRequest(window=3))


async def test_the_settlement_stands_in_the_statement_of_its_window(world: World) -> None:
    world, table = await settled_world(world)
    response = await world.at(world.brands["fuel"]).ReadWindow(pb.ReadWindowRequest(window=1))
    assert response.statement.settlement == table
    assert response.statement.state == "SETTLED"
    body = entries.decode(response.statement.settlement_entry.entry).settlement
    assert body.table == settlement.digest(table)


# --- lists ----------------------------------------------------------------------------------


async def test_the_operator_lists_what_is_there(world: World) -> None:
    await world.commit("one", points=5)
    participants = (
        await world.operator.ListParticipants(operator_pb2.ListParticipantsRequest())
    ).participants
    assert [(one.participant, one.seq) for one in participants] == [
        ("fuel", 1),
        ("grocery", 1),
        ("hotel", 0),
    ]
    assert participants[0].positions[0].minor == 5
    agreed = (await world.operator.ListAgreements(operator_pb2.ListAgreementsRequest())).agreements
    assert terms() in agreed
    listed = await world.operator.ListDecisions(operator_pb2.ListDecisionsRequest())
    assert [one.row.points for one in listed.decisions] == [5]
    rest = await world.operator.ListDecisions(
        operator_pb2.ListDecisionsRequest(from_index=listed.next_index)
    )
    assert not rest.decisions


async def test_an_agreement_is_superseded_and_ended(world: World) -> None:
    grocery, fuel = world.brands["grocery"], world.brands["fuel"]
    second = terms(version=2, price=common_pb2.Ratio(numerator=2, denominator=1))
    second.valid_from_us = world.clock() + HOUR
    await world.agree(second)
    await world.commit("before")
    world.clock.now_us += HOUR
    stale = world.hold_claim(world.purchase("stale"), issuer=grocery)
    await world.pulse(grocery)
    assert outcome(await world.one(fuel, stale)) == "ABORTED AGREEMENT_INACTIVE"
    await world.commit("after", under=second)
    terminate = entry_pb2.Terminate(
        agreement_id=second.agreement_id, version=2, effective_at_us=world.clock() + HOUR
    )
    response = await world.at(fuel).RegisterAgreement(
        pb.RegisterAgreementRequest(heads=fuel.heads(), terminate=fuel.state(terminate))
    )
    body = entries.decode(response.agreement.entry).agreement
    assert body.valid_until_us == terminate.effective_at_us
    await world.commit("last", under=second)
    world.clock.now_us += HOUR
    ended = world.hold_claim(world.purchase("ended", under=second), issuer=grocery)
    await world.pulse(grocery)
    assert outcome(await world.one(fuel, ended)) == "ABORTED AGREEMENT_INACTIVE"


async def test_a_registered_version_keeps_its_terms(world: World) -> None:
    again = await world.agree(terms())
    assert entries.decode(again.entry).agreement.version == 1
    with pytest.raises(Conflict):
        await world.agree(terms(price=common_pb2.Ratio(numerator=3, denominator=1)))
    with pytest.raises(ComityError):
        await world.agree(terms(version=3, floor_limit_points=1))


# --- schema ---------------------------------------------------------------------------------


def test_the_migrations_lead_to_the_tables_the_code_declares(engine: Engine) -> None:
    create_or_upgrade(engine, metadata, MIGRATIONS)
    with engine.connect() as connection:
        migrated = describe(connection)
    with writer(engine).begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    with engine.connect() as connection:
        assert describe(connection) == migrated


def test_every_key_begins_with_the_ledger() -> None:
    assert ledger_first(metadata) == []
