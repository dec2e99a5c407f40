"""The burn freeze: members spend nothing for now, and go on earning.

The programme can state it, and staff can switch it at once. It is asked before points are set
aside or spent. What has been decided is completed all the same: a hold is posted or released, a
reversal restores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from comity.errors import SpendingFrozen
from comity.ledger.command import Batch, Content
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.v1 import office_pb2
from node.book import Handler, Handlers, Rules
from node.operation_tables import switches

BURN_FREEZE: Final = "burn_freeze"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBurnFreeze:
    """A manager stops all spending, or lets it go on."""

    step: ClassVar[Step] = Step.FREEZE
    caller: str
    id: str
    frozen: bool
    reason_code: str

    def content(self) -> Mapping[str, Content]:
        return {"frozen": self.frozen, "reason_code": self.reason_code}


def prefetch_freeze(rows: Rows) -> None:
    """Load what `require_burning` asks."""
    rows.load(switches, [(BURN_FREEZE,)])


def require_burning(rules: Rules, rows: Rows) -> None:
    """Raises SpendingFrozen while members may spend nothing."""
    row = rows.get(switches, (BURN_FREEZE,))
    if rules.programme.burn_frozen or (row is not None and row["is_on"]):
        raise SpendingFrozen(
            f"{rules.participant} has stopped the spending of its points for now; yours are safe "
            "and you go on earning. Try again later."
        )


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[SetBurnFreeze]) -> None:
    prefetch_freeze(rows)


def _set(rules: Rules, batch: Batch, command: SetBurnFreeze) -> bytes:
    batch.rows.put(
        switches,
        {
            "name": BURN_FREEZE,
            "is_on": int(command.frozen),
            "reason_code": command.reason_code,
            "changed_by": command.caller,
            "changed_at_us": batch.now_us,
        },
    )
    return canonical(office_pb2.SetBurnFreezeResponse())


HANDLERS: Handlers = {SetBurnFreeze: Handler(_prefetch, _set)}
