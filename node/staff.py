"""The keys of a brand's own people and machines: tills, managers, admitted auditors."""

from __future__ import annotations

from collections.abc import Sequence

from comity.errors import Conflict, NotFound, Refused
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.v1 import merchant_pb2
from node.book import Handler, Handlers, Rules
from node.commands import AddStaffKey, RemoveStaffKey
from node.members import key_name
from node.tables import devices, staff


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[AddStaffKey]) -> None:
    keys = [(key_name(command.public_key),) for command in commands]
    rows.load(staff, keys)
    rows.load(devices, keys)


def _add(rules: Rules, batch: Batch, command: AddStaffKey) -> bytes:
    rows, at = batch.rows, (key_name(command.public_key),)
    if rows.get(staff, at) is not None or rows.get(devices, at) is not None:
        raise Conflict(
            "This key is in use at this brand already; make a new key.", field="public_key"
        )
    rows.put(
        staff,
        {
            "key_id": at[0],
            "role": command.role,
            "name": command.name,
            "public_key": command.public_key,
            "added_at_us": batch.now_us,
        },
    )
    return canonical(merchant_pb2.AddStaffKeyResponse(key_id=at[0]))


def _prefetch_remove(rules: Rules, rows: Rows, commands: Sequence[RemoveStaffKey]) -> None:
    rows.load(staff, [(command.key_id,) for command in commands])
    rows.load_where(staff, "role", ["manager"])


def _remove(rules: Rules, batch: Batch, command: RemoveStaffKey) -> bytes:
    row = batch.rows.get(staff, (command.key_id,))
    if row is None:
        raise NotFound(f"No staff here has the key {command.key_id}.", field="key_id")
    if row["role"] == "manager" and len(batch.rows.find(staff, "role", "manager")) == 1:
        raise Refused("This is the last manager; add another before removing this one.")
    batch.rows.delete(staff, (command.key_id,))
    return canonical(merchant_pb2.RemoveStaffKeyResponse())


HANDLERS: Handlers = {
    AddStaffKey: Handler(_prefetch, _add),
    RemoveStaffKey: Handler(_prefetch_remove, _remove),
}
