"""What staff decide about single members: adjustments, freezes, claims, imports, exports."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from comity.client.session import key_name
from comity.clock import DAY, SECOND
from comity.errors import (
    AlreadyDecided,
    AlreadyUsed,
    ComityError,
    Conflict,
    Forbidden,
    InsufficientPoints,
    LimitExceeded,
    Malformed,
    NotFound,
    Refused,
    SpendingFrozen,
    Unauthenticated,
)
from comity.ledger import statements
from comity.log.checkpoint import CheckpointCache
from comity.log.note import VerifierKey
from comity.v1 import member_pb2, office_pb2
from comity.v1.merchant_pb2 import Purchase
from comity.verify.database import snapshot
from node import export
from node.commands import AddStaffKey, ConvertPoints
from node.event_tables import events
from node.operation_tables import claims
from node.programme import Programme
from node.tables import metadata
from tests import club
from tests.brand import ORIGIN, START_US, programme, signing_key
from tests.office_world import Office, euro

WAITING = office_pb2.ADJUSTMENT_STATE_WAITING
DONE = office_pb2.ADJUSTMENT_STATE_DONE


# --- four eyes --------------------------------------------------------------------------------


async def propose(
    at: Office, account: str, points: int, *, name: str = "a", by: str = "owner"
) -> office_pb2.ProposeAdjustmentResponse:
    return await at.manager(by).propose_adjustment(
        id=name, account=account, points=points, reason_code="GOODWILL"
    )


async def available(at: Office, name: str = "alice") -> int:
    (one,) = (await at.member(name).get_balance()).balances
    return int(one.available)


@pytest.mark.row("O7")
def test_a_large_adjustment_waits_for_another_manager() -> None:
    at = Office(programme(adjust_four_eyes_above=100))

    async def story() -> None:
        alice = await at.enrol()
        small = await propose(at, alice, 100, name="small")
        assert (small.state, await available(at)) == (DONE, 100)
        asked = await propose(at, alice, 101)
        assert asked.state == WAITING
        assert await propose(at, alice, 101) == asked, "a retry asks once"
        with pytest.raises(LimitExceeded, match="second manager"):
            await at.staff().adjust_points(
                id="old", account=alice, points=101, reason_code="GOODWILL"
            )
        assert await available(at) == 100, "nothing has happened yet"
        with pytest.raises(Forbidden):
            await at.manager().approve_adjustment(id="self", adjustment_id=asked.adjustment_id)
        with pytest.raises(Forbidden):
            await at.manager("front").approve_adjustment(
                id="till", adjustment_id=asked.adjustment_id
            )
        index = await at.manager("deputy").approve_adjustment(
            id="b", adjustment_id=asked.adjustment_id
        )
        again = await at.manager("deputy").approve_adjustment(
            id="b", adjustment_id=asked.adjustment_id
        )
        assert index == again
        assert await available(at) == 201
        with pytest.raises(AlreadyDecided):
            await at.manager("deputy").reject_adjustment(id="c", adjustment_id=asked.adjustment_id)
        listed = [one async for one in at.manager().adjustments()]
        assert {(one.points, one.state, one.reason_code) for one in listed} == {
            (100, DONE, "GOODWILL"),
            (101, DONE, "GOODWILL"),
        }
        assert {one.decided_by for one in listed} == {"", "manager:deputy"}

    at.run(story())


def test_many_small_adjustments_in_a_day_are_a_large_one() -> None:
    at = Office(programme(adjust_four_eyes_above=100))

    async def story() -> None:
        alice = await at.enrol()
        assert (await propose(at, alice, 60, name="1")).state == DONE
        assert (await propose(at, alice, 60, name="2")).state == WAITING
        assert (await propose(at, alice, -41, name="3", by="deputy")).state == WAITING
        assert (await propose(at, alice, 40, name="4")).state == DONE
        await asyncio.sleep(DAY // SECOND)
        assert (await propose(at, alice, 60, name="5")).state == DONE
        assert await available(at) == 160

    at.run(story())


def test_a_manager_made_for_the_occasion_does_not_count_as_another() -> None:
    at = Office(programme(adjust_four_eyes_above=100))

    async def story() -> None:
        alice = await at.enrol()
        asked = await propose(at, alice, 500)
        await asyncio.sleep(1)
        for name, key in (("straw", "straw"), ("owner", "second-key")):
            await at.node.queue.submit(
                AddStaffKey(
                    caller="",
                    id=f"add-{key}",
                    role="manager",
                    name=name,
                    public_key=signing_key(key).public.raw,
                )
            )
            with pytest.raises(Forbidden):
                await at.manager(key).approve_adjustment(id=key, adjustment_id=asked.adjustment_id)
        assert await available(at) == 0

    at.run(story())


def test_what_nobody_approves_in_time_ends_and_what_is_rejected_stays_so() -> None:
    at = Office(programme(adjust_four_eyes_above=100))

    async def story() -> None:
        alice = await at.enrol()
        late = await propose(at, alice, 500, name="late")
        no = await propose(at, alice, 500, name="no")
        await at.manager().reject_adjustment(id="r", adjustment_id=no.adjustment_id)
        with pytest.raises(AlreadyDecided):
            await at.manager("deputy").approve_adjustment(id="x", adjustment_id=no.adjustment_id)
        assert len([one async for one in at.manager().adjustments(waiting=True)]) == 1
        await asyncio.sleep(7 * DAY // SECOND)
        with pytest.raises(Refused, match="in time"):
            await at.manager("deputy").approve_adjustment(id="y", adjustment_id=late.adjustment_id)
        assert [one async for one in at.manager().adjustments(waiting=True)] == []
        states = {one.adjustment_id: one.state async for one in at.manager().adjustments()}
        assert states[late.adjustment_id] == office_pb2.ADJUSTMENT_STATE_EXPIRED
        with pytest.raises(NotFound):
            await at.manager().approve_adjustment(id="z", adjustment_id="adj_none")
        assert await available(at) == 0

    at.run(story())


def test_two_managers_approving_at_once_give_the_points_once() -> None:
    at = Office(programme(adjust_four_eyes_above=100))

    async def story() -> None:
        alice = await at.enrol()
        asked = await propose(at, alice, 500)
        found = await asyncio.gather(
            *(
                at.manager("deputy").approve_adjustment(
                    id=f"n{number}", adjustment_id=asked.adjustment_id
                )
                for number in range(20)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(one, int) for one in found) == 1
        assert await available(at) == 500
        taken = await propose(at, alice, -600, name="take")
        with pytest.raises(InsufficientPoints):
            await at.manager("deputy").approve_adjustment(
                id="take", adjustment_id=taken.adjustment_id
            )

    at.run(story())


def test_an_import_is_no_way_around_the_second_manager() -> None:
    at = Office(programme(adjust_four_eyes_above=100))

    async def story() -> None:
        alice = await at.enrol()
        cards = [
            office_pb2.MemberImport(reference="new", points=100),
            office_pb2.MemberImport(reference="much", points=101),
            office_pb2.MemberImport(reference="known", account=alice, points=60),
            office_pb2.MemberImport(reference="again", account=alice, points=60),
        ]
        found = await at.manager().import_members(cards)
        assert [one.failure.code for one in found] == ["", "LIMIT_EXCEEDED", "", "LIMIT_EXCEEDED"]
        assert not found[1].account, "nobody was made either"
        assert await available(at) == 60
        assert (await propose(at, alice, 41)).state == WAITING

    at.run(story())


# --- claims -----------------------------------------------------------------------------------


async def claim(
    at: Office, purchase_id: str = "sale-1", *, name: str = "c", age_days: int = 1, minor: int = 250
) -> member_pb2.PurchaseClaim:
    return await at.member("alice").claim_purchase(
        id=name,
        purchase_id=purchase_id,
        amount=euro(minor),
        occurred_at_us=START_US - age_days * DAY,
    )


def test_a_missed_purchase_earns_once_a_till_has_found_it_in_its_sales() -> None:
    at = Office(programme(backdate_days=30))

    async def story() -> None:
        await at.enrol()
        claimed = await claim(at)
        assert await claim(at) == claimed
        assert claimed.state == member_pb2.CLAIM_STATE_WAITING
        (shown,) = [one async for one in at.manager("front").claims()]
        assert shown == claimed
        till = at.manager("front")
        points = await till.confirm_claim(id="k", claim_id=claimed.claim_id, amount=euro(200))
        again = await till.confirm_claim(id="k", claim_id=claimed.claim_id, amount=euro(200))
        assert points == again == 200, "the brand's own sales count, not the claim"
        assert await available(at) == 200
        with pytest.raises(AlreadyDecided):
            await till.reject_claim(id="l", claim_id=claimed.claim_id, reason_code="NO_SALE")
        (mine,) = await at.member("alice").list_claims()
        assert mine.state == member_pb2.CLAIM_STATE_CONFIRMED
        with pytest.raises(AlreadyUsed):
            await claim(at, name="d")

    at.run(story())


def test_one_sale_never_earns_twice_whoever_tells_of_it_first() -> None:
    at = Office(programme(backdate_days=30))

    async def story() -> None:
        alice, bob = await at.enrol(), await at.enrol("bob")
        first, second = await claim(at), await claim(at, "sale-2", name="d")
        # A till records the one for another member; the other is recorded after it was confirmed.
        await at.buy(bob, 250, "sale-1")
        with pytest.raises(Conflict):
            await at.manager().confirm_claim(id="k", claim_id=first.claim_id, amount=euro(250))
        await at.manager().confirm_claim(id="m", claim_id=second.claim_id, amount=euro(250))
        for account in (alice, bob):
            (result,) = await at.staff().record_purchases(
                [Purchase(purchase_id="sale-2", account=account, amount=euro(250))]
            )
            assert result.failure.code == "CONFLICT"
        assert (await available(at), await available(at, "bob")) == (250, 250)
        assert len(at.rows(events)) == 2
        await at.manager().reject_claim(id="n", claim_id=first.claim_id, reason_code="OTHERS")
        states = {
            one.purchase_id: one.reason_code for one in await at.member("alice").list_claims()
        }
        assert states == {"sale-1": "OTHERS", "sale-2": ""}

    at.run(story())


def test_a_claim_is_for_a_recent_purchase_of_ones_own_and_not_for_many() -> None:
    at = Office(programme(backdate_days=30))

    async def story() -> None:
        await at.enrol()
        with pytest.raises(LimitExceeded, match="30 days"):
            await claim(at, age_days=31)
        with pytest.raises(LimitExceeded, match="future"):
            await claim(at, name="f", age_days=-1)
        with pytest.raises(Malformed):
            await claim(at, name="z", minor=0)
        await claim(at, name="one")
        with pytest.raises(Conflict):
            await claim(at, name="two")
        for number in range(19):
            await claim(at, f"other-{number}", name=f"n{number}")
        with pytest.raises(LimitExceeded, match="At most"):
            await claim(at, "too-many", name="too-many")
        with pytest.raises(NotFound):
            await at.manager().confirm_claim(id="k", claim_id="clm_none", amount=euro(1))

    at.run(story())


# --- import -----------------------------------------------------------------------------------


def test_members_of_an_older_programme_come_with_what_they_had() -> None:
    at = Office(programme())

    async def story() -> None:
        old = [
            office_pb2.MemberImport(
                reference="card-1",
                profile=member_pb2.Profile(name="Ada", birth_date="1990-03-21"),
                points=700,
            ),
            office_pb2.MemberImport(reference="card-2", points=0),
            office_pb2.MemberImport(reference="card-3", account="acc_" + "0" * 32, points=5),
            office_pb2.MemberImport(
                reference="card-4", profile=member_pb2.Profile(birth_date="1990-02-30")
            ),
        ]
        first, second, third, fourth = await at.manager().import_members(old)
        assert await at.manager().import_members(old) == [first, second, third, fourth]
        assert third.failure.code == "NOT_FOUND"
        assert (fourth.failure.code, fourth.failure.field) == ("MALFORMED", "profile.birth_date")
        with pytest.raises(Unauthenticated):
            await at.member("alice").get_balance()
        joined = await at.member().enrol(
            id="enrol-alice",
            key=signing_key("alice"),
            origin=ORIGIN,
            invitation=first.invitation.lower(),
        )
        assert joined.account == first.account
        assert await available(at) == 700
        (entry,) = [one async for one in at.member("alice").activity()]
        assert (entry.entry, entry.reference) == ("adjustment", "migration")
        other = await at.member().enrol(
            id="enrol-mallory",
            key=signing_key("mallory"),
            origin=ORIGIN,
            invitation=second.invitation,
        )
        assert other.account == second.account
        with pytest.raises(ComityError):
            await at.member().enrol(
                id="enrol-again", key=signing_key("eve"), origin=ORIGIN, invitation="000"
            )
        again = await at.member().enrol(
            id="enrol-thief",
            key=signing_key("thief"),
            origin=ORIGIN,
            invitation=first.invitation,
        )
        assert again.account not in (first.account, second.account), "a code opens one account once"

    at.run(story())


# --- export and erasure -----------------------------------------------------------------------


def test_every_table_about_a_member_is_a_section_of_the_export() -> None:
    about = {name for name, table in metadata.tables.items() if "account" in table.c}
    assert set(export.sections()) == about | {"earnings", "statements"}


def test_a_member_takes_along_everything_and_after_erasure_every_proof_still_holds() -> None:
    at = Office(programme(backdate_days=30))

    async def story() -> None:
        alice, bob = await at.enrol(), await at.enrol("bob")
        for number in range(220):
            await at.buy(alice if number % 4 else bob, 10 + number, f"sale-{number}")
        await claim(at, "sale-x")
        await at.staff().adjust_points(id="a", account=alice, points=-7, reason_code="GOODWILL")
        mine = await at.member("alice").export()
        assert mine == await at.manager().export_member(alice)
        assert list(mine) == export.sections()
        assert [one["name"] for one in mine["profiles"]] == ["alice"]
        assert len(mine["events"]) == 165
        assert len(mine["claims"]) == 1
        assert len(mine["statements"]) == 166
        assert bob not in json.dumps(mine), "nothing of anybody else"
        with pytest.raises(Malformed):
            await at.member("alice")._stub.ExportMyData(
                member_pb2.ExportMyDataRequest(cursor="x/0")
            )
        await at.staff().erase_member(id="e", account=alice)
        with pytest.raises(NotFound):
            await at.manager().export_member(alice)
        assert at.rows(claims) == []
        assert "alice" not in str([at.rows(metadata.tables[name]) for name in ("profiles",)])
        verifier, cache = VerifierKey.parse(at.vkey), CheckpointCache()
        for one in mine["statements"]:
            shown = statements.from_tlog_proof(one["statement"])
            proven = statements.verify(shown, origin=ORIGIN, verifier=verifier, cache=cache)
            assert proven.citation.index == one["index"]
            assert all(leg["account"] == alice for leg in one["legs"])
        with at.engine.connect() as connection:
            report = snapshot(connection)
        assert report.passed, [row for row in report.checks if not row.passed]

    at.run(story())


# --- the freeze -------------------------------------------------------------------------------


def test_the_freeze_is_known_with_its_reason() -> None:
    at = Office(programme())

    async def story() -> None:
        assert not (await at.manager().get_burn_freeze()).frozen
        for _ in range(2):
            await at.manager().set_burn_freeze(id="f", frozen=True, reason_code="FRAUD")
        shown = await at.manager().get_burn_freeze()
        assert (shown.frozen, shown.by_staff, shown.by_programme) == (True, True, False)
        assert (shown.reason_code, shown.changed_by) == ("FRAUD", "manager:owner")
        alice = await at.enrol()
        assert await at.buy(alice, 10, "sale") == 10, "earning goes on"
        await at.manager("deputy").set_burn_freeze(id="g", frozen=False, reason_code="OVER")
        assert not (await at.manager().get_burn_freeze()).frozen

    at.run(story())
    frozen: Any = Office(programme(burn_frozen=True))

    async def stated() -> None:
        await frozen.manager().set_burn_freeze(id="g", frozen=False, reason_code="OVER")
        shown = await frozen.manager().get_burn_freeze()
        assert (shown.frozen, shown.by_programme, shown.by_staff) == (True, True, False)

    frozen.run(stated())


def test_a_frozen_programme_converts_nothing() -> None:
    at = Office(Programme.model_validate(club.content()))

    async def story() -> None:
        alice = await at.enrol()
        await at.buy(alice, 100_000, "sale")

        def convert(name: str) -> ConvertPoints:
            return ConvertPoints(
                caller="member:alice",
                id=name,
                account=alice,
                acting_key=key_name(signing_key("alice")),
                conversion="growth-to-points",
                points=10,
            )

        await at.manager().set_burn_freeze(id="f", frozen=True, reason_code="FRAUD")
        with pytest.raises(SpendingFrozen):
            await at.node.queue.submit(convert("one"))
        await at.manager().set_burn_freeze(id="g", frozen=False, reason_code="OVER")
        await at.node.queue.submit(convert("two"))

    at.run(story())
