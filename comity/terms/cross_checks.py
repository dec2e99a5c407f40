"""What must be true between logs: every brand's effects against clearing's decisions.

An auditor who was shown several organisations' logs folds each of them alone and compares the
results here. What is only *eventually* true is looked at when nothing is under way any more.
"""

from __future__ import annotations

from collections.abc import Mapping

from comity.ledger.replay import Check, Cited, Effect, Findings, Replay
from comity.terms.decision_replay import ABORTED, ACCRUAL, COMMITTED, Decided, DecisionReplay


def cross_check(
    clearing: DecisionReplay, brands: Mapping[str, Replay], *, final: bool = False
) -> tuple[Check, ...]:
    """Compare the folded logs of `brands`, by participant id, with clearing's.

    I4: posted or delivered only on the COMMITTED that cites that very hold, released only on an
    ABORTED. I7: numbers, points and amounts agree at all three. I13: each COMMITTED rests on an
    entry which is really in its payer's log. With `final` also what must have happened by now.
    """
    found = Findings()
    for participant, brand in brands.items():
        for effect in brand.effects:
            _check_effect(found, clearing, participant, brand, effect)
    mandates: set[tuple[str, bytes]] = set()
    for decided in clearing.decisions.values():
        _check_payer(found, clearing, brands, decided, mandates)
    if final:
        _check_final(found, clearing, brands)
    known = f"{len(clearing.decisions)} decisions and {len(brands)} brands"
    return (
        found.check("I4", good=f"Effects and decisions agree: {known}."),
        found.check("I7", good="The books of issuers, acceptors and clearing agree."),
        found.check("I12", good="Reversals add up to the returns they cite."),
        found.check("I13", good="Every COMMITTED rests on an entry in its payer's log."),
    )


def _check_effect(
    found: Findings, clearing: DecisionReplay, participant: str, brand: Replay, effect: Effect
) -> None:
    """One POST, RELEASE, RESTORE, ACCRUAL, DELIVERY or RETURN against the decision it names."""

    def wrong(rule: str, text: str) -> None:
        found.add(rule, f"Entry {effect.index} of {brand.origin} ({effect.kind}) {text}.")

    decided = clearing.decisions.get(effect.decision.index)
    if decided is None or effect.decision != Cited(clearing.origin, decided.index, decided.leaf):
        wrong("I4", "rests on a decision that is not in clearing's log")
        return
    acceptor_side = effect.kind in ("delivery", "returned")
    party = decided.acceptor if acceptor_side else decided.issuer
    if party != participant or decided.redemption_id != effect.redemption_id:
        wrong("I4", "rests on the decision of another redemption")
        return
    if acceptor_side and effect.issuer != decided.issuer:
        wrong("I4", "names another issuer than its decision")
    if effect.kind != "returned":
        seq = decided.acceptor_seq if acceptor_side else decided.issuer_seq
        if effect.seq != seq:
            wrong("I7", f"has number {effect.seq}, its decision {seq}")
    match effect.kind:
        case "post" | "delivery" | "accrual" | "returned":
            if decided.outcome != COMMITTED:
                wrong("I4", "rests on a decision that is not COMMITTED")
        case "release":
            if decided.outcome != ABORTED:
                wrong("I4", "rests on a decision that is not ABORTED")
        case "restore":
            if decided.outcome in (COMMITTED, ABORTED):
                wrong("I4", "rests on a decision that takes nothing back")
    if effect.kind in ("post", "release"):
        hold = brand.holds.get(effect.hold_index)
        this = Cited(brand.origin, effect.hold_index, hold.leaf) if hold else None
        if decided.cites != this and (decided.cites is not None or effect.kind == "post"):
            wrong("I4", "ends a hold that its decision does not cite")
    if effect.kind == "delivery" and effect.quote_digest != decided.quote_digest:
        wrong("I4", "delivers another quote than was committed")
    points = None if decided.points is None else abs(decided.points)
    if effect.kind in ("post", "accrual", "restore") and points not in (None, effect.points):
        wrong("I7", f"moves {effect.points} points, its decision {points}")


def _check_payer(
    found: Findings,
    clearing: DecisionReplay,
    brands: Mapping[str, Replay],
    decided: Decided,
    mandates: set[tuple[str, bytes]],
) -> None:
    """The HOLD, PLEDGE or RETURN which a decision cites, in the log it is said to be in."""
    cites = decided.cites
    if cites is None:
        return

    def wrong(rule: str, text: str) -> None:
        found.add(rule, f"Entry {decided.index} of {clearing.origin} {text}.")

    brand = brands.get(cites.origin.partition("/")[2])
    if brand is None or brand.origin != cites.origin:
        return
    if decided.outcome not in (COMMITTED, ABORTED):
        leaf, cumulative = brand.returns.get(cites.index, (b"", 0))
        if leaf != cites.leaf:
            wrong("I13", "cites a RETURN that is not in the acceptor's log")
        elif decided.points is not None and clearing.reversed_until(decided) != cumulative:
            wrong("I12", f"does not bring what is reversed to the {cumulative} of its RETURN")
        return
    if decided.kind == ACCRUAL:
        leaf, pledge = brand.pledges.get(cites.index, (b"", None))
        if pledge is None or leaf != cites.leaf or pledge.redemption_id != decided.redemption_id:
            wrong("I13", "cites a PLEDGE that is not in the payer's log")
        elif decided.amount is not None and pledge.amount.minor != -decided.amount:
            wrong("I7", f"moves {-decided.amount}, its PLEDGE {pledge.amount.minor}")
        return
    hold = brand.holds.get(cites.index)
    if hold is None or hold.leaf != cites.leaf:
        wrong("I13", "cites a HOLD that is not in the payer's log")
        return
    body = hold.body
    if (body.acceptor, body.redemption_id) != (decided.acceptor, decided.redemption_id):
        wrong("I13", "cites the HOLD of another redemption")
    if decided.outcome != COMMITTED:
        return
    if body.quote_digest != decided.quote_digest:
        wrong("I13", "commits another quote than its HOLD names")
    if decided.amount is not None and body.amount.minor != decided.amount:
        wrong("I7", f"moves {decided.amount}, its HOLD {body.amount.minor}")
    if decided.points is not None and body.points != decided.points:
        wrong("I7", f"takes {decided.points} points, its HOLD {body.points}")
    mandate = (decided.issuer, body.mandate_digest)
    if mandate in mandates:
        wrong("I13", "commits a mandate of another COMMITTED again")
    mandates.add(mandate)


def _check_final(found: Findings, clearing: DecisionReplay, brands: Mapping[str, Replay]) -> None:
    """What must have followed from every decision once nothing is under way."""
    done: dict[str, dict[int, set[str]]] = {}
    for participant, brand in brands.items():
        mine = done.setdefault(participant, {})
        for effect in brand.effects:
            mine.setdefault(effect.decision.index, set()).add(effect.kind)
    for decided in clearing.decisions.values():
        at_issuer = done.get(decided.issuer, {}).get(decided.index, set())
        at_acceptor = done.get(decided.acceptor, {}).get(decided.index, set())
        missing = []
        if decided.issuer in brands:
            expected = _expected_at_issuer(decided)
            if expected and expected not in at_issuer:
                missing.append(f"{decided.issuer} has no {expected}")
        due = decided.outcome == COMMITTED and decided.kind != ACCRUAL
        delivered = "delivery" in at_acceptor or decided.key in clearing.reversals
        if due and decided.acceptor in brands and not delivered:
            missing.append(f"{decided.acceptor} has neither delivered nor reversed")
        for text in missing:
            found.add("I4", f"Entry {decided.index} of {clearing.origin}: {text}.")


def _expected_at_issuer(decided: Decided) -> str:
    if decided.outcome == COMMITTED:
        return "accrual" if decided.kind == ACCRUAL else "post"
    if decided.outcome == ABORTED:
        return "release" if decided.cites is not None and decided.kind != ACCRUAL else ""
    return "" if decided.kind == ACCRUAL else "restore"
