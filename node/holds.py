"""The issuer's part: points are set aside for an acceptor, and spent or given back as decided.

A hold begins with a mandate of the member and ends only with a DECISION of clearing that cites
it; silence never ends one. What a decision does is done from clearing's feed alone. A decision
that does not fit what stands here moves nothing: it is an error, for an operator to look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

from comity.clock import SECOND
from comity.errors import (
    AgreementInactive,
    BadStatement,
    Forbidden,
    LimitExceeded,
    MandateRejected,
    MemberLocked,
)
from comity.ledger.command import Batch, Content
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.log.merkle import leaf_hash
from comity.terms import agreements as arithmetic
from comity.terms import mandates, quotes
from comity.v1 import common_pb2
from comity.v1 import entry_pb2 as pb
from node.accounts import (
    CONVERTED,
    SPENT,
    Movement,
    give_back,
    lot,
    member,
    open_lots,
    prefetch_accounts,
    settle,
)
from node.book import Handler, Handlers, Rules
from node.decided import Decided, check_amounts
from node.freeze import prefetch_freeze, require_burning
from node.lots import take
from node.programme import check_redemption, local_day
from node.redemption_tables import agreements, holds, redeemed_days
from node.tables import devices, lots

SKEW_US: Final = 5 * SECOND
"""How far another organisation's clock may be ahead of ours."""

_HELD_KINDS: Final = (common_pb2.REDEMPTION_KIND_REWARD, common_pb2.REDEMPTION_KIND_EXCHANGE)


# --- agreements, as any rule reads them -----------------------------------------------------


@lru_cache(maxsize=1_024)
def terms_from(data: bytes) -> common_pb2.AgreementTerms:
    """The terms in a row; never changed by anyone."""
    return common_pb2.AgreementTerms.FromString(data)


def terms_in_force(
    rows: Rows, agreement_id: str, version: int, at_us: int
) -> common_pb2.AgreementTerms:
    """The terms of an agreement active at that time. Raises AgreementInactive."""
    row = rows.get(agreements, (agreement_id, version))
    if row is None or not row["active_from_us"] <= at_us < row["active_until_us"]:
        raise AgreementInactive(
            f"Agreement {agreement_id} version {version} was not in force at that time; "
            "ask for a new quote."
        )
    return terms_from(row["terms"])


def terms_of(rows: Rows, row: Mapping[str, Any]) -> common_pb2.AgreementTerms:
    """The terms under which a hold, redemption or pledge was made; they have been loaded."""
    found = rows.get(agreements, (row["agreement_id"], row["agreement_version"]))
    assert found is not None, "what was agreed on stays"
    return terms_from(found["terms"])


# --- placing --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceHold:
    """An acceptor asks to set a member's points aside.

    `quote` and `mandate` are read, and the mandate's signature is verified with the key it
    names, before the command is made; `account` is whose key that is. `full` says why no further
    hold may be placed; one that was placed before is answered all the same.
    """

    step: ClassVar[Step] = Step.HOLD
    acceptor: str
    quote_bytes: bytes
    signed: pb.SignedMandate
    quote: pb.Quote
    mandate: pb.Mandate
    account: str
    full: str = ""

    @property
    def caller(self) -> str:
        return self.acceptor

    @property
    def id(self) -> str:
        return self.quote.redemption_id

    def content(self) -> Mapping[str, Content]:
        return {"quote": self.quote_bytes, "mandate": self.signed.mandate}


def read_hold_request(
    rules: Rules, acceptor: str, quote: bytes, signed: pb.SignedMandate
) -> tuple[pb.Quote, pb.Mandate]:
    """Quote and mandate of a request, as far as they can be judged without the ledger.

    Raises BadStatement, Forbidden for another acceptor's quote, MandateRejected for a mandate
    that is not for this quote.
    """
    read = quotes.read(quote)
    mandate = mandates.read(signed)
    if read.acceptor != acceptor:
        raise Forbidden(f"The quote is {read.acceptor}'s; only {read.acceptor} may use it.")
    if read.network != rules.network or read.issuer != rules.participant:
        raise MandateRejected("The quote is for another issuer.", field="issuer")
    if read.kind not in _HELD_KINDS:
        raise MandateRejected("Points are held for a reward or an exchange only.", field="kind")
    mandates.check(mandate, read, quote_digest=quotes.digest(quote), now_us=0)
    return read, mandate


def _prefetch_place(rules: Rules, rows: Rows, commands: Sequence[PlaceHold]) -> None:
    prefetch_accounts(rules, rows, [c.account for c in commands])
    rows.load(devices, [(c.mandate.key_id,) for c in commands])
    rows.load(agreements, [(c.quote.agreement_id, c.quote.agreement_version) for c in commands])
    day = local_day(rules.programme, rows.now_us).toordinal()
    rows.load(redeemed_days, [(c.account, day) for c in commands])
    prefetch_freeze(rows)


def _place(rules: Rules, batch: Batch, command: PlaceHold) -> bytes:
    rows, now_us, quote = batch.rows, batch.now_us, command.quote
    if command.full:
        raise LimitExceeded(command.full)
    # 1. The agreement, and every figure recomputed from it.
    terms = terms_in_force(rows, quote.agreement_id, quote.agreement_version, quote.issued_at_us)
    quotes.check_figures(quote, terms, network=rules.network)
    quotes.check_time(quote, terms, now_us=now_us, skew_us=SKEW_US)
    # 2. The member, and the consent.
    digest = quotes.digest(command.quote_bytes)
    mandates.check(command.mandate, quote, quote_digest=digest, now_us=now_us)
    _check_device(rows, command)
    if member(rows, command.account)["locked"]:
        raise MemberLocked("The member's account is locked; the member's brand can unlock it.")
    require_burning(rules, rows)
    _count_redemption(rules, batch, command)
    # 3. The points.
    settle(rules, batch, command.account)
    movement = Movement(rules, batch, reference=quote.redemption_id)
    taken = take(open_lots(rows, command.account, rules.unit), quote.points, now_us)
    for one, points in taken:
        movement.change(one, available=-points, held=points)
    expires_at_us = quote.expires_at_us + terms.claim_grace_us
    index = movement.append(
        pb.Hold(
            network=rules.network,
            acceptor=command.acceptor,
            redemption_id=quote.redemption_id,
            kind=quote.kind,
            agreement_id=quote.agreement_id,
            agreement_version=quote.agreement_version,
            quote_digest=digest,
            mandate_digest=mandates.digest(command.signed),
            points=quote.points,
            amount=quote.amount,
            expires_at_us=expires_at_us,
        )
    )
    rows.insert(
        holds,
        {
            "redemption_id": quote.redemption_id,
            "acceptor": command.acceptor,
            "index": index,
            "leaf_hash": leaf_hash(batch.appended[-1].body),
            "state": "HELD",
            "account": command.account,
            "kind": quote.kind,
            "agreement_id": quote.agreement_id,
            "agreement_version": quote.agreement_version,
            "quote_digest": digest,
            "points": quote.points,
            "taken": " ".join(f"{one.lot}:{points}" for one, points in taken),
            "expires_at_us": expires_at_us,
            "ended_index": -1,
            "restored_points": 0,
            "restored_indices": "",
            "decision": b"",
        },
    )
    return b""


def _check_device(rows: Rows, command: PlaceHold) -> None:
    row = rows.get(devices, (command.mandate.key_id,))
    if row is None or row["account"] != command.account or row["revoked_at_us"]:
        raise MandateRejected(
            "The device that signed is not, or no longer, one of the member's; sign with another.",
            field="key_id",
        )


def _count_redemption(rules: Rules, batch: Batch, command: PlaceHold) -> None:
    day = local_day(rules.programme, batch.now_us).toordinal()
    at = (command.account, day)
    row = batch.rows.get(redeemed_days, at) or {
        "account": command.account,
        "day": day,
        "redemptions": 0,
        "points": 0,
    }
    check_redemption(
        rules.programme,
        asked=command.quote.points,
        redeemed_today=row["points"],
        redemptions_today=row["redemptions"],
    )
    row["redemptions"] += 1
    row["points"] += command.quote.points
    batch.rows.put(redeemed_days, row)


# --- ending ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _ByDecision:
    """What clearing's feed tells us to do; the rows say whether it is done, so it has no id."""

    decided: Decided
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""

    def content(self) -> Mapping[str, Content]:
        return {"decision": self.decided.hash}

    @property
    def key(self) -> tuple[str, str]:
        """Where the hold is."""
        decision = self.decided.decision
        return (decision.redemption_id, decision.acceptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostHold(_ByDecision):
    """COMMITTED: the held points are spent."""

    step: ClassVar[Step] = Step.POST


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHold(_ByDecision):
    """ABORTED: the held points are the member's again."""

    step: ClassVar[Step] = Step.RELEASE


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePoints(_ByDecision):
    """REVERSED: spent points come back to their lots."""

    step: ClassVar[Step] = Step.RESTORE


def _prefetch_ending(rules: Rules, rows: Rows, commands: Sequence[_ByDecision]) -> None:
    keys = list(dict.fromkeys(c.key for c in commands))
    rows.load(holds, keys)
    found = [row for at in keys if (row := rows.get(holds, at)) is not None]
    prefetch_accounts(rules, rows, [row["account"] for row in found])
    rows.load(agreements, [(row["agreement_id"], row["agreement_version"]) for row in found])
    rows.load(lots, [(name,) for row in found for name, _ in _taken(row)])


def _post(rules: Rules, batch: Batch, command: PostHold) -> bytes:
    row = _cited(rules, batch.rows, command.decided)
    if row is None:
        return b""
    check_amounts(
        command.decided, arithmetic.amounts(terms_of(batch.rows, row), row["points"], row["kind"])
    )
    if command.decided.points != row["points"]:
        raise _unfit(command.decided, "spends other points than its hold holds")
    movement = Movement(rules, batch, reference=row["redemption_id"])
    for name, points in _taken(row):
        movement.change(lot(batch.rows, name), held=-points)
    movement.own(_destination(row), row["points"])
    index = movement.append(pb.Post(**_said(rules, command.decided, row)))
    _end(batch.rows, row, "POSTED", index, command.decided)
    return b""


def _release(rules: Rules, batch: Batch, command: ReleaseHold) -> bytes:
    row = _cited(rules, batch.rows, command.decided)
    if row is None:
        return b""
    movement = Movement(rules, batch, reference=row["redemption_id"])
    for name, points in _taken(row):
        give_back(rules, batch, movement, lot(batch.rows, name), points, held=points)
    index = movement.append(pb.Release(**_said(rules, command.decided, row)))
    _end(batch.rows, row, "RELEASED", index, command.decided)
    return b""


def _restore(rules: Rules, batch: Batch, command: RestorePoints) -> bytes:
    rows, decided = batch.rows, command.decided
    row = rows.get(holds, command.key)
    if row is None or row["state"] != "POSTED":
        raise _unfit(decided, "reverses what was not committed")
    if row["decision"] == decided.decision.original.leaf_hash:
        pass
    else:
        raise _unfit(decided, "reverses another decision than the one posted")
    if _known_restore(row, decided):
        return b""
    before = row["restored_points"]
    cumulative = before + decided.points
    if decided.points < 1 or cumulative > row["points"]:
        raise _unfit(decided, "reverses more than was committed")
    expected = arithmetic.reversal_amounts(
        terms_of(rows, row),
        committed=row["points"],
        before=before,
        cumulative=cumulative,
        kind=row["kind"],
    )
    check_amounts(decided, expected)
    movement = Movement(rules, batch, reference=row["redemption_id"])
    for name, points in _between(reversed(_taken(row)), before, cumulative):
        give_back(rules, batch, movement, lot(rows, name), points)
    movement.own(_destination(row), -decided.points)
    index = movement.append(pb.Restore(**_said(rules, decided, row)))
    row["restored_points"] = cumulative
    row["restored_indices"] = f"{row['restored_indices']} {index}:{decided.index}".strip()
    rows.put(holds, row)
    return b""


def _cited(rules: Rules, rows: Rows, decided: Decided) -> dict[str, Any] | None:
    """The hold that a COMMITTED or ABORTED ends; None if it is ended by this decision already.

    An abort that the acceptor asked for without a hold cites none; it is final for the
    redemption, so it releases whatever was held for it, or nothing.
    """
    decision = decided.decision
    aborted = decision.outcome == pb.OUTCOME_ABORTED
    row = rows.get(holds, (decision.redemption_id, decision.acceptor))
    if row is None:
        if aborted:
            return None
        raise _unfit(decided, "commits a hold that was never placed here")
    if row["decision"] == decided.hash:
        return None
    if row["state"] != "HELD":
        raise _unfit(decided, "decides a hold that another decision has ended")
    unnamed = aborted and not decision.HasField("cites")
    exact = decided.cites(origin=rules.origin, index=row["index"], leaf=row["leaf_hash"])
    if not (unnamed or exact):
        raise _unfit(decided, "cites another entry than the hold")
    if not aborted and decision.quote_digest != row["quote_digest"]:
        raise _unfit(decided, "names another quote than its hold")
    return row


def _said(rules: Rules, decided: Decided, row: Mapping[str, Any]) -> dict[str, Any]:
    """What POST, RELEASE and RESTORE say besides their legs."""
    return {
        "decision": decided.citation,
        "seq": decided.seq(rules.participant),
        "redemption_id": row["redemption_id"],
        "hold_index": row["index"],
    }


def _end(rows: Rows, row: dict[str, Any], state: str, index: int, decided: Decided) -> None:
    row |= {"state": state, "ended_index": index, "decision": decided.hash}
    rows.put(holds, row)


def _destination(row: Mapping[str, Any]) -> pb.AccountClass.ValueType:
    return CONVERTED if row["kind"] == common_pb2.REDEMPTION_KIND_EXCHANGE else SPENT


def _taken(row: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The lots of a hold, in the order in which they gave: (lot, points)."""
    pairs = (part.rpartition(":") for part in row["taken"].split())
    return [(name, int(points)) for name, _, points in pairs]


def _between(parts: Iterable[tuple[str, int]], start: int, end: int) -> Iterable[tuple[str, int]]:
    """The share of each part in the points numbered from `start` to `end`, laid end to end."""
    at = 0
    for name, points in parts:
        share = min(at + points, end) - max(at, start)
        if share > 0:
            yield name, share
        at += points


def _known_restore(row: Mapping[str, Any], decided: Decided) -> bool:
    return any(
        pair.rpartition(":")[2] == str(decided.index) for pair in row["restored_indices"].split()
    )


def _unfit(decided: Decided, what: str) -> BadStatement:
    decision = decided.decision
    return BadStatement(
        f"Decision {decided.index} on {decision.redemption_id} {what}; nothing was moved. "
        "Ask the operator to look at it.",
        metadata={"redemption_id": decision.redemption_id, "decision": str(decided.index)},
    )


HANDLERS: Handlers = {
    PlaceHold: Handler(_prefetch_place, _place),
    PostHold: Handler(_prefetch_ending, _post),
    ReleaseHold: Handler(_prefetch_ending, _release),
    RestorePoints: Handler(_prefetch_ending, _restore),
}
