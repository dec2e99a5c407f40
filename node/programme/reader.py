"""Reading a programme file: bytes in, a programme out, or every mistake with its line.

What is published is these very bytes; their digest is in the log.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from comity.errors import Malformed
from node.programme.model import Programme
from node.programme.references import MistakesInside
from node.programme.values import PRINTABLE
from node.programme.yamltree import Path, Place, Tree, Unreadable, read_tree

M = TypeVar("M", bound=BaseModel)

MAX_FILE_BYTES: Final = 65_536
PROGRAMME: Final = "programme file"
TOLD: Final = 20
"""So many mistakes are told at once."""


@dataclass(frozen=True, slots=True)
class ProgrammeFile:
    """A programme with the digest of the very bytes it was read from."""

    programme: Programme
    digest: bytes
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, where, and what to do. `place` is None where no line is to blame."""

    place: Place | None
    path: Path
    sentence: str
    in_text: bool = False
    """Whether the column says where in a condition or formula it is."""
    file: str = PROGRAMME

    def __str__(self) -> str:
        where = self.file.capitalize()
        if self.place is not None:
            column = f", column {self.place.column}" if self.in_text else ""
            where = f"Line {self.place.line}{column} of the {self.file}"
        about = ".".join(map(str, self.path))
        return f"{where}, {about}: {self.sentence}." if about else f"{where}: {self.sentence}."


class Mistaken(Malformed):
    """A file with mistakes."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        told = " ".join(str(one) for one in mistakes[:TOLD])
        left = len(mistakes) - TOLD
        super().__init__(told + (f" And {left} more." if left > 0 else ""))
        self.mistakes = mistakes


def read_programme(data: bytes) -> ProgrammeFile:
    """The programme in a file's bytes.

    Raises Mistaken, a Malformed, with one sentence for each mistake, naming the line.
    """
    programme, _ = read_model(data, Programme, file=PROGRAMME)
    return ProgrammeFile(programme, hashlib.sha256(data).digest(), data)


def read_model(data: bytes, model: type[M], *, file: str) -> tuple[M, Tree]:
    """What a file of this model says, with its lines. Raises Mistaken; `file` names it there."""

    def told(*mistakes: Mistake) -> Mistaken:
        return Mistaken(tuple(replace(one, file=file) for one in mistakes))

    if len(data) > MAX_FILE_BYTES:
        raise told(Mistake(None, (), f"it has more than {MAX_FILE_BYTES} bytes"))
    try:
        tree = read_tree(data)
    except Unreadable as error:
        raise told(Mistake(error.place, (), error.sentence)) from error
    try:
        return model.model_validate(tree.content), tree
    except ValidationError as error:
        found = _mistakes(error, tree, model)
        raise told(*sorted(found, key=lambda one: one.place or Place(0))) from error


def _mistakes(error: ValidationError, tree: Tree, model: type[BaseModel]) -> Iterator[Mistake]:
    for one in error.errors(include_url=False):
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, MistakesInside):
            for inside in cause.mistakes:
                place = tree.inside(inside.path, inside.line, inside.column)
                told = bool(inside.line)
                yield Mistake(place, inside.path, inside.sentence, in_text=told)
            continue
        path: Path = tuple(part for part in one["loc"] if part != "[key]")
        yield Mistake(tree.place(path), path, _sentence(one, path, model))


_SENTENCES: Final = {
    "missing": "this is missing",
    "int_type": "this is a whole number, such as 100",
    "int_from_float": "this is a whole number, such as 100",
    "string_type": 'this is text; a number or a word such as true is put in quotes, "1"',
    "bool_type": "this is true or false",
    "greater_than_equal": "this is at least {ge}",
    "less_than_equal": "this is at most {le}",
    "string_too_short": "this text is empty",
    "string_too_long": "this text has at most {max_length} characters",
    "too_short": "this list has at least {min_length}",
    "too_long": "this list has at most {max_length}",
    "enum": "this is one of {expected}",
    "literal_error": "this is one of {expected}",
    "dict_type": "this is a list of names with values",
    "model_type": "this is a list of names with values",
    "tuple_type": "this is a list, such as [a, b]",
    "value_error": "{error}",
}
_FORMS: Final = {
    "^[A-Z]{2}$": "a region is two capital letters, such as NL",
    "^[A-Z]{3}$": "a currency is three capital letters, such as EUR",
    PRINTABLE: "this is one line of text, without control characters",
}
_NAME: Final = "a name is up to 63 of a-z, 0-9, - and _, and begins with a letter"


def _sentence(error: Any, path: Path, model: type[BaseModel]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _names_at(path[:-1], model), n=1)
        return "there is no such name" + (f"; is it {near[0]}" if near else "")
    if kind == "string_pattern_mismatch":
        return _FORMS.get(context["pattern"], _NAME)
    form = _SENTENCES.get(kind)
    return form.format(**context) if form else str(error["msg"])


def _names_at(path: Path, model: type[BaseModel]) -> list[str]:
    """The names that may stand at `path`, if the file's form gives them."""
    kind: Any = model
    for part in path:
        found = _model_in(kind)
        if found is None:
            return []
        if isinstance(part, str) and part in found.model_fields:
            kind = found.model_fields[part].annotation
    found = _model_in(kind)
    return list(found.model_fields) if found else []


def _model_in(kind: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `dict[Name, Unit] | None`."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    found = (_model_in(inner) for inner in get_args(kind))
    return next((model for model in found if model), None)
