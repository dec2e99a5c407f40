"""What a checked CEL expression is made of: types, constants, names and calls.

The library hands out its checked form as serialised `cel.expr.CheckedExpr` (cel-spec,
`proto/cel/expr/checked.proto` and `syntax.proto`); this module reads the few fields of it that the
rules for programmes need, by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet

TYPE_MAP: Final = 3
EXPR: Final = 4
SOURCE: Final = 5
POSITIONS: Final = 4
KEY, VALUE = 1, 2

ID, CONSTANT, IDENTIFIER, SELECT, CALL = 2, 3, 4, 5, 6
NAME: Final = 1
OPERAND, FIELD = 1, 2
TARGET, FUNCTION, ARGUMENT = 1, 2, 3
TEXT: Final = 6

LIST, STRUCT, COMPREHENSION = 7, 8, 9
ENTRY: Final = (3, 4)
_INNER: Final = {
    SELECT: (OPERAND,),
    CALL: (TARGET, ARGUMENT),
    LIST: (1,),
    STRUCT: (2,),
    COMPREHENSION: (2, 4, 5, 6, 7),
}
"""Where the parts of each kind of expression are."""

PRIMITIVE, WRAPPER, TYPE_OF = 3, 4, 11
DOUBLE: Final = 4
_TYPE_PARAMETERS: Final = {6: (1,), 7: (1, 2), 8: (1, 2), 14: (2,)}
"""Of lists, maps, functions and types of libraries: where the types in them are."""


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression, in its serialised form."""

    data: bytes

    def get(self, number: int) -> Any:
        """The value of a field, or None."""
        return next((value for one, value in _fields(self.data) if one == number), None)

    def all(self, number: int) -> list[Any]:
        """Every value of a repeated field."""
        return [value for one, value in _fields(self.data) if one == number]

    @property
    def id(self) -> int:
        """By which the source knows its position."""
        return int(self.get(ID) or 0)

    def part(self, number: int) -> Node | None:
        """A part that is itself structured, or None."""
        data = self.get(number)
        return None if data is None else Node(bytes(data))

    @property
    def path(self) -> tuple[str, ...]:
        """`("event", "number", "minutes")` for what is written with dots or a constant index."""
        if (name := self.part(IDENTIFIER)) is not None:
            return (_text(name.get(NAME)),)
        if (select := self.part(SELECT)) is not None:
            inner = select.part(OPERAND)
            return (*inner.path, _text(select.get(FIELD))) if inner and inner.path else ()
        call = self.part(CALL)
        if call is None or _text(call.get(FUNCTION)) != "_[_]":
            return ()
        inner, key = (Node(bytes(one)) for one in call.all(ARGUMENT))
        return (*inner.path, key.text) if inner.path and key.text else ()

    @property
    def text(self) -> str:
        """The text constant that this is, or empty."""
        constant = self.part(CONSTANT)
        return _text(constant.get(TEXT)) if constant else ""

    def call(self, function: str) -> list[Node] | None:
        """The arguments, if this calls `function`."""
        call = self.part(CALL)
        if call is None or _text(call.get(FUNCTION)) != function:
            return None
        return [Node(bytes(one)) for one in call.all(ARGUMENT)]


@dataclass(frozen=True, slots=True)
class Checked:
    """A checked expression: its parts, and which of them are doubles."""

    nodes: tuple[Node, ...]
    doubles: tuple[int, ...]
    """Ids of the parts whose type holds a double."""
    positions: dict[int, int]
    """Where each part stands in the text, counted in characters."""


def read_checked(serialised: bytes) -> Checked:
    """The parts of a checked expression, as the library serialises it."""
    whole = Node(Packed.FromString(serialised).value)
    types = [Node(bytes(one)) for one in whole.all(TYPE_MAP)]
    source = whole.part(SOURCE) or Node(b"")
    positions = [Node(bytes(one)) for one in source.all(POSITIONS)]
    root = whole.part(EXPR)
    return Checked(
        nodes=tuple(_walk(root)) if root else (),
        doubles=tuple(
            int(one.get(KEY) or 0) for one in types if _double(one.part(VALUE) or Node(b""))
        ),
        positions={int(one.get(KEY) or 0): int(one.get(VALUE) or 0) for one in positions},
    )


def _walk(node: Node) -> Iterator[Node]:
    """This part and every part in it."""
    yield node
    for kind, numbers in _INNER.items():
        if (part := node.part(kind)) is not None:
            for number in numbers:
                for data in part.all(number):
                    if kind == STRUCT:
                        entry = Node(bytes(data))
                        inner = [one for one in map(entry.part, ENTRY) if one is not None]
                    else:
                        inner = [Node(bytes(data))]
                    for one in inner:
                        yield from _walk(one)


def _double(kind: Node) -> bool:
    if DOUBLE in (kind.get(PRIMITIVE), kind.get(WRAPPER)):
        return True
    parts = [kind.part(TYPE_OF)]
    for holder, numbers in _TYPE_PARAMETERS.items():
        if (part := kind.part(holder)) is not None:
            parts += [Node(bytes(data)) for number in numbers for data in part.all(number)]
    return any(part is not None and _double(part) for part in parts)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a message's fields."""
    unknown: Any = UnknownFieldSet(Empty.FromString(data))
    for field in unknown:
        yield field.field_number, field.data


def _text(value: Any) -> str:
    return bytes(value).decode() if value is not None else ""
