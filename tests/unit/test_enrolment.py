"""Who may join, and how: openly, invited, approved, paid; old enough, from the right place."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from comity.client.connection import Server
from comity.client.session import Session, SessionChannel
from comity.errors import (
    AlreadyDecided,
    AlreadyUsed,
    Conflict,
    Forbidden,
    Malformed,
    NotEligible,
    NotFound,
    Refused,
    Unauthenticated,
)
from comity.keys import SigningKey
from comity.rpc.caller import Credentials
from comity.rpc.channel import Channel, LocalChannel
from comity.v1 import member_pb2
from comity.wallet.wallet import Wallet
from node import tables
from node.enrolment import age_on
from tests.brand import ORIGIN, programme, signing_key
from tests.office_world import Office, euro

MEMBER = member_pb2.ENROLMENT_STATE_MEMBER
APPROVAL = member_pb2.ENROLMENT_STATE_AWAITS_APPROVAL
PAYMENT = member_pb2.ENROLMENT_STATE_AWAITS_PAYMENT
REFUSED = member_pb2.ENROLMENT_STATE_REFUSED


def office(**rules: Any) -> Office:
    return Office(programme(enrolment=rules))


async def ask(at: Office, name: str = "alice", **said: str) -> member_pb2.EnrolResponse:
    return await at.member().enrol(
        id=f"enrol-{name}", key=signing_key(name), origin=ORIGIN, name=name, **said
    )


async def outcome(at: Office, name: str = "alice") -> member_pb2.GetEnrolmentResponse:
    return await at.member().get_enrolment(id=f"enrol-{name}", key=signing_key(name), origin=ORIGIN)


@pytest.mark.row("O15")
@pytest.mark.parametrize(
    ("born", "day", "age"),
    [
        ("2000-05-17", "2026-05-16", 25),
        ("2000-05-17", "2026-05-17", 26),
        ("2008-02-29", "2026-02-28", 17),
        ("2008-02-29", "2026-03-01", 18),
        ("2008-02-29", "2028-02-29", 20),
    ],
)
def test_age_is_counted_in_whole_years(born: str, day: str, age: int) -> None:
    assert age_on(date.fromisoformat(born), date.fromisoformat(day)) == age


@pytest.mark.row("O15")
def test_who_is_too_young_or_lives_elsewhere_is_told_so() -> None:
    at = office(minimum_age=18, regions=["NL", "BE"])

    async def story() -> None:
        # The brand's clock says 1 January 2026, an hour after midnight in Amsterdam.
        for said, reason, field in (
            ({"region": "NL"}, "age", "profile.birth_date"),
            ({"birth_date": "2008-01-02", "region": "NL"}, "age", "profile.birth_date"),
            ({"birth_date": "1990-01-01"}, "region", "profile.region"),
            ({"birth_date": "1990-01-01", "region": "DE"}, "region", "profile.region"),
        ):
            with pytest.raises(NotEligible) as caught:
                await ask(at, str(said), **said)
            assert caught.value.metadata == {"reason": reason}
            assert caught.value.field == field
            assert "2008" not in caught.value.message
        for never in ("1990-02-30", "2026-01-02"):
            with pytest.raises(Malformed) as wrong:
                await ask(at, "nobody", birth_date=never, region="NL")
            assert wrong.value.field == "profile.birth_date"
        assert (await ask(at, birth_date="2008-01-01", region="BE")).state == MEMBER
        (row,) = at.rows(tables.profiles)
        assert (row["birth_date"], row["region"]) == ("2008-01-01", "BE")
        assert at.node.ledger.head().size == 0, "nothing of a person is in the log"

    at.run(story())


@pytest.mark.row("O15")
def test_an_invitation_lets_one_person_in() -> None:
    at = office(mode="invited")

    async def story() -> None:
        manager = at.manager()
        first, second, third = await manager.create_invitations(id="i", count=3, valid_days=7)
        assert await manager.create_invitations(id="i", count=3, valid_days=7) == [
            first,
            second,
            third,
        ]
        with pytest.raises(NotEligible) as caught:
            await ask(at)
        assert caught.value.metadata == {"reason": "invitation"}
        await manager.revoke_invitation(id="r", code=second)
        for name, code in (("b", second), ("c", "0000-0000-0000-0000-0")):
            with pytest.raises(NotEligible, match="not good"):
                await ask(at, f"enrol {name}", invitation=code)
        with pytest.raises(Malformed) as typo:
            await ask(at, "carol", invitation="12")
        assert typo.value.field == "invitation"
        joined = await ask(at, "bob", invitation=first.lower())
        assert joined.state == MEMBER
        assert await ask(at, "bob", invitation=first) == joined, "a retry uses it once"
        with pytest.raises(NotEligible):
            await ask(at, "carla", invitation=first)
        with pytest.raises(AlreadyUsed):
            await manager.revoke_invitation(id="s", code=first)
        await asyncio.sleep(7 * 86_400)
        with pytest.raises(NotEligible):
            await ask(at, "dora", invitation=third)
        shown = {one.code: one async for one in at.manager().invitations()}
        assert shown[first].account == joined.account
        assert {shown[code].state for code in (first, second, third)} == {
            "USED",
            "REVOKED",
            "EXPIRED",
        }

    at.run(story())


@pytest.mark.row("O15")
def test_fifty_at_once_with_one_invitation_are_one_member() -> None:
    at = office(mode="invited")

    async def story() -> None:
        (code,) = await at.manager().create_invitations(id="i")
        found = await asyncio.gather(
            *(ask(at, f"member {number}", invitation=code) for number in range(50)),
            return_exceptions=True,
        )
        assert sum(isinstance(one, member_pb2.EnrolResponse) for one in found) == 1
        assert sum(isinstance(one, NotEligible) for one in found) == 49
        assert len(at.rows(tables.members)) == 1

    at.run(story())


@pytest.mark.row("O15")
def test_where_managers_approve_an_applicant_is_nobody_until_they_do() -> None:
    at = office(mode="approved")

    async def story() -> None:
        asked = await ask(at, birth_date="1990-03-21")
        assert asked.state == APPROVAL
        assert await ask(at, birth_date="1990-03-21") == asked
        with pytest.raises(Conflict):
            await at.member().enrol(id="another-id", key=signing_key("alice"), origin=ORIGIN)
        assert (await outcome(at)).state == APPROVAL
        with pytest.raises(Unauthenticated):
            await at.member("alice").get_balance()
        with pytest.raises(NotFound):
            await at.staff().adjust_points(
                id="a", account=asked.account, points=5, reason_code="goodwill"
            )
        (shown,) = [one async for one in at.manager().applications()]
        assert (shown.account, shown.profile.name) == (asked.account, "alice")
        with pytest.raises(Forbidden):
            await at.manager("front").admit_applicant(id="x", account=asked.account)
        with pytest.raises(Refused, match="not paid"):
            await at.manager("front").confirm_payment(
                id="p", account=asked.account, amount=euro(100), reference="till-1/9"
            )
        await at.manager().admit_applicant(id="y", account=asked.account)
        await at.manager().admit_applicant(id="y", account=asked.account)
        with pytest.raises(AlreadyDecided):
            await at.manager("deputy").refuse_applicant(
                id="z", account=asked.account, reason_code="DOUBT"
            )
        found = await outcome(at)
        assert (found.state, found.account) == (MEMBER, asked.account)
        assert (await at.member("alice").get_balance()).account == asked.account
        assert [one async for one in at.manager().applications()] == []

    at.run(story())


@pytest.mark.row("O15")
def test_who_is_refused_learns_why_and_nothing_said_of_the_person_stays() -> None:
    at = office(mode="approved")

    async def story() -> None:
        asked = await ask(at, birth_date="1990-03-21", region="NL")
        await at.manager().refuse_applicant(id="z", account=asked.account, reason_code="DOUBT")
        found = await outcome(at)
        assert (found.state, found.reason_code) == (REFUSED, "DOUBT")
        (row,) = at.rows(tables.metadata.tables["applications"])
        assert {row[name] for name in ("name", "email", "birth_date", "region")} == {""}
        again = await at.member().enrol(id="once-more", key=signing_key("alice"), origin=ORIGIN)
        assert again.state == APPROVAL, "another application is another matter"
        with pytest.raises(NotFound):
            await outcome(at, "bob")
        with pytest.raises(NotFound):
            await at.manager().admit_applicant(id="n", account="acc_" + "0" * 32)

    at.run(story())


@pytest.mark.row("O15")
def test_a_paid_membership_begins_when_a_till_confirms_the_payment() -> None:
    at = office(mode="paid")

    async def story() -> None:
        asked = await ask(at)
        assert asked.state == PAYMENT
        with pytest.raises(Forbidden):
            await at.manager("front").admit_applicant(id="x", account=asked.account)
        till = at.manager("front")
        with pytest.raises(Malformed) as caught:
            await till.confirm_payment(
                id="o", account=asked.account, amount=euro(-5), reference="till-1/8"
            )
        assert caught.value.field == "amount.minor"
        for _ in range(2):
            await till.confirm_payment(
                id="p", account=asked.account, amount=euro(2_500), reference="till-1/9"
            )
        assert (await outcome(at)).state == MEMBER
        assert await at.buy(asked.account, 10, "sale") == 10
        guest = await ask(at, "bob")
        await at.manager().admit_applicant(id="free", account=guest.account)
        assert (await outcome(at, "bob")).state == MEMBER, "a manager may waive the fee"

    at.run(story())


@pytest.mark.row("O15")
def test_an_erased_member_is_erased_from_the_applications_too() -> None:
    at = office(mode="approved")

    async def story() -> None:
        asked = await ask(at, birth_date="1990-03-21")
        await at.manager().admit_applicant(id="y", account=asked.account)
        await at.staff().erase_member(id="e", account=asked.account)
        assert at.rows(tables.metadata.tables["applications"]) == []
        assert at.rows(tables.profiles) == []

    at.run(story())


@pytest.mark.row("O15")
def test_a_wallet_waits_for_the_decision_and_may_apply_anew_after_a_refusal(tmp_path: Path) -> None:
    at = office(mode="approved", minimum_age=18)

    def connect(server: Server, key: SigningKey | None) -> Channel:
        local = LocalChannel(at.node.public, Credentials(address="wallet"))
        if key is None:
            return local
        return SessionChannel(local, Session(local, key=key, origin=ORIGIN, clock=at.clock))

    async def story() -> None:
        async with Wallet.create(tmp_path / "wallet", connect=connect, clock=at.clock) as wallet:
            known = await wallet.learn("grocery.example:443", roots_pem="roots")
            with pytest.raises(NotEligible):
                await wallet.enrol(known, birth_date="2015-01-01")
            brand = await wallet.enrol(wallet.store.brand("grocery"), birth_date="1990-01-01")
            assert (brand.awaits, brand.enrolled) == ("approval", False)
            first = brand.applied
            assert (await wallet.enrol(brand)).applied == first, "asking changes nothing"
            await at.manager().refuse_applicant(id="r", account=first, reason_code="DOUBT")
            with pytest.raises(NotEligible, match="DOUBT"):
                await wallet.enrol(wallet.store.brand("grocery"))
            brand = await wallet.enrol(wallet.store.brand("grocery"), birth_date="1990-01-01")
            assert brand.applied != first
            await at.manager().admit_applicant(id="a", account=brand.applied)
            joined = await wallet.enrol(wallet.store.brand("grocery"))
            assert (joined.account, joined.awaits) == (brand.applied, "")
            assert (await wallet.member(joined).get_balance()).account == joined.account

    at.run(story())
