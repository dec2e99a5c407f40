"""What an endpoint is told of an entry: whose points and marks changed, and how.

A message is about one entry of the brand's own log; an entry with many changes makes several.
It names members by their accounts and carries the openings of their legs and marks, so that the
receiver can check what it is told against the log. Nothing else in an entry is told: what
concerns another brand stays where it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from comity.clock import rfc3339
from comity.ledger import entries
from comity.ledger.store import StoredEntry
from comity.v1 import entry_pb2 as pb

MARKS: Final = "marks"
POINTS: Final = "points"
CHANGES: Final = 50
"""Changes in one message, which keeps its body below 20 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message: its id is the same at every attempt."""

    id: str
    kind: str
    body: bytes


def messages(participant: str, stored: StoredEntry) -> list[Message]:
    """What is told of an entry; nothing, if it changes nobody's points or marks."""
    opening = pb.EntryOpening.FromString(stored.opening or b"")
    if stored.kind == MARKS:
        kind, changes = MARKS, [_mark(one) for one in opening.marks]
    else:
        entry = entries.decode(stored.body)
        kind = f"{POINTS}.{stored.kind}"
        changes = [
            _leg(leg, opened)
            for leg, opened in zip(entries.legs(entry), opening.legs, strict=False)
            if opened.account
        ]
    return [
        Message(
            id=f"{participant}/{stored.index}" + (f"/{part}" if part else ""),
            kind=kind,
            body=_body(participant, stored, kind, some, opening),
        )
        for part, some in enumerate(_parts(changes))
    ]


def wanted(kinds: Sequence[str], kind: str) -> bool:
    """Whether an endpoint with these kinds hears of this one; without any it hears of all."""
    return not kinds or any(kind == one or kind.startswith(f"{one}.") for one in kinds)


def _parts(changes: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for at in range(0, len(changes), CHANGES):
        yield changes[at : at + CHANGES]


def _body(
    participant: str,
    stored: StoredEntry,
    kind: str,
    changes: list[dict[str, Any]],
    opening: pb.EntryOpening,
) -> bytes:
    data: dict[str, Any] = {"brand": participant, "index": stored.index, "changes": changes}
    if opening.event:
        data["event"] = opening.event
    content = {"type": kind, "timestamp": rfc3339(stored.at_us), "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _leg(leg: pb.Leg, opened: pb.LegOpening) -> dict[str, Any]:
    change: dict[str, Any] = {
        "account": opened.account,
        "unit": leg.unit,
        "part": _word(pb.AccountClass, leg.account_class, "ACCOUNT_CLASS_"),
        "points": leg.points,
        "salt": base64.b64encode(opened.salt).decode(),
    }
    if opened.lot:
        change["lot"] = opened.lot
        change["expires_at"] = rfc3339(opened.expires_at_us) if opened.expires_at_us else None
    if opened.rule:
        change["rule"] = opened.rule
    if opened.source:
        change["source"] = _word(pb.Source, opened.source, "SOURCE_")
    if opened.funded_by:
        change["funded_by"] = _word(pb.Funding, opened.funded_by, "FUNDING_")
    return change


def _mark(opened: pb.MarkOpening) -> dict[str, Any]:
    return {
        "account": opened.account,
        "mark": _word(pb.MarkKind, opened.kind, "MARK_KIND_"),
        "name": opened.name,
        "given": opened.given,
        "since": rfc3339(opened.since_us) if opened.since_us else None,
        "until": rfc3339(opened.until_us) if opened.until_us else None,
        "cause": opened.cause,
        "salt": base64.b64encode(opened.salt).decode(),
    }


def _word(enum: Any, value: int, prefix: str) -> str:
    name: str = enum.Name(value)
    return name.removeprefix(prefix).lower()
