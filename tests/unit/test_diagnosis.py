"""What the doctor says of certificates and clocks that are out of date."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from cli.diagnosis import SKEW_US, Step, Target, clock_skew, reach
from comity.clock import DAY, SECOND, system_clock
from comity.keys import SigningKey
from comity.rpc.authentication import TokenAuthenticator
from comity.rpc.authorisation import permissions
from comity.rpc.authority import Authority, create_ca, create_request, issue_certificate
from comity.rpc.caller import Credentials
from comity.rpc.channel import LocalChannel
from comity.rpc.endpoint import Endpoint
from comity.rpc.limits import CallLimiter
from comity.rpc.logging import get_logger
from comity.rpc.metrics import Metrics
from comity.rpc.tls import brand, key_pem, new_tls_key
from comity.rpc.tokens import Challenges, ServerSecret, TokenIssuer
from comity.serve.session_service import SessionService
from comity.v1 import log_pb2

NETWORK = "comity.example"
ORIGIN = f"{NETWORK}/grocery"
drawn = random.Random(5)


def authority(days: int = 0, *, life_days: int = 3_650) -> Authority:
    """The network's authority, made so many days from now."""
    return create_ca(NETWORK, clock=lambda: system_clock() + days * DAY, life_us=life_days * DAY)


@contextmanager
def serving(folder: Path, ca: Authority, *, issued_days: int, life_days: int) -> Iterator[Target]:
    """A TLS server with a certificate that was issued so many days from now."""
    key, log_key = new_tls_key(), SigningKey.generate(drawn.randbytes)
    subject = brand(NETWORK, "grocery")
    certificate = issue_certificate(
        ca,
        create_request(subject, key, log_key=log_key),
        expect=subject,
        log_key=log_key.public,
        clock=lambda: system_clock() + issued_days * DAY,
        life_us=life_days * DAY,
    )
    (folder / "tls.pem").write_bytes(key_pem(key) + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    context.set_alpn_protocols(["h2"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=_greet, args=(listening, context))
        thread.start()
        port = listening.getsockname()[1]
        try:
            yield Target(address=f"127.0.0.1:{port}", roots_pem=ca.pem)
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _greet(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Say one byte to whoever finishes a handshake."""
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        with plain:
            try:
                with context.wrap_socket(plain, server_side=True) as secure:
                    secure.sendall(b"h")
            except OSError:
                continue


def told(target: Target) -> Step:
    """The last step that was tried."""
    *_, last = reach(target, system_clock)
    return last


def test_a_valid_certificate_is_said_with_its_end(tmp_path: Path) -> None:
    with serving(tmp_path, authority(), issued_days=0, life_days=30) as target:
        step = told(target)
    assert step.passed, step
    assert "valid until 20" in step.found


@pytest.mark.parametrize(
    ("made_days", "ca_life", "issued_days", "life", "found", "what_to_do"),
    [
        (-100, 3_650, -60, 30, "server's certificate ended at 20", "renew it"),
        (0, 3_650, 10, 30, "server's certificate begins at 20", "clock is probably behind"),
        (-100, 60, -70, 365, "certificate of the CA you trust has ended", "new ca.crt"),
    ],
    ids=["expired", "not yet valid", "the authority's has expired"],
)
def test_a_certificate_out_of_its_time_is_said_in_words(
    tmp_path: Path,
    made_days: int,
    ca_life: int,
    issued_days: int,
    life: int,
    found: str,
    what_to_do: str,
) -> None:
    ca = authority(made_days, life_days=ca_life)
    with serving(tmp_path, ca, issued_days=issued_days, life_days=life) as target:
        step = told(target)
    assert (step.name, step.passed) == ("tls", False)
    assert found in step.found
    assert "here it is 20" in step.found
    assert what_to_do in step.what_to_do


# --- clocks ---------------------------------------------------------------------------------


def server(ahead_us: int) -> LocalChannel:
    """A server whose clock is so far ahead of ours."""

    def clock() -> int:
        return system_clock() + ahead_us

    secret = ServerSecret(drawn.randbytes(32))
    tokens = TokenIssuer(origin=ORIGIN, secret=secret, clock=clock)

    async def nobody(key_id: str) -> None:
        return None

    sessions = SessionService(
        origin=ORIGIN,
        challenges=Challenges(origin=ORIGIN, secret=secret, clock=clock, random=drawn.randbytes),
        tokens=tokens,
        lookup=nobody,
    )
    endpoint = Endpoint(
        {log_pb2.DESCRIPTOR.services_by_name["SessionService"]: sessions},
        authenticator=TokenAuthenticator(tokens),
        permissions=permissions(),
        limiter=CallLimiter(clock),
        clock=clock,
        log=get_logger(),
        metrics=Metrics(),
    )
    return LocalChannel(endpoint, Credentials(address="127.0.0.1"))


@pytest.mark.parametrize("ahead_us", [0, 2 * SECOND, -2 * SECOND])
async def test_clocks_that_nearly_agree_are_well(ahead_us: int) -> None:
    assert abs(ahead_us) < SKEW_US
    step = await clock_skew(server(ahead_us), system_clock)
    assert step.passed, step
    assert "The clocks agree" in step.found


@pytest.mark.parametrize(
    ("ahead_us", "found"),
    [(90 * SECOND, "90.0 s ahead of ours"), (-3_600 * SECOND, "3600.0 s behind ours")],
)
async def test_a_clock_that_is_off_is_told_with_its_distance_and_direction(
    ahead_us: int, found: str
) -> None:
    now_us = system_clock()
    step = await clock_skew(server(ahead_us), lambda: now_us)
    assert not step.passed
    assert "NTP" in step.what_to_do
    words = step.found.split()
    assert words[:4] == ["The", "server's", "clock", "is"]
    assert abs(float(words[4]) - float(found.split()[0])) < 3.0
    assert step.found.endswith(f"{found.split(' s ')[1]}.")
