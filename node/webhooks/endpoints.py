"""The endpoints: added, set and removed by managers, and how far each has come.

How far is durable like everything else, by a command of the node's own. It is written behind
what was sent, so after a crash some messages are sent again, with the ids they had.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from comity.clock import DAY
from comity.errors import Conflict, LimitExceeded, Malformed, NotFound
from comity.ledger.command import Batch, Content
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.v1 import office_pb2
from node.book import Handler, Handlers, Rules
from node.commands import INTERNAL
from node.operation_tables import webhooks
from node.webhooks.signing import SALT_BYTES

ACTIVE, PAUSED, FAILED = "ACTIVE", "PAUSED", "FAILED"

MAX_ENDPOINTS: Final = 16
OVERLAP_US: Final = DAY
"""How long the old keys sign too after a rotation."""
MAX_ERROR: Final = 200


def check_url(url: str) -> None:
    """Raises Malformed unless messages may be sent there: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Malformed("The URL cannot be read; write it like https://…/.", field="url") from None
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or not host or parts.fragment or "@" in parts.netloc or port == 0:
        raise Malformed(
            "Give an https URL with a host, without a password or a fragment.", field="url"
        )
    if parts.scheme == "https" or (parts.scheme == "http" and _loopback(host)):
        return
    raise Malformed("Messages are sent by https only, except on this machine.", field="url")


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- commands -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AddWebhook:
    """A new endpoint. Without `from_index` it hears of what comes from now on."""

    step: ClassVar[Step] = Step.WEBHOOK
    caller: str
    id: str
    name: str
    url: str
    kinds: tuple[str, ...]
    from_index: int | None

    def content(self) -> Mapping[str, Content]:
        return {
            "name": self.name,
            "url": self.url,
            "kinds": self.kinds,
            "from_index": self.from_index,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWebhook:
    """An endpoint is paused, or goes on, perhaps from an earlier entry."""

    step: ClassVar[Step] = Step.WEBHOOK
    caller: str
    id: str
    name: str
    paused: bool
    from_index: int | None

    def content(self) -> Mapping[str, Content]:
        return {"name": self.name, "paused": self.paused, "from_index": self.from_index}


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateWebhook:
    """An endpoint gets new keys."""

    step: ClassVar[Step] = Step.WEBHOOK
    caller: str
    id: str
    name: str

    def content(self) -> Mapping[str, Content]:
        return {"name": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveWebhook:
    """An endpoint is told of nothing any more."""

    step: ClassVar[Step] = Step.WEBHOOK
    caller: str
    id: str
    name: str

    def content(self) -> Mapping[str, Content]:
        return {"name": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteProgress:
    """How far an endpoint has come, and what is wrong with it.

    Counts only while the endpoint is as it was when this was found out (`changed_at_us`).
    """

    step: ClassVar[Step] = Step.WEBHOOK
    caller: ClassVar[str] = INTERNAL
    id: ClassVar[str] = ""
    name: str
    changed_at_us: int
    next_index: int
    failures: int = 0
    failing_since_us: int = 0
    retry_at_us: int = 0
    last_error: str = ""
    failed: bool = False

    def content(self) -> Mapping[str, Content]:
        return {"name": self.name, "next_index": self.next_index}


# --- rules ----------------------------------------------------------------------------------


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[Any]) -> None:
    rows.load(webhooks, [(command.name,) for command in commands])


def _prefetch_add(rules: Rules, rows: Rows, commands: Sequence[AddWebhook]) -> None:
    _prefetch(rules, rows, commands)
    rows.load_where(webhooks, "state", [ACTIVE, PAUSED, FAILED])


def _add(rules: Rules, batch: Batch, command: AddWebhook) -> bytes:
    rows = batch.rows
    if rows.get(webhooks, (command.name,)) is not None:
        raise Conflict(
            f"There is an endpoint {command.name} already; remove it, or choose another name.",
            field="name",
        )
    count = sum(len(rows.find(webhooks, "state", one)) for one in (ACTIVE, PAUSED, FAILED))
    if count >= MAX_ENDPOINTS:
        raise LimitExceeded(f"A brand has at most {MAX_ENDPOINTS} endpoints; remove one first.")
    salt = batch.random(SALT_BYTES)
    rows.put(
        webhooks,
        {
            "name": command.name,
            "url": command.url,
            "kinds": " ".join(command.kinds),
            "salt": salt,
            "old_salt": b"",
            "old_until_us": 0,
            "next_index": _start(batch, command.from_index, batch.size),
            **_fresh(batch, ACTIVE),
        },
    )
    # The salt is no secret; the keys it leads to are made when somebody is told them.
    return salt


def _set(rules: Rules, batch: Batch, command: SetWebhook) -> bytes:
    row = _found(batch.rows, command.name)
    row["next_index"] = _start(batch, command.from_index, row["next_index"])
    state = PAUSED if command.paused else ACTIVE
    batch.rows.put(webhooks, row | _fresh(batch, state, row["changed_at_us"]))
    return canonical(office_pb2.SetWebhookResponse())


def _rotate(rules: Rules, batch: Batch, command: RotateWebhook) -> bytes:
    row = _found(batch.rows, command.name)
    salt = batch.random(SALT_BYTES)
    row |= {"old_salt": row["salt"], "old_until_us": batch.now_us + OVERLAP_US, "salt": salt}
    later = max(batch.now_us, row["changed_at_us"] + 1)
    batch.rows.put(webhooks, row | {"changed_at_us": later})
    return salt


def _remove(rules: Rules, batch: Batch, command: RemoveWebhook) -> bytes:
    _found(batch.rows, command.name)
    batch.rows.delete(webhooks, (command.name,))
    return canonical(office_pb2.RemoveWebhookResponse())


def _note(rules: Rules, batch: Batch, command: NoteProgress) -> bytes:
    row = batch.rows.get(webhooks, (command.name,))
    if row is None or row["changed_at_us"] != command.changed_at_us or row["state"] != ACTIVE:
        return b""
    row |= {
        "state": FAILED if command.failed else ACTIVE,
        "next_index": command.next_index,
        "failures": command.failures,
        "failing_since_us": command.failing_since_us,
        "retry_at_us": command.retry_at_us,
        "last_error": command.last_error[:MAX_ERROR],
    }
    batch.rows.put(webhooks, row)
    return b""


def _found(rows: Rows, name: str) -> dict[str, Any]:
    row = rows.get(webhooks, (name,))
    if row is None:
        raise NotFound(f"There is no endpoint {name} here.", field="name")
    return row


def _start(batch: Batch, asked: int | None, otherwise: int) -> int:
    """Where to begin; the log's end at most."""
    start = otherwise if asked is None else asked
    if start > batch.size:
        raise Malformed(
            f"The log has {batch.size} entries; begin at one of them, or leave it out.",
            field="from_index",
        )
    return start


def _fresh(batch: Batch, state: str, before_us: int = 0) -> dict[str, Any]:
    """The columns of an endpoint that somebody has just set, later than `before_us`."""
    return {
        "state": state,
        "failures": 0,
        "failing_since_us": 0,
        "retry_at_us": 0,
        "last_error": "",
        "changed_at_us": max(batch.now_us, before_us + 1),
    }


HANDLERS: Handlers = {
    AddWebhook: Handler(_prefetch_add, _add),
    SetWebhook: Handler(_prefetch, _set),
    RotateWebhook: Handler(_prefetch, _rotate),
    RemoveWebhook: Handler(_prefetch, _remove),
    NoteProgress: Handler(_prefetch, _note),
}
