"""Quotes: canonical bytes, unsigned, whose digest binds mandate, hold, decision and delivery.

A false quote binds nobody: issuer and clearing recompute every figure from the agreement.
"""

from __future__ import annotations

import hashlib
from typing import Final

from comity.errors import AgreementInactive, Malformed, QuoteExpired
from comity.ledger.entries import parse_strictly
from comity.terms import agreements
from comity.v1 import common_pb2, entry_pb2

DIGEST_DOMAIN: Final = b"comity-quote/v1\n"


def digest(quote: bytes) -> bytes:
    """What mandate, HOLD, DECISION and DELIVERY name the quote by."""
    return hashlib.sha256(DIGEST_DOMAIN + quote).digest()


def read(quote: bytes) -> entry_pb2.Quote:
    """The quote these bytes are. Raises BadStatement unless they are canonical."""
    found: entry_pb2.Quote = parse_strictly(entry_pb2.Quote, quote, "quote")
    return found


def check_figures(
    quote: entry_pb2.Quote, terms: common_pb2.AgreementTerms, *, network: str
) -> None:
    """Recompute the quote from the terms it names.

    Raises Malformed, naming the figure, or a refusal of the agreement (kind, limits, validity).
    """
    for field, found, expected in (
        ("network", quote.network, network),
        ("issuer", quote.issuer, terms.issuer),
        ("acceptor", quote.acceptor, terms.acceptor),
        ("agreement_id", quote.agreement_id, terms.agreement_id),
        ("agreement_version", quote.agreement_version, terms.version),
    ):
        if found != expected:
            raise Malformed(f"The quote's {field} is {found}, not {expected}.", field=field)
    agreements.check_kind(terms, quote.kind)
    agreements.check_active(terms, quote.issued_at_us)
    points = agreements.issuer_points(terms, quote.acceptor_points)
    if quote.points != points:
        raise Malformed(
            f"The quote asks for {quote.points} points; the agreement gives {points}.",
            field="points",
        )
    agreements.check_points(terms, points)
    if quote.amount != agreements.price(terms, points):
        raise Malformed("The quote's amount is not the agreement's.", field="amount")


def check_time(
    quote: entry_pb2.Quote, terms: common_pb2.AgreementTerms, *, now_us: int, skew_us: int
) -> None:
    """issued_at ≤ now + skew; now < expires_at ≤ issued_at + the agreement's quote life.

    Raises QuoteExpired; Malformed for a quote that lives too long or comes from the future.
    """
    if quote.issued_at_us > now_us + skew_us:
        raise Malformed("The quote was issued in the future.", field="issued_at_us")
    if quote.expires_at_us > quote.issued_at_us + terms.quote_life_us:
        raise Malformed("The quote lives longer than the agreement allows.", field="expires_at_us")
    if now_us >= quote.expires_at_us:
        raise QuoteExpired("The quote has expired; ask for a new one.")


def terms_of(
    quote: entry_pb2.Quote, terms: common_pb2.AgreementTerms | None
) -> common_pb2.AgreementTerms:
    """`terms`, or AgreementInactive where no such agreement is in force."""
    if terms is None:
        raise AgreementInactive(
            f"No agreement {quote.agreement_id} version {quote.agreement_version} is in force "
            f"between {quote.issuer} and {quote.acceptor}."
        )
    return terms
