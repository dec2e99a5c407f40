"""What was bought is given back.

A refund names all that was refunded so far, and takes back what the purchase earned beyond what
the rest of it would have earned, grant by grant. So any parts, repeated and in any order, end
where one refund of the same total ends; and a purchase wholly refunded has earned nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comity.errors import Malformed, NotFound, NotReversible
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.v1 import entry_pb2, merchant_pb2
from comity.v1.programme_pb2 import EventDetails
from node.accounts import (
    CLAWED_BACK,
    Given,
    Movement,
    claw_back,
    prefetch_accounts,
    settle,
)
from node.book import Handler, Handlers, Rules
from node.commands import RefundPurchase
from node.event_tables import activity, counts, earnings, events
from node.events import count_of, put_count
from node.programme.calendar import period_key
from node.programme.facts import CountKey
from node.programme.model import PURCHASE
from node.programme.refunds import given_back, kept
from node.tables import lots, members

# --- refunds --------------------------------------------------------------------------------


def _prefetch_refund(rules: Rules, rows: Rows, commands: Sequence[RefundPurchase]) -> None:
    ids = [(command.purchase_id,) for command in commands]
    rows.load(events, ids)
    found = [row for at in ids if (row := rows.get(events, at)) is not None]
    names = [row["account"] for row in found]
    prefetch_accounts(rules, rows, names)
    rows.load(activity, [(name,) for name in names])
    rows.load_where(earnings, "event_id", [row["event_id"] for row in found])
    grants = [(row, one) for row in found for one in _grants(rows, row)]
    rows.load(lots, [(one["lot"],) for _, one in grants if one["lot"]])
    rows.load(
        counts,
        [(row["account"], *key) for row, one in grants for key in _keys(rules, row, one["rule"])],
    )


def _grants(rows: Rows, row: dict[str, Any]) -> list[dict[str, Any]]:
    """What a purchase earned, in the order of its rules."""
    found = rows.find(earnings, "event_id", row["event_id"])
    return sorted(found, key=lambda one: int(one["place"]))


def _keys(rules: Rules, row: dict[str, Any], rule: str) -> list[CountKey]:
    """The counts of a rule's limits at the time of the purchase."""
    programme = rules.at(row["at_us"])
    found = programme.earn.get(rule)
    limits = found.limits if found is not None else ()
    return [(rule, period_key(programme.zone, limit.per, row["at_us"])) for limit in limits]


def _refund(rules: Rules, batch: Batch, command: RefundPurchase) -> bytes:
    rows = batch.rows
    row = rows.get(events, (command.purchase_id,))
    if row is None or row["type"] != PURCHASE:
        raise NotFound(f"There is no purchase {command.purchase_id} here.", field="purchase_id")
    if command.currency != row["currency"]:
        raise Malformed(
            f"The purchase was in {row['currency']}, not in {command.currency}.",
            field="cumulative.currency",
        )
    if command.cumulative_minor < 1:
        raise Malformed("A refund is above zero.", field="cumulative.minor")
    if command.cumulative_minor > row["amount_minor"]:
        raise NotReversible(
            f"The purchase was of {row['amount_minor']} and {command.cumulative_minor} would be "
            "refunded in all; name at most what was paid.",
            field="cumulative.minor",
        )
    left = row["amount_minor"] - command.cumulative_minor
    if command.kept_lines and sum(command.kept_lines) != left:
        raise Malformed("The lines kept sum to what is left of the purchase.", field="kept_lines")
    if command.cumulative_minor <= row["refunded_minor"]:
        # A smaller total that arrives late is part of what was refunded already.
        return canonical(merchant_pb2.RefundPurchaseResponse())
    answer = _take_back(rules, batch, row, left, command.kept_lines)
    _note(rows, row, command.cumulative_minor)
    rows.put(events, row | {"refunded_minor": command.cumulative_minor})
    return canonical(answer)


def _note(rows: Rows, row: dict[str, Any], cumulative_minor: int) -> None:
    """What the member did, without what was refunded."""
    done = rows.get(activity, (row["account"],))
    if done is not None:
        done["spend_minor"] -= cumulative_minor - row["refunded_minor"]
        done["purchases"] -= int(cumulative_minor == row["amount_minor"])
        rows.put(activity, done)


def _take_back(
    rules: Rules, batch: Batch, row: dict[str, Any], left: int, kept_lines: tuple[int, ...]
) -> merchant_pb2.RefundPurchaseResponse:
    """Take back what was earned beyond what is kept; answers what of it was in the main unit."""
    rows, account = batch.rows, row["account"]
    grants = _grants(rows, row)
    rests = [_rest(row, one, left, kept_lines) for one in grants]
    owner = rows.get(members, (account,))
    there = owner is not None and not owner["erased_at_us"]
    if there:
        settle(rules, batch, account)
    answer = merchant_pb2.RefundPurchaseResponse()
    movement = Movement(rules, batch, reference=row["event_id"])
    taken_by_unit: dict[str, int] = {}
    for one, rest in zip(grants, rests, strict=True):
        points = one["points"] - rest - one["reversed_points"]
        if points > 0:
            rows.put(earnings, one | {"reversed_points": one["points"] - rest})
        if there:
            taken, debt = _claw(rules, batch, movement, account, one, max(0, points))
            taken_by_unit[one["unit"]] = taken_by_unit.get(one["unit"], 0) + taken
            if one["unit"] == rules.unit:
                answer.points += taken
                answer.debt += debt
            _count_less(rules, rows, row, one["rule"], max(0, points), whole=not left)
    for unit, taken in taken_by_unit.items():
        movement.own(CLAWED_BACK, taken, unit=unit)
    if movement.legs:
        movement.event(row["event_id"])
        movement.append(entry_pb2.Clawback())
    return answer


def _rest(row: dict[str, Any], one: dict[str, Any], left: int, kept_lines: tuple[int, ...]) -> int:
    """What remains of one grant when so much of the purchase, or of each line, is kept."""
    amounts: Sequence[int] = (left,)
    if one["by_line"]:
        lines = EventDetails.FromString(row["details"]).lines
        amounts = kept_lines or [0] * (not left)
        if left and len(kept_lines) != len(lines):
            raise Malformed(
                "Points of this purchase were rounded by line; say how much of each line is kept.",
                field="kept_lines",
            )
        if any(kept > line.amount_minor for kept, line in zip(amounts, lines, strict=False)):
            raise Malformed("No more of a line is kept than was bought.", field="kept_lines")
    return kept(
        one["points"],
        numerator=one["numerator"],
        denominator=one["denominator"],
        by_line=bool(one["by_line"]),
        amounts_kept=amounts,
    )


def _claw(
    rules: Rules,
    batch: Batch,
    movement: Movement,
    account: str,
    one: dict[str, Any],
    points: int,
) -> tuple[int, int]:
    if not points:
        return 0, 0
    given = None
    if one["source"]:  # earlier releases did not keep it
        given = Given(rule=one["rule"], source=one["source"], funded_by=one["funded_by"])
    return claw_back(
        rules, batch, movement, account, points, one["lot"], unit=one["unit"], given=given
    )


def _count_less(
    rules: Rules, rows: Rows, row: dict[str, Any], rule: str, points: int, *, whole: bool
) -> None:
    """The limits of the rule count what was taken back no longer."""
    account, at_us = row["account"], row["at_us"]
    counted = {key: count_of(rows, account, key) for key in _keys(rules, row, rule)}
    changed = given_back(
        rules.at(at_us), counted, rule=rule, at_us=at_us, points=points, whole=whole
    )
    for key, count in changed.items():
        put_count(rows, account, key, count)


HANDLERS: Handlers = {
    RefundPurchase: Handler(_prefetch_refund, _refund),
}
