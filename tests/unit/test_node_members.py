"""Members, their devices, and how they are forgotten."""

from __future__ import annotations

import pytest

from comity.client.member import enrol_message
from comity.errors import Conflict, Malformed, MemberLocked, NotFound, Refused, Unauthenticated
from comity.ledger.command import Answer
from comity.rpc.caller import CallerKind
from comity.v1 import member_pb2
from node.commands import (
    AddDevice,
    AddStaffKey,
    Enrol,
    EraseMember,
    LockMember,
    RevokeDevice,
)
from node.members import check_possession, key_name, require_unlocked
from tests.brand import ORIGIN, Brand, programme, signing_key


def key_of(name: str) -> str:
    return key_name(signing_key(name).public.raw)


def add(brand: Brand, account: str, name: str, *, acting: str = "alice") -> AddDevice:
    return AddDevice(
        caller=f"member:{account}",
        id=brand.new_id(),
        account=account,
        acting_key=key_of(acting),
        public_key=signing_key(name).public.raw,
    )


def revoke(brand: Brand, account: str, name: str, *, acting: str = "alice") -> RevokeDevice:
    return RevokeDevice(
        caller=f"member:{account}",
        id=brand.new_id(),
        account=account,
        acting_key=key_of(acting),
        key_id=key_of(name),
    )


def erase(brand: Brand, account: str) -> None:
    brand.do(EraseMember(caller="manager:ann", id=brand.new_id(), account=account))


def test_a_device_proves_that_it_holds_its_key_for_this_brand_and_id() -> None:
    key = signing_key("alice")
    signature = key.sign(enrol_message(ORIGIN, "enrol-1"))
    check_possession(ORIGIN, id_="enrol-1", public_key=key.public.raw, signature=signature)
    for origin, id_ in ((ORIGIN, "enrol-2"), ("comity.example/books", "enrol-1")):
        with pytest.raises(Malformed):
            check_possession(origin, id_=id_, public_key=key.public.raw, signature=signature)


def test_fifty_enrolments_with_one_id_make_one_member() -> None:
    brand = Brand(programme())
    command = Enrol(id="enrol-alice", public_key=signing_key("alice").public.raw, name="Alice")
    outcomes = brand.run(*[command] * 50)
    answers = {one.body for one in outcomes if isinstance(one, Answer)}
    assert len(outcomes) == 50
    assert len(answers) == 1
    assert len(brand.rows("members")) == len(brand.rows("profiles")) == 1


def test_a_key_belongs_to_one_member() -> None:
    brand = Brand(programme())
    brand.enrol()
    with pytest.raises(Conflict, match="enrolled already"):
        brand.do(Enrol(id="another", public_key=signing_key("alice").public.raw))
    with pytest.raises(Conflict, match="another public_key"):
        brand.do(Enrol(id="enrol-alice", public_key=signing_key("bob").public.raw))


def test_devices_come_and_go_but_the_last_one_stays() -> None:
    brand = Brand(programme())
    alice = brand.enrol()
    added = brand.ask(add(brand, alice, "phone"), member_pb2.AddDeviceResponse)
    assert added.key_id == key_of("phone")
    brand.do(revoke(brand, alice, "alice", acting="phone"))
    shown = {one.key_id: one.revoked for one in brand.store.devices(alice)}
    assert shown == {key_of("alice"): True, key_of("phone"): False}
    with pytest.raises(Refused, match="last device"):
        brand.do(revoke(brand, alice, "phone", acting="phone"))
    with pytest.raises(Unauthenticated):
        brand.do(add(brand, alice, "tablet", acting="alice"))
    assert brand.store.registered_key(key_of("alice")) is None
    found = brand.store.registered_key(key_of("phone"))
    assert found is not None
    assert (found.kind, found.subject) == (CallerKind.MEMBER, alice)


def test_a_device_of_one_member_is_not_revoked_by_another() -> None:
    brand = Brand(programme())
    brand.enrol()
    bob = brand.enrol("bob")
    with pytest.raises(NotFound):
        brand.do(revoke(brand, bob, "alice", acting="bob"))
    with pytest.raises(Unauthenticated):
        brand.do(revoke(brand, bob, "bob", acting="alice"))


def test_a_locked_member_earns_and_does_not_spend() -> None:
    brand = Brand(programme())
    alice = brand.enrol()
    lock = LockMember(caller="manager:ann", id="lock-1", account=alice, locked=True)
    brand.do(lock)
    assert brand.buy(alice, 100).points == 100
    (row,) = brand.rows("members")
    with pytest.raises(MemberLocked):
        require_unlocked(row)
    brand.do(LockMember(caller="manager:ann", id="lock-2", account=alice, locked=False))
    require_unlocked(brand.rows("members")[0])


def test_erasing_leaves_no_personal_data_and_ends_the_points() -> None:
    brand = Brand(programme(return_window_days=5))
    key = signing_key("alice").public.raw
    enrol = Enrol(id="e", public_key=key, name="Alice Example", email="alice@example.org")
    alice = brand.ask(enrol, member_pb2.EnrolResponse).account
    brand.buy(alice, 70, purchase_id="p")
    brand.pass_days(6)
    brand.buy(alice, 30)
    erase(brand, alice)
    assert brand.kinds() == ["accrual", "transfer", "accrual", "expiry"]
    for table in ("members", "profiles", "devices", "commands", "entries", "postings"):
        for row in brand.rows(table):
            assert "Alice" not in repr(row)
            assert key not in row.values()
    assert brand.rows("profiles") == brand.rows("devices") == []
    for use in (brand.balance, lambda account: brand.buy(account, 5)):
        with pytest.raises(NotFound):
            use(alice)
    assert brand.store.registered_key(key_of("alice")) is None
    # A refund of what an erased member bought is noted, and moves nothing.
    assert brand.refund("p", 70).points == 0
    assert brand.store.totals().members == 0
    brand.check()


def test_an_enrolment_is_recorded_without_a_digest_of_the_profile() -> None:
    command = Enrol(id="e", public_key=b"k" * 32, name="Alice", email="alice@example.org")
    assert set(command.content()) == {"public_key"}


def test_staff_keys_open_sessions_with_their_role() -> None:
    brand = Brand(programme())
    key = signing_key("till").public.raw
    command = AddStaffKey(caller="manager:ann", id="k", role="till", name="front", public_key=key)
    brand.do(command)
    found = brand.store.registered_key(key_name(key))
    assert found is not None
    assert (found.kind, found.subject, found.public_key) == (CallerKind.TILL, "front", key)
    again = AddStaffKey(caller="manager:ann", id="k2", role="manager", name="x", public_key=key)
    with pytest.raises(Conflict):
        brand.do(again)
    assert brand.store.registered_key("key_0000000000000000") is None
