"""Clearing's log as this brand keeps it: every entry, our openings, and what follows from them.

A page of the feed becomes one `Mirror` command: leaves, roster, agreements in force, settlements
seen, and a row of our book for each decision that concerns us. Our decisions are numbered without
a gap, so a withheld one is noticed here; then nothing of the page is taken. What decisions do to
points follows in commands of their own (`effects`), which the rows make safe to repeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from comity.errors import BadStatement
from comity.ledger import entries
from comity.ledger.command import Batch, Command, Content
from comity.ledger.heads import forget_heads, record_heads
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.ledger.store import KnownHead
from comity.log.history import KeyHistory
from comity.log.merkle import leaf_hash
from comity.log.note import VerifierKey
from comity.terms import books, positions
from comity.v1 import common_pb2
from comity.v1 import entry_pb2 as pb
from node import decided as decisions
from node.book import Handler, Handlers, Rules
from node.decided import Decided
from node.holds import PostHold, ReleaseHold, RestorePoints
from node.pledge_returns import CountPledgeReversal
from node.pledges import ACCRUAL, AccrueDecided, SettlePledge
from node.redemption_tables import agreements, book, mirror, mirror_state, roster, settlements
from node.returns import CountReversal

NETWORK_BODIES: Final = frozenset({"admit", "rotate", "revoke", "standing"})
"""The entries that change the roster."""


# --- reading a page -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leaf:
    """One entry of clearing's log, as received and as read."""

    index: int
    data: bytes
    hash: bytes
    entry: pb.Entry
    opening: bytes | None
    decided: Decided | None
    """Set for a DECISION that concerns this brand."""


def read_leaf(rules: Rules, *, origin: str, index: int, data: bytes, opening: bytes | None) -> Leaf:
    """One entry of clearing's log. Raises BadStatement for one that clearing may not write so."""
    entry = entries.decode(data, origin=origin)
    hashed = leaf_hash(data)
    decided = None
    if entry.WhichOneof("body") == "decision":
        decision = entry.decision
        if rules.participant in (decision.issuer, decision.acceptor):
            citation = common_pb2.Citation(origin=origin, index=index, leaf_hash=hashed)
            opened = pb.DecisionOpening.FromString(opening) if opening else None
            decided = decisions.read(entry, citation, opened)
            if decision.amounts and not decided.opening.amounts_salt:
                raise BadStatement(
                    f"Clearing did not open decision {index} to its party {rules.participant}."
                )
    return Leaf(index, data, hashed, entry, opening, decided)


def check_numbers(rules: Rules, leaves: Sequence[Leaf], last_seq: int) -> int:
    """Our last number after these leaves. Raises BadStatement if one is missing or was withheld."""
    for leaf in leaves:
        if leaf.decided is not None:
            seq = leaf.decided.seq(rules.participant)
            if seq != last_seq + 1:
                raise BadStatement(
                    f"Clearing's decision {leaf.index} has our number {seq}; "
                    f"{last_seq + 1} was next. A decision was withheld.",
                    metadata={"seq": str(seq), "expected": str(last_seq + 1)},
                )
            last_seq = seq
        elif leaf.entry.WhichOneof("body") == "heads":
            for one in leaf.entry.heads.last:
                if one.participant == rules.participant and one.seq != last_seq:
                    raise BadStatement(
                        f"Clearing says that our last number is {one.seq}; it is {last_seq}. "
                        "A decision was withheld.",
                        metadata={"seq": str(one.seq), "expected": str(last_seq)},
                    )
    return last_seq


def effects(rules: Rules, leaf: Leaf) -> list[Command]:
    """What a leaf does to points here. COMMITTED and ABORTED at the acceptor are not among it:
    the redemption's own driver carries them out, with the proof for the receipt."""
    decided = leaf.decided
    if decided is None:
        return []
    decision = decided.decision
    outcome, accrual = decision.outcome, decision.kind == ACCRUAL
    if decision.issuer == rules.participant:
        if accrual:
            return [AccrueDecided(decided=decided)]
        if outcome == pb.OUTCOME_COMMITTED:
            return [PostHold(decided=decided)]
        if outcome == pb.OUTCOME_ABORTED:
            return [ReleaseHold(decided=decided)]
        return [RestorePoints(decided=decided)]
    if accrual:
        if outcome in (pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED):
            return [SettlePledge(redemption_id=decision.redemption_id, decided=decided)]
        return [CountPledgeReversal(decided=decided)]
    if outcome == pb.OUTCOME_REVERSED:
        return [CountReversal(decided=decided)]
    return []


# --- commands -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hear:
    """Heads of other logs, stored in the batch of the effects that rely on them."""

    step: ClassVar[Step] = Step.HEARD
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    seen: tuple[KnownHead, ...]

    def content(self) -> Mapping[str, Content]:
        return {"seen": [head.note for head in self.seen]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A page of clearing's log, verified against a signed head.

    `frontier` are the hashes of the log's right edge after the page, `note` the signed head.
    `applied` is the index below which all effects are carried out, `reported` the index of our
    own log below which every DELIVERY has been reported.
    """

    step: ClassVar[Step] = Step.MIRROR
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    origin: str
    start: int
    leaves: tuple[Leaf, ...] = field(repr=False)
    frontier: bytes
    note: bytes
    applied: int
    reported: int

    def content(self) -> Mapping[str, Content]:
        return {"start": self.start, "note": self.note}


def _prefetch_hear(rules: Rules, rows: Rows, commands: Sequence[Hear]) -> None:
    """`record_heads` loads the few rows it needs itself."""


def _hear(rules: Rules, batch: Batch, command: Hear) -> bytes:
    record_heads(batch.rows, command.seen)
    return b""


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[Mirror]) -> None:
    rows.load(mirror_state, [(c.origin,) for c in commands])
    bodies = [leaf.entry for c in commands for leaf in c.leaves]
    ids = [one.agreement.agreement_id for one in bodies if one.WhichOneof("body") == "agreement"]
    if ids:
        rows.load_where(agreements, "agreement_id", ids)
    names = [
        (entries.body(one).participant,)
        for one in bodies
        if one.WhichOneof("body") in NETWORK_BODIES
    ]
    rows.load(roster, names)
    rows.load(
        settlements,
        [(one.settlement.window,) for one in bodies if one.WhichOneof("body") == "settlement"],
    )


def _mirror(rules: Rules, batch: Batch, command: Mirror) -> bytes:
    rows = batch.rows
    state = rows.get(mirror_state, (command.origin,)) or _empty_state(command.origin)
    if command.start != state["size"]:
        raise BadStatement(
            f"The mirror has {state['size']} entries; a page from {command.start} does not fit."
        )
    last_seq = check_numbers(rules, command.leaves, state["last_seq"])
    for leaf in command.leaves:
        rows.insert(mirror, {"index": leaf.index, "body": leaf.data, "opening": leaf.opening})
        if leaf.decided is not None:
            rows.insert(book, _book_row(rules, leaf.decided))
        else:
            _note(rules, batch, leaf)
    rows.put(
        mirror_state,
        {
            "origin": command.origin,
            "size": command.start + len(command.leaves),
            "frontier": command.frontier,
            "note": command.note,
            "applied": max(state["applied"], command.applied),
            "last_seq": last_seq,
            "reported": max(state["reported"], command.reported),
        },
    )
    return b""


def _empty_state(origin: str) -> dict[str, Any]:
    return {
        "origin": origin,
        "size": 0,
        "frontier": b"",
        "note": b"",
        "applied": 0,
        "last_seq": 0,
        "reported": 0,
    }


def _book_row(rules: Rules, decided: Decided) -> dict[str, Any]:
    decision, amounts = decided.decision, decided.opening.amounts
    row = books.row_of(
        decision,
        leaf_hash=decided.hash,
        opening=decided.opening,
        participant=rules.participant,
    )
    moved = positions.effects(issuer=decision.issuer, acceptor=decision.acceptor, amounts=amounts)
    net = moved[rules.participant]
    payer = (
        decision.issuer if amounts.fee_payer == common_pb2.FEE_PAYER_ISSUER else decision.acceptor
    )
    fee = amounts.fee.minor if payer == rules.participant else 0
    traded = net + fee
    return {
        "seq": row.seq,
        "window": row.window,
        "row": entries.canonical(row),
        "currency": amounts.amount.currency,
        "net_minor": net,
        "out_minor": max(-traded, 0),
        "in_minor": max(traded, 0),
        "fee_minor": fee,
        "index": decided.index,
    }


# --- what else clearing's log says ----------------------------------------------------------


def _note(rules: Rules, batch: Batch, leaf: Leaf) -> None:
    entry, rows = leaf.entry, batch.rows
    match entry.WhichOneof("body"):
        case "admit":
            _admit(rows, entry.admit)
        case "rotate":
            _rotate(rules, batch, entry.rotate)
        case "revoke":
            row = _listed(rows, entry.revoke.participant)
            rows.put(roster, row | {"revoked": 1})
            forget_heads(rows, row["origin"], above=entry.revoke.last_size)
        case "standing":
            row = _listed(rows, entry.standing.participant)
            rows.put(roster, row | {"status": int(entry.standing.status)})
        case "agreement":
            _put_agreement(rows, entry.agreement, entry.at_us)
        case "settlement":
            _see_settlement(rows, entry.settlement, leaf)


def _rotate(rules: Rules, batch: Batch, rotate: pb.Rotate) -> None:
    """Another key signs a log above a size: a neighbour's, or our own from this very batch on."""
    rows = batch.rows
    row = _listed(rows, rotate.participant)
    before = keys_of(row)
    history = before.rotated(VerifierKey.parse(rotate.vkey), rotate.last_size)
    kept = f"{rotate.last_size} {before.current}"
    old_keys = "\n".join(filter(None, (row["old_keys"], kept)))
    rows.put(roster, row | {"vkey": rotate.vkey, "old_keys": old_keys})
    if rotate.participant == rules.participant:
        batch.keys = history
    else:
        forget_heads(rows, row["origin"], above=rotate.last_size)


def keys_of(row: Mapping[str, Any]) -> KeyHistory:
    """The keys of a log, from its row of the roster."""
    return KeyHistory.parse(f"{row['old_keys']} {row['vkey']}")


def _admit(rows: Rows, admit: pb.Admit) -> None:
    before = rows.get(roster, (admit.participant,))
    rows.put(
        roster,
        {
            "participant": admit.participant,
            "origin": admit.origin,
            "vkey": before["vkey"] if before else admit.vkey,
            "old_keys": before["old_keys"] if before else "",
            "tls_key_hash": admit.tls_key_hash,
            "display_name": admit.display_name,
            "peer_address": admit.peer_address,
            "public_address": admit.public_address,
            "status": before["status"] if before else int(pb.PARTICIPANT_STATUS_ACTIVE),
            "revoked": before["revoked"] if before else 0,
        },
    )


def _listed(rows: Rows, participant: str) -> dict[str, Any]:
    row = rows.get(roster, (participant,))
    if row is None:
        raise BadStatement(f"Clearing speaks of {participant}, whom it never admitted.")
    return row


def _put_agreement(rows: Rows, body: pb.Agreement, at_us: int) -> None:
    """An AGREEMENT puts a version in force and ends those before it, or ends them all."""
    versions = rows.find(agreements, "agreement_id", body.agreement_id)
    if body.HasField("terminate"):
        for row in versions:
            if row["active_until_us"]:
                ends = min(row["active_until_us"], body.valid_until_us)
                rows.put(agreements, row | {"state": "TERMINATED", "active_until_us": ends})
        return
    for row in versions:
        if row["version"] == body.version:
            if row["digest"] != body.terms_digest:
                raise BadStatement(
                    f"Clearing registered other terms as {body.agreement_id} version "
                    f"{body.version} than the ones agreed."
                )
            row |= {
                "state": "ACTIVE",
                "active_from_us": body.valid_from_us,
                "active_until_us": body.valid_until_us,
            }
        elif row["version"] < body.version and row["active_until_us"]:
            ends = min(row["active_until_us"], max(body.valid_from_us, at_us))
            row |= {"state": "SUPERSEDED", "active_until_us": ends}
        rows.put(agreements, row)


def _see_settlement(rows: Rows, body: pb.Settlement, leaf: Leaf) -> None:
    rows.put(
        settlements,
        {
            "window": body.window,
            "index": leaf.index,
            "leaf_hash": leaf.hash,
            "table": body.table,
            "state": "SEEN",
            "answer_index": -1,
        },
    )


HANDLERS: Handlers = {
    Hear: Handler(_prefetch_hear, _hear),
    Mirror: Handler(_prefetch, _mirror),
}
