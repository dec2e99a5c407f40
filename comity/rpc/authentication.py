"""The two ways to be somebody: a certificate on the peer listener, a token on the public one.

Each listener has exactly one of them, so a stolen token is worth nothing to a peer listener and
a certificate nothing to a public one.
"""

from __future__ import annotations

from collections.abc import Callable

from comity.clock import Clock
from comity.errors import Unauthenticated
from comity.rpc.bounded import BoundedCache
from comity.rpc.caller import Caller, CallerKind, Credentials
from comity.rpc.tls import Identity, IdentityKind, identity_from_certificate
from comity.rpc.tokens import TokenIssuer

Admission = Callable[[Caller], None]
"""The last word on an authenticated caller: raises when it has been locked out since."""


def anonymous(credentials: Credentials) -> Caller:
    """The caller nobody vouches for, named by its address."""
    return Caller(kind=CallerKind.ANONYMOUS, id=credentials.address)


def admit_all(_caller: Caller) -> None:
    """The admission which locks nobody out."""


_KINDS = {
    IdentityKind.BRAND: CallerKind.BRAND,
    IdentityKind.OPERATOR: CallerKind.OPERATOR,
    IdentityKind.CLEARING: CallerKind.CLEARING,
}


class CertificateAuthenticator:
    """Callers by the SPIFFE identity in the certificate which the TLS handshake verified.

    The handshake proves chain, key and validity on the machine's clock; the validity is checked
    again here on the injected clock, because a connection outlives its handshake.
    """

    def __init__(
        self, *, network: str, clock: Clock, admit: Admission = admit_all, remembered: int = 1024
    ) -> None:
        self._network = network
        self._clock = clock
        self._admit = admit
        self._identities: BoundedCache[bytes, Identity] = BoundedCache(remembered)

    def __call__(self, credentials: Credentials) -> Caller:
        pem = credentials.certificate_pem
        if pem is None:
            return anonymous(credentials)
        identity = self._identities.get(pem)
        if identity is None:
            identity = identity_from_certificate(pem)
            self._identities.put(pem, identity)
        if identity.network != self._network:
            raise Unauthenticated(
                f"The certificate names the network {identity.network}; this server belongs to "
                f"{self._network}. Call it with a certificate of its network."
            )
        if not identity.not_before_us <= self._clock() < identity.not_after_us:
            raise Unauthenticated("The certificate is not valid now; renew it and connect again.")
        caller = Caller(kind=_KINDS[identity.kind], id=identity.id, key_hash=identity.spki_sha256)
        self._admit(caller)
        return caller


class TokenAuthenticator:
    """Callers by the bearer token which this server itself issued."""

    def __init__(self, tokens: TokenIssuer, *, admit: Admission = admit_all) -> None:
        self._tokens = tokens
        self._admit = admit

    def __call__(self, credentials: Credentials) -> Caller:
        token = credentials.bearer_token
        if token is None:
            return anonymous(credentials)
        caller = self._tokens.verify(token)
        self._admit(caller)
        return caller
