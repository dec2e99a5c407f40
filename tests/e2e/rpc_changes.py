"""How a valid request becomes one that its receiver knows better than to accept.

Each change takes what has happened and a request, and makes it late, foreign, used or unsigned.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from comity.client.member import enrol_message
from comity.client.session import key_name
from comity.clock import MINUTE, system_clock
from comity.keys import SigningKey
from comity.ledger import entries
from comity.rpc.tokens import Challenges, challenge_message
from comity.terms import mandates, quotes
from comity.v1 import clearing_pb2, peer_pb2
from comity.v1.common_pb2 import Money
from comity.v1.entry_pb2 import Quote
from node.quoting import Quoting
from tests.e2e.crash_stage import ACCEPTOR, CURRENCY, ISSUER
from tests.e2e.rpc_cast import Cast
from tests.e2e.rpc_requests import redeem

Change = Callable[[Cast, Any], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Case:
    """A valid request with something wrong that only its receiver can know."""

    rpc: str
    wrong: str
    change: Change
    code: str
    field: str = ""
    who: str = ""

    def __str__(self) -> str:
        return f"{self.rpc}: {self.wrong}"


NOBODY: Final = "acc_" + "0" * 32
NOTHING: Final = "rdm_" + "0" * 32
NO_SIGNATURE: Final = bytes(64)
NO_KEY: Final = "key_" + "0" * 16


def put(**values: Any) -> Change:
    """Sets fields, by path with `__` for dots and numbers for items."""

    def change(_: Cast, message: Any) -> None:
        for path, value in values.items():
            *way, last = path.split("__")
            at = message
            for step in way:
                at = at[int(step)] if step.isdigit() else getattr(at, step)
            if isinstance(value, Message):
                getattr(at, last).CopyFrom(value)
            else:
                setattr(at, last, value)

    return change


def signed_elsewhere(cast: Cast, message: Any) -> None:
    """Proof of the key, made for another brand."""
    key = SigningKey.generate(secrets.token_bytes)
    message.public_key = key.public.raw
    message.signature = key.sign(enrol_message(cast.origin(ACCEPTOR), message.id))


def enrolled_before(cast: Cast, message: Any) -> None:
    message.public_key = cast.key.public.raw
    message.signature = cast.key.sign(enrol_message(cast.origin(ISSUER), message.id))


def challenge_of(cast: Cast, message: Any, *, origin: str, age_us: int, key_id: str) -> None:
    challenges = Challenges(
        origin=cast.origin(origin),
        secret=cast.callers.secret(origin),
        clock=lambda: system_clock() - age_us,
        random=secrets.token_bytes,
    )
    message.challenge = challenges.issue(key_id)
    message.signature = cast.key.sign(challenge_message(cast.origin(ISSUER), message.challenge))


def old_challenge(cast: Cast, message: Any) -> None:
    challenge_of(cast, message, origin=ISSUER, age_us=2 * MINUTE, key_id=message.key_id)


def challenge_elsewhere(cast: Cast, message: Any) -> None:
    challenge_of(cast, message, origin=ACCEPTOR, age_us=0, key_id=message.key_id)


def challenge_for_another(cast: Cast, message: Any) -> None:
    another = key_name(cast.second_device)
    challenge_of(cast, message, origin=ISSUER, age_us=0, key_id=another)


def answered_for_another(cast: Cast, message: Any) -> None:
    signed = challenge_message(cast.origin(ACCEPTOR), message.challenge)
    message.signature = cast.key.sign(signed)


def quoting_of(cast: Cast) -> Quoting:
    return Quoting(
        network=cast.stage.network.name,
        participant=ACCEPTOR,
        secret=cast.callers.secret(ACCEPTOR).derive("comity-quote/v1"),
        random=secrets.token_bytes,
    )


def sealed_again(cast: Cast, message: Any, **changed: Any) -> None:
    """The quote of a redemption with figures changed, truly sealed, and consented to."""
    quote = quotes.read(message.quote)
    for name, value in changed.items():
        setattr(quote, name, value)
    message.quote = entries.canonical(quote)
    quoting = quoting_of(cast)
    message.seal = quoting._hmac(b"comity-quote-seal/v1\n", message.quote)
    message.pickup_key = quoting.pickup_key(quote.redemption_id)
    consented_again(cast, message, quote, message.quote)


def consented_again(cast: Cast, message: Any, quote: Quote, data: bytes, **changed: Any) -> None:
    """The mandate for these bytes, with fields changed, truly signed."""
    mandate = mandates.read(message.mandate)
    mandate.quote_digest = quotes.digest(data)
    mandate.not_after_us = quote.expires_at_us
    for name, value in changed.items():
        setattr(mandate, name, value)
    message.mandate.CopyFrom(mandates.sign(mandate, cast.key))


def expired_quote(cast: Cast, message: Any) -> None:
    sealed_again(cast, message, expires_at_us=quotes.read(message.quote).issued_at_us)


def mandate_of(**changed: Any) -> Change:
    """The mandate in `message` (a redemption, or the first hold), changed and signed."""

    def change(cast: Cast, message: Any) -> None:
        part = message.holds[0] if isinstance(message, peer_pb2.PlaceHoldsRequest) else message
        consented_again(cast, part, quotes.read(part.quote), part.quote, **changed)

    return change


def used_quote(cast: Cast, message: Any) -> None:
    """The quote of a redemption that is done, under a new consent."""
    offer = cast.offer
    message.quote, message.seal = offer.quote, offer.seal
    message.pickup_key, message.reward_salt = offer.pickup_key, offer.reward_salt
    quote = quotes.read(offer.quote)
    mandate = mandates.read(message.mandate)
    mandate.redemption_id = quote.redemption_id
    message.mandate.CopyFrom(mandates.sign(mandate, cast.key))
    consented_again(cast, message, quote, offer.quote, max_points=quote.points + 1)


async def used_hold(cast: Cast, message: Any) -> None:
    used = await redeem(cast)
    used_quote(cast, used)
    message.holds[0].quote = used.quote
    message.holds[0].mandate.CopyFrom(used.mandate)


def held_quote(**changed: Any) -> Change:
    """The quote in the first hold, changed; consent is given to it as it then is."""

    def change(cast: Cast, message: Any) -> None:
        hold = message.holds[0]
        quote = quotes.read(hold.quote)
        for name, value in changed.items():
            setattr(quote, name, value)
        hold.quote = entries.canonical(quote)
        consented_again(cast, hold, quote, hold.quote)

    return change


def expired_hold(cast: Cast, message: Any) -> None:
    issued_at_us = quotes.read(message.holds[0].quote).issued_at_us
    held_quote(expires_at_us=issued_at_us)(cast, message)


def long_hold(cast: Cast, message: Any) -> None:
    held_quote(expires_at_us=system_clock() + 60 * MINUTE)(cast, message)


def unknown_signer(cast: Cast, message: Any) -> None:
    key = SigningKey.generate(secrets.token_bytes)
    hold = message.holds[0]
    mandate = mandates.read(hold.mandate)
    mandate.key_id = key_name(key)
    hold.mandate.CopyFrom(mandates.sign(mandate, key))


def hold_of(**values: Any) -> Change:
    return put(**{f"holds__0__{name}": value for name, value in values.items()})


def one_claim(**claim: Callable[[Cast], Message]) -> Change:
    """Replaces the claims with one."""

    def change(cast: Cast, message: Any) -> None:
        del message.claims[:]
        (name, make) = next(iter(claim.items()))
        getattr(message.claims.add(), name).CopyFrom(make(cast))

    return change


def hold_claim(cast: Cast, *, quote: bytes = b"") -> Message:
    return clearing_pb2.HoldClaim(hold=cast.statement(0), quote=quote or cast.offer.quote)


def other_quote(cast: Cast) -> Message:
    quote = quotes.read(cast.offer.quote)
    quote.points += 1
    return hold_claim(cast, quote=entries.canonical(quote))


def reused_id(cast: Cast, message: Any) -> None:
    """A hold for the redemption, but not the one that was decided."""
    del message.claims[:]
    abort = message.claims.add().abort
    abort.issuer, abort.acceptor = ISSUER, ACCEPTOR
    abort.redemption_id = cast.redemption.redemption_id
    abort.hold.CopyFrom(cast.shown[ISSUER, "first hold"])


def shows_(name: str, origin: str, kind: str) -> Change:
    """Shows a true statement where another one is wanted."""

    def change(cast: Cast, message: Any) -> None:
        getattr(message, name).CopyFrom(cast.shown[origin, kind])

    return change


def foreign_admission(cast: Cast, message: Any) -> None:
    """The request of a brand that was admitted, with the key of one that was not."""
    message.vkey = message.vkey.replace(f"/{message.display_name}+", f"/{ISSUER}+")


def elsewhere_(cast: Cast, message: Any) -> None:
    message.vkey = message.vkey.replace(cast.stage.network.name, "elsewhere.example")


def last_manager(cast: Cast, message: Any) -> None:
    message.key_id = key_name(cast.callers.staff[ACCEPTOR, "manager"])


def between_others(cast: Cast, message: Any) -> None:
    message.terms.issuer, message.terms.acceptor = ISSUER, "cumin"


def only_(**values: Any) -> Change:
    """The first purchase alone, under a new id, with fields set."""

    def change(cast: Cast, message: Any) -> None:
        del message.purchases[1:]
        message.purchases[0].purchase_id = f"sale-{secrets.token_hex(4)}"
        put(**{f"purchases__0__{name}": value for name, value in values.items()})(cast, message)

    return change


def euro(minor: int) -> Money:
    return Money(currency=CURRENCY, minor=minor)
