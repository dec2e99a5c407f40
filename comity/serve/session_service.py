"""Sessions: proof of possession of a registered key buys a short-lived token."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from comity.errors import Unauthenticated
from comity.keys import PublicKey
from comity.rpc.caller import Caller, CallerKind
from comity.rpc.tokens import Challenges, TokenIssuer, challenge_message
from comity.v1 import log_pb2


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A key that may open sessions: whose it is, and what its holder may be."""

    public_key: bytes
    kind: CallerKind
    subject: str


KeyLookup = Callable[[str], Awaitable[RegisteredKey | None]]
"""The registered and unrevoked key with this id, if there is one."""


class SessionService:
    """comity.v1.SessionService. An unknown key and a wrong signature get the same answer."""

    def __init__(
        self, *, origin: str, challenges: Challenges, tokens: TokenIssuer, lookup: KeyLookup
    ) -> None:
        self._origin = origin
        self._challenges = challenges
        self._tokens = tokens
        self._lookup = lookup

    async def begin_session(
        self, caller: Caller, request: log_pb2.BeginSessionRequest
    ) -> log_pb2.BeginSessionResponse:
        return log_pb2.BeginSessionResponse(challenge=self._challenges.issue(request.key_id))

    async def open_session(
        self, caller: Caller, request: log_pb2.OpenSessionRequest
    ) -> log_pb2.OpenSessionResponse:
        self._challenges.check(request.challenge, request.key_id)
        found = await self._lookup(request.key_id)
        message = challenge_message(self._origin, request.challenge)
        if found is None or not PublicKey.from_bytes(found.public_key).verify(
            message, request.signature
        ):
            raise Unauthenticated(
                "No key registered here made this signature; enrol the key, or sign with the "
                "one that was enrolled.",
                field="signature",
            )
        token = self._tokens.issue(
            Caller(
                kind=found.kind,
                id=found.subject,
                key_hash=hashlib.sha256(found.public_key).digest(),
            )
        )
        return log_pb2.OpenSessionResponse(
            token=token.text,
            expires_at_us=token.expires_at_us,
            role=found.kind.value,
            subject=found.subject,
        )
