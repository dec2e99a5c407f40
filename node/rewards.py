"""The catalogue and its stock. A piece is free, reserved for a redemption, or delivered.

The functions below `stock` are for the rules of redemptions: a reservation is made before the
hold, and ends as a delivery or is freed. What is promised never exceeds what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from comity.errors import Malformed, NotFound, OutOfStock
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.points import add
from comity.v1 import member_pb2, merchant_pb2
from node.book import Handler, Handlers, Rules
from node.commands import PutReward, SetStock
from node.tables import rewards

UNLIMITED = -1


def reward_message(row: dict[str, Any]) -> member_pb2.Reward:
    """A row of the catalogue as members and staff see it."""
    reward = member_pb2.Reward(
        reward_id=row["reward_id"],
        title=row["title"],
        kind=row["kind"],
        price_points=row["price_points"],
        stock=free(row),
        active=bool(row["active"]),
    )
    if row["retail_currency"]:
        reward.retail.currency = row["retail_currency"]
        reward.retail.minor = row["retail_minor"]
    return reward


def free(row: dict[str, Any]) -> int:
    """Pieces that can still be promised; -1 for any number."""
    if row["unlimited"]:
        return UNLIMITED
    return int(row["stock"] - row["reserved"] - row["delivered"])


# --- stock ----------------------------------------------------------------------------------


def prefetch_rewards(rows: Rows, names: Iterable[str]) -> None:
    """Load the catalogue's rows that these functions need."""
    rows.load(rewards, [(name,) for name in names])


def reserve_stock(rows: Rows, reward_id: str, quantity: int) -> dict[str, Any]:
    """Set pieces aside for a redemption; returns the reward's row.

    Raises NotFound for a reward that is not offered, OutOfStock if too few pieces are free.
    """
    row = rows.get(rewards, (reward_id,))
    if row is None or not row["active"]:
        raise NotFound(f"There is no reward {reward_id} on offer.", field="reward_id")
    left = free(row)
    if left != UNLIMITED and left < quantity:
        raise OutOfStock(
            f"Of {reward_id} {left} are left; ask for fewer, or for another reward.",
            metadata={"left": str(left)},
        )
    row["reserved"] += quantity
    rows.put(rewards, row)
    return row


def deliver_stock(rows: Rows, reward_id: str, quantity: int) -> None:
    """Reserved pieces were handed out."""
    _move(rows, reward_id, reserved=-quantity, delivered=quantity)


def free_stock(rows: Rows, reward_id: str, quantity: int) -> None:
    """Reserved pieces are free again: the redemption failed."""
    _move(rows, reward_id, reserved=-quantity, delivered=0)


def return_stock(rows: Rows, reward_id: str, quantity: int) -> None:
    """Delivered pieces came back."""
    _move(rows, reward_id, reserved=0, delivered=-quantity)


def _move(rows: Rows, reward_id: str, *, reserved: int, delivered: int) -> None:
    row = rows.get(rewards, (reward_id,))
    assert row is not None, f"stock of {reward_id} was promised"
    row["reserved"] += reserved
    row["delivered"] += delivered
    assert row["reserved"] >= 0, f"more of {reward_id} than was reserved"
    assert row["delivered"] >= 0, f"more of {reward_id} than was delivered"
    rows.put(rewards, row)


# --- the catalogue --------------------------------------------------------------------------


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[PutReward | SetStock]) -> None:
    prefetch_rewards(rows, [command.reward_id for command in commands])


def _put(rules: Rules, batch: Batch, command: PutReward) -> bytes:
    """`stock` counts when the reward is new, or changes between limited and unlimited; pieces
    of a limited one are added and taken by `SetStock`, which cannot lose a concurrent sale."""
    rows = batch.rows
    reward = member_pb2.Reward.FromString(command.reward)
    before = rows.get(rewards, (command.reward_id,))
    row = before or {"unlimited": 1, "stock": 0, "reserved": 0, "delivered": 0}
    limited = reward.stock != UNLIMITED
    if limited and row["unlimited"]:
        row["stock"] = add(row["reserved"], row["delivered"], reward.stock)
    row |= {
        "reward_id": reward.reward_id,
        "title": reward.title,
        "kind": int(reward.kind),
        "price_points": reward.price_points,
        "retail_currency": reward.retail.currency,
        "retail_minor": reward.retail.minor,
        "active": int(reward.active),
        "unlimited": int(not limited),
    }
    rows.put(rewards, row)
    return canonical(merchant_pb2.PutRewardResponse(reward=reward_message(row)))


def _set_stock(rules: Rules, batch: Batch, command: SetStock) -> bytes:
    row = batch.rows.get(rewards, (command.reward_id,))
    if row is None:
        raise NotFound(f"There is no reward {command.reward_id}.", field="reward_id")
    if row["unlimited"]:
        raise Malformed(
            f"{command.reward_id} is unlimited; put it with a stock first.", field="reward_id"
        )
    left = free(row)
    if left + command.change < 0:
        raise OutOfStock(
            f"Of {command.reward_id} {left} are free; take away at most so many.", field="change"
        )
    row["stock"] = add(row["stock"], command.change)
    batch.rows.put(rewards, row)
    return canonical(merchant_pb2.SetStockResponse(reward=reward_message(row)))


HANDLERS: Handlers = {
    PutReward: Handler(_prefetch, _put),
    SetStock: Handler(_prefetch, _set_stock),
}
