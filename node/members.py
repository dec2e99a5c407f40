"""Members: who they are to the programme, which keys speak for them, and how they are forgotten.

A member is an account, a random name. Devices sign for it; a profile may name a person. Erasing
destroys profile and devices and ends the points; the log, which holds commitments only, stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comity.client.member import enrol_message
from comity.errors import Conflict, Malformed, MemberLocked, NotFound, Refused, Unauthenticated
from comity.keys import PublicKey
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.v1 import member_pb2, merchant_pb2
from node.accounts import empty_balance, expire, member, open_lots, prefetch_accounts, settle
from node.book import Handler, Handlers, Rules
from node.commands import AddDevice, EraseMember, LockMember, RevokeDevice
from node.event_tables import events
from node.operation_tables import applications, claims, invitations
from node.tables import accounts, devices, members, profiles

MAX_DEVICES = 32


def check_possession(origin: str, *, id_: str, public_key: bytes, signature: bytes) -> None:
    """Raises Malformed unless the holder of this key asked to enrol it here."""
    if not PublicKey.from_bytes(public_key).verify(enrol_message(origin, id_), signature):
        raise Malformed(
            "The signature is not by the key that is to be enrolled; sign "
            "`comity-enrol/v1`, the origin and the id, each on a line, with that key.",
            field="signature",
        )


def key_name(public_key: bytes) -> str:
    """The id of a key: `key_` and 16 hexadecimal digits."""
    return f"key_{PublicKey.from_bytes(public_key).key_id}"


def require_unlocked(row: dict[str, Any]) -> None:
    """Raises MemberLocked if this member may not spend."""
    if row["locked"]:
        raise MemberLocked("This member's points are locked; ask the brand.")


def member_device(rows: Rows, key_id: str) -> dict[str, Any] | None:
    """The row of a device key that was loaded and is not revoked."""
    row = rows.get(devices, (key_id,))
    return None if row is None or row["revoked_at_us"] else row


# --- joining --------------------------------------------------------------------------------


def join(
    rules: Rules, batch: Batch, account: str, public_key: bytes, profile: Mapping[str, str]
) -> str:
    """Make a member of a new account, whose first device this is; returns the key's id."""
    key_id = add_device(batch, account, public_key)
    create(rules, batch, account, profile)
    return key_id


def create(rules: Rules, batch: Batch, account: str, profile: Mapping[str, str]) -> None:
    """A new account, and what is known of its member."""
    batch.rows.insert(
        members,
        {"account": account, "created_at_us": batch.now_us, "locked": 0, "erased_at_us": 0},
    )
    if rules.programme.main_unit:
        batch.rows.insert(accounts, empty_balance(account, rules.unit))
    if any(profile.values()):
        batch.rows.insert(profiles, {"account": account, **profile})


# --- devices --------------------------------------------------------------------------------


def _prefetch_add(rules: Rules, rows: Rows, commands: Sequence[AddDevice]) -> None:
    rows.load(devices, [(key_name(command.public_key),) for command in commands])
    _prefetch_devices(rows, commands)


def _prefetch_devices(rows: Rows, commands: Sequence[AddDevice | RevokeDevice]) -> None:
    rows.load(members, [(command.account,) for command in commands])
    rows.load_where(devices, "account", [command.account for command in commands])


def _add(rules: Rules, batch: Batch, command: AddDevice) -> bytes:
    active = _active_devices(batch.rows, command)
    if len(active) >= MAX_DEVICES:
        raise Refused(f"A member has at most {MAX_DEVICES} devices; revoke one first.")
    key_id = add_device(batch, command.account, command.public_key)
    return canonical(member_pb2.AddDeviceResponse(key_id=key_id))


def _revoke(rules: Rules, batch: Batch, command: RevokeDevice) -> bytes:
    active = _active_devices(batch.rows, command)
    row = active.get(command.key_id)
    if row is None:
        raise NotFound(f"The member has no device {command.key_id}.", field="key_id")
    if len(active) == 1:
        raise Refused("This is the member's last device; add another before revoking it.")
    batch.rows.put(devices, row | {"revoked_at_us": batch.now_us})
    return canonical(member_pb2.RevokeDeviceResponse())


def _active_devices(rows: Rows, command: AddDevice | RevokeDevice) -> dict[str, dict[str, Any]]:
    """The member's good devices by id; Unauthenticated if the one that asks is none of them."""
    member(rows, command.account)
    found = rows.find(devices, "account", command.account)
    active = {row["key_id"]: row for row in found if not row["revoked_at_us"]}
    if command.acting_key not in active:
        raise Unauthenticated("This device was revoked; use another device of the member.")
    return active


def add_device(batch: Batch, account: str, public_key: bytes) -> str:
    """Admit a device key of the account, and answer its id. Raises Conflict for one in use."""
    key_id = key_name(public_key)
    if batch.rows.get(devices, (key_id,)) is not None:
        raise Conflict(
            "This device key is enrolled already; make a new key for a new enrolment.",
            field="public_key",
        )
    batch.rows.put(
        devices,
        {
            "key_id": key_id,
            "account": account,
            "public_key": public_key,
            "added_at_us": batch.now_us,
            "revoked_at_us": 0,
        },
    )
    return key_id


# --- locking and erasing --------------------------------------------------------------------


def _prefetch_lock(rules: Rules, rows: Rows, commands: Sequence[LockMember]) -> None:
    rows.load(members, [(command.account,) for command in commands])


def _lock(rules: Rules, batch: Batch, command: LockMember) -> bytes:
    row = member(batch.rows, command.account)
    batch.rows.put(members, row | {"locked": int(command.locked)})
    return canonical(merchant_pb2.LockMemberResponse())


def _prefetch_erase(rules: Rules, rows: Rows, commands: Sequence[EraseMember]) -> None:
    names = [command.account for command in commands]
    prefetch_accounts(rules, rows, names)
    rows.load_where(events, "account", names)
    rows.load(profiles, [(name,) for name in names])
    rows.load_where(devices, "account", names)
    rows.load(applications, [(name,) for name in names])
    rows.load_where(claims, "account", names)
    rows.load_where(invitations, "account", names)


def _erase(rules: Rules, batch: Batch, command: EraseMember) -> bytes:
    """Nobody can sign for the account any more, so its free points end with it. What events said
    of themselves may say something of a person, so it goes too.

    Held points stay until their decision; if it gives them back, they expire by their lots.
    """
    rows, account = batch.rows, command.account
    row = member(rows, account)
    settle(rules, batch, account)
    expire(rules, batch, open_lots(rows, account), reference="erased")
    for event in rows.find(events, "account", account):
        rows.put(events, event | {"details": b""})
    for device in rows.find(devices, "account", account):
        rows.delete(devices, (device["key_id"],))
    rows.delete(profiles, (account,))
    rows.delete(applications, (account,))
    for claim in rows.find(claims, "account", account):
        rows.delete(claims, (claim["claim_id"],))
    for code in rows.find(invitations, "account", account):
        rows.delete(invitations, (code["code"],))
    rows.put(members, row | {"erased_at_us": batch.now_us, "locked": 1})
    return canonical(merchant_pb2.EraseMemberResponse())


HANDLERS: Handlers = {
    AddDevice: Handler(_prefetch_add, _add),
    RevokeDevice: Handler(lambda rules, rows, commands: _prefetch_devices(rows, commands), _revoke),
    LockMember: Handler(_prefetch_lock, _lock),
    EraseMember: Handler(_prefetch_erase, _erase),
}
