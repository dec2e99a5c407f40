"""What the fields of a programme file are made of: names, texts, counts, lists.

Every field has a limit, so that no file grows beyond what people review.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_POINTS: Final = 10**12
PRINTABLE: Final = r"^[^\x00-\x1f\x7f]*$"
PURCHASE: Final = "purchase"
"""The one event every programme knows."""

T = TypeVar("T")
Many: TypeAlias = Annotated[tuple[T, ...], Field(strict=False, max_length=200)]
"""A list in the file."""
Named: TypeAlias = Annotated[dict["Name", T], Field(max_length=200)]
"""Things by their names."""

Days: TypeAlias = Annotated[int, Field(ge=0, le=36_500)]
Positive: TypeAlias = Annotated[int, Field(ge=1, le=MAX_POINTS)]
Points: TypeAlias = Annotated[int, Field(ge=-MAX_POINTS, le=MAX_POINTS)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Title: TypeAlias = Annotated[str, Field(min_length=1, max_length=128, pattern=PRINTABLE)]


def _as_text(value: object) -> object:
    """`when: true` and `formula: 10` need no quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


Expression: TypeAlias = Annotated[
    str, BeforeValidator(_as_text), Field(min_length=1, max_length=1_000)
]
Condition: TypeAlias = Expression
"""A CEL expression of type bool over `event`, `member` and `local`."""
Formula: TypeAlias = Expression
"""A CEL expression of type int over the same."""


class Strict(BaseModel):
    """No name that is not known, no value of another type, never changed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


def at_most_one(given: Iterable[object], names: str) -> None:
    """Raises ValueError if more than one of `names` is given."""
    if sum(one is not None for one in given) > 1:
        raise ValueError(f"give at most one of {names}")
