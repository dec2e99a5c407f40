"""What managers operate a programme with, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sqlalchemy import Engine

from comity.v1 import member_pb2, office_pb2
from node.webhooks.sender import Reply
from tests.brand import START_US, programme
from tests.office_world import Office, euro


def test_everything_managers_do_is_kept_and_listed(engine: Engine) -> None:
    told: list[str] = []

    async def post(url: str, sent: Mapping[str, str], body: bytes) -> Reply:
        told.append(sent["webhook-id"])
        return Reply(status=204 if len(told) > 1 else 500)

    rules = programme(adjust_four_eyes_above=100, backdate_days=30, enrolment={"mode": "approved"})
    at = Office(rules, engine=engine, post=post)

    async def story() -> None:
        manager = at.manager()
        await manager.add_webhook(id="w", name="crm", url="https://crm.example/", from_index=0)
        asked = await at.member().enrol(
            id="enrol-alice", key=at.key("alice"), origin=at.origin, birth_date="1990-03-21"
        )
        assert [one.account async for one in manager.applications()] == [asked.account]
        await manager.admit_applicant(id="y", account=asked.account)
        codes = await manager.create_invitations(id="i", count=3)
        assert {one.code async for one in manager.invitations()} == set(codes)
        for points, state in ((60, "DONE"), (60, "WAITING")):
            done = await manager.propose_adjustment(
                id=state, account=asked.account, points=points, reason_code="GOODWILL"
            )
            assert office_pb2.AdjustmentState.Name(done.state).endswith(state)
        assert len([one async for one in manager.adjustments()]) == 2
        claimed = await at.member("alice").claim_purchase(
            id="c", purchase_id="sale", amount=euro(90), occurred_at_us=START_US
        )
        assert [one async for one in manager.claims()] == [claimed]
        await manager.confirm_claim(id="k", claim_id=claimed.claim_id, amount=euro(90))
        (mine,) = await at.member("alice").list_claims()
        assert mine.state == member_pb2.CLAIM_STATE_CONFIRMED
        await manager.import_members([office_pb2.MemberImport(reference="card", points=7)])
        await manager.set_burn_freeze(id="f", frozen=True, reason_code="FRAUD")
        assert (await manager.get_burn_freeze()).frozen
        found = await manager.export_member(asked.account)
        assert found == await at.member("alice").export()
        assert [one["birth_date"] for one in found["profiles"]] == ["1990-03-21"]
        assert len(found["earnings"]) == 1
        assert len(found["statements"]) == 2
        await asyncio.sleep(10)
        assert told == ["grocery/0", "grocery/0", "grocery/1", "grocery/2"]
        (shown,) = await manager.list_webhooks()
        assert (shown.next_index, shown.failures) == (3, 0)
        await at.staff().erase_member(id="e", account=asked.account)
        assert [one async for one in manager.claims()] == []

    at.run(story())
