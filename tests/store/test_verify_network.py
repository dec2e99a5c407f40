"""Real brands and a real clearing service: what an auditor finds in all their databases."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from comity.ledger.engine import writer
from comity.v1 import merchant_pb2
from comity.verify.database import snapshot
from comity.verify.network import network
from comity.verify.report import Report
from tests.redemption_world import TILL, NodeWorld, pair
from tests.unit.replay_log import failed


def audit(world: NodeWorld, *, final: bool) -> list[Report]:
    """A report on each database, and one on all of them together."""
    engines = [node.engine for node in world.nodes.values()] + [world.clearing_world.engine]
    reports = []
    for engine in engines:
        with engine.connect() as connection:
            reports.append(snapshot(connection, final=final))
    return [*reports, network(reports, final=final)]


async def test_redeemed_and_reversed_in_part_every_book_agrees() -> None:
    world, grocery, fuel, alice, account = await pair()
    try:
        redemption = await alice.buy()
        await alice.buy()
        await fuel.net.desk.reverse_redemption(
            TILL,
            merchant_pb2.ReverseRedemptionRequest(
                id="back-1",
                redemption_id=redemption.redemption_id,
                cumulative_points=30,
                reason_code="returned",
            ),
        )
        await world.until(lambda: grocery.balance(account) == (830, 0))
        await world.settled()
        reports = audit(world, final=True)
    finally:
        await world.close()
    for report in reports:
        assert failed(report.checks) == {}, report.subject
    assert {check.name for check in reports[-1].checks} == {"keys", "I4", "I7", "I12", "I13"}
    assert reports[-1].figures == {"brands": 2, "decisions": 3}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE mirror SET body = x'00' WHERE \"index\" = 3",
        'DELETE FROM mirror WHERE "index" = 3',
        'DELETE FROM mirror WHERE "index" = (SELECT max("index") FROM mirror)',
        "UPDATE mirror_state SET note = (SELECT note FROM checkpoints LIMIT 1)",
        "UPDATE mirror_state SET size = size - 1, applied = 0",
    ],
)
async def test_a_changed_mirror_of_clearings_log_is_noticed(change: str) -> None:
    world, grocery, _, alice, _ = await pair()
    try:
        await alice.buy()
        await world.settled()
    finally:
        await world.close()
    with writer(grocery.engine).begin() as connection:
        connection.execute(text(change))
    with grocery.engine.connect() as connection:
        report = snapshot(connection)
    assert failed(report.checks).keys() == {"mirror"}
