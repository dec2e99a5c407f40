"""A brand's tables that follow from clearing's log, which it mirrors byte for byte.

The mirror itself leads to the head that clearing signed. Every table of what clearing has said,
roster, book, agreements in force and settlements, is computed from the mirror once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from comity.errors import ComityError, Malformed
from comity.ledger import entries
from comity.log.checkpoint import read_checkpoint
from comity.log.merkle import Frontier, leaf_hash
from comity.terms import agreements as arithmetic
from comity.terms import books, positions
from comity.v1 import common_pb2, entry_pb2
from comity.verify.comparison import Comparison, Key, Values

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Decided:
    """A DECISION in which this brand takes part."""

    index: int
    leaf: bytes
    body: entry_pb2.Decision
    opening: entry_pb2.DecisionOpening

    @property
    def points(self) -> int:
        return abs(self.opening.points)


@dataclass(slots=True)
class Mirror:
    """What the mirror says to `participant`.

    Unless it is `sound` nothing is compared with it: what is wrong is the mirror. `decisions`
    are those of each redemption by (other brand, redemption id), in order; what those at or
    above `applied` do to other tables may still be to come.
    """

    participant: str
    sound: bool = False
    applied: int = 0
    last_seq: int = 0
    decisions: dict[Pair, list[Decided]] = field(default_factory=lambda: defaultdict(list))
    book: dict[Key, Values] = field(default_factory=dict)
    roster: dict[str, dict[str, Any]] = field(default_factory=dict)
    agreements: dict[tuple[str, int], tuple[bytes, int, int]] = field(default_factory=dict)
    settlements: dict[Key, Values] = field(default_factory=dict)

    def of(self, other: str, redemption_id: str, *outcomes: int) -> list[Decided]:
        """The decisions of one redemption with these outcomes."""
        found = self.decisions.get((other, redemption_id), [])
        return [one for one in found if int(one.body.outcome) in outcomes]


def check_mirror(compare: Comparison, participant: str) -> Mirror:
    """Check the mirror, and the tables that follow from it alone; returns what it says."""
    mirror = Mirror(participant)
    if not compare.has("mirror", "mirror_state"):
        return mirror
    _check_edge(compare, mirror)
    mirror.sound = "mirror" not in compare.blamed
    if mirror.sound:
        _check_book(compare, mirror)
        _check_roster(compare, mirror)
        compare.table(
            "settlements", ("window",), ("index", "leaf_hash", "table"), mirror.settlements
        )
    return mirror


def _check_edge(compare: Comparison, mirror: Mirror) -> None:
    """The leaves lead to the edge and the head stored, and each opening opens its decision."""
    compare.keep("mirror", "The entries of clearing's log lead to the head kept.")
    states = compare.rows("mirror_state", ("origin", "size", "frontier", "note", "applied"))
    mirror.applied = max((row[-1] for row in states), default=0)
    edge = Frontier()
    for index, data, opening in compare.pages("mirror", ("index", "body", "opening")):
        if index != edge.size:
            compare.wrong("mirror", f"entry {edge.size} of clearing's log is missing.")
            return
        leaf = leaf_hash(bytes(data))
        edge.append(leaf)
        try:
            entry = entry_pb2.Entry.FromString(bytes(data))
            opened = entry_pb2.DecisionOpening.FromString(bytes(opening or b""))
            _take(mirror, index, leaf, entry, opened)
        except (DecodeError, ComityError, KeyError):
            compare.wrong("mirror", f"entry {index} of clearing's log, or its opening, is not one.")
    if edge.size and not states:
        compare.wrong("mirror", "there are entries of clearing's log, and no head of it.")
    for origin, size, frontier, note, _ in states:
        if size != edge.size or b"".join(edge.hashes) != bytes(frontier):
            compare.wrong("mirror", f"the {edge.size} entries are not those that were verified.")
        try:
            head = read_checkpoint(bytes(note))
        except Malformed as error:
            compare.wrong("mirror", f"the head kept is none: {error.message}")
            continue
        if head.origin != origin or head.size < size:
            compare.wrong("mirror", f"the head kept is not one of {origin} with {size} entries.")
        elif head.size == edge.size and head.root != edge.root():
            compare.wrong("mirror", "the entries do not lead to the head kept.")


def _take(
    mirror: Mirror,
    index: int,
    leaf: bytes,
    entry: entry_pb2.Entry,
    opened: entry_pb2.DecisionOpening,
) -> None:
    """Fold one entry of clearing's log."""
    match entry.WhichOneof("body"):
        case "decision":
            entries.check_decision_opening(entry.decision, opened)
            _decide(mirror, Decided(index, leaf, entry.decision, opened))
        case "admit":
            _admit(mirror.roster, entry.admit)
        case "rotate":
            row = mirror.roster[entry.rotate.participant]
            row["old_keys"] = [*row["old_keys"], f"{entry.rotate.last_size} {row['vkey']}"]
            row["vkey"] = entry.rotate.vkey
        case "revoke":
            mirror.roster[entry.revoke.participant]["revoked"] = 1
        case "standing":
            mirror.roster[entry.standing.participant]["status"] = int(entry.standing.status)
        case "agreement":
            _agree(mirror, entry.agreement, entry.at_us)
        case "settlement":
            body = entry.settlement
            mirror.settlements[(body.window,)] = (index, leaf, body.table)


def _decide(mirror: Mirror, one: Decided) -> None:
    body, me = one.body, mirror.participant
    if me not in (body.issuer, body.acceptor):
        return
    other = body.acceptor if me == body.issuer else body.issuer
    mirror.decisions[other, body.redemption_id].append(one)
    amounts = one.opening.amounts
    row = books.row_of(body, leaf_hash=one.leaf, opening=one.opening, participant=me)
    net = positions.effects(issuer=body.issuer, acceptor=body.acceptor, amounts=amounts)[me]
    payer = body.issuer if amounts.fee_payer == common_pb2.FEE_PAYER_ISSUER else body.acceptor
    fee = amounts.fee.minor if payer == me else 0
    traded = net + fee
    mirror.last_seq = row.seq
    mirror.book[(row.seq,)] = (
        row.window,
        entries.canonical(row),
        amounts.amount.currency,
        net,
        max(-traded, 0),
        max(traded, 0),
        fee,
        one.index,
    )


def _admit(roster: dict[str, dict[str, Any]], body: entry_pb2.Admit) -> None:
    """A second ADMIT changes addresses and certificate; key and standing stay."""
    first = {
        "vkey": body.vkey,
        "old_keys": [],
        "status": int(entry_pb2.PARTICIPANT_STATUS_ACTIVE),
        "revoked": 0,
    }
    roster[body.participant] = roster.get(body.participant, first) | {
        "origin": body.origin,
        "tls_key_hash": body.tls_key_hash,
        "display_name": body.display_name,
        "peer_address": body.peer_address,
        "public_address": body.public_address,
    }


def _agree(mirror: Mirror, body: entry_pb2.Agreement, at_us: int) -> None:
    """Versions in force by (id, version): digest, from, until."""
    known = mirror.agreements
    for at in [at for at in known if at[0] == body.agreement_id]:
        digest, first, until = known[at]
        if body.HasField("terminate"):
            known[at] = (digest, first, min(until, body.valid_until_us))
        elif at[1] < body.version:
            known[at] = (digest, first, min(until, max(body.valid_from_us, at_us)))
    if not body.HasField("terminate"):
        at = (body.agreement_id, body.version)
        known[at] = (body.terms_digest, body.valid_from_us, body.valid_until_us)


def _check_book(compare: Comparison, mirror: Mirror) -> None:
    columns = ("window", "row", "currency", "net_minor", "out_minor", "in_minor", "fee_minor")
    compare.table("book", ("seq",), (*columns, "index"), mirror.book)
    for (stored,) in compare.rows("mirror_state", ("last_seq",)):
        if stored != mirror.last_seq:
            compare.wrong(
                "mirror", f"our last number is {stored}, and clearing's log says {mirror.last_seq}."
            )


def _check_roster(compare: Comparison, mirror: Mirror) -> None:
    columns = ("origin", "vkey", "tls_key_hash", "display_name", "peer_address", "public_address")
    compare.table(
        "roster",
        ("participant",),
        (*columns, "status", "revoked", "old_keys"),
        {
            (name,): (
                *(row[one] for one in columns),
                row["status"],
                row["revoked"],
                "\n".join(row["old_keys"]),
            )
            for name, row in mirror.roster.items()
        },
    )


def check_agreements(compare: Comparison, mirror: Mirror, own: Iterator[Key]) -> None:
    """Terms are those whose digest was agreed, in force as clearing says, by our own entries.

    `own` are (index, kind, id, version, digest) of our PROPOSE, ACCEPT and TERMINATE entries;
    an ACCEPT has no id, a TERMINATE no digest.
    """
    if not (mirror.sound and compare.has("agreements")):
        return
    by_index = {index: said for index, *said in own}
    columns = ("agreement_id", "version", "terms", "digest", "own_index", "terminate_index")
    left = dict(mirror.agreements)
    rows = compare.rows("agreements", (*columns, "active_from_us", "active_until_us"))
    compare.keep("agreements", f"{len(rows)} versions are what both logs say.")
    for name, version, terms, digest, own_index, ended, first, until in rows:
        place, digest = f"{name} version {version}", bytes(digest)
        in_force = left.pop((name, version), None)
        if _digest_of(bytes(terms), name, version) != digest:
            compare.wrong("agreements", f"{place} has other terms than its digest stands for.")
        if in_force != (None if not until else (digest, first, until)):
            compare.wrong("agreements", f"{place} is not in force as clearing's log says.")
        said = by_index.get(own_index)
        if own_index >= 0 and said not in (
            ["propose", name, version, digest],
            ["accept", "", 0, digest],
        ):
            compare.wrong("agreements", f"entry {own_index} does not agree to {place}.")
        if ended >= 0 and by_index.get(ended) != ["terminate", name, version, b""]:
            compare.wrong("agreements", f"entry {ended} does not end {place}.")
    for name, version in left:
        if any(row[0] == name for row in rows):
            compare.wrong("agreements", f"{name} version {version} is missing.")


def _digest_of(data: bytes, name: str, version: int) -> bytes:
    """What stands for these terms; nothing if they are none, or another version's."""
    try:
        terms = common_pb2.AgreementTerms.FromString(data)
    except DecodeError:
        return b""
    same = (terms.agreement_id, terms.version) == (name, version)
    return arithmetic.digest(terms) if same and entries.canonical(terms) == data else b""
