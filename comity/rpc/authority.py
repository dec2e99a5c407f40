"""The operator's certificate authority, and the requests which participants send it.

The authority decides names and addresses; a request only proves possession of its key and, by
the binding, that the participant's log stands behind it. Serial numbers and keys come from the
operating system's random source, as `cryptography` offers no other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from comity.clock import DAY, HOUR, SECOND, Clock
from comity.errors import Malformed
from comity.keys import PublicKey, SigningKey
from comity.rpc.tls import (
    BINDING_OID,
    IdentityKind,
    Subject,
    binding_message,
    new_tls_key,
    read_key,
    spiffe_uris,
    spki_sha256,
    verify_binding,
)

CERTIFICATE_LIFE_US: Final = 397 * DAY
AUTHORITY_LIFE_US: Final = 3_650 * DAY
_BACKDATE_US: Final = HOUR
"""How long before its issue a certificate is valid, for clocks which are behind."""

LOCAL_NAMES: Final = ("localhost", "127.0.0.1")


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
    if spki_sha256(certificate.public_key()) != spki_sha256(key.public_key()):
        raise Malformed("The authority's certificate and key do not belong together.")
    return Authority(certificate=certificate, key=key)


def issue_certificate(
    authority: Authority,
    request: CertificateRequest,
    *,
    expect: Subject,
    log_key: PublicKey | None,
    clock: Clock,
    names: Sequence[str] = LOCAL_NAMES,
    life_us: int = CERTIFICATE_LIFE_US,
) -> bytes:
    """The PEM certificate for a request which `verify_request` accepts.

    `names` are the DNS names and IP addresses its server is reached by, decided by the authority
    and not by the request. Names under the network's own are refused: they stand for identities.
    """
    csr = verify_request(request, expect=expect, log_key=log_key)
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


def create_request(
    subject: Subject,
    tls_key: ec.EllipticCurvePrivateKey,
    *,
    log_key: SigningKey | None,
) -> CertificateRequest:
    """A request for `subject`, bound to its log's key; an operator, a person, has none."""
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
    if log_key is not None:
        binding = log_key.sign(binding_message(subject, spki_sha256(tls_key.public_key())))
    return CertificateRequest(
        pem=csr.public_bytes(serialization.Encoding.PEM),
        binding=binding,
    )


def verify_request(
    request: CertificateRequest, *, expect: Subject, log_key: PublicKey | None
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
    uris = spiffe_uris(csr.extensions)
    if uris != [expect.uri]:
        raise Malformed(f"The request must name {expect.uri} alone and names {uris}.")
    # 3. The binding.
    if log_key is not None:
        verify_binding(
            expect, spki_sha256=spki_sha256(key), binding=request.binding, log_key=log_key
        )
    elif expect.kind is not IdentityKind.OPERATOR:
        raise Malformed(f"{expect.uri} has a log; its key must sign the request.")
    return csr


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


def _when(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // SECOND, UTC)
