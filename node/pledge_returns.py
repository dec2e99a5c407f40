"""A partner sale is given back: the partner's RETURN of what it pledged, then clearing's REVERSED.

A refund names all that was refunded of the sale so far. The points that go back with it are the
same share of the points pledged, rounded as the agreement rounds points; so parts, repeated and
in any order, end where one refund of the same total ends.

Who bears points that the member has spent is the agreement's word. Unless it says the partner,
the RETURN names all of them and the issuer takes back what its programme can. If the partner
bears them, the issuer is asked first and says how many it could take back; the RETURN names
those, and for the rest the partner has paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from comity.errors import BadStatement, Malformed, NotFound, NotHeard, NotReversible
from comity.ledger import entries
from comity.ledger.command import Batch, Content
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.points import divide
from comity.terms.agreements import ROUNDINGS
from comity.v1 import common_pb2
from comity.v1 import entry_pb2 as pb
from node.book import Handler, Handlers, Rules
from node.decided import Decided
from node.holds import terms_from
from node.redemption_tables import agreements, pledges, returns

REFUNDED = "REFUNDED"
"""Why a pledge is taken back, as its RETURN says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundPledged:
    """A till gives money back for a sale to another brand's member."""

    step: ClassVar[Step] = Step.RETURN
    caller: str
    id: str
    purchase_id: str
    redemption_id: str
    currency: str
    cumulative_minor: int

    def content(self) -> Mapping[str, Content]:
        return {
            "purchase_id": self.purchase_id,
            "cumulative.currency": self.currency,
            "cumulative.minor": self.cumulative_minor,
        }


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[RefundPledged | AnswerRefund]) -> None:
    names = list(dict.fromkeys(c.redemption_id for c in commands))
    rows.load(pledges, [(name,) for name in names])
    rows.load_where(returns, "redemption_id", names)
    found = [row for name in names if (row := rows.get(pledges, (name,))) is not None]
    rows.load(agreements, [(row["agreement_id"], row["agreement_version"]) for row in found])


def _refund(rules: Rules, batch: Batch, command: RefundPledged) -> bytes:
    rows = batch.rows
    row = rows.get(pledges, (command.redemption_id,))
    if row is None:
        raise NotFound(f"There is no partner sale {command.purchase_id} here.", field="purchase_id")
    _check_sold(row, command)
    terms = _terms(rows, row)
    wanted = divide(
        row["points"] * command.cumulative_minor,
        row["amount_minor"],
        ROUNDINGS[terms.points_rounding],
    )
    under_way = is_under_way(row, rows.find(returns, "redemption_id", row["redemption_id"]))
    if wanted > row["asked_points"]:
        if under_way:
            raise NotHeard("An earlier refund of this sale is not decided yet; repeat this one.")
        row["asked_points"] = wanted
        if not terms.partner_bears_unrecoverable:
            row |= {"answered_points": wanted, "recovered_points": wanted}
    row["refunded_minor"] = max(row["refunded_minor"], command.cumulative_minor)
    rows.put(pledges, row)
    if not under_way and row["answered_points"] == row["asked_points"]:
        _return(rules, batch, row)
    return b""


def _check_sold(row: Mapping[str, Any], command: RefundPledged) -> None:
    if row["state"] == "PLEDGED":
        raise NotHeard("Clearing has not decided on this sale's points yet; repeat the refund.")
    if row["state"] == "ABORTED":
        raise NotReversible("This sale earned no points and cost none; there is nothing to return.")
    if not row["amount_minor"]:
        raise NotReversible(
            "The amount of this sale was not kept when it was recorded, by an earlier release; "
            "settle its points with the other brand."
        )
    if command.currency != row["currency"]:
        raise Malformed(
            f"The sale was in {row['currency']}, not in {command.currency}.",
            field="cumulative.currency",
        )
    if command.cumulative_minor < 1:
        raise Malformed("A refund is above zero.", field="cumulative.minor")
    if command.cumulative_minor > row["amount_minor"]:
        raise NotReversible(
            f"The sale was of {row['amount_minor']} and {command.cumulative_minor} would be "
            "refunded in all; name at most what was paid.",
            field="cumulative.minor",
        )


def is_under_way(row: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> bool:
    """Whether issuer or clearing has yet to answer a refund of this pledge."""
    waits = any(one["state"] == "CLAIMED" for one in told)
    return waits or bool(row["asked_points"] > row["answered_points"])


def reversed_of(told: Sequence[Mapping[str, Any]]) -> int:
    """How many points clearing has reversed on these rows of `returns`."""
    return max((one["cumulative_points"] for one in told if one["state"] == "REVERSED"), default=0)


def _terms(rows: Rows, row: Mapping[str, Any]) -> common_pb2.AgreementTerms:
    found = rows.get(agreements, (row["agreement_id"], row["agreement_version"]))
    assert found is not None, "a pledge was made under this agreement"
    return terms_from(found["terms"])


def _return(rules: Rules, batch: Batch, row: Mapping[str, Any]) -> bool:
    """Append RETURN up to the points to give back, unless clearing reversed as many already.

    A RETURN which clearing refused is written again.
    """
    rows, cumulative = batch.rows, row["recovered_points"]
    told = rows.find(returns, "redemption_id", row["redemption_id"])
    if cumulative <= reversed_of(told):
        return False
    body = pb.Return(
        issuer=row["issuer"],
        redemption_id=row["redemption_id"],
        delivery_index=row["index"],
        decision=common_pb2.Citation.FromString(row["decision"]),
        cumulative_points=cumulative,
        reason_code=REFUNDED,
    )
    data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
    index = batch.append(data, kind="returned")
    again = any(one["cumulative_points"] == cumulative for one in told)
    put = rows.put if again else rows.insert
    put(
        returns,
        {
            "redemption_id": row["redemption_id"],
            "cumulative_points": cumulative,
            "index": index,
            "state": "CLAIMED",
            "reason_code": REFUNDED,
        },
    )
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRefund:
    """What the issuer could take back of the points which a refund asks for, both cumulative."""

    step: ClassVar[Step] = Step.RETURN
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    redemption_id: str
    asked_points: int
    recovered_points: int

    def content(self) -> Mapping[str, Content]:
        return {"redemption_id": self.redemption_id, "asked_points": self.asked_points}


def _answer(rules: Rules, batch: Batch, command: AnswerRefund) -> bytes:
    row = batch.rows.get(pledges, (command.redemption_id,))
    if row is None or command.asked_points > row["asked_points"]:
        raise BadStatement("The issuer answered a refund that was not asked for.")
    if command.asked_points <= row["answered_points"]:
        return b""
    if not row["recovered_points"] <= command.recovered_points <= command.asked_points:
        raise BadStatement(
            f"{row['issuer']} says it took back {command.recovered_points} points of "
            f"{command.asked_points}, and {row['recovered_points']} before. Ask it to look at it."
        )
    row |= {
        "answered_points": command.asked_points,
        "recovered_points": command.recovered_points,
    }
    batch.rows.put(pledges, row)
    _return(rules, batch, row)
    return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountPledgeReversal:
    """REVERSED on a pledge, from clearing's feed or its answer: we owe less."""

    step: ClassVar[Step] = Step.RETURN
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    decided: Decided

    def content(self) -> Mapping[str, Content]:
        return {"decision": self.decided.hash}


def _prefetch_count(rules: Rules, rows: Rows, commands: Sequence[CountPledgeReversal]) -> None:
    rows.load_where(returns, "redemption_id", [c.decided.decision.redemption_id for c in commands])


def _count(rules: Rules, batch: Batch, command: CountPledgeReversal) -> bytes:
    decision = command.decided.decision
    for row in batch.rows.find(returns, "redemption_id", decision.redemption_id):
        if decision.cites.origin == rules.origin and row["index"] == decision.cites.index:
            batch.rows.put(returns, row | {"state": "REVERSED"})
            return b""
    raise NotReversible("Clearing reversed on an entry that is no return of this pledge.")


HANDLERS: Handlers = {
    RefundPledged: Handler(_prefetch, _refund),
    AnswerRefund: Handler(_prefetch, _answer),
    CountPledgeReversal: Handler(_prefetch_count, _count),
}
