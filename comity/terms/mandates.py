"""Mandates: the member's own signature under one redemption.

Signed by the member's device over "comity-mandate/v1\\n" and the mandate's canonical bytes.
Only the issuer verifies it; it holds exactly the quote's points, never above the maximum.
"""

from __future__ import annotations

import hashlib
from typing import Final

from comity.errors import BadStatement, MandateRejected
from comity.keys import PublicKey, SigningKey
from comity.ledger.entries import canonical, parse_strictly
from comity.v1 import entry_pb2

SIGNED_DOMAIN: Final = b"comity-mandate/v1\n"


def sign(mandate: entry_pb2.Mandate, key: SigningKey) -> entry_pb2.SignedMandate:
    """The mandate with the device's signature."""
    data = canonical(mandate)
    return entry_pb2.SignedMandate(mandate=data, signature=key.sign(SIGNED_DOMAIN + data))


def read(signed: entry_pb2.SignedMandate) -> entry_pb2.Mandate:
    """The mandate; its signature is not looked at. Raises BadStatement unless canonical."""
    found: entry_pb2.Mandate = parse_strictly(entry_pb2.Mandate, signed.mandate, "mandate")
    return found


def digest(signed: entry_pb2.SignedMandate) -> bytes:
    """What a HOLD names the mandate by."""
    return hashlib.sha256(SIGNED_DOMAIN + signed.mandate).digest()


def verify(signed: entry_pb2.SignedMandate, key: PublicKey) -> None:
    """Raises BadStatement unless `key` signed the mandate."""
    if not key.verify(SIGNED_DOMAIN + signed.mandate, signed.signature):
        raise BadStatement("The mandate's signature is not by the member's device.")


def check(
    mandate: entry_pb2.Mandate, quote: entry_pb2.Quote, *, quote_digest: bytes, now_us: int
) -> None:
    """Raises MandateRejected unless the mandate is for this quote, large enough, and in time."""
    for field in ("network", "issuer", "acceptor", "kind", "redemption_id"):
        if getattr(mandate, field) != getattr(quote, field):
            raise MandateRejected(f"The mandate's {field} is not the quote's.", field=field)
    if mandate.quote_digest != quote_digest:
        raise MandateRejected("The mandate was signed for another quote.", field="quote_digest")
    if quote.points > mandate.max_points:
        raise MandateRejected(
            f"The quote takes {quote.points} points; the mandate allows {mandate.max_points}.",
            field="max_points",
        )
    if now_us >= mandate.not_after_us:
        raise MandateRejected("The mandate has expired; sign a new one.", field="not_after_us")
