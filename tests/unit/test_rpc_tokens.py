"""Sessions: challenges which only one key can answer here and now, tokens which end."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from comity.clock import MINUTE, SECOND
from comity.errors import ComityError, Forbidden, Unauthenticated
from comity.rpc.authentication import TokenAuthenticator
from comity.rpc.caller import Caller, CallerKind, Credentials
from comity.rpc.tokens import Challenges, ServerSecret, TokenIssuer, challenge_message, new_secret

ORIGIN = "comity.example/grocery"
drawn = random.Random(7)
SECRET = new_secret(drawn.randbytes)
MEMBER = Caller(kind=CallerKind.MEMBER, id="acc_1", key_hash=bytes(32))


class Time:
    def __init__(self) -> None:
        self.now_us = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now_us


def issuer(clock: Time, *, origin: str = ORIGIN, secret: ServerSecret = SECRET) -> TokenIssuer:
    return TokenIssuer(origin=origin, secret=secret, clock=clock)


def challenges(clock: Time, *, origin: str = ORIGIN) -> Challenges:
    return Challenges(origin=origin, secret=SECRET, clock=clock, random=drawn.randbytes)


def test_a_token_names_its_caller_until_it_ends() -> None:
    clock = Time()
    tokens = issuer(clock)
    token = tokens.issue(MEMBER)
    assert tokens.verify(token.text) == MEMBER
    assert token.expires_at_us == clock.now_us + 15 * MINUTE
    clock.now_us = token.expires_at_us - 1
    assert tokens.verify(token.text) == MEMBER
    clock.now_us += 1
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.verify(token.text)


def test_a_token_of_another_server_or_secret_is_refused() -> None:
    clock = Time()
    text = issuer(clock).issue(MEMBER).text
    other = new_secret(drawn.randbytes)
    for tokens in (issuer(clock, origin="comity.example/cafe"), issuer(clock, secret=other)):
        with pytest.raises(Unauthenticated):
            tokens.verify(text)


def test_a_token_without_a_seal_or_with_claims_of_a_peer_is_refused() -> None:
    clock = Time()
    key = OctKey.import_key(SECRET.derive("comity-token/v1"))
    claims = {"iss": ORIGIN, "aud": ORIGIN, "sub": "x", "kind": "brand", "exp": 9_999_999_999}
    peer = jwt.encode({"alg": "HS256"}, {**claims, "cnf": {"kid": "00"}}, key)
    bare = jwt.encode({"alg": "HS256"}, {**claims, "kind": "member"}, key)
    unsealed = "eyJhbGciOiJub25lIn0." + peer.split(".")[1] + "."
    for text in (peer, bare, unsealed, "", "a.b.c", "é" * 3_000):
        with pytest.raises(Unauthenticated):
            issuer(clock).verify(text)


@given(st.integers(0, 2_000), st.integers(1, 127))
def test_a_token_with_one_character_changed_is_refused(position: int, step: int) -> None:
    tokens = issuer(Time())
    text = tokens.issue(MEMBER).text
    at = position % len(text)
    changed = text[:at] + chr((ord(text[at]) + step) % 128) + text[at + 1 :]
    try:
        # The last character of base64 has unused bits: the same bytes may be spelt otherwise.
        assert tokens.verify(changed) == MEMBER
        assert at in (len(text) - 1, len(text.split(".")[0]) - 1, text.rindex(".") - 1)
    except Unauthenticated:
        pass


def test_there_are_no_sessions_for_peers() -> None:
    with pytest.raises(ValueError, match="no sessions"):
        issuer(Time()).issue(Caller(kind=CallerKind.BRAND, id="cafe", key_hash=bytes(32)))


@pytest.mark.parametrize("secret", [b"short", b"change-me" * 8, bytes(32), b"0123456789" * 4])
def test_a_secret_which_nobody_drew_at_random_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match="secret"):
        ServerSecret(secret)


def test_a_secret_does_not_show_itself() -> None:
    assert SECRET.value.hex() not in repr(SECRET)
    assert str(SECRET.value) not in repr(SECRET)


def test_a_challenge_holds_for_its_key_and_its_minute() -> None:
    clock = Time()
    asked = challenges(clock)
    challenge = asked.issue("key_1")
    asked.check(challenge, "key_1")
    with pytest.raises(Unauthenticated):
        asked.check(challenge, "key_2")
    with pytest.raises(Unauthenticated):
        challenges(clock, origin="comity.example/cafe").check(challenge, "key_1")
    clock.now_us += MINUTE
    with pytest.raises(Unauthenticated, match="expired"):
        asked.check(challenge, "key_1")


@given(st.binary(max_size=80))
def test_a_challenge_which_was_not_issued_is_refused(challenge: bytes) -> None:
    with pytest.raises(Unauthenticated):
        challenges(Time()).check(challenge, "key_1")


def test_what_the_key_signs_names_the_server() -> None:
    message = challenge_message(ORIGIN, b"\x01\x02")
    assert message == b"comity-session/v1\ncomity.example/grocery\n\x01\x02"


def test_a_caller_locked_out_since_is_refused_in_spite_of_its_token() -> None:
    def admit(caller: Caller) -> None:
        raise Forbidden(f"{caller.id} is locked.")

    tokens = issuer(Time())
    credentials = Credentials(bearer_token=tokens.issue(MEMBER).text, address="a")
    assert TokenAuthenticator(tokens)(credentials) == MEMBER
    with pytest.raises(ComityError, match="locked"):
        TokenAuthenticator(tokens, admit=admit)(credentials)


def test_a_certificate_is_worth_nothing_where_tokens_are_asked_for() -> None:
    credentials = Credentials(certificate_pem=b"any", address="a")
    assert TokenAuthenticator(issuer(Time()))(credentials).kind is CallerKind.ANONYMOUS
