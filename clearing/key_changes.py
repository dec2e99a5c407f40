"""The exchange of a participant's log key, and the end of a participant.

Clearing's log says for each log which key signs which size; everybody verifies by that. An
exchange never takes back what clearing relied on: the old key signs at least as far as clearing
has linked the log. What was heard beyond the exchange under the old key is forgotten, so whoever
stole it can neither fork the log nor stop it with a head that nobody can link.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clearing import commands, tables
from clearing.roster import admitted
from comity.errors import Conflict, Malformed
from comity.ledger import entries, schema
from comity.ledger.command import Batch
from comity.ledger.heads import forget_heads
from comity.ledger.rows import Rows
from comity.log.history import KeyHistory, rotation_message
from comity.log.note import VerifierKey
from comity.v1.entry_pb2 import PARTICIPANT_STATUS_FROZEN, Revoke, Rotate

AHEAD = 1_024
"""Entries that the old key still signs, unless the operator says: what may be on its way."""

MOST_AHEAD = 1_000_000
"""Above this an exchange would never come about."""


def prefetch(rows: Rows, participants: Iterable[str]) -> None:
    """Load what exchanges and revocations touch; `forget_heads` loads the heads it deletes."""
    rows.load(tables.participants, [(name,) for name in participants])


def rotate(batch: Batch, command: commands.RotateKey, *, origin: str) -> bytes:
    """Exchange a log key; returns the index of the ROTATE entry, then the last size, each in
    eight bytes.

    1. the participant takes part, and the key is a new one of its log
    2. the new key's holder agrees, and the old one's unless the operator names the last size
    3. the old key signs at least as far as clearing has relied on it
    """
    rows = batch.rows
    # 1. The log.
    row = _not_revoked(rows, command.participant)
    before = KeyHistory.parse(row["vkey"])
    assert before.current is not None, "only a revoked log has no key"
    new = VerifierKey.parse(command.vkey)
    known = _linked_size(rows, row)
    last_size = known + AHEAD if command.last_size is None else command.last_size
    before.rotated(new, last_size)
    # 2. The proof.
    message = rotation_message(str(before.current), command.vkey)
    if not new.verify(message, command.new_signature):
        raise Malformed("The new key has not signed this exchange.", field="new_signature")
    if command.old_signature and not before.current.verify(message, command.old_signature):
        raise Malformed("The old key has not signed this exchange.", field="old_signature")
    if not command.old_signature and command.last_size is None:
        raise Malformed(
            "Without the old key's signature the operator names the last size which counts under "
            f"it; clearing knows {known} entries of {row['origin']}.",
            field="last_size",
        )
    # 3. What was relied on.
    if not known <= last_size <= known + MOST_AHEAD:
        raise Malformed(
            f"Clearing has relied on {known} entries of {row['origin']} under its old key; the "
            f"last size is at least that, and at most {MOST_AHEAD} more.",
            field="last_size",
        )
    body = Rotate(
        participant=command.participant,
        vkey=command.vkey,
        last_size=last_size,
        operator=command.caller,
        new_signature=command.new_signature,
        old_signature=command.old_signature,
    )
    index = batch.append(entries.encode(body, origin=origin, at_us=batch.now_us), kind="rotate")
    put_rotated(rows, body)
    return index.to_bytes(8, "big") + last_size.to_bytes(8, "big")


def revoke(batch: Batch, command: commands.RevokeParticipant, *, origin: str) -> int:
    """End a participant for good; returns the index of the REVOKE entry."""
    rows = batch.rows
    row = _not_revoked(rows, command.participant)
    body = Revoke(
        participant=command.participant,
        reason=command.reason,
        last_size=max(_linked_size(rows, row), KeyHistory.parse(row["vkey"]).last_size),
        operator=command.caller,
    )
    index = batch.append(entries.encode(body, origin=origin, at_us=batch.now_us), kind="revoke")
    put_revoked(rows, body)
    return index


def put_rotated(rows: Rows, body: Rotate) -> None:
    """Change the rows for a ROTATE entry."""
    row = admitted(rows, body.participant)
    new = VerifierKey.parse(body.vkey)
    history = KeyHistory.parse(row["vkey"]).rotated(new, body.last_size)
    rows.put(tables.participants, row | {"vkey": str(history)})
    forget_heads(rows, row["origin"], above=body.last_size)


def put_revoked(rows: Rows, body: Revoke) -> None:
    """Change the rows for a REVOKE entry: frozen, and the log has no key beyond its end."""
    row = admitted(rows, body.participant)
    history = KeyHistory.parse(row["vkey"]).ended(body.last_size)
    frozen = int(PARTICIPANT_STATUS_FROZEN)
    rows.put(tables.participants, row | {"vkey": str(history), "status": frozen})
    forget_heads(rows, row["origin"], above=body.last_size)


def _not_revoked(rows: Rows, participant: str) -> dict[str, Any]:
    row = admitted(rows, participant)
    if KeyHistory.parse(row["vkey"]).current is None:
        raise Conflict(f"{participant} was revoked, for good.", field="participant")
    return row


def _linked_size(rows: Rows, row: dict[str, Any]) -> int:
    rows.load(schema.heads, [(row["origin"],)])
    head = rows.get(schema.heads, (row["origin"],))
    return head["size"] if head is not None else 0
