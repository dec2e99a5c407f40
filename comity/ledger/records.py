"""What an id was answered, as it is stored for ever and given again."""

from __future__ import annotations

import json
from dataclasses import dataclass

from comity.errors import Conflict, Refused, rebuild
from comity.ledger.bulk import Row
from comity.ledger.command import (
    DIGEST_SIZE,
    Answer,
    Command,
    Outcome,
    differing_field,
    fingerprint,
)


@dataclass(frozen=True, slots=True)
class Record:
    """The outcome of one id, with the kind and the fingerprint of what was asked."""

    step: str
    digest: bytes
    outcome: Outcome


def to_row(command: Command, digest: bytes, outcome: Answer | Refused, now_us: int) -> Row:
    answer = outcome if isinstance(outcome, Answer) else None
    return {
        "caller": command.caller,
        "id": command.id,
        "step": command.step.value,
        "digest": digest,
        "first_index": answer.first_index if answer else None,
        "entry_count": answer.entry_count if answer else 0,
        "answer": answer.body if answer else b"",
        "refusal": _refusal(outcome) if isinstance(outcome, Refused) else None,
        "at_us": now_us,
    }


def _refusal(outcome: Refused) -> str:
    return json.dumps(
        {
            "code": outcome.code,
            "message": outcome.message,
            "field": outcome.field,
            "metadata": outcome.metadata,
        },
        sort_keys=True,
    )


def from_row(row: Row) -> Record:
    if row["refusal"] is not None:
        refusal = json.loads(row["refusal"])
        outcome: Outcome = rebuild(
            refusal["code"],
            refusal["message"],
            field=refusal["field"],
            metadata=refusal["metadata"],
        )
    else:
        outcome = Answer(
            body=row["answer"],
            at_us=row["at_us"],
            first_index=row["first_index"],
            entry_count=row["entry_count"],
            repeated=True,
        )
    return Record(row["step"], row["digest"], outcome)


def repeat(record: Record, command: Command) -> Outcome:
    """The recorded outcome, or the conflict if the id was used with other content."""
    if record.step != command.step:
        return Conflict(
            f"The id {command.id} was used before for another kind of request; use a new id.",
            field="id",
        )
    content = command.content()
    if record.digest[:DIGEST_SIZE] != fingerprint(content)[:DIGEST_SIZE]:
        name = differing_field(record.digest, content)
        what = f"another {name}" if name else "other content"
        return Conflict(
            f"The id {command.id} was used before with {what}; "
            "repeat the first request as it was, or use a new id.",
            field=name,
        )
    outcome = record.outcome
    if isinstance(outcome, Answer) and not outcome.repeated:
        return Answer(
            body=outcome.body,
            at_us=outcome.at_us,
            first_index=outcome.first_index,
            entry_count=outcome.entry_count,
            repeated=True,
        )
    return outcome
