"""An offer: a quote as its member sees it, checked against what was asked for.

It shows both money values. `amount` is what the points are worth between the brands: the issuer
pays it. `retail` is what the reward costs at the store. What the first exceeds the second by is
the member's loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from comity.clock import Clock
from comity.errors import BadStatement, QuoteExpired
from comity.ledger.entries import seal_reward
from comity.terms import quotes
from comity.v1.common_pb2 import REDEMPTION_KIND_EXCHANGE, REDEMPTION_KIND_REWARD, RedemptionKind
from comity.v1.entry_pb2 import Quote
from comity.v1.member_pb2 import GetQuoteResponse
from comity.wallet.brands import Brand
from comity.wallet.files import to_bytes, to_text

FORMAT: Final = "comity-offer/v1"
BASIS_POINTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Money:
    """Whole minor units of a currency."""

    currency: str
    minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Both money values of an offer; `retail` is None where the store states none."""

    amount: Money
    retail: Money | None

    @property
    def loss(self) -> Money | None:
        """What the member gives up, negative for a gain; None where it cannot be compared."""
        if self.retail is None or self.retail.currency != self.amount.currency:
            return None
        return Money(self.amount.currency, self.amount.minor - self.retail.minor)

    @property
    def loss_basis_points(self) -> int | None:
        """The loss in hundredths of a percent of the amount, towards zero."""
        loss = self.loss
        if loss is None or self.amount.minor == 0:
            return None
        share = abs(loss.minor) * BASIS_POINTS // abs(self.amount.minor)
        return share if loss.minor >= 0 else -share


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A quote with what its redemption needs. `issuer` and `acceptor` are origins."""

    redemption_id: str
    issuer: str
    acceptor: str
    kind: RedemptionKind.ValueType
    points: int
    acceptor_points: int
    expires_at_us: int
    worth: Worth
    quote: bytes
    seal: bytes
    pickup_key: bytes
    reward_id: str
    quantity: int
    reward_salt: bytes

    @property
    def exchange(self) -> bool:
        return self.kind == REDEMPTION_KIND_EXCHANGE

    def check_open(self, now_us: int) -> None:
        """Raise QuoteExpired at or after the end of the quote."""
        if now_us >= self.expires_at_us:
            raise QuoteExpired("The quote has expired and nothing was spent; ask for a new one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a quote was asked for: pieces of a reward, or acceptor points."""

    issuer: Brand
    acceptor: Brand
    reward_id: str = ""
    quantity: int = 0
    acceptor_points: int = 0

    @property
    def kind(self) -> RedemptionKind.ValueType:
        return REDEMPTION_KIND_REWARD if self.reward_id else REDEMPTION_KIND_EXCHANGE


def offer_of(answer: GetQuoteResponse, wish: Wish, *, clock: Clock) -> Offer:
    """The offer in an acceptor's answer; BadStatement if it quotes anything else than the wish.

    The member signs the digest of these bytes, so they are read here and not trusted:

     1. they are canonical and name network, issuer, acceptor and kind as wished
     2. the reward commitment opens to the wished reward and quantity
     3. the amount shown beside them is theirs
     4. they have not expired
    """
    quote = quotes.read(answer.quote)
    # 1.
    found = (quote.network, quote.issuer, quote.acceptor, quote.kind)
    if found != (
        wish.issuer.network,
        wish.issuer.participant,
        wish.acceptor.participant,
        wish.kind,
    ):
        raise _other("parties or kind")
    # 2.
    _check_subject(quote, wish, answer.reward_salt)
    # 3.
    if answer.HasField("amount") and answer.amount != quote.amount:
        raise _other("amount")
    offer = Offer(
        redemption_id=quote.redemption_id,
        issuer=wish.issuer.origin,
        acceptor=wish.acceptor.origin,
        kind=quote.kind,
        points=quote.points,
        acceptor_points=quote.acceptor_points,
        expires_at_us=quote.expires_at_us,
        worth=Worth(
            amount=Money(quote.amount.currency, quote.amount.minor),
            retail=Money(answer.retail.currency, answer.retail.minor)
            if answer.retail.currency
            else None,
        ),
        quote=answer.quote,
        seal=answer.seal,
        pickup_key=answer.pickup_key,
        reward_id=wish.reward_id,
        quantity=wish.quantity,
        reward_salt=answer.reward_salt,
    )
    # 4.
    offer.check_open(clock())
    return offer


def _check_subject(quote: Quote, wish: Wish, salt: bytes) -> None:
    if not wish.reward_id:
        if quote.acceptor_points != wish.acceptor_points:
            raise _other("number of points")
    elif quote.reward != seal_reward(wish.reward_id, wish.quantity, salt):
        raise _other("reward")


def _other(what: str) -> BadStatement:
    return BadStatement(
        f"The quote names another {what} than was asked for; it was not signed. Tell the brand."
    )


def money_json(money: Money | None) -> dict[str, Any] | None:
    return None if money is None else {"currency": money.currency, "minor": money.minor}


def read_money(content: dict[str, Any] | None) -> Money | None:
    return None if content is None else Money(content["currency"], content["minor"])


def offer_json(offer: Offer) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "redemption_id": offer.redemption_id,
        "issuer": offer.issuer,
        "acceptor": offer.acceptor,
        "kind": RedemptionKind.Name(offer.kind),
        "points": offer.points,
        "acceptor_points": offer.acceptor_points,
        "expires_at_us": offer.expires_at_us,
        "amount": money_json(offer.worth.amount),
        "retail": money_json(offer.worth.retail),
        "reward_id": offer.reward_id,
        "quantity": offer.quantity,
        "quote": to_text(offer.quote),
        "seal": to_text(offer.seal),
        "pickup_key": to_text(offer.pickup_key),
        "reward_salt": to_text(offer.reward_salt),
    }


def read_offer(content: dict[str, Any]) -> Offer:
    amount = read_money(content["amount"])
    assert amount is not None, "an offer always has an amount"
    return Offer(
        redemption_id=content["redemption_id"],
        issuer=content["issuer"],
        acceptor=content["acceptor"],
        kind=RedemptionKind.Value(content["kind"]),
        points=content["points"],
        acceptor_points=content["acceptor_points"],
        expires_at_us=content["expires_at_us"],
        worth=Worth(amount=amount, retail=read_money(content["retail"])),
        reward_id=content["reward_id"],
        quantity=content["quantity"],
        quote=to_bytes(content["quote"]),
        seal=to_bytes(content["seal"]),
        pickup_key=to_bytes(content["pickup_key"]),
        reward_salt=to_bytes(content["reward_salt"]),
    )
