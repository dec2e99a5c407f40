"""Points given or taken by hand, with a reason; many of them only with four eyes.

The programme says how many points one manager may give to or take from an account in a local day
(`adjust_four_eyes_above`). What goes beyond waits for another manager: another key under another
name, registered before it was proposed. Whatever was done or waits is listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from comity.clock import DAY
from comity.errors import AlreadyDecided, Forbidden, LimitExceeded, NotFound, Refused
from comity.ledger.command import Batch, Content
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.v1 import entry_pb2, merchant_pb2, office_pb2
from node import lots as lot_rules
from node.accounts import (
    BY_HAND,
    CLAWED_BACK,
    ISSUED,
    Movement,
    credit,
    member,
    open_lots,
    prefetch_accounts,
    settle,
)
from node.book import Handler, Handlers, Rules
from node.commands import AdjustPoints
from node.operation_tables import adjusted_days, adjustments
from node.programme import grant
from node.programme.calendar import local_day
from node.tables import staff

WAITING, DONE, REJECTED = "WAITING", "DONE", "REJECTED"
LIFE_US: Final = 7 * DAY
"""How long an adjustment waits for a second manager."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeAdjustment:
    """A manager gives points or takes them, or asks another one to agree."""

    step: ClassVar[Step] = Step.ADJUST
    caller: str
    id: str
    acting_key: str
    account: str
    points: int
    reason_code: str

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account, "points": self.points, "reason_code": self.reason_code}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideAdjustment:
    """A manager approves what another one has proposed, or rejects what anybody has."""

    step: ClassVar[Step] = Step.ADJUST
    caller: str
    id: str
    acting_key: str
    adjustment_id: str
    approved: bool

    def content(self) -> Mapping[str, Content]:
        return {"adjustment_id": self.adjustment_id, "approved": self.approved}


# --- doing ----------------------------------------------------------------------------------


def adjust(rules: Rules, batch: Batch, account: str, points: int, reason_code: str) -> int:
    """Give points, or take them; answers the index of the ADJUSTMENT."""
    member(batch.rows, account)
    settle(rules, batch, account)
    if points > 0:
        return give(rules, batch, account, points, reason_code)
    movement = Movement(rules, batch, reference=reason_code)
    own = open_lots(batch.rows, account, rules.unit)
    for lot, part in lot_rules.take(own, -points, batch.now_us):
        movement.change(lot, available=-part, given=BY_HAND)
    movement.own(CLAWED_BACK, -points)
    return movement.append(entry_pb2.Adjustment(reason_code=reason_code))


def give(rules: Rules, batch: Batch, account: str, points: int, reason_code: str) -> int:
    """As `adjust`, for points given, which asks nothing of the lots there are."""
    movement = Movement(rules, batch, reference=reason_code)
    draft = grant(rules.programme, points_=points, now_us=batch.now_us)
    credit(rules, batch, movement, account, draft)
    movement.own(ISSUED, -points)
    return movement.append(entry_pb2.Adjustment(reason_code=reason_code))


def _prefetch(
    rules: Rules, rows: Rows, commands: Sequence[AdjustPoints | ProposeAdjustment]
) -> None:
    names = [command.account for command in commands]
    prefetch_accounts(rules, rows, names)
    prefetch_days(rules, rows, names)


def _adjust(rules: Rules, batch: Batch, command: AdjustPoints) -> bytes:
    if not within(rules, batch, command.account, command.points):
        raise LimitExceeded(
            "So many points in a day need a second manager; propose the adjustment instead.",
            field="points",
            metadata={"most": str(rules.programme.adjust_four_eyes_above)},
        )
    row = _alone(rules, batch, command, "")
    return canonical(merchant_pb2.AdjustPointsResponse(index=row["index"]))


def _propose(rules: Rules, batch: Batch, command: ProposeAdjustment) -> bytes:
    if within(rules, batch, command.account, command.points):
        row = _alone(rules, batch, command, command.acting_key)
    else:
        member(batch.rows, command.account)
        row = _record(batch, command, command.acting_key)
    done = row["state"] == DONE
    return canonical(
        office_pb2.ProposeAdjustmentResponse(
            state=office_pb2.ADJUSTMENT_STATE_DONE if done else office_pb2.ADJUSTMENT_STATE_WAITING,
            adjustment_id=row["adjustment_id"],
            index=row["index"] if done else 0,
        )
    )


def prefetch_days(rules: Rules, rows: Rows, names: Iterable[str]) -> None:
    """Load what `within` asks of these accounts."""
    day = local_day(rules.programme, rows.now_us).toordinal()
    rows.load(adjusted_days, [(name, day) for name in names])


def within(rules: Rules, batch: Batch, account: str, asked: int, *, is_new: bool = False) -> bool:
    """Whether one manager alone may give or take so many points; if so, it counts.

    The account's day must have been loaded, unless the account is new in this batch.
    """
    most = rules.programme.adjust_four_eyes_above
    if most is None:
        return True
    day = local_day(rules.programme, batch.now_us).toordinal()
    row = None if is_new else batch.rows.get(adjusted_days, (account, day))
    points = abs(asked) + (0 if row is None else row["points"])
    if points > most:
        return False
    counted = {"account": account, "day": day, "points": points}
    if is_new:
        batch.rows.insert(adjusted_days, counted)
    else:
        batch.rows.put(adjusted_days, counted)
    return True


def _alone(
    rules: Rules, batch: Batch, command: AdjustPoints | ProposeAdjustment, acting_key: str
) -> dict[str, Any]:
    index = adjust(rules, batch, command.account, command.points, command.reason_code)
    return _record(batch, command, acting_key, index)


def _record(
    batch: Batch,
    command: AdjustPoints | ProposeAdjustment,
    acting_key: str,
    index: int | None = None,
) -> dict[str, Any]:
    row = {
        "adjustment_id": f"adj_{batch.random(16).hex()}",
        "account": command.account,
        "points": command.points,
        "reason_code": command.reason_code,
        "state": WAITING if index is None else DONE,
        "proposed_by": command.caller,
        "proposed_key": acting_key,
        "proposed_at_us": batch.now_us,
        "expires_at_us": batch.now_us + LIFE_US,
        "decided_by": "",
        "decided_at_us": 0 if index is None else batch.now_us,
        "index": -1 if index is None else index,
    }
    batch.rows.insert(adjustments, row)
    return row


# --- deciding -------------------------------------------------------------------------------


def _prefetch_decide(rules: Rules, rows: Rows, commands: Sequence[DecideAdjustment]) -> None:
    keys = [(command.adjustment_id,) for command in commands]
    rows.load(adjustments, keys)
    found = [row for at in keys if (row := rows.get(adjustments, at)) is not None]
    prefetch_accounts(rules, rows, [row["account"] for row in found])
    rows.load(staff, [(command.acting_key,) for command in commands])


def _decide(rules: Rules, batch: Batch, command: DecideAdjustment) -> bytes:
    rows = batch.rows
    row = rows.get(adjustments, (command.adjustment_id,))
    if row is None:
        raise NotFound(
            f"There is no adjustment {command.adjustment_id} here.", field="adjustment_id"
        )
    if row["state"] != WAITING:
        raise AlreadyDecided(f"{command.adjustment_id} was {row['state'].lower()} before.")
    if row["expires_at_us"] <= batch.now_us:
        raise Refused("Nobody approved this adjustment in time; propose it again.")
    decided = {"decided_by": command.caller, "decided_at_us": batch.now_us}
    if not command.approved:
        rows.put(adjustments, row | decided | {"state": REJECTED})
        return canonical(office_pb2.RejectAdjustmentResponse())
    _check_second(rows, row, command)
    index = adjust(rules, batch, row["account"], row["points"], row["reason_code"])
    rows.put(adjustments, row | decided | {"state": DONE, "index": index})
    return canonical(office_pb2.ApproveAdjustmentResponse(index=index))


def _check_second(rows: Rows, row: Mapping[str, Any], command: DecideAdjustment) -> None:
    """Raises Forbidden unless the one who approves is not the one who has proposed."""
    if command.caller == row["proposed_by"] or command.acting_key == row["proposed_key"]:
        raise Forbidden("Another manager than the one who proposed an adjustment approves it.")
    second = rows.get(staff, (command.acting_key,))
    if second is None or second["added_at_us"] > row["proposed_at_us"]:
        raise Forbidden(
            "A manager who was registered after an adjustment was proposed does not approve it."
        )


HANDLERS: Handlers = {
    AdjustPoints: Handler(_prefetch, _adjust),
    ProposeAdjustment: Handler(_prefetch, _propose),
    DecideAdjustment: Handler(_prefetch_decide, _decide),
}
