"""Certificates: what the authority signs, what it refuses, and what a certificate says."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from comity.clock import DAY, SECOND
from comity.errors import Malformed, Unauthenticated
from comity.keys import SigningKey
from comity.rpc.authentication import CertificateAuthenticator
from comity.rpc.authority import (
    CertificateRequest,
    create_ca,
    create_request,
    issue_certificate,
    load_ca,
)
from comity.rpc.caller import Caller, CallerKind, Credentials
from comity.rpc.tls import (
    Subject,
    brand,
    clearing,
    identity_from_certificate,
    key_pem,
    load_private,
    new_tls_key,
    operator,
    read_key,
    save_private,
    spki_sha256,
    verify_binding,
)

NETWORK = "comity.example"
GROCERY = brand(NETWORK, "grocery")
NOW_US = 1_800_000_000 * SECOND
drawn = random.Random(11)
LOG_KEY = SigningKey.generate(drawn.randbytes)
OTHER_LOG_KEY = SigningKey.generate(drawn.randbytes)


def clock() -> int:
    return NOW_US


def issued(
    subject: Subject = GROCERY, names: tuple[str, ...] = ("localhost", "127.0.0.1")
) -> bytes:
    request = create_request(subject, new_tls_key(), log_key=LOG_KEY)
    return issue_certificate(
        create_ca(NETWORK, clock=clock),
        request,
        expect=subject,
        log_key=LOG_KEY.public,
        clock=clock,
        names=names,
    )


@pytest.mark.parametrize(
    ("subject", "uri", "server_name"),
    [
        (GROCERY, "spiffe://comity.example/brand/grocery", "grocery.brand.comity.example"),
        (clearing(NETWORK), "spiffe://comity.example/clearing", "clearing.comity.example"),
        (
            operator(NETWORK, "ada"),
            "spiffe://comity.example/operator/ada",
            "ada.operator.comity.example",
        ),
    ],
)
def test_a_certificate_says_who_holds_it(subject: Subject, uri: str, server_name: str) -> None:
    pem = issued(subject)
    identity = identity_from_certificate(pem)
    assert identity.subject == subject
    assert (subject.uri, subject.server_name) == (uri, server_name)
    names = (
        x509.load_pem_x509_certificate(pem)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == [server_name, "localhost"]


def test_a_certificate_carries_the_log_keys_word_for_its_key() -> None:
    identity = identity_from_certificate(issued())

    def check(log_key: SigningKey, subject: Subject) -> None:
        verify_binding(
            subject,
            spki_sha256=identity.spki_sha256,
            binding=identity.binding,
            log_key=log_key.public,
        )

    check(LOG_KEY, GROCERY)
    with pytest.raises(Malformed, match="log key"):
        check(OTHER_LOG_KEY, GROCERY)
    with pytest.raises(Malformed, match="log key"):
        check(LOG_KEY, brand(NETWORK, "cafe"))


def refuse(request: CertificateRequest, *, expect: Subject = GROCERY, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        issue_certificate(
            create_ca(NETWORK, clock=clock),
            request,
            expect=expect,
            log_key=LOG_KEY.public,
            clock=clock,
        )


def test_the_authority_refuses_a_request_for_another_name() -> None:
    refuse(create_request(brand(NETWORK, "cafe"), new_tls_key(), log_key=LOG_KEY), why="must name")


def test_the_authority_refuses_a_key_that_the_log_did_not_bind() -> None:
    refuse(create_request(GROCERY, new_tls_key(), log_key=OTHER_LOG_KEY), why="log key")
    refuse(create_request(GROCERY, new_tls_key(), log_key=None), why="log key")


def test_the_authority_refuses_a_binding_moved_to_another_key() -> None:
    bound = create_request(GROCERY, new_tls_key(), log_key=LOG_KEY)
    own = create_request(GROCERY, new_tls_key(), log_key=None)
    refuse(CertificateRequest(pem=own.pem, binding=bound.binding), why="log key")


def test_the_authority_refuses_another_curve_and_what_is_no_request() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    refuse(create_request(GROCERY, key, log_key=LOG_KEY), why="P-256")
    refuse(CertificateRequest(pem=b"hello"), why="no PEM")


def test_only_an_operators_certificate_needs_no_log() -> None:
    authority = create_ca(NETWORK, clock=clock)
    person = operator(NETWORK, "ada")
    pem = issue_certificate(
        authority,
        create_request(person, new_tls_key(), log_key=None),
        expect=person,
        log_key=None,
        clock=clock,
    )
    assert identity_from_certificate(pem).binding == b""
    with pytest.raises(Malformed, match="has a log"):
        issue_certificate(
            authority,
            create_request(GROCERY, new_tls_key(), log_key=None),
            expect=GROCERY,
            log_key=None,
            clock=clock,
        )


@pytest.mark.parametrize("name", ["cafe.brand.comity.example", "Clearing.Comity.Example", "*.com"])
def test_a_host_cannot_have_a_name_which_stands_for_somebody_else(name: str) -> None:
    with pytest.raises(Malformed, match="host's name"):
        issued(names=(name,))


@pytest.mark.parametrize("participant", ["", "Grocery", "a/b", "a.b", "-a", "x" * 64])
def test_a_participant_must_fit_into_a_name(participant: str) -> None:
    with pytest.raises(Malformed, match="cannot be named"):
        brand(NETWORK, participant)


def test_a_certificate_without_one_spiffe_id_is_nobodys() -> None:
    key = new_tls_key()
    name = x509.Name([])
    for uris in ([], ["https://comity.example/brand/a"], [GROCERY.uri, GROCERY.uri]):
        builder = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "grocery")]),
            public_key=key.public_key(),
            serial_number=1,
            not_valid_before=x509.load_pem_x509_certificate(issued()).not_valid_before_utc,
            not_valid_after=x509.load_pem_x509_certificate(issued()).not_valid_after_utc,
        )
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        with pytest.raises(Unauthenticated, match="names no participant"):
            identity_from_certificate(pem)


def test_a_caller_is_who_its_certificate_names_while_it_is_valid() -> None:
    now = [NOW_US]
    pem = issued()
    authenticate = CertificateAuthenticator(network=NETWORK, clock=lambda: now[0])
    credentials = Credentials(certificate_pem=pem, bearer_token="ignored", address="a")
    key_hash = spki_sha256(x509.load_pem_x509_certificate(pem).public_key())
    expected = Caller(kind=CallerKind.BRAND, id="grocery", key_hash=key_hash)
    assert authenticate(credentials) == expected
    now[0] += 398 * DAY
    with pytest.raises(Unauthenticated, match="not valid now"):
        authenticate(credentials)


def test_a_certificate_of_another_network_is_refused() -> None:
    authenticate = CertificateAuthenticator(network="other.example", clock=clock)
    with pytest.raises(Unauthenticated, match=r"belongs to other\.example"):
        authenticate(Credentials(certificate_pem=issued()))


def test_a_caller_without_a_certificate_is_anonymous_whatever_token_it_shows() -> None:
    authenticate = CertificateAuthenticator(network=NETWORK, clock=clock)
    caller = authenticate(Credentials(bearer_token="x", address="ipv4:192.0.2.1"))
    assert caller == Caller(kind=CallerKind.ANONYMOUS, id="ipv4:192.0.2.1")


def test_an_authority_is_loaded_from_its_files_only_if_they_belong_together() -> None:
    authority, other = create_ca(NETWORK, clock=clock), create_ca(NETWORK, clock=clock)
    loaded = load_ca(certificate_pem=authority.pem, key_pem=key_pem(authority.key))
    assert loaded.certificate == authority.certificate
    with pytest.raises(Malformed, match="belong together"):
        load_ca(certificate_pem=authority.pem, key_pem=key_pem(other.key))


def test_a_secret_file_is_for_its_owner_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "tls.key"
    key = new_tls_key()
    save_private(path, key_pem(key))
    assert path.stat().st_mode & 0o777 == 0o600
    assert spki_sha256(read_key(load_private(path)).public_key()) == spki_sha256(key.public_key())
    with pytest.raises(FileExistsError):
        save_private(path, b"")
    os.chmod(path, 0o640)
    with pytest.raises(Malformed, match="chmod 600"):
        load_private(path)


def test_a_key_of_another_kind_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    for pem in (key_pem(other), b"hello"):
        with pytest.raises(Malformed):
            read_key(pem)
