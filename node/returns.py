"""Taking back what was delivered: a RETURN of the acceptor, then clearing's REVERSED.

The acceptor first makes sure that it has what it gives the points back for: vouchers are voided,
or goods are in the till's hands; points of an exchange are taken from the member again. What is
reversed is named as a cumulative quantity, so a repeated request takes nothing back twice.

Clearing reverses by itself what nobody reported in time. Of such a delivery the acceptor takes
back what it still can: unused vouchers are void, points of an exchange are clawed back as the
programme says. The rest is its loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from comity.errors import InsufficientPoints, NotReversible, NotYet
from comity.ledger import entries
from comity.ledger.command import Batch, Content
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.points import Rounding, divide
from comity.v1 import clearing_pb2
from comity.v1 import entry_pb2 as pb
from node.accounts import (
    BY_PARTNER,
    CLAWED_BACK,
    Movement,
    claw_back,
    lot,
    open_lots,
    prefetch_accounts,
    settle,
)
from node.book import Handler, Handlers, Rules
from node.decided import Decided
from node.lots import take
from node.redemption_tables import redemptions, returns
from node.redemptions import State, following
from node.rewards import prefetch_rewards, return_stock
from node.tables import lots
from node.vouchers import prefetch_vouchers, void_unused


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """A till takes a redemption back, in part or whole (`cumulative_points` 0)."""

    step: ClassVar[Step] = Step.RETURN
    caller: str
    id: str
    redemption_id: str
    cumulative_points: int
    reason_code: str

    def content(self) -> Mapping[str, Content]:
        return {
            "redemption_id": self.redemption_id,
            "cumulative_points": self.cumulative_points,
            "reason_code": self.reason_code,
        }


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[TakeBack]) -> None:
    _prefetch_redemptions(rules, rows, list(dict.fromkeys(c.redemption_id for c in commands)))
    rows.load(returns, [(c.redemption_id, c.cumulative_points) for c in commands])


def _prefetch_redemptions(rules: Rules, rows: Rows, ids: Sequence[str]) -> None:
    """Load redemptions with all that was handed out for them."""
    rows.load(redemptions, [(name,) for name in ids])
    rows.load_where(returns, "redemption_id", ids)
    prefetch_vouchers(rows, ids)
    found = [row for name in ids if (row := rows.get(redemptions, (name,))) is not None]
    prefetch_rewards(rows, [row["reward_id"] for row in found if row["reward_id"]])
    prefetch_accounts(rules, rows, [row["destination"] for row in found if row["destination"]])
    rows.load(lots, [(row["lot"],) for row in found if row["lot"]])


def _take_back(rules: Rules, batch: Batch, command: TakeBack) -> bytes:
    """Append RETURN; answers the cumulative points as a RETURN row's key."""
    rows = batch.rows
    row = rows.get(redemptions, (command.redemption_id,))
    if row is None or row["state"] != State.DELIVERED:
        raise NotReversible("Only what was delivered here can be taken back.")
    before = row["reversed_points"]
    for other in rows.find(returns, "redemption_id", command.redemption_id):
        if other["state"] == "CLAIMED":
            raise NotYet("An earlier return of this redemption is not decided yet; ask again.")
        if other["state"] == "REVERSED":
            before = max(before, other["cumulative_points"])
    cumulative = command.cumulative_points or row["points"]
    if not before < cumulative <= row["points"]:
        raise NotReversible(
            f"{before} of {row['points']} points are reversed already; name a higher total.",
            metadata={"reversed": str(before), "committed": str(row["points"])},
        )
    decision = clearing_pb2.Decided.FromString(row["decision"]).decision
    body = pb.Return(
        issuer=row["issuer"],
        redemption_id=row["redemption_id"],
        delivery_index=row["delivery_index"],
        decision=entries.cite(f"{rules.network}/clearing", decision.index, decision.entry),
        cumulative_points=cumulative,
        reason_code=command.reason_code,
    )
    if row["destination"]:
        _take_points(rules, batch, row, body, before, cumulative)
    else:
        if cumulative == row["points"]:
            _void_whole(rows, row)
        data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
        batch.append(data, kind="returned")
    # The key is known: all returns of this redemption were loaded, and a refused one is replaced.
    put = rows.put if _again(rows, row, cumulative) else rows.insert
    put(
        returns,
        {
            "redemption_id": row["redemption_id"],
            "cumulative_points": cumulative,
            "index": batch.size - 1,
            "state": "CLAIMED",
            "reason_code": command.reason_code,
        },
    )
    return cumulative.to_bytes(8, "big")


def _again(rows: Rows, row: Mapping[str, Any], cumulative: int) -> bool:
    found = rows.find(returns, "redemption_id", row["redemption_id"])
    return any(other["cumulative_points"] == cumulative for other in found)


def _void_whole(rows: Rows, row: Mapping[str, Any]) -> None:
    """Every voucher that no till has taken is void; the pieces are in stock again.

    A till may take back what a used voucher bought: the goods are in its hands.
    """
    void_unused(rows, row["redemption_id"])
    return_stock(rows, row["reward_id"], row["quantity"])


def _take_points(
    rules: Rules, batch: Batch, row: Mapping[str, Any], body: pb.Return, before: int, after: int
) -> None:
    """The points an exchange gave leave the member: those of its own lot first.

    Raises NotReversible if they are not there any more.
    """
    account, rows = row["destination"], batch.rows
    settle(rules, batch, account)
    wanted = _share(row, after) - _share(row, before)
    movement = Movement(rules, batch, reference=row["redemption_id"])
    if row["lot"] and wanted:
        first = lot(rows, row["lot"])
        part = min(first.available, wanted) if not first.expired(batch.now_us) else 0
        if part:
            movement.change(first, available=-part, given=BY_PARTNER)
        wanted -= part
    if wanted:
        try:
            found = take(open_lots(rows, account, rules.unit), wanted, batch.now_us)
        except InsufficientPoints as error:
            raise NotReversible(
                "The member has spent the points of this exchange; it cannot be taken back.",
                metadata=error.metadata,
            ) from error
        for other, part in found:
            movement.change(other, available=-part, given=BY_PARTNER)
    movement.own(CLAWED_BACK, _share(row, after) - _share(row, before))
    movement.append(body)


def _share(row: Mapping[str, Any], cumulative: int) -> int:
    """How many acceptor points stand for so many of the issuer's, of one exchange."""
    return divide(row["acceptor_points"] * cumulative, row["points"], Rounding.HALF_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountReversal:
    """REVERSED, from clearing's feed: what the acceptor was paid is taken back from it."""

    step: ClassVar[Step] = Step.RETURN
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    decided: Decided

    def content(self) -> Mapping[str, Content]:
        return {"decision": self.decided.hash}


def _prefetch_count(rules: Rules, rows: Rows, commands: Sequence[CountReversal]) -> None:
    ids = list(dict.fromkeys(c.decided.decision.redemption_id for c in commands))
    _prefetch_redemptions(rules, rows, ids)


def _count(rules: Rules, batch: Batch, command: CountReversal) -> bytes:
    """Answers what was lost, where a delivery was reported too late; otherwise nothing."""
    rows, decided = batch.rows, command.decided
    row = rows.get(redemptions, (decided.decision.redemption_id,))
    if row is None:
        raise NotReversible("Clearing reversed a redemption that is not known here.")
    if row["state"] == State.RESERVED:
        # Nothing was handed out, and from now on nothing is, though the driver may hold COMMITTED;
        # it ends the redemption with both decisions.
        rows.put(redemptions, row | {"reversed_points": row["points"]})
        return b""
    following(State(row["state"]), decided)
    if decided.decision.HasField("cites"):
        claimed = _claimed(rules, rows, decided)
        rows.put(returns, claimed | {"state": "REVERSED"})
        reversed_to = max(row["reversed_points"], claimed["cumulative_points"])
        rows.put(redemptions, row | {"reversed_points": reversed_to})
        return b""
    if row["reversed_points"] == row["points"]:
        return b""
    rows.put(redemptions, row | {"reversed_points": row["points"]})
    lost = _undo_late(rules, batch, row)
    return lost.to_bytes(8, "big") if lost else b""


def _undo_late(rules: Rules, batch: Batch, row: Mapping[str, Any]) -> int:
    """A delivery that was reported too late is not paid for, so what it gave is worth nothing.

    Returns what stays with the member, the acceptor's loss: pieces whose voucher was used, or
    points that the programme's clawback leaves.
    """
    told = batch.rows.find(returns, "redemption_id", row["redemption_id"])
    back = max((one["cumulative_points"] for one in told), default=0)
    if row["destination"]:
        return _claw_back_late(rules, batch, row, back)
    if back == row["points"]:
        return 0
    valid = void_unused(batch.rows, row["redemption_id"])
    return_stock(batch.rows, row["reward_id"], valid)
    return int(row["quantity"]) - valid


def _claw_back_late(rules: Rules, batch: Batch, row: Mapping[str, Any], back: int) -> int:
    """Points of an exchange, but for what a RETURN has taken already; which are not recovered."""
    account, wanted = row["destination"], row["acceptor_points"] - _share(row, back)
    if not wanted:
        return 0
    settle(rules, batch, account)
    movement = Movement(rules, batch, reference=row["redemption_id"])
    taken, _ = claw_back(rules, batch, movement, account, wanted, row["lot"], given=BY_PARTNER)
    movement.own(CLAWED_BACK, taken)
    if movement.legs:
        salt = batch.random(entries.SALT_BYTES)
        movement.append(pb.Clawback(event=entries.seal_event(row["redemption_id"], salt)))
    return int(wanted - taken)


def _claimed(rules: Rules, rows: Rows, decided: Decided) -> dict[str, Any]:
    """The return which a REVERSED cites."""
    cited = decided.decision.cites
    for row in rows.find(returns, "redemption_id", decided.decision.redemption_id):
        if cited.origin == rules.origin and row["index"] == cited.index:
            return row
    raise NotReversible("Clearing reversed on an entry that is no return of this redemption.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseReturn:
    """Clearing will not reverse on this RETURN: it stands, without effect."""

    step: ClassVar[Step] = Step.RETURN
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    redemption_id: str
    cumulative_points: int

    def content(self) -> Mapping[str, Content]:
        return {"redemption_id": self.redemption_id, "cumulative_points": self.cumulative_points}


def _prefetch_refuse(rules: Rules, rows: Rows, commands: Sequence[RefuseReturn]) -> None:
    rows.load(returns, [(c.redemption_id, c.cumulative_points) for c in commands])


def _refuse(rules: Rules, batch: Batch, command: RefuseReturn) -> bytes:
    row = batch.rows.get(returns, (command.redemption_id, command.cumulative_points))
    if row is not None and row["state"] == "CLAIMED":
        batch.rows.put(returns, row | {"state": "REFUSED"})
    return b""


HANDLERS: Handlers = {
    TakeBack: Handler(_prefetch, _take_back),
    CountReversal: Handler(_prefetch_count, _count),
    RefuseReturn: Handler(_prefetch_refuse, _refuse),
}
