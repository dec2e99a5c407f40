"""A redemption on its way: the exact request, on disk before it is first sent.

Whatever happens to the process or the network, the same bytes are sent again, under the same
redemption id, until an outcome is known. So nothing is paid twice and nothing is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from comity.errors import Malformed, MandateRejected
from comity.keys import SigningKey
from comity.ledger.entries import seal_account
from comity.terms import mandates, quotes
from comity.v1.entry_pb2 import Mandate
from comity.v1.member_pb2 import RedeemRequest
from comity.wallet.files import to_bytes, to_text
from comity.wallet.offers import Offer, offer_json, read_offer

FORMAT: Final = "comity-pending/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where an exchange's points go: the member's account at the acceptor, and a salt."""

    account: str
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An offer with its member's consent, as sent."""

    offer: Offer
    request: RedeemRequest
    begun_at_us: int


def consent(
    offer: Offer,
    *,
    key: SigningKey,
    max_points: int,
    not_after_us: int,
    destination: Destination | None = None,
) -> RedeemRequest:
    """The request with the mandate that the member's key signs.

    Raises MandateRejected, before anything is signed, if the offer asks for more than the member
    allows, and ValueError for an exchange without a destination.
    """
    if offer.points > max_points:
        raise MandateRejected(
            f"The quote asks for {offer.points} points and you allow {max_points}; nothing was "
            "sent. Allow more, or ask for another quote.",
            field="max_points",
        )
    if offer.exchange != (destination is not None):
        raise ValueError("an exchange, and nothing else, has a destination")
    quote = quotes.read(offer.quote)
    mandate = Mandate(
        network=quote.network,
        issuer=quote.issuer,
        acceptor=quote.acceptor,
        kind=quote.kind,
        redemption_id=quote.redemption_id,
        quote_digest=quotes.digest(offer.quote),
        max_points=max_points,
        not_after_us=not_after_us,
        key_id=f"key_{key.key_id}",
    )
    request = RedeemRequest(
        quote=offer.quote,
        seal=offer.seal,
        pickup_key=offer.pickup_key,
        reward_id=offer.reward_id,
        quantity=offer.quantity,
        reward_salt=offer.reward_salt,
    )
    if destination is not None:
        mandate.destination = seal_account(destination.account, destination.salt)
        request.destination_account = destination.account
        request.destination_salt = destination.salt
    request.mandate.CopyFrom(mandates.sign(mandate, key))
    return request


def pending_json(pending: Pending) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "begun_at_us": pending.begun_at_us,
        "offer": offer_json(pending.offer),
        "request": to_text(pending.request.SerializeToString()),
    }


def read_pending(content: dict[str, Any]) -> Pending:
    try:
        request = RedeemRequest.FromString(to_bytes(content["request"]))
    except DecodeError:
        raise Malformed("A pending redemption is damaged; restore it from a copy.") from None
    return Pending(
        offer=read_offer(content["offer"]),
        request=request,
        begun_at_us=content["begun_at_us"],
    )
