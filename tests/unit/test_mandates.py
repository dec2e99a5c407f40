"""Mandates: the member's consent to one quote, and to nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from comity.errors import BadStatement, MandateRejected
from comity.keys import SigningKey
from comity.ledger.entries import canonical
from comity.terms import mandates, quotes
from comity.v1 import common_pb2, entry_pb2
from tests.unit.replay_log import NETWORK, REWARD, digest, rdm
from tests.unit.test_quotes import quote

DEVICE = SigningKey(digest("device"))
NOW = 1_000_000
DIGEST = quotes.digest(canonical(quote()))


def mandate(**changed: Any) -> entry_pb2.Mandate:
    plain: dict[str, Any] = {
        "network": NETWORK,
        "issuer": "grocery",
        "acceptor": "fuel",
        "kind": REWARD,
        "redemption_id": rdm("first"),
        "quote_digest": DIGEST,
        "max_points": 100,
        "not_after_us": NOW + 10,
        "key_id": f"key_{DEVICE.key_id}",
    }
    return entry_pb2.Mandate(**(plain | changed))


def check(one: entry_pb2.Mandate, *, now_us: int = NOW) -> None:
    mandates.check(one, quote(), quote_digest=DIGEST, now_us=now_us)


def test_a_signed_mandate_is_read_and_verified() -> None:
    signed = mandates.sign(mandate(), DEVICE)
    mandates.verify(signed, DEVICE.public)
    assert mandates.read(signed) == mandate()
    check(mandates.read(signed))


def test_the_signature_is_the_devices_over_exactly_these_bytes() -> None:
    signed = mandates.sign(mandate(), DEVICE)
    with pytest.raises(BadStatement):
        mandates.verify(signed, SigningKey(digest("other")).public)
    other = mandates.sign(mandate(max_points=101), DEVICE)
    other.signature = signed.signature
    with pytest.raises(BadStatement):
        mandates.verify(other, DEVICE.public)
    bare = entry_pb2.SignedMandate(mandate=signed.mandate, signature=DEVICE.sign(signed.mandate))
    with pytest.raises(BadStatement):
        mandates.verify(bare, DEVICE.public)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"network": "other.example"}, "network"),
        ({"issuer": "cinema"}, "issuer"),
        ({"acceptor": "cinema"}, "acceptor"),
        ({"kind": common_pb2.REDEMPTION_KIND_EXCHANGE}, "kind"),
        ({"redemption_id": rdm("second")}, "redemption_id"),
        ({"quote_digest": digest("x")}, "quote_digest"),
        ({"max_points": 99}, "max_points"),
        ({"not_after_us": NOW}, "not_after_us"),
    ],
)
def test_a_mandate_for_anything_else_is_rejected(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(MandateRejected) as caught:
        check(mandate(**changed))
    assert caught.value.field == field


def test_a_mandate_has_one_encoding_and_one_digest() -> None:
    signed = mandates.sign(mandate(), DEVICE)
    twin = entry_pb2.SignedMandate(mandate=signed.mandate + b"\xf8\x07\x01")
    with pytest.raises(BadStatement):
        mandates.read(twin)
    other = mandates.sign(mandate(max_points=101), DEVICE)
    assert mandates.digest(signed) != mandates.digest(other)
