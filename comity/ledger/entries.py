"""Entries: the leaves of every log, byte for byte.

`encode` is called once in the life of an entry, by its writer. Everyone else keeps the bytes
and reads them with `decode`, which refuses what no honest writer encodes: unknown fields,
another encoding of the same content, fields outside their limits, legs that do not sum to zero.

Legs name member accounts by commitments. The openings (account, lot, expiry, salt) stay with
the ledger's owner and the auditors it admits, so erasing a member leaves every proof intact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from comity.errors import BadStatement, Malformed
from comity.log.commitment import commit, verify_commitment
from comity.log.merkle import leaf_hash
from comity.points import checked
from comity.v1 import common_pb2, entry_pb2
from comity.validation import Validator, validate

MAX_ENTRY_BYTES: Final = 65_535
SALT_BYTES: Final = 16
VERSION: Final = 1

Random = Callable[[int], bytes]

_BODY = entry_pb2.Entry.DESCRIPTOR.oneofs_by_name["body"]
_FIELD_BY_TYPE: Mapping[str, str] = {
    field.message_type.full_name: field.name for field in _BODY.fields if field.message_type
}

_validate_but_legs = Validator(unchecked=(entry_pb2.Leg.DESCRIPTOR,)).validate

MEMBER_CLASSES: Final = frozenset(
    {
        entry_pb2.ACCOUNT_CLASS_PENDING,
        entry_pb2.ACCOUNT_CLASS_AVAILABLE,
        entry_pb2.ACCOUNT_CLASS_HELD,
        entry_pb2.ACCOUNT_CLASS_DEBT,
    }
)
"""Classes whose legs name an account, by commitment."""


def canonical(message: Message) -> bytes:
    """The deterministic bytes of a message: what is hashed, committed to and signed."""
    return message.SerializeToString(deterministic=True)


def encode(body: Message, *, origin: str, at_us: int) -> bytes:
    """The bytes of a new entry. Raises Malformed above 65,535 bytes."""
    field = _FIELD_BY_TYPE.get(body.DESCRIPTOR.full_name)
    if field is None:
        raise ValueError(f"{body.DESCRIPTOR.full_name} is not the body of an entry")
    entry = entry_pb2.Entry(version=VERSION, origin=origin, at_us=at_us)
    getattr(entry, field).CopyFrom(body)
    data = canonical(entry)
    if len(data) > MAX_ENTRY_BYTES:
        raise Malformed(
            f"The {field} entry would take {len(data)} bytes, more than {MAX_ENTRY_BYTES}; "
            "split what it records."
        )
    return data


def decode(data: bytes, *, origin: str | None = None) -> entry_pb2.Entry:
    """The entry these bytes are. With `origin`, it must belong to that log.

    Raises BadStatement for anything but canonical bytes of an entry within all its limits whose
    legs balance.
    """
    entry = _decode(data, origin, validate)
    _check_legs(legs(entry))
    return entry


def decode_but_legs(data: bytes, *, origin: str | None = None) -> entry_pb2.Entry:
    """As `decode`, but the legs are not looked at: for a replay, which does that itself."""
    return _decode(data, origin, _validate_but_legs)


def _decode(data: bytes, origin: str | None, check: Callable[[Message], None]) -> entry_pb2.Entry:
    entry: entry_pb2.Entry = parse_strictly(entry_pb2.Entry, data, "entry")
    try:
        check(entry)
    except Malformed as error:
        raise BadStatement(f"In the entry, {error.message}", field=error.field) from error
    if origin is not None and entry.origin != origin:
        raise BadStatement(f"The entry belongs to {entry.origin}, not to {origin}.")
    return entry


def parse_strictly(kind: type[Any], data: bytes, what: str) -> Any:
    """A message from its canonical bytes; BadStatement unless they are exactly canonical."""
    if len(data) > MAX_ENTRY_BYTES:
        raise BadStatement(f"The {what} has {len(data)} bytes, more than {MAX_ENTRY_BYTES}.")
    try:
        message = kind.FromString(data)
    except DecodeError as error:
        raise BadStatement(f"The {what} does not parse.") from error
    message.DiscardUnknownFields()
    # What stands in a log has no maps (a test sees to it), so its bytes have only one order.
    if message.SerializeToString() != data:
        raise BadStatement(f"The {what} has unknown fields or is not in canonical form.")
    return message


def kind(entry: entry_pb2.Entry) -> str:
    """The name of the entry's body in the proto: `hold`, `decision`, `returned`, …"""
    name = entry.WhichOneof("body")
    assert name is not None, "decoded entries have a body"
    return name


def body(entry: entry_pb2.Entry) -> Any:
    """The entry's body message."""
    return getattr(entry, kind(entry))


def legs(entry: entry_pb2.Entry) -> Sequence[entry_pb2.Leg]:
    """The entry's legs; empty where its type has none."""
    return getattr(body(entry), "legs", ())


def cite(origin: str, index: int, data: bytes) -> common_pb2.Citation:
    """The name of the entry with these bytes at this place."""
    return common_pb2.Citation(origin=origin, index=index, leaf_hash=leaf_hash(data))


def same(one: common_pb2.Citation, other: common_pb2.Citation) -> bool:
    """Whether two citations name the same entry with the same bytes."""
    return (
        one.leaf_hash == other.leaf_hash and one.index == other.index and one.origin == other.origin
    )


# --- legs -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LegDraft:
    """One side of a double entry before its account is sealed.

    `account` and `lot` are empty for the programme's own classes. `expires_at_us` is 0 for a
    lot that never expires. Points issued, or taken back, say by which `rule` of the programme,
    from which `source`, and who bears them.
    """

    account_class: entry_pb2.AccountClass.ValueType
    unit: str
    points: int
    account: str = ""
    lot: str = ""
    expires_at_us: int = 0
    rule: str = ""
    source: entry_pb2.Source.ValueType = entry_pb2.SOURCE_UNSPECIFIED
    funded_by: entry_pb2.Funding.ValueType = entry_pb2.FUNDING_UNSPECIFIED


def seal_legs(
    drafts: Iterable[LegDraft], random: Random
) -> tuple[list[entry_pb2.Leg], list[entry_pb2.LegOpening]]:
    """The public legs and their private openings, in order; empty openings for programme legs.

    Raises ValueError if the legs do not sum to zero per unit: a mistake in the caller.
    """
    drafts = tuple(drafts)
    salts = random(SALT_BYTES * len(drafts))
    public: list[entry_pb2.Leg] = []
    private: list[entry_pb2.LegOpening] = []
    sums: dict[str, int] = defaultdict(int)
    for place, draft in enumerate(drafts):
        sums[draft.unit] += checked(draft.points)
        sealed = b""
        if draft.account_class in MEMBER_CLASSES:
            opening = entry_pb2.LegOpening(
                account=draft.account, lot=draft.lot, expires_at_us=draft.expires_at_us
            )
            if draft.source:
                opening.rule = draft.rule
                opening.source = draft.source
                opening.funded_by = draft.funded_by
            salt = salts[place * SALT_BYTES : (place + 1) * SALT_BYTES]
            sealed = commit("leg", salt, opening.SerializeToString(deterministic=True))
            opening.salt = salt
        else:
            opening = entry_pb2.LegOpening()
        private.append(opening)
        public.append(
            entry_pb2.Leg(
                account_class=draft.account_class,
                account=sealed,
                unit=draft.unit,
                points=draft.points,
            )
        )
    if any(sums.values()):
        raise ValueError(f"legs do not sum to zero: {dict(sums)}")
    return public, private


def check_leg(leg: entry_pb2.Leg, opening: entry_pb2.LegOpening) -> None:
    """Raises BadStatement unless `opening` opens the commitment of `leg`."""
    if leg.account_class not in MEMBER_CLASSES:
        if leg.account:
            raise BadStatement("A leg of the programme's own account names a member account.")
        return
    bare = _without_salt(opening)
    verify_commitment(leg.account, label="leg", salt=opening.salt, value=canonical(bare))


def _without_salt(opening: Any) -> Any:
    bare = type(opening)()
    bare.CopyFrom(opening)
    bare.ClearField("salt")
    return bare


def _check_legs(found: Sequence[entry_pb2.Leg]) -> None:
    sums: dict[str, int] = defaultdict(int)
    for leg in found:
        if leg.account_class == entry_pb2.ACCOUNT_CLASS_UNSPECIFIED:
            raise BadStatement("A leg has no account class.")
        if len(leg.account) != (32 if leg.account_class in MEMBER_CLASSES else 0):
            raise BadStatement("A leg's account is not the commitment its class asks for.")
        sums[leg.unit] += leg.points
    for unit, total in sums.items():
        if total:
            raise BadStatement(f"The legs in {unit} sum to {total}, not to zero.")


# --- commitments to single facts ------------------------------------------------------------


def seal_account(account: str, salt: bytes) -> bytes:
    """Commitment to a member's account at another brand: a destination."""
    return commit("account", salt, account.encode())


def seal_reward(reward_id: str, quantity: int, salt: bytes) -> bytes:
    """Commitment to what a quote buys."""
    return commit("reward", salt, reward_id.encode() + b"\n" + str(quantity).encode())


def seal_vouchers(codes: Sequence[str], salt: bytes) -> bytes:
    """Commitment to the voucher codes handed out in one delivery."""
    return commit("voucher", salt, "\n".join(codes).encode())


def seal_event(text: str, salt: bytes) -> bytes:
    """Commitment to the event (a purchase id) behind an accrual."""
    return commit("event", salt, text.encode())


def seal_mark(opening: entry_pb2.MarkOpening) -> bytes:
    """Commitment to a level, badge, title or tag given or taken, under the opening's salt."""
    return commit("mark", opening.salt, canonical(_without_salt(opening)))


def check_mark(mark: bytes, opening: entry_pb2.MarkOpening) -> None:
    """Raises BadStatement unless `opening` opens this commitment of a MARKS entry."""
    value = canonical(_without_salt(opening))
    verify_commitment(mark, label="mark", salt=opening.salt, value=value)


def seal_points(points: int, salt: bytes) -> bytes:
    """Commitment to the points of a decision."""
    return commit("points", salt, points.to_bytes(8, "big", signed=True))


def seal_amounts(amounts: entry_pb2.Amounts, salt: bytes) -> bytes:
    """Commitment to the amounts of a decision."""
    return commit("amounts", salt, canonical(amounts))


def seal_position(position: common_pb2.Money, salt: bytes) -> bytes:
    """Commitment to a participant's running position after a decision."""
    return commit("position", salt, canonical(position))


def check_decision_opening(
    decision: entry_pb2.Decision, opening: entry_pb2.DecisionOpening
) -> None:
    """Raises BadStatement unless each opened figure opens its commitment in the decision."""
    if opening.points_salt and decision.points != seal_points(opening.points, opening.points_salt):
        raise BadStatement("The opening's points are not those of the decision.")
    if opening.amounts_salt and decision.amounts != seal_amounts(
        opening.amounts, opening.amounts_salt
    ):
        raise BadStatement("The opening's amounts are not those of the decision.")
    if opening.issuer_position_salt and decision.issuer_position != seal_position(
        opening.issuer_position, opening.issuer_position_salt
    ):
        raise BadStatement("The opening's issuer position is not that of the decision.")
    if opening.acceptor_position_salt and decision.acceptor_position != seal_position(
        opening.acceptor_position, opening.acceptor_position_salt
    ):
        raise BadStatement("The opening's acceptor position is not that of the decision.")
