"""What a brand's own systems are told: everything, in order, signed, until they take it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from comity.clock import DAY, HOUR, MINUTE, SECOND
from comity.errors import Conflict, LimitExceeded, Malformed, NotFound
from comity.ledger import entries
from comity.v1 import entry_pb2, office_pb2
from node.programme import Programme
from node.webhooks.endpoints import MAX_ENDPOINTS, check_url
from node.webhooks.sender import GIVE_UP_US, Reply, pause_us
from node.webhooks.signing import EndpointKeys, headers
from tests import club
from tests.office_world import SECRET, Office

URL = "https://crm.example/loyalty"


# --- a receiver, written from the specification alone ----------------------------------------


@dataclass
class Receiver:
    """An endpoint of the brand's own; `answers` are the statuses it gives, then 204."""

    keys: office_pb2.WebhookKeys = field(default_factory=office_pb2.WebhookKeys)
    answers: list[Reply] = field(default_factory=list)
    always: int = 204
    attempts: list[tuple[int, str]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    async def __call__(self, url: str, sent: Mapping[str, str], body: bytes) -> Reply:
        await asyncio.sleep(0.01)
        at = int(sent["webhook-timestamp"])
        verify(self.keys, sent, body)
        self.attempts.append((at, sent["webhook-id"]))
        reply = self.answers.pop(0) if self.answers else Reply(status=self.always)
        if reply.taken:
            self.taken.append(json.loads(body))
            self.ids.append(sent["webhook-id"])
        return reply


def verify(keys: office_pb2.WebhookKeys, sent: Mapping[str, str], body: bytes) -> None:
    """Both signatures, as a receiver checks them."""
    content = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
    signatures = sent["webhook-signature"].split()
    secret = base64.b64decode(keys.secret.removeprefix("whsec_"))
    mac = hmac.new(secret, content, hashlib.sha256).digest()
    assert f"v1,{base64.b64encode(mac).decode()}" in signatures
    public = Ed25519PublicKey.from_public_bytes(
        base64.b64decode(keys.public_key.removeprefix("whpk_"))
    )
    found = [one.removeprefix("v1a,") for one in signatures if one.startswith("v1a,")]
    assert any(verifies(public, base64.b64decode(one), content) for one in found)


def verifies(public: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    try:
        public.verify(signature, content)
    except InvalidSignature:
        return False
    return True


# --- signatures -------------------------------------------------------------------------------


def test_the_published_example_of_a_signature_is_ours() -> None:
    # The test vector of the reference libraries (standard-webhooks/standard-webhooks).
    keys = EndpointKeys(
        secret=base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        signing=EndpointKeys.of(SECRET, "crm", bytes(16)).signing,
    )
    made = headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        at_us=1_614_265_330 * SECOND,
        keys=[keys],
    )
    assert made["webhook-timestamp"] == "1614265330"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert made["webhook-signature"].split()[0] == expected


def test_no_two_endpoints_share_a_key_and_a_rotation_changes_it() -> None:
    made = {
        (keys.secret, keys.signing.public.raw)
        for name in ("crm", "mail")
        for salt in (bytes(16), bytes(15) + b"x")
        for keys in (EndpointKeys.of(SECRET, name, salt),)
    }
    assert len(made) == 4
    assert "whsec" not in repr(EndpointKeys.of(SECRET, "crm", bytes(16)))


def test_an_id_with_a_full_stop_is_never_signed() -> None:
    with pytest.raises(ValueError, match="full stop"):
        headers("a.b", b"", at_us=0, keys=())


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example/",
        "http://10.0.0.1/",
        "ftp://crm.example/",
        "https://",
        "https://user:word@crm.example/",
        "https://crm.example/#part",
        "https://crm.example:port/",
        "https://crm.example:0/",
        "https://crm.example/a b",
        "https://[::1",
        "crm.example",
        "http://localhost.example/",
        "https://crm.example/\n",
    ],
)
def test_messages_are_sent_by_https_to_a_plain_url_only(url: str) -> None:
    with pytest.raises(Malformed) as caught:
        check_url(url)
    assert caught.value.field == "url"


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example:8443/a?b=c",
        "http://localhost:80/",
        "http://127.0.0.9/",
        "http://[::1]/",
    ],
)
def test_on_the_nodes_own_machine_http_will_do(url: str) -> None:
    check_url(url)


@given(st.integers(1, 10**6), st.integers(0, 255))
def test_pauses_grow_to_an_hour_and_a_quarter_at_most(failures: int, jitter: int) -> None:
    pause = pause_us(failures, jitter)
    assert SECOND <= pause <= HOUR + HOUR // 4
    assert pause_us(failures + 1, jitter) >= pause


# --- sending ----------------------------------------------------------------------------------


def test_every_change_is_told_once_in_order_and_can_be_checked_against_the_log() -> None:
    receiver = Receiver()
    office = Office(post=receiver)

    async def story() -> None:
        receiver.keys = await office.manager().add_webhook(id="w", name="crm", url=URL)
        alice, bob = await office.enrol(), await office.enrol("bob")
        for number in range(250):
            await office.buy(alice if number % 2 else bob, 10 + number, f"sale-{number}")
        await office.staff().adjust_points(id="a", account=alice, points=-5, reason_code="goodwill")
        await asyncio.sleep(30)
        assert receiver.ids == [f"grocery/{index}" for index in range(251)]
        assert len(set(receiver.ids)) == len(receiver.attempts)
        first, last = receiver.taken[0], receiver.taken[-1]
        assert first["type"] == "points.accrual"
        assert last["type"] == "points.adjustment"
        assert last["data"]["changes"][0]["account"] == alice
        assert last["data"]["changes"][0]["part"] == "available"
        assert last["data"]["changes"][0]["points"] == -5
        assert_opens_the_log(office, receiver.taken)
        (shown,) = await office.manager().list_webhooks()
        assert (shown.next_index, shown.log_size, shown.failures) == (251, 251, 0)
        assert not shown.keys.secret, "the secret is shown to whoever made it, once"
        assert shown.keys.public_key == receiver.keys.public_key

    office.run(story())


def assert_opens_the_log(office: Office, told: list[dict[str, Any]]) -> None:
    """Each change that was told opens a leg of its entry."""
    for message in told:
        stored = office.node.ledger.entry(message["data"]["index"])
        legs = {bytes(leg.account): leg for leg in entries.legs(entries.decode(stored.body))}
        opening = entry_pb2.EntryOpening.FromString(stored.opening or b"")
        for change in message["data"]["changes"]:
            salt = base64.b64decode(change["salt"])
            (opened,) = [one for one in opening.legs if one.salt == salt]
            assert opened.account == change["account"]
            assert any(leg.points == change["points"] for leg in legs.values())


def test_an_endpoint_hears_only_of_what_it_asked_for() -> None:
    receiver = Receiver()
    office = Office(post=receiver)

    async def story() -> None:
        receiver.keys = await office.manager().add_webhook(
            id="w", name="crm", url=URL, kinds=["points.adjustment", "marks"]
        )
        alice = await office.enrol()
        await office.buy(alice, 10, "sale")
        await office.staff().adjust_points(id="a", account=alice, points=5, reason_code="goodwill")
        await office.buy(alice, 10, "sale-2")
        await asyncio.sleep(5)
        assert [one["type"] for one in receiver.taken] == ["points.adjustment"]
        (shown,) = await office.manager().list_webhooks()
        assert shown.next_index == 3, "what nobody wants to hear is passed over"

    office.run(story())


def test_nothing_is_lost_and_nothing_overtakes_while_an_endpoint_fails() -> None:
    refusals = [Reply(status=0, problem="away"), *(Reply(status=500) for _ in range(4))]
    receiver = Receiver(answers=[Reply(status=204), *refusals])
    office = Office(post=receiver)

    async def story() -> None:
        receiver.keys = await office.manager().add_webhook(id="w", name="crm", url=URL)
        alice = await office.enrol()
        for number in range(5):
            await office.buy(alice, 10, f"sale-{number}")
        await asyncio.sleep(10)
        (shown,) = await office.manager().list_webhooks()
        assert shown.state == office_pb2.WEBHOOK_STATE_ACTIVE
        assert shown.last_error == "answered with status 500"
        assert shown.failures >= 3
        assert shown.next_index == 1
        await asyncio.sleep(60)
        assert receiver.ids == [f"grocery/{index}" for index in range(5)]
        again = [(at, name) for at, name in receiver.attempts if name == "grocery/1"]
        assert len(again) == 6, "the id stays, the timestamp is the attempt's"
        pauses = [after[0] - before[0] for before, after in pairwise(again)]
        assert pauses == sorted(pauses)
        assert pauses[-1] >= 16
        (shown,) = await office.manager().list_webhooks()
        assert (shown.failures, shown.last_error, shown.next_index) == (0, "", 5)

    office.run(story())


def test_an_endpoint_that_asks_for_time_gets_it() -> None:
    receiver = Receiver(answers=[Reply(status=429, retry_after_us=10 * MINUTE)])
    office = Office(post=receiver)

    async def story() -> None:
        receiver.keys = await office.manager().add_webhook(id="w", name="crm", url=URL)
        await office.buy(await office.enrol(), 10, "sale")
        await asyncio.sleep(900)
        first, second = (at for at, _ in receiver.attempts)
        assert 600 <= second - first <= 602

    office.run(story())


def test_one_that_is_gone_is_left_alone_until_a_manager_starts_it_again() -> None:
    receiver = Receiver(answers=[Reply(status=410)])
    office = Office(post=receiver)

    async def story() -> None:
        manager = office.manager()
        receiver.keys = await manager.add_webhook(id="w", name="crm", url=URL)
        alice = await office.enrol()
        await office.buy(alice, 10, "sale")
        await asyncio.sleep(5)
        await office.buy(alice, 10, "sale-2")
        await asyncio.sleep(DAY // SECOND)
        (shown,) = await office.manager().list_webhooks()
        assert shown.state == office_pb2.WEBHOOK_STATE_FAILED
        assert shown.last_error == "answered with status 410"
        assert len(receiver.attempts) == 1
        await office.manager().set_webhook(id="s", name="crm")
        await asyncio.sleep(5)
        assert receiver.ids == ["grocery/0", "grocery/1"]

    office.run(story())


def test_one_that_takes_nothing_for_days_is_given_up_and_shown() -> None:
    receiver = Receiver(always=503)
    office = Office(post=receiver)

    async def story() -> None:
        receiver.keys = await office.manager().add_webhook(id="w", name="crm", url=URL)
        await office.buy(await office.enrol(), 10, "sale")
        await asyncio.sleep(GIVE_UP_US // SECOND + 7_200)
        (shown,) = await office.manager().list_webhooks()
        assert shown.state == office_pb2.WEBHOOK_STATE_FAILED
        tried = len(receiver.attempts)
        assert 60 < tried < 120, "about once an hour"
        await asyncio.sleep(DAY // SECOND)
        assert len(receiver.attempts) == tried

    office.run(story())


def test_after_a_crash_what_was_not_written_down_is_sent_again_with_its_old_id() -> None:
    receiver = Receiver()
    office = Office(post=receiver)

    async def story() -> None:
        receiver.keys = await office.manager().add_webhook(id="w", name="crm", url=URL)
        alice = await office.enrol()
        for number in range(300):
            await office.buy(alice, 10, f"sale-{number}")
        await asyncio.sleep(1.7)
        before = len(receiver.ids)
        assert 0 < before < 300
        await office.restart()
        await asyncio.sleep(30)
        expected = [f"grocery/{index}" for index in range(300)]
        assert list(dict.fromkeys(receiver.ids)) == expected
        assert len(receiver.ids) - 300 <= 100

    office.run(story())


def test_two_endpoints_do_not_wait_for_each_other() -> None:
    receivers = {"https://a.example/": Receiver(always=500), "https://b.example/": Receiver()}

    async def post(url: str, sent: Mapping[str, str], body: bytes) -> Reply:
        return await receivers[url](url, sent, body)

    office = Office(post=post)

    async def story() -> None:
        for number, (url, receiver) in enumerate(receivers.items()):
            receiver.keys = await office.manager().add_webhook(
                id=f"w{number}", name=f"e{number}", url=url
            )
        await office.buy(await office.enrol(), 10, "sale")
        await asyncio.sleep(5)
        assert receivers["https://b.example/"].ids == ["grocery/0"]
        assert receivers["https://a.example/"].ids == []

    office.run(story())


def test_a_paused_endpoint_hears_nothing_and_may_be_told_again_from_an_earlier_entry() -> None:
    receiver = Receiver()
    office = Office(post=receiver)

    async def story() -> None:
        receiver.keys = await office.manager().add_webhook(id="w", name="crm", url=URL)
        alice = await office.enrol()
        await office.buy(alice, 10, "one")
        await asyncio.sleep(2)
        await office.manager().set_webhook(id="p", name="crm", paused=True)
        await asyncio.sleep(2)
        await office.buy(alice, 10, "two")
        await asyncio.sleep(20)
        assert receiver.ids == ["grocery/0"]
        await office.manager().set_webhook(id="r", name="crm", from_index=0)
        await asyncio.sleep(5)
        assert receiver.ids == ["grocery/0", "grocery/0", "grocery/1"]

    office.run(story())


def test_for_a_day_after_a_rotation_both_keys_sign() -> None:
    receiver = Receiver()
    office = Office(post=receiver)

    async def story() -> None:
        old = receiver.keys = await office.manager().add_webhook(id="w", name="crm", url=URL)
        alice = await office.enrol()
        new = await office.manager().rotate_webhook(id="r", name="crm")
        assert new.secret != old.secret
        again = await office.manager().rotate_webhook(id="r", name="crm")
        assert again == new, "a repeated rotation rotates once"
        await office.buy(alice, 10, "one")
        await asyncio.sleep(5)
        assert len(receiver.taken) == 1, "the old secret still verifies"
        receiver.keys = new
        await asyncio.sleep(DAY // SECOND)
        await office.buy(alice, 10, "two")
        await asyncio.sleep(5)
        assert len(receiver.taken) == 2
        (_, second) = receiver.attempts
        assert second[1] == "grocery/1"

    office.run(story())


def test_an_entry_with_many_changes_makes_several_small_messages() -> None:
    receiver = Receiver()
    office = Office(post=receiver)

    async def story() -> None:
        accounts = [await office.enrol(f"member {number}") for number in range(80)]
        for account in accounts:
            await office.buy(account, 10, f"sale-{account}")
        size = office.node.ledger.head().size
        receiver.keys = await office.manager().add_webhook(
            id="w", name="crm", url=URL, kinds=["points.expiry"]
        )
        for account in accounts:
            await office.staff().erase_member(id=account, account=account)
        await asyncio.sleep(20)
        assert len(receiver.taken) == 80
        assert receiver.ids[0] == f"grocery/{size}"
        assert all(len(json.dumps(one)) < 20_000 for one in receiver.taken)

    office.run(story())


def test_what_managers_get_wrong_is_named() -> None:
    office = Office(post=Receiver())

    async def story() -> None:
        manager = office.manager()
        await manager.add_webhook(id="w", name="crm", url=URL)
        with pytest.raises(Conflict):
            await manager.add_webhook(id="x", name="crm", url=URL)
        with pytest.raises(Malformed, match="https"):
            await manager.add_webhook(id="y", name="mail", url="http://crm.example/")
        with pytest.raises(Malformed, match="entries"):
            await manager.add_webhook(id="z", name="mail", url=URL, from_index=1_000)
        for ask in (
            manager.set_webhook(id="a", name="mail"),
            manager.rotate_webhook(id="b", name="mail"),
            manager.remove_webhook(id="c", name="mail"),
        ):
            with pytest.raises(NotFound):
                await ask
        for number in range(1, MAX_ENDPOINTS):
            await manager.add_webhook(id=f"n{number}", name=f"n{number}", url=URL)
        with pytest.raises(LimitExceeded):
            await manager.add_webhook(id="more", name="more", url=URL)
        await manager.remove_webhook(id="gone", name="crm")
        await manager.remove_webhook(id="gone", name="crm")
        assert len(await manager.list_webhooks()) == MAX_ENDPOINTS - 1

    office.run(story())


@pytest.mark.row("T10")
def test_a_change_of_level_and_of_badges_is_told_with_its_cause() -> None:
    receiver = Receiver()
    office = Office(Programme.model_validate(club.content()), post=receiver)

    async def story() -> None:
        receiver.keys = await office.manager().add_webhook(
            id="w", name="crm", url=URL, kinds=["marks"]
        )
        alice = await office.enrol()
        await office.buy(alice, 100_000, "sale")
        await asyncio.sleep(5)
        told = [one for message in receiver.taken for one in message["data"]["changes"]]
        assert {message["type"] for message in receiver.taken} == {"marks"}
        assert {one["account"] for one in told} == {alice}
        (level,) = [one for one in told if one["mark"] == "tier" and one["cause"] == "reached"]
        assert level["given"]
        assert office.by.tiers is not None
        assert level["name"] in {one.id for one in office.by.tiers.levels}
        shown = office.node.ledger.entry(receiver.taken[-1]["data"]["index"])
        assert shown.kind == "marks"

    office.run(story())
