"""The valid requests that admit and end keys, about a brand that was admitted and never started."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message

from comity.client.session import key_name
from comity.keys import SigningKey
from comity.v1 import operator_pb2
from node import rotation
from tests.e2e.rpc_cast import Cast

AUDITOR: Final = SigningKey.generate(secrets.token_bytes)


async def _rotation(cast: Cast) -> Message:
    made = rotation.prepare(cast.spare, passphrase=None, random=secrets.token_bytes)
    return json_format.Parse(
        made.file.read_text("utf-8"), operator_pb2.RotateParticipantKeyRequest()
    )


async def _revocation(cast: Cast) -> Message:
    return operator_pb2.RevokeParticipantRequest(
        id="revoke", participant=cast.spare.name, reason="it never came"
    )


async def _auditor(cast: Cast) -> Message:
    return operator_pb2.AdmitAuditorRequest(
        id="auditor-two", auditor="auditor-two", public_key=AUDITOR.public.raw
    )


async def _no_auditor(cast: Cast) -> Message:
    return operator_pb2.RevokeAuditorRequest(id="auditor-gone", key_id=key_name(AUDITOR))


KEY_ROWS: Final[tuple[tuple[str, str, Callable[[Cast], Awaitable[Any]]], ...]] = (
    ("RotateParticipantKey", "operator", _rotation),
    ("RevokeParticipant", "operator", _revocation),
    ("AdmitAuditor", "operator", _auditor),
    ("RevokeAuditor", "operator", _no_auditor),
)
