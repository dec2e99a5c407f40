"""What an acceptor keeps of redemptions: deliveries, vouchers, returns and what is in stock.

A DELIVERY commits to the codes handed out and names quote and decision by their hashes; the rows
hold the codes, the quote and the decision themselves, and open what the entry commits to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from comity.errors import BadStatement
from comity.ledger import entries
from comity.log.checkpoint import read_checkpoint
from comity.log.merkle import leaf_hash, verify_inclusion
from comity.terms import mandates, quotes
from comity.v1 import clearing_pb2, common_pb2, entry_pb2
from comity.verify.comparison import Comparison, Key, Values, Written
from comity.verify.mirror_tables import Mirror

ABORTED: Final = int(entry_pb2.OUTCOME_ABORTED)
REVERSED: Final = int(entry_pb2.OUTCOME_REVERSED)

COLUMNS: Final = (
    "redemption_id", "issuer", "state", "kind", "quote", "mandate", "reward_id", "quantity",
    "destination", "points", "acceptor_points", "hold", "decision", "delivery_index", "vouchers",
    "voucher_salt", "lot", "reversed_points",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Row:
    """A redemption as it is stored."""

    values: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        value = self.values[name]
        return bytes(value) if isinstance(value, memoryview) else value


def check_redemptions(
    compare: Comparison,
    deliveries: Mapping[int, Written],
    returns: Sequence[Written],
    mirror: Mirror,
) -> None:
    """Redemptions, and the tables that follow from them and from the RETURN entries."""
    if not compare.has("redemptions"):
        return
    told = _told(compare)
    rows = [
        _Row(dict(zip(COLUMNS, row, strict=True))) for row in compare.rows("redemptions", COLUMNS)
    ]
    compare.keep("redemptions", f"{len(rows)} redemptions are what both logs say.")
    left = dict(deliveries)
    for row in rows:
        entry = left.pop(row.delivery_index, None)
        try:
            wrong = (
                _wrong_before(row) or _wrong_delivery(row, entry) or _wrong_end(row, mirror, told)
            )
        except (DecodeError, BadStatement) as error:
            wrong = f"holds what does not read: {error}"
        if wrong:
            compare.wrong("redemptions", f"{row.redemption_id} {wrong}.")
    for index in left:
        compare.wrong("redemptions", f"entry {index} delivers one that is missing.")
    _check_returns(compare, returns, mirror)
    _check_vouchers(compare, rows, deliveries)
    _check_stock(compare, rows, returns)


def _wrong_before(row: _Row) -> str:
    """The mandate is for this quote, and the row says what the quote says."""
    quote = quotes.read(row.quote)
    said = (quote.redemption_id, quote.issuer, int(quote.kind), quote.points, quote.acceptor_points)
    if said != (row.redemption_id, row.issuer, row.kind, row.points, row.acceptor_points):
        return "says another thing than its quote"
    mandate = mandates.read(entry_pb2.SignedMandate.FromString(row.mandate))
    if mandate.quote_digest != quotes.digest(row.quote):
        return "has a mandate for another quote"
    return ""


def _wrong_delivery(row: _Row, entry: Written | None) -> str:
    if (row.state == "DELIVERED") is not (entry is not None):
        return f"is {row.state}, and the log says otherwise"
    if entry is None:
        return ""
    body = entry.body
    if (body.issuer, body.redemption_id) != (row.issuer, row.redemption_id):
        return f"is not what entry {entry.index} delivers"
    if (
        body.quote_digest != quotes.digest(row.quote)
        or body.reward != quotes.read(row.quote).reward
    ):
        return "has another quote than its DELIVERY"
    kept = clearing_pb2.Decided.FromString(row.decision)
    if _shown(kept.decision) != (body.decision.index, body.decision.leaf_hash):
        return "has another decision than its DELIVERY"
    decision = entry_pb2.Entry.FromString(kept.decision.entry).decision
    entries.check_decision_opening(decision, kept.opening)
    if body.voucher and not _opens(body.voucher, row.vouchers.split(" "), row.voucher_salt):
        return "has other vouchers than its DELIVERY commits to"
    if body.voucher and len(row.vouchers.split(" ")) != row.quantity:
        return f"is of {row.quantity} pieces, and its DELIVERY of others"
    accounts = {leg.account for leg in entry.opening.legs if leg.account}
    lots = {leg.lot for leg in entry.opening.legs if leg.lot}
    if (accounts and accounts != {row.destination}) or (row.lot and row.lot not in lots):
        return "went to another account or lot in the log"
    return ""


def _shown(statement: common_pb2.Statement) -> tuple[int, bytes]:
    """Index and leaf of a statement kept as proof. BadStatement unless it leads to its head."""
    leaf, head = leaf_hash(statement.entry), read_checkpoint(statement.checkpoint)
    verify_inclusion(
        leaf=leaf,
        index=statement.index,
        size=head.size,
        proof=tuple(statement.hashes),
        root=head.root,
    )
    return statement.index, leaf


def _opens(sealed: bytes, codes: Sequence[str], salt: bytes) -> bool:
    try:
        return entries.seal_vouchers(codes, salt) == sealed
    except BadStatement:
        return False


def _told(compare: Comparison) -> dict[str, int]:
    """How many points of each redemption our RETURN entries have taken back."""
    found: dict[str, int] = {}
    columns = ("redemption_id", "cumulative_points", "state")
    for name, cumulative, state in compare.rows("returns", columns):
        if state == "REVERSED":
            found[name] = max(found.get(name, 0), cumulative)
    return found


def _wrong_end(row: _Row, mirror: Mirror, told: Mapping[str, int]) -> str:
    """What clearing decided, as far as it is mirrored, and the statements kept of it."""
    if not mirror.sound:
        return ""
    decided = mirror.decisions.get((row.issuer, row.redemption_id), [])
    if row.decision and decided:
        kept = clearing_pb2.Decided.FromString(row.decision)
        if _shown(kept.decision) not in [(one.index, one.leaf) for one in decided]:
            return "has a decision that is not in clearing's log"
    if row.hold and decided:
        _, held = _shown(common_pb2.Statement.FromString(row.hold))
        if held != decided[0].body.cites.leaf_hash:
            return "has another hold than clearing's decision cites"
    aborted = mirror.of(row.issuer, row.redemption_id, ABORTED)
    if (row.state == "FAILED" and decided and not aborted) or (
        aborted and row.state not in ("FAILED", "RESERVED")
    ):
        return f"is {row.state}, and clearing's log says otherwise"
    # A reversal may be known from clearing's answer before it is mirrored.
    counted = {max(heard, told.get(row.redemption_id, 0)) for heard in _reversed(row, mirror)}
    if row.reversed_points not in counted:
        return f"says {row.reversed_points} points are reversed"
    return ""


def _reversed(row: _Row, mirror: Mirror) -> set[int]:
    """The points reversed: with and without what is mirrored and not yet carried out."""
    if row.state == "REVERSED":
        return {row.points}
    if row.state not in ("DELIVERED", "RESERVED"):
        return {0}
    back = mirror.of(row.issuer, row.redemption_id, REVERSED)
    done = sum(one.points for one in back if one.index < mirror.applied)
    return {done, sum(one.points for one in back)}


def _check_returns(compare: Comparison, returns: Sequence[Written], mirror: Mirror) -> None:
    """RETURN entries, the last of each kind, and which of them clearing reversed on."""
    expected: dict[Key, Values] = {}
    issuers: dict[int, str] = {}
    for one in returns:
        body = one.body
        at = (body.redemption_id, body.cumulative_points)
        expected[at] = (one.index, body.reason_code)
        issuers[one.index] = body.issuer
    keys = ("redemption_id", "cumulative_points")
    compare.table("returns", keys, ("index", "reason_code"), expected)
    for name, cumulative, index, state in compare.rows("returns", (*keys, "index", "state")):
        done = [
            one
            for one in mirror.of(issuers.get(index, ""), name, REVERSED)
            if one.body.cites.index == index
        ]
        waits = all(one.index >= mirror.applied for one in done)
        if mirror.sound and state != "REVERSED" and not waits:
            compare.wrong(
                "returns", f"{name} {cumulative} is {state}, and clearing's log says otherwise."
            )


def _check_vouchers(
    compare: Comparison, rows: Sequence[_Row], deliveries: Mapping[int, Written]
) -> None:
    """The codes are those of the deliveries; whether one was used only the till can tell."""
    expected: dict[Key, Values] = {}
    for row in rows:
        entry = deliveries.get(row.delivery_index)
        for code in row.vouchers.split():
            at_us = entry.entry.at_us if entry is not None else 0
            expected[(code,)] = (row.reward_id, row.redemption_id, at_us)
    compare.table("vouchers", ("code",), ("reward_id", "redemption_id", "issued_at_us"), expected)


def _check_stock(compare: Comparison, rows: Sequence[_Row], returns: Sequence[Written]) -> None:
    """Pieces that wait for a decision, and those handed out and not brought back."""
    if not compare.has("rewards"):
        return
    promised: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    by_id = {row.redemption_id: row for row in rows}
    for row in rows:
        if row.reward_id and row.state in ("RESERVED", "DELIVERED"):
            promised[row.reward_id][row.state == "DELIVERED"] += row.quantity
    for one in returns:
        back = by_id.get(one.body.redemption_id)
        if back is not None and back.reward_id and one.body.cumulative_points == back.points:
            promised[back.reward_id][1] -= back.quantity
    returned = {(one.body.redemption_id, one.body.cumulative_points) for one in returns}
    for name, state in compare.rows("vouchers", ("redemption_id", "state")):
        whose = by_id.get(name)
        if state == "VOID" and whose is not None and (name, whose.points) not in returned:
            # Reported too late: what was not used yet is on the shelf again.
            promised[whose.reward_id][1] -= 1
    stored = compare.rows("rewards", ("reward_id", "reserved", "delivered"))
    compare.keep("rewards", f"The stock of {len(stored)} rewards is what redemptions left.")
    for name, reserved, delivered in stored:
        if [reserved, delivered] != promised.pop(name, [0, 0]):
            compare.wrong("rewards", f"of {name} others are reserved or delivered in redemptions.")
    for name, counts in promised.items():
        if any(counts):
            compare.wrong("rewards", f"{name} is missing, and was promised.")
