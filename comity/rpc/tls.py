"""Certificates of the peer listener: who may hold one, what it says, and what binds it to a log.

The operator runs a certificate authority. A participant's certificate names it by a SPIFFE id
(https://spiffe.io) in the URI SAN, for example `spiffe://comity.example/brand/grocery`, and
carries a *binding*: a signature by the participant's log key over that id and the certificate's
key. So the authority alone cannot make up a brand: whoever knows the log key from clearing's
roster can check that the brand itself asked for this key.

The certificate also holds a DNS name made from the same identity (`server_name`). A caller asks
TLS for that name, and so reaches the one participant it means, at whatever address.

Keys are ECDSA P-256: gRPC fails the handshake with Ed25519 certificates. Serial numbers and keys
come from the operating system's random source, as `cryptography` offers no other for keys.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from comity.clock import DAY, HOUR, SECOND, Clock
from comity.errors import Malformed, Unauthenticated

BINDING_LABEL: Final = b"comity-tls-binding/v1\n"

# An arc from a random UUID (ITU-T X.667) needs no registration.
BINDING_OID: Final = x509.ObjectIdentifier("2.25.121039843851072886257933628507980197392")

CERTIFICATE_LIFE_US: Final = 397 * DAY
AUTHORITY_LIFE_US: Final = 3_650 * DAY
_BACKDATE_US: Final = HOUR
_LABEL: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_NETWORK: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,126}")

LOCAL_NAMES: Final = ("localhost", "127.0.0.1")


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
class Authority:
    """The operator's certificate authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate that everybody in the network trusts."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """A certificate signing request, and the log key's signature over its key."""

    pem: bytes
    binding: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """What a listener shows, and whose certificates it demands (None: nobody's)."""

    key_pem: bytes
    certificate_pem: bytes
    client_roots_pem: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """Whom a channel trusts, whom exactly it wants to reach, and what it shows of itself."""

    roots_pem: bytes
    server_name: str = ""
    key_pem: bytes | None = None
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


# The authority


def create_ca(network: str, *, clock: Clock, life_us: int = AUTHORITY_LIFE_US) -> Authority:
    """A self-signed authority for one network, which signs no other authority."""
    key = new_tls_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{network} authority")])
    now_us = clock()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_when(now_us - _BACKDATE_US))
        .not_valid_after(_when(now_us + life_us))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate=certificate, key=key)


def load_ca(*, certificate_pem: bytes, key_pem: bytes) -> Authority:
    """The authority from its two files; Malformed if they do not belong together."""
    certificate, key = _read_certificate(certificate_pem), read_key(key_pem)
    if _spki(certificate.public_key()) != _spki(key.public_key()):
        raise Malformed("The authority's certificate and key do not belong together.")
    return Authority(certificate=certificate, key=key)


def issue_certificate(
    authority: Authority,
    request: CertificateRequest,
    *,
    expect: Subject,
    log_public_key: bytes | None,
    clock: Clock,
    names: Sequence[str] = LOCAL_NAMES,
    life_us: int = CERTIFICATE_LIFE_US,
) -> bytes:
    """The PEM certificate for a request which `verify_request` accepts.

    `names` are the DNS names and IP addresses its server is reached by, decided by the authority
    and not by the request. Names under the network's own are refused: they stand for identities.
    """
    csr = verify_request(request, expect=expect, log_public_key=log_public_key)
    now_us = clock()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, expect.id)]))
        .issuer_name(authority.certificate.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_when(now_us - _BACKDATE_US))
        .not_valid_after(_when(now_us + life_us))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
            ),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName(_alternative_names(expect, names)), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    if request.binding:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(BINDING_OID, request.binding), critical=False
        )
    certificate = builder.sign(authority.key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)


# Requests


def binding_message(subject: Subject, spki_sha256: bytes) -> bytes:
    """What the log key signs to bind a TLS key to its participant."""
    return BINDING_LABEL + subject.uri.encode() + b"\n" + spki_sha256


def create_request(
    subject: Subject,
    tls_key: ec.EllipticCurvePrivateKey,
    *,
    sign: Callable[[bytes], bytes] | None,
) -> CertificateRequest:
    """A request for `subject`; `sign` is its log key's, or None for a person."""
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.id)]))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(subject.uri)]),
            critical=False,
        )
        .sign(tls_key, hashes.SHA256())
    )
    binding = b""
    if sign is not None:
        spki_sha256 = hashlib.sha256(_spki(tls_key.public_key())).digest()
        binding = sign(binding_message(subject, spki_sha256))
    return CertificateRequest(
        pem=csr.public_bytes(serialization.Encoding.PEM),
        binding=binding,
    )


def verify_request(
    request: CertificateRequest, *, expect: Subject, log_public_key: bytes | None
) -> x509.CertificateSigningRequest:
    """The request, or Malformed with what is wrong with it.

     1. it is signed by the key it asks for, and that key is ECDSA P-256
     2. it names exactly the expected subject
     3. the subject's log key has signed that key and that name; only an operator's certificate,
        which stands for a person, has no log key
    """
    try:
        csr = x509.load_pem_x509_csr(request.pem)
    except ValueError as error:
        raise Malformed("This is no PEM certificate request.") from error
    # 1. Possession.
    key = csr.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise Malformed("The request's key must be ECDSA P-256.")
    if not csr.is_signature_valid:
        raise Malformed("The request is not signed by the key it is for.")
    # 2. The name.
    uris = _uris(csr.extensions)
    if uris != [expect.uri]:
        raise Malformed(f"The request must name {expect.uri} alone and names {uris}.")
    # 3. The binding.
    if log_public_key is not None:
        _verify_binding(expect, _spki(key), request.binding, log_public_key)
    elif expect.kind is not IdentityKind.OPERATOR:
        raise Malformed(f"{expect.uri} has a log; its key must sign the request.")
    return csr


def verify_binding(identity: Identity, log_public_key: bytes) -> None:
    """Raise Malformed unless the holder of this log key asked for the certificate's key."""
    message = binding_message(identity.subject, identity.spki_sha256)
    _verify_signature(message, identity.binding, log_public_key)


def _verify_binding(subject: Subject, spki: bytes, binding: bytes, log_public_key: bytes) -> None:
    message = binding_message(subject, hashlib.sha256(spki).digest())
    _verify_signature(message, binding, log_public_key)


def _verify_signature(message: bytes, signature: bytes, public_key: bytes) -> None:
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise Malformed(
            "The log key has not signed this TLS key; make the request again with the log's key."
        ) from error


# Certificates


def identity_from_certificate(pem: bytes) -> Identity:
    """Who a verified certificate (the first in `pem`) stands for, or Unauthenticated."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        subject = _subject(_uris(certificate.extensions))
    except (ValueError, Malformed) as error:
        raise Unauthenticated(
            "The certificate names no participant of a network; use one that its operator issued."
        ) from error
    return Identity(
        subject=subject,
        spki_sha256=hashlib.sha256(_spki(certificate.public_key())).digest(),
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


def _uris(extensions: x509.Extensions) -> list[str]:
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


def _alternative_names(subject: Subject, names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(subject.uri),
        x509.DNSName(subject.server_name),
    ]
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            if name.lower().endswith(f".{subject.network}") or "*" in name:
                raise Malformed(
                    f"{name} cannot be a host's name here: names under {subject.network} stand "
                    "for participants."
                ) from None
            found.append(x509.DNSName(name))
    return found


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise Malformed("This is no PEM certificate.") from error


def _spki(key: x509.base.CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _when(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // SECOND, UTC)


def _microseconds(at: datetime) -> int:
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
