"""Partner accrual: a member of one brand earns at another's store, and the store's brand pays.

The partner writes a PLEDGE, its promise to pay, and claims at clearing. The issuer accrues when
it has both: the partner's notice, which opens whose account it is, and clearing's COMMITTED.
Either may come first; they meet in one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from comity.errors import BadStatement, Forbidden, Malformed, NotHeard, NotReversible
from comity.ledger import entries
from comity.ledger.command import Batch, Content
from comity.ledger.rows import Rows
from comity.ledger.statements import Proven
from comity.ledger.steps import Step
from comity.terms import agreements as arithmetic
from comity.v1 import common_pb2
from comity.v1 import entry_pb2 as pb
from node.accounts import (
    BY_PARTNER,
    CLAWED_BACK,
    ISSUED,
    Movement,
    claw_back,
    credit,
    lot,
    member,
    prefetch_accounts,
    settle,
)
from node.book import Handler, Handlers, Rules
from node.decided import Decided, check_amounts
from node.holds import terms_from, terms_in_force
from node.programme import grant, points_for, purchase_rate
from node.redemption_tables import agreements, notices, pledges
from node.tables import lots, members

ACCRUAL = common_pb2.REDEMPTION_KIND_ACCRUAL


# --- as the partner -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PledgeAccrual:
    """A till of this brand sold to another brand's member. The id is the sale's, as for own
    members, so whichever till repeats it gets the same answer."""

    step: ClassVar[Step] = Step.PLEDGE
    caller: ClassVar[str] = "partner-purchases"
    purchase_id: str
    redemption_id: str
    issuer: str
    account: str
    currency: str
    minor: int
    agreement_id: str
    agreement_version: int

    @property
    def id(self) -> str:
        return self.purchase_id

    def content(self) -> Mapping[str, Content]:
        return {
            "issuer": self.issuer,
            "account": self.account,
            "amount.currency": self.currency,
            "amount.minor": self.minor,
        }


def _prefetch_pledge(rules: Rules, rows: Rows, commands: Sequence[PledgeAccrual]) -> None:
    rows.load(agreements, [(c.agreement_id, c.agreement_version) for c in commands])


def _pledge(rules: Rules, batch: Batch, command: PledgeAccrual) -> bytes:
    programme, rows = rules.programme, batch.rows
    if command.currency != programme.currency:
        raise Malformed(f"Purchases are in {programme.currency} here.", field="amount.currency")
    terms = terms_in_force(rows, command.agreement_id, command.agreement_version, batch.now_us)
    arithmetic.check_kind(terms, ACCRUAL)
    rate = purchase_rate(programme)
    if rate is None:
        raise Malformed("This programme has no rate at which a purchase earns points.")
    own = points_for(command.minor, rate_points=rate.points, rate_minor=rate.per_minor)
    points = arithmetic.issuer_points(terms, own)
    arithmetic.check_points(terms, points)
    salt = batch.random(entries.SALT_BYTES)
    pledge = pb.Pledge(
        network=rules.network,
        issuer=command.issuer,
        redemption_id=command.redemption_id,
        agreement_id=terms.agreement_id,
        agreement_version=terms.version,
        points=points,
        amount=arithmetic.amounts(terms, points).amount,
        destination=entries.seal_account(command.account, salt),
        event=entries.seal_event(command.purchase_id, batch.random(entries.SALT_BYTES)),
        expires_at_us=batch.now_us + terms.deliver_within_us,
    )
    data = entries.encode(pledge, origin=rules.origin, at_us=batch.now_us)
    index = batch.append(data, kind="pledge")
    rows.insert(
        pledges,
        {
            "redemption_id": command.redemption_id,
            "purchase_id": command.purchase_id,
            "issuer": command.issuer,
            "state": "PLEDGED",
            "account": command.account,
            "salt": salt,
            "points": points,
            "agreement_id": terms.agreement_id,
            "agreement_version": terms.version,
            "index": index,
            "noticed": 0,
            "currency": command.currency,
            "amount_minor": command.minor,
            "refunded_minor": 0,
            "decision": b"",
            "asked_points": 0,
            "answered_points": 0,
            "recovered_points": 0,
        },
    )
    return points.to_bytes(8, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlePledge:
    """What became of a pledge: clearing's decision, or that the issuer has taken note of it."""

    step: ClassVar[Step] = Step.PLEDGE
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    redemption_id: str
    decided: Decided | None = None
    noticed: bool = False

    def content(self) -> Mapping[str, Content]:
        return {"redemption_id": self.redemption_id}


def _prefetch_settle(rules: Rules, rows: Rows, commands: Sequence[SettlePledge]) -> None:
    rows.load(pledges, [(c.redemption_id,) for c in commands])


def _settle_pledge(rules: Rules, batch: Batch, command: SettlePledge) -> bytes:
    row = batch.rows.get(pledges, (command.redemption_id,))
    if row is None:
        raise BadStatement("Clearing decided on a pledge that was never made here.")
    if command.noticed:
        row["noticed"] = 1
    if command.decided is not None and row["state"] == "PLEDGED":
        outcome = command.decided.decision.outcome
        row["state"] = "COMMITTED" if outcome == pb.OUTCOME_COMMITTED else "ABORTED"
        if row["state"] == "COMMITTED":
            row["decision"] = command.decided.citation.SerializeToString()
        else:
            row["noticed"] = 1
    batch.rows.put(pledges, row)
    return b""


# --- as the issuer --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NotePledge:
    """A partner shows its PLEDGE and says whose account it is for."""

    step: ClassVar[Step] = Step.ACCRUE
    partner: str
    pledge: Proven
    account: str

    @property
    def caller(self) -> str:
        return self.partner

    @property
    def id(self) -> str:
        return f"pledge/{self.redemption_id}"

    @property
    def redemption_id(self) -> str:
        return self.pledge.entry.pledge.redemption_id

    def content(self) -> Mapping[str, Content]:
        return {"pledge": self.pledge.citation.leaf_hash, "account": self.account}


def check_notice(rules: Rules, proven: Proven, *, account: str, salt: bytes) -> None:
    """Raises BadStatement or Forbidden unless the statement is a pledge to us for this account."""
    if proven.entry.WhichOneof("body") != "pledge":
        raise BadStatement("The entry shown as a pledge is none.")
    pledge = proven.entry.pledge
    if pledge.issuer != rules.participant or pledge.network != rules.network:
        raise Forbidden("This pledge is for another issuer.")
    if pledge.destination != entries.seal_account(account, salt):
        raise BadStatement("The pledge is for another account than the one named.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccrueDecided:
    """A decision on a partner's pledge, from clearing's feed."""

    step: ClassVar[Step] = Step.ACCRUE
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    decided: Decided

    def content(self) -> Mapping[str, Content]:
        return {"decision": self.decided.hash}


def _prefetch_note(rules: Rules, rows: Rows, commands: Sequence[NotePledge]) -> None:
    rows.load(notices, [(c.partner, c.redemption_id) for c in commands])
    prefetch_accounts(rules, rows, [c.account for c in commands])
    wanted = [c.pledge.entry.pledge for c in commands]
    rows.load(agreements, [(p.agreement_id, p.agreement_version) for p in wanted])


def _note(rules: Rules, batch: Batch, command: NotePledge) -> bytes:
    rows, pledge = batch.rows, command.pledge.entry.pledge
    found = rows.get(agreements, (pledge.agreement_id, pledge.agreement_version))
    if found is None or found["acceptor"] != command.partner:
        raise Forbidden("The pledge names no agreement between us; pledge under one in force.")
    member(rows, command.account)
    row = rows.get(notices, (command.partner, command.redemption_id)) or _empty_notice(
        command.partner, command.redemption_id
    )
    row |= {
        "pledge": command.pledge.citation.SerializeToString(),
        "account": command.account,
        "points": pledge.points,
    }
    if row["state"] == "COMMITTED":
        _accrue(rules, batch, row)
        _claw_back(rules, batch, row, row["reversed_points"])
    rows.put(notices, row)
    return b""


def _prefetch_decided(rules: Rules, rows: Rows, commands: Sequence[AccrueDecided]) -> None:
    keys = [(c.decided.decision.acceptor, c.decided.decision.redemption_id) for c in commands]
    rows.load(notices, keys)
    found = [row for at in dict.fromkeys(keys) if (row := rows.get(notices, at)) is not None]
    prefetch_accounts(rules, rows, [row["account"] for row in found if row["account"]])
    rows.load(lots, [(row["lot"],) for row in found if row["lot"]])
    opened = [c.decided.opening for c in commands]
    rows.load(agreements, [(one.agreement_id, one.agreement_version) for one in opened])


def _decided(rules: Rules, batch: Batch, command: AccrueDecided) -> bytes:
    rows, decided = batch.rows, command.decided
    decision = decided.decision
    at = (decision.acceptor, decision.redemption_id)
    row = rows.get(notices, at) or _empty_notice(*at)
    if decision.outcome == pb.OUTCOME_REVERSED:
        _reverse(rules, batch, row, decided)
    elif row["state"] != "NOTED":
        return b""
    elif decision.outcome == pb.OUTCOME_ABORTED:
        row["state"] = "ABORTED"
    else:
        terms = _terms(rows, decided)
        check_amounts(decided, arithmetic.amounts(terms, decided.points, ACCRUAL))
        row |= {
            "state": "COMMITTED",
            "points": decided.points,
            "decision": decided.citation.SerializeToString(),
            "cites": decision.cites.SerializeToString(),
            "seq": decided.seq(rules.participant),
        }
        if row["account"]:
            _accrue(rules, batch, row)
    rows.put(notices, row)
    return b""


def _accrue(rules: Rules, batch: Batch, row: dict[str, Any]) -> None:
    """Notice and decision are both here: the member gets the points."""
    if row["pledge"] != row["cites"]:
        raise BadStatement("The partner's notice and clearing's decision name different pledges.")
    settle(rules, batch, row["account"])
    movement = Movement(rules, batch, reference=row["redemption_id"])
    movement.own(ISSUED, -row["points"])
    draft = grant(rules.programme, points_=row["points"], now_us=batch.now_us)
    row["lot"] = credit(rules, batch, movement, row["account"], draft, given=BY_PARTNER)
    row["accrued_index"] = movement.append(
        pb.Accrual(
            event=entries.seal_event(row["redemption_id"], batch.random(entries.SALT_BYTES)),
            programme_version=rules.programme.version,
            decision=common_pb2.Citation.FromString(row["decision"]),
            seq=row["seq"],
            redemption_id=row["redemption_id"],
        )
    )
    row["state"] = "ACCRUED"


def _reverse(rules: Rules, batch: Batch, row: dict[str, Any], decided: Decided) -> None:
    """The partner's sale was taken back: the points go, as the programme's refunds do.

    Those which the partner had us take back before are gone already; of a pledge we have no
    notice of yet, they go as soon as they come.
    """
    seq = decided.seq(rules.participant)
    if seq <= row["reversed_seq"]:
        return
    original = common_pb2.Citation.FromString(row["decision"])
    if row["state"] not in ("COMMITTED", "ACCRUED") or decided.decision.original != original:
        raise BadStatement("Clearing reversed an accrual that was not committed here.")
    before = row["reversed_points"]
    cumulative = before + decided.points
    if decided.points < 1 or cumulative > row["points"]:
        raise BadStatement("Clearing reversed more than was accrued.")
    if row["state"] == "ACCRUED":
        _claw_back(rules, batch, row, cumulative - max(before, row["recovered_points"]))
    row |= {"reversed_points": cumulative, "reversed_seq": seq}


def _claw_back(rules: Rules, batch: Batch, row: Mapping[str, Any], points: int) -> int:
    """Take points of an accrual from the member; answers how many nobody has to bear.

    Those which ended unspent in their lot are asked for no more, and no loss.
    """
    account, name, rows = row["account"], row["lot"], batch.rows
    if points < 1:
        return 0
    settle(rules, batch, account)
    movement = Movement(rules, batch, reference=row["redemption_id"])
    ended = lot(rows, name).gone if name else 0
    owner = rows.get(members, (account,))
    if owner is None or owner["erased_at_us"]:
        gone = min(points, ended)
        if gone:
            movement.change(replace(lot(rows, name), gone=ended - gone))
        return gone
    taken, _ = claw_back(rules, batch, movement, account, points, name, given=BY_PARTNER)
    movement.own(CLAWED_BACK, taken)
    left = lot(rows, name).gone if name else 0
    if movement.legs:
        event = entries.seal_event(row["redemption_id"], batch.random(entries.SALT_BYTES))
        movement.append(pb.Clawback(event=event))
    return taken + ended - left


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverAccrued:
    """A partner which bears what cannot be taken back asks how much can, before its RETURN."""

    step: ClassVar[Step] = Step.ACCRUE
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    partner: str
    pledge: Proven
    cumulative_points: int

    @property
    def redemption_id(self) -> str:
        return self.pledge.entry.pledge.redemption_id

    def content(self) -> Mapping[str, Content]:
        return {"redemption_id": self.redemption_id, "refund_points": self.cumulative_points}


def _prefetch_recover(rules: Rules, rows: Rows, commands: Sequence[RecoverAccrued]) -> None:
    keys = [(c.partner, c.redemption_id) for c in commands]
    rows.load(notices, keys)
    found = [row for at in dict.fromkeys(keys) if (row := rows.get(notices, at)) is not None]
    prefetch_accounts(rules, rows, [row["account"] for row in found if row["account"]])
    rows.load(lots, [(row["lot"],) for row in found if row["lot"]])
    wanted = [c.pledge.entry.pledge for c in commands]
    rows.load(agreements, [(p.agreement_id, p.agreement_version) for p in wanted])


def _recover(rules: Rules, batch: Batch, command: RecoverAccrued) -> bytes:
    """Answers how many of the points asked for so far were taken back."""
    pledge = command.pledge.entry.pledge
    agreed = batch.rows.get(agreements, (pledge.agreement_id, pledge.agreement_version))
    if agreed is None or not terms_from(agreed["terms"]).partner_bears_unrecoverable:
        raise Forbidden("By this agreement points are taken back once clearing reversed.")
    row = batch.rows.get(notices, (command.partner, command.redemption_id))
    if row is None or row["state"] in ("NOTED", "COMMITTED"):
        raise NotHeard("Clearing's decision on this pledge has not come here yet; repeat.")
    if row["state"] != "ACCRUED" or row["pledge"] != command.pledge.citation.SerializeToString():
        raise NotReversible("These points were not given on this pledge.")
    if command.cumulative_points > row["points"]:
        raise NotReversible(f"The pledge was of {row['points']} points.", field="refund_points")
    if command.cumulative_points > row["asked_points"]:
        points = command.cumulative_points - row["asked_points"]
        row["recovered_points"] += _claw_back(rules, batch, row, points)
        row["asked_points"] = command.cumulative_points
        batch.rows.put(notices, row)
    return int(row["recovered_points"]).to_bytes(8, "big")


def _terms(rows: Rows, decided: Decided) -> common_pb2.AgreementTerms:
    opened = decided.opening
    found = rows.get(agreements, (opened.agreement_id, opened.agreement_version))
    if found is None:
        raise BadStatement("Clearing committed an accrual under an agreement unknown here.")
    return terms_from(found["terms"])


def _empty_notice(partner: str, redemption_id: str) -> dict[str, Any]:
    return {
        "partner": partner,
        "redemption_id": redemption_id,
        "state": "NOTED",
        "pledge": b"",
        "account": "",
        "points": 0,
        "accrued_index": -1,
        "lot": "",
        "reversed_points": 0,
        "decision": b"",
        "cites": b"",
        "seq": 0,
        "asked_points": 0,
        "recovered_points": 0,
        "reversed_seq": 0,
    }


HANDLERS: Handlers = {
    PledgeAccrual: Handler(_prefetch_pledge, _pledge),
    SettlePledge: Handler(_prefetch_settle, _settle_pledge),
    NotePledge: Handler(_prefetch_note, _note),
    AccrueDecided: Handler(_prefetch_decided, _decided),
    RecoverAccrued: Handler(_prefetch_recover, _recover),
}
