"""Why a connection fails, found out step by step and said in words.

gRPC tells a caller little: for most of what can be wrong with certificates it says no more than
`Socket closed`. So each layer is tried on its own, from the name up to the log:

 1. the name leads to an address
 2. something listens on the port
 3. it speaks TLS, with a certificate that the CA vouches for, now, for the name asked for
 4. it accepts our certificate, where it asks for one
 5. it answers as healthy
 6. its clock and ours agree
 7. its log is signed by the key it shows, and has not become shorter
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2

from comity.client.log import LogClient
from comity.clock import SECOND, Clock, rfc3339
from comity.errors import ComityError
from comity.log.checkpoint import Checkpoint, open_checkpoint
from comity.log.note import VerifierKey
from comity.rpc.channel import Channel, stub
from comity.rpc.tokens import CHALLENGE_LIFE_US
from comity.v1.log_pb2 import BeginSessionRequest
from comity.v1.log_pb2_grpc import SessionServiceStub

TIMEOUT_S: Final = 5.0
SKEW_US: Final = 5 * SECOND
HEALTH: Final = "/grpc.health.v1.Health/Check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was tried: what was found and, if it failed, what to do."""

    name: str
    passed: bool
    found: str
    what_to_do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to connect to, trusting whom, showing which certificate (none: a public listener)."""

    address: str
    roots_pem: bytes
    server_name: str = ""
    certificate: Path | None = None
    key: Path | None = None

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].strip("[]") or "localhost"

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


# The layers below gRPC.


def reach(target: Target, clock: Clock) -> Iterator[Step]:
    """Steps 1 to 4, up to the first that fails."""
    for look in (_resolves, _listens):
        step = look(target)
        yield step
        if not step.passed:
            return
    yield _shakes_hands(target, clock)


def _resolves(target: Target) -> Step:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return Step(
            name="name",
            passed=False,
            found=f"The name {target.host} leads to no address.",
            what_to_do="Check the spelling, and that this machine's name service knows it.",
        )
    addresses = ", ".join(sorted({str(one[4][0]) for one in found}))
    return Step(name="name", passed=True, found=f"{target.host} is {addresses}.")


def _listens(target: Target) -> Step:
    try:
        with socket.create_connection((target.host, target.port), TIMEOUT_S):
            return Step(name="port", passed=True, found=f"Port {target.port} is open.")
    except ConnectionRefusedError:
        found = f"Nothing listens on port {target.port} of {target.host}."
        what_to_do = "Start the server, or check its address in settings.toml."
    except TimeoutError:
        found = f"{target.host}:{target.port} does not answer at all."
        what_to_do = "A firewall may drop the packets; allow this port on the way."
    except OSError as error:
        found = f"{target.host}:{target.port} cannot be reached: {error.strerror or error}."
        what_to_do = "Check the network between here and there."
    return Step(name="port", passed=False, found=found, what_to_do=what_to_do)


def _shakes_hands(target: Target, clock: Clock) -> Step:
    """Steps 3 and 4: one handshake, and the first bytes after it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=target.roots_pem.decode("ascii", "replace"))
    except ssl.SSLError:
        return _step3(
            "The file of the CA you trust holds no certificate.",
            "Use the ca.crt which the network's operator hands out.",
        )
    context.set_alpn_protocols(["h2"])
    try:
        if target.certificate is not None:
            context.load_cert_chain(target.certificate, target.key)
    except (ssl.SSLError, OSError) as error:
        return _step3(
            f"Our own certificate or key cannot be used: {error}.",
            "Run `comity node join` again with the operator's answer.",
        )
    try:
        with (
            socket.create_connection((target.host, target.port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=target.server_name or target.host) as secure,
        ):
            secure.settimeout(TIMEOUT_S)
            # With TLS 1.3 a server refuses a certificate only after the handshake; a server
            # which is content begins HTTP/2 with its settings.
            if not secure.recv(1):
                return _no_certificate(target)
    except ssl.SSLCertVerificationError as error:
        return _distrusted(target, error, clock)
    except (ssl.SSLError, ConnectionResetError, TimeoutError) as error:
        return _broken(target, error)
    shown = _shown(target)
    until = f", valid until {shown.not_valid_after_utc:%Y-%m-%d}" if shown else ""
    return Step(name="tls", passed=True, found=f"TLS works; the certificate is trusted{until}.")


def _distrusted(target: Target, error: ssl.SSLCertVerificationError, clock: Clock) -> Step:
    """Which of the reasons there are for not trusting a certificate it is (X509_V_ERR_…)."""
    shown = _shown(target)
    name = _common_name(shown.subject) if shown else "unknown"
    now = rfc3339(clock())[:19]
    if error.verify_code == 10 and shown is not None:
        if shown.not_valid_after_utc.timestamp() * SECOND > clock():
            return _step3(
                f"The certificate of the CA you trust has ended; here it is {now}Z.",
                "Use the network's new ca.crt, which its operator hands out; if the date here is "
                "wrong, set the clock.",
            )
        return _step3(
            f"The server's certificate ended at {shown.not_valid_after_utc:%Y-%m-%d %H:%M}Z; "
            f"here it is {now}Z.",
            "The server has to renew it; if the date here is wrong, set the clock.",
        )
    if error.verify_code == 9 and shown is not None:
        return _step3(
            f"The server's certificate begins at {shown.not_valid_before_utc:%Y-%m-%d %H:%M}Z; "
            f"here it is {now}Z.",
            "This machine's clock is probably behind: set it.",
        )
    if error.verify_code in (62, 64):
        asked = target.server_name or target.host
        names = ", ".join(_names(shown)) or "none"
        return _step3(
            f"The server's certificate is not for {asked}; it is for {names}.",
            "Call it by one of its names, or say the right one with --server-name.",
        )
    issuer = _common_name(shown.issuer) if shown else "unknown"
    return _step3(
        f"The CA you trust did not issue the server's certificate ({name}, by {issuer}).",
        "Use the CA certificate of its network: the operator hands out ca.crt.",
    )


def _broken(target: Target, error: Exception) -> Step:
    text = str(error).lower()
    if "certificate required" in text or isinstance(error, ConnectionResetError):
        return _no_certificate(target)
    if "wrong version number" in text or "record layer" in text:
        return _step3(
            "What listens there does not speak TLS.",
            "Check the port: it may be another program, or the metrics page.",
        )
    if "unknown ca" in text or "bad certificate" in text or "certificate expired" in text:
        return _step3(
            "The server does not accept our certificate.",
            "It may have expired, or be of another network; ask the operator for a new one.",
        )
    if isinstance(error, TimeoutError):
        return _step3(
            "The port is open and nothing is said on it.",
            "The server may hang, or something between here and there swallows the bytes.",
        )
    return _step3(f"The TLS handshake failed: {error}.", "Look into the server's log.")


def _no_certificate(target: Target) -> Step:
    if target.certificate is None:
        return _step3(
            "The server asks for a client certificate and we showed none: this is a peer listener.",
            "Members and tills use the public address; brands and operators name their "
            "certificate with --node or --clearing.",
        )
    return _step3(
        "The server closed the connection after seeing our certificate.",
        "It may have expired, or be of another network; ask the operator for a new one.",
    )


def _step3(found: str, what_to_do: str) -> Step:
    return Step(name="tls", passed=False, found=found, what_to_do=what_to_do)


def _shown(target: Target) -> x509.Certificate | None:
    """The certificate which the server shows, whoever issued it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((target.host, target.port), TIMEOUT_S) as plain,
            context.wrap_socket(plain) as secure,
        ):
            data = secure.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(data) if data else None


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def _names(certificate: x509.Certificate | None) -> list[str]:
    if certificate is None:
        return []
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = (str(one) for one in names.get_values_for_type(x509.IPAddress))
    return [*names.get_values_for_type(x509.DNSName), *addresses]


# The layers above.


async def health(channel: Channel) -> Step:
    """Step 5."""
    call = channel.unary_unary(
        HEALTH,
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    try:
        answer = await call(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    except ComityError as error:
        return Step(
            name="health",
            passed=False,
            found=f"The server does not say how it is: {error.message}",
            what_to_do="Look into its log.",
        )
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return Step(name="health", passed=True, found="The server says that it serves.")
    return Step(
        name="health",
        passed=False,
        found="The server runs and does not serve yet, or is about to stop.",
        what_to_do="A brand serves once it has heard clearing: check clearing, and its log.",
    )


async def clock_skew(channel: Channel, clock: Clock) -> Step:
    """Step 6. A session's challenge begins with its expiry on the server's clock."""
    before_us = clock()
    calls = stub(SessionServiceStub, channel)
    begun = await calls.BeginSession(BeginSessionRequest(key_id="key_0000000000000000"))
    there_us = int.from_bytes(begun.challenge[:8]) - CHALLENGE_LIFE_US
    off_us = there_us - (before_us + clock()) // 2
    seconds = f"{abs(off_us) / SECOND:.1f} s"
    if abs(off_us) <= SKEW_US:
        return Step(name="clock", passed=True, found=f"The clocks agree ({seconds} apart).")
    direction = "ahead of" if off_us > 0 else "behind"
    return Step(
        name="clock",
        passed=False,
        found=f"The server's clock is {seconds} {direction} ours.",
        what_to_do="Set the clocks, best by NTP: quotes and holds expire by them.",
    )


async def log_head(channel: Channel, known: Checkpoint | None) -> Step:
    """Step 7; `known` is the highest head of this log known here."""
    try:
        answer = await LogClient(channel).get_checkpoint()
        verifier = VerifierKey.parse(answer.vkey)
        head = open_checkpoint(answer.checkpoint, origin=answer.origin, verifier=verifier)
    except ComityError as error:
        return Step(
            name="log",
            passed=False,
            found=f"The server shows no signed head of its log: {error.message}",
            what_to_do="Do not rely on it; ask who runs it.",
        )
    if known is not None and known.origin == head.origin and known.size > head.size:
        return Step(
            name="log",
            passed=False,
            found=f"The log of {head.origin} has {head.size} entries; it had {known.size} before.",
            what_to_do="It was restored from an older copy and must not go on; restore the newest.",
        )
    return Step(
        name="log", passed=True, found=f"The log of {head.origin} has {head.size} entries, signed."
    )
