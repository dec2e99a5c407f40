"""Who calls: what a transport saw of a caller, and what authentication made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class CallerKind(Enum):
    """The kinds of caller a permission can name; the value is the word in `permissions.txt`."""

    ANONYMOUS = "anonymous"
    MEMBER = "member"
    TILL = "till"
    MANAGER = "manager"
    AUDITOR = "auditor"
    BRAND = "brand"
    OPERATOR = "operator"
    CLEARING = "clearing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a transport knows of a caller before anybody judged it.

    `certificate_pem` is set only where the transport itself has verified the chain and the
    caller's possession of the key (mTLS). `bearer_token` is as received. `address` is the
    peer's address, or any name for it that two callers do not share.
    """

    certificate_pem: bytes | None = None
    bearer_token: str | None = field(default=None, repr=False)
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated caller, or an anonymous one.

    `id` is the participant, the member's account or the till; an anonymous caller's is its
    address. `key_hash` is the SHA-256 of the key the caller proved to hold: of a certificate's
    public key (SPKI) for peers, of the raw Ed25519 key which opened a session for the others.
    """

    kind: CallerKind
    id: str
    key_hash: bytes | None = None

    @property
    def name(self) -> str:
        """The caller as logs name it, e.g. `brand:grocery`."""
        return f"{self.kind.value}:{self.id}"


Authenticator = Callable[[Credentials], Caller]
"""Turns credentials into a caller.

Credentials which are absent make an anonymous caller; credentials which are present but do not
hold raise `Unauthenticated`.
"""
