"""Sessions on the public listener: a challenge, signed by a device or till key, buys a token.

 1. the caller asks for a challenge for one of its keys
 2. its key signs `challenge_message(origin, challenge)`, which no other server can use
 3. the server checks challenge and signature, and issues a token for some minutes

Challenges are stateless: they carry their own expiry and are sealed by the server, so asking for
many fills no memory. One may be answered twice within its minute; both answers prove the same
key. Tokens are compact JWTs (RFC 7519) sealed with HS256 by the server which alone verifies them,
so there is no key to distribute and no algorithm to choose. Both seals come from one secret file
through HKDF (RFC 5869).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from comity.clock import MINUTE, SECOND, Clock
from comity.errors import Unauthenticated
from comity.rpc.bounded import BoundedCache
from comity.rpc.caller import Caller, CallerKind

SESSION_LABEL: Final = b"comity-session/v1\n"
TOKEN_LIFE_US: Final = 15 * MINUTE
CHALLENGE_LIFE_US: Final = MINUTE
SECRET_BYTES: Final = 32
_NONCE_BYTES: Final = 16
_CHALLENGE_BYTES: Final = 8 + _NONCE_BYTES + 32
_MAX_TOKEN_CHARS: Final = 2_048
_SESSIONS: Final = frozenset(
    {CallerKind.MEMBER, CallerKind.TILL, CallerKind.MANAGER, CallerKind.AUDITOR}
)


@dataclass(frozen=True, slots=True)
class ServerSecret:
    """The secret of one server; refuses what nobody drew at random."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) < SECRET_BYTES:
            raise ValueError(f"a server secret has at least {SECRET_BYTES} random bytes")
        # 32 random bytes with fewer than 16 different values: less than once in 10^13.
        if len(set(self.value)) < SECRET_BYTES // 2:
            raise ValueError("a server secret must be random; draw a new one")

    def derive(self, purpose: str) -> bytes:
        """A key for one purpose."""
        expand = HKDFExpand(algorithm=hashes.SHA256(), length=32, info=purpose.encode())
        return expand.derive(hashlib.sha256(self.value).digest())

    def __repr__(self) -> str:
        return "ServerSecret(…)"


def new_secret(random: Callable[[int], bytes]) -> ServerSecret:
    """A secret for `tls.save_private`."""
    return ServerSecret(random(SECRET_BYTES))


def challenge_message(origin: str, challenge: bytes) -> bytes:
    """What the device or till key signs."""
    return SESSION_LABEL + origin.encode() + b"\n" + challenge


class Challenges:
    """Issues and checks challenges, each for one key id and one minute."""

    def __init__(
        self,
        *,
        origin: str,
        secret: ServerSecret,
        clock: Clock,
        random: Callable[[int], bytes],
        life_us: int = CHALLENGE_LIFE_US,
    ) -> None:
        self._origin = origin
        self._key = secret.derive("comity-challenge/v1")
        self._clock = clock
        self._random = random
        self._life_us = life_us

    def issue(self, key_id: str) -> bytes:
        """A challenge that only the holder of the key with this id can answer."""
        body = (self._clock() + self._life_us).to_bytes(8) + self._random(_NONCE_BYTES)
        return body + self._seal(body, key_id)

    def check(self, challenge: bytes, key_id: str) -> None:
        """Raise Unauthenticated unless this server issued it for this key, a moment ago."""
        body, seal = challenge[: -hashlib.sha256().digest_size], challenge[-32:]
        sealed = hmac.compare_digest(seal, self._seal(body, key_id))
        if len(challenge) != _CHALLENGE_BYTES or not sealed:
            raise Unauthenticated(
                "This challenge is not one of ours for that key; ask for a new one.",
                field="challenge",
            )
        if self._clock() >= int.from_bytes(body[:8]):
            raise Unauthenticated(
                "The challenge has expired; ask for a new one.", field="challenge"
            )

    def _seal(self, body: bytes, key_id: str) -> bytes:
        context = f"{self._origin}\n{key_id}\n".encode()
        return hmac.digest(self._key, context + body, "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token and when it ends."""

    text: str
    expires_at_us: int


class TokenIssuer:
    """Issues and verifies the tokens of one server."""

    def __init__(
        self,
        *,
        origin: str,
        secret: ServerSecret,
        clock: Clock,
        life_us: int = TOKEN_LIFE_US,
        remembered: int = 4_096,
    ) -> None:
        if not 0 < life_us <= TOKEN_LIFE_US:
            raise ValueError("a token lives at most 15 minutes")
        self._origin = origin
        self._key = OctKey.import_key(secret.derive("comity-token/v1"))
        self._clock = clock
        self._life_us = life_us
        self._verified: BoundedCache[str, tuple[Caller, int]] = BoundedCache(remembered)

    def issue(self, caller: Caller) -> Token:
        """A token for a caller whose key has just been proven (`caller.key_hash`)."""
        if caller.kind not in _SESSIONS or caller.key_hash is None:
            raise ValueError(f"there are no sessions for {caller.name}")
        now_s = self._clock() // SECOND
        expires_s = now_s + self._life_us // SECOND
        claims = {
            "iss": self._origin,
            "aud": self._origin,
            "sub": caller.id,
            "kind": caller.kind.value,
            "iat": now_s,
            "exp": expires_s,
            "cnf": {"kid": caller.key_hash.hex()},
        }
        text = jwt.encode({"alg": "HS256"}, claims, self._key, algorithms=["HS256"])
        return Token(text=text, expires_at_us=expires_s * SECOND)

    def verify(self, text: str) -> Caller:
        """The caller a token was issued to, or Unauthenticated."""
        known = self._verified.get(text)
        if known is None:
            known = self._read(text)
            self._verified.put(text, known)
        caller, expires_at_us = known
        if self._clock() >= expires_at_us:
            raise Unauthenticated("The session has expired; open a new one.")
        return caller

    def _read(self, text: str) -> tuple[Caller, int]:
        if len(text) > _MAX_TOKEN_CHARS:
            raise Unauthenticated("The token is too long to be one of ours; open a session.")
        try:
            claims = jwt.decode(text, self._key, algorithms=["HS256"]).claims
            return self._caller(claims), int(claims["exp"]) * SECOND
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Unauthenticated(
                "The token was not issued by this server; open a session here."
            ) from error

    def _caller(self, claims: dict[str, Any]) -> Caller:
        if claims["iss"] != self._origin or claims["aud"] != self._origin:
            raise ValueError("issued by or for another server")
        kind = CallerKind(claims["kind"])
        if kind not in _SESSIONS:
            raise ValueError("a kind without sessions")
        return Caller(
            kind=kind, id=str(claims["sub"]), key_hash=bytes.fromhex(claims["cnf"]["kid"])
        )
