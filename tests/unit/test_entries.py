"""Entries: one encoding each, within stated limits, and legs that sum to zero."""

from __future__ import annotations

import random as seeded
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement, Malformed
from comity.ledger import entries
from comity.ledger.entries import LegDraft
from comity.log.merkle import leaf_hash
from comity.v1 import common_pb2, entry_pb2
from tests.unit.replay_log import (
    AVAILABLE,
    DEBT,
    HELD,
    ISSUED,
    REWARD,
    SPENT,
    UNIT,
    digest,
    rdm,
)

ORIGIN = "comity.example/grocery"
RANDOM = seeded.Random(5).randbytes

INT64 = st.integers(-(2**63), 2**63 - 1)


def transfer(points: int = 5) -> tuple[entry_pb2.Transfer, list[entry_pb2.LegOpening]]:
    public, private = entries.seal_legs(
        (
            LegDraft(AVAILABLE, UNIT, -points, "acc_a", "0.1", 7),
            LegDraft(SPENT, UNIT, points),
        ),
        RANDOM,
    )
    return entry_pb2.Transfer(legs=public), private


def encoded(points: int = 5) -> bytes:
    return entries.encode(transfer(points)[0], origin=ORIGIN, at_us=9)


def test_an_entry_reads_back_as_it_was_written() -> None:
    body, _ = transfer()
    data = entries.encode(body, origin=ORIGIN, at_us=9)
    entry = entries.decode(data, origin=ORIGIN)
    assert (entry.version, entry.origin, entry.at_us) == (1, ORIGIN, 9)
    assert entries.kind(entry) == "transfer"
    assert entries.body(entry) == body
    assert list(entries.legs(entry)) == list(body.legs)
    assert entries.canonical(entry) == data


def test_the_bytes_of_an_entry_never_change() -> None:
    body = entry_pb2.Programme(version="1", digest=bytes(range(32)), effective_at_us=3)
    data = entries.encode(body, origin="n/b", at_us=1)
    # Fields 1, 2, 3 and 15 of Entry, then 1, 2 and 3 of Programme, by hand.
    inner = "0a0131" + "1220" + bytes(range(32)).hex() + "1803"
    assert data.hex() == "0801" + "12036e2f62" + "1801" + "7a27" + inner


def test_each_body_type_is_encoded_under_its_own_name() -> None:
    fields = entry_pb2.Entry.DESCRIPTOR.oneofs_by_name["body"].fields
    assert len({field.message_type for field in fields}) == len(fields)
    with pytest.raises(ValueError, match="not the body"):
        entries.encode(common_pb2.Money(), origin=ORIGIN, at_us=1)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_entry(data: bytes) -> None:
    with pytest.raises(BadStatement):
        entries.decode(data)


@given(st.data())
def test_no_changed_byte_leaves_the_same_entry(data: st.DataObject) -> None:
    original = encoded()
    at = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        entry = entries.decode(bytes(changed))
    except BadStatement:
        return
    assert entries.canonical(entry) == bytes(changed) != original


@pytest.mark.parametrize(
    "added",
    [
        b"\xf8\x07\x01",  # an unknown field
        b"\x08\x01",  # the version once more
        b"\x18\x09",  # the time once more
    ],
)
def test_another_encoding_of_the_same_content_is_refused(added: bytes) -> None:
    with pytest.raises(BadStatement, match="canonical"):
        entries.decode(encoded() + added)


def test_an_overlong_number_is_refused() -> None:
    data = encoded()
    assert data.startswith(b"\x08\x01")
    with pytest.raises(BadStatement):
        entries.decode(b"\x08\x81\x00" + data[2:])


def test_an_unknown_field_inside_is_refused() -> None:
    body = entry_pb2.Programme.FromString(
        entry_pb2.Programme(version="1").SerializeToString() + b"\x98\x06\x01"
    )
    entry = entry_pb2.Entry(version=1, origin=ORIGIN, at_us=1)
    entry.programme.CopyFrom(body)
    with pytest.raises(BadStatement):
        entries.decode(entry.SerializeToString())


def test_an_entry_of_another_log_is_refused() -> None:
    with pytest.raises(BadStatement, match="belongs to"):
        entries.decode(encoded(), origin="comity.example/fuel")


def hold(**changed: object) -> bytes:
    plain: dict[str, object] = {
        "network": "comity.example",
        "acceptor": "fuel",
        "redemption_id": rdm("x"),
        "kind": REWARD,
        "agreement_id": "agr_x",
        "quote_digest": digest("q"),
        "mandate_digest": digest("m"),
        "points": 5,
        "amount": common_pb2.Money(currency="EUR", minor=5),
        "expires_at_us": 1,
    }
    body = entry_pb2.Hold(**(plain | changed))  # type: ignore[arg-type]
    return entries.encode(body, origin=ORIGIN, at_us=1)


def test_a_whole_hold_is_read() -> None:
    assert entries.decode(hold()).hold.points == 5


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"redemption_id": "rdm_short"}, "hold.redemption_id"),
        ({"redemption_id": "xyz_" + "0" * 32}, "hold.redemption_id"),
        ({"acceptor": ""}, "hold.acceptor"),
        ({"acceptor": "x" * 64}, "hold.acceptor"),
        ({"kind": 0}, "hold.kind"),
        ({"kind": 99}, "hold.kind"),
        ({"quote_digest": b"short"}, "hold.quote_digest"),
        ({"points": 0}, "hold.points"),
        ({"points": -1}, "hold.points"),
        ({"amount": common_pb2.Money(currency="euro")}, "hold.amount.currency"),
    ],
)
def test_a_field_outside_its_limits_is_refused_by_name(
    changed: dict[str, object], field: str
) -> None:
    with pytest.raises(BadStatement) as caught:
        entries.decode(hold(**changed))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "entry",
    [
        entry_pb2.Entry(version=1, origin=ORIGIN, at_us=1),
        entry_pb2.Entry(version=2, origin=ORIGIN, at_us=1, heads=entry_pb2.Heads()),
        entry_pb2.Entry(version=1, at_us=1, heads=entry_pb2.Heads()),
        entry_pb2.Entry(version=1, origin=ORIGIN, heads=entry_pb2.Heads()),
        entry_pb2.Entry(version=1, origin=ORIGIN, at_us=-1, heads=entry_pb2.Heads()),
    ],
)
def test_an_entry_says_whose_it_is_when_and_what(entry: entry_pb2.Entry) -> None:
    with pytest.raises(BadStatement):
        entries.decode(entries.canonical(entry))


def test_an_entry_has_at_most_65535_bytes() -> None:
    accounts = [LegDraft(AVAILABLE, UNIT, 1, f"acc_{n}", "1.1") for n in range(900)]
    legs, _ = entries.seal_legs((*accounts, LegDraft(ISSUED, UNIT, -900)), RANDOM)
    entries.decode(entries.encode(entry_pb2.Transfer(legs=legs), origin=ORIGIN, at_us=1))
    more = entry_pb2.Transfer(legs=[*legs, *legs])
    with pytest.raises(Malformed, match="split"):
        entries.encode(more, origin=ORIGIN, at_us=1)
    whole = entry_pb2.Entry(version=1, origin=ORIGIN, at_us=1, transfer=more)
    with pytest.raises(BadStatement, match="65535"):
        entries.decode(entries.canonical(whole))


# --- legs -------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=6))
def test_legs_sum_to_zero_or_are_not_sealed(points: list[int]) -> None:
    drafts = [LegDraft(ISSUED, UNIT, one) for one in points]
    if sum(points):
        with pytest.raises(ValueError, match="sum to zero"):
            entries.seal_legs(drafts, RANDOM)
    else:
        public, private = entries.seal_legs(drafts, RANDOM)
        assert sum(leg.points for leg in public) == 0
        assert all(opening == entry_pb2.LegOpening() for opening in private)


def unsealed(*legs: entry_pb2.Leg) -> bytes:
    return entries.encode(entry_pb2.Transfer(legs=legs), origin=ORIGIN, at_us=1)


def own(points: int, unit: str = UNIT) -> entry_pb2.Leg:
    return entry_pb2.Leg(account_class=ISSUED, unit=unit, points=points)


@pytest.mark.parametrize(
    "legs",
    [
        (own(1),),
        (own(1), own(-2)),
        (own(1), own(-1, "fuel/points")),
        (own(2**63 - 1), own(1), own(2**63 - 1), own(1)),
    ],
)
def test_legs_that_do_not_balance_per_unit_are_refused(legs: tuple[entry_pb2.Leg, ...]) -> None:
    with pytest.raises(BadStatement, match="sum to"):
        entries.decode(unsealed(*legs))
    entries.decode_but_legs(unsealed(*legs))


@pytest.mark.parametrize(
    "leg",
    [
        entry_pb2.Leg(unit=UNIT),
        entry_pb2.Leg(account_class=99, unit=UNIT),  # type: ignore[arg-type]
        entry_pb2.Leg(account_class=AVAILABLE, unit=UNIT),
        entry_pb2.Leg(account_class=AVAILABLE, unit=UNIT, account=b"short"),
        entry_pb2.Leg(account_class=ISSUED, unit=UNIT, account=bytes(32)),
        entry_pb2.Leg(account_class=ISSUED),
    ],
)
def test_a_leg_names_an_account_just_if_its_class_has_them(leg: entry_pb2.Leg) -> None:
    with pytest.raises(BadStatement):
        entries.decode(unsealed(leg))


def test_an_opening_opens_its_leg_and_no_other() -> None:
    body, openings = transfer()
    for leg, opening in zip(body.legs, openings, strict=True):
        entries.check_leg(leg, opening)
    for name, value in (
        ("account", "acc_b"),
        ("lot", "0.2"),
        ("expires_at_us", 8),
        ("salt", bytes(16)),
    ):
        other = entry_pb2.LegOpening()
        other.CopyFrom(openings[0])
        setattr(other, name, value)
        with pytest.raises(BadStatement):
            entries.check_leg(body.legs[0], other)
    with pytest.raises(BadStatement):
        entries.check_leg(own_with_account(), entry_pb2.LegOpening())


def own_with_account() -> entry_pb2.Leg:
    return entry_pb2.Leg(account_class=SPENT, unit=UNIT, account=bytes(32))


def test_the_same_account_looks_different_in_every_leg() -> None:
    drafts = [LegDraft(HELD, UNIT, 1, "acc_a", "1.1"), LegDraft(DEBT, UNIT, -1, "acc_a")]
    once, _ = entries.seal_legs(drafts, RANDOM)
    again, _ = entries.seal_legs(drafts, RANDOM)
    assert len({leg.account for leg in (*once, *again)}) == 4


# --- citations and commitments ----------------------------------------------------------------


def test_a_citation_names_place_and_bytes() -> None:
    data = encoded()
    cited = entries.cite(ORIGIN, 4, data)
    assert (cited.origin, cited.index, cited.leaf_hash) == (ORIGIN, 4, leaf_hash(data))
    assert entries.same(cited, entries.cite(ORIGIN, 4, data))
    for other in (
        entries.cite(ORIGIN, 5, data),
        entries.cite("comity.example/fuel", 4, data),
        entries.cite(ORIGIN, 4, data + b"x"),
    ):
        assert not entries.same(cited, other)


def test_each_fact_has_a_commitment_of_its_own() -> None:
    salt = bytes(16)
    money = common_pb2.Money(currency="EUR", minor=5)
    sealed = [
        entries.seal_account("a", salt),
        entries.seal_event("a", salt),
        entries.seal_vouchers(["a"], salt),
        entries.seal_vouchers(["a", "b"], salt),
        entries.seal_reward("a", 1, salt),
        entries.seal_reward("a", 11, salt),
        entries.seal_points(1, salt),
        entries.seal_points(-1, salt),
        entries.seal_position(money, salt),
        entries.seal_amounts(entry_pb2.Amounts(amount=money), salt),
    ]
    assert len(set(sealed)) == len(sealed)


@given(INT64, INT64)
def test_a_decision_opens_to_its_own_figures_only(points: int, minor: int) -> None:
    salt = bytes(range(16))
    money = common_pb2.Money(currency="EUR", minor=minor)
    amounts = entry_pb2.Amounts(amount=money)
    decision = entry_pb2.Decision(
        points=entries.seal_points(points, salt),
        amounts=entries.seal_amounts(amounts, salt),
        issuer_position=entries.seal_position(money, salt),
        acceptor_position=entries.seal_position(money, salt),
    )
    opening = entry_pb2.DecisionOpening(
        points_salt=salt,
        points=points,
        amounts_salt=salt,
        amounts=amounts,
        issuer_position_salt=salt,
        issuer_position=money,
        acceptor_position_salt=salt,
        acceptor_position=money,
    )
    entries.check_decision_opening(decision, opening)
    entries.check_decision_opening(decision, entry_pb2.DecisionOpening())
    for name in ("points", "amounts", "issuer_position", "acceptor_position"):
        other = entry_pb2.Decision()
        other.CopyFrom(decision)
        setattr(other, name, digest("other"))
        with pytest.raises(BadStatement):
            entries.check_decision_opening(other, opening)


def message_types(kind: Descriptor, seen: set[str]) -> Iterator[Descriptor]:
    """A message type and those of its fields, at any depth."""
    if kind.full_name not in seen:
        seen.add(kind.full_name)
        yield kind
        for field in kind.fields:
            if field.message_type is not None:
                yield from message_types(field.message_type, seen)


@pytest.mark.parametrize("kind", [entry_pb2.Entry, entry_pb2.Quote, entry_pb2.Mandate])
def test_what_is_read_strictly_has_no_maps_whose_order_could_differ(kind: Any) -> None:
    for found in message_types(kind.DESCRIPTOR, set()):
        assert not found.GetOptions().map_entry, found.full_name
