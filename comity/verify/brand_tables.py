"""A brand's tables against its own log, its openings, and clearing's log as it mirrors it.

Balances, lots and totals come from the replay; the rest from a second look at the entries that
only one table needs. Where a table holds what the log only commits to, such as the codes of
vouchers, the commitment is opened with what the table says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from google.protobuf.message import DecodeError

from comity.errors import BadStatement
from comity.ledger import entries
from comity.ledger.replay import Replay
from comity.terms import agreements as arithmetic
from comity.v1 import common_pb2, entry_pb2
from comity.verify.comparison import Comparison, Key, Values, Written
from comity.verify.event_tables import check_events, check_payments, check_standing
from comity.verify.mirror_tables import Mirror, check_agreements, check_mirror
from comity.verify.redemption_tables import check_redemptions

ISSUED: Final = int(entry_pb2.ACCOUNT_CLASS_ISSUED)
COMMITTED: Final = int(entry_pb2.OUTCOME_COMMITTED)
ABORTED: Final = int(entry_pb2.OUTCOME_ABORTED)
REVERSED: Final = int(entry_pb2.OUTCOME_REVERSED)

PARTS: Final = ("pending", "available", "held", "debt")


@dataclass(slots=True)
class Own:
    """What single entries of the log say, for the tables that follow from these."""

    programmes: dict[Key, Values] = field(default_factory=dict)
    pledges: dict[str, Written] = field(default_factory=dict)
    accruals: dict[int, Written] = field(default_factory=dict)
    deliveries: dict[int, Written] = field(default_factory=dict)
    returns: list[Written] = field(default_factory=list)
    agreed: list[Key] = field(default_factory=list)
    answers: dict[int, Written] = field(default_factory=dict)
    earned: dict[str, list[Written]] = field(default_factory=lambda: defaultdict(list))
    taken: dict[str, list[Written]] = field(default_factory=lambda: defaultdict(list))
    spent: dict[int, Written] = field(default_factory=dict)


def check_brand(compare: Comparison, replay: Replay) -> None:
    """Every table of a brand that follows from something."""
    _check_balances(compare, replay)
    own = _read(compare)
    mirror = check_mirror(compare, replay.origin.partition("/")[2])
    _check_holds(compare, replay)
    check_events(compare, own.earned, own.taken)
    check_standing(compare, replay)
    check_payments(compare, replay, own.spent)
    _check_notices(compare, replay, own, mirror)
    _check_pledges(compare, own, mirror)
    _check_answers(compare, own)
    check_agreements(compare, mirror, iter(own.agreed))
    check_redemptions(compare, own.deliveries, own.returns, mirror)
    _check_programmes(compare, own)


def _check_balances(compare: Comparison, replay: Replay) -> None:
    balances = {at: tuple(points) for at, points in replay.accounts.items()}
    sources, none = replay.membership.sources, (0, 0, 0)
    compare.table(
        "accounts",
        ("account", "unit"),
        (*PARTS, "business", "activity", "bonus"),
        {at: (*points, *sources.get(at, none)) for at, points in balances.items()},
    )
    compare.table(
        "lots",
        ("lot",),
        ("account", "unit", "earned", "pending", "available", "held", "expires_at_us"),
        {
            (name,): (lot.account, lot.unit, lot.earned, *lot.points, lot.expires_at_us)
            for name, lot in replay.lots.items()
        },
    )
    compare.table(
        "class_totals",
        ("unit", "account_class"),
        ("points",),
        {at: (points,) for at, points in replay.totals.items()},
    )
    compare.sums("postings", ("account", "unit"), PARTS, balances)
    compare.beside_entries("postings", "index", at_us="at_us", entry="kind")


# --- single entries -------------------------------------------------------------------------


def _read(compare: Comparison) -> Own:
    own = Own()
    kinds = ("programme", "pledge", "accrual", "clawback", "delivery", "returned", "spend")
    agreeing, answering = ("propose", "accept", "terminate"), ("ack", "protest")
    for one in compare.written(*kinds, *agreeing, *answering):
        match one.kind:
            case "programme":
                said = (one.body.version, one.body.digest, one.body.effective_at_us)
                own.programmes[(one.index,)] = said
            case "pledge":
                own.pledges[one.body.redemption_id] = one
            case "accrual" | "clawback":
                _earn(compare, own, one)
            case "spend":
                _seal(compare, one)
                own.spent[one.index] = one
            case "delivery":
                own.deliveries[one.index] = one
            case "returned":
                own.returns.append(one)
            case "ack" | "protest":
                own.answers[one.index] = one
            case _:
                own.agreed.append((one.index, one.kind, *_agreed(one)))
    return own


def _agreed(one: Written) -> Key:
    """(id, version, digest) of an entry about an agreement, as far as it says."""
    match one.kind:
        case "propose":
            terms = one.body.terms
            return (terms.agreement_id, terms.version, arithmetic.digest(terms))
        case "accept":
            return ("", 0, one.body.terms_digest)
        case _:
            return (one.body.agreement_id, one.body.version, b"")


def _earn(compare: Comparison, own: Own, one: Written) -> None:
    """An entry that says which event it is for opens its commitment to it."""
    event = one.opening.event
    if one.kind == "accrual" and one.body.HasField("decision"):
        own.accruals[one.index] = one
    if not event or not _seal(compare, one):
        return
    if one.kind == "accrual":
        own.earned[event].append(one)
    else:
        own.taken[event].append(one)


def _seal(compare: Comparison, one: Written) -> bool:
    """Whether the opening of an entry is of the event that it commits to."""
    try:
        sealed = entries.seal_event(one.opening.event, one.opening.event_salt)
    except BadStatement:
        sealed = b""
    if sealed != one.body.event:
        compare.wrong("entries", f"the opening of entry {one.index} is of another event.")
        return False
    return True


def points_of(one: Written, account_class: int) -> int:
    """The points of an entry's legs of one class."""
    return sum(leg.points for leg in one.body.legs if leg.account_class == account_class)


# --- tables ---------------------------------------------------------------------------------


def _check_programmes(compare: Comparison, own: Own) -> None:
    """Versions as they were declared, and the files kept of them by their digests."""
    compare.table(
        "programmes", ("index",), ("version", "digest", "effective_at_us"), own.programmes
    )
    for version, digest, file in compare.rows("programmes", ("version", "digest", "file")):
        if file and sha256(file).digest() != bytes(digest):
            compare.wrong("programmes", f"the file of {version} is not the one declared.")


def _check_holds(compare: Comparison, replay: Replay) -> None:
    """HOLD entries, and the entries that ended them."""
    ended: dict[int, tuple[str, int, bytes]] = {}
    restored: dict[int, list[str]] = defaultdict(list)
    states = {"post": "POSTED", "release": "RELEASED"}
    for effect in replay.effects:
        if effect.kind in states:
            state = states[effect.kind]
            ended.setdefault(effect.hold_index, (state, effect.index, effect.decision.leaf))
        elif effect.kind == "restore":
            restored[effect.hold_index].append(f"{effect.index}:{effect.decision.index}")
    expected: dict[Key, Values] = {}
    set_aside: dict[Key, list[int]] = defaultdict(lambda: [0, 0])
    for index, hold in replay.holds.items():
        body, lots = hold.body, hold.lots
        account = next((replay.lots[lot].account for lot in lots if lot in replay.lots), "")
        expected[body.redemption_id, body.acceptor] = (
            index,
            hold.leaf,
            *ended.get(index, ("HELD", -1, b"")),
            account,
            int(body.kind),
            body.agreement_id,
            body.agreement_version,
            body.quote_digest,
            body.points,
            " ".join(f"{lot}:{points}" for lot, points in lots.items()),
            body.expires_at_us,
            hold.restored,
            " ".join(restored[index]),
        )
        set_aside[(account,)][0] += 1
        set_aside[(account,)][1] += body.points
    first = ("index", "leaf_hash", "state", "ended_index", "decision", "account", "kind")
    then = ("agreement_id", "agreement_version", "quote_digest", "points", "taken")
    last = ("expires_at_us", "restored_points", "restored_indices")
    compare.table("holds", ("redemption_id", "acceptor"), (*first, *then, *last), expected)
    days = {at: tuple(sums) for at, sums in set_aside.items()}
    compare.sums("redeemed_days", ("account",), ("redemptions", "points"), days)


def _check_notices(compare: Comparison, replay: Replay, own: Own, mirror: Mirror) -> None:
    """Pledges of partners: accrued by our entries, decided in clearing's log."""
    if not compare.has("notices"):
        return
    first = ("partner", "redemption_id", "state", "account", "points", "accrued_index", "lot")
    columns = (*first, "reversed_points", "reversed_seq", "decision", "cites", "seq")
    rows = compare.rows("notices", columns)
    compare.keep("notices", f"{len(rows)} notices are what both logs say.")
    left = dict(own.accruals)
    for partner, name, state, account, points, index, lot, *back, decision, cites, seq in rows:
        entry = left.pop(index, None)
        wrong = _unlike_accrual(entry, name, account, points, lot, bytes(decision), seq)
        if (state == "ACCRUED") is (entry is None) or wrong:
            compare.wrong("notices", f"{partner} {name} is not what entry {index} accrued.")
        decided = {
            (one.body.cites.SerializeToString(), one.body.issuer_seq)
            for one in mirror.of(partner, name, COMMITTED)
        }
        if mirror.sound and decision and (bytes(cites), seq) not in decided:
            compare.wrong("notices", f"{partner} {name} has another decision than clearing's log.")
        if mirror.sound and tuple(back) not in _counted(mirror, partner, name):
            compare.wrong("notices", f"{partner} {name} says {back[0]} points are reversed.")
    for index in left:
        compare.wrong("notices", f"entry {index} accrued on a pledge that is missing.")


def _unlike_accrual(
    entry: Written | None, name: str, account: str, points: int, lot: str, decision: bytes, seq: int
) -> bool:
    if entry is None:
        return False
    body = entry.body
    said = (body.redemption_id, -points_of(entry, ISSUED), body.seq)
    owners = {leg.account for leg in entry.opening.legs if leg.account}
    lots = {leg.lot for leg in entry.opening.legs if leg.lot}
    return (
        said != (name, points, seq)
        or body.decision.SerializeToString() != decision
        or owners != {account}
        or bool(lot and lot not in lots)
    )


def _counted(mirror: Mirror, other: str, name: str) -> set[tuple[int, int]]:
    """The points reversed so far, and our number for the last time: with and without what is
    heard and not yet carried out."""
    reversals = mirror.of(other, name, REVERSED)
    done = [one for one in reversals if one.index < mirror.applied]
    return {
        (
            sum(one.points for one in some),
            max((one.body.issuer_seq for one in some), default=0),
        )
        for some in (done, reversals)
    }


def _check_pledges(compare: Comparison, own: Own, mirror: Mirror) -> None:
    """Our promises to pay: the PLEDGE, whom it is for, and what clearing made of it."""
    if not compare.has("pledges"):
        return
    first = ("redemption_id", "issuer", "points", "agreement_id", "agreement_version", "index")
    rows = compare.rows("pledges", (*first, "account", "salt", "state"))
    _check_refunds(compare, own, mirror)
    compare.keep("pledges", f"{len(rows)} pledges are what both logs say.")
    left = dict(own.pledges)
    for name, issuer, points, agreement, version, index, account, salt, state in rows:
        entry = left.pop(name, None)
        if entry is None:
            compare.wrong("pledges", f"{name} is not in the log.")
            continue
        body = entry.body
        said = (body.issuer, body.points, body.agreement_id, body.agreement_version, entry.index)
        if said != (issuer, points, agreement, version, index):
            compare.wrong("pledges", f"{name} is not what entry {entry.index} says.")
        if not _opens(body.destination, account, bytes(salt)):
            compare.wrong("pledges", f"{name} is for another account than the PLEDGE.")
        decided = mirror.of(issuer, name, COMMITTED, ABORTED)
        states = {int(one.body.outcome): one for one in decided}
        outcome = {"COMMITTED": COMMITTED, "ABORTED": ABORTED}.get(state)
        pending = all(one.index >= mirror.applied for one in decided)
        # A decision may be known from clearing's answer before it is mirrored.
        if decided and not (outcome in states or (outcome is None and pending)):
            compare.wrong("pledges", f"{name} is {state} and clearing's log says otherwise.")
    for name in left:
        compare.wrong("pledges", f"{name} is missing, and the log has it.")


def _check_refunds(compare: Comparison, own: Own, mirror: Mirror) -> None:
    """What refunds asked of our pledges, and the decision which their RETURN entries name."""
    returned: dict[str, int] = defaultdict(int)
    for one in own.returns:
        name = one.body.redemption_id
        returned[name] = max(returned[name], one.body.cumulative_points)
    sums = ("asked_points", "answered_points", "recovered_points", "points")
    money = ("refunded_minor", "amount_minor", "decision")
    for name, issuer, asked, answered, recovered, points, refunded, paid, decision in compare.rows(
        "pledges", ("redemption_id", "issuer", *sums, *money)
    ):
        if recovered != returned[name]:
            compare.wrong("pledges", f"{name} gives back {recovered} points, its RETURNs others.")
        if not recovered <= answered <= asked <= points or refunded > paid:
            compare.wrong("pledges", f"{name} gives back more than was asked for.")
        committed = {(one.index, one.leaf) for one in mirror.of(issuer, name, COMMITTED)}
        if mirror.sound and decision and committed and _cited(bytes(decision)) not in committed:
            compare.wrong("pledges", f"{name} has another decision than clearing's log.")


def _cited(data: bytes) -> tuple[int, bytes] | None:
    try:
        cited = common_pb2.Citation.FromString(data)
    except DecodeError:
        return None
    return cited.index, cited.leaf_hash


def _opens(sealed: bytes, account: str, salt: bytes) -> bool:
    try:
        return entries.seal_account(account, salt) == sealed
    except BadStatement:
        return False


def _check_answers(compare: Comparison, own: Own) -> None:
    """Each settlement's ACK or PROTEST is the entry named, and cites this settlement."""
    kinds: Mapping[str, tuple[str, ...]] = {
        "ACKNOWLEDGED": ("ack",),
        "PROTESTED": ("protest",),
        "ANSWERED": ("ack", "protest"),
    }
    for window, index, leaf, state, answer in compare.rows(
        "settlements", ("window", "index", "leaf_hash", "state", "answer_index")
    ):
        entry: Any = own.answers.pop(answer, None)
        if state == "SEEN" and answer == -1:
            continue
        cited = common_pb2.Citation() if entry is None else entry.body.settlement
        if (
            entry is None
            or entry.kind not in kinds.get(state, ())
            or (entry.body.window, cited.index, cited.leaf_hash) != (window, index, bytes(leaf))
        ):
            compare.wrong(
                "settlements", f"{window} is {state}, and entry {answer} does not say so."
            )
    for index in own.answers:
        if compare.has("settlements"):
            compare.wrong("settlements", f"entry {index} answers one that is missing.")
