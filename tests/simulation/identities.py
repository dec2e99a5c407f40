"""Keys and certificates of a simulated network: every key follows from a name, so that the same
seed gives the same log on every machine. What a certificate has at random (serial, signature)
stands in no log.
"""

from __future__ import annotations

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec

from comity.clock import DAY
from comity.keys import SigningKey
from comity.ledger.signer import LogSigner
from comity.rpc import authority as authorities
from comity.rpc import tls
from comity.rpc.authority import Authority, CertificateRequest
from comity.rpc.caller import Credentials

NETWORK = "comity.example"
CLEARING = "clearing"

BASE_US = 1_798_761_560_000_000
"""2026-12-31 23:59:20 UTC: points of a calendar year expire in the middle of a run."""


def secret(name: str) -> bytes:
    """32 bytes nobody else has the name of."""
    return hashlib.sha256(f"comity simulation {name}".encode()).digest()


@cache
def key(name: str) -> SigningKey:
    """The Ed25519 key of that name."""
    return SigningKey(secret(name))


def signer(participant: str) -> LogSigner:
    """The log's signer of a brand, or of clearing, as a process has it that starts."""
    return LogSigner(
        f"{NETWORK}/{participant}",
        key(f"log {participant}"),
        find=lambda public: next(
            (one for one in next_keys(participant) if one.public == public), None
        ),
    )


@cache
def next_keys(participant: str) -> tuple[SigningKey, ...]:
    """The log keys which a brand may exchange its first one for, in this order."""
    return tuple(key(f"log {participant} {number}") for number in range(1, 9))


@cache
def authority() -> Authority:
    """The operator's certificate authority."""
    return authorities.create_ca(NETWORK, clock=lambda: BASE_US - DAY)


@cache
def request(name: str) -> CertificateRequest:
    """The certificate request of a brand, of clearing, or of `operator`."""
    log_key = None if name == "operator" else key(f"log {name}")
    return authorities.create_request(_subject(name), _tls_key(name), log_key=log_key)


@cache
def credentials(name: str) -> Credentials:
    """What the peer listeners see of a brand, of clearing, or of `operator`."""
    certificate = authorities.issue_certificate(
        authority(),
        request(name),
        expect=_subject(name),
        log_key=None if name == "operator" else key(f"log {name}").public,
        clock=lambda: BASE_US - DAY,
    )
    return Credentials(certificate_pem=certificate, address=name)


@cache
def anonymous(name: str) -> Credentials:
    """What a public listener sees of anybody."""
    return Credentials(address=name)


def _subject(name: str) -> tls.Subject:
    if name == "operator":
        return tls.operator(NETWORK, name)
    if name == CLEARING:
        return tls.clearing(NETWORK)
    return tls.brand(NETWORK, name)


def _tls_key(name: str) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(secret(f"tls {name}"), "big")
    return ec.derive_private_key(number >> 1, ec.SECP256R1())
