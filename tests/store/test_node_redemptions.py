"""Redemptions between real brands and a real clearing service, and the ways they may be cheated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select

from clearing import tables as clearing_tables
from comity.clock import MINUTE
from comity.errors import (
    Conflict,
    Forbidden,
    MandateRejected,
    NotFound,
    NotHeard,
    OutOfStock,
    QuoteExpired,
    ShorterLedger,
    Unavailable,
)
from comity.ledger import entries, statements
from comity.ledger.statements import from_tlog_proof
from comity.log.checkpoint import CheckpointCache
from comity.log.note import VerifierKey
from comity.rpc.caller import Caller, CallerKind
from comity.terms import quotes
from comity.v1 import clearing_pb2, member_pb2, operator_pb2, peer_pb2
from node.commands import AddDevice, LockMember, RevokeDevice
from tests.redemption_world import GUEST, Node, NodeWorld, Shopper, device, pair

DELIVERED = member_pb2.REDEMPTION_STATE_DELIVERED
FAILED = member_pb2.REDEMPTION_STATE_FAILED
PENDING = member_pb2.REDEMPTION_STATE_PENDING


class Scene:
    """grocery issues, fuel accepts, alice shops."""

    world: NodeWorld
    grocery: Node
    fuel: Node
    alice: Shopper
    account: str


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    one = Scene()
    one.world, one.grocery, one.fuel, one.alice, one.account = await pair()
    yield one
    await one.world.close()


async def test_a_reward_is_delivered_and_its_points_are_spent(scene: Scene) -> None:
    redemption = await scene.alice.buy()

    assert redemption.state == DELIVERED, redemption
    assert len(redemption.vouchers) == 1
    assert len(redemption.receipt) == 3
    await scene.world.settled()
    assert scene.grocery.balance(scene.account) == (900, 0)
    assert "post" in scene.grocery.kinds()
    assert "delivery" in scene.fuel.kinds()
    assert not scene.grocery.alarms
    assert not scene.fuel.alarms


# --- the issuer's refusals ------------------------------------------------------------------


async def refused(scene: Scene, code: str, **changed: Any) -> member_pb2.Redemption:
    """A redemption that fails with this code, moves nothing and leaves nothing waiting."""
    quoted = await scene.alice.quote()
    redemption = await scene.alice.redeem(scene.alice.request(quoted, **changed))
    assert redemption.state == FAILED, redemption
    assert redemption.failure.code == code
    await scene.world.settled()
    assert scene.grocery.balance(scene.account)[1] == 0
    assert all(row["state"] != "HELD" for row in scene.grocery.rows("holds"))
    assert scene.fuel.rows("rewards")[0]["reserved"] == 0
    return redemption


async def test_a_mandate_signed_by_another_device_is_refused(scene: Scene) -> None:
    await scene.grocery.enrol("mallory")
    quoted = await scene.alice.quote()
    forged = scene.alice.request(
        quoted, signed_by="mallory", key_id=f"key_{device('alice').key_id}"
    )

    redemption = await scene.alice.redeem(forged)

    assert redemption.state == FAILED
    assert redemption.failure.code == "BAD_STATEMENT"
    assert scene.grocery.balance(scene.account) == (1_000, 0)


async def test_a_device_nobody_enrolled_is_refused(scene: Scene) -> None:
    await refused(scene, "MANDATE_REJECTED", signed_by="stranger")


async def test_a_member_without_enough_points_is_told_how_many_there_are(scene: Scene) -> None:
    await scene.fuel.put_reward("car-wash", price=5_000)
    redemption = await scene.alice.buy("car-wash")
    assert redemption.state == FAILED
    assert redemption.failure.code == "INSUFFICIENT_POINTS"
    assert redemption.failure.metadata["available"] == "1000"


async def test_a_locked_member_spends_nothing(scene: Scene) -> None:
    await scene.grocery.do(
        LockMember(caller="manager:ann", id="lock-1", account=scene.account, locked=True)
    )
    await refused(scene, "MEMBER_LOCKED")


async def test_a_revoked_device_signs_nothing(scene: Scene) -> None:
    key_id = f"key_{device('alice').key_id}"
    await scene.alice.buy()
    await scene.grocery.do(
        AddDevice(
            caller="member:alice",
            id="add-1",
            account=scene.account,
            acting_key=key_id,
            public_key=device("alice's other phone").public.raw,
        )
    )
    await scene.grocery.do(
        RevokeDevice(
            caller="member:alice",
            id="revoke-1",
            account=scene.account,
            acting_key=key_id,
            key_id=key_id,
        )
    )
    quoted = await scene.alice.quote()
    redemption = await scene.alice.redeem(scene.alice.request(quoted))
    assert redemption.failure.code == "MANDATE_REJECTED"


async def test_the_daily_limit_of_a_member_holds() -> None:
    world = NodeWorld()
    grocery = await world.admit("grocery", redemptions_per_day=2)
    fuel = await world.admit("fuel")
    await world.settled()
    await world.agree()
    await grocery.enrol("alice", points=1_000)
    await fuel.put_reward()
    alice = Shopper("alice", "grocery", fuel)

    states = [(await alice.buy()).state for _ in range(3)]

    assert states == [DELIVERED, DELIVERED, FAILED]
    await world.close()


# --- the acceptor's refusals ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"max_points": 99}, "max_points"),
        ({"quote_digest": bytes(32)}, "quote_digest"),
        ({"acceptor": "books"}, "acceptor"),
        ({"issuer": "books"}, "issuer"),
        ({"redemption_id": "rdm_" + "0" * 32}, "redemption_id"),
        ({"not_after_us": 1}, "not_after_us"),
    ],
)
async def test_a_mandate_for_something_else_never_leaves_the_acceptor(
    scene: Scene, changed: dict[str, Any], field: str
) -> None:
    quoted = await scene.alice.quote()
    with pytest.raises(MandateRejected) as refusal:
        await scene.alice.redeem(scene.alice.request(quoted, **changed))
    assert refusal.value.field == field
    assert scene.grocery.kinds().count("hold") == 0


async def test_a_quote_with_another_seal_is_not_honoured(scene: Scene) -> None:
    quoted = await scene.alice.quote()
    request = scene.alice.request(quoted)
    request.seal = bytes(32)
    with pytest.raises(Forbidden):
        await scene.alice.redeem(request)


async def test_another_reward_than_the_quoted_one_is_refused(scene: Scene) -> None:
    await scene.fuel.put_reward("car-wash", price=5_000)
    quoted = await scene.alice.quote("coffee")
    with pytest.raises(MandateRejected):
        await scene.alice.redeem(scene.alice.request(quoted, reward_id="car-wash"))


async def test_an_expired_quote_is_refused(scene: Scene) -> None:
    quoted = await scene.alice.quote()
    request = scene.alice.request(quoted)
    scene.world.clock.now_us += 6 * MINUTE
    with pytest.raises(QuoteExpired):
        await scene.alice.redeem(request)


async def test_the_last_piece_is_sold_once(scene: Scene) -> None:
    await scene.fuel.put_reward("mug", price=10, stock=1)
    first, second = await asyncio.gather(
        scene.alice.buy("mug"), scene.alice.buy("mug"), return_exceptions=True
    )
    results = sorted((first, second), key=lambda one: isinstance(one, OutOfStock))
    assert isinstance(results[0], member_pb2.Redemption)
    assert results[0].state == DELIVERED
    assert isinstance(results[1], OutOfStock)
    (row,) = [row for row in scene.fuel.rows("rewards") if row["reward_id"] == "mug"]
    assert (row["reserved"], row["delivered"]) == (0, 1)


# --- repeating ------------------------------------------------------------------------------


async def test_a_repeated_redemption_gets_the_same_vouchers_and_receipt(scene: Scene) -> None:
    quoted = await scene.alice.quote()
    request = scene.alice.request(quoted)
    first = await scene.alice.redeem(request)
    scene.world.clock.now_us += 60 * MINUTE
    again = await scene.alice.redeem(request)
    assert list(again.vouchers) == list(first.vouchers)
    assert again.state == DELIVERED
    assert scene.grocery.kinds().count("hold") == 1
    assert scene.fuel.kinds().count("delivery") == 1


async def test_the_same_id_with_another_mandate_is_a_conflict(scene: Scene) -> None:
    quoted = await scene.alice.quote()
    await scene.alice.redeem(scene.alice.request(quoted))
    with pytest.raises(Conflict) as conflict:
        await scene.alice.redeem(scene.alice.request(quoted, max_points=200))
    assert conflict.value.field == "mandate"


async def test_a_hold_asked_for_again_with_another_mandate_is_a_conflict(scene: Scene) -> None:
    quoted = await scene.alice.quote()
    request = scene.alice.request(quoted)
    await scene.alice.redeem(request)
    other = scene.alice.request(quoted, max_points=200)
    courier = scene.fuel.net.peers.holds("grocery")
    with pytest.raises(Conflict):
        await courier.submit(peer_pb2.HoldRequest(quote=other.quote, mandate=other.mandate))
    again = await courier.submit(peer_pb2.HoldRequest(quote=request.quote, mandate=request.mandate))
    assert entries.decode(again.entry).hold.redemption_id == quotes.read(quoted.quote).redemption_id
    assert scene.grocery.kinds().count("hold") == 1


async def test_only_the_acceptor_of_a_quote_gets_a_hold_for_it(scene: Scene) -> None:
    books = await scene.world.admit("books")
    await scene.world.settled()
    quoted = await scene.alice.quote()
    request = scene.alice.request(quoted)
    stolen = peer_pb2.HoldRequest(quote=request.quote, mandate=request.mandate)
    with pytest.raises(Forbidden):
        await books.net.peers.holds("grocery").submit(stolen)
    assert scene.grocery.kinds().count("hold") == 0


async def test_the_outcome_is_shown_for_the_pickup_key_only(scene: Scene) -> None:
    quoted = await scene.alice.quote()
    redemption = await scene.alice.redeem(scene.alice.request(quoted))
    desk = scene.fuel.net.desk
    shown = await desk.get_redemption(
        GUEST,
        member_pb2.GetRedemptionRequest(
            redemption_id=redemption.redemption_id, pickup_key=quoted.pickup_key
        ),
    )
    assert shown.redemption == redemption
    with pytest.raises(Forbidden):
        await desk.get_redemption(
            GUEST,
            member_pb2.GetRedemptionRequest(
                redemption_id=redemption.redemption_id, pickup_key=bytes(16)
            ),
        )


# --- receipts and books ---------------------------------------------------------------------


async def test_the_issuer_shows_its_member_the_hold_and_its_post(scene: Scene) -> None:
    redemption = await scene.alice.buy()
    await scene.world.settled()
    member = Caller(kind=CallerKind.MEMBER, id=scene.account)
    receipt = await scene.grocery.net.desk.get_issuer_receipt(
        member, member_pb2.GetIssuerReceiptRequest(redemption_id=redemption.redemption_id)
    )
    assert receipt.state == DELIVERED
    kinds = [entries.kind(entries.decode(from_tlog_proof(one).entry)) for one in receipt.statements]
    assert kinds == ["hold", "post"]
    stranger = Caller(kind=CallerKind.MEMBER, id="acc_" + "0" * 32)
    with pytest.raises(NotFound):
        await scene.grocery.net.desk.get_issuer_receipt(
            stranger, member_pb2.GetIssuerReceiptRequest(redemption_id=redemption.redemption_id)
        )


async def test_a_receipt_verifies_with_nothing_but_the_keys(scene: Scene) -> None:
    redemption = await scene.alice.buy()
    hold, decision, delivery = (from_tlog_proof(one) for one in redemption.receipt)
    cache = CheckpointCache()
    proven = []
    world = scene.world.clearing_world
    for statement, signer in (
        (hold, scene.grocery.signer),
        (decision, world.signer),
        (delivery, scene.fuel.signer),
    ):
        proven.append(
            statements.verify(
                statement,
                origin=signer.origin,
                verifier=VerifierKey.parse(signer.vkey),
                cache=cache,
            )
        )
    assert entries.same(proven[1].entry.decision.cites, proven[0].citation)
    assert entries.same(proven[2].entry.delivery.decision, proven[1].citation)
    assert proven[1].entry.decision.points == entries.seal_points(100, redemption.points_salt)


async def test_the_books_of_both_brands_and_clearing_agree(scene: Scene) -> None:
    for _ in range(3):
        await scene.alice.buy()
    await refused(scene, "MANDATE_REJECTED", signed_by="stranger")
    response = await scene.world.clearing_world.operator.ReconcileWindow(
        operator_pb2.ReconcileWindowRequest(window=1)
    )
    assert list(response.breaks) == []
    assert list(response.unreachable) == []
    assert [row["seq"] for row in scene.grocery.rows("book")] == [1, 2, 3, 4]


# --- neighbours that are away ---------------------------------------------------------------


async def test_a_lost_answer_of_the_issuer_is_asked_for_again(scene: Scene) -> None:
    line = scene.fuel.lines["grocery"]
    line.lose_answers_of.add("PlaceHolds")
    quoted = await scene.alice.quote()
    waiting = asyncio.ensure_future(scene.alice.redeem(scene.alice.request(quoted)))
    await scene.world.until(lambda: line.calls.count("PlaceHolds") > 2)
    line.lose_answers_of.clear()
    assert (await waiting).state == DELIVERED
    assert scene.grocery.kinds().count("hold") == 1


async def test_an_unanswered_claim_neither_frees_nor_burns_points(scene: Scene) -> None:
    line = scene.fuel.lines["clearing"]
    quoted = await scene.alice.quote()
    line.cut = Unavailable("The network is down.")
    redemption = await scene.alice.redeem(scene.alice.request(quoted))
    assert redemption.state == PENDING
    assert scene.grocery.balance(scene.account) == (900, 100)

    scene.world.clock.now_us += 2 * MINUTE
    await asyncio.sleep(0.1)
    assert scene.grocery.balance(scene.account) == (900, 100)

    line.cut = None
    rid = redemption.redemption_id
    await scene.world.until(lambda: state(scene.fuel, rid) == "DELIVERED")
    await scene.world.settled()
    assert scene.grocery.balance(scene.account) == (900, 0)


async def test_a_decision_whose_answer_is_lost_is_delivered_late(scene: Scene) -> None:
    line = scene.fuel.lines["clearing"]
    line.lose_answers_of.update({"Claim"})
    redemption = await scene.alice.buy()
    assert redemption.state == PENDING
    await scene.world.until(lambda: scene.grocery.balance(scene.account) == (900, 0))
    line.lose_answers_of.clear()
    rid = redemption.redemption_id
    await scene.world.until(lambda: state(scene.fuel, rid) == "DELIVERED")


async def test_a_redemption_goes_on_after_the_acceptor_died(scene: Scene) -> None:
    line = scene.fuel.lines["clearing"]
    line.lose_answers_of.update({"Claim"})
    redemption = await scene.alice.buy()
    assert redemption.state == PENDING
    await scene.fuel.stop()
    line.lose_answers_of.clear()

    await scene.fuel.start()

    rid = redemption.redemption_id
    await scene.world.until(lambda: state(scene.fuel, rid) == "DELIVERED")
    assert scene.fuel.kinds().count("delivery") == 1
    (row,) = scene.fuel.rows("redemptions")
    assert row["hold"]


async def test_a_delivery_unreported_at_a_crash_is_reported_at_the_next_start(
    scene: Scene,
) -> None:
    line = scene.fuel.lines["clearing"]
    line.deaf_to.add("Report")
    redemption = await scene.alice.buy()
    assert redemption.state == DELIVERED
    await scene.fuel.stop()
    line.deaf_to.clear()
    assert reported(scene) == [None]

    await scene.fuel.start()

    await scene.world.until(lambda: reported(scene) != [None])


async def test_an_expired_hold_is_released_only_by_clearings_abort(scene: Scene) -> None:
    quoted = await scene.alice.quote()
    request = scene.alice.request(quoted)
    courier = scene.fuel.net.peers.holds("grocery")
    # The acceptor takes the hold and is never heard of again.
    await courier.submit(peer_pb2.HoldRequest(quote=request.quote, mandate=request.mandate))
    assert scene.grocery.balance(scene.account) == (900, 100)
    await scene.grocery.net.recovery.end_expired()
    await scene.world.settled()
    assert scene.grocery.balance(scene.account) == (900, 100)

    scene.world.clock.now_us += 30 * MINUTE
    line = scene.grocery.lines["clearing"]
    line.cut = Unavailable("The network is down.")
    await scene.grocery.net.recovery.end_expired()
    await asyncio.sleep(0.1)
    assert scene.grocery.balance(scene.account) == (900, 100), "silence frees nothing"

    line.cut = None
    await scene.grocery.net.recovery.end_expired()
    await scene.world.until(lambda: scene.grocery.balance(scene.account) == (1_000, 0))
    assert "release" in scene.grocery.kinds()


async def test_nothing_is_written_before_clearing_was_heard(scene: Scene) -> None:
    await scene.fuel.stop()
    scene.fuel.lines["clearing"].cut = Unavailable("The network is down.")
    scene.fuel.build()
    scene.fuel.run()
    with pytest.raises(NotHeard):
        await scene.alice.redeem(scene.alice.request(await scene.alice.quote()))
    scene.fuel.lines["clearing"].cut = None
    await scene.world.until(lambda: scene.fuel.net.gate.is_open)
    assert (await scene.alice.buy()).state == DELIVERED


# --- neighbours that lie --------------------------------------------------------------------


async def test_an_issuer_that_answers_with_another_hold_gets_the_redemption_aborted(
    scene: Scene,
) -> None:
    first = scene.alice.request(await scene.alice.quote())
    await scene.alice.redeem(first)
    courier = scene.fuel.net.peers.holds("grocery")
    old = await courier.submit(peer_pb2.HoldRequest(quote=first.quote, mandate=first.mandate))

    def swap(answer: peer_pb2.PlaceHoldsResponse) -> peer_pb2.PlaceHoldsResponse:
        answer.results[0].hold.CopyFrom(old)
        return answer

    scene.fuel.lines["grocery"].tamper["PlaceHolds"] = swap
    redemption = await scene.alice.buy()
    assert redemption.state == FAILED
    await scene.world.settled()
    assert scene.grocery.balance(scene.account) == (900, 0), "the real hold was released"


async def test_a_decision_on_another_redemption_delivers_nothing(scene: Scene) -> None:
    kept: list[clearing_pb2.ClaimResult] = []

    def keep(answer: clearing_pb2.ClaimResponse) -> clearing_pb2.ClaimResponse:
        kept.append(answer.results[0])
        return answer

    def swap(answer: clearing_pb2.ClaimResponse) -> clearing_pb2.ClaimResponse:
        answer.results[0].CopyFrom(kept[0])
        return answer

    line = scene.fuel.lines["clearing"]
    line.tamper["Claim"] = keep
    await scene.alice.buy()
    line.tamper["Claim"] = swap
    redemption = await scene.alice.buy()
    assert redemption.state == PENDING
    assert scene.fuel.alarms
    assert scene.fuel.kinds().count("delivery") == 1


async def test_a_withheld_entry_stops_the_feed_with_an_alarm(scene: Scene) -> None:
    def cut(answer: clearing_pb2.FollowResponse) -> clearing_pb2.FollowResponse:
        if len(answer.entries) > 0:
            del answer.entries[0]
        return answer

    scene.grocery.lines["clearing"].tamper["Follow"] = cut
    await scene.alice.buy()
    await scene.world.until(lambda: bool(scene.grocery.alarms))
    assert scene.grocery.balance(scene.account) == (900, 100)
    scene.grocery.lines["clearing"].tamper.clear()
    await scene.world.until(lambda: scene.grocery.balance(scene.account) == (900, 0))


async def test_an_opening_with_other_figures_is_not_believed(scene: Scene) -> None:
    def raise_price(answer: clearing_pb2.FollowResponse) -> clearing_pb2.FollowResponse:
        for opening in answer.openings.values():
            opening.amounts.amount.minor += 1
        return answer

    scene.grocery.lines["clearing"].tamper["Follow"] = raise_price
    await scene.alice.buy()
    await scene.world.until(lambda: bool(scene.grocery.alarms))
    assert scene.grocery.balance(scene.account) == (900, 100)


async def test_a_cut_or_shortened_own_log_is_noticed_before_the_first_signature(
    scene: Scene,
) -> None:
    await scene.alice.buy()
    await scene.world.settled()
    await scene.grocery.net.peers.pulse()
    await scene.grocery.stop()
    shorter = Node("grocery", scene.world, lines=scene.grocery.lines)
    shorter.init()
    shorter.build()
    with pytest.raises(ShorterLedger):
        await shorter.net.peers.pulse()
    with pytest.raises(ShorterLedger):
        await shorter.enrol("bob")
    await shorter.net.close()


# --- looking --------------------------------------------------------------------------------


def state(node: Node, redemption_id: str) -> str:
    (row,) = [row for row in node.rows("redemptions") if row["redemption_id"] == redemption_id]
    return str(row["state"])


def reported(scene: Scene) -> list[int | None]:
    """Where clearing knows a DELIVERY of each redemption."""
    world = scene.world.clearing_world
    with world.engine.connect() as connection:
        rows = connection.execute(select(clearing_tables.redemptions)).mappings().all()
    return [row["delivery_index"] for row in rows]


async def test_clearing_is_shown_every_link_it_misses(scene: Scene) -> None:
    """Clearing learns of the issuer's heads from the acceptor; the issuer links them by itself."""
    for _ in range(3):
        await scene.alice.buy()
    await scene.world.settled()

    def loose() -> int:
        table = clearing_tables.metadata.tables["loose_heads"]
        with scene.world.clearing_world.engine.connect() as connection:
            return len(connection.execute(select(table)).all())

    await scene.world.until(lambda: loose() == 0)
