"""The keys of a brand's own people and machines: tills, managers, admitted auditors."""

from __future__ import annotations

from collections.abc import Sequence

from comity.errors import Conflict
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.v1 import merchant_pb2
from node.book import Handler, Handlers, Rules
from node.commands import AddStaffKey
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


HANDLERS: Handlers = {AddStaffKey: Handler(_prefetch, _add)}
