"""Who takes part: admitted brands, their log and TLS keys, standing, caps, and auditors.

The rows are changed by commands, like everything else. `Roster` is the same in memory, for
whoever must know a key before there is a batch: statements, certificates, channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clearing import commands, tables
from comity.errors import Conflict, Forbidden, LimitExceeded, Malformed, NotFound
from comity.ledger import entries, schema
from comity.ledger.command import Batch
from comity.ledger.rows import Rows
from comity.log.history import KeyHistory
from comity.log.note import VerifierKey
from comity.rpc.caller import Caller, CallerKind
from comity.terms.positions import RESERVED_NAMES
from comity.v1.common_pb2 import Money
from comity.v1.entry_pb2 import (
    PARTICIPANT_STATUS_ACTIVE,
    PARTICIPANT_STATUS_FROZEN,
    PARTICIPANT_STATUS_SUSPENDED,
    Admit,
    Cap,
    Standing,
)

LIMIT = 1_000
"""Participants of one network: every HEADS entry names them all."""

STATUSES = (PARTICIPANT_STATUS_ACTIVE, PARTICIPANT_STATUS_SUSPENDED, PARTICIPANT_STATUS_FROZEN)

Row = dict[str, Any]


# --- in the batch ---------------------------------------------------------------------------


def load_participants(rows: Rows) -> None:
    """Load the whole roster."""
    rows.load_where(tables.participants, "status", STATUSES)


def all_participants(rows: Rows) -> list[Row]:
    """The whole roster, as it is in this batch."""
    return [row for status in STATUSES for row in rows.find(tables.participants, "status", status)]


def prefetch(
    rows: Rows,
    *,
    joining: Iterable[Admit] = (),
    changing: Iterable[str] = (),
    capped: Iterable[tuple[str, str]] = (),
) -> None:
    """Load what admissions, changes of standing and caps touch; the whole roster with them."""
    load_participants(rows)
    new = list(joining)
    names = [row["participant"] for row in all_participants(rows)]
    names += [body.participant for body in new]
    origins = [row["origin"] for row in all_participants(rows)] + [body.origin for body in new]
    changed = list(changing)
    caps = list(capped)
    mentioned = [*names, *changed, *(name for name, _ in caps)]
    rows.load(tables.participants, [(name,) for name in mentioned])
    rows.load(tables.caps, caps)
    if changed:
        rows.load(schema.heads, [(origin,) for origin in origins])
        rows.load(tables.standings, [(name, payer) for name in changed for payer in names])


def admit(batch: Batch, command: commands.Admit, *, origin: str, network: str) -> int:
    """Admit a brand, or take note of its new TLS key; returns the index of the ADMIT entry.

    Raises Malformed for a reserved name or a key of another log, Conflict for another log key
    than the log's present one or a revoked brand, LimitExceeded beyond the size of a network.
    """
    body, rows = command.admit, batch.rows
    if body.participant in RESERVED_NAMES:
        raise Malformed(f"{body.participant} is a reserved name; choose another.", field="id")
    if body.origin != f"{network}/{body.participant}":
        raise Malformed(f"The log of {body.participant} is {network}/{body.participant}.")
    if VerifierKey.parse(body.vkey).name != body.origin:
        raise Malformed(f"The key is not one of the log {body.origin}.", field="vkey")
    before = rows.get(tables.participants, (body.participant,))
    if before is not None:
        _require_present_key(before, body)
    if before is None and len(all_participants(rows)) >= LIMIT:
        raise LimitExceeded(f"A network has at most {LIMIT} participants.")
    index = batch.append(entries.encode(body, origin=origin, at_us=batch.now_us), kind="admit")
    put_admitted(rows, body, index)
    for currency, cap_minor in command.caps:
        _write_cap(batch, body.participant, currency, cap_minor, command.caller, origin=origin)
    return index


def put_admitted(rows: Rows, body: Admit, index: int) -> None:
    """Change the rows for an ADMIT entry."""
    before = rows.get(tables.participants, (body.participant,))
    rows.put(
        tables.participants,
        {
            "participant": body.participant,
            "origin": body.origin,
            "vkey": before["vkey"] if before else body.vkey,
            "tls_key_hash": body.tls_key_hash,
            "display_name": body.display_name,
            "peer_address": body.peer_address,
            "public_address": body.public_address,
            "status": before["status"] if before else int(PARTICIPANT_STATUS_ACTIVE),
            "seq": before["seq"] if before else 0,
            "admitted_index": before["admitted_index"] if before else index,
        },
    )


def _require_present_key(before: Row, body: Admit) -> None:
    current = KeyHistory.parse(before["vkey"]).current
    if current is None:
        raise Conflict(
            f"{body.participant} was revoked, for good; admit the brand under another name.",
            field="vkey",
        )
    if str(current) != body.vkey:
        raise Conflict(
            f"{body.participant} is admitted with another log key; to exchange it, rotate it.",
            field="vkey",
        )


def set_standing(batch: Batch, command: commands.SetStanding, *, origin: str) -> int:
    """Suspend, freeze or resume; returns the index of the STANDING entry."""
    row = admitted(batch.rows, command.participant)
    if KeyHistory.parse(row["vkey"]).current is None:
        raise Conflict(f"{command.participant} was revoked, for good.", field="participant")
    head = batch.rows.get(schema.heads, (row["origin"],))
    body = Standing(
        participant=command.participant,
        status=command.status,
        head_size=head["size"] if head else 0,
        reason=command.reason,
        operator=command.caller,
    )
    index = batch.append(entries.encode(body, origin=origin, at_us=batch.now_us), kind="standing")
    put_standing(batch.rows, body)
    return index


def put_standing(rows: Rows, body: Standing) -> None:
    """Change the rows for a STANDING entry: what exists now, existed before a suspension."""
    row = admitted(rows, body.participant)
    rows.put(tables.participants, row | {"status": int(body.status)})
    if body.status != PARTICIPANT_STATUS_SUSPENDED:
        return
    for payer in all_participants(rows):
        head = rows.get(schema.heads, (payer["origin"],))
        size = head["size"] if head else 0
        if payer["participant"] == body.participant:
            size = body.head_size
        rows.put(
            tables.standings,
            {
                "participant": body.participant,
                "payer": payer["participant"],
                "head_size": size,
            },
        )


def set_cap(batch: Batch, command: commands.SetCap, *, origin: str) -> int:
    """Set a net debit cap; returns the index of the CAP entry."""
    admitted(batch.rows, command.participant)
    return _write_cap(
        batch,
        command.participant,
        command.currency,
        command.cap_minor,
        command.caller,
        origin=origin,
    )


def put_cap(rows: Rows, body: Cap) -> None:
    """Change the row for a CAP entry."""
    rows.put(
        tables.caps,
        {
            "participant": body.participant,
            "currency": body.net_debit_cap.currency,
            "cap_minor": body.net_debit_cap.minor,
        },
    )


def admit_auditor(batch: Batch, command: commands.AdmitAuditor) -> None:
    """Register an auditor's key. Raises Conflict if another auditor has it."""
    before = batch.rows.get(tables.auditors, (command.key_id,))
    if before is not None and before["auditor"] != command.auditor:
        raise Conflict(f"This key belongs to {before['auditor']}.", field="public_key")
    batch.rows.put(
        tables.auditors,
        {
            "key_id": command.key_id,
            "auditor": command.auditor,
            "public_key": command.public_key,
            "at_us": batch.now_us,
        },
    )


def revoke_auditor(batch: Batch, command: commands.RevokeAuditor) -> None:
    """Forget an auditor's key. Raises NotFound if no auditor has it."""
    if batch.rows.get(tables.auditors, (command.key_id,)) is None:
        raise NotFound(f"No auditor has the key {command.key_id}.", field="key_id")
    batch.rows.delete(tables.auditors, (command.key_id,))


def _write_cap(
    batch: Batch, participant: str, currency: str, cap_minor: int, operator: str, *, origin: str
) -> int:
    if cap_minor < 0:
        raise Malformed("A net debit cap is not negative.", field="net_debit_cap")
    body = Cap(
        participant=participant,
        net_debit_cap=Money(currency=currency, minor=cap_minor),
        operator=operator,
    )
    index = batch.append(entries.encode(body, origin=origin, at_us=batch.now_us), kind="cap")
    put_cap(batch.rows, body)
    return index


def admitted(rows: Rows, participant: str) -> Row:
    """The row of a participant, revoked or not. Raises NotFound."""
    row = rows.get(tables.participants, (participant,))
    if row is None:
        raise NotFound(f"{participant} is not a participant.", field="participant")
    return row


# --- in memory ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A participant as everything outside a batch needs it."""

    participant: str
    origin: str
    keys: KeyHistory
    tls_key_hash: bytes
    peer_address: str

    @property
    def revoked(self) -> bool:
        """Whether it takes part no more."""
        return self.keys.current is None


class Roster:
    """The admitted participants, kept in step with the rows by whoever commits an admission."""

    def __init__(self, network: str, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._network = network
        self._members: dict[str, Member] = {}
        for row in rows:
            self.learn(row)

    def learn(self, row: Mapping[str, Any]) -> None:
        """Take in a row of `participants`."""
        self._members[row["participant"]] = Member(
            participant=row["participant"],
            origin=row["origin"],
            keys=KeyHistory.parse(row["vkey"]),
            tls_key_hash=bytes(row["tls_key_hash"]),
            peer_address=row["peer_address"],
        )

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def member(self, participant: str) -> Member:
        """The participant; NotFound if it was never admitted."""
        found = self._members.get(participant)
        if found is None:
            raise NotFound(f"{participant} is not a participant of {self._network}.")
        return found

    def by_origin(self, origin: str) -> Member:
        """The participant whose log has this origin; NotFound if there is none."""
        network, _, participant = origin.partition("/")
        if network != self._network:
            raise NotFound(f"{origin} is not a log of {self._network}.")
        return self.member(participant)

    def verifier_of(self, origin: str) -> KeyHistory:
        """The keys under which a log's heads count."""
        return self.by_origin(origin).keys

    def admit_caller(self, caller: Caller) -> None:
        """Raises Forbidden for a brand not admitted, revoked, or with a newer certificate."""
        if caller.kind is not CallerKind.BRAND:
            return
        found = self._members.get(caller.id)
        if found is not None and found.revoked:
            raise Forbidden(f"{caller.id} was revoked and takes no part in {self._network}.")
        if found is None or found.tls_key_hash != caller.key_hash:
            raise Forbidden(
                f"{caller.id} is not admitted with this certificate; ask the operator for one."
            )
