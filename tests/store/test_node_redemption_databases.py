"""The whole way of a redemption with nodes on SQLite files and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from comity.ledger.engine import open_engine
from comity.v1 import common_pb2, member_pb2, merchant_pb2, operator_pb2
from tests import postgres
from tests.redemption_world import GUEST, MANAGER, TILL, Node, NodeWorld, pair

DELIVERED = member_pb2.REDEMPTION_STATE_DELIVERED


@pytest.fixture(params=["sqlite", "postgresql"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NodeWorld]:
    """A network whose brands keep their ledgers in databases of this kind."""
    with ExitStack() as stack:
        count = iter(range(100))

        def engine() -> Engine:
            if request.param == "sqlite":
                made = open_engine(f"sqlite:///{tmp_path / f'{next(count)}.db'}")
            else:
                server = request.getfixturevalue("postgresql_url")
                made = open_engine(stack.enter_context(postgres.database(server)))
            stack.callback(made.dispose)
            return made

        yield NodeWorld(engine)


async def test_everything_that_can_happen_to_a_redemption(nodes: NodeWorld) -> None:
    world, grocery, fuel, alice, account = await pair(nodes)
    desk = fuel.net.desk

    # A reward, then part of it back.
    first = await alice.buy()
    assert first.state == DELIVERED
    back = await desk.reverse_redemption(
        TILL,
        merchant_pb2.ReverseRedemptionRequest(
            id="back-1",
            redemption_id=first.redemption_id,
            cumulative_points=40,
            reason_code="returned",
        ),
    )
    assert back.reversed_points == 40
    # An exchange.
    destination = await fuel.enrol("alice-at-fuel")
    quoted = await desk.get_quote(
        GUEST, member_pb2.GetQuoteRequest(issuer="grocery", acceptor_points=200)
    )
    exchanged = await alice.redeem(alice.request(quoted, reward_id="", destination=destination))
    assert exchanged.state == DELIVERED
    assert fuel.balance(destination) == (200, 0)
    # Points earned at the partner.
    earned = await desk.record_partner_purchase(
        TILL,
        merchant_pb2.RecordPartnerPurchaseRequest(
            purchase_id="sale-1",
            issuer="grocery",
            account=account,
            amount=common_pb2.Money(currency="EUR", minor=250),
        ),
    )
    assert earned.state == DELIVERED
    # One that fails.
    refused = await alice.redeem(alice.request(await alice.quote(), signed_by="stranger"))
    assert refused.state == member_pb2.REDEMPTION_STATE_FAILED
    await world.until(lambda: grocery.balance(account) == (990, 0))

    # The acceptor starts again and knows everything.
    await fuel.stop()
    await fuel.start()
    listed = await fuel.net.desk.list_redemptions(
        MANAGER, merchant_pb2.ListRedemptionsRequest(limit=2)
    )
    assert [len(listed.redemptions), bool(listed.next_cursor)] == [2, True]
    rest = await fuel.net.desk.list_redemptions(
        MANAGER, merchant_pb2.ListRedemptionsRequest(cursor=listed.next_cursor)
    )
    ids = {one.redemption_id for one in (*listed.redemptions, *rest.redemptions)}
    assert ids == {first.redemption_id, exchanged.redemption_id, refused.redemption_id}

    # The window closes; all books agree and both brands say so.
    operator = world.clearing_world.operator
    await world.settled()
    for node in (grocery, fuel):
        await node.net.peers.pulse()
    await operator.CloseWindow(operator_pb2.CloseWindowRequest(id="close-1", window=1))
    await operator.SettleWindow(operator_pb2.SettleWindowRequest(id="settle-1", window=1))
    for node in (grocery, fuel):
        await world.until(partial(_answered, node))
    checked = await operator.ReconcileWindow(operator_pb2.ReconcileWindowRequest(window=1))
    assert (list(checked.breaks), list(checked.unreachable)) == ([], [])
    assert not [kind for node in (grocery, fuel) for kind in node.kinds() if kind == "protest"]
    await world.close()


def _answered(node: Node) -> bool:
    return [row["state"] for row in node.rows("settlements")] == ["ANSWERED"]
