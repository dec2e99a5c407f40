"""A row of the tables of requests, and what rows are made of."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from comity.client.member import enrol_message
from comity.clock import system_clock
from comity.keys import SigningKey
from comity.v1.common_pb2 import HeadExchange
from tests.e2e.crash_stage import ISSUER
from tests.e2e.rpc_cast import Cast

Build = Callable[[Cast], Awaitable[Message]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A row of the table. `place` and `who` are as in `tests.e2e.rpc_callers`."""

    rpc: str
    place: str
    who: str
    build: Build
    answer: type[Message]

    @property
    def name(self) -> str:
        return self.rpc.rpartition(".")[2]


def heads() -> HeadExchange:
    """The least that one organisation can tell another: the time."""
    return HeadExchange(now_us=system_clock())


def fixed(message: Message | Callable[[Cast], Message]) -> Build:
    async def build(cast: Cast) -> Message:
        made = message(cast) if callable(message) else message
        copy = type(made)()
        copy.CopyFrom(made)
        return copy

    return build


def proof(cast: Cast, kind: type[Any], **more: Any) -> Message:
    key, name = SigningKey.generate(secrets.token_bytes), f"key-{secrets.token_hex(8)}"
    signature = key.sign(enrol_message(cast.origin(ISSUER), name))
    made: Message = kind(id=name, public_key=key.public.raw, signature=signature, **more)
    return made


Row = tuple[str, str, Build]
"""The RPC's name, who calls it, and what is sent."""


def rows(service: str, place: str, module: Any, *rows: Row) -> list[Request]:
    return [
        Request(
            rpc=f"comity.v1.{service}/{name}",
            place=place,
            who=who,
            build=build,
            answer=getattr(module, f"{name}Response"),
        )
        for name, who, build in rows
    ]
