"""A client that is not ours takes part: `buf curl`, JSON, and Ed25519 from `cryptography`.

It knows the services from reflection, the messages to sign from the protocol's text, and writes
the bytes of its mandate itself. Nothing of this package is between it and the servers.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cli.access import peer_address, read_settings
from cli.demo.network import CLEARING, Network

pytestmark = pytest.mark.asyncio(loop_scope="session")

ISSUER: Final = "grocery"
ACCEPTOR: Final = "fuel"
PRICE: Final = 100
KIND_REWARD: Final = 1


# --- the wire, by hand ----------------------------------------------------------------------


def varint(number: int) -> bytes:
    """Protobuf's base-128 integer."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encoded(fields: dict[int, int | str | bytes]) -> bytes:
    """A message in ascending order of its fields, without those that are empty."""
    out = b""
    for number, value in sorted(fields.items()):
        if not value:
            continue
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def decoded(data: bytes) -> dict[int, int | bytes]:
    """The fields of a message: integers, and bytes of whatever has a length."""
    source, found = iter(data), {}
    for byte in source:
        tag = _rest(byte, source)
        value: int | bytes = _rest(next(source), source)
        if tag & 7 == 2:
            assert isinstance(value, int)
            value = bytes(next(source) for _ in range(value))
        found[tag >> 3] = value
    return found


def _rest(byte: int, source: Iterator[int]) -> int:
    number, shift = byte & 0x7F, 7
    while byte & 0x80:
        byte = next(source)
        number |= (byte & 0x7F) << shift
        shift += 7
    return number


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- the client -----------------------------------------------------------------------------


class Refused(Exception):
    """The answer of a server that says no: gRPC's code by name, and its sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Curl:
    """`buf curl` against one listener. `more` are its TLS arguments."""

    address: str
    more: tuple[str, ...]
    token: str = ""

    async def __call__(self, rpc: str, **request: Any) -> Any:
        """The answer to `<package>.<Service>/<Rpc>`, JSON to JSON."""
        headers = ("--header", f"authorization: Bearer {self.token}") if self.token else ()
        done = await self._run("--data", json.dumps(request), *headers, path=f"/{rpc}")
        if done.returncode:
            said = json.loads(done.stderr) if done.stderr.startswith("{") else {}
            raise Refused(said.get("code", ""), said.get("message", done.stderr))
        return json.loads(done.stdout)

    async def services(self) -> list[str]:
        """What reflection lists."""
        done = await self._run("--list-services")
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    async def _run(self, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
        command = [buf(), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
        command += ["--reflect-protocol", "grpc-v1alpha", *self.more, *arguments]
        command.append(f"https://{self.address}{path}")
        return await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False, timeout=60
        )


def buf() -> str:
    """The `buf` of this environment."""
    beside = Path(sys.executable).with_name("buf")
    found = str(beside) if beside.exists() else shutil.which("buf")
    assert found, "buf is a development dependency of this package"
    return found


@dataclass(slots=True)
class Device:
    """A key somewhere, and the only thing it does."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def id(self) -> str:
        return f"key_{hashlib.sha256(self.public).hexdigest()[:16]}"

    def sign(self, *parts: str | bytes) -> bytes:
        return self.key.sign(b"".join(p.encode() if isinstance(p, str) else p for p in parts))


def public(network: Network, name: str) -> Curl:
    """The public listener of an organisation."""
    return Curl(address=network.server(name).address, more=("--cacert", str(network.ca_file)))


def peer(network: Network, name: str) -> Curl:
    """The peer listener of an organisation, to the operator's certificate."""
    home, clearing = network.home(name), network.home(CLEARING)
    files = ("--cert", str(clearing / "operator.crt"), "--key", str(clearing / "operator.key"))
    address = peer_address(read_settings(home))
    return Curl(address=address, more=("--cacert", str(network.ca_file), *files))


async def session(curl: Curl, device: Device, origin: str) -> Curl:
    """The same listener, in a session of this device."""
    begun = await curl("comity.v1.SessionService/BeginSession", keyId=device.id)
    challenge = base64.b64decode(begun["challenge"])
    opened = await curl(
        "comity.v1.SessionService/OpenSession",
        keyId=device.id,
        challenge=begun["challenge"],
        signature=b64(device.sign("comity-session/v1\n", origin, "\n", challenge)),
    )
    return Curl(address=curl.address, more=curl.more, token=opened["token"])


async def enrol(curl: Curl, device: Device, origin: str) -> str:
    """Joins a programme; returns the account."""
    name = f"enr-{secrets.token_hex(8)}"
    answer = await curl(
        "comity.v1.MemberService/Enrol",
        id=name,
        publicKey=b64(device.public),
        signature=b64(device.sign("comity-enrol/v1\n", origin, "\n", name)),
    )
    return str(answer["account"])


def consent(device: Device, quote: bytes) -> dict[str, str]:
    """The mandate for exactly this quote, and its signature."""
    told = decoded(quote)
    mandate = encoded(
        {
            1: told[1],  # network
            2: told[2],  # issuer
            3: told[3],  # acceptor
            4: told[5],  # kind
            5: told[4],  # redemption id
            6: hashlib.sha256(b"comity-quote/v1\n" + quote).digest(),
            7: told[9],  # at most the quote's points
            9: told[13],  # as long as the quote
            10: device.id,
        }
    )
    return {"mandate": b64(mandate), "signature": b64(device.sign("comity-mandate/v1\n", mandate))}


async def a_till(network: Network, brand: str) -> Curl:
    """A till of a brand, which the manager has registered, in its session."""
    device = Device()
    await network.manager(brand).add_staff_key(
        id=f"staff-{device.id}", role="till", name="foreign", public_key=device.public
    )
    return await session(public(network, brand), device, network.origin(brand))


# --- what it does ----------------------------------------------------------------------------


async def test_a_foreign_client_enrols_buys_and_redeems(network: Network) -> None:
    issuer, acceptor, device = public(network, ISSUER), public(network, ACCEPTOR), Device()
    origin = network.origin(ISSUER)

    account = await enrol(issuer, device, origin)
    member = await session(issuer, device, origin)
    till = await a_till(network, ISSUER)
    sale = {"purchaseId": f"sale-{device.id}", "account": account}
    paid = {"currency": "EUR", "minor": "50000"}
    sold = await till(
        "comity.v1.MerchantService/RecordPurchases", purchases=[sale | {"amount": paid}]
    )
    earned = int(sold["results"][0]["points"])
    balances = (await member("comity.v1.MemberService/GetBalance"))["balances"]
    assert [int(one["available"]) for one in balances] == [earned]

    offered = await acceptor(
        "comity.v1.MemberService/GetQuote", issuer=ISSUER, rewardId="gift", quantity=1
    )
    quote = base64.b64decode(offered["quote"])
    assert decoded(quote)[9] == PRICE
    asked = {
        "quote": offered["quote"],
        "seal": offered["seal"],
        "pickupKey": offered["pickupKey"],
        "rewardSalt": offered["rewardSalt"],
        "rewardId": "gift",
        "quantity": 1,
        "mandate": consent(device, quote),
    }
    done = (await acceptor("comity.v1.MemberService/Redeem", **asked))["redemption"]
    assert done["state"] == "REDEMPTION_STATE_DELIVERED"
    again = (await acceptor("comity.v1.MemberService/Redeem", **asked))["redemption"]
    assert again["vouchers"] == done["vouchers"], "a repeated request is the same redemption"
    shown = await acceptor(
        "comity.v1.MemberService/GetRedemption",
        redemptionId=done["redemptionId"],
        pickupKey=offered["pickupKey"],
    )
    assert shown["redemption"]["vouchers"] == done["vouchers"]
    assert len(done["receipt"]) == 3

    counter = await a_till(network, ACCEPTOR)
    used = await counter(
        "comity.v1.MerchantService/UseVoucher", id=f"use-{device.id}", code=done["vouchers"][0]
    )
    assert used["voucher"]["state"] == "USED"
    balances = (await member("comity.v1.MemberService/GetBalance"))["balances"]
    left = sum(int(one.get("available", 0)) + int(one.get("held", 0)) for one in balances)
    assert left in (earned, earned - PRICE), "held until the issuer hears of the decision"


async def test_a_foreign_client_is_told_what_it_did_wrong(network: Network) -> None:
    issuer, acceptor, device = public(network, ISSUER), public(network, ACCEPTOR), Device()
    with pytest.raises(Refused, match="public_key must be 32 bytes long") as refused:
        await issuer("comity.v1.MemberService/Enrol", id="enr-12345678", publicKey=b64(b"x"))
    assert refused.value.code == "invalid_argument"
    with pytest.raises(Refused, match="not open to anonymous callers") as refused:
        await issuer("comity.v1.MemberService/GetBalance")
    assert refused.value.code == "unauthenticated"
    offered = await acceptor(
        "comity.v1.MemberService/GetQuote", issuer=ISSUER, rewardId="gift", quantity=1
    )
    asked = {name: offered[name] for name in ("quote", "pickupKey", "rewardSalt")}
    with pytest.raises(Refused, match="was not given here") as refused:
        await acceptor(
            "comity.v1.MemberService/Redeem",
            **asked,
            seal=b64(bytes(32)),
            rewardId="gift",
            mandate=consent(device, base64.b64decode(offered["quote"])),
        )
    assert refused.value.code == "permission_denied"


@pytest.mark.parametrize("name", [ISSUER, ACCEPTOR, CLEARING])
async def test_health_and_reflection_answer_on_every_listener(network: Network, name: str) -> None:
    for curl in (public(network, name), peer(network, name)):
        services = await curl.services()
        assert "comity.v1.LogService" in services
        for service in ("", *(one for one in services if one.startswith("comity."))):
            answer = await curl("grpc.health.v1.Health/Check", service=service)
            assert answer["status"] == "SERVING"
