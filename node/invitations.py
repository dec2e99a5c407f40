"""Invitations: codes that managers make, each for one enrolment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from comity.clock import DAY
from comity.errors import AlreadyUsed, NotFound
from comity.ledger.command import Batch, Content
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.v1 import office_pb2
from node.book import Handler, Handlers, Rules
from node.operation_tables import invitations
from node.vouchers import new_code


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateInvitations:
    """New codes, good for so many days."""

    step: ClassVar[Step] = Step.INVITE
    caller: str
    id: str
    count: int
    valid_days: int

    def content(self) -> Mapping[str, Content]:
        return {"count": self.count, "valid_days": self.valid_days}


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeInvitation:
    """A code that nobody has used is good no more."""

    step: ClassVar[Step] = Step.INVITE
    caller: str
    id: str
    code: str

    def content(self) -> Mapping[str, Content]:
        return {"code": self.code}


def _create(rules: Rules, batch: Batch, command: CreateInvitations) -> bytes:
    codes = [new_code(batch.random) for _ in range(command.count)]
    for code in codes:
        batch.rows.insert(
            invitations,
            {
                "code": code,
                "state": "VALID",
                "made_at_us": batch.now_us,
                "expires_at_us": batch.now_us + command.valid_days * DAY,
                "made_by": command.caller,
                "account": "",
            },
        )
    return canonical(office_pb2.CreateInvitationsResponse(codes=codes))


def _prefetch_revoke(rules: Rules, rows: Rows, commands: Sequence[RevokeInvitation]) -> None:
    rows.load(invitations, [(command.code,) for command in commands])


def _revoke(rules: Rules, batch: Batch, command: RevokeInvitation) -> bytes:
    row = batch.rows.get(invitations, (command.code,))
    if row is None:
        raise NotFound("There is no such invitation.", field="code")
    if row["state"] == "USED":
        raise AlreadyUsed(f"{row['account']} has joined with this invitation.")
    batch.rows.put(invitations, row | {"state": "REVOKED"})
    return canonical(office_pb2.RevokeInvitationResponse())


HANDLERS: Handlers = {
    CreateInvitations: Handler(lambda rules, rows, commands: None, _create),
    RevokeInvitation: Handler(_prefetch_revoke, _revoke),
}
