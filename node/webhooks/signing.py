"""Signatures of messages to an endpoint, after Standard Webhooks 1.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

What is signed is `<webhook-id>.<webhook-timestamp>.<body>`, with HMAC-SHA256 (`v1`) and with
Ed25519 (`v1a`). Keys are derived from the server's secret and a salt of the endpoint, so none
is stored, and no two endpoints share one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comity.keys import SigningKey
from comity.rpc.tokens import ServerSecret

SALT_BYTES = 16


@dataclass(frozen=True, slots=True, repr=False)
class EndpointKeys:
    """What one endpoint's messages are signed with."""

    secret: bytes
    signing: SigningKey

    @classmethod
    def of(cls, secret: ServerSecret, name: str, salt: bytes) -> EndpointKeys:
        """The keys of an endpoint, whose salt is drawn anew with each rotation."""
        purpose = f"comity-webhook/v1/{name}/{salt.hex()}"
        return cls(
            secret=secret.derive(f"{purpose}/hmac"),
            signing=SigningKey(secret.derive(f"{purpose}/ed25519")),
        )

    @property
    def secret_text(self) -> str:
        """As an endpoint's owner is told it."""
        return f"whsec_{_base64(self.secret)}"

    @property
    def public_text(self) -> str:
        return f"whpk_{_base64(self.signing.public.raw)}"

    def signatures(self, content: bytes) -> tuple[str, str]:
        """Both signatures, each after its version."""
        mac = hmac.new(self.secret, content, hashlib.sha256).digest()
        return f"v1,{_base64(mac)}", f"v1a,{_base64(self.signing.sign(content))}"


def headers(
    message_id: str, body: bytes, *, at_us: int, keys: Sequence[EndpointKeys]
) -> Mapping[str, str]:
    """The headers of one attempt, signed with every key that counts now.

    Raises ValueError for an id with a full stop, which would let one message pass for another.
    """
    if "." in message_id:
        raise ValueError(f"the id {message_id} has a full stop")
    timestamp = str(at_us // 1_000_000)
    content = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(one for key in keys for one in key.signatures(content)),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
