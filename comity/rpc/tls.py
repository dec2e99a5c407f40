"""Certificates of the peer listener: who may hold one, what it says, and what binds it to a log.

The operator runs a certificate authority. A participant's certificate names it by a SPIFFE id
(https://spiffe.io) in the URI SAN, for example `spiffe://comity.example/brand/grocery`, and
carries a *binding*: a signature by the participant's log key over that id and the certificate's
key. So the authority alone cannot make up a brand: whoever knows the log key from clearing's
roster can check that the brand itself asked for this key.

The certificate also holds a DNS name made from the same identity (`server_name`). A caller asks
TLS for that name, and so reaches the one participant it means, at whatever address.

Keys are ECDSA P-256: gRPC fails the handshake with Ed25519 certificates.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from comity.errors import Malformed, Unauthenticated
from comity.keys import PublicKey

BINDING_LABEL: Final = b"comity-tls-binding/v1\n"

# A random UUID in seven parts, which needs no registration (https://www.oid-base.com/get/
# 1.2.840.113556.1.8000.2554). Not 2.25 and the UUID as one number (ITU-T X.667): Go refuses a
# certificate with a number above 31 bits in an OID, and with it every client written in Go.
BINDING_OID: Final = x509.ObjectIdentifier(
    "1.2.840.113556.1.8000.2554.23311.27916.40021.19026.40718.2891067.8023568"
)

_LABEL: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_NETWORK: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,126}")


class IdentityKind(Enum):
    """What a certificate can stand for; the value is the first word of the SPIFFE path."""

    BRAND = "brand"
    OPERATOR = "operator"
    CLEARING = "clearing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who a certificate is for. `id` of clearing is `clearing`: there is one."""

    network: str
    kind: IdentityKind
    id: str

    def __post_init__(self) -> None:
        if not _NETWORK.fullmatch(self.network) or not _LABEL.fullmatch(self.id):
            raise Malformed(
                f"{self.network}/{self.id} cannot be named in a certificate; use lower-case "
                "letters, digits and hyphens."
            )
        if self.kind is IdentityKind.CLEARING and self.id != IdentityKind.CLEARING.value:
            raise Malformed("Clearing's id is `clearing`.")

    @property
    def uri(self) -> str:
        """The SPIFFE id."""
        if self.kind is IdentityKind.CLEARING:
            return f"spiffe://{self.network}/clearing"
        return f"spiffe://{self.network}/{self.kind.value}/{self.id}"

    @property
    def server_name(self) -> str:
        """The DNS name in the certificate, which callers ask for."""
        if self.kind is IdentityKind.CLEARING:
            return f"clearing.{self.network}"
        return f"{self.id}.{self.kind.value}.{self.network}"


def brand(network: str, participant: str) -> Subject:
    return Subject(network=network, kind=IdentityKind.BRAND, id=participant)


def operator(network: str, name: str) -> Subject:
    return Subject(network=network, kind=IdentityKind.OPERATOR, id=name)


def clearing(network: str) -> Subject:
    return Subject(network=network, kind=IdentityKind.CLEARING, id="clearing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a certificate says, once its chain is verified by TLS."""

    subject: Subject
    spki_sha256: bytes
    binding: bytes
    """The log key's signature, checked by `verify_binding`; empty for people (operators)."""
    not_before_us: int
    not_after_us: int

    @property
    def network(self) -> str:
        return self.subject.network

    @property
    def kind(self) -> IdentityKind:
        return self.subject.kind

    @property
    def id(self) -> str:
        return self.subject.id


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """What a listener shows, and whose certificates it demands (None: nobody's)."""

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes
    client_roots_pem: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """Whom a channel trusts, whom exactly it wants to reach, and what it shows of itself."""

    roots_pem: bytes
    server_name: str = ""
    key_pem: bytes | None = field(default=None, repr=False)
    certificate_pem: bytes | None = None


# Keys


def new_tls_key() -> ec.EllipticCurvePrivateKey:
    """A fresh ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key as unencrypted PKCS #8, for gRPC and for `save_private`."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The key in `pem`; Malformed unless it is ECDSA P-256."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise Malformed("This is no unencrypted PEM private key.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise Malformed("A TLS key must be ECDSA P-256; make one with `comity`.")
    return key


def save_private(path: Path, pem: bytes) -> None:
    """Write a new file which only its owner may read; an existing one is never overwritten."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def load_private(path: Path) -> bytes:
    """The content of a secret file; Malformed if others than its owner may read it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Malformed(f"{path} is open to others (mode {mode:o}); run `chmod 600 {path}`.")
    return path.read_bytes()


# Certificates


def binding_message(subject: Subject, spki_sha256: bytes) -> bytes:
    """What the log key signs to bind a TLS key to its participant."""
    return BINDING_LABEL + subject.uri.encode() + b"\n" + spki_sha256


def verify_binding(
    subject: Subject, *, spki_sha256: bytes, binding: bytes, log_key: PublicKey
) -> None:
    """Raise Malformed unless the subject's log key asked for this TLS key."""
    if not log_key.verify(binding_message(subject, spki_sha256), binding):
        raise Malformed(
            "The log key has not signed this TLS key; make the request again with the log's key."
        )


def identity_from_certificate(pem: bytes) -> Identity:
    """Who a verified certificate (the first in `pem`) stands for, or Unauthenticated."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        subject = _subject(spiffe_uris(certificate.extensions))
    except (ValueError, Malformed) as error:
        raise Unauthenticated(
            "The certificate names no participant of a network; use one that its operator issued."
        ) from error
    return Identity(
        subject=subject,
        spki_sha256=spki_sha256(certificate.public_key()),
        binding=_binding(certificate.extensions),
        not_before_us=_microseconds(certificate.not_valid_before_utc),
        not_after_us=_microseconds(certificate.not_valid_after_utc),
    )


def _subject(uris: Sequence[str]) -> Subject:
    match uris:
        case [uri] if uri.startswith("spiffe://"):
            network, *path = uri.removeprefix("spiffe://").split("/")
        case _:
            raise ValueError("a certificate names one SPIFFE id")
    match path:
        case ["clearing"]:
            return clearing(network)
        case ["brand", participant]:
            return brand(network, participant)
        case ["operator", name]:
            return operator(network, name)
    raise ValueError(f"no kind of participant has the path {path}")


def spiffe_uris(extensions: x509.Extensions) -> list[str]:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _binding(extensions: x509.Extensions) -> bytes:
    for extension in extensions:
        if extension.oid == BINDING_OID and isinstance(extension.value, x509.UnrecognizedExtension):
            return extension.value.value
    return b""


def spki_sha256(key: CertificatePublicKeyTypes) -> bytes:
    """The SHA-256 of a public key's SubjectPublicKeyInfo, by which keys are pinned."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).digest()


def _microseconds(at: datetime) -> int:
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
