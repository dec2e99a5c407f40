"""Quotes an acceptor gives without writing anything down.

What must be known again when a quote comes back travels with it: the acceptor's seal over its
bytes says that they are its own, and the redemption's pickup key follows from the redemption id.
Both are HMACs under the node's secret, so a flood of quotes costs no storage.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from comity.errors import Forbidden, MandateRejected
from comity.keys import Random
from comity.ledger import entries
from comity.terms import agreements as arithmetic
from comity.terms import mandates, quotes
from comity.v1 import common_pb2, member_pb2
from comity.v1 import entry_pb2 as pb

PICKUP_KEY_BYTES: Final = 16
POINTS_REWARD: Final = "points"
"""What the reward commitment of an exchange names; its quantity is the acceptor's points."""

_EXCHANGE: Final = common_pb2.REDEMPTION_KIND_EXCHANGE
_ID_BYTES: Final = 16
_QUOTE_DOMAIN: Final = b"comity-quote-seal/v1\n"
_PICKUP_DOMAIN: Final = b"comity-pickup-key/v1\n"
_PLEDGE_DOMAIN: Final = b"comity-pledge-id/v1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a member wants to have: a reward and how many, or so many acceptor points."""

    issuer: str
    kind: common_pb2.RedemptionKind.ValueType
    reward_id: str
    quantity: int
    acceptor_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A redemption as it was asked for, checked as far as the request alone allows."""

    quote_bytes: bytes
    quote: pb.Quote
    signed: pb.SignedMandate
    reward_id: str
    quantity: int
    destination: str
    mandate_ends_us: int

    @property
    def redemption_id(self) -> str:
        return self.quote.redemption_id


class Quoting:
    """One acceptor's quotes."""

    def __init__(self, *, network: str, participant: str, secret: bytes, random: Random) -> None:
        self._network = network
        self._participant = participant
        self._secret = secret
        self._random = random

    def quote(
        self, wish: Wish, terms: common_pb2.AgreementTerms, *, now_us: int
    ) -> member_pb2.GetQuoteResponse:
        """A quote for the wish; `retail` is left to the caller. Raises the agreement's refusals."""
        arithmetic.check_kind(terms, wish.kind)
        points = arithmetic.issuer_points(terms, wish.acceptor_points)
        arithmetic.check_points(terms, points)
        amount = arithmetic.price(terms, points)
        salt = self._random(entries.SALT_BYTES)
        redemption_id = f"rdm_{self._random(_ID_BYTES).hex()}"
        quote = pb.Quote(
            network=self._network,
            issuer=wish.issuer,
            acceptor=self._participant,
            redemption_id=redemption_id,
            kind=wish.kind,
            agreement_id=terms.agreement_id,
            agreement_version=terms.version,
            acceptor_points=wish.acceptor_points,
            points=points,
            amount=amount,
            reward=entries.seal_reward(wish.reward_id, wish.quantity, salt),
            issued_at_us=now_us,
            expires_at_us=now_us + terms.quote_life_us,
        )
        data = entries.canonical(quote)
        return member_pb2.GetQuoteResponse(
            quote=data,
            seal=self._hmac(_QUOTE_DOMAIN, data),
            pickup_key=self.pickup_key(redemption_id),
            amount=amount,
            reward_salt=salt,
        )

    def check(self, request: member_pb2.RedeemRequest) -> Asked:
        """What is asked for, if the quote is ours and mandate and reward belong to it.

        Time is not looked at: who repeats a request later still gets its answer. Raises
        Forbidden for a quote or pickup key that is not ours, MandateRejected, BadStatement.
        """
        seal = self._hmac(_QUOTE_DOMAIN, request.quote)
        if not hmac.compare_digest(seal, request.seal):
            raise Forbidden("This quote was not given here; ask for one.", field="seal")
        quote = quotes.read(request.quote)
        self.check_pickup_key(quote.redemption_id, request.pickup_key)
        mandate = mandates.read(request.mandate)
        mandates.check(mandate, quote, quote_digest=quotes.digest(request.quote), now_us=0)
        reward_id, quantity = self._subject(request, quote)
        if quote.reward != entries.seal_reward(reward_id, quantity, request.reward_salt):
            raise MandateRejected("The quote is for another reward.", field="reward_id")
        return Asked(
            quote_bytes=request.quote,
            quote=quote,
            signed=request.mandate,
            reward_id=request.reward_id if quote.kind != _EXCHANGE else "",
            quantity=quantity,
            destination=_destination(request, quote, mandate),
            mandate_ends_us=mandate.not_after_us,
        )

    def pickup_key(self, redemption_id: str) -> bytes:
        """The bearer secret of one redemption."""
        return self._hmac(_PICKUP_DOMAIN, redemption_id.encode())[:PICKUP_KEY_BYTES]

    def check_pickup_key(self, redemption_id: str, shown: bytes) -> None:
        """Raises Forbidden unless `shown` is the redemption's pickup key."""
        if not hmac.compare_digest(self.pickup_key(redemption_id), shown):
            raise Forbidden("This is not the redemption's pickup key.", field="pickup_key")

    def pledge_id(self, purchase_id: str) -> str:
        """The redemption id of a partner purchase: the same purchase always gets the same one."""
        return f"rdm_{self._hmac(_PLEDGE_DOMAIN, purchase_id.encode())[:_ID_BYTES].hex()}"

    def _hmac(self, domain: bytes, data: bytes) -> bytes:
        return hmac.digest(self._secret, domain + data, sha256)

    @staticmethod
    def _subject(request: member_pb2.RedeemRequest, quote: pb.Quote) -> tuple[str, int]:
        if quote.kind == _EXCHANGE:
            return POINTS_REWARD, quote.acceptor_points
        return request.reward_id, request.quantity or 1


def _destination(request: member_pb2.RedeemRequest, quote: pb.Quote, mandate: pb.Mandate) -> str:
    """The account at the acceptor to which an exchange pays; empty for a reward."""
    if quote.kind != _EXCHANGE:
        return ""
    sealed = entries.seal_account(request.destination_account, request.destination_salt)
    if mandate.destination != sealed:
        raise MandateRejected(
            "The mandate names another destination account.", field="destination_account"
        )
    return request.destination_account
