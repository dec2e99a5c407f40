"""Members of an older programme, taken over with what they had there.

Each is known by a reference, such as a card number, and taken over once. A new member gets an
account without a device, and a code with which its owner enrols one; the points are an
ADJUSTMENT of their own, with the reason `migration`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from comity.clock import DAY
from comity.errors import LimitExceeded
from comity.ledger.command import Batch, Content
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.v1 import office_pb2
from node.accounts import member, prefetch_balances
from node.adjustments import give, prefetch_days, within
from node.book import Handler, Handlers, Rules
from node.members import create
from node.operation_tables import invitations
from node.vouchers import new_code

REASON: Final = "migration"
CODE_US: Final = 3_650 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportMember:
    """One member with an opening balance. What is said of the person is no part of `content`."""

    step: ClassVar[Step] = Step.ENROL
    reference: str
    account: str
    name: str
    email: str
    birth_date: str
    region: str
    points: int

    @property
    def caller(self) -> str:
        return "imports"

    @property
    def id(self) -> str:
        return self.reference

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account, "points": self.points}


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[ImportMember]) -> None:
    names = [one.account for one in commands if one.account]
    prefetch_balances(rules, rows, names)
    prefetch_days(rules, rows, names)


def _import(rules: Rules, batch: Batch, command: ImportMember) -> bytes:
    account, code = command.account, ""
    if not account:
        account = f"acc_{batch.random(16).hex()}"
        profile = {
            "name": command.name,
            "email": command.email,
            "birth_date": command.birth_date,
            "region": command.region,
        }
        create(rules, batch, account, profile)
        code = new_code(batch.random)
        batch.rows.insert(
            invitations,
            {
                "code": code,
                "state": "VALID",
                "made_at_us": batch.now_us,
                "expires_at_us": batch.now_us + CODE_US,
                "made_by": command.caller,
                "account": account,
            },
        )
    member(batch.rows, account)
    if command.points:
        if not within(rules, batch, account, command.points, is_new=not command.account):
            raise LimitExceeded(
                "So many points need a second manager: import the member without them and propose "
                "an adjustment.",
                field="points",
            )
        give(rules, batch, account, command.points, REASON)
    return canonical(office_pb2.MemberImported(account=account, invitation=code))


HANDLERS: Handlers = {ImportMember: Handler(_prefetch, _import)}
